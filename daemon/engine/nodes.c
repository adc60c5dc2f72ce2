#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * Places. Each node has a pool for each of the three sizes of granules, in which slots are numbered from 0; the pools
 * are sparse, and what bounds them together is the node's capacity in bytes. Places in a host's memory name nothing:
 * they make the bytes of resident granules a sum, and let the clock's hand find them.
 *
 * With several hosts a host node has slots as a device has, beside the places: what goes from one host to another
 * passes through one, and what has been evicted to a host without CPUs stays in one until it is touched. Places are
 * numbered apart, and have the bit SLOT_PLACE.
 *
 * A freed slot keeps its space for the next granule; of what is more than config.warm, and of every one of a host, the
 * space is given back.
 */
/* Makes the table reach to the slot. */
static int pool_reach(struct pool *p, uint32_t slot) {
        while (p->size < slot) {
                uint32_t size = p->size ? 2 * p->size : 64;
                struct owner *grown = alloc_grow(p->owners, p->size * sizeof(*grown), size * sizeof(*grown));
                struct age *ages = alloc_grow(p->ages, p->size * sizeof(*ages), size * sizeof(*ages));

                p->owners = grown ? grown : p->owners;
                p->ages = ages ? ages : p->ages;
                if (!grown || !ages)
                        return -ENOMEM;
                p->size = size;
        }
        return 0;
}

/* A free slot, plus one; 0 without memory. */
static uint32_t pool_take(struct pool *p) {
        uint32_t slot = p->free;

        if (slot) {
                p->free = p->owners[slot - 1].granule;
                p->warm--;
                return slot;
        }
        if (p->cold) {
                slot = p->cold;
                p->cold = p->owners[slot - 1].granule;
                return slot;
        }
        if (pool_reach(p, p->high + 1))
                return 0;
        return ++p->high;
}

static void pool_put(struct pool *p, uint32_t slot) {
        p->owners[slot - 1] = (struct owner){ .granule = p->free };
        p->free = slot;
        p->warm++;
}

/* Its space is given back. */
static void pool_put_cold(struct pool *p, uint32_t slot) {
        p->owners[slot - 1] = (struct owner){ .granule = p->cold };
        p->cold = slot;
}

struct pool *node_pool(struct managed *e, uint32_t node, const struct managed_range *r, uint32_t *slot) {
        bool place = *slot & SLOT_PLACE;

        *slot &= ~SLOT_PLACE;
        return &e->nodes[node].pool[place ? CLASSES + r->class : r->class];
}

static void charge(struct managed *e, uint32_t node, struct managed_range *r) {
        r->slots[node]++;
        e->nodes[node].used += r->bytes;
        e->shape[node].used = e->nodes[node].used;
        range_charge(e, r, node, true);
}

uint32_t node_take(struct managed *e, uint32_t node, struct managed_range *r, uint32_t granule, bool place,
                   enum room room, bool *reserve) {
        struct pool *p = &e->nodes[node].pool[place ? CLASSES + r->class : r->class];
        uint32_t slot;
        bool above;

        if (!room_fits(e, node, r, room)) {
                if (room != ROOM_EVICT)
                        room_missed(e, node, r);
                return 0;
        }
        above = !room_fits(e, node, r, ROOM_GRANT);
        slot = pool_take(p);
        if (!slot)
                return 0;
        p->owners[slot - 1] = (struct owner){ .range = r, .granule = granule };
        age_begin(p, slot, false);
        charge(e, node, r);
        if (above && !*reserve) {
                *reserve = true;
                e->reserve_works++;
        }
        return place ? slot | SLOT_PLACE : slot;
}

/* Starts giving back the space of a free slot beyond those that are kept. */
static void trim(struct managed *e, uint32_t node) {
        struct node *n = &e->nodes[node];

        if (n->trim.out)
                return;
        for (unsigned c = 0; c < CLASSES; c++) {
                struct pool *p = &n->pool[c];
                struct managed_step *step;

                if ((uint64_t)p->warm * class_bytes(c) <= (n->host ? 0 : e->c.warm))
                        continue;
                step = step_new(&n->trim, NULL, 0, MANAGED_SLOT_FREE);
                step->bytes = class_bytes(c);
                step->node = node;
                step->slot = p->free - 1;
                n->trim_class = (uint8_t)c;
                p->free = p->owners[step->slot].granule;
                p->warm--;
                step_emit(e, &n->trim, NULL);
                return;
        }
}

/* The slot has no space and is as good as a new one: it is taken when no warm one is left. */
void node_trimmed(struct managed *e, struct node *n) {
        pool_put_cold(&n->pool[n->trim_class], n->trim.pub.slot + 1);
        trim(e, n->trim.pub.node);
}

