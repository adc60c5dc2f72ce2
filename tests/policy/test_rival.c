/*
 * LRU played beside: what rival.c says LRU fetches, against LRU; what is earned, staked and trusted; and that who goes
 * by it never fetches more than is allowed beyond LRU, whatever is used: patterns of all kinds from a seed that is
 * printed (SVMD_SEED), among them one that always uses what LRU has and we have not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policy/rival.h"

enum { GRANULES = 1024, UNIT = 64 };

static uint64_t rng;

static uint32_t below(uint32_t n) {
        rng = rng * 6364136223846793005ull + 1442695040888963407ull;
        return (uint32_t)((rng >> 33) * n >> 31);
}

/* ---- LRU, and a node that goes by the policy ---- */

struct lru {
        uint32_t room, held;
        uint64_t uses, fetched;
        uint64_t last[GRANULES]; /* 0: it has not got it */
};

static void lru_use(struct lru *l, uint32_t granule) {
        uint32_t oldest = GRANULES;

        if (!l->last[granule]) {
                l->fetched++;
                l->held++;
        }
        l->last[granule] = ++l->uses;
        if (l->held <= l->room)
                return;
        for (uint32_t i = 0; i < GRANULES; i++)
                if (l->last[i] && (oldest == GRANULES || l->last[i] < l->last[oldest]))
                        oldest = i;
        l->last[oldest] = 0;
        l->held--;
}

struct ours {
        struct policy_rival rival;
        struct policy_haste haste;
        struct policy_reuse reuse[GRANULES];
        enum policy_found found[GRANULES];
        uint32_t held[GRANULES + 1], count, room;
        uint64_t uses, fetched;
        bool reckless; /* takes no notice of what it may */
};

static void begin(struct ours *o, uint32_t room) {
        memset(o, 0, sizeof(*o));
        o->room = room;
        for (uint32_t i = 0; i < GRANULES; i++)
                o->found[i] = POLICY_NEW;
}

static void let_go(struct ours *o, uint32_t used) {
        uint32_t first = GRANULES;
        uint64_t most = 0;

        policy_bound(&o->rival, o->uses, &o->haste);
        if (o->reckless)
                o->haste.held = 0;
        for (uint32_t i = 0; i < o->count; i++) {
                uint64_t away = policy_away(&o->reuse[o->held[i]], &o->haste, o->uses);

                if (o->held[i] == used || (first < GRANULES && away <= most))
                        continue;
                most = away;
                first = i;
        }
        policy_let_go(&o->rival, &o->reuse[o->held[first]]);
        policy_left(&o->haste);
        o->found[o->held[first]] = POLICY_LET_GO;
        o->held[first] = o->held[--o->count];
}

static void use(struct ours *o, uint32_t granule) {
        bool comes = o->found[granule] != POLICY_THERE;
        uint32_t granules = o->count + comes < o->room ? o->count + comes : o->room;

        if (comes)
                policy_missed(&o->haste, &o->reuse[granule], o->uses, granules);
        policy_compared(&o->rival, &o->reuse[granule], o->uses, granules, o->found[granule]);
        policy_used(&o->reuse[granule], &o->uses);
        if (!comes)
                return;
        o->fetched++;
        o->found[granule] = POLICY_THERE;
        o->held[o->count++] = granule;
        if (o->count > o->room)
                let_go(o, granule);
}

static struct ours ours;
static struct lru lru;

static void begin_both(uint32_t room, uint32_t room_of_lru) {
        begin(&ours, room);
        memset(&lru, 0, sizeof(lru));
        lru.room = room_of_lru;
}

static void use_both(uint32_t granule) {
        lru_use(&lru, granule);
        use(&ours, granule);
}

/* ---- any pattern ---- */

/* One that LRU has and we have not, if there is any. */
static uint32_t worst(uint32_t granules) {
        uint32_t from = below(granules);

        for (uint32_t i = 0; i < granules; i++)
                if (lru.last[(from + i) % granules] && ours.found[(from + i) % granules] != POLICY_THERE)
                        return (from + i) % granules;
        return from;
}

struct phase {
        uint32_t kind, left, from, size, at;
};

static void phase_begin(struct phase *p, uint32_t room, uint32_t granules) {
        uint32_t near = room + below(9);

        *p = (struct phase){ .kind = below(7), .left = 1 + below(4 * room + 50), .from = below(granules) };
        p->size = below(2) ? 1 + below(granules) : near > 4 ? near - 4 : 1;
        p->size = p->size < granules ? p->size : granules;
}

static uint32_t phase_next(struct phase *p, uint32_t granules) {
        uint32_t at = p->at++;

        switch (p->kind) {
        case 0:
        case 1: break; /* around and around */
        case 2: at = at / p->size % 2 ? p->size - 1 - at % p->size : at; break;
        case 3: at = below(p->size); break;
        case 4: at = below(4) ? below(p->size / 8 + 1) : below(p->size); break;
        case 5: at = at * 7; break;
        default: return worst(granules);
        }
        return (p->from + at % p->size) % granules;
}

