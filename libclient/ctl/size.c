#include "size.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char units[] = "KMGTPE";

typedef unsigned __int128 wide;

/* Digits, perhaps with a fraction: value = *whole + *part / *scale. */
static int number_parse(const char **at, uint64_t *whole, uint64_t *part, uint64_t *scale) {
        const char *p = *at;

        *whole = *part = 0;
        *scale = 1;
        if (!isdigit((unsigned char)*p))
                return SIZE_E_TEXT;
        for (; isdigit((unsigned char)*p); p++) {
                if (__builtin_mul_overflow(*whole, 10, whole) ||
                    __builtin_add_overflow(*whole, (uint64_t)(*p - '0'), whole))
                        return SIZE_E_RANGE;
        }
        if (*p == '.') {
                if (!isdigit((unsigned char)*++p))
                        return SIZE_E_TEXT;
                for (; isdigit((unsigned char)*p); p++) {
                        if (*scale == 1000000000000000000ull)
                                return SIZE_E_FRACTION;
                        *part = *part * 10 + (uint64_t)(*p - '0');
                        *scale *= 10;
                }
        }
        *at = p;
        return 0;
}

static int unit_parse(const char *p, unsigned *shift) {
        const char *unit;

        while (*p == ' ')
                p++;
        *shift = 0;
        if (*p == '\0' || strcasecmp(p, "b") == 0)
                return 0;
        unit = strchr(units, toupper((unsigned char)*p));
        if (!unit)
                return SIZE_E_TEXT;
        *shift = 10 * (unsigned)(unit - units + 1);
        if (p[1] == '\0' || strcasecmp(p + 1, "ib") == 0)
                return 0;
        return strcasecmp(p + 1, "b") == 0 ? SIZE_E_DECIMAL : SIZE_E_TEXT;
}

int size_parse(const char *text, uint64_t *ret) {
        uint64_t whole, part, scale;
        unsigned shift;
        wide fraction, value;
        int r;

        r = number_parse(&text, &whole, &part, &scale);
        if (r == 0)
                r = unit_parse(text, &shift);
        if (r != 0)
                return r;
        fraction = (wide)part << shift;
        if (fraction % scale)
                return SIZE_E_FRACTION;
        value = ((wide)whole << shift) + fraction / scale;
        if (value > UINT64_MAX)
                return SIZE_E_RANGE;
        *ret = (uint64_t)value;
        return 0;
}

const char *size_problem(int outcome) {
        switch (outcome) {
        case SIZE_E_DECIMAL: return "units here are powers of 1024; write 4G or 4GiB";
        case SIZE_E_RANGE: return "it does not fit 64 bits";
        case SIZE_E_FRACTION: return "it is not a whole number of bytes";
        default: return "expected a number with an optional unit, as in 4096, 512M or 1.5G";
        }
}

void size_format(char text[SIZE_TEXT], uint64_t bytes) {
        unsigned unit = 0;
        uint64_t tenths;

        if (bytes < 1024) {
                snprintf(text, SIZE_TEXT, bytes ? "%u B" : "%u", (unsigned)bytes);
                return;
        }
        while (unit < sizeof(units) - 2 && bytes >> (10 * (unit + 2)))
                unit++;
        tenths = (uint64_t)((((wide)bytes * 10) + ((wide)1 << (10 * (unit + 1) - 1))) >> (10 * (unit + 1)));
        if (tenths >= 10240 && unit < sizeof(units) - 2) {
                tenths = 10;
                unit++;
        }
        if (tenths % 10)
                snprintf(text, SIZE_TEXT, "%llu.%u %ciB", (unsigned long long)(tenths / 10), (unsigned)(tenths % 10),
                         units[unit]);
        else
                snprintf(text, SIZE_TEXT, "%llu %ciB", (unsigned long long)(tenths / 10), units[unit]);
}

void count_format(char text[SIZE_TEXT], uint64_t n) {
        char digits[SIZE_TEXT];
        size_t length = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), at = 0;

        for (size_t i = 0; i < length; i++) {
                if (i && (length - i) % 3 == 0)
                        text[at++] = ',';
                text[at++] = digits[i];
        }
        text[at] = '\0';
}

int count_parse(const char *text, uint64_t *ret) {
        uint64_t whole, part, scale;
        int r = number_parse(&text, &whole, &part, &scale);

        if (r != 0)
                return r;
        if (*text || scale != 1)
                return SIZE_E_TEXT;
        *ret = whole;
        return 0;
}

int seconds_parse(const char *text, uint64_t *ret_ns) {
        uint64_t whole, part, scale;
        int r = number_parse(&text, &whole, &part, &scale);

        if (r != 0)
                return r;
        if (*text == 's')
                text++;
        if (*text)
                return SIZE_E_TEXT;
        if (whole > 1000000000)
                return SIZE_E_RANGE;
        *ret_ns = whole * 1000000000ull + (uint64_t)((wide)part * 1000000000ull / scale);
        return 0;
}
