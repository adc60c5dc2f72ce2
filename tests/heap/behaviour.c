#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "svmd.h"

/*
 *      heap-behaviour CASE
 *
 * What programs may expect of malloc(), mmap() and fork(). Every case holds for a program as it is (the test runs it so
 * too) and for one with a managed heap; those in `managed` are about the latter alone.
 */
#define MIB ((size_t)1 << 20)

#define must(condition)                                                                                                \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        fprintf(stderr, "%s:%d: expected: %s\n", __FILE__, __LINE__, #condition);                      \
                        exit(1);                                                                                       \
                }                                                                                                      \
        } while (0)

static bool is_filled(const char *p, size_t size, char with) {
        for (size_t i = 0; i < size; i++)
                if (p[i] != with)
                        return false;
        return true;
}

static char *map(size_t size) {
        char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        must(p != MAP_FAILED);
        return p;
}

/* What comes again after it was given back is zero. */
static void case_mmap(void) {
        char *block[32];

        for (int round = 0; round < 4; round++) {
                for (int i = 0; i < 32; i++) {
                        size_t size = (size_t)(i + 1) * 40960;

                        block[i] = map(size);
                        must(is_filled(block[i], size, 0));
                        memset(block[i], i + 1, size);
                }
                for (int i = 0; i < 32; i++)
                        must(is_filled(block[i], (size_t)(i + 1) * 40960, (char)(i + 1)));
                for (int i = 0; i < 32; i++)
                        must(munmap(block[i], (size_t)(i + 1) * 40960) == 0);
        }
}

/* Parts of a mapping: its neighbours stay. */
static void case_parts(void) {
        char *p = map(4 * MIB);

        memset(p, 7, 4 * MIB);
        must(munmap(p + MIB + 4096, 8192) == 0);
        must(munmap(p + 2 * MIB, MIB) == 0);
        must(madvise(p + 4096, 3 * 65536, MADV_DONTNEED) == 0);
        must(is_filled(p, 4096, 7));
        must(is_filled(p + 4096, 3 * 65536, 0));
        must(is_filled(p + 4096 + 3 * 65536, MIB - 3 * 65536, 7));
        must(is_filled(p + MIB + 3 * 4096, MIB - 3 * 4096, 7));
        must(is_filled(p + 3 * MIB, MIB, 7));
        must(munmap(p, 4 * MIB) == 0);
        p = map(4 * MIB);
        must(is_filled(p, 4 * MIB, 0));
}

static void case_mremap(void) {
        char *p = map(MIB), *q;

        memset(p, 5, MIB);
        q = mremap(p, MIB, 3 * MIB, MREMAP_MAYMOVE);
        must(q != MAP_FAILED && is_filled(q, MIB, 5) && is_filled(q + MIB, 2 * MIB, 0));
        q = mremap(q, 3 * MIB, MIB / 2, 0);
        must(q != MAP_FAILED && is_filled(q, MIB / 2, 5));
        must(munmap(q, MIB / 2) == 0);
}

/* Whatever part of it host memory may have, the program gets on: in order and in none, all of it three times. */
static void case_progress(void) {
        enum { BLOCKS = 512, BLOCK = 65536 };
        char *p = malloc((size_t)BLOCKS * BLOCK);

        memset(p, 1, (size_t)BLOCKS * BLOCK);
        for (unsigned round = 1; round <= 3; round++)
                for (unsigned i = 0; i < BLOCKS; i++) {
                        char *at = p + (size_t)(round == 2 ? i : i * 197 % BLOCKS) * BLOCK;

                        must(is_filled(at, BLOCK, (char)round));
                        memset(at, (int)round + 1, BLOCK);
                }
        must(is_filled(p, (size_t)BLOCKS * BLOCK, 4));
        free(p);
}

static void ignore(int signal) {
        _exit(42);
}

