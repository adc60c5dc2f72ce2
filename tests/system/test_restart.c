/*
 * svmd is killed at random points under clients that do random things, stopped and started again, started wrongly, and
 * loses its keeper. A client sees a pause, or the end of a fence as interrupted, and else nothing: every byte and every
 * address is as it was.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "churn.h"
#include "daemon.h"
#include "harness.h"

enum { CLIENTS = 4, KILLS = 50, STOPS = 12, LOOK_EVERY = 5, WORDS = 256 * 1024 / 8 };

static struct daemon d;
static svmd_session *watcher;
static struct actor client[CLIENTS];
static atomic_bool *stop; /* shared with the actors */

static char folder[64], program[96]; /* a keeper that can be taken away */

static const char *const options[] = { "--soft-node",      "gpu0:size=256M", "--soft-node",
                                       "gpu1:size=64M",    "--log-level",    "warning",
                                       "--keeper-program", program,          NULL };

/* ---- in an actor ---- */

static svmd_session *mine;
static struct churn churn;
static uint64_t *board;
static uint64_t board_seed;
static unsigned epochs_seen;
static bool end_expected;

static void on_event(svmd_session *s, const struct svmd_event *e, void *userdata) {
        epochs_seen += e->type == SVMD_EVENT_EPOCH;
        if ((e->type == SVMD_EVENT_END && !end_expected) || e->type == SVMD_EVENT_GONE)
                fail_here(e->type == SVMD_EVENT_END ? e->text : "the board is gone");
}

/* n[0]: which client. The first has a board, which the others open. */
static void client_begin(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .name = "board", .mode = 0666 };
        size_t size;
        svmd_mem mem;
        void *at;

        connect_to(&mine, d.socket, "lab");
        ok(svmd_set_event_handler(mine, on_event, NULL));
        churn_begin(&churn, mine);
        if (m->n[0] == 0) {
                ok(svmd_address_reserve(mine, &at, WORDS * 8, 0, NULL, &o));
                ok(svmd_mem_create(mine, &mem, WORDS * 8, churn.host, SVMD_MEM_SHAREABLE));
                ok(svmd_mem_map(mine, SVMD_CPU, (uint64_t)at, WORDS * 8, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
                board = at;
                for (size_t i = 0; i < WORDS; i++)
                        board[i] = m->n[1] + i;
        } else {
                ok(svmd_address_open(mine, &at, &size, "board", SVMD_ACCESS_READ));
                board = at;
                must(size == WORDS * 8);
        }
        board_seed = m->n[1];
}

static void client_churn(struct message *m) {
        while (!atomic_load(stop))
                churn_step(&churn);
}

static void client_check(struct message *m) {
        const volatile uint64_t *p = board;
        struct svmd_session_info info = { .size = sizeof(info) };
        struct svmd_status st;

        churn_check(&churn);
        status_of(mine, &st); /* whatever svmd had to say came before its answer */
        for (size_t i = 0; i < WORDS; i++)
                must(p[i] == board_seed + i);
        ok(svmd_session_info(mine, &info));
        m->n[0] = churn.steps;
        m->n[1] = churn.fences;
        m->n[2] = churn.interrupted;
        m->n[3] = epochs_seen;
        m->n[4] = info.epoch;
        m->n[5] = info.base;
        m->n[6] = info.id;
}

static void client_end(struct message *m) {
        churn_end(&churn);
        svmd_disconnect(mine);
}

/* What svmd_address_reserve() gives once svmd is gone for good. */
static void client_until_gone(struct message *m) {
        int r = 0;

        end_expected = true;
        while (!r) {
                void *at;

                r = svmd_address_reserve(mine, &at, 4096, 0, NULL, NULL);
                if (!r)
                        r = svmd_address_free(mine, at);
        }
        message_take(m, r);
}

/* A fence that waits for what never comes. */
static void client_wait_gone(struct message *m) {
        end_expected = true;
        message_take(m, svmd_dispatch(mine));
        while (!m->r) {
                usleep(1000);
                message_take(m, svmd_dispatch(mine));
        }
}

/* ---- the test's side ---- */

static void watch(void) {
        connect_watcher(&watcher, d.admin);
}

static void unwatch(void) {
        svmd_disconnect(watcher);
}

static void begin_clients(void) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 16ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };
        uint64_t seed = random_below(1ull << 40);

        watch();
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        unwatch();
        for (unsigned i = 0; i < CLIENTS; i++) {
                struct message m = { .n = { i, seed } };

                actor_new(&client[i], 2001 + i % 2, 3000, 0);
                actor_call(&client[i], client_begin, &m);
        }
}

