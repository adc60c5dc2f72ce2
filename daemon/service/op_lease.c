#include <errno.h>
#include <inttypes.h>

#include "core/keeping.h"
#include "core/lease.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/lookup.h"

#define MS_NS 1000000ull

/* ---- admit ---- */

static int check_need(struct call *c, const Svmd__V1__Admit *op, size_t i) {
        const Svmd__V1__LeaseNeed *n = op->needs[i];
        int r = check_memory(c, n->node, n->size);

        for (size_t k = 0; r == 0 && k < i; k++)
                if (op->needs[k]->node == n->node)
                        r = refuse(c, SVMD_STATUS_INVALID, "node %s is named twice: add what is needed there up",
                                   node_desc(c->svc, n->node)->name);
        return r;
}

static unsigned count_leases(const struct session *s) {
        unsigned n = 0;

        list_for_each (l, &s->leases)
                n++;
        return n;
}

static int check_admit(struct call *c, const Svmd__V1__Admit *op) {
        int r = 0;

        if (op->n_needs == 0 || op->n_needs > SVMD_LEASE_NEEDS_MAX)
                return refuse(c, SVMD_STATUS_INVALID, "a lease is of 1 to %d nodes, not %zu", SVMD_LEASE_NEEDS_MAX,
                              op->n_needs);
        for (size_t i = 0; r == 0 && i < op->n_needs; i++)
                r = check_need(c, op, i);
        if (r == 0 && count_leases(c->session) >= SVMD_LEASES_MAX)
                return refuse(c, SVMD_STATUS_QUOTA, "this session has %d leases, which is the most; release some",
                              SVMD_LEASES_MAX);
        return r;
}

/* It can never be granted as things are; or not now, and nobody wants to wait. */
static int refuse_lease(struct call *c, const struct lease *l, const struct account *over) {
        const struct lease_need *n;
        char why[640];
        unsigned code;

        if (!over)
                return refuse(c, SVMD_STATUS_NO_ROOM,
                              "there is no room for it now: others wait for it, a node is offline, or managed ranges "
                              "were promised it (svmd-ctl lease list, svmd-ctl usage); or wait for a turn");
        n = lease_need_of(l, over);
        code = say_over(c->svc, c->session, n->node, n->asked, over, why, sizeof(why));
        return refuse(c, code, "%s", why);
}

static uint64_t until(struct service *svc, uint64_t wait_ms) {
        uint64_t now = keeping_now(svc);

        return wait_ms > (UINT64_MAX - now) / MS_NS ? UINT64_MAX : now + wait_ms * MS_NS;
}

static int begin(struct call *c, const Svmd__V1__Admit *op, struct lease *l) {
        const struct account *never = admission_too_much(&l->admission);
        uint64_t effect[LEASE_EFFECT_MAX / 8];
        bool granted;

        if (never)
                return refuse_lease(c, l, never);
        granted = lease_begin(c->svc, l);
        if (!granted && op->wait_ms == 0)
                return refuse_lease(c, l, admission_lacks(&l->admission));
        tx_effect(c->tx, EFFECT_LEASE, effect, lease_effect(l, effect));
        c->result->id = l->object.id;
        c->result->value = granted;
        return 0;
}

int op_admit(struct call *c) {
        const Svmd__V1__Admit *op = c->op->admit;
        struct lease_need nodes[SVMD_LEASE_NEEDS_MAX];
        struct lease *l;
        int r = check_admit(c, op);

        if (r != 0)
                return r;
        for (size_t i = 0; i < op->n_needs; i++)
                nodes[i] = (struct lease_need){ .node = op->needs[i]->node, .asked = op->needs[i]->size };
        if (ids_reserve(&c->svc->state.ids, 1) < 0 ||
            !(l = lease_new(&c->svc->state, state_take_id(&c->svc->state), c->session->partition, c->session, nodes,
                            (uint32_t)op->n_needs)))
                return -ENOMEM;
        /* Those whose turn has come already go first, whatever becomes of this one. */
        leases_step(c->svc);
        tx_begin(c->tx);
        l->admission.priority = op->priority;
        l->until_ns = until(c->svc, op->wait_ms);
        r = begin(c, op, l);
        if (r != 0)
                lease_end(c->svc, l);
        return r;
}

/* ---- release ---- */

static void release_undo(struct tx *tx, struct change *c) {
        struct lease *l = c->a;

        l->releasing = false;
}

static void release_commit(struct tx *tx, struct change *c) {
        lease_end(tx->svc, c->a);
}

