#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A real svmd with its keeper, in a folder of its own below /tmp. A test's process is the parent of both (a keeper
 * whose svmd is gone comes back to it), so it knows their ends and leaves none behind.
 */
struct daemon {
        char dir[64], socket[96], admin[96];
        pid_t pid, keeper; /* 0: none runs */
        const char *options[24];
        size_t options_count;
};

/* From now on this program is started as svmd. */
void daemon_use(const char *program);
/* Starts it with these options (ended by NULL, beside the folders) and waits until it says that it is ready. */
void daemon_new(struct daemon *d, const char *const *options);
/* The same folder and options again. */
void daemon_start(struct daemon *d);
/* The same, and it ends by SIGKILL before it is ready. */
void daemon_start_killed(struct daemon *d);
/* Starts another svmd on the same folder with these options instead, expects that it ends by itself with a failure, and
 * gives what it said. */
void daemon_start_wrong(struct daemon *d, const char *const *options, char *said, size_t size);
/* SIGKILL; the keeper stays. */
void daemon_kill(struct daemon *d);
/* SIGABRT, as a failure of its own raises it; the keeper stays. */
void daemon_crash(struct daemon *d);
/* SIGTERM, and its end as it should be; the keeper stays. */
void daemon_stop(struct daemon *d);
void daemon_kill_keeper(struct daemon *d);
/* Another one that svmd has started. */
void daemon_find_keeper(struct daemon *d);
/* SIGINT: sessions and keeper end too; then the folder goes. */
void daemon_end(struct daemon *d);
/* For exits on a failure: everything is killed. */
void daemon_abandon_all(void);

/* Whether this stands in what svmd and its keeper said so far. */
bool daemon_said(const struct daemon *d, const char *text);

/* ---- the oracle outside ---- */

unsigned process_fds(pid_t pid);
/* Once the number has come to rest: what was sent to the keeper lies in its socket until it looks. */
unsigned process_fds_at_rest(pid_t pid);
/* What each of them is, on stderr. */
void process_fds_say(pid_t pid);
/* Bytes that the memfds whose names begin so have taken from the machine, each file once. */
uint64_t process_blocks(pid_t pid, const char *name);
uint64_t process_rss(pid_t pid);
