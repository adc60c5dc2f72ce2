#include "bounds.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "options.h"
#include "query.h"
#include "row.h"
#include "wire.h"

int limits_take(struct limits *l, const struct svmd_limit *limits, size_t count) {
        l->body = calloc(count + 1, sizeof(*l->body));
        l->pointers = calloc(count + 1, sizeof(*l->pointers));
        if (!l->body || !l->pointers) {
                free(l->body);
                free(l->pointers);
                return fail_memory();
        }
        for (size_t i = 0; i < count; i++) {
                svmd__v1__node_limit__init(&l->body[i]);
                l->body[i].node = limits[i].node;
                l->body[i].max = limits[i].max;
                l->body[i].bound = (Svmd__V1__Bound)limits[i].bound;
                l->pointers[i] = &l->body[i];
        }
        return 0;
}

void limits_free(struct limits *l) {
        free(l->body);
        free(l->pointers);
}

Svmd__V1__Mode mode_of(int dry_run) {
        return dry_run ? SVMD__V1__MODE__DRY_RUN : SVMD__V1__MODE__BEST_EFFORT;
}

static int plan_rows(const Svmd__V1__PlanResult *plan, svmd_plan_fn fn, void *userdata) {
        int r = 0;

        for (size_t i = 0; r == 0 && plan && i < plan->n_steps; i++) {
                const Svmd__V1__PlanStep *step = plan->steps[i];
                const struct svmd_plan_row row = {
                        .node = step->node,
                        .kind = step->kind,
                        .bytes = step->bytes,
                        .session = step->session,
                        .pid = step->pid,
                        .client = step->client,
                };

                r = fn(&row, userdata);
        }
        return r;
}

int plan_call(svmd_session *s, Svmd__V1__Op *op, svmd_plan_fn fn, void *userdata) {
        const Svmd__V1__Result *result;
        struct call *c;
        int r = call_one(s, op, SVMD__V1__MODE__DRY_RUN, &c, &result);

        if (r)
                return r;
        if (result->detail_case == SVMD__V1__RESULT__DETAIL_PLAN)
                r = plan_rows(result->plan, fn, userdata);
        call_put(s, c);
        return r;
}

/* ---- of a session, and of a control group ---- */

enum { PATH_BYTES = 4096 };

/* One of the two is given. */
struct whose {
        uint64_t session;
        const char *cgroup;
};

static int begin(svmd_session *s, const struct whose *of, struct svmd_limit_options *opts,
                 const struct svmd_limit_options *given) {
        int r = session_check(s);

        if (!r && !of->session && !of->cgroup)
                r = fail(SVMD_E_INVALID, "neither a session nor the path of a control group was given");
        if (!r)
                r = options_take(opts, sizeof(*opts), given, "svmd_limit_options");
        return r;
}

/* Asked for: `plan` NULL, or what takes its steps. */
struct taker {
        svmd_plan_fn fn;
        void *userdata;
};

static int limit(svmd_session *s, const struct whose *of, const struct svmd_limit_options *given,
                 const struct taker *plan) {
        Svmd__V1__LimitSet body = SVMD__V1__LIMIT_SET__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct svmd_limit_options opts;
        struct limits limits;
        int r = begin(s, of, &opts, given);

        if (!r)
                r = limits_take(&limits, opts.limits, opts.limits_count);
        if (r)
                return r;
        body.session = of->session;
        if (of->cgroup)
                body.cgroup = (char *)of->cgroup;
        body.n_limits = opts.limits_count;
        body.limits = limits.pointers;
        body.clear = opts.clear != 0;
        body.come_down = opts.come_down != 0;
        body.steal = (opts.come_down & SVMD_STEAL) != 0;
        body.deadline_ms = opts.deadline_ms;
        op.op_case = SVMD__V1__OP__OP_LIMIT_SET;
        op.limit_set = &body;
        r = plan ? plan_call(s, &op, plan->fn, plan->userdata) : call_simple(s, &op, mode_of(opts.dry_run));
        limits_free(&limits);
        return session_leave(s, r);
}

int svmd_session_limit(svmd_session *s, uint64_t session, const struct svmd_limit_options *opts) {
        return limit(s, &(struct whose){ .session = session }, opts, NULL);
}

int svmd_session_plan(svmd_session *s, uint64_t session, const struct svmd_limit_options *opts, svmd_plan_fn fn,
                      void *userdata) {
        return limit(s, &(struct whose){ .session = session }, opts, &(struct taker){ fn, userdata });
}

int svmd_cgroup_limit(svmd_session *s, const char *path, const struct svmd_limit_options *opts) {
        return limit(s, &(struct whose){ .cgroup = path }, opts, NULL);
}

int svmd_cgroup_plan(svmd_session *s, const char *path, const struct svmd_limit_options *opts, svmd_plan_fn fn,
                     void *userdata) {
        return limit(s, &(struct whose){ .cgroup = path }, opts, &(struct taker){ fn, userdata });
}

/* ---- questions ---- */

struct limited_walk {
        struct walk walk;
        char after[PATH_BYTES];
};

static void fill_nodes(struct svmd_use_row *nodes, const Svmd__V1__Limited *from) {
        for (size_t i = 0; i < from->n_nodes; i++) {
                nodes[i] = (struct svmd_use_row){
                        .partition = from->partition,
                        .client = from->client,
                        .session = from->session,
                        .pid = from->pid,
                        .uid = from->uid,
                };
                row_use(&nodes[i], from->nodes[i]);
        }
}

static int limited_row(struct walk *w, const void *data) {
        struct limited_walk *l = (struct limited_walk *)w; /* its first member */
        const Svmd__V1__Limited *from = data;
        struct svmd_use_row *nodes = calloc(from->n_nodes + 1, sizeof(*nodes));
        const struct svmd_limited_row row = {
                .session = from->session,
                .cgroup = from->cgroup,
                .sessions = from->sessions,
                .partition = from->partition,
                .client = from->client,
                .pid = from->pid,
                .uid = from->uid,
                .nodes = nodes,
                .nodes_count = from->n_nodes,
        };
        int r;

        if (!nodes)
                return fail_memory();
        fill_nodes(nodes, from);
        l->after[0] = 0;
        strncat(l->after, from->cgroup, sizeof(l->after) - 1);
        w->op.limit_query->after = l->after;
        r = w->fn.limited(&row, w->userdata);
        free(nodes);
        return r;
}

static int query(svmd_session *s, const struct whose *of, svmd_limited_fn fn, void *userdata) {
        Svmd__V1__LimitQuery body = SVMD__V1__LIMIT_QUERY__INIT;
        struct limited_walk l;

        body.session = of->session;
        if (of->cgroup)
                body.cgroup = (char *)of->cgroup;
        walk_begin(&l.walk, SVMD__V1__OP__OP_LIMIT_QUERY, &body, limited_row, userdata);
        l.walk.fn.limited = fn;
        return walk_run(s, &l.walk);
}

int svmd_query_session(svmd_session *s, uint64_t session, svmd_limited_fn fn, void *userdata) {
        int r = session ? 0 : session_check(s);

        if (r)
                return r;
        if (!session)
                return session_leave(s, fail(SVMD_E_INVALID, "no session was given"));
        return query(s, &(struct whose){ .session = session }, fn, userdata);
}

int svmd_query_cgroups(svmd_session *s, const char *path, svmd_limited_fn fn, void *userdata) {
        return query(s, &(struct whose){ .cgroup = path }, fn, userdata);
}