static const struct change_kind release_change = { release_undo, release_commit };

int op_lease_release(struct call *c) {
        uint64_t id = c->op->lease_release->lease;
        struct lease *l = lease_find(c->svc, id);
        struct effect_id e = { .id = id };

        if (!l || l->session != c->session || l->releasing)
                return refuse(c, l && l->session != c->session ? SVMD_STATUS_FOREIGN : SVMD_STATUS_NO_SUCH,
                              "this session has no lease %" PRIu64, id);
        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        l->releasing = true;
        tx_push(c->tx, &release_change, l, NULL);
        tx_effect(c->tx, EFFECT_LEASE_END, &e, sizeof(e));
        return 0;
}

/* ---- list ---- */

#define ROWS 64

static void nearer(const struct lease **next, const struct lease *l, uint64_t after) {
        if (l && l->object.id > after && (!*next || l->object.id < (*next)->object.id))
                *next = l;
}

/* In the order of numbers; leases are few, and their sessions can be many. */
static const struct lease *lease_after(const struct partition *p, uint64_t after) {
        const struct lease *next = NULL;

        list_for_each (k, &p->sessions) {
                const struct session *s = container_of(k, struct session, by_partition);

                list_for_each (at, &s->leases)
                        nearer(&next, container_of(at, struct lease, by_session), after);
        }
        list_for_each (k, &p->kept)
                nearer(&next, container_of(k, struct keeping, by_partition)->of.lease, after);
        return next;
}

static uint32_t before(const struct service *svc, const struct lease *l) {
        uint32_t n = 0;

        list_for_each (at, &svc->leases.line.waiting) {
                if (at == &l->admission.by_line)
                        return n;
                n++;
        }
        return 0;
}

static int fill_nodes(struct call *c, const struct lease *l, Svmd__V1__Lease *row) {
        row->nodes = call_take(c, l->admission.count * sizeof(*row->nodes));
        if (!row->nodes)
                return -ENOMEM;
        for (uint32_t i = 0; i < l->admission.count; i++) {
                Svmd__V1__NodeUse *use = call_take(c, sizeof(*use));

                if (!use)
                        return -ENOMEM;
                svmd__v1__node_use__init(use);
                use->node = l->nodes[i].node;
                use->used = lease_left(l, use->node);
                use->max = l->nodes[i].asked;
                row->nodes[row->n_nodes++] = use;
        }
        return 0;
}

static uint64_t left_ms(const struct service *svc, const struct lease *l) {
        uint64_t now = keeping_now(svc);

        if (l->keeping)
                return keeping_left_ms(svc, l->keeping);
        if (l->until_ns == UINT64_MAX || l->state == LEASE_GRANTED)
                return UINT64_MAX;
        return l->until_ns > now ? (l->until_ns - now) / MS_NS : 0;
}

static Svmd__V1__Lease *lease_row(struct call *c, const struct lease *l) {
        Svmd__V1__Lease *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__lease__init(row);
        row->lease = l->object.id;
        if (l->session) {
                row->session = l->session->object.id;
                row->pid = l->session->pid;
                row->client = call_string(c, l->session->client);
        }
        row->partition = call_string(c, l->partition->name->text);
        row->granted = l->state == LEASE_GRANTED;
        row->priority = l->admission.priority;
        row->left_ms = left_ms(c->svc, l);
        row->before = before(c->svc, l);
        row->name = call_string(c, l->name ? l->name->text : "");
        row->kept = l->keeping != NULL;
        return fill_nodes(c, l, row) == 0 ? row : NULL;
}

int op_lease_list(struct call *c) {
        const Svmd__V1__LeaseList *op = c->op->lease_list;
        Svmd__V1__LeasesResult *result = call_take(c, sizeof(*result));
        const struct lease *l;
        struct partition *p;
        int r = call_partition(c, op->partition, &p);

        if (r != 0)
                return r;
        if (!result)
                return -ENOMEM;
        svmd__v1__leases_result__init(result);
        result->leases = call_take(c, ROWS * sizeof(*result->leases));
        if (!result->leases)
                return -ENOMEM;
        for (l = lease_after(p, op->after); l && result->n_leases < ROWS; l = lease_after(p, l->object.id)) {
                result->leases[result->n_leases] = lease_row(c, l);
                if (!result->leases[result->n_leases])
                        return -ENOMEM;
                result->n_leases++;
        }
        c->result->more = l != NULL;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_LEASES;
        c->result->leases = result;
        return 0;
}
