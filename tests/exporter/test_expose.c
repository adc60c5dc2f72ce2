/* Both formats, byte by byte; and that whatever a label has comes out as text of one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "exporter/expose.h"

static const struct family gauge = { "a_bytes", "bytes", "Some.", FAMILY_GAUGE, false };
static const struct family counter = { "b_bytes", "bytes", "Many.", FAMILY_COUNTER, true };
static const struct family info = { "c", NULL, "What.", FAMILY_INFO, false };
static const struct family histogram = { "d_seconds", "seconds", "How long.", FAMILY_HISTOGRAM, true };

static char *page(bool open_metrics) {
        static const uint64_t buckets[] = { 1, 0, 2 };
        const struct expose_histogram h = { 4, 12345678, 1024, buckets, 3 };
        const struct label label[LABELS_MAX] = { { "x", "y" }, { "z", "1" } };
        struct expose e = { .open_metrics = open_metrics, .since = 1700000000.25 };
        char *text;
        size_t size;

        e.out = open_memstream(&text, &size);
        expose_value(&e, &gauge, NULL, UINT64_MAX);
        expose_value(&e, &counter, label, 1);
        expose_value(&e, &counter, label + 1, 2);
        expose_value(&e, &info, label, 1);
        expose_histogram(&e, &histogram, label, &h);
        expose_real(&e, &gauge, NULL, 0.5);
        expose_end(&e);
        fclose(e.out);
        return text;
}

static void test_text(void **state) {
        char *text = page(false);

        assert_string_equal(text, "# HELP a_bytes Some.\n"
                                  "# TYPE a_bytes gauge\n"
                                  "a_bytes 18446744073709551615\n"
                                  "# HELP b_bytes_total Many.\n"
                                  "# TYPE b_bytes_total counter\n"
                                  "b_bytes_total{x=\"y\",z=\"1\"} 1\n"
                                  "b_bytes_total{z=\"1\"} 2\n"
                                  "# HELP c_info What.\n"
                                  "# TYPE c_info gauge\n"
                                  "c_info{x=\"y\",z=\"1\"} 1\n"
                                  "# HELP d_seconds How long.\n"
                                  "# TYPE d_seconds histogram\n"
                                  "d_seconds_bucket{x=\"y\",z=\"1\",le=\"1.024e-06\"} 1\n"
                                  "d_seconds_bucket{x=\"y\",z=\"1\",le=\"2.048e-06\"} 1\n"
                                  "d_seconds_bucket{x=\"y\",z=\"1\",le=\"4.096e-06\"} 3\n"
                                  "d_seconds_bucket{x=\"y\",z=\"1\",le=\"+Inf\"} 4\n"
                                  "d_seconds_sum{x=\"y\",z=\"1\"} 0.012345678\n"
                                  "d_seconds_count{x=\"y\",z=\"1\"} 4\n"
                                  "# HELP a_bytes Some.\n"
                                  "# TYPE a_bytes gauge\n"
                                  "a_bytes 0.5\n");
        free(text);
}

static void test_open_metrics(void **state) {
        char *text = page(true);

        assert_non_null(strstr(text, "# TYPE b_bytes counter\n"
                                     "# UNIT b_bytes bytes\n"
                                     "b_bytes_total{x=\"y\",z=\"1\"} 1\n"
                                     "b_bytes_created{x=\"y\",z=\"1\"} 1700000000.250\n"));
        assert_non_null(strstr(text, "# TYPE c info\nc_info{"));
        assert_non_null(strstr(text, "d_seconds_created{x=\"y\",z=\"1\"} 1700000000.250\n"));
        assert_null(strstr(text, "a_bytes_created"));
        assert_string_equal(text + strlen(text) - 6, "# EOF\n");
        free(text);
}

static void quoted(const char *value, const char *expected) {
        const struct label label[LABELS_MAX] = { { "l", value } };
        struct expose e = { 0 };
        char *text, line[128];
        size_t size;

        e.out = open_memstream(&text, &size);
        expose_value(&e, &info, label, 1);
        fclose(e.out);
        snprintf(line, sizeof(line), "\nc_info{l=\"%s\"} 1\n", expected);
        if (!strstr(text, line))
                fail_msg("%s has not %s", text, line);
        free(text);
}

static void test_labels(void **state) {
        quoted("", "");
        quoted("a\"b\\c\nd", "a\\\"b\\\\c\\nd");
        quoted("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x8c", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x8c");
        quoted("\xff", "?");
        quoted("a\xc3", "a?");                   /* cut off */
        quoted("a\xc3\"", "a?\\\"");             /* the quote is no part of it */
        quoted("\xc0\xaf\xe0\x80\x80", "?????"); /* longer than it has to be */
        quoted("\xed\xa0\x80", "???");           /* half of a pair */
        quoted("\xf4\x90\x80\x80", "????");      /* beyond the last */
        quoted("\x80\xbf", "??");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_text),
                cmocka_unit_test(test_open_metrics),
                cmocka_unit_test(test_labels),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
