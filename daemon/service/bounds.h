#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/ledger.h"
#include "proto/svmd.pb-c.h"

/*
 * Bounds that somebody asks for: of a partition, a session or a control group, any number of them on any nodes. What is
 * not named stays as it is.
 */
struct call;

/* Nodes that are there and can be limited, and bounds that there are: 0, or refused. */
int limits_check(struct call *c, Svmd__V1__NodeLimit **limits, size_t count);
/* What `b`, the bounds on this node, become. True: some of it is another. */
bool limits_change(Svmd__V1__NodeLimit **limits, size_t count, uint32_t node, struct bounds *b);
/* Whether the accounts, one a node, can have what they become: 0, or refused. `ret_promises`: a min grows. */
int limits_fit(struct call *c, const struct account *accounts, Svmd__V1__NodeLimit **limits, size_t count,
               bool *ret_promises);
/* Whether somebody may have to be asked to give back: for a high bound, or (`come_down`) for what is above a bound. */
bool limits_ask(Svmd__V1__NodeLimit **limits, size_t count, bool come_down);
/* How long whoever is asked has: what was asked for, a day at most. */
uint64_t limits_patience_ms(uint64_t asked);
