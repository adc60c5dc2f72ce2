/* min, low, high and max of partitions, sessions and control groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/partition.h"
#include "expect.h"
#include "ranges.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

#define SECOND 1000000000ull

static struct world w;
static struct client admin, a, b;
static uint64_t now_ns;

static uint64_t now(void) {
        return now_ns;
}

static void refused(struct client *c, Svmd__V1__Op *op, unsigned code, const char *says) {
        Svmd__V1__Result *r = client_call(c, op);

        if (r->code != code || !strstr(r->text, says))
                fail_msg("operation %d: %u %s, expected %u with '%s'", (int)op->op_case, r->code, r->text, code, says);
}

static int set_up(void **state) {
        ops_reset();
        now_ns = 1000 * SECOND;
        world_open(&w, 0);
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 16 * GIB, "", 100, 0666));
        must(&admin, mk_partition("two", 16 * GIB, "", 100, 0666));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "two");
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        client_close(&b);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

static const struct account *account_of(const char *partition, uint32_t node) {
        return &partition_find(&w.svc->state, partition)->accounts[node];
}

static void restart(void) {
        struct client *clients[] = { &a, &b };

        client_close(&admin);
        world_bury(world_restart(&w, clients, 2));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
}

enum { PINNED = SVMD__V1__MEM_FLAG__MEM_PINNED };

static void test_min_is_kept_free(void **state) {
        uint64_t capacity = w.machine.nodes[GPU1].capacity, memory;

        must(&admin, mk_bound("one", GPU1, BOUND_MIN, capacity / 2));
        must(&b, mk_create(GPU1, capacity / 2, PINNED));
        refused(&b, mk_create(GPU1, MIB, PINNED), SVMD_STATUS_NO_ROOM, "promised");
        restart();
        refused(&b, mk_create(GPU1, MIB, PINNED), SVMD_STATUS_NO_ROOM, "promised");
        memory = must(&a, mk_create(GPU1, capacity / 2, PINNED))->id;
        refused(&a, mk_create(GPU1, MIB, PINNED), SVMD_STATUS_NO_ROOM, "full");
        must(&a, mk_release(memory));
        refused(&b, mk_create(GPU1, MIB, PINNED), SVMD_STATUS_NO_ROOM, "promised");
        must(&admin, mk_bound("one", GPU1, BOUND_MIN, UINT64_MAX));
        must(&b, mk_create(GPU1, MIB, PINNED));
}

/* Where one's memory lies now. */
static bool is_away(uint64_t id) {
        struct object *o = ids_find(&w.svc->state.ids, id);

        return container_of(o, struct memory, object)->away;
}

/* Who needs room takes it from those above their high first, then above their low, and never below their min. */
static void test_whose_memory_gives_way(void **state) {
        uint64_t capacity = w.machine.nodes[GPU1].capacity, part = capacity / 4, of_a[2], of_b[2];

        for (int i = 0; i < 2; i++) {
                of_a[i] = must(&a, mk_create(GPU1, part, 0))->id;
                of_b[i] = must(&b, mk_create(GPU1, part, 0))->id;
        }
        must(&admin, mk_bound("one", GPU1, BOUND_LOW, capacity / 2));
        must(&b, mk_create(GPU1, part, PINNED));
        world_settle(&w);
        assert_false(is_away(of_a[0]) || is_away(of_a[1]));
        assert_true(is_away(of_b[0]) && !is_away(of_b[1]));
        must(&admin, mk_bound("one", GPU1, BOUND_LOW, UINT64_MAX));
        must(&admin, mk_bound("one", GPU1, BOUND_HIGH, part));
        must(&b, mk_create(GPU1, part, PINNED));
        world_settle(&w);
        assert_true(is_away(of_a[0]) && !is_away(of_b[1]));
        must(&admin, mk_bound("one", GPU1, BOUND_MIN, part));
        must(&b, mk_create(GPU1, part, PINNED));
        world_settle(&w);
        assert_true(is_away(of_b[1]) && !is_away(of_a[1]));
        refused(&b, mk_create(GPU1, part, PINNED), SVMD_STATUS_NO_ROOM, "");
        assert_false(is_away(of_a[1]));
}

static void test_mins_fit_in_the_node(void **state) {
        uint64_t capacity = w.machine.nodes[GPU1].capacity;
        Svmd__V1__Op *op;

        must(&admin, mk_bound("one", GPU1, BOUND_MIN, capacity - MIB));
        refused(&admin, mk_bound("two", GPU1, BOUND_MIN, 2 * MIB), SVMD_STATUS_LIMIT, "promised to others");
        must(&admin, mk_bound("two", GPU1, BOUND_MIN, MIB));
        must(&admin, mk_limit("two", GPU1, MIB));
        refused(&admin, mk_bound("two", GPU1, BOUND_MIN, 2 * MIB), SVMD_STATUS_INVALID, "more than max");
        refused(&admin, mk_limit("two", GPU1, MIB / 2), SVMD_STATUS_INVALID, "more than max");
        op = mk_partition("three", 4 * GIB, "", 100, 0666);
        op->partition_create->limits = mk_bound("x", GPU1, BOUND_MIN, 4096)->partition_set->limits;
        op->partition_create->n_limits = 1;
        refused(&admin, op, SVMD_STATUS_LIMIT, "promised to others");
        assert_null(partition_find(&w.svc->state, "three"));
        must(&admin, mk_bound("two", GPU1, BOUND_MIN, UINT64_MAX));
        must(&admin, op);
        must(&admin, mk_delete("three", false));
        assert_int_equal(w.svc->state.nodes[GPU1].account.promised, capacity - MIB);
}

