/*
 * What explain says is true: over generated machines, random hints of several sessions, and before each touch by the
 * CPU of a process or by a device what svmd says that it would come to. Then it is done, and compared.
 *
 * What bounces is either held back for the whole of the test or not at all, so that nothing that is said depends on how
 * fast the test runs.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/node.h"
#include "mover/mover.h"
#include "policy/policy.h"
#include "proto/past.h"
#include "proto/range.h"
#include "proto/status.h"
#include "ranges.h"

enum { GRANULE = 64 << 10, COUNT = 256, WORLDS = 10, SETS = 1000, MOST = 4 };
#define SIZE ((uint64_t)COUNT * GRANULE)

static struct world w;
static struct client admin;
static struct user owner, writer, reader;
static uint64_t range, at, space[64];
static uint32_t nodes;
static unsigned seed;
static unsigned outcomes[_MANAGED_OUTCOME_N];
static unsigned pinned[COUNT];

static uint32_t below(uint32_t n) {
        return (uint32_t)rand_r(&seed) % n;
}

static Svmd__V1__Result *must(struct client *c, Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(c, op);

        if (r->code != 0)
                fail_msg("operation %d: %u %s", (int)op->op_case, r->code, r->text);
        return r;
}

/* ---- the machine ---- */

static void connect(struct machine *m, uint32_t a, uint32_t b) {
        struct node_link link = { .type = "xgmi", .weight = 15, .peer = true, .max_bandwidth = 10000 * (1 + below(5)) };

        link.to = b;
        assert_int_equal(machine_link(&m->nodes[a], &link), 0);
        link.to = a;
        assert_int_equal(machine_link(&m->nodes[b], &link), 0);
}

/* Up to four devices more, in two hives, with links or without. */
static void shape(struct machine *m) {
        for (uint32_t i = NODES, end = NODES + below(MOST + 1); i < end; i++) {
                struct node_desc *n = machine_add(m);

                assert_non_null(n);
                snprintf(n->name, sizeof(n->name), "gpu%u", i - 1);
                n->kind = NODE_SOFT;
                n->capacity = 1ull << 30;
                n->faults = below(4) > 0;
                n->va_end = 1ull << 47;
        }
        for (uint32_t i = GPU0; i < m->count; i++) {
                m->nodes[i].hive = below(3);
                for (uint32_t k = GPU0; k < i; k++)
                        if (i != GPU1 && below(2))
                                connect(m, i, k);
        }
}

static void open_clients(void) {
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_range_partition("one", 4ull << 30, 100, 0666));
        if (below(2))
                must(&admin, mk_limit("one", GPU0 + below(nodes - GPU0), below(2) * 16 * GRANULE));
        user_open(&w, &owner, 100, "one");
        user_open(&w, &writer, 101, "one");
        user_open(&w, &reader, 102, "one");
        owner.client.deaf = writer.client.deaf = reader.client.deaf = admin.deaf = true;
        user_give(&owner);
}

static void open_world(void) {
        static const uint64_t capacity[NODES] = { 8ull << 30, 1ull << 30, 1ull << 30, 1ull << 30 };
        static struct policy_profile profile;
        Svmd__V1__Result *r;

        profile = *policy_profile_default();
        profile.lapse_us = below(2) ? 0 : UINT32_MAX;
        profile.pin_ms = profile.epoch_ms = UINT32_MAX / 1000;
        world_policy = &profile;
        world_shape = shape;
        world_open_sized(&w, 0, capacity);
        nodes = w.machine.count;
        open_clients();
        r = must(&owner.client, mk_range(SIZE, GRANULE, "shared", 0664));
        range = r->id;
        at = r->address;
        user_join(&owner, range, true);
        must(&writer.client, mk_open("shared", 1));
        must(&reader.client, mk_open("shared", 1));
        for (uint32_t i = GPU0; i < nodes; i++)
                space[i] = must(&owner.client, mk_space(i))->id;
        memset(pinned, 0, sizeof(pinned));
}

static void close_world(void) {
        user_close(&owner);
        user_close(&writer);
        user_close(&reader);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        world_shape = NULL;
        world_policy = NULL;
}

/* ---- hints ---- */

static void hint(struct client *c, uint64_t address) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVISE);
        Svmd__V1__Advise *a = op->advise;

        a->address = address;
        a->size = GRANULE;
        a->what = 1 + below(15);
        a->preferred = below(3) ? 1 + below(nodes) : 0;
        a->accessed_by = below(1u << nodes);
        a->read_mostly = below(2);
        a->pinned = !below(4);
        must(c, op);
}

