#include <errno.h>
#include <inttypes.h>

#include "cuda.h"
#include "cuda_state.h"
#include "error.h"
#include "grant.h"
#include "wire.h"

/*
 * Memory that CUDA manages itself (cuMemAllocManaged), outside of the partition: svmd has none of it, and what a
 * program says of it in svmd's words is said to CUDA, under a grant, in these:
 *
 *      preferred      cuMemAdvise, preferred location; taken back: unset
 *      accessed by    each node of the session's CUDA spaces: set, or unset
 *      read mostly    set, or unset
 *      prefetch       cuMemPrefetchAsync, to its end
 *
 * What CUDA has no word for is refused before anything is said.
 */
enum {
        CUDA_IS_MANAGED = 8, /* attribute of a pointer */
        CUDA_CPU = -1,       /* as a device */
        KNOWN = SVMD_ADVISE_PREFERRED | SVMD_ADVISE_ACCESSED_BY | SVMD_ADVISE_READ_MOSTLY,
};

enum advice { READ_MOSTLY_ON = 1, READ_MOSTLY_OFF, PREFERRED_ON, PREFERRED_OFF, ACCESSED_ON, ACCESSED_OFF };

bool cuda_manages(svmd_session *s, const void *address) {
        uint64_t at = (uintptr_t)address;
        bool ours = at >= s->info.base && at < s->info.base + s->info.length;
        unsigned managed = 0;

        if (!s->cuda || ours)
                return false;
        return s->cuda->api->attribute(&managed, CUDA_IS_MANAGED, at) == CUDA_OK && managed;
}

static int is_host(const struct svmd_node_row *row, void *userdata) {
        svmd_node *node = userdata;

        if (row->id == *node && row->kind == SVMD_NODE_HOST)
                *node = SVMD_NODE_NONE; /* found */
        return 0;
}

/* What CUDA calls a node: one of the session's spaces, or the CPU. Without the lock. */
static int device_of(svmd_session *s, svmd_node node, CUdevice *ret) {
        const struct cuda_space *x;
        svmd_node host = node;
        int r;

        pthread_mutex_lock(&s->cuda->lock);
        x = cuda_space_on(s->cuda, node);
        *ret = x ? x->device : CUDA_CPU;
        pthread_mutex_unlock(&s->cuda->lock);
        r = x ? 0 : svmd_query_nodes(s, is_host, &host);
        if (r || x || host == SVMD_NODE_NONE)
                return r;
        return fail(SVMD_E_NODE_KIND,
                    "memory that CUDA manages goes to host nodes and to those that this session has a space of, and "
                    "node %u is neither",
                    node);
}

/* A grant is for one node: that of a space of this session. */
static int ask(svmd_session *s, uint32_t operation, struct grant *ret) {
        struct grant_request request = { .operations = operation };
        bool any;

        pthread_mutex_lock(&s->cuda->lock);
        any = s->cuda->spaces != NULL;
        if (any)
                request.node = s->cuda->spaces->node;
        pthread_mutex_unlock(&s->cuda->lock);
        return any ? grant_ask(s, &request, ret) : fail(SVMD_E_NO_SUCH, "the session has no space of a CUDA node now");
}

struct managed {
        CUdeviceptr at;
        size_t size;
};

static CUresult say(const struct cuda *k, const struct managed *m, enum advice what, CUdevice device) {
        return k->api->advise(m->at, m->size, (int)what, device);
}

static CUresult say_accessed(const struct cuda *k, const struct managed *m, uint64_t nodes) {
        CUresult r = CUDA_OK;

        for (const struct cuda_space *x = k->spaces; x && r == CUDA_OK; x = x->next)
                r = say(k, m, x->node < 64 && nodes >> x->node & 1 ? ACCESSED_ON : ACCESSED_OFF, x->device);
        return r;
}

static CUresult say_all(const struct cuda *k, const struct managed *m, const struct svmd_advice *a,
                        CUdevice preferred) {
        CUresult r = CUDA_OK;

        if (a->what & SVMD_ADVISE_READ_MOSTLY)
                r = say(k, m, a->read_mostly ? READ_MOSTLY_ON : READ_MOSTLY_OFF, CUDA_CPU);
        if (r == CUDA_OK && a->what & SVMD_ADVISE_PREFERRED)
                r = say(k, m, a->preferred == SVMD_NODE_NONE ? PREFERRED_OFF : PREFERRED_ON, preferred);
        if (r == CUDA_OK && a->what & SVMD_ADVISE_ACCESSED_BY)
                r = say_accessed(k, m, a->accessed_by);
        return r;
}

/* Done, or not: the lock is held no more. */
static int finish(svmd_session *s, const struct grant *g, CUresult r, const char *doing) {
        (void)grant_done(s, g, r == CUDA_OK ? 0 : EIO, 0);
        return r == CUDA_OK ? 0 : cuda_fail(s->cuda->api, r, doing);
}

int cuda_advise(svmd_session *s, const void *address, size_t size, const struct svmd_advice *a) {
        const struct managed m = { (uintptr_t)address, size };
        CUdevice preferred = CUDA_CPU;
        struct grant g;
        CUresult e;
        int r = 0;

        if (a->what & ~(unsigned)KNOWN || a->against || a->fallbacks)
                return fail(SVMD_E_UNSUPPORTED,
                            "CUDA manages that memory, and knows of preferred, accessed-by and read-mostly alone");
        if (a->what & SVMD_ADVISE_PREFERRED && a->preferred != SVMD_NODE_NONE)
                r = device_of(s, a->preferred, &preferred);
        if (!r)
                r = ask(s, SVMD__V1__GRANT_OPERATION__GRANT_ADVISE, &g);
        if (r)
                return r;
        pthread_mutex_lock(&s->cuda->lock);
        e = say_all(s->cuda, &m, a, preferred);
        pthread_mutex_unlock(&s->cuda->lock);
        return finish(s, &g, e, "CUDA did not take the advice");
}

int cuda_prefetch(svmd_session *s, const void *address, size_t size, svmd_node node) {
        const struct cuda_api *api = s->cuda->api;
        CUresult e = CUDA_OK;
        CUdevice device;
        struct grant g;
        int r = device_of(s, node, &device);

        if (!r)
                r = ask(s, SVMD__V1__GRANT_OPERATION__GRANT_PREFETCH, &g);
        if (r)
                return r;
        pthread_mutex_lock(&s->cuda->lock);
        if (s->cuda->spaces) {
                (void)api->push(s->cuda->spaces->context);
                e = api->prefetch((uintptr_t)address, size, device, NULL);
                e = e == CUDA_OK ? api->synchronize() : e;
                (void)api->pop(&(CUcontext){ NULL });
        }
        pthread_mutex_unlock(&s->cuda->lock);
        return finish(s, &g, e, "CUDA did not prefetch");
}
