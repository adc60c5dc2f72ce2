#include "engine/history.h"

#include <errno.h>

#include "engine/managed-priv.h"

/*
 * Two rings a range: what was done, and what was refused or put off, so that a storm of the one does not wash the other
 * away. They lie in the range, so nothing is allocated when a granule moves, and a range has no more of them than fit.
 *
 * What is decided about neighbours one after the other is one entry, a run of granules: a walk through a range is a few
 * entries. Workers do several things at a time, so the last few entries are looked at: but none that a later one
 * overlaps, so of a granule the later entry is what happened later. A run is as old as its last granule, and ends after
 * a second.
 */
enum { LOOKS = 4 };
static const uint64_t run_ns = 1000 * 1000 * 1000;

void managed_range_tag(struct managed_range *r, uint64_t tag) {
        r->tag = tag;
}

static bool is_same(const struct managed_past *a, const struct managed_past *b) {
        return a->cause == b->cause && a->deed == b->deed && a->why == b->why && a->by == b->by && a->from == b->from &&
               a->to == b->to && a->whom == b->whom;
}

/* The run takes the granule in, at an end or where it is already. */
static bool joins(struct managed_past *run, const struct managed_past *p) {
        uint32_t at = p->first - run->first;

        if (!run->count || !is_same(run, p) || p->ns - run->began_ns > run_ns)
                return false;
        if (p->first + 1 == run->first) {
                run->first--;
                run->count++;
                return true;
        }
        if (at > run->count)
                return false;
        run->count += at == run->count;
        return true;
}

static bool overlap(const struct managed_past *a, const struct managed_past *b) {
        return a->first - b->first < b->count || b->first - a->first < a->count;
}

/* Whether one of the `count` latest says of a granule of the run what is newer. */
static bool is_overtaken(const struct managed_past *ring, unsigned size, uint32_t next, unsigned count,
                         const struct managed_past *run) {
        for (unsigned i = 1; i <= count; i++)
                if (overlap(&ring[(next - i) % size], run))
                        return true;
        return false;
}

/* The run has met another: the older one is part of the newer then, and its place is empty. */
static void unite(struct managed_past *ring, unsigned size, uint32_t next) {
        for (unsigned i = 2; i <= LOOKS; i++)
                for (unsigned k = 1; k < i; k++) {
                        struct managed_past *old = &ring[(next - i) % size], *new = &ring[(next - k) % size];
                        bool behind = old->first + old->count == new->first,
                             before = new->first + new->count == old->first;

                        if (!old->count || !new->count || !is_same(old, new) || !(behind || before) ||
                            is_overtaken(ring, size, next, i - 1, old))
                                continue;
                        new->first = behind ? old->first : new->first;
                        new->count += old->count;
                        new->times += old->times;
                        new->began_ns = old->began_ns < new->began_ns ? old->began_ns : new->began_ns;
                        new->ns = old->ns > new->ns ? old->ns : new->ns;
                        *old = (struct managed_past){ 0 };
                }
}

static void put(struct managed_past *ring, unsigned size, uint32_t *next, struct managed_past *p) {
        for (unsigned i = 1; i <= LOOKS; i++) {
                struct managed_past *run = &ring[(*next - i) % size];

                if (!is_overtaken(ring, size, *next, i - 1, run) && !is_overtaken(ring, size, *next, i - 1, p) &&
                    joins(run, p)) {
                        run->times++;
                        run->ns = p->ns;
                        unite(ring, size, *next);
                        return;
                }
        }
        ring[(*next)++ % size] = *p;
}

static void note(struct managed *e, struct managed_range *r, uint32_t granule, struct managed_past *p) {
        struct history *h = &r->history;

        p->began_ns = p->ns = e->now;
        p->first = granule;
        p->count = p->times = 1;
        if (p->deed == MANAGED_REFUSED || p->deed == MANAGED_DELAYED)
                put(h->not_done, MANAGED_NOT_DONE, &h->next_not_done, p);
        else
                put(h->done, MANAGED_PASTS, &h->next_done, p);
}

static uint8_t node_or_none(uint32_t node) {
        return node == MANAGED_NOWHERE ? MANAGED_PAST_NONE : (uint8_t)node;
}

/* The node that has it. */
static uint8_t whereabouts(const struct granule *g) {
        return g->slot ? g->node : g->host_slot ? g->host : MANAGED_PAST_NONE;
}

static uint8_t asker(const struct demand *d) {
        if (event_is_fault(d->event))
                return MANAGED_PAST_CPU;
        return d->cause == MANAGED_BY_DEVICE || d->cause == MANAGED_BY_PREFETCH ? node_or_none(d->node)
                                                                                : MANAGED_PAST_NONE;
}

void history_begin(struct work *w, const struct demand *d) {
        w->past = (struct managed_past){
                .cause = (uint8_t)d->cause,
                .by = asker(d),
                .why = d->why,
                .whom = d->whom,
                .from = whereabouts(w->g),
                .to = node_or_none(w->node),
        };
}

