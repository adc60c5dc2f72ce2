/*
 * A stand-in for libcuda.so.1, for tests on machines without an NVIDIA device. It is found by LD_LIBRARY_PATH and
 * nowhere else. Its memory is memfds, so that bytes really cross processes by the descriptors that it exports (which
 * are no memfds: a driver's tell nothing), and its rules are those that were seen on an H200:
 *
 *  - an address that is asked for is a hint: if it is taken, another one is given, and that is no error;
 *  - mappings lie in its own reservations, and only what one call mapped is unmapped by one;
 *  - without access nothing is read or written, not even by copies;
 *  - the CPU reaches none of the memory: only copies do, and kernels (cuMemsetD8Async, the one there is);
 *  - what is mapped for the device has nothing to do with what the CPU has at those addresses;
 *  - a kernel that meets what is not mapped, or no longer, ends its context: every call fails from then on;
 *  - a process that was forked from one that has begun to use it cannot use it.
 *
 * STANDIN_CUDA_BYTES: what a process can have of it (64 MiB). STANDIN_CUDA_MOVES: every hint is taken for taken.
 * STANDIN_CUDA_STOPS: the process stops where it makes memory, until it is told to go on. STANDIN_CUDA_TIMES: calls
 * take the time that they took there, so that what is asked of svmd beside them can be compared with something.
 * STANDIN_CUDA_SLOW: kernels take so many milliseconds for a granule. STANDIN_CUDA_NO_MAP: no address will do to map.
 * STANDIN_CUDA_FILES: what is exported is the memfd, for tests that look at the bytes without CUDA.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef int CUresult;
typedef int CUdevice;
typedef void *CUcontext;
typedef uint64_t CUdeviceptr;
typedef uint64_t CUhandle;

enum {
        OK = 0,
        INVALID = 1,
        NO_MEMORY = 2,
        NOT_INITIALIZED = 3,
        NO_DEVICE = 100,
        BAD_DEVICE = 101,
        NO_CONTEXT = 201,
        ILLEGAL_ADDRESS = 700
};
enum { MAPPINGS = 4096, RESERVATIONS = 64, HANDLES = 4096, CONTEXTS = 16, GRANULE = 2 << 20 };

struct prop {
        int type, handle_types, location_type, location_id;
        void *win32;
        uint8_t flags[8];
};

struct access {
        int location_type, location_id, flags;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t ready; /* the process that has begun */
static uint64_t used;
static struct { uint64_t start, end; } reservation[RESERVATIONS];
static struct {
        int fd;    /* 0: no handle */
        int types; /* that it may be exported as */
        uint64_t size, own;
} handle[HANDLES];
static struct {
        uint64_t start, end;
        int flags;
        char *bytes; /* where this library itself sees it */
} mapping[MAPPINGS];
static int mapping_top, handle_free; /* all behind, and all before it, are free, and taken */
static __thread CUcontext contexts[CONTEXTS];
static __thread int depth;

static uint64_t limit(void) {
        const char *text = getenv("STANDIN_CUDA_BYTES");

        return text ? strtoull(text, NULL, 0) : 64ull << 20;
}

