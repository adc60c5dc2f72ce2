#include "service/capacity.h"

#include "base/clock.h"
#include "core/ledger.h"
#include "core/node.h"
#include "core/partition.h"
#include "service/internal.h"

/* Without that progress for so long, granules do not leave: they are pinned, or have nowhere to go. */
#define PATIENCE_NS 2000000000ull

/* ---- telling the mover ---- */

static uint64_t less(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

static uint64_t beside(uint64_t bound, uint64_t explicit) {
        return bound == ACCOUNT_NO_LIMIT ? UINT64_MAX : less(bound, explicit);
}

/* What is kept free for the partition, of all that is: the rest is for those who are no group of the mover's. */
static void note_unused(struct service *svc, struct managed_share *share, uint32_t node, uint64_t unused) {
        svc->managed.unused[node] += unused - share->unused[node];
        share->unused[node] = unused;
}

void capacity_node_changed(struct service *svc, uint32_t node) {
        capacity_changed(svc, NULL, node);
}

void capacity_changed(struct service *svc, struct partition *p, uint32_t node) {
        struct managed_share *share = p ? p->managed : NULL;
        const struct account *own = p ? &p->accounts[node] : NULL, *all = &svc->state.nodes[node].account;
        struct managed_node_share s = { .capacity = less(node_desc(svc, node)->capacity, all->used) };
        struct managed_bounds b = { 0 };

        if (p)
                give_back_changed(svc, p, node);
        if (share && node < MANAGED_NODES_MAX)
                note_unused(svc, share, node, account_unused(own));
        if (!svc->mover || node >= svc->managed.nodes_count)
                return;
        s.kept = less(all->held, svc->managed.unused[node]);
        if (share) {
                b.max = beside(give_back_limit(p, node, own->max), own->used);
                b.low = less(own->low, own->used);
                b.min = account_unused(own);
        }
        mover_share_node(svc->mover, node, &s, share ? share->group : NULL, &b);
}

void capacity_limits(struct service *svc, struct partition *p) {
        for (uint32_t i = 0; i < svc->managed.nodes_count; i++)
                capacity_changed(svc, p, i);
}

/* ---- waiting ---- */

uint64_t capacity_managed(struct service *svc, uint32_t node) {
        struct managed_node_info info;

        if (!svc->mover || node >= svc->managed.nodes_count)
                return 0;
        mover_node_info(svc->mover, node, &info);
        return info.used;
}

bool capacity_is_shared(const struct service *svc, uint32_t node) {
        return svc->managed.bytes > 0 && node < svc->managed.nodes_count;
}

static uint64_t above(uint64_t managed, uint64_t explicit, uint64_t max) {
        uint64_t left = max > explicit ? max - explicit : 0;

        return managed > left ? managed - left : 0;
}

/* Bytes of managed granules that have to leave the node: of all, or at least of the partition. */
static uint64_t excess(struct service *svc, const struct partition *p, uint32_t node) {
        const struct managed_share *share = p->managed;
        uint64_t managed = capacity_managed(svc, node), own = 0, node_excess, own_excess;

        if (managed == 0)
                return 0;
        if (share)
                mover_group_used(svc->mover, share->group, node, &own, NULL);
        node_excess = above(managed, svc->state.nodes[node].account.used, node_desc(svc, node)->capacity);
        own_excess = above(own, p->accounts[node].used, p->accounts[node].max);
        return node_excess > own_excess ? node_excess : own_excess;
}

bool capacity_is_free(struct service *svc, const struct partition *p, uint32_t node) {
        return excess(svc, p, node) == 0;
}

void capacity_wait(struct service *svc, struct capacity_wait *w) {
        w->least = excess(svc, w->partition, w->node);
        w->since_ns = clock_ns(CLOCK_MONOTONIC);
        list_push_back(&svc->managed.waits, &w->link);
        service_wake_soon(svc);
}

static bool patient(struct capacity_wait *w, uint64_t left) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);

        if (left < w->least) {
                w->least = left;
                w->since_ns = now;
        }
        return now - w->since_ns < PATIENCE_NS;
}

void capacity_collect(struct service *svc) {
        list_for_each_safe (l, &svc->managed.waits) {
                struct capacity_wait *w = container_of(l, struct capacity_wait, link);
                uint64_t left = excess(svc, w->partition, w->node);

                if (left > 0 && patient(w, left))
                        continue;
                list_remove(&w->link);
                w->done(svc, w, left == 0);
        }
        if (!list_empty(&svc->managed.waits))
                service_wake_soon(svc);
}

void capacity_give_up(struct service *svc) {
        while (!list_empty(&svc->managed.waits)) {
                struct capacity_wait *w = container_of(svc->managed.waits.next, struct capacity_wait, link);

                list_remove(&w->link);
                w->done(svc, w, false);
        }
}
