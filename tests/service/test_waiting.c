/*
 * Requests that wait for jobs, while their sessions, partitions and rivals come and go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/partition.h"
#include "core/session.h"
#include "expect.h"
#include "harness.h"

#define PAGE SVMD_PAGE
#define BIG  (64ull << 20)

static struct world w;
static struct client a, b, admin, admin2;

static int set_up(void **state) {
        ops_reset();
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        client_open(&w, &admin2, 0, 0, true);
        client_greet(&admin2, NULL);
        must(&admin, mk_partition("one", 4ull << 30, "", 100, 0666));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "one");
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        client_close(&b);
        client_close(&admin);
        client_close(&admin2);
        world_settle(&w);
        check_world(&w);
        for (unsigned i = 0; i < NODES; i++) {
                assert_int_equal(ledger_bytes(&w, i), 0);
                assert_int_equal(file_bytes(&w, i), 0);
        }
        world_close(&w);
        return 0;
}

/* Hands it over without waiting. */
static void post(struct client *c, Svmd__V1__Op *op) {
        assert_int_equal(client_post(c, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
}

static Svmd__V1__Result *result(struct client *c) {
        client_await(c);
        assert_non_null(c->reply);
        return c->reply->results[0];
}

static Svmd__V1__Op *attach(void) {
        return op_make(SVMD__V1__OP__OP_ATTACH);
}

static void test_session_ends_while_pages_are_taken(void **state) {
        post(&a, mk_create(HOST0, BIG, 0));
        client_close(&a);
        world_settle(&w);
        check_world(&w);
        assert_int_equal(ledger_bytes(&w, HOST0), 0);
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        post(&a, mk_create(GPU0, BIG, 0));
        post(&b, mk_create(GPU0, BIG, 0));
        client_close(&a);
        assert_int_equal(result(&b)->code, 0);
        world_settle(&w);
        assert_int_equal(ledger_bytes(&w, GPU0), BIG);
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
}

static void test_killed_while_it_waits(void **state) {
        Svmd__V1__Op *kill = op_make(SVMD__V1__OP__OP_SESSION_KILL);

        post(&a, mk_create(HOST0, BIG, 1));
        kill->session_kill->session = a.id;
        must(&admin, kill);
        assert_true(a.kicked);
        assert_int_equal(client_call(&admin, kill)->code, SVMD_STATUS_NO_SUCH);
        world_settle(&w);
        assert_int_equal(ledger_bytes(&w, HOST0), 0);
}

static void test_partition_goes_under_a_waiting_session(void **state) {
        post(&a, mk_create(HOST0, BIG, 0));
        post(&admin, mk_delete("one", true));
        assert_int_equal(client_call(&admin2, mk_delete("one", true))->code, SVMD_STATUS_NO_SUCH);
        assert_int_equal(client_call(&admin2, mk_limit("one", 0, 5))->code, SVMD_STATUS_NO_SUCH);
        assert_int_equal(result(&admin)->code, 0);
        assert_int_equal(admin.reply->results[0]->value, 2);
        assert_true(a.kicked && b.kicked);
        assert_null(partition_find(&w.svc->state, "one"));
        must(&admin, mk_partition("one", 4ull << 30, "", 100, 0600));
}

/* Whoever wanted it leaves: it is there, or it is gone, and never in between. */
static void test_who_deletes_leaves(void **state) {
        struct partition *p;

        post(&a, mk_create(HOST0, BIG, 0));
        post(&admin, mk_delete("one", true));
        client_close(&admin);
        world_settle(&w);
        p = partition_find(&w.svc->state, "one");
        if (p)
                assert_false(p->ending);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        if (p)
                must(&admin, mk_delete("one", true));
        must(&admin, mk_partition("one", 4ull << 30, "", 100, 0600));
        /* Once the store is at it, it goes through. */
        post(&admin, mk_delete("one", true));
        client_close(&admin);
        world_settle(&w);
        assert_null(partition_find(&w.svc->state, "one"));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 4ull << 30, "", 100, 0600));
}

