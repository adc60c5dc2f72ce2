#pragma once

#include <stdint.h>

struct policy_profile;

/* A machine that nobody has, to see how the cost of decisions grows with its size. */
enum cluster_pattern { CLUSTER_RANDOM, CLUSTER_STREAM, CLUSTER_HOT, _CLUSTER_PATTERNS };
extern const char *const cluster_patterns[_CLUSTER_PATTERNS];

struct cluster_args {
        uint32_t nodes; /* 2 to 65535: one host to seven devices, which are a hive */
        uint64_t pages; /* of 64 KiB; nodes have room for one more each, and one a node begins nowhere */
        uint64_t events;
        enum cluster_pattern pattern;
        uint64_t seed;
        const struct policy_profile *profile;
};

enum cluster_decision { CLUSTER_PLACE, CLUSTER_PROMOTE, CLUSTER_EVICT, CLUSTER_PREFETCH, _CLUSTER_DECISIONS };
extern const char *const cluster_decisions[_CLUSTER_DECISIONS];

struct cluster_result {
        uint64_t touches, moves, evictions, first; /* these follow from the arguments alone */
        uint64_t checksum;                         /* of where all pages lie in the end */
        uint64_t calls[_CLUSTER_DECISIONS];
        double ns[_CLUSTER_DECISIONS]; /* a call, measured */
        double event_ns;               /* all of an event, measured */
        uint64_t bytes;                /* memory of the model */
};
void cluster_run(struct cluster_result *ret, const struct cluster_args *a);
