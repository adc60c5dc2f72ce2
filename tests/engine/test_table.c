/*
 * The transition table: every cell has an action, what the protocol says of single cells holds, and docs/managed.md
 * shows the same table. `engine_table --print` prints it as it is in the page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/managed.h"

enum { STATES = RESIDENCY_REVOKED + 1 };

static void print_table(FILE *out) {
        fprintf(out, "| |");
        for (unsigned s = 0; s < STATES; s++)
                fprintf(out, " %s |", managed_state_name((enum residency)s));
        fprintf(out, "\n|---|");
        for (unsigned s = 0; s < STATES; s++)
                fprintf(out, "---|");
        fprintf(out, "\n");
        for (unsigned e = 0; e < _MANAGED_EVENT_N; e++) {
                fprintf(out, "| %s |", managed_event_name((enum managed_event)e));
                for (unsigned s = 0; s < STATES; s++)
                        fprintf(out, " %s |",
                                managed_action_name(managed_action((enum residency)s, (enum managed_event)e)));
                fprintf(out, "\n");
        }
}

static void test_every_cell(void **state) {
        for (unsigned s = 0; s < STATES; s++)
                for (unsigned e = 0; e < _MANAGED_EVENT_N; e++)
                        assert_true(managed_action((enum residency)s, (enum managed_event)e) < _MANAGED_ACTION_N);
}

static void test_in_flight_waits(void **state) {
        static const enum residency in_flight[] = { RESIDENCY_COPYING, RESIDENCY_PUNCHING, RESIDENCY_FILLING,
                                                    RESIDENCY_WRITING, RESIDENCY_CONTINUING };

        for (unsigned i = 0; i < sizeof(in_flight) / sizeof(in_flight[0]); i++) {
                for (enum managed_event e = MANAGED_FAULT_READ; e <= MANAGED_UNDUPLICATE; e++)
                        assert_int_equal(managed_action(in_flight[i], e), MANAGED_WAIT);
                assert_int_equal(managed_action(in_flight[i], MANAGED_JOIN), MANAGED_PROTECT);
        }
}

/* The kind of a fault changes what is done in no state but DUPLICATED. */
static void test_kind_is_a_hint(void **state) {
        for (unsigned s = 0; s < STATES; s++) {
                enum managed_action read = managed_action((enum residency)s, MANAGED_FAULT_READ);

                assert_int_equal(managed_action((enum residency)s, MANAGED_FAULT_MINOR), read);
                if (s != RESIDENCY_DUPLICATED)
                        assert_int_equal(managed_action((enum residency)s, MANAGED_FAULT_WRITE), read);
        }
        assert_int_equal(managed_action(RESIDENCY_OUT, MANAGED_FAULT_MINOR), MANAGED_FILL);
        assert_int_equal(managed_action(RESIDENCY_REVOKED, MANAGED_FAULT_MINOR), MANAGED_BLOCK);
        assert_int_equal(managed_action(RESIDENCY_DUPLICATED, MANAGED_FAULT_WRITE), MANAGED_DROP);
}

static char *read_page(void) {
        static char text[65536];
        FILE *f = fopen(SVMD_SOURCE "/docs/managed.md", "r");
        size_t n;

        assert_non_null(f);
        n = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
        text[n] = '\0';
        return text;
}

static void test_page(void **state) {
        char *page = read_page(), *table = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&table, &size);

        assert_non_null(out);
        print_table(out);
        fclose(out);
        if (!strstr(page, table))
                fail_msg("docs/managed.md shows another table; replace it by what `engine_table --print` prints");
        free(table);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_cell),
                cmocka_unit_test(test_in_flight_waits),
                cmocka_unit_test(test_kind_is_a_hint),
                cmocka_unit_test(test_page),
        };

        if (argc > 1 && !strcmp(argv[1], "--print")) {
                print_table(stdout);
                return 0;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
