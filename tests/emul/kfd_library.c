/*
 * Debian's libhsakmt, unmodified, on an emulated machine. Without arguments: attributes of ranges (all types and
 * flags), XNACK, buffers at the library's address and at a given one, what sysfs counts; and a descriptor of /dev/kfd
 * that was inherited or handed over is refused. With the socket of a svmd: a client of it that takes device memory from
 * the driver itself, until its input ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <hsakmt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <svmd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/uapi/kfd.h"

enum { PAGE = 4096, SIZE = 4 << 20, FLAGS_ALL = 0xff };
#define GIVEN ((void *)UINT64_C(0x290000000000))

static HSAuint32 gpus[64];
static unsigned gpus_count;

#define must(x)                                                                                                        \
        do {                                                                                                           \
                if (!(x)) {                                                                                            \
                        fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #x, strerror(errno));                  \
                        exit(1);                                                                                       \
                }                                                                                                      \
        } while (0)
#define ok(x) must((x) == HSAKMT_STATUS_SUCCESS)

static void find_gpus(void) {
        HsaSystemProperties system;

        ok(hsaKmtOpenKFD());
        ok(hsaKmtAcquireSystemProperties(&system));
        for (HSAuint32 i = 0; i < system.NumNodes; i++) {
                HsaNodeProperties p;

                ok(hsaKmtGetNodeProperties(i, &p));
                if (p.NumFComputeCores)
                        gpus[gpus_count++] = i;
        }
        must(gpus_count >= 2);
}

static uint32_t id_of(HSAuint32 node) {
        char path[96];
        uint32_t id;
        FILE *f;

        snprintf(path, sizeof(path), "/sys/class/kfd/kfd/topology/nodes/%u/gpu_id", node);
        f = fopen(path, "re");
        must(f && fscanf(f, "%" SCNu32, &id) == 1);
        fclose(f);
        return id;
}

static uint64_t counted(const char *name) {
        char path[128];
        uint64_t n;
        FILE *f;

        snprintf(path, sizeof(path), "/sys/class/kfd/kfd/proc/%d/%s", getpid(), name);
        f = fopen(path, "re");
        must(f && fscanf(f, "%" SCNu64, &n) == 1);
        fclose(f);
        return n;
}

/* ---- ranges ---- */

static HSAKMT_STATUS set(void *at, HSAuint32 type, HSAuint32 value) {
        HSA_SVM_ATTRIBUTE a = { type, value };

        return hsaKmtSVMSetAttr(at, SIZE, 1, &a);
}

static HSA_SVM_ATTRIBUTE get(void *at, HSAuint32 type, HSAuint32 value) {
        HSA_SVM_ATTRIBUTE a = { type, value };

        ok(hsaKmtSVMGetAttr(at, SIZE, 1, &a));
        return a;
}

static void check_ranges(void) {
        void *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        HSAuint32 gpu = gpus[0], other = gpus[1];
        char name[64];

        must(at != MAP_FAILED);
        ok(set(at, HSA_SVM_ATTR_PREFERRED_LOC, gpu));
        must(get(at, HSA_SVM_ATTR_PREFERRED_LOC, 0).value == gpu);
        for (HSAuint32 type = HSA_SVM_ATTR_ACCESS; type <= HSA_SVM_ATTR_NO_ACCESS; type++) {
                ok(set(at, type, other));
                must(get(at, HSA_SVM_ATTR_ACCESS, other).type == type);
        }
        for (HSAuint32 flag = 1; flag < FLAGS_ALL; flag <<= 1) {
                ok(set(at, HSA_SVM_ATTR_SET_FLAGS, flag));
                must(get(at, HSA_SVM_ATTR_SET_FLAGS, 0).value & flag);
                ok(set(at, HSA_SVM_ATTR_CLR_FLAGS, flag));
                must(!(get(at, HSA_SVM_ATTR_SET_FLAGS, 0).value & flag));
                must(get(at, HSA_SVM_ATTR_CLR_FLAGS, 0).value & flag);
        }
        ok(set(at, HSA_SVM_ATTR_GRANULARITY, 4));
        must(get(at, HSA_SVM_ATTR_GRANULARITY, 0).value == 4);
        ok(set(at, HSA_SVM_ATTR_PREFETCH_LOC, gpu));
        must(get(at, HSA_SVM_ATTR_PREFETCH_LOC, 0).value == gpu);
        snprintf(name, sizeof(name), "counters_%u/page_in", id_of(gpu));
        must(counted(name) == SIZE / PAGE);
        must(munmap((char *)at + SIZE - PAGE, PAGE) == 0);
        must(set(at, HSA_SVM_ATTR_GRANULARITY, 4) != HSAKMT_STATUS_SUCCESS);
}

static void check_xnack(void) {
        HSAint32 mode = -1;

        ok(hsaKmtGetXNACKMode(&mode));
        must(mode == 0);
        ok(hsaKmtSetXNACKMode(1));
        ok(hsaKmtGetXNACKMode(&mode));
        must(mode == 1);
        ok(hsaKmtSetXNACKMode(0));
}

/* ---- buffers ---- */

static void *take(HSAuint32 node) {
        HsaMemFlags flags = { .ui32 = { .NonPaged = 1, .HostAccess = 1, .CoarseGrain = 1 } };
        void *at = NULL;

        ok(hsaKmtAllocMemory(node, SIZE, flags, &at));
        return at;
}