static void test_who_creates_leaves(void **state) {
        post(&admin, mk_partition("new", 4ull << 30, "", 100, 0666));
        assert_int_equal(client_call(&admin2, mk_partition("new", 4ull << 30, "", 1, 0))->code, SVMD_STATUS_TAKEN);
        client_close(&admin);
        world_settle(&w);
        assert_true(partition_find(&w.svc->state, "new")->ready);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_delete("new", false));
}

static void test_default_partition_is_made_once(void **state) {
        struct client many[4];

        for (unsigned i = 0; i < 4; i++) {
                client_open(&w, &many[i], 300, 300, false);
                client_greet(&many[i], NULL);
        }
        for (unsigned i = 0; i < 4; i++)
                post(&many[i], attach());
        client_close(&many[0]);
        client_close(&many[2]);
        assert_int_equal(result(&many[1])->code, 0);
        assert_int_equal(result(&many[3])->code, 0);
        assert_int_equal(partition_find(&w.svc->state, "uid-300")->sessions_count, 2);
        client_close(&many[1]);
        client_close(&many[3]);
}

static void test_changes_of_a_partition_wait_for_one_another(void **state) {
        struct client *all[] = { &a, &b, &admin, &admin2 };
        struct service *old;
        struct partition *p;

        post(&admin, mk_limit("one", GPU0, 1ull << 30));
        post(&admin2, mk_limit("one", GPU1, 1ull << 29));
        assert_int_equal(result(&admin)->code, 0);
        assert_int_equal(result(&admin2)->code, 0);
        post(&admin, mk_limit("one", GPU2, 1ull << 19));
        client_close(&admin); /* and still it is in force */
        world_settle(&w);
        old = world_restart(&w, all, 4); /* limits come out of the store */
        world_bury(old);
        p = partition_find(&w.svc->state, "one");
        assert_int_equal(p->accounts[GPU0].max, 1ull << 30);
        assert_int_equal(p->accounts[GPU1].max, 1ull << 29);
        assert_int_equal(p->accounts[GPU2].max, 1ull << 19);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
}

/* A socket of a partition leads nowhere once it is deleted. */
static void test_door_of_a_deleted_partition(void **state) {
        struct service_peer peer = { .pid = 77, .uid = 500, .gid = 500 };
        struct client x;

        must(&admin, mk_partition("door", 4ull << 30, "", 100, 0600));
        peer.partition = partition_find(&w.svc->state, "door");
        assert_int_equal(client_open_as(&w, &x, &peer), 0);
        client_greet(&x, NULL);
        must(&admin, mk_delete("door", false));
        assert_true(x.kicked);
        client_close(&x);
}

/* What a device had not done when its space went is told behind the reply. */
static void test_fences_of_a_destroyed_space(void **state) {
        uint64_t space = must(&a, mk_space(GPU0))->id, memory = must(&a, mk_create(GPU0, BIG, 0))->id, fence;
        Svmd__V1__Op *two[2];

        must(&a, mk_map(space, 1u << 30, BIG, memory, 0, 3, 0));
        two[0] = mk_submit(space, SVMD__V1__DEVICE_OP__DEVICE_FILL, 1u << 30, 0, BIG, 7, false);
        two[1] = mk_destroy(space);
        a.events_count = 0;
        assert_int_equal(client_post(&a, SVMD__V1__MODE__BEST_EFFORT, two, 2), 0);
        assert_true(a.answered);
        assert_int_equal(a.events_count, 0);
        client_await(&a);
        fence = a.reply->results[0]->id;
        assert_int_equal(a.reply->results[1]->code, 0);
        service_collect(w.svc);
        assert_int_equal(a.events_count, 1);
        assert_int_equal(a.events[0].id, fence);
        assert_int_equal(a.session->fences_count, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_session_ends_while_pages_are_taken),
                TEST(test_killed_while_it_waits),
                TEST(test_partition_goes_under_a_waiting_session),
                TEST(test_who_deletes_leaves),
                TEST(test_who_creates_leaves),
                TEST(test_default_partition_is_made_once),
                TEST(test_changes_of_a_partition_wait_for_one_another),
                TEST(test_door_of_a_deleted_partition),
                TEST(test_fences_of_a_destroyed_space),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
