/*
 * Room that is held for later: leases that are kept under a name, claimed by another session, and filled with what
 * memory had; over restarts from the log and from a snapshot. The clock is the test's. Then random steps against a
 * naive model, which knows only numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "expect.h"
#include "harness.h"

#define MIB    (1ull << 20)
#define SECOND 1000000000ull

enum { CLIENTS = 4, LEASES = 3, MEMORIES = 6, STEPS = 6000 };

static const uint64_t sizes[] = { 64 * MIB, 16 * MIB, 16 * MIB, 16 * MIB };
static struct world w;
static struct client admin, who[CLIENTS]; /* 0 and 2 are of one user, 1 and 3 of others; 3 is of another partition */
static uint64_t now_ns;

static uint64_t now(void) {
        return now_ns;
}

static void come(unsigned i) {
        client_open(&w, &who[i], i == 2 ? 100 : 100 + i, 100, false);
        client_greet(&who[i], i < 3 ? "one" : "two");
        who[i].deaf = true;
}

static void leave(unsigned i) {
        client_close(&who[i]);
        world_settle(&w);
        check_world(&w);
}

static int set_up(void **state) {
        ops_reset();
        now_ns = 1000 * SECOND;
        world_open_sized(&w, 0, sizes);
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 8ull << 30, "", 100, 0666));
        must(&admin, mk_partition("two", 8ull << 30, "", 100, 0666));
        must(&admin, mk_kept_max("one", 64 * MIB));
        for (unsigned i = 0; i < CLIENTS; i++)
                come(i);
        return 0;
}

static int tear_down(void **state) {
        Svmd__V1__Op *delete = mk_delete("one", true);

        for (unsigned i = 0; i < CLIENTS; i++)
                client_close(&who[i]);
        delete->partition_delete->drop_kept = true;
        must(&admin, delete);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        for (unsigned i = 0; i < NODES; i++)
                assert_int_equal(ledger_bytes(&w, i), 0);
        world_close(&w);
        return 0;
}

static void collect(void) {
        service_collect(w.svc);
        service_commit(w.svc);
}

static void restart(void) {
        struct client *all[CLIENTS + 1];

        for (unsigned i = 0; i < CLIENTS; i++)
                all[i] = &who[i];
        all[CLIENTS] = &admin;
        world_settle(&w);
        client_close(&admin);
        world_bury(world_restart_as_was(&w, all, CLIENTS + 1));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        world_settle(&w);
        check_world(&w);
}

static void restart_twice(void) {
        restart();
        assert_int_equal(journal_snapshot(w.svc), 0);
        restart();
}

static Svmd__V1__Result *send_two(struct client *c, Svmd__V1__Op *first, Svmd__V1__Op *second, Svmd__V1__Mode mode) {
        Svmd__V1__Op *ops[2] = { first, second };

        return client_send(c, mode, ops, 2, NULL, 0)->results[0];
}

/* ---- directed ---- */

/* A session ends, svmd dies, and another session of that user makes memory of what was left. */
static void test_kept_over_sessions_and_restarts(void **state) {
        uint64_t lease = must(&who[0], mk_admit_two(GPU0, 8 * MIB, GPU1, 4 * MIB, 0))->id;
        Svmd__V1__LeasesResult *rows;

        must(&who[0], mk_create_leased(GPU0, MIB, lease));
        must(&who[0], mk_lease_keep(lease, "server", 60));
        restart_twice();
        must_not(&who[2], mk_lease_claim("server"), SVMD_STATUS_BUSY, "until that ends");
        leave(0);
        assert_int_equal(ledger_bytes(&w, GPU0), 7 * MIB);
        assert_int_equal(ledger_bytes(&w, GPU1), 4 * MIB);
        must_not(&who[1], mk_create(GPU0, 10 * MIB, 0), SVMD_STATUS_NO_ROOM, "gpu0 is full");
        come(0);
        restart_twice();
        rows = must(&admin, mk_lease_list("one"))->leases;
        assert_int_equal(rows->n_leases, 1);
        assert_int_equal(rows->leases[0]->session, 0);
        assert_true(rows->leases[0]->kept);
        assert_string_equal(rows->leases[0]->name, "server");
        assert_int_equal(rows->leases[0]->left_ms, 60000);
        assert_int_equal(must(&admin, mk_kept_list("one"))->kept->n_kept, 1);

        must_not(&who[1], mk_lease_claim("server"), SVMD_STATUS_DENIED, "may not claim it");
        must_not(&who[3], mk_lease_claim("server"), SVMD_STATUS_NO_SUCH, "keeps no lease");
        assert_int_equal(must(&who[2], mk_lease_claim("server"))->id, lease);
        must_not(&who[2], mk_lease_claim("server"), SVMD_STATUS_TAKEN, "already");
        restart_twice();
        must(&who[2], mk_create_leased(GPU0, 7 * MIB, lease));
        must(&who[2], mk_create_leased(GPU1, 4 * MIB, lease));
        assert_int_equal(ledger_bytes(&w, GPU0), 7 * MIB);
        now_ns += 3600 * SECOND; /* while somebody has it no time runs */
        collect();
        must(&who[2], mk_lease_release(lease));
        assert_int_equal(must(&admin, mk_kept_list("one"))->kept->n_kept, 0);
        restart_twice();
}

