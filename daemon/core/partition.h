#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/tree.h"
#include "core/admission.h"
#include "core/va.h"

struct state;
struct account;
struct give_back;
struct name;

enum { WINDOW_PRIMARY = 0, WINDOW_LOW = 1, WINDOWS = 2 };

/*
 * Partitions that may share memory: their slices never overlap. Lives while it has partitions. Each domain has the
 * windows for itself, so an address says nothing without the domain, and is never looked up without a partition: what
 * is found by an address alone is found within a process, and that is in one domain (struct peer).
 */
struct domain {
        struct name *name;
        struct va_space window[WINDOWS];
        uint64_t partitions;
};

/* A slice of a domain's window, with an owner, and a limit and an account per node. */
struct partition {
        struct name *name; /* its text is the partition's, owner and mode say who may attach */
        struct domain *domain;
        uint64_t number; /* no other one has or had it since svmd was started; above 0 */
        uint32_t window;
        bool ready;      /* the store has it; until then only its creator's request knows it */
        bool writing;    /* a change of it is on its way to the store */
        bool comes_down; /* with that change what is above its limits is to go; `steals`: whatever it takes */
        bool steals;
        uint64_t comes_down_ms;
        uint64_t leaves_ns; /* it is deleted then at the latest, and its sessions have been told; 0: not */
        bool ending;        /* nobody may attach any more */
        bool removed;       /* the store has forgotten it */
        bool journaled;     /* the journal may name it */
        struct va_extent slice;
        struct va_space va;       /* of reservations, inside the slice */
        struct account *accounts; /* one a node */
        struct tree reservation_names, memory_names, lease_names;
        struct list sessions;
        uint64_t sessions_count, reservations_count;
        uint64_t memories_count; /* also those that outlive their session */
        uint64_t refusals;       /* operations of its sessions that were refused */
        uint64_t retired;        /* bytes of addresses that only reservations which have ended still take */
        struct list kept;        /* struct keeping */
        struct list shares;      /* struct share: that others have with it */
        uint64_t shares_count;   /* its own, with others */
        struct admission_share admissions;
        char holder[160]; /* the container that it was made for, as the service writes it; "": none */
        enum { ORPHAN_NONE, ORPHAN_FOUND, ORPHAN_EMPTIED, ORPHAN_FORGETTING } orphan; /* that container has ended */
        uint64_t kept_count, kept_bytes;
        uint64_t kept_max;            /* what kept_bytes may be; UINT64_MAX: no limit */
        void *listener;               /* the transport's */
        void *managed;                /* the service's: struct managed_share, of one that has managed ranges */
        void *usage;                  /* the service's: struct track, of what no session holds */
        struct give_back *give_backs; /* the service's: one a node, of one that was ever asked to give back */
};

enum {
        _PARTITION_E_OK,
        PARTITION_E_NAME,    /* the name is taken */
        PARTITION_E_FULL,    /* the window has no free run of that size */
        PARTITION_E_OVERLAP, /* the given base is taken or outside of the window */
};

struct partition_args {
        const char *name, *domain;
        uint32_t window;
        uint64_t base; /* 0: anywhere */
        uint64_t size; /* multiple of 4 GiB */
        uint32_t uid, gid, mode;
};

/* Makes it and takes its slice, not linked. PARTITION_E_*, -ENOMEM, -EINVAL. */
int partition_new(struct partition **ret, struct state *s, const struct partition_args *args);
void partition_link(struct state *s, struct partition *p);
void partition_unlink(struct state *s, struct partition *p);
/* Nothing may be left in it. Unlinks it if it is linked. */
void partition_free(struct state *s, struct partition *p);

struct partition *partition_find(const struct state *s, const char *name);
/* In order of names; `after` need not exist. NULL: no more. */
struct partition *partition_after(const struct state *s, const char *after);
