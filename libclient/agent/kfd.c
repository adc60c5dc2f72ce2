#include "kfd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "error.h"
#include "grant.h"
#include "kfd_api.h"
#include "proto/uapi/kfd.h"
#include "va.h"
#include "wire.h"

enum { GPUS_MAX = 256, PAGE = 4096 };

struct kfd_gpu {
        svmd_node node;
        uint32_t number, id; /* in the topology, and in the driver's calls */
        bool online, there;  /* svmd grants something on it; the driver has it */
};

/* A buffer, or what a prefetch brought to a GPU: [start, end) that a grant pays for. */
struct kfd_piece {
        struct kfd_piece *next;
        uint64_t start, end, handle;
        struct grant grant;
        uint32_t gpu; /* id */
        bool buffer;
};

/* `lock` guards the list; calls of the driver are made with it held. */
struct kfd {
        const struct hsa_api *api;
        int fd;
        pthread_mutex_t lock;
        struct kfd_piece *pieces;
        unsigned count;
        struct kfd_gpu gpus[GPUS_MAX];
};

/* ---- nodes ---- */

static int on_node(const struct svmd_node_row *row, void *userdata) {
        struct kfd *k = userdata;

        if (row->kind == SVMD_NODE_KFD && row->delegated && k->count < GPUS_MAX)
                k->gpus[k->count++] = (struct kfd_gpu){ .node = row->id,
                                                        .number = row->number,
                                                        .id = row->driver_id,
                                                        .online = row->online,
                                                        .there = row->online || !row->trouble[0] };
        return 0;
}

static const struct kfd_gpu *gpu_of(const struct kfd *k, svmd_node node) {
        for (unsigned i = 0; i < k->count; i++)
                if (k->gpus[i].node == node)
                        return &k->gpus[i];
        return NULL;
}

static const struct kfd_gpu *gpu_numbered(const struct kfd *k, uint32_t number) {
        for (unsigned i = 0; i < k->count; i++)
                if (k->gpus[i].number == number)
                        return &k->gpus[i];
        return NULL;
}

/* Leave for what is of no GPU is asked for on one that is there. */
static svmd_node some_gpu(const struct kfd *k) {
        unsigned i = 0;

        while (i < k->count && !k->gpus[i].online)
                i++;
        return k->gpus[i < k->count ? i : 0].node;
}

static int open_kfd(svmd_session *s, struct kfd *k) {
        int r = svmd_query_nodes(s, on_node, k);

        if (!r && k->count == 0)
                r = fail(SVMD_E_NO_NODE, "svmd has no node of AMD's compute driver: svmd-ctl doctor says why");
        if (!r)
                r = hsa_api(&k->api);
        if (r)
                return r;
        k->fd = open("/dev/kfd", O_RDWR | O_CLOEXEC);
        return k->fd < 0 ? fail_errno(errno, "/dev/kfd cannot be opened") : 0;
}

static int make(svmd_session *s) {
        struct kfd *k;
        int r;

        if (s->kfd)
                return 0;
        k = calloc(1, sizeof(*k));
        r = k ? open_kfd(s, k) : fail_memory();
        if (r) {
                free(k);
                return r;
        }
        pthread_mutex_init(&k->lock, NULL);
        if (!atomic_compare_exchange_strong(&s->kfd, &(struct kfd *){ NULL }, k)) {
                close(k->fd);
                free(k);
        }
        return 0;
}

/* ---- addresses ---- */

