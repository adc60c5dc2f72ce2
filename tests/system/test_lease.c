/*
 * Processes that race for room on two nodes, each of them for more than half of it: what they were granted never passes
 * what there is, over and over, while svmd is killed under them; and who dies while he waits, or has what others wait
 * for, stands in nobody's way; and a process that sleeps, dies and comes back has its room again.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { RACERS = 3, MIB = 1 << 20, GPU0 = 16 * MIB, GPU1 = 8 * MIB, KILLS = 3 };

static const char *const options[] = { "--host-capacity",
                                       "64M",
                                       "--soft-node",
                                       "gpu0:size=16M,faults=on",
                                       "--soft-node",
                                       "gpu1:size=8M,faults=off",
                                       "--log-level",
                                       "warning",
                                       NULL };

static struct daemon d;
static svmd_session *watcher;

/* Shared by all: what they believe to have. */
static struct board {
        atomic_long on[2];
        atomic_ulong rounds, passed;
} * board;

/* ---- in an actor ---- */

static svmd_session *mine;
static svmd_lease lease;

static void come(struct message *m) {
        connect_to(&mine, d.socket, m->n[0] ? "two" : "one");
}

static void believe(long gpu0, long gpu1) {
        long a = atomic_fetch_add(&board->on[0], gpu0) + gpu0, b = atomic_fetch_add(&board->on[1], gpu1) + gpu1;

        if (a > GPU0 || b > GPU1)
                atomic_fetch_add(&board->passed, 1);
}

static void one_round(svmd_node gpu0, svmd_node gpu1, uint64_t i) {
        struct svmd_lease_need needs[] = { { .node = gpu0, .length = (9 + random_below(8)) * MIB },
                                           { .node = gpu1, .length = (1 + random_below(8)) * MIB } };
        struct svmd_admit_options o = { .size = sizeof(o), .priority = random_below(10) == 0, .wait_ms = -1 };
        svmd_mem mem = 0;

        ok(svmd_admit(mine, &lease, NULL, needs, 2, &o));
        believe((long)needs[0].length, (long)needs[1].length);
        if (i % 16 == 0)
                ok(svmd_mem_create_leased(mine, &mem, MIB, gpu1, 0, lease));
        believe(-(long)needs[0].length, -(long)needs[1].length);
        if (mem)
                ok(svmd_mem_release(mine, mem));
        ok(svmd_lease_release(mine, lease));
        atomic_fetch_add(&board->rounds, 1);
}

/* n[0]: how often */
static void race(struct message *m) {
        svmd_node gpu0 = node_named(mine, "gpu0"), gpu1 = node_named(mine, "gpu1");

        for (uint64_t i = 0; i < m->n[0]; i++)
                one_round(gpu0, gpu1, i);
}

/* n[0]: bytes on gpu0, n[1]: wait_ms -> r */
static void admit(struct message *m) {
        struct svmd_lease_need need = { .node = node_named(mine, "gpu0"), .length = m->n[0] };
        struct svmd_admit_options o = { .size = sizeof(o), .wait_ms = (int)m->n[1] };

        message_take(m, svmd_admit(mine, &lease, NULL, &need, 1, &o));
}

/* It is released by the same thread that waits for its fence. -> r */
static void admit_and_call_off(struct message *m) {
        struct svmd_lease_need need = { .node = node_named(mine, "gpu0"), .length = GPU0 };
        struct svmd_admit_options o = { .size = sizeof(o), .wait_ms = -1 };
        svmd_fence *f;

        ok(svmd_admit(mine, &lease, &f, &need, 1, &o));
        want(SVMD_E_TIMEOUT, svmd_fence_wait(f, 10, NULL));
        want(SVMD_E_BUSY, svmd_mem_create_leased(mine, &(svmd_mem){ 0 }, MIB, need.node, 0, lease));
        ok(svmd_lease_release(mine, lease));
        message_take(m, svmd_fence_wait(f, -1, NULL));
        svmd_fence_free(f);
}

/* Its memory becomes a lease, which is kept. */
static void sleeps(struct message *m) {
        svmd_node gpu0 = node_named(mine, "gpu0"), gpu1 = node_named(mine, "gpu1");
        svmd_mem mem[2];

        ok(svmd_mem_create(mine, &mem[0], 12 * MIB, gpu0, 0));
        ok(svmd_mem_create(mine, &mem[1], 6 * MIB, gpu1, 0));
        lease = 0;
        want(SVMD_E_NO_SUCH, svmd_lease_keep(mine, lease, "asleep", NULL));
        want(SVMD_E_NAME, svmd_lease_claim(mine, &lease, NULL));
        want(SVMD_E_NO_SUCH, svmd_lease_claim(mine, &lease, "asleep"));
        ok(svmd_mem_release_into_lease(mine, mem[0], &lease));
        ok(svmd_mem_release_into_lease(mine, mem[1], &lease));
        want(SVMD_E_NAME, svmd_lease_keep(mine, lease, NULL, NULL));
        ok(svmd_lease_keep(mine, lease, "asleep", NULL));
}

static void wakes(struct message *m) {
        svmd_node gpu0 = node_named(mine, "gpu0"), gpu1 = node_named(mine, "gpu1");
        svmd_mem mem[2];

        ok(svmd_lease_claim(mine, &lease, "asleep"));
        ok(svmd_mem_create_leased(mine, &mem[0], 12 * MIB, gpu0, 0, lease));
        ok(svmd_mem_create_leased(mine, &mem[1], 6 * MIB, gpu1, 0, lease));
        ok(svmd_lease_release(mine, lease));
}