/* Two requests that together promise too much, both on their way to the store. */
static void test_one_promise_at_a_time(void **state) {
        uint64_t capacity = w.machine.nodes[GPU1].capacity, least = capacity / 3 * 2;
        Svmd__V1__Op *one = mk_bound("one", GPU1, BOUND_MIN, least), *two = mk_bound("two", GPU1, BOUND_MIN, least);
        struct client other;

        client_open(&w, &other, 0, 0, true);
        client_greet(&other, NULL);
        assert_int_equal(client_post(&admin, SVMD__V1__MODE__BEST_EFFORT, &one, 1), SERVICE_E_LATER);
        assert_int_equal(client_post(&other, SVMD__V1__MODE__BEST_EFFORT, &two, 1), SERVICE_E_LATER);
        client_await(&other);
        client_await(&admin);
        assert_int_equal(account_of("one", GPU1)->min, least);
        assert_int_equal(account_of("two", GPU1)->min, 0);
        client_close(&other);
}

static void test_bounds_are_kept(void **state) {
        static const unsigned bounds[] = { BOUND_MAX, BOUND_HIGH, BOUND_LOW, BOUND_MIN };

        for (unsigned i = 0; i < 4; i++)
                must(&admin, mk_bound("one", GPU1, bounds[i], (8 - i) * MIB));
        for (unsigned round = 0; round < 2; round++) {
                const struct account *one = account_of("one", GPU1);

                assert_int_equal(one->max, 8 * MIB);
                assert_int_equal(one->high, 7 * MIB);
                assert_int_equal(one->low, 6 * MIB);
                assert_int_equal(one->min, 5 * MIB);
                restart();
        }
        for (unsigned i = 0; i < 4; i++)
                must(&admin, mk_bound("one", GPU1, bounds[3 - i], UINT64_MAX));
        restart();
        assert_int_equal(account_of("one", GPU1)->high, ACCOUNT_NO_LIMIT);
        assert_int_equal(account_of("one", GPU1)->min + account_of("one", GPU1)->low, 0);
}

/* ---- coming down ---- */

static Svmd__V1__Op *come_down(uint32_t node, uint64_t max, uint64_t deadline_ms, bool steal) {
        Svmd__V1__Op *op = mk_limit("one", node, max);

        op->partition_set->come_down = true;
        op->partition_set->deadline_ms = deadline_ms;
        op->partition_set->steal = steal;
        return op;
}

static void steps_are(Svmd__V1__Op *op, const char *text) {
        static const char kinds[] = { 'g', 'e', 's', 't', 'x' };
        Svmd__V1__Reply *reply = client_send(&admin, SVMD__V1__MODE__DRY_RUN, &op, 1, NULL, 0);
        Svmd__V1__Result *r = reply->results[0];
        char found[256] = "";

        assert_int_equal(r->code, 0);
        assert_int_equal(r->detail_case, SVMD__V1__RESULT__DETAIL_PLAN);
        for (size_t i = 0; i < r->plan->n_steps; i++) {
                const Svmd__V1__PlanStep *p = r->plan->steps[i];
                size_t n = strlen(found);

                snprintf(found + n, sizeof(found) - n, "%s%c%llu%s", n ? " " : "", kinds[p->kind],
                         (unsigned long long)(p->bytes / MIB),
                         p->session == a.id   ? "a"
                         : p->session == b.id ? "b"
                                              : "");
        }
        assert_string_equal(found, text);
}

static void come_to_rest(void) {
        for (int i = 0; i < 15000 && !list_empty(&w.svc->give_backs.active); i++) {
                world_settle(&w);
                usleep(i < 10 ? 0 : 2000);
        }
        assert_true(list_empty(&w.svc->give_backs.active));
}

static uint64_t asked_of(struct client *c, uint32_t node) {
        uint64_t bytes = 0;

        for (unsigned i = 0; i < c->events_count; i++)
                if (c->events[i].kind == SVMD__V1__EVENT__EVENT_GIVE_BACK && c->events[i].id == node)
                        bytes = c->events[i].bytes;
        return bytes;
}

