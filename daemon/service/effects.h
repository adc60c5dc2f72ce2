#pragma once

#include <stdint.h>

/*
 * What the journal holds: outcomes, never requests, so a replay takes no decision. Host byte order; the journal ends
 * with the boot. Each struct may be followed by bytes, as its comment says. Numbers are never used twice.
 */
enum effect_type {
        EFFECT_EPOCH = 1,
        EFFECT_NODE = 2,
        EFFECT_SESSION = 3,
        EFFECT_SESSION_END = 4,
        EFFECT_RESERVE = 5,
        EFFECT_RESERVE_END = 6,
        EFFECT_OPEN = 7,
        EFFECT_CLOSE = 8,
        EFFECT_FILE = 9,
        EFFECT_MEMORY = 10,
        EFFECT_HOLD = 11,
        EFFECT_RELEASE = 12,
        EFFECT_EXPORT = 13,
        EFFECT_TOKEN = 14,
        EFFECT_SPACE = 15,
        EFFECT_SPACE_END = 16,
        EFFECT_MAP = 17,
        EFFECT_UNMAP = 18,
        EFFECT_PROTECT = 19,
        EFFECT_SPARSE = 20,
        EFFECT_REPLY = 21,
        EFFECT_RANGE = 22,
        EFFECT_UFFD = 23,
        EFFECT_JOIN = 24,
        EFFECT_PIN = 25,
        EFFECT_REVOKE = 26,
        EFFECT_ADVICE = 27,
        EFFECT_STEAL = 28,
        EFFECT_NODE_STATE = 29,
        EFFECT_PLACE = 30,
        EFFECT_KEEP = 31,
        EFFECT_OWN = 32,
        EFFECT_REGISTER = 33,
        EFFECT_FENCED = 34,
        EFFECT_DMABUF = 35,
        EFFECT_LEAVE = 36,
        EFFECT_DEVICE = 37,
        EFFECT_PRIVATE = 38,
        EFFECT_PREFER = 39,
        EFFECT_LEASE = 40,
        EFFECT_LEASE_END = 41,
        EFFECT_LEASE_GRANT = 42,
        EFFECT_LEASE_USE = 43,
        EFFECT_LEASE_NAME = 44,
        EFFECT_LEASE_CLAIM = 45,
        EFFECT_LEASE_FILL = 46,
        EFFECT_SESSION_BOUNDS = 47,
        EFFECT_SETTING = 48,
        EFFECT_GRANT = 49,
        EFFECT_GRANT_DONE = 50,
        EFFECT_DOOR = 51,
        EFFECT_SHARE = 52,
        EFFECT_DRM_SPACE = 53,
};

struct effect_epoch {
        uint64_t epoch, next_id, generation;
};

struct effect_node {
        uint32_t index, kind;
        uint64_t capacity;
        char name[32];
        uint64_t unique; /* of struct card; of an older svmd it ends before that */
        uint32_t driver_id, domain, location, pad;
};

struct effect_session { /* then groups (u32 each), then the client's name, ended by 0 */
        uint64_t id;
        uint32_t pid, uid, gid, groups;
        uint32_t admin, reader;
        char partition[64];
};

struct effect_id { /* SESSION_END, RESERVE_END, SPACE_END, LEASE_END, LEASE_GRANT, UFFD (of a session: it was given) */
        uint64_t id;
};

struct effect_reserve {       /* then the name, ended by 0 */
        uint64_t id, session; /* session 0: its owner has ended */
        uint64_t address, size, generation;
        uint32_t uid, gid, mode, pad;
        char partition[64];
};

struct effect_open { /* also CLOSE */
        uint64_t reservation, session;
        uint32_t access, pad;
};

struct effect_file {
        uint64_t id, session, size;
        uint32_t kind, node;
};

struct effect_memory {        /* then extents: offset and size, u64 each */
        uint64_t id, session; /* session 0: its creator has ended */
        uint64_t file;        /* 0: the node's pool */
        uint64_t size;
        uint32_t node, flags, extents, lost; /* flags: of the wire */
        char partition[64];
};

