/* Where managed pages are, and why. */
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

static const char map_index[] = "index in partition train, shared\n"
                                "0x280000000000 to 0x280004000000, 64 MiB in granules of 2 MiB\n"
                                "\n"
                                "0x280000000000  AAAAAAAAAAAABBBBBBBBBBBBCCCC····\n"
                                "                a cell is 2 MiB\n"
                                "\n"
                                "CELL NODE        HOLDS SHARE PINNED MOVING COPIES\n"
                                "A    host0      24 MiB   38%  4 MiB      -  8 MiB\n"
                                "B    gpu0       24 MiB   38%      -  2 MiB  8 MiB\n"
                                "C    gpu1        8 MiB   12%      -      -      -\n"
                                "·    none: zero  8 MiB   12%      -      -      -\n";

/* Widened to whole granules. What has only copies has no cell. */
static const char map_part[] = "index in partition train, shared\n"
                               "0x280002c00000 to 0x280003a00000, 14 MiB of 64 MiB in granules of 2 MiB\n"
                               "\n"
                               "0x280002c00000  BBCCCC·\n"
                               "                a cell is 2 MiB\n"
                               "\n"
                               "CELL NODE       HOLDS SHARE PINNED MOVING COPIES\n"
                               "A    host0          0    0%      -      -  8 MiB\n"
                               "B    gpu0       4 MiB   29%      -  2 MiB  8 MiB\n"
                               "C    gpu1       8 MiB   57%      -      -      -\n"
                               "·    none: zero 2 MiB   14%      -      -      -\n";

static const char map_all[] = "index in partition train, shared\n"
                              "0x280000000000 to 0x280004000000, 64 MiB in granules of 2 MiB\n"
                              "\n"
                              "0x280000000000  AAAAAAAAAAAABBBB\n"
                              "0x280002000000  BBBBBBBBCCCC····\n"
                              "                a cell is 2 MiB\n"
                              "\n"
                              "shm in partition train, explicit\n"
                              "0x280004000000 to 0x280004100000, 1 MiB\n"
                              "shows 1 MiB of memory objects, which lie where they were created\n"
                              "\n"
                              "of session 14 in partition train, revoked\n"
                              "0x280008000000 to 0x280008100000, 1 MiB in granules of 4 KiB\n"
                              "\n"
                              "0x280008000000  BBBBBBBBBBBBBBBB\n"
                              "0x280008020000  BBBBBBBBBBBBBBBB\n"
                              "0x280008040000  BBBBBBBBBBBBBBBB\n"
                              "0x280008060000  BBBBBBBBBBBBBBBB\n"
                              "0x280008080000  BBBBBBBBBBBBBBBB\n"
                              "0x2800080a0000  BBBBBBBBBBBBBBBB\n"
                              "0x2800080c0000  BBBBBBBBBBBBBBBB\n"
                              "0x2800080e0000  BBBBBBBBBBBBBBBB\n"
                              "                a cell is 8 KiB\n"
                              "\n";

static void test_map(void **state) {
        struct json_object *o;

        expect("map index", 0, map_index, "");
        expect("map 0x280002d00000-0x280003900000", 0, map_part, "");
        expect_part("map 0x280000000000+1G --partition train --width 40", 0, map_all, "");
        assert_null(strstr(run_out, "small letter"));
        /* A node's letter is the same in every picture. */
        expect_part("map 0x280008000000 --partition train --width 40", 0, "\n0x280008000000  BBBBBBBBBBBBBBBB\n", "");
        expect("map shm --partition twin", 0,
               "shm in partition twin, explicit\n"
               "0x280080000000 to 0x280080100000, 1 MiB\n"
               "shows 0 of memory objects, which lie where they were created\n",
               "");
        o = run_json("map index --json", 0);
        expect_json(o, "0.reservation.name", "index");
        expect_json(o, "0.runs.1.pins", "1");
        expect_json(o, "0.runs.2.node", "gpu0");
        expect_json(o, "0.runs.2.cause", "eviction");
        expect_json(o, "0.runs.3.busy", "true");
        expect_json(o, "0.runs.4.copies.1", "gpu0");
        expect_json(o, "0.runs.5.node", "null");
        expect_json(o, "0.runs.5.state", "empty");
        json_object_put(o);
        assert_int_equal(fake.asked_counters, 0);
        expect_part("map 0x1000", 1, "", "nothing is reserved at 0x1000");
}

