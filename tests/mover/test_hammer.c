/*
 * Writers in three processes, while everything that a range can be asked for is asked for at full rate: each writer
 * finds what it has left. SVMD_SEED reproduces what was asked for, SVMD_MOVES says how much of it.
 */
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

#include "world.h"

#define MIB (1ull << 20)

enum { WRITING = 3, THREADS = 2, OUT_AT_ONCE = 4 };

static struct world world;
static uint64_t rng;

static uint32_t below(uint32_t n) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (uint32_t)(rng % n);
}

struct asked {
        uint64_t token;
        bool pin;
        uint32_t first, count;
};

struct hammer {
        struct world *w;
        struct asked asked[OUT_AT_ONCE];
        unsigned out;
        struct asked pinned[8];
        unsigned pins;
        uint64_t done, moved, refused;
        bool joined; /* the fourth process, which comes and goes */
};

/* Takes what has been answered. */
static void collect(struct hammer *h) {
        for (unsigned i = 0; i < h->out;) {
                struct asked *a = &h->asked[i];
                int k;

                if (!world_answered(h->w, a->token)) {
                        i++;
                        continue;
                }
                k = world_answer(h->w, a->token);
                assert_true(k >= 0);
                h->done++;
                h->moved += k == 0;
                h->refused += k > 0;
                if (a->pin && !k)
                        h->pinned[h->pins++] = *a;
                *a = h->asked[--h->out];
        }
}

static unsigned pins_out(const struct hammer *h) {
        unsigned n = h->pins;

        for (unsigned i = 0; i < h->out; i++)
                n += h->asked[i].pin;
        return n;
}

static void unpin(struct hammer *h) {
        struct asked *a = &h->pinned[--h->pins];

        mover_unpin(h->w->m, h->w->r, a->first, a->count);
}

static void ask(struct hammer *h) {
        struct world *w = h->w;
        struct asked *a = &h->asked[h->out++];
        uint32_t what = below(100);

        *a = (struct asked){ .token = ++w->token, .first = below(w->count) };
        a->count = 1 + below(w->count - a->first < 32 ? w->count - a->first : 32);
        a->pin = what >= 96 && pins_out(h) < 8;
        if (a->pin)
                assert_int_equal(mover_pin(w->m, w->r, a->first, a->count, a->token), 0);
        else if (what >= 90)
                assert_int_equal(mover_evict(w->m, w->r, a->first, a->count, a->token), 0);
        else
                assert_int_equal(
                        mover_migrate(w->m, w->r, a->first, a->count, below(NODES), MANAGED_BY_REQUEST, a->token), 0);
        if (h->pins && below(4) == 0)
                unpin(h);
}

static void come_and_go(struct hammer *h) {
        struct world *w = h->w;
        bool readonly = below(2);

        if (h->joined) {
                client_ask(w, 3, CLIENT_UNMAP, w->base, lseek(mover_range_memory(w->r), 0, SEEK_END), 0);
                mover_leave(w->m, w->s[3], w->r);
        } else {
                assert_int_equal(world_join(w, 3, readonly), 0);
                client_tell(w, 3, CLIENT_LOAD, w->base + below(w->count) * 4096, 0, 0);
                client_wait(w, 3);
        }
        h->joined = !h->joined;
}

static void take_away(struct hammer *h) {
        struct deadline d = world_deadline();

        while (h->out || h->pins) {
                if (h->pins)
                        unpin(h);
                world_pump(h->w, 1);
                collect(h);
                world_check_deadline(&d, "answers");
        }
        assert_int_equal(world_revoke(h->w, true), 0);
        assert_int_equal(world_memory(h->w), 0);
        assert_int_equal(world_revoke(h->w, false), 0);
}

/* A run counts when the writers have got on, too. */
static bool have_written(struct world *w, uint64_t stamps) {
        for (unsigned i = 0; i < WRITING; i++)
                if (client_ask(w, i, CLIENT_WRITTEN, 0, 0, 0) < stamps)
                        return false;
        return true;
}

static void hammer(struct world *w, struct range_size s, uint64_t moves) {
        struct hammer h = { .w = w };
        uint64_t bytes = (uint64_t)s.granule * s.count, written = 0;
        struct deadline d = world_deadline();

        world_share(w, s, WRITING);
        world_session(w, 3);
        for (unsigned i = 0; i < WRITING; i++)
                client_ask(w, i, CLIENT_WRITERS, w->base, bytes, THREADS | (uint64_t)i * THREADS << 8);
        while (h.done < moves || !have_written(w, 2000)) {
                while (h.out < OUT_AT_ONCE)
                        ask(&h);
                world_pump(w, 10);
                collect(&h);
                if (below(50) == 0)
                        come_and_go(&h);
                if (below(400) == 0)
                        take_away(&h);
                if (h.done < moves)
                        d = world_deadline();
                world_check_deadline(&d, "moves");
        }
        for (unsigned i = 0; i < WRITING; i++) {
                struct client_message m = { .op = CLIENT_QUIET };

                client_send(&w->client[i], &m, -1);
                while (!client_answered(w, i)) {
                        world_pump(w, 1);
                        collect(&h);
                }
                client_receive(&w->client[i], &m, NULL);
                assert_int_equal(m.value, 0);
                written += m.address;
        }
        print_message("%u KiB: %llu answered, %llu moved, %llu refused, %llu stamps\n", s.granule / 1024,
                      (unsigned long long)h.done, (unsigned long long)h.moved, (unsigned long long)h.refused,
                      (unsigned long long)written);
}

static uint64_t moves(uint64_t otherwise) {
        const char *s = getenv("SVMD_MOVES");

        return s ? strtoull(s, NULL, 0) : otherwise;
}

static int setup(void **state) {
        *state = &world;
        world_begin(&world, 64 * MIB);
        return 0;
}

/* Little room: faults and moves evict. */
static int setup_tight(void **state) {
        *state = &world;
        world_begin(&world, 4 * MIB);
        return 0;
}

static int teardown(void **state) {
        world_end(*state);
        return 0;
}

static void test_small(void **state) {
        hammer(*state, size(4096, 1024), moves(2000));
}

static void test_medium(void **state) {
        hammer(*state, size(65536, 64), moves(2000));
}

static void test_large(void **state) {
        hammer(*state, size(2 << 20, 8), moves(200));
}

static void test_tight(void **state) {
        hammer(*state, size(65536, 128), moves(2000));
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_small, setup, teardown),
                cmocka_unit_test_setup_teardown(test_medium, setup, teardown),
                cmocka_unit_test_setup_teardown(test_large, setup, teardown),
                cmocka_unit_test_setup_teardown(test_tight, setup_tight, teardown),
        };
        const char *seed = getenv("SVMD_SEED");

        rng = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ull;
        print_message("SVMD_SEED=%llu\n", (unsigned long long)rng);
        rng |= 1;
        cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
