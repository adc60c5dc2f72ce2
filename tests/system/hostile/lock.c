#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* Clients that keep their address space to themselves while svmd has to enter it: it holds up their own granules.
 * (system_hostile_mm and system_held_up have the same at length.) */

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

enum { GRANULE = 65536, GRANULES = 16 };
#define ZEROES (1ull << 30)

static svmd_session *s;
static volatile char *range;

/* Page tables for the zero page, which take long to copy or to change. */
static void *zeroes(void) {
        void *p = mmap(NULL, ZEROES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        must(p != MAP_FAILED && madvise(p, ZEROES, MADV_NOHUGEPAGE) == 0 &&
             madvise(p, ZEROES, MADV_POPULATE_READ) == 0);
        return p;
}

static void begin(void) {
        s = hostile_session(NULL);
        range = hostile_range(s, GRANULES * GRANULE, NULL, 0);
}

static void order(unsigned i) {
        svmd_fence *f;

        if (svmd_migrate(s, &f, (const void *)(range + i % GRANULES * GRANULE), GRANULE, target.gpu) == SVMD_OK)
                svmd_fence_free(f);
}

static void *orders(void *stop) {
        for (unsigned i = 0; !__atomic_load_n((int *)stop, __ATOMIC_ACQUIRE); i++) {
                order(i);
                range[i % GRANULES * GRANULE] = 1;
        }
        return NULL;
}

static void beside(void (*hold)(void *p), unsigned times) {
        static int stop;
        void *p = zeroes();
        pthread_t t;

        begin();
        must(pthread_create(&t, NULL, orders, &stop) == 0);
        for (unsigned i = 0; i < times; i++)
                hold(p);
        __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
        must(pthread_join(t, NULL) == 0);
}

static void fork_once(void *p) {
        pid_t pid = fork();

        must(pid >= 0);
        if (pid == 0)
                _exit(0);
        must(waitpid(pid, NULL, 0) == pid);
}

static void forks(struct message *m) {
        beside(fork_once, 10);
}

static void protect_once(void *p) {
        must(mprotect(p, ZEROES, PROT_NONE) == 0 && mprotect(p, ZEROES, PROT_READ) == 0);
}

static void protections(struct message *m) {
        beside(protect_once, 10);
}

static void map_once(void *p) {
        void *q = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

        must(q != MAP_FAILED && munmap(q, 64 << 20) == 0);
}

static void populations(struct message *m) {
        beside(map_once, 10);
}

/* It stops where it stands, with orders under way, until it is killed. */
static void stopped(struct message *m) {
        begin();
        for (unsigned i = 0; i < 4 * GRANULES; i++)
                order(i);
        raise(SIGSTOP);
}

/* The range's own mapping goes and comes while its granules move. */
static void unmapped(struct message *m) {
        begin();
        for (unsigned i = 0; i < 4 * GRANULES; i++) {
                void *at = (void *)(range + i % GRANULES * GRANULE);

                order(i);
                must(mprotect(at, GRANULE, PROT_NONE) == 0);
                order(i + 1);
                must(mprotect(at, GRANULE, PROT_READ | PROT_WRITE) == 0);
                if (i % 3 == 0)
                        must(madvise(at, GRANULE, MADV_DONTNEED) == 0);
        }
        must(munmap((void *)range, GRANULE) == 0);
        for (unsigned i = 0; i < GRANULES; i++)
                order(i);
}

const struct hostile_family hostile_lock = { "mmap_lock",
                                             { { .name = "forks", .run = forks },
                                               { .name = "protections", .run = protections },
                                               { .name = "populations", .run = populations },
                                               { .name = "stopped", .run = stopped, .stops = true },
                                               { .name = "unmapped", .run = unmapped } } };
