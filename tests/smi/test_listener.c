/* How svmd hears events: from streams that are cut anywhere, that flood and that end, handed over by whoever may. Pipes
 * stand for the driver's streams, and this program for svmd-smi. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/smi.h"
#include "smi/listener.h"
#include "smi/wire.h"

#define FAULT "7 4711 -42 @7f00(1a) W\n"
#define STOP  "9 4712 -42 1a 2\n"

enum { OTHER_USER = 65534, STEP_MOST = 16 * 1024 };

static char dir[64], path[96];
static int server, before;
static struct smi_listener *l;
static unsigned called;
static struct smi_event last;

static int open_fds(void) {
        DIR *d = opendir("/proc/self/fd");
        int n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n;
}

static int listen_at(const char *name) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        snprintf(a.sun_path, sizeof(a.sun_path), "%s", name);
        unlink(name);
        if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 4) < 0)
                return -1;
        return fd;
}

static int set_up(void **state) {
        strcpy(dir, "/tmp/svmd-smi-XXXXXX");
        assert_non_null(mkdtemp(dir));
        assert_int_equal(chmod(dir, 0777), 0);
        snprintf(path, sizeof(path), "%s/smi.sock", dir);
        before = open_fds();
        server = listen_at(path);
        assert_true(server >= 0);
        assert_int_equal(smi_listener_new(&l, path), 0);
        called = 0;
        return 0;
}

/* Whatever came, nothing is left open. */
static int tear_down(void **state) {
        smi_listener_free(l);
        if (server >= 0)
                close(server);
        unlink(path);
        rmdir(dir);
        assert_int_equal(open_fds(), before);
        return 0;
}

static void on_event(void *userdata, const struct smi_event *e) {
        called++;
        last = *e;
}

static void step(void) {
        smi_listener_step(l, on_event, NULL);
}

static const struct smi_heard *heard(void) {
        return smi_listener_heard(l);
}

/* With the descriptors, which this side closes. */
static void say(const void *packet, size_t size, const int *fds, unsigned count) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(8 * sizeof(int))];
        } control = { .bytes = { 0 } };
        struct iovec bytes = { (void *)packet, size };
        struct msghdr m = { .msg_iov = &bytes, .msg_iovlen = 1 };
        int fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);

        assert_true(fd >= 0);
        if (count) {
                control.head.cmsg_level = SOL_SOCKET;
                control.head.cmsg_type = SCM_RIGHTS;
                control.head.cmsg_len = CMSG_LEN(count * sizeof(int));
                memcpy(CMSG_DATA(&control.head), fds, count * sizeof(int));
                m.msg_control = control.bytes;
                m.msg_controllen = CMSG_SPACE(count * sizeof(int));
        }
        if (packet)
                assert_int_equal(sendmsg(fd, &m, MSG_NOSIGNAL), (ssize_t)size);
        for (unsigned i = 0; i < count; i++)
                close(fds[i]);
        close(fd);
}

static void answer(const int *fds, unsigned count, int error) {
        struct smi_answer a = { .error = error, .count = count, .gpus = { 10, 11, 12, 13 } };
        char packet[SMI_WIRE_ROOM];

        say(packet, smi_wire_put(packet, &a), fds, count);
}

static void make_pipes(int *fds, int *ends, unsigned count) {
        int both[2];

        for (unsigned i = 0; i < count; i++) {
                assert_int_equal(pipe2(both, O_CLOEXEC), 0);
                fds[i] = both[0];
                ends[i] = both[1];
        }
}

/* The ends that the driver writes to. */
static void hand_over(int *ends, unsigned count) {
        int fds[4];

        make_pipes(fds, ends, count);
        answer(fds, count, 0);
        step();
}

static void ask(void) {
        smi_listener_ask(l, false);
        assert_int_equal(heard()->asked, SMI_ASKED);
}

static void put(int fd, const char *text, size_t size) {
        assert_int_equal(write(fd, text, size), (ssize_t)size);
}

/* ---- cases ---- */

