#include "service/capacity.h"

#include <string.h>

#include "base/clock.h"
#include "core/cgroup.h"
#include "core/ledger.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/chain.h"
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

/* What is kept free for it, of all that is: the rest is for those who are no group of the mover's. */
static void note_unused(struct service *svc, uint64_t *noted, uint32_t node, uint64_t unused) {
        svc->managed.unused[node] += unused - *noted;
        *noted = unused;
}

/* Of what explicit memory has left. A min counts for managed pages as it does for memory: a control group's is kept
 * free in the node; a session's in its partition, where others' pages leave before its own. */
static struct managed_bounds left_of(struct limited of, uint32_t node) {
        const struct account *a = limited_account(of, node);
        struct managed_bounds b = { .max = UINT64_MAX };

        if (!a)
                return b;
        b.max = beside(give_back_limit(of, node, a->max), a->used);
        b.low = less(a->low, a->used);
        b.min = account_unused(a);
        if (!of.session)
                return b;
        b.low = b.min > b.low ? b.min : b.low;
        b.min = 0;
        return b;
}

/* What has changed, and is to be told at once. */
enum { TOLD = 16 };
struct telling {
        struct managed_group_bounds of[TOLD];
        unsigned count;
};

static void tell(struct service *svc, uint32_t node, struct telling *t) {
        const struct account *all = &svc->state.nodes[node].account;
        const struct managed_node_share s = {
                .capacity = less(node_desc(svc, node)->capacity, all->used),
                .kept = less(all->held, svc->managed.unused[node]),
        };

        mover_share_node(svc->mover, node, &s, t->of, t->count);
        t->count = 0;
}

static void add(struct service *svc, uint32_t node, struct telling *t, struct managed_group *group,
                const struct managed_bounds *b) {
        if (t->count == TOLD)
                tell(svc, node, t);
        t->of[t->count++] = (struct managed_group_bounds){ group, *b };
}

/* There may be thousands with limits, and this is for every charge: only those of whom something has changed. */
static void add_limits(struct service *svc, uint32_t node, struct telling *t) {
        struct list *changed = &svc->managed.changed[node];

        while (!list_empty(changed)) {
                struct account_news *n = container_of(changed->next, struct account_news, link);
                struct managed_limits *l = container_of(n - node, struct managed_limits, news[0]);
                const struct managed_bounds b = left_of(l->of, node);

                list_remove(&n->link);
                svc->managed.limits_looked++;
                note_unused(svc, &l->unused[node], node, b.min);
                if (memcmp(&b, &l->told[node], sizeof(b)) == 0)
                        continue;
                l->told[node] = b;
                add(svc, node, t, l->group, &b);
        }
}

void capacity_node_changed(struct service *svc, uint32_t node) {
        capacity_changed(svc, NULL, node);
}

void capacity_changed(struct service *svc, struct partition *p, uint32_t node) {
        struct managed_share *share = p ? p->managed : NULL;
        struct telling t = { .count = 0 };

        if (p)
                give_back_changed(svc, p, node);
        if (share && node < MANAGED_NODES_MAX)
                note_unused(svc, &share->unused[node], node, account_unused(&p->accounts[node]));
        if (!svc->mover || node >= svc->managed.nodes_count)
                return;
        add_limits(svc, node, &t);
        if (share) {
                const struct managed_bounds b = left_of(LIMITED_PARTITION(p), node);

                add(svc, node, &t, share->group, &b);
        }
        tell(svc, node, &t);
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

static uint64_t above_own(struct service *svc, struct limited of, uint32_t node) {
        const struct account *a = limited_account(of, node);

        return a && limited_group(of) ? above(limited_managed(svc, of, node), a->used, a->max) : 0;
}

static uint64_t larger(uint64_t a, uint64_t b) {
        return a > b ? a : b;
}

/* Bytes of managed granules that have to leave the node: of all, or at least of those who are charged. */
static uint64_t excess(struct service *svc, struct partition *p, struct session *s, uint32_t node) {
        uint64_t managed = capacity_managed(svc, node), most;

        if (managed == 0)
                return 0;
        most = above(managed, svc->state.nodes[node].account.used, node_desc(svc, node)->capacity);
        most = larger(most, above_own(svc, LIMITED_PARTITION(p), node));
        if (s)
                most = larger(most, above_own(svc, LIMITED_SESSION(s), node));
        for (struct cgroup *g = s ? s->cgroup : NULL; g; g = g->outer)
                most = larger(most, above_own(svc, LIMITED_CGROUP(g), node));
        return most;
}

bool capacity_is_free(struct service *svc, struct partition *p, struct session *s, uint32_t node) {
        return excess(svc, p, s, node) == 0;
}

void capacity_wait(struct service *svc, struct capacity_wait *w) {
        w->least = excess(svc, w->partition, w->session, w->node);
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
                uint64_t left = excess(svc, w->partition, w->session, w->node);

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
