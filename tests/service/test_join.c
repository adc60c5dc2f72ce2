/*
 * How managed ranges come into processes and go: userfaultfds, joins that are called off, addresses that are taken
 * again, transactions that are taken back, and what the keeper has lost.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "expect.h"
#include "proto/range.h"
#include "ranges.h"

#define PAGE  4096ull
#define LARGE (64ull << 10)
#define MIB   (1ull << 20)
#define ALL   SVMD__V1__MODE__ALL_OR_NOTHING
#define DRY   SVMD__V1__MODE__DRY_RUN
#define BEST  SVMD__V1__MODE__BEST_EFFORT

static struct world w;
static struct client admin;
static struct user a, b;

static void refused(struct client *c, Svmd__V1__Op *op, unsigned code) {
        Svmd__V1__Result *r = client_call(c, op);

        if (r->code != code || !r->text[0])
                fail_msg("operation %d: %u %s, expected %u", (int)op->op_case, r->code, r->text, code);
}

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

static void same(char *before) {
        char *after;

        world_settle(&w);
        after = digest(&w, true);
        assert_string_equal(before, after);
        check_world(&w);
        free(before);
        free(after);
}

/* ---- the userfaultfd ---- */

static unsigned give(struct client *c, int fd) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_UFFD_GIVE);
        Svmd__V1__Reply *reply = client_send(c, BEST, &op, 1, &fd, fd >= 0);

        assert_non_null(reply);
        return reply->results[0]->code;
}

static int userfaultfd_of(struct user *u) {
        int device, fd;

        must(&u->client, op_make(SVMD__V1__OP__OP_UFFD_DEVICE));
        device = fdlist_steal(&u->client.fds);
        assert_true(device >= 0);
        fd = process_userfaultfd(&u->process, device);
        close(device);
        return fd;
}

static void test_a_session_gives_one_userfaultfd(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, PAGE, "", 0))->id;
        int fd = userfaultfd_of(&a);

        refused(&a.client, mk_join(id), SVMD_STATUS_SHAPE);
        assert_int_equal(give(&a.client, -1), SVMD_STATUS_FD_COUNT);
        assert_int_equal(give(&a.client, eventfd(0, EFD_CLOEXEC)), SVMD_STATUS_FD_KIND);
        assert_int_equal(give(&a.client, open("/dev/null", O_RDWR | O_CLOEXEC)), SVMD_STATUS_FD_KIND);
        assert_int_equal(give(&a.client, fcntl(fd, F_DUPFD_CLOEXEC, 0)), 0);
        assert_int_equal(give(&a.client, userfaultfd_of(&a)), SVMD_STATUS_TAKEN);
        /* It serves another session's process already. */
        assert_int_equal(give(&b.client, fd), SVMD_STATUS_FD_KIND);
        world_settle(&w);
        check_world(&w);
}

/* svmd dies when the keeper has it and nobody was told. */
static void test_given_and_not_told(void **state) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_UFFD_GIVE);
        uint64_t id = must(&a.client, mk_range(MIB, PAGE, "", 0))->id, request;
        int fd = userfaultfd_of(&a), again = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        uint8_t bytes[256];
        Svmd__V1__Request m = SVMD__V1__REQUEST__INIT;
        struct service *old;
        ssize_t n;

        m.id = request = ++a.client.request;
        m.ops = &op;
        m.n_ops = 1;
        n = encode_request(&m, bytes, sizeof(bytes));
        assert_int_equal(client_raw(&a.client, bytes, (size_t)n, &fd, 1), 0); /* and no service_commit() */
        old = restart();
        a.client.answered = false;
        assert_int_equal(client_raw(&a.client, bytes, (size_t)n, &again, 1), 0);
        client_await(&a.client);
        assert_int_equal(a.client.reply->id, request);
        assert_int_equal(a.client.reply->results[0]->code, 0);
        assert_int_equal(give(&a.client, userfaultfd_of(&a)), SVMD_STATUS_TAKEN);
        user_join(&a, id, true);
        process_fill(&a.process, must(&a.client, mk_files(id))->address, MIB, 5);
        world_bury(old);
}

/* ---- joins ---- */

