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

/* n[0]: number */
static void client_begin(struct message *m) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = "charged", .mode = 0660, .kind = SVMD_SHARED, .granule = GRANULE
        };
        char name[32];
        void *at;

        snprintf(name, sizeof(name), "client-%u", (unsigned)m->n[0]);
        o.name = name;
        connect_to(&mine, d.socket, NULL);
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

static void await_charge(const struct memcg *c, const char *who, uint64_t bytes) {
        uint64_t until = now_ms() + CEILING_MS, by = threads_of(d.pid) * GRANULE;

        while (!is_about(memcg_shmem(c), bytes, by)) {
                if (now_ms() >= until) {
                        printf("%s: %" PRIu64 " KiB are charged, where %" PRIu64 " are expected, %" PRIu64
                               " off at most\n",
                               who, memcg_shmem(c) / 1024, bytes / 1024, by / 1024);
                        fail_here("the kernel charges somebody else");
                }
                usleep(5000);
        }
        printf("%s: %" PRIu64 " KiB charged, %" PRIu64 " expected\n", who, memcg_shmem(c) / 1024, bytes / 1024);
}

/* Also what it had from before it was moved into its group. */
static uint64_t daemons_own(void) {
        return process_blocks(d.pid, "svmd-") - process_blocks(d.pid, "svmd-range-");
}

static void charge(struct memcg *daemons, struct memcg *clients) {
        struct actor a[CLIENTS];
        uint64_t before = daemons_own();
        struct message m;

        for (unsigned i = 0; i < CLIENTS; i++) {
                actor_new(&a[i], 2001 + i, 2001 + i, 0);
                memcg_enter(&clients[i], a[i].pid);
                m = (struct message){ .n = { i } };
                actor_call(&a[i], client_begin, &m);
        }
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_begin(&a[i], client_round_trips, NULL);
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_finish(&a[i], NULL);
        must(process_blocks(d.pid, "svmd-range-") == (uint64_t)CLIENTS * GRANULES * GRANULE);
        await_charge(&clients[0], "client 0", GRANULES * GRANULE);
        await_charge(&clients[1], "client 1", GRANULES * GRANULE);
        await_charge(daemons, "svmd", daemons_own() - before);
        actor_call(&a[0], client_discard, NULL);
        await_charge(&clients[0], "client 0, discarded", 0);
        for (unsigned i = 0; i < CLIENTS; i++) {
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
        charge(&daemons, clients);
        svmd_disconnect(watcher);
        daemon_end(&d);
        for (unsigned i = 0; i < CLIENTS; i++)
                memcg_end(&clients[i]);
        memcg_end(&daemons);
        return 0;
}
