/*
 * Memory that is a dma-buf, with memfds in their place (the guest's tests have real ones): shared by two sessions and
 * seen by a device, over restarts from the log and from a snapshot, charged once, with allocations and the keeper that
 * fail.
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "core/session.h"
#include "expect.h"
#include "harness.h"

#define page SVMD_PAGE
enum { SIZE = 16 * 4096 };

static struct world w;
static struct client a, b;
static int dmabuf;
static char *bytes;

static Svmd__V1__Result *import_as(struct client *c, int fd) {
        Svmd__V1__Op *op = mk_dmabuf_import(SIZE, 0);

        return client_send(c, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1)->results[0];
}

static uint64_t import(struct client *c) {
        Svmd__V1__Result *r = import_as(c, dup(dmabuf));

        if (r->code != 0)
                fail_msg("import: %u %s", r->code, r->text);
        assert_int_equal(r->size, SIZE);
        return r->id;
}

static int set_up(void **state) {
        world_open(&w, 0);
        client_open(&w, &a, 1000, 1000, false);
        client_open(&w, &b, 1001, 1001, false);
        client_greet(&a, "");
        client_greet(&b, "");
        a.deaf = b.deaf = true;
        dmabuf = memfd_create("dma-buf", MFD_CLOEXEC);
        assert_int_equal(ftruncate(dmabuf, SIZE), 0);
        bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
        assert_true(bytes != MAP_FAILED);
        return 0;
}

static int tear_down(void **state) {
        client_close(&a);
        client_close(&b);
        world_settle(&w);
        check_world(&w);
        assert_int_equal(ledger_bytes(&w, HOST0), 0);
        world_close(&w);
        munmap(bytes, SIZE);
        close(dmabuf);
        return 0;
}

static void restart(void) {
        struct client *all[] = { &a, &b };
        char *before = digest(&w, false), *after;

        world_bury(world_restart(&w, all, 2));
        world_settle(&w);
        check_world(&w);
        after = digest(&w, false);
        if (strcmp(before, after) != 0)
                fail_msg("a restart changed something:\n%s\n%s", before, after);
        free(before);
        free(after);
}

/* What the session was given is the dma-buf itself. */
static void is_dmabuf(struct client *c) {
        int fd = fdlist_steal(&c->fds);
        struct stat x, y;

        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &x), 0);
        assert_int_equal(fstat(dmabuf, &y), 0);
        assert_int_equal(x.st_ino, y.st_ino);
        assert_int_equal(x.st_dev, y.st_dev);
        close(fd);
}

static uint64_t sum(struct client *c, uint64_t space, uint64_t address) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);

        op->fence_query->fence =
                must(c, mk_submit(space, SVMD__V1__DEVICE_OP__DEVICE_SUM, 0, address, SIZE, 0, false))->id;
        for (;;) {
                Svmd__V1__Result *r = must(c, op);

                if (r->fence->done) {
                        assert_int_equal(r->fence->code, 0);
                        return r->fence->value;
                }
                world_wait(&w);
        }
}

static void assert_no_drift(struct client *admin) {
        Svmd__V1__DriftResult *d = must(admin, mk_drift())->drift;

        for (size_t i = 0; i < d->n_rows; i++)
                if (strcmp(d->rows[i]->subject, "host memory") == 0) {
                        assert_int_equal(d->rows[i]->reported, d->rows[i]->ledger);
                        return;
                }
        fail_msg("nobody looked at host memory");
}

/* It is charged, and none of svmd's files has it. */
static void test_drift(void **state) {
        struct client admin;
        uint64_t m;

        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        m = import(&a);
        assert_int_equal(ledger_bytes(&w, HOST0), SIZE);
        check_world(&w);
        assert_no_drift(&admin);
        must(&a, mk_release(m));
        assert_no_drift(&admin);
        client_close(&admin);
}

