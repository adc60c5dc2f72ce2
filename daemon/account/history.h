#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Who used how much of which node and when, in STATE_DIR/usage.db (SQLite, WAL, synchronous=NORMAL): a file of its own,
 * so that nothing that befalls it touches state.db. What is added counts at once in the minute, the hour and the day
 * that it falls into, so there is nothing to roll up later, and a kill at any moment loses or keeps an addition as a
 * whole.
 *
 *      minute 60 s    kept for a day      --+
 *      hour   3600 s  kept for 31 days    --+-- or less, where `keep_days` is less, or the file is as large as it may
 * be day    86400 s kept for `keep_days`--+
 *
 * Each addition counts once under every way to group (enum history_by), so the sums of all of them agree. A step has at
 * most `keys` different keys of a way to group; what comes later is "other".
 *
 * Byte-time is counted in pages times milliseconds: a day of 100 TiB fits 63 bits. All calls come from one thread,
 * which waits for the disk. Times are seconds of CLOCK_REALTIME.
 */
enum history_by {
        HISTORY_BY_NODE,
        HISTORY_BY_PARTITION,
        HISTORY_BY_USER,
        HISTORY_BY_CGROUP,
        HISTORY_BY_CONTAINER,
        HISTORY_BY_PID,
        HISTORY_BYS,
};

#define HISTORY_OTHER      "other"
#define HISTORY_PAGE       4096
#define HISTORY_SIZE_LEAST (256u << 10)
#define HISTORY_CACHE_KIB  512 /* of the file, that are kept in memory; the rest the machine caches anyway */

struct history_options {
        uint64_t size;      /* bytes that the file may have */
        uint32_t keep_days; /* of steps that are days */
        uint32_t keys;      /* that a step may have of a way to group */
};

struct history_record {
        enum history_by by;
        const char *key, *node;
        uint64_t page_ms, peak; /* peak: bytes */
};

struct history;

enum {
        _HISTORY_E_OK,
        HISTORY_E_MOVED, /* it was damaged, lies beside now, and a new one was begun: `why` has a sentence */
};

/* 0, HISTORY_E_MOVED, or negative errno with a sentence: then there is no history. */
int history_open(struct history **ret, const char *state_dir, const struct history_options *o, char *why,
                 size_t why_size);
void history_close(struct history *h);

/* All of it or, on a negative errno, nothing. `watched_ms`: how long was looked at since the last addition; `boot_ms`
 * never goes back. Records of one way to group come in the order in which they shall have their key. The same
 * outcomes. */
int history_add(struct history *h, int64_t now, uint64_t boot_ms, uint64_t watched_ms, const struct history_record *r,
                size_t count, char *why, size_t why_size);

struct history_query {
        enum history_by by;
        int64_t since, until; /* until is not part of it */
        const char *node;     /* NULL: all */
        uint64_t from;        /* skips so many rows */
        uint32_t count;
};
struct history_row {
        char *key, *node;
        uint64_t page_ms, peak;
};
struct history_answer {
        struct history_row *rows; /* most byte-time first */
        size_t count;
        bool more;
        int64_t since, until; /* of the steps that were looked at */
        uint32_t step;        /* seconds */
        uint64_t watched_ms;  /* how long svmd looked in that time */
};
int history_ask(struct history *h, const struct history_query *q, struct history_answer *ret, char *why,
                size_t why_size);
void history_answer_free(struct history_answer *a);
