#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "core/ids.h"
#include "core/ledger.h"

struct session;
struct state;

/*
 * Leave for a session's process to execute what only it can: which operations, on which node, where, and until when.
 * What they will take is charged when the leave is given, so the process finds its room whatever others do meanwhile.
 *
 *      asked --done--> held --gone--> over         it pays for what is there, as long as something is
 *        | \--done, and nothing is charged--> over
 *        | \--failed--> over                       nothing was done, and all of it is given back
 *        |
 *        +--its time is over--> expired --failed--> over
 *
 * A process that does not answer may have done it all the same, so one that has expired stays charged: until its
 * process says that nothing was done, or its session ends. It says that it was done too late, and is refused: then the
 * process takes it back, and says so.
 */
enum grant_operation { /* numbers of the wire */
                       GRANT_ALLOC = 1,
                       GRANT_MAP = 2,
                       GRANT_UNMAP = 4,
                       GRANT_ACCESS = 8,
                       GRANT_ADVISE = 16,
                       GRANT_PREFETCH = 32,
                       GRANT_USERPTR = 64,
                       GRANT_SPACE = 128, /* a page table of its own: VM_CREATE, a context */
                       GRANT_IMPORT = 256,
                       GRANT_MODE = 512, /* of the process: XNACK, say */
                       GRANT_ALL = 1023,
};

enum grant_state { GRANT_ASKED, GRANT_HELD, GRANT_EXPIRED };

enum {
        _GRANT_E_OK,
        GRANT_E_STALE, /* another generation than it was given for */
        GRANT_E_LATE,  /* it has expired */
        GRANT_E_TWICE, /* it was said to be done already */
        GRANT_E_MORE,  /* more is gone than it pays for */
};

struct grant {
        struct object object;
        struct session *session;
        struct list by_session;
        uint64_t generation;
        uint64_t reservation; /* 0: it is for no range */
        uint64_t address, size;
        uint64_t until_ns; /* CLOCK_BOOTTIME */
        uint32_t node, operations;
        bool held;
        struct charge charge;
};

/* Those of a session of which its process said that nothing was done, the latest first. */
enum { GRANTS_FAILED = 4 };
struct grant_failed {
        uint64_t id; /* 0: there are no more */
        uint32_t node, operations;
        uint32_t error; /* errno */
};

/* Linked to its session and in ids, where room must have been reserved. Nothing is charged yet. NULL: out of memory. */
struct grant *grant_new(struct state *s, uint64_t id, struct session *session);
/* Gives back what is charged. */
void grant_free(struct state *s, struct grant *g);
enum grant_state grant_state(const struct grant *g, uint64_t now_ns);

/* What the process says became of it. */
struct grant_done {
        uint64_t generation;
        uint32_t error; /* errno: nothing was done */
        uint64_t gone;  /* bytes of its charge that are not there, or no longer */
};
/* 0, or an outcome that changed nothing. True in `ret_over`: it is over, and the caller frees it. */
int grant_take(struct grant *g, const struct grant_done *d, uint64_t now_ns, bool *ret_over);
/* So many bytes of its charge pass to another, whose charge is empty; as grant_take() it may be over then. At most what
 * is charged. */
void grant_pass(struct grant *g, struct charge *to, uint64_t bytes, bool *ret_over);
