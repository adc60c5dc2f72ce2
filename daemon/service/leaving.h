#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * A partition that is deleted while sessions use it, with time to go.
 *
 *      told --all of its sessions have ended--> deleted
 *        |  \--its time is over--> sessions end: what they have is taken --> deleted
 *        \--the session that asked for it is ended, or svmd ends--> as if it had not been asked
 *
 * Told is each session that has memory, or managed ranges, with the bytes of each node. Nobody may attach meanwhile.
 * Nothing is moved first: what a session has goes with it, wherever it lies. That the process that asked has ended is
 * not seen before the time is over, since a connection that is owed a reply is not read: then it is deleted.
 */
struct call;
struct partition;
struct service;

/* Tells its sessions. */
void leaving_begin(struct service *svc, struct partition *p, uint64_t wait_ms);
/* It still has time, and somebody who needs it. */
bool leaving_waits(struct service *svc, const struct partition *p);
/* It is deleted now, or not any more (`called_off`). */
void leaving_end(struct service *svc, struct partition *p, bool called_off);

/* Adds to the call's result what is told, and what is taken. 0 or -ENOMEM. */
int leaving_plan(struct call *c, struct partition *p);
