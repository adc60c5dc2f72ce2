#include <errno.h>

#include "base/alloc.h"
#include "engine/hints-priv.h"

/*
 * Hints that are there: asked for, ranked anew, and taken away with their session. The last two change stacks where
 * they are, for all runs that share them, so they need no memory.
 */
enum { LEAVE_RUNS = 4096 };

static const struct stack *stack_at(const struct hints *h, uint32_t granule) {
        return stack_of(imap_get(&h->map, granule));
}

/* ---- asking ---- */

void hints_get(const struct hints *h, uint32_t granule, struct policy_advice *ret) {
        const struct stack *s = stack_at(h, granule);

        if (s)
                *ret = s->advice;
}

uint64_t hints_last(const struct hints *h, uint32_t granule) {
        const struct stack *s = stack_at(h, granule);

        return s && s->count ? party_of(&s->voice[s->count - 1])->session : 0;
}

const struct policy_voice *hints_at(const struct hints *h, uint32_t granule, uint32_t end, uint32_t *ret_count,
                                    uint32_t *ret_end) {
        const struct imap_entry *e = imap_first_from(&h->map, granule);

        *ret_count = 0;
        *ret_end = end;
        if (!e || e->start > granule) {
                if (e && e->start < end)
                        *ret_end = (uint32_t)e->start;
                return NULL;
        }
        if (e->end < end)
                *ret_end = (uint32_t)e->end;
        *ret_count = stack_of(e->value)->count;
        return stack_of(e->value)->voice;
}

const struct hint *hint_of(const struct policy_voice *v) {
        return said_by(v);
}

const struct hint_party *hint_party(const struct hint *hint) {
        return (const struct hint_party *)hint->policy.party;
}

const struct hint_party *hint_party_of(const struct policy_voice *v) {
        return party_of(v);
}

uint32_t *hint_number(const struct policy_voice *v) {
        return &said_by(v)->number;
}

int hints_each_voice(const struct hints *h, uint32_t first, uint32_t end,
                     int (*fn)(void *userdata, const struct policy_voice *voice), void *userdata) {
        int r = 0;

        for (struct imap_entry *e = imap_first_from(&h->map, first); e && e->start < end; e = imap_next(e))
                for (uint32_t i = 0; i < stack_of(e->value)->count && r == 0; i++)
                        r = fn(userdata, &stack_of(e->value)->voice[i]);
        return r;
}

int hints_each(const struct hints *h, int (*fn)(void *userdata, const struct hint *hint), void *userdata) {
        int r = 0;

        list_for_each (l, &h->order) {
                if (r == 0)
                        r = fn(userdata, container_of(l, struct hint, link));
        }
        return r;
}

int hints_each_run(const struct hints *h,
                   int (*fn)(void *userdata, uint32_t first, uint32_t count, const struct policy_advice *a),
                   void *userdata) {
        int r = 0;

        for (struct imap_entry *e = imap_first_from(&h->map, 0); e && r == 0; e = imap_next(e))
                r = fn(userdata, (uint32_t)e->start, (uint32_t)(e->end - e->start), &stack_of(e->value)->advice);
        return r;
}

/* ---- groups ---- */

/* The next granule of the hint, from `at` on, that has the number. */
static uint32_t group_in(const struct hints *h, const struct hint *hint, uint32_t at, struct hint_walk *walk) {
        uint32_t end = hint->first + hint->count;

        while (at < end && walk->left) {
                const struct imap_entry *e = imap_first_from(&h->map, at);

                walk->left--;
                if (!e || e->start >= end)
                        return UINT32_MAX;
                if (e->start > at)
                        at = (uint32_t)e->start;
                if (stack_of(e->value)->advice.group == walk->group)
                        return at;
                at = (uint32_t)e->end;
        }
        return UINT32_MAX;
}

uint32_t hints_group_next(const struct hints *h, struct hint_walk *walk) {
        const struct hint_group *g = hints_group(h, walk->group);

        if (!g)
                return UINT32_MAX;
        if (!walk->at)
                walk->at = g->hints.next;
        while (walk->at != &g->hints && walk->left) {
                const struct hint *hint = container_of(walk->at, struct hint, by_group);
                uint32_t from = walk->next > hint->first ? walk->next : hint->first, at;

                at = group_in(h, hint, from, walk);
                if (at != UINT32_MAX) {
                        walk->next = at + 1;
                        return at;
                }
                walk->at = walk->at->next;
                walk->next = 0;
        }
        return UINT32_MAX;
}

/* ---- changing in place ---- */

/* Takes voices out that say nothing any more. */
static void compact(struct hints *h, struct stack *s) {
        uint32_t count = s->count;
        struct hint *gone;

        s->count = 0;
        for (uint32_t i = 0; i < count; i++) {
                if (s->voice[i].says || s->voice[i].back) {
                        s->voice[s->count++] = s->voice[i];
                        continue;
                }
                gone = said_by(&s->voice[i]);
                s->voice[i].hint = NULL;
                hint_put(h, gone);
        }
        stack_rule(s);
}

