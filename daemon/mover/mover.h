#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/figures.h"
#include "engine/history.h"
#include "engine/managed.h"
#include "engine/predict.h"

/*
 * Managed ranges at work: the engine under its one lock, and the threads that read the sessions' userfaultfds and carry
 * out the engine's steps in clients' address spaces, memfds and pools.
 *
 *      loop's thread      requests, joins, ends --+
 *      device threads     begin, end, fault ------+--> engine (one short lock, no system call inside)
 *      workers            faults, completions ----+         |
 *                              ^                             +--> records: the range's state file, at once
 *                              +---- steps <-----------------+
 *                                                            +--> answers: a queue, told by mover_collect()
 *
 * Write-protecting and punching granules that lie side by side is one call, of at most as many bytes as the largest
 * granule has. A worker waits on all userfaultfds at once (one-shot: any idle one takes the next), hands what it read
 * to the engine and carries out steps until there are none. One that is stuck in a client's address space for 10 ms is
 * left to that session and replaced; a session can hold session_steps of them. One that holds up a revocation is told
 * of (holdup.c).
 *
 * Functions are called from the loop's thread unless they say otherwise. Answers come in mover_collect(), in that
 * thread too.
 */
struct backend;
struct device;
struct device_space;
struct memfile;
struct mover;
struct hints;
struct mover_range;
struct mover_session;

struct mover_hooks {
        void *userdata;
        /* From any thread: call mover_collect() soon. */
        void (*wake)(void *userdata);
        /* 0, MANAGED_E_*, or -errno; once for each token that is not 0. */
        void (*done)(void *userdata, uint64_t token, int result);
        /* Of mover_join(): 0, or -errno with a sentence in `why`. */
        void (*joined)(void *userdata, uint64_t token, int result, const char *why);
        /* The session's process is gone, or did what cannot be followed (mremap of a range), or (kill) has held up a
         * revocation and has to be ended too; `why` is a sentence. The session is still to be ended by
         * mover_session_end(). */
        void (*lost)(void *userdata, void *session, const char *why, bool kill);
        /* While mover_watch() is on; `granules` that moved in one run for the same cause. `from` and `to` are nodes,
         * MANAGED_NOWHERE: none. */
        void (*moved)(void *userdata, void *range, uint32_t first, uint32_t granules, uint32_t from, uint32_t to,
                      enum managed_cause cause);
        /* Granules that bounce are pinned on the node for a time. */
        void (*pinned)(void *userdata, void *range, uint32_t first, uint32_t granules, uint32_t node);
        /* Registered memory is not what it was: the process gave it back, or moved it. Devices do not reach it any
         * more. It is still to be unregistered. `why` is a sentence. */
        void (*unregistered)(void *userdata, void *registered, const char *why);
        /* The slots of a device have gone, with what was there, and the mover has been told so; or there is an empty
         * device in its place, and it has not. NULL where no device has slots. */
        void (*slots)(void *userdata, uint32_t node, bool there, const char *why);
        /* A pool of slots is about to be used: the node's memory for granules of this size. Gives a memfile of at least
         * `size` bytes (mapped), which stays until mover_free(). -ENOMEM and such. */
        int (*pool)(void *userdata, uint32_t node, uint32_t granule, uint64_t size, struct memfile **ret);
};

struct mover_node {
        bool host, faults;
        uint64_t capacity; /* bytes that managed granules may have now: see mover_node_capacity() */
        uint64_t total;    /* bytes that the node has at all: what its pools are laid out for */
        uint64_t hive;
        int numa;                      /* host: the machine's NUMA node that its memory is of, -1: wherever */
        bool far;                      /* host: without CPUs */
        const uint32_t *bandwidth;     /* to each node, MB/s, 0: no direct link. Must stay */
        const uint32_t *distance;      /* to each node, 0: not stated; may be NULL. Must stay */
        const struct backend *backend; /* NULL: no device there */
        struct device *device;
        const char *name; /* for recordings; may be NULL. Must stay */
};

struct mover_config {
        unsigned workers;       /* at least 2 */
        unsigned workers_max;   /* with those that replace stuck ones */
        uint32_t session_steps; /* workers that one session can hold */
        uint32_t largest;       /* bytes of the largest granule there will be: the nodes' reserves are made of it */
        uint64_t stuck_ns;      /* 0: 10 ms */
        uint64_t held_ns;       /* of a revocation's time that one session can use up; 0: 5 s */
        const struct mover_node *nodes;
        uint32_t nodes_count;                 /* at most MANAGED_NODES_MAX */
        const struct policy_profile *profile; /* NULL: policy's default. Copied */
};

