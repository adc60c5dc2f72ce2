#pragma once

#include "base/list.h"
#include "base/tree.h"
#include "engine/figures.h"
#include "engine/history.h"
#include "engine/managed.h"
#include "policy/share.h"

struct share;
struct work;

/* What the engine's files share. Slots are kept plus one, so that 0 is none; a place in host memory (nodes.c) has the
 * highest bit too. */
enum { CLASSES = 3, POOLS = 2 * CLASSES }; /* classes: sizes of granules */
#define SLOT_PLACE 0x80000000u

static inline uint32_t class_bytes(unsigned class) {
        static const uint32_t bytes[CLASSES] = { 4096, 65536, 2u << 20 };

        return bytes[class];
}

enum step_owner { OWNER_WORK, OWNER_DEMAND, OWNER_SHARE, OWNER_RANGE, OWNER_NODE };

/* Steps that somebody waits for, and the others. */
enum { URGENT, PATIENT, URGENCIES };

struct step {
        struct managed_step pub; /* first */
        struct list link;
        enum step_owner owner;
        uint8_t urgency;
        struct share *share; /* whose address space it enters */
        bool out;            /* queued or taken */
};

/* A session's attachment to a range. */
struct share {
        struct list by_range, by_session;
        struct managed_range *range;
        struct managed_session *session;
        uint64_t id; /* grows along by_range */
        bool readonly, joining;
        bool gone;       /* a step found that its process has ended */
        bool left;       /* freed when no step names it */
        uint32_t steps;  /* that name it */
        uint32_t cursor; /* joining: granules below are done */
        struct step step;
};

struct managed_session {
        struct list link, shares, ready, steps[URGENCIES];
        struct managed *engine;
        void *userdata;
        uint64_t cgroup;
        uint16_t cgroup_index;
        uint32_t out; /* steps taken */
        uint32_t refs;
        bool ended;
};

struct copy {
        struct copy *next;
        uint32_t node, slot;
};

/* LOST: what lies in a device's memory, in the slot or in copies, is not content: it was there when a node vanished.
 * The slot is kept until nobody can use it any more. Nothing holds content where the state says that the slot does. */
enum { GRANULE_PROTECTED = 1, GRANULE_POISONED = 2, GRANULE_NO_PAYER = 4, GRANULE_LOST = 8 };

/* There may be half a million in a range: what few of them have lies beside them, in the range. */
struct granule {
        struct work *work;
        uint64_t moved : 40, cgroup : 16, state : 4, cause : 4;
        uint64_t touched : 40, ops : 16, flags : 4, refused : 4; /* ops: of devices, in flight */
        uint32_t host_slot, slot;                                /* plus one; 0: none */
        uint16_t outs, ins;                                      /* as far as they reach */
        uint16_t pins;
        uint8_t host, node; /* of the slots */
        struct policy_reuse reuse;
};
_Static_assert(sizeof(struct granule) == 48, "a range has many of them");
enum { OPS_MAX = UINT16_MAX };

/* What the translations of a node show of a range: a bit for each granule. */
struct shown {
        uint64_t *mapped, *writable;
};

/* The last refusals of requests and hints: of so many granules in a row. */
struct refusal {
        uint32_t first, count;
        enum managed_cause cause;
        uint64_t ns;
};

/* What was decided lately (history.c); rings, of which `next` is counted on. */
struct history {
        struct managed_past done[MANAGED_PASTS], not_done[MANAGED_NOT_DONE];
        uint32_t next_done, next_not_done;
};

struct cgroup {
        uint64_t id, refs; /* refs: sessions and granules */
};

/* Who waits for room on a node. */
struct line {
        struct list link;   /* in the node's lines while somebody does */
        struct list parked; /* works */
        uint32_t waiting;
};

/* cap.c */
struct flow {
        struct managed_flow pub;
        struct policy_bucket bucket;
        struct list line, by_engine; /* works that wait; in the engine's list while some do */
        uint64_t next_ns;            /* when the line is looked at */
};

struct owner {
        struct managed_range *range; /* NULL: free, or being given back */
        uint32_t granule;            /* of a free slot: the next one, plus one */
};

/* Those on a node that are likeliest to go next, with policy_away() of each. */
enum { SHORTLIST = 8, RECENT = 8 };
struct shortlist {
        struct owner granule[SHORTLIST];
        uint64_t away[SHORTLIST];
        uint32_t count;
};

/* In which order what lies on a node leaves for room, of all or of a group. */
struct order {
        struct shortlist shortlist;
        struct policy_rival rival;
};

