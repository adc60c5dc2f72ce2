#include <inttypes.h>
#include <stdio.h>

#include "backend/drm.h"
#include "backend/drm_space.h"
#include "base/alloc.h"
#include "core/grant.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/devices.h"
#include "service/drm.h"
#include "service/drm_work.h"
#include "service/fence.h"
#include "service/grant.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/private.h"

/*
 * A page table of a DRM device is changed by the very file that its client opened. The session's lane does it, in the
 * order of its requests, and a fence says what came of it.
 *
 * Addresses are the session's own partition's, so that what devices show by svmd is where one pointer means one thing.
 */
struct drm_order {
        struct fence fence;
        struct drm_work *work; /* NULL: the lane has it, or had */
        struct lane *lane;
};

static struct drm_order *order_of(struct fence *f) {
        return container_of(f, struct drm_order, fence);
}

static void order_start(struct service *svc, struct fence *f) {
        struct drm_work *x = order_of(f)->work;

        order_of(f)->work = NULL;
        lane_submit(order_of(f)->lane, &x->work);
}

static void order_end(struct service *svc, struct fence *f) {
        if (order_of(f)->work)
                private_work_free(&order_of(f)->work->work);
        order_of(f)->work = NULL;
}

static const struct fence_kind drm_fence = { order_start, order_end, NULL };

/* ---- asking ---- */

/* A file that the session gave. */
struct given {
        const struct drm_bind_driver *driver;
        uint64_t id;
        uint32_t number; /* in the lane */
        uint32_t node;
};

static int find_file(struct call *c, uint64_t id, struct given *ret) {
        const struct private_client *k = c->session->devices;
        int number = k ? drm_file_of(k, id) : -1;
        struct given g = { .id = id, .number = (uint32_t)number };

        if (number < 0 || k->device[number].moves)
                return refuse(c, SVMD_STATUS_NO_SUCH,
                              "this session gave no file %" PRIu64 " of a DRM device: open its node and give it "
                              "(svmd_drm_give)",
                              id);
        g.node = k->device[number].node;
        g.driver = drm_driver_of(c->svc, g.node);
        if (!g.driver)
                return devices_refuse_gone(c, g.node);
        *ret = g;
        return 0;
}

static int find_table(struct call *c, uint64_t file, uint32_t space, struct given *g, struct drm_table **ret) {
        int r = find_file(c, file, g);

        if (r != 0)
                return r;
        *ret = drm_table_find(c->session->devices, file, space);
        if (!*ret)
                return refuse(c, SVMD_STATUS_NO_SUCH,
                              "page table %u of file %" PRIu64 " is not this session's: make one, or have svmd take it "
                              "(svmd_drm_space)",
                              space, file);
        return 0;
}

/* Takes the work over. 0, OP_REFUSED, -ENOMEM. */
static int ask(struct call *c, const struct given *g, struct drm_work *x) {
        struct fence *f = NULL;
        int r = x ? fence_quota(c) : -ENOMEM;

        if (r == 0 && !(f = fence_new(c, sizeof(struct drm_order), &drm_fence, -1)))
                r = -ENOMEM;
        if (r != 0) {
                if (x)
                        private_work_free(&x->work);
                return r;
        }
        x->driver = g->driver;
        x->file = g->id;
        x->start = c->session->partition->slice.start;
        x->size = c->session->partition->slice.size;
        x->work.fence = f->object.id;
        x->work.file = g->number;
        order_of(f)->work = x;
        order_of(f)->lane = ((struct private_client *)c->session->devices)->lane;
        return 0;
}

/* ---- page tables ---- */

static int check_more(struct call *c, const Svmd__V1__DrmSpace *op) {
        const struct private_client *k = c->session->devices;
        unsigned count = 0;

        if (!op->take && op->space)
                return refuse(c, SVMD_STATUS_INVALID, "the driver gives a new page table its number: leave `space` 0");
        list_for_each (l, &k->tables)
                count++;
        if (count >= DRM_TABLES_MAX)
                return refuse(c, SVMD_STATUS_QUOTA, "this session has %d page tables, which is the most",
                              DRM_TABLES_MAX);
        return 0;
}

