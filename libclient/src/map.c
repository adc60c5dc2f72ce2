#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "options.h"
#include "va.h"
#include "vector.h"
#include "wire.h"

/* ---- reservations ---- */

static int reserve(svmd_session *s, struct item *item, void **ret) {
        struct svmd_result result;
        int r = vector_run(s, item, 1, SVMD_ALL_OR_NOTHING, &result);

        if (!r)
                *ret = (void *)(uintptr_t)result.address;
        return r;
}

int svmd_address_reserve(svmd_session *s, void **ret, size_t size, size_t alignment, void *address,
                         const struct svmd_reserve_options *given) {
        struct svmd_reserve_options opts;
        struct item item;
        int r = session_check(s);

        if (!r)
                r = options_take(&opts, sizeof(opts), given, "svmd_reserve_options");
        if (r)
                return r;
        item_reserve(&item, size, alignment, address);
        if (opts.name) {
                item.body.reserve.name = (char *)opts.name;
                item.body.reserve.mode = opts.mode ? opts.mode : 0600;
        }
        return session_leave(s, reserve(s, &item, ret));
}

static int ask_open(svmd_session *s, const char *name, unsigned access, struct reservation *r) {
        Svmd__V1__Open body = SVMD__V1__OPEN__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int error;

        body.name = (char *)name;
        body.access = access;
        op.op_case = SVMD__V1__OP__OP_OPEN;
        op.open = &body;
        error = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (error)
                return error;
        r->id = result->id;
        r->range.start = result->address;
        r->range.end = result->address + result->size;
        r->generation = result->generation;
        r->access = access;
        r->shared = true;
        call_put(s, c);
        return 0;
}

static void close_again(svmd_session *s, uint64_t id) {
        Svmd__V1__Free body = SVMD__V1__FREE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        char text[ERROR_MAX];

        error_save(text);
        body.reservation = id;
        op.op_case = SVMD__V1__OP__OP_FREE;
        op.free = &body;
        call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
        error_restore(text);
}

/* With `va_lock` held. Takes `r` over. */
static int open_reservation(svmd_session *s, struct reservation *r, const char *name, unsigned access) {
        int error = ask_open(s, name, access, r);
        uint64_t id = r->id;

        if (error) {
                free(r);
                return error;
        }
        if (ranges_find(&s->reservations, r->range.start, r->range.end)) {
                free(r);
                return fail(SVMD_E_TAKEN, "this session has the reservation %s already", name);
        }
        va_add(s, r);
        error = va_refresh(s, r);
        if (error) {
                va_drop(s, r);
                close_again(s, id);
        }
        return error;
}

int svmd_address_open(svmd_session *s, void **ret, size_t *ret_size, const char *name, unsigned access) {
        struct reservation *r;
        int error = session_check(s);

        if (!error && !name)
                error = fail(SVMD_E_NAME, "no name was given of the reservation to open");
        if (error)
                return error;
        r = calloc(1, sizeof(*r));
        if (!r)
                return fail_memory();
        pthread_mutex_lock(&s->va_lock);
        error = open_reservation(s, r, name, access);
        if (!error) {
                *ret = (void *)(uintptr_t)r->range.start;
                if (ret_size)
                        *ret_size = r->range.end - r->range.start;
        }
        pthread_mutex_unlock(&s->va_lock);
        return session_leave(s, error);
}

static int run_one(svmd_session *s, struct item *item) {
        return session_leave(s, vector_run(s, item, 1, SVMD_ALL_OR_NOTHING, NULL));
}

int svmd_address_free(svmd_session *s, void *address) {
        struct item item;
        int r = session_check(s);

        if (!r)
                r = item_free(s, &item, address);
        return r ? r : run_one(s, &item);
}

static void copy_name(char *ret, size_t room, const char *name) {
        size_t length = strnlen(name, room - 1);

        memcpy(ret, name, length);
        ret[length] = 0;
}

int svmd_address_query(svmd_session *s, const void *address, struct svmd_address_info *info) {
        Svmd__V1__ReservationQuery body = SVMD__V1__RESERVATION_QUERY__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        struct svmd_address_info found = { 0 };
        const Svmd__V1__Result *result;
        struct call *c;
        int r = session_check(s);

        if (r)
                return r;
        body.address = (uintptr_t)address;
        op.op_case = SVMD__V1__OP__OP_RESERVATION_QUERY;
        op.reservation_query = &body;
        r = call_one(s, &op, SVMD__V1__MODE__BEST_EFFORT, &c, &result);
        if (r)
                return session_leave(s, r);
        if (result->detail_case == SVMD__V1__RESULT__DETAIL_RESERVATIONS && result->reservations->n_reservations) {
                const Svmd__V1__Reservation *row = result->reservations->reservations[0];

                found.reservation = row->id;
                found.address = (void *)(uintptr_t)row->address;
                found.length = row->size;
                found.generation = row->generation;
                found.owner = row->session;
                copy_name(found.name, sizeof(found.name), row->name);
        } else {
                r = fail(SVMD_E_NO_SUCH, "no reservation contains %p", address);
        }
        call_put(s, c);
        if (!r)
                r = options_give(info, &found, sizeof(found), "svmd_address_info");
        return session_leave(s, r);
}

/* ---- mappings ---- */

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
