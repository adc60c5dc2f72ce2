#include "service/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/space.h"
#include "service/audit.h"
#include "service/chain.h"
#include "service/effects.h"
#include "service/fence.h"
#include "service/grant.h"
#include "service/join.h"
#include "service/range.h"

/* Sessions come with a connection and go with it; what they held is released in the order in which things name one
 * another: devices let go first, then addresses, handles, and the files in which plain memory lay. */

static bool may_have_more(struct service *svc, const struct service_peer *peer) {
        if (svc->state.sessions_count >= svc->options.max_sessions)
                return false;
        if (!peer->partition && (peer->uid == 0 || peer->uid == svc->own_uid))
                return true;
        return sessions_of_party(&svc->state, party_of(peer->uid, peer->partition)) < svc->options.max_sessions_per_uid;
}

int service_session_new(struct service *svc, struct session **ret, const struct service_peer *peer, void *connection) {
        struct session_args args = {
                .id = state_take_id(&svc->state),
                .pid = peer->pid,
                .admin = peer->admin,
                .reader = peer->reader,
                .door = peer->partition,
                .who = { .uid = peer->uid,
                         .gid = peer->gid,
                         .groups = peer->groups,
                         .groups_count = peer->groups_count,
                         .superuser = peer->uid == 0 || peer->uid == svc->own_uid },
        };
        int r;

        if (!may_have_more(svc, peer))
                return SERVICE_E_REFUSED;
        r = session_new(ret, &svc->state, &args);
        if (r < 0)
                return r;
        (*ret)->connection = connection;
        return 0;
}

static void forget_fences(struct service *svc, struct session *s) {
        list_for_each_safe (l, &s->fences)
                fence_free(svc, container_of(l, struct fence, by_session));
}

static void release_reservations(struct service *svc, struct session *s) {
        list_for_each_safe (l, &s->openings)
                opening_end(svc, container_of(l, struct opening, by_session));
        list_for_each_safe (l, &s->reservations) {
                struct reservation *r = container_of(l, struct reservation, by_owner);

                if (r->shared && (r->shared->openings_count > 0 || r->shared->keeping)) {
                        managed_closed(svc, r, s);
                        reservation_orphan(r);
                        keeping_left(svc, r->shared->keeping);
                } else {
                        reservation_end(svc, r);
                }
        }
}

/* The journal's entry is one effect; what follows from it follows again at a replay. */
static void note_end(struct service *svc, struct session *s) {
        struct effect_id e = { .id = s->object.id };

        if (!svc->journal || svc->replaying || svc->journal_behind || !s->partition || s->end_noted)
                return;
        s->end_noted = true;
        journal_note(svc, EFFECT_SESSION_END, &e, sizeof(e));
}

void session_release(struct service *svc, struct session *s) {
        struct partition *p = s->partition;

        s->ending = true;
        svc->attached -= p != NULL;
        accounts_session_end(svc, s);
        list_for_each_safe (l, &s->spaces)
                space_end(svc, container_of(l, struct space, by_session));
        forget_fences(svc, s);
        leases_end(svc, s);
        grants_end(svc, s);
        managed_client_leave(svc, s);
        release_reservations(svc, s);
        list_for_each_safe (l, &s->holdings)
                holding_end(svc, container_of(l, struct holding, by_session));
        list_for_each_safe (l, &s->files)
                file_end(svc, container_of(l, struct file, by_session));
        note_end(svc, s);
        if (p && !svc->replaying) {
                svc->hooks.unkeep(svc->hooks.userdata, KEEP_KEY(KEEP_SESSION, s->object.id));
                event_monitor(svc, "session-end", s, p->name->text, "%s (uid %u) left", s->client, s->who.uid);
        }
        event_watch(svc, s, false, false);
        trace_leave(s);
        audit_forget(s);
        replies_free(s);
        managed_client_free(svc, s);
        private_client_free(svc, s);
        chain_unlimit(svc, LIMITED_SESSION(s));
        give_backs_free(LIMITED_SESSION(s));
        walks_pass(svc, s);
        session_free(&svc->state, s);
        if (!list_empty(&svc->pending))
                svc->hooks.wake(svc->hooks.userdata);
}

void service_session_end(struct service *svc, struct session *s) {
        s->connection = NULL;
        s->ending = true;
        if (s->waiting) {
                joins_over(svc, s, "the session has ended");
                note_end(svc, s);
        } else
                session_release(svc, s);
}

void service_session_kick(struct service *svc, struct session *s, unsigned code, const char *text) {
        Svmd__V1__EndEvent body = SVMD__V1__END_EVENT__INIT;
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;

        if (s->ending)
                return;
        body.code = code;
        body.text = (char *)text;
        event.event_case = SVMD__V1__EVENT__EVENT_END;
        event.end = &body;
        event_send(svc, s, &event);
        svc->hooks.session_gone(svc->hooks.userdata, s);
        service_session_end(svc, s);
}

int service_each_session(struct service *svc, int (*fn)(void *userdata, struct session *s), void *userdata) {
        list_for_each_safe (l, &svc->state.sessions) {
                int r = fn(userdata, container_of(l, struct session, by_state));

                if (r != 0)
                        return r;
        }
        return 0;
}

