#include "cuda/slots.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cuda/api.h"
#include "libclient/agent/cuda_library.h"

/* Addresses are reserved for so many slots at a time, when the first of them is made. */
enum { CHUNK = 1024 };

struct chunk {
        CUdeviceptr start;
        bool used[CHUNK];
        CUhandle handle[CHUNK];
};

struct slots {
        const struct cuda_calls *cuda;
        CUdevice device;
        CUcontext context;
        bool failed;
        struct chunk *chunks[CUDA_SLOTS_MAX / CHUNK];
};

/* Where a call's sentence goes. */
struct said {
        char *why;
        size_t size;
};

static int result(const struct slots *s, CUresult r, const char *doing, struct said said) {
        return cuda_result(s->cuda, r, doing, said.why, said.size);
}

int slots_new(struct slots **ret, const char *device, char *why, size_t why_size) {
        const struct cuda_calls *c = cuda_calls(why, why_size);
        struct slots *s;
        int k;

        if (!c)
                return -EOPNOTSUPP;
        s = alloc_zero(sizeof(*s));
        if (!s) {
                snprintf(why, why_size, "svmd-cuda is out of memory");
                return -ENOMEM;
        }
        s->cuda = c;
        k = cuda_result(c, cuda_find_device(&c->api, device, &s->device), device, why, why_size);
        if (k)
                k = -ENODEV;
        else
                k = cuda_result(c, c->api.primary_retain(&s->context, s->device), "the device's context", why,
                                why_size);
        if (k) {
                alloc_free(s);
                return k;
        }
        *ret = s;
        return 0;
}

static int begin(struct slots *s, struct said said) {
        int k;

        if (s->failed) {
                snprintf(said.why, said.size, "the device has failed: systemctl restart svmd-cuda begins anew");
                return -EIO;
        }
        k = result(s, s->cuda->api.push(s->context), "the device's context", said);
        s->failed = k != 0;
        return k ? -EIO : 0;
}

/* With no room nothing is wrong. */
static int end(struct slots *s, int k) {
        CUcontext popped;

        (void)s->cuda->api.pop(&popped);
        s->failed |= k == -EIO;
        return k;
}

int slots_stage(struct slots *s, void *staging, char *why, size_t why_size) {
        struct said said = { why, why_size };
        int k = begin(s, said);

        if (k)
                return k;
        k = result(s, s->cuda->api.host_register(staging, CUDA_SLOT, CUDA_REGISTER_PORTABLE | CUDA_REGISTER_MAPPED),
                   "pinning of staging memory", said);
        return end(s, k);
}

void slots_unstage(struct slots *s, void *staging) {
        char why[CUDA_WIRE_WHY];
        struct said said = { why, sizeof(why) };

        if (begin(s, said))
                return;
        (void)s->cuda->api.host_unregister(staging);
        (void)end(s, 0);
}

static struct chunk *chunk_of(const struct slots *s, uint32_t slot) {
        return s->chunks[slot / CHUNK];
}

static bool is_used(const struct slots *s, uint32_t slot) {
        return chunk_of(s, slot) && chunk_of(s, slot)->used[slot % CHUNK];
}

static CUdeviceptr address(const struct slots *s, uint32_t slot) {
        return chunk_of(s, slot)->start + slot % CHUNK * CUDA_SLOT;
}

static int chunk_get(struct slots *s, uint32_t slot, struct said said) {
        struct chunk *c = chunk_of(s, slot);
        int k;

        if (c)
                return 0;
        c = alloc_zero(sizeof(*c));
        if (!c)
                return -ENOMEM;
        k = result(s, s->cuda->api.reserve(&c->start, CHUNK * CUDA_SLOT, CUDA_SLOT, 0, 0), "addresses for slots", said);
        if (k) {
                alloc_free(c);
                return k;
        }
        s->chunks[slot / CHUNK] = c;
        return 0;
}

static int zero(const struct slots *s, uint32_t slot, struct said said) {
        int k = result(s, s->cuda->copy.set(address(s, slot), 0, CUDA_SLOT), "zeroing of a slot", said);

        return k ? k : result(s, s->cuda->api.synchronize(), "zeroing of a slot", said);
}

