#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * What is wanted of a granule waits in the queue of its work and is served in order. A demand stays at the head until
 * the table says that nothing has to be done any more: a fault on what is OUT begins a fill, and is served again when
 * the fill has ended, by mapping. So whatever a change came to, the next look is at the state alone.
 *
 * Works with something to look at are on the engine's list; each input ends by looking at all of them. Nothing is
 * served from within something else that is being served.
 */
/* How often an input looks for what to evict: evictions may be refused at once. */
enum { ROUNDS = 8 };

struct work *work_get(struct managed *e, struct managed_range *r, uint32_t granule) {
        struct granule *g = granule_of(r, granule);
        struct work *w = g->work;

        if (w)
                return w;
        w = alloc_zero(sizeof(*w));
        if (!w)
                return NULL;
        w->range = r;
        w->g = g;
        list_init(&w->todo);
        list_init(&w->parked);
        list_init(&w->nap);
        list_init(&w->queue);
        list_init(&w->mapping);
        list_push_back(&r->works, &w->by_range);
        step_init(&w->step, OWNER_WORK);
        g->work = w;
        return w;
}

/* Frees it when there is nothing left to do. */
void work_put(struct managed *e, struct work *w) {
        struct managed_range *r = w->range;

        if (w->change != CHANGE_NONE || w->settling || !list_empty(&w->queue) || !list_empty(&w->mapping))
                return;
        work_unpark(e, w);
        cap_wake(e, w);
        thrash_wake(e, w);
        list_remove(&w->todo);
        list_remove(&w->by_range);
        w->g->work = NULL;
        e->changes++;
        alloc_free(w->copy);
        alloc_free(w);
        range_ended(e, r);
}

/* What is charged twice until it has arrived is no reason for anything to leave. */
void work_arrives(struct managed *e, struct work *w, bool on) {
        uint64_t bytes = on ? w->range->bytes : -(uint64_t)w->range->bytes;
        struct managed_group *g;

        if (w->arrives == on)
                return;
        w->arrives = on;
        e->nodes[w->node].arriving += bytes;
        for (unsigned i = 0; (g = range_group(w->range, i)); i++)
                g->nodes[w->node].arriving += bytes;
}

void work_todo(struct managed *e, struct work *w) {
        list_remove(&w->todo);
        list_push_back(&e->todo, &w->todo);
}

static void fence_done(struct managed *e, struct fence *f, int result) {
        if (!f->result || result < 0)
                f->result = result ? result : f->result;
        if (--f->pending)
                return;
        if (f->token)
                e->c.done(e->c.userdata, f->token, f->result);
        alloc_free(f);
}

void demand_done(struct demand *d, int result) {
        struct managed *e = d->work->range->engine;

        list_remove(&d->link);
        if (d->evicts)
                evict_count(e, d->work->range, d->evicts - 1, false);
        if (d->resumes) {
                d->resumes->waits = false;
                in_room(e, d->resumes);
        }
        granule_answered(e, d->work, d->cause, result);
        history_answered(e, d, result);
        figures_answered(e, d);
        if (d->fence)
                fence_done(e, d->fence, result);
        alloc_free(d);
}

/* A thread or a device waits for it, or for the room that it makes. */
static bool demand_is_urgent(const struct demand *d) {
        return event_is_fault(d->event) || event_is_device(d->event) || d->forced;
}

bool work_is_urgent(const struct work *w) {
        list_for_each (it, &w->queue)
                if (demand_is_urgent(container_of(it, struct demand, link)))
                        return true;
        return !list_empty(&w->mapping);
}

/* A step that serves the session and wakes it is out, and may have been too early for this fault. */
static bool is_late(const struct work *w, const struct demand *d) {
        return w->phase == PHASE_FILL && d->share && d->share == w->payer;
}

