#include "base/activated.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* The first descriptor of a service manager's. */
#define GIVEN_FD 3

static bool is_listener(int fd) {
        int type = 0, listens = 0;
        socklen_t size = sizeof(type);

        return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET &&
               getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens &&
               fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
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

bool activated_begin(const char *program, const char *user, uid_t *ret) {
        if (!is_given()) {
                fprintf(stderr, "%s: a service manager gives it its socket: systemctl enable --now %s.socket\n",
                        program, program);
                return false;
        }
        if (!find_user(user, ret)) {
                fprintf(stderr, "%s: there is no user %s\n", program, user);
                return false;
        }
        return true;
}

bool activated_read_seconds(const char *text, unsigned *ret) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);

        *ret = (unsigned)n;
        return text[0] >= '0' && text[0] <= '9' && !*end && n <= 86400;
}

bool activated_may(const char *program, int fd, uid_t user) {
        struct ucred peer = { .uid = (uid_t)-1 };
        socklen_t size = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == user || peer.uid == 0))
                return true;
        fprintf(stderr, "%s: refused user %u: only user %u and root may ask\n", program, peer.uid, user);
        return false;
}

int activated_accept(int patience_ms) {
        struct pollfd p = { .fd = GIVEN_FD, .events = POLLIN };
        int n, fd;

        while ((n = poll(&p, 1, patience_ms)) != 0) {
                fd = n > 0 ? accept4(GIVEN_FD, NULL, NULL, SOCK_CLOEXEC) : -1;
                if (fd >= 0)
                        return fd;
                if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                        poll(NULL, 0, 100); /* the machine has no descriptor left */
        }
        return -1;
}

void activated_serve(unsigned idle_s, void (*serve)(void *userdata, int fd), void *userdata) {
        const struct timeval second = { .tv_sec = 1 };
        int fd;

        while ((fd = activated_accept(idle_s ? (int)idle_s * 1000 : -1)) >= 0) {
                if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)) == 0)
                        serve(userdata, fd);
                close(fd);
        }
}
