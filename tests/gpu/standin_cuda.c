/*
 * A stand-in for libcuda.so.1, for tests on machines without an NVIDIA device. It is found by LD_LIBRARY_PATH and
 * nowhere else. Its memory is memfds, so that bytes really cross processes by the descriptors that it exports, and its
 * rules are those that were seen on an H200:
 *
 *  - an address that is asked for is a hint: if it is taken, another one is given, and that is no error;
 *  - mappings lie in its own reservations, and only what one call mapped is unmapped by one;
 *  - without access nothing is read or written, not even by copies;
 *  - the CPU reaches none of the memory: only copies do.
 *
 * STANDIN_CUDA_BYTES: what a process can have of it (64 MiB). STANDIN_CUDA_MOVES: every hint is taken for taken.
 * STANDIN_CUDA_STOPS: the process stops where it makes memory, until it is told to go on.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef int CUresult;
typedef int CUdevice;
typedef void *CUcontext;
typedef uint64_t CUdeviceptr;
typedef uint64_t CUhandle;

enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, BAD_DEVICE = 101, NO_CONTEXT = 201 };
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
static int ready;
static uint64_t used;
static struct { uint64_t start, end; } reservation[RESERVATIONS];
static struct {
        int fd; /* 0: no handle */
        uint64_t size, own;
} handle[HANDLES];
static struct {
        uint64_t start, end;
        int flags;
        char *bytes; /* where this library itself sees it */
} mapping[MAPPINGS];
static __thread CUcontext contexts[CONTEXTS];
static __thread int depth;

static uint64_t limit(void) {
        const char *text = getenv("STANDIN_CUDA_BYTES");

        return text ? strtoull(text, NULL, 0) : 64ull << 20;
}

/* No real one has this. */
EXPORT int standin_cuda = 1;

EXPORT CUresult cuInit(unsigned flags) {
        ready = 1;
        return flags ? INVALID : OK;
}

EXPORT CUresult cuDeviceGet(CUdevice *ret, int ordinal) {
        if (!ready)
                return NOT_INITIALIZED;
        *ret = ordinal;
        return ordinal == 0 ? OK : BAD_DEVICE;
}

EXPORT CUresult cuDeviceGetByPCIBusId(CUdevice *ret, const char *bus) {
        *ret = 0;
        return strcmp(bus, "0000:01:00.0") == 0 ? OK : BAD_DEVICE;
}

