#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * Sessions and their shares of ranges. A session that joins is in the range's list at once, so that a change that
 * begins now protects there too; then the granules in which something is going on already are protected, in rising
 * order, and only then it may make its mapping accessible.
 */
int managed_session_new(struct managed *e, struct managed_session **ret, void *userdata, uint64_t cgroup) {
        struct managed_session *s = alloc_zero(sizeof(*s));

        if (!s)
                return -ENOMEM;
        if (cgroup_get(e, cgroup, &s->cgroup_index)) {
                alloc_free(s);
                return -ENOMEM;
        }
        s->engine = e;
        s->userdata = userdata;
        s->cgroup = cgroup;
        list_init(&s->shares);
        for (unsigned u = 0; u < URGENCIES; u++)
                list_init(&s->steps[u]);
        list_init(&s->ready);
        list_push_back(&e->sessions, &s->link);
        *ret = s;
        return 0;
}

void session_put(struct managed_session *s) {
        if (!s->ended || s->refs || !list_empty(&s->shares))
                return;
        list_remove(&s->link);
        list_remove(&s->ready);
        cgroup_put(s->engine, s->cgroup_index);
        alloc_free(s);
}

void share_put(struct share *s) {
        struct managed_session *session = s->session;
        struct managed_range *r = s->range;

        if (!s->left || s->steps)
                return;
        list_remove(&s->by_range);
        list_remove(&s->by_session);
        alloc_free(s);
        session_put(session);
        range_ended(r->engine, r);
}

/* A session may have many ranges, and a range many sessions: the shorter list ends the search. */
static struct share *share_of(struct managed_session *s, struct managed_range *r) {
        struct list *a = s->shares.next, *b = r->shares.next;

        while (a != &s->shares && b != &r->shares) {
                struct share *x = container_of(a, struct share, by_session);
                struct share *y = container_of(b, struct share, by_range);

                if (x->range == r)
                        return x;
                if (y->session == s)
                        return y;
                a = a->next;
                b = b->next;
        }
        return NULL;
}

static struct share *share_find(struct managed_session *s, struct managed_range *r) {
        struct share *share = share_of(s, r);

        return share && !share->left ? share : NULL;
}

static bool guarded(const struct share *s, const struct granule *g) {
        enum managed_action a = managed_action((enum residency)g->state, MANAGED_JOIN);

        if (a != MANAGED_PROTECT)
                return false;
        return g->state == RESIDENCY_REVOKED ? s->range->poison : !s->readonly;
}

/* Protects the next granule that needs it, with those that follow in the same state; or it has joined. */
void share_join_next(struct share *s) {
        struct managed_range *r = s->range;
        struct managed_step *step;
        uint32_t first;

        while (r->guarded && s->cursor < r->count && !guarded(s, granule_of(r, s->cursor)))
                s->cursor++;
        if (!r->guarded || s->cursor >= r->count || s->left || s->gone) {
                s->joining = false;
                if (!s->left)
                        r->engine->c.joined(r->engine->c.userdata, s->session->userdata, r->userdata);
                return;
        }
        first = s->cursor++;
        step = step_new(&s->step, r, first,
                        granule_of(r, first)->state == RESIDENCY_REVOKED ? MANAGED_POISON : MANAGED_WRITE_PROTECT);
        while (s->cursor < r->count && guarded(s, granule_of(r, s->cursor)) &&
               (granule_of(r, s->cursor)->state == RESIDENCY_REVOKED) == (step->type == MANAGED_POISON))
                s->cursor++;
        step->count = s->cursor - first;
        step_emit(r->engine, &s->step, s);
}

void share_step_done(struct share *s, int result) {
        if (s->joining)
                share_join_next(s);
        else { /* the wake after a restart */
                s->range->engine->waking--;
                restore_settled(s->range->engine);
        }
}

static int share_new(struct share **ret, struct managed_session *s, struct managed_range *r, bool readonly) {
        struct share *share = share_of(s, r);

        if (share)
                return share->left ? -EAGAIN : -EEXIST;
        share = alloc_zero(sizeof(*share));
        if (!share)
                return -ENOMEM;
        share->range = r;
        share->session = s;
        share->id = ++r->next_share;
        share->readonly = readonly;
        step_init(&share->step, OWNER_SHARE);
        list_push_back(&r->shares, &share->by_range);
        list_push_back(&s->shares, &share->by_session);
        *ret = share;
        return 0;
}

int managed_join(struct managed *e, struct managed_session *s, struct managed_range *r, bool readonly,
                 uint64_t now_ns) {
        struct share *share;
        int k;

        e->now = now_ns;
        k = share_new(&share, s, r, readonly);
        if (k)
                return k;
        share->joining = true;
        share_join_next(share);
        managed_run(e);
        return 0;
}

int managed_rejoin(struct managed *e, struct managed_session *s, struct managed_range *r, bool readonly) {
        struct share *share;

        return share_new(&share, s, r, readonly);
}

static void forget_faults(struct managed *e, struct share *s, struct work *w) {
        list_for_each_safe (it, &w->queue) {
                struct demand *d = container_of(it, struct demand, link);

                if (d->share == s)
                        demand_done(d, 0);
        }
        work_todo(e, w);
}

void share_leave(struct managed *e, struct share *s) {
        s->left = true;
        list_for_each_safe (it, &s->range->works) {
                struct work *w = container_of(it, struct work, by_range);

                forget_faults(e, s, w);
        }
        share_put(s);
}

void managed_leave(struct managed *e, struct managed_session *s, struct managed_range *r, uint64_t now_ns) {
        struct share *share = share_find(s, r);

        e->now = now_ns;
        if (share) {
                share->gone = true;
                session_cancel(e, s, share);
                s->refs++;
                share_leave(e, share);
                steps_end_cancelled(e);
                s->refs--;
        }
        managed_run(e);
}

void managed_session_end(struct managed *e, struct managed_session *s, uint64_t now_ns) {
        e->now = now_ns;
        s->refs++;
        s->ended = true;
        list_for_each (it, &s->shares)
                container_of(it, struct share, by_session)->gone = true;
        session_cancel(e, s, NULL);
        steps_end_cancelled(e);
        list_for_each_safe (it, &s->shares)
                share_leave(e, container_of(it, struct share, by_session));
        managed_run(e);
        s->refs--;
        session_put(s);
}

int managed_fault(struct managed *e, struct managed_session *s, struct managed_range *r, uint32_t granule, bool write,
                  bool minor, uint64_t now_ns) {
        struct demand d = { .cause = MANAGED_BY_FAULT, .write = write, .met = write && !minor };
        int k;

        e->now = now_ns;
        d.share = share_find(s, r);
        if (!d.share || granule >= r->count)
                return -ESRCH;
        d.event = write ? MANAGED_FAULT_WRITE : minor ? MANAGED_FAULT_MINOR : MANAGED_FAULT_READ;
        k = demand_add(e, r, granule, &d, false);
        managed_run(e);
        return k;
}
