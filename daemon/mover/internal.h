#pragma once

#include <pthread.h>

#include "base/list.h"
#include "base/tree.h"
#include "mover/mover.h"

struct budget;
struct clientmem;
struct trace_event;
struct range_entry;
struct range_head;
struct worker;

/* What the mover's files share. Everything here is under mover.lock, but what says that it stays, and what only the
 * loop's thread uses. */
enum { SIZES = 3, PAGE = 4096, HUGE_PAGE = 2 << 20, LATER_MAX = 64 };

/* Told in the loop's thread, without the lock; `tell` frees it, or whatever it belongs to. */
struct news {
        struct list link;
        void (*tell)(struct mover *m, struct news *n);
};

/* What a token of the engine stands for; first in what was allocated. `done` is called with the lock. */
struct answer {
        struct list all;
        void (*done)(struct mover *m, struct answer *a, int result);
};

struct request {
        struct answer answer; /* first */
        struct news news;
        uint64_t token;
        uint32_t parts;
        int result;
        struct mover_range *r;
        uint32_t first, pinned; /* granules that it counts as pinned */
        bool takes;             /* r->takes counts it */
};

/* A device waits for a granule. */
struct ask {
        struct answer answer; /* first */
        struct list link;
        struct mover_range *r;
        uint32_t granule, node;
        void *token;
        int result;
        uint32_t lost; /* MANAGED_E_LOST: with this node */
};

/* Slots of one size on one node. Stays, once it is there. */
struct pool {
        struct memfile *file; /* NULL: they are the device's */
        char *base;
        const struct device_slots *slots_of;
        struct device *device;
        uint32_t bytes, slots;
        uint64_t *committed; /* bit per slot: its pages are taken. Atomic */
};

struct node {
        struct mover_node node;
        struct pool *pool[SIZES];
        struct mover *m;
        struct news gone; /* its slots came, or went */
        bool untold;
        bool there;
        char why[160];
};

struct mover_range {
        struct list link, shares;
        struct mover *m;
        struct managed_range *range; /* NULL: it has ended */
        void *userdata;
        uint64_t id, address, size; /* from here on these stay */
        uint32_t granule, count;
        bool huge;
        struct memfile *memory;
        int fd; /* of the memory */
        int state_fd;
        struct range_head *head;
        struct range_entry *entries;
        struct device_range *device[MANAGED_NODES_MAX];
        const struct hints *hints;
        struct managed_group *group;
        bool ahead;
        uint32_t traced[MOVER_TRACES]; /* its number in each recording, plus one; 0: not heard of */
        unsigned takes;                /* revocations under way */
        struct list taken;             /* in the mover's, while there are any */
        struct request end;
};

/* A session's place in a range. */
struct share {
        struct tree_node node; /* in the session's, by address */
        struct list by_range;
        struct mover_session *s;
        struct mover_range *r;
        bool readonly;
        struct join *join; /* that is not answered */
        uint64_t held;     /* ns that workers have been kept, since the range is being taken */
};

struct join {
        struct list all, link;
        struct news news;
        struct mover_session *s;
        struct mover_range *r;
        struct share *share; /* NULL: it has been called off, or is over */
        uint64_t token;
        bool registered;
        bool busy; /* a worker is at it, and tells */
        int result;
        char why[128];
};

struct mover_session {
        struct list link;
        struct mover *m;
        struct managed_session *session;
        void *userdata;
        int uffd; /* stays until nobody holds it */
        uint32_t index, generation;
        uint32_t refs; /* workers that are at it */
        bool ended, reading, more, registering;
        struct tree shares;
        struct list waiting;      /* joins that cannot go on now */
        struct clientmem *client; /* NULL: nothing was registered */
        struct budget *budget;    /* budget.c; NULL: its cgroup is not known. Stays */
        struct news lost;
        bool kill; /* lost: its process has to end too */
        const char *why;
};

struct session_slot {
        struct mover_session *s;
        uint32_t generation;
};

/* A step that is to be done again, after a while. */
struct later {
        const struct managed_step *step;
        uint64_t due;
        int result;
};

