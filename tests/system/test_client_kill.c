/*
 * Clients that are killed at any moment, and clients that do what no client should: what they held is given back to the
 * last byte and descriptor, svmd keeps little for them, and two bystanders of other users, who share a range with them,
 * lose nothing and go on.
 *
 *      system_client_kill [KILLS]     SVMD_SEED reproduces the choices; 100 with SVMD_ALL=1, 1,000 with SVMD_LONG=1
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "churn.h"
#include "daemon.h"
#include "freezer.h"
#include "hammer_oracle.h"
#include "harness.h"

enum {
        BYSTANDERS = 2,
        GRANULE = 64 << 10,
        BOARD = 2 << 20,
        OWN = 1 << 20,
        PAGES = BOARD / 4096,
        WORDS = 512, /* of a page */
        KILLS = 10,
        KILLS_ALL = 100,
        KILLS_LONG = 1000,
        LOOK_EVERY = 10,
        PROGRESS = 300, /* steps that a bystander has to make meanwhile */
#ifdef __SANITIZE_ADDRESS__
        RSS_MOST = 512 << 20, /* it keeps freed memory back */
#else
        RSS_MOST = 64 << 20,
#endif
};

static const char *const options[] = { "--soft-node", "gpu0:size=64M", "--soft-node", "gpu1:size=8M",
                                       "--log-level", "error",         NULL };

/* Shared with the actors. */
struct common {
        atomic_bool stop;
        atomic_ullong steps[BYSTANDERS];
};

static struct daemon d;
static struct common *common;
static svmd_session *watcher;
static struct actor bystander[BYSTANDERS];
static unsigned svmd_fds, keeper_fds;

/* ---- in an actor ---- */

static svmd_session *session;
static uint64_t *board, *own;
static svmd_node gpu[2];
static unsigned number;
static uint64_t written[PAGES];

static void *reserve(const char *name, size_t size) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = name, .mode = 0666, .kind = SVMD_SHARED, .granule = GRANULE
        };
        void *at = NULL;

        ok(svmd_address_reserve(session, &at, size, 0, NULL, &o));
        return at;
}

/* n[0]: number; the first has the board. */
static void come(struct message *m) {
        void *at;

        number = (unsigned)m->n[0];
        connect_to(&session, d.socket, "lab");
        gpu[0] = node_named(session, "gpu0");
        gpu[1] = node_named(session, "gpu1");
        if (number == 0) {
                board = reserve("board", BOARD);
                memset(board, 0, BOARD);
                return;
        }
        ok(svmd_address_open(session, &at, NULL, "board", SVMD_ACCESS_READ_WRITE));
        board = at;
        for (unsigned page = 0; page < PAGES; page++) /* as the client before it left it */
                written[page] = ((volatile uint64_t *)board)[(size_t)page * WORDS + number * 8];
}

static void order(void *at, size_t size) {
        size_t all = size / GRANULE, n = 1 + random_below(all), first = random_below(all - n + 1);
        char *from = (char *)at + first * GRANULE;
        int r = random_below(3) ? svmd_migrate(session, NULL, from, n * GRANULE, gpu[random_below(2)])
                                : svmd_evict(session, NULL, from, n * GRANULE);

        if (r && r != SVMD_E_NO_ROOM && r != SVMD_E_BUSY)
                ok(r);
}

/* Its own word of a page is what was written there last. */
static void step_on_board(void) {
        unsigned page = (unsigned)random_below(PAGES);
        volatile uint64_t *w = (volatile uint64_t *)board + (size_t)page * WORDS + number * 8;

        if (*w != written[page])
                fail_here("a bystander lost a write");
        *w = ++written[page];
}

static void check_board(struct message *m) {
        for (unsigned page = 0; page < PAGES; page++)
                if (((volatile uint64_t *)board)[(size_t)page * WORDS + number * 8] != written[page])
                        fail_here("a bystander lost a write");
}

static void stand_by(struct message *m) {
        while (!atomic_load(&common->stop)) {
                for (unsigned i = 0; i < 8; i++)
                        step_on_board();
                if (random_below(4) == 0)
                        order(board, BOARD);
                atomic_fetch_add(&common->steps[number], 1);
        }
}

/* A range of its own, filled, half of it out, and the board. */
static void settle(void) {
        own = reserve(NULL, OWN);
        for (size_t i = 0; i < OWN / 8; i++)
                own[i] = i;
        ok(svmd_migrate(session, NULL, own, OWN / 2, gpu[0]));
        for (unsigned i = 0; i < 50; i++)
                step_on_board();
}

/* Everything, until it is killed. n[0]: number */
static void live(struct message *m) {
        struct churn c;

        come(m);
        settle();
        churn_begin(&c, session);
        for (;;) {
                churn_step(&c);
                step_on_board();
                if (random_below(8) == 0)
                        order(own, OWN);
                if (random_below(16) == 0)
                        ok(svmd_discard(session, NULL, own, GRANULE));
                if (random_below(32) == 0)
                        order(board, BOARD);
        }
}

