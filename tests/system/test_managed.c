/*
 * Two processes of two users share a managed range, which moves under them: to a device that has memory of its own and
 * back with the next touch. What both write is counted, what a device sums is right, and svmd says where it all is.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon.h"
#include "harness.h"
#include "range_actor.h"

enum { OWNER = 2001, WRITER = 2002, READER = 2003, COUNTS = 200000, MOVES = 20 };

static struct daemon d;
static svmd_session *watcher;
static struct actor owner, writer, reader;
static uint64_t address;
static svmd_node host, gpu, plain; /* plain: a device without faults */

static void migrate(svmd_node node) {
        ok(svmd_partition_migrate(watcher, NULL, "lab", address, RANGE_SIZE, node));
}

/* ---- counting ---- */

/* Each of the two adds while the range is sent away again and again. */
static void a_counter_is_shared(void) {
        struct message m = { .n = { COUNTS } };

        range_call(&owner, range_write, 0);
        m.n[1] = range_call(&writer, range_read, RANGE_WORDS - 1).n[1];
        actor_begin(&owner, range_count, &m);
        actor_begin(&writer, range_count, &m);
        for (unsigned i = 0; i < MOVES; i++)
                ok(svmd_partition_migrate(watcher, NULL, "lab", address, RANGE_SIZE, i % 2 ? host : gpu));
        actor_finish(&owner, NULL);
        actor_finish(&writer, NULL);
        must(range_call(&reader, range_read, RANGE_WORDS - 1).n[1] == m.n[1] + 2 * COUNTS);
}

/* ---- moving ---- */

struct runs {
        unsigned rows;
        uint32_t outs;
        char state[16], cause[16];
};

static int take_run(const struct svmd_residency_row *row, void *userdata) {
        struct runs *r = userdata;

        r->rows++;
        r->outs += row->outs;
        snprintf(r->state, sizeof(r->state), "%s", row->state);
        snprintf(r->cause, sizeof(r->cause), "%s", row->cause);
        return 0;
}

static int take_explanation(const struct svmd_explanation *e, void *userdata) {
        must(e->reservation && e->reservation->address == address && e->reservation->kind == SVMD_SHARED);
        must(e->granule && e->granule->node == gpu && e->advice && e->sentences_count > 0);
        must(e->moves > 0);
        return 7;
}

static void what_moved_comes_back_when_touched(void) {
        struct runs runs = { 0 };

        range_call(&owner, range_write, 5000);
        migrate(gpu);
        range_await(watcher, address, gpu, RANGE_SIZE);
        ok(svmd_query_residency(watcher, "lab", address, RANGE_SIZE, 0, take_run, &runs));
        must(runs.rows == 1 && !strcmp(runs.state, "out") && !strcmp(runs.cause, "request"));
        runs = (struct runs){ 0 };
        ok(svmd_query_residency(watcher, "lab", address, 8 * RANGE_GRANULE, 1, take_run, &runs));
        must(runs.rows == 8 && runs.outs >= 8);
        want(7, svmd_explain(watcher, "lab", address, take_explanation, NULL));
        must(range_call(&writer, range_read, 0).n[1] == 5000);
        range_await(watcher, address, host, RANGE_GRANULE);
        range_call(&reader, range_check, 5000);
        range_await(watcher, address, host, RANGE_SIZE);
        range_call(&owner, range_check, 5000);
}

/* ---- the owner's calls ---- */

/* n[0]: number of the words, n[1]: node of the device, n[2]: one that has no faults */
static void owner_sum(struct message *m) {
        uint64_t wanted = RANGE_WORDS * m->n[0] + (uint64_t)RANGE_WORDS * (RANGE_WORDS - 1) / 2;
        const svmd_node nodes[] = { (svmd_node)m->n[1], (svmd_node)m->n[2] };

        for (unsigned i = 0; i < 2; i++) {
                struct svmd_device_op sum = { .size = sizeof(sum), .op = SVMD_DEVICE_SUM, .length = RANGE_SIZE };
                struct svmd_fence_result outcome;
                svmd_fence *f;

                sum.src = (uint64_t)range_words;
                ok(svmd_space_create(range_session, &sum.space, nodes[i]));
                if (i == 1)
                        ok(svmd_prefetch(range_session, NULL, range_words, 0, nodes[i]));
                ok(svmd_submit(range_session, &f, &sum));
                ok(svmd_fence_wait(f, CEILING_MS, &outcome));
                must(outcome.value == wanted);
                svmd_fence_free(f);
                ok(svmd_space_destroy(range_session, sum.space));
        }
}

