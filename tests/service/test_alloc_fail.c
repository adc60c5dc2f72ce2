/*
 * What fails for want of something changes nothing: each operation with its first, second, ... allocation refused, a
 * journal that is full, a store that cannot write.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/drm_bind.h"
#include "base/alloc.h"
#include "base/started.h"
#include "core/grant.h"
#include "core/partition.h"
#include "core/session.h"
#include "expect.h"
#include "gpus.h"
#include "ranges.h"
#include "service/holder.h"

#define PAGE SVMD_PAGE

static struct world w;
static struct client a, b, admin;
static uint64_t at, range, plain, shared, device, space;
static unsigned long failures;

static void set_up(uint64_t journal) {
        Svmd__V1__Result *r;

        ops_reset();
        world_open(&w, journal);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 4ull << 30, "", 100, 0666));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        client_open(&w, &b, 101, 101, false);
        client_greet(&b, "one");
        r = must(&a, mk_reserve(64 * PAGE, 0, 0, "named", 0666));
        range = r->id;
        at = r->address;
        plain = must(&a, mk_create(HOST0, 64 * PAGE, 0))->id;
        shared = must(&a, mk_create(HOST0, 64 * PAGE, 1))->id;
        device = must(&a, mk_create(GPU0, 64 * PAGE, 1))->id;
        space = must(&a, mk_space(GPU0))->id;
        must(&a, mk_export(shared, "exported", 0666, 0));
        must(&a, mk_map(0, at, 16 * PAGE, shared, 0, 3, 0));
        must(&a, mk_map(space, 1u << 20, 16 * PAGE, device, 0, 3, 0));
        must(&a, mk_sparse(space, 1u << 20, 64 * PAGE, 1));
        must(&a, mk_sparse(0, at + 32 * PAGE, 8 * PAGE, 2));
}

static void tear_down(void) {
        client_close(&a);
        client_close(&b);
        client_close(&admin);
        world_settle(&w);
        for (unsigned i = 0; i < NODES; i++)
                assert_int_equal(ledger_bytes(&w, i), 0);
        world_close(&w);
}

static void same(const char *before, unsigned op, unsigned long n) {
        char *after;

        world_settle(&w);
        after = digest(&w, true);
        if (strcmp(before, after) != 0)
                fail_msg("operation %u changed something when allocation %lu failed:\n%s\n%s", op, n, before, after);
        free(after);
        check_world(&w);
}

/* Refuses one allocation after the other until the request is served. */
static void until_it_works(struct client *x, Svmd__V1__Mode mode, Svmd__V1__Op **ops, size_t count, int fd) {
        for (unsigned long n = 1;; n++) {
                Svmd__V1__Reply *reply;
                bool hit, good = true;
                char *before;
                int copy = fd >= 0 ? dup(fd) : -1;

                world_settle(&w);
                before = digest(&w, true);
                alloc_fail_at(n);
                reply = client_send(x, mode, ops, count, &copy, fd >= 0);
                hit = alloc_fail_hit();
                alloc_fail_off();
                if (!reply)
                        fail_msg("operation %d: the session ended when allocation %lu failed", (int)ops[0]->op_case, n);
                for (size_t i = 0; i < count; i++) {
                        unsigned code = reply->results[i]->code;

                        good &= code == 0;
                        if (code != 0 && (!hit || (code != SVMD_STATUS_NO_MEMORY && code != SVMD_STATUS_ABORTED)))
                                fail_msg("operation %d: %u %s, allocation %lu", (int)ops[i]->op_case, code,
                                         reply->results[i]->text, n);
                }
                if (!good || mode == SVMD__V1__MODE__DRY_RUN)
                        same(before, ops[0]->op_case, n);
                free(before);
                failures += hit;
                if (good && (!hit || mode != SVMD__V1__MODE__DRY_RUN))
                        return;
        }
}

/* Dry, with a failing one behind it that makes all of it be undone, and for good. */
static void each(struct client *x, Svmd__V1__Op *op) {
        const struct op_row *row = op_row(op->op_case);
        Svmd__V1__Op *two[] = { op, mk_free(UINT64_MAX) };

        if (!(row->flags & OP_FINAL) && !(row->flags & OP_FD_OUT))
                until_it_works(x, SVMD__V1__MODE__DRY_RUN, &op, 1, -1);
        if (!(row->flags & (OP_ALONE | OP_FD_OUT | OP_FINAL))) {
                char *before = digest(&w, true);

                client_send(x, SVMD__V1__MODE__ALL_OR_NOTHING, two, 2, NULL, 0);
                assert_int_equal(x->reply->results[1]->code, SVMD_STATUS_NO_SUCH);
                same(before, op->op_case, 0);
                free(before);
        }
        until_it_works(x, SVMD__V1__MODE__BEST_EFFORT, &op, 1, -1);
}

