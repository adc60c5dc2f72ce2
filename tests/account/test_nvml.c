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

/* A line that says what no driver has counted costs the report, not what is reckoned with it. */
static void test_hostile(void **state) {
        static const char *const lines[] = {
                "device 0 9007199254740993 0",
                "device 0 1 9007199254740993",
                "device 0 -1 0",
                "device 0 1 -1",
                "device 0 +1 0",
                "device 0 18446744073709551616 0",
                "device 0 1",
                "device 0 1 1 1",
                "device -0 1 1",
                "device 4294967296 1 1",
                "device x 1 1",
                "process 0 17 9007199254740993",
                "process 0 17 -5",
                "process 0 17 5x",
                "process 0 17 0x5",
                "process 0 17",
                "process 0 -17 5",
                "process 0 2147483648 5",
                "process 16 17 5",
                "process 0 17 5 6",
                "error 16 Gone",
                "error 0",
                "error 0 Two Words",
                "absent 1",
                "end 1",
                "probe 1",
                "",
        };
        char text[128];

        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                snprintf(text, sizeof(text), "probe 1\n%s\nend\n", lines[i]);
                if (nvml_read(&r, text, strlen(text)) != -EBADMSG)
                        fail_msg("it was taken: %s", lines[i]);
        }
        snprintf(text, sizeof(text),
                 "probe 1\ndevice 15 9007199254740992 0\nprocess 15 2147483647 9007199254740992\nend\n");
        assert_int_equal(nvml_read(&r, text, strlen(text)), 0);
        assert_true(r.devices[15].total == NVML_BYTES_MAX && r.processes[0].bytes == NVML_BYTES_MAX);
        assert_true(NVML_BYTES_MAX <= UINT64_MAX / NVML_PROCESSES_MAX);
}

/* As many processes as there is room for, and one more. */
static void test_many(void **state) {
        static char text[NVML_TEXT_MAX];
        size_t n = 0;

        for (unsigned k = NVML_PROCESSES_MAX - 1; k <= NVML_PROCESSES_MAX; k++) {
                n = (size_t)snprintf(text, sizeof(text), "probe 1\n");
                for (unsigned i = 0; i < k; i++)
                        n += (size_t)snprintf(text + n, sizeof(text) - n, "process 0 %u 1\n", i);
                n += (size_t)snprintf(text + n, sizeof(text) - n, "end\n");
                assert_int_equal(nvml_read(&r, text, n), k < NVML_PROCESSES_MAX ? 0 : -EBADMSG);
        }
        assert_int_equal(r.processes_count, NVML_PROCESSES_MAX - 1);
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
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_read), cmocka_unit_test(test_hostile),
                                            cmocka_unit_test(test_many), cmocka_unit_test(test_ask) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