/* Memory lies there from now on. Then extents as above. A file is a new one of the memory's own, on that host node;
 * what it had before goes. */
struct effect_place {
        uint64_t memory, file; /* file 0: the pool of its node */
        uint32_t node, extents;
};

struct effect_hold { /* also RELEASE */
        uint64_t memory, session;
        uint32_t access, pad;
};

struct effect_export { /* then the name, ended by 0 */
        uint64_t memory;
        uint32_t uid, gid, mode, pad;
};

struct effect_token {
        uint64_t memory, token[4];
        uint32_t access, pad;
};

struct effect_space {
        uint64_t id, session;
        uint32_t node, pad;
};

struct effect_map {                  /* also UNMAP (address, size) and PROTECT (attributes, which) */
        uint64_t space, reservation; /* one of them is 0 */
        uint64_t address, size;
        uint64_t memory, offset;
        uint64_t generation;
        uint8_t access, pat;
        uint16_t kind;
        uint32_t which;
};

struct effect_sparse {
        uint64_t space, reservation;
        uint64_t address, size;
        uint64_t from, to;
};

struct effect_reply { /* then the packet */
        uint64_t session, request;
};

/* A reservation is managed: behind its RESERVE. Where its granules are is in its state file. */
struct effect_range {
        uint64_t reservation;
        uint32_t granule, flags;
};

struct effect_join { /* also LEAVE: the session's process has registered the range; is served there no longer */
        uint64_t reservation, session;
};

struct effect_pin { /* by the session; times: of pins more, or of pins less */
        uint64_t reservation, session;
        uint32_t first, count;
        int32_t times;
        uint32_t pad;
};

struct effect_revoke { /* also where the content is replaced and `revoked` stays as it was */
        uint64_t reservation, generation;
        uint32_t revoked, pad;
};

struct effect_advice { /* `what` says which members are set: bits of enum policy_attribute */
        uint64_t reservation;
        uint64_t session; /* that says it */
        uint32_t first, count;
        uint32_t what, preferred;
        uint64_t accessed_by;
        uint32_t granularity;
        uint8_t read_mostly, pinned, coarse, atomics;
        uint64_t said_ns; /* from here on not in effects of an svmd before hints: 0 */
        uint32_t against, group, fallback[3];
        uint32_t pid, uid;
        uint32_t rank;   /* enum policy_rank + 1 */
        char client[16]; /* of the session */
};

/* The reservation is that session's own now, and nobody else has it open. */
struct effect_steal {
        uint64_t reservation, session, generation;
};

enum { EFFECT_NODE_OFFLINE = 1, EFFECT_NODE_LOST = 2 };
struct effect_node_state {
        uint32_t node, state; /* bits */
};

/* The object is kept, as this says; or (off) no longer, and ends if nobody uses it. */
struct effect_keep {
        uint64_t reservation, memory; /* one of them and lease is not 0 */
        uint64_t seconds, since_ns;   /* of struct keeping */
        uint32_t off, pad;
        uint64_t lease; /* of an older svmd it ends before that */
};

struct effect_own { /* one without an owner, which is kept, has this one */
        uint64_t reservation, session;
};

/* Memory that the session's process has itself. What svmd-keeper holds of the session reaches it. */
struct effect_register {
        uint64_t id, session; /* session 0: its handle was given up, and mappings show it */
        uint64_t owner;       /* whose process it is of */
        uint64_t address, size, generation;
        uint64_t probe;
        uint32_t node, fenced;
};

struct effect_fenced { /* registered memory is not what it was */
        uint64_t memory, generation;
};

/* Memory that is a dma-buf: its file, too. */
struct effect_dmabuf {
        uint64_t id, session; /* session 0: the one that brought it has ended */
        uint64_t file, size;
        uint32_t node, access;
        char partition[64];
};

/* The session gave a file of a device; svmd-keeper holds it under that id. */
struct effect_device {
        uint64_t id, session;
        uint32_t node, pad;
};

