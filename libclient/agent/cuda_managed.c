#include "cuda_managed.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cuda.h"
#include "error.h"
#include "proto/cuda.h"
#include "ranges.h"
#include "va.h"
#include "wire.h"

/*
 * A managed range on a device without faults. What svmd has moved into the device's memory is mapped there at the
 * addresses where the CPU has the range, granule by granule; the CPU's page table has nothing there meanwhile, and a
 * touch goes to svmd. Before svmd takes a granule away it asks every process that may have it mapped:
 *
 *      prefetched -> CudaMap: descriptors -> imported, mapped, access given ----+
 *                                                                              v
 *      svmd's take -> kernels have ended (cuCtxSynchronize) -> unmapped -> the take is answered
 *
 * One thread for each node answers. `lock` is held from the question to the mapping, and by the thread while it serves
 * a take; so a take that was sent after svmd's answer is served after what it allowed is mapped. One that was sent
 * before carries a number that is not greater than the answer's, and is about what was mapped earlier.
 *
 * What could not be unmapped is never said to be: the thread ends in silence, and svmd draws its conclusions.
 */
#define GRANULE (2ull << 20)

enum { ASK_MAX = 60 }; /* granules of a CudaMap */

struct cuda_managed {
        struct cuda_managed *next;
        const struct cuda_api *api;
        svmd_node node;
        CUdevice device;
        CUcontext context;
        pthread_t thread;
        int fd; /* of the channel; changed with the session's lock held, for fork() */
        pthread_mutex_t lock;
        struct ranges granules;
        bool over;   /* svmd has closed the channel, and the thread ends */
        bool failed; /* something is mapped that should not be */
};

struct granule {
        struct range range;
        uint64_t seq;
        CUhandle handle;
};

_Static_assert(offsetof(struct granule, range) == 0, "a granule begins with its range");

/* The lowest one from `start` on. */
static struct granule *find(const struct cuda_managed *m, uint64_t start, uint64_t end) {
        return (struct granule *)ranges_find(&m->granules, start, end);
}

/* ---- unmapping, with `lock` and the context ---- */

static void drop(struct cuda_managed *m, struct granule *g) {
        if (m->api->unmap(g->range.start, GRANULE) != CUDA_OK)
                m->failed = true;
        m->api->release(g->handle);
        ranges_remove(&m->granules, &g->range);
        free(g);
}

/* The kernels that may use what goes are those of the device's primary context. */
static void begin(const struct cuda_managed *m) {
        (void)m->api->push(m->context);
        (void)m->api->synchronize(); /* a failure is a kernel's, and none runs any more */
}

static void finish(const struct cuda_managed *m) {
        (void)m->api->pop(&(CUcontext){ NULL });
}

/* Those of [start, end) that were allowed before the number `seq`. */
static void drop_range(struct cuda_managed *m, uint64_t start, uint64_t end, uint64_t seq) {
        struct granule *g;
        bool begun = false;

        for (; (g = find(m, start, end)); start += GRANULE) {
                start = g->range.start;
                if (g->seq >= seq)
                        continue;
                if (!begun)
                        begin(m);
                begun = true;
                drop(m, g);
        }
        if (begun)
                finish(m);
}

static void drop_all(struct cuda_managed *m) {
        drop_range(m, 0, UINT64_MAX, UINT64_MAX);
}

/* ---- takes ---- */

static bool serve(struct cuda_managed *m, const struct cuda_take *t) {
        bool ok;

        pthread_mutex_lock(&m->lock);
        drop_range(m, t->address, t->size < UINT64_MAX - t->address ? t->address + t->size : UINT64_MAX, t->seq);
        ok = !m->failed;
        pthread_mutex_unlock(&m->lock);
        return ok && send(m->fd, &t->seq, sizeof(t->seq), MSG_NOSIGNAL) == (ssize_t)sizeof(t->seq);
}

static void *run(void *userdata) {
        struct cuda_managed *m = userdata;
        struct cuda_take t;
        ssize_t n;

        for (;;) {
                n = recv(m->fd, &t, sizeof(t), 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n != (ssize_t)sizeof(t) || !serve(m, &t))
                        break;
        }
        pthread_mutex_lock(&m->lock);
        drop_all(m);
        m->over = true;
        pthread_mutex_unlock(&m->lock);
        return NULL;
}

/* ---- the channel ---- */

static int attach(svmd_session *s, svmd_node node, int *ret) {
        Svmd__V1__CudaAttach body = SVMD__V1__CUDA_ATTACH__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.node = node;
        op.op_case = SVMD__V1__OP__OP_CUDA_ATTACH;
        op.cuda_attach = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        *ret = fdlist_steal(&c->in->fds);
        call_put(s, c);
        return *ret < 0 ? fail(SVMD_E_FD_COUNT, "svmd sent no channel of node %u", node) : 0;
}

/* Signals are the program's own threads'. */
static int start(struct cuda_managed *m) {
        sigset_t all, before;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&m->thread, NULL, run, m);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return r ? fail_errno(r, "a thread that gives granules back could not be started") : 0;
}

