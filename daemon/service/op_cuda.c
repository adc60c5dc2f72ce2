#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "backend/cuda.h"
#include "core/node.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/space.h"
#include "service/cuda.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/op_range.h"
#include "service/range.h"

/*
 * Managed pages on CUDA nodes, mapped by the processes that use them. The order of things is what keeps bytes: the
 * channel is asked for a granule from before its descriptor leaves.
 */
enum { MAP_MAX = 60 }; /* descriptors in a reply, with some room */

static bool has_space(const struct session *s, uint32_t node) {
        list_for_each (l, &s->spaces)
                if (container_of(l, struct space, by_session)->node == node)
                        return true;
        return false;
}

static int check_node(struct call *c, uint32_t node) {
        const struct managed_state *g = &c->svc->managed;
        const char *name;
        int r = find_node(c, node);

        if (r != 0)
                return r;
        name = node_desc(c->svc, node)->name;
        if (node_backend(c->svc, node)->kind != NODE_CUDA)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "processes map no managed pages on %s themselves: it is a %s node", name,
                              node_backend(c->svc, node)->name);
        if (node >= g->nodes_count || !g->nodes[node].device)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "%s has no managed pages: managed = on in its section of svmd.conf gives it some", name);
        if (c->svc->state.nodes[node].lost)
                return refuse_off(c, node);
        return 0;
}

/* Takes `fd` over. */
static int hand_out(struct call *c, int fd) {
        if (fdlist_add(&c->request->out, fd) == 0)
                return 0;
        close(fd);
        return refuse(c, SVMD_STATUS_SHAPE, "a reply carries %d descriptors at most", SVMD_FDS_MAX);
}

int op_cuda_attach(struct call *c) {
        uint32_t node = c->op->cuda_attach->node;
        int r = check_node(c, node), fd;

        if (r != 0)
                return r;
        if (!has_space(c->session, node))
                return refuse(c, SVMD_STATUS_SHAPE, "this session has no space of %s: make one first (space_create)",
                              node_desc(c->svc, node)->name);
        if (cuda_attached_find(c->session, node))
                return refuse(c, SVMD_STATUS_TAKEN,
                              "this session has a channel of %s already: one serves all its ranges",
                              node_desc(c->svc, node)->name);
        if (check_fds(c, 1) != 0)
                return OP_REFUSED;
        fd = cuda_attach(c->svc, c->session, node);
        return fd < 0 ? refuse_errno(c, fd, "a channel of a CUDA node") : hand_out(c, fd);
}

/* ---- map ---- */

static int check_channel(struct call *c, uint32_t node, struct cuda_attached **ret) {
        struct cuda_attached *a;
        char why[160];
        int r = check_node(c, node);

        if (r != 0)
                return r;
        a = cuda_attached_find(c->session, node);
        if (!a)
                return refuse(c, SVMD_STATUS_SHAPE,
                              "this session has no channel of %s, by which granules could be asked back: cuda_attach "
                              "comes first",
                              node_desc(c->svc, node)->name);
        if (cuda_channel_is_stale(a->channel, why, sizeof(why)))
                return refuse(
                        c, SVMD_STATUS_GONE,
                        "this session gets no more granules of %s (%s): destroy its spaces there, and make one anew",
                        node_desc(c->svc, node)->name, why);
        *ret = a;
        return 0;
}

static int check_range_of(struct call *c, const Svmd__V1__CudaMap *op, const struct managed_reservation *m,
                          const struct managed_member *member) {
        uint64_t at = m->reservation->va.start;

        if (op->count == 0 || op->count > MAP_MAX)
                return refuse(c, SVMD_STATUS_SIZE, "%u granules were asked for; ask for 1 to %d", op->count, MAP_MAX);
        if (op->first >= m->count || op->count > m->count - op->first)
                return refuse(c, SVMD_STATUS_RANGE, "the reservation at 0x%" PRIx64 " has %u granules, from 0 on", at,
                              m->count);
        if (m->granule != GRANULE_HUGE)
                return refuse(c, SVMD_STATUS_UNSUPPORTED,
                              "granules of %u KiB cannot be mapped by CUDA: reserve with granules of 2 MiB",
                              m->granule >> 10);
        if (member->readonly)
                return refuse(c, SVMD_STATUS_ACCESS,
                              "the reservation at 0x%" PRIx64
                              " is open to read here, and what CUDA maps it can write: open it to write",
                              at);
        if (m->revoked)
                return refuse(c, SVMD_STATUS_ACCESS,
                              "the reservation at 0x%" PRIx64
                              " is revoked: its owner or an administrator has to give it back first",
                              at);
        return 0;
}

/* Those that are there, with their descriptors. */
static int answer(struct call *c, uint32_t first, uint32_t count, const int *fds) {
        Svmd__V1__CudaMapResult *result = call_take(c, sizeof(*result));
        uint32_t *granules = call_take(c, count * sizeof(*granules));
        int r = result && granules ? 0 : -ENOMEM;

        if (r == 0) {
                svmd__v1__cuda_map_result__init(result);
                result->granules = granules;
                c->result->detail_case = SVMD__V1__RESULT__DETAIL_CUDA_MAP;
                c->result->cuda_map = result;
        }
        for (uint32_t i = 0; i < count; i++) {
                if (fds[i] < 0)
                        continue;
                if (r == 0)
                        r = hand_out(c, fds[i]);
                else
                        close(fds[i]);
                if (r == 0)
                        granules[result->n_granules++] = first + i;
        }
        return r;
}

/* They come, or svmd-cuda is gone, in a bounded time; svmd that ends does not wait for that. */
static int wait_for_fds(struct call *c) {
        c->request->until_ns = UINT64_MAX;
        c->request->again = true;
        service_wake_soon(c->svc);
        return OP_LATER;
}

int op_cuda_map(struct call *c) {
        const Svmd__V1__CudaMap *op = c->op->cuda_map;
        struct managed_reservation *m;
        struct managed_member *member;
        struct cuda_attached *a = NULL;
        struct device_range *d;
        int fds[MAP_MAX], r = range_member(c, op->reservation, &m, &member);

        if (r == 0)
                r = check_channel(c, op->node, &a);
        if (r == 0)
                r = check_range_of(c, op, m, member);
        if (r != 0)
                return r;
        d = mover_device_range(c->svc->mover, m->range, op->node);
        r = d ? cuda_channel_cover(a->channel, d, op->first, op->count, &c->result->value) : -ENOMEM;
        if (r != 0)
                return r;
        r = mover_show_slots(c->svc->mover, m->range, op->node, op->first, op->count, fds);
        if (r == -EAGAIN)
                return wait_for_fds(c);
        return r < 0 ? r : answer(c, op->first, op->count, fds);
}
