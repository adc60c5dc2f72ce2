/* Suggestions and conditions: what a person types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "condition.h"
#include "suggest.h"

static void test_distance(void **state) {
        static const struct {
                const char *a, *b;
                unsigned distance;
        } cases[] = {
                { "", "", 0 },
                { "", "abc", 3 },
                { "abc", "", 3 },
                { "map", "map", 0 },
                { "mpa", "map", 1 },
                { "mop", "map", 1 },
                { "maps", "map", 1 },
                { "ap", "map", 1 },
                { "sttaus", "status", 1 },
                { "kitten", "sitting", 3 },
                { "flaw", "lawn", 2 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                assert_int_equal(suggest_distance(cases[i].a, cases[i].b), cases[i].distance);
                assert_int_equal(suggest_distance(cases[i].b, cases[i].a), cases[i].distance);
        }
}

static void test_suggest(void **state) {
        static const char *const verbs[] = { "status", "partition", "map", "monitor", "wait" };
        char longest[1000];

        assert_string_equal(suggest("pratition", verbs, 5), "partition");
        assert_string_equal(suggest("part", verbs, 5), "partition");
        assert_string_equal(suggest("stat", verbs, 5), "status");
        assert_string_equal(suggest("mpa", verbs, 5), "map");
        assert_null(suggest("frobnicate", verbs, 5));
        assert_null(suggest("x", verbs, 5));
        assert_null(suggest("", verbs, 5));
        assert_null(suggest("status", verbs, 0));
        memset(longest, 'a', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        assert_null(suggest(longest, verbs, 5));
}

static int parse(struct condition *c, const char *a, const char *b, const char *d, char *why) {
        const char *words[] = { a, b, d };

        return condition_parse(c, words, d ? 3 : b ? 2 : 1, why);
}

static void test_conditions(void **state) {
        struct condition c;
        char why[256];

        assert_int_equal(parse(&c, "ready", NULL, NULL, why), 0);
        assert_int_equal(c.kind, CONDITION_READY);
        assert_int_equal(parse(&c, "sessions", ">=", "2", why), 0);
        assert_int_equal(c.kind, CONDITION_SESSIONS);
        assert_int_equal(c.op, CONDITION_AT_LEAST);
        assert_int_equal(c.bound, 2);
        assert_int_equal(parse(&c, "sessions=0", NULL, NULL, why), 0);
        assert_int_equal(c.op, CONDITION_EQUAL);
        assert_int_equal(parse(&c, "node gpu0 used < 1.5G", NULL, NULL, why), 0);
        assert_int_equal(c.kind, CONDITION_NODE_USED);
        assert_string_equal(c.name, "gpu0");
        assert_int_equal(c.op, CONDITION_LESS);
        assert_int_equal(c.bound, 3ull << 29);
        assert_int_equal(parse(&c, "partition", "a b sessions>3", NULL, why), -1);
        assert_int_equal(parse(&c, "partition", "train sessions>3", NULL, why), 0);
        assert_int_equal(c.kind, CONDITION_PARTITION_SESSIONS);
        assert_int_equal(c.op, CONDITION_MORE);
        assert_int_equal(parse(&c, "partition", "train", "gone", why), 0);
        assert_int_equal(c.kind, CONDITION_PARTITION_GONE);
        assert_string_equal(c.name, "train");
        assert_int_equal(parse(&c, "partition", "ready", "exists", why), 0);
        assert_int_equal(c.kind, CONDITION_PARTITION_EXISTS);
}

static void test_wrong_conditions(void **state) {
        static const struct {
                const char *text, *why;
        } cases[] = {
                { "redy", "did you mean 'ready'" },
                { "", "expected 'ready'" },
                { "ready now", "did you mean 'ready'" },
                { "sessions", "expected a comparison" },
                { "sessions 3", "expected a comparison" },
                { "sessions == 3", "'==' is no comparison" },
                { "sessions => 3", "'=>' is no comparison" },
                { "sessions > many", "'many' is no whole number" },
                { "sessions > 1G", "'1G' is no whole number" },
                { "node gpu0 used > big", "'big' is no size" },
                { "node gpu0 used", "expected a comparison" },
                { "node gpu0", "did you mean 'node'" },
                { "partition a comes", "'partition NAME exists'" },
                { "a b c d e f g h i", "too long" },
        };
        struct condition c = { .bound = 42 };
        char why[256], name[80];

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                assert_int_equal(parse(&c, cases[i].text, NULL, NULL, why), -1);
                if (!strstr(why, cases[i].why))
                        fail_msg("'%s' was told: %s", cases[i].text, why);
        }
        memset(name, 'n', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        assert_int_equal(parse(&c, "partition", name, "exists", why), -1);
        assert_int_equal(c.bound, 42);
}

static void test_compare(void **state) {
        static const struct {
                enum condition_op op;
                int below, at, above;
        } cases[] = {
                { CONDITION_EQUAL, 0, 1, 0 },   { CONDITION_LESS, 1, 0, 0 },     { CONDITION_MORE, 0, 0, 1 },
                { CONDITION_AT_MOST, 1, 1, 0 }, { CONDITION_AT_LEAST, 0, 1, 1 },
        };

        for (size_t i = 0; i < 5; i++) {
                struct condition c = { .op = cases[i].op, .bound = 5 };

                assert_int_equal(condition_compare(&c, 4), cases[i].below);
                assert_int_equal(condition_compare(&c, 5), cases[i].at);
                assert_int_equal(condition_compare(&c, 6), cases[i].above);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_distance),   cmocka_unit_test(test_suggest),
                cmocka_unit_test(test_conditions), cmocka_unit_test(test_wrong_conditions),
                cmocka_unit_test(test_compare),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
