/*
 * Threads count in every page of a block, each in a word of its own, while the block is adopted and given back again
 * and again, its pages are moved to a device and back, the device counts in words of its own, and svmd is killed. A
 * word that is not what its thread left there is a lost write.
 *
 *      system_adopted_model [ROUNDS [KILLS]]      SVMD_SEED reproduces the choices; SVMD_LONG=1: thirty times as many
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { ROUNDS = 40, KILLS = 12, PAGE = 4096, PAGES = 300, THREADS = 3, WORDS = PAGE / 8 };

static struct daemon d;
static svmd_session *s;
static svmd_node gpu;
static uint64_t *block;
static atomic_bool enough, over;
static atomic_ullong writes, cycles, away;
static uint64_t left[THREADS][PAGES];

static uint64_t *word(unsigned thread, unsigned page) {
        return block + (size_t)page * WORDS + 1 + thread * 70;
}

static void check(unsigned thread, unsigned page) {
        uint64_t is = __atomic_load_n(word(thread, page), __ATOMIC_RELAXED);

        if (is == left[thread][page])
                return;
        fprintf(stderr, "thread %u, page %u: %llu is there, %llu was written last\n", thread, page,
                (unsigned long long)is, (unsigned long long)left[thread][page]);
        fail_here("a write was lost");
}

/* A thread's own numbers. */
static uint64_t next(uint64_t *x) {
        *x ^= *x << 13;
        *x ^= *x >> 7;
        *x ^= *x << 17;
        return *x;
}

static void *count(void *userdata) {
        unsigned thread = (unsigned)(uintptr_t)userdata;
        uint64_t x = random_seed_for(thread + 1) | 1;

        while (!atomic_load(&over)) {
                unsigned page;

                page = (unsigned)(next(&x) % PAGES);
                check(thread, page);
                __atomic_store_n(word(thread, page), ++left[thread][page], __ATOMIC_RELAXED);
                atomic_fetch_add(&writes, 1);
        }
        return NULL;
}

/* ---- what is done to it ---- */

static uint64_t order;

static uint64_t below(uint64_t bound) {
        return next(&order) % bound;
}

static struct {
        svmd_mem mem;
        uint64_t first, count; /* pages */
        uint64_t granule;      /* in pages */
} part;

static void adopt_some(void) {
        struct svmd_register_options o = { .size = sizeof(o), .mode = SVMD_REGISTER_ADOPTED };
        struct svmd_address_info info = { .size = sizeof(info) };

        part.first = below(PAGES);
        part.count = 1 + below(PAGES - part.first);
        ok(svmd_register(s, &part.mem, NULL, (char *)block + part.first * PAGE, part.count * PAGE, &o));
        ok(svmd_address_query(s, (char *)block + part.first * PAGE, &info));
        part.granule = info.granule / PAGE;
}

static int note_away(const struct svmd_residency_row *row, void *userdata) {
        if (row->node == gpu)
                atomic_fetch_add(&away, row->length / PAGE);
        return 0;
}

static void move_some(void) {
        uint64_t granules = part.count / part.granule, at = below(granules);
        uint64_t first = at * part.granule, n = (1 + below(granules - at)) * part.granule;
        int r = svmd_prefetch(s, NULL, (char *)block + (part.first + first) * PAGE, n * PAGE, gpu);

        if (r != SVMD_E_BUSY && r != SVMD_E_INTERRUPTED)
                ok(r);
        ok(svmd_query_residency(s, NULL, (uint64_t)(block + part.first * WORDS), part.count * PAGE, 0, note_away,
                                NULL));
        usleep((useconds_t)below(3000));
}

/* Who makes the calls may find svmd gone in any of them, and waits for the next. */
static void *cycle(void *userdata) {
        unsigned rounds = *(unsigned *)userdata;

        for (unsigned i = 0; i < rounds || !atomic_load(&enough); i++) {
                unsigned moves = (unsigned)below(4);

                adopt_some();
                while (moves--)
                        move_some();
                ok(svmd_unregister(s, part.mem));
                atomic_fetch_add(&cycles, 1);
        }
        atomic_store(&over, true);
        return NULL;
}

/* ---- svmd ends ---- */

static void kill_often(unsigned kills) {
        for (unsigned i = 0; i < kills; i++) {
                usleep((useconds_t)random_below(60000));
                daemon_kill(&d);
                usleep((useconds_t)random_below(3000));
                daemon_start(&d);
        }
}

/* What svmd does for it, and what it does then; points.c has them. */
static const struct {
        const char *name;
        unsigned passes;
} points[] = {
        { "before-adopt", 5 }, { "after-adopt", 5 }, { "before-join", 5 },      { "after-join", 5 },
        { "before-leave", 5 }, { "after-leave", 5 }, { "before-return", 5 },    { "after-return", 5 },
        { "before-put", 10 },  { "after-put", 10 },  { "before-commit", 60 },   { "after-commit", 60 },
        { "before-send", 60 }, { "after-send", 60 }, { "before-continue", 20 }, { "after-continue", 20 },
};

static void await_death(const char *point) {
        uint64_t until = now_ms() + CEILING_MS;
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
}

static void die_at(const char *point, unsigned passes) {
        char count[16];

        snprintf(count, sizeof(count), "%u", (unsigned)random_below(passes));
        setenv("SVMD_TEST_POINT", point, 1);
        setenv("SVMD_TEST_COUNT", count, 1);
        daemon_kill(&d);
        daemon_start(&d);
        await_death(point);
        unsetenv("SVMD_TEST_POINT");
        daemon_start(&d);
}

int main(int argc, char **argv) {
        static const char *const options[] = { "--soft-node", "gpu0:size=64M,faults=on", "--log-level", "warning",
                                               NULL };
        unsigned scale = getenv("SVMD_LONG") ? 30 : 1;
        unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : ROUNDS * scale;
        unsigned kills = argc > 2 ? (unsigned)atoi(argv[2]) : KILLS * scale;
        pthread_t threads[THREADS], cycler;

        harness_begin("system_adopted_model");
        daemon_use(SVMD_POINTS_PROGRAM);
        daemon_new(&d, options);
        connect_to(&s, d.socket, NULL);
        gpu = node_named(s, "gpu0");
        block = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(block != MAP_FAILED);
        order = random_seed_for(THREADS + 1) | 1;
        for (uintptr_t t = 0; t < THREADS; t++)
                must(pthread_create(&threads[t], NULL, count, (void *)t) == 0);
        must(pthread_create(&cycler, NULL, cycle, &rounds) == 0);
        kill_often(kills);
        for (unsigned i = 0; i < scale * sizeof(points) / sizeof(points[0]); i++)
                die_at(points[i / scale].name, points[i / scale].passes);
        atomic_store(&enough, true);
        pthread_join(cycler, NULL);
        for (unsigned t = 0; t < THREADS; t++)
                pthread_join(threads[t], NULL);
        for (unsigned t = 0; t < THREADS; t++)
                for (unsigned p = 0; p < PAGES; p++)
                        check(t, p);
        printf("%llu writes, %llu times adopted, %llu pages seen on the device\n",
               (unsigned long long)atomic_load(&writes), (unsigned long long)atomic_load(&cycles),
               (unsigned long long)atomic_load(&away));
        must(atomic_load(&away) > 0);
        svmd_disconnect(s);
        daemon_end(&d);
        return 0;
}
