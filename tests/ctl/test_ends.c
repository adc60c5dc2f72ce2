/*
 * What holds for every verb, from the table of verbs: how it ends, and that what cannot be undone is asked for where a
 * person can answer. A verb that is new is in these tests without a line of its own.
 */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json_tokener.h>

#include "args.h"
#include "ctl.h"
#include "expect.h"
#include "fake.h"
#include "machine.h"
#include "verbs.h"

static const struct svmd_session_row sessions[] = {
        { .id = 12, .partition = "train", .client = "loader", .pid = 77, .withheld = "" }
};
static const struct svmd_kept_row kept[] = {
        { .kind = SVMD_KEPT_RANGE, .partition = "train", .name = "weights", .length = GIB, .left_ms = UINT64_MAX },
        { .kind = SVMD_KEPT_MEM, .partition = "train", .name = "cache", .length = GIB, .left_ms = UINT64_MAX },
        { .kind = SVMD_KEPT_LEASE, .partition = "serve", .name = "asleep", .length = GIB, .left_ms = UINT64_MAX },
};

static const struct svmd_share_row shares[] = {
        { .partition = "serve-a", .name = "weights", .to = "serve-b", .access = SVMD_ACCESS_READ, .length = GIB },
};

static int setup(void **state) {
        machine_setup(state);
        fake.sessions = sessions;
        fake.sessions_count = COUNT(sessions);
        fake.kept = kept;
        fake.kept_count = COUNT(kept);
        fake.shares = shares;
        fake.shares_count = COUNT(shares);
        fake.upgraded = "0.2.0";
        return 0;
}

/* An example, as a line for run(): without "svmd-ctl" and what comes behind a pipe. */
static const char *example(const struct verb *v, unsigned which) {
        static char line[256];
        char *pipe;

        snprintf(line, sizeof(line), "%s", v->examples[which] + strlen("svmd-ctl "));
        pipe = strstr(line, " | ");
        if (pipe)
                *pipe = '\0';
        return line;
}

static const char *with(const char *line, const char *more) {
        static char text[320];

        snprintf(text, sizeof(text), "%s %s", line, more);
        return text;
}

static void expect_status(const char *line, int want) {
        int got = run(line);

        if (got != want)
                fail_msg("'%s' ended with %d, not %d: %s%s", line, got, want, run_out, run_err);
        assert_true(want == EXIT_OK || (strncmp(run_err, "svmd-ctl: ", 10) == 0 && strlen(run_err) > 12));
}

static void test_usage(void **state) {
        for (unsigned i = 0; i < verbs_count; i++) {
                const struct verb *v = &verbs[i];

                /* The options of a program that is started end at its name. */
                expect_status(with(v->name, "--no-such-option"), EXIT_USAGE);
                if (v->least)
                        expect_status(v->name, EXIT_USAGE);
                if (v->most < 8)
                        expect_status(with(v->name, "a b c d e f g h i"), EXIT_USAGE);
        }
        assert_int_equal(fake.connects, 0);
}

/* What 'wait' waits for may be svmd itself: it has the time over instead; and a report is of what can be had. */
static bool goes_on(const struct verb *v) {
        return v->flags & VERB_NO_SESSION;
}

static void test_unreached(void **state) {
        for (unsigned i = 0; i < verbs_count; i++) {
                if (goes_on(&verbs[i]))
                        continue;
                setup(NULL);
                fake.admin_code = fake.client_code = SVMD_E_SYSTEM;
                fake.error = "nobody is there";
                expect_status(example(&verbs[i], 0), EXIT_UNREACHED);
        }
        fake.admin_code = fake.client_code = SVMD_E_SYSTEM;
        expect_status("wait ready --timeout 0.05", EXIT_TIMEOUT);
}

static void test_refused(void **state) {
        for (unsigned i = 0; i < verbs_count; i++) {
                if (goes_on(&verbs[i]))
                        continue;
                setup(NULL);
                fake.admin_code = fake.client_code = SVMD_E_DENIED;
                fake.error = "you may not";
                expect_status(example(&verbs[i], 0), EXIT_REFUSED);
                assert_non_null(strstr(run_err, "you may not"));
        }
}

