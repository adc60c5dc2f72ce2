/*
 * Whoever holds up a revocation is ended: a process that keeps its address space to itself, by changing the access of
 * much memory all the time, shares a range that its owner revokes.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

enum { GRANULE = 2 << 20, GRANULES = 64, THREADS = 4 };
#define ZEROES (4ull << 30) /* of the zero page: page tables alone */

static struct daemon d;

/* ---- in the holder ---- */

static void *keep(void *userdata) {
        void *p = userdata;

        for (;;)
                must(mprotect(p, ZEROES, PROT_NONE) == 0 && mprotect(p, ZEROES, PROT_READ) == 0);
}

static void open_range(struct message *m) {
        struct svmd_connect_options c = { .size = sizeof(c), .socket = d.socket, .window = HARNESS_WINDOW };
        svmd_session *s;
        void *p;

        ok(svmd_connect(&s, &c));
        ok(svmd_address_open(s, &p, NULL, "shared", SVMD_ACCESS_READ_WRITE));
        for (size_t i = 0; i < GRANULES; i++)
                must(((volatile char *)p)[i * GRANULE] == (char)i);
}

/* Each thread has memory of its own: what has that access already would cost nothing. */
static void hold(struct message *m) {
        pthread_t t;

        for (unsigned i = 0; i < THREADS; i++) {
                void *p = mmap(NULL, ZEROES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

                must(p != MAP_FAILED && madvise(p, ZEROES, MADV_NOHUGEPAGE) == 0 &&
                     madvise(p, ZEROES, MADV_POPULATE_READ) == 0);
                must(pthread_create(&t, NULL, keep, p) == 0);
        }
}

/* ---- the owner ---- */

static volatile char *reserve(svmd_session *s) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = "shared", .mode = 0666, .kind = SVMD_SHARED, .granule = GRANULE
        };
        void *p;

        ok(svmd_address_reserve(s, &p, GRANULES * GRANULE, 0, NULL, &o));
        return p;
}

/* What comes back to host memory has to be protected in everyone's address space when it is taken again. */
static void touch(volatile char *p) {
        for (size_t i = 0; i < GRANULES; i++)
                p[i * GRANULE] = (char)i;
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=256M", "--log-level", "error", NULL };
        struct message m = { 0 };
        struct actor holder;
        volatile char *p;
        svmd_session *s;
        uint64_t begun;
        int status;

        harness_begin("system_held_up");
        daemon_new(&d, options);
        connect_to(&s, d.socket, NULL);
        p = reserve(s);
        touch(p);
        actor_new(&holder, getuid(), getgid(), 0);
        actor_call(&holder, open_range, &m);
        actor_call(&holder, hold, &m);
        begun = now_ms();
        do { /* until it is at it */
                must(now_ms() - begun < CEILING_MS);
                touch(p);
                ok(svmd_revoke(s, NULL, (void *)p));
                ok(svmd_unrevoke(s, NULL, (void *)p));
        } while (waitpid(holder.pid, &status, WNOHANG) == 0);
        printf("ended after %llu ms\n", (unsigned long long)(now_ms() - begun));
        must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        for (size_t i = 0; i < GRANULES; i++)
                must(p[i * GRANULE] == (char)i);
        svmd_disconnect(s);
        daemon_end(&d);
        return 0;
}
