#include "size.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static const struct {
        const char *text;
        int outcome;
        uint64_t bytes;
} sizes[] = {
        { "0", 0, 0 },
        { "4096", 0, 4096 },
        { "17B", 0, 17 },
        { "4K", 0, 4096 },
        { "4k", 0, 4096 },
        { "4KiB", 0, 4096 },
        { "512M", 0, 512ull << 20 },
        { "2 GiB", 0, 2ull << 30 },
        { "1.5G", 0, 3ull << 29 },
        { "0.25T", 0, 1ull << 38 },
        { "16E", SIZE_E_RANGE, 0 },
        { "15.5E", 0, 31ull << 59 },
        { "18446744073709551615", 0, UINT64_MAX },
        { "18446744073709551616", SIZE_E_RANGE, 0 },
        { "99999999999999999999999", SIZE_E_RANGE, 0 },
        { "4GB", SIZE_E_DECIMAL, 0 },
        { "1.3", SIZE_E_FRACTION, 0 },
        { "0.1K", SIZE_E_FRACTION, 0 },
        { "0.00000000000000000001E", SIZE_E_FRACTION, 0 },
        { "", SIZE_E_TEXT, 0 },
        { "G", SIZE_E_TEXT, 0 },
        { "-1", SIZE_E_TEXT, 0 },
        { "+1", SIZE_E_TEXT, 0 },
        { " 1", SIZE_E_TEXT, 0 },
        { "1.", SIZE_E_TEXT, 0 },
        { ".5G", SIZE_E_TEXT, 0 },
        { "1X", SIZE_E_TEXT, 0 },
        { "1GiBs", SIZE_E_TEXT, 0 },
        { "1e9", SIZE_E_TEXT, 0 },
        { "0x10", SIZE_E_TEXT, 0 },
};

static void test_parse(void **state) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                uint64_t bytes = 7;
                int r = size_parse(sizes[i].text, &bytes);

                if (r != sizes[i].outcome || bytes != (r ? 7 : sizes[i].bytes))
                        fail_msg("'%s' gave %d and %llu", sizes[i].text, r, (unsigned long long)bytes);
                if (r)
                        assert_non_null(size_problem(r));
        }
}

static const struct {
        uint64_t bytes;
        const char *text;
} shown[] = {
        { 0, "0" },
        { 1, "1 B" },
        { 1023, "1023 B" },
        { 1024, "1 KiB" },
        { 1536, "1.5 KiB" },
        { 4096, "4 KiB" },
        { 1048575, "1 MiB" },
        { 10ull << 30, "10 GiB" },
        { (3ull << 30) + (512ull << 20), "3.5 GiB" },
        { 24ull << 40, "24 TiB" },
        { UINT64_MAX, "16 EiB" },
};

static void test_format(void **state) {
        char text[SIZE_TEXT];

        for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
                size_format(text, shown[i].bytes);
                assert_string_equal(text, shown[i].text);
        }
        count_format(text, 0);
        assert_string_equal(text, "0");
        count_format(text, 999);
        assert_string_equal(text, "999");
        count_format(text, 1234567);
        assert_string_equal(text, "1,234,567");
}

/* What is shown reads back as a size within half of its last decimal. */
static void test_round_trip(void **state) {
        const char *given = getenv("SVMD_SEED");
        unsigned seed = given ? (unsigned)atoi(given) : (unsigned)time(NULL);

        print_message("SVMD_SEED=%u\n", seed);
        srand(seed);
        for (int i = 0; i < 100000; i++) {
                uint64_t bytes = (((uint64_t)rand() << 32) ^ (uint64_t)rand()) >> (rand() % 63 + 1);
                double back, unit;
                char text[SIZE_TEXT], letter = 'B';

                size_format(text, bytes);
                if (sscanf(text, "%lf %c", &back, &letter) < 1)
                        fail_msg("%s", text);
                unit = 1;
                for (const char *u = "BKMGTPE"; *u != letter; u++)
                        unit *= 1024;
                back *= unit;
                if (back - (double)bytes > unit * 0.0501 || (double)bytes - back > unit * 0.0501)
                        fail_msg("%llu is shown as %s", (unsigned long long)bytes, text);
        }
}

static void test_counts(void **state) {
        uint64_t n = 7;

        assert_int_equal(count_parse("12", &n), 0);
        assert_int_equal(n, 12);
        assert_int_equal(count_parse("12a", &n), SIZE_E_TEXT);
        assert_int_equal(count_parse("1.0", &n), SIZE_E_TEXT);
        assert_int_equal(count_parse("-3", &n), SIZE_E_TEXT);
        assert_int_equal(n, 12);
        assert_int_equal(seconds_parse("0.5", &n), 0);
        assert_int_equal(n, 500000000);
        assert_int_equal(seconds_parse("10s", &n), 0);
        assert_int_equal(n, 10000000000);
        assert_int_equal(seconds_parse("5m", &n), SIZE_E_TEXT);
        assert_int_equal(seconds_parse("99999999999", &n), SIZE_E_RANGE);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_format),
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_counts),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
