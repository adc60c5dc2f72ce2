/*
 * Leases: bytes on several nodes at once, waited for, used and given back, over restarts from the log and from a
 * snapshot. The clock is the test's. Then sessions that race for one limit, at random, which no sum may ever pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/node.h"
#include "core/session.h"
#include "expect.h"
#include "harness.h"

#define MIB    (1ull << 20)
#define SECOND 1000000000ull

enum { CLIENTS = 3, RACERS = 8, RACES = 20000 };

static const uint64_t sizes[] = { 64 * MIB, 16 * MIB, 16 * MIB, 16 * MIB };
static struct world w;
static struct client admin, who[CLIENTS];
static uint64_t now_ns;

static uint64_t now(void) {
        return now_ns;
}

static int set_up(void **state) {
        ops_reset();
        now_ns = 1000 * SECOND;
        world_open_sized(&w, 0, sizes);
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 8ull << 30, "", 100, 0666));
        must(&admin, mk_partition("two", 8ull << 30, "", 100, 0666));
        for (unsigned i = 0; i < CLIENTS; i++) {
                client_open(&w, &who[i], 100 + i, 100, false);
                client_greet(&who[i], i < 2 ? "one" : "two");
        }
        return 0;
}

static int tear_down(void **state) {
        for (unsigned i = 0; i < CLIENTS; i++)
                client_close(&who[i]);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        for (unsigned i = 0; i < NODES; i++)
                assert_int_equal(ledger_bytes(&w, i), 0);
        world_close(&w);
        return 0;
}

/* 0: not yet. -1: it ended, with the code in `ret_code`. 1: granted. */
static int ask(struct client *c, uint64_t lease, unsigned *ret_code) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);
        Svmd__V1__FenceResult *f;

        op->fence_query->fence = lease;
        f = must(c, op)->fence;
        *ret_code = f->code;
        return !f->done ? 0 : f->code == 0 ? 1 : -1;
}

static bool has(struct client *c, uint64_t lease) {
        unsigned code;

        return ask(c, lease, &code) == 1;
}

static unsigned told(const struct client *c, uint64_t lease, unsigned *ret_code) {
        unsigned times = 0;

        for (unsigned i = 0; i < c->events_count; i++) {
                if (c->events[i].kind != SVMD__V1__EVENT__EVENT_FENCE || c->events[i].id != lease)
                        continue;
                times++;
                *ret_code = c->events[i].code;
        }
        return times;
}

/* ---- directed ---- */

static void test_all_or_nothing(void **state) {
        unsigned code = 99;
        uint64_t lease, waits;

        lease = must(&who[0], mk_admit_two(GPU0, 10 * MIB, GPU1, 4 * MIB, 0))->id;
        assert_int_equal(must(&who[2], mk_admit(GPU0, 6 * MIB, 0))->value, 1);
        assert_int_equal(ledger_bytes(&w, GPU0), 16 * MIB);
        assert_int_equal(ledger_bytes(&w, GPU1), 4 * MIB);
        assert_int_equal(file_bytes(&w, GPU0), 0);
        must_not(&who[1], mk_create(GPU0, MIB, 0), SVMD_STATUS_NO_ROOM, "gpu0 is full");
        must_not(&who[1], mk_admit_two(GPU1, MIB, GPU0, MIB, 0), SVMD_STATUS_NO_ROOM, "gpu0 is full");
        assert_int_equal(ledger_bytes(&w, GPU1), 4 * MIB);

        waits = must(&who[1], mk_admit_two(GPU1, 12 * MIB, GPU0, 8 * MIB, UINT64_MAX))->id;
        assert_false(has(&who[1], waits));
        check_world(&w);
        must(&who[0], mk_lease_release(lease));
        assert_int_equal(told(&who[1], waits, &code), 1);
        assert_int_equal(code, 0);
        assert_true(has(&who[1], waits));
        assert_int_equal(ledger_bytes(&w, GPU0), 14 * MIB);
        check_world(&w);
}

/* It stays, whoever waits for its room. */
static Svmd__V1__Op *mk_pinned(uint64_t size, uint64_t lease) {
        Svmd__V1__Op *op = mk_create_leased(GPU0, size, lease);

        op->mem_create->flags = SVMD__V1__MEM_FLAG__MEM_PINNED;
        return op;
}

