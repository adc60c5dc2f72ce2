#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "core/ids.h"
#include "core/ledger.h"
#include "core/va.h"
#include "core/vmap.h"

struct state;
struct session;
struct partition;
struct name;
struct keeping;
struct peer;

/* What memory lies in: the pool of a soft node, an arena that a session's plain host memory shares, or one object's
 * own. */
enum file_kind {
        FILE_POOL = 1,
        FILE_ARENA = 2,
        FILE_OWN = 3,
        FILE_CLIENT = 4, /* no file: what a process has itself, and registered. Charged to nobody, and has no number */
        FILE_DMABUF = 5, /* a driver's, which a session brought: one memory object, all of it */
};

struct file {
        struct object object;
        enum file_kind kind;
        uint32_t node;
        struct session *session; /* arenas */
        struct list by_session;  /* arenas; dma-bufs: in the service's list */
        struct va_space slots;   /* offsets in the file, shifted by FILE_BASE so that 0 is no offset */
        bool journaled;          /* the journal knows it */
        struct peer *payer;      /* the user whose descriptor it is, or NULL */
        void *memfile, *release; /* the service's */
};
#define FILE_BASE VA_PAGE

/* A session's handle on memory. The creator's is part of the memory object. */
struct holding {
        struct session *session;
        struct memory *memory;
        struct list by_session, by_memory;
        unsigned access;
        bool releasing; /* an operation that is not committed yet ends it */
};

/*
 * Memory on a node: charged, and committed, from its creation on. Lives while somebody holds it or a mapping shows it,
 * or it is kept.
 * Its bytes are the concatenation of its extents; host memory has one. Memory of a device that was spilled lies in a
 * file of a host node, file->node, and is charged there; no device sees it meanwhile.
 */
struct memory {
        struct object object;
        struct partition *partition;
        uint32_t node; /* that it was created on */
        bool shareable, has_token, doomed;
        bool pinned; /* stays where it was created */
        bool away;   /* no page table shows it, though mappings do */
        bool lost;   /* so it is, for good: its bytes went with the node */
        uint64_t size;
        uint64_t used_ns;    /* when it was last known to be used; see node.memories */
        uint64_t wanted;     /* the service's: in this search for room it is not given up */
        struct list by_node; /* in node.memories while it may be spilled */
        void *move;          /* the service's: on its way to another place */
        int stuck;           /* the service's: why it could not come back, or 0 */
        struct charge charge;
        uint64_t lease; /* the service's: what its charge came out of, until it is committed */
        struct backing backing;
        struct file *file;
        struct va_extent extent; /* the first; the others only where a pool is fragmented */
        struct va_extent *more;
        uint32_t more_count;
        struct list holdings;
        struct holding creator;
        struct name *name;
        struct keeping *keeping; /* NULL: it goes with its last user */
        struct list by_doomed;
        uint64_t token[4]; /* random; whoever knows it may import */
        unsigned token_access;
        void *registered; /* the service's: of FILE_CLIENT */
        void *release;    /* the service's: what giving the pages back will need */
};

/* Not linked to ids; no slots. NULL: out of memory. `slots` is how a file's offsets are counted. */
struct file *file_new(uint64_t id, enum file_kind kind, uint32_t node, uint64_t size);
void file_free(struct file *f);
/* Its descriptor counts as the user's from now on. */
void file_pay(struct file *f, struct peer *user);

enum {
        _MEMORY_E_OK,
        MEMORY_E_FULL, /* the file has not that many free bytes, or only in more pieces than memory may have */
};

/* Its pieces stand in one effect of the journal. */
#define MEMORY_EXTENTS_MAX 32768

/* Not linked, not charged, no extents. NULL: out of memory. */
struct memory *memory_new(uint64_t id, struct partition *p, uint32_t node, uint64_t size);
/* Takes extents for all of memory->size out of its file: one if there is a gap of that size, else the largest gaps
 * first
 * (`scatter`), else MEMORY_E_FULL. -ENOMEM. On anything but 0 nothing is taken. */
int memory_take_extents(struct memory *m, struct file *f, bool scatter);
/* Takes exactly these, as a journal says. -ENOMEM, -EINVAL. */
int memory_take_extents_at(struct memory *m, struct file *f, const uint64_t (*extents)[2], uint32_t count);
/* Gives extents and charge back; it must be unlinked, unheld and unmapped. Which extents it had can still be read. */
void memory_release(struct memory *m);
/* Exchanges files, extents and charges of two that are equally large and lie in different files. */
void memory_swap_places(struct memory *a, struct memory *b);
/* A released one. */
void memory_free(struct memory *m);
/* The i-th extent, or NULL. */
const struct va_extent *memory_extent(const struct memory *m, uint32_t i);

/* In and out of ids and counts. Room in ids must have been reserved. */
void memory_link(struct state *s, struct memory *m);
void memory_unlink(struct state *s, struct memory *m);
/* Nobody holds it, and no mapping shows it; unused: and it is not kept. */
bool memory_idle(const struct memory *m);
bool memory_unused(const struct memory *m);

void holding_init(struct holding *h, struct memory *m, struct session *session, unsigned access);
void holding_link(struct holding *h);
void holding_unlink(struct holding *h);
struct holding *holding_find(const struct memory *m, const struct session *session);
struct memory *memory_of(struct backing *b);