struct group_node {
        uint64_t limit, used, peak;
        uint32_t waiting;     /* works, whatever of their chains they wait for */
        uint64_t min, low;    /* of policy/share.h */
        uint64_t floor;       /* used when the limit was lowered under it, or less since; 0: none */
        uint64_t evicting;    /* bytes on their way out, to make room */
        uint64_t arriving;    /* as the node's */
        uint64_t barren;      /* engine.changes when the hand last found nothing */
        bool barren_pressing; /* it looked for somebody who waits */
        struct managed_range *hand;
        uint32_t hand_granule; /* the next to be looked at */
        struct order *order;   /* NULL: no limit yet, or there was no memory */
};

/* chain.c: what a range is charged to. */
struct chain_member {
        struct list by_group; /* while the chain has ranges */
        struct managed_chain *chain;
        struct managed_group *group;
};

struct managed_chain {
        struct list link, ranges;
        struct chain_member in[MANAGED_CHAIN_MAX]; /* the partition's is the last one */
        unsigned count;
        struct line lines[MANAGED_NODES_MAX];
};

struct managed_group {
        struct list link;
        struct list members;                  /* chain_member.by_group */
        struct list press;                    /* in the engine's list while a node may have to be looked at */
        unsigned rank;                        /* in chains: how many groups are behind it */
        uint64_t pressed;                     /* bit per node */
        uint64_t granules;                    /* of all ranges */
        const struct policy_profile *profile; /* NULL: the engine's; else `own` */
        struct policy_profile own;
        uint64_t pinned;
        struct managed_thrash thrash;
        struct managed_traffic traffic;
        struct flow flow;
        struct managed_chain alone; /* of ranges that are charged to nothing else */
        struct group_node nodes[MANAGED_NODES_MAX];
};

struct managed_range {
        struct list link, shares, by_chain;
        struct managed *engine;
        struct managed_group *group; /* its partition's; NULL: none */
        struct managed_chain *chain; /* that is charged; NULL: of no group */
        void *userdata;
        uint32_t bytes, count, guarded; /* guarded: granules that a joiner has to have protected */
        uint64_t pinned;                /* bytes */
        uint8_t class;
        bool poison, ahead;
        uint64_t shows;                         /* bit per node that has a struct shown */
        struct shown *shown[MANAGED_NODES_MAX]; /* made when a device first uses the range */
        uint32_t slots[MANAGED_NODES_MAX];      /* that its granules have on each node */
        struct copy **copies;                   /* to read; a list for each granule. Made with the first */
        struct refusal refusal;
        uint64_t tag;
        struct history history;
        bool ending, leaving; /* leaving: its end is being begun */
        uint64_t cgroup, next_share, end_token;
        uint64_t window_ns, window_moves;
        uint64_t led_ns; /* around.c: a granule of this group led the others to the node, then */
        uint32_t led_group, led_node;
        struct policy_stream stream[2]; /* of the CPU, of devices */
        struct tree bounces;            /* thrash.c */
        struct list works;
        bool settled;    /* no restart goes on */
        bool punched;    /* a restart has punched what is EMPTY */
        uint32_t cursor; /* restoring */
        struct step step;
        uint64_t *on_host; /* bit per granule that has a place on a host; behind the granules */
        struct granule granules[];
};

struct fence {
        uint64_t token;
        uint32_t pending;
        int result;
};

/* Something wanted of a granule; in its work's queue until it is served. */
struct demand {
        struct list link;
        struct work *work;
        enum managed_event event;
        enum managed_cause cause;
        struct share *share; /* faults */
        uint32_t node;       /* TO_NODE: where to; DEVICE: who asks; TO_HOST: which */
        uint64_t began_ns;   /* when it was heard of */
        struct fence *fence;
        bool write, again;
        bool met;             /* a write to what was not missing alone: there may be a protection */
        bool forced;          /* makes room: may take out of a reserve */
        bool protect;         /* mapped write-protected */
        bool frees;           /* what is lost: takes the translations of its slot, or the copies, away */
        bool anywhere;        /* TO_HOST: another host will do where it is there already */
        bool away;            /* TO_NODE: `node`, and whether it is a host, is still to be chosen */
        bool ahead;           /* TO_HOST, TO_NODE: what is EMPTY begins there */
        bool asked;           /* policy has been asked whether it bounces */
        bool put_off;         /* a cap has kept it waiting */
        bool hides;           /* translations are taken away, and nothing else */
        uint32_t evicts;      /* node + 1 that this makes room on */
        uint8_t why;          /* managed_why: of an eviction, or of a refusal where its result says less */
        uint64_t whom;        /* of an eviction: tag of the range that has to have the room */
        struct work *resumes; /* that waits for room in its cgroup */
        enum { MAP_CONTINUE, MAP_HOLE, MAP_UNPROTECT } map;
        struct step step;
};

