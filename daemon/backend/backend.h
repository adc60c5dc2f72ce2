#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/node.h"
#include "core/vmap.h"

/*
 * What svmd asks of a kind of node. A kind is one file (or folder) that fills in `struct backend`, and one row in
 * backend/kinds.def (docs/adding-a-device-kind.md). Memory is not the backend's business (see memfile.h); its device
 * is: page tables and operations.
 *
 * Threads: all functions are called from one thread, but those of managed ranges, which say so. `done` is called from
 * the device's own thread, or before submit() returns.
 */
struct imap_spare;
struct private_ops;
struct device_range; /* a managed range as one device sees it */
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

/*
 * Managed ranges. A device has a translation of its own for each range that one of its spaces sees: granule by granule,
 * filled and emptied by svmd, empty at first. Before it uses what its translation shows it says so (begin), and again
 * when it has (end), so that nothing moves in between; what the translation does not show it asks for (fault), and the
 * operation rests until it is told to go on. It holds one granule at a time.
 *
 * Called from device threads, with no lock of the device held.
 */
struct device_faults {
        /* False: not shown, or not for writing. */
        bool (*begin)(void *range, uint32_t granule, uint32_t node, bool write);
        void (*end)(void *range, uint32_t granule);
        /* Ends in range_answer() with the same `token`, sooner or later, in any thread. 0 there is as a begin that gave
         * true. */
        void (*fault)(void *range, uint32_t granule, uint32_t node, bool write, void *token);
};

struct device_range_args {
        void *range; /* handed to device_faults */
        const struct device_faults *faults;
        uint32_t node;
        uint64_t address;
        uint32_t granule, count; /* granule: bytes */
};

/*
 * Memory of a device that its driver alone reaches, as slots of one size by number. Any thread; each waits for the
 * device. 0 or -errno: -ENOMEM: it is full; -EIO: it is gone, with what is there.
 */
struct device_slots {
        uint32_t bytes; /* of a slot */
        /* New memory, zeroed. What the slot had is released: who still has that mapped does not see this. */
        int (*make)(struct device *d, uint32_t slot);
        void (*release)(struct device *d, uint32_t slot);
        /* All of it. */
        int (*read)(struct device *d, uint32_t slot, void *to);
        int (*write)(struct device *d, uint32_t slot, const void *from);
        /* It is there: also one that an earlier svmd made. */
        bool (*has)(struct device *d, uint32_t slot);
        /* A new descriptor of it, without waiting. -EAGAIN: that of one which an earlier svmd made is being fetched, so
         * ask again a little later, until there is an answer. -ENOENT: it is not there. Else why there is none. */
        int (*fd)(struct device *d, uint32_t slot);
        /* From now on told() is called in a thread of the device's: it is gone (`why`), and when that has returned and
         * there is an empty one, that there is. Until device_free(), or until `told` is NULL. */
        void (*watch)(struct device *d, void (*told)(void *userdata, bool there, const char *why), void *userdata);
};

struct backend {
        enum node_kind kind;
        const char *name;
        /* What names of its devices begin with, and one of them: `device = ` in a node's section makes it one of this
         * kind. NULL: nobody writes such nodes down. */
        const char *device, *example;
        uint64_t granularity; /* sizes of its memory are multiples of this */
        bool has_spaces;
        /* Of the operations in enum grant_operation: what a client executes itself, under a grant; what svmd executes
         * by an open file of the client's. An operation that is in neither is refused. A kind with delegated operations
         * is audited: its page tables are its clients', and svmd has records of them. */
        uint32_t delegated, brokered;

        /* Starts the device's thread. A kind without spaces has none, and gives NULL, which the others take. */
        int (*device_new)(struct device **ret, const struct node_desc *desc, device_done_fn done, void *userdata);
        /* Ends operations (as GONE) and the thread. All spaces must be gone. */
        void (*device_free)(struct device *d);
        uint64_t (*ops_done)(const struct device *d);

        int (*space_new)(struct device *d, struct device_space **ret);
        /* Operations of the space that wait or run end as GONE before this returns; it waits for `done` of each, so
         * the caller holds no lock that `done` takes. If one waits for a fault, this waits for the answer, which must
         * come without this thread. */
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

        /* ---- managed ranges ---- */

        /* -ENOMEM, -EINVAL. */
        int (*range_new)(struct device *d, struct device_range **ret, const struct device_range_args *args);
        /* No space sees it. */
        void (*range_free)(struct device_range *r);
        /* Any thread: the translation of a granule shows `extent` (of a pool, or of the range's memory). -ENOMEM,
         * -EINVAL. */
        int (*range_map)(struct device_range *r, uint32_t granule, struct device_extent extent, bool write);
        /* Any thread: it shows nothing; when this gives 0, nothing of it is cached. -EAGAIN: it is still used, and is
         * to be asked for again soon; it comes to an end. */
        int (*range_invalidate)(struct device_range *r, uint32_t granule);
        /* The outcome of a fault; any thread. 0, or a status with a sentence, which ends the operation. */
        void (*range_answer)(struct device *d, void *token, unsigned code, const char *text);
        /* The space sees the range, under what is mapped there otherwise; again: the access changes. -ENOMEM, -EEXIST
         * (it sees another one there). */
        int (*space_show)(struct device_space *s, struct device_range *r, bool write);
        /* When this returns, no operation of the space uses the range. One that waits for a fault there ends
         * NOT_MAPPED when it is answered, and this waits for the answer as space_free() does. The caller holds no lock
         * that `done` or device_faults take. */
        void (*space_hide)(struct device_space *s, struct device_range *r);

        /* Where managed pages of its nodes lie; NULL: in memory files. Such a device is shown nothing that lies
         * elsewhere, and no other what lies there. */
        const struct device_slots *slots;

        /* How it moves memory of one process: private.h. NULL: it does not. */
        const struct private_ops *private_ops;
};

/* NULL: no such kind. */
const struct backend *backend_for(enum node_kind kind);
/* Of that name of a device. NULL: none has such. */
const struct backend *backend_of_device(const char *device);
/* The kinds in the order of their rows. NULL: that was all. */
const struct backend *backend_at(unsigned i);

/* svmd has all memory of its nodes, in files of its own that no client can map. */
bool backend_has_pool(const struct backend *b);
/* An access of the device to what is not there waits until it is; else it fails. */
bool backend_serves_faults(const struct backend *b, const struct node_desc *desc);
/* svmd moves managed pages to the node. In a machine these come before all others. */
bool backend_takes_pages(const struct backend *b, const struct node_desc *desc);
