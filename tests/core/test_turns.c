/*
 * The scheduler of sessions: directed cases, then random turns against a model that keeps nothing but who is ready and
 * a list of all services so far. After each service of a session that was ready all the time since its last one, the
 * list says what others had in between, and that is within the bound that turns.h states.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "core/turns.h"

enum { QUANTUM = 32, DEAREST = 1024, USERS = 6, SESSIONS = 60, LOG = 1 << 16 };

static uint64_t rng;

static uint64_t below(uint64_t bound) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng >> 11) % bound;
}

static void seed_random(void) {
        const char *text = getenv("SVMD_SEED");
        uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

        printf("seed: SVMD_SEED=%" PRIu64 "\n", seed);
        rng = seed * 0x9e3779b97f4a7c15ull | 1;
}

/* Serves packets that cost so much, without end, until `most` operations were served. */
static void serve(struct turns *s, struct turns_member *members, const uint64_t *cost, uint64_t *served,
                  uint64_t most) {
        for (uint64_t sum = 0; sum < most;) {
                struct turns_member *m = turns_next(s);

                if (!m) {
                        assert_true(turns_round(s));
                        continue;
                }
                turns_served(s, m, cost[m - members]);
                served[m - members] += cost[m - members];
                sum += cost[m - members];
        }
}

static void test_a_thousand_sessions_are_one_user(void **state) {
        enum { MANY = 1001 };
        static struct turns_member m[MANY];
        static uint64_t cost[MANY], served[MANY];
        uint64_t many = 0;
        struct turns s;

        turns_init(&s, QUANTUM);
        for (unsigned i = 0; i < MANY; i++) {
                assert_int_equal(turns_join(&s, &m[i], i == 0 ? 1000 : 2000), 0);
                turns_ready(&s, &m[i]);
                cost[i] = 1;
        }
        turns_begin(&s);
        /* Whoever was served has more at once: turns_round() tries him again. */
        serve(&s, m, cost, served, 1000);
        for (unsigned i = 1; i < MANY; i++)
                many += served[i];
        assert_in_range(served[0], 499, 501);
        assert_int_equal(many + served[0], 1000);
        for (unsigned i = 0; i < MANY; i++)
                turns_leave(&s, &m[i]);
        assert_null(s.users.root);
        turns_fini(&s);
}

static void test_dear_packets_come_less_often(void **state) {
        struct turns_member m[2];
        uint64_t cost[2] = { 1, DEAREST }, served[2] = { 0 };
        struct turns s;

        turns_init(&s, QUANTUM);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(turns_join(&s, &m[i], i), 0);
                turns_ready(&s, &m[i]);
        }
        turns_begin(&s);
        for (unsigned turn = 0; turn < 3200; turn++) {
                struct turns_member *next = turns_next(&s);

                if (!next) {
                        assert_true(turns_round(&s));
                        continue;
                }
                turns_served(&s, next, cost[next - m]);
                served[next - m]++;
                turns_ready(&s, next);
        }
        /* One packet of it is paid for by so many rounds. */
        assert_in_range(served[0] / served[1], DEAREST / QUANTUM - 1, DEAREST / QUANTUM + 1);
        turns_leave(&s, &m[0]);
        turns_leave(&s, &m[1]);
        turns_fini(&s);
}

/* Whoever is in debt and connects anew still is. */
static void test_debt_outlives_the_session(void **state) {
        struct turns_member witness, m;
        struct turns s;
        unsigned before = 0;

        turns_init(&s, QUANTUM);
        assert_int_equal(turns_join(&s, &witness, 1), 0);
        assert_int_equal(turns_join(&s, &m, 2), 0);
        turns_ready(&s, &m);
        turns_begin(&s);
        assert_ptr_equal(turns_next(&s), &m);
        turns_served(&s, &m, DEAREST);
        turns_leave(&s, &m);
        assert_int_equal(turns_join(&s, &m, 2), 0);
        turns_ready(&s, &m);
        turns_ready(&s, &witness);
        for (;; before++) {
                struct turns_member *next = turns_next(&s);

                if (next == &m)
                        break;
                if (next)
                        turns_served(&s, next, 1);
                else
                        assert_true(turns_round(&s));
                turns_ready(&s, &witness);
        }
        assert_true(before >= DEAREST / QUANTUM - 2);
        turns_leave(&s, &m);
        turns_leave(&s, &witness);
        for (unsigned i = 0; s.users.root; i++) { /* and it is repaid without him */
                assert_true(i < DEAREST);
                turns_begin(&s);
        }
        turns_fini(&s);
}

static void test_nobody_is_served_who_is_not_ready(void **state) {
        struct turns_member m[2];
        struct turns s;

        turns_init(&s, QUANTUM);
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(turns_join(&s, &m[i], 7), 0);
        turns_begin(&s);
        assert_null(turns_next(&s));
        assert_false(turns_round(&s));
        turns_ready(&s, &m[1]);
        turns_ready(&s, &m[1]);
        turns_begin(&s);
        assert_ptr_equal(turns_next(&s), &m[1]);
        turns_idle(&s, &m[1]);
        assert_null(turns_next(&s));
        assert_false(turns_round(&s));
        turns_ready(&s, &m[0]);
        turns_begin(&s);
        assert_null(turns_next(&s)); /* he had his part of this round */
        assert_true(turns_round(&s));
        assert_ptr_equal(turns_next(&s), &m[0]);
        turns_served(&s, &m[0], 1);
        assert_null(turns_next(&s));
        assert_false(turns_round(&s)); /* alone, he is not tried again before the next turn */
        turns_begin(&s);
        assert_false(turns_round(&s));
        turns_leave(&s, &m[0]);
        turns_leave(&s, &m[1]);
        assert_null(s.users.root);
        turns_fini(&s);
}

