#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * A redo log of effects in a memfd that outlives svmd (svmd-keeper holds it; it ends with the boot, as its clients do).
 *
 * What is appended becomes part of the log at the next commit, all of it or nothing: a process may be killed at any
 * instruction in between. Space is reserved before an operation changes anything, so appending cannot fail.
 * A snapshot is written into the other half of the file and put in force by one store; the log goes on behind it.
 *
 * Effects are (type, bytes); what they mean is the caller's, and so is reading those of an older format, down to
 * JOURNAL_OLDEST. A file is only ever of one format: who reads an older one goes on in a new file. Not thread-safe.
 */
struct journal;

#define JOURNAL_FORMAT 1
#define JOURNAL_OLDEST 1 /* that this program reads */

enum {
        _JOURNAL_E_OK,
        JOURNAL_E_FULL,   /* the active half has no room: take a snapshot, or refuse */
        JOURNAL_E_FORMAT, /* another format than this program reads; `why` says which */
        JOURNAL_E_BROKEN, /* checksums or lengths are wrong; `why` says where */
};

/* A new memfd of `size` bytes (rounded to 2 pages; both halves are sparse until used). */
int journal_new(struct journal **ret, uint64_t size);
/* Around the file of an earlier svmd. Takes `fd` over on 0 only. Cuts off what was never committed. */
int journal_adopt(struct journal **ret, int fd, char *why, size_t why_size);
void journal_free(struct journal *j);
int journal_fd(const struct journal *j);

/* Hands every committed effect to `fn`, oldest first: the snapshot, then the log. A non-zero return ends it and is
 * returned. */
typedef int (*journal_fn)(void *userdata, uint16_t type, const void *bytes, size_t size);
int journal_replay(struct journal *j, journal_fn fn, void *userdata);

/* Makes sure that `count` effects of `bytes` in all can be appended: space in the half and pages of the machine. 0,
 * JOURNAL_E_FULL, or -ENOMEM. Counted from the present end on, and good until the next commit. */
int journal_reserve(struct journal *j, size_t count, size_t bytes);
/* The same on top of what is reserved and not used yet, for one who reserves within another's reservation. */
int journal_reserve_more(struct journal *j, size_t count, size_t bytes);
/* Within what was reserved. At most 1 MiB. */
void journal_append(struct journal *j, uint16_t type, const void *bytes, size_t size);
/* Forgets what was appended since the last mark (an operation that was undone). */
uint64_t journal_mark(const struct journal *j);
void journal_rewind(struct journal *j, uint64_t mark);
/* Everything appended so far is part of the log from here on. Cheap when there is nothing. */
void journal_commit(struct journal *j);

/* A snapshot replaces all effects before it. begin; any number of puts; end. JOURNAL_E_FULL or -ENOMEM from a put: the
 * caller calls journal_snapshot_cancel() and the log is as before. Nothing may be uncommitted at begin. */
int journal_snapshot_begin(struct journal *j);
int journal_snapshot_put(struct journal *j, uint16_t type, const void *bytes, size_t size);
void journal_snapshot_end(struct journal *j);
void journal_snapshot_cancel(struct journal *j);

uint64_t journal_used(const struct journal *j); /* bytes of the active half */
uint64_t journal_size(const struct journal *j); /* bytes of a half */
