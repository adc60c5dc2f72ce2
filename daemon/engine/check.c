#include <errno.h>
#include <string.h>

#include "engine/managed-priv.h"

/* Every sum is what its parts come to, and each slot belongs to the one that names it. */
struct sums {
        uint64_t used[MANAGED_NODES_MAX], pinned, evicting[MANAGED_NODES_MAX], copies[MANAGED_NODES_MAX];
        uint64_t payers; /* granules that name one */
        uint64_t arriving[MANAGED_NODES_MAX];
        uint32_t waiting[MANAGED_NODES_MAX], reserve;
        bool wrong;
};

static void count_slot(const struct managed *e, struct sums *s, const struct managed_range *r, const struct granule *g,
                       uint32_t node, uint32_t slot) {
        const struct pool *p = &e->nodes[node].pool[slot & SLOT_PLACE ? CLASSES + r->class : r->class];

        slot &= ~SLOT_PLACE;
        s->used[node] += r->bytes;
        if (slot > p->high || p->owners[slot - 1].range != r || &r->granules[p->owners[slot - 1].granule] != g)
                s->wrong = true;
}

static void count_work(const struct managed *e, struct sums *s, const struct work *w) {
        if (w->slot)
                count_slot(e, s, w->range, w->g, w->node, w->slot);
        s->reserve += w->reserve;
        if (w->arrives)
                s->arriving[w->node] += w->range->bytes;
        if (w->parked_on)
                s->waiting[w->parked_on - 1]++;
        s->wrong |= w->g->work != w || (w->change == CHANGE_NONE) != (w->phase == PHASE_NONE);
        s->wrong |= w->change != CHANGE_NONE && !list_empty(&w->mapping) && w->phase != PHASE_CONTINUE;
        list_for_each (it, &w->queue) {
                const struct demand *d = container_of(it, struct demand, link);

                if (d->evicts)
                        s->evicting[d->evicts - 1] += w->range->bytes;
        }
}

/* What each state holds. */
static bool holds(const struct managed_range *r, const struct granule *g) {
        bool moving = g->work && g->work->change != CHANGE_NONE, lost = granule_lost(g), copies = granule_copies(r, g);
        uint64_t mapped = granule_shown(r, g, false), writable = granule_shown(r, g, true);

        if (writable & ~mapped || g->slot & SLOT_PLACE || (g->host_slot && !(g->host_slot & SLOT_PLACE)))
                return false;
        if (lost && (g->state == RESIDENCY_EMPTY || g->state == RESIDENCY_RESIDENT || g->state == RESIDENCY_FILLING ||
                     g->state == RESIDENCY_WRITING || g->state == RESIDENCY_CONTINUING))
                return false;

        switch ((enum residency)g->state) {
        case RESIDENCY_EMPTY: return !g->slot && (!g->host_slot || moving);
        case RESIDENCY_RESIDENT:
        case RESIDENCY_CONTINUING: return !g->slot && g->host_slot && !copies;
        case RESIDENCY_COPYING:
        case RESIDENCY_PUNCHING: return (g->slot || lost) && g->host_slot && !mapped && !g->ops;
        case RESIDENCY_OUT: return (g->slot || lost) && (!g->host_slot || moving) && !copies;
        case RESIDENCY_FILLING:
        case RESIDENCY_WRITING: return g->host_slot && !mapped && !g->ops;
        case RESIDENCY_DUPLICATED: return copies && g->host_slot && (!g->slot || moving) && !writable;
        case RESIDENCY_REVOKED: return !g->host_slot && !copies;
        }
        return false;
}

