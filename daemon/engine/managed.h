#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/residency.h"
#include "policy/policy.h"
#include "policy/reuse.h"
#include "policy/rival.h"

/*
 * Shared managed ranges as a deterministic state machine: no system call, lock, thread or clock. Inputs are the calls
 * below, each with the time; outputs are steps, which workers take, execute and report as completed, records, which
 * have to be kept before the next step is taken, and answers to requests. Everything is under one lock of the caller's.
 * Callbacks must not call the engine.
 *
 * A range is a row of granules. What happens to one in which state is a table (table.c, docs/managed.md).
 */
#define MANAGED_NODES_MAX 64
#define MANAGED_NOWHERE   UINT32_MAX
/* Groups that a range is charged to: its partition's, its session's, and control groups'. */
#define MANAGED_CHAIN_MAX 10

struct hint_walk;
struct managed;
struct managed_chain;
struct managed_group;
struct managed_range;
struct managed_session;

/* Outcomes of requests (> 0). */
enum {
        _MANAGED_OK,
        MANAGED_E_FULL,    /* no room for it there that may be granted */
        MANAGED_E_PINNED,  /* a pinned granule does not move */
        MANAGED_E_REVOKED, /* the range has been taken away */
        MANAGED_E_RATE,    /* moved too often, or moved too recently */
        MANAGED_E_OFFLINE, /* the node takes nothing */
        MANAGED_E_ENDED,   /* the range ended first */
        MANAGED_E_LOST,    /* its content was on a node that is lost, or the node that asks is */
};

/* What happens to a granule. The three faults differ in what the kernel said of them, never in what is done. */
enum managed_event {
        MANAGED_FAULT_READ,
        MANAGED_FAULT_WRITE,
        MANAGED_FAULT_MINOR,
        MANAGED_TO_HOST,
        MANAGED_TO_NODE,
        MANAGED_DISCARD,
        MANAGED_REVOKE,
        MANAGED_UNREVOKE,
        MANAGED_DEVICE_READ,
        MANAGED_DEVICE_WRITE,
        MANAGED_PIN,
        MANAGED_UNDUPLICATE,
        MANAGED_JOIN,
        MANAGED_SESSION_END,
        MANAGED_RESTART,
        _MANAGED_EVENT_N,
};

enum managed_action {
        MANAGED_NOTHING,     /* it is as it should be */
        MANAGED_WAIT,        /* until it has settled, and is then served */
        MANAGED_FILL,        /* FILLING -> RESIDENT; with no payer WRITING -> CONTINUING -> RESIDENT */
        MANAGED_MAP,         /* CONTINUE, lift a protection that is left, WAKE */
        MANAGED_MAP_READ,    /* CONTINUE write-protected, or DROP where the kernel cannot */
        MANAGED_COPY,        /* COPYING -> PUNCHING -> OUT */
        MANAGED_MOVE,        /* from slot to slot; the record changes when the copy is whole */
        MANAGED_PUNCH,       /* EMPTY is recorded, then the memfd's pages are punched */
        MANAGED_FORGET,      /* EMPTY is recorded, then the slot is free */
        MANAGED_DROP,        /* the copies end, RESIDENT; then it is served */
        MANAGED_TAKE,        /* REVOKED, and POISON where the range asks for it */
        MANAGED_BLOCK,       /* stays blocked, or gets SIGBUS */
        MANAGED_RETURN,      /* OUT or EMPTY again, WAKE */
        MANAGED_CLEAR,       /* where poisoned: filled and continued everywhere */
        MANAGED_PLACE,       /* a zeroed slot where policy puts it */
        MANAGED_ASK,         /* policy: migrate, map or duplicate */
        MANAGED_REFUSE,      /* answered with the reason */
        MANAGED_PROTECT,     /* write-protected (poisoned if REVOKED) there before the session may touch it */
        MANAGED_GO_ON,       /* without that session */
        MANAGED_ABANDON,     /* RESIDENT again, the slots are dropped, protection is lifted on demand */
        MANAGED_PUNCH_AGAIN, /* and then as before */
        MANAGED_FILL_AGAIN,  /* what the memfd has is kept, what is missing comes from the slot */
        MANAGED_WRITE_AGAIN, /* all of it, from the slot */
        MANAGED_FINISH,      /* RESIDENT */
        _MANAGED_ACTION_N,
};

