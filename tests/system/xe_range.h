#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "svmd.h"

/*
 * For the cases of test_xe_list.c: managed ranges that a thread moves from node to node all the time, devices that work
 * on them, and looks at what they hold. They run in an actor; what svmd refuses ends it.
 */
enum { KIB = 1024, MIB = 1024 * KIB, PAGE = 4096, DEVICES = 2 };

extern svmd_session *session;
extern svmd_node host, device[DEVICES];
extern svmd_space space[DEVICES]; /* one on each device */

void xe_begin(const char *socket);

struct moved {
        char *at;
        size_t size, granule;
        pthread_t thread;
        atomic_bool stop;
        uint64_t rng;
};

/* With a thread that moves it. `align` 0: none asked for; `name` NULL: none. */
void reserve(struct moved *m, size_t size, size_t granule, size_t align, unsigned flags, const char *name);
void release(struct moved *m);
void start_moving(struct moved *m);
void stop_moving(struct moved *m);

/* On device number `on`; the operation's code. `ret` may be NULL. */
int try_run(unsigned on, struct svmd_device_op op, uint64_t *ret);
void fill(unsigned on, void *at, size_t size, uint8_t byte);
uint64_t sum(unsigned on, const void *at, size_t size);
void add(unsigned on, void *at, uint64_t n);
/* A device that chance chooses. */
unsigned any(void);

void want_bytes(const char *at, size_t size, uint8_t byte);
/* Words that count up from k, and what they add up to. */
void write_words(char *at, size_t size, uint64_t k);
void want_words(const char *at, size_t size, uint64_t k);
uint64_t sum_of(size_t size, uint64_t k);
/* A device writes and the CPU looks, the CPU writes and a device looks. */
void use(char *at, size_t size);
