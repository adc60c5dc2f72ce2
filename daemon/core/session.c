#include "core/session.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "core/cgroup.h"
#include "core/device_events.h"
#include "core/ledger.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/state.h"

/* ---- peers ---- */

#define PARTY_DOOR (1ull << 63)

uint64_t party_of(uint32_t uid, const struct partition *door) {
        return door ? PARTY_DOOR | door->number : uid;
}

static struct peer *peer_of(struct tree_node *n) {
        return container_of(n, struct peer, node);
}

/* Where the number is, or would be. */
static struct tree_node **peer_place(struct tree *t, uint64_t number, struct tree_node **ret_parent) {
        struct tree_node **at = &t->root;

        *ret_parent = NULL;
        while (*at && peer_of(*at)->number != number) {
                *ret_parent = *at;
                at = &(*at)->child[peer_of(*at)->number < number];
        }
        return at;
}

static struct peer *peer_get(struct tree *t, uint64_t number) {
        struct tree_node *parent, *found = *peer_place(t, number, &parent);
        struct peer *p;

        if (found) {
                peer_of(found)->sessions++;
                return peer_of(found);
        }
        p = alloc_zero(sizeof(*p));
        if (!p)
                return NULL;
        p->number = number;
        p->sessions = 1;
        p->in = t;
        tree_insert(t, parent, parent && peer_of(parent)->number < number, &p->node, NULL);
        return p;
}

static void peer_left(struct peer *p) {
        if (p->sessions > 0 || p->fds > 0)
                return;
        tree_remove(p->in, &p->node, NULL);
        alloc_free(p->events);
        alloc_free(p);
}

static void peer_put(struct peer *p) {
        if (!p)
                return;
        p->sessions--;
        peer_left(p);
}

void peer_take_fds(struct peer *p, uint32_t n) {
        if (p)
                p->fds += n;
}

void peer_drop_fds(struct peer *p, uint32_t n) {
        if (!p)
                return;
        p->fds -= n;
        peer_left(p);
}

struct peer *session_process(const struct state *s, uint32_t pid) {
        struct tree_node *parent, *found = *peer_place((struct tree *)&s->processes, pid, &parent);

        return found ? peer_of(found) : NULL;
}

struct device_events *peer_events(struct peer *p) {
        if (!p->events)
                p->events = alloc_zero(sizeof(*p->events));
        return p->events;
}

uint64_t sessions_of_party(const struct state *s, uint64_t party) {
        struct tree_node *parent, *found = *peer_place((struct tree *)&s->parties, party, &parent);

        return found ? peer_of(found)->sessions : 0;
}

struct domain *session_other_domain(const struct session *session) {
        return session->process->domain;
}

/* ---- sessions ---- */

static int copy_groups(struct session *session, const struct credentials *who) {
        uint32_t *groups;

        session->who = *who;
        session->who.groups = NULL;
        session->who.groups_count = 0;
        if (who->groups_count == 0)
                return 0;
        groups = alloc_array(who->groups_count, sizeof(*groups));
        if (!groups)
                return -ENOMEM;
        memcpy(groups, who->groups, who->groups_count * sizeof(*groups));
        session->who.groups = groups;
        session->who.groups_count = who->groups_count;
        return 0;
}

int session_new(struct session **ret, struct state *s, const struct session_args *args) {
        struct session *session;

        if (ids_reserve(&s->ids, 1) < 0)
                return -ENOMEM;
        session = alloc_zero(sizeof(*session));
        if (!session)
                return -ENOMEM;
        session->process = peer_get(&s->processes, args->pid);
        session->party = peer_get(&s->parties, party_of(args->who.uid, args->door));
        if (!session->process || !session->party || copy_groups(session, &args->who) < 0) {
                peer_put(session->process);
                peer_put(session->party);
                alloc_free(session);
                return -ENOMEM;
        }
        session->object = (struct object){ .id = args->id, .type = OBJECT_SESSION };
        session->pid = args->pid;
        session->door = args->door;
        session->admin = args->admin;
        session->reader = args->reader;
        list_init(&session->by_partition);
        list_init(&session->reservations);
        list_init(&session->openings);
        list_init(&session->holdings);
        list_init(&session->spaces);
        list_init(&session->files);
        list_init(&session->fences);
        list_init(&session->orders);
        list_init(&session->leases);
        list_init(&session->grants);
        list_push_back(&s->sessions, &session->by_state);
        ids_add(&s->ids, &session->object);
        s->sessions_count++;
        *ret = session;
        return 0;
}

void session_free(struct state *s, struct session *session) {
        if (session->accounts)
                for (uint32_t i = 0; i < s->machine->count; i++)
                        account_fini(&session->accounts[i]);
        if (session->partition) {
                session->partition->sessions_count--;
                if (--session->process->attached == 0)
                        session->process->domain = NULL;
        }
        peer_put(session->process);
        peer_put(session->party);
        list_remove(&session->by_partition);
        list_remove(&session->by_state);
        ids_remove(&s->ids, &session->object);
        s->sessions_count--;
        alloc_free(session->accounts);
        alloc_free((void *)session->who.groups);
        alloc_free(session->client);
        alloc_free(session->cgroup_path);
        alloc_free(session->grants_failed);
        alloc_free(session);
}

int session_set_client(struct session *session, const char *client) {
        char *copy = alloc_string(client);

        if (!copy)
                return -ENOMEM;
        alloc_free(session->client);
        session->client = copy;
        return 0;
}

void session_attach(struct session *session, struct partition *p) {
        session->partition = p;
        session->guest = session->door && session->door != p;
        session->process->attached++;
        session->process->domain = p->domain;
        list_push_back(&p->sessions, &session->by_partition);
        p->sessions_count++;
}

uint64_t session_used(const struct session *s, uint32_t node) {
        return s->accounts ? s->accounts[node].used : 0;
}

int session_restore_door(struct state *s, struct session *session, struct partition *door) {
        struct peer *party = peer_get(&s->parties, party_of(session->who.uid, door));

        if (!party)
                return -ENOMEM;
        peer_put(session->party);
        session->party = party;
        session->door = door;
        session->guest = door != session->partition;
        return 0;
}

struct account *session_account(struct state *s, struct session *session, uint32_t node) {
        if (!session->accounts) {
                session->accounts = alloc_array(s->machine->count, sizeof(*session->accounts));
                if (!session->accounts)
                        return NULL;
                for (uint32_t i = 0; i < s->machine->count; i++) {
                        account_init(&session->accounts[i], &session->partition->accounts[i], ACCOUNT_NO_LIMIT);
                        account_set_also(&session->accounts[i], session->cgroup ? &session->cgroup->accounts[i] : NULL);
                }
        }
        return &session->accounts[node];
}
