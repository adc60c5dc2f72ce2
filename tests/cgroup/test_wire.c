/* What is said to svmd-cgroup: only what is a limit of a group goes through, from any bytes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cgroup/wire.h"

#define LINE "drm/0000:03:00.0/vram0 4096\n"

enum { ROUNDS = 20000 };

static char packet[2 * CGROUP_WIRE_ROOM];

static int through(const char *path, const char *line) {
        struct cgroup_write w = { .device = 7, .inode = 9, .file = DMEM_LOW, .path = path, .line = line }, got;
        size_t n = cgroup_wire_put(packet, &w);
        int r = n ? cgroup_wire_get(packet, n, &got) : -ENAMETOOLONG;

        if (r == 0) {
                assert_true(got.device == 7 && got.inode == 9 && got.file == DMEM_LOW);
                assert_string_equal(got.path, path);
                assert_string_equal(got.line, line);
        }
        return r;
}

static void test_paths(void **state) {
        static const char *const bad[] = { "",   "/",     "a",     "a/b",    "//",      "/a/",  "/a//b",  "/..",
                                           "/.", "/../a", "/a/..", "/a/./b", "/a/../b", "../a", "/a/../", "/a/b/." };

        assert_int_equal(through("/a", LINE), 0);
        assert_int_equal(through("/a.slice/..b/c..", LINE), 0);
        assert_int_equal(through("/a b/...", LINE), 0);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(through(bad[i], LINE), -EINVAL);
}

static void test_lines(void **state) {
        static const char *const bad[] = { "",        "\n",         "vram0\n",    "vram0 \n",
                                           " 4096\n", "vram0 4096", "v 1\nv 2\n", "v 1\n\n",
                                           "v  1\n",  "v -1\n",     "v 1M\n",     "v maximal\n",
                                           "v 1 \n",  "v\t1\n",     "v\xff 1\n",  "v max\nw max\n",
                                           "v 0x1\n" };

        assert_int_equal(through("/a", "v max\n"), 0);
        assert_int_equal(through("/a", "drm/0000:03:00.0/vram0 18446744073709551615\n"), 0);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(through("/a", bad[i]), -EINVAL);
}

/* The longest ones go through; a sender that does not keep to it is refused. */
static void test_long(void **state) {
        char path[CGROUP_WIRE_PATH + 8], line[CGROUP_WIRE_LINE + 8];
        size_t head = cgroup_wire_put(packet, &(struct cgroup_write){ .path = "", .line = "" }) - 2, n;
        struct cgroup_write w;

        memset(path, 'a', sizeof(path));
        path[0] = '/';
        path[CGROUP_WIRE_PATH - 1] = 0;
        memset(line, '0', sizeof(line));
        line[0] = 'v';
        line[1] = ' ';
        strcpy(line + CGROUP_WIRE_LINE - 2, "\n");
        assert_int_equal(through(path, line), 0);
        line[CGROUP_WIRE_LINE - 2] = '0';
        strcpy(line + CGROUP_WIRE_LINE - 1, "\n");
        assert_int_equal(through("/a", line), -ENAMETOOLONG);
        n = head + 3;
        memcpy(packet + head, "/a", 3);
        memcpy(packet + n, line, CGROUP_WIRE_LINE + 1);
        assert_int_equal(cgroup_wire_get(packet, n + CGROUP_WIRE_LINE + 1, &w), -EMSGSIZE);
        path[CGROUP_WIRE_PATH - 1] = 'a';
        path[CGROUP_WIRE_PATH] = 0;
        assert_int_equal(through(path, LINE), -ENAMETOOLONG);
        memcpy(packet + head, path, CGROUP_WIRE_PATH + 1);
        n = head + CGROUP_WIRE_PATH + 1;
        memcpy(packet + n, LINE, sizeof(LINE));
        assert_int_equal(cgroup_wire_get(packet, n + sizeof(LINE), &w), -EMSGSIZE);
}

/* Cut off anywhere, longer by a byte, of another version, for another file. */
static void test_shapes(void **state) {
        struct cgroup_write w = { .file = DMEM_MIN, .path = "/a", .line = LINE }, got;
        size_t n = cgroup_wire_put(packet, &w);

        for (size_t i = 0; i < n; i++)
                assert_int_equal(cgroup_wire_get(packet, i, &got), -EBADMSG);
        packet[n] = 0;
        assert_int_equal(cgroup_wire_get(packet, n + 1, &got), -EBADMSG);
        packet[4]++;
        assert_int_equal(cgroup_wire_get(packet, n, &got), -EPROTONOSUPPORT);
        packet[0]++;
        assert_int_equal(cgroup_wire_get(packet, n, &got), -EBADMSG);
        w.file = DMEM_VALUES;
        n = cgroup_wire_put(packet, &w);
        assert_int_equal(cgroup_wire_get(packet, n, &got), -EINVAL);
}

static void test_answers(void **state) {
        struct cgroup_answer a = cgroup_wire_answer(-EACCES);

        assert_int_equal(cgroup_wire_answered((const char *)&a, sizeof(a)), -EACCES);
        assert_int_equal(cgroup_wire_answered((const char *)&a, sizeof(a) - 1), -EBADMSG);
        a = cgroup_wire_answer(0);
        assert_int_equal(cgroup_wire_answered((const char *)&a, sizeof(a)), 0);
        a = cgroup_wire_answer(1);
        assert_int_equal(cgroup_wire_answered((const char *)&a, sizeof(a)), -EBADMSG);
        a.error = -1;
        a.magic++;
        assert_int_equal(cgroup_wire_answered((const char *)&a, sizeof(a)), -EBADMSG);
}

/* A packet with a few bytes changed is refused, or is still a limit of a group below the root. */
static void test_random(void **state) {
        uint64_t seed = getenv("SVMD_SEED") ? strtoull(getenv("SVMD_SEED"), NULL, 0) : (uint64_t)getpid();
        const struct cgroup_write w = { .file = DMEM_MAX, .path = "/pod/a", .line = LINE };
        static const char odd[] = "/.\n \0"
                                  "09max";
        unsigned passed = 0;

        printf("seed %llu\n", (unsigned long long)seed);
        srandom((unsigned)seed);
        for (unsigned i = 0; i < ROUNDS; i++) {
                size_t n = cgroup_wire_put(packet, &w);
                struct cgroup_write got;

                for (long k = random() % 4; k >= 0; k--)
                        packet[(size_t)random() % n] =
                                random() % 2 ? odd[(size_t)random() % (sizeof(odd) - 1)] : (char)random();
                if (cgroup_wire_get(packet, n, &got) != 0)
                        continue;
                passed++;
                assert_true(got.file < DMEM_VALUES && got.path[0] == '/' && got.path[1] && got.path[1] != '/');
                assert_true(!strstr(got.path, "/../") && !strstr(got.path, "//"));
                assert_true(strchr(got.line, ' ') && strchr(got.line, '\n') == got.line + strlen(got.line) - 1);
        }
        assert_true(passed > 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_paths),  cmocka_unit_test(test_lines),   cmocka_unit_test(test_long),
                cmocka_unit_test(test_shapes), cmocka_unit_test(test_answers), cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
