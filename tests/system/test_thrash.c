/*
 * One granule is written in turn, by a device and the CPU or by two devices that have no link: with the threshold of a
 * profile it moves a few times and is then shared where both reach it, or waits between moves; every addition is there
 * in the end. With a threshold that is never reached the same test sees it move with every turn.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { GRANULE = 65536, TURNS = 300 };

static struct daemon d;
static svmd_session *s, *watcher;
static svmd_node host, gpu[2];
static uint64_t *word;
static svmd_space space[2];
static char profile[80];

/* Whatever the load of this machine, a turn that follows another within a minute bounces. */
static void start(const char *keys, const char *rate) {
        const char *options[] = { "--soft-node", "gpu0:size=64M", "--soft-node",      "gpu1:size=64M",
                                  "--policy",    profile,         "--partition-rate", rate,
                                  NULL };
        struct svmd_partition_options o = { .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW };
        struct svmd_reserve_options r = { .size = sizeof(r), .mode = 0600, .kind = SVMD_SHARED, .granule = GRANULE };
        void *at = NULL;
        FILE *f;

        snprintf(profile, sizeof(profile), "/tmp/svmd-thrash-%d.conf", (int)getpid());
        f = fopen(profile, "w");
        must(f && fprintf(f, "lapse-us = 60000000\nepoch-ms = 3600000\n%s\n", keys) > 0 && fclose(f) == 0);
        daemon_new(&d, options);
        unlink(profile);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        connect_to(&s, d.socket, "lab");
        host = node_named(s, "host0");
        ok(svmd_address_reserve(s, &at, 16 * GRANULE, 0, NULL, &r));
        word = at;
        for (unsigned i = 0; i < 2; i++) {
                gpu[i] = node_named(s, i ? "gpu1" : "gpu0");
                ok(svmd_space_create(s, &space[i], gpu[i]));
        }
}

static void end(void) {
        svmd_disconnect(s);
        svmd_disconnect(watcher);
        daemon_end(&d);
}

static void add_on(unsigned device) {
        struct svmd_device_op add = { .size = sizeof(add), .op = SVMD_DEVICE_ATOMIC_ADD, .value = 1 };
        svmd_fence *f;

        add.space = space[device];
        add.dst = (uint64_t)word;
        ok(svmd_submit(s, &f, &add));
        ok(svmd_fence_wait(f, CEILING_MS, NULL));
        svmd_fence_free(f);
}

static void add_here(void) {
        __atomic_fetch_add(word, 1, __ATOMIC_RELAXED);
}

static int take_outs(const struct svmd_residency_row *row, void *userdata) {
        *(uint32_t *)userdata += row->outs + row->ins;
        return 0;
}

/* How often the first granule has left host memory, and come back. */
static uint32_t moves(void) {
        uint32_t n = 0;

        ok(svmd_query_residency(s, NULL, (uint64_t)word, GRANULE, 1, take_outs, &n));
        return n;
}

static int take_partition(const struct svmd_partition_row *row, void *userdata) {
        *(struct svmd_partition_row *)userdata = *row;
        return 0;
}

static struct svmd_partition_row partition(void) {
        struct svmd_partition_row row = { 0 };

        ok(svmd_query_partitions(watcher, "lab", take_partition, &row));
        return row;
}

static unsigned told; /* that a granule is pinned on the host */

static void on_event(svmd_session *session, const struct svmd_event *e, void *userdata) {
        if (e->type == SVMD_EVENT_MONITOR && strcmp(e->what, "thrash") == 0) {
                must(e->to == host && e->address == word && e->length == GRANULE);
                told++;
        }
}

static void turn(bool cpu, unsigned i) {
        if (i % 2 == 0)
                add_on(0);
        else if (cpu)
                add_here();
        else
                add_on(1);
}

/* A pin that outlasts the test. */
static void test_pinned(void) {
        uint32_t n;

        start("bounces = 3\npin-ms = 600000", "lab=0");
        ok(svmd_set_event_handler(watcher, on_event, NULL));
        ok(svmd_monitor(watcher, 1));
        *word = 0;
        for (unsigned i = 0; i < TURNS; i++)
                turn(true, i);
        must(*word == TURNS);
        for (uint64_t began = now_ms(); !told; usleep(1000)) {
                ok(svmd_dispatch(watcher));
                must(now_ms() - began < CEILING_MS);
        }
        must(told == 1);
        n = moves();
        must(n >= 2 && n <= 4);
        must(partition().bounces >= 3 && partition().pins == 1 && partition().naps == 0);
        printf("device and CPU: %u moves in %d turns\n", n, TURNS);
        end();
}

/* The same, and the threshold is never reached. */
static void test_let(void) {
        start("bounces = 255\npin-ms = 600000", "lab=0");
        *word = 0;
        for (unsigned i = 0; i < 200; i++)
                turn(true, i);
        must(*word == 200);
        must(moves() >= 199);
        must(partition().bounces >= 199 && partition().pins == 0);
        end();
}

/* No more than two moves each time that a pin has ended, and those that come too slowly to be bounces. */
static void test_pins_end(void) {
        uint64_t began, took;
        uint32_t n;

        start("bounces = 2\npin-ms = 50\nlapse-us = 20000", "lab=0");
        *word = 0;
        began = now_ms();
        for (unsigned i = 0; i < TURNS || moves() < 8; i++) {
                turn(true, i);
                must(now_ms() - began < CEILING_MS);
        }
        n = moves();
        took = now_ms() - began;
        printf("device and CPU, pins of 50 ms: %u moves in %llu ms\n", n, (unsigned long long)took);
        must(n <= 2 * (took / 50 + 1) + took / 20 + 4);
        end();
}

/* Two devices reach nothing of each other's, but both the host: after two naps it lies there. */
static void test_devices(void) {
        uint32_t n;

        start("bounces = 3\nnap-us = 250000\nnaps = 2\npin-ms = 600000", "lab=0");
        *word = 0;
        for (unsigned i = 0; i < TURNS; i++)
                turn(false, i);
        n = moves();
        must(*word == TURNS);
        must(n <= 4);
        printf("two devices: %u times out of host memory and back in %d turns\n", n, TURNS);
        end();
}

/* Nothing is ever pinned: who comes later waits, and both go on. */
static void test_naps(void) {
        uint64_t began, took;

        start("bounces = 1\nnap-us = 20000\npin-ms = 0", "lab=0");
        *word = 0;
        began = now_ms();
        for (unsigned i = 0; i < 40; i++)
                turn(true, i);
        took = now_ms() - began;
        must(*word == 40);
        must(moves() <= took / 20 + 3);
        end();
}

/* An order of 1 MiB, with 1 MiB a second: a tenth of it goes at once, and the rest in its time; a touch is served. */
static void test_cap(void) {
        svmd_fence *f;

        start("bounces = 255", "lab=1M");
        for (unsigned i = 0; i < 16; i++)
                word[i * GRANULE / 8] = i;
        ok(svmd_migrate(s, &f, word, 16 * GRANULE, gpu[0]));
        must(partition().put_off > 0);
        must(word[15 * GRANULE / 8] == 15);
        ok(svmd_fence_wait(f, CEILING_MS, NULL));
        svmd_fence_free(f);
        must(partition().rate == 1 << 20 && partition().moved >= 16 * GRANULE);
        for (unsigned i = 0; i < 16; i++)
                must(word[i * GRANULE / 8] == i);
        end();
        printf("an order waits for its partition's cap\n");
}

int main(void) {
        harness_begin("thrash");
        test_pinned();
        test_let();
        test_pins_end();
        test_devices();
        test_naps();
        test_cap();
        return 0;
}
