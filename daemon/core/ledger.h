#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/*
 * Who has how many bytes of what. An account has a parent (session -> partition -> node); a charge
 * is embedded in what it pays for and names its account, so it can be given back once and only once:
 * a sum cannot underflow, and an owner that is released refunds what it held.
 *
 *      0          min          low                    high            max
 *      |-----------|------------|----------------------|---------------|
 *       kept free   taken last,                          asked to give   refused
 *       for it      in need                              back
 *
 * `max` is a hard limit, ACCOUNT_NO_LIMIT is none. A max below what is used refuses further charges and takes nothing
 * away. What an account has not used of its `min` counts as used for everybody else who charges the account that it
 * lies `within`, which is its parent; an account never lets more min be promised in it than it has. `low` and `high`
 * say in what order and from whom memory is asked back, and no charge looks at them.
 *
 * A leaf may lie beside that under a second root (a session under its cgroup): what is charged to it is charged there
 * too. Those are `aside`, may have parents of their own kind, and lie within the node.
 */
#define ACCOUNT_NO_LIMIT UINT64_MAX

enum {
        _LEDGER_E_OK,
        LEDGER_E_LIMIT, /* an account would pass its max: ret_over names the first one, from the leaf up */
};

/* Who wants to know which accounts have changed: stands in a list of his since bounds of the account, or what is used
 * of it, have. */
struct account_news {
        struct list link;
        struct list *into;
};

struct account {
        struct account *parent;
        struct account *within; /* where its min is kept free */
        struct account *also;   /* of a leaf: the second root's account, or NULL */
        uint64_t used, peak;
        uint64_t min, low, high, max;
        uint64_t promised; /* the mins of those within it, in sum */
        uint64_t held;     /* what they have not used of them, in sum */
        uint64_t children; /* accounts whose parent, or second one, this is */
        uint64_t charges;  /* live charges made directly on this account */
        uint64_t refunds;  /* how often something was given back */
        uint64_t claimed;  /* admission.h: by those who stand before in a line; 0 but during a step of it */
        bool aside;
        struct account_news *news; /* or NULL */
};

/* The four of an account, as one. The numbers are the wire's. */
enum bound { BOUND_MAX, BOUND_HIGH, BOUND_LOW, BOUND_MIN, BOUNDS };

struct bounds {
        uint64_t bytes[BOUNDS];
};

#define BOUNDS_NONE ((struct bounds){ { ACCOUNT_NO_LIMIT, ACCOUNT_NO_LIMIT, 0, 0 } })

struct charge {
        struct account *account; /* NULL: nothing is charged */
        uint64_t bytes;
};

/* With no min, low and high. */
void account_init(struct account *a, struct account *parent, uint64_t max);
/* One that is `aside`, for the node `within`; `parent` NULL, or another one of the node that is. */
void account_init_aside(struct account *a, struct account *parent, struct account *within);
/* Another parent, or NULL, for one that is aside: what it has is charged there from now on. */
void account_set_outer(struct account *aside, struct account *outer);
/* The account must have no charges and no children. */
void account_fini(struct account *a);
/* What the leaf has is charged to `also`, too (NULL: no longer to any). The leaf has no children. */
void account_set_also(struct account *leaf, struct account *also);
/* Any min of its own is let go. 0, or LEDGER_E_LIMIT: the account that it lies within has not so much left to promise,
 * or its own max is less. */
int account_set_min(struct account *a, uint64_t min);

struct bounds account_bounds(const struct account *a);
/* All of them, or LEDGER_E_LIMIT and none: its min as above. */
int account_set_bounds(struct account *a, const struct bounds *b);
/* The same without asking whether its min still fits: for what was in force already. */
void account_force_bounds(struct account *a, const struct bounds *b);
bool bounds_are_none(const struct bounds *b);

/* All accounts that a charge of `leaf` reaches: leaf, account_up(leaf, leaf), ... NULL. */
static inline struct account *account_up(const struct account *leaf, const struct account *at) {
        return at->parent ? at->parent : at->aside ? 0 : leaf->also;
}

/* Charges the account and all above it, or none. Also refuses a sum that would overflow (as LEDGER_E_LIMIT).
 * `c` must be empty (else -EINVAL). A charge of 0 bytes is allowed and still names the account. */
int charge_take(struct charge *c, struct account *a, uint64_t bytes, struct account **ret_over);
/* The same past any limit: for what is there already. `c` must be empty. */
void charge_force(struct charge *c, struct account *a, uint64_t bytes);
/* Gives all of it back. No-op on an empty charge. */
void charge_drop(struct charge *c);
/* Moves the charge to an ancestor of its account (a session ends, its partition goes on paying; its second root does
 * not). Cannot fail. */
void charge_lift(struct charge *c, struct account *ancestor);

/* How many bytes could be charged to `a` now. */
uint64_t account_room(const struct account *a);
/* The same as far as `at` goes, one of those that a charge of `leaf` reaches; what is claimed counts as used. */
uint64_t account_room_at(const struct account *leaf, const struct account *at);
/* What could be charged to `leaf` there if nobody had anything. */
uint64_t account_most_at(const struct account *leaf, const struct account *at);
/* What it has not used of its min. */
uint64_t account_unused(const struct account *a);
/* Who has asked for its news hears of it: bounds and use say so themselves. */
void account_changed(struct account *a);
