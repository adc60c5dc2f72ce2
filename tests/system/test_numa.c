/*
 * Host nodes of a machine that has several: svmd shows them as the kernel does, memory lies where it was wished to, and
 * managed memory moves between them without losing a byte: by order, off a node that is drained, and when it is cold,
 * to one without CPUs. What the kernel says of each page is the oracle. The virtual machine's has four NUMA nodes, two
 * of them without CPUs; on a machine of one node svmd is told of four that there are not, and all but the oracle holds.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "numa.h"

enum { PART = 4 << 20, EXPLICIT = 2 << 20 };

static struct daemon d;
static svmd_session *watcher;
static struct numa numa;
static bool real; /* the kernel has these nodes too */
static char sys_root[64] = "/sys";

/* In an actor. */
static svmd_session *mine;

/* ---- what is shown ---- */

static int compare_node(const struct svmd_node_row *row, void *userdata) {
        unsigned *hosts = userdata;
        char name[16];

        if (row->kind != SVMD_NODE_HOST)
                return 0;
        snprintf(name, sizeof(name), "host%u", *hosts);
        must(*hosts < numa.count && row->id == *hosts && strcmp(row->name, name) == 0);
        must(row->capacity > 64ull << 20);
        ++*hosts;
        return 0;
}

struct links {
        unsigned from, seen;
};

static int compare_link(const struct svmd_link_row *row, void *userdata) {
        struct links *l = userdata;

        must(strcmp(row->type, "numa") == 0 && row->to < numa.count && row->to != l->from);
        must(row->weight == numa.to[l->from][row->to]);
        l->seen++;
        return 0;
}

static void test_shown(void) {
        unsigned hosts = 0;

        ok(svmd_query_nodes(watcher, compare_node, &hosts));
        must(hosts == numa.count);
        for (unsigned i = 0; i < numa.count; i++) {
                struct links l = { .from = i };

                ok(svmd_query_links(watcher, i, compare_link, &l));
                must(l.seen == numa.count - 1);
        }
        printf("%u host nodes and their distances are shown\n", hosts);
}

/* ---- where memory lies ---- */

static void client_begin(struct message *m) {
        connect_to(&mine, d.socket, NULL);
}

static void client_end(struct message *m) {
        svmd_disconnect(mine);
}

static const unsigned granules[] = { 4096, 65536, 2 << 20 };

static void prefer(void *at, size_t size, svmd_node node) {
        struct svmd_advice a = { .size = sizeof(a), .what = SVMD_ADVISE_PREFERRED, .preferred = node };

        ok(svmd_advise(mine, at, size, &a));
}

static void touch(char *at, size_t size, char value) {
        for (size_t i = 0; i < size; i += 4096)
                at[i] = value;
}

/* n[0]: bytes of a granule */
static void client_managed(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = (unsigned)m->n[0] };
        svmd_node gpu = node_named(mine, "gpu0");
        char *range;
        void *at;

        ok(svmd_address_reserve(mine, &at, (size_t)PART * (numa.count + 1), 0, NULL, &o));
        range = at;
        for (unsigned i = 0; i < numa.count; i++) {
                char *part = range + (size_t)PART * i;

                prefer(part, PART, i);
                touch(part, PART, (char)(i + 1));
                must(numa_is_on(&numa, part, PART, i));
                ok(svmd_migrate(mine, NULL, part, PART, gpu));
                for (size_t k = 0; k < PART; k += 4096)
                        must(part[k] == (char)(i + 1));
                must(numa_is_on(&numa, part, PART, i)); /* what comes back, too */
        }
        range += (size_t)PART * numa.count; /* of which nothing was said: where there are CPUs */
        touch(range, PART, 1);
        for (unsigned i = 0; i < numa.count; i++) {
                size_t pages[NUMA_NODES_MAX];

                numa_pages(&numa, range, PART, pages);
                must(numa.cpus[i] || pages[i] == 0);
        }
        ok(svmd_address_free(mine, at));
}

static void client_explicit(struct message *m) {
        for (unsigned i = 0; i < numa.count; i++)
                for (unsigned flags = 0; flags <= SVMD_MEM_SHAREABLE; flags++) {
                        svmd_mem mem;
                        void *at;

                        ok(svmd_address_reserve(mine, &at, EXPLICIT, 0, NULL, NULL));
                        ok(svmd_mem_create(mine, &mem, EXPLICIT, i, flags));
                        ok(svmd_mem_map(mine, SVMD_CPU, (uint64_t)at, EXPLICIT, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
                        touch(at, EXPLICIT, 1);
                        must(numa_is_on(&numa, at, EXPLICIT, i));
                        ok(svmd_address_free(mine, at));
                        ok(svmd_mem_release(mine, mem));
                }
}

static void test_placed(void) {
        struct actor a;

        actor_new(&a, 2001, 2001, 0);
        actor_call(&a, client_begin, NULL);
        for (unsigned i = 0; i < sizeof(granules) / sizeof(granules[0]); i++) {
                struct message m = { .n = { granules[i] } };

                actor_call(&a, client_managed, &m);
                printf("granules of %u KiB lie where it was advised\n", granules[i] >> 10);
        }
        actor_call(&a, client_explicit, NULL);
        printf("explicit memory lies where it was created\n");
        actor_call(&a, client_end, NULL);
        actor_end(&a);
}

/* ---- from host to host ---- */

enum { MOVED = 8 << 20 };

static uint64_t *words; /* of the range: each is its own number, and the round */
static size_t words_count;

static void range_new(size_t size, unsigned granule) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .kind = SVMD_SHARED, .granule = granule, .name = "range", .mode = 0600
        };
        void *at;

        ok(svmd_address_reserve(mine, &at, size, 0, NULL, &o));
        words = at;
        words_count = size / 8;
}

