#include <stddef.h>

#include "policy/policy.h"

/*
 * What a fault on a page that lives elsewhere gets. The CPU reaches nothing but host memory, so its faults bring the
 * page, or a copy of it when it is read and advice says read-mostly. A device gets a copy of what is read-mostly; it
 * reaches over its link what is pinned, what prefers to live where it is, and what has been moving to and fro: two
 * accessors that take a page from each other lose more by every move than by the slower access. All else comes to it,
 * unless the profile leaves memory where it is: all that a link reaches (`touch-moves`), or what is in the device's
 * hive (`peer-moves`).
 */
static bool stays(const struct policy_machine *m, const struct policy_profile *p, const struct policy_advice *advice,
                  const struct policy_granule *g, uint32_t accessor, uint64_t now_ns) {
        if (advice->pinned)
                return true;
        if (advice->preferred)
                return advice->preferred - 1 == g->where;
        if (accessor < 64 && advice->accessed_by & 1ull << accessor)
                return true;
        return policy_peers(m, accessor, g->where) ? !p->peer_moves : !p->touch_moves;
}

enum policy_answer policy_promote(const struct policy_machine *m, const struct policy_profile *p,
                                  const struct policy_advice *advice, const struct policy_granule *g, uint32_t accessor,
                                  enum policy_access access, uint64_t now_ns) {
        if (access == POLICY_READ && advice->read_mostly && !advice->pinned)
                return POLICY_DUPLICATE;
        if (access != POLICY_PREFETCH && policy_reaches(m, accessor, g->where) &&
            stays(m, p, advice, g, accessor, now_ns))
                return POLICY_MAP;
        return POLICY_MIGRATE;
}