/* The transition table. */
enum managed_action managed_action(enum residency state, enum managed_event event);
const char *managed_state_name(enum residency state);
const char *managed_event_name(enum managed_event event);
const char *managed_action_name(enum managed_action action);

enum managed_cause {
        MANAGED_BY_FAULT,
        MANAGED_BY_DEVICE,
        MANAGED_BY_PREFETCH,
        MANAGED_BY_EVICTION,
        MANAGED_BY_REQUEST,
        MANAGED_BY_ADVICE,
        MANAGED_BY_DRAIN,
        MANAGED_BY_REVOKE,
        MANAGED_BY_RESTART,
};

/* What a worker does, and which results it reports. -EAGAIN: try again (userfaultfd: after its events were read).
 * Steps with a session: -ESRCH when the process has ended or has no mapping there. */
enum managed_step_type {
        MANAGED_WRITE_PROTECT, /* UFFDIO_WRITEPROTECT in the session: 0 */
        MANAGED_UNPROTECT,     /* lifts it: 0 */
        MANAGED_CONTINUE,      /* UFFDIO_CONTINUE of every page: 0 (EEXIST is success), -EFAULT: the memfd has a hole */
        MANAGED_COPY_IN,       /* UFFDIO_COPY of every page from the slot: 0, -EEXIST (some were there), -ENOMEM */
        MANAGED_ZERO,          /* the same with zeroes: 0, -EEXIST, -ENOMEM */
        MANAGED_WAKE,          /* UFFDIO_WAKE: 0 */
        MANAGED_POISON,        /* UFFDIO_POISON and wake: 0 */
        MANAGED_WRITE_BACK,    /* pwrite to the memfd of every page from the slot: 0, -ENOMEM */
        MANAGED_ALLOCATE,      /* fallocate: zeroes where the memfd has holes, the rest is kept: 0, -ENOMEM */
        MANAGED_COPY_OUT,      /* pread of the memfd into the slot: 0, or why not */
        MANAGED_MERGE,         /* those pages that the memfd has, into the slot: 0 */
        MANAGED_PUNCH_HOLE,    /* of the memfd: 0 */
        MANAGED_COPY_NODE,     /* slot `from` to slot: 0, or why not */
        MANAGED_ZERO_SLOT,     /* 0, or why not */
        MANAGED_SLOT_FREE,     /* gives the slot's space back to the machine: 0 */
        MANAGED_INVALIDATE,    /* the node's translation of the granule, and what it has cached of it, is gone: 0 */
        MANAGED_NODE_MAP,      /* the node's translation shows the slot, or the memfd (host): 0, or why not */
        _MANAGED_STEP_N,
};

struct managed_step {
        enum managed_step_type type;
        void *range;   /* the caller's; NULL for SLOT_FREE */
        void *session; /* the caller's; NULL where none is entered */
        uint32_t granule, count;
        uint32_t bytes; /* of a granule */
        uint32_t node, slot;
        uint32_t from, from_slot; /* COPY_NODE: the source; NODE_MAP: where it lies, with from == a host: the memfd */
        uint32_t host;            /* whose memory it is that the memfd's new pages take, or MANAGED_NOWHERE */
        bool wake;                /* ends with UFFDIO_WAKE of the granule, whatever came of it */
        bool insist;  /* COPY_IN, ZERO: also where that fills the cgroup; what then happens is the kernel's */
        bool idle;    /* COPY_IN, ZERO: nobody waits for it; what found no memory is to rest before it is tried again */
        bool protect; /* COPY_IN, ZERO, CONTINUE: MODE_WP */
        bool write;   /* NODE_MAP: the node may write */
};

