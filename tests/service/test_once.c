/*
 * A device operation runs once at most, wherever svmd dies: before the journal has the reply to its submission no
 * device has it, and from then on the client that asks again gets that same reply.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/partition.h"
#include "core/session.h"
#include "harness.h"

#define AT 0x40000000ull

static struct world w;
static struct client a;
static uint64_t space;

static Svmd__V1__Result *must(Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(&a, op);

        if (r->code != 0)
                fail_msg("operation %d: %u %s", (int)op->op_case, r->code, r->text);
        return r;
}

static int set_up(void **state) {
        uint64_t memory;

        ops_reset();
        world_open(&w, 0);
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "");
        space = must(mk_space(GPU0))->id;
        memory = must(mk_create(GPU0, SVMD_PAGE, 0))->id;
        must(mk_map(space, AT, SVMD_PAGE, memory, 0, 3, 0));
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        world_settle(&w);
        world_close(&w);
        return 0;
}

/* Waits until the fence is done; its code and value. */
static unsigned await(uint64_t fence, uint64_t *ret_value) {
        for (;;) {
                Svmd__V1__FenceQuery q = SVMD__V1__FENCE_QUERY__INIT;
                Svmd__V1__Result *r;

                q.fence = fence;
                r = client_call(&a, OP(FENCE_QUERY, fence_query, &q));
                assert_int_equal(r->code, 0);
                service_collect(w.svc);
                if (r->fence->done) {
                        *ret_value = r->fence->value;
                        return r->fence->code;
                }
        }
}

/* An event would take the fence's end away: this client takes none. */
static uint64_t counter(void) {
        uint64_t value = 0;

        a.deaf = true;
        assert_int_equal(await(must(mk_submit(space, 6, AT, 0, 0, 0, false))->id, &value), 0);
        return value;
}

static void add_again(void) {
        Svmd__V1__Op *op = mk_submit(space, 6, AT, 0, 0, 1, false);

        a.deaf = true;
        client_post(&a, SVMD__V1__MODE__BEST_EFFORT, &op, 1);
}

static void restart(void) {
        struct client *all[] = { &a };
        struct service *old = world_restart(&w, all, 1);

        world_bury(old);
}

static void test_before_the_journal_has_it(void **state) {
        add_again();
        assert_false(list_empty(&w.svc->submitted));
        service_commit(w.svc);
        assert_true(list_empty(&w.svc->submitted));
        client_await(&a);
        assert_int_equal(a.reply->results[0]->code, 0);
        assert_int_equal(counter(), 1);
}

static void test_after_the_journal_has_it(void **state) {
        uint64_t first, number, last, value;

        add_again();
        service_commit(w.svc);
        client_await(&a);
        first = a.reply->results[0]->id;
        number = a.request;
        assert_int_equal(counter(), 1);
        restart();
        last = a.request;
        a.request = number - 1; /* the same again */
        add_again();
        client_await(&a);
        assert_int_equal(a.reply->id, number);
        assert_int_equal(a.reply->results[0]->code, 0);
        assert_int_equal(a.reply->results[0]->id, first);
        a.request = last;
        assert_int_equal(await(first, &value), SVMD_STATUS_INTERRUPTED);
        assert_int_equal(counter(), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_before_the_journal_has_it, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_after_the_journal_has_it, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
