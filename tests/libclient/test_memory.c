/* Every allocation of the library fails once: the call says so, and nothing is lost or left behind. The fake's thread
 * is not touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "failing.h"
#include "fake_svmd.h"
#include "harness.h"
#include "svmd.h"

static bool userfaultfd;

/* A reply that cannot be decoded for want of memory is lost, so the session ends. */
static bool is_about_memory(int r) {
        return r == SVMD_E_NO_MEMORY || r == SVMD_E_GONE;
}

static int use(svmd_session *s) {
        const struct svmd_reserve_options named = { .size = sizeof(named), .name = "n" };
        svmd_batch *b = NULL;
        svmd_mem mem;
        void *p, *q;
        int r;

        r = svmd_address_reserve(s, &p, 65536, 0, NULL, NULL);
        if (!r)
                r = svmd_mem_create(s, &mem, 65536, 0, 0);
        if (!r)
                r = svmd_mem_map(s, SVMD_CPU, addr(p), 65536, 0, mem, SVMD_ACCESS_READ_WRITE, 0);
        if (r)
                return r;
        memset(p, 7, 65536);
        r = svmd_mem_unmap(s, SVMD_CPU, addr(p) + 8192, 4096);
        assert_int_equal(((char *)p)[0], 7);
        assert_int_equal(((char *)p)[16384], 7);
        if (!r)
                r = svmd_sparse_map(s, SVMD_CPU, addr(p), 65536, SVMD_SPARSE_REFUSE);
        if (!r)
                r = svmd_batch_new(s, &b);
        for (int i = 0; !r && i < 200; i++) {
                int at = svmd_batch_mem_release(b, (svmd_mem)i + 1000000);

                r = at < 0 ? -at : 0;
        }
        if (!r)
                r = svmd_batch_submit(b, SVMD_BEST_EFFORT, NULL);
        svmd_batch_free(b);
        if (!r)
                r = svmd_address_reserve(s, &q, 4096, 0, NULL, &named);
        if (!r)
                r = svmd_address_free(s, q);
        if (!r)
                r = svmd_address_open(s, &q, NULL, "n", SVMD_ACCESS_READ);
        return r;
}

static int use_managed(svmd_session *s) {
        const struct svmd_reserve_options opts = { .size = sizeof(opts), .kind = SVMD_SHARED, .name = "m" };
        struct svmd_range ranges[2];
        svmd_fence *fences[2];
        void *p[20];
        int r = 0;

        for (unsigned i = 0; !r && i < 20; i++) /* more than a table of heads */
                r = svmd_address_reserve(s, &p[i], 65536, 0, NULL, &opts);
        if (r)
                return r;
        memset(p[0], 7, 65536);
        ranges[0] = (struct svmd_range){ p[0], 4096 };
        ranges[1] = (struct svmd_range){ p[1], 4096 };
        r = svmd_discard_ranges(s, fences, ranges, 2);
        if (!r)
                r = svmd_prefetch(s, &fences[0], p[0], 4096, 0);
        if (!r)
                r = svmd_address_free(s, p[0]);
        if (!r)
                r = svmd_address_open(s, &p[0], NULL, "m", SVMD_ACCESS_READ);
        if (!r)
                assert_int_equal(((char *)p[0])[0], 7);
        return r;
}

static int everything(struct fake *f) {
        const struct svmd_connect_options opts = { .size = sizeof(opts), .socket = fake_path(f) };
        svmd_session *s;
        int r = svmd_connect(&s, &opts);

        if (r)
                return r;
        r = use(s);
        if (!r && userfaultfd)
                r = use_managed(s);
        svmd_disconnect(s);
        return r;
}

static void every_allocation_may_fail(void **state) {
        unsigned before = open_descriptors();
        bool done = false;
        long nth, failures = 0;

        for (nth = 0; !done; nth++) {
                struct fake *f = fake_start(NULL, NULL);
                int r;

                allocations_left = nth;
                r = everything(f);
                done = allocations_left >= 0;
                allocations_left = -1;
                failures += r != 0;
                if (done)
                        assert_int_equal(r, 0);
                else if (r && !is_about_memory(r)) /* an arena that cannot grow goes on without */
                        fail_msg("allocation %ld: %d %s", nth, r, svmd_error());
                assert_true(fake_wait_connections(f, 0)); /* the session is over */
                fake_stop(f);
                assert_int_equal(open_descriptors(), before);
        }
        print_message("%ld allocations, %ld of them needed\n", nth - 1, failures);
        assert_true(failures > 10);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_may_fail) };

        userfaultfd = have_userfaultfd();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
