/*
 * Grants: what is asked for is charged before the client hears of it, and stays so until it says what became of it,
 * over restarts of svmd too. What it says rides on its next request. Then sessions at random against a model that
 * counts anew. The clock is the test's.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "core/grant.h"
#include "core/session.h"
#include "expect.h"
#include "harness.h"

#define MIB    (1ull << 20)
#define SECOND 1000000000ull

enum { CUDA0 = NODES, KFD0, DRM0, CLIENTS = 3, ALLOC = GRANT_ALLOC };

static struct world w;
static struct client admin, who[CLIENTS];
static uint64_t now_ns;

static uint64_t now(void) {
        return now_ns;
}

static void shape(struct machine *m) {
        static const struct node_desc nodes[] = { { .name = "cuda0", .kind = NODE_CUDA },
                                                  { .name = "kfd0", .kind = NODE_KFD },
                                                  { .name = "drm0", .kind = NODE_DRM } };

        for (unsigned i = 0; i < 3; i++) {
                struct node_desc *n = machine_add(m);

                assert_non_null(n);
                *n = nodes[i];
                n->numa = -1;
                n->capacity = 64 * MIB;
                n->va_end = 1ull << 47;
        }
}

static int set_up(void **state) {
        ops_reset();
        now_ns = 1000 * SECOND;
        world_shape = shape;
        world_open(&w, 0);
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 8ull << 30, "", 100, 0666));
        must(&admin, mk_partition("two", 8ull << 30, "", 100, 0666));
        for (unsigned i = 0; i < CLIENTS; i++) {
                client_open(&w, &who[i], 100 + i, 100, false);
                client_greet(&who[i], i < 2 ? "one" : "two");
        }
        return 0;
}

static int tear_down(void **state) {
        for (unsigned i = 0; i < CLIENTS; i++)
                client_close(&who[i]);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        assert_int_equal(ledger_bytes(&w, CUDA0), 0);
        world_close(&w);
        world_shape = NULL;
        return 0;
}

static struct service *restart(void) {
        struct client *all[] = { &admin, &who[0], &who[1], &who[2] };

        return world_restart_as_was(&w, all, 4);
}

static Svmd__V1__Op *mk_node(uint32_t node, Svmd__V1__NodeAction action) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_SET);

        op->node_set->node = node;
        op->node_set->action = action;
        return op;
}

/* NULL: there is none. */
static Svmd__V1__Grant *row_of(uint64_t grant) {
        Svmd__V1__GrantsResult *r = must(&who[0], mk_grant_list(""))->grants;

        for (size_t i = 0; i < r->n_grants; i++)
                if (r->grants[i]->grant == grant)
                        return r->grants[i];
        return NULL;
}

/* ---- directed ---- */