enum change {
        CHANGE_NONE,
        CHANGE_OUT,
        CHANGE_DUPLICATE,
        CHANGE_IN,
        CHANGE_MOVE,
        CHANGE_DISCARD,
        CHANGE_PLACE,
        CHANGE_DROP,
        CHANGE_TAKE,
        CHANGE_LOSE,
        CHANGE_RETURN,
        CHANGE_CLEAR,
        CHANGE_SHOW,
        CHANGE_HIDE,
};

enum phase {
        PHASE_NONE,
        PHASE_QUIET,   /* translations are invalidated, operations end */
        PHASE_PROTECT, /* in one session after the other */
        PHASE_COPY,
        PHASE_PUNCH,
        PHASE_FILL,
        PHASE_ROOM, /* the payer's cgroup is full */
        PHASE_ALLOCATE,
        PHASE_WRITE,
        PHASE_CONTINUE,
        PHASE_RETREAT, /* protecting, to take a fill back */
        PHASE_MERGE,
        PHASE_EVERYONE, /* poison, wake or continue, in one session after the other */
        PHASE_SHOW,
};

/* What goes on about a granule; exists while there is something. */
struct work {
        struct list by_range, todo, parked, nap;
        struct managed_range *range;
        struct granule *g;
        struct list queue;   /* demands */
        struct list mapping; /* faults whose step is out */
        enum change change;
        enum phase phase;
        uint64_t cursor;     /* share that was last walked over */
        uint32_t node, slot; /* target; slot plus one */
        struct copy *copy;   /* CHANGE_DUPLICATE: what becomes of it */
        struct share *payer; /* CHANGE_IN */
        uint32_t parked_on;  /* node + 1 */
        uint64_t nap_ns;     /* nothing is served until then; 0: it is */
        struct flow *capped; /* nothing is served until that lets it go, or somebody waits for it */
        uint8_t tries;       /* ENOMEM */
        bool insists;        /* its cgroup has nothing to give, and pays all the same */
        bool reserve;        /* holds room out of a reserve */
        bool arrives;        /* from a slot of the host that it comes to: charged twice meanwhile */
        bool spoiled;        /* the target's node vanished */
        bool keep;           /* CHANGE_IN: the slot stays as a copy */
        bool settling;       /* a restart waits for it */
        bool waits;          /* an eviction in the payer's cgroup goes on */
        bool turn;           /* let in from the line for room */
        int failed;          /* why the last change was abandoned */
        enum managed_cause cause;
        uint64_t began_ns;        /* the change */
        struct managed_past past; /* of the change: what is known of it when it begins */
        struct step step;
};

/* Its neighbours in the order in which those of a device's pool were used last, plus one; 0: none. */
struct age {
        uint32_t older, newer;
};

struct pool {
        struct owner *owners;
        struct age *ages; /* by slot, of those that are taken */
        uint32_t oldest, newest;
        uint32_t size, high;
        uint32_t free, warm; /* first free slot that may have space, plus one; how many */
        uint32_t cold;       /* first free slot without, plus one */
};

struct node {
        bool host;
        uint32_t only; /* bytes of granules that it takes; 0: any */
        uint64_t capacity, reserve, used, pinned;
        uint64_t kept;                   /* of `promises`: for those who are no group */
        struct policy_promises promises; /* groups' and those */
        uint32_t protected;              /* groups with a min or low */
        uint64_t evicting;               /* bytes on their way out, to make room */
        uint64_t arriving;               /* bytes that are charged twice for a moment */
        uint64_t copies;                 /* slots that are copies to read */
        struct managed_thrash thrash;
        struct managed_traffic traffic;
        struct pool pool[POOLS];   /* of slots, then a host's of places */
        uint32_t hand, hand_class; /* where the clock stands */
        struct order order;
        struct owner recent[RECENT]; /* used last, around */
        struct policy_haste haste;
        uint64_t barren;   /* engine.changes when the hand last found nothing */
        struct list lines; /* with somebody in them */
        struct line line;  /* of ranges of no group */
        uint32_t waiting, recent_next;
        uint64_t drain_token;
        bool draining, lost;  /* lost: until it is online */
        bool barren_pressing; /* the hand looked for somebody who waits */
        struct step trim;
        uint8_t trim_class;
};