static void test_allocations(void **state) {
        Svmd__V1__Op *op, *many[6];
        uint64_t id;
        int fd;

        set_up(0);
        each(&a, mk_reserve(PAGE, 0, 0, "", 0));
        each(&a, mk_reserve(PAGE, 0, 0, "second", 0));
        each(&b, mk_open("named", 3));
        each(&b, mk_import("exported", 3));
        each(&a, mk_create(HOST0, PAGE, 0));
        each(&a, mk_create(HOST0, PAGE, 1));
        each(&a, mk_create(HOST0, 4u << 20, 0));
        each(&a, mk_create(HOST0, 4u << 20, 1));
        each(&a, mk_create(GPU1, PAGE, 0));
        each(&b, mk_create(GPU1, 4u << 20, 0));
        each(&b, mk_create(HOST0, PAGE, 0));
        each(&a, mk_export(device, "device", 0, 0));
        each(&a, mk_map(space, 512u << 20, 4 * PAGE, device, 0, 3, 0));
        each(&a, mk_map(space, (1u << 20) + 4 * PAGE, 4 * PAGE, device, 0, 3, 1));
        each(&a, mk_map(0, at + 2 * PAGE, 4 * PAGE, shared, 32 * PAGE, 3, 1));
        each(&a, mk_access(space, (1u << 20) + 2 * PAGE, 9 * PAGE, 1));
        each(&a, mk_attributes(space, (1u << 20) + PAGE, 12 * PAGE, 3, 4));
        each(&a, mk_unmap(space, (1u << 20) + PAGE, 2 * PAGE));
        each(&a, mk_unmap(0, at + 3 * PAGE, PAGE));
        each(&a, mk_sparse(space, 64u << 20, 64 * PAGE, 2));
        each(&a, mk_sparse(0, at + 48 * PAGE, 4 * PAGE, 2));
        each(&a, mk_unsparse(0, at + 49 * PAGE, PAGE));
        each(&a, mk_unsparse(space, (64u << 20) + 8 * PAGE, 4 * PAGE));
        each(&a, mk_unsparse(space, 64u << 20, 8 * PAGE));
        each(&a, mk_space(GPU0));
        id = must(&a, mk_space(GPU0))->id;
        each(&a, mk_destroy(id));
        id = must(&a, mk_create(HOST0, PAGE, 0))->id;
        each(&a, mk_release(id));
        id = must(&a, mk_reserve(PAGE, 0, 0, "", 0))->id;
        each(&a, mk_free(id));
        op = mk_export(device, "", 0, 1);
        until_it_works(&a, SVMD__V1__MODE__BEST_EFFORT, &op, 1, -1);
        fd = fdlist_steal(&a.fds);
        op = mk_import("", 1);
        until_it_works(&b, SVMD__V1__MODE__BEST_EFFORT, &op, 1, fd);
        close(fd);
        op = mk_mem_fd(shared, 1);
        until_it_works(&a, SVMD__V1__MODE__BEST_EFFORT, &op, 1, -1);
        each(&admin, mk_partition("two", 4ull << 30, "new", 1, 0600));
        {
                op = mk_partition("held", 4ull << 30, "new", 1, 0600);
                op->partition_create->container = (char *)"c1";
                op->partition_create->container_pid = (uint32_t)getpid();
                assert_int_equal(started_read((uint32_t)getpid(), &op->partition_create->container_started), 0);
                each(&admin, op);
                each(&admin, mk_delete("held", true));
        }
        each(&admin, mk_limit("two", GPU0, PAGE));
        each(&admin, mk_own_limit(a.id, NULL, GPU0, BOUND_HIGH, 64 * PAGE));
        each(&admin, mk_own_limit(0, "/group", GPU0, BOUND_HIGH, 64 * PAGE));
        each(&admin, mk_own_limit(0, "/group", GPU0, BOUND_HIGH, UINT64_MAX));
        each(&admin, mk_own_limit(a.id, NULL, GPU0, BOUND_HIGH, UINT64_MAX));
        each(&admin, mk_delete("two", true));
        /* Several, in one: everything that the first ones did is taken back. */
        many[0] = mk_create(GPU0, 4u << 20, 0);
        many[1] = mk_map(space, 8u << 20, 4 * PAGE, device, 0, 3, 0);
        many[2] = mk_map(space, (8u << 20) + PAGE, PAGE, device, 9 * PAGE, 3, 1);
        many[3] = mk_unmap(space, 1u << 20, 64 * PAGE);
        many[4] = mk_reserve(PAGE, 0, 0, "third", 0);
        many[5] = mk_space(GPU1);
        until_it_works(&a, SVMD__V1__MODE__DRY_RUN, many, 6, -1);
        until_it_works(&a, SVMD__V1__MODE__ALL_OR_NOTHING, many, 6, -1);
        printf("%lu refused allocations\n", failures);
        assert_true(failures > 150);
        tear_down();
}