static void test_life(void **state) {
        Svmd__V1__Result g = *must(&who[0], mk_grant(CUDA0, ALLOC, 8 * MIB));

        assert_true(g.id > 0 && g.generation > 0);
        assert_int_equal(ledger_bytes(&w, CUDA0), 8 * MIB);
        assert_int_equal(row_of(g.id)->state, SVMD__V1__GRANT_STATE__GRANT_ASKED);
        assert_int_equal(row_of(g.id)->left_ms, 10000);
        must(&who[0], mk_grant_done(g.id, g.generation, 0, 2 * MIB));
        assert_int_equal(ledger_bytes(&w, CUDA0), 6 * MIB);
        assert_int_equal(row_of(g.id)->state, SVMD__V1__GRANT_STATE__GRANT_HELD);
        must_not(&who[0], mk_grant_done(g.id, g.generation, 0, 0), SVMD_STATUS_TAKEN, "already");
        must_not(&who[0], mk_grant_done(g.id, g.generation, EIO, 0), SVMD_STATUS_TAKEN, "already");
        must_not(&who[0], mk_grant_done(g.id, g.generation, 0, 8 * MIB), SVMD_STATUS_SIZE, "so many");
        must_not(&who[0], mk_grant_done(g.id, g.generation, 0, 1), SVMD_STATUS_SIZE, "multiple");
        now_ns += 20 * SECOND; /* held, it does not expire */
        must(&who[0], mk_grant_done(g.id, g.generation, 0, 2 * MIB));
        must(&who[0], mk_grant_done(g.id, g.generation, 0, 4 * MIB));
        assert_null(row_of(g.id));
        assert_int_equal(ledger_bytes(&w, CUDA0), 0);

        g = *must(&who[0], mk_grant(CUDA0, ALLOC, MIB));
        must(&who[0], mk_grant_done(g.id, g.generation, ENOMEM, 0));
        assert_int_equal(ledger_bytes(&w, CUDA0), 0);
        assert_int_equal(row_of(g.id)->state, SVMD__V1__GRANT_STATE__GRANT_FAILED);
        assert_int_equal(row_of(g.id)->error, ENOMEM);
        assert_int_equal(row_of(g.id)->bytes, 0);
        g = *must(&who[0], mk_grant(CUDA0, GRANT_MAP, 0));
        must(&who[0], mk_grant_done(g.id, g.generation, 0, 0));
        assert_null(row_of(g.id));
        g = *must(&who[0], mk_grant(CUDA0, ALLOC, MIB)); /* ends with its session */
        client_close(&who[0]);
        assert_int_equal(ledger_bytes(&w, CUDA0), 0);
        client_open(&w, &who[0], 100, 100, false);
        client_greet(&who[0], "one");
}

static Svmd__V1__Op *in_range(Svmd__V1__Op *op, const Svmd__V1__Result *range) {
        op->grant_ask->reservation = range->id;
        op->grant_ask->address = range->address;
        op->grant_ask->size = MIB;
        return op;
}

/* What AMD's driver keeps apart lies in reservations of different kinds. */
static void test_arenas(void **state) {
        static const uint32_t buffers[] = { GRANT_ALLOC, GRANT_MAP, GRANT_UNMAP },
                              moves[] = { GRANT_ADVISE, GRANT_PREFETCH };
        Svmd__V1__Op *op = mk_reserve(MIB, 0, 0, NULL, 0);
        Svmd__V1__Result explicit = *must(&who[0], op), private;

        op = mk_reserve(MIB, 0, 0, NULL, 0);
        op->reserve->kind = SVMD__V1__RESERVATION_KIND__PRIVATE;
        private = *must(&who[0], op);
        for (unsigned i = 0; i < 3; i++) {
                must(&who[0], in_range(mk_grant(KFD0, buffers[i], 0), &explicit));
                must_not(&who[0], in_range(mk_grant(KFD0, buffers[i], 0), &private), SVMD_STATUS_INVALID, "explicit");
                must_not(&who[0], mk_grant(KFD0, buffers[i], 0), SVMD_STATUS_RANGE, "name it");
                must(&who[0], mk_grant(CUDA0, buffers[i], 0));
        }
        for (unsigned i = 0; i < 2; i++) {
                must(&who[0], in_range(mk_grant(KFD0, moves[i], 0), &private));
                must_not(&who[0], in_range(mk_grant(KFD0, moves[i], 0), &explicit), SVMD_STATUS_INVALID, "private");
                must_not(&who[0], mk_grant(KFD0, moves[i], 0), SVMD_STATUS_RANGE, "name it");
        }
        must_not(&who[0], in_range(mk_grant(KFD0, GRANT_ALLOC | GRANT_ADVISE, 0), &private), SVMD_STATUS_INVALID, "");
        must(&who[0], mk_grant(KFD0, GRANT_MODE, 0));
        must_not(&who[0], mk_grant(KFD0, GRANT_ACCESS, 0), SVMD_STATUS_NODE_KIND, "not among them");
        must_not(&who[0], mk_grant(DRM0, GRANT_ADVISE, 0), SVMD_STATUS_NODE_KIND, "svmd executes");
        must_not(&who[0], mk_grant(DRM0, GRANT_MODE, 0), SVMD_STATUS_NODE_KIND, "not among them");
        must(&who[0], mk_grant(DRM0, GRANT_SPACE, MIB));
        ops_reset();
}

