/* What containers are called: notes that svmd-hook leaves, read back, and taken away when nobody is there any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "account/called.h"
#include "account/look.h"

#define ID "3f0c6b1d2a9e8f7c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4"

static char folder[64];

static const char *path_of(const char *id) {
        static char path[256];

        snprintf(path, sizeof(path), "%s/containers/%s", folder, id);
        return path;
}

static void note(const char *id, const char *text) {
        FILE *f = fopen(path_of(id), "we");

        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static int set_up(void **state) {
        char path[96];

        strcpy(folder, "/tmp/svmd-called-XXXXXX");
        assert_non_null(mkdtemp(folder));
        snprintf(path, sizeof(path), "%s/containers", folder);
        return mkdir(path, 0700);
}

static int tear_down(void **state) {
        char command[96];

        snprintf(command, sizeof(command), "rm -r %s", folder);
        return system(command);
}

static bool parse(const char *text, struct called *ret) {
        return called_parse(text, strlen(text), ret);
}

static void test_parse(void **state) {
        struct called c;

        assert_true(parse("17 4711\nweb\nweb-0\nshop\n", &c));
        assert_int_equal(c.pid, 17);
        assert_int_equal(c.started, 4711);
        assert_string_equal(c.name, "web");
        assert_string_equal(c.pod, "web-0");
        assert_string_equal(c.space, "shop");
        assert_true(parse("17 4711\nweb\n\n\n", &c));
        assert_string_equal(c.pod, "");
        assert_true(parse("17 4711\nweb", &c)); /* a line that does not end is none */
        assert_string_equal(c.name, "");
        assert_true(parse("17 4711\na b\033[1m\n\n\n", &c));
        assert_string_equal(c.name, "a?b?[1m");
        assert_false(parse("", &c));
        assert_false(parse("17 4711", &c));
        assert_false(parse("17\nweb\n", &c));
        assert_false(parse("web\nweb-0\n", &c));
        assert_false(parse("00000000000000000000000000000000000000000000000000000000000000000000000017 1\n", &c));
}

static void look(struct where *w, const char *cgroup) {
        where_of_path(cgroup, strlen(cgroup), w);
        called_look(folder, w, "");
}

static void test_look(void **state) {
        struct where w;

        note(ID, "17 4711\nweb\nweb-0\nshop\n");
        look(&w, "/system.slice/docker-" ID ".scope");
        assert_string_equal(w.name, "web");
        assert_string_equal(w.pod_name, "web-0");
        assert_string_equal(w.pod_namespace, "shop");
        look(&w, "/system.slice/ssh.service");
        assert_string_equal(w.container, "");
        assert_string_equal(w.name, "");
}

/* runc by itself names the group as it was told to name the container. */
static void test_a_component(void **state) {
        struct where w;

        note("r1", "17 4711\nalone\n\n\n");
        look(&w, "/r1/inside");
        assert_string_equal(w.container, "r1");
        assert_string_equal(w.name, "alone");
        look(&w, "/../containers/.r1");
        assert_string_equal(w.container, "");
        note(".hidden", "17 4711\nhidden\n\n\n");
        look(&w, "/.hidden");
        assert_string_equal(w.container, "");
}

/* Where the runtime makes no group, the partition says whom it was made for. */
static void test_known(void **state) {
        static const char path[] = "/docker/" ID;
        struct where w;

        note("c1", "17 4711\nalone\n\n\n");
        where_of_path("/", 1, &w);
        called_look(folder, &w, "c1");
        assert_string_equal(w.container, "c1");
        assert_string_equal(w.name, "alone");
        where_of_path(path, strlen(path), &w);
        called_look(folder, &w, "c1");
        assert_string_equal(w.container, ID);
        assert_string_equal(w.name, "");
}

static void test_sweep(void **state) {
        struct looked me;
        char text[64];

        look_at_process("/proc", (uint32_t)getpid(), UINT64_MAX, &me);
        snprintf(text, sizeof(text), "%d %llu\nmine\n\n\n", getpid(), (unsigned long long)me.started);
        note("here", text);
        snprintf(text, sizeof(text), "%d %llu\nother\n\n\n", getpid(), (unsigned long long)me.started - 1);
        note("before", text);
        note("gone", "4194304 1\ngone\n\n\n"); /* above the largest number that there is */
        note("else", "what is this\n");
        called_sweep(folder, "/proc");
        assert_int_equal(access(path_of("here"), F_OK), 0);
        assert_int_equal(access(path_of("else"), F_OK), 0);
        assert_int_not_equal(access(path_of("before"), F_OK), 0);
        assert_int_not_equal(access(path_of("gone"), F_OK), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = { TEST(test_parse), TEST(test_look), TEST(test_a_component), TEST(test_known),
                                            TEST(test_sweep) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
