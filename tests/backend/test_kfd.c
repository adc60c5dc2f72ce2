/*
 * What svmd takes from svmd-probe-kfd: reports as they should be, and fake probes that crash, hang, flood, say half or
 * nonsense; and reports with bytes changed at random. SVMD_SEED=N repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/kfd.h"

static char dir[] = "/tmp/svmd-kfd-XXXXXX";

static const char good[] = "probe 1\n"
                           "version 1 11\n"
                           "node 0 cpu 64 270582939648 -1 0x0 0 AMD_EPYC_7713_64-Core_Processor\n"
                           "link 0 1 pcie 20 312 32000\n"
                           "node 1 gpu 104 68702699520 128 0xabcdef0123456789 1 AMD_Instinct_MI210\n"
                           "link 1 0 pcie 20 312 32000\n"
                           "gpu 1 4711 0x1000000 0x800000000000\n"
                           "card 1 0x8eb4d6b1f7a0c3d2 1 51459\n"
                           "xnack -1\n"
                           "error svm-set 1 1\n"
                           "end\n";

static struct kfd_report report;

static int read_text(const char *text, size_t size, char *why) {
        /* Exactly as much as there is, so that a sanitizer sees what lies behind. */
        char *copy = malloc(size ? size : 1);
        int r;

        memcpy(copy, text, size);
        r = kfd_report_read(&report, copy, size, why, 160);
        free(copy);
        return r;
}

static void test_good(void **state) {
        char why[160] = "";

        assert_int_equal(read_text(good, strlen(good), why), 0);
        assert_true(report.has_version && report.has_xnack);
        assert_int_equal(report.major, 1);
        assert_int_equal(report.minor, 11);
        assert_int_equal(report.nodes_count, 2);
        assert_false(report.nodes[0].gpu);
        assert_int_equal(report.nodes[0].cores, 64);
        assert_int_equal(report.nodes[0].render, -1);
        assert_true(report.nodes[1].gpu && report.nodes[1].svm);
        assert_int_equal(report.nodes[1].bytes, 68702699520);
        assert_int_equal(report.nodes[1].hive, 0xabcdef0123456789);
        assert_int_equal(report.nodes[1].render, 128);
        assert_int_equal(report.nodes[1].id, 4711);
        assert_int_equal(report.nodes[1].va_start, 16 << 20);
        assert_int_equal(report.nodes[1].va_end, 1ull << 47);
        assert_int_equal(report.nodes[1].unique, 0x8eb4d6b1f7a0c3d2);
        assert_int_equal(report.nodes[1].domain, 1);
        assert_int_equal(report.nodes[1].location, 51459);
        assert_int_equal(report.nodes[0].id, 0);
        assert_string_equal(report.nodes[1].name, "AMD_Instinct_MI210");
        assert_int_equal(report.links_count, 2);
        assert_string_equal(report.links[1].type, "pcie");
        assert_int_equal(report.links[1].maximum, 32000);
        assert_int_equal(report.xnack, -1);
        assert_int_equal(kfd_report_error(&report, "svm-set")->error, 1);
        assert_null(kfd_report_error(&report, "svm-get"));
}

