#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "core/ids.h"
#include "core/imap.h"
#include "core/vmap.h"

struct state;
struct session;

/* One page table of a device. A process may have many; the same VA may show different memory in two of them. */
struct space {
        struct object object;
        struct session *session;
        struct list by_session;
        uint32_t node;
        struct vmap mappings;
        struct imap sparse; /* value: enum sparse_writes */
        void *device_space; /* the service's */
        uint64_t fences;    /* operations that wait or run */
        uint64_t running;   /* those that its device has */
        uint64_t used_ns;   /* when the last one ended, or 0 */
        struct list held;   /* the service's: operations that wait for memory to come back */
        bool destroying;    /* an operation that is not committed yet destroys it */
};

/* Links to nothing; room for its id is reserved. NULL: out of memory. */
struct space *space_new(struct state *s, uint64_t id, struct session *session, uint32_t node);
void space_link(struct state *s, struct space *space);
void space_unlink(struct state *s, struct space *space);
/* Unlinked; its mappings and sparse ranges go with it. */
void space_free(struct space *space);
