/*
 * Limits of sessions and of control groups hold for managed pages, with a real mover and processes that touch them:
 * whom a range is charged to, what leaves when, what is admitted, and all of it over a restart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "core/cgroup.h"
#include "core/name.h"
#include "core/reservation.h"
#include "core/session.h"
#include "expect.h"
#include "groups.h"
#include "ranges.h"

#define LARGE  (64ull << 10)
#define HUGE   (2ull << 20)
#define MIB    (1ull << 20)
#define GIB    (1ull << 30)
#define SECOND 1000000000ull

static struct world w;
static struct client admin;
static struct user a, b; /* of partitions one and two, both in the control group /pod */
static uint64_t now_ns;

static uint64_t now(void) {
        return now_ns;
}

static void come(struct user *u, uint32_t uid, const char *partition, const char *cgroup) {
        struct service_peer peer = { .uid = uid, .gid = uid };

        process_start(&u->process);
        peer.pid = (uint32_t)u->process.pid;
        assert_int_equal(client_open_as(&w, &u->client, &peer), 0);
        groups_put(&w, u->client.pid, cgroup);
        client_greet(&u->client, partition);
        user_give(u);
}

static void administer(void) {
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
}

static int set_up(void **state) {
        ops_reset();
        now_ns = 1000 * SECOND;
        world_open(&w, 0);
        groups_open(&w);
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
        administer();
        must(&admin, mk_range_partition("one", 16 * GIB, 100, 0666));
        must(&admin, mk_range_partition("two", 16 * GIB, 100, 0666));
        come(&a, 100, "one", "/pod/a");
        come(&b, 101, "two", "/pod/b");
        return 0;
}

static int tear_down(void **state) {
        user_close(&a);
        user_close(&b);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

static void restart(void) {
        struct client *all[] = { &a.client, &b.client, &admin };

        world_bury(world_restart(&w, all, 3));
        client_close(&admin);
        administer();
        world_settle(&w);
        check_world(&w);
}

static Svmd__V1__Op *of_a(uint32_t node, unsigned bound, uint64_t bytes) {
        return mk_own_limit(a.client.id, NULL, node, bound, bytes);
}

static Svmd__V1__Op *of_group(const char *path, uint32_t node, unsigned bound, uint64_t bytes) {
        return mk_own_limit(0, path, node, bound, bytes);
}

static Svmd__V1__Op *clear(Svmd__V1__Op *op) {
        op->limit_set->n_limits = 0;
        op->limit_set->clear = true;
        return op;
}

/* As svmd says it. */
static uint64_t used(uint64_t session, const char *cgroup, uint32_t node) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_LIMIT_QUERY);
        Svmd__V1__Result *r;

        op->limit_query->session = session;
        if (cgroup)
                op->limit_query->cgroup = (char *)cgroup;
        r = must(&admin, op);
        for (size_t i = 0; i < r->limited->rows[0]->n_nodes; i++)
                if (r->limited->rows[0]->nodes[i]->node == node)
                        return r->limited->rows[0]->nodes[i]->used;
        return 0;
}

static uint64_t of_owner(const struct user *u, uint32_t node) {
        return accounts_managed(w.svc, u->client.session, node);
}

/* A range with something in all of it. */
static uint64_t filled(struct user *u, uint64_t size, const char *name, uint64_t *ret_at) {
        Svmd__V1__Result *r = must(&u->client, mk_range(size, LARGE, name, 0666));
        uint64_t id = r->id, at = r->address;

        user_join(u, id, true);
        process_fill(&u->process, at, size, 11);
        *ret_at = at;
        return id;
}

static void come_to(uint64_t session, const char *cgroup, uint32_t node, uint64_t most) {
        for (int i = 0; i < 15000 && used(session, cgroup, node) > most; i++) {
                world_settle(&w);
                usleep(2000);
        }
        assert_true(used(session, cgroup, node) <= most);
}

/* ---- what is charged where ---- */

