#include "cuda_library.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cuda_library_load(void *ret, const struct cuda_function *functions, size_t count, char *why, size_t why_size) {
        void *l = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

        if (!l) {
                snprintf(why, why_size, "libcuda.so.1, which comes with NVIDIA's driver, cannot be opened: %s",
                         dlerror());
                return false;
        }
        for (size_t i = 0; i < count; i++) {
                void *f = dlsym(l, functions[i].symbol);

                if (!f) {
                        snprintf(why, why_size, "libcuda.so.1 has no %s: NVIDIA's driver is too old",
                                 functions[i].symbol);
                        dlclose(l);
                        return false;
                }
                *(void **)((char *)ret + functions[i].offset) = f;
        }
        return true;
}

const char *cuda_error_name(const struct cuda_api *api, CUresult r) {
        const char *name = NULL;

        return api->error_name(r, &name) == CUDA_OK && name ? name : "an error that CUDA has no name for";
}

CUresult cuda_find_device(const struct cuda_api *api, const char *text, CUdevice *ret) {
        const char *which = strncmp(text, "cuda:", strlen("cuda:")) == 0 ? text + strlen("cuda:") : "";
        char *end;
        long number = strtol(which, &end, 10);

        if (!*which)
                return CUDA_INVALID_DEVICE;
        if (isdigit((unsigned char)*which) && !*end && number < 1 << 16)
                return api->device_get(ret, (int)number);
        return api->device_by_bus(ret, which);
}