static void range_write(uint64_t round) {
        for (size_t i = 0; i < words_count; i += 64)
                words[i] = round << 32 | i;
}

static void range_check(uint64_t round) {
        for (size_t i = 0; i < words_count; i += 64)
                must(words[i] == (round << 32 | i));
}

struct lying {
        uint64_t resident[NUMA_NODES_MAX], out[NUMA_NODES_MAX], elsewhere;
};

static int add_run(const struct svmd_residency_row *row, void *userdata) {
        struct lying *l = userdata;

        if (row->node < numa.count && strcmp(row->state, "resident") == 0)
                l->resident[row->node] += row->length;
        else if (row->node < numa.count && strcmp(row->state, "out") == 0)
                l->out[row->node] += row->length;
        else
                l->elsewhere += row->length;
        return 0;
}

static struct lying where(void) {
        struct lying l = { 0 };

        ok(svmd_query_residency(mine, NULL, (uint64_t)words, words_count * 8, 0, add_run, &l));
        return l;
}

static bool is_resident_on(unsigned node) {
        struct lying l = where();

        return l.resident[node] == words_count * 8 && (!real || numa_is_on(&numa, words, words_count * 8, node));
}

struct managed {
        svmd_node node;
        uint64_t bytes;
};

static int take_managed(const struct svmd_node_row *row, void *userdata) {
        struct managed *m = userdata;

        if (row->id == m->node)
                m->bytes = row->managed;
        return 0;
}

static uint64_t managed_on(svmd_session *s, svmd_node node) {
        struct managed m = { .node = node };

        ok(svmd_query_nodes(s, take_managed, &m));
        return m.bytes;
}

/* A thread goes on a moment before svmd has noted that its granule has come. */
static void await_managed(svmd_session *s, svmd_node node, uint64_t bytes) {
        uint64_t until = now_ms() + CEILING_MS;

        while (managed_on(s, node) != bytes) {
                must(now_ms() < until);
                usleep(5000);
        }
}

/* n[0]: bytes of a granule. Each host in turn, by order, while it is written in between. */
static void client_moves(struct message *m) {
        uint64_t round = 1;

        range_new(MOVED, (unsigned)m->n[0]);
        range_write(round);
        for (unsigned times = 0; times < 2; times++)
                for (unsigned i = 0; i < numa.count; i++) {
                        unsigned to = (i + times) % numa.count;

                        ok(svmd_migrate(mine, NULL, words, 0, to));
                        range_check(round);
                        must(is_resident_on(to));
                        await_managed(mine, to, MOVED);
                        range_write(++round);
                        ok(svmd_migrate(mine, NULL, words, 0, to)); /* is there already */
                        range_check(round);
                }
        ok(svmd_migrate(mine, NULL, words, 0, node_named(mine, "gpu0")));
        ok(svmd_migrate(mine, NULL, words, 0, numa.count - 1));
        range_check(round);
        must(is_resident_on(numa.count - 1));
        ok(svmd_address_free(mine, words));
}

static void test_moved(void) {
        struct actor a;

        actor_new(&a, 2001, 2001, 0);
        actor_call(&a, client_begin, NULL);
        for (unsigned i = 0; i < sizeof(granules) / sizeof(granules[0]); i++) {
                struct message m = { .n = { granules[i] } };

                actor_call(&a, client_moves, &m);
                printf("granules of %u KiB have been to each host and kept every byte\n", granules[i] >> 10);
        }
        actor_call(&a, client_end, NULL);
        actor_end(&a);
}

/* ---- drained ---- */

static void client_fill(struct message *m) {
        range_new(MOVED, 65536);
        range_write(1);
        ok(svmd_migrate(mine, NULL, words, 0, 0));
        must(is_resident_on(0));
}

/* n[0]: the node that it has left */
static void client_has_left(struct message *m) {
        struct lying l = where();

        must(l.resident[m->n[0]] == 0 && l.out[m->n[0]] == 0);
        range_check(1);
        if (real) {
                size_t pages[NUMA_NODES_MAX];

                numa_pages(&numa, words, MOVED, pages);
                must(pages[m->n[0]] == 0);
        }
}

static void client_free(struct message *m) {
        ok(svmd_address_free(mine, words));
}