static void test_time_and_removal(void **state) {
        uint64_t lease = must(&who[0], mk_admit(GPU0, 8 * MIB, 0))->id;

        must(&who[0], mk_lease_keep(lease, "a", 5));
        lease = must(&who[0], mk_admit(GPU1, 8 * MIB, 0))->id;
        must(&who[0], mk_lease_keep(lease, "b", 0));
        leave(0);
        come(0);
        now_ns += 5 * SECOND - 1;
        collect();
        assert_int_equal(ledger_bytes(&w, GPU0), 8 * MIB);
        restart_twice();
        now_ns++;
        collect();
        assert_int_equal(ledger_bytes(&w, GPU0), 0);
        must_not(&who[0], mk_lease_claim("a"), SVMD_STATUS_NO_SUCH, "keeps no lease named a");
        must_not(&who[1], mk_kept_remove("", SVMD__V1__KEPT_KIND__KEPT_LEASE, "b"), SVMD_STATUS_DENIED, "uid 100");
        must(&admin, mk_kept_remove("one", SVMD__V1__KEPT_KIND__KEPT_LEASE, "b"));
        assert_int_equal(ledger_bytes(&w, GPU1), 0);
        restart_twice();
}

/* What waits gets what a kept lease had, as soon as that ends. */
static void test_waiter_behind_it(void **state) {
        uint64_t lease = must(&who[0], mk_admit(GPU0, 16 * MIB, 0))->id, waits;

        must(&who[0], mk_lease_keep(lease, "all", 5));
        leave(0);
        come(0);
        waits = must(&who[3], mk_admit(GPU0, MIB, UINT64_MAX))->id;
        restart_twice();
        must_not(&who[3], mk_create_leased(GPU0, MIB, waits), SVMD_STATUS_BUSY, "not granted yet");
        must_not(&who[3], mk_lease_keep(waits, "early", 0), SVMD_STATUS_BUSY, "not granted yet");
        now_ns += 5 * SECOND;
        collect();
        collect();
        must(&who[3], mk_create_leased(GPU0, MIB, waits));
}

static void test_limits_of_keeping(void **state) {
        uint64_t lease = must(&who[0], mk_admit_two(GPU0, 8 * MIB, GPU1, 4 * MIB, 0))->id, memory, other;

        must(&admin, mk_kept_max("one", 11 * MIB));
        must_not(&who[0], mk_lease_keep(lease, "a", 5), SVMD_STATUS_LIMIT, "--kept-max");
        must(&admin, mk_kept_max("one", 13 * MIB));
        must(&who[0], mk_lease_keep(lease, "a", 5));
        must_not(&who[0], mk_lease_keep(lease, "b", 5), SVMD_STATUS_TAKEN, "named a already");
        other = must(&who[0], mk_admit(GPU0, MIB, 0))->id;
        must_not(&who[0], mk_lease_keep(other, "a", 5), SVMD_STATUS_TAKEN, "named a already");
        must_not(&who[0], mk_lease_keep(other, "", 5), SVMD_STATUS_NAME, "kept by a name");
        memory = must(&who[0], mk_create(GPU1, 2 * MIB, 0))->id;
        must_not(&who[0], mk_lease_fill(memory, lease), SVMD_STATUS_LIMIT, "would keep more than 13 MiB");
        must(&admin, mk_kept_max("one", 14 * MIB));
        must(&who[0], mk_lease_fill(memory, lease));
        must(&who[0], mk_lease_keep(lease, "", 7));
        leave(0);
        come(0);
        assert_int_equal(must(&admin, mk_kept_list("one"))->kept->kept[0]->size, 14 * MIB);
        restart_twice();
}

