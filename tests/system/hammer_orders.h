#pragma once

#include "hammer_hand.h"

/*
 * Threads that give svmd orders about the range at full rate, each with a handful of fences out, and never wait for one
 * but to have room for the next. Of a range of few granules, few orders are out: where more are, every granule has
 * orders waiting for it all the time, and who touches it sees it leave before he has used it.
 */

/* Migrations, prefetches, evictions, advice and pins, as the plan says, until the end. */
void orders_run(struct hand *h);
/* The owner's: takes the range away from everybody and gives it back, again and again. */
void revokes_run(struct hand *h);
/* An administrator's, on a session that is attached to nothing: migrations and evictions. */
void admin_orders_run(struct hand *h);
