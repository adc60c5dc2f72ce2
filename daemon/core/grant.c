#include "core/grant.h"

#include <string.h>

#include "base/alloc.h"
#include "core/session.h"
#include "core/state.h"

struct grant *grant_new(struct state *s, uint64_t id, struct session *session) {
        struct grant *g = alloc_zero(sizeof(*g));

        if (g && !session->grants_failed)
                session->grants_failed = alloc_array(GRANTS_FAILED, sizeof(*session->grants_failed));
        if (!g || !session->grants_failed) {
                alloc_free(g);
                return NULL;
        }
        g->object = (struct object){ .id = id, .type = OBJECT_GRANT };
        g->session = session;
        list_init(&g->by_session);
        list_push_back(&session->grants, &g->by_session);
        session->grants_count++;
        ids_add(&s->ids, &g->object);
        return g;
}

void grant_free(struct state *s, struct grant *g) {
        charge_drop(&g->charge);
        g->session->grants_count--;
        list_remove(&g->by_session);
        ids_remove(&s->ids, &g->object);
        alloc_free(g);
}

enum grant_state grant_state(const struct grant *g, uint64_t now_ns) {
        if (g->held)
                return GRANT_HELD;
        return now_ns >= g->until_ns ? GRANT_EXPIRED : GRANT_ASKED;
}

static void shrink(struct grant *g, uint64_t bytes) {
        struct account *a = g->charge.account;
        uint64_t left = g->charge.bytes - bytes;

        charge_drop(&g->charge);
        charge_force(&g->charge, a, left);
}

static int check(const struct grant *g, const struct grant_done *d, uint64_t now_ns) {
        if (d->generation != g->generation)
                return GRANT_E_STALE;
        if (d->error)
                return g->held ? GRANT_E_TWICE : _GRANT_E_OK;
        if (grant_state(g, now_ns) == GRANT_EXPIRED)
                return GRANT_E_LATE;
        if (g->held && d->gone == 0)
                return GRANT_E_TWICE;
        return d->gone > g->charge.bytes ? GRANT_E_MORE : _GRANT_E_OK;
}

static void note_failure(const struct grant *g, uint32_t error) {
        struct grant_failed *f = g->session->grants_failed;

        memmove(&f[1], &f[0], (GRANTS_FAILED - 1) * sizeof(*f));
        f[0] = (struct grant_failed){ g->object.id, g->node, g->operations, error };
}

int grant_take(struct grant *g, const struct grant_done *d, uint64_t now_ns, bool *ret_over) {
        int r = check(g, d, now_ns);

        if (r != 0)
                return r;
        if (d->error)
                note_failure(g, d->error);
        else
                shrink(g, d->gone);
        g->held = true;
        *ret_over = d->error || g->charge.bytes == 0;
        return 0;
}

void grant_pass(struct grant *g, struct charge *to, uint64_t bytes, bool *ret_over) {
        struct account *a = g->charge.account;

        shrink(g, bytes);
        charge_force(to, a, bytes);
        g->held = true;
        *ret_over = g->charge.bytes == 0;
}
