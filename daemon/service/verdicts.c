#include "service/verdicts.h"

#include <errno.h>

#include "policy/compile.h"
#include "service/advice.h"

/* Advice is compiled for each node: it is applied, approximated, or refused, and why. */
struct verdicts {
        struct call *call;
        const struct managed_reservation *m;
        const struct policy_advice *advice;
        Svmd__V1__AdviceVerdict **rows;
        size_t count;
};

static enum policy_location location_from(const struct service *svc, uint32_t node, uint32_t at) {
        const struct mover_node *nodes = svc->managed.nodes;

        if (at == 0)
                return POLICY_AT_HOST; /* where pages are if nobody says otherwise */
        if (at - 1 == node)
                return POLICY_AT_HERE;
        if (nodes[at - 1].host)
                return POLICY_AT_HOST;
        return nodes[node].bandwidth[at - 1] ? POLICY_AT_PEER : POLICY_AT_FAR;
}

/* False: the node has nothing to make of it. */
static bool wish_of(const struct verdicts *v, uint32_t node, enum policy_attribute a, struct policy_wish *ret) {
        const struct service *svc = v->call->svc;
        const struct policy_advice *x = v->advice;

        *ret = (struct policy_wish){ 0 };
        if (policy_is_zero(x, a))
                return false;
        switch (a) {
        case POLICY_PREFERRED:
                *ret = (struct policy_wish){ POLICY_WISH_PREFERRED, location_from(svc, node, x->preferred), 0 };
                return true;
        case POLICY_FALLBACK:
                *ret = (struct policy_wish){ POLICY_WISH_PREFERRED, location_from(svc, node, x->fallback[0]), 0 };
                return true;
        case POLICY_ACCESSED_BY:
                *ret = (struct policy_wish){ POLICY_WISH_ACCESSED_BY, location_from(svc, node, x->preferred), 1 };
                return x->accessed_by >> node & 1;
        case POLICY_READ_MOSTLY:
                *ret = (struct policy_wish){ .word = POLICY_WISH_READ_MOSTLY, .value = 1 };
                return true;
        case POLICY_PINNED: *ret = (struct policy_wish){ .word = POLICY_WISH_PINNED, .value = 1 }; return true;
        case POLICY_GRANULARITY:
                *ret = (struct policy_wish){ .word = POLICY_WISH_GRANULARITY, .value = x->granularity };
                return true;
        case POLICY_ATOMICS:
                *ret = (struct policy_wish){ .word = POLICY_WISH_ATOMICS, .value = x->atomics };
                return true;
        case POLICY_COARSE: *ret = (struct policy_wish){ .word = POLICY_WISH_COARSE, .value = 1 }; return true;
        case POLICY_GROUP: *ret = (struct policy_wish){ .word = POLICY_WISH_GROUP, .value = x->group }; return true;
        case _POLICY_ATTRIBUTE_N: break;
        }
        return false;
}

static int add(struct verdicts *v, uint32_t node, enum policy_attribute a) {
        const struct mover_node *n = &v->call->svc->managed.nodes[node];
        struct policy_target target = { .dialect = POLICY_ENGINE,
                                        .host = n->host,
                                        .faults = n->faults,
                                        .huge_pages = v->m->granule >= 2u << 20,
                                        .granule = v->m->granule };
        Svmd__V1__AdviceVerdict *row;
        struct policy_verdict verdict;
        struct policy_wish wish;

        if (!wish_of(v, node, a, &wish))
                return 0;
        policy_compile(&target, &wish, &verdict);
        row = call_take(v->call, sizeof(*row));
        if (!row)
                return -ENOMEM;
        svmd__v1__advice_verdict__init(row);
        row->node = node;
        row->what = 1u << a;
        row->became = (Svmd__V1__AdviceBecame)verdict.became;
        row->why = call_string(v->call, policy_why_text(verdict.why));
        v->rows[v->count++] = row;
        return 0;
}

int verdicts_of(struct call *c, const struct managed_reservation *m, const struct policy_advice *a,
                Svmd__V1__AdviceVerdict ***ret, size_t *ret_count) {
        uint32_t nodes = c->svc->managed.nodes_count;
        struct verdicts v = { .call = c, .m = m, .advice = a };
        int r = 0;

        v.rows = call_take(c, (size_t)nodes * _POLICY_ATTRIBUTE_N * sizeof(*v.rows));
        if (!v.rows)
                return -ENOMEM;
        for (uint32_t node = 0; node < nodes; node++)
                for (enum policy_attribute k = 0; k < _POLICY_ATTRIBUTE_N && r == 0; k++)
                        r = add(&v, node, k);
        *ret = v.rows;
        *ret_count = v.count;
        return r;
}
