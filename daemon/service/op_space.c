#include "service/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "core/imap.h"
#include "core/memory.h"
#include "core/node.h"
#include "core/session.h"
#include "core/space.h"
#include "service/cuda.h"
#include "service/effects.h"
#include "service/fence.h"
#include "service/lookup.h"
#include "service/range.h"
#include "service/spill.h"

/*
 * Spaces, and operations of devices in them.
 *
 * An operation is handed to its device when the journal has the reply to its submission: asked again after a crash,
 * svmd gives that same reply, and the fence is one of an earlier svmd. So an operation runs once at most.
 */

#define SPACE_OPS_MAX 1024 /* what a device takes of one space */

/* An operation, from its submission to its end. */
struct submission {
        struct fence fence;
        struct space *space; /* NULL: it has ended */
        bool handed;         /* its device has it */
        struct spill_wait wait;
        struct device_op op;
};

/* ---- spaces ---- */

int space_bring_up(struct service *svc, struct session *session, uint64_t id, uint32_t node, struct space **ret) {
        struct space *s = space_new(&svc->state, id, session, node);
        struct device_space *device;
        int r;

        if (!s)
                return -ENOMEM;
        r = node_backend(svc, node)->space_new(svc->state.nodes[node].device, &device);
        if (r < 0) {
                space_free(s);
                return r;
        }
        s->device_space = device;
        space_link(&svc->state, s);
        r = managed_space_begin(svc, s);
        if (r < 0) {
                space_end(svc, s);
                return r;
        }
        *ret = s;
        return 0;
}

static void hand_over(struct service *svc, struct submission *m) {
        struct device_result failed = { .fence = m->fence.object.id, .code = SVMD_STATUS_NO_MEMORY };

        m->handed = true;
        m->space->running++;
        if (node_backend(svc, m->space->node)->submit(m->space->device_space, &m->op) == 0)
                return;
        snprintf(failed.text, sizeof(failed.text), "svmd has no memory left to hand the operation to its device");
        fence_finish(svc, &m->fence, &failed);
}

/* The first of its space that waits for memory. */
static bool submission_go(struct service *svc, struct spill_wait *w) {
        struct submission *m = container_of(w, struct submission, wait);
        struct device_result failed = { .fence = m->fence.object.id };
        enum spill_answer a;

        if (svc->closing || m->space->held.next != &m->fence.starting)
                return false;
        a = spill_fetch(svc, m->space, &m->op, &failed);
        if (a == SPILL_WAIT)
                return false;
        list_remove(&m->fence.starting);
        list_remove(&w->link);
        if (a == SPILL_THERE)
                hand_over(svc, m);
        else
                fence_finish(svc, &m->fence, &failed);
        return true;
}

/* Devices see memory only where it belongs; so an operation waits until it is there, and those behind it in its space
 * wait too. */
static void submission_start(struct service *svc, struct fence *f) {
        struct submission *m = container_of(f, struct submission, fence);

        if (list_empty(&m->space->held) && !spill_is_away(svc, m->space, &m->op)) {
                hand_over(svc, m);
                return;
        }
        list_push_back(&m->space->held, &f->starting);
        m->wait.node = m->space->node;
        m->wait.go = submission_go;
        spill_wait(svc, &m->wait);
}

static void submission_end(struct service *svc, struct fence *f) {
        struct submission *m = container_of(f, struct submission, fence);

        list_remove(&m->wait.link);
        if (m->space) {
                m->space->fences--;
                m->space->running -= m->handed;
                m->space->used_ns = clock_ns(CLOCK_MONOTONIC);
        }
        m->space = NULL;
}

static const struct fence_kind submission_kind = { submission_start, submission_end, NULL };

/* Its space ends. What no device has yet ends here; the rest ends with the device's word. */
static void orphan(struct service *svc, struct fence *f) {
        struct device_result gone = { .fence = f->object.id, .code = SVMD_STATUS_GONE };

        list_remove(&container_of(f, struct submission, fence)->wait.link);
        container_of(f, struct submission, fence)->space = NULL;
        if (list_empty(&f->starting))
                return;
        list_remove(&f->starting);
        snprintf(gone.text, sizeof(gone.text), "its space was destroyed");
        fences_done(svc->fences, &gone);
}

/* The device lets go first: nothing may name memory that is freed. What it had not done ends as GONE; the fences hear
 * of it with the next collection, behind the reply to whoever ends the space. */
void space_end(struct service *svc, struct space *s) {
        struct mapping *e;

        managed_space_end(svc, s);
        cuda_space_gone(svc, s);
        node_backend(svc, s->node)->space_free(s->device_space);
        list_for_each (l, &s->session->fences) {
                struct fence *f = container_of(l, struct fence, by_session);

                if (f->kind == &submission_kind && container_of(f, struct submission, fence)->space == s)
                        orphan(svc, f);
        }
        while ((e = vmap_first_from(&s->mappings, 0))) {
                struct memory *m = memory_of(e->backing);

                vmap_remove(&s->mappings, e);
                svc->state.mappings_count--;
                memory_left(svc, m);
        }
        space_unlink(&svc->state, s);
        space_free(s);
}

static void create_undo(struct tx *tx, struct change *c) {
        space_end(tx->svc, c->a);
}

static const struct change_kind create_change = { create_undo, NULL };

