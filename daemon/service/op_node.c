#include <stdio.h>

#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/accounts.h"
#include "service/capacity.h"
#include "service/effects.h"
#include "service/fence.h"
#include "service/giveback.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/loss.h"

/*
 * Nodes that take nothing new. What is managed leaves them, and explicit memory that no operation uses, if it is not
 * pinned and a host node may have it; no more is created, and none comes back. It outlives a restart, and ends with the
 * boot.
 */
struct drain {
        struct fence fence;
        uint32_t node;
        bool left; /* by what is managed; explicit memory is on its way */
};

static struct drain *drain_of(struct fence *f) {
        return container_of(f, struct drain, fence);
}

static void drain_start(struct service *svc, struct fence *f) {
        uint32_t node = drain_of(f)->node;
        int r = 0;

        if (svc->mover && node < svc->managed.nodes_count)
                r = mover_node_drain(svc->mover, node, ANSWER(ANSWER_FENCE, f->object.id));
        if (r < 0 || !svc->mover || node >= svc->managed.nodes_count)
                f->kind->answer(svc, f, r);
}

static void drain_end(struct service *svc, struct fence *f) {
        svc->state.nodes[drain_of(f)->node].drain = 0;
}

static void drain_answer(struct service *svc, struct fence *f, int result) {
        const char *name = node_desc(svc, drain_of(f)->node)->name;
        struct device_result d = { .fence = f->object.id };

        drain_of(f)->left = true;
        if (result == 0 && spill_empties(svc, drain_of(f)->node))
                return;
        if (result == MANAGED_E_OFFLINE) {
                d.code = SVMD_STATUS_BUSY;
                snprintf(d.text, sizeof(d.text), "%s was put online again before everything had left it", name);
        } else if (result != 0) {
                d.code = SVMD_STATUS_NO_MEMORY;
                snprintf(d.text, sizeof(d.text), "svmd has no memory left to empty %s; it is offline", name);
        }
        fence_finish(svc, f, &d);
}

static const struct fence_kind drain_kind = { drain_start, drain_end, drain_answer };

void drain_goes_on(struct service *svc, uint32_t node) {
        struct fence *f = fence_by_id(svc, svc->state.nodes[node].drain);

        if (f && f->kind == &drain_kind && !f->done && drain_of(f)->left)
                drain_answer(svc, f, 0);
}

/* Pages that the CPU touches need a place. */
static int check_hosts(struct call *c, uint32_t node) {
        const struct machine *m = c->svc->options.machine;

        if (m->nodes[node].kind != NODE_HOST)
                return 0;
        for (uint32_t i = 0; i < m->count; i++)
                if (i != node && m->nodes[i].kind == NODE_HOST && !c->svc->state.nodes[i].offline)
                        return 0;
        return refuse(c, SVMD_STATUS_BUSY,
                      "%s is the only host node that is online: what the CPU touches has to lie somewhere",
                      m->nodes[node].name);
}

static void set_offline(struct call *c, uint32_t node, bool offline, bool lost) {
        struct node *n = &c->svc->state.nodes[node];
        struct effect_node_state e;

        n->offline = offline;
        leases_changed(c->svc);
        n->lost = lost;
        e = effect_of_node(n, node);
        tx_effect(c->tx, EFFECT_NODE_STATE, &e, sizeof(e));
        c->svc->hooks.wake(c->svc->hooks.userdata); /* explicit memory may go */
        event_monitor(c->svc, offline ? "node-offline" : "node-online", c->session, "", "%s is %s",
                      node_desc(c->svc, node)->name, offline ? "offline" : "online again");
}

static int drain(struct call *c, uint32_t node) {
        struct node *n = &c->svc->state.nodes[node];
        struct fence *f;
        int r = fence_quota(c);

        if (r == 0 && n->drain)
                r = refuse(c, SVMD_STATUS_BUSY, "somebody drains %s already, and waits for it",
                           node_desc(c->svc, node)->name);
        if (r != 0)
                return r;
        f = fence_new(c, sizeof(struct drain), &drain_kind, -1);
        if (!f)
                return -ENOMEM;
        drain_of(f)->node = node;
        n->drain = f->object.id;
        set_offline(c, node, true, n->lost);
        return 0;
}

static int offline(struct call *c, uint32_t node) {
        int r = 0;

        if (c->svc->mover && node < c->svc->managed.nodes_count && !c->svc->state.nodes[node].drain)
                r = mover_node_drain(c->svc->mover, node, 0);
        if (r < 0)
                return r;
        set_offline(c, node, true, c->svc->state.nodes[node].lost);
        return 0;
}

/* What lay there is marked before it is journaled: a request that was not answered may have been half done. */
static int lost(struct call *c, uint32_t node) {
        const char *name = node_desc(c->svc, node)->name;

        if (node_desc(c->svc, node)->kind == NODE_HOST)
                return refuse(c, SVMD_STATUS_INVALID, "%s is host memory, which does not vanish while svmd runs", name);
        if (c->svc->mover && node < c->svc->managed.nodes_count)
                mover_node_lost(c->svc->mover, node);
        node_vanished(c->svc, node, "");
        set_offline(c, node, true, true);
        return 0;
}

static int online(struct call *c, uint32_t node) {
        if (c->svc->mover && node < c->svc->managed.nodes_count)
                mover_node_online(c->svc->mover, node);
        set_offline(c, node, false, false);
        return 0;
}