/* The bytes pass from the lease to memory and nobody comes in between; what is not made goes back into it. */
static void test_memory_out_of_it(void **state) {
        uint64_t lease = must(&who[0], mk_admit(GPU0, 16 * MIB, 0))->id, waits, memory;
        Svmd__V1__Op *ops[2];
        Svmd__V1__Reply *reply;

        waits = must(&who[2], mk_admit(GPU0, MIB, UINT64_MAX))->id;
        memory = must(&who[0], mk_pinned(4 * MIB, lease))->id;
        assert_int_equal(ledger_bytes(&w, GPU0), 16 * MIB);
        assert_int_equal(file_bytes(&w, GPU0), 4 * MIB);
        ops[0] = mk_pinned(12 * MIB, lease);
        ops[1] = mk_free(UINT64_MAX);
        reply = client_send(&who[0], SVMD__V1__MODE__ALL_OR_NOTHING, ops, 2, NULL, 0);
        assert_int_equal(reply->results[1]->code, SVMD_STATUS_NO_SUCH);
        world_settle(&w);
        check_world(&w);
        must_not(&who[0], mk_create_leased(GPU0, 13 * MIB, lease), SVMD_STATUS_LIMIT, "has 12 MiB left on gpu0");
        must(&who[0], mk_pinned(12 * MIB, lease));
        assert_false(has(&who[2], waits));
        must(&who[0], mk_release(memory));
        world_settle(&w);
        assert_true(has(&who[2], waits));
        must(&who[0], mk_lease_release(lease));
        assert_int_equal(ledger_bytes(&w, GPU0), 13 * MIB);
        check_world(&w);
}

/* A limit below what the lease has: it has it all the same, and memory is made of it. */
static void test_limit_lowered(void **state) {
        uint64_t lease = must(&who[0], mk_admit(GPU0, 8 * MIB, 0))->id, waits;
        unsigned code;

        waits = must(&who[1], mk_admit(GPU0, 12 * MIB, UINT64_MAX))->id;
        must(&admin, mk_limit("one", GPU0, 4 * MIB));
        must(&who[0], mk_create_leased(GPU0, 8 * MIB, lease));
        assert_int_equal(must(&who[2], mk_admit(GPU0, 8 * MIB, 0))->value,
                         1); /* who waits for ever is in no one's way */
        must(&admin, mk_limit("one", GPU0, UINT64_MAX));
        assert_int_equal(told(&who[1], waits, &code), 0);
        client_close(&who[2]);
        client_close(&who[0]);
        world_settle(&w);
        assert_true(has(&who[1], waits));
        client_open(&w, &who[0], 100, 100, false);
        client_open(&w, &who[2], 102, 100, false);
}

static void test_time(void **state) {
        uint64_t lease = must(&who[0], mk_admit(GPU0, 16 * MIB, 0))->id, first, second;
        unsigned code = 0;

        first = must(&who[1], mk_admit(GPU0, MIB, 5000))->id;
        assert_int_equal(w.wake_in_ms, 5000);
        second = must(&who[2], mk_admit(GPU0, MIB, 9000))->id;
        who[2].deaf = true;
        now_ns += 5 * SECOND - 1;
        service_collect(w.svc);
        service_commit(w.svc);
        assert_int_equal(told(&who[1], first, &code), 0);
        now_ns++;
        service_collect(w.svc);
        service_commit(w.svc);
        assert_in_range(w.wake_in_ms, 1, 4000); /* or earlier, for those who are asked to give back */
        assert_int_equal(told(&who[1], first, &code), 1);
        assert_int_equal(code, SVMD_STATUS_TIMEOUT);
        must_not(&who[1], mk_lease_release(first), SVMD_STATUS_NO_SUCH, "no lease");
        now_ns += 4 * SECOND;
        service_collect(w.svc);
        service_commit(w.svc);
        must_not(&who[2], mk_create_leased(GPU0, MIB, second), SVMD_STATUS_NO_SUCH, "no lease");
        assert_int_equal(ask(&who[2], second, &code), -1);
        assert_int_equal(code, SVMD_STATUS_TIMEOUT);
        who[2].deaf = false;
        must(&who[0], mk_lease_release(lease));
        check_world(&w);
}

static void test_node_offline(void **state) {
        Svmd__V1__Op *off = op_make(SVMD__V1__OP__OP_NODE_SET), *on = op_make(SVMD__V1__OP__OP_NODE_SET);
        uint64_t waits;

        off->node_set->node = on->node_set->node = GPU1;
        off->node_set->action = SVMD__V1__NODE_ACTION__NODE_OFFLINE;
        on->node_set->action = SVMD__V1__NODE_ACTION__NODE_ONLINE;
        must(&admin, off);
        must_not(&who[0], mk_admit_two(GPU0, MIB, GPU1, MIB, 0), SVMD_STATUS_NO_ROOM, "a node is offline");
        waits = must(&who[0], mk_admit_two(GPU0, MIB, GPU1, MIB, UINT64_MAX))->id;
        assert_false(has(&who[0], waits));
        must(&admin, on);
        assert_true(has(&who[0], waits));
}

static void restart(void) {
        struct client *all[] = { &who[0], &who[1], &who[2], &admin };

        world_settle(&w);
        client_close(&admin);
        world_bury(world_restart_as_was(&w, all, 4));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        world_settle(&w);
        check_world(&w);
}

static void restart_twice(void) {
        restart();
        assert_int_equal(journal_snapshot(w.svc), 0);
        restart();
}

