/*
 * The kind of node that docs/adding-a-device-kind.md shows, in the real svmd with one row more in its table: what svmd
 * does for every kind is done for it, without another line.
 */
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "harness.h"

enum { PAGE = 4096, SIZE = 256 * PAGE, MIB = 1 << 20 };

static const char *const options[] = { "--soft-node", "copy0:device=copier:0,size=16M", "--keeper-program",
                                       SVMD_KEEPER_PROGRAM, NULL };
static struct daemon d;
static svmd_session *s, *watcher;
static svmd_node node;
static svmd_space space;

/* Device memory at `at`, and host memory behind it, which the CPU sees too. */
static char *at, *words;
static svmd_mem there, here;

static void start(void) {
        struct svmd_partition_options o = { .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW };
        struct svmd_limit limit = { .max = 4 * MIB };

        daemon_use(SVMD_COPIER_PROGRAM);
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        limit.node = node_named(watcher, "copy0");
        o.limits = &limit;
        o.limits_count = 1;
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        connect_to(&s, d.socket, "lab");
        node = node_named(s, "copy0");
        ok(svmd_space_create(s, &space, node));
}

static int take_row(const struct svmd_node_row *row, void *userdata) {
        if (row->id == node)
                *(uint64_t *)userdata = row->used;
        if (row->id == node)
                must(row->kind == 100 && strcmp(row->kind_name, "copier") == 0 && row->capacity == 16 * MIB &&
                     !row->faults && strcmp(row->device, "copier:0") == 0);
        return 0;
}

static uint64_t used(void) {
        uint64_t bytes = UINT64_MAX;

        ok(svmd_query_nodes(s, take_row, &bytes));
        return bytes;
}

static int run(unsigned type, const char *dst, const char *src, size_t length, uint64_t value) {
        struct svmd_device_op op = { .size = sizeof(op), .op = type, .space = space, .length = length, .value = value };
        svmd_fence *f;
        int r;

        op.dst = (uint64_t)dst;
        op.src = (uint64_t)src;
        ok(svmd_submit(s, &f, &op));
        r = svmd_fence_wait(f, (int)CEILING_MS, NULL);
        svmd_fence_free(f);
        return r;
}

/* Its memory is charged, and is as much as its pool has really taken. */
static void test_memory(void) {
        struct svmd_reserve_options o = { .size = sizeof(o), .mode = 0600, .kind = SVMD_EXPLICIT };
        void *address = NULL;

        must(used() == 0);
        ok(svmd_address_reserve(s, &address, 4 * SIZE, 0, NULL, &o));
        at = address;
        words = at + SIZE;
        ok(svmd_mem_create(s, &there, SIZE, node, 0));
        ok(svmd_mem_create(s, &here, SIZE, node_named(s, "host0"), 0));
        must(used() == SIZE);
        must(process_blocks(d.pid, "svmd-pool") == SIZE);
        want(SVMD_E_NO_ROOM, svmd_mem_create(s, &(svmd_mem){ 0 }, 32 * MIB, node, 0));
        want(SVMD_E_LIMIT, svmd_mem_create(s, &(svmd_mem){ 0 }, 8 * MIB, node, 0));
        must(used() == SIZE);
}

static void test_map(void) {
        ok(svmd_mem_map(s, space, (uint64_t)at, SIZE, 0, there, SVMD_ACCESS_READ_WRITE, 0));
        ok(svmd_mem_map(s, space, (uint64_t)words, SIZE, 0, here, SVMD_ACCESS_READ_WRITE, 0));
        ok(svmd_mem_map(s, 0, (uint64_t)words, SIZE, 0, here, SVMD_ACCESS_READ_WRITE, 0));
}

static void test_operations(void) {
        ok(run(SVMD_DEVICE_FILL, at, NULL, SIZE, 0x5a));
        ok(run(SVMD_DEVICE_COPY, words + 1, at + 1, SIZE - 2, 0));
        must(words[0] == 0 && words[1] == 0x5a && words[SIZE - 2] == 0x5a && words[SIZE - 1] == 0);
        want(SVMD_E_INVALID, run(SVMD_DEVICE_SUM, at, NULL, PAGE, 0));
        want(SVMD_E_SIZE, run(SVMD_DEVICE_FILL, at, NULL, 2 * MIB, 0));
        want(SVMD_E_NOT_MAPPED, run(SVMD_DEVICE_FILL, words + SIZE - PAGE, NULL, 2 * PAGE, 7));
        must(words[SIZE - 1] == 7);
}

/* Managed pages stay away: it answers for no faults and shows no granules. */
static void test_managed(void) {
        struct svmd_reserve_options o = { .size = sizeof(o), .mode = 0600, .kind = SVMD_SHARED };
        void *address = NULL;

        ok(svmd_address_reserve(s, &address, SIZE, 0, NULL, &o));
        want(SVMD_E_NODE_KIND, svmd_migrate(s, NULL, address, SIZE, node));
        ok(svmd_address_free(s, address));
}

/* What it has outlives svmd: mappings and bytes are there again. */
static void test_restart(void) {
        daemon_kill(&d);
        daemon_start(&d);
        must(used() == SIZE);
        memset(words, 0, SIZE);
        ok(run(SVMD_DEVICE_COPY, words, at, SIZE, 0));
        must(words[0] == 0x5a && words[SIZE - 1] == 0x5a);
}

int main(void) {
        harness_begin("kind");
        start();
        test_memory();
        test_map();
        test_operations();
        test_managed();
        test_restart();
        printf("a kind of node in one file and one row\n");
        svmd_disconnect(s);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
