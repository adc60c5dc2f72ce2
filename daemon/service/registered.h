#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Memory that a process has itself and registered (userptr): a memory object of a host node with nothing of svmd behind
 * it, charged to nobody, counted in its session. Its file (FILE_CLIENT) only says how devices name it. Only spaces of
 * its own session can show it, so it goes with the session at the latest.
 *
 *      register -> reached -> unregister
 *                     |            ^
 *                     +-> fenced --+     the process gave it back: devices are refused, mappings stay
 */
struct effect_register;
struct memory;
struct mover_registered;
struct service;
struct session;

struct registered {
        struct memory *memory;
        struct session *session; /* whose process it is of */
        uint64_t address, generation;
        struct mover_registered *mover; /* NULL in a replay */
        bool fenced;
};

/* Unlinked, with its id and without a handle; not yet reached. NULL: out of memory. */
struct memory *registered_new(struct session *s, uint64_t id, uint32_t node, uint64_t address, uint64_t size);
/* The mover reaches it from now on. -errno. */
int registered_reach(struct service *svc, struct registered *r);
struct registered *registered_of(const struct memory *m);
/* What memory_discard() is for other memory: nobody holds or shows it. */
void registered_discard(struct service *svc, struct memory *m);
/* From within what the mover tells. */
void registered_gone(struct service *svc, struct registered *r, const char *why);

struct effect_register effect_of_registered(const struct memory *m);
int registered_put(struct service *svc, const struct memory *m);
/* Behind the replay, before devices are shown what there is. Sessions whose process svmd-keeper does not lead to any
 * more are released. -errno with a sentence. */
int registered_restore(struct service *svc, char *why, size_t why_size);
