#pragma once

#include "engine/managed.h"
#include "patterns.h"

/*
 * The same trace through svmd's engine, with its steps done as soon as they are asked for: what comes is counted from
 * its records. With `faults` the node is the host, whose CPU is seen when it faults and never else, and a device has
 * what is not there; without, it is a device, of which every use is seen, and the host has the rest.
 */
struct ours {
        uint32_t memory; /* granules that may be granted on the node */
        bool faults;
        bool group; /* the node has more, and the range's group a limit there */
        bool ahead; /* prefetch: else what is used comes, and nothing else */
        uint64_t (*away)(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses); /* NULL: svmd's */
};

struct fetched {
        uint64_t demanded, ahead; /* granules */
};

/* -ENOMEM; -EPROTO: the engine did not answer, or its sums are wrong. */
int ours_run(struct fetched *ret, const struct ours *how, const struct trace *t);