/* What two spaces see, and another session opens. */
static void test_ranges(void **state) {
        uint64_t id;

        set_up(0);
        must(&a, mk_space(GPU1));
        must(&a, mk_space(GPU1));
        must(&b, mk_space(GPU1));
        failures = 0;
        each(&a, mk_range(16 * PAGE, PAGE, "", 0));
        each(&a, mk_range(16 * PAGE, PAGE, "managed", 0666));
        each(&b, mk_open("managed", RIGHT_READ));
        each(&a, mk_space(GPU1));
        each(&b, mk_space(GPU1));
        each(&a, mk_create(GPU1, PAGE, 0));
        each(&a, mk_create(HOST0, 4u << 20, 0));
        id = must(&a, mk_range(16 * PAGE, PAGE, "", 0))->id;
        until_it_works(&a, SVMD__V1__MODE__BEST_EFFORT, (Svmd__V1__Op *[]){ mk_files(id) }, 1, -1);
        fdlist_close(&a.fds);
        each(&a, mk_free(id));
        printf("%lu refused allocations\n", failures);
        assert_true(failures > 40);
        tear_down();
}

/* What is kept, and who owns it again. */
static void test_kept(void **state) {
        struct client x;
        uint64_t id;

        set_up(0);
        failures = 0;
        each(&admin, mk_kept_max("one", 64u << 20));
        id = must(&a, mk_range(16 * PAGE, PAGE, "managed", 0666))->id;
        each(&a, mk_keep(id, 0, 0));
        each(&a, mk_keep(id, 0, 60));
        each(&a, mk_keep(0, shared, 60));
        each(&a, mk_unkeep(0, shared));
        must(&a, mk_keep(0, shared, 60));
        each(&b, mk_import("exported", 3));
        until_it_works(&b, SVMD__V1__MODE__DRY_RUN, (Svmd__V1__Op *[]){ mk_kept_list("") }, 1, -1);
        client_open(&w, &x, 100, 100, false);
        client_greet(&x, "one");
        client_close(&a);
        each(&x, mk_open("managed", 3));
        each(&x, mk_kept_remove("", SVMD__V1__KEPT_KIND__KEPT_RESERVATION, "managed"));
        client_close(&b);
        each(&x, mk_kept_remove("", SVMD__V1__KEPT_KIND__KEPT_MEMORY, "exported"));
        printf("%lu refused allocations\n", failures);
        assert_true(failures > 15);
        client_close(&x);
        tear_down();
}

static void test_shares(void **state) {
        struct service_peer peer = { .pid = 4000, .uid = 300, .gid = 300 };
        Svmd__V1__Op *attach;
        struct client x;

        set_up(0);
        failures = 0;
        must(&admin, mk_partition("guests", 4ull << 30, "", 300, 0600));
        must(&a, mk_range(16 * PAGE, PAGE, "managed", 0600));
        must(&a, mk_export(must(&a, mk_create(HOST0, PAGE, SVMD__V1__MEM_FLAG__MEM_SHAREABLE))->id, "memory", 0, 0));
        each(&a, mk_share("managed", false, "guests", 1));
        each(&a, mk_share("memory", true, "guests", 3));
        peer.partition = partition_find(&w.svc->state, "guests");
        assert_int_equal(client_open_as(&w, &x, &peer), 0);
        client_greet(&x, NULL);
        attach = mk_attach("one");
        until_it_works(&x, SVMD__V1__MODE__BEST_EFFORT, &attach, 1, -1);
        each(&x, mk_open("managed", 1));
        each(&x, mk_import("memory", 3));
        until_it_works(&a, SVMD__V1__MODE__DRY_RUN, (Svmd__V1__Op *[]){ op_make(SVMD__V1__OP__OP_SHARE_LIST) }, 1, -1);
        each(&a, mk_share("memory", true, "guests", 1));
        each(&a, mk_share("managed", false, "guests", 0));
        printf("%lu refused allocations\n", failures);
        assert_true(failures > 8);
        client_close(&x);
        tear_down();
}

