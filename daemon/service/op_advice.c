#include <errno.h>
#include <inttypes.h>

#include "core/name.h"
#include "core/node.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/order.h"

/*
 * What programs say about the use of a range, for all nodes at once. Words about the same granule replace one another,
 * thing by thing, and nothing moves because of them: policy hears them when it next decides.
 */
#define WHAT_ALL (MOVER_PREFERRED | MOVER_ACCESSED_BY | MOVER_READ_MOSTLY | MOVER_PINNED | MOVER_GRANULARITY)

static int check_preferred(struct call *c, uint32_t preferred) {
        uint32_t nodes = c->svc->managed.nodes_count;

        if (preferred <= nodes)
                return 0;
        return refuse(c, SVMD_STATUS_NO_NODE, "there is no node %u that managed pages can prefer; nodes are 0 to %u",
                      preferred - 1, nodes - 1);
}

static int check_accessed_by(struct call *c, uint64_t accessed_by) {
        uint32_t nodes = c->svc->managed.nodes_count;
        uint64_t unknown = nodes < 64 ? accessed_by >> nodes << nodes : 0;

        if (!unknown)
                return 0;
        return refuse(c, SVMD_STATUS_NO_NODE, "there is no node %d to access it; nodes are 0 to %u",
                      __builtin_ctzll(unknown), nodes - 1);
}

static int check_granularity(struct call *c, uint32_t bytes) {
        if (bytes == 0 || (bytes >= SVMD_PAGE && bytes <= 2u << 20 && (bytes & (bytes - 1)) == 0))
                return 0;
        return refuse(c, SVMD_STATUS_INVALID,
                      "a granularity is a power of two from 4 KiB to 2 MiB, or 0 for policy's choice; not %u bytes",
                      bytes);
}

static int check_advice(struct call *c, const Svmd__V1__Advise *op) {
        int r = 0;

        if (op->what == 0 || op->what & ~(uint32_t)WHAT_ALL)
                return refuse(c, SVMD_STATUS_INVALID, "0x%x does not name what is advised: bits of AdviceWhat, 1 to 31",
                              op->what);
        if (op->what & MOVER_PREFERRED)
                r = check_preferred(c, op->preferred);
        if (r == 0 && op->what & MOVER_ACCESSED_BY)
                r = check_accessed_by(c, op->accessed_by);
        if (r == 0 && op->what & MOVER_GRANULARITY)
                r = check_granularity(c, op->granularity);
        return r;
}

static void advice_of(const Svmd__V1__Advise *op, const struct session *s, struct mover_advice *ret) {
        *ret = (struct mover_advice){
                .policy = { .preferred = op->preferred,
                            .accessed_by = op->accessed_by,
                            .read_mostly = op->read_mostly,
                            .pinned = op->pinned },
                .granularity = op->granularity,
                .session = s->object.id,
        };
}

static int advise_shared(struct call *c) {
        const Svmd__V1__Advise *op = c->op->advise;
        struct managed_reservation *m;
        uint32_t first, count;
        struct mover_advice a;
        EFFECT_SPLITS(struct effect_advice) e = { 0 };
        int r = order_at(c, "", op->address, op->size, RIGHT_READ, &m, &first, &count);

        if (r == 0)
                r = check_advice(c, op);
        if (r != 0)
                return r;
        advice_of(op, c->session, &a);
        r = mover_advise(c->svc->mover, m->range, first, count, op->what, &a);
        if (r < 0)
                return r;
        e.effect = effect_of_advice(m, first, count, op->what, &a);
        tx_effect(c->tx, EFFECT_ADVICE, &e, sizeof(e));
        return 0;
}

int op_advise(struct call *c) {
        int r = private_advise(c);

        return r == PRIVATE_OTHER ? advise_shared(c) : r;
}

Svmd__V1__AdviceResult *advice_row(struct call *c, const struct managed_reservation *m, uint32_t granule) {
        Svmd__V1__AdviceResult *row = call_take(c, sizeof(*row));
        struct mover_advice a;

        if (!row)
                return NULL;
        svmd__v1__advice_result__init(row);
        mover_advice(c->svc->mover, m->range, granule, &a);
        row->preferred = a.policy.preferred;
        row->accessed_by = a.policy.accessed_by;
        row->read_mostly = a.policy.read_mostly;
        row->pinned = a.policy.pinned;
        row->granularity = a.granularity;
        row->session = a.session;
        return row;
}

static int query_shared(struct call *c) {
        struct managed_reservation *m;
        uint32_t granule;
        int r = order_around(c, "", c->op->advice_query->address, RIGHT_READ, &m, &granule);

        if (r != 0)
                return r;
        c->result->advice = advice_row(c, m, granule);
        if (!c->result->advice)
                return -ENOMEM;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_ADVICE;
        return 0;
}

int op_advice_query(struct call *c) {
        int r = private_advice_query(c);

        return r == PRIVATE_OTHER ? query_shared(c) : r;
}