/* 512 granules of 4 KiB: every fourth on gpu0, and a whole cell of them at the end. */
static void test_map_mixed(void **state) {
        static const struct svmd_reservation_row big = { .address = AT,
                                                         .length = 2 * MIB,
                                                         .name = "big",
                                                         .partition = "train",
                                                         .kind = SVMD_SHARED,
                                                         .granule = 4096 };
        static struct svmd_residency_row rows[512];

        for (unsigned i = 0; i < 512; i++)
                rows[i] = (struct svmd_residency_row){ .address = AT + i * 4096ull,
                                                       .length = 4096,
                                                       .state = "out",
                                                       .cause = "fault",
                                                       .node = i % 4 == 0 || i >= 508 ? 1
                                                               : i < 64               ? SVMD_NODE_NONE
                                                                                      : 0 };
        fake.reservations = &big;
        fake.reservations_count = 1;
        fake.residency = rows;
        fake.residency_count = 512;
        expect_part("map big --width 40", 0,
                    "0x280000000000  bbbbbbbbbbbbbbbb\n"
                    "0x280000040000  aaaaaaaaaaaaaaaa\n",
                    "");
        expect_part("map big --width 40", 0, "0x2800001c0000  aaaaaaaaaaaaaaaB\n                a cell is 16 KiB\n",
                    "");
        expect_part("map big --width 40", 0, "\nA small letter: that node holds most of the cell, not all of it.\n",
                    "");
        expect_part("map big --width 600", 0, "0x280000000000  B···B···", "");
        assert_null(strstr(run_out, "small letter"));
}

static void test_map_counters(void **state) {
        static const struct svmd_residency_row granules[] = {
                RUN(0, 2, HOST, .cause = "fault"),
                RUN(2, 2, HOST, .cause = "fault"),
                RUN(4, 2, HOST, .cause = "fault", .pins = 2, .outs = 3, .ins = 3),
                RUN(6, 2, GPU0, .cause = "eviction", .outs = 4, .ins = 3),
                RUN(8, 56, NOWHERE, .cause = "fault"),
        };
        struct json_object *o;

        fake.residency = granules;
        fake.residency_count = COUNT(granules);
        expect_part("map index --counters", 0,
                    "\n\n"
                    "ADDRESS        GRANULES STATE    NODE  CAUSE    PINS OUTS INS\n"
                    "0x280000000000        2 resident host0 fault       0    0   0\n"
                    "0x280000400000        1 resident host0 fault       2    3   3\n"
                    "0x280000600000        1 out      gpu0  eviction    0    4   3\n"
                    "0x280000800000        1 empty    -     fault       0    0   0\n",
                    "");
        assert_int_equal(fake.asked_counters, 1);
        o = run_json("map index --counters --json", 0);
        expect_json(o, "0.runs.3.outs", "4");
        expect_json(o, "0.runs.3.ins", "3");
        json_object_put(o);
}

static const char *const sentences[] = { "This is reservation index of session 12.", "It is on gpu0 to make room." };
static const struct svmd_residency_row granule =
        RUN(24, 2, GPU0, .cause = "eviction", .copies = 4, .outs = 2, .ins = 1);
static const struct svmd_advice advice = { .size = sizeof(advice),
                                           .preferred = 1,
                                           .accessed_by = 5,
                                           .read_mostly = 1,
                                           .pinned = 1,
                                           .granularity = 65536,
                                           .session = 12 };
