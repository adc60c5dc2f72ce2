/*
 * Memory that nobody has any more in the middle of a request is gone for the rest of it, as it is afterwards: what the
 * journal replays, where there is no middle, must not need it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

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
        memory = must(mk_create(HOST0, SVMD_PAGE, SVMD__V1__MEM_FLAG__MEM_SHAREABLE))->id;
        must(mk_export(memory, "weights", 0600, 3));
        must(mk_map(space, AT, SVMD_PAGE, memory, 0, 3, 0));
        must(mk_release(memory));
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        world_settle(&w);
        world_close(&w);
        return 0;
}

static void request(Svmd__V1__Mode mode, unsigned unmapped, unsigned imported) {
        Svmd__V1__Op *ops[] = { mk_unmap(space, AT, SVMD_PAGE), mk_import("weights", 3) };

        assert_int_equal(client_post(&a, mode, ops, 2), 0);
        client_await(&a);
        assert_int_equal(a.reply->results[0]->code, unmapped);
        assert_int_equal(a.reply->results[1]->code, imported);
}

static void restart(void) {
        world_settle(&w);
        world_bury(world_restart_as_was(&w, (struct client *[]){ &a }, 1));
        check_world(&w);
}

/* Nothing of it was done, and the memory is there. */
static void test_all_or_nothing(void **state) {
        request(SVMD__V1__MODE__ALL_OR_NOTHING, SVMD_STATUS_ABORTED, SVMD_STATUS_NO_SUCH);
        restart();
        must(mk_import("weights", 3));
}

/* Its last user has gone. */
static void test_best_effort(void **state) {
        request(SVMD__V1__MODE__BEST_EFFORT, 0, SVMD_STATUS_NO_SUCH);
        restart();
}

/* With the space that shows it, or the reservation, which are there until the request commits. */
static void goes_with(Svmd__V1__Op *op) {
        Svmd__V1__Op *ops[] = { op, mk_import("weights", 3) };

        assert_int_equal(client_post(&a, SVMD__V1__MODE__BEST_EFFORT, ops, 2), 0);
        client_await(&a);
        assert_int_equal(a.reply->results[0]->code, 0);
        assert_int_equal(a.reply->results[1]->code, SVMD_STATUS_NO_SUCH);
        restart();
}

static void test_with_its_space(void **state) {
        goes_with(mk_destroy(space));
}

static void test_with_its_reservation(void **state) {
        Svmd__V1__Result *r = must(mk_reserve(SVMD_PAGE, 0, 0, "named", 0600));
        uint64_t id = r->id, at = r->address, memory = must(mk_import("weights", 3))->id;

        must(mk_map(0, at, SVMD_PAGE, memory, 0, 3, 0));
        must(mk_release(memory));
        must(mk_destroy(space));
        goes_with(mk_free(id));
}

/* The other way round it goes on. */
static void test_import_first(void **state) {
        Svmd__V1__Op *ops[] = { mk_import("weights", 3), mk_unmap(space, AT, SVMD_PAGE) };

        assert_int_equal(client_post(&a, SVMD__V1__MODE__ALL_OR_NOTHING, ops, 2), 0);
        client_await(&a);
        assert_int_equal(a.reply->results[0]->code, 0);
        assert_int_equal(a.reply->results[1]->code, 0);
        restart();
        must(mk_release(a.reply->results[0]->id));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_all_or_nothing, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_best_effort, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_with_its_space, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_with_its_reservation, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_import_first, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