static const Svmd__V1__GrantCount *counted(Svmd__V1__GrantState state) {
        const Svmd__V1__MetricsResult *m = must(&admin, op_make(SVMD__V1__OP__OP_METRICS))->metrics;

        assert_int_equal(m->n_grants, 4);
        assert_int_equal(m->grants[state - 1]->state, state);
        return m->grants[state - 1];
}

/* "": there is none. */
static const char *finding(unsigned *ret_level) {
        const Svmd__V1__StatusResult *r = must(&admin, op_make(SVMD__V1__OP__OP_STATUS))->status;

        for (size_t i = 0; i < r->n_findings; i++) {
                *ret_level = r->findings[i]->level;
                if (strcmp(r->findings[i]->id, "grants") == 0)
                        return r->findings[i]->text;
        }
        return "";
}

/* What people see: of each session the last four that failed, the sums, and a warning while some expired. */
static void test_seen(void **state) {
        Svmd__V1__Result g[6];
        unsigned level;

        assert_string_equal(finding(&level), "");
        for (unsigned i = 0; i < 6; i++) {
                g[i] = *must(&who[0], mk_grant(CUDA0, ALLOC, MIB));
                must(&who[0], mk_grant_done(g[i].id, g[i].generation, EIO + i, 0));
        }
        assert_null(row_of(g[1].id));
        assert_int_equal(row_of(g[2].id)->error, EIO + 2);
        assert_int_equal(row_of(g[5].id)->error, EIO + 5);
        assert_int_equal(counted(SVMD__V1__GRANT_STATE__GRANT_FAILED)->count, 6);

        g[0] = *must(&who[0], mk_grant(CUDA0, ALLOC, MIB));
        g[1] = *must(&who[1], mk_grant(CUDA0, ALLOC, 2 * MIB));
        must(&who[0], mk_grant_done(g[0].id, g[0].generation, 0, 0));
        assert_int_equal(counted(SVMD__V1__GRANT_STATE__GRANT_ASKED)->bytes, 2 * MIB);
        assert_int_equal(counted(SVMD__V1__GRANT_STATE__GRANT_HELD)->count, 1);
        assert_non_null(strstr(finding(&level), "1 grants were acknowledged"));
        assert_int_equal(level, 0);
        now_ns += 20 * SECOND;
        assert_int_equal(counted(SVMD__V1__GRANT_STATE__GRANT_EXPIRED)->bytes, 2 * MIB);
        assert_non_null(strstr(finding(&level), "1 grants of 1 sessions were never acknowledged, and 2097152 bytes"));
        assert_int_equal(level, 2);
        must(&who[1], mk_grant_done(g[1].id, g[1].generation, ENODEV, 0));
        must(&who[0], mk_grant_done(g[0].id, g[0].generation, 0, MIB));
        assert_string_equal(finding(&level), "");
}

