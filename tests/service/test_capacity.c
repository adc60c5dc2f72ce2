/*
 * What explicit memory and managed ranges may have together: who is admitted, who waits, who leaves, and what is shown.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/partition.h"
#include "expect.h"
#include "ranges.h"

#define LARGE (64ull << 10)
#define HUGE  (2ull << 20)
#define MIB   (1ull << 20)
#define GIB   (1ull << 30)

static struct world w;
static struct client admin;
static struct user a, b;

static void refused(struct client *c, Svmd__V1__Op *op, unsigned code) {
        Svmd__V1__Result *r = client_call(c, op);

        if (r->code != code || !r->text[0])
                fail_msg("operation %d: %u %s, expected %u", (int)op->op_case, r->code, r->text, code);
}

static int set_up(void **state) {
        ops_reset();
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_range_partition("one", 16 * GIB, 100, 0666));
        must(&admin, mk_range_partition("two", 16 * GIB, 100, 0666));
        user_open(&w, &a, 100, "one");
        user_open(&w, &b, 101, "two");
        return 0;
}

static int tear_down(void **state) {
        user_close(&a);
        user_close(&b);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

static uint64_t managed_on(uint32_t node) {
        Svmd__V1__Result *r = must(&admin, op_make(SVMD__V1__OP__OP_NODES));

        assert_true(r->nodes->nodes[node]->used >= r->nodes->nodes[node]->managed);
        return r->nodes->nodes[node]->managed;
}

static Svmd__V1__NodeUse *use_of(struct client *c, uint32_t node) {
        Svmd__V1__UsageRow *row = must(c, op_make(SVMD__V1__OP__OP_LIMITS))->usage->rows[0];

        for (size_t i = 0; i < row->n_nodes; i++)
                if (row->nodes[i]->node == node)
                        return row->nodes[i];
        return NULL;
}

/* A range that lies on a node, with something in it. */
static uint64_t placed(struct user *u, uint64_t size, uint32_t node, uint64_t *ret_at) {
        Svmd__V1__Result *r = must(&u->client, mk_range(size, LARGE, "", 0));
        uint64_t id = r->id, at = r->address;

        user_give(u);
        user_join(u, id, true);
        process_fill(&u->process, at, size, 11);
        assert_int_equal(user_do(u, mk_migrate(at, size, node)), 0);
        assert_int_equal(managed_on(node), size);
        *ret_at = at;
        return id;
}

/* ---- admission ---- */

static void test_sizes_fit_all_nodes(void **state) {
        uint64_t all = 0, id;

        for (uint32_t i = 0; i < NODES; i++) {
                struct managed_node_info info;

                mover_node_info(w.svc->mover, i, &info);
                all += w.machine.nodes[i].capacity - info.reserve;
        }
        all = all / HUGE * HUGE;
        refused(&a.client, mk_range(all + HUGE, HUGE, "", 0), SVMD_STATUS_NO_ROOM);
        id = must(&a.client, mk_range(all, HUGE, "", 0))->id;
        refused(&b.client, mk_range(HUGE, HUGE, "", 0), SVMD_STATUS_NO_ROOM);
        refused(&a.client, mk_create(GPU0, 4 * MIB, 0), SVMD_STATUS_NO_ROOM);
        must(&a.client, mk_free(id));
        must(&a.client, mk_create(GPU0, 4 * MIB, 0));
        refused(&b.client, mk_range(all, HUGE, "", 0), SVMD_STATUS_NO_ROOM);
        must(&b.client, mk_range(all - 4 * MIB, HUGE, "", 0));
}

static void test_sizes_fit_limits(void **state) {
        uint64_t id;

        for (uint32_t i = 0; i < NODES; i++)
                must(&admin, mk_limit("one", i, i == GPU2 ? 0 : 8 * MIB));
        refused(&a.client, mk_range(26 * MIB, HUGE, "", 0), SVMD_STATUS_LIMIT);
        id = must(&a.client, mk_range(24 * MIB, HUGE, "", 0))->id;
        refused(&a.client, mk_range(HUGE, HUGE, "", 0), SVMD_STATUS_LIMIT);
        refused(&a.client, mk_create(HOST0, MIB, 0), SVMD_STATUS_LIMIT);
        must(&b.client, mk_range(24 * MIB, HUGE, "", 0));
        must(&b.client, mk_create(HOST0, MIB, 0));
        must(&a.client, mk_free(id));
        must(&a.client, mk_create(HOST0, MIB, 0));
}

/* ---- granules give way ---- */