struct managed {
        struct managed_config c;
        struct policy_profile profile; /* c.profile */
        struct list groups, chains, ranges, sessions, todo, cancelled;
        struct list press;                              /* groups, those first that have most behind them */
        struct list steps[URGENCIES], ready[URGENCIES]; /* ready: sessions */
        unsigned turns;
        struct policy_node shape[MANAGED_NODES_MAX];
        struct node nodes[MANAGED_NODES_MAX];
        struct flow *links[MANAGED_NODES_MAX][MANAGED_NODES_MAX];         /* with caps; the lesser node first */
        struct list flows;                                                /* that works wait for */
        struct managed_flown flown[MANAGED_NODES_MAX][MANAGED_NODES_MAX]; /* from, to */
        struct managed_figures figures;
        uint32_t nodes_count, hosts;
        struct cgroup *cgroups; /* by a granule's index; the first one is none */
        uint32_t cgroups_size, cgroup_last;
        uint32_t reserve_works; /* works that hold room out of a reserve */
        uint64_t steps_out, now;
        uint64_t uses;     /* of granules, so far */
        uint64_t dart;     /* where a group's hand looks besides, some number */
        uint64_t changes;  /* grows when something may have become evictable */
        uint64_t settling; /* works of a restart that are not done */
        uint64_t waking;   /* wakes of a restart that are out */
        enum { RESTORE_NONE, RESTORE_BEGINNING, RESTORE_SETTLING, RESTORE_WAKING } restore;
        struct list bounced, pins, naps; /* thrash.c: entries by age, those pinned; works that wait */
        uint32_t bounces;                /* entries */
        bool flip;
        bool starved; /* an eviction found no memory for itself: the next input looks again */
};

static inline uint32_t granule_index(const struct work *w) {
        return (uint32_t)(w->g - w->range->granules);
}

static inline struct granule *granule_of(struct managed_range *r, uint32_t i) {
        return &r->granules[i];
}

static inline bool granule_lost(const struct granule *g) {
        return g->flags & GRANULE_LOST;
}

static inline bool event_is_fault(enum managed_event e) {
        return e == MANAGED_FAULT_READ || e == MANAGED_FAULT_WRITE || e == MANAGED_FAULT_MINOR;
}

static inline bool event_is_device(enum managed_event e) {
        return e == MANAGED_DEVICE_READ || e == MANAGED_DEVICE_WRITE;
}

/* steps.c */
void step_init(struct step *s, enum step_owner owner);
struct managed_step *step_new(struct step *s, struct managed_range *r, uint32_t granule, enum managed_step_type type);
void step_emit(struct managed *e, struct step *s, struct share *share);
/* Somebody waits for it now; it may be out. */
void step_hurry(struct managed *e, struct step *s);
void session_cancel(struct managed *e, struct managed_session *s, const struct share *share);
void steps_end_cancelled(struct managed *e);

/* sessions.c */
void session_put(struct managed_session *s);
void share_put(struct share *s);
void share_step_done(struct share *s, int result);
void share_join_next(struct share *s);
void share_leave(struct managed *e, struct share *s);

/* nodes.c: places. 0 when there is none; `reserve` is set when it lies above what may be granted. */
enum room { ROOM_GRANT, ROOM_TOUCH, ROOM_EVICT };
uint32_t node_take(struct managed *e, uint32_t node, struct managed_range *r, uint32_t granule, bool place,
                   enum room room, bool *reserve);
void node_give(struct managed *e, uint32_t node, struct managed_range *r, uint32_t slot);
/* The slot that a record names, or if that is 0 any place; 0 without memory, or when it is another's. */
uint32_t node_claim(struct managed *e, uint32_t node, struct managed_range *r, uint32_t granule, uint32_t slot);
void node_rebuild(struct managed *e, uint32_t node);
void node_trimmed(struct managed *e, struct node *n);
/* Where a slot or place is; `*slot` becomes its number in there, plus one. */
struct pool *node_pool(struct managed *e, uint32_t node, const struct managed_range *r, uint32_t *slot);
/* A granule that is OUT, or on its way, is in memory of a host: in a slot there. */
static inline bool node_holds(const struct managed *e, const struct granule *g) {
        return g->slot && e->nodes[g->node].host;
}

