#include "core/session.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "core/ledger.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/state.h"

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
        if (copy_groups(session, &args->who) < 0) {
                alloc_free(session);
                return -ENOMEM;
        }
        session->object = (struct object){ .id = args->id, .type = OBJECT_SESSION };
        session->pid = args->pid;
        session->admin = args->admin;
        list_init(&session->by_partition);
        list_init(&session->reservations);
        list_init(&session->openings);
        list_init(&session->holdings);
        list_init(&session->spaces);
        list_init(&session->files);
        list_init(&session->fences);
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
        if (session->partition)
                session->partition->sessions_count--;
        list_remove(&session->by_partition);
        list_remove(&session->by_state);
        ids_remove(&s->ids, &session->object);
        s->sessions_count--;
        alloc_free(session->accounts);
        alloc_free((void *)session->who.groups);
        alloc_free(session->client);
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
        list_push_back(&p->sessions, &session->by_partition);
        p->sessions_count++;
}

struct account *session_account(struct state *s, struct session *session, uint32_t node) {
        if (!session->accounts) {
                session->accounts = alloc_array(s->machine->count, sizeof(*session->accounts));
                if (!session->accounts)
                        return NULL;
                for (uint32_t i = 0; i < s->machine->count; i++)
                        account_init(&session->accounts[i], &session->partition->accounts[i], ACCOUNT_NO_LIMIT);
        }
        return &session->accounts[node];
}
