/*
 * svmd and its keeper become other programs while clients work: explicit memory that the CPU and a device see, managed
 * memory that moves, a crowd of idle sessions. The processes stay, and clients see a pause and nothing else. A program
 * that cannot take over is refused and changes nothing; one that cannot be begun leaves the old one serving.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "churn.h"
#include "daemon.h"
#include "harness.h"

enum {
        CHURNERS = 2,
        WRITERS = 3,
        CROWD = CHURNERS + WRITERS, /* the actor that has the idle sessions */
        ALL,
        IDLE = 200,
        TIMES = 24,
        PAGES = 1024,
        WORDS = 512, /* of a page */
        SIZE = PAGES * 4096,
};

static struct daemon d;
static svmd_session *watcher;
static struct actor actor[ALL];
static atomic_bool *stop; /* shared with the actors */
static char other[128];   /* a folder with the same programs */

static const char *const options[] = { "--soft-node",
                                       "gpu0:size=128M,faults=on",
                                       "--soft-node",
                                       "gpu1:size=32M,faults=on",
                                       "--max-sessions-per-uid",
                                       "8000",
                                       NULL };

/* ---- in an actor ---- */

static svmd_session *mine;
static unsigned epochs_seen;

static void on_event(svmd_session *s, const struct svmd_event *e, void *userdata) {
        epochs_seen += e->type == SVMD_EVENT_EPOCH;
        if (e->type == SVMD_EVENT_END || e->type == SVMD_EVENT_GONE)
                fail_here(e->type == SVMD_EVENT_END ? e->text : "a reservation is gone");
}

static void begin(void) {
        connect_to(&mine, d.socket, "lab");
        ok(svmd_set_event_handler(mine, on_event, NULL));
}

/* Whatever svmd had to say came before its answer. -> n[0]: the epoch, n[1]: how many were announced */
static void tell(struct message *m) {
        struct svmd_session_info info = { .size = sizeof(info) };
        struct svmd_status st;

        status_of(mine, &st);
        ok(svmd_session_info(mine, &info));
        m->n[0] = info.epoch;
        m->n[1] = epochs_seen;
}

static struct churn churn;

static void churner_begin(struct message *m) {
        begin();
        churn_begin(&churn, mine);
}

static void churner_work(struct message *m) {
        while (!atomic_load(stop))
                churn_step(&churn);
}

static void churner_look(struct message *m) {
        churn_check(&churn);
        tell(m);
}

static void churner_end(struct message *m) {
        churn_end(&churn);
        svmd_disconnect(mine);
}

static volatile uint64_t *words;
static unsigned number;
static uint64_t written[PAGES];

/* n[0]: number; the first one reserves what all write in, each a word of its own in every page. */
static void writer_begin(struct message *m) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = "board", .mode = 0666, .kind = SVMD_SHARED, .granule = 65536
        };
        void *at = NULL;

        begin();
        number = (unsigned)m->n[0];
        if (number == 0)
                ok(svmd_address_reserve(mine, &at, SIZE, 0, NULL, &o));
        else
                ok(svmd_address_open(mine, &at, NULL, "board", SVMD_ACCESS_READ_WRITE));
        words = at;
}

static void write_page(unsigned page) {
        volatile uint64_t *w = words + page * WORDS + number * 8;

        must(*w == written[page]);
        *w = ++written[page];
}

static void ask_for_a_move(void) {
        size_t first = random_below(SIZE >> 16), count = 1 + random_below((SIZE >> 16) - first);
        svmd_node to = node_named(mine, random_below(2) ? "gpu0" : "gpu1");
        int r = svmd_migrate(mine, NULL, (char *)(uintptr_t)words + (first << 16), count << 16, to);

        if (r != SVMD_E_NO_ROOM && r != SVMD_E_BUSY && r != SVMD_E_INTERRUPTED)
                ok(r);
}

static void writer_work(struct message *m) {
        while (!atomic_load(stop)) {
                write_page((unsigned)random_below(PAGES));
                if (random_below(300) == 0)
                        ask_for_a_move();
        }
}

static void writer_look(struct message *m) {
        for (unsigned page = 0; page < PAGES; page++)
                write_page(page);
        tell(m);
}

static void writer_end(struct message *m) {
        ok(svmd_address_free(mine, (void *)(uintptr_t)words));
        svmd_disconnect(mine);
}

static svmd_session *idle[IDLE];

static void crowd_begin(struct message *m) {
        for (unsigned i = 0; i < IDLE; i++) {
                connect_to(&idle[i], d.socket, "lab");
                ok(svmd_set_event_handler(idle[i], on_event, NULL));
        }
        mine = idle[0];
}

static void crowd_work(struct message *m) {
        while (!atomic_load(stop))
                usleep(1000);
}

static void crowd_look(struct message *m) {
        for (unsigned i = 0; i < IDLE; i++) {
                struct svmd_session_info info = { .size = sizeof(info) };
                struct svmd_status st;

                status_of(idle[i], &st);
                ok(svmd_session_info(idle[i], &info));
                must(info.epoch == st.epoch);
        }
        epochs_seen = 0;
        tell(m);
}