/* room.c; with a range: in the node and in the range's groups */
uint64_t node_reserve(const struct node *n);
/* What may be granted of the node. */
uint64_t node_granted(const struct node *n);
/* What counts as used of the node: what is, and what is kept free. */
uint64_t node_taken(const struct node *n);
uint64_t room_under(uint64_t limit, uint64_t used);
/* Whatever is kept free there. */
uint64_t node_space(const struct managed *e, uint32_t node, enum room room);
/* For the range, whatever the limits of its groups are. */
uint64_t node_room(const struct managed *e, uint32_t node, const struct managed_range *r, enum room room);
bool room_fits(const struct managed *e, uint32_t node, const struct managed_range *r, enum room room);
/* A granule of the range was wanted there: told if it is the node that has no room. */
void room_missed(struct managed *e, uint32_t node, const struct managed_range *r);
/* What may be granted on every node. */
void room_all(const struct managed *e, const struct managed_range *r, uint64_t *ret);
/* Online, and each group may have something there. */
bool room_is_place(const struct managed *e, uint32_t node, const struct managed_range *r);
/* The host node for the next page, a place or not. */
uint32_t room_host(const struct managed *e, const struct managed_range *r);
uint32_t room_freest(const struct managed *e, const struct managed_range *r, enum room room, uint32_t except,
                     bool hosts);

/* lost.c */
void step_defuse(struct step *s);
/* What is lost, and all that is wanted of it but what the table says anyway. */
bool lost_concerns(const struct managed *e, const struct granule *g, const struct demand *d);
bool lost_serve(struct managed *e, struct work *w, struct demand *d);
/* The slot is free: nothing shows it. */
void lost_free(struct managed *e, struct managed_range *r, struct granule *g);

/* groups.c; `g` NULL: no limits, nothing to count */
uint64_t group_room(const struct managed *e, const struct managed_group *g, uint32_t node, enum room room);
void group_charge(struct managed *e, struct managed_group *g, uint32_t node, uint64_t bytes);
void group_refund(struct managed *e, struct managed_group *g, uint32_t node, uint64_t bytes);
/* There is no room for it, even if nobody else passes a limit. */
bool group_blocks(const struct managed *e, const struct managed_group *g, uint32_t node, uint64_t bytes);
/* What policy/share.h goes by. */
struct policy_share group_share(const struct managed_group *g, uint32_t node);
/* What the group has there may go for others in that turn. */
bool group_gives(const struct managed *e, const struct managed_group *g, uint32_t node, enum policy_turn turn);
bool group_may_pin(const struct managed *e, const struct managed_group *g, const struct managed_range *r,
                   uint64_t bytes);
void group_destroy(struct managed_group *g);
void group_restored(struct managed *e, struct managed_group *g);
/* Something on the node may have to leave. */
void group_press(struct managed *e, struct managed_group *g, uint32_t node);
uint64_t group_excess(const struct managed *e, const struct managed_group *g, uint32_t node, bool *ret_pressing);
/* The next granule under the group's hand on the node that may lie there; `*passed` grows by those that the hand has
 * passed. NULL: there is none in the rest of a range. Only for groups that have granules. */
struct managed_range *group_advance(struct managed_group *g, uint32_t node, bool host, uint32_t *ret_granule,
                                    uint64_t *passed);

/* chain.c */
void chain_init(struct managed_chain *c);
void chain_of_group(struct managed_chain *c, struct managed_group *g);
/* The range's groups, the innermost first; NULL behind the last. */
static inline struct managed_group *range_group(const struct managed_range *r, unsigned i) {
        return r->chain && i < r->chain->count ? r->chain->in[i].group : NULL;
}
bool range_is_in(const struct managed_range *r, const struct managed_group *g);
/* What all its groups have. */
uint64_t range_room(const struct managed *e, const struct managed_range *r, uint32_t node, enum room room);
/* A granule of it comes to the node, or leaves. */
void range_charge(struct managed *e, struct managed_range *r, uint32_t node, bool on);
/* What its groups are promised there, MANAGED_CHAIN_MAX at most: returns how many. */
unsigned range_shares(const struct managed_range *r, uint32_t node, struct policy_share *ret);
/* Every group of it (`but` that one, if it is not NULL) may give there in that turn. */
bool range_gives(const struct managed *e, const struct managed_range *r, const struct managed_group *but, uint32_t node,
                 enum policy_turn turn);
/* With all that it has; `c` NULL: to nothing. */
void range_join(struct managed *e, struct managed_range *r, struct managed_chain *c);
void range_part(struct managed *e, struct managed_range *r);

