/*
 * What the filters of svmd-keeper and svmd-probe-kfd let through and what they do not, each call in a process of its
 * own under the real filter. That both programs do their whole job under it is what the other tests of them show.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "confine/confine.h"

#define ROWS(array) (sizeof(array) / sizeof((array)[0]))

/* Each gives 0, or the errno of what it tried. */
#define TRY(expression) ((expression) < 0 ? errno : 0)

static int make_socket(void) {
        return TRY(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int make_inet_socket(void) {
        return TRY(socket(AF_INET, SOCK_DGRAM, 0));
}

static int make_process(void) {
        return TRY(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static int run_program(void) {
        return TRY(execl("/bin/true", "true", NULL));
}

static int open_to_write(void) {
        return TRY(open("/dev/null", O_WRONLY));
}

static int make_file(void) {
        return TRY(open("/tmp", O_TMPFILE | O_RDWR, 0600));
}

static int open_to_read(void) {
        return TRY(open("/proc/self/status", O_RDONLY));
}

static int trace_parent(void) {
        return TRY(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}

static int signal_parent(void) {
        return TRY(kill(getppid(), 0));
}

static int ask_device(void) {
        char answer[64];

        return ioctl(STDIN_FILENO, FIONREAD, answer) < 0 && errno == EPERM ? EPERM : 0;
}

static int make_code(void) {
        return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
                       ? errno
                       : 0;
}

static int load_code(void) {
        int fd = open("/proc/self/exe", O_RDONLY);

        return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : 0;
}

static int write_into_parent(void) {
        return TRY(process_vm_writev(getppid(), NULL, 0, NULL, 0, 0));
}

static int unshare_all(void) {
        return TRY(syscall(SYS_unshare, 0));
}

static int have_memory(void) {
        char *p = malloc(64 << 20);

        if (!p)
                return ENOMEM;
        memset(p, 1, 64 << 20);
        free(p);
        return 0;
}

static int make_memfd(void) {
        return TRY(memfd_create("test", MFD_CLOEXEC));
}

static int pass_on(void) {
        return TRY(fcntl(STDERR_FILENO, F_SETFD, 0));
}

static int own_files(void) {
        return TRY(fcntl(STDERR_FILENO, F_SETOWN, getppid()));
}

struct way {
        const char *name;
        int (*try)(void);
        bool allowed;
};

/* Under the filter: the status of a process that tries. 100: there was none to be had. */
static int outcome(int (*confine)(void), int (*try)(void)) {
        const struct rlimit no_core = { 0 };
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                int r;

                setrlimit(RLIMIT_CORE, &no_core);
                alarm(30);
                r = confine();
                _exit(r == -EOPNOTSUPP ? 100 : r < 0 ? 101 : try());
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

static bool has_filters(int (*confine)(void)) {
        int status = outcome(confine, pass_on);

        if (WIFEXITED(status) && WEXITSTATUS(status) == 100) {
                printf("a program with a sanitizer has no filter\n");
                return false;
        }
        return true;
}

static void test_keeper(void **state) {
        static const struct way ways[] = {
                { "socket", make_socket, false },
                { "network", make_inet_socket, false },
                { "process", make_process, false },
                { "program by its path", run_program, false },
                { "open to write", open_to_write, false },
                { "file", make_file, false },
                { "trace", trace_parent, false },
                { "signal", signal_parent, false },
                { "device", ask_device, false },
                { "written code", make_code, false },
                { "another's memory", write_into_parent, false },
                { "namespace", unshare_all, false },
                { "owner of a file", own_files, false },
                { "open to read", open_to_read, true },
                { "code of a file", load_code, true },
                { "memory", have_memory, true },
                { "table", make_memfd, true },
                { "passing on", pass_on, true },
        };

        if (!has_filters(confine_keeper))
                return;
        for (size_t i = 0; i < ROWS(ways); i++) {
                int status = outcome(confine_keeper, ways[i].try);

                if (!WIFEXITED(status) || WEXITSTATUS(status) != (ways[i].allowed ? 0 : EPERM))
                        fail_msg("%s: status %x", ways[i].name, (unsigned)status);
        }
}

static void test_probe(void **state) {
        static const struct way ways[] = {
                { "socket", make_socket, false },
                { "network", make_inet_socket, false },
                { "process", make_process, false },
                { "program by its path", run_program, false },
                { "trace", trace_parent, false },
                { "signal", signal_parent, false },
                { "written code", make_code, false },
                { "code of a file", load_code, false },
                { "another's memory", write_into_parent, false },
                { "namespace", unshare_all, false },
                { "table", make_memfd, false },
                { "open to read", open_to_read, true },
                { "open to write", open_to_write, true },
                { "device", ask_device, true },
                { "memory", have_memory, true },
        };

        if (!has_filters(confine_probe))
                return;
        for (size_t i = 0; i < ROWS(ways); i++) {
                int status = outcome(confine_probe, ways[i].try);
                bool good = ways[i].allowed ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                                            : WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;

                if (!good)
                        fail_msg("%s: status %x", ways[i].name, (unsigned)status);
        }
}

static int abort_now(void) {
        signal(SIGABRT, SIG_DFL);
        abort();
}

/* A library that asserts ends as svmd expects it to. */
static void test_probe_asserts(void **state) {
        int status = outcome(confine_probe, abort_now);

        assert_true(!has_filters(confine_probe) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT));
}

/* A filter under a filter, as a keeper has that becomes another. */
static int confine_again(void) {
        return -confine_keeper();
}

static void test_twice(void **state) {
        int status = outcome(confine_keeper, confine_again);

        assert_true(!has_filters(confine_keeper) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

/* The program itself, with what this machine has: it comes to the end of what it says. */
static void test_probe_program(void **state) {
        char said[4096] = "";
        size_t n;
        FILE *f;

        if (access(PROBE_PROGRAM, X_OK) < 0) {
                printf("svmd-probe-kfd is not built here\n");
                return;
        }
        f = popen(PROBE_PROGRAM, "re");
        assert_non_null(f);
        n = fread(said, 1, sizeof(said) - 1, f);
        assert_int_equal(pclose(f), 0);
        assert_true(n > 4 && strcmp(said + n - 4, "end\n") == 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_keeper),        cmocka_unit_test(test_probe),
                cmocka_unit_test(test_probe_asserts), cmocka_unit_test(test_twice),
                cmocka_unit_test(test_probe_program),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