/* What this kernel's userfaultfd can do; probed once. */
struct mover_features {
        bool usable; /* shared memory: missing, minor and write-protect */
        bool huge;   /* the same for huge pages */
        bool poison;
        bool continue_protects; /* CONTINUE with MODE_WP */
        bool read_now;          /* RWF_NOWAIT, whatever the descriptor's other holders made of it */
        uint64_t bits;          /* all that UFFDIO_API names, also where it is not usable */
        char why[160];          /* why it is not usable, and what to do */
};
const struct mover_features *mover_features(void);

/* -ENOMEM, -EAGAIN and such. Threads are started with the first range or session. */
int mover_new(struct mover **ret, const struct mover_config *c, const struct mover_hooks *hooks);
/* What is in flight ends or is forgotten, as if the daemon had died: clients' threads stay blocked. Sessions, ranges
 * and pools are closed. */
void mover_free(struct mover *m);
/* Tells what has happened. */
void mover_collect(struct mover *m);
/* Nothing is in flight, waiting or untold. For tests, and for a tidy end. */
bool mover_idle(struct mover *m);
void mover_watch(struct mover *m, bool on);

/* ---- nodes ---- */

void mover_node_capacity(struct mover *m, uint32_t node, uint64_t capacity);
/* -ENOMEM: nothing will be done. */
int mover_node_drain(struct mover *m, uint32_t node, uint64_t token);
/* A device's node has vanished: managed_node_lost(). */
void mover_node_lost(struct mover *m, uint32_t node);
void mover_node_online(struct mover *m, uint32_t node);
void mover_node_info(struct mover *m, uint32_t node, struct managed_node_info *ret);
/* A granule was wanted on the node since this was asked last, and there was no room. The hook `wake` tells of the first
 * one. */
bool mover_node_missed(struct mover *m, uint32_t node);

/* ---- groups: limits of a partition, a session or a control group on managed bytes ---- */

struct managed_chain;
struct managed_group;
/* NULL: out of memory. No limits. */
struct managed_group *mover_group_new(struct mover *m);
/* Its ranges have ended. */
void mover_group_free(struct mover *m, struct managed_group *g);
/* What decisions go by from now on, where a group has no profile. Copied. */
void mover_policy(struct mover *m, const struct policy_profile *p);
/* Its profile, likewise; and bytes a second that move, 0: no cap. */
void mover_group_policy(struct mover *m, struct managed_group *g, const struct policy_profile *p, uint64_t rate);
void mover_group_flow(struct mover *m, struct managed_group *g, struct managed_flow *ret,
                      struct managed_thrash *ret_thrash);
/* As managed_link_cap(). -ENOMEM. */
int mover_link_cap(struct mover *m, uint32_t a, uint32_t b, uint64_t rate);
void mover_link_flow(struct mover *m, uint32_t a, uint32_t b, struct managed_flow *ret);
/* Bytes of managed granules that the group may have on the node; UINT64_MAX: no limit. What is above goes elsewhere. */
void mover_group_limit(struct mover *m, struct managed_group *g, uint32_t node, uint64_t bytes);
/* As managed_share_node(). */
void mover_share_node(struct mover *m, uint32_t node, const struct managed_node_share *s,
                      const struct managed_group_bounds *of, unsigned count);
/* As managed_chain_new(), and so on. NULL: out of memory. With the mover they are gone, too. */
struct managed_chain *mover_chain_new(struct mover *m, struct managed_group *partition);
void mover_chain_free(struct mover *m, struct managed_chain *c);
void mover_chain_set(struct mover *m, struct managed_chain *c, struct managed_group *const *groups, unsigned count);
struct mover_range;
void mover_range_charge(struct mover *m, struct mover_range *r, struct managed_chain *c);
/* Bytes there now, and the most there have been. Either may be NULL. */
void mover_group_used(struct mover *m, struct managed_group *g, uint32_t node, uint64_t *ret_used, uint64_t *ret_peak);
/* Bytes that are pinned, on all host nodes. */
uint64_t mover_group_pinned(struct mover *m, struct managed_group *g);

/* ---- ranges ---- */