static int begin_space(struct call *c, const Svmd__V1__DrmSpace *op, const struct given *g) {
        struct drm_table *t;
        struct drm_work *x;
        int r = check_more(c, op);

        if (r == 0)
                r = drm_table_new(&t, g->id, op->space, !op->take, op->take);
        if (r != 0)
                return r;
        x = drm_work_new(op->take ? DRM_JOB_TAKE : DRM_JOB_MAKE, t->space, 0);
        if (x)
                x->table = t;
        else
                drm_table_free(t);
        return ask(c, g, x);
}

static int end_space(struct call *c, const Svmd__V1__DrmSpace *op) {
        struct drm_table *t;
        struct drm_work *x;
        struct given g;
        int r = find_table(c, op->file, op->space, &g, &t);

        if (r != 0)
                return r;
        x = drm_work_new(DRM_JOB_LET_GO, t->space, 0);
        if (x)
                x->made = t->made;
        return ask(c, &g, x);
}

int op_drm_space(struct call *c) {
        const Svmd__V1__DrmSpace *op = c->op->drm_space;
        struct given g;
        int r;

        if (op->off && op->take)
                return refuse(c, SVMD_STATUS_INVALID, "a page table is taken or let go");
        if (op->off)
                return end_space(c, op);
        r = find_file(c, op->file, &g);
        return r == 0 ? begin_space(c, op, &g) : r;
}

int op_drm_check(struct call *c) {
        const Svmd__V1__DrmCheck *op = c->op->drm_check;
        struct drm_table *t;
        struct given g;
        int r = find_table(c, op->file, op->space, &g, &t);

        if (r == 0 && !g.driver->read)
                return refuse(c, SVMD_STATUS_NODE_KIND, "%s does not tell what its page tables show", g.driver->name);
        return r == 0 ? ask(c, &g, drm_work_new(DRM_JOB_CHECK, t->space, 0)) : r;
}

/* ---- bindings ---- */

static int check_range_of(struct call *c, const Svmd__V1__DrmBinding *b) {
        const struct va_extent *own = &c->session->partition->slice;
        int r = check_range(c, b->address, b->size);

        if (r != 0)
                return r;
        if (b->address < own->start || b->address + b->size > own->start + own->size)
                return refuse(c, SVMD_STATUS_RANGE, "0x%" PRIx64 " is no address of this partition", b->address);
        return 0;
}

static int check_handle(struct call *c, const Svmd__V1__DrmBinding *b) {
        if (b->handle == 0 || b->handle >= DRM_HANDLES_END)
                return refuse(c, SVMD_STATUS_INVALID, "%u is no handle of memory", b->handle);
        return 0;
}

static int check_map(struct call *c, const struct drm_bind_driver *d, const Svmd__V1__DrmBinding *b) {
        const struct map_attrs attrs = { .access = (uint8_t)b->access,
                                         .pat = (uint8_t)b->pat,
                                         .kind = (uint16_t)b->kind };
        char why[160];
        int r = check_handle(c, b);

        if (r != 0)
                return r;
        if (b->offset % SVMD_PAGE)
                return refuse(c, SVMD_STATUS_ALIGN, "offset %" PRIu64 " is not a multiple of 4 KiB", b->offset);
        if (b->access > 3 || b->pat > UINT8_MAX || b->kind > UINT16_MAX)
                return refuse(c, SVMD_STATUS_INVALID, "access is at most 3, pat at most 255, and kind at most 65535");
        if (!d->attrs_ok(&attrs, why, sizeof(why)))
                return refuse(c, SVMD_STATUS_INVALID, "%s", why);
        return 0;
}

/* Memory is placed as a whole, wherever it is mapped. */
static int check_placed(struct call *c, const Svmd__V1__DrmBinding *b) {
        if (b->address || b->size || b->offset)
                return refuse(c, SVMD_STATUS_INVALID,
                              "memory is placed as a whole, by its handle: leave address, size and offset 0");
        return check_handle(c, b);
}

