/*
 * Drift between the ledger and what the kernel counts is told when it begins and when it ends, once each, by looking
 * from time to time on a clock of the test's; pages are taken and punched in svmd's own file behind its back.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/message.h"
#include "expect.h"
#include "harness.h"

enum { PERIOD_MS = 60000, PAGE = 4096 };

static struct world w;
static struct client admin;
static uint64_t now_ns;
static unsigned begun, ended;
static int pool;

static uint64_t now(void) {
        return now_ns;
}

static bool take(const struct message_desc *m, const struct message_field *fields, size_t count, const char *text) {
        begun += m == message_desc(MESSAGE_DRIFT) && strstr(text, "gpu1") != NULL;
        ended += m == message_desc(MESSAGE_DRIFT_ENDED) && strstr(text, "gpu1") != NULL;
        return true;
}

static int open_pool(void) {
        char path[64], target[128], want[32];

        snprintf(want, sizeof(want), "memfd:svmd-pool-%d ", GPU1);
        for (unsigned fd = 0; fd < 1024; fd++) {
                ssize_t n;

                snprintf(path, sizeof(path), "/proc/self/fd/%u", fd);
                n = readlink(path, target, sizeof(target) - 1);
                if (n > 0 && (target[n] = 0, strstr(target, want)))
                        return open(path, O_RDWR | O_CLOEXEC);
        }
        return -1;
}

static int set_up(void **state) {
        ops_reset();
        now_ns = 1000000000000ull;
        begun = ended = 0;
        message_set_sink(take);
        world_open(&w, 0);
        w.options.boottime_ns = now;
        w.options.drift_period_ms = PERIOD_MS;
        world_bury(world_restart(&w, NULL, 0));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        pool = open_pool();
        assert_true(pool >= 0);
        return 0;
}

static int tear_down(void **state) {
        close(pool);
        client_close(&admin);
        world_close(&w);
        message_set_sink(NULL);
        return 0;
}

/* A period passes, and what is looked at then comes to a verdict. */
static void pass(void) {
        uint64_t looks = w.svc->drifting.looks;

        now_ns += PERIOD_MS * 1000000ull;
        service_collect(w.svc);
        assert_true(w.svc->drifting.looking);
        while (w.svc->drifting.looking)
                world_wait(&w);
        assert_int_equal(w.svc->drifting.looks, looks + 1);
}

static bool has_finding(void) {
        Svmd__V1__Result *r = client_call(&admin, op_make(SVMD__V1__OP__OP_STATUS));

        assert_int_equal(r->code, 0);
        for (size_t i = 0; i < r->status->n_findings; i++)
                if (strcmp(r->status->findings[i]->id, "drift") == 0)
                        return strstr(r->status->findings[i]->text, "gpu1: the kernel counts 4096 bytes, and svmd 0");
        return false;
}

