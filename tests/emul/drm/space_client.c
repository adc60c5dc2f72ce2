/*
 * Two programs with a real svmd on an emulated machine: each gives a file of each card, and has its page tables
 * changed. What one does is nothing to the other; what one does behind svmd's back is told; and the end of a session
 * leaves nothing of it in a file that lives on. Exit status 0: all is as it must be.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xf86drm.h>

#include "backend/drm_bind.h"
#include "must.h"
#include "proto/uapi/amdgpu.h"
#include "proto/uapi/xe.h"
#include "svmd.h"

#define MIB (1ull << 20)

enum { CARDS = 3, VECTOR = 512, SESSIONS = 20 };
static const char *const names[CARDS] = { "xe", "amdgpu", "nouveau" };

/* What a program has on a card. */
struct card {
        const struct drm_bind_driver *driver;
        svmd_node node;
        svmd_drm file;
        int fd;
        uint32_t space, memory;
};

struct program {
        svmd_session *session;
        char *base;
        struct card card[CARDS];
};

static int find_card(const struct svmd_node_row *row, void *userdata) {
        struct program *p = userdata;

        for (unsigned i = 0; i < CARDS; i++)
                if (row->kind == SVMD_NODE_DRM && strcmp(row->driver, names[i]) == 0) {
                        p->card[i].node = row->id;
                        p->card[i].fd = open(row->device, O_RDWR | O_CLOEXEC);
                        p->card[i].driver = drm_bind_driver(row->driver);
                }
        return 0;
}

static void begin(struct program *p) {
        struct svmd_session_info info = { .size = sizeof(info) };

        must(svmd_connect(&p->session, NULL) == SVMD_OK);
        must(svmd_session_info(p->session, &info) == SVMD_OK);
        p->base = (char *)info.base;
        must(svmd_query_nodes(p->session, find_card, p) == SVMD_OK);
        for (unsigned i = 0; i < CARDS; i++) {
                struct card *c = &p->card[i];

                must(c->driver && c->fd >= 0);
                must(svmd_drm_give(p->session, &c->file, c->node, c->fd) == SVMD_OK);
                must(svmd_drm_space(p->session, c->file, &c->space) == SVMD_OK);
                must(c->driver->memory_new(c->fd, MIB, &c->memory) == 0);
        }
}

static void bind_all(struct program *p, const struct card *c) {
        struct svmd_drm_binding list[VECTOR] = { 0 };

        for (unsigned i = 0; i < VECTOR; i++)
                list[i] = (struct svmd_drm_binding){ .size = sizeof(list[i]),
                                                     .what = SVMD_DRM_MAP,
                                                     .handle = c->memory,
                                                     .address = p->base + 2 * i * MIB,
                                                     .length = MIB,
                                                     .access = SVMD_ACCESS_READ_WRITE };
        must(svmd_drm_bind(p->session, NULL, c->file, c->space, list, VECTOR, NULL) == SVMD_OK);
        must(svmd_drm_bind(p->session, NULL, c->file, c->space, list, 1, NULL) == SVMD_E_TAKEN);
}

static void unmap_all(struct program *p, const struct card *c) {
        struct svmd_drm_binding all = {
                .size = sizeof(all), .what = SVMD_DRM_UNMAP, .address = p->base, .length = 1ull << 31
        };

        must(svmd_drm_bind(p->session, NULL, c->file, c->space, &all, 1, NULL) == SVMD_OK);
}

/* What the driver says itself; nouveau says nothing. */
static uint32_t shown(const struct program *p, const struct card *c) {
        struct drm_seen *seen = NULL;
        uint32_t count = 0;

        must(c->driver->read(c->fd, c->space, (uintptr_t)p->base, 1ull << 31, &seen, &count) == 0);
        free(seen);
        return count;
}

/* ---- two of them ---- */

static void send_fd(int socket, int fd) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        char byte = 0;
        struct iovec v = { &byte, 1 };
        struct msghdr m = {
                .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        *c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
        must(sendmsg(socket, &m, 0) > 0);
}

static int take_fd(int socket) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        char byte;
        struct iovec v = { &byte, 1 };
        struct msghdr m = {
                .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        int fd;

        must(recvmsg(socket, &m, MSG_CMSG_CLOEXEC) > 0 && CMSG_FIRSTHDR(&m));
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
        return fd;
}

static void step(int socket) {
        char byte = 0;

        must(write(socket, &byte, 1) == 1 && read(socket, &byte, 1) == 1);
}