int op_space_create(struct call *c) {
        uint32_t node = c->op->space_create->node;
        struct effect_space e;
        struct space *s;
        int r = find_node(c, node);

        if (r == 0)
                r = check_quota(c, 1);
        if (r != 0)
                return r;
        if (node_backend(c->svc, node)->private_ops)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "%s uses its clients' own page tables: give it a file of the device (svmd_device_give)",
                              node_desc(c->svc, node)->name);
        if (!node_backend(c->svc, node)->has_spaces)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "%s is a host node and has no page tables of its own; map to the CPU (space 0)",
                              node_desc(c->svc, node)->name);
        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        r = space_bring_up(c->svc, c->session, state_take_id(&c->svc->state), node, &s);
        if (r < 0)
                return r;
        tx_push(c->tx, &create_change, s, NULL);
        e = (struct effect_space){ .id = s->object.id, .session = c->session->object.id, .node = node };
        tx_effect(c->tx, EFFECT_SPACE, &e, sizeof(e));
        c->result->id = s->object.id;
        if (node_backend(c->svc, node)->delegated)
                c->result->value = node_desc(c->svc, node)->kind;
        return 0;
}

static void destroy_undo(struct tx *tx, struct change *c) {
        struct space *s = c->a;

        s->destroying = false;
}

static void destroy_commit(struct tx *tx, struct change *c) {
        space_end(tx->svc, c->a);
}

static const struct change_kind destroy_change = { destroy_undo, destroy_commit };

int op_space_destroy(struct call *c) {
        struct effect_id e;
        struct space *s;
        int r = find_space(c, c->op->space_destroy->space, &s);

        if (r != 0)
                return r;
        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        s->destroying = true;
        tx_push(c->tx, &destroy_change, s, NULL);
        e = (struct effect_id){ .id = s->object.id };
        tx_effect(c->tx, EFFECT_SPACE_END, &e, sizeof(e));
        return 0;
}

int op_translate(struct call *c) {
        const Svmd__V1__Translate *op = c->op->translate;
        struct device_translation t;
        Svmd__V1__TranslateResult *result;
        struct mapping *e;
        struct space *s;
        int r = find_space(c, op->space, &s);

        if (r != 0)
                return r;
        result = call_take(c, sizeof(*result));
        if (!result)
                return -ENOMEM;
        svmd__v1__translate_result__init(result);
        node_backend(c->svc, s->node)->translate(s->device_space, op->address, &t);
        e = vmap_find(&s->mappings, op->address);
        result->valid = t.valid;
        result->sparse = t.sparse && !e; /* not where memory is away */
        if (t.valid) {
                result->access = t.attrs.access;
                result->pat = t.attrs.pat;
                result->kind = t.attrs.kind;
                result->offset = t.offset;
                result->node = e ? memory_of(e->backing)->node : UINT32_MAX;
        }
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_TRANSLATE;
        c->result->translate = result;
        return 0;
}

/* ---- submit ---- */

static bool is_eventfd(int fd) {
        char path[48], link[64];
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, link, sizeof(link) - 1);
        if (n < 0)
                return false;
        link[n] = 0;
        return strcmp(link, "anon_inode:[eventfd]") == 0;
}

static int take_eventfd(struct call *c, int *ret) {
        int fd;

        *ret = -1;
        if (!c->op->submit->notify)
                return 0;
        if (check_fds(c, 1) != 0)
                return OP_REFUSED;
        fd = fdlist_steal(&c->request->in);
        if (fd < 0 || !is_eventfd(fd)) {
                if (fd >= 0)
                        close(fd);
                return refuse(c, SVMD_STATUS_FD_KIND, "the descriptor that came with submit is no eventfd");
        }
        *ret = fd;
        return 0;
}

static int check_submit(struct call *c, const Svmd__V1__Submit *op, struct space **ret) {
        int r;

        if (op->op < SVMD__V1__DEVICE_OP__DEVICE_FILL || op->op > SVMD__V1__DEVICE_OP__DEVICE_ATOMIC_ADD)
                return refuse(c, SVMD_STATUS_INVALID, "there is no device operation %d", (int)op->op);
        if ((r = fence_quota(c)) != 0 || (r = find_space(c, op->space, ret)) != 0)
                return r;
        if (c->svc->state.nodes[(*ret)->node].lost)
                return refuse_off(c, (*ret)->node);
        if (node_backend(c->svc, (*ret)->node)->delegated)
                return refuse(c, SVMD_STATUS_NODE_KIND, "what runs on %s its clients start themselves",
                              node_desc(c->svc, (*ret)->node)->name);
        if ((*ret)->fences >= SPACE_OPS_MAX)
                return refuse(c, SVMD_STATUS_QUOTA,
                              "%d operations of this space wait already; wait for some of their fences", SPACE_OPS_MAX);
        return 0;
}

int op_submit(struct call *c) {
        const Svmd__V1__Submit *op = c->op->submit;
        struct submission *m;
        struct fence *f;
        struct space *s;
        int notify, r;

        if ((r = take_eventfd(c, &notify)) != 0)
                return r;
        r = check_submit(c, op, &s);
        f = r == 0 ? fence_new(c, sizeof(*m), &submission_kind, notify) : NULL;
        if (!f) {
                if (notify >= 0)
                        close(notify);
                return r ? r : -ENOMEM;
        }
        m = container_of(f, struct submission, fence);
        m->op = (struct device_op){ .type = (enum device_op_type)op->op,
                                    .dst = op->dst,
                                    .src = op->src,
                                    .size = op->size,
                                    .value = op->value,
                                    .fence = f->object.id };
        m->space = s;
        list_init(&m->wait.link);
        s->fences++;
        return 0;
}
