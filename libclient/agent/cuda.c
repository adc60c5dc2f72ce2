#include "cuda.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda_api.h"
#include "cuda_slice.h"
#include "error.h"
#include "grant.h"
#include "vector.h"
#include "wire.h"

#define GRANULE (2ull << 20)

struct cuda_space {
        struct cuda_space *next;
        svmd_space space;
        svmd_node node;
        CUdevice device;
        CUcontext context;
};

struct cuda_mem {
        struct cuda_mem *next;
        svmd_mem mem;
        CUhandle handle;
};

struct cuda_mapping {
        struct cuda_mapping *next;
        svmd_space space;
        uint64_t start, end;
};

/* `lock` guards the lists; calls of CUDA are made with it held. */
struct cuda {
        const struct cuda_api *api;
        pthread_mutex_t lock;
        struct cuda_space *spaces;
        struct cuda_mem *mems;
        struct cuda_mapping *mappings;
};

/* ---- spaces ---- */

static struct cuda_space *space_of(const struct cuda *k, svmd_space space) {
        struct cuda_space *x = k->spaces;

        while (x && x->space != space)
                x = x->next;
        return x;
}

static struct cuda_space *space_on(const struct cuda *k, svmd_node node) {
        struct cuda_space *x = k->spaces;

        while (x && x->node != node)
                x = x->next;
        return x;
}

struct wanted {
        svmd_node node;
        char device[64];
};

static int node_row(const struct svmd_node_row *row, void *userdata) {
        struct wanted *w = userdata;

        if (row->id == w->node && row->device)
                strncat(w->device, row->device, sizeof(w->device) - 1);
        return 0;
}

/* "cuda:0", or "cuda:0000:3b:00.0". */
static int find_device(const struct cuda_api *api, const char *text, CUdevice *ret) {
        const char *which = strncmp(text, "cuda:", 5) == 0 ? text + 5 : "";
        CUresult r = strchr(which, ':') ? api->device_by_bus(ret, which) : api->device_get(ret, atoi(which));

        return r == CUDA_OK ? 0 : cuda_fail(api, r, "this process has no such CUDA device");
}

static int begin(svmd_session *s, struct cuda_space *x) {
        struct wanted w = { .node = x->node };
        struct cuda *k = s->cuda;
        CUresult r;
        int code = svmd_query_nodes(s, node_row, &w);

        if (!code)
                code = find_device(k->api, w.device, &x->device);
        if (code)
                return code;
        r = k->api->primary_retain(&x->context, x->device);
        if (r != CUDA_OK)
                return cuda_fail(k->api, r, "the CUDA device gives this process no context");
        code = cuda_slice_take(k->api, s->info.base, s->info.length);
        if (code)
                k->api->primary_release(x->device);
        return code;
}

static int make(svmd_session *s) {
        const struct cuda_api *api;
        struct cuda *k;
        int r = s->cuda ? 0 : cuda_api(&api);

        if (r || s->cuda)
                return r;
        k = calloc(1, sizeof(*k));
        if (!k)
                return fail_memory();
        k->api = api;
        pthread_mutex_init(&k->lock, NULL);
        pthread_mutex_lock(&s->lock);
        if (!s->cuda) {
                s->cuda = k;
                k = NULL;
        }
        pthread_mutex_unlock(&s->lock);
        free(k);
        return 0;
}

int cuda_space_begin(svmd_session *s, svmd_space space, svmd_node node) {
        struct cuda_space *x = calloc(1, sizeof(*x));
        int r = x ? make(s) : fail_memory();

        if (!r) {
                x->space = space;
                x->node = node;
                r = begin(s, x);
        }
        if (r) {
                free(x);
                return r;
        }
        pthread_mutex_lock(&s->cuda->lock);
        x->next = s->cuda->spaces;
        s->cuda->spaces = x;
        pthread_mutex_unlock(&s->cuda->lock);
        return 0;
}