/* A server sleeps: its memory goes into a lease, and comes back out of it; nobody comes in between. */
static void test_sleep_and_wake(void **state) {
        uint64_t first = must(&who[0], mk_create(GPU0, 10 * MIB, SVMD__V1__MEM_FLAG__MEM_PINNED))->id, lease, waits;
        uint64_t second = must(&who[0], mk_create(GPU1, 6 * MIB, 0))->id;
        Svmd__V1__Op *create;

        waits = must(&who[1], mk_admit(GPU0, 8 * MIB, UINT64_MAX))->id;
        lease = must(&who[0], mk_lease_fill(first, 0))->id;
        assert_int_equal(must(&who[0], mk_lease_fill(second, lease))->id, lease);
        assert_int_equal(ledger_bytes(&w, GPU0), 10 * MIB);
        assert_int_equal(ledger_bytes(&w, GPU1), 6 * MIB);
        world_settle(&w);
        assert_int_equal(file_bytes(&w, GPU0), 0);
        must_not(&who[0], mk_release(first), SVMD_STATUS_NO_SUCH, "memory");
        must_not(&who[1], mk_create_leased(GPU0, MIB, waits), SVMD_STATUS_BUSY, "not granted yet");
        restart_twice();
        must(&who[0], mk_lease_keep(lease, "asleep", 0));
        restart_twice();
        create = mk_create_leased(GPU0, 10 * MIB, lease);
        create->mem_create->flags = SVMD__V1__MEM_FLAG__MEM_PINNED;
        first = must(&who[0], create)->id;
        must(&who[0], mk_create_leased(GPU1, 6 * MIB, lease));
        must_not(&who[1], mk_create_leased(GPU0, MIB, waits), SVMD_STATUS_BUSY, "not granted yet");
        must(&who[0], mk_release(first));
        world_settle(&w);
        must(&who[1], mk_create_leased(GPU0, 8 * MIB, waits));
        restart_twice();
}

/* Who claims has limits of his own; and what another partition was promised nobody gets, waiting or not. */
static void test_others_limits(void **state) {
        uint64_t lease = must(&who[0], mk_admit(GPU0, 10 * MIB, 0))->id, waits;
        struct account *two = partition_find(&w.svc->state, "two")->accounts;

        must(&who[0], mk_lease_keep(lease, "ten", 0));
        leave(0);
        come(0);
        assert_int_equal(account_set_min(&two[GPU0], 6 * MIB), 0);
        waits = must(&who[1], mk_admit(GPU0, 4 * MIB, UINT64_MAX))->id;
        must_not(&who[1], mk_create_leased(GPU0, MIB, waits), SVMD_STATUS_BUSY, "not granted yet");
        session_account(&w.svc->state, who[2].session, GPU0)->max = 4 * MIB;
        must_not(&who[2], mk_lease_claim("ten"), SVMD_STATUS_LIMIT, "4 MiB on gpu0");
        session_account(&w.svc->state, who[2].session, GPU0)->max = ACCOUNT_NO_LIMIT;
        must(&who[2], mk_lease_claim("ten"));
        must(&who[2], mk_create_leased(GPU0, 4 * MIB, lease));
        must(&who[3], mk_create(GPU0, 6 * MIB, 0));
        must(&who[2], mk_lease_release(lease));
        must(&who[1], mk_create_leased(GPU0, 4 * MIB, waits));
        assert_int_equal(account_set_min(&two[GPU0], 0), 0);
}

/* What others have too is not released into a lease. */
static void test_memory_that_stays(void **state) {
        uint64_t memory = must(&who[0], mk_create(GPU0, MIB, SVMD__V1__MEM_FLAG__MEM_SHAREABLE))->id, held, space;

        must(&who[0], mk_export(memory, "m", 0666, 0));
        held = must(&who[1], mk_import("m", 3))->id;
        must_not(&who[0], mk_lease_fill(memory, 0), SVMD_STATUS_BUSY, "other sessions have imported it");
        must_not(&who[1], mk_lease_fill(held, 0), SVMD_STATUS_DENIED, "created");
        must(&who[1], mk_release(held));
        must(&who[0], mk_keep(0, memory, 0));
        must_not(&who[0], mk_lease_fill(memory, 0), SVMD_STATUS_BUSY, "it is kept");
        must(&who[0], mk_unkeep(0, memory));
        space = must(&who[0], mk_space(GPU0))->id;
        must(&who[0], mk_map(space, 1ull << 30, MIB, memory, 0, 3, 0));
        must_not(&who[0], mk_lease_fill(memory, 0), SVMD_STATUS_BUSY, "mappings show it");
        send_two(&who[0], mk_unmap(space, 1ull << 30, MIB), mk_lease_fill(memory, 0), SVMD__V1__MODE__ALL_OR_NOTHING);
        assert_int_equal(who[0].reply->results[1]->code, 0);
        assert_int_equal(ledger_bytes(&w, GPU0), MIB);
        restart_twice();
}

