#include "engine/managed-priv.h"

/*
 * The slots that are taken in a pool, in the order in which they were used last: what LRU would let go first is found
 * at one end, as is whatever LRU has let go already. Slots in which nothing was used yet are there from when they were
 * taken, or, of what was there before a restart, as the oldest.
 *
 *     oldest -> | | <-> | | <-> | | <- newest
 */
static void put(struct pool *p, uint32_t slot, uint32_t older, uint32_t newer) {
        p->ages[slot - 1] = (struct age){ older, newer };
        *(older ? &p->ages[older - 1].newer : &p->oldest) = slot;
        *(newer ? &p->ages[newer - 1].older : &p->newest) = slot;
}

void age_begin(struct pool *p, uint32_t slot, bool oldest) {
        put(p, slot, oldest ? 0 : p->newest, oldest ? p->oldest : 0);
}

void age_end(struct pool *p, uint32_t slot) {
        struct age a = p->ages[slot - 1];

        *(a.older ? &p->ages[a.older - 1].newer : &p->oldest) = a.newer;
        *(a.newer ? &p->ages[a.newer - 1].older : &p->newest) = a.older;
}

void age_use(struct pool *p, uint32_t slot) {
        if (p->newest == slot)
                return;
        age_end(p, slot);
        age_begin(p, slot, false);
}