/* The reservation that all of it lies in, of the kind that is wanted. */
static int find_place(svmd_session *s, uint64_t start, uint64_t size, bool private, uint64_t *ret) {
        struct reservation *x;
        int r = 0;

        if (!size || size % PAGE || start % PAGE)
                return fail(SVMD_E_ALIGN, "%#" PRIx64 " bytes at %#" PRIx64 " are not whole pages", size, start);
        pthread_mutex_lock(&s->va_lock);
        x = va_at(s, start);
        if (!x || size > x->range.end - start)
                r = fail(SVMD_E_RANGE, "%#" PRIx64 " bytes at %#" PRIx64 " do not lie in a reservation", size, start);
        else if (private ? !x->own : x->own || x->granule)
                r = fail(SVMD_E_RANGE,
                         private ? "AMD's driver takes attributes of private memory: reserve it as SVMD_PRIVATE"
                                 : "a buffer lies in an explicit reservation: AMD's driver has it apart from memory "
                                   "that moves");
        else
                *ret = x->id;
        pthread_mutex_unlock(&s->va_lock);
        return r;
}

static bool is_private(svmd_session *s, uint64_t address) {
        struct reservation *x;
        bool private;

        pthread_mutex_lock(&s->va_lock);
        x = va_at(s, address);
        private = x && x->own;
        pthread_mutex_unlock(&s->va_lock);
        return private;
}

/* ---- what grants pay for. With the lock held ---- */

static void piece_drop(struct kfd *k, struct kfd_piece *p) {
        struct kfd_piece **at = &k->pieces;

        while (*at != p)
                at = &(*at)->next;
        *at = p->next;
        free(p);
}

static int buffer_give_back(const struct kfd *k, const struct kfd_piece *p) {
        struct kfd_map_memory_args m = { .handle = p->handle, .gpu_ids = (uintptr_t)&p->gpu, .count = 1 };
        struct kfd_free_memory_args f = { .handle = p->handle };

        return ioctl(k->fd, KFD_UNMAP_MEMORY, &m) < 0 || ioctl(k->fd, KFD_FREE_MEMORY, &f) < 0 ? -errno : 0;
}

static int buffer_end(svmd_session *s, struct kfd_piece *p) {
        int r = buffer_give_back(s->kfd, p);

        if (r < 0)
                return fail_errno(-r, "AMD's driver keeps the buffer at %#" PRIx64, p->start);
        r = grant_done(s, &p->grant, 0, p->end - p->start);
        piece_drop(s->kfd, p);
        return r;
}

enum whose { OF_ALL, OF_THIS, OF_OTHERS };

/* What prefetches brought within [start, end) to GPUs (all, this one, the others) is there no longer. */
static int pieces_cut(svmd_session *s, uint64_t start, uint64_t end, enum whose whose, uint32_t gpu) {
        struct kfd *k = s->kfd;
        int r = 0;

        for (struct kfd_piece *p = k->pieces, *next; p; p = next) {
                uint64_t from = p->start > start ? p->start : start, to = p->end < end ? p->end : end;
                struct kfd_piece *rest = NULL;

                next = p->next;
                if (p->buffer || from >= to || (whose != OF_ALL && (p->gpu == gpu) != (whose == OF_THIS)))
                        continue;
                if (from > p->start && to < p->end) {
                        rest = malloc(sizeof(*rest));
                        if (!rest)
                                return fail_memory();
                        *rest = *p;
                        rest->start = to;
                        rest->next = k->pieces;
                        k->pieces = rest;
                        p->end = from;
                } else if (from > p->start) {
                        p->end = from;
                } else {
                        p->start = to;
                }
                r = grant_done(s, &p->grant, 0, to - from);
                if (p->start == p->end)
                        piece_drop(k, p);
        }
        return r;
}

/* What svmd refused of what rode on requests is taken back: it had expired, or its addresses were gone. */
static void settle(svmd_session *s) {
        struct kfd *k = s->kfd;

        for (struct kfd_piece *p = k->pieces, *next; p; p = next) {
                next = p->next;
                if (!grant_refused(s, &p->grant))
                        continue;
                if (p->buffer)
                        (void)buffer_give_back(k, p);
                grant_done(s, &p->grant, ECANCELED, 0);
                piece_drop(k, p);
        }
}

static int begin(svmd_session *s) {
        int r = session_check(s);

        if (!r)
                r = make(s);
        if (r)
                return r;
        pthread_mutex_lock(&s->kfd->lock);
        settle(s);
        return 0;
}