static void test_nobody(void **state) {
        close(server);
        server = -1;
        smi_listener_ask(l, false);
        assert_int_equal(heard()->asked, SMI_NOBODY);
        unlink(path);
        smi_listener_ask(l, false);
        assert_int_equal(heard()->asked, SMI_NOBODY);
        step();
        server = listen_at(path);
        ask();
        answer(NULL, 0, -EPERM);
        step();
        assert_int_equal(heard()->asked, SMI_ANSWERED);
        assert_int_equal(heard()->error, -EPERM);
        assert_int_equal(heard()->streams, 0);
}

/* A byte at a time, on two streams at once, with lines of others between. */
static void test_cut_lines(void **state) {
        static const char text[] = FAULT "2 0:0\n" STOP "7 4711 -42 @7f00(1a) X\n" FAULT;
        int ends[2];

        ask();
        hand_over(ends, 2);
        assert_int_equal(heard()->streams, 2);
        for (size_t i = 0; i + 1 < sizeof(text); i++) {
                put(ends[0], text + i, 1);
                put(ends[1], text + i, 1);
                step();
        }
        assert_int_equal(called, 6);
        assert_int_equal(heard()->events, 6);
        assert_int_equal(heard()->unknown, 2);
        assert_int_equal(heard()->broken, 2);
        assert_true(last.type == SMI_FAULT_START && last.pid == 42 && last.gpu == 0x1a && last.page == 0x7f00);
        close(ends[0]);
        close(ends[1]);
}

/* However much is there, a step takes so much, and the stream beside it has its turn. */
static void test_flood(void **state) {
        int ends[2], more = 1;
        unsigned steps = 0, in_flood = 0, most = 0;

        ask();
        hand_over(ends, 2);
        assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
        while (write(ends[0], FAULT, sizeof(FAULT) - 1) == (ssize_t)sizeof(FAULT) - 1)
                in_flood++;
        assert_true(in_flood * (sizeof(FAULT) - 1) > 3u * STEP_MOST);
        put(ends[1], STOP, sizeof(STOP) - 1);
        while (more) {
                unsigned now = called;

                step();
                most = called - now > most ? called - now : most;
                more = called != now;
                steps += (unsigned)more;
                if (steps == 1)
                        put(ends[1], STOP, sizeof(STOP) - 1);
                assert_true(steps < 3 || called >= 2);
        }
        assert_int_equal(called, in_flood + 2);
        assert_true(most <= STEP_MOST / (sizeof(FAULT) - 1) + 2);
        assert_true(steps > 3);
        close(ends[0]);
        close(ends[1]);
}

/* What was written before its end is heard. Who is asked then brings it again, and the other one goes on. */
static void test_stream_ends(void **state) {
        int ends[2], again[2];

        ask();
        hand_over(ends, 2);
        smi_listener_ask(l, false);
        assert_int_equal(heard()->asked, SMI_ANSWERED); /* nothing is missing */
        put(ends[0], FAULT, sizeof(FAULT) - 1);
        close(ends[0]);
        step();
        assert_int_equal(called, 1);
        assert_int_equal(heard()->streams, 1);
        assert_int_equal(heard()->ended, 1);
        step();
        ask();
        hand_over(again, 2);
        assert_int_equal(heard()->streams, 2);
        assert_int_equal(heard()->ended, 0);
        assert_int_equal(write(again[1], STOP, 1), -1); /* nobody has it */
        put(again[0], STOP, sizeof(STOP) - 1);
        put(ends[1], STOP, sizeof(STOP) - 1);
        step();
        assert_int_equal(called, 3);
        assert_int_equal(heard()->events, 3);
        close(ends[1]);
        close(again[0]);
        close(again[1]);
}

/* It may be that there are other GPUs now. */
static void test_asked_anew(void **state) {
        int ends[1], again[2];

        ask();
        hand_over(ends, 1);
        smi_listener_ask(l, true);
        assert_int_equal(heard()->asked, SMI_ASKED);
        put(ends[0], FAULT, sizeof(FAULT) - 1);
        step();
        assert_int_equal(called, 1);
        hand_over(again, 2);
        assert_int_equal(heard()->streams, 2);
        put(again[1], FAULT, sizeof(FAULT) - 1);
        step();
        assert_int_equal(called, 2);
        close(ends[0]);
        close(again[0]);
        close(again[1]);
}

