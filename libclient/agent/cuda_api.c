#include "cuda_api.h"

#include <pthread.h>

#include "cuda_library.h"
#include "error.h"
#include "svmd.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cuda_api api;
static bool loaded;

static const struct cuda_function functions[] = {
#define X(member, symbol, parameters) { symbol, offsetof(struct cuda_api, member) },
        CUDA_FUNCTIONS(X)
#undef X
};

/* What a person can do about it. */
static const struct {
        CUresult r;
        int code;
        const char *next;
} known[] = {
        { CUDA_OUT_OF_MEMORY, SVMD_E_NO_ROOM,
          "the device has less than svmd gives out of it: others use it without svmd (nvidia-smi shows them), or the "
          "node's size in svmd.conf is too large" },
        { CUDA_NOT_INITIALIZED, SVMD_E_SYSTEM,
          "this process was forked from one that used CUDA: start it anew by exec" },
        { CUDA_DEINITIALIZED, SVMD_E_SYSTEM, "this process is ending" },
        { CUDA_STUB_LIBRARY, SVMD_E_UNSUPPORTED,
          "the libcuda.so.1 that was found is the toolkit's, to link with: take its folder (.../stubs) out of "
          "LD_LIBRARY_PATH" },
        { CUDA_DEVICE_UNAVAILABLE, SVMD_E_BUSY,
          "another process has the device for itself: nvidia-smi -c DEFAULT lets several use it" },
        { CUDA_NO_DEVICE, SVMD_E_NO_NODE,
          "look whether CUDA_VISIBLE_DEVICES hides it, and whether a container was given /dev/nvidia*" },
        { CUDA_INVALID_DEVICE, SVMD_E_NO_NODE,
          "the node's device in svmd.conf counts as this process's CUDA does: look at CUDA_VISIBLE_DEVICES, or name the "
          "device by its PCI address" },
        { CUDA_INVALID_CONTEXT, SVMD_E_SYSTEM, "the program has destroyed or reset the device's primary context" },
        { CUDA_ECC_UNCORRECTABLE, SVMD_E_SYSTEM,
          "the device has lost bytes: end the program, and see nvidia-smi -q -d ECC" },
        { CUDA_OPERATING_SYSTEM, SVMD_E_SYSTEM,
          "the descriptor may be of another driver, or this process has no more descriptors (ulimit -n)" },
        { CUDA_ILLEGAL_ADDRESS, SVMD_E_SYSTEM,
          "a kernel of this program has touched what is not mapped, which ends its context: run it under "
          "compute-sanitizer" },
        { CUDA_ALREADY_REGISTERED, SVMD_E_TAKEN, "the program has registered that memory itself" },
        { CUDA_NOT_REGISTERED, SVMD_E_NO_SUCH, "the program has given up that registration itself" },
        { CUDA_LAUNCH_FAILED, SVMD_E_SYSTEM,
          "a kernel of this program has failed, which ends its context: run it under compute-sanitizer" },
        { CUDA_NOT_PERMITTED, SVMD_E_DENIED, "the driver allows this user no such thing" },
        { CUDA_NOT_SUPPORTED, SVMD_E_UNSUPPORTED, "this device or its driver cannot do that" },
        { CUDA_SYSTEM_NOT_READY, SVMD_E_BUSY,
          "a service of the driver does not run yet: nvidia-fabricmanager, or nvidia-persistenced" },
        { CUDA_DRIVER_MISMATCH, SVMD_E_SYSTEM,
          "libcuda.so.1 and the kernel's driver are of different versions: load the driver anew, or reboot" },
};

int cuda_fail(const struct cuda_api *a, CUresult r, const char *doing) {
        const char *name = cuda_error_name(a, r);

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (known[i].r == r)
                        return fail(known[i].code, "%s: %s (%d): %s", doing, name, r, known[i].next);
        return fail(SVMD_E_SYSTEM, "%s: %s (%d)", doing, name, r);
}

static int load(void) {
        char why[512];
        CUresult r;

        if (!cuda_library_load(&api, functions, sizeof(functions) / sizeof(functions[0]), why, sizeof(why)))
                return fail(SVMD_E_UNSUPPORTED, "%s", why);
        r = api.init(0);
        if (r != CUDA_OK)
                return cuda_fail(&api, r, "CUDA does not start");
        loaded = true;
        return 0;
}

int cuda_api(const struct cuda_api **ret) {
        int r;

        pthread_mutex_lock(&lock);
        r = loaded ? 0 : load();
        pthread_mutex_unlock(&lock);
        if (!r)
                *ret = &api;
        return r;
}
