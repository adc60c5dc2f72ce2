/*
 * What is asked of ranges: discards, pins, revocations, room, drains, advice; and what is told of it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "policy/arbitrate.h"
#include "proto/range.h"
#include "world.h"

#define MIB (1ull << 20)

static struct world world;

static int setup(void **state) {
        *state = &world;
        world_begin(&world, 64 * MIB);
        return 0;
}

static int teardown(void **state) {
        world_end(*state);
        return 0;
}

static void test_discard(void **state) {
        struct world *w = *state;
        uint64_t all = 16 * 65536;

        world_share(w, size(65536, 16), 2);
        for (unsigned round = 1; round < 6; round++) {
                client_ask(w, 0, CLIENT_FILL, w->base, all, round);
                if (round % 2)
                        assert_int_equal(world_migrate(w, 0, 8, NEAR), 0);
                assert_int_equal(world_discard(w, 4, 8), 0);
                world_idle(w);
                assert_int_equal(world_memory(w), (round % 2 ? 4 : 8) * 65536);
                assert_int_equal(world_node_used(w, NEAR), round % 2 ? 4 * 65536 : 0);
                assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 4 * 65536, round), 0);
                assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base + 4 * 65536, 8 * 65536, 0), 0);
                assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base + 4 * 65536, 8 * 65536, 0), 0);
                assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base + 12 * 65536, 4 * 65536, round), 0);
        }
}

static void test_pin(void **state) {
        struct world *w = *state;

        world_share(w, size(65536, 16), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 16 * 65536, 1);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        assert_int_equal(world_pin(w, 4, 4), 0);
        assert_int_equal(world_memory(w), 4 * 65536);
        assert_int_equal(world_migrate(w, 0, 0, FAR), MANAGED_E_PINNED);
        assert_int_equal(world_discard(w, 4, 1), MANAGED_E_PINNED);
        assert_int_equal(world_memory(w), 4 * 65536);
        assert_int_equal(world_node_used(w, FAR), 12 * 65536);
        mover_unpin(w->m, w->r, 4, 4);
        assert_int_equal(world_migrate(w, 0, 0, FAR), 0);
        assert_int_equal(world_memory(w), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 16 * 65536, 1), 0);
}

/* More than may be pinned: nothing of it is. */
static void test_pin_too_much(void **state) {
        struct world *w = *state;
        uint32_t count = 80 * MIB / 4096;

        world_share(w, size(4096, count), 1);
        assert_int_equal(world_pin(w, 0, count), MANAGED_E_FULL);
        world_idle(w);
        for (uint32_t i = 0; i < count; i += 97)
                assert_int_equal(world_look(w, i).pins, 0);
        assert_int_equal(world_pin(w, 0, 100), 0);
}

/* A revocation in between: what was asked for is not pinned, and the range can be used afterwards. */
static void test_pin_revoked(void **state) {
        struct world *w = *state;

        world_share(w, size(65536, 4), 1);
        assert_int_equal(world_revoke(w, true), 0);
        assert_int_equal(world_pin(w, 0, 4), MANAGED_E_REVOKED);
        assert_int_equal(world_look(w, 0).pins, 0);
        assert_int_equal(world_revoke(w, false), 0);
        assert_int_equal(world_pin(w, 0, 4), 0);
        assert_int_equal(world_look(w, 3).pins, 1);
}

static void test_revoke_blocks(void **state) {
        struct world *w = *state;
        uint64_t all = 8 * 65536;

        world_share(w, size(65536, 8), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, 4 * 65536, 1);
        assert_int_equal(world_revoke(w, true), 0);
        assert_int_equal(world_memory(w), 0);
        client_tell(w, 0, CLIENT_CHECK, w->base, 4 * 65536, 1);
        client_tell(w, 1, CLIENT_CHECK, w->base + 4 * 65536, 4 * 65536, 0);
        assert_int_equal(world_migrate(w, 0, 0, HOST), MANAGED_E_REVOKED);
        for (unsigned i = 0; i < 20; i++)
                world_pump(w, 5);
        assert_false(client_answered(w, 0));
        assert_false(client_answered(w, 1));
        world_session(w, 2);
        assert_int_equal(world_join(w, 2, false), 0);
        client_tell(w, 2, CLIENT_CHECK, w->base, all / 2, 1);
        assert_int_equal(world_revoke(w, false), 0);
        assert_int_equal(client_wait(w, 0), 0);
        assert_int_equal(client_wait(w, 1), 0);
        assert_int_equal(client_wait(w, 2), 0);
}

