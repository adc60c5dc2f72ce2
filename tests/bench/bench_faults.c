#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "peer.h"
#include "range.h"

/*
 * What a touch of a page costs that svmd has to bring: the time of the instruction that touches it. The limit is a
 * packet to a process and back, since a fault is that: this process sleeps, svmd wakes up, does what has to be done,
 * and wakes this one. The client runs on one CPU and whoever answers on another, as on a machine with CPUs to spare;
 * most of it then is the time that two CPUs take to wake up, equal on both sides. The rows of one CPU are the same with
 * all of them there, where it is switches, system calls and work alone.
 *
 *      fault_copy         4 KiB that a soft node has
 *      fault_continue     4 KiB that the range has in host memory, and that another process has touched
 */
enum { CLIENT_CPU = 0, DAEMON_CPU = 1 /* where run.py starts svmd */ };
enum { ROUNDS = 15, PAGES = 2000, PACKET = 64, THREADS = 16, PAGES_OF_ALL = 8000, PAGES_BESIDE = 500 };

static svmd_node host, soft;

static double touch_ns(struct range *r) {
        uint64_t start = now_ns();

        range_touch(r);
        return (double)(now_ns() - start) / (double)(r->size / SVMD_PAGE);
}

static void measure_copy(svmd_session *s, int peer, const char *name) {
        struct row row = { .name = name, .unit = "ns" };
        struct range r;

        range_open(&r, s, PAGES * SVMD_PAGE, SVMD_PAGE, 0, 1);
        for (int round = -1; round < ROUNDS; round++) {
                double ns;

                range_move(&r, soft);
                ns = touch_ns(&r);
                if (round >= 0)
                        row_add(&row, ns, peer_ns(peer, PACKET, PACKET, PAGES));
                else
                        peer_ns(peer, PACKET, PACKET, PAGES);
        }
        range_close(&r);
        row_print(&row);
}

/* Another process opens the range anew for each round, and touches what this one has written. */
static void measure_continue(const char *runtime_dir, svmd_session *s, int peer, const char *name) {
        struct svmd_reserve_options options = { .size = sizeof(options), .name = "bench", .kind = SVMD_SHARED };
        struct svmd_advice advice = { .size = sizeof(advice),
                                      .what = SVMD_ADVISE_GRANULARITY,
                                      .granularity = SVMD_PAGE };
        struct row row = { .name = name, .unit = "ns" };
        struct range r = { .session = s, .size = PAGES * SVMD_PAGE, .granule = SVMD_PAGE };
        void *p;

        must(svmd_address_reserve(s, &p, r.size, 0, NULL, &options) == SVMD_OK, "svmd_address_reserve: %s",
             svmd_error());
        must(svmd_advise(s, p, r.size, &advice) == SVMD_OK, "svmd_advise: %s", svmd_error());
        r.p = p;
        range_touch(&r);
        for (int round = -1; round < ROUNDS; round++) {
                int pipes[2];
                double ns;
                pid_t pid;

                must(pipe(pipes) == 0, "no pipe could be made");
                pid = fork();
                must(pid >= 0, "no process could be made");
                if (pid == 0) {
                        svmd_session *other = session_open(runtime_dir);
                        struct range mine = { .session = other, .size = r.size, .granule = SVMD_PAGE };

                        must(svmd_address_open(other, &p, NULL, "bench", SVMD_ACCESS_READ_WRITE) == SVMD_OK,
                             "svmd_address_open: %s", svmd_error());
                        mine.p = p;
                        ns = touch_ns(&mine);
                        must(write(pipes[1], &ns, sizeof(ns)) == sizeof(ns), "the benchmark does not listen");
                        _exit(0);
                }
                close(pipes[1]);
                must(read(pipes[0], &ns, sizeof(ns)) == sizeof(ns), "the other process has failed");
                close(pipes[0]);
                waitpid(pid, NULL, 0);
                if (round >= 0)
                        row_add(&row, ns, peer_ns(peer, PACKET, PACKET, PAGES));
        }
        must(svmd_address_free(s, p) == SVMD_OK, "svmd_address_free: %s", svmd_error());
        row_print(&row);
}

/* ---- many threads, with every CPU for both sides ---- */

static cpu_set_t everywhere;

