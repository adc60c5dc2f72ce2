#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A process of its own that maps managed ranges, as libsvmd would: forked, and told what to do over a socket. Each
 * function returns when it was done, unless it says otherwise.
 */
struct process {
        pid_t pid;
        int socket;
};

void process_start(struct process *p);
/* SIGKILL. */
void process_end(struct process *p);

/* A new userfaultfd of the process. The caller's. */
int process_userfaultfd(struct process *p, int device);
/* PROT_NONE, at that address; private where it is read-only. 0 or errno. */
int process_map(struct process *p, int memory, uint64_t address, uint64_t size, bool readonly);
int process_open(struct process *p, uint64_t address, uint64_t size, bool write);
int process_unmap(struct process *p, uint64_t address, uint64_t size);

uint64_t process_load(struct process *p, uint64_t address);
void process_store(struct process *p, uint64_t address, uint64_t value);
/* Every word of it, from a seed; and how many words are not what the seed says (0: not zero). */
void process_fill(struct process *p, uint64_t address, uint64_t size, uint64_t seed);
uint64_t process_check(struct process *p, uint64_t address, uint64_t size, uint64_t seed);
/* Only begins: the answer is awaited by process_loaded(), which gives up after `ms`: false. */
void process_begin_load(struct process *p, uint64_t address);
bool process_loaded(struct process *p, int ms, uint64_t *ret);
