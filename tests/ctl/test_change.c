/* Verbs that move managed pages, and take nodes out of use. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "expect.h"
#include "fake.h"
#include "machine.h"

static const struct svmd_node_row nodes_drained[] = {
        { .id = 0,
          .name = "host0",
          .model = "",
          .kind = SVMD_NODE_HOST,
          .kind_name = "host",
          .online = 1,
          .capacity = 64 * GIB },
        { .id = 1, .name = "gpu0", .model = "", .kind = SVMD_NODE_SOFT, .kind_name = "soft", .used = GIB / 4 },
        { .id = 2,
          .name = "gpu1",
          .model = "",
          .kind = SVMD_NODE_SOFT,
          .kind_name = "soft",
          .online = 1,
          .capacity = 2 * GIB },
};

/* 16 MiB did not come, of which half are on their way. */
static const struct svmd_residency_row partly[] = {
        RUN(0, 8, HOST, .cause = "fault"),
        RUN(8, 8, .node = 2, .state = "copying", .cause = "request", .busy = 1),
        RUN(16, 40, GPU1, .cause = "request"),
        RUN(56, 8, NOWHERE, .cause = "fault"),
};

static const struct svmd_residency_row all_zero[] = { RUN(0, 64, NOWHERE, .cause = "request") };
static const struct svmd_residency_row all_revoked[] = { RUN(0, 64, .node = 1, .state = "revoked", .cause = "revoke") };

static void test_migrate(void **state) {
        struct json_object *o;

        expect("migrate index gpu1", 0,
               "Moved 48 MiB of reservation index to gpu1\n"
               "Now 56 MiB on gpu1, 8 MiB in no memory (zero)\n",
               "");
        assert_int_equal(fake.asked_node, 2);
        machine_expect_asked("migrate", AT, 64 * MIB);
        expect("migrate 0x280001000000+8M 2", 0,
               "Moved 8 MiB of 8 MiB of reservation index to gpu1\n"
               "Now 8 MiB on gpu1\n",
               "");
        assert_int_equal(fake.asked_node, 2);
        machine_expect_asked("migrate", AT + 16 * MIB, 8 * MIB);
        expect_part("migrate 0x280003800000-0x280004000000 gpu1", 0,
                    "Moved nothing of 8 MiB of reservation index to gpu1\nNow 8 MiB in no memory (zero)\n", "");
        machine_expect_asked("migrate", AT + 56 * MIB, 8 * MIB);
        o = run_json("migrate index gpu1 --json", 0);
        expect_json(o, "change", "migrate");
        expect_json(o, "partition", "train");
        expect_json(o, "reservation", "index");
        expect_json(o, "address", "0x280000000000");
        expect_json(o, "length", "67108864");
        expect_json(o, "node", "gpu1");
        expect_json(o, "result", "OK");
        expect_json(o, "done_bytes", "50331648");
        expect_json(o, "left_bytes", "0");
        expect_json(o, "now.0.node", "gpu1");
        expect_json(o, "now.1.node", "null");
        expect_json(o, "now.1.bytes", "8388608");
        json_object_put(o);
}

static void test_migrate_fails(void **state) {
        struct json_object *o;

        THEN(partly);
        fake.fence_code = SVMD_E_NO_ROOM;
        fake.error = "gpu1 is full";
        expect("migrate index gpu1", 1,
               "Moved 32 MiB of reservation index to gpu1; 16 MiB is left\n"
               "Now 8 MiB on host0, 48 MiB on gpu1 (8 MiB on its way), 8 MiB in no memory (zero)\n",
               "svmd-ctl: gpu1 is full\n");
        machine_again();
        o = run_json("migrate index gpu1 --json", 1);
        expect_json(o, "result", "NO_ROOM");
        expect_json(o, "left_bytes", "16777216");
        json_object_put(o);
        machine_again();
        fake.fence_after = 1000000000;
        fake.done = true;
        expect("migrate index gpu1 --timeout 0.05", 3,
               "Moved nothing of reservation index to gpu1; 16 MiB is left\n"
               "Now 8 MiB on host0, 48 MiB on gpu1 (8 MiB on its way), 8 MiB in no memory (zero)\n",
               "svmd-ctl: the time is over\n");
        machine_again();
        fake.start_code = SVMD_E_NODE_KIND;
        fake.error = "gpu1 is offline";
        expect("migrate index gpu1", 1, "", "svmd-ctl: gpu1 is offline\n");
        fake.start_code = SVMD_OK;
        fake.fence_after = 0;
        fake.fence_code = SVMD_E_GONE;
        fake.error = "svmd ended the session";
        machine_again();
        expect("migrate index gpu1", 4, "", "svmd-ctl: svmd ended the session\n");
        machine_again();
}