static void test_what_a_join_needs(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, PAGE, "named", 0600))->id, explicit;
        struct reservation *r;

        explicit = must(&a.client, mk_reserve(MIB, 0, 0, "", 0))->id;
        user_give(&a);
        refused(&a.client, mk_join(explicit), SVMD_STATUS_INVALID);
        refused(&a.client, mk_files(explicit), SVMD_STATUS_INVALID);
        refused(&a.client, mk_join(12345), SVMD_STATUS_NO_SUCH);
        refused(&b.client, mk_join(id), SVMD_STATUS_FOREIGN);
        refused(&b.client, mk_files(id), SVMD_STATUS_FOREIGN);
        refused(&b.client, mk_open("named", RIGHT_READ), SVMD_STATUS_DENIED);
        refused(&a.client, mk_join(id), SVMD_STATUS_SYSTEM); /* nothing is mapped */
        user_map(&a, id);
        must(&a.client, mk_join(id));
        refused(&a.client, mk_join(id), SVMD_STATUS_TAKEN);
        r = container_of(ids_find(&w.svc->state.ids, id), struct reservation, object);
        refused(&a.client, mk_map(0, r->va.start, PAGE, must(&a.client, mk_create(HOST0, PAGE, 0))->id, 0, 3, 0),
                SVMD_STATUS_INVALID);
}

static void test_a_reader_cannot_write(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, PAGE, "named", 0664))->id;
        struct range_head head;
        int memory, states;

        must(&b.client, mk_open("named", RIGHT_READ));
        must(&b.client, mk_files(id));
        memory = fdlist_steal(&b.client.fds);
        states = fdlist_steal(&b.client.fds);
        assert_int_equal(fcntl(memory, F_GETFL) & O_ACCMODE, O_RDONLY);
        assert_int_equal(fcntl(states, F_GETFL) & O_ACCMODE, O_RDONLY);
        assert_int_equal(pread(states, &head, sizeof(head), 0), sizeof(head));
        assert_int_equal(head.magic, RANGE_MAGIC);
        assert_int_equal(head.count, MIB / PAGE);
        close(memory);
        close(states);
        must(&a.client, mk_files(id));
        memory = fdlist_steal(&a.client.fds);
        states = fdlist_steal(&a.client.fds);
        assert_int_equal(fcntl(memory, F_GETFL) & O_ACCMODE, O_RDWR);
        assert_int_equal(fcntl(states, F_GETFL) & O_ACCMODE, O_RDONLY);
        close(memory);
        close(states);
}

static void post_join(struct user *u, uint64_t id) {
        Svmd__V1__Op *op = mk_join(id);

        assert_int_equal(client_post(&u->client, BEST, &op, 1), SERVICE_E_LATER);
}

static void test_freed_while_another_joins(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, PAGE, "named", 0666))->id;
        Svmd__V1__Op *end = mk_free(id);

        must(&b.client, mk_open("named", RIGHT_READ | RIGHT_WRITE));
        user_give(&b);
        user_map(&b, id);
        post_join(&b, id);
        assert_int_equal(client_post(&a.client, BEST, &end, 1), 0);
        client_await(&b.client);
        assert_int_equal(b.client.reply->results[0]->code, SVMD_STATUS_NO_SUCH);
        world_settle(&w);
        check_world(&w);
}

static void test_gone_while_it_joins(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, PAGE, "named", 0666))->id;

        must(&b.client, mk_open("named", RIGHT_READ | RIGHT_WRITE));
        user_give(&b);
        user_map(&b, id);
        post_join(&b, id);
        user_close(&b);
        world_settle(&w);
        check_world(&w);
        user_open(&w, &b, 101, "one");
}

/* Asked again, it is done by the next svmd. */
static void test_svmd_dies_while_it_joins(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, PAGE, "", 0))->id, at;
        struct service *old;

        user_give(&a);
        user_map(&a, id);
        post_join(&a, id);
        old = restart();
        must(&a.client, mk_join(id));
        at = must(&a.client, mk_files(id))->address;
        assert_int_equal(process_open(&a.process, at, MIB, true), 0);
        process_fill(&a.process, at, MIB, 5);
        assert_int_equal(user_do(&a, mk_migrate(at, MIB, GPU1)), 0);
        assert_int_equal(process_check(&a.process, at, MIB, 5), 0);
        world_bury(old);
}

