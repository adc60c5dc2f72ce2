/*
 * Partitions in several domains at once, against a model that is an array: within a domain no two slices overlap,
 * across domains anything may, a slice goes where the fitting gap is smallest, and a domain is as long as it has
 * partitions.
 */
#include "core/partition.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/name.h"
#include "core/node.h"
#include "core/session.h"
#include "core/state.h"

#define GIB (1ull << 30)
#define TIB (1ull << 40)

enum { DOMAINS = 5, SLOTS = 60, STEPS = 20000, MANY = 10000 };

static const struct { uint64_t start, end; } windows[WINDOWS] = { { 40 * TIB, 64 * TIB }, { 64 * GIB, 256 * GIB } };

struct world {
        struct machine machine;
        struct state state;
        struct {
                struct partition *partition; /* NULL: free */
                unsigned domain;
                uint32_t window;
                uint64_t start, size;
        } slot[SLOTS];
};

static struct world w;
static uint64_t rng;

static uint64_t any(uint64_t bound) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return rng % bound;
}

static char *domain_name(unsigned domain) {
        static char name[16];

        snprintf(name, sizeof(name), "d%u", domain);
        return name;
}

static int make(struct partition **ret, unsigned number, unsigned domain, uint32_t window, uint64_t base,
                uint64_t size) {
        char name[16];
        struct partition_args args = {
                .name = name, .domain = domain_name(domain), .window = window, .base = base, .size = size
        };
        int r;

        snprintf(name, sizeof(name), "p%u", number);
        r = partition_new(ret, &w.state, &args);
        if (r == 0)
                partition_link(&w.state, *ret);
        return r;
}

/* ---- the model ---- */

static bool is_free(unsigned domain, uint32_t window, uint64_t start, uint64_t size) {
        if (start < windows[window].start || start + size > windows[window].end)
                return false;
        for (unsigned i = 0; i < SLOTS; i++)
                if (w.slot[i].partition && w.slot[i].domain == domain && w.slot[i].window == window &&
                    w.slot[i].start < start + size && start < w.slot[i].start + w.slot[i].size)
                        return false;
        return true;
}

/* From a start, which is where the window begins or a slice ends, to the next slice. */
static uint64_t gap_at(unsigned domain, uint32_t window, uint64_t start) {
        uint64_t end = windows[window].end;

        for (unsigned i = 0; i < SLOTS; i++)
                if (w.slot[i].partition && w.slot[i].domain == domain && w.slot[i].window == window &&
                    w.slot[i].start >= start && w.slot[i].start < end)
                        end = w.slot[i].start;
        return end - start;
}

/* 0: nowhere. */
static uint64_t best_fit(unsigned domain, uint32_t window, uint64_t size) {
        uint64_t best = 0, smallest = UINT64_MAX;

        for (unsigned i = 0; i <= SLOTS; i++) {
                bool first = i == SLOTS;
                uint64_t at, gap;

                if (!first && (!w.slot[i].partition || w.slot[i].domain != domain || w.slot[i].window != window))
                        continue;
                at = first ? windows[window].start : w.slot[i].start + w.slot[i].size;
                gap = gap_at(domain, window, at);
                if (gap >= size && (gap < smallest || (gap == smallest && at < best))) {
                        smallest = gap;
                        best = at;
                }
        }
        return best;
}

/* ---- steps ---- */

static uint64_t random_size(uint32_t window) {
        uint64_t most = (windows[window].end - windows[window].start) / (4 * GIB);

        return 4 * GIB * (any(4) ? 1 + any(1 + any(most / 4)) : 1 + any(most));
}

static void begin(unsigned i) {
        unsigned domain = (unsigned)any(DOMAINS);
        uint32_t window = any(3) == 0;
        uint64_t size = random_size(window), base = 0, expected;
        struct partition *p = NULL;
        int r;

        if (any(3) == 0) /* as after a restart: where it was */
                base = windows[window].start - 8 * GIB + 4 * GIB * any(8 + size / GIB);
        expected = base ? base : best_fit(domain, window, size);
        r = make(&p, i, domain, window, base, size);
        if (base ? !is_free(domain, window, base, size) : !expected) {
                assert_int_equal(r, base ? PARTITION_E_OVERLAP : PARTITION_E_FULL);
                return;
        }
        assert_int_equal(r, 0);
        assert_int_equal(p->slice.start, expected);
        assert_string_equal(p->domain->name->text, domain_name(domain));
        w.slot[i].partition = p;
        w.slot[i].domain = domain;
        w.slot[i].window = window;
        w.slot[i].start = expected;
        w.slot[i].size = size;
}

static void check(void) {
        unsigned count[DOMAINS] = { 0 };

        assert_int_equal(state_check(&w.state), 0);
        for (unsigned i = 0; i < SLOTS; i++)
                if (w.slot[i].partition) {
                        count[w.slot[i].domain]++;
                        assert_int_equal(w.slot[i].partition->slice.start, w.slot[i].start);
                }
        for (unsigned i = 0; i < DOMAINS; i++) {
                struct name *n = name_find(&w.state.domains, domain_name(i));

                assert_int_equal(n != NULL, count[i] > 0);
                if (n)
                        assert_int_equal(((struct domain *)n->object)->partitions, count[i]);
        }
}