static void owner_discard(struct message *m) {
        const struct svmd_range two[] = { { range_words, RANGE_GRANULE },
                                          { (char *)range_words + 3 * RANGE_GRANULE, RANGE_GRANULE } };
        svmd_fence *f[2];

        ok(svmd_discard_ranges(range_session, f, two, 2));
        for (unsigned i = 0; i < 2; i++) {
                ok(svmd_fence_wait(f[i], CEILING_MS, NULL));
                svmd_fence_free(f[i]);
        }
        want(SVMD_E_ALIGN, svmd_discard(range_session, NULL, (char *)range_words + 8, RANGE_GRANULE));
}

/* n[0]: a node */
static void owner_advise(struct message *m) {
        struct svmd_advice a = { .size = sizeof(a), .what = SVMD_ADVISE_PREFERRED | SVMD_ADVISE_GRANULARITY };

        a.preferred = (svmd_node)m->n[0];
        a.granularity = 1 << 20;
        ok(svmd_advise(range_session, range_words, RANGE_GRANULE, &a));
        ok(svmd_advice_query(range_session, range_words, &a));
        must(a.preferred == m->n[0] && a.granularity == 1 << 20 && !a.pinned && !a.read_mostly && a.session);
        ok(svmd_advice_query(range_session, (char *)range_words + RANGE_GRANULE, &a));
        must(a.preferred == SVMD_NODE_NONE);
        a.what = SVMD_ADVISE_PREFERRED | SVMD_ADVISE_GRANULARITY;
        a.granularity = 0;
        ok(svmd_advise(range_session, range_words, 0, &a));
}

/* n[0]: a node */
static void owner_pin(struct message *m) {
        ok(svmd_pin(range_session, NULL, range_words, 2 * RANGE_GRANULE));
        ok(svmd_pin(range_session, NULL, range_words, RANGE_GRANULE));
        want(SVMD_E_BUSY, svmd_migrate(range_session, NULL, range_words, RANGE_GRANULE, (svmd_node)m->n[0]));
        ok(svmd_unpin(range_session, range_words, 2 * RANGE_GRANULE));
        want(SVMD_E_BUSY, svmd_migrate(range_session, NULL, range_words, RANGE_GRANULE, (svmd_node)m->n[0]));
        ok(svmd_unpin(range_session, range_words, RANGE_GRANULE));
        ok(svmd_migrate(range_session, NULL, range_words, RANGE_GRANULE, (svmd_node)m->n[0]));
}

/* n[0]: a node */
static void owner_begin_retry(struct message *m) {
        const char *elsewhere = (char *)range_words + RANGE_SIZE;
        uint64_t begun;

        ok(svmd_evict(range_session, NULL, range_words, 0));
        begun = svmd_range_begin(range_session, range_words);
        must(begun != UINT64_MAX && svmd_range_begin(range_session, elsewhere) == UINT64_MAX);
        must(svmd_range_retry(range_session, range_words + 1, begun) == 0);
        ok(svmd_migrate(range_session, NULL, range_words, RANGE_GRANULE, (svmd_node)m->n[0]));
        must(svmd_range_retry(range_session, range_words, begun) == 1);
        begun = svmd_range_begin(range_session, range_words);
        must(svmd_range_retry(range_session, range_words, begun) == 0);
        ok(svmd_discard(range_session, NULL, range_words, RANGE_GRANULE));
        must(svmd_range_retry(range_session, range_words, begun) == 1);
}

static void hints_and_orders(void) {
        struct message m = { .n = { 9000, gpu, plain } };

        range_call(&writer, range_write, 9000);
        actor_call(&owner, owner_sum, &m);
        range_call(&reader, range_check, 9000);
        range_call(&owner, owner_discard, 0);
        must(range_call(&writer, range_read, 0).n[1] == 0);
        must(range_call(&reader, range_read, 3 * RANGE_GRANULE / 8 + 5).n[1] == 0);
        must(range_call(&reader, range_read, RANGE_GRANULE / 8).n[1] == 9000 + RANGE_GRANULE / 8);
        range_call(&owner, owner_advise, gpu);
        range_call(&owner, owner_pin, gpu);
        range_call(&owner, owner_begin_retry, gpu);
}