static void test_leases(void **state) {
        Svmd__V1__Op *plan;
        uint64_t lease, waits;

        set_up(0);
        failures = 0;
        /* On a node where nothing else is: who waits has nothing moved meanwhile. */
        each(&a, mk_admit_two(HOST0, 4 * PAGE, GPU1, 4 * PAGE, 0));
        lease = a.reply->results[0]->id;
        each(&a, mk_create_leased(GPU1, PAGE, lease));
        must(&a, mk_release(a.reply->results[0]->id));
        waits = must(&b, mk_admit(GPU1, w.machine.nodes[GPU1].capacity, UINT64_MAX))->id;
        until_it_works(&admin, SVMD__V1__MODE__DRY_RUN, (Svmd__V1__Op *[]){ mk_lease_list("one") }, 1, -1);
        until_it_works(&admin, SVMD__V1__MODE__DRY_RUN, (Svmd__V1__Op *[]){ mk_holders("") }, 1, -1);
        until_it_works(&admin, SVMD__V1__MODE__DRY_RUN, (Svmd__V1__Op *[]){ mk_drift() }, 1, -1);
        plan = op_make(SVMD__V1__OP__OP_NODE_PLAN);
        plan->node_plan->node = GPU0;
        plan->node_plan->action = SVMD__V1__NODE_ACTION__NODE_OFFLINE;
        until_it_works(&admin, SVMD__V1__MODE__DRY_RUN, &plan, 1, -1);
        until_it_works(&admin, SVMD__V1__MODE__BEST_EFFORT, (Svmd__V1__Op *[]){ op_make(SVMD__V1__OP__OP_METRICS) }, 1,
                       -1);
        each(&a, mk_lease_release(lease));
        each(&b, mk_lease_release(waits));
        printf("%lu refused allocations\n", failures);
        assert_true(failures > 4);
        tear_down();
}

static void test_held_for_later(void **state) {
        uint64_t lease;
        struct client x;

        set_up(0);
        failures = 0;
        must(&admin, mk_kept_max("one", 64u << 20));
        lease = must(&a, mk_admit_two(HOST0, 4 * PAGE, GPU0, 4 * PAGE, 0))->id;
        each(&a, mk_lease_keep(lease, "l", 60));
        each(&a, mk_lease_keep(lease, "", 0));
        must(&a, mk_create(GPU1, PAGE, 0));
        each(&a, mk_lease_fill(a.reply->results[0]->id, lease));
        must(&a, mk_create(GPU0, PAGE, 0));
        each(&a, mk_lease_fill(a.reply->results[0]->id, 0));
        client_open(&w, &x, a.uid, a.gid, false);
        client_greet(&x, "one");
        client_close(&a);
        each(&x, mk_lease_claim("l"));
        each(&x, mk_kept_remove("", SVMD__V1__KEPT_KIND__KEPT_LEASE, "l"));
        printf("%lu refused allocations\n", failures);
        assert_true(failures > 7);
        client_close(&x);
        tear_down();
}

static void test_traces(void **state) {
        Svmd__V1__Op *op;
        int file = memfd_create("trace", 0);

        set_up(0);
        failures = 0;
        must(&a, mk_range(16 * PAGE, PAGE, "managed", 0666));
        op = op_make(SVMD__V1__OP__OP_TRACE_START);
        op->trace_start->partition = (char *)"one";
        until_it_works(&admin, SVMD__V1__MODE__BEST_EFFORT, &op, 1, file);
        op = op_make(SVMD__V1__OP__OP_TRACE_QUERY);
        until_it_works(&admin, SVMD__V1__MODE__BEST_EFFORT, &op, 1, -1);
        op = op_make(SVMD__V1__OP__OP_TRACE_STOP);
        until_it_works(&admin, SVMD__V1__MODE__BEST_EFFORT, &op, 1, -1);
        op = op_make(SVMD__V1__OP__OP_ACT_FOR);
        op->act_for->pid = (uint32_t)getpid();
        until_it_works(&admin, SVMD__V1__MODE__BEST_EFFORT, &op, 1, -1);
        printf("%lu refused allocations\n", failures);
        assert_true(failures > 2);
        close(file);
        tear_down();
}