static void link_first(svmd_session *s, struct cuda *k, struct cuda_managed *m) {
        pthread_mutex_lock(&s->lock);
        m->next = k->managed;
        k->managed = m;
        pthread_mutex_unlock(&s->lock);
}

static void unlink_it(svmd_session *s, struct cuda *k, const struct cuda_managed *m) {
        struct cuda_managed **at = &k->managed;

        pthread_mutex_lock(&s->lock);
        while (*at != m)
                at = &(*at)->next;
        *at = m->next;
        pthread_mutex_unlock(&s->lock);
}

static void destroy(struct cuda_managed *m) {
        close(m->fd);
        pthread_mutex_destroy(&m->lock);
        free(m);
}

static int make(svmd_session *s, struct cuda *k, const struct cuda_space *x) {
        struct cuda_managed *m = calloc(1, sizeof(*m));
        int r;

        if (!m)
                return fail_memory();
        m->api = k->api;
        m->node = x->node;
        m->device = x->device;
        m->context = x->context;
        r = attach(s, x->node, &m->fd);
        if (r) {
                free(m);
                return r;
        }
        pthread_mutex_init(&m->lock, NULL);
        r = start(m);
        if (r)
                destroy(m);
        else
                link_first(s, k, m);
        return r;
}

static struct cuda_managed *of_node(const struct cuda *k, svmd_node node) {
        struct cuda_managed *m = k->managed;

        while (m && m->node != node)
                m = m->next;
        return m;
}

void cuda_managed_end(svmd_session *s, struct cuda *k, svmd_node node) {
        struct cuda_managed *m = of_node(k, node);

        if (!m)
                return;
        unlink_it(s, k, m);
        pthread_mutex_lock(&m->lock);
        drop_all(m);
        pthread_mutex_unlock(&m->lock);
        (void)shutdown(m->fd, SHUT_RDWR);
        pthread_join(m->thread, NULL);
        destroy(m);
}

void cuda_managed_forget(struct cuda *k) {
        struct cuda_managed *m;
        struct granule *g;

        while ((m = k->managed)) {
                k->managed = m->next;
                while ((g = find(m, 0, UINT64_MAX))) {
                        ranges_remove(&m->granules, &g->range);
                        free(g);
                }
                free(m);
        }
}

void cuda_forked(svmd_session *s) {
        for (struct cuda_managed *m = s->cuda ? s->cuda->managed : NULL; m; m = m->next) {
                close(m->fd);
                m->fd = -1;
        }
}

void cuda_managed_leave(svmd_session *s, uint64_t start, uint64_t end) {
        struct cuda *k = s->cuda;

        if (!k)
                return;
        pthread_mutex_lock(&k->lock);
        for (struct cuda_managed *m = k->managed; m; m = m->next) {
                pthread_mutex_lock(&m->lock);
                drop_range(m, start, end, UINT64_MAX);
                pthread_mutex_unlock(&m->lock);
        }
        pthread_mutex_unlock(&k->lock);
}

/* ---- mapping, with `lock` and the context ---- */

struct run {
        uint64_t start, end;
};

static void drop_run(struct cuda_managed *m, const struct run *run) {
        for (uint64_t at = run->start; at < run->end; at += GRANULE)
                drop(m, find(m, at, at + GRANULE));
}

/* What cannot be used is not mapped either. */
static int flush(struct cuda_managed *m, struct run *run) {
        const struct cuda_access access = { { CUDA_DEVICE, m->device }, CUDA_READ_WRITE };
        CUresult e =
                run->start == run->end ? CUDA_OK : m->api->set_access(run->start, run->end - run->start, &access, 1);

        if (e != CUDA_OK)
                drop_run(m, run);
        run->start = run->end = 0;
        return e == CUDA_OK ? 0 : cuda_fail(m->api, e, "CUDA did not give access to managed pages");
}

static int add(struct cuda_managed *m, uint64_t at, int fd, uint64_t seq) {
        struct granule *g = malloc(sizeof(*g));
        CUresult e;

        if (!g)
                return fail_memory();
        *g = (struct granule){ .range = { .start = at, .end = at + GRANULE }, .seq = seq };
        e = m->api->import(&g->handle, (void *)(uintptr_t)fd, CUDA_POSIX_FD);
        if (e != CUDA_OK) {
                free(g);
                return cuda_fail(m->api, e, "CUDA did not import a granule that svmd handed out");
        }
        e = m->api->map(at, GRANULE, 0, g->handle, 0);
        if (e == CUDA_OK) {
                ranges_insert(&m->granules, &g->range);
                return 0;
        }
        m->api->release(g->handle);
        free(g);
        return cuda_fail(
                m->api, e,
                "CUDA did not map a granule where the CPU has the managed range (another session of this process "
                "may have it mapped; else this driver cannot do that, and such ranges are of no use there)");
}

static int map_one(struct cuda_managed *m, uint64_t at, int fd, uint64_t seq, struct run *run) {
        struct granule *g = find(m, at, at + GRANULE);
        int r = 0;

        if (g) {
                g->seq = seq;
                return 0;
        }
        if (run->end != at)
                r = flush(m, run);
        if (!r)
                r = add(m, at, fd, seq);
        if (r)
                return r;
        if (run->start == run->end)
                run->start = at;
        run->end = at + GRANULE;
        return 0;
}

