/*
 * Requests about managed ranges, with a real mover and processes that touch what it moves: fences and their outcomes,
 * pins, revokes and steals, advice, what is said about granules, nodes that are drained, and all of it over a restart.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "core/name.h"
#include "core/node.h"
#include "core/reservation.h"
#include "core/session.h"
#include "expect.h"
#include "proto/past.h"
#include "proto/range.h"
#include "proto/status.h"
#include "ranges.h"

#define KIB   1024ull
#define MIB   (1024 * KIB)
#define SMALL (4 * KIB)
#define LARGE (64 * KIB)

static struct world w;
static struct client admin;
static struct user a, b;
static uint64_t range, at; /* of a, named "shared", 32 granules of 64 KiB */
#define SIZE (32 * LARGE)

/* ---- asking ------------------------------------------------------------------------------------------------------
 */

static void refused(struct client *c, Svmd__V1__Op *op, unsigned code) {
        Svmd__V1__Result *r = client_call(c, op);

        if (r->code != code || !r->text[0])
                fail_msg("operation %d: %u %s, expected %u", (int)op->op_case, r->code, r->text, code);
}

/* How a fence ended; its client takes no events, so it is there to be asked. */
static unsigned ended(struct client *c, uint64_t fence, const char *says) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);

        op->fence_query->fence = fence;
        for (;;) {
                Svmd__V1__Result *r = must(c, op);

                if (!r->fence->done) {
                        world_wait(&w);
                        continue;
                }
                if (says && !strstr(r->fence->text, says))
                        fail_msg("\"%s\" does not say \"%s\"", r->fence->text, says);
                assert_int_equal(r->fence->code == 0, r->fence->text[0] == 0);
                return r->fence->code;
        }
}

static unsigned order(struct client *c, Svmd__V1__Op *op, const char *says) {
        uint64_t fence = must(c, op)->id;

        assert_true(fence != 0);
        return ended(c, fence, says);
}

static Svmd__V1__Op *mk_evict(uint64_t address, uint64_t size) {
        Svmd__V1__Op *op = mk_migrate(address, size, 0);

        op->migrate->evict = true;
        return op;
}

static Svmd__V1__Op *mk_prefetch(uint64_t address, uint64_t size, uint32_t node) {
        Svmd__V1__Op *op = mk_migrate(address, size, node);

        op->migrate->prefetch = true;
        return op;
}

static Svmd__V1__Op *mk_discard(uint64_t address, uint64_t size) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DISCARD);

        op->discard->address = address;
        op->discard->size = size;
        return op;
}

static Svmd__V1__Op *mk_revoke(uint64_t address, bool off, const char *partition) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_REVOKE);

        op->revoke->address = address;
        op->revoke->off = off;
        op->revoke->partition = (char *)partition;
        return op;
}

static Svmd__V1__Op *mk_steal(uint64_t address) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_STEAL);

        op->steal->address = address;
        return op;
}

static Svmd__V1__Op *mk_residency(uint64_t address, uint64_t size, bool counters) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_RESIDENCY);

        op->residency->address = address;
        op->residency->size = size;
        op->residency->counters = counters;
        return op;
}

static Svmd__V1__Op *mk_explain(uint64_t address, const char *partition) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_EXPLAIN);

        op->explain->address = address;
        op->explain->partition = (char *)partition;
        return op;
}

static Svmd__V1__Op *mk_advise(uint64_t address, uint64_t size, uint32_t what) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVISE);

        op->advise->address = address;
        op->advise->size = size;
        op->advise->what = what;
        return op;
}

static Svmd__V1__Op *mk_node(uint32_t node, Svmd__V1__NodeAction action) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_SET);

        op->node_set->node = node;
        op->node_set->action = action;
        return op;
}

/* All of [address, address + size) is in this state, on this node. */
static void lies(struct client *c, uint64_t address, uint64_t size, unsigned state, uint32_t node) {
        Svmd__V1__Result *r;

        world_settle(&w); /* what came along by itself is there, too */
        r = must(c, mk_residency(address, size, false));
        for (size_t i = 0; i < r->residency->n_runs; i++) {
                const Svmd__V1__Run *run = r->residency->runs[i];

                if (run->state != state || run->node != node || run->address != address || run->size > size)
                        fail_msg("0x%" PRIx64 "+0x%" PRIx64 ": state %u on node %u, not %u on %u", run->address,
                                 run->size, run->state, run->node, state, node);
                address += run->size;
                size -= run->size;
        }
        assert_int_equal(size, 0);
        assert_false(r->more);
}

/* Some sentence about the address holds the text. */
static void explains(struct client *c, uint64_t address, const char *text) {
        Svmd__V1__Result *r = must(c, mk_explain(address, ""));

        for (size_t i = 0; i < r->explain->n_sentences; i++)
                if (strstr(r->explain->sentences[i], text))
                        return;
        for (size_t i = 0; i < r->explain->n_sentences; i++)
                print_message("%s\n", r->explain->sentences[i]);
        fail_msg("no sentence says \"%s\"", text);
}

/* ---- the world ---------------------------------------------------------------------------------------------------
 */

static int set_up(void **state) {
        Svmd__V1__Result *r;

        ops_reset();
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_range_partition("one", 4ull << 30, 100, 0666));
        user_open(&w, &a, 100, "one");
        user_open(&w, &b, 101, "one");
        a.client.deaf = b.client.deaf = admin.deaf = true;
        user_give(&a);
        user_give(&b);
        r = must(&a.client, mk_range(SIZE, LARGE, "shared", 0666));
        range = r->id;
        at = r->address;
        user_join(&a, range, true);
        return 0;
}

