#pragma once

#include <stddef.h>

#include "libclient/agent/cuda_api.h"

/* What svmd-cuda uses of libcuda.so.1 beside what libsvmd does: the copies. */
#define CUDA_COPIES(X)                                                                                                 \
        X(read, "cuMemcpyDtoH_v2", (void *to, CUdeviceptr from, size_t size))                                          \
        X(write, "cuMemcpyHtoD_v2", (CUdeviceptr to, const void *from, size_t size))                                   \
        X(set, "cuMemsetD8_v2", (CUdeviceptr to, unsigned char value, size_t size))

struct cuda_calls {
        struct cuda_api api;
        struct {
#define X(member, symbol, parameters) CUresult(*member) parameters;
                CUDA_COPIES(X)
#undef X
        } copy;
};

/* The library, opened and initialised with the first call. NULL, with a sentence: it cannot be. */
const struct cuda_calls *cuda_calls(char *why, size_t why_size);
/* -ENOMEM: the device is full; -EIO: anything else; with a sentence. 0 of what went well. */
int cuda_result(const struct cuda_calls *c, CUresult r, const char *doing, char *why, size_t why_size);