static void test_limits(void **state) {
        Svmd__V1__Op *op = mk_grant(CUDA0, ALLOC, MIB);
        Svmd__V1__Result g;

        must_not(&who[0], mk_grant(CUDA0, ALLOC, 65 * MIB), SVMD_STATUS_NO_ROOM, "cuda0 is full");
        must(&admin, mk_limit("one", CUDA0, 4 * MIB));
        g = *must(&who[0], mk_grant(CUDA0, ALLOC, 3 * MIB));
        must_not(&who[1], mk_grant(CUDA0, ALLOC, 2 * MIB), SVMD_STATUS_LIMIT, "one");
        must(&who[2], mk_grant(CUDA0, ALLOC, 2 * MIB));
        must(&who[0], mk_grant_done(g.id, g.generation, EIO, 0));
        must(&who[1], mk_grant(CUDA0, ALLOC, 4 * MIB));
        op->grant_ask->wait_ms = 3600001;
        must_not(&who[0], op, SVMD_STATUS_INVALID, "hour");
        must_not(&who[0], mk_grant(CUDA0, GRANT_MAP, MIB), SVMD_STATUS_SIZE, "take none");
        must_not(&who[0], mk_grant(CUDA0, ALLOC, 1), SVMD_STATUS_SIZE, "4 KiB");
        must_not(&who[0], mk_grant(CUDA0, GRANT_MODE, 0), SVMD_STATUS_NODE_KIND, "not among them");
        must_not(&who[0], mk_create(CUDA0, 2 * MIB, SVMD__V1__MEM_FLAG__MEM_SHAREABLE), SVMD_STATUS_NODE_KIND,
                 "under a grant");
        must_not(&who[0], mk_create(CUDA0, 2 * MIB, 0), SVMD_STATUS_NODE_KIND, "svmd_space_create");
        must(&admin, mk_limit("one", CUDA0, UINT64_MAX));
        for (unsigned i = 0; i < SVMD_GRANTS_MAX; i++)
                must(&who[0], mk_grant(CUDA0, GRANT_MAP, 0));
        must_not(&who[0], mk_grant(CUDA0, GRANT_MAP, 0), SVMD_STATUS_QUOTA, "the most");
        ops_reset();
}

static void test_stale(void **state) {
        Svmd__V1__Result g = *must(&who[0], mk_grant(CUDA0, ALLOC, MIB)), r;
        Svmd__V1__Op *op;

        must_not(&who[0], mk_grant_done(g.id, g.generation + 1, 0, 0), SVMD_STATUS_NO_SUCH, "another generation");
        must_not(&who[1], mk_grant_done(g.id, g.generation, 0, 0), SVMD_STATUS_FOREIGN, "another session");
        must_not(&who[2], mk_grant_done(g.id, g.generation, 0, 0), SVMD_STATUS_NO_SUCH, "not there");
        now_ns += 11 * SECOND;
        assert_int_equal(row_of(g.id)->state, SVMD__V1__GRANT_STATE__GRANT_EXPIRED);
        must_not(&who[0], mk_grant_done(g.id, g.generation, 0, 0), SVMD_STATUS_TIMEOUT, "expired");
        assert_int_equal(ledger_bytes(&w, CUDA0), MIB);
        must(&who[0], mk_grant_done(g.id, g.generation, ETIME, 0));
        assert_int_equal(ledger_bytes(&w, CUDA0), 0);

        r = *must(&who[0], mk_reserve(4 * MIB, 0, 0, "", 0));
        op = mk_grant(CUDA0, GRANT_MAP, 0);
        op->grant_ask->reservation = r.id;
        op->grant_ask->address = r.address;
        op->grant_ask->size = 8 * MIB;
        must_not(&who[0], op, SVMD_STATUS_RANGE, "do not lie");
        op->grant_ask->size = 4 * MIB;
        op->grant_ask->address = r.address - 4 * MIB;
        must_not(&who[0], op, SVMD_STATUS_RANGE, "do not lie");
        op->grant_ask->address = r.address - MIB;
        must_not(&who[0], op, SVMD_STATUS_RANGE, "do not lie");
        op->grant_ask->address = r.address + MIB;
        must_not(&who[0], op, SVMD_STATUS_RANGE, "do not lie");
        op->grant_ask->address = r.address + 8 * MIB;
        must_not(&who[0], op, SVMD_STATUS_RANGE, "do not lie");
        op->grant_ask->address = r.address;
        must_not(&who[1], op, SVMD_STATUS_FOREIGN, "another session");
        g = *must(&who[0], op);
        must(&who[0], mk_free(r.id));
        must_not(&who[0], mk_grant_done(g.id, g.generation, 0, 0), SVMD_STATUS_NO_SUCH, "addresses");
        must(&who[0], mk_grant_done(g.id, g.generation, EFAULT, 0));

        g = *must(&who[0], mk_grant(CUDA0, ALLOC, MIB));
        must(&admin, mk_node(CUDA0, SVMD__V1__NODE_ACTION__NODE_LOST));
        must_not(&who[0], mk_grant_done(g.id, g.generation, 0, 0), SVMD_STATUS_GONE, "lost");
        must_not(&who[0], mk_grant(CUDA0, ALLOC, MIB), SVMD_STATUS_NO_NODE, "has vanished");
        must(&who[0], mk_grant_done(g.id, g.generation, ENODEV, 0));
}

