/*
 * Ranges and memory that are kept outlive the processes that made them, a svmd that is killed meanwhile, and others who
 * need the room: each byte is there at the next open, at its address, for whom the mode lets in. They end when their
 * time is over, or when they are removed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum {
        OWNER = 2001,
        OTHER = 2002,
        GROUP = 3000,
        GRANULE = 64 << 10,
        SIZE = 8 << 20,
        MEMORY = 1 << 20,
        FILLER = 56 << 20,
        KEPT_MAX = 24 << 20,
};

static const char *const options[] = { "--host-capacity",
                                       "48M",
                                       "--soft-node",
                                       "gpu0:size=40M,faults=on",
                                       "--soft-node",
                                       "gpu1:size=16M,faults=off",
                                       "--log-level",
                                       "warning",
                                       NULL };

static struct daemon d;
static svmd_session *watcher;

/* ---- in an actor ---- */

static svmd_session *mine;
static volatile uint64_t *words;
static svmd_mem mem;

static void come(struct message *m) {
        connect_to(&mine, d.socket, "lab");
}

static uint64_t word_at(uint64_t seed, size_t i) {
        return (seed + i) * 0x9e3779b97f4a7c15ull | 1;
}

/* text: name, n[0]: size, n[1]: seed, n[2]: mode -> n[0]: address */
static void make_range(struct message *m) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .name = m->text, .mode = (unsigned)m->n[2], .kind = SVMD_SHARED, .granule = GRANULE
        };
        void *at;

        ok(svmd_address_reserve(mine, &at, m->n[0], 0, NULL, &o));
        words = at;
        for (size_t i = 0; i < m->n[0] / 8; i++)
                words[i] = word_at(m->n[1], i);
        m->n[0] = (uint64_t)(uintptr_t)at;
}

/* n[0]: offset, n[1]: size, text: node */
static void move(struct message *m) {
        ok(svmd_migrate(mine, NULL, (const char *)(uintptr_t)words + m->n[0], m->n[1], node_named(mine, m->text)));
}

/* n[0]: seconds, n[1]: off -> r */
static void keep(struct message *m) {
        struct svmd_keep_options o = { .size = sizeof(o), .seconds = m->n[0], .off = (int)m->n[1] };

        message_take(m, svmd_keep(mine, (const void *)(uintptr_t)(words + 3), &o));
}

/* text: name, n[0]: access -> r, n[0]: address, n[1]: size */
static void open_range(struct message *m) {
        size_t size = 0;
        void *at = NULL;

        message_take(m, svmd_address_open(mine, &at, &size, m->text, (unsigned)m->n[0]));
        if (!m->r)
                words = at;
        m->n[0] = (uint64_t)(uintptr_t)at;
        m->n[1] = size;
}

/* n[0]: size, n[1]: seed -> n[0]: words that are not what was written */
static void check(struct message *m) {
        uint64_t wrong = 0;

        for (size_t i = 0; i < m->n[0] / 8; i++)
                wrong += words[i] != word_at(m->n[1], i);
        m->n[0] = wrong;
}

static void touch_all(struct message *m) {
        for (size_t i = 0; i < m->n[0] / 8; i += 512)
                words[i]++;
}

static void free_range(struct message *m) {
        message_take(m, svmd_address_free(mine, (void *)(uintptr_t)words));
}

