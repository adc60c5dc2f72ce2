#include "error.h"
#include "options.h"
#include "wire.h"

/* Memory that is a driver's: into svmd's hands, and back. */

static int import(svmd_session *s, svmd_mem *ret, size_t *ret_size, int fd, const struct svmd_dmabuf_options *opts) {
        Svmd__V1__DmabufImport body = SVMD__V1__DMABUF_IMPORT__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.size = opts->length;
        body.node = opts->set_node ? opts->node + 1 : 0;
        op.op_case = SVMD__V1__OP__OP_DMABUF_IMPORT;
        op.dmabuf_import = &body;
        r = call_one_fd(s, &op, fd, &c, &result);
        if (r)
                return r;
        *ret = result->id;
        if (ret_size)
                *ret_size = result->size;
        call_put(s, c);
        return 0;
}

int svmd_mem_import_dmabuf(svmd_session *s, svmd_mem *ret, size_t *ret_size, int fd,
                           const struct svmd_dmabuf_options *given) {
        struct svmd_dmabuf_options opts;
        int r = session_check(s);

        if (!r)
                r = options_take(&opts, sizeof(opts), given, "svmd_dmabuf_options");
        if (!r && opts.set_node && opts.node == SVMD_NODE_NONE)
                r = fail(SVMD_E_NO_NODE, "SVMD_NODE_NONE is no node to charge; name a host node, or set_node 0");
        if (r)
                return r;
        return session_leave(s, import(s, ret, ret_size, fd, &opts));
}

static int export(svmd_session *s, int *ret_fd, size_t *ret_size, svmd_mem mem) {
        Svmd__V1__MemDmabuf body = SVMD__V1__MEM_DMABUF__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int fd, r;

        body.memory = mem;
        op.op_case = SVMD__V1__OP__OP_MEM_DMABUF;
        op.mem_dmabuf = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return r;
        fd = fdlist_steal(&c->in->fds);
        if (fd < 0) {
                r = fail(SVMD_E_FD_COUNT, "svmd sent no dma-buf for memory %llu", (unsigned long long)mem);
        } else {
                *ret_fd = fd;
                if (ret_size)
                        *ret_size = result->size;
        }
        call_put(s, c);
        return r;
}

int svmd_mem_export_dmabuf(svmd_session *s, int *ret_fd, size_t *ret_size, svmd_mem mem) {
        int r = session_check(s);

        return r ? r : session_leave(s, export(s, ret_fd, ret_size, mem));
}
