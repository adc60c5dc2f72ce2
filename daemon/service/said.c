#include "service/said.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "core/by_id.h"
#include "core/node.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/advice.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/loss.h"
#include "service/managed.h"

/*
 * In a replay there are no ranges yet. Pins are counted in the members, advice is in the reservation's hints, revoked
 * ranges and nodes have their flags; the mover is told of them when it has the ranges:
 *
 *      before it serves anything    pins (what is pinned must not move), nodes that are offline
 *      then                         it takes what is revoked, and gives back what is not
 */
struct replay {
        struct service *svc;
        char *why;
        size_t why_size;
};

__attribute__((format(printf, 2, 3))) static int bad(struct replay *x, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        vsnprintf(x->why, x->why_size, format, ap);
        va_end(ap);
        return -EBADMSG;
}

static struct managed_reservation *range_of(struct service *svc, uint64_t id) {
        struct reservation *r = reservation_by_id(&svc->state, id);

        return r ? managed_of(r) : NULL;
}

static bool lies_in(const struct managed_reservation *m, uint32_t first, uint32_t count) {
        return count > 0 && first < m->count && count <= m->count - first;
}

/* ---- replay ---- */

static int replay_pin(struct replay *x, const struct effect_pin *e) {
        struct managed_reservation *m = range_of(x->svc, e->reservation);
        struct session *s = session_by_id(&x->svc->state, e->session);
        struct managed_member *member = m && s ? managed_member_find(m, s) : NULL;
        int r = 0;

        if (!member || !lies_in(m, e->first, e->count) || e->times == 0 || e->times > UINT16_MAX ||
            e->times < -UINT16_MAX)
                return bad(x, "session %" PRIu64 " pins what it cannot pin, in reservation %" PRIu64, e->session,
                           e->reservation);
        for (int32_t i = 0; i < e->times && r == 0; i++)
                r = managed_pins_add(member, e->first, e->count);
        for (int32_t i = 0; i > e->times && r == 0; i--) {
                if (!managed_pins_all(member, e->first, e->count))
                        r = -EOVERFLOW;
                else
                        managed_pins_drop(member, e->first, e->count);
        }
        if (r == -EOVERFLOW)
                return bad(x, "session %" PRIu64 " pins too often or too seldom, in reservation %" PRIu64, e->session,
                           e->reservation);
        return r;
}

static int replay_revoke(struct replay *x, const struct effect_revoke *e) {
        struct managed_reservation *m = range_of(x->svc, e->reservation);

        if (!m)
                return bad(x, "reservation %" PRIu64 " is revoked, and is no managed one", e->reservation);
        m->revoked = e->revoked;
        m->reservation->generation = e->generation;
        if (e->generation > x->svc->generation)
                x->svc->generation = e->generation;
        return 0;
}

static int replay_steal(struct replay *x, const struct effect_steal *e) {
        struct managed_reservation *m = range_of(x->svc, e->reservation);
        struct session *s = session_by_id(&x->svc->state, e->session);

        if (!m || !s || !opening_find(m->reservation, s))
                return bad(x, "session %" PRIu64 " takes over reservation %" PRIu64 ", which it does not have open",
                           e->session, e->reservation);
        m->reservation->generation = e->generation;
        if (e->generation > x->svc->generation)
                x->svc->generation = e->generation;
        managed_steal(x->svc, m, s);
        return 0;
}

static int replay_node(struct replay *x, const struct effect_node_state *e) {
        if (e->node >= x->svc->options.machine->count)
                return bad(x, "node %u is offline, and is not there", e->node);
        x->svc->state.nodes[e->node].offline = e->state & EFFECT_NODE_OFFLINE;
        x->svc->state.nodes[e->node].lost = e->state & EFFECT_NODE_LOST;
        if (e->state & EFFECT_NODE_LOST)
                memory_lost(x->svc, e->node);
        return 0;
}

int said_replay(struct service *svc, uint16_t type, const void *bytes, char *why, size_t why_size) {
        struct replay x = { svc, why, why_size };

        switch (type) {
        case EFFECT_PIN: return replay_pin(&x, bytes);
        case EFFECT_REVOKE: return replay_revoke(&x, bytes);
        case EFFECT_STEAL: return replay_steal(&x, bytes);
        case EFFECT_NODE_STATE: return replay_node(&x, bytes);
        default: return -EINVAL;
        }
}

/* ---- snapshot ---- */