static int tear_down(void **state) {
        user_close(&a);
        user_close(&b);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        for (unsigned i = 0; i < NODES; i++)
                assert_int_equal(ledger_bytes(&w, i), 0);
        world_close(&w);
        return 0;
}

static void restart(void) {
        struct client *all[] = { &a.client, &b.client, &admin };
        struct service *old = world_restart(&w, all, 3);

        world_bury(old);
        client_close(&admin);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        admin.deaf = true;
        world_settle(&w);
}

/* A restart from the log, and one from a snapshot. */
static void restart_twice(void) {
        restart();
        assert_int_equal(journal_snapshot(w.svc), 0);
        restart();
}

static void open_shared(struct user *u, unsigned access) {
        must(&u->client, mk_open("shared", access));
        user_join(u, range, access & 2);
}

/* ---- moving ------------------------------------------------------------------------------------------------------
 */

static void test_there_and_back(void **state) {
        lies(&a.client, at, SIZE, RESIDENCY_EMPTY, UINT32_MAX);
        process_fill(&a.process, at, SIZE, 1);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE / 2, GPU1), NULL), 0);
        lies(&a.client, at, SIZE / 2, RESIDENCY_OUT, GPU1);
        lies(&a.client, at + SIZE / 2, SIZE / 2, RESIDENCY_RESIDENT, HOST0);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE / 2, GPU0), NULL), 0);
        lies(&a.client, at, SIZE / 2, RESIDENCY_OUT, GPU0);
        assert_int_equal(process_check(&a.process, at, SIZE, 1), 0);
        lies(&a.client, at, SIZE, RESIDENCY_RESIDENT, HOST0);
        assert_int_equal(order(&a.client, mk_evict(at, SIZE), NULL), 0);
        assert_int_not_equal(where(&w, range, 3), UINT32_MAX);
        assert_int_equal(order(&a.client, mk_discard(at, LARGE), NULL), 0);
        lies(&a.client, at, LARGE, RESIDENCY_EMPTY, UINT32_MAX);
        assert_int_equal(process_check(&a.process, at, LARGE, 0), 0);
        assert_int_equal(process_check(&a.process, at + LARGE, SIZE - LARGE, 1), 0);
}

/* An administrator moves what he has not open, by the name of its partition. */
static void test_by_an_administrator(void **state) {
        Svmd__V1__Op *op = mk_migrate(at, 0, GPU1);

        process_fill(&a.process, at, SIZE, 2);
        refused(&admin, op, SVMD_STATUS_NOT_ATTACHED);
        op->migrate->partition = (char *)"one";
        assert_int_equal(order(&admin, op, NULL), 0);
        assert_int_equal(where(&w, range, 31), GPU1);
        refused(&b.client, op, SVMD_STATUS_DENIED);
        assert_int_equal(process_check(&a.process, at, SIZE, 2), 0);
}

/* gpu2 has 1 MiB, less than is kept there for moves. */
static void test_no_room(void **state) {
        process_fill(&a.process, at, SIZE, 3);
        assert_int_equal(order(&a.client, mk_prefetch(at, SIZE, GPU2), NULL), 0);
        lies(&a.client, at, SIZE, RESIDENCY_RESIDENT, HOST0);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE, GPU2), "gpu2"), SVMD_STATUS_NO_ROOM);
        assert_int_equal(process_check(&a.process, at, SIZE, 3), 0);
}

/* Far more granules than svmd hands over at a time, by more fences than have pieces under way. */
static void test_large(void **state) {
        enum { COUNT = 12, GRANULES = 20000 };
        Svmd__V1__Result *r = must(&a.client, mk_range(GRANULES * SMALL, 0, "", 0));
        uint64_t start = r->address, large = r->id, fences[COUNT];

        user_join(&a, large, true);
        for (unsigned i = 0; i < GRANULES; i += 1000)
                process_store(&a.process, start + i * SMALL, i + 1);
        for (unsigned i = 0; i < COUNT; i++)
                fences[i] = must(&a.client, mk_migrate(start, 0, i % 2 ? GPU0 : GPU1))->id;
        for (unsigned i = 0; i < COUNT; i++)
                assert_int_equal(ended(&a.client, fences[i], NULL), 0);
        for (unsigned i = 0; i < GRANULES; i += 1000)
                assert_int_equal(process_load(&a.process, start + i * SMALL), i + 1);
        /* One whose reservation goes meanwhile, and ones whose session does. */
        fences[0] = must(&a.client, mk_migrate(start, 0, GPU1))->id;
        must(&a.client, mk_free(large));
        assert_int_equal(ended(&a.client, fences[0], "ended first"), SVMD_STATUS_GONE);
        for (unsigned i = 0; i < COUNT; i++)
                must(&a.client, mk_migrate(at, 0, GPU1));
}

/* ---- pins --------------------------------------------------------------------------------------------------------
 */