EXPORT CUresult cuGetErrorName(CUresult r, const char **ret) {
        *ret = r == NO_MEMORY    ? "CUDA_ERROR_OUT_OF_MEMORY"
               : r == INVALID    ? "CUDA_ERROR_INVALID_VALUE"
               : r == BAD_DEVICE ? "CUDA_ERROR_INVALID_DEVICE"
                                 : "CUDA_ERROR_UNKNOWN";
        return OK;
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *ret, CUdevice device) {
        *ret = &ready;
        return ready ? OK : NOT_INITIALIZED;
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

EXPORT CUresult cuCtxSynchronize(void) {
        return depth ? OK : NO_CONTEXT;
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

static CUresult handle_add(int fd, uint64_t size, uint64_t own, CUhandle *ret) {
        for (int i = 0; i < HANDLES; i++) {
                if (handle[i].fd)
                        continue;
                handle[i].fd = fd;
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
        int fd;

        if (prop->type != 1 || prop->handle_types != 1 || prop->location_type != 1 || prop->location_id != 0 ||
            size == 0 || size % GRANULE || flags)
                return INVALID;
        if (getenv("STANDIN_CUDA_STOPS"))
                raise(SIGSTOP);
        pthread_mutex_lock(&lock);
        if (used + size <= limit()) {
                fd = memfd_create("standin-cuda", MFD_CLOEXEC);
                if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
                        r = handle_add(fd, size, size, ret);
                if (r == OK)
                        used += size;
        }
        pthread_mutex_unlock(&lock);
        return r;
}

EXPORT CUresult cuMemRelease(CUhandle h) {
        CUresult r = INVALID;

        pthread_mutex_lock(&lock);
        if (h && h <= HANDLES && handle[h - 1].fd) {
                close(handle[h - 1].fd);
                used -= handle[h - 1].own;
                handle[h - 1].fd = 0;
                r = OK;
        }
        pthread_mutex_unlock(&lock);
        return r;
}

EXPORT CUresult cuMemExportToShareableHandle(void *ret, CUhandle h, int type, unsigned long long flags) {
        int fd;

        if (type != 1 || !h || h > HANDLES || !handle[h - 1].fd)
                return INVALID;
        fd = fcntl(handle[h - 1].fd, F_DUPFD_CLOEXEC, 0);
        memcpy(ret, &fd, sizeof(fd));
        return fd < 0 ? NO_MEMORY : OK;
}

EXPORT CUresult cuMemImportFromShareableHandle(CUhandle *ret, void *shared, int type) {
        int fd = fcntl((int)(intptr_t)shared, F_DUPFD_CLOEXEC, 3);
        struct stat st;
        CUresult r;

        if (type != 1 || fd < 0 || fstat(fd, &st) < 0)
                return INVALID;
        pthread_mutex_lock(&lock);
        r = handle_add(fd, (uint64_t)st.st_size, 0, ret);
        pthread_mutex_unlock(&lock);
        return r;
}

static int is_reserved(uint64_t start, uint64_t end) {
        for (int i = 0; i < RESERVATIONS; i++)
                if (start >= reservation[i].start && end <= reservation[i].end)
                        return 1;
        return 0;
}

EXPORT CUresult cuMemMap(CUdeviceptr at, size_t size, size_t offset, CUhandle h, unsigned long long flags) {
        CUresult r = INVALID;
        int i = 0;

        pthread_mutex_lock(&lock);
        for (int k = 0; k < MAPPINGS; k++)
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
        }
        pthread_mutex_unlock(&lock);
        return r;
}

/* Whole mappings only. */
static int is_whole(uint64_t start, uint64_t end) {
        int any = 0;

        for (int i = 0; i < MAPPINGS; i++) {
                if (mapping[i].start >= end || mapping[i].end <= start)
                        continue;
                if (mapping[i].start < start || mapping[i].end > end)
                        return 0;
                any = 1;
        }
        return any;
}

EXPORT CUresult cuMemUnmap(CUdeviceptr at, size_t size) {
        CUresult r = INVALID;

        pthread_mutex_lock(&lock);
        if (is_whole(at, at + size)) {
                for (int i = 0; i < MAPPINGS; i++) {
                        if (mapping[i].start < at || mapping[i].end > at + size || !mapping[i].end)
                                continue;
                        munmap(mapping[i].bytes, mapping[i].end - mapping[i].start);
                        mapping[i].start = mapping[i].end = 0;
                }
                r = OK;
        }
        pthread_mutex_unlock(&lock);
        return r;
}

EXPORT CUresult cuMemSetAccess(CUdeviceptr at, size_t size, const struct access *access, size_t count) {
        uint64_t covered = 0;
        CUresult r = INVALID;

        pthread_mutex_lock(&lock);
        for (int i = 0; i < MAPPINGS; i++)
                if (mapping[i].end && mapping[i].start >= at && mapping[i].end <= at + size)
                        covered += mapping[i].end - mapping[i].start;
        if (count == 1 && covered == size && access->location_type == 1 && access->location_id == 0) {
                for (int i = 0; i < MAPPINGS; i++)
                        if (mapping[i].end && mapping[i].start >= at && mapping[i].end <= at + size)
                                mapping[i].flags = access->flags;
                r = OK;
        }
        pthread_mutex_unlock(&lock);
        return r;
}

/* ---- copies: the device's own ---- */

/* Of one mapping, with that access; anything else is the process's own memory, where it is registered. */
static char *bytes_at(uint64_t at, size_t size, int flags) {
        for (int i = 0; i < MAPPINGS; i++)
                if (mapping[i].end && at >= mapping[i].start && at + size <= mapping[i].end)
                        return (mapping[i].flags & flags) == flags ? mapping[i].bytes + (at - mapping[i].start) : NULL;
        return NULL;
}

EXPORT CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size) {
        char *bytes = bytes_at(from, size, 1);

        if (!bytes || !depth)
                return INVALID;
        memcpy(to, bytes, size);
        return OK;
}

EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size) {
        char *bytes = bytes_at(to, size, 3);

        if (!bytes || !depth)
                return INVALID;
        memcpy(bytes, from, size);
        return OK;
}

EXPORT CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t size) {
        char *bytes = bytes_at(to, size, 3);

        if (!bytes || !depth)
                return INVALID;
        memset(bytes, value, size);
        return OK;
}