static double now_us(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Back when so many microseconds have passed since `start`. */
static void spend(double start, double us) {
        static int spends = -1;

        if (spends < 0)
                spends = getenv("STANDIN_CUDA_TIMES") != NULL;
        while (spends && now_us() < start + us)
                continue;
}

/* No real one has this. */
EXPORT int standin_cuda = 1;

EXPORT CUresult cuInit(unsigned flags) {
        if (ready && ready != getpid())
                return NOT_INITIALIZED;
        ready = getpid();
        return flags ? INVALID : OK;
}

EXPORT CUresult cuDeviceGet(CUdevice *ret, int ordinal) {
        if (ready != getpid())
                return NOT_INITIALIZED;
        *ret = ordinal;
        return ordinal == 0 ? OK : BAD_DEVICE;
}

EXPORT CUresult cuDeviceGetByPCIBusId(CUdevice *ret, const char *bus) {
        *ret = 0;
        return strcmp(bus, "0000:01:00.0") == 0 ? OK : BAD_DEVICE;
}

EXPORT CUresult cuGetErrorName(CUresult r, const char **ret) {
        *ret = r == NO_MEMORY         ? "CUDA_ERROR_OUT_OF_MEMORY"
               : r == INVALID         ? "CUDA_ERROR_INVALID_VALUE"
               : r == BAD_DEVICE      ? "CUDA_ERROR_INVALID_DEVICE"
               : r == NOT_INITIALIZED ? "CUDA_ERROR_NOT_INITIALIZED"
               : r == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                                      : "CUDA_ERROR_UNKNOWN";
        return OK;
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *ret, CUdevice device) {
        *ret = &ready;
        return ready == getpid() ? OK : NOT_INITIALIZED;
}

EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
        return OK;
}

EXPORT CUresult cuCtxPushCurrent_v2(CUcontext c) {
        if (depth == CONTEXTS)
                return INVALID;
        contexts[depth++] = c;
        return OK;
}

EXPORT CUresult cuCtxPopCurrent_v2(CUcontext *ret) {
        if (depth == 0)
                return NO_CONTEXT;
        *ret = contexts[--depth];
        return OK;
}

/* ---- kernels: one stream, a thread, a granule after the other ---- */

enum { KERNELS = 256 };

static struct kernel {
        uint64_t at, size;
        unsigned char value;
} kernels[KERNELS];
static unsigned kernels_first, kernels_count; /* that wait or run; with `lock` */
static int kernels_run, broken;
static pthread_cond_t kernel_came = PTHREAD_COND_INITIALIZER, kernel_done = PTHREAD_COND_INITIALIZER;

static char *bytes_at(uint64_t at, size_t size, int flags);

static void slow(void) {
        const char *ms = getenv("STANDIN_CUDA_SLOW");

        if (ms)
                usleep((unsigned)atoi(ms) * 1000);
}

/* With `lock`, which is given up between the pieces: half of a granule before the pause, and half behind it. */
static void run_kernel(struct kernel k) {
        enum { PIECE = GRANULE / 2 };

        for (uint64_t done = 0; done < k.size && !broken; done += PIECE) {
                size_t size = k.size - done < PIECE ? k.size - done : PIECE;
                char *bytes = bytes_at(k.at + done, size, 3);

                if (!bytes) {
                        broken = 1;
                        break;
                }
                memset(bytes, k.value, size);
                pthread_mutex_unlock(&lock);
                slow();
                pthread_mutex_lock(&lock);
        }
}

static void *run_kernels(void *unused) {
        pthread_mutex_lock(&lock);
        for (;;) {
                while (!kernels_count)
                        pthread_cond_wait(&kernel_came, &lock);
                run_kernel(kernels[kernels_first]);
                kernels_first = (kernels_first + 1) % KERNELS;
                kernels_count--;
                pthread_cond_broadcast(&kernel_done);
        }
        return NULL;
}

EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t size, void *stream) {
        pthread_t thread;
        CUresult r = OK;

        if (!depth || !size || stream)
                return INVALID;
        pthread_mutex_lock(&lock);
        if (!kernels_run && pthread_create(&thread, NULL, run_kernels, NULL) == 0) {
                pthread_detach(thread);
                kernels_run = 1;
        }
        while (kernels_count == KERNELS)
                pthread_cond_wait(&kernel_done, &lock);
        if (broken || !kernels_run) {
                r = ILLEGAL_ADDRESS;
        } else {
                kernels[(kernels_first + kernels_count++) % KERNELS] = (struct kernel){ to, size, value };
                pthread_cond_signal(&kernel_came);
        }
        pthread_mutex_unlock(&lock);
        return r;
}

