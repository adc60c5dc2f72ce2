/* Ranges of addresses, as a person types them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "range.h"

static void test_good(void **state) {
        static const struct {
                const char *text, *name;
                uint64_t address, size;
        } cases[] = {
                { "0x280000000000", "", 0x280000000000, 0 },
                { "0X28abCDef0000", "", 0x28abcdef0000, 0 },
                { "43980465111040", "", 0x280000000000, 0 },
                { "0", "", 0, 0 },
                { "0xffffffffffffffff", "", UINT64_MAX, 0 },
                { "18446744073709551615", "", UINT64_MAX, 0 },
                { "0x280000000000+2M", "", 0x280000000000, 2 << 20 },
                { "0x280000000000+1.5GiB", "", 0x280000000000, 3ull << 29 },
                { "0x280000000000+4096", "", 0x280000000000, 4096 },
                { "0x280000000000+0x200000", "", 0x280000000000, 2 << 20 },
                { "4096+8k", "", 4096, 8192 },
                { "0x280000000000-0x280000001000", "", 0x280000000000, 4096 },
                { "4096-12288", "", 4096, 8192 },
                { "4096-0x3000", "", 4096, 8192 },
                { "0xfffffffffffff000+4095", "", 0xfffffffffffff000, 4095 },
                { "index", "index", 0, 0 },
                { "my-index.2:a_b", "my-index.2:a_b", 0, 0 },
                { "7-days", "7-days", 0, 0 },
                { "2024-01-weights", "2024-01-weights", 0, 0 },
                { "3rd", "3rd", 0, 0 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct range r;
                char why[256] = "";

                if (range_parse(&r, cases[i].text, why) != 0)
                        fail_msg("'%s' was told: %s", cases[i].text, why);
                assert_string_equal(r.name, cases[i].name);
                if (!*r.name) {
                        assert_true(r.address == cases[i].address);
                        assert_true(r.size == cases[i].size);
                }
        }
}

static void test_wrong(void **state) {
        static const struct {
                const char *text, *why;
        } cases[] = {
                { "", "expected ADDR, ADDR+SIZE, ADDR-END or the name" },
                { "-5", "expected ADDR, ADDR+SIZE" },
                { "in dex", "expected ADDR, ADDR+SIZE" },
                { "index+2M", "expected ADDR, ADDR+SIZE" },
                { ".index", "expected ADDR, ADDR+SIZE" },
                { "0x", "'0x': expected an address, as in 0x280000000000" },
                { "0xindex", "expected an address" },
                { "0x28000000000g", "expected an address" },
                { "0x10000000000000000", "does not fit 64 bits" },
                { "18446744073709551616", "does not fit 64 bits" },
                { "0x280000000000+", "expected a number with an optional unit" },
                { "0x280000000000+2X", "'2X': expected a number with an optional unit" },
                { "0x280000000000+2MB", "write 4G or 4GiB" },
                { "0x280000000000+0.3K", "not a whole number of bytes" },
                { "0x280000000000+0", "at least one byte" },
                { "0x280000000000+0x", "expected a number" },
                { "0x280000000000+16E", "does not fit 64 bits" },
                { "0xffffffffffffffff+1", "beyond the last address" },
                { "0x280000000000+2M+2M", "expected a number" },
                { "0x280000000000-", "expected an address" },
                { "0x280000000000-2M", "'2M': expected an address" },
                { "0x280000000000-0x280000000000", "ends before it begins" },
                { "4096-0", "ends before it begins" },
                { "4096-0x10000000000000000", "does not fit 64 bits" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct range r = { .address = 42 };
                char why[256] = "";

                assert_int_equal(range_parse(&r, cases[i].text, why), -1);
                if (!strstr(why, cases[i].why))
                        fail_msg("'%s' was told: %s", cases[i].text, why);
                assert_true(r.address == 42);
        }
}

static void test_long(void **state) {
        char text[600], why[256];
        struct range r;

        memset(text, 'n', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        assert_int_equal(range_parse(&r, text, why), -1);
        assert_true(strlen(why) < 200);
        text[64] = '\0';
        assert_int_equal(range_parse(&r, text, why), -1);
        text[63] = '\0';
        assert_int_equal(range_parse(&r, text, why), 0);
        assert_string_equal(r.name, text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good),
                cmocka_unit_test(test_wrong),
                cmocka_unit_test(test_long),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
