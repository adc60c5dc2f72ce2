/*
 * svmd is killed before and after those steps of its mover that test_points.c's clients bring about by chance or never:
 * for each there is something here that does, again and again, until svmd dies of it. Every byte is then what was
 * written last, and the ledger what the kernel says.
 *
 *      system_points_steps [STEP]      SVMD_SEED reproduces the choices; SVMD_LONG=1: each twenty times
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "hammer_oracle.h"
#include "harness.h"

enum { GRANULE = 64 << 10, SIZE = 32 * GRANULE, WORDS = SIZE / 8, ROUNDS_LONG = 20, PASSES = 10 };
enum { LARGE = 96 << 20, LARGE_GRANULE = 2 << 20 };

static struct daemon d;
static svmd_session *s, *watcher;
static svmd_node gpu;
static svmd_space space;
static uint64_t *words;
static uint64_t value; /* word i is value + i */
static atomic_bool enough;

/* What svmd's end has interrupted is done again: all of it may be done any number of times. */
#define again_or(call, done)                                                                                           \
        do {                                                                                                           \
                int r_;                                                                                                \
                while ((r_ = (call)) == SVMD_E_INTERRUPTED || r_ == SVMD_E_BUSY)                                       \
                        ;                                                                                              \
                if (r_ != (done))                                                                                      \
                        ok(r_);                                                                                        \
        } while (0)
#define again(call) again_or(call, SVMD_OK)

static void write_all(void) {
        value += 1000003;
        for (size_t i = 0; i < WORDS; i++)
                words[i] = value + i;
}

static void check_all(void) {
        for (size_t i = 0; i < WORDS; i++)
                must(words[i] == value + i);
}

static int device(unsigned type, unsigned char byte) {
        struct svmd_device_op op = { .size = sizeof(op), .op = type, .space = space, .length = SIZE, .value = byte };
        svmd_fence *f;
        int r;

        op.dst = type == SVMD_DEVICE_FILL ? (uintptr_t)words : 0;
        op.src = type == SVMD_DEVICE_FILL ? 0 : (uintptr_t)words;
        r = svmd_submit(s, &f, &op);
        if (r)
                return r;
        r = svmd_fence_wait(f, -1, NULL);
        svmd_fence_free(f);
        return r;
}

static void reserve(unsigned flags) {
        struct svmd_reserve_options o = { .size = sizeof(o),
                                          .kind = SVMD_SHARED,
                                          .granule = GRANULE,
                                          .flags = flags,
                                          .mode = 0600,
                                          .name = "steps" };
        void *at;

        ok(svmd_address_reserve(s, &at, SIZE, 0, NULL, &o));
        ok(svmd_keep(s, at, NULL));
        words = at;
}

static void open_again(void) {
        void *at;

        connect_to(&s, d.socket, "lab");
        ok(svmd_address_open(s, &at, NULL, "steps", SVMD_ACCESS_READ_WRITE));
        must(at == words);
}

/* ---- what brings a step about ---- */

static void touch_anew(void) {
        again(svmd_discard(s, NULL, words, SIZE));
        write_all();
}

static void device_touches_first(void) {
        again(svmd_discard(s, NULL, words, SIZE));
        again(device(SVMD_DEVICE_FILL, 0x11));
        for (size_t i = 0; i < WORDS; i += 512)
                must(words[i] == 0x1111111111111111);
        write_all();
}

static void read_mostly(void) {
        struct svmd_advice a = { .size = sizeof(a), .what = SVMD_ADVISE_READ_MOSTLY, .read_mostly = 1 };

        ok(svmd_advise(s, words, SIZE, &a));
        again(device(SVMD_DEVICE_SUM, 0));
        check_all();
        write_all();
}

static void device_sees_host(void) {
        struct svmd_advice a = { .size = sizeof(a), .what = SVMD_ADVISE_ACCESSED_BY, .accessed_by = 1ull << gpu };

        ok(svmd_advise(s, words, SIZE, &a));
        again(device(SVMD_DEVICE_SUM, 0));
        again(svmd_migrate(s, NULL, words, SIZE, gpu));
        check_all();
        write_all();
}

static void taken_and_given_back(void) {
        again(svmd_migrate(s, NULL, words, SIZE / 2, gpu));
        again_or(svmd_revoke(s, NULL, words), SVMD_E_TAKEN);
        again_or(svmd_unrevoke(s, NULL, words), SVMD_E_NO_SUCH);
        check_all();
        write_all();
}

/* With no process in the range nobody pays. */
static void adopted(void) {
        struct svmd_register_options o = { .size = sizeof(o), .mode = SVMD_REGISTER_ADOPTED };
        char *at = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        svmd_mem mem;

        must(at != MAP_FAILED);
        memset(at, 7, 16 * 4096);
        ok(svmd_register(s, &mem, NULL, at, 16 * 4096, &o));
        for (size_t i = 0; i < 16 * 4096; i++)
                must(at[i] == 7);
        ok(svmd_unregister(s, mem));
        must(munmap(at, 16 * 4096) == 0);
}

