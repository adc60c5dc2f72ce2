#include "policy/compile-priv.h"

/*
 * Intel, twice: xe's VM madvise (preferred location, atomics) and the prefetch of a VM bind, and the same wishes in
 * Level Zero's words. xe maps pages when its device faults, so that there is nothing to say about access; without
 * faults it mirrors nothing. Level Zero's advice is about the device of the command list.
 */
enum { XE_PREFERRED_LOC, XE_ATOMIC };
enum { XE_LOCAL = 0, XE_SYSTEM = -1 }; /* in place of a descriptor */
enum { XE_FOLLOW_MADVISE = -1, XE_REGION_SYSTEM = 0, XE_REGION_VRAM = 1 };

static void unless_faults(const struct policy_target *t, struct policy_verdict *v) {
        if (!t->host && !t->faults)
                refused(v, POLICY_WHY_NO_FAULTS);
}

static void xe_preferred(const struct policy_target *t, enum policy_location location, struct policy_verdict *v) {
        bool other = location == POLICY_AT_PEER || location == POLICY_AT_FAR;

        if (!t->host && !t->faults) {
                refused(v, POLICY_WHY_NO_FAULTS);
        } else if (location == POLICY_AT_FAR) {
                refused(v, POLICY_WHY_NO_LINK); /* the driver's ENOLINK */
        } else if (other && !t->peers) {
                refused(v, POLICY_WHY_OTHER_DEVICE);
        } else {
                step(v, POLICY_CALL_XE_MADVISE, XE_PREFERRED_LOC,
                     other                                                                   ? (int64_t)t->other
                     : location == POLICY_AT_HOST || (t->host && location == POLICY_AT_HERE) ? XE_SYSTEM
                                                                                             : XE_LOCAL);
        }
}

static void xe_prefetch(const struct policy_target *t, enum policy_location location, struct policy_verdict *v) {
        if (location == POLICY_AT_PEER || location == POLICY_AT_FAR) {
                xe_preferred(t, location, v);
                if (v->became == POLICY_APPLIED)
                        step(v, POLICY_CALL_XE_PREFETCH, 0, XE_FOLLOW_MADVISE);
                return;
        }
        unless_faults(t, v);
        if (v->became == POLICY_APPLIED)
                step(v, POLICY_CALL_XE_PREFETCH, 0,
                     location == POLICY_AT_HERE && !t->host ? XE_REGION_VRAM : XE_REGION_SYSTEM);
}

void compile_xe(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v) {
        switch (w->word) {
        case POLICY_WISH_PREFERRED: xe_preferred(t, w->location, v); break;
        case POLICY_WISH_ACCESSED_BY:
                judge_accessed_by(t, w, v);
                if (w->value)
                        unless_faults(t, v);
                break;
        case POLICY_WISH_PINNED: approximated_if_on(w, v, POLICY_WHY_LOCATION); break;
        case POLICY_WISH_ATOMICS: step(v, POLICY_CALL_XE_MADVISE, XE_ATOMIC, (int64_t)w->value); break;
        case POLICY_WISH_PREFETCH: xe_prefetch(t, w->location, v); break;
        case POLICY_WISH_DISCARD: step(v, POLICY_CALL_MADVISE, POLICY_MADV_DONTNEED, 0); break;
        case POLICY_WISH_GROUP: approximated_if_on(w, v, POLICY_WHY_MEMBERS); break;
        case POLICY_WISH_COARSE: approximated_if_on(w, v, POLICY_WHY_COHERENT); break;
        case POLICY_WISH_READ_MOSTLY:
        case POLICY_WISH_GRANULARITY: refused_if_on(w, v, POLICY_WHY_NO_WORD); break;
        case _POLICY_WISH_N: break;
        }
}

/* ---- Level Zero ---- */

enum {
        ZE_READ_MOSTLY,
        ZE_NOT_READ_MOSTLY,
        ZE_PREFERRED,
        ZE_NOT_PREFERRED,
        ZE_NON_ATOMIC_MOSTLY,
        ZE_NOT_NON_ATOMIC_MOSTLY,
        ZE_BIAS_CACHED,
        ZE_BIAS_UNCACHED,
        ZE_SYSTEM_PREFERRED,
        ZE_NOT_SYSTEM_PREFERRED,
};
enum {
        ZE_HOST_ATOMICS = 1 << 2,
        ZE_NO_DEVICE_ATOMICS = 1 << 3,
        ZE_DEVICE_ATOMICS = 1 << 4,
        ZE_SYSTEM_ATOMICS = 1 << 6
};

static void ze_preferred(const struct policy_target *t, enum policy_location location, struct policy_verdict *v) {
        switch (location) {
        case POLICY_AT_NONE:
                step(v, POLICY_CALL_ZE_ADVISE, ZE_NOT_PREFERRED, 0);
                step(v, POLICY_CALL_ZE_ADVISE, ZE_NOT_SYSTEM_PREFERRED, 0);
                break;
        case POLICY_AT_HERE:
                step(v, POLICY_CALL_ZE_ADVISE, t->host ? ZE_SYSTEM_PREFERRED : ZE_PREFERRED, 0);
                judge_preferred(t, location, v);
                break;
        case POLICY_AT_HOST:
                step(v, POLICY_CALL_ZE_ADVISE, ZE_SYSTEM_PREFERRED, 0);
                judge_preferred(t, location, v);
                break;
        case POLICY_AT_PEER:
        case POLICY_AT_FAR: refused(v, POLICY_WHY_OTHER_DEVICE); break;
        }
}

static int64_t ze_atomics(uint64_t value) {
        switch (value) {
        case POLICY_ATOMICS_DEVICE: return ZE_DEVICE_ATOMICS;
        case POLICY_ATOMICS_GLOBAL: return ZE_SYSTEM_ATOMICS;
        case POLICY_ATOMICS_CPU: return ZE_HOST_ATOMICS | ZE_NO_DEVICE_ATOMICS;
        default: return 0;
        }
}

void compile_ze(const struct policy_target *t, const struct policy_wish *w, struct policy_verdict *v) {
        switch (w->word) {
        case POLICY_WISH_PREFERRED: ze_preferred(t, w->location, v); break;
        case POLICY_WISH_READ_MOSTLY:
                step(v, POLICY_CALL_ZE_ADVISE, w->value ? ZE_READ_MOSTLY : ZE_NOT_READ_MOSTLY, 0);
                break;
        case POLICY_WISH_ATOMICS: step(v, POLICY_CALL_ZE_ATOMICS, 0, ze_atomics(w->value)); break;
        case POLICY_WISH_COARSE: step(v, POLICY_CALL_ZE_ADVISE, w->value ? ZE_BIAS_CACHED : ZE_BIAS_UNCACHED, 0); break;
        case POLICY_WISH_PREFETCH:
                if (w->location == POLICY_AT_HERE && !t->host)
                        step(v, POLICY_CALL_ZE_PREFETCH, 0, 0);
                else
                        refused(v, POLICY_WHY_OTHER_DEVICE);
                break;
        case POLICY_WISH_DISCARD: step(v, POLICY_CALL_MADVISE, POLICY_MADV_DONTNEED, 0); break;
        case POLICY_WISH_GROUP: approximated_if_on(w, v, POLICY_WHY_MEMBERS); break;
        case POLICY_WISH_PINNED: approximated_if_on(w, v, POLICY_WHY_LOCATION); break;
        case POLICY_WISH_ACCESSED_BY:
        case POLICY_WISH_GRANULARITY: refused_if_on(w, v, POLICY_WHY_NO_WORD); break;
        case _POLICY_WISH_N: break;
        }
}
