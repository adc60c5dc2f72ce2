#include "cuda_api.h"

#include <dlfcn.h>
#include <pthread.h>

#include "error.h"
#include "svmd.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cuda_api api;
static void *library;

static const struct {
        const char *symbol;
        size_t offset;
} functions[] = {
#define X(member, symbol, parameters) { symbol, offsetof(struct cuda_api, member) },
        CUDA_FUNCTIONS(X)
#undef X
};

int cuda_fail(const struct cuda_api *a, CUresult r, const char *doing) {
        const char *name = NULL;

        if (a->error_name(r, &name) != CUDA_OK || !name)
                name = "an error that CUDA has no name for";
        return fail(r == CUDA_OUT_OF_MEMORY ? SVMD_E_NO_ROOM : SVMD_E_SYSTEM, "%s: %s (%d)", doing, name, r);
}

/* Never closed again: CUDA has threads. */
static int load(void) {
        void *l = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
        CUresult r;

        if (!l)
                return fail(SVMD_E_UNSUPPORTED, "libcuda.so.1, which comes with NVIDIA's driver, cannot be opened: %s",
                            dlerror());
        for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
                void *f = dlsym(l, functions[i].symbol);

                if (!f) {
                        dlclose(l);
                        return fail(SVMD_E_UNSUPPORTED, "libcuda.so.1 has no %s: NVIDIA's driver is too old",
                                    functions[i].symbol);
                }
                *(void **)((char *)&api + functions[i].offset) = f;
        }
        r = api.init(0);
        if (r != CUDA_OK)
                return cuda_fail(&api, r, "CUDA does not start");
        library = l;
        return 0;
}

int cuda_api(const struct cuda_api **ret) {
        int r;

        pthread_mutex_lock(&lock);
        r = library ? 0 : load();
        pthread_mutex_unlock(&lock);
        if (!r)
                *ret = &api;
        return r;
}