/* ---- in the test ---- */

struct count {
        unsigned granted, waiting;
};

static int add(const struct svmd_lease_row *row, void *userdata) {
        struct count *c = userdata;

        *(row->granted ? &c->granted : &c->waiting) += 1;
        return 0;
}

static void await_leases(unsigned granted, unsigned waiting) {
        uint64_t end = now_ms() + CEILING_MS;
        struct count c;

        do {
                must(now_ms() < end);
                c = (struct count){ 0 };
                ok(svmd_query_leases(watcher, "one", add, &c));
                ok(svmd_query_leases(watcher, "two", add, &c));
        } while ((c.granted != granted || c.waiting != waiting) && usleep(2000) == 0);
}

static void restart_daemon(void) {
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
}

static void new_actor(struct actor *a, unsigned i) {
        actor_new(a, 2001 + i, 3000, 0);
        actor_call(a, come, &(struct message){ .n = { i % 2 } });
}

static void test_race(uint64_t times) {
        struct message m = { .n = { times } };
        struct actor a[RACERS];

        for (unsigned i = 0; i < RACERS; i++)
                new_actor(&a[i], i);
        for (unsigned i = 0; i < RACERS; i++)
                actor_begin(&a[i], race, &m);
        for (unsigned k = 1; k <= KILLS; k++) {
                uint64_t end = now_ms() + CEILING_MS, next = atomic_load(&board->rounds) + times / 4;

                while (atomic_load(&board->rounds) < next && now_ms() < end)
                        usleep(1000);
                restart_daemon();
        }
        for (unsigned i = 0; i < RACERS; i++) {
                actor_finish(&a[i], &m);
                actor_end(&a[i]);
        }
        must(atomic_load(&board->rounds) == RACERS * times);
        must(atomic_load(&board->passed) == 0);
        await_leases(0, 0);
        await_settled(watcher, &d, 0, 0);
        printf("%u processes, %llu leases each, %d times svmd was killed\n", RACERS, (unsigned long long)times, KILLS);
}

static void test_who_dies(void) {
        struct message all = { .n = { GPU0, (uint64_t)-1 } }, some = { .n = { MIB, (uint64_t)-1 } };
        struct actor a[3];

        for (unsigned i = 0; i < 3; i++)
                new_actor(&a[i], i);
        actor_call(&a[0], admit, &all);
        message_want(0, &all);
        actor_begin(&a[1], admit, &all);
        await_leases(1, 1);
        actor_begin(&a[2], admit, &some);
        await_leases(1, 2);
        restart_daemon();
        await_leases(1, 2);
        actor_kill(&a[1]);
        await_leases(1, 1);
        actor_kill(&a[0]);
        actor_finish(&a[2], &some);
        message_want(0, &some);
        await_leases(1, 0);
        actor_end(&a[2]);
        await_leases(0, 0);
        await_settled(watcher, &d, 0, 0);
}

static void test_sleep_and_wake(void) {
        struct message some = { .n = { 8 * MIB, 0 } }, none = { 0 };
        struct actor a, b;

        new_actor(&a, 0);
        new_actor(&b, 1);
        actor_call(&a, sleeps, &none);
        restart_daemon();
        actor_kill(&a);
        await_leases(1, 0);
        actor_call(&b, admit, &some);
        message_want(SVMD_E_NO_ROOM, &some);
        restart_daemon();
        actor_call(&b, admit, &some);
        message_want(SVMD_E_NO_ROOM, &some);
        new_actor(&a, 0);
        actor_call(&a, wakes, &none);
        await_leases(0, 0);
        actor_end(&a);
        await_settled(watcher, &d, 0, 0);
        actor_call(&b, admit, &some);
        message_want(0, &some);
        actor_end(&b);
}

static void test_time(void) {
        struct message all = { .n = { GPU0, 0 } }, late = { .n = { MIB, 200 } }, off = { 0 };
        struct actor a, b;

        new_actor(&a, 0);
        new_actor(&b, 1);
        actor_call(&a, admit, &all);
        actor_call(&b, admit, &late);
        message_want(SVMD_E_TIMEOUT, &late);
        late.n[1] = 0;
        actor_call(&b, admit, &late);
        message_want(SVMD_E_NO_ROOM, &late);
        actor_call(&b, admit_and_call_off, &off);
        message_want(SVMD_E_ABORTED, &off);
        await_leases(1, 0);
        actor_end(&a);
        actor_end(&b);
}

int main(int argc, char **argv) {
        uint64_t times = argc > 1                                    ? strtoull(argv[1], NULL, 0)
                         : getenv("SVMD_ALL") || getenv("SVMD_LONG") ? 34000
                                                                     : 2000;

        harness_begin("system_lease");
        board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        must(board != MAP_FAILED);
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        for (unsigned i = 0; i < 2; i++) {
                struct svmd_partition_options o = {
                        .size = sizeof(o),
                        .length = 4ull << 30,
                        .window = HARNESS_WINDOW,
                        .mode = 0666,
                        .has_kept_max = 1,
                        .kept_max = 32 * MIB,
                };

                ok(svmd_partition_create(watcher, i ? "two" : "one", &o, 0));
        }
        test_race(times);
        test_who_dies();
        test_sleep_and_wake();
        test_time();
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
