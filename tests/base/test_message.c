/* Messages: their numbers, who takes them, and how many of a kind are let through. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/message.h"

static unsigned taken;
static bool takes;
static char last[256];

static bool take(const struct message_desc *m, const struct message_field *fields, size_t count, const char *text) {
        taken++;
        snprintf(last, sizeof(last), "%s %d %zu %s=%s %s=%u %s", m->id, m->level, count, count ? fields[0].name : "",
                 count ? fields[0].text : "", count ? fields[1].name : "", count ? (unsigned)fields[1].number : 0,
                 text);
        return takes;
}

static void test_numbers(void **state) {
        for (unsigned i = 0; i < MESSAGE_COUNT; i++) {
                const char *id = message_desc((enum message)i)->id;

                assert_int_equal(strlen(id), 32);
                for (const char *c = id; *c; c++)
                        assert_true(isdigit((unsigned char)*c) || (*c >= 'a' && *c <= 'f'));
                for (unsigned k = 0; k < i; k++)
                        assert_string_not_equal(id, message_desc((enum message)k)->id);
        }
}

/* What a message puts on standard error. */
static void say(char *to, size_t room) {
        int old = dup(STDERR_FILENO), ends[2];
        ssize_t n;

        assert_int_equal(pipe(ends), 0);
        dup2(ends[1], STDERR_FILENO);
        message(MESSAGE_NODE_LOST, FIELDS(FIELD_TEXT("SVMD_NODE", "gpu0"), FIELD_NUMBER("SVMD_BYTES", 7)), "%s is lost",
                "gpu0");
        dup2(old, STDERR_FILENO);
        close(ends[1]);
        n = read(ends[0], to, room - 1);
        to[n > 0 ? n : 0] = 0;
        close(ends[0]);
        close(old);
}

static void test_who_takes(void **state) {
        char text[256];

        unsetenv("JOURNAL_STREAM");
        say(text, sizeof(text));
        assert_string_equal(text, "svmd: gpu0 is lost\n");
        message_set_sink(take);
        takes = true;
        say(text, sizeof(text));
        assert_string_equal(text, "");
        assert_string_equal(last, "c51146b02f584a8ca75e91a3a39ac48f 3 2 SVMD_NODE=gpu0 SVMD_BYTES=7 gpu0 is lost");
        takes = false;
        say(text, sizeof(text));
        assert_string_equal(text, "svmd: gpu0 is lost\n");
        assert_int_equal(taken, 2);
        log_set_level(LOG_CRIT);
        say(text, sizeof(text));
        assert_string_equal(text, "");
        assert_int_equal(taken, 2);
        log_set_level(LOG_INFO);
        message_set_sink(NULL);
}

static void test_rate(void **state) {
        struct message_rate r = { 0 };
        uint64_t withheld = 99, now = 5;

        for (unsigned i = 0; i < MESSAGE_BURST; i++) {
                assert_true(message_passes(&r, now + i, &withheld));
                assert_int_equal(withheld, 0);
        }
        withheld = 99;
        for (unsigned i = 0; i < 1000; i++)
                assert_false(message_passes(&r, now + MESSAGE_PERIOD_NS - 1, &withheld));
        assert_int_equal(withheld, 99);
        assert_true(message_passes(&r, now + MESSAGE_PERIOD_NS, &withheld));
        assert_int_equal(withheld, 1000);
        assert_true(message_passes(&r, now + MESSAGE_PERIOD_NS, &withheld));
        assert_int_equal(withheld, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_numbers),
                cmocka_unit_test(test_who_takes),
                cmocka_unit_test(test_rate),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
