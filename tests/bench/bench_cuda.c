#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/cuda_api.h"
#include "bench.h"
#include "svmd.h"

/*
 * What it costs to ask svmd beside CUDA: 512 granules of 2 MiB made and mapped, each by one vector, with the access set
 * while they are mapped; and 256 MiB from where one process makes it to where another has it mapped. The limit is the
 * same calls of CUDA alone, with the descriptor sent from process to process.
 *
 * With the stand-in library the rows say so in their names, and CUDA's calls take the time that they took on an H200
 * (STANDIN_CUDA_TIMES).
 */
enum { CLIENT_CPU = 0, GRANULES = 512, ROUNDS = 21, HANDOVERS = 15 };
#define GRANULE (2ull << 20)
#define ALL     (GRANULES * GRANULE)
#define HANDED  (256ull << 20)
#define BARE    0x6000000000ull /* an address for those without svmd; any other will do */

#define CHECK(call) must((call) == 0, #call ": %s", svmd_error())
#define CUDA(call)  must((call) == CUDA_OK, #call " failed")

static const struct cuda_prop prop = { .type = CUDA_PINNED,
                                       .handle_types = CUDA_POSIX_FD,
                                       .location = { CUDA_DEVICE, 0 } };
static const struct cuda_access access_all = { { CUDA_DEVICE, 0 }, CUDA_READ_WRITE };

/* One process's: with svmd, and without. */
static struct {
        svmd_session *session;
        svmd_space space;
        svmd_node node;
        svmd_batch *batch;
        char *at;
        const struct cuda_api *api;
        CUdeviceptr bare;
} self;

static const char *name_of(const char *row, char name[64]) {
        void *l = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

        snprintf(name, 64, "%s%s", row, l && dlsym(l, "standin_cuda") ? "_standin" : "");
        return name;
}

static int is_cuda(const struct svmd_node_row *row, void *userdata) {
        if (row->kind == SVMD_NODE_CUDA)
                *(svmd_node *)userdata = row->id;
        return 0;
}

static void open_all(const char *runtime_dir) {
        struct svmd_connect_options o = { .size = sizeof(o) };
        CUcontext context;
        char path[4096];
        void *p;

        snprintf(path, sizeof(path), "%s/svmd.sock", runtime_dir);
        o.socket = path;
        CHECK(svmd_connect(&self.session, &o));
        CHECK(svmd_query_nodes(self.session, is_cuda, &self.node));
        CHECK(svmd_space_create(self.session, &self.space, self.node));
        CHECK(svmd_address_reserve(self.session, &p, ALL, GRANULE, NULL, NULL));
        CHECK(svmd_batch_new(self.session, &self.batch));
        self.at = p;
        must(cuda_api(&self.api) == 0, "%s", svmd_error());
        CUDA(self.api->primary_retain(&context, 0));
        CUDA(self.api->push(context));
        CUDA(self.api->reserve(&self.bare, ALL, 0, BARE, 0));
}

/* ---- 512 granules ---- */

static svmd_mem made[GRANULES];
static CUhandle handles[GRANULES];

static double create_ours(void) {
        static struct svmd_result results[GRANULES];
        uint64_t start = now_ns();

        for (int i = 0; i < GRANULES; i++)
                must(svmd_batch_mem_create(self.batch, GRANULE, self.node, 0) >= 0, "%s", svmd_error());
        CHECK(svmd_batch_submit(self.batch, SVMD_BEST_EFFORT, results));
        start = now_ns() - start;
        for (int i = 0; i < GRANULES; i++)
                made[i] = results[i].id;
        return (double)start;
}

static double map_ours(void) {
        uint64_t start = now_ns();

        for (int i = 0; i < GRANULES; i++)
                must(svmd_batch_map(self.batch, self.space, (uintptr_t)self.at + i * GRANULE, GRANULE, 0, made[i],
                                    SVMD_ACCESS_READ_WRITE, 0) >= 0,
                     "%s", svmd_error());
        CHECK(svmd_batch_submit(self.batch, SVMD_BEST_EFFORT, NULL));
        return (double)(now_ns() - start);
}

static void end_ours(void) {
        CHECK(svmd_mem_unmap(self.session, self.space, (uintptr_t)self.at, ALL));
        for (int i = 0; i < GRANULES; i++)
                must(svmd_batch_mem_release(self.batch, made[i]) >= 0, "%s", svmd_error());
        CHECK(svmd_batch_submit(self.batch, SVMD_BEST_EFFORT, NULL));
}

static double create_bare(void) {
        uint64_t start = now_ns();

        for (int i = 0; i < GRANULES; i++)
                CUDA(self.api->create(&handles[i], GRANULE, &prop, 0));
        return (double)(now_ns() - start);
}

static double map_bare(void) {
        uint64_t start = now_ns();

        for (int i = 0; i < GRANULES; i++)
                CUDA(self.api->map(self.bare + i * GRANULE, GRANULE, 0, handles[i], 0));
        CUDA(self.api->set_access(self.bare, ALL, &access_all, 1));
        return (double)(now_ns() - start);
}

static void end_bare(void) {
        CUDA(self.api->unmap(self.bare, ALL));
        for (int i = 0; i < GRANULES; i++)
                CUDA(self.api->release(handles[i]));
}

