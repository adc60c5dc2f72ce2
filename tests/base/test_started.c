/* When processes began: the text that the kernel has of each, whatever they are called, and processes that there are.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/started.h"

#define BEHIND " S 1 17 17 0 -1 4194560 154 0 0 0 12 3 0 0 20 0 1 0 "

static void test_names(void **state) {
        static const char *const names[] = { "svmd", "", ")", "(", "a b", ") S 1 2 3 4 5", "()()", "\n" };
        char text[256];
        uint64_t started;

        for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                started = 0;
                snprintf(text, sizeof(text), "17 (%s)" BEHIND "4711 8192 1\n", names[i]);
                assert_true(started_parse(text, &started));
                assert_int_equal(started, 4711);
        }
        assert_true(started_parse("1 (x)" BEHIND "18446744073709551615", &started));
        assert_true(started == UINT64_MAX);
}

static void test_no_such_text(void **state) {
        static const char *const texts[] = { "",
                                             "17",
                                             "17 svmd" BEHIND "4711",
                                             "17 (svmd)",
                                             "17 (svmd)" BEHIND,
                                             "17 (svmd) S 1 17 x 0 -1 4194560 154 0 0 0 12 3 0 0 20 0 1 0 4711" };
        uint64_t started = 5;

        for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                assert_false(started_parse(texts[i], &started));
        assert_int_equal(started, 5);
}

/* One that has ended is there until its parent knows, and then no more. */
static void test_processes(void **state) {
        uint64_t me, child, again = 5;
        pid_t pid;

        assert_int_equal(prctl(PR_SET_NAME, "a) (b c"), 0);
        assert_int_equal(started_read((uint32_t)getpid(), &me), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(0);
        assert_int_equal(started_read((uint32_t)pid, &child), 0);
        assert_true(me > 0 && child >= me);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(started_read(UINT32_MAX, &again), -ESRCH);
        assert_int_equal(again, 5);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_no_such_text),
                cmocka_unit_test(test_processes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
