#include "engine/hints-priv.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/text.h"

/*
 * To say something makes a new stack for each run that it is about: the old one's voices, less what the same party said
 * there of the same attributes, and the new one. Neighbours that come out alike share a stack, so that one who advises
 * granule by granule makes one run; for that a hint that only goes on where the very last one ended is part of that.
 *
 * What is taken back stays as a voice that says nothing, as long as an older hint would speak there otherwise: each
 * hint is kept whole, and a journal that has all of them in their order has everything.
 *
 * All memory is taken before anything changes. Stacks count the runs that have them, hints the stacks, parties list
 * their hints; what nobody has is freed.
 */
struct piece {
        uint32_t first, end;
        struct stack *stack; /* NULL: nobody speaks there */
        struct imap_spare spare;
};

struct hints_change {
        struct hint_party *party;
        struct hint *hint;
        struct hint_group *group; /* a new one, or NULL */
        enum policy_rank rank;
        bool new_party, extends;
        uint32_t first, end; /* granules */
        uint64_t said_ns;
        uint32_t count;
        struct piece piece[];
};

struct hints *hints_new(void) {
        struct hints *h = alloc_zero(sizeof(*h));

        if (h) {
                imap_init(&h->map);
                list_init(&h->order);
                h->next = 1;
        }
        return h;
}

uint64_t hints_runs(const struct hints *h) {
        return h->map.count;
}

/* ---- parties and groups ---- */

static struct tree_node *party_find(const struct hints *h, uint64_t session, struct tree_node **ret_parent,
                                    int *ret_side) {
        struct tree_node *n = h->parties.root;

        *ret_parent = NULL;
        while (n) {
                const struct party_node *p = container_of(n, struct party_node, node);

                if (p->party.session == session)
                        return n;
                *ret_parent = n;
                *ret_side = p->party.session < session;
                n = n->child[*ret_side];
        }
        return NULL;
}

struct hint_party *hints_party(const struct hints *h, uint64_t session) {
        struct tree_node *parent, *n;
        int side = 0;

        n = party_find(h, session, &parent, &side);
        return n ? &container_of(n, struct party_node, node)->party : NULL;
}

static struct hint_party *party_new(const struct hint_who *who) {
        struct party_node *p = alloc_zero(sizeof(*p));

        if (!p)
                return NULL;
        p->party.policy.rank = who->rank;
        p->party.session = who->session;
        p->party.pid = who->pid;
        p->party.uid = who->uid;
        text_copy(p->party.client, who->client ? who->client : "");
        list_init(&p->party.hints);
        return &p->party;
}

static void party_link(struct hints *h, struct hint_party *party) {
        struct tree_node *parent;
        int side = 0;

        (void)party_find(h, party->session, &parent, &side);
        tree_insert(&h->parties, parent, side, &container_of(party, struct party_node, party)->node, NULL);
}

static void party_free(struct hint_party *party) {
        alloc_free(container_of(party, struct party_node, party));
}

static struct tree_node *group_find(const struct hints *h, uint32_t number, struct tree_node **ret_parent,
                                    int *ret_side) {
        struct tree_node *n = h->groups.root;

        *ret_parent = NULL;
        while (n) {
                const struct hint_group *g = container_of(n, struct hint_group, node);

                if (g->number == number)
                        return n;
                *ret_parent = n;
                *ret_side = g->number < number;
                n = n->child[*ret_side];
        }
        return NULL;
}

struct hint_group *hints_group(const struct hints *h, uint32_t number) {
        struct tree_node *parent, *n;
        int side = 0;

        n = group_find(h, number, &parent, &side);
        return n ? container_of(n, struct hint_group, node) : NULL;
}

static void group_link(struct hints *h, struct hint_group *g) {
        struct tree_node *parent;
        int side = 0;

        (void)group_find(h, g->number, &parent, &side);
        tree_insert(&h->groups, parent, side, &g->node, NULL);
}

/* ---- hints and stacks ---- */

static void hint_unlink(struct hints *h, struct hint *hint) {
        struct hint_party *party = (struct hint_party *)hint->policy.party;
        struct hint_group *g = hint_group_number(hint) ? hints_group(h, hint_group_number(hint)) : NULL;

        list_remove(&hint->link);
        list_remove(&hint->by_party);
        list_remove(&hint->by_group);
        if (g && list_empty(&g->hints)) {
                tree_remove(&h->groups, &g->node, NULL);
                alloc_free(g);
        }
        if (list_empty(&party->hints)) {
                tree_remove(&h->parties, &container_of(party, struct party_node, party)->node, NULL);
                party_free(party);
        }
}

void hint_put(struct hints *h, struct hint *hint) {
        if (--hint->refs || list_empty(&hint->link))
                return; /* heard elsewhere, or the change's own */
        hint_unlink(h, hint);
        alloc_free(hint);
}

void stack_rule(struct stack *s) {
        struct policy_ruling r;

        policy_arbitrate(s->voice, s->count, &r);
        s->advice = r.advice;
}

static void stack_free(struct hints *h, struct stack *s) {
        for (uint32_t i = 0; i < s->count; i++)
                hint_put(h, said_by(&s->voice[i]));
        alloc_free(s);
}

