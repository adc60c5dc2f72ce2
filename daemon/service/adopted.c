#include "service/adopted.h"

#include <errno.h>
#include <inttypes.h>

#include "core/by_id.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/op_range.h"
#include "service/range.h"

#define ADDRESS_END (1ull << 47)

static struct managed_reservation *adopted_of(struct list *l) {
        return container_of(l, struct managed_reservation, adopted);
}

/* ---- finding ---- */

bool adopted_overlaps(const struct session *s, uint64_t address, uint64_t size, bool ending) {
        if (!s->managed)
                return false;
        list_for_each (l, &((struct managed_client *)s->managed)->adopted) {
                const struct reservation *r = adopted_of(l)->reservation;

                if (r->retired == ending && r->va.start < address + size && address < r->va.start + r->va.size)
                        return true;
        }
        return false;
}

struct reservation *adopted_or_at(const struct call *c, const struct partition *p, uint64_t address) {
        const struct session *s = c->session;

        if (p != s->partition || !adopted_outside(p, address, 1))
                return reservation_at(p, address);
        if (!s->managed)
                return private_outside(c->svc, s, address);
        list_for_each (l, &((struct managed_client *)s->managed)->adopted) {
                struct reservation *r = adopted_of(l)->reservation;

                if (!r->retired && address >= r->va.start && address - r->va.start < r->va.size)
                        return r;
        }
        return private_outside(c->svc, s, address);
}

struct reservation *adopted_by_id(struct call *c, uint64_t id) {
        struct reservation *r = reservation_by_id(&c->svc->state, id);

        return r && r->outside && r->owner == c->session && !r->freeing ? r : NULL;
}

bool adopted_outside(const struct partition *p, uint64_t address, uint64_t size) {
        return address + size <= p->slice.start || address >= p->slice.start + p->slice.size;
}

bool adopted_place_ok(const struct session *s, uint64_t address, uint64_t size) {
        return address > 0 && size > 0 && size <= ADDRESS_END && address <= ADDRESS_END - size &&
               address % SVMD_PAGE == 0 && size % SVMD_PAGE == 0 && !adopted_overlaps(s, address, size, false);
}

/* ---- register ---- */

/* The largest that fits: less to keep of it, and more moved at a time. */
static uint32_t granule_for(uint64_t address, uint64_t size) {
        static const uint32_t granules[] = { GRANULE_HUGE, GRANULE_LARGE };

        for (unsigned i = 0; i < sizeof(granules) / sizeof(granules[0]); i++)
                if (address % granules[i] == 0 && size % granules[i] == 0)
                        return granules[i];
        return GRANULE_SMALL;
}

int adopted_begin(struct call *c, uint64_t address, uint64_t size) {
        Svmd__V1__Reserve as = SVMD__V1__RESERVE__INIT;
        struct reservation_args args = { .id = state_take_id(&c->svc->state),
                                         .address = address,
                                         .size = size,
                                         .generation = ++c->svc->generation,
                                         .outside = true };
        uint64_t align = SVMD_PAGE;
        struct reservation *r;
        int k = check_quota(c, 1);

        as.address = address;
        as.size = size;
        as.granule = granule_for(address, size);
        if (k == 0)
                k = range_check(c, &as, &align);
        if (k == 0 && adopted_overlaps(c->session, address, size, true))
                k = refuse(c, SVMD_STATUS_TAKEN,
                           "what was given back at 0x%" PRIx64 " is on its way still; register it again", address);
        if (k != 0)
                return k;
        if (tx_room(c->tx, 1) < 0 || reservation_new(&r, &c->svc->state, c->session->partition, c->session, &args) != 0)
                return -ENOMEM;
        k = range_begin(c, &as, r);
        if (k != 0)
                return k;
        effect_reserve(c->tx, r);
        effect_range(c->tx, managed_of(r));
        c->result->id = r->object.id;
        c->result->address = r->va.start;
        c->result->size = r->va.size;
        c->result->generation = r->generation;
        return 0;
}

/* ---- unregister ---- */

static int stop(struct call *c, struct reservation *r) {
        struct managed_member *member = managed_member_find(managed_of(r), c->session);
        struct effect_join e = { .reservation = r->object.id, .session = c->session->object.id };

        if (member->joining)
                return refuse(c, SVMD_STATUS_BUSY, "the range is being joined just now: wait for that first");
        if (!member->joined)
                return 0;
        managed_leave_process(c->svc, member);
        tx_effect(c->tx, EFFECT_LEAVE, &e, sizeof(e));
        return 0;
}

int adopted_end(struct call *c, struct reservation *r, bool stopping) {
        c->result->address = r->va.start;
        c->result->size = r->va.size;
        return stopping ? stop(c, r) : reservation_give_up(c, r);
}
