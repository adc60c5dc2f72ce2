#include "mover/mover.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "mover/budget.h"
#include "mover/internal.h"
#include "mover/pools.h"

/* Of each node and size of granule: what a busy range has coming and going. */
static const uint64_t warm_bytes = 64ull << 20;

uint64_t mover_now(struct mover *m) {
        if (!m->now)
                m->now = clock_ns(CLOCK_MONOTONIC);
        return m->now;
}

void mover_lock(struct mover *m) {
        pthread_mutex_lock(&m->lock);
        m->now = 0;
}

void mover_unlock(struct mover *m) {
        bool kick = workers_wanted(m), watch = m->watch_due, wake = m->wake_due;
        struct list asks;

        list_init(&asks);
        while (!list_empty(&m->asks)) {
                struct list *l = m->asks.next;

                list_remove(l);
                list_push_back(&asks, l);
        }
        m->kicked |= kick;
        m->watch_due = m->wake_due = false;
        pthread_mutex_unlock(&m->lock);
        if (kick)
                workers_kick(m);
        if (watch)
                pthread_cond_signal(&m->watch_cond);
        if (wake)
                m->hooks.wake(m->hooks.userdata);
        if (!list_empty(&asks))
                asks_answer(m, &asks);
}

static void on_done(void *userdata, uint64_t token, int result) {
        struct answer *a = (struct answer *)(uintptr_t)token;

        a->done(userdata, a, result);
}

static int engine_new(struct mover *m) {
        struct managed_config c = {
                .workers = m->c.workers,
                .session_steps = m->c.session_steps,
                .largest = m->c.largest,
                .warm = warm_bytes,
                .continue_protects = mover_features()->continue_protects,
                .profile = m->c.profile,
                .userdata = m,
                .intent = record_intent,
                .done = on_done,
                .missed = news_missed,
                .pinned = news_pinned,
                .joined = join_joined,
                .advice = advice_get,
                .group = advice_group,
        };
        int k = managed_new(&m->engine, &c);

        for (uint32_t i = 0; !k && i < m->c.nodes_count; i++) {
                const struct mover_node *n = &m->nodes[i].node;
                int added = managed_node_add(m->engine, n->host, n->faults, n->capacity, n->hive, n->bandwidth);

                k = added < 0 ? added : 0;
                if (!k)
                        managed_node_shape(m->engine, i, n->far, n->distance);
                if (!k && n->backend && n->device && n->backend->slots)
                        managed_node_only(m->engine, i, n->backend->slots->bytes);
        }
        return k;
}

int mover_new(struct mover **ret, const struct mover_config *c, const struct mover_hooks *hooks) {
        pthread_mutexattr_t adaptive;
        struct mover *m;
        int k;

        if (c->nodes_count > MANAGED_NODES_MAX || c->workers < 2)
                return -EINVAL;
        m = alloc_zero(sizeof(*m));
        if (!m)
                return -ENOMEM;
        m->c = *c;
        m->hooks = *hooks;
        for (uint32_t i = 0; i < c->nodes_count; i++)
                m->nodes[i].node = c->nodes[i];
        m->c.nodes = NULL;
        pthread_mutexattr_init(&adaptive);
        pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
        pthread_mutex_init(&m->lock, &adaptive);
        pthread_mutexattr_destroy(&adaptive);
        list_init(&m->ranges);
        list_init(&m->answers);
        list_init(&m->joins);
        list_init(&m->sessions);
        list_init(&m->ended);
        list_init(&m->jobs);
        list_init(&m->taken);
        news_init(m);
        budgets_init(m);
        k = workers_init(m);
        k = k ? k : engine_new(m);
        if (k) {
                managed_free(m->engine);
                workers_fini(m);
                budgets_fini(m);
                alloc_free(m);
                return k;
        }
        devices_watch(m, true);
        *ret = m;
        return 0;
}

/* A worker that an address space does not let go may still come back. What it left stays, and it gets no further than
 * the lock: what it would tell of, and what the caller frees next, is gone by then. */
void mover_free(struct mover *m) {
        if (!m)
                return;
        devices_watch(m, false);
        if (!traces_stop(m) || !workers_stop(m)) {
                mover_lock(m);
                return;
        }
        news_drop(m);
        sessions_free(m);
        joins_free(m);
        ranges_free(m);
        managed_free(m->engine);
        list_for_each_safe (it, &m->answers)
                alloc_free(container_of(it, struct answer, all));
        news_free(m);
        pools_free(m);
        workers_fini(m);
        budgets_fini(m);
        pthread_mutex_destroy(&m->lock);
        alloc_free(m);
}

bool mover_idle(struct mover *m) {
        bool idle;

        mover_lock(m);
        idle = managed_idle(m->engine) && list_empty(&m->news) && list_empty(&m->asks) && list_empty(&m->joins) &&
               list_empty(&m->ended) && !m->moved_count;
        list_for_each (it, &m->sessions)
                idle &= !container_of(it, struct mover_session, link)->reading;
        mover_unlock(m);
        return idle;
}

void mover_node_capacity(struct mover *m, uint32_t node, uint64_t capacity) {
        mover_lock(m);
        managed_node_capacity(m->engine, node, capacity, mover_now(m));
        if (m->traces_count)
                traces_capacity(m, node, capacity);
        mover_unlock(m);
}

