/* What svmd takes from svmd-probe-nvml: reports as they should be and broken at each byte, and probes that crash, hang
 * up, flood and cannot be started. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "account/nvml.h"

static struct nvml_report r;
static char why[160];

static void test_read(void **state) {
        static const char good[] =
                "probe 1\ndevice 0 1000 400\nprocess 0 17 300\nprocess 0 18 -\nerror 1 Not-Found\nend\n";
        char broken[sizeof(good)];

        assert_int_equal(nvml_read(&r, good, sizeof(good) - 1), 0);
        assert_true(r.devices[0].there && r.devices[0].total == 1000 && r.devices[0].used == 400);
        assert_int_equal(r.processes_count, 2);
        assert_true(r.processes[0].pid == 17 && r.processes[0].bytes == 300 && r.processes[1].bytes == NVML_UNKNOWN);
        assert_true(!r.devices[1].there && !r.absent);
        assert_string_equal(r.devices[1].error, "Not-Found");
        for (size_t n = 0; n < sizeof(good) - 1; n++)
                assert_int_equal(nvml_read(&r, good, n), -EBADMSG);
        for (size_t i = 0; i < sizeof(good) - 1; i++) { /* whatever it is, what is taken is whole */
                memcpy(broken, good, sizeof(good));
                broken[i] = '\x80';
                (void)nvml_read(&r, broken, sizeof(good) - 1);
                assert_true(r.processes_count <= 2);
        }
        assert_int_equal(nvml_read(&r, "probe 1\nabsent\nend\n", 19), 0);
        assert_true(r.absent);
        assert_int_equal(nvml_read(&r, "probe 1\ndevice 16 1 1\nend\n", 26), -EBADMSG);
        assert_int_equal(nvml_read(&r, "end\n", 4), -EBADMSG);
}

static int ask(const char *body) {
        static const char *const devices[] = { "0", "0000:3b:00.0" };
        char path[64];
        FILE *f;
        int k;

        snprintf(path, sizeof(path), "/tmp/svmd-test-nvml-%d", (int)getpid());
        f = fopen(path, "we");
        fprintf(f, "#!/bin/sh\n%s\n", body);
        fclose(f);
        chmod(path, 0755);
        k = nvml_ask(&r, path, devices, 2, why, sizeof(why));
        unlink(path);
        return k;
}

static void test_ask(void **state) {
        assert_int_equal(ask("echo probe 1; test \"$2\" = 0000:3b:00.0 && echo device 1 20 10; echo end"), 0);
        assert_true(r.devices[1].there && !r.devices[0].there);
        assert_int_equal(ask("kill -ABRT $$"), -EBADMSG);
        assert_non_null(strstr(why, "signal 6"));
        assert_int_equal(ask("exit 3"), -EBADMSG);
        assert_non_null(strstr(why, "exit status 3"));
        assert_int_equal(ask("exec yes"), -EFBIG);
        assert_int_equal(ask("echo I am no probe"), -EBADMSG);
        assert_non_null(strstr(why, "understand"));
        assert_int_equal(nvml_ask(&r, "/nonexistent", NULL, 0, why, sizeof(why)), -ENOENT);
        assert_non_null(strstr(why, "cannot be started"));
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_read), cmocka_unit_test(test_ask) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
