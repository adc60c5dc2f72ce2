/*
 * Private memory in the whole service, with a mock at the kernel's interface (dmirror_mock.h): what is refused, what
 * moves report, restarts from the log and from a snapshot, allocations and a keeper that fail, and a process that holds
 * its memory up. The kernel's own devices are in tests/vm/guest/hmm.sh.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/hmm.h"
#include "base/alloc.h"
#include "core/session.h"
#include "dmirror_mock.h"
#include "harness.h"
#include "proto/range.h"
#include "service/internal.h"

#define page SVMD_PAGE
enum { DEV0 = NODES, DEV1, SIZE = MOCK_PAGES };

static const char *const devices[] = { "/dev/null", "/dev/zero", NULL };
static struct world w;
static struct client a;
static uint64_t id, at;

static Svmd__V1__Op *mk_private(uint64_t pages) {
        Svmd__V1__Op *op = mk_reserve(pages * page, 0, 0, "", 0);

        op->reserve->kind = SVMD__V1__RESERVATION_KIND__PRIVATE;
        return op;
}

static Svmd__V1__Op *mk_migrate(uint64_t first, uint64_t count, uint32_t node) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_MIGRATE);

        op->migrate->address = at + first * page;
        op->migrate->size = count * page;
        op->migrate->node = node;
        return op;
}

static Svmd__V1__Op *mk_evict(uint64_t first, uint64_t count) {
        Svmd__V1__Op *op = mk_migrate(first, count, 0);

        op->migrate->evict = true;
        return op;
}

static Svmd__V1__Op *mk_exclusive(uint64_t first, uint64_t count, uint32_t node) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_EXCLUSIVE);

        op->exclusive->address = at + first * page;
        op->exclusive->size = count * page;
        op->exclusive->node = node;
        return op;
}

static Svmd__V1__Op *mk_observe(void) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_OBSERVE);

        op->observe->address = at;
        return op;
}

static Svmd__V1__Op *mk_prefer(uint64_t first, uint64_t count, uint32_t node) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVISE);

        op->advise->address = at + first * page;
        op->advise->size = count * page;
        op->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_PREFERRED;
        op->advise->preferred = node + 1;
        return op;
}

static Svmd__V1__Result *must(Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(&a, op);

        if (r->code != 0)
                fail_msg("operation %d: %u %s", (int)op->op_case, r->code, r->text);
        return r;
}

static void want(unsigned code, Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(&a, op);

        if (r->code != code)
                fail_msg("operation %d: %u %s, not %u", (int)op->op_case, r->code, r->text, code);
}

static unsigned give(uint32_t node, const char *path) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DEVICE_GIVE);
        int fd = open(path, O_RDWR | O_CLOEXEC);

        assert_true(fd >= 0);
        op->device_give->node = node;
        return client_send(&a, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1)->results[0]->code;
}

/* The end of what was begun: its code, and the value. */
static unsigned await(uint64_t fence, uint64_t *ret_value, uint64_t *ret_address) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);

        op->fence_query->fence = fence;
        for (;;) {
                Svmd__V1__Result *r = client_call(&a, op);

                assert_int_equal(r->code, 0);
                if (r->fence->done) {
                        if (ret_value)
                                *ret_value = r->fence->value;
                        if (ret_address)
                                *ret_address = r->fence->address;
                        return r->fence->code;
                }
                world_wait(&w);
        }
}

static unsigned run(Svmd__V1__Op *op, uint64_t *ret_value, uint64_t *ret_address) {
        a.deaf = true; /* the end is asked for */
        return await(must(op)->id, ret_value, ret_address);
}

static void run_ok(Svmd__V1__Op *op, uint64_t pages) {
        uint64_t value;

        assert_int_equal(run(op, &value, NULL), 0);
        assert_int_equal(value, pages * page);
}

static void begin(void) {
        Svmd__V1__Result *r;

        world_private = devices;
        world_open(&w, 0);
        client_open(&w, &a, 1000, 1000, false);
        client_greet(&a, "");
        r = must(mk_private(SIZE));
        id = r->id;
        at = r->address;
        mock_begin(at);
}

