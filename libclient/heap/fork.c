#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "access.h"
#include "fds.h"
#include "heap.h"
#include "je.h"
#include "own.h"
#include "proto/range.h"
#include "raw.h"
#include "stat.h"
#include "still.h"

/*
 * A managed range is not inherited, so fork() copies what the heap holds into a file, and the child maps that privately
 * at the same addresses, first thing. From then on it is ordinary memory of the child: the kernel inherits it further
 * by itself, and what jemalloc and munmap() give back of it stays with the child. New memory comes from a session of
 * the child's own, made when it is first needed: most children call exec() before.
 *
 * Handlers that run before fork() run in the order opposite to that of their registration. Ours is registered before
 * all others (the first call of __register_atfork() passes here), so it runs when jemalloc's and libsvmd's have taken
 * their locks; then the other threads are made to stand still, and what is copied is one moment. svmd records that a
 * granule is in use before its first touch is answered, so those that it records as empty are zero and are left out.
 *
 * With threads, libc touches memory of the heap (its open files) before the first handler runs in the child; a handler
 * of SIGSEGV maps the copy then.
 */
static struct copy {
        int fd;
        pid_t parent;
        bool made, guarded;
        struct sigaction segv;
} copy = { .fd = -1 };

/* ---- the copy ---- */

static bool put(uintptr_t start, size_t size, size_t offset) {
        while (size) {
                ssize_t n = pwrite(copy.fd, (const void *)start, size, (off_t)offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                start += (size_t)n;
                offset += (size_t)n;
                size -= (size_t)n;
                stats.snapshot_bytes += (size_t)n;
        }
        return true;
}

static bool is_empty(const struct segment *s, uintptr_t at) {
        uint64_t word = __atomic_load_n(&s->states[(at - s->start) / GRANULE].word, __ATOMIC_ACQUIRE);

        return range_state(word) == 0; /* EMPTY */
}

/* Runs of granules that are not empty. */
static bool put_part(const struct segment *s, uintptr_t start, uintptr_t end, size_t offset) {
        for (uintptr_t at = start, run; at < end;) {
                while (at < end && is_empty(s, at))
                        at += GRANULE;
                run = at;
                while (at < end && !is_empty(s, at))
                        at += GRANULE;
                if (at > run && !put(run, at - run, offset + (run - s->start)))
                        return false;
        }
        return true;
}

static uintptr_t extents_end(const struct segment *s) {
        return (s->extents + GRANULE - 1) & ~(GRANULE - 1);
}

static bool put_all(void) {
        size_t offset = 0;

        for (size_t i = 0; i < heap.count; i++) {
                const struct segment *s = &heap.segment[i];

                if (s->snapshot)
                        continue;
                if (!put_part(s, s->start, extents_end(s), offset) || !put_part(s, s->maps, s->end, offset))
                        return false;
                offset += s->end - s->start;
        }
        return true;
}

static size_t total(void) {
        size_t all = 0;

        for (size_t i = 0; i < heap.count; i++)
                all += heap.segment[i].snapshot ? 0 : heap.segment[i].end - heap.segment[i].start;
        return all;
}

static bool make(void) {
        int fd = (int)syscall(SYS_memfd_create, "svmd-heap-copy", 1u /* MFD_CLOEXEC */);

        copy.fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, fds_from());
        if (copy.fd < 0)
                copy.fd = fd;
        else
                syscall(SYS_close, fd);
        return copy.fd >= 0 && ftruncate(copy.fd, (off_t)total()) == 0 && put_all();
}

/* ---- in the child ---- */

static void show(uintptr_t start, uintptr_t end, size_t offset) {
        int prot = PROT_READ | PROT_WRITE;

        if (start < end && raw_mmap((void *)start, end - start, prot, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, copy.fd,
                                    (long)offset) == MAP_FAILED)
                _exit(125); /* nothing of this process can be used */
}

static void show_all(void) {
        size_t offset = 0;

        for (size_t i = 0; i < heap.count; i++) {
                struct segment *s = &heap.segment[i];

                if (s->snapshot)
                        continue;
                show(s->start, extents_end(s), offset);
                show(s->maps, s->end, offset + (s->maps - s->start));
                offset += s->end - s->start;
                s->snapshot = true;
        }
        access_show();
        copy.made = false;
}

static void on_segv(int signal, siginfo_t *info, void *context) {
        if (copy.made && (pid_t)syscall(SYS_getpid) != copy.parent && segment_of(info->si_addr))
                show_all();
        else
                sigaction(SIGSEGV, &copy.segv, NULL); /* it comes again */
}

/* ---- the handlers ---- */

static void before(void) {
        if (!heap.on)
                return;
        pthread_mutex_lock(&heap_lock);
        own_hold();
        still_begin();
        copy.parent = (pid_t)syscall(SYS_getpid);
        access_take();
        copy.made = total() && make();
        access_show();
        copy.guarded = copy.made && !__libc_single_threaded;
        if (copy.guarded) {
                struct sigaction on = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER };

                sigaction(SIGSEGV, &on, &copy.segv);
        }
        stats.snapshots++;
}

static void end_copy(void) {
        if (copy.guarded)
                sigaction(SIGSEGV, &copy.segv, NULL);
        if (copy.fd >= 0)
                syscall(SYS_close, copy.fd);
        copy.fd = -1;
        copy.made = copy.guarded = false;
}

static void after_in_parent(void) {
        if (!heap.on)
                return;
        if (total() && !copy.made)
                heap_say("there is no memory for a copy of the heap, so the child of fork() has ended");
        end_copy();
        still_end();
        own_release();
        pthread_mutex_unlock(&heap_lock);
}

static void after_in_child(void) {
        static const char text[] = "svmd-run: there is no memory for this child's copy of the heap\n";

        if (!heap.on)
                return;
        if (total() && !copy.made) {
                if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
                        _exit(125);
                _exit(125);
        }
        if (copy.made)
                show_all();
        end_copy();
        heap.session = NULL;
        heap.failed = false;
        still_child();
        stats.snapshots = stats.snapshot_bytes = stats.discarded = 0;
        pthread_mutex_init(&grow_lock, NULL);
        own_release();
        pthread_mutex_unlock(&heap_lock);
}

typedef int (*register_fn)(void (*)(void), void (*)(void), void (*)(void), void *);

__attribute__((visibility("default"))) int __register_atfork(void (*prepare)(void), void (*parent)(void),
                                                             void (*child)(void), void *object);

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *object) {
        static register_fn next;
        static atomic_bool registered;

        if (!next)
                next = (register_fn)dlsym(RTLD_NEXT, "__register_atfork");
        if (!atomic_exchange(&registered, true))
                next(before, after_in_parent, after_in_child, NULL);
        return next(prepare, parent, child, object);
}
