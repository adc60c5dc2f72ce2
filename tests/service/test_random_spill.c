/*
 * Random work on more memory than its node has, against a model that holds the bytes: objects come and go, are mapped
 * in several spaces of several sessions, filled, copied and summed by devices, and spilled whenever others need the
 * room; every so often svmd "is killed". Whatever is done, a page holds what was written to it last.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "core/memory.h"
#include "core/session.h"
#include "harness.h"

enum { SESSIONS = 4, THINGS = 24, SPACES = 6, SIZE_MAX_PAGES = 64, NODE_PAGES = 256 };
#define P(n) ((uint64_t)(n)*SVMD_PAGE)
/* Each object has addresses of its own, in every space. */
#define AT(i) ((1ull << 30) + P((uint64_t)(i)*SIZE_MAX_PAGES))

static struct thing {
        uint64_t id; /* 0: none */
        int owner;
        unsigned pages;
        bool pinned;
        uint8_t value[SIZE_MAX_PAGES];
} thing[THINGS];

static struct {
        uint64_t id;
        int owner;
        bool shows[THINGS];
} space[SPACES];

static struct world w;
static struct client client[SESSIONS], admin;
static const char *const partitions[SESSIONS] = { "one", "one", "two", "two" };
static unsigned long done, full, restarts, spilled, failed;
static uint64_t rng;

static uint64_t any(uint64_t below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % below;
}

static Svmd__V1__Result *call(struct client *c, Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(c, op);

        if (r->code)
                fail_msg("operation %d: %u %s", (int)op->op_case, r->code, r->text);
        return r;
}

static void come(int s) {
        client_open(&w, &client[s], 100, 100, false);
        client_greet(&client[s], partitions[s]);
        client[s].deaf = true;
        for (int i = 0; i < 2 && s * 2 + i < SPACES; i++) {
                space[s * 2 + i].id = call(&client[s], mk_space(GPU2))->id;
                space[s * 2 + i].owner = s;
        }
}

static void leave(int s) {
        client_close(&client[s]);
        for (int i = 0; i < THINGS; i++)
                if (thing[i].id && thing[i].owner == s)
                        thing[i] = (struct thing){ 0 };
        for (int i = 0; i < SPACES; i++)
                if (space[i].owner == s)
                        memset(space[i].shows, 0, sizeof(space[i].shows));
        come(s);
}

/* What could not give way: pinned, or a moment ago still in use by somebody's operation. Nothing is in use here. */
static unsigned pinned_pages(void) {
        unsigned sum = 0;

        for (int i = 0; i < THINGS; i++)
                sum += thing[i].id && thing[i].pinned ? thing[i].pages : 0;
        return sum;
}

static void create(int s, int i, bool may_fail) {
        unsigned pages = 1 + (unsigned)any(SIZE_MAX_PAGES);
        bool pinned = any(8) == 0 && pinned_pages() + pages < NODE_PAGES / 4;
        Svmd__V1__Op *op = mk_create(GPU2, P(pages), pinned ? SVMD__V1__MEM_FLAG__MEM_PINNED : 0);
        Svmd__V1__Reply *reply;
        Svmd__V1__Result *r;

        if (may_fail)
                alloc_fail_at(1 + any(20));
        reply = client_send(&client[s], SVMD__V1__MODE__BEST_EFFORT, &op, 1, NULL, 0);
        alloc_fail_off();
        if (!reply && may_fail) { /* not even read */
                leave(s);
                return;
        }
        assert_non_null(reply);
        r = reply->results[0];
        if (r->code && r->code != SVMD_STATUS_NO_ROOM && r->code != SVMD_STATUS_LIMIT)
                assert_true(may_fail && r->code == SVMD_STATUS_NO_MEMORY);
        if (r->code) {
                full++;
                if (!may_fail)
                        fail_msg("%u pages, %u pinned: %s", pages, pinned_pages(), r->text);
                return;
        }
        thing[i] = (struct thing){ .id = r->id, .owner = s, .pages = pages, .pinned = pinned };
}

static void destroy(int i) {
        for (int k = 0; k < SPACES; k++)
                if (space[k].shows[i]) {
                        call(&client[space[k].owner], mk_unmap(space[k].id, AT(i), P(thing[i].pages)));
                        space[k].shows[i] = false;
                }
        call(&client[thing[i].owner], mk_release(thing[i].id));
        thing[i] = (struct thing){ 0 };
}

/* Allocations fail while memory begins to come back. */
static void begin_without_memory(void) {
        alloc_fail_at(1 + any(12));
        for (unsigned i = 0; i < 4; i++) {
                service_collect(w.svc);
                service_commit(w.svc);
        }
        alloc_fail_off();
}

static Svmd__V1__FenceResult *run(int k, unsigned op, uint64_t dst, uint64_t src, uint64_t size, uint64_t value,
                                  bool may_fail) {
        Svmd__V1__Op *query = op_make(SVMD__V1__OP__OP_FENCE_QUERY);
        struct client *c = &client[space[k].owner];
        Svmd__V1__FenceResult *r;

        query->fence_query->fence = call(c, mk_submit(space[k].id, op, dst, src, size, value, false))->id;
        if (may_fail)
                begin_without_memory();
        while (r = call(c, query)->fence, !r->done)
                world_wait(&w);
        return r;
}

