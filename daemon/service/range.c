#include "service/range.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account/look.h"
#include "base/alloc.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/space.h"
#include "engine/hints.h"
#include "service/advice.h"
#include "service/capacity.h"
#include "service/chain.h"
#include "service/internal.h"
#include "service/join.h"
#include "service/rates.h"

/*
 *      managed_begin -> managed_bring_up -> managed_keep -> in use -> members end -> managed_end
 *                                                                                        |
 *           files closed, out of the keeper, addresses free  <- the mover answers <- managed_commit
 *
 * The mover is asked to end a range only when the journal has its end: until then another svmd may have to go on with
 * its pages. During a replay there are no ranges yet, so all this is about objects only.
 */

/* ---- sessions ---- */

/* Whom the kernel charges for the process's pages: the number of its control group, or 0, and its folder. */
static uint64_t cgroup_of(const struct service *svc, uint32_t pid, char **ret_folder) {
        char folder[LOOK_FOLDER];
        struct stat st;

        if (!look_memory_folder(svc->options.proc_root, svc->options.sys_root, pid, folder) || stat(folder, &st) < 0)
                return 0;
        *ret_folder = alloc_string(folder);
        return st.st_ino;
}

struct managed_client *managed_client_of(struct service *svc, struct session *s) {
        struct managed_client *k = s->managed;

        if (k)
                return k;
        k = alloc_zero(sizeof(*k));
        if (!k)
                return NULL;
        k->session = s;
        k->cgroup = cgroup_of(svc, s->pid, &k->cgroup_folder);
        list_init(&k->members);
        list_init(&k->adopted);
        list_init(&k->channels);
        list_init(&k->link);
        s->managed = k;
        return k;
}

/* Without memory for it, the kernel holds its limits alone. */
void managed_client_came(struct managed_client *k) {
        if (k->cgroup_folder)
                (void)mover_session_budget(k->mover, k->cgroup_folder);
}

void managed_client_leave(struct service *svc, struct session *s) {
        struct managed_client *k = s->managed;

        if (!k || !k->mover)
                return;
        if (svc->mover)
                mover_session_end(svc->mover, k->mover);
        k->mover = NULL;
        if (!svc->replaying)
                svc->hooks.unkeep(svc->hooks.userdata, KEEP_KEY(KEEP_UFFD, s->object.id));
        if (!svc->replaying && k->reached)
                svc->hooks.unkeep(svc->hooks.userdata, KEEP_KEY(KEEP_CLIENT, s->object.id));
}

void managed_client_free(struct service *svc, struct session *s) {
        struct managed_client *k = s->managed;

        if (!k)
                return;
        list_for_each_safe (l, &k->adopted)
                list_remove(l);
        list_remove(&k->link);
        chain_client_end(svc, k);
        alloc_free(k->cgroup_folder);
        alloc_free(k);
        s->managed = NULL;
}

/* ---- spaces ---- */

/* Whether the node has spaces that can show those addresses. */
static bool node_sees(const struct service *svc, uint32_t node, const struct reservation *r) {
        const struct node_desc *d = node_desc(svc, node);

        return node < svc->managed.nodes_count && svc->managed.nodes[node].device &&
               node_backend(svc, node)->space_show && r->va.start >= d->va_start &&
               r->va.start + r->va.size <= d->va_end;
}

/* What was adopted is the process's before it has joined, and again when it has left. */
static bool is_seen(const struct managed_member *member) {
        return member->managed->range && (!member->managed->reservation->outside || member->joined);
}

static int show_in(struct service *svc, const struct managed_member *member, const struct space *space) {
        const struct managed_reservation *m = member->managed;

        if (!is_seen(member) || !node_sees(svc, space->node, m->reservation))
                return 0;
        return mover_show(svc->mover, m->range, space->node, space->device_space, !member->readonly);
}

static void hide_in(struct service *svc, const struct managed_member *member, const struct space *space) {
        const struct managed_reservation *m = member->managed;

        if (is_seen(member) && svc->mover && node_sees(svc, space->node, m->reservation))
                mover_hide(svc->mover, m->range, space->node, space->device_space);
}

int managed_show(struct service *svc, struct managed_member *member) {
        const struct list *spaces = &member->client->session->spaces;
        int r;

        list_for_each (l, spaces) {
                r = show_in(svc, member, container_of(l, struct space, by_session));
                if (r == 0)
                        continue;
                for (struct list *back = l->prev; back != spaces; back = back->prev)
                        hide_in(svc, member, container_of(back, struct space, by_session));
                return r;
        }
        return 0;
}