/* The state of a granule; kept before a later step is taken. Slots of states that name none are free. */
struct managed_record {
        void *range;
        uint32_t granule;
        enum residency state;
        enum managed_cause cause;
        uint32_t node, slot; /* COPYING to OUT, FILLING, WRITING, REVOKED: the slot; else MANAGED_NOWHERE. A node and no
                              * slot: the content was lost with the node */
        uint32_t host;       /* whose memory the memfd's pages are, or MANAGED_NOWHERE */
        uint64_t cgroup;     /* that pays for them */
};

/* Decisions; the defaults are policy.h's functions. */
struct managed_decisions {
        uint32_t (*place)(const struct policy_machine *m, const struct policy_profile *p,
                          const struct policy_advice *advice, uint32_t accessor, uint64_t bytes, const uint64_t *room);
        enum policy_answer (*promote)(const struct policy_machine *m, const struct policy_profile *p,
                                      const struct policy_advice *advice, const struct policy_granule *g,
                                      uint32_t accessor, enum policy_access access, uint64_t now_ns);
        bool (*evict)(const struct policy_machine *m, const struct policy_profile *p,
                      const struct policy_advice *advice, const struct policy_granule *g, uint64_t now_ns,
                      const uint64_t *room, uint32_t *ret_to);
        void (*prefetch)(const struct policy_profile *p, const struct policy_advice *advice,
                         const struct policy_fault *f, struct policy_stream *stream, uint32_t *ret_first,
                         uint32_t *ret_count);
        enum policy_cure (*thrash)(const struct policy_machine *m, const struct policy_profile *p,
                                   struct policy_thrash *t, const struct policy_granule *g, uint32_t accessor,
                                   uint64_t now_ns, uint64_t *ret_until_ns);
        uint64_t (*away)(const struct policy_reuse *r, const struct policy_haste *h, uint64_t uses);
};

struct managed_config {
        uint32_t workers;                     /* at least 2; granules that each node keeps for bringing in */
        uint32_t session_steps;               /* steps of one session that are out at a time */
        uint32_t largest;                     /* bytes of the largest granule */
        uint64_t warm;                        /* bytes of freed slots of a node and size that keep their space */
        bool continue_protects;               /* the kernel has UFFDIO_CONTINUE_MODE_WP */
        const struct policy_profile *profile; /* NULL: policy's default. Copied */
        struct managed_decisions decide;      /* NULL: policy.h's */
        void *userdata;
        void (*intent)(void *userdata, const struct managed_record *r);
        /* 0, an outcome, or -errno. Token 0 is never answered. */
        void (*done)(void *userdata, uint64_t token, int result);
        /* A granule was wanted on the node, which has no room for it. NULL: nobody has to know. */
        void (*missed)(void *userdata, uint32_t node);
        /* A granule that bounces is pinned for a time, on the node. NULL: nobody has to know. */
        void (*pinned)(void *userdata, void *range, uint32_t granule, uint32_t node);
        /* The session may make the range accessible. */
        void (*joined)(void *userdata, void *session, void *range);
        /* NULL: no advice. */
        void (*advice)(void *userdata, void *range, uint32_t granule, struct policy_advice *ret);
        /* The range's granules of a group, as hints_group_next(). NULL: there are no groups. */
        uint32_t (*group)(void *userdata, void *range, struct hint_walk *walk);
};

/* -EINVAL, -ENOMEM. */
int managed_new(struct managed **ret, const struct managed_config *c);
/* Whatever is in flight is forgotten, as if the daemon had died. */
void managed_free(struct managed *e);
/* What decisions go by from now on, where a group says nothing else. Copied. */
void managed_profile(struct managed *e, const struct policy_profile *p);

/* Nodes are numbered from 0 as they are added. `bandwidth` as in policy_node; it has to stay. -ENOMEM, -ENOSPC. */
int managed_node_add(struct managed *e, bool host, bool faults, uint64_t capacity, uint64_t hive,
                     const uint32_t *bandwidth);
/* Its slots have this many bytes, and granules of another size are never put there. */
void managed_node_only(struct managed *e, uint32_t node, uint32_t bytes);
/* A host without CPUs, where nothing begins while another one has room; and distances as in policy_node, which have to
 * stay. */
