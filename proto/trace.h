#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A recording of what was asked of managed ranges, as a file (docs/trace.md): a header, then records of 1 to 4 units of
 * 16 bytes, little endian. What a record names was declared before it: nodes before all else, a range before what
 * happens to it. Times are nanoseconds since the recording began.
 *
 * svmd packs, svmd-sim and tests read.
 */
enum { TRACE_VERSION = 1, TRACE_UNIT = 16, TRACE_UNITS = 4, TRACE_HEADER = 96, TRACE_NODES = 65535 };
#define TRACE_NOWHERE UINT32_MAX

enum trace_type {
        TRACE_NODE = 1,  /* node, flags: TRACE_HOST .., bytes: capacity, value: hive, name */
        TRACE_LINK,      /* node -> first: count: MB/s, value: distance */
        TRACE_LIMIT,     /* group, node, bytes */
        TRACE_RANGE,     /* range, granule, count, group, address, flags: TRACE_AHEAD */
        TRACE_LIES,      /* range, first, count, node: where it lay when it was looked at first */
        TRACE_TIME,      /* value: ns that pass; made and taken by trace_pack() and trace_next() themselves */
        TRACE_FAULT,     /* range, first, node: session, flags: TRACE_WRITE, TRACE_MINOR */
        TRACE_USE,       /* range, first, node, flags: TRACE_WRITE, TRACE_MISSED */
        TRACE_MIGRATE,   /* range, first, count, node, flags: cause */
        TRACE_EVICT,     /* range, first, count */
        TRACE_DISCARD,   /* range, first, count */
        TRACE_PIN,       /* range, first, count */
        TRACE_UNPIN,     /* range, first, count */
        TRACE_ADVISE,    /* range, first, count, flags: TRACE_PREFERRED .., advice */
        TRACE_RANGE_END, /* range */
        TRACE_CAPACITY,  /* node, bytes */
        TRACE_MOVED,     /* range, first, count, from, node: to, flags: cause; what svmd did */
        TRACE_DROPPED,   /* value: records that came too fast, and are not here */
        TRACE_END,       /* flags: enum trace_end, first: errno */
        _TRACE_TYPES,
};

enum { TRACE_HOST = 1, TRACE_FAULTS = 2, TRACE_FAR = 4, TRACE_OFFLINE = 8 }; /* of a node */
enum { TRACE_AHEAD = 1 };                                                    /* of a range */
enum { TRACE_WRITE = 1, TRACE_MINOR = 2, TRACE_MISSED = 4 };                 /* of an access */
enum { TRACE_PREFERRED = 1, TRACE_ACCESSED_BY = 2, TRACE_READ_MOSTLY = 4, TRACE_PINNED = 8, TRACE_GRANULARITY = 16 };
enum { TRACE_CAUSES = 16 }; /* causes are less: svmd's enum managed_cause */

/* Why a recording ends. Without such a record the file was cut off. */
enum trace_end {
        TRACE_STOPPED, /* who recorded had enough */
        TRACE_GONE,    /* who recorded went away */
        TRACE_FAILED,  /* the file could not be written: `first` is the errno */
        TRACE_DAEMON,  /* svmd ended */
        _TRACE_ENDS,
};

struct trace_event {
        enum trace_type type;
        unsigned flags;
        uint64_t time; /* ns since the beginning */
        uint32_t node; /* or session; or TRACE_NOWHERE */
        uint32_t range, first, count, from, granule, group;
        uint64_t bytes, address, value;
        /* advice: node + 1, or 0; bytes; bit per node; TRACE_READ_MOSTLY and TRACE_PINNED, those that are on */
        uint32_t preferred, granularity, on;
        uint64_t accessed_by;
        char name[32];
};

struct trace_header {
        uint64_t started_ns; /* CLOCK_REALTIME */
        bool faults;         /* they are recorded, and uses by devices */
        char partition[64];  /* whose ranges; empty: of all */
};

void trace_pack_header(const struct trace_header *h, uint8_t out[TRACE_HEADER]);
/* Packs one event into `out`, units of time before it where it needs them; how many bytes. *last is the time of the one
 * before, 0 at first; times do not go back: one that would counts as `last`. */
size_t trace_pack(const struct trace_event *e, uint64_t *last, uint8_t out[(TRACE_UNITS + 1) * TRACE_UNIT]);

/* What has been declared. */
struct trace_range {
        uint32_t granule, count;
        bool ended;
};

/* Reads from memory that stays. */
struct trace_reader {
        const uint8_t *bytes;
        size_t size, at;
        uint64_t time;
        struct trace_header header;
        uint32_t nodes, ranges_count, ranges_room;
        struct trace_range *ranges;
        bool ended;    /* the end record was read */
        bool declared; /* something but nodes and links was read */
        char why[160]; /* of a failure: "offset N: expected ..." */
};

/* 0; -EBADMSG with `why`; -ENOMEM. */
int trace_open(struct trace_reader *t, const void *bytes, size_t size);
/* 1 and the next event; 0 at the end of the file; -EBADMSG with `why`; -ENOMEM. What it gives is sound: nodes and
 * ranges are declared, granules lie in their range. */
int trace_next(struct trace_reader *t, struct trace_event *ret);
void trace_close(struct trace_reader *t);
/* Bytes of the record that begins there, by its type; 0: there is no such type. */
size_t trace_record_size(const uint8_t *record);
/* How many of the first `size` bytes of a file are whole records. */
size_t trace_whole(const void *bytes, size_t size);
const char *trace_type_name(enum trace_type type);
