/*
 * svmd is killed at every named point that matters, under clients that work: between the record of a step and the step,
 * the commit and the reply, the reply and the next descriptor for the keeper, within a snapshot, while it takes over
 * from one that was killed, and while it becomes another program. No byte is lost and no client is told.
 *
 *      system_points [POINT]      SVMD_SEED reproduces the choices; SVMD_LONG=1: each point twenty times
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crew.h"
#include "daemon.h"
#include "harness.h"

enum { KEPT_SIZE = 1 << 20, KEPT_WORDS = KEPT_SIZE / 8, ROUNDS_LONG = 20 };

static struct daemon d;
static svmd_session *watcher;
static struct actor owner, mover;
static atomic_bool *stop; /* shared with the actors */
static uint64_t kept_at;
static svmd_node gpu, host;

/* Snapshots come often. */
static const char *const options[] = { "--soft-node",
                                       "gpu0:size=128M,faults=on",
                                       "--soft-node",
                                       "gpu1:size=32M,faults=on",
                                       "--journal-size",
                                       "4M",
                                       "--max-sessions-per-uid",
                                       "8000",
                                       "--log-level",
                                       "warning",
                                       NULL };

/* How many times a point may be passed before: what is rare is taken at its first. */
static const struct {
        const char *name;
        unsigned passes;
} working[] = {
        { "before-commit", 300 },       { "after-commit", 300 },        { "before-put", 5 },
        { "after-put", 5 },             { "before-drops", 300 },        { "before-send", 300 },
        { "after-send", 300 },          { "snapshot", 500 },            { "before-snapshot-end", 1 },
        { "after-snapshot-end", 1 },    { "before-write-protect", 20 }, { "after-write-protect", 20 },
        { "before-copy-out", 20 },      { "after-copy-out", 20 },       { "before-punch-hole", 20 },
        { "after-punch-hole", 20 },     { "before-copy-in", 20 },       { "after-copy-in", 20 },
        { "before-write-back", 3 },     { "after-write-back", 3 },      { "before-continue", 10 },
        { "after-continue", 10 },       { "before-copy-node", 3 },      { "after-copy-node", 3 },
}, starting[] = {
        { "start-listed", 1 },           { "start-file", 3 },         { "start-rejoin", 2 },
        { "start-before-put", 1 },       { "start-after-put", 1 },    { "start-snapshot", 200 },
        { "start-before-snapshot-end", 1 }, { "start-after-snapshot-end", 1 }, { "start-settle", 1 },
        { "start-settled", 1 },
};

/* ---- a range that nobody has open: its pages come in without a payer ---- */

static void kept_make(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .name = "weights", .mode = 0666, .kind = SVMD_SHARED };
        svmd_session *s;
        uint64_t *words;
        void *at;

        connect_to(&s, d.socket, "kept");
        ok(svmd_address_reserve(s, &at, KEPT_SIZE, 0, NULL, &o));
        words = at;
        for (size_t i = 0; i < KEPT_WORDS; i++)
                words[i] = i * 3;
        ok(svmd_keep(s, at, NULL));
        svmd_disconnect(s);
        m->n[0] = (uint64_t)(uintptr_t)at;
}

static void kept_look(struct message *m) {
        svmd_session *s;
        const uint64_t *words;
        void *at;

        connect_to(&s, d.socket, "kept");
        ok(svmd_address_open(s, &at, NULL, "weights", SVMD_ACCESS_READ));
        words = at;
        for (size_t i = 0; i < KEPT_WORDS; i++)
                must(words[i] == i * 3);
        svmd_disconnect(s);
}

static void kept_begin(void) {
        struct svmd_partition_options o = { .size = sizeof(o),
                                            .length = 4ull << 30,
                                            .window = HARNESS_WINDOW,
                                            .mode = 0444,
                                            .has_kept_max = 1,
                                            .kept_max = UINT64_MAX };
        struct message m = { 0 };

        ok(svmd_partition_create(watcher, "kept", &o, NULL));
        gpu = node_named(watcher, "gpu0");
        host = node_named(watcher, "host0");
        stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        must(stop != MAP_FAILED);
        actor_new(&owner, 2001, 3000, 0);
        actor_call(&owner, kept_make, &m);
        kept_at = m.n[0];
        actor_new(&mover, 0, 0, 0);
}