static int end_of(pid_t pid) {
        int status;

        must(waitpid(pid, &status, 0) == pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Access that the program changed, and mappings made there after it was given back. */
static void case_mprotect(void) {
        char *p = map(MIB);
        pid_t pid;

        memset(p, 8, MIB);
        must(mprotect(p + 65536, 4096, PROT_NONE) == 0);
        pid = fork();
        if (pid == 0) {
                signal(SIGSEGV, ignore);
                p[65536] = 1;
                _exit(0);
        }
        must(end_of(pid) == 42);
        must(mprotect(p + 65536, 4096, PROT_READ | PROT_WRITE) == 0 && is_filled(p, MIB, 8));
        must(munmap(p, MIB) == 0);
        for (int i = 0; i < 8; i++) {
                p = map(MIB);
                memset(p, 1, MIB);
        }
}

static void case_malloc(void) {
        char *p, *q[64];

        for (size_t size = 1; size < 64 * MIB; size = size * 3 + 1) {
                p = malloc(size);
                must(p && malloc_usable_size(p) >= size);
                memset(p, 9, size);
                p = realloc(p, 2 * size);
                must(p && is_filled(p, size, 9));
                free(p);
                p = calloc(1, size);
                must(p && is_filled(p, size, 0));
                free(p);
        }
        for (size_t i = 0; i < 64; i++) {
                size_t alignment = (size_t)16 << (i % 14);

                must(posix_memalign((void **)&q[i], alignment, 1000 * (i + 1)) == 0);
                must((uintptr_t)q[i] % alignment == 0);
                memset(q[i], (int)i, 1000 * (i + 1));
        }
        for (size_t i = 0; i < 64; i++) {
                must(is_filled(q[i], 1000 * (i + 1), (char)i));
                free(q[i]);
        }
        must((uintptr_t)(p = valloc(5)) % 4096 == 0);
        free(p);
        errno = 77;
        free(malloc(32 * MIB));
        must(errno == 77);
}

/* What was used, given back, and left alone until it was discarded. */
static void case_calloc(void) {
        enum { BLOCKS = 400 };
        static char *block[BLOCKS];

        for (int round = 0; round < 3; round++) {
                for (size_t i = 0; i < BLOCKS; i++) {
                        size_t size = 20000 + i * 417;

                        block[i] = calloc(1, size);
                        must(block[i] && is_filled(block[i], size, 0));
                        memset(block[i], 0x55, size);
                }
                for (size_t i = 0; i < BLOCKS; i++)
                        if (i % 16)
                                free(block[i]);
                usleep(1200000);
                for (int i = 0; i < 20000; i++)
                        free(malloc(100));
        }
}

/* ---- fork ---- */

/* Generations of children, each with what its parent had and more; parents end before their children are done. */
static void case_generations(void) {
        enum { DEEP = 5 };
        char *all[DEEP + 1];
        int pipes[2], deep = 0;
        char answer = 0;

        must(pipe(pipes) == 0);
        all[0] = malloc(3 * MIB);
        memset(all[0], 1, 3 * MIB);
        while (deep < DEEP) {
                pid_t pid = fork();

                must(pid >= 0);
                if (pid > 0 && deep > 0)
                        _exit(0);
                if (pid > 0)
                        break;
                deep++;
                usleep(20000); /* the parent is gone, and its addresses are free for others */
                for (int i = 0; i < deep; i++)
                        must(is_filled(all[i], 3 * MIB, (char)(i + 1)));
                all[deep] = malloc(3 * MIB);
                must(all[deep]);
                memset(all[deep], deep + 1, 3 * MIB);
                free(malloc(100 * MIB));
                must(munmap(map(MIB), MIB) == 0);
        }
        if (deep) {
                for (int i = 0; i <= deep; i++)
                        must(is_filled(all[i], 3 * MIB, (char)(i + 1)));
                must(write(pipes[1], "y", 1) == 1);
                _exit(0);
        }
        close(pipes[1]);
        must(read(pipes[0], &answer, 1) == 1 && answer == 'y');
        must(is_filled(all[0], 3 * MIB, 1));
}

/* A child's writes are its own, and so are its parent's. */
static void case_private(void) {
        char *p = malloc(MIB), *q = map(MIB);

        memset(p, 1, MIB);
        memset(q, 1, MIB);
        for (int i = 0; i < 20; i++) {
                pid_t pid = fork();

                if (pid == 0) {
                        must(is_filled(p, MIB, (char)(i + 1)) && is_filled(q, MIB, (char)(i + 1)));
                        memset(p, 99, MIB);
                        memset(q, 99, MIB);
                        free(p);
                        must(munmap(q, MIB) == 0);
                        q = map(MIB);
                        must(is_filled(q, MIB, 0));
                        _exit(0);
                }
                memset(p, i + 2, MIB);
                memset(q, i + 2, MIB);
                must(end_of(pid) == 0);
                must(is_filled(p, MIB, (char)(i + 2)) && is_filled(q, MIB, (char)(i + 2)));
        }
}

enum { PAIRS = 64, WRITERS = 3 };

struct pair {
        _Atomic uint64_t first;
        char gap[200000];
        _Atomic uint64_t second;
};

static struct pair *pairs[PAIRS];
static atomic_bool over;

/* `first` is never behind `second`, at no moment. */
static void *write_pairs(void *unused) {
        int input = open("/dev/zero", O_RDONLY);
        char *buffer = malloc(300000);

        while (!over) {
                for (int i = 0; i < PAIRS; i++) {
                        uint64_t n = atomic_fetch_add(&pairs[i]->first, 1);

                        while (atomic_load(&pairs[i]->second) != n)
                                ;
                        atomic_store(&pairs[i]->second, n + 1);
                }
                must(read(input, buffer, 300000) > 0);
                free(malloc(100000));
        }
        free(buffer);
        close(input);
        return NULL;
}

static void case_threads(void) {
        pthread_t thread[WRITERS];

        for (int i = 0; i < PAIRS; i++)
                pairs[i] = calloc(1, sizeof(*pairs[i]));
        for (int i = 0; i < WRITERS; i++)
                must(pthread_create(&thread[i], NULL, write_pairs, NULL) == 0);
        for (int i = 0; i < 30; i++) {
                pid_t pid = fork();

                if (pid == 0) {
                        for (int k = 0; k < PAIRS; k++) {
                                uint64_t first = pairs[k]->first, second = pairs[k]->second;

                                must(first >= second && first - second <= WRITERS);
                        }
                        free(malloc(10 * MIB));
                        _exit(0);
                }
                must(end_of(pid) == 0);
        }
        over = true;
        for (int i = 0; i < WRITERS; i++)
                must(pthread_join(thread[i], NULL) == 0);
}

/* Threads that fork and allocate at the same time. */
static void *fork_and_allocate(void *unused) {
        for (int i = 0; i < 20; i++) {
                pid_t pid = fork();

                if (pid == 0) {
                        free(malloc(MIB));
                        _exit(7);
                }
                must(pid > 0);
                for (int k = 0; k < 50; k++)
                        free(malloc((size_t)(k + 1) * 30000));
                must(end_of(pid) == 7);
        }
        return NULL;
}

static void case_forks(void) {
        pthread_t thread[4];

        for (int i = 0; i < 4; i++)
                must(pthread_create(&thread[i], NULL, fork_and_allocate, NULL) == 0);
        for (int i = 0; i < 4; i++)
                must(pthread_join(thread[i], NULL) == 0);
}

/* ---- descriptors ---- */

static void case_descriptors(void) {
        char *p = malloc(4 * MIB);

        memset(p, 3, 4 * MIB);
        for (int fd = 3; fd < 1024; fd++)
                close(fd);
        close_range(3, ~0u, 0);
        closefrom(3);
        must(open("/dev/null", O_RDONLY) == 3);
        must(dup2(3, 9) == 9);
        must(is_filled(p, 4 * MIB, 3));
        free(p);
        p = malloc(32 * MIB);
        memset(p, 4, 32 * MIB);
        must(is_filled(p, 32 * MIB, 4));
}

/* ---- managed heaps alone ---- */

/* The test allows 64 MiB. */
static void case_max(void) {
        size_t got = 0;

        errno = 0;
        while (got < 100 && malloc(MIB))
                got++;
        must(got >= 40 && got <= 64 && errno == ENOMEM);
        must(mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
}

/* The same, in a child that svmd has no session for: its mappings come from elsewhere and count. */
static void case_max_alone(void) {
        pid_t pid;

        must(setenv("SVMD_SOCKET", "/nowhere/svmd.sock", 1) == 0);
        pid = fork();
        if (pid == 0) {
                size_t got = 0;

                must(freopen("/dev/null", "we", stderr)); /* where it is told that it has none */
                for (int i = 0; i < 2; i++)
                        must(mmap(NULL, 48 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
                             MAP_FAILED);
                while (got < 100 && malloc(MIB))
                        got++;
                _exit(got < 64 ? 0 : 1);
        }
        must(end_of(pid) == 0);
}

/* More than the first range has. */
static void case_large(void) {
        char *p[6];

        for (int i = 0; i < 6; i++) {
                p[i] = i % 2 ? map(700 * MIB) : malloc(700 * MIB);
                must(p[i]);
                p[i][0] = p[i][700 * MIB - 1] = (char)(i + 1);
        }
        for (int i = 0; i < 6; i++)
                must(p[i][0] == i + 1 && p[i][700 * MIB - 1] == i + 1);
}

/* A program that uses libsvmd itself, in the partition that its heap is in. */
static void case_session(void) {
        struct svmd_reserve_options opts = { .size = sizeof(opts), .kind = SVMD_SHARED, .granule = 65536 };
        svmd_session *s;
        void *p;
        pid_t pid;

        must(svmd_connect(&s, NULL) == 0);
        must(svmd_address_reserve(s, &p, 4 * MIB, 0, NULL, &opts) == 0);
        memset(p, 6, 4 * MIB);
        for (int i = 0; i < 200; i++) {
                char *q = malloc(9 * MIB);

                q[0] = q[9 * MIB - 1] = 1;
                free(q);
                must(svmd_discard(s, NULL, (char *)p + 65536, 65536) == 0);
        }
        must(is_filled(p, 65536, 6));
        pid = fork();
        if (pid == 0) {
                svmd_session *mine;

                must(svmd_discard(s, NULL, p, 65536) == SVMD_E_FORKED);
                free(malloc(40 * MIB));
                must(svmd_connect(&mine, NULL) == 0);
                must(svmd_address_reserve(mine, &p, 4 * MIB, 0, NULL, &opts) == 0);
                memset(p, 6, 4 * MIB);
                _exit(0);
        }
        must(end_of(pid) == 0);
        svmd_disconnect(s);
}

struct wanted {
        uint64_t address, generation;
};

static int take_generation(const struct svmd_reservation_row *row, void *userdata) {
        struct wanted *w = userdata;

        if (w->address - row->address < row->length)
                w->generation = row->generation;
        return 0;
}

static uint64_t generation_at(svmd_session *s, const void *p) {
        struct wanted w = { .address = (uintptr_t)p };

        must(svmd_query_reservations(s, NULL, take_generation, &w) == 0 && w.generation);
        return w.generation;
}

/* What is given back is fenced by the range's generation when the call returns. */
static void case_fence(void) {
        svmd_session *s;
        char *p, *q;
        uint64_t before;

        must(svmd_connect(&s, NULL) == 0);
        for (int i = 0; i < 8; i++) {
                p = i % 2 ? map(16 * MIB) : malloc(16 * MIB);
                q = map(4 * MIB);
                memset(p, 1, 16 * MIB);
                before = generation_at(s, p);
                if (i % 2)
                        must(munmap(p, 16 * MIB) == 0);
                else
                        free(p);
                must(generation_at(s, p) > before);
                before = generation_at(s, q);
                must(i % 4 < 2 ? madvise(q, 4 * MIB, MADV_DONTNEED) == 0 : mremap(q, 4 * MIB, MIB, 0) == q);
                must(generation_at(s, q) > before);
        }
        svmd_disconnect(s);
}

static const struct {
        const char *name;
        void (*run)(void);
} cases[] = {
        { "mmap", case_mmap },
        { "parts", case_parts },
        { "mremap", case_mremap },
        { "mprotect", case_mprotect },
        { "malloc", case_malloc },
        { "calloc", case_calloc },
        { "generations", case_generations },
        { "private", case_private },
        { "threads", case_threads },
        { "forks", case_forks },
        { "descriptors", case_descriptors },
        { "progress", case_progress },
        { "max", case_max },
        { "max-alone", case_max_alone },
        { "large", case_large },
        { "session", case_session },
        { "fence", case_fence },
};

int main(int argc, char **argv) {
        for (size_t i = 0; argc == 2 && i < sizeof(cases) / sizeof(cases[0]); i++)
                if (!strcmp(argv[1], cases[i].name)) {
                        cases[i].run();
                        return 0;
                }
        fprintf(stderr, "usage: heap-behaviour CASE\n");
        return 2;
}
