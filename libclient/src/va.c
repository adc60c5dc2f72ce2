#include "va.h"

#include <stdlib.h>

#include "agent/cuda.h"
#include "error.h"
#include "event.h"
#include "fdcache.h"
#include "managed.h"
#include "process.h"
#include "wire.h"

struct reservation *va_at(const svmd_session *s, uint64_t address) {
        return reservation_of(ranges_find(&s->reservations, address, address + 1));
}

struct reservation *va_by_id(const svmd_session *s, uint64_t id) {
        struct range *r;

        for (uint64_t at = 0; (r = ranges_find(&s->reservations, at, UINT64_MAX)); at = r->end) {
                if (reservation_of(r)->id == id)
                        return reservation_of(r);
        }
        return NULL;
}

void va_add(svmd_session *s, struct reservation *r) {
        if (!r->granule)
                managed_displace(s, r);
        if (r->shared && !r->granule) {
                process_lock();
                slice_claim(s, r);
                process_unlock();
        }
        pthread_mutex_lock(&s->lock);
        ranges_insert(&s->reservations, &r->range);
        pthread_mutex_unlock(&s->lock);
}

/* With the lock of the process held. What is managed has been left. */
static void drop(svmd_session *s, struct reservation *r) {
        bool taken = r->granule || r->own || (r->shared && !r->shadowed && slice_release(s, r));

        /* Blanking only fails when the kernel is out of mappings; then the slice keeps what it shows until it goes. */
        if (!taken && !va_blank(s, r->range.start, r->range.end))
                (void)va_blank_sparse(s, r->range.start, r->range.end);
        views_cut(s, &s->views, r->range.start, r->range.end);
        views_cut(s, &s->sparse, r->range.start, r->range.end);
        pthread_mutex_lock(&s->lock);
        ranges_remove(&s->reservations, &r->range);
        pthread_mutex_unlock(&s->lock);
        free(r);
}

void va_drop(svmd_session *s, struct reservation *r) {
        if (r->granule)
                cuda_managed_leave(s, r->range.start, r->range.end);
        managed_lock();
        if (r->granule || r->own)
                managed_leave(s, r);
        process_lock();
        drop(s, r);
        process_unlock();
        managed_unlock();
}

static void forget_views(struct ranges *t) {
        while (t->root) {
                struct view *v = view_of(t->root);

                ranges_remove(t, &v->range);
                free(v);
        }
}

static void forget(svmd_session *s) {
        forget_views(&s->views);
        forget_views(&s->sparse);
        while (s->reservations.root) {
                struct reservation *r = reservation_of(s->reservations.root);

                ranges_remove(&s->reservations, &r->range);
                free(r);
        }
        while (s->spare_views) {
                struct view *v = s->spare_views;

                s->spare_views = v->next;
                free(v);
        }
        fdcache_free(s);
}

static void leave_all(svmd_session *s) {
        struct range *r;

        for (uint64_t at = 0; (r = ranges_find(&s->reservations, at, UINT64_MAX)); at = r->end) {
                if (reservation_of(r)->granule || reservation_of(r)->own)
                        managed_leave(s, reservation_of(r));
        }
}

void va_fini(svmd_session *s) {
        managed_lock();
        if (!s->forked)
                leave_all(s);
        process_lock();
        process_remove(s);
        /* The last session of a slice unmaps it as a whole. */
        while (!s->forked && slice_is_shared(s) && s->reservations.root)
                drop(s, reservation_of(s->reservations.root));
        slice_put(s);
        process_unlock();
        managed_unlock();
        forget(s);
}

/* ---- bringing up to date ---- */

struct layout {
        struct view *view;
        unsigned count, room;
};

static int layout_add(struct layout *l, const struct reservation *r, const Svmd__V1__Mapping *m) {
        if (m->size > UINT64_MAX - m->address || m->address < r->range.start || m->address + m->size > r->range.end)
                return fail(SVMD_E_RANGE, "svmd says that a reservation shows memory outside of itself");
        if (l->count == l->room) {
                unsigned room = l->room ? 2 * l->room : 64;
                struct view *view = realloc(l->view, room * sizeof(*view));

                if (!view)
                        return fail_memory();
                l->view = view;
                l->room = room;
        }
        l->view[l->count++] = (struct view){
                .range = { .start = m->address, .end = m->address + m->size },
                .memory = m->memory,
                .offset = m->offset,
                .access = m->access & r->access,
        };
        return 0;
}