/* Processes have what lies there, and svmd cannot keep them from it. */
static int check_private(struct call *c, const Svmd__V1__NodeSet *op) {
        if (!node_backend(c->svc, op->node)->private_ops || op->action == SVMD__V1__NODE_ACTION__NODE_OFFLINE ||
            op->action == SVMD__V1__NODE_ACTION__NODE_ONLINE)
                return 0;
        return refuse(
                c, SVMD_STATUS_UNSUPPORTED,
                "%s has private memory of processes, which its driver keeps: svmd-ctl node offline keeps svmd from "
                "moving more there, svmd-ctl evict brings a range back",
                node_desc(c->svc, op->node)->name);
}

int op_node_set(struct call *c) {
        const Svmd__V1__NodeSet *op = c->op->node_set;
        int r = find_node(c, op->node);

        if (r == 0)
                r = check_private(c, op);
        if (r != 0)
                return r;
        switch (op->action) {
        case SVMD__V1__NODE_ACTION__NODE_DRAIN: r = check_hosts(c, op->node); return r == 0 ? drain(c, op->node) : r;
        case SVMD__V1__NODE_ACTION__NODE_OFFLINE:
                r = check_hosts(c, op->node);
                return r == 0 ? offline(c, op->node) : r;
        case SVMD__V1__NODE_ACTION__NODE_ONLINE: return online(c, op->node);
        case SVMD__V1__NODE_ACTION__NODE_LOST: return lost(c, op->node);
        default:
                return refuse(c, SVMD_STATUS_INVALID, "the action is DRAIN, OFFLINE, ONLINE or LOST, not %d",
                              (int)op->action);
        }
}

/* ---- what it would come to ---- */

/* What of a session leaves the node, and what of those of a partition that have ended (`session` NULL). */
struct holder_there {
        const struct session *session;
        uint64_t managed, charged, movable;
        uint64_t room; /* that it may have on host nodes */
};

struct way_out {
        struct call *call;
        uint32_t node;
        uint64_t room; /* that is left on host nodes */
        int error;
};

static uint64_t less(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

/* For explicit memory of whoever has these accounts; NULL: of all together. */
static uint64_t host_room(struct service *svc, uint32_t without, const struct account *accounts) {
        const struct machine *m = svc->options.machine;
        uint64_t sum = 0;

        for (uint32_t i = 0; i < m->count; i++) {
                if (i == without || m->nodes[i].kind != NODE_HOST || svc->state.nodes[i].offline)
                        continue;
                sum += accounts ? account_room(&accounts[i])
                                : less(account_room(&svc->state.nodes[i].account), capacity_managed(svc, i));
        }
        return sum;
}

static void add(struct way_out *w, Svmd__V1__PlanKind kind, const struct session *s, uint64_t bytes) {
        if (bytes > 0 && w->error == 0)
                w->error = plan_step(w->call, w->node, kind, s, bytes);
}

/* Returns what goes to hosts. */
static uint64_t add_holder(struct way_out *w, const struct holder_there *h) {
        bool drivers = node_backend(w->call->svc, w->node)->private_ops; /* it is not svmd's to move */
        uint64_t spills = smaller(h->movable, smaller(h->room, w->room));

        w->room -= spills;
        add(w, drivers ? SVMD__V1__PLAN_KIND__PLAN_STAYS : SVMD__V1__PLAN_KIND__PLAN_EVICT, h->session, h->managed);
        add(w, SVMD__V1__PLAN_KIND__PLAN_SPILL, h->session, spills);
        add(w, SVMD__V1__PLAN_KIND__PLAN_STAYS, h->session, h->charged - spills);
        return spills;
}

static void add_partition(struct way_out *w, struct partition *p) {
        struct service *svc = w->call->svc;
        struct limited of = LIMITED_PARTITION(p);
        struct holder_there ended = { .managed = limited_managed(svc, of, w->node),
                                      .charged = p->accounts[w->node].used,
                                      .movable = spillable(svc, of, w->node, NULL),
                                      .room = host_room(svc, w->node, p->accounts) };

        list_for_each (l, &p->sessions) {
                const struct session *s = container_of(l, struct session, by_partition);
                struct holder_there h = { .session = s, .managed = accounts_managed(svc, s, w->node) };

                if (s->accounts) {
                        h.charged = s->accounts[w->node].used;
                        h.movable = spillable(svc, of, w->node, s);
                        h.room = smaller(host_room(svc, w->node, s->accounts), ended.room);
                }
                ended.room -= add_holder(w, &h);
                ended.managed = less(ended.managed, h.managed);
                ended.charged = less(ended.charged, h.charged);
        }
        add_holder(w, &ended);
}

int op_node_plan(struct call *c) {
        const Svmd__V1__NodePlan *op = c->op->node_plan;
        Svmd__V1__NodeSet set = SVMD__V1__NODE_SET__INIT;
        struct way_out w = { .call = c, .node = op->node };
        struct state *state = &c->svc->state;
        int r = find_node(c, op->node);

        set.node = op->node;
        set.action = op->action;
        if (r == 0 && op->action != SVMD__V1__NODE_ACTION__NODE_DRAIN &&
            op->action != SVMD__V1__NODE_ACTION__NODE_OFFLINE)
                r = refuse(c, SVMD_STATUS_INVALID, "the action is DRAIN or OFFLINE, not %d", (int)op->action);
        if (r == 0)
                r = check_private(c, &set);
        if (r == 0)
                r = check_hosts(c, op->node);
        if (r == 0)
                r = plan_begin(c);
        if (r != 0)
                return r;
        w.room = less(host_room(c->svc, w.node, NULL), capacity_managed(c->svc, w.node));
        for (struct partition *p = partition_after(state, ""); p; p = partition_after(state, p->name->text))
                add_partition(&w, p);
        return w.error;
}
