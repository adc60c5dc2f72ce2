/*
 * 2,000 partitions and 10,000 sessions at once. Processes may have 20,000 descriptors at most, so svmd and its keeper
 * just fit; an idle session costs each of them one. No two partitions of a domain overlap, every session is answered,
 * and when all are gone nothing is left of them.
 *
 * Then one process goes through the sockets of all 2,000, as so many containers would, or one proxy for so many guests:
 * each leads to its own partition and to no other one, also after svmd was killed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { PARTITIONS = 2000, SESSIONS = 10000, CLIENTS = 10, EACH = SESSIONS / CLIENTS };
#define LENGTH (4ull << 30)

static struct daemon d;
static svmd_session *watcher;

/* In an actor. */
static svmd_session *session[EACH];

static void partition_of(char *name, size_t size, unsigned number) {
        snprintf(name, size, "p%04u", number % PARTITIONS);
}

/* n[0]: number of the first session */
static void connect_all(struct message *m) {
        char name[16];

        for (unsigned i = 0; i < EACH; i++) {
                partition_of(name, sizeof(name), (unsigned)m->n[0] + i);
                connect_to(&session[i], d.socket, name);
        }
}

/* Each has an answer of its own partition. */
static void ask_all(struct message *m) {
        char name[16];

        for (unsigned i = 0; i < EACH; i++) {
                struct svmd_session_info info = { .size = sizeof(info) };
                void *at;

                partition_of(name, sizeof(name), (unsigned)m->n[0] + i);
                ok(svmd_session_info(session[i], &info));
                must(strcmp(info.partition, name) == 0 && info.length == LENGTH);
                ok(svmd_address_reserve(session[i], &at, 4096, 0, NULL, NULL));
                must((uint64_t)at >= info.base && (uint64_t)at + 4096 <= info.base + info.length);
                ok(svmd_address_free(session[i], at));
        }
}

static void disconnect_all(struct message *m) {
        for (unsigned i = 0; i < EACH; i++)
                svmd_disconnect(session[i]);
}

struct bases {
        uint64_t base[PARTITIONS];
        unsigned count;
};

static int take_base(const struct svmd_partition_row *row, void *userdata) {
        struct bases *b = userdata;

        must(b->count < PARTITIONS && row->length == LENGTH);
        b->base[b->count++] = row->base;
        return 0;
}

static int by_value(const void *a, const void *b) {
        const uint64_t *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

static void check_bases(void) {
        static struct bases b;

        ok(svmd_query_partitions(watcher, NULL, take_base, &b));
        must(b.count == PARTITIONS);
        qsort(b.base, b.count, sizeof(b.base[0]), by_value);
        for (unsigned i = 1; i < b.count; i++)
                must(b.base[i] - b.base[i - 1] >= LENGTH);
}

static void make_partitions(void) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = LENGTH, .window = SVMD_WINDOW_PRIMARY, .mode = 0444
        };
        char name[16];

        for (unsigned i = 0; i < PARTITIONS; i++) {
                partition_of(name, sizeof(name), i);
                ok(svmd_partition_create(watcher, name, &o, NULL));
        }
}

static void delete_partitions(void) {
        char name[16];

        for (unsigned i = 0; i < PARTITIONS; i++) {
                partition_of(name, sizeof(name), i);
                ok(svmd_partition_delete(watcher, name, 0, 0));
        }
}

static void for_all(struct actor *client, actor_fn fn) {
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_begin(&client[i], fn, &(struct message){ .n = { i * EACH } });
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_finish(&client[i], NULL);
}

static void await_fds(unsigned svmd, unsigned keeper) {
        await_settled(watcher, &d, svmd, keeper);
}

static void restart_daemon(void) {
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
}

static void many_sessions(void) {
        unsigned svmd_fds = process_fds_at_rest(d.pid), keeper_fds = process_fds_at_rest(d.keeper);
        struct actor client[CLIENTS];
        struct svmd_status st;
        uint64_t rss = process_rss(d.pid);

        /* No more than 4,096 of one user, who is not root: three users. */
        for (unsigned i = 0; i < CLIENTS; i++)
                actor_new(&client[i], 2001 + i % 3, 3000, 0);
        for_all(client, connect_all);
        status_of(watcher, &st);
        must(st.sessions == SESSIONS + 1 && st.partitions == PARTITIONS);
        await_fds(svmd_fds + SESSIONS, keeper_fds + SESSIONS);
        printf("%d sessions: %u descriptors in svmd, %u in its keeper, %llu bytes of memory each\n", SESSIONS,
               process_fds(d.pid), process_fds(d.keeper), (unsigned long long)(process_rss(d.pid) - rss) / SESSIONS);
        for_all(client, ask_all);
        restart_daemon();
        for_all(client, ask_all);
        await_fds(svmd_fds + SESSIONS, keeper_fds + SESSIONS);
        for (unsigned i = 0; i < CLIENTS / 2; i++)
                actor_kill(&client[i]);
        for (unsigned i = CLIENTS / 2; i < CLIENTS; i++) {
                actor_call(&client[i], disconnect_all, &(struct message){ 0 });
                actor_end(&client[i]);
        }
        await_fds(svmd_fds, keeper_fds);
        status_of(watcher, &st);
        must(st.sessions == 1);
}

