/*
 * svmd-smi opens the streams of events of AMD's GPUs for an svmd that may not, and nothing else. The kernel lets a
 * stream tell of all processes if its opener had CAP_SYS_ADMIN, and asks no more afterwards; so that right is needed
 * for the moment of opening alone, and a stream can be handed on.
 *
 *      a connection of another user than svmd's and root ---> EPERM
 *      the rest: a stream of each GPU, of the events that
 *      svmd reads (backend/smi.h) --------------------------> descriptors, or why there is none
 *
 * Nothing is read from who connects. It has no state, so it ends when nobody has come for a while: a service manager
 * holds the socket and starts it again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/smi.h"
#include "base/activated.h"
#include "proto/uapi/kfd.h"
#include "smi/wire.h"

struct arguments {
        const char *device, *topology, *user;
        unsigned idle_s;
};

struct state {
        const char *device, *topology;
        uid_t user;
};

struct streams {
        struct smi_answer answer;
        int fds[SMI_STREAMS_MAX];
};

static void fail(struct streams *t, int r) {
        if (t->answer.error == 0)
                t->answer.error = r;
}

/* 0: it is a CPU. */
static int read_id(int dir, const char *node, uint32_t *ret) {
        char path[300], text[32] = "";
        ssize_t n;
        int fd, r = 0;

        snprintf(path, sizeof(path), "%s/gpu_id", node);
        fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, text, sizeof(text) - 1);
        if (n < 0)
                r = -errno;
        else if (sscanf(text, "%" SCNu32, ret) != 1)
                r = -EBADMSG;
        close(fd);
        return r;
}

static int open_stream(int kfd, uint32_t gpu, int *ret) {
        const uint64_t mask = SMI_MASK | SMI_ALL_PROCESSES;
        struct kfd_smi_events_args args = { .gpu_id = gpu };
        int r = 0;

        if (ioctl(kfd, KFD_SMI_EVENTS, &args) < 0)
                return -errno;
        *ret = (int)args.anon_fd;
        if (write(*ret, &mask, sizeof(mask)) != (ssize_t)sizeof(mask)) {
                r = -errno;
                close(*ret);
        }
        return r;
}

/* A GPU that has none does not keep others from theirs. */
static void add_stream(struct streams *t, int kfd, int dir, const char *node) {
        uint32_t gpu = 0;
        int r = read_id(dir, node, &gpu);

        if (r == 0 && gpu == 0)
                return;
        if (r == 0 && t->answer.count == SMI_STREAMS_MAX)
                r = -E2BIG;
        if (r == 0)
                r = open_stream(kfd, gpu, &t->fds[t->answer.count]);
        if (r == 0)
                t->answer.gpus[t->answer.count++] = gpu;
        else
                fail(t, r);
}

static void open_streams(const struct state *s, struct streams *t) {
        int kfd = open(s->device, O_RDWR | O_CLOEXEC);
        const struct dirent *e;
        DIR *nodes;

        if (kfd < 0) {
                fail(t, -errno);
                return;
        }
        nodes = opendir(s->topology);
        if (!nodes)
                fail(t, -errno);
        while (nodes && (e = readdir(nodes)))
                if (e->d_name[0] != '.')
                        add_stream(t, kfd, dirfd(nodes), e->d_name);
        if (nodes)
                closedir(nodes);
        close(kfd);
}

/* Never waits for who does not read. */
static void hand_over(int fd, const struct streams *t) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(sizeof(t->fds))];
        } control = { .bytes = { 0 } };
        char packet[SMI_WIRE_ROOM];
        struct iovec bytes = { packet, smi_wire_put(packet, &t->answer) };
        struct msghdr m = { .msg_iov = &bytes, .msg_iovlen = 1 };
        size_t size = t->answer.count * sizeof(t->fds[0]);

        if (size) {
                control.head.cmsg_level = SOL_SOCKET;
                control.head.cmsg_type = SCM_RIGHTS;
                control.head.cmsg_len = CMSG_LEN(size);
                memcpy(CMSG_DATA(&control.head), t->fds, size);
                m.msg_control = control.bytes;
                m.msg_controllen = CMSG_SPACE(size);
        }
        (void)sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void serve(void *userdata, int fd) {
        const struct state *s = userdata;
        struct streams t = { .answer = { .error = 0 } };

        if (activated_may("svmd-smi", fd, s->user))
                open_streams(s, &t);
        else
                fail(&t, -EPERM);
        hand_over(fd, &t);
        for (uint32_t i = 0; i < t.answer.count; i++)
                close(t.fds[i]);
}

static int usage(FILE *out) {
        fputs("svmd-smi [--device FILE] [--topology DIR] [--user USER] [--idle SECONDS]\n"
              "Opens streams of events of AMD's GPUs for svmd, which may not. svmd-smi.socket starts it.\n"
              "  --device FILE   the driver's (/dev/kfd)\n"
              "  --topology DIR  where its nodes are (/sys/class/kfd/kfd/topology/nodes)\n"
              "  --user USER     who gets them, beside root: a name or a number (svmd)\n"
              "  --idle SECONDS  end when nobody has come for so long; 0: never (30)\n"
              "  --help          print this\n"
              "  --version       print the version\n",
              out);
        return out == stdout ? 0 : 2;
}

/* -1, or how to end. */
static int read_arguments(int argc, char **argv, struct arguments *a) {
        static const struct option options[] = { { "device", required_argument, NULL, 'd' },
                                                 { "topology", required_argument, NULL, 't' },
                                                 { "user", required_argument, NULL, 'u' },
                                                 { "idle", required_argument, NULL, 'i' },
                                                 { "help", no_argument, NULL, 'h' },
                                                 { "version", no_argument, NULL, 'v' },
                                                 { 0 } };

        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
                switch (c) {
                case 'd': a->device = optarg; break;
                case 't': a->topology = optarg; break;
                case 'u': a->user = optarg; break;
                case 'i':
                        if (!activated_read_seconds(optarg, &a->idle_s))
                                return usage(stderr);
                        break;
                case 'h': return usage(stdout);
                case 'v': printf("svmd-smi %s\n", SVMD_VERSION); return 0;
                default: return usage(stderr);
                }
        }
        return optind < argc ? usage(stderr) : -1;
}

int main(int argc, char **argv) {
        struct arguments a = {
                .device = "/dev/kfd", .topology = "/sys/class/kfd/kfd/topology/nodes", .user = "svmd", .idle_s = 30
        };
        struct state s;
        int r = read_arguments(argc, argv, &a);

        if (r >= 0)
                return r;
        s = (struct state){ .device = a.device, .topology = a.topology };
        if (!activated_begin("svmd-smi", a.user, &s.user))
                return 1;
        activated_serve(a.idle_s, serve, &s);
        return 0;
}
