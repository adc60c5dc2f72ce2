/*
 * svmd's part on render nodes of an emulated machine, with the system's libdrm: what is enumerated, and bindings by a
 * descriptor that another process opened and passed. With the argument "deduplicated" amdgpu's page table is changed
 * through libdrm_amdgpu's device, which must be seen to go wrong (TOUCHED). Exit status 0: all is as it must be.
 */
#include <amdgpu.h>
#include <amdgpu_drm.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xf86drm.h>

#include "backend/drm.h"
#include "backend/drm_bind.h"
#include "proto/uapi/amdgpu.h"
#include "proto/uapi/xe.h"

#define MIB (1ull << 20)
enum { TOUCHED = 3 }; /* exit status: the first client's mapping is gone */
#define must(what)                                                                                                     \
        do {                                                                                                           \
                if (!(what)) {                                                                                         \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                                     \
                        exit(1);                                                                                       \
                }                                                                                                      \
        } while (0)

/* ---- what there is ---- */

static void enumerate(void) {
        static const char *const drivers[] = { "xe", "amdgpu", "nouveau" };
        const struct drm_device *v;
        struct drm *d;
        uint32_t count;
        unsigned i;

        must(drm_new(&d, "/dev", "/sys") == 0);
        for (i = 0; i < 30000 && !drm_devices(d, &v, &count); i++)
                usleep(1000);
        must(drm_devices(d, &v, &count) && count == 3);
        for (i = 0; i < 3; i++) {
                must(v[i].error == 0 && v[i].render && strcmp(v[i].driver, drivers[i]) == 0);
                must(v[i].import && !v[i].export_ && v[i].syncobj);
                must(strncmp(v[i].bus, "pci 0000:0", 10) == 0);
        }
        must(v[0].capacity == 12ull << 30 && v[0].functions_most == 24);
        must(v[1].capacity == 64ull << 30 && v[2].capacity == 80ull << 30);
        drm_free(d);
}

/* ---- a client: a process that opens a device, passes the file, and lives until it is told ---- */

struct client {
        pid_t pid;
        int socket, fd; /* fd: our duplicate */
        int theirs;     /* its number there */
};

