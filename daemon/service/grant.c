#include "service/grant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "core/by_id.h"
#include "core/grant.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/capacity.h"
#include "service/effects.h"
#include "service/internal.h"

struct grant *grant_find(const struct service *svc, uint64_t id) {
        struct object *o = ids_find(&svc->state.ids, id);

        return o && o->type == OBJECT_GRANT ? container_of(o, struct grant, object) : NULL;
}

void grant_end(struct service *svc, struct grant *g) {
        struct partition *p = g->session->partition;
        uint32_t node = g->node;

        grant_free(&svc->state, g);
        capacity_changed(svc, p, node);
}

void grants_end(struct service *svc, struct session *s) {
        list_for_each_safe (l, &s->grants)
                grant_end(svc, container_of(l, struct grant, by_session));
}

void grants_sum(const struct service *svc, struct grants_sum *ret) {
        uint64_t now = keeping_now(svc);

        *ret = (struct grants_sum){ 0 };
        list_for_each (k, &svc->state.sessions) {
                uint64_t before = ret->count[GRANT_EXPIRED];

                list_for_each (l, &container_of(k, struct session, by_state)->grants) {
                        const struct grant *g = container_of(l, struct grant, by_session);
                        enum grant_state state = grant_state(g, now);

                        ret->count[state]++;
                        ret->bytes[state] += g->charge.bytes;
                }
                ret->expired_sessions += ret->count[GRANT_EXPIRED] > before;
        }
}

/* ---- what became of it ---- */

static unsigned say(unsigned code, char *why, size_t why_size, uint64_t id, const char *text) {
        snprintf(why, why_size, "grant %" PRIu64 " %s", id, text);
        return code;
}

static unsigned say_outcome(int outcome, uint64_t id, char *why, size_t why_size) {
        switch (outcome) {
        case GRANT_E_STALE:
                return say(SVMD_STATUS_NO_SUCH, why, why_size, id, "is of another generation: take back what was done");
        case GRANT_E_LATE:
                return say(SVMD_STATUS_TIMEOUT, why, why_size, id,
                           "has expired: take back what was done, say so with an error, and ask again");
        case GRANT_E_TWICE: return say(SVMD_STATUS_TAKEN, why, why_size, id, "was acknowledged already");
        case GRANT_E_MORE: return say(SVMD_STATUS_SIZE, why, why_size, id, "does not pay for so many bytes");
        default: return SVMD_STATUS_OK;
        }
}

/* What it was given for must be there still: its node, and its addresses as they were. */
static unsigned check_there(const struct service *svc, const struct grant *g, char *why, size_t why_size) {
        const struct reservation *r = reservation_by_id(&svc->state, g->reservation);

        if (svc->state.nodes[g->node].lost)
                return say(SVMD_STATUS_GONE, why, why_size, g->object.id, "is for a node that is lost");
        if (g->reservation && (!r || r->freeing || !reservation_access(r, g->session)))
                return say(SVMD_STATUS_NO_SUCH, why, why_size, g->object.id,
                           "is for addresses that are not this session's any more: take back what was done");
        return SVMD_STATUS_OK;
}

static unsigned find(const struct service *svc, const struct session *s, uint64_t id, struct grant **ret, char *why,
                     size_t why_size) {
        struct grant *g = grant_find(svc, id);

        if (!g || g->session->partition != s->partition)
                return say(SVMD_STATUS_NO_SUCH, why, why_size, id, "is not there, or no longer");
        if (g->session != s)
                return say(SVMD_STATUS_FOREIGN, why, why_size, id, "belongs to another session");
        *ret = g;
        return SVMD_STATUS_OK;
}

unsigned grant_said(struct service *svc, struct session *s, uint64_t id, const struct grant_done *d, char *why,
                    size_t why_size) {
        struct effect_grant_done e = { .id = id, .gone = d->gone, .error = d->error };
        struct grant *g;
        unsigned code = find(svc, s, id, &g, why, why_size);
        bool over = false;

        if (!code && !d->error && !g->held)
                code = check_there(svc, g, why, why_size);
        if (!code)
                code = say_outcome(grant_take(g, d, keeping_now(svc), &over), id, why, why_size);
        if (code)
                return code;
        journal_note(svc, EFFECT_GRANT_DONE, &e, sizeof(e));
        svc->figures.grants_failed += d->error != 0;
        if (over)
                grant_end(svc, g);
        else
                capacity_changed(svc, s->partition, g->node);
        return SVMD_STATUS_OK;
}

