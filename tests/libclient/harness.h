#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fake_svmd.h"
#include "svmd.h"

/* A fake svmd and a session on it, for each test; afterwards no descriptor may be left. */
struct world {
        struct fake *fake;
        svmd_session *s;
        atomic_bool refuse; /* for hooks */
        unsigned descriptors;
        void *data;
};

int world_new(void **state);
int world_end(void **state);
/* Starts over with a hook; its data is the world. */
struct world *world_with(void **state, fake_hook hook);

#define world_test(f) cmocka_unit_test_setup_teardown(f, world_new, world_end)

svmd_session *connect_to(struct fake *f);
char *reserve(svmd_session *s, size_t size);
svmd_mem create(svmd_session *s, size_t size);
unsigned open_descriptors(void);
/* Waits, at most 30 s, until no more than `most` are open: the fake closes what it sent a moment later. */
bool wait_descriptors(unsigned most);
/* Whether the kernel would let this process touch the byte, without a signal. */
int can_read(const void *p);
/* Writes what is there already. */
int can_write(void *p);

static inline uint64_t addr(const void *p) {
        return (uintptr_t)p;
}

/* Ends the session in the child of a process with threads. Not with the sanitizer of addresses: its malloc() has locks
 * that fork() does not wait for, so the child may find one held by a thread that is not there. */
void leave_in_child(svmd_session *s);

/* False: the fake may not open /dev/userfaultfd here, which this run knows of. */
bool have_userfaultfd(void);

/* From SVMD_SEED, which is printed. */
void seed_random(void);
uint64_t rnd(uint64_t bound);
