#include <string.h>

#include "base/clock.h"
#include "core/node.h"
#include "service/explain.h"

/*
 * What a touch by each node would come to now: the decisions that the engine would ask for (policy.h, which comes with
 * the engine's header), asked without doing anything. Nodes for which it is the same share a sentence.
 */
enum touch {
        TOUCH_HERE,    /* it uses what it has */
        TOUCH_BRINGS,  /* it moves there */
        TOUCH_COPIES,  /* a copy to read does */
        TOUCH_REACHES, /* it stays, and is used over a link */
        TOUCH_BEGINS,  /* zero, it begins there */
        TOUCH_PLACES,  /* zero, it begins elsewhere */
        TOUCH_FAILS,   /* no faults, and not there */
        TOUCH_OFFLINE,
        _TOUCH_N,
};

/* Before and behind their names. */
static const char *const told[_TOUCH_N][2] = {
        [TOUCH_HERE] = { "", " would use what it has of it." },
        [TOUCH_BRINGS] = { "A touch by ", " would bring it there." },
        [TOUCH_COPIES] = { "A read by ", " would bring a copy there, and leave it where it is." },
        [TOUCH_REACHES] = { "", " would reach it where it is, over a link." },
        [TOUCH_BEGINS] = { "A touch by ", " would begin it there, as zeroes." },
        [TOUCH_PLACES] = { "A touch by ", " would begin it on another node, as zeroes." },
        [TOUCH_FAILS] = { "", " cannot fault: what uses it there fails until it is migrated there, or pinned." },
        [TOUCH_OFFLINE] = { "", " is offline, and is given nothing." },
};

struct world {
        struct policy_node nodes[MANAGED_NODES_MAX];
        struct policy_machine machine;
        const struct policy_profile *profile;
        uint64_t room[MANAGED_NODES_MAX];
        struct mover_advice advice;
        struct policy_granule granule;
        const struct managed_granule_info *info;
        uint64_t now_ns;
};

static void look(const struct service *svc, const struct managed_reservation *m, uint32_t granule,
                 const struct managed_granule_info *info, struct world *w) {
        uint32_t count = svc->managed.nodes_count;

        w->machine = (struct policy_machine){ w->nodes, count };
        w->profile = svc->options.policy;
        w->info = info;
        w->now_ns = clock_ns(CLOCK_MONOTONIC);
        for (uint32_t i = 0; i < count; i++) {
                const struct mover_node *n = &svc->managed.nodes[i];
                struct managed_node_info node;

                mover_node_info(svc->mover, i, &node);
                w->nodes[i] = (struct policy_node){
                        .host = n->host,
                        .faults = n->faults,
                        .online = node.online,
                        .capacity = node.capacity,
                        .used = node.used,
                        .hive = n->hive,
                        .far = n->far,
                        .bandwidth = n->bandwidth,
                        .distance = n->distance,
                };
                w->room[i] = node.online && node.used + node.reserve < node.capacity
                                     ? node.capacity - node.reserve - node.used
                                     : 0;
        }
        mover_advice(svc->mover, m->range, granule, &w->advice);
        w->granule = (struct policy_granule){
                .where = info->node,
                .bytes = m->granule,
                .moved_ns = info->moved_ns,
                .touched_ns = info->touched_ns,
                .device_copy = info->copies != 0,
        };
}

/* With CPUs before without, where there is room. */
static bool better_host(const struct world *w, uint32_t a, uint32_t b) {
        if (w->nodes[a].far != w->nodes[b].far)
                return w->nodes[b].far ? w->room[a] >= w->granule.bytes : w->room[b] < w->granule.bytes;
        return w->room[a] > w->room[b];
}

static uint32_t emptiest_host(const struct world *w) {
        uint32_t found = MANAGED_NOWHERE;

        for (uint32_t i = 0; i < w->machine.count; i++)
                if (w->nodes[i].host && w->nodes[i].online && (found == MANAGED_NOWHERE || better_host(w, i, found)))
                        found = i;
        return found;
}