/* svmd ends and keeps nothing, while one waits for it and another one's pages are away. */
static void test_svmd_ends_while_it_joins(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, LARGE, "named", 0666))->id;
        uint64_t at = must(&b.client, mk_open("named", RIGHT_READ | RIGHT_WRITE))->address;

        must(&a.client, mk_space(GPU1));
        user_give(&a);
        user_give(&b);
        user_join(&a, id, true);
        process_fill(&a.process, at, MIB, 5);
        assert_int_equal(user_do(&a, mk_migrate(at, MIB, GPU1)), 0);
        user_map(&b, id);
        post_join(&b, id);
        world_close(&w);
        assert_true(a.client.kicked && b.client.kicked);
        user_close(&a);
        user_close(&b);
        client_close(&admin);
        set_up(state);
}

/* The process ends, and its connection stays. */
static void test_lost_process(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, LARGE, "named", 0666))->id;
        uint64_t at = must(&b.client, mk_open("named", RIGHT_READ | RIGHT_WRITE))->address;

        user_give(&a);
        user_give(&b);
        user_join(&a, id, true);
        user_join(&b, id, true);
        process_fill(&a.process, at, MIB, 6);
        process_end(&a.process);
        assert_int_equal(user_do(&b, mk_migrate(at, MIB, GPU1)), 0);
        while (!a.client.kicked)
                world_wait(&w);
        assert_int_equal(process_check(&b.process, at, MIB, 6), 0);
        process_start(&a.process);
}

/* Asked again and again until nothing is refused for want of memory, it is done once. */
static void test_allocations(void **state) {
        uint64_t id = must(&a.client, mk_range(MIB, LARGE, "", 0))->id, at = must(&a.client, mk_files(id))->address;
        unsigned long failures = 0;
        unsigned code = 1;

        for (unsigned long n = 1; code != 0; n++) {
                int fd = userfaultfd_of(&a);

                alloc_fail_at(n);
                code = give(&a.client, fd);
                failures += alloc_fail_hit();
                alloc_fail_off();
                assert_true(code == 0 || code == SVMD_STATUS_NO_MEMORY);
        }
        user_map(&a, id);
        code = 1;
        for (unsigned long n = 1; code != 0; n++) {
                alloc_fail_at(n);
                code = client_call(&a.client, mk_join(id))->code;
                failures += alloc_fail_hit();
                alloc_fail_off();
                assert_true(code == 0 || code == SVMD_STATUS_NO_MEMORY);
                world_settle(&w);
                check_world(&w);
        }
        assert_true(failures > 5);
        assert_int_equal(process_open(&a.process, at, MIB, true), 0);
        process_fill(&a.process, at, MIB, 8);
        assert_int_equal(user_do(&a, mk_migrate(at, MIB, GPU1)), 0);
        assert_int_equal(process_check(&a.process, at, MIB, 8), 0);
}

/* ---- addresses ---- */

static void test_addresses_are_free_again(void **state) {
        Svmd__V1__Op *op = mk_range(MIB, LARGE, "", 0);
        uint64_t id, at, size = MIB;

        user_give(&a);
        for (unsigned i = 0; i < 10; i++) {
                Svmd__V1__Result *r = must(&a.client, op);

                id = r->id;
                at = r->address;
                op->reserve->address = at;
                user_join(&a, id, true);
                assert_int_equal(process_check(&a.process, at, size, 0), 0);
                process_fill(&a.process, at, size, i + 1);
                if (i % 2)
                        assert_int_equal(user_do(&a, mk_migrate(at, size, GPU1)), 0);
                assert_int_equal(process_unmap(&a.process, at, size), 0);
                must(&a.client, mk_free(id));
        }
}

/* A partition goes when the last of its addresses is free. */
static void test_partition_goes_with_ranges(void **state) {
        struct client extra;
        uint64_t id;

        must(&admin, mk_range_partition("two", 4ull << 30, 100, 0666));
        client_open(&w, &extra, 100, 100, false);
        client_greet(&extra, "two");
        id = must(&extra, mk_range(MIB, PAGE, "", 0))->id;
        assert_true(id > 0);
        must(&admin, mk_delete("two", true));
        assert_true(extra.kicked);
        client_close(&extra);
        assert_null(partition_find(&w.svc->state, "two"));
        must(&admin, mk_range_partition("two", 4ull << 30, 100, 0666));
}