/* What is taken back leaves nothing behind. */
static void test_undone(void **state) {
        uint64_t lease = must(&who[0], mk_admit(GPU0, 4 * MIB, 0))->id;
        uint64_t memory = must(&who[0], mk_create(GPU1, MIB, 0))->id;
        char *before;

        must(&who[2], mk_lease_keep(must(&who[2], mk_admit(GPU0, MIB, 0))->id, "kept", 0));
        leave(2);
        come(2);
        before = digest(&w, true);
        for (unsigned i = 0; i < 4; i++) {
                Svmd__V1__Op *op = i == 0   ? mk_lease_fill(memory, lease)
                                   : i == 1 ? mk_lease_fill(memory, 0)
                                   : i == 2 ? mk_lease_keep(lease, "new", 5)
                                            : mk_lease_claim("kept");
                char *after;

                send_two(&who[0], op, mk_free(UINT64_MAX), SVMD__V1__MODE__ALL_OR_NOTHING);
                assert_int_equal(who[0].reply->results[1]->code, SVMD_STATUS_NO_SUCH);
                after = digest(&w, true);
                assert_string_equal(before, after);
                free(after);
                check_world(&w);
        }
        free(before);
}

/* ---- random steps, and a model of numbers ---- */

static uint64_t rng;

static unsigned pick(unsigned below) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (unsigned)((rng >> 11) % below);
}

static struct slot {
        bool there, kept, named;
        uint64_t id, left[2], asked[2], seconds, since;
        int owner, user;
} slots[LEASES];

static struct made {
        uint64_t id, size;
        unsigned node; /* 0: gpu0 */
        int owner;
} made[MEMORIES];

static const char *const names[LEASES] = { "l0", "l1", "l2" };
static unsigned granted, refused;

static uint64_t used(unsigned node) {
        uint64_t sum = 0;

        for (unsigned i = 0; i < LEASES; i++)
                sum += slots[i].there ? slots[i].left[node] : 0;
        for (unsigned i = 0; i < MEMORIES; i++)
                sum += made[i].id && made[i].node == node ? made[i].size : 0;
        return sum;
}

static uint64_t kept_sum(void) {
        uint64_t sum = 0;

        for (unsigned i = 0; i < LEASES; i++)
                sum += slots[i].there && slots[i].kept ? slots[i].asked[0] + slots[i].asked[1] : 0;
        return sum;
}

static unsigned try(int s, Svmd__V1__Op *op, unsigned expected) {
        Svmd__V1__Result *r = client_call(&who[s], op);

        if (r->code != expected)
                fail_msg("operation %d: %u %s, the model says %u", (int)op->op_case, r->code, r->text, expected);
        granted += r->code == 0;
        refused += r->code != 0;
        return r->code;
}

static uint64_t last_id(int s) {
        return who[s].reply->results[0]->id;
}

static void step_admit(int s, struct slot *l) {
        uint64_t a = (1 + pick(8)) * MIB, b = (1 + pick(8)) * MIB;

        if (l->there || try(s, mk_admit_two(GPU0, a, GPU1, b, 0),
                            used(0) + a > sizes[1] || used(1) + b > sizes[2] ? SVMD_STATUS_NO_ROOM : 0))
                return;
        *l = (struct slot){ .there = true, .id = last_id(s), .left = { a, b }, .asked = { a, b }, .owner = s };
}

static void step_keep(int s, struct slot *l, const char *name) {
        uint64_t size = l->asked[0] + l->asked[1], seconds = pick(3) * 10;
        unsigned expected = !l->there                                  ? SVMD_STATUS_NO_SUCH
                            : l->owner != s                            ? SVMD_STATUS_FOREIGN
                            : !l->kept && kept_sum() + size > 24 * MIB ? SVMD_STATUS_LIMIT
                                                                       : 0;

        if (!l->id || try(s, mk_lease_keep(l->id, name, seconds), expected))
                return;
        l->user = l->named ? l->user : s % 2;
        l->kept = l->named = true;
        l->seconds = seconds;
}

static void step_unkeep(int s, struct slot *l) {
        Svmd__V1__Op *op = mk_lease_keep(l->id, "", 0);

        op->keep->off = true;
        if (!l->there || l->owner != s || try(s, op, l->named ? 0 : SVMD_STATUS_INVALID))
                return;
        l->kept = false;
}

