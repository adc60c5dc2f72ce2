#pragma once

#include "hammer_board.h"
#include "harness.h"

/*
 * What the processes of a hammer do; functions for actors (harness.h), which know the board from before they were
 * forked.
 */
enum hammer_role {
        ROLE_WRITER, /* `threads` writers, and one thread that gives orders. The first owns the range */
        ROLE_JOINER, /* connects, opens the range, writes and checks, leaves, again and again */
        ROLE_VICTIM, /* writes until it is killed; the next one takes its pages over */
        ROLE_READER, /* has the right to read alone: two threads look */
        ROLE_ADMIN,  /* orders moves in a partition that is not its own */
};

/* Before actors are forked. */
void hammer_actor_board(struct hammer_board *b);

/* n[0]: role, n[1]: number of the process -> n[0]: address of the range, which the first writer reserves */
void hammer_actor_attach(struct message *m);
/* Until the board says stop. Writers look at all of their pages then. */
void hammer_actor_work(struct message *m);
/* Compares the counters with what was added; nobody works any more. */
void hammer_actor_count(struct message *m);
/* Closes the range, or gives it back, and disconnects. */
void hammer_actor_leave(struct message *m);
