/* Moves in the monitor. */
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
#include "proto/range.h"

static const struct svmd_event events[] = {
        { .type = SVMD_EVENT_MONITOR,
          .time_ns = 500000000,
          .what = "session-new",
          .partition = "train",
          .text = "loader" },
        { .type = SVMD_EVENT_MONITOR,
          .time_ns = 1500000000,
          .what = "move",
          .partition = "train",
          .session = 12,
          .pid = 77,
          .text = "a sentence",
          .cause = "eviction",
          .address = (void *)(AT + 2 * MIB),
          .length = 4 * MIB,
          .from = 0,
          .to = 1 },
        { .type = SVMD_EVENT_MONITOR,
          .time_ns = 2500000000,
          .what = "move",
          .partition = "twin",
          .text = "",
          .cause = "fault",
          .address = (void *)AT,
          .length = 4096,
          .from = SVMD_NODE_NONE,
          .to = 0 },
        { .type = SVMD_EVENT_MONITOR,
          .time_ns = 3500000000,
          .what = "move",
          .partition = "train",
          .text = "",
          .cause = "request",
          .address = (void *)AT,
          .length = 4096,
          .from = 1,
          .to = SVMD_NODE_NONE },
        { .type = SVMD_EVENT_DROPPED, .time_ns = 4500000000, .generation = 7, .what = "", .partition = "", .text = "" },
};
#define NEW     "00:00:00.500  session-new       partition train  loader\n"
#define EVICTED "00:00:01.500  move              partition train  4 MiB at 0x280000200000  host0 -> gpu0  eviction\n"
#define FAULTED "00:00:02.500  move              partition twin  4 KiB at 0x280000000000  zero -> host0  fault\n"
#define ZEROED  "00:00:03.500  move              partition train  4 KiB at 0x280000000000  gpu0 -> zero  request\n"
#define LOST    "00:00:04.500  dropped           7 events came too fast and are lost\n"

static void expect_events(const char *line, const char *want) {
        fake.events_sent = 0;
        expect(line, 0, want, "");
}

static void test_monitor(void **state) {
        struct json_object *o;

        fake.events = events;
        fake.events_count = COUNT(events);
        expect_events("monitor --count 5", NEW EVICTED FAULTED ZEROED LOST);
        expect_events("monitor --count 3 --cause fault,eviction", EVICTED FAULTED LOST);
        expect_events("monitor --count 2 --partition twin", FAULTED LOST);
        expect_events("monitor --count 4 --partition train", NEW EVICTED ZEROED LOST);
        expect_events("monitor --count 2 --partition train --cause request", ZEROED LOST);
        fake.events_sent = 0;
        o = run_json("monitor --count 1 --json --cause eviction", 0);
        expect_json(o, "event", "move");
        expect_json(o, "address", "0x280000200000");
        expect_json(o, "length", "4194304");
        expect_json(o, "from", "host0");
        expect_json(o, "to", "gpu0");
        expect_json(o, "cause", "eviction");
        json_object_put(o);
        fake.events_sent = 0;
        o = run_json("monitor --count 1 --json", 0);
        expect_json(o, "cause", "null");
        expect_json(o, "address", "null");
        json_object_put(o);
        fake.events_sent = 0;
        o = run_json("monitor --count 1 --json --cause fault", 0);
        expect_json(o, "from", "null");
        json_object_put(o);
        expect("monitor --cause falut", 2, "", "svmd-ctl: --cause 'falut': did you mean 'fault'?\n");
        expect_part("monitor --cause fault,,drain", 2, "", "--cause '': expected some of fault, device, prefetch");
        expect("monitor --partition trian --timeout 0.01", 0, LOST, "svmd-ctl: there is no partition 'trian' yet\n");
}

/* Every reason that svmd has can be asked for. */
static void test_causes(void **state) {
        static const char *const causes[] = {
#define NAME(symbol, number, text) text,
                RANGE_CAUSES(NAME)
#undef NAME
        };

        for (size_t i = 0; i < COUNT(causes); i++) {
                char line[64];

                machine_setup(NULL);
                snprintf(line, sizeof(line), "monitor --timeout 0 --cause %s", causes[i]);
                expect(line, 0, "", "");
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_monitor, machine_setup),
                cmocka_unit_test_setup(test_causes, machine_setup),
        };

        if (!setlocale(LC_ALL, "C.UTF-8"))
                return 1;
        setenv("TZ", "UTC", 1);
        unsetenv("COLUMNS");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
