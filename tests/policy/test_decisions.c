/* place, promote and evict: the cases that their files name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "policy/policy.h"

/* A host node and three devices; device 3 has no link to device 1. */
enum { HOST, NEAR, FAR, ALONE, COUNT };
static const uint32_t from_host[COUNT] = { 50000, 16000, 16000, 16000 };
static const uint32_t from_near[COUNT] = { 16000, 900000, 64000, 0 };
static const uint32_t from_far[COUNT] = { 16000, 64000, 900000, 0 };
static const uint32_t from_alone[COUNT] = { 0, 0, 0, 900000 };
static struct policy_node nodes[COUNT];
static const struct policy_machine machine = { nodes, COUNT };
static const struct policy_profile *profile;
static const uint64_t ms = 1000 * 1000;

static int setup(void **state) {
        profile = policy_profile_default();
        nodes[HOST] = (struct policy_node){ .host = true, .online = true, .bandwidth = from_host };
        nodes[NEAR] = (struct policy_node){ .faults = true, .online = true, .bandwidth = from_near };
        nodes[FAR] = (struct policy_node){ .faults = true, .online = true, .bandwidth = from_far };
        nodes[ALONE] = (struct policy_node){ .faults = true, .online = true, .bandwidth = from_alone };
        return 0;
}

static void test_place(void **state) {
        struct policy_advice none = { 0 }, far = { .preferred = FAR + 1 };
        uint64_t room[COUNT] = { 4096, 4096, 4096, 4096 };

        assert_int_equal(policy_place(&machine, profile, &none, NEAR, 4096, room), NEAR);
        assert_int_equal(policy_place(&machine, profile, &none, HOST, 4096, room), HOST);
        assert_int_equal(policy_place(&machine, profile, &far, NEAR, 4096, room), FAR);
        room[FAR] = 0;
        assert_int_equal(policy_place(&machine, profile, &far, NEAR, 4096, room), NEAR);
        room[NEAR] = 4095;
        assert_int_equal(policy_place(&machine, profile, &none, NEAR, 4096, room), HOST);
        room[FAR] = 4096;
        assert_int_equal(policy_place(&machine, profile, &none, NEAR, 4096, room), FAR);
        nodes[FAR].online = false;
        assert_int_equal(policy_place(&machine, profile, &none, NEAR, 4096, room), HOST);
        assert_int_equal(policy_place(&machine, profile, &none, NEAR, 8192, room), POLICY_NOWHERE);
}

static void test_place_without_links(void **state) {
        struct policy_advice none = { 0 };
        uint64_t room[COUNT] = { 4096, 8192, 8192, 0 };

        assert_int_equal(policy_place(&machine, profile, &none, ALONE, 4096, room), HOST);
        room[HOST] = 0;
        assert_int_equal(policy_place(&machine, profile, &none, ALONE, 4096, room), NEAR);
        room[FAR]++;
        assert_int_equal(policy_place(&machine, profile, &none, ALONE, 4096, room), FAR);
}

static enum policy_answer promote(const struct policy_advice *a, const struct policy_granule *g, uint32_t accessor,
                                  enum policy_access access) {
        return policy_promote(&machine, profile, a, g, accessor, access, 1000 * ms);
}

static void test_promote(void **state) {
        struct policy_advice none = { 0 }, mostly = { .read_mostly = true }, pinned = { .pinned = true };
        struct policy_advice stays = { .preferred = HOST + 1 }, reached = { .accessed_by = 1 << NEAR };
        struct policy_granule g = { .where = HOST, .bytes = 65536 };

        assert_int_equal(promote(&none, &g, NEAR, POLICY_WRITE), POLICY_MIGRATE);
        assert_int_equal(promote(&mostly, &g, NEAR, POLICY_READ), POLICY_DUPLICATE);
        assert_int_equal(promote(&mostly, &g, NEAR, POLICY_WRITE), POLICY_MIGRATE);
        assert_int_equal(promote(&pinned, &g, NEAR, POLICY_WRITE), POLICY_MAP);
        assert_int_equal(promote(&stays, &g, NEAR, POLICY_READ), POLICY_MAP);
        assert_int_equal(promote(&stays, &g, ALONE, POLICY_READ), POLICY_MIGRATE);
        assert_int_equal(promote(&reached, &g, NEAR, POLICY_WRITE), POLICY_MAP);
        assert_int_equal(promote(&reached, &g, FAR, POLICY_WRITE), POLICY_MIGRATE);
        assert_int_equal(promote(&stays, &g, NEAR, POLICY_PREFETCH), POLICY_MIGRATE);
}