static int leave(svmd_session *s, int r) {
        pthread_mutex_unlock(&s->kfd->lock);
        return session_leave(s, r);
}

/* ---- buffers ---- */

static int ioctl_failed(svmd_session *s, const struct grant *g, const char *doing) {
        int error = errno;

        grant_done(s, g, error, 0);
        if (error == ENOMEM)
                return fail(SVMD_E_NO_ROOM, "%s: the GPU has no memory left", doing);
        if (error == EBADF)
                return fail(SVMD_E_FD_KIND, "%s: /dev/kfd was opened by another process, and serves that alone", doing);
        return fail_errno(error, "%s", doing);
}

static int buffer_make(svmd_session *s, struct kfd_piece *p, unsigned flags) {
        struct kfd_alloc_memory_args a = { .address = p->start,
                                           .size = p->end - p->start,
                                           .gpu_id = p->gpu,
                                           .flags = KFD_ALLOC_VRAM | (flags & SVMD_AMD_WRITE ? KFD_ALLOC_WRITABLE : 0) |
                                                    (flags & SVMD_AMD_EXECUTE ? (unsigned)KFD_ALLOC_EXECUTABLE : 0) };
        struct kfd_map_memory_args m = { .gpu_ids = (uintptr_t)&p->gpu, .count = 1 };
        struct kfd_free_memory_args f;
        int r;

        if (ioctl(s->kfd->fd, KFD_ALLOC_MEMORY, &a) < 0)
                return ioctl_failed(s, &p->grant, "AMD's driver made no buffer");
        p->handle = m.handle = f.handle = a.handle;
        if (ioctl(s->kfd->fd, KFD_MAP_MEMORY, &m) == 0)
                return 0;
        r = ioctl_failed(s, &p->grant, "AMD's driver did not map the buffer");
        ioctl(s->kfd->fd, KFD_FREE_MEMORY, &f);
        return r;
}

static int create(svmd_session *s, svmd_node node, uint64_t start, uint64_t size, unsigned flags) {
        struct grant_request ask = { .node = node,
                                     .operations = SVMD__V1__GRANT_OPERATION__GRANT_ALLOC |
                                                   SVMD__V1__GRANT_OPERATION__GRANT_MAP,
                                     .address = start,
                                     .size = size,
                                     .bytes = size };
        const struct kfd_gpu *gpu = gpu_of(s->kfd, node);
        struct kfd_piece *p;
        int r;

        if (!gpu)
                return fail(SVMD_E_NODE_KIND, "node %u is none of AMD's compute driver", node);
        if (flags & ~(unsigned)(SVMD_AMD_WRITE | SVMD_AMD_EXECUTE))
                return fail(SVMD_E_INVALID, "svmd knows no such buffer flags: %#x", flags);
        r = find_place(s, start, size, false, &ask.reservation);
        if (r)
                return r;
        p = calloc(1, sizeof(*p));
        if (!p)
                return fail_memory();
        *p = (struct kfd_piece){ .start = start, .end = start + size, .gpu = gpu->id, .buffer = true };
        r = grant_ask(s, &ask, &p->grant);
        if (!r)
                r = buffer_make(s, p, flags);
        if (r) {
                free(p);
                return r;
        }
        p->next = s->kfd->pieces;
        s->kfd->pieces = p;
        return grant_done(s, &p->grant, 0, 0);
}

int svmd_amd_alloc(svmd_session *s, void *address, size_t size, svmd_node node, unsigned flags) {
        int r = begin(s);

        return r ? r : leave(s, create(s, node, (uintptr_t)address, size, flags));
}

int svmd_amd_free(svmd_session *s, void *address) {
        struct kfd_piece *p;
        int r = begin(s);

        if (r)
                return r;
        for (p = s->kfd->pieces; p && (!p->buffer || p->start != (uintptr_t)address); p = p->next)
                ;
        return leave(s, p ? buffer_end(s, p) : fail(SVMD_E_NO_SUCH, "no buffer of this session begins at %p", address));
}