/* How many granules more than may be were fetched at most, at any time. */
static int64_t excess_of_run(uint32_t room, uint32_t room_of_lru, uint32_t granules, uint32_t uses, bool reckless) {
        struct phase p = { 0 };
        int64_t most = INT64_MIN;

        begin_both(room, room_of_lru);
        ours.reckless = reckless;
        for (uint32_t i = 0; i < uses; i++) {
                int64_t excess;

                if (!p.left)
                        phase_begin(&p, room, granules);
                p.left--;
                use_both(phase_next(&p, granules));
                assert_in_range(ours.rival.trust, 0, room / 2);
                excess = (int64_t)(UNIT * ours.fetched) -
                         (int64_t)((UNIT + 1) * lru.fetched + UNIT * (uint64_t)ours.rival.trust);
                most = excess > most ? excess : most;
        }
        return most;
}

static void seed(void) {
        const char *s = getenv("SVMD_SEED");

        rng = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);
        print_message("SVMD_SEED=%" PRIu64 "\n", rng);
}

enum { RUNS = 3000 };

static void test_never_more(void **state) {
        seed();
        for (uint32_t run = 0; run < RUNS; run++) {
                uint32_t room = 1 + below(64), granules = room + 1 + below(2 * room);
                uint64_t began = rng;
                int64_t excess = excess_of_run(room, room, granules, 1000, false);

                if (excess > 0)
                        print_error("run %u, room %u of %u, state %" PRIu64 ": %" PRId64 " 64ths too many\n", run, room,
                                    granules, began, excess);
                assert_true(excess <= 0);
                assert_int_equal(ours.rival.fetched, lru.fetched);
                assert_true(ours.rival.credit >= 0);
        }
}

/* Where there is room for more, LRU is known to a 64th of the room: it is LRU with that much less. */
static void test_never_more_large(void **state) {
        seed();
        for (uint32_t run = 0; run < RUNS / 60; run++) {
                uint32_t room = 65 + below(300), part = (room + 63) / 64, granules = room + 1 + below(room);
                int64_t excess = excess_of_run(room, room - part, granules, 10 * room, false);

                if (excess > UNIT * (int64_t)part)
                        print_error("run %u, room %u of %u: %" PRId64 " 64ths too many\n", run, room, granules, excess);
                assert_true(excess <= UNIT * (int64_t)part);
        }
}

/* The patterns find out who does not look at the credit. */
static void test_reckless(void **state) {
        uint32_t found = 0;

        seed();
        for (uint32_t run = 0; run < RUNS / 30; run++) {
                uint32_t room = 8 + below(56);

                found += excess_of_run(room, room, 2 * room, 1000, true) > 0;
        }
        assert_in_range(found, RUNS / 60, RUNS / 30);
}

/* ---- what is counted ---- */

/* Uses that come in rows of some granules, at a pace that changes a thousandfold. */
static void test_lru(void **state) {
        seed();
        begin_both(200, 200);
        for (uint32_t i = 0; i < 60000; i++)
                use_both((i / 500 + below(i / 20000 % 2 ? 4 : 400)) % 400);
        assert_in_range(ours.rival.fetched, lru.fetched * 99 / 100, lru.fetched * 101 / 100);
        assert_in_range(lru.fetched, 5000, 50000);
}

enum { ROOM = 200 };

/* A loop over twice the room: LRU fetches it all. */
static void scan(struct policy_rival *v, struct policy_reuse *reuse, uint64_t *uses, uint32_t times,
                 enum policy_found found) {
        for (uint32_t i = 0; i < times * 2 * ROOM; i++) {
                policy_compared(v, &reuse[i % (2 * ROOM)], *uses, ROOM, found);
                policy_used(&reuse[i % (2 * ROOM)], uses);
        }
}

static void test_earned(void **state) {
        struct policy_reuse reuse[2 * ROOM] = { 0 };
        struct policy_rival v = { 0 };
        struct policy_haste h;
        uint64_t uses = 0;

        scan(&v, reuse, &uses, 1, POLICY_NEW);
        assert_int_equal(v.fetched, 2 * ROOM);
        assert_int_equal(v.credit, 2 * ROOM);
        scan(&v, reuse, &uses, 4, POLICY_THERE);
        assert_int_equal(v.fetched, 10 * ROOM);
        assert_int_equal(v.credit, ROOM / 2 * UNIT);
        policy_bound(&v, uses, &h);
        assert_int_equal(h.held, 0);
        assert_in_range(v.edge, uses - ROOM - ROOM / UNIT - 1, uses - ROOM + ROOM / UNIT + 1);
}

