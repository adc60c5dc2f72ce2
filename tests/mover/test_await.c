/*
 * How long a worker looks for the next event before it sleeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mover/internal.h"

#define US 1000ull

static void test_short_waits_let_look(void **state) {
        uint64_t window = await_window(0, 20 * US, true);

        assert_in_range(window, 10 * US, 100 * US);
        assert_int_equal(await_window(window / 2, 0, true), window);
        assert_int_equal(await_window(window, 20 * US, true), window);
}

/* Who faults once in a while costs nobody a CPU. */
static void test_long_waits_do_not(void **state) {
        uint64_t window = await_window(0, 0, true), spent = 0;
        unsigned looks = 0;

        for (; window; looks++) {
                uint64_t next = await_window(window, 1000 * US, looks % 2);

                assert_true(next < window);
                spent += window;
                window = next;
        }
        assert_true(looks > 1);
        assert_in_range(spent, 0, 200 * US);
        assert_int_equal(await_window(0, 1000 * US, true), 0);
        assert_int_equal(await_window(0, 0, false), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_short_waits_let_look),
                cmocka_unit_test(test_long_waits_do_not),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
