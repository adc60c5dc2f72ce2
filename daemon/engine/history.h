#pragma once

#include <stdint.h>

#include "engine/managed.h"

/*
 * What was decided about the granules of a range lately, and what was not done, and why. A range keeps so many of each
 * and no more, and a restart forgets them.
 */
enum { MANAGED_PASTS = 64, MANAGED_NOT_DONE = 32 };

enum managed_deed {
        MANAGED_BEGAN,     /* it was EMPTY, and is now on `to` */
        MANAGED_MOVED,     /* `from` -> `to` */
        MANAGED_COPIED,    /* `to` has it too, to read */
        MANAGED_MAPPED,    /* it stays on `to`, where `by` reaches it */
        MANAGED_UNCOPIED,  /* the copies ended */
        MANAGED_DISCARDED, /* it is EMPTY */
        MANAGED_TAKEN,     /* revoked, */
        MANAGED_RETURNED,  /* and given back */
        MANAGED_REFUSED,   /* it does not come to `to`, and stays on `from` */
        MANAGED_DELAYED,   /* not yet */
        _MANAGED_DEED_N,
};

/* Why something was refused, or put off; why something was evicted. */
enum managed_why {
        MANAGED_WHY_NONE,
        MANAGED_WHY_ROOM,      /* the node has no room. Evicted: for a granule of range `whom` that was wanted there */
        MANAGED_WHY_LIMIT,     /* the group may have no more there. Evicted: likewise, or the limit was lowered */
        MANAGED_WHY_RESERVE,   /* evicted: the node's reserve has to be whole again, or its capacity was lowered */
        MANAGED_WHY_CGROUP,    /* evicted: the control group of who wants a granule of `whom` is full */
        MANAGED_WHY_PINNED,    /* by a session */
        MANAGED_WHY_ADVICE,    /* the hints about it say so */
        MANAGED_WHY_RECENT,    /* it moved just now */
        MANAGED_WHY_RATE,      /* its range has moved too often */
        MANAGED_WHY_THRASH,    /* nodes take it from each other */
        MANAGED_WHY_CAP,       /* the link, or the group's share of it, is at its cap */
        MANAGED_WHY_USED,      /* a device uses it */
        MANAGED_WHY_OFFLINE,   /* the node takes nothing */
        MANAGED_WHY_FAULTLESS, /* the node has no faults, and it neither lies there nor is pinned */
        MANAGED_WHY_REVOKED,
        MANAGED_WHY_LOST,    /* its content is, or the node that wants it */
        MANAGED_WHY_PROFILE, /* the profile leaves it where it is */
        MANAGED_WHY_SYSTEM,  /* a step failed: no memory, or an error of a device's */
        _MANAGED_WHY_N,
};

struct managed_past {
        uint64_t began_ns, ns; /* of the first and the last granule of the run */
        uint64_t whom;         /* tag of a range, 0: none */
        uint32_t first, count; /* granules */
        uint32_t times;        /* decisions that were one and the same */
        uint8_t cause;         /* managed_cause */
        uint8_t deed;          /* managed_deed */
        uint8_t why;           /* managed_why */
        uint8_t by;            /* node whose access or move it was; MANAGED_PAST_CPU, MANAGED_PAST_NONE */
        uint8_t from, to;      /* nodes, or MANAGED_PAST_NONE */
};
enum { MANAGED_PAST_CPU = 254, MANAGED_PAST_NONE = 255 };

/* What others' decisions call the range: `whom`. */
void managed_range_tag(struct managed_range *r, uint64_t tag);
/* The last of what was done (or, `not_done`, was not) about the granule, the latest first; how many. */
unsigned managed_history(const struct managed_range *r, uint32_t granule, bool not_done, struct managed_past *ret,
                         unsigned max);
