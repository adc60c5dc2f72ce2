#pragma once

#include <stdint.h>

/*
 * A node is full, and somebody needs room there: those who hold it are asked to give back, before anybody is refused.
 *
 *      refused, or in line for it --round: those above their high, then above their low, then above their min are
 *            ^                               asked, who has most above first, for what is missing in all--\
 *            \--after a pause-- over: what came back is told <--when its time is over or it has come------/
 *
 * There is one round a node at a time, and a pause behind one, so that who asks again and again makes nobody be asked
 * more often. Nobody waits for it but who is in line (a lease): memory that is created is refused, and may be asked
 * for again. What nobody uses has been moved away before (spill.h), and managed pages leave without being asked for
 * (capacity.h). Whom to ask is policy/share.h's.
 */
struct service;
struct session;

/* In struct service, one a node. */
struct pressure {
        uint64_t until_ns; /* of the round; 0: none */
        uint64_t again_ns; /* no other one before */
        uint64_t asked;    /* bytes, of the round */
        uint64_t used;     /* when it began */
};

/* -ENOMEM */
int pressure_init(struct service *svc);
void pressure_fini(struct service *svc);
/* So many bytes are missing there for the session (NULL: for nobody in particular), which is not asked itself. Returns
 * how many are asked for just now. */
uint64_t pressure_ask(struct service *svc, uint32_t node, const struct session *who, uint64_t missing);
/* Rounds that are over; and those who stand in line. */
void pressure_collect(struct service *svc);
