#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/memfile.h"
#include "base/alloc.h"
#include "mover/internal.h"
#include "mover/pools.h"
#include "mover/steps.h"
#include "proto/status.h"
#include "proto/trace.h"

/*
 * Devices. What a device's translation of a range shows is the engine's business; a device says when it begins and ends
 * to use what is shown, and waits in range_answer() for what is not. Answers are given by whichever thread has just
 * left the lock.
 */
static void tell_use(struct mover_range *r, uint32_t granule, uint32_t node, bool write, bool missed) {
        struct trace_event e = { .type = TRACE_USE,
                                 .node = node,
                                 .first = granule,
                                 .flags = (write ? TRACE_WRITE : 0) | (missed ? TRACE_MISSED : 0) };

        traces_tell(r->m, r, &e);
}

static bool device_begin(void *range, uint32_t granule, uint32_t node, bool write) {
        struct mover_range *r = range;
        bool shown;

        mover_lock(r->m);
        shown = managed_device_begin(r->m->engine, r->range, granule, node, write);
        if (shown && r->m->traces_count)
                tell_use(r, granule, node, write, false);
        mover_unlock(r->m);
        return shown;
}

static void device_end(void *range, uint32_t granule) {
        struct mover_range *r = range;

        mover_lock(r->m);
        managed_device_end(r->m->engine, r->range, granule, mover_now(r->m));
        mover_unlock(r->m);
}

static void asked(struct mover *m, struct answer *a, int result) {
        struct ask *ask = container_of(a, struct ask, answer);

        ask->result = result;
        if (result == MANAGED_E_LOST) {
                struct managed_granule_info info;

                managed_granule_info(ask->r->range, ask->granule, &info);
                ask->lost = info.lost ? info.node : MANAGED_NOWHERE;
        }
        list_remove(&a->all);
        list_push_back(&m->asks, &ask->link);
}

static void device_fault(void *range, uint32_t granule, uint32_t node, bool write, void *token) {
        struct mover_range *r = range;
        struct mover *m = r->m;
        struct ask *ask = alloc_zero(sizeof(*ask));
        int k;

        if (!ask) {
                m->nodes[node].node.backend->range_answer(m->nodes[node].node.device, token, SVMD_STATUS_NO_MEMORY,
                                                          "svmd is out of memory");
                return;
        }
        *ask = (struct ask){ .r = r, .granule = granule, .node = node, .token = token };
        list_init(&ask->link);
        mover_lock(m);
        if (m->traces_count)
                tell_use(r, granule, node, write, true);
        answer_add(m, &ask->answer, asked);
        k = managed_device_access(m->engine, r->range, granule, node, write, (uintptr_t)&ask->answer, mover_now(r->m));
        if (k)
                asked(m, &ask->answer, k);
        mover_unlock(m);
}

unsigned mover_access_status(int result) {
        switch (result) {
        case 0: return SVMD_STATUS_OK;
        case -EFAULT:
        case MANAGED_E_ENDED: return SVMD_STATUS_NOT_MAPPED;
        case MANAGED_E_REVOKED: return SVMD_STATUS_ACCESS;
        case MANAGED_E_LOST: return SVMD_STATUS_GONE;
        case MANAGED_E_FULL: return SVMD_STATUS_NO_ROOM;
        case -ENOMEM: return SVMD_STATUS_NO_MEMORY;
        default: return SVMD_STATUS_SYSTEM;
        }
}

