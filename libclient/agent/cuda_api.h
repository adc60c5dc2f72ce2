#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * What this library uses of libcuda.so.1: names, numbers and layouts of the driver's interface, which is stable and
 * opened at run time, in programs that use a CUDA node only.
 */
typedef int CUresult;
typedef int CUdevice;
typedef struct CUctx_st *CUcontext;
typedef uint64_t CUdeviceptr;
typedef uint64_t CUhandle; /* of memory that has no address yet */

enum {
        CUDA_OK = 0,
        CUDA_INVALID_VALUE = 1,
        CUDA_OUT_OF_MEMORY = 2,
        CUDA_NOT_INITIALIZED = 3,
        CUDA_DEINITIALIZED = 4,
        CUDA_STUB_LIBRARY = 34,
        CUDA_DEVICE_UNAVAILABLE = 46,
        CUDA_NO_DEVICE = 100,
        CUDA_INVALID_DEVICE = 101,
        CUDA_INVALID_CONTEXT = 201,
        CUDA_ECC_UNCORRECTABLE = 214,
        CUDA_OPERATING_SYSTEM = 304,
        CUDA_ILLEGAL_ADDRESS = 700,
        CUDA_ALREADY_REGISTERED = 712,
        CUDA_NOT_REGISTERED = 713,
        CUDA_LAUNCH_FAILED = 719,
        CUDA_NOT_PERMITTED = 800,
        CUDA_NOT_SUPPORTED = 801,
        CUDA_SYSTEM_NOT_READY = 802,
        CUDA_DRIVER_MISMATCH = 803,
        CUDA_PINNED = 1,   /* kind of memory */
        CUDA_POSIX_FD = 1, /* kind of handle */
        CUDA_DEVICE = 1,   /* kind of location */
        CUDA_READ = 1,
        CUDA_READ_WRITE = 3,
        CUDA_REGISTER_PORTABLE = 1,
        CUDA_REGISTER_MAPPED = 2,
};

struct cuda_location {
        int type, id;
};

struct cuda_prop {
        int type, handle_types;
        struct cuda_location location;
        void *win32;
        uint8_t flags[8];
};

struct cuda_access {
        struct cuda_location location;
        int flags;
};

_Static_assert(sizeof(struct cuda_prop) == 32 && offsetof(struct cuda_prop, location) == 8 &&
                       offsetof(struct cuda_prop, win32) == 16 && offsetof(struct cuda_prop, flags) == 24,
               "CUmemAllocationProp");
_Static_assert(sizeof(struct cuda_access) == 12 && offsetof(struct cuda_access, flags) == 8, "CUmemAccessDesc");
_Static_assert(sizeof(CUdeviceptr) == sizeof(void *), "addresses of the CPU are those of the device");

/* X(member, symbol, parameters) */
#define CUDA_FUNCTIONS(X)                                                                                              \
        X(init, "cuInit", (unsigned flags))                                                                            \
        X(device_get, "cuDeviceGet", (CUdevice * ret, int ordinal))                                                    \
        X(device_by_bus, "cuDeviceGetByPCIBusId", (CUdevice * ret, const char *bus))                                   \
        X(error_name, "cuGetErrorName", (CUresult r, const char **ret))                                                \
        X(primary_retain, "cuDevicePrimaryCtxRetain", (CUcontext * ret, CUdevice device))                              \
        X(primary_release, "cuDevicePrimaryCtxRelease_v2", (CUdevice device))                                          \
        X(push, "cuCtxPushCurrent_v2", (CUcontext context))                                                            \
        X(pop, "cuCtxPopCurrent_v2", (CUcontext * ret))                                                                \
        X(reserve, "cuMemAddressReserve",                                                                              \
          (CUdeviceptr * ret, size_t size, size_t align, CUdeviceptr address, unsigned long long flags))               \
        X(free, "cuMemAddressFree", (CUdeviceptr address, size_t size))                                                \
        X(create, "cuMemCreate",                                                                                       \
          (CUhandle * ret, size_t size, const struct cuda_prop *prop, unsigned long long flags))                       \
        X(release, "cuMemRelease", (CUhandle handle))                                                                  \
        X(map, "cuMemMap",                                                                                             \
          (CUdeviceptr address, size_t size, size_t offset, CUhandle handle, unsigned long long flags))                \
        X(unmap, "cuMemUnmap", (CUdeviceptr address, size_t size))                                                     \
        X(set_access, "cuMemSetAccess",                                                                                \
          (CUdeviceptr address, size_t size, const struct cuda_access *access, size_t count))                          \
        X(export, "cuMemExportToShareableHandle", (void *ret, CUhandle handle, int type, unsigned long long flags))    \
        X(import, "cuMemImportFromShareableHandle", (CUhandle * ret, void *shared, int type))                          \
        X(host_register, "cuMemHostRegister_v2", (void *address, size_t size, unsigned flags))                         \
        X(host_pointer, "cuMemHostGetDevicePointer_v2", (CUdeviceptr * ret, void *address, unsigned flags))            \
        X(host_unregister, "cuMemHostUnregister", (void *address))                                                     \
        X(attribute, "cuPointerGetAttribute", (void *ret, int attribute, CUdeviceptr address))                         \
        X(advise, "cuMemAdvise", (CUdeviceptr address, size_t size, int advice, CUdevice device))                      \
        X(prefetch, "cuMemPrefetchAsync", (CUdeviceptr address, size_t size, CUdevice device, void *stream))           \
        X(synchronize, "cuCtxSynchronize", (void))

struct cuda_api {
#define X(member, symbol, parameters) CUresult(*member) parameters;
        CUDA_FUNCTIONS(X)
#undef X
};

/* The library of this process, opened and initialised with the first call: a code. The api lives as long as the
 * process. */
int cuda_api(const struct cuda_api **ret);
/* The sentence, with what to do about it where that is known, and the code of a call of it that failed. */
int cuda_fail(const struct cuda_api *api, CUresult r, const char *doing);