static void test_pins(void **state) {
        open_shared(&b, 3);
        process_fill(&a.process, at, SIZE, 4);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE, GPU1), NULL), 0);
        assert_int_equal(order(&a.client, mk_pin(at, 4 * LARGE, false), NULL), 0);
        assert_int_equal(order(&b.client, mk_pin(at + 2 * LARGE, 4 * LARGE, false), NULL), 0);
        lies(&a.client, at + 2 * LARGE, 2 * LARGE, RESIDENCY_RESIDENT, HOST0);
        assert_int_equal(order(&a.client, mk_migrate(at, LARGE, GPU1), "pinned, by session"), SVMD_STATUS_BUSY);
        assert_int_equal(order(&a.client, mk_prefetch(at, LARGE, GPU1), NULL), 0);
        assert_int_equal(order(&a.client, mk_discard(at, LARGE), "pinned"), SVMD_STATUS_BUSY);
        explains(&a.client, at + 2 * LARGE, "pinned 2 times");
        refused(&a.client, mk_pin(at + 3 * LARGE, 2 * LARGE, true), SVMD_STATUS_NO_SUCH);
        assert_int_equal(must(&a.client, mk_pin(at, 4 * LARGE, true))->id, 0);
        refused(&a.client, mk_pin(at, LARGE, true), SVMD_STATUS_NO_SUCH);
        assert_int_equal(order(&a.client, mk_migrate(at, 2 * LARGE, GPU1), NULL), 0);
        assert_int_equal(order(&a.client, mk_migrate(at + 2 * LARGE, LARGE, GPU1), NULL), SVMD_STATUS_BUSY);
        /* Pins end with their session. */
        client_close(&b.client);
        world_settle(&w);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE, GPU1), NULL), 0);
        assert_int_equal(process_check(&a.process, at, SIZE, 4), 0);
}

/* More than the host may have, as is found when half of it was pinned: none of it is. */
static void test_pins_that_do_not_fit(void **state) {
        Svmd__V1__Result *r = must(&a.client, mk_range(96 * MIB, 0, "", 0));
        uint64_t start = r->address;

        user_join(&a, r->id, true);
        mover_node_capacity(w.svc->mover, HOST0, 64 * MIB);
        assert_int_equal(order(&a.client, mk_pin(start, 0, false), "pinned"), SVMD_STATUS_NO_ROOM);
        refused(&a.client, mk_pin(start, SMALL, true), SVMD_STATUS_NO_SUCH);
        explains(&a.client, start, "is in the memory of host0");
        assert_int_equal(order(&a.client, mk_migrate(start, 32 * MIB, GPU1), NULL), 0);
        assert_int_equal(order(&a.client, mk_pin(start, 16 * MIB, false), NULL), 0);
        refused(&a.client, mk_pin(start, 16 * MIB + SMALL, true), SVMD_STATUS_NO_SUCH);
        must(&a.client, mk_pin(start, 16 * MIB, true));
}

static void test_pins_over_a_restart(void **state) {
        process_fill(&a.process, at, SIZE, 5);
        assert_int_equal(order(&a.client, mk_pin(at, 4 * LARGE, false), NULL), 0);
        assert_int_equal(order(&a.client, mk_pin(at + LARGE, 4 * LARGE, false), NULL), 0);
        must(&a.client, mk_pin(at, LARGE, true));
        restart_twice();
        assert_int_equal(order(&a.client, mk_migrate(at, LARGE, GPU1), NULL), 0);
        assert_int_equal(order(&a.client, mk_migrate(at + LARGE, LARGE, GPU1), NULL), SVMD_STATUS_BUSY);
        must(&a.client, mk_pin(at + LARGE, 3 * LARGE, true));
        assert_int_equal(order(&a.client, mk_migrate(at + 2 * LARGE, LARGE, GPU1), NULL), SVMD_STATUS_BUSY);
        must(&a.client, mk_pin(at + LARGE, 4 * LARGE, true));
        refused(&a.client, mk_pin(at + LARGE, LARGE, true), SVMD_STATUS_NO_SUCH);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE, GPU1), NULL), 0);
        assert_int_equal(process_check(&a.process, at, SIZE, 5), 0);
}

/* A pin that is under way is in no snapshot: asked again, it is there once. */
static void test_snapshot_while_pinning(void **state) {
        process_fill(&a.process, at, SIZE, 17);
        assert_int_equal(order(&a.client, mk_pin(at, LARGE, false), NULL), 0);
        must(&a.client, mk_pin(at, SIZE, false)); /* nobody has collected what the mover says of it */
        refused(&a.client, mk_pin(at, LARGE, true), SVMD_STATUS_BUSY);
        assert_int_equal(journal_snapshot(w.svc), 0);
        restart();
        refused(&a.client, mk_pin(at, 2 * LARGE, true), SVMD_STATUS_NO_SUCH);
        must(&a.client, mk_pin(at, LARGE, true));
        refused(&a.client, mk_pin(at, LARGE, true), SVMD_STATUS_NO_SUCH);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE, GPU1), NULL), 0);
        assert_int_equal(process_check(&a.process, at, SIZE, 17), 0);
}

/* ---- taken away --------------------------------------------------------------------------------------------------
 */

static void test_revoke(void **state) {
        uint64_t value, generation = must(&a.client, mk_files(range))->generation;

        fdlist_close(&a.client.fds);
        open_shared(&b, 1);
        process_fill(&a.process, at, SIZE, 6);
        refused(&b.client, mk_revoke(at, false, ""), SVMD_STATUS_DENIED);
        assert_int_equal(order(&a.client, mk_revoke(at + 5, false, ""), NULL), 0);
        refused(&a.client, mk_revoke(at, false, ""), SVMD_STATUS_TAKEN);
        refused(&a.client, mk_migrate(at, SIZE, GPU0), SVMD_STATUS_ACCESS);
        refused(&a.client, mk_pin(at, LARGE, false), SVMD_STATUS_ACCESS);
        explains(&b.client, at, "revoked");
        process_begin_load(&b.process, at);
        process_begin_load(&a.process, at + LARGE);
        restart_twice();
        explains(&b.client, at, "revoked");
        assert_false(process_loaded(&b.process, 0, &value));
        assert_int_equal(order(&a.client, mk_revoke(at, true, ""), NULL), 0);
        assert_true(process_loaded(&b.process, 30000, &value));
        assert_true(process_loaded(&a.process, 30000, &value));
        assert_int_equal(process_check(&b.process, at, SIZE, 6), 0);
        assert_true(must(&a.client, mk_files(range))->generation > generation);
        fdlist_close(&a.client.fds);
}