struct mover_range_args {
        void *userdata;
        uint64_t id; /* for names of files */
        uint64_t address, size;
        uint32_t granule; /* 4 KiB, 64 KiB, 2 MiB; address and size are multiples */
        bool huge;        /* granule 2 MiB only */
        bool poison;
        bool ahead;                  /* empty granules come along with a first touch */
        struct managed_group *group; /* may be NULL */
        const struct hints *hints;   /* what is advised about it; stays until it has ended. May be NULL */
        uint64_t cgroup;             /* of its owner; 0: none */
        int memory, state;           /* files of an earlier svmd, taken over on success; -1: new ones */
};
/* Adopted: granules have the states that the file says; sessions rejoin, then mover_restored(). -ENOMEM, -EINVAL (a
 * file that is not what it should be), -ENOSPC (huge pages: none are set aside). */
int mover_range_new(struct mover *m, struct mover_range **ret, const struct mover_range_args *args);
/* Its sessions have left. `token` is answered when nothing of it is in flight anywhere; it is freed by then. */
void mover_range_end(struct mover *m, struct mover_range *r, uint64_t token);
/* Stay the range's. */
int mover_range_memory(const struct mover_range *r);
int mover_range_state(const struct mover_range *r);
uint64_t mover_range_memory_bytes(const struct mover_range *r); /* st_blocks */
/* Grows the generation in its state file. */
void mover_range_generation(struct mover_range *r, uint64_t generation);
/* After a restart, when every range and session is back: settles all, wakes everyone. What was being discarded is gone
 * when it returns. -ENOMEM: call again. */
int mover_restored(struct mover *m);

/* ---- sessions ---- */

/* Takes `uffd` over on success. `initialised`: UFFDIO_API was done by an earlier svmd. -EINVAL: not a userfaultfd, or
 * used already. -EOPNOTSUPP: it lacks what svmd needs (made without the device's rights). */
int mover_session_new(struct mover *m, struct mover_session **ret, void *userdata, int uffd, bool initialised,
                      uint64_t cgroup);
int mover_session_uffd(const struct mover_session *s);
/* The folder of the control group (version 2) that its process is in, before it joins a range: its limits are looked at
 * before it is charged for a page. -ENOMEM: they will not be. */
int mover_session_budget(struct mover_session *s, const char *folder);
/* Its process or connection has ended. It leaves all ranges; its userfaultfd is closed when no step uses it. */
void mover_session_end(struct mover *m, struct mover_session *s);
/* The range is mapped there PROT_NONE: a worker registers it, and `joined` is called with the token when it may be
 * touched. -ENOMEM, -EEXIST, else by `joined` only. */
int mover_join(struct mover *m, struct mover_session *s, struct mover_range *r, bool readonly, uint64_t token);
/* As it was before a restart: registered already. */
int mover_rejoin(struct mover *m, struct mover_session *s, struct mover_range *r, bool readonly);
/* It has no mapping of the range any more. */
void mover_leave(struct mover *m, struct mover_session *s, struct mover_range *r);

/* ---- registered memory: what a process has itself, reached where it is ---- */

struct mover_registered;
/* Once a session, before anything of it is registered: `mem` is /proc/PID/mem of its process, opened by itself to read
 * and write, and taken over on success; `probe` an address there, of a page that is svmd's to write into. -EEXIST,
 * -errno. */
int mover_client(struct mover *m, struct mover_session *s, int mem, uint32_t pid, uint32_t uid, uint64_t probe);
/* The range is registered with the session's userfaultfd, by the session. `ret_memfile` is how devices name it; it is
 * to be freed before this is unregistered. -ENOMEM, -ENFILE. */
int mover_register(struct mover *m, struct mover_session *s, struct mover_registered **ret, void *userdata,
                   uint64_t address, uint64_t size, struct memfile **ret_memfile);
/* After a restart: events may have been lost. */
void mover_registered_check(struct mover_registered *r);
/* Devices do not reach it any more when this returns. */
void mover_fence(struct mover_registered *r);
/* No device names it. The session, and the mover (NULL then), may have gone before. */
void mover_unregister(struct mover *m, struct mover_registered *r);

/* ---- requests; each token is answered once. -ENOMEM: nothing will be done ---- */

int mover_migrate(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint32_t node,
                  enum managed_cause cause, uint64_t token);
/* Off the node where it lies, to where policy wants it. */
int mover_evict(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint64_t token);
int mover_discard(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint64_t token);
/* Answered with anything but 0: nothing of it is pinned. */
int mover_pin(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint64_t token);
void mover_unpin(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count);
int mover_revoke(struct mover *m, struct mover_range *r, uint64_t token);
int mover_unrevoke(struct mover *m, struct mover_range *r, uint64_t token);