static void begin_with_devices(void) {
        begin();
        assert_int_equal(give(DEV0, devices[0]), 0);
        assert_int_equal(give(DEV1, devices[1]), 0);
}

static int end(void **state) {
        client_close(&a);
        world_close(&w);
        mock_end();
        ops_reset();
        return 0;
}

static void want_state(uint64_t first, uint64_t count, uint32_t state, uint32_t node) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_RESIDENCY);
        Svmd__V1__Result *r;

        op->residency->address = at + first * page;
        op->residency->size = count * page;
        r = must(op);
        assert_int_equal(r->residency->n_runs, 1);
        assert_int_equal(r->residency->runs[0]->state, state);
        assert_int_equal(r->residency->runs[0]->node, node);
        assert_int_equal(r->residency->runs[0]->cause, RANGE_CAUSE_OBSERVED);
        assert_int_equal(r->residency->runs[0]->size, count * page);
}

/* ---- what it cannot have ---- */

static void refuses_at_reserve(void **state) {
        Svmd__V1__Op *op;

        begin();
        op = mk_private(1);
        op->reserve->name = (char *)"name";
        want(SVMD_STATUS_INVALID, op);
        op = mk_private(1);
        op->reserve->granule = 65536;
        want(SVMD_STATUS_INVALID, op);
        op = mk_private(1);
        op->reserve->flags = SVMD__V1__RANGE_FLAG__RANGE_SIGBUS;
        want(SVMD_STATUS_INVALID, op);
        want(SVMD_STATUS_LIMIT, mk_private((64ull << 20) / page - SIZE + 1));
        assert_int_equal(a.session->registered, SIZE * page);
        must(mk_free(id));
        assert_int_equal(a.session->registered, 0);
        must(mk_private((64ull << 20) / page));
}

static void refuses_what_shared_ranges_have(void **state) {
        static const unsigned ops[] = { SVMD__V1__OP__OP_DISCARD, SVMD__V1__OP__OP_PIN, SVMD__V1__OP__OP_REVOKE,
                                        SVMD__V1__OP__OP_STEAL };
        Svmd__V1__Op *op;

        begin_with_devices();
        for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
                op = op_make(ops[i]);
                op->discard->address = at; /* the first member of each */
                want(SVMD_STATUS_INVALID, op);
                assert_non_null(strstr(a.reply->results[0]->text, "is private"));
        }
        op = op_make(SVMD__V1__OP__OP_JOIN);
        op->join->reservation = id;
        want(SVMD_STATUS_INVALID, op);
        op = op_make(SVMD__V1__OP__OP_RANGE_FILES);
        op->range_files->reservation = id;
        want(SVMD_STATUS_INVALID, op);
        want(SVMD_STATUS_INVALID, mk_map(0, at, page, 1, 0, 3, 0));
        want(SVMD_STATUS_INVALID, mk_keep(id, 0, 0));
        op = mk_prefer(0, 1, DEV0);
        op->advise->what |= SVMD__V1__ADVICE_WHAT__ADVICE_PINNED;
        want(SVMD_STATUS_INVALID, op);
        want(SVMD_STATUS_NODE_KIND, mk_prefer(0, 1, GPU0));
        want(SVMD_STATUS_NO_NODE, mk_prefer(0, 1, 77));
}