/* It rides on a request, whatever becomes of that, and is refused beside the results. */
static void test_ride(void **state) {
        Svmd__V1__GrantDone done[2], *list[] = { &done[0], &done[1] };
        Svmd__V1__Result g = *must(&who[0], mk_grant(CUDA0, ALLOC, 4 * MIB));
        Svmd__V1__Op *op = mk_free(12345);
        Svmd__V1__Reply *reply;

        for (unsigned i = 0; i < 2; i++) {
                svmd__v1__grant_done__init(&done[i]);
                done[i].grant = g.id;
                done[i].generation = g.generation;
        }
        client_rides(list, 2);
        reply = client_send(&who[0], SVMD__V1__MODE__ALL_OR_NOTHING, &op, 1, NULL, 0);
        assert_int_equal(reply->results[0]->code, SVMD_STATUS_NO_SUCH);
        assert_int_equal(reply->n_refused, 1);
        assert_int_equal(reply->refused[0]->grant, g.id);
        assert_int_equal(reply->refused[0]->code, SVMD_STATUS_TAKEN);
        assert_int_equal(row_of(g.id)->state, SVMD__V1__GRANT_STATE__GRANT_HELD);
        world_bury(restart());
        assert_int_equal(row_of(g.id)->state, SVMD__V1__GRANT_STATE__GRANT_HELD);

        done[0].gone = 4 * MIB; /* what is given back is there for the operation beside it */
        client_rides(list, 1);
        op = mk_grant(CUDA0, ALLOC, 64 * MIB);
        reply = client_send(&who[0], SVMD__V1__MODE__BEST_EFFORT, &op, 1, NULL, 0);
        assert_int_equal(reply->n_refused, 0);
        assert_int_equal(reply->results[0]->code, 0);
        assert_int_equal(ledger_bytes(&w, CUDA0), 64 * MIB);
}

/* Killed between the grant and what its client says of it. */
static void test_restart(void **state) {
        Svmd__V1__Result asked = *must(&who[0], mk_grant(CUDA0, ALLOC, 4 * MIB));
        Svmd__V1__Result held = *must(&who[0], mk_grant(CUDA0, ALLOC, 8 * MIB));

        must(&who[0], mk_grant_done(held.id, held.generation, 0, MIB));
        world_bury(restart());
        assert_int_equal(ledger_bytes(&w, CUDA0), 11 * MIB);
        must(&who[0], mk_grant_done(asked.id, asked.generation, 0, 0));
        world_bury(restart());
        assert_int_equal(journal_snapshot(w.svc), 0);
        world_bury(restart());
        assert_int_equal(ledger_bytes(&w, CUDA0), 11 * MIB);
        now_ns += 60 * SECOND;
        must(&who[0], mk_grant_done(asked.id, asked.generation, 0, 4 * MIB));
        must(&who[0], mk_grant_done(held.id, held.generation, 0, 7 * MIB));
        world_bury(restart());
        assert_int_equal(ledger_bytes(&w, CUDA0), 0);
}

static Svmd__V1__Op *mk_take_over(const Svmd__V1__Result *g, uint64_t size) {
        Svmd__V1__Op *op = mk_dmabuf_import(size, CUDA0 + 1);

        op->dmabuf_import->grant = g->id;
        op->dmabuf_import->generation = g->generation;
        return op;
}