/* ---- attributes ---- */

static bool is_location(unsigned type) {
        return type == SVMD_AMD_PREFERRED || type == SVMD_AMD_PREFETCH;
}

static bool is_access(unsigned type) {
        return type >= SVMD_AMD_ACCESS && type <= SVMD_AMD_NO_ACCESS;
}

/* Nodes become the library's numbers: 0 is a CPU's, as the system is. */
static int to_hsa(const struct kfd *k, const struct svmd_amd_attribute *a, struct hsa_attribute *ret) {
        const struct kfd_gpu *gpu = gpu_of(k, a->value);

        *ret = (struct hsa_attribute){ a->type, a->value };
        if (a->type > SVMD_AMD_GRANULARITY)
                return fail(SVMD_E_INVALID, "svmd knows no such attribute: %u", a->type);
        if (is_access(a->type) && !gpu)
                return fail(SVMD_E_NODE_KIND, "access is of GPUs, and node %u is none of AMD's", a->value);
        if (gpu && (is_location(a->type) || is_access(a->type)))
                ret->value = gpu->number;
        else if (is_location(a->type) && a->value != SVMD_NODE_NONE)
                ret->value = 0;
        return 0;
}

static void from_hsa(const struct kfd *k, const struct hsa_attribute *a, struct svmd_amd_attribute *ret) {
        const struct kfd_gpu *gpu = gpu_numbered(k, a->value);

        ret->type = a->type;
        if (is_location(a->type))
                ret->value = gpu ? gpu->node : a->value == UINT32_MAX ? SVMD_NODE_NONE : 0;
        else if (!is_access(a->type))
                ret->value = a->value;
}

/* Under a grant for all of them. Where the last prefetch goes to is charged. */
static int set(svmd_session *s, uint64_t start, uint64_t size, const struct svmd_amd_attribute *list, unsigned count) {
        struct grant_request ask = { .operations = SVMD__V1__GRANT_OPERATION__GRANT_ADVISE,
                                     .address = start,
                                     .size = size };
        struct hsa_attribute hsa[SVMD_AMD_ATTRIBUTES];
        const struct kfd_gpu *to = NULL;
        struct kfd *k = s->kfd;
        struct kfd_piece *p;
        bool moves = false;
        int r, error, status;

        if (!list || !count || count > SVMD_AMD_ATTRIBUTES)
                return fail(SVMD_E_SIZE, "give 1 to %d attributes", SVMD_AMD_ATTRIBUTES);
        r = find_place(s, start, size, true, &ask.reservation);
        for (unsigned i = 0; !r && i < count; i++) {
                r = to_hsa(k, &list[i], &hsa[i]);
                if (list[i].type == SVMD_AMD_PREFETCH) {
                        moves = true;
                        to = gpu_of(k, list[i].value);
                }
        }
        p = r ? NULL : calloc(1, sizeof(*p));
        if (!r && !p)
                r = fail_memory();
        if (!r && to)
                r = pieces_cut(s, start, start + size, OF_THIS, to->id); /* what comes pays for it again */
        if (!r) {
                ask.node = to ? to->node : some_gpu(k);
                ask.operations |= moves ? SVMD__V1__GRANT_OPERATION__GRANT_PREFETCH : 0;
                ask.bytes = to ? size : 0;
                *p = (struct kfd_piece){ .start = start, .end = start + size, .gpu = to ? to->id : 0 };
                r = grant_ask(s, &ask, &p->grant);
        }
        if (r) {
                free(p);
                return r;
        }
        status = k->api->svm_set((void *)(uintptr_t)start, size, count, hsa);
        if (status != HSA_OK) {
                r = hsa_fail(status, "AMD's driver refused attributes of memory", &error);
                grant_done(s, &p->grant, error, 0);
                free(p);
                return r;
        }
        r = grant_done(s, &p->grant, 0, 0);
        if (!r && moves)
                r = pieces_cut(s, start, start + size, OF_OTHERS, to ? to->id : 0);
        if (!to) {
                free(p);
                return r;
        }
        p->next = k->pieces;
        k->pieces = p;
        return r;
}

