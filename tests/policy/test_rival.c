/* LRU played beside: what rival.c says LRU fetches, against LRU; when it leads, and when no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "policy/rival.h"

enum { GRANULES = 400, ROOM = 200 };

static struct policy_reuse reuse[GRANULES];
static uint64_t last[GRANULES]; /* use, of those that LRU has; 0: it has not */
static uint32_t held;

static void begin(struct policy_rival *v) {
        memset(v, 0, sizeof(*v));
        memset(reuse, 0, sizeof(reuse));
        memset(last, 0, sizeof(last));
        held = 0;
}

static bool lru(uint32_t granule, uint64_t now) {
        uint32_t oldest = GRANULES;
        bool fetched = !last[granule];

        for (uint32_t i = 0; fetched && held == ROOM && i < GRANULES; i++)
                if (last[i] && (oldest == GRANULES || last[i] < last[oldest]))
                        oldest = i;
        if (oldest < GRANULES)
                last[oldest] = 0;
        else
                held += fetched;
        last[granule] = now;
        return fetched;
}

static void use(struct policy_rival *v, uint32_t granule, uint64_t *uses, enum policy_found found) {
        policy_compared(v, &reuse[granule], *uses, ROOM, found);
        policy_used(&reuse[granule], uses);
}

static uint32_t random_below(uint64_t *rng, uint32_t n) {
        *rng = *rng * 6364136223846793005ull + 1442695040888963407ull;
        return (uint32_t)((*rng >> 33) * n >> 31);
}

/* Uses that come in rows of some granules, at a pace that changes a thousandfold: spans become longer and shorter. */
static void test_lru(void **state) {
        struct policy_rival v;
        uint64_t rng = 1, uses = 0, fetched = 0;
        uint32_t shift = 0;

        begin(&v);
        for (uint32_t i = 0; i < 200000; i++) {
                uint32_t near = i / 40000 % 2 ? 4 : GRANULES;
                uint32_t granule = (i / 500 + random_below(&rng, near)) % GRANULES;

                fetched += lru(granule, uses + 1);
                use(&v, granule, &uses, POLICY_NEW);
                shift = v.shift > shift ? v.shift : shift;
        }
        assert_in_range(v.fetched, fetched * 98 / 100, fetched * 102 / 100);
        assert_in_range(fetched, 10000, 100000);
        assert_true(v.shift < shift);
}

/* A scan of twice the room over and over: LRU fetches it all. */
static void scan(struct policy_rival *v, uint64_t *uses, uint32_t times, enum policy_found found) {
        for (uint32_t i = 0; i < times * GRANULES; i++)
                use(v, i % GRANULES, uses, found);
}

static void test_better(void **state) {
        struct policy_rival v;
        uint64_t uses = 0;

        begin(&v);
        scan(&v, &uses, 1, POLICY_NEW);
        scan(&v, &uses, 4, POLICY_THERE);
        assert_int_equal(v.fetched, 5 * GRANULES);
        assert_int_equal(v.behind, -ROOM / 4);
        assert_false(v.leads);
        scan(&v, &uses, 4, POLICY_LET_GO);
        assert_int_equal(v.behind, -ROOM / 4);
}

/* A loop over what LRU holds, and we do not. */
static void test_worse(void **state) {
        struct policy_rival v;
        uint64_t uses = 0;
        uint32_t lost = 0;

        begin(&v);
        scan(&v, &uses, 1, POLICY_NEW);
        for (; !v.leads; lost++)
                use(&v, GRANULES - 1 - lost % 100, &uses, POLICY_LET_GO);
        assert_in_range(lost, ROOM / 32 + 4, ROOM / 32 + 6);
        scan(&v, &uses, 1, POLICY_LET_GO);
        assert_true(v.leads);
        scan(&v, &uses, 3, POLICY_LET_GO);
        assert_false(v.leads);
}

/* The same use told twice counts once; and nothing is lost before it is known what LRU holds. */
static void test_once(void **state) {
        struct policy_rival v;
        uint64_t uses = 0;

        begin(&v);
        use(&v, 1, &uses, POLICY_NEW);
        use(&v, 1, &uses, POLICY_THERE);
        assert_int_equal(uses, 1);
        assert_int_equal(v.span[1] + v.span[0], 1);
        for (uint32_t i = 0; i < 1000; i++)
                use(&v, i % 50, &uses, POLICY_LET_GO);
        assert_int_equal(v.behind, 0);
}

/* Uses are counted modulo 2^36. */
static void test_again(void **state) {
        struct policy_rival v;
        uint64_t uses = POLICY_USES - 5000;

        begin(&v);
        scan(&v, &uses, 25, POLICY_NEW);
        assert_true(v.newest << v.shift <= POLICY_USES + 1);
        assert_in_range(v.fetched, 20 * GRANULES, 25 * GRANULES);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lru),  cmocka_unit_test(test_better), cmocka_unit_test(test_worse),
                cmocka_unit_test(test_once), cmocka_unit_test(test_again),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
