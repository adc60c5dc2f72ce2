/* What is found below /dev/dri: names in order, and what is no device says why. (The guest's tests have real ones.) */
#include <errno.h>
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

#include "backend/drm.h"

static char dir[] = "/tmp/svmd-drm-XXXXXX";

static void shell(const char *command) {
        char line[512];

        snprintf(line, sizeof(line), "cd %s && %s", dir, command);
        assert_int_equal(system(line), 0);
}

static struct drm *look(const struct drm_device **ret, uint32_t *ret_count) {
        struct drm *d;

        assert_int_equal(drm_new(&d, dir, dir), 0);
        for (unsigned i = 0; i < 30000 && !drm_devices(d, ret, ret_count); i++)
                usleep(1000);
        assert_true(drm_devices(d, ret, ret_count));
        return d;
}

static void test_none(void **state) {
        const struct drm_device *v;
        uint32_t count;

        drm_free(look(&v, &count));
        assert_int_equal(count, 0);
        assert_true(drm_devices(NULL, &v, &count));
        assert_int_equal(count, 0);
        drm_free(NULL);
}

static void test_order(void **state) {
        const struct drm_device *v;
        struct drm *d;
        uint32_t count;

        shell("mkdir -p dri class/drm/card2/device/drm/renderD130 && touch dri/card10 dri/card2 dri/cardx dri/card3x "
              "dri/renderD130 dri/controlD64");
        d = look(&v, &count);
        assert_int_equal(count, 2);
        assert_int_equal(v[0].minor, 2);
        assert_true(v[0].render);
        assert_string_equal(v[0].node, "/dev/dri/renderD130");
        assert_int_equal(v[1].minor, 10);
        assert_false(v[1].render);
        assert_string_equal(v[1].node, "/dev/dri/card10");
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(v[i].error, ENODEV); /* a plain file is no device */
                assert_string_equal(v[i].driver, "");
        }
        drm_free(d);
        shell("rm dri/renderD130");
        d = look(&v, &count);
        assert_int_equal(v[0].error, ENOENT);
        drm_free(d);
        shell("rm -r dri class");
}

static void test_many(void **state) {
        const struct drm_device *v;
        struct drm *d;
        uint32_t count;

        shell("mkdir dri && for i in $(seq 0 99); do touch dri/card$i; done");
        d = look(&v, &count);
        assert_int_equal(count, DRM_DEVICES_MAX);
        drm_free(d);
        shell("rm -r dri");
}

/* It goes before the thread is done. */
static void test_free_at_once(void **state) {
        struct drm *d;

        for (unsigned i = 0; i < 100; i++) {
                assert_int_equal(drm_new(&d, dir, dir), 0);
                drm_free(d);
        }
}

static int make_dir(void **state) {
        return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
        return rmdir(dir);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_none),
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_many),
                cmocka_unit_test(test_free_at_once),
        };

        return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
