#include "backend/drm_space.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "core/imap.h"

/*
 * The books are a map from addresses to what they show, in one number: a handle, and the distance from an address to
 * its place in the memory, which is the same all over a binding. So bindings that are cut need nothing more, and two
 * that continue each other are one.
 *
 *      63      38 37  36 35                          0
 *      [ handle  | access | (offset - address) / 4096 ]
 */
#define DELTA_BITS 36
#define DELTA_MASK ((1ull << DELTA_BITS) - 1)
enum { MIRROR = DRM_HANDLES_END, EMPTY }; /* in the place of a handle */

struct drm_space {
        unsigned users;
        uint32_t number;
        pthread_mutex_t lock;
        struct imap bound;
        bool lost;
        bool ended; /* of the thread that changes it */
};

int drm_space_new(struct drm_space **ret, uint32_t number, bool lost) {
        struct drm_space *s = alloc_zero(sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->users = 1;
        s->number = number;
        s->lost = lost;
        pthread_mutex_init(&s->lock, NULL);
        imap_init(&s->bound);
        *ret = s;
        return 0;
}

struct drm_space *drm_space_hold(struct drm_space *s) {
        pthread_mutex_lock(&s->lock);
        s->users++;
        pthread_mutex_unlock(&s->lock);
        return s;
}

void drm_space_drop(struct drm_space *s) {
        bool last;

        if (!s)
                return;
        pthread_mutex_lock(&s->lock);
        last = --s->users == 0;
        pthread_mutex_unlock(&s->lock);
        if (!last)
                return;
        imap_clear(&s->bound);
        pthread_mutex_destroy(&s->lock);
        alloc_free(s);
}

void drm_space_set_number(struct drm_space *s, uint32_t number) {
        s->number = number;
}

uint32_t drm_space_number(const struct drm_space *s) {
        return s->number;
}

bool drm_space_bytes(struct drm_space *s, uint64_t *ret) {
        bool known;

        *ret = 0;
        pthread_mutex_lock(&s->lock);
        for (const struct imap_entry *e = imap_first_from(&s->bound, 0); e; e = imap_next(e))
                *ret += e->end - e->start;
        known = !s->lost;
        pthread_mutex_unlock(&s->lock);
        return known;
}

bool drm_space_mirrors(struct drm_space *s, uint64_t start, uint64_t size) {
        uint64_t at = start, end = start + size;
        bool lost;

        pthread_mutex_lock(&s->lock);
        lost = s->lost;
        while (at < end) {
                const struct imap_entry *e = imap_first_from(&s->bound, at);

                if (!e || e->start > at || e->value >> (DELTA_BITS + 2) != MIRROR)
                        break;
                at = e->end;
        }
        pthread_mutex_unlock(&s->lock);
        return lost || at >= end;
}

/* ---- binding ---- */

static bool shows(const struct drm_binding *b) {
        return b->what == DRM_BIND_MAP || b->what == DRM_BIND_EMPTY || b->what == DRM_BIND_MIRROR;
}

static uint64_t value(uint64_t handle, unsigned access, uint64_t delta) {
        return handle << (DELTA_BITS + 2) | (uint64_t)(access & 3) << DELTA_BITS | (delta >> 12 & DELTA_MASK);
}

static uint64_t value_of(const struct drm_binding *b) {
        switch (b->what) {
        case DRM_BIND_MAP: return value(b->handle, b->attrs.access, b->offset - b->address);
        case DRM_BIND_MIRROR: return value(MIRROR, 3, 0);
        case DRM_BIND_EMPTY: return value(EMPTY, 3, 0);
        default: return 0;
        }
}

/* Of a vector that is looked at before any of it is done: SHOWN and GONE by the bindings before. */
enum { SHOWN = 1, GONE };

static bool all_gone(const struct imap *vector, uint64_t start, uint64_t end) {
        while (start < end) {
                const struct imap_entry *e = imap_first_from(vector, start);

                if (!e || e->start > start)
                        return false;
                start = e->end;
        }
        return true;
}

static bool taken(const struct drm_space *s, const struct imap *vector, uint64_t start, uint64_t end) {
        for (const struct imap_entry *e = imap_first_from(vector, start); e && e->start < end; e = imap_next(e))
                if (e->value == SHOWN)
                        return true;
        for (const struct imap_entry *e = imap_first_from(&s->bound, start); e && e->start < end; e = imap_next(e))
                if (!all_gone(vector, e->start > start ? e->start : start, e->end < end ? e->end : end))
                        return true;
        return false;
}

/* How many of them, the first ones, show nothing where something is: -EEXIST where that is not all. */
static int first_free(struct drm_space *s, const struct drm_binding *list, uint32_t count, uint32_t *ret) {
        struct imap vector;
        uint32_t i;
        int r = 0;

        imap_init(&vector);
        pthread_mutex_lock(&s->lock);
        for (i = 0; i < count; i++) {
                const struct drm_binding *b = &list[i];

                if (shows(b) && !b->replace && taken(s, &vector, b->address, b->address + b->size))
                        r = -EEXIST;
                else if (shows(b) || b->what == DRM_BIND_UNMAP)
                        r = imap_set(&vector, b->address, b->address + b->size, shows(b) ? SHOWN : GONE);
                if (r < 0)
                        break;
        }
        pthread_mutex_unlock(&s->lock);
        imap_clear(&vector);
        *ret = i;
        return r;
}

/* Where there is no memory to write it down, svmd does not know it any more. */
static void write_down(struct drm_space *s, const struct drm_binding *list, uint32_t count) {
        pthread_mutex_lock(&s->lock);
        for (uint32_t i = 0; i < count; i++)
                if ((shows(&list[i]) || list[i].what == DRM_BIND_UNMAP) &&
                    imap_set(&s->bound, list[i].address, list[i].address + list[i].size, value_of(&list[i])) < 0)
                        s->lost = true;
        pthread_mutex_unlock(&s->lock);
}

int drm_space_bind(struct drm_space *s, const struct drm_bind_driver *d, int fd, const struct drm_binding *list,
                   uint32_t count, uint32_t *ret_done) {
        uint32_t most = 0;
        int before = first_free(s, list, count, &most), r = 0;

        *ret_done = 0;
        if (before == -ENOMEM || s->ended)
                return s->ended ? -ENOENT : before;
        if (most > 0)
                r = drm_bind(d, fd, s->number, list, most, ret_done);
        write_down(s, list, *ret_done);
        return r < 0 ? r : before;
}

int drm_room_get(struct imap_spare *room, uint32_t count) {
        for (uint32_t i = 0; i < count; i++) {
                int r = imap_spare_get(&room[i]);

                if (r < 0) {
                        drm_room_put(room, i);
                        return r;
                }
        }
        return 0;
}

void drm_room_put(struct imap_spare *room, uint32_t count) {
        for (uint32_t i = 0; i < count; i++)
                imap_spare_put(&room[i]);
}

void drm_space_told(struct drm_space *s, struct imap_spare *room, const struct drm_binding *list, uint32_t count) {
        pthread_mutex_lock(&s->lock);
        for (uint32_t i = 0; i < count; i++)
                imap_set_with(&s->bound, &room[i], list[i].address, list[i].address + list[i].size, value_of(&list[i]));
        pthread_mutex_unlock(&s->lock);
        drm_room_put(room, count);
}

int drm_space_end(struct drm_space *s, const struct drm_bind_driver *d, int fd, uint64_t start, uint64_t size,
                  bool destroy) {
        struct drm_binding all = { .what = DRM_BIND_UNMAP, .address = start, .size = size };
        uint32_t done;
        int r = drm_space_bind(s, d, fd, &all, 1, &done);

        if (r == 0 && destroy)
                r = d->space_free(fd, s->number);
        s->ended |= r == 0 || r == -ENOENT;
        return r;
}

/* ---- audit ---- */

static void note(struct drm_audit *a, uint64_t *counter, uint64_t start, uint64_t end) {
        if (a->foreign + a->missing + a->moved == 0 || start < a->first)
                a->first = start;
        *counter += end - start;
}

/* Of the device's it says whether it is what svmd bound there. */
static bool same(const struct drm_seen *seen, uint64_t at) {
        if (!seen->handle)
                return true;
        return at >> (DELTA_BITS + 2) == seen->handle &&
               ((seen->offset - seen->address) >> 12 & DELTA_MASK) == (at & DELTA_MASK);
}

/* One that the driver shows, less its part outside of [start, end); `rest` loses it. */
static int compare(const struct drm_space *s, const struct drm_seen *seen, uint64_t start, uint64_t end,
                   struct imap *rest, struct drm_audit *a) {
        uint64_t at = seen->address > start ? seen->address : start, stop = seen->address + seen->size;

        stop = stop < end ? stop : end;
        if (at >= stop)
                return 0;
        while (at < stop) {
                const struct imap_entry *e = imap_first_from(&s->bound, at);
                uint64_t next = e && e->start <= at ? (e->end < stop ? e->end : stop)
                                                    : (e && e->start < stop ? e->start : stop);

                if (!e || e->start > at)
                        note(a, &a->foreign, at, next);
                else if (!same(seen, e->value))
                        note(a, &a->moved, at, next);
                else if (seen->elsewhere)
                        a->elsewhere += next - at;
                at = next;
        }
        at = seen->address > start ? seen->address : start;
        return imap_set(rest, at, stop, 0);
}

/* What svmd bound there; where a driver says of what its bindings are, it does not tell of those that are empty. */
static int expected(const struct drm_space *s, uint64_t start, uint64_t end, bool contents, struct imap *ret) {
        int r = 0;

        for (const struct imap_entry *e = imap_first_from(&s->bound, start); r == 0 && e && e->start < end;
             e = imap_next(e))
                if (!contents || e->value >> (DELTA_BITS + 2) < MIRROR)
                        r = imap_set(ret, e->start > start ? e->start : start, e->end < end ? e->end : end, 1);
        return r;
}

static int compare_all(const struct drm_space *s, const struct drm_seen *seen, uint32_t count, uint64_t start,
                       uint64_t end, bool contents, struct drm_audit *a) {
        struct imap rest;
        int r;

        imap_init(&rest);
        r = expected(s, start, end, contents, &rest);
        for (uint32_t i = 0; r == 0 && i < count; i++)
                r = compare(s, &seen[i], start, end, &rest, a);
        for (const struct imap_entry *e = imap_first_from(&rest, 0); r == 0 && e; e = imap_next(e))
                note(a, &a->missing, e->start, e->end);
        imap_clear(&rest);
        return r;
}

int drm_space_audit(struct drm_space *s, const struct drm_bind_driver *d, int fd, uint64_t start, uint64_t size,
                    struct drm_audit *ret) {
        struct drm_audit a = { .contents = d->tells_memory };
        struct drm_seen *seen = NULL;
        uint32_t count = 0;
        int r = d->read ? d->read(fd, s->number, start, size, &seen, &count) : -EOPNOTSUPP;

        if (r < 0)
                return r;
        pthread_mutex_lock(&s->lock);
        a.lost = s->lost;
        r = compare_all(s, seen, count, start, start + size, d->tells_memory, &a);
        pthread_mutex_unlock(&s->lock);
        alloc_free(seen);
        if (r == 0)
                *ret = a;
        return r;
}
