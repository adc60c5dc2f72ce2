/*
 * Explicit memory of a device that gives way: what is spilled, for whom, what comes back and what is in it; what stays;
 * and what is left when sessions, jobs, memory or svmd itself fail in between.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "core/by_id.h"
#include "core/memory.h"
#include "core/partition.h"
#include "core/session.h"
#include "expect.h"
#include "ranges.h"
#include "service/move.h"

#define KIB    1024ull
#define WHOLE  (1024 * KIB) /* all of GPU2 */
#define PINNED SVMD__V1__MEM_FLAG__MEM_PINNED

static struct world w;
static struct client a, b, admin;

static void refused(struct client *x, Svmd__V1__Op *op, unsigned code) {
        Svmd__V1__Result *r = client_call(x, op);

        if (r->code != code || !r->text[0])
                fail_msg("operation %d: %u %s, expected %u", (int)op->op_case, r->code, r->text, code);
}

static int set_up(void **state) {
        ops_reset();
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 4ull << 30, "", 100, 0666));
        must(&admin, mk_partition("two", 4ull << 30, "", 100, 0666));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "two");
        return 0;
}

/* What the ledger charges, files have taken, and nothing beside. */
static void check_bytes(void) {
        world_settle(&w);
        check_world(&w);
        for (unsigned node = 0; node < NODES; node++)
                assert_int_equal(file_bytes(&w, node), ledger_bytes(&w, node));
}

static int tear_down(void **state) {
        client_close(&a);
        client_close(&b);
        client_close(&admin);
        check_bytes();
        for (unsigned i = 0; i < NODES; i++)
                assert_int_equal(ledger_bytes(&w, i), 0);
        assert_int_equal(w.svc->spill.away, 0);
        world_close(&w);
        return 0;
}

static bool is_away(uint64_t id) {
        world_settle(&w);
        return memory_by_id(&w.svc->state, id)->away;
}

/* An object with a space of its own, all of it shown at AT. */
struct thing {
        uint64_t memory, space, size;
};
#define AT (1ull << 30)

static struct thing make(struct client *x, uint32_t node, uint64_t size, uint32_t flags) {
        struct thing t = { .size = size };

        t.memory = must(x, mk_create(node, size, flags))->id;
        t.space = must(x, mk_space(node))->id;
        must(x, mk_map(t.space, AT, size, t.memory, 0, 3, 0));
        return t;
}

static Svmd__V1__FenceResult *end_of(struct client *x, uint64_t fence) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);
        Svmd__V1__FenceResult *r;

        op->fence_query->fence = fence;
        for (;;) {
                r = must(x, op)->fence;
                if (r->done)
                        return r;
                world_wait(&w);
        }
}

/* Events of ends are not kept here, so that fences can be asked. */
static Svmd__V1__FenceResult *run(struct client *x, uint64_t space, unsigned op, uint64_t dst, uint64_t src,
                                  uint64_t size, uint64_t value) {
        Svmd__V1__FenceResult *r;

        x->deaf = true;
        r = end_of(x, must(x, mk_submit(space, op, dst, src, size, value, false))->id);
        x->deaf = false;
        return r;
}

static void fill(struct client *x, const struct thing *t, unsigned value) {
        Svmd__V1__FenceResult *r = run(x, t->space, DEVICE_FILL, AT, 0, t->size, value);

        if (r->code != 0)
                fail_msg("fill: %u %s", r->code, r->text);
}

static uint64_t sum_of(uint64_t size, unsigned value) {
        return size / 8 * (value * 0x0101010101010101ull);
}

static void check(struct client *x, const struct thing *t, unsigned value) {
        Svmd__V1__FenceResult *r = run(x, t->space, DEVICE_SUM, 0, AT, t->size, 0);

        if (r->code != 0)
                fail_msg("sum: %u %s", r->code, r->text);
        assert_int_equal(r->value, sum_of(t->size, value));
}

/* ---- room for others ---- */

