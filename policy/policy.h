#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Decisions about where pages live, as pure functions over plain structs: no clock (callers pass `now_ns`), no
 * allocation, no state but what is passed in. The daemon and the simulator use exactly these.
 *
 * Nodes are named by their index in policy_machine. POLICY_NOWHERE means "leave it where it is".
 */
#define POLICY_NOWHERE UINT32_MAX

struct policy_node {
        bool host;                 /* the CPU maps its memory */
        bool faults;               /* an access to what is elsewhere can be served */
        bool online;               /* takes new pages */
        bool far;                  /* a host without CPUs */
        uint64_t capacity;         /* bytes */
        uint64_t used;             /* bytes, of everyone */
        uint64_t hive;             /* devices of one hive have fast links among themselves; 0: none */
        const uint32_t *bandwidth; /* to each node, MB/s; 0: no direct link */
        const uint32_t *distance;  /* to each node, as the machine states it, 0: not stated; NULL: nowhere */
};

struct policy_machine {
        const struct policy_node *nodes;
        uint32_t count;
};

/* Devices of one hive. */
static inline bool policy_peers(const struct policy_machine *m, uint32_t a, uint32_t b) {
        return a < m->count && b < m->count && a != b && m->nodes[a].hive && m->nodes[a].hive == m->nodes[b].hive;
}

/* The numbers and preferences that decisions go by. Each is a key of profiles/NAME.conf, which says what it does: with
 * dashes there, and with the unit that ends its name. */
struct policy_profile {
        char name[16];
        /* placement, promotion */
        bool hive_first;
        bool touch_moves, peer_moves;
        /* eviction: of explicit memory; and where to */
        uint32_t chance_ms;
        bool evict_to_peer;
        /* prefetch */
        uint32_t leaf_kib, ahead_kib, dense_percent;
        /* what bounces */
        uint32_t lapse_us, bounces, nap_us, naps, pin_ms, epoch_ms;
        /* how often a granule, and a range without being asked to, moves */
        uint32_t settle_us, window_us, window_moves;
};
extern const struct policy_profile policy_profiles[];
extern const uint32_t policy_profiles_count;
/* One of those that svmd comes with: balanced, throughput, latency, pinned. NULL: there is none of that name. */
const struct policy_profile *policy_profile_find(const char *name);
/* What is used where nothing else is said. */
const struct policy_profile *policy_profile_default(void);

enum { POLICY_FALLBACKS = 3 };

/* What is asked of a granule; members that were not set hold their zero value. */
struct policy_advice {
        uint32_t preferred;                  /* node + 1; 0: none */
        uint32_t fallback[POLICY_FALLBACKS]; /* the same: where to if that cannot be, in this order */
        uint32_t granularity; /* bytes that move together; a granule's or less: one by one; 0: policy's choice */
        uint64_t accessed_by; /* bit per node, of the first 64 */
        bool read_mostly;
        bool pinned;
        bool coarse;     /* writes need not be seen by others before a kernel ends */
        uint8_t atomics; /* enum policy_atomics: whose atomic operations have to work together */
        uint32_t group;  /* granules of one number move together; 0: none */
};

/* What happened to a granule. */
struct policy_granule {
        uint32_t where; /* node that holds it */
        uint32_t bytes;
        uint64_t moved_ns;   /* when it last moved */
        uint64_t touched_ns; /* when it was last seen in use */
        bool device_copy;    /* read copies exist elsewhere */
};

enum policy_access { POLICY_READ = 1, POLICY_WRITE = 2, POLICY_PREFETCH = 3 };

/* Which node a page that exists nowhere goes to when `accessor` touches it first. `room[i]` is what the caller may
 * still charge to node i. POLICY_NOWHERE: no node has room for `bytes`. */
uint32_t policy_place(const struct policy_machine *m, const struct policy_profile *p,
                      const struct policy_advice *advice, uint32_t accessor, uint64_t bytes, const uint64_t *room);

enum policy_answer {
        POLICY_MIGRATE,   /* move it to the accessor */
        POLICY_MAP,       /* let the accessor reach it where it is */
        POLICY_DUPLICATE, /* give the accessor a copy to read */
};
/* What a fault of `accessor` on a page that lives elsewhere gets. */
enum policy_answer policy_promote(const struct policy_machine *m, const struct policy_profile *p,
                                  const struct policy_advice *advice, const struct policy_granule *g, uint32_t accessor,
                                  enum policy_access access, uint64_t now_ns);

/* Whether an access by `from` can go over a link to the memory of `to`; the CPU reaches host memory alone. */
bool policy_reaches(const struct policy_machine *m, uint32_t from, uint32_t to);

/* What is known of a granule that moves to and fro. Zeroes: nothing. */
struct policy_thrash {
        uint64_t bounced_ns; /* when it last did */
        uint64_t until_ns;   /* it is pinned until then, to where it is or to host memory */
        uint8_t bounces;     /* in a row, as far as they reach */
        uint8_t naps;
};

static inline bool policy_pinned(const struct policy_thrash *t, uint64_t now_ns) {
        return t->until_ns > now_ns;
}

enum policy_cure {
        POLICY_LET,  /* it moves as anything does */
        POLICY_STAY, /* the accessor reaches it where it is; it is pinned there */
        POLICY_HOST, /* it comes to host memory, where both reach it, and is pinned there */
        POLICY_NAP,  /* the accessor is answered later, at *ret_until_ns, by a move */
};
/* What is done about a touch by `accessor` of what lies elsewhere, where it would be moved: asked once a touch. */
enum policy_cure policy_thrash(const struct policy_machine *m, const struct policy_profile *p, struct policy_thrash *t,
                               const struct policy_granule *g, uint32_t accessor, uint64_t now_ns,
                               uint64_t *ret_until_ns);

/* What is left of an allowance, of bytes a second that may be as many as INT64_MAX; all zeroes: all of it. */
struct policy_bucket {
        int64_t bytes; /* negative: a debt */
        uint64_t at_ns;
};
/* When the next move may go: `now_ns` or later. Rate 0: no cap. */
uint64_t policy_bucket_due(const struct policy_bucket *b, uint64_t rate, uint64_t now_ns);
void policy_bucket_take(struct policy_bucket *b, uint64_t rate, uint64_t bytes, uint64_t now_ns);

/* Whether this granule may leave for room, and where to: *ret_to. Which one does is reuse.h's. */
bool policy_evict(const struct policy_machine *m, const struct policy_profile *p, const struct policy_advice *advice,
                  const struct policy_granule *g, uint64_t now_ns, const uint64_t *room, uint32_t *ret_to);

/* Whether memory that was last seen in use then, and moves as a whole, gives way to granules that want its room. */
bool policy_give_way(const struct policy_profile *p, uint64_t touched_ns, uint64_t now_ns);

/* A fault on what lives elsewhere. */
struct policy_fault {
        uint32_t at, count; /* granule, of so many in the range */
        uint32_t bytes;     /* of a granule */
        /* Of the block of POLICY_BLOCK bytes that `at` lies in: bit per granule that the accessor's node holds. */
        const uint64_t *resident;
};

/* A walk through a range, as its faults show it. Zeroes: none. */
struct policy_stream {
        uint32_t next;   /* granule behind what came last */
        uint32_t length; /* faults that went on there, one after the other */
};

enum { POLICY_BLOCK = 2 << 20 };

/* Which run of granules to bring along with a fault: it contains f->at. */
void policy_prefetch(const struct policy_profile *p, const struct policy_advice *advice, const struct policy_fault *f,
                     struct policy_stream *stream, uint32_t *ret_first, uint32_t *ret_count);