static void test_random(void **state) {
        unsigned shared = 0;

        for (unsigned step = 0; step < STEPS; step++) {
                unsigned i = (unsigned)any(SLOTS);

                if (w.slot[i].partition) {
                        partition_free(&w.state, w.slot[i].partition);
                        w.slot[i].partition = NULL;
                } else {
                        begin(i);
                }
                check();
                for (unsigned k = 1; k < SLOTS; k++)
                        shared += w.slot[0].partition && w.slot[k].partition && w.slot[k].start == w.slot[0].start;
        }
        assert_true(shared > 0);
        for (unsigned i = 0; i < SLOTS; i++)
                if (w.slot[i].partition)
                        partition_free(&w.state, w.slot[i].partition);
        memset(w.slot, 0, sizeof(w.slot));
        check();
}

/* ---- directed ---- */

/* 10,000 partitions, each of which takes a whole window: they fit, because they never share. */
static void test_many_whole_windows(void **state) {
        static struct partition *p[MANY];
        struct partition *none = NULL;

        for (unsigned i = 0; i < MANY; i++) {
                assert_int_equal(make(&p[i], i, i, WINDOW_PRIMARY, 0, 24 * TIB), 0);
                assert_int_equal(p[i]->slice.start, 40 * TIB);
        }
        assert_int_equal(make(&none, MANY, 77, WINDOW_PRIMARY, 0, 4 * GIB), PARTITION_E_FULL);
        assert_int_equal(make(&none, MANY, 77, WINDOW_LOW, 0, 192 * GIB), 0);
        partition_free(&w.state, none);
        for (unsigned i = 0; i < MANY; i++)
                partition_free(&w.state, p[i]);
        assert_null(w.state.domains.root);
}

static struct session *come(uint64_t id, uint32_t pid, struct partition *p) {
        struct session_args args = { .id = id, .pid = pid, .who = { .uid = 100, .gid = 100 } };
        struct session *s = NULL;

        assert_int_equal(session_new(&s, &w.state, &args), 0);
        if (p)
                session_attach(s, p);
        return s;
}

/* The domain is the process's while one of its sessions is attached, and no longer. */
static void test_a_process_is_in_one(void **state) {
        struct partition *here, *there;
        struct session *first, *second, *other;

        assert_int_equal(make(&here, 0, 0, WINDOW_PRIMARY, 0, 4 * GIB), 0);
        assert_int_equal(make(&there, 1, 1, WINDOW_PRIMARY, 0, 4 * GIB), 0);
        assert_int_equal(here->slice.start, there->slice.start);
        first = come(1, 70, here);
        second = come(2, 70, here);
        other = come(3, 71, there);
        assert_ptr_equal(session_other_domain(first), here->domain);
        assert_ptr_equal(session_other_domain(other), there->domain);
        session_free(&w.state, first);
        first = come(4, 70, NULL);
        assert_ptr_equal(session_other_domain(first), here->domain);
        session_free(&w.state, second);
        assert_null(session_other_domain(first));
        session_attach(first, there);
        assert_ptr_equal(session_other_domain(first), there->domain);
        session_free(&w.state, first);
        session_free(&w.state, other);
        partition_free(&w.state, here);
        partition_free(&w.state, there);
        assert_null(w.state.domains.root);
}

/* The invariants see a slice that is another domain's, and a domain that has forgotten one. */
static void test_check_sees_damage(void **state) {
        struct domain *domain;
        struct partition *p, *q;

        assert_int_equal(make(&p, 0, 0, WINDOW_PRIMARY, 0, 4 * GIB), 0);
        assert_int_equal(make(&q, 1, 1, WINDOW_PRIMARY, 0, 4 * GIB), 0);
        assert_int_equal(state_check(&w.state), 0);
        domain = p->domain;
        p->domain = q->domain;
        assert_int_equal(state_check(&w.state), -EUCLEAN);
        p->domain = domain;
        domain->partitions++;
        assert_int_equal(state_check(&w.state), -EUCLEAN);
        domain->partitions--;
        assert_int_equal(state_check(&w.state), 0);
        partition_free(&w.state, p);
        partition_free(&w.state, q);
}

static int begin_world(void **state) {
        struct node_desc *n = machine_add(&w.machine);

        n->kind = NODE_SOFT;
        n->capacity = GIB;
        return state_init(&w.state, &w.machine);
}

static int end_world(void **state) {
        state_fini(&w.state);
        machine_fini(&w.machine);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random),
                cmocka_unit_test(test_many_whole_windows),
                cmocka_unit_test(test_a_process_is_in_one),
                cmocka_unit_test(test_check_sees_damage),
        };
        const char *seed = getenv("SVMD_SEED");

        rng = (seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 2654435761u) | 1;
        printf("SVMD_SEED=%llu\n", (unsigned long long)rng);
        return cmocka_run_group_tests(tests, begin_world, end_world);
}
