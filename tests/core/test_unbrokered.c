#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/unbrokered.h"

#define MIB (1ull << 20)

static const struct claim claims[] = {
        { { "/dev/dri/renderD128", "0000:03:00.0", "4711" }, 8 * MIB },
        { { "/dev/nvidia", "0000:3b:00.0" }, 0 },
        { { "/dev/dri/renderD128" }, 2 * MIB },
};

static bool beyond(enum sight_kind kind, const char *device, uint64_t bytes, uint64_t claimed) {
        const struct sight seen = { kind, device, bytes };
        uint64_t said = UINT64_MAX;
        bool r = unbrokered(claims, 3, &seen, &said);

        assert_int_equal(said, claimed);
        return r;
}

static void test_memory(void **state) {
        assert_false(beyond(SIGHT_MEMORY, "0000:03:00.0", 8 * MIB, 8 * MIB));
        assert_true(beyond(SIGHT_MEMORY, "0000:03:00.0", 8 * MIB + 1, 8 * MIB));
        assert_false(beyond(SIGHT_MEMORY, "4711", 1, 8 * MIB));
        assert_false(beyond(SIGHT_MEMORY, "/dev/dri/renderD128", 10 * MIB, 10 * MIB)); /* two nodes of one device */
        assert_true(beyond(SIGHT_MEMORY, "0000:04:00.0", 1, 0));
        assert_true(beyond(SIGHT_MEMORY, "0000:3b:00.0", 1, 0));
        assert_false(beyond(SIGHT_MEMORY, "0000:3b:00.0", 0, 0));
}

static void test_files(void **state) {
        assert_false(beyond(SIGHT_OPEN, "/dev/dri/renderD128", 0, 0));
        assert_true(beyond(SIGHT_OPEN, "/dev/dri/renderD129", 0, 0));
        assert_true(beyond(SIGHT_OPEN, "/dev/kfd", 0, 0));
        assert_false(beyond(SIGHT_OPEN, "/dev/nvidia-uvm", 0, 0));
        assert_false(beyond(SIGHT_MAPPED, "/dev/nvidia0", 5 * MIB, 5 * MIB));
        assert_true(beyond(SIGHT_MAPPED, "/dev/dri/renderD12", 4096, 0)); /* no name is the beginning of another */
}

/* What has no name is nobody's. */
static void test_none(void **state) {
        const struct claim nameless = { .bytes = MIB };
        const struct sight seen = { SIGHT_MEMORY, "", 1 };
        uint64_t claimed;

        assert_true(unbrokered(&nameless, 1, &seen, &claimed));
        assert_true(unbrokered(NULL, 0, &seen, &claimed));
        assert_int_equal(claimed, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_memory),
                cmocka_unit_test(test_files),
                cmocka_unit_test(test_none),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