static void test_shared(void **state) {
        uint64_t id = import(&a), space = must(&a, mk_space(GPU0))->id, at = page, token;

        assert_int_equal(ledger_bytes(&w, HOST0), SIZE);
        assert_int_equal(must(&a, mk_export(id, "frame", 0666, 0))->id, id);
        assert_int_equal(must(&a, mk_export(id, "", 0, 3))->id, id);
        token = (uint64_t)fdlist_steal(&a.fds);
        close((int)token);
        must(&a, mk_map(space, at, SIZE, id, 0, 3, 0));
        for (unsigned round = 0; round < 4; round++) {
                ((uint64_t *)(void *)bytes)[7] = 40 + round;
                ((uint64_t *)(void *)bytes)[SIZE / 8 - 1] = 2;
                assert_int_equal(sum(&a, space, at), 42 + round);
                if (round == 0)
                        assert_int_equal(import(&b), id);
                must(&b, mk_mem_dmabuf(id));
                is_dmabuf(&b);
                must(&b, mk_mem_fd(id, 3));
                is_dmabuf(&b);
                must(&b, mk_mem_fd(id, 1));
                is_dmabuf(&b);
                assert_int_equal(ledger_bytes(&w, HOST0), SIZE);
                if (round == 1)
                        assert_int_equal(journal_snapshot(w.svc), 0);
                if (round == 2) {
                        must(&a, mk_release(id)); /* the space shows it still, and b has it */
                        must(&a, mk_unmap(space, at, SIZE));
                        must(&a, mk_map(space, at, SIZE, import(&a), 0, 3, 0));
                }
                restart();
        }
        must(&a, mk_unmap(space, at, SIZE));
        must(&a, mk_release(id));
        assert_int_equal(ledger_bytes(&w, HOST0), SIZE);
        restart();
        must(&b, mk_release(id));
        assert_int_equal(ledger_bytes(&w, HOST0), 0);
        bytes[0] = 1; /* it was never svmd's */
        assert_int_equal(client_call(&b, mk_mem_dmabuf(id))->code, SVMD_STATUS_NO_SUCH);
        restart();
        /* Its number is not given again, and it can come again. */
        assert_int_not_equal(import(&b), id);
}

/* By one's name and the other's token, without the descriptor. */
static void test_handed_on(void **state) {
        uint64_t id = import(&a);
        Svmd__V1__Op *op;
        int token;

        must(&a, mk_export(id, "", 0, 3));
        token = fdlist_steal(&a.fds);
        restart();
        op = mk_import("", 3);
        assert_int_equal(client_send(&b, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &token, 1)->results[0]->id, id);
        client_close(&a);
        world_settle(&w);
        restart();
        must(&b, mk_mem_dmabuf(id));
        is_dmabuf(&b);
        assert_int_equal(ledger_bytes(&w, HOST0), SIZE);
        client_open(&w, &a, 1000, 1000, false);
        client_greet(&a, "");
        a.deaf = true;
}

static void test_read_only(void **state) {
        char path[64];
        Svmd__V1__Result *r;
        uint64_t id;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", dmabuf);
        r = import_as(&a, open(path, O_RDONLY));
        assert_int_equal(r->code, 0);
        id = r->id;
        for (unsigned round = 0; round < 3; round++) {
                must(&a, mk_mem_dmabuf(id));
                is_dmabuf(&a);
                assert_int_equal(client_call(&a, mk_mem_fd(id, 3))->code, SVMD_STATUS_DENIED);
                assert_int_equal(client_call(&a, mk_export(id, "", 0, 3))->code, SVMD_STATUS_DENIED);
                if (round == 1)
                        assert_int_equal(journal_snapshot(w.svc), 0);
                restart();
        }
        must(&a, mk_export(id, "", 0, 1));
}

static void test_failures(void **state) {
        uint64_t id = 0, used;

        for (unsigned n = 1; n < 2; n++) {
                w.fail_keep = n;
                assert_int_equal(import_as(&a, dup(dmabuf))->code, SVMD_STATUS_QUOTA);
                w.fail_keep = 0;
                assert_int_equal(ledger_bytes(&w, HOST0), 0);
        }
        for (unsigned long n = 1; !id; n++) {
                char *before = digest(&w, true), *after;
                Svmd__V1__Result *r;

                used = ledger_bytes(&w, HOST0);
                alloc_fail_at(n);
                r = import_as(&a, dup(dmabuf));
                alloc_fail_off();
                after = digest(&w, true);
                if (r->code == 0)
                        id = r->id;
                else if (r->code != SVMD_STATUS_NO_MEMORY || strcmp(before, after) != 0 ||
                         used != ledger_bytes(&w, HOST0))
                        fail_msg("allocation %lu: %u %s\n%s\n%s", n, r->code, r->text, before, after);
                free(before);
                free(after);
                check_world(&w);
        }
        restart();
        must(&a, mk_release(id));
        restart();
}

/* The keeper lost it: svmd does not begin as if it had it. */
static void test_not_kept(void **state) {
        uint64_t id = import(&a);
        char why[512] = "";
        int other = memfd_create("other", MFD_CLOEXEC);

        assert_int_equal(ftruncate(other, 2 * SIZE), 0);
        assert_true(id > 0);
        world_stop(&w);
        for (size_t i = 0; i < w.kept_count; i++)
                if (KEEP_KIND(w.kept[i].key) == KEEP_FILE) {
                        world_keeps(&w, w.kept[i].key, other);
                        break;
                }
        assert_int_not_equal(world_take_over(&w, why, sizeof(why)), 0);
        assert_non_null(strstr(why, "cannot be taken over"));
        world_keeps_nothing(&w);
        if (world_take_over(&w, why, sizeof(why)) != 0)
                fail_msg("%s", why);
        a.session = b.session = NULL;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_drift, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_shared, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_handed_on, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_read_only, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_failures, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_not_kept, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
