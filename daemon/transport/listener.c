#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/message.h"
#include "base/started.h"
#include "service/holder.h"
#include "transport/internal.h"

/*
 * Listening sockets: kept over a restart, so that whoever connects while no svmd runs waits instead of being refused.
 * One that systemd opened counts before one that was kept, which may be of an earlier file of that name.
 */

#define ACCEPTS_A_TURN 16
#define REST_S         0.1

static uint64_t key_of(const char *path) {
        uint64_t h = 0xcbf29ce484222325ull;

        for (; *path; path++)
                h = (h ^ (uint8_t)*path) * 0x100000001b3ull;
        return KEEP_KEY(KEEP_LISTENER, h & ((1ull << 56) - 1));
}

static void on_retry(struct ev_loop *loop, ev_timer *timer, int events) {
        struct transport *t = container_of(timer, struct transport, retry);

        list_for_each (l, &t->listeners)
                ev_io_start(loop, &container_of(l, struct listener, link)->io);
}

void listeners_rest(struct transport *t) {
        list_for_each (l, &t->listeners)
                ev_io_stop(t->loop, &container_of(l, struct listener, link)->io);
        ev_timer_stop(t->loop, &t->retry);
        ev_timer_init(&t->retry, on_retry, REST_S, 0);
        ev_timer_start(t->loop, &t->retry);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events) {
        struct listener *l = container_of(io, struct listener, io);

        for (int i = 0; i < ACCEPTS_A_TURN; i++) {
                int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
                        message(MESSAGE_NO_DESCRIPTORS, NO_FIELDS,
                                "no descriptor left for another connection; it waits (raise LimitNOFILE)");
                        listeners_rest(l->transport);
                }
                if (fd < 0)
                        return;
                conn_new(l->transport, fd, l);
        }
}

static int kept_listener(struct transport *t, const char *path, uint64_t key) {
        struct stat st;

        for (size_t i = 0; i < t->kept_count; i++)
                if (t->kept[i].key == key && t->kept[i].fd >= 0 && stat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
                        int fd = t->kept[i].fd;

                        t->kept[i].fd = -1;
                        return fd;
                }
        return -1;
}

static int open_listener(const char *path, mode_t mode) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        mode_t mask;
        int fd, r;

        if (strlen(path) >= sizeof(a.sun_path))
                return -ENAMETOOLONG;
        memcpy(a.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        unlink(path);
        mask = umask(0177 & ~mode);
        r = bind(fd, (struct sockaddr *)&a, sizeof(a));
        umask(mask);
        if (r < 0 || chmod(path, mode) < 0 || listen(fd, 4096) < 0) {
                r = -errno;
                close(fd);
                return r;
        }
        return fd;
}

static int given_listener(struct transport *t, const char *path) {
        for (size_t i = 0; i < t->options.given_count; i++)
                if (strcmp(t->options.given[i].path, path) == 0)
                        return t->options.given[i].fd;
        return -1;
}

/* A socket to listen at, which is in the keeper too. */
static int find_listener(struct transport *t, struct listener *l, const char *path, mode_t mode) {
        int kept = kept_listener(t, path, l->key), fd = given_listener(t, path);

        l->given = fd >= 0;
        if (fd < 0 && kept >= 0)
                return kept;
        if (kept >= 0) {
                close(kept);
                t->options.unkeep(t->options.userdata, l->key);
        }
        if (fd < 0)
                fd = open_listener(path, mode);
        if (fd >= 0 && t->options.keep(t->options.userdata, l->key, fd) < 0) {
                close(fd);
                return -EMFILE;
        }
        return fd;
}

static void on_holder_gone(struct ev_loop *loop, ev_io *io, int events) {
        struct listener *l = container_of(io, struct listener, holder);

        ev_io_stop(loop, io);
        service_partition_orphaned(l->transport->svc, l->partition);
}

int listener_new(struct transport *t, const char *path, mode_t mode, bool admin, struct partition *p,
                 struct listener **ret) {
        struct listener *l = alloc_zero(sizeof(*l));
        int fd;

        if (!l)
                return -ENOMEM;
        l->key = key_of(path);
        fd = find_listener(t, l, path, mode);
        if (fd < 0) {
                alloc_free(l);
                return fd;
        }
        snprintf(l->path, sizeof(l->path), "%s", path);
        l->transport = t;
        l->partition = p;
        l->admin = admin;
        ev_io_init(&l->io, on_accept, fd, EV_READ);
        ev_io_init(&l->holder, on_holder_gone, -1, EV_READ);
        list_push_back(&t->listeners, &l->link);
        if (t->svc)
                listener_start(l);
        *ret = l;
        return 0;
}

/* A descriptor of the process; -ESRCH: it has ended, or there is another one of its number. */
static int open_holder(const struct partition *p) {
        char boot[40];
        struct holder h;
        uint64_t started;
        int fd;

        holder_boot(boot);
        if (!holder_parse(&h, partition_holder(p)) || strcmp(h.boot, boot) != 0)
                return -ESRCH;
        fd = (int)syscall(SYS_pidfd_open, (pid_t)h.pid, 0);
        if (fd < 0)
                return -errno;
        if (started_read(h.pid, &started) == 0 && started == h.started)
                return fd;
        close(fd);
        return -ESRCH;
}

void listener_watch(struct listener *l) {
        int fd;

        if (!*partition_holder(l->partition))
                return;
        fd = open_holder(l->partition);
        if (fd >= 0)
                ev_io_set(&l->holder, fd, EV_READ);
        else if (fd == -ESRCH || fd == -EINVAL)
                l->ended = true;
        else
                log_warning("partition %s: the container that it was made for cannot be watched: %s; delete it when "
                            "that has ended",
                            partition_name(l->partition), strerror(-fd));
        if (l->transport->svc)
                listener_start(l);
}

void listener_start(struct listener *l) {
        struct transport *t = l->transport;

        ev_io_start(t->loop, &l->io);
        if (l->ended)
                service_partition_orphaned(t->svc, l->partition);
        else if (l->holder.fd >= 0)
                ev_io_start(t->loop, &l->holder);
}

void listener_free(struct listener *l, bool keep_file) {
        struct transport *t = l->transport;

        ev_io_stop(t->loop, &l->holder);
        if (l->holder.fd >= 0)
                close(l->holder.fd);
        ev_io_stop(t->loop, &l->io);
        close(l->io.fd);
        if (!keep_file) {
                if (!l->given)
                        unlink(l->path);
                t->options.unkeep(t->options.userdata, l->key);
        }
        list_remove(&l->link);
        alloc_free(l);
}