static void test_restarts(void **state) {
        uint64_t lease = must(&who[0], mk_admit_two(GPU0, 12 * MIB, HOST0, 8 * MIB, 0))->id, first, second, timed;
        unsigned code;

        must(&who[0], mk_create_leased(GPU0, 4 * MIB, lease));
        first = must(&who[1], mk_admit(GPU0, 10 * MIB, UINT64_MAX))->id;
        second = must(&who[2], mk_admit(GPU0, 3 * MIB, UINT64_MAX))->id;
        timed = must(&who[2], mk_admit(GPU0, 4 * MIB, 60000))->id;
        restart_twice();
        must(&who[0], mk_create_leased(GPU0, 8 * MIB, lease));
        must_not(&who[0], mk_create_leased(GPU0, MIB, lease), SVMD_STATUS_LIMIT, "0 KiB left");
        restart_twice();
        client_close(&who[0]);
        world_settle(&w);
        assert_true(has(&who[1], first));
        assert_true(has(&who[2], second));
        assert_false(has(&who[2], timed));
        restart_twice();
        assert_true(has(&who[1], first)); /* the event was told once; who asks is told again */
        now_ns += 60 * SECOND;
        service_collect(w.svc);
        service_commit(w.svc);
        assert_int_equal(told(&who[2], timed, &code), 1);
        assert_int_equal(code, SVMD_STATUS_TIMEOUT);
        restart_twice();
        client_open(&w, &who[0], 100, 100, false);
}

static void test_list(void **state) {
        uint64_t lease = must(&who[0], mk_admit_two(GPU0, 12 * MIB, HOST0, 8 * MIB, 0))->id;
        Svmd__V1__LeasesResult *r;

        must(&who[1], mk_admit(GPU0, 10 * MIB, 7000));
        must(&who[2], mk_admit(GPU1, MIB, 0));
        must(&who[0], mk_create_leased(GPU0, 4 * MIB, lease));
        r = must(&admin, mk_lease_list("one"))->leases;
        assert_int_equal(r->n_leases, 2);
        assert_int_equal(r->leases[0]->lease, lease);
        assert_true(r->leases[0]->granted);
        assert_int_equal(r->leases[0]->n_nodes, 2);
        assert_int_equal(r->leases[0]->nodes[0]->used, 8 * MIB);
        assert_int_equal(r->leases[0]->nodes[0]->max, 12 * MIB);
        assert_false(r->leases[1]->granted);
        assert_int_equal(r->leases[1]->left_ms, 7000);
        assert_int_equal(must(&who[2], mk_lease_list(""))->leases->n_leases, 1);
}

/* ---- a race ---- */

static uint64_t rng;

static uint64_t next_random(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % below;
}

struct racer {
        struct client client;
        uint64_t lease;
};

static void race(struct racer *r) {
        Svmd__V1__Result *result;
        uint64_t wait = next_random(2) ? UINT64_MAX : 0;

        ops_reset();
        if (r->lease) {
                if (has(&r->client, r->lease) && next_random(4) == 0)
                        must(&r->client, mk_create_leased(GPU0, MIB, r->lease));
                else if (next_random(2))
                        return;
                must(&r->client, mk_lease_release(r->lease));
                r->lease = 0;
                return;
        }
        result = client_call(&r->client,
                             mk_admit_two(GPU0, (1 + next_random(12)) * MIB, GPU1, (1 + next_random(12)) * MIB, wait));
        if (result->code == 0)
                r->lease = result->id;
        else
                assert_true(wait == 0 && (result->code == SVMD_STATUS_NO_ROOM || result->code == SVMD_STATUS_LIMIT));
}

static void leave_sometimes(struct racer *r, unsigned i) {
        if (next_random(64))
                return;
        client_close(&r->client);
        client_open(&w, &r->client, 200 + i, 100, false);
        client_greet(&r->client, i % 2 ? "one" : "two");
        r->client.deaf = true;
        r->lease = 0;
}

static void test_race(void **state) {
        static struct racer racers[RACERS];
        const char *s = getenv("SVMD_SEED");
        uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL), full = 0;

        printf("seed: SVMD_SEED=%llu\n", (unsigned long long)seed);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        must(&admin, mk_limit("one", GPU0, 12 * MIB));
        for (unsigned i = 0; i < RACERS; i++) {
                client_open(&w, &racers[i].client, 200 + i, 100, false);
                client_greet(&racers[i].client, i % 2 ? "one" : "two");
                racers[i].client.deaf = true;
        }
        for (unsigned n = 0; n < RACES; n++) {
                unsigned i = (unsigned)next_random(RACERS);

                race(&racers[i]);
                leave_sometimes(&racers[i], i);
                assert_true(ledger_bytes(&w, GPU0) <= 16 * MIB && ledger_bytes(&w, GPU1) <= 16 * MIB);
                full += ledger_bytes(&w, GPU0) == 16 * MIB;
                if (n % 64 == 0) {
                        world_settle(&w);
                        check_world(&w);
                }
        }
        assert_true(full > 100);
        for (unsigned i = 0; i < RACERS; i++)
                client_close(&racers[i].client);
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(test_all_or_nothing), TEST(test_memory_out_of_it), TEST(test_limit_lowered), TEST(test_time),
                TEST(test_node_offline),   TEST(test_restarts),         TEST(test_list),          TEST(test_race),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
