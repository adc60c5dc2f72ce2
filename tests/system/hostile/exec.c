#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* Sessions that outlive who made them: over exec, in other processes, with the number of a process that is gone. */

/* The connection goes on in a program that knows nothing of it; it ends with it. */
static void over_exec(struct message *m) {
        pid_t pid = fork();

        must(pid >= 0);
        if (pid == 0) {
                struct raw r;

                raw_attach(&r, target.socket, HOSTILE_PARTITION);
                must(raw_op(&r, MemCreate, MEM_CREATE, mem_create, NULL, b.node = target.gpu; b.size = 65536) == 0);
                must(fcntl(r.fd, F_SETFD, 0) == 0);
                execl("/bin/sleep", "sleep", "0.05", (char *)NULL);
                _exit(1);
        }
        must(waitpid(pid, NULL, 0) == pid);
}

/* With faults of its range under way: the address space that svmd serves is gone, and the process is not. */
static void exec_in_a_fault(struct message *m) {
        for (unsigned i = 0; i < 4; i++) {
                pid_t pid = fork();

                must(pid >= 0);
                if (pid == 0) {
                        svmd_session *s = hostile_session(NULL);
                        volatile char *p = hostile_range(s, 1 << 20, NULL, 0);

                        for (unsigned k = 0; k < 16; k++) {
                                svmd_fence *f;

                                ok(svmd_migrate(s, &f, (const void *)(p + k * 65536), 65536, target.gpu));
                        }
                        execl("/bin/true", "true", (char *)NULL);
                        _exit(1);
                }
                must(waitpid(pid, NULL, 0) == pid);
        }
}

/* A child has the connection when the process that made it is gone, and its number may be somebody else's. */
static void orphan(struct message *m) {
        int done[2];
        pid_t pid;
        char byte;

        must(pipe(done) == 0);
        pid = fork();
        must(pid >= 0);
        if (pid == 0) {
                struct raw r;

                raw_attach(&r, target.socket, HOSTILE_PARTITION);
                pid = fork();
                must(pid >= 0);
                if (pid > 0)
                        _exit(0);
                for (unsigned i = 0; i < 200; i++)
                        must(raw_status(&r) == 0);
                must(raw_op(&r, MemCreate, MEM_CREATE, mem_create, NULL, b.node = target.gpu; b.size = 65536) == 0);
                must(write(done[1], "", 1) == 1);
                _exit(0);
        }
        close(done[1]);
        must(waitpid(pid, NULL, 0) == pid);
        for (unsigned i = 0; i < 50; i++) { /* so that numbers go round a little */
                pid = fork();
                must(pid >= 0);
                if (pid == 0)
                        _exit(0);
                must(waitpid(pid, NULL, 0) == pid);
        }
        must(read(done[0], &byte, 1) == 1);
        while (read(done[0], &byte, 1) > 0)
                ;
}

/* Handed to another process, which has become nobody in particular: it has what its maker had, and no more. */
static void handed_on(struct message *m) {
        struct raw r;
        pid_t pid;
        int status;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        pid = fork();
        must(pid >= 0);
        if (pid == 0) {
                must(raw_op(&r, SessionKill, SESSION_KILL, session_kill, NULL, b.session = target.session) ==
                     SVMD_E_DENIED);
                must(raw_op(&r, Reserve, RESERVE, reserve, NULL, b.size = 4096) == 0);
                _exit(0);
        }
        must(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        r.id += 2;
        must(raw_status(&r) == 0);
        raw_close(&r);
}

/* Both ends of a fork go on with libsvmd's session: the child's calls say what it has. */
static void both_of_a_fork(struct message *m) {
        svmd_session *s = hostile_session(NULL);
        volatile char *p = hostile_range(s, 1 << 20, NULL, 0);
        pid_t pid = fork();
        void *at;
        int status;

        must(pid >= 0);
        if (pid == 0) {
                want(SVMD_E_FORKED, svmd_address_reserve(s, &at, 4096, 0, NULL, NULL));
                want(SVMD_E_FORKED, svmd_migrate(s, NULL, (const void *)p, 65536, target.gpu));
                _exit(0);
        }
        for (unsigned i = 0; i < 16; i++) {
                ok(svmd_migrate(s, NULL, (const void *)(p + i * 65536), 65536, target.gpu));
                p[i * 65536] = 2;
        }
        must(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        svmd_disconnect(s);
}

const struct hostile_family hostile_exec = { "exec and numbers of processes",
                                             { { .name = "over exec", .run = over_exec },
                                               { .name = "exec in a fault", .run = exec_in_a_fault },
                                               { .name = "orphan", .run = orphan },
                                               { .name = "handed on", .run = handed_on },
                                               { .name = "both of a fork", .run = both_of_a_fork } } };