static void test_begins_and_ends(void **state) {
        pass();
        assert_int_equal(begun, 0);
        assert_false(has_finding());
        assert_int_equal(fallocate(pool, FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
        pass();
        assert_int_equal(begun, 1);
        assert_true(has_finding());
        pass(); /* it goes on, and is told once */
        assert_int_equal(begun, 1);
        assert_int_equal(ended, 0);
        assert_int_equal(fallocate(pool, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
        pass();
        assert_int_equal(ended, 1);
        assert_false(has_finding());
        pass();
        assert_int_equal(begun, 1);
        assert_int_equal(ended, 1);
}

/* Who asks has it told, too, once. */
static void test_asked(void **state) {
        assert_int_equal(fallocate(pool, FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(client_call(&admin, op_make(SVMD__V1__OP__OP_DRIFT))->code, 0);
        assert_int_equal(begun, 1);
        pass();
        assert_int_equal(begun, 1);
        assert_int_equal(fallocate(pool, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
        assert_int_equal(client_call(&admin, op_make(SVMD__V1__OP__OP_DRIFT))->code, 0);
        assert_int_equal(ended, 1);
}

/* Monitors hear of it: that is what svmd-dbus tells. */
static void test_monitor(void **state) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_MONITOR);
        unsigned events;

        op->monitor->on = op->monitor->seldom = true;
        assert_int_equal(client_call(&admin, op)->code, 0);
        pass();
        events = admin.events_count;
        assert_int_equal(fallocate(pool, FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
        pass();
        assert_int_equal(admin.events_count, events + 1);
        assert_int_equal(admin.events[events].kind, SVMD__V1__EVENT__EVENT_MONITOR);
        assert_int_equal(fallocate(pool, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
        pass();
        assert_int_equal(admin.events_count, events + 2);
}

/* ---- thousands of sessions ---- */

enum { MANY = 10000 };

static struct client *crowd;

/* Each has memory, and as much leased; another's lease is kept, and he has gone. */
static void come_all(void) {
        struct client keeper;
        uint64_t lease;

        crowd = calloc(MANY, sizeof(*crowd));
        assert_non_null(crowd);
        w.svc->options.max_sessions = MANY + 10;
        must(&admin, mk_partition("crowd", 4ull << 30, NULL, 0, 0666));
        must(&admin, mk_kept_max("crowd", 1ull << 20));
        client_open(&w, &keeper, 0, 0, false);
        client_greet(&keeper, "crowd");
        lease = must(&keeper, mk_admit(GPU1, PAGE, 0))->id;
        must(&keeper, mk_lease_keep(lease, "kept", 3600));
        client_close(&keeper);
        for (unsigned i = 0; i < MANY; i++) {
                struct service_peer peer = { .pid = 100000 + i };

                assert_int_equal(client_open_as(&w, &crowd[i], &peer), 0);
                client_greet(&crowd[i], "crowd");
                must(&crowd[i], mk_create(GPU1, PAGE, 0));
                must(&crowd[i], mk_admit(GPU1, PAGE, 0));
                ops_reset();
        }
        world_settle(&w);
}

static void leave_from(unsigned first) {
        for (unsigned i = first; i < MANY; i++)
                if (crowd[i].world)
                        client_close(&crowd[i]);
}

static void leave_all(void) {
        leave_from(0);
        free(crowd);
        crowd = NULL;
}

/* A turn goes beyond its slice by what is begun of one session. */
static void assert_slices(uint64_t slices) {
        assert_in_range(w.svc->drifting.slice_max, 1, DRIFTING_SLICE + 5 * NODES);
        assert_true(w.svc->drifting.slices >= slices);
}

static void test_slices(void **state) {
        come_all();
        pass();
        assert_slices(MANY * NODES / DRIFTING_SLICE);
        assert_int_equal(begun, 0);
        assert_int_equal(fallocate(pool, FALLOC_FL_KEEP_SIZE, 1ull << 29, PAGE), 0);
        pass();
        assert_int_equal(begun, 1);
        assert_int_equal(client_call(&admin, op_make(SVMD__V1__OP__OP_DRIFT))->code, 0);
        assert_slices(3 * MANY * NODES / DRIFTING_SLICE);
        leave_all();
}

/* Sessions end while some of them have been taken, the one that is next among them. What was charged to them is not
 * what was taken, so that is begun anew, and comes to its verdict. */
static void test_leave_meanwhile(void **state) {
        uint64_t looks, slices;

        come_all();
        looks = w.svc->drifting.looks;
        now_ns += PERIOD_MS * 1000000ull;
        slices = w.svc->drifting.slices;
        service_collect(w.svc);
        world_wait(&w);
        assert_in_range(w.svc->drifting.slices, slices + 1, slices + 4);
        leave_from(100);
        while (w.svc->drifting.looking)
                world_wait(&w);
        assert_int_equal(w.svc->drifting.looks, looks + 1);
        assert_int_equal(begun, 0);
        leave_all();
}

/* Another svmd, whose sessions are nobody's. */
static void restart_alone(void) {
        char why[512];

        world_stop(&w);
        assert_int_equal(world_take_over(&w, why, sizeof(why)), 0);
        for (unsigned i = 0; i < MANY; i++)
                crowd[i].session = NULL;
        admin.session = NULL;
        leave_all();
}

/* svmd ends while figures are taken. */
static void test_end_taking(void **state) {
        come_all();
        now_ns += PERIOD_MS * 1000000ull;
        service_collect(w.svc);
        assert_false(list_empty(&w.svc->drifting.taking));
        restart_alone();
}

/* And while one waits for them. */
static void test_end_meanwhile(void **state) {
        Svmd__V1__Op *op;

        come_all();
        now_ns += PERIOD_MS * 1000000ull;
        service_collect(w.svc);
        op = mk_drift();
        assert_int_equal(client_post(&admin, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
        service_collect(w.svc);
        assert_false(list_empty(&w.svc->drifting.taking));
        restart_alone();
        assert_true(admin.answered);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_begins_and_ends, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_asked, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_monitor, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_slices, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_leave_meanwhile, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_end_taking, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_end_meanwhile, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
