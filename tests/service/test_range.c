/*
 * Managed reservations end to end: a service, real processes that map them, and what serves their page faults.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "expect.h"
#include "ranges.h"

#define PAGE  4096ull
#define LARGE (64ull << 10)
#define HUGE  (2ull << 20)
#define MIB   (1ull << 20)

static struct world w;
static struct client admin;
static struct user a, b;

static int set_up(void **state) {
        ops_reset();
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_range_partition("one", 4ull << 30, 100, 0666));
        user_open(&w, &a, 100, "one");
        user_open(&w, &b, 101, "one");
        return 0;
}

static int tear_down(void **state) {
        user_close(&a);
        user_close(&b);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

static struct service *restart(void) {
        struct client *all[] = { &a.client, &b.client, &admin };

        return world_restart(&w, all, 3);
}

/* ---- touching ---- */

static void test_touch_and_move(void **state) {
        Svmd__V1__Result *r = must(&a.client, mk_range(MIB, LARGE, "", 0));
        uint64_t id = r->id, at = r->address;

        assert_int_equal(r->value, LARGE);
        assert_int_equal(at % LARGE, 0);
        user_give(&a);
        user_join(&a, id, true);
        assert_int_equal(process_check(&a.process, at, MIB, 0), 0);
        process_fill(&a.process, at, MIB, 7);
        assert_int_equal(user_do(&a, mk_migrate(at, MIB, GPU1)), 0);
        assert_int_equal(where(&w, id, 0), GPU1);
        assert_int_equal(where(&w, id, 15), GPU1);
        assert_int_equal(process_check(&a.process, at, MIB, 7), 0);
        must(&a.client, mk_free(id));
        world_settle(&w);
        check_world(&w);
}

static void test_two_processes_and_a_reader(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, PAGE, "shared", 0664))->id;
        Svmd__V1__Result *opened = must(&b.client, mk_open("shared", RIGHT_READ));
        uint64_t at = opened->address;

        assert_int_equal(opened->id, id);
        assert_int_equal(opened->value, PAGE);
        user_give(&a);
        user_give(&b);
        user_join(&a, id, true);
        user_join(&b, id, false);
        process_fill(&a.process, at, MIB, 3);
        assert_int_equal(process_check(&b.process, at, MIB, 3), 0);
        assert_int_equal(user_do(&a, mk_migrate(at, MIB, GPU1)), 0);
        assert_int_equal(process_check(&b.process, at, MIB, 3), 0);
        assert_int_equal(user_do(&a, mk_migrate(at, MIB, GPU1)), 0);
        process_fill(&a.process, at, MIB, 4);
        assert_int_equal(process_check(&b.process, at, MIB, 4), 0);
}

/* Of a range that a guest of another partition has open, and no longer may. */
static uint64_t lost_by_guest(struct client *guest, uint64_t size) {
        struct service_peer peer = { .pid = 5000, .uid = 300, .gid = 300 };
        Svmd__V1__Result *r = must(&a.client, mk_range(size, PAGE, "shared", 0600));
        uint64_t id = r->id, at = r->address;

        must(&admin, mk_range_partition("two", 4ull << 30, 200, 0666));
        peer.partition = partition_find(&w.svc->state, "two");
        assert_int_equal(client_open_as(&w, guest, &peer), 0);
        client_greet(guest, NULL);
        must(&a.client, mk_share("shared", false, "two", RIGHT_READ));
        must(guest, mk_attach("one"));
        must(guest, mk_open("shared", RIGHT_READ));
        user_give(&a);
        user_join(&a, id, true);
        process_fill(&a.process, at, size, 3);
        world_settle(&w);
        assert_int_equal(where(&w, id, 0), UINT32_MAX);
        must(&a.client, mk_share("shared", false, "two", 0));
        assert_false(list_empty(&w.svc->managed.taking));
        return id;
}

/* Its pages leave host memory, of each granule, and no turn of the loop looks at all of them. */
static void test_guests_pages(void **state) {
        const uint32_t count = 4 * PAGES_LOOKED + 8;
        const struct pages_taken *done;
        struct client guest;
        uint64_t id = lost_by_guest(&guest, (uint64_t)count * PAGE);

        world_settle(&w);
        done = &w.svc->managed.pages;
        for (uint32_t i = 0; i < count; i++)
                assert_int_not_equal(where(&w, id, i), UINT32_MAX);
        assert_int_equal(done->turns, 5);
        assert_int_equal(done->most, PAGES_LOOKED);
        client_close(&guest);
}