/* A file, which is always readable, would keep the loop busy. */
static void test_no_stream(void **state) {
        int fds[2] = { open("/proc/self/status", O_RDONLY | O_CLOEXEC), open(dir, O_RDONLY | O_CLOEXEC) };

        assert_true(fds[0] >= 0 && fds[1] >= 0);
        ask();
        answer(fds, 2, 0);
        step();
        assert_int_equal(heard()->asked, SMI_ANSWERED);
        assert_int_equal(heard()->streams, 0);
        assert_int_equal(heard()->ended, 2);
        assert_int_equal(called, 0);
}

static void test_no_answer(void **state) {
        struct smi_answer a = { .count = 2, .gpus = { 10, 11 } };
        char packet[SMI_WIRE_ROOM];
        size_t n = smi_wire_put(packet, &a);
        int both[2];

        ask();
        say(NULL, 0, NULL, 0);
        step();
        assert_int_equal(heard()->asked, SMI_FAILED);
        assert_non_null(strstr(heard()->why, "without an answer"));
        ask();
        assert_int_equal(pipe2(both, O_CLOEXEC), 0);
        say(packet, n, both, 1);
        step();
        assert_int_equal(heard()->asked, SMI_FAILED);
        assert_non_null(strstr(heard()->why, "no list"));
        packet[4]++;
        assert_int_equal(close(both[1]), 0);
        assert_int_equal(pipe2(both, O_CLOEXEC), 0);
        ask();
        say(packet, n, both, 2);
        step();
        assert_int_equal(heard()->asked, SMI_FAILED);
        assert_non_null(strstr(heard()->why, "another version"));
        assert_int_equal(heard()->streams + heard()->ended, 0);
}

/* There is room for one of the two, and then for both. */
static void test_no_descriptors(void **state) {
        struct rlimit was, less;
        int ends[2], fds[2];

        ask();
        make_pipes(fds, ends, 2);
        answer(fds, 2, 0);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
        less = was;
        for (less.rlim_cur = 0; fcntl((int)less.rlim_cur, F_GETFD) >= 0;)
                less.rlim_cur++;
        less.rlim_cur++;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
        step();
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
        assert_int_equal(heard()->asked, SMI_FAILED);
        assert_non_null(strstr(heard()->why, "LimitNOFILE"));
        assert_int_equal(heard()->streams + heard()->ended, 0);
        close(ends[0]);
        close(ends[1]);
        ask();
        hand_over(ends, 2);
        assert_int_equal(heard()->streams, 2);
        close(ends[0]);
        close(ends[1]);
}

/* Whoever else listens there could hand over what he likes. */
static void test_wrong_peer(void **state) {
        int ready[2], go[2], status;
        char byte = 0;
        pid_t pid;

        if (geteuid() != 0) {
                print_message("needs root: nobody else's socket can be made\n");
                skip();
        }
        close(server);
        server = -1;
        unlink(path);
        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        assert_int_equal(pipe2(go, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                if (setgid(OTHER_USER) || setuid(OTHER_USER) || listen_at(path) < 0 || chmod(path, 0666) < 0 ||
                    write(ready[1], &byte, 1) != 1)
                        _exit(1);
                close(go[1]);
                (void)!read(go[0], &byte, 1);
                _exit(0);
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        smi_listener_ask(l, false);
        assert_int_equal(heard()->asked, SMI_FAILED);
        assert_non_null(strstr(heard()->why, "user 65534"));
        step();
        close(go[0]);
        close(go[1]);
        close(ready[0]);
        close(ready[1]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_nobody),      CASE(test_cut_lines),      CASE(test_flood),
                CASE(test_stream_ends), CASE(test_asked_anew),     CASE(test_no_stream),
                CASE(test_no_answer),   CASE(test_no_descriptors), CASE(test_wrong_peer),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
