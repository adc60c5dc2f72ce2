/*
 * What a configuration means, from all of its sources; and a table of mistakes with the sentence that each of them
 * gets.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "main/config.h"
#include "main/options.h"

static char dir[64], file[96], drop_ins[112], out_text[64 << 10], err_text[8 << 10];

static int make_dir(void **state) {
        snprintf(dir, sizeof(dir), "/tmp/svmd-config-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        snprintf(file, sizeof(file), "%s/svmd.conf", dir);
        snprintf(drop_ins, sizeof(drop_ins), "%s.d", file);
        return mkdir(drop_ins, 0700);
}

static int remove_dir(void **state) {
        char command[128];

        snprintf(command, sizeof(command), "rm -r %s", dir);
        return system(command);
}

static void write_text(const char *path, const char *text) {
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static void write_drop_in(const char *name, const char *text) {
        char path[256];

        snprintf(path, sizeof(path), "%s/%s", drop_ins, name);
        write_text(path, text);
}

/* With the file of this test named, and these arguments up to NULL. */
static int load(struct config *c, const char *const *arguments) {
        char *argv[32] = { (char *)"svmd", (char *)"--config", file };
        int argc = 3, r;
        FILE *out = fmemopen(out_text, sizeof(out_text), "w"), *err = fmemopen(err_text, sizeof(err_text), "w");

        for (; arguments && *arguments; arguments++)
                argv[argc++] = (char *)*arguments;
        out_text[0] = err_text[0] = '\0';
        r = config_load(c, argc, argv, out, err);
        fclose(out);
        fclose(err);
        return r;
}

#define LOAD(c, ...) load(c, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

#define assert_loads(c, ...)                                                                                           \
        do {                                                                                                           \
                int r_ = LOAD(c, __VA_ARGS__);                                                                         \
                if (r_)                                                                                                \
                        fail_msg("%d %s", r_, err_text);                                                               \
                assert_string_equal(err_text, "");                                                                     \
        } while (0)

static void test_defaults(void **state) {
        char *argv[] = { (char *)"svmd", NULL };
        struct config c;

        write_text(file, "");
        assert_loads(&c);
        assert_string_equal(c.runtime_dir, "/run/svmd");
        assert_string_equal(c.state_dir, "/var/lib/svmd");
        assert_string_equal(c.sys_root, "/sys");
        assert_string_equal(c.proc_root, "/proc");
        assert_string_equal(c.dev_root, "/dev");
        assert_string_equal(c.admin_group, "svmd-admin");
        assert_null(c.machine_dir);
        assert_null(c.keeper_program);
        assert_true(c.machine_faults);
        assert_true(c.default_partition_size == 64ull << 30);
        assert_true(c.journal_size == 1ull << 30);
        assert_int_equal(c.host_capacity, 0);
        assert_int_equal(c.max_sessions, 15000);
        assert_int_equal(c.max_sessions_per_uid, 4096);
        assert_int_equal(c.max_objects_per_session, 1048576);
        assert_int_equal(c.log_level, LOG_INFO);
        assert_false(c.check_only);
        assert_int_equal(c.soft.count, 0);
        assert_int_equal(c.default_limits_count, 0);
        config_fini(&c);
        config_fini(&c);

        assert_int_equal(config_load(&c, 1, argv, stdout, stderr), 0);
        assert_string_equal(c.config_file, "/etc/svmd/svmd.conf");
        config_fini(&c);
}

