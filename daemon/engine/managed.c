#include "engine/managed.h"

#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

void managed_profile(struct managed *e, const struct policy_profile *p) {
        e->profile = *p;
        e->c.profile = &e->profile;
}

int managed_new(struct managed **ret, const struct managed_config *c) {
        struct managed *e;

        if (c->workers < 2 || !c->session_steps || !c->intent || !c->done || !c->joined)
                return -EINVAL;
        e = alloc_zero(sizeof(*e));
        if (!e)
                return -ENOMEM;
        e->c = *c;
        managed_profile(e, c->profile ? c->profile : policy_profile_default());
        if (!e->c.decide.place)
                e->c.decide.place = policy_place;
        if (!e->c.decide.promote)
                e->c.decide.promote = policy_promote;
        if (!e->c.decide.evict)
                e->c.decide.evict = policy_evict;
        if (!e->c.decide.away)
                e->c.decide.away = policy_away;
        if (!e->c.decide.prefetch)
                e->c.decide.prefetch = policy_prefetch;
        list_init(&e->groups);
        list_init(&e->chains);
        list_init(&e->press);
        list_init(&e->ranges);
        list_init(&e->sessions);
        for (unsigned u = 0; u < URGENCIES; u++) {
                list_init(&e->steps[u]);
                list_init(&e->ready[u]);
        }
        if (!e->c.decide.thrash)
                e->c.decide.thrash = policy_thrash;
        list_init(&e->todo);
        list_init(&e->bounced);
        list_init(&e->pins);
        list_init(&e->naps);
        list_init(&e->flows);
        list_init(&e->cancelled);
        *ret = e;
        return 0;
}

static void copies_free(struct copy *first) {
        struct copy *next;

        for (struct copy *c = first; c; c = next) {
                next = c->next;
                alloc_free(c);
        }
}

static void demands_free(struct list *l) {
        list_for_each_safe (it, l) {
                struct demand *d = container_of(it, struct demand, link);

                if (d->fence && !--d->fence->pending)
                        alloc_free(d->fence);
                alloc_free(d);
        }
}

static void range_free(struct managed_range *r) {
        list_for_each_safe (it, &r->works) {
                struct work *w = container_of(it, struct work, by_range);

                demands_free(&w->queue);
                demands_free(&w->mapping);
                alloc_free(w->copy);
                alloc_free(w);
        }
        list_for_each_safe (it, &r->shares)
                alloc_free(container_of(it, struct share, by_range));
        thrash_forget(r);
        for (uint32_t i = 0; r->copies && i < r->count; i++)
                copies_free(r->copies[i]);
        alloc_free(r->copies);
        for (uint32_t i = 0; i < MANAGED_NODES_MAX; i++)
                alloc_free(r->shown[i]);
        alloc_free(r);
}

void managed_free(struct managed *e) {
        if (!e)
                return;
        list_for_each_safe (it, &e->ranges)
                range_free(container_of(it, struct managed_range, link));
        list_for_each_safe (it, &e->groups)
                group_destroy(container_of(it, struct managed_group, link));
        list_for_each_safe (it, &e->chains)
                alloc_free(container_of(it, struct managed_chain, link));
        list_for_each_safe (it, &e->sessions)
                alloc_free(container_of(it, struct managed_session, link));
        for (uint32_t i = 0; i < e->nodes_count; i++)
                for (unsigned c = 0; c < POOLS; c++) {
                        alloc_free(e->nodes[i].pool[c].owners);
                        alloc_free(e->nodes[i].pool[c].ages);
                }
        for (uint32_t i = 0; i < e->nodes_count; i++)
                for (uint32_t k = i; k < e->nodes_count; k++)
                        alloc_free(e->links[i][k]);
        alloc_free(e->cgroups);
        alloc_free(e);
}

int managed_range_new(struct managed *e, struct managed_range **ret, void *userdata, struct managed_group *group,
                      uint32_t bytes, uint32_t count, uint64_t cgroup, bool poison) {
        struct managed_range *r;
        unsigned class = 0;

        while (class < CLASSES && class_bytes(class) != bytes)
                class ++;
        if (class == CLASSES || bytes > e->c.largest || !count)
                return -EINVAL;
        r = alloc_zero(sizeof(*r) + (size_t)count * sizeof(r->granules[0]) +
                       ((size_t)count / 64 + 1) * sizeof(uint64_t));
        if (!r)
                return -ENOMEM;
        r->engine = e;
        r->userdata = userdata;
        r->bytes = bytes;
        r->class = (uint8_t) class;
        r->count = count;
        r->cgroup = cgroup;
        r->poison = poison;
        r->settled = true;
        r->on_host = (uint64_t *)(r->granules + count);
        list_init(&r->shares);
        list_init(&r->works);
        step_init(&r->step, OWNER_RANGE);
        list_push_back(&e->ranges, &r->link);
        r->group = group;
        range_join(e, r, group ? &group->alone : NULL);
        *ret = r;
        return 0;
}

void managed_range_ahead(struct managed_range *r) {
        r->ahead = true;
}

/* Gives back what a granule of a range that has ended holds. */
static void granule_end(struct managed *e, struct managed_range *r, struct granule *g) {
        if (g->host_slot)
                node_give(e, g->host, r, g->host_slot);
        if (g->slot)
                node_give(e, g->node, r, g->slot);
        granule_drop_copies(e, r, g);
        cgroup_set(e, g, 0);
}

/* Takes the translations of a range in which nothing goes on any more away, one after the other. */
static bool quiet(struct managed *e, struct managed_range *r) {
        for (; r->cursor < r->count; r->cursor++) {
                struct granule *g = granule_of(r, r->cursor);
                uint64_t shown = granule_shown(r, g, false);

                if (g->ops)
                        return false;
                if (shown) {
                        struct managed_step *s = step_new(&r->step, r, r->cursor, MANAGED_INVALIDATE);

                        s->node = (uint32_t)__builtin_ctzll(shown);
                        granule_hide(r, g, s->node);
                        step_emit(e, &r->step, NULL);
                        return false;
                }
        }
        return true;
}

void range_ended(struct managed *e, struct managed_range *r) {
        uint64_t token = r->end_token;

        if (!r->ending || r->leaving || !list_empty(&r->works) || !list_empty(&r->shares) || r->step.out ||
            !quiet(e, r))
                return;
        for (uint32_t i = 0; i < r->count; i++) {
                while (granule_of(r, i)->pins)
                        pin_count(e, r, i, false);
                granule_end(e, r, granule_of(r, i));
        }
        list_remove(&r->link);
        range_part(e, r);
        reuse_forget(e, r);
        range_free(r);
        e->changes++;
        restore_settled(e);
        if (token)
                e->c.done(e->c.userdata, token, 0);
}

/* What is in flight goes on until it has settled. */
void managed_range_end(struct managed *e, struct managed_range *r, uint64_t token, uint64_t now_ns) {
        e->now = now_ns;
        r->ending = r->leaving = true;
        r->end_token = token;
        r->cursor = 0;
        list_for_each (it, &r->works) {
                struct work *w = container_of(it, struct work, by_range);

                work_unpark(e, w);
                thrash_wake(e, w);
                cap_wake(e, w);
                work_todo(e, w);
        }
        list_for_each_safe (it, &r->shares)
                share_leave(e, container_of(it, struct share, by_range));
        managed_run(e);
        r->leaving = false;
        range_ended(e, r);
        managed_run(e);
}

bool managed_idle(const struct managed *e) {
        return !e->steps_out && list_empty(&e->todo);
}
