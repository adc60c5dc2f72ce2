#include <stddef.h>

#include "policy/policy.h"

/*
 * Memory that bounces: a touch that would move it comes within `lapse-us` of its last move. So many `bounces` in a row
 * are thrashing, and from then on
 *
 *     a link reaches it where it is           it stays, for `pin-ms`, and is reached over the link
 *     the CPU touches what a device has,      it comes to host memory and stays there as long
 *     which reaches host memory
 *     neither                                 who comes later waits until it has been where it is for `nap-us`;
 *                                             after so many `naps`, it comes to host memory if both reach that
 *
 * Between two that take it from each other it moves no more than twice in `pin-ms`, or once in `nap-us`. What has not
 * bounced for `epoch-ms` begins anew.
 */
bool policy_reaches(const struct policy_machine *m, uint32_t from, uint32_t to) {
        const struct policy_node *n = &m->nodes[from];

        if (to >= m->count || (n->host && !m->nodes[to].host))
                return false;
        return from == to || (n->host && m->nodes[to].host) || (n->bandwidth && n->bandwidth[to]);
}

static bool have_host(const struct policy_machine *m, uint32_t a, uint32_t b) {
        for (uint32_t i = 0; i < m->count; i++)
                if (m->nodes[i].host && m->nodes[i].online && policy_reaches(m, a, i) && policy_reaches(m, b, i))
                        return true;
        return false;
}

static bool bounced(const struct policy_profile *p, struct policy_thrash *t, const struct policy_granule *g,
                    uint64_t now_ns) {
        if (!g->moved_ns || now_ns - g->moved_ns >= p->lapse_us * 1000ull)
                return false;
        t->bounced_ns = now_ns;
        t->bounces += t->bounces < UINT8_MAX;
        return true;
}

static enum policy_cure pin(const struct policy_profile *p, struct policy_thrash *t, enum policy_cure cure,
                            uint64_t now_ns) {
        t->until_ns = now_ns + p->pin_ms * 1000000ull;
        t->naps = 0;
        return cure;
}

enum policy_cure policy_thrash(const struct policy_machine *m, const struct policy_profile *p, struct policy_thrash *t,
                               const struct policy_granule *g, uint32_t accessor, uint64_t now_ns,
                               uint64_t *ret_until_ns) {
        bool reached = policy_reaches(m, accessor, g->where), cpu = m->nodes[accessor].host;
        uint64_t rested_ns = g->moved_ns + p->nap_us * 1000ull;

        if (policy_pinned(t, now_ns))
                return reached ? POLICY_STAY : have_host(m, accessor, g->where) ? POLICY_HOST : POLICY_LET;
        if (now_ns - t->bounced_ns >= p->epoch_ms * 1000000ull)
                *t = (struct policy_thrash){ 0 };
        if (!bounced(p, t, g, now_ns) || t->bounces < p->bounces)
                return POLICY_LET;
        if (p->pin_ms && reached)
                return pin(p, t, POLICY_STAY, now_ns);
        if (p->pin_ms && (cpu || t->naps >= p->naps) && have_host(m, accessor, g->where))
                return pin(p, t, POLICY_HOST, now_ns);
        if (rested_ns <= now_ns)
                return POLICY_LET;
        t->naps += t->naps < UINT8_MAX;
        *ret_until_ns = rested_ns;
        return POLICY_NAP;
}