unsigned grant_usable(struct service *svc, const struct session *s, uint64_t id, uint64_t generation, uint32_t node,
                      uint32_t operations, struct grant **ret, char *why, size_t why_size) {
        struct grant *g;
        unsigned code = find(svc, s, id, &g, why, why_size);

        if (!code)
                code = check_there(svc, g, why, why_size);
        if (!code && (g->generation != generation || g->node != node || (g->operations & operations) != operations))
                code = say(SVMD_STATUS_NO_SUCH, why, why_size, id,
                           "is of another generation, node or operation than this");
        if (!code && grant_state(g, keeping_now(svc)) == GRANT_EXPIRED)
                code = say_outcome(GRANT_E_LATE, id, why, why_size);
        if (!code)
                *ret = g;
        return code;
}

void grant_hand_over(struct service *svc, struct grant *g, struct charge *to, uint64_t bytes) {
        struct effect_grant_done e = { .id = g->object.id, .gone = bytes };
        bool over = false;

        journal_note(svc, EFFECT_GRANT_DONE, &e, sizeof(e));
        grant_pass(g, to, bytes, &over);
        if (over)
                grant_end(svc, g);
}

/* ---- journal ---- */

int grants_put(struct service *svc, const struct session *s) {
        int r = 0;

        list_for_each (l, &s->grants) {
                struct effect_grant e = effect_of_grant(container_of(l, struct grant, by_session));

                if (r == 0)
                        r = journal_snapshot_put(svc->journal, EFFECT_GRANT, &e, sizeof(e));
        }
        return r;
}

static int replay_grant(struct service *svc, const struct effect_grant *e) {
        struct session *s = session_by_id(&svc->state, e->session);
        struct account *account;
        struct grant *g;

        if (!s || !s->partition || e->id == 0 || e->id >= UINT64_MAX >> 1 || ids_find(&svc->state.ids, e->id) ||
            e->node >= svc->options.machine->count || e->operations & ~(uint32_t)GRANT_ALL ||
            e->bytes > node_desc(svc, e->node)->capacity || (e->held && e->bytes == 0))
                return -EBADMSG;
        account = session_account(&svc->state, s, e->node);
        g = account && ids_reserve(&svc->state.ids, 1) == 0 ? grant_new(&svc->state, e->id, s) : NULL;
        if (!g)
                return -ENOMEM;
        if (svc->state.next_id <= e->id)
                svc->state.next_id = e->id + 1;
        if (svc->generation < e->generation)
                svc->generation = e->generation;
        g->generation = e->generation;
        g->reservation = e->reservation;
        g->address = e->address;
        g->size = e->size;
        g->until_ns = e->until_ns;
        g->node = e->node;
        g->operations = e->operations;
        g->held = e->held;
        charge_force(&g->charge, account, e->bytes);
        capacity_changed(svc, s->partition, e->node);
        return 0;
}

/* Time does not count: it was in time when it was said. */
static int replay_done(struct service *svc, const struct effect_grant_done *e) {
        struct grant *g = grant_find(svc, e->id);
        const struct grant_done d = { g ? g->generation : 0, e->error, e->gone };
        bool over = false;

        if (!g || grant_take(g, &d, 0, &over) != 0)
                return -EBADMSG;
        if (over)
                grant_end(svc, g);
        return 0;
}

int grant_replay(struct service *svc, uint16_t type, const void *bytes, char *why, size_t why_size) {
        const struct effect_id *e = bytes; /* each begins with the grant's number */
        int r = type == EFFECT_GRANT ? replay_grant(svc, bytes) : replay_done(svc, bytes);

        if (r == -EBADMSG)
                snprintf(why, why_size, "the journal has a grant %" PRIu64 " that cannot be", e->id);
        return r;
}