/* lines.c */
void line_init(struct line *l);
void line_dissolve(struct managed *e, struct line *l);
/* Everybody who waits there and is charged to the group looks for another place. */
void line_dissolve_group(struct managed *e, const struct managed_group *g, uint32_t node);
/* The first of a line that shares a group with the range there, or NULL. */
const struct managed_range *line_beside(const struct managed *e, uint32_t node, const struct managed_range *r);
/* Somebody who is first in a line there waits for the group, and for no other one; `*ret` is what he needs of it. */
bool line_for_group(const struct managed *e, const struct managed_group *g, uint32_t node, uint64_t *ret);
/* The first of a line whose groups have this room: it waits for the node. */
const struct managed_range *line_for_node(const struct managed *e, uint32_t node, enum room room);
/* Somebody else waits for what the range wants there. */
bool line_ahead(struct managed *e, const struct managed_range *r, uint32_t node);
void line_admit(struct managed *e, uint32_t node);
void work_park(struct managed *e, struct work *w, uint32_t node);
void work_unpark(struct managed *e, struct work *w);

/* evict.c */
void evict_run(struct managed *e);
void evict_count(struct managed *e, const struct managed_range *r, uint32_t node, bool on);
/* Where it goes from `from`, or MANAGED_NOWHERE; `wish` if that can be; `pressing`: a reserve will do. */
uint32_t evict_to(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t from, uint32_t wish,
                  bool pressing);
/* Where policy wants a granule that is to leave. False: nowhere in particular. */
bool evict_wanted(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t *ret_to);
/* What that is to the granule: to be resident there, or to lie in a slot. */
enum managed_event evict_by(const struct managed *e, const struct granule *g, uint32_t to);
/* Begins to evict a granule that this cgroup pays for; then in_room(). */
enum { CGROUP_ANY = UINT16_MAX };
bool evict_for(struct managed *e, struct work *resumes, uint16_t cgroup);

/* reuse.c */
void reuse_use(struct managed *e, struct managed_range *r, struct granule *g);
/* A touch has to bring it to the node. */
void reuse_miss(struct managed *e, uint32_t node, struct managed_range *r, struct granule *g);
/* It comes there without being used. */
void reuse_bring(struct managed *e, uint32_t node, struct managed_range *r, struct granule *g);
/* It has to make room there. */
void reuse_leave(struct managed *e, uint32_t node, struct managed_range *r, const struct granule *g);
/* The range ends. */
void reuse_forget(struct managed *e, const struct managed_range *r);
/* What leaves the node goes by; `group`: at its limit, else NULL. */
struct policy_haste reuse_haste(const struct managed *e, uint32_t node, const struct managed_group *group);
uint64_t reuse_away(const struct managed *e, const struct policy_haste *h, const struct owner *o);
/* ages.c: orders the slots (plus one) of a pool; the newest is the one that was used last. */
void age_begin(struct pool *p, uint32_t slot, bool oldest);
void age_use(struct pool *p, uint32_t slot);
void age_end(struct pool *p, uint32_t slot);
/* Keeps it if it is farther away than one that is there, or there is place. */
void shortlist_offer(struct shortlist *s, const struct owner *o, uint64_t away);
void shortlist_drop(struct shortlist *s, uint32_t i);
void shortlist_forget(struct shortlist *s, const struct managed_range *r);

/* demand.c */
void pin_count(struct managed *e, struct managed_range *r, uint32_t i, bool on);
int demand_add(struct managed *e, struct managed_range *r, uint32_t granule, const struct demand *d, bool first);
void demand_done(struct demand *d, int result);
bool work_is_urgent(const struct work *w);
void work_todo(struct managed *e, struct work *w);
void work_put(struct managed *e, struct work *w);
void work_arrives(struct managed *e, struct work *w, bool on);
struct work *work_get(struct managed *e, struct managed_range *r, uint32_t granule);
void managed_run(struct managed *e);

/* serve.c */
bool serve(struct managed *e, struct work *w, struct demand *d);
/* Answers the demand; true. */
bool serve_answer(struct demand *d, int result);
bool serve_change(struct managed *e, struct work *w, struct demand *d, enum change change);
/* `place`: in the host's memory for the memfd, and not a slot. */
bool serve_room(struct managed *e, struct work *w, struct demand *d, uint32_t node, bool place);
bool serve_no_room(struct managed *e, struct work *w, struct demand *d, uint32_t node);
bool serve_fill(struct managed *e, struct work *w, struct demand *d);

/* figures.c */
void figures_answered(struct managed *e, const struct demand *d);
/* What has ended so. */
void figures_moved(struct managed *e, const struct work *w, const struct managed_past *p);

