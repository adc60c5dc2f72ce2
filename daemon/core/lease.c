#include "core/lease.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/session.h"
#include "core/state.h"

/* ---- rows: what is needed of each node ---- */

/* Needs, and behind them nodes, in one piece that begins with needs. */
static bool rows_new(struct lease *l, const struct admission_need *needs, const struct lease_need *nodes,
                     uint32_t count, uint32_t room) {
        struct admission_need *rows = alloc_zero(room * (sizeof(*needs) + sizeof(*nodes)));

        if (!rows)
                return false;
        if (needs)
                memcpy(rows, needs, count * sizeof(*needs));
        memcpy(rows + room, nodes, count * sizeof(*nodes));
        alloc_free(l->needs);
        l->needs = l->admission.needs = rows;
        l->nodes = (struct lease_need *)(rows + room);
        return true;
}

static struct account *payer(struct state *s, const struct lease *l, uint32_t node) {
        return l->session ? session_account(s, l->session, node) : &l->partition->accounts[node];
}

static bool find_accounts(struct state *s, struct lease *l) {
        for (uint32_t i = 0; i < l->admission.count; i++) {
                l->needs[i].account = payer(s, l, l->nodes[i].node);
                l->needs[i].bytes = l->nodes[i].asked;
                if (!l->needs[i].account)
                        return false;
        }
        return true;
}

/* ---- life ---- */

struct lease *lease_new(struct state *s, uint64_t id, struct partition *p, struct session *session,
                        const struct lease_need *nodes, uint32_t count) {
        struct lease *l = alloc_zero(sizeof(*l));

        if (!l)
                return NULL;
        l->object = (struct object){ .id = id, .type = OBJECT_LEASE };
        l->partition = p;
        l->session = session;
        l->until_ns = UINT64_MAX;
        l->admission = (struct admission){ .share = &p->admissions, .count = count };
        list_init(&l->admission.by_line);
        list_init(&l->by_session);
        list_init(&l->by_end);
        if (!rows_new(l, NULL, nodes, count, count) || !find_accounts(s, l)) {
                alloc_free(l->needs);
                alloc_free(l);
                return NULL;
        }
        if (session)
                list_push_back(&session->leases, &l->by_session);
        ids_add(&s->ids, &l->object);
        return l;
}

void lease_free(struct state *s, struct lease *l) {
        list_remove(&l->by_end);
        list_remove(&l->by_session);
        ids_remove(&s->ids, &l->object);
        lease_drop_name(l);
        alloc_free(l->needs);
        alloc_free(l);
}

/* ---- what is left ---- */

static uint32_t index_of(const struct lease *l, uint32_t node) {
        uint32_t i = 0;

        while (i < l->admission.count && l->nodes[i].node != node)
                i++;
        return i;
}

bool lease_has_node(const struct lease *l, uint32_t node) {
        return index_of(l, node) < l->admission.count;
}

const struct lease_need *lease_need_of(const struct lease *l, const struct account *a) {
        for (uint32_t i = 0; i < l->admission.count; i++)
                for (const struct account *leaf = l->needs[i].account, *at = leaf; at; at = account_up(leaf, at))
                        if (at == a)
                                return &l->nodes[i];
        return NULL;
}

uint64_t lease_left(const struct lease *l, uint32_t node) {
        uint32_t i = index_of(l, node);

        return i < l->admission.count && l->state == LEASE_GRANTED ? l->needs[i].bytes : 0;
}

uint64_t lease_size(const struct lease *l) {
        uint64_t sum = 0;

        for (uint32_t i = 0; i < l->admission.count; i++)
                sum += l->nodes[i].asked;
        return sum;
}

static void set_left(struct admission_need *n, uint64_t bytes) {
        struct account *a = n->account;

        n->bytes = bytes;
        charge_drop(&n->charge);
        charge_force(&n->charge, a, bytes);
}

void lease_take(struct lease *l, uint32_t node, uint64_t bytes) {
        struct admission_need *n = &l->needs[index_of(l, node)];

        set_left(n, n->bytes - bytes);
}

uint64_t lease_growth(const struct lease *l, uint32_t node, uint64_t bytes) {
        uint32_t i = index_of(l, node);
        uint64_t before, after;

        if (i == l->admission.count)
                return bytes;
        before = l->needs[i].bytes + l->nodes[i].filling;
        after = before + bytes;
        if (before < l->nodes[i].asked)
                before = l->nodes[i].asked;
        return after > before ? after - before : 0;
}

void lease_return(struct lease *l, uint32_t node, uint64_t bytes) {
        uint32_t i = index_of(l, node);
        uint64_t *asked = &l->nodes[i].asked;

        set_left(&l->needs[i], l->needs[i].bytes + bytes);
        if (l->needs[i].bytes <= *asked)
                return;
        if (l->keeping)
                l->partition->kept_bytes += l->needs[i].bytes - *asked;
        *asked = l->needs[i].bytes;
}

/* ---- another node ---- */

int lease_add_node(struct lease *l, uint32_t node) {
        uint32_t at = l->admission.count;
        struct account *a = l->session ? &l->session->accounts[node] : &l->partition->accounts[node];

        if (!rows_new(l, l->needs, l->nodes, at, at + 1))
                return -ENOMEM;
        l->nodes[at] = (struct lease_need){ .node = node };
        l->needs[at] = (struct admission_need){ .account = a };
        charge_force(&l->needs[at].charge, a, 0);
        l->admission.count++;
        return 0;
}

void lease_drop_node(struct lease *l) {
        charge_drop(&l->needs[--l->admission.count].charge);
}

/* ---- whose it is ---- */

static void pay_from(struct lease *l, uint32_t i, struct account *a) {
        charge_drop(&l->needs[i].charge);
        l->needs[i].account = a;
        charge_force(&l->needs[i].charge, a, l->needs[i].bytes);
}

void lease_orphan(struct lease *l) {
        for (uint32_t i = 0; i < l->admission.count; i++) {
                l->needs[i].account = &l->partition->accounts[l->nodes[i].node];
                charge_lift(&l->needs[i].charge, l->needs[i].account);
        }
        list_remove(&l->by_session);
        l->session = NULL;
}

int lease_accounts(struct state *s, struct session *session) {
        return session_account(s, session, 0) ? 0 : -ENOMEM;
}

/* Its partition and the node have it already. */
const struct account *lease_too_much_for(const struct lease *l, const struct session *session,
                                         const struct admission_need **ret_need) {
        for (uint32_t i = 0; i < l->admission.count; i++) {
                const struct account *leaf = &session->accounts[l->nodes[i].node];

                for (const struct account *at = leaf; at; at = account_up(leaf, at)) {
                        if ((at != leaf && !at->aside) || l->needs[i].bytes <= account_room_at(leaf, at))
                                continue;
                        *ret_need = &l->needs[i];
                        return at;
                }
        }
        return NULL;
}

void lease_adopt(struct lease *l, struct session *session) {
        for (uint32_t i = 0; i < l->admission.count; i++)
                pay_from(l, i, &session->accounts[l->nodes[i].node]);
        l->session = session;
        list_push_back(&session->leases, &l->by_session);
}

int lease_set_name(struct lease *l, const char *text, uint32_t uid, uint32_t gid, uint32_t mode) {
        l->name = name_new(text, l, uid, gid, mode);
        if (!l->name)
                return -ENOMEM;
        name_link(&l->partition->lease_names, l->name);
        return 0;
}

void lease_drop_name(struct lease *l) {
        if (!l->name)
                return;
        name_unlink(&l->partition->lease_names, l->name);
        name_free(l->name);
        l->name = NULL;
}
