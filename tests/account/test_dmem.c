/* The kernel's dmem, as text, and a folder that stands for it: limits that are read and written, one region at a time.
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

#include <cmocka.h>

#include "account/dmem.h"

#define VRAM  "drm/0000:03:00.0/vram0"
#define OTHER "drm/0000:03:00.0/vram01"

static void test_find(void **state) {
        static const char text[] = OTHER " 5\n" VRAM " 8514437120\ndrm/0000:04:00.0/stolen max\nnone\n";
        uint64_t n;

        assert_true(dmem_find(text, sizeof(text) - 1, VRAM, &n) && n == 8514437120ull);
        assert_true(dmem_find(text, sizeof(text) - 1, "drm/0000:04:00.0/stolen", &n) && n == DMEM_NO_LIMIT);
        assert_false(dmem_find(text, sizeof(text) - 1, "none", &n));
        assert_false(dmem_find(text, sizeof(text) - 1, "drm/0000:03:00.0/vram", &n));
        assert_false(dmem_find("", 0, VRAM, &n));
        assert_false(dmem_find(VRAM " maximal\n", sizeof(VRAM) + 8, VRAM, &n));
        assert_true(dmem_find(VRAM " max", sizeof(VRAM) + 3, VRAM, &n) && n == DMEM_NO_LIMIT);
}

static void test_replace(void **state) {
        static const char text[] = VRAM " max\n" OTHER " 5";
        char to[128] = "", line[64], small[8];
        size_t n;

        assert_int_equal(dmem_line(line, sizeof(line), VRAM, 4096), (int)strlen(VRAM " 4096\n"));
        n = dmem_replace(text, sizeof(text) - 1, line, to, sizeof(to));
        assert_true(n < sizeof(to));
        to[n] = 0;
        assert_string_equal(to, OTHER " 5\n" VRAM " 4096\n");
        assert_int_equal(dmem_replace(text, sizeof(text) - 1, line, small, sizeof(small)), n);
        dmem_line(line, sizeof(line), VRAM, DMEM_NO_LIMIT);
        assert_string_equal(line, VRAM " max\n");
        assert_true(dmem_rounded(8191) == 4096 && dmem_rounded(DMEM_NO_LIMIT) == DMEM_NO_LIMIT);
}

static char root[64];

static void put(const char *path, const char *text) {
        char name[160];
        FILE *f;

        snprintf(name, sizeof(name), "%s/%s", root, path);
        f = fopen(name, "we");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static void group(const char *path) {
        static const char *const files[] = { "dmem.max", "dmem.low", "dmem.min", "dmem.current" };
        char name[160];

        snprintf(name, sizeof(name), "%s/%s", root, path);
        assert_int_equal(mkdir(name, 0755), 0);
        for (unsigned i = 0; i < 4; i++) {
                snprintf(name, sizeof(name), "%s/%s", path, files[i]);
                put(name, i == 0 ? VRAM " max\n" OTHER " max\n" : VRAM " 0\n" OTHER " 0\n");
        }
}

static int set_up(void **state) {
        strcpy(root, "/tmp/svmd-dmem-XXXXXX");
        return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state) {
        char command[96];

        snprintf(command, sizeof(command), "rm -rf %s", root);
        return system(command);
}

static void test_emulation(void **state) {
        struct dmem_group g;
        uint64_t n;

        assert_int_equal(dmem_capacity(root, VRAM, &n), -ENOENT);
        put("dmem.capacity", OTHER " 8192\n");
        assert_int_equal(dmem_capacity(root, VRAM, &n), -ENODEV);
        assert_int_equal(dmem_capacity(root, OTHER, &n), 0);
        assert_true(n == 8192);
        assert_int_equal(dmem_read(root, "/a", VRAM, &g), -ENOENT);
        group("a");
        put("a/dmem.current", VRAM " 12288\n");
        assert_int_equal(dmem_read(root, "/a", VRAM, &g), 0);
        assert_true(g.value[DMEM_MAX] == DMEM_NO_LIMIT && g.value[DMEM_LOW] == 0 && g.current == 12288 && g.number);
        assert_int_equal(dmem_write(root, true, "/a", VRAM, DMEM_MAX, 65537), 0);
        assert_int_equal(dmem_write(root, true, "/a", VRAM, DMEM_MIN, 4096), 0);
        assert_int_equal(dmem_read(root, "/a", VRAM, &g), 0);
        assert_true(g.value[DMEM_MAX] == 65536 && g.value[DMEM_MIN] == 4096 && g.value[DMEM_LOW] == 0);
        assert_int_equal(dmem_read(root, "/a", OTHER, &g), 0);
        assert_true(g.value[DMEM_MAX] == DMEM_NO_LIMIT && g.value[DMEM_MIN] == 0);
        assert_int_equal(dmem_write(root, true, "/b", VRAM, DMEM_MAX, 4096), -ENOENT);
        assert_int_equal(dmem_read(root, "/../a", VRAM, &g), -ENOENT);
        assert_true(dmem_write(root, true, "/a/../../x", VRAM, DMEM_MAX, 4096) < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_find),
                cmocka_unit_test(test_replace),
                cmocka_unit_test_setup_teardown(test_emulation, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