/* A fault of a session that has one waiting for the granule is part of that one. */
static bool merged(struct work *w, const struct demand *d) {
        list_for_each (it, &w->queue) {
                struct demand *other = container_of(it, struct demand, link);

                if (!event_is_fault(other->event) || other->share != d->share)
                        continue;
                if (d->write)
                        other->event = MANAGED_FAULT_WRITE;
                other->write |= d->write;
                other->met |= d->met;
                other->again |= is_late(w, d);
                return true;
        }
        list_for_each (it, &w->mapping) {
                struct demand *other = container_of(it, struct demand, link);

                if (other->share != d->share)
                        continue;
                other->again = true;
                other->write |= d->write;
                other->met |= d->met;
                return true;
        }
        return false;
}

int demand_add(struct managed *e, struct managed_range *r, uint32_t granule, const struct demand *d, bool first) {
        struct work *w = work_get(e, r, granule);
        struct demand *new;

        if (!w)
                return -ENOMEM;
        work_todo(e, w);
        if (demand_is_urgent(d))
                step_hurry(e, &w->step);
        if (!cap_can_wait(d))
                cap_wake(e, w);
        if (event_is_fault(d->event) && merged(w, d))
                return 0;
        new = alloc_zero(sizeof(*new));
        if (!new)
                return -ENOMEM;
        *new = *d;
        new->work = w;
        new->began_ns = e->now;
        new->again = is_late(w, new);
        step_init(&new->step, OWNER_DEMAND);
        if (first)
                list_push_front(&w->queue, &new->link);
        else
                list_push_back(&w->queue, &new->link);
        return 0;
}

static void work_serve(struct managed *e, struct work *w) {
        while (w->change == CHANGE_NONE && !w->parked_on && !w->nap_ns && !w->capped && !list_empty(&w->queue))
                if (!serve(e, w, container_of(w->queue.next, struct demand, link)))
                        break;
        work_put(e, w);
}

void managed_run(struct managed *e) {
        unsigned rounds = 0;

        thrash_run(e);
        cap_run(e);
        do {
                while (!list_empty(&e->todo)) {
                        struct work *w = container_of(e->todo.next, struct work, todo);

                        list_remove(&w->todo);
                        work_serve(e, w);
                }
                if (rounds++ < ROUNDS && e->restore == RESTORE_NONE)
                        evict_run(e);
        } while (!list_empty(&e->todo));
}

/* Takes back the demands of a fence that could not be made whole. */
static void unwind(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, struct fence *f) {
        for (uint32_t i = first; i < first + count; i++) {
                struct work *w = granule_of(r, i)->work;
                struct demand *last;

                if (!w || list_empty(&w->queue))
                        continue;
                last = container_of(w->queue.prev, struct demand, link);
                if (last->fence == f) {
                        list_remove(&last->link);
                        alloc_free(last);
                }
        }
        alloc_free(f);
}

static int request(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count,
                   const struct demand *like, uint64_t token) {
        struct demand d = *like;

        if (first >= r->count || count == 0 || count > r->count - first)
                return -EINVAL;
        d.fence = alloc_zero(sizeof(*d.fence));
        if (!d.fence)
                return -ENOMEM;
        *d.fence = (struct fence){ .token = token, .pending = count };
        for (uint32_t i = 0; i < count; i++) {
                if (demand_add(e, r, first + i, &d, false)) {
                        unwind(e, r, first, count, d.fence);
                        managed_run(e);
                        return -ENOMEM;
                }
        }
        managed_run(e);
        return 0;
}

int managed_migrate(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint32_t to,
                    enum managed_cause cause, uint64_t token, uint64_t now_ns) {
        struct demand d = { .cause = cause, .node = to };

        e->now = now_ns;
        if (to >= e->nodes_count)
                return -EINVAL;
        d.event = e->nodes[to].host ? MANAGED_TO_HOST : MANAGED_TO_NODE;
        d.ahead = cause == MANAGED_BY_PREFETCH && !e->nodes[to].host && !e->shape[to].faults;
        return request(e, r, first, count, &d, token);
}

int managed_evict(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint64_t token,
                  uint64_t now_ns) {
        struct demand d = { .event = MANAGED_TO_NODE, .cause = MANAGED_BY_REQUEST, .away = true };

        e->now = now_ns;
        return request(e, r, first, count, &d, token);
}

