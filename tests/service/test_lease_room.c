/*
 * Memory that gives way for who waits in the line of leases: whose turn it is, and only where all of it can be. Then a
 * random market of memory, operations and leases, which must come to an end with everybody granted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/partition.h"
#include "core/session.h"
#include "expect.h"
#include "harness.h"

#define KIB    1024ull
#define WHOLE  (1024 * KIB) /* all of GPU2 */
#define PINNED SVMD__V1__MEM_FLAG__MEM_PINNED
#define AT     (1ull << 30)

enum { CLIENTS = 4, THINGS = 6, STEPS = 1500 };

static const uint64_t sizes[] = { 64 * 1024 * KIB, WHOLE, WHOLE, WHOLE };
static struct world w;
static struct client admin, who[CLIENTS]; /* 0 and 1 in one partition */

static void come(unsigned i) {
        client_open(&w, &who[i], 100 + i, 100, false);
        client_greet(&who[i], i < 2 ? "one" : "two");
        who[i].deaf = true;
}

static int set_up(void **state) {
        ops_reset();
        world_open_sized(&w, 0, sizes);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 4ull << 30, "", 100, 0666));
        must(&admin, mk_partition("two", 4ull << 30, "", 100, 0666));
        for (unsigned i = 0; i < CLIENTS; i++)
                come(i);
        return 0;
}

static int tear_down(void **state) {
        for (unsigned i = 0; i < CLIENTS; i++)
                client_close(&who[i]);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        for (unsigned i = 0; i < NODES; i++) {
                assert_int_equal(ledger_bytes(&w, i), 0);
                assert_int_equal(file_bytes(&w, i), 0);
        }
        assert_int_equal(w.svc->spill.away, 0);
        world_close(&w);
        return 0;
}

static bool is_away(uint64_t id) {
        struct object *o = ids_find(&w.svc->state.ids, id);

        assert_non_null(o);
        return container_of(o, struct memory, object)->away;
}

static bool asked(struct client *c, Svmd__V1__Op *query) {
        Svmd__V1__FenceResult *f = must(c, query)->fence;

        assert_int_equal(f->code, 0);
        return f->done;
}

static Svmd__V1__Op *mk_query(uint64_t lease) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);

        op->fence_query->fence = lease;
        return op;
}

static bool has(struct client *c, uint64_t lease) {
        return asked(c, mk_query(lease));
}

static void await_granted(struct client *c, uint64_t lease) {
        Svmd__V1__Op *query = mk_query(lease);
        time_t end = time(NULL) + 30;

        while (!asked(c, query)) {
                assert_true(time(NULL) < end);
                usleep(1000);
                world_settle(&w);
        }
        check_world(&w);
}

static uint64_t make(struct client *c, uint32_t node, uint64_t size, uint32_t flags) {
        return must(c, mk_create(node, size, flags))->id;
}

/* A space that shows it, filled; -> the space */
static uint64_t show_and_fill(struct client *c, uint32_t node, uint64_t memory, uint64_t size) {
        uint64_t space = must(c, mk_space(node))->id;

        must(c, mk_map(space, AT, size, memory, 0, 3, 0));
        must(c, mk_submit(space, DEVICE_FILL, AT, 0, size, 7, false));
        return space;
}

/* ---- directed ---- */

static void test_memory_gives_way(void **state) {
        uint64_t memory = make(&who[0], GPU2, WHOLE, 0), lease, space;

        space = show_and_fill(&who[0], GPU2, memory, WHOLE);
        lease = must(&who[2], mk_admit(GPU2, 768 * KIB, UINT64_MAX))->id;
        await_granted(&who[2], lease);
        assert_true(is_away(memory));
        assert_int_equal(ledger_bytes(&w, GPU2), 768 * KIB);
        must(&who[2], mk_create_leased(GPU2, 768 * KIB, lease));
        must(&who[2], mk_lease_release(lease));
        client_close(&who[2]);
        world_settle(&w);
        come(2);
        must(&who[0], mk_submit(space, DEVICE_FILL, AT, 0, WHOLE, 9, false));
        world_settle(&w);
        assert_false(is_away(memory));
}

/* Where another node has no room for it nothing is moved; and when it has, all of it is there at once. */
static void test_all_or_nothing(void **state) {
        uint64_t idle = make(&who[0], GPU2, WHOLE, 0), other = make(&who[0], GPU1, WHOLE, 0);
        uint64_t pinned = make(&who[0], GPU0, WHOLE, PINNED), lease;
        Svmd__V1__Op *op = mk_admit_two(GPU2, WHOLE, GPU0, WHOLE / 2, UINT64_MAX);

        lease = must(&who[2], op)->id;
        world_settle(&w);
        assert_false(has(&who[2], lease));
        assert_false(is_away(idle));
        must(&who[0], mk_release(pinned));
        await_granted(&who[2], lease);
        assert_true(is_away(idle));
        assert_false(is_away(other));
        assert_int_equal(ledger_bytes(&w, GPU2), WHOLE);
        assert_int_equal(ledger_bytes(&w, GPU0), WHOLE / 2);
        lease = must(&who[3], mk_admit_two(GPU1, WHOLE, GPU0, WHOLE / 2, UINT64_MAX))->id;
        await_granted(&who[3], lease);
        assert_true(is_away(other));
}

