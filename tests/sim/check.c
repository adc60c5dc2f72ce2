#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

/*
 * The checker knows the last value of every word. All accesses are in one order, so each read has one right answer;
 * but for a word that a discard may have taken, or will, zero is another, until it has been seen.
 */
void world_fail(struct world *w, const char *format, ...) {
        va_list args;

        if (w->error)
                return;
        va_start(args, format);
        vsnprintf(w->message, sizeof(w->message), format, args);
        va_end(args);
        w->error = w->message;
}

void check_read(struct world *w, struct range *r, uint32_t page, uint32_t word, uint64_t value, const char *who) {
        struct truth *t = &r->truth[page][word];
        bool pending = r->discards[page / PAGES] || w->restoring;

        w->total.verified++;
        if (value == t->value) {
                t->maybe_zero &= pending;
                return;
        }
        if (value || !t->maybe_zero) {
                world_fail(w, "%s read %llu and not %llu in word %u of page %u of range %u (%s, tick %llu)", who,
                           (unsigned long long)value, (unsigned long long)t->value, word, page, r->index,
                           managed_state_name(r->record[page / PAGES].state), (unsigned long long)w->now);
                return;
        }
        t->value = 0;
        t->maybe_zero = pending;
}

uint64_t check_write(struct world *w, struct range *r, uint32_t page, uint32_t word) {
        struct truth *t = &r->truth[page][word];

        t->value = ++w->stamp;
        t->written = w->now;
        t->maybe_zero = r->discards[page / PAGES] || w->restoring;
        w->total.writes++;
        return t->value;
}

/* A discard has been answered: what was not written since it was asked for is zero. What
 * one that was refused did is not known: some of its granules may have been discarded. */
void check_discarded(struct range *r, uint32_t granule, uint64_t began, bool done) {
        r->discards[granule]--;
        for (uint32_t i = granule * PAGES; i < (granule + 1) * PAGES; i++)
                for (unsigned k = 0; k < WORDS; k++) {
                        struct truth *t = &r->truth[i][k];

                        if (done && t->written < began)
                                *t = (struct truth){ .written = t->written };
                }
}

void check_sums(struct world *w) {
        uint64_t used[NODES] = { 0 };

        if (managed_check(w->engine))
                world_fail(w, "the engine's sums are wrong (tick %llu)", (unsigned long long)w->now);
        for (unsigned i = 0; i < RANGES; i++)
                for (unsigned g = 0; g < GRANULES; g++) {
                        const struct managed_record *rec = &w->range[i].record[g];

                        if (rec->node != MANAGED_NOWHERE && rec->state != RESIDENCY_DUPLICATED)
                                used[rec->node] += w->range[i].bytes;
                        if (rec->host != MANAGED_NOWHERE)
                                used[rec->host] += w->range[i].bytes;
                }
        for (unsigned i = 0; i < NODES; i++) {
                struct managed_node_info info;

                managed_node_info(w->engine, i, &info);
                if (info.used > info.capacity || info.used < used[i])
                        world_fail(w, "node %u uses %llu of %llu, records name %llu", i, (unsigned long long)info.used,
                                   (unsigned long long)info.capacity, (unsigned long long)used[i]);
        }
}

static void check_page(struct world *w, struct range *r, uint32_t page) {
        const struct managed_record *rec = &r->record[page / PAGES];
        const uint64_t *words = NULL;

        if (rec->state == RESIDENCY_RESIDENT || rec->state == RESIDENCY_DUPLICATED) {
                if (!r->memfd[page].present)
                        world_fail(w, "page %u of range %u is resident and a hole", page, r->index);
                words = r->memfd[page].word;
        } else {
                if (r->memfd[page].present)
                        world_fail(w, "page %u of range %u is %s and in the memfd", page, r->index,
                                   managed_state_name(rec->state));
                if (rec->node != MANAGED_NOWHERE)
                        words = w->pool[rec->node][r->class][rec->slot][page % PAGES];
        }
        for (unsigned k = 0; k < WORDS; k++)
                check_read(w, r, page, k, words ? words[k] : 0, "the final look");
}

/* Nothing is going on: every page is where its record says, and nowhere else. */
void check_content(struct world *w) {
        for (unsigned i = 0; i < RANGES; i++)
                for (uint32_t page = 0; page < RANGE_PAGES; page++)
                        check_page(w, &w->range[i], page);
        check_sums(w);
}
