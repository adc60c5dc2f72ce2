#include <stdlib.h>

#include "error.h"
#include "fence.h"
#include "options.h"
#include "query.h"
#include "wire.h"

/* Room on several nodes at once. A lease has the number of a fence, which is done when the lease is granted. */

enum { NEEDS_MAX = SVMD_LEASE_NEEDS_MAX };

/* ---- admit ---- */

static int ask(svmd_session *s, Svmd__V1__Admit *body, struct svmd_fence *f, uint64_t *ret) {
        Svmd__V1__Op op = SVMD__V1__OP__INIT, *ops[] = { &op };
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        op.op_case = SVMD__V1__OP__OP_ADMIT;
        op.admit = body;
        request.n_ops = 1;
        request.ops = ops;
        r = call_run(s, &request, NULL, 0, &f, &c);
        if (r)
                return r;
        result = call_result(c, 0);
        r = fail_result(result);
        if (!r)
                *ret = result->id;
        if (!r && result->value) {
                const Svmd__V1__FenceResult granted = SVMD__V1__FENCE_RESULT__INIT;

                pthread_mutex_lock(&s->lock);
                fence_done(s, result->id, &granted);
                pthread_mutex_unlock(&s->lock);
        }
        call_put(s, c);
        return r;
}

static int admit(svmd_session *s, uint64_t *ret, svmd_fence **fence, const struct svmd_lease_need *needs, size_t count,
                 const struct svmd_admit_options *opts) {
        Svmd__V1__LeaseNeed rows[NEEDS_MAX], *list[NEEDS_MAX];
        Svmd__V1__Admit body = SVMD__V1__ADMIT__INIT;
        struct svmd_fence *f;
        int r = fence_new(s, false, &f);

        if (r)
                return r;
        for (size_t i = 0; i < count; i++) {
                svmd__v1__lease_need__init(&rows[i]);
                rows[i].node = needs[i].node;
                rows[i].size = needs[i].length;
                list[i] = &rows[i];
        }
        body.needs = list;
        body.n_needs = count;
        body.priority = opts->priority;
        body.wait_ms = opts->wait_ms < 0 ? UINT64_MAX : (uint64_t)opts->wait_ms;
        r = ask(s, &body, f, ret);
        if (r)
                fence_destroy(f);
        else
                *fence = f;
        return r;
}

int svmd_admit(svmd_session *s, svmd_lease *ret, svmd_fence **fence, const struct svmd_lease_need *needs, size_t count,
               const struct svmd_admit_options *given) {
        struct svmd_admit_options opts;
        struct svmd_fence *f = NULL;
        uint64_t lease = 0;
        int r = session_check(s);

        if (!r && (!needs || count == 0 || count > NEEDS_MAX))
                r = fail(SVMD_E_INVALID, "a lease is of 1 to %d nodes, not %zu", NEEDS_MAX, needs ? count : 0);
        if (!r)
                r = options_take(&opts, sizeof(opts), given, "svmd_admit_options");
        if (r)
                return r;
        r = session_leave(s, admit(s, &lease, &f, needs, count, &opts));
        if (!r && !fence) {
                r = svmd_fence_wait(f, -1, NULL);
                svmd_fence_free(f);
        }
        if (r)
                return r;
        *ret = lease;
        if (fence)
                *fence = f;
        return 0;
}

int svmd_lease_release(svmd_session *s, svmd_lease lease) {
        Svmd__V1__LeaseRelease body = SVMD__V1__LEASE_RELEASE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        body.lease = lease;
        op.op_case = SVMD__V1__OP__OP_LEASE_RELEASE;
        op.lease_release = &body;
        r = call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
        if (!r) {
                pthread_mutex_lock(&s->lock);
                fence_failed(s, lease, SVMD_E_ABORTED, "the lease was released while it waited");
                pthread_mutex_unlock(&s->lock);
        }
        return session_leave(s, r);
}

/* ---- what is held for later ---- */