/* One that cannot be: somebody has pinned a part. Everything is as it was. */
static void test_revoke_of_what_is_pinned(void **state) {
        process_fill(&a.process, at, SIZE, 7);
        assert_int_equal(order(&a.client, mk_pin(at + LARGE, LARGE, false), NULL), 0);
        assert_int_equal(order(&admin, mk_revoke(at, false, "one"), "pinned"), SVMD_STATUS_BUSY);
        world_settle(&w);
        assert_int_equal(process_check(&a.process, at, SIZE, 7), 0);
        must(&a.client, mk_pin(at + LARGE, LARGE, true));
        assert_int_equal(order(&admin, mk_revoke(at, false, "one"), NULL), 0);
        assert_int_equal(order(&admin, mk_revoke(at, true, "one"), NULL), 0);
        assert_int_equal(process_check(&a.process, at, SIZE, 7), 0);
}

static void test_steal(void **state) {
        uint64_t value;

        open_shared(&b, 3);
        process_fill(&a.process, at, SIZE, 8);
        refused(&a.client, mk_steal(at), SVMD_STATUS_TAKEN);
        a.client.deaf = false;
        a.client.events_count = 0;
        assert_int_equal(order(&b.client, mk_steal(at + LARGE + 1), NULL), 0);
        assert_true(a.client.events_count > 0 && a.client.events[a.client.events_count - 1].gone);
        assert_int_equal(process_check(&b.process, at, SIZE, 8), 0);
        refused(&a.client, mk_migrate(at, SIZE, GPU1), SVMD_STATUS_FOREIGN);
        refused(&a.client, mk_free(range), SVMD_STATUS_FOREIGN);
        process_begin_load(&a.process, at);
        assert_int_equal(order(&b.client, mk_migrate(at, SIZE, GPU1), NULL), 0);
        restart_twice();
        assert_int_equal(process_check(&b.process, at, SIZE, 8), 0);
        assert_false(process_loaded(&a.process, 0, &value));
        explains(&b.client, at, "reservation shared of partition one, which session");
        must(&b.client, mk_free(range));
}

/* The thief goes in the middle: it is its owner's as before. */
static void test_steal_that_is_left(void **state) {
        open_shared(&b, 3);
        process_fill(&a.process, at, SIZE, 9);
        must(&b.client, mk_steal(at));
        client_close(&b.client);
        world_settle(&w);
        assert_int_equal(process_check(&a.process, at, SIZE, 9), 0);
        assert_int_equal(order(&a.client, mk_revoke(at, false, ""), NULL), 0);
        assert_int_equal(order(&a.client, mk_revoke(at, true, ""), NULL), 0);
}

/* ---- what is said ------------------------------------------------------------------------------------------------
 */

static void advised(uint64_t address, uint32_t preferred, uint64_t accessed_by, bool read_mostly, uint32_t granularity,
                    uint64_t session) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVICE_QUERY);
        Svmd__V1__AdviceResult *r;

        op->advice_query->address = address;
        r = must(&a.client, op)->advice;
        assert_int_equal(r->preferred, preferred);
        assert_int_equal(r->accessed_by, accessed_by);
        assert_int_equal(r->read_mostly, read_mostly);
        assert_int_equal(r->granularity, granularity);
        assert_int_equal(r->session, session);
}

static void test_advice(void **state) {
        Svmd__V1__Op *op = mk_advise(at, 0, SVMD__V1__ADVICE_WHAT__ADVICE_PREFERRED);
        uint64_t first = a.client.id, second = b.client.id;

        open_shared(&b, 1);
        op->advise->preferred = GPU1 + 1;
        must(&a.client, op);
        op = mk_advise(at + 4 * LARGE, 4 * LARGE,
                       SVMD__V1__ADVICE_WHAT__ADVICE_READ_MOSTLY | SVMD__V1__ADVICE_WHAT__ADVICE_GRANULARITY);
        op->advise->read_mostly = true;
        op->advise->granularity = 2 * MIB;
        must(&b.client, op);
        op = mk_advise(at + 6 * LARGE, LARGE, SVMD__V1__ADVICE_WHAT__ADVICE_ACCESSED_BY);
        op->advise->accessed_by = 1u << GPU0 | 1u << GPU1;
        must(&a.client, op);
        op = mk_advise(at + 7 * LARGE, LARGE, SVMD__V1__ADVICE_WHAT__ADVICE_PREFERRED);
        must(&b.client, op);
        for (unsigned i = 0; i < 3; i++) {
                advised(at, GPU1 + 1, 0, false, 0, first);
                advised(at + 4 * LARGE, GPU1 + 1, 0, true, 2 * MIB, second);
                advised(at + 6 * LARGE, GPU1 + 1, 1u << GPU0 | 1u << GPU1, true, 2 * MIB, first);
                advised(at + 7 * LARGE, GPU1 + 1, 0, true, 2 * MIB, second); /* b took nothing of a's back */
                advised(at + 8 * LARGE, GPU1 + 1, 0, false, 0, first);
                lies(&a.client, at, SIZE, RESIDENCY_EMPTY, UINT32_MAX);
                if (i < 2)
                        restart_twice();
        }
        explains(&a.client, at + 6 * LARGE, "preferred location gpu1, accessed by gpu0 and gpu1, read mostly");
}

