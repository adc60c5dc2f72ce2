#include "service/internal.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "core/imap.h"
#include "core/keeping.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/share.h"
#include "service/adopted.h"
#include "service/chain.h"
#include "service/effects.h"
#include "service/lookup.h"
#include "service/op_range.h"
#include "service/range.h"

/* Reservations: reserve, open, free, and what they show. */

static void tx_effect_text(struct tx *tx, uint16_t type, const void *fixed, size_t size, const char *text) {
        uint8_t bytes[sizeof(struct effect_reserve) + 64];
        size_t length = strlen(text) + 1;

        memcpy(bytes, fixed, size);
        memcpy(bytes + size, text, length);
        tx_effect(tx, type, bytes, size + length);
}

void effect_reserve(struct tx *tx, const struct reservation *r) {
        struct effect_reserve e = effect_of_reservation(r);

        tx_effect_text(tx, EFFECT_RESERVE, &e, sizeof(e), r->shared ? r->shared->name->text : "");
}

static void effect_private(struct tx *tx, const struct reservation *r) {
        struct effect_private e = { .reservation = r->object.id };

        tx_effect(tx, EFFECT_PRIVATE, &e, sizeof(e));
}

/* ---- reserve ---- */

static void reserve_undo(struct tx *tx, struct change *c) {
        private_end(tx->svc, c->a);
        reservation_unlink(&tx->svc->state, c->a);
        reservation_free(c->a);
}

static const struct change_kind reserve_change = { reserve_undo, NULL };

/* What only ranges of several processes have. */
static int check_private(struct call *c, const Svmd__V1__Reserve *m) {
        uint64_t max = c->svc->options.max_registered, has = c->session->registered;

        if (m->name[0])
                return refuse(c, SVMD_STATUS_INVALID,
                              "a private reservation is memory of one process, so nobody else can open it by a name: "
                              "leave the name out, or reserve a SHARED one");
        if (m->flags || (m->granule && m->granule != SVMD_PAGE))
                return refuse(c, SVMD_STATUS_INVALID,
                              "a private reservation has no flags, and its pages move one by one (granule 0 or 4096)");
        if (has > max || m->size > max - has)
                return refuse(c, SVMD_STATUS_LIMIT,
                              "%" PRIu64 " bytes of private memory are too much for this session: it has %" PRIu64
                              " registered or private, and max-registered-per-session is %" PRIu64,
                              m->size, has, max);
        return 0;
}

static int check_reserve(struct call *c, const Svmd__V1__Reserve *m) {
        const struct partition *p = c->session->partition;

        if (m->size == 0 || m->size % SVMD_PAGE)
                return refuse(c, SVMD_STATUS_SIZE, "size %" PRIu64 " is not a multiple of 4 KiB above 0", m->size);
        if (m->align & (m->align - 1) || (m->align && m->align < SVMD_PAGE) || m->align > VA_ALIGN_MAX)
                return refuse(c, SVMD_STATUS_ALIGN, "alignment %" PRIu64 " is not a power of two from 4 KiB to 1 GiB",
                              m->align);
        if (m->address % SVMD_PAGE || (m->align && m->address % m->align))
                return refuse(c, SVMD_STATUS_ALIGN, "address 0x%" PRIx64 " is not aligned as asked", m->address);
        if (m->size > p->slice.size ||
            (m->address && (m->address < p->slice.start || m->address - p->slice.start > p->slice.size - m->size)))
                return refuse(c, SVMD_STATUS_RANGE,
                              "0x%" PRIx64 " bytes at 0x%" PRIx64 " do not lie in the partition's slice, 0x%" PRIx64
                              " to 0x%" PRIx64,
                              m->size, m->address, p->slice.start, p->slice.start + p->slice.size);
        if (m->kind == SVMD__V1__RESERVATION_KIND__PRIVATE)
                return check_private(c, m) != 0 ? OP_REFUSED : check_quota(c, 1);
        if (m->kind != SVMD__V1__RESERVATION_KIND__EXPLICIT && m->kind != SVMD__V1__RESERVATION_KIND__SHARED)
                return refuse(c, SVMD_STATUS_INVALID, "svmd knows no reservation of kind %d", (int)m->kind);
        if (m->kind == SVMD__V1__RESERVATION_KIND__EXPLICIT && (m->granule || m->flags))
                return refuse(c, SVMD_STATUS_INVALID, "granule and flags are of managed reservations (kind SHARED)");
        if (m->name[0] && !name_ok(m->name))
                return refuse(c, SVMD_STATUS_NAME,
                              "a name is 1 to 63 letters, digits and . _ : - and begins with a letter or digit");
        if (m->mode > 0777)
                return refuse(c, SVMD_STATUS_INVALID, "mode %o is not one of a file", m->mode);
        return check_quota(c, 1);
}

