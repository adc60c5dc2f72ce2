/*
 * The mover ends wherever it is, and another one goes on with the files that a keeper has held. Clients see a pause.
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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/range.h"
#include "world.h"

#define MIB (1ull << 20)

static struct world world;
static uint64_t rng;

static uint32_t below(uint32_t n) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (uint32_t)(rng % n);
}

static int setup(void **state) {
        *state = &world;
        world_begin(&world, 32 * MIB);
        return 0;
}

static int teardown(void **state) {
        world_end(*state);
        return 0;
}

/* Whatever a granule rests in is what it is afterwards. */
static void test_at_rest(void **state) {
        struct world *w = *state;
        uint64_t all = 16 * 65536;

        world_share(w, size(65536, 16), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, 12 * 65536, 1);
        assert_int_equal(world_migrate(w, 0, 8, NEAR), 0);
        assert_int_equal(world_migrate(w, 4, 4, FAR), 0);
        world_idle(w);
        assert_int_equal(world_pool_bytes(w, NEAR), 8 * 65536);
        world_restart(w);
        world_idle(w);
        assert_int_equal(world_node_used(w, NEAR), 4 * 65536);
        assert_int_equal(world_node_used(w, FAR), 4 * 65536);
        assert_int_equal(world_node_used(w, HOST), 4 * 65536);
        assert_int_equal(world_memory(w), 4 * 65536);
        assert_int_equal(world_pool_bytes(w, NEAR), 4 * 65536); /* nothing of what was there before */
        assert_int_equal(world_look(w, 15).state, RESIDENCY_EMPTY);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 12 * 65536, 1), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base + 12 * 65536, all - 12 * 65536, 0), 0);
        client_ask(w, 1, CLIENT_FILL, w->base, all, 2);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, all, 2), 0);
}

static struct range_entry *entries(struct world *w) {
        uint64_t size = range_state_size(w->count);
        struct range_head *head = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, w->kept.state, 0);

        assert_ptr_not_equal(head, MAP_FAILED);
        return (struct range_entry *)(head + 1);
}

/* A page that the range's memory has beside what a node has. */
static void put_page(struct world *w, uint32_t granule, uint32_t page, uint64_t seed) {
        uint64_t words[512], at = (uint64_t)granule * w->range_size.granule + page * 4096ull;

        for (unsigned i = 0; i < 512; i++)
                words[i] = pattern(w->base + at + i * 8, seed);
        assert_int_equal(pwrite(w->kept.memory, words, sizeof(words), (off_t)at), sizeof(words));
}

static uint64_t check_page(struct world *w, uint32_t granule, uint32_t page, uint64_t seed) {
        return client_ask(w, 0, CLIENT_CHECK, w->base + granule * 65536ull + page * 4096ull, 4096, seed);
}

/* Each record is what svmd may have died behind: of granule 0 the node has 1, and the memory a page with 2. */
static void died_in(struct world *w, enum residency state, uint64_t of_page, uint64_t of_others, bool alone) {
        struct range_entry *e;
        uint64_t word;

        world_share(w, size(65536, 4), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, 4 * 65536, 1);
        assert_int_equal(world_migrate(w, 0, 1, NEAR), 0);
        world_idle(w);
        e = entries(w);
        word = e[0].word;
        if (alone) /* nobody could pay when it came back */
                for (unsigned i = 0; i < 2; i++) {
                        mover_session_end(w->m, w->s[i]);
                        w->s[i] = NULL;
                }
        put_page(w, 0, 3, 2);
        e[0].word = range_word(state, range_cause(word), HOST + 1, range_node(word), range_slot(word));
        world_restart(w);
        world_idle(w);
        if (alone)
                for (unsigned i = 0; i < 2; i++) {
                        world_session(w, i);
                        assert_int_equal(world_join(w, i, false), 0);
                }
        assert_int_equal(check_page(w, 0, 3, of_page), 0);
        assert_int_equal(check_page(w, 0, 2, of_others), 0);
        assert_int_equal(check_page(w, 0, 4, of_others), 0);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base + 65536, 3 * 65536, 1), 0);
        munmap((char *)e - sizeof(struct range_head), range_state_size(w->count));
        world_end(w);
        world_begin(w, 32 * MIB);
}

