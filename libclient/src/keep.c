#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "options.h"
#include "query.h"
#include "va.h"
#include "wire.h"

/* What outlives its sessions: asked for, listed, removed. */

/* ---- keep ---- */

static int ask(svmd_session *s, Svmd__V1__Keep *body, const struct svmd_keep_options *given) {
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct svmd_keep_options opts;
        int r = options_take(&opts, sizeof(opts), given, "svmd_keep_options");

        if (r)
                return r;
        body->seconds = opts.seconds;
        body->off = opts.off != 0;
        op.op_case = SVMD__V1__OP__OP_KEEP;
        op.keep = body;
        return call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
}

static int find(svmd_session *s, const void *address, uint64_t *ret) {
        const struct reservation *r;
        int error = 0;

        pthread_mutex_lock(&s->lock);
        r = va_at(s, (uintptr_t)address);
        if (r)
                *ret = r->id;
        else
                error = fail(SVMD_E_NO_SUCH, "%p lies in no reservation of this session", address);
        pthread_mutex_unlock(&s->lock);
        return error;
}

int svmd_keep(svmd_session *s, const void *address, const struct svmd_keep_options *opts) {
        Svmd__V1__Keep body = SVMD__V1__KEEP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        r = find(s, address, &body.reservation);
        return session_leave(s, r ? r : ask(s, &body, opts));
}

int svmd_mem_keep(svmd_session *s, svmd_mem mem, const struct svmd_keep_options *opts) {
        Svmd__V1__Keep body = SVMD__V1__KEEP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        body.memory = mem;
        return session_leave(s, mem ? ask(s, &body, opts) : fail(SVMD_E_NO_SUCH, "0 is no memory"));
}

/* ---- list ---- */

static int row_with_nodes(struct walk *w, const Svmd__V1__Kept *k, struct svmd_use_row *nodes) {
        const struct svmd_kept_row row = {
                .kind = (unsigned)k->kind,
                .name = k->name,
                .partition = k->partition,
                .id = k->id,
                .address = k->address,
                .length = k->size,
                .uid = k->uid,
                .gid = k->gid,
                .mode = k->mode,
                .users = k->users,
                .seconds = k->seconds,
                .idle_ms = k->idle_ms,
                .left_ms = k->left_ms,
                .nodes = nodes,
                .nodes_count = k->n_nodes,
        };

        for (size_t i = 0; i < k->n_nodes; i++)
                nodes[i] = (struct svmd_use_row){
                        .partition = k->partition,
                        .client = "",
                        .node = k->nodes[i]->node,
                        .used = k->nodes[i]->used,
                        .max = UINT64_MAX,
                };
        return w->fn.kept(&row, w->userdata);
}

static int kept_row(struct walk *w, const void *data) {
        const Svmd__V1__Kept *k = data;
        struct svmd_use_row *nodes = calloc(k->n_nodes + 1, sizeof(*nodes));
        int r;

        if (!nodes)
                return fail_memory();
        w->name[0] = 0;
        strncat(w->name, k->name, SVMD_NAME_MAX);
        w->op.kept_list->after = w->name;
        w->op.kept_list->after_kind = k->kind;
        r = row_with_nodes(w, k, nodes);
        free(nodes);
        return r;
}

int svmd_query_kept(svmd_session *s, const char *partition, svmd_kept_fn fn, void *userdata) {
        Svmd__V1__KeptList body = SVMD__V1__KEPT_LIST__INIT;
        struct walk w;

        if (partition)
                body.partition = (char *)partition;
        walk_begin(&w, SVMD__V1__OP__OP_KEPT_LIST, &body, kept_row, userdata);
        w.fn.kept = fn;
        return walk_run(s, &w);
}

/* ---- remove ---- */

int svmd_kept_remove(svmd_session *s, const char *partition, unsigned kind, const char *name) {
        Svmd__V1__KeptRemove body = SVMD__V1__KEPT_REMOVE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (!r && !name)
                r = fail(SVMD_E_NAME, "no name was given of what is kept");
        if (r)
                return r;
        if (partition)
                body.partition = (char *)partition;
        body.kind = (Svmd__V1__KeptKind)kind;
        body.name = (char *)name;
        op.op_case = SVMD__V1__OP__OP_KEPT_REMOVE;
        op.kept_remove = &body;
        return session_leave(s, call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT));
}
