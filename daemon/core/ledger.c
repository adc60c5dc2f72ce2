#include "core/ledger.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static uint64_t less(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

void account_init(struct account *a, struct account *parent, uint64_t max) {
        *a = (struct account){ .parent = parent, .within = parent, .high = ACCOUNT_NO_LIMIT, .max = max };
        if (parent)
                parent->children++;
}

void account_init_aside(struct account *a, struct account *parent, struct account *within) {
        account_init(a, parent, ACCOUNT_NO_LIMIT);
        a->aside = true;
        a->within = within;
}

void account_fini(struct account *a) {
        (void)account_set_min(a, 0);
        account_set_also(a, NULL);
        if (a->parent)
                a->parent->children--;
        *a = (struct account){ 0 };
}

uint64_t account_unused(const struct account *a) {
        return less(a->min, a->used);
}

void account_changed(struct account *a) {
        if (a->news && list_empty(&a->news->link))
                list_push_back(a->news->into, &a->news->link);
}

static void put_min(struct account *a, uint64_t min) {
        struct account *in = a->within;

        if (in) {
                in->promised = in->promised - a->min + min;
                in->held = in->held - account_unused(a) + less(min, a->used);
        }
        a->min = min;
        account_changed(a);
}

int account_set_min(struct account *a, uint64_t min) {
        const struct account *in = a->within;

        if (min > a->max || (in && min > a->min && min - a->min > less(in->max, in->promised)))
                return LEDGER_E_LIMIT;
        put_min(a, min);
        return 0;
}

struct bounds account_bounds(const struct account *a) {
        return (struct bounds){ { a->max, a->high, a->low, a->min } };
}

int account_set_bounds(struct account *a, const struct bounds *b) {
        uint64_t max = a->max;

        a->max = b->bytes[BOUND_MAX];
        if (account_set_min(a, b->bytes[BOUND_MIN]) != 0) {
                a->max = max;
                return LEDGER_E_LIMIT;
        }
        a->high = b->bytes[BOUND_HIGH];
        a->low = b->bytes[BOUND_LOW];
        return 0;
}

void account_force_bounds(struct account *a, const struct bounds *b) {
        put_min(a, b->bytes[BOUND_MIN]);
        a->max = b->bytes[BOUND_MAX];
        a->high = b->bytes[BOUND_HIGH];
        a->low = b->bytes[BOUND_LOW];
}

bool bounds_are_none(const struct bounds *b) {
        const struct bounds none = BOUNDS_NONE;

        return memcmp(b, &none, sizeof(none)) == 0;
}

/* ---- room ---- */

/* Of what is kept free in `at`, what is for those that a charge of `leaf` reaches. */
static uint64_t own_held(const struct account *leaf, const struct account *at) {
        uint64_t sum = 0;

        for (const struct account *a = at->held ? leaf : NULL; a; a = account_up(leaf, a))
                if (a->within == at)
                        sum += account_unused(a);
        return sum;
}

/* A charge out of a min takes from nobody, whatever is promised. With no limit max is what keeps `used` from
 * overflowing. */
uint64_t account_room_at(const struct account *leaf, const struct account *at) {
        uint64_t own = own_held(leaf, at), others = at->held - own, room = less(less(at->max, at->used), at->claimed);
        uint64_t beside = less(room, others), out_of_min = smaller(room, own);

        return beside > out_of_min ? beside : out_of_min;
}

uint64_t account_most_at(const struct account *leaf, const struct account *at) {
        uint64_t others = at->promised;

        for (const struct account *a = others ? leaf : NULL; a; a = account_up(leaf, a))
                if (a->within == at)
                        others -= a->min;
        return less(at->max, others);
}

uint64_t account_room(const struct account *a) {
        uint64_t room = UINT64_MAX;

        for (const struct account *at = a; at; at = account_up(a, at))
                room = smaller(room, account_room_at(a, at));
        return room;
}

/* The first account, from `a` up, that has no room for `bytes` more; or NULL. */
static struct account *first_over(struct account *a, uint64_t bytes) {
        struct account *at = a;

        while (at && bytes <= account_room_at(a, at))
                at = account_up(a, at);
        return at;
}

/* ---- charges ---- */

static void add(struct account *a, uint64_t bytes) {
        uint64_t unused = account_unused(a);

        a->used += bytes;
        account_changed(a);
        if (a->used > a->peak)
                a->peak = a->used;
        if (a->within)
                a->within->held -= unused - account_unused(a);
}

static void take_off(struct account *a, uint64_t bytes) {
        uint64_t unused = account_unused(a);

        a->used -= bytes;
        account_changed(a);
        a->refunds++;
        if (a->within)
                a->within->held += account_unused(a) - unused;
}

void charge_force(struct charge *c, struct account *a, uint64_t bytes) {
        a->charges++;
        for (struct account *it = a; it; it = account_up(a, it))
                add(it, bytes);
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

void charge_drop(struct charge *c) {
        if (!c->account)
                return;
        for (struct account *it = c->account; it; it = account_up(c->account, it))
                take_off(it, c->bytes);
        c->account->charges--;
        *c = (struct charge){ 0 };
}

void charge_lift(struct charge *c, struct account *ancestor) {
        struct account *from = c->account;

        if (!from || from == ancestor)
                return;
        for (struct account *it = from; it != ancestor; it = it->parent)
                take_off(it, c->bytes);
        for (struct account *it = from->also; it; it = it->parent)
                take_off(it, c->bytes);
        from->charges--;
        ancestor->charges++;
        c->account = ancestor;
}

/* What `used` bytes are charged to from there up. */
static void move(struct account **place, struct account *to, uint64_t used) {
        for (struct account *it = *place; it; it = it->parent)
                take_off(it, used);
        if (*place)
                (*place)->children--;
        *place = to;
        if (to)
                to->children++;
        for (struct account *it = to; it; it = it->parent)
                add(it, used);
}

void account_set_also(struct account *leaf, struct account *also) {
        move(&leaf->also, also, leaf->used);
}

void account_set_outer(struct account *aside, struct account *outer) {
        move(&aside->parent, outer, aside->used);
}
