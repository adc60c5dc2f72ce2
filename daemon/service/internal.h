#pragma once

#include "backend/backend.h"
#include "base/message.h"
#include "core/memory.h"
#include "core/state.h"
#include "core/vmap.h"
#include "engine/jobs.h"
#include "proto/codec.h"
#include "proto/fdlist.h"
#include "proto/limits.h"
#include "proto/status.h"
#include "service/accounts.h"
#include "service/dmem.h"
#include "service/drifting.h"
#include "service/figures.h"
#include "service/full.h"
#include "service/giveback.h"
#include "service/keeping.h"
#include "service/lease.h"
#include "service/leaving.h"
#include "service/managed.h"
#include "service/pressure.h"
#include "service/private.h"
#include "service/seen.h"
#include "service/service.h"
#include "service/settings.h"
#include "service/spill.h"
#include "service/unbrokered.h"
#include "store/journal.h"
#include "store/store.h"

/* What the files of the service share. */
struct memfile;
struct memory;
struct holding;
struct space;
struct reservation;
struct opening;
struct name;
struct node_desc;
struct grant;
struct join;

struct service {
        struct service_options options;
        struct service_hooks hooks;
        struct state state;
        struct jobs *jobs;
        struct journal *journal;
        struct store *store;
        struct arena arena;    /* of the request that is being served */
        struct list submitted; /* fences whose work was not handed over yet */
        struct list pending;   /* requests that wait for jobs */
        struct list plans;     /* idle plans */
        struct list dmabufs;   /* their files */
        struct list walks;     /* struct session_walk */
        struct list changed;   /* sessions whose effects are not committed yet: see snapshot.c */
        struct tx *tx;
        struct done_queue *fences;     /* filled by device threads */
        uint8_t *reply, *reply_buffer; /* SVMD_PACKET_MAX bytes, behind room for the head of their effect */
        struct mover *mover;           /* NULL: managed ranges cannot be served here */
        struct managed_state managed;
        struct spill_state spill;
        struct keepings keepings;
        struct private_state private_memory;
        struct leases leases;
        struct accounts accounts;
        struct seen seen;
        struct dmem dmem;
        struct drifting drifting;
        struct full full;
        struct unbrokered_seen unbrokered;
        struct give_backs give_backs;
        struct pressure *pressure; /* one a node */
        struct figures figures;
        struct settings settings;
        struct policy_profile policy;         /* options.policy */
        uint64_t epoch, generation, first_id; /* ids below first_id were given by an earlier svmd */
        uint64_t started_ns, requests, refusals;
        uint64_t attached;   /* sessions that have a partition */
        uint64_t watchers;   /* sessions that want to be told what happens */
        uint64_t monitors;   /* those of them that want each move */
        uint32_t moves_told; /* to them, in this collection */
        uint32_t own_uid;
        uint32_t store_lane;
        uint32_t removed;      /* partitions that wait for their last session */
        uint32_t orphans;      /* partitions whose container has ended */
        const void *promising; /* a greater min of it is on its way to the store; one at a time */
        bool replaying, starting, closing;
        unsigned found_new;       /* devices that came while svmd ran */
        unsigned keeper_replaced; /* svmd-keeper ended so often while this svmd ran */
        char lost[256];           /* before this svmd; empty: nothing */
        char keeper_why[256];     /* why there is none */
        struct {
                struct message_rate refused, limit, thrash, drift, full, withheld;
        } rates;             /* of messages that others cause */
        bool journal_behind; /* something ended for which the journal had no room: only a snapshot will do */
        struct service_kept *kept;
        size_t kept_count;
};

/* ---- one operation ---- */

struct call {
        struct service *svc;
        struct session *session;
        struct tx *tx;
        const Svmd__V1__Op *op;
        Svmd__V1__Result *result;
        struct request *request;
        uint32_t index; /* of the operation in its request */
};

enum {
        _OP_E_OK,
        OP_REFUSED, /* code and text are in the result */
        OP_LATER,   /* a job runs; the request is served again when it is done */
};

