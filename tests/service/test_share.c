/* What a partition shares with another: who may, what a guest can do and see, what a restart keeps, and how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/share.h"
#include "expect.h"
#include "ranges.h"

#define PAGE 4096ull
#define MIB  (1ull << 20)
#define GIB  (1ull << 30)

enum { READ = 1, WRITE = 3, RESERVATION = 0, MEMORY = 1 };

static struct world w;
static struct client admin, owner, guest;
static uint64_t weights, weights_at, cache;

static void admin_open(void) {
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
}

/* A client that comes through the socket of `door`; it has said hello. */
static void come_through(struct client *c, const char *door, uint32_t pid) {
        struct service_peer peer = { .pid = pid, .uid = 300, .gid = 300 };

        peer.partition = partition_find(&w.svc->state, door);
        assert_non_null(peer.partition);
        assert_int_equal(client_open_as(&w, c, &peer), 0);
        client_greet(c, NULL);
}

static int set_up(void **state) {
        Svmd__V1__Result *r;

        ops_reset();
        world_open(&w, 0);
        admin_open();
        must(&admin, mk_partition("one", 4 * GIB, "", 100, 0600));
        must(&admin, mk_partition("two", 4 * GIB, "", 200, 0600));
        must(&admin, mk_partition("three", 4 * GIB, "", 200, 0600));
        client_open(&w, &owner, 100, 100, false);
        client_greet(&owner, "one");
        r = must(&owner, mk_reserve(MIB, 0, 0, "weights", 0600));
        weights = r->id;
        weights_at = r->address;
        cache = must(&owner, mk_create(0, MIB, SVMD__V1__MEM_FLAG__MEM_SHAREABLE))->id;
        must(&owner, mk_map(0, weights_at, MIB, cache, 0, WRITE, 0));
        must(&owner, mk_export(cache, "cache", 0600, WRITE));
        come_through(&guest, "two", 4000);
        return 0;
}

