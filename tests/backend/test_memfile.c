#include "backend/memfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"

/* What is taken from the machine is read from fstat here, not from the unit. */
enum { PAGE = 4096, PIECE = 64 << 20 };

static uint64_t random_state;
static unsigned fallocate_fails_in; /* calls that take pages; 0: none fails */

int __real_fallocate(int fd, int mode, off_t offset, off_t size);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size);

int __wrap_fallocate(int fd, int mode, off_t offset, off_t size) {
        if (mode == 0 && fallocate_fails_in && --fallocate_fails_in == 0) {
                errno = ENOSPC;
                return -1;
        }
        return __real_fallocate(fd, mode, offset, size);
}

/* A machine of nodes 0 and 2 that keeps what it was asked to bind; the seccomp filter of a container refuses. */
static struct {
        bool on, refuse;
        unsigned bound;
        unsigned long size, mode, nodes;
} numa;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...) {
        long a[6];
        va_list args;

        va_start(args, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(args, long);
        va_end(args);
        if (numa.on && number == SYS_get_mempolicy) {
                *(unsigned long *)a[1] = 5;
                return 0;
        }
        if (numa.on && number == SYS_mbind) {
                numa.bound++;
                numa.size = (unsigned long)a[1];
                numa.mode = (unsigned long)a[2];
                numa.nodes = *(unsigned long *)a[3];
                errno = EPERM;
                return numa.refuse ? -1 : 0;
        }
        return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static uint64_t rnd(uint64_t bound) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % bound;
}

static uint64_t taken(const struct memfile *f) {
        struct stat st;

        assert_int_equal(fstat(memfile_fd(f), &st), 0);
        assert_int_equal((uint64_t)st.st_blocks * 512, memfile_bytes(f));
        return (uint64_t)st.st_blocks * 512;
}

static struct memfile *file_new(uint64_t size, bool mapped) {
        struct memfile *f = NULL;

        assert_int_equal(memfile_new(&f, "test", size, -1, mapped), 0);
        assert_int_equal(memfile_size(f), size);
        assert_int_equal(memfile_bytes(f), 0);
        return f;
}

static int count_fds(void) {
        int n = 0;

        for (int fd = 0; fd < 1024; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static void test_file_is_sealed(void **state) {
        struct memfile *f = file_new(16 * PAGE, false);
        int fd = memfile_fd(f);
        struct stat st;

        assert_int_equal(ftruncate(fd, 32 * PAGE), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(ftruncate(fd, 0), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_null(memfile_base(memfile_slot(f)));
        memfile_free(f);
}

static void test_bad_sizes(void **state) {
        static const uint64_t bad[] = { 0, 1, PAGE + 8, (uint64_t)INT64_MAX + 1, UINT64_MAX - 4095 };
        struct memfile *f = NULL;
        int before = count_fds();

        for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(memfile_new(&f, "test", bad[i], -1, true), -EINVAL);
        assert_null(f);
        f = file_new(4 * PAGE, false);
        assert_int_equal(memfile_commit(f, 4 * PAGE, PAGE), -EINVAL);
        assert_int_equal(memfile_commit(f, PAGE, UINT64_MAX - 4095), -EINVAL);
        assert_int_equal(taken(f), 0);
        memfile_free(f);
        memfile_free(NULL);
        assert_int_equal(count_fds(), before);
}

static void test_commit_takes_zeroed_pages(void **state) {
        struct memfile *f = file_new(1ull << 40, false); /* sparse: a terabyte costs nothing */
        uint32_t slot = memfile_slot(f);
        char buf[2 * PAGE];

        assert_int_equal(memfile_commit(f, 1ull << 39, 3 * PAGE), 0);
        assert_int_equal(taken(f), 3 * PAGE);
        memset(buf, 0x5a, sizeof(buf));
        assert_int_equal(memfile_write(slot, 1ull << 39, buf, sizeof(buf)), 0);
        memfile_punch(f, 1ull << 39, PAGE);
        assert_int_equal(taken(f), 2 * PAGE);
        assert_int_equal(memfile_read(slot, 1ull << 39, buf, sizeof(buf)), 0);
        assert_int_equal(buf[0], 0);
        assert_int_equal(buf[PAGE], 0x5a);
        /* what somebody left in a range that was not given to him is gone */
        assert_int_equal(memfile_commit(f, 1ull << 39, 3 * PAGE), 0);
        assert_int_equal(memfile_read(slot, 1ull << 39, buf, sizeof(buf)), 0);
        for (unsigned i = 0; i < sizeof(buf); i++)
                assert_int_equal(buf[i], 0);
        memfile_punch(f, 0, 1ull << 40);
        assert_int_equal(taken(f), 0);
        memfile_free(f);
}

static void test_commit_rolls_back(void **state) {
        struct memfile *f = file_new(1ull << 30, false);

        for (unsigned nth = 1; nth <= 3; nth++) {
                assert_int_equal(memfile_commit(f, 0, PAGE), 0);
                fallocate_fails_in = nth;
                assert_int_equal(memfile_commit(f, PAGE, 2 * PIECE + PAGE), -ENOSPC);
                assert_int_equal(fallocate_fails_in, 0);
                assert_int_equal(taken(f), PAGE);
        }
        memfile_free(f);
}

static void test_commit_refuses_what_the_machine_lacks(void **state) {
        struct memfile *f = file_new(1ull << 46, false);

        assert_int_equal(memfile_commit(f, 0, 1ull << 46), -ENOMEM);
        assert_int_equal(taken(f), 0);
        memfile_free(f);
}

static void test_new_fails_whole(void **state) {
        struct memfile *f = NULL;
        int before = count_fds();

        alloc_fail_at(1);
        assert_int_equal(memfile_new(&f, "test", PAGE, -1, true), -ENOMEM);
        assert_true(alloc_fail_hit());
        alloc_fail_off();
        assert_null(f);
        assert_int_equal(count_fds(), before);
}

static void test_slots_are_reused(void **state) {
        struct memfile *f[64];
        uint32_t slot, highest = 0;
        char byte;

        for (int round = 0; round < 4; round++) {
                for (int i = 0; i < 64; i++) {
                        f[i] = file_new(PAGE, i % 2);
                        for (int k = 0; k < i; k++)
                                assert_int_not_equal(memfile_slot(f[i]), memfile_slot(f[k]));
                        if (round == 0 && memfile_slot(f[i]) > highest)
                                highest = memfile_slot(f[i]);
                        assert_true(memfile_slot(f[i]) <= highest);
                        assert_int_equal(memfile_base(memfile_slot(f[i])) != NULL, i % 2);
                }
                slot = memfile_slot(f[5]);
                for (int i = 0; i < 64; i++)
                        memfile_free(f[i]);
                assert_null(memfile_base(slot));
                assert_int_equal(memfile_read(slot, 0, &byte, 1), -ENXIO);
                assert_int_equal(memfile_write(slot, 0, &byte, 1), -ENXIO);
        }
        assert_null(memfile_base(UINT32_MAX));
        assert_int_equal(memfile_read(UINT32_MAX, 0, &byte, 1), -ENXIO);
}

static void test_pool_and_file_agree(void **state) {
        struct memfile *f = file_new(4 * PAGE, true);
        uint32_t slot = memfile_slot(f);
        uint64_t word = 7, before;

        memcpy((char *)memfile_base(slot) + PAGE, &word, 8);
        assert_int_equal(memfile_read(slot, PAGE, &before, 8), 0);
        assert_int_equal(before, 7);
        assert_int_equal(memfile_atomic_add(slot, PAGE, 5, &before), 0);
        assert_int_equal(before, 7);
        memcpy(&word, (char *)memfile_base(slot) + PAGE, 8);
        assert_int_equal(word, 12);
        /* a short read is an error, not less bytes */
        assert_int_equal(memfile_read(slot, 4 * PAGE, &word, 8), -EIO);
        memfile_free(f);
}

struct adder {
        uint32_t slot;
        uint64_t times;
};

static void *add_many(void *userdata) {
        struct adder *a = userdata;
        uint64_t before;

        for (uint64_t i = 0; i < a->times; i++)
                assert_int_equal(memfile_atomic_add(a->slot, PAGE + 16, 3, &before), 0);
        return NULL;
}

static void test_atomic_add_against_a_cpu(void **state) {
        struct memfile *f = file_new(4 * PAGE, false);
        struct adder adder = { .slot = memfile_slot(f), .times = 20000 };
        pthread_t thread;
        uint64_t *word;
        char *p;

        p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfile_fd(f), PAGE);
        assert_ptr_not_equal(p, MAP_FAILED);
        word = (uint64_t *)(void *)(p + 16);
        assert_int_equal(pthread_create(&thread, NULL, add_many, &adder), 0);
        for (uint64_t i = 0; i < adder.times; i++)
                __atomic_fetch_add(word, 5, __ATOMIC_SEQ_CST);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(__atomic_load_n(word, __ATOMIC_SEQ_CST), adder.times * 8);
        munmap(p, PAGE);
        memfile_free(f);
}

static void test_adopt(void **state) {
        struct memfile *f = file_new(8 * PAGE, true), *again = NULL;
        char byte = 9;
        int fd, plain;

        assert_int_equal(memfile_write(memfile_slot(f), PAGE, &byte, 1), 0);
        fd = fcntl(memfile_fd(f), F_DUPFD_CLOEXEC, 3);
        assert_true(fd >= 0);
        memfile_free(f);
        assert_int_equal(memfile_adopt(&again, fd, 4 * PAGE, -1, true), -EINVAL);
        assert_int_equal(memfile_adopt(&again, fd, 0, -1, true), -EINVAL);
        assert_null(again);
        assert_true(fcntl(fd, F_GETFD) >= 0); /* still the caller's */
        assert_int_equal(memfile_adopt(&again, fd, 8 * PAGE, -1, true), 0);
        assert_int_equal(((char *)memfile_base(memfile_slot(again)))[PAGE], 9);
        memfile_free(again);
        assert_true(fcntl(fd, F_GETFD) < 0);

        plain = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_int_equal(ftruncate(plain, PAGE), 0);
        assert_int_equal(memfile_adopt(&again, plain, PAGE, -1, true), -EINVAL);
        close(plain);
        plain = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_int_equal(memfile_adopt(&again, plain, PAGE, -1, true), -EINVAL);
        close(plain);
}

/* As another uid when the test may become one; the fd itself is read-only in any case. */
static int try_to_write(int fd) {
        char path[32];

        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
                return 1;
        if (mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
                return 2;
        if (pwrite(fd, "x", 1, 0) >= 0)
                return 3;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (getuid() == 65534 && open(path, O_RDWR) >= 0)
                return 4;
        return 0;
}

static void test_open_read(void **state) {
        struct memfile *f = file_new(4 * PAGE, false);
        int fd = memfile_open_read(f), status;
        char byte = 3;
        pid_t pid;

        assert_true(fd >= 0);
        assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(memfile_write(memfile_slot(f), 0, &byte, 1), 0);
        byte = 0;
        assert_int_equal(pread(fd, &byte, 1, 0), 1);
        assert_int_equal(byte, 3);
        pid = fork();
        if (pid == 0)
                _exit(try_to_write(fd));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        close(fd);
        memfile_free(f);
}

enum { MODEL_PAGES = 512 };

static bool model_used(void *userdata, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end) {
        const uint8_t *used = userdata;
        uint64_t i = offset / PAGE, end;

        while (i < MODEL_PAGES && !used[i])
                i++;
        if (i == MODEL_PAGES)
                return false;
        for (end = i; end < MODEL_PAGES && used[end]; end++)
                ;
        *ret_start = i * PAGE;
        *ret_end = end * PAGE;
        return true;
}

static void test_punch_unused(void **state) {
        static uint8_t used[MODEL_PAGES], there[MODEL_PAGES], written[MODEL_PAGES];
        uint32_t slot;

        for (int round = 0; round < 50; round++) {
                struct memfile *f = file_new((uint64_t)MODEL_PAGES * PAGE, false);
                uint64_t want = 0;
                uint8_t byte;

                slot = memfile_slot(f);
                memset(used, 0, sizeof(used));
                memset(there, 0, sizeof(there));
                memset(written, 0, sizeof(written));
                for (int i = 0; i < 20; i++) {
                        uint64_t at = rnd(MODEL_PAGES), n = 1 + rnd(MODEL_PAGES - at < 32 ? MODEL_PAGES - at : 32);

                        if (rnd(2)) {
                                memset(used + at, 1, n);
                        } else {
                                assert_int_equal(memfile_commit(f, at * PAGE, n * PAGE), 0);
                                memset(there + at, 1, n);
                                byte = 1;
                                memset(written + at, 0, n);
                                for (uint64_t k = at + rnd(2); k < at + n; k += 2) {
                                        assert_int_equal(memfile_write(slot, k * PAGE + 5, &byte, 1), 0);
                                        written[k] = 1;
                                }
                        }
                }
                assert_int_equal(memfile_punch_unused(f, model_used, used), 0);
                for (uint64_t i = 0; i < MODEL_PAGES; i++) {
                        want += used[i] && there[i] ? PAGE : 0;
                        assert_int_equal(memfile_read(slot, i * PAGE + 5, &byte, 1), 0);
                        assert_int_equal(byte, used[i] && written[i]);
                }
                assert_int_equal(taken(f), want);
                memfile_free(f);
        }
}

static void test_punch_unused_of_a_huge_file(void **state) {
        struct memfile *f = file_new(1ull << 45, false);
        static uint8_t none[MODEL_PAGES];

        assert_int_equal(memfile_commit(f, 1ull << 44, 5 * PAGE), 0);
        assert_int_equal(memfile_punch_unused(f, model_used, none), 0);
        assert_int_equal(taken(f), 0);
        memfile_free(f);
}

static void test_bound_to_a_numa_node(void **state) {
        struct memfile *f = NULL;
        int before = count_fds();

        /* this machine, whatever it has */
        assert_int_equal(memfile_new(&f, "test", 1ull << 34, 0, false), 0);
        assert_int_equal(memfile_commit(f, 0, PAGE), 0);
        assert_int_equal(taken(f), PAGE);
        memfile_free(f);

        numa.on = true;
        f = file_new(1ull << 34, true); /* -1: wherever */
        assert_int_equal(numa.bound, 0);
        memfile_free(f);
        assert_int_equal(memfile_new(&f, "test", 1ull << 34, 2, true), 0);
        assert_int_equal(numa.bound, 1);
        assert_int_equal(numa.size, 1ull << 34);
        assert_int_equal(numa.mode, MPOL_BIND);
        assert_int_equal(numa.nodes, 4);
        memfile_free(f);
        numa.refuse = true;
        assert_int_equal(memfile_new(&f, "test", PAGE, 2, true), -EPERM);
        assert_int_equal(memfile_new(&f, "test", PAGE, 5000, true), -EINVAL);
        numa.on = numa.refuse = false;
        assert_int_equal(count_fds(), before);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_file_is_sealed),
                cmocka_unit_test(test_bad_sizes),
                cmocka_unit_test(test_commit_takes_zeroed_pages),
                cmocka_unit_test(test_commit_rolls_back),
                cmocka_unit_test(test_commit_refuses_what_the_machine_lacks),
                cmocka_unit_test(test_new_fails_whole),
                cmocka_unit_test(test_slots_are_reused),
                cmocka_unit_test(test_pool_and_file_agree),
                cmocka_unit_test(test_atomic_add_against_a_cpu),
                cmocka_unit_test(test_adopt),
                cmocka_unit_test(test_open_read),
                cmocka_unit_test(test_punch_unused),
                cmocka_unit_test(test_punch_unused_of_a_huge_file),
                cmocka_unit_test(test_bound_to_a_numa_node),
        };
        const char *seed = getenv("SVMD_SEED");

        random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
        printf("SVMD_SEED=%llu\n", (unsigned long long)random_state);
        random_state = random_state * 2 + 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