/* Writes code and text into the call's result; the expression's value is OP_REFUSED. */
#define refuse(c, ...) (call_refuse(c, __VA_ARGS__), OP_REFUSED)
void call_refuse(struct call *c, unsigned code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The daemon itself failed with a negative errno. */
int refuse_errno(struct call *c, int r, const char *doing);
/* In the request's arena; NULL when out of memory. */
void *call_take(struct call *c, size_t size);
char *call_string(struct call *c, const char *s);
/* The result is a plan, with one step more (`s` NULL: nobody's); as many as have a place. 0 or -ENOMEM. */
int plan_begin(struct call *c);
int plan_step(struct call *c, uint32_t node, Svmd__V1__PlanKind kind, const struct session *s, uint64_t bytes);

/* A request between arrival and reply. */
struct request {
        struct list link; /* in svc->pending */
        struct session *session;
        uint64_t id, arrived_ns;
        uint32_t mode, ops;
        void *bytes; /* a copy, made when it has to wait */
        size_t size;
        struct fdlist in, out;
        struct staged *staged; /* one an operation: memory whose pages a job takes */
        uint32_t jobs;         /* that still run, and other things that it waits for */
        bool again;            /* wake it up when anything is done */
        bool begun;            /* its slow work was started */
        bool drop;             /* svmd goes: nobody gets an answer */
        uint64_t rode;         /* what came with it of grants and was taken, a bit each */
        uint64_t until_ns;     /* it waits until then at most: for addresses, or for a partition that has time to go */
        struct join *join;
        int store_result; /* of its own job in the store's lane */
        bool store_done;
        char store_why[256];
        bool looked;                /* processes are, or were, looked at for it */
        struct usage_answer *usage; /* what the worker of accounts found out; NULL: it was not asked */
        struct reloading *reloaded; /* what came of its own job; NULL: nothing yet */
        struct partition *made;     /* by its own store job */
        struct partition *removing; /* it waits for this one's sessions to end */
        uint64_t ended;             /* how many those were */
};

typedef int (*op_fn)(struct call *c);

enum {
        OP_FIRST = 1,    /* only before the session is attached or greeted: Hello */
        OP_ATTACHED = 2, /* needs a partition */
        OP_ADMIN = 4,
        OP_ALONE = 8,    /* must be the only one of its request */
        OP_CHANGES = 16, /* changes something that a restart must keep */
        OP_FD_OUT = 32,  /* its result may carry a descriptor: not together with changes */
        OP_STORE = 64,   /* may wait for the store */
        OP_FINAL = 128,  /* takes effect at once: only where nothing is taken back */
        OP_GIVES = 256,  /* gives something back: even when the journal is nearly full */
        OP_WAITS = 512,  /* may wait for what is no job */
        OP_READS = 1024, /* with OP_ADMIN: also for who may ask for figures */
        OP_AUDIT = 2048, /* the log says who asked, where an administrator did */
        OP_GUEST = 4096, /* also for a session that is a guest in its partition: core/share.h */
};

struct op_row {
        const char *name;
        unsigned flags;
        op_fn fn;
};
/* NULL: no row, so nobody may. */
const struct op_row *op_row(unsigned op_case);
/* How many descriptors the operation consumes. */
unsigned op_fds(const Svmd__V1__Op *op);

/* ---- transactions ---- */

/*
 * What an operation did and how to take it back. Every change enters one; undo runs latest first, commit first to last.
 * Neither can fail.
 */
struct tx;
struct change {
        const struct change_kind *kind;
        void *a, *b;
        uint64_t n[3];
};
struct change_kind {
        void (*undo)(struct tx *tx, struct change *c);
        void (*commit)(struct tx *tx, struct change *c);
};

struct tx {
        struct service *svc;
        struct change *changes;
        uint32_t count, room;
        struct list plans;  /* of the vmaps it touched */
        struct list doomed; /* memory that may be unused when it commits */
        uint64_t journal_mark;
        bool effects; /* something was journaled */
};

struct tx *tx_new(struct service *svc);
void tx_free(struct tx *tx);
void tx_begin(struct tx *tx);
/* Room for `n` more changes: 0 or -ENOMEM. Before anything changes. */
int tx_room(struct tx *tx, uint32_t n);
struct change *tx_push(struct tx *tx, const struct change_kind *kind, void *a, void *b);
/* An effect for the journal; space was reserved when the request began, or by tx_reserve(). */
void tx_effect(struct tx *tx, uint16_t type, const void *bytes, size_t size);
/* More than the usual space for one operation's effects. 0, -ENOSPC (journal full), -ENOMEM. */
int tx_reserve(struct tx *tx, size_t bytes);
/* Takes back everything after the mark. */
void tx_rollback(struct tx *tx, uint32_t mark);
void tx_commit(struct tx *tx);
/* The plan for a vmap in this transaction, or NULL: out of memory. */
struct plan *tx_plan(struct tx *tx, const struct vmap *m);
void tx_doom(struct tx *tx, struct memory *m);

/* ---- pieces that several operations, the end of a session, and a replay share ---- */

const struct node_desc *node_desc(const struct service *svc, uint32_t node);
const struct backend *node_backend(const struct service *svc, uint32_t node);

/* Where mappings live: a device's space, or the CPU in a reservation. One of the two is not NULL. */
struct target {
        struct space *space;
        struct reservation *reservation;
};
struct vmap *target_vmap(const struct target *t);

/* These change core and device, and enter themselves in the transaction; 0, PLAN_E_*, -ENOMEM. */
int do_map(struct tx *tx, const struct target *t, uint64_t address, uint64_t size, struct memory *m, uint64_t offset,
           struct map_attrs attrs, bool replace, uint64_t *ret_at);
int do_unmap(struct tx *tx, const struct target *t, uint64_t address, uint64_t size, bool must_be_full,
             uint64_t *ret_at);
int do_protect(struct tx *tx, const struct target *t, uint64_t address, uint64_t size, struct map_attrs attrs,
               unsigned which, uint64_t *ret_at);
/* `from` is what is set there now over the whole range, `to` what shall be. */
int do_sparse(struct tx *tx, const struct target *t, uint64_t address, uint64_t size, uint64_t from, uint64_t to);

/* The slot of its file, and the extent at an offset cut to `size`. */
uint32_t memory_slot(const struct memory *m);
struct device_extent memory_piece(const struct memory *m, uint64_t offset, uint64_t size);
/* Makes memory with charge and place, not linked and not committed: code 0, or a status with a sentence in `why`; then
 * `ret_over` is the account that has no room for it, or NULL. `flags` are of the wire. With a lease its bytes come out
 * of that, and go back where the memory is discarded before its request has committed. */
unsigned memory_make(struct service *svc, struct session *s, uint32_t node, uint64_t size, unsigned flags,
                     uint64_t lease, struct memory **ret, struct account **ret_over, char *why, size_t why_size);
/* The same of a dma-buf, which it takes over (-1) on success; there is nothing to commit. With a grant (or NULL) that
 * pays, and its node's memory is what the descriptor is. */
unsigned memory_make_dmabuf(struct service *svc, struct session *s, uint32_t node, uint64_t size, struct grant *g,
                            int *fd, struct memory **ret, char *why, size_t why_size);
/* Why the account has no room for what the session asked for on the node. */
unsigned say_over(struct service *svc, struct session *s, uint32_t node, uint64_t size, const struct account *over,
                  char *why, size_t why_size);
/* Who pays for memory on a node: its creator, or when he has gone the partition. NULL: out of memory. */
struct account *memory_payer(struct service *svc, struct partition *p, struct session *creator, uint32_t node);
/* Makes what holds the memory's charge and place on a node, as memory without a number: for memory_swap_places(), then
 * memory_discard(). On a host node it is a file of its own. 0, -errno, MEMORY_E_FULL (`ret_over` as above). */
int memory_make_place(struct service *svc, const struct memory *m, uint32_t node, struct memory **ret,
                      struct account **ret_over);
void memory_set_away(struct service *svc, struct memory *m, bool away);
/* Its creator has gone: the partition pays. */
void memory_orphan(struct memory *m);
/* Its pages come out of every page table, and back in where `m` lies now. Neither can fail. */
void memory_hide(struct service *svc, struct memory *m);
void memory_show(struct service *svc, struct memory *m);
/* Takes its pages from the machine. Blocks for as long as that takes; on any thread. 0 or negative errno. */
int memory_commit_pages(struct memory *m);
/* An unlinked one: its pages go back in the background, then it is freed. */
void memory_discard(struct service *svc, struct memory *m, bool committed);
/* One that nobody uses any more: unlinks and discards it. */
void memory_destroy(struct service *svc, struct memory *m);
/* A user of it has gone: if it was the last one it goes too, or the time begins for which it is kept. */
void memory_left(struct service *svc, struct memory *m);
/* Ends a handle; the charge passes on to the partition when the creator goes. */
void holding_end(struct service *svc, struct holding *h);
void file_end(struct service *svc, struct file *f);
int file_adopt(struct service *svc, struct file *f);
int file_restore(struct service *svc, uint64_t id, enum file_kind kind, uint32_t node, uint64_t size,
                 struct session *s);
int memory_restore(struct service *svc, uint64_t id, struct partition *p, struct session *s, uint32_t node,
                   uint64_t size, unsigned flags, struct file *f, const uint64_t (*extents)[2], uint32_t count);
/* It lies there from now on. */
int memory_restore_place(struct service *svc, struct memory *m, struct file *f, const uint64_t (*extents)[2],
                         uint32_t count);
/* Shows a device all that a space has, after a replay. */
int space_fill(struct service *svc, struct space *s);

void opening_end(struct service *svc, struct opening *o);
void reservation_end(struct service *svc, struct reservation *r);
/* Of an operation of its owner: it ends at commit. -ENOMEM. */
int reservation_give_up(struct call *c, struct reservation *r);
void space_end(struct service *svc, struct space *s);
int space_bring_up(struct service *svc, struct session *session, uint64_t id, uint32_t node, struct space **ret);

/* Everything a session holds, its journal entry included. */
void session_release(struct service *svc, struct session *s);

/* Partitions with their listener. `p` was made by partition_new(). */
int partition_bring_up(struct service *svc, struct partition *p);
void partition_take_down(struct service *svc, struct partition *p);
/* 0, or LEDGER_E_LIMIT: so much min cannot be promised any more. */
int partition_set_bounds(struct service *svc, struct partition *p, uint32_t node, const struct bounds *b);
void partition_default_limits(struct service *svc, struct partition *p);
/* Partitions that the store has forgotten and that nothing is left in. */
void partitions_reap(struct service *svc);
/* The store has forgotten it (`result` 0), or could not. */
void partition_forgotten(struct service *svc, const char *name, int result);
/* Ends those attached to it, and those that came through its socket. */
void partition_kick(struct service *svc, struct partition *p, const char *why);
/* Held or shown by sessions of other partitions. */
bool partition_memory_is_elsewhere(struct service *svc, const struct partition *p);
/* Takes those whose container has ended on. */
void orphans_collect(struct service *svc);
struct store_partition *partition_row(const struct service *svc, const struct partition *p);
void partition_row_free(struct store_partition *row);
struct bounds limit_bounds(const struct store_limit *l);
void limit_from_bounds(struct store_limit *l, const struct bounds *b);

/* ---- with other partitions: op_share.c ---- */

int sharing_replay(struct service *svc, uint16_t type, const void *bytes);
/* For the snapshot: after its session; after all named objects. */
int sharing_put_door(struct service *svc, const struct session *s);
int sharing_put(struct service *svc);

/* ---- events ---- */

/* False: the session was too slow for it. */
bool event_send(struct service *svc, struct session *s, Svmd__V1__Event *event);
/* The session is asked to give so much back in that time. */
void event_give_back(struct service *svc, struct session *s, uint32_t node, uint64_t bytes, uint64_t wait_ms);
void event_reservation(struct service *svc, const struct reservation *r, const struct session *except, bool gone);
/* It is gone for this session alone. */
void event_reservation_lost(struct service *svc, const struct reservation *r, struct session *s);
void event_monitor(struct service *svc, const char *what, const struct session *about, const char *partition,
                   const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The same of a condition of a node, with the bytes that it is about. */
void event_condition(struct service *svc, const char *what, const char *partition, uint32_t node, uint64_t bytes,
                     const char *format, ...) __attribute__((format(printf, 6, 7)));

/* Whether the session is told of everything, or `seldom` of what is no move of memory. */
void event_watch(struct service *svc, struct session *s, bool on, bool seldom);
/* Granules have moved; from within what the mover tells. */
void event_moved(struct service *svc, const struct managed_reservation *m, uint32_t first, uint32_t granules,
                 uint32_t from, uint32_t to, enum managed_cause cause);
/* They bounce, and stay on the node for a time. */
void event_pinned(struct service *svc, const struct managed_reservation *m, uint32_t first, uint32_t granules,
                  uint32_t node);

/* ---- journal ---- */

int journal_snapshot(struct service *svc);
/* An effect that no request waits for. Where the journal has no room for it, a snapshot is due. */
void journal_note(struct service *svc, uint16_t type, const void *bytes, size_t size);
int journal_restore(struct service *svc, char *why, size_t why_size);
/* Afterwards: pages of files of which the journal knows nothing. */
void punch_leftovers(struct service *svc);
/* Answers of this session that a resend may ask for. */
void replies_free(struct session *s);
const void *replies_find(const struct session *s, uint64_t id, size_t *ret_size);
int replies_add(struct session *s, uint64_t id, const void *bytes, size_t size);
/* A request with this id is about to be served: 0 or -ENOMEM. */
int replies_served(struct session *s, uint64_t id);
int replies_each(const struct session *s,
                 int (*fn)(void *userdata, const struct session *s, uint64_t id, const void *bytes, size_t size),
                 void *userdata);
int kept_take(struct service *svc, uint64_t key);
bool kept_has(const struct service *svc, uint64_t key);
/* Before the others. */
void kept_sort(struct service *svc);

/* ---- requests ---- */

void request_free(struct request *r);
/* A job of this request is done. */
void request_continue(struct service *svc, struct request *r);
void requests_wake(struct service *svc);
/* svmd goes: those that wait for what may never come end without an answer, and without an effect. */
void requests_drop(struct service *svc);
/* service_collect() in a moment, for what nobody tells of. */
void service_wake_soon(struct service *svc);
/* The same when keeping_now(), which is `now` at present, has come to `at`, or earlier. */
void service_wake_at(struct service *svc, uint64_t at, uint64_t now);
/* What its store job leaves to do whether or not its session is still there. */
void request_settle(struct service *svc, struct request *r);

/* Explicit memory may have left a node that somebody drains. */
void drain_goes_on(struct service *svc, uint32_t node);

/* `svmd-ctl doctor`: fills `out` (room for FINDINGS_MAX), returns how many. Texts are static or from the arena. */
#define FINDINGS_MAX 64
size_t findings_collect(struct call *c, Svmd__V1__Finding **out);
/* Of drivers' devices. `level` is of the wire. */
typedef void (*finding_fn)(void *userdata, const char *id, unsigned level, const char *text);
void findings_devices(const struct service *svc, finding_fn say, void *userdata);

/* Handlers, one file a group. */
int op_hello(struct call *c);
int op_attach(struct call *c);
int op_monitor(struct call *c);
int op_reserve(struct call *c);
int op_open(struct call *c);
int op_free(struct call *c);
int op_reservation_query(struct call *c);
int op_share(struct call *c);
int op_share_list(struct call *c);
int op_uffd_device(struct call *c);
int op_uffd_give(struct call *c);
int op_range_files(struct call *c);
int op_join(struct call *c);
int op_register(struct call *c);
int op_unregister(struct call *c);
int op_layout(struct call *c);
int op_mem_create(struct call *c);
int op_mem_release(struct call *c);
int op_mem_export(struct call *c);
int op_mem_import(struct call *c);
int op_mem_fd(struct call *c);
int op_map(struct call *c);
int op_unmap(struct call *c);
int op_set_access(struct call *c);
int op_set_attributes(struct call *c);
int op_sparse_map(struct call *c);
int op_sparse_unmap(struct call *c);
int op_space_create(struct call *c);
int op_space_destroy(struct call *c);
int op_submit(struct call *c);
int op_fence_query(struct call *c);
int op_translate(struct call *c);
int op_nodes(struct call *c);
int op_links(struct call *c);
int op_status(struct call *c);
int op_limits(struct call *c);
int op_migrate(struct call *c);
int op_discard(struct call *c);
int op_pin(struct call *c);
int op_revoke(struct call *c);
int op_steal(struct call *c);
int op_advise(struct call *c);
int op_advice_query(struct call *c);
int op_advice_show(struct call *c);
int op_residency(struct call *c);
int op_explain(struct call *c);
int op_node_set(struct call *c);
int op_node_plan(struct call *c);
int op_partition_create(struct call *c);
int op_partition_set(struct call *c);
int op_partition_delete(struct call *c);
int op_partition_list(struct call *c);
int op_session_list(struct call *c);
int op_session_kill(struct call *c);
int op_reservation_list(struct call *c);
int op_usage(struct call *c);
int op_keep(struct call *c);
int op_kept_list(struct call *c);
int op_kept_remove(struct call *c);
int op_admit(struct call *c);
int op_lease_release(struct call *c);
int op_lease_list(struct call *c);
int op_lease_claim(struct call *c);
int op_lease_fill(struct call *c);
int op_grant_ask(struct call *c);
int op_grant_done(struct call *c);
int op_grant_list(struct call *c);
/* What came with the request of grants; those that are refused are told in the reply. -ENOMEM. */
int grants_ride(struct service *svc, struct request *r, const Svmd__V1__Request *m, Svmd__V1__Reply *reply);
int op_holders(struct call *c);
int op_usage_history(struct call *c);
int op_drift(struct call *c);
int op_metrics(struct call *c);
void usage_answer_free(struct usage_answer *a);
int op_upgrade(struct call *c);
int op_act_for(struct call *c);
int op_policy(struct call *c);
int op_reload(struct call *c);
int op_dmabuf_import(struct call *c);
int op_mem_dmabuf(struct call *c);
int op_device_give(struct call *c);
int op_cuda_attach(struct call *c);
int op_cuda_map(struct call *c);
int op_observe(struct call *c);
int op_drm_space(struct call *c);
int op_drm_bind(struct call *c);
int op_drm_check(struct call *c);
int op_drm_bound(struct call *c);
int op_exclusive(struct call *c);
int op_trace_start(struct call *c);
int op_trace_stop(struct call *c);
int op_trace_query(struct call *c);
int op_limit_set(struct call *c);
int op_limit_query(struct call *c);
/* The session ends; so does its recording. */
void trace_leave(struct session *s);

/* Whether this memory's pages are a job's: there are many, or others are on their way back in the same lane. */
bool memory_is_staged(struct service *svc, const struct session *s, const Svmd__V1__MemCreate *m);
/* Prepares what op_mem_create() will find: starts jobs for large memory; returns how many. */
uint32_t stage_memory(struct service *svc, struct request *r, const Svmd__V1__Request *m);
void staged_free(struct service *svc, struct request *r);