static void test_session(void **state) {
        uint64_t at, at_b;

        filled(&a, 8 * MIB, "", &at);
        filled(&b, 8 * MIB, "", &at_b);
        must(&admin, of_a(HOST0, BOUND_MAX, 2 * MIB));
        come_to(a.client.id, NULL, HOST0, 2 * MIB);
        assert_int_equal(of_owner(&a, HOST0), used(a.client.id, NULL, HOST0));
        assert_int_equal(of_owner(&b, HOST0), 8 * MIB);
        for (int round = 0; round < 2; round++) {
                assert_int_equal(process_check(&a.process, at, 8 * MIB, 11), 0);
                come_to(a.client.id, NULL, HOST0, 2 * MIB);
                assert_int_equal(process_check(&b.process, at_b, 8 * MIB, 11), 0);
                restart();
        }
        assert_int_equal(of_owner(&b, HOST0), 8 * MIB);
        must(&admin, clear(of_a(0, 0, 0)));
        assert_int_equal(user_do(&a, mk_migrate(at, 8 * MIB, HOST0)), 0);
        assert_int_equal(of_owner(&a, HOST0), 8 * MIB);
}

static void test_group_of_two_partitions(void **state) {
        uint64_t at, at_b;

        filled(&a, 8 * MIB, "", &at);
        filled(&b, 8 * MIB, "", &at_b);
        must(&admin, of_group("/pod", HOST0, BOUND_MAX, 10 * MIB));
        must(&admin, of_group("/pod/b", HOST0, BOUND_MAX, 3 * MIB));
        for (int round = 0; round < 2; round++) {
                come_to(0, "/pod", HOST0, 10 * MIB);
                come_to(0, "/pod/b", HOST0, 3 * MIB);
                assert_int_equal(process_check(&a.process, at, 8 * MIB, 11), 0);
                assert_int_equal(process_check(&b.process, at_b, 8 * MIB, 11), 0);
                come_to(0, "/pod", HOST0, 10 * MIB);
                come_to(0, "/pod/b", HOST0, 3 * MIB);
                assert_int_equal(used(0, "/pod", HOST0), of_owner(&a, HOST0) + of_owner(&b, HOST0));
                assert_int_equal(used(0, "/pod/b", HOST0), of_owner(&b, HOST0));
                restart();
        }
        must(&admin, clear(of_group("/pod/b", 0, 0, 0)));
        must(&admin, clear(of_group("/pod", 0, 0, 0)));
        assert_true(list_empty(&w.svc->state.cgroups));
        assert_int_equal(user_do(&b, mk_migrate(at_b, 8 * MIB, HOST0)), 0);
}

/* A process that is moved takes its pages along. */
static void test_process_moves(void **state) {
        uint64_t at;

        filled(&a, 8 * MIB, "", &at);
        must(&admin, of_group("/small", HOST0, BOUND_MAX, MIB));
        assert_int_equal(used(0, "/small", HOST0), 0);
        groups_put(&w, a.client.pid, "/small/x");
        come_to(0, "/small", HOST0, MIB);
        assert_int_equal(of_owner(&a, HOST0), used(0, "/small", HOST0));
        groups_put(&w, a.client.pid, "/pod/a");
        assert_int_equal(used(0, "/small", HOST0), 0);
        assert_int_equal(user_do(&a, mk_migrate(at, 8 * MIB, HOST0)), 0);
        assert_int_equal(of_owner(&a, HOST0), 8 * MIB);
}

/* Who reserved it is charged, whoever has it open; when he goes, his partition alone is. */
static void test_who_reserved(void **state) {
        uint64_t at, id;
        struct user c;

        come(&c, 102, "one", "/other");
        id = filled(&a, 8 * MIB, "shared", &at);
        must(&c.client, mk_open("shared", RIGHT_READ | RIGHT_WRITE));
        user_join(&c, id, true);
        must(&admin, of_a(HOST0, BOUND_MAX, 2 * MIB));
        must(&admin, mk_own_limit(c.client.id, NULL, HOST0, BOUND_MAX, MIB));
        assert_int_equal(process_check(&c.process, at, 8 * MIB, 11), 0);
        come_to(a.client.id, NULL, HOST0, 2 * MIB);
        assert_int_equal(used(c.client.id, NULL, HOST0), 0);
        user_close(&a);
        world_settle(&w);
        assert_int_equal(process_check(&c.process, at, 8 * MIB, 11), 0);
        assert_int_equal(user_do(&c, mk_migrate(at, 8 * MIB, HOST0)), 0);
        assert_int_equal(used(c.client.id, NULL, HOST0), 0);
        come(&a, 100, "one", "/pod/a");
        user_close(&c);
}