static void say(const struct ask *a, char *text, size_t size) {
        unsigned long long at = granule_address(a->r, a->granule);

        switch (a->result) {
        case 0: text[0] = '\0'; break;
        case -EFAULT:
                snprintf(text, size,
                         "0x%llx is not on this node, which has no faults: prefetch it there, or pin it, first", at);
                break;
        case MANAGED_E_REVOKED:
                snprintf(text, size, "0x%llx has been revoked, and cannot be used until it is given back", at);
                break;
        case MANAGED_E_LOST:
                if (a->lost == MANAGED_NOWHERE)
                        snprintf(text, size, "0x%llx was wanted by node %u, which has vanished", at, a->node);
                else
                        snprintf(text, size, "the content at 0x%llx was lost with node %u: discard it to use it again",
                                 at, a->lost);
                break;
        case MANAGED_E_ENDED: snprintf(text, size, "the range at 0x%llx has ended", at); break;
        case MANAGED_E_FULL: snprintf(text, size, "no node has room for 0x%llx", at); break;
        case -ENOMEM: snprintf(text, size, "0x%llx: the machine is out of memory", at); break;
        default:
                snprintf(text, size, "0x%llx could not be brought there: %s", at,
                         a->result < 0 ? strerror(-a->result) : "it was refused");
                break;
        }
}

void asks_answer(struct mover *m, struct list *asks) {
        list_for_each_safe (it, asks) {
                struct ask *a = container_of(it, struct ask, link);
                const struct mover_node *n = &m->nodes[a->node].node;
                char text[160];

                say(a, text, sizeof(text));
                n->backend->range_answer(n->device, a->token, mover_access_status(a->result), text);
                alloc_free(a);
        }
}

const struct device_faults *mover_device_faults(void) {
        static const struct device_faults faults = { device_begin, device_end, device_fault };

        return &faults;
}

static int device_range_get(struct mover *m, struct mover_range *r, uint32_t node) {
        const struct mover_node *n = &m->nodes[node].node;
        struct device_range_args args = {
                .range = r,
                .faults = mover_device_faults(),
                .node = node,
                .address = r->address,
                .granule = r->granule,
                .count = r->count,
        };
        struct device_range *d;
        int k;

        if (r->device[node])
                return 0;
        k = n->backend->range_new(n->device, &d, &args);
        if (k)
                return k;
        mover_lock(m);
        r->device[node] = d;
        mover_unlock(m);
        return 0;
}

int mover_show(struct mover *m, struct mover_range *r, uint32_t node, struct device_space *space, bool write) {
        const struct mover_node *n = &m->nodes[node].node;
        int k;

        if (!n->backend || !n->backend->space_show)
                return -EOPNOTSUPP;
        k = device_range_get(m, r, node);
        return k ? k : n->backend->space_show(space, r->device[node], write);
}

void mover_hide(struct mover *m, struct mover_range *r, uint32_t node, struct device_space *space) {
        if (r->device[node])
                m->nodes[node].node.backend->space_hide(space, r->device[node]);
}

struct device_range *mover_device_range(struct mover *m, struct mover_range *r, uint32_t node) {
        const struct mover_node *n = &m->nodes[node].node;

        if (!n->backend || !n->backend->range_new || !n->device)
                return NULL;
        return device_range_get(m, r, node) ? NULL : r->device[node];
}

int devices_restore(struct mover *m, struct mover_range *r) {
        int k = 0;

        for (uint32_t node = 0; !k && node < m->c.nodes_count; node++) {
                const struct mover_node *n = &m->nodes[node].node;
                uint32_t slot;

                if (!n->backend || !n->backend->slots || !n->device || !mover_range_used(m, r, node))
                        continue;
                k = device_range_get(m, r, node);
                mover_lock(m);
                for (uint32_t i = 0; !k && i < r->count; i++)
                        if (managed_device_show(m->engine, r->range, i, node, &slot) == -ENOMEM)
                                k = -ENOMEM;
                mover_unlock(m);
        }
        return k;
}

/* The slot stays the granule's while the lock is held, so the descriptor is of no other's bytes. */
static int show_slot(struct mover *m, struct mover_range *r, uint32_t node, uint32_t granule) {
        const struct mover_node *n = &m->nodes[node].node;
        uint32_t slot;
        int fd;

        mover_lock(m);
        fd = managed_device_show(m->engine, r->range, granule, node, &slot);
        if (!fd)
                fd = n->backend->slots->fd(n->device, slot);
        mover_unlock(m);
        return fd;
}

