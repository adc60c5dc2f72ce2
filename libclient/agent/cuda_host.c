#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cuda.h"
#include "cuda_state.h"
#include "error.h"
#include "grant.h"
#include "managed.h"
#include "order.h"
#include "va.h"
#include "wire.h"

/*
 * Host memory that the device sees where the CPU has it. CUDA pins the pages, and a pinned page that svmd moved away
 * would lose what the device writes, without a word. So of a managed range:
 *
 *      pinned by svmd -> leave asked for -> registered with CUDA, address compared ... unregistered -> unpinned
 *
 * Explicit memory does not move, and stays mapped as it is until it is unregistered: what would change that is refused.
 */
struct cuda_host {
        struct cuda_host *next;
        svmd_space space;
        uint64_t start, end, reservation; /* where that begins */
        bool managed;
};

struct place {
        uint64_t id, start;
        bool managed;
};

static int find_place(svmd_session *s, uint64_t start, uint64_t size, struct place *ret) {
        const struct reservation *r;
        int k = 0;

        pthread_mutex_lock(&s->va_lock);
        r = va_at(s, start);
        if (r && size && start <= r->range.end - 1 && size <= r->range.end - start)
                *ret = (struct place){ r->id, r->range.start, r->granule != 0 };
        else
                k = fail(SVMD_E_RANGE, "%#" PRIx64 " bytes at %#" PRIx64 " are not in one reservation of this session",
                         size, start);
        pthread_mutex_unlock(&s->va_lock);
        return k;
}

static int pin(svmd_session *s, uint64_t start, uint64_t size) {
        struct order o;

        order_pin(&o, start, size);
        return order_run(s, NULL, &o);
}

/* With the lock held: 0, or what CUDA said, with the sentence. */
static int register_with(struct cuda *k, const struct cuda_space *x, uint64_t start, uint64_t size) {
        CUdeviceptr at = 0;
        CUresult r;
        int code = 0;

        (void)k->api->push(x->context);
        r = k->api->host_register((void *)start, size, CUDA_REGISTER_PORTABLE | CUDA_REGISTER_MAPPED);
        if (r != CUDA_OK)
                code = cuda_fail(k->api, r, "CUDA did not register the memory");
        if (!code && (r = k->api->host_pointer(&at, (void *)start, 0)) != CUDA_OK)
                code = cuda_fail(k->api, r, "CUDA did not say where the device has the memory");
        else if (!code && at != start)
                code = fail(SVMD_E_COLLISION,
                            "the device has that memory at %#" PRIx64 " and the CPU at %#" PRIx64
                            ": this device has no one pointer for both",
                            at, start);
        if (code && r == CUDA_OK)
                k->api->host_unregister((void *)start);
        (void)k->api->pop(&(CUcontext){ NULL });
        return code;
}

static int register_under(svmd_session *s, struct cuda_host *h, const struct grant *g) {
        struct cuda *k = s->cuda;
        const struct cuda_space *x;
        int r;

        pthread_mutex_lock(&k->lock);
        x = cuda_space_of(k, h->space);
        r = x ? register_with(k, x, h->start, h->end - h->start)
              : fail(SVMD_E_NO_SUCH, "space %" PRIu64 " has been destroyed", h->space);
        if (!r) {
                h->next = k->hosts;
                k->hosts = h;
        }
        pthread_mutex_unlock(&k->lock);
        (void)grant_done(s, g, r ? EIO : 0, 0);
        return r;
}

static int node_of(svmd_session *s, svmd_space space, svmd_node *ret) {
        const struct cuda_space *x = NULL;

        if (s->cuda) {
                pthread_mutex_lock(&s->cuda->lock);
                x = cuda_space_of(s->cuda, space);
                if (x)
                        *ret = x->node;
                pthread_mutex_unlock(&s->cuda->lock);
        }
        return x ? 0
                 : fail(SVMD_E_NODE_KIND, "space %" PRIu64 " is of no CUDA node: map the memory there instead", space);
}

static void unpin(svmd_session *s, const struct cuda_host *h) {
        char text[ERROR_MAX];

        if (!h->managed)
                return;
        error_save(text);
        (void)svmd_unpin(s, (void *)h->start, h->end - h->start);
        error_restore(text);
}

