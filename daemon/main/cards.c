#include "main/cards.h"

#include <stdio.h>
#include <string.h>

struct card cards_of(const struct kfd_node *k) {
        return (struct card){ .unique = k->unique, .id = k->id, .domain = k->domain, .location = k->location };
}

uint64_t cards_capacity(const struct kfd_node *k) {
        return k->bytes & ~4095ull;
}

/* ---- which is which ---- */

enum trust { BY_PLACE, BY_HARDWARE, BY_BOTH };

static bool is(const struct node_desc *n, const struct kfd_report *r, uint32_t index, enum trust trust) {
        const struct kfd_node *k = &r->nodes[index];
        struct card seen = cards_of(k);

        if (!k->gpu || cards_capacity(k) != n->capacity)
                return false;
        if (!card_is_told(&n->card))
                return trust == BY_PLACE && index == n->number;
        return trust != BY_PLACE && card_match(&n->card, &seen) == (trust == BY_BOTH ? CARD_SAME : CARD_MOVED);
}

static void find(struct cards *c, const struct machine *m, const struct kfd_report *r, enum trust trust) {
        for (uint32_t i = 0; i < m->count; i++)
                for (uint16_t k = 0; k < r->nodes_count && c->at[i] == CARDS_NONE; k++)
                        if (m->nodes[i].found && m->nodes[i].kind == NODE_KFD && !c->taken[k] &&
                            is(&m->nodes[i], r, k, trust)) {
                                c->at[i] = k;
                                c->taken[k] = true;
                        }
}

void cards_find(struct cards *ret, const struct machine *m, const struct kfd_report *r) {
        memset(ret->taken, 0, sizeof(ret->taken));
        for (uint32_t i = 0; i < NODE_MAX; i++)
                ret->at[i] = CARDS_NONE;
        if (!r)
                return;
        find(ret, m, r, BY_BOTH);
        find(ret, m, r, BY_HARDWARE);
        find(ret, m, r, BY_PLACE);
}

/* ---- what became of one that is gone ---- */

static bool has_place_of(const struct kfd_node *k, const struct card *c) {
        return k->id == c->id || (c->location && k->domain == c->domain && k->location == c->location);
}

void cards_why_gone(const struct node_desc *n, const struct kfd_report *r, char *why, size_t why_size) {
        const struct card *c = &n->card;

        snprintf(why, why_size, "AMD's driver has it no longer");
        for (uint32_t i = 0; card_is_told(c) && i < r->nodes_count; i++) {
                const struct kfd_node *k = &r->nodes[i];
                struct card seen = cards_of(k);

                if (!k->gpu)
                        continue;
                if (card_match(c, &seen) != CARD_OTHER)
                        snprintf(why, why_size,
                                 "AMD's driver has it with memory of another size: its partitions were changed");
                else if (has_place_of(k, c))
                        snprintf(why, why_size,
                                 "AMD's driver has it no longer: another GPU is in its place, %04x:%02x:%02x.%x",
                                 k->domain, k->location >> 8 & 0xff, k->location >> 3 & 0x1f, k->location & 7);
        }
}
