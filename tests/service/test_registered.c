/*
 * Registered memory, of this very process: over restarts from the log and from a snapshot, with allocations and the
 * keeper that fail, and with an event that nobody heard of.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "core/session.h"
#include "harness.h"
#include "service/internal.h"
#include "service/registered.h"

#define page SVMD_PAGE
enum { PAGES = 20 };

static struct world w;
static struct client a;
static uint64_t space;
static char *at, *probe;
static int uffd;

static Svmd__V1__Result *must(Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(&a, op);

        if (r->code != 0)
                fail_msg("operation %d: %u %s", (int)op->op_case, r->code, r->text);
        return r;
}

static unsigned fill(uint64_t address, uint64_t size, uint8_t value) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);

        op->fence_query->fence =
                must(mk_submit(space, SVMD__V1__DEVICE_OP__DEVICE_FILL, address, 0, size, value, false))->id;
        for (;;) {
                Svmd__V1__Result *r = must(op);

                if (r->fence->done)
                        return r->fence->code;
                world_wait(&w);
        }
}

static void give_userfaultfd(void) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_UFFD_GIVE);
        int device, fd;

        must(op_make(SVMD__V1__OP__OP_UFFD_DEVICE));
        device = fdlist_steal(&a.fds);
        uffd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        assert_true(uffd >= 0);
        close(device);
        fd = dup(uffd);
        assert_int_equal(client_send(&a, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1)->results[0]->code, 0);
}

/* The loop knows, and so does the journal. */
static bool fenced(uint64_t id) {
        const struct memory *m = container_of(ids_find(&w.svc->state.ids, id), struct memory, object);

        return registered_of(m)->fenced;
}

static char *new_memory(void) {
        char *p = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_true(p != MAP_FAILED);
        return p;
}

static Svmd__V1__Op *mk_register(const char *p) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_REGISTER);

        op->register_->address = (uintptr_t)p;
        op->register_->size = PAGES * page;
        op->register_->probe = (uintptr_t)probe;
        return op;
}

static Svmd__V1__Op *mk_unregister(uint64_t memory) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_UNREGISTER);

        op->unregister->memory = memory;
        return op;
}

static Svmd__V1__Result *send_register(void) {
        Svmd__V1__Op *op = mk_register(at);
        int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

        return client_send(&a, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1)->results[0];
}

static void watch(void) {
        struct uffdio_register r = { .range = { (uintptr_t)at, PAGES * page }, .mode = UFFDIO_REGISTER_MODE_WP };

        assert_int_equal(ioctl(uffd, UFFDIO_REGISTER, &r), 0);
}

static void unwatch(void) {
        struct uffdio_range r = { (uintptr_t)at, PAGES * page };

        assert_int_equal(ioctl(uffd, UFFDIO_UNREGISTER, &r), 0);
}

static uint64_t register_and_map(void) {
        Svmd__V1__Result *r = send_register();
        uint64_t id = r->id;

        if (r->code != 0)
                fail_msg("register: %u %s", r->code, r->text);
        watch();
        must(mk_map(space, (uintptr_t)at, PAGES * page, id, 0, 3, 0));
        return id;
}

static int set_up(void **state) {
        struct service_peer peer = { .pid = (uint32_t)getpid(), .uid = getuid(), .gid = getgid() };

        world_open(&w, 0);
        assert_int_equal(client_open_as(&w, &a, &peer), 0);
        client_greet(&a, "");
        a.deaf = true;
        give_userfaultfd();
        space = must(mk_space(GPU0))->id;
        at = new_memory();
        probe = new_memory();
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        close(uffd);
        munmap(at, PAGES * page);
        munmap(probe, PAGES * page);
        return 0;
}

static void restart(void) {
        struct client *all[] = { &a };

        world_bury(world_restart(&w, all, 1));
        world_settle(&w);
        check_world(&w);
}

static void is_filled(char value) {
        for (unsigned i = 0; i < PAGES * page; i++)
                assert_int_equal(at[i], value);
}

static void test_restarts(void **state) {
        uint64_t id = register_and_map();
        char value = 1;

        for (unsigned i = 0; i < 4; i++) {
                assert_int_equal(fill((uintptr_t)at, PAGES * page, (uint8_t)value), SVMD_STATUS_OK);
                is_filled(value++);
                if (i == 1)
                        assert_int_equal(journal_snapshot(w.svc), 0);
                restart();
                assert_int_equal(a.session->registered, PAGES * page);
        }
        /* Given up while it is mapped: that stays refused over a restart, and goes with the mapping. */
        must(mk_unregister(id));
        unwatch();
        assert_int_equal(fill((uintptr_t)at, page, 9), SVMD_STATUS_NOT_MAPPED);
        restart();
        assert_int_equal(journal_snapshot(w.svc), 0);
        restart();
        assert_int_equal(fill((uintptr_t)at, page, 9), SVMD_STATUS_NOT_MAPPED);
        is_filled(value - 1);
        must(mk_unmap(space, (uintptr_t)at, PAGES * page));
        assert_int_equal(a.session->registered, 0);
        restart();
        assert_int_equal(a.session->registered, 0);
}