static int begin(svmd_session *s, struct cuda_host *h, svmd_node node, uint64_t reservation) {
        struct grant_request ask = { .node = node,
                                     .operations = SVMD__V1__GRANT_OPERATION__GRANT_USERPTR,
                                     .reservation = reservation,
                                     .address = h->start,
                                     .size = h->end - h->start };
        struct grant g;
        int r = h->managed ? pin(s, h->start, ask.size) : 0;

        if (r)
                return r;
        r = grant_ask(s, &ask, &g);
        if (!r)
                r = register_under(s, h, &g);
        if (r)
                unpin(s, h);
        return r;
}

int svmd_host_register(svmd_session *s, svmd_space space, const void *address, size_t size) {
        struct cuda_host *h;
        struct place place = { 0 };
        svmd_node node = 0;
        int r = session_check(s);

        if (!r)
                r = node_of(s, space, &node);
        if (!r)
                r = find_place(s, (uintptr_t)address, size, &place);
        if (r)
                return r;
        h = malloc(sizeof(*h));
        if (!h)
                return fail_memory();
        *h = (struct cuda_host){ .space = space,
                                 .start = (uintptr_t)address,
                                 .end = (uintptr_t)address + size,
                                 .reservation = place.start,
                                 .managed = place.managed };
        r = begin(s, h, node, place.id);
        if (r)
                free(h);
        return session_leave(s, r);
}

/* ---- the end ---- */

/* With the lock held. */
static struct cuda_host *take(struct cuda *k, svmd_space space, uint64_t start, bool any) {
        struct cuda_host **at = &k->hosts, *h;

        while ((h = *at) && (h->space != space || (!any && h->start != start)))
                at = &h->next;
        if (h)
                *at = h->next;
        return h;
}

static int unregister(struct cuda *k, const struct cuda_host *h) {
        const struct cuda_space *x = cuda_space_of(k, h->space);
        CUresult r;

        (void)k->api->push(x->context);
        r = k->api->host_unregister((void *)h->start);
        (void)k->api->pop(&(CUcontext){ NULL });
        return r == CUDA_OK ? 0 : cuda_fail(k->api, r, "CUDA did not unregister the memory");
}

int svmd_host_unregister(svmd_session *s, svmd_space space, const void *address) {
        struct cuda_host *h = NULL;
        svmd_node node = 0;
        int r = session_check(s);

        if (!r)
                r = node_of(s, space, &node);
        if (r)
                return r;
        pthread_mutex_lock(&s->cuda->lock);
        h = take(s->cuda, space, (uintptr_t)address, false);
        if (h)
                r = unregister(s->cuda, h);
        pthread_mutex_unlock(&s->cuda->lock);
        if (!h)
                return fail(SVMD_E_NO_SUCH, "nothing that starts at %p is registered with space %" PRIu64, address,
                            space);
        unpin(s, h);
        free(h);
        return session_leave(s, r);
}

struct cuda_host *cuda_host_end(struct cuda *k, svmd_space space) {
        struct cuda_host *list = NULL, *h;

        while ((h = take(k, space, 0, true))) {
                (void)unregister(k, h);
                h->next = list;
                list = h;
        }
        return list;
}

void cuda_host_unpin(svmd_session *s, struct cuda_host *list) {
        struct cuda_host *h;

        while ((h = list)) {
                list = h->next;
                if (s)
                        unpin(s, h);
                free(h);
        }
}

static int refuse(const struct cuda_host *h) {
        return fail(SVMD_E_BUSY, "%#" PRIx64 "-%#" PRIx64 " is registered with CUDA: svmd_host_unregister() first",
                    h->start, h->end);
}

int cuda_host_check(const struct cuda *k, uint64_t start, uint64_t end) {
        for (const struct cuda_host *h = k->hosts; h; h = h->next)
                if (h->start < end && start < h->end)
                        return refuse(h);
        return 0;
}

int cuda_host_check_reservation(const struct cuda *k, uint64_t start) {
        for (const struct cuda_host *h = k->hosts; h; h = h->next)
                if (h->reservation == start)
                        return refuse(h);
        return 0;
}
