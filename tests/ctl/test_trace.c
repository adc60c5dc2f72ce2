/* Recording. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "expect.h"
#include "fake.h"

static void test_time(void **state) {
        fake_reset();
        fake.trace = (struct svmd_trace){ .records = 12, .bytes = 2048 };
        expect("trace record ctl.trace --seconds 0 --partition train --requests", 0, "ctl.trace: 12 records, 2 KiB\n",
               "");
        assert_string_equal(fake.partition, "train");
        assert_int_equal(fake.trace_flags, SVMD_TRACE_REQUESTS);
        assert_true(fake.trace_stopped);
        fake.trace.dropped = 3;
        expect_part("trace record ctl.trace --seconds 0", 0, "12 records", "3 records came faster");
        assert_int_equal(fake.trace_flags, 0);
        assert_string_equal(fake.partition, "");
}

static void test_json(void **state) {
        struct json_object *o;

        fake_reset();
        fake.trace = (struct svmd_trace){ .records = 12, .bytes = 2048, .dropped = 1 };
        o = run_json("trace record ctl.trace --seconds 0 --json", 0);
        expect_json(o, "file", "ctl.trace");
        expect_json(o, "records", "12");
        expect_json(o, "bytes", "2048");
        expect_json(o, "dropped", "1");
        expect_json(o, "cut", "false");
        json_object_put(o);
}

/* As long as the program runs, and its status is the verb's. */
static void test_program(void **state) {
        fake_reset();
        expect_part("trace record ctl.trace -- sh -c 'exit 7'", 7, "0 records", "");
        assert_true(fake.trace_stopped);
        expect_part("trace record ctl.trace -- sh -c 'kill -9 $$'", 137, "0 records", "");
        expect_part("trace record ctl.trace -- no-such-program", 1, "",
                    "no-such-program could not be started: No such");
}

static void test_failures(void **state) {
        fake_reset();
        expect_part("trace record /none/such --seconds 0", 1, "", "/none/such cannot be written: No such file");
        expect_part("trace record", 2, "", "");
        fake.trace = (struct svmd_trace){ .ended = 1, .error = ENOSPC };
        expect_part("trace record ctl.trace", 1, "0 records", "No space left on device");
        fake.trace = (struct svmd_trace){ 0 };
        fake.trace_code = SVMD_E_GONE;
        expect_part("trace record ctl.trace", 1, "0 records",
                    "svmd ended while it recorded: ctl.trace is good up to then");
        assert_int_equal(fake.trace_closed, 1);
        fake.trace_code = 0;
        fake.code = SVMD_E_NO_SUCH;
        fake.error = "there is no partition x";
        expect_part("trace record ctl.trace --partition x", 1, "", "there is no partition x");
}

static int leave(void **state) {
        unlink("ctl.trace");
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_time),
                cmocka_unit_test(test_json),
                cmocka_unit_test(test_program),
                cmocka_unit_test(test_failures),
        };

        return cmocka_run_group_tests(tests, NULL, leave);
}