/* ---- what no client should do ---- */

static int own_userfaultfd(void) {
        char path[64], target[64];

        for (int fd = 3; fd < 1024; fd++) {
                ssize_t n;

                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                n = readlink(path, target, sizeof(target) - 1);
                if (n > 0 && (target[n] = 0, strstr(target, "[userfaultfd]")))
                        return fd;
        }
        return -1;
}

static void do_unregister(struct message *m) {
        struct uffdio_range r = { (uint64_t)own, OWN };

        must(ioctl(own_userfaultfd(), UFFDIO_UNREGISTER, &r) == 0);
        for (unsigned i = 0; i < 20; i++) {
                order(own, OWN);
                memset(own, (int)i, OWN);
        }
}

/* What fallocate() on the file would do, through the mapping. */
static void do_punch(struct message *m) {
        for (unsigned i = 0; i < 50; i++) {
                order(own, OWN);
                must(madvise(own, OWN, MADV_REMOVE) == 0);
                memset(own, (int)i, OWN / 2);
        }
}

/* A second mapping of the same file, which svmd knows nothing of. */
static void do_map_twice(struct message *m) {
        char *twice = mremap(own, 0, OWN, MREMAP_MAYMOVE);

        must(twice != MAP_FAILED);
        for (unsigned i = 0; i < 50; i++) {
                order(own, OWN);
                memset(twice, (int)i, OWN);
        }
}

/* Every answer stays in its socket. */
static void do_stop_reading(struct message *m) {
        svmd_fence *f;

        for (unsigned i = 0; i < 500; i++)
                ok(svmd_migrate(session, &f, own, OWN, gpu[i % 2]));
        for (;;)
                pause();
}

static void do_exec(struct message *m) {
        execl("/bin/sleep", "sleep", "600", NULL);
        fail_here("no sleep");
}

/* Its userfaultfd and whatever else, and chance decides of sockets: then it lives on. */
static void do_close(struct message *m) {
        for (int fd = 3; fd < 256; fd++) {
                char path[64], target[64];
                ssize_t n;

                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                n = readlink(path, target, sizeof(target) - 1);
                if (n > 0 && (target[n] = 0, !strstr(target, "socket:") || random_below(2)))
                        close(fd);
        }
        for (;;)
                pause();
}

/* ---- in the test ---- */

static void new_client(struct actor *a, unsigned n) {
        struct message m = { .n = { n } };

        actor_new(a, 2001 + n, 3000, 0);
        actor_call(a, come, &m);
}

static void run(void) {
        atomic_store(&common->stop, false);
        for (unsigned i = 0; i < BYSTANDERS; i++)
                actor_begin(&bystander[i], stand_by, NULL);
}

static void rest(void) {
        atomic_store(&common->stop, true);
        for (unsigned i = 0; i < BYSTANDERS; i++)
                actor_finish(&bystander[i], NULL);
}

/* Both go on. */
static void await_progress(void) {
        uint64_t until = now_ms() + CEILING_MS, from[BYSTANDERS];

        for (unsigned i = 0; i < BYSTANDERS; i++)
                from[i] = atomic_load(&common->steps[i]);
        for (unsigned i = 0; i < BYSTANDERS; i++)
                while (atomic_load(&common->steps[i]) < from[i] + PROGRESS) {
                        if (now_ms() >= until)
                                fail_here("a bystander does not go on");
                        usleep(1000);
                }
}

static int add_used(const struct svmd_node_row *row, void *userdata) {
        *(uint64_t *)userdata += row->used;
        return 0;
}

static bool is_given_back(void) {
        struct svmd_status st;
        uint64_t used = 0;

        status_of(watcher, &st);
        ok(svmd_query_nodes(watcher, add_used, &used));
        return st.sessions == BYSTANDERS + 1 && used == BOARD && (!svmd_fds || process_fds(d.pid) == svmd_fds) &&
               (!keeper_fds || process_fds(d.keeper) == keeper_fds);
}

/* Nothing is left of anybody but the bystanders; they rest. */
static void await_given_back(void) {
        uint64_t until = now_ms() + CEILING_MS;

        while (!is_given_back()) {
                if (now_ms() >= until) {
                        struct svmd_status st;

                        status_of(watcher, &st);
                        fprintf(stderr, "%llu sessions; svmd has %u descriptors, not %u; its keeper %u, not %u\n",
                                (unsigned long long)st.sessions, process_fds(d.pid), svmd_fds, process_fds(d.keeper),
                                keeper_fds);
                        oracle_agrees(watcher, &d);
                        fail_here("what a client held is not given back");
                }
                usleep(1000);
        }
        must(oracle_agrees(watcher, &d));
}

static void look(void) {
        rest();
        for (unsigned i = 0; i < BYSTANDERS; i++)
                actor_call(&bystander[i], check_board, &(struct message){ 0 });
        await_given_back();
        run();
}