static int export(const struct slots *s, uint32_t slot, int *ret_fd, struct said said) {
        CUhandle h = chunk_of(s, slot)->handle[slot % CHUNK];

        return result(s, s->cuda->api.export(ret_fd, h, CUDA_POSIX_FD, 0), "a descriptor of a slot", said);
}

/* Mapped for this process. */
static int map(const struct slots *s, uint32_t slot, CUhandle h, struct said said) {
        struct cuda_access access = { { CUDA_DEVICE, s->device }, CUDA_READ_WRITE };
        int k = result(s, s->cuda->api.map(address(s, slot), CUDA_SLOT, 0, h, 0), "mapping of a slot", said);

        if (k)
                return k;
        k = result(s, s->cuda->api.set_access(address(s, slot), CUDA_SLOT, &access, 1), "access to a slot", said);
        k = k ? k : zero(s, slot, said);
        if (k)
                (void)s->cuda->api.unmap(address(s, slot), CUDA_SLOT);
        return k;
}

static int release(struct slots *s, uint32_t slot, struct said said) {
        struct chunk *c = chunk_of(s, slot);
        int k = result(s, s->cuda->api.unmap(address(s, slot), CUDA_SLOT), "unmapping of a slot", said);

        if (k)
                return k;
        c->used[slot % CHUNK] = false;
        return result(s, s->cuda->api.release(c->handle[slot % CHUNK]), "release of a slot", said);
}

static int create(struct slots *s, uint32_t slot, int *ret_fd, struct said said) {
        struct cuda_prop prop = { .type = CUDA_PINNED,
                                  .handle_types = CUDA_POSIX_FD,
                                  .location = { CUDA_DEVICE, s->device } };
        struct said unsaid = { (char[1]){ 0 }, 1 };
        CUhandle h;
        int k = chunk_get(s, slot, said);

        if (k)
                return k;
        k = result(s, s->cuda->api.create(&h, CUDA_SLOT, &prop, 0), "memory for a slot", said);
        if (k)
                return k;
        k = map(s, slot, h, said);
        if (k) {
                (void)s->cuda->api.release(h);
                return k;
        }
        chunk_of(s, slot)->used[slot % CHUNK] = true;
        chunk_of(s, slot)->handle[slot % CHUNK] = h;
        k = export(s, slot, ret_fd, said);
        if (k)
                (void)release(s, slot, unsaid);
        return k;
}

static void list(const struct slots *s, void *staging) {
        uint64_t *bits = staging;

        memset(bits, 0, CUDA_SLOTS_MAX / 8);
        for (uint32_t i = 0; i < CUDA_SLOTS_MAX; i++)
                if (!chunk_of(s, i))
                        i |= CHUNK - 1;
                else if (is_used(s, i))
                        bits[i / 64] |= 1ull << i % 64;
}

static int on_slot(struct slots *s, enum cuda_question question, uint32_t slot, void *staging, int *ret_fd,
                   struct said said) {
        if (is_used(s, slot) == (question == CUDA_ASK_CREATE))
                return question == CUDA_ASK_CREATE ? -EEXIST : -ENOENT;
        switch ((int)question) {
        case CUDA_ASK_CREATE: return create(s, slot, ret_fd, said);
        case CUDA_ASK_EXPORT: return export(s, slot, ret_fd, said);
        case CUDA_ASK_RELEASE: return release(s, slot, said);
        case CUDA_ASK_READ:
                return result(s, s->cuda->copy.read(staging, address(s, slot), CUDA_SLOT), "reading of a slot", said);
        case CUDA_ASK_WRITE:
                return result(s, s->cuda->copy.write(address(s, slot), staging, CUDA_SLOT), "writing of a slot", said);
        default: return -EBADMSG;
        }
}

int slots_do(struct slots *s, enum cuda_question question, uint32_t slot, void *staging, int *ret_fd, char *why,
             size_t why_size) {
        struct said said = { why, why_size };
        int k;

        if (slot >= CUDA_SLOTS_MAX)
                return -EINVAL;
        k = begin(s, said);
        if (k)
                return k;
        if (question == CUDA_ASK_LIST)
                list(s, staging);
        else
                k = on_slot(s, question, slot, staging, ret_fd, said);
        return end(s, k);
}
