#include "core/ledger.h"

#include <errno.h>
#include <stddef.h>

void account_init(struct account *a, struct account *parent, uint64_t max) {
        *a = (struct account){ .parent = parent, .max = max };
        if (parent)
                parent->children++;
}

void account_fini(struct account *a) {
        if (a->parent)
                a->parent->children--;
        *a = (struct account){ 0 };
}

/* With no limit this is what keeps `used` from overflowing. */
static uint64_t own_room(const struct account *a) {
        return a->max > a->used ? a->max - a->used : 0;
}

uint64_t account_room(const struct account *a) {
        uint64_t room = UINT64_MAX;

        for (; a; a = a->parent)
                if (own_room(a) < room)
                        room = own_room(a);
        return room;
}

/* The first account, from `a` up, that `bytes` more would take over its max; or NULL. */
static struct account *first_over(struct account *a, uint64_t bytes) {
        while (a && bytes <= own_room(a))
                a = a->parent;
        return a;
}

void charge_force(struct charge *c, struct account *a, uint64_t bytes) {
        a->charges++;
        for (struct account *it = a; it; it = it->parent) {
                it->used += bytes;
                if (it->used > it->peak)
                        it->peak = it->used;
        }
        *c = (struct charge){ .account = a, .bytes = bytes };
}

int charge_take(struct charge *c, struct account *a, uint64_t bytes, struct account **ret_over) {
        struct account *over;

        if (c->account)
                return -EINVAL;

        over = first_over(a, bytes);
        if (over) {
                if (ret_over)
                        *ret_over = over;
                return LEDGER_E_LIMIT;
        }

        charge_force(c, a, bytes);
        return 0;
}

/* Gives the bytes back from the charge's account up to, not including, `end`. */
static void refund(struct charge *c, struct account *end) {
        for (struct account *it = c->account; it != end; it = it->parent) {
                it->used -= c->bytes;
                it->refunds++;
        }
        c->account->charges--;
}

void charge_drop(struct charge *c) {
        if (!c->account)
                return;
        refund(c, NULL);
        *c = (struct charge){ 0 };
}

void charge_lift(struct charge *c, struct account *ancestor) {
        if (!c->account)
                return;
        refund(c, ancestor);
        ancestor->charges++;
        c->account = ancestor;
}