EXPORT CUresult cuCtxSynchronize(void) {
        CUresult r;

        if (!depth)
                return NO_CONTEXT;
        pthread_mutex_lock(&lock);
        while (kernels_count)
                pthread_cond_wait(&kernel_done, &lock);
        r = broken ? ILLEGAL_ADDRESS : OK;
        pthread_mutex_unlock(&lock);
        return r;
}

/* ---- addresses ---- */

EXPORT CUresult cuMemAddressReserve(CUdeviceptr *ret, size_t size, size_t align, CUdeviceptr hint,
                                    unsigned long long flags) {
        int fixed = hint && !getenv("STANDIN_CUDA_MOVES") ? MAP_FIXED_NOREPLACE : 0, i = 0;
        void *p;

        while (i < RESERVATIONS && reservation[i].end)
                i++;
        if (i == RESERVATIONS || size % GRANULE)
                return INVALID;
        p = mmap(fixed ? (void *)hint : NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1,
                 0);
        if (p == MAP_FAILED)
                p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
                return NO_MEMORY;
        reservation[i].start = *ret = (uint64_t)p;
        reservation[i].end = *ret + size;
        return OK;
}

EXPORT CUresult cuMemAddressFree(CUdeviceptr address, size_t size) {
        for (int i = 0; i < MAPPINGS; i++)
                if (mapping[i].end > address && mapping[i].start < address + size)
                        return INVALID;
        for (int i = 0; i < RESERVATIONS; i++)
                if (reservation[i].start == address && reservation[i].end == address + size) {
                        munmap((void *)address, size);
                        reservation[i].start = reservation[i].end = 0;
                        return OK;
                }
        return INVALID;
}

/* ---- memory ---- */

static CUresult handle_add(int fd, uint64_t size, uint64_t own, int types, CUhandle *ret) {
        for (int i = handle_free; i < HANDLES; i++) {
                if (handle[i].fd)
                        continue;
                handle_free = i + 1;
                handle[i].fd = fd;
                handle[i].types = types;
                handle[i].size = size;
                handle[i].own = own;
                *ret = (CUhandle)i + 1;
                return OK;
        }
        close(fd);
        return NO_MEMORY;
}

EXPORT CUresult cuMemCreate(CUhandle *ret, size_t size, const struct prop *prop, unsigned long long flags) {
        CUresult r = NO_MEMORY;
        double start = now_us();
        int fd;

        if (prop->type != 1 || (prop->handle_types != 0 && prop->handle_types != 1) || prop->location_type != 1 ||
            prop->location_id != 0 || size == 0 || size % GRANULE || flags)
                return INVALID;
        if (getenv("STANDIN_CUDA_STOPS"))
                raise(SIGSTOP);
        pthread_mutex_lock(&lock);
        if (used + size <= limit()) {
                fd = memfd_create("standin-cuda", MFD_CLOEXEC);
                if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
                        r = handle_add(fd, size, size, prop->handle_types, ret);
                if (r == OK)
                        used += size;
        }
        pthread_mutex_unlock(&lock);
        spend(start, size > 64ull << 20 ? 23 : 8.3);
        return r;
}

EXPORT CUresult cuMemRelease(CUhandle h) {
        double start = now_us();
        CUresult r = INVALID;

        pthread_mutex_lock(&lock);
        if (h && h <= HANDLES && handle[h - 1].fd) {
                close(handle[h - 1].fd);
                used -= handle[h - 1].own;
                handle[h - 1].fd = 0;
                if (handle_free >= (int)h)
                        handle_free = (int)h - 1;
                r = OK;
        }
        pthread_mutex_unlock(&lock);
        spend(start, 10);
        return r;
}

/* As the driver's, a descriptor tells nobody but this library anything: no file, no size, nothing to map or to read. It
 * is a socket whose one message, which stays there, has the memory. */
