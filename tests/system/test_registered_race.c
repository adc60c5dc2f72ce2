/*
 * Registered memory that goes while other threads of the process take its addresses at once, while svmd is killed, and
 * while the process becomes another program: no byte of a device comes where it does not belong.
 *
 *      system_registered_race [ROUNDS [KILLS]]     SVMD_SEED reproduces the choices
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "registered_pump.h"

enum { ROUNDS = 300, KILLS = 12, TAKERS = 2, PAGE = 4096, STAMP = 0x2a };

static struct daemon d;
static svmd_session *s, *watcher;
static svmd_node gpu;

static char *map_at(char *at, size_t size, int flags) {
        char *p = mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

        must(p != MAP_FAILED && (!at || p == at));
        return p;
}

static void all_are(const char *at, size_t size, char value) {
        for (size_t i = 0; i < size; i++)
                if (at[i] != value) {
                        fprintf(stderr, "byte %zu of %zu is %02x, not %02x\n", i, size, (uint8_t)at[i], (uint8_t)value);
                        fail_here("a device wrote into what came after");
                }
}

/* ---- threads that take the addresses ---- */

static atomic_bool over;
static _Atomic(char *) given;
static atomic_uint taken;

/* As soon as they are free, which is before munmap() has come back to who calls it. */
static void *take(void *userdata) {
        while (!atomic_load(&over)) {
                char *at = atomic_load(&given), *p;

                if (!at)
                        continue;
                p = mmap(at, PUMP_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
                         0);
                if (p == MAP_FAILED)
                        continue;
                if (p == at) {
                        atomic_fetch_add(&taken, 1);
                        all_are(p, PUMP_SIZE, 0);
                        memset(p, STAMP, PUMP_SIZE);
                        usleep((useconds_t)(taken % 7) * 100);
                        all_are(p, PUMP_SIZE, STAMP);
                        atomic_compare_exchange_strong(&given, &at, NULL);
                }
                must(munmap(p, PUMP_SIZE) == 0);
        }
        return NULL;
}

static void addresses_are_taken_at_once(unsigned rounds) {
        pthread_t taker[TAKERS];
        struct pump_region r;

        for (unsigned i = 0; i < TAKERS; i++)
                must(pthread_create(&taker[i], NULL, take, NULL) == 0);
        for (unsigned i = 0; i < rounds; i++) {
                char *at = map_at(NULL, PUMP_SIZE, 0);

                pump_register(&r, at);
                pump_start(&r);
                atomic_store(&given, at);
                usleep((useconds_t)random_below(300));
                must(munmap(at, PUMP_SIZE) == 0);
                while (atomic_load(&given))
                        usleep(20);
                pump_stop();
                pump_refused(&r);
                pump_unregister(&r);
        }
        atomic_store(&over, true);
        for (unsigned i = 0; i < TAKERS; i++)
                pthread_join(taker[i], NULL);
        must(atomic_load(&taken) >= rounds);
}

/* ---- svmd is killed ---- */

static useconds_t unmap_after;

static void *unmap_later(void *userdata) {
        char *at = userdata;

        usleep(unmap_after);
        must(munmap(at + 7 * PAGE, 9 * PAGE) == 0);
        map_at(at + 7 * PAGE, 9 * PAGE, MAP_FIXED_NOREPLACE);
        all_are(at + 7 * PAGE, 9 * PAGE, 0);
        memset(at + 7 * PAGE, STAMP, 9 * PAGE);
        return NULL;
}

static void killed_while_it_goes(void) {
        char *at = map_at(NULL, PUMP_SIZE, 0);
        struct pump_region r;
        pthread_t thread;

        pump_register(&r, at);
        pump_start(&r);
        unmap_after = (useconds_t)random_below(3000);
        must(pthread_create(&thread, NULL, unmap_later, at) == 0);
        usleep((useconds_t)random_below(3000));
        daemon_kill(&d);
        usleep((useconds_t)random_below(2000));
        daemon_start(&d);
        pthread_join(thread, NULL);
        pump_stop();
        all_are(at + 7 * PAGE, 9 * PAGE, STAMP);
        /* What svmd had heard of when it was killed is found by whoever comes there. */
        pump_refused_at(&r, 7 * PAGE);
        pump_refused(&r);
        all_are(at + 7 * PAGE, 9 * PAGE, STAMP);
        pump_unregister(&r);
        munmap(at, PUMP_SIZE);
}

static void killed_while_it_stays(void) {
        char *at = map_at(NULL, PUMP_SIZE, 0);
        struct pump_region r;

        pump_register(&r, at);
        pump_start(&r);
        daemon_kill(&d);
        daemon_start(&d);
        pump_start(&r);
        pump_stop();
        pump_works(&r);
        must(munmap(at, PUMP_SIZE) == 0);
        pump_refused(&r);
        daemon_kill(&d);
        daemon_start(&d);
        pump_refused(&r);
        pump_unregister(&r);
}

/* ---- another program ---- */

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
static svmd_session *shared_session;
static svmd_space shared_space;
static char *shared_at;
static int told[2];

