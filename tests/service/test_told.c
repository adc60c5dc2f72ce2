/* Rows of what lasts: met again by their subject, told once when they end, free for others then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "service/told.h"

static struct row {
        struct told told;
        unsigned number;
} rows[2];
static unsigned ended;
static char last[256];

static int set_up(void **state) {
        memset(rows, 0, sizeof(rows));
        ended = 0;
        return 0;
}

static void ends(struct service *svc, const struct told *row) {
        ended++;
        snprintf(last, sizeof(last), "%s", row->subject);
}

static struct row *meet(const char *subject, bool is_new) {
        bool news = !is_new;
        struct told *told = told_meet(TOLD_ROWS(rows), subject, &news);

        assert_non_null(told);
        assert_int_equal(news, is_new);
        return (struct row *)told;
}

static void test_life(void **state) {
        struct row *a = meet("a", true), *b = meet("b", true);

        a->number = 1;
        b->number = 2;
        told_end(NULL, TOLD_ROWS(rows), ends);
        assert_int_equal(ended, 0);
        assert_ptr_equal(meet("b", false), b);
        assert_int_equal(b->number, 2);
        told_end(NULL, TOLD_ROWS(rows), ends);
        assert_int_equal(ended, 1);
        assert_string_equal(last, "a");
        assert_ptr_equal(meet("c", true), a);
        told_end(NULL, TOLD_ROWS(rows), ends);
        assert_int_equal(ended, 2);
        assert_string_equal(last, "b");
        told_end(NULL, TOLD_ROWS(rows), ends);
        assert_int_equal(ended, 3);
        told_end(NULL, TOLD_ROWS(rows), ends);
        assert_int_equal(ended, 3);
}

static void test_no_room(void **state) {
        bool news;

        meet("a", true);
        meet("b", true);
        assert_null(told_meet(TOLD_ROWS(rows), "c", &news));
        meet("a", false);
}

/* One that is longer than a row has room for is the same the next time. */
static void test_long(void **state) {
        char subject[400];

        memset(subject, 'x', sizeof(subject) - 1);
        subject[sizeof(subject) - 1] = 0;
        meet(subject, true);
        told_end(NULL, TOLD_ROWS(rows), ends);
        meet(subject, false);
        told_end(NULL, TOLD_ROWS(rows), ends);
        assert_int_equal(ended, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_life, set_up),
                cmocka_unit_test_setup(test_no_room, set_up),
                cmocka_unit_test_setup(test_long, set_up),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
