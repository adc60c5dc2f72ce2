#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "core/ids.h"
#include "core/residency.h"
#include "core/va.h"
#include "core/vmap.h"

struct state;
struct session;
struct partition;
struct name;
struct imap;
struct keeping;

/*
 * A range of a partition's addresses. Anonymous, it ends with its session. Named, others of the partition open it, and
 * it lives until its owner frees it or the last session that has it open ends; one that is kept lives on.
 *
 * There can be a million of them: what only named ones need is behind a pointer.
 */
struct reservation {
        struct object object;
        struct va_extent va;
        struct partition *partition;
        struct session *owner; /* NULL: a named one whose owner's session has ended */
        struct list by_owner;
        uint64_t generation;               /* changes whenever what it shows to the CPU changes */
        struct reservation_shared *shared; /* named */
        struct vmap cpu;
        bool freeing;        /* an operation that is not committed yet frees it */
        bool retired;        /* it has ended, and only its addresses are still taken */
        bool outside;        /* of the slice: addresses that its owner's process has itself, and nobody else reaches */
        struct imap *sparse; /* of the CPU */
        void *managed;       /* the service's: struct managed_reservation, of one of kind SHARED; else NULL */
        void *own;           /* likewise: struct private_range, of one of kind PRIVATE */
};

struct reservation_shared {
        struct name *name;
        struct list openings;
        uint32_t openings_count;
        struct keeping *keeping; /* NULL: it ends with its last session */
};

struct opening {
        struct session *session;
        struct reservation *reservation;
        struct list by_session, by_reservation;
        unsigned access;
        bool closing; /* an operation that is not committed yet closes it */
};

enum {
        _RESERVATION_E_OK,
        RESERVATION_E_NAME,  /* the name is taken */
        RESERVATION_E_FULL,  /* no gap is large enough */
        RESERVATION_E_TAKEN, /* something lies at the address, or it is outside of the slice */
};

struct reservation_args {
        uint64_t id, address, size, align; /* address 0: anywhere */
        uint64_t generation;
        const char *name; /* NULL or "": anonymous */
        uint32_t uid, gid, mode;
        bool outside; /* the address is the caller's to have checked; anonymous */
};

/* Takes the addresses and links it to partition, session (may be NULL) and ids. RESERVATION_E_*, -ENOMEM, -EINVAL. */
int reservation_new(struct reservation **ret, struct state *s, struct partition *p, struct session *owner,
                    const struct reservation_args *args);
/* Takes it out of ids, names and addresses; link puts it back as it was (nobody may have taken its place). */
void reservation_unlink(struct state *s, struct reservation *r);
void reservation_link(struct state *s, struct reservation *r);
/* As unlink, but the addresses stay taken, and nothing finds it any more; release gives them back and frees it. */
void reservation_retire(struct state *s, struct reservation *r);
void reservation_release(struct reservation *r);
/* An unlinked one, without mappings, openings or sparse ranges. */
void reservation_free(struct reservation *r);

/* Its owner's session ends, and others have it open. */
void reservation_orphan(struct reservation *r);
/* One without an owner gets one. */
void reservation_adopt(struct reservation *r, struct session *owner);

/* A named one that nobody owns or has open. */
bool reservation_idle(const struct reservation *r);

/* NULL: out of memory. */
struct opening *opening_new(struct reservation *r, struct session *session, unsigned access);
void opening_link(struct opening *o);
void opening_unlink(struct opening *o);
struct opening *opening_find(const struct reservation *r, const struct session *session);
/* What the session may do with it: SVMD's access numbers; 0 when it has not opened it, or is closing it. */
unsigned reservation_access(const struct reservation *r, const struct session *session);

struct reservation *reservation_by_name(const struct partition *p, const char *name);
/* The one that contains the address, or NULL. A retired one is not found. */
struct reservation *reservation_at(const struct partition *p, uint64_t address);
struct reservation *reservation_of(struct va_extent *e);
/* Whether a retired one has some of [address, address + size). */
bool reservation_retired_in(const struct partition *p, uint64_t address, uint64_t size);
