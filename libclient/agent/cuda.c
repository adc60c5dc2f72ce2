#include "cuda.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_library.h"
#include "cuda_managed.h"
#include "cuda_slice.h"
#include "cuda_state.h"
#include "error.h"
#include "wire.h"

/* Spaces, and the end of a session. */

struct cuda_space *cuda_space_of(const struct cuda *k, svmd_space space) {
        struct cuda_space *x = k->spaces;

        while (x && x->space != space)
                x = x->next;
        return x;
}

struct cuda_space *cuda_space_on(const struct cuda *k, svmd_node node) {
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

static int begin(svmd_session *s, struct cuda_space *x) {
        struct wanted w = { .node = x->node };
        struct cuda *k = s->cuda;
        CUresult r;
        int code = svmd_query_nodes(s, node_row, &w);

        if (code)
                return code;
        r = cuda_find_device(k->api, w.device, &x->device);
        if (r != CUDA_OK)
                return cuda_fail(k->api, r, "this process has no such CUDA device");
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
        int r;

        if (s->cuda)
                return 0;
        r = cuda_api(&api);
        if (r)
                return r;
        k = calloc(1, sizeof(*k));
        if (!k)
                return fail_memory();
        k->api = api;
        pthread_mutex_init(&k->lock, NULL);
        if (!atomic_compare_exchange_strong(&s->cuda, &(struct cuda *){ NULL }, k))
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

static bool is_last(const struct cuda *k, const struct cuda_space *x) {
        const struct cuda_space *other = k->spaces;

        while (other && (other == x || other->node != x->node))
                other = other->next;
        return !other;
}

/* With the lock held. */
static struct cuda_host *space_end(svmd_session *s, struct cuda *k, struct cuda_space *x) {
        struct cuda_host *pinned = cuda_host_end(k, x->space);
        struct cuda_space **at = &k->spaces;

        if (is_last(k, x))
                cuda_managed_end(s, k, x->node);
        (void)k->api->push(x->context);
        (void)cuda_unmap(k, x->space, 0, UINT64_MAX);
        (void)k->api->pop(&(CUcontext){ NULL });
        k->api->primary_release(x->device);
        while (*at != x)
                at = &(*at)->next;
        *at = x->next;
        free(x);
        return pinned;
}

void cuda_space_end(svmd_session *s, svmd_space space) {
        struct cuda_host *pinned = NULL;
        struct cuda_space *x;

        if (!s->cuda)
                return;
        pthread_mutex_lock(&s->cuda->lock);
        x = cuda_space_of(s->cuda, space);
        if (x)
                pinned = space_end(s, s->cuda, x);
        pthread_mutex_unlock(&s->cuda->lock);
        cuda_host_unpin(s, pinned);
}

/* ---- end ---- */

void cuda_end(svmd_session *s) {
        struct cuda *k = s->cuda;

        if (!k)
                return;
        while (!s->forked && k->spaces)
                cuda_host_unpin(NULL, space_end(s, k, k->spaces));
        if (!s->forked)
                cuda_mems_end(k);
        cuda_managed_forget(k);
        pthread_mutex_destroy(&k->lock);
        free(k);
        s->cuda = NULL;
}
