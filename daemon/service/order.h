#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "service/fence.h"

/*
 * What is asked of a managed reservation and goes on after the reply: a fence whose work the mover does, in steps.
 */
struct managed_reservation;
struct order;

enum {
        ORDER_ALL = 1 << 16, /* of order_kind.next: everything has been asked for */
        ORDER_LEFT,          /* of order_kind.over: its session has ended first */
};

struct order_kind {
        /* Asks the mover for the next step, under `token`. 0: it will be answered. ORDER_ALL; or MANAGED_E_*, -errno:
         * refused, and not answered. */
        int (*next)(struct service *svc, struct order *o, struct managed_reservation *m, uint64_t token);
        /* It is over, before anyone is told: 0, MANAGED_E_*, -errno or ORDER_LEFT. NULL: nothing to do. */
        void (*over)(struct service *svc, struct order *o, struct managed_reservation *m, int result);
        /* The first step that fails is the last; else the others are taken all the same. */
        bool whole;
        const char *full; /* why there is no room, where no node was named */
};

struct order {
        struct fence fence;
        const struct order_kind *kind;
        uint64_t reservation; /* its id */
        uint32_t first, next; /* granules: from where, and what the mover was not asked for yet */
        uint32_t end, piece;  /* piece: the kind's, of the last step */
        uint8_t phase;        /* the kind's, 0 at first */
        uint32_t node;        /* where they go; MANAGED_NOWHERE: wherever policy wants them */
        bool hint;            /* what cannot be done now is no failure */
        bool ended;           /* with `result` */
        int result, answer;   /* the worst so far; of the last step */
        struct list answered;
};

/* Where the caller's operation acts: as managed_at(), in the partition of that name, which only administrators name
 * ("": the session's own, with `access`). 0 or OP_REFUSED. */
int order_at(struct call *c, const char *partition, uint64_t address, uint64_t size, unsigned access,
             struct managed_reservation **ret, uint32_t *ret_first, uint32_t *ret_count);
/* The reservation around the address, and its granule there, likewise. */
int order_around(struct call *c, const char *partition, uint64_t address, unsigned access,
                 struct managed_reservation **ret, uint32_t *ret_granule);
/* All granules that [address, address + size) touches, of one reservation, likewise; size 0: up to its end. */
int order_touched(struct call *c, const char *partition, uint64_t address, uint64_t size, unsigned access,
                  struct managed_reservation **ret, uint32_t *ret_first, uint32_t *ret_end);
/* Begins when the journal has the reply. 0, OP_REFUSED, -ENOMEM. */
int order_new(struct call *c, struct order **ret, const struct order_kind *kind, const struct managed_reservation *m,
              uint32_t first, uint32_t count);
/* The next granules of the order, at most so many as one step may have. */
uint32_t order_piece(const struct order *o);
/* The order behind a fence, if it is one of this kind and is not over; else NULL. */
const struct order *order_pending(const struct fence *f, const struct order_kind *kind);
/* Orders whose step was answered go on. Not from within what the mover tells. */
void orders_collect(struct service *svc);
