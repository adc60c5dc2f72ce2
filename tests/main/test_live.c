/*
 * A configuration that was read again, beside the one that counts: what differs is named, what can change now is
 * exchanged, and the rest stays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "main/config.h"
#include "main/live.h"
#include "main/options.h"
#include "main/reload.h"
#include "service/service.h"

static char dir[64], file[96];

static int make_dir(void **state) {
        snprintf(dir, sizeof(dir), "/tmp/svmd-live-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        snprintf(file, sizeof(file), "%s/svmd.conf", dir);
        return 0;
}

static int remove_dir(void **state) {
        unlink(file);
        return rmdir(dir);
}

static void write_file(const char *text) {
        FILE *f = fopen(file, "w");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static int read_again(struct config **ret, char *why, size_t why_size) {
        char *argv[] = { (char *)"svmd", (char *)"--config", file, NULL };

        return reload_read(ret, 3, argv, why, why_size);
}

static struct config *must_read(const char *text) {
        struct config *c;
        char why[512];

        write_file(text);
        if (read_again(&c, why, sizeof(why)))
                fail_msg("%s", why);
        return c;
}

static void assert_names(const char *const *names, unsigned count, const char *expected) {
        char text[512] = "";

        for (unsigned i = 0; i < count; i++)
                snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "", names[i]);
        assert_string_equal(text, expected);
}

static void test_table(void **state) {
        static const char *const some[] = { "policy", "link-rate", "max-sessions", "log-level", "default-limit" };
        unsigned count = 0;

        for (size_t i = 0; i < options_count; i++)
                count += option_is_live(options[i].name);
        assert_int_equal(count, 13); /* each name in live.c is an option's */
        for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++)
                assert_true(option_is_live(some[i]));
        assert_false(option_is_live("journal-size"));
        assert_true(options_count <= CONFIG_OPTIONS_MAX);
}

#define BASE "[svmd]\nlink-rate = *:*=1G\npartition-policy = a=latency\n[node gpu0]\nsize = 1G\n"

static void test_the_same(void **state) {
        struct config *c = must_read(BASE), *next = must_read("# another comment\n" BASE);
        struct config_changes changes;

        config_compare(c, next, &changes);
        assert_names(changes.changed, changes.changed_count, "");
        assert_names(changes.restart, changes.restart_count, "");
        reload_free(next);
        reload_free(c);
}

/* What was on is off. */
static void test_switch(void **state) {
        struct config *c = must_read("[svmd]\npartition-userfaultfd = a=on\n"),
                      *next = must_read("[svmd]\npartition-userfaultfd = a=off\n");
        struct config_changes changes;

        config_compare(c, next, &changes);
        assert_names(changes.changed, changes.changed_count, "partition-userfaultfd");
        reload_free(next);
        reload_free(c);
}

/* Each option alone is seen. */
static void test_each(void **state) {
        static const struct {
                const char *line, *changed, *restart;
        } cases[] = {
                { "runtime-dir = /x", "", "runtime-dir" },
                { "kfd-probe = /x", "", "kfd-probe" },
                { "machine-faults = off", "", "machine-faults" },
                { "journal-size = 16M", "", "journal-size" },
                { "usage-days = 2", "", "usage-days" },
                { "max-queued-per-uid = 2M", "", "max-queued-per-uid" },
                { "drift-period = 5", "", "drift-period" },
                { "default-partition-size = 8G", "default-partition-size", "" },
                { "max-sessions = 9", "max-sessions", "" },
                { "max-objects-per-session = 9", "max-objects-per-session", "" },
                { "kept-max = 9", "kept-max", "" },
                { "log-level = debug", "log-level", "" },
                { "policy = latency", "policy", "" },
                { "default-limit = gpu0=1M", "default-limit", "" },
                { "partition-rate = a=1M", "partition-rate", "" },
                { "link-rate = gpu0:host0=1M", "link-rate", "" },
                { "partition-userfaultfd = a=off", "partition-userfaultfd", "" },
                { "partition-policy = a=pinned", "partition-policy", "" },
                { "[node gpu1]\nsize = 1G", "", "soft-node" },
                { "[node dev0]\nsize = 1G\ndevice = /dev/hmm_dmirror0", "", "hmm-node" },
                { "[node gpu2]\nsize = 80G\ndevice = cuda:0", "", "cuda-node" },
                { "cuda-patience = 9", "", "cuda-patience" },
                { "cuda-agent = /run/x", "", "cuda-agent" },
                { "policy = pinned\nlog-level = error\nadmin-group = x", "policy log-level", "admin-group" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct config *c = must_read(BASE), *next;
                struct config_changes changes;
                char text[512];

                snprintf(text, sizeof(text), "[svmd]\n%s\n" BASE, cases[i].line);
                next = must_read(text);
                config_compare(c, next, &changes);
                assert_names(changes.changed, changes.changed_count, cases[i].changed);
                assert_names(changes.restart, changes.restart_count, cases[i].restart);
                config_exchange(c, next);
                config_compare(c, next, &changes);
                assert_names(changes.changed, changes.changed_count, cases[i].changed);
                config_exchange(c, next);
                reload_free(next);
                reload_free(c);
        }
}

static void test_exchange(void **state) {
        struct config *c = must_read(BASE),
                      *next = must_read("[svmd]\npolicy = pinned\nmax-sessions = 7\njournal-size = 16M\n"
                                        "default-limit = *=1M\ndefault-limit = gpu0=2M\nlink-rate = a:b=5\n");
        struct service_reloaded told = { 0 };
        struct service_default_limit *limits;

        reload_exchange(c, next, &told);
        assert_names(told.changed, told.changed_count, "max-sessions default-limit policy partition-policy link-rate");
        assert_names(told.restart, told.restart_count, "soft-node journal-size");
        assert_string_equal(c->profile.name, "pinned");
        assert_int_equal(c->max_sessions, 7);
        assert_true(c->journal_size == 1ull << 30);
        assert_int_equal(c->settings_count, 1);
        assert_string_equal(c->settings[0].other, "b");
        assert_int_equal(c->soft.count, 1);
        reload_free(next);
        limits = reload_limits(c);
        assert_string_equal(limits[1].node, "gpu0");
        assert_int_equal(limits[1].max, 2 << 20);
        alloc_free(limits);
        reload_free(c);
}

static void test_wrong(void **state) {
        struct config *c = NULL;
        char why[512];

        write_file("[svmd]\npolicy = latency\nlog-level = loud\n");
        assert_int_equal(read_again(&c, why, sizeof(why)), -22);
        assert_non_null(
                strstr(why, "svmd.conf:3: log-level: expected error, warning, notice, info or debug, found \"loud\""));
        unlink(file);
        assert_int_equal(read_again(&c, why, sizeof(why)), -22);
        assert_non_null(strstr(why, "svmd.conf: No such file"));
        write_file(BASE);
        for (unsigned long n = 1;; n++) {
                int r;

                alloc_fail_at(n);
                r = read_again(&c, why, sizeof(why));
                alloc_fail_off();
                if (r == 0)
                        break;
                assert_int_equal(r, -12);
                assert_string_equal(why, "svmd has no memory left");
        }
        reload_free(c);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table), IN_DIR(test_the_same), IN_DIR(test_switch), IN_DIR(test_each),
                IN_DIR(test_exchange),        IN_DIR(test_wrong),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