static void test_each_record(void **state) {
        struct world *w = *state;

        for (unsigned alone = 0; alone < 2; alone++) {
                died_in(w, RESIDENCY_PUNCHING, 1, 1, alone);
                died_in(w, RESIDENCY_FILLING, 2, 1, alone);
                died_in(w, RESIDENCY_WRITING, 1, 1, alone);
                died_in(w, RESIDENCY_COPYING, 2, 0, alone);
                died_in(w, RESIDENCY_CONTINUING, 2, 0, alone);
                died_in(w, RESIDENCY_DUPLICATED, 2, 0, alone);
        }
}

/* Each of many granules was being discarded, and is still mapped: who is told that it was interrupted writes there. */
static void test_discards(void **state) {
        struct world *w = *state;
        struct range_entry *e;

        world_share(w, size(65536, 256), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 256 * 65536, 1);
        world_idle(w);
        e = entries(w);
        for (unsigned i = 0; i < 256; i += 2)
                e[i].word = range_word(RESIDENCY_EMPTY, 0, 0, 0, 0);
        world_restart(w);
        assert_int_equal(world_memory(w), 128 * 65536);
        for (unsigned i = 0; i < 256; i += 2)
                client_ask(w, 0, CLIENT_FILL, w->base + i * 65536ull, 65536, 2);
        world_idle(w);
        for (unsigned i = 0; i < 256; i++)
                assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base + i * 65536ull, 65536, i % 2 ? 1 : 2), 0);
        munmap((char *)e - sizeof(struct range_head), range_state_size(w->count));
}

/* Faults that nobody has read, or that were read and not served, are served by the next one. */
static void test_touch_meanwhile(void **state) {
        struct world *w = *state;

        world_share(w, size(65536, 64), 2);
        client_ask(w, 0, CLIENT_FILL, w->base, 64 * 65536, 1);
        for (unsigned round = 0; round < 10; round++) {
                assert_int_equal(world_migrate(w, 0, 0, round % 2 ? NEAR : FAR), 0);
                client_tell(w, 0, CLIENT_CHECK, w->base, 64 * 65536, 1);
                client_tell(w, 1, CLIENT_CHECK, w->base, 64 * 65536, 1);
                usleep(below(2000));
                world_restart(w);
                assert_int_equal(client_wait(w, 0), 0);
                assert_int_equal(client_wait(w, 1), 0);
        }
}

static void ask_for_moves(struct world *w, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                uint32_t first = below(w->count), count = 1 + below(w->count - first < 16 ? w->count - first : 16);

                assert_int_equal(mover_migrate(w->m, w->r, first, count, below(NODES), MANAGED_BY_REQUEST, 0), 0);
        }
}

static void writers(struct world *w, struct range_size s, unsigned restarts) {
        uint64_t bytes = (uint64_t)s.granule * s.count;

        world_share(w, s, 3);
        for (unsigned i = 0; i < 3; i++)
                client_ask(w, i, CLIENT_WRITERS, w->base, bytes, 2 | (uint64_t)i * 2 << 8);
        for (unsigned i = 0; i < restarts; i++) {
                ask_for_moves(w, 1 + below(20));
                for (uint32_t n = below(5); n; n--)
                        world_pump(w, 1);
                usleep(below(3000));
                world_restart(w);
        }
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(client_ask(w, i, CLIENT_QUIET, 0, 0, 0), 0);
        world_idle(w);
        assert_true(world_memory(w) <= world_node_used(w, HOST));
        assert_int_equal(world_node_used(w, HOST) + world_node_used(w, NEAR) + world_node_used(w, FAR), bytes);
}

static void test_writers_small(void **state) {
        writers(*state, size(4096, 512), 60);
}

static void test_writers_medium(void **state) {
        writers(*state, size(65536, 64), 60);
}

static void test_writers_large(void **state) {
        writers(*state, size(2 << 20, 6), 30);
}

