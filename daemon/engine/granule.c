#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * A granule, and what lies beside it in its range: bitmaps of what nodes' translations show, made when a node first
 * uses the range, and lists of copies, made with the first copy.
 */
static uint32_t index_of(const struct managed_range *r, const struct granule *g) {
        return (uint32_t)(g - r->granules);
}

void granule_host(struct managed_range *r, struct granule *g, uint32_t slot) {
        uint32_t i = index_of(r, g);

        g->host_slot = slot;
        if (slot)
                r->on_host[i / 64] |= 1ull << i % 64;
        else
                r->on_host[i / 64] &= ~(1ull << i % 64);
}

struct copy *granule_copies(const struct managed_range *r, const struct granule *g) {
        return r->copies ? r->copies[index_of(r, g)] : NULL;
}

const struct copy *granule_copy(const struct managed_range *r, const struct granule *g, uint32_t node) {
        const struct copy *c = granule_copies(r, g);

        while (c && c->node != node)
                c = c->next;
        return c;
}

bool granule_may_copy(struct work *w) {
        struct managed_range *r = w->range;

        if (!r->copies)
                r->copies = alloc_array(r->count, sizeof(*r->copies));
        if (r->copies && !w->copy)
                w->copy = alloc_zero(sizeof(*w->copy));
        return r->copies && w->copy;
}

void granule_add_copy(struct managed *e, struct work *w, uint32_t node, uint32_t slot) {
        struct copy **first = &w->range->copies[granule_index(w)];

        *w->copy = (struct copy){ .next = *first, .node = node, .slot = slot };
        *first = w->copy;
        w->copy = NULL;
        e->nodes[node].copies++;
}

void granule_drop_copies(struct managed *e, struct managed_range *r, struct granule *g) {
        struct copy *next;

        for (struct copy *c = granule_copies(r, g); c; c = next) {
                next = c->next;
                node_give(e, c->node, r, c->slot);
                e->nodes[c->node].copies--;
                alloc_free(c);
        }
        if (r->copies)
                r->copies[index_of(r, g)] = NULL;
}

bool granule_lies_on(const struct managed_range *r, const struct granule *g, uint32_t node) {
        return (g->slot && g->node == node) || (g->host_slot && g->host == node) || granule_copy(r, g, node);
}

int granule_may_show(struct managed_range *r, uint32_t node) {
        uint64_t words = (r->count + 63ull) / 64;
        struct shown *s;

        if (r->shown[node])
                return 0;
        s = alloc_zero(sizeof(*s) + 2 * words * sizeof(uint64_t));
        if (!s)
                return -ENOMEM;
        s->mapped = (uint64_t *)(s + 1);
        s->writable = s->mapped + words;
        r->shown[node] = s;
        r->shows |= 1ull << node;
        return 0;
}

uint64_t granule_shown(const struct managed_range *r, const struct granule *g, bool write) {
        uint32_t i = index_of(r, g);
        uint64_t nodes = 0;

        for (uint64_t left = r->shows; left; left &= left - 1) {
                const struct shown *s = r->shown[__builtin_ctzll(left)];

                if ((write ? s->writable : s->mapped)[i / 64] >> i % 64 & 1)
                        nodes |= left & -left;
        }
        return nodes;
}

static void set(uint64_t *bits, uint32_t i, bool on) {
        bits[i / 64] = (bits[i / 64] & ~(1ull << i % 64)) | (uint64_t)on << i % 64;
}

void granule_show(struct managed_range *r, const struct granule *g, uint32_t node, bool write) {
        set(r->shown[node]->mapped, index_of(r, g), true);
        set(r->shown[node]->writable, index_of(r, g), write);
}

void granule_hide(struct managed_range *r, const struct granule *g, uint32_t node) {
        set(r->shown[node]->mapped, index_of(r, g), false);
        set(r->shown[node]->writable, index_of(r, g), false);
}

bool granule_settled(const struct managed *e, const struct managed_range *r, const struct granule *g) {
        return e->now - granule_ns(g->moved) >= profile_of(e, r)->settle_us * 1000ull;
}

void granule_describe(const struct managed_range *r, const struct granule *g, bool copies, struct policy_granule *ret) {
        *ret = (struct policy_granule){
                .where = g->slot && g->state != RESIDENCY_DUPLICATED ? g->node : g->host,
                .bytes = r->bytes,
                .moved_ns = granule_ns(g->moved),
                .touched_ns = granule_ns(g->touched),
                .device_copy = copies,
        };
}

/* Of what nobody asked for, and of faults, nothing is kept. */
void granule_answered(struct managed *e, struct work *w, enum managed_cause cause, int result) {
        struct refusal *last = &w->range->refusal;
        uint32_t i = granule_index(w);

        if (cause != MANAGED_BY_REQUEST && cause != MANAGED_BY_PREFETCH && cause != MANAGED_BY_ADVICE)
                return;
        w->g->refused = result > 0 ? (unsigned)result : 0;
        if (result <= 0)
                return;
        if (last->count && last->first + last->count == i && last->cause == cause)
                last->count++;
        else
                *last = (struct refusal){ .first = i, .count = 1, .cause = cause };
        last->ns = e->now;
}

static void tell_refusal(const struct managed_range *r, uint32_t granule, struct managed_granule_info *ret) {
        ret->refused = r->granules[granule].refused;
        if (!ret->refused || granule - r->refusal.first >= r->refusal.count)
                return;
        ret->refused_ns = r->refusal.ns;
        ret->refused_cause = r->refusal.cause;
}

uint64_t managed_range_used(const struct managed_range *r, uint32_t node) {
        return (uint64_t)r->slots[node] * r->bytes;
}

void managed_granule_info(const struct managed_range *r, uint32_t granule, struct managed_granule_info *ret) {
        const struct granule *g = &r->granules[granule];

        *ret = (struct managed_granule_info){
                .state = (enum residency)g->state,
                .node = g->slot           ? g->node
                        : g->host_slot    ? g->host
                        : granule_lost(g) ? g->node
                                          : MANAGED_NOWHERE,
                .slot = g->slot ? g->slot - 1 : MANAGED_NOWHERE,
                .outs = g->outs,
                .ins = g->ins,
                .pins = g->pins,
                .moved_ns = granule_ns(g->moved),
                .touched_ns = granule_ns(g->touched),
                .busy = g->work != NULL,
                .lost = granule_lost(g) && (g->state == RESIDENCY_OUT || g->state == RESIDENCY_REVOKED),
                .cause = (enum managed_cause)g->cause,
        };
        thrash_tell(r, granule, &ret->thrash);
        for (const struct copy *c = granule_copies(r, g); c; c = c->next)
                ret->copies |= 1ull << c->node;
        tell_refusal(r, granule, ret);
}
