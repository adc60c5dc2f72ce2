/*
 * What is promised to a partition by its min: managed ranges, memory and leases of others never use it, and are
 * admitted only beside it. Then requests at random, from a printed seed, after each of which nothing lies in anybody's
 * min.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/partition.h"
#include "expect.h"
#include "policy/share.h"
#include "ranges.h"

#define LARGE (64ull << 10)
#define HUGE  (2ull << 20)
#define MIB   (1ull << 20)
#define GIB   (1ull << 30)

enum { USERS = 2 };

static struct world w;
static struct client admin;
static struct user user[USERS];
static const char *const partition[USERS] = { "one", "two" };

static int set_up(void **state) {
        static const uint64_t capacity[NODES] = { 64 * MIB, 48 * MIB, 48 * MIB, MIB };

        ops_reset();
        world_open_sized(&w, 0, capacity);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        for (unsigned i = 0; i < USERS; i++) {
                must(&admin, mk_range_partition(partition[i], 16 * GIB, 100, 0666));
                user_open(&w, &user[i], 100 + i, partition[i]);
        }
        return 0;
}

static int tear_down(void **state) {
        for (unsigned i = 0; i < USERS; i++)
                user_close(&user[i]);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

static struct partition *of(unsigned u) {
        return partition_find(&w.svc->state, partition[u]);
}

static uint64_t managed(unsigned u, uint32_t node) {
        const struct managed_share *share = of(u)->managed;
        uint64_t used = 0;

        if (share)
                mover_group_used(w.svc->mover, share->group, node, &used, NULL);
        return used;
}

/* A range that is joined, and written. */
static uint64_t range(unsigned u, uint64_t size) {
        Svmd__V1__Result *r = must(&user[u].client, mk_range(size, LARGE, "", 0));
        uint64_t id = r->id, at = r->address;

        user_give(&user[u]);
        user_join(&user[u], id, true);
        process_fill(&user[u].process, at, size, 7 + u);
        return at;
}

/* What may be granted of a node: the rest is kept for moves. */
static uint64_t granted(uint32_t node) {
        struct managed_node_info info;

        mover_node_info(w.svc->mover, node, &info);
        return w.machine.nodes[node].capacity - info.reserve;
}

static uint64_t all_granted(void) {
        uint64_t sum = 0;

        for (uint32_t i = 0; i < NODES; i++)
                sum += granted(i) / HUGE * HUGE;
        return sum;
}

static void test_granules_leave_a_min(void **state) {
        uint64_t size = granted(GPU1) / LARGE * LARGE, min = size / 2, at = range(0, size);

        assert_int_equal(user_do(&user[0], mk_migrate(at, size, GPU1)), 0);
        assert_int_equal(managed(0, GPU1), size);
        must(&admin, mk_bound("two", GPU1, BOUND_MIN, min));
        world_settle(&w);
        assert_in_range(managed(0, GPU1), 1, size - min);
        assert_int_equal(user_do(&user[0], mk_migrate(at, size, GPU1)), SVMD_STATUS_NO_ROOM);
        assert_in_range(managed(0, GPU1), 1, size - min);
        must(&user[1].client, mk_create(GPU1, min / MIB * MIB, SVMD__V1__MEM_FLAG__MEM_PINNED));
        assert_in_range(managed(0, GPU1), 1, size - min);
        assert_int_equal(process_check(&user[0].process, at, size, 7), 0);
}

static void test_granules_find_their_min(void **state) {
        uint64_t size = granted(GPU1) / 2 / LARGE * LARGE, mine = range(1, size), other = range(0, 2 * size);

        must(&admin, mk_bound("two", GPU1, BOUND_MIN, size));
        assert_int_equal(user_do(&user[1], mk_migrate(mine, size, GPU1)), 0);
        assert_int_equal(managed(1, GPU1), size);
        user_do(&user[0], mk_migrate(other, 2 * size, GPU1));
        world_settle(&w);
        assert_int_equal(managed(1, GPU1), size);
        assert_int_equal(process_check(&user[1].process, mine, size, 8), 0);
}

/* A range, memory, a lease or another min that would leave too little beside a min is refused; what is out of the min
 * is not. */
