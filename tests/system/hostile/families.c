#include "hostile/families.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "hostile/raw.h"

/* What the families share, and how a case of them runs. */

struct hostile_target target;

static const struct hostile_family *const families[] = {
        &hostile_ids,    &hostile_packets, &hostile_fds,     &hostile_memfd, &hostile_uffd, &hostile_lock,
        &hostile_storms, &hostile_readers, &hostile_replays, &hostile_races, &hostile_exec, &hostile_admin,
};

svmd_session *hostile_session(const char *partition) {
        svmd_session *s;

        connect_to(&s, target.socket, partition);
        return s;
}

volatile char *hostile_range(svmd_session *s, size_t size, const char *name, unsigned mode) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .kind = SVMD_SHARED, .granule = 65536, .name = name, .mode = mode
        };
        void *at;

        ok(svmd_address_reserve(s, &at, size, 0, NULL, &o));
        for (size_t i = 0; i < size; i += 4096)
                ((volatile char *)at)[i] = 1;
        return at;
}

/* ---- a case ---- */

static bool answered(const struct actor *a) {
        struct pollfd p = { .fd = a->socket, .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

/* As far as it gets by itself. */
static bool stands(const struct actor *a) {
        siginfo_t info = { 0 };

        must(waitid(P_PID, (id_t)a->pid, &info, WSTOPPED | WNOHANG) == 0);
        return info.si_pid == a->pid;
}

static void run_case(const struct hostile_family *f, const struct hostile_case *c, const struct hostile_beside *b) {
        uint64_t begun = now_ms();
        struct actor a;

        printf("%s: %s ... ", f->name, c->name);
        fflush(stdout);
        actor_new(&a, b->uid, b->uid, 0);
        actor_begin(&a, c->run, NULL);
        do {
                b->meanwhile();
                must(now_ms() - begun < 2 * CEILING_MS);
        } while (c->stops ? !stands(&a) : !answered(&a));
        if (!c->stops)
                actor_finish(&a, NULL);
        actor_kill(&a);
        printf("%llu ms", (unsigned long long)(now_ms() - begun));
        b->afterwards();
        printf("\n");
}

unsigned hostile_run(const char *family, const struct hostile_beside *b) {
        unsigned run = 0;

        for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
                if (family && strcmp(family, families[i]->name) != 0)
                        continue;
                for (unsigned k = 0; k < FAMILY_CASES; k++, run++)
                        run_case(families[i], &families[i]->cases[k], b);
        }
        return run;
}

/* The user's own partitions come with the first session in each, and stay. */
static void come_once(struct message *m) {
        struct raw r;

        raw_attach(&r, target.socket, "");
        raw_close(&r);
        svmd_disconnect(hostile_session(NULL));
}

void hostile_come(uint32_t uid) {
        struct actor a;

        actor_new(&a, uid, uid, 0);
        actor_call(&a, come_once, &(struct message){ 0 });
        actor_end(&a);
}