int managed_space_begin(struct service *svc, struct space *space) {
        struct managed_client *k = space->session->managed;
        int r;

        if (!k)
                return 0;
        list_for_each (l, &k->members) {
                r = show_in(svc, container_of(l, struct managed_member, by_client), space);
                if (r == 0)
                        continue;
                for (struct list *back = l->prev; back != &k->members; back = back->prev)
                        hide_in(svc, container_of(back, struct managed_member, by_client), space);
                return r;
        }
        return 0;
}

void managed_space_end(struct service *svc, struct space *space) {
        struct managed_client *k = space->session->managed;

        if (!k)
                return;
        list_for_each (l, &k->members)
                hide_in(svc, container_of(l, struct managed_member, by_client), space);
}

/* ---- members ---- */

int managed_member_begin(struct service *svc, struct managed_reservation *m, struct session *s, bool readonly) {
        struct managed_client *k = managed_client_of(svc, s);
        struct managed_member *member = k && chain_client(svc, k) == 0 ? alloc_zero(sizeof(*member)) : NULL;
        int r;

        if (!member)
                return -ENOMEM;
        member->managed = m;
        member->client = k;
        member->readonly = readonly;
        list_init(&member->by_reservation);
        list_init(&member->by_client);
        r = managed_show(svc, member);
        if (r < 0) {
                alloc_free(member);
                return r;
        }
        list_push_back(&m->members, &member->by_reservation);
        list_push_back(&k->members, &member->by_client);
        chain_range(svc, m);
        return 0;
}

/* As often as it pinned, run by run. */
static void unpin(struct service *svc, struct managed_member *member) {
        struct managed_reservation *m = member->managed;
        uint32_t first = 0, end;

        leases_changed(svc);
        while (member->pins && first < m->count) {
                for (end = first; end < m->count && member->pins[end] > 0; end++)
                        member->pins[end]--;
                if (end > first)
                        mover_unpin(svc->mover, m->range, first, end - first);
                else
                        first++;
        }
}

void managed_member_end(struct service *svc, struct managed_member *member) {
        struct managed_reservation *m;
        bool in;

        if (!member)
                return;
        m = member->managed;
        in = member->joined || member->joining;
        if (member->joining)
                join_over(svc, member, "the reservation has ended");
        list_for_each (l, &member->client->session->spaces)
                hide_in(svc, member, container_of(l, struct space, by_session));
        if (svc->mover && m->range)
                unpin(svc, member);
        if (svc->mover && m->range && member->client->mover && in)
                mover_leave(svc->mover, member->client->mover, m->range);
        list_remove(&member->by_reservation);
        list_remove(&member->by_client);
        alloc_free(member->pins);
        alloc_free(member);
}

void managed_leave_process(struct service *svc, struct managed_member *member) {
        list_for_each (l, &member->client->session->spaces)
                hide_in(svc, member, container_of(l, struct space, by_session));
        member->joined = false;
        if (svc->mover && member->managed->range && member->client->mover)
                mover_leave(svc->mover, member->client->mover, member->managed->range);
}

void managed_closed(struct service *svc, struct reservation *r, const struct session *s) {
        struct managed_reservation *m = managed_of(r);

        if (!m)
                return;
        managed_member_end(svc, managed_member_find(m, s));
        if (r->owner == s)
                advice_left(svc, m, s);
        else
                advice_gone(svc, m, s->object.id);
}

/* ---- reservations ---- */

struct managed_share *managed_share_get(struct service *svc, struct partition *p) {
        struct managed_share *share = p->managed;
        const struct policy_profile *profile;
        uint64_t rate;

        if (share)
                return share;
        share = alloc_zero(sizeof(*share));
        if (share && svc->mover)
                share->group = mover_group_new(svc->mover);
        if (!share || (svc->mover && !share->group)) {
                alloc_free(share);
                return NULL;
        }
        share->partition = p;
        list_init(&share->promised);
        p->managed = share;
        managed_share_promised(svc, p);
        profile = rates_profile(svc, partition_name(p), &rate);
        if (svc->mover)
                mover_group_policy(svc->mover, share->group, profile, rate);
        capacity_limits(svc, p);
        return share;
}

void managed_share_promised(struct service *svc, struct partition *p) {
        struct managed_share *share = p->managed;
        bool any = false;

        if (!share)
                return;
        for (uint32_t i = 0; i < svc->options.machine->count; i++)
                any |= p->accounts[i].min > 0;
        list_remove(&share->promised);
        if (any)
                list_push_back(&svc->managed.promised, &share->promised);
}

void managed_share_free(struct service *svc, struct partition *p) {
        struct managed_share *share = p->managed;

        if (!share)
                return;
        list_remove(&share->promised);
        for (uint32_t i = 0; i < MANAGED_NODES_MAX; i++)
                svc->managed.unused[i] -= share->unused[i];
        if (svc->mover)
                mover_group_free(svc->mover, share->group);
        alloc_free(share);
        p->managed = NULL;
}