static void test_residency(void **state) {
        Svmd__V1__Result *r;
        uint64_t next;
        size_t rows = 0;

        process_fill(&a.process, at, SIZE, 10);
        for (unsigned i = 0; i < 32; i += 2)
                assert_int_equal(order(&a.client, mk_migrate(at + i * LARGE, LARGE, GPU1), NULL), 0);
        r = must(&b.client, mk_residency(at, 0, false));
        assert_int_equal(r->residency->n_runs, 32);
        assert_false(r->more);
        process_load(&a.process, at);
        world_settle(&w);
        r = must(&a.client, mk_residency(at + 1, 5, true));
        assert_int_equal(r->residency->n_runs, 1);
        assert_int_equal(r->residency->runs[0]->address, at);
        assert_int_equal(r->residency->runs[0]->outs, 1);
        assert_int_equal(r->residency->runs[0]->ins, 1);
        /* More than a result holds: page after page, without gaps. */
        r = must(&a.client, mk_range(40000 * SMALL, 0, "", 0));
        next = r->address;
        user_join(&a, r->id, true);
        process_store(&a.process, next + 30000 * SMALL, 1);
        for (uint64_t end = next + 40000 * SMALL; next < end; rows += r->residency->n_runs) {
                r = must(&a.client, mk_residency(next, 0, false));
                for (size_t i = 0; i < r->residency->n_runs; i++) {
                        assert_int_equal(r->residency->runs[i]->address, next);
                        next += r->residency->runs[i]->size;
                }
                assert_int_equal(r->more, next < end);
        }
        assert_true(rows >= 3);
}

static void test_explain(void **state) {
        Svmd__V1__Result *r;
        uint64_t memory, start;
        char text[160];

        process_fill(&a.process, at, SIZE, 11);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE, GPU1), NULL), 0);
        r = must(&b.client, mk_explain(at + 70000, ""));
        assert_int_equal(r->explain->reservation->id, range);
        assert_int_equal(r->explain->run->address, at + LARGE);
        assert_int_equal(r->explain->run->node, GPU1);
        assert_int_equal(r->explain->moves, 1);
        assert_true(r->explain->moved_ms > 0);
        assert_int_equal(r->explain->n_mappings, 0);
        snprintf(text, sizeof(text),
                 "0x%" PRIx64 " lies in reservation shared of partition one, which session %" PRIu64
                 " (pid %u, uid 100, test) owns.",
                 at + 70000, a.client.id, (unsigned)a.process.pid);
        assert_string_equal(r->explain->sentences[0], text);
        explains(&b.client, at, "Its granule of 64 KiB is on gpu1");
        explains(&b.client, at, "It has left host memory 1 time and come back 0 times.");
        explains(&b.client, at, "Nothing is advised");
        explains(&b.client, at, "A touch by the CPU would bring it to host0.");
        explains(&b.client, at, "A touch by gpu0 would fail: a node that cannot fault");
        explains(&b.client, at, " ago a request brought it from host0 to gpu1, with ");
        explains(&b.client, at, " ago a touch by the CPU began it on host0, as zeroes");
        r = must(&b.client, mk_explain(at, ""));
        assert_true(r->explain->n_history >= 2);
        assert_int_equal(r->explain->history[0]->deed, MANAGED_MOVED);
        assert_int_equal(r->explain->history[0]->address, at);
        assert_true(r->explain->history[0]->size > LARGE);
        assert_int_equal(r->explain->n_touches, 2 * NODES);
        assert_int_equal(r->explain->touches[0]->node, PAST_NODE_CPU);
        assert_true(!r->explain->touches[0]->write && r->explain->touches[1]->write);
        assert_int_equal(r->explain->touches[0]->outcome, MANAGED_MOVES);
        assert_int_equal(r->explain->touches[0]->to, HOST0);
        assert_int_equal(r->explain->touches[2]->outcome, MANAGED_TOUCH_FAILS);
        assert_int_equal(r->explain->touches[2]->code, SVMD_STATUS_NOT_MAPPED);
        assert_int_equal(r->explain->touches[4]->outcome, MANAGED_IS_HERE);
        assert_int_equal(r->explain->touches[7]->to, GPU2);
        explains(&b.client, at, "gpu1 would use what it has of it.");
        explains(&b.client, at, "A touch by gpu2 would bring it there.");
        assert_int_equal(order(&a.client, mk_discard(at, LARGE), NULL), 0);
        explains(&b.client, at, "was never touched, or was discarded");
        explains(&b.client, at, "A touch by the CPU would begin it on host0");
        /* Explicit memory, nothing, and no address of the partition. */
        start = must(&a.client, mk_reserve(16 * SMALL, 0, 0, "", 0))->address;
        memory = must(&a.client, mk_create(HOST0, 16 * SMALL, 0))->id;
        must(&a.client, mk_map(0, start, 4 * SMALL, memory, 0, 3, 0));
        explains(&a.client, start, "The CPU sees memory");
        explains(&a.client, start + 8 * SMALL, "No memory is mapped there");
        r = must(&admin, mk_explain(at + (2ull << 30), "one"));
        assert_null(r->explain->reservation);
        assert_non_null(strstr(r->explain->sentences[0], "Nothing is reserved"));
        r = must(&admin, mk_explain(4096, "one"));
        assert_non_null(strstr(r->explain->sentences[0], "is no address of partition one"));
}