static void test_evict(void **state) {
        expect("evict index", 0,
               "Evicted 56 MiB of reservation index\n"
               "Now 56 MiB on gpu1, 8 MiB in no memory (zero)\n",
               "");
        machine_expect_asked("evict", AT, 64 * MIB);
        /* From gpu0 and gpu1 nothing came away. */
        fake.fence_code = SVMD_E_NO_ROOM;
        expect_part("evict index", 1, "Evicted 48 MiB of reservation index; 8 MiB is left\n", "");
        machine_expect_asked("evict", AT, 64 * MIB);
}

static void test_discard(void **state) {
        THEN(all_zero);
        expect("discard index", 0,
               "Discarded 56 MiB of reservation index\n"
               "Now 64 MiB in no memory (zero)\n",
               "");
        machine_expect_asked("discard", AT, 64 * MIB);
        assert_int_equal(run_asked("discard 0x280000000000+2M", "n\n"), 1);
        assert_non_null(strstr(run_err, "Set to zero the content of 2 MiB of reservation index? [y/N] "));
        assert_non_null(strstr(run_err, "nothing was done"));
        assert_null(fake.asked);
        assert_int_equal(run_asked("discard 0x280000000000+2M", "y\n"), 0);
        machine_expect_asked("discard", AT, 2 * MIB);
        assert_int_equal(run_asked("discard index --yes", ""), 0);
        assert_null(strstr(run_err, "[y/N]"));
        machine_expect_asked("discard", AT, 64 * MIB);
}

static void test_revoke(void **state) {
        THEN(all_revoked);
        expect("revoke index", 0,
               "Revoked 64 MiB of reservation index\n"
               "Now 64 MiB on gpu0\n"
               "Nobody may use it until 'svmd-ctl revoke --off index'; its content is kept\n",
               "");
        assert_int_equal(fake.asked_action, 0);
        machine_expect_asked("revoke", AT, 0);
        expect_part("revoke 0x280000000fff --partition train", 0, "'svmd-ctl revoke --off index --partition train'",
                    "");
        machine_expect_asked("revoke", AT, 0);
        THEN(machine_on_gpu1);
        expect("revoke --off 0x280008001000", 0,
               "Gave back 1 MiB of the reservation at 0x280008000000\n"
               "Now 1 MiB on host0\n"
               "Everyone who has it open may use it again\n",
               "");
        assert_int_equal(fake.asked_action, 1);
        machine_expect_asked("revoke", AT + 128 * MIB, 0);
        assert_int_equal(run_asked("revoke index", "n\n"), 1);
        assert_non_null(strstr(run_err, "Take away from everyone reservation index? [y/N] "));
        assert_int_equal(run_asked("revoke --off index", "n\n"), 0);
        expect_part("revoke 0x280000000000+2M", 2, "", "only whole reservations");
        machine_again();
}

static const struct svmd_plan_row leaves_gpu0[] = {
        { .node = 1, .kind = SVMD_PLAN_EVICT, .bytes = 768 * MIB, .client = "" },
        { .node = 1, .kind = SVMD_PLAN_SPILL, .bytes = 192 * MIB, .session = 12, .pid = 77, .client = "trainer" },
        { .node = 1, .kind = SVMD_PLAN_STAYS, .bytes = 64 * MIB, .session = 12, .pid = 77, .client = "trainer" },
};

