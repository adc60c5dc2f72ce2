#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * svmd's side of svmd-keeper, the process that holds file descriptors while no svmd runs.
 *
 * A descriptor is kept under a key, from the moment keeper_put() returns: it lies in the keeper's socket then, whether
 * the keeper has looked or not. So there is no answer to wait for. When the keeper dies its kept descriptors close, and
 * clients see the end of their connections.
 */
struct keeper;

/* Connects to RUNTIME_DIR/keeper.sock; where nobody listens, starts `program` (in a session of its own, so that it
 * lives on) and waits until it does. -EBUSY: another svmd is connected. `why` gets a sentence. */
int keeper_connect(struct keeper **ret, const char *runtime_dir, const char *program, char *why, size_t why_size);
/* Lets go of the connection; the keeper keeps everything. */
void keeper_disconnect(struct keeper *k);
/* To poll: readable means the keeper is gone. */
int keeper_fd(const struct keeper *k);

/* Everything it holds, in no order. `fd` is the callee's. A non-zero return ends the walk (what is left is closed here,
 * and still kept there). It must not put or drop. -EMFILE: this process has no room for all of it. */
typedef int (*keeper_fn)(void *userdata, uint64_t key, int fd);
int keeper_list(struct keeper *k, keeper_fn fn, void *userdata);

/* `fd` stays the caller's. A key that is there already is replaced. -EMFILE: the keeper can hold no more. -ETIMEDOUT:
 * it takes nothing in. */
int keeper_put(struct keeper *k, uint64_t key, int fd);
/* A key that is not there is ignored. Drops are gathered and sent by keeper_flush() alone: what the journal still has
 * at the last commit is kept until the commit that has it no more. One that is put before that stays. -ENOMEM: it stays
 * kept, until a svmd finds there what it knows nothing of. */
int keeper_drop(struct keeper *k, uint64_t key);
int keeper_flush(struct keeper *k);
/* Ends the keeper: all it holds is closed. */
int keeper_quit(struct keeper *k);
/* It goes on as this program, with everything it holds and this connection. On failure it is as it was, or gone
 * (-EPIPE). `why` gets a sentence. */
int keeper_become(struct keeper *k, int program, char *why, size_t why_size);
