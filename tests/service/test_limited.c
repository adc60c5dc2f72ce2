/* Limits of sessions and of control groups: who may, what is in force, what a restart keeps, and how they come down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/cgroup.h"
#include "core/memory.h"
#include "core/partition.h"
#include "core/session.h"
#include "expect.h"
#include "groups.h"
#include "ranges.h"

#define MIB    (1ull << 20)
#define GIB    (1ull << 30)
#define SECOND 1000000000ull

enum { PINNED = SVMD__V1__MEM_FLAG__MEM_PINNED };

static struct world w;
static struct client admin, a, b;
static uint64_t now_ns;

static uint64_t now(void) {
        return now_ns;
}

static int set_up(void **state) {
        ops_reset();
        now_ns = 1000 * SECOND;
        world_open(&w, 0);
        groups_open(&w);
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 16 * GIB, "", 100, 0666));
        must(&admin, mk_partition("two", 16 * GIB, "", 100, 0666));
        client_open(&w, &a, 100, 100, false);
        groups_put(&w, a.pid, "/pod/a");
        client_greet(&a, "one");
        client_open(&w, &b, 101, 101, false);
        groups_put(&w, b.pid, "/pod/b");
        client_greet(&b, "one");
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        client_close(&b);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

static void restart(void) {
        struct client *clients[] = { &a, &b };

        client_close(&admin);
        world_bury(world_restart_as_was(&w, clients, 2));
        check_world(&w);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
}

static Svmd__V1__Op *of_a(uint32_t node, unsigned bound, uint64_t bytes) {
        return mk_own_limit(a.id, NULL, node, bound, bytes);
}

static Svmd__V1__Op *of_group(const char *path, uint32_t node, unsigned bound, uint64_t bytes) {
        return mk_own_limit(0, path, node, bound, bytes);
}

static Svmd__V1__Op *clear(uint64_t session, const char *cgroup) {
        Svmd__V1__Op *op = mk_own_limit(session, cgroup, 0, 0, 0);

        op->limit_set->n_limits = 0;
        op->limit_set->clear = true;
        return op;
}

static Svmd__V1__Limited *ask(struct client *c, uint64_t session, const char *cgroup) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_LIMIT_QUERY);
        Svmd__V1__Result *r;

        op->limit_query->session = session;
        if (cgroup)
                op->limit_query->cgroup = (char *)cgroup;
        r = must(c, op);
        assert_int_equal(r->detail_case, SVMD__V1__RESULT__DETAIL_LIMITED);
        assert_true(r->limited->n_rows <= 1);
        return r->limited->n_rows ? r->limited->rows[0] : NULL;
}

static Svmd__V1__NodeUse *use_of(struct client *c, uint64_t session, const char *cgroup, uint32_t node) {
        Svmd__V1__Limited *row = ask(c, session, cgroup);

        for (size_t i = 0; row && i < row->n_nodes; i++)
                if (row->nodes[i]->node == node)
                        return row->nodes[i];
        fail_msg("nothing is said of node %u", node);
        return NULL;
}

/* ---- what is in force ---- */

static void test_max_of_a_session(void **state) {
        must(&admin, of_a(GPU1, BOUND_MAX, 4 * MIB));
        must(&a, mk_create(GPU1, 3 * MIB, PINNED));
        must(&b, mk_create(GPU1, 8 * MIB, PINNED));
        for (int round = 0; round < 2; round++) {
                must_not(&a, mk_create(GPU1, 2 * MIB, PINNED), SVMD_STATUS_LIMIT, "session ");
                must_not(&a, mk_create(GPU1, 2 * MIB, PINNED), SVMD_STATUS_LIMIT, "svmd-ctl session limit ");
                restart();
        }
        must(&admin, clear(a.id, NULL));
        must(&a, mk_create(GPU1, 2 * MIB, PINNED));
}

