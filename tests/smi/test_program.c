/* svmd-smi as a process: what it hands over, to whom, and what it does without. The driver's call is a stand-in
 * (svmd-smi-standin), over a folder that stands for the topology; without it the program is tried on a file that is no
 * driver. */
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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/smi.h"
#include "smi/listener.h"
#include "smi/wire.h"

enum { GIVEN_FD = 3, OTHER_USER = 65534, CEILING_MS = 30000, FIRST_GPU = 111, SECOND_GPU = 222 };

static char dir[64], user[16];
static int given, gpus[2];
static pid_t pid;

static char *at(const char *path) {
        static char name[4][160];
        static unsigned next;
        char *to = name[next++ % 4];

        snprintf(to, sizeof(name[0]), "%s/%s", dir, path);
        return to;
}

static int listen_at(const char *path, int type) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(chmod(path, 0666), 0); /* whom it answers is the program's to say */
        assert_int_equal(listen(fd, 16), 0);
        return fd;
}

static void start(const char *program, const char *device, const char *for_user, const char *idle) {
        char *argv[] = { (char *)"svmd-smi", (char *)"--device", (char *)device,   (char *)"--topology", at("nodes"),
                         (char *)"--user",   (char *)for_user,   (char *)"--idle", (char *)idle,         NULL };
        char own[16];

        assert_int_equal(pid, 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid > 0)
                return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(own, sizeof(own), "%d", (int)getpid());
        setenv("LISTEN_PID", own, 1);
        setenv("LISTEN_FDS", "1", 1);
        setenv("SMI_STANDIN", dir, 1);
        if (given == GIVEN_FD || dup2(given, GIVEN_FD) == GIVEN_FD)
                execv(program, argv);
        _exit(127);
}

static int await_end(void) {
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        pid = 0;
        return status;
}

static void stop(void) {
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void)await_end();
}

static void node(const char *name, const char *id) {
        char path[32];
        FILE *f;

        snprintf(path, sizeof(path), "nodes/%s", name);
        assert_int_equal(mkdir(at(path), 0755), 0);
        snprintf(path, sizeof(path), "nodes/%s/gpu_id", name);
        f = fopen(at(path), "we");
        assert_non_null(f);
        fprintf(f, "%s\n", id);
        assert_int_equal(fclose(f), 0);
}

/* A CPU and two GPUs. */
static int set_up(void **state) {
        strcpy(dir, "/tmp/svmd-smi-XXXXXX");
        assert_non_null(mkdtemp(dir));
        assert_int_equal(chmod(dir, 0755), 0);
        assert_int_equal(mkdir(at("nodes"), 0755), 0);
        node("0", "0");
        node("1", "111");
        node("2", "222");
        gpus[0] = listen_at(at("111"), SOCK_STREAM);
        gpus[1] = listen_at(at("222"), SOCK_STREAM);
        given = listen_at(at("smi.sock"), SOCK_SEQPACKET);
        snprintf(user, sizeof(user), "%u", getuid());
        return 0;
}

static int tear_down(void **state) {
        char command[96];

        if (pid)
                stop();
        close(given);
        close(gpus[0]);
        close(gpus[1]);
        snprintf(command, sizeof(command), "rm -rf %s", dir);
        return system(command);
}

static unsigned called;
static struct smi_event last;

static void on_event(void *userdata, const struct smi_event *e) {
        called++;
        last = *e;
}

/* Within a step or several. */
static void step(struct smi_listener *l) {
        struct pollfd p = { .fd = smi_listener_fd(l), .events = POLLIN };

        assert_int_equal(poll(&p, 1, CEILING_MS), 1);
        smi_listener_step(l, on_event, NULL);
}

/* Connects, also where the program does not run yet. */
static struct smi_listener *begin(void) {
        struct smi_listener *l;

        assert_int_equal(smi_listener_new(&l, at("smi.sock")), 0);
        smi_listener_ask(l, false);
        return l;
}

static void finish(struct smi_listener *l) {
        while (smi_listener_heard(l)->asked == SMI_ASKED)
                step(l);
}

static struct smi_listener *asked(void) {
        struct smi_listener *l = begin();

        finish(l);
        return l;
}