static int layout_take(struct layout *l, const struct reservation *r, const Svmd__V1__Result *result, uint64_t *from) {
        const Svmd__V1__LayoutResult *d = result->layout;

        *from = r->range.end;
        if (result->detail_case != SVMD__V1__RESULT__DETAIL_LAYOUT || !d->n_mappings)
                return 0;
        for (size_t i = 0; i < d->n_mappings; i++) {
                int error = layout_add(l, r, d->mappings[i]);

                if (error)
                        return error;
        }
        if (result->more)
                *from = l->view[l->count - 1].range.end;
        return 0;
}

static int layout_fetch(svmd_session *s, const struct reservation *r, struct layout *l) {
        uint64_t from = r->range.start;
        int error = 0;

        while (!error && from < r->range.end) {
                Svmd__V1__Layout body = SVMD__V1__LAYOUT__INIT;
                Svmd__V1__Op op = SVMD__V1__OP__INIT;
                const Svmd__V1__Result *result;
                struct call *c;

                body.reservation = r->id;
                body.from = from;
                op.op_case = SVMD__V1__OP__OP_LAYOUT;
                op.layout = &body;
                error = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
                if (error)
                        break;
                error = layout_take(l, r, result, &from);
                call_put(s, c);
        }
        return error;
}

static bool is_same(const struct view *a, const struct view *b) {
        return a->range.start == b->range.start && a->range.end == b->range.end && a->memory == b->memory &&
               a->offset == b->offset && a->access == b->access;
}

static const struct view *layout_find(const struct layout *l, uint64_t start) {
        unsigned low = 0, high = l->count;

        while (low < high) {
                unsigned middle = low + (high - low) / 2;

                if (l->view[middle].range.start < start)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < l->count ? &l->view[low] : NULL;
}

/* What the layout does not have like this goes, in the kernel first. */
static int remove_stale(svmd_session *s, const struct reservation *r, const struct layout *l) {
        struct range *v;
        uint64_t at = r->range.start;

        while ((v = ranges_find(&s->views, at, r->range.end))) {
                const struct view *now = layout_find(l, v->start);
                uint64_t start = v->start, end = v->end;
                int error;

                at = end;
                if (now && is_same(now, view_of(v)))
                        continue;
                error = va_blank(s, start, end);
                views_cut(s, &s->views, start, end);
                if (!error)
                        error = va_show_sparse(s, start, end);
                if (error)
                        return error;
        }
        return 0;
}

static void add_new(svmd_session *s, const struct layout *l) {
        for (unsigned i = 0; i < l->count; i++) {
                const struct view *v = &l->view[i];

                if (!ranges_find(&s->views, v->range.start, v->range.end))
                        views_add(s, &s->views, v->range.start, v->range.end, v->memory, v->offset, v->access);
        }
}

static bool take_repaint(svmd_session *s, struct reservation *r) {
        bool repaint;

        pthread_mutex_lock(&s->lock);
        repaint = r->repaint;
        r->repaint = false;
        pthread_mutex_unlock(&s->lock);
        return repaint;
}

/* What another session had shown here is not known: all of it goes. */
static int repaint_all(svmd_session *s, const struct reservation *r) {
        int error = va_reset(s, r->range.start, r->range.end);

        views_dirty(s, r->range.start, r->range.end);
        return error ? error : va_show_sparse(s, r->range.start, r->range.end);
}

static int apply(svmd_session *s, struct reservation *r, const struct layout *l) {
        uint64_t start, end;
        int error = views_spare(s, l->count), first = 0;

        if (!error)
                error = remove_stale(s, r, l);
        if (error)
                return error;
        add_new(s, l);
        if (take_repaint(s, r))
                first = repaint_all(s, r);
        while ((error = va_show(s, r->range.start, r->range.end, &start, &end)))
                first = first ? first : error;
        return first;
}

int va_refresh(svmd_session *s, struct reservation *r) {
        struct layout l = { 0 };
        int error = layout_fetch(s, r, &l);

        if (!error)
                error = r->own ? 0 : r->granule ? managed_show(s, r) : apply(s, r, &l);
        free(l.view);
        return error;
}
