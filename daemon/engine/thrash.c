#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * What bounces is known beside the granules: an entry for each that was asked for again soon after it had moved, in a
 * tree of its range, and in a list by age out of which old ones go when there are too many. Policy says what is done.
 *
 *     pinned     its entry is in a list by the end of that. Then what translations show of it is taken away, so that
 *                who uses it most touches it first and gets it
 *     nap        the granule's work is in a list by the time when it is looked at again
 *
 * Both lists are looked at with every input that comes after the time at their heads; managed_due() says when to give
 * one if none comes by itself. Without memory nothing is known of a granule, and it moves as others do.
 */
enum { ENTRIES_MAX = 1 << 16 };

struct bounce {
        struct tree_node node;
        struct list age, pin;
        struct managed_range *range;
        uint32_t granule;
        struct policy_thrash t;
};

static struct bounce *of_node(struct tree_node *n) {
        return n ? container_of(n, struct bounce, node) : NULL;
}

static struct bounce *find(const struct managed_range *r, uint32_t granule) {
        struct tree_node *n = r->bounces.root;

        while (n && of_node(n)->granule != granule)
                n = n->child[granule > of_node(n)->granule];
        return of_node(n);
}

static void drop(struct managed *e, struct bounce *b) {
        list_remove(&b->age);
        list_remove(&b->pin);
        tree_remove(&b->range->bounces, &b->node, NULL);
        e->bounces--;
        alloc_free(b);
}

void thrash_forget(struct managed_range *r) {
        while (r->bounces.root)
                drop(r->engine, of_node(r->bounces.root));
}

static struct bounce *add(struct managed *e, struct managed_range *r, uint32_t granule) {
        struct tree_node *parent = NULL;
        struct bounce *b;
        int side = 0;

        if (e->bounces == ENTRIES_MAX)
                drop(e, container_of(e->bounced.next, struct bounce, age));
        b = alloc_zero(sizeof(*b));
        if (!b)
                return NULL;
        for (struct tree_node *n = r->bounces.root; n; n = n->child[side]) {
                parent = n;
                side = granule > of_node(n)->granule;
        }
        b->range = r;
        b->granule = granule;
        list_init(&b->pin);
        list_push_back(&e->bounced, &b->age);
        tree_insert(&r->bounces, parent, side, &b->node, NULL);
        e->bounces++;
        return b;
}

static void pin(struct managed *e, struct bounce *b) {
        struct list *at;

        list_remove(&b->pin);
        at = e->pins.prev;
        while (at != &e->pins && container_of(at, struct bounce, pin)->t.until_ns > b->t.until_ns)
                at = at->prev;
        list_push_front(at, &b->pin);
}

static void nap(struct managed *e, struct work *w, uint64_t until_ns) {
        struct list *at = e->naps.prev;

        w->nap_ns = until_ns;
        while (at != &e->naps && container_of(at, struct work, nap)->nap_ns > until_ns)
                at = at->prev;
        list_push_front(at, &w->nap);
}

void thrash_wake(struct managed *e, struct work *w) {
        if (!w->nap_ns)
                return;
        w->nap_ns = 0;
        list_remove(&w->nap);
        work_todo(e, w);
}

static void count(struct managed *e, const struct managed_range *r, uint32_t node, enum policy_cure cure) {
        struct managed_thrash *of[] = { &e->nodes[node].thrash, r->group ? &r->group->thrash : NULL };

        for (unsigned i = 0; i < 2 && of[i]; i++) {
                of[i]->pins += cure == POLICY_STAY || cure == POLICY_HOST;
                of[i]->naps += cure == POLICY_NAP;
        }
}

/* It has moved too short a time ago. */
static bool is_suspect(const struct managed *e, const struct managed_range *r, const struct granule *g) {
        return g->moved && e->now - granule_ns(g->moved) < profile_of(e, r)->lapse_us * 1000ull;
}

bool thrash_concerns_cpu(const struct view *v) {
        return v->g.state == RESIDENCY_OUT && !node_holds(v->e, &v->g);
}

bool thrash_pinned(const struct managed_range *r, uint32_t granule) {
        const struct bounce *b = find(r, granule);

        return b && policy_pinned(&b->t, r->engine->now);
}