static const struct svmd_past_row past = { .address = AT,
                                           .length = 4 * MIB,
                                           .began_ms = 900,
                                           .ms = 800,
                                           .times = 2,
                                           .cause = "eviction",
                                           .deed = "moved",
                                           .why = "room",
                                           .by = SVMD_NODE_NONE,
                                           .from = 0,
                                           .to = 1,
                                           .reservation = 9 };
static const struct svmd_past_row late = {
        .cause = "fault", .deed = "delayed", .why = "none", .by = SVMD_NODE_CPU, .from = 1, .to = 0
};
static const struct svmd_touch_row touch = { .node = SVMD_NODE_CPU,
                                             .write = 1,
                                             .outcome = "moves",
                                             .why = "none",
                                             .to = 0,
                                             .state = "resident",
                                             .on = 0,
                                             .copies = 4 };
static const struct svmd_hint_row hint = { .session = 12,
                                           .pid = 345,
                                           .client = "train",
                                           .rank = "owner",
                                           .said_ns = 5,
                                           .address = AT,
                                           .length = 4096,
                                           .advice = &advice,
                                           .wins = SVMD_ADVISE_PREFERRED,
                                           .overtaken = SVMD_ADVISE_PINNED };
static const struct svmd_hint_row *const heard[] = { &hint };
static const struct svmd_past_row *const history[] = { &past }, *const not_done[] = { &late };
static const struct svmd_touch_row *const touches[] = { &touch };
static const struct svmd_explanation explanation = { .size = sizeof(explanation),
                                                     .reservation = &machine_reservations[0],
                                                     .granule = &granule,
                                                     .advice = &advice,
                                                     .sentences = sentences,
                                                     .sentences_count = 2,
                                                     .moves = 3,
                                                     .moved_ms = 62000,
                                                     .touched_ms = 250,
                                                     .history = history,
                                                     .not_done = not_done,
                                                     .touches = touches,
                                                     .history_count = 1,
                                                     .not_done_count = 1,
                                                     .touches_count = 1,
                                                     .hints = heard,
                                                     .hints_count = 1 };

static void test_explain(void **state) {
        struct json_object *o;

        fake.explanation = &explanation;
        expect("explain 0x280001900000 --partition train", 0,
               "This is reservation index of session 12.\n"
               "It is on gpu0 to make room.\n"
               "\n"
               "  reservation  index, 64 MiB from 0x280000000000\n"
               "  partition    train\n"
               "  owner        root:root, session 12\n"
               "  kind         shared, in granules of 2 MiB\n"
               "  granule      2 MiB at 0x280001800000\n"
               "  state        out\n"
               "  node         gpu0\n"
               "  copies       gpu1\n"
               "  cause        eviction\n"
               "  pins         0\n"
               "  moves        3, out of host memory 2, back 1; the last 1 min 2 s ago\n"
               "  touched      250 ms ago\n"
               "  advice       preferred on gpu0; accessed by host0, gpu1; read mostly; to be left where it is; "
               "64 KiB move together; last said by session 12\n",
               "");
        machine_expect_asked("explain", AT + 25 * MIB, 0);
        o = run_json("explain index --json", 0);
        machine_expect_asked("explain", AT, 0);
        expect_json(o, "sentences.1", "It is on gpu0 to make room.");
        expect_json(o, "reservation.granule", "2097152");
        expect_json(o, "granule.outs", "2");
        expect_json(o, "advice.preferred", "gpu0");
        expect_json(o, "advice.accessed_by.1", "gpu1");
        expect_json(o, "moves", "3");
        expect_json(o, "hints.0.pid", "345");
        expect_json(o, "hints.0.rank", "owner");
        expect_json(o, "hints.0.wins.0", "preferred");
        expect_json(o, "hints.0.overtaken.0", "pinned");
        expect_json(o, "history.0.what", "moved");
        expect_json(o, "history.0.why", "room");
        expect_json(o, "history.0.by", "null");
        expect_json(o, "history.0.to", "gpu0");
        expect_json(o, "history.0.for_reservation", "9");
        expect_json(o, "not_done.0.by", "cpu");
        expect_json(o, "not_done.0.why", "null");
        expect_json(o, "touches.0.node", "cpu");
        expect_json(o, "touches.0.access", "write");
        expect_json(o, "touches.0.outcome", "moves");
        expect_json(o, "touches.0.on", "host0");
        expect_json(o, "touches.0.copies.0", "gpu1");
        expect_json(o, "moved_ms_ago", "62000");
        json_object_put(o);
}