int svmd_amd_set(svmd_session *s, const void *address, size_t size, const struct svmd_amd_attribute *list,
                 unsigned count) {
        int r = begin(s);

        return r ? r : leave(s, set(s, (uintptr_t)address, size, list, count));
}

static int get(svmd_session *s, uint64_t start, uint64_t size, struct svmd_amd_attribute *list, unsigned count) {
        struct hsa_attribute hsa[SVMD_AMD_ATTRIBUTES];
        struct svmd_amd_attribute ask;
        uint64_t reservation;
        int r, error, status;

        if (!list || !count || count > SVMD_AMD_ATTRIBUTES)
                return fail(SVMD_E_SIZE, "give 1 to %d attributes", SVMD_AMD_ATTRIBUTES);
        r = find_place(s, start, size, true, &reservation);
        for (unsigned i = 0; !r && i < count; i++) {
                ask = (struct svmd_amd_attribute){ list[i].type, is_access(list[i].type) ? list[i].value : 0 };
                r = to_hsa(s->kfd, &ask, &hsa[i]);
        }
        if (r)
                return r;
        status = s->kfd->api->svm_get((void *)(uintptr_t)start, size, count, hsa);
        if (status != HSA_OK)
                return hsa_fail(status, "AMD's driver does not tell attributes of memory", &error);
        for (unsigned i = 0; i < count; i++)
                from_hsa(s->kfd, &hsa[i], &list[i]);
        return 0;
}

int svmd_amd_get(svmd_session *s, const void *address, size_t size, struct svmd_amd_attribute *list, unsigned count) {
        int r = begin(s);

        return r ? r : leave(s, get(s, (uintptr_t)address, size, list, count));
}

/* ---- XNACK ---- */

static int xnack(svmd_session *s, int mode, int *ret) {
        struct grant_request ask = { .node = some_gpu(s->kfd), .operations = SVMD__V1__GRANT_OPERATION__GRANT_MODE };
        int32_t now = 0;
        struct grant g;
        int r = 0, error, status = HSA_OK;

        if (mode >= 0)
                r = grant_ask(s, &ask, &g);
        if (r)
                return r;
        if (mode >= 0) {
                status = s->kfd->api->xnack_set(mode);
                if (status != HSA_OK) {
                        r = hsa_fail(status, "AMD's driver does not change XNACK (is there a queue?)", &error);
                        grant_done(s, &g, error, 0);
                        return r;
                }
                grant_done(s, &g, 0, 0);
        }
        status = s->kfd->api->xnack_get(&now);
        if (status != HSA_OK)
                return hsa_fail(status, "AMD's driver does not tell XNACK", &error);
        if (ret)
                *ret = now;
        return 0;
}

int svmd_amd_xnack(svmd_session *s, int mode, int *ret) {
        int r = begin(s);

        return r ? r : leave(s, xnack(s, mode, ret));
}

/* ---- svmd's own words ---- */

/* Of a node that this session has not met yet, its kind is asked for. */
static bool is_ours(svmd_session *s, svmd_node node) {
        return node != SVMD_NODE_NONE && make(s) == 0 && gpu_of(s->kfd, node);
}

static bool has_moved(svmd_session *s, uint64_t start, uint64_t end) {
        bool any = false;

        if (!s->kfd)
                return false;
        pthread_mutex_lock(&s->kfd->lock);
        for (const struct kfd_piece *p = s->kfd->pieces; p && !any; p = p->next)
                any = !p->buffer && p->start < end && p->end > start;
        pthread_mutex_unlock(&s->kfd->lock);
        return any;
}

bool kfd_prefetches(svmd_session *s, uint64_t address, uint64_t size, svmd_node node) {
        return is_private(s, address) && (has_moved(s, address, address + size) || is_ours(s, node));
}

