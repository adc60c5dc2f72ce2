#include "top-feed.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl.h"
#include "reach.h"
#include "top-snapshot.h"
#include "verbs.h"

/* A snapshot on its way: this, then the rows of each part. Both ends are one program. */
struct head {
        struct top_snapshot snapshot; /* its pointers mean nothing */
};

static void send_all(int fd, const void *data, size_t size) {
        const char *at = data;

        while (size > 0) {
                ssize_t n = send(fd, at, size, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        _exit(0);
                at += n;
                size -= (size_t)n;
        }
}

static void send_snapshot(int fd, const struct top_snapshot *s) {
        struct head head = { *s };

        send_all(fd, &head, sizeof(head));
        for (unsigned i = 0; i < _TOP_PARTS; i++)
                send_all(fd, s->rows[i], s->count[i] * sizeof(*s->rows[i]));
}

/* ---- the child ---- */

/* An answer, or why there is none. */
static void look(struct ctl *c, struct top_snapshot *ret) {
        const char *why = "svmd has ended the session";
        void *mark = obstack_alloc(&c->pool, 0);
        int r = c->session ? EXIT_OK : reach_quietly(c, VERB_ADMIN, &why);

        if (r == EXIT_OK) {
                r = top_snapshot_take(c, ret);
                if (r == SVMD_OK)
                        return;
                why = svmd_error();
        }
        *ret = (struct top_snapshot){ .at_ns = ctl_now_ns(), .away = true };
        snprintf(ret->why, sizeof(ret->why), "%s", why);
        svmd_disconnect(c->session);
        c->session = NULL;
        obstack_free(&c->pool, mark);
}

/* Till the next look is due, or the parent wants another interval, from now on. */
static void pause_for(int fd, uint64_t *interval_ns) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        if (poll(&p, 1, (int)(*interval_ns / 1000000)) > 0 && recv(fd, interval_ns, sizeof(*interval_ns), 0) <= 0)
                _exit(0);
}

/* Signals from the keyboard are the parent's. */
static void child(struct ctl *c, int fd, uint64_t interval_ns) {
        signal(SIGINT, SIG_IGN);
        signal(SIGTERM, SIG_DFL);
        for (;;) {
                struct top_snapshot s;

                look(c, &s);
                send_snapshot(fd, &s);
                top_snapshot_free(&s);
                pause_for(fd, &interval_ns);
        }
}

/* ---- the parent ---- */

int top_feed_start(struct ctl *c, struct top_feed *f, uint64_t interval_ns) {
        pid_t parent = getpid();
        int fds[2];

        *f = (struct top_feed){ .fd = -1 };
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
                return -errno;
        f->pid = fork();
        if (f->pid < 0) {
                close(fds[0]);
                close(fds[1]);
                return -errno;
        }
        if (f->pid == 0) {
                close(fds[0]);
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(0);
                child(c, fds[1], interval_ns);
        }
        close(fds[1]);
        f->fd = fds[0];
        return 0;
}

void top_feed_interval(struct top_feed *f, uint64_t interval_ns) {
        (void)!send(f->fd, &interval_ns, sizeof(interval_ns), MSG_NOSIGNAL);
}

static size_t wanted(const struct top_feed *f) {
        size_t size = sizeof(struct head);
        struct head head;

        if (f->have < size)
                return size;
        memcpy(&head, f->buffer, sizeof(head));
        for (unsigned i = 0; i < _TOP_PARTS; i++)
                size += head.snapshot.count[i] * sizeof(struct top_row);
        return size;
}

static int unpack(const struct top_feed *f, struct top_snapshot *ret) {
        const char *at = f->buffer + sizeof(struct head);
        struct head head;

        memcpy(&head, f->buffer, sizeof(head));
        *ret = head.snapshot;
        for (unsigned i = 0; i < _TOP_PARTS; i++) {
                size_t size = ret->count[i] * sizeof(struct top_row);

                ret->rows[i] = malloc(size + 1);
                if (!ret->rows[i])
                        obstack_alloc_failed_handler();
                memcpy(ret->rows[i], at, size);
                at += size;
        }
        return 1;
}

int top_feed_take(struct top_feed *f, struct top_snapshot *ret) {
        for (;;) {
                size_t want = wanted(f);
                ssize_t n;

                if (f->have == want && want > 0 && f->have >= sizeof(struct head)) {
                        f->have = 0;
                        return unpack(f, ret);
                }
                if (want > f->room) {
                        char *more = realloc(f->buffer, want);

                        if (!more)
                                return -ENOMEM;
                        f->buffer = more;
                        f->room = want;
                }
                n = recv(f->fd, f->buffer + f->have, want - f->have, MSG_DONTWAIT);
                if (n <= 0)
                        return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -EPIPE;
                f->have += (size_t)n;
        }
}

void top_feed_end(struct top_feed *f) {
        if (f->fd < 0)
                return;
        close(f->fd);
        kill(f->pid, SIGKILL);
        waitpid(f->pid, NULL, 0);
        free(f->buffer);
        f->fd = -1;
}