/* What is mapped wholly within [start, end) of the space is no more. With the lock held. */
static int unmap(struct cuda *k, svmd_space space, uint64_t start, uint64_t end) {
        struct cuda_mapping **at = &k->mappings, *m;
        CUresult r, first = CUDA_OK;

        while ((m = *at)) {
                if (m->space != space || m->start < start || m->end > end) {
                        at = &m->next;
                        continue;
                }
                r = k->api->unmap(m->start, m->end - m->start);
                first = first ? first : r;
                *at = m->next;
                free(m);
        }
        return first == CUDA_OK ? 0 : cuda_fail(k->api, first, "CUDA did not unmap");
}

/* With the lock held. */
static void space_end(struct cuda *k, struct cuda_space *x) {
        struct cuda_space **at = &k->spaces;

        (void)k->api->push(x->context);
        (void)unmap(k, x->space, 0, UINT64_MAX);
        (void)k->api->pop(&(CUcontext){ NULL });
        k->api->primary_release(x->device);
        while (*at != x)
                at = &(*at)->next;
        *at = x->next;
        free(x);
}

void cuda_space_end(svmd_session *s, svmd_space space) {
        struct cuda_space *x;

        if (!s->cuda)
                return;
        pthread_mutex_lock(&s->cuda->lock);
        x = space_of(s->cuda, space);
        if (x)
                space_end(s->cuda, x);
        pthread_mutex_unlock(&s->cuda->lock);
}

/* ---- memory ---- */

bool cuda_makes(svmd_session *s, svmd_node node) {
        bool makes;

        if (!s->cuda)
                return false;
        pthread_mutex_lock(&s->cuda->lock);
        makes = space_on(s->cuda, node) != NULL;
        pthread_mutex_unlock(&s->cuda->lock);
        return makes;
}

static int remember(struct cuda *k, svmd_mem mem, CUhandle handle) {
        struct cuda_mem *m = calloc(1, sizeof(*m));

        if (!m)
                return fail_memory();
        *m = (struct cuda_mem){ k->mems, mem, handle };
        k->mems = m;
        return 0;
}

