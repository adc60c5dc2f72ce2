#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Objects by id. An id is a 64-bit number that is given once and never again, so a stale one finds nothing. Open
 * addressing over pointers: 8 bytes a slot, at most three quarters full.
 */
enum object_type {
        OBJECT_SESSION = 1,
        OBJECT_RESERVATION,
        OBJECT_MEMORY,
        OBJECT_SPACE,
        OBJECT_FENCE,
        OBJECT_FILE,
        OBJECT_LEASE,
        OBJECT_GRANT,
};

struct object {
        uint64_t id;
        uint8_t type;
};

struct ids {
        struct object **slots;
        uint64_t count, size; /* size is a power of two */
};

void ids_fini(struct ids *ids);
/* Makes room for `more` objects. -ENOMEM: nothing changed. */
int ids_reserve(struct ids *ids, uint64_t more);
/* Room must have been reserved; the id must not be there. */
void ids_add(struct ids *ids, struct object *o);
/* The object must be there. Leaves its room reserved: adding it again cannot fail. */
void ids_remove(struct ids *ids, struct object *o);
/* NULL: not there. */
struct object *ids_find(const struct ids *ids, uint64_t id);
/* The next object from slot `*at` on, which moves behind it; NULL: there are no more. What is added or removed during a
 * walk may be met or not. */
struct object *ids_next(const struct ids *ids, uint64_t *at);
