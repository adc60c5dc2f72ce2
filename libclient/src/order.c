#include "order.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "fence.h"
#include "proto/limits.h"
#include "wire.h"

/* ---- what is asked for ---- */

static void order_init(struct order *o, Svmd__V1__Op__OpCase op_case) {
        svmd__v1__op__init(&o->op);
        o->op.op_case = op_case;
}

static void init_migrate(struct order *o, uint64_t address, uint64_t size) {
        order_init(o, SVMD__V1__OP__OP_MIGRATE);
        svmd__v1__migrate__init(&o->body.migrate);
        o->body.migrate.address = address;
        o->body.migrate.size = size;
}

void order_migrate(struct order *o, const char *partition, uint64_t address, uint64_t size, svmd_node node) {
        init_migrate(o, address, size);
        o->body.migrate.node = node;
        if (partition)
                o->body.migrate.partition = (char *)partition;
}

void order_prefetch(struct order *o, uint64_t address, uint64_t size, svmd_node node) {
        init_migrate(o, address, size);
        o->body.migrate.node = node;
        o->body.migrate.prefetch = true;
}

void order_evict(struct order *o, const char *partition, uint64_t address, uint64_t size) {
        init_migrate(o, address, size);
        o->body.migrate.evict = true;
        if (partition)
                o->body.migrate.partition = (char *)partition;
}

void order_discard(struct order *o, const char *partition, uint64_t address, uint64_t size) {
        order_init(o, SVMD__V1__OP__OP_DISCARD);
        svmd__v1__discard__init(&o->body.discard);
        o->body.discard.address = address;
        o->body.discard.size = size;
        if (partition)
                o->body.discard.partition = (char *)partition;
}

void order_pin(struct order *o, uint64_t address, uint64_t size) {
        order_init(o, SVMD__V1__OP__OP_PIN);
        svmd__v1__pin__init(&o->body.pin);
        o->body.pin.address = address;
        o->body.pin.size = size;
}

void order_revoke(struct order *o, const char *partition, uint64_t address, bool off) {
        order_init(o, SVMD__V1__OP__OP_REVOKE);
        svmd__v1__revoke__init(&o->body.revoke);
        o->body.revoke.address = address;
        o->body.revoke.off = off;
        if (partition)
                o->body.revoke.partition = (char *)partition;
}

void order_steal(struct order *o, uint64_t address) {
        order_init(o, SVMD__V1__OP__OP_STEAL);
        svmd__v1__steal__init(&o->body.steal);
        o->body.steal.address = address;
}

void order_observe(struct order *o, const char *partition, uint64_t address, uint64_t size) {
        order_init(o, SVMD__V1__OP__OP_OBSERVE);
        svmd__v1__observe__init(&o->body.observe);
        o->body.observe.address = address;
        o->body.observe.size = size;
        if (partition)
                o->body.observe.partition = (char *)partition;
}

void order_exclusive(struct order *o, uint64_t address, uint64_t size, svmd_node node) {
        order_init(o, SVMD__V1__OP__OP_EXCLUSIVE);
        svmd__v1__exclusive__init(&o->body.exclusive);
        o->body.exclusive.address = address;
        o->body.exclusive.size = size;
        o->body.exclusive.node = node;
}

void order_drm_space(struct order *o, uint64_t file, uint32_t space) {
        order_init(o, SVMD__V1__OP__OP_DRM_SPACE);
        svmd__v1__drm_space__init(&o->body.drm_space);
        o->body.drm_space.file = file;
        o->body.drm_space.space = space;
}

void order_drm_bind(struct order *o, uint64_t file, uint32_t space) {
        order_init(o, SVMD__V1__OP__OP_DRM_BIND);
        svmd__v1__drm_bind__init(&o->body.drm_bind);
        o->body.drm_bind.file = file;
        o->body.drm_bind.space = space;
}

void order_drm_check(struct order *o, uint64_t file, uint32_t space) {
        order_init(o, SVMD__V1__OP__OP_DRM_CHECK);
        svmd__v1__drm_check__init(&o->body.drm_check);
        o->body.drm_check.file = file;
        o->body.drm_check.space = space;
}

