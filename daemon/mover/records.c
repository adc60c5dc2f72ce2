#include <errno.h>

#include "mover/internal.h"
#include "mover/pools.h"
#include "proto/range.h"

/*
 * The engine's records are words in the range's state file, which outlives svmd. They are written with the engine's
 * lock held and before a later step can be taken: there is no moment at which a step has begun and its record has not
 * been written. A payer only means something in states that come after it was written.
 */
static uint32_t plus_one(uint32_t node) {
        return node == MANAGED_NOWHERE ? 0 : node + 1;
}

static bool rests(enum residency state) {
        return state == RESIDENCY_EMPTY || state == RESIDENCY_RESIDENT || state == RESIDENCY_OUT ||
               state == RESIDENCY_DUPLICATED || state == RESIDENCY_REVOKED;
}

static void count(struct mover_range *r) {
        __atomic_fetch_add(&r->head->sequence, 1, __ATOMIC_SEQ_CST);
}

void record_intent(void *userdata, const struct managed_record *rec) {
        struct mover_range *r = rec->range;
        struct range_entry *e = &r->entries[rec->granule];
        uint64_t before = e->word, after;

        after = range_word(rec->state, rec->cause, plus_one(rec->host), plus_one(rec->node),
                           rec->node == MANAGED_NOWHERE ? 0 : rec->slot);
        if (rests((enum residency)range_state(before)))
                count(r);
        __atomic_store_n(&e->payer, rec->cgroup, __ATOMIC_RELAXED);
        __atomic_store_n(&e->word, after, __ATOMIC_RELEASE);
        if (rests(rec->state))
                count(r);
        moved_note(r->m, r, rec->granule, before, after);
}

/* A discard is recorded before its punch: what was read in between is not good either. */
void record_punched(struct mover_range *r, uint32_t first, uint32_t n) {
        for (uint32_t i = first; i < first + n; i++)
                if (range_state(r->entries[i].word) == RESIDENCY_EMPTY) {
                        count(r);
                        return;
                }
}

static bool has_slot(enum residency state) {
        return state == RESIDENCY_PUNCHING || state == RESIDENCY_OUT || state == RESIDENCY_FILLING ||
               state == RESIDENCY_WRITING || state == RESIDENCY_REVOKED;
}

static bool is_host(const struct mover *m, uint32_t node) {
        return node < m->c.nodes_count && m->nodes[node].node.host;
}

/* With its node: the slot is RANGE_LOST. */
static bool is_lost(uint64_t word) {
        return range_node(word) && range_slot(word) == RANGE_LOST;
}

/* What an earlier svmd wrote is checked as if anybody had. */
static int record_read(const struct mover *m, const struct range_entry *e, struct managed_record *ret) {
        uint32_t state = range_state(e->word), host = range_host(e->word), node = range_node(e->word);

        if (state > RESIDENCY_REVOKED || range_cause(e->word) > MANAGED_BY_RESTART)
                return -EINVAL;
        if (host && !is_host(m, host - 1))
                return -EINVAL;
        if (node && (node - 1 >= m->c.nodes_count || !pools_are_on(m, node - 1)))
                return -EINVAL;
        if (is_lost(e->word) && state != RESIDENCY_PUNCHING && state != RESIDENCY_OUT && state != RESIDENCY_REVOKED)
                return -EINVAL;
        if (!node && (state == RESIDENCY_OUT || state == RESIDENCY_PUNCHING))
                return -EINVAL;
        ret->state = (enum residency)state;
        ret->cause = (enum managed_cause)range_cause(e->word);
        ret->host = host - 1; /* none: MANAGED_NOWHERE */
        ret->node = node - 1;
        ret->slot = node ? range_slot(e->word) : MANAGED_NOWHERE;
        ret->cgroup = e->payer;
        return 0;
}

/* A device's slot went while there was no svmd: as managed_node_lost() would have it. */
static void record_lost(struct managed_record *rec) {
        if (rec->state == RESIDENCY_FILLING || rec->state == RESIDENCY_WRITING)
                rec->state = RESIDENCY_PUNCHING;
        rec->slot = MANAGED_NOWHERE;
        record_intent(NULL, rec);
}

int record_restore(struct mover *m, struct mover_range *r) {
        for (uint32_t i = 0; i < r->count; i++) {
                struct managed_record rec = { .range = r, .granule = i };
                struct pool *p;
                int k = record_read(m, &r->entries[i], &rec);

                if (k)
                        return k;
                p = rec.slot == MANAGED_NOWHERE ? NULL : pool_get(m, rec.node, r->granule);
                if (p && !pool_has(p, rec.slot))
                        return -EINVAL;
                if (p && has_slot(rec.state) && !pool_committed(p, rec.slot))
                        record_lost(&rec);
                k = managed_restore(m->engine, r->range, &rec);
                if (k)
                        return k;
        }
        return 0;
}
