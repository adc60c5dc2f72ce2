#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cut.h"
#include "heap.h"
#include "raw.h"
#include "stat.h"

/*
 * Heaps that do not come from malloc() (Python's, a compiler's) come from mmap(): private anonymous memory to read and
 * write, at no address of the program's choice, of at least a granule. It is cut from segments, and everything that is
 * done to it afterwards is known by its address. What is not memory of that kind goes to the system, and so does what a
 * program does to it that a managed range cannot (an mmap() of its own over it): the kernel tells svmd of that.
 */
#define EXPORT __attribute__((visibility("default")))

void *raw_mmap(void *at, size_t size, int prot, int flags, int fd, long offset) {
        return (void *)syscall(SYS_mmap, at, size, prot, flags, fd, offset);
}

int raw_munmap(void *at, size_t size) {
        return (int)syscall(SYS_munmap, at, size);
}

int raw_madvise(void *at, size_t size, int what) {
        return (int)syscall(SYS_madvise, at, size, what);
}

int raw_mprotect(void *at, size_t size, int prot) {
        return (int)syscall(SYS_mprotect, at, size, prot);
}

static bool is_heap(const void *at, size_t size, int prot, int flags) {
        int ignored = MAP_NORESERVE | MAP_STACK;

        return heap.on && !heap_inside && !at && size >= GRANULE && size < SIZE_MAX / 2 &&
               prot == (PROT_READ | PROT_WRITE) && (flags & ~ignored) == (MAP_PRIVATE | MAP_ANONYMOUS) &&
               !(flags & MAP_STACK);
}

EXPORT void *mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset) {
        void *p = NULL;

        if (is_heap(at, size, prot, flags)) {
                p = cut_map(round_up(size, PAGE));
                if (!p && !heap.failed) {
                        errno = ENOMEM;
                        return MAP_FAILED;
                }
                if (!p)
                        stat_other(size);
        }
        return p ? p : raw_mmap(at, size, prot, flags, fd, offset);
}

EXPORT void *mmap64(void *at, size_t size, int prot, int flags, int fd, off_t offset) {
        return mmap(at, size, prot, flags, fd, offset);
}

EXPORT int munmap(void *at, size_t size) {
        struct segment *s = heap_inside ? NULL : segment_of(at);
        uintptr_t start = (uintptr_t)at, end = round_up(start + size, PAGE);

        if (!s)
                return raw_munmap(at, size);
        if (start % PAGE || !size || end > s->end) {
                errno = EINVAL;
                return -1;
        }
        cut_unmap(s, start, end);
        return 0;
}

static int empty(struct segment *s, uintptr_t start, uintptr_t end) {
        uintptr_t first = round_up(start, GRANULE), last = end & ~(GRANULE - 1);

        if (s->snapshot)
                return raw_mmap((void *)start, end - start, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED
                               ? -1
                               : 0;
        if (first >= last || !cut_discard(s, first, last))
                first = last = end;
        memset((void *)start, 0, first - start);
        memset((void *)last, 0, end - last);
        return 0;
}

EXPORT int madvise(void *at, size_t size, int what) {
        struct segment *s = heap_inside ? NULL : segment_of(at);
        uintptr_t start = (uintptr_t)at, end = round_up(start + size, PAGE);

        if (!s)
                return raw_madvise(at, size, what);
        switch (what) {
        case MADV_DONTNEED:
        case MADV_REMOVE:
                if (start % PAGE || end > s->end) {
                        errno = EINVAL;
                        return -1;
                }
                return end > start ? empty(s, start, end) : 0;
        case MADV_FREE:
        case MADV_HUGEPAGE:
        case MADV_NOHUGEPAGE:
        case MADV_DOFORK: return 0; /* wishes that change nothing that a program can see */
        default: return raw_madvise(at, size, what);
        }
}

EXPORT int mprotect(void *at, size_t size, int prot) {
        struct segment *s = heap_inside ? NULL : segment_of(at);

        if (s)
                s->protected = true;
        return raw_mprotect(at, size, prot);
}

static void *move(struct segment *s, void *at, size_t old, size_t new) {
        void *to = cut_map(new);

        if (!to)
                return MAP_FAILED;
        memcpy(to, at, old < new ? old : new);
        cut_unmap(s, (uintptr_t)at, (uintptr_t)at + old);
        return to;
}

EXPORT void *mremap(void *at, size_t old, size_t new, int flags, ...) {
        struct segment *s = heap_inside ? NULL : segment_of(at);
        void *wish = NULL, *to;
        va_list args;

        va_start(args, flags);
        if (flags & MREMAP_FIXED)
                wish = va_arg(args, void *);
        va_end(args);
        if (!s)
                return (void *)syscall(SYS_mremap, at, old, new, flags, wish);
        old = round_up(old, PAGE);
        new = round_up(new, PAGE);
        if (new &&new <= old) {
                if (new < old)
                        cut_unmap(s, (uintptr_t)at + new, (uintptr_t)at + old);
                return at;
        }
        to = new &&old && (flags & MREMAP_MAYMOVE) && !(flags & MREMAP_FIXED) ? move(s, at, old, new) : MAP_FAILED;
        if (to == MAP_FAILED)
                errno = ENOMEM;
        return to;
}