static int tear_down(void **state) {
        client_close(&guest);
        client_close(&owner);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

static void restart(void) {
        struct client *clients[] = { &owner, &guest };

        world_settle(&w);
        check_world(&w);
        client_close(&admin);
        world_bury(world_restart_as_was(&w, clients, 2));
        admin_open();
        check_world(&w);
}

/* From the log, and from a snapshot. */
static void restart_twice(void) {
        restart();
        assert_int_equal(journal_snapshot(w.svc), 0);
        restart();
}

static Svmd__V1__SharesResult *list(struct client *c) {
        Svmd__V1__Result *r = must(c, op_make(SVMD__V1__OP__OP_SHARE_LIST));

        assert_int_equal(r->detail_case, SVMD__V1__RESULT__DETAIL_SHARES);
        return r->shares;
}

static bool was_told_that_it_lost(const struct client *c, uint64_t reservation) {
        for (unsigned i = 0; i < c->events_count; i++)
                if (c->events[i].kind == SVMD__V1__EVENT__EVENT_RESERVATION && c->events[i].id == reservation &&
                    c->events[i].gone)
                        return true;
        return false;
}

/* ---- what a guest can do ---- */

static void test_open(void **state) {
        Svmd__V1__Result *r;

        must_not(&guest, mk_attach("one"), SVMD_STATUS_NO_SUCH, "leads to no other");
        must(&owner, mk_share("weights", RESERVATION, "two", READ));
        must(&guest, mk_attach("one"));
        must_not(&guest, mk_open("weights", WRITE), SVMD_STATUS_DENIED, "to read only");
        r = must(&guest, mk_open("weights", READ));
        assert_int_equal(r->address, weights_at);
        assert_int_equal(r->id, weights);
        restart_twice();
        must(&guest, mk_mem_fd(cache, READ));
        must_not(&guest, mk_mem_fd(cache, WRITE), SVMD_STATUS_DENIED, "may only read");
        must(&guest, mk_free(weights));
        must_not(&guest, mk_mem_fd(cache, READ), SVMD_STATUS_FOREIGN, "another session");
        must(&guest, mk_open("weights", READ));
}

static void test_import(void **state) {
        must(&owner, mk_share("cache", MEMORY, "two", WRITE));
        must(&guest, mk_attach("one"));
        must_not(&guest, mk_open("weights", READ), SVMD_STATUS_NO_SUCH, "that it shares with yours");
        assert_int_equal(must(&guest, mk_import("cache", WRITE))->id, cache);
        restart_twice();
        must(&guest, mk_mem_fd(cache, WRITE));
        must(&guest, mk_release(cache));
}

/* All that is not meant for guests is refused, whatever else it has wrong. */
static void test_nothing_else(void **state) {
        unsigned allowed = 0, refused = 0;

        must(&owner, mk_share("weights", RESERVATION, "two", WRITE));
        must(&guest, mk_attach("one"));
        must(&guest, mk_open("weights", WRITE));
        for (unsigned op = 1; op < 128; op++) {
                const struct op_row *row = op_row(op);
                Svmd__V1__Result *r;

                if (!row || row->flags & OP_GUEST || row->flags & OP_ADMIN) {
                        allowed += row && row->flags & OP_GUEST;
                        continue;
                }
                if (op_fds(op_make(op)) > 0)
                        continue; /* refused for want of a descriptor before anybody looks */
                r = client_call(&guest, op_make(op));
                assert_non_null(r);
                if (r->code != SVMD_STATUS_DENIED || !strstr(r->text, "is a guest there"))
                        fail_msg("%s: %u %s", row->name, r->code, r->text);
                refused++;
        }
        assert_true(allowed >= 15 && refused >= 30);
        must_not(&guest, mk_share("weights", RESERVATION, "three", READ), SVMD_STATUS_DENIED, "is a guest there");
}

static void test_other_doors(void **state) {
        struct client other;

        must(&owner, mk_share("weights", RESERVATION, "two", READ));
        come_through(&other, "three", 4001);
        must_not(&other, mk_attach("one"), SVMD_STATUS_NO_SUCH, "leads to no other");
        must_not(&other, mk_attach("two"), SVMD_STATUS_NO_SUCH, "leads to no other");
        must(&owner, mk_share("cache", MEMORY, "three", READ));
        must(&other, mk_attach("one"));
        must_not(&other, mk_open("weights", READ), SVMD_STATUS_NO_SUCH, "");
        client_close(&other);
}

/* A share does not widen what the owner's own partition may, and its mode does not narrow what is shared. */
static void test_mode(void **state) {
        struct client same;

        must(&owner, mk_share("weights", RESERVATION, "two", WRITE));
        client_open(&w, &same, 300, 300, false);
        must_not(&same, mk_attach("one"), SVMD_STATUS_SHAPE, "hello");
        client_close(&same);
        must(&guest, mk_attach("one"));
        must(&guest, mk_open("weights", WRITE));
}

/* ---- taking it back ---- */

static void test_take_back(void **state) {
        must(&owner, mk_share("weights", RESERVATION, "two", WRITE));
        must(&owner, mk_share("cache", MEMORY, "two", WRITE));
        must(&guest, mk_attach("one"));
        must(&guest, mk_open("weights", WRITE));
        must(&guest, mk_import("cache", WRITE));
        assert_int_equal(must(&owner, mk_share("weights", RESERVATION, "two", 0))->value, 1);
        assert_true(was_told_that_it_lost(&guest, weights));
        must_not(&guest, mk_open("weights", READ), SVMD_STATUS_NO_SUCH, "");
        must(&guest, mk_mem_fd(cache, WRITE)); /* it has that by its own name */
        must(&owner, mk_share("cache", MEMORY, "two", 0));
        must_not(&guest, mk_mem_fd(cache, READ), SVMD_STATUS_FOREIGN, "");
        must_not(&owner, mk_share("cache", MEMORY, "two", 0), SVMD_STATUS_NO_SUCH, "is not shared");
        restart_twice();
        must_not(&guest, mk_open("weights", READ), SVMD_STATUS_NO_SUCH, "");
}

static void test_narrow(void **state) {
        must(&owner, mk_share("weights", RESERVATION, "two", WRITE));
        must(&guest, mk_attach("one"));
        must(&guest, mk_open("weights", WRITE));
        must(&owner, mk_share("weights", RESERVATION, "two", READ));
        assert_true(was_told_that_it_lost(&guest, weights));
        must_not(&guest, mk_open("weights", WRITE), SVMD_STATUS_DENIED, "");
        must(&guest, mk_open("weights", READ));
        must(&owner, mk_share("weights", RESERVATION, "two", WRITE));
        restart_twice();
        must(&guest, mk_mem_fd(cache, READ));
        assert_int_equal(list(&owner)->n_shares, 1);
        assert_int_equal(list(&owner)->shares[0]->access, WRITE);
        assert_int_equal(list(&owner)->shares[0]->guests, 1);
}

/* Its owner has gone and only guests have it: with the share it ends. */
static void test_last_guest(void **state) {
        Svmd__V1__Op *op;

        must(&owner, mk_share("weights", RESERVATION, "two", READ));
        must(&guest, mk_attach("one"));
        must(&guest, mk_open("weights", READ));
        client_close(&owner);
        world_settle(&w);
        check_world(&w);
        assert_int_equal(w.svc->state.reservations_count, 1);
        op = mk_share("weights", RESERVATION, "two", 0);
        op->share->partition = (char *)"one";
        must(&admin, op);
        assert_int_equal(w.svc->state.reservations_count, 0);
        assert_true(list_empty(&w.svc->state.shares));
        client_open(&w, &owner, 100, 100, false);
        client_greet(&owner, "one");
}

static void test_free_ends_it(void **state) {
        must(&owner, mk_share("weights", RESERVATION, "two", READ));
        must(&owner, mk_share("cache", MEMORY, "two", READ));
        must(&guest, mk_attach("one"));
        must(&guest, mk_open("weights", READ));
        must(&owner, mk_unmap(0, weights_at, MIB));
        must(&owner, mk_free(weights));
        assert_true(was_told_that_it_lost(&guest, weights));
        must(&owner, mk_release(cache));
        assert_true(list_empty(&w.svc->state.shares));
        restart_twice();
}

static void test_managed(void **state) {
        Svmd__V1__Result *r = must(&owner, mk_range(MIB, PAGE, "range", 0600));
        uint64_t id = r->id, at = r->address;

        must(&owner, mk_share("range", RESERVATION, "two", READ));
        must(&admin, mk_kept_max("one", MIB));
        must(&owner, mk_keep(id, 0, 0));
        must(&guest, mk_attach("one"));
        assert_int_equal(must(&guest, mk_open("range", READ))->address, at);
        must(&guest, mk_files(id));
        restart_twice();
        client_close(&owner);
        client_open(&w, &owner, 100, 100, false);
        client_greet(&owner, "one");
        must(&owner, mk_share("range", RESERVATION, "two", 0));
        must_not(&guest, mk_files(id), SVMD_STATUS_FOREIGN, "");
        must(&owner, mk_kept_remove("", SVMD__V1__KEPT_KIND__KEPT_RESERVATION, "range"));
}

/* ---- partitions go ---- */

static void test_delete_the_guests(void **state) {
        must(&owner, mk_share("weights", RESERVATION, "two", READ));
        must(&owner, mk_share("weights", RESERVATION, "three", READ));
        must(&guest, mk_attach("one"));
        must(&guest, mk_open("weights", READ));
        must(&admin, mk_delete("two", true));
        world_settle(&w);
        check_world(&w);
        assert_int_equal(list(&owner)->n_shares, 1);
        assert_string_equal(list(&owner)->shares[0]->to, "three");
        client_close(&guest);
        come_through(&guest, "three", 4002);
        must(&guest, mk_attach("one"));
        restart_twice();
}

static void test_delete_the_owners(void **state) {
        must(&owner, mk_share("weights", RESERVATION, "two", READ));
        must(&guest, mk_attach("one"));
        must(&guest, mk_open("weights", READ));
        must(&admin, mk_delete("one", true));
        world_settle(&w);
        check_world(&w);
        assert_true(list_empty(&w.svc->state.shares));
        client_close(&owner);
        client_close(&guest);
        must(&admin, mk_partition("one", 4 * GIB, "", 100, 0600));
        client_open(&w, &owner, 100, 100, false);
        client_greet(&owner, "one");
        come_through(&guest, "two", 4003);
}

/* ---- lists ---- */

static void test_list(void **state) {
        struct client two;
        static char names[100][8];

        for (unsigned i = 0; i < 100; i++) {
                snprintf(names[i], sizeof(names[i]), "r%u", i);
                must(&owner, mk_reserve(PAGE, 0, 0, names[i], 0));
                must(&owner, mk_share(names[i], RESERVATION, "two", READ));
        }
        client_open(&w, &two, 200, 200, false);
        client_greet(&two, "two");
        for (int k = 0; k < 2; k++) {
                unsigned seen = 0;
                uint64_t after = 0;
                bool more = true;

                while (more) {
                        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_SHARE_LIST);
                        Svmd__V1__Result *r;

                        op->share_list->after = after;
                        r = must(k ? &two : &owner, op);
                        more = r->more;
                        for (size_t i = 0; i < r->shares->n_shares; i++) {
                                assert_string_equal(r->shares->shares[i]->name, names[seen++]);
                                after = r->shares->shares[i]->id;
                        }
                }
                assert_int_equal(seen, 100);
        }
        must_not(&two, mk_share("r0", RESERVATION, "three", READ), SVMD_STATUS_NO_SUCH, "");
        client_close(&two);
}

