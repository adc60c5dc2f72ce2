/*
 * svmd-keeper is killed. While svmd lives, it starts another one and gives it everything: clients notice nothing, and
 * svmd may be killed afterwards. Where none can be started, svmd goes on alone and says so. When both are gone, the
 * next svmd says what is lost, and clients end cleanly: what they have in host memory stays readable, and a thread that
 * touches what lay on a node waits, before and afterwards; nobody ever reads zeroes.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crew.h"
#include "daemon.h"
#include "harness.h"

enum { ROUNDS = 5, PAGES = 64, OUT = PAGES / 2, SIZE = PAGES * 4096, WORDS = 512, THREADS = 6 };

static struct daemon d;
static svmd_session *watcher;
static char folder[64], program[96]; /* a keeper that can be taken away */

static const char *const options[] = { "--soft-node",
                                       "gpu0:size=128M,faults=on",
                                       "--soft-node",
                                       "gpu1:size=32M,faults=on",
                                       "--max-sessions-per-uid",
                                       "8000",
                                       "--keeper-program",
                                       program,
                                       NULL };

/* ---- findings ---- */

struct finding {
        const char *id;
        int level; /* -1: there is none */
        char text[512];
};

static int find(const char *id, unsigned level, const char *text, void *userdata) {
        struct finding *f = userdata;

        if (strcmp(id, f->id) == 0) {
                f->level = (int)level;
                snprintf(f->text, sizeof(f->text), "%s", text);
        }
        return 0;
}

static struct finding finding(const char *id) {
        struct finding f = { .id = id, .level = -1 };

        ok(svmd_query_findings(watcher, find, &f));
        return f;
}

static void await_finding(const char *id, int level, const char *word) {
        uint64_t until = now_ms() + CEILING_MS;

        for (;;) {
                struct finding f = finding(id);

                if (f.level == level && strstr(f.text, word))
                        return;
                must(now_ms() < until);
                usleep(1000);
        }
}

static void watch_again(void) {
        svmd_disconnect(watcher);
        connect_watcher(&watcher, d.admin);
}

/* ---- another keeper ---- */

static void take_program_away(void) {
        must(unlink(program) == 0);
}

static void put_program_back(void) {
        char command[512];

        snprintf(command, sizeof(command), "cp %s %s", SVMD_KEEPER_PROGRAM, program);
        must(system(command) == 0);
}

static void kill_keepers(unsigned times) {
        for (unsigned i = 1; i <= times; i++) {
                char word[32];

                usleep((useconds_t)random_below(20000));
                daemon_kill_keeper(&d);
                snprintf(word, sizeof(word), "ended %u time", i);
                await_finding("keeper", SVMD_FINDING_NOTE, word);
                daemon_find_keeper(&d);
        }
}

static uint64_t replace_under_load(uint64_t epoch) {
        for (unsigned i = 0; i < ROUNDS; i++) {
                crew_run();
                kill_keepers(1 + (unsigned)random_below(3));
                if (i % 2) {
                        crew_rest();
                        crew_look(epoch, epoch - 1);
                        crew_run();
                }
                daemon_kill(&d);
                daemon_start(&d);
                watch_again();
                must(finding("keeper").level == SVMD_FINDING_GOOD);
                crew_rest();
                epoch++;
                crew_look(epoch, epoch - 1);
        }
        return epoch;
}

static void go_on_alone(uint64_t epoch) {
        struct svmd_status st;

        take_program_away();
        crew_run();
        daemon_kill_keeper(&d);
        await_finding("keeper", SVMD_FINDING_FAILURE, program);
        must(daemon_said(&d, "Sessions and memory will not survive"));
        status_of(watcher, &st);
        must(!st.keeper);
        want(SVMD_E_UNSUPPORTED, svmd_upgrade(watcher, NULL, SVMD_UPGRADE_CHECK));
        crew_rest();
        crew_look(epoch, epoch - 1);
        put_program_back();
}

/* ---- both gone ---- */

static svmd_session *mine;
static volatile uint64_t *words;
static int ends[2]; /* of a pipe */

static struct toucher {
        pthread_t thread;
        unsigned page;
        bool by_kernel; /* in a system call */
        atomic_bool about_to, back;
        uint64_t saw;
} toucher[THREADS];
static unsigned touchers;

static void begin(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = 4096 };
        void *at;

        connect_to(&mine, d.socket, NULL);
        must(pipe(ends) == 0);
        ok(svmd_address_reserve(mine, &at, SIZE, 0, NULL, &o));
        words = at;
        for (unsigned page = 0; page < PAGES; page++)
                words[page * WORDS] = 1000 + page;
        ok(svmd_migrate(mine, NULL, at, OUT * 4096, node_named(mine, "gpu0")));
}

