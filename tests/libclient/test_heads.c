/* Begin and retry: numbers against a model, and readers who do not wait for those who change the ranges. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"
#include "heads.h"
#include "proto/range.h"
#include "session.h"

enum { RANGES = 100, UNIT = 65536, STEPS = 20000 };

struct model {
        svmd_session s;
        bool there[RANGES];
        uint64_t given[RANGES]; /* the highest number that was ever given out */
        struct range_head *head[RANGES];
};

static uint64_t start_of(unsigned i) {
        return (1ull << 40) + 2 * i * (uint64_t)UNIT;
}

static const void *in(unsigned i) {
        return (void *)(start_of(i) + rnd(UNIT));
}

static void model_init(struct model *m) {
        memset(m, 0, sizeof(*m));
        pthread_mutex_init(&m->s.lock, NULL);
}

/* With a state of its own, which begins at 0. */
static void add(struct model *m, unsigned i) {
        int file = memfd_create("state", MFD_CLOEXEC);

        assert_true(file >= 0);
        assert_int_equal(ftruncate(file, SVMD_PAGE), 0);
        m->head[i] = mmap(NULL, SVMD_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        assert_true(m->head[i] != MAP_FAILED);
        assert_int_equal(heads_add(&m->s, start_of(i), start_of(i) + UNIT, file), 0);
        close(file);
        m->there[i] = true;
}

static void take_away(struct model *m, unsigned i) {
        heads_remove(&m->s, start_of(i));
        munmap(m->head[i], SVMD_PAGE);
        m->there[i] = false;
}

static void model_fini(struct model *m) {
        for (unsigned i = 0; i < RANGES; i++) {
                if (m->there[i])
                        take_away(m, i);
        }
        heads_free(&m->s);
        pthread_mutex_destroy(&m->s.lock);
}

static void look(struct model *m, unsigned i) {
        const void *p = in(i);
        uint64_t number = svmd_range_begin(&m->s, p);

        if (!m->there[i]) {
                assert_true(number == UINT64_MAX);
                assert_int_equal(svmd_range_retry(&m->s, p, number), 1);
                return;
        }
        assert_true(number != UINT64_MAX && number >= m->given[i]);
        m->given[i] = number;
        assert_int_equal(svmd_range_retry(&m->s, p, number), 0);
        assert_int_equal(svmd_range_retry(&m->s, p, number - 1), 1);
}

/* After this no number that was given before is good. */
static void outdate(struct model *m, unsigned i) {
        if (m->there[i])
                m->given[i] = svmd_range_begin(&m->s, in(i)) + 1;
}

static void numbers_match_a_model(void **state) {
        struct model m;

        model_init(&m);
        for (unsigned step = 0; step < STEPS; step++) {
                unsigned i = (unsigned)rnd(RANGES);

                switch (rnd(4)) {
                case 0:
                        outdate(&m, i);
                        if (m.there[i])
                                take_away(&m, i);
                        else
                                add(&m, i);
                        break;
                case 1:
                        outdate(&m, i);
                        heads_touch(&m.s, start_of(i));
                        break;
                case 2:
                        outdate(&m, i);
                        if (m.there[i])
                                m.head[i]->sequence++;
                        break;
                default: heads_remove(&m.s, start_of(i) + SVMD_PAGE); break; /* none starts there */
                }
                for (unsigned k = 0; k < RANGES; k++)
                        look(&m, k);
                assert_true(svmd_range_begin(&m.s, (void *)(start_of(i) + UNIT)) == UINT64_MAX);
        }
        model_fini(&m);
}

/* ---- threads ---- */

enum { READERS = 3 };

struct reader {
        pthread_t thread;
        svmd_session *s;
        const atomic_bool *stop;
        uint64_t wrong, reads;
};

/* Range 0 stays, with the number that it had; the others come and go, and their numbers only grow. */
static void *keep_reading(void *data) {
        struct reader *r = data;
        uint64_t first = svmd_range_begin(r->s, (void *)start_of(0)), last[RANGES] = { 0 };

        while (!atomic_load(r->stop)) {
                unsigned i = 1 + (unsigned)(r->reads++ % (RANGES - 1));
                uint64_t number = svmd_range_begin(r->s, (void *)start_of(i));

                r->wrong += svmd_range_retry(r->s, (void *)start_of(0), first) != 0;
                if (number == UINT64_MAX)
                        continue;
                r->wrong += number < last[i];
                last[i] = number;
        }
        return NULL;
}

static void readers_are_not_in_the_way(void **state) {
        struct reader reader[READERS];
        atomic_bool stop = false;
        struct model m;

        model_init(&m);
        add(&m, 0);
        for (unsigned i = 0; i < READERS; i++) {
                reader[i] = (struct reader){ .s = &m.s, .stop = &stop };
                assert_int_equal(pthread_create(&reader[i].thread, NULL, keep_reading, &reader[i]), 0);
        }
        for (unsigned step = 0; step < STEPS; step++) {
                unsigned i = 1 + (unsigned)rnd(RANGES - 1);

                if (m.there[i])
                        take_away(&m, i);
                else
                        add(&m, i);
        }
        atomic_store(&stop, true);
        for (unsigned i = 0; i < READERS; i++) {
                assert_int_equal(pthread_join(reader[i].thread, NULL), 0);
                assert_int_equal(reader[i].wrong, 0);
        }
        model_fini(&m);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(numbers_match_a_model),
                cmocka_unit_test(readers_are_not_in_the_way),
        };

        seed_random();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
