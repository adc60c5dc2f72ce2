#include "service/chain.h"

#include <errno.h>

#include "base/alloc.h"
#include "core/cgroup.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/internal.h"

static struct managed_limits **limits_of(struct limited of) {
        return of.session ? &of.session->managed_limits : &of.cgroup->managed_limits;
}

struct managed_limits *chain_limits(struct limited of) {
        return of.partition ? NULL : *limits_of(of);
}

void chain_limit_changed(struct limited of, uint32_t node) {
        struct account *a = limited_account(of, node);

        if (a)
                account_changed(a);
}

static uint32_t nodes_count(const struct service *svc) {
        uint32_t count = svc->options.machine->count;

        return count < MANAGED_NODES_MAX ? count : MANAGED_NODES_MAX;
}

int chain_limit(struct service *svc, struct limited of) {
        struct managed_limits *l;

        if (!svc->mover || chain_limits(of))
                return 0;
        l = alloc_zero(sizeof(*l));
        if (l)
                l->group = mover_group_new(svc->mover);
        if (!l || !l->group) {
                alloc_free(l);
                return -ENOMEM;
        }
        l->of = of;
        for (uint32_t i = 0; i < MANAGED_NODES_MAX; i++)
                l->told[i].max = UINT64_MAX;
        *limits_of(of) = l;
        for (uint32_t i = 0; i < nodes_count(svc); i++) {
                l->news[i].into = &svc->managed.changed[i];
                list_init(&l->news[i].link);
                limited_account(of, i)->news = &l->news[i];
                chain_limit_changed(of, i);
        }
        if (of.session)
                chain_session(svc, of.session);
        return 0;
}

/* No chain names it when its group goes. */
void chain_unlimit(struct service *svc, struct limited of) {
        struct managed_limits *l = chain_limits(of);

        if (!l)
                return;
        *limits_of(of) = NULL;
        for (struct session *s = NULL; (s = limited_session_after(svc, of, s));)
                chain_session(svc, s);
        for (uint32_t i = 0; i < nodes_count(svc); i++) {
                limited_account(of, i)->news = NULL;
                list_remove(&l->news[i].link);
                svc->managed.unused[i] -= l->unused[i];
        }
        if (svc->mover)
                mover_group_free(svc->mover, l->group);
        alloc_free(l);
}

/* ---- sessions and their ranges ---- */

void chain_range(struct service *svc, struct managed_reservation *m) {
        const struct session *s = m->reservation->owner;
        const struct managed_client *k = s ? s->managed : NULL;

        if (svc->mover && m->range)
                mover_range_charge(svc->mover, m->range, k && k->limited ? k->chain : NULL);
}

void chain_session(struct service *svc, struct session *s) {
        struct managed_client *k = s->managed;
        struct managed_group *groups[MANAGED_CHAIN_MAX];
        unsigned count = 0;

        if (!svc->mover || !k || !k->chain)
                return;
        if (s->managed_limits)
                groups[count++] = s->managed_limits->group;
        for (struct cgroup *g = s->cgroup; g && count < MANAGED_CHAIN_MAX - 1; g = g->outer)
                if (g->managed_limits)
                        groups[count++] = g->managed_limits->group;
        mover_chain_set(svc->mover, k->chain, groups, count);
        k->limited = count > 0;
        list_for_each (l, &k->members) {
                struct managed_reservation *m = container_of(l, struct managed_member, by_client)->managed;

                if (m->reservation->owner == s)
                        chain_range(svc, m);
        }
}

void chain_sessions(struct service *svc) {
        list_for_each (l, &svc->state.sessions)
                chain_session(svc, container_of(l, struct session, by_state));
}

int chain_client(struct service *svc, struct managed_client *k) {
        struct managed_share *share;

        if (!svc->mover || k->chain)
                return 0;
        share = managed_share_get(svc, k->session->partition);
        k->chain = share ? mover_chain_new(svc->mover, share->group) : NULL;
        if (!k->chain)
                return -ENOMEM;
        chain_session(svc, k->session);
        return 0;
}

void chain_client_end(struct service *svc, struct managed_client *k) {
        if (svc->mover && k->chain)
                mover_chain_free(svc->mover, k->chain);
        k->chain = NULL;
        k->limited = false;
}
