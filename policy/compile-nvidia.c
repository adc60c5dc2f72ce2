#include "policy/compile-priv.h"

/*
 * NVIDIA: cuMemAdvise() and the calls that move managed memory. They take a location for most of it: a device's
 * ordinal, or the host. A device without concurrent managed access takes no advice on devices at all, but prefetch
 * works.
 */
enum {
        CU_READ_MOSTLY = 1,
        CU_NOT_READ_MOSTLY,
        CU_PREFERRED,
        CU_NOT_PREFERRED,
        CU_ACCESSED_BY,
        CU_NOT_ACCESSED_BY,
};

static void on_off(const struct policy_target *t, const struct policy_wish *w, uint32_t on, uint32_t off,
                   struct policy_verdict *v) {
        step(v, POLICY_CALL_CU_ADVISE, w->value ? on : off, ordinal_of(t, POLICY_AT_HERE));
}

void compile_cuda(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v) {
        switch (w->word) {
        case POLICY_WISH_PREFERRED:
                step(v, POLICY_CALL_CU_ADVISE, w->location ? CU_PREFERRED : CU_NOT_PREFERRED,
                     ordinal_of(t, w->location));
                judge_preferred(t, w->location, v);
                break;
        case POLICY_WISH_ACCESSED_BY:
                on_off(t, w, CU_ACCESSED_BY, CU_NOT_ACCESSED_BY, v);
                judge_accessed_by(t, w, v);
                break;
        case POLICY_WISH_READ_MOSTLY: on_off(t, w, CU_READ_MOSTLY, CU_NOT_READ_MOSTLY, v); break;
        case POLICY_WISH_PREFETCH: step(v, POLICY_CALL_CU_PREFETCH, 0, ordinal_of(t, w->location)); break;
        case POLICY_WISH_DISCARD: step(v, POLICY_CALL_CU_DISCARD, 0, 0); break;
        case POLICY_WISH_PINNED: approximated_if_on(w, v, POLICY_WHY_LOCATION); break;
        case POLICY_WISH_GROUP: approximated_if_on(w, v, POLICY_WHY_MEMBERS); break;
        case POLICY_WISH_COARSE: approximated_if_on(w, v, POLICY_WHY_COHERENT); break;
        case POLICY_WISH_GRANULARITY:
        case POLICY_WISH_ATOMICS: refused_if_on(w, v, POLICY_WHY_NO_WORD); break;
        case _POLICY_WISH_N: break;
        }
        if (!t->host && !t->faults && v->steps_count && v->steps[0].call == POLICY_CALL_CU_ADVISE) {
                v->steps_count = 0;
                if (v->became == POLICY_APPLIED)
                        refused(v, POLICY_WHY_NO_FAULTS);
        }
}
