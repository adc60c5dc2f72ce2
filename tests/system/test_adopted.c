/*
 * Memory of a process that becomes a managed range at its own address, and the process's own again: what can be adopted
 * and what is refused, what devices and hints see of it, and that whatever fails on the way changes nothing.
 *
 *      system_adopted
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { PAGE = 4096, SIZE = 40 * PAGE };

static struct daemon d;
static svmd_session *s, *watcher;
static svmd_node gpu;
static svmd_space space;

static const struct svmd_register_options adopted = { .size = sizeof(adopted), .mode = SVMD_REGISTER_ADOPTED };

static char *map_new(size_t size, int prot, int flags) {
        char *p = mmap(NULL, size, prot, MAP_ANONYMOUS | flags, -1, 0);

        must(p != MAP_FAILED);
        return p;
}

static char *new_block(void) {
        return map_new(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

static void stamp(char *at, size_t size, unsigned seed) {
        for (size_t i = 0; i < size; i++)
                at[i] = (char)(i * 7 + i / PAGE + seed);
}

static void is_stamped(const char *at, size_t size, unsigned seed) {
        for (size_t i = 0; i < size; i++)
                if (at[i] != (char)(i * 7 + i / PAGE + seed)) {
                        fprintf(stderr, "byte %zu of %zu\n", i, size);
                        fail_here("a byte is not what it was");
                }
}

/* The line of /proc/self/maps that has the address. */
static void map_line(const char *at, char line[512]) {
        FILE *f = fopen("/proc/self/maps", "re");
        unsigned long start, end;

        must(f);
        while (fgets(line, 512, f))
                if (sscanf(line, "%lx-%lx", &start, &end) == 2 && (uintptr_t)at >= start && (uintptr_t)at < end) {
                        fclose(f);
                        return;
                }
        fclose(f);
        line[0] = 0;
}

static bool is_managed(const char *at) {
        struct svmd_address_info info = { .size = sizeof(info) };

        return svmd_address_query(s, at, &info) == SVMD_OK && info.kind == SVMD_SHARED;
}

static void is_plain(const char *at) {
        char line[512];

        map_line(at, line);
        must(strstr(line, " rw-p 00000000 00:00 0"));
        must(!is_managed(at));
}

static void out(char *at, size_t size) {
        ok(svmd_migrate(s, NULL, at, size, gpu));
}

static int count_out(const struct svmd_residency_row *row, void *userdata) {
        *(uint64_t *)userdata += row->node == gpu ? row->length : 0;
        return 0;
}

static uint64_t bytes_out(const char *at, size_t size) {
        uint64_t sum = 0;

        ok(svmd_query_residency(s, NULL, (uintptr_t)at, size, 0, count_out, &sum));
        return sum;
}

/* What a page is may be there before svmd has noted it. */
static void await_in(const char *at, size_t size) {
        uint64_t until = now_ms() + CEILING_MS;

        while (bytes_out(at, size) > 0) {
                must(now_ms() < until);
                usleep(100);
        }
}

static int device(unsigned type, const char *dst, const char *src, size_t length, uint64_t value, uint64_t *ret) {
        struct svmd_device_op op = { .size = sizeof(op), .op = type, .space = space, .length = length };
        struct svmd_fence_result result;
        svmd_fence *f;
        int r;

        op.dst = (uintptr_t)dst;
        op.src = (uintptr_t)src;
        op.value = value;
        ok(svmd_submit(s, &f, &op));
        r = svmd_fence_wait(f, CEILING_MS, &result);
        if (ret)
                *ret = result.value;
        svmd_fence_free(f);
        return r;
}

/* ---- there and back ---- */

static void there_and_back(void) {
        char *at = new_block();
        svmd_mem mem;
        uint64_t generation = 0;

        stamp(at, SIZE, 1);
        ok(svmd_register(s, &mem, &generation, at, SIZE, &adopted));
        must(generation > 0 && is_managed(at));
        is_stamped(at, SIZE, 1);
        out(at, SIZE);
        must(bytes_out(at, SIZE) == SIZE);
        is_stamped(at, SIZE, 1);
        await_in(at, SIZE);
        stamp(at, SIZE, 2);
        out(at, SIZE / 2);
        ok(svmd_unregister(s, mem));
        is_plain(at);
        is_stamped(at, SIZE, 2);
        want(SVMD_E_NO_SUCH, svmd_unregister(s, mem));
        must(munmap(at, SIZE) == 0);
}

