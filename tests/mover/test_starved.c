/*
 * Allocations and system calls fail here and there, in every thread, while ranges are hammered: nothing is lost, and
 * everything goes on.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

#include <cmocka.h>

#include "hammer.h"

#define MIB (1ull << 20)

static struct world world;
static atomic_bool armed;
static atomic_uint calls;
static atomic_ulong failures;
static atomic_bool storm; /* every other call to a userfaultfd is EAGAIN */
static atomic_bool full;  /* the clients' cgroup is */
static atomic_uint filled_up;

/* One in n, whoever calls. */
static bool fails(unsigned n) {
        unsigned x;

        if (!atomic_load(&armed))
                return false;
        x = atomic_fetch_add(&calls, 1) * 2654435761u;
        if ((x >> 8) % n)
                return false;
        atomic_fetch_add(&failures, 1);
        return true;
}

/* One in ten, or every other one. */
static bool again(void) {
        return fails(atomic_load(&storm) ? 2 : 10);
}

void *__real_alloc_zero(size_t size);
void *__wrap_alloc_zero(size_t size);
void *__wrap_alloc_zero(size_t size) {
        return !atomic_load(&storm) && fails(300) ? NULL : __real_alloc_zero(size);
}

struct memfile;
int __real_memfile_commit(struct memfile *f, uint64_t offset, uint64_t size);
int __wrap_memfile_commit(struct memfile *f, uint64_t offset, uint64_t size);
int __wrap_memfile_commit(struct memfile *f, uint64_t offset, uint64_t size) {
        return !atomic_load(&storm) && fails(10) ? -ENOMEM : __real_memfile_commit(f, offset, size);
}

ssize_t __real_pread(int fd, void *to, size_t size, off_t at);
ssize_t __wrap_pread(int fd, void *to, size_t size, off_t at);
ssize_t __wrap_pread(int fd, void *to, size_t size, off_t at) {
        if (fails(50)) {
                errno = EIO;
                return -1;
        }
        if (fails(50)) {
                errno = EINTR;
                return -1;
        }
        return __real_pread(fd, to, fails(10) ? size / 2 : size, at);
}

int __real_fallocate(int fd, int mode, off_t at, off_t size);
int __wrap_fallocate(int fd, int mode, off_t at, off_t size);
int __wrap_fallocate(int fd, int mode, off_t at, off_t size) {
        if (fails(50)) {
                errno = mode ? EINTR : ENOSPC;
                return -1;
        }
        return __real_fallocate(fd, mode, at, size);
}

/* As the kernel does while mappings change, at once or in the middle. */
int64_t __real_userfault_copy(int fd, uint64_t to, const void *from, uint64_t size, unsigned flags);
int64_t __wrap_userfault_copy(int fd, uint64_t to, const void *from, uint64_t size, unsigned flags);
int64_t __wrap_userfault_copy(int fd, uint64_t to, const void *from, uint64_t size, unsigned flags) {
        if (atomic_load(&full)) {
                atomic_fetch_add(&filled_up, 1);
                return -ENOMEM;
        }
        if (atomic_load(&storm) ? again() : fails(30))
                return -EAGAIN;
        if (fails(100))
                return -ENOMEM;
        return __real_userfault_copy(fd, to, from, size > 4096 && fails(10) ? 4096 : size, flags);
}

int64_t __real_userfault_zero(int fd, uint64_t to, uint64_t size, unsigned flags);
int64_t __wrap_userfault_zero(int fd, uint64_t to, uint64_t size, unsigned flags);
int64_t __wrap_userfault_zero(int fd, uint64_t to, uint64_t size, unsigned flags) {
        return again() ? -EAGAIN : __real_userfault_zero(fd, to, size, flags);
}

int64_t __real_userfault_continue(int fd, uint64_t to, uint64_t size, unsigned flags);
int64_t __wrap_userfault_continue(int fd, uint64_t to, uint64_t size, unsigned flags);
int64_t __wrap_userfault_continue(int fd, uint64_t to, uint64_t size, unsigned flags) {
        return again() ? -EAGAIN : __real_userfault_continue(fd, to, size, flags);
}

int __real_userfault_protect(int fd, uint64_t start, uint64_t size);
int __wrap_userfault_protect(int fd, uint64_t start, uint64_t size);
int __wrap_userfault_protect(int fd, uint64_t start, uint64_t size) {
        return again() ? -EAGAIN : __real_userfault_protect(fd, start, size);
}

int __real_userfault_unprotect(int fd, uint64_t start, uint64_t size, unsigned flags);
int __wrap_userfault_unprotect(int fd, uint64_t start, uint64_t size, unsigned flags);
int __wrap_userfault_unprotect(int fd, uint64_t start, uint64_t size, unsigned flags) {
        return again() ? -EAGAIN : __real_userfault_unprotect(fd, start, size, flags);
}

static void arm(bool on) {
        atomic_store(&armed, on);
}

static int setup(void **state) {
        *state = &world;
        world_begin(&world, 64 * MIB);
        return 0;
}

static int setup_tight(void **state) {
        *state = &world;
        world_begin(&world, 4 * MIB);
        return 0;
}

static int teardown(void **state) {
        arm(false);
        world_end(*state);
        return 0;
}

static void starve(struct world *w, struct range_size s) {
        const char *m = getenv("SVMD_MOVES");

        atomic_store(&failures, 0);
        hammer(w, s, m ? strtoull(m, NULL, 0) : 500);
        assert_true(atomic_load(&failures) > 50);
}

static void test_small(void **state) {
        starve(*state, size(4096, 512));
}

static void test_medium(void **state) {
        starve(*state, size(65536, 64));
}

static void test_storm(void **state) {
        atomic_store(&storm, true);
        atomic_store(&failures, 0);
        hammer(*state, size(65536, 16), 40);
        assert_true(atomic_load(&failures) > 50);
        atomic_store(&storm, false);
}

static void test_tight(void **state) {
        starve(*state, size(65536, 96));
}

static uint64_t now_ms(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A drain whose pages nobody can pay for is tried again and again, but not without a rest: 10 ms a page. */
static void test_drain_rests(void **state) {
        enum { PAGES = 4, REST_MS = 10 };
        struct world *w = *state;
        uint64_t began;

        world_share(w, size(65536, PAGES), 1);
        client_ask(w, 0, CLIENT_FILL, w->base, PAGES * 65536, 1);
        assert_int_equal(world_migrate(w, 0, PAGES, NEAR), 0);
        assert_int_equal(mover_node_drain(w->m, FAR, ++w->token), 0);
        assert_int_equal(world_answer(w, w->token), 0);
        atomic_store(&full, true);
        began = now_ms();
        assert_int_equal(mover_node_drain(w->m, NEAR, ++w->token), 0);
        for (unsigned i = 0; i < 20; i++)
                world_pump(w, 10);
        atomic_store(&full, false);
        assert_int_equal(world_answer(w, w->token), 0);
        assert_in_range(atomic_load(&filled_up), 2, PAGES * ((now_ms() - began) / REST_MS + 1));
        assert_int_equal(world_node_used(w, NEAR), 0);
        assert_int_equal(client_ask(w, 0, CLIENT_CHECK, w->base, PAGES * 65536, 1), 0);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_small, setup, teardown),
                cmocka_unit_test_setup_teardown(test_medium, setup, teardown),
                cmocka_unit_test_setup_teardown(test_storm, setup, teardown),
                cmocka_unit_test_setup_teardown(test_tight, setup_tight, teardown),
                cmocka_unit_test_setup_teardown(test_drain_rests, setup, teardown),
        };

        hammer_seed();
        hammer_arm(arm);
        cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
