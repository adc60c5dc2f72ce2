/* svmd-cgroup as a process, over a folder that stands for the groups: what it writes, and what it cannot be talked
 * into. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cgroup/ask.h"
#include "cgroup/wire.h"
#include "writer.h"

#define LINE "drm/0000:03:00.0/vram0 4096\n"
#define OLD  "drm/0000:03:00.0/vram0 max\n"

enum { OTHER_USER = 65534 };

static struct writer w;
static char dir[64], root[80], user[16];

static char *at(const char *path) {
        static char name[256];

        snprintf(name, sizeof(name), "%s/%s", dir, path);
        return name;
}

static void put(const char *path) {
        int fd = open(at(path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, OLD, sizeof(OLD) - 1), sizeof(OLD) - 1);
        close(fd);
}

static void assert_has(const char *path, const char *text) {
        char got[256] = "";
        int fd = open(at(path), O_RDONLY | O_CLOEXEC);
        ssize_t n;

        assert_true(fd >= 0);
        n = read(fd, got, sizeof(got) - 1);
        close(fd);
        assert_true(n >= 0);
        assert_string_equal(got, text);
}

static int set_up(void **state) {
        strcpy(dir, "/tmp/svmd-cgroup-XXXXXX");
        assert_non_null(mkdtemp(dir));
        assert_int_equal(chmod(dir, 0755), 0);
        snprintf(root, sizeof(root), "%s/groups", dir);
        assert_int_equal(mkdir(root, 0755), 0);
        assert_int_equal(mkdir(at("groups/pod"), 0755), 0);
        assert_int_equal(mkdir(at("outside"), 0755), 0);
        put("groups/pod/dmem.max");
        put("groups/pod/dmem.low");
        put("groups/pod/dmem.min");
        put("groups/pod/memory.max");
        put("groups/dmem.max");
        put("outside/dmem.max");
        snprintf(user, sizeof(user), "%u", getuid());
        writer_listen(&w, at("cgroup.sock"));
        writer_start(&w, root, user, "0");
        return 0;
}

static int tear_down(void **state) {
        char command[96];

        writer_close(&w);
        snprintf(command, sizeof(command), "rm -rf %s", dir);
        return system(command);
}

static int ask(const char *group, enum dmem_value file, const char *line) {
        int r;

        /* On a machine that is busy it may be silent for a second. */
        while ((r = cgroup_ask(w.path, root, group, file, line)) == CGROUP_E_SILENT)
                assert_true(waitpid(w.pid, NULL, WNOHANG) == 0);
        return r;
}

static void assert_untouched(void) {
        assert_has("groups/pod/dmem.max", OLD);
        assert_has("groups/pod/memory.max", OLD);
        assert_has("groups/dmem.max", OLD);
        assert_has("outside/dmem.max", OLD);
}

/* ---- cases ---- */

static void test_writes(void **state) {
        assert_int_equal(ask("/pod", DMEM_MAX, LINE), 0);
        assert_has("groups/pod/dmem.max", LINE);
        assert_has("groups/pod/dmem.low", OLD);
        assert_int_equal(ask("/pod", DMEM_LOW, "v 5\n"), 0);
        assert_int_equal(ask("/pod", DMEM_MIN, "v 6\n"), 0);
        assert_has("groups/pod/dmem.low", "v 5\n");
        assert_has("groups/pod/dmem.min", "v 6\n");
        assert_int_equal(ask("/none", DMEM_MAX, LINE), -ENOENT);
}

static void test_paths_that_leave(void **state) {
        static const char *const bad[] = { "/../outside", "/pod/../../outside", "/pod/..", "/", "", "/pod/", "/pod//" };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(ask(bad[i], DMEM_MAX, LINE), -EINVAL);
        assert_int_equal(ask(at("outside"), DMEM_MAX, LINE), -ENOENT); /* from the root on, like all */
        assert_untouched();
}

/* Of groups and of files; also one that stays inside. */
static void test_links(void **state) {
        assert_int_equal(symlink("../outside", at("groups/link")), 0);
        assert_int_equal(symlink("pod", at("groups/inside")), 0);
        assert_int_equal(mkdir(at("groups/b"), 0755), 0);
        assert_int_equal(symlink("../pod/memory.max", at("groups/b/dmem.max")), 0);
        assert_int_equal(symlink("/proc/self/fd/3", at("groups/b/dmem.low")), 0);
        assert_int_equal(ask("/link", DMEM_MAX, LINE), -ELOOP);
        assert_int_equal(ask("/inside", DMEM_MAX, LINE), -ELOOP);
        assert_int_equal(ask("/b", DMEM_MAX, LINE), -ELOOP);
        assert_int_equal(ask("/b", DMEM_LOW, LINE), -ELOOP);
        assert_untouched();
}