/* What svmd's answer allows; the number of granules that are mapped is added. */
static int map_all(struct cuda_managed *m, const struct call *c, const Svmd__V1__Result *result, uint64_t start,
                   uint32_t first, uint32_t count, uint64_t *ret) {
        const Svmd__V1__CudaMapResult *there = result->cuda_map;
        struct run run = { 0, 0 };
        int r = 0, end;

        if (result->detail_case != SVMD__V1__RESULT__DETAIL_CUDA_MAP)
                return fail(SVMD_E_VERSION, "svmd did not say which granules are there");
        for (size_t i = 0; !r && i < there->n_granules; i++) {
                int fd = fdlist_steal(&c->in->fds);

                if (fd < 0 || there->granules[i] < first || there->granules[i] - first >= count)
                        r = fail(SVMD_E_FD_COUNT, "svmd's granules and descriptors do not go together");
                else
                        r = map_one(m, start + there->granules[i] * GRANULE, fd, result->value, &run);
                if (fd >= 0)
                        close(fd);
        }
        end = flush(m, &run);
        r = r ? r : end;
        *ret += r ? 0 : there->n_granules;
        return r;
}

/* ---- asking ---- */

struct wanted {
        uint64_t reservation, start; /* address of granule 0 */
        uint32_t first, count;
};

/* False: it is no range that CUDA maps, and none of this is needed. */
static bool find_wanted(svmd_session *s, uint64_t address, uint64_t size, struct wanted *ret) {
        const struct reservation *r;
        uint64_t end;

        pthread_mutex_lock(&s->va_lock);
        r = va_at(s, address);
        if (!r || r->granule != GRANULE || r->own)
                r = NULL;
        if (r) {
                end = size && size < r->range.end - address ? address + size : r->range.end;
                *ret = (struct wanted){ .reservation = r->id,
                                        .start = r->range.start,
                                        .first = (uint32_t)((address - r->range.start) / GRANULE),
                                        .count = (uint32_t)((end - address + GRANULE - 1) / GRANULE) };
        }
        pthread_mutex_unlock(&s->va_lock);
        return r != NULL;
}

static int ask(svmd_session *s, struct cuda_managed *m, const struct wanted *w, uint32_t first, uint32_t count,
               uint64_t *ret) {
        Svmd__V1__CudaMap body = SVMD__V1__CUDA_MAP__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.reservation = w->reservation;
        body.node = m->node;
        body.first = first;
        body.count = count;
        op.op_case = SVMD__V1__OP__OP_CUDA_MAP;
        op.cuda_map = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        (void)m->api->push(m->context);
        r = map_all(m, c, result, w->start, first, count, ret);
        (void)m->api->pop(&(CUcontext){ NULL });
        call_put(s, c);
        return r;
}

static int fail_over(void) {
        return fail(SVMD_E_GONE, "svmd has ended the channel of this node, with what was mapped there: try again");
}

/* With `lock` held. */
static int map(svmd_session *s, struct cuda_managed *m, const struct wanted *w) {
        uint64_t mapped = 0;
        int r = m->over ? fail_over() : 0;

        for (uint32_t done = 0, n; !r && done < w->count; done += n) {
                n = w->count - done < ASK_MAX ? w->count - done : ASK_MAX;
                r = ask(s, m, w, w->first + done, n, &mapped);
        }
        if (r || mapped == w->count)
                return r;
        return fail(SVMD_E_BUSY,
                    "%" PRIu64
                    " of %u granules are not on node %u, and kernels must not touch them there: a CPU has touched "
                    "them meanwhile, they are pinned in host memory (which svmd_host_register() gives to kernels), or "
                    "there is no room (svmd-ctl explain says which)",
                    w->count - mapped, w->count, m->node);
}

/* The one of the node, with its lock held. */
static int get(svmd_session *s, struct cuda *k, const struct cuda_space *x, struct cuda_managed **ret) {
        struct cuda_managed *m = of_node(k, x->node);
        bool over = false;
        int r;

        if (m) {
                pthread_mutex_lock(&m->lock);
                over = m->over;
                pthread_mutex_unlock(&m->lock);
        }
        if (over)
                cuda_managed_end(s, k, x->node);
        r = m && !over ? 0 : make(s, k, x);
        if (r)
                return r;
        *ret = of_node(k, x->node);
        pthread_mutex_lock(&(*ret)->lock);
        return 0;
}

int cuda_managed_map(svmd_session *s, uint64_t address, uint64_t size, svmd_node node) {
        struct cuda *k = s->cuda;
        const struct cuda_space *x;
        struct cuda_managed *m;
        struct wanted w;
        int r = 0;

        if (!k || !find_wanted(s, address, size, &w))
                return 0;
        pthread_mutex_lock(&k->lock);
        x = cuda_space_on(k, node);
        if (x)
                r = get(s, k, x, &m);
        pthread_mutex_unlock(&k->lock);
        if (!x || r)
                return r;
        r = map(s, m, &w);
        pthread_mutex_unlock(&m->lock);
        return r;
}
