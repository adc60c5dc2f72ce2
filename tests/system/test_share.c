/*
 * Three processes of three users share a named reservation; a fourth has no right. One is killed at 200 random points
 * of whatever it does, and nobody else notices: their bytes stay, what was charged for the dead is given back, and what
 * svmd says it has given out is what the kernel says that its files have taken.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "churn.h"
#include "daemon.h"
#include "harness.h"

enum { ROUNDS = 200, OWNER_ROUNDS = 20, WORDS = 64 * 1024 / 8 };
enum { OWNER = 2001, READER = 2002, WRITER = 2003, STRANGER = 2004, GROUP = 3000 };

static struct daemon d;
static svmd_session *watcher;

/* In an actor. */
static svmd_session *mine;
static uint64_t *board;
static struct churn churn;

static void actor_connect(struct message *m) {
        message_take(m, try_connect(&mine, d.socket, "lab", 0));
}

/* n[0]: seed -> n[0]: address */
static void owner_publish(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o), .name = "board", .mode = 0660 };
        svmd_mem mem;
        void *at;

        ok(svmd_address_reserve(mine, &at, WORDS * 8, 0, NULL, &o));
        ok(svmd_mem_create(mine, &mem, WORDS * 8, node_named(mine, "host0"), SVMD_MEM_SHAREABLE));
        ok(svmd_mem_map(mine, SVMD_CPU, (uint64_t)at, WORDS * 8, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
        board = at;
        for (size_t i = 0; i < WORDS / 2; i++)
                board[i] = m->n[0] + i;
        m->n[0] = (uint64_t)board;
}

/* n[0]: access -> r, n[0]: address */
static void actor_open(struct message *m) {
        size_t size = 0;
        void *at = NULL;

        message_take(m, svmd_address_open(mine, &at, &size, "board", (unsigned)m->n[0]));
        if (m->r)
                return;
        must(size == WORDS * 8);
        board = at;
        m->n[0] = (uint64_t)at;
}

/* n[0]: seed. The first half is the owner's, and nobody writes there again. */
static void actor_check(struct message *m) {
        const volatile uint64_t *p = board;

        for (size_t i = 0; i < WORDS / 2; i++)
                must(p[i] == m->n[0] + i);
        m->n[1] = p[WORDS - 1];
}

static void writer_write(struct message *m) {
        board[WORDS - 1] = m->n[0];
}

static void actor_probe_write(struct message *m) {
        int zero[2];

        must(pipe(zero) == 0);
        must(write(zero[1], "x", 1) == 1);
        m->n[0] = read(zero[0], board, 1) == 1;
        close(zero[0]);
        close(zero[1]);
}

/* Until it is killed. */
static void writer_churn(struct message *m) {
        for (uint64_t i = 0;; i++) {
                churn_step(&churn);
                board[WORDS / 2 + random_below(WORDS / 2 - 1)] = i;
        }
}

static void writer_prepare(struct message *m) {
        churn_begin(&churn, mine);
}

static void must_see(struct actor *a, uint64_t seed) {
        struct message m = { .n = { seed } };

        actor_call(a, actor_check, &m);
}

static uint64_t join(struct actor *a, uint32_t uid, unsigned access, int code) {
        struct message m = { 0 };
        bool member = uid != STRANGER;

        actor_new(a, uid, uid == WRITER ? GROUP : uid, member ? GROUP : 0);
        actor_call(a, actor_connect, &m);
        message_want(0, &m);
        m.n[0] = access;
        actor_call(a, actor_open, &m);
        message_want(code, &m);
        return m.n[0];
}

static void make_partition(void) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 16ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };

        ok(svmd_partition_create(watcher, "lab", &o, NULL));
}

/* In the middle of what it does, with all that it holds. */
static void look_at_stopped(const struct actor *a) {
        must(kill(a->pid, SIGSTOP) == 0);
        await_settled(watcher, &d, 0, 0);
}