static void run_clients(void) {
        atomic_store(stop, false);
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_begin(&client[i], client_churn, NULL);
}

static void rest_clients(void) {
        atomic_store(stop, true);
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_finish(&client[i], NULL);
}

/* Everything at rest is looked at, from inside and from outside. */
static void look(unsigned restarts, struct message *ret) {
        uint64_t base = 0;

        memset(ret, 0, CLIENTS * sizeof(*ret));
        for (unsigned i = 0; i < CLIENTS; i++) {
                actor_call(&client[i], client_check, &ret[i]);
                must(!base || ret[i].n[5] == base);
                base = ret[i].n[5];
                must(ret[i].n[4] == restarts + 1);
        }
        watch();
        await_settled(watcher, &d, 0, 0);
        unwatch();
}

static void say(const char *what, const struct message *m) {
        uint64_t steps = 0, fences = 0, interrupted = 0;

        for (unsigned i = 0; i < CLIENTS; i++) {
                steps += m[i].n[0];
                fences += m[i].n[1];
                interrupted += m[i].n[2];
        }
        printf("%s: %llu steps, %llu fences, %llu of them interrupted\n", what, (unsigned long long)steps,
               (unsigned long long)fences, (unsigned long long)interrupted);
}

static unsigned restart_under_load(unsigned restarts, unsigned times, void (*end)(struct daemon *d)) {
        struct message m[CLIENTS];

        for (unsigned i = 0; i < times; i++) {
                run_clients();
                usleep((useconds_t)random_below(15000));
                end(&d);
                usleep((useconds_t)random_below(5000));
                daemon_start(&d);
                restarts++;
                usleep((useconds_t)random_below(5000));
                rest_clients();
                if (i % LOOK_EVERY == 0 || i == times - 1)
                        look(restarts, m);
        }
        say(end == daemon_kill ? "killed" : "stopped", m);
        return restarts;
}

/* Refused with a sentence that names what is wrong; nothing is lost by it. */
static void refuse(const char *const *wrong, const char *word) {
        char said[4096];

        daemon_start_wrong(&d, wrong, said, sizeof(said));
        if (!strstr(said, word) || strstr(said, "Invalid argument")) {
                fprintf(stderr, "svmd said: %s", said);
                fail_here("the sentence does not name what is wrong");
        }
}

static unsigned start_wrongly(unsigned restarts) {
        static const char *const typo[] = { "--sofd-node", "gpu0:size=256M", NULL };
        static const char *const none[] = { NULL };
        static const char *const smaller[] = { "--soft-node", "gpu0:size=128M", "--soft-node", "gpu1:size=64M", NULL };
        static const char *const order[] = { "--soft-node", "gpu1:size=64M", "--soft-node", "gpu0:size=256M", NULL };
        static const char *const more[] = { "--soft-node", "gpu2:size=64M", "--soft-node", "gpu0:size=256M",
                                            "--soft-node", "gpu1:size=64M", NULL };
        struct message m[CLIENTS];

        refuse(options, "svmd"); /* beside the one that runs */
        look(restarts, m);
        daemon_kill(&d);
        refuse(typo, "--soft-node");
        refuse(none, "gpu0");
        refuse(smaller, "gpu0");
        refuse(order, "gpu1");
        refuse(more, "gpu2");
        daemon_start(&d);
        look(restarts + 1, m);
        return restarts + 1;
}

static void give_all_back(void) {
        struct message m = { 0 };
        struct ledger l;

        for (unsigned i = CLIENTS; i-- > 0;) {
                actor_call(&client[i], client_end, &m);
                actor_end(&client[i]);
        }
        watch();
        await_settled(watcher, &d, 0, 0);
        ledger_read(watcher, &l);
        must(l.host == 0 && l.soft[0] == 0 && l.soft[1] == 0);
        unwatch();
}