/* A payer that dies together with svmd. */
static void payer_gone(struct world *w, unsigned us) {
        world_share(w, size(65536, 64), 2);
        client_ask(w, 1, CLIENT_FILL, w->base, 64 * 65536, 5);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        client_tell(w, 0, CLIENT_CHECK, w->base, 64 * 65536, 5);
        usleep(us);
        client_kill(&w->client[0]);
        w->s[0] = NULL;
        world_restart(w);
        assert_int_equal(client_ask(w, 1, CLIENT_CHECK, w->base, 64 * 65536, 5), 0);
        world_idle(w);
}

static void test_payer_gone(void **state) {
        for (unsigned i = 0; i < 10; i++) {
                payer_gone(*state, below(1500));
                world_end(*state);
                world_begin(*state, 32 * MIB);
        }
}

static void refused(struct world *w, int memory, int state) {
        struct mover_range_args a = {
                .address = w->base,
                .size = 16 * 65536,
                .granule = 65536,
                .memory = memory,
                .state = state,
        };
        struct mover_range *r;

        assert_int_equal(mover_range_new(w->m, &r, &a), -EINVAL);
        assert_true(fcntl(memory, F_GETFD) >= 0);
        assert_true(fcntl(state, F_GETFD) >= 0);
}

/* Files that an svmd would not have left are refused, and stay whose they are. */
static void test_bad_files(void **state) {
        struct world *w = *state;
        struct range_head *head;
        struct range_entry *e;
        int other = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING), memory, file;

        assert_int_equal(ftruncate(other, 16 * 65536), 0);
        world_share(w, size(65536, 16), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 16 * 65536, 1);
        assert_int_equal(world_migrate(w, 0, 0, NEAR), 0);
        mover_session_end(w->m, w->s[0]);
        mover_range_end(w->m, w->r, ++w->token);
        assert_int_equal(world_answer(w, w->token), 0);
        memory = w->kept.memory;
        file = w->kept.state;
        head = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        assert_ptr_not_equal(head, MAP_FAILED);
        e = (struct range_entry *)(head + 1);
        refused(w, other, file);
        refused(w, memory, other);
        refused(w, file, memory);
        head->magic++;
        refused(w, memory, file);
        head->magic--;
        head->count--;
        refused(w, memory, file);
        head->count++;
        head->granule = 4096;
        refused(w, memory, file);
        head->granule = 65536;
        for (unsigned i = 0; i < 4; i++) {
                static const uint64_t bad[] = {
                        11ull << 32,
                        4ull << 32,
                        4ull << 32 | 40ull << 48,
                        4ull << 32 | 2ull << 48 | 0xfffffff,
                };
                uint64_t good = e[7].word;

                e[7].word = bad[i];
                refused(w, memory, file);
                e[7].word = good;
        }
        e[7].word = e[6].word; /* two in one slot */
        {
                struct mover_range_args a = {
                        .address = w->base, .size = 16 * 65536, .granule = 65536, .memory = memory, .state = file
                };
                struct mover_range *r;

                assert_true(mover_range_new(w->m, &r, &a) < 0);
        }
        assert_int_equal(world_node_used(w, NEAR), 0);
        munmap(head, 4096);
        close(other);
        assert_int_equal(mover_restored(w->m), 0);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_at_rest, setup, teardown),
                cmocka_unit_test_setup_teardown(test_each_record, setup, teardown),
                cmocka_unit_test_setup_teardown(test_discards, setup, teardown),
                cmocka_unit_test_setup_teardown(test_touch_meanwhile, setup, teardown),
                cmocka_unit_test_setup_teardown(test_writers_small, setup, teardown),
                cmocka_unit_test_setup_teardown(test_writers_medium, setup, teardown),
                cmocka_unit_test_setup_teardown(test_writers_large, setup, teardown),
                cmocka_unit_test_setup_teardown(test_payer_gone, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_files, setup, teardown),
        };
        const char *seed = getenv("SVMD_SEED");

        rng = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ull;
        print_message("SVMD_SEED=%llu\n", (unsigned long long)rng);
        rng |= 1;
        cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