static void granules(void) {
        char created[64], mapped[64];
        struct row create = { .name = name_of("cuda_create", created), .unit = "ns" };
        struct row map = { .name = name_of("cuda_map", mapped), .unit = "ns" };

        for (int round = -1; round < ROUNDS; round++) { /* the first is not counted */
                double ours = create_ours(), mapping = map_ours(), bare;

                end_ours();
                bare = create_bare();
                if (round >= 0)
                        row_add(&create, ours, bare);
                bare = map_bare();
                if (round >= 0)
                        row_add(&map, mapping, bare);
                end_bare();
        }
        row_print(&create);
        row_print(&map);
}

/* ---- from process to process ---- */

static void send_fd(int socket, int fd) {
        char byte = 0, control[CMSG_SPACE(sizeof(fd))] = { 0 };
        struct iovec v = { &byte, 1 };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);

        if (fd >= 0) {
                h->cmsg_level = SOL_SOCKET;
                h->cmsg_type = SCM_RIGHTS;
                h->cmsg_len = CMSG_LEN(sizeof(fd));
                memcpy(CMSG_DATA(h), &fd, sizeof(fd));
        } else {
                m.msg_controllen = 0;
        }
        must(sendmsg(socket, &m, MSG_NOSIGNAL) == 1, "the other process does not listen");
}

/* False: the other end is closed. */
static bool receive_fd(int socket, int *ret) {
        char byte, control[CMSG_SPACE(sizeof(int))];
        struct iovec v = { &byte, 1 };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        struct cmsghdr *h;

        *ret = -1;
        if (recvmsg(socket, &m, MSG_CMSG_CLOEXEC) <= 0)
                return false;
        h = CMSG_FIRSTHDR(&m);
        if (h)
                memcpy(ret, CMSG_DATA(h), sizeof(*ret));
        return true;
}

static void take_ours(int socket) {
        svmd_mem mem;

        CHECK(svmd_mem_import(self.session, &mem, NULL, "handed", SVMD_ACCESS_READ_WRITE));
        CHECK(svmd_mem_map(self.session, self.space, (uintptr_t)self.at, HANDED, 0, mem, SVMD_ACCESS_READ_WRITE, 0));
        send_fd(socket, -1);
        CHECK(svmd_mem_unmap(self.session, self.space, (uintptr_t)self.at, HANDED));
        CHECK(svmd_mem_release(self.session, mem));
        send_fd(socket, -1);
}

static void take_bare(int socket, int fd) {
        CUhandle h;

        CUDA(self.api->import(&h, (void *)(uintptr_t)fd, CUDA_POSIX_FD));
        CUDA(self.api->map(self.bare, HANDED, 0, h, 0));
        CUDA(self.api->set_access(self.bare, HANDED, &access_all, 1));
        send_fd(socket, -1);
        CUDA(self.api->unmap(self.bare, HANDED));
        CUDA(self.api->release(h));
        close(fd);
        send_fd(socket, -1);
}

/* The other process: what comes without a descriptor is to be had from svmd. */
static void other(int socket, const char *runtime_dir) {
        int fd;

        open_all(runtime_dir);
        send_fd(socket, -1);
        while (receive_fd(socket, &fd)) {
                if (fd < 0)
                        take_ours(socket);
                else
                        take_bare(socket, fd);
        }
        _exit(0);
}

static double hand_ours(int socket) {
        uint64_t start = now_ns();
        svmd_mem mem;
        int none;

        CHECK(svmd_mem_create(self.session, &mem, HANDED, self.node, SVMD_MEM_SHAREABLE));
        CHECK(svmd_mem_export(self.session, mem, "handed", 0600));
        send_fd(socket, -1);
        must(receive_fd(socket, &none), "the other process has ended");
        start = now_ns() - start;
        must(receive_fd(socket, &none), "the other process has ended");
        CHECK(svmd_mem_release(self.session, mem));
        return (double)start;
}

static double hand_bare(int socket) {
        uint64_t start = now_ns();
        CUhandle h;
        int fd, none;

        CUDA(self.api->create(&h, HANDED, &prop, 0));
        CUDA(self.api->export(&fd, h, CUDA_POSIX_FD, 0));
        send_fd(socket, fd);
        must(receive_fd(socket, &none), "the other process has ended");
        start = now_ns() - start;
        must(receive_fd(socket, &none), "the other process has ended");
        close(fd);
        CUDA(self.api->release(h));
        return (double)start;
}

static void handover(int socket) {
        char name[64];
        struct row row = { .name = name_of("cuda_handover", name), .unit = "ns" };

        for (int round = -1; round < HANDOVERS; round++) {
                double ours = hand_ours(socket), bare = hand_bare(socket);

                if (round >= 0)
                        row_add(&row, ours, bare);
        }
        row_print(&row);
}

int main(int argc, char **argv) {
        int pair[2], none;
        pid_t pid;

        must(argc == 3, "usage: bench_cuda RUNTIME-DIR PID");
        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "no sockets");
        pin_to(CLIENT_CPU);
        pid = fork();
        if (pid == 0) {
                close(pair[0]);
                other(pair[1], argv[1]);
        }
        close(pair[1]);
        must(pid > 0 && receive_fd(pair[0], &none), "the other process has not come up");
        open_all(argv[1]);
        granules();
        handover(pair[0]);
        close(pair[0]);
        waitpid(pid, NULL, 0);
        svmd_batch_free(self.batch);
        svmd_disconnect(self.session);
        return 0;
}
