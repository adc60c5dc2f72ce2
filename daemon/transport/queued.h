#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/message.h"
#include "base/tree.h"

/*
 * How many bytes wait in svmd for the connections of a user: replies and events that he does not take, all his
 * connections together. Whoever comes through a partition's own socket is one user, whatever numbers he has. Each holds
 * a share in its user, which is given back with it.
 *
 *      below `most`                 served as ever
 *      `most` and beyond            nothing more of him is read, and his events are counted as missed; until half of
 *                                   `most` is left
 *      a reply beyond twice `most`  (to what was read before) ends its connection
 *
 * So what waits for a user is never more than twice `most`, and he slows down nobody but himself.
 */
struct queued_user {
        struct tree_node node;
        uint64_t party;
        uint64_t members, bytes;
        bool full;
        struct list resting; /* queued_share: what is not read meanwhile */
};

struct queued_share {
        struct queued_user *user;
        struct list resting;
};

struct queued {
        struct tree users;
        uint64_t most;   /* 0: no bound */
        uint64_t exempt; /* the user that svmd runs as */
        struct message_rate rate;
        void (*wake)(struct queued_share *share);                     /* it is read again; not in resting any more */
        void (*name)(const struct queued_share *share, char ret[96]); /* of its user, for a message */
};

/* -ENOMEM. */
int queued_join(struct queued *q, struct queued_share *s, uint64_t party);
/* What it had waiting has been taken off. */
void queued_leave(struct queued *q, struct queued_share *s);
void queued_add(struct queued *q, struct queued_share *s, size_t bytes);
void queued_take(struct queued *q, struct queued_share *s, size_t bytes);
bool queued_is_full(const struct queued_share *s);
/* A reply of that many bytes may still wait. */
bool queued_has_room(const struct queued *q, const struct queued_share *s, size_t bytes);
/* Until `wake`. */
void queued_rest(struct queued *q, struct queued_share *s);