/* The first cap of a link takes memory. What is asked for first makes room for more settings. */
static void test_settings(void **state) {
        const unsigned policy = SVMD__V1__SETTING_KIND__SETTING_PARTITION_POLICY,
                       link = SVMD__V1__SETTING_KIND__SETTING_LINK_RATE;

        set_up(0);
        failures = 0;
        each(&admin, mk_set(policy, "one", NULL, "latency", 0));
        each(&admin, mk_set(link, "*", "*", NULL, 1u << 20));
        each(&admin, mk_set(link, "host0", "gpu0", NULL, 0));
        each(&admin, mk_set(policy, "one", NULL, "pinned", 0));
        each(&admin, mk_unset(link, "*", "*"));
        each(&admin, mk_unset(policy, "one", NULL));
        until_it_works(&admin, SVMD__V1__MODE__BEST_EFFORT, (Svmd__V1__Op *[]){ mk_policy(0) }, 1, -1);
        printf("%lu refused allocations\n", failures);
        assert_true(failures > 2);
        tear_down();
}

static void done(struct client *c) {
        struct gpu_end e = gpu_await(c, c->reply->results[0]->id);

        if (e.code != 0)
                fail_msg("%u %s", e.code, e.text);
}

/* A process tells what it has bound itself. It has not, so that a check tells what svmd has written down. */
static void tell(uint64_t file) {
        Svmd__V1__Op *op = mk_grant(GPU_NODES, GRANT_MAP | GRANT_UNMAP, 0);
        uint32_t number;
        struct gpu_end e;

        must(&a, mk_drm_space(file, 0, false, false));
        number = (uint32_t)gpu_await(&a, a.reply->results[0]->id).value;
        op->grant_ask->reservation = range;
        op->grant_ask->address = at;
        op->grant_ask->size = 64 * PAGE;
        for (unsigned n = 0; n < 2; n++) {
                Svmd__V1__Result *r;

                each(&a, op);
                r = a.reply->results[0];
                for (unsigned i = 0; i < 8; i++)
                        gpu_binding(DRM_BIND_EMPTY, at + 2 * i * PAGE, 1, 0);
                each(&a, mk_drm_bound(r->id, r->generation, file, number, false));
                assert_int_equal(a.session->grants_count, 0);
                e = gpu_run(&a, mk_drm_check(file, number));
                assert_int_equal(e.code, 0);
                assert_null(strstr(e.text, "svmd does not know"));
                assert_int_equal(e.value, 8 * PAGE);
        }
}

/* Page tables of GPUs. A lane changes them when all that can be refused has been had. */
static void test_page_tables(void **state) {
        uint64_t file, start;
        Svmd__V1__Op *give;
        int fd;

        gpus_open();
        world_shape = gpus_shape;
        set_up(0);
        world_shape = NULL;
        failures = 0;
        a.deaf = true; /* ends are asked for */
        give = op_make(SVMD__V1__OP__OP_DEVICE_GIVE);
        give->device_give->node = GPU_NODES;
        fd = gpu_open(GPU_XE);
        until_it_works(&a, SVMD__V1__MODE__BEST_EFFORT, &give, 1, fd);
        file = a.reply->results[0]->id;
        start = a.session->partition->slice.start;
        each(&a, mk_drm_space(file, 0, false, false));
        done(&a);
        for (unsigned i = 0; i < 8; i++)
                gpu_binding(DRM_BIND_EMPTY, start + 2 * i * PAGE, 1, 0);
        each(&a, mk_drm_bind(file, 1));
        done(&a);
        assert_int_equal(gpu_rows(0, 1), 8); /* and so they were not bound before */
        each(&a, mk_drm_check(file, 1));
        done(&a);
        each(&a, mk_drm_space(file, 1, false, true));
        done(&a);
        each(&a, mk_drm_space(file, 0, false, false));
        done(&a);
        each(&a, mk_drm_space(file, 1, false, true));
        done(&a);
        assert_int_equal(gpu_rows(0, 1), SIZE_MAX);
        tell(file);
        printf("%lu refused allocations\n", failures);
        assert_true(failures > 10);
        close(fd);
        tear_down();
        assert_true(gpus_close());
}