static void test_least_recently_used_gives_way(void **state) {
        struct thing t[3], more;
        Svmd__V1__TranslateResult *shown;
        Svmd__V1__Op *look;

        for (unsigned i = 0; i < 3; i++) {
                t[i] = make(&a, GPU2, 256 * KIB, 0);
                fill(&a, &t[i], 10 + i);
        }
        check(&a, &t[0], 10);
        more = make(&a, GPU2, 512 * KIB, 0);
        assert_false(is_away(t[0].memory));
        assert_true(is_away(t[1].memory));
        assert_false(is_away(t[2].memory));
        assert_int_equal(ledger_bytes(&w, GPU2), WHOLE);
        assert_int_equal(ledger_bytes(&w, HOST0), 256 * KIB);
        check_bytes();
        look = op_make(SVMD__V1__OP__OP_TRANSLATE);
        look->translate->space = t[1].space;
        look->translate->address = AT;
        shown = must(&a, look)->translate;
        assert_false(shown->valid);
        assert_false(shown->sparse);
        fill(&a, &more, 13);
        for (unsigned i = 0; i < 3; i++)
                check(&a, &t[i], 10 + i);
        check(&a, &more, 13);
        check_bytes();
        assert_int_equal(ledger_bytes(&w, GPU2) + ledger_bytes(&w, HOST0), WHOLE + 256 * KIB);
}

/* Twice as much as there is, in one space. */
static void test_space_larger_than_its_node(void **state) {
        uint64_t space = must(&a, mk_space(GPU2))->id, memory[8];

        for (unsigned i = 0; i < 8; i++) {
                memory[i] = must(&a, mk_create(GPU2, 256 * KIB, 0))->id;
                must(&a, mk_map(space, AT + i * 256 * KIB, 256 * KIB, memory[i], 0, 3, 0));
        }
        for (unsigned i = 0; i < 8; i++)
                assert_int_equal(run(&a, space, DEVICE_FILL, AT + i * 256 * KIB, 0, 256 * KIB, i)->code, 0);
        for (unsigned i = 0; i < 8; i++) {
                uint64_t other = AT + (7 - i) * 256 * KIB;

                assert_int_equal(run(&a, space, DEVICE_COPY, other, AT + i * 256 * KIB, 128 * KIB, 0)->code, 0);
                assert_int_equal(run(&a, space, DEVICE_SUM, 0, other, 128 * KIB, 0)->value,
                                 sum_of(128 * KIB, i < 4 ? i : 7 - i));
        }
        assert_int_equal(run(&a, space, DEVICE_FILL, AT, 0, WHOLE, 77)->code, 0);
        assert_int_equal(run(&a, space, DEVICE_SUM, 0, AT, WHOLE, 0)->value, sum_of(WHOLE, 77));
        assert_int_equal(run(&a, space, DEVICE_FILL, AT, 0, WHOLE + 4096, 1)->code, SVMD_STATUS_NO_ROOM);
        assert_int_equal(run(&a, space, DEVICE_ATOMIC_ADD, AT + WHOLE, 0, 0, 1)->code, 0);
        check_bytes();
        for (unsigned i = 0; i < 8; i++)
                must(&a, mk_release(memory[i]));
        must(&a, mk_destroy(space));
}

/* Operations of a space end in their order, and two that need each other's memory take turns. */
static void test_operations_take_turns(void **state) {
        struct thing t[3];
        uint64_t fences[3][16];

        for (unsigned i = 0; i < 3; i++)
                t[i] = make(i == 1 ? &b : &a, GPU2, 640 * KIB, 0);
        a.deaf = b.deaf = true;
        for (unsigned n = 0; n < 16; n++)
                for (unsigned i = 0; i < 3; i++)
                        fences[i][n] = must(i == 1 ? &b : &a, mk_submit(t[i].space, n % 2 ? DEVICE_SUM : DEVICE_FILL,
                                                                        AT, AT, t[i].size, n + i, false))
                                               ->id;
        for (unsigned n = 0; n < 16; n++)
                for (unsigned i = 0; i < 3; i++) {
                        Svmd__V1__FenceResult *r = end_of(i == 1 ? &b : &a, fences[i][n]);

                        if (r->code != 0)
                                fail_msg("operation %u of %u: %u %s", n, i, r->code, r->text);
                        if (n % 2)
                                assert_int_equal(r->value, sum_of(t[i].size, n - 1 + i));
                }
        a.deaf = b.deaf = false;
        check_bytes();
}

