/*
 * Limits of partitions, on a host node and on a device: refused exactly at the limit, also when many processes race for
 * what is left; kept over restarts; given to default partitions. And what else an administrator decides: who may share,
 * and what ends when a partition is deleted.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { RACERS = 8, PAGES = 64, ROUNDS = 200 };
#define PAGE  4096ull
#define LIMIT (PAGES * PAGE)

static struct daemon d;
static svmd_session *watcher;
static svmd_node host, gpu;

/* In an actor. */
static svmd_session *mine, *second;
static svmd_mem held[PAGES];
static unsigned held_count;

static void connect_actor(struct message *m) {
        message_take(m, try_connect(&mine, d.socket, m->text[0] ? m->text : NULL, 0));
}

static void connect_second(struct message *m) {
        message_take(m, try_connect(&second, d.socket, m->text, 0));
}

static void disconnect_actor(struct message *m) {
        svmd_disconnect(mine);
        mine = NULL;
}

/* Idle memory of a device gives way to what a limit has no room for: what has to stay is pinned. */
static unsigned flags_on(svmd_node node) {
        return node == gpu ? SVMD_MEM_PINNED : 0;
}

/* n[0]: node, n[1]: bytes -> r */
static void create(struct message *m) {
        svmd_mem mem;

        message_take(m, svmd_mem_create(mine, &mem, m->n[1], (svmd_node)m->n[0], flags_on((svmd_node)m->n[0])));
        if (!m->r)
                held[held_count++ % PAGES] = mem;
}

static void release_all(struct message *m) {
        while (held_count > 0)
                ok(svmd_mem_release(mine, held[--held_count]));
}

/* n[0]: node -> n[0]: refusals */
static void race(struct message *m) {
        svmd_node node = (svmd_node)m->n[0];
        uint64_t refused = 0;

        for (unsigned i = 0; i < ROUNDS; i++) {
                svmd_mem mem;
                int r;

                if (held_count == PAGES || (held_count > 0 && random_below(3) == 0)) {
                        ok(svmd_mem_release(mine, held[--held_count]));
                        continue;
                }
                r = svmd_mem_create(mine, &mem, PAGE * (1 + random_below(8)), node, flags_on(node));
                if (r) {
                        want(SVMD_E_LIMIT, r);
                        refused++;
                        continue;
                }
                held[held_count++] = mem;
        }
        m->n[0] = refused;
}

static void make_partition(const char *name, const char *domain, uint64_t *base) {
        struct svmd_limit limits[] = { { .node = host, .max = LIMIT }, { .node = gpu, .max = LIMIT } };
        struct svmd_partition_options o = { .size = sizeof(o),
                                            .length = 4ull << 30,
                                            .window = HARNESS_WINDOW,
                                            .domain = domain,
                                            .mode = 0444,
                                            .limits = limits,
                                            .limits_count = 2 };

        ok(svmd_partition_create(watcher, name, &o, base));
}

struct use {
        uint64_t used[8], peak[8], max[8];
};

static int take_use(const struct svmd_partition_row *row, void *userdata) {
        struct use *u = userdata;

        for (size_t i = 0; i < row->nodes_count; i++) {
                u->used[row->nodes[i].node] = row->nodes[i].used;
                u->peak[row->nodes[i].node] = row->nodes[i].peak;
                u->max[row->nodes[i].node] = row->nodes[i].max;
        }
        return 0;
}

static struct use use_of(const char *name) {
        struct use u = { 0 };

        ok(svmd_query_partitions(watcher, name, take_use, &u));
        return u;
}

static void join(struct actor *a, uint32_t uid, const char *partition, int code) {
        struct message m = { 0 };

        actor_new(a, uid, 3000, 0);
        snprintf(m.text, sizeof(m.text), "%s", partition ? partition : "");
        actor_call(a, connect_actor, &m);
        message_want(code, &m);
}