static uint64_t sum_of(const struct thing *t, unsigned first, unsigned pages) {
        uint64_t sum = 0;

        for (unsigned i = first; i < first + pages; i++)
                sum += SVMD_PAGE / 8 * (t->value[i] * 0x0101010101010101ull);
        return sum;
}

/* A device works on pages of one object, or copies to those of another. */
static void work(int k, int i, int other, bool may_fail) {
        unsigned first = (unsigned)any(thing[i].pages), pages = 1 + (unsigned)any(thing[i].pages - first);
        unsigned what = (unsigned)any(other < 0 ? 2 : 3), value = (unsigned)any(256);
        Svmd__V1__FenceResult *r;

        if (what == 2 && pages > thing[other].pages)
                pages = thing[other].pages;
        r = run(k,
                what == 0   ? DEVICE_FILL
                : what == 1 ? DEVICE_SUM
                            : DEVICE_COPY,
                what == 2 ? AT(other) : AT(i) + P(first), AT(i) + P(first), P(pages), value, may_fail);
        if (r->code && !may_fail)
                fail_msg("device operation: %u %s", r->code, r->text);
        if (r->code) {
                assert_true(r->code == SVMD_STATUS_NO_MEMORY || r->code == SVMD_STATUS_NO_ROOM);
                failed++;
                return;
        }
        if (what == 0)
                memset(thing[i].value + first, (int)value, pages);
        else if (what == 1)
                assert_int_equal(r->value, sum_of(&thing[i], first, pages));
        else
                memmove(thing[other].value, thing[i].value + first, pages);
}

/* Behind svmd's back: every byte, wherever it lies. */
static void check_bytes(void) {
        world_settle(&w);
        check_world(&w);
        for (unsigned node = 0; node < NODES; node++)
                assert_int_equal(file_bytes(&w, node), ledger_bytes(&w, node));
        for (int i = 0; i < THINGS; i++) {
                const struct memory *m;

                if (!thing[i].id)
                        continue;
                m = container_of(ids_find(&w.svc->state.ids, thing[i].id), struct memory, object);
                spilled += m->away;
                assert_true(!m->away || !m->pinned);
                assert_int_equal(m->pinned, thing[i].pinned);
                for (unsigned p = 0; p < thing[i].pages; p++) {
                        struct device_extent e = memory_piece(m, P(p), SVMD_PAGE);
                        uint8_t bytes[SVMD_PAGE];

                        assert_int_equal(memfile_read(e.slot, e.offset, bytes, sizeof(bytes)), 0);
                        for (unsigned n = 0; n < SVMD_PAGE; n++)
                                if (bytes[n] != thing[i].value[p])
                                        fail_msg("object %d, page %u, byte %u: %u, not %u", i, p, n, bytes[n],
                                                 thing[i].value[p]);
                }
        }
}

static void restart(void) {
        struct client *all[SESSIONS + 1];

        world_settle(&w);
        if (any(2))
                assert_int_equal(journal_snapshot(w.svc), 0);
        for (int s = 0; s < SESSIONS; s++)
                all[s] = &client[s];
        all[SESSIONS] = &admin;
        world_bury(world_restart_as_was(&w, all, SESSIONS + 1));
        restarts++;
}

static void step(bool may_fail) {
        int s = (int)any(SESSIONS), i = (int)any(THINGS), k = (int)any(SPACES), other = (int)any(THINGS);

        ops_reset();
        if (!thing[i].id) {
                create(s, i, may_fail);
                return;
        }
        if (any(12) == 0) {
                destroy(i);
                return;
        }
        if (space[k].owner != thing[i].owner)
                return;
        if (!space[k].shows[i]) {
                call(&client[space[k].owner], mk_map(space[k].id, AT(i), P(thing[i].pages), thing[i].id, 0, 3, 0));
                space[k].shows[i] = true;
        }
        work(k, i, thing[other].id && other != i && space[k].shows[other] ? other : -1, may_fail);
}

static void test_random_spill(void **state) {
        const char *text = getenv("SVMD_SEED"), *count = getenv("SVMD_OPS");
        uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
        unsigned long wanted = count ? strtoul(count, NULL, 0) : 4000;

        printf("seed: SVMD_SEED=%" PRIu64 "\n", seed);
        fflush(stdout);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        assert_int_equal(client_call(&admin, mk_partition("one", 4ull << 30, "", 100, 0666))->code, 0);
        assert_int_equal(client_call(&admin, mk_partition("two", 4ull << 30, "", 100, 0666))->code, 0);
        assert_int_equal(client_call(&admin, mk_limit("one", GPU2, P(NODE_PAGES / 4 * 3)))->code, 0);
        for (int s = 0; s < SESSIONS; s++)
                come(s);
        for (; done < wanted; done++) {
                bool may_fail = any(10) == 0;

                step(may_fail);
                if (any(300) == 0)
                        leave((int)any(SESSIONS));
                if (any(40) == 0)
                        check_bytes();
                if (any(300) == 0) {
                        restart();
                        check_bytes();
                }
        }
        printf("%lu steps, %lu without room, %lu failed, %lu restarts, %lu times away\n", done, full, failed, restarts,
               spilled);
        assert_true(spilled > 0);
        for (int s = 0; s < SESSIONS; s++)
                client_close(&client[s]);
        client_close(&admin);
        world_settle(&w);
        for (unsigned node = 0; node < NODES; node++) {
                assert_int_equal(ledger_bytes(&w, node), 0);
                assert_int_equal(file_bytes(&w, node), 0);
        }
        check_world(&w);
        world_close(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_spill) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
