/*
 * Fetched bytes against MIN and LRU, in the patterns of two seeds, the second of the clock's (SVMD_SEED: that one), and
 * in recordings of programs under svmd-run (recordings/record.py); what is not svmd's policy does not pass; and the
 * oracle against all ways to evict.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "compare.h"
#include "oracle.h"

static uint64_t seed_of_run(void) {
        const char *s = getenv("SVMD_SEED");

        return s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);
}

/* How many cells are not as they should be; at random all policies are alike. */
static unsigned faults(uint64_t seed, away_fn *away) {
        unsigned n = 0;

        for (uint32_t i = 0; i < (away ? PATTERN_RANDOM * SIZES : CELLS); i++) {
                struct cell c;
                const char *fault;

                assert_int_equal(compare_cell(&c, i, seed, !away && i / SIZES != PATTERN_RANDOM, away), 0);
                fault = compare_fault(&c);
                if (fault && !away)
                        print_error("SVMD_SEED=%" PRIu64 ": %s at %u %%: %" PRIu64 " (at a limit %" PRIu64
                                    "), MIN %" PRIu64 ", LRU %" PRIu64 ": %s\n",
                                    seed, c.name, c.percent, c.seen, c.group, c.min, c.lru, fault);
                n += fault != NULL;
        }
        return n;
}

static void test_seed(void **state) {
        assert_int_equal(faults(1, NULL), 0);
}

static void test_seed_of_run(void **state) {
        uint64_t seed = seed_of_run();

        print_message("SVMD_SEED=%" PRIu64 "\n", seed);
        assert_int_equal(faults(seed, NULL), 0);
}

static uint64_t away_lru(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses) {
        return uses - r->last;
}

static uint64_t away_clock(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses) {
        return 1;
}

/* The most recent first: right for a stream, and nothing else. */
static uint64_t away_mru(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses) {
        return 1 + (1ull << 36) - (uses - r->last);
}

static uint64_t away_random(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses) {
        return (r->last * 0x9e3779b97f4a7c15ull ^ uses * 0xbf58476d1ce4e5b9ull) >> 40;
}

static void test_others_fail(void **state) {
        assert_in_range(faults(1, away_lru), 4, CELLS);
        assert_in_range(faults(1, away_clock), 2, CELLS);
        assert_in_range(faults(1, away_mru), 2, CELLS);
        assert_in_range(faults(1, away_random), 2, CELLS);
}

static const char *const recordings[] = { RECORDINGS "/sqlite3.trace", RECORDINGS "/sort-unique.trace",
                                          RECORDINGS "/sort.trace" };
enum { PROGRAMS = sizeof(recordings) / sizeof(recordings[0]) };

static unsigned faults_recorded(away_fn *away) {
        unsigned n = 0;

        for (uint32_t i = 0; i < PROGRAMS * SIZES; i++) {
                struct cell c;
                const char *fault;

                assert_int_equal(compare_recording(&c, i % SIZES, recordings[i / SIZES], away), 0);
                assert_in_range(c.min, 200, 2000);
                fault = compare_fault(&c);
                if (fault && !away)
                        print_error("%s at %u %%: %" PRIu64 " (at a limit %" PRIu64 "), MIN %" PRIu64 ", LRU %" PRIu64
                                    ": %s\n",
                                    c.name, c.percent, c.seen, c.group, c.min, c.lru, fault);
                n += fault != NULL;
        }
        return n;
}

static void test_recordings(void **state) {
        assert_int_equal(faults_recorded(NULL), 0);
}

/* By gaps alone, without LRU beside. */
static uint64_t away_gaps(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses) {
        const struct policy_haste alone = { .grace = h->grace };

        return policy_away(r, &alone, uses);
}

static void test_others_fail_recordings(void **state) {
        assert_in_range(faults_recorded(away_gaps), 2, PROGRAMS * SIZES);
        assert_in_range(faults_recorded(away_random), 2, PROGRAMS * SIZES);
        assert_in_range(faults_recorded(away_mru), 2, PROGRAMS * SIZES);
}

/* The least that any choice of what goes comes to. */
static uint64_t least(const struct trace *t, uint32_t at, uint32_t resident, uint32_t room) {
        uint64_t best = UINT64_MAX;

        while (at < t->uses && resident >> t->use[at] & 1)
                at++;
        if (at == t->uses)
                return 0;
        if (room)
                return 1 + least(t, at + 1, resident | 1u << t->use[at], room - 1);
        for (uint32_t left = resident; left; left &= left - 1) {
                uint64_t k = 1 + least(t, at + 1, (resident & ~(left & -left)) | 1u << t->use[at], 0);

                best = k < best ? k : best;
        }
        return best;
}

static void test_oracle(void **state) {
        uint64_t rng = seed_of_run() | 1;

        for (unsigned round = 0; round < 200; round++) {
                struct trace t = { .granules = 6 };
                uint32_t memory = 2 + round % 3;
                uint64_t min, lru;

                for (unsigned i = 0; i < 14; i++) {
                        rng = rng * 6364136223846793005ull + 1442695040888963407ull;
                        assert_int_equal(trace_add(&t, (uint32_t)(rng >> 33) % 6), 0);
                }
                assert_int_equal(oracle_min(&t, memory, &min), 0);
                assert_int_equal(oracle_lru(&t, memory, &lru), 0);
                assert_int_equal(min, least(&t, 0, 0, memory));
                assert_true(lru >= min);
                trace_free(&t);
        }
}

/* LRU by hand: 0 1 2, then 0 (miss for two places), 1, 2. */
static void test_oracle_lru(void **state) {
        struct trace t = { .granules = 3 };
        uint64_t lru;

        for (uint32_t i = 0; i < 6; i++)
                assert_int_equal(trace_add(&t, i % 3), 0);
        assert_int_equal(trace_add(&t, 2), 0);
        assert_int_equal(trace_add(&t, 1), 0);
        assert_int_equal(oracle_lru(&t, 2, &lru), 0);
        assert_int_equal(lru, 6);
        assert_int_equal(oracle_lru(&t, 3, &lru), 0);
        assert_int_equal(lru, 3);
        assert_int_equal(oracle_lru_of_faults(&t, 3, &lru), 0);
        assert_int_equal(lru, 3);
        trace_free(&t);
}

/* 0 and 1 come; 0 is used again; 2 comes in place of 0, of which that was not seen. */
static void test_oracle_lru_of_faults(void **state) {
        static const uint32_t use[] = { 0, 1, 0, 2, 1, 0 };
        struct trace t = { .granules = 3 };
        uint64_t lru;

        for (uint32_t i = 0; i < sizeof(use) / sizeof(use[0]); i++)
                assert_int_equal(trace_add(&t, use[i]), 0);
        assert_int_equal(oracle_lru_of_faults(&t, 2, &lru), 0);
        assert_int_equal(lru, 4);
        assert_int_equal(oracle_lru(&t, 2, &lru), 0);
        assert_int_equal(lru, 5);
        trace_free(&t);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_oracle),      cmocka_unit_test(test_oracle_lru),
                cmocka_unit_test(test_seed),        cmocka_unit_test(test_seed_of_run),
                cmocka_unit_test(test_others_fail), cmocka_unit_test(test_oracle_lru_of_faults),
                cmocka_unit_test(test_recordings),  cmocka_unit_test(test_others_fail_recordings),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