static void test_revoke_poisons(void **state) {
        struct world *w = *state;
        uint64_t all = 8 * 65536;

        if (!mover_features()->poison) {
                print_message("not applicable: this kernel has no UFFDIO_POISON\n");
                return;
        }
        world_share(w, (struct range_size){ .granule = 65536, .count = 8, .poison = true }, 2);
        for (unsigned round = 1; round < 4; round++) {
                client_ask(w, 0, CLIENT_FILL, w->base, 4 * 65536, round);
                client_ask(w, 1, CLIENT_CHECK, w->base, 65536, round);
                assert_int_equal(world_revoke(w, true), 0);
                assert_int_equal(world_memory(w), 0);
                for (uint64_t a = w->base; a < w->base + all; a += 4096 * 3) {
                        assert_int_equal(client_ask(w, 0, CLIENT_TRY, a, 0, 0), 1);
                        assert_int_equal(client_ask(w, 1, CLIENT_TRY, a, 0, 0), 1);
                }
                if (round == 2) {
                        world_session(w, 2);
                        assert_int_equal(world_join(w, 2, false), 0);
                        assert_int_equal(client_ask(w, 2, CLIENT_TRY, w->base, 0, 0), 1);
                        assert_int_equal(client_ask(w, 2, CLIENT_TRY, w->base + all - 4096, 0, 0), 1);
                }
                assert_int_equal(world_revoke(w, false), 0);
                assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 4 * 65536, round), 0);
                assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 4 * 65536, round), 0);
                assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base + 4 * 65536, 4 * 65536, 0), 0);
        }
        assert_int_equal(client_ask(w, 2, CLIENT_CHECK, w->base, 4 * 65536, 3), 0);
}

/* More than the host has, on every node more than may be granted: what is touched comes, and something else goes. */
static void test_full(void **state) {
        struct world *w = *state;
        uint64_t bytes = 60 * MIB;

        world_end(w);
        world_begin(w, 24 * MIB);
        world_share(w, size(65536, (uint32_t)(bytes / 65536)), 2);
        for (unsigned round = 1; round < 4; round++) {
                client_ask(w, 0, CLIENT_FILL, w->base, bytes, round);
                assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, bytes, round), 0);
        }
        world_idle(w);
        assert_true(world_memory(w) <= 24 * MIB + 8 * MIB);
        assert_int_equal(world_node_used(w, HOST) + world_node_used(w, NEAR) + world_node_used(w, FAR), bytes);
}

static void test_drain(void **state) {
        struct world *w = *state;

        world_share(w, size(65536, 64), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 64 * 65536, 1);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        assert_int_equal(mover_node_drain(w->m, NEAR, ++w->token), 0);
        assert_int_equal(world_answer(w, w->token), 0);
        assert_int_equal(world_node_used(w, NEAR), 0);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), MANAGED_E_OFFLINE);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 64 * 65536, 1), 0);
        mover_node_online(w->m, NEAR);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        assert_int_equal(mover_evict(w->m, w->r, 0, 64, ++w->token), 0);
        assert_int_equal(world_answer(w, w->token), 0);
        assert_int_equal(world_node_used(w, NEAR), 0);
}

static void test_groups(void **state) {
        struct world *w = *state;
        struct managed_group *g = mover_group_new(w->m);
        uint64_t used, peak;

        assert_non_null(g);
        mover_group_limit(w->m, g, HOST, 4 * MIB);
        w->group = g;
        world_share(w, size(65536, 256), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 16 * MIB, 1);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 16 * MIB, 1), 0);
        world_idle(w);
        mover_group_used(w->m, g, HOST, &used, &peak);
        assert_true(used <= 4 * MIB);
        assert_true(peak <= 4 * MIB + 8 * MIB);
        mover_session_end(w->m, w->s[0]);
        mover_range_end(w->m, w->r, ++w->token);
        assert_int_equal(world_answer(w, w->token), 0);
        mover_group_used(w->m, g, HOST, &used, NULL);
        assert_int_equal(used, 0);
        mover_group_free(w->m, g);
        w->group = NULL;
}

/* Moves are told by cause; the range's sequence has grown when something has moved. */
static void test_told(void **state) {
        struct world *w = *state;
        const struct range_head *head;
        uint64_t before;

        world_share(w, size(65536, 16), 1);
        head = mmap(NULL, 4096, PROT_READ, MAP_SHARED, mover_range_state(w->r), 0);
        assert_ptr_not_equal(head, MAP_FAILED);
        client_ask(w, 0, CLIENT_FILL, w->base, 16 * 65536, 1);
        world_idle(w);
        before = head->sequence;
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 16 * 65536, 1), 0);
        assert_int_equal(head->sequence, before);
        mover_watch(w->m, true);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        world_idle(w);
        assert_true(head->sequence > before);
        assert_int_equal(w->moved[MANAGED_BY_REQUEST], 16);
        assert_int_equal(world_migrate(w, 2, 3, FAR), 0);
        world_idle(w);
        assert_int_equal(w->moved[MANAGED_BY_REQUEST], 19);
        client_ask(w, 0, CLIENT_CHECK, w->base, 16 * 65536, 1);
        world_idle(w);
        assert_int_equal(w->moved[MANAGED_BY_FAULT] + w->moved[MANAGED_BY_PREFETCH], 16);
        before = head->sequence;
        assert_int_equal(world_discard(w, 0, 16), 0);
        world_idle(w);
        assert_true(head->sequence > before);
        mover_range_generation(w->r, 7);
        assert_int_equal(head->generation, 7);
        mover_range_generation(w->r, 6);
        assert_int_equal(head->generation, 7);
        munmap((void *)(uintptr_t)head, 4096);
}