/* The CPU reaches no device's memory, whatever advice says. */
static void test_promote_to_host(void **state) {
        struct policy_advice stays = { .preferred = NEAR + 1 }, mostly = { .read_mostly = true };
        struct policy_granule g = { .where = NEAR, .bytes = 4096 };

        assert_int_equal(promote(&stays, &g, HOST, POLICY_WRITE), POLICY_MIGRATE);
        assert_int_equal(promote(&mostly, &g, HOST, POLICY_READ), POLICY_DUPLICATE);
}

static void test_evict(void **state) {
        struct policy_advice none = { 0 }, pinned = { .pinned = true }, far = { .preferred = FAR + 1 };
        struct policy_granule g = { .where = NEAR, .bytes = 4096, .touched_ns = 500 * ms };
        uint64_t room[COUNT] = { 4096, 1 << 20, 8192, 8192 };
        uint32_t to = 77;

        assert_false(policy_evict(&machine, profile, &pinned, &g, 1000 * ms, room, &to));
        assert_int_equal(to, 77);
        assert_true(policy_evict(&machine, profile, &none, &g, 501 * ms, room, &to));
        assert_false(policy_give_way(profile, g.touched_ns, 599 * ms));
        assert_true(policy_give_way(profile, g.touched_ns, 600 * ms));
        assert_int_equal(to, HOST);
        assert_true(policy_evict(&machine, profile, &far, &g, 1000 * ms, room, &to));
        assert_int_equal(to, FAR);
        room[HOST] = 0;
        room[ALONE] = 8193;
        assert_true(policy_evict(&machine, profile, &none, &g, 1000 * ms, room, &to));
        assert_int_equal(to, ALONE);
        room[FAR] = room[ALONE] = 0;
        assert_false(policy_evict(&machine, profile, &none, &g, 1000 * ms, room, &to));
}

/* In order, each as far as there is room; the last is what would be without advice. */
static void test_evict_to_fallbacks(void **state) {
        struct policy_advice advice = { .preferred = NEAR + 1, .fallback = { ALONE + 1, 77, FAR + 1 } };
        struct policy_granule g = { .where = NEAR, .bytes = 4096 };
        uint64_t room[COUNT] = { 1 << 20, 1 << 20, 4096, 4096 };
        uint32_t to;

        assert_true(policy_evict(&machine, profile, &advice, &g, 0, room, &to));
        assert_int_equal(to, ALONE);
        room[ALONE]--;
        assert_true(policy_evict(&machine, profile, &advice, &g, 0, room, &to));
        assert_int_equal(to, FAR);
        nodes[FAR].online = false;
        assert_true(policy_evict(&machine, profile, &advice, &g, 0, room, &to));
        assert_int_equal(to, HOST);
        g.where = HOST;
        assert_true(policy_evict(&machine, profile, &advice, &g, 0, room, &to));
        assert_int_equal(to, NEAR);
}