static void test_max_of_a_group(void **state) {
        must(&admin, of_group("/pod", GPU1, BOUND_MAX, 8 * MIB));
        must(&admin, of_group("/pod/a", GPU1, BOUND_MAX, 4 * MIB));
        must(&b, mk_create(GPU1, 5 * MIB, PINNED));
        for (int round = 0; round < 2; round++) {
                must_not(&a, mk_create(GPU1, 5 * MIB, PINNED), SVMD_STATUS_LIMIT, "control group /pod/a may have 4");
                must_not(&a, mk_create(GPU1, 4 * MIB, PINNED), SVMD_STATUS_LIMIT, "svmd-ctl cgroup set /pod ");
                restart();
        }
        must(&a, mk_create(GPU1, 3 * MIB, PINNED));
        must_not(&b, mk_create(GPU1, 4096, PINNED), SVMD_STATUS_LIMIT, "control group /pod may have 8");
        assert_int_equal(use_of(&admin, 0, "/pod", GPU1)->used, 8 * MIB);
        assert_int_equal(use_of(&admin, 0, "/pod/a", GPU1)->used, 3 * MIB);
        assert_int_equal(ask(&admin, 0, "/pod")->sessions, 2);
        must(&admin, clear(0, "/pod"));
        must(&b, mk_create(GPU1, 4096, PINNED));
        assert_null(cgroup_find(&w.svc->state, "/pod"));
        restart();
        assert_null(cgroup_find(&w.svc->state, "/pod"));
}

/* What it has goes along, and is too much there. */
static void test_process_moves(void **state) {
        must(&admin, of_group("/small", GPU1, BOUND_MAX, 2 * MIB));
        must(&a, mk_create(GPU1, 3 * MIB, PINNED));
        groups_put(&w, a.pid, "/small/x");
        must(&a, mk_create(GPU1, 1 * MIB, PINNED));
        now_ns += 2 * SECOND;
        must_not(&a, mk_create(GPU1, MIB, PINNED), SVMD_STATUS_LIMIT, "control group /small");
        assert_int_equal(use_of(&admin, 0, "/small", GPU1)->used, 4 * MIB);
        groups_put(&w, a.pid, NULL);
        now_ns += 2 * SECOND;
        must_not(&a, mk_create(GPU1, MIB, PINNED), SVMD_STATUS_LIMIT, "control group /small");
        groups_put(&w, a.pid, "/pod/a");
        assert_int_equal(ask(&admin, 0, "/small")->sessions, 0);
        must(&a, mk_create(GPU1, MIB, PINNED));
}

static void test_min_of_a_session(void **state) {
        must_not(&admin, of_a(GPU1, BOUND_MIN, MIB), SVMD_STATUS_INVALID, "partition one has no limit on gpu1");
        must(&admin, mk_limit("one", GPU1, 8 * MIB));
        must_not(&admin, of_a(GPU1, BOUND_MIN, 9 * MIB), SVMD_STATUS_LIMIT, "cannot be kept free");
        must(&admin, of_a(GPU1, BOUND_MIN, 6 * MIB));
        for (int round = 0; round < 2; round++) {
                must_not(&b, mk_create(GPU1, 3 * MIB, PINNED), SVMD_STATUS_LIMIT, "kept free for the min of sessions");
                restart();
        }
        must(&b, mk_create(GPU1, 2 * MIB, PINNED));
        must(&a, mk_create(GPU1, 6 * MIB, PINNED));
}

/* The partition may have less by now than its session was promised. */
static void test_min_above_the_partition(void **state) {
        must(&admin, mk_limit("one", GPU1, 8 * MIB));
        must(&admin, of_a(GPU1, BOUND_MIN, 6 * MIB));
        must(&admin, mk_limit("one", GPU1, 4 * MIB));
        must_not(&b, mk_create(GPU1, 4096, PINNED), SVMD_STATUS_LIMIT, "partition one");
        restart();
        must_not(&b, mk_create(GPU1, 4096, PINNED), SVMD_STATUS_LIMIT, "partition one");
        must(&a, mk_create(GPU1, 4 * MIB, PINNED));
        must_not(&a, mk_create(GPU1, 4096, PINNED), SVMD_STATUS_LIMIT, "partition one");
        client_close(&a);
        must(&b, mk_create(GPU1, 4 * MIB, PINNED));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
}

static void test_min_of_a_group(void **state) {
        uint64_t capacity = w.machine.nodes[GPU1].capacity;

        must(&admin, mk_bound("two", GPU1, BOUND_MIN, capacity / 2));
        must_not(&admin, of_group("/pod/a", GPU1, BOUND_MIN, capacity), SVMD_STATUS_LIMIT, "promised to others");
        assert_null(cgroup_find(&w.svc->state, "/pod/a"));
        must(&admin, of_group("/pod/a", GPU1, BOUND_MIN, capacity / 2));
        must_not(&b, mk_create(GPU1, 4096, PINNED), SVMD_STATUS_NO_ROOM, "promised");
        restart();
        must_not(&b, mk_create(GPU1, 4096, PINNED), SVMD_STATUS_NO_ROOM, "promised");
        must(&a, mk_create(GPU1, capacity / 2, PINNED));
}