/* ---- nodes -------------------------------------------------------------------------------------------------------
 */

static bool is_online(uint32_t node) {
        return must(&admin, op_make(SVMD__V1__OP__OP_NODES))->nodes->nodes[node]->online;
}

/* All of the range leaves, and it is its owner's. */
static void plan_says(uint32_t node, uint64_t bytes) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_PLAN);
        const Svmd__V1__PlanResult *plan;

        op->node_plan->node = node;
        op->node_plan->action = SVMD__V1__NODE_ACTION__NODE_DRAIN;
        plan = must(&admin, op)->plan;
        assert_int_equal(plan->n_steps, 1);
        assert_int_equal(plan->steps[0]->kind, SVMD__V1__PLAN_KIND__PLAN_EVICT);
        assert_int_equal(plan->steps[0]->session, a.client.session->object.id);
        assert_int_equal(plan->steps[0]->bytes, bytes);
}

static void test_drain(void **state) {
        process_fill(&a.process, at, SIZE, 12);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE, GPU1), NULL), 0);
        plan_says(GPU1, SIZE);
        refused(&admin, mk_node(HOST0, SVMD__V1__NODE_ACTION__NODE_DRAIN), SVMD_STATUS_BUSY);
        refused(&admin, mk_node(HOST0, SVMD__V1__NODE_ACTION__NODE_OFFLINE), SVMD_STATUS_BUSY);
        assert_int_equal(order(&admin, mk_node(GPU1, SVMD__V1__NODE_ACTION__NODE_DRAIN), NULL), 0);
        assert_int_not_equal(where(&w, range, 0), GPU1);
        for (unsigned i = 0; i < 2; i++) {
                struct managed_node_info info;

                mover_node_info(w.svc->mover, GPU1, &info);
                assert_false(info.online);
                assert_false(is_online(GPU1));
                assert_true(is_online(GPU0));
                refused(&a.client, mk_create(GPU1, 4 * SMALL, 0), SVMD_STATUS_NO_NODE);
                refused(&a.client, mk_create(GPU1, 8 * MIB, 0), SVMD_STATUS_NO_NODE);
                refused(&a.client, mk_migrate(at, SIZE, GPU1), SVMD_STATUS_NO_NODE);
                restart_twice();
        }
        assert_int_equal(process_check(&a.process, at, SIZE, 12), 0);
        assert_int_equal(must(&admin, mk_node(GPU1, SVMD__V1__NODE_ACTION__NODE_ONLINE))->id, 0);
        assert_true(is_online(GPU1));
        restart_twice();
        assert_true(is_online(GPU1));
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE, GPU1), NULL), 0);
        assert_int_equal(process_check(&a.process, at, SIZE, 12), 0);
}

/* Half of it lies on a device that vanishes. Nobody reads that half as anything, over restarts, until it is discarded.
 */
static void test_node_lost(void **state) {
        uint64_t half = SIZE / 2, got;

        process_fill(&a.process, at, SIZE, 17);
        assert_int_equal(order(&a.client, mk_migrate(at, half, GPU1), NULL), 0);
        assert_int_equal(order(&a.client, mk_migrate(at + half, half, GPU0), NULL), 0);
        refused(&admin, mk_node(HOST0, SVMD__V1__NODE_ACTION__NODE_LOST), SVMD_STATUS_INVALID);
        refused(&a.client, mk_node(GPU1, SVMD__V1__NODE_ACTION__NODE_LOST), SVMD_STATUS_DENIED);
        must(&admin, mk_node(GPU1, SVMD__V1__NODE_ACTION__NODE_LOST));
        for (unsigned i = 0; i < 2; i++) {
                struct managed_node_info info;

                mover_node_info(w.svc->mover, GPU1, &info);
                assert_int_equal(info.used, 0);
                assert_false(is_online(GPU1));
                explains(&a.client, at, "was lost with gpu1");
                assert_int_equal(order(&a.client, mk_migrate(at, half, GPU0), "lost with a node"), SVMD_STATUS_GONE);
                assert_int_equal(process_check(&a.process, at + half, half, 17), 0);
                restart_twice();
        }
        must(&admin, mk_node(GPU1, SVMD__V1__NODE_ACTION__NODE_ONLINE));
        process_begin_load(&a.process, at);
        assert_false(process_loaded(&a.process, 100, &got));
        assert_int_equal(order(&a.client, mk_discard(at, half), NULL), 0);
        assert_true(process_loaded(&a.process, 30000, &got));
        assert_int_equal(got, 0);
        assert_int_equal(process_check(&a.process, at, half, 0), 0);
        assert_int_equal(process_check(&a.process, at + half, half, 17), 0);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE, GPU1), NULL), 0);
        assert_int_equal(process_check(&a.process, at, half, 0), 0);
}

/* What is pinned cannot leave; who waits is told when the node is taken back. */
static void test_drain_that_is_taken_back(void **state) {
        uint64_t memory, fence;

        process_fill(&a.process, at, SIZE, 13);
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE, GPU1), NULL), 0);
        memory = must(&a.client, mk_create(GPU0, (2ull << 30) - 64 * MIB, 0))->id;
        assert_int_equal(must(&admin, mk_node(GPU0, SVMD__V1__NODE_ACTION__NODE_OFFLINE))->id, 0);
        assert_int_equal(ledger_bytes(&w, GPU0), (2ull << 30) - 64 * MIB);
        must(&a.client, mk_release(memory));
        fence = must(&admin, mk_node(GPU0, SVMD__V1__NODE_ACTION__NODE_DRAIN))->id;
        assert_int_equal(ended(&admin, fence, NULL), 0);
        must(&admin, mk_node(GPU0, SVMD__V1__NODE_ACTION__NODE_ONLINE));
        refused(&admin, mk_node(GPU0, SVMD__V1__NODE_ACTION__NODE_KEEP), SVMD_STATUS_INVALID);
        assert_int_equal(process_check(&a.process, at, SIZE, 13), 0);
}

