/* A partition that is deleted while it is used, with time to go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/partition.h"
#include "core/session.h"
#include "expect.h"
#include "ranges.h"

#define LARGE  (64ull << 10)
#define MIB    (1ull << 20)
#define GIB    (1ull << 30)
#define SECOND 1000000000ull

enum { PINNED = SVMD__V1__MEM_FLAG__MEM_PINNED };

static struct world w;
static struct client admin, other;
static struct user a, b;
static uint64_t now_ns;

static uint64_t now(void) {
        return now_ns;
}

static int set_up(void **state) {
        static const uint64_t capacity[NODES] = { 64 * MIB, 48 * MIB, 48 * MIB, MIB };

        ops_reset();
        now_ns = 1000 * SECOND;
        world_open_sized(&w, 0, capacity);
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        client_open(&w, &other, 0, 0, true);
        client_greet(&other, NULL);
        must(&admin, mk_range_partition("one", 16 * GIB, 100, 0666));
        user_open(&w, &a, 100, "one");
        user_open(&w, &b, 100, "one");
        return 0;
}

static int tear_down(void **state) {
        user_close(&a);
        user_close(&b);
        client_close(&admin);
        client_close(&other);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

static uint64_t asked_of(const struct client *c, uint32_t node) {
        uint64_t bytes = 0;

        for (unsigned i = 0; i < c->events_count; i++)
                if (c->events[i].kind == SVMD__V1__EVENT__EVENT_GIVE_BACK && c->events[i].id == node)
                        bytes += c->events[i].bytes;
        return bytes;
}

static Svmd__V1__Op *delete_by(uint64_t deadline_ms) {
        Svmd__V1__Op *op = mk_delete("one", true);

        op->partition_delete->deadline_ms = deadline_ms;
        return op;
}

static void post(uint64_t deadline_ms) {
        Svmd__V1__Op *op = delete_by(deadline_ms);

        assert_int_equal(client_post(&admin, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
}

static void collect(void) {
        service_collect(w.svc);
        service_commit(w.svc);
}

static struct partition *one(void) {
        return partition_find(&w.svc->state, "one");
}

/* Memory of one session, and a range of the other on a device. */
static uint64_t have_something(uint64_t *ret_range) {
        uint64_t memory = must(&a.client, mk_create(GPU1, 4 * MIB, PINNED))->id, size = 2 * MIB;
        Svmd__V1__Result *r = must(&b.client, mk_range(size, LARGE, "", 0));
        uint64_t at = r->address;

        *ret_range = r->id;
        user_give(&b);
        user_join(&b, *ret_range, true);
        process_fill(&b.process, at, size, 3);
        assert_int_equal(user_do(&b, mk_migrate(at, size, GPU1)), 0);
        return memory;
}

/* Each is asked for what is its own; when the last one has gone nothing is waited for. */
static void test_all_go_in_time(void **state) {
        struct client late;
        Svmd__V1__Op *attach;
        uint64_t range;

        have_something(&range);
        post(30000);
        assert_int_equal(asked_of(&a.client, GPU1), 4 * MIB);
        assert_int_equal(asked_of(&b.client, GPU1), 2 * MIB);
        assert_int_equal(asked_of(&b.client, HOST0), 0);
        assert_int_equal(w.wake_in_ms, 30000);
        client_open(&w, &late, 100, 100, false);
        client_greet(&late, NULL);
        attach = op_make(SVMD__V1__OP__OP_ATTACH);
        attach->attach->partition = (char *)"one";
        attach->attach->any_window = true;
        must_not(&late, attach, SVMD_STATUS_NO_SUCH, "");
        client_close(&late);
        must_not(&other, mk_delete("one", true), SVMD_STATUS_BUSY, "being deleted already");
        must_not(&other, mk_limit("one", GPU1, MIB), SVMD_STATUS_BUSY, "");
        client_close(&a.client);
        now_ns += 29 * SECOND;
        collect();
        assert_non_null(one());
        client_close(&b.client);
        client_await(&admin);
        assert_null(one());
        assert_int_equal(ledger_bytes(&w, GPU1), 0);
}

static void test_who_stays_ends(void **state) {
        uint64_t range;

        have_something(&range);
        post(5000);
        collect();
        assert_non_null(a.client.session);
        now_ns += 5 * SECOND;
        collect();
        client_await(&admin);
        assert_null(a.client.session);
        assert_null(b.client.session);
        assert_null(one());
        assert_int_equal(ledger_bytes(&w, GPU1), 0);
}

/* Who asked for it has gone, before or after svmd has: nobody loses anything, and whoever comes may attach. */
static void test_called_off(void **state) {
        uint64_t range;

        have_something(&range);
        post(5000);
        client_close(&admin);
        collect();
        now_ns += 6 * SECOND;
        world_settle(&w);
        assert_non_null(a.client.session);
        assert_false(one()->ending);
        assert_int_equal(one()->leaves_ns, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must_not(&other, mk_delete("one", false), SVMD_STATUS_BUSY, "");
        user_close(&a);
        user_open(&w, &a, 100, "one");
}

static void test_svmd_ends_before(void **state) {
        struct client *all[] = { &a.client, &b.client, &other };
        uint64_t range;

        have_something(&range);
        post(5000);
        client_close(&admin);
        world_bury(world_restart(&w, all, 3));
        now_ns += 6 * SECOND;
        world_settle(&w);
        assert_non_null(one());
        assert_false(one()->ending);
        assert_int_equal(ledger_bytes(&w, GPU1), 4 * MIB);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
}

/* The plan is what is asked of each, and then taken; of memory that is nobody's only that. */
static void test_plan(void **state) {
        Svmd__V1__Op *op = delete_by(1000);
        uint64_t range, asked = 0, taken = 0;
        Svmd__V1__Result *r;

        have_something(&range);
        r = client_send(&admin, SVMD__V1__MODE__DRY_RUN, &op, 1, NULL, 0)->results[0];
        assert_int_equal(r->code, 0);
        assert_int_equal(r->detail_case, SVMD__V1__RESULT__DETAIL_PLAN);
        for (size_t i = 0; i < r->plan->n_steps; i++) {
                const Svmd__V1__PlanStep *s = r->plan->steps[i];

                asked += s->kind == SVMD__V1__PLAN_KIND__PLAN_GIVE_BACK ? s->bytes : 0;
                taken += s->kind == SVMD__V1__PLAN_KIND__PLAN_STEAL ? s->bytes : 0;
        }
        assert_int_equal(asked, 6 * MIB);
        assert_int_equal(taken, 6 * MIB);
        assert_int_equal(asked_of(&a.client, GPU1), 0);
        assert_false(one()->ending);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_all_go_in_time),   TEST(test_who_stays_ends), TEST(test_called_off),
                TEST(test_svmd_ends_before), TEST(test_plan),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