bool granule_ok(uint32_t granule, uint64_t address, uint64_t size) {
        return (granule == GRANULE_SMALL || granule == GRANULE_LARGE || granule == GRANULE_HUGE) &&
               address % granule == 0 && size % granule == 0 && size / granule <= GRANULES_MAX;
}

int managed_begin(struct service *svc, struct reservation *r, uint32_t granule, unsigned flags,
                  struct managed_reservation **ret) {
        struct managed_client *k = r->outside ? managed_client_of(svc, r->owner) : NULL;
        struct managed_share *share = managed_share_get(svc, r->partition);
        struct managed_reservation *m = share && !k == !r->outside ? alloc_zero(sizeof(*m)) : NULL;

        if (m)
                m->hints = hints_new();
        if (!m || !m->hints) {
                alloc_free(m);
                return -ENOMEM;
        }
        m->reservation = r;
        m->granule = granule;
        m->count = (uint32_t)(r->va.size / granule);
        m->flags = flags;
        m->payer = r->owner ? r->owner->party : NULL;
        peer_take_fds(m->payer, RANGE_FDS);
        list_init(&m->members);
        list_init(&m->adopted);
        list_init(&m->taking);
        if (k)
                list_push_back(&k->adopted, &m->adopted);
        list_push_back(&svc->managed.ranges, &m->link);
        svc->managed.bytes += r->va.size;
        share->bytes += r->va.size;
        r->managed = m;
        *ret = m;
        return 0;
}

int managed_bring_up(struct service *svc, struct managed_reservation *m, int memory, int state) {
        struct reservation *r = m->reservation;
        const struct managed_share *share = r->partition->managed;
        const struct managed_client *owner = r->owner ? r->owner->managed : NULL;
        struct mover_range_args args = {
                .userdata = m,
                .id = r->object.id,
                .address = r->va.start,
                .size = r->va.size,
                .granule = m->granule,
                .huge = m->flags & SVMD__V1__RANGE_FLAG__RANGE_HUGE,
                .poison = m->flags & SVMD__V1__RANGE_FLAG__RANGE_SIGBUS,
                .ahead = m->flags & SVMD__V1__RANGE_FLAG__RANGE_AHEAD,
                .group = share->group,
                .hints = m->hints,
                .cgroup = owner ? owner->cgroup : 0,
                .memory = memory,
                .state = state,
        };
        int k = mover_range_new(svc->mover, &m->range, &args);

        if (k < 0)
                return k;
        mover_range_generation(m->range, r->generation);
        chain_range(svc, m);
        return 0;
}

int managed_keep(struct service *svc, struct managed_reservation *m) {
        uint64_t id = m->reservation->object.id;
        int r = svc->hooks.keep(svc->hooks.userdata, KEEP_KEY(KEEP_RANGE, id), mover_range_memory(m->range));

        if (r < 0)
                return r;
        r = svc->hooks.keep(svc->hooks.userdata, KEEP_KEY(KEEP_RANGE_STATE, id), mover_range_state(m->range));
        if (r < 0)
                svc->hooks.unkeep(svc->hooks.userdata, KEEP_KEY(KEEP_RANGE, id));
        return r;
}

void managed_end(struct service *svc, struct managed_reservation *m) {
        struct reservation *r = m->reservation;
        struct managed_share *share = r->partition->managed;

        svc->managed.bytes -= r->va.size;
        share->bytes -= r->va.size;
        reservation_retire(&svc->state, r);
        list_remove(&m->taking);
        list_remove(&m->link);
        list_push_back(&svc->managed.ending, &m->link);
        if (!m->range || !svc->mover)
                managed_ended(svc, m);
}

void managed_commit(struct service *svc) {
        list_for_each (l, &svc->managed.ending) {
                struct managed_reservation *m = container_of(l, struct managed_reservation, link);

                if (!m->range)
                        continue;
                mover_range_end(svc->mover, m->range, ANSWER(ANSWER_END, m->reservation->object.id));
                m->range = NULL;
        }
}

void managed_ended(struct service *svc, struct managed_reservation *m) {
        uint64_t id = m->reservation->object.id;

        if (!svc->replaying) {
                svc->hooks.unkeep(svc->hooks.userdata, KEEP_KEY(KEEP_RANGE, id));
                svc->hooks.unkeep(svc->hooks.userdata, KEEP_KEY(KEEP_RANGE_STATE, id));
        }
        list_remove(&m->link);
        list_remove(&m->adopted);
        reservation_release(m->reservation);
        hints_free(m->hints);
        peer_drop_fds(m->payer, RANGE_FDS);
        alloc_free(m);
}
