#include <errno.h>

#include "backend/soft/range.h"
#include "backend/soft/soft.h"
#include "base/alloc.h"

/*
 * The translation of a space. Translation and access of a chunk are one critical section of the space's lock, and
 * whoever changes the translation takes that lock too: when unmap() returns, no operation uses what was there, and none
 * keeps a pointer over it. A granule of a managed range is held by begin() and end() instead, with the space unlocked;
 * `using` says of which range.
 *
 * A caller must not wait for more than a chunk, but a mutex goes to whoever comes first, and the thread comes back at
 * once. So a caller counts itself before it asks for the lock, and the thread, once it has the lock, lets those that it
 * counts in first (`left` tells it that one has been).
 */
static void space_enter(struct device_space *s) {
        atomic_fetch_add(&s->waiting, 1);
        pthread_mutex_lock(&s->lock);
        atomic_fetch_sub(&s->waiting, 1);
}

static void space_leave(struct device_space *s) {
        bool yielding = s->yielding;

        pthread_mutex_unlock(&s->lock);
        if (yielding)
                pthread_cond_signal(&s->left);
}

void soft_lock(struct device_space *s) {
        pthread_mutex_lock(&s->lock);
        while (atomic_load(&s->waiting) > 0) {
                s->yielding = true;
                pthread_cond_wait(&s->left, &s->lock);
        }
        s->yielding = false;
}

void soft_unlock(struct device_space *s) {
        pthread_mutex_unlock(&s->lock);
}

int soft_space_new(struct device *d, struct device_space **ret) {
        struct device_space *s;

        s = alloc_zero(sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->device = d;
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->left, NULL);
        pthread_cond_init(&s->unused, NULL);
        imap_init(&s->sparse);
        list_init(&s->ready);
        list_init(&s->jobs);
        *ret = s;
        return 0;
}

void soft_space_free(struct device_space *s) {
        struct device *d;

        if (!s)
                return;
        d = s->device;
        soft_client_close(s);
        pthread_mutex_lock(&d->lock);
        s->dying = true;
        while (s->jobs_count > 0 || d->running == s)
                pthread_cond_wait(&d->settled, &d->lock);
        pthread_mutex_unlock(&d->lock);

        pagetable_fini(&s->table);
        imap_clear(&s->sparse);
        views_fini(&s->views);
        alloc_free(s->kept);
        alloc_free(s->client);
        pthread_cond_destroy(&s->left);
        pthread_cond_destroy(&s->unused);
        pthread_mutex_destroy(&s->lock);
        alloc_free(s);
}

int soft_map(struct device_space *s, uint64_t va, const struct device_extent *extents, uint32_t count,
             struct map_attrs attrs) {
        uint64_t size = 0;
        int r;

        for (uint32_t i = 0; i < count; i++)
                size += extents[i].size;
        if (va > PAGETABLE_END || size > PAGETABLE_END - va)
                return -EINVAL;
        space_enter(s);
        r = pagetable_reserve(&s->table, va, size);
        if (r == 0 && count > 0 && memfile_is_client(extents[0].slot))
                r = soft_client_make(s);
        for (uint32_t i = 0; r == 0 && i < count; va += extents[i++].size)
                pagetable_set(&s->table, va, extents[i].size, extents[i].slot, extents[i].offset, attrs);
        space_leave(s);
        return r;
}

void soft_unmap(struct device_space *s, uint64_t va, uint64_t size) {
        bool called_off;

        space_enter(s);
        pagetable_clear(&s->table, va, size);
        called_off = soft_client_unmapped(s, va, size);
        space_leave(s);
        if (called_off)
                soft_goes_on(s);
}

void soft_protect(struct device_space *s, uint64_t va, uint64_t size, struct map_attrs attrs) {
        space_enter(s);
        pagetable_protect(&s->table, va, size, attrs);
        space_leave(s);
}

void soft_sparse(struct device_space *s, uint64_t va, uint64_t size, enum sparse_writes writes,
                 struct imap_spare *spare) {
        space_enter(s);
        imap_set_with(&s->sparse, spare, va, va + size, writes);
        space_leave(s);
}

void soft_translate(struct device_space *s, uint64_t va, struct device_translation *ret) {
        struct pte pte;

        *ret = (struct device_translation){ 0 };
        space_enter(s);
        if (pagetable_run(&s->table, va, 1, &pte) > 0) {
                ret->valid = true;
                ret->attrs = pte.attrs;
                ret->slot = pte.slot;
                ret->offset = pte.offset;
        } else {
                ret->sparse = imap_get(&s->sparse, va) != SPARSE_NONE;
        }
        space_leave(s);
}

/* Of no use before it is written to, so nothing is cleared. */
int soft_make_kept(struct device_space *s) {
        if (!s->kept && !alloc_refused())
                s->kept = alloc_block(SOFT_CHUNK);
        return s->kept ? 0 : -ENOMEM;
}

int soft_space_show(struct device_space *s, struct device_range *range, bool write) {
        const struct soft_view view = { .range = range, .start = range->address, .end = range->end, .write = write };
        int r;

        space_enter(s);
        r = soft_make_kept(s);
        if (r == 0)
                r = views_set(&s->views, &view);
        space_leave(s);
        return r;
}

/* Whoever waits is woken as one that the thread lets in before it comes back. */
void soft_unused(struct device_space *s) {
        s->using = NULL;
        if (!s->hiding)
                return;
        s->hiding = false;
        atomic_fetch_add(&s->waiting, 1);
        pthread_cond_signal(&s->unused);
}

void soft_space_hide(struct device_space *s, struct device_range *range) {
        space_enter(s);
        views_remove(&s->views, range);
        if (s->using == range) {
                s->hiding = true;
                if (s->yielding)
                        pthread_cond_signal(&s->left);
                while (s->hiding)
                        pthread_cond_wait(&s->unused, &s->lock);
                atomic_fetch_sub(&s->waiting, 1);
        }
        space_leave(s);
}