static void refuses_nodes(void **state) {
        struct client admin;
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_NODE_SET);

        begin_with_devices();
        want(SVMD_STATUS_NODE_KIND, mk_migrate(0, 1, GPU1));
        want(SVMD_STATUS_NO_NODE, mk_migrate(0, 1, 99));
        want(SVMD_STATUS_NODE_KIND, mk_exclusive(0, 1, HOST0));
        want(SVMD_STATUS_NODE_KIND, mk_create(DEV0, page, 0));
        want(SVMD_STATUS_NODE_KIND, mk_space(DEV0));
        want(SVMD_STATUS_ALIGN, (op->node_set->node = 0, at += 8, mk_migrate(0, 1, DEV0)));
        at -= 8;
        want(SVMD_STATUS_RANGE, mk_migrate(1, SIZE, DEV0));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        op->node_set->node = DEV0;
        op->node_set->action = SVMD__V1__NODE_ACTION__NODE_DRAIN;
        assert_int_equal(client_call(&admin, op)->code, SVMD_STATUS_UNSUPPORTED);
        op->node_set->action = SVMD__V1__NODE_ACTION__NODE_LOST;
        assert_int_equal(client_call(&admin, op)->code, SVMD_STATUS_UNSUPPORTED);
        op->node_set->action = SVMD__V1__NODE_ACTION__NODE_OFFLINE;
        assert_int_equal(client_call(&admin, op)->code, 0);
        want(SVMD_STATUS_NO_NODE, mk_migrate(0, 1, DEV0));
        assert_int_equal(client_call(&admin, mk_partition("p", 0, NULL, 0, 0))->code, 0);
        assert_int_equal(client_call(&admin, mk_limit("p", DEV0, 4096))->code, SVMD_STATUS_NODE_KIND);
        client_close(&admin);
}

static void refuses_files(void **state) {
        begin();
        want(SVMD_STATUS_ACCESS, mk_migrate(0, 1, DEV0));
        want(SVMD_STATUS_ACCESS, mk_migrate(0, 1, HOST0));
        want(SVMD_STATUS_ACCESS, mk_observe());
        assert_int_equal(give(DEV0, "/dev/zero"), SVMD_STATUS_FD_KIND);

        assert_int_equal(give(HOST0, "/dev/null"), SVMD_STATUS_NODE_KIND);
        assert_int_equal(give(DEV0, "/dev/null"), 0);
        assert_int_equal(give(DEV0, "/dev/null"), SVMD_STATUS_TAKEN);
        want(SVMD_STATUS_ACCESS, mk_migrate(0, 1, DEV1));
}

static void refuses_others(void **state) {
        struct client b;

        begin_with_devices();
        client_open(&w, &b, 1000, 1000, false);
        client_greet(&b, "");
        assert_int_equal(client_call(&b, mk_migrate(0, 1, DEV0))->code, SVMD_STATUS_FOREIGN);
        assert_int_equal(client_call(&b, mk_observe())->code, SVMD_STATUS_FOREIGN);
        client_close(&b);
}

/* ---- what it does ---- */

static void moves_and_looks(void **state) {
        begin_with_devices();
        want_state(0, SIZE, RANGE_SEEN_UNSEEN, UINT32_MAX);
        mock_set(0, 100, MOCK_NONE);
        run_ok(mk_observe(), SIZE);
        want_state(0, 100, RESIDENCY_EMPTY, UINT32_MAX);
        want_state(100, SIZE - 100, RESIDENCY_RESIDENT, HOST0);
        run_ok(mk_migrate(50, SIZE - 50, DEV0), SIZE - 50);
        want_state(50, SIZE - 50, RESIDENCY_OUT, DEV0);
        mock_touch(60, 10);
        want_state(60, 10, RESIDENCY_OUT, DEV0); /* what was seen */
        run_ok(mk_observe(), SIZE);
        want_state(60, 10, RESIDENCY_RESIDENT, HOST0);
        run_ok(mk_migrate(55, 20, DEV1), 20); /* taken from the other */
        want_state(55, 20, RESIDENCY_OUT, DEV1);
        run_ok(mk_exclusive(70, 10, DEV0), 10);
        want_state(70, 10, RANGE_SEEN_EXCLUSIVE, HOST0);
        run_ok(mk_migrate(70, 10, DEV1), 10);
        run_ok(mk_migrate(0, 0, HOST0), SIZE);
        want_state(100, SIZE - 100, RESIDENCY_RESIDENT, HOST0);
}

