/*
 * What svmd says it has done: operations and requests that were served, faults and moves of real processes, who may
 * ask, and what a restart leaves of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/partition.h"
#include "core/session.h"
#include "ranges.h"

#define LARGE (64ull << 10)
#define SIZE  (8 * LARGE)

static struct world w;
static struct client admin, reader;
static struct user a;
static uint64_t range, at;

static Svmd__V1__Result *must(struct client *c, Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(c, op);

        if (r->code != 0)
                fail_msg("operation %d: %u %s", (int)op->op_case, r->code, r->text);
        return r;
}

/* Nothing comes along with a fault: however long the process that faults takes, each granule is a fault of its own. */
static void one_by_one(void) {
        static struct policy_profile profile;

        profile = *policy_profile_default();
        profile.leaf_kib = profile.ahead_kib = 0;
        profile.dense_percent = 100;
        world_policy = &profile;
}

static int set_up(void **state) {
        struct service_peer peer = { .pid = 77, .uid = 105, .gid = 105, .reader = true };
        Svmd__V1__Result *r;

        ops_reset();
        one_by_one();
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_range_partition("one", 4ull << 30, 100, 0666));
        assert_int_equal(client_open_as(&w, &reader, &peer), 0);
        client_greet(&reader, NULL);
        user_open(&w, &a, 100, "one");
        user_give(&a);
        r = must(&a.client, mk_range(SIZE, LARGE, "shared", 0666));
        range = r->id;
        at = r->address;
        user_join(&a, range, true);
        return 0;
}

static int tear_down(void **state) {
        user_close(&a);
        client_close(&reader);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        world_policy = NULL;
        return 0;
}

/* Whoever waited for a granule may go on a moment before it is counted. */
static const Svmd__V1__MetricsResult *ask(void) {
        world_settle(&w);
        return must(&reader, op_make(SVMD__V1__OP__OP_METRICS))->metrics;
}

/* Of none of that name and label: nothing. */
static Svmd__V1__Histogram histogram(const char *name, const char *label) {
        const Svmd__V1__MetricsResult *m = ask();
        Svmd__V1__Histogram none = SVMD__V1__HISTOGRAM__INIT;

        for (size_t i = 0; i < m->n_histograms; i++) {
                const Svmd__V1__Histogram *h = m->histograms[i];
                uint64_t sum = h->beyond;

                for (size_t k = 0; k < h->n_buckets; k++)
                        sum += h->buckets[k];
                assert_int_equal(sum, h->count);
                assert_true(h->n_buckets <= h->size && h->first_ns == 1024);
                assert_true(h->sum_ns > 0);
                if (strcmp(h->name, name) == 0 && strcmp(h->label, label) == 0)
                        return *h;
        }
        return none;
}

static Svmd__V1__OperationCount operation(const char *name) {
        const Svmd__V1__MetricsResult *m = ask();
        Svmd__V1__OperationCount none = SVMD__V1__OPERATION_COUNT__INIT;

        for (size_t i = 0; i < m->n_operations; i++)
                if (strcmp(m->operations[i]->operation, name) == 0)
                        return *m->operations[i];
        return none;
}

static const Svmd__V1__Partition *partition(void) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_PARTITION_LIST);

        op->partition_list->name = (char *)"one";
        world_settle(&w);
        return must(&reader, op)->partitions->partitions[0];
}

static uint64_t flown(uint32_t from, uint32_t to) {
        const Svmd__V1__MetricsResult *m = ask();

        for (size_t i = 0; i < m->n_flows; i++)
                if (m->flows[i]->from == from && m->flows[i]->to == to) {
                        assert_int_equal(m->flows[i]->bytes, m->flows[i]->moves * LARGE);
                        return m->flows[i]->moves;
                }
        return 0;
}