static int put_into_socket(int fd) {
        char byte = 0, control[CMSG_SPACE(sizeof(fd))] = { 0 };
        struct iovec v = { &byte, 1 };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        int pair[2], sent;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -1;
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(h), &fd, sizeof(fd));
        sent = sendmsg(pair[0], &m, MSG_NOSIGNAL) == 1;
        close(pair[0]);
        if (!sent)
                close(pair[1]);
        return sent ? pair[1] : -1;
}

static int look_into_socket(int shared) {
        char byte, control[CMSG_SPACE(sizeof(int))];
        struct iovec v = { &byte, 1 };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        int fd;

        if (recvmsg(shared, &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&m))
                return -1;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
        return fd;
}

EXPORT CUresult cuMemExportToShareableHandle(void *ret, CUhandle h, int type, unsigned long long flags) {
        double start = now_us();
        int fd;

        if (type != 1 || !h || h > HANDLES || !handle[h - 1].fd || !(handle[h - 1].types & type))
                return INVALID;
        fd = getenv("STANDIN_CUDA_FILES") ? fcntl(handle[h - 1].fd, F_DUPFD_CLOEXEC, 0)
                                          : put_into_socket(handle[h - 1].fd);
        memcpy(ret, &fd, sizeof(fd));
        spend(start, 900);
        return fd < 0 ? NO_MEMORY : OK;
}

EXPORT CUresult cuMemImportFromShareableHandle(CUhandle *ret, void *shared, int type) {
        int fd = look_into_socket((int)(intptr_t)shared);
        double start = now_us();
        struct stat st;
        CUresult r;

        if (type != 1 || fd < 0 || fstat(fd, &st) < 0)
                return INVALID;
        pthread_mutex_lock(&lock);
        r = handle_add(fd, (uint64_t)st.st_size, 0, 1, ret);
        pthread_mutex_unlock(&lock);
        spend(start, 78);
        return r;
}

static int is_reserved(uint64_t start, uint64_t end) {
        for (int i = 0; i < RESERVATIONS; i++)
                if (start >= reservation[i].start && end <= reservation[i].end)
                        return 1;
        return 0;
}

EXPORT CUresult cuMemMap(CUdeviceptr at, size_t size, size_t offset, CUhandle h, unsigned long long flags) {
        double start = now_us();
        CUresult r = INVALID;
        int i = 0;

        pthread_mutex_lock(&lock);
        if (getenv("STANDIN_CUDA_NO_MAP"))
                i = MAPPINGS;
        for (int k = 0; k < mapping_top; k++)
                if (mapping[k].end > at && mapping[k].start < at + size)
                        i = MAPPINGS; /* taken */
        while (i < MAPPINGS && mapping[i].end)
                i++;
        if (i < MAPPINGS && h && h <= HANDLES && handle[h - 1].fd && size && size % GRANULE == 0 &&
            offset + size <= handle[h - 1].size && is_reserved(at, at + size)) {
                mapping[i].bytes =
                        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, handle[h - 1].fd, (off_t)offset);
                r = mapping[i].bytes == MAP_FAILED ? NO_MEMORY : OK;
                mapping[i].start = r == OK ? at : 0;
                mapping[i].end = r == OK ? at + size : 0;
                mapping[i].flags = 0;
                if (i >= mapping_top)
                        mapping_top = i + 1;
        }
        pthread_mutex_unlock(&lock);
        spend(start, 1.9);
        return r;
}

/* Whole mappings only. */
static int is_whole(uint64_t start, uint64_t end) {
        int any = 0;

        for (int i = 0; i < mapping_top; i++) {
                if (mapping[i].start >= end || mapping[i].end <= start)
                        continue;
                if (mapping[i].start < start || mapping[i].end > end)
                        return 0;
                any = 1;
        }
        return any;
}