/* Memory objects come first: managed pages of the same session leave for them, at once. */
static void test_memory_of_the_session(void **state) {
        uint64_t at;

        filled(&a, 8 * MIB, "", &at);
        must(&admin, of_a(HOST0, BOUND_MAX, 10 * MIB));
        must(&admin, of_group("/pod", HOST0, BOUND_MAX, 12 * MIB));
        must(&a.client, mk_create(HOST0, 6 * MIB, 0));
        assert_true(of_owner(&a, HOST0) <= 4 * MIB);
        must(&b.client, mk_create(HOST0, 4 * MIB, 0));
        assert_true(of_owner(&a, HOST0) <= 2 * MIB);
        must_not(&a.client, mk_create(HOST0, 5 * MIB, 0), SVMD_STATUS_LIMIT, "session ");
        assert_int_equal(process_check(&a.process, at, 8 * MIB, 11), 0);
}

/* ---- what is admitted ---- */

static void test_sizes(void **state) {
        for (uint32_t i = 0; i < NODES; i++)
                must(&admin, of_a(i, BOUND_MAX, i == GPU2 ? 0 : 4 * MIB));
        must_not(&a.client, mk_range(14 * MIB, HUGE, "", 0), SVMD_STATUS_LIMIT, "session ");
        must(&a.client, mk_range(12 * MIB, HUGE, "", 0));
        must_not(&a.client, mk_range(HUGE, HUGE, "", 0), SVMD_STATUS_LIMIT, "session ");
        must_not(&a.client, mk_create(HOST0, MIB, 0), SVMD_STATUS_LIMIT, "session ");
        for (uint32_t i = 0; i < NODES; i++)
                must(&admin, of_group("/pod", i, BOUND_MAX, 5 * MIB));
        must_not(&b.client, mk_range(10 * MIB, HUGE, "", 0), SVMD_STATUS_LIMIT, "control group /pod");
        must(&b.client, mk_range(8 * MIB, HUGE, "", 0));
}

/* One forbids what another one leaves. */
static void test_limits_that_cross(void **state) {
        for (uint32_t i = 0; i < NODES; i++) {
                must(&admin, of_a(i, BOUND_MAX, i == HOST0 ? 16 * MIB : 0));
                must(&admin, of_group("/pod", i, BOUND_MAX, i == HOST0 ? HUGE : 16 * MIB));
        }
        must_not(&a.client, mk_range(4 * MIB, HUGE, "", 0), SVMD_STATUS_LIMIT, "within all limits");
        must(&a.client, mk_range(HUGE, HUGE, "", 0));
        must(&b.client, mk_range(16 * MIB, HUGE, "", 0));
}

static void test_too_deep(void **state) {
        char path[64] = "";

        for (unsigned i = 0; i < 9; i++) {
                Svmd__V1__Op *op;

                snprintf(path + 2 * i, sizeof(path) - 2 * i, "/%u", i);
                op = of_group(path, HOST0, BOUND_MAX, MIB);
                if (i < 8)
                        must(&admin, op);
                else
                        must_not(&admin, op, SVMD_STATUS_LIMIT, "one of 9");
        }
        assert_null(cgroup_find(&w.svc->state, path));
        must_not(&admin, of_group("/", HOST0, BOUND_MAX, GIB), SVMD_STATUS_LIMIT, "one of 9");
        assert_null(cgroup_find(&w.svc->state, "/"));
}

/* ---- coming down ---- */

