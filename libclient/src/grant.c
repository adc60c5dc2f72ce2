#include "grant.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "proto/limits.h"
#include "query.h"
#include "wire.h"

enum { REFUSED_MAX = 256, ROW_MAX = 2 + 3 * 11 + 6, DONE_TAG = 4 << 3 | 2 };

/* Of a session that has asked for one. */
struct grants {
        Svmd__V1__GrantDone owed[SVMD_GRANTS_DONE_MAX]; /* what svmd has to be told */
        unsigned owed_count;
        uint64_t refused[REFUSED_MAX]; /* the latest, as they came */
        unsigned refused_count;
};

void grants_free(svmd_session *s) {
        free(s->grants);
        s->grants = NULL;
}

static int make(svmd_session *s) {
        struct grants *g;

        if (s->grants)
                return 0;
        g = calloc(1, sizeof(*g));
        if (!g)
                return fail_memory();
        if (!atomic_compare_exchange_strong(&s->grants, &(struct grants *){ NULL }, g))
                free(g);
        return 0;
}

int grant_ask(svmd_session *s, const struct grant_request *ask, struct grant *ret) {
        Svmd__V1__GrantAsk body = SVMD__V1__GRANT_ASK__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r = make(s);

        if (r)
                return r;
        body.node = ask->node;
        body.operations = ask->operations;
        body.reservation = ask->reservation;
        body.address = ask->address;
        body.size = ask->size;
        body.bytes = ask->bytes;
        body.wait_ms = ask->wait_ms;
        op.op_case = SVMD__V1__OP__OP_GRANT_ASK;
        op.grant_ask = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        *ret = (struct grant){ result->id, result->generation };
        call_put(s, c);
        return 0;
}

static Svmd__V1__GrantDone done_of(const struct grant *g, int error, uint64_t gone) {
        Svmd__V1__GrantDone d = SVMD__V1__GRANT_DONE__INIT;

        d.grant = g->id;
        d.generation = g->generation;
        d.error = (uint32_t)error;
        d.gone = gone;
        return d;
}

int grant_done_now(svmd_session *s, const struct grant *g, int error, uint64_t gone) {
        Svmd__V1__GrantDone body = done_of(g, error, gone);
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        op.op_case = SVMD__V1__OP__OP_GRANT_DONE;
        op.grant_done = &body;
        return call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
}

int grant_done(svmd_session *s, const struct grant *g, int error, uint64_t gone) {
        bool fits;

        pthread_mutex_lock(&s->lock);
        fits = s->grants && s->grants->owed_count < SVMD_GRANTS_DONE_MAX;
        if (fits)
                s->grants->owed[s->grants->owed_count++] = done_of(g, error, gone);
        pthread_mutex_unlock(&s->lock);
        return fits ? 0 : grant_done_now(s, g, error, gone); /* which takes the others along */
}

bool grant_refused(svmd_session *s, const struct grant *g) {
        struct grants *all;
        unsigned i = 0;
        bool found;

        pthread_mutex_lock(&s->lock);
        all = s->grants;
        while (all && i < all->refused_count && all->refused[i] != g->id)
                i++;
        found = all && i < all->refused_count;
        if (found)
                all->refused[i] = all->refused[--all->refused_count];
        pthread_mutex_unlock(&s->lock);
        return found;
}

/* ---- on the wire ---- */

/* Fields of a message may come in any order, so these stand behind all others. */
size_t grants_pack(svmd_session *s, unsigned char *bytes, size_t room) {
        struct grants *g = s->grants;
        unsigned char *p = bytes;
        unsigned n = 0;

        while (g && n < g->owed_count && room - (size_t)(p - bytes) >= ROW_MAX) {
                *p++ = DONE_TAG;
                *p = (unsigned char)svmd__v1__grant_done__pack(&g->owed[n++], p + 1); /* below 128 */
                p += *p + 1;
        }
        if (n > 0) {
                g->owed_count -= n;
                memmove(g->owed, g->owed + n, g->owed_count * sizeof(g->owed[0]));
        }
        return (size_t)(p - bytes);
}

void grants_refused(svmd_session *s, const Svmd__V1__Reply *reply) {
        struct grants *g = s->grants;

        for (size_t i = 0; g && i < reply->n_refused; i++) {
                if (g->refused_count == REFUSED_MAX) /* nobody asks for the oldest */
                        memmove(g->refused, g->refused + 1, --g->refused_count * sizeof(g->refused[0]));
                g->refused[g->refused_count++] = reply->refused[i]->grant;
        }
}

/* ---- list ---- */

static int grant_row(struct walk *w, const void *data) {
        const Svmd__V1__Grant *g = data;
        const struct svmd_grant_row row = {
                .grant = g->grant,
                .generation = g->generation,
                .session = g->session,
                .pid = g->pid,
                .client = g->client,
                .partition = g->partition,
                .node = g->node,
                .operations = g->operations,
                .address = g->address,
                .size = g->size,
                .bytes = g->bytes,
                .state = (unsigned)g->state,
                .left_ms = g->left_ms,
                .error = (int)g->error,
        };

        w->op.grant_list->after = g->grant;
        return w->fn.grant(&row, w->userdata);
}

int svmd_query_grants(svmd_session *s, const char *partition, svmd_grant_fn fn, void *userdata) {
        Svmd__V1__GrantList body = SVMD__V1__GRANT_LIST__INIT;
        struct walk w;

        if (partition)
                body.partition = (char *)partition;
        walk_begin(&w, SVMD__V1__OP__OP_GRANT_LIST, &body, grant_row, userdata);
        w.fn.grant = fn;
        return walk_run(s, &w);
}