static void test_dry_run(void **state) {
        struct json_object *o;

        expect("migrate index gpu1 --dry-run", 0, "Would move 48 MiB of reservation index to gpu1\n", "");
        expect("evict index --dry-run", 0, "Would evict 56 MiB of reservation index\n", "");
        expect("discard index --dry-run", 0, "Would discard 56 MiB of reservation index\n", "");
        expect("revoke index --dry-run", 0, "Would revoke 64 MiB of reservation index\n", "");
        expect("revoke --off index --dry-run", 0, "Would give back nothing of reservation index\n", "");
        fake.plan = leaves_gpu0;
        fake.plan_count = 3;
        fake.plan_until = UINT32_MAX;
        expect_part("node drain gpu0 --dry-run", 0,
                    "Would drain gpu0: 768 MiB of managed memory and 192 MiB that programs created there go elsewhere; "
                    "64 MiB stays\n",
                    "");
        expect_part("node drain gpu0 --dry-run", 0, "gpu0 192 MiB moved to a host     session 12, pid 77 (trainer)\n",
                    "");
        assert_int_equal(fake.planned_action, SVMD_NODE_DRAIN);
        fake.plan_count = 1;
        expect_part("node offline 1 --dry-run", 0,
                    "Would take offline gpu0: 768 MiB of managed memory there goes elsewhere\n", "");
        assert_int_equal(fake.planned_action, SVMD_NODE_OFFLINE);
        fake.plan_count = 0;
        expect("node drain gpu0 --dry-run", 0, "Would drain gpu0: nothing has to go elsewhere\n", "");
        fake.plan_count = 3;
        expect("node online gpu0 --dry-run", 0, "Would put gpu0 online\n", "");
        o = run_json("migrate index gpu1 --dry-run --json", 0);
        expect_json(o, "dry_run", "true");
        expect_json(o, "result", "null");
        expect_json(o, "done_bytes", "0");
        expect_json(o, "left_bytes", "50331648");
        json_object_put(o);
        o = run_json("node drain gpu0 --dry-run --json", 0);
        expect_json(o, "dry_run", "true");
        expect_json(o, "result", "null");
        expect_json(o, "plan.2.step", "stays");
        json_object_put(o);
        assert_int_equal(run_asked("node drain gpu0", "n\n"), 1);
        assert_non_null(strstr(run_err, "gpu0  64 MiB cannot be taken"));
        assert_non_null(strstr(run_err, "64 MiB stays? [y/N] "));
        fake.start_code = SVMD_E_NODE_KIND;
        fake.error = "host0 cannot be drained";
        expect("node drain host0 --dry-run", 1, "", "svmd-ctl: host0 cannot be drained\n");
        fake.start_code = SVMD_OK;
        assert_int_equal(fake.changes, 0);
}

/* What is wrong is told before anything is changed. */
static void test_wrong_ranges(void **state) {
        expect("migrate index gpo1", 1, "", "svmd-ctl: unknown node 'gpo1'; did you mean 'gpu1'?\n");
        expect("evict idnex", 1, "", "svmd-ctl: there is no reservation 'idnex'; did you mean 'index'?\n");
        expect_part("evict elsewhere", 1, "", "there is no reservation 'elsewhere'; 'svmd-ctl reservation list'");
        expect_part("evict 0x1000", 1, "", "nothing is reserved at 0x1000; 'svmd-ctl reservation list'");
        expect_part("evict 0x28zz", 2, "", "'0x28zz': expected an address");
        expect_part("evict 0x280000000000+1XB", 2, "", "expected a number with an optional unit");
        expect_part("evict 0x280000000000+0", 2, "", "at least one byte");
        expect_part("evict 0x280000001000+4K", 2, "",
                    "is not made of whole granules of 2 MiB; 0x280000000000-0x280000200000 is, and contains it");
        expect_part("evict 0x280000000000+2049K", 2, "", "0x280000000000-0x280000400000 is, and contains it");
        expect_part("evict 0x280000000000+65M", 1, "",
                    "0x280000000000+65M does not lie in one reservation; reservation index there is "
                    "0x280000000000-0x280004000000");
        expect_part("evict 0x280007f00000+2M", 1, "",
                    "the reservation at 0x280008000000 there is 0x280008000000-0x280008100000");
        expect_part("evict 0x280004000000", 1, "", "reservation shm is explicit: it shows memory objects");
        expect_part("evict shm", 1, "", "shm is in partition train and in partition twin; say which with --partition");
        expect_part("evict shm --partition twin", 1, "", "reservation shm is explicit");
        expect_part("evict index --partition trian", 1, "", "there is no partition 'trian'; did you mean 'train'?");
        expect_part("evict index --partition twin", 1, "", "there is no reservation 'index'");
        expect_part("explain 0x280000000000", 1, "", "say which with --partition");
        expect_part("explain 0x270000000000", 1, "", "0x270000000000 lies in no partition; 'svmd-ctl partition list'");
        expect_part("explain 0x280000000000+4K", 2, "", "expected one address");
        expect_part("map --counters", 2, "", "--counters goes with a RANGE");
        expect_part("migrate index", 2, "", "migrate needs RANGE NODE");
        assert_null(fake.asked);
        assert_int_equal(fake.changes, 0);
}

/* On a terminal a line says how far it is, and goes away. */
static void test_progress(void **state) {
        fake.fence_after = 3;
        assert_int_equal(run_asked("migrate index gpu1", ""), 0);
        assert_non_null(strstr(run_err, "\rmoving reservation index to gpu1: 48 MiB left of 48 MiB\033[K"));
        assert_string_equal(run_err + strlen(run_err) - 4, "\r\033[K");
        assert_int_equal(fake.waits, 4);
        machine_again();
        assert_int_equal(run_asked("node drain gpu0 --yes", ""), 0);
        assert_non_null(strstr(run_err, "\rdraining gpu0: 768 MiB left of 768 MiB\033[K"));
        machine_again();
        expect_part("migrate index gpu1", 0, "Moved", "");
        assert_string_equal(run_err, "");
        fake.fence_after = 0;
        machine_again();
        assert_int_equal(run_asked("evict index", ""), 0);
        assert_string_equal(run_err, "");
}