static int check_value(struct call *c, const Svmd__V1__DrmBinding *b) {
        uint32_t least = 0, most = 2;

        if (b->what == SVMD__V1__DRM_WHAT__DRM_ADVISE) {
                least = b->advice == SVMD__V1__DRM_ADVICE__DRM_PREFERRED;
                most = b->advice == SVMD__V1__DRM_ADVICE__DRM_PREFERRED ? 2
                       : b->advice == SVMD__V1__DRM_ADVICE__DRM_ATOMIC  ? 3
                                                                        : 31;
                if ((unsigned)b->advice > SVMD__V1__DRM_ADVICE__DRM_CACHING)
                        return refuse(c, SVMD_STATUS_INVALID, "%d is no advice that svmd knows", (int)b->advice);
        }
        if (b->value < least || b->value > most)
                return refuse(c, SVMD_STATUS_INVALID, "a value of %u to %u can be asked for, and not %u", least, most,
                              b->value);
        return 0;
}

static int check_binding(struct call *c, const struct drm_bind_driver *d, const Svmd__V1__DrmBinding *b) {
        int r;

        if ((unsigned)b->what > SVMD__V1__DRM_WHAT__DRM_PLACE || !(d->can & 1u << b->what))
                return refuse(c, SVMD_STATUS_INVALID, "%s takes no binding of kind %d", d->name, (int)b->what);
        r = b->what == SVMD__V1__DRM_WHAT__DRM_PLACE ? check_placed(c, b) : check_range_of(c, b);
        if (r == 0 && b->what == SVMD__V1__DRM_WHAT__DRM_MAP)
                r = check_map(c, d, b);
        else if (r == 0 && b->what >= SVMD__V1__DRM_WHAT__DRM_PREFETCH)
                r = check_value(c, b);
        return r;
}

_Static_assert((int)SVMD__V1__DRM_WHAT__DRM_MAP == DRM_BIND_MAP &&
                       (int)SVMD__V1__DRM_WHAT__DRM_UNMAP == DRM_BIND_UNMAP &&
                       (int)SVMD__V1__DRM_WHAT__DRM_EMPTY == DRM_BIND_EMPTY &&
                       (int)SVMD__V1__DRM_WHAT__DRM_MIRROR == DRM_BIND_MIRROR &&
                       (int)SVMD__V1__DRM_WHAT__DRM_PREFETCH == DRM_BIND_PREFETCH &&
                       (int)SVMD__V1__DRM_WHAT__DRM_ADVISE == DRM_BIND_ADVISE &&
                       (int)SVMD__V1__DRM_WHAT__DRM_PLACE == DRM_BIND_PLACE &&
                       (int)SVMD__V1__DRM_ADVICE__DRM_ATOMIC == DRM_ADVICE_ATOMIC &&
                       (int)SVMD__V1__DRM_ADVICE__DRM_CACHING == DRM_ADVICE_CACHING,
               "the wire's numbers are the backend's");

static struct drm_binding binding_of(const Svmd__V1__DrmBinding *b) {
        return (struct drm_binding){
                .what = (enum drm_bind_what)b->what,
                .handle = b->handle,
                .replace = b->replace,
                .attrs = { .access = (uint8_t)b->access, .pat = (uint8_t)b->pat, .kind = (uint16_t)b->kind },
                .address = b->address,
                .size = b->size,
                .offset = b->offset,
                .advice = (enum drm_bind_advice)b->advice,
                .value = b->value,
        };
}

/* Where the process binds itself, svmd does not know what is there until it is told. */
static int check_delegated(struct call *c, uint32_t node, const Svmd__V1__DrmBinding *b) {
        uint64_t now = keeping_now(c->svc);

        list_for_each (l, &c->session->grants) {
                const struct grant *g = container_of(l, struct grant, by_session);

                if (g->node == node && g->operations & (GRANT_MAP | GRANT_UNMAP) &&
                    grant_state(g, now) == GRANT_ASKED && b->address < g->address + g->size &&
                    g->address < b->address + b->size)
                        return refuse(c, SVMD_STATUS_BUSY,
                                      "this process binds at 0x%" PRIx64 " itself, under grant %" PRIu64
                                      ": end that first (svmd_drm_settle)",
                                      b->address, g->object.id);
        }
        return 0;
}