/* ---- what does not give way ---- */

static void test_pinned_memory_stays(void **state) {
        struct thing pinned = make(&a, GPU2, 768 * KIB, PINNED), other;

        fill(&a, &pinned, 5);
        refused(&a, mk_create(GPU2, 512 * KIB, 0), SVMD_STATUS_NO_ROOM);
        other = make(&a, GPU2, 256 * KIB, 0);
        fill(&a, &other, 6);
        refused(&a, mk_create(GPU2, 512 * KIB, 0), SVMD_STATUS_NO_ROOM);
        assert_false(is_away(other.memory));
        must(&b, mk_create(GPU2, 128 * KIB, PINNED));
        assert_true(is_away(other.memory));
        assert_false(is_away(pinned.memory));
        assert_int_equal(run(&a, other.space, DEVICE_SUM, 0, AT, other.size, 0)->code, SVMD_STATUS_NO_ROOM);
        assert_int_equal(run(&a, other.space, DEVICE_CHASE, 0, AT, 1, 0)->code, SVMD_STATUS_NO_ROOM);
        check_bytes();
        must(&a, mk_release(pinned.memory));
        must(&a, mk_destroy(pinned.space));
        check(&a, &other, 6);
}

static void test_host_that_may_not_have_it(void **state) {
        struct thing t = make(&a, GPU2, 768 * KIB, 0);

        fill(&a, &t, 8);
        must(&admin, mk_limit("one", HOST0, 512 * KIB));
        refused(&b, mk_create(GPU2, 512 * KIB, 0), SVMD_STATUS_NO_ROOM);
        assert_false(is_away(t.memory));
        must(&admin, mk_limit("one", HOST0, 768 * KIB));
        must(&b, mk_create(GPU2, 512 * KIB, 0));
        assert_true(is_away(t.memory));
        refused(&a, mk_create(HOST0, 4 * KIB, 0), SVMD_STATUS_LIMIT);
        check(&a, &t, 8);
}

static void test_limit_is_among_its_own(void **state) {
        struct thing mine[2], foreign = make(&b, GPU2, 256 * KIB, 0);

        must(&admin, mk_limit("one", GPU2, 512 * KIB));
        fill(&b, &foreign, 1);
        mine[0] = make(&a, GPU2, 256 * KIB, 0);
        fill(&a, &mine[0], 2);
        mine[1] = make(&a, GPU2, 512 * KIB, 0);
        assert_true(is_away(mine[0].memory));
        assert_false(is_away(foreign.memory));
        fill(&a, &mine[1], 3);
        check(&a, &mine[0], 2);
        assert_true(is_away(mine[1].memory));
        assert_false(is_away(foreign.memory));
        refused(&a, mk_create(GPU2, 516 * KIB, 0), SVMD_STATUS_LIMIT);
        check(&a, &mine[1], 3);
        check(&b, &foreign, 1);
        check_bytes();
}

/* ---- what happens to it while it is away, or on its way ---- */

static void test_operations_on_what_is_away(void **state) {
        struct thing t = make(&a, GPU2, 512 * KIB, SVMD__V1__MEM_FLAG__MEM_SHAREABLE), in_the_way;
        struct client c;
        uint64_t imported, second;

        fill(&a, &t, 9);
        in_the_way = make(&b, GPU2, 768 * KIB, 0);
        assert_true(is_away(t.memory));
        must(&a, mk_export(t.memory, "away", 0666, 0));
        client_open(&w, &c, 102, 102, false);
        client_greet(&c, "one");
        imported = must(&c, mk_import("away", 3))->id;
        second = must(&c, mk_space(GPU2))->id;
        must(&c, mk_map(second, AT, 256 * KIB, imported, 256 * KIB, 1, 0));
        must(&a, mk_unmap(t.space, AT, 256 * KIB));
        must(&a, mk_access(t.space, AT + 256 * KIB, 128 * KIB, 1));
        must(&a, mk_attributes(t.space, AT + 256 * KIB, 128 * KIB, 1, 0));
        must(&a, mk_release(t.memory));
        assert_true(is_away(t.memory));
        check_bytes();
        assert_int_equal(run(&c, second, DEVICE_SUM, 0, AT, 256 * KIB, 0)->value, sum_of(256 * KIB, 9));
        assert_false(is_away(t.memory));
        assert_true(is_away(in_the_way.memory));
        assert_int_equal(run(&c, second, DEVICE_FILL, AT, 0, 8, 0)->code, SVMD_STATUS_ACCESS);
        assert_int_equal(run(&a, t.space, DEVICE_FILL, AT + 256 * KIB, 0, 8, 0)->code, SVMD_STATUS_ACCESS);
        assert_int_equal(run(&a, t.space, DEVICE_FILL, AT, 0, 8, 0)->code, SVMD_STATUS_NOT_MAPPED);
        check_bytes();
        must(&b, mk_map(in_the_way.space, AT + WHOLE, 768 * KIB, in_the_way.memory, 0, 1, 0));
        must(&b, mk_release(in_the_way.memory));
        client_close(&b);
        check_bytes();
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "two");
        client_close(&c);
}