void managed_node_shape(struct managed *e, uint32_t node, bool far, const uint32_t *distance);
/* Bytes that managed granules may have there; what is above goes elsewhere. */
void managed_node_capacity(struct managed *e, uint32_t node, uint64_t capacity, uint64_t now_ns);
/* Offline: takes nothing, and what it has goes elsewhere. `token` is answered when it is empty. */
void managed_node_drain(struct managed *e, uint32_t node, uint64_t token, uint64_t now_ns);
/* A device's node has vanished: offline, and what lies there is not content any more. Granules that lie nowhere else
 * are lost, and stay so when the node is online again: whoever touches one gets SIGBUS where the range asks for it and
 * stays blocked elsewhere, everything else is refused, until it is discarded. */
void managed_node_lost(struct managed *e, uint32_t node, uint64_t now_ns);
void managed_node_online(struct managed *e, uint32_t node, uint64_t now_ns);

/* What was done about granules that bounce. */
struct managed_thrash {
        uint64_t bounces; /* touches that wanted what had moved just before */
        uint64_t pins, naps;
};

/* What moves over a link, or of a group. */
struct managed_flow {
        uint64_t rate;    /* bytes a second; 0: no cap */
        uint64_t bytes;   /* that have moved */
        uint64_t put_off; /* moves that waited for the cap, were refused for it, or became a mapping */
};
/* Both ways together. What somebody waits for goes all the same, and is counted. Of a link that never had a cap nothing
 * is known. What waits for a cap that is another now goes by that with the next input. -ENOMEM, of a link's first cap
 * alone. */
int managed_link_cap(struct managed *e, uint32_t a, uint32_t b, uint64_t rate);
void managed_link_flow(struct managed *e, uint32_t a, uint32_t b, struct managed_flow *ret);

struct managed_node_info {
        bool online;
        uint64_t capacity, used, reserve;
        uint64_t kept;                /* of mins that are not used */
        uint64_t warm;                /* bytes of free slots that keep their space */
        uint64_t pinned;              /* on all host nodes, where this is the first one of them */
        uint32_t waiting;             /* granules that wait for room */
        struct managed_thrash thrash; /* of granules that lay there */
};
void managed_node_info(const struct managed *e, uint32_t node, struct managed_node_info *ret);

/*
 * A share of the nodes, of a partition, a session or a control group: the granules of its ranges are charged to the
 * node and to the group, and room is room in both. At a limit the group makes room among its own granules, never among
 * another's; what waits there keeps nobody else waiting. No limit at first. -ENOMEM.
 */
int managed_group_new(struct managed *e, struct managed_group **ret);
/* Its ranges have ended, and no chain names it. */
void managed_group_free(struct managed *e, struct managed_group *g);

/*
 * What ranges are charged to beside their partition's group: to that alone at first. Freed, it leaves its ranges to
 * that. -ENOMEM.
 */
int managed_chain_new(struct managed *e, struct managed_chain **ret, struct managed_group *partition);
void managed_chain_free(struct managed *e, struct managed_chain *c);
/* From now on to these, MANAGED_CHAIN_MAX - 1 at most, from the innermost on; what its ranges have is charged there,
 * and no longer where it was. What is so above a limit leaves. */
void managed_chain_set(struct managed *e, struct managed_chain *c, struct managed_group *const *groups, unsigned count,
                       uint64_t now_ns);
/* A range of the chain's partition is charged there from now on; NULL: to its partition's group alone. */
void managed_range_charge(struct managed *e, struct managed_range *r, struct managed_chain *c, uint64_t now_ns);
/* Bytes on the node, UINT64_MAX: no limit. What is above leaves; 0: the node is no place for the group. What somebody
 * waits for may pass the limit until something has left: config.workers of the largest granules at most. */
void managed_group_limit(struct managed *e, struct managed_group *g, uint32_t node, uint64_t bytes, uint64_t now_ns);
/* Of a group on a node: `max` as above. `min` is kept free for it: what it has not used of that counts as used for all
 * others, and what it has up to its min never leaves for them; what it has up to `low` leaves last. Where the node
 * cannot grant all mins, each counts as so much less. */