static int check_bind(struct call *c, const Svmd__V1__DrmBind *op, const struct given *g) {
        int r = 0;

        if (op->n_bindings == 0 || op->n_bindings > DRM_VECTOR_MAX)
                return refuse(c, SVMD_STATUS_INVALID, "a request has 1 to %d bindings", DRM_VECTOR_MAX);
        if (op->n_wait > DRM_SYNCS_MAX || op->n_signal > DRM_SYNCS_MAX)
                return refuse(c, SVMD_STATUS_INVALID, "a request waits for %d fences at most, and signals as many",
                              DRM_SYNCS_MAX);
        for (size_t i = 0; i < op->n_bindings && r == 0; i++) {
                r = check_binding(c, g->driver, op->bindings[i]);
                if (r == 0)
                        r = check_delegated(c, g->node, op->bindings[i]);
        }
        return r;
}

static uint32_t fill_syncs(struct drm_fence *ret, Svmd__V1__DrmSync *const *list, size_t count) {
        for (size_t i = 0; i < count; i++)
                ret[i] = (struct drm_fence){ list[i]->handle, list[i]->point };
        return (uint32_t)count;
}

int op_drm_bind(struct call *c) {
        const Svmd__V1__DrmBind *op = c->op->drm_bind;
        struct drm_table *t;
        struct drm_work *x;
        struct given g;
        int r = find_table(c, op->file, op->space, &g, &t);

        if (r == 0)
                r = check_bind(c, op, &g);
        if (r != 0)
                return r;
        x = drm_work_new(DRM_JOB_BIND, t->space, (uint32_t)op->n_bindings);
        if (!x)
                return -ENOMEM;
        for (size_t i = 0; i < op->n_bindings; i++)
                x->list[i] = binding_of(op->bindings[i]);
        x->waits = fill_syncs(x->wait, op->wait, op->n_wait);
        x->signals = fill_syncs(x->signal, op->signal, op->n_signal);
        return ask(c, &g, x);
}

/* ---- bindings that its process made ---- */

static int check_bound(struct call *c, const struct given *g, const struct grant *leave,
                       const Svmd__V1__DrmBinding *b) {
        if (b->what > SVMD__V1__DRM_WHAT__DRM_EMPTY)
                return refuse(c, SVMD_STATUS_INVALID,
                              "a process binds memory and nothing itself, and unmaps; the rest "
                              "is svmd's (svmd_drm_bind)");
        if (b->address < leave->address || b->size > leave->size || b->address - leave->address > leave->size - b->size)
                return refuse(c, SVMD_STATUS_RANGE, "0x%" PRIx64 " bytes at 0x%" PRIx64 " are not of grant %" PRIu64,
                              b->size, b->address, leave->object.id);
        return check_binding(c, g->driver, b);
}

/* The books, and what the journal has of the grant: both, or nothing. */
static int take_bound(struct call *c, struct drm_table *t, const Svmd__V1__DrmBound *op) {
        const struct grant_done d = { .generation = op->generation, .error = op->error };
        uint32_t count = (uint32_t)op->n_bindings;
        struct drm_binding *list = call_take(c, count * sizeof(*list) + 1);
        struct imap_spare *room = call_take(c, count * sizeof(*room) + 1);
        unsigned code = 0;
        char why[160];

        if (!list || !room || drm_room_get(room, count) < 0)
                return -ENOMEM;
        for (uint32_t i = 0; i < count; i++)
                list[i] = binding_of(op->bindings[i]);
        if (!op->more)
                code = grant_said(c->svc, c->session, op->grant, &d, why, sizeof(why));
        if (code) {
                drm_room_put(room, count);
                return refuse(c, code, "%s", why);
        }
        drm_space_told(t->space, room, list, count);
        return 0;
}

