/*
 * One process that holds many partitions on behalf of guests, a thread each: a QEMU with native contexts, an inference
 * server. Each guest has its own addresses, limits, device space and userfaultfd; what is another one's is refused with
 * its partition's name, and is never touched; and with the process everything of all of them goes.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

/* The low window has room for no more than 48. */
#ifdef __SANITIZE_THREAD__
enum { GUESTS = 16 };
#else
enum { GUESTS = 64 };
#endif
enum { USER = 2001, ROUNDS = 4, SIZE = 256 << 10, PIECE = 64 << 10, LIMIT = 512 << 10, WORDS = SIZE / 8 };
#define LENGTH (4ull << 30)
#define AT     (1ull << 30) /* in every guest's device space */
#define OFFSET (LENGTH / 2)

static const char *const options[] = { "--host-capacity", "128M",    "--soft-node", "gpu0:size=96M,faults=on",
                                       "--log-level",     "warning", NULL };

static struct daemon d;
static svmd_session *watcher;

static void name_of(char *name, size_t size, unsigned number) {
        snprintf(name, size, "guest%02u", number);
}

/* ---- in the proxy, a thread a guest ---- */

static struct guest {
        svmd_session *s;
        volatile uint64_t *words;
        svmd_space space;
        svmd_mem mem;
        uint64_t round;
        char name[16];
        svmd_node gpu;
        unsigned number;
} guest[GUESTS];

static uint64_t word_of(const struct guest *g, size_t i) {
        return (g->number * 1000ull + g->round + i) * 0x9e3779b97f4a7c15ull | 1;
}

static void fill(const struct guest *g) {
        for (size_t i = 0; i < WORDS; i++)
                g->words[i] = word_of(g, i);
}

static void check(const struct guest *g) {
        for (size_t i = 0; i < WORDS; i++)
                must(g->words[i] == word_of(g, i));
}

static void run(svmd_session *s, const struct svmd_device_op *op, struct svmd_fence_result *ret) {
        svmd_fence *f;

        ok(svmd_submit(s, &f, op));
        ok(svmd_fence_wait(f, (int)CEILING_MS, ret));
        svmd_fence_free(f);
}

/* The same address in each guest's space is its own memory. */
static void fill_device(const struct guest *g) {
        struct svmd_device_op op = { .size = sizeof(op),
                                     .op = SVMD_DEVICE_FILL,
                                     .space = g->space,
                                     .dst = AT,
                                     .length = PIECE,
                                     .value = g->number + 1 };

        run(g->s, &op, NULL);
}

static void check_device(const struct guest *g) {
        struct svmd_device_op op = {
                .size = sizeof(op), .op = SVMD_DEVICE_SUM, .space = g->space, .src = AT, .length = PIECE
        };
        struct svmd_fence_result result = { 0 };

        run(g->s, &op, &result);
        must(result.value == (g->number + 1) * 0x0101010101010101ull * (PIECE / 8));
}

static void *come(void *userdata) {
        struct svmd_reserve_options o = { .size = sizeof(o), .name = "ram", .kind = SVMD_SHARED, .granule = PIECE };
        struct svmd_session_info info = { .size = sizeof(info) };
        struct guest *g = userdata;
        void *at;

        connect_to(&g->s, d.socket, g->name);
        ok(svmd_session_info(g->s, &info));
        must(strcmp(info.partition, g->name) == 0);
        ok(svmd_address_reserve(g->s, &at, SIZE, 0, (void *)(uintptr_t)(info.base + OFFSET), &o));
        g->words = at;
        g->gpu = node_named(g->s, "gpu0");
        ok(svmd_space_create(g->s, &g->space, g->gpu));
        ok(svmd_mem_create(g->s, &g->mem, PIECE, g->gpu, SVMD_MEM_PINNED));
        ok(svmd_mem_map(g->s, g->space, AT, PIECE, 0, g->mem, SVMD_ACCESS_READ_WRITE, 0));
        fill(g);
        fill_device(g);
        return NULL;
}

