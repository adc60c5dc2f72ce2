#include "service/range_restore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "core/by_id.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "proto/range.h"
#include "service/cuda.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/range.h"
#include "service/said.h"

/*
 *      replay             reservations, members, who has joined: objects
 *      ranges_restore     files -> ranges; userfaultfds -> sessions, which rejoin; spaces see ranges; channels of CUDA
 *                         nodes
 *      said_before        pins
 *      ranges_go_on       every granule settles, everyone is woken; what is revoked is taken again
 *
 * A page that is nowhere any more must not read as zeroes: its range ends, and so do the sessions that had it.
 */

__attribute__((format(printf, 3, 4))) static int bad(char *why, size_t size, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        vsnprintf(why, size, format, ap);
        va_end(ap);
        return -EBADMSG;
}

/* ---- replay ---- */

static int replay_range(struct service *svc, const struct effect_range *e, char *why, size_t why_size) {
        struct reservation *r = reservation_by_id(&svc->state, e->reservation);
        struct managed_reservation *m;
        int k;

        if (!r || managed_of(r) || !granule_ok(e->granule, r->va.start, r->va.size))
                return bad(why, why_size, "reservation %" PRIu64 " cannot be managed as it was", e->reservation);
        k = managed_begin(svc, r, e->granule, e->flags, &m);
        return k == 0 && r->owner ? managed_member_begin(svc, m, r->owner, false) : k;
}

static int replay_uffd(struct service *svc, const struct effect_id *e, char *why, size_t why_size) {
        struct session *s = session_by_id(&svc->state, e->id);
        struct managed_client *k = s ? managed_client_of(svc, s) : NULL;

        if (!s)
                return bad(why, why_size, "session %" PRIu64 " gave a userfaultfd, and is not there", e->id);
        if (!k)
                return -ENOMEM;
        k->given = true;
        return 0;
}

static int replay_join(struct service *svc, const struct effect_join *e, bool joined, char *why, size_t why_size) {
        struct reservation *r = reservation_by_id(&svc->state, e->reservation);
        struct session *s = session_by_id(&svc->state, e->session);
        struct managed_member *member = r && s && managed_of(r) ? managed_member_find(managed_of(r), s) : NULL;

        if (!member || !member->client->given || (!joined && !r->outside))
                return bad(why, why_size, "session %" PRIu64 " joined reservation %" PRIu64 ", which it cannot have",
                           e->session, e->reservation);
        member->joined = joined;
        return 0;
}

int range_replay(struct service *svc, uint16_t type, const void *bytes, char *why, size_t why_size) {
        switch (type) {
        case EFFECT_RANGE: return replay_range(svc, bytes, why, why_size);
        case EFFECT_UFFD: return replay_uffd(svc, bytes, why, why_size);
        case EFFECT_JOIN: return replay_join(svc, bytes, true, why, why_size);
        case EFFECT_LEAVE: return replay_join(svc, bytes, false, why, why_size);
        default: return -EINVAL;
        }
}

/* ---- losing ---- */

__attribute__((format(printf, 2, 3))) static void lose_client(struct managed_client *k, const char *format, ...) {
        va_list ap;

        if (k->lost)
                return;
        k->lost = true;
        va_start(ap, format);
        vsnprintf(k->why, sizeof(k->why), format, ap);
        va_end(ap);
        log_error("session %" PRIu64 " (pid %u) ends: %s", k->session->object.id, k->session->pid, k->why);
}

static void lose_range(struct service *svc, struct managed_reservation *m, const char *what) {
        struct reservation *r = m->reservation;

        list_for_each (l, &m->members)
                lose_client(container_of(l, struct managed_member, by_reservation)->client,
                            "managed memory at 0x%" PRIx64 " is lost: %s", r->va.start, what);
        reservation_end(svc, r);
}

/* ---- ranges ---- */

/* Slots of a device that are not there any more are lost, and their ranges are not. */
static bool pool_there(const struct service *svc, uint32_t node, uint32_t granule) {
        if (node_backend(svc, node)->slots)
                return true;
        for (const struct managed_pool *p = svc->managed.pools; p; p = p->next)
                if (p->node == node && p->granule == granule)
                        return true;
        return kept_has(svc, managed_pool_key(node, granule));
}

/* All that there can be, so that nothing has to be read. */
static bool pools_there(const struct service *svc, uint32_t granule) {
        for (uint32_t i = 0; i < svc->managed.nodes_count; i++)
                if (!svc->managed.nodes[i].host && !pool_there(svc, i, granule))
                        return false;
        return true;
}

/* Whether there is a pool for each slot that the state names. */
static bool slots_there(const struct service *svc, const struct managed_reservation *m, int state) {
        struct range_entry entries[256];
        uint64_t seen = 0;

        if (pools_there(svc, m->granule))
                return true;
        for (uint32_t at = 0; at < m->count; at += 256) {
                size_t size = (m->count - at < 256 ? m->count - at : 256) * sizeof(entries[0]);

                if (pread(state, entries, size, (off_t)range_state_size(at)) != (ssize_t)size)
                        return false;
                for (size_t i = 0; i < size / sizeof(entries[0]); i++) {
                        uint32_t node = range_node(entries[i].word);

                        if (node == 0 || (node <= 64 && seen & 1ull << (node - 1)))
                                continue;
                        if (node > svc->managed.nodes_count || !pool_there(svc, node - 1, m->granule))
                                return false;
                        seen |= 1ull << (node - 1);
                }
        }
        return true;
}