/* Memory of both kinds of nodes, the host's with a seed (n[1]) in it; kept for n[0] seconds. */
static void make_memory(struct message *m) {
        struct svmd_keep_options o = { .size = sizeof(o), .seconds = m->n[0] };
        svmd_mem device;
        void *at;

        ok(svmd_mem_create(mine, &mem, MEMORY, node_named(mine, "host0"), SVMD_MEM_SHAREABLE));
        ok(svmd_mem_create(mine, &device, MEMORY, node_named(mine, "gpu1"), SVMD_MEM_SHAREABLE));
        want(SVMD_E_INVALID, svmd_mem_keep(mine, mem, NULL));
        ok(svmd_mem_export(mine, mem, "cache", 0640));
        ok(svmd_mem_export(mine, device, "cache-gpu", 0600));
        ok(svmd_address_reserve(mine, &at, MEMORY, 0, NULL, NULL));
        ok(svmd_mem_map(mine, SVMD_CPU, (uint64_t)at, MEMORY, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
        for (size_t i = 0; i < MEMORY / 8; i++)
                ((uint64_t *)at)[i] = word_at(m->n[1], i);
        ok(svmd_mem_keep(mine, mem, &o));
        ok(svmd_mem_keep(mine, device, NULL));
}

/* text: name, n[0]: access -> r */
static void import(struct message *m) {
        message_take(m, svmd_mem_import(mine, &mem, NULL, m->text, (unsigned)m->n[0]));
}

static void show_memory(struct message *m) {
        void *at;

        ok(svmd_address_reserve(mine, &at, MEMORY, 0, NULL, NULL));
        ok(svmd_mem_map(mine, SVMD_CPU, (uint64_t)at, MEMORY, 0, mem, SVMD_ACCESS_READ, 0));
        words = at;
}

/* text: name, n[0]: kind -> r */
static void remove_own(struct message *m) {
        message_take(m, svmd_kept_remove(mine, NULL, (unsigned)m->n[0], m->text));
}

/* ---- in the test ---- */

static void call(struct actor *a, actor_fn fn, int code, struct message *m) {
        actor_call(a, fn, m);
        message_want(code, m);
}

static void new_actor(struct actor *a, uint32_t uid) {
        actor_new(a, uid, GROUP, 0);
        actor_call(a, come, &(struct message){ 0 });
}

struct wanted {
        const char *name;
        unsigned kind;
        bool found;
        struct svmd_kept_row row;
        uint64_t on[8];
};

static int take_row(const struct svmd_kept_row *row, void *userdata) {
        struct wanted *w = userdata;

        if (strcmp(row->name, w->name) != 0 || row->kind != w->kind)
                return 0;
        w->found = true;
        w->row = *row;
        for (size_t i = 0; i < row->nodes_count; i++)
                if (row->nodes[i].node < 8)
                        w->on[row->nodes[i].node] = row->nodes[i].used;
        return 0;
}

static struct wanted look(unsigned kind, const char *name) {
        struct wanted w = { .name = name, .kind = kind };

        ok(svmd_query_kept(watcher, "lab", take_row, &w));
        return w;
}

static uint64_t bytes_on(const struct wanted *w, const char *node) {
        return w->on[node_named(watcher, node)];
}

/* Until it has this many users, or (-1) is gone. */
static struct wanted await_users(unsigned kind, const char *name, int users) {
        for (uint64_t end = now_ms() + CEILING_MS; now_ms() < end; usleep(2000)) {
                struct wanted w = look(kind, name);

                if (users < 0 ? !w.found : w.found && w.row.users == (unsigned)users)
                        return w;
        }
        fail_here("what is kept has not come to have so many users");
}

static void restart_daemon(void) {
        svmd_disconnect(watcher);
        daemon_kill(&d);
        daemon_start(&d);
        connect_watcher(&watcher, d.admin);
}

static void set_kept_max(uint64_t bytes) {
        struct svmd_partition_options o = { .size = sizeof(o), .has_kept_max = 1, .kept_max = bytes };

        ok(svmd_partition_set(watcher, "lab", &o, 0));
}

static uint64_t make_and_leave(uint64_t seconds) {
        struct message m = { .n = { SIZE, 7, 0640 }, .text = "weights" };
        struct actor a;
        uint64_t at;

        new_actor(&a, OWNER);
        actor_call(&a, make_range, &m);
        at = m.n[0];
        call(&a, keep, 0, &(struct message){ .n = { seconds } });
        actor_call(&a, move, &(struct message){ .n = { 0, SIZE / 2 }, .text = "gpu0" });
        actor_call(&a, make_memory, &(struct message){ .n = { 0, 9 } });
        if (random_below(2))
                actor_kill(&a);
        else
                actor_end(&a);
        return at;
}

/* Others fill the machine: what nobody uses makes way, and nothing of it is lost. */
static void fill_the_machine(void) {
        struct message m = { .n = { FILLER, 1, 0600 }, .text = "filler" };
        uint64_t end = now_ms() + CEILING_MS;
        struct wanted w;
        struct actor a;

        new_actor(&a, OTHER);
        actor_call(&a, make_range, &m);
        do {
                must(now_ms() < end);
                actor_call(&a, touch_all, &(struct message){ .n = { FILLER } });
                w = look(SVMD_KEPT_RANGE, "weights");
        } while (bytes_on(&w, "host0") > SIZE / 8);
        must(bytes_on(&w, "host0") + bytes_on(&w, "gpu0") + bytes_on(&w, "gpu1") >= SIZE);
        restart_daemon();
        actor_end(&a);
}

static void test_contents(void) {
        uint64_t at = make_and_leave(0);
        struct wanted w = await_users(SVMD_KEPT_RANGE, "weights", 0);
        struct message m;
        struct actor a, other;

        must(w.row.address == at && w.row.length == SIZE && w.row.uid == OWNER && w.row.mode == 0640);
        must(w.row.idle_ms > 0 && w.row.left_ms == UINT64_MAX);
        must(bytes_on(&w, "gpu0") == SIZE / 2 && bytes_on(&w, "host0") == SIZE / 2);
        restart_daemon();
        fill_the_machine();
        new_actor(&other, OTHER);
        call(&other, open_range, SVMD_E_DENIED,
             &(struct message){ .text = "weights", .n = { SVMD_ACCESS_READ_WRITE } });
        call(&other, import, SVMD_E_DENIED, &(struct message){ .text = "cache-gpu", .n = { SVMD_ACCESS_READ } });
        call(&other, remove_own, SVMD_E_DENIED, &(struct message){ .text = "weights", .n = { SVMD_KEPT_RANGE } });
        new_actor(&a, OWNER);
        m = (struct message){ .text = "weights", .n = { SVMD_ACCESS_READ_WRITE } };
        call(&a, open_range, 0, &m);
        must(m.n[0] == at && m.n[1] == SIZE);
        m = (struct message){ .n = { SIZE, 7 } };
        actor_call(&a, check, &m);
        must(m.n[0] == 0);
        must(await_users(SVMD_KEPT_RANGE, "weights", 1).row.idle_ms == 0);
        /* Its group may read it, as before. */
        m = (struct message){ .text = "weights", .n = { SVMD_ACCESS_READ } };
        call(&other, open_range, 0, &m);
        restart_daemon();
        m = (struct message){ .n = { SIZE, 7 } };
        actor_call(&other, check, &m);
        must(m.n[0] == 0);
        call(&other, keep, SVMD_E_DENIED, &(struct message){ .n = { 1 } });
        /* Its user's session is its owner again. */
        call(&a, free_range, 0, &(struct message){ 0 });
        must(!look(SVMD_KEPT_RANGE, "weights").found);
        call(&a, import, 0, &(struct message){ .text = "cache", .n = { SVMD_ACCESS_READ } });
        actor_call(&a, show_memory, &(struct message){ 0 });
        m = (struct message){ .n = { MEMORY, 9 } };
        actor_call(&a, check, &m);
        must(m.n[0] == 0);
        w = look(SVMD_KEPT_MEM, "cache-gpu");
        must(w.found && w.row.users == 0 && w.row.length == MEMORY);
        call(&a, remove_own, 0, &(struct message){ .text = "cache-gpu", .n = { SVMD_KEPT_MEM } });
        actor_end(&a);
        actor_end(&other);
        await_users(SVMD_KEPT_MEM, "cache", 0);
        ok(svmd_kept_remove(watcher, "lab", SVMD_KEPT_MEM, "cache"));
        want(SVMD_E_NO_SUCH, svmd_kept_remove(watcher, "lab", SVMD_KEPT_MEM, "cache"));
        await_settled(watcher, &d, 0, 0);
        must(process_blocks(d.keeper, "svmd-memory") == 0);
}

static unsigned told; /* of `events` */
static const char *const events[] = { "kept-idle", "kept-expired", "kept-removed" };

static void on_event(svmd_session *s, const struct svmd_event *e, void *userdata) {
        for (unsigned i = 0; i < 3; i++)
                if (e->type == SVMD_EVENT_MONITOR && strcmp(e->what, events[i]) == 0 && strstr(e->text, userdata))
                        told |= 1u << i;
}

static svmd_session *begin_monitor(const char *about) {
        svmd_session *s;

        told = 0;
        connect_watcher(&s, d.admin);
        ok(svmd_set_event_handler(s, on_event, (void *)(uintptr_t)about));
        ok(svmd_monitor(s, 1));
        return s;
}

static void await_told(svmd_session *monitor, unsigned wanted) {
        for (uint64_t end = now_ms() + CEILING_MS; (told & wanted) != wanted; usleep(2000)) {
                must(now_ms() < end);
                ok(svmd_dispatch(monitor));
        }
        svmd_disconnect(monitor);
}

/* A second is over while a svmd runs, and while none does. */
static void test_expiry(bool killed) {
        struct message m = { .text = "weights", .n = { SVMD_ACCESS_READ_WRITE } };
        svmd_session *monitor = NULL;
        struct actor a;

        if (!killed)
                monitor = begin_monitor("weights");
        make_and_leave(1);
        if (killed)
                restart_daemon();
        else
                await_told(monitor, 3);
        await_users(SVMD_KEPT_RANGE, "weights", -1);
        new_actor(&a, OWNER);
        call(&a, open_range, SVMD_E_NO_SUCH, &m);
        actor_end(&a);
        monitor = begin_monitor("cache");
        ok(svmd_kept_remove(watcher, "lab", SVMD_KEPT_MEM, "cache"));
        ok(svmd_kept_remove(watcher, "lab", SVMD_KEPT_MEM, "cache-gpu"));
        await_told(monitor, 4);
        await_settled(watcher, &d, 0, 0);
}

static void test_limit(void) {
        struct message m = { .n = { SIZE, 1, 0600 }, .text = "large" };
        struct actor a;

        new_actor(&a, OWNER);
        actor_call(&a, make_range, &m);
        set_kept_max(SIZE - 1);
        call(&a, keep, SVMD_E_LIMIT, &(struct message){ 0 });
        set_kept_max(SIZE);
        call(&a, keep, 0, &(struct message){ 0 });
        call(&a, keep, 0, &(struct message){ .n = { 5, 1 } });
        call(&a, keep, SVMD_OK, &(struct message){ .n = { 60 } });
        set_kept_max(0);
        actor_end(&a);
        must(await_users(SVMD_KEPT_RANGE, "large", 0).row.left_ms <= 60000);
        want(SVMD_E_BUSY, svmd_partition_delete(watcher, "lab", SVMD_DELETE_END_SESSIONS, 0));
        ok(svmd_partition_delete(watcher, "lab", SVMD_DELETE_DROP_KEPT, 0));
        await_settled(watcher, &d, 0, 0);
}

int main(void) {
        struct svmd_partition_options o = { .size = sizeof(o),
                                            .length = 4ull << 30,
                                            .window = HARNESS_WINDOW,
                                            .mode = 0444,
                                            .has_kept_max = 1,
                                            .kept_max = KEPT_MAX };

        harness_begin("system_kept");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        test_contents();
        test_expiry(false);
        test_expiry(true);
        test_limit();
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
