#include <stdlib.h>

#include "agent/drm.h"
#include "error.h"
#include "options.h"
#include "order.h"
#include "proto/limits.h"

/* Page tables of DRM devices: svmd changes them by files that this process opened and gave. */

int svmd_drm_space(svmd_session *s, svmd_drm file, uint32_t *ret) {
        struct svmd_fence_result result;
        struct order o;
        int r;

        order_drm_space(&o, file, 0);
        r = order_run_for(s, &o, &result);
        if (!r)
                *ret = (uint32_t)result.value;
        return r;
}

int svmd_drm_space_take(svmd_session *s, svmd_drm file, uint32_t space) {
        struct order o;

        order_drm_space(&o, file, space);
        o.body.drm_space.take = true;
        return order_run(s, NULL, &o);
}

int svmd_drm_space_end(svmd_session *s, svmd_drm file, uint32_t space) {
        struct order o;
        int r;

        r = drm_tell_left(s, file, space, true);
        if (r)
                return r;
        order_drm_space(&o, file, space);
        o.body.drm_space.off = true;
        return order_run(s, NULL, &o);
}

int svmd_drm_check(svmd_session *s, svmd_drm file, uint32_t space, uint64_t *ret) {
        struct svmd_fence_result result;
        struct order o;
        int r = drm_tell_left(s, file, space, false);

        if (r)
                return r;
        order_drm_check(&o, file, space);
        r = order_run_for(s, &o, &result);
        if (!r)
                *ret = result.value;
        return r;
}

/* ---- bindings ---- */

/* The messages of a vector, and the pointers to them that a message has. */
struct vector {
        Svmd__V1__DrmBinding *rows, **list;
        Svmd__V1__DrmSync sync[2][16], *syncs[2][16];
};

static void fill(Svmd__V1__DrmBinding *m, const struct svmd_drm_binding *b) {
        svmd__v1__drm_binding__init(m);
        m->what = (Svmd__V1__DrmWhat)b->what;
        m->address = (uintptr_t)b->address;
        m->size = b->length;
        m->handle = b->handle;
        m->offset = b->offset;
        m->access = b->access;
        m->pat = b->pat;
        m->kind = b->kind;
        m->replace = b->replace != 0;
        m->advice = (Svmd__V1__DrmAdvice)b->advice;
        m->value = b->value;
}

/* Their size is in each: a program that was built against an older header has shorter ones. */
static int fill_all(struct vector *v, const struct svmd_drm_binding *list, size_t count) {
        const char *at = (const char *)list;
        struct svmd_drm_binding b;
        int r = 0;

        for (size_t i = 0; !r && i < count; i++) {
                r = options_take(&b, sizeof(b), at, "svmd_drm_binding");
                if (r)
                        break;
                fill(&v->rows[i], &b);
                v->list[i] = &v->rows[i];
                at += ((const struct svmd_drm_binding *)at)->size;
        }
        return r;
}

static int fill_syncs(struct vector *v, unsigned which, const struct svmd_drm_sync *list, size_t count) {
        if (count > 16)
                return fail(SVMD_E_INVALID, "%zu fences were named, and 16 can be", count);
        for (size_t i = 0; i < count; i++) {
                Svmd__V1__DrmSync *m = &v->sync[which][i];

                svmd__v1__drm_sync__init(m);
                m->handle = list[i].handle;
                m->point = list[i].point;
                v->syncs[which][i] = m;
        }
        return 0;
}

static int fill_order(struct order *o, struct vector *v, const struct svmd_drm_binding *list, size_t count,
                      const struct svmd_drm_bind_options *opts) {
        Svmd__V1__DrmBind *m = &o->body.drm_bind;
        int r = fill_all(v, list, count);

        if (!r)
                r = fill_syncs(v, 0, opts->wait, opts->wait_count);
        if (!r)
                r = fill_syncs(v, 1, opts->signal, opts->signal_count);
        m->bindings = v->list;
        m->n_bindings = count;
        m->wait = v->syncs[0];
        m->n_wait = opts->wait_count;
        m->signal = v->syncs[1];
        m->n_signal = opts->signal_count;
        return r;
}

int svmd_drm_bind(svmd_session *s, svmd_fence **ret, svmd_drm file, uint32_t space, const struct svmd_drm_binding *list,
                  size_t count, const struct svmd_drm_bind_options *given) {
        struct svmd_drm_bind_options opts = { 0 };
        struct vector v;
        struct order o;
        int r = given ? options_take(&opts, sizeof(opts), given, "svmd_drm_bind_options") : 0;

        if (r)
                return r;
        if (count == 0 || count > SVMD_OPS_MAX)
                return fail(SVMD_E_INVALID, "1 to %u bindings can be asked for at once, and not %zu", SVMD_OPS_MAX,
                            count);
        if (list && drm_is_left(s, file, space, (uintptr_t)list->address)) {
                if (ret || opts.wait_count || opts.signal_count)
                        return fail(SVMD_E_BUSY,
                                    "this process binds at %p itself, where bindings have no fences: end "
                                    "that first (svmd_drm_settle)",
                                    list->address);
                return drm_bind_left(s, file, space, list, count);
        }
        v.rows = calloc(count, sizeof(*v.rows));
        v.list = calloc(count, sizeof(*v.list));
        order_drm_bind(&o, file, space);
        r = v.rows && v.list ? fill_order(&o, &v, list, count, &opts) : fail_memory();
        if (!r)
                r = order_run(s, ret, &o);
        free(v.rows);
        free(v.list);
        return r;
}
