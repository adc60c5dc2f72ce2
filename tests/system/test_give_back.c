/*
 * A partition comes down, or goes, while processes use it: one that gives back in time keeps the rest, one that does
 * not ends, and svmd is killed in between, before the time is over and after. Whatever happens, sums are exact, and
 * what a neighbour has in a managed range on that device is where it can be read.
 *
 *      system_give_back [KILLS]     SVMD_SEED reproduces the moments; 60 with SVMD_LONG=1
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "range_actor.h"

#define MIB    (1ull << 20)
#define HELD   (8 * MIB)
#define EITHER UINT64_MAX /* all of that, or nothing */

enum { KILLS = 4, KILLS_LONG = 60 };

static const char *const options[] = { "--soft-node", "gpu0:size=32M,faults=on", "--log-level", "warning", NULL };

static struct daemon d;
static svmd_session *watcher;
static svmd_node gpu;
static struct actor owner, holder;
static uint64_t range;

/* ---- in an actor ---- */

static svmd_session *mine;
static svmd_mem held;
static uint64_t asked;

static void on_event(svmd_session *s, const struct svmd_event *e, void *userdata) {
        if (e->type == SVMD_EVENT_GIVE_BACK && e->from == gpu)
                asked += e->length;
}

static void hold(struct message *m) {
        connect_to(&mine, d.socket, "lab");
        ok(svmd_set_event_handler(mine, on_event, NULL));
        ok(svmd_mem_create(mine, &held, HELD, gpu, SVMD_MEM_PINNED));
}

/* -> n[0]: bytes that it was asked for since */
static void listen(struct message *m) {
        uint64_t until = now_ms() + CEILING_MS;

        for (asked = 0; asked == 0 && now_ms() < until; usleep(1000))
                ok(svmd_dispatch(mine));
        m->n[0] = asked;
}

static void answer(struct message *m) {
        ok(svmd_mem_release(mine, held));
}

/* -> r, n[0]: whether the session is there still */
static void look(struct message *m) {
        struct svmd_session_info info = { .size = sizeof(info) };

        message_take(m, svmd_dispatch(mine));
        if (!m->r)
                message_take(m, svmd_session_info(mine, &info));
}

static void go(struct message *m) {
        svmd_disconnect(mine);
        mine = NULL;
}

static void go_owner(struct message *m) {
        svmd_disconnect(range_session);
        range_session = NULL;
}

/* n[0]: milliseconds -> r */
static void delete_lab(struct message *m) {
        svmd_session *admin;

        connect_watcher(&admin, d.admin);
        message_take(m, svmd_partition_delete_by(admin, "lab", SVMD_DELETE_END_SESSIONS, m->n[0], 0));
        svmd_disconnect(admin);
}

/* ---- */

static void call(struct actor *a, actor_fn fn) {
        struct message m = { 0 };

        actor_call(a, fn, &m);
        message_want(0, &m);
}

/* A range on the device, of one who holds nothing else there, and memory of another one. */
static void begin(void) {
        struct message m = { 0 };

        range_partition(watcher);
        range = range_own(&owner, 2001, "board", 0);
        range_call(&owner, range_write, 17);
        ok(svmd_partition_migrate(watcher, NULL, "lab", range, RANGE_SIZE, gpu));
        range_await(watcher, range, gpu, RANGE_SIZE);
        actor_new(&holder, 2002, 3000, 0);
        actor_call(&holder, hold, &m);
        message_want(0, &m);
}

static void end(void) {
        range_call(&owner, range_check, 17);
        actor_end(&owner);
        actor_end(&holder);
        ok(svmd_partition_delete(watcher, "lab", SVMD_DELETE_END_SESSIONS, 0));
        await_settled(watcher, &d, 0, 0);
}

static void come_down(uint64_t max, uint64_t deadline_ms, unsigned how) {
        struct svmd_limit limit = { .node = gpu, .max = max };
        struct svmd_partition_options o = {
                .size = sizeof(o), .limits = &limit, .limits_count = 1, .come_down = how, .deadline_ms = deadline_ms
        };

        ok(svmd_partition_set(watcher, "lab", &o, 0));
}

static int add_up(const struct svmd_plan_row *row, void *userdata) {
        *(uint64_t *)userdata += row->kind == SVMD_PLAN_GIVE_BACK ? 0 : row->bytes;
        return 0;
}

static uint64_t left_above(uint64_t max) {
        struct svmd_limit limit = { .node = gpu, .max = max };
        struct svmd_partition_options o = { .size = sizeof(o), .limits = &limit, .limits_count = 1 };
        uint64_t sum = 0;

        ok(svmd_partition_plan(watcher, "lab", &o, add_up, &sum));
        return sum;
}

static void await_down(uint64_t max) {
        uint64_t until = now_ms() + CEILING_MS;

        while (left_above(max) > 0) {
                must(now_ms() < until);
                usleep(2000);
        }
}

static bool holds(void) {
        struct message m = { 0 };

        actor_call(&holder, look, &m);
        must(m.r == 0 || m.r == SVMD_E_GONE);
        return m.r == 0;
}

static void await_gone(void) {
        uint64_t until = now_ms() + CEILING_MS;

        while (holds()) {
                must(now_ms() < until);
                usleep(2000);
        }
}

/* Of one node: what it has in sum is the partition's, and is what the holder has beside what lies there of the range.
 */
