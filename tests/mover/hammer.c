#include "hammer.h"

#include <errno.h>
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

#include "policy/arbitrate.h"

enum { WRITING = 3, THREADS = 2, OUT_AT_ONCE = 4 };

static uint64_t rng;
static void (*arm_failures)(bool on);

uint32_t below(uint32_t n) {
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
        bool failures; /* are injected: a request may be refused for lack of memory, or a step of it fail */
        struct asked asked[OUT_AT_ONCE];
        unsigned out;
        struct asked pinned[8];
        unsigned pins;
        uint64_t done, moved, refused, failed;
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
                assert_true(k >= 0 || h->failures);
                h->failed += k < 0;
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
        int k;

        *a = (struct asked){ .token = ++w->token, .first = below(w->count) };
        a->count = 1 + below(w->count - a->first < 32 ? w->count - a->first : 32);
        a->pin = what >= 96 && pins_out(h) < 8;
        if (a->pin)
                k = mover_pin(w->m, w->r, a->first, a->count, a->token);
        else if (what >= 90)
                k = mover_evict(w->m, w->r, a->first, a->count, a->token);
        else
                k = mover_migrate(w->m, w->r, a->first, a->count, below(NODES), MANAGED_BY_REQUEST, a->token);
        assert_true(!k || (k == -ENOMEM && h->failures));
        if (k) {
                h->out--;
                h->failed++;
        }
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
                int k = world_join(w, 3, readonly);

                assert_true(!k || (k == -ENOMEM && h->failures));
                if (k)
                        return;
                client_tell(w, 3, CLIENT_LOAD, w->base + below(w->count) * 4096, 0, 0);
                client_wait(w, 3);
        }
        h->joined = !h->joined;
}

/* It takes many allocations, all of which have to be granted. */
static void ask_again(struct hammer *h, bool on) {
        int k = world_revoke(h->w, on);

        if (k && h->failures) {
                assert_int_equal(k, -ENOMEM);
                arm_failures(false);
                k = world_revoke(h->w, on);
                arm_failures(true);
        }
        assert_int_equal(k, 0);
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
        ask_again(h, true);
        assert_int_equal(world_memory(h->w), 0);
        ask_again(h, false);
}

/* A run counts when the writers have got on, too. */
static bool have_written(struct world *w, uint64_t stamps) {
        for (unsigned i = 0; i < WRITING; i++)
                if (client_ask(w, i, CLIENT_WRITTEN, 0, 0, 0) < stamps)
                        return false;
        return true;
}

void hammer_arm(void (*arm)(bool on)) {
        arm_failures = arm;
}

void hammer_seed(void) {
        const char *seed = getenv("SVMD_SEED");

        rng = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ull;
        print_message("SVMD_SEED=%llu\n", (unsigned long long)rng);
        rng |= 1;
}

void hammer(struct world *w, struct range_size s, uint64_t moves) {
        struct hammer h = { .w = w, .failures = arm_failures != NULL };
        uint64_t bytes = (uint64_t)s.granule * s.count, written = 0;
        struct policy_advice advice = { .read_mostly = true };
        struct deadline d = world_deadline();

        world_share(w, s, WRITING);
        world_advise(w, 0, s.count / 4, 1u << POLICY_READ_MOSTLY, &advice);
        world_session(w, 3);
        for (unsigned i = 0; i < WRITING; i++)
                client_ask(w, i, CLIENT_WRITERS, w->base, bytes, THREADS | (uint64_t)i * THREADS << 8);
        if (arm_failures)
                arm_failures(true);
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
        if (arm_failures)
                arm_failures(false);
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
        print_message("%u KiB: %llu answered, %llu moved, %llu refused, %llu failed, %llu stamps\n", s.granule / 1024,
                      (unsigned long long)h.done, (unsigned long long)h.moved, (unsigned long long)h.refused,
                      (unsigned long long)h.failed, (unsigned long long)written);
}
