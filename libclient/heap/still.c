#include "still.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "heap.h"

/*
 * While fork() copies the heap, the other threads wait in the handler of a signal. The signal also takes them out of
 * system calls, so the kernel writes nothing into the heap for them meanwhile: calls that libc marks to be restarted
 * are, others give EINTR as with any signal. A thread that blocks the signal is not held (it is waited for a moment),
 * nor is what io_uring or another process writes.
 */
enum { PATIENCE_MS = 100, TASKS = 65536 };

static _Atomic uint32_t round_now; /* odd: stand still */
static atomic_uint standing;

static int signal_number(void) {
        return SIGRTMAX;
}

static void stand(int signal) {
        int error = errno;
        uint32_t now = atomic_load(&round_now);

        if (now & 1) {
                atomic_fetch_add(&standing, 1);
                while (atomic_load(&round_now) == now)
                        syscall(SYS_futex, &round_now, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
                atomic_fetch_sub(&standing, 1);
        }
        errno = error;
}

struct entry {
        uint64_t inode;
        int64_t offset;
        unsigned short length;
        unsigned char type;
        char name[];
};

/* How many other threads were sent the signal. */
static unsigned signal_tasks(int dir, pid_t process, pid_t self) {
        char buffer[4096] __attribute__((aligned(8)));
        unsigned sent = 0;
        long n;

        lseek(dir, 0, SEEK_SET);
        while ((n = syscall(SYS_getdents64, dir, buffer, sizeof(buffer))) > 0) {
                for (long at = 0; at < n;) {
                        const struct entry *e = (const struct entry *)(buffer + at);
                        pid_t task = atoi(e->name);

                        if (task > 0 && task != self && syscall(SYS_tgkill, process, task, signal_number()) == 0)
                                sent++;
                        at += e->length;
                }
        }
        return sent;
}

/* A program that uses the signal itself keeps it, and its threads go on. */
static bool take_signal(void) {
        struct sigaction action = { .sa_handler = stand, .sa_flags = SA_RESTART }, old;

        if (sigaction(signal_number(), NULL, &old) < 0 || (old.sa_handler != SIG_DFL && old.sa_handler != stand))
                return false;
        return sigaction(signal_number(), &action, NULL) == 0;
}

static int64_t now_ms(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void still_begin(void) {
        int64_t until = now_ms() + PATIENCE_MS;
        unsigned sent;
        int dir;

        if (__libc_single_threaded || !take_signal())
                return;
        atomic_fetch_add(&round_now, 1);
        dir = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return;
        sent = signal_tasks(dir, (pid_t)syscall(SYS_getpid), (pid_t)syscall(SYS_gettid));
        syscall(SYS_close, dir);
        while (atomic_load(&standing) < sent && now_ms() < until)
                syscall(SYS_sched_yield);
}

void still_end(void) {
        if (!(atomic_load(&round_now) & 1))
                return;
        atomic_fetch_add(&round_now, 1);
        syscall(SYS_futex, &round_now, FUTEX_WAKE_PRIVATE, TASKS, NULL, NULL, 0);
}

void still_child(void) {
        atomic_store(&round_now, 0);
        atomic_store(&standing, 0);
}