void order_node_set(struct order *o, svmd_node node, unsigned action) {
        order_init(o, SVMD__V1__OP__OP_NODE_SET);
        svmd__v1__node_set__init(&o->body.node_set);
        o->body.node_set.node = node;
        o->body.node_set.action = (Svmd__V1__NodeAction)action;
}

/* ---- sending ---- */

static int send_all(svmd_session *s, struct order *orders, size_t count, struct svmd_fence **fences,
                    struct call **ret) {
        Svmd__V1__Op *ops[SVMD_OPS_MAX];
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;

        for (size_t i = 0; i < count; i++) {
                /* All members of both unions are pointers to, and bodies of, messages. */
                orders[i].op.hello = (void *)&orders[i].body;
                ops[i] = &orders[i].op;
        }
        request.mode = SVMD__V1__MODE__BEST_EFFORT;
        request.n_ops = count;
        request.ops = ops;
        return call_run(s, &request, NULL, 0, fences, ret);
}

static void destroy_all(struct svmd_fence **fences, size_t count) {
        for (size_t i = 0; i < count; i++) {
                if (fences[i])
                        fence_destroy(fences[i]);
                fences[i] = NULL;
        }
}

static int make_all(svmd_session *s, struct svmd_fence **fences, size_t count) {
        int r = 0;

        for (size_t i = 0; i < count; i++)
                fences[i] = NULL;
        for (size_t i = 0; !r && i < count; i++)
                r = fence_new(s, false, &fences[i]);
        if (r)
                destroy_all(fences, count);
        return r;
}

/* Fences of what was refused were never linked. */
static int take_refusals(const struct call *c, struct svmd_fence **fences, size_t count) {
        int first = 0;

        for (size_t i = 0; i < count; i++) {
                const Svmd__V1__Result *result = call_result(c, i);

                if (!result->code)
                        continue;
                if (!first)
                        first = fail_result(result);
                fence_destroy(fences[i]);
                fences[i] = NULL;
        }
        return first;
}

static int submit(svmd_session *s, struct order *orders, size_t count, struct svmd_fence **fences) {
        struct call *c;
        int r = make_all(s, fences, count);

        if (r)
                return r;
        r = send_all(s, orders, count, fences, &c);
        if (r) {
                destroy_all(fences, count);
                return r;
        }
        r = take_refusals(c, fences, count);
        call_put(s, c);
        return r;
}

/* Waits for what there is and frees it. `first`, the failure so far, is the result if there is one. */
static int finish_all(struct svmd_fence **fences, size_t count, int first) {
        char text[ERROR_MAX];

        error_save(text);
        for (size_t i = 0; i < count; i++) {
                int r = fences[i] ? fence_wait(fences[i], -1, NULL) : 0;

                if (r && !first) {
                        first = r;
                        error_save(text);
                }
                svmd_fence_free(fences[i]);
        }
        error_restore(text);
        return first;
}

int order_run_inside(svmd_session *s, struct order *o) {
        struct svmd_fence *f;
        int r = submit(s, o, 1, &f);

        return r ? r : finish_all(&f, 1, 0);
}

int order_run_for(svmd_session *s, struct order *o, struct svmd_fence_result *ret) {
        struct svmd_fence *f;
        int r = session_check(s);

        if (r)
                return r;
        r = submit(s, o, 1, &f);
        if (!r) {
                r = fence_wait(f, -1, ret);
                svmd_fence_free(f);
        }
        return session_leave(s, r);
}

int order_run(svmd_session *s, svmd_fence **ret, struct order *o) {
        struct svmd_fence *f;
        int r = session_check(s);

        if (r)
                return r;
        r = submit(s, o, 1, &f);
        if (!r && ret)
                *ret = f;
        else if (!r)
                r = finish_all(&f, 1, 0);
        return session_leave(s, r);
}

int order_run_all(svmd_session *s, svmd_fence **ret, struct order *orders, size_t count) {
        struct svmd_fence **fences = ret;
        int r = session_check(s);

        if (r)
                return r;
        if (!fences)
                fences = calloc(count, sizeof(struct svmd_fence *));
        if (!fences)
                return fail_memory();
        r = submit(s, orders, count, fences);
        if (!ret) {
                r = finish_all(fences, count, r);
                free(fences);
        }
        return session_leave(s, r);
}