static void step_claim(int s, struct slot *l, const char *name) {
        unsigned expected = !l->there || !l->named ? SVMD_STATUS_NO_SUCH
                            : s % 2 != l->user     ? SVMD_STATUS_DENIED
                            : l->owner == s        ? SVMD_STATUS_TAKEN
                            : l->owner >= 0        ? SVMD_STATUS_BUSY
                                                   : 0;

        if (try(s, mk_lease_claim(name), expected))
                return;
        l->owner = s;
        l->since = 0;
}

static void step_create(int s, struct slot *l) {
        unsigned node = pick(2), i = pick(MEMORIES);
        uint64_t size = (1 + pick(4)) * MIB;

        if (made[i].id || !l->there ||
            try(s, mk_create_leased(GPU0 + node, size, l->id),
                l->owner != s          ? SVMD_STATUS_NO_SUCH
                : l->left[node] < size ? SVMD_STATUS_LIMIT
                                       : 0))
                return;
        l->left[node] -= size;
        made[i] = (struct made){ last_id(s), size, node, s };
}

static void step_fill(struct slot *l) {
        struct made *m = &made[pick(MEMORIES)];
        uint64_t left = l->left[m->node] + m->size, asked = l->asked[m->node];
        uint64_t more = left > asked ? left - asked : 0;
        unsigned expected;

        if (!m->id || !l->there)
                return;
        expected = l->owner != m->owner                      ? SVMD_STATUS_FOREIGN
                   : l->kept && kept_sum() + more > 24 * MIB ? SVMD_STATUS_LIMIT
                                                             : 0;
        if (try(m->owner, mk_lease_fill(m->id, l->id), expected))
                return;
        l->left[m->node] = left;
        l->asked[m->node] += more;
        m->id = 0;
}

static void step_release(struct slot *l, struct made *m) {
        if (pick(2) && m->id) {
                try(m->owner, mk_release(m->id), 0);
                m->id = 0;
        } else if (l->there && l->owner >= 0) {
                try(l->owner, mk_lease_release(l->id), 0);
                l->there = false;
        }
}

static void step_leave(int s) {
        leave((unsigned)s);
        come((unsigned)s);
        for (unsigned i = 0; i < MEMORIES; i++)
                if (made[i].owner == s)
                        made[i].id = 0;
        for (unsigned i = 0; i < LEASES; i++) {
                if (!slots[i].there || slots[i].owner != s)
                        continue;
                slots[i].there = slots[i].kept;
                slots[i].owner = -1;
                slots[i].since = now_ns;
        }
}

static void step_time(void) {
        now_ns += pick(8) * SECOND;
        collect();
        for (unsigned i = 0; i < LEASES; i++) {
                struct slot *l = &slots[i];

                if (l->there && l->owner < 0 && l->seconds && now_ns >= l->since + l->seconds * SECOND)
                        l->there = false;
        }
}

static void one_step(void) {
        unsigned n = pick(LEASES);
        struct slot *l = &slots[n];
        int s = (int)pick(3);

        switch (pick(10)) {
        case 0:
        case 1: step_admit(s, l); break;
        case 2: step_keep(s, l, names[n]); break;
        case 3: step_unkeep(s, l); break;
        case 4: step_claim(s, l, names[n]); break;
        case 5: step_create(l->there && l->owner >= 0 && pick(4) ? l->owner : s, l); break;
        case 6: step_fill(l); break;
        case 7: step_release(l, &made[pick(MEMORIES)]); break;
        case 8:
                if (pick(4) == 0)
                        step_leave(s);
                break;
        default: step_time();
        }
}

static void test_random(void **state) {
        const char *s = getenv("SVMD_SEED");
        uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);

        printf("seed: SVMD_SEED=%llu\n", (unsigned long long)seed);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
        memset(slots, 0, sizeof(slots));
        memset(made, 0, sizeof(made));
        must(&admin, mk_kept_max("one", 24 * MIB));
        for (unsigned n = 1; n <= STEPS; n++) {
                ops_reset();
                one_step();
                world_settle(&w);
                assert_int_equal(ledger_bytes(&w, GPU0), used(0));
                assert_int_equal(ledger_bytes(&w, GPU1), used(1));
                if (n % 32 == 0)
                        check_world(&w);
                if (n % (STEPS / 12) == 0)
                        restart();
        }
        printf("%u granted, %u refused\n", granted, refused);
        assert_true(granted > STEPS / 10 && refused > STEPS / 20);
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(test_kept_over_sessions_and_restarts),
                TEST(test_time_and_removal),
                TEST(test_waiter_behind_it),
                TEST(test_limits_of_keeping),
                TEST(test_sleep_and_wake),
                TEST(test_others_limits),
                TEST(test_memory_that_stays),
                TEST(test_undone),
                TEST(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
