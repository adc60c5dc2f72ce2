/* What runtimes write, and what comes of it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "hook/demand.h"
#include "hook/state.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static char why[STATE_WHY];

static void parse(struct state *s, const char *text) {
        if (state_parse(s, text, strlen(text), why) != 0)
                fail_msg("%s: %s", text, why);
}

static void test_state(void **unused) {
        struct state s;

        /* As crun writes it. */
        parse(&s,
              "{\"ociVersion\":\"1.0.0\",\"id\":\"c1\",\"pid\":17,\"root\":\"/x/rootfs\",\"bundle\":\"/x\","
              "\"status\":\"created\",\"annotations\":{\"org.svmd.size\":\"4G\",\"other\":[1]},\"new\":{\"a\":[]}}");
        assert_string_equal(s.id, "c1");
        assert_int_equal(s.pid, 17);
        assert_string_equal(s.bundle, "/x");
        assert_int_equal(s.annotations_count, 1);
        assert_string_equal(s.annotations[0].key, "size");
        state_free(&s);
        parse(&s, "{\"id\":\"c1\"}");
        assert_int_equal(s.pid, 0);
        state_free(&s);
        parse(&s, "{\"id\":\"c1\",\"annotations\":null}");
        state_free(&s);
}

static void test_malformed(void **unused) {
        static const struct {
                const char *text, *why;
        } cases[] = {
                { "", "no JSON" },
                { "{\"id\":\"c1\"", "no JSON" },
                { "[]", "no object" },
                { "7 ", "no object" },
                { "{}", "no id" },
                { "{\"id\":7}", "no id" },
                { "{\"id\":\"\"}", "no id" },
                { "{\"id\":\"a\\u0000b\"}", "no id" },
                { "{\"id\":\"c\",\"pid\":\"1\"}", "pid" },
                { "{\"id\":\"c\",\"pid\":-1}", "pid" },
                { "{\"id\":\"c\",\"pid\":99999999999}", "pid" },
                { "{\"id\":\"c\",\"bundle\":{}}", "bundle" },
                { "{\"id\":\"c\",\"annotations\":[]}", "annotations" },
                { "{\"id\":\"c\",\"annotations\":{\"org.svmd.size\":4}}", "org.svmd.size" },
        };
        struct state s;

        for (size_t i = 0; i < COUNT(cases); i++) {
                assert_int_equal(state_parse(&s, cases[i].text, strlen(cases[i].text), why), -EINVAL);
                if (!strstr(why, cases[i].why))
                        fail_msg("%s: %s", cases[i].text, why);
        }
}

/* A state with so many bytes wrong is read, or refused with a sentence. */
static void test_random(void **unused) {
        static const char text[] =
                "{\"id\":\"c1\",\"pid\":17,\"bundle\":\"/x\",\"annotations\":{\"org.svmd.size\":\"4G\"}}";
        unsigned seed = (unsigned)time(NULL), refused = 0;

        print_message("seed %u\n", seed);
        for (unsigned i = 0; i < 20000; i++) {
                char copy[sizeof(text)];
                struct demand d;
                struct state s;

                memcpy(copy, text, sizeof(text));
                for (int k = 0; k < 1 + rand_r(&seed) % 3; k++)
                        copy[(unsigned)rand_r(&seed) % (sizeof(text) - 1)] = "\"{}[]:,\\0a\x01\xff"[rand_r(&seed) % 12];
                why[0] = 0;
                if (state_parse(&s, copy, sizeof(text) - 1, why) < 0) {
                        assert_true(why[0]);
                        refused++;
                        continue;
                }
                assert_true(s.id[0]);
                (void)demand_of(&d, &s, NULL, why);
                state_free(&s);
        }
        assert_true(refused > 1000);
}

static int demand(struct demand *d, const char *annotations, const char *name) {
        char text[512];
        struct state s;
        int r;

        snprintf(text, sizeof(text), "{\"id\":\"-c1_\",\"annotations\":{%s}}", annotations);
        parse(&s, text);
        r = demand_of(d, &s, name, why);
        if (r == 0 && d->limits_count)
                d->limits[0].node = strstr("gpu0", d->limits[0].node); /* which the state had */
        state_free(&s);
        return r;
}

static void test_demand(void **unused) {
        struct demand d;

        assert_int_equal(demand(&d, "", NULL), 0);
        assert_string_equal(d.name, "");
        assert_int_equal(demand(&d, "", "train"), 0);
        assert_string_equal(d.name, "train");
        assert_false(d.makes);
        assert_int_equal(demand(&d, "\"org.svmd.partition\":\"train\"", NULL), 0);
        assert_string_equal(d.name, "train");
        assert_false(d.makes);
        assert_int_equal(demand(&d, "\"org.svmd.max.gpu0\":\"2G\"", NULL), 0);
        assert_string_equal(d.name, "c1");
        assert_true(d.makes);
        assert_string_equal(d.limits[0].node, "gpu0");
        assert_true(d.limits[0].bytes == 2ull << 30 && !d.limits[0].min);
        assert_int_equal(demand(&d, "\"org.svmd.max.gpu0\":\"none\"", NULL), 0);
        assert_true(d.limits[0].bytes == UINT64_MAX);
        assert_int_equal(demand(&d, "\"org.svmd.min.gpu0\":\"1G\",\"org.svmd.size\":\"8G\"", "x"), 0);
        assert_true(d.limits[0].min && d.size == 8ull << 30);
        assert_string_equal(d.domain, "");
        assert_int_equal(demand(&d, "\"org.svmd.domain\":\"shop\"", NULL), 0);
        assert_string_equal(d.domain, "shop");
        assert_true(d.makes);
}

static void test_wrong_demands(void **unused) {
        static const char *const cases[] = {
                "\"org.svmd.size\":\"much\"",     "\"org.svmd.max.\":\"1G\"",    "\"org.svmd.max.gpu0\":\"-1\"",
                "\"org.svmd.min.gpu0\":\"none\"", "\"org.svmd.partition\":\"\"", "\"org.svmd.partition\":\"a/../b\"",
                "\"org.svmd.colour\":\"red\"",    "\"org.svmd.size\":\"4GB\"",   "\"org.svmd.domain\":\"\"",
                "\"org.svmd.domain\":\"a shop\"",
        };
        struct demand d;

        for (size_t i = 0; i < COUNT(cases); i++) {
                assert_int_equal(demand(&d, cases[i], NULL), -EINVAL);
                assert_non_null(strstr(why, "org.svmd."));
        }
}

static void test_names(void **unused) {
        char name[DEMAND_NAME];

        demand_name(name, "/../etc");
        assert_string_equal(name, "etc");
        demand_name(name, "..");
        assert_string_equal(name, "");
        demand_name(name, "0123456789012345678901234567890123456789012345678901234567890123456789");
        assert_int_equal(strlen(name), 63);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_state),  cmocka_unit_test(test_malformed),     cmocka_unit_test(test_random),
                cmocka_unit_test(test_demand), cmocka_unit_test(test_wrong_demands), cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