void mover_share_node(struct mover *m, uint32_t node, const struct managed_node_share *s,
                      const struct managed_group_bounds *of, unsigned count) {
        mover_lock(m);
        for (unsigned i = 0; m->traces_count && i < count; i++)
                if (managed_group_limit_of(of[i].group, node) != of[i].bounds.max)
                        traces_limit(m, of[i].group, node, of[i].bounds.max);
        if (m->traces_count)
                traces_capacity(m, node, s->capacity);
        managed_share_node(m->engine, node, s, of, count, mover_now(m));
        mover_unlock(m);
}

struct managed_chain *mover_chain_new(struct mover *m, struct managed_group *partition) {
        struct managed_chain *c = NULL;

        mover_lock(m);
        if (managed_chain_new(m->engine, &c, partition))
                c = NULL;
        mover_unlock(m);
        return c;
}

void mover_chain_free(struct mover *m, struct managed_chain *c) {
        mover_lock(m);
        managed_chain_free(m->engine, c);
        mover_unlock(m);
}

void mover_chain_set(struct mover *m, struct managed_chain *c, struct managed_group *const *groups, unsigned count) {
        mover_lock(m);
        managed_chain_set(m->engine, c, groups, count, mover_now(m));
        mover_unlock(m);
}

void mover_range_charge(struct mover *m, struct mover_range *r, struct managed_chain *c) {
        mover_lock(m);
        managed_range_charge(m->engine, r->range, c, mover_now(m));
        mover_unlock(m);
}

void mover_node_lost(struct mover *m, uint32_t node) {
        mover_lock(m);
        managed_node_lost(m->engine, node, mover_now(m));
        mover_unlock(m);
}

void mover_node_online(struct mover *m, uint32_t node) {
        mover_lock(m);
        managed_node_online(m->engine, node, mover_now(m));
        mover_unlock(m);
}

void mover_node_info(struct mover *m, uint32_t node, struct managed_node_info *ret) {
        mover_lock(m);
        managed_node_info(m->engine, node, ret);
        mover_unlock(m);
}

bool mover_node_missed(struct mover *m, uint32_t node) {
        bool missed;

        mover_lock(m);
        missed = m->missed & 1ull << node;
        m->missed &= ~(1ull << node);
        mover_unlock(m);
        return missed;
}

struct managed_group *mover_group_new(struct mover *m) {
        struct managed_group *g = NULL;

        mover_lock(m);
        if (managed_group_new(m->engine, &g))
                g = NULL;
        mover_unlock(m);
        return g;
}

void mover_group_free(struct mover *m, struct managed_group *g) {
        mover_lock(m);
        if (m->traces_count)
                traces_group_gone(m, g);
        managed_group_free(m->engine, g);
        mover_unlock(m);
}

void mover_policy(struct mover *m, const struct policy_profile *p) {
        mover_lock(m);
        managed_profile(m->engine, p);
        mover_unlock(m);
}

void mover_group_policy(struct mover *m, struct managed_group *g, const struct policy_profile *p, uint64_t rate) {
        mover_lock(m);
        managed_group_profile(g, p);
        managed_group_cap(m->engine, g, rate);
        managed_tick(m->engine, mover_now(m));
        mover_unlock(m);
}

void mover_group_flow(struct mover *m, struct managed_group *g, struct managed_flow *ret,
                      struct managed_thrash *ret_thrash) {
        mover_lock(m);
        managed_group_flow(g, ret);
        managed_group_thrash(g, ret_thrash);
        mover_unlock(m);
}

int mover_link_cap(struct mover *m, uint32_t a, uint32_t b, uint64_t rate) {
        int k;

        mover_lock(m);
        k = managed_link_cap(m->engine, a, b, rate);
        managed_tick(m->engine, mover_now(m));
        mover_unlock(m);
        return k;
}

void mover_link_flow(struct mover *m, uint32_t a, uint32_t b, struct managed_flow *ret) {
        mover_lock(m);
        managed_link_flow(m->engine, a, b, ret);
        mover_unlock(m);
}

void mover_figures(struct mover *m, struct managed_figures *ret) {
        mover_lock(m);
        managed_figures(m->engine, ret);
        mover_unlock(m);
}

void mover_node_traffic(struct mover *m, uint32_t node, struct managed_traffic *ret) {
        mover_lock(m);
        managed_node_traffic(m->engine, node, ret);
        mover_unlock(m);
}

void mover_group_traffic(struct mover *m, struct managed_group *g, struct managed_traffic *ret) {
        mover_lock(m);
        managed_group_traffic(g, ret);
        mover_unlock(m);
}

void mover_flown(struct mover *m, uint32_t from, uint32_t to, struct managed_flown *ret) {
        mover_lock(m);
        managed_flown(m->engine, from, to, ret);
        mover_unlock(m);
}

void mover_group_limit(struct mover *m, struct managed_group *g, uint32_t node, uint64_t bytes) {
        mover_lock(m);
        managed_group_limit(m->engine, g, node, bytes, mover_now(m));
        if (m->traces_count)
                traces_limit(m, g, node, bytes);
        mover_unlock(m);
}

uint64_t mover_group_pinned(struct mover *m, struct managed_group *g) {
        uint64_t pinned;

        mover_lock(m);
        pinned = managed_group_pinned(g);
        mover_unlock(m);
        return pinned;
}

void mover_group_used(struct mover *m, struct managed_group *g, uint32_t node, uint64_t *ret_used, uint64_t *ret_peak) {
        mover_lock(m);
        managed_group_used(g, node, ret_used, ret_peak);
        mover_unlock(m);
}