void stack_put(struct hints *h, struct stack *s) {
        if (--s->runs == 0)
                stack_free(h, s);
}

static bool stack_same(const struct stack *a, const struct stack *b) {
        if (!a || !b || a->count != b->count)
                return a == b;
        for (uint32_t i = 0; i < a->count; i++)
                if (a->voice[i].hint != b->voice[i].hint || a->voice[i].says != b->voice[i].says ||
                    a->voice[i].back != b->voice[i].back)
                        return false;
        return true;
}

/* Whether words of `by` take the place of what `of` said. */
static bool replaces(const struct policy_party *by, const struct policy_party *of) {
        return by == of || (by->rank == POLICY_ADMINISTRATOR && of->rank == POLICY_ADMINISTRATOR);
}

static uint32_t taken_back(const struct hint *hint) {
        uint32_t back = 0;

        for (enum policy_attribute a = 0; a < _POLICY_ATTRIBUTE_N; a++)
                back |= (uint32_t)policy_is_zero(&hint->policy.advice, a) << a;
        return back & hint->what & ~hint->against;
}

/* What the hint says above those voices. */
static struct policy_voice voice_above(const struct hint *hint, const struct stack *old) {
        uint32_t back = taken_back(hint), before = 0;

        for (uint32_t i = 0; old && i < old->count; i++)
                if (replaces(hint->policy.party, old->voice[i].hint->party))
                        before |= old->voice[i].says | old->voice[i].back;
        return (struct policy_voice){ .hint = &hint->policy, .says = hint->what & ~back, .back = back & before };
}

static void stack_push(struct stack *s, const struct policy_voice *v) {
        if (!v->says && !v->back)
                return;
        s->voice[s->count++] = *v;
        said_by(v)->refs++;
}

/* NULL with *ret 0: nobody speaks there any more. */
static int stack_make(const struct hints_change *c, const struct stack *old, struct stack **ret) {
        struct policy_voice above = voice_above(c->hint, old), v;
        struct stack *s = alloc_zero(sizeof(*s) + ((old ? old->count : 0) + 1) * sizeof(s->voice[0]));

        if (!s)
                return -ENOMEM;
        for (uint32_t i = 0; old && i < old->count; i++) {
                v = old->voice[i];
                if (replaces(&c->party->policy, v.hint->party)) {
                        v.says &= ~c->hint->what;
                        v.back &= ~c->hint->what;
                }
                stack_push(s, &v);
        }
        stack_push(s, &above);
        if (s->count == 0) {
                alloc_free(s);
                s = NULL;
        } else {
                stack_rule(s);
        }
        *ret = s;
        return 0;
}

/* ---- preparing ---- */

/* The stack of the run that begins at the granule, and the run's end. */
static uint32_t run_at(const struct hints *h, uint32_t at, uint32_t end, struct stack **ret) {
        const struct imap_entry *e = imap_first_from(&h->map, at);

        *ret = NULL;
        if (e && e->start <= at) {
                *ret = stack_of(e->value);
                return e->end < end ? (uint32_t)e->end : end;
        }
        return e && e->start < end ? (uint32_t)e->start : end;
}

static bool goes_on(const struct hint *last, const struct hint_party *party, const struct hint_words *w) {
        if (last->policy.party != &party->policy || last->first + last->count != w->first || last->what != w->what ||
            last->against != w->against)
                return false;
        for (enum policy_attribute a = 0; a < _POLICY_ATTRIBUTE_N; a++)
                if (w->what >> a & 1 && !policy_same(&last->policy.advice, &w->advice, a))
                        return false;
        return true;
}

static int hint_make(struct hints *h, struct hints_change *c, const struct hint_words *w) {
        struct hint *last = list_empty(&h->order) ? NULL : container_of(h->order.prev, struct hint, link);
        struct hint *hint;

        c->extends = last && goes_on(last, c->party, w);
        c->hint = hint = c->extends ? last : alloc_zero(sizeof(*hint));
        if (!hint)
                return -ENOMEM;
        if (c->extends)
                return 0;
        list_init(&hint->link);
        list_init(&hint->by_party);
        list_init(&hint->by_group);
        hint->policy.party = &c->party->policy;
        hint->policy.order = h->next;
        for (enum policy_attribute a = 0; a < _POLICY_ATTRIBUTE_N; a++)
                if (w->what >> a & 1)
                        policy_copy(&hint->policy.advice, &w->advice, a);
        hint->said_ns = w->said_ns;
        hint->first = w->first;
        hint->count = w->count;
        hint->what = w->what;
        hint->against = w->against;
        if (hint_group_number(hint) && !hints_group(h, hint_group_number(hint))) {
                c->group = alloc_zero(sizeof(*c->group));
                if (!c->group)
                        return -ENOMEM;
                c->group->number = hint_group_number(hint);
                list_init(&c->group->hints);
        }
        return 0;
}

