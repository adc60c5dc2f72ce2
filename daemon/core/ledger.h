#pragma once

#include <stdint.h>

/*
 * Who has how many bytes of what. An account has a parent (session -> partition -> node); a charge
 * is embedded in what it pays for and names its account, so it can be given back once and only once:
 * a sum cannot underflow, and an owner that is released refunds what it held.
 *
 * `max` is a hard limit, ACCOUNT_NO_LIMIT is none. A max below what is used refuses further charges
 * and takes nothing away.
 */
#define ACCOUNT_NO_LIMIT UINT64_MAX

enum {
        _LEDGER_E_OK,
        LEDGER_E_LIMIT, /* an account would pass its max: ret_over names the first one, from the leaf up */
};

struct account {
        struct account *parent;
        uint64_t used, peak, max;
        uint64_t children; /* accounts whose parent this is */
        uint64_t charges;  /* live charges made directly on this account */
        uint64_t refunds;  /* how often something was given back */
        uint64_t claimed;  /* admission.h: by those who stand before in a line; 0 but during a step of it */
};

struct charge {
        struct account *account; /* NULL: nothing is charged */
        uint64_t bytes;
};

void account_init(struct account *a, struct account *parent, uint64_t max);
/* The account must have no charges and no children. */
void account_fini(struct account *a);

/* Charges the account and all its ancestors, or none. Also refuses a sum that would overflow (as LEDGER_E_LIMIT).
 * `c` must be empty (else -EINVAL). A charge of 0 bytes is allowed and still names the account. */
int charge_take(struct charge *c, struct account *a, uint64_t bytes, struct account **ret_over);
/* The same past any limit: for what is there already. `c` must be empty. */
void charge_force(struct charge *c, struct account *a, uint64_t bytes);
/* Gives all of it back. No-op on an empty charge. */
void charge_drop(struct charge *c);
/* Moves the charge to an ancestor of its account (a session ends, its partition goes on paying). Cannot fail. */
void charge_lift(struct charge *c, struct account *ancestor);
/* How many bytes could be charged to `a` now. */
uint64_t account_room(const struct account *a);