static void test_explain_little(void **state) {
        static const struct svmd_advice silence = { .preferred = SVMD_NODE_NONE };
        static const struct svmd_residency_row empty = RUN(56, 2, NOWHERE, .cause = "fault", .busy = 1);
        struct svmd_explanation e = { .reservation = &machine_reservations[0], .granule = &empty, .advice = &silence };
        struct json_object *o;

        fake.explanation = &e;
        expect("explain index", 0,
               "  reservation  index, 64 MiB from 0x280000000000\n"
               "  partition    train\n"
               "  owner        root:root, session 12\n"
               "  kind         shared, in granules of 2 MiB\n"
               "  granule      2 MiB at 0x280003800000\n"
               "  state        empty, on its way\n"
               "  node         none: it is zero\n"
               "  cause        fault\n"
               "  pins         0\n"
               "  moves        0, out of host memory 0, back 0; the last never\n"
               "  touched      never\n"
               "  advice       none\n",
               "");
        machine_again();
        e = (struct svmd_explanation){ .reservation = &machine_reservations[2] };
        expect_part("explain 0x280008000000 --partition train", 0,
                    "  reservation  without a name, 1 MiB from 0x280008000000\n", "");
        expect_part("explain 0x280008000000 --partition train", 0, "  kind         revoked, in granules of 4 KiB\n",
                    "");
        e = (struct svmd_explanation){ .reservation = &machine_reservations[1] };
        expect_part("explain 0x280004000000 --partition train", 0, "  kind         explicit, shows 1 MiB of memory",
                    "");
        e = (struct svmd_explanation){ .moves = 0 };
        expect("explain 0x280100000000", 0, "Nothing is reserved at 0x280100000000.\n", "");
        o = run_json("explain 0x280100000000 --json", 0);
        expect_json(o, "reservation", "null");
        expect_json(o, "granule", "null");
        expect_json(o, "advice", "null");
        expect_json(o, "moved_ms_ago", "null");
        json_object_put(o);
}

/* Who may not administer asks about the own partition; changes are refused before anything is asked. */
static void test_without_rights(void **state) {
        fake.admin = 0;
        fake.admin_code = SVMD_E_SYSTEM;
        fake.explanation = &explanation;
        fake.reservations_count = 3;
        expect_part("explain index", 0, "This is reservation index", "");
        assert_string_equal(fake.asked_partition, "");
        expect_part("explain 0x270000000000", 0, "This is reservation index", "");
        expect("map index", 0, map_index, "");
        assert_int_equal(run("migrate index gpu1"), 4);
        assert_int_equal(run("node drain gpu0"), 4);
        assert_int_equal(fake.changes, 0);
}

