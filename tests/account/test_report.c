/* What drivers and the kernel tell of memory, as text; and, where SVMD_FIXTURES names them, samples of real machines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "account/report.h"

#define KIB 1024ull

static const struct fdinfo_region *region(const struct fdinfo *f, const char *name) {
        for (unsigned i = 0; i < f->regions_count; i++)
                if (strcmp(f->regions[i].name, name) == 0)
                        return &f->regions[i];
        fail_msg("there is no region %s", name);
        return NULL;
}

static void test_amdgpu(void **state) {
        static const char text[] = "pos:\t0\nflags:\t02100002\n"
                                   "drm-driver:\tamdgpu\ndrm-client-id:\t30\ndrm-pdev:\t0000:c1:00.0\n"
                                   "drm-total-vram:\t900 KiB\ndrm-shared-vram:\t16 KiB\ndrm-resident-vram:\t800 KiB\n"
                                   "drm-purgeable-vram:\t0\ndrm-memory-vram:\t800 KiB\n"
                                   "drm-total-gtt:\t22 MiB\ndrm-memory-gtt: \t22528 KiB\n"
                                   "amd-evicted-vram:\t100 KiB\namd-requested-vram:\t900 KiB\n"
                                   "drm-engine-gfx:\t39 ns\n";
        struct fdinfo f;

        fdinfo_parse(text, sizeof(text) - 1, &f);
        assert_string_equal(f.driver, "amdgpu");
        assert_string_equal(f.pdev, "0000:c1:00.0");
        assert_true(f.has_client && f.client == 30);
        assert_int_equal(f.regions_count, 2);
        assert_int_equal(region(&f, "vram")->total, 900 * KIB);
        assert_int_equal(region(&f, "vram")->shared, 16 * KIB);
        assert_int_equal(region(&f, "vram")->evicted, 100 * KIB);
        assert_int_equal(region(&f, "vram")->requested, 900 * KIB);
        assert_int_equal(fdinfo_bytes(region(&f, "vram")), 800 * KIB);
        assert_int_equal(region(&f, "gtt")->total, 22 * KIB * KIB);
        assert_int_equal(fdinfo_bytes(region(&f, "gtt")), 22528 * KIB);
        assert_true(fdinfo_is_local(region(&f, "vram")) && !fdinfo_is_local(region(&f, "gtt")));
}

/* An older driver, which knows drm-memory only; and xe, of which resident is 0 and total is not. */
static void test_which_bytes(void **state) {
        static const char old[] = "drm-driver: amdgpu\ndrm-memory-vram: 7 KiB\n";
        static const char xe[] = "drm-driver: xe\ndrm-total-vram0: 9 MiB\ndrm-resident-vram0: 0\n";
        static const char total[] = "drm-driver: x\ndrm-total-system: 12\n";
        struct fdinfo f;

        fdinfo_parse(old, sizeof(old) - 1, &f);
        assert_false(f.has_client);
        assert_int_equal(fdinfo_bytes(region(&f, "vram")), 7 * KIB);
        fdinfo_parse(xe, sizeof(xe) - 1, &f);
        assert_int_equal(fdinfo_bytes(region(&f, "vram0")), 0);
        assert_true(fdinfo_is_local(region(&f, "vram0")));
        fdinfo_parse(total, sizeof(total) - 1, &f);
        assert_int_equal(fdinfo_bytes(region(&f, "system")), 12);
}

static void test_no_fdinfo(void **state) {
        static const char *const texts[] = { "",
                                             "pos:\t0\nsize:\t16384\nexp_name:\tdrm\n",
                                             "drm-driver",
                                             ":\n::\n",
                                             "drm-total-:\t1 KiB\ndrm-total-vram:\t1 XiB\ndrm-total-vram:\t-1\n",
                                             "drm-total-vram\t1\n" };
        struct fdinfo f;

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                fdinfo_parse(texts[i], strlen(texts[i]), &f);
                assert_string_equal(f.driver, "");
                assert_int_equal(f.regions_count, 0);
        }
}

