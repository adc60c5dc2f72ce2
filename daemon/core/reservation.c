#include "core/reservation.h"

#include <errno.h>

#include "base/alloc.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/session.h"
#include "core/state.h"

static int make_shared(struct reservation *r, const struct reservation_args *args) {
        if (!args->name || !args->name[0])
                return 0;
        if (name_find(&r->partition->reservation_names, args->name))
                return RESERVATION_E_NAME;
        r->shared = alloc_zero(sizeof(*r->shared));
        if (!r->shared)
                return -ENOMEM;
        list_init(&r->shared->openings);
        r->shared->name = name_new(args->name, r, args->uid, args->gid, args->mode);
        return r->shared->name ? 0 : -ENOMEM;
}

static int take_addresses(struct reservation *r, const struct reservation_args *args) {
        int k;

        if (args->outside) {
                r->outside = true;
                r->va.start = args->address;
                r->va.size = args->size;
                return 0;
        }
        if (args->address)
                k = va_alloc_at(&r->partition->va, &r->va, args->address, args->size);
        else
                k = va_alloc(&r->partition->va, &r->va, args->size, args->align ? args->align : VA_PAGE);
        if (k == VA_E_FULL)
                return RESERVATION_E_FULL;
        return k == VA_E_TAKEN ? RESERVATION_E_TAKEN : k;
}

static void link_but_addresses(struct state *s, struct reservation *r) {
        ids_add(&s->ids, &r->object);
        if (r->owner) {
                list_push_back(&r->owner->reservations, &r->by_owner);
                r->owner->reservations_count++;
                r->owner->objects++;
        }
        if (r->shared)
                name_link(&r->partition->reservation_names, r->shared->name);
        r->partition->reservations_count++;
        s->reservations_count++;
}

int reservation_new(struct reservation **ret, struct state *s, struct partition *p, struct session *owner,
                    const struct reservation_args *args) {
        struct reservation *r;
        int k;

        if (ids_reserve(&s->ids, 1) < 0)
                return -ENOMEM;
        r = slab_take(&s->reservations);
        if (!r)
                return -ENOMEM;
        r->object = (struct object){ .id = args->id, .type = OBJECT_RESERVATION };
        r->partition = p;
        r->owner = owner;
        r->generation = args->generation;
        list_init(&r->by_owner);
        vmap_init(&r->cpu);
        k = make_shared(r, args);
        if (k == 0)
                k = take_addresses(r, args);
        if (k != 0) {
                reservation_free(r);
                return k;
        }
        link_but_addresses(s, r);
        *ret = r;
        return 0;
}

static void unlink_but_addresses(struct state *s, struct reservation *r) {
        ids_remove(&s->ids, &r->object);
        if (r->owner) {
                list_remove(&r->by_owner);
                r->owner->reservations_count--;
                r->owner->objects--;
        }
        if (r->shared)
                name_unlink(&r->partition->reservation_names, r->shared->name);
        r->partition->reservations_count--;
        s->reservations_count--;
}

static void give_addresses(struct reservation *r) {
        if (!r->outside)
                va_free(&r->partition->va, &r->va);
}

void reservation_unlink(struct state *s, struct reservation *r) {
        give_addresses(r);
        unlink_but_addresses(s, r);
}

void reservation_retire(struct state *s, struct reservation *r) {
        unlink_but_addresses(s, r);
        r->owner = NULL;
        r->retired = true;
        r->partition->retired += r->outside ? 0 : r->va.size;
}

void reservation_release(struct reservation *r) {
        give_addresses(r);
        r->partition->retired -= r->outside ? 0 : r->va.size;
        reservation_free(r);
}

void reservation_link(struct state *s, struct reservation *r) {
        if (!r->outside)
                va_alloc_at(&r->partition->va, &r->va, r->va.start, r->va.size);
        link_but_addresses(s, r);
}

void reservation_free(struct reservation *r) {
        if (r->shared) {
                name_free(r->shared->name);
                alloc_free(r->shared);
        }
        slab_put(r);
}

void reservation_orphan(struct reservation *r) {
        list_remove(&r->by_owner);
        r->owner->reservations_count--;
        r->owner->objects--;
        r->owner = NULL;
}

void reservation_adopt(struct reservation *r, struct session *owner) {
        r->owner = owner;
        list_push_back(&owner->reservations, &r->by_owner);
        owner->reservations_count++;
        owner->objects++;
}

bool reservation_idle(const struct reservation *r) {
        return r->shared && !r->owner && r->shared->openings_count == 0;
}

struct opening *opening_new(struct reservation *r, struct session *session, unsigned access) {
        struct opening *o = alloc_zero(sizeof(*o));

        if (!o)
                return NULL;
        o->session = session;
        o->reservation = r;
        o->access = access;
        list_init(&o->by_session);
        list_init(&o->by_reservation);
        return o;
}

void opening_link(struct opening *o) {
        list_push_back(&o->session->openings, &o->by_session);
        list_push_back(&o->reservation->shared->openings, &o->by_reservation);
        o->reservation->shared->openings_count++;
        o->session->objects++;
}

void opening_unlink(struct opening *o) {
        list_remove(&o->by_session);
        list_remove(&o->by_reservation);
        o->reservation->shared->openings_count--;
        o->session->objects--;
}

struct opening *opening_find(const struct reservation *r, const struct session *session) {
        if (!r->shared)
                return NULL;
        list_for_each (l, &session->openings) {
                struct opening *o = container_of(l, struct opening, by_session);

                if (o->reservation == r)
                        return o;
        }
        return NULL;
}

unsigned reservation_access(const struct reservation *r, const struct session *session) {
        struct opening *o;

        if (r->owner == session)
                return RIGHT_READ | RIGHT_WRITE;
        o = opening_find(r, session);
        return o && !o->closing ? o->access : 0;
}

struct reservation *reservation_of(struct va_extent *e) {
        return container_of(e, struct reservation, va);
}

struct reservation *reservation_by_name(const struct partition *p, const char *name) {
        struct name *n = name_find(&p->reservation_names, name);

        return n ? n->object : NULL;
}

struct reservation *reservation_at(const struct partition *p, uint64_t address) {
        struct va_extent *e = va_find(&p->va, address);

        return e && !reservation_of(e)->retired ? reservation_of(e) : NULL;
}

bool reservation_retired_in(const struct partition *p, uint64_t address, uint64_t size) {
        if (p->retired == 0)
                return false;
        for (struct va_extent *e = va_first_from(&p->va, address); e && e->start < address + size; e = va_next(e))
                if (reservation_of(e)->retired)
                        return true;
        return false;
}