/* ---- advice ---- */

/* While the mover is held the engine asks for no advice: a range's hints may change. Not for long. */
void mover_hold(struct mover *m);
/* Hints about these granules have changed; `r` may be NULL: it is not there yet. */
void mover_release(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count);

struct mover_advice {
        struct policy_advice policy;
        uint32_t granularity; /* of that */
        uint64_t session;     /* that spoke last */
};
/* What counts at the granule. */
void mover_advice(struct mover *m, struct mover_range *r, uint32_t granule, struct mover_advice *ret);

/* ---- looking ---- */

/* Granules [first, first + count), into `ret`. */
void mover_look(struct mover *m, const struct mover_range *r, uint32_t first, uint32_t count,
                struct managed_granule_info *ret);
/* managed_history(); ranges are called by their ids. */
unsigned mover_history(struct mover *m, const struct mover_range *r, uint32_t granule, bool not_done,
                       struct managed_past *ret, unsigned max);
/* managed_predict(). */
void mover_predict(struct mover *m, const struct mover_range *r, uint32_t granule, uint32_t node, bool write,
                   struct managed_touch *ret);
/* How an operation of a device's ends that is answered so: a status of the wire. */
unsigned mover_access_status(int result);
/* Bytes of its granules on the node now. */
uint64_t mover_range_used(struct mover *m, const struct mover_range *r, uint32_t node);

/* ---- figures: see engine/figures.h ---- */

void mover_figures(struct mover *m, struct managed_figures *ret);
void mover_node_traffic(struct mover *m, uint32_t node, struct managed_traffic *ret);
void mover_group_traffic(struct mover *m, struct managed_group *g, struct managed_traffic *ret);
void mover_flown(struct mover *m, uint32_t from, uint32_t to, struct managed_flown *ret);

/* ---- recordings ---- */

enum { MOVER_TRACES = 4 };
struct mover_trace;
struct mover_trace_args {
        struct managed_group *group; /* whose ranges; NULL: everyone's */
        const char *partition;       /* its name, or NULL */
        bool faults;                 /* and what devices use */
        int fd;                      /* of a file, written from its beginning on; taken over on success */
};
/* What is asked of ranges is written to the file from now on (docs/trace.md), by a thread of its own. -EBUSY: there are
 * MOVER_TRACES. -ENOMEM, -EAGAIN. */
int mover_trace_new(struct mover *m, struct mover_trace **ret, const struct mover_trace_args *args);
/* No more is recorded; what was, is written, with an end record. `gone`: who asked for it is. Once more is harmless. */
void mover_trace_stop(struct mover_trace *t, bool gone);
struct mover_trace_info {
        bool ended;       /* all of it is in the file, which is closed */
        int error;        /* errno of the write that ended it */
        uint64_t records; /* in the file, or on their way */
        uint64_t dropped; /* that came too fast, or could not be written */
        uint64_t bytes;   /* of the file */
};
void mover_trace_info(struct mover_trace *t, struct mover_trace_info *ret);
/* After mover_trace_stop(), or when it has ended. The mover may have gone before. NULL is allowed. */
void mover_trace_put(struct mover_trace *t);

/* ---- devices ---- */

/* A space of a node sees the range from now on, at the range's address, with this access; or no more. When it is
 * hidden, no operation of that space uses it. -ENOMEM. */
int mover_show(struct mover *m, struct mover_range *r, uint32_t node, struct device_space *space, bool write);
void mover_hide(struct mover *m, struct mover_range *r, uint32_t node, struct device_space *space);
/* What the node's device has of the range, made if need be. NULL: no memory, or the node shows no ranges. */
struct device_range *mover_device_range(struct mover *m, struct mover_range *r, uint32_t node);
/* Of granules [first, first + count): a new descriptor of the slot of each that lies on the node, is in no change and
 * counts as shown there from now on, in `ret_fds`; of the others -1. Returns how many, or -errno. -EAGAIN: of some that
 * an earlier svmd made they are being fetched; ask again a little later. */
int mover_show_slots(struct mover *m, struct mover_range *r, uint32_t node, uint32_t first, uint32_t count,
                     int *ret_fds);
/* What a device asks (backend.h): made before the mover, which is then told of the devices in its config. */
struct device_faults;
const struct device_faults *mover_device_faults(void);
/* The userdata of those functions. */