/* The host that a touch of the CPU brings it to. */
static uint32_t host_for(const struct world *w) {
        uint32_t best = emptiest_host(w);
        uint32_t to = policy_place(&w->machine, w->profile, &w->advice.policy, best, w->granule.bytes, w->room);

        return to != POLICY_NOWHERE && w->nodes[to].host ? to : best;
}

static void explain_cpu(struct sentences *s, const struct world *w) {
        uint32_t host = host_for(w);
        const char *name = host == MANAGED_NOWHERE ? "no node" : node_desc(s->call->svc, host)->name;
        enum policy_answer read;

        switch (w->info->state) {
        case RESIDENCY_EMPTY: sentence(s, "A touch by the CPU would begin it on %s, as zeroes.", name); break;
        case RESIDENCY_OUT:
                read = policy_promote(&w->machine, w->profile, &w->advice.policy, &w->granule, host, POLICY_READ,
                                      w->now_ns);
                if (read == POLICY_DUPLICATE)
                        sentence(s,
                                 "A read by the CPU would bring it to %s and leave a copy to read; a write brings it.",
                                 name);
                else
                        sentence(s, "A touch by the CPU would bring it to %s.", name);
                break;
        case RESIDENCY_DUPLICATED: sentence(s, "A write by the CPU would end the copies first."); break;
        case RESIDENCY_RESIDENT:
        case RESIDENCY_COPYING:
        case RESIDENCY_PUNCHING:
        case RESIDENCY_FILLING:
        case RESIDENCY_WRITING:
        case RESIDENCY_CONTINUING:
        case RESIDENCY_REVOKED: break;
        }
}

static enum touch touch_empty(const struct world *w, uint32_t node) {
        uint32_t to = policy_place(&w->machine, w->profile, &w->advice.policy, node, w->granule.bytes, w->room);

        if (!w->nodes[node].faults || to == node)
                return TOUCH_BEGINS;
        return TOUCH_PLACES;
}

static enum touch touch(const struct world *w, uint32_t node) {
        bool here = w->info->state == RESIDENCY_OUT && w->info->node == node;

        if (here || w->info->copies >> node & 1)
                return TOUCH_HERE;
        if (!w->nodes[node].online)
                return TOUCH_OFFLINE;
        if (w->info->state == RESIDENCY_EMPTY)
                return touch_empty(w, node);
        if (!w->nodes[node].faults)
                return w->info->pins ? TOUCH_REACHES : TOUCH_FAILS;
        switch (policy_promote(&w->machine, w->profile, &w->advice.policy, &w->granule, node, POLICY_READ, w->now_ns)) {
        case POLICY_MIGRATE: return w->info->pins ? TOUCH_REACHES : TOUCH_BRINGS;
        case POLICY_DUPLICATE: return w->info->state == RESIDENCY_OUT ? TOUCH_REACHES : TOUCH_COPIES;
        case POLICY_MAP: return TOUCH_REACHES;
        }
        return TOUCH_REACHES;
}

void explain_touches(struct sentences *s, const struct managed_reservation *m, uint32_t granule,
                     const struct managed_granule_info *info) {
        struct world *w = call_take(s->call, sizeof(*w));
        uint64_t nodes[_TOUCH_N] = { 0 };
        char names[160];

        if (!w || m->revoked || info->state == RESIDENCY_REVOKED)
                return;
        look(s->call->svc, m, granule, info, w);
        explain_cpu(s, w);
        for (uint32_t i = 0; i < w->machine.count; i++)
                if (!w->nodes[i].host)
                        nodes[touch(w, i)] |= 1ull << i;
        for (unsigned t = 0; t < _TOUCH_N; t++) {
                if (nodes[t] == 0)
                        continue;
                name_nodes(s->call->svc, nodes[t], names, sizeof(names));
                sentence(s, "%s%s%s", told[t][0], names, told[t][1]);
        }
}