static void silence(struct stack *s, const struct hint_party *party) {
        for (uint32_t i = 0; i < s->count; i++)
                if (party_of(&s->voice[i]) == party)
                        s->voice[i].says = s->voice[i].back = 0;
}

void hints_rank(struct hints *h, uint64_t session, enum policy_rank rank) {
        struct hint_party *party = hints_party(h, session);

        if (!party || party->policy.rank == rank)
                return;
        party->policy.rank = rank;
        list_for_each (l, &party->hints) {
                const struct hint *hint = container_of(l, struct hint, by_party);

                for (struct imap_entry *e = imap_first_from(&h->map, hint->first);
                     e && e->start < hint->first + hint->count; e = imap_next(e))
                        stack_rule(stack_of(e->value));
        }
}

bool hints_has(const struct hints *h, uint64_t session) {
        return hints_party(h, session);
}

enum policy_rank hints_rank_of(const struct hints *h, uint64_t session) {
        return hints_party(h, session)->policy.rank;
}

uint64_t hints_left(const struct hints *h, uint64_t but) {
        for (struct tree_node *n = tree_first(&h->parties); n; n = tree_next(n)) {
                const struct hint_party *p = &container_of(n, struct party_node, node)->party;

                if (p->policy.rank == POLICY_LEFT && p->session != but)
                        return p->session;
        }
        return 0;
}

/* The hint is held meanwhile, and gets shorter from its beginning. */
static uint32_t leave_runs(struct hints *h, struct hint *hint, const struct hint_party *party, uint32_t most) {
        struct imap_spare none = { 0 }; /* an entry that goes whole needs nothing */
        uint32_t end = hint->first + hint->count;
        struct imap_entry *e, *next;

        for (e = imap_first_from(&h->map, hint->first); e && e->start < end && most; e = next, most--) {
                struct stack *s = stack_of(e->value);
                uint64_t start = e->start, stop = e->end;

                next = imap_next(e);
                silence(s, party);
                compact(h, s);
                hint->first = stop < end ? (uint32_t)stop : end;
                if (s->count > 0)
                        continue;
                imap_set_with(&h->map, &none, start, stop, 0);
                stack_put(h, s);
        }
        hint->count = e && e->start < end ? end - hint->first : 0;
        return most;
}

bool hints_leave(struct hints *h, uint64_t session) {
        struct hint_party *party = hints_party(h, session);
        uint32_t most = LEAVE_RUNS;

        while (party && most) {
                struct hint *hint = h->leaving;
                bool last;

                if (!hint) {
                        hint = h->leaving = container_of(party->hints.next, struct hint, by_party);
                        hint->refs++;
                }
                most = leave_runs(h, hint, party, most);
                if (hint->count > 0)
                        return true;
                h->leaving = NULL;
                last = party->hints.next == party->hints.prev;
                hint_put(h, hint);
                if (last)
                        return false;
                most -= most > 0;
        }
        return party;
}

/* ---- checking ---- */

static bool voices_right(const struct imap_entry *e) {
        const struct stack *s = stack_of(e->value);
        struct policy_ruling fresh;

        for (uint32_t i = 0; i < s->count; i++) {
                const struct hint *hint = said_by(&s->voice[i]);

                if (hint->first > e->start || hint->first + hint->count < e->end ||
                    (!s->voice[i].says && !s->voice[i].back) ||
                    (i && hint->policy.order <= s->voice[i - 1].hint->order))
                        return false;
        }
        policy_arbitrate(s->voice, s->count, &fresh);
        for (enum policy_attribute a = 0; a < _POLICY_ATTRIBUTE_N; a++)
                if (!policy_same(&fresh.advice, &s->advice, a))
                        return false;
        return s->count > 0 && s->runs > 0 && !s->listed;
}

/* Of stacks that several runs share, each run counts its part. */
static bool sums_right(const struct hints *h) {
        double heard = 0;
        uint64_t refs = 0;

        for (struct imap_entry *e = imap_first_from(&h->map, 0); e; e = imap_next(e))
                heard += (double)stack_of(e->value)->count / stack_of(e->value)->runs;
        list_for_each (l, &h->order)
                refs += container_of(l, struct hint, link)->refs;
        return heard < (double)refs + 0.01 && heard > (double)refs - 0.01;
}

int hints_check(const struct hints *h) {
        uint64_t before = 0;

        if (imap_check(&h->map) < 0 || h->leaving || tree_check(&h->parties) < 0 || tree_check(&h->groups) < 0)
                return -EUCLEAN;
        for (struct imap_entry *e = imap_first_from(&h->map, 0); e; e = imap_next(e))
                if (!voices_right(e))
                        return -EUCLEAN;
        list_for_each (l, &h->order) {
                const struct hint *hint = container_of(l, struct hint, link);

                if (hint->refs == 0 || hint->policy.order <= before ||
                    (hint_group_number(hint) && !hints_group(h, hint_group_number(hint))))
                        return -EUCLEAN;
                before = hint->policy.order;
        }
        return sums_right(h) ? 0 : -EUCLEAN;
}