enum policy_cure thrash_view(const struct view *v, struct policy_thrash *t, bool *asked, uint32_t accessor,
                             uint64_t *ret_until_ns) {
        struct managed *e = v->e;
        struct policy_machine m = { e->shape, e->nodes_count };
        struct policy_granule pg;

        granule_describe(v->r, &v->g, v->copies, &pg);
        if (*asked)
                return policy_pinned(t, e->now) && policy_reaches(&m, accessor, pg.where) ? POLICY_STAY : POLICY_LET;
        *asked = true;
        return e->c.decide.thrash(&m, profile_of(e, v->r), t, &pg, accessor, e->now, ret_until_ns);
}

/* What was decided is counted for the node where it lies, and told. */
static void decided(struct managed *e, struct work *w, const struct demand *d, const struct view *v, struct bounce *b,
                    const struct policy_thrash *before, enum policy_cure cure) {
        uint32_t where = w->g->slot ? w->g->node : w->g->host;

        if (b->t.bounced_ns != before->bounced_ns) {
                e->nodes[where].thrash.bounces++;
                if (w->range->group)
                        w->range->group->thrash.bounces++;
        }
        if (b->t.until_ns > before->until_ns) {
                pin(e, b);
                if (e->c.pinned)
                        e->c.pinned(e->c.userdata, w->range->userdata, v->index,
                                    cure == POLICY_HOST ? view_host(v) : where);
        }
        if (cure == POLICY_NAP || b->t.until_ns > before->until_ns)
                count(e, w->range, where, cure);
        if (cure == POLICY_NAP)
                history_delayed(e, d, event_is_fault(d->event) ? MANAGED_NOWHERE : d->node, MANAGED_WHY_THRASH);
}

enum policy_cure thrash_ask(struct managed *e, struct work *w, struct demand *d, const struct view *v,
                            uint32_t accessor) {
        struct bounce *b = find(w->range, v->index);
        struct policy_thrash before;
        uint64_t until_ns = 0;
        enum policy_cure cure;

        if (!b && !d->asked && is_suspect(e, w->range, w->g))
                b = add(e, w->range, v->index);
        if (!b)
                return POLICY_LET;
        before = b->t;
        cure = thrash_view(v, &b->t, &d->asked, accessor, &until_ns);
        decided(e, w, d, v, b, &before, cure);
        list_remove(&b->age);
        list_push_back(&e->bounced, &b->age);
        if (cure == POLICY_NAP)
                nap(e, w, until_ns);
        return cure;
}

void thrash_tell(const struct managed_range *r, uint32_t granule, struct policy_thrash *ret) {
        const struct bounce *b = find(r, granule);

        *ret = b ? b->t : (struct policy_thrash){ 0 };
}

/* What shows it is taken away. Without memory that stays. */
static void unpin(struct managed *e, struct bounce *b) {
        struct demand d = { .event = MANAGED_TO_NODE, .cause = MANAGED_BY_EVICTION, .hides = true };

        list_remove(&b->pin);
        if (!b->range->ending && b->range->settled &&
            granule_shown(b->range, granule_of(b->range, b->granule), false) &&
            demand_add(e, b->range, b->granule, &d, false) && granule_of(b->range, b->granule)->work)
                work_put(e, granule_of(b->range, b->granule)->work);
}

void thrash_run(struct managed *e) {
        while (!list_empty(&e->naps) && container_of(e->naps.next, struct work, nap)->nap_ns <= e->now)
                thrash_wake(e, container_of(e->naps.next, struct work, nap));
        while (!list_empty(&e->pins) && container_of(e->pins.next, struct bounce, pin)->t.until_ns <= e->now)
                unpin(e, container_of(e->pins.next, struct bounce, pin));
}

static uint64_t earlier(uint64_t a, uint64_t b) {
        return a && (!b || a < b) ? a : b;
}

uint64_t managed_due(const struct managed *e) {
        uint64_t nap = list_empty(&e->naps) ? 0 : container_of(e->naps.next, struct work, nap)->nap_ns;
        uint64_t pin = list_empty(&e->pins) ? 0 : container_of(e->pins.next, struct bounce, pin)->t.until_ns;

        return earlier(earlier(nap, pin), cap_due(e));
}

void managed_tick(struct managed *e, uint64_t now_ns) {
        e->now = now_ns;
        managed_run(e);
}

void managed_group_thrash(const struct managed_group *g, struct managed_thrash *ret) {
        *ret = g->thrash;
}