static void test_admitted_beside_mins(void **state) {
        uint64_t min = 16 * MIB, all, lease;

        must(&admin, mk_bound("two", GPU1, BOUND_MIN, min));
        all = all_granted() - min;
        must_not(&user[0].client, mk_range(all + HUGE, HUGE, "", 0), SVMD_STATUS_NO_ROOM, "for the min of partitions");
        must(&user[0].client, mk_range(all, HUGE, "", 0));
        must_not(&user[0].client, mk_create(GPU0, 4 * MIB, 0), SVMD_STATUS_NO_ROOM, "for the min of partitions");
        must_not(&user[0].client, mk_admit(GPU0, 4 * MIB, 0), SVMD_STATUS_NO_ROOM, "");
        must_not(&user[1].client, mk_create(GPU0, 4 * MIB, 0), SVMD_STATUS_NO_ROOM, "");
        must_not(&admin, mk_bound("two", GPU0, BOUND_MIN, 4 * MIB), SVMD_STATUS_LIMIT, "admitted");
        must_not(&admin, mk_bound("two", GPU1, BOUND_MIN, min + 4 * MIB), SVMD_STATUS_LIMIT, "admitted");
        lease = must(&user[1].client, mk_admit(GPU1, 4 * MIB, 0))->id;
        must(&user[1].client, mk_create(GPU1, 4 * MIB, 0));
        must(&user[1].client, mk_range(min - 8 * MIB - HUGE, HUGE, "", 0));
        must_not(&user[1].client, mk_range(2 * HUGE, HUGE, "", 0), SVMD_STATUS_NO_ROOM, "");
        must(&user[1].client, mk_lease_release(lease));
}

static void test_after_a_restart(void **state) {
        struct client *all[] = { &user[0].client, &user[1].client };
        uint64_t size = granted(GPU1) / LARGE * LARGE, min = size / 2, at = range(0, size);

        must(&admin, mk_bound("two", GPU1, BOUND_MIN, min));
        client_close(&admin);
        world_bury(world_restart(&w, all, 2));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        assert_int_equal(user_do(&user[0], mk_migrate(at, size, GPU1)), SVMD_STATUS_NO_ROOM);
        assert_in_range(managed(0, GPU1), 1, size - min);
        assert_int_equal(process_check(&user[0].process, at, size, 7), 0);
}

/* ---- at random ---- */

static unsigned seed, first_seed;

static uint64_t below(uint64_t n) {
        return (uint64_t)rand_r(&seed) % n;
}

/* Of the node, explicit memory and granules of all, and what is kept free. */
static void check(void) {
        world_settle(&w);
        for (uint32_t n = 0; n < NODES; n++) {
                uint64_t taken = 0;

                for (unsigned u = 0; u < USERS; u++) {
                        const struct account *a = &of(u)->accounts[n];
                        uint64_t has = a->used + managed(u, n);

                        taken += has > a->min ? has : a->min;
                }
                if (taken > w.machine.nodes[n].capacity)
                        fail_msg("SVMD_SEED=%u: node %u: %lu taken of %lu", first_seed, n, taken,
                                 w.machine.nodes[n].capacity);
        }
}

struct thing {
        uint64_t id, at, size;
        bool lease;
};

static void random_request(struct thing ranges[USERS][3], struct thing things[USERS][6]) {
        unsigned u = (unsigned)below(USERS), i = (unsigned)below(3), k = (unsigned)below(6);
        struct thing *r = &ranges[u][i], *t = &things[u][k];
        uint32_t node = (uint32_t)below(NODES);
        uint64_t size = (1 + below(12)) * MIB;
        Svmd__V1__Result *a;

        switch (below(8)) {
        case 0: client_call(&admin, mk_bound(partition[u], node, BOUND_MIN, below(2) * size)); break;
        case 1: client_call(&admin, mk_bound(partition[u], node, BOUND_LOW, below(2) * size)); break;
        case 2:
                if (r->size && below(3) == 0) {
                        process_unmap(&user[u].process, r->at, r->size);
                        must(&user[u].client, mk_free(r->id));
                        *r = (struct thing){ 0 };
                } else if (!r->size && (a = client_call(&user[u].client, mk_range(size, LARGE, "", 0)))->code == 0) {
                        *r = (struct thing){ a->id, a->address, size, false };
                        user_join(&user[u], r->id, true);
                        process_fill(&user[u].process, r->at, size, 7 + u);
                }
                break;
        case 3:
        case 4:
                if (r->size)
                        user_do(&user[u], mk_migrate(r->at, r->size, node));
                break;
        case 5:
                if (r->size)
                        assert_int_equal(process_check(&user[u].process, r->at, r->size, 7 + u), 0);
                break;
        default:
                if (t->size) {
                        must(&user[u].client, t->lease ? mk_lease_release(t->id) : mk_release(t->id));
                        *t = (struct thing){ 0 };
                        break;
                }
                t->lease = below(3) == 0;
                a = client_call(&user[u].client, t->lease ? mk_admit(node, size, 0)
                                                          : mk_create(node, size, SVMD__V1__MEM_FLAG__MEM_PINNED));
                if (a->code == 0)
                        *t = (struct thing){ a->id, 0, size, t->lease };
                break;
        }
}

static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");
        struct thing ranges[USERS][3] = { 0 }, things[USERS][6] = { 0 };

        first_seed = seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
        printf("SVMD_SEED=%u\n", seed);
        for (unsigned u = 0; u < USERS; u++)
                user_give(&user[u]);
        for (unsigned i = 0; i < 250; i++) {
                random_request(ranges, things);
                check();
        }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_granules_leave_a_min),
                TEST(test_granules_find_their_min),
                TEST(test_admitted_beside_mins),
                TEST(test_after_a_restart),
                TEST(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