EXPORT CUresult cuMemUnmap(CUdeviceptr at, size_t size) {
        double start = now_us();
        CUresult r = INVALID;
        int count = 0;

        pthread_mutex_lock(&lock);
        if (is_whole(at, at + size)) {
                for (int i = 0; i < mapping_top; i++) {
                        if (mapping[i].start < at || mapping[i].end > at + size || !mapping[i].end)
                                continue;
                        munmap(mapping[i].bytes, mapping[i].end - mapping[i].start);
                        mapping[i].start = mapping[i].end = 0;
                        count++;
                }
                while (mapping_top > 0 && !mapping[mapping_top - 1].end)
                        mapping_top--;
                r = OK;
        }
        pthread_mutex_unlock(&lock);
        spend(start, 18.6 * count);
        return r;
}

EXPORT CUresult cuMemSetAccess(CUdeviceptr at, size_t size, const struct access *access, size_t count) {
        uint64_t covered = 0;
        int shown = 0;
        double start = now_us();
        CUresult r = INVALID;

        pthread_mutex_lock(&lock);
        for (int i = 0; i < mapping_top; i++)
                if (mapping[i].end && mapping[i].start >= at && mapping[i].end <= at + size)
                        covered += mapping[i].end - mapping[i].start, shown++;
        if (count == 1 && covered == size && access->location_type == 1 && access->location_id == 0) {
                for (int i = 0; i < mapping_top; i++)
                        if (mapping[i].end && mapping[i].start >= at && mapping[i].end <= at + size)
                                mapping[i].flags = access->flags;
                r = OK;
        }
        pthread_mutex_unlock(&lock);
        spend(start, shown == 1 ? 21 : 34.8 * shown);
        return r;
}

/* ---- host memory ---- */

enum { HOSTS = 64, ALREADY_REGISTERED = 712, NOT_REGISTERED = 713 };

static struct { uint64_t start, end; } host[HOSTS];

/* The kernel says whether it could be pinned to be written. */
static int is_writable(uint64_t at, size_t size) {
        char byte;
        int fd[2], ok = pipe(fd) == 0;

        for (uint64_t p = at; ok && p < at + size; p += 4096)
                ok = write(fd[1], (void *)p, 1) == 1 && read(fd[0], &byte, 1) == 1;
        close(fd[0]);
        close(fd[1]);
        return ok;
}

EXPORT CUresult cuMemHostRegister_v2(void *p, size_t size, unsigned flags) {
        uint64_t at = (uint64_t)p;
        CUresult r = OK;
        int free = -1;

        if (!depth || !size || flags != 3 || !is_writable(at, size))
                return INVALID;
        pthread_mutex_lock(&lock);
        for (int i = 0; i < HOSTS; i++)
                if (host[i].start < at + size && at < host[i].end)
                        r = ALREADY_REGISTERED;
                else if (!host[i].end)
                        free = i;
        if (r == OK && free < 0)
                r = NO_MEMORY;
        if (r == OK) {
                host[free].start = at;
                host[free].end = at + size;
        }
        pthread_mutex_unlock(&lock);
        return r;
}

EXPORT CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *ret, void *p, unsigned flags) {
        *ret = (CUdeviceptr)p + (getenv("STANDIN_CUDA_MOVES") ? 1ull << 40 : 0);
        return flags ? INVALID : OK;
}

EXPORT CUresult cuMemHostUnregister(void *p) {
        CUresult r = NOT_REGISTERED;

        pthread_mutex_lock(&lock);
        for (int i = 0; i < HOSTS; i++)
                if (host[i].end && host[i].start == (uint64_t)p) {
                        host[i].start = host[i].end = 0;
                        r = OK;
                }
        pthread_mutex_unlock(&lock);
        return r;
}

/* ---- memory that it manages ---- */

enum { CPU = -1 };

/* One, and what was said of it. */
static struct {
        uint64_t start, end;
        int mostly, preferred, accessed, place;
} managed = { .preferred = -2, .place = CPU };