static void crowd_end(struct message *m) {
        for (unsigned i = 0; i < IDLE; i++)
                svmd_disconnect(idle[i]);
}

static const struct {
        actor_fn begin, work, look, end;
} kinds[] = { { churner_begin, churner_work, churner_look, churner_end },
              { writer_begin, writer_work, writer_look, writer_end },
              { crowd_begin, crowd_work, crowd_look, crowd_end } };

static unsigned kind_of(unsigned i) {
        return i < CHURNERS ? 0 : i < CROWD ? 1 : 2;
}

/* ---- in the test ---- */

static void run(void) {
        atomic_store(stop, false);
        for (unsigned i = 0; i < ALL; i++)
                actor_begin(&actor[i], kinds[kind_of(i)].work, NULL);
}

static void rest(void) {
        atomic_store(stop, true);
        for (unsigned i = 0; i < ALL; i++)
                actor_finish(&actor[i], NULL);
}

/* Every byte is looked at, and everybody has seen the same svmds. */
static void look(uint64_t epoch) {
        for (unsigned i = 0; i < ALL; i++) {
                struct message m = { 0 };

                actor_call(&actor[i], kinds[kind_of(i)].look, &m);
                must(m.n[0] == epoch);
                must(kind_of(i) == 2 || m.n[1] == epoch - 1);
        }
}

static uint64_t epoch_now(void) {
        struct svmd_status st;

        status_of(watcher, &st);
        must(st.pid == (uint32_t)d.pid);
        return st.epoch;
}

static void watch_again(void) {
        svmd_disconnect(watcher);
        connect_watcher(&watcher, d.admin);
}

static void runs_program(pid_t pid, const char *folder, const char *name) {
        char path[64], target[256], expected[256];
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/exe", pid);
        n = readlink(path, target, sizeof(target) - 1);
        must(n > 0);
        target[n] = 0;
        snprintf(expected, sizeof(expected), "%s/%s", folder, name);
        must(strcmp(target, expected) == 0);
}

static void copy_program(const char *from, const char *name) {
        char command[512];

        snprintf(command, sizeof(command), "cp %s %s/%s", from, other, name);
        must(system(command) == 0);
}

/* A program of its own, of these lines; REAL in them is svmd. */
static void write_script(const char *name, const char *lines, char *ret_path, size_t size) {
        FILE *f;

        snprintf(ret_path, size, "%s/%s", other, name);
        f = fopen(ret_path, "we");
        must(f);
        fprintf(f, "#!/bin/sh\nREAL=%s/svmd\nKEEPER=%s/svmd-keeper\n%s\n", other, other, lines);
        must(fclose(f) == 0 && chmod(ret_path, 0755) == 0);
}

/* As what is installed, and as what lies elsewhere, with the keeper and without. */
static void upgrade_under_load(void) {
        unsigned svmd_fds = 0, keeper_fds = 0;
        uint64_t epoch = epoch_now();

        for (unsigned i = 0; i < TIMES; i++) {
                bool elsewhere = random_below(2), keeper = i % 3 == 1;
                char path[256];

                snprintf(path, sizeof(path), "%s/svmd", other);
                run();
                usleep((useconds_t)random_below(20000));
                ok(svmd_upgrade(watcher, elsewhere ? path : NULL, keeper ? SVMD_UPGRADE_KEEPER : 0));
                watch_again();
                must(epoch_now() == ++epoch);
                usleep((useconds_t)random_below(20000));
                rest();
                if (elsewhere)
                        runs_program(d.pid, other, "svmd");
                if (elsewhere && keeper)
                        runs_program(d.keeper, other, "svmd-keeper");
                look(epoch);
                /* What one program leaves open by mistake, the next one has too. */
                if (i == 1) {
                        svmd_fds = process_fds_at_rest(d.pid);
                        keeper_fds = process_fds_at_rest(d.keeper);
                }
        }
        must(process_fds_at_rest(d.pid) <= svmd_fds + 8 && process_fds_at_rest(d.keeper) <= keeper_fds + 8);
        printf("%u upgrades, epoch %llu\n", TIMES, (unsigned long long)epoch);
}

static void refused(const char *binary, unsigned flags, const char *word) {
        uint64_t epoch = epoch_now();
        int r = svmd_upgrade(watcher, binary, flags);

        if (r == SVMD_OK || !strstr(svmd_error(), word)) {
                fprintf(stderr, "%s: %d, %s\n", binary, r, svmd_error());
                fail_here("it was not refused, or the sentence does not name what is wrong");
        }
        must(epoch_now() == epoch);
}