static void test_refusals(void **state) {
        struct client other;

        must_not(&owner, mk_share("none", RESERVATION, "two", READ), SVMD_STATUS_NO_SUCH, "no reservation named none");
        must_not(&owner, mk_share("none", MEMORY, "two", READ), SVMD_STATUS_NO_SUCH, "no memory named none");
        must_not(&owner, mk_share("weights", RESERVATION, "four", READ), SVMD_STATUS_NO_SUCH, "no partition four");
        must_not(&owner, mk_share("weights", RESERVATION, "one", READ), SVMD_STATUS_INVALID, "own");
        must_not(&owner, mk_share("weights", RESERVATION, "two", 2), SVMD_STATUS_INVALID, "access is");
        must_not(&owner, mk_share("weights", RESERVATION, "two", 7), SVMD_STATUS_INVALID, "access is");
        must(&admin, mk_partition("far", 4 * GIB, "elsewhere", 100, 0600));
        must_not(&owner, mk_share("weights", RESERVATION, "far", READ), SVMD_STATUS_DENIED, "sharing domain");
        must(&admin, mk_delete("far", false));
        must(&admin, mk_partition("open", 4 * GIB, "", 100, 0666));
        client_open(&w, &other, 500, 500, false);
        client_greet(&other, "open");
        must(&other, mk_reserve(PAGE, 0, 0, "mine", 0));
        must(&other, mk_share("mine", RESERVATION, "two", READ));
        client_close(&other);
        must(&admin, mk_delete("open", true));
        assert_true(list_empty(&w.svc->state.shares));
}