/* history.c */
void history_begin(struct work *w, const struct demand *d);
void history_end(struct managed *e, struct work *w);
/* The demand is answered so. */
void history_answered(struct managed *e, const struct demand *d, int result);
/* Its change was, and it goes on. */
void history_failed(struct managed *e, const struct demand *d, int result);
/* It does not come to the node (MANAGED_NOWHERE: which is not said), though the demand goes on. */
void history_refused(struct managed *e, const struct demand *d, uint32_t to, enum managed_why why);
/* It waits for that. */
void history_delayed(struct managed *e, const struct demand *d, uint32_t to, enum managed_why why);
/* Why a granule of the range has to leave the node, and for whom. */
void history_victim(const struct managed *e, uint32_t node, const struct managed_range *victim, struct demand *d);
/* Whether it is the node or the group that has no room. */
enum managed_why history_full(const struct managed *e, uint32_t node, const struct managed_range *r);

/* Times of granules: 0 is never, else units of 65 us, plus one. */
static inline uint64_t granule_stamp(uint64_t now_ns) {
        return (now_ns >> 16) + 1;
}

static inline uint64_t granule_ns(uint64_t stamp) {
        return stamp ? (stamp - 1) << 16 : 0;
}

/* granule.c */
/* Its place on a host, plus one. */
void granule_host(struct managed_range *r, struct granule *g, uint32_t slot);
/* The first of its copies, or NULL. */
struct copy *granule_copies(const struct managed_range *r, const struct granule *g);
const struct copy *granule_copy(const struct managed_range *r, const struct granule *g, uint32_t node);
void granule_add_copy(struct managed *e, struct work *w, uint32_t node, uint32_t slot);
void granule_drop_copies(struct managed *e, struct managed_range *r, struct granule *g);
bool granule_lies_on(const struct managed_range *r, const struct granule *g, uint32_t node);
/* Nodes whose translation shows it, or lets it be written: a bit each. */
uint64_t granule_shown(const struct managed_range *r, const struct granule *g, bool write);
/* The range can be shown by the node. -ENOMEM. */
int granule_may_show(struct managed_range *r, uint32_t node);
void granule_show(struct managed_range *r, const struct granule *g, uint32_t node, bool write);
void granule_hide(struct managed_range *r, const struct granule *g, uint32_t node);
/* Allocates what it takes to make a copy. */
bool granule_may_copy(struct work *w);
void granule_answered(struct managed *e, struct work *w, enum managed_cause cause, int result);

/* cgroups.c */
int cgroup_get(struct managed *e, uint64_t id, uint16_t *ret);
void cgroup_put(struct managed *e, uint16_t index);
void cgroup_set(struct managed *e, struct granule *g, uint16_t index);

/* What decisions about the range go by. */
static inline const struct policy_profile *profile_of(const struct managed *e, const struct managed_range *r) {
        return r->group && r->group->profile ? r->group->profile : e->c.profile;
}

/* It has not moved just now. */
bool granule_settled(const struct managed *e, const struct managed_range *r, const struct granule *g);
void granule_describe(const struct managed_range *r, const struct granule *g, bool copies, struct policy_granule *ret);
/* Hints, and pins as one of them. */
void granule_advice(struct managed *e, struct managed_range *r, uint32_t granule, struct policy_advice *ret);

/*
 * view.c: decisions about a granule as it is, or as it would be, that change nothing. What serves a touch does what
 * they say, and what predicts one tells it.
 */
struct view {
        struct managed *e;
        struct managed_range *r;
        uint32_t index;
        struct granule g; /* of which `work` is nobody's business */
        uint64_t copies;  /* bit per node */
};
void view_of(struct managed *e, struct managed_range *r, uint32_t granule, struct view *ret);
/* The host that a touch brings it to. */
uint32_t view_host(const struct view *v);
/* A read by the CPU brings it to the host, and leaves a copy where it was. */
bool view_keeps_copy(const struct view *v, uint32_t host);
/* Where it begins when the device touches it first; `*failed`: that it cannot, and how it is answered. */
uint32_t view_begins(const struct view *v, uint32_t node, int *failed);
/* What a device gets that is not shown it. `*why`: that it has to go to where it is. */
enum verdict { VERDICT_SHOW, VERDICT_MIGRATE, VERDICT_DUPLICATE, VERDICT_FAIL };
enum verdict view_device(const struct view *v, uint32_t node, bool write, enum managed_why *why);
/* VERDICT_MIGRATE: why it cannot come all the same, and is shown where it is. */
enum managed_why view_stays(const struct view *v, uint32_t node);
/* The same with no room there: over a link. False: it waits for room. */
bool view_reaches(const struct view *v, uint32_t node);
/* What a peer of the node's hive has is used there: nothing leaves the hive to make room for it. */
bool view_shares(const struct view *v, uint32_t node);
/* VERDICT_DUPLICATE: there is room for a copy. False: it is shown where it is. */
bool view_may_copy(const struct view *v, uint32_t node);
/* It is on the node, or a copy of it is. */
bool view_is_on(const struct view *v, uint32_t node);

