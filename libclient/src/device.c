#include "agent/cuda.h"
#include "error.h"
#include "fence.h"
#include "options.h"
#include "wire.h"

static int submit(svmd_session *s, struct svmd_fence *f, const struct svmd_device_op *op) {
        Svmd__V1__Submit body = SVMD__V1__SUBMIT__INIT;
        Svmd__V1__Op wire = SVMD__V1__OP__INIT, *ops[] = { &wire };
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        struct call *c;
        int r;

        body.space = op->space;
        body.op = (Svmd__V1__DeviceOp)op->op;
        body.dst = op->dst;
        body.src = op->src;
        body.size = op->length;
        body.value = op->value;
        body.notify = f->eventfd >= 0;
        wire.op_case = SVMD__V1__OP__OP_SUBMIT;
        wire.submit = &body;
        request.n_ops = 1;
        request.ops = ops;
        r = call_run(s, &request, &f->eventfd, f->eventfd >= 0, &f, &c);
        if (r)
                return r;
        r = fail_result(call_result(c, 0));
        call_put(s, c);
        return r;
}

int svmd_submit(svmd_session *s, svmd_fence **ret, const struct svmd_device_op *given) {
        struct svmd_device_op op;
        struct svmd_fence *f = NULL;
        int r = session_check(s);

        if (!r && !given)
                r = fail(SVMD_E_INVALID, "no operation was given to submit");
        if (!r)
                r = options_take(&op, sizeof(op), given, "svmd_device_op");
        if (!r && (op.flags & ~(unsigned)SVMD_SUBMIT_EVENTFD))
                r = fail(SVMD_E_INVALID, "svmd_device_op.flags is %#x; only SVMD_SUBMIT_EVENTFD is known", op.flags);
        if (!r)
                r = fence_new(s, op.flags & SVMD_SUBMIT_EVENTFD, &f);
        if (r)
                return r;
        r = submit(s, f, &op);
        if (r)
                fence_destroy(f);
        else
                *ret = f;
        return session_leave(s, r);
}

/* svmd has made the space; what is mapped there this process maps itself, or there is none. */
static int begin_cuda(svmd_session *s, svmd_space space, svmd_node node) {
        Svmd__V1__SpaceDestroy body = SVMD__V1__SPACE_DESTROY__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        char text[ERROR_MAX];
        int r = cuda_space_begin(s, space, node);

        if (!r)
                return 0;
        error_save(text);
        body.space = space;
        op.op_case = SVMD__V1__OP__OP_SPACE_DESTROY;
        op.space_destroy = &body;
        (void)call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
        error_restore(text);
        return r;
}

int svmd_space_create(svmd_session *s, svmd_space *ret, svmd_node node) {
        Svmd__V1__SpaceCreate body = SVMD__V1__SPACE_CREATE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        svmd_space space;
        uint64_t kind;
        struct call *c;
        int r = session_check(s);

        if (r)
                return r;
        body.node = node;
        op.op_case = SVMD__V1__OP__OP_SPACE_CREATE;
        op.space_create = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return session_leave(s, r);
        space = result->id;
        kind = result->value;
        call_put(s, c);
        if (kind == SVMD_NODE_CUDA)
                r = begin_cuda(s, space, node);
        if (!r)
                *ret = space;
        return session_leave(s, r);
}

int svmd_space_destroy(svmd_session *s, svmd_space space) {
        Svmd__V1__SpaceDestroy body = SVMD__V1__SPACE_DESTROY__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        cuda_space_end(s, space);
        body.space = space;
        op.op_case = SVMD__V1__OP__OP_SPACE_DESTROY;
        op.space_destroy = &body;
        return session_leave(s, call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT));
}

int svmd_translate(svmd_session *s, svmd_space space, uint64_t address, struct svmd_translation *ret) {
        struct svmd_translation t = { 0 };
        Svmd__V1__Translate body = SVMD__V1__TRANSLATE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r = session_check(s);

        if (r)
                return r;
        body.space = space;
        body.address = address;
        op.op_case = SVMD__V1__OP__OP_TRANSLATE;
        op.translate = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return session_leave(s, r);
        if (result->detail_case == SVMD__V1__RESULT__DETAIL_TRANSLATE) {
                const Svmd__V1__TranslateResult *w = result->translate;

                t = (struct svmd_translation){ 0, w->valid, w->sparse, w->access, w->pat, w->kind, w->node, w->offset };
        }
        call_put(s, c);
        return session_leave(s, options_give(ret, &t, sizeof(t), "svmd_translation"));
}