/* What has the name of a limit and is none. */
static void test_no_files(void **state) {
        int fd;

        assert_int_equal(mkdir(at("groups/b"), 0755), 0);
        assert_int_equal(mkdir(at("groups/b/dmem.max"), 0755), 0);
        assert_int_equal(mkfifo(at("groups/b/dmem.low"), 0644), 0);
        assert_int_equal(ask("/b", DMEM_MAX, LINE), -EISDIR);
        assert_int_equal(ask("/b", DMEM_LOW, LINE), -ENXIO);
        fd = open(at("groups/b/dmem.low"), O_RDWR | O_NONBLOCK | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(ask("/b", DMEM_LOW, LINE), -EINVAL);
        close(fd);
}

static void test_other_files_and_lines(void **state) {
        assert_int_equal(ask("/pod", DMEM_VALUES, LINE), -EINVAL);
        assert_int_equal(ask("/pod", DMEM_MAX, "max\n"), -EINVAL);
        assert_int_equal(ask("/pod", DMEM_MAX, LINE LINE), -EINVAL);
        assert_untouched();
}

/* Who looks at one folder does not have another one written. */
static void test_another_root(void **state) {
        int r;

        while ((r = cgroup_ask(w.path, at("outside"), "/pod", DMEM_MAX, LINE)) == CGROUP_E_SILENT)
                ;
        assert_int_equal(r, -EXDEV);
        assert_int_equal(cgroup_ask(w.path, at("none"), "/pod", DMEM_MAX, LINE), -ENOENT);
        assert_untouched();
}

/* What it may not write itself it says. */
static void test_refused_by_the_kernel(void **state) {
        assert_int_equal(chmod(at("groups/pod/dmem.max"), 0444), 0);
        assert_int_equal(ask("/pod", DMEM_MAX, LINE), -EACCES);
        assert_untouched();
}

static int connect_to(void) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        snprintf(a.sun_path, sizeof(a.sun_path), "%s", w.path);
        assert_true(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
        return fd;
}

/* Whatever is sent, the answer comes within 30 s. */
static int say(const void *bytes, size_t size) {
        char answer[64];
        int fd = connect_to();
        struct pollfd p = { .fd = fd, .events = POLLIN };
        ssize_t n;

        assert_true(send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
        assert_int_equal(poll(&p, 1, 30000), 1);
        n = recv(fd, answer, sizeof(answer), 0);
        close(fd);
        return n > 0 ? cgroup_wire_answered(answer, (size_t)n) : -EPIPE;
}

static void test_no_packets(void **state) {
        static char bytes[4 * CGROUP_WIRE_ROOM];
        size_t n;

        assert_int_equal(say("x", 1), -EBADMSG);
        assert_int_equal(say(bytes, CGROUP_WIRE_ROOM), -EBADMSG);
        assert_int_equal(say(bytes, sizeof(bytes)), -EMSGSIZE);
        /* A line that is longer than the kernel's and svmd's. */
        n = cgroup_wire_put(bytes, &(struct cgroup_write){ .path = "/pod", .line = LINE });
        memset(bytes + n - 2, '0', CGROUP_WIRE_LINE);
        memcpy(bytes + n - 2 + CGROUP_WIRE_LINE, "\n", 2);
        assert_int_equal(say(bytes, n + CGROUP_WIRE_LINE), -EMSGSIZE);
        assert_untouched();
}

/* Somebody who connects and says nothing, or leaves, holds nobody up for long. */
static void test_silent_peer(void **state) {
        int silent = connect_to(), gone = connect_to();

        close(gone);
        assert_int_equal(ask("/pod", DMEM_MAX, LINE), 0);
        close(silent);
        assert_has("groups/pod/dmem.max", LINE);
}

/* As another user, where this one can become one; or a program that is for another one. */
static void test_wrong_peer(void **state) {
        int status, r;
        pid_t pid;

        if (geteuid() != 0) {
                writer_kill(&w);
                writer_start(&w, root, "65533", "0");
                assert_int_equal(ask("/pod", DMEM_MAX, LINE), -EPERM);
                assert_untouched();
                return;
        }
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                if (setgid(OTHER_USER) || setuid(OTHER_USER))
                        _exit(100);
                while ((r = cgroup_ask(w.path, root, "/pod", DMEM_MAX, LINE)) == CGROUP_E_SILENT)
                        ;
                _exit(r == -EPERM ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_untouched();
        assert_int_equal(ask("/pod", DMEM_MAX, LINE), 0);
}

static void stop_writer(void) {
        int status = 0;

        assert_int_equal(kill(w.pid, SIGSTOP), 0);
        assert_int_equal(waitpid(w.pid, &status, WUNTRACED), w.pid);
        assert_true(WIFSTOPPED(status));
}

/* One that is stopped is given up on, and does not come after it. Killed, another one is started at the same socket. */
static void test_slow_and_killed(void **state) {
        assert_int_equal(ask("/pod", DMEM_MAX, LINE), 0);
        stop_writer();
        assert_int_equal(cgroup_ask(w.path, root, "/pod", DMEM_MAX, "v 5\n"), CGROUP_E_SILENT);
        assert_int_equal(kill(w.pid, SIGCONT), 0);
        assert_int_equal(ask("/pod", DMEM_LOW, LINE), 0); /* behind the one before */
        assert_has("groups/pod/dmem.max", LINE);
        writer_kill(&w);
        writer_start(&w, root, user, "0");
        assert_int_equal(ask("/pod", DMEM_MAX, "v 7\n"), 0);
        assert_has("groups/pod/dmem.max", "v 7\n");
}

/* One that ends with a question unanswered. */
static void test_ends_while_asked(void **state) {
        int status;
        pid_t pid;

        stop_writer();
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(cgroup_ask(w.path, root, "/pod", DMEM_MAX, LINE) == CGROUP_E_SILENT ? 0 : 1);
        close(w.listener);
        w.listener = -1;
        writer_kill(&w);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(cgroup_ask(w.path, root, "/pod", DMEM_MAX, LINE), CGROUP_E_NONE);
        unlink(w.path);
        assert_int_equal(cgroup_ask(w.path, root, "/pod", DMEM_MAX, LINE), CGROUP_E_NONE);
        assert_untouched();
}

/* It ends by itself, and is good again when it is started. */
static void test_idle(void **state) {
        int r;

        writer_kill(&w);
        writer_start(&w, root, user, "1");
        while ((r = cgroup_ask(w.path, root, "/pod", DMEM_MAX, LINE)) == CGROUP_E_SILENT)
                if (waitpid(w.pid, NULL, WNOHANG) == w.pid) { /* it was asked too late, by a machine that is busy */
                        w.pid = 0;
                        writer_start(&w, root, user, "1");
                }
        assert_int_equal(r, 0);
        assert_int_equal(writer_wait(&w), 0);
        writer_start(&w, root, user, "0");
        assert_int_equal(ask("/pod", DMEM_MAX, "v 5\n"), 0);
}

/* What it does not start with. */
static void test_starts(void **state) {
        writer_kill(&w);
        writer_start(&w, at("none"), user, "0");
        assert_int_equal(WEXITSTATUS(writer_wait(&w)), 1);
        writer_start(&w, root, "no-such-user", "0");
        assert_int_equal(WEXITSTATUS(writer_wait(&w)), 1);
        writer_start(&w, root, "1x", "0");
        assert_int_equal(WEXITSTATUS(writer_wait(&w)), 1);
        writer_start(&w, root, user, "soon");
        assert_int_equal(WEXITSTATUS(writer_wait(&w)), 2);
        close(w.listener);
        w.listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
        writer_start(&w, root, user, "0");
        assert_int_equal(WEXITSTATUS(writer_wait(&w)), 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_writes),
                CASE(test_paths_that_leave),
                CASE(test_links),
                CASE(test_no_files),
                CASE(test_other_files_and_lines),
                CASE(test_another_root),
                CASE(test_refused_by_the_kernel),
                CASE(test_no_packets),
                CASE(test_silent_peer),
                CASE(test_wrong_peer),
                CASE(test_slow_and_killed),
                CASE(test_ends_while_asked),
                CASE(test_idle),
                CASE(test_starts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
