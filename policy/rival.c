#include "policy/rival.h"

#include <string.h>

/*
 * Last gaps in place of the future do well with programs that go over their data in turns, and badly with some that do
 * not: then what was used longest ago is the better one to go. Which it is shows only as it happens, so LRU is played
 * beside, without a list of what it would hold: it holds those granules whose last use is the latest, as many as there
 * is room for. Counts of granules by the span of time in which they were used last say where that ends:
 *
 *     last use     | 5 |   6   | 4 |      6      | 5 | 2 |
 *                edge                                    ^ now
 *        let go    | held: as many as there is room for  |
 *
 * A span ends when it has a 64th of the room, and neighbours that have no more than that together become one: so the
 * edge is known to a 64th of the room, and where there is room for 64 granules at most, exactly.
 * A granule that is used and was used last before the edge is one that LRU fetches.
 *
 * What we let go and LRU has may cost a fetch each that LRU is spared. With L fetches of LRU, F of ours and D such
 * granules now, a 64th of L may be staked:
 *
 *     credit = L + L / 64 + trust - F - D
 *
 * To let go what LRU has takes a granule of credit. Where there is none, what LRU has not got goes, which there always
 * is, since both hold as many: then F + D grows by one at most, and by that only when L does. So F is never more than
 * L + L / 64 + trust, whatever is used. Where we fetch less than LRU the difference is credit, so what is staked well
 * grows with each time. Half of the node's granules is the most that is kept: who does worse after a change of phase
 * has no more than that to lose.
 *
 * A stream earns nothing until its second pass comes to where the first would have been hit, and by then it is too late
 * to be within 1.05 of MIN. So there is trust, of half the node at most: a granule for each that LRU fetches in the
 * order in which they were used the last time, after a row of such. Programs that do not stream get none of it. It is
 * paid back out of what is earned.
 */
enum { UNIT = 64, PARTS = 64, ROW = 64, NEAR = 64 };

/* LRU lets go what we have let go. */
static void forgive(struct policy_rival *v, struct policy_span *s, uint32_t gone) {
        s->gone -= gone;
        v->credit += (int64_t)gone * UNIT;
}

static void drop(struct policy_rival *v, uint32_t count) {
        for (uint32_t i = 0; i < count; i++)
                forgive(v, &v->span[i], v->span[i].gone);
        v->spans -= count;
        memmove(v->span, v->span + count, v->spans * sizeof(v->span[0]));
}

/* Neighbours that have few become one; at most two for each part, and one, are left. */
static void merge(struct policy_rival *v, uint64_t few) {
        uint32_t to = 0;

        for (uint32_t i = 1; i < v->spans; i++) {
                if (v->span[to].held + v->span[i].held <= few) {
                        v->span[to].held += v->span[i].held;
                        v->span[to].gone += v->span[i].gone;
                } else
                        v->span[++to] = v->span[i];
        }
        v->spans = to + 1;
}

/* The span in which the use lies, or NULL. */
static struct policy_span *span_of(struct policy_rival *v, uint64_t use) {
        uint32_t low = 0, high = v->spans;

        if (!high || use < v->span[0].start || use > v->now)
                return NULL;
        while (high - low > 1) {
                uint32_t middle = (low + high) / 2;

                if (v->span[middle].start <= use)
                        low = middle;
                else
                        high = middle;
        }
        return &v->span[low];
}

/* It was used last in that span, and is used now. */
static void move(struct policy_rival *v, struct policy_span *from, uint64_t granules) {
        uint64_t few = granules ? (granules + PARTS - 1) / PARTS : 1;

        if (from && from->held) {
                from->held--;
                v->held--;
        }
        if (!v->spans || v->span[v->spans - 1].held >= few) {
                if (v->spans == POLICY_SPANS)
                        merge(v, few);
                v->span[v->spans++] = (struct policy_span){ .start = v->now };
        }
        v->span[v->spans - 1].held++;
        v->held++;
}

/* LRU lets go so many of the oldest span: as far as one knows, they lie evenly in it. */
static void let_go(struct policy_rival *v, uint64_t count) {
        struct policy_span *s = v->span;

        s->start += ((s[1].start - s->start) * count + s->held - 1) / s->held;
        s->held -= (uint32_t)count;
        if (s->gone > s->held)
                forgive(v, s, s->gone - s->held);
}

static void find_edge(struct policy_rival *v, uint64_t granules) {
        uint32_t whole = 0;

        if (v->held <= granules)
                return;
        while (whole + 1 < v->spans && v->held - v->span[whole].held >= granules)
                v->held -= v->span[whole++].held;
        drop(v, whole);
        if (v->held > granules && v->spans > 1) {
                let_go(v, v->held - granules);
                v->held = granules;
        }
        v->edge = v->span[0].start - 1;
}

/* Of one that LRU fetches. */
static void trust(struct policy_rival *v, uint64_t after, uint64_t granules) {
        uint64_t near = v->after / NEAR + 2;
        bool as_others = after + near >= v->after && after <= v->after + near;

        v->run = as_others ? v->run + (v->run < ROW) : 0;
        if (!as_others)
                v->after = after;
        if (v->run < ROW || v->trust >= granules / 2)
                return;
        v->trust++;
        v->credit += UNIT;
}

static void count(struct policy_rival *v, struct policy_span *was, bool fetched, enum policy_found found) {
        v->fetched += fetched;
        v->credit += fetched ? UNIT + 1 : 0;
        if (found != POLICY_THERE)
                v->credit -= fetched || found == POLICY_LET_GO ? UNIT : 0;
        else if (fetched && v->trust) {
                v->trust--;
                v->credit -= UNIT;
        }
        if (found == POLICY_LET_GO && was && was->gone)
                forgive(v, was, 1);
}

/* Counts begin anew where uses do. */
static void restart(struct policy_rival *v) {
        drop(v, v->spans);
        v->held = v->edge = 0;
}

void policy_compared(struct policy_rival *v, const struct policy_reuse *r, uint64_t uses, uint64_t granules,
                     enum policy_found found) {
        int64_t most = (int64_t)(granules / 2) * UNIT;
        struct policy_span *was;
        bool fetched;

        uses &= POLICY_USES;
        if (r->last && r->last == uses)
                return;
        if (uses + 1 < v->now)
                restart(v);
        v->now = uses + 1;
        find_edge(v, granules);
        fetched = !r->last || r->last <= v->edge;
        was = fetched ? NULL : span_of(v, r->last);
        if (fetched && r->last)
                trust(v, (uses - r->last) & POLICY_USES, granules);
        count(v, was, fetched, found);
        move(v, was, granules);
        find_edge(v, granules);
        if (v->credit > most)
                v->credit = most;
}

void policy_let_go(struct policy_rival *v, const struct policy_reuse *r) {
        struct policy_span *s = r->last > v->edge ? span_of(v, r->last) : NULL;

        if (!s)
                return;
        s->gone++;
        v->credit -= UNIT;
}

void policy_bound(const struct policy_rival *v, uint64_t uses, struct policy_haste *h) {
        h->held = v->credit < UNIT ? (uses - v->edge) & POLICY_USES : 0;
}
