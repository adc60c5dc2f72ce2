/*
 * Bytes of files changed through mappings: ordinary and huge pages, and what clients do to the file meanwhile.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/poke.h"

#define PAGE 4096ull
#define HUGE (2ull << 20)

static const char nr_hugepages[] = "/proc/sys/vm/nr_hugepages";

static int make(uint64_t size, unsigned flags) {
        int fd = memfd_create("poked", MFD_CLOEXEC | flags);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        return fd;
}

/* Writes across pages and adds, against a model. */
static void change(int fd, uint64_t page, uint64_t size) {
        char *model = calloc(1, size), *is = malloc(size);
        uint64_t before, sum;

        assert_true(model && is);
        memset(model + page - 100, 7, 300);
        assert_int_equal(poke_write(fd, page, page - 100, model + page - 100, 300), 0);
        memcpy(&sum, model + page, sizeof(sum));
        assert_int_equal(poke_add(fd, page, page, 5, &before), 0);
        assert_int_equal(before, sum);
        sum += 5;
        memcpy(model + page, &sum, sizeof(sum));
        assert_int_equal(pread(fd, is, size, 0), size);
        assert_memory_equal(is, model, size);
        free(model);
        free(is);
}

static void test_pages(void **state) {
        int fd = make(4 * PAGE, 0);

        change(fd, PAGE, 4 * PAGE);
        close(fd);
}

static long set_aside(long n) {
        long was = -1;
        FILE *f = fopen(nr_hugepages, "re");

        if (f) {
                if (fscanf(f, "%ld", &was) != 1)
                        was = -1;
                fclose(f);
        }
        f = n > was ? fopen(nr_hugepages, "we") : NULL;
        if (f) {
                fprintf(f, "%ld\n", n);
                fclose(f);
        }
        return was;
}

static void put_back(long n) {
        FILE *f = fopen(nr_hugepages, "we");

        if (f) {
                fprintf(f, "%ld\n", n);
                fclose(f);
        }
}

static void test_huge_pages(void **state) {
        long was = set_aside(2);
        int fd = make(2 * HUGE, MFD_HUGETLB);
        char *p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p == MAP_FAILED) {
                print_message("not applicable: %s cannot be set to 2 here\n", nr_hugepages);
        } else {
                munmap(p, 2 * HUGE);
                change(fd, HUGE, 2 * HUGE);
        }
        close(fd);
        if (was >= 0)
                put_back(was);
}

/* What lies behind the end of the file is what a hole is that no page can be had for. */
static void test_what_is_not_there(void **state) {
        uint64_t before = 1;
        int fd = make(PAGE, 0);
        char text[16] = "text";

        assert_int_equal(ftruncate(fd, 0), 0);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(poke_write(fd, PAGE, 0, text, sizeof(text)), -EFAULT);
                assert_int_equal(poke_add(fd, PAGE, 0, 1, &before), -EFAULT);
        }
        assert_int_equal(before, 1);
        assert_int_equal(ftruncate(fd, PAGE), 0);
        assert_int_equal(poke_add(fd, PAGE, 0, 1, &before), 0);
        assert_int_equal(before, 0);
        close(fd);
        assert_int_equal(poke_write(-1, PAGE, 0, text, sizeof(text)), -EBADF);
}

/* Any other access still ends the process. */
static void test_others_still_end(void **state) {
        int fd = make(PAGE, 0), status;
        volatile char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        uint64_t before;
        pid_t pid;

        assert_true(p != MAP_FAILED);
        assert_int_equal(poke_add(fd, PAGE, 0, 1, &before), 0);
        assert_int_equal(ftruncate(fd, 0), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                *p = 1;
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
        munmap((void *)p, PAGE);
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pages),
                cmocka_unit_test(test_huge_pages),
                cmocka_unit_test(test_what_is_not_there),
                cmocka_unit_test(test_others_still_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
