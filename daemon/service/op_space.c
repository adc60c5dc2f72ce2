#include "service/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "core/imap.h"
#include "core/memory.h"
#include "core/node.h"
#include "core/session.h"
#include "core/space.h"
#include "service/effects.h"
#include "service/lookup.h"

/*
 * Spaces, and operations of devices in them.
 *
 * An operation is handed to its device when the journal has the reply to its submission: asked again after a crash,
 * svmd gives that same reply, and the fence is one of an earlier svmd. So an operation runs once at most.
 *
 * A device ends an operation in its own thread; the outcome waits in a queue for the loop. The fence is done then: its
 * eventfd is signalled, its event sent. It is forgotten when the event has gone out; where the session was too slow
 * for the event, it stays until it is asked for.
 */

#define SPACE_OPS_MAX 1024 /* what a device takes of one space */
#define FENCES_MAX    4096 /* of a session, until their ends were told */

struct done_entry {
        struct done_entry *next;
        struct device_result result;
};

struct done_queue {
        pthread_mutex_t lock;
        struct done_entry *first, **last;
        struct service *svc;
        aio_context_t aio; /* signals eventfds, with reads of nothing from `nothing` */
        int nothing;
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
        *ret = s;
        return 0;
}

static void fence_done(void *userdata, const struct device_result *result);

/* Its space ends. What no device has yet ends here; the rest ends with the device's word. */
static void fence_orphan(struct service *svc, struct fence *f) {
        struct device_result gone = { .fence = f->object.id, .code = SVMD_STATUS_GONE };

        f->space = NULL;
        if (list_empty(&f->starting))
                return;
        list_remove(&f->starting);
        snprintf(gone.text, sizeof(gone.text), "its space was destroyed");
        fence_done(svc->fences, &gone);
}

/* The device lets go first: nothing may name memory that is freed. What it had not done ends as GONE; the fences hear
 * of it with the next collection, behind the reply to whoever ends the space. */