/* The second: the same numbers everywhere, and it takes all of its own away. Then it tries the first one's file, and
 * ends its session, but not itself. */
static void second(int socket) {
        struct program p = { 0 };
        svmd_drm file;
        int theirs;

        begin(&p);
        theirs = take_fd(socket);
        for (unsigned i = 0; i < CARDS; i++) {
                bind_all(&p, &p.card[i]);
                unmap_all(&p, &p.card[i]);
        }
        must(svmd_drm_give(p.session, &file, p.card[0].node, theirs) == SVMD_E_TAKEN);
        bind_all(&p, &p.card[1]);
        must(shown(&p, &p.card[1]) == VECTOR);
        step(socket);
        svmd_disconnect(p.session);
        for (unsigned i = 0; i < 30000 && shown(&p, &p.card[1]); i++)
                usleep(1000);
        must(shown(&p, &p.card[1]) == 0);
        step(socket);
        _exit(0);
}

static void import(struct program *p, const struct card *c) {
        struct svmd_drm_binding b = {
                .size = sizeof(b), .address = p->base + MIB, .length = MIB, .access = SVMD_ACCESS_READ_WRITE
        };
        int dmabuf = memfd_create("dmabuf", MFD_CLOEXEC);

        must(dmabuf >= 0 && ftruncate(dmabuf, MIB) == 0);
        must(drmPrimeFDToHandle(c->fd, dmabuf, &b.handle) == 0);
        must(svmd_drm_bind(p->session, NULL, c->file, c->space, &b, 1, NULL) == SVMD_OK);
        close(dmabuf);
}

static void check(struct program *p) {
        struct card *c = &p->card[1];
        struct amdgpu_gem_va own = { .handle = c->memory, .op = AMDGPU_VA_REPLACE, .flags = AMDGPU_PAGE_READ };
        uint64_t differ = 1;

        must(svmd_drm_check(p->session, p->card[0].file, p->card[0].space, &differ) == SVMD_OK && differ == 0);
        must(svmd_drm_check(p->session, c->file, c->space, &differ) == SVMD_OK && differ == 0);
        own.address = (uintptr_t)p->base + 5 * MIB;
        own.size = MIB / 2;
        must(drmIoctl(c->fd, AMDGPU_GEM_VA, &own) == 0);
        must(svmd_drm_check(p->session, c->file, c->space, &differ) == SVMD_OK && differ == MIB / 2);
        must(svmd_drm_check(p->session, p->card[2].file, 0, &differ) == SVMD_E_NODE_KIND);
}

/* The same files, given to a new session as soon as the last one has ended, show what it binds. */
static void next_sessions(struct program *p) {
        for (unsigned n = 0; n < SESSIONS; n++) {
                svmd_disconnect(p->session);
                must(svmd_connect(&p->session, NULL) == SVMD_OK);
                for (unsigned i = 0; i < CARDS; i++) {
                        struct card *c = &p->card[i];

                        must(svmd_drm_give(p->session, &c->file, c->node, c->fd) == SVMD_OK);
                        must(svmd_drm_space(p->session, c->file, &c->space) == SVMD_OK);
                        unmap_all(p, c); /* what the process had bound itself */
                        bind_all(p, c);
                }
                for (unsigned i = 0; i < 2; i++)
                        must(shown(p, &p->card[i]) == VECTOR);
        }
}

int main(void) {
        struct program p = { 0 };
        int pair[2], status;
        pid_t pid;

        setvbuf(stdout, NULL, _IOLBF, 0);
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        pid = fork();
        must(pid >= 0);
        if (pid == 0)
                second(pair[1]);
        close(pair[1]);
        begin(&p);
        for (unsigned i = 0; i < CARDS; i++)
                bind_all(&p, &p.card[i]);
        send_fd(pair[0], p.card[0].fd);
        step(pair[0]);
        for (unsigned i = 0; i < 2; i++)
                must(shown(&p, &p.card[i]) == VECTOR);
        step(pair[0]);
        for (unsigned i = 0; i < 2; i++)
                must(shown(&p, &p.card[i]) == VECTOR);
        must(waitpid(pid, &status, 0) == pid && status == 0);
        import(&p, &p.card[0]);
        check(&p);
        next_sessions(&p);
        svmd_disconnect(p.session);
        printf("two programs had page tables of three drivers changed by svmd, each its own, and nothing was left\n");
        return 0;
}