static int stream_of(unsigned gpu) {
        struct pollfd p = { .fd = gpus[gpu], .events = POLLIN };
        int fd;

        assert_int_equal(poll(&p, 1, CEILING_MS), 1);
        fd = accept4(gpus[gpu], NULL, NULL, SOCK_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

/* ---- cases ---- */

/* Each GPU's stream, with what it is asked for; and it goes on without the program. */
static void test_hands_over(void **state) {
        static const char line[] = "9 4712 -42 de 2\n";
        struct smi_listener *l;
        int streams[2];

        start(SMI_STANDIN, "/dev/null", user, "0");
        l = asked();
        assert_int_equal(smi_listener_heard(l)->asked, SMI_ANSWERED);
        assert_int_equal(smi_listener_heard(l)->error, 0);
        assert_int_equal(smi_listener_heard(l)->streams, 2);
        stop();
        for (unsigned i = 0; i < 2; i++) {
                uint64_t mask = 0;

                streams[i] = stream_of(i);
                assert_int_equal(recv(streams[i], &mask, sizeof(mask), MSG_WAITALL), sizeof(mask));
                assert_true(mask == (UINT64_C(1) << 63 | 0x7f0));
                assert_int_equal(send(streams[i], line, sizeof(line) - 1, MSG_NOSIGNAL), sizeof(line) - 1);
        }
        called = 0;
        while (called < 2)
                step(l);
        assert_true(last.type == SMI_QUEUE_EVICTION && last.pid == 42 && last.gpu == SECOND_GPU);
        smi_listener_free(l);
        close(streams[0]);
        close(streams[1]);
}

/* One that the driver refuses, one that the topology says nothing of, and the other one. */
static void test_one_refused(void **state) {
        struct smi_listener *l;

        node("3", "333");
        node("4", "nonsense");
        start(SMI_STANDIN, "/dev/null", user, "0");
        l = asked();
        assert_int_equal(smi_listener_heard(l)->asked, SMI_ANSWERED);
        assert_true(smi_listener_heard(l)->error == -EINVAL || smi_listener_heard(l)->error == -EBADMSG);
        assert_int_equal(smi_listener_heard(l)->streams, 2);
        smi_listener_free(l);
}

/* The real call, on what is no driver; and no file at all. */
static void test_no_driver(void **state) {
        struct smi_listener *l;

        start(SMI_PROGRAM, "/dev/null", user, "0");
        l = asked();
        assert_int_equal(smi_listener_heard(l)->asked, SMI_ANSWERED);
        assert_int_equal(smi_listener_heard(l)->error, -ENOTTY);
        assert_int_equal(smi_listener_heard(l)->streams, 0);
        smi_listener_free(l);
        stop();
        start(SMI_PROGRAM, at("none"), user, "0");
        l = asked();
        assert_int_equal(smi_listener_heard(l)->error, -ENOENT);
        smi_listener_free(l);
}

/* As another user, where this one can become one; or a program that is for another one. Nothing is opened for him. */
static void test_wrong_peer(void **state) {
        struct pollfd p = { .fd = gpus[0], .events = POLLIN };
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        struct smi_answer got = { .error = 0 };
        char packet[SMI_WIRE_ROOM];
        int fd, status;
        pid_t child;

        start(SMI_STANDIN, "/dev/null", geteuid() == 0 ? user : "65533", "0");
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                ssize_t n = -1;

                if (geteuid() == 0 && (setgid(OTHER_USER) || setuid(OTHER_USER)))
                        _exit(100);
                fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
                snprintf(a.sun_path, sizeof(a.sun_path), "%s/smi.sock", dir);
                if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
                        n = recv(fd, packet, sizeof(packet), 0);
                _exit(n > 0 && smi_wire_get(packet, (size_t)n, 0, &got) == 0 && got.error == -EPERM ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(poll(&p, 1, 0), 0);
}

/* Who connects and does not read is left; it ends by itself, and is good again when it is started. */
static void test_idle(void **state) {
        struct smi_listener *silent = begin(), *l = begin();

        start(SMI_STANDIN, "/dev/null", user, "1");
        finish(l);
        assert_int_equal(smi_listener_heard(l)->streams, 2);
        smi_listener_free(l);
        assert_int_equal(await_end(), 0);
        smi_listener_free(silent);
        start(SMI_STANDIN, "/dev/null", user, "0");
        l = asked();
        assert_int_equal(smi_listener_heard(l)->streams, 2);
        smi_listener_free(l);
}

/* What it does not start with. */
static void test_starts(void **state) {
        start(SMI_PROGRAM, "/dev/null", "no-such-user", "0");
        assert_int_equal(WEXITSTATUS(await_end()), 1);
        start(SMI_PROGRAM, "/dev/null", user, "soon");
        assert_int_equal(WEXITSTATUS(await_end()), 2);
        close(given);
        given = open("/dev/null", O_RDONLY | O_CLOEXEC);
        start(SMI_PROGRAM, "/dev/null", user, "0");
        assert_int_equal(WEXITSTATUS(await_end()), 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                CASE(test_hands_over), CASE(test_one_refused), CASE(test_no_driver),
                CASE(test_wrong_peer), CASE(test_idle),        CASE(test_starts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