static bool is_away(uint64_t id) {
        return container_of(ids_find(&w.svc->state.ids, id), struct memory, object)->away;
}

/* Who needs room of a full node takes it from a session or a group above its high first, and leaves one its low while
 * others have some. */
static void test_whose_memory_gives_way(void **state) {
        uint64_t part = w.machine.nodes[GPU1].capacity / 4, lies_a[2], lies_b[2];
        struct client c;

        client_open(&w, &c, 102, 102, false);
        client_greet(&c, "two");
        for (int i = 0; i < 2; i++) {
                lies_a[i] = must(&a, mk_create(GPU1, part, 0))->id;
                lies_b[i] = must(&b, mk_create(GPU1, part, 0))->id;
        }
        must(&admin, of_a(GPU1, BOUND_LOW, 2 * part));
        must(&c, mk_create(GPU1, part, PINNED));
        world_settle(&w);
        assert_true(is_away(lies_b[0]) && !is_away(lies_a[0]) && !is_away(lies_a[1]) && !is_away(lies_b[1]));
        must(&admin, of_group("/pod/b", GPU1, BOUND_LOW, part));
        must(&admin, of_a(GPU1, BOUND_LOW, part));
        must(&c, mk_create(GPU1, part, PINNED));
        world_settle(&w);
        assert_true(is_away(lies_a[0]) && !is_away(lies_a[1]) && !is_away(lies_b[1]));
        must(&admin, of_group("/pod/b", GPU1, BOUND_MIN, part));
        must(&c, mk_create(GPU1, part, PINNED));
        world_settle(&w);
        assert_true(is_away(lies_a[1]) && !is_away(lies_b[1]));
        must_not(&c, mk_create(GPU1, part, PINNED), SVMD_STATUS_NO_ROOM, "");
        assert_false(is_away(lies_b[1]));
        client_close(&c);
}

/* The partition is full: the min of a session holds within it. */
static void test_min_within_the_partition(void **state) {
        uint64_t lies_a;

        must(&admin, mk_limit("one", GPU1, 8 * MIB));
        lies_a = must(&a, mk_create(GPU1, 4 * MIB, 0))->id;
        must(&admin, of_a(GPU1, BOUND_MIN, 4 * MIB));
        must(&b, mk_create(GPU1, 4 * MIB, PINNED));
        must_not(&b, mk_create(GPU1, 4 * MIB, PINNED), SVMD_STATUS_LIMIT, "partition one");
        assert_false(is_away(lies_a));
        must(&admin, of_a(GPU1, BOUND_MIN, 0));
        must(&b, mk_create(GPU1, 4 * MIB, PINNED));
        world_settle(&w);
        assert_true(is_away(lies_a));
}

/* ---- who may ---- */

static void test_user_lowers(void **state) {
        struct client other;

        must(&admin, of_a(GPU1, BOUND_MAX, 8 * MIB));
        must(&a, of_a(GPU1, BOUND_MAX, 4 * MIB));
        must(&a, of_a(GPU1, BOUND_HIGH, 2 * MIB));
        must_not(&a, of_a(GPU1, BOUND_MAX, 5 * MIB), SVMD_STATUS_DENIED, "administrator");
        must_not(&a, of_a(GPU1, BOUND_MAX, UINT64_MAX), SVMD_STATUS_DENIED, "administrator");
        must_not(&a, of_a(GPU1, BOUND_LOW, MIB), SVMD_STATUS_DENIED, "administrator");
        must_not(&a, of_a(GPU1, BOUND_MIN, MIB), SVMD_STATUS_DENIED, "administrator");
        must_not(&a, clear(a.id, NULL), SVMD_STATUS_DENIED, "administrator");
        must_not(&b, of_a(GPU1, BOUND_MAX, MIB), SVMD_STATUS_NO_SUCH, "there is no session");
        client_open(&w, &other, 100, 100, false);
        client_greet(&other, NULL);
        must(&other, of_a(GPU1, BOUND_MAX, 3 * MIB));
        assert_int_equal(use_of(&other, a.id, NULL, GPU1)->max, 3 * MIB);
        assert_string_equal(ask(&other, a.id, NULL)->cgroup, "/pod/a");
        client_close(&other);
}