static void test_pinned_stays_and_limits_are_among_their_own(void **state) {
        uint64_t pinned = make(&who[0], GPU2, WHOLE / 2, PINNED), foreign = make(&who[2], GPU2, WHOLE / 4, 0);
        uint64_t mine = make(&who[0], GPU2, WHOLE / 4, 0), lease;

        must(&admin, mk_limit("one", GPU2, 3 * WHOLE / 4));
        lease = must(&who[1], mk_admit(GPU2, WHOLE / 2, UINT64_MAX))->id;
        world_settle(&w);
        assert_false(has(&who[1], lease));
        assert_false(is_away(mine));
        must(&who[1], mk_lease_release(lease));
        lease = must(&who[1], mk_admit(GPU2, WHOLE / 4, UINT64_MAX))->id;
        await_granted(&who[1], lease);
        assert_true(is_away(mine));
        assert_false(is_away(foreign));
        assert_false(is_away(pinned));
}

/* Who was promised bytes there keeps them, though nobody uses them now. */
static void test_promised_stays(void **state) {
        struct account *one = partition_find(&w.svc->state, "one")->accounts;
        uint64_t memory = make(&who[0], GPU2, WHOLE, 0), lease;

        assert_int_equal(account_set_min(&one[GPU2], WHOLE / 2), 0);
        lease = must(&who[2], mk_admit(GPU2, WHOLE / 4, UINT64_MAX))->id;
        world_settle(&w);
        assert_false(has(&who[2], lease));
        assert_false(is_away(memory));
        assert_int_equal(account_set_min(&one[GPU2], 0), 0);
        w.svc->leases.looked_ns = w.svc->leases.failed_ns = 0;
        leases_changed(w.svc);
        await_granted(&who[2], lease);
}

/* The second in line does not make what the first one has to have leave. */
static void test_turns(void **state) {
        uint64_t pinned = make(&who[0], GPU2, WHOLE / 2, PINNED), idle = make(&who[0], GPU2, WHOLE / 2, 0), first,
                 second;

        first = must(&who[2], mk_admit(GPU2, 3 * WHOLE / 4, UINT64_MAX))->id;
        second = must(&who[3], mk_admit(GPU2, WHOLE / 4, UINT64_MAX))->id;
        world_settle(&w);
        assert_false(is_away(idle));
        must(&who[2], mk_lease_release(first));
        await_granted(&who[3], second);
        assert_true(is_away(idle));
        must(&who[0], mk_release(pinned));
        world_settle(&w);
}

/* Ended while memory leaves for it; and its time is over before it has left. */
static void test_called_off_while_it_leaves(void **state) {
        uint64_t memory = make(&who[0], GPU2, WHOLE, 0), lease;

        lease = must(&who[2], mk_admit(GPU2, WHOLE, UINT64_MAX))->id;
        service_collect(w.svc);
        must(&who[2], mk_lease_release(lease));
        must(&who[3], mk_admit(GPU2, WHOLE, UINT64_MAX));
        w.svc->leases.looked_ns = 0;
        service_collect(w.svc);
        client_close(&who[3]);
        world_settle(&w);
        check_world(&w);
        assert_true(list_empty(&w.svc->leases.room.link));
        come(3);
        must(&who[0], mk_release(memory));
        must(&who[2], mk_create(GPU2, WHOLE, 0));
}

/* No host node takes it. */
static void test_no_place_to_go(void **state) {
        uint64_t memory = make(&who[0], GPU2, WHOLE, 0), lease;

        must(&admin, mk_limit("one", HOST0, 4 * KIB));
        lease = must(&who[2], mk_admit(GPU2, WHOLE / 2, UINT64_MAX))->id;
        world_settle(&w);
        assert_false(has(&who[2], lease));
        assert_false(is_away(memory));
        must(&admin, mk_limit("one", HOST0, UINT64_MAX));
        w.svc->leases.failed_ns = w.svc->leases.looked_ns = 0;
        await_granted(&who[2], lease);
}

/* Created memory and a lease want the same room: one after the other. */
static void test_beside_creation(void **state) {
        uint64_t idle = make(&who[0], GPU2, WHOLE, 0), lease;
        Svmd__V1__Op *create = mk_create(GPU2, WHOLE / 2, 0);

        lease = must(&who[2], mk_admit(GPU2, WHOLE / 2, UINT64_MAX))->id;
        assert_int_equal(client_post(&who[3], SVMD__V1__MODE__BEST_EFFORT, &create, 1), SERVICE_E_LATER);
        client_await(&who[3]);
        assert_int_equal(who[3].reply->results[0]->code, 0);
        await_granted(&who[2], lease);
        assert_true(is_away(idle));
        assert_int_equal(ledger_bytes(&w, GPU2), WHOLE);
}

