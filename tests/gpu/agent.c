#include "agent.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

enum { GIVEN_FD = 3 };

void agent_listen(struct agent *a) {
        struct sockaddr_un at = { .sun_family = AF_UNIX };

        *a = (struct agent){ .dir = "/tmp/svmd-gpu-agent-XXXXXX" };
        must(mkdtemp(a->dir) != NULL);
        snprintf(a->path, sizeof(a->path), "%s/cuda.sock", a->dir);
        snprintf(at.sun_path, sizeof(at.sun_path), "%s", a->path);
        a->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        must(a->listener >= 0 && bind(a->listener, (struct sockaddr *)&at, sizeof(at)) == 0);
        must(listen(a->listener, 16) == 0);
}

static void become(const struct agent *a) {
        char user[16], pid[16];
        char *argv[] = { (char *)"svmd-cuda", (char *)"--user", user, NULL };

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(user, sizeof(user), "%u", getuid());
        snprintf(pid, sizeof(pid), "%d", (int)getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        if (a->listener == GIVEN_FD ? fcntl(GIVEN_FD, F_SETFD, 0) == 0 : dup2(a->listener, GIVEN_FD) == GIVEN_FD)
                execv(CUDA_PROGRAM, argv);
        _exit(127);
}

void agent_start(struct agent *a) {
        a->pid = fork();
        must(a->pid >= 0);
        if (a->pid == 0)
                become(a);
}

void agent_kill(struct agent *a) {
        must(kill(a->pid, SIGKILL) == 0 && waitpid(a->pid, NULL, 0) == a->pid);
        a->pid = 0;
}

void agent_close(struct agent *a) {
        if (a->pid)
                agent_kill(a);
        close(a->listener);
        unlink(a->path);
        rmdir(a->dir);
}
