#include "service/capacity.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"
#include "core/ledger.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "service/internal.h"

/* Without that progress for so long, granules do not leave: they are pinned, or have nowhere to go. */
#define PATIENCE_NS 2000000000ull

/* ---- telling the mover ---- */

void capacity_changed(struct service *svc, struct partition *p, uint32_t node) {
        const struct managed_share *share = p->managed;
        const struct account *own = &p->accounts[node], *all = &svc->state.nodes[node].account;
        uint64_t capacity = node_desc(svc, node)->capacity, limit;

        give_back_changed(svc, p, node);

        if (!svc->mover || node >= svc->managed.nodes_count)
                return;
        mover_node_capacity(svc->mover, node, capacity > all->used ? capacity - all->used : 0);
        if (!share)
                return;
        limit = give_back_limit(p, node, own->max);
        mover_group_limit(svc->mover, share->group, node,
                          limit == ACCOUNT_NO_LIMIT ? UINT64_MAX
                          : limit > own->used       ? limit - own->used
                                                    : 0);
}

void capacity_limits(struct service *svc, struct partition *p) {
        for (uint32_t i = 0; i < svc->managed.nodes_count; i++)
                capacity_changed(svc, p, i);
}

/* ---- admission ---- */

struct sums {
        uint64_t could;    /* what managed ranges can have */
        uint64_t kept;     /* for moves, out of that */
        uint64_t explicit; /* what explicit memory has */
};

static void add(uint64_t *sum, uint64_t n) {
        *sum = n > UINT64_MAX - *sum ? UINT64_MAX : *sum + n;
}

/* Of all nodes that take something. */
static struct sums sum_nodes(struct service *svc) {
        struct sums s = { 0 };

        for (uint32_t i = 0; i < svc->managed.nodes_count; i++) {
                uint64_t used = svc->state.nodes[i].account.used;
                uint64_t capacity = node_desc(svc, i)->capacity, left = capacity > used ? capacity - used : 0;
                struct managed_node_info info;

                mover_node_info(svc->mover, i, &info);
                add(&s.explicit, used);
                if (!info.online)
                        continue;
                add(&s.kept, info.reserve < left ? info.reserve : left);
                add(&s.could, info.reserve < left ? left - info.reserve : 0);
        }
        return s;
}

static struct sums sum_limits(const struct service *svc, const struct partition *p) {
        struct sums s = { 0 };

        for (uint32_t i = 0; i < svc->managed.nodes_count; i++) {
                const struct account *a = &p->accounts[i];

                add(&s.explicit, a->used);
                add(&s.could, a->max == ACCOUNT_NO_LIMIT ? UINT64_MAX : a->max > a->used ? a->max - a->used : 0);
        }
        return s;
}

static unsigned say(unsigned code, char *why, size_t why_size, const char *what, const struct sums *s,
                    uint64_t managed) {
        char could[24], kept[24], explicit[24], sizes[24];

        text_bytes(could, sizeof(could), s->could);
        text_bytes(kept, sizeof(kept), s->kept);
        text_bytes(explicit, sizeof(explicit), s->explicit);
        text_bytes(sizes, sizeof(sizes), managed);
        snprintf(why, why_size,
                 "%s %s for managed ranges beside %s of explicit memory (%s is kept for moves), and their sizes would "
                 "be %s together: reserve less, free some, or use less explicit memory",
                 what, could, explicit, kept, sizes);
        return code;
}

static unsigned admit(struct service *svc, struct partition *p, uint64_t more, char *why, size_t why_size) {
        const struct managed_share *share = p->managed;
        uint64_t all = svc->managed.bytes + more, own = (share ? share->bytes : 0) + more;
        struct sums nodes = sum_nodes(svc), limits = sum_limits(svc, p);
        char what[128];

        if (own > limits.could) {
                snprintf(what, sizeof(what), "partition %s may have", p->name->text);
                return say(SVMD_STATUS_LIMIT, why, why_size, what, &limits, own);
        }
        if (all > nodes.could)
                return say(SVMD_STATUS_NO_ROOM, why, why_size, "all nodes together have", &nodes, all);
        return SVMD_STATUS_OK;
}

unsigned capacity_for_range(struct service *svc, struct partition *p, uint64_t size, char *why, size_t why_size) {
        return admit(svc, p, size, why, why_size);
}

unsigned capacity_for_memory(struct service *svc, struct partition *p, uint32_t node, char *why, size_t why_size) {
        if (!capacity_is_shared(svc, node))
                return SVMD_STATUS_OK;
        return admit(svc, p, 0, why, why_size);
}

static uint64_t less(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

/* What is pinned lies on host nodes and stays there, whoever comes. */
static bool leaves_pinned(struct service *svc, const struct partition *p, uint64_t on_hosts) {
        const struct managed_share *share = p->managed;
        uint64_t all = 0, own = share ? mover_group_pinned(svc->mover, share->group) : 0, room = 0, limit = 0;

        for (uint32_t i = 0; i < svc->managed.nodes_count; i++) {
                const struct account *a = &p->accounts[i];
                struct managed_node_info info;

                if (node_desc(svc, i)->kind != NODE_HOST)
                        continue;
                mover_node_info(svc->mover, i, &info);
                all += info.pinned;
                add(&room, less(node_desc(svc, i)->capacity, svc->state.nodes[i].account.used));
                add(&limit, a->max == ACCOUNT_NO_LIMIT ? UINT64_MAX : less(a->max, a->used));
        }
        return less(room, on_hosts) >= all && less(limit, on_hosts) >= own;
}

bool capacity_for_lease(struct service *svc, struct partition *p, uint64_t bytes, uint64_t on_hosts) {
        const struct managed_share *share = p->managed;
        struct sums nodes = sum_nodes(svc), limits = sum_limits(svc, p);
        uint64_t own = share ? share->bytes : 0;

        if (on_hosts && !leaves_pinned(svc, p, on_hosts))
                return false;
        return bytes <= nodes.could && nodes.could - bytes >= svc->managed.bytes && bytes <= limits.could &&
               limits.could - bytes >= own;
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