/* Until the loop has begun to move something. */
static void until_moving(void) {
        while (list_empty(&w.svc->spill.moves))
                world_wait(&w);
}

/* Everyone can go at any time: who is moved, who waits for it, and who had made it. */
static void test_leaving_while_it_moves(void **state) {
        for (unsigned way = 0; way < 6; way++) {
                struct thing t = make(&a, GPU2, 768 * KIB, way % 2 ? SVMD__V1__MEM_FLAG__MEM_SHAREABLE : 0);
                Svmd__V1__Op *op = mk_create(GPU2, 512 * KIB, 0);
                struct move *v;

                fill(&a, &t, 3);
                assert_int_equal(client_post(&b, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
                until_moving();
                v = container_of(w.svc->spill.moves.next, struct move, link);
                assert_ptr_equal(v->memory, memory_by_id(&w.svc->state, t.memory));
                if (way < 2) {
                        client_close(&a);
                } else if (way < 4) {
                        client_close(&b);
                } else {
                        must(&a, mk_unmap(t.space, AT, t.size));
                        must(&a, mk_release(t.memory));
                }
                if (b.session) {
                        client_await(&b);
                        assert_int_equal(b.reply->results[0]->code, 0);
                }
                check_bytes();
                client_close(&a);
                client_close(&b);
                check_bytes();
                assert_int_equal(ledger_bytes(&w, GPU2), 0);
                assert_int_equal(ledger_bytes(&w, HOST0), 0);
                client_open(&w, &a, 100, 100, false);
                client_greet(&a, "one");
                client_open(&w, &b, 101, 101, false);
                client_greet(&b, "two");
        }
}

/* The same while it comes back. */
static void test_leaving_while_it_comes_back(void **state) {
        for (unsigned way = 0; way < 4; way++) {
                struct thing t = make(&a, GPU2, 768 * KIB, 0), other = make(&b, GPU2, 512 * KIB, 0);

                assert_true(is_away(t.memory));
                must(&a, mk_submit(t.space, DEVICE_FILL, AT, 0, t.size, 1, false));
                if (way % 2)
                        must(&a, mk_submit(t.space, DEVICE_SUM, 0, AT, t.size, 1, false));
                service_commit(w.svc);
                until_moving();
                if (way < 2) {
                        client_close(&a);
                } else {
                        must(&a, mk_release(t.memory));
                        must(&a, mk_destroy(t.space));
                }
                check_bytes();
                client_close(&b);
                client_close(&a);
                check_bytes();
                assert_int_equal(ledger_bytes(&w, GPU2), 0);
                client_open(&w, &a, 100, 100, false);
                client_greet(&a, "one");
                client_open(&w, &b, 101, 101, false);
                client_greet(&b, "two");
                (void)other;
        }
}

/* ---- another svmd ---- */

static void restart(void) {
        struct client *all[] = { &a, &b, &admin };

        world_bury(world_restart_as_was(&w, all, 3));
        check_bytes();
        if (admin.session) /* one that has nothing need not come back */
                return;
        client_close(&admin);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
}

static void test_restart(void **state) {
        struct thing t[4];

        for (unsigned snapshot = 0; snapshot < 2; snapshot++) {
                for (unsigned i = 0; i < 4; i++) {
                        t[i] = make(i % 2 ? &a : &b, GPU2, 384 * KIB, 0);
                        fill(i % 2 ? &a : &b, &t[i], 20 + i);
                }
                world_settle(&w);
                if (snapshot)
                        assert_int_equal(journal_snapshot(w.svc), 0);
                restart();
                for (unsigned i = 0; i < 4; i++)
                        check(i % 2 ? &a : &b, &t[i], 20 + i);
                world_settle(&w);
                restart();
                for (unsigned i = 0; i < 4; i++)
                        check(i % 2 ? &a : &b, &t[i], 20 + i);
                client_close(&a);
                client_close(&b);
                check_bytes();
                client_open(&w, &a, 100, 100, false);
                client_greet(&a, "one");
                client_open(&w, &b, 101, 101, false);
                client_greet(&b, "two");
        }
}

/* svmd dies while something moves, or has moved and the journal does not know it: then it has not. */
static void test_killed_while_it_moves(void **state) {
        for (unsigned way = 0; way < 4; way++) {
                struct client *all[] = { &a, &b, &admin };
                struct thing t = make(&a, GPU2, 768 * KIB, 0), other;
                Svmd__V1__Op *op = mk_create(GPU2, 512 * KIB, 0);
                struct service *old;

                fill(&a, &t, 30 + way);
                if (way < 2) {
                        assert_int_equal(client_post(&b, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
                } else {
                        other = make(&b, GPU2, 512 * KIB, 0);
                        fill(&b, &other, 1);
                        must(&a, mk_submit(t.space, DEVICE_SUM, 0, AT, t.size, 0, false));
                        service_commit(w.svc);
                }
                until_moving();
                jobs_wait_lane(w.svc->jobs, GPU2);
                if (way % 2) {
                        service_collect(w.svc);
                        assert_false(list_empty(&w.svc->spill.settled));
                }
                old = w.svc;
                old->replaying = true; /* the dead do not give anything back */
                world_restart(&w, all, 3);
                world_bury(old);
                check_bytes();
                check(&a, &t, 30 + way);
                if (way >= 2)
                        check(&b, &other, 1);
                check_bytes();
                client_close(&a);
                client_close(&b);
                check_bytes();
                client_open(&w, &a, 100, 100, false);
                client_greet(&a, "one");
                client_open(&w, &b, 101, 101, false);
                client_greet(&b, "two");
        }
}

/* ---- managed granules ---- */

#define MIB (1ull << 20)

static int set_up_small(void **state) {
        static const uint64_t capacity[NODES] = { 1024 * MIB, 64 * MIB, 64 * MIB, 1 * MIB };

        ops_reset();
        world_open_sized(&w, 0, capacity);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 4ull << 30, "", 100, 0666));
        must(&admin, mk_partition("two", 4ull << 30, "", 100, 0666));
        must(&admin, mk_range_partition("near", 16ull << 30, 100, 0666));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "two");
        return 0;
}

static uint64_t managed_on(uint32_t node) {
        return must(&admin, op_make(SVMD__V1__OP__OP_NODES))->nodes->nodes[node]->managed;
}

/* Both want all of a node, in turn. */
static void test_granules_and_memory(void **state) {
        struct thing t = make(&a, GPU1, 60 * MIB, 0);
        Svmd__V1__Result *r;
        uint64_t id, at;
        struct user u;

        user_open(&w, &u, 100, "near");
        r = must(&u.client, mk_range(24 * MIB, 64 << 10, "", 0));
        id = r->id;
        at = r->address;
        user_give(&u);
        user_join(&u, id, true);
        process_fill(&u.process, at, 24 * MIB, 11);
        for (unsigned n = 0; n < 3; n++) {
                ops_reset();
                do /* what a granule missed a moment ago may have it go once more */
                        fill(&a, &t, 50 + n);
                while (is_away(t.memory));
                assert_true(managed_on(GPU1) <= 4 * MIB);
                while (user_do(&u, mk_migrate(at, 24 * MIB, GPU1)) != 0)
                        world_wait(&w);
                assert_true(is_away(t.memory));
                assert_int_equal(managed_on(GPU1), 24 * MIB);
                check(&a, &t, 50 + n);
                assert_int_equal(process_check(&u.process, at, 24 * MIB, 11), 0);
        }
        user_close(&u);
}

/* What is pinned, or in use all the time, stays; the device reaches the granules where they are. */
static void test_pinned_memory_keeps_granules_out(void **state) {
        struct thing t = make(&a, GPU1, 64 * MIB, PINNED);
        uint64_t id, at, space;
        Svmd__V1__Result *r;
        struct user u;

        user_open(&w, &u, 100, "near");
        r = must(&u.client, mk_range(8 * MIB, 64 << 10, "", 0));
        id = r->id;
        at = r->address;
        user_give(&u);
        user_join(&u, id, true);
        process_fill(&u.process, at, 8 * MIB, 7);
        assert_int_equal(user_do(&u, mk_migrate(at, 8 * MIB, GPU1)), SVMD_STATUS_NO_ROOM);
        space = must(&u.client, mk_space(GPU1))->id;
        assert_int_equal(run(&u.client, space, DEVICE_COPY, at, at + 4 * MIB, 4 * MIB, 0)->code, 0);
        fill(&a, &t, 2);
        assert_false(is_away(t.memory));
        assert_int_equal(managed_on(GPU1), 0);
        user_close(&u);
}

/* ---- nodes that have to be empty ---- */

static Svmd__V1__Op *mk_node(uint32_t node, Svmd__V1__NodeAction action) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_SET);

        op->node_set->node = node;
        op->node_set->action = action;
        return op;
}

