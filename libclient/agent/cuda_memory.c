#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <unistd.h>

#include "cuda.h"
#include "cuda_state.h"
#include "error.h"
#include "grant.h"
#include "wire.h"

#define GRANULE (2ull << 20)

/*
 * Memory of the device. What this process alone is to have svmd charges like other memory, and then it is made here.
 * What others may have too is made under a grant, and svmd gets the descriptor that CUDA exports.
 */
struct cuda_mem {
        svmd_mem mem;
        CUhandle handle;
};

static int compare(const void *a, const void *b) {
        const struct cuda_mem *x = a, *y = b;

        return (x->mem > y->mem) - (x->mem < y->mem);
}

static int remember(struct cuda *k, svmd_mem mem, CUhandle handle) {
        struct cuda_mem *m = malloc(sizeof(*m));

        if (m)
                *m = (struct cuda_mem){ mem, handle };
        if (m && tsearch(m, &k->mems, compare))
                return 0;
        free(m);
        return fail_memory();
}

static struct cuda_mem *find(struct cuda *k, svmd_mem mem) {
        struct cuda_mem **at = tfind(&(struct cuda_mem){ .mem = mem }, &k->mems, compare);

        return at ? *at : NULL;
}

void cuda_mem_forget(struct cuda *k, svmd_mem mem) {
        struct cuda_mem *m = find(k, mem);

        if (!m)
                return;
        k->api->release(m->handle);
        tdelete(m, &k->mems, compare);
        free(m);
}

void cuda_mems_end(struct cuda *k) {
        while (k->mems)
                cuda_mem_forget(k, (*(struct cuda_mem **)k->mems)->mem);
}

/* ---- making ---- */

static CUresult create(const struct cuda_api *api, const struct cuda_space *x, uint64_t size, int handle_types,
                       CUhandle *ret) {
        const struct cuda_prop prop = { .type = CUDA_PINNED,
                                        .handle_types = handle_types,
                                        .location = { CUDA_DEVICE, x->device } };
        CUresult r;

        (void)api->push(x->context);
        r = api->create(ret, size, &prop, 0);
        (void)api->pop(&(CUcontext){ NULL });
        return r;
}

int cuda_mem_make(struct cuda *k, const struct cuda_space *x, svmd_mem mem, uint64_t size) {
        CUhandle handle = 0;
        CUresult e = create(k->api, x, size, 0, &handle);
        int r = e == CUDA_OK ? remember(k, mem, handle) : cuda_fail(k->api, e, "CUDA did not make the memory");

        if (r && e == CUDA_OK)
                k->api->release(handle);
        return r;
}

bool cuda_makes(svmd_session *s, svmd_node node) {
        bool makes;

        if (!s->cuda)
                return false;
        pthread_mutex_lock(&s->cuda->lock);
        makes = cuda_space_on(s->cuda, node) != NULL;
        pthread_mutex_unlock(&s->cuda->lock);
        return makes;
}

/* svmd has the memory from here on, and the grant's bytes pay for it. */
static int hand_over(svmd_session *s, const struct grant *g, svmd_node node, uint64_t size, int fd, svmd_mem *ret) {
        Svmd__V1__DmabufImport body = SVMD__V1__DMABUF_IMPORT__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.size = size;
        body.node = node + 1;
        body.grant = g->id;
        body.generation = g->generation;
        op.op_case = SVMD__V1__OP__OP_DMABUF_IMPORT;
        op.dmabuf_import = &body;
        r = call_one_fd(s, &op, fd, &c, &result);
        if (r)
                return r;
        *ret = result->id;
        call_put(s, c);
        return 0;
}

static CUresult create_exported(const struct cuda_api *api, const struct cuda_space *x, uint64_t size, CUhandle *ret,
                                int *ret_fd) {
        CUhandle handle;
        CUresult r = create(api, x, size, CUDA_POSIX_FD, &handle);

        if (r != CUDA_OK)
                return r;
        r = api->export(ret_fd, handle, CUDA_POSIX_FD, 0);
        if (r != CUDA_OK)
                api->release(handle);
        else
                *ret = handle;
        return r;
}

/* Under a grant. */
static int create_shareable(svmd_session *s, const struct cuda_space *x, const struct grant *g, uint64_t size,
                            svmd_mem *ret) {
        struct cuda *k = s->cuda;
        CUhandle handle = 0;
        CUresult e;
        int fd = -1, r;

        e = create_exported(k->api, x, size, &handle, &fd);
        if (e != CUDA_OK) {
                r = cuda_fail(k->api, e, "CUDA did not make the memory");
                grant_done(s, g, e == CUDA_OUT_OF_MEMORY ? ENOMEM : EIO, 0);
                return r;
        }
        r = hand_over(s, g, x->node, size, fd, ret);
        close(fd);
        if (r)
                grant_done(s, g, ECANCELED, 0);
        if (r || remember(k, *ret, handle)) /* what is not remembered is imported again */
                k->api->release(handle);
        return r;
}

int cuda_create_shareable(svmd_session *s, svmd_mem *ret, uint64_t size, svmd_node node, unsigned flags) {
        const struct grant_request ask = { .node = node,
                                           .operations = SVMD__V1__GRANT_OPERATION__GRANT_ALLOC,
                                           .bytes = size };
        struct cuda_space *x;
        struct grant g;
        int r;

        if (size == 0 || size % GRANULE)
                return fail(SVMD_E_SIZE, "size %" PRIu64 " is not a multiple of 2 MiB above 0, as CUDA wants it", size);
        if (flags & ~(unsigned)(SVMD_MEM_SHAREABLE | SVMD_MEM_PINNED))
                return fail(SVMD_E_INVALID, "svmd knows no memory flag 0x%x", flags);
        r = grant_ask(s, &ask, &g);
        if (r)
                return r;
        pthread_mutex_lock(&s->cuda->lock);
        x = cuda_space_on(s->cuda, node);
        if (x) {
                r = create_shareable(s, x, &g, size, ret);
        } else {
                r = fail(SVMD_E_NO_SUCH, "the session's space on node %u has been destroyed", node);
                grant_done(s, &g, ENOENT, 0);
        }
        pthread_mutex_unlock(&s->cuda->lock);
        return r;
}

/* ---- using ---- */

static int descriptor_of(svmd_session *s, svmd_mem mem, int *ret) {
        Svmd__V1__MemDmabuf body = SVMD__V1__MEM_DMABUF__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.memory = mem;
        op.op_case = SVMD__V1__OP__OP_MEM_DMABUF;
        op.mem_dmabuf = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        *ret = fdlist_steal(&c->in->fds);
        call_put(s, c);
        return *ret < 0 ? fail(SVMD_E_FD_COUNT, "svmd sent no descriptor of memory %" PRIu64, mem) : 0;
}

int cuda_mem_handle(svmd_session *s, svmd_mem mem, CUhandle *ret) {
        struct cuda *k = s->cuda;
        struct cuda_mem *m = find(k, mem);
        CUresult e;
        int fd, r;

        if (m) {
                *ret = m->handle;
                return 0;
        }
        r = descriptor_of(s, mem, &fd);
        if (r)
                return r;
        e = k->api->import(ret, (void *)(uintptr_t)fd, CUDA_POSIX_FD);
        close(fd);
        if (e != CUDA_OK)
                return cuda_fail(k->api, e, "CUDA did not import the memory");
        r = remember(k, mem, *ret);
        if (r)
                k->api->release(*ret);
        return r;
}
