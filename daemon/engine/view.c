#include <errno.h>

#include "engine/managed-priv.h"

/*
 * What a touch comes to, decided on a granule as it is or as it would be, without doing anything. Policy is asked here,
 * by whoever serves a touch and by whoever predicts one, so that a prediction is no second opinion.
 */
void view_of(struct managed *e, struct managed_range *r, uint32_t granule, struct view *ret) {
        *ret = (struct view){ .e = e, .r = r, .index = granule, .g = r->granules[granule] };
        for (const struct copy *c = granule_copies(r, granule_of(r, granule)); c; c = c->next)
                ret->copies |= 1ull << c->node;
}

void granule_advice(struct managed *e, struct managed_range *r, uint32_t granule, struct policy_advice *ret) {
        if (e->c.advice)
                e->c.advice(e->c.userdata, r->userdata, granule, ret);
        ret->pinned |= granule_of(r, granule)->pins != 0;
}

static enum policy_answer ask(const struct view *v, const struct policy_advice *advice, const struct policy_granule *g,
                              uint32_t accessor, enum policy_access access) {
        struct policy_machine m = { v->e->shape, v->e->nodes_count };

        return v->e->c.decide.promote(&m, profile_of(v->e, v->r), advice, g, accessor, access, v->e->now);
}

static enum policy_answer promote(const struct view *v, const struct policy_advice *advice, uint32_t accessor,
                                  enum policy_access access) {
        struct policy_granule g;

        granule_describe(v->r, &v->g, v->copies, &g);
        return ask(v, advice, &g, accessor, access);
}

bool view_is_on(const struct view *v, uint32_t node) {
        return (v->g.slot && v->g.node == node) || (v->g.host_slot && v->g.host == node) || v->copies >> node & 1;
}

uint32_t view_host(const struct view *v) {
        struct managed *e = v->e;
        struct policy_machine m = { e->shape, e->nodes_count };
        uint32_t best = room_host(e, v->r), host;
        struct policy_advice advice = { 0 };
        uint64_t room[MANAGED_NODES_MAX];

        room_all(e, v->r, room);
        granule_advice(e, v->r, v->index, &advice);
        for (uint32_t i = 0; i < e->nodes_count; i++) /* what is cold leaves for it, and this comes where CPUs are */
                if (e->shape[i].far && !e->shape[best].far && advice.preferred != i + 1)
                        room[i] = 0;
        host = e->c.decide.place(&m, profile_of(e, v->r), &advice, best, v->r->bytes, room);
        return host != POLICY_NOWHERE && e->nodes[host].host && room_is_place(e, host, v->r) ? host : best;
}

bool view_keeps_copy(const struct view *v, uint32_t host) {
        struct policy_advice advice = { 0 };

        if (v->g.state != RESIDENCY_OUT || node_holds(v->e, &v->g))
                return false;
        granule_advice(v->e, v->r, v->index, &advice);
        return promote(v, &advice, host, POLICY_READ) == POLICY_DUPLICATE;
}

uint32_t view_begins(const struct view *v, uint32_t node, int *failed) {
        struct managed *e = v->e;
        struct policy_machine m = { e->shape, e->nodes_count };
        bool place = room_is_place(e, node, v->r);
        struct policy_advice advice = { 0 };
        uint64_t room[MANAGED_NODES_MAX];
        uint32_t to = node;

        *failed = 0;
        if (!e->shape[node].faults && !place)
                *failed = e->shape[node].online ? MANAGED_E_FULL : MANAGED_E_OFFLINE;
        if (!e->shape[node].faults)
                return node;
        room_all(e, v->r, room);
        granule_advice(e, v->r, v->index, &advice);
        to = e->c.decide.place(&m, profile_of(e, v->r), &advice, node, v->r->bytes, room);
        if (to == POLICY_NOWHERE || !room_is_place(e, to, v->r))
                to = place ? node : room_host(e, v->r);
        return to;
}

/* Pinned, and in host memory already: what a device without faults was told, goes on being true. */
static bool is_fixed(const struct view *v) {
        return v->g.pins && v->g.host_slot;
}

/* What keeps it where it is: it would come but for that. */
static enum managed_why why_mapped(const struct view *v, uint32_t node, enum policy_access access) {
        struct policy_advice none = { 0 };
        struct policy_granule g;

        if (v->g.pins)
                return MANAGED_WHY_PINNED;
        granule_describe(v->r, &v->g, v->copies, &g);
        return ask(v, &none, &g, node, access) == POLICY_MAP ? MANAGED_WHY_PROFILE : MANAGED_WHY_ADVICE;
}

enum verdict view_device(const struct view *v, uint32_t node, bool write, enum managed_why *why) {
        enum policy_access access = write ? POLICY_WRITE : POLICY_READ;
        enum residency state = (enum residency)v->g.state;
        struct policy_advice advice = { 0 };

        if ((state == RESIDENCY_OUT && v->g.node == node) || v->copies >> node & 1)
                return VERDICT_SHOW;
        if (!v->e->shape[node].faults) {
                *why = MANAGED_WHY_PINNED;
                return is_fixed(v) ? VERDICT_SHOW : VERDICT_FAIL;
        }
        granule_advice(v->e, v->r, v->index, &advice);
        switch (promote(v, &advice, node, access)) {
        case POLICY_MIGRATE: return state == RESIDENCY_DUPLICATED ? VERDICT_DUPLICATE : VERDICT_MIGRATE;
        case POLICY_DUPLICATE:
                if (state != RESIDENCY_OUT && !write)
                        return VERDICT_DUPLICATE;
                *why = MANAGED_WHY_ADVICE;
                return VERDICT_SHOW;
        case POLICY_MAP: break;
        }
        *why = why_mapped(v, node, access);
        return VERDICT_SHOW;
}

enum managed_why view_stays(const struct view *v, uint32_t node) {
        if (v->g.pins)
                return MANAGED_WHY_PINNED;
        if (!v->e->shape[node].online)
                return MANAGED_WHY_OFFLINE;
        return room_is_place(v->e, node, v->r) ? MANAGED_WHY_NONE : MANAGED_WHY_LIMIT;
}

bool view_shares(const struct view *v, uint32_t node) {
        struct policy_machine m = { v->e->shape, v->e->nodes_count };

        return profile_of(v->e, v->r)->hive_first && v->g.state == RESIDENCY_OUT && policy_peers(&m, node, v->g.node) &&
               view_reaches(v, node) && !room_fits(v->e, node, v->r, ROOM_GRANT);
}

bool view_reaches(const struct view *v, uint32_t node) {
        const uint32_t *bandwidth = v->e->shape[node].bandwidth;
        uint32_t where = v->g.state == RESIDENCY_OUT ? v->g.node : v->g.host;

        return bandwidth && bandwidth[where];
}

bool view_may_copy(const struct view *v, uint32_t node) {
        return room_fits(v->e, node, v->r, ROOM_GRANT) && !line_ahead(v->e, v->r, node) && !v->g.pins;
}