/* The range ends before all of them were looked at. */
static void test_guests_pages_gone(void **state) {
        struct client guest;
        uint64_t id = lost_by_guest(&guest, 4 * PAGES_LOOKED * PAGE);

        must(&a.client, mk_free(id));
        assert_true(list_empty(&w.svc->managed.taking));
        client_close(&guest);
}

static void test_devices_see_it(void **state) {
        uint64_t early = must(&a.client, mk_space(GPU1))->id, late, id, at;
        Svmd__V1__Result *r = must(&a.client, mk_range(MIB, LARGE, "", 0));

        id = r->id;
        at = r->address;
        late = must(&a.client, mk_space(GPU1))->id;
        user_give(&a);
        user_join(&a, id, true);
        process_store(&a.process, at + 8, 5);
        assert_int_equal(user_do(&a, mk_submit(early, SVMD__V1__DEVICE_OP__DEVICE_ATOMIC_ADD, at + 8, 0, 0, 1, false)),
                         0);
        assert_int_equal(user_do(&a, mk_submit(late, SVMD__V1__DEVICE_OP__DEVICE_ATOMIC_ADD, at + 8, 0, 0, 1, false)),
                         0);
        assert_int_equal(process_load(&a.process, at + 8), 7);
        must(&a.client, mk_destroy(early));
        must(&a.client, mk_free(id));
        world_settle(&w);
        assert_int_equal(user_do(&a, mk_submit(late, SVMD__V1__DEVICE_OP__DEVICE_ATOMIC_ADD, at + 8, 0, 0, 1, false)),
                         SVMD_STATUS_NOT_MAPPED);
}

/* ---- restarts ---- */

static void test_restart(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, LARGE, "kept", 0666))->id;
        uint64_t at = must(&b.client, mk_open("kept", RIGHT_READ | RIGHT_WRITE))->address, now;
        struct service *old;
        char *before, *after;

        user_give(&a);
        user_give(&b);
        user_join(&a, id, true);
        user_join(&b, id, true);
        process_fill(&a.process, at, MIB, 9);
        assert_int_equal(user_do(&a, mk_migrate(at, MIB / 2, GPU1)), 0);
        assert_int_equal(user_do(&b, mk_pin(at + MIB / 2, LARGE, false)), 0);
        before = digest(&w, false);
        old = restart();
        after = digest(&w, false);
        assert_string_equal(before, after);
        check_world(&w);
        assert_int_equal(where(&w, id, 0), GPU1);
        assert_int_equal(process_check(&b.process, at, MIB, 9), 0);
        process_fill(&b.process, at, MIB, 10);
        assert_int_equal(process_check(&a.process, at, MIB, 10), 0);
        assert_int_equal(user_do(&a, mk_migrate(at + MIB / 2, LARGE, GPU1)), SVMD_STATUS_BUSY);
        must(&b.client, mk_pin(at + MIB / 2, LARGE, true));
        assert_int_equal(user_do(&a, mk_migrate(at + MIB / 2, LARGE, GPU1)), 0);
        /* A thread that waits while svmd dies goes on with the next. */
        world_bury(old);
        managed_stop(w.svc);
        process_begin_load(&b.process, at + MIB / 2);
        assert_false(process_loaded(&b.process, 100, &now));
        old = restart();
        assert_true(process_loaded(&b.process, 30000, &now));
        assert_int_equal(process_check(&b.process, at, MIB, 10), 0);
        must(&a.client, mk_free(id));
        world_bury(old);
        free(before);
        free(after);
}

/* svmd dies before the journal has that it was freed: it was not. */
static void test_freed_and_not_in_the_journal(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, LARGE, "kept", 0666))->id;
        uint64_t at = must(&b.client, mk_open("kept", RIGHT_READ | RIGHT_WRITE))->address;
        Svmd__V1__Op *end = mk_free(id);
        struct service *old;

        user_give(&b);
        user_join(&b, id, true);
        process_fill(&b.process, at, MIB, 12);
        assert_int_equal(user_do(&b, mk_migrate(at, MIB, GPU1)), 0);
        assert_int_equal(client_post(&a.client, SVMD__V1__MODE__BEST_EFFORT, &end, 1), 0);
        usleep(20000); /* whatever might begin now */
        old = restart();
        assert_int_equal(where(&w, id, 3), GPU1);
        assert_int_equal(process_check(&b.process, at, MIB, 12), 0);
        world_bury(old);
        must(&a.client, end);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_touch_and_move),
                TEST(test_two_processes_and_a_reader),
                TEST(test_guests_pages),
                TEST(test_guests_pages_gone),
                TEST(test_devices_see_it),
                TEST(test_restart),
                TEST(test_freed_and_not_in_the_journal),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
