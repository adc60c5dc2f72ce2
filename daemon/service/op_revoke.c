#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/advice.h"
#include "service/chain.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/order.h"
#include "service/range.h"

/*
 * Taking a whole reservation away, giving it back, and giving it to somebody else.
 *
 *      revoke     revoked is journaled -> the mover takes every granule -> done; if it cannot, they are given back
 *      unrevoke   not revoked is journaled -> the mover gives them back -> done
 *      steal      the mover takes every granule -> it is the thief's, journaled -> the mover gives them back -> done
 *
 * What the journal says is in force: after a restart the mover is asked again to take a range that is revoked, and to
 * give back one that is not (a steal whose end was not journaled has not been). One change of a range is under way at a
 * time.
 */

static void note_revoked(struct service *svc, const struct managed_reservation *m) {
        struct effect_revoke e = { .reservation = m->reservation->object.id,
                                   .generation = m->reservation->generation,
                                   .revoked = m->revoked };

        journal_note(svc, EFFECT_REVOKE, &e, sizeof(e));
}

void managed_changed(struct call *c, struct managed_reservation *m) {
        struct effect_revoke e = { .reservation = m->reservation->object.id,
                                   .generation = ++c->svc->generation,
                                   .revoked = m->revoked };

        m->reservation->generation = e.generation;
        tx_effect(c->tx, EFFECT_REVOKE, &e, sizeof(e));
}

/* Out of memory for it, the range stays blocked until it is asked for again. */
static void give_back(struct service *svc, struct managed_reservation *m) {
        (void)mover_unrevoke(svc->mover, m->range, 0);
}

static int check_changing(struct call *c, const struct managed_reservation *m) {
        if (!m->changing)
                return 0;
        return refuse(c, SVMD_STATUS_BUSY,
                      "the reservation at 0x%" PRIx64 " is being revoked or stolen just now; wait until that is done",
                      m->reservation->va.start);
}

/* ---- revoke ---- */

static int revoke_next(struct service *svc, struct order *o, struct managed_reservation *m, uint64_t token) {
        return o->phase++ == 0 ? mover_revoke(svc->mover, m->range, token) : ORDER_ALL;
}

static void revoke_over(struct service *svc, struct order *o, struct managed_reservation *m, int result) {
        m->changing = 0;
        if (result == 0 || result == ORDER_LEFT)
                return;
        m->revoked = false;
        m->reservation->generation = ++svc->generation;
        note_revoked(svc, m);
        give_back(svc, m);
        event_reservation(svc, m->reservation, NULL, false);
}

static const struct order_kind revoke_kind = {
        .next = revoke_next,
        .over = revoke_over,
        .whole = true,
        .full = "no device node has room to keep its content; make room on one, or evict less important ranges",
};

static int unrevoke_next(struct service *svc, struct order *o, struct managed_reservation *m, uint64_t token) {
        return o->phase++ == 0 ? mover_unrevoke(svc->mover, m->range, token) : ORDER_ALL;
}

static void unrevoke_over(struct service *svc, struct order *o, struct managed_reservation *m, int result) {
        m->changing = 0;
}

static const struct order_kind unrevoke_kind = { .next = unrevoke_next, .over = unrevoke_over, .whole = true };

static int check_owner(struct call *c, const struct managed_reservation *m) {
        if (c->op->revoke->partition[0] || m->reservation->owner == c->session)
                return 0;
        return refuse(c, SVMD_STATUS_DENIED, "only its owner's session or an administrator revokes a reservation");
}

int op_revoke(struct call *c) {
        const Svmd__V1__Revoke *op = c->op->revoke;
        const struct order_kind *kind = op->off ? &unrevoke_kind : &revoke_kind;
        struct managed_reservation *m;
        uint32_t granule;
        struct order *o;
        int r = order_around(c, op->partition, op->address, RIGHT_READ, &m, &granule);

        if (r == 0 && (r = check_owner(c, m)) == 0)
                r = check_changing(c, m);
        if (r == 0 && m->revoked && !op->off)
                r = refuse(c, SVMD_STATUS_TAKEN, "the reservation at 0x%" PRIx64 " is revoked already",
                           m->reservation->va.start);
        if (r == 0)
                r = order_new(c, &o, kind, m, 0, m->count);
        if (r != 0)
                return r;
        m->revoked = !op->off;
        m->changing = o->fence.object.id;
        managed_changed(c, m);
        event_reservation(c->svc, m->reservation, NULL, false);
        return 0;
}

