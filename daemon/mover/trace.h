#pragma once

#include "mover/internal.h"
#include "proto/trace.h"

/*
 * One recording. Events are packed under its lock, which is taken with the mover's held (never the other way round),
 * and written by a thread of its own.
 */
enum { TRACE_ROOM = 512 * 1024, TRACE_SCANS = 64 };

/* Granules to look at: where they lie, and what advice they have. */
struct trace_scan {
        uint64_t id; /* of the range */
        uint32_t first, end;
        bool placed; /* where they lie too */
};

struct trace_buffer {
        uint8_t *bytes;
        size_t used;
        uint64_t records;
};

struct mover_trace {
        struct mover *m; /* until the thread has seen `stop` */
        unsigned refs, index;
        pthread_mutex_t lock;
        pthread_cond_t more;

        struct trace_buffer fill, write; /* the one that is filled, and the one the thread has */
        uint64_t began, last;            /* mover's clock; last: of the record packed last, since then */
        uint64_t records, dropped, untold;
        struct trace_event run; /* moves that may go on; count 0: none */
        bool faults, stop, ended;
        enum trace_end why;
        int error;

        struct managed_group *group; /* whose ranges; NULL: everyone's */
        bool orphan;                 /* that partition is gone: nobody's */
        uint32_t ranges;             /* declared */
        struct managed_group **groups;
        uint32_t groups_count, groups_size;

        uint64_t looked;        /* ranges up to this id were asked to be scanned */
        bool looked_all, again; /* again: scans were lost, so advice is looked at everywhere */
        struct trace_scan scans[TRACE_SCANS];
        unsigned scans_count;

        int fd; /* the thread's */
        uint64_t offset, tail;
};

/* trace.c: with both locks. False: there is no room, which is counted. */
bool trace_push(struct mover_trace *t, struct trace_event *e);
bool trace_push_run(struct mover_trace *t);
/* traces.c */
/* With no lock: looks at some granules. */
void trace_scan_some(struct mover_trace *t);
bool trace_scans_left(const struct mover_trace *t);
void trace_describe_machine(struct mover_trace *t);
/* No recording has heard of the range by this number. */
void trace_forget(struct mover *m, unsigned index);
