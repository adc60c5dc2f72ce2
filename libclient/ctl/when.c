#include "when.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "size.h"

/* "15m": so long ago. */
static int parse_ago(const char *text, uint64_t now, uint64_t *ret) {
        static const struct {
                char unit;
                uint64_t seconds;
        } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 7 * 86400 } };
        size_t length = strlen(text);
        char digits[24];
        uint64_t n;

        if (length < 2 || length > sizeof(digits))
                return WHEN_E_TEXT;
        memcpy(digits, text, length - 1);
        digits[length - 1] = '\0';
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
                if (units[i].unit != text[length - 1] || count_parse(digits, &n) != 0)
                        continue;
                if (__builtin_mul_overflow(n, units[i].seconds, &n) || n > now)
                        return WHEN_E_RANGE;
                *ret = now - n;
                return 0;
        }
        return WHEN_E_TEXT;
}

/* Midnight of the day that is so many days before. */
static int midnight(uint64_t now, int days, uint64_t *ret) {
        time_t t = (time_t)now;
        struct tm day;

        if (!localtime_r(&t, &day))
                return WHEN_E_RANGE;
        day.tm_mday -= days;
        day.tm_hour = day.tm_min = day.tm_sec = 0;
        day.tm_isdst = -1;
        t = mktime(&day);
        if (t < 0)
                return WHEN_E_RANGE;
        *ret = (uint64_t)t;
        return 0;
}

/* mktime() would take the 31st of February for a day in March. */
static int parse_date(const char *text, uint64_t *ret) {
        static const char *const forms[] = { "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S",
                                             "%Y-%m-%dT%H:%M:%S" };

        for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
                struct tm tm = { 0 }, is;
                const char *end = strptime(text, forms[i], &tm);
                time_t t;

                if (!end || *end)
                        continue;
                is = tm;
                is.tm_isdst = -1;
                t = mktime(&is);
                if (t < 0 || is.tm_mday != tm.tm_mday || is.tm_mon != tm.tm_mon)
                        return WHEN_E_RANGE;
                *ret = (uint64_t)t;
                return 0;
        }
        return WHEN_E_TEXT;
}

int when_parse(const char *text, uint64_t now, uint64_t *ret) {
        uint64_t n;

        if (strcmp(text, "now") == 0) {
                *ret = now;
                return 0;
        }
        if (strcmp(text, "today") == 0 || strcmp(text, "yesterday") == 0)
                return midnight(now, text[0] == 'y', ret);
        if (text[0] == '@') {
                if (count_parse(text + 1, &n) != 0)
                        return WHEN_E_TEXT;
                if (n > INT64_MAX)
                        return WHEN_E_RANGE;
                *ret = n;
                return 0;
        }
        if (isdigit((unsigned char)text[0]) && strchr(text, '-'))
                return parse_date(text, ret);
        return parse_ago(text, now, ret);
}

const char *when_problem(int outcome) {
        return outcome == WHEN_E_RANGE ? "there is no such time"
                                       : "a time is 90s, 15m, 1h, 7d or 2w ago, today, yesterday, 2026-11-01 or "
                                         "'2026-11-01 14:30'";
}
