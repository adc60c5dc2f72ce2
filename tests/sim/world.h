#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/managed.h"

/*
 * A machine small enough to know every byte of: memfds, page tables of processes whose threads write whenever their
 * page tables let them, userfaultfds, cgroups, devices with translations, and a daemon that is the engine and a few
 * workers. A page is two words, so that it can tear.
 */
enum {
        NODES = 4,
        RANGES = 4,
        GROUPS = 2,
        GRANULES = 12, /* at most */
        PAGES = 2,     /* a granule */
        RANGE_PAGES = GRANULES * PAGES,
        WORDS = 2, /* a page */
        PROCESSES = 8,
        THREADS = 3,
        CGROUPS = 3, /* the last one is the daemon's */
        WORKERS = 4,
        DEVICE_OPS = 4,
        SLOTS = 512,
        CLASS_SIZES = 3,
};

struct page {
        bool present;
        uint8_t cgroup;
        uint8_t host; /* whose memory it is */
        uint64_t word[WORDS];
};

struct pte {
        bool present, writable, protected, poisoned; /* protected without present: a marker */
};

struct thread {
        bool blocked, unread; /* unread: its message is still in the userfaultfd */
        bool waits;           /* since `since`, for this access */
        bool retry;           /* woken, and about to do the same access again */
        bool write, minor;
        uint8_t range, page, word;
        uint64_t since;
};

struct process {
        uint32_t index;
        bool alive, known; /* known: the daemon has it */
        uint8_t cgroup;
        bool attached[RANGES], accessible[RANGES], readonly[RANGES];
        struct managed_session *session;
        struct pte pte[RANGES][RANGE_PAGES];
        struct thread thread[THREADS];
};

/* What the checker knows of a word. */
struct truth {
        uint64_t value, written; /* and when */
        bool maybe_zero;         /* a discard may have taken it, or will */
};

struct range {
        uint32_t index;
        uint32_t bytes, granules;
        uint8_t class;
        bool poison, revoked, changing; /* changing: (un)revoke is being done */
        struct managed_range *range;
        struct page memfd[RANGE_PAGES];
        struct truth truth[RANGE_PAGES][WORDS];
        struct managed_record record[GRANULES];
        uint32_t discards[GRANULES]; /* asked for and not answered */
        uint8_t sour[GRANULES]; /* was lost and poisoned; 1: a discard is ending that, 2: it died with the daemon */
        uint32_t pins[GRANULES];
};

/* The limits of two of the ranges, or of one. */
struct group {
        struct managed_group *group;
        uint64_t limit[NODES];
        uint64_t floor[NODES]; /* what was there when the limit was lowered, or less since */
};

struct translation {
        bool valid, write;
        uint32_t from, slot;
};

struct device_op {
        enum { OP_IDLE, OP_ASKING, OP_RUNNING } state;
        uint32_t node, range, granule;
        bool write, counted;
        uint64_t since;
        struct translation through; /* as it was when the operation began */
        bool dead;                  /* with its node, or what it used */
};

struct job {
        const struct managed_step *step;
        uint32_t at;
        int result;
        bool done;
};

enum request_type {
        REQUEST_NONE,
        REQUEST_MOVE,
        REQUEST_DISCARD,
        REQUEST_PIN,
        REQUEST_REVOKE,
        REQUEST_DRAIN,
        REQUEST_DEVICE,
        REQUEST_UNPIN
};

struct request {
        enum request_type type;
        uint32_t range, first, count;
        uint64_t began;
};

/* Shortcuts that lose data; a build of the real thing takes none of them. */
struct shortcuts {
        bool no_protection;    /* WRITE_PROTECT does nothing */
        bool unprotect_first;  /* before the punch */
        bool trust_kind;       /* a minor fault is continued, a protected one unprotected, without asking the engine */
        bool continue_copying; /* a minor fault during COPYING is continued */
        bool no_minor;         /* ranges are registered without MINOR */
        bool overwrite;        /* COPY_IN replaces what is there */
        bool no_invalidation;  /* translations stay */
        bool any_host;         /* pages of the memfd lie wherever */
        bool stale_slot;       /* what begins in a slot has what was there before */
};

