#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "hammer_page.h"

/*
 * What the processes of a hammer know of one another, in memory that svmd has nothing to do with: what is to be done,
 * what was done, what was found, and of each page what its writer says of it:
 *
 *      floor   the last sequence that was written whole: whoever looks from now on sees it, or the next one
 *      epoch   odd while the page holds something else than a sequence (discarded, filled, copied over): nobody but its
 *              writer can judge it
 */
enum { HAMMER_REPORTS = 8, HAMMER_HANDS = 256, HAMMER_COUNTERS_PER_PAGE = 8, HAMMER_DEVICES = 4, HAMMER_HOSTS = 8 };

enum {
        HAMMER_ORDERS = 1,  /* migrations, prefetches, evictions */
        HAMMER_ADVICE = 2,  /* read-mostly and the others, changed at random */
        HAMMER_DISCARD = 4, /* by the writer of a granule */
        HAMMER_REVOKE = 8,
        HAMMER_PINS = 16,
        HAMMER_DEVICE = 32, /* device operations on the pages */
        HAMMER_ADMIN = 64,  /* the same orders by an administrator */
        HAMMER_ZAP = 128,   /* madvise(MADV_DONTNEED) by clients, which takes pages out of their page tables alone */
        HAMMER_EVERYTHING = 255,
};

struct hammer_plan {
        char socket[96], admin[96], partition[32], name[32]; /* socket empty: no svmd, `base` is there already */
        uint64_t *base;
        uint32_t granule;            /* bytes */
        uint32_t pages;              /* of the range */
        uint32_t writers, threads;   /* processes, and threads of each */
        bool joiner, victim, reader; /* processes beside those: see hammer.h */
        unsigned what;               /* HAMMER_* */
        unsigned device_share;       /* of 256 things that a writer does */
        bool restarts;               /* svmd is killed and started again, which may interrupt what it was asked for */
        uint64_t restarts_wanted;    /* it does not end before so many */
        unsigned restart_every;      /* writes, on the average */
        bool sweep;                  /* who is to stand still checks all of its pages first */
        bool sigbus;                 /* what was revoked is SIGBUS, and the thread tries again */
        bool huge;                   /* huge pages */
        bool read_mostly;            /* the whole range, from the beginning */
        unsigned stay;               /* things that the joiner does before it leaves, at most */
        uint64_t writes;             /* verified writes, and then it ends */
        bool stop_at_first;          /* loss */
        bool fill;                   /* every page is written before anything else is done */
};

/* Findings beside those of page.h. */
enum {
        HAMMER_STALE = _PAGE_FINDING_N, /* seen by somebody else than its writer */
        HAMMER_WRONG_SUM,               /* a device computed something else */
        HAMMER_WRONG_COUNT,             /* additions were lost, or made twice */
        HAMMER_REFUSED,                 /* svmd gave a code that does not belong here */
        _HAMMER_FINDING_N,
};

struct hammer_page {
        uint64_t floor;
        uint32_t epoch, pad;
};

/* What a thread does, for who wants to know why nothing goes on. */
struct hammer_seat {
        int pid, tid; /* 0: free */
        uint32_t page, parked;
        const char *doing;
};

struct hammer_board {
        struct hammer_plan plan;
        uint64_t stop, pause;
        uint64_t writes, reads, device_ops, device_refused, orders, orders_refused, discards, advices, revokes, joins,
                kills, pins, zaps, restarts, sigbuses, passed_over;
        uint64_t findings[_HAMMER_FINDING_N];
        uint64_t reports;
        char report[HAMMER_REPORTS][512];
        struct hammer_seat seat[HAMMER_HANDS];
        uint64_t *added; /* of each counter */
        struct hammer_page page[];
};

/* Shared by the processes that are forked later. */
struct hammer_board *board_new(const struct hammer_plan *plan);
void board_free(struct hammer_board *b);

uint64_t board_findings(const struct hammer_board *b);
void board_report(struct hammer_board *b, unsigned finding, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
void board_count(uint64_t *counter, uint64_t n);
uint64_t board_get(const uint64_t *counter);
void board_set(uint64_t *word, uint64_t v);
/* One line of what was done; the reports, if any. */
void board_print(const struct hammer_board *b);
/* Where every thread is. */
void board_print_seats(const struct hammer_board *b);

/* ---- for threads ---- */

struct hammer_seat *board_sit(struct hammer_board *b);
void board_stand(struct hammer_seat *seat);
/* Waits while there is a pause. False: it is over. */
bool board_gate(struct hammer_board *b, struct hammer_seat *seat);

/* For the process that leads: the threads of a process that was killed have no seats; everybody stands still (false:
 * not within the ceiling); and goes on. */
void board_bury(struct hammer_board *b, int pid);
bool board_pause(struct hammer_board *b);
void board_resume(struct hammer_board *b);

/* ---- the range's layout ---- */

uint32_t plan_granules(const struct hammer_plan *p);
/* Pages of counters are nobody's. */
bool page_is_counter(const struct hammer_plan *p, uint32_t page);
uint32_t plan_counters(const struct hammer_plan *p);
uint64_t *plan_counter(const struct hammer_plan *p, uint32_t counter);
/* Writers and those who come and go: ids from 0 to plan_owners() - 1. */
uint32_t plan_owners(const struct hammer_plan *p);
uint32_t plan_joiner_id(const struct hammer_plan *p);
uint32_t plan_victim_id(const struct hammer_plan *p);
/* UINT32_MAX: nobody. */
uint32_t page_owner(const struct hammer_plan *p, uint32_t page);
/* All its pages are of one writer, who may discard it. */
bool granule_is_whole(const struct hammer_plan *p, uint32_t granule);
uint64_t *page_at(const struct hammer_plan *p, uint32_t page);