static void evicts_to_what_is_preferred(void **state) {
        begin_with_devices();
        run_ok(mk_migrate(0, 40, DEV0), 40);
        must(mk_prefer(0, 20, DEV1));
        run_ok(mk_evict(0, 20), 20);
        want_state(0, 20, RESIDENCY_OUT, DEV1);
        run_ok(mk_evict(10, 20), 20); /* not all of it prefers that */
        want_state(10, 20, RESIDENCY_RESIDENT, HOST0);
}

static void tells_what_is_left(void **state) {
        uint64_t value, address;
        Svmd__V1__Op *op;

        begin_with_devices();
        mock_set(10, 5, MOCK_PINNED);
        assert_int_equal(run(mk_migrate(0, 2000, DEV0), &value, &address), SVMD_STATUS_BUSY);
        assert_int_equal(value, 1995 * page);
        assert_int_equal(address, at + 10 * page);
        op = mk_migrate(0, 2000, DEV0);
        op->migrate->prefetch = true;
        run_ok(op, 1995);
        mock_set(10, 5, MOCK_UNMAPPED);
        assert_int_equal(run(mk_migrate(0, 2000, DEV1), &value, &address), SVMD_STATUS_NOT_MAPPED);
        assert_int_equal(value, 1995 * page);
        assert_int_equal(address, at + 10 * page);
        want_state(10, 5, RANGE_SEEN_UNMAPPED, UINT32_MAX);
}

static void passes_failures_on(void **state) {
        begin_with_devices();
        mock_fail(DMIRROR_SNAPSHOT, -EBUSY, 2);
        run_ok(mk_migrate(0, 10, DEV0), 10);
        mock_fail(DMIRROR_SNAPSHOT, -EBUSY, 3);
        assert_int_equal(run(mk_observe(), NULL, NULL), SVMD_STATUS_SYSTEM);
        mock_fail(DMIRROR_SNAPSHOT, -EINVAL, 1); /* the process is gone */
        assert_int_equal(run(mk_migrate(0, 20, HOST0), NULL, NULL), SVMD_STATUS_SYSTEM);
        mock_fail(DMIRROR_TO_DEVICE, -EIO, 1);
        assert_int_equal(run(mk_migrate(0, 10, DEV1), NULL, NULL), SVMD_STATUS_SYSTEM);
        mock_fail(DMIRROR_EXCLUSIVE, -EBUSY, 2);
        run_ok(mk_exclusive(0, 10, DEV1), 10);
        mock_fail(DMIRROR_EXCLUSIVE, -EBUSY, 3);
        mock_set(0, 10, MOCK_SYSTEM);
        assert_int_equal(run(mk_exclusive(0, 10, DEV1), NULL, NULL), SVMD_STATUS_BUSY);
}

/* Answers never wait for the process, and its end does not either. */
static void is_not_held_up(void **state) {
        uint64_t fence;

        begin_with_devices();
        a.deaf = true;
        mock_hold();
        fence = must(mk_migrate(0, 10, DEV0))->id;
        while (mock_waiting() == 0)
                usleep(1000);
        want_state(0, 10, RANGE_SEEN_UNSEEN, UINT32_MAX);
        must(mk_free(id));
        mock_release();
        assert_int_equal(await(fence, NULL, NULL), 0);
        mock_hold();
        id = must(mk_private(1))->id;
        client_close(&a);
        client_open(&w, &a, 1000, 1000, false);
        client_greet(&a, "");
        mock_release();
}