/* ---- what comes with a first touch ---- */

/* n[0]: from there, n[1]: as many granules. */
static void owner_walks(struct message *m) {
        for (uint64_t g = m->n[0]; g < m->n[0] + m->n[1]; g++) {
                volatile uint64_t *word = range_words + g * (RANGE_GRANULE / 8);

                must(word[1] == 0);
                word[0] = g + 1;
        }
}

/* n[0]: granules that were walked over; all others are zero. */
static void owner_looks(struct message *m) {
        for (uint64_t g = 0; g < RANGE_SIZE / RANGE_GRANULE; g++)
                must(range_words[g * (RANGE_GRANULE / 8)] == (g < m->n[0] ? g + 1 : 0));
}

/* Granules ahead of a walk are there before it comes to them, also when svmd was killed meanwhile. */
static void first_touches(void) {
        enum { STOP = 18, END = 50, AHEAD = 6 };
        struct message first = { .n = { 0, STOP } }, rest = { .n = { STOP, END - STOP } };
        struct actor walker;
        uint64_t at = range_own(&walker, OWNER, "walk", SVMD_RANGE_AHEAD);

        actor_call(&walker, owner_walks, &first);
        range_await(watcher, at, host, (STOP + AHEAD) * RANGE_GRANULE);
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
        actor_call(&walker, owner_walks, &rest);
        range_await(watcher, at, host, (END + AHEAD) * RANGE_GRANULE);
        range_call(&walker, owner_looks, END);
        actor_end(&walker);
}

/* ---- giving back ---- */

/* A vector that fails as a whole leaves the range as it was. */
static void owner_fails_to_free(struct message *m) {
        struct svmd_address_info info = { .size = sizeof(info) };
        svmd_batch *b;

        range_words[0] = 77;
        ok(svmd_batch_new(range_session, &b));
        must(svmd_batch_free_address(b, range_words) == 0);
        must(svmd_batch_mem_release(b, 12345678) == 1);
        want(SVMD_E_NO_SUCH, svmd_batch_submit(b, SVMD_ALL_OR_NOTHING, NULL));
        must(range_words[0] == 77);
        range_words[0] = 78;
        ok(svmd_address_query(range_session, range_words, &info));
        must(info.kind == SVMD_SHARED && info.granule == RANGE_GRANULE && !info.revoked);
        svmd_batch_free(b);
}

/* Two sessions of one process, of which the one that mapped it ends first. */
static void writer_has_it_twice(struct message *m) {
        svmd_session *second;
        void *at;

        connect_to(&second, range_socket, "lab");
        ok(svmd_address_open(second, &at, NULL, "board", SVMD_ACCESS_READ_WRITE));
        must(at == range_words);
        range_words[1] = 1234;
        svmd_disconnect(range_session);
        must(range_words[1] == 1234);
        must(svmd_range_begin(second, at) != UINT64_MAX);
        ok(svmd_evict(second, NULL, at, 0));
        must(range_words[1] == 1234);
        range_session = second;
}

static void ends(void) {
        range_call(&owner, owner_fails_to_free, 0);
        must(range_call(&reader, range_read, 0).n[1] == 78);
        range_call(&writer, writer_has_it_twice, 0);
        migrate(gpu);
        must(range_call(&writer, range_read, 1).n[1] == 1234);
        range_call(&writer, range_disconnect, 0);
        must(range_call(&owner, range_read, 1).n[1] == 1234);
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=256M,faults=on",
                                               "--soft-node", "gpu1:size=64M,faults=off",
                                               "--log-level", "warning",
                                               NULL };

        harness_begin("system_managed");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        range_socket = d.socket;
        connect_watcher(&watcher, d.admin);
        range_partition(watcher);
        host = node_named(watcher, "host0");
        gpu = node_named(watcher, "gpu0");
        plain = node_named(watcher, "gpu1");
        address = range_own(&owner, OWNER, "board", 0);
        range_join(&writer, WRITER, "board", SVMD_ACCESS_READ_WRITE);
        range_join(&reader, READER, "board", SVMD_ACCESS_READ);
        a_counter_is_shared();
        what_moved_comes_back_when_touched();
        hints_and_orders();
        first_touches();
        ends();
        actor_end(&owner);
        actor_end(&writer);
        actor_end(&reader);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
