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

/* What is lost is so by a loss, and until a discard; then it is zero. */
void check_record(struct world *w, struct range *r, const struct managed_record *now) {
        const struct managed_record *before = &r->record[now->granule];
        bool lost = record_lost(now);

        if (lost && !record_lost(before)) {
                w->total.lost++;
                if (w->vanishes != now->node + 1 || before->node != now->node)
                        world_fail(w, "granule %u of range %u (%s) is lost with node %u, which it was not on",
                                   now->granule, r->index, managed_state_name(before->state), now->node);
        }
        if (lost && now->state != RESIDENCY_PUNCHING && now->state != RESIDENCY_OUT && now->state != RESIDENCY_REVOKED)
                world_fail(w, "a lost granule is %s", managed_state_name(now->state));
        if (lost || !record_lost(before))
                return;
        if (now->state != RESIDENCY_EMPTY || !r->discards[now->granule])
                world_fail(w, "granule %u of range %u was lost and is %s", now->granule, r->index,
                           managed_state_name(now->state));
        r->sour[now->granule] = r->poison;
        for (uint32_t i = 0; i < PAGES * WORDS; i++)
                r->truth[now->granule * PAGES + i / WORDS][i % WORDS] = (struct truth){ 0 };
}

/* The node is gone: no record names what was there. */
void check_loss(struct world *w, uint32_t node) {
        for (unsigned i = 0; i < RANGES; i++)
                for (unsigned g = 0; g < w->range[i].granules; g++) {
                        const struct managed_record *rec = &w->range[i].record[g];

                        if (rec->node == node && rec->state != RESIDENCY_COPYING &&
                            rec->state != RESIDENCY_DUPLICATED && !record_lost(rec))
                                world_fail(w, "granule %u of range %u is %s on node %u, which has vanished", g, i,
                                           managed_state_name(rec->state), node);
                }
}

void check_read(struct world *w, struct range *r, uint32_t page, uint32_t word, uint64_t value, const char *who) {
        struct truth *t = &r->truth[page][word];
        bool pending = r->discards[page / PAGES] || w->restoring;

        w->total.verified++;
        if (is_lost(r, page) && r->record[page / PAGES].state != RESIDENCY_PUNCHING) {
                world_fail(w, "%s read page %u of range %u, which is lost", who, page, r->index);
                return;
        }
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

/* What workers hold may be above a limit, and no more. */
static void check_groups(struct world *w) {
        uint64_t named[GROUPS][NODES] = { 0 };

        for (unsigned i = 0; i < RANGES; i++)
                for (unsigned g = 0; group_of(w, &w->range[i]) && g < GRANULES; g++) {
                        const struct managed_record *rec = &w->range[i].record[g];
                        uint64_t *of = named[group_of(w, &w->range[i]) - w->group];

                        if (rec->node != MANAGED_NOWHERE && !record_lost(rec) && rec->state != RESIDENCY_DUPLICATED)
                                of[rec->node] += w->range[i].bytes;
                        if (rec->host != MANAGED_NOWHERE)
                                of[rec->host] += w->range[i].bytes;
                }
        for (unsigned i = 0; i < GROUPS; i++)
                for (unsigned n = 0; n < NODES; n++) {
                        struct group *g = &w->group[i];
                        uint64_t used, limit;

                        managed_group_used(g->group, n, &used, NULL);
                        g->floor[n] = g->floor[n] < used ? g->floor[n] : used;
                        limit = g->floor[n] > g->limit[n] ? g->floor[n] : g->limit[n];
                        w->total.above += used > g->limit[n];
                        if (used < named[i][n] || (used > limit && used - limit > 3ull * w->largest))
                                world_fail(w, "group %u uses %llu of %llu on node %u, records name %llu", i,
                                           (unsigned long long)used, (unsigned long long)limit, n,
                                           (unsigned long long)named[i][n]);
                }
}

void check_sums(struct world *w) {
        uint64_t used[NODES] = { 0 };

        if (managed_check(w->engine))
                world_fail(w, "the engine's sums are wrong (tick %llu)", (unsigned long long)w->now);
        for (unsigned i = 0; i < RANGES; i++)
                for (unsigned g = 0; g < GRANULES; g++) {
                        const struct managed_record *rec = &w->range[i].record[g];

                        if (rec->node != MANAGED_NOWHERE && !record_lost(rec) && rec->state != RESIDENCY_DUPLICATED)
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
        check_groups(w);
}

/* Whether a granule of the group that has to leave `node` has a place. What is revoked goes to devices alone. */
static bool has_place(struct world *w, unsigned group, unsigned node) {
        const struct group *g = &w->group[group];
        const struct range *r = &w->range[group ? 3 : 0], *more = &w->range[group ? 3 : 1];
        bool hosts = !r->revoked && !r->changing && !more->revoked && !more->changing;
        uint64_t unit = r->bytes > more->bytes ? r->bytes : more->bytes, used;

        for (unsigned i = hosts ? 0 : 1; i < NODES; i++) {
                struct managed_node_info info;

                managed_node_info(w->engine, i, &info);
                managed_group_used(g->group, i, &used, NULL);
                if (i != node && !w->offline[i] && info.used + unit <= info.capacity - info.reserve &&
                    used + unit <= g->limit[i])
                        return true;
        }
        return false;
}

/* Nothing is going on: no group has more than its limit, but for what is pinned or has no other place. */
void check_rest(struct world *w) {
        uint64_t pinned[GROUPS] = { 0 };

        for (unsigned i = 0; i < RANGES; i++)
                for (unsigned g = 0; group_of(w, &w->range[i]) && g < GRANULES; g++)
                        pinned[group_of(w, &w->range[i]) - w->group] += w->range[i].pins[g] ? w->range[i].bytes : 0;
        for (unsigned i = 0; i < GROUPS; i++)
                for (unsigned n = 0; n < NODES; n++) {
                        uint64_t used, limit = w->group[i].limit[n];

                        limit = w->host[n] && limit < pinned[i] ? pinned[i] : limit;
                        managed_group_used(w->group[i].group, n, &used, NULL);
                        if (used > limit && has_place(w, i, n))
                                world_fail(w, "group %u rests with %llu of %llu on node %u", i,
                                           (unsigned long long)used, (unsigned long long)limit, n);
                }
}

static void check_page(struct world *w, struct range *r, uint32_t page) {
        const struct managed_record *rec = &r->record[page / PAGES];
        const uint64_t *words = NULL;

        if (rec->state == RESIDENCY_RESIDENT || rec->state == RESIDENCY_DUPLICATED) {
                if (!r->memfd[page].present)
                        world_fail(w, "page %u of range %u is resident and a hole", page, r->index);
                if (r->memfd[page].present && r->memfd[page].host != rec->host)
                        world_fail(w, "page %u of range %u is of host %u and not of %u", page, r->index,
                                   r->memfd[page].host, rec->host);
                words = r->memfd[page].word;
        } else {
                if (r->memfd[page].present)
                        world_fail(w, "page %u of range %u is %s and in the memfd", page, r->index,
                                   managed_state_name(rec->state));
                if (record_lost(rec))
                        return;
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
