#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "svmd.h"

struct daemon;

/* What a test waits for takes less than this: 30 s, and SVMD_SLOW times that where the machine itself is slow. */
#define CEILING_MS ceiling_ms()
uint32_t ceiling_ms(void);

/* The window that this build of the tests can have. */
#ifdef __SANITIZE_THREAD__
#define HARNESS_WINDOW SVMD_WINDOW_LOW
#else
#define HARNESS_WINDOW SVMD_WINDOW_PRIMARY
#endif

/* Checks work in the test's process and in the actors alike: a failure says where, and ends the process. */
#define must(condition)                                                                                                \
        do {                                                                                                           \
                if (!(condition))                                                                                      \
                        fail_at(__FILE__, __LINE__, "expected: " #condition);                                          \
        } while (0)
#define fail_here(text) fail_at(__FILE__, __LINE__, text)
/* A libsvmd call gives this code; a failure prints the sentence. */
#define want(code, call) want_at(__FILE__, __LINE__, #call, code, call)
#define ok(call)         want(SVMD_OK, call)

void fail_at(const char *file, int line, const char *text) __attribute__((noreturn));
void want_at(const char *file, int line, const char *call, int code, int got);

/* First in main(): prints the seed, sees to it that nothing is left behind when the test fails. */
void harness_begin(const char *test);
/* True: this run has no rights to be several users; it said so. */
bool harness_one_user(void);

uint64_t now_ms(void);
uint64_t random_below(uint64_t bound);
uint64_t random_seed_for(unsigned actor);
void random_set(uint64_t seed);
/* False: it did not end within the ceiling. */
bool wait_end(pid_t pid, int *ret_status);

/* ---- actors: processes of their own, of other users ---- */

enum { ACTOR_NUMBERS = 16, ACTOR_FDS = 4 };

struct message {
        int r;           /* what a libsvmd call gave */
        char error[512]; /* its sentence */
        uint64_t n[ACTOR_NUMBERS];
        char text[256];
        int fd[ACTOR_FDS]; /* passed along when fds_count says so */
        unsigned fds_count;
};

struct actor {
        pid_t pid;
        int socket;
        unsigned number;
};

/* Runs in the actor; what it leaves in the message is the answer. It is a function of this same program, which the
 * actor was forked from. */
typedef void (*actor_fn)(struct message *m);

/* `gid_more`: one supplementary group, 0 for none. */
void actor_new(struct actor *a, uint32_t uid, uint32_t gid, uint32_t gid_more);
/* Calls and waits for the answer in *m; fails if the actor is gone. */
void actor_call(struct actor *a, actor_fn fn, struct message *m);
void actor_begin(struct actor *a, actor_fn fn, const struct message *m);
void actor_finish(struct actor *a, struct message *m);
void actor_kill(struct actor *a);
/* The same for one that may have failed. */
void actor_abandon(struct actor *a);
/* wait_end() was told of its end. */
void actor_ended(struct actor *a);
/* An orderly end of the process, with its sessions where they are. */
void actor_end(struct actor *a);
/* What an actor's call gave is this. */
#define message_want(code, m) message_want_at(__FILE__, __LINE__, code, m)
void message_want_at(const char *file, int line, int code, const struct message *m);
/* Keeps the sentence of the call that just gave `r`. */
void message_take(struct message *m, int r);

/* ---- sessions ---- */

void connect_to(svmd_session **s, const char *socket, const char *partition);
int try_connect(svmd_session **s, const char *socket, const char *partition, unsigned flags);
/* Queries only. */
void connect_watcher(svmd_session **s, const char *socket);

/* ---- svmd's ledger against what the kernel says ---- */

struct ledger {
        uint64_t host, soft[8];
        unsigned soft_count;
};
void ledger_read(svmd_session *watcher, struct ledger *ret);
/* Every node's use is what its files have taken. */
bool ledger_is_true(svmd_session *watcher, const struct daemon *d);
/* Waits until it is, and until svmd's and the keeper's descriptors are this many (0: not looked at). */
void await_settled(svmd_session *watcher, const struct daemon *d, unsigned svmd_fds, unsigned keeper_fds);
void status_of(svmd_session *watcher, struct svmd_status *st);
svmd_node node_named(svmd_session *s, const char *name);