struct moved {
        struct mover_range *r;
        uint32_t first, count, from, to;
        enum managed_cause cause;
        bool pinned; /* to `to`, and has not moved */
};

struct mover {
        pthread_mutex_t lock;
        uint64_t now; /* 0: not read yet */
        struct managed *engine;
        struct mover_config c;
        struct mover_hooks hooks;
        struct node nodes[MANAGED_NODES_MAX];
        struct list ranges, answers, joins;
        struct list taken; /* ranges that are being revoked */

        /* trace.c */
        struct mover_trace *traces[MOVER_TRACES];
        unsigned traces_count, trace_threads;

        /* news.c */
        struct list news, asks;
        bool told, wake_due;
        uint64_t missed; /* bit per node: see mover_node_missed() */
        struct moved *moved;
        uint32_t moved_count, moved_size;
        bool watching;

        /* sessions.c, joins.c */
        struct list sessions, ended, jobs; /* ended: sessions that nobody holds */
        struct session_slot *slots;
        uint32_t slots_count;

        /* budget.c */
        pthread_mutex_t budgets_lock;
        struct list budgets;

        /* await.c */
        uint64_t window; /* ns that a worker looks for events before it sleeps */

        /* workers.c, watchdog.c */
        int epoll, kick;
        struct list workers;
        unsigned clients;                       /* threads that serve registered memory */
        unsigned threads, leaving, idle, stuck; /* leaving: of the threads, that have ended but for the last step */
        bool started, stop, kicked;
        bool looking;          /* await.c: a worker does */
        bool watch, watch_due; /* the watchdog is awake, or has to be */
        pthread_t watchdog;
        pthread_cond_t watch_cond, gone;
        struct later later[LATER_MAX];
        unsigned later_count, later_waiters; /* workers that wake up for one */
        uint64_t awaited;                    /* when a worker wakes up to tell the engine the time; 0: none does */
};

/* mover.c */
/* Read once while the lock is held. */
uint64_t mover_now(struct mover *m);
void mover_lock(struct mover *m);
/* Then tells the loop, the workers and devices what they have to know. */
void mover_unlock(struct mover *m);
unsigned size_class(uint32_t bytes);

/* news.c */
void news_push(struct mover *m, struct news *n, void (*tell)(struct mover *m, struct news *n));
/* The engine's: a node has no room. */
void news_missed(void *userdata, uint32_t node);
/* The engine's: a granule bounces, and is pinned. */
void news_pinned(void *userdata, void *range, uint32_t granule, uint32_t node);
void news_init(struct mover *m);
/* Nobody is told any more; what they lie in may be freed later. */
void news_drop(struct mover *m);
void news_free(struct mover *m);
void moved_note(struct mover *m, struct mover_range *r, uint32_t granule, uint64_t before, uint64_t after);
void moved_forget(struct mover *m, const struct mover_range *r);

/* traces.c: with the lock, where somebody records */
enum { MOVER_UNTRACED = UINT32_MAX };
void traces_tell(struct mover *m, struct mover_range *r, const struct trace_event *e);
void traces_range_begins(struct mover *m, struct mover_range *r);
void traces_range_ends(struct mover *m, struct mover_range *r);
void traces_capacity(struct mover *m, uint32_t node, uint64_t bytes);
void traces_limit(struct mover *m, const struct managed_group *g, uint32_t node, uint64_t bytes);
void traces_group_gone(struct mover *m, const struct managed_group *g);
/* What advice comes to has changed there. */
void traces_advised(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count);
/* trace.c. False: a thread did not come back. */
bool traces_stop(struct mover *m);

/* holdup.c */
void holdup_begin(struct mover_range *r);
void holdup_end(struct mover_range *r);
/* The watchdog finds a worker in the session's address space, in one stay for the `looks`th time. */
void holdup_look(struct mover_session *s, unsigned looks);

/* requests.c. NULL: no memory. */
struct request *request_new(struct mover *m, uint64_t token);
void answer_add(struct mover *m, struct answer *a, void (*done)(struct mover *m, struct answer *a, int result));
void request_done(struct mover *m, struct answer *a, int result);

/* ranges.c */
void ranges_free(struct mover *m);