struct sums {
        uint64_t used, managed, of_lab;
};

static int take_node(const struct svmd_node_row *row, void *userdata) {
        struct sums *s = userdata;

        if (row->id == gpu) {
                s->used = row->used;
                s->managed = row->managed;
        }
        return 0;
}

static int take_partition(const struct svmd_partition_row *row, void *userdata) {
        struct sums *s = userdata;

        for (size_t i = 0; i < row->nodes_count; i++)
                if (row->nodes[i].node == gpu)
                        s->of_lab = row->nodes[i].used;
        return 0;
}

static void add_up_to(uint64_t held_bytes) {
        uint64_t until = now_ms() + CEILING_MS;

        for (;;) {
                struct sums s = { 0 };
                uint64_t held_now;

                ok(svmd_query_nodes(watcher, take_node, &s));
                ok(svmd_query_partitions(watcher, "lab", take_partition, &s));
                held_now = s.used - s.managed;

                if (s.used == s.of_lab && s.managed <= RANGE_SIZE &&
                    (held_bytes == EITHER ? held_now == 0 || held_now == HELD : held_now == held_bytes))
                        return;
                must(now_ms() < until);
                usleep(2000);
        }
}

static void restart(void) {
        daemon_kill(&d);
        daemon_start(&d);
        svmd_disconnect(watcher);
        connect_watcher(&watcher, d.admin);
}

/* It is asked for what is too much, gives that, and loses nothing else. */
static void answered(void) {
        struct message m;

        begin();
        come_down(RANGE_SIZE, 3600000, SVMD_STEAL);
        m = range_call(&holder, listen, 0);
        must(m.n[0] == HELD);
        call(&holder, answer);
        await_down(RANGE_SIZE);
        must(holds());
        range_await(watcher, range, gpu, RANGE_SIZE);
        add_up_to(0);
        end();
}

/* Nobody answers: the range leaves the device, the session that holds the rest ends, and that of the range does not. */
static void ignored(void) {
        begin();
        come_down(MIB, 50, SVMD_STEAL);
        await_down(MIB);
        await_gone();
        add_up_to(0);
        end();
}

/* svmd is killed before the time is over: nothing has been taken, nothing is, and the plan says what is left. */
static void killed_before(void) {
        begin();
        come_down(MIB, 3600000, SVMD_STEAL);
        range_call(&holder, listen, 0);
        restart();
        must(holds());
        range_call(&owner, range_check, 17);
        must(left_above(MIB) >= HELD - MIB);
        add_up_to(HELD);
        come_down(MIB, 0, SVMD_STEAL);
        await_down(MIB);
        await_gone();
        end();
}

/* And at any moment after: between what leaves, what is taken, and what is written down of it. */
static void killed_after(void) {
        begin();
        come_down(MIB, 1, SVMD_STEAL);
        usleep((useconds_t)random_below(30000));
        restart();
        range_call(&owner, range_check, 17);
        add_up_to(EITHER);
        come_down(MIB, 0, SVMD_STEAL);
        await_down(MIB);
        await_gone();
        add_up_to(0);
        end();
}

static void begin_deletion(struct actor *admin) {
        struct message m = { .n = { 3600000 } };

        actor_new(admin, 0, 0, 0);
        actor_begin(admin, delete_lab, &m);
        must(range_call(&holder, listen, 0).n[0] == HELD);
}

static void end_deletion(struct actor *admin, int code) {
        struct message m;

        actor_finish(admin, &m);
        message_want(code, &m);
        actor_end(admin);
}

/* A partition goes when the last of those who were asked has gone. svmd is killed before: who waits for it is told, and
 * nothing has happened to anybody; so he asks again. */
static void deleted(bool killed) {
        struct actor admin;

        begin();
        begin_deletion(&admin);
        if (killed) {
                restart();
                end_deletion(&admin, SVMD_E_GONE);
                must(holds());
                add_up_to(HELD);
                begin_deletion(&admin);
        }
        range_call(&owner, range_check, 17);
        call(&holder, go);
        call(&owner, go_owner);
        end_deletion(&admin, 0);
        actor_end(&owner);
        actor_end(&holder);
        want(SVMD_E_NO_SUCH, svmd_partition_delete(watcher, "lab", 0, 0));
        await_settled(watcher, &d, 0, 0);
}

/* Who does not go in time ends, with what he has. */
static void deleted_by_force(void) {
        struct message m = { .n = { 50 } };
        struct actor admin;

        begin();
        actor_new(&admin, 0, 0, 0);
        actor_call(&admin, delete_lab, &m);
        message_want(0, &m);
        await_gone();
        actor_end(&admin);
        actor_end(&owner);
        actor_end(&holder);
        await_settled(watcher, &d, 0, 0);
}

int main(int argc, char **argv) {
        unsigned kills = argc > 1 ? (unsigned)atoi(argv[1]) : getenv("SVMD_LONG") ? KILLS_LONG : KILLS;

        harness_begin("system_give_back");
        daemon_new(&d, options);
        range_socket = d.socket;
        connect_watcher(&watcher, d.admin);
        gpu = node_named(watcher, "gpu0");
        answered();
        ignored();
        killed_before();
        for (unsigned i = 0; i < kills; i++)
                killed_after();
        deleted(false);
        deleted(true);
        deleted_by_force();
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