/* What is said of draining GPU2, of one session or (NULL) of all. */
static uint64_t planned(Svmd__V1__PlanKind kind, const struct client *x) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_PLAN);
        Svmd__V1__Result *r;
        uint64_t sum = 0;

        op->node_plan->node = GPU2;
        op->node_plan->action = SVMD__V1__NODE_ACTION__NODE_DRAIN;
        r = must(&admin, op);
        assert_int_equal(r->detail_case, SVMD__V1__RESULT__DETAIL_PLAN);
        for (size_t i = 0; i < r->plan->n_steps; i++) {
                const Svmd__V1__PlanStep *s = r->plan->steps[i];

                assert_int_equal(s->node, GPU2);
                if (s->kind == kind && (!x || s->session == x->session->object.id))
                        sum += s->bytes;
        }
        return sum;
}

static void test_drain(void **state) {
        struct thing t[3], pinned = make(&a, GPU2, 128 * KIB, PINNED);
        uint64_t fence;

        for (unsigned i = 0; i < 3; i++) {
                t[i] = make(i ? &a : &b, GPU2, 256 * KIB, 0);
                fill(i ? &a : &b, &t[i], 60 + i);
        }
        assert_int_equal(planned(SVMD__V1__PLAN_KIND__PLAN_SPILL, &a), 512 * KIB);
        assert_int_equal(planned(SVMD__V1__PLAN_KIND__PLAN_SPILL, &b), 256 * KIB);
        assert_int_equal(planned(SVMD__V1__PLAN_KIND__PLAN_STAYS, NULL), 128 * KIB);
        assert_false(is_away(t[0].memory));
        admin.deaf = true;
        fence = must(&admin, mk_node(GPU2, SVMD__V1__NODE_ACTION__NODE_DRAIN))->id;
        assert_int_equal(end_of(&admin, fence)->code, 0);
        admin.deaf = false;
        for (unsigned i = 0; i < 3; i++)
                assert_true(is_away(t[i].memory));
        assert_false(is_away(pinned.memory));
        assert_int_equal(ledger_bytes(&w, GPU2), 128 * KIB);
        check_bytes();
        fill(&a, &pinned, 1);
        assert_int_equal(run(&a, t[1].space, DEVICE_SUM, 0, AT, 8, 0)->code, SVMD_STATUS_NO_NODE);
        refused(&a, mk_create(GPU2, 4096, 0), SVMD_STATUS_NO_NODE);
        must(&admin, mk_node(GPU2, SVMD__V1__NODE_ACTION__NODE_ONLINE));
        for (unsigned i = 0; i < 3; i++)
                check(i ? &a : &b, &t[i], 60 + i);
        must(&admin, mk_limit("one", HOST0, 256 * KIB));
        assert_int_equal(planned(SVMD__V1__PLAN_KIND__PLAN_SPILL, &a), 256 * KIB);
        assert_int_equal(planned(SVMD__V1__PLAN_KIND__PLAN_SPILL, &b), 256 * KIB);
        assert_int_equal(planned(SVMD__V1__PLAN_KIND__PLAN_STAYS, &a), (128 + 256) * KIB);
        must(&admin, mk_node(GPU2, SVMD__V1__NODE_ACTION__NODE_OFFLINE));
        assert_true(is_away(t[0].memory));
        assert_int_equal(ledger_bytes(&w, GPU2), (128 + 256) * KIB);
        must(&admin, mk_node(GPU2, SVMD__V1__NODE_ACTION__NODE_ONLINE));
        check(&a, &t[1], 61);
        check(&a, &t[2], 62);
        check_bytes();
}