/* records.c */
void record_intent(void *userdata, const struct managed_record *r);
void record_punched(struct mover_range *r, uint32_t first, uint32_t count);
int record_restore(struct mover *m, struct mover_range *r);

/* advice.c */
struct hint_walk;
uint32_t advice_group(void *userdata, void *range, struct hint_walk *walk);
void advice_get(void *userdata, void *range, uint32_t granule, struct policy_advice *ret);

/* devices.c */
/* What lies in slots of devices may be mapped by clients since an earlier svmd. -ENOMEM. */
int devices_restore(struct mover *m, struct mover_range *r);
/* Slots of devices come and go. */
void devices_watch(struct mover *m, bool on);
void asks_answer(struct mover *m, struct list *asks);
void devices_free(struct mover_range *r);

/* sessions.c */
struct mover_session *session_get(struct mover *m, uint64_t id);
void session_drop(struct mover_session *s);
/* One that has ended, for session_close() without the lock; or NULL. */
struct mover_session *session_take_ended(struct mover *m);
void session_close(struct mover_session *s);
/* Asks for its userfaultfd to be looked at again; without the lock. */
void session_rearm(struct mover_session *s);
void session_lost(struct mover_session *s, const char *why, bool kill);
struct share *share_at(const struct mover_session *s, uint64_t address);
/* The first that overlaps, or NULL. */
struct share *share_overlapping(const struct mover_session *s, uint64_t start, uint64_t end);
void share_insert(struct share *share);
/* Frees it too. */
void share_remove(struct share *share);
void sessions_free(struct mover *m);

/* events.c: reads what the session's userfaultfd has to say. With the lock, which is given up meanwhile; returns at
 * once while another thread is at it. */
void session_read(struct mover *m, struct mover_session *s);

/* joins.c */
struct join *join_take(struct mover *m);
void join_run(struct mover *m, struct join *j);
void join_joined(void *userdata, void *session, void *range);
void join_end(struct mover *m, struct join *j, int result, const char *why);
void joins_go_on(struct mover_session *s);
void joins_cancel(struct mover_session *s, const struct mover_range *r);
void joins_free(struct mover *m);

/* later.c. False: there is no place for it. */
bool later_put(struct mover *m, const struct managed_step *step, int result);
/* One that is due. */
bool later_take(struct mover *m, struct later *ret);
/* Until the next is due; -1: there is none. `awaits`: or the engine is to be told the time. */
int later_ms(struct mover *m, bool awaits);
/* The engine is to be told the time; and whether a worker that waits will do so then. */
bool later_is_due(struct mover *m);
bool later_is_told(const struct mover *m);

/* workers.c */
int workers_start(struct mover *m);
int workers_init(struct mover *m);
/* False: one did not come back; what it may use has to stay. */
bool workers_stop(struct mover *m);
void workers_fini(struct mover *m);
int worker_new(struct mover *m);
void workers_kick(struct mover *m);
/* Those that are not stuck. */
unsigned workers_able(const struct mover *m);
int thread_new(pthread_t *ret, void *(*fn)(void *), void *userdata, const char *name);
/* Marks those that are where they were at that time; how many are stuck. */
unsigned workers_stuck(struct mover *m, uint64_t since);
/* The watchdog looks at each that is in a session's address space, while a range is being taken. */
void workers_look(struct mover *m);
/* Whether there is something for an idle worker, of which none knows. */
bool workers_wanted(const struct mover *m);

/* await.c */
struct epoll_event;
/* With the lock, which is given up meanwhile: what epoll_wait() says. The caller counts as idle. */
int await_event(struct mover *m, struct epoll_event *ret, int patience_ms);
/* How long to look after a wait like this. */
uint64_t await_window(uint64_t window, uint64_t waited_ns, bool came);

/* watchdog.c */
/* A worker that stays so long in one place counts as stuck. */
uint64_t stuck_ns(const struct mover *m);
int watchdog_start(struct mover *m);
void watchdog_stop(struct mover *m);

static inline uint64_t granule_address(const struct mover_range *r, uint32_t granule) {
        return r->address + (uint64_t)granule * r->granule;
}
