#include "policy/compile-priv.h"

/*
 * AMD, twice: attributes of an SVM range (KFD's SVM ioctl, which hsaKmtSVMSetAttr() calls), and the same wishes in
 * HIP's words, which reach the driver through the former. KFD keeps one copy of a page; access by a GPU is an attribute
 * of its own for each of them, location and flags are the range's.
 */
enum { PREFERRED_LOC, PREFETCH_LOC, ACCESS, ACCESS_IN_PLACE, NO_ACCESS, SET_FLAGS, CLR_FLAGS, GRANULARITY };
enum {
        COHERENT = 0x2,
        READ_MOSTLY = 0x20,
        ALWAYS_MAPPED = 0x40,
        EXT_COHERENT = 0x80,
        UNDEFINED = 0xffffffff - 0ll,
};

static int64_t gpu(const struct policy_target *t, enum policy_location location) {
        switch (location) {
        case POLICY_AT_HERE: return t->host ? 0 : t->id;
        case POLICY_AT_PEER:
        case POLICY_AT_FAR: return t->other;
        case POLICY_AT_HOST: return 0;
        case POLICY_AT_NONE: break;
        }
        return UNDEFINED;
}

static void flag(struct policy_verdict *v, uint64_t on, int64_t bit) {
        step(v, POLICY_CALL_KFD_SVM, on ? SET_FLAGS : CLR_FLAGS, bit);
}

static void kfd_atomics(uint64_t value, struct policy_verdict *v) {
        switch (value) {
        case POLICY_ATOMICS_GLOBAL: flag(v, 1, COHERENT | EXT_COHERENT); break;
        case POLICY_ATOMICS_DEVICE: flag(v, 0, EXT_COHERENT); break;
        case POLICY_ATOMICS_CPU:
                step(v, POLICY_CALL_KFD_SVM, PREFERRED_LOC, 0);
                approximated(v, POLICY_WHY_LOCATION);
                break;
        default: flag(v, 0, EXT_COHERENT); break;
        }
}

static uint32_t log2_pages(uint64_t bytes) {
        return bytes > POLICY_PAGE ? 63u - (uint32_t)__builtin_clzll(bytes / POLICY_PAGE) : 0;
}

/* The driver's own choice is 2 MiB. */
static void kfd_granularity(const struct policy_target *t, uint64_t bytes, struct policy_verdict *v) {
        step(v, POLICY_CALL_KFD_SVM, GRANULARITY, log2_pages(bytes ? bytes : POLICY_HUGE));
        judge_granularity(t, bytes, v);
}

void compile_kfd(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v) {
        switch (w->word) {
        case POLICY_WISH_PREFERRED:
                step(v, POLICY_CALL_KFD_SVM, PREFERRED_LOC, gpu(t, w->location));
                judge_preferred(t, w->location, v);
                break;
        case POLICY_WISH_ACCESSED_BY:
                if (!t->host)
                        step(v, POLICY_CALL_KFD_SVM, w->value ? ACCESS_IN_PLACE : ACCESS, t->id);
                judge_accessed_by(t, w, v);
                break;
        case POLICY_WISH_READ_MOSTLY:
                flag(v, w->value, READ_MOSTLY);
                approximated_if_on(w, v, POLICY_WHY_ONE_COPY);
                break;
        case POLICY_WISH_PINNED: flag(v, w->value, ALWAYS_MAPPED); break;
        case POLICY_WISH_GRANULARITY: kfd_granularity(t, w->value, v); break;
        case POLICY_WISH_ATOMICS: kfd_atomics(w->value, v); break;
        case POLICY_WISH_COARSE: flag(v, !w->value, COHERENT); break;
        case POLICY_WISH_GROUP: approximated_if_on(w, v, POLICY_WHY_MEMBERS); break;
        case POLICY_WISH_PREFETCH: step(v, POLICY_CALL_KFD_SVM, PREFETCH_LOC, gpu(t, w->location)); break;
        case POLICY_WISH_DISCARD: step(v, POLICY_CALL_MADVISE, POLICY_MADV_DONTNEED, 0); break;
        case _POLICY_WISH_N: break;
        }
}

/* ---- HIP ---- */

enum {
        HIP_READ_MOSTLY = 1,
        HIP_NOT_READ_MOSTLY,
        HIP_PREFERRED,
        HIP_NOT_PREFERRED,
        HIP_ACCESSED_BY,
        HIP_NOT_ACCESSED_BY,
        HIP_COARSE = 100,
        HIP_FINE,
};

void compile_hip(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v) {
        int64_t here = ordinal_of(t, POLICY_AT_HERE);

        switch (w->word) {
        case POLICY_WISH_PREFERRED:
                step(v, POLICY_CALL_HIP_ADVISE, w->location ? HIP_PREFERRED : HIP_NOT_PREFERRED,
                     ordinal_of(t, w->location));
                judge_preferred(t, w->location, v);
                break;
        case POLICY_WISH_ACCESSED_BY:
                step(v, POLICY_CALL_HIP_ADVISE, w->value ? HIP_ACCESSED_BY : HIP_NOT_ACCESSED_BY, here);
                judge_accessed_by(t, w, v);
                break;
        case POLICY_WISH_READ_MOSTLY:
                step(v, POLICY_CALL_HIP_ADVISE, w->value ? HIP_READ_MOSTLY : HIP_NOT_READ_MOSTLY, here);
                approximated_if_on(w, v, POLICY_WHY_ONE_COPY);
                break;
        case POLICY_WISH_COARSE: step(v, POLICY_CALL_HIP_ADVISE, w->value ? HIP_COARSE : HIP_FINE, here); break;
        case POLICY_WISH_PREFETCH: step(v, POLICY_CALL_HIP_PREFETCH, 0, ordinal_of(t, w->location)); break;
        case POLICY_WISH_DISCARD: step(v, POLICY_CALL_MADVISE, POLICY_MADV_DONTNEED, 0); break;
        case POLICY_WISH_GROUP: approximated_if_on(w, v, POLICY_WHY_MEMBERS); break;
        case POLICY_WISH_PINNED:
        case POLICY_WISH_GRANULARITY:
        case POLICY_WISH_ATOMICS: refused_if_on(w, v, POLICY_WHY_NO_WORD); break;
        case _POLICY_WISH_N: break;
        }
}
