#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fold.h"
#include "svmd.h"

/* What svmd said, at one time. Lists are in the order in which it said it; all strings are the scrape's. */
struct scrape_link {
        struct svmd_link_row row;
        struct scrape_link *next;
};

struct scrape_node {
        struct svmd_node_row row;
        struct scrape_link *links, **links_end;
        struct scrape_node *next;
};

struct scrape_partition {
        struct svmd_partition_row row; /* with its nodes */
        uint64_t used;                 /* on all nodes */
        struct scrape_partition *next;
};

struct scrape_metric {
        struct svmd_metric_row row;
        struct scrape_metric *next;
};

struct scrape_finding {
        const char *id;
        unsigned level;
        struct scrape_finding *next;
};

struct scrape {
        struct svmd_status status;
        uint64_t started_ns; /* since 1970; 0: not known */
        struct scrape_node *nodes, **nodes_end;
        struct scrape_partition *partitions, **partitions_end;
        struct scrape_metric *metrics, **metrics_end;
        struct scrape_finding *findings, **findings_end;
        size_t nodes_count, partitions_count;
        struct fold containers; /* runtime, container, pod */
        struct fold cgroups;    /* path; `beside`: registered memory */
        uint64_t session;       /* whose row came last */
};

struct scrape_options {
        const char *socket;         /* NULL: libsvmd's default */
        size_t containers, cgroups; /* so many have rows of their own */
        size_t partitions;
};

/* NULL: svmd did not answer, or refused; `ret_why` is a sentence that lives until the next call. */
struct scrape *scrape_take(const struct scrape_options *o, const char **ret_why);
void scrape_free(struct scrape *s);
/* Its name, or "unknown". */
const char *scrape_node_name(const struct scrape *s, svmd_node node);