static void test_bad_texts(void **state) {
        static const struct {
                const char *text, *why;
        } bad[] = {
                { "", "did not say all" },
                { "probe 1", "cut short" },
                { "probe 1\n", "did not say all" },
                { "probe 2\nend\n", "another version" },
                { "hello world\n", "another version" },
                { "probe 1\nend", "cut short" },
                { "probe 1\nend\nend\n", "fit together" },
                { "probe 1\nend\n\n", "fit together" },
                { "probe 1\n\nend\n", "line 2" },
                { "probe 1\nend now\n", "line 2" },
                { "probe 1\nprobe 1\nend\n", "line 2" },
                { "probe 1\nversion 1\nend\n", "line 2" },
                { "probe 1\nversion 1  1\nend\n", "line 2" },
                { "probe 1\nversion 1 1 \nend\n", "line 2" },
                { "probe 1\nversion 1 x\nend\n", "line 2" },
                { "probe 1\nversion 1 -1\nend\n", "line 2" },
                { "probe 1\nversion 1 4294967296\nend\n", "line 2" },
                { "probe 1\nversion 1 11\nversion 1 11\nend\n", "line 3" },
                { "probe 1\nnode 1 cpu 1 1 -1 0x0 0 a\nend\n", "line 2" },
                { "probe 1\nnode 0 tpu 1 1 -1 0x0 0 a\nend\n", "line 2" },
                { "probe 1\nnode 0 cpu 1 99999999999999999999 -1 0x0 0 a\nend\n", "line 2" },
                { "probe 1\nnode 0 cpu 1 9223372036854775808 -1 0x0 0 a\nend\n", "line 2" },
                { "probe 1\nnode 0 cpu 1 1 -1 00 0 a\nend\n", "line 2" },
                { "probe 1\nnode 0 cpu 1 1 -1 0x11111111111111111 0 a\nend\n", "line 2" },
                { "probe 1\nnode 0 cpu 1 1 -1 0x0 2 a\nend\n", "line 2" },
                { "probe 1\nnode 0 cpu 1 1 -1 0x0 0 a name\nend\n", "line 2" },
                { "probe 1\nnode 0 cpu 1 1 -1 0x0 0 "
                  "a-name-that-is-longer-than-what-there-is-room-for-here-and-in-svmd\nend\n",
                  "line 2" },
                { "probe 1\nlink 0 0 pcie 1 1 1\nend\n", "fit together" },
                { "probe 1\nnode 0 cpu 1 1 -1 0x0 0 a\nlink 0 1 pcie 1 1 1\nend\n", "fit together" },
                { "probe 1\nlink 0 0 peripherals 1 1 1\nend\n", "line 2" },
                { "probe 1\nxnack 2147483648\nend\n", "line 2" },
                { "probe 1\ngpu 0 1 0x1 0x2\nend\n", "line 2" },
                { "probe 1\nnode 0 cpu 1 1 -1 0x0 0 a\ngpu 0 1 0x1 0x2\nend\n", "line 3" },
                { "probe 1\nnode 0 gpu 1 1 -1 0x0 0 a\ngpu 0 0 0x1 0x2\nend\n", "line 3" },
                { "probe 1\nnode 0 gpu 1 1 -1 0x0 0 a\ngpu 0 1 0x2 0x2\nend\n", "line 3" },
                { "probe 1\nnode 0 gpu 1 1 -1 0x0 0 a\ngpu 0 1 0x1 0x2 3\nend\n", "line 3" },
                { "probe 1\nnode 0 gpu 1 1 -1 0x0 0 a\ngpu 0 1 0x1 0x2\ngpu 0 1 0x1 0x2\nend\n", "line 4" },
                { "probe 1\ncard 0 0x1 0 0\nend\n", "line 2" },
                { "probe 1\nnode 0 cpu 1 1 -1 0x0 0 a\ncard 0 0x1 0 0\nend\n", "line 3" },
                { "probe 1\nnode 0 gpu 1 1 -1 0x0 0 a\ncard 0 1 0 0\nend\n", "line 3" },
                { "probe 1\nnode 0 gpu 1 1 -1 0x0 0 a\ncard 0 0x1 0\nend\n", "line 3" },
                { "probe 1\nnode 0 gpu 1 1 -1 0x0 0 a\ncard 0 0x1 x 0\nend\n", "line 3" },
                { "probe 1\nnode 0 gpu 1 1 -1 0x0 0 a\ncard 0 0x1 0 4294967296\nend\n", "line 3" },
                { "probe 1\nnode 0 gpu 1 1 -1 0x0 0 a\ncard 0 0x1 0 0\ncard 0 0x1 0 0\nend\n", "line 4" },
                { "probe 1\nxnack 0\nxnack 0\nend\n", "line 3" },
                { "probe 1\nerror svm-set -1 1\nend\n", "line 2" },
                { "probe 1\nerror something-else 1 1\nend\n", "line 2" },
                { "probe 1\nversion 1 11\r\nend\n", "line 2" },
                { "probe 1\nversion\t1 11\nend\n", "line 2" },
        };

        for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                char why[160] = "";

                if (read_text(bad[i].text, strlen(bad[i].text), why) == 0)
                        fail_msg("taken: %s", bad[i].text);
                if (!strstr(why, bad[i].why))
                        fail_msg("\"%s\" does not say \"%s\" of %s", why, bad[i].why, bad[i].text);
        }
}

static void test_too_many(void **state) {
        static char text[1 << 20];
        char why[160] = "";
        size_t n = (size_t)snprintf(text, sizeof(text), "probe 1\n");

        for (unsigned i = 0; i <= KFD_NODES_MAX; i++)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "node %u cpu 1 1 -1 0x0 0 a\n", i);
        n += (size_t)snprintf(text + n, sizeof(text) - n, "end\n");
        assert_int_not_equal(read_text(text, n, why), 0);
        assert_non_null(strstr(why, "line 258"));
        memset(text, 'a', sizeof(text));
        text[sizeof(text) - 1] = '\n';
        assert_int_not_equal(read_text(text, sizeof(text), why), 0);
}