void service_session_resumed(struct service *svc, struct session *s, void *connection) {
        const struct managed_client *k = s->managed;
        Svmd__V1__EpochEvent body = SVMD__V1__EPOCH_EVENT__INIT;
        Svmd__V1__Event event = SVMD__V1__EVENT__INIT;

        s->connection = connection;
        body.epoch = svc->epoch;
        event.event_case = SVMD__V1__EVENT__EVENT_EPOCH;
        event.epoch = &body;
        event_send(svc, s, &event);
        if (k && k->lost)
                service_session_kick(svc, s, SVMD_STATUS_GONE, k->why);
}

uint64_t session_id(const struct session *s) {
        return s->object.id;
}

uint64_t session_party(const struct session *s) {
        return party_of(s->who.uid, s->door);
}

void session_party_name(const struct session *s, char *ret, size_t size) {
        if (s->door)
                snprintf(ret, size, "who uses the socket of partition %s", s->door->name->text);
        else
                snprintf(ret, size, "user %u", s->who.uid);
}

uint64_t peer_party(const struct service_peer *peer) {
        return party_of(peer->uid, peer->partition);
}

void *session_connection(const struct session *s) {
        return s->connection;
}

uint64_t service_sessions(const struct service *svc) {
        return svc->state.sessions_count;
}

uint64_t service_attached(const struct service *svc) {
        return svc->attached;
}

/* ---- answers that may be asked for again ---- */

/* After a crash nobody knows which replies had left. A client asks again for what it did not get, so only the last ones
 * can be wanted: as many as a connection's buffer could have held.
 *
 * A request that the dead svmd had not read lies in the socket still, is served by the next one, and comes a second
 * time when the client hears of that; behind it may come older ones. So a resumed session also remembers what was
 * served since, as replies of no bytes, until so much was served that nothing from before can be under way. */
#define REPLIES_MAX 512

struct kept_reply {
        struct list link;
        uint64_t id;
        size_t size;
        uint8_t bytes[];
};

struct replies {
        struct list list;
        unsigned count, served;
};

void replies_free(struct session *s) {
        struct replies *all = s->replies;

        if (!all)
                return;
        list_for_each_safe (l, &all->list)
                alloc_free(container_of(l, struct kept_reply, link));
        alloc_free(all);
        s->replies = NULL;
}

const void *replies_find(const struct session *s, uint64_t id, size_t *ret_size) {
        struct replies *all = s->replies;
        struct kept_reply *found = NULL;

        if (!all)
                return NULL;
        list_for_each (l, &all->list) {
                struct kept_reply *r = container_of(l, struct kept_reply, link);

                if (r->id == id && (!found || r->size > 0))
                        found = r;
        }
        if (!found)
                return NULL;
        *ret_size = found->size;
        return found->bytes;
}

int replies_add(struct session *s, uint64_t id, const void *bytes, size_t size) {
        struct replies *all = s->replies;
        struct kept_reply *r = alloc_zero(sizeof(*r) + size);

        if (!all && r) {
                all = alloc_zero(sizeof(*all));
                if (all)
                        list_init(&all->list);
                s->replies = all;
        }
        if (!all || !r) {
                alloc_free(r);
                return -ENOMEM;
        }
        r->id = id;
        r->size = size;
        if (size > 0)
                memcpy(r->bytes, bytes, size);
        list_push_back(&all->list, &r->link);
        if (++all->count > REPLIES_MAX) {
                struct kept_reply *oldest = container_of(all->list.next, struct kept_reply, link);

                list_remove(&oldest->link);
                alloc_free(oldest);
                all->count--;
        }
        return 0;
}

int replies_served(struct session *s, uint64_t id) {
        struct replies *all;
        int r;

        if (!s->resumed) {
                replies_free(s);
                return 0;
        }
        r = replies_add(s, id, NULL, 0);
        if (r < 0)
                return r;
        all = s->replies;
        if (++all->served >= REPLIES_MAX) {
                s->resumed = false;
                replies_free(s);
        }
        return 0;
}

int replies_each(const struct session *s,
                 int (*fn)(void *userdata, const struct session *s, uint64_t id, const void *bytes, size_t size),
                 void *userdata) {
        struct replies *all = s->replies;
        int r = 0;

        if (!all)
                return 0;
        list_for_each (l, &all->list) {
                struct kept_reply *k = container_of(l, struct kept_reply, link);

                if (r == 0 && k->size > 0)
                        r = fn(userdata, s, k->id, k->bytes, k->size);
        }
        return r;
}

/* The number of the request that a packed reply answers: field 1 of what is in field 1 of the packet. */
static uint64_t reply_number(const uint8_t *bytes, size_t size) {
        uint64_t id = 0;
        size_t i = 1;

        while (i < size && bytes[i] & 0x80)
                i++;
        i += 2;
        for (unsigned shift = 0; i < size && shift < 64; i++, shift += 7) {
                id |= (uint64_t)(bytes[i] & 0x7f) << shift;
                if (!(bytes[i] & 0x80))
                        break;
        }
        return id;
}

/* A reply that has left is not in the journal's way; one that is stuck must outlive a snapshot. */
void service_reply_stuck(struct service *svc, struct session *s, const void *bytes, size_t size) {
        replies_add(s, reply_number(bytes, size), bytes, size);
}

void service_reply_left(struct service *svc, struct session *s) {
        if (!s->resumed)
                replies_free(s);
}