int op_reserve(struct call *c) {
        const Svmd__V1__Reserve *m = c->op->reserve;
        struct session *s = c->session;
        struct reservation_args args = {
                .id = state_take_id(&c->svc->state),
                .address = m->address,
                .size = m->size,
                .align = m->align,
                .generation = ++c->svc->generation,
                .name = m->name,
                .uid = s->who.uid,
                .gid = s->who.gid,
                .mode = m->mode ? m->mode : 0600,
        };
        bool managed = m->kind == SVMD__V1__RESERVATION_KIND__SHARED;
        struct reservation *r;
        int k = check_reserve(c, m);

        if (k == 0 && managed)
                k = range_check(c, m, &args.align);
        if (k != 0)
                return k;
        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        k = reservation_new(&r, &c->svc->state, s->partition, s, &args);
        switch (k) {
        case RESERVATION_E_NAME:
                return refuse(c, SVMD_STATUS_TAKEN,
                              "the partition has a reservation named %s already; open it, or take another name",
                              m->name);
        case RESERVATION_E_TAKEN:
                if (reservation_retired_in(s->partition, m->address, m->size))
                        return refuse(c, SVMD_STATUS_TAKEN,
                                      "a managed reservation in 0x%" PRIx64 " to 0x%" PRIx64
                                      " has ended, and its last pages are on their way still; reserve again",
                                      m->address, m->address + m->size);
                return refuse(c, SVMD_STATUS_TAKEN, "something is reserved in 0x%" PRIx64 " to 0x%" PRIx64 " already",
                              m->address, m->address + m->size);
        case RESERVATION_E_FULL:
                return refuse(c, SVMD_STATUS_NO_VA,
                              "partition %s has no free run of 0x%" PRIx64
                              " bytes (at that alignment) left; free something, or use "
                              "a larger partition",
                              s->partition->name->text, m->size);
        }
        if (k == 0 && managed)
                k = range_begin(c, m, r);
        if (k != 0)
                return k;
        if (!managed)
                tx_push(c->tx, &reserve_change, r, NULL);
        if (m->kind == SVMD__V1__RESERVATION_KIND__PRIVATE)
                k = private_begin(c->svc, r);
        if (k != 0)
                return k;
        effect_reserve(c->tx, r);
        if (managed)
                effect_range(c->tx, managed_of(r));
        if (private_of(r))
                effect_private(c->tx, r);
        c->result->id = r->object.id;
        c->result->address = r->va.start;
        c->result->size = r->va.size;
        c->result->generation = r->generation;
        return 0;
}

/* ---- open ---- */

static void open_undo(struct tx *tx, struct change *c) {
        struct opening *o = c->a;

        managed_closed(tx->svc, o->reservation, o->session);
        opening_unlink(o);
        alloc_free(o);
}

static void open_commit(struct tx *tx, struct change *c) {
        keeping_used(((struct reservation *)c->b)->shared->keeping);
}

static const struct change_kind open_change = { open_undo, open_commit };

