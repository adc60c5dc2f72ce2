#include <errno.h>

#include "base/alloc.h"
#include "mover/internal.h"

/*
 * Advice about granules: a map from runs of them to records, of which there is one for each combination that was ever
 * asked for, so that neighbours of the same advice are one entry. The loop's thread changes the map, under the lock
 * because the engine asks for advice there; it looks without.
 */
struct piece {
        uint32_t first, end;
        struct advice_record *record;
        struct imap_spare spare;
};

static bool same(const struct mover_advice *a, const struct mover_advice *b) {
        return a->policy.preferred == b->policy.preferred && a->policy.accessed_by == b->policy.accessed_by &&
               a->policy.read_mostly == b->policy.read_mostly && a->policy.pinned == b->policy.pinned &&
               a->granularity == b->granularity && a->session == b->session;
}

static struct advice_record *record_get(struct mover_range *r, const struct mover_advice *advice) {
        struct advice_record *new;

        list_for_each (it, &r->advices) {
                struct advice_record *a = container_of(it, struct advice_record, link);

                if (same(&a->advice, advice))
                        return a;
        }
        new = alloc_zero(sizeof(*new));
        if (!new)
                return NULL;
        new->advice = *advice;
        list_push_back(&r->advices, &new->link);
        r->advices_count++;
        return new;
}

static const struct advice_record *record_of(uint64_t value) {
        return (const struct advice_record *)(uintptr_t)value;
}

/* Frees those that no entry names, when there are many. */
static void sweep(struct mover_range *r) {
        if (r->advices_count <= 2 * r->advice.count + 8)
                return;
        list_for_each (it, &r->advices)
                container_of(it, struct advice_record, link)->used = false;
        for (struct imap_entry *e = imap_first_from(&r->advice, 0); e; e = imap_next(e))
                ((struct advice_record *)(uintptr_t)e->value)->used = true;
        list_for_each_safe (it, &r->advices) {
                struct advice_record *a = container_of(it, struct advice_record, link);

                if (a->used)
                        continue;
                list_remove(&a->link);
                alloc_free(a);
                r->advices_count--;
        }
}

/* The advice of the run that begins at the granule, and the run's end. */
static uint32_t run_at(const struct mover_range *r, uint32_t at, uint32_t end, struct mover_advice *ret) {
        const struct imap_entry *e = imap_first_from(&r->advice, at);

        *ret = (struct mover_advice){ 0 };
        if (e && e->start <= at) {
                *ret = record_of(e->value)->advice;
                return e->end < end ? (uint32_t)e->end : end;
        }
        return e && e->start < end ? (uint32_t)e->start : end;
}

static void change(struct mover_advice *a, unsigned what, const struct mover_advice *by) {
        if (what & MOVER_PREFERRED)
                a->policy.preferred = by->policy.preferred;
        if (what & MOVER_ACCESSED_BY)
                a->policy.accessed_by = by->policy.accessed_by;
        if (what & MOVER_READ_MOSTLY)
                a->policy.read_mostly = by->policy.read_mostly;
        if (what & MOVER_PINNED)
                a->policy.pinned = by->policy.pinned;
        if (what & MOVER_GRANULARITY)
                a->granularity = by->granularity;
        a->session = by->session;
}

static bool is_none(const struct mover_advice *a) {
        struct mover_advice none = { .session = a->session };

        return same(a, &none);
}

static void pieces_free(struct piece *pieces, uint32_t count) {
        for (uint32_t i = 0; i < count; i++)
                imap_spare_put(&pieces[i].spare);
        alloc_free(pieces);
}

static int piece_make(struct mover_range *r, struct piece *p, uint32_t first, uint32_t end,
                      const struct mover_advice *a) {
        p->first = first;
        p->end = end;
        p->record = is_none(a) ? NULL : record_get(r, a);
        if (!p->record && !is_none(a))
                return -ENOMEM;
        return imap_spare_get(&p->spare);
}

/* What has to be set, and all that setting it takes. */
static int pieces_make(struct mover_range *r, uint32_t first, uint32_t end, unsigned what,
                       const struct mover_advice *advice, struct piece **ret, uint32_t *ret_count) {
        uint32_t count = 0, i = 0;
        struct mover_advice a;
        struct piece *pieces;
        int k = 0;

        for (uint32_t at = first; at < end; count++)
                at = run_at(r, at, end, &a);
        pieces = alloc_array(count, sizeof(*pieces));
        if (!pieces)
                return -ENOMEM;
        for (uint32_t at = first, next; at < end && !k; at = next, i++) {
                next = run_at(r, at, end, &a);
                change(&a, what, advice);
                k = piece_make(r, &pieces[i], at, next, &a);
        }
        if (k) {
                pieces_free(pieces, count);
                return k;
        }
        *ret = pieces;
        *ret_count = count;
        return 0;
}

int mover_advise(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, unsigned what,
                 const struct mover_advice *advice) {
        struct piece *pieces;
        uint32_t n;
        int k;

        if (first >= r->count || !count || count > r->count - first)
                return -EINVAL;
        k = pieces_make(r, first, first + count, what, advice, &pieces, &n);
        if (!k) {
                mover_lock(m);
                for (uint32_t i = 0; i < n; i++)
                        imap_set_with(&r->advice, &pieces[i].spare, pieces[i].first, pieces[i].end,
                                      (uintptr_t)pieces[i].record);
                if (m->traces_count)
                        traces_advised(m, r, first, count);
                mover_unlock(m);
                pieces_free(pieces, n);
        }
        sweep(r);
        return k;
}

void mover_advice(struct mover *m, struct mover_range *r, uint32_t granule, struct mover_advice *ret) {
        run_at(r, granule, granule + 1, ret);
}

int mover_each_advice(struct mover *m, struct mover_range *r,
                      int (*fn)(void *userdata, uint32_t first, uint32_t count, const struct mover_advice *a),
                      void *userdata) {
        for (struct imap_entry *e = imap_first_from(&r->advice, 0); e; e = imap_next(e)) {
                int k = fn(userdata, (uint32_t)e->start, (uint32_t)(e->end - e->start), &record_of(e->value)->advice);

                if (k)
                        return k;
        }
        return 0;
}

/* The engine's question, with the lock. */
void advice_get(void *userdata, void *range, uint32_t granule, struct policy_advice *ret) {
        const struct mover_range *r = range;
        uint64_t value = imap_get(&r->advice, granule);

        if (!value)
                return;
        *ret = record_of(value)->advice.policy;
        ret->granularity = record_of(value)->advice.granularity;
}

void advice_free(struct mover_range *r) {
        imap_clear(&r->advice);
        list_for_each_safe (it, &r->advices)
                alloc_free(container_of(it, struct advice_record, link));
}