/* ---- steal ---- */

void managed_steal(struct service *svc, struct managed_reservation *m, struct session *thief) {
        struct reservation *r = m->reservation;

        event_reservation(svc, r, thief, true);
        list_for_each_safe (l, &m->members) {
                struct managed_member *member = container_of(l, struct managed_member, by_reservation);

                if (member->client->session == thief)
                        continue;
                advice_gone(svc, m, member->client->session->object.id);
                managed_member_end(svc, member);
        }
        list_for_each_safe (l, &r->shared->openings) {
                struct opening *o = container_of(l, struct opening, by_reservation);

                opening_unlink(o);
                alloc_free(o);
        }
        if (r->owner)
                reservation_orphan(r);
        reservation_adopt(r, thief);
        chain_range(svc, m);
        r->shared->name->uid = thief->who.uid;
        r->shared->name->gid = thief->who.gid;
        advice_owned(svc, m, thief);
}

/* The mover has all of it, and nobody can use it. */
static int change_hands(struct service *svc, struct order *o, struct managed_reservation *m) {
        struct session *thief = o->fence.session;
        struct effect_steal e = { .reservation = o->reservation, .session = thief->object.id };

        if (!opening_find(m->reservation, thief))
                return MANAGED_E_ENDED;
        e.generation = m->reservation->generation = ++svc->generation;
        managed_steal(svc, m, thief);
        journal_note(svc, EFFECT_STEAL, &e, sizeof(e));
        mover_range_generation(m->range, e.generation);
        event_monitor(svc, "reservation-stolen", thief, thief->partition->name->text, "%s has taken %s over",
                      thief->client, m->reservation->shared->name->text);
        return 0;
}

enum { STEAL_BEGIN, STEAL_TAKEN, STEAL_GIVEN };

static int steal_next(struct service *svc, struct order *o, struct managed_reservation *m, uint64_t token) {
        int r;

        switch (o->phase) {
        case STEAL_BEGIN: o->phase = STEAL_TAKEN; return mover_revoke(svc->mover, m->range, token);
        case STEAL_TAKEN:
                r = change_hands(svc, o, m);
                if (r != 0)
                        return r;
                o->phase = STEAL_GIVEN;
                return mover_unrevoke(svc->mover, m->range, token);
        default: return ORDER_ALL;
        }
}

static void steal_over(struct service *svc, struct order *o, struct managed_reservation *m, int result) {
        m->changing = 0;
        if (result != 0)
                give_back(svc, m);
}

static const struct order_kind steal_kind = {
        .next = steal_next,
        .over = steal_over,
        .whole = true,
        .full = "no device node has room to keep its content meanwhile; make room on one",
};

static int check_thief(struct call *c, const struct managed_reservation *m) {
        const struct reservation *r = m->reservation;
        const struct name *n = r->shared ? r->shared->name : NULL;

        if (r->owner == c->session)
                return refuse(c, SVMD_STATUS_TAKEN, "the reservation at 0x%" PRIx64 " is this session's own already",
                              r->va.start);
        if (n->uid != c->session->who.uid && !mode_allows(n->uid, n->gid, n->mode, &c->session->who, RIGHT_WRITE))
                return refuse(c, SVMD_STATUS_DENIED,
                              "%s belongs to uid %u, gid %u, mode %04o: uid %u may not take it over", n->text, n->uid,
                              n->gid, n->mode, c->session->who.uid);
        return 0;
}

int op_steal(struct call *c) {
        struct managed_reservation *m;
        uint32_t granule;
        struct order *o;
        int r = order_around(c, "", c->op->steal->address, RIGHT_WRITE, &m, &granule);

        if (r == 0 && (r = check_thief(c, m)) == 0)
                r = check_changing(c, m);
        if (r == 0 && m->revoked)
                r = refuse(c, SVMD_STATUS_ACCESS,
                           "the reservation at 0x%" PRIx64
                           " is revoked: its owner or an administrator has to give it back first",
                           m->reservation->va.start);
        if (r == 0)
                r = order_new(c, &o, &steal_kind, m, 0, m->count);
        if (r != 0)
                return r;
        m->changing = o->fence.object.id;
        return 0;
}
