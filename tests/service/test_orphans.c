/* Partitions that were made for a container, which ends: their sessions, what they keep, and what stands in the way. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/started.h"
#include "core/partition.h"
#include "expect.h"
#include "ranges.h"
#include "service/holder.h"

#define GIB (1ull << 30)

static struct world w;
static struct client admin, a, b;
static uint64_t started; /* this process, which stands for a container's */

static int set_up(void **state) {
        ops_reset();
        world_open(&w, 0);
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        assert_int_equal(started_read((uint32_t)getpid(), &started), 0);
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        client_close(&b);
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        return 0;
}

static Svmd__V1__Op *mk_contained(const char *name, const char *container) {
        Svmd__V1__Op *op = mk_partition(name, 4 * GIB, "", 100, 0666);

        op->partition_create->container = (char *)container;
        op->partition_create->container_pid = (uint32_t)getpid();
        op->partition_create->container_started = started;
        return op;
}

static struct partition *find(const char *name) {
        return partition_find(&w.svc->state, name);
}

/* The transport saw the container end. */
static void end_container(const char *name) {
        service_partition_orphaned(w.svc, find(name));
}

static void wait_gone(const char *name) {
        while (find(name))
                world_wait(&w);
}

static void test_listed(void **state) {
        must(&admin, mk_contained("one", "c1"));
        must(&admin, mk_partition("two", 4 * GIB, "", 100, 0666));
        const Svmd__V1__Result *r = must(&admin, op_make(SVMD__V1__OP__OP_PARTITION_LIST));

        assert_string_equal(r->partitions->partitions[0]->container, "c1");
        assert_string_equal(r->partitions->partitions[1]->container, "");
}

static void test_refused(void **state) {
        Svmd__V1__Op *op = mk_contained("one", "c/1");

        must_not(&admin, op, SVMD_STATUS_NAME, "container's id");
        op = mk_contained("one", "c1");
        op->partition_create->container_started++;
        must_not(&admin, op, SVMD_STATUS_NO_SUCH, "no process");
        op = mk_contained("one", "c1");
        op->partition_create->container_pid = 0;
        must_not(&admin, op, SVMD_STATUS_NO_SUCH, "no process");
        op = mk_contained("one", "");
        must_not(&admin, op, SVMD_STATUS_NAME, "container's id");
        assert_null(find("one"));
}

/* With its sessions, their memory, and what it keeps. Nobody comes to it meanwhile. */
static void test_ends(void **state) {
        must(&admin, mk_contained("one", "c1"));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        must(&a, mk_create(GPU0, 1 << 20, 0));
        must(&a, mk_create(HOST0, 1 << 20, 0));
        end_container("one");
        end_container("one");
        wait_gone("one");
        assert_true(a.kicked);
        assert_int_equal(w.svc->orphans, 0);
        assert_int_equal(w.svc->state.nodes[GPU0].account.used, 0);
        must(&admin, mk_contained("one", "c1"));
}

/* svmd ends in between: the container has ended for the next one, too. */
static void test_restart(void **state) {
        struct client *clients[] = { &admin, &a };
        struct service *old;
        struct holder h;

        must(&admin, mk_contained("one", "c1"));
        client_open(&w, &a, 100, 100, false);
        client_greet(&a, "one");
        old = world_restart(&w, clients, 2);
        assert_true(holder_parse(&h, partition_holder(find("one"))));
        assert_string_equal(h.container, "c1");
        assert_true(h.pid == (uint32_t)getpid() && h.started == started);
        end_container("one");
        wait_gone("one");
        world_bury(old);
        old = world_restart(&w, clients, 1);
        assert_null(find("one"));
        world_bury(old);
}

static void limit_files(rlim_t bytes) {
        struct rlimit limit = { bytes, RLIM_INFINITY };

        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* What cannot be written yet is tried again, and nobody comes to the partition meanwhile. */
static void test_disk_full(void **state) {
        signal(SIGXFSZ, SIG_IGN);
        must(&admin, mk_contained("one", "c1"));
        limit_files(16);
        end_container("one");
        for (unsigned i = 0; i < 4; i++)
                world_wait(&w);
        assert_non_null(find("one"));
        assert_true(find("one")->ending);
        limit_files(RLIM_INFINITY);
        wait_gone("one");
}

/* An administrator deletes it at the same time: once is enough. */
static void test_deleted_too(void **state) {
        Svmd__V1__Op *op;

        must(&admin, mk_contained("one", "c1"));
        end_container("one");
        op = mk_delete("one", false);
        (void)client_call(&admin, op);
        wait_gone("one");
        assert_int_equal(w.svc->orphans, 0);
        must(&admin, mk_contained("one", "c1"));
        op = mk_delete("one", false);
        assert_int_equal(client_post(&admin, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
        end_container("one");
        client_await(&admin);
        wait_gone("one");
        assert_int_equal(w.svc->orphans, 0);
}

static void test_text(void **state) {
        static const char *const wrong[] = { "", "boot", "boot 1 2", "boot x 2 c", "boot 1 x c" };
        char text[HOLDER_TEXT];
        struct holder h = { .boot = "0f", .pid = 17, .started = UINT64_MAX, .container = "c1" }, back;

        holder_format(text, &h);
        assert_true(holder_parse(&back, text));
        assert_string_equal(back.boot, h.boot);
        assert_string_equal(back.container, h.container);
        assert_true(back.pid == h.pid && back.started == h.started);
        assert_string_equal(holder_container(text), "c1");
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                assert_false(holder_parse(&back, wrong[i]));
        holder_boot(h.boot);
        assert_int_equal(strlen(h.boot), 36);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_listed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_ends, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_restart, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_disk_full, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_deleted_too, set_up, tear_down),
                cmocka_unit_test(test_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