/* ---- monitors ----------------------------------------------------------------------------------------------------
 */

static void test_monitor(void **state) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_MONITOR);
        unsigned moves = 0;

        process_fill(&a.process, at, SIZE, 14);
        op->monitor->on = true;
        must(&admin, op);
        admin.deaf = false;
        admin.events_count = 0;
        assert_int_equal(order(&a.client, mk_migrate(at, SIZE, GPU1), NULL), 0);
        world_settle(&w);
        for (unsigned i = 0; i < admin.events_count; i++)
                moves += admin.events[i].kind == SVMD__V1__EVENT__EVENT_MONITOR;
        assert_true(moves > 0);
        op->monitor->on = false;
        must(&admin, op);
        admin.events_count = 0;
        assert_int_equal(process_check(&a.process, at, SIZE, 14), 0);
        world_settle(&w);
        assert_int_equal(admin.events_count, 0);
}

/* ---- svmd dies at any moment -------------------------------------------------------------------------------------
 */

static uint64_t rnd_state;

static uint64_t rnd(uint64_t n) {
        rnd_state ^= rnd_state << 13;
        rnd_state ^= rnd_state >> 7;
        rnd_state ^= rnd_state << 17;
        return rnd_state % n;
}

static const Svmd__V1__Reservation *row_of(struct client *c) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_RESERVATION_QUERY);

        op->reservation_query->address = at;
        return must(c, op)->reservations->reservations[0];
}

/* Who lost the range maps it anew, as libsvmd would. */
static void come_back(struct user *u) {
        assert_int_equal(process_unmap(&u->process, at, SIZE), 0);
        open_shared(u, 3);
}

static Svmd__V1__Op *any_order(bool pinned, bool revoked, bool steal) {
        uint64_t first = rnd(32), count = 1 + rnd(32 - first);

        if (revoked)
                return mk_revoke(at, true, "one");
        if (steal)
                return mk_steal(at);
        switch (rnd(6)) {
        case 0: return mk_evict(at + first * LARGE, count * LARGE);
        case 1: return mk_prefetch(at + first * LARGE, count * LARGE, HOST0);
        case 2: return pinned ? mk_evict(at, SIZE) : mk_pin(at, SIZE, false);
        case 3: return mk_revoke(at, false, "one");
        default: return mk_migrate(at + first * LARGE, count * LARGE, GPU0 + (uint32_t)rnd(2));
        }
}

/* What was journaled is in force, the rest has not been, and no byte is lost: whoever owns the range. */
static void test_restarts(void **state) {
        const char *given = getenv("SVMD_SEED");
        uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)getpid() * 2654435761u + 1;
        struct user *own = &a, *other = &b;
        bool pinned = false;

        print_message("SVMD_SEED=%" PRIu64 "\n", seed);
        rnd_state = seed;
        open_shared(&b, 3);
        process_fill(&a.process, at, SIZE, 16);
        for (unsigned i = 0; i < 60; i++) {
                bool steal = rnd(5) == 0, revoked = row_of(&own->client)->revoked;
                Svmd__V1__Op *op = any_order(pinned, revoked, steal);
                struct client *c = op->op_case == SVMD__V1__OP__OP_REVOKE  ? &admin
                                   : op->op_case == SVMD__V1__OP__OP_STEAL ? &other->client
                                                                           : &own->client;
                uint64_t fence = must(c, op)->id;
                unsigned code = 0;
                bool died = rnd(2);

                for (unsigned k = (unsigned)rnd(4); died && k > 0; k--) {
                        service_collect(w.svc);
                        service_commit(w.svc);
                        usleep((unsigned)rnd(2000));
                }
                if (died)
                        restart();
                if (c != &admin || !died)
                        code = ended(c, fence, NULL);
                if (code != 0 && code != SVMD_STATUS_BUSY && !(died && code == SVMD_STATUS_INTERRUPTED))
                        fail_msg("step %u, operation %d: %u", i, (int)op->op_case, code);
                assert_true(code != SVMD_STATUS_BUSY || pinned);
                /* What the fence did not say is asked for. */
                if (op->op_case == SVMD__V1__OP__OP_PIN && code == SVMD_STATUS_INTERRUPTED)
                        client_call(&own->client, mk_pin(at, SIZE, true));
                else if (op->op_case == SVMD__V1__OP__OP_PIN)
                        pinned = true;
                if (row_of(&own->client)->session != own->client.id) {
                        struct user *lost = own;

                        own = other;
                        other = lost;
                        come_back(lost);
                }
                if (row_of(&own->client)->revoked)
                        continue;
                world_settle(&w);
                assert_int_equal(process_check(&own->process, at, SIZE, 16), 0);
                assert_int_equal(process_check(&other->process, at, SIZE, 16), 0);
                if (pinned && rnd(2)) {
                        must(&own->client, mk_pin(at, SIZE, true));
                        pinned = false;
                }
        }
}

/* ---- without memory ----------------------------------------------------------------------------------------------
 */

