/*
 * What Linux 6.1 lacks is refused here: CONTINUE that protects, POISON, reads of a userfaultfd that never wait.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "hammer.h"
#include "mover/userfault.h"

#define MIB (1ull << 20)

static struct world world;

const struct mover_features *__real_mover_features(void);
const struct mover_features *__wrap_mover_features(void);
const struct mover_features *__wrap_mover_features(void) {
        static struct mover_features older;

        older = *__real_mover_features();
        older.continue_protects = older.poison = false;
        return &older;
}

int64_t __real_userfault_continue(int fd, uint64_t start, uint64_t size, unsigned flags);
int64_t __wrap_userfault_continue(int fd, uint64_t start, uint64_t size, unsigned flags);
int64_t __wrap_userfault_continue(int fd, uint64_t start, uint64_t size, unsigned flags) {
        return flags & USERFAULT_PROTECT ? -EINVAL : __real_userfault_continue(fd, start, size, flags);
}

int64_t __wrap_userfault_poison(int fd, uint64_t start, uint64_t size, unsigned flags);
int64_t __wrap_userfault_poison(int fd, uint64_t start, uint64_t size, unsigned flags) {
        return -EINVAL;
}

ssize_t __wrap_preadv2(int fd, const struct iovec *v, int count, off_t at, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *v, int count, off_t at, int flags) {
        errno = EOPNOTSUPP;
        return -1;
}

static int setup(void **state) {
        *state = &world;
        world_begin(&world, 64 * MIB);
        return 0;
}

static int teardown(void **state) {
        world_end(*state);
        return 0;
}

static void test_hammer(void **state) {
        hammer(*state, size(65536, 64), 1000);
}

static void test_no_poison(void **state) {
        struct world *w = *state;
        struct mover_range_args a = {
                .address = w->base, .size = 65536, .granule = 65536, .poison = true, .memory = -1, .state = -1
        };
        struct mover_range *r;

        assert_int_equal(mover_range_new(w->m, &r, &a), -EINVAL);
        world_share(w, size(65536, 4), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, 4 * 65536, 1);
        assert_int_equal(world_revoke(w, true), 0);
        assert_int_equal(world_revoke(w, false), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, 4 * 65536, 1), 0);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_hammer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_poison, setup, teardown),
        };

        hammer_seed();
        cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