/* Who came through a partition's own socket is in a container, maybe, and its users are others. */
static void test_not_from_another_container(void **state) {
        struct service_peer peer = { .pid = 4000, .uid = 100, .gid = 100 };
        struct client inside;

        peer.partition = partition_find(&w.svc->state, "two");
        assert_int_equal(client_open_as(&w, &inside, &peer), 0);
        client_greet(&inside, NULL);
        must_not(&inside, of_a(GPU1, BOUND_MAX, MIB), SVMD_STATUS_NO_SUCH, "there is no session");
        client_close(&inside);
        peer.partition = partition_find(&w.svc->state, "one");
        assert_int_equal(client_open_as(&w, &inside, &peer), 0);
        client_greet(&inside, NULL);
        must(&inside, of_a(GPU1, BOUND_MAX, MIB));
        client_close(&inside);
}

static void test_refusals(void **state) {
        Svmd__V1__Op *op;

        must_not(&admin, mk_own_limit(0, NULL, GPU1, BOUND_MAX, 1), SVMD_STATUS_INVALID, "name one of them");
        must_not(&admin, mk_own_limit(a.id, "/x", GPU1, BOUND_MAX, 1), SVMD_STATUS_INVALID, "name one of them");
        must_not(&admin, mk_own_limit(12345, NULL, GPU1, BOUND_MAX, 1), SVMD_STATUS_NO_SUCH, "session list");
        must_not(&admin, mk_own_limit(admin.id, NULL, GPU1, BOUND_MAX, 1), SVMD_STATUS_NOT_ATTACHED, "partition");
        must_not(&admin, of_a(99, BOUND_MAX, 1), SVMD_STATUS_NO_NODE, "");
        must_not(&admin, of_a(GPU1, 7, 1), SVMD_STATUS_INVALID, "a bound is");
        must_not(&a, of_group("/pod", GPU1, BOUND_MAX, 1), SVMD_STATUS_DENIED, "administrators");
        for (unsigned i = 0; i < 7; i++) {
                static const char *const bad[] = { "pod", "/pod/", "//", "/a/../b", "/./a", "/a\nb", "/a//b" };

                must_not(&admin, of_group(bad[i], GPU1, BOUND_MAX, 1), SVMD_STATUS_NAME, "path");
        }
        op = of_group("/pod", GPU1, BOUND_MAX, 1);
        op->limit_set->clear = true;
        must_not(&admin, op, SVMD_STATUS_INVALID, "not both");
        op = op_make(SVMD__V1__OP__OP_LIMIT_QUERY);
        must_not(&a, op, SVMD_STATUS_DENIED, "administrators");
        op->limit_query->cgroup = (char *)"/none";
        must_not(&admin, op, SVMD_STATUS_NO_SUCH, "has no limits");
        must(&admin, of_a(GPU1, BOUND_MAX, MIB));
        must_not(&admin, of_a(GPU1, BOUND_MIN, 2 * MIB), SVMD_STATUS_INVALID, "no limit");
        must(&admin, mk_limit("one", GPU1, 8 * MIB));
        must_not(&admin, of_a(GPU1, BOUND_MIN, 2 * MIB), SVMD_STATUS_INVALID, "more than max");
        assert_true(list_empty(&w.svc->state.cgroups));
}

/* ---- the list ---- */

static void test_list(void **state) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_LIMIT_QUERY);
        char paths[100][16], last[16] = "";
        unsigned seen = 0;
        bool more = true;

        for (unsigned i = 0; i < 100; i++) {
                snprintf(paths[i], sizeof(paths[i]), "/g%03u", (i * 37) % 100);
                must(&admin, of_group(paths[i], GPU1, BOUND_HIGH, MIB));
        }
        while (more) {
                Svmd__V1__Result *r;

                op->limit_query->after = last;
                r = must(&admin, op);
                more = r->more;
                for (size_t i = 0; i < r->limited->n_rows; i++, seen++) {
                        assert_true(strcmp(r->limited->rows[i]->cgroup, last) > 0);
                        snprintf(last, sizeof(last), "%s", r->limited->rows[i]->cgroup);
                }
        }
        assert_int_equal(seen, 100);
        restart();
        for (unsigned i = 0; i < 100; i++)
                must(&admin, clear(0, paths[i]));
        assert_true(list_empty(&w.svc->state.cgroups));
}

