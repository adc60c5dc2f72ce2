/*
 * Huge pages: the same rules, by other system calls. The test sets some aside, and says so where it cannot.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/range.h"
#include "world.h"

#define MIB (1ull << 20)

enum { PAGES = 24 };

static const char nr_hugepages[] = "/proc/sys/vm/nr_hugepages";
static struct world world;

static long pages_set_aside(void) {
        FILE *f = fopen(nr_hugepages, "re");
        long n = -1;

        if (f) {
                if (fscanf(f, "%ld", &n) != 1)
                        n = -1;
                fclose(f);
        }
        return n;
}

static void set_aside(long n) {
        FILE *f = fopen(nr_hugepages, "we");

        if (!f)
                return;
        fprintf(f, "%ld\n", n);
        fclose(f);
}

static int setup(void **state) {
        *state = &world;
        world_begin(&world, 64 * MIB);
        return 0;
}

static int teardown(void **state) {
        world_end(*state);
        return 0;
}

static struct range_size huge(uint32_t count) {
        return (struct range_size){ .granule = 2 << 20, .count = count, .huge = true };
}

static void test_out_and_in(void **state) {
        struct world *w = *state;
        uint64_t all = 4 * 2 * MIB;

        world_share(w, huge(4), 2);
        world_session(w, 2);
        assert_int_equal(world_join(w, 2, true), 0);
        client_ask(w, 0, CLIENT_FILL, w->base, all, 1);
        for (unsigned round = 1; round < 5; round++) {
                assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, all, round), 0);
                assert_int_equal(client_ask(w, 2, CLIENT_CHECK, w->base, all, round), 0);
                assert_int_equal(world_memory(w), all);
                assert_int_equal(world_migrate(w, 0, 0, round % 2 ? NEAR : FAR), 0);
                assert_int_equal(world_memory(w), 0);
                if (round == 2)
                        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
                if (round == 3)
                        assert_int_equal(world_migrate(w, 0, 0, HOST), 0);
                assert_int_equal(client_ask(w, 2, CLIENT_CHECK, w->base, all, round), 0);
                client_ask(w, round % 2, CLIENT_FILL, w->base, all, round + 1);
        }
}

/* Nobody is left to pay: the slot is written back without one. */
static void test_nobody_pays(void **state) {
        struct world *w = *state;
        uint64_t all = 4 * 2 * MIB;

        world_share(w, huge(4), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, all, 3);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        mover_session_end(w->m, w->s[0]);
        assert_int_equal(world_migrate(w, 0, 2, HOST), 0);
        world_session(w, 1);
        assert_int_equal(world_join(w, 1, true), 0);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, all, 3), 0);
}

static void test_discard_and_pin(void **state) {
        struct world *w = *state;

        world_share(w, huge(4), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, 8 * MIB, 1);
        assert_int_equal(world_migrate(w, 0, 2, NEAR), 0);
        assert_int_equal(world_discard(w, 1, 2), 0);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 2 * MIB, 1), 0);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base + 2 * MIB, 4 * MIB, 0), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base + 6 * MIB, 2 * MIB, 1), 0);
        assert_int_equal(world_pin(w, 0, 1), 0);
        assert_int_equal(world_migrate(w, 0, 1, NEAR), MANAGED_E_PINNED);
}

static void test_revoke(void **state) {
        struct world *w = *state;
        struct range_size s = huge(4);

        s.poison = mover_features()->poison;
        world_share(w, s, 2);
        client_ask(w, 0, CLIENT_FILL, w->base, 8 * MIB, 1);
        assert_int_equal(world_revoke(w, true), 0);
        assert_int_equal(world_memory(w), 0);
        if (s.poison)
                assert_int_equal(client_ask(w, 1, CLIENT_TRY, w->base + 4 * MIB, 0, 0), 1);
        assert_int_equal(world_revoke(w, false), 0);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 8 * MIB, 1), 0);
}

