#pragma once

/*
 * The state of a granule of a managed range. Explicit memory has none: it is where it was created.
 * docs/architecture.md draws the transitions; the engine's switch over them has no default.
 */
enum residency {
        RESIDENCY_EMPTY,      /* never touched: zero, on no node */
        RESIDENCY_RESIDENT,   /* the range's memfd is the truth */
        RESIDENCY_COPYING,    /* write-protected everywhere, being copied to a node */
        RESIDENCY_PUNCHING,   /* the node has it; the memfd's page is being punched */
        RESIDENCY_OUT,        /* the node is the truth */
        RESIDENCY_FILLING,    /* coming back by copy into the payer's address space */
        RESIDENCY_WRITING,    /* coming back by writing the memfd, with no payer; the node is the truth */
        RESIDENCY_CONTINUING, /* the memfd is the truth; being mapped */
        RESIDENCY_DUPLICATED, /* resident, write-protected, with copies on nodes */
        RESIDENCY_REVOKED,    /* taken away; the content is kept on a node */
};

/* How a reservation's pages come about; chosen when it is reserved. The numbers are those of the wire. */
enum reservation_kind {
        RESERVATION_EXPLICIT = 0, /* memory objects that its owner maps */
        RESERVATION_SHARED = 1,   /* managed: one memfd, any number of processes, residency owned by svmd */
        RESERVATION_PRIVATE = 2,  /* managed: anonymous memory of one process, moved by a driver, residency observed */
};