/* ---- coming down ---- */

static Svmd__V1__Op *comes_down(Svmd__V1__Op *op, uint64_t deadline_ms, bool steal) {
        op->limit_set->come_down = true;
        op->limit_set->deadline_ms = deadline_ms;
        op->limit_set->steal = steal;
        return op;
}

static void steps_are(Svmd__V1__Op *op, const char *text) {
        static const char kinds[] = { 'g', 'e', 's', 't', 'x' };
        Svmd__V1__Reply *reply = client_send(&admin, SVMD__V1__MODE__DRY_RUN, &op, 1, NULL, 0);
        Svmd__V1__Result *r = reply->results[0];
        char found[256] = "";

        assert_int_equal(r->code, 0);
        assert_int_equal(r->detail_case, SVMD__V1__RESULT__DETAIL_PLAN);
        for (size_t i = 0; i < r->plan->n_steps; i++) {
                const Svmd__V1__PlanStep *p = r->plan->steps[i];
                size_t n = strlen(found);

                snprintf(found + n, sizeof(found) - n, "%s%c%llu%s", n ? " " : "", kinds[p->kind],
                         (unsigned long long)(p->bytes / MIB),
                         p->session == a.id   ? "a"
                         : p->session == b.id ? "b"
                                              : "");
        }
        assert_string_equal(found, text);
}

static void come_to_rest(void) {
        for (int i = 0; i < 15000 && !list_empty(&w.svc->give_backs.active); i++) {
                world_settle(&w);
                usleep(i < 10 ? 0 : 2000);
        }
        assert_true(list_empty(&w.svc->give_backs.active));
}

static uint64_t asked_of(struct client *c, uint32_t node) {
        uint64_t bytes = 0;

        for (unsigned i = 0; i < c->events_count; i++)
                if (c->events[i].kind == SVMD__V1__EVENT__EVENT_GIVE_BACK && c->events[i].id == node)
                        bytes = c->events[i].bytes;
        return bytes;
}

/* Asked, spilled, and with force ended; nobody else is. */
static void test_session_comes_down(void **state) {
        must(&a, mk_create(GPU1, 4 * MIB, 0));
        must(&a, mk_create(GPU1, 4 * MIB, PINNED));
        must(&b, mk_create(GPU1, 8 * MIB, 0));
        steps_are(of_a(GPU1, BOUND_MAX, 1 * MIB), "g7a s4a t3a");
        steps_are(of_a(GPU1, BOUND_MAX, 8 * MIB), "");
        must(&admin, comes_down(of_a(GPU1, BOUND_MAX, 1 * MIB), 1000, false));
        world_settle(&w);
        assert_int_equal(asked_of(&a, GPU1), 7 * MIB);
        assert_int_equal(asked_of(&b, GPU1), 0);
        now_ns += 2 * SECOND;
        come_to_rest();
        assert_int_equal(ledger_bytes(&w, GPU1), 12 * MIB);
        restart();
        must(&admin, comes_down(of_a(GPU1, BOUND_MAX, 1 * MIB), 0, true));
        come_to_rest();
        assert_null(a.session);
        assert_non_null(b.session);
        assert_int_equal(ledger_bytes(&w, GPU1), 8 * MIB);
}

static void test_group_comes_down(void **state) {
        must(&a, mk_create(GPU1, 4 * MIB, PINNED));
        must(&b, mk_create(GPU1, 6 * MIB, 0));
        steps_are(of_group("/pod", GPU1, BOUND_MAX, 3 * MIB), "g6b g1a s6b t1a");
        assert_true(list_empty(&w.svc->state.cgroups));
        steps_are(of_group("/pod/a", GPU1, BOUND_MAX, 3 * MIB), "g1a t1a");
        must(&admin, comes_down(of_group("/pod", GPU1, BOUND_MAX, 3 * MIB), 1000, true));
        world_settle(&w);
        assert_int_equal(asked_of(&b, GPU1), 6 * MIB);
        restart();
        steps_are(of_group("/pod", GPU1, BOUND_MAX, 3 * MIB), "g6b g1a s6b t1a");
        must(&admin, comes_down(of_group("/pod", GPU1, BOUND_MAX, 3 * MIB), 0, true));
        come_to_rest();
        assert_null(a.session);
        assert_non_null(b.session);
        assert_int_equal(ledger_bytes(&w, GPU1), 0);
}