static void kill_one(void) {
        struct message m = { .n = { BYSTANDERS } };
        struct actor a;

        actor_new(&a, 2001 + BYSTANDERS, 3000, 0);
        actor_begin(&a, live, &m);
        usleep((useconds_t)random_below(random_below(2) ? 60000 : 8000));
        actor_kill(&a);
}

static void settled(struct message *m) {
        settle();
}

/* It could not do what it was to do, and said why. */
static bool has_failed(const struct actor *a) {
        siginfo_t info = { 0 };

        must(waitid(P_PID, (id_t)a->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0);
        return info.si_pid == a->pid && info.si_code == CLD_EXITED;
}

/* One row: a client that does it, in time that may be its last; it is killed then. */
static void misbehave(const char *what, actor_fn fn, bool answers) {
        uint64_t rss = process_rss(d.pid);
        struct message m = { 0 };
        struct actor a;

        new_client(&a, BYSTANDERS);
        actor_call(&a, settled, &(struct message){ 0 });
        if (answers)
                actor_call(&a, fn, &m);
        else
                actor_begin(&a, fn, &m);
        await_progress();
        must(process_rss(d.pid) < rss + RSS_MOST);
        must(!has_failed(&a));
        actor_abandon(&a);
        look();
        printf("%-44s the others went on, all given back\n", what);
}

static void kill_clients(unsigned kills) {
        for (unsigned i = 1; i <= kills; i++) {
                kill_one();
                if (i % LOOK_EVERY == 0 || i == kills)
                        look();
        }
        printf("%u clients killed: all given back\n", kills);
}

/* After that svmd has what it makes when it first needs it: pools, a userfaultfd of its own. */
static void count_descriptors(void) {
        kill_one();
        misbehave("unregisters its userfaultfd", do_unregister, false);
        rest();
        svmd_fds = process_fds_at_rest(d.pid);
        keeper_fds = process_fds_at_rest(d.keeper);
        run();
}

static void check_own(struct message *m) {
        for (size_t i = 0; i < OWN / 8; i++)
                if (((volatile uint64_t *)own)[i] != i)
                        fail_here("a client that was stopped lost what it had");
        check_board(m);
}

static void leave(struct message *m) {
        ok(svmd_address_free(session, own));
        ok(svmd_address_free(session, board));
        svmd_disconnect(session);
}

static unsigned pause_ms(void) {
        return getenv("SVMD_LONG") ? 60000 : getenv("SVMD_ALL") ? 10000 : 1500;
}

/* It comes back and has lost nothing, whatever was done to the range that it shares. */
static void pause_one(const char *what, void (*stop)(pid_t pid), void (*go_on)(pid_t pid)) {
        uint64_t rss = process_rss(d.pid), until = now_ms() + pause_ms();
        struct actor a;

        new_client(&a, BYSTANDERS);
        actor_call(&a, settled, &(struct message){ 0 });
        stop(a.pid);
        do
                await_progress();
        while (now_ms() < until);
        must(process_rss(d.pid) < rss + RSS_MOST);
        go_on(a.pid);
        actor_call(&a, check_own, &(struct message){ 0 });
        actor_call(&a, leave, &(struct message){ 0 });
        actor_end(&a);
        look();
        printf("%-44s the others went on, it lost nothing\n", what);
}

static void signal_stop(pid_t pid) {
        must(kill(pid, SIGSTOP) == 0);
}

static void signal_go_on(pid_t pid) {
        must(kill(pid, SIGCONT) == 0);
}

static void rows(void) {
        misbehave("stops reading", do_stop_reading, false);
        misbehave("unregisters its userfaultfd", do_unregister, false);
        misbehave("punches its memory", do_punch, false);
        misbehave("maps its memory twice", do_map_twice, false);
        misbehave("closes descriptors", do_close, false);
        misbehave("executes another program", do_exec, false);
        pause_one("is stopped by a signal", signal_stop, signal_go_on);
        if (freezer_begin()) {
                pause_one("is frozen", freezer_stop, freezer_go_on);
                freezer_end();
        }
}

int main(int argc, char **argv) {
        unsigned kills = getenv("SVMD_LONG") ? KILLS_LONG : getenv("SVMD_ALL") ? KILLS_ALL : KILLS;
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 8ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };

        harness_begin("system_client_kill");
        if (harness_one_user())
                return 0;
        if (argc > 1)
                kills = (unsigned)strtoul(argv[1], NULL, 0);
        alarm(0); /* every wait has its ceiling */
        common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        must(common != MAP_FAILED);
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        for (unsigned i = 0; i < BYSTANDERS; i++)
                new_client(&bystander[i], i);
        run();
        count_descriptors();
        kill_clients(kills);
        rows();
        rest();
        svmd_disconnect(watcher);
        for (unsigned i = 0; i < BYSTANDERS; i++)
                actor_kill(&bystander[i]);
        daemon_end(&d);
        return 0;
}
