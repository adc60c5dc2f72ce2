/*
 * svmd-cuda has memory of NVIDIA devices for svmd: slots of 2 MiB, which svmd fills, reads, and has exported for its
 * clients. It is a process of its own because CUDA is: svmd neither links nor opens it, and a driver that hangs or
 * ends its process takes the pages of a node along, and no session.
 *
 *      svmd ---- questions (cuda/wire.h) ----> svmd-cuda ---- libcuda.so.1
 *       |                                          |
 *       +---- staging memory, 2 MiB a device ------+
 *
 * Slots outlive svmd, which finds them when it comes back. They end with this program.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cuda/serve.h"

/* The first descriptor of a service manager's. */
#define GIVEN_FD 3

static bool is_listener(int fd) {
        int type = 0, listens = 0;
        socklen_t size = sizeof(type);

        return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET &&
               getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens &&
               fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static bool is_given(void) {
        const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");

        return pid && count && atoi(pid) == getpid() && atoi(count) == 1 && is_listener(GIVEN_FD);
}

/* By name or number. */
static bool find_user(const char *text, uid_t *ret) {
        const struct passwd *p;
        unsigned long n;
        char *end;

        if (text[0] >= '0' && text[0] <= '9') {
                errno = 0;
                n = strtoul(text, &end, 10);
                *ret = (uid_t)n;
                return errno == 0 && !*end && n < (uid_t)-1;
        }
        p = getpwnam(text);
        if (p)
                *ret = p->pw_uid;
        return p != NULL;
}

static int usage(FILE *out) {
        fputs("svmd-cuda [--user USER]\n"
              "Has memory of NVIDIA devices for svmd's managed pages. svmd-cuda.socket starts it.\n"
              "  --user USER     who may ask, beside root: a name or a number (svmd)\n"
              "  --help          print this\n"
              "  --version       print the version\n",
              out);
        return out == stdout ? 0 : 2;
}

/* -1, or how to end. */
static int read_arguments(int argc, char **argv, const char **ret_user) {
        static const struct option options[] = { { "user", required_argument, NULL, 'u' },
                                                 { "help", no_argument, NULL, 'h' },
                                                 { "version", no_argument, NULL, 'v' },
                                                 { 0 } };

        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
                switch (c) {
                case 'u': *ret_user = optarg; break;
                case 'h': return usage(stdout);
                case 'v': printf("svmd-cuda %s\n", SVMD_VERSION); return 0;
                default: return usage(stderr);
                }
        }
        return optind < argc ? usage(stderr) : -1;
}

static void run(uid_t user) {
        for (;;) {
                int fd = accept4(GIVEN_FD, NULL, NULL, SOCK_CLOEXEC);

                if (fd >= 0)
                        serve_start(fd, user);
                else if (errno != EINTR && errno != ECONNABORTED)
                        poll(NULL, 0, 100); /* the machine has no descriptor left */
        }
}

int main(int argc, char **argv) {
        const char *name = "svmd";
        uid_t user = (uid_t)-1;
        int r = read_arguments(argc, argv, &name);

        if (r >= 0)
                return r;
        if (!is_given()) {
                fprintf(stderr, "svmd-cuda: a service manager gives it its socket: "
                                "systemctl enable --now svmd-cuda.socket\n");
                return 1;
        }
        if (!find_user(name, &user)) {
                fprintf(stderr, "svmd-cuda: there is no user %s\n", name);
                return 1;
        }
        run(user);
}