static void test_file(void **state) {
        struct config c;

        write_text(file, "# a comment\n"
                         "; another\n"
                         "\n"
                         "[svmd]\n"
                         "  runtime-dir = /tmp/run dir   ; behind a value\n"
                         "\tstate-dir=/tmp/state\n"
                         "machine-faults = off\n"
                         "max-sessions: 12\n"
                         "journal-size = 16M\n"
                         "default-limit = gpu0=1G\n"
                         "default-limit = *=512M\n"
                         "log-level = debug\n"
                         "[node gpu0]\n"
                         "size = 2G\n"
                         "faults = off\n"
                         "[node gpu-1.b_2]\r\n"
                         "size = 1T\r\n");
        assert_loads(&c);
        assert_string_equal(c.runtime_dir, "/tmp/run dir");
        assert_string_equal(c.state_dir, "/tmp/state");
        assert_false(c.machine_faults);
        assert_int_equal(c.max_sessions, 12);
        assert_true(c.journal_size == 16 << 20);
        assert_int_equal(c.log_level, LOG_DEBUG);
        assert_int_equal(c.default_limits_count, 2);
        assert_string_equal(c.default_limits[0].node, "gpu0");
        assert_true(c.default_limits[0].max == 1ull << 30);
        assert_string_equal(c.default_limits[1].node, "*");
        assert_int_equal(c.soft.count, 2);
        assert_string_equal(c.soft.nodes[0].name, "gpu0");
        assert_int_equal(c.soft.nodes[0].kind, NODE_SOFT);
        assert_true(c.soft.nodes[0].capacity == 2ull << 30);
        assert_false(c.soft.nodes[0].faults);
        assert_string_equal(c.soft.nodes[1].name, "gpu-1.b_2");
        assert_true(c.soft.nodes[1].capacity == 1ull << 40);
        assert_true(c.soft.nodes[1].faults);
        assert_int_equal(c.soft.nodes[1].numa, -1);
        assert_true(c.soft.nodes[1].va_end > c.soft.nodes[1].va_start);
        config_fini(&c);
}

static void test_settings(void **state) {
        struct config c;

        write_text(file, "[svmd]\npolicy = latency\nlink-rate = host0:gpu0=1G\nlink-rate = *:*=10M\n"
                         "partition-rate = lab=5M\npartition-policy = lab=pinned\n");
        assert_loads(&c, "--link-rate", "gpu0:gpu1=0", "--policy", "throughput");
        assert_string_equal(c.profile.name, "throughput");
        assert_int_equal(c.settings_count, 5);
        assert_int_equal(c.settings[0].kind, SETTING_LINK_RATE);
        assert_string_equal(c.settings[0].name, "host0");
        assert_string_equal(c.settings[0].other, "gpu0");
        assert_true(c.settings[0].rate == 1ull << 30);
        assert_string_equal(c.settings[1].other, "*");
        assert_int_equal(c.settings[2].kind, SETTING_PARTITION_RATE);
        assert_string_equal(c.settings[2].name, "lab");
        assert_int_equal(c.settings[2].rate, 5 << 20);
        assert_int_equal(c.settings[3].kind, SETTING_PARTITION_POLICY);
        assert_string_equal(c.settings[3].profile->name, "pinned");
        assert_int_equal(c.settings[4].rate, 0);
        config_fini(&c);
        write_text(file, "");
        assert_loads(&c);
        assert_string_equal(c.profile.name, "balanced");
        config_fini(&c);
}

static void test_precedence(void **state) {
        struct config c;

        write_text(file, "[svmd]\nmax-sessions=1\nmax-sessions-per-uid=1\nmax-objects-per-session=1\nhost-capacity=4K\n"
                         "default-limit = gpu0=1G\n"
                         "[node gpu0]\nsize=1G\n[node gpu1]\nsize=1G\n");
        write_drop_in("20-b.conf", "[svmd]\nmax-sessions-per-uid=3\nmax-objects-per-session=3\n[node gpu1]\nsize=3G\n");
        write_drop_in("10-a.conf",
                      "[svmd]\nmax-sessions-per-uid=2\nhost-capacity=8K\n[node gpu1]\nsize=2G\nfaults=off\n");
        write_drop_in(".hidden.conf", "nonsense");
        write_drop_in("30-c.conf.bak", "nonsense");
        assert_loads(&c, "--max-objects-per-session=4", "--soft-node", "gpu0:faults=off,size=4G", "--soft-node",
                     "gpu2:size=4K", "--default-limit", "gpu0=2G", "--default-limit", "*=0");
        assert_int_equal(c.max_sessions, 1);
        assert_int_equal(c.max_sessions_per_uid, 3);
        assert_int_equal(c.max_objects_per_session, 4);
        assert_int_equal(c.host_capacity, 8192);
        assert_int_equal(c.soft.count, 3);
        assert_true(c.soft.nodes[0].capacity == 4ull << 30 && !c.soft.nodes[0].faults);
        assert_true(c.soft.nodes[1].capacity == 3ull << 30 && !c.soft.nodes[1].faults);
        assert_true(c.soft.nodes[2].capacity == 4096 && c.soft.nodes[2].faults);
        assert_int_equal(c.default_limits_count, 2);
        assert_true(c.default_limits[0].max == 2ull << 30);
        assert_string_equal(c.default_limits[1].node, "*");
        assert_int_equal(c.default_limits[1].max, 0);
        config_fini(&c);
}

