/*
 * A machine of two hives, recorded (an MI210 with eight GPUs, where SVMD_FIXTURES names the folder of the recordings)
 * or generated: what GPUs of one hive share stays in it. It begins there, is shared there when two take it from each
 * other, and leaves a GPU for another one of its hive where the profile says so.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { GRANULE = 65536, COUNT = 64, HIVE = 4 };

static struct daemon d;
static svmd_session *s, *watcher;
static svmd_node hive[2][HIVE];
static unsigned hives, members[2];
static uint64_t ids[2];
static svmd_space space[HIVE]; /* of the first hive */
static char *words;
static char folder[64], machine[160];

/* ---- the machine ---- */

static void run(const char *format, const char *a, const char *b) {
        char command[512];

        snprintf(command, sizeof(command), format, a, b);
        must(system(command) == 0);
}

static void make_machine(void) {
        const char *fixtures = getenv("SVMD_FIXTURES");

        snprintf(folder, sizeof(folder), "/tmp/svmd-hive-XXXXXX");
        must(mkdtemp(folder));
        if (fixtures) {
                snprintf(machine, sizeof(machine), "%s/machine", folder);
                run("mkdir %s && tar -C %s/machine --strip-components=1 -xJf \"$SVMD_FIXTURES\"/kfd-mi210-8gpu-2hives.tar.xz",
                    machine, folder);
        } else {
                snprintf(machine, sizeof(machine), "%s/machine", folder);
                run("python3 %s %s --gpus 8 --hives 2 --mem 1G --host-mem 1G", MKMACHINE, machine);
        }
        printf("a %s machine of two hives\n", fixtures ? "recorded" : "generated");
}

static int take_node(const struct svmd_node_row *row, void *userdata) {
        unsigned h = 0;

        if (!row->hive)
                return 0;
        while (h < hives && ids[h] != row->hive)
                h++;
        must(h < 2 && members[h] < HIVE);
        ids[h] = row->hive;
        hives = h == hives ? hives + 1 : hives;
        hive[h][members[h]++] = row->id;
        return 0;
}

static void start(const char *keys) {
        struct svmd_partition_options o = { .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW };
        struct svmd_reserve_options r = { .size = sizeof(r), .mode = 0600, .kind = SVMD_SHARED, .granule = GRANULE };
        char profile[96];
        const char *options[] = { "--machine", machine, "--policy", profile, NULL };
        void *at = NULL;
        FILE *f;

        snprintf(profile, sizeof(profile), "%s/profile.conf", folder);
        f = fopen(profile, "w");
        must(f && fprintf(f, "%s\n", keys) > 0 && fclose(f) == 0);
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        connect_to(&s, d.socket, "lab");
        hives = members[0] = members[1] = 0;
        ok(svmd_query_nodes(s, take_node, NULL));
        must(members[0] == HIVE && members[1] == HIVE);
        ok(svmd_address_reserve(s, &at, COUNT * GRANULE, 0, NULL, &r));
        words = at;
        for (unsigned i = 0; i < HIVE; i++)
                ok(svmd_space_create(s, &space[i], hive[0][i]));
}

static void end(void) {
        svmd_disconnect(s);
        svmd_disconnect(watcher);
        daemon_end(&d);
}

/* ---- what is asked ---- */

static void add(unsigned gpu, unsigned granule) {
        struct svmd_device_op op = { .size = sizeof(op), .op = SVMD_DEVICE_ATOMIC_ADD, .value = 1 };
        svmd_fence *f;

        op.space = space[gpu];
        op.dst = (uint64_t)(words + (size_t)granule * GRANULE);
        ok(svmd_submit(s, &f, &op));
        ok(svmd_fence_wait(f, CEILING_MS, NULL));
        svmd_fence_free(f);
}

struct places {
        unsigned of_hive, elsewhere;
        uint32_t trips; /* to host memory and back */
        svmd_node last;
};

static int take_place(const struct svmd_residency_row *row, void *userdata) {
        struct places *p = userdata;
        bool of_hive = false;

        for (unsigned i = 0; i < HIVE; i++)
                of_hive |= row->node == hive[0][i];
        p->of_hive += of_hive;
        p->elsewhere += !of_hive;
        p->trips += row->outs + row->ins;
        p->last = row->node;
        return 0;
}

static struct places look(unsigned first, unsigned count) {
        struct places p = { 0 };

        ok(svmd_query_residency(s, NULL, (uint64_t)words + (uint64_t)first * GRANULE, (size_t)count * GRANULE, 1,
                                take_place, &p));
        must(p.of_hive + p.elsewhere == count);
        return p;
}

/* ---- tests ---- */

/* Four take one granule from each other, and no byte of it leaves the hive. */
static void test_shared(void) {
        struct places p;

        start("bounces = 3\nlapse-us = 60000000\nepoch-ms = 3600000\npin-ms = 600000");
        for (unsigned i = 0; i < 200; i++) {
                add(i % HIVE, 0);
                if (i % 20 == 0)
                        must(look(0, 1).of_hive == 1);
        }
        p = look(0, 1);
        must(p.of_hive == 1 && p.trips == 0);
        must(*(volatile uint64_t *)words == 200);
        end();
        printf("shared by four GPUs of a hive, in it\n");
}

/* Where one of them has no room for more, the others of its hive do. */
static void test_begins(void) {
        struct svmd_limit limit = { .node = hive[0][0], .max = 8ull * GRANULE };
        struct svmd_partition_options o = { .size = sizeof(o), .limits = &limit, .limits_count = 1 };
        struct places p;

        start("hive-first = on");
        ok(svmd_partition_set(watcher, "lab", &o, 0));
        for (unsigned i = 0; i < COUNT; i++)
                add(0, i);
        p = look(0, COUNT);
        must(p.of_hive == COUNT && p.elsewhere == 0);
        end();
        printf("begins in the hive\n");
}

static void evict(void) {
        svmd_fence *f;

        ok(svmd_evict(s, &f, words, 8 * GRANULE));
        ok(svmd_fence_wait(f, CEILING_MS, NULL));
        svmd_fence_free(f);
}

/* Where the profile says so, a touch by a peer maps, and what leaves goes to a peer. */
static void test_profile(void) {
        start("peer-moves = off\nevict-to-peer = on");
        for (unsigned i = 0; i < 8; i++) {
                add(0, i);
                add(1, i);
        }
        must(look(7, 1).last == hive[0][0]);
        evict();
        must(look(0, 8).of_hive == 8 && look(7, 1).last != hive[0][0]);
        end();
        start("peer-moves = on\nevict-to-peer = off");
        for (unsigned i = 0; i < 8; i++) {
                add(0, i);
                add(1, i);
        }
        must(look(7, 1).last == hive[0][1]);
        evict();
        must(look(0, 8).elsewhere == 8);
        for (unsigned i = 0; i < 8; i++)
                must(*(volatile uint64_t *)(words + (size_t)i * GRANULE) == 2);
        end();
        printf("mapped within the hive, and evicted within it, where the profile says so\n");
}

int main(void) {
        harness_begin("hive");
        make_machine();
        test_shared();
        test_begins();
        test_profile();
        run("rm -r %s%s", folder, "");
        return 0;
}