struct managed_bounds {
        uint64_t max, low, min;
};
/* Of the node: its capacity, and bytes of that which are kept free for those who are no group. */
struct managed_node_share {
        uint64_t capacity, kept;
};
struct managed_group_bounds {
        struct managed_group *group;
        struct managed_bounds bounds;
};
/* All of that at once, so that nothing leaves for what is true only in between. */
void managed_share_node(struct managed *e, uint32_t node, const struct managed_node_share *s,
                        const struct managed_group_bounds *of, unsigned count, uint64_t now_ns);
/* What decisions about its ranges go by from now on; NULL: what those about all others do. Copied. */
void managed_group_profile(struct managed_group *g, const struct policy_profile *p);
uint64_t managed_group_limit_of(const struct managed_group *g, uint32_t node);
/* Bytes there now, and the most there have been. Either may be NULL. */
void managed_group_used(const struct managed_group *g, uint32_t node, uint64_t *ret_used, uint64_t *ret_peak);

void managed_group_cap(struct managed *e, struct managed_group *g, uint64_t rate);
void managed_group_flow(const struct managed_group *g, struct managed_flow *ret);
void managed_group_thrash(const struct managed_group *g, struct managed_thrash *ret);

/* Bytes that are pinned, on all host nodes. */
uint64_t managed_group_pinned(const struct managed_group *g);

/* `bytes` of a granule: 4 KiB to config.largest. `poison`: faults on what is revoked are SIGBUS. `group`: its
 * partition's, which is charged, or NULL. -ENOMEM, -EINVAL. */
int managed_range_new(struct managed *e, struct managed_range **ret, void *userdata, struct managed_group *group,
                      uint32_t bytes, uint32_t count, uint64_t cgroup, bool poison);
/* From now on empty granules come along with a first touch. */
void managed_range_ahead(struct managed_range *r);
/* Its sessions have left. The range is freed before `token` is answered. */
void managed_range_end(struct managed *e, struct managed_range *r, uint64_t token, uint64_t now_ns);

/* A session of no range. -ENOMEM. */
int managed_session_new(struct managed *e, struct managed_session **ret, void *userdata, uint64_t cgroup);
/* The process has ended, or the connection: it leaves all ranges. Its steps that are out are still to be completed;
 * none is handed out any more. */
void managed_session_end(struct managed *e, struct managed_session *s, uint64_t now_ns);
/* The range is registered in the session and PROT_NONE; `joined` is called when it may be touched. -ENOMEM, -EEXIST.
 * -EAGAIN: it has left the range, and steps that were taken before are out; they have to be completed first. */
int managed_join(struct managed *e, struct managed_session *s, struct managed_range *r, bool readonly, uint64_t now_ns);
/* The session has no mapping of the range any more. */
void managed_leave(struct managed *e, struct managed_session *s, struct managed_range *r, uint64_t now_ns);

/* What a userfaultfd delivered; write and minor are what the kernel said. -ENOMEM: nothing was noted, give it again.
 * -ESRCH: the session is not in the range. */
int managed_fault(struct managed *e, struct managed_session *s, struct managed_range *r, uint32_t granule, bool write,
                  bool minor, uint64_t now_ns);

/* Requests about `count` granules; answered once, with the worst result. -ENOMEM: nothing will be done. What is
 * prefetched to a device without faults begins there where it was never touched; else that stays EMPTY. */
int managed_migrate(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint32_t to,
                    enum managed_cause cause, uint64_t token, uint64_t now_ns);
/* Off the node where it lies: to where policy's evict wants it, else to the one with most room; what host memory has
 * goes to a device. MANAGED_E_FULL: none has room. */
int managed_evict(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint64_t token,
                  uint64_t now_ns);
int managed_discard(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint64_t token,
                    uint64_t now_ns);
int managed_unduplicate(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint64_t token,
                        uint64_t now_ns);
/* Resident and never moved until unpinned; MANAGED_E_FULL when that would leave no granule to evict. What is pinned
 * again between managed_restore() and managed_restored() is not measured again. */
