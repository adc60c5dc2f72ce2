/*
 * svmd is killed at any moment while processes write in managed ranges and have them moved, and another one goes on:
 * no write is lost and none comes back, nobody is told, and nothing stays behind.
 *
 *      system_managed_restart [TIMES]     SVMD_SEED reproduces the choices; 1,600 times with SVMD_LONG=1
 *
 * Each writer has two words of its own in every page, and writes the same growing number into both; what it finds is
 * what it left. Readers see numbers that only grow. A word that all add to counts every addition.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum {
        WRITERS = 3,
        READERS = 1,
        ALL = WRITERS + READERS,
        TIMES = 45,
        TIMES_LONG = 1600,
        PAGES = 2048,
        WORDS = 512, /* of a page */
        SIZE = PAGES * 4096,
};

static const unsigned granules[] = { 4 << 10, 64 << 10, 2 << 20 };

static const char *const options[] = { "--soft-node", "gpu0:size=64M,faults=on",
                                       "--soft-node", "gpu1:size=16M,faults=on",
                                       "--log-level", "warning",
                                       NULL };

static struct daemon d;
static struct actor actor[ALL];
static atomic_bool *stop; /* shared with the actors */

/* ---- in an actor ---- */

static svmd_session *session;
static svmd_node gpu[2];
static volatile uint64_t *words;
static unsigned number;
static uint64_t seen[PAGES], others[PAGES], added, written, asked;

static volatile uint64_t *slot(unsigned page, unsigned writer) {
        return words + page * WORDS + writer * 16;
}

/* n[0]: number, n[1]: seed */
static void begin(struct message *m) {
        number = (unsigned)m->n[0];
        random_set(m->n[1]);
        connect_to(&session, d.socket, "lab");
        gpu[0] = node_named(session, "gpu0");
        gpu[1] = node_named(session, "gpu1");
}

/* n[0]: granule; the first one reserves it. */
static void come(struct message *m) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = "board", .mode = 0644, .kind = SVMD_SHARED, .granule = (unsigned)m->n[0]
        };
        void *at = NULL;

        if (number == 0) {
                o.mode = 0666;
                ok(svmd_address_reserve(session, &at, SIZE, 0, NULL, &o));
        } else {
                ok(svmd_address_open(session, &at, NULL, "board",
                                     number < WRITERS ? SVMD_ACCESS_READ_WRITE : SVMD_ACCESS_READ));
        }
        words = at;
        memset(seen, 0, sizeof(seen));
        memset(others, 0, sizeof(others));
        added = 0;
}

static void leave(struct message *m) {
        ok(svmd_address_free(session, (void *)(uintptr_t)words));
}

static void write_page(unsigned page) {
        volatile uint64_t *w = slot(page, number);

        if (w[0] != seen[page] || w[1] != seen[page]) {
                fprintf(stderr, "page %u: %llu and %llu, written was %llu\n", page, (unsigned long long)w[0],
                        (unsigned long long)w[1], (unsigned long long)seen[page]);
                fail_here("a write is lost, or an old one came back");
        }
        w[0] = ++seen[page];
        w[1] = seen[page];
        written++;
}

/* The second word is written last, so read it first. */
static void read_page(unsigned page) {
        const volatile uint64_t *w = slot(page, 0);
        uint64_t second = w[1], first = w[0];

        must(second >= others[page] && first >= second);
        others[page] = second;
}

static void ask_for_a_move(void) {
        unsigned granule = 2 << 20, first = (unsigned)random_below(SIZE / granule);
        const char *at = (const char *)(uintptr_t)words + (size_t)first * granule;
        size_t size = granule * (1 + random_below(SIZE / granule - first));
        int r;

        switch (random_below(4)) {
        case 0: r = svmd_evict(session, NULL, at, size); break;
        case 1: r = svmd_prefetch(session, NULL, at, size, gpu[1]); break;
        default: r = svmd_migrate(session, NULL, at, size, gpu[random_below(2)]);
        }
        asked++;
        if (r != 0 && r != SVMD_E_NO_ROOM && r != SVMD_E_BUSY && r != SVMD_E_INTERRUPTED)
                ok(r);
}

