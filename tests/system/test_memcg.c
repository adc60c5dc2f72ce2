/*
 * Whom the kernel charges for a managed range: after 1,000 round trips of granules, the memory cgroup of the client
 * that touches them has what the range's file has taken, and svmd's has none of it. Off by what is under way at most,
 * which is a granule for each of svmd's threads.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "memcg.h"

enum { CLIENTS = 2, GRANULE = 65536, GRANULES = 32, ROUNDS = 1000 / GRANULES + 1 };

static struct daemon d;
static svmd_session *watcher;

/* In an actor. */
static svmd_session *mine;
static char *range;

/* n[0]: number. Everybody may write what the others have, too. */
static void client_begin(struct message *m) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = "charged", .mode = 0666, .kind = SVMD_SHARED, .granule = GRANULE
        };
        char name[32];
        void *at;

        snprintf(name, sizeof(name), "client-%u", (unsigned)m->n[0]);
        o.name = name;
        connect_to(&mine, d.socket, "charged");
        ok(svmd_address_reserve(mine, &at, GRANULES * GRANULE, 0, NULL, &o));
        range = at;
        memset(range, 1, GRANULES * GRANULE);
}

static void client_round_trips(struct message *m) {
        svmd_node gpu = node_named(mine, "gpu0");

        for (unsigned round = 0; round < ROUNDS; round++) {
                ok(svmd_migrate(mine, NULL, range, 0, gpu));
                for (unsigned g = 0; g < GRANULES; g++)
                        must(++range[g * GRANULE + random_below(GRANULE / 4096) * 4096] != 0);
        }
        for (size_t i = 0; i < GRANULES * GRANULE; i += 4096)
                m->n[0] += (uint64_t)range[i];
}

/* The range of client 0, beside it. */
static void client_share(struct message *m) {
        void *at;

        ok(svmd_address_free(mine, range));
        ok(svmd_address_open(mine, &at, NULL, "client-0", SVMD_ACCESS_READ_WRITE));
        range = at;
}

static void client_discard(struct message *m) {
        ok(svmd_discard(mine, NULL, range, 0));
}

static void client_end(struct message *m) {
        ok(svmd_address_free(mine, range));
        svmd_disconnect(mine);
}

static uint64_t threads_of(pid_t pid) {
        char path[48];
        uint64_t n = 0;
        DIR *dir;

        snprintf(path, sizeof(path), "/proc/%d/task", pid);
        dir = opendir(path);
        must(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n - 2;
}

static bool is_about(uint64_t a, uint64_t b, uint64_t by) {
        return a <= b + by && b <= a + by;
}

static uint64_t charged_to(const struct memcg *c, unsigned count) {
        uint64_t sum = 0;

        for (unsigned i = 0; i < count; i++)
                sum += memcg_shmem(&c[i]);
        return sum;
}

/* To these together. */
static void await_charge(const struct memcg *c, unsigned count, const char *who, uint64_t bytes) {
        uint64_t until = now_ms() + CEILING_MS, by = threads_of(d.pid) * GRANULE;

        while (!is_about(charged_to(c, count), bytes, by)) {
                if (now_ms() >= until) {
                        printf("%s: %" PRIu64 " KiB are charged, where %" PRIu64 " are expected, %" PRIu64
                               " off at most\n",
                               who, charged_to(c, count) / 1024, bytes / 1024, by / 1024);
                        fail_here("the kernel charges somebody else");
                }
                usleep(5000);
        }
        printf("%s: %" PRIu64 " KiB charged, %" PRIu64 " expected\n", who, charged_to(c, count) / 1024, bytes / 1024);
}

/* Also what it had from before it was moved into its group. */
static uint64_t daemons_own(void) {
        return process_blocks(d.pid, "svmd-") - process_blocks(d.pid, "svmd-range-");
}

static void make_partition(void) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };

        ok(svmd_partition_create(watcher, "charged", &o, NULL));
}

static void round_trips(struct actor *a) {
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_begin(&a[i], client_round_trips, NULL);
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_finish(&a[i], NULL);
}

static void charge(const struct memcg *daemons, const struct memcg *clients) {
        uint64_t before = daemons_own(), size = GRANULES * GRANULE;
        struct actor a[CLIENTS];
        struct message m;

        for (unsigned i = 0; i < CLIENTS; i++) {
                actor_new(&a[i], 2001 + i, 2001 + i, 0);
                memcg_enter(&clients[i], a[i].pid);
                m = (struct message){ .n = { i } };
                actor_call(&a[i], client_begin, &m);
        }
        round_trips(a);
        must(process_blocks(d.pid, "svmd-range-") == CLIENTS * size);
        await_charge(&clients[0], 1, "client 0", size);
        await_charge(&clients[1], 1, "client 1", size);
        await_charge(daemons, 1, "svmd", daemons_own() - before);
        actor_call(&a[1], client_share, NULL);
        round_trips(a);
        await_charge(clients, CLIENTS, "both, of one range", size);
        await_charge(daemons, 1, "svmd", daemons_own() - before);
        actor_call(&a[0], client_discard, NULL);
        await_charge(clients, CLIENTS, "both, discarded", 0);
        for (unsigned i = CLIENTS; i-- > 0;) {
                actor_call(&a[i], client_end, NULL);
                actor_end(&a[i]);
        }
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=64M", "--log-level", "warning", NULL };
        static const char *const names[CLIENTS] = { "client-0", "client-1" };
        struct memcg daemons, clients[CLIENTS];

        harness_begin("system_memcg");
        if (harness_one_user())
                return 0;
        if (!memcg_new(&daemons, "svmd")) {
                printf("whom the kernel charges does not apply in this run: there is no usable memory cgroup\n");
                return 0;
        }
        for (unsigned i = 0; i < CLIENTS; i++)
                must(memcg_new(&clients[i], names[i]));
        daemon_new(&d, options);
        memcg_enter(&daemons, d.pid);
        connect_watcher(&watcher, d.admin);
        make_partition();
        charge(&daemons, clients);
        svmd_disconnect(watcher);
        daemon_end(&d);
        for (unsigned i = 0; i < CLIENTS; i++)
                memcg_end(&clients[i]);
        memcg_end(&daemons);
        return 0;
}