/* Alike with what is before it: part of that. */
static int piece_make(const struct hints *h, struct hints_change *c, uint32_t first, uint32_t end,
                      const struct stack *old) {
        struct piece *before = c->count ? &c->piece[c->count - 1] : NULL, *p = &c->piece[c->count];
        struct stack *beside = before ? before->stack : first > 0 ? stack_of(imap_get(&h->map, first - 1)) : NULL;
        struct stack *s;
        int r = stack_make(c, old, &s);

        if (r < 0)
                return r;
        if (s && stack_same(s, beside)) {
                for (uint32_t i = 0; i < s->count; i++)
                        said_by(&s->voice[i])->refs--;
                alloc_free(s);
                s = beside;
        }
        if (before && before->stack == s) {
                before->end = end;
                return 0;
        }
        *p = (struct piece){ .first = first, .end = end, .stack = s };
        c->count++;
        return imap_spare_get(&p->spare);
}

static uint32_t count_runs(const struct hints *h, uint32_t first, uint32_t end) {
        uint32_t count = 0;
        struct stack *s;

        for (uint32_t at = first; at < end; count++)
                at = run_at(h, at, end, &s);
        return count;
}

static int pieces_make(struct hints *h, struct hints_change *c) {
        struct stack *old;
        int r = 0;

        for (uint32_t at = c->first, next; at < c->end && r == 0; at = next) {
                next = run_at(h, at, c->end, &old);
                r = piece_make(h, c, at, next, old);
        }
        return r;
}

int hints_prepare(struct hints *h, struct hints_change **ret, const struct hint_who *who, const struct hint_words *w) {
        uint32_t end = w->first + w->count;
        struct hints_change *c = alloc_zero(sizeof(*c) + count_runs(h, w->first, end) * sizeof(c->piece[0]));
        int r;

        if (!c)
                return -ENOMEM;
        c->first = w->first;
        c->end = end;
        c->said_ns = w->said_ns;
        c->rank = who->rank;
        c->party = hints_party(h, who->session);
        c->new_party = !c->party;
        if (c->new_party)
                c->party = party_new(who);
        r = c->party ? hint_make(h, c, w) : -ENOMEM;
        if (r == 0)
                r = pieces_make(h, c);
        if (r < 0) {
                hints_cancel(h, c);
                return r;
        }
        *ret = c;
        return 0;
}

void hints_cancel(struct hints *h, struct hints_change *c) {
        for (uint32_t i = 0; i < c->count; i++) {
                struct stack *s = c->piece[i].stack;

                imap_spare_put(&c->piece[i].spare);
                if (s && s->runs == 0)
                        stack_free(h, s);
        }
        alloc_free(c->group);
        if (!c->extends)
                alloc_free(c->hint);
        if (c->new_party && c->party)
                party_free(c->party);
        alloc_free(c);
}

/* ---- committing ---- */

/* Counts the runs in and beside the piece; those that lose one may have none any more. */
static void recount(const struct hints *h, const struct piece *p, int by, struct stack **dying) {
        for (struct imap_entry *e = imap_first_from(&h->map, p->first ? p->first - 1 : 0); e && e->start <= p->end;
             e = imap_next(e)) {
                struct stack *s = stack_of(e->value);

                s->runs += (uint32_t)by;
                if (s->listed)
                        continue;
                s->listed = true;
                s->next = *dying;
                *dying = s;
        }
}

static void sweep(struct hints *h, struct stack *dying) {
        for (struct stack *s = dying, *next; s; s = next) {
                next = s->next;
                s->listed = false;
                if (s->runs == 0)
                        stack_free(h, s);
        }
}

static void hint_link(struct hints *h, struct hints_change *c) {
        struct hint *hint = c->hint;

        if (c->extends) {
                hint->count = c->end - hint->first;
                hint->said_ns = c->said_ns;
                return;
        }
        h->next++;
        if (c->new_party)
                party_link(h, c->party);
        list_push_back(&h->order, &hint->link);
        list_push_back(&c->party->hints, &hint->by_party);
        if (c->group)
                group_link(h, c->group);
        if (hint_group_number(hint))
                list_push_back(&hints_group(h, hint_group_number(hint))->hints, &hint->by_group);
}

void hints_commit(struct hints *h, struct hints_change *c) {
        struct stack *dying = NULL;
        uint64_t session = c->party->session;
        bool ranked = c->party->policy.rank != c->rank;

        hint_link(h, c);
        c->hint->refs++; /* until all is done */
        for (uint32_t i = 0; i < c->count; i++) {
                struct piece *p = &c->piece[i];

                recount(h, p, -1, &dying);
                imap_set_with(&h->map, &p->spare, p->first, p->end, (uintptr_t)p->stack);
                imap_spare_put(&p->spare);
                recount(h, p, 1, &dying);
        }
        sweep(h, dying);
        hint_put(h, c->hint);
        alloc_free(c);
        if (ranked)
                hints_rank(h, session, c->rank);
}

void hints_free(struct hints *h) {
        if (!h)
                return;
        for (struct imap_entry *e = imap_first_from(&h->map, 0); e; e = imap_next(e))
                stack_put(h, stack_of(e->value));
        imap_clear(&h->map);
        alloc_free(h);
}
