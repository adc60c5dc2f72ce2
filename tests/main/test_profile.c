/*
 * Profiles as files: those that svmd comes with say every key, and what is compiled in; others say what is different
 * from balanced, or get the sentence of their mistake.
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
#include <unistd.h>

#include <cmocka.h>

#include "main/options.h"
#include "main/profile.h"
#include "policy/policy.h"

static char dir[64], file[96], err_text[1024];

static int make_dir(void **state) {
        snprintf(dir, sizeof(dir), "/tmp/svmd-profile-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        snprintf(file, sizeof(file), "%s/mine.conf", dir);
        return 0;
}

static int remove_dir(void **state) {
        unlink(file);
        return rmdir(dir);
}

static int load(struct policy_profile *p, const char *name) {
        err_text[0] = '\0';
        return profile_load(p, name, err_text, sizeof(err_text));
}

static int load_text(struct policy_profile *p, const char *text) {
        FILE *f = fopen(file, "w");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
        return load(p, file);
}

static size_t size_of(const struct option_desc *o) {
        return o->kind == OPTION_SWITCH ? sizeof(bool) : sizeof(uint32_t);
}

static void assert_same(const struct policy_profile *a, const struct policy_profile *b) {
        for (size_t i = 0; i < profile_options_count; i++) {
                const struct option_desc *o = &profile_options[i];

                if (memcmp((const char *)a + o->offset, (const char *)b + o->offset, size_of(o)))
                        fail_msg("%s and %s differ in %s", a->name, b->name, o->name);
        }
}

static void test_names(void **state) {
        static const char *const names[] = { "balanced", "throughput", "latency", "pinned" };
        struct policy_profile p;

        assert_int_equal(policy_profiles_count, 4);
        for (unsigned i = 0; i < 4; i++) {
                assert_int_equal(load(&p, names[i]), 0);
                assert_string_equal(p.name, names[i]);
                assert_same(&p, policy_profile_find(names[i]));
        }
        assert_string_equal(policy_profile_default()->name, "balanced");
        assert_null(policy_profile_find("fast"));
        assert_int_equal(load(&p, "fast"), 1);
        assert_non_null(strstr(err_text, "or the path of a file, with a slash, found \"fast\""));
}

/* The file's own text: every key once, and what was compiled in. */
static void test_files(void **state) {
        for (uint32_t i = 0; i < policy_profiles_count; i++) {
                struct policy_profile p;
                char path[256], text[8192];
                size_t n;
                FILE *f;

                snprintf(path, sizeof(path), "%s/%s.conf", PROFILES, policy_profiles[i].name);
                assert_int_equal(load(&p, path), 0);
                assert_same(&p, &policy_profiles[i]);
                f = fopen(path, "r");
                assert_non_null(f);
                n = fread(text, 1, sizeof(text) - 1, f);
                fclose(f);
                text[n] = '\0';
                for (size_t k = 0; k < profile_options_count; k++) {
                        char key[64];
                        const char *at;

                        snprintf(key, sizeof(key), "\n%s = ", profile_options[k].name);
                        at = strstr(text, key);
                        if (!at || strstr(at + 1, key))
                                fail_msg("%s has to say %s once", path, profile_options[k].name);
                }
        }
}

/* What the table of keys calls the default is what balanced says. */
static void test_defaults(void **state) {
        for (size_t i = 0; i < profile_options_count; i++) {
                struct policy_profile p = *policy_profile_default();
                const struct option_desc *o = &profile_options[i];
                char why[256];

                memset((char *)&p + o->offset, 0, size_of(o));
                assert_int_equal(option_read(o, (char *)&p + o->offset, o->fallback, why, sizeof(why)), 0);
                assert_same(&p, policy_profile_default());
        }
}

static void test_own(void **state) {
        struct policy_profile p, expected = *policy_profile_default();

        expected.chance_ms = 7;
        expected.peer_moves = false;
        assert_int_equal(load_text(&p, "# mine\nchance-ms = 7\n\n ; and\npeer-moves=off"), 0);
        assert_same(&p, &expected);
        assert_string_equal(p.name, "mine");
        assert_int_equal(load_text(&p, ""), 0);
        assert_same(&p, policy_profile_default());
}

static void test_mistakes(void **state) {
        static const struct {
                const char *text, *sentence;
        } mistakes[] = {
                { "chance-ms = 7\nchance_ms = 8\n",
                  ":2: there is no key \"chance_ms\" in a profile; did you mean \"chance-ms\"?" },
                { "soft-node = 8\n", ":1: there is no key \"soft-node\" in a profile; svmd.conf(5) lists them" },
                { "\n\nbounces = 0\n", ":3: bounces: expected at least 1, found \"0\"" },
                { "bounces = 256\n", ":1: bounces: expected at most 255, found \"256\"" },
                { "bounces = four\n", ":1: bounces: expected a number, found \"four\"" },
                { "leaf-kib = 66\n", ":1: leaf-kib: expected a multiple of 4, found \"66\"" },
                { "leaf-kib = 96\n", ":1: leaf-kib: expected a power of two, found \"96\"" },
                { "touch-moves = maybe\n", ":1: touch-moves: expected on or off, found \"maybe\"" },
                { "[svmd]\nbounces = 2\n", ":2: expected no section, found [svmd]" },
                { "bounces = 2\nbounces\n", ":2: expected KEY = VALUE, or a comment behind # or ;" },
        };

        for (unsigned i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
                struct policy_profile p = { .bounces = 77 };
                char expected[512];

                snprintf(expected, sizeof(expected), "%s%s", file, mistakes[i].sentence);
                assert_int_equal(load_text(&p, mistakes[i].text), 1);
                assert_string_equal(err_text, expected);
                assert_int_equal(p.bounces, 77);
        }
}

static void test_no_file(void **state) {
        struct policy_profile p;

        unlink(file);
        assert_int_equal(load(&p, file), 1);
        assert_non_null(strstr(err_text, "mine.conf: No such file or directory: let svmd read it"));
        assert_int_equal(mkfifo(file, 0600), 0);
        assert_int_equal(load(&p, file), 1);
        assert_int_equal(load(&p, "/"), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names), cmocka_unit_test(test_files),    cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_own),   cmocka_unit_test(test_mistakes), cmocka_unit_test(test_no_file),
        };

        return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