/* NULL, or what is missing; *ret: what svmd cannot do now. */
static const char *adopt(struct service *svc, struct managed_reservation *m, int *ret) {
        uint64_t id = m->reservation->object.id;
        int memory = kept_take(svc, KEEP_KEY(KEEP_RANGE, id)), state = kept_take(svc, KEEP_KEY(KEEP_RANGE_STATE, id));
        const char *what = NULL;

        *ret = 0;
        if (!svc->mover)
                what = mover_features()->why;
        else if (memory < 0 || state < 0)
                what = "svmd-keeper has not its files any more";
        else if (!slots_there(svc, m, state))
                what = "svmd-keeper has not the pool any more in which part of it lies";
        else
                *ret = managed_bring_up(svc, m, memory, state);
        if (*ret == -EINVAL)
                what = "its files are not what they were";
        if (!what && *ret == 0)
                return NULL;
        if (memory >= 0)
                close(memory);
        if (state >= 0)
                close(state);
        return what;
}

static int adopt_ranges(struct service *svc, char *why, size_t why_size) {
        list_for_each_safe (l, &svc->managed.ranges) {
                struct managed_reservation *m = container_of(l, struct managed_reservation, link);
                const char *what;
                int r;

                what = adopt(svc, m, &r);
                if (what) {
                        lose_range(svc, m, what);
                } else if (r < 0) {
                        snprintf(why, why_size, "managed reservation %" PRIu64 " cannot be taken over: %s",
                                 m->reservation->object.id, strerror(-r));
                        return r;
                }
        }
        return 0;
}

/* ---- sessions ---- */

/* One that no reply told of may be new still. */
static int adopt_userfaultfd(struct service *svc, struct managed_client *k, int fd) {
        int r = -EINVAL;

        if (!k->given)
                r = mover_session_new(svc->mover, &k->mover, k, fd, false, k->cgroup);
        if (r == -EINVAL)
                r = mover_session_new(svc->mover, &k->mover, k, fd, true, k->cgroup);
        if (r < 0)
                close(fd);
        else
                managed_client_came(k);
        k->taken_over = r == 0 && !k->given;
        return r;
}

static int rejoin(struct service *svc, struct managed_client *k) {
        int r = 0;

        list_for_each (l, &k->members) {
                struct managed_member *member = container_of(l, struct managed_member, by_client);

                if (r == 0 && member->joined && k->mover)
                        r = mover_rejoin(svc->mover, k->mover, member->managed->range, member->readonly);
                if (r == 0)
                        r = managed_show(svc, member);
        }
        return r;
}

int range_adopt_session(struct service *svc, struct session *s) {
        uint64_t key = KEEP_KEY(KEEP_UFFD, s->object.id);
        struct managed_client *k = s->managed;
        int fd, r = 0;

        if (!svc->mover || (!k && !kept_has(svc, key)))
                return 0;
        k = managed_client_of(svc, s);
        if (!k)
                return -ENOMEM;
        fd = kept_take(svc, key);
        if (fd >= 0)
                r = adopt_userfaultfd(svc, k, fd);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                svc->hooks.unkeep(svc->hooks.userdata, key); /* it is closed */
        if (k->given && !k->mover)
                lose_client(k, "svmd-keeper has not its userfaultfd any more, by which its page faults are served");
        return 0;
}

static int adopt_session(struct service *svc, struct session *s) {
        int r = range_adopt_session(svc, s);

        if (r == 0 && svc->mover && s->managed)
                r = rejoin(svc, s->managed);
        return r == 0 && svc->mover ? cuda_restore(svc, s) : r;
}

int ranges_restore(struct service *svc, char *why, size_t why_size) {
        int r = adopt_ranges(svc, why, why_size);

        if (r < 0)
                return r;
        list_for_each (l, &svc->state.sessions) {
                if (r == 0)
                        r = adopt_session(svc, container_of(l, struct session, by_state));
        }
        if (r == 0 && svc->mover)
                r = said_before(svc);
        if (r < 0)
                snprintf(why, why_size, "managed ranges cannot be taken over: %s", strerror(-r));
        return r;
}

int ranges_go_on(struct service *svc, char *why, size_t why_size) {
        int r = 0;

        if (list_empty(&svc->managed.ranges))
                return 0;
        r = mover_restored(svc->mover);
        if (r == 0)
                r = said_after(svc);
        if (r < 0)
                snprintf(why, why_size, "managed ranges cannot go on: %s", strerror(-r));
        return r;
}

/* ---- snapshot ---- */

int range_put_session(struct service *svc, const struct managed_client *k) {
        struct effect_id given = { .id = k->session->object.id };
        int r = 0;

        if (k->mover && !k->taken_over)
                r = journal_snapshot_put(svc->journal, EFFECT_UFFD, &given, sizeof(given));
        list_for_each (l, &k->members) {
                const struct managed_member *member = container_of(l, struct managed_member, by_client);
                struct effect_join e = { .reservation = member->managed->reservation->object.id,
                                         .session = k->session->object.id };

                if (r == 0 && member->joined)
                        r = journal_snapshot_put(svc->journal, EFFECT_JOIN, &e, sizeof(e));
        }
        return r;
}