/* ---- a node that vanishes ---- */

static void sum_is(struct client *x, uint64_t space, unsigned code) {
        Svmd__V1__FenceResult *r = run(x, space, DEVICE_SUM, 0, AT, 4096, 0);

        if (r->code != code || (code && !strstr(r->text, "lost with gpu")))
                fail_msg("%u %s, expected %u", r->code, r->text, code);
}

static void lose_all_of(struct client *x, struct thing *t) {
        sum_is(x, t->space, SVMD_STATUS_GONE);
        must(x, mk_unmap(t->space, AT, t->size));
        must(x, mk_release(t->memory));
}

/* What lay there is gone for good, pinned or not; what had been moved to the host waits there; and a restart, with or
 * without a snapshot, changes nothing. */
static void test_lost(void **state) {
        for (unsigned way = 0; way < 4; way++) {
                struct thing spilled = make(&b, GPU2, 640 * KIB, 0), gone[2];

                fill(&b, &spilled, 7);
                gone[0] = make(&a, GPU2, 384 * KIB, way % 2 ? PINNED : 0);
                gone[1] = make(&a, GPU2, 512 * KIB, PINNED);
                fill(&a, &gone[0], 8);
                assert_true(is_away(spilled.memory));
                assert_false(is_away(gone[0].memory) || is_away(gone[1].memory));
                must(&admin, mk_node(GPU2, SVMD__V1__NODE_ACTION__NODE_LOST));
                refused(&a, mk_submit(gone[0].space, DEVICE_SUM, 0, AT, 8, 0, false), SVMD_STATUS_NO_NODE);
                refused(&a, mk_create(GPU2, 4096, 0), SVMD_STATUS_NO_NODE);
                if (way >= 2)
                        assert_int_equal(journal_snapshot(w.svc), 0);
                restart();
                refused(&a, mk_submit(gone[0].space, DEVICE_SUM, 0, AT, 8, 0, false), SVMD_STATUS_NO_NODE);
                must(&admin, mk_node(GPU2, SVMD__V1__NODE_ACTION__NODE_ONLINE));
                sum_is(&a, gone[0].space, SVMD_STATUS_GONE);
                if (way >= 2)
                        assert_int_equal(journal_snapshot(w.svc), 0);
                restart();
                lose_all_of(&a, &gone[0]);
                lose_all_of(&a, &gone[1]);
                check(&b, &spilled, 7);
                must(&b, mk_unmap(spilled.space, AT, spilled.size));
                must(&b, mk_release(spilled.memory));
                check_bytes();
                assert_int_equal(w.svc->spill.away, 0);
        }
}

