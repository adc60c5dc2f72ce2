#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* Ends, faults and orders at once. */

enum { GRANULE = 65536, GRANULES = 16, ROUNDS = 6 };

struct race {
        svmd_session *s;
        volatile char *p;
        int stop;
};

static bool goes_on(struct race *r) {
        return !__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE);
}

static void *touches(void *userdata) {
        struct race *r = userdata;

        for (unsigned i = 0; goes_on(r); i++)
                r->p[i % GRANULES * GRANULE] = (char)i;
        return NULL;
}

static void *moves(void *userdata) {
        struct race *r = userdata;

        for (unsigned i = 0; goes_on(r); i++) {
                svmd_fence *f;

                if (svmd_migrate(r->s, &f, (const void *)(r->p + i % GRANULES * GRANULE), GRANULE, target.gpu) == 0)
                        svmd_fence_free(f);
        }
        return NULL;
}

static void race_begin(struct race *r, const char *name) {
        *r = (struct race){ .s = hostile_session(NULL) };
        r->p = hostile_range(r->s, GRANULES * GRANULE, name, name ? 0666 : 0);
}

/* The process ends in the midst of its faults and moves. */
static void killed_in_a_fault(struct message *m) {
        for (unsigned i = 0; i < ROUNDS; i++) {
                pid_t pid = fork();

                must(pid >= 0);
                if (pid == 0) {
                        struct race r;
                        pthread_t t[2];

                        race_begin(&r, NULL);
                        must(pthread_create(&t[0], NULL, touches, &r) == 0);
                        must(pthread_create(&t[1], NULL, moves, &r) == 0);
                        usleep(10000);
                        raise(SIGKILL);
                }
                must(waitpid(pid, NULL, 0) == pid);
        }
}

static void revoked_in_a_fault(struct message *m) {
        struct race r;
        pthread_t t[2];

        race_begin(&r, NULL);
        must(pthread_create(&t[0], NULL, touches, &r) == 0);
        must(pthread_create(&t[1], NULL, moves, &r) == 0);
        for (unsigned i = 0; i < 4 * ROUNDS; i++) {
                ok(svmd_revoke(r.s, NULL, (const void *)r.p));
                ok(svmd_unrevoke(r.s, NULL, (const void *)r.p));
        }
        __atomic_store_n(&r.stop, 1, __ATOMIC_RELEASE);
        must(pthread_join(t[0], NULL) == 0 && pthread_join(t[1], NULL) == 0);
        svmd_disconnect(r.s);
}

/* The range is freed while its moves are under way. */
static void freed_in_a_move(struct message *m) {
        svmd_session *s = hostile_session(NULL);

        for (unsigned i = 0; i < 4 * ROUNDS; i++) {
                volatile char *p = hostile_range(s, GRANULES * GRANULE, NULL, 0);
                svmd_fence *f[GRANULES];

                for (unsigned k = 0; k < GRANULES; k++)
                        ok(svmd_migrate(s, &f[k], (const void *)(p + k * GRANULE), GRANULE, target.gpu));
                ok(svmd_address_free(s, (void *)p));
                for (unsigned k = 0; k < GRANULES; k++)
                        svmd_fence_free(f[k]);
        }
        svmd_disconnect(s);
}

static void open_and_touch(void) {
        svmd_session *s = hostile_session(NULL);
        char name[32];
        void *at;

        for (unsigned i = 0;; i++) {
                snprintf(name, sizeof(name), "race-%u", i % ROUNDS);
                if (svmd_address_open(s, &at, NULL, name, SVMD_ACCESS_READ_WRITE))
                        continue;
                ((volatile char *)at)[i % GRANULES * GRANULE] = 1;
                svmd_address_free(s, at);
        }
}

/* Opened and closed by others while the owner moves, revokes and ends it. */
static void opened_and_closed(struct message *m) {
        pid_t pid[2];

        for (unsigned i = 0; i < 2; i++) {
                pid[i] = fork();
                must(pid[i] >= 0);
                if (pid[i] == 0)
                        open_and_touch();
        }
        for (unsigned i = 0; i < ROUNDS; i++) {
                char name[32]; /* the one before may be open still */
                struct race r;

                snprintf(name, sizeof(name), "race-%u", i);
                race_begin(&r, name);
                for (unsigned k = 0; k < GRANULES; k++)
                        svmd_migrate(r.s, NULL, (const void *)(r.p + k * GRANULE), GRANULE, target.gpu);
                svmd_revoke(r.s, NULL, (const void *)r.p);
                svmd_disconnect(r.s);
        }
        for (unsigned i = 0; i < 2; i++) {
                kill(pid[i], SIGKILL);
                must(waitpid(pid[i], NULL, 0) == pid[i]);
        }
}

/* Two connections end the same things, and one of them itself, at once. */
static void ends_without_replies(struct message *m) {
        for (unsigned i = 0; i < 20 * ROUNDS; i++) {
                Svmd__V1__MemCreate body = SVMD__V1__MEM_CREATE__INIT;
                Svmd__V1__Op op = SVMD__V1__OP__INIT;
                struct raw r;

                raw_attach(&r, target.socket, HOSTILE_PARTITION);
                body.node = i % 2 ? target.gpu : target.host;
                body.size = 1 << 20;
                op.op_case = SVMD__V1__OP__OP_MEM_CREATE;
                op.mem_create = &body;
                raw_send(&r, &op, NULL);
                if (i % 3)
                        usleep((useconds_t)random_below(300));
                raw_close(&r);
        }
}

const struct hostile_family hostile_races = { "races",
                                              { { .name = "killed in a fault", .run = killed_in_a_fault },
                                                { .name = "revoked in a fault", .run = revoked_in_a_fault },
                                                { .name = "freed in a move", .run = freed_in_a_move },
                                                { .name = "opened and closed", .run = opened_and_closed },
                                                { .name = "ends without replies", .run = ends_without_replies } } };
