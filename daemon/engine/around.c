#include "engine/hints.h"
#include "engine/managed-priv.h"

/*
 * What comes along with a fault. Policy names a run of granules around it; those of them that lie elsewhere are asked
 * for behind it, as a hint that nobody waits for: one that has no room, moved just now, or is wished elsewhere stays.
 * The faults of the CPU and those of devices are streams of their own.
 *
 * And what advice says moves together: when one granule of a group moves, whatever for, the others that lie elsewhere
 * are asked for likewise, for advice. What so moves brings nothing more.
 */
enum { GROUP_LOOKS = 4096, GROUP_MOST = 1024 };

static bool is_on(const struct managed *e, const struct managed_range *r, const struct granule *g, uint32_t node) {
        return e->nodes[node].host ? g->host_slot != 0 : granule_lies_on(r, g, node);
}

static bool lies_elsewhere(const struct managed *e, const struct managed_range *r, const struct granule *g,
                           uint32_t node) {
        if (is_on(e, r, g, node))
                return false;
        return g->state == RESIDENCY_OUT || (g->state == RESIDENCY_RESIDENT && !e->nodes[node].host);
}

static bool may_come(struct managed *e, struct managed_range *r, uint32_t i, uint32_t node, bool ahead) {
        const struct granule *g = granule_of(r, i);
        struct policy_advice advice = { 0 };

        if (g->work || g->pins || granule_lost(g) || thrash_pinned(r, i))
                return false;
        if (ahead ? g->state != RESIDENCY_EMPTY : !lies_elsewhere(e, r, g, node))
                return false;
        if (e->c.advice)
                e->c.advice(e->c.userdata, r->userdata, i, &advice);
        return !advice.pinned && (!advice.preferred || advice.preferred - 1 == node);
}

/* Of the block that begins at `start`: a bit for each granule that is there. */
static void residents(const struct managed *e, const struct managed_range *r, uint32_t start, uint32_t block,
                      uint32_t node, uint64_t *ret) {
        if (e->nodes[node].host && block < 64)
                ret[0] = r->on_host[start / 64] >> start % 64 & ((1ull << block) - 1);
        else if (e->nodes[node].host)
                for (uint32_t i = 0; i < block / 64 && start / 64 + i <= r->count / 64; i++)
                        ret[i] = r->on_host[start / 64 + i];
        else
                for (uint32_t i = 0; i < block && start + i < r->count; i++)
                        ret[i / 64] |= (uint64_t)granule_lies_on(r, &r->granules[start + i], node) << i % 64;
}

static void bring(struct managed *e, struct work *w, uint32_t node, bool ahead) {
        struct managed_range *r = w->range;
        uint32_t block = POLICY_BLOCK / r->bytes, at = granule_index(w), start = at - at % block, first = at, run = 0;
        bool host = e->nodes[node].host;
        uint64_t resident[POLICY_BLOCK / 4096 / 64] = { 0 };
        struct policy_fault f = { .at = at, .count = r->count, .bytes = r->bytes, .resident = resident };
        struct demand d = { .event = host ? MANAGED_TO_HOST : MANAGED_TO_NODE,
                            .cause = MANAGED_BY_PREFETCH,
                            .anywhere = host,
                            .node = node,
                            .ahead = ahead };
        struct policy_advice advice = { 0 };

        residents(e, r, start, block, node, resident);
        granule_advice(e, r, at, &advice);
        e->c.decide.prefetch(profile_of(e, r), &advice, &f, &r->stream[!host], &first, &run);
        for (uint32_t i = first; i < r->count && i - first < run; i++)
                if (may_come(e, r, i, node, ahead))
                        demand_add(e, r, i, &d, false);
}

void around_bring(struct managed *e, struct work *w, uint32_t node) {
        bring(e, w, node, false);
}

/* Whoever touches pays for all of it, or nobody brings more than was touched. */
void around_first(struct managed *e, struct work *w, const struct demand *d, uint32_t node) {
        const struct share *s = d->share;

        if (w->range->ahead && !s->readonly && s->session->cgroup == w->range->cgroup)
                bring(e, w, node, true);
}

/* Those that everybody moves anyway, or that follow others, bring nobody. */
static bool leads(const struct managed *e, const struct work *w, const struct demand *d) {
        if (!e->c.group || w->g->state == RESIDENCY_EMPTY)
                return false;
        return d->cause != MANAGED_BY_ADVICE && d->cause != MANAGED_BY_DRAIN && d->cause != MANAGED_BY_REVOKE;
}

/* Many granules of one group may begin to move at once: the first one asks. */
static bool asked_just_now(struct managed *e, struct managed_range *r, uint32_t group, uint32_t node) {
        if (r->led_ns == e->now && r->led_group == group && r->led_node == node)
                return true;
        r->led_ns = e->now;
        r->led_group = group;
        r->led_node = node;
        return false;
}

void around_group(struct managed *e, struct work *w, const struct demand *d, uint32_t node) {
        struct managed_range *r = w->range;
        struct demand follow = { .cause = MANAGED_BY_ADVICE, .node = node, .anywhere = e->nodes[node].host };
        struct policy_advice advice = { 0 };
        struct hint_walk walk = { .left = GROUP_LOOKS };
        unsigned asked = 0;
        uint32_t i;

        if (!leads(e, w, d))
                return;
        granule_advice(e, r, granule_index(w), &advice);
        walk.group = advice.group;
        if (!advice.group || asked_just_now(e, r, advice.group, node))
                return;
        while (asked < GROUP_MOST && (i = e->c.group(e->c.userdata, r->userdata, &walk)) != UINT32_MAX) {
                if (i >= r->count || !may_come(e, r, i, node, false))
                        continue;
                follow.event = evict_by(e, granule_of(r, i), node);
                if (demand_add(e, r, i, &follow, false) == 0)
                        asked++;
        }
}