/* NEAR and FAR are of one hive. */
static void test_hive(void **state) {
        struct policy_profile p = *profile;
        struct policy_advice none = { 0 };
        struct policy_granule g = { .where = NEAR, .bytes = 4096 };
        uint64_t room[COUNT] = { 1 << 20, 0, 8192, 1 << 20 };
        uint32_t to;

        nodes[NEAR].hive = nodes[FAR].hive = 7;
        nodes[ALONE].hive = 8;
        nodes[NEAR].bandwidth = (const uint32_t[]){ 16000, 900000, 100, 0 };
        assert_int_equal(policy_place(&machine, &p, &none, NEAR, 4096, room), FAR);
        p.hive_first = false;
        assert_int_equal(policy_place(&machine, &p, &none, NEAR, 4096, room), HOST);
        assert_true(policy_evict(&machine, &p, &none, &g, 1000 * ms, room, &to) && to == HOST);
        p.evict_to_peer = true;
        assert_true(policy_evict(&machine, &p, &none, &g, 1000 * ms, room, &to) && to == FAR);
        room[FAR] = 0;
        assert_true(policy_evict(&machine, &p, &none, &g, 1000 * ms, room, &to) && to == HOST);
        room[HOST] = 0;
        assert_true(policy_evict(&machine, &p, &none, &g, 1000 * ms, room, &to) && to == ALONE);
        assert_int_equal(policy_promote(&machine, &p, &none, &g, FAR, POLICY_WRITE, 1000 * ms), POLICY_MIGRATE);
        p.peer_moves = false;
        assert_int_equal(policy_promote(&machine, &p, &none, &g, FAR, POLICY_WRITE, 1000 * ms), POLICY_MAP);
        g.where = HOST;
        assert_int_equal(policy_promote(&machine, &p, &none, &g, FAR, POLICY_WRITE, 1000 * ms), POLICY_MIGRATE);
        p.touch_moves = false;
        assert_int_equal(policy_promote(&machine, &p, &none, &g, FAR, POLICY_WRITE, 1000 * ms), POLICY_MAP);
        assert_int_equal(policy_promote(&machine, &p, &none, &g, FAR, POLICY_PREFETCH, 1000 * ms), POLICY_MIGRATE);
}

/* Advice names where to, in order. */
static void test_fallbacks(void **state) {
        struct policy_advice a = { .preferred = NEAR + 1, .fallback = { ALONE + 1, FAR + 1 } };
        uint64_t room[COUNT] = { 1 << 20, 4096, 8192, 8192 };

        assert_int_equal(policy_place(&machine, profile, &a, HOST, 4096, room), NEAR);
        room[NEAR] = 0;
        assert_int_equal(policy_place(&machine, profile, &a, HOST, 4096, room), ALONE);
        nodes[ALONE].online = false;
        assert_int_equal(policy_place(&machine, profile, &a, HOST, 4096, room), FAR);
        room[FAR] = 0;
        assert_int_equal(policy_place(&machine, profile, &a, HOST, 4096, room), HOST);
}

/* Four hosts, of which two have no CPUs, and a device. */
static void test_evict_of_hosts(void **state) {
        enum { A, B, FAR_A, FAR_B, GPU, ALL };
        static const uint32_t of_a[ALL] = { 10, 21, 40, 60, 0 }, of_b[ALL] = { 21, 10, 60, 40, 0 };
        static const uint32_t of_far[ALL] = { 40, 60, 10, 80, 0 };
        const struct policy_node hosts[ALL] = {
                [A] = { .host = true, .online = true, .distance = of_a },
                [B] = { .host = true, .online = true, .distance = of_b },
                [FAR_A] = { .host = true, .online = true, .far = true, .distance = of_far },
                [FAR_B] = { .host = true, .online = true, .far = true },
                [GPU] = { .faults = true, .online = true },
        };
        const struct policy_machine m = { hosts, ALL };
        static const struct {
                uint32_t from, to[4]; /* with room everywhere; then with one less each time */
        } cases[] = {
                { A, { FAR_A, FAR_B, B, GPU } },
                { B, { FAR_B, FAR_A, A, GPU } },
                { FAR_A, { FAR_B, GPU, A, B } },
                { GPU, { FAR_A, FAR_B, B, A } },
        };
        struct policy_advice none = { 0 };

        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint64_t room[ALL] = { 4096, 8192, 1 << 20, 1 << 19, 1 << 21 };
                struct policy_granule g = { .where = cases[i].from, .bytes = 4096 };

                for (unsigned k = 0; k < 4; k++) {
                        uint32_t to;

                        assert_true(policy_evict(&m, profile, &none, &g, 1000 * ms, room, &to));
                        assert_int_equal(to, cases[i].to[k]);
                        room[to] = 0;
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_place, setup),
                cmocka_unit_test_setup(test_place_without_links, setup),
                cmocka_unit_test_setup(test_promote, setup),
                cmocka_unit_test_setup(test_promote_to_host, setup),
                cmocka_unit_test_setup(test_evict, setup),
                cmocka_unit_test_setup(test_evict_of_hosts, setup),
                cmocka_unit_test_setup(test_hive, setup),
                cmocka_unit_test_setup(test_fallbacks, setup),
                cmocka_unit_test_setup(test_evict_to_fallbacks, setup),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
