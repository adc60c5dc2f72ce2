#pragma once

#include "harness.h"

/*
 * What an actor does with a managed range that several of them share: words, of which each begins as its index plus
 * a number. The functions run in the actor; n[] is what they take and give.
 */
enum { RANGE_SIZE = 4 << 20, RANGE_WORDS = RANGE_SIZE / 8, RANGE_GRANULE = 65536 };

extern svmd_session *range_session;
extern uint64_t *range_words;
extern const char *range_socket; /* set before actors are made */

/* A partition "lab" that all may attach to. */
void range_partition(svmd_session *watcher);

void range_connect(struct message *m);
/* text: name, or none; n[0]: SVMD_RANGE_* -> r, n[0]: address */
void range_try_reserve(struct message *m);
/* text: name; n[0]: access -> r, n[0]: address */
void range_open(struct message *m);
/* -> r */
void range_free(struct message *m);
/* n[0]: the number */
void range_write(struct message *m);
void range_check(struct message *m);
/* n[0]: word -> n[1]: its value */
void range_read(struct message *m);
/* n[0]: how often. Adds one to the last word of the range, for all actors. */
void range_count(struct message *m);
/* Takes in events -> n[0]: how many ranges are gone. */
void range_dispatch(struct message *m);
void range_disconnect(struct message *m);

/* A new actor that has the range of that name open, with this access; it has to succeed. */
void range_join(struct actor *a, uint32_t uid, const char *name, unsigned access);
/* A new actor that has reserved it. */
uint64_t range_own(struct actor *a, uint32_t uid, const char *name, unsigned flags);
/* Calls with these numbers, and gives what came back. */
struct message range_call(struct actor *a, actor_fn fn, uint64_t n0);

/* Waits until nothing of [address, address + RANGE_SIZE) is on its way, and at least so many bytes are on the node. */
void range_await(svmd_session *watcher, uint64_t address, svmd_node node, uint64_t bytes);
