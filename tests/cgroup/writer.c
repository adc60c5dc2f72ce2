#include "writer.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { GIVEN_FD = 3 };

void writer_listen(struct writer *w, const char *path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };

        *w = (struct writer){ .listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) };
        assert_true(w->listener >= 0);
        snprintf(w->path, sizeof(w->path), "%s", path);
        assert_true(snprintf(a.sun_path, sizeof(a.sun_path), "%s", path) < (int)sizeof(a.sun_path));
        unlink(path);
        assert_int_equal(bind(w->listener, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(chmod(path, 0666), 0); /* who may ask is the program's to say here */
        assert_int_equal(listen(w->listener, 16), 0);
}

void writer_start(struct writer *w, const char *root, const char *user, const char *idle) {
        char *argv[] = { (char *)"svmd-cgroup", (char *)"--root", (char *)root, (char *)"--user",
                         (char *)user,          (char *)"--idle", (char *)idle, NULL };
        char pid[16];

        assert_int_equal(w->pid, 0);
        w->pid = fork();
        assert_true(w->pid >= 0);
        if (w->pid > 0)
                return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Root would have them all back with the program. */
        for (unsigned long capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0;)
                capability++;
        snprintf(pid, sizeof(pid), "%d", (int)getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        /* A copy is not closed by execv(); one that has that number already would be. */
        if (w->listener == GIVEN_FD ? fcntl(GIVEN_FD, F_SETFD, 0) == 0 : dup2(w->listener, GIVEN_FD) == GIVEN_FD)
                execv(CGROUP_PROGRAM, argv);
        _exit(127);
}

void writer_kill(struct writer *w) {
        assert_true(w->pid > 0);
        assert_int_equal(kill(w->pid, SIGKILL), 0);
        (void)writer_wait(w);
}

int writer_wait(struct writer *w) {
        int status;

        assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
        w->pid = 0;
        return status;
}

void writer_close(struct writer *w) {
        if (w->pid)
                writer_kill(w);
        if (w->listener >= 0)
                close(w->listener);
        unlink(w->path);
        w->listener = -1;
}