/* Two parts: the administrator's word is about the first one alone. */
static void test_advice(void **state) {
        static const struct svmd_advice first = { .preferred = 1, .read_mostly = 1 };
        static const struct svmd_advice second = { .preferred = SVMD_NODE_NONE, .read_mostly = 1 };
        static const struct svmd_advice by_owner = { .what = SVMD_ADVISE_READ_MOSTLY | SVMD_ADVISE_PINNED,
                                                     .preferred = SVMD_NODE_NONE,
                                                     .read_mostly = 1,
                                                     .pinned = 1 };
        static const struct svmd_advice by_admin = { .what = SVMD_ADVISE_PREFERRED, .preferred = 1 };
        static const struct svmd_hint_row hints[] = {
                { .session = 12,
                  .pid = 4711,
                  .uid = 0,
                  .client = "train",
                  .rank = "owner",
                  .said_ns = 1700000000000000000,
                  .address = AT,
                  .length = 64 * MIB,
                  .advice = &by_owner,
                  .wins = SVMD_ADVISE_READ_MOSTLY,
                  .moot = SVMD_ADVISE_PINNED },
                { .session = 20,
                  .pid = 4712,
                  .client = "svmd-ctl",
                  .rank = "administrator",
                  .address = AT,
                  .length = 2 * MIB,
                  .advice = &by_admin,
                  .wins = SVMD_ADVISE_PREFERRED },
        };
        static const struct svmd_verdict_row verdicts[] = {
                { 1, SVMD_ADVISE_READ_MOSTLY, "refused", "it cannot fault" },
                { 0, SVMD_ADVISE_READ_MOSTLY, "applied", "" },
        };
        static const struct svmd_advice_report reports[] = {
                { sizeof(reports[0]), AT, 2 * MIB, &first, 0, hints, 2, verdicts, 2 },
                { sizeof(reports[0]), AT + 2 * MIB, 62 * MIB, &second, 0, hints, 1, verdicts, 2 },
        };
        struct json_object *o;

        fake.reports = reports;
        fake.reports_count = 2;
        expect("advice index --partition train", 0,
               "  preferred    mixed\n"
               "  read-mostly  yes\n"
               "SESSION  PID USER CLIENT   AS            SAID                ADDRESS          SIZE SAYS\n"
               "     12 4711 root train    owner         2023-11-14 22:13:20 0x280000000000 64 MiB read-mostly=yes "
               "pinned-yes\n"
               "     20 4712 root svmd-ctl administrator -                   0x280000000000  2 MiB preferred=gpu0\n"
               "NODE  ATTRIBUTE   BECAME  WHY\n"
               "gpu0  read-mostly refused it cannot fault\n"
               "host0 read-mostly applied -\n",
               "");
        machine_expect_asked("advice", AT, 64 * MIB);
        o = run_json("advice index --json", 0);
        expect_json(o, "mixed.0", "preferred");
        expect_json(o, "counts.read_mostly", "true");
        expect_json(o, "counts.pinned", "false");
        expect_json(o, "hints.0.pid", "4711");
        expect_json(o, "hints.0.wins.0", "read_mostly");
        expect_json(o, "hints.0.moot.0", "pinned");
        expect_json(o, "hints.1.rank", "administrator");
        expect_json(o, "hints.1.said_ns", "null");
        expect_json(o, "hints.1.says.preferred", "gpu0");
        expect_json(o, "nodes.0.attribute", "read_mostly");
        expect_json(o, "nodes.0.why", "it cannot fault");
        json_object_put(o);
        fake.reports_count = 0;
        expect_part("advice index", 0, "Nobody has advised anything about it.\n", "");
}