/* Behind the granules that are pinned as often as the first one. */
static uint32_t run_end(const uint16_t *pins, uint32_t first, uint32_t count) {
        uint32_t end = first + 1;

        while (end < count && pins[end] == pins[first])
                end++;
        return end;
}

static int put_run(struct service *svc, const struct managed_member *member, uint32_t first, uint32_t end,
                   unsigned times) {
        struct effect_pin e = { .reservation = member->managed->reservation->object.id,
                                .session = member->client->session->object.id,
                                .first = first,
                                .count = end - first,
                                .times = (int32_t)times };

        return times == 0 ? 0 : journal_snapshot_put(svc->journal, EFFECT_PIN, &e, sizeof(e));
}

static int put_pins(struct service *svc, const struct managed_member *member) {
        uint16_t *pins = member->pins ? managed_pins_settled(member) : NULL;
        int r = 0;

        if (!pins)
                return member->pins ? -ENOMEM : 0;
        for (uint32_t first = 0, end; r == 0 && first < member->managed->count; first = end) {
                end = run_end(pins, first, member->managed->count);
                r = put_run(svc, member, first, end, pins[first]);
        }
        alloc_free(pins);
        return r;
}

static int put_range(struct service *svc, struct managed_reservation *m) {
        struct effect_revoke e = { .reservation = m->reservation->object.id,
                                   .generation = m->reservation->generation,
                                   .revoked = m->revoked };
        int r = m->revoked ? journal_snapshot_put(svc->journal, EFFECT_REVOKE, &e, sizeof(e)) : 0;

        if (r == 0)
                r = advice_put(svc, m);
        list_for_each (l, &m->members) {
                if (r == 0)
                        r = put_pins(svc, container_of(l, struct managed_member, by_reservation));
        }
        return r;
}

int said_put(struct service *svc) {
        int r = 0;

        for (uint32_t i = 0; r == 0 && i < svc->options.machine->count; i++) {
                struct effect_node_state e = effect_of_node(&svc->state.nodes[i], i);

                if (e.state)
                        r = journal_snapshot_put(svc->journal, EFFECT_NODE_STATE, &e, sizeof(e));
        }
        if (r == 0)
                r = settings_put(svc);
        list_for_each (l, &svc->managed.ranges) {
                if (r == 0)
                        r = put_range(svc, container_of(l, struct managed_reservation, link));
        }
        return r;
}

/* ---- telling the mover again ---- */

/* A run is pinned as often as it is counted. */
static int tell_pins(struct service *svc, const struct managed_member *member) {
        const struct managed_reservation *m = member->managed;
        int r = 0;

        for (uint32_t first = 0, end; member->pins && r == 0 && first < m->count; first = end) {
                end = run_end(member->pins, first, m->count);
                for (unsigned i = 0; r == 0 && i < member->pins[first]; i++)
                        r = mover_pin(svc->mover, m->range, first, end - first, 0);
        }
        return r < 0 ? r : 0;
}

int said_before(struct service *svc) {
        int r = 0;

        for (uint32_t i = 0; r == 0 && i < svc->managed.nodes_count; i++)
                if (svc->state.nodes[i].offline)
                        r = mover_node_drain(svc->mover, i, 0);
        list_for_each (l, &svc->managed.ranges) {
                list_for_each (k, &container_of(l, struct managed_reservation, link)->members) {
                        if (r == 0)
                                r = tell_pins(svc, container_of(k, struct managed_member, by_reservation));
                }
        }
        return r;
}

static bool some_taken(struct service *svc, const struct managed_reservation *m) {
        struct managed_granule_info info[64];

        for (uint32_t at = 0; at < m->count; at += 64) {
                uint32_t count = m->count - at < 64 ? m->count - at : 64;

                mover_look(svc->mover, m->range, at, count, info);
                for (uint32_t i = 0; i < count; i++)
                        if (info[i].state == RESIDENCY_REVOKED)
                                return true;
        }
        return false;
}

int said_after(struct service *svc) {
        int r = 0;

        list_for_each (l, &svc->managed.ranges) {
                struct managed_reservation *m = container_of(l, struct managed_reservation, link);

                if (r == 0 && m->revoked)
                        r = mover_revoke(svc->mover, m->range, 0);
                else if (r == 0 && some_taken(svc, m))
                        r = mover_unrevoke(svc->mover, m->range, 0);
        }
        return r;
}