/* Died while a page was written back, which has come to be there: the node is the truth. */
static void test_written_again(void **state) {
        struct world *w = *state;
        uint64_t size_of_state = range_state_size(4), word;
        struct range_head *head;
        struct range_entry *e;

        world_share(w, huge(4), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 8 * MIB, 1);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        mover_session_end(w->m, w->s[0]);
        w->s[0] = NULL;
        head = mmap(NULL, size_of_state, PROT_READ | PROT_WRITE, MAP_SHARED, w->kept.state, 0);
        assert_ptr_not_equal(head, MAP_FAILED);
        e = (struct range_entry *)(head + 1);
        for (unsigned i = 0; i < 2; i++) {
                word = e[i].word;
                assert_int_equal(fallocate(w->kept.memory, 0, i * 2 * (off_t)MIB, 2 * MIB), 0);
                e[i].word = range_word(i ? RESIDENCY_FILLING : RESIDENCY_WRITING, range_cause(word), HOST + 1,
                                       range_node(word), range_slot(word));
        }
        munmap(head, size_of_state);
        world_restart(w);
        world_idle(w);
        world_session(w, 0);
        assert_int_equal(world_join(w, 0, false), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 2 * MIB, 1), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base + 2 * MIB, 2 * MIB, 0), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base + 4 * MIB, 4 * MIB, 1), 0);
}

/* A hole in one session's mapping, of a whole huge page; the others have what was there. */
static void test_hole(void **state) {
        struct world *w = *state;

        world_share(w, huge(4), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, 8 * MIB, 1);
        client_ask(w, 0, CLIENT_UNMAP, w->base + 2 * MIB, 2 * MIB, 0);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 2 * MIB, 1), 0);
        assert_int_equal(world_migrate(w, 0, 0, HOST), 0);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 8 * MIB, 1), 0);
}

/* More than are set aside: something goes to a node, and nothing is lost. */
static void test_too_few(void **state) {
        struct world *w = *state;
        uint32_t count = PAGES + 6;

        world_share(w, huge(count), 1);
        for (unsigned round = 1; round < 3; round++) {
                client_ask(w, 0, CLIENT_FILL, w->base, count * 2 * MIB, round);
                assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, count * 2 * MIB, round), 0);
        }
}

/* Writers in two processes while everything moves. */
static void test_writers(void **state) {
        struct world *w = *state;
        uint64_t all = 8 * 2 * MIB;

        world_share(w, huge(8), 2);
        for (unsigned i = 0; i < 2; i++)
                client_ask(w, i, CLIENT_WRITERS, w->base, all, 2 | (uint64_t)i * 2 << 8);
        for (unsigned i = 0; i < 300; i++)
                assert_true(world_migrate(w, i * 5 % 8, 1, i % NODES) >= 0);
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(client_ask(w, i, CLIENT_QUIET, 0, 0, 0), 0);
}

static void test_none(void **state) {
        struct mover_range_args a = { .address = world.base, .size = 2 * MIB, .granule = 2 << 20, .huge = true };
        struct mover_range *r;

        a.memory = a.state = -1;
        set_aside(0);
        assert_int_equal(mover_range_new(world.m, &r, &a), -ENOSPC);
        set_aside(PAGES);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_out_and_in, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nobody_pays, setup, teardown),
                cmocka_unit_test_setup_teardown(test_discard_and_pin, setup, teardown),
                cmocka_unit_test_setup_teardown(test_revoke, setup, teardown),
                cmocka_unit_test_setup_teardown(test_written_again, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hole, setup, teardown),
                cmocka_unit_test_setup_teardown(test_too_few, setup, teardown),
                cmocka_unit_test_setup_teardown(test_writers, setup, teardown),
                cmocka_unit_test_setup_teardown(test_none, setup, teardown),
        };
        long before = pages_set_aside();
        int k;

        if (!mover_features()->huge) {
                print_message("not applicable: this kernel's userfaultfd does not serve huge pages\n");
                return 0;
        }
        set_aside(PAGES);
        if (pages_set_aside() != PAGES) {
                set_aside(before);
                print_message("not applicable: %s cannot be set to %d here\n", nr_hugepages, PAGES);
                return 0;
        }
        cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
        k = cmocka_run_group_tests(tests, NULL, NULL);
        set_aside(before);
        return k;
}
