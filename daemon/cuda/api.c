#include "cuda/api.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "libclient/agent/cuda_library.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cuda_calls calls;
static bool loaded;

static const struct cuda_function functions[] = {
#define X(member, symbol, parameters) { symbol, offsetof(struct cuda_calls, api.member) },
        CUDA_FUNCTIONS(X)
#undef X
#define X(member, symbol, parameters) { symbol, offsetof(struct cuda_calls, copy.member) },
                CUDA_COPIES(X)
#undef X
};

int cuda_result(const struct cuda_calls *c, CUresult r, const char *doing, char *why, size_t why_size) {
        if (r == CUDA_OK)
                return 0;
        snprintf(why, why_size, "%s: %s (%d)", doing, cuda_error_name(&c->api, r), r);
        return r == CUDA_OUT_OF_MEMORY ? -ENOMEM : -EIO;
}

const struct cuda_calls *cuda_calls(char *why, size_t why_size) {
        const struct cuda_calls *ret = NULL;

        pthread_mutex_lock(&lock);
        if (!loaded)
                loaded =
                        cuda_library_load(&calls, functions, sizeof(functions) / sizeof(functions[0]), why, why_size) &&
                        !cuda_result(&calls, calls.api.init(0), "CUDA does not start", why, why_size);
        if (loaded)
                ret = &calls;
        pthread_mutex_unlock(&lock);
        return ret;
}