/* Whatever is taken is whole: nothing beyond the tables, links to nodes that there are. */
static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");
        unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
        unsigned taken = 0;

        printf("SVMD_SEED=%u\n", seed);
        srandom(seed);
        for (unsigned round = 0; round < 20000; round++) {
                char text[sizeof(good)], why[160] = "";
                size_t size = sizeof(good) - 1;

                memcpy(text, good, sizeof(good));
                for (unsigned k = (unsigned)random() % 3 + 1; k > 0; k--)
                        text[(size_t)random() % size] =
                                random() % 4 ? (char)("0123456789 \nx-"[random() % 14]) : (char)random();
                if (random() % 8 == 0)
                        size = (size_t)random() % size;
                if (read_text(text, size, why) != 0) {
                        assert_int_not_equal(why[0], 0);
                        continue;
                }
                taken++;
                assert_int_equal(report.nodes_count, 2);
                for (unsigned i = 0; i < report.links_count; i++)
                        assert_true(report.links[i].from < 2 && report.links[i].to < 2);
        }
        assert_true(taken > 0);
}

/* ---- probes ---- */

static const char *script(const char *body) {
        static char path[64];
        FILE *f;

        snprintf(path, sizeof(path), "%s/probe", dir);
        unlink(path);
        f = fopen(path, "we");
        assert_non_null(f);
        fprintf(f, "#!/bin/sh\n%s\n", body);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(chmod(path, 0700), 0);
        return path;
}

static enum kfd_state await(struct kfd *k, char *why, size_t size) {
        for (unsigned i = 0; i < 30000; i++) {
                enum kfd_state s = kfd_state(k, why, size);

                if (s != KFD_ASKED)
                        return s;
                usleep(1000);
        }
        fail_msg("the probe is not done after 30 s");
        return KFD_ASKED;
}

static void fails(const char *program, unsigned patience, const char *expected) {
        char why[192] = "";
        struct kfd *k;

        assert_int_equal(kfd_new(&k, program, patience), 0);
        assert_int_equal(await(k, why, sizeof(why)), KFD_FAILED);
        if (!strstr(why, expected))
                fail_msg("\"%s\" does not say \"%s\"", why, expected);
        kfd_free(k);
}

static void test_probes(void **state) {
        char why[192] = "", body[1024];
        struct kfd *k;

        snprintf(body, sizeof(body), "cat <<'END'\n%sEND", good);
        assert_int_equal(kfd_new(&k, script(body), 30000), 0);
        assert_int_equal(await(k, why, sizeof(why)), KFD_TOLD);
        assert_int_equal(kfd_report(k)->nodes_count, 2);
        kfd_free(k);

        fails("/nonexistent/probe", 30000, "No such file");
        fails(script("kill -ABRT $$"), 30000, "signal 6");
        fails(script("echo probe 1; kill -SEGV $$"), 30000, "signal 11");
        fails(script("echo probe 1; echo end; exit 3"), 30000, "exit status 3");
        fails(script("echo probe 1; echo end; echo and more"), 30000, "fit together");
        fails(script("echo probe 1"), 30000, "did not say all");
        fails(script("exec cat /dev/urandom | head -c 5000"), 30000, "");
        fails(script("exec yes"), 30000, "said more than");
        fails(script("exec sleep 1000"), 200, "not done after 200 ms");
        fails(script("echo probe 1; echo end; exec >&-; exec sleep 1000"), 200, "not done after 200 ms");
        fails(script("trap '' TERM INT HUP; while :; do sleep 1; done"), 200, "not done after 200 ms");
        /* Its own child has the pipe still. */
        fails(script("sleep 1000 & echo probe 1; echo end"), 200, "not done after 200 ms");
        assert_int_equal(kfd_state(NULL, why, sizeof(why)), KFD_ABSENT);
}

/* svmd ends while it runs: it goes with it. */
static void test_stop(void **state) {
        char why[192] = "";
        struct kfd *k;

        assert_int_equal(kfd_new(&k, script("exec sleep 1000"), 600000), 0);
        kfd_stop(k);
        assert_int_equal(kfd_state(k, why, sizeof(why)), KFD_FAILED);
        kfd_stop(k);
        kfd_free(k);
        kfd_free(NULL);
}

static int make_dir(void **state) {
        return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
        char path[64];

        snprintf(path, sizeof(path), "%s/probe", dir);
        unlink(path);
        return rmdir(dir);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good),   cmocka_unit_test(test_bad_texts), cmocka_unit_test(test_too_many),
                cmocka_unit_test(test_random), cmocka_unit_test(test_probes),    cmocka_unit_test(test_stop),
        };

        return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
