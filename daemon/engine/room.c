#include "engine/managed-priv.h"

/*
 * How much a node may have.
 *
 *     0            granted to anyone             capacity - reserve    for touches and evictions   capacity
 *     |------------------------------------------------|------------------------------------------------|
 *
 * The reserve holds as many of the largest granules as there are workers. A touch may take out of it when nothing else
 * is left: it brings a granule in and thereby frees as many bytes elsewhere, so the debt can be paid. At most workers -
 * 1 touches and one eviction more have taken out of reserves and not ended yet; so with every node full some node
 * always has room for a granule of any size, and a swap goes on.
 *
 * What is said of room is said to a range: it has to be in the node and in all its groups (chain.c). In the node
 * what others have not used of their mins counts as used (policy/share.h).
 */
uint64_t node_reserve(const struct node *n) {
        return n->reserve < n->capacity ? n->reserve : n->capacity;
}

uint64_t node_granted(const struct node *n) {
        return n->capacity - node_reserve(n);
}

uint64_t node_taken(const struct node *n) {
        return n->used + policy_kept(&n->promises, node_granted(n));
}

static uint64_t limit_of(const struct managed *e, const struct node *n, enum room room) {
        if (room == ROOM_GRANT || e->reserve_works + (room == ROOM_TOUCH) >= e->c.workers)
                return node_granted(n);
        return n->capacity;
}

uint64_t room_under(uint64_t limit, uint64_t used) {
        return used < limit ? limit - used : 0;
}

uint64_t node_space(const struct managed *e, uint32_t node, enum room room) {
        const struct node *n = &e->nodes[node];

        return e->shape[node].online ? room_under(limit_of(e, n, room), n->used) : 0;
}

uint64_t node_room(const struct managed *e, uint32_t node, const struct managed_range *r, enum room room) {
        const struct node *n = &e->nodes[node];
        struct policy_share own[MANAGED_CHAIN_MAX];
        unsigned count;

        if (!e->shape[node].online || !n->promises.min)
                return node_space(e, node, room);
        count = range_shares(r, node, own);
        return policy_share_room(&n->promises, node_granted(n), limit_of(e, n, room), n->used, own, count);
}

static bool is_for(const struct managed *e, uint32_t node, const struct managed_range *r) {
        return !e->nodes[node].only || e->nodes[node].only == r->bytes;
}

static uint64_t room_for(const struct managed *e, uint32_t node, const struct managed_range *r, enum room room) {
        uint64_t there = node_room(e, node, r, room), in_groups = range_room(e, r, node, room);

        if (!is_for(e, node, r))
                return 0;
        return there < in_groups ? there : in_groups;
}

bool room_fits(const struct managed *e, uint32_t node, const struct managed_range *r, enum room room) {
        return room_for(e, node, r, room) >= r->bytes;
}

void room_missed(struct managed *e, uint32_t node, const struct managed_range *r) {
        if (e->c.missed && e->shape[node].online && node_room(e, node, r, ROOM_GRANT) < r->bytes)
                e->c.missed(e->c.userdata, node);
}

void room_all(const struct managed *e, const struct managed_range *r, uint64_t *ret) {
        for (uint32_t i = 0; i < e->nodes_count; i++)
                ret[i] = room_for(e, i, r, ROOM_GRANT);
}

bool room_is_place(const struct managed *e, uint32_t node, const struct managed_range *r) {
        const struct managed_group *g;

        for (unsigned i = 0; (g = range_group(r, i)); i++)
                if (!g->nodes[node].limit)
                        return false;
        return e->shape[node].online && is_for(e, node, r);
}

/* Full, and what it has can make room by going to a host without CPUs. */
static bool swaps(const struct managed *e, uint32_t node, const struct managed_range *r) {
        const struct node *n = &e->nodes[node];
        const struct managed_group *g;

        if (n->used < r->bytes || n->barren == e->changes + 1 || room_under(n->capacity, node_reserve(n)) < r->bytes)
                return false;
        for (unsigned i = 0; (g = range_group(r, i)); i++)
                if (g->nodes[node].limit < r->bytes || g->nodes[node].barren == e->changes + 1)
                        return false;
        for (uint32_t i = 0; i < e->nodes_count; i++)
                if (e->shape[i].far && room_fits(e, i, r, ROOM_GRANT))
                        return true;
        return false;
}

/* With CPUs before without, where there is room or can be. */
static bool better_host(const struct managed *e, uint32_t a, uint32_t b, const struct managed_range *r) {
        uint64_t of_a = room_for(e, a, r, ROOM_GRANT), of_b = room_for(e, b, r, ROOM_GRANT);

        if (e->shape[a].far != e->shape[b].far)
                return e->shape[b].far ? of_a >= r->bytes || swaps(e, a, r) : of_b < r->bytes && !swaps(e, b, r);
        if (of_a != of_b)
                return of_a > of_b;
        return room_for(e, a, r, ROOM_TOUCH) > room_for(e, b, r, ROOM_TOUCH);
}

uint32_t room_host(const struct managed *e, const struct managed_range *r) {
        uint32_t found = MANAGED_NOWHERE;

        for (uint32_t i = 0; i < e->nodes_count; i++) {
                if (!e->nodes[i].host)
                        continue;
                if (found == MANAGED_NOWHERE ||
                    (room_is_place(e, i, r) && (!room_is_place(e, found, r) || better_host(e, i, found, r))))
                        found = i;
        }
        return found;
}

uint32_t room_freest(const struct managed *e, const struct managed_range *r, enum room room, uint32_t except,
                     bool hosts) {
        uint32_t found = MANAGED_NOWHERE;
        uint64_t most = 0;

        for (uint32_t i = 0; i < e->nodes_count; i++) {
                uint64_t left = room_for(e, i, r, room);

                if (i == except || (e->nodes[i].host && !hosts) || left < r->bytes || left <= most)
                        continue;
                most = left;
                found = i;
        }
        return found;
}