/* What the change that ends has come to; _MANAGED_DEED_N: nothing to tell of. */
static enum managed_deed deed_of(const struct work *w) {
        switch (w->change) {
        case CHANGE_IN:
                if (w->past.from == MANAGED_PAST_NONE)
                        return MANAGED_BEGAN;
                return w->g->state == RESIDENCY_DUPLICATED ? MANAGED_COPIED : MANAGED_MOVED;
        case CHANGE_OUT:
        case CHANGE_MOVE: return MANAGED_MOVED;
        case CHANGE_PLACE: return MANAGED_BEGAN;
        case CHANGE_DUPLICATE: return MANAGED_COPIED;
        case CHANGE_SHOW:
                return w->past.by == w->past.from || granule_copy(w->range, w->g, w->node) ? _MANAGED_DEED_N
                                                                                           : MANAGED_MAPPED;
        case CHANGE_DISCARD: return MANAGED_DISCARDED;
        case CHANGE_DROP: return MANAGED_UNCOPIED;
        case CHANGE_TAKE: return MANAGED_TAKEN;
        case CHANGE_RETURN: return MANAGED_RETURNED;
        case CHANGE_LOSE:
        case CHANGE_CLEAR:
        case CHANGE_HIDE:
        case CHANGE_NONE: break;
        }
        return _MANAGED_DEED_N;
}

void history_end(struct managed *e, struct work *w) {
        enum managed_deed deed = deed_of(w);
        struct managed_past p = w->past;

        if (deed == _MANAGED_DEED_N || e->restore != RESTORE_NONE)
                return;
        p.deed = (uint8_t)deed;
        if (deed != MANAGED_COPIED || w->change == CHANGE_IN)
                p.to = w->change == CHANGE_IN && w->g->host_slot ? w->g->host : whereabouts(w->g);
        figures_moved(e, w, &p);
        note(e, w->range, granule_index(w), &p);
}

enum managed_why history_full(const struct managed *e, uint32_t node, const struct managed_range *r) {
        return node != MANAGED_NOWHERE && node_room(e, node, r, ROOM_GRANT) >= r->bytes ? MANAGED_WHY_LIMIT
                                                                                        : MANAGED_WHY_ROOM;
}

static enum managed_why why_not(const struct managed *e, const struct demand *d, int result) {
        switch (result) {
        case MANAGED_E_FULL: return history_full(e, d->away ? MANAGED_NOWHERE : d->node, d->work->range);
        case MANAGED_E_PINNED: return MANAGED_WHY_PINNED;
        case MANAGED_E_REVOKED: return MANAGED_WHY_REVOKED;
        case MANAGED_E_RATE: return MANAGED_WHY_RATE;
        case MANAGED_E_OFFLINE: return MANAGED_WHY_OFFLINE;
        case MANAGED_E_LOST: return MANAGED_WHY_LOST;
        case -EFAULT: return MANAGED_WHY_FAULTLESS;
        default: return MANAGED_WHY_SYSTEM;
        }
}

static void not_done(struct managed *e, const struct demand *d, enum managed_deed deed, uint32_t to,
                     enum managed_why why) {
        struct managed_past p = {
                .cause = (uint8_t)d->cause,
                .by = asker(d),
                .deed = (uint8_t)deed,
                .why = (uint8_t)why,
                .from = whereabouts(d->work->g),
                .to = node_or_none(to),
        };

        note(e, d->work->range, granule_index(d->work), &p);
}

void history_refused(struct managed *e, const struct demand *d, uint32_t to, enum managed_why why) {
        not_done(e, d, MANAGED_REFUSED, to, why);
}

void history_delayed(struct managed *e, const struct demand *d, uint32_t to, enum managed_why why) {
        not_done(e, d, MANAGED_DELAYED, to, why);
}

void history_answered(struct managed *e, const struct demand *d, int result) {
        if (!result || result == MANAGED_E_ENDED || e->restore != RESTORE_NONE)
                return;
        history_refused(e, d, d->away ? MANAGED_NOWHERE : d->node,
                        d->why && !d->forced ? d->why : why_not(e, d, result));
}

void history_failed(struct managed *e, const struct demand *d, int result) {
        history_delayed(e, d, MANAGED_NOWHERE, why_not(e, d, result));
}

/* Who waits for the node comes before the reserve, and that before limits of the groups that the victim is of. */
void history_victim(const struct managed *e, uint32_t node, const struct managed_range *victim, struct demand *d) {
        const struct node *n = &e->nodes[node];
        const struct managed_range *first = line_for_node(e, node, ROOM_GRANT);

        d->why = MANAGED_WHY_ROOM;
        if (!first && node_taken(n) > node_granted(n))
                d->why = MANAGED_WHY_RESERVE;
        else if (!first && victim->chain) {
                first = line_beside(e, node, victim);
                d->why = MANAGED_WHY_LIMIT;
        }
        d->whom = first ? first->tag : 0;
}

/* The latest first. A run's age is its last granule's, so of one granule the places in the ring say what came later. */
static unsigned collect(const struct managed_past *ring, unsigned size, uint32_t next, uint32_t granule,
                        struct managed_past *ret, unsigned max) {
        unsigned count = 0;

        for (unsigned i = 1; i <= size && count < max; i++) {
                const struct managed_past *p = &ring[(next - i) % size];

                if (p->count && granule - p->first < p->count)
                        ret[count++] = *p;
        }
        return count;
}

unsigned managed_history(const struct managed_range *r, uint32_t granule, bool not_done_ones, struct managed_past *ret,
                         unsigned max) {
        const struct history *h = &r->history;

        if (not_done_ones)
                return collect(h->not_done, MANAGED_NOT_DONE, h->next_not_done, granule, ret, max);
        return collect(h->done, MANAGED_PASTS, h->next_done, granule, ret, max);
}