/* {F}: the file of the test, which the sentence must name with the line. */
static const struct {
        const char *text;
        int line;
        const char *says;
} file_mistakes[] = {
        { "[node gpu0]\nsize = 2X\n", 2, "size: expected a number with K, M, G or T, found \"2X\"" },
        { "[node gpu0]\nsize = \n", 2, "size: expected a number with K, M, G or T, found \"\"" },
        { "[node gpu0]\nsize = -1G\n", 2, "size: expected a number with K, M, G or T, found \"-1G\"" },
        { "[node gpu0]\nsize = 1GB\n", 2, "size: expected a number" },
        { "[node gpu0]\nsize = 99999999999999999999\n", 2, "size: expected a number" },
        { "[node gpu0]\nsize = 17179869184G\n", 2, "size: expected a number" },
        { "[node gpu0]\nsize = 65T\n", 2, "size: expected at most 64T" },
        { "[node gpu0]\nsize = 6145\n", 2, "size: expected a multiple of 4K, found \"6145\"" },
        { "[node gpu0]\nsize = 0\n", 2, "size: expected at least 4K" },
        { "[node gpu0]\nfaults = yes\n", 2, "faults: expected on or off, found \"yes\"" },
        { "[node gpu0]\nsiez = 1G\n", 2, "did you mean \"size\"?" },
        { "[node gpu0]\nelephant = 1G\n", 2, "there is no key of a node \"elephant\"" },
        { "\n[node gpu0]\n", 2, "node gpu0 has no size" },
        { "[node gpu0]\nsize = 1G\nmanaged = on\n", 1, "managed is for devices as cuda:0" },
        { "[node gpu0]\nsize = 1G\ndevice = /dev/hmm_dmirror0\nmanaged = on\n", 1, "managed is for devices" },
        { "[node gpu0]\nsize=1G\n\n[node gpu0]\nsize=1G\n", 4, "node gpu0 is there already, from " },
        { "[node host0]\nsize=1G\n", 1, "names that start with \"host\"" },
        { "[node a b]\nsize=1G\n", 1, "expected a name of at most 31" },
        { "[node ]\nsize=1G\n", 1, "expected a name" },
        { "[node x1234567890123456789012345678901]\nsize=1G\n", 1, "expected a name" },
        { "[nodes gpu0]\n", 1, "expected [svmd] or [node NAME]" },
        { "[svmd\n", 1, "expected a ]" },
        { "max-sessions = 1\n", 1, "expected a section" },
        { "[svmd]\nmax-sesions = 1\n", 2, "there is no key \"max-sesions\"; did you mean \"max-sessions\"?" },
        { "[svmd]\nsoft-node = gpu0:size=1G\n", 2, "there is no key \"soft-node\"" },
        { "[svmd]\nconfig = x\n", 2, "there is no key \"config\"" },
        { "[svmd]\nmax-sessions = 1K\n", 2, "max-sessions: expected a number, found \"1K\"" },
        { "[svmd]\nmax-sessions = 0\n", 2, "max-sessions: expected at least 1" },
        { "[svmd]\nmax-sessions = 5000000000\n", 2, "max-sessions: expected at most" },
        { "[svmd]\n\n\ndefault-partition-size = 5G\n", 4, "expected a multiple of 4G" },
        { "[svmd]\nruntime-dir =\n", 2, "runtime-dir: expected a value" },
        { "[svmd]\nlog-level = loud\n", 2, "expected error, warning, notice, info or debug" },
        { "[svmd]\ndefault-limit = 5G\n", 2, "default-limit: expected NODE=SIZE" },
        { "[svmd]\ndefault-limit = gpu0=5Z\n", 2, "default-limit: expected a number" },
        { "[svmd]\ndefault-limit = x1234567890123456789012345678901=5G\n", 2, "expected NODE=SIZE" },
        { "[svmd]\npolicy = fast\n", 2, "policy: expected balanced, " },
        { "[svmd]\npolicy = /nowhere/mine.conf\n", 2, "policy: /nowhere/mine.conf: No such file" },
        { "[svmd]\npartition-policy = balanced\n", 2, "partition-policy: expected PARTITION=NAME|FILE" },
        { "[svmd]\npartition-policy = lab=fast\n", 2, "partition-policy: expected balanced, " },
        { "[svmd]\npartition-rate = =1G\n", 2, "partition-rate: expected PARTITION=SIZE" },
        { "[svmd]\npartition-rate = lab=fast\n", 2, "partition-rate: expected a number" },
        { "[svmd]\nlink-rate = gpu0=1G\n", 2, "link-rate: expected NODE:NODE=SIZE" },
        { "[svmd]\nlink-rate = gpu0:=1G\n", 2, "link-rate: expected NODE:NODE=SIZE" },
        { "[svmd]\nlink-rate = :gpu0=1G\n", 2, "link-rate: expected NODE:NODE=SIZE" },
        { "[svmd]\nlink-rate = gpu0:gpu1=1X\n", 2, "link-rate: expected a number" },
        { "[svmd]\njust words\n", 2, "expected [SECTION], KEY = VALUE, or a comment" },
        { "[svmd]\n  indented words\n", 2, "expected [SECTION], KEY = VALUE, or a comment" },
};