static void test_requests(void **state) {
        Svmd__V1__Op *ops[] = { op_make(SVMD__V1__OP__OP_LIMITS), op_make(SVMD__V1__OP__OP_LIMITS),
                                op_make(SVMD__V1__OP__OP_STATUS) };
        uint64_t refusals = partition()->refusals;

        assert_int_equal(operation("limits").done, 0);
        client_send(&a.client, SVMD__V1__MODE__BEST_EFFORT, ops, 3, NULL, 0);
        assert_int_equal(operation("limits").done, 2);
        assert_int_equal(operation("status").done, 1);
        assert_int_equal(histogram("request", "several").count, 1);
        client_send(&a.client, SVMD__V1__MODE__BEST_EFFORT, ops, 2, NULL, 0);
        assert_int_equal(histogram("request", "limits").count, 1);
        assert_int_equal(operation("limits").done, 4);
        assert_int_equal(operation("session_list").refused, 0);
        client_call(&a.client, op_make(SVMD__V1__OP__OP_SESSION_LIST));
        assert_int_equal(operation("session_list").refused, 1);
        assert_int_equal(operation("session_list").done, 0);
        assert_int_equal(partition()->refusals, refusals + 1);
        /* One that nobody knows is with those that have several. */
        ops[2]->op_case = 0;
        client_send(&a.client, SVMD__V1__MODE__BEST_EFFORT, &ops[2], 1, NULL, 0);
        assert_int_equal(operation("several").refused, 1);
        assert_int_equal(histogram("request", "several").count, 2);
}

static void test_ranges(void **state) {
        process_fill(&a.process, at, SIZE, 7);
        assert_true(histogram("cpu-fault", "").count >= SIZE / LARGE);
        assert_int_equal(partition()->cpu_faults, histogram("cpu-fault", "").count);
        assert_int_equal(flown(0, GPU0) + flown(GPU0, 0), 0);
        assert_int_equal(user_do(&a, mk_migrate(at, SIZE, GPU0)), 0);
        assert_int_equal(flown(0, GPU0), SIZE / LARGE);
        assert_int_equal(histogram("migration", "request").count, SIZE / LARGE);
        assert_int_equal(process_check(&a.process, at, SIZE, 7), 0);
        assert_int_equal(flown(GPU0, 0), SIZE / LARGE);
        assert_true(histogram("cpu-fault", "").count >= 2 * SIZE / LARGE);
        assert_int_equal(partition()->evictions, 0);
}

/* Flows come in pages: what is behind the last one that was seen. */
static void test_pages(void **state) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_METRICS);
        const Svmd__V1__MetricsResult *m;

        process_fill(&a.process, at, SIZE, 7);
        assert_int_equal(user_do(&a, mk_migrate(at, SIZE, GPU0)), 0);
        m = ask();
        assert_int_equal(m->n_flows, 1);
        op->metrics->after = m->flows[0]->at - 1;
        m = must(&reader, op)->metrics;
        assert_int_equal(m->n_flows, 1);
        op->metrics->after = m->flows[0]->at;
        m = must(&reader, op)->metrics;
        assert_int_equal(m->n_flows + m->n_histograms + m->n_operations, 0);
        op->metrics->after = UINT64_MAX;
        assert_int_equal(must(&reader, op)->metrics->n_flows, 0);
}

/* Every operation of administrators but those that the reader is for is denied to it. */
static void test_reader(void **state) {
        unsigned may = 0;

        for (unsigned i = 0; i < FIGURES_OPS; i++) {
                const struct op_row *row = op_row(i);
                Svmd__V1__Result *r;

                if (!row || !(row->flags & OP_ADMIN) || op_fds(op_make((Svmd__V1__Op__OpCase)i)))
                        continue;
                r = client_call(&reader, op_make((Svmd__V1__Op__OpCase)i));
                if (row->flags & OP_READS)
                        may++;
                assert_int_equal(r->code, row->flags & OP_READS ? 0 : SVMD_STATUS_DENIED);
                r = client_call(&a.client, op_make((Svmd__V1__Op__OpCase)i));
                assert_int_equal(r->code, SVMD_STATUS_DENIED);
        }
        assert_int_equal(may, 3);
        must(&admin, op_make(SVMD__V1__OP__OP_METRICS));
}

/* The next svmd counts from nothing; a reader that had a partition stays one. */
static void test_restart(void **state) {
        struct client *clients[] = { &a.client, &reader };
        uint64_t before;

        client_close(&admin);
        client_close(&reader);
        assert_int_equal(client_open_as(&w, &reader, &(struct service_peer){ .pid = 78, .uid = 100, .reader = true }),
                         0);
        client_greet(&reader, "one");
        before = ask()->started_ns;
        process_fill(&a.process, at, SIZE, 7);
        assert_true(histogram("cpu-fault", "").count >= SIZE / LARGE);
        world_bury(world_restart(&w, clients, 2));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        assert_true(ask()->started_ns > before);
        assert_int_equal(histogram("cpu-fault", "").count, 0);
        assert_int_equal(partition()->cpu_faults, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_requests), TEST(test_ranges), TEST(test_pages), TEST(test_reader), TEST(test_restart),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
