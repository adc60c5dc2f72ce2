#include "service/advice.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "core/by_id.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/effects.h"
#include "service/internal.h"

/*
 * An effect is one hint, as it was said. A snapshot has those that are still heard, in their order; said again they
 * come to the same. Whose words they are is the journal's only where the session may have ended: else it is known.
 */

static void hold(const struct service *svc) {
        if (svc->mover)
                mover_hold(svc->mover);
}

static void release(const struct service *svc, const struct managed_reservation *m, uint32_t first, uint32_t count) {
        if (svc->mover)
                mover_release(svc->mover, m->range, first, count);
}

static enum policy_rank rank_of(const struct managed_reservation *m, const struct session *s) {
        const struct managed_member *member = managed_member_find(m, s);

        if (s->admin)
                return POLICY_ADMINISTRATOR;
        if (m->reservation->owner == s)
                return POLICY_OWNER;
        return !member ? POLICY_LEFT : member->readonly ? POLICY_READER : POLICY_WRITER;
}

static int say(struct service *svc, struct managed_reservation *m, const struct hint_who *who,
               const struct hint_words *w) {
        struct hints_change *c;
        int r = hints_prepare(m->hints, &c, who, w);

        if (r < 0)
                return r;
        hold(svc);
        hints_commit(m->hints, c);
        release(svc, m, w->first, w->count);
        return 0;
}

/* ---- effects ---- */

static struct effect_advice effect_of(const struct managed_reservation *m, const struct hint_who *who,
                                      const struct hint_words *w) {
        const struct policy_advice *a = &w->advice;
        struct effect_advice e = {
                .reservation = m->reservation->object.id,
                .session = who->session,
                .first = w->first,
                .count = w->count,
                .what = w->what,
                .preferred = a->preferred,
                .accessed_by = a->accessed_by,
                .granularity = a->granularity,
                .read_mostly = a->read_mostly,
                .pinned = a->pinned,
                .coarse = a->coarse,
                .atomics = a->atomics,
                .said_ns = w->said_ns,
                .against = w->against,
                .group = a->group,
                .pid = who->pid,
                .uid = who->uid,
                .rank = (uint32_t)who->rank + 1,
        };

        for (unsigned i = 0; i < POLICY_FALLBACKS; i++)
                e.fallback[i] = a->fallback[i];
        text_copy(e.client, who->client);
        return e;
}

static void words_of(const struct effect_advice *e, struct hint_words *ret) {
        *ret = (struct hint_words){
                .first = e->first,
                .count = e->count,
                .what = e->what,
                .against = e->against,
                .said_ns = e->said_ns,
                .advice = { .preferred = e->preferred,
                            .accessed_by = e->accessed_by,
                            .granularity = e->granularity,
                            .read_mostly = e->read_mostly,
                            .pinned = e->pinned,
                            .coarse = e->coarse,
                            .atomics = e->atomics,
                            .group = e->group },
        };
        for (unsigned i = 0; i < POLICY_FALLBACKS; i++)
                ret->advice.fallback[i] = e->fallback[i];
}

int advice_say(struct service *svc, struct managed_reservation *m, const struct session *s, const struct hint_words *w,
               struct effect_advice *ret) {
        struct hint_who who = {
                .session = s->object.id, .pid = s->pid, .uid = s->who.uid, .rank = rank_of(m, s), .client = s->client
        };
        int r = say(svc, m, &who, w);

        if (r == 0)
                *ret = effect_of(m, &who, w);
        return r;
}

/* ---- sessions that come and go ---- */

void advice_gone(struct service *svc, struct managed_reservation *m, uint64_t session) {
        bool more = hints_has(m->hints, session) && hints_rank_of(m->hints, session) != POLICY_ADMINISTRATOR;

        while (more) {
                hold(svc);
                more = hints_leave(m->hints, session);
                release(svc, m, 0, more ? 0 : m->count);
        }
}

static void rank(struct service *svc, struct managed_reservation *m, uint64_t session, enum policy_rank to) {
        hold(svc);
        hints_rank(m->hints, session, to);
        release(svc, m, 0, m->count);
}

void advice_left(struct service *svc, struct managed_reservation *m, const struct session *owner) {
        uint64_t id = owner->object.id, before;

        if (owner->admin || !hints_has(m->hints, id))
                return;
        rank(svc, m, id, POLICY_LEFT);
        while ((before = hints_left(m->hints, id)))
                advice_gone(svc, m, before);
}

void advice_owned(struct service *svc, struct managed_reservation *m, const struct session *owner) {
        uint64_t before;

        while ((before = hints_left(m->hints, owner->object.id)))
                advice_gone(svc, m, before);
        if (!owner->admin)
                rank(svc, m, owner->object.id, POLICY_OWNER);
}

/* ---- journal ---- */

static bool is_right(const struct managed_reservation *m, const struct effect_advice *e) {
        bool nodes = e->preferred <= MANAGED_NODES_MAX;

        for (unsigned i = 0; i < POLICY_FALLBACKS; i++)
                nodes = nodes && e->fallback[i] <= MANAGED_NODES_MAX;
        return nodes && e->count > 0 && e->first < m->count && e->count <= m->count - e->first && e->what != 0 &&
               e->what <= ADVICE_ALL && e->against <= ADVICE_ALL && e->rank <= POLICY_ADMINISTRATOR + 1;
}

/* An effect of an older svmd ends with `pinned`, and zeroes. */
int advice_replay(struct service *svc, const void *bytes, size_t size, char *why, size_t why_size) {
        struct effect_advice e = { 0 };
        const struct reservation *r;
        const struct session *by;
        struct managed_reservation *m;
        struct hint_words w;
        struct hint_who who;

        memcpy(&e, bytes, size < sizeof(e) ? size : sizeof(e));
        e.client[sizeof(e.client) - 1] = 0;
        r = reservation_by_id(&svc->state, e.reservation);
        m = r ? managed_of(r) : NULL;
        if (!m || !is_right(m, &e)) {
                snprintf(why, why_size, "advice is given that svmd does not take, about reservation %" PRIu64,
                         e.reservation);
                return -EBADMSG;
        }
        by = session_by_id(&svc->state, e.session);
        who = (struct hint_who){ .session = e.session, .pid = e.pid, .uid = e.uid, .client = e.client };
        who.rank = e.rank == POLICY_ADMINISTRATOR + 1 ? POLICY_ADMINISTRATOR : by ? rank_of(m, by) : POLICY_LEFT;
        words_of(&e, &w);
        return say(svc, m, &who, &w);
}

struct put {
        struct service *svc;
        const struct managed_reservation *m;
};

/* What older svmds wrote stays as short as it was, so that it fits where it was. */
static int put_hint(void *userdata, const struct hint *hint) {
        const struct hint_party *party = hint_party(hint);
        const struct put *p = userdata;
        struct hint_who who = { .session = party->session,
                                .pid = party->pid,
                                .uid = party->uid,
                                .rank = party->policy.rank,
                                .client = party->client };
        struct hint_words w = { .first = hint->first,
                                .count = hint->count,
                                .what = hint->what,
                                .against = hint->against,
                                .said_ns = hint->said_ns,
                                .advice = hint->policy.advice };
        struct effect_advice e = effect_of(p->m, &who, &w);
        size_t size = hint->said_ns ? sizeof(e) : offsetof(struct effect_advice, said_ns);

        return journal_snapshot_put(p->svc->journal, EFFECT_ADVICE, &e, size);
}

int advice_put(struct service *svc, const struct managed_reservation *m) {
        struct put p = { svc, m };

        return hints_each(m->hints, put_hint, &p);
}
