#include "fake_caller.h"

#include <errno.h>
#include <string.h>

static int do_read(void *userdata, uint64_t at, void *ret, size_t size) {
        if (at == 0)
                return -EFAULT;
        memcpy(ret, (const void *)(uintptr_t)at, size);
        return 0;
}

static int do_write(void *userdata, uint64_t at, const void *bytes, size_t size) {
        if (at == 0)
                return -EFAULT;
        memcpy((void *)(uintptr_t)at, bytes, size);
        return 0;
}

static int identify(void *userdata, int fd, struct drm_foreign *ret) {
        if (fd < FAKE_DEVICE || fd >= FAKE_DMABUF + 10)
                return -EBADF;
        *ret = (struct drm_foreign){ .identity = (uint64_t)fd, .device = fd < FAKE_DMABUF, .size = FAKE_DMABUF_SIZE };
        return 0;
}

struct drm_caller fake_caller(uint64_t mm) {
        return (struct drm_caller){ .mm = mm, .read = do_read, .write = do_write, .identify = identify };
}