static void spread(const char *pid) {
        char path[64];
        struct dirent *e;
        DIR *d;

        snprintf(path, sizeof(path), "/proc/%s/task", pid);
        d = opendir(path);
        must(d != NULL, "the threads of svmd cannot be seen");
        while ((e = readdir(d)))
                if (atoi(e->d_name) > 0)
                        must(sched_setaffinity(atoi(e->d_name), sizeof(everywhere), &everywhere) == 0,
                             "a thread of svmd cannot be let run everywhere");
        closedir(d);
        must(sched_setaffinity(0, sizeof(everywhere), &everywhere) == 0, "this process cannot run everywhere");
}

struct part {
        pthread_t thread;
        struct range range;
};

static void *touch_part(void *userdata) {
        struct part *p = userdata;

        range_touch(&p->range);
        return NULL;
}

/* Faults a second of `threads`, each with a part of the range of its own. */
static double fault_rate(struct range *r, unsigned threads) {
        struct part part[THREADS];
        uint64_t start;

        range_move(r, soft);
        start = now_ns();
        for (unsigned i = 0; i < threads; i++) {
                size_t size = r->size / threads;

                part[i].range = (struct range){ r->session, r->p + i * size, size, r->granule };
                must(pthread_create(&part[i].thread, NULL, touch_part, &part[i]) == 0, "no thread could be made");
        }
        for (unsigned i = 0; i < threads; i++)
                pthread_join(part[i].thread, NULL);
        return (double)(r->size / SVMD_PAGE) * 1e9 / (double)(now_ns() - start);
}

static void measure_threads(svmd_session *s, const char *pid) {
        struct row row = { .name = "fault_16_threads", .unit = "faults/s" };
        struct range r;

        spread(pid);
        range_open(&r, s, PAGES_OF_ALL * SVMD_PAGE, SVMD_PAGE, 0, 1);
        for (int round = -1; round < ROUNDS; round++) {
                double many = fault_rate(&r, THREADS), one = fault_rate(&r, 1);

                if (round >= 0)
                        row_add(&row, many, one);
        }
        range_close(&r);
        row_print(&row);
}

/* ---- while something else moves ---- */

static atomic_bool moved_enough;

static void *move_on(void *userdata) {
        struct range *r = userdata;

        while (!atomic_load(&moved_enough)) {
                range_move(r, soft);
                range_move(r, host);
        }
        return NULL;
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

static void measure_p99(svmd_session *s) {
        struct row row = { .name = "fault_p99_under_migration", .unit = "ns" };
        struct range r, other;
        static uint64_t ns[PAGES_BESIDE];
        pthread_t mover;

        range_open(&r, s, PAGES_BESIDE * SVMD_PAGE, SVMD_PAGE, 0, 1);
        range_open(&other, s, 32 << 20, 2 << 20, 0, 0);
        must(pthread_create(&mover, NULL, move_on, &other) == 0, "no thread could be made");
        for (int round = -1; round < ROUNDS; round++) {
                range_move(&r, soft);
                for (size_t i = 0; i < PAGES_BESIDE; i++) {
                        uint64_t start = now_ns();

                        *(volatile char *)(r.p + i * SVMD_PAGE) = 1;
                        ns[i] = now_ns() - start;
                }
                qsort(ns, PAGES_BESIDE, sizeof(ns[0]), compare);
                if (round >= 0)
                        row_add(&row, (double)ns[PAGES_BESIDE * 99 / 100], 0);
        }
        atomic_store(&moved_enough, true);
        pthread_join(mover, NULL);
        range_close(&r);
        range_close(&other);
        row_print(&row);
}

int main(int argc, char **argv) {
        svmd_session *s;
        int peer;

        must(argc == 3, "usage: bench_faults RUNTIME-DIR PID");
        must(sched_getaffinity(0, sizeof(everywhere), &everywhere) == 0, "the CPUs of this process are not known");
        pin_to(CLIENT_CPU);
        peer = peer_start(PACKET);
        s = session_open(argv[1]);
        host = node_of(s, SVMD_NODE_HOST);
        soft = node_of(s, SVMD_NODE_SOFT);
        measure_copy(s, peer, "fault_copy");
        measure_continue(argv[1], s, peer, "fault_continue");
        pin_to(DAEMON_CPU);
        measure_copy(s, peer, "fault_copy_one_cpu");
        measure_continue(argv[1], s, peer, "fault_continue_one_cpu");
        pin_to(CLIENT_CPU);
        measure_p99(s);
        measure_threads(s, argv[2]);
        svmd_disconnect(s);
        return 0;
}