/* The keeper is full. */
static void test_keeper_takes_no_more(void **state) {
        Svmd__V1__Op *op;

        set_up(0);
        op = mk_range(16 * PAGE, PAGE, "managed", 0666);
        for (unsigned n = 1; n <= 2; n++) {
                Svmd__V1__Result *r;
                char *before;

                world_settle(&w);
                before = digest(&w, true);
                w.fail_keep = n;
                r = client_call(&a, op);
                assert_int_equal(w.fail_keep, 0);
                assert_int_equal(r->code, SVMD_STATUS_QUOTA);
                same(before, op->op_case, n);
                free(before);
        }
        must(&a, op);
        tear_down();
}

static void test_attach(void **state) {
        struct client x;
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ATTACH), *hello = op_make(SVMD__V1__OP__OP_HELLO);

        set_up(0);
        op = op_make(SVMD__V1__OP__OP_ATTACH);
        hello = op_make(SVMD__V1__OP__OP_HELLO);
        hello->hello->min_version = hello->hello->max_version = 1;
        client_open(&w, &x, 200, 200, false);
        until_it_works(&x, SVMD__V1__MODE__BEST_EFFORT, &hello, 1, -1);
        until_it_works(&x, SVMD__V1__MODE__BEST_EFFORT, &op, 1, -1); /* makes the default partition */
        client_close(&x);
        for (unsigned long n = 1;; n++) {
                struct service_peer peer = { .pid = 9, .uid = 9, .groups = (uint32_t[]){ 1, 2 }, .groups_count = 2 };
                char *before = digest(&w, true);
                int r;

                alloc_fail_at(n);
                r = client_open_as(&w, &x, &peer);
                alloc_fail_off();
                if (r != 0)
                        same(before, 0, n);
                client_close(&x);
                free(before);
                if (r == 0)
                        break;
        }
        tear_down();
}

/* ---- a full journal ---------------------------------------------------------------------------------------------- */

enum { MANY = 20000 };

static uint64_t ids[MANY];

static size_t fill(void) {
        size_t n = 0;

        for (; n < MANY; n++) {
                Svmd__V1__Result *r;
                char *before = NULL;

                ops_reset();
                r = client_call(&a, mk_reserve(PAGE, 0, 0, "", 0));
                if (r->code == 0) {
                        ids[n] = r->id;
                        continue;
                }
                assert_int_equal(r->code, SVMD_STATUS_JOURNAL);
                assert_true(r->text[0] != 0);
                before = digest(&w, true);
                assert_int_equal(client_call(&a, mk_space(GPU1))->code, SVMD_STATUS_JOURNAL);
                same(before, 0, 0);
                free(before);
                break;
        }
        assert_true(n > 100 && n < MANY);
        return n;
}

static void test_full_journal(void **state) {
        struct client *all[] = { &a, &b, &admin };
        size_t n, first = 0;

        set_up(1u << 20);
        w.options.max_objects_per_session = w.svc->options.max_objects_per_session = 100000;
        for (unsigned round = 0; round < 3; round++) {
                n = fill();
                if (round == 0)
                        first = n;
                assert_true(n >= first / 2);
                if (round == 1) {
                        world_settle(&w);
                        world_bury(world_restart_as_was(&w, all, 3));
                        assert_int_equal(client_call(&a, mk_space(GPU1))->code, SVMD_STATUS_JOURNAL);
                }
                /* What gives back goes on. */
                for (size_t i = 0; i < n; i++) {
                        ops_reset();
                        must(&a, mk_free(ids[i]));
                }
        }
        must(&a, mk_space(GPU1));
        /* The end of a session always has room. */
        fill();
        check_world(&w);
        tear_down();
}

/* What splits mappings makes the snapshot grow more than a mapping does. */
static void test_splits_fill_the_journal(void **state) {
        unsigned i;

        set_up(1u << 20);
        w.svc->options.max_objects_per_session = 1000000;
        must(&a, mk_map(space, 1ull << 40, 64 * PAGE, device, 0, 3, 0));
        for (i = 0; i < 4000; i++) {
                Svmd__V1__Result *r;

                ops_reset();
                r = client_call(&a, mk_map(space, (1ull << 40) + i * 64 * PAGE, 64 * PAGE, device, 0, 3, 1));
                if (r->code != 0)
                        break;
                for (unsigned k = 1; k < 64 && r->code == 0; k += 2)
                        r = client_call(&a, mk_access(space, (1ull << 40) + (i * 64 + k) * PAGE, PAGE, 1));
                if (r->code != 0)
                        break;
        }
        assert_true(i < 4000);
        /* It is full, and a snapshot of it fits: giving back is possible. */
        assert_int_equal(journal_snapshot(w.svc), 0);
        for (; i > 0; i--)
                must(&a, mk_unmap(space, (1ull << 40) + (uint64_t)i * 64 * PAGE, 64 * PAGE));
        must(&a, mk_space(GPU1));
        tear_down();
}