static void test_fenced_over_restarts(void **state) {
        uint64_t id = register_and_map();

        assert_int_equal(madvise(at + page, page, MADV_DONTNEED), 0);
        assert_int_equal(fill((uintptr_t)at, page, 9), SVMD_STATUS_NOT_MAPPED);
        while (!fenced(id))
                world_wait(&w);
        restart();
        assert_int_equal(fill((uintptr_t)at, page, 9), SVMD_STATUS_NOT_MAPPED);
        assert_int_equal(journal_snapshot(w.svc), 0);
        restart();
        assert_int_equal(fill((uintptr_t)at, page, 9), SVMD_STATUS_NOT_MAPPED);
        assert_int_equal(at[0], 0);
        assert_int_equal(must(mk_unregister(id))->value, 1);
        must(mk_unmap(space, (uintptr_t)at, PAGES * page));
}

/* It came to a svmd that was killed with it: the pages are on no userfaultfd, and nobody has said so. */
static void test_an_event_is_lost(void **state) {
        struct uffdio_range middle = { (uintptr_t)at + 7 * page, page };
        uint64_t id = register_and_map();

        assert_int_equal(fill((uintptr_t)at, PAGES * page, 5), SVMD_STATUS_OK);
        assert_int_equal(ioctl(uffd, UFFDIO_UNREGISTER, &middle), 0);
        assert_int_equal(fill((uintptr_t)at, page, 6), SVMD_STATUS_OK);
        restart();
        while (must(op_make(SVMD__V1__OP__OP_STATUS)) && fill((uintptr_t)at, page, 7) == SVMD_STATUS_OK)
                usleep(1000);
        assert_int_equal(must(mk_unregister(id))->value, 1);
        unwatch();
        must(mk_unmap(space, (uintptr_t)at, PAGES * page));
        assert_int_equal(at[7 * page], 5);
}

/* svmd-keeper does not lead to the process any more: the session has ended. */
static void test_what_the_keeper_lacks(void **state) {
        struct client *all[] = { &a };
        uint64_t id = register_and_map();

        assert_int_not_equal(id, 0);
        for (size_t i = 0; i < w.kept_count; i++)
                if (KEEP_KIND(w.kept[i].key) == KEEP_CLIENT) {
                        close(w.kept[i].fd);
                        w.kept[i] = w.kept[--w.kept_count];
                }
        world_bury(world_restart(&w, all, 1));
        world_settle(&w);
        assert_null(a.session);
        check_world(&w);
}

static void test_failures(void **state) {
        uint64_t id = 0;

        w.fail_keep = 1;
        assert_int_not_equal(send_register()->code, 0);
        w.fail_keep = 0;
        for (unsigned long n = 1; !id; n++) {
                char *before = digest(&w, true), *after;
                Svmd__V1__Result *r;

                alloc_fail_at(n);
                r = send_register();
                alloc_fail_off();
                after = digest(&w, true);
                if (r->code == 0)
                        id = r->id;
                else if (r->code != SVMD_STATUS_NO_MEMORY || strcmp(before, after) != 0)
                        fail_msg("allocation %lu: %u %s\n%s\n%s", n, r->code, r->text, before, after);
                free(before);
                free(after);
                check_world(&w);
        }
        watch();
        for (unsigned long n = 1;; n++) {
                Svmd__V1__Result *r;
                bool hit;

                alloc_fail_at(n);
                r = client_call(&a, mk_map(space, (uintptr_t)at, PAGES * page, id, 0, 3, 0));
                hit = alloc_fail_hit();
                alloc_fail_off();
                if (r->code == 0)
                        break;
                if (!hit || r->code != SVMD_STATUS_NO_MEMORY)
                        fail_msg("allocation %lu: %u %s", n, r->code, r->text);
        }
        assert_int_equal(fill((uintptr_t)at, PAGES * page, 3), SVMD_STATUS_OK);
        is_filled(3);
        must(mk_unregister(id));
        unwatch();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_restarts, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_fenced_over_restarts, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_an_event_is_lost, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_what_the_keeper_lacks, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_failures, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
