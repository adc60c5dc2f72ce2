/*
 * Many at once: 2,000 partitions whose slices never overlap, and 10,000 sessions of five users in five processes. An
 * idle session costs svmd one descriptor, and its keeper one; all of them answer; then all go, and nothing is left of
 * them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "harness.h"

enum { PARTITIONS = 2000, ACTORS = 5, SESSIONS = 2000, PARTITIONS_EACH = PARTITIONS / ACTORS, UID = 2100 };
#define SLICE (4ull << 30)

static struct daemon d;
static svmd_session *watcher;
static uint64_t base[PARTITIONS];

static svmd_session *mine[SESSIONS]; /* in an actor */

static void name_of(char *name, unsigned i) {
        sprintf(name, "p%04u", i);
}

static int by_value(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

static void make_partitions(void) {
        uint64_t sorted[PARTITIONS];

        for (unsigned i = 0; i < PARTITIONS; i++) {
                struct svmd_partition_options o = {
                        .size = sizeof(o), .length = SLICE, .mode = 0604, .window = SVMD_WINDOW_PRIMARY
                };
                char name[16];

                name_of(name, i);
                ok(svmd_partition_create(watcher, name, &o, &base[i]));
        }
        memcpy(sorted, base, sizeof(sorted));
        qsort(sorted, PARTITIONS, sizeof(sorted[0]), by_value);
        for (unsigned i = 0; i < PARTITIONS; i++) {
                must(sorted[i] % SLICE == 0 && sorted[i] >= 0x280000000000ull &&
                     sorted[i] + SLICE <= 0x400000000000ull);
                must(i == 0 || sorted[i] >= sorted[i - 1] + SLICE);
        }
}

/* n[0]: number of this actor */
static void actor_connect_all(struct message *m) {
        for (unsigned i = 0; i < SESSIONS; i++) {
                char name[16];

                name_of(name, (unsigned)m->n[0] * PARTITIONS_EACH + i % PARTITIONS_EACH);
                connect_to(&mine[i], d.socket, name);
        }
}

/* Every session gets addresses of its own slice, which no other session of the partition has. */
static void actor_use_all(struct message *m) {
        static void *at[SESSIONS];

        for (unsigned i = 0; i < SESSIONS; i++) {
                struct svmd_session_info info = { .size = sizeof(info) };

                ok(svmd_session_info(mine[i], &info));
                must(info.base == base[m->n[0] * PARTITIONS_EACH + i % PARTITIONS_EACH] && info.length == SLICE);
                ok(svmd_address_reserve(mine[i], &at[i], 1 << 20, 0, NULL, NULL));
                must((uint64_t)at[i] >= info.base && (uint64_t)at[i] + (1 << 20) <= info.base + info.length);
        }
        qsort(at, SESSIONS, sizeof(at[0]), by_value);
        for (unsigned i = 1; i < SESSIONS; i++)
                must((char *)at[i] >= (char *)at[i - 1] + (1 << 20));
}

static void actor_end_all(struct message *m) {
        for (unsigned i = 0; i < SESSIONS; i++)
                svmd_disconnect(mine[i]);
}

static void call_all(struct actor *actors, actor_fn fn) {
        struct message m[ACTORS] = { 0 };

        for (unsigned i = 0; i < ACTORS; i++) {
                m[i].n[0] = i;
                actor_begin(&actors[i], fn, &m[i]);
        }
        for (unsigned i = 0; i < ACTORS; i++)
                actor_finish(&actors[i], &m[i]);
}

int main(void) {
        const char *const options[] = { "--soft-node", "gpu0:size=256M", "--log-level", "warning", NULL };
        struct actor actors[ACTORS];
        struct svmd_status st = { .size = sizeof(st) };
        unsigned fds, keeper_fds;

        harness_begin("system_many");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        make_partitions();
        fds = process_fds(d.pid);
        keeper_fds = process_fds(d.keeper);
        for (unsigned i = 0; i < ACTORS; i++)
                actor_new(&actors[i], UID + i, UID + i, 0);

        call_all(actors, actor_connect_all);
        status_of(watcher, &st);
        must(st.partitions == PARTITIONS && st.sessions == ACTORS * SESSIONS + 1);
        must(process_fds(d.pid) == fds + ACTORS * SESSIONS);
        await_settled(watcher, &d, fds + ACTORS * SESSIONS, keeper_fds + ACTORS * SESSIONS);
        call_all(actors, actor_use_all);
        status_of(watcher, &st);
        must(st.reservations == ACTORS * SESSIONS);

        /* Some end in order, the others die. */
        {
                struct message m = { 0 };

                actor_call(&actors[0], actor_end_all, &m);
                actor_end(&actors[0]);
        }
        for (unsigned i = 1; i < ACTORS; i++)
                actor_kill(&actors[i]);
        await_settled(watcher, &d, fds, keeper_fds);
        status_of(watcher, &st);
        must(st.sessions == 1 && st.reservations == 0);
        svmd_disconnect(watcher);
        daemon_end(&d);
        printf("%d partitions, %d sessions at once: one descriptor each\n", PARTITIONS, ACTORS * SESSIONS);
        return 0;
}
