#include "range.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "size.h"

enum { PIECE = 40 }; /* longer than any number of 64 bits with its unit */

static bool is_hex(const char *text) {
        return text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

/* 0, or SIZE_E_TEXT or SIZE_E_RANGE. */
static int hex_parse(const char *text, uint64_t *ret) {
        uint64_t n = 0;

        text += 2;
        if (!*text)
                return SIZE_E_TEXT;
        for (; *text; text++) {
                if (!isxdigit((unsigned char)*text))
                        return SIZE_E_TEXT;
                if (n >> 60)
                        return SIZE_E_RANGE;
                n = n << 4 | (uint64_t)(isdigit((unsigned char)*text) ? *text - '0' : (*text | 32) - 'a' + 10);
        }
        *ret = n;
        return 0;
}

static int address_parse(const char *text, uint64_t *ret) {
        return is_hex(text) ? hex_parse(text, ret) : count_parse(text, ret);
}

static int wrong(char why[256], const char *text, const char *what) {
        snprintf(why, 256, "'%.80s': %s", text, what);
        return -1;
}

static const char *address_problem(int outcome) {
        return outcome == SIZE_E_RANGE ? "it does not fit 64 bits"
                                       : "expected an address, as in 0x280000000000 or 43980465111040";
}

static bool name_parse(const char *text, char name[64]) {
        size_t length = strlen(text);

        if (length == 0 || length > 63 || !isalnum((unsigned char)*text))
                return false;
        for (size_t i = 0; i < length; i++) {
                if (!isalnum((unsigned char)text[i]) && !strchr("._:-", text[i]))
                        return false;
        }
        memcpy(name, text, length + 1);
        return true;
}

/* What follows the address: "+SIZE" or "-END". */
static int extent_parse(struct range *r, char sign, const char *text, char why[256]) {
        uint64_t n = 0, end;
        int k;

        if (sign == '+') {
                k = is_hex(text) ? hex_parse(text, &r->size) : size_parse(text, &r->size);
                if (k != 0)
                        return wrong(why, text, size_problem(k));
                if (r->size == 0)
                        return wrong(why, text, "a range has at least one byte");
                if (__builtin_add_overflow(r->address, r->size, &end))
                        return wrong(why, text, "the range goes beyond the last address");
                return 0;
        }
        k = address_parse(text, &n);
        if (k != 0)
                return wrong(why, text, address_problem(k));
        if (n <= r->address)
                return wrong(why, text, "the range ends before it begins; the end is the first address after it");
        r->size = n - r->address;
        return 0;
}

/* "7-days" does not. */
static bool reads_as_number(const char *text) {
        size_t digits = strspn(text, "0123456789");
        const char *end = text + digits;

        if (is_hex(text))
                return true;
        if (digits == 0)
                return false;
        if (*end == '-')
                return is_hex(end + 1) || (end[1] && end[1 + strspn(end + 1, "0123456789")] == '\0');
        return *end == '\0' || *end == '+';
}

int range_parse(struct range *ret, const char *text, char why[256]) {
        struct range r = { .size = 0 };
        size_t length = strcspn(text, "+-");
        char first[PIECE];
        int k = SIZE_E_RANGE;

        if (!reads_as_number(text)) {
                if (!name_parse(text, r.name))
                        return wrong(why, text, "expected ADDR, ADDR+SIZE, ADDR-END or the name of a reservation");
                *ret = r;
                return 0;
        }
        if (length < PIECE) {
                memcpy(first, text, length);
                first[length] = '\0';
                k = address_parse(first, &r.address);
        }
        if (k != 0)
                return wrong(why, text, address_problem(k));
        if (text[length] && extent_parse(&r, text[length], text + length + 1, why) != 0)
                return -1;
        *ret = r;
        return 0;
}