static Svmd__V1__Result *hand_over(struct client *c, Svmd__V1__Op *op) {
        int fd = memfd_create("exported", MFD_CLOEXEC);

        assert_true(fd >= 0);
        return client_send(c, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1)->results[0];
}

/* What a device's library exported becomes memory, and the grant's bytes pay for it. */
static void test_memory(void **state) {
        Svmd__V1__Result g = *must(&who[0], mk_grant(CUDA0, ALLOC, 8 * MIB)), *r;
        Svmd__V1__Op *op = mk_take_over(&g, 4 * MIB);
        uint64_t memory, space, other;

        assert_int_equal(hand_over(&who[0], mk_take_over(&g, 10 * MIB))->code, SVMD_STATUS_SIZE);
        assert_int_equal(hand_over(&who[0], mk_take_over(&g, MIB))->code, SVMD_STATUS_SIZE);
        assert_int_equal(hand_over(&who[1], op)->code, SVMD_STATUS_FOREIGN);
        op->dmabuf_import->generation++;
        assert_int_equal(hand_over(&who[0], op)->code, SVMD_STATUS_NO_SUCH);
        op->dmabuf_import->generation--;
        op->dmabuf_import->node = KFD0 + 1;
        assert_int_equal(hand_over(&who[0], op)->code, SVMD_STATUS_NO_SUCH);
        op->dmabuf_import->node = 0;
        assert_int_equal(hand_over(&who[0], op)->code, SVMD_STATUS_NO_NODE);
        op = mk_take_over(&g, 4 * MIB);
        for (unsigned long n = 1;; n++) { /* the grant goes on paying until it is memory */
                alloc_fail_at(n);
                r = hand_over(&who[0], op);
                alloc_fail_off();
                if (r->code == 0)
                        break;
                assert_int_equal(r->code, SVMD_STATUS_NO_MEMORY);
                assert_int_equal(row_of(g.id)->bytes, 8 * MIB);
                check_world(&w);
        }
        memory = r->id;
        assert_int_equal(ledger_bytes(&w, CUDA0), 8 * MIB);
        assert_int_equal(row_of(g.id)->bytes, 4 * MIB);
        space = must(&who[0], mk_space(CUDA0))->id;
        other = must(&who[0], mk_space(GPU0))->id;
        must(&who[0], mk_map(space, 1ull << 40, 4 * MIB, memory, 0, 3, 0));
        must_not(&who[0], mk_map(other, 1ull << 40, 4 * MIB, memory, 0, 3, 0), SVMD_STATUS_NODE_KIND, "only cuda0");
        must_not(&who[0], mk_submit(space, 1, 1ull << 40, 0, MIB, 0, false), SVMD_STATUS_NODE_KIND, "themselves");
        must(&who[0], mk_grant_done(g.id, g.generation, 0, 4 * MIB));
        world_bury(restart());
        assert_int_equal(journal_snapshot(w.svc), 0);
        world_bury(restart());
        assert_int_equal(ledger_bytes(&w, CUDA0), 4 * MIB);
        assert_int_equal(must(&who[0], mk_mem_dmabuf(memory))->size, 4 * MIB);
        must(&who[0], mk_destroy(space));
        must(&who[0], mk_release(memory));
        world_settle(&w);
        assert_int_equal(ledger_bytes(&w, CUDA0), 0);
}

enum { GRANULES = 16 };

/* What a process makes for itself alone is memory like other memory, and charged by its own number: a vector of it is
 * one request. */
