#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Writes metric families in Prometheus' text format 0.0.4 or in OpenMetrics 1.0.0. Where they differ:
 *
 *      a counter's family is NAME_total in the one, and NAME with samples NAME_total in the other
 *      OpenMetrics has units, knows since when a counter counts, calls gauges that are always 1 "info", and has an end
 *
 * Samples of a family follow its head; a family without samples writes no head.
 */
enum family_type { FAMILY_GAUGE, FAMILY_COUNTER, FAMILY_HISTOGRAM, FAMILY_INFO };

struct family {
        const char *name; /* without _total, _info */
        const char *unit; /* which the name ends in, or NULL */
        const char *help;
        enum family_type type;
        bool dated; /* counts since svmd began to */
};

struct expose {
        FILE *out;
        bool open_metrics;
        double since;             /* seconds since 1970; 0: not known */
        const struct family *now; /* whose head is written */
};

struct label {
        const char *name, *value; /* name NULL: none */
};
enum { LABELS_MAX = 8 };

struct expose_histogram {
        uint64_t count, sum_ns, first_ns;
        const uint64_t *buckets;
        size_t buckets_count;
};

/* `labels` ends with one without a name, or after LABELS_MAX. */
void expose_value(struct expose *e, const struct family *f, const struct label *labels, uint64_t value);
void expose_real(struct expose *e, const struct family *f, const struct label *labels, double value);
void expose_histogram(struct expose *e, const struct family *f, const struct label *labels,
                      const struct expose_histogram *h);
/* After the last. */
void expose_end(struct expose *e);

const char *expose_content_type(bool open_metrics);
