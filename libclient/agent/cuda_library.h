#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cuda_api.h"

/* What svmd-cuda does with libcuda.so.1 as a client does. */

struct cuda_function {
        const char *symbol;
        size_t offset; /* of the pointer to it, in what is loaded */
};

/* Opens it and fills in the functions; false, with a sentence: it cannot be. It is never closed again: CUDA has
 * threads. */
bool cuda_library_load(void *ret, const struct cuda_function *functions, size_t count, char *why, size_t why_size);
const char *cuda_error_name(const struct cuda_api *api, CUresult r);
/* "cuda:0", or "cuda:0000:3b:00.0". */
CUresult cuda_find_device(const struct cuda_api *api, const char *text, CUdevice *ret);
