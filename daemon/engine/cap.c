#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * Caps on what moves: a link has an allowance where one was set, and a group. A move that nobody waits for has to find
 * something left in both. One that was asked for stands in line until there is, what comes along with a fault stays
 * where it is, and what would come to a device that reaches it is mapped. What somebody waits for, and what makes room,
 * goes and is counted; so is what somebody comes to wait for while it stands in line.
 *
 * When an allowance has filled again, so many are let out of its line as will use it up, and the next look is when they
 * have been paid for.
 */
static struct flow **link_of(struct managed *e, uint32_t a, uint32_t b) {
        return a < b ? &e->links[a][b] : &e->links[b][a];
}

static struct flow *capped_link(struct managed *e, uint32_t a, uint32_t b) {
        return *link_of(e, a, b);
}

static struct flow *capped_group(const struct managed_range *r) {
        return r->group && r->group->flow.pub.rate ? &r->group->flow : NULL;
}

/* The node that has it; nothing comes over a link when it is EMPTY, or there. */
static bool comes_from(const struct granule *g, uint32_t to, uint32_t *ret) {
        *ret = g->slot ? g->node : g->host;
        return (g->slot || g->host_slot) && *ret != to;
}

static bool is_empty(const struct managed *e, const struct flow *f) {
        return f && policy_bucket_due(&f->bucket, f->pub.rate, e->now) > e->now;
}

/* The allowance that it has to wait for, or NULL. */
static struct flow *full_of(struct managed *e, const struct managed_range *r, uint32_t from, uint32_t to) {
        struct flow *link = capped_link(e, from, to), *group = capped_group(r);

        if (is_empty(e, link))
                return link;
        return is_empty(e, group) ? group : NULL;
}

bool cap_can_wait(const struct demand *d) {
        return (d->event == MANAGED_TO_HOST || d->event == MANAGED_TO_NODE) && !d->forced && !d->hides &&
               (d->cause == MANAGED_BY_PREFETCH || d->cause == MANAGED_BY_ADVICE || d->cause == MANAGED_BY_REQUEST);
}

/* Nothing is behind it that cannot. */
static bool may_wait(const struct work *w) {
        list_for_each (it, &w->queue)
                if (!cap_can_wait(container_of(it, struct demand, link)))
                        return false;
        return list_empty(&w->mapping);
}

static void wait_for(struct managed *e, struct flow *f, struct work *w) {
        if (list_empty(&f->line)) {
                f->next_ns = policy_bucket_due(&f->bucket, f->pub.rate, e->now);
                list_push_back(&e->flows, &f->by_engine);
        }
        w->capped = f;
        list_push_back(&f->line, &w->nap);
}

void cap_wake(struct managed *e, struct work *w) {
        struct flow *f = w->capped;

        if (!f)
                return;
        w->capped = NULL;
        list_remove(&w->nap);
        if (list_empty(&f->line))
                list_remove(&f->by_engine);
        work_todo(e, w);
}

bool cap_holds(struct managed *e, struct work *w, struct demand *d, uint32_t to, bool *ret_result) {
        struct flow *f;
        uint32_t from;

        if (!may_wait(w) || !comes_from(w->g, to, &from))
                return false;
        f = full_of(e, w->range, from, to);
        if (!f)
                return false;
        if (!d->put_off) {
                f->pub.put_off++;
                d->put_off = true;
                if (d->fence)
                        history_delayed(e, d, to, MANAGED_WHY_CAP);
        }
        if (d->fence) {
                wait_for(e, f, w);
                *ret_result = false;
        } else {
                d->why = MANAGED_WHY_CAP;
                *ret_result = serve_answer(d, MANAGED_E_RATE);
        }
        return true;
}

bool cap_maps(const struct view *v, uint32_t node) {
        uint32_t from;

        return view_reaches(v, node) && comes_from(&v->g, node, &from) && full_of(v->e, v->r, from, node);
}

void cap_mapped(const struct view *v, uint32_t node) {
        uint32_t from;

        if (comes_from(&v->g, node, &from))
                full_of(v->e, v->r, from, node)->pub.put_off++;
}

static void take(struct flow *f, uint64_t bytes, uint64_t now_ns) {
        f->pub.bytes += bytes;
        policy_bucket_take(&f->bucket, f->pub.rate, bytes, now_ns);
}

void cap_count(struct managed *e, struct work *w, uint32_t to) {
        struct flow *link;
        uint32_t from;

        if (!comes_from(w->g, to, &from))
                return;
        link = capped_link(e, from, to);
        if (link)
                take(link, w->range->bytes, e->now);
        if (w->range->group)
                take(&w->range->group->flow, w->range->bytes, e->now);
}

/* Lets out what will use up a hundredth of a second's allowance, and one more. */
static void let_out(struct managed *e, struct flow *f) {
        uint64_t rate = f->pub.rate, bytes = 0, due_ns = policy_bucket_due(&f->bucket, f->pub.rate, e->now);

        if (due_ns > e->now) {
                f->next_ns = due_ns;
                return;
        }
        while (!list_empty(&f->line) && (!rate || bytes <= rate / 100)) {
                struct work *w = container_of(f->line.next, struct work, nap);

                bytes += w->range->bytes;
                cap_wake(e, w);
        }
        if (rate)
                f->next_ns = e->now + 1 + (uint64_t)((unsigned __int128)bytes * 1000000000 / rate);
}

void cap_run(struct managed *e) {
        list_for_each_safe (it, &e->flows) {
                struct flow *f = container_of(it, struct flow, by_engine);

                if (f->next_ns <= e->now)
                        let_out(e, f);
        }
}

uint64_t cap_due(const struct managed *e) {
        uint64_t due = 0;

        list_for_each (it, &e->flows) {
                const struct flow *f = container_of(it, struct flow, by_engine);

                due = !due || f->next_ns < due ? f->next_ns : due;
        }
        return due;
}

/* ---- what is set, and what is shown ---- */

void flow_init(struct flow *f) {
        list_init(&f->line);
        list_init(&f->by_engine);
}

/* What was used up counts no more, unless nothing has changed. */
static void set(struct managed *e, struct flow *f, uint64_t rate) {
        if (f->pub.rate == rate)
                return;
        f->pub.rate = rate;
        f->bucket = (struct policy_bucket){ 0 };
        f->next_ns = e->now;
}

int managed_link_cap(struct managed *e, uint32_t a, uint32_t b, uint64_t rate) {
        struct flow **f = link_of(e, a, b);

        if (!*f && !rate)
                return 0;
        if (!*f) {
                *f = alloc_zero(sizeof(**f));
                if (!*f)
                        return -ENOMEM;
                flow_init(*f);
        }
        set(e, *f, rate);
        return 0;
}

void managed_link_flow(struct managed *e, uint32_t a, uint32_t b, struct managed_flow *ret) {
        const struct flow *f = capped_link(e, a, b);

        *ret = f ? f->pub : (struct managed_flow){ 0 };
}

void managed_group_cap(struct managed *e, struct managed_group *g, uint64_t rate) {
        set(e, &g->flow, rate);
}

void managed_group_flow(const struct managed_group *g, struct managed_flow *ret) {
        *ret = g->flow.pub;
}