static void test_node_set(void **state) {
        struct json_object *o;

        fake.nodes_then = nodes_drained;
        expect("node drain gpu0", 0,
               "Node gpu0 is offline; 768 MiB of managed memory has left it\n"
               "256 MiB that programs created there is still there: pinned, in use, or without room on a host; 'svmd-ctl "
               "node show gpu0' says whose\n",
               "");
        assert_int_equal(fake.asked_node, 1);
        assert_int_equal(fake.asked_action, SVMD_NODE_DRAIN);
        machine_again();
        o = run_json("node offline gpu0 --json", 0);
        assert_int_equal(fake.asked_action, SVMD_NODE_OFFLINE);
        expect("node lost gpu0 --yes", 0,
               "Node gpu0 is offline; what was managed there and nowhere else is lost until it is discarded\n", "");
        assert_int_equal(fake.asked_action, SVMD_NODE_LOST);
        expect_json(o, "change", "offline");
        expect_json(o, "node", "gpu0");
        expect_json(o, "result", "OK");
        expect_json(o, "online", "false");
        expect_json(o, "left_bytes", "0");
        expect_json(o, "used", "268435456");
        json_object_put(o);
        machine_again();
        fake.nodes_then = NULL;
        expect("node online gpu0", 0, "Node gpu0 is online\n", "");
        assert_int_equal(fake.asked_action, SVMD_NODE_ONLINE);
        machine_again();
        fake.fence_after = 1000000000;
        expect_part("node drain gpu0 --timeout 0.05", 3, "0 of managed memory has left it, 768 MiB is still there\n",
                    "svmd-ctl: the time is over\n");
        machine_again();
        fake.start_code = SVMD_E_NODE_KIND;
        fake.error = "host0 cannot be drained";
        expect("node drain host0", 1, "", "svmd-ctl: host0 cannot be drained\n");
}

static void test_upgrade(void **state) {
        struct json_object *o;

        fake.status = (struct svmd_status){ .version = "1.0", .pid = 77, .epoch = 4, .sessions = 3 };
        fake.upgraded = "1.1";
        expect_part("upgrade", 0, "svmd 1.0 goes on as 1.1, still process 77: 2 sessions, away for ", "");
        assert_string_equal(fake.binary, "");
        assert_int_equal(fake.upgrade_flags, 0);
        assert_int_equal(fake.gone, 0);
        fake.upgraded = "1.2";
        o = run_json("upgrade --keeper --binary /opt/svmd --json", 0);
        expect_json(o, "before", "1.1");
        expect_json(o, "after", "1.2");
        expect_json(o, "epoch", "6");
        expect_json(o, "pid", "77");
        expect_json(o, "dry_run", "false");
        json_object_put(o);
        assert_string_equal(fake.binary, "/opt/svmd");
        assert_int_equal(fake.upgrade_flags, SVMD_UPGRADE_KEEPER);
        expect("upgrade --dry-run", 0, "svmd 1.2 can be upgraded\n", "");
        assert_int_equal(fake.upgrade_flags, SVMD_UPGRADE_CHECK);
        o = run_json("upgrade --dry-run --json", 0);
        expect_json(o, "dry_run", "true");
        json_object_put(o);
        fake.upgraded = NULL;
        expect("upgrade", 1, "",
               "svmd-ctl: svmd could not become the other program and goes on as it was; its log says why\n");
        fake.code = SVMD_E_INVALID;
        fake.error = "nothing was changed: /x cannot be started";
        fake.gone = 0;
        expect("upgrade --binary /x", 1, "", "svmd-ctl: nothing was changed: /x cannot be started\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_migrate, machine_setup),
                cmocka_unit_test_setup(test_migrate_fails, machine_setup),
                cmocka_unit_test_setup(test_evict, machine_setup),
                cmocka_unit_test_setup(test_discard, machine_setup),
                cmocka_unit_test_setup(test_revoke, machine_setup),
                cmocka_unit_test_setup(test_dry_run, machine_setup),
                cmocka_unit_test_setup(test_wrong_ranges, machine_setup),
                cmocka_unit_test_setup(test_progress, machine_setup),
                cmocka_unit_test_setup(test_node_set, machine_setup),
                cmocka_unit_test_setup(test_upgrade, machine_setup),
        };

        if (!setlocale(LC_ALL, "C.UTF-8"))
                return 1;
        setenv("TZ", "UTC", 1);
        unsetenv("COLUMNS");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