static int open_as_other(struct call *c, struct reservation *r, unsigned access) {
        struct session *s = c->session;
        struct opening *o = opening_new(r, s, access);
        struct effect_open e = { .reservation = r->object.id, .session = s->object.id, .access = access };

        if (!o)
                return -ENOMEM;
        if (managed_of(r) && managed_member_begin(c->svc, managed_of(r), s, access == RIGHT_READ) < 0) {
                alloc_free(o);
                return -ENOMEM;
        }
        opening_link(o);
        tx_push(c->tx, &open_change, o, r);
        tx_effect(c->tx, EFFECT_OPEN, &e, sizeof(e));
        return 0;
}

static void own_undo(struct tx *tx, struct change *c) {
        struct reservation *r = c->b;

        managed_closed(tx->svc, r, c->a);
        reservation_orphan(r);
        chain_range(tx->svc, managed_of(r));
}

static const struct change_kind own_change = { own_undo, open_commit };

/* What is kept has its owner back when his user opens it. */
static bool becomes_owner(const struct reservation *r, const struct session *s, unsigned access) {
        return !s->guest && !r->owner && r->shared->keeping && r->shared->name->uid == s->who.uid &&
               access & RIGHT_WRITE;
}

static int open_as_owner(struct call *c, struct reservation *r) {
        struct session *s = c->session;
        struct effect_own e = { .reservation = r->object.id, .session = s->object.id };

        if (managed_member_begin(c->svc, managed_of(r), s, false) < 0)
                return -ENOMEM;
        reservation_adopt(r, s);
        chain_range(c->svc, managed_of(r));
        tx_push(c->tx, &own_change, s, r);
        tx_effect(c->tx, EFFECT_OWN, &e, sizeof(e));
        return 0;
}

int op_open(struct call *c) {
        const Svmd__V1__Open *m = c->op->open;
        struct session *s = c->session;
        struct reservation *r = reservation_by_name(s->partition, m->name);
        bool there = r && !keeping_ending(r->shared->keeping);
        int k = check_quota(c, 1);

        if (k == 0)
                k = check_opening_access(c, m->access);
        if (k == 0)
                k = check_named(c, there ? r->shared->name : NULL, "reservation", m->name, "open", m->access);
        if (k != 0)
                return k;
        if (r->owner == s || opening_find(r, s))
                return refuse(c, SVMD_STATUS_TAKEN, "this session has %s open already", m->name);
        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        k = becomes_owner(r, s, m->access) ? open_as_owner(c, r) : open_as_other(c, r, m->access);
        if (k != 0)
                return k;
        c->result->id = r->object.id;
        c->result->address = r->va.start;
        c->result->size = r->va.size;
        c->result->value = managed_of(r) ? managed_of(r)->granule : 0;
        c->result->generation = r->generation;
        return 0;
}

/* ---- free: takes effect at commit; until then nothing has changed ---- */

static void free_undo(struct tx *tx, struct change *c) {
        struct reservation *r = c->b;

        r->freeing = false;
}

static void free_commit(struct tx *tx, struct change *c) {
        struct reservation *r = c->b;

        event_reservation(tx->svc, r, c->a, true);
        reservation_end(tx->svc, r);
}

static void close_undo(struct tx *tx, struct change *c) {
        struct opening *o = c->a;

        o->closing = false;
}

static void close_commit(struct tx *tx, struct change *c) {
        opening_end(tx->svc, c->a);
}

static const struct change_kind free_change = { free_undo, free_commit };
static const struct change_kind close_change = { close_undo, close_commit };

int reservation_give_up(struct call *c, struct reservation *r) {
        struct effect_id e = { .id = r->object.id };

        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        r->freeing = true;
        tx_push(c->tx, &free_change, c->session, r);
        tx_effect(c->tx, EFFECT_RESERVE_END, &e, sizeof(e));
        return 0;
}

int op_free(struct call *c) {
        struct session *s = c->session;
        struct effect_open close;
        struct reservation *r;
        struct opening *o;
        int k = find_reservation(c, c->op->free->reservation, &r);

        if (k != 0)
                return k;
        if (r->outside)
                return refuse(c, SVMD_STATUS_INVALID,
                              "reservation %" PRIu64 " is memory that was adopted: unregister gives it back",
                              r->object.id);
        if (r->owner == s)
                return reservation_give_up(c, r);
        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        o = opening_find(r, s);
        o->closing = true;
        close = (struct effect_open){ .reservation = r->object.id, .session = s->object.id };
        tx_push(c->tx, &close_change, o, NULL);
        tx_effect(c->tx, EFFECT_CLOSE, &close, sizeof(close));
        return 0;
}

