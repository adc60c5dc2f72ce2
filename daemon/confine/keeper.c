#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "confine/confine.h"
#include "confine/filter.h"

/*
 * A process that receives descriptors, holds them and sends them. It makes no socket and no process, opens nothing to
 * write, reaches no other process and sets nothing of the machine's; what it can be talked into by whoever may connect
 * is to become another program, which then may do no more than this.
 */

static const char *const names[] = {
        /* Its work. */
        "poll",
        "ppoll",
        "accept4",
        "getsockopt",
        "recvmsg",
        "sendmsg",
        "close",
        "getpid",
        "geteuid",
        /* What it says, and its end: the name of its socket. */
        "write",
        "unlink",
        "unlinkat",
        "exit_group",
        "exit",
        /* The table of what it holds, for the program that it becomes, which reads it. */
        "memfd_create",
        "lseek",
        "read",
        /* Memory. mmap and mprotect are below. */
        "brk",
        "munmap",
        "mremap",
        "madvise",
        "futex",
        /* Signals, and calls that the kernel begins anew. */
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "restart_syscall",
        /* How a program starts: it is loaded, and asks what it is and how much it may have. */
        "pread64",
        "fstat",
        "newfstatat",
        "fstatat64",
        "statx",
        "access",
        "faccessat",
        "faccessat2",
        "readlink",
        "readlinkat",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "getrandom",
        "prlimit64",
        "getrlimit",
        "setrlimit",
        "getuid",
        "getgid",
        "getegid",
        "uname",
        "clock_gettime",
        /* How one protects and confines itself. */
        "prctl",
        "seccomp",
};

static const struct filter_call calls[] = {
        /* Only to read: libraries of a program that starts. */
        { "openat", 1, { FILTER_WITHOUT(2, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC) } },
        { "open", 1, { FILTER_WITHOUT(1, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC) } },
        /* Code comes from files, and is not written. */
        { "mmap", 1, { FILTER_WITHOUT(2, PROT_EXEC) } },
        { "mmap", 1, { FILTER_MASKED(2, PROT_WRITE | PROT_EXEC, PROT_EXEC) } },
        { "mprotect", 1, { FILTER_WITHOUT(2, PROT_EXEC) } },
        /* Descriptors that are passed on, and a listener that somebody gave. */
        { "fcntl", 1, { FILTER_IS(1, F_SETFD) } },
        { "fcntl", 1, { FILTER_IS(1, F_GETFD) } },
        { "fcntl", 1, { FILTER_IS(1, F_SETFL) } },
        { "fcntl", 1, { FILTER_IS(1, F_GETFL) } },
        /* Of a descriptor that svmd sent, not of a path. */
        { "execveat", 1, { FILTER_IS(4, AT_EMPTY_PATH) } },
};

int confine_keeper(void) {
        const struct filter f = { .otherwise = SCMP_ACT_ERRNO(EPERM),
                                  .names = names,
                                  .names_count = sizeof(names) / sizeof(names[0]),
                                  .calls = calls,
                                  .calls_count = sizeof(calls) / sizeof(calls[0]) };

        return filter_install(&f);
}