struct totals {
        uint64_t accesses, verified, writes, faults, steps, kills, outs, ins, moves, discards, device, joins, enomem,
                revokes, evictions, limits, above, losses, lost;
        uint64_t written_back, merged, duplicated, rehosted, cures, put_off, set;
};

struct world {
        uint64_t rng, now, stamp;
        struct shortcuts shortcuts;
        struct managed *engine;
        struct range range[RANGES];
        struct group group[GROUPS];
        struct process process[PROCESSES];
        uint32_t charged[CGROUPS], limit[CGROUPS];
        uint64_t pool[NODES][CLASS_SIZES][SLOTS][PAGES][WORDS];
        struct translation shown[NODES][RANGES][GRANULES];
        struct device_op op[DEVICE_OPS];
        struct job job[WORKERS];
        struct request request[64];
        uint32_t requests;
        uint32_t largest;
        uint32_t vanishes; /* the node, plus one, while the engine is told of it */
        bool continue_protects, host[NODES], far, faults[NODES], offline[NODES], quiesce, restoring;
        struct totals total;
        const char *error;
        char message[256];
};

static inline uint64_t draw(struct world *w) {
        w->rng ^= w->rng << 13;
        w->rng ^= w->rng >> 7;
        w->rng ^= w->rng << 17;
        return w->rng * 0x2545f4914f6cdd1dull >> 32;
}

static inline uint32_t below(struct world *w, uint32_t n) {
        return (uint32_t)((draw(w) * n) >> 32);
}

static inline bool chance(struct world *w, uint32_t one_in) {
        return below(w, one_in) == 0;
}

/* The first finding is kept. */
void world_fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* kernel.c */
void kernel_access(struct world *w, struct process *p, struct thread *t);
void kernel_wake(struct process *p, uint32_t range, uint32_t first, uint32_t pages);
void kernel_zap(struct pte *pte);
void kernel_punch(struct world *w, struct range *r, uint32_t page);
void kernel_protect(struct pte *pte, bool on);
bool kernel_charge(struct world *w, struct page *page, uint32_t cgroup);
int kernel_copy(struct world *w, struct process *p, struct range *r, uint32_t page, const uint64_t *words, bool protect,
                uint32_t host);
int kernel_continue(struct process *p, struct range *r, uint32_t page, bool protect);

/* Of a range's group, or NULL. */
static inline struct group *group_of(struct world *w, const struct range *r) {
        return r->index == 2 ? NULL : &w->group[r->index / 2];
}

/* The content was lost with the node that the record names. */
static inline bool record_lost(const struct managed_record *rec) {
        return rec->node != MANAGED_NOWHERE && rec->slot == MANAGED_NOWHERE;
}

/* What touches it waits for a discard. */
static inline bool is_lost(const struct range *r, uint32_t page) {
        return record_lost(&r->record[page / PAGES]);
}

/* check.c */
void check_record(struct world *w, struct range *r, const struct managed_record *now);
void check_loss(struct world *w, uint32_t node);
void check_read(struct world *w, struct range *r, uint32_t page, uint32_t word, uint64_t value, const char *who);
uint64_t check_write(struct world *w, struct range *r, uint32_t page, uint32_t word);
void check_discarded(struct range *r, uint32_t granule, uint64_t began, bool done);
void check_sums(struct world *w);
void check_content(struct world *w);
void check_rest(struct world *w);

/* execute.c */
void job_advance(struct world *w, struct job *j);

/* daemon.c */
void world_starve(struct world *w);
void daemon_start(struct world *w);
void daemon_kill(struct world *w);
void daemon_request(struct world *w);
void daemon_read(struct world *w, struct process *p);
void process_start(struct world *w, struct process *p);
void process_attach(struct world *w, struct process *p, uint32_t range);
void process_detach(struct world *w, struct process *p, uint32_t range);
void process_die(struct world *w, struct process *p);
void daemon_notice(struct world *w, struct process *p);
void device_run(struct world *w, struct device_op *op);
void daemon_calm(struct world *w);
void daemon_caps(struct world *w, bool on);
void daemon_set(struct world *w);