static void test_made(void **state) {
        Svmd__V1__Op *ops[GRANULES];
        const Svmd__V1__Reply *reply;
        uint64_t ids[GRANULES], space, other;
        Svmd__V1__Result *r;

        must_not(&who[0], mk_create(CUDA0, 2 * MIB, 0), SVMD_STATUS_NODE_KIND, "svmd_space_create");
        space = must(&who[0], mk_space(CUDA0))->id;
        other = must(&who[0], mk_space(GPU0))->id;
        must_not(&who[0], mk_create(CUDA0, MIB, 0), SVMD_STATUS_SIZE, "2097152");
        must(&admin, mk_limit("one", CUDA0, (GRANULES - 1) * 2 * MIB));
        for (unsigned i = 0; i < GRANULES; i++)
                ops[i] = mk_create(CUDA0, 2 * MIB, 0);
        reply = client_send(&who[0], SVMD__V1__MODE__ALL_OR_NOTHING, ops, GRANULES, NULL, 0);
        assert_int_equal(reply->results[GRANULES - 1]->code, SVMD_STATUS_LIMIT);
        assert_int_equal(ledger_bytes(&w, CUDA0), 0);
        must(&admin, mk_limit("one", CUDA0, UINT64_MAX));
        for (unsigned long n = 1;; n++) {
                alloc_fail_at(n);
                r = client_call(&who[0], mk_create(CUDA0, 2 * MIB, 0));
                alloc_fail_off();
                if (r->code == 0)
                        break;
                assert_int_equal(r->code, SVMD_STATUS_NO_MEMORY);
                assert_int_equal(ledger_bytes(&w, CUDA0), 0);
                check_world(&w);
        }
        must(&who[0], mk_release(r->id));
        for (unsigned i = 0; i < GRANULES; i++)
                ops[i] = mk_create(CUDA0, 2 * MIB, 0);
        reply = client_send(&who[0], SVMD__V1__MODE__ALL_OR_NOTHING, ops, GRANULES, NULL, 0);
        for (unsigned i = 0; i < GRANULES; i++) {
                assert_int_equal(reply->results[i]->code, 0);
                ids[i] = reply->results[i]->id;
        }
        assert_int_equal(ledger_bytes(&w, CUDA0), GRANULES * 2 * MIB);
        must(&who[0], mk_map(space, 1ull << 40, 2 * MIB, ids[0], 0, 3, 0));
        must_not(&who[0], mk_map(other, 1ull << 40, 2 * MIB, ids[0], 0, 3, 0), SVMD_STATUS_NODE_KIND, "only cuda0");
        must_not(&who[0], mk_mem_dmabuf(ids[0]), SVMD_STATUS_UNSUPPORTED, "no dma-buf");
        must_not(&who[0], mk_export(ids[0], "mine", 0600, 0), SVMD_STATUS_DENIED, "shareable");
        world_bury(restart());
        assert_int_equal(journal_snapshot(w.svc), 0);
        world_bury(restart());
        assert_int_equal(ledger_bytes(&w, CUDA0), GRANULES * 2 * MIB);
        for (unsigned i = 0; i < GRANULES / 2; i++)
                must(&who[0], mk_release(ids[2 * i + 1]));
        assert_int_equal(ledger_bytes(&w, CUDA0), GRANULES * MIB);
}

static void test_alloc_fail(void **state) {
        Svmd__V1__GrantDone done, *list[] = { &done };
        Svmd__V1__Op *ask = mk_grant(CUDA0, ALLOC, MIB);
        Svmd__V1__Result *r;
        unsigned failures = 0;

        for (unsigned long n = 1;; n++) {
                alloc_fail_at(n);
                r = client_call(&who[0], ask);
                alloc_fail_off();
                if (r->code == 0)
                        break;
                failures++;
                assert_int_equal(r->code, SVMD_STATUS_NO_MEMORY);
                assert_int_equal(ledger_bytes(&w, CUDA0), 0);
                check_world(&w);
        }
        assert_true(failures >= 2);
        svmd__v1__grant_done__init(&done);
        done.grant = r->id;
        done.generation = r->generation;
        client_rides(list, 1);
        must(&who[0], mk_grant_list(""));
        assert_int_equal(row_of(done.grant)->state, SVMD__V1__GRANT_STATE__GRANT_HELD);
}

/* ---- at random ---- */

