#include "kfd_api.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "error.h"
#include "svmd.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hsa_api api;
static pid_t started; /* the process that it was started in */

static const struct {
        const char *symbol;
        size_t offset;
} functions[] = {
#define X(member, symbol, parameters) { symbol, offsetof(struct hsa_api, member) },
        HSA_FUNCTIONS(X)
#undef X
};

int hsa_fail(int status, const char *doing, int *ret_errno) {
        switch (status) {
        case HSA_NO_MEMORY:
        case HSA_OUT_OF_RESOURCES:
                *ret_errno = ENOMEM;
                return fail(SVMD_E_NO_ROOM, "%s: the GPU or its driver has no memory left", doing);
        case HSA_INVALID_PARAMETER:
                *ret_errno = EINVAL;
                return fail(SVMD_E_INVALID, "%s: AMD's driver takes no such values there", doing);
        case HSA_NOT_SUPPORTED:
                *ret_errno = EOPNOTSUPP;
                return fail(SVMD_E_UNSUPPORTED, "%s: this GPU, kernel or libhsakmt cannot", doing);
        default:
                *ret_errno = errno ? errno : EIO;
                return fail_errno(*ret_errno, "%s: libhsakmt's status %d", doing, status);
        }
}

/* Never closed again: the library has a state of the process. */
static int load(void) {
        bool own = dlsym(RTLD_DEFAULT, functions[0].symbol) != NULL;
        void *l = own ? RTLD_DEFAULT : dlopen("libhsakmt.so.1", RTLD_NOW | RTLD_LOCAL);

        if (!own && !l)
                return fail(SVMD_E_UNSUPPORTED, "libhsakmt.so.1 (Debian's package libhsakmt1) cannot be opened: %s",
                            dlerror());
        for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
                void *f = dlsym(l, functions[i].symbol);

                if (!f)
                        return fail(SVMD_E_UNSUPPORTED, "libhsakmt.so.1 has no %s: it is too old", functions[i].symbol);
                *(void **)((char *)&api + functions[i].offset) = f;
        }
        return 0;
}

/* It takes the process's page tables of all GPUs. */
static int start(void) {
        uint64_t properties[16]; /* room for more than it has */
        int status = api.open(), error;

        if (status == HSA_OK || status == HSA_ALREADY_OPENED)
                status = api.system(properties);
        return status == HSA_OK ? 0 : hsa_fail(status, "AMD's driver does not start", &error);
}

int hsa_api(const struct hsa_api **ret) {
        int r = 0;

        pthread_mutex_lock(&lock);
        if (!api.open)
                r = load();
        if (!r && started != getpid())
                r = start();
        if (!r)
                started = getpid();
        pthread_mutex_unlock(&lock);
        if (!r)
                *ret = &api;
        return r;
}
