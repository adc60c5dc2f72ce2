#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backend/soft/pagetable.h"
#include "backend/soft/soft.h"

/*
 * How operations reach memory. They are made of spans: the longest piece from an address on that one translation
 * covers.
 *
 *     void     in a sparse range where nothing is mapped: reads give zero, writes vanish
 *     direct   in a pool: a pointer
 *     file     in memory that a client maps too: read and written with system calls, through a bounce buffer
 *     client   memory that a process has itself: asked for, then taken out of or put into a buffer
 *
 * What is mapped in the space comes first, then the managed range that it sees there, then what is sparse.
 *
 * The space is locked, and what an explicit span says is good until it is unlocked. A managed span is good from
 * span_open() to span_close(), with the space unlocked in between: what other spans said is lost. One at a time.
 */
enum span_kind { SPAN_VOID, SPAN_DIRECT, SPAN_FILE, SPAN_CLIENT };

struct span {
        enum span_kind kind;
        bool write;
        uint64_t va, size;
        char *p;       /* SPAN_DIRECT, and what was read */
        uint32_t slot; /* where it lies, and SPAN_FILE is read and written */
        uint64_t offset;

        struct device_range *range; /* managed, and open; else NULL */
        uint32_t granule;
};

/* OP_ASKS: space->ask says for what; the step is to be taken again when that is answered. */
enum progress { OP_MORE, OP_ENDED, OP_FAILED, OP_ASKS };

struct run {
        struct device_space *space;
        struct soft_job *job;
        struct device_result *result;
};

/* Ends the operation with the sentence of the format, behind the node's name. */
__attribute__((format(printf, 3, 4))) enum progress run_fail(const struct run *run, unsigned code, const char *format,
                                                             ...);
enum progress run_fail_system(const struct run *run, const struct span *span, int error);

/* At most `max` bytes from `va` on, and no more than SOFT_CHUNK. Nothing is open unless OP_MORE comes back. */
enum progress span_open(const struct run *run, uint64_t va, uint64_t max, bool write, struct span *ret);
/* Passes `step` on, or what went wrong with the span. */
enum progress span_close(const struct run *run, struct span *span, enum progress step);

/* Opens a span, and `ret->p` are its bytes: where they are, or read into `bounce`. */
enum progress span_read(const struct run *run, uint64_t va, uint64_t max, char *bounce, struct span *ret);
/* Into an open span. */
enum progress span_write(const struct run *run, const struct span *span, const char *from, uint64_t size);

/* How many bytes from `va`, at most `max`, one question covers (a granule, memory of a process); 0: nothing there has
 * to be asked for. */
uint64_t span_asked(const struct run *run, uint64_t va, uint64_t max);

/* client.c: a span of that kind. `to` gets span->size bytes, of which there may be fewer than before. */
enum progress client_read(const struct run *run, struct span *span, char *to);
enum progress client_write(const struct run *run, const struct span *span, const char *from, uint64_t size);
enum progress span_fail_access(const struct run *run, uint64_t va, bool write, unsigned code, const char *why);

/* The operation goes on behind an answer: OP_MORE, or how it ends. A granule that the answer gave is there for the
 * first managed span; what has become of the step without one is given back by run_settle(). */
enum progress run_answered(const struct run *run);
void run_settle(const struct run *run);