void node_give(struct managed *e, uint32_t node, struct managed_range *r, uint32_t slot) {
        struct pool *p = node_pool(e, node, r, &slot);
        struct node *n = &e->nodes[node];

        age_end(p, slot);
        pool_put(p, slot);
        r->slots[node]--;
        n->used -= r->bytes;
        e->shape[node].used = n->used;
        range_charge(e, r, node, false);
        trim(e, node);
}

uint32_t node_claim(struct managed *e, uint32_t node, struct managed_range *r, uint32_t granule, uint32_t slot) {
        bool place = !slot;
        struct pool *p = &e->nodes[node].pool[place ? CLASSES + r->class : r->class];

        if (place)
                slot = pool_take(p);
        else if (pool_reach(p, slot) || p->owners[slot - 1].range)
                return 0;
        if (!slot)
                return 0;
        p->owners[slot - 1] = (struct owner){ .range = r, .granule = granule };
        age_begin(p, slot, true);
        p->high = slot > p->high ? slot : p->high;
        charge(e, node, r);
        return place ? slot | SLOT_PLACE : slot;
}

void node_rebuild(struct managed *e, uint32_t node) {
        struct node *n = &e->nodes[node];

        for (unsigned c = 0; c < POOLS; c++) {
                struct pool *p = &n->pool[c];

                p->free = p->cold = p->warm = 0;
                for (uint32_t slot = p->high; slot > 0; slot--)
                        if (!p->owners[slot - 1].range)
                                pool_put_cold(p, slot);
        }
}

int managed_node_add(struct managed *e, bool host, bool faults, uint64_t capacity, uint64_t hive,
                     const uint32_t *bandwidth) {
        uint32_t i = e->nodes_count;
        struct node *n = &e->nodes[i];

        if (i == MANAGED_NODES_MAX)
                return -ENOSPC;
        n->host = host;
        e->hosts += host;
        n->capacity = capacity;
        n->reserve = (uint64_t)e->c.workers * e->c.largest;
        list_init(&n->lines);
        line_init(&n->line);
        step_init(&n->trim, OWNER_NODE);
        e->shape[i] = (struct policy_node){
                .host = host,
                .faults = faults,
                .online = true,
                .capacity = capacity,
                .hive = hive,
                .bandwidth = bandwidth,
        };
        e->nodes_count++;
        return (int)i;
}

void managed_node_only(struct managed *e, uint32_t node, uint32_t bytes) {
        e->nodes[node].only = bytes;
}

void managed_node_shape(struct managed *e, uint32_t node, bool far, const uint32_t *distance) {
        e->shape[node].far = far;
        e->shape[node].distance = distance;
}

void managed_node_capacity(struct managed *e, uint32_t node, uint64_t capacity, uint64_t now_ns) {
        e->now = now_ns;
        e->nodes[node].capacity = e->shape[node].capacity = capacity;
        managed_run(e);
}

static void drain_answer(struct managed *e, struct node *n, int result) {
        uint64_t token = n->drain_token;

        n->drain_token = 0;
        n->draining = false;
        if (token)
                e->c.done(e->c.userdata, token, result);
}

void managed_node_drain(struct managed *e, uint32_t node, uint64_t token, uint64_t now_ns) {
        e->now = now_ns;
        drain_answer(e, &e->nodes[node], 0);
        e->shape[node].online = false;
        e->nodes[node].draining = true;
        e->nodes[node].drain_token = token;
        list_for_each_safe (it, &e->nodes[node].lines) /* they have to look for another place */
                line_dissolve(e, container_of(it, struct line, link));
        managed_run(e);
}

void managed_node_online(struct managed *e, uint32_t node, uint64_t now_ns) {
        e->now = now_ns;
        e->shape[node].online = true;
        e->nodes[node].lost = false;
        drain_answer(e, &e->nodes[node], MANAGED_E_OFFLINE);
        managed_run(e);
}

void managed_node_info(const struct managed *e, uint32_t node, struct managed_node_info *ret) {
        const struct node *n = &e->nodes[node];
        uint64_t warm = 0;

        for (unsigned c = 0; c < CLASSES; c++)
                warm += (uint64_t)n->pool[c].warm * class_bytes(c);
        *ret = (struct managed_node_info){
                .online = e->shape[node].online,
                .capacity = n->capacity,
                .used = n->used,
                .reserve = node_reserve(n),
                .kept = policy_kept(&n->promises, node_granted(n)),
                .warm = warm,
                .pinned = n->pinned,
                .waiting = n->waiting,
                .thrash = n->thrash,
        };
}