static void test_high_asks_back(void **state) {
        must(&admin, of_a(GPU1, BOUND_HIGH, 2 * MIB));
        must(&admin, of_group("/pod/b", GPU1, BOUND_HIGH, 2 * MIB));
        restart();
        must(&a, mk_create(GPU1, 3 * MIB, 0));
        must(&b, mk_create(GPU1, 5 * MIB, 0));
        world_settle(&w);
        assert_int_equal(asked_of(&a, GPU1), 1 * MIB);
        assert_int_equal(asked_of(&b, GPU1), 3 * MIB);
        now_ns += 3 * SECOND;
        come_to_rest();
        assert_int_equal(ledger_bytes(&w, GPU1), 0);
}

/* The session that comes down, with a limit of its own and one of its group, ends by itself. */
static void test_ends_on_the_way(void **state) {
        must(&a, mk_create(GPU1, 4 * MIB, PINNED));
        must(&admin, comes_down(of_a(GPU1, BOUND_MAX, MIB), 60000, true));
        must(&admin, comes_down(of_group("/pod/a", GPU1, BOUND_MAX, MIB), 60000, true));
        must(&admin, of_a(GPU1, BOUND_HIGH, 0));
        world_settle(&w);
        client_close(&a);
        come_to_rest();
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
}

/* Two that together promise too much, both on their way to the store; and two of one group. */
static void test_one_change_at_a_time(void **state) {
        uint64_t capacity = w.machine.nodes[GPU1].capacity, least = capacity / 3 * 2;
        Svmd__V1__Op *one = of_group("/x", GPU1, BOUND_MIN, least), *two = mk_bound("two", GPU1, BOUND_MIN, least);
        Svmd__V1__Op *more = of_group("/x", GPU1, BOUND_MAX, capacity);
        struct client other, third;

        client_open(&w, &other, 0, 0, true);
        client_greet(&other, NULL);
        client_open(&w, &third, 0, 0, true);
        client_greet(&third, NULL);
        assert_int_equal(client_post(&admin, SVMD__V1__MODE__BEST_EFFORT, &one, 1), SERVICE_E_LATER);
        assert_int_equal(client_post(&other, SVMD__V1__MODE__BEST_EFFORT, &two, 1), SERVICE_E_LATER);
        assert_int_equal(client_post(&third, SVMD__V1__MODE__BEST_EFFORT, &more, 1), SERVICE_E_LATER);
        client_await(&third);
        client_await(&other);
        client_await(&admin);
        assert_int_equal(other.reply->results[0]->code, SVMD_STATUS_LIMIT);
        assert_int_equal(cgroup_find(&w.svc->state, "/x")->accounts[GPU1].min, least);
        assert_int_equal(cgroup_find(&w.svc->state, "/x")->accounts[GPU1].max, capacity);
        client_close(&other);
        client_close(&third);
}

/* Who asked has gone before it is on disk. */
static void test_asker_goes(void **state) {
        Svmd__V1__Op *op = of_group("/pod", GPU1, BOUND_MAX, MIB);

        assert_int_equal(client_post(&admin, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
        client_close(&admin);
        world_settle(&w);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must_not(&a, mk_create(GPU1, 2 * MIB, PINNED), SVMD_STATUS_LIMIT, "control group /pod");
        restart();
        must_not(&a, mk_create(GPU1, 2 * MIB, PINNED), SVMD_STATUS_LIMIT, "control group /pod");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_max_of_a_session),
                TEST(test_max_of_a_group),
                TEST(test_process_moves),
                TEST(test_min_of_a_session),
                TEST(test_min_above_the_partition),
                TEST(test_min_of_a_group),
                TEST(test_whose_memory_gives_way),
                TEST(test_min_within_the_partition),
                TEST(test_user_lowers),
                TEST(test_not_from_another_container),
                TEST(test_refusals),
                TEST(test_list),
                TEST(test_session_comes_down),
                TEST(test_group_comes_down),
                TEST(test_high_asks_back),
                TEST(test_ends_on_the_way),
                TEST(test_one_change_at_a_time),
                TEST(test_asker_goes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