static void test_drained(void) {
        struct actor a;
        struct message m = { 0 };

        actor_new(&a, 2001, 2001, 0);
        actor_call(&a, client_begin, NULL);
        actor_call(&a, client_fill, NULL);
        for (unsigned i = 0; i + 1 < numa.count; i++) { /* what leaves one comes to the next in the end */
                ok(svmd_node_set(watcher, NULL, i, SVMD_NODE_DRAIN));
                must(managed_on(watcher, i) == 0);
                m = (struct message){ .n = { i } };
                actor_call(&a, client_has_left, &m);
        }
        await_managed(watcher, numa.count - 1, MOVED);
        want(SVMD_E_BUSY, svmd_node_set(watcher, NULL, numa.count - 1, SVMD_NODE_DRAIN));
        ok(svmd_node_set(watcher, NULL, 0, SVMD_NODE_ONLINE));
        ok(svmd_node_set(watcher, NULL, numa.count - 1, SVMD_NODE_OFFLINE));
        await_managed(watcher, numa.count - 1, 0);
        m = (struct message){ .n = { numa.count - 1 } };
        actor_call(&a, client_has_left, &m);
        for (unsigned i = 1; i < numa.count; i++)
                ok(svmd_node_set(watcher, NULL, i, SVMD_NODE_ONLINE));
        actor_call(&a, client_free, NULL);
        actor_call(&a, client_end, NULL);
        actor_end(&a);
        printf("nodes that are drained are empty, and their bytes elsewhere\n");
}

/* ---- cold ---- */

enum { NEAR = 8 << 20, ALL = 24 << 20 };

/* The nearest without CPUs. */
static unsigned far_of(unsigned node) {
        unsigned found = numa.count;

        for (unsigned i = 0; i < numa.count; i++)
                if (!numa.cpus[i] && (found == numa.count || numa.to[node][i] < numa.to[node][found]))
                        found = i;
        return found;
}

static void client_begin_tiers(struct message *m) {
        connect_to(&mine, d.socket, "tiers");
        range_new(ALL, 65536);
}

static bool is_all_near(void) {
        return where().resident[0] == words_count * 8;
}

/* Only so much fits where CPUs are: what was written first has become cold. */
static void client_tiers(struct message *m) {
        unsigned far = far_of(0);
        struct lying l;

        range_write(1);
        for (uint64_t until = now_ms() + CEILING_MS;; usleep(5000)) { /* what is above the limit leaves */
                l = where();
                if (l.resident[0] <= NEAR && l.resident[0] + l.out[far] == ALL)
                        break;
                must(now_ms() < until);
        }
        printf("%" PRIu64 " MiB near, %" PRIu64 " MiB far, %" PRIu64 " MiB elsewhere\n", l.resident[0] >> 20,
               l.out[far] >> 20, (ALL - l.resident[0] - l.out[far]) >> 20);
        must(l.resident[0] + l.out[far] == ALL && l.out[far] >= ALL - NEAR);
        range_check(1);
        words_count = NEAR / 2 / 8;
        for (uint64_t until = now_ms() + CEILING_MS; !is_all_near();) { /* what is used comes to be near */
                must(now_ms() < until);
                range_check(1);
        }
        ok(svmd_evict(mine, NULL, words, NEAR / 2));
        must(where().out[far] == NEAR / 2);
        words += ALL / 2 / 8;
        for (uint64_t until = now_ms() + CEILING_MS; !is_all_near(); usleep(5000)) { /* and what is hinted at */
                must(now_ms() < until);
                ok(svmd_prefetch(mine, NULL, words, NEAR / 2, 0));
        }
        for (size_t i = 0; i < words_count; i += 64)
                must(words[i] == (1ull << 32 | (i + ALL / 2 / 8)));
        words -= ALL / 2 / 8;
        ok(svmd_address_free(mine, words));
}

static void test_tiers(void) {
        struct svmd_limit limits[NUMA_NODES_MAX];
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444, .limits = limits
        };
        struct actor a;

        for (unsigned i = 0; i < numa.count; i++)
                if (numa.cpus[i])
                        limits[o.limits_count++] = (struct svmd_limit){ .node = i, .max = i ? 0 : NEAR };
        if (o.limits_count == numa.count) {
                printf("cold memory does not apply in this run: all host nodes have CPUs\n");
                return;
        }
        ok(svmd_partition_create(watcher, "tiers", &o, NULL));
        actor_new(&a, 2001, 2001, 0);
        actor_call(&a, client_begin_tiers, NULL);
        actor_call(&a, client_tiers, NULL);
        actor_call(&a, client_end, NULL);
        actor_end(&a);
        printf("what is cold lies on the nearest host without CPUs, and comes back\n");
}

int main(void) {
        const char *options[] = {
                "--soft-node", "gpu0:size=64M", "--log-level", "warning", "--sys-root", sys_root, NULL
        };

        harness_begin("system_numa");
        if (harness_one_user())
                return 0;
        numa_read(&numa);
        real = numa.count > 1;
        if (!real)
                numa_imagine(&numa, sys_root, sizeof(sys_root));
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        test_shown();
        if (real)
                test_placed();
        else
                printf("where memory lies does not apply in this run: this machine has one NUMA node\n");
        test_moved();
        test_drained();
        test_tiers();
        svmd_disconnect(watcher);
        daemon_end(&d);
        if (!real)
                numa_forget(sys_root);
        return 0;
}