EXPORT CUresult cuMemAllocManaged(CUdeviceptr *ret, size_t size, unsigned flags) {
        void *p =
                managed.end ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED || !depth || flags != 1)
                return p == MAP_FAILED ? NO_MEMORY : INVALID;
        managed.start = *ret = (uint64_t)p;
        managed.end = managed.start + size;
        return OK;
}

static int is_managed(uint64_t at, size_t size) {
        return managed.end && at >= managed.start && at + size <= managed.end;
}

EXPORT CUresult cuPointerGetAttribute(void *ret, int attribute, CUdeviceptr at) {
        unsigned is = (unsigned)is_managed(at, 1);

        if (attribute != 8 || !is)
                return INVALID;
        memcpy(ret, &is, sizeof(is));
        return OK;
}

EXPORT CUresult cuMemAdvise(CUdeviceptr at, size_t size, int advice, CUdevice device) {
        if (!is_managed(at, size) || !size || device < CPU || device > 0)
                return INVALID;
        switch (advice) {
        case 1:
        case 2: managed.mostly = advice == 1; return OK;
        case 3:
        case 4: managed.preferred = advice == 3 ? device : -2; return OK;
        case 5:
        case 6: managed.accessed = advice == 5; return OK;
        default: return INVALID;
        }
}

EXPORT CUresult cuMemPrefetchAsync(CUdeviceptr at, size_t size, CUdevice device, void *stream) {
        if (!is_managed(at, size) || !depth || device < CPU || device > 0)
                return INVALID;
        managed.place = device;
        return OK;
}

/* What it was told last: cuMemRangeGetAttribute() with its numbers. */
EXPORT CUresult cuMemRangeGetAttribute(void *ret, size_t ret_size, int attribute, CUdeviceptr at, size_t size) {
        int value = attribute == 1   ? managed.mostly
                    : attribute == 2 ? managed.preferred
                    : attribute == 3 ? (managed.accessed ? 0 : -2)
                                     : managed.place;

        if (!is_managed(at, size) || ret_size != sizeof(value) || attribute < 1 || attribute > 4)
                return INVALID;
        memcpy(ret, &value, sizeof(value));
        return OK;
}

/* ---- copies: the device's own ---- */

/* Of one mapping, with that access; anything else is the process's own memory, where it is registered. */
static char *bytes_at(uint64_t at, size_t size, int flags) {
        for (int i = 0; i < mapping_top; i++)
                if (mapping[i].end && at >= mapping[i].start && at + size <= mapping[i].end)
                        return (mapping[i].flags & flags) == flags ? mapping[i].bytes + (at - mapping[i].start) : NULL;
        for (int i = 0; i < HOSTS; i++)
                if (host[i].end && at >= host[i].start && at + size <= host[i].end)
                        return (char *)at;
        return NULL;
}

/* With `lock`, when the kernels before it have ended: the bytes that a copy goes to, or comes from. */
static char *copied(uint64_t at, size_t size, int flags) {
        while (kernels_count)
                pthread_cond_wait(&kernel_done, &lock);
        return depth && !broken ? bytes_at(at, size, flags) : NULL;
}

EXPORT CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size) {
        char *bytes;

        pthread_mutex_lock(&lock);
        bytes = copied(from, size, 1);
        if (bytes)
                memcpy(to, bytes, size);
        pthread_mutex_unlock(&lock);
        return bytes ? OK : INVALID;
}

EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size) {
        char *bytes;

        pthread_mutex_lock(&lock);
        bytes = copied(to, size, 3);
        if (bytes)
                memcpy(bytes, from, size);
        pthread_mutex_unlock(&lock);
        return bytes ? OK : INVALID;
}

EXPORT CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t size) {
        char *bytes;

        pthread_mutex_lock(&lock);
        bytes = copied(to, size, 3);
        if (bytes)
                memset(bytes, value, size);
        pthread_mutex_unlock(&lock);
        return bytes ? OK : INVALID;
}