static bool is_sleeping(pid_t pid) {
        char path[64], exe[256] = "";

        snprintf(path, sizeof(path), "/proc/%d/exe", pid);
        return readlink(path, exe, sizeof(exe) - 1) > 0 && strstr(exe, "sleep");
}

static int submit(unsigned type) {
        struct svmd_device_op op = { .size = sizeof(op), .op = type, .space = shared_space, .length = PAGE };
        svmd_fence *f;
        int r;

        op.dst = op.src = (uint64_t)shared_at;
        ok(svmd_submit(shared_session, &f, &op));
        r = svmd_fence_wait(f, CEILING_MS, NULL);
        svmd_fence_free(f);
        return r;
}

/* It has the address space to itself now; the number that svmd knows is another program's. */
static int remain(void *userdata) {
        uint64_t until = now_ms() + CEILING_MS;
        int r;

        while (!is_sleeping(getppid())) {
                must(now_ms() < until);
                usleep(1000);
        }
        r = submit(SVMD_DEVICE_SUM);
        if (r == SVMD_OK)
                r = submit(SVMD_DEVICE_FILL);
        must(write(told[1], &r, sizeof(r)) == sizeof(r));
        return 0;
}

static void become_another_program(void) {
        static char stack[256 << 10] __attribute__((aligned(16)));
        svmd_mem mem;

        connect_to(&shared_session, d.socket, "lab");
        ok(svmd_space_create(shared_session, &shared_space, gpu));
        shared_at = map_at(NULL, PAGE, 0);
        memset(shared_at, STAMP, PAGE);
        ok(svmd_register(shared_session, &mem, NULL, shared_at, PAGE, NULL));
        ok(svmd_mem_map(shared_session, shared_space, (uint64_t)shared_at, PAGE, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
        ok(submit(SVMD_DEVICE_FILL));
        all_are(shared_at, PAGE, 0);
        must(clone(remain, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL) > 0);
        execl("/bin/sleep", "sleep", "60", NULL);
        fail_here("exec did not work");
}

static void another_program_is_left_alone(void) {
        int r, status;
        pid_t pid;

        must(pipe(told) == 0);
        pid = fork();
        must(pid >= 0);
        if (pid == 0)
                become_another_program();
        must(read(told[0], &r, sizeof(r)) == sizeof(r));
        kill(pid, SIGKILL);
        must(wait_end(pid, &status));
        want(SVMD_E_NOT_MAPPED, r);
}
#else
static void another_program_is_left_alone(void) {
}
#endif

/* A process that is killed with its device at work leaves nothing. */
static int registered_row(const struct svmd_session_row *row, void *userdata) {
        *(uint64_t *)userdata += row->registered;
        return 0;
}

static void end_in_the_middle(void) {
        uint64_t until = now_ms() + CEILING_MS, sum;
        int status, ready[2];
        pid_t pid;
        char c;

        must(pipe(ready) == 0);
        pid = fork();
        must(pid >= 0);
        if (pid == 0) {
                struct pump_region r;

                connect_to(&s, d.socket, "lab");
                pump_begin(s, gpu);
                pump_register(&r, map_at(NULL, PUMP_SIZE, 0));
                pump_start(&r);
                must(write(ready[1], "x", 1) == 1);
                pause();
        }
        must(read(ready[0], &c, 1) == 1);
        close(ready[0]);
        close(ready[1]);
        kill(pid, SIGKILL);
        must(wait_end(pid, &status) && WIFSIGNALED(status));
        do {
                must(now_ms() < until);
                usleep(1000);
                sum = 0;
                ok(svmd_query_sessions(watcher, "lab", registered_row, &sum));
        } while (sum > 0);
}

/* svmd reaches the memory of whatever user it is. */
static void another_user(void) {
        struct pump_region r;
        int status;
        pid_t pid;

        if (geteuid() != 0)
                return;
        pid = fork();
        must(pid >= 0);
        if (pid == 0) {
                must(setgid(65534) == 0 && setuid(65534) == 0);
                must(prctl(PR_SET_DUMPABLE, 1) == 0); /* as it is without setuid() */
                connect_to(&s, d.socket, "lab");
                pump_begin(s, gpu);
                pump_register(&r, map_at(NULL, PUMP_SIZE, 0));
                pump_works(&r);
                pump_start(&r);
                must(munmap(r.at, PUMP_SIZE) == 0);
                pump_refused(&r);
                pump_stop();
                _exit(0);
        }
        must(wait_end(pid, &status) && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) {
        static const char *const options[] = { "--soft-node", "gpu0:size=64M", "--log-level", "warning", NULL };
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0666
        };
        unsigned kills = argc > 2 ? (unsigned)atoi(argv[2]) : KILLS;

        harness_begin("system_registered_race");
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        gpu = node_named(watcher, "gpu0");
        another_user();
        end_in_the_middle();
        another_program_is_left_alone();
        svmd_disconnect(watcher);

        connect_to(&s, d.socket, "lab");
        pump_begin(s, gpu);
        addresses_are_taken_at_once(argc > 1 ? (unsigned)atoi(argv[1]) : ROUNDS);
        killed_while_it_stays();
        for (unsigned i = 0; i < kills; i++)
                killed_while_it_goes();
        pump_end();
        svmd_disconnect(s);
        daemon_end(&d);
        return 0;
}