/* ---- through the partitions' own sockets ---- */

static int folder[PARTITIONS]; /* what a container would have mounted; actors have them */

/* In an actor. */
static svmd_session *through[PARTITIONS];

static int come_through(svmd_session **s, unsigned number, const char *partition) {
        char socket[64];

        snprintf(socket, sizeof(socket), "/proc/self/fd/%d/svmd.sock", folder[number]);
        return try_connect(s, socket, partition, 0);
}

/* It leads to its own partition, whatever is asked for. */
static void connect_through(struct message *m) {
        for (unsigned i = 0; i < PARTITIONS; i++) {
                svmd_session *other;
                char neighbour[16];

                partition_of(neighbour, sizeof(neighbour), i + 1);
                ok(come_through(&through[i], i, NULL));
                want(SVMD_E_NO_SUCH, come_through(&other, i, neighbour));
        }
}

/* Each sees its partition alone, and takes the same part of it as its neighbours do of theirs. */
static void ask_through(struct message *m) {
        for (unsigned i = 0; i < PARTITIONS; i++) {
                struct svmd_session_info info = { .size = sizeof(info) };
                char name[16];
                void *at;

                partition_of(name, sizeof(name), i);
                ok(svmd_session_info(through[i], &info));
                must(strcmp(info.partition, name) == 0 && info.length == LENGTH);
                at = (void *)(uintptr_t)(info.base + LENGTH / 2);
                ok(svmd_address_reserve(through[i], &at, 4096, 0, at, NULL));
                want(SVMD_E_DENIED, svmd_query_partitions(through[i], NULL, NULL, NULL));
                ok(svmd_address_free(through[i], at));
        }
}

static void open_folders(void) {
        for (unsigned i = 0; i < PARTITIONS; i++) {
                char path[160], name[16];

                partition_of(name, sizeof(name), i);
                snprintf(path, sizeof(path), "%s/run/p/%s", d.dir, name);
                folder[i] = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
                must(folder[i] >= 0);
        }
}

static void many_sockets(void) {
        unsigned svmd_fds = process_fds_at_rest(d.pid), keeper_fds = process_fds_at_rest(d.keeper);
        struct actor first, second;

        open_folders();
        actor_new(&first, 2001, 3000, 0);
        actor_new(&second, 2002, 3000, 0);
        actor_call(&first, connect_through, &(struct message){ 0 });
        actor_call(&first, ask_through, &(struct message){ 0 });
        await_fds(svmd_fds + PARTITIONS, keeper_fds + PARTITIONS);
        restart_daemon();
        actor_call(&first, ask_through, &(struct message){ 0 });
        actor_call(&second, connect_through, &(struct message){ 0 });
        actor_call(&second, ask_through, &(struct message){ 0 });
        await_fds(svmd_fds + 2 * PARTITIONS, keeper_fds + 2 * PARTITIONS);
        actor_kill(&first);
        actor_end(&second);
        await_fds(svmd_fds, keeper_fds);
        for (unsigned i = 0; i < PARTITIONS; i++)
                close(folder[i]);
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=16M", "--log-level", "warning", NULL };
        struct rlimit files = { 20000, 20000 };
        unsigned svmd_fds, keeper_fds;
        uint64_t rss;

        harness_begin("system_many");
        harness_one_user();
        must(setrlimit(RLIMIT_NOFILE, &files) == 0 || geteuid() != 0);
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        svmd_fds = process_fds_at_rest(d.pid);
        keeper_fds = process_fds_at_rest(d.keeper);
        rss = process_rss(d.pid);
        make_partitions();
        check_bases();
        await_fds(svmd_fds + PARTITIONS, keeper_fds + PARTITIONS);
        printf("%d partitions with sockets: %u descriptors in svmd, %u in its keeper, %llu bytes of memory each\n",
               PARTITIONS, process_fds(d.pid), process_fds(d.keeper),
               (unsigned long long)(process_rss(d.pid) - rss) / PARTITIONS);
        many_sessions();
        many_sockets();
        delete_partitions();
        await_fds(svmd_fds, keeper_fds);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