int mover_show_slots(struct mover *m, struct mover_range *r, uint32_t node, uint32_t first, uint32_t count,
                     int *ret_fds) {
        bool later = false;
        int shown = 0;

        if (!m->nodes[node].node.backend || !m->nodes[node].node.backend->slots || !r->device[node])
                return -EOPNOTSUPP;
        for (uint32_t i = 0; i < count; i++) { /* all of them, so that all that lack are fetched together */
                ret_fds[i] = show_slot(m, r, node, first + i);
                later |= ret_fds[i] == -EAGAIN;
                shown += ret_fds[i] >= 0;
        }
        for (uint32_t i = 0; i < count; i++) {
                if (later && ret_fds[i] >= 0)
                        close(ret_fds[i]);
                if (later || ret_fds[i] < 0)
                        ret_fds[i] = -1;
        }
        return later ? -EAGAIN : shown;
}

void devices_free(struct mover_range *r) {
        for (uint32_t i = 0; i < r->m->c.nodes_count; i++)
                if (r->device[i])
                        r->m->nodes[i].node.backend->range_free(r->device[i]);
}

/* ---- slots that come and go ---- */

static void tell_slots(struct mover *m, struct news *news) {
        struct node *n = container_of(news, struct node, gone);
        char why[sizeof(n->why)];
        bool there;

        mover_lock(m);
        there = n->there;
        memcpy(why, n->why, sizeof(why));
        n->untold = false;
        mover_unlock(m);
        if (m->hooks.slots)
                m->hooks.slots(m->hooks.userdata, (uint32_t)(n - m->nodes), there, why);
}

/* In the device's thread. What was there is lost before the device may have anything new. */
static void on_slots(void *userdata, bool there, const char *why) {
        struct node *n = userdata;
        struct mover *m = n->m;

        mover_lock(m);
        if (!there)
                managed_node_lost(m->engine, (uint32_t)(n - m->nodes), mover_now(m));
        n->there = there;
        snprintf(n->why, sizeof(n->why), "%s", why);
        if (!n->untold)
                news_push(m, &n->gone, tell_slots);
        n->untold = true;
        mover_unlock(m);
}

void devices_watch(struct mover *m, bool on) {
        for (uint32_t i = 0; i < m->c.nodes_count; i++) {
                struct node *n = &m->nodes[i];

                if (on)
                        n->m = m;
                if (n->node.backend && n->node.device && n->node.backend->slots)
                        n->node.backend->slots->watch(n->node.device, on ? on_slots : NULL, n);
        }
}

/* Where the bytes are that the translation is to show. */
static int extent_of(struct mover *m, const struct managed_step *step, struct device_extent *ret) {
        struct mover_range *r = step->range;
        struct pool *p;

        if (m->nodes[step->from].node.host) {
                *ret = (struct device_extent){
                        .slot = memfile_slot(r->memory),
                        .offset = (uint64_t)step->granule * step->bytes,
                        .size = step->bytes,
                };
                return 0;
        }
        p = pool_get(m, step->from, step->bytes);
        return p && pool_has(p, step->from_slot) ? pool_extent(p, step->from_slot, ret) : -EIO;
}

int step_translate(struct mover *m, const struct managed_step *step) {
        struct mover_range *r = step->range;
        const struct backend *b = m->nodes[step->node].node.backend;
        struct device_range *d = r->device[step->node];
        struct device_extent extent;
        int k;

        if (!d) /* nobody there sees the range */
                return 0;
        if (step->type == MANAGED_INVALIDATE)
                return b->range_invalidate(d, step->granule);
        k = extent_of(m, step, &extent);
        return k ? k : b->range_map(d, step->granule, extent, step->write);
}