static void work(struct message *m) {
        while (!atomic_load(stop)) {
                unsigned page = (unsigned)random_below(PAGES);

                if (number >= WRITERS) {
                        read_page(page);
                        continue;
                }
                write_page(page);
                if (random_below(4) == 0) {
                        __atomic_fetch_add(words + WORDS - 1, 1, __ATOMIC_SEQ_CST);
                        added++;
                }
                if (random_below(300) == 0)
                        ask_for_a_move();
        }
}

/* -> n[0]: added, n[1]: in the word, n[2]: written, n[3]: asked for */
static void look(struct message *m) {
        for (unsigned page = 0; page < PAGES; page++) {
                if (number < WRITERS)
                        write_page(page);
                else
                        read_page(page);
        }
        m->n[0] = added;
        m->n[1] = words[WORDS - 1];
        m->n[2] = written;
        m->n[3] = asked;
}

/* ---- in the test ---- */

static void run(void) {
        atomic_store(stop, false);
        for (unsigned i = 0; i < ALL; i++)
                actor_begin(&actor[i], work, NULL);
}

static void rest(void) {
        atomic_store(stop, true);
        for (unsigned i = 0; i < ALL; i++)
                actor_finish(&actor[i], NULL);
}

static void look_at_all(uint64_t *ret_written, uint64_t *ret_asked) {
        uint64_t sum = 0, word = 0;

        *ret_written = *ret_asked = 0;
        for (unsigned i = 0; i < ALL; i++) {
                struct message m = { 0 };

                actor_call(&actor[i], look, &m);
                sum += m.n[0];
                word = m.n[1];
                *ret_written += m.n[2];
                *ret_asked += m.n[3];
        }
        must(sum == word);
}

static void restart(void (*end)(struct daemon *d)) {
        run();
        usleep((useconds_t)random_below(20000));
        end(&d);
        usleep((useconds_t)random_below(5000));
        daemon_start(&d);
        usleep((useconds_t)random_below(20000));
        rest();
}

static void begin_actors(void) {
        for (unsigned i = 0; i < ALL; i++) {
                struct message m = { .n = { i, random_below(1ull << 40) } };

                actor_new(&actor[i], 2001 + i, 3000, 0);
                actor_call(&actor[i], begin, &m);
        }
}

static void round_of(unsigned granule, unsigned times) {
        uint64_t written_all = 0, asked_all = 0;
        svmd_session *watcher;

        for (unsigned i = 0; i < ALL; i++) {
                struct message m = { .n = { granule } };

                actor_call(&actor[i], come, &m);
        }
        for (unsigned i = 0; i < times; i++) {
                restart(random_below(4) ? daemon_kill : daemon_stop);
                if (i % 5 == 4 || i == times - 1)
                        look_at_all(&written_all, &asked_all);
        }
        printf("%u KiB: ended %u times, %llu writes, %llu moves asked for\n", granule >> 10, times,
               (unsigned long long)written_all, (unsigned long long)asked_all);
        for (unsigned i = ALL; i-- > 0;)
                actor_call(&actor[i], leave, &(struct message){ 0 });
        connect_watcher(&watcher, d.admin);
        await_settled(watcher, &d, 0, 0);
        svmd_disconnect(watcher);
}

int main(int argc, char **argv) {
        unsigned times = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : getenv("SVMD_LONG") ? TIMES_LONG : TIMES;
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };
        svmd_session *watcher;

        harness_begin("system_managed_restart");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        must(stop != MAP_FAILED);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        svmd_disconnect(watcher);
        begin_actors();
        for (unsigned i = 0; i < 3; i++)
                round_of(granules[i], times / 3);
        for (unsigned i = 0; i < ALL; i++)
                actor_end(&actor[i]);
        daemon_end(&d);
        return 0;
}
