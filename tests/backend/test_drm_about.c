/* What is found out about an open device: its memory by each driver's way, and what it is of SR-IOV. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/drm.h"
#include "backend/drm_about.h"
#include "drm_model.h"
#include "proto/uapi/xe.h"

#define MIB (1ull << 20)

static char dir[] = "/tmp/svmd-about-XXXXXX";
static struct drm_card card = { .driver = &drm_driver_xe, .vram = 64 * MIB, .system = 256 * MIB, .binds_max = 300 };
static struct drm_file *file;
static unsigned fail_at, calls; /* the so manieth call fails */
static uint32_t say_size;       /* the answer is said to be so long; 0: as long as it is */

static int copy_in(void *userdata, uint64_t at, void *ret, size_t size) {
        memcpy(ret, (const void *)(uintptr_t)at, size);
        return 0;
}

static int copy_out(void *userdata, uint64_t at, const void *bytes, size_t size) {
        memcpy((void *)(uintptr_t)at, bytes, size);
        return 0;
}

int __wrap_drmIoctl(int fd, unsigned long request, void *arg);
int __wrap_drmIoctl(int fd, unsigned long request, void *arg) {
        const struct drm_caller me = { .read = copy_in, .write = copy_out };
        struct xe_device_query *q = arg;
        int r = ++calls == fail_at ? -EIO : drm_file_ioctl(file, &me, request, arg);

        if (r == 0 && calls == 1 && say_size)
                q->size = say_size;
        errno = -r;
        return r < 0 ? -1 : 0;
}

static void shell(const char *command) {
        char line[512];

        snprintf(line, sizeof(line), "cd %s && %s", dir, command);
        assert_int_equal(system(line), 0);
}

static struct drm_device about(const char *driver) {
        struct drm_device v = { .minor = 1 };

        snprintf(v.driver, sizeof(v.driver), "%s", driver);
        calls = 0;
        drm_about(&v, 3, dir);
        return v;
}

static void test_xe(void **state) {
        struct drm_device v = about("xe");

        assert_int_equal(v.capacity, 64 * MIB);
        assert_int_equal(v.used, 0);
        assert_int_equal(calls, 2);
        card.vram_used = 16 * MIB;
        assert_int_equal(about("xe").used, 16 * MIB);
        card.vram_used = 0;
        card.vram = 0; /* one that is part of the processor */
        assert_int_equal(about("xe").capacity, 0);
        card.vram = 64 * MIB;
        for (fail_at = 1; fail_at <= 2; fail_at++)
                assert_int_equal(about("xe").capacity, 0);
        fail_at = 0;
        for (say_size = 1; say_size <= 1u << 31; say_size = say_size * 2 + 1)
                assert_true(about("xe").capacity <= 64 * MIB);
        say_size = 0;
}

static void test_amdgpu(void **state) {
        assert_int_equal(about("amdgpu").capacity, 0);
        shell("mkdir -p class/drm/card1/device && cd class/drm/card1/device && echo 1073741824 >mem_info_vram_total && "
              "echo 4096 >mem_info_vram_used");
        assert_int_equal(about("amdgpu").capacity, 1024 * MIB);
        assert_int_equal(about("amdgpu").used, 4096);
        shell("echo many >class/drm/card1/device/mem_info_vram_total");
        assert_int_equal(about("amdgpu").capacity, 0);
        shell("rm -r class");
}

static void test_nouveau(void **state) {
        struct drm_file *xe = file;
        struct drm_device v;

        card.driver = &drm_driver_nouveau;
        assert_int_equal(drm_file_new(&file, &card), 0);
        v = about("nouveau");
        assert_int_equal(v.capacity, 64 * MIB);
        assert_int_equal(v.used, 0); /* an older kernel */
        assert_true(v.varies);
        card.tells_used = true;
        card.pinned = 16 * MIB;
        v = about("nouveau");
        assert_int_equal(v.capacity, 48 * MIB);
        assert_int_equal(v.used, 16 * MIB);
        fail_at = 1;
        assert_int_equal(about("nouveau").capacity, 0);
        fail_at = 0;
        card.pinned = 0;
        drm_file_free(file);
        file = xe;
        card.driver = &drm_driver_xe;
}

static void test_functions(void **state) {
        struct drm_device v;

        shell("mkdir -p class/drm/card1/device && cd class/drm/card1/device && echo 2 >sriov_numvfs && echo 24 "
              ">sriov_totalvfs");
        v = about("xe");
        assert_int_equal(v.functions, 2);
        assert_int_equal(v.functions_most, 24);
        assert_string_equal(v.physical, "");
        shell("cd class/drm/card1/device && rm * && ln -s ../0000:03:00.0 physfn");
        v = about("xe");
        assert_int_equal(v.functions_most, 0);
        assert_string_equal(v.physical, "pci 0000:03:00.0");
        shell("rm -r class");
}

static int set_up(void **state) {
        return mkdtemp(dir) ? drm_file_new(&file, &card) : -1;
}

static int tear_down(void **state) {
        drm_file_free(file);
        shell("cd / && rmdir \"$OLDPWD\"");
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_xe),
                cmocka_unit_test(test_amdgpu),
                cmocka_unit_test(test_nouveau),
                cmocka_unit_test(test_functions),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
