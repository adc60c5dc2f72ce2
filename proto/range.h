#pragma once

#include <stdint.h>

/*
 * The state of a managed range, as its second file shows it: a head, then one entry a granule. svmd writes it, before
 * the step that an entry names is taken; clients map it read-only. Host byte order.
 *
 * `sequence` grows before anything in the range moves or is taken away, and again when it has: what a client derived
 * from the range is still good if the number is the one it read before. The same word serves as begin and retry.
 */
#define RANGE_MAGIC   0x65676e6172766d73ull
#define RANGE_VERSION 1u
#define RANGE_LOST    UINT32_MAX

struct range_head {
        uint64_t magic;
        uint32_t version, granule; /* granule: bytes */
        uint64_t count;            /* of granules */
        uint64_t sequence;         /* atomic */
        uint64_t generation;       /* atomic; of the backing: grows when content is replaced (discard, steal) */
        uint64_t pad[3];
};

/*
 *     63    56 55    48 47    40 39 36 35  32 31           0
 *       host     node     (0)    cause  state      slot
 *
 * host and node are numbers plus one, 0 is none; slot is that of the node's pool, or RANGE_LOST: the content was lost
 * with the node.
 */
struct range_entry {
        uint64_t word;  /* atomic */
        uint64_t payer; /* cgroup that pays for host memory, 0: none */
};

/* Numbers of daemon/core/residency.h. */
#define RANGE_STATES(X)                                                                                                \
        X(EMPTY, 0, "empty")                                                                                           \
        X(RESIDENT, 1, "resident")                                                                                     \
        X(COPYING, 2, "copying")                                                                                       \
        X(PUNCHING, 3, "punching")                                                                                     \
        X(OUT, 4, "out")                                                                                               \
        X(FILLING, 5, "filling")                                                                                       \
        X(WRITING, 6, "writing")                                                                                       \
        X(CONTINUING, 7, "continuing")                                                                                 \
        X(DUPLICATED, 8, "duplicated")                                                                                 \
        X(REVOKED, 9, "revoked")

/* Numbers of enum managed_cause. */
#define RANGE_CAUSES(X)                                                                                                \
        X(FAULT, 0, "fault")                                                                                           \
        X(DEVICE, 1, "device")                                                                                         \
        X(PREFETCH, 2, "prefetch")                                                                                     \
        X(EVICTION, 3, "eviction")                                                                                     \
        X(REQUEST, 4, "request")                                                                                       \
        X(ADVICE, 5, "advice")                                                                                         \
        X(DRAIN, 6, "drain")                                                                                           \
        X(REVOKE, 7, "revoke")                                                                                         \
        X(RESTART, 8, "restart")

/* Beside EMPTY, RESIDENT and OUT, what a Run may say of a private range, which has no such file. */
#define RANGE_SEEN_STATES(X)                                                                                           \
        X(UNSEEN, 16, "unseen")                                                                                        \
        X(UNMAPPED, 17, "unmapped")                                                                                    \
        X(EXCLUSIVE, 18, "exclusive")
#define RANGE_SEEN_UNSEEN    16u
#define RANGE_SEEN_UNMAPPED  17u
#define RANGE_SEEN_EXCLUSIVE 18u
#define RANGE_CAUSE_OBSERVED 16u /* likewise, of every Run */

static inline uint64_t range_word(uint32_t state, uint32_t cause, uint32_t host, uint32_t node, uint32_t slot) {
        return (uint64_t)(host & 0xff) << 56 | (uint64_t)(node & 0xff) << 48 | (uint64_t)(cause & 0xf) << 36 |
               (uint64_t)(state & 0xf) << 32 | slot;
}

static inline uint32_t range_state(uint64_t word) {
        return (uint32_t)(word >> 32) & 0xf;
}

static inline uint32_t range_cause(uint64_t word) {
        return (uint32_t)(word >> 36) & 0xf;
}

/* Plus one; 0: none. */
static inline uint32_t range_host(uint64_t word) {
        return (uint32_t)(word >> 56);
}

static inline uint32_t range_node(uint64_t word) {
        return (uint32_t)(word >> 48) & 0xff;
}

static inline uint32_t range_slot(uint64_t word) {
        return (uint32_t)word;
}

static inline uint64_t range_state_size(uint64_t count) {
        return sizeof(struct range_head) + count * sizeof(struct range_entry);
}
