#include "core/lease.h"

#include <string.h>

#include "base/alloc.h"
#include "core/partition.h"
#include "core/session.h"
#include "core/state.h"

static bool find_accounts(struct state *s, struct lease *l) {
        for (uint32_t i = 0; i < l->admission.count; i++) {
                l->needs[i].account = session_account(s, l->session, l->nodes[i].node);
                l->needs[i].bytes = l->nodes[i].asked;
                if (!l->needs[i].account)
                        return false;
        }
        return true;
}

struct lease *lease_new(struct state *s, uint64_t id, struct session *session, const struct lease_need *nodes,
                        uint32_t count) {
        struct lease *l = alloc_zero(sizeof(*l) + count * sizeof(l->needs[0]) + count * sizeof(*nodes));

        if (!l)
                return NULL;
        l->object = (struct object){ .id = id, .type = OBJECT_LEASE };
        l->session = session;
        l->until_ns = UINT64_MAX;
        l->admission =
                (struct admission){ .share = &session->partition->admissions, .needs = l->needs, .count = count };
        l->nodes = (struct lease_need *)(l->needs + count);
        memcpy(l->nodes, nodes, count * sizeof(*nodes));
        list_init(&l->admission.by_line);
        list_init(&l->by_end);
        if (!find_accounts(s, l)) {
                alloc_free(l);
                return NULL;
        }
        list_push_back(&session->leases, &l->by_session);
        ids_add(&s->ids, &l->object);
        return l;
}

void lease_free(struct state *s, struct lease *l) {
        list_remove(&l->by_end);
        list_remove(&l->by_session);
        ids_remove(&s->ids, &l->object);
        alloc_free(l);
}

static struct admission_need *need_of(const struct lease *l, uint32_t node) {
        for (uint32_t i = 0; i < l->admission.count; i++)
                if (l->nodes[i].node == node)
                        return &l->admission.needs[i];
        return NULL;
}

const struct lease_need *lease_need_of(const struct lease *l, const struct account *a) {
        for (uint32_t i = 0; i < l->admission.count; i++)
                for (const struct account *leaf = l->needs[i].account, *at = leaf; at; at = account_up(leaf, at))
                        if (at == a)
                                return &l->nodes[i];
        return NULL;
}

uint64_t lease_left(const struct lease *l, uint32_t node) {
        const struct admission_need *n = need_of(l, node);

        return n && l->state == LEASE_GRANTED ? n->bytes : 0;
}

static void set_left(struct admission_need *n, uint64_t bytes) {
        struct account *a = n->account;

        n->bytes = bytes;
        charge_drop(&n->charge);
        charge_force(&n->charge, a, bytes);
}

void lease_take(struct lease *l, uint32_t node, uint64_t bytes) {
        struct admission_need *n = need_of(l, node);

        set_left(n, n->bytes - bytes);
}

void lease_return(struct lease *l, uint32_t node, uint64_t bytes) {
        struct admission_need *n = need_of(l, node);

        set_left(n, n->bytes + bytes);
}