static void create_expect(struct actor *a, svmd_node node, uint64_t size, int code) {
        struct message m = { .n = { node, size } };

        actor_call(a, create, &m);
        message_want(code, &m);
        must(code != SVMD_E_LIMIT || strstr(m.error, "svmd-ctl partition set"));
}

static void exactly(svmd_node node) {
        struct actor a, b;
        struct use u;

        join(&a, 2001, "limited", 0);
        join(&b, 2002, "limited", 0);
        create_expect(&a, node, LIMIT + PAGE, SVMD_E_LIMIT);
        create_expect(&a, node, LIMIT - PAGE, 0);
        create_expect(&b, node, 2 * PAGE, SVMD_E_LIMIT);
        create_expect(&b, node, PAGE, 0);
        create_expect(&a, node, PAGE, SVMD_E_LIMIT);
        u = use_of("limited");
        must(u.used[node] == LIMIT && u.peak[node] == LIMIT && u.max[node] == LIMIT);
        actor_kill(&a);
        await_settled(watcher, &d, 0, 0);
        must(use_of("limited").used[node] == PAGE);
        create_expect(&b, node, LIMIT - PAGE, 0);
        create_expect(&b, node, PAGE, SVMD_E_LIMIT);
        actor_end(&b);
}

static void racing(svmd_node node) {
        struct actor a[RACERS];
        uint64_t refused = 0;
        struct use u;

        for (unsigned i = 0; i < RACERS; i++)
                join(&a[i], 2001 + i, "limited", 0);
        for (unsigned i = 0; i < RACERS; i++)
                actor_begin(&a[i], race, &(struct message){ .n = { node } });
        for (unsigned i = 0; i < RACERS; i++) {
                struct message m;

                actor_finish(&a[i], &m);
                refused += m.n[0];
        }
        await_settled(watcher, &d, 0, 0);
        u = use_of("limited");
        must(u.used[node] <= LIMIT && u.peak[node] <= LIMIT);
        must(refused > 0 && u.used[node] > 0);
        printf("node %u: %llu of %d refused, peak %llu of %llu\n", node, (unsigned long long)refused, RACERS * ROUNDS,
               (unsigned long long)u.peak[node], LIMIT);
        for (unsigned i = 0; i < RACERS; i++) {
                actor_call(&a[i], release_all, &(struct message){ 0 });
                actor_end(&a[i]);
        }
        await_settled(watcher, &d, 0, 0);
        must(use_of("limited").used[node] == 0);
}

/* The limits outlive svmd, its keeper, and the change of one of them. */
static void durable(void) {
        struct svmd_limit limit = { .node = gpu, .max = 2 * PAGE };
        struct svmd_partition_options o = { .size = sizeof(o), .limits = &limit, .limits_count = 1 };
        struct actor a;
        struct use u;

        ok(svmd_partition_set(watcher, "limited", &o, 0));
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_kill_keeper(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
        u = use_of("limited");
        must(u.max[host] == LIMIT && u.max[gpu] == 2 * PAGE);
        join(&a, 2001, "limited", 0);
        create_expect(&a, gpu, 3 * PAGE, SVMD_E_LIMIT);
        create_expect(&a, gpu, 2 * PAGE, 0);
        create_expect(&a, host, LIMIT, 0);
        create_expect(&a, host, PAGE, SVMD_E_LIMIT);
        /* A limit below what is used takes nothing away, and gives nothing more. */
        limit = (struct svmd_limit){ .node = host, .max = PAGE };
        ok(svmd_partition_set(watcher, "limited", &o, 0));
        must(use_of("limited").used[host] == LIMIT);
        actor_call(&a, release_all, &(struct message){ 0 });
        await_settled(watcher, &d, 0, 0);
        create_expect(&a, host, 2 * PAGE, SVMD_E_LIMIT);
        create_expect(&a, host, PAGE, 0);
        actor_end(&a);
}

/* --default-limit gpu0=1M, *=2M; each user has a partition of its own. */
static void by_default(void) {
        struct actor a, b;

        join(&a, 2001, NULL, 0);
        join(&b, 2002, NULL, 0);
        create_expect(&a, gpu, (1ull << 20) + PAGE, SVMD_E_LIMIT);
        create_expect(&a, gpu, 1ull << 20, 0);
        create_expect(&a, gpu, PAGE, SVMD_E_LIMIT);
        create_expect(&b, gpu, 1ull << 20, 0);
        create_expect(&a, host, 2ull << 20, 0);
        create_expect(&a, host, PAGE, SVMD_E_LIMIT);
        actor_end(&a);
        actor_end(&b);
}

/* The node itself is a limit, and a code of its own. */
static void full_node(void) {
        struct actor a;
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };

        ok(svmd_partition_create(watcher, "unlimited", &o, NULL));
        join(&a, 2001, "unlimited", 0);
        create_expect(&a, gpu, 33ull << 20, SVMD_E_NO_ROOM);
        create_expect(&a, gpu, 32ull << 20, 0);
        create_expect(&a, gpu, PAGE, SVMD_E_NO_ROOM);
        actor_end(&a);
        await_settled(watcher, &d, 0, 0);
}

