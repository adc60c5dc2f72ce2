#include "policy/rival.h"

#include <string.h>

/*
 * Last gaps in place of the future do well with programs that go over their data in turns, and badly with some that do
 * not: then what was used longest ago is the better one to go. Which it is shows only as it happens, so LRU is played
 * beside, without a list of what it would hold: it holds those granules whose last use is the latest, as many as there
 * is room for. Counts of granules by the span of time in which they were used last say where that ends:
 *
 *     last use   |  2  |  5  | 31  | 17  | 40  | 22  |
 *                            ^ edge                  ^ now
 *                 let go     |  held: as many as there is room for
 *
 * A granule that is used and was used last before the edge is one that LRU fetches; one that we had let go and was used
 * after the edge is one that we fetch and LRU does not. Who has fetched less leads: ours, until it is behind by more
 * than a hundredth of what LRU fetched and a few; then LRU, until by having fetched more it has made that a hundredth
 * again. So what we fetch is bounded, but for what was let go before it showed. To have been better counts for no more
 * than an eighth of what there is: who does worse after a change of phase is soon found out, and so is who does better.
 */
enum { PART = 100, FEW = 32, CREDIT = 4 };

static void widen(struct policy_rival *v) {
        uint32_t wide[POLICY_SPANS] = { 0 };
        uint64_t s = v->newest;

        for (unsigned i = 0; i < POLICY_SPANS && s != UINT64_MAX; i++, s--)
                wide[s / 2 % POLICY_SPANS] += v->span[s % POLICY_SPANS];
        memcpy(v->span, wide, sizeof(wide));
        v->newest /= 2;
        v->shift++;
}

/* Half of a span's granules lie in each half of it, as far as one knows. */
static void narrow(struct policy_rival *v) {
        uint32_t fine[POLICY_SPANS] = { 0 };
        uint64_t s = v->newest;

        for (unsigned i = 0; i < POLICY_SPANS / 2 && s != UINT64_MAX; i++, s--) {
                uint32_t n = v->span[s % POLICY_SPANS];

                fine[2 * s % POLICY_SPANS] = i ? n / 2 : n;
                fine[(2 * s + 1) % POLICY_SPANS] = i ? n - n / 2 : 0;
        }
        memcpy(v->span, fine, sizeof(fine));
        v->newest *= 2;
        v->shift--;
}

static void find_edge(struct policy_rival *v, uint64_t granules) {
        uint64_t n = 0, s = v->newest;

        for (unsigned i = 0; i < POLICY_SPANS && s != UINT64_MAX; i++, s--) {
                uint64_t in = v->span[s % POLICY_SPANS];

                if (n + in > granules) {
                        v->edge = (s << v->shift) + ((n + in - granules) << v->shift) / in;
                        return;
                }
                n += in;
        }
        v->edge = 0;
}

/* Counts begin anew where uses do. */
static void restart(struct policy_rival *v, uint64_t now) {
        memset(v->span, 0, sizeof(v->span));
        v->newest = now;
        v->edge = 0;
}

/* Spans are as long as lets what LRU holds lie in some, and not in more than there are. */
static void go_on(struct policy_rival *v, uint64_t uses, uint64_t granules) {
        uint64_t now = uses >> v->shift, held;

        if (now == v->newest)
                return;
        if (now < v->newest || now - v->newest > POLICY_SPANS)
                restart(v, now);
        while (v->newest < now)
                v->span[++v->newest % POLICY_SPANS] = 0;
        find_edge(v, granules);
        held = v->newest - (v->edge >> v->shift);
        if (held > 3 * POLICY_SPANS / 4)
                widen(v);
        else if (v->shift && held < POLICY_SPANS / 8)
                narrow(v);
}

static void move(struct policy_rival *v, const struct policy_reuse *r) {
        uint64_t from = r->last >> v->shift;
        uint32_t *was = &v->span[from % POLICY_SPANS];

        if (r->last && from <= v->newest && v->newest - from < POLICY_SPANS && *was)
                --*was;
        v->span[v->newest % POLICY_SPANS]++;
}

static void judge(struct policy_rival *v, uint64_t granules) {
        int64_t may = (int64_t)(v->fetched / PART + granules / FEW), most = may + (int64_t)granules;
        int64_t least = -(int64_t)(granules / CREDIT);

        v->behind = v->behind < least ? least : v->behind > most ? most : v->behind;
        v->leads = v->leads ? v->behind >= may - may / 4 : v->behind > may;
}

void policy_compared(struct policy_rival *v, const struct policy_reuse *r, uint64_t uses, uint64_t granules,
                     enum policy_found found) {
        bool fetched;

        if (r->last && r->last == (uses & POLICY_USES))
                return;
        go_on(v, (uses & POLICY_USES) + 1, granules);
        fetched = !r->last || r->last <= v->edge;
        move(v, r);
        if (fetched) {
                v->fetched++;
                find_edge(v, granules);
                v->behind -= found == POLICY_THERE;
        } else if (v->edge)
                v->behind += found == POLICY_LET_GO;
        judge(v, granules);
}