static void *work(void *userdata) {
        struct guest *g = userdata;

        for (unsigned i = 0; i < ROUNDS; i++) {
                ok(svmd_migrate(g->s, NULL, (const void *)(uintptr_t)g->words, SIZE, g->gpu));
                check(g);
                g->round++;
                fill(g);
                check_device(g);
        }
        return NULL;
}

/* As much as its limit allows, all guests at once; what others have changes nothing. */
static void *exhaust(void *userdata) {
        struct guest *g = userdata;
        svmd_mem mem[LIMIT / PIECE];
        unsigned n = 0;
        int r;

        while ((r = svmd_mem_create(g->s, &mem[n], PIECE, g->gpu, SVMD_MEM_PINNED)) == SVMD_OK)
                must(++n < LIMIT / PIECE);
        want(SVMD_E_LIMIT, r);
        must(n > 0);
        while (n > 0)
                ok(svmd_mem_release(g->s, mem[--n]));
        check(g);
        return NULL;
}

static void must_name(const struct guest *g) {
        must(strstr(svmd_error(), g->name));
}

/* What is its neighbour's, in all the ways in which a program could mix them up. */
static void *mix_up(void *userdata) {
        struct guest *g = userdata;
        const struct guest *other = &guest[(g->number + 1) % GUESTS];
        const void *theirs = (const void *)(uintptr_t)other->words;
        struct svmd_device_op op = {
                .size = sizeof(op), .op = SVMD_DEVICE_FILL, .space = other->space, .dst = AT, .length = PIECE
        };
        svmd_fence *f;
        size_t size;
        void *at;

        want(SVMD_E_FOREIGN, svmd_mem_map(g->s, g->space, AT + PIECE, PIECE, 0, other->mem, SVMD_ACCESS_READ, 0));
        must_name(other);
        want(SVMD_E_FOREIGN, svmd_mem_map(g->s, other->space, AT + PIECE, PIECE, 0, g->mem, SVMD_ACCESS_READ, 0));
        must_name(other);
        want(SVMD_E_FOREIGN, svmd_mem_unmap(g->s, other->space, AT, PIECE));
        want(SVMD_E_FOREIGN, svmd_mem_release(g->s, other->mem));
        must_name(other);
        want(SVMD_E_FOREIGN, svmd_mem_export(g->s, other->mem, "mine", 0600));
        want(SVMD_E_FOREIGN, svmd_space_destroy(g->s, other->space));
        must_name(other);
        want(SVMD_E_FOREIGN, svmd_submit(g->s, &f, &op));
        must_name(other);
        want(SVMD_E_RANGE, svmd_migrate(g->s, NULL, theirs, SIZE, g->gpu));
        must_name(g);
        want(SVMD_E_RANGE, svmd_discard(g->s, NULL, theirs, SIZE));
        want(SVMD_E_RANGE, svmd_mem_map(g->s, SVMD_CPU, (uint64_t)(uintptr_t)theirs, PIECE, 0, g->mem, 0, 0));
        must_name(g);
        want(SVMD_E_RANGE, svmd_revoke(g->s, NULL, theirs));
        want(SVMD_E_NO_SUCH, svmd_address_free(g->s, (void *)(uintptr_t)theirs));
        must(svmd_address_reserve(g->s, &at, PIECE, 0, (void *)(uintptr_t)theirs, NULL) != SVMD_OK);
        /* Names are a partition's own. */
        want(SVMD_E_TAKEN, svmd_address_open(g->s, &at, &size, "ram", SVMD_ACCESS_READ));
        return NULL;
}

static void *look(void *userdata) {
        check(userdata);
        check_device(userdata);
        return NULL;
}

/* Half of the guests leave while the other half works. */
static void *leave_or_work(void *userdata) {
        struct guest *g = userdata;

        if (g->number % 2 == 0)
                return work(g);
        svmd_disconnect(g->s);
        g->s = NULL;
        return come(g);
}