/* Out and in again, by an administrator of its own: who asks waits for the next svmd when one has ended. */
static void move_kept(struct message *m) {
        svmd_session *s;

        connect_watcher(&s, d.admin);
        while (!atomic_load(stop)) {
                int r = svmd_partition_migrate(s, NULL, "kept", kept_at, KEPT_SIZE, gpu);

                if (r != SVMD_E_GONE)
                        r = svmd_partition_migrate(s, NULL, "kept", kept_at, KEPT_SIZE, host);
                if (r == SVMD_E_GONE) {
                        svmd_disconnect(s);
                        connect_watcher(&s, d.admin);
                }
        }
        svmd_disconnect(s);
}

static void run_all(void) {
        atomic_store(stop, false);
        crew_run();
        actor_begin(&mover, move_kept, NULL);
}

static void rest_all(void) {
        atomic_store(stop, true);
        actor_finish(&mover, NULL);
        crew_rest();
}

/* ---- dying ---- */

static void set_point(const char *name, unsigned passes) {
        char count[16];

        snprintf(count, sizeof(count), "%u", passes);
        setenv("SVMD_TEST_POINT", name, 1);
        setenv("SVMD_TEST_COUNT", count, 1);
}

/* The clients have to work before it is passed: for a snapshot, until the journal is full. */
static void await_death(const char *point) {
        uint64_t until = now_ms() + 4 * CEILING_MS;
        int status;

        while (waitpid(d.pid, &status, WNOHANG) != d.pid) {
                if (now_ms() >= until) {
                        fprintf(stderr, "%s\n", point);
                        fail_here("svmd does not pass that point");
                }
                usleep(1000);
        }
        must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        d.pid = 0;
        unsetenv("SVMD_TEST_POINT");
}

static void go_on(void) {
        struct svmd_status st;
        struct message m = { 0 };

        usleep((useconds_t)random_below(5000));
        daemon_start(&d);
        svmd_disconnect(watcher);
        connect_watcher(&watcher, d.admin);
        usleep((useconds_t)random_below(20000));
        rest_all();
        status_of(watcher, &st);
        crew_look(st.epoch, 0);
        actor_call(&owner, kept_look, &m);
}

static void die_working(const char *name, unsigned passes) {
        daemon_kill(&d);
        set_point(name, (unsigned)random_below(passes));
        daemon_start(&d);
        run_all();
        await_death(name);
        go_on();
}

/* One that takes over is killed, and so is the one that takes over from that one. */
static void die_starting(const char *name, unsigned passes) {
        run_all();
        usleep((useconds_t)random_below(20000));
        daemon_kill(&d);
        for (unsigned i = 0; i < 2; i++) {
                set_point(name, (unsigned)random_below(passes));
                daemon_start_killed(&d);
        }
        unsetenv("SVMD_TEST_POINT");
        go_on();
}

static void die_becoming(const char *name, unsigned flags) {
        int r;

        daemon_kill(&d);
        set_point(name, 0);
        daemon_start(&d);
        svmd_disconnect(watcher);
        connect_watcher(&watcher, d.admin);
        run_all();
        usleep((useconds_t)random_below(20000));
        r = svmd_upgrade(watcher, NULL, flags);
        must(r == SVMD_OK || r == SVMD_E_GONE);
        await_death(name);
        go_on();
}

static bool chosen(int argc, char **argv, const char *name) {
        return argc < 2 || strcmp(argv[1], name) == 0;
}

static void every_point(int argc, char **argv) {
        for (size_t i = 0; i < sizeof(working) / sizeof(working[0]); i++)
                if (chosen(argc, argv, working[i].name))
                        die_working(working[i].name, working[i].passes);
        for (size_t i = 0; i < sizeof(starting) / sizeof(starting[0]); i++)
                if (chosen(argc, argv, starting[i].name))
                        die_starting(starting[i].name, starting[i].passes);
        if (chosen(argc, argv, "before-exec"))
                die_becoming("before-exec", 0);
        if (chosen(argc, argv, "begun"))
                die_becoming("begun", 0);
        if (chosen(argc, argv, "before-become"))
                die_becoming("before-become", SVMD_UPGRADE_KEEPER);
}

int main(int argc, char **argv) {
        unsigned rounds = getenv("SVMD_LONG") ? ROUNDS_LONG : 1;

        harness_begin("system_points");
        if (harness_one_user())
                return 0;
        if (rounds > 1)
                alarm(0);
        daemon_use(SVMD_POINTS_PROGRAM);
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        crew_begin(&d, watcher);
        kept_begin();
        for (unsigned i = 0; i < rounds; i++)
                every_point(argc, argv);
        crew_end();
        actor_end(&owner);
        actor_end(&mover);
        ok(svmd_kept_remove(watcher, "kept", SVMD_KEPT_RANGE, "weights"));
        await_settled(watcher, &d, 0, 0);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
