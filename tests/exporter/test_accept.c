#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "exporter/accept.h"

static const struct {
        const char *header;
        bool open_metrics;
} cases[] = {
        { NULL, false },
        { "", false },
        { "*/*", false },
        { "text/plain", false },
        { "text/html,application/xhtml+xml,*/*;q=0.8", false },
        { "application/json", false },
        { "application/openmetrics-text", true },
        { "application/openmetrics-text; version=1.0.0", true },
        { "APPLICATION/OpenMetrics-Text;Version=1.0.0;charset=utf-8", true },
        { "application/openmetrics-text;version=0.0.1", false },
        { "application/openmetrics-text;version=2.0.0,text/plain;version=0.0.4", false },
        /* What Prometheus 2.42 sends. */
        { "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
          "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
          true },
        { "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4", false },
        { "text/plain;q=0.5 , application/openmetrics-text ; q=0.6", true },
        { "application/openmetrics-text;q=0,*/*", false },
        { "application/openmetrics-text;q=0", false },
        { "application/*", true },
        { "application/*,text/plain;q=0.5", true },
        { "text/plain;version=1.0.0;q=1,application/openmetrics-text;q=0.1", true },
        { "*/*,application/openmetrics-text;q=0.2", false },
        { "*/*;q=0.1,application/openmetrics-text;q=0.2", true },
        { "application/openmetrics-text,text/plain", true },
        /* Nonsense is no harm. */
        { ";;;,,,==;q", false },
        { "application/openmetrics-text;q=high", true },
        { "application/openmetrics-text;q=0.00000000000000000001", true },
        { "application/openmetrics-text;q=7", true },
        { "application/openmetrics-text;q=nan", true },
        { "application/openmetrics-text;", true },
        { "application/openmetrics-tex", false },
        { " \t", false },
};

static void test_cases(void **state) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                if (accept_open_metrics(cases[i].header) != cases[i].open_metrics)
                        fail_msg("%s", cases[i].header ? cases[i].header : "no header");
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