static void explains(void **state) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_EXPLAIN);
        Svmd__V1__Result *r;
        char all[4096] = "";

        begin_with_devices();
        must(mk_prefer(0, 1, DEV1));
        run_ok(mk_migrate(0, 1, DEV0), 1);
        op->explain->address = at + 5;
        r = must(op);
        for (size_t i = 0; i < r->explain->n_sentences; i++)
                strcat(all, r->explain->sentences[i]);
        assert_non_null(strstr(all, "private"));
        assert_non_null(strstr(all, "observed, not owned"));
        assert_non_null(strstr(all, "lay on dev0"));
        assert_non_null(strstr(all, "preferred on dev1"));
        assert_int_equal(r->explain->reservation->kind, SVMD__V1__RESERVATION_KIND__PRIVATE);
        assert_int_equal(r->explain->reservation->mapped, page);
        assert_int_equal(r->explain->run->node, DEV0);
        op = op_make(SVMD__V1__OP__OP_NODES);
        r = must(op);
        assert_int_equal(r->nodes->nodes[DEV0]->kind, SVMD__V1__NODE_KIND__HMM);
        assert_int_equal(r->nodes->nodes[DEV0]->used, page);
        assert_string_equal(r->nodes->nodes[DEV0]->device, "/dev/null");
}

/* ---- memory that the process has ---- */

static Svmd__V1__Op *mk_register(uint64_t address, uint64_t pages) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_REGISTER);

        op->register_->address = address;
        op->register_->size = pages * page;
        op->register_->mode = SVMD__V1__REGISTER_MODE__REGISTER_PRIVATE;
        return op;
}

static void registers_in_place(void **state) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_UNREGISTER);
        struct client *clients[] = { &a }, b;

        begin_with_devices();
        must(mk_free(id));
        want(SVMD_STATUS_RANGE, mk_register(at, 10));
        want(SVMD_STATUS_ALIGN, mk_register(8, 10));
        at = 100 * page;
        mock_begin(at);
        id = must(mk_register(at, SIZE))->id;
        want(SVMD_STATUS_TAKEN, mk_register(at + page, 1));
        want(SVMD_STATUS_INVALID, mk_free(id));
        run_ok(mk_migrate(0, 10, DEV0), 10);
        want_state(0, 10, RESIDENCY_OUT, DEV0);
        must(mk_prefer(7, 1, DEV1));
        client_open(&w, &b, 1000, 1000, false);
        client_greet(&b, "");
        assert_int_equal(client_call(&b, mk_migrate(0, 1, DEV0))->code, SVMD_STATUS_RANGE);
        client_close(&b);
        world_bury(world_restart(&w, clients, 1));
        assert_non_null(a.session);
        want_state(0, SIZE, RANGE_SEEN_UNSEEN, UINT32_MAX);
        run_ok(mk_evict(0, 10), 10);
        op->unregister->memory = id;
        must(op);
        want(SVMD_STATUS_NO_SUCH, op);
        want(SVMD_STATUS_RANGE, mk_migrate(0, 1, DEV0));
        assert_int_equal(a.session->registered, 0);
}

/* ---- over restarts ---- */

static void check_after_restart(void) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVICE_QUERY);

        assert_non_null(a.session);
        want_state(0, SIZE, RANGE_SEEN_UNSEEN, UINT32_MAX);
        assert_int_equal(give(DEV0, devices[0]), SVMD_STATUS_TAKEN);
        op->advice_query->address = at + 7 * page;
        assert_int_equal(must(op)->advice->preferred, DEV1 + 1);
        assert_int_equal(a.session->registered, SIZE * page);
        run_ok(mk_migrate(0, 10, DEV1), 10);
        want_state(0, 10, RESIDENCY_OUT, DEV1);
}

static void restart(void) {
        struct client *clients[] = { &a };

        world_bury(world_restart(&w, clients, 1));
}

static void survives(void **state) {
        begin_with_devices();
        must(mk_prefer(5, 10, DEV1));
        run_ok(mk_migrate(0, 10, DEV0), 10);
        restart(); /* from the log */
        check_after_restart();
        restart(); /* from a snapshot */
        check_after_restart();
        must(mk_free(id));
        restart();
        assert_int_equal(a.session->registered, 0);
}

