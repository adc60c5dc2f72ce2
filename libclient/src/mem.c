#include <unistd.h>

#include "agent/cuda.h"
#include "error.h"
#include "vector.h"
#include "wire.h"

static int run_one(svmd_session *s, struct item *item, struct svmd_result *result) {
        return session_leave(s, vector_run(s, item, 1, SVMD_ALL_OR_NOTHING, result));
}

static int check_node(svmd_session *s, svmd_node node, size_t *ret_granularity) {
        Svmd__V1__Nodes body = SVMD__V1__NODES__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.from = node;
        op.op_case = SVMD__V1__OP__OP_NODES;
        op.nodes = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        if (result->detail_case != SVMD__V1__RESULT__DETAIL_NODES || !result->nodes->n_nodes ||
            result->nodes->nodes[0]->id != node)
                r = fail(SVMD_E_NO_NODE, "there is no node %u; svmd_query_nodes() lists the nodes", node);
        else
                *ret_granularity = result->nodes->nodes[0]->kind == SVMD__V1__NODE_KIND__CUDA ? 2ul << 20 : SVMD_PAGE;
        call_put(s, c);
        return r;
}

int svmd_mem_granularity(svmd_session *s, size_t *ret, svmd_node node) {
        size_t granularity = SVMD_PAGE;
        int r = session_check(s);

        if (r)
                return r;
        r = check_node(s, node, &granularity);
        if (!r)
                *ret = granularity;
        return session_leave(s, r);
}

static int create(svmd_session *s, svmd_mem *ret, size_t size, svmd_node node, unsigned flags, svmd_lease lease) {
        struct svmd_result result;
        struct item item;
        int r = session_check(s);

        if (r)
                return r;
        if (!lease && flags & SVMD_MEM_SHAREABLE && cuda_makes(s, node))
                return session_leave(s, cuda_create_shareable(s, ret, size, node, flags));
        item_mem_create(&item, size, node, flags, lease);
        r = run_one(s, &item, &result);
        if (!r)
                *ret = result.id;
        return r;
}

int svmd_mem_create(svmd_session *s, svmd_mem *ret, size_t size, svmd_node node, unsigned flags) {
        return create(s, ret, size, node, flags, 0);
}

int svmd_mem_create_leased(svmd_session *s, svmd_mem *ret, size_t size, svmd_node node, unsigned flags,
                           svmd_lease lease) {
        if (!lease)
                return fail(SVMD_E_NO_SUCH, "0 is no lease");
        return create(s, ret, size, node, flags, lease);
}

int svmd_mem_release(svmd_session *s, svmd_mem mem) {
        struct item item;
        int r = session_check(s);

        if (r)
                return r;
        item_mem_release(&item, mem);
        return run_one(s, &item, NULL);
}

static int export(svmd_session *s, Svmd__V1__MemExport *body, int *ret_fd) {
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int fd, r;

        op.op_case = SVMD__V1__OP__OP_MEM_EXPORT;
        op.mem_export = body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        if (ret_fd) {
                fd = fdlist_steal(&c->in->fds);
                if (fd < 0)
                        r = fail(SVMD_E_FD_COUNT, "svmd sent no token for memory %llu",
                                 (unsigned long long)body->memory);
                else
                        *ret_fd = fd;
        }
        call_put(s, c);
        return r;
}

int svmd_mem_export(svmd_session *s, svmd_mem mem, const char *name, unsigned mode) {
        Svmd__V1__MemExport body = SVMD__V1__MEM_EXPORT__INIT;
        int r = session_check(s);

        if (!r && (!name || !name[0]))
                r = fail(SVMD_E_NAME, "no name was given to export the memory as");
        if (r)
                return r;
        body.memory = mem;
        body.name = (char *)name;
        body.mode = mode ? mode : 0600;
        return session_leave(s, export(s, &body, NULL));
}

int svmd_mem_export_fd(svmd_session *s, int *ret_fd, svmd_mem mem, unsigned access) {
        Svmd__V1__MemExport body = SVMD__V1__MEM_EXPORT__INIT;
        int r = session_check(s);

        if (r)
                return r;
        body.memory = mem;
        body.access = access;
        return session_leave(s, export(s, &body, ret_fd));
}

/* By name, or (name empty) by `fd`. */
static int import(svmd_session *s, svmd_mem *ret, size_t *ret_size, const char *name, int fd, unsigned access) {
        Svmd__V1__MemImport body = SVMD__V1__MEM_IMPORT__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT, *ops[] = { &op };
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.name = (char *)name;
        body.access = access;
        op.op_case = SVMD__V1__OP__OP_MEM_IMPORT;
        op.mem_import = &body;
        request.n_ops = 1;
        request.ops = ops;
        r = call_run(s, &request, &fd, name[0] == 0, NULL, &c);
        if (r)
                return r;
        result = call_result(c, 0);
        r = fail_result(result);
        if (!r) {
                *ret = result->id;
                if (ret_size)
                        *ret_size = result->size;
        }
        call_put(s, c);
        return r;
}

int svmd_mem_import(svmd_session *s, svmd_mem *ret, size_t *ret_size, const char *name, unsigned access) {
        int r = session_check(s);

        if (!r && (!name || !name[0]))
                r = fail(SVMD_E_NAME, "no name was given of the memory to import");
        if (r)
                return r;
        return session_leave(s, import(s, ret, ret_size, name, -1, access));
}

int svmd_mem_import_fd(svmd_session *s, svmd_mem *ret, size_t *ret_size, int fd, unsigned access) {
        int r = session_check(s);

        if (r)
                return r;
        return session_leave(s, import(s, ret, ret_size, "", fd, access));
}