static void send_fd(int socket, int fd) {
        struct iovec v = { &fd, sizeof(fd) };
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct msghdr m = {
                .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        *c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
        must(sendmsg(socket, &m, 0) > 0);
}

static int take_fd(int socket, int *ret_theirs) {
        struct iovec v = { ret_theirs, sizeof(*ret_theirs) };
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct msghdr m = {
                .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        int fd;

        must(recvmsg(socket, &m, MSG_CMSG_CLOEXEC) > 0 && CMSG_FIRSTHDR(&m));
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
        return fd;
}

static void client_start(struct client *c, const char *path) {
        int pair[2];

        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
        c->pid = fork();
        must(c->pid >= 0);
        if (c->pid == 0) {
                int fd = open(path, O_RDWR | O_CLOEXEC);
                char byte;

                close(pair[0]);
                must(fd >= 0);
                send_fd(pair[1], fd);
                _exit(read(pair[1], &byte, 1) != 1);
        }
        close(pair[1]);
        c->socket = pair[0];
        c->fd = take_fd(c->socket, &c->theirs);
}

static void client_end(struct client *c) {
        int status;

        must(write(c->socket, "", 1) == 1);
        close(c->socket);
        close(c->fd);
        must(waitpid(c->pid, &status, 0) == c->pid && status == 0);
}

/* ---- what is mapped, as the driver says ---- */

static unsigned shown(const char *driver, int fd, uint32_t space, uint32_t memory) {
        struct xe_query_range_attrs q = { .vm_id = space, .start = 0, .range = 1ull << 40 };
        struct amdgpu_gem_op_long m = { .op = { .handle = memory, .op = AMDGPU_OP_MAPPINGS } };

        if (strcmp(driver, "xe") == 0) {
                must(drmIoctl(fd, XE_QUERY_MEM_RANGE_ATTRS, &q) == 0);
                return q.count;
        }
        must(drmIoctl(fd, AMDGPU_GEM_OP_LONG, &m) == 0);
        return m.count;
}

static struct drm_binding mapping(uint32_t handle, uint64_t address, uint64_t size) {
        return (struct drm_binding){
                .what = DRM_BIND_MAP, .handle = handle, .attrs = { .access = 3 }, .address = address, .size = size
        };
}

static void broker(const char *path, const char *driver) {
        const struct drm_bind_driver *d = drm_bind_driver(driver);
        struct drm_binding list[512], nothing;
        uint32_t space[2], memory[2], done, handle;
        struct client c[2];
        char why[160] = "";
        int dmabuf = memfd_create("dmabuf", MFD_CLOEXEC);

        must(dmabuf >= 0 && ftruncate(dmabuf, MIB) == 0);
        for (unsigned i = 0; i < 2; i++) {
                client_start(&c[i], path);
                must(drm_file_is(path, driver, c[i].fd, why, sizeof(why)));
                must(!drm_file_is("/dev/null", driver, c[i].fd, why, sizeof(why)));
                must(!drm_file_is(path, "i915", c[i].fd, why, sizeof(why)) && strstr(why, driver));
                must(drm_file_is_of(c[i].pid, c[i].theirs, c[i].fd) == 1);
                must(d->space_new(c[i].fd, &space[i]) == 0);
                must(d->memory_new(c[i].fd, MIB, &memory[i]) == 0);
        }
        must(drm_file_is_of(c[0].pid, c[0].theirs, c[1].fd) == 0);
        must(space[0] == space[1] && memory[0] == memory[1]);
        for (unsigned i = 0; i < 512; i++)
                list[i] = mapping(memory[0], (16 + 2 * i) * MIB, MIB);
        must(drm_bind(d, c[0].fd, space[0], list, 512, &done) == 0 && done == 512);
        must(drm_file_import(c[0].fd, dmabuf, &handle) == 0);
        list[0] = mapping(handle, 8 * MIB, MIB);
        must(drm_bind(d, c[0].fd, space[0], list, 1, &done) == 0);
        /* The other client's page table is its own. */
        nothing = (struct drm_binding){ .what = DRM_BIND_UNMAP, .address = MIB, .size = 4096 * MIB };
        must(drm_bind(d, c[1].fd, space[1], &nothing, 1, &done) == 0);
        if (strcmp(driver, "nouveau") != 0) {
                must(shown(driver, c[0].fd, space[0], memory[0]) == (strcmp(driver, "xe") == 0 ? 513 : 512));
                must(shown(driver, c[1].fd, space[1], memory[1]) == 0);
        }
        for (unsigned i = 0; i < 2; i++)
                client_end(&c[i]);
        close(dmabuf);
        printf("%s: 512 bindings and an imported dma-buf by the first client's file, none by the second's\n", driver);
}

/* ---- the trap ---- */

/* The second client's unmap, as somebody would write it who trusts the library to keep files apart. */
static void unmap_by_library(int first, int second, uint64_t address) {
        struct amdgpu_bo_alloc_request want = { .alloc_size = MIB,
                                                .phys_alignment = 4096,
                                                .preferred_heap = AMDGPU_VRAM };
        amdgpu_device_handle a, b;
        amdgpu_bo_handle bo;
        uint32_t major, minor;

        must(amdgpu_device_initialize(first, &major, &minor, &a) == 0);
        must(amdgpu_device_initialize(second, &major, &minor, &b) == 0);
        must(amdgpu_bo_alloc(b, &want, &bo) == 0);
        must(amdgpu_bo_va_op_raw(b, bo, 0, MIB, address, 0, AMDGPU_VA_OP_CLEAR) == 0);
}

/* Whether the first client's mapping is there still. */
static bool two_on_amdgpu(const char *path, bool deduplicated) {
        struct drm_binding b = mapping(0, 16 * MIB, MIB), gone = { .what = DRM_BIND_UNMAP, .address = 16 * MIB };
        struct client c[2];
        uint32_t memory, done;
        bool there;

        client_start(&c[0], path);
        client_start(&c[1], path);
        must(drm_bind_amdgpu.memory_new(c[0].fd, MIB, &memory) == 0);
        b.handle = memory;
        must(drm_bind(&drm_bind_amdgpu, c[0].fd, 0, &b, 1, &done) == 0);
        gone.size = MIB;
        if (deduplicated)
                unmap_by_library(c[0].fd, c[1].fd, b.address);
        else
                must(drm_bind(&drm_bind_amdgpu, c[1].fd, 0, &gone, 1, &done) == 0);
        there = shown("amdgpu", c[0].fd, 0, memory) == 1; /* the first client's mapping */
        client_end(&c[0]);
        client_end(&c[1]);
        return there;
}

int main(int argc, char **argv) {
        setvbuf(stdout, NULL, _IOLBF, 0);
        if (argc > 1)
                return two_on_amdgpu("/dev/dri/renderD129", true) ? 0 : TOUCHED;
        enumerate();
        broker("/dev/dri/renderD128", "xe");
        broker("/dev/dri/renderD129", "amdgpu");
        broker("/dev/dri/renderD130", "nouveau");
        must(two_on_amdgpu("/dev/dri/renderD129", false));
        return 0;
}
