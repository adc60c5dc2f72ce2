#include "ours.h"

#include <errno.h>
#include <stdlib.h>

enum { BYTES = 65536, WORKERS = 2, HOST = 0, DEVICE = 1, NODES = 2, TOKEN = 1, TICK_NS = 1000 * 1000 };

struct machine {
        struct managed *engine;
        struct managed_group *group;
        struct managed_range *range;
        struct managed_session *session;
        uint32_t node; /* that is looked at */
        uint8_t *here; /* granules that it has */
        bool answered;
        int answer;
        uint64_t now;
        struct fetched fetched;
};

static void on_intent(void *userdata, const struct managed_record *r) {
        struct machine *m = userdata;
        bool here = m->node == HOST ? r->state == RESIDENCY_RESIDENT : r->state == RESIDENCY_OUT && r->node == DEVICE;

        if (here && !m->here[r->granule]) {
                m->fetched.demanded += r->cause == MANAGED_BY_FAULT || r->cause == MANAGED_BY_DEVICE;
                m->fetched.ahead += r->cause == MANAGED_BY_PREFETCH;
        }
        m->here[r->granule] = here;
}

static void on_done(void *userdata, uint64_t token, int result) {
        struct machine *m = userdata;

        m->answered = true;
        m->answer = result;
}

static void on_joined(void *userdata, void *session, void *range) {
}

static enum policy_answer migrate(const struct policy_machine *m, const struct policy_profile *p,
                                  const struct policy_advice *advice, const struct policy_granule *g, uint32_t accessor,
                                  enum policy_access access, uint64_t now_ns) {
        return POLICY_MIGRATE;
}

static enum policy_cure let(const struct policy_machine *m, const struct policy_profile *p, struct policy_thrash *t,
                            const struct policy_granule *g, uint32_t accessor, uint64_t now_ns,
                            uint64_t *ret_until_ns) {
        return POLICY_LET;
}

static void no_prefetch(const struct policy_profile *p, const struct policy_advice *advice,
                        const struct policy_fault *f, struct policy_stream *stream, uint32_t *ret_first,
                        uint32_t *ret_count) {
        *ret_first = f->at;
        *ret_count = 0;
}

static void settle(struct machine *m) {
        for (const struct managed_step *s; (s = managed_take(m->engine));)
                managed_complete(m->engine, s, 0, m->now);
}

static int start(struct machine *m, const struct ours *how, uint32_t granules) {
        uint64_t small = ((uint64_t)how->memory + WORKERS) * BYTES, large = ((uint64_t)granules + 2 * WORKERS) * BYTES;
        struct managed_config c = { .workers = WORKERS,
                                    .session_steps = 1,
                                    .largest = BYTES,
                                    .warm = UINT64_MAX,
                                    .userdata = m,
                                    .intent = on_intent,
                                    .done = on_done,
                                    .joined = on_joined };
        int k;

        small = how->group ? large : small;
        c.decide.promote = migrate;
        c.decide.thrash = let;
        c.decide.prefetch = how->ahead ? NULL : no_prefetch;
        c.decide.away = how->away;
        m->here = calloc(granules, 1);
        m->node = how->faults ? HOST : DEVICE;
        k = m->here ? managed_new(&m->engine, &c) : -ENOMEM;
        if (k)
                return k;
        managed_node_add(m->engine, true, false, how->faults ? small : large, 0, NULL);
        managed_node_add(m->engine, false, true, how->faults ? large : small, 0, NULL);
        k = managed_group_new(m->engine, &m->group);
        if (!k && how->group)
                managed_group_limit(m->engine, m->group, m->node, (uint64_t)how->memory * BYTES, m->now);
        k = k ? k : managed_range_new(m->engine, &m->range, m, m->group, BYTES, granules, 1, false);
        k = k ? k : managed_session_new(m->engine, &m->session, m, 1);
        return k;
}

/* A page that is there is used without a word; what is not there faults. */
static int use_by_cpu(struct machine *m, uint32_t granule) {
        int k;

        if (m->node == HOST && m->here[granule])
                return 0;
        k = managed_fault(m->engine, m->session, m->range, granule, true, false, m->now);
        settle(m);
        return k;
}

static int use_by_device(struct machine *m, uint32_t granule) {
        if (!managed_device_begin(m->engine, m->range, granule, DEVICE, true)) {
                int k = managed_device_access(m->engine, m->range, granule, DEVICE, true, TOKEN, m->now);

                m->answered = false;
                settle(m);
                if (k || !m->answered || m->answer)
                        return k ? k : m->answer ? m->answer : -EPROTO;
        }
        managed_device_end(m->engine, m->range, granule, m->now);
        settle(m);
        return 0;
}

/* As after a restart: all of it lies on the other node, and nobody has used it. */
static int begin(struct machine *m, const struct trace *t) {
        int k = 0;

        for (uint32_t i = 0; !k && i < t->granules; i++) {
                struct managed_record r = { .range = m,
                                            .granule = i,
                                            .state = m->node == HOST ? RESIDENCY_OUT : RESIDENCY_RESIDENT,
                                            .node = m->node == HOST ? DEVICE : MANAGED_NOWHERE,
                                            .slot = m->node == HOST ? i : MANAGED_NOWHERE,
                                            .host = m->node == HOST ? MANAGED_NOWHERE : HOST };

                k = managed_restore(m->engine, m->range, &r);
        }
        k = k ? k : managed_restored(m->engine, m->now);
        settle(m);
        k = k ? k : managed_join(m->engine, m->session, m->range, false, m->now);
        settle(m);
        return k;
}

int ours_run(struct fetched *ret, const struct ours *how, const struct trace *t) {
        struct machine m = { .now = TICK_NS };
        int k = start(&m, how, t->granules);

        k = k ? k : begin(&m, t);
        for (uint32_t i = 0; !k && i < t->uses; i++) {
                m.now += TICK_NS;
                k = (m.node == HOST ? use_by_cpu : use_by_device)(&m, t->use[i]);
        }
        if (!k && managed_check(m.engine))
                k = -EPROTO;
        managed_free(m.engine);
        free(m.here);
        if (!k)
                *ret = m.fetched;
        return k;
}