static void forget(struct cuda *k, svmd_mem mem) {
        struct cuda_mem **at = &k->mems, *m;

        while ((m = *at) && m->mem != mem)
                at = &m->next;
        if (!m)
                return;
        k->api->release(m->handle);
        *at = m->next;
        free(m);
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

static CUresult create_exported(const struct cuda_api *api, CUdevice device, uint64_t size, CUhandle *ret,
                                int *ret_fd) {
        const struct cuda_prop prop = { .type = CUDA_PINNED,
                                        .handle_types = CUDA_POSIX_FD,
                                        .location = { CUDA_DEVICE, device } };
        CUhandle handle;
        CUresult r = api->create(&handle, size, &prop, 0);

        if (r != CUDA_OK)
                return r;
        r = api->export(ret_fd, handle, CUDA_POSIX_FD, 0);
        if (r != CUDA_OK)
                api->release(handle);
        else
                *ret = handle;
        return r;
}

/* Under a grant, with the lock held. */
static int create(svmd_session *s, struct cuda_space *x, const struct grant *g, uint64_t size, svmd_mem *ret) {
        struct cuda *k = s->cuda;
        CUhandle handle = 0;
        CUresult e;
        int fd = -1, r;

        (void)k->api->push(x->context);
        e = create_exported(k->api, x->device, size, &handle, &fd);
        (void)k->api->pop(&(CUcontext){ NULL });
        if (e != CUDA_OK) {
                r = cuda_fail(k->api, e, "CUDA did not make the memory");
                grant_done(s, g, e == CUDA_OUT_OF_MEMORY ? ENOMEM : EIO, 0);
                return r;
        }
        r = hand_over(s, g, x->node, size, fd, ret);
        close(fd);
        if (!r)
                r = remember(k, *ret, handle);
        if (r) {
                k->api->release(handle);
                grant_done(s, g, ECANCELED, 0);
        }
        return r;
}

int cuda_create(svmd_session *s, svmd_mem *ret, uint64_t size, svmd_node node, unsigned flags) {
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
        x = space_on(s->cuda, node);
        if (x) {
                r = create(s, x, &g, size, ret);
        } else {
                r = fail(SVMD_E_NO_SUCH, "the session's space on node %u has been destroyed", node);
                grant_done(s, &g, ENOENT, 0);
        }
        pthread_mutex_unlock(&s->cuda->lock);
        return r;
}

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

/* The handle of memory that this process made, or has now imported. With the lock held. */
static int handle_of(svmd_session *s, svmd_mem mem, CUhandle *ret) {
        struct cuda *k = s->cuda;
        struct cuda_mem *m = k->mems;
        CUresult e;
        int fd, r;

        while (m && m->mem != mem)
                m = m->next;
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

/* ---- vectors ---- */

/* CUDA unmaps only what one cuMemMap() mapped, all of it. */
static int check_whole(const struct cuda *k, svmd_space space, uint64_t start, uint64_t end) {
        for (const struct cuda_mapping *m = k->mappings; m; m = m->next)
                if (m->space == space && m->start < end && m->end > start && (m->start < start || m->end > end))
                        return fail(SVMD_E_UNSUPPORTED,
                                    "CUDA unmaps whole mappings only, and %#" PRIx64 "-%#" PRIx64 " is one", m->start,
                                    m->end);
        return 0;
}

static int check_map(svmd_session *s, const Svmd__V1__Map *m) {
        uint64_t end = s->info.base + s->info.length;

        if (m->address % GRANULE || m->size % GRANULE || m->offset % GRANULE)
                return fail(SVMD_E_ALIGN, "CUDA maps multiples of 2 MiB, at multiples of 2 MiB");
        if (m->address < s->info.base || m->size > end - s->info.base || m->address > end - m->size)
                return fail(SVMD_E_RANGE,
                            "%#" PRIx64 "-%#" PRIx64 " is not in the partition, whose addresses alone are CUDA's here",
                            m->address, m->address + m->size);
        return m->flags & SVMD_MAP_REPLACE ? check_whole(s->cuda, m->space, m->address, m->address + m->size) : 0;
}

int cuda_check(svmd_session *s, const struct item *items, unsigned count) {
        struct cuda *k = s->cuda;
        int r = 0;

        pthread_mutex_lock(&k->lock);
        for (unsigned i = 0; !r && i < count; i++) {
                const struct item *x = &items[i];

                if (x->op.op_case == SVMD__V1__OP__OP_MAP && space_of(k, x->body.map.space))
                        r = check_map(s, &x->body.map);
                else if (x->op.op_case == SVMD__V1__OP__OP_UNMAP && space_of(k, x->body.unmap.space))
                        r = check_whole(k, x->body.unmap.space, x->body.unmap.address,
                                        x->body.unmap.address + x->body.unmap.size);
        }
        pthread_mutex_unlock(&k->lock);
        return r;
}

/* Ranges that lie side by side get their access with one call. */
struct run {
        const struct cuda_space *space;
        uint64_t start, end;
        unsigned access;
};

static int run_flush(struct cuda *k, struct run *run) {
        struct cuda_access access = { { CUDA_DEVICE, 0 }, 0 };
        CUresult r;

        if (run->start == run->end)
                return 0;
        access.location.id = run->space->device;
        access.flags = run->access == SVMD_ACCESS_READ_WRITE ? CUDA_READ_WRITE : run->access ? CUDA_READ : 0;
        r = k->api->set_access(run->start, run->end - run->start, &access, 1);
        run->start = run->end = 0;
        return r == CUDA_OK ? 0 : cuda_fail(k->api, r, "CUDA did not give access");
}

static int run_add(struct cuda *k, struct run *run, const struct cuda_space *space, uint64_t start, uint64_t size,
                   unsigned access) {
        int r = 0;

        if (run->start == run->end || run->end != start || run->space != space || run->access != access) {
                r = run_flush(k, run);
                *run = (struct run){ space, start, start, access };
        }
        run->end += size;
        return r;
}

static int map(svmd_session *s, const Svmd__V1__Map *m, const struct cuda_space *x, struct run *run) {
        struct cuda_mapping *new = calloc(1, sizeof(*new));
        struct cuda *k = s->cuda;
        CUhandle handle;
        CUresult e;
        int r = new ? 0 : fail_memory();

        if (!r && m->flags & SVMD_MAP_REPLACE)
                r = unmap(k, m->space, m->address, m->address + m->size);
        if (!r)
                r = handle_of(s, m->memory, &handle);
        if (!r && (e = k->api->map(m->address, m->size, m->offset, handle, 0)) != CUDA_OK)
                r = cuda_fail(k->api, e, "CUDA did not map the memory");
        if (r) {
                free(new);
                return r;
        }
        *new = (struct cuda_mapping){ k->mappings, m->space, m->address, m->address + m->size };
        k->mappings = new;
        return m->access ? run_add(k, run, x, m->address, m->size, m->access) : 0;
}

/* svmd shows what this process does not. */
static void take_back(svmd_session *s, const struct item *x) {
        char text[ERROR_MAX];
        struct item item;

        if (x->op.op_case != SVMD__V1__OP__OP_MAP)
                return;
        error_save(text);
        item_unmap(&item, x->body.map.space, x->body.map.address, x->body.map.size);
        item.op.unmap = &item.body.unmap;
        call_simple(s, &item.op, SVMD__V1__MODE__BEST_EFFORT);
        error_restore(text);
}

static int execute(svmd_session *s, const struct item *x, struct run *run) {
        struct cuda *k = s->cuda;
        const struct cuda_space *space;

        switch (x->op.op_case) {
        case SVMD__V1__OP__OP_MAP:
                space = space_of(k, x->body.map.space);
                return space ? map(s, &x->body.map, space, run) : 0;
        case SVMD__V1__OP__OP_UNMAP:
                space = space_of(k, x->body.unmap.space);
                return space ? unmap(k, x->body.unmap.space, x->body.unmap.address,
                                     x->body.unmap.address + x->body.unmap.size)
                             : 0;
        case SVMD__V1__OP__OP_SET_ACCESS:
                space = space_of(k, x->body.set_access.space);
                return space ? run_add(k, run, space, x->body.set_access.address, x->body.set_access.size,
                                       x->body.set_access.access)
                             : 0;
        case SVMD__V1__OP__OP_MEM_RELEASE: forget(k, x->body.mem_release.memory); return 0;
        default: return 0;
        }
}

int cuda_execute(svmd_session *s, const struct call *c, const struct item *items, unsigned count) {
        struct cuda *k = s->cuda;
        struct run run = { 0 };
        int first = 0, r;

        pthread_mutex_lock(&k->lock);
        for (unsigned i = 0; i < count; i++) {
                if (call_result(c, i)->code)
                        continue;
                r = execute(s, &items[i], &run);
                if (r)
                        take_back(s, &items[i]);
                first = first ? first : r;
        }
        r = run_flush(k, &run);
        pthread_mutex_unlock(&k->lock);
        return first ? first : r;
}

/* ---- end ---- */

void cuda_end(svmd_session *s) {
        struct cuda *k = s->cuda;

        if (!k)
                return;
        while (!s->forked && k->spaces)
                space_end(k, k->spaces);
        while (!s->forked && k->mems)
                forget(k, k->mems->mem);
        pthread_mutex_destroy(&k->lock);
        free(k);
        s->cuda = NULL;
}
