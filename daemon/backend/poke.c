#include "backend/poke.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

/*
 * An access that the kernel cannot serve is SIGBUS, in the thread that made it. While one of these functions is at it,
 * the handler goes back to where it began; a SIGBUS of anything else ends the process as ever.
 */
static _Thread_local sigjmp_buf *volatile way_back;

static void set_way_back(sigjmp_buf *to) {
        atomic_signal_fence(memory_order_seq_cst);
        way_back = to;
        atomic_signal_fence(memory_order_seq_cst);
}

static void on_sigbus(int signum) {
        if (way_back)
                siglongjmp(*way_back, 1);
        signal(SIGBUS, SIG_DFL); /* the access is made again */
}

/* Looked at each time: the handler is the whole process's. */
static void handle_sigbus(void) {
        struct sigaction is, a = { .sa_handler = on_sigbus, .sa_flags = SA_NODEFER };

        if (sigaction(SIGBUS, NULL, &is) == 0 && is.sa_handler == on_sigbus)
                return;
        sigemptyset(&a.sa_mask);
        sigaction(SIGBUS, &a, NULL);
}

/*
 * The accesses themselves, in functions of their own that no sanitizer's runtime is called from: it could not be left
 * in the middle. Stores are volatile, or the compiler would call memcpy().
 */
__attribute__((noinline, no_sanitize("thread"))) static void copy(char *to, const char *from, uint64_t size) {
        volatile char *bytes = to;
        uint64_t i = 0;

        for (; i < size && (uintptr_t)(to + i) % 8; i++)
                bytes[i] = from[i];
        for (; size - i >= 8; i += 8) {
                uint64_t word;

                __builtin_memcpy(&word, from + i, 8);
                *(volatile uint64_t *)(volatile void *)(bytes + i) = word;
        }
        for (; i < size; i++)
                bytes[i] = from[i];
}

__attribute__((noinline, no_sanitize("thread"))) static uint64_t add(char *to, uint64_t value) {
        return __atomic_fetch_add((uint64_t *)(void *)to, value, __ATOMIC_SEQ_CST);
}

struct window {
        char *base, *at;
        uint64_t size;
};

/* Out of line: its locals are not those of a function that is jumped back into. */
__attribute__((noinline)) static int window_open(struct window *w, int fd, uint64_t page, uint64_t offset,
                                                 uint64_t size, int prot) {
        uint64_t start = offset / page * page;
        void *p;

        handle_sigbus();
        w->size = (offset + size - start + page - 1) / page * page;
        p = mmap(NULL, w->size, prot, MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);
        if (p == MAP_FAILED)
                return -errno;
        w->base = p;
        w->at = w->base + (offset - start);
        return 0;
}

static void window_close(struct window *w) {
        set_way_back(NULL);
        munmap(w->base, w->size);
}

/* Reads `size` bytes to `to`, or (NULL) writes as many of `from`, or (NULL too) adds `value`. */
static int poke(int fd, uint64_t page, uint64_t offset, void *to, const void *from, uint64_t size, uint64_t value,
                uint64_t *ret_before) {
        struct window w;
        sigjmp_buf here;
        int k = window_open(&w, fd, page, offset, size, to ? PROT_READ : PROT_READ | PROT_WRITE);

        if (k)
                return k;
        if (sigsetjmp(here, 1)) {
                window_close(&w);
                return -EFAULT;
        }
        set_way_back(&here);
        if (to)
                copy(to, w.at, size);
        else if (from)
                copy(w.at, from, size);
        else
                *ret_before = add(w.at, value);
        window_close(&w);
        return 0;
}

int poke_read(int fd, uint64_t page, uint64_t offset, void *to, uint64_t size) {
        return poke(fd, page, offset, to, NULL, size, 0, NULL);
}

int poke_write(int fd, uint64_t page, uint64_t offset, const void *from, uint64_t size) {
        return poke(fd, page, offset, NULL, from, size, 0, NULL);
}

int poke_add(int fd, uint64_t page, uint64_t offset, uint64_t value, uint64_t *ret_before) {
        return poke(fd, page, offset, NULL, NULL, sizeof(value), value, ret_before);
}
