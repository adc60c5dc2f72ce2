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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent.h"

enum { GIVEN_FD = 3 };

void agent_listen(struct agent *a) {
        struct sockaddr_un at = { .sun_family = AF_UNIX };

        *a = (struct agent){ .dir = "/tmp/svmd-cuda-XXXXXX" };
        assert_non_null(mkdtemp(a->dir));
        assert_int_equal(chmod(a->dir, 0755), 0);
        snprintf(a->path, sizeof(a->path), "%s/cuda.sock", a->dir);
        a->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_true(a->listener >= 0);
        snprintf(at.sun_path, sizeof(at.sun_path), "%s", a->path);
        assert_int_equal(bind(a->listener, (struct sockaddr *)&at, sizeof(at)), 0);
        assert_int_equal(chmod(a->path, 0666), 0); /* who may ask is the program's to say here */
        assert_int_equal(listen(a->listener, 16), 0);
}

static void child(const struct agent *a, const char *user, const char *bytes, bool library) {
        char *argv[] = { (char *)"svmd-cuda", (char *)"--user", (char *)user, NULL };
        char pid[16];

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(pid, sizeof(pid), "%d", (int)getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        setenv("LD_LIBRARY_PATH", library ? STANDIN_FOLDER : "", 1);
        if (bytes)
                setenv("STANDIN_CUDA_BYTES", bytes, 1);
        else
                unsetenv("STANDIN_CUDA_BYTES");
        if (a->listener == GIVEN_FD ? fcntl(GIVEN_FD, F_SETFD, 0) == 0 : dup2(a->listener, GIVEN_FD) == GIVEN_FD)
                execv(CUDA_PROGRAM, argv);
        _exit(127);
}

void agent_start(struct agent *a, const char *user, const char *bytes, bool library) {
        char me[16];

        assert_int_equal(a->pid, 0);
        snprintf(me, sizeof(me), "%u", getuid());
        a->pid = fork();
        assert_true(a->pid >= 0);
        if (a->pid == 0)
                child(a, user ? user : me, bytes, library);
}

void agent_kill(struct agent *a) {
        assert_true(a->pid > 0);
        assert_int_equal(kill(a->pid, SIGKILL), 0);
        assert_int_equal(waitpid(a->pid, NULL, 0), a->pid);
        a->pid = 0;
}

void agent_close(struct agent *a) {
        if (!a || !a->dir[0])
                return;
        if (a->pid)
                agent_kill(a);
        close(a->listener);
        unlink(a->path);
        rmdir(a->dir);
        a->dir[0] = 0;
}