/* A file that the keeper has not is gone, and may be given again. */
static void goes_on_without_a_file(void **state) {
        unsigned found = 0;

        begin_with_devices();
        world_stop(&w);
        for (size_t i = 0; i < w.kept_count; i++)
                if (KEEP_KIND(w.kept[i].key) == KEEP_DEVICE) {
                        close(w.kept[i].fd);
                        w.kept[i] = w.kept[--w.kept_count];
                        break;
                }
        assert_int_equal(world_take_over(&w, (char[256]){ 0 }, 256), 0);
        list_for_each (l, &w.svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                assert_int_equal(((struct private_client *)s->devices)->count, 1);
                found++;
        }
        assert_int_equal(found, 1);
}

static unsigned kept_devices(void) {
        unsigned n = 0;

        for (size_t i = 0; i < w.kept_count; i++)
                n += KEEP_KIND(w.kept[i].key) == KEEP_DEVICE;
        return n;
}

static void lets_go_with_the_session(void **state) {
        begin_with_devices();
        assert_int_equal(kept_devices(), 2);
        run_ok(mk_migrate(0, 10, DEV0), 10);
        client_close(&a);
        assert_int_equal(kept_devices(), 0);
        assert_true(list_empty(&w.svc->private_memory.ranges));
        client_open(&w, &a, 1000, 1000, false);
        client_greet(&a, "");
}

/* ---- without memory ---- */

static void fails_cleanly(void **state) {
        static const char *const names[] = { "reserve", "give", "migrate", "prefer" };

        begin();
        for (unsigned step = 0; step < 4; step++) {
                bool done = false;

                for (unsigned long n = 1; !done; n++) {
                        Svmd__V1__Op *op = step == 0   ? mk_private(3)
                                           : step == 2 ? mk_migrate(0, 3, DEV0)
                                                       : mk_prefer(n, 1, DEV0);
                        unsigned code;
                        int hit;

                        alloc_fail_at(n);
                        if (step == 1)
                                code = give(DEV0, devices[0]);
                        else
                                code = client_call(&a, op)->code;
                        hit = alloc_fail_hit();
                        alloc_fail_off();
                        done = !hit;
                        if (hit ? code != SVMD_STATUS_NO_MEMORY && code != 0 : code != 0)
                                fail_msg("%s, allocation %lu: code %u", names[step], n, code);
                        if (hit && code == 0)
                                done = step == 1; /* it did without: it cannot be given twice */
                        check_world(&w);
                }
        }
        run_ok(mk_migrate(0, 10, DEV0), 10);
}

static void fails_without_a_keeper(void **state) {
        begin();
        w.fail_keep = 1;
        assert_int_not_equal(give(DEV0, devices[0]), 0);
        w.fail_keep = 0;
        want(SVMD_STATUS_ACCESS, mk_migrate(0, 1, DEV0));
        assert_int_equal(kept_devices(), 0);
        assert_int_equal(give(DEV0, devices[0]), 0);
        run_ok(mk_migrate(0, 10, DEV0), 10);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(refuses_at_reserve, end),
                cmocka_unit_test_teardown(refuses_what_shared_ranges_have, end),
                cmocka_unit_test_teardown(refuses_nodes, end),
                cmocka_unit_test_teardown(refuses_files, end),
                cmocka_unit_test_teardown(refuses_others, end),
                cmocka_unit_test_teardown(moves_and_looks, end),
                cmocka_unit_test_teardown(evicts_to_what_is_preferred, end),
                cmocka_unit_test_teardown(tells_what_is_left, end),
                cmocka_unit_test_teardown(passes_failures_on, end),
                cmocka_unit_test_teardown(is_not_held_up, end),
                cmocka_unit_test_teardown(explains, end),
                cmocka_unit_test_teardown(registers_in_place, end),
                cmocka_unit_test_teardown(survives, end),
                cmocka_unit_test_teardown(goes_on_without_a_file, end),
                cmocka_unit_test_teardown(lets_go_with_the_session, end),
                cmocka_unit_test_teardown(fails_cleanly, end),
                cmocka_unit_test_teardown(fails_without_a_keeper, end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