/* Another device that showed it goes on, without it. */
static void test_lost_seen_from_elsewhere(void **state) {
        struct thing t = { .size = 64 * KIB };

        t.memory = must(&a, mk_create(GPU1, t.size, 0))->id;
        t.space = must(&a, mk_space(GPU0))->id;
        must(&a, mk_map(t.space, AT, t.size, t.memory, 0, 3, 0));
        sum_is(&a, t.space, 0);
        must(&admin, mk_node(GPU1, SVMD__V1__NODE_ACTION__NODE_LOST));
        sum_is(&a, t.space, SVMD_STATUS_GONE);
        restart();
        lose_all_of(&a, &t);
        check_bytes();
}

/* It vanishes while memory leaves it, or comes back to it. */
static void test_lost_while_it_moves(void **state) {
        struct thing t = make(&a, GPU2, 768 * KIB, 0), other;
        Svmd__V1__Op *op = mk_create(GPU2, 512 * KIB, 0);
        uint64_t fence;

        fill(&a, &t, 3);
        assert_int_equal(client_post(&b, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
        until_moving();
        must(&admin, mk_node(GPU2, SVMD__V1__NODE_ACTION__NODE_LOST));
        client_await(&b);
        check_bytes();
        assert_true(memory_by_id(&w.svc->state, t.memory)->lost);
        must(&admin, mk_node(GPU2, SVMD__V1__NODE_ACTION__NODE_ONLINE));
        sum_is(&a, t.space, SVMD_STATUS_GONE);
        client_close(&a);
        check_bytes();
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        client_close(&b);
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "two");

        t = make(&a, GPU2, 768 * KIB, 0);
        fill(&a, &t, 4);
        other = make(&b, GPU2, 512 * KIB, 0);
        assert_true(is_away(t.memory));
        a.deaf = true;
        fence = must(&a, mk_submit(t.space, DEVICE_SUM, 0, AT, t.size, 0, false))->id;
        service_commit(w.svc);
        until_moving();
        must(&admin, mk_node(GPU2, SVMD__V1__NODE_ACTION__NODE_LOST));
        assert_int_not_equal(end_of(&a, fence)->code, 0);
        a.deaf = false;
        check_bytes();
        must(&b, mk_unmap(other.space, AT, other.size));
        must(&b, mk_release(other.memory));
        must(&admin, mk_node(GPU2, SVMD__V1__NODE_ACTION__NODE_ONLINE));
        (void)run(&a, t.space, DEVICE_SUM, 0, AT, t.size, 0); /* may say why it could not come back then */
        check(&a, &t, 4);
        check_bytes();
}

/* ---- failures ---- */

/* Each allocation in turn fails; what was refused has changed nothing but where things lie. */
static void test_allocations(void **state) {
        struct thing t[2] = { make(&a, GPU2, 640 * KIB, 0), make(&b, GPU2, 640 * KIB, 0) };
        unsigned long failures = 0;

        fill(&a, &t[0], 40);
        fill(&b, &t[1], 41);
        for (unsigned long n = 1;; n++) {
                bool hit;
                uint64_t fence;
                Svmd__V1__FenceResult *r;

                check(&b, &t[1], 41);
                a.deaf = true;
                fence = must(&a, mk_submit(t[0].space, DEVICE_SUM, 0, AT, t[0].size, 0, false))->id;
                alloc_fail_at(n);
                service_commit(w.svc);
                for (unsigned i = 0; i < 8; i++) {
                        service_collect(w.svc);
                        service_commit(w.svc);
                }
                while (!spill_idle(w.svc) && !list_empty(&w.svc->spill.moves))
                        world_wait(&w);
                hit = alloc_fail_hit();
                alloc_fail_off();
                failures += hit;
                r = end_of(&a, fence);
                a.deaf = false;
                if (r->code == 0)
                        assert_int_equal(r->value, sum_of(t[0].size, 40));
                else if (!hit)
                        fail_msg("%u %s", r->code, r->text);
                check_bytes();
                if (!hit)
                        break;
        }
        assert_true(failures > 3);
        check(&a, &t[0], 40);
        check(&b, &t[1], 41);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_least_recently_used_gives_way),
                TEST(test_space_larger_than_its_node),
                TEST(test_operations_take_turns),
                TEST(test_pinned_memory_stays),
                TEST(test_host_that_may_not_have_it),
                TEST(test_limit_is_among_its_own),
                TEST(test_operations_on_what_is_away),
                TEST(test_leaving_while_it_moves),
                TEST(test_leaving_while_it_comes_back),
                TEST(test_restart),
                TEST(test_killed_while_it_moves),
                cmocka_unit_test_setup_teardown(test_granules_and_memory, set_up_small, tear_down),
                cmocka_unit_test_setup_teardown(test_pinned_memory_keeps_granules_out, set_up_small, tear_down),
                TEST(test_drain),
                TEST(test_lost),
                TEST(test_lost_seen_from_elsewhere),
                TEST(test_lost_while_it_moves),
                TEST(test_allocations),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
