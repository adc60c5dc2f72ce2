/*
 * One process on behalf of several guests.
 *
 *      svmd-proxy GUEST...
 *
 * A guest is a partition of that name. Each gets a session, a thread, 1 MiB of managed memory and a space of the first
 * device; the space shows the guest's own memory at the same address as that of every other guest does. Then the proxy
 * uses what is one guest's for another one, as a mistaken program would, and prints what it is told.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <svmd.h>

enum { GUESTS_MAX = 64, SIZE = 1 << 20 };

/* Everything of a guest hangs on its session: a proxy that passes this around, and no bare handle, mixes nothing up. */
struct guest {
        const char *name;
        svmd_session *session;
        svmd_node device;
        svmd_space space;
        svmd_mem memory;
        uint64_t *ram;
};

static void must(int code, const struct guest *g, const char *step) {
        if (code == SVMD_OK)
                return;
        fprintf(stderr, "%s: %s: %s: %s\n", g->name, step, svmd_status_name(code), svmd_error());
        exit(1);
}

static int first_device(const struct svmd_node_row *row, void *userdata) {
        if (row->kind != SVMD_NODE_SOFT)
                return 0;
        *(svmd_node *)userdata = row->id;
        return 1;
}

static void come(struct guest *g) {
        struct svmd_connect_options connect = { .size = sizeof(connect), .partition = g->name };
        struct svmd_reserve_options managed = { .size = sizeof(managed), .kind = SVMD_SHARED, .granule = 64 << 10 };
        void *ram;

        must(svmd_connect(&g->session, &connect), g, "connect");
        must(svmd_address_reserve(g->session, &ram, SIZE, 0, NULL, &managed), g, "reserve");
        g->ram = ram;
        if (svmd_query_nodes(g->session, first_device, &g->device) != 1) {
                fprintf(stderr, "there is no device: start svmd with one (--soft-node)\n");
                exit(1);
        }
        must(svmd_space_create(g->session, &g->space, g->device), g, "create a space");
        must(svmd_mem_create(g->session, &g->memory, SIZE, g->device, 0), g, "create memory");
        must(svmd_mem_map(g->session, g->space, SIZE, SIZE, 0, g->memory, SVMD_ACCESS_READ_WRITE, 0), g, "map");
}

/* The device fills the guest's memory, the CPU its range; what is there is then the guest's own number. */
static void *work(void *userdata) {
        struct guest *g = userdata;
        struct svmd_device_op op = {
                .size = sizeof(op), .op = SVMD_DEVICE_FILL, .space = g->space, .dst = SIZE, .length = SIZE, .value = 7
        };
        svmd_fence *fence;

        must(svmd_submit(g->session, &fence, &op), g, "submit");
        for (size_t i = 0; i < SIZE / sizeof(*g->ram); i++)
                g->ram[i] = (uintptr_t)g->name + i;
        must(svmd_migrate(g->session, NULL, g->ram, SIZE, g->device), g, "migrate");
        must(svmd_fence_wait(fence, -1, NULL), g, "fill");
        svmd_fence_free(fence);
        for (size_t i = 0; i < SIZE / sizeof(*g->ram); i++)
                if (g->ram[i] != (uintptr_t)g->name + i)
                        fprintf(stderr, "%s: word %zu is not as it was written\n", g->name, i);
        return NULL;
}

static void mix_up(const struct guest *g, const struct guest *other) {
        int r = svmd_mem_map(g->session, g->space, 2 * SIZE, SIZE, 0, other->memory, SVMD_ACCESS_READ, 0);

        printf("%s with %s's memory: %s: %s\n", g->name, other->name, svmd_status_name(r), svmd_error());
        r = svmd_migrate(g->session, NULL, other->ram, SIZE, g->device);
        printf("%s with %s's address: %s: %s\n", g->name, other->name, svmd_status_name(r), svmd_error());
}

int main(int argc, char **argv) {
        static struct guest guest[GUESTS_MAX];
        pthread_t thread[GUESTS_MAX];
        int count = argc - 1;

        if (count < 1 || count > GUESTS_MAX) {
                fprintf(stderr, "Usage: svmd-proxy GUEST...\n");
                return 2;
        }
        for (int i = 0; i < count; i++) {
                guest[i].name = argv[i + 1];
                come(&guest[i]);
                printf("%s: 1 MiB at %p\n", guest[i].name, (void *)guest[i].ram);
        }
        for (int i = 0; i < count; i++)
                if (pthread_create(&thread[i], NULL, work, &guest[i]) != 0)
                        must(SVMD_E_SYSTEM, &guest[i], "start a thread");
        for (int i = 0; i < count; i++)
                pthread_join(thread[i], NULL);
        if (count > 1)
                mix_up(&guest[0], &guest[1]);
        for (int i = 0; i < count; i++)
                svmd_disconnect(guest[i].session);
        return 0;
}