/* ---- the keeper ---- */

static int find_keeper(const char *id, unsigned level, const char *text, void *userdata) {
        if (strcmp(id, "keeper") == 0)
                *(unsigned *)userdata = level;
        return 0;
}

static void keeper_finding(unsigned level) {
        uint64_t until = now_ms() + CEILING_MS;
        unsigned found = 99;

        while (found != level) {
                must(now_ms() < until);
                ok(svmd_query_findings(watcher, find_keeper, &found));
                usleep(1000);
        }
}

/* The sessions go on, new ones come; only svmd's own end is theirs now, and says so. */
static void lose_keeper(void) {
        struct svmd_partition_options o = { .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW };
        struct message m = { 0 };
        struct svmd_status st;

        watch();
        keeper_finding(SVMD_FINDING_GOOD);
        must(unlink(program) == 0); /* or svmd would start another one */
        daemon_kill_keeper(&d);
        keeper_finding(SVMD_FINDING_FAILURE);
        status_of(watcher, &st);
        must(!st.keeper);
        run_clients();
        usleep(50000);
        rest_clients();
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_call(&client[i], client_check, &m);
        ok(svmd_partition_create(watcher, "other", &o, NULL));
        await_settled(watcher, &d, 0, 0);
        unwatch();
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_begin(&client[i], i % 2 ? client_until_gone : client_wait_gone, NULL);
        usleep(20000);
        daemon_kill(&d);
        for (unsigned i = 0; i < CLIENTS; i++) {
                actor_finish(&client[i], &m);
                message_want(SVMD_E_GONE, &m);
                must(strlen(m.error) > 10);
        }
}

/* The other order: nobody serves, and then nobody holds. */
static void lose_both(void) {
        struct message m = { 0 };

        daemon_kill(&d);
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_begin(&client[i], i % 2 ? client_until_gone : client_wait_gone, NULL);
        usleep(20000);
        daemon_kill_keeper(&d);
        for (unsigned i = 0; i < CLIENTS; i++) {
                actor_finish(&client[i], &m);
                message_want(SVMD_E_GONE, &m);
                must(strlen(m.error) > 10);
        }
}

static void end_clients(void) {
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_end(&client[i]);
}

static void make_program(void) {
        char command[256];

        snprintf(command, sizeof(command), "cp %s %s", SVMD_KEEPER_PROGRAM, program);
        must(system(command) == 0);
}

/* The partitions are in the store; what they held is gone, and given back. */
static void start_after_loss(void) {
        struct ledger l;
        svmd_session *s;
        size_t size;
        void *at;

        daemon_start(&d);
        watch();
        ledger_read(watcher, &l);
        must(l.host == 0 && l.soft[0] == 0);
        must(ledger_is_true(watcher, &d));
        ok(try_connect(&s, d.socket, "lab", 0));
        want(SVMD_E_NO_SUCH, svmd_address_open(s, &at, &size, "board", SVMD_ACCESS_READ));
        svmd_disconnect(s);
        ok(svmd_partition_delete(watcher, "lab", SVMD_DELETE_END_SESSIONS, 0));
        unwatch();
}

int main(void) {
        unsigned restarts = 0;

        harness_begin("system_restart");
        harness_one_user();
        stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        must(stop != MAP_FAILED);
        strcpy(folder, "/tmp/svmd-system-keeper-XXXXXX");
        must(mkdtemp(folder));
        snprintf(program, sizeof(program), "%s/svmd-keeper", folder);
        make_program();
        daemon_new(&d, options);
        begin_clients();
        restarts = restart_under_load(restarts, KILLS, daemon_kill);
        restarts = restart_under_load(restarts, STOPS, daemon_stop);
        start_wrongly(restarts);
        give_all_back();
        watch();
        ok(svmd_partition_delete(watcher, "lab", SVMD_DELETE_END_SESSIONS, 0));
        unwatch();

        begin_clients();
        lose_keeper();
        end_clients();
        make_program();
        start_after_loss();
        begin_clients();
        lose_both();
        end_clients();
        start_after_loss();
        daemon_end(&d);
        must(unlink(program) == 0 && rmdir(folder) == 0);
        return 0;
}