/* A reservation ends for everyone. */
void reservation_end(struct service *svc, struct reservation *r) {
        struct mapping *e;

        if (managed_of(r))
                list_for_each_safe (l, &managed_of(r)->members)
                        managed_member_end(svc, container_of(l, struct managed_member, by_reservation));
        while ((e = vmap_first_from(&r->cpu, 0))) {
                struct memory *m = memory_of(e->backing);

                vmap_remove(&r->cpu, e);
                svc->state.mappings_count--;
                memory_left(svc, m);
        }
        if (r->shared)
                list_for_each_safe (l, &r->shared->openings) {
                        struct opening *o = container_of(l, struct opening, by_reservation);

                        opening_unlink(o);
                        alloc_free(o);
                }
        if (r->shared) {
                shares_drop(r->shared->name);
                keeping_drop(r->shared->keeping);
        }
        if (r->sparse)
                imap_clear(r->sparse);
        alloc_free(r->sparse);
        private_end(svc, r);
        if (managed_of(r)) {
                managed_end(svc, managed_of(r));
                return;
        }
        reservation_unlink(&svc->state, r);
        reservation_free(r);
}

void opening_end(struct service *svc, struct opening *o) {
        struct reservation *r = o->reservation;

        managed_closed(svc, r, o->session);
        opening_unlink(o);
        alloc_free(o);
        if (!reservation_idle(r))
                return;
        if (r->shared->keeping)
                keeping_left(svc, r->shared->keeping);
        else
                reservation_end(svc, r);
}

/* ---- queries ---- */

int op_reservation_query(struct call *c) {
        uint64_t address = c->op->reservation_query->address;
        struct reservation *r = adopted_or_at(c, c->session->partition, address);
        Svmd__V1__ReservationsResult *list;

        if (!r)
                return refuse(c, SVMD_STATUS_NO_SUCH, "nothing is reserved at 0x%" PRIx64, address);
        list = call_take(c, sizeof(*list));
        if (!list || !(list->reservations = call_take(c, sizeof(*list->reservations))))
                return -ENOMEM;
        list->base.descriptor = &svmd__v1__reservations_result__descriptor;
        list->reservations[0] = reservation_row(c, r);
        if (!list->reservations[0])
                return -ENOMEM;
        list->n_reservations = 1;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_RESERVATIONS;
        c->result->reservations = list;
        return 0;
}

Svmd__V1__Mapping *mapping_row(struct call *c, const struct mapping *e) {
        Svmd__V1__Mapping *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__mapping__init(row);
        row->address = e->va;
        row->size = e->size;
        row->memory = memory_of(e->backing)->object.id;
        row->offset = e->offset;
        row->access = e->attrs.access;
        return row;
}

int op_layout(struct call *c) {
        const Svmd__V1__Layout *m = c->op->layout;
        Svmd__V1__LayoutResult *list;
        struct reservation *r;
        struct mapping *e;
        int k = find_reservation(c, m->reservation, &r);

        if (k != 0)
                return k;
        list = call_take(c, sizeof(*list));
        if (!list)
                return -ENOMEM;
        svmd__v1__layout_result__init(list);
        list->mappings = call_take(c, SVMD_ROWS_MAX * sizeof(*list->mappings));
        if (!list->mappings)
                return -ENOMEM;
        for (e = vmap_first_from(&r->cpu, m->from); e && list->n_mappings < SVMD_ROWS_MAX; e = vmap_next(e)) {
                if (!(list->mappings[list->n_mappings++] = mapping_row(c, e)))
                        return -ENOMEM;
        }
        c->result->more = e != NULL;
        c->result->id = r->object.id;
        c->result->generation = r->generation;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_LAYOUT;
        c->result->layout = list;
        return 0;
}