/* Shared, or taken back, in a request that fails as a whole. */
static void test_all_or_nothing(void **state) {
        Svmd__V1__Op *ops[] = { mk_share("weights", RESERVATION, "two", WRITE), mk_free(999999) };
        char *before = digest(&w, true), *after;

        assert_non_null(client_send(&owner, SVMD__V1__MODE__ALL_OR_NOTHING, ops, 2, NULL, 0));
        after = digest(&w, true);
        assert_string_equal(before, after);
        free(before);
        free(after);
        must(&owner, mk_share("weights", RESERVATION, "two", WRITE));
        must(&guest, mk_attach("one"));
        must(&guest, mk_open("weights", WRITE));
        before = digest(&w, true);
        ops[0] = mk_share("weights", RESERVATION, "two", 0);
        assert_non_null(client_send(&owner, SVMD__V1__MODE__ALL_OR_NOTHING, ops, 2, NULL, 0));
        ops[0] = mk_share("weights", RESERVATION, "two", READ);
        assert_non_null(client_send(&owner, SVMD__V1__MODE__ALL_OR_NOTHING, ops, 2, NULL, 0));
        after = digest(&w, true);
        assert_string_equal(before, after);
        free(before);
        free(after);
        assert_false(was_told_that_it_lost(&guest, weights));
}

int main(void) {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_open),
                TEST(test_import),
                TEST(test_nothing_else),
                TEST(test_other_doors),
                TEST(test_mode),
                TEST(test_take_back),
                TEST(test_narrow),
                TEST(test_last_guest),
                TEST(test_free_ends_it),
                TEST(test_managed),
                TEST(test_delete_the_guests),
                TEST(test_delete_the_owners),
                TEST(test_list),
                TEST(test_refusals),
                TEST(test_all_or_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
