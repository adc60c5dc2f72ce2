#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/tree.h"
#include "core/imap.h"
#include "policy/arbitrate.h"

/*
 * What is advised about one range of granules, by whom, and what comes of it.
 *
 * A hint is what one party said once, about a run of granules. Hints of different parties lie side by side; of one
 * party the last word on an attribute counts, granule by granule. What comes of all that speak of a granule is
 * policy_arbitrate()'s ruling, which is kept with the run, so asking for it is one look into a map.
 *
 *      hint_party --- hint --- hint ...          in the order in which they were said
 *                       \        |
 *      granules  |---------|-----------|------|
 *                  stack     stack       stack     each: which hints speak there, of what, and the ruling
 *
 * Administrators speak as one party: what one says takes the place of what another has said. One is an administrator
 * from its first word to its last.
 *
 * Nothing here locks. What changes the map is apart from what prepares it: hints_commit(), hints_leave() and
 * hints_rank(); hints_get(), hints_group() and hints_advice() may run in another thread that excludes those.
 */
struct hints;
struct hints_change;

struct hint_party {
        struct policy_party policy; /* first */
        struct list link;
        struct list hints;
        uint64_t session;
        uint32_t pid, uid;
        char client[16]; /* the beginning of what it calls itself */
};

struct hint {
        struct policy_hint policy; /* first */
        struct list link, by_party, by_group;
        uint64_t said_ns; /* CLOCK_REALTIME */
        uint32_t first, count;
        uint32_t what;    /* bit per attribute that it speaks of */
        uint32_t against; /* those of them that are zero, and wished to be; the others that are zero are taken back */
        uint32_t refs;    /* stacks that have it */
        uint32_t number;
};

/* A party as it introduces itself. */
struct hint_who {
        uint64_t session;
        uint32_t pid, uid;
        enum policy_rank rank;
        const char *client;
};

struct hint_words {
        uint32_t first, count; /* granules; within the range */
        uint32_t what, against;
        uint64_t said_ns;
        struct policy_advice advice;
};

/* NULL: out of memory. */
struct hints *hints_new(void);
void hints_free(struct hints *h);
uint64_t hints_runs(const struct hints *h);

/* All that it takes for `who` to say that: 0 or -ENOMEM. One change at a time. */
int hints_prepare(struct hints *h, struct hints_change **ret, const struct hint_who *who, const struct hint_words *w);
/* Cannot fail, and frees it. */
void hints_commit(struct hints *h, struct hints_change *c);
void hints_cancel(struct hints *h, struct hints_change *c);

/* Takes away what the session has said, a bounded part of it a call: true while there is more, and then nothing else
 * may be asked of it but that. Cannot fail. Not for an administrator. */
bool hints_leave(struct hints *h, uint64_t session);
/* The session's words have that rank from now on. Cannot fail. */
void hints_rank(struct hints *h, uint64_t session, enum policy_rank rank);

/* Whether anything that the session said is heard. */
bool hints_has(const struct hints *h, uint64_t session);
/* Of one that has. */
enum policy_rank hints_rank_of(const struct hints *h, uint64_t session);
/* A session whose words were left behind, but that one; or 0. */
uint64_t hints_left(const struct hints *h, uint64_t but);

/* What counts at the granule; untouched where nothing is said. */
void hints_get(const struct hints *h, uint32_t granule, struct policy_advice *ret);
/* Who said the last word there, or 0. */
uint64_t hints_last(const struct hints *h, uint32_t granule);

/* The voices that speak of a granule, and the end of the run on which they are the same ones (at most `end`). NULL,
 * and count 0: none. They stay until the next change. */
const struct policy_voice *hints_at(const struct hints *h, uint32_t granule, uint32_t end, uint32_t *ret_count,
                                    uint32_t *ret_end);
/* Whose voice it is. */
const struct hint_party *hint_party(const struct hint *hint);
const struct hint *hint_of(const struct policy_voice *v);
const struct hint_party *hint_party_of(const struct policy_voice *v);
/* A number in the hint for whoever looks at hints, who leaves it as 0. */
uint32_t *hint_number(const struct policy_voice *v);
/* The voices that speak of any of these granules, some more than once. A non-zero return ends the walk. */
int hints_each_voice(const struct hints *h, uint32_t first, uint32_t end,
                     int (*fn)(void *userdata, const struct policy_voice *voice), void *userdata);
/* Each hint that is still heard somewhere, in the order in which they were said: saying them again makes the same. A
 * non-zero return ends the walk and is the result. */
int hints_each(const struct hints *h, int (*fn)(void *userdata, const struct hint *hint), void *userdata);
/* Runs with a ruling. */
int hints_each_run(const struct hints *h,
                   int (*fn)(void *userdata, uint32_t first, uint32_t count, const struct policy_advice *a),
                   void *userdata);

/* Granules that have a group's number, one a call; UINT32_MAX: there are no more, or `left` has come to an end. */
struct hint_walk {
        uint32_t group; /* not 0 */
        uint32_t left;  /* runs and hints that may still be looked at */
        uint32_t next;  /* 0 at first, and what follows likewise */
        const struct list *at;
};
uint32_t hints_group_next(const struct hints *h, struct hint_walk *walk);

/* Every sum and link, and each ruling against a fresh one. 0 or -EUCLEAN. For tests. */
int hints_check(const struct hints *h);