static unsigned ended(struct client *c, uint64_t fence, char *text) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);

        op->fence_query->fence = fence;
        for (;;) {
                Svmd__V1__Result *r = must(c, op);

                if (r->fence->done) {
                        snprintf(text, 200, "%s", r->fence->text);
                        return r->fence->code;
                }
                world_wait(&w);
        }
}

static void pin(uint32_t granule) {
        bool off = pinned[granule];
        char text[200];
        Svmd__V1__Result *r = must(&owner.client, mk_pin(at + (uint64_t)granule * GRANULE, GRANULE, off));

        if (r->id)
                assert_int_equal(ended(&owner.client, r->id, text), 0);
        pinned[granule] = !off;
}

static void discard(uint32_t granule) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DISCARD);
        char text[200];

        if (pinned[granule])
                return;
        op->discard->address = at + (uint64_t)granule * GRANULE;
        op->discard->size = GRANULE;
        assert_int_equal(ended(&owner.client, must(&owner.client, op)->id, text), 0);
}

static void happen(uint32_t granule) {
        struct client *const who[] = { &owner.client, &owner.client, &owner.client };

        if (!below(3))
                discard(granule);
        for (unsigned i = 0, n = 1 + below(4); i < n; i++)
                hint(who[below(3)], at + (uint64_t)granule * GRANULE);
        if (!below(12) || pinned[granule])
                pin(granule);
}

/* ---- touches ---- */

static Svmd__V1__ExplainResult *explain(uint32_t granule) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_EXPLAIN);

        world_settle(&w);
        op->explain->address = at + (uint64_t)granule * GRANULE;
        return must(&owner.client, op)->explain;
}

static Svmd__V1__Touch *row_of(const Svmd__V1__ExplainResult *e, uint32_t node, bool write) {
        for (size_t i = 0; i < e->n_touches; i++)
                if (e->touches[i]->node == node && e->touches[i]->write == write)
                        return e->touches[i];
        fail_msg("nothing is said of node %u", node);
        return NULL;
}

static unsigned perform(uint32_t granule, uint32_t node, bool write, char *text) {
        uint64_t address = at + (uint64_t)granule * GRANULE + 8 * below(GRANULE / 8);
        Svmd__V1__Op *op;

        text[0] = 0;
        if (node == PAST_NODE_CPU) {
                if (write)
                        process_store(&owner.process, address, below(1000));
                else
                        process_load(&owner.process, address);
                return 0;
        }
        op = write ? mk_submit(space[node], SVMD__V1__DEVICE_OP__DEVICE_FILL, address, 0, 8, 1, false)
                   : mk_submit(space[node], SVMD__V1__DEVICE_OP__DEVICE_SUM, 0, address, 8, 0, false);
        return ended(&owner.client, must(&owner.client, op)->id, text);
}

static void touch(uint32_t granule, uint32_t node, bool write) {
        Svmd__V1__Touch said = *row_of(explain(granule), node, write);
        const Svmd__V1__Run *now;
        char text[200];
        unsigned code = perform(granule, node, write, text);

        now = explain(granule)->run;
        outcomes[said.outcome]++;
        if (code == said.code && now->state == said.state && now->node == said.on && now->copies == said.copies)
                return;
        fail_msg("granule %u, %s by node %d: said outcome %u (why %u), code %u, state %u on %d, copies %" PRIx64
                 "; but code %u (%s), state %u on %d, copies %" PRIx64,
                 granule, write ? "write" : "read", (int)node, said.outcome, said.why, said.code, said.state,
                 (int)said.on, said.copies, code, text, now->state, (int)now->node, now->copies);
}

static void a_set(void) {
        uint32_t granule = below(COUNT), first = below(nodes);

        happen(granule);
        for (uint32_t i = 0; i < nodes; i++) {
                uint32_t node = (first + i) % nodes;
                bool write = below(2);

                node = node == HOST0 ? PAST_NODE_CPU : node;
                touch(granule, node, write);
                touch(granule, node, !write);
        }
        ops_reset();
}

static void test_truth(void **state) {
        unsigned sets = getenv("SVMD_LONG") ? 20 * SETS : SETS;

        seed = getenv("SVMD_SEED") ? (unsigned)strtoul(getenv("SVMD_SEED"), NULL, 0) : (unsigned)time(NULL);
        print_message("seed %u\n", seed);
        for (unsigned i = 0; i < WORLDS; i++) {
                open_world();
                for (unsigned k = 0; k < sets / WORLDS; k++)
                        a_set();
                close_world();
        }
        for (unsigned i = 0; i < _MANAGED_OUTCOME_N; i++) {
                print_message("outcome %u: %u\n", i, outcomes[i]);
                assert_true(outcomes[i] > 0 || i == MANAGED_TOUCH_WAITS);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_truth) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