static void check_library_buffers(void) {
        HSAuint32 both[] = { gpus[0], gpus[1] };
        HsaMemMapFlags flags = { 0 };
        HSAuint64 where;
        char name[64];
        void *at;

        snprintf(name, sizeof(name), "vram_%u", id_of(gpus[0]));
        must(counted(name) == 0);
        at = take(gpus[0]);
        must(counted(name) == SIZE);
        ok(hsaKmtMapMemoryToGPUNodes(at, SIZE, &where, flags, 2, both));
        memset(at, 0x5a, SIZE);
        must(set(at, HSA_SVM_ATTR_GRANULARITY, 4) != HSAKMT_STATUS_SUCCESS);
        ok(hsaKmtUnmapMemoryToGPU(at));
        ok(hsaKmtFreeMemory(at, SIZE));
        must(counted(name) == 0);
}

/* The library has acquired the VM; a second file of the process is the same to the driver. */
static void check_given_address(int fd) {
        uint32_t gpu = id_of(gpus[0]);
        struct kfd_alloc_memory_args a = {
                .address = (uintptr_t)GIVEN, .size = SIZE, .gpu_id = gpu, .flags = KFD_ALLOC_VRAM | KFD_ALLOC_WRITABLE
        };
        struct kfd_map_memory_args m = { .gpu_ids = (uintptr_t)&gpu, .count = 1 };
        struct kfd_free_memory_args f;

        must(mmap(GIVEN, SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == GIVEN);
        must(ioctl(fd, KFD_ALLOC_MEMORY, &a) == 0);
        m.handle = a.handle;
        must(ioctl(fd, KFD_MAP_MEMORY, &m) == 0 && m.done == 1);
        must(set(GIVEN, HSA_SVM_ATTR_GRANULARITY, 4) != HSAKMT_STATUS_SUCCESS);
        f.handle = a.handle;
        must(ioctl(fd, KFD_FREE_MEMORY, &f) < 0 && errno == EBUSY);
        m.done = 0;
        must(ioctl(fd, KFD_UNMAP_MEMORY, &m) == 0 && ioctl(fd, KFD_FREE_MEMORY, &f) == 0);
        ok(set(GIVEN, HSA_SVM_ATTR_GRANULARITY, 4));
        must(ioctl(fd, KFD_ALLOC_MEMORY, &a) < 0 && errno == EADDRINUSE);
}

/* ---- whose descriptor it is ---- */

static void must_refuse(int fd) {
        struct kfd_get_version_args v;

        _exit(!(ioctl(fd, KFD_GET_VERSION, &v) < 0 && errno == EBADF));
}

static void await(pid_t child) {
        int status;

        must(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int receive(int socket) {
        union {
                struct cmsghdr head;
                char room[CMSG_SPACE(sizeof(int))];
        } control;
        char byte;
        struct iovec data = { &byte, 1 };
        struct msghdr m = {
                .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        int fd;

        must(recvmsg(socket, &m, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&m));
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
        return fd;
}

static void hand_over(int socket, int fd) {
        union {
                struct cmsghdr head;
                char room[CMSG_SPACE(sizeof(int))];
        } control = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
        struct iovec data = { (char *)"", 1 };
        struct msghdr m = {
                .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };

        memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
        must(sendmsg(socket, &m, 0) == 1);
}

/* `stranger` was there before the file was opened. */
static pid_t start_stranger(int *ret_socket) {
        int pair[2];
        pid_t child;

        must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        child = fork();
        must(child >= 0);
        if (child == 0)
                must_refuse(receive(pair[1]));
        *ret_socket = pair[0];
        return child;
}

static void check_descriptors(pid_t stranger, int socket, int fd) {
        struct kfd_get_version_args v;
        pid_t child;

        must(ioctl(fd, KFD_GET_VERSION, &v) == 0 && v.major == 1 && v.minor == 11);
        hand_over(socket, fd);
        await(stranger);
        child = fork();
        must(child >= 0);
        if (child == 0)
                must_refuse(fd);
        await(child);
}

/* ---- both uses ---- */

/* It says what it took, and holds it. */
static void hold(const char *socket) {
        struct svmd_connect_options options = { .size = sizeof(options), .socket = socket };
        svmd_session *s;

        must(svmd_connect(&s, &options) == SVMD_OK);
        take(gpus[0]);
        printf("%d %u %d\n", getpid(), id_of(gpus[0]), SIZE);
        fflush(stdout);
        while (getchar() != EOF)
                ;
        svmd_disconnect(s);
}

int main(int argc, char **argv) {
        pid_t stranger;
        int socket, fd;

        stranger = argc > 1 ? 0 : start_stranger(&socket);
        find_gpus();
        if (argc > 1) {
                hold(argv[1]);
                return 0;
        }
        fd = open("/dev/kfd", O_RDWR | O_CLOEXEC);
        must(fd >= 0);
        check_descriptors(stranger, socket, fd);
        check_ranges();
        check_xnack();
        check_library_buffers();
        check_given_address(fd);
        printf("libhsakmt on %u GPUs: as docs/devices.md has it\n", gpus_count);
        return 0;
}