int managed_pin(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint64_t token,
                uint64_t now_ns);
void managed_unpin(struct managed *e, struct managed_range *r, uint32_t first, uint32_t count, uint64_t now_ns);
/* The whole range. The caller has recorded that it is (not) revoked, and asks again after a restart. */
int managed_revoke(struct managed *e, struct managed_range *r, uint64_t token, uint64_t now_ns);
int managed_unrevoke(struct managed *e, struct managed_range *r, uint64_t token, uint64_t now_ns);

/* A node wants to use a granule that its translation does not show. When `token` is answered with 0 an operation is in
 * flight there until managed_device_end(); it must end before the same operation asks for another granule. -EFAULT: the
 * node has no faults, and the granule neither lies there nor is pinned (what was never touched begins there). */
int managed_device_access(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t node, bool write,
                          uint64_t token, uint64_t now_ns);
/* The translation showed it (and for writing, if `write`): an operation is in flight, as above. False: ask. */
bool managed_device_begin(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t node, bool write);
/* Of a node without faults: what lies there, and is in no change, counts as shown there for writing from now on, and
 * its slot is given. -ENOENT: it does not, or is. -ENOMEM. */
int managed_device_show(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t node,
                        uint32_t *ret_slot);
void managed_device_end(struct managed *e, struct managed_range *r, uint32_t granule, uint64_t now_ns);

/* The next step, or NULL. It stays until it is completed. */
const struct managed_step *managed_take(struct managed *e);
/* The next that somebody waits for. */
const struct managed_step *managed_take_urgent(struct managed *e);
/* The step behind one that was taken, if it is the next in the queue and does the same to what lies right behind: they
 * can be one call. Each is completed by itself. */
const struct managed_step *managed_take_behind(struct managed *e, const struct managed_step *step);
/* Whether there is one to take. */
bool managed_ready(const struct managed *e);
bool managed_urgent(const struct managed *e);
void managed_complete(struct managed *e, const struct managed_step *step, int result, uint64_t now_ns);
/* When managed_tick() is due if no other input comes; 0: never. */
uint64_t managed_due(const struct managed *e);
void managed_tick(struct managed *e, uint64_t now_ns);
/* Nothing to take, nothing out, nothing waiting but for room or for a device. */
bool managed_idle(const struct managed *e);

/* No restart goes on. */
bool managed_settled(const struct managed *e);

struct managed_granule_info {
        uint64_t moved_ns, touched_ns; /* to 65 us; 0: never */
        uint64_t copies;               /* bit per node */
        /* When it was refused something, and who had asked; 0 when another granule of the range has been since. */
        uint64_t refused_ns;
        struct policy_thrash thrash; /* zeroes: it does not bounce */
        enum residency state;
        uint32_t node; /* that holds it, or MANAGED_NOWHERE */
        uint32_t slot;
        uint32_t outs, ins; /* counted to 65535 */
        uint32_t pins;
        enum managed_cause cause;
        int refused; /* what the last request or hint about it was answered: MANAGED_E_*, or 0 */
        enum managed_cause refused_cause;
        bool busy;
        bool lost; /* its content is, with `node` */
};
void managed_granule_info(const struct managed_range *r, uint32_t granule, struct managed_granule_info *ret);
/* Bytes of its granules on the node, copies and what is on its way there too. */
uint64_t managed_range_used(const struct managed_range *r, uint32_t node);

/*
 * After a restart: nodes, ranges and sessions are made again, each granule gets the state that was last recorded
 * (those without are EMPTY), sessions join by managed_rejoin() (their mappings are as they were), then
 * managed_restored() settles every granule and wakes every range. Requests are asked again by their clients. Of slots
 * that no granule has the caller has given the space back.
 */
int managed_restore(struct managed *e, struct managed_range *r, const struct managed_record *last);
int managed_rejoin(struct managed *e, struct managed_session *s, struct managed_range *r, bool readonly);
/* -ENOMEM: call again. */
int managed_restored(struct managed *e, uint64_t now_ns);

/* Every sum and link. 0 or -EUCLEAN. For tests. */
int managed_check(const struct managed *e);
