/* A node is full: who is asked to give back, for how much, and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/partition.h"
#include "expect.h"
#include "service/spill.h"

#define MIB    (1ull << 20)
#define GIB    (1ull << 30)
#define SECOND 1000000000ull

enum { PINNED = SVMD__V1__MEM_FLAG__MEM_PINNED, ALL = 48 };

static struct world w;
static struct client admin, a, b, c;
static uint64_t now_ns;

static uint64_t now(void) {
        return now_ns;
}

static int set_up(void **state) {
        static const uint64_t capacity[NODES] = { 64 * MIB, 48 * MIB, ALL * MIB, MIB };

        ops_reset();
        now_ns = 1000 * SECOND;
        world_open_sized(&w, 0, capacity);
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 16 * GIB, "", 100, 0666));
        must(&admin, mk_partition("two", 16 * GIB, "", 100, 0666));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "two");
        client_open(&w, &c, 101, 101, false);
        client_greet(&c, "two");
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        client_close(&b);
        client_close(&c);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

/* What it was asked for in all, and how often. */
static uint64_t asked(const struct client *who, unsigned *ret_times) {
        uint64_t bytes = 0;
        unsigned times = 0;

        for (unsigned i = 0; i < who->events_count; i++)
                if (who->events[i].kind == SVMD__V1__EVENT__EVENT_GIVE_BACK && who->events[i].id == GPU1) {
                        bytes += who->events[i].bytes;
                        times++;
                }
        if (ret_times)
                *ret_times = times;
        return bytes;
}

static uint64_t take(struct client *who, uint64_t mib) {
        return must(who, mk_create(GPU1, mib * MIB, PINNED))->id;
}

static void lack(struct client *who, uint64_t mib, const char *says) {
        must_not(who, mk_create(GPU1, mib * MIB, PINNED), SVMD_STATUS_NO_ROOM, says);
}

static void collect(void) {
        service_collect(w.svc);
        service_commit(w.svc);
}

/* For what is missing, and no more; who asks in vain makes nobody be asked again before a pause is over. */
static void test_refused(void **state) {
        uint64_t memory = take(&a, ALL - 2);
        unsigned times;

        lack(&b, 6, "others are asked to give back 4 MiB");
        assert_int_equal(asked(&a, NULL), 4 * MIB);
        for (int i = 0; i < 20; i++)
                lack(&b, 8, "");
        asked(&a, &times);
        assert_int_equal(times, 1);
        now_ns += 3 * SECOND;
        collect();
        lack(&b, 8, "free memory there");
        asked(&a, &times);
        assert_int_equal(times, 1);
        now_ns += 3 * SECOND;
        lack(&b, 8, "asked to give back 6 MiB");
        assert_int_equal(asked(&a, &times), 10 * MIB);
        must(&a, mk_release(memory));
        take(&b, 8);
}

/* Above high, above low, above min; nobody below, and not who asks. */
static void test_whom(void **state) {
        take(&a, 20);
        take(&b, 28);
        must(&admin, mk_bound("two", GPU1, BOUND_LOW, 26 * MIB));
        must(&admin, mk_bound("one", GPU1, BOUND_MIN, 16 * MIB));
        lack(&c, 10, "asked to give back 10 MiB");
        assert_int_equal(asked(&a, NULL), 4 * MIB);
        assert_int_equal(asked(&b, NULL), 6 * MIB);
        now_ns += 6 * SECOND;
        collect();
        must(&admin, mk_bound("two", GPU1, BOUND_MIN, 26 * MIB));
        must(&admin, mk_bound("one", GPU1, BOUND_MIN, 20 * MIB));
        lack(&b, 10, "");
        assert_int_equal(asked(&a, NULL), 4 * MIB);
        assert_int_equal(asked(&b, NULL), 6 * MIB);
}

/* A limit of one's own is no reason to ask others. */
static void test_own_limit(void **state) {
        take(&a, 20);
        must(&admin, mk_limit("two", GPU1, 4 * MIB));
        must_not(&b, mk_create(GPU1, 5 * MIB, PINNED), SVMD_STATUS_LIMIT, "");
        assert_int_equal(asked(&a, NULL), 0);
}

/* Who stands in line has others asked for it, and gets what they give. */
static void test_in_line(void **state) {
        uint64_t memory = take(&a, ALL - 2), lease;

        lease = must(&b, mk_admit(GPU1, 12 * MIB, 60 * SECOND))->id;
        collect();
        assert_int_equal(asked(&a, NULL), 10 * MIB);
        must_not(&b, mk_create_leased(GPU1, MIB, lease), SVMD_STATUS_BUSY, "");
        now_ns += 6 * SECOND;
        collect();
        assert_int_equal(asked(&a, NULL), 20 * MIB);
        must(&a, mk_release(memory));
        world_settle(&w);
        must(&b, mk_create_leased(GPU1, 12 * MIB, lease));
        assert_int_equal(ledger_bytes(&w, GPU1), 12 * MIB);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = { TEST(test_refused), TEST(test_whom), TEST(test_own_limit),
                                            TEST(test_in_line) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