/* The operation with its first, second, ... allocation and all that follow refused, until none is met: it is refused
 * and nothing has changed, or its fence says so, or it is done, and then taken back by `undo`. */
static unsigned long starve(struct client *c, Svmd__V1__Op *op, Svmd__V1__Op *undo) {
        unsigned long failures = 0;

        for (unsigned long n = 1;; n++) {
                char *before = digest(&w, true), *after;
                Svmd__V1__Reply *reply;
                unsigned code;
                bool hit;

                alloc_fail_at(n);
                reply = client_send(c, SVMD__V1__MODE__BEST_EFFORT, &op, 1, NULL, 0);
                hit = alloc_fail_hit();
                alloc_fail_off();
                if (!reply)
                        fail_msg("the session ended when allocation %lu of operation %d failed", n, (int)op->op_case);
                failures += hit;
                code = reply->results[0]->code;
                if (code != 0) {
                        if (!hit || code != SVMD_STATUS_NO_MEMORY)
                                fail_msg("operation %d, allocation %lu: %u %s", (int)op->op_case, n, code,
                                         reply->results[0]->text);
                        world_settle(&w);
                        after = digest(&w, true);
                        assert_string_equal(before, after);
                        free(after);
                } else if (reply->results[0]->id) {
                        /* A node whose list of slots cannot grow has no room. */
                        code = ended(c, reply->results[0]->id, NULL);
                        if (code != 0 && (!hit || (code != SVMD_STATUS_NO_MEMORY && code != SVMD_STATUS_NO_ROOM)))
                                fail_msg("operation %d, allocation %lu: the fence says %u", (int)op->op_case, n, code);
                }
                free(before);
                world_settle(&w);
                check_world(&w);
                if (code == 0 && undo) {
                        uint64_t fence = must(c, undo)->id;

                        if (fence)
                                assert_int_equal(ended(c, fence, NULL), 0);
                }
                assert_int_equal(process_check(&a.process, at, SIZE, 15), 0);
                if (!hit)
                        return failures;
        }
}

static void test_allocations(void **state) {
        Svmd__V1__Op *op;
        unsigned long failures = 0;

        open_shared(&b, 3);
        process_fill(&a.process, at, SIZE, 15);
        failures += starve(&a.client, mk_migrate(at, SIZE, GPU1), NULL);
        failures += starve(&a.client, mk_evict(at, SIZE), NULL);
        failures += starve(&a.client, mk_prefetch(at, SIZE, GPU0), NULL);
        failures += starve(&a.client, mk_pin(at, SIZE, false), mk_pin(at, SIZE, true));
        refused(&a.client, mk_pin(at, LARGE, true), SVMD_STATUS_NO_SUCH);
        failures += starve(&a.client, mk_revoke(at, false, ""), mk_revoke(at, true, ""));
        failures += starve(&a.client, mk_revoke(at, true, ""), NULL);
        op = mk_advise(at + LARGE, 2 * LARGE, SVMD__V1__ADVICE_WHAT__ADVICE_READ_MOSTLY);
        op->advise->read_mostly = true;
        failures += starve(&a.client, op, NULL);
        op = op_make(SVMD__V1__OP__OP_ADVICE_QUERY);
        op->advice_query->address = at;
        failures += starve(&a.client, op, NULL);
        op = op_make(SVMD__V1__OP__OP_ADVICE_SHOW);
        op->advice_show->address = at;
        failures += starve(&a.client, op, NULL);
        failures += starve(&a.client, mk_residency(at, 0, true), NULL);
        failures += starve(&a.client, mk_explain(at, ""), NULL);
        failures += starve(&admin, mk_node(GPU0, SVMD__V1__NODE_ACTION__NODE_DRAIN),
                           mk_node(GPU0, SVMD__V1__NODE_ACTION__NODE_ONLINE));
        failures += starve(&admin, mk_node(GPU0, SVMD__V1__NODE_ACTION__NODE_OFFLINE),
                           mk_node(GPU0, SVMD__V1__NODE_ACTION__NODE_ONLINE));
        print_message("%lu failures\n", failures);
        assert_true(failures > 30);
        for (unsigned long n = 1;; n++) {
                uint64_t fence;

                op = mk_steal(at);
                alloc_fail_at(n);
                assert_non_null(client_send(&b.client, SVMD__V1__MODE__BEST_EFFORT, &op, 1, NULL, 0));
                alloc_fail_off();
                fence = b.client.reply->results[0]->id;
                if (b.client.reply->results[0]->code == 0 && ended(&b.client, fence, NULL) == 0)
                        break;
                assert_int_equal(process_check(&a.process, at, SIZE, 15), 0);
        }
        assert_int_equal(process_check(&b.process, at, SIZE, 15), 0);
}

int main(int argc, char **argv) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_there_and_back),
                TEST(test_by_an_administrator),
                TEST(test_no_room),
                TEST(test_large),
                TEST(test_pins),
                TEST(test_pins_that_do_not_fit),
                TEST(test_pins_over_a_restart),
                TEST(test_snapshot_while_pinning),
                TEST(test_revoke),
                TEST(test_revoke_of_what_is_pinned),
                TEST(test_steal),
                TEST(test_steal_that_is_left),
                TEST(test_advice),
                TEST(test_residency),
                TEST(test_explain),
                TEST(test_drain),
                TEST(test_node_lost),
                TEST(test_drain_that_is_taken_back),
                TEST(test_monitor),
                TEST(test_restarts),
                TEST(test_allocations),
        };

        if (argc > 1)
                cmocka_set_test_filter(argv[1]);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