/* ---- random turns against the model ---- */

struct session {
        struct turns_member m; /* first */
        uint32_t user;
        bool there, steady; /* it always has a packet of at most a quantum: a witness */
        uint64_t waits;     /* packets in its socket */
        uint64_t last;      /* number of services before the one after which it was ready all the time; 0: none */
        uint64_t dearest;   /* that it sends */
};

static struct {
        struct turns turns;
        struct session session[SESSIONS];
        struct {
                uint32_t user, session;
                uint64_t cost;
        } log[LOG];
        uint64_t served;
        uint64_t tightest; /* percent of the bound that was reached */
} w;

/* Witnesses are one user's, and nobody else is that user's. */
static void come(struct session *s, uint32_t user, bool steady) {
        *s = (struct session){ .user = user, .there = true, .steady = steady };
        s->dearest = steady ? QUANTUM : below(3) == 0 ? DEAREST : 1 + below(2 * QUANTUM);
        assert_int_equal(turns_join(&w.turns, &s->m, user), 0);
}

static void set_up(unsigned witnesses) {
        w.served = 0;
        turns_init(&w.turns, QUANTUM);
        for (unsigned i = 0; i < SESSIONS; i++) {
                w.session[i].there = false;
                if (i < witnesses)
                        come(&w.session[i], 0, true);
                else if (i % 2)
                        come(&w.session[i], 1 + (uint32_t)below(USERS - 1), false);
        }
}

static void check_bound(struct session *s, uint64_t k) {
        uint64_t own = 0, others = 0, bound;

        for (uint64_t i = s->last; i < w.served; i++)
                *(w.log[i].user == s->user ? &own : &others) += w.log[i].cost;
        bound = (USERS - 1) * ((2 * k - 1) * QUANTUM + DEAREST - 1);
        assert_true(own <= 2 * (k - 1) * QUANTUM);
        if (others > bound)
                fail_msg("%" PRIu64 " operations of others, more than %" PRIu64, others, bound);
        if (others * 100 / bound > w.tightest)
                w.tightest = others * 100 / bound;
}

static void served(struct session *s, uint64_t k) {
        uint64_t cost = 1 + below(s->dearest);

        assert_true(s->there && s->waits > 0);
        if (s->steady && s->last)
                check_bound(s, k);
        turns_served(&w.turns, &s->m, cost);
        assert_true(w.served < LOG - 1);
        w.log[w.served].user = s->user;
        w.log[w.served++].cost = cost;
        s->last = w.served;
        s->waits -= !s->steady;
}

static void poll_all(void) {
        for (unsigned i = 0; i < SESSIONS; i++)
                if (w.session[i].there && w.session[i].waits > 0)
                        turns_ready(&w.turns, &w.session[i].m);
        turns_begin(&w.turns);
}

/* As the transport's: until nobody is ready, or the turn's operations were served. */
static void turn(uint64_t k) {
        uint64_t before = w.served, rounds = 0;

        poll_all();
        for (;;) {
                struct turns_member *m = turns_next(&w.turns);

                if (m && ((struct session *)m)->waits == 0)
                        turns_idle(&w.turns, m);
                else if (m)
                        served((struct session *)m, k);
                else if (rounds++ == 200 || !turns_round(&w.turns))
                        break;
                if (w.served - before > 40)
                        return;
        }
        assert_true(rounds > 200 || k > 0 || w.served > before);
        for (unsigned i = 0; i < SESSIONS; i++) /* nobody was left out */
                assert_true(rounds > 200 || !w.session[i].there || !w.session[i].m.ready);
}

static void change(unsigned witnesses) {
        struct session *s = &w.session[witnesses + below(SESSIONS - witnesses)];

        if (!s->there) {
                come(s, 1 + (uint32_t)below(USERS - 1), false);
        } else if (below(10) == 0) {
                turns_leave(&w.turns, &s->m);
                s->there = false;
        } else {
                s->waits += 1 + below(20);
        }
}

static void test_random(void **state) {
        unsigned sets = getenv("SVMD_LONG") ? 2000 : 60;

        seed_random();
        for (unsigned set = 0; set < sets; set++) {
                unsigned witnesses = 1 + (unsigned)below(4);

                set_up(witnesses);
                for (unsigned i = 0; i < witnesses; i++)
                        w.session[i].waits = 1;
                for (unsigned i = 0; i < 1000; i++) {
                        for (uint64_t n = below(30); n > 0; n--)
                                change(witnesses);
                        turn(witnesses);
                }
                for (unsigned i = 0; i < SESSIONS; i++)
                        if (w.session[i].there)
                                turns_leave(&w.turns, &w.session[i].m);
                turns_fini(&w.turns);
        }
        printf("at most %" PRIu64 " %% of the bound\n", w.tightest);
        assert_true(w.tightest > 30);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_thousand_sessions_are_one_user),
                cmocka_unit_test(test_dear_packets_come_less_often),
                cmocka_unit_test(test_debt_outlives_the_session),
                cmocka_unit_test(test_nobody_is_served_who_is_not_ready),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
