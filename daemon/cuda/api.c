#include "cuda/api.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cuda_calls calls;
static void *library;

static const struct {
        const char *symbol;
        size_t offset;
} functions[] = {
#define X(member, symbol, parameters) { symbol, offsetof(struct cuda_calls, member) },
        CUDA_FUNCTIONS(X)
#undef X
#define X(member, symbol, parameters) { symbol, offsetof(struct cuda_calls, copy.member) },
                CUDA_COPIES(X)
#undef X
};

int cuda_result(const struct cuda_calls *c, CUresult r, const char *doing, char *why, size_t why_size) {
        const char *name = NULL;

        if (r == CUDA_OK)
                return 0;
        if (c->error_name(r, &name) != CUDA_OK || !name)
                name = "an error that CUDA has no name for";
        snprintf(why, why_size, "%s: %s (%d)", doing, name, r);
        return r == CUDA_OUT_OF_MEMORY ? -ENOMEM : -EIO;
}

/* Never closed again: CUDA has threads. */
static void *load(char *why, size_t why_size) {
        void *l = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

        if (!l) {
                snprintf(why, why_size, "libcuda.so.1, which comes with NVIDIA's driver, cannot be opened: %s",
                         dlerror());
                return NULL;
        }
        for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
                void *f = dlsym(l, functions[i].symbol);

                if (!f) {
                        snprintf(why, why_size, "libcuda.so.1 has no %s: NVIDIA's driver is too old",
                                 functions[i].symbol);
                        dlclose(l);
                        return NULL;
                }
                *(void **)((char *)&calls + functions[i].offset) = f;
        }
        return l;
}

const struct cuda_calls *cuda_calls(char *why, size_t why_size) {
        const struct cuda_calls *ret = NULL;
        void *l;

        pthread_mutex_lock(&lock);
        l = library ? library : load(why, why_size);
        if (l && (library || !cuda_result(&calls, calls.init(0), "CUDA does not start", why, why_size))) {
                library = l;
                ret = &calls;
        }
        pthread_mutex_unlock(&lock);
        return ret;
}
