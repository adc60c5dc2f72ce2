#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "confine/confine.h"
#include "confine/filter.h"

/*
 * A process that opens a device and files of /sys, and says what they have. Libraries that nobody of this project wrote
 * read what a driver gives them; what they may do besides is nothing: no socket, no other process or program, no code
 * but what is loaded already, and no end of anybody but themselves.
 */

static const char *const names[] = {
        /* Devices and files. */
        "openat",
        "open",
        "close",
        "read",
        "pread64",
        "lseek",
        "ioctl",
        "fstat",
        "newfstatat",
        "fstatat64",
        "statx",
        "getdents64",
        "readlink",
        "readlinkat",
        "access",
        "faccessat",
        "faccessat2",
        "fcntl",
        /* A semaphore and counters that libhsakmt shares with others of its kind, by files under /dev/shm. */
        "link",
        "linkat",
        "unlink",
        "unlinkat",
        "ftruncate",
        /* Memory, and on which nodes it lies. mmap and mprotect are below. */
        "brk",
        "munmap",
        "mremap",
        "madvise",
        "mbind",
        "get_mempolicy",
        "set_mempolicy",
        /* What it is and where it runs. */
        "getpid",
        "gettid",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "sched_getaffinity",
        "sysinfo",
        "uname",
        "getrandom",
        "clock_gettime",
        "clock_nanosleep",
        "nanosleep",
        "sched_yield",
        "futex",
        /* What it says, and its end; a library that asserts ends by a signal to itself. */
        "write",
        "writev",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "restart_syscall",
        "exit",
        "exit_group",
};

int confine_probe(void) {
        const struct filter_call calls[] = {
                { "mmap", 1, { FILTER_WITHOUT(2, PROT_EXEC) } },
                { "mprotect", 1, { FILTER_WITHOUT(2, PROT_EXEC) } },
                { "prlimit64", 2, { FILTER_IS(0, 0), FILTER_IS(2, 0) } },
                { "tgkill", 1, { FILTER_IS(0, (scmp_datum_t)getpid()) } },
        };
        const struct filter f = { .otherwise = SCMP_ACT_KILL_PROCESS,
                                  .names = names,
                                  .names_count = sizeof(names) / sizeof(names[0]),
                                  .calls = calls,
                                  .calls_count = sizeof(calls) / sizeof(calls[0]) };

        return filter_install(&f);
}