static void refuse_programs(void) {
        static const struct {
                const char *name, *lines, *word;
        } wrong[] = {
                { "silent", "exit 0", "does not say" },
                { "bad", "echo 'x.conf:3: there is no key' >&2; exit 2", "x.conf:3" },
                { "old-journal", "$REAL \"$@\" | sed 's/^journal .*/journal 7 8/'", "journals of format" },
                { "old-effects", "$REAL \"$@\" | sed 's/^effects .*/effects 3/'", "older" },
                { "old-ranges", "$REAL \"$@\" | sed 's/^ranges .*/ranges 0/'", "managed ranges" },
                { "old-store", "$REAL \"$@\" | sed 's/^store .*/store 0/'", "state.db" },
                { "elsewhere", "$REAL \"$@\" --runtime-dir /run/elsewhere", "/run" },
                { "node-gone", "$REAL \"$@\" | grep -v gpu1", "gpu1" },
                { "node-grown", "$REAL \"$@\" | sed 's/33554432/67108864/'", "gpu1" },
                { "crashed", "$REAL \"$@\"; kill -9 $$", "cannot take over" },
        };
        char path[256];

        run();
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                write_script(wrong[i].name, wrong[i].lines, path, sizeof(path));
                refused(path, 0, wrong[i].word);
                refused(path, SVMD_UPGRADE_CHECK, wrong[i].word);
        }
        refused("/nowhere/svmd", 0, "/nowhere/svmd");
        refused("svmd", 0, "begins with /");
        rest();
        look(epoch_now());
}

/* It may take over, and then there is nothing to begin. */
static void fail_to_begin(void) {
        uint64_t epoch = epoch_now();
        char path[256];

        write_script("vanishes", "$REAL \"$@\"; rm -f \"$0\"", path, sizeof(path));
        run();
        usleep((useconds_t)random_below(20000));
        ok(svmd_upgrade(watcher, path, 0));
        must(epoch_now() == epoch); /* the same connection, and the same svmd */
        must(daemon_said(&d, "cannot become"));
        rest();
        look(epoch);
}

/* The keeper's program has to be one that can be begun from a descriptor: a script cannot. Nor does svmd change then.
 */
static void fail_to_begin_keeper(void) {
        uint64_t epoch = epoch_now();
        char folder[160], path[256];

        snprintf(folder, sizeof(folder), "%s/script", other);
        must(mkdir(folder, 0755) == 0);
        write_script("script/svmd-keeper", "exec $KEEPER \"$@\"", path, sizeof(path));
        write_script("script/svmd", "exec $REAL \"$@\"", path, sizeof(path));
        run();
        refused(path, SVMD_UPGRADE_KEEPER, "svmd-keeper cannot become");
        rest();
        look(epoch);
        runs_program(d.keeper, other, "svmd-keeper");
}

/* It may take over, is begun, and ends: to clients that is a killed svmd, and the next one has everything. */
static void end_at_once(void) {
        uint64_t epoch = epoch_now();
        char path[256];
        int status;

        write_script("ends", "case \"$*\" in *check-takeover*) exec $REAL \"$@\";; esac; exit 1", path, sizeof(path));
        run();
        ok(svmd_upgrade(watcher, path, 0));
        must(wait_end(d.pid, &status));
        d.pid = 0;
        usleep(20000);
        daemon_start(&d);
        watch_again();
        must(epoch_now() == epoch + 1);
        rest();
        look(epoch + 1);
}

/* Whoever may not choose programs may still have the installed one taken. */
static void check_rights(void) {
        svmd_session *s;
        char path[256];

        snprintf(path, sizeof(path), "%s/svmd", other);
        ok(try_connect(&s, d.socket, NULL, SVMD_CONNECT_NO_ATTACH));
        want(SVMD_E_DENIED, svmd_upgrade(s, path, SVMD_UPGRADE_CHECK));
        want(SVMD_E_DENIED, svmd_upgrade(s, NULL, SVMD_UPGRADE_CHECK));
        svmd_disconnect(s);
        ok(svmd_upgrade(watcher, NULL, SVMD_UPGRADE_CHECK | SVMD_UPGRADE_KEEPER));
        want(SVMD_E_INVALID, svmd_upgrade(watcher, NULL, 8));
}

static void begin_all(void) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 16ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };

        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        for (unsigned i = 0; i < ALL; i++) {
                struct message m = { .n = { i < CHURNERS ? i : i - CHURNERS } };

                actor_new(&actor[i], 2001 + i % 2, 3000, 0);
                actor_call(&actor[i], kinds[kind_of(i)].begin, &m);
        }
}

static void end_all(void) {
        for (unsigned i = ALL; i-- > 0;) {
                actor_call(&actor[i], kinds[kind_of(i)].end, &(struct message){ 0 });
                actor_end(&actor[i]);
        }
        await_settled(watcher, &d, 0, 0);
        svmd_disconnect(watcher);
}

int main(void) {
        harness_begin("system_upgrade");
        if (harness_one_user())
                return 0;
        stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        must(stop != MAP_FAILED);
        daemon_new(&d, options);
        snprintf(other, sizeof(other), "%s/other", d.dir);
        must(mkdir(other, 0755) == 0);
        copy_program(SVMD_PROGRAM, "svmd");
        copy_program(SVMD_KEEPER_PROGRAM, "svmd-keeper");
        begin_all();
        check_rights();
        upgrade_under_load();
        refuse_programs();
        fail_to_begin();
        fail_to_begin_keeper();
        end_at_once();
        end_all();
        daemon_end(&d);
        return 0;
}