enum { GRANTS = 32, STEPS = 4000 };

static struct {
        uint64_t id, generation, bytes, until;
        unsigned client;
        bool held;
} grant[GRANTS];

static uint64_t rng;

static uint64_t any(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return rng % below;
}

static uint64_t used(void) {
        uint64_t sum = 0;

        for (unsigned i = 0; i < GRANTS; i++)
                sum += grant[i].id ? grant[i].bytes : 0;
        return sum;
}

static void ask(unsigned i) {
        uint64_t bytes = any(16) * MIB, wait = 1 + any(20);
        unsigned client = any(CLIENTS);
        Svmd__V1__Op *op = mk_grant(CUDA0, ALLOC, bytes);
        Svmd__V1__Result *r;

        op->grant_ask->wait_ms = wait * 1000;
        r = client_call(&who[client], op);
        assert_int_equal(r->code, used() + bytes > 64 * MIB ? SVMD_STATUS_NO_ROOM : 0);
        if (r->code)
                return;
        grant[i].id = r->id;
        grant[i].generation = r->generation;
        grant[i].bytes = bytes;
        grant[i].until = now_ns + wait * SECOND;
        grant[i].client = client;
        grant[i].held = false;
}

static void say(unsigned i) {
        uint64_t gone = any(3) ? 0 : any(17) * MIB;
        bool wrong = any(8) == 0, expired = !grant[i].held && now_ns >= grant[i].until, ride = any(2);
        uint32_t error = gone || any(3) ? 0 : EIO;
        Svmd__V1__GrantDone *done[1];
        Svmd__V1__Op *op = mk_grant_done(grant[i].id, grant[i].generation + wrong, error, gone), *other;
        unsigned code, expected = wrong                        ? SVMD_STATUS_NO_SUCH
                                  : error                      ? grant[i].held ? SVMD_STATUS_TAKEN : 0
                                  : expired                    ? SVMD_STATUS_TIMEOUT
                                  : grant[i].held && gone == 0 ? SVMD_STATUS_TAKEN
                                  : gone > grant[i].bytes      ? SVMD_STATUS_SIZE
                                                               : 0;

        if (ride) {
                Svmd__V1__Reply *reply;

                done[0] = op->grant_done;
                other = mk_grant_list("");
                client_rides(done, 1);
                reply = client_send(&who[grant[i].client], SVMD__V1__MODE__BEST_EFFORT, &other, 1, NULL, 0);
                code = reply->n_refused ? reply->refused[0]->code : 0;
        } else {
                code = client_call(&who[grant[i].client], op)->code;
        }
        if (code != expected)
                fail_msg("grant %" PRIu64 ": %u, not %u", grant[i].id, code, expected);
        if (code)
                return;
        grant[i].bytes -= gone;
        grant[i].held = true;
        if (error || grant[i].bytes == 0)
                grant[i].id = 0;
}

static void test_random(void **state) {
        const char *seed = getenv("SEED");
        unsigned restarts = 0;

        rng = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) | 1;
        printf("SEED=%" PRIu64 "\n", rng);
        for (unsigned n = 0; n < STEPS; n++) {
                unsigned i = any(GRANTS);

                if (grant[i].id == 0)
                        ask(i);
                else
                        say(i);
                now_ns += any(4) * SECOND / 2;
                if (any(200) == 0) {
                        restarts++;
                        world_bury(restart());
                }
                if (any(400) == 0)
                        assert_int_equal(journal_snapshot(w.svc), 0);
                assert_int_equal(ledger_bytes(&w, CUDA0), used());
                check_world(&w);
                ops_reset();
        }
        printf("%u restarts\n", restarts);
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
                TEST(test_life), TEST(test_arenas),     TEST(test_limits),  TEST(test_stale),
                TEST(test_ride), TEST(test_seen),       TEST(test_restart), TEST(test_memory),
                TEST(test_made), TEST(test_alloc_fail), TEST(test_random),
#undef TEST
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
