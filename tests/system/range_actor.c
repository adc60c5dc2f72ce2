#include "range_actor.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

svmd_session *range_session;
uint64_t *range_words;
const char *range_socket;

static unsigned gone;

void range_partition(svmd_session *watcher) {
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0444
        };

        ok(svmd_partition_create(watcher, "lab", &o, NULL));
}

static void on_event(svmd_session *s, const struct svmd_event *e, void *userdata) {
        gone += e->type == SVMD_EVENT_GONE && e->address == range_words;
}

void range_connect(struct message *m) {
        connect_to(&range_session, range_socket, "lab");
        ok(svmd_set_event_handler(range_session, on_event, NULL));
}

void range_try_reserve(struct message *m) {
        struct svmd_reserve_options o = { .size = sizeof(o),
                                          .name = m->text[0] ? m->text : NULL,
                                          .mode = 0666,
                                          .kind = SVMD_SHARED,
                                          .granule = RANGE_GRANULE,
                                          .flags = (unsigned)m->n[0] };
        void *at = NULL;

        message_take(m, svmd_address_reserve(range_session, &at, RANGE_SIZE, 0, NULL, &o));
        range_words = at;
        m->n[0] = (uint64_t)at;
}

void range_open(struct message *m) {
        size_t size = 0;
        void *at = NULL;

        message_take(m, svmd_address_open(range_session, &at, &size, m->text, (unsigned)m->n[0]));
        if (m->r)
                return;
        must(size == RANGE_SIZE);
        range_words = at;
        m->n[0] = (uint64_t)at;
}

void range_free(struct message *m) {
        message_take(m, svmd_address_free(range_session, range_words));
}

void range_write(struct message *m) {
        for (size_t i = 0; i < RANGE_WORDS; i++)
                range_words[i] = m->n[0] + i;
}

void range_check(struct message *m) {
        const volatile uint64_t *p = range_words;

        for (size_t i = 0; i < RANGE_WORDS; i++)
                must(p[i] == m->n[0] + i);
}

void range_read(struct message *m) {
        m->n[1] = ((const volatile uint64_t *)range_words)[m->n[0]];
}

void range_count(struct message *m) {
        for (uint64_t i = 0; i < m->n[0]; i++)
                __atomic_fetch_add(&range_words[RANGE_WORDS - 1], 1, __ATOMIC_RELAXED);
}

void range_dispatch(struct message *m) {
        message_take(m, svmd_dispatch(range_session));
        m->n[0] = gone;
}

void range_disconnect(struct message *m) {
        svmd_disconnect(range_session);
        range_session = NULL;
}

/* ---- in the test ---- */

struct message range_call(struct actor *a, actor_fn fn, uint64_t n0) {
        struct message m = { .n = { n0 } };

        actor_call(a, fn, &m);
        return m;
}

void range_join(struct actor *a, uint32_t uid, const char *name, unsigned access) {
        struct message m = { .n = { access } };

        actor_new(a, uid, uid, 0);
        range_call(a, range_connect, 0);
        snprintf(m.text, sizeof(m.text), "%s", name);
        actor_call(a, range_open, &m);
        message_want(0, &m);
}

uint64_t range_own(struct actor *a, uint32_t uid, const char *name, unsigned flags) {
        struct message m = { .n = { flags } };

        actor_new(a, uid, uid, 0);
        range_call(a, range_connect, 0);
        snprintf(m.text, sizeof(m.text), "%s", name);
        actor_call(a, range_try_reserve, &m);
        message_want(0, &m);
        return m.n[0];
}

struct bytes {
        svmd_node node;
        uint64_t bytes, all;
        bool busy;
};

static int add_row(const struct svmd_residency_row *row, void *userdata) {
        struct bytes *b = userdata;

        b->busy = b->busy || row->busy;
        b->bytes += row->node == b->node ? row->length : 0;
        b->all += row->length;
        return 0;
}

static bool has(svmd_session *watcher, uint64_t address, svmd_node node, uint64_t bytes) {
        struct bytes b = { .node = node };

        ok(svmd_query_residency(watcher, "lab", address, RANGE_SIZE, 0, add_row, &b));
        must(b.all == RANGE_SIZE);
        return !b.busy && b.bytes >= bytes;
}

void range_await(svmd_session *watcher, uint64_t address, svmd_node node, uint64_t bytes) {
        uint64_t until = now_ms() + CEILING_MS;

        while (!has(watcher, address, node, bytes)) {
                if (now_ms() >= until)
                        fail_here("a managed range does not come to rest where it has to");
                usleep(1000);
        }
}