static void *touch(void *userdata) {
        struct toucher *t = userdata;
        volatile uint64_t *word = words + t->page * WORDS;

        atomic_store(&t->about_to, true);
        if (t->by_kernel)
                t->saw = (uint64_t)write(ends[1], (const void *)(uintptr_t)word, 8);
        else
                t->saw = *word;
        atomic_store(&t->back, true);
        return NULL;
}

/* Two threads that touch pages on the node, one of them in a system call. */
static void touch_more(struct message *m) {
        for (unsigned i = 0; i < 2; i++) {
                struct toucher *t = &toucher[touchers];

                t->page = touchers++;
                t->by_kernel = i;
                must(pthread_create(&t->thread, NULL, touch, t) == 0);
                while (!atomic_load(&t->about_to))
                        usleep(100);
        }
        usleep(20000);
}

/* Nobody has come back, and what is in host memory is there. */
static void check_waiting(struct message *m) {
        for (unsigned i = 0; i < touchers; i++)
                if (atomic_load(&toucher[i].back)) {
                        fprintf(stderr, "page %u: %llu\n", toucher[i].page, (unsigned long long)toucher[i].saw);
                        fail_here("a thread did not wait for what lay on a node");
                }
        for (unsigned page = OUT; page < PAGES; page++) {
                must(words[page * WORDS] == 1000 + page);
                words[page * WORDS + 1] = page;
        }
}

static void call(struct message *m) {
        message_take(m, svmd_migrate(mine, NULL, (void *)(uintptr_t)words, SIZE, 0));
}

static void dispatch(struct message *m) {
        int r = 0;

        while (r == 0) {
                r = svmd_dispatch(mine);
                usleep(1000);
        }
        message_take(m, r);
}

/* What has no session any more has no addresses either. */
static void disconnect(struct message *m) {
        const void *out = (const void *)(uintptr_t)words;

        svmd_disconnect(mine);
        must(write(ends[1], out, 8) < 0 && errno == EFAULT);
}

static void lose_both(bool svmd_first, bool record) {
        struct actor waiting, leaving;
        struct message m = { 0 };
        char path[128], word[64];

        actor_new(&waiting, 2001, 3000, 0);
        actor_new(&leaving, 2002, 3000, 0);
        actor_call(&waiting, begin, &m);
        actor_call(&leaving, begin, &m);
        svmd_disconnect(watcher);
        if (svmd_first) {
                daemon_kill(&d);
                actor_call(&waiting, touch_more, &m);
                actor_call(&waiting, check_waiting, &m);
                daemon_kill_keeper(&d);
        } else {
                take_program_away();
                daemon_kill_keeper(&d);
                while (!daemon_said(&d, "Sessions and memory will not survive"))
                        usleep(1000);
                daemon_kill(&d);
                put_program_back();
        }
        actor_call(&waiting, touch_more, &m);
        actor_call(&waiting, check_waiting, &m);
        actor_call(&leaving, dispatch, &m);
        message_want(SVMD_E_GONE, &m);
        must(strlen(m.error) > 10);
        snprintf(path, sizeof(path), "%s/run/svmd.held", d.dir);
        if (!record)
                must(unlink(path) == 0);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
        snprintf(word, sizeof(word), record ? "2 sessions with 0 MiB" : "nobody knows how many sessions");
        must(daemon_said(&d, word));
        await_finding("lost", SVMD_FINDING_WARNING, word);
        actor_call(&waiting, touch_more, &m);
        actor_call(&waiting, check_waiting, &m);
        actor_call(&waiting, call, &m);
        message_want(SVMD_E_GONE, &m);
        actor_call(&leaving, disconnect, &m);
        actor_end(&leaving);
        actor_kill(&waiting);
        daemon_kill(&d);
        daemon_start(&d); /* which has nothing to say */
        watch_again();
        must(finding("lost").level == -1);
}

int main(void) {
        uint64_t epoch;

        harness_begin("system_keeper_gone");
        if (harness_one_user())
                return 0;
        strcpy(folder, "/tmp/svmd-system-keeper-XXXXXX");
        must(mkdtemp(folder));
        snprintf(program, sizeof(program), "%s/svmd-keeper", folder);
        put_program_back();
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        crew_begin(&d, watcher);
        epoch = replace_under_load(1);
        go_on_alone(epoch);
        crew_end();
        daemon_kill(&d);
        daemon_start(&d);
        watch_again();
        lose_both(true, true);
        lose_both(false, true);
        lose_both(true, false);
        svmd_disconnect(watcher);
        daemon_end(&d);
        must(unlink(program) == 0 && rmdir(folder) == 0);
        return 0;
}