/* What LRU has and we let go is owed, until LRU lets it go, too. */
static void test_staked(void **state) {
        struct policy_reuse reuse[2 * ROOM] = { 0 };
        struct policy_rival v = { 0 };
        struct policy_haste h = { 0 };
        uint64_t uses = 0;
        int64_t credit;

        scan(&v, reuse, &uses, 1, POLICY_NEW);
        credit = v.credit;
        policy_let_go(&v, &reuse[0]);
        assert_int_equal(v.credit, credit);
        assert_in_range(credit, 2 * UNIT, 10 * UNIT);
        for (uint32_t i = 0; i < credit / UNIT; i++) {
                policy_bound(&v, uses, &h);
                assert_int_equal(h.held, 0);
                policy_let_go(&v, &reuse[2 * ROOM - 1 - i]);
        }
        policy_bound(&v, uses, &h);
        assert_int_equal(h.held, uses - v.edge);
        policy_compared(&v, &reuse[2 * ROOM - 2], uses, ROOM, POLICY_LET_GO);
        policy_used(&reuse[2 * ROOM - 2], &uses);
        assert_int_equal(v.credit, credit % UNIT);
        for (uint32_t i = 0; i < ROOM; i++) {
                policy_compared(&v, &reuse[i], uses, ROOM, POLICY_NEW);
                policy_used(&reuse[i], &uses);
        }
        assert_true(v.credit >= credit - UNIT);
}

/* What comes in its old order is trusted, for half of the room at most, and no other. */
static void test_trusted(void **state) {
        struct policy_reuse reuse[2 * ROOM] = { 0 };
        struct policy_rival v = { 0 };
        uint64_t uses = 0;

        scan(&v, reuse, &uses, 1, POLICY_NEW);
        assert_int_equal(v.trust, 0);
        scan(&v, reuse, &uses, 1, POLICY_LET_GO);
        assert_int_equal(v.trust, ROOM / 2);
        scan(&v, reuse, &uses, 1, POLICY_LET_GO);
        assert_int_equal(v.trust, ROOM / 2);

        seed();
        begin_both(ROOM, ROOM);
        for (uint32_t i = 0; i < 20000; i++) {
                use_both(below(2 * ROOM));
                assert_int_equal(ours.rival.trust, 0);
        }
}

/* The same use told twice counts once; and nothing is lost before it is known what LRU holds. */
static void test_once(void **state) {
        struct policy_reuse reuse[50] = { 0 };
        struct policy_rival v = { 0 };
        uint64_t uses = 0;

        for (uint32_t i = 0; i < 2; i++) {
                policy_compared(&v, &reuse[1], uses, 1, POLICY_THERE);
                policy_used(&reuse[1], &uses);
        }
        assert_int_equal(uses, 1);
        assert_int_equal(v.held, 1);
        assert_int_equal(v.fetched, 1);
        for (uint32_t i = 0; i < 1000; i++) {
                policy_compared(&v, &reuse[i % 50], uses, ROOM, POLICY_THERE);
                policy_used(&reuse[i % 50], &uses);
        }
        assert_int_equal(v.edge, 0);
        assert_int_equal(v.fetched, 50);
}

/* Uses are counted modulo 2^36. */
static void test_again(void **state) {
        struct policy_reuse reuse[2 * ROOM] = { 0 };
        struct policy_rival v = { 0 };
        uint64_t uses = POLICY_USES - 5000;

        scan(&v, reuse, &uses, 25, POLICY_NEW);
        assert_true(v.span[v.spans - 1].start <= POLICY_USES + 1);
        assert_in_range(v.held, 1, ROOM);
        assert_in_range(v.fetched, 46 * ROOM, 50 * ROOM);
}

/* Room that shrinks and grows, and none at all. */
static void test_room(void **state) {
        struct policy_reuse reuse[GRANULES] = { 0 };
        struct policy_rival v = { 0 };
        uint64_t uses = 0;

        seed();
        for (uint32_t i = 0; i < 100000; i++) {
                uint32_t room = i / 1000 % 3 ? below(4) : GRANULES, granule = below(GRANULES);

                policy_compared(&v, &reuse[granule], uses, room, POLICY_LET_GO);
                policy_used(&reuse[granule], &uses);
                policy_let_go(&v, &reuse[below(GRANULES)]);
                assert_in_range(v.spans, 1, POLICY_SPANS);
                assert_in_range(v.held, 1, GRANULES);
                for (uint32_t k = 1; k < v.spans; k++)
                        assert_true(v.span[k - 1].start < v.span[k].start);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_never_more), cmocka_unit_test(test_never_more_large),
                cmocka_unit_test(test_reckless),   cmocka_unit_test(test_lru),
                cmocka_unit_test(test_earned),     cmocka_unit_test(test_staked),
                cmocka_unit_test(test_trusted),    cmocka_unit_test(test_once),
                cmocka_unit_test(test_again),      cmocka_unit_test(test_room),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