int kfd_prefetch(svmd_session *s, uint64_t address, uint64_t size, svmd_node node) {
        const struct svmd_amd_attribute a = { SVMD_AMD_PREFETCH, node };

        return svmd_amd_set(s, (void *)(uintptr_t)address, size, &a, 1);
}

bool kfd_advises(svmd_session *s, uint64_t address, const struct svmd_advice *advice) {
        if (!is_private(s, address))
                return false;
        return s->kfd || (advice->what & SVMD_ADVISE_PREFERRED && is_ours(s, advice->preferred));
}

static void add(struct svmd_amd_attribute *list, unsigned *count, unsigned type, unsigned value) {
        list[(*count)++] = (struct svmd_amd_attribute){ type, value };
}

static void add_flag(struct svmd_amd_attribute *list, unsigned *count, bool on, unsigned flag) {
        add(list, count, on ? SVMD_AMD_SET_FLAGS : SVMD_AMD_CLEAR_FLAGS, flag);
}

/* What the driver has no word for is refused by no one: it is advice. */
int kfd_advise(svmd_session *s, uint64_t address, uint64_t size, const struct svmd_advice *a) {
        struct svmd_amd_attribute list[SVMD_AMD_ATTRIBUTES];
        unsigned count = 0;

        if (a->what & SVMD_ADVISE_PREFERRED)
                add(list, &count, SVMD_AMD_PREFERRED, a->preferred);
        if (a->what & SVMD_ADVISE_READ_MOSTLY)
                add_flag(list, &count, a->read_mostly, SVMD_AMD_READ_MOSTLY);
        if (a->what & SVMD_ADVISE_PINNED)
                add_flag(list, &count, a->pinned, SVMD_AMD_ALWAYS_MAPPED);
        if (a->what & SVMD_ADVISE_COARSE)
                add_flag(list, &count, !a->coarse, SVMD_AMD_COHERENT);
        if (a->what & SVMD_ADVISE_GRANULARITY)
                add(list, &count, SVMD_AMD_GRANULARITY,
                    a->granularity ? (unsigned)__builtin_ctz(a->granularity / PAGE) : 9);
        for (unsigned i = 0; a->what & SVMD_ADVISE_ACCESSED_BY && i < s->kfd->count && count < SVMD_AMD_ATTRIBUTES;
             i++) {
                svmd_node node = s->kfd->gpus[i].node;

                if (!s->kfd->gpus[i].there)
                        continue;
                add(list, &count, node < 64 && a->accessed_by & 1ull << node ? SVMD_AMD_IN_PLACE : SVMD_AMD_NO_ACCESS,
                    node);
        }
        return count ? svmd_amd_set(s, (void *)(uintptr_t)address, size, list, count) : 0;
}

/* ---- end ---- */

void kfd_range_end(svmd_session *s, uint64_t start) {
        struct reservation *x;
        uint64_t end;

        if (!s->kfd)
                return;
        pthread_mutex_lock(&s->va_lock);
        x = va_at(s, start);
        end = x ? x->range.end : start;
        pthread_mutex_unlock(&s->va_lock);
        pthread_mutex_lock(&s->kfd->lock);
        for (struct kfd_piece *p = s->kfd->pieces, *next; p; p = next) {
                next = p->next;
                if (p->buffer && p->start >= start && p->start < end)
                        (void)buffer_end(s, p);
        }
        (void)pieces_cut(s, start, end, OF_ALL, 0);
        pthread_mutex_unlock(&s->kfd->lock);
}

/* svmd gives back what its grants paid for. */
void kfd_end(svmd_session *s) {
        struct kfd *k = s->kfd;

        if (!k)
                return;
        while (k->pieces) {
                if (k->pieces->buffer && !s->forked)
                        (void)buffer_give_back(k, k->pieces);
                piece_drop(k, k->pieces);
        }
        close(k->fd);
        pthread_mutex_destroy(&k->lock);
        free(k);
        s->kfd = NULL;
}
