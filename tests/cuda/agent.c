#include "agent.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GIVEN_FD = 3 };

/* The programs that link this have different ways of failing. */
static void must(bool ok, const char *what) {
        if (ok)
                return;
        perror(what);
        abort();
}

void agent_listen(struct agent *a) {
        struct sockaddr_un at = { .sun_family = AF_UNIX };

        *a = (struct agent){ .dir = "/tmp/svmd-cuda-XXXXXX" };
        must(mkdtemp(a->dir) && chmod(a->dir, 0755) == 0, "svmd-cuda's folder");
        snprintf(a->path, sizeof(a->path), "%s/cuda.sock", a->dir);
        a->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        snprintf(at.sun_path, sizeof(at.sun_path), "%s", a->path);
        must(a->listener >= 0 && bind(a->listener, (struct sockaddr *)&at, sizeof(at)) == 0 &&
                     chmod(a->path, 0666) == 0 && /* who may ask is the program's to say here */
                     listen(a->listener, 16) == 0,
             a->path);
}

/* SVMD_PROGRAMS: where the programs were carried to from where they were built. */
static void find_program(char *ret, size_t size) {
        const char *folder = getenv("SVMD_PROGRAMS");

        if (folder)
                snprintf(ret, size, "%s/svmd-cuda", folder);
        else
                snprintf(ret, size, "%s", CUDA_PROGRAM);
}

static void child(const struct agent *a, const char *user, const char *bytes, enum agent_library library) {
        char *argv[] = { (char *)"svmd-cuda", (char *)"--user", (char *)user, NULL };
        char pid[16], path[4096];

        find_program(path, sizeof(path));
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(pid, sizeof(pid), "%d", (int)getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        if (library != AGENT_OWN) {
                setenv("LD_LIBRARY_PATH", library == AGENT_STANDIN ? STANDIN_FOLDER : "", 1);
                setenv("STANDIN_CUDA_FILES", "1", 1);
        }
        if (bytes)
                setenv("STANDIN_CUDA_BYTES", bytes, 1);
        else
                unsetenv("STANDIN_CUDA_BYTES");
        if (a->listener == GIVEN_FD ? fcntl(GIVEN_FD, F_SETFD, 0) == 0 : dup2(a->listener, GIVEN_FD) == GIVEN_FD)
                execv(path, argv);
        _exit(127);
}

void agent_start(struct agent *a, const char *user, const char *bytes, enum agent_library library) {
        char me[16];

        must(a->pid == 0, "svmd-cuda runs already");
        snprintf(me, sizeof(me), "%u", getuid());
        a->pid = fork();
        must(a->pid >= 0, "fork");
        if (a->pid == 0)
                child(a, user ? user : me, bytes, library);
}

void agent_stop(const struct agent *a) {
        int status = 0;

        must(kill(a->pid, SIGSTOP) == 0 && waitpid(a->pid, &status, WUNTRACED) == a->pid && WIFSTOPPED(status),
             "a svmd-cuda that stands still");
}

void agent_kill(struct agent *a) {
        must(a->pid > 0 && kill(a->pid, SIGKILL) == 0 && waitpid(a->pid, NULL, 0) == a->pid, "svmd-cuda's end");
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