static void test_advise(void **state) {
        static const struct svmd_verdict_row verdicts[] = {
                { 0, SVMD_ADVISE_PREFERRED, "applied", "" }, { 1, SVMD_ADVISE_PREFERRED, "refused", "it cannot fault" }
        };
        const struct svmd_advice *a = &fake.advised;
        struct json_object *o;

        expect("advise index preferred=gpu0 fallback=gpu1,host0 accessed-by=host0 pinned=no group=7 atomics=global "
               "granularity=64K read-mostly=yes coarse=default",
               0, "", "");
        machine_expect_asked("advise", AT, 64 * MIB);
        assert_int_equal(a->what, 511);
        assert_int_equal(a->against, SVMD_ADVISE_PINNED);
        assert_int_equal(a->preferred, 1);
        assert_true(a->fallbacks == 2 && a->fallback[0] == 2 && a->fallback[1] == 0);
        assert_true(a->accessed_by == 1 && a->read_mostly && !a->pinned && !a->coarse);
        assert_true(a->group == 7 && a->atomics == SVMD_ATOMICS_GLOBAL && a->granularity == 65536);
        fake.verdicts = verdicts;
        fake.verdicts_count = 2;
        fake.overruled = SVMD_ADVISE_PREFERRED | SVMD_ADVISE_PINNED;
        expect("advise index preferred=gpu0", 0,
               "NODE  ATTRIBUTE BECAME  WHY\n"
               "host0 preferred applied -\n"
               "gpu0  preferred refused it cannot fault\n"
               "Somebody else's word counts in some of it, of preferred, pinned: 'svmd-ctl advice' says whose\n",
               "");
        o = run_json("advise index preferred=gpu0 --json", 0);
        expect_json(o, "nodes.1.node", "gpu0");
        expect_json(o, "nodes.1.became", "refused");
        expect_json(o, "nodes.1.why", "it cannot fault");
        expect_json(o, "overruled.1", "pinned");
        json_object_put(o);
        expect("advise index likes=gpu0", 2, "",
               "svmd-ctl: 'likes=gpu0': expected ATTRIBUTE=VALUE, where ATTRIBUTE is one of preferred, fallback, "
               "accessed-by, read-mostly, pinned, granularity, atomics, coarse, group\n");
        expect("advise index pinned=maybe", 2, "", "svmd-ctl: pinned=maybe: expected yes, no or default\n");
        expect("advise index group=0", 2, "", "svmd-ctl: group=0: expected a number from 1 on\n");
        expect("advise index atomics=all", 2, "", "svmd-ctl: atomics=all: expected device, global or cpu\n");
        expect("advise index fallback=gpu0,gpu0,gpu0,gpu0", 2, "", "svmd-ctl: there can be three fallbacks\n");
}

static void test_reservations(void **state) {
        struct json_object *o;

        expect("reservation list --partition train", 0,
               "ADDRESS          SIZE MAPPED KIND     GRANULE NAME  MODE OWNER SESSION OPEN KEPT\n"
               "0x280000000000 64 MiB 24 MiB shared     2 MiB index 0640 root       12    2 -\n"
               "0x280004000000  1 MiB  1 MiB explicit       - shm   0000 root       12    0 -\n"
               "0x280008000000  1 MiB      0 revoked    4 KiB -     -    root       14    0 -\n",
               "");
        o = run_json("reservation list --json --partition train", 0);
        expect_json(o, "0.kind", "shared");
        expect_json(o, "0.granule", "2097152");
        expect_json(o, "1.kind", "explicit");
        expect_json(o, "2.kind", "shared");
        expect_json(o, "2.revoked", "true");
        json_object_put(o);
        /* Every byte of a managed one is there. */
        expect_part("map --partition train --width 60", 0,
                    "reserved  ███████████████████████████████████████ █ · █ ·\n", "");
        expect_part("map --partition train --width 60", 0, "1 0x280000000000 64 MiB managed      12 index\n", "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_map, machine_setup),
                cmocka_unit_test_setup(test_map_mixed, machine_setup),
                cmocka_unit_test_setup(test_map_counters, machine_setup),
                cmocka_unit_test_setup(test_explain, machine_setup),
                cmocka_unit_test_setup(test_explain_little, machine_setup),
                cmocka_unit_test_setup(test_without_rights, machine_setup),
                cmocka_unit_test_setup(test_reservations, machine_setup),
                cmocka_unit_test_setup(test_advice, machine_setup),
                cmocka_unit_test_setup(test_advise, machine_setup),
        };

        if (!setlocale(LC_ALL, "C.UTF-8"))
                return 1;
        setenv("TZ", "UTC", 1);
        unsetenv("COLUMNS");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