struct effect_private { /* a reservation is private: behind its RESERVE */
        uint64_t reservation;
};

struct effect_prefer { /* pages of a private one; node + 1 */
        uint64_t reservation, address, size;
        uint32_t preferred, pad;
        uint64_t session; /* that spoke last */
};

#define LEASE_PARTITION_MAX 64
/* Then node, asked and left of each need, u64 each; then, where it has no session, the name of its partition, in
 * LEASE_PARTITION_MAX bytes. */
struct effect_lease {
        uint64_t id, session, until_ns;
        uint32_t priority, granted, count, pad;
};
#define LEASE_EFFECT_MAX (sizeof(struct effect_lease) + SVMD_LEASE_NEEDS_MAX * 24ul + LEASE_PARTITION_MAX)

struct effect_lease_name { /* then the name, ended by 0 */
        uint64_t lease;
        uint32_t uid, gid, mode, pad;
};

struct effect_lease_claim { /* one without a session has this one */
        uint64_t lease, session;
};

/* LEASE_USE: memory is made of it; its effect follows. LEASE_FILL: memory was released into it; its effect came
 * before. */
struct effect_lease_use {
        uint64_t lease, node, bytes;
};

/* Limits of a session, one node's; the numbers as of enum bound. */
struct effect_session_bounds {
        uint64_t session;
        uint32_t node, pad;
        uint64_t bounds[4];
};

/* Through whose own socket the session before it came. */
struct effect_door {
        uint64_t session;
        char partition[64];
};

/* A named reservation or memory may be had from that partition; with access 0 not any more. */
struct effect_share {
        uint64_t id, object; /* id: of the share */
        uint32_t access, pad;
        char to[64];
};

/* An administrator has set this, in the place of what was set of the same; or (back) nothing is any more. */
struct effect_setting {
        uint32_t kind, back; /* enum setting_kind */
        uint64_t rate, set_ns;
        uint32_t uid, pad;
        char name[64], other[32];
        char profile[16];
};

/* Leave that a session has; its number is that of what it is charged to. */
struct effect_grant {
        uint64_t id, session, generation;
        uint64_t reservation, address, size;
        uint64_t bytes; /* that it is charged */
        uint64_t until_ns;
        uint32_t node, operations;
        uint32_t held, pad;
};

struct effect_grant_done { /* what became of it */
        uint64_t id, gone;
        uint32_t error, pad;
};

/* A page table in a file of a DRM device (EFFECT_DEVICE), or (gone) no more. */
struct effect_drm_space {
        uint64_t file, session;
        uint32_t number, made, gone, pad;
};

/*
 * A snapshot must fit where the log did. An effect of PIN makes one run of granules into three at most, so in the log
 * it is as long as two.
 */
#define EFFECT_SPLITS(type)                                                                                            \
        struct {                                                                                                       \
                type effect;                                                                                           \
                uint8_t more[sizeof(type) + 8];                                                                        \
        }

/* What a request reserves of the journal for each operation: the largest effects that one can have, twice. */
#define EFFECT_MAX 640

struct file;
struct grant;
struct keeping;
struct lease;
struct managed_reservation;
struct node;
struct partition;
struct reservation;
struct session;
struct share;

/* The fixed parts; `p` is the partition that the session is attached to, or about to be. */
struct effect_session effect_of_session(const struct session *s, const struct partition *p);
struct effect_session_bounds effect_of_bounds(const struct session *s, uint32_t node);
struct effect_reserve effect_of_reservation(const struct reservation *r);
struct effect_file effect_of_file(const struct file *f);
struct effect_door effect_of_door(const struct session *s);
struct effect_share effect_of_share(const struct share *x);
struct effect_keep effect_of_keeping(const struct keeping *k);
struct effect_lease_name effect_of_lease_name(const struct lease *l);
struct effect_node_state effect_of_node(const struct node *n, uint32_t index);
struct effect_grant effect_of_grant(const struct grant *g);
struct effect_range effect_of_range(const struct managed_reservation *m);
