#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "engine/jobs.h"
#include "service/capacity.h"

/* One object of explicit memory on its way to a host node, or back; see spill.h. */
struct account;
struct memfile;
struct memory;
struct service;

enum move_state {
        MOVE_WAITS,   /* for managed granules to leave the place it goes to */
        MOVE_RUNS,    /* its job does */
        MOVE_SETTLED, /* it is there, and what it has left is given up when the journal knows */
};

struct move {
        enum move_state state;
        struct list link; /* in spill_state.moves, then .settled */
        struct service *svc;
        struct memory *memory; /* NULL: it was freed meanwhile */
        struct memory *other;  /* the place it goes to; when it is there, the one that it has left */
        bool in;               /* back to its node */
        bool committed;        /* the pages of `other` are taken */
        int result;
        struct capacity_wait wait;
        struct job job;
        const struct memory *source;
        struct memfile *from, *to;
        void *effect; /* what the journal will be told */
        size_t effect_size;
};

/* Begins. 0; MEMORY_E_FULL: no host node may have it; -errno. */
int move_out(struct service *svc, struct memory *m);
/* Likewise; MEMORY_E_FULL: `ret_over` has no room for it, or the pool has only too many pieces (NULL). */
int move_in(struct service *svc, struct memory *m, struct account **ret_over);
/* Its memory is being freed. */
void move_forget(struct service *svc, struct move *v);
/* Gives up what a settled one has left. */
void move_settle(struct service *svc, struct move *v);
