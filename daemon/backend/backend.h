#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/node.h"
#include "core/vmap.h"

/*
 * What svmd asks of a kind of node. A kind is one file (or folder) that fills in `struct backend`, and one row in
 * backend/table.c. Memory is not the backend's business (see memfile.h); its device is: page tables and operations.
 *
 * Threads: all functions are called from one thread. `done` is called from the device's own thread.
 */
struct imap_spare;
struct device;       /* a node that runs */
struct device_space; /* one page table of it */

/* A piece of memory as a page table names it: pages [offset, offset + size) of a memfile. */
struct device_extent {
        uint32_t slot;
        uint64_t offset, size;
};

enum sparse_writes {
        SPARSE_NONE = 0,
        SPARSE_WRITES_DROPPED = 1,
        SPARSE_WRITES_REFUSED = 2,
};

struct device_translation {
        bool valid;  /* memory is shown there */
        bool sparse; /* nothing is, and reads give zero */
        struct map_attrs attrs;
        uint32_t slot;
        uint64_t offset;
};

/* The numbers are those of the wire. */
enum device_op_type {
        DEVICE_FILL = 1,
        DEVICE_COPY = 2,
        DEVICE_COMPARE = 3,
        DEVICE_SUM = 4,
        DEVICE_CHASE = 5,
        DEVICE_ATOMIC_ADD = 6,
};

struct device_op {
        enum device_op_type type;
        uint64_t dst, src, size, value;
        uint64_t fence; /* handed to `done` */
};

struct device_result {
        uint64_t fence;
        unsigned code; /* proto/status.h: OK, NOT_MAPPED, ACCESS, RANGE, ALIGN, SIZE, GONE (its space was destroyed),
                          INVALID (no such operation), SYSTEM (the memory's file refused) */
        char text[160];
        uint64_t value;   /* 0 unless OK */
        uint64_t address; /* of a chase: the last record; of a failed access: where it failed */
        bool write;       /* of a failed access: it was a write */
};

typedef void (*device_done_fn)(void *userdata, const struct device_result *result);

struct backend {
        enum node_kind kind;
        const char *name;
        uint64_t granularity; /* sizes of its memory are multiples of this */
        bool has_spaces;

        /* Starts the device's thread. A kind without spaces has none, and gives NULL, which the others take. */
        int (*device_new)(struct device **ret, const struct node_desc *desc, device_done_fn done, void *userdata);
        /* Ends operations (as GONE) and the thread. All spaces must be gone. */
        void (*device_free)(struct device *d);
        uint64_t (*ops_done)(const struct device *d);

        int (*space_new)(struct device *d, struct device_space **ret);
        /* Operations of the space that wait or run end as GONE before this returns; it waits for `done` of each, so
         * the caller holds no lock that `done` takes. */
        void (*space_free)(struct device_space *s);

        /* Whether the driver knows these attributes: true, or false with a sentence in `why`. */
        bool (*attrs_ok)(const struct map_attrs *attrs, char *why, unsigned why_size);

        /* All of the range is unmapped before. On failure (-ENOMEM) nothing is mapped.
         * Once a range was mapped, mapping it again (after unmap) cannot fail: tables stay until space_free(). */
        int (*map)(struct device_space *s, uint64_t va, const struct device_extent *extents, uint32_t count,
                   struct map_attrs attrs);
        /* When these two return, no operation uses the old translation any more. They cannot fail. */
        void (*unmap)(struct device_space *s, uint64_t va, uint64_t size);
        void (*protect)(struct device_space *s, uint64_t va, uint64_t size, struct map_attrs attrs);
        /* What lies under the mappings of the range. Cannot fail: what it needs is in `spare`, which is full; so a way
         * back can be taken at any time by who keeps a spare for it. */
        void (*sparse)(struct device_space *s, uint64_t va, uint64_t size, enum sparse_writes writes,
                       struct imap_spare *spare);
        void (*translate)(struct device_space *s, uint64_t va, struct device_translation *ret);

        /* Operations of a space run in order; `done` comes once for each. -EAGAIN: too many wait (1,024 a space).
         * -ENOMEM. */
        int (*submit)(struct device_space *s, const struct device_op *op);
};

/* NULL: no such kind. */
const struct backend *backend_for(enum node_kind kind);