int managed_discard(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint64_t token,
                    uint64_t now_ns) {
        struct demand d = { .event = MANAGED_DISCARD, .cause = MANAGED_BY_REQUEST };

        e->now = now_ns;
        return request(e, r, first, count, &d, token);
}

int managed_unduplicate(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint64_t token,
                        uint64_t now_ns) {
        struct demand d = { .event = MANAGED_UNDUPLICATE, .cause = MANAGED_BY_ADVICE };

        e->now = now_ns;
        return request(e, r, first, count, &d, token);
}

/* Whether the host nodes can still evict when so many bytes more are pinned. */
static bool may_pin(const struct managed *e, uint64_t bytes) {
        uint64_t pinned = bytes, grantable = 0;

        for (uint32_t i = 0; i < e->nodes_count; i++) {
                const struct node *n = &e->nodes[i];

                if (!n->host)
                        continue;
                pinned += n->pinned;
                if (n->capacity > 2 * n->reserve)
                        grantable += n->capacity - 2 * n->reserve;
        }
        return pinned <= grantable;
}

static bool groups_may_pin(const struct managed *e, const struct managed_range *r, uint64_t more) {
        const struct managed_group *g;

        for (unsigned i = 0; (g = range_group(r, i)); i++)
                if (!group_may_pin(e, g, r, more))
                        return false;
        return true;
}

void pin_count(struct managed *e, struct managed_range *r, uint32_t i, bool on) {
        struct granule *g = granule_of(r, i);
        uint64_t bytes = on ? r->bytes : -(uint64_t)r->bytes;
        struct managed_group *of;
        uint32_t host = 0;

        if (on ? g->pins++ : !g->pins || --g->pins)
                return;
        while (!e->nodes[host].host)
                host++;
        e->nodes[host].pinned += bytes;
        r->pinned += bytes;
        for (unsigned k = 0; (of = range_group(r, k)); k++)
                of->pinned += bytes;
        e->changes += !on;
}

int managed_pin(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint64_t token,
                uint64_t now_ns) {
        struct demand d = { .event = MANAGED_PIN, .cause = MANAGED_BY_REQUEST };
        uint64_t more = 0;
        int k;

        e->now = now_ns;
        if (first >= r->count || count == 0 || count > r->count - first)
                return -EINVAL;
        for (uint32_t i = 0; i < count; i++) {
                more += granule_of(r, first + i)->pins ? 0 : r->bytes;
                if (granule_of(r, first + i)->pins == UINT16_MAX)
                        return MANAGED_E_FULL;
        }
        if (e->restore != RESTORE_BEGINNING && (!may_pin(e, more) || !groups_may_pin(e, r, more)))
                return MANAGED_E_FULL;
        for (uint32_t i = 0; i < count; i++)
                pin_count(e, r, first + i, true);
        k = request(e, r, first, count, &d, token);
        for (uint32_t i = 0; k && i < count; i++)
                pin_count(e, r, first + i, false);
        return k;
}

void managed_unpin(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint64_t now_ns) {
        e->now = now_ns;
        for (uint32_t i = 0; i < count; i++)
                pin_count(e, r, first + i, false);
        managed_run(e);
}

int managed_revoke(struct managed *e, struct managed_range *r, uint64_t token, uint64_t now_ns) {
        struct demand d = { .event = MANAGED_REVOKE, .cause = MANAGED_BY_REVOKE };

        e->now = now_ns;
        return request(e, r, 0, r->count, &d, token);
}

int managed_unrevoke(struct managed *e, struct managed_range *r, uint64_t token, uint64_t now_ns) {
        struct demand d = { .event = MANAGED_UNREVOKE, .cause = MANAGED_BY_REVOKE };

        e->now = now_ns;
        return request(e, r, 0, r->count, &d, token);
}

int managed_device_access(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t node, bool write,
                          uint64_t token, uint64_t now_ns) {
        struct demand d = { .cause = MANAGED_BY_DEVICE, .node = node, .write = write };

        e->now = now_ns;
        if (node >= e->nodes_count)
                return -EINVAL;
        d.event = write ? MANAGED_DEVICE_WRITE : MANAGED_DEVICE_READ;
        return request(e, r, granule, 1, &d, token);
}
