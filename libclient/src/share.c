#include "error.h"
#include "options.h"
#include "query.h"
#include "wire.h"

/* What partitions share with one another. */

static int ask(svmd_session *s, Svmd__V1__Share *body) {
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        op.op_case = SVMD__V1__OP__OP_SHARE;
        op.share = body;
        return call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
}

static int share(svmd_session *s, const char *name, const char *to, unsigned access,
                 const struct svmd_share_options *given) {
        Svmd__V1__Share body = SVMD__V1__SHARE__INIT;
        struct svmd_share_options opts;
        int r = session_check(s);

        if (!r)
                r = options_take(&opts, sizeof(opts), given, "svmd_share_options");
        if (!r && (!name || !to))
                r = fail(SVMD_E_NAME, "svmd_share is told what to share by its name, and with which partition");
        if (r)
                return r;
        body.name = (char *)name;
        body.to = (char *)to;
        body.access = access;
        body.memory = opts.memory != 0;
        if (opts.partition)
                body.partition = (char *)opts.partition;
        return session_leave(s, ask(s, &body));
}

int svmd_share(svmd_session *s, const char *name, const char *to, unsigned access,
               const struct svmd_share_options *opts) {
        if (access == SVMD_ACCESS_NONE)
                return session_leave(s, fail(SVMD_E_INVALID, "the access is 0; svmd_unshare() takes a share back"));
        return share(s, name, to, access, opts);
}

int svmd_unshare(svmd_session *s, const char *name, const char *to, const struct svmd_share_options *opts) {
        return share(s, name, to, SVMD_ACCESS_NONE, opts);
}

/* ---- list ---- */

static int share_row(struct walk *w, const void *data) {
        const Svmd__V1__Shared *from = data;
        const struct svmd_share_row row = {
                .name = from->name,
                .partition = from->partition,
                .to = from->to,
                .memory = from->memory,
                .access = from->access,
                .address = from->address,
                .length = from->size,
                .uid = from->uid,
                .guests = from->guests,
        };

        w->op.share_list->after = from->id;
        return w->fn.share(&row, w->userdata);
}

int svmd_query_shares(svmd_session *s, const char *partition, svmd_share_fn fn, void *userdata) {
        Svmd__V1__ShareList body = SVMD__V1__SHARE_LIST__INIT;
        struct walk w;

        if (partition)
                body.partition = (char *)partition;
        walk_begin(&w, SVMD__V1__OP__OP_SHARE_LIST, &body, share_row, userdata);
        w.fn.share = fn;
        return walk_run(s, &w);
}
