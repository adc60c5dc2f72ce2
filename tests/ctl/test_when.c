/* Times as people write them, against what they are. */
#include "when.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define NOW 1793880000ull /* 2026-11-05 12:00:00 UTC */

static const struct {
        const char *text;
        int outcome;
        uint64_t at;
} times[] = {
        { "now", 0, NOW },
        { "90s", 0, NOW - 90 },
        { "15m", 0, NOW - 900 },
        { "1h", 0, NOW - 3600 },
        { "7d", 0, NOW - 7 * 86400 },
        { "2w", 0, NOW - 14 * 86400 },
        { "0s", 0, NOW },
        { "today", 0, NOW - 12 * 3600 },
        { "yesterday", 0, NOW - 36 * 3600 },
        { "2026-11-01", 0, NOW - 4 * 86400 - 12 * 3600 },
        { "2026-11-05 11:30", 0, NOW - 1800 },
        { "2026-11-05T11:30", 0, NOW - 1800 },
        { "2026-11-05 11:59:59", 0, NOW - 1 },
        { "1970-01-01", 0, 0 },
        { "@1700000000", 0, 1700000000 },
        { "9000w", WHEN_E_RANGE, 0 },
        { "99999999999999999999h", WHEN_E_TEXT, 0 },
        { "18446744073709551615h", WHEN_E_RANGE, 0 },
        { "2026-02-31", WHEN_E_RANGE, 0 },
        { "1969-12-31", WHEN_E_RANGE, 0 },
        { "@18446744073709551615", WHEN_E_RANGE, 0 },
        { "", WHEN_E_TEXT, 0 },
        { "h", WHEN_E_TEXT, 0 },
        { "1", WHEN_E_TEXT, 0 },
        { "1y", WHEN_E_TEXT, 0 },
        { "-1h", WHEN_E_TEXT, 0 },
        { "1h ago", WHEN_E_TEXT, 0 },
        { "@", WHEN_E_TEXT, 0 },
        { "2026-11-05x", WHEN_E_TEXT, 0 },
        { "2026-13-01", WHEN_E_TEXT, 0 },
};

static void test_times(void **state) {
        for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
                uint64_t at = 7;
                int r = when_parse(times[i].text, NOW, &at);

                if (r != times[i].outcome || at != (r ? 7 : times[i].at))
                        fail_msg("'%s' gave %d and %llu", times[i].text, r, (unsigned long long)at);
                if (r)
                        assert_non_null(when_problem(r));
        }
}

/* A day on which the clock changes is not 24 hours long. */
static void test_summer_time(void **state) {
        uint64_t at;

        setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
        tzset();
        assert_int_equal(when_parse("2026-07-01 12:00", NOW, &at), 0);
        assert_int_equal(at, 1782900000);                              /* 10:00 UTC */
        assert_int_equal(when_parse("yesterday", 1792969200, &at), 0); /* 2026-10-26 00:00 CET, after a day of 25 h */
        assert_int_equal(at, 1792969200 - 25 * 3600);
        setenv("TZ", "UTC", 1);
        tzset();
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_times), cmocka_unit_test(test_summer_time) };

        setenv("TZ", "UTC", 1);
        tzset();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