static void for_each(void *(*fn)(void *)) {
        pthread_t thread[GUESTS];

        for (unsigned i = 0; i < GUESTS; i++)
                must(pthread_create(&thread[i], NULL, fn, &guest[i]) == 0);
        for (unsigned i = 0; i < GUESTS; i++)
                must(pthread_join(thread[i], NULL) == 0);
}

static void begin(struct message *m) {
        for (unsigned i = 0; i < GUESTS; i++) {
                guest[i].number = i;
                name_of(guest[i].name, sizeof(guest[i].name), i);
        }
        for_each(come);
        for_each(work);
        for_each(exhaust);
}

static void confuse(struct message *m) {
        for_each(mix_up);
        for_each(look);
}

static void go_on(struct message *m) {
        for_each(look);
        for_each(leave_or_work);
        for_each(look);
}

/* A partition of another domain has the addresses of the first guest: this process cannot have both. */
static void go_abroad(struct message *m) {
        svmd_session *s;

        want(SVMD_E_DENIED, try_connect(&s, d.socket, "abroad", 0));
        must(strstr(svmd_error(), "domain"));
        check(&guest[0]);
}

/* ---- in the test ---- */

static uint64_t make_partition(const char *name, const char *domain) {
        struct svmd_limit limit = { .node = node_named(watcher, "gpu0"), .max = LIMIT };
        struct svmd_partition_options o = { .size = sizeof(o),
                                            .length = LENGTH,
                                            .window = HARNESS_WINDOW,
                                            .domain = domain,
                                            .mode = 0600,
                                            .uid = USER,
                                            .gid = USER,
                                            .limits = &limit,
                                            .limits_count = 1 };
        uint64_t base;

        ok(svmd_partition_create(watcher, name, &o, &base));
        return base;
}

static int check_use(const struct svmd_partition_row *row, void *userdata) {
        bool gone = *(bool *)userdata;

        for (size_t i = 0; i < row->nodes_count; i++) {
                const struct svmd_use_row *use = &row->nodes[i];

                must(use->max == UINT64_MAX || use->peak <= use->max);
                must(!gone || use->used == 0);
        }
        must(row->sessions == (gone || strcmp(row->name, "abroad") == 0 ? 0u : 1u));
        return 0;
}

static void check_partitions(bool gone) {
        ok(svmd_query_partitions(watcher, NULL, check_use, &gone));
}

static void kill_proxy(struct actor *proxy, unsigned svmd_fds, unsigned keeper_fds) {
        actor_kill(proxy);
        await_settled(watcher, &d, svmd_fds, keeper_fds);
        check_partitions(true);
}

/* With its first range svmd opens what a node's memory is in, so descriptors are counted from a second proxy on. */
static void end_of_all(struct actor *proxy) {
        unsigned svmd_fds, keeper_fds;

        kill_proxy(proxy, 0, 0);
        svmd_fds = process_fds_at_rest(d.pid);
        keeper_fds = process_fds_at_rest(d.keeper);
        actor_new(proxy, USER, USER, 0);
        actor_call(proxy, begin, &(struct message){ 0 });
        kill_proxy(proxy, svmd_fds, keeper_fds);
}

static void make_partitions(void) {
        uint64_t first = 0;

        for (unsigned i = 0; i < GUESTS; i++) {
                char name[16];
                uint64_t base;

                name_of(name, sizeof(name), i);
                base = make_partition(name, NULL);
                first = i ? first : base;
        }
        must(make_partition("abroad", "elsewhere") == first);
}

int main(void) {
        struct actor proxy;

        harness_begin("system_proxy");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        make_partitions();
        actor_new(&proxy, USER, USER, 0);
        actor_call(&proxy, begin, &(struct message){ 0 });
        check_partitions(false);
        actor_call(&proxy, confuse, &(struct message){ 0 });
        actor_call(&proxy, go_abroad, &(struct message){ 0 });
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
        actor_call(&proxy, go_on, &(struct message){ 0 });
        check_partitions(false);
        end_of_all(&proxy);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