/* More than is kept warm comes free on the device. */
static void much_leaves(void) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = LARGE_GRANULE };
        void *at;

        ok(svmd_address_reserve(s, &at, LARGE, 0, NULL, &o));
        for (size_t i = 0; i < LARGE; i += 4096)
                ((char *)at)[i] = 3;
        again(svmd_migrate(s, NULL, at, LARGE, gpu));
        ok(svmd_address_free(s, at));
}

/* Who pays for what comes in ends in the middle, and nobody else could: what had come goes back to where the rest is.
 */
static void payer_ends(void) {
        static unsigned turn;
        int status;
        pid_t pid;

        again(svmd_migrate(s, NULL, words, SIZE, gpu));
        svmd_disconnect(s);
        pid = fork();
        must(pid >= 0);
        if (pid == 0) {
                uint64_t sum = 0;

                open_again();
                for (size_t i = 0; i < WORDS; i += GRANULE / 8)
                        sum += ((volatile uint64_t *)words)[i];
                must(sum > 0);
                pause();
        }
        usleep(turn++ * 500 % 8000);
        kill(pid, SIGKILL);
        must(wait_end(pid, &status));
        open_again();
        check_all();
        write_all();
}

static const struct step {
        const char *name;
        void (*work)(void);
        unsigned flags;
} steps[] = {
        { "allocate", adopted, 0 },
        { "zero", touch_anew, 0 },
        { "zero-slot", device_touches_first, 0 },
        { "slot-free", much_leaves, 0 },
        { "unprotect", read_mostly, 0 },
        { "invalidate", device_sees_host, 0 },
        { "node-map", device_sees_host, 0 },
        { "wake", taken_and_given_back, 0 },
        { "poison", taken_and_given_back, SVMD_RANGE_SIGBUS },
        { "merge", payer_ends, 0 },
};

/* ---- dying of it ---- */

static void *work_on(void *userdata) {
        const struct step *step = userdata;

        do
                step->work();
        while (!atomic_load(&enough));
        return NULL;
}

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

static void die_at(const struct step *step, const char *when) {
        char point[48], count[16];
        pthread_t worker;

        snprintf(point, sizeof(point), "%s-%s", when, step->name);
        snprintf(count, sizeof(count), "%u", strcmp(step->name, "merge") == 0 ? 0 : (unsigned)random_below(PASSES));
        setenv("SVMD_TEST_POINT", point, 1);
        setenv("SVMD_TEST_COUNT", count, 1);
        daemon_kill(&d);
        daemon_start(&d);
        unsetenv("SVMD_TEST_POINT");
        atomic_store(&enough, false);
        must(pthread_create(&worker, NULL, work_on, (void *)step) == 0);
        await_death(point);
        usleep((useconds_t)random_below(3000));
        daemon_start(&d);
        atomic_store(&enough, true);
        pthread_join(worker, NULL);
        check_all();
        svmd_disconnect(watcher);
        connect_watcher(&watcher, d.admin);
        must(oracle_agrees(watcher, &d));
}

static void die_of(const struct step *step) {
        connect_to(&s, d.socket, "lab");
        ok(svmd_space_create(s, &space, gpu));
        reserve(step->flags);
        write_all();
        die_at(step, "before");
        die_at(step, "after");
        ok(svmd_address_free(s, words));
        svmd_disconnect(s);
}

/* POISON is Linux 6.6. */
static bool can_poison(void) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .flags = SVMD_RANGE_SIGBUS };
        void *at;
        int r;

        connect_to(&s, d.socket, "lab");
        r = svmd_address_reserve(s, &at, SIZE, 0, NULL, &o);
        svmd_disconnect(s);
        return r != SVMD_E_UNSUPPORTED;
}

int main(int argc, char **argv) {
        static const char *const options[] = { "--soft-node", "gpu0:size=256M,faults=on", "--log-level", "warning",
                                               NULL };
        struct svmd_partition_options o = { .size = sizeof(o),
                                            .length = 4ull << 30,
                                            .window = HARNESS_WINDOW,
                                            .mode = 0666,
                                            .has_kept_max = 1,
                                            .kept_max = UINT64_MAX };
        unsigned rounds = getenv("SVMD_LONG") ? ROUNDS_LONG : 1;

        harness_begin("system_points_steps");
        if (rounds > 1)
                alarm(0);
        daemon_use(SVMD_POINTS_PROGRAM);
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        gpu = node_named(watcher, "gpu0");
        for (unsigned i = 0; i < rounds * sizeof(steps) / sizeof(steps[0]); i++) {
                const struct step *step = &steps[i % (sizeof(steps) / sizeof(steps[0]))];

                if (argc > 1 && strcmp(argv[1], step->name) != 0)
                        continue;
                if (step->flags & SVMD_RANGE_SIGBUS && !can_poison()) {
                        printf("%s: this kernel has no UFFDIO_POISON\n", step->name);
                        continue;
                }
                die_of(step);
        }
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