/* around.c */
/* The same of what is EMPTY, for a first touch. */
void around_first(struct managed *e, struct work *w, const struct demand *d, uint32_t node);
void around_bring(struct managed *e, struct work *w, uint32_t node);
/* The granule is about to move to the node for `d`: what is of its group is asked for behind it. */
void around_group(struct managed *e, struct work *w, const struct demand *d, uint32_t node);

/* change.c */
void granule_record(struct managed *e, struct work *w, enum residency state);
void granule_note(struct managed *e, struct managed_range *r, struct granule *g, enum residency state,
                  enum managed_cause cause);
void change_begin(struct managed *e, struct work *w, struct demand *d, enum change change);
void change_end(struct managed *e, struct work *w, int failed);
/* The same where the room that it took is not used. */
void change_call_off(struct managed *e, struct work *w, int failed);
void change_quiet(struct managed *e, struct work *w);
bool change_walk(struct managed *e, struct work *w, enum managed_step_type type);
void change_quietened(struct managed *e, struct work *w);
void work_step_done(struct managed *e, struct work *w, int result);
struct managed_step *work_step(struct work *w, enum managed_step_type type);
void work_emit(struct managed *e, struct work *w, struct share *share);

/* out.c, in.c, device.c: what follows a phase */
void out_next(struct managed *e, struct work *w, int result);
void in_next(struct managed *e, struct work *w, int result);
void in_start(struct managed *e, struct work *w);
void in_fill(struct managed *e, struct work *w);
void in_room(struct managed *e, struct work *w);
void in_write(struct managed *e, struct work *w);
void in_mapped(struct managed *e, struct work *w);
void device_next(struct managed *e, struct work *w, int result);
void out_punched(struct managed *e, struct work *w);
bool device_ask(struct managed *e, struct work *w, struct demand *d);
bool device_place(struct managed *e, struct work *w, struct demand *d);

/* thrash.c */
/* What is done about a touch that would move it: once for each demand, then only whether it stays. NAP: the work
 * sleeps. */
enum policy_cure thrash_ask(struct managed *e, struct work *w, struct demand *d, const struct view *v,
                            uint32_t accessor);
/* The same on a picture; `*asked`: it has been. */
enum policy_cure thrash_view(const struct view *v, struct policy_thrash *t, bool *asked, uint32_t accessor,
                             uint64_t *ret_until_ns);
/* The CPU would take it from a device. */
bool thrash_concerns_cpu(const struct view *v);
bool thrash_pinned(const struct managed_range *r, uint32_t granule);
void thrash_tell(const struct managed_range *r, uint32_t granule, struct policy_thrash *ret);
void thrash_wake(struct managed *e, struct work *w);
void thrash_run(struct managed *e);
void thrash_forget(struct managed_range *r);

/* cap.c */
/* A move to the node has to wait for a cap: *ret_result is what serve() returns. */
bool cap_holds(struct managed *e, struct work *w, struct demand *d, uint32_t to, bool *ret_result);
/* What would come to the device is mapped while there is no allowance; and it has been. */
bool cap_maps(const struct view *v, uint32_t node);
void cap_mapped(const struct view *v, uint32_t node);
/* Else it does not, and what its granule waits for goes with it. */
bool cap_can_wait(const struct demand *d);
void cap_wake(struct managed *e, struct work *w);
void cap_run(struct managed *e);
/* When; 0: never. */
uint64_t cap_due(const struct managed *e);
void flow_init(struct flow *f);
/* It goes. */
void cap_count(struct managed *e, struct work *w, uint32_t to);

/* map.c */
void map_begin(struct managed *e, struct work *w, struct demand *d, bool protect);
void map_step_done(struct managed *e, struct demand *d, int result);

/* restore.c */
void range_step_done(struct managed *e, struct managed_range *r, int result);
void restore_settled(struct managed *e);
void range_ended(struct managed *e, struct managed_range *r);
