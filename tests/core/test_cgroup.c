/* Which of the groups with limits a session is in, and what is charged where when groups come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "core/cgroup.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "core/state.h"

struct world {
        struct machine machine;
        struct state state;
        struct partition *partition;
};

static int set_up(void **state) {
        static struct world w;
        struct partition_args args = { .name = "p", .domain = "default", .size = 4ull << 30 };

        w = (struct world){ 0 };
        for (int i = 0; i < 2; i++) {
                struct node_desc *n = machine_add(&w.machine);

                n->kind = NODE_SOFT;
                n->capacity = 1000;
        }
        assert_int_equal(state_init(&w.state, &w.machine), 0);
        assert_int_equal(partition_new(&w.partition, &w.state, &args), 0);
        partition_link(&w.state, w.partition);
        *state = &w;
        return 0;
}

static int tear_down(void **state) {
        struct world *w = *state;

        while (!list_empty(&w->state.cgroups))
                cgroup_free(&w->state, container_of(w->state.cgroups.next, struct cgroup, by_state));
        partition_free(&w->state, w->partition);
        state_fini(&w->state);
        machine_fini(&w->machine);
        return 0;
}

static struct session *session_in(struct world *w, const char *path, struct charge *c, uint64_t bytes) {
        struct session_args args = { .id = state_take_id(&w->state), .pid = 1 };
        struct session *s;

        assert_int_equal(session_new(&s, &w->state, &args), 0);
        session_attach(s, w->partition);
        session_set_cgroup(&w->state, s, alloc_string(path));
        assert_int_equal(charge_take(c, session_account(&w->state, s, 1), bytes, NULL), 0);
        return s;
}

static struct cgroup *limit(struct world *w, const char *path) {
        struct cgroup *g = cgroup_new(&w->state, path);

        assert_non_null(g);
        cgroup_link(&w->state, g);
        return g;
}

static void test_begins_with_the_path(void **state) {
        struct world *w = *state;
        struct cgroup *all = limit(w, "/"), *a = limit(w, "/a"), *deep = limit(w, "/a/b/c");

        assert_ptr_equal(cgroup_find(&w->state, "/a"), a);
        assert_null(cgroup_find(&w->state, "/a/b"));
        assert_ptr_equal(cgroup_around(&w->state, "/a"), a);
        assert_ptr_equal(cgroup_around(&w->state, "/a/b"), a);
        assert_ptr_equal(cgroup_around(&w->state, "/a/b/c/d"), deep);
        assert_ptr_equal(cgroup_around(&w->state, "/ab"), all);
        assert_ptr_equal(cgroup_around(&w->state, "/"), all);
        assert_ptr_equal(deep->outer, a);
        assert_ptr_equal(a->outer, all);
}

static void test_groups_come_and_go(void **state) {
        struct world *w = *state;
        struct charge one = { 0 }, two = { 0 };
        struct session *s = session_in(w, "/a/b", &one, 100), *t = session_in(w, "/a", &two, 10);
        struct cgroup *inner = limit(w, "/a/b"), *outer;

        assert_int_equal(inner->accounts[1].used, 100);
        assert_int_equal(inner->accounts[0].used, 0);
        outer = limit(w, "/a");
        assert_int_equal(outer->accounts[1].used, 110);
        assert_ptr_equal(s->cgroup, inner);
        assert_ptr_equal(t->cgroup, outer);
        outer->accounts[1].max = 120;
        assert_int_equal(account_room(&s->accounts[1]), 10);
        assert_int_equal(account_set_min(&inner->accounts[1], 950), 0);
        assert_int_equal(account_room(&t->accounts[1]), 10);
        outer->accounts[1].max = ACCOUNT_NO_LIMIT;
        assert_int_equal(account_room(&t->accounts[1]), 40);

        cgroup_free(&w->state, inner);
        assert_ptr_equal(s->cgroup, outer);
        assert_int_equal(outer->accounts[1].used, 110);
        assert_int_equal(w->state.nodes[1].account.promised, 0);
        cgroup_free(&w->state, outer);
        assert_null(s->cgroup);
        assert_int_equal(w->partition->accounts[1].used, 110);

        charge_drop(&one);
        charge_drop(&two);
        session_free(&w->state, s);
        session_free(&w->state, t);
        assert_int_equal(state_check(&w->state), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_begins_with_the_path, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_groups_come_and_go, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
