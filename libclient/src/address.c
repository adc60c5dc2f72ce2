#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kfd.h"
#include "error.h"
#include "managed.h"
#include "options.h"
#include "order.h"
#include "row.h"
#include "va.h"
#include "vector.h"
#include "wire.h"

/* Reservations: taken, opened, given back. */

static void take_reply(struct reservation *r, const Svmd__V1__Result *result) {
        r->id = result->id;
        r->range.start = result->address;
        r->range.end = result->address + result->size;
        r->generation = result->generation;
}

static void close_again(svmd_session *s, uint64_t id) {
        Svmd__V1__Free body = SVMD__V1__FREE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;

        body.reservation = id;
        op.op_case = SVMD__V1__OP__OP_FREE;
        op.free = &body;
        call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT);
}

/* With `va_lock` held. The session has it at svmd; now this process shows it, or it is given back. Takes `r` over. */
static int begin(svmd_session *s, struct reservation *r, void **ret, size_t *ret_size) {
        uint64_t id = r->id, start = r->range.start, size = r->range.end - start;
        char text[ERROR_MAX];
        int error;

        va_add(s, r);
        error = r->own ? managed_show_own(s, r) : r->granule ? managed_show(s, r) : va_refresh(s, r);
        if (error) {
                error_save(text);
                va_drop(s, r);
                close_again(s, id);
                error_restore(text);
                return error;
        }
        *ret = (void *)(uintptr_t)start;
        if (ret_size)
                *ret_size = size;
        return 0;
}

/* ---- reserve ---- */

static int reserve_explicit(svmd_session *s, struct item *item, void **ret) {
        struct svmd_result result;
        int r = vector_run(s, item, 1, SVMD_ALL_OR_NOTHING, &result);

        if (!r)
                *ret = (void *)(uintptr_t)result.address;
        return r;
}

static int ask_reserve(svmd_session *s, struct item *item, struct reservation *r) {
        const Svmd__V1__Result *result;
        struct call *c;
        int error;

        item->op.reserve = &item->body.reserve;
        error = call_one(s, &item->op, SVMD__V1__MODE__ALL_OR_NOTHING, &c, &result);
        if (error)
                return error;
        take_reply(r, result);
        r->access = SVMD_ACCESS_READ_WRITE;
        r->shared = item->body.reserve.name[0];
        r->own = item->body.reserve.kind == SVMD__V1__RESERVATION_KIND__PRIVATE;
        if (!r->own)
                r->granule = item->body.reserve.granule ? item->body.reserve.granule : (uint32_t)SVMD_PAGE;
        call_put(s, c);
        return 0;
}

static int reserve_managed(svmd_session *s, struct item *item, void **ret) {
        struct reservation *r = calloc(1, sizeof(*r));
        int error;

        if (!r)
                return fail_memory();
        pthread_mutex_lock(&s->va_lock);
        error = ask_reserve(s, item, r);
        if (error)
                free(r);
        else
                error = begin(s, r, ret, NULL);
        pthread_mutex_unlock(&s->va_lock);
        return error;
}

int svmd_address_reserve(svmd_session *s, void **ret, size_t size, size_t alignment, void *address,
                         const struct svmd_reserve_options *given) {
        struct svmd_reserve_options opts;
        struct item item;
        int r = session_check(s);

        if (!r)
                r = options_take(&opts, sizeof(opts), given, "svmd_reserve_options");
        if (!r && opts.kind > SVMD_PRIVATE)
                r = fail(SVMD_E_INVALID,
                         "svmd_reserve_options.kind is %u; it is SVMD_EXPLICIT, SVMD_SHARED or SVMD_PRIVATE",
                         opts.kind);
        if (r)
                return r;
        item_reserve(&item, size, alignment, address);
        if (opts.name) {
                item.body.reserve.name = (char *)opts.name;
                item.body.reserve.mode = opts.mode ? opts.mode : 0600;
        }
        item.body.reserve.kind = (Svmd__V1__ReservationKind)opts.kind;
        item.body.reserve.granule = opts.granule;
        item.body.reserve.flags = opts.flags;
        return session_leave(s, opts.kind != SVMD_EXPLICIT ? reserve_managed(s, &item, ret)
                                                           : reserve_explicit(s, &item, ret));
}

/* ---- open ---- */

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
        take_reply(r, result);
        r->access = access;
        r->shared = true;
        r->granule = (uint32_t)result->value;
        call_put(s, c);
        return 0;
}

/* With `va_lock` held. Takes `r` over. */
static int open_reservation(svmd_session *s, struct reservation *r, const char *name, unsigned access, void **ret,
                            size_t *ret_size) {
        int error = ask_open(s, name, access, r);

        if (!error && ranges_find(&s->reservations, r->range.start, r->range.end))
                error = fail(SVMD_E_TAKEN, "this session has the reservation %s already", name);
        if (error) {
                free(r);
                return error;
        }
        return begin(s, r, ret, ret_size);
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
        error = open_reservation(s, r, name, access, ret, ret_size);
        pthread_mutex_unlock(&s->va_lock);
        return session_leave(s, error);
}

/* ---- give back, take over, ask ---- */

int svmd_address_free(svmd_session *s, void *address) {
        struct item item;
        int r = session_check(s);

        if (!r)
                kfd_range_end(s, (uintptr_t)address);
        if (!r)
                r = item_free(s, &item, address);
        return r ? r : session_leave(s, vector_run(s, &item, 1, SVMD_ALL_OR_NOTHING, NULL));
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
                found.kind = row_kind(row);
                found.granule = row->granule;
                found.revoked = row->revoked;
        } else {
                r = fail(SVMD_E_NO_SUCH, "no reservation contains %p", address);
        }
        call_put(s, c);
        if (!r)
                r = options_give(info, &found, sizeof(found), "svmd_address_info");
        return session_leave(s, r);
}

int svmd_steal(svmd_session *s, const void *address) {
        struct reservation *record;
        struct order o;
        int r;

        order_steal(&o, (uintptr_t)address);
        r = order_run(s, NULL, &o);
        if (r)
                return r;
        pthread_mutex_lock(&s->va_lock);
        record = va_at(s, (uintptr_t)address);
        if (record && record->granule)
                r = managed_take(s, record);
        pthread_mutex_unlock(&s->va_lock);
        return session_leave(s, r);
}