static void test_mistakes_in_file(void **state) {
        for (size_t i = 0; i < sizeof(file_mistakes) / sizeof(file_mistakes[0]); i++) {
                struct config c = { .max_sessions = 77 };
                char place[128];
                int r;

                write_text(file, file_mistakes[i].text);
                snprintf(place, sizeof(place), "%s:%d: ", file, file_mistakes[i].line);
                r = LOAD(&c, "--check-config");
                if (r != CONFIG_E_BAD || strncmp(err_text, place, strlen(place)) ||
                    !strstr(err_text, file_mistakes[i].says))
                        fail_msg("%s gets %d: %s", file_mistakes[i].text, r, err_text);
                assert_ptr_equal(strchr(err_text, '\n') + 1, err_text + strlen(err_text)); /* one line */
                assert_int_equal(c.max_sessions, 77);
        }
}

static void test_mistakes_on_the_line(void **state) {
        static const struct {
                const char *arguments[4];
                const char *says;
        } mistakes[] = {
                { { "--soft-node", "gpu0:size=2X" }, "svmd: --soft-node: size: expected a number with K, M, G or T" },
                { { "--soft-node", "gpu0" }, "expected NAME:size=SIZE" },
                { { "--soft-node", "gpu0:size" }, "expected size=SIZE or faults=on|off, found \"size\"" },
                { { "--soft-node", "gpu0:" }, "expected size=SIZE or faults" },
                { { "--soft-node", "gpu0:faults=on" }, "node gpu0 has no size" },
                { { "--soft-node=gpu0:size=1G", "--soft-node=gpu0:size=1G" }, "node gpu0 is there already" },
                { { "--soft-node", "gpu0:siz=1G" }, "did you mean \"size\"?" },
                { { "--max-sessions", "x" }, "svmd: --max-sessions: expected a number, found \"x\"" },
                { { "--default-limit", "x" }, "svmd: --default-limit: expected NODE=SIZE" },
                { { "--max-sesions", "x" }, "did you mean --max-sessions?" },
                { { "--wombat" }, "there is no option --wombat" },
                { { "--state-dir" }, "--state-dir needs a value" },
                { { "-x" }, "there is no option -x" },
                { { "word" }, "expected options only, found \"word\"" },
        };

        write_text(file, "");
        for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
                struct config c;
                int r = load(&c, mistakes[i].arguments);

                if (r != CONFIG_E_BAD || strncmp(err_text, "svmd: ", 6) || !strstr(err_text, mistakes[i].says))
                        fail_msg("%s gets %d: %s", mistakes[i].arguments[0], r, err_text);
        }
}

static void test_mistakes_in_drop_ins(void **state) {
        struct config c;

        write_text(file, "");
        write_drop_in("a.conf", "[svmd]\n\nlog-level=x\n");
        assert_int_equal(LOAD(&c), CONFIG_E_BAD);
        assert_non_null(strstr(err_text, "svmd.conf.d/a.conf:3: log-level"));
}