/* Without a yes nothing is changed; and nobody is asked who said it before, or cannot answer. */
static void test_asks(void **state) {
        unsigned count = 0;

        for (unsigned i = 0; i < verbs_count; i++) {
                const struct verb *v = &verbs[i];

                if (!(v->flags & VERB_ASKS))
                        continue;
                count++;
                assert_true(v->options & BIT(OPT_YES) && v->options & BIT(OPT_DRY_RUN));
                setup(NULL);
                if (run_asked(example(v, 0), "n\n") != EXIT_REFUSED)
                        fail_msg("'%s' goes on without a yes: %s%s", v->name, run_out, run_err);
                assert_non_null(strstr(run_err, "? [y/N] "));
                assert_non_null(strstr(run_err, "nothing was done"));
                assert_int_equal(fake.changes, 0);
                setup(NULL);
                run_asked(with(example(v, 0), "--yes"), "n\n");
                assert_null(strstr(run_err, "[y/N]"));
                assert_null(strstr(run_err, "nothing was done"));
                setup(NULL);
                run_asked(with(example(v, 0), "--dry-run"), "n\n");
                assert_null(strstr(run_err, "[y/N]"));
                setup(NULL);
                run(example(v, 0));
                assert_null(strstr(run_err, "[y/N]"));
                assert_null(strstr(run_err, "nothing was done"));
        }
        assert_true(count >= 10);
}

/* Who is asked whether sessions shall end sees which; what goes on standard output stays what was asked for. */
static void test_plan_is_shown(void **state) {
        static const struct svmd_plan_row steps[] = {
                { .node = 1, .kind = SVMD_PLAN_STEAL, .bytes = MIB, .session = 12, .pid = 77, .client = "loader" },
        };

        fake.plan = steps;
        fake.plan_count = COUNT(steps);
        assert_int_equal(run_asked("partition delete train --end-sessions --json", "n\n"), EXIT_REFUSED);
        assert_non_null(strstr(run_err, "taken: the session ends"));
        assert_non_null(strstr(run_err, "session 12, pid 77 (loader)"));
        assert_string_equal(run_out, "");
        assert_int_equal(fake.changes, 0);
}

/* Every option has the same word for yes, and help says how each verb ends. */
static void test_said(void **state) {
        for (unsigned i = 0; i < verbs_count; i++) {
                expect_status(with(verbs[i].name, "--help"), EXIT_OK);
                assert_non_null(strstr(run_out, "\nExit status: 0 done, 1 "));
                assert_true((strstr(run_out, "asks first, unless") != NULL) == ((verbs[i].flags & VERB_ASKS) != 0));
                assert_non_null(verbs[i].examples[0]);
                assert_non_null(verbs[i].examples[1]);
        }
}

/* Whatever a verb writes with --json is JSON, and a dry run writes what the change would. What it has to be is in
 * docs/schema, which schema.py compares. */
static void test_json(void **state) {
        for (unsigned i = 0; i < verbs_count; i++) {
                const struct verb *v = &verbs[i];
                const char *line = with(example(v, 0), v->options & BIT(OPT_DRY_RUN) ? "--dry-run --json" : "--json");
                struct json_object *o;

                if (strcmp(v->name, "monitor") == 0 || strcmp(v->name, "trace record") == 0 ||
                    strcmp(v->name, "bugreport") == 0)
                        continue;
                setup(NULL);
                if (run(line) != EXIT_OK && !*run_out)
                        continue;
                o = json_tokener_parse(run_out);
                if (!o)
                        fail_msg("'%s' writes no JSON: %s", line, run_out);
                json_object_put(o);
        }
}

static void test_picture(void **state) {
        assert_int_equal(run("map --svg -"), EXIT_OK);
        assert_memory_equal(run_out, "<svg xmlns=", 11);
        expect("map index --svg -", EXIT_USAGE, "", "svmd-ctl: --svg is of partitions: give it without a RANGE\n");
        expect("map --svg /nowhere/map.svg", EXIT_REFUSED, "",
               "svmd-ctl: cannot write /nowhere/map.svg: No such file or directory\n");
        expect("map --svg /dev/full", EXIT_REFUSED, "", "svmd-ctl: cannot write /dev/full: No space left on device\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_usage, setup),   cmocka_unit_test_setup(test_unreached, setup),
                cmocka_unit_test_setup(test_refused, setup), cmocka_unit_test_setup(test_asks, setup),
                cmocka_unit_test_setup(test_said, setup),    cmocka_unit_test_setup(test_json, setup),
                cmocka_unit_test_setup(test_picture, setup), cmocka_unit_test_setup(test_plan_is_shown, setup),
        };

        setlocale(LC_ALL, "C");
        setenv("SVMD_RUNTIME_DIR", "/run/svmd", 1);
        unsetenv("SVMD_SOCKET");
        unsetenv("SVMD_ADMIN_SOCKET");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
