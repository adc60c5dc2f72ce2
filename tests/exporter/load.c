/*
 * A client that has svmd do what there are metrics of: faults of the CPU and of devices, migrations, evictions,
 * refusals, registered memory. Waits for a line before it connects; says "ready" after its first round, and goes on
 * until its input ends.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "svmd.h"

enum { GRANULE = 64 << 10, SIZE = 5 << 20, OWN = 1 << 20, DEVICES = 2 };

static svmd_session *session;
static svmd_node devices[DEVICES];
static unsigned devices_count;
static svmd_space space;
static char *range;

static void ok(int r, const char *what) {
        if (r == 0)
                return;
        fprintf(stderr, "load: %s: %s\n", what, svmd_error());
        exit(1);
}

static int on_node(const struct svmd_node_row *row, void *userdata) {
        if (row->kind == SVMD_NODE_SOFT && devices_count < DEVICES)
                devices[devices_count++] = row->id;
        return 0;
}

static void begin(void) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        void *at, *own = mmap(NULL, OWN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        svmd_mem mem;

        ok(svmd_connect(&session, NULL), "connect");
        ok(svmd_query_nodes(session, on_node, NULL), "nodes");
        ok(svmd_address_reserve(session, &at, SIZE, 0, NULL, &o), "reserve");
        ok(svmd_space_create(session, &space, devices[0]), "space");
        ok(svmd_register(session, &mem, NULL, own, OWN, NULL), "register");
        range = at;
}

/* A node may have no room for it. */
static void end(svmd_fence *f, const char *what) {
        int r = svmd_fence_wait(f, 30000, NULL);

        if (r != SVMD_E_NO_ROOM)
                ok(r, what);
        svmd_fence_free(f);
}

static void work(void) {
        struct svmd_device_op fill = { .size = sizeof(fill),
                                       .op = SVMD_DEVICE_FILL,
                                       .space = space,
                                       .dst = (uintptr_t)range,
                                       .length = SIZE / 4,
                                       .value = 7 };
        svmd_fence *f;
        svmd_mem mem;

        memset(range, 1, SIZE);
        ok(svmd_submit(session, &f, &fill), "submit");
        end(f, "fill");
        for (unsigned i = 0; i < devices_count; i++) {
                ok(svmd_migrate(session, &f, range, SIZE / 4, devices[i]), "migrate");
                end(f, "migration");
        }
        if (svmd_mem_create(session, &mem, 1ull << 40, devices[0], 0) == 0)
                exit(1);
}

int main(void) {
        struct pollfd in = { .fd = 0, .events = POLLIN };
        char line[16];

        if (!fgets(line, sizeof(line), stdin))
                return 1;
        begin();
        work();
        printf("ready\n");
        fflush(stdout);
        while (poll(&in, 1, 20) == 0)
                work();
        return 0;
}