void space_end(struct service *svc, struct space *s) {
        struct mapping *e;

        node_backend(svc, s->node)->space_free(s->device_space);
        list_for_each (l, &s->session->fences) {
                struct fence *f = container_of(l, struct fence, by_session);

                if (f->space == s)
                        fence_orphan(svc, f);
        }
        while ((e = vmap_first_from(&s->mappings, 0))) {
                struct memory *m = memory_of(e->backing);

                vmap_remove(&s->mappings, e);
                svc->state.mappings_count--;
                if (memory_unused(m))
                        memory_destroy(svc, m);
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
        result->valid = t.valid;
        result->sparse = t.sparse;
        if (t.valid) {
                result->access = t.attrs.access;
                result->pat = t.attrs.pat;
                result->kind = t.attrs.kind;
                result->offset = t.offset;
                e = vmap_find(&s->mappings, op->address);
                result->node = e ? memory_of(e->backing)->node : UINT32_MAX;
        }
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_TRANSLATE;
        c->result->translate = result;
        return 0;
}

/* ---- fences ---- */

static void fence_done(void *userdata, const struct device_result *result) {
        struct done_queue *q = userdata;
        struct done_entry *e;

        /* The only allocation on a device's thread. Out of memory, the end of an operation waits for some. */
        while (!(e = alloc_zero(sizeof(*e))))
                usleep(1000);
        e->result = *result;
        pthread_mutex_lock(&q->lock);
        *q->last = e;
        q->last = &e->next;
        q->svc->hooks.wake(q->svc->hooks.userdata);
        pthread_mutex_unlock(&q->lock);
}

device_done_fn fences_done_fn(void) {
        return fence_done;
}

int fences_init(struct service *svc) {
        struct done_queue *q = alloc_zero(sizeof(*q));
        int r = 0;

        if (!q)
                return -ENOMEM;
        q->nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (q->nothing < 0 || syscall(SYS_io_setup, 1, &q->aio) < 0)
                r = -errno;
        if (r < 0) {
                if (q->nothing >= 0)
                        close(q->nothing);
                alloc_free(q);
                return r;
        }
        pthread_mutex_init(&q->lock, NULL);
        q->last = &q->first;
        q->svc = svc;
        svc->fences = q;
        return 0;
}

static struct done_entry *take_done(struct done_queue *q) {
        struct done_entry *first;

        pthread_mutex_lock(&q->lock);
        first = q->first;
        q->first = NULL;
        q->last = &q->first;
        pthread_mutex_unlock(&q->lock);
        return first;
}

void fences_fini(struct service *svc) {
        struct done_entry *e = take_done(svc->fences), *next;

        for (; e; e = next) {
                next = e->next;
                alloc_free(e);
        }
        syscall(SYS_io_destroy, svc->fences->aio);
        close(svc->fences->nothing);
        pthread_mutex_destroy(&svc->fences->lock);
        alloc_free(svc->fences);
}

void fence_free(struct service *svc, struct fence *f) {
        ids_remove(&svc->state.ids, &f->object);
        list_remove(&f->by_session);
        list_remove(&f->starting);
        f->session->fences_count--;
        if (f->notify >= 0)
                close(f->notify);
        alloc_free(f);
}

void fence_fill(const struct fence *f, Svmd__V1__FenceResult *r) {
        svmd__v1__fence_result__init(r);
        r->done = f->done;
        if (!f->done)
                return;
        r->code = f->result.code;
        r->text = (char *)f->result.text;
        r->value = f->result.value;
        r->address = f->result.address;
}

static bool tell_fence(struct service *svc, struct fence *f) {
        Svmd__V1__FenceResult result;
        Svmd__V1__FenceEvent fence = SVMD__V1__FENCE_EVENT__INIT;
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;

        fence_fill(f, &result);
        fence.fence = f->object.id;
        fence.result = &result;
        event.event_case = SVMD__V1__EVENT__EVENT_FENCE;
        event.fence = &fence;
        return event_send(svc, f->session, &event);
}

/* Its client may have filled the eventfd, and shares its flags, so a write() of svmd could wait for ever. The kernel's
 * own signal at the end of a read never waits. */
static void signal_eventfd(const struct done_queue *q, int fd) {
        struct iocb read = { .aio_lio_opcode = IOCB_CMD_PREAD,
                             .aio_fildes = (uint32_t)q->nothing,
                             .aio_flags = IOCB_FLAG_RESFD,
                             .aio_resfd = (uint32_t)fd },
                    *reads = &read;
        struct io_event done;

        if (syscall(SYS_io_submit, q->aio, 1, &reads) == 1)
                (void)syscall(SYS_io_getevents, q->aio, 1, 1, &done, NULL);
}

static void fence_finish(struct service *svc, struct fence *f, const struct device_result *result) {
        f->done = true;
        f->result = *result;
        if (f->space) {
                f->space->fences--;
                f->space = NULL;
        }
        if (f->notify >= 0)
                signal_eventfd(svc->fences, f->notify);
        if (!f->session->ending && tell_fence(svc, f))
                fence_free(svc, f);
}

void fences_start(struct service *svc) {
        list_for_each_safe (l, &svc->submitted) {
                struct fence *f = container_of(l, struct fence, starting);
                struct device_result failed = { .fence = f->object.id, .code = SVMD_STATUS_NO_MEMORY };

                list_remove(&f->starting);
                if (node_backend(svc, f->space->node)->submit(f->space->device_space, &f->op) == 0)
                        continue;
                snprintf(failed.text, sizeof(failed.text),
                         "svmd has no memory left to hand the operation to its device");
                fence_finish(svc, f, &failed);
        }
}

void fences_collect(struct service *svc) {
        struct done_entry *e = take_done(svc->fences), *next;

        for (; e; e = next) {
                struct object *o = ids_find(&svc->state.ids, e->result.fence);

                next = e->next;
                if (o && o->type == OBJECT_FENCE)
                        fence_finish(svc, container_of(o, struct fence, object), &e->result);
                alloc_free(e);
        }
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
        fd = fdlist_steal(&c->request->in);
        if (fd < 0 || !is_eventfd(fd)) {
                if (fd >= 0)
                        close(fd);
                return refuse(c, SVMD_STATUS_FD_KIND, "the descriptor that came with submit is no eventfd");
        }
        *ret = fd;
        return 0;
}

static struct fence *fence_new(struct call *c, struct space *s, int notify) {
        struct fence *f;

        if (ids_reserve(&c->svc->state.ids, 1) < 0 || !(f = alloc_zero(sizeof(*f))))
                return NULL;
        f->object = (struct object){ .id = state_take_id(&c->svc->state), .type = OBJECT_FENCE };
        f->session = c->session;
        f->space = s;
        f->notify = notify;
        list_init(&f->starting);
        list_push_back(&c->session->fences, &f->by_session);
        c->session->fences_count++;
        ids_add(&c->svc->state.ids, &f->object);
        return f;
}

static int check_submit(struct call *c, const Svmd__V1__Submit *op) {
        if (op->op < SVMD__V1__DEVICE_OP__DEVICE_FILL || op->op > SVMD__V1__DEVICE_OP__DEVICE_ATOMIC_ADD)
                return refuse(c, SVMD_STATUS_INVALID, "there is no device operation %d", (int)op->op);
        if (c->session->fences_count >= FENCES_MAX)
                return refuse(c, SVMD_STATUS_QUOTA,
                              "%d operations of this session are not done or not asked for yet, which is the most; "
                              "wait for some of their fences",
                              FENCES_MAX);
        return 0;
}

int op_submit(struct call *c) {
        const Svmd__V1__Submit *op = c->op->submit;
        struct device_op d = { .type = (enum device_op_type)op->op,
                               .dst = op->dst,
                               .src = op->src,
                               .size = op->size,
                               .value = op->value };
        struct fence *f;
        struct space *s;
        int notify, r;

        if ((r = take_eventfd(c, &notify)) != 0)
                return r;
        if ((r = check_submit(c, op)) == 0 && (r = find_space(c, op->space, &s)) == 0 && s->fences >= SPACE_OPS_MAX)
                r = refuse(c, SVMD_STATUS_QUOTA,
                           "%d operations of this space wait already; wait for some of their fences", SPACE_OPS_MAX);
        f = r == 0 ? fence_new(c, s, notify) : NULL;
        if (!f) {
                if (notify >= 0)
                        close(notify);
                return r ? r : -ENOMEM;
        }
        f->op = d;
        f->op.fence = f->object.id;
        list_push_back(&c->svc->submitted, &f->starting);
        s->fences++;
        c->tx->effects = true; /* its reply is one */
        c->result->id = f->object.id;
        return 0;
}

int op_fence_query(struct call *c) {
        uint64_t id = c->op->fence_query->fence;
        struct object *o = ids_find(&c->svc->state.ids, id);
        struct fence *f = o && o->type == OBJECT_FENCE ? container_of(o, struct fence, object) : NULL;
        Svmd__V1__FenceResult *result = call_take(c, sizeof(*result));

        if (!result)
                return -ENOMEM;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_FENCE;
        c->result->fence = result;
        if (!f && id > 0 && id < c->svc->first_id) {
                svmd__v1__fence_result__init(result);
                result->done = true;
                result->code = SVMD_STATUS_INTERRUPTED;
                result->text = call_string(
                        c,
                        "svmd was restarted while the operation ran; what it wrote may be there in part: submit it again");
                return 0;
        }
        if (!f || f->session != c->session) {
                c->result->detail_case = SVMD__V1__RESULT__DETAIL__NOT_SET;
                return refuse(c, SVMD_STATUS_NO_SUCH, "there is no fence %" PRIu64 ", or its end was told already", id);
        }
        fence_fill(f, result);
        if (!f->done)
                return 0;
        result->text = call_string(c, f->result.text);
        fence_free(c->svc, f);
        return 0;
}