int svmd_lease_keep(svmd_session *s, svmd_lease lease, const char *name, const struct svmd_lease_keep_options *given) {
        Svmd__V1__Keep body = SVMD__V1__KEEP__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct svmd_lease_keep_options opts;
        int r = session_check(s);

        if (!r)
                r = options_take(&opts, sizeof(opts), given, "svmd_lease_keep_options");
        if (!r && !lease)
                r = fail(SVMD_E_NO_SUCH, "0 is no lease");
        if (r)
                return r;
        body.lease = lease;
        body.name = (char *)(name ? name : "");
        body.mode = opts.mode;
        body.seconds = opts.seconds;
        body.off = opts.off != 0;
        op.op_case = SVMD__V1__OP__OP_KEEP;
        op.keep = &body;
        return session_leave(s, call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT));
}

/* One operation whose result is a lease. */
static int ask_lease(svmd_session *s, Svmd__V1__Op *op, svmd_lease *ret) {
        Svmd__V1__Op *ops[] = { op };
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        struct call *c;
        int r;

        request.n_ops = 1;
        request.ops = ops;
        r = call_run(s, &request, NULL, 0, NULL, &c);
        if (r)
                return r;
        r = fail_result(call_result(c, 0));
        if (!r)
                *ret = call_result(c, 0)->id;
        call_put(s, c);
        return r;
}

int svmd_lease_claim(svmd_session *s, svmd_lease *ret, const char *name) {
        Svmd__V1__LeaseClaim body = SVMD__V1__LEASE_CLAIM__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (!r && !name)
                r = fail(SVMD_E_NAME, "a lease is claimed by its name");
        if (r)
                return r;
        body.name = (char *)name;
        op.op_case = SVMD__V1__OP__OP_LEASE_CLAIM;
        op.lease_claim = &body;
        return session_leave(s, ask_lease(s, &op, ret));
}

int svmd_mem_release_into_lease(svmd_session *s, svmd_mem mem, svmd_lease *lease) {
        Svmd__V1__LeaseFill body = SVMD__V1__LEASE_FILL__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        body.memory = mem;
        body.lease = *lease;
        op.op_case = SVMD__V1__OP__OP_LEASE_FILL;
        op.lease_fill = &body;
        return session_leave(s, ask_lease(s, &op, lease));
}

/* ---- list ---- */

static int lease_row(struct walk *w, const void *data) {
        const Svmd__V1__Lease *l = data;
        struct svmd_use_row *nodes = calloc(l->n_nodes + 1, sizeof(*nodes));
        const struct svmd_lease_row row = {
                .lease = l->lease,
                .session = l->session,
                .pid = l->pid,
                .client = l->client,
                .partition = l->partition,
                .granted = l->granted,
                .priority = l->priority,
                .left_ms = l->left_ms,
                .before = l->before,
                .nodes = nodes,
                .nodes_count = l->n_nodes,
                .name = l->name,
                .kept = l->kept,
        };
        int r;

        if (!nodes)
                return fail_memory();
        for (size_t i = 0; i < l->n_nodes; i++)
                nodes[i] = (struct svmd_use_row){
                        .partition = l->partition,
                        .client = l->client,
                        .session = l->session,
                        .node = l->nodes[i]->node,
                        .used = l->nodes[i]->used,
                        .max = l->nodes[i]->max,
                };
        w->op.lease_list->after = l->lease;
        r = w->fn.lease(&row, w->userdata);
        free(nodes);
        return r;
}

int svmd_query_leases(svmd_session *s, const char *partition, svmd_lease_fn fn, void *userdata) {
        Svmd__V1__LeaseList body = SVMD__V1__LEASE_LIST__INIT;
        struct walk w;

        if (partition)
                body.partition = (char *)partition;
        walk_begin(&w, SVMD__V1__OP__OP_LEASE_LIST, &body, lease_row, userdata);
        w.fn.lease = fn;
        return walk_run(s, &w);
}
