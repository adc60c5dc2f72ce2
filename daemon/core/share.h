#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "core/ids.h"

struct name;
struct object;
struct partition;
struct session;
struct state;

/*
 * The word of an owner that a named reservation, or named memory, of his partition may be had from another partition as
 * well: by whoever came in through that one's own socket, in the place of the name's mode. Such a session is a guest:
 * attached to the owner's partition, at whose addresses it sees what is shared with it, and with no other right there.
 *
 * It ends with the name, and with the partition that it is for.
 */
struct share {
        uint64_t id;
        struct list by_name, by_partition, by_state; /* by_partition: of the one it is for */
        struct object *object;                       /* a reservation or memory, that has the name */
        struct name *name;
        struct partition *from, *to;
        unsigned access;
        bool ending; /* an operation that is not committed yet takes it back */
};

/* NULL: out of memory. Not linked. */
struct share *share_new(uint64_t id, struct object *object, struct name *name, struct partition *from,
                        struct partition *to);
void share_link(struct state *s, struct share *x);
/* Unlinks and frees it. */
void share_end(struct share *x);
bool share_of_memory(const struct share *x);
/* NULL: it is not shared with that partition. */
struct share *share_find(const struct name *name, const struct partition *to);
/* Whether anything of `from` is. */
bool share_any(const struct partition *from, const struct partition *to);
/* What a guest may do with what has the name; 0: nothing. */
unsigned share_access(const struct name *name, const struct session *guest);
/* All of a name's; all that are for the partition. */
void shares_drop(struct name *name);
void shares_drop_for(struct partition *to);