static Svmd__V1__Op *mk_preferred(uint64_t address, uint64_t size, uint32_t node) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVISE);

        op->advise->address = address;
        op->advise->size = size;
        op->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_PREFERRED;
        op->advise->preferred = node + 1;
        return op;
}

/* Advice about every second granule of what has some, many in one request: each splits what was one run. */
static void test_advice_fills_the_journal(void **state) {
        enum { EACH = 256, COUNT = 1 << 18 };
        Svmd__V1__Result *r;
        uint64_t id, start;
        unsigned i;

        set_up(8u << 20);
        r = must(&a, mk_range((uint64_t)COUNT * PAGE, PAGE, "", 0));
        id = r->id;
        start = r->address;
        must(&a, mk_preferred(start, 0, GPU0));
        for (i = 0; i < COUNT / 2; i += EACH) {
                Svmd__V1__Op *ops[EACH];

                ops_reset();
                for (unsigned k = 0; k < EACH; k++)
                        ops[k] = mk_preferred(start + 2ull * (i + k) * PAGE, PAGE, GPU1);
                if (client_send(&a, SVMD__V1__MODE__BEST_EFFORT, ops, EACH, NULL, 0)->results[EACH - 1]->code != 0)
                        break;
        }
        assert_true(i > 0 && i < COUNT / 2);
        assert_int_equal(journal_snapshot(w.svc), 0);
        ops_reset();
        must(&a, mk_free(id));
        must(&a, mk_space(GPU1));
        tear_down();
}

/* ---- a store that cannot write ------------------------------------------------------------------------------------
 */

static void limit_files(rlim_t bytes) {
        struct rlimit r;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
        r.rlim_cur = bytes;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

static void test_store_fails(void **state) {
        struct client x;
        Svmd__V1__Op *op, *ops[4];
        char *before;

        signal(SIGXFSZ, SIG_IGN);
        set_up(0);
        client_open(&w, &x, 300, 300, false);
        client_greet(&x, NULL);
        op = op_make(SVMD__V1__OP__OP_ATTACH);
        ops[0] = mk_partition("new", 4ull << 30, "", 1, 0600);
        ops[1] = mk_limit("one", GPU0, 1ull << 30);
        must(&admin, mk_partition("empty", 4ull << 30, "", 1, 0600));
        ops[2] = mk_delete("empty", true);
        ops[3] = mk_own_limit(0, "/group", GPU0, BOUND_MIN, PAGE);
        before = digest(&w, true);
        limit_files(16);
        for (unsigned i = 0; i < 4; i++) {
                Svmd__V1__Result *r = client_call(&admin, ops[i]);

                assert_int_equal(r->code, SVMD_STATUS_STORE);
                assert_true(r->text[0] != 0);
                same(before, ops[i]->op_case, 0);
        }
        assert_int_equal(client_call(&x, op)->code, SVMD_STATUS_STORE);
        same(before, op->op_case, 0);
        limit_files(RLIM_INFINITY);
        free(before);
        for (unsigned i = 0; i < 4; i++)
                must(&admin, ops[i]);
        must(&x, op);
        client_close(&x);
        tear_down();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_allocations),
                cmocka_unit_test(test_attach),
                cmocka_unit_test(test_full_journal),
                cmocka_unit_test(test_splits_fill_the_journal),
                cmocka_unit_test(test_store_fails),
                cmocka_unit_test(test_ranges),
                cmocka_unit_test(test_kept),
                cmocka_unit_test(test_shares),
                cmocka_unit_test(test_leases),
                cmocka_unit_test(test_held_for_later),
                cmocka_unit_test(test_traces),
                cmocka_unit_test(test_settings),
                cmocka_unit_test(test_page_tables),
                cmocka_unit_test(test_keeper_takes_no_more),
                cmocka_unit_test(test_advice_fills_the_journal),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