/* A block of malloc(): its edges stay outside, since others have bytes in those pages. */
static void malloced(void) {
        char *block = malloc(SIZE + 100), *first = (char *)(((uintptr_t)block + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
        svmd_mem mem;

        stamp(block, SIZE + 100, 3);
        ok(svmd_register(s, &mem, NULL, block, SIZE + 100, &adopted));
        must(is_managed(first));
        if (block != first)
                must(!is_managed(block));
        out(first, SIZE - PAGE);
        is_stamped(block, SIZE + 100, 3);
        ok(svmd_unregister(s, mem));
        is_stamped(block, SIZE + 100, 3);
        free(block);
        want(SVMD_E_SIZE, svmd_register(s, &mem, NULL, (char *)space + 1, PAGE, &adopted));
}

static void untouched_and_huge(void) {
        size_t size = 4 << 20;
        char *at = map_new(2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        char *huge = (char *)(((uintptr_t)at + (2 << 20) - 1) & ~(uintptr_t)((2 << 20) - 1));
        svmd_mem mem;

        madvise(huge, size, MADV_HUGEPAGE);
        stamp(huge, PAGE, 4);
        stamp(huge + size - PAGE, PAGE, 5);
        ok(svmd_register(s, &mem, NULL, huge, size, &adopted));
        out(huge, size);
        is_stamped(huge, PAGE, 4);
        is_stamped(huge + size - PAGE, PAGE, 5);
        for (size_t i = PAGE; i < size - PAGE; i += 512)
                must(huge[i] == 0);
        ok(svmd_unregister(s, mem));
        is_stamped(huge, PAGE, 4);
        is_stamped(huge + size - PAGE, PAGE, 5);
        must(munmap(at, 2 * size) == 0);
}

/* Spaces see it at its own address as long as it is adopted. */
static void devices(void) {
        char *at = new_block();
        uint64_t sum = 0;
        svmd_mem mem;

        memset(at, 1, SIZE);
        want(SVMD_E_NOT_MAPPED, device(SVMD_DEVICE_SUM, NULL, at, SIZE, 0, NULL));
        ok(svmd_register(s, &mem, NULL, at, SIZE, &adopted));
        ok(device(SVMD_DEVICE_SUM, NULL, at, SIZE, 0, &sum));
        must(sum != 0);
        ok(device(SVMD_DEVICE_FILL, at, NULL, 3 * PAGE, 9, NULL));
        must(at[0] == 9 && at[3 * PAGE - 1] == 9 && at[3 * PAGE] == 1);
        ok(svmd_unregister(s, mem));
        want(SVMD_E_NOT_MAPPED, device(SVMD_DEVICE_FILL, at, NULL, PAGE, 5, NULL));
        must(at[0] == 9 && at[3 * PAGE] == 1);
        must(munmap(at, SIZE) == 0);
}

/* ---- what the program does to it by itself ---- */

static void unmapped_in_part(void) {
        char *at = new_block(), line[512];
        svmd_mem mem;

        stamp(at, SIZE, 6);
        ok(svmd_register(s, &mem, NULL, at, SIZE, &adopted));
        out(at, SIZE);
        must(munmap(at + 4 * PAGE, 2 * PAGE) == 0);
        ok(svmd_unregister(s, mem));
        map_line(at + 4 * PAGE, line);
        must(!line[0]);
        is_plain(at);
        is_plain(at + SIZE - PAGE);
        is_stamped(at, 4 * PAGE, 6);
        for (size_t i = 6 * PAGE; i < SIZE; i++)
                must(at[i] == (char)(i * 7 + i / PAGE + 6));
        must(munmap(at, SIZE) == 0);
}

static void unmapped_and_taken(void) {
        char *at = new_block(), *again;
        svmd_mem mem;

        ok(svmd_register(s, &mem, NULL, at, SIZE, &adopted));
        must(munmap(at, SIZE) == 0);
        again = mmap(at, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        must(again == at);
        stamp(at, SIZE, 7);
        ok(svmd_unregister(s, mem));
        is_stamped(at, SIZE, 7);
        is_plain(at);
        ok(svmd_register(s, &mem, NULL, at, SIZE, &adopted));
        is_stamped(at, SIZE, 7);
        ok(svmd_unregister(s, mem));
        must(munmap(at, SIZE) == 0);
}

static void given_back_at_the_end(void) {
        char *at = new_block();
        svmd_session *other;
        svmd_mem mem;

        stamp(at, SIZE, 8);
        connect_to(&other, d.socket, "lab");
        ok(svmd_register(other, &mem, NULL, at, SIZE, &adopted));
        ok(svmd_migrate(other, NULL, at, SIZE, gpu));
        want(SVMD_E_TAKEN, svmd_register(s, &mem, NULL, at, SIZE, NULL));
        svmd_disconnect(other);
        is_stamped(at, SIZE, 8);
        is_plain(at);
        must(munmap(at, SIZE) == 0);
}

/* ---- refused ---- */

/* Without the addresses: what lies beside it may have become one with it. */
static const char *kind_of(const char *line) {
        const char *kind = strchr(line, ' ');

        return kind ? kind : line;
}

static void refused(int code, char *at, size_t size) {
        char before[512], after[512];
        svmd_mem mem = 77;

        map_line(at, before);
        want(code, svmd_register(s, &mem, NULL, at, size, &adopted));
        must(mem == 77 && svmd_error()[0]);
        map_line(at, after);
        must(strcmp(kind_of(before), kind_of(after)) == 0);
        must(!is_managed(at));
}

static void kinds_are_refused(void) {
        int fd = memfd_create("mine", MFD_CLOEXEC);
        char *at, *slice, stack[2 * PAGE];
        svmd_mem mem;
        void *reserved;

        must(fd >= 0 && ftruncate(fd, SIZE) == 0);
        refused(SVMD_E_UNSUPPORTED, map_new(SIZE, PROT_READ | PROT_WRITE, MAP_SHARED), SIZE);
        refused(SVMD_E_UNSUPPORTED, mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), SIZE);
        refused(SVMD_E_UNSUPPORTED, mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), SIZE);
        refused(SVMD_E_UNSUPPORTED, map_new(SIZE, PROT_READ, MAP_PRIVATE), SIZE);
        refused(SVMD_E_UNSUPPORTED, map_new(SIZE, PROT_NONE, MAP_PRIVATE), SIZE);
        refused(SVMD_E_UNSUPPORTED, map_new(SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE), SIZE);
        refused(SVMD_E_UNSUPPORTED, map_new(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_LOCKED), SIZE);
        refused(SVMD_E_UNSUPPORTED, map_new(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_GROWSDOWN), SIZE);
        refused(SVMD_E_UNSUPPORTED, stack, sizeof(stack));
        refused(SVMD_E_UNSUPPORTED, (char *)getauxval(AT_SYSINFO_EHDR), PAGE);

        at = new_block();
        must(munmap(at + 8 * PAGE, PAGE) == 0);
        refused(SVMD_E_NOT_MAPPED, at, SIZE);
        must(munmap(at, SIZE) == 0);
        refused(SVMD_E_NOT_MAPPED, at, SIZE);

        at = new_block();
        ok(svmd_register(s, &mem, NULL, at + PAGE, PAGE, NULL));
        refused(SVMD_E_TAKEN, at, SIZE);
        ok(svmd_unregister(s, mem));
        ok(svmd_register(s, &mem, NULL, at + PAGE, PAGE, &adopted));
        refused(SVMD_E_UNSUPPORTED, at, SIZE); /* part of it is a file now */
        ok(svmd_unregister(s, mem));
        must(munmap(at, SIZE) == 0);

        ok(svmd_address_reserve(s, &reserved, SIZE, 0, NULL, NULL));
        slice = reserved;
        refused(SVMD_E_UNSUPPORTED, slice, SIZE);
        ok(svmd_address_free(s, reserved));
        close(fd);
}

/* A userfaultfd of the program's own. */
static void served_by_itself(void) {
        struct uffdio_api api = { .api = UFFD_API };
        char *at = new_block();
        struct uffdio_register r = { .range = { (uintptr_t)at, SIZE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
        int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

        must(fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0 && ioctl(fd, UFFDIO_REGISTER, &r) == 0);
        refused(SVMD_E_TAKEN, at, SIZE);
        close(fd);
        must(munmap(at, SIZE) == 0);
}

static void limit_host(uint64_t bytes) {
        struct svmd_limit limit = { .node = node_named(watcher, "host0"), .max = bytes };
        struct svmd_partition_options o = { .size = sizeof(o), .limits = &limit, .limits_count = 1 };

        ok(svmd_partition_set(watcher, "lab", &o, 0));
}

static void too_much(void) {
        char *at = new_block();

        limit_host(SIZE / 2);
        stamp(at, SIZE, 9);
        refused(SVMD_E_NO_ROOM, at, SIZE);
        is_stamped(at, SIZE, 9);
        limit_host(UINT64_MAX);
        must(munmap(at, SIZE) == 0);
}

/* ---- failures on the way: in a process of its own, of which the kernel refuses a call ---- */

static void refuse_call(int nr, int arg, uint32_t value, int error) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                         offsetof(struct seccomp_data, args) + (unsigned)(arg < 0 ? 0 : arg) * 8),
                BPF_JUMP(BPF_JMP | (arg < 0 ? BPF_JGE : BPF_JEQ) | BPF_K, value, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

        must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
enum { THERE = 1, BACK = 2 };
static const struct {
        const char *what;
        int nr, arg;
        uint32_t value;
        int error;
        unsigned when; /* THERE, BACK */
} calls[] = {
        { "fallocate", SYS_fallocate, -1, 0, ENOSPC, THERE },
        { "mmap of the file", SYS_mmap, 3, MAP_SHARED | MAP_NORESERVE, ENOMEM, THERE },
        { "MADV_DONTFORK", SYS_madvise, 2, MADV_DONTFORK, ENOMEM, THERE },
        { "UFFDIO_REGISTER", SYS_ioctl, 1, (uint32_t)UFFDIO_REGISTER, ENOMEM, THERE },
        { "MADV_POPULATE_WRITE", SYS_madvise, 2, MADV_POPULATE_WRITE, ENOMEM, THERE | BACK },
        { "UFFDIO_WRITEPROTECT", SYS_ioctl, 1, (uint32_t)UFFDIO_WRITEPROTECT, ENOMEM, THERE | BACK },
        { "pwrite", SYS_pwrite64, -1, 0, EIO, THERE },
        { "pread", SYS_pread64, -1, 0, EIO, BACK },
        { "mremap", SYS_mremap, 3, MREMAP_MAYMOVE | MREMAP_FIXED, ENOMEM, THERE | BACK },
};

static void fail_in(unsigned i, bool back) {
        char *at = new_block();
        svmd_mem mem;

        connect_to(&s, d.socket, "lab");
        stamp(at, SIZE, i);
        if (back) {
                ok(svmd_register(s, &mem, NULL, at, SIZE, &adopted));
                out(at, SIZE);
                refuse_call(calls[i].nr, calls[i].arg, calls[i].value, calls[i].error);
                want(SVMD_E_SYSTEM, svmd_unregister(s, mem));
                must(is_managed(at));
                is_stamped(at, SIZE, i);
                out(at, SIZE);
                must(bytes_out(at, SIZE) == SIZE);
        } else {
                refuse_call(calls[i].nr, calls[i].arg, calls[i].value, calls[i].error);
                refused(SVMD_E_SYSTEM, at, SIZE);
                is_plain(at);
        }
        is_stamped(at, SIZE, i);
        stamp(at, SIZE, i + 1);
        is_stamped(at, SIZE, i + 1);
        _exit(0);
}

static void calls_fail(void) {
        for (unsigned i = 0; i < 2 * sizeof(calls) / sizeof(calls[0]); i++) {
                int status;
                pid_t pid;

                if (!(calls[i / 2].when & (i & 1 ? BACK : THERE)))
                        continue;
                pid = fork();
                must(pid >= 0);
                if (pid == 0)
                        fail_in(i / 2, i & 1);
                must(wait_end(pid, &status));
                if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                        fprintf(stderr, "%s\n", calls[i / 2].what);
                        fail_here("what failed changed something");
                }
        }
}

static void no_descriptors(void) {
        struct rlimit old, few;
        char *at = new_block();
        int status;
        pid_t pid = fork();

        must(pid >= 0);
        if (pid > 0) {
                must(wait_end(pid, &status) && WIFEXITED(status) && WEXITSTATUS(status) == 0);
                return;
        }
        connect_to(&s, d.socket, "lab");
        stamp(at, SIZE, 1);
        must(getrlimit(RLIMIT_NOFILE, &old) == 0);
        few = old;
        few.rlim_cur = (rlim_t)dup(0);
        close((int)few.rlim_cur);
        must(setrlimit(RLIMIT_NOFILE, &few) == 0);
        {
                svmd_mem mem;

                must(svmd_register(s, &mem, NULL, at, SIZE, &adopted) != SVMD_OK && svmd_error()[0]);
        }
        must(setrlimit(RLIMIT_NOFILE, &old) == 0);
        is_plain(at);
        is_stamped(at, SIZE, 1);
        _exit(0);
}

/* ---- others ---- */

static atomic_bool stop;

/* A child has what was there when it was made, or nothing at all; the parent loses nothing. */
static void *fork_on(void *userdata) {
        while (!atomic_load(&stop)) {
                int status;
                pid_t pid = fork();

                must(pid >= 0);
                if (pid == 0)
                        _exit(0);
                must(waitpid(pid, &status, 0) == pid && status == 0);
        }
        return NULL;
}

static void forks_in_the_middle(void) {
        char *at = new_block();
        pthread_t forker;
        svmd_mem mem;

        atomic_store(&stop, false);
        must(pthread_create(&forker, NULL, fork_on, NULL) == 0);
        for (unsigned i = 0; i < 50; i++) {
                stamp(at, SIZE, i);
                ok(svmd_register(s, &mem, NULL, at, SIZE, &adopted));
                is_stamped(at, SIZE, i);
                ok(svmd_unregister(s, mem));
                is_stamped(at, SIZE, i);
        }
        atomic_store(&stop, true);
        pthread_join(forker, NULL);
        must(munmap(at, SIZE) == 0);
}

static void ended_in_the_middle(void) {
        for (unsigned i = 0; i < 15; i++) {
                int ready[2], status;
                pid_t pid;
                char c;

                must(pipe(ready) == 0);
                pid = fork();
                must(pid >= 0);
                if (pid == 0) {
                        char *at = new_block();
                        svmd_mem mem;

                        connect_to(&s, d.socket, "lab");
                        must(write(ready[1], "x", 1) == 1);
                        for (;;) {
                                ok(svmd_register(s, &mem, NULL, at, SIZE, &adopted));
                                out(at, SIZE);
                                ok(svmd_unregister(s, mem));
                        }
                }
                must(read(ready[0], &c, 1) == 1);
                close(ready[0]);
                close(ready[1]);
                usleep((useconds_t)random_below(20000));
                kill(pid, SIGKILL);
                must(wait_end(pid, &status) && WIFSIGNALED(status));
        }
        await_settled(watcher, &d, 0, 0);
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=64M,faults=on", "--log-level", "warning",
                                               NULL };
        struct svmd_partition_options o = {
                .size = sizeof(o), .length = 4ull << 30, .window = HARNESS_WINDOW, .mode = 0666
        };

        harness_begin("system_adopted");
        daemon_new(&d, options);
        connect_watcher(&watcher, d.admin);
        ok(svmd_partition_create(watcher, "lab", &o, NULL));
        gpu = node_named(watcher, "gpu0");
        calls_fail();
        no_descriptors();
        ended_in_the_middle();
        connect_to(&s, d.socket, "lab");
        ok(svmd_space_create(s, &space, gpu));
        there_and_back();
        malloced();
        untouched_and_huge();
        devices();
        unmapped_in_part();
        unmapped_and_taken();
        given_back_at_the_end();
        kinds_are_refused();
        served_by_itself();
        too_much();
        forks_in_the_middle();
        svmd_disconnect(s);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