static void test_advice(void **state) {
        struct world *w = *state;
        struct policy_advice a = { .preferred = 1 + NEAR, .granularity = 65536 };
        struct mover_advice got;

        world_range(w, size(4096, 100));
        world_advise(w, 10, 30, 1u << POLICY_PREFERRED | 1u << POLICY_GRANULARITY, &a);
        mover_advice(w->m, w->r, 15, &got);
        assert_true(got.policy.preferred == 1 + NEAR && got.granularity == 65536 && got.session == 5);
        mover_advice(w->m, w->r, 45, &got);
        assert_true(!got.policy.preferred && !got.granularity && !got.session);
}

/* Policy hears of it: what is wished elsewhere is put there by an eviction. */
static void test_advice_is_heard(void **state) {
        struct world *w = *state;
        struct policy_advice a = { .preferred = 1 + FAR };

        world_share(w, size(65536, 16), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 16 * 65536, 1);
        world_advise(w, 0, 16, 1u << POLICY_PREFERRED, &a);
        usleep(300000); /* what is in use is not asked where it wants to be */
        assert_int_equal(mover_evict(w->m, w->r, 0, 16, ++w->token), 0);
        assert_int_equal(world_answer(w, w->token), 0);
        assert_int_equal(world_node_used(w, FAR), 16 * 65536);
}

static uint32_t on_far(struct world *w, uint32_t count) {
        struct managed_granule_info info[32];
        uint32_t there = 0;

        mover_look(w->m, w->r, 0, count, info);
        for (uint32_t i = 0; i < count; i++)
                there |= (uint32_t)(info[i].state == RESIDENCY_OUT && info[i].node == FAR) << i;
        return there;
}

/* One granule of a group is sent away, and another is touched: the others follow, and nobody else. */
static void test_members_follow(void **state) {
        struct world *w = *state;
        struct policy_advice a = { .group = 3 };

        world_share(w, size(2 << 20, 16), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 16ull << 21, 1);
        world_advise(w, 2, 3, 1u << POLICY_GROUP, &a);
        world_advise(w, 9, 1, 1u << POLICY_GROUP, &a);
        a.group = 4;
        world_advise(w, 11, 2, 1u << POLICY_GROUP, &a);
        usleep(20000); /* what has moved just now stays */
        assert_int_equal(world_migrate(w, 3, 1, FAR), 0);
        world_idle(w);
        assert_int_equal(on_far(w, 16), 1u << 2 | 1u << 3 | 1u << 4 | 1u << 9);
        usleep(20000);
        client_ask(w, 0, CLIENT_CHECK, w->base + (9ull << 21), 1ull << 21, 1);
        world_idle(w);
        assert_int_equal(on_far(w, 16), 0);
        usleep(20000);
        assert_int_equal(world_migrate(w, 12, 1, FAR), 0);
        world_idle(w);
        assert_int_equal(on_far(w, 16), 1u << 11 | 1u << 12);
}

static void test_refused(void **state) {
        struct world *w = *state;
        struct mover_range_args a = { .address = w->base, .size = 65536, .granule = 65536, .memory = -1, .state = -1 };
        struct mover_range *r;

        a.size = 65536 + 4096;
        assert_int_equal(mover_range_new(w->m, &r, &a), -EINVAL);
        a.size = 0;
        assert_int_equal(mover_range_new(w->m, &r, &a), -EINVAL);
        a.size = 65536;
        a.granule = 8192;
        assert_int_equal(mover_range_new(w->m, &r, &a), -EINVAL);
        a.granule = 65536;
        a.huge = true;
        assert_int_equal(mover_range_new(w->m, &r, &a), -EINVAL);
        a.huge = false;
        w->pool_error = -ENOMEM;
        assert_int_equal(mover_range_new(w->m, &r, &a), -ENOMEM);
        w->pool_error = 0;
        assert_int_equal(mover_range_new(w->m, &r, &a), 0);
        assert_int_equal(mover_migrate(w->m, r, 0, 2, NEAR, MANAGED_BY_REQUEST, 1), -EINVAL);
        assert_int_equal(mover_migrate(w->m, r, 0, 1, 9, MANAGED_BY_REQUEST, 1), -EINVAL);
        mover_range_end(w->m, r, 0);
        world_idle(w);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_discard, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pin, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pin_too_much, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pin_revoked, setup, teardown),
                cmocka_unit_test_setup_teardown(test_revoke_blocks, setup, teardown),
                cmocka_unit_test_setup_teardown(test_revoke_poisons, setup, teardown),
                cmocka_unit_test_setup_teardown(test_full, setup, teardown),
                cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
                cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
                cmocka_unit_test_setup_teardown(test_told, setup, teardown),
                cmocka_unit_test_setup_teardown(test_advice, setup, teardown),
                cmocka_unit_test_setup_teardown(test_advice_is_heard, setup, teardown),
                cmocka_unit_test_setup_teardown(test_members_follow, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        };

        cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