static void test_memory_waits_for_granules_to_leave(void **state) {
        uint64_t at, memory;

        must(&admin, mk_limit("one", GPU1, 32 * MIB));
        placed(&a, 16 * MIB, GPU1, &at);
        assert_int_equal(use_of(&a.client, GPU1)->used, 16 * MIB);
        memory = must(&a.client, mk_create(GPU1, 24 * MIB, 0))->id;
        assert_true(managed_on(GPU1) <= 8 * MIB);
        assert_true(use_of(&a.client, GPU1)->used <= 32 * MIB);
        assert_int_equal(use_of(&a.client, GPU1)->max, 32 * MIB);
        assert_int_equal(process_check(&a.process, at, 16 * MIB, 11), 0);
        must(&a.client, mk_release(memory));
        assert_int_equal(user_do(&a, mk_migrate(at, 16 * MIB, GPU1)), 0);
        assert_int_equal(managed_on(GPU1), 16 * MIB);
}

static void test_pinned_granules_stay(void **state) {
        uint64_t at, size = 16 * MIB;
        Svmd__V1__Op *pin;

        must(&admin, mk_limit("one", HOST0, 24 * MIB));
        placed(&a, size, GPU1, &at);
        pin = mk_pin(at, size, false);
        assert_int_equal(user_do(&a, pin), 0);
        assert_int_equal(managed_on(HOST0), size);
        refused(&a.client, mk_create(HOST0, 12 * MIB, 0), SVMD_STATUS_NO_ROOM);
        assert_int_equal(ledger_bytes(&w, HOST0), 0);
        must(&a.client, mk_create(HOST0, 8 * MIB, 0));
        assert_int_equal(process_check(&a.process, at, size, 11), 0);
}

/* Granules leave for a lease as soon as it is granted, before anybody makes memory of it; and it is not granted while
 * pinned ones are in its way. */
static void test_granules_leave_for_leases(void **state) {
        uint64_t size = 8 * MIB, lease, at;

        placed(&a, size, GPU1, &at);
        lease = must(&b.client, mk_admit(GPU1, w.machine.nodes[GPU1].capacity - 4 * MIB, 0))->id;
        world_settle(&w);
        assert_true(managed_on(GPU1) <= 4 * MIB);
        must(&b.client, mk_lease_release(lease));
        assert_int_equal(user_do(&a, mk_pin(at, size, false)), 0);
        lease = w.machine.nodes[HOST0].capacity - size + MIB;
        refused(&b.client, mk_admit(HOST0, lease, 0), SVMD_STATUS_NO_ROOM);
        lease = must(&b.client, mk_admit(HOST0, lease, UINT64_MAX))->id;
        refused(&b.client, mk_create_leased(HOST0, MIB, lease), SVMD_STATUS_BUSY);
        must(&a.client, mk_pin(at, size, true));
        must(&b.client, mk_create_leased(HOST0, w.machine.nodes[HOST0].capacity - size + MIB, lease));
        assert_int_equal(process_check(&a.process, at, size, 11), 0);
}

/* Who waits and goes takes nothing along. */
static void test_who_waits_leaves(void **state) {
        Svmd__V1__Op *create = mk_create(HOST0, 12 * MIB, 0);
        uint64_t at;

        must(&admin, mk_limit("one", HOST0, 24 * MIB));
        placed(&a, 16 * MIB, GPU1, &at);
        assert_int_equal(user_do(&a, mk_pin(at, 16 * MIB, false)), 0);
        assert_int_equal(client_post(&a.client, SVMD__V1__MODE__BEST_EFFORT, &create, 1), SERVICE_E_LATER);
        assert_int_equal(ledger_bytes(&w, HOST0), 12 * MIB);
        user_close(&a);
        world_settle(&w);
        assert_int_equal(ledger_bytes(&w, HOST0), 0);
        user_open(&w, &a, 100, "one");
}

/* svmd goes, and does not wait for what may never come. */
static void test_svmd_leaves(void **state) {
        Svmd__V1__Op *create = mk_create(HOST0, 12 * MIB, 0);
        struct client *all[] = { &a.client, &b.client, &admin };
        uint64_t at;

        must(&admin, mk_limit("one", HOST0, 24 * MIB));
        placed(&a, 16 * MIB, GPU1, &at);
        assert_int_equal(user_do(&a, mk_pin(at, 16 * MIB, false)), 0);
        assert_int_equal(client_post(&a.client, SVMD__V1__MODE__BEST_EFFORT, &create, 1), SERVICE_E_LATER);
        world_bury(world_restart(&w, all, 3));
        assert_int_equal(ledger_bytes(&w, HOST0), 0);
        assert_int_equal(process_check(&a.process, at, 16 * MIB, 11), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_sizes_fit_all_nodes),
                TEST(test_sizes_fit_limits),
                TEST(test_memory_waits_for_granules_to_leave),
                TEST(test_pinned_granules_stay),
                TEST(test_granules_leave_for_leases),
                TEST(test_who_waits_leaves),
                TEST(test_svmd_leaves),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