static void test_plan_and_lowering(void **state) {
        static const char kinds[] = { 'g', 'e', 's', 't', 'x' };
        Svmd__V1__Op *op = of_a(HOST0, BOUND_MAX, MIB);
        Svmd__V1__Result *r;
        char found[64] = "";
        uint64_t at;

        filled(&a, 8 * MIB, "", &at);
        must(&a.client, mk_create(HOST0, 2 * MIB, SVMD__V1__MEM_FLAG__MEM_PINNED));
        for (int round = 0; round < 2; round++) { /* without a limit, and with one */
                r = client_send(&admin, SVMD__V1__MODE__DRY_RUN, &op, 1, NULL, 0)->results[0];
                assert_int_equal(r->code, 0);
                found[0] = 0;
                for (size_t i = 0; i < r->plan->n_steps; i++)
                        snprintf(found + strlen(found), sizeof(found) - strlen(found), "%c%llu",
                                 kinds[r->plan->steps[i]->kind], (unsigned long long)(r->plan->steps[i]->bytes / MIB));
                assert_string_equal(found, "g2e8t1");
                must(&admin, of_a(HOST0, BOUND_MAX, 64 * MIB));
        }
        op = of_a(HOST0, BOUND_MAX, 4 * MIB);
        op->limit_set->come_down = true;
        op->limit_set->deadline_ms = 1000;
        must(&admin, op);
        world_settle(&w);
        assert_int_equal(of_owner(&a, HOST0), 8 * MIB); /* it is asked first */
        now_ns += 2 * SECOND;
        come_to(a.client.id, NULL, HOST0, 4 * MIB);
        assert_int_equal(process_check(&a.process, at, 8 * MIB, 11), 0);
}

/* ---- many ---- */

/* What one is charged concerns its own limits, however many others have some. */
static void test_many(void **state) {
        enum { MANY = 300 };
        struct client *c = calloc(MANY, sizeof(*c));
        uint64_t looked;

        assert_non_null(c);
        w.svc->options.max_sessions = MANY + 10;
        for (unsigned i = 0; i < MANY; i++) {
                struct service_peer peer = { .pid = 100000 + i };

                assert_int_equal(client_open_as(&w, &c[i], &peer), 0);
                client_greet(&c[i], "one");
                must(&admin, mk_own_limit(c[i].id, NULL, GPU1, BOUND_MAX, MIB));
                ops_reset();
        }
        check_world(&w);
        looked = w.svc->managed.limits_looked;
        for (unsigned i = 0; i < 10; i++)
                must(&c[i], mk_create(GPU1, LARGE, 0));
        assert_in_range(w.svc->managed.limits_looked - looked, 10, 20);
        check_world(&w);
        looked = w.svc->managed.limits_looked;
        for (unsigned i = 0; i < MANY; i++)
                client_close(&c[i]);
        assert_in_range(w.svc->managed.limits_looked - looked, 0, 20);
        free(c);
}

/* ---- without memory ---- */

/* Whatever cannot be allocated, the limit is set or nothing is; then it holds. */
static void test_no_memory(void **state) {
        uint64_t at;

        filled(&a, 4 * MIB, "", &at);
        for (int which = 0; which < 2; which++) {
                Svmd__V1__Result *r = NULL;

                for (unsigned n = 1; !r || r->code == SVMD_STATUS_NO_MEMORY; n++) {
                        Svmd__V1__Op *op =
                                which ? of_group("/pod", HOST0, BOUND_MAX, MIB) : of_a(HOST0, BOUND_MAX, 2 * MIB);
                        Svmd__V1__Reply *reply;

                        alloc_fail_at(n);
                        reply = client_send(&admin, SVMD__V1__MODE__BEST_EFFORT, &op, 1, NULL, 0);
                        alloc_fail_off();
                        r = reply ? reply->results[0] : NULL;
                        if (!reply) {
                                client_close(&admin);
                                administer();
                        }
                        check_world(&w);
                }
                assert_int_equal(r->code, 0);
                /* An eviction that found no memory is tried again with what happens next. */
                (void)user_do(&a, mk_migrate(at, LARGE, HOST0));
                come_to(which ? 0 : a.client.id, which ? "/pod" : NULL, HOST0, which ? MIB : 2 * MIB);
        }
        assert_int_equal(process_check(&a.process, at, 4 * MIB, 11), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_session),
                TEST(test_group_of_two_partitions),
                TEST(test_process_moves),
                TEST(test_who_reserved),
                TEST(test_memory_of_the_session),
                TEST(test_sizes),
                TEST(test_limits_that_cross),
                TEST(test_too_deep),
                TEST(test_plan_and_lowering),
                TEST(test_many),
                TEST(test_no_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