static void test_files_that_cannot_be_read(void **state) {
        static char text[600];
        struct config c;
        FILE *f;

        assert_int_equal(LOAD(&c), CONFIG_E_BAD); /* it was named and is not there */
        assert_non_null(strstr(err_text, "No such file"));
        assert_int_equal(LOAD(&c, "--config", dir), CONFIG_E_BAD);
        assert_non_null(strstr(err_text, dir));
        snprintf(text, sizeof(text), "[svmd]\nstate-dir = /%0500d\n", 7);
        write_text(file, text);
        assert_int_equal(LOAD(&c), CONFIG_E_BAD);
        assert_non_null(strstr(err_text, "svmd.conf:2: the line is longer"));
        f = fopen(file, "w");
        fwrite("[svmd]\nstate-dir = /a\0b\n", 1, 24, f);
        fclose(f);
        assert_int_equal(LOAD(&c), CONFIG_E_BAD);
        assert_non_null(strstr(err_text, "svmd.conf:2: expected text, found a zero byte"));
}

static void test_help_and_version(void **state) {
        struct config c;

        assert_int_equal(LOAD(&c, "--help"), CONFIG_E_DONE); /* although the file is not there */
        for (size_t i = 0; i < options_count; i++) {
                char name[64];

                snprintf(name, sizeof(name), "  --%s", options[i].name);
                assert_non_null(strstr(out_text, name));
                assert_non_null(strstr(out_text, options[i].text));
        }
        assert_non_null(strstr(out_text, "Default: /run/svmd"));
        assert_int_equal(LOAD(&c, "--version"), CONFIG_E_DONE);
        assert_string_equal(out_text, "svmd " SVMD_VERSION "\n");
        write_text(file, "");
        assert_loads(&c, "--check-config");
        assert_true(c.check_only);
        config_fini(&c);
}

static void test_nearest(void **state) {
        char longest[100];

        memset(longest, 'a', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        assert_null(option_nearest(options, options_count, longest, false));
        assert_null(option_nearest(options, options_count, "", false));
        assert_string_equal(option_nearest(options, options_count, "statedir", true), "state-dir");
        assert_string_equal(option_nearest(options, options_count, "softnode", false), "soft-node");
        assert_null(option_nearest(options, options_count, "softnode", true));
}

/* Every allocation fails once; nothing is left behind (the leak sanitizer looks). */
static void test_no_memory(void **state) {
        struct config c;
        unsigned long at = 1;
        int r;

        write_text(file,
                   "[svmd]\nstate-dir=/x\ndefault-limit=gpu0=1G\npartition-policy=a=pinned\n[node gpu0]\nsize=1G\n");
        for (;; at++) {
                alloc_fail_at(at);
                r = LOAD(&c, "--soft-node", "gpu1:size=1G", "--default-limit", "*=1G");
                alloc_fail_off();
                if (!alloc_fail_hit())
                        break;
                assert_int_equal(r, -ENOMEM);
        }
        assert_int_equal(r, 0);
        assert_true(at > 12);
        config_fini(&c);
}

static void test_mdoc(void **state) {
        FILE *out = fmemopen(out_text, sizeof(out_text), "w");

        config_print_mdoc(out, false);
        fclose(out);
        for (size_t i = 0; i < options_count; i++) {
                char item[64];

                snprintf(item, sizeof(item), ".It Fl -%s", options[i].name);
                assert_non_null(strstr(out_text, item));
        }
        out = fmemopen(out_text, sizeof(out_text), "w");
        config_print_mdoc(out, true);
        fclose(out);
        assert_non_null(strstr(out_text, ".It Cm runtime-dir"));
        assert_non_null(strstr(out_text, ".It Cm faults"));
        assert_null(strstr(out_text, "check-config"));
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
        const struct CMUnitTest tests[] = {
                IN_DIR(test_defaults),
                IN_DIR(test_file),
                IN_DIR(test_settings),
                IN_DIR(test_precedence),
                IN_DIR(test_mistakes_in_file),
                IN_DIR(test_mistakes_on_the_line),
                IN_DIR(test_mistakes_in_drop_ins),
                IN_DIR(test_files_that_cannot_be_read),
                IN_DIR(test_help_and_version),
                IN_DIR(test_nearest),
                IN_DIR(test_no_memory),
                IN_DIR(test_mdoc),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