static void expect_gone(struct message *m) {
        message_take(m, svmd_dispatch(mine));
        while (!m->r) {
                usleep(1000);
                message_take(m, svmd_dispatch(mine));
        }
}

static void deletion(void) {
        struct message m = { 0 };
        struct actor a, b;

        make_partition("doomed", NULL, NULL);
        join(&a, 2001, "doomed", 0);
        create_expect(&a, host, 4 * PAGE, 0);
        want(SVMD_E_BUSY, svmd_partition_delete(watcher, "doomed", 0, 0));
        want(SVMD_E_BUSY, svmd_partition_delete(watcher, "doomed", 0, 1));
        ok(svmd_partition_delete(watcher, "doomed", SVMD_DELETE_END_SESSIONS, 1));
        create_expect(&a, host, PAGE, 0);
        ok(svmd_partition_delete(watcher, "doomed", SVMD_DELETE_END_SESSIONS, 0));
        actor_call(&a, expect_gone, &m);
        message_want(SVMD_E_GONE, &m);
        must(strlen(m.error) > 10);
        await_settled(watcher, &d, 0, 0);
        want(SVMD_E_NO_SUCH, svmd_partition_delete(watcher, "doomed", 0, 0));
        join(&b, 2001, "doomed", SVMD_E_NO_SUCH);
        actor_end(&a);
        actor_end(&b);
        make_partition("doomed", NULL, NULL); /* the name is free again */
        ok(svmd_partition_delete(watcher, "doomed", 0, 0));
}

/* Partitions that may share never overlap, those of another domain may; a process uses one domain. */
static void domains(void) {
        uint64_t one, two, abroad;
        struct message m = { .text = "abroad" };
        struct actor a;

        make_partition("one", "d1", &one);
        make_partition("two", "d1", &two);
        make_partition("abroad", "d2", &abroad);
        must(one != two && abroad == one);
        join(&a, 2001, "one", 0);
        actor_call(&a, connect_second, &m);
        message_want(SVMD_E_DENIED, &m);
        must(strstr(m.error, "domain"));
        strcpy(m.text, "two");
        actor_call(&a, connect_second, &m);
        message_want(0, &m);
        actor_end(&a);
        join(&a, 2001, "abroad", 0);
        actor_call(&a, disconnect_actor, &m);
        actor_end(&a);
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=32M",   "--default-limit",
                                               "gpu0=1M",     "--default-limit", "*=2M",
                                               "--log-level", "warning",         NULL };

        harness_begin("system_limits");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        host = node_named(watcher, "host0");
        gpu = node_named(watcher, "gpu0");
        make_partition("limited", NULL, NULL);
        exactly(host);
        await_settled(watcher, &d, 0, 0);
        exactly(gpu);
        racing(host);
        racing(gpu);
        durable();
        by_default();
        full_node();
        deletion();
        domains();
        await_settled(watcher, &d, 0, 0);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