static void kill_writers(struct actor *owner, struct actor *reader, uint64_t address, uint64_t seed) {
        unsigned svmd_fds, keeper_fds;
        struct ledger before, after;

        await_settled(watcher, &d, 0, 0);
        svmd_fds = process_fds_at_rest(d.pid);
        keeper_fds = process_fds_at_rest(d.keeper);
        ledger_read(watcher, &before);
        for (unsigned i = 0; i < ROUNDS; i++) {
                struct message m = { 0 };
                struct actor writer;

                must(join(&writer, WRITER, SVMD_ACCESS_READ_WRITE, 0) == address);
                must_see(&writer, seed);
                m.n[0] = i;
                actor_call(&writer, writer_write, &m);
                m.n[0] = seed;
                actor_call(reader, actor_check, &m);
                must(m.n[1] == i);
                actor_call(&writer, writer_prepare, &m);
                actor_begin(&writer, writer_churn, NULL);
                usleep((useconds_t)random_below(20000));
                if (i % 8 == 0)
                        look_at_stopped(&writer);
                actor_kill(&writer);
                must_see(owner, seed);
                must_see(reader, seed);
                await_settled(watcher, &d, svmd_fds, keeper_fds);
                ledger_read(watcher, &after);
                must(memcmp(&before, &after, sizeof(before)) == 0);
        }
}

/* An owner that is killed leaves the reservation to those who have it open; it goes with the last of them. */
static void kill_owners(void) {
        unsigned svmd_fds = 0, keeper_fds = 0;
        struct ledger before, after;

        for (unsigned i = 0; i < OWNER_ROUNDS; i++) {
                struct actor owner, reader, writer;
                struct message m = { 0 };
                uint64_t seed = random_below(1ull << 40);

                await_settled(watcher, &d, svmd_fds, keeper_fds);
                ledger_read(watcher, &after);
                if (i == 0) {
                        svmd_fds = process_fds_at_rest(d.pid);
                        keeper_fds = process_fds_at_rest(d.keeper);
                        before = after;
                }
                must(memcmp(&before, &after, sizeof(before)) == 0);
                actor_new(&owner, OWNER, GROUP, 0);
                actor_call(&owner, actor_connect, &m);
                message_want(0, &m);
                m.n[0] = seed;
                actor_call(&owner, owner_publish, &m);
                join(&reader, READER, SVMD_ACCESS_READ, 0);
                join(&writer, WRITER, SVMD_ACCESS_READ_WRITE, 0);
                actor_kill(&owner);
                must_see(&reader, seed);
                must_see(&writer, seed);
                ledger_read(watcher, &after);
                must(after.host == before.host + WORDS * 8);
                actor_kill(&reader);
                must_see(&writer, seed);
                actor_end(&writer);
        }
        await_settled(watcher, &d, svmd_fds, keeper_fds);
}

static void share(void) {
        struct actor owner, reader, stranger, late;
        struct message m = { 0 };
        uint64_t seed = random_below(1ull << 40), address;

        actor_new(&owner, OWNER, GROUP, 0);
        actor_call(&owner, actor_connect, &m);
        message_want(0, &m);
        m.n[0] = seed;
        actor_call(&owner, owner_publish, &m);
        address = m.n[0];
        must(join(&reader, READER, SVMD_ACCESS_READ, 0) == address);
        must_see(&reader, seed);
        actor_call(&reader, actor_probe_write, &m);
        must(!m.n[0]);
        must_see(&reader, seed);
        join(&stranger, STRANGER, SVMD_ACCESS_READ, SVMD_E_DENIED);
        m.n[0] = SVMD_ACCESS_READ_WRITE;
        actor_call(&stranger, actor_open, &m);
        must(m.r == SVMD_E_DENIED && strstr(m.error, "uid 2004"));
        actor_end(&stranger);
        kill_writers(&owner, &reader, address, seed);
        must(join(&late, WRITER, SVMD_ACCESS_READ_WRITE, 0) == address);
        must_see(&late, seed);
        actor_end(&late);
        actor_end(&owner);
        must_see(&reader, seed);
        actor_end(&reader);
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=256M", "--soft-node", "gpu1:size=64M",
                                               "--log-level", "warning",        NULL };

        harness_begin("system_share");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        make_partition();
        share();
        kill_owners();
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