static void count_range(const struct managed *e, struct sums *s, const struct managed_range *r) {
        uint64_t before[MANAGED_NODES_MAX], pinned = s->pinned;
        uint32_t guarded = 0;

        memcpy(before, s->used, sizeof(before));
        s->wrong |= r->group && !range_is_in(r, r->group);

        for (uint32_t i = 0; i < r->count; i++) {
                const struct granule *g = &r->granules[i];

                s->wrong |= (r->on_host[i / 64] >> i % 64 & 1) != (g->host_slot != 0);
                if (g->host_slot)
                        count_slot(e, s, r, g, g->host, g->host_slot);
                if (g->slot)
                        count_slot(e, s, r, g, g->node, g->slot);
                for (const struct copy *c = granule_copies(r, g); c; c = c->next) {
                        count_slot(e, s, r, g, c->node, c->slot);
                        s->copies[c->node]++;
                }
                s->pinned += g->pins ? r->bytes : 0;
                s->payers += g->cgroup != 0;
                guarded += managed_action((enum residency)g->state, MANAGED_JOIN) == MANAGED_PROTECT;
                s->wrong |= !holds(r, g);
        }
        list_for_each (it, &r->works)
                count_work(e, s, container_of(it, struct work, by_range));
        s->wrong |= guarded != r->guarded || s->pinned - pinned != r->pinned;
        for (uint32_t i = 0; i < e->nodes_count; i++)
                s->wrong |= s->used[i] - before[i] != managed_range_used(r, i);
}

static bool group_adds_up(const struct managed *e, const struct managed_group *g) {
        struct sums s = { 0 };
        uint64_t granules = 0;

        list_for_each (it, &g->members) {
                const struct chain_member *m = container_of(it, struct chain_member, by_group);

                s.wrong |= m->group != g || list_empty(&m->chain->ranges);
                list_for_each (l, &m->chain->ranges) {
                        const struct managed_range *r = container_of(l, struct managed_range, by_chain);

                        s.wrong |= r->chain != m->chain;
                        count_range(e, &s, r);
                        granules += r->count;
                }
        }
        for (uint32_t i = 0; i < e->nodes_count; i++) {
                const struct group_node *n = &g->nodes[i];

                if (s.used[i] != n->used || s.waiting[i] != n->waiting || s.evicting[i] != n->evicting ||
                    s.arriving[i] != n->arriving || n->peak < n->used || (n->used > n->limit && !(g->pressed >> i & 1)))
                        return false;
        }
        return !s.wrong && granules == g->granules && s.pinned == g->pinned && list_empty(&g->press) == !g->pressed;
}

static bool promises_add_up(const struct managed *e, uint32_t i) {
        struct policy_promises p = { e->nodes[i].kept, e->nodes[i].kept };
        uint32_t protected = 0;

        list_for_each (it, &e->groups) {
                struct policy_share s = group_share(container_of(it, struct managed_group, link), i);

                p.min += s.min;
                p.unused += policy_unused(&s);
                protected += s.min || s.low;
        }
        return p.min == e->nodes[i].promises.min && p.unused == e->nodes[i].promises.unused &&
               protected == e->nodes[i].protected;
}

static bool node_adds_up(const struct managed *e, const struct sums *s, uint32_t i) {
        const struct node *n = &e->nodes[i];
        uint32_t waiting = 0;

        list_for_each (it, &n->lines)
                waiting += container_of(it, struct line, link)->waiting;
        return s->used[i] == n->used && e->shape[i].used == n->used && s->waiting[i] == n->waiting &&
               s->arriving[i] == n->arriving && waiting == n->waiting && s->evicting[i] == n->evicting &&
               s->copies[i] == n->copies && promises_add_up(e, i);
}

/* References of cgroups: sessions' and granules'. */
static bool cgroups_add_up(const struct managed *e, uint64_t payers) {
        uint64_t refs = 0;

        list_for_each (it, &e->sessions)
                payers += container_of(it, struct managed_session, link)->cgroup_index != 0;
        for (uint32_t i = 0; i < e->cgroups_size; i++)
                refs += e->cgroups[i].refs;
        return refs == payers;
}

int managed_check(const struct managed *e) {
        struct sums s = { 0 };
        uint64_t pinned = 0;

        list_for_each (it, &e->ranges)
                count_range(e, &s, container_of(it, struct managed_range, link));
        list_for_each (it, &e->groups)
                s.wrong |= !group_adds_up(e, container_of(it, struct managed_group, link));
        for (uint32_t i = 0; i < e->nodes_count; i++) {
                s.wrong |= !node_adds_up(e, &s, i);
                pinned += e->nodes[i].pinned;
        }
        s.wrong |= !cgroups_add_up(e, s.payers);
        return s.wrong || pinned != s.pinned || s.reserve != e->reserve_works ? -EUCLEAN : 0;
}