/* ---- random ---- */

static uint64_t rng;

static unsigned pick(unsigned below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (unsigned)((rng >> 11) % below);
}

static struct thing {
        uint64_t memory, space, size;
        unsigned owner;
} things[THINGS];
static uint64_t leases[CLIENTS];
static unsigned long made, granted, away_most;

static void step_make(struct thing *t) {
        unsigned s = pick(CLIENTS), node = GPU0 + pick(3);
        uint64_t size = (1 + pick(8)) * 64 * KIB;
        Svmd__V1__Result *r = client_call(&who[s], mk_create(node, size, pick(6) ? 0 : PINNED));

        assert_true(r->code == 0 || r->code == SVMD_STATUS_NO_ROOM);
        if (r->code)
                return;
        *t = (struct thing){ .memory = r->id, .size = size, .owner = s };
        t->space = show_and_fill(&who[s], node, t->memory, size);
        made++;
}

static void step_drop(struct thing *t) {
        must(&who[t->owner], mk_destroy(t->space));
        must(&who[t->owner], mk_release(t->memory));
        t->memory = 0;
}

static void step_admit(unsigned s) {
        leases[s] = must(&who[s], mk_admit_two(GPU0 + pick(2), (1 + pick(12)) * 64 * KIB, GPU2,
                                               (1 + pick(12)) * 64 * KIB, UINT64_MAX))
                            ->id;
}

static void step_use(unsigned s) {
        if (has(&who[s], leases[s])) {
                granted++;
                if (pick(2))
                        client_call(&who[s], mk_create_leased(GPU2, 64 * KIB, leases[s]));
        } else if (pick(8)) {
                return;
        }
        must(&who[s], mk_lease_release(leases[s]));
        leases[s] = 0;
}

static void step_leave(unsigned s) {
        client_close(&who[s]);
        world_settle(&w);
        come(s);
        leases[s] = 0;
        for (unsigned i = 0; i < THINGS; i++)
                if (things[i].owner == s)
                        things[i].memory = 0;
}

static void step(void) {
        struct thing *t = &things[pick(THINGS)];
        unsigned s = pick(CLIENTS);

        ops_reset();
        if (pick(40) == 0) {
                step_leave(s);
        } else if (pick(2)) {
                if (leases[s])
                        step_use(s);
                else
                        step_admit(s);
        } else if (!t->memory) {
                step_make(t);
        } else if (pick(3)) {
                must(&who[t->owner], mk_submit(t->space, DEVICE_FILL, AT, 0, t->size, 1, false));
        } else {
                step_drop(t);
        }
}

/* A session that has a lease, or CLIENTS; `ret_waits` says whether another waits for one. */
static unsigned first_granted(bool *ret_waits) {
        *ret_waits = false;
        for (unsigned s = 0; s < CLIENTS; s++) {
                if (leases[s] && has(&who[s], leases[s]))
                        return s;
                *ret_waits |= leases[s] != 0;
        }
        return CLIENTS;
}

/* What is in nobody's hands any more is everybody's: all who wait are granted, one after the other, when what lies idle
 * has left for them. */
static void all_are_granted(void) {
        time_t end = time(NULL) + 30;
        bool waits;

        for (unsigned i = 0; i < THINGS; i++)
                if (things[i].memory)
                        step_drop(&things[i]);
        for (;;) {
                unsigned first = first_granted(&waits);

                if (first < CLIENTS) {
                        step_leave(first);
                        continue;
                }
                if (!waits)
                        return;
                assert_true(time(NULL) < end);
                usleep(1000);
                world_settle(&w);
        }
}

static void test_random(void **state) {
        const char *s = getenv("SVMD_SEED");
        uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);

        printf("seed: SVMD_SEED=%llu\n", (unsigned long long)seed);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        for (unsigned n = 0; n < STEPS; n++) {
                step();
                if (pick(3) == 0)
                        world_settle(&w);
                else if (pick(2) == 0)
                        service_collect(w.svc);
                for (unsigned i = GPU0; i < NODES; i++)
                        assert_true(ledger_bytes(&w, i) <= sizes[i]);
                away_most = w.svc->spill.away > away_most ? w.svc->spill.away : away_most;
                if (n % 32 == 0) {
                        world_settle(&w);
                        check_world(&w);
                }
        }
        world_settle(&w);
        all_are_granted();
        printf("%lu objects, %lu leases granted, at most %lu objects away\n", made, granted, away_most);
        assert_true(made > STEPS / 30 && granted > STEPS / 30 && away_most > 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(test_memory_gives_way),
                TEST(test_all_or_nothing),
                TEST(test_pinned_stays_and_limits_are_among_their_own),
                TEST(test_promised_stays),
                TEST(test_turns),
                TEST(test_called_off_while_it_leaves),
                TEST(test_no_place_to_go),
                TEST(test_beside_creation),
                TEST(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
