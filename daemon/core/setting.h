#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/node.h"

struct policy_profile;

/* What is said of links and partitions, by the configuration or an administrator; what comes later goes over what came
 * before. */
enum setting_kind {
        SETTING_LINK_RATE,        /* of the link between two nodes, "*": every one */
        SETTING_PARTITION_RATE,   /* "*": every partition without one of its own */
        SETTING_PARTITION_POLICY, /* likewise */
        SETTING_PARTITION_UFFD,   /* likewise: whether its processes may give svmd their page faults */
        SETTING_POLICY,           /* where a partition has none; not of the configuration, which has a profile */
};

enum { SETTING_NAME_MAX = 63 };

struct setting {
        enum setting_kind kind;
        char name[SETTING_NAME_MAX + 1], other[NODE_NAME_MAX + 1]; /* of a link: its nodes */
        uint64_t rate;                                             /* bytes a second; 0: no cap */
        struct policy_profile *profile;
        bool on;
};