int op_drm_bound(struct call *c) {
        const Svmd__V1__DrmBound *op = c->op->drm_bound;
        struct grant *leave = NULL;
        struct drm_table *t;
        unsigned code;
        struct given g;
        char why[160];
        int r = find_table(c, op->file, op->space, &g, &t);

        if (r != 0)
                return r;
        code = grant_usable(c->svc, c->session, op->grant, op->generation, g.node, GRANT_MAP | GRANT_UNMAP, &leave, why,
                            sizeof(why));
        if (code)
                return refuse(c, code, "%s", why);
        if (op->n_bindings > DRM_VECTOR_MAX)
                return refuse(c, SVMD_STATUS_INVALID, "a request has %d bindings at most", DRM_VECTOR_MAX);
        for (size_t i = 0; i < op->n_bindings && r == 0; i++)
                r = check_bound(c, &g, leave, op->bindings[i]);
        return r == 0 ? take_bound(c, t, op) : r;
}

/* ---- private memory that is mirrored ---- */

/* The next page table behind `after` (NULL: the first) that mirrors it. */
static struct drm_table *mirror_from(const struct call *c, struct drm_table *after, uint32_t node, uint64_t address,
                                     uint64_t size, struct given *ret) {
        const struct private_client *k = c->session->devices;

        if (!k)
                return NULL;
        for (const struct list *l = after ? after->link.next : k->tables.next; l != &k->tables; l = l->next) {
                struct drm_table *t = container_of(l, struct drm_table, link);
                int number = drm_file_of(k, t->file);
                uint32_t on = number < 0 ? UINT32_MAX : k->device[number].node;
                const struct drm_bind_driver *d = number < 0 ? NULL : drm_driver_of(c->svc, on);

                if (!d || (node != UINT32_MAX && on != node) || !(d->can & DRM_CAN(MIRROR)) ||
                    !drm_space_mirrors(t->space, address, size))
                        continue;
                *ret = (struct given){ .driver = d, .id = t->file, .number = (uint32_t)number, .node = on };
                return t;
        }
        return NULL;
}

bool drm_mirrors(const struct call *c, uint32_t node, uint64_t address, uint64_t size) {
        struct given g;

        return mirror_from(c, NULL, node, address, size, &g) != NULL;
}

static struct drm_work *one_of(struct drm_table *t, struct drm_binding b) {
        struct drm_work *x = drm_work_new(DRM_JOB_BIND, t->space, 1);

        if (x)
                x->list[0] = b;
        return x;
}

int drm_prefetch(struct call *c, uint32_t node, uint64_t address, uint64_t size) {
        bool device = devices_drm(c->svc, node) != NULL;
        struct drm_binding b = { .what = DRM_BIND_PREFETCH, .address = address, .size = size, .value = device ? 1 : 2 };
        struct given g;
        struct drm_table *t = mirror_from(c, NULL, device ? node : UINT32_MAX, address, size, &g);

        if (!t)
                return refuse(
                        c, SVMD_STATUS_ACCESS,
                        "no page table that this session gave of that device mirrors all of it: bind it there with "
                        "SVMD_DRM_MIRROR, in one that the process made with faults");
        return ask(c, &g, one_of(t, b));
}

static int prefer_in(struct call *c, struct drm_table *t, const struct given *g, struct drm_binding b) {
        struct drm_work *x = one_of(t, b);

        if (!x)
                return -ENOMEM;
        x->driver = g->driver;
        x->file = g->id;
        x->work.file = g->number;
        lane_submit(((struct private_client *)c->session->devices)->lane, &x->work);
        return 0;
}

/* Advice has no fence: where a driver refuses it, it is as if it had not been said. */
int drm_prefer(struct call *c, uint32_t node, uint64_t address, uint64_t size) {
        bool device = devices_drm(c->svc, node) != NULL;
        struct drm_binding b = { .what = DRM_BIND_ADVISE,
                                 .advice = DRM_ADVICE_PREFERRED,
                                 .address = address,
                                 .size = size,
                                 .value = device ? 1 : 2 };
        struct drm_table *t = NULL;
        struct given g;
        int r = 0;

        if (device && !drm_mirrors(c, node, address, size))
                return drm_prefetch(c, node, address, size);
        while (r == 0 && (t = mirror_from(c, t, device ? node : UINT32_MAX, address, size, &g)))
                r = prefer_in(c, t, &g, b);
        return r;
}
