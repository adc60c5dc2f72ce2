/*
 * svmd-cgroup writes limits of device memory to control groups for an svmd that may not, and nothing else. It is root
 * without capabilities, which is whose the groups' files are; so it believes svmd nothing:
 *
 *      a connection of another user than svmd's and root ------> EPERM
 *      no packet of this protocol, another file, a path that
 *      leaves its root, a line that is no limit ---------------> refused (cgroup/wire.h)
 *      one who has not waited for the answer ------------------> nothing is written
 *      a packet for another root than its own -----------------> EXDEV
 *      the rest: beneath its root, over no link and no mount --> one write, and what the kernel said to it
 *
 * One connection is served at a time, and one write on each; who sends nothing is left after a second. It has no state,
 * so it ends when nobody has come for a while: a service manager holds the socket and starts it again.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/activated.h"
#include "cgroup/wire.h"

struct arguments {
        const char *root, *user;
        unsigned idle_s;
};

struct state {
        int root;
        uint64_t device, inode;
        uid_t user;
};

static int open_file(int root, const struct cgroup_write *w) {
        static const char *const files[DMEM_VALUES] = { "dmem.max", "dmem.low", "dmem.min" };
        struct open_how how = { .flags = O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW,
                                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                                           RESOLVE_NO_XDEV };
        char path[CGROUP_WIRE_PATH + 16];
        long fd;

        snprintf(path, sizeof(path), "%s/%s", w->path + 1, files[w->file]);
        fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
        return fd < 0 ? -errno : (int)fd;
}

/* The kernel takes a limit whole or not at all. */
static int write_limit(const struct state *s, const struct cgroup_write *w) {
        int fd, r = 0;
        size_t size = strlen(w->line);
        struct stat st;
        ssize_t n;

        if (w->device != s->device || w->inode != s->inode)
                return -EXDEV;
        fd = open_file(s->root, w);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                close(fd);
                return -EINVAL;
        }
        n = write(fd, w->line, size);
        if (n != (ssize_t)size)
                r = n < 0 ? -errno : -EIO;
        if (close(fd) < 0 && r == 0)
                r = -errno;
        return r;
}

/* Who does not wait any more may want something else meanwhile. */
static bool has_left(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLRDHUP };

        return poll(&p, 1, 0) != 0;
}

/* What was sent is read first also of one who may not: an answer is lost on a connection that ends with something
 * unread. Descriptors that come along are dropped by the kernel. */
static int take(const struct state *s, int fd) {
        char packet[CGROUP_WIRE_ROOM];
        struct cgroup_write w;
        ssize_t n = recv(fd, packet, sizeof(packet), MSG_TRUNC);
        int r;

        if (!activated_may("svmd-cgroup", fd, s->user))
                return -EPERM;
        if (n < 0)
                return -errno;
        if ((size_t)n > sizeof(packet))
                return -EMSGSIZE;
        if (has_left(fd))
                return -ECANCELED;
        r = cgroup_wire_get(packet, (size_t)n, &w);
        return r < 0 ? r : write_limit(s, &w);
}

static void serve(void *userdata, int fd) {
        struct cgroup_answer a = cgroup_wire_answer(take(userdata, fd));

        (void)send(fd, &a, sizeof(a), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int usage(FILE *out) {
        fputs("svmd-cgroup [--root DIR] [--user USER] [--idle SECONDS]\n"
              "Writes limits of device memory to control groups for svmd, where svmd may not. svmd-cgroup.socket starts it.\n"
              "  --root DIR      where control groups are (/sys/fs/cgroup)\n"
              "  --user USER     who may ask, beside root: a name or a number (svmd)\n"
              "  --idle SECONDS  end when nobody has asked for so long; 0: never (30)\n"
              "  --help          print this\n"
              "  --version       print the version\n",
              out);
        return out == stdout ? 0 : 2;
}

/* -1, or how to end. */
static int read_arguments(int argc, char **argv, struct arguments *a) {
        static const struct option options[] = {
                { "root", required_argument, NULL, 'r' }, { "user", required_argument, NULL, 'u' },
                { "idle", required_argument, NULL, 'i' }, { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },    { 0 }
        };

        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
                switch (c) {
                case 'r': a->root = optarg; break;
                case 'u': a->user = optarg; break;
                case 'i':
                        if (!activated_read_seconds(optarg, &a->idle_s))
                                return usage(stderr);
                        break;
                case 'h': return usage(stdout);
                case 'v': printf("svmd-cgroup %s\n", SVMD_VERSION); return 0;
                default: return usage(stderr);
                }
        }
        return optind < argc ? usage(stderr) : -1;
}

static bool begin(struct state *s, const struct arguments *a) {
        struct stat st;

        if (!activated_begin("svmd-cgroup", a->user, &s->user))
                return false;
        s->root = open(a->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (s->root < 0 || fstat(s->root, &st) < 0) {
                fprintf(stderr, "svmd-cgroup: %s: %s\n", a->root, strerror(errno));
                return false;
        }
        s->device = st.st_dev;
        s->inode = st.st_ino;
        return true;
}

int main(int argc, char **argv) {
        struct arguments a = { .root = "/sys/fs/cgroup", .user = "svmd", .idle_s = 30 };
        struct state s;
        int r = read_arguments(argc, argv, &a);

        if (r >= 0)
                return r;
        if (!begin(&s, &a))
                return 1;
        activated_serve(a.idle_s, serve, &s);
        return 0;
}