static void test_bounds(void **state) {
        char text[4096] = "";
        struct fdinfo f;

        for (unsigned i = 0; i < 40; i++)
                sprintf(text + strlen(text), "drm-total-r%u: %u\n", i, i + 1);
        strcat(text, "drm-total-r3: 99999999999999999999999 KiB\n");
        fdinfo_parse(text, strlen(text), &f);
        assert_int_equal(f.regions_count, REPORT_REGIONS);
        assert_true(region(&f, "r3")->total == UINT64_MAX);
        assert_int_equal(region(&f, "r15")->total, 16);
}

static void test_numbers(void **state) {
        uint64_t n = 77;

        assert_true(report_number(" 4096\n", 6, &n) && n == 4096);
        assert_true(report_number("0", 1, &n) && n == 0);
        assert_false(report_number("max\n", 4, &n));
        assert_false(report_number("12 34\n", 6, &n));
        assert_false(report_number("", 0, &n));
        assert_true(report_number("18446744073709551616", 20, &n) && n == UINT64_MAX);
        assert_true(report_key("anon 1\nshmem_x 2\nshmem 8192\n", 28, "shmem", &n) && n == 8192);
        assert_false(report_key("anon 1\n", 7, "shmem", &n));
}

static void test_dmem(void **state) {
        static const char text[] = "drm/0000:03:00.0/vram0 8514437120\ndrm/0000:03:00.0/stolen 67108864\n"
                                   "drm/0000:04:00.0/vram0 max\nbad\n/ 1\na/b 2\nx/y/z/w 3\n";
        struct dmem_row rows[2];

        assert_int_equal(dmem_parse(text, sizeof(text) - 1, rows, 2), 3);
        assert_string_equal(rows[0].driver, "drm");
        assert_string_equal(rows[0].device, "0000:03:00.0");
        assert_string_equal(rows[0].region, "vram0");
        assert_true(rows[0].bytes == 8514437120);
        assert_string_equal(rows[1].region, "stolen");
        assert_int_equal(dmem_parse("", 0, rows, 2), 0);
}

static size_t read_sample(const char *name, char *to, size_t room) {
        const char *dir = getenv("SVMD_FIXTURES");
        char path[512];
        size_t n;
        FILE *f;

        if (!dir)
                return 0;
        snprintf(path, sizeof(path), "%s/fdinfo/%s", dir, name);
        f = fopen(path, "re");
        assert_non_null(f);
        n = fread(to, 1, room, f);
        fclose(f);
        return n;
}

/* Figures that a person read off the samples. */
static void test_samples(void **state) {
        char text[16384];
        struct fdinfo f;
        size_t n = read_sample("amdgpu-6.13-gfx.txt", text, sizeof(text));

        if (n == 0)
                return;
        fdinfo_parse(text, n, &f);
        assert_string_equal(f.driver, "amdgpu");
        assert_int_equal(fdinfo_bytes(region(&f, "vram")), 544428 * KIB);
        n = read_sample("xe-dg2.txt", text, sizeof(text));
        fdinfo_parse(text, n, &f);
        assert_string_equal(f.driver, "xe");
        assert_true(f.regions_count > 0);
        n = read_sample("panthor.txt", text, sizeof(text));
        fdinfo_parse(text, n, &f);
        assert_string_equal(f.driver, "panthor");
        n = read_sample("dmabuf-fd.txt", text, sizeof(text));
        fdinfo_parse(text, n, &f);
        assert_string_equal(f.driver, "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_amdgpu),  cmocka_unit_test(test_which_bytes), cmocka_unit_test(test_no_fdinfo),
                cmocka_unit_test(test_bounds),  cmocka_unit_test(test_numbers),     cmocka_unit_test(test_dmem),
                cmocka_unit_test(test_samples),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
