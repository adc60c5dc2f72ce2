#pragma once

#include "engine/history.h"

/*
 * What a touch would come to now: a walk through the table and the decisions that would serve it, on a picture of the
 * granule, so nothing is done. True as long as nothing else happens; what waits for room is said to get it.
 */
enum managed_outcome {
        MANAGED_IS_HERE,     /* it is used where it is, which is there */
        MANAGED_BEGINS,      /* EMPTY: it begins, on `to` */
        MANAGED_MOVES,       /* to the node (the CPU: to a host) */
        MANAGED_COPIES,      /* a copy to read is made there, and it stays (the CPU: comes in, and leaves a copy) */
        MANAGED_MAPS,        /* it is used on `to` */
        MANAGED_TOUCH_WAITS, /* until it is given back, discarded, or has settled: `why` */
        MANAGED_TOUCH_FAILS, /* `result`; the CPU: SIGBUS */
        _MANAGED_OUTCOME_N,
};

struct managed_touch {
        enum managed_outcome outcome;
        enum managed_why why; /* it does not come; MANAGED_WHY_ROOM of what comes: when something else has left */
        int result;           /* what a device is answered; why the CPU waits, or gets SIGBUS */
        uint32_t to;          /* where it is used, or MANAGED_NOWHERE */
        enum residency state; /* afterwards */
        uint32_t node;        /* that holds it then, or MANAGED_NOWHERE */
        uint64_t copies;      /* bit per node */
};

/* `node` MANAGED_NOWHERE: the CPU of a session that may write. */
void managed_predict(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t node, bool write,
                     uint64_t now_ns, struct managed_touch *ret);