/* Two sessions of one partition: the one with more is asked first, and who gives back in time loses nothing. */
static void test_asked_and_given(void **state) {
        uint64_t of_a[2];

        client_close(&b);
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "one");
        for (int i = 0; i < 2; i++)
                of_a[i] = must(&a, mk_create(GPU1, 4 * MIB, PINNED))->id;
        must(&b, mk_create(GPU1, 2 * MIB, PINNED));
        steps_are(mk_limit("one", GPU1, 1 * MIB), "g8a g1b t8a t1b");
        steps_are(mk_limit("one", GPU1, 6 * MIB), "g4a t4a");
        steps_are(mk_limit("one", GPU1, 10 * MIB), "");
        must(&admin, come_down(GPU1, 6 * MIB, 5000, true));
        world_settle(&w);
        assert_int_equal(asked_of(&a, GPU1), 4 * MIB);
        assert_int_equal(asked_of(&b, GPU1), 0);
        assert_int_equal(w.wake_in_ms, 5000);
        must(&a, mk_release(of_a[0]));
        now_ns += 6 * SECOND;
        come_to_rest();
        assert_non_null(a.session);
        assert_int_equal(ledger_bytes(&w, GPU1), 6 * MIB);
        steps_are(mk_limit("one", GPU1, 6 * MIB), "");
}

/* Nobody answers: what may be spilled is, and the rest stays without force, or its session ends. */
static void test_taken(void **state) {
        must(&a, mk_create(GPU1, 4 * MIB, 0));
        must(&a, mk_create(GPU1, 4 * MIB, PINNED));
        steps_are(mk_limit("one", GPU1, 1 * MIB), "g7a s4a t3a");
        must(&admin, come_down(GPU1, 1 * MIB, 1000, false));
        world_settle(&w);
        assert_int_equal(ledger_bytes(&w, GPU1), 8 * MIB);
        now_ns += 2 * SECOND;
        come_to_rest();
        assert_int_equal(ledger_bytes(&w, GPU1), 4 * MIB);
        assert_non_null(a.session);
        steps_are(mk_limit("one", GPU1, 1 * MIB), "g3a t3a");
        must(&admin, come_down(GPU1, 1 * MIB, 0, true));
        come_to_rest();
        assert_null(a.session);
        assert_int_equal(ledger_bytes(&w, GPU1), 0);
}

static void test_high_asks_back(void **state) {
        must(&admin, mk_bound("one", GPU1, BOUND_HIGH, 4 * MIB));
        must(&a, mk_create(GPU1, 4 * MIB, PINNED));
        world_settle(&w);
        assert_int_equal(asked_of(&a, GPU1), 0);
        must(&a, mk_create(GPU1, 3 * MIB, 0));
        world_settle(&w);
        assert_int_equal(asked_of(&a, GPU1), 3 * MIB);
        now_ns += 3 * SECOND;
        come_to_rest();
        assert_int_equal(ledger_bytes(&w, GPU1), 4 * MIB);
        must(&a, mk_create(GPU1, 2 * MIB, PINNED));
        world_settle(&w);
        now_ns += 3 * SECOND;
        come_to_rest();
        assert_non_null(a.session);
        assert_int_equal(ledger_bytes(&w, GPU1), 6 * MIB);
}

/* svmd ends while a partition comes down: the limit is in force, and what is left is said and taken again. */
static void test_restart_while_coming_down(void **state) {
        must(&a, mk_create(GPU1, 4 * MIB, 0));
        must(&a, mk_create(GPU1, 4 * MIB, PINNED));
        must(&admin, come_down(GPU1, 1 * MIB, 60000, true));
        world_settle(&w);
        restart();
        assert_int_equal(ledger_bytes(&w, GPU1), 8 * MIB);
        assert_int_equal(account_of("one", GPU1)->max, 1 * MIB);
        steps_are(mk_limit("one", GPU1, 1 * MIB), "g7a s4a t3a");
        must(&admin, come_down(GPU1, 1 * MIB, 0, false));
        come_to_rest();
        assert_int_equal(ledger_bytes(&w, GPU1), 4 * MIB);
        refused(&a, mk_create(GPU1, MIB, PINNED), SVMD_STATUS_LIMIT, "partition one may have");
}

/* Of what does not fit together the first has it, though the pages of the second are a job's. */
static void test_charged_in_order(void **state) {
        Svmd__V1__Op *ops[] = { mk_create(GPU1, MIB / 2, PINNED), mk_create(GPU1, 2 * MIB, PINNED) };
        Svmd__V1__Reply *reply;

        must(&admin, mk_limit("one", GPU1, 2 * MIB));
        reply = client_send(&a, SVMD__V1__MODE__BEST_EFFORT, ops, 2, NULL, 0);
        assert_int_equal(reply->results[0]->code, SVMD_STATUS_OK);
        assert_int_equal(reply->results[1]->code, SVMD_STATUS_LIMIT);
        reply = client_send(&b, SVMD__V1__MODE__BEST_EFFORT, ops, 2, NULL, 0);
        assert_int_equal(reply->results[0]->code, SVMD_STATUS_OK);
        assert_int_equal(reply->results[1]->code, SVMD_STATUS_OK);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_min_is_kept_free),
                TEST(test_whose_memory_gives_way),
                TEST(test_mins_fit_in_the_node),
                TEST(test_one_promise_at_a_time),
                TEST(test_bounds_are_kept),
                TEST(test_asked_and_given),
                TEST(test_taken),
                TEST(test_high_asks_back),
                TEST(test_restart_while_coming_down),
                TEST(test_charged_in_order),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
