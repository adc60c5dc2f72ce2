/*
 * A managed range is taken away from those who use it: revoked for a while, stolen, freed by its owner, left alone by a
 * svmd that is killed and comes back, or does not. Nobody ever reads what was not written.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "range_actor.h"

enum { OWNER = 2001, WRITER = 2002, READER = 2003 };

static struct daemon d;
static svmd_session *watcher;
static svmd_node gpu;

static const char *const options[] = { "--soft-node", "gpu0:size=256M,faults=on", "--log-level", "warning", NULL };

/* ---- in an actor ---- */

/* n[0]: word -> n[0]: whether the kernel may read it for this process, as a system call would */
static void probe(struct message *m) {
        int p[2];

        must(pipe(p) == 0);
        m->n[0] = write(p[1], &range_words[m->n[0]], 8) == 8;
        close(p[0]);
        close(p[1]);
}

static void do_revoke(struct message *m) {
        message_take(m, svmd_revoke(range_session, NULL, range_words));
}

static void do_unrevoke(struct message *m) {
        message_take(m, svmd_unrevoke(range_session, NULL, range_words));
}

static void do_steal(struct message *m) {
        message_take(m, svmd_steal(range_session, range_words));
}

/* n[0]: a number of svmd_range_begin(), or 0 -> n[0]: the number now, n[1]: whether the one before has to be retried */
static void begin_retry(struct message *m) {
        m->n[1] = (uint64_t)svmd_range_retry(range_session, range_words, m->n[0]);
        m->n[0] = svmd_range_begin(range_session, range_words);
}

/* ---- in the test ---- */

/* It does not answer by itself: 200 ms say so often enough, and never wrongly that it does. */
static bool is_waiting(const struct actor *a) {
        struct pollfd p = { .fd = a->socket, .events = POLLIN };

        return poll(&p, 1, 200) == 0;
}

static void begin_read(struct actor *a, uint64_t word) {
        struct message m = { .n = { word } };

        actor_begin(a, range_read, &m);
}

static uint64_t end_read(struct actor *a) {
        struct message m;

        actor_finish(a, &m);
        return m.n[1];
}

static void await_gone(struct actor *a) {
        uint64_t until = now_ms() + CEILING_MS;
        struct message m = { 0 };

        while (!m.n[0] && now_ms() < until) {
                actor_call(a, range_dispatch, &m);
                usleep(1000);
        }
        must(m.n[0] == 1);
        must(range_call(a, begin_retry, 0).n[0] == UINT64_MAX);
        must(!range_call(a, probe, 0).n[0]);
}

static int run(struct actor *a, actor_fn fn) {
        return range_call(a, fn, 0).r;
}

static void an_access_to_what_is_revoked_waits(struct actor *owner, struct actor *writer) {
        struct message m;

        range_call(owner, range_write, 100);
        m = range_call(writer, begin_retry, 0);
        must(run(writer, do_revoke) == SVMD_E_DENIED);
        must(run(owner, do_revoke) == 0);
        must(range_call(writer, begin_retry, m.n[0]).n[1] == 1);
        must(run(owner, do_revoke) == SVMD_E_TAKEN);
        begin_read(writer, 5);
        must(is_waiting(writer));
        must(run(owner, do_unrevoke) == 0);
        must(end_read(writer) == 105);
        range_call(owner, range_check, 100);
}

/* Where the range asks for it, and the kernel can. */
static void or_is_a_signal(void) {
        struct message m = { .n = { SVMD_RANGE_SIGBUS } };
        struct actor a;

        actor_new(&a, OWNER, OWNER, 0);
        range_call(&a, range_connect, 0);
        actor_call(&a, range_try_reserve, &m);
        if (m.r) {
                message_want(SVMD_E_UNSUPPORTED, &m);
                must(strstr(m.error, "POISON"));
                printf("this kernel has no POISON: that accesses are SIGBUS is not tested in this run\n");
        } else {
                range_call(&a, range_write, 200);
                must(range_call(&a, probe, 0).n[0]);
                must(run(&a, do_revoke) == 0);
                must(!range_call(&a, probe, 0).n[0]);
                must(run(&a, do_unrevoke) == 0);
                range_call(&a, range_check, 200);
        }
        actor_end(&a);
}

static void who_steals_has_it_alone(struct actor *owner, struct actor *writer, struct actor *reader) {
        range_call(owner, range_write, 300);
        must(run(reader, do_steal) == SVMD_E_DENIED);
        must(run(writer, do_steal) == 0);
        await_gone(owner);
        await_gone(reader);
        range_call(writer, range_check, 300);
        must(run(owner, range_free) == SVMD_E_NO_SUCH);
}

static void what_its_owner_frees_is_gone(struct actor *owner) {
        struct actor late;

        range_join(&late, WRITER, "board", SVMD_ACCESS_READ_WRITE);
        range_call(&late, range_check, 300);
        must(run(owner, range_free) == 0);
        await_gone(&late);
        actor_end(&late);
}

static void a_restart_asks_nothing(void) {
        struct actor owner, writer;
        uint64_t address = range_own(&owner, OWNER, "again", 0);

        range_join(&writer, WRITER, "again", SVMD_ACCESS_READ_WRITE);
        range_call(&writer, range_write, 400);
        ok(svmd_partition_migrate(watcher, NULL, "lab", address, RANGE_SIZE / 2, gpu));
        svmd_disconnect(watcher);
        daemon_kill(&d);
        begin_read(&owner, 7); /* it is on the device */
        must(is_waiting(&owner));
        daemon_start(&d);
        must(end_read(&owner) == 407);
        range_call(&writer, range_check, 400);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_migrate(watcher, NULL, "lab", address, RANGE_SIZE, gpu));
        range_call(&owner, range_check, 400);
        must(run(&owner, range_free) == 0);
        actor_end(&owner);
        actor_end(&writer);
}

/* With svmd and its keeper gone nobody has the bytes: a thread stops, and its session can still be ended. */
static void without_svmd_nobody_reads_zeroes(void) {
        struct actor owner, writer;
        uint64_t address = range_own(&owner, OWNER, "last", 0);

        range_join(&writer, WRITER, "last", SVMD_ACCESS_READ_WRITE);
        range_call(&owner, range_write, 500);
        ok(svmd_partition_migrate(watcher, NULL, "lab", address, RANGE_SIZE, gpu));
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_kill_keeper(&d);
        begin_read(&owner, 9);
        must(is_waiting(&owner));
        must(run(&writer, range_free) == SVMD_E_GONE);
        range_call(&writer, range_disconnect, 0);
        must(is_waiting(&owner));
        actor_kill(&owner);
        actor_end(&writer);
}

int main(void) {
        struct actor owner, writer, reader;

        harness_begin("system_managed_taken");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        range_socket = d.socket;
        connect_watcher(&watcher, d.admin);
        range_partition(watcher);
        gpu = node_named(watcher, "gpu0");
        range_own(&owner, OWNER, "board", 0);
        range_join(&writer, WRITER, "board", SVMD_ACCESS_READ_WRITE);
        range_join(&reader, READER, "board", SVMD_ACCESS_READ);
        an_access_to_what_is_revoked_waits(&owner, &writer);
        or_is_a_signal();
        who_steals_has_it_alone(&owner, &writer, &reader);
        what_its_owner_frees_is_gone(&writer);
        actor_end(&owner);
        actor_end(&writer);
        actor_end(&reader);
        a_restart_asks_nothing();
        without_svmd_nobody_reads_zeroes();
        daemon_end(&d);
        return 0;
}
