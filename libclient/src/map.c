#include "vector.h"
#include "wire.h"

/* What is shown where, and with what access and attributes. */

static int run_one(svmd_session *s, struct item *item) {
        return session_leave(s, vector_run(s, item, 1, SVMD_ALL_OR_NOTHING, NULL));
}

int svmd_mem_map(svmd_session *s, svmd_space space, uint64_t address, size_t size, size_t offset, svmd_mem mem,
                 unsigned access, unsigned flags) {
        struct item item;
        int r = session_check(s);

        if (r)
                return r;
        item_map(&item, space, address, size, offset, mem, access, flags);
        return run_one(s, &item);
}

int svmd_mem_unmap(svmd_session *s, svmd_space space, uint64_t address, size_t size) {
        struct item item;
        int r = session_check(s);

        if (r)
                return r;
        item_unmap(&item, space, address, size);
        return run_one(s, &item);
}

int svmd_mem_set_access(svmd_session *s, svmd_space space, uint64_t address, size_t size, unsigned access) {
        struct item item;
        int r = session_check(s);

        if (r)
                return r;
        item_set_access(&item, space, address, size, access);
        return run_one(s, &item);
}

int svmd_mem_set_attributes(svmd_session *s, svmd_space space, uint64_t address, size_t size, unsigned pat,
                            unsigned kind) {
        Svmd__V1__SetAttributes body = SVMD__V1__SET_ATTRIBUTES__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        body.space = space;
        body.address = address;
        body.size = size;
        body.pat = pat;
        body.kind = kind;
        op.op_case = SVMD__V1__OP__OP_SET_ATTRIBUTES;
        op.set_attributes = &body;
        return session_leave(s, call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT));
}

int svmd_sparse_map(svmd_session *s, svmd_space space, uint64_t address, size_t size, unsigned writes) {
        struct item item;
        int r = session_check(s);

        if (r)
                return r;
        item_sparse_map(&item, space, address, size, writes);
        return run_one(s, &item);
}

int svmd_sparse_unmap(svmd_session *s, svmd_space space, uint64_t address, size_t size) {
        struct item item;
        int r = session_check(s);

        if (r)
                return r;
        item_sparse_unmap(&item, space, address, size);
        return run_one(s, &item);
}