/* ---- transactions ---- */

static void test_taken_back(void **state) {
        uint64_t space = must(&a.client, mk_space(GPU1))->id;
        Svmd__V1__Op *ops[3] = { mk_range(MIB, LARGE, "new", 0666), mk_space(GPU1), mk_free(12345) };
        Svmd__V1__Reply *reply;
        char *before;

        world_settle(&w);
        before = digest(&w, true);
        reply = client_send(&a.client, ALL, ops, 3, NULL, 0);
        assert_int_equal(reply->results[0]->code, SVMD_STATUS_ABORTED);
        assert_int_equal(reply->results[2]->code, SVMD_STATUS_NO_SUCH);
        same(before);
        before = digest(&w, true);
        reply = client_send(&a.client, DRY, ops, 2, NULL, 0);
        assert_int_equal(reply->results[0]->code, 0);
        assert_int_equal(reply->results[1]->code, 0);
        same(before);
        reply = client_send(&a.client, ALL, ops, 2, NULL, 0);
        assert_int_equal(reply->results[0]->code, 0);
        must(&a.client, mk_destroy(space));
        ops[0] = mk_open("new", RIGHT_READ | RIGHT_WRITE);
        ops[1] = mk_free(12345);
        world_settle(&w);
        before = digest(&w, true);
        reply = client_send(&b.client, ALL, ops, 2, NULL, 0);
        assert_int_equal(reply->results[0]->code, SVMD_STATUS_ABORTED);
        same(before);
}

/* ---- what the keeper has lost ---- */

static void lose(unsigned kind) {
        for (size_t i = 0; i < w.kept_count; i++)
                if (KEEP_KIND(w.kept[i].key) == kind) {
                        close(w.kept[i].fd);
                        w.kept[i--] = w.kept[--w.kept_count];
                }
}

static bool told_why(const struct client *c) {
        for (unsigned i = 0; i < c->events_count; i++)
                if (c->events[i].kind == SVMD__V1__EVENT__EVENT_END && c->events[i].code == SVMD_STATUS_GONE)
                        return true;
        return false;
}

static void loses(unsigned kind, bool out, bool other_goes_on) {
        uint64_t id = must(&a.client, mk_range(MIB, LARGE, "", 0))->id, at;
        uint64_t other = must(&b.client, mk_range(MIB, PAGE, "", 0))->id, other_at;
        struct service *old;

        user_give(&a);
        user_join(&a, id, true);
        at = must(&a.client, mk_files(id))->address;
        other_at = must(&b.client, mk_files(other))->address;
        process_fill(&a.process, at, MIB, 5);
        if (out)
                assert_int_equal(user_do(&a, mk_migrate(at, MIB, GPU1)), 0);
        lose(kind);
        old = restart();
        assert_true(a.client.kicked && told_why(&a.client));
        assert_int_equal(b.client.kicked, !other_goes_on);
        if (other_goes_on)
                assert_int_equal(must(&b.client, mk_files(other))->address, other_at);
        world_settle(&w);
        check_world(&w);
        world_bury(old);
}

static void test_memory_is_lost(void **state) {
        loses(KEEP_RANGE, false, false);
}

static void test_state_is_lost(void **state) {
        loses(KEEP_RANGE_STATE, false, false);
}

static void test_userfaultfd_is_lost(void **state) {
        loses(KEEP_UFFD, false, true);
}

static void test_pool_is_lost(void **state) {
        loses(KEEP_SLOTS, true, true);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_a_session_gives_one_userfaultfd),
                TEST(test_given_and_not_told),
                TEST(test_what_a_join_needs),
                TEST(test_a_reader_cannot_write),
                TEST(test_freed_while_another_joins),
                TEST(test_gone_while_it_joins),
                TEST(test_svmd_dies_while_it_joins),
                TEST(test_svmd_ends_while_it_joins),
                TEST(test_lost_process),
                TEST(test_allocations),
                TEST(test_addresses_are_free_again),
                TEST(test_partition_goes_with_ranges),
                TEST(test_taken_back),
                TEST(test_memory_is_lost),
                TEST(test_state_is_lost),
                TEST(test_userfaultfd_is_lost),
                TEST(test_pool_is_lost),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
