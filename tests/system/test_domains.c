/*
 * Partitions of several domains at the very same addresses, in use at once: each process finds what it wrote wherever
 * that lies meanwhile, also after svmd was killed; and what an administrator asks or orders of one partition's address
 * is about that partition.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { DOMAINS = 4, USER = 2001, GRANULE = 64 << 10, GRANULES = 16, SIZE = GRANULES * GRANULE, ROUNDS = 120 };
enum { PER_GRANULE = GRANULE / 8 };

static const char *const options[] = { "--host-capacity", "64M",     "--soft-node", "gpu0:size=32M,faults=on",
                                       "--log-level",     "warning", NULL };

static struct daemon d;
static svmd_session *watcher;
static const void *address; /* of the range that each of them has */

/* ---- in an actor ---- */

static svmd_session *mine;
static volatile uint64_t *words;
static uint64_t own, version[GRANULES]; /* 0: zeroes */

static uint64_t word_of(unsigned granule, size_t i) {
        return version[granule] ? (own << 56 | version[granule] << 20 | granule << 14 | i) : 0;
}

static void fill(unsigned granule, uint64_t round) {
        version[granule] = round;
        for (size_t i = 0; i < PER_GRANULE; i++)
                words[granule * PER_GRANULE + i] = word_of(granule, i);
}

static void look(unsigned granule) {
        for (size_t i = 0; i < PER_GRANULE; i++)
                must(words[granule * PER_GRANULE + i] == word_of(granule, i));
}

/* text: partition, n[0]: its number -> n[0]: address */
static void come(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .name = "ram", .kind = SVMD_SHARED, .granule = GRANULE };
        void *at;

        connect_to(&mine, d.socket, m->text);
        ok(svmd_address_reserve(mine, &at, SIZE, 0, NULL, &o));
        words = at;
        own = m->n[0] + 1;
        m->n[0] = (uint64_t)(uintptr_t)at;
}

static void random_step(uint64_t round) {
        unsigned first = (unsigned)random_below(GRANULES), count = 1 + (unsigned)random_below(GRANULES - first);
        const void *at = (const void *)(uintptr_t)(words + (size_t)first * PER_GRANULE);

        switch (random_below(5)) {
        case 0: ok(svmd_migrate(mine, NULL, at, (size_t)count * GRANULE, node_named(mine, "gpu0"))); break;
        case 1: ok(svmd_migrate(mine, NULL, at, (size_t)count * GRANULE, node_named(mine, "host0"))); break;
        case 2:
                ok(svmd_discard(mine, NULL, at, GRANULE));
                version[first] = 0;
                break;
        case 3: fill(first, round); break;
        default: look(first); break;
        }
}

/* n[0]: the first round */
static void use(struct message *m) {
        for (uint64_t round = m->n[0]; round < m->n[0] + ROUNDS; round++)
                random_step(round);
        for (unsigned i = 0; i < GRANULES; i++)
                look(i);
}

/* text: node */
static void move_all(struct message *m) {
        for (unsigned i = 0; i < GRANULES; i++)
                fill(i, 1);
        ok(svmd_migrate(mine, NULL, (const void *)(uintptr_t)words, SIZE, node_named(mine, m->text)));
}

static void look_all(struct message *m) {
        for (unsigned i = 0; i < GRANULES; i++)
                look(i);
}

/* ---- in the test ---- */

static void name_of(char *name, size_t size, unsigned number) {
        snprintf(name, size, "twin%u", number);
}

static uint64_t make_partition(unsigned number) {
        struct svmd_partition_options o = { .size = sizeof(o),
                                            .length = 4ull << 30,
                                            .window = HARNESS_WINDOW,
                                            .mode = 0600,
                                            .uid = USER,
                                            .gid = USER };
        char name[16], domain[16];
        uint64_t base;

        name_of(name, sizeof(name), number);
        snprintf(domain, sizeof(domain), "domain%u", number);
        o.domain = domain;
        ok(svmd_partition_create(watcher, name, &o, &base));
        return base;
}

static void for_all(struct actor *a, actor_fn fn, uint64_t n) {
        for (unsigned i = 0; i < DOMAINS; i++)
                actor_begin(&a[i], fn, &(struct message){ .n = { n } });
        for (unsigned i = 0; i < DOMAINS; i++)
                actor_finish(&a[i], NULL);
}

static void restart(void) {
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
}

static int add_bytes(const struct svmd_residency_row *row, void *userdata) {
        uint64_t *bytes = userdata;

        if (row->node != SVMD_NODE_NONE)
                bytes[row->node] += row->length;
        return 0;
}

static uint64_t bytes_on(unsigned number, const char *node) {
        uint64_t bytes[8] = { 0 };
        char name[16];

        name_of(name, sizeof(name), number);
        ok(svmd_query_residency(watcher, name, (uint64_t)(uintptr_t)address, SIZE, 0, add_bytes, bytes));
        return bytes[node_named(watcher, node)];
}

/* One of them is on the device, and is there by an administrator's word alone. */
static void test_orders(struct actor *a) {
        struct message m = { .text = "host0" };

        for (unsigned i = 0; i < DOMAINS; i++)
                actor_call(&a[i], move_all, &m);
        ok(svmd_partition_migrate(watcher, NULL, "twin2", (uint64_t)(uintptr_t)address, SIZE,
                                  node_named(watcher, "gpu0")));
        for (unsigned i = 0; i < DOMAINS; i++) {
                must(bytes_on(i, "gpu0") == (i == 2 ? (uint64_t)SIZE : 0));
                must(bytes_on(i, "host0") == (i == 2 ? 0 : (uint64_t)SIZE));
        }
        ok(svmd_partition_revoke(watcher, NULL, "twin1", (uint64_t)(uintptr_t)address, 0));
        for (unsigned i = 0; i < DOMAINS; i++)
                if (i != 1)
                        actor_call(&a[i], look_all, &m);
        ok(svmd_partition_revoke(watcher, NULL, "twin1", (uint64_t)(uintptr_t)address, 1));
        actor_call(&a[1], look_all, &m);
}

/* One ends, and the others keep their bytes: nothing of them was under its name. */
static void test_one_ends(struct actor *a, uint64_t base) {
        actor_kill(&a[0]);
        ok(svmd_partition_delete(watcher, "twin0", SVMD_DELETE_END_SESSIONS, 0));
        for (unsigned i = 1; i < DOMAINS; i++)
                actor_call(&a[i], use, &(struct message){ .n = { 1000 } });
        must(make_partition(0) == base);
}

int main(void) {
        struct actor a[DOMAINS];
        uint64_t base = 0;

        harness_begin("system_domains");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        for (unsigned i = 0; i < DOMAINS; i++) {
                struct message m = { .n = { i } };
                uint64_t at = make_partition(i);

                base = i ? base : at;
                must(at == base);
                actor_new(&a[i], USER, USER, 0);
                name_of(m.text, sizeof(m.text), i);
                actor_call(&a[i], come, &m);
                address = i ? address : (void *)(uintptr_t)m.n[0];
                must(m.n[0] == (uint64_t)(uintptr_t)address);
        }
        for_all(a, use, 1);
        restart();
        for_all(a, use, 1 + ROUNDS);
        test_orders(a);
        test_one_ends(a, base);
        for (unsigned i = 1; i < DOMAINS; i++)
                actor_end(&a[i]);
        await_settled(watcher, &d, 0, 0);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
