#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * One hand a node: it goes around its slots, looks at a few granules for each that has to leave, and takes the one that
 * seems farthest from being used again (policy/reuse.h) of those, of what it came by before (the node's short list),
 * and of what was used last. Where nothing may be staked against LRU (policy/rival.h) it looks at what was used longest
 * ago instead, which a device's slots are kept in order for (ages.c). Policy says whether that may go and where to; if
 * not, the next one is asked about.
 *
 * Room is made when somebody waits for it, when more is used than may be granted (a debt to the reserve, a node that
 * shrank), and when the node is to be empty. The debt is paid only out of what others may be granted; for those that
 * wait, another node's reserve will do. When the first lap finds nothing, the second one takes what policy would not,
 * and granules whose own demand waits for room.
 *
 * Copies for reading need no place elsewhere, and count as twice as far away.
 *
 * For others, first goes what is of groups above their low there, then what is of those above their min, and nothing
 * else (policy/share.h); of several groups each has to be. When a group makes room for itself, it is the same of the
 * other groups of what it has, and then nobody is spared; nor is anybody when the node is to be empty.
 */
enum { ROUND_POLICY, ROUND_ANY, ROUND_WAITING, _ROUND_N };
/* Granules that are looked at for one that leaves, and slots at most once there is any. */
enum { LOOKS = 24, LOOKS_FAR = 1024 };
/* Of those that were used longest ago. */
enum { OLDEST = 24, OLDEST_FAR = 256 };
/* A turn in which nobody is spared. */
#define TURN_ALL _POLICY_TURN_N
/* Of these in a group: at so many places besides where its hand is, so many at each. */
enum { DARTS = 16, DART_LOOKS = 1 };

static bool evictable(const struct managed *e, uint32_t node, const struct owner *o, unsigned round) {
        const struct granule *g;

        if (!o->range || !o->range->settled || o->range->ending)
                return false;
        g = &o->range->granules[o->granule];
        if (g->pins || (g->work && (round != ROUND_WAITING || !(g->work->parked_on || g->work->capped))))
                return false;
        switch ((enum residency)g->state) {
        case RESIDENCY_RESIDENT: return e->nodes[node].host;
        case RESIDENCY_OUT:
        case RESIDENCY_REVOKED: return g->slot && g->node == node;
        case RESIDENCY_DUPLICATED: return true;
        case RESIDENCY_EMPTY:
        case RESIDENCY_COPYING:
        case RESIDENCY_PUNCHING:
        case RESIDENCY_FILLING:
        case RESIDENCY_WRITING:
        case RESIDENCY_CONTINUING: break;
        }
        return false;
}

uint32_t evict_to(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t from, uint32_t wish,
                  bool pressing) {
        bool hosts = e->hosts > 1 || granule_of(r, granule)->state == RESIDENCY_OUT;
        uint32_t to;

        if (wish < e->nodes_count && wish != from && (hosts || !e->nodes[wish].host) &&
            room_fits(e, wish, r, ROOM_GRANT) && !line_ahead(e, r, wish))
                return wish;
        to = room_freest(e, r, ROOM_GRANT, from, hosts);
        if (to == MANAGED_NOWHERE && pressing)
                to = room_freest(e, r, ROOM_EVICT, from, hosts);
        return to;
}

/* To a host without CPUs it goes as to a device: into a slot, from where the next touch brings it back. */
enum managed_event evict_by(const struct managed *e, const struct granule *g, uint32_t to) {
        bool slot = e->hosts > 1 && (g->state == RESIDENCY_REVOKED || e->shape[to].far);

        return e->nodes[to].host && !slot ? MANAGED_TO_HOST : MANAGED_TO_NODE;
}

/* What policy says of taking the granule. */
static bool wanted(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t *ret_to) {
        struct policy_machine m = { e->shape, e->nodes_count };
        struct policy_advice advice = { 0 };
        uint64_t room[MANAGED_NODES_MAX];
        struct policy_granule pg;

        if (e->c.advice)
                e->c.advice(e->c.userdata, r->userdata, granule, &advice);
        granule_describe(r, granule_of(r, granule), granule_copies(r, granule_of(r, granule)), &pg);
        room_all(e, r, room);
        return e->c.decide.evict(&m, profile_of(e, r), &advice, &pg, e->now, room, ret_to);
}

bool evict_wanted(struct managed *e, struct managed_range *r, uint32_t granule, uint32_t *ret_to) {
        return wanted(e, r, granule, ret_to);
}

/* Begins to move what lies in the slot. */
static bool evict(struct managed *e, uint32_t node, const struct owner *o, unsigned round, bool pressing) {
        struct granule *g = granule_of(o->range, o->granule);
        struct demand d = { .cause = MANAGED_BY_EVICTION, .forced = true, .evicts = node + 1 };
        struct work *parked = g->work;
        uint32_t wish = MANAGED_NOWHERE;

        if (round == ROUND_POLICY && !granule_lost(g) &&
            (thrash_pinned(o->range, o->granule) || !wanted(e, o->range, o->granule, &wish)))
                return false;
        if (round != ROUND_POLICY && e->hosts > 1 && !wanted(e, o->range, o->granule, &wish))
                wish = MANAGED_NOWHERE;
        d.cause = e->nodes[node].draining ? MANAGED_BY_DRAIN : MANAGED_BY_EVICTION;
        d.frees = granule_lost(g);
        if (d.cause == MANAGED_BY_EVICTION)
                history_victim(e, node, o->range, &d);
        if (d.frees || (g->state == RESIDENCY_DUPLICATED && !e->nodes[node].host))
                d.event = MANAGED_UNDUPLICATE;
        else {
                d.node = evict_to(e, o->range, o->granule, node, wish, pressing);
                if (d.node == MANAGED_NOWHERE)
                        return false;
                d.event = evict_by(e, g, d.node);
        }
        if (demand_add(e, o->range, o->granule, &d, true)) {
                if (g->work)
                        work_put(e, g->work);
                e->starved = true;
                return false;
        }
        if (parked)
                work_unpark(e, parked);
        evict_count(e, o->range, node, true);
        reuse_leave(e, node, o->range, g);
        return true;
}

/* The next slot under the hand; false at the end of a lap. */
static bool advance(struct node *n) {
        if (++n->hand < n->pool[n->hand_class].high)
                return true;
        n->hand = 0;
        n->hand_class = (n->hand_class + 1) % POOLS;
        return n->hand_class;
}

/* Whether anything has to be looked at: copies need no place elsewhere, all else does. */
static bool is_hopeless(const struct managed *e, const struct managed_group *g, uint32_t node, bool pressing) {
        enum room room = pressing ? ROOM_EVICT : ROOM_GRANT;

        if (e->nodes[node].copies || e->nodes[node].lost)
                return false;
        for (uint32_t i = 0; i < e->nodes_count; i++)
                if (i != node && node_space(e, i, room) >= class_bytes(0) &&
                    (!g || group_room(e, g, i, room) >= class_bytes(0)))
                        return false;
        return true;
}

static unsigned rounds(bool pressing) {
        return pressing ? _ROUND_N : ROUND_WAITING;
}

/* `of` is the group that makes room for itself, or NULL. */
static bool gives(const struct managed *e, uint32_t node, const struct owner *o, const struct managed_group *of,
                  enum policy_turn turn) {
        return turn == TURN_ALL || range_gives(e, o->range, of, node, turn);
}

/* It may go in the first round, nothing uses it just now, and it is one of `of`, or of anybody's. */
static bool is_candidate(const struct managed *e, uint32_t node, const struct owner *o, const struct managed_group *of,
                         enum policy_turn turn) {
        return evictable(e, node, o, ROUND_POLICY) && (!of || range_is_in(o->range, of)) &&
               gives(e, node, o, of, turn) && !granule_of(o->range, o->granule)->ops &&
               granule_lies_on(o->range, granule_of(o->range, o->granule), node);
}

static void offer(const struct managed *e, const struct policy_haste *h, struct shortlist *s, const struct owner *o) {
        shortlist_offer(s, o, reuse_away(e, h, o));
}

static uint64_t spare(struct managed *e, uint32_t node, const struct owner *o, uint64_t away) {
        bool copy = granule_copy(o->range, granule_of(o->range, o->granule), node);
        struct policy_advice advice = { 0 };

        if (e->c.advice)
                e->c.advice(e->c.userdata, o->range->userdata, o->granule, &advice);
        return policy_spare(&advice, node, copy, away);
}

/* Takes the one that goes before all others off the list. */
static struct owner take_first(struct managed *e, uint32_t node, struct shortlist *s) {
        uint64_t most = 0;
        uint32_t first = 0;
        struct owner o;

        for (uint32_t i = 0; i < s->count; i++) {
                uint64_t of = spare(e, node, &s->granule[i], s->away[i]);

                if (of > most) {
                        most = of;
                        first = i;
                }
        }
        o = s->granule[first];
        shortlist_drop(s, first);
        return o;
}

/* What goes now may be the last that a group gives. */
static bool evict_first(struct managed *e, uint32_t node, struct shortlist *s, const struct managed_group *of,
                        enum policy_turn turn, bool pressing) {
        while (s->count) {
                struct owner o = take_first(e, node, s);

                if (gives(e, node, &o, of, turn) && evict(e, node, &o, ROUND_POLICY, pressing))
                        return true;
        }
        return false;
}

/* Those that were used longest ago, of each pool of a device. */
static void offer_oldest(struct managed *e, uint32_t node, struct shortlist *s, const struct policy_haste *h,
                         const struct managed_group *group, enum policy_turn turn) {
        for (unsigned c = 0; c < CLASSES && !e->nodes[node].host; c++) {
                const struct pool *p = &e->nodes[node].pool[c];
                uint32_t slot = p->oldest, found = 0;

                for (unsigned i = 0; slot && found < OLDEST && i < OLDEST_FAR; i++, slot = p->ages[slot - 1].newer) {
                        const struct owner *o = &p->owners[slot - 1];

                        if (!is_candidate(e, node, o, group, turn))
                                continue;
                        offer(e, h, s, o);
                        found++;
                }
        }
}

/* What was on the list and what was used last, as they are now; of `group` alone, if it is not NULL. */
static void recall(struct managed *e, uint32_t node, struct shortlist *s, const struct managed_group *group,
                   enum policy_turn turn) {
        const struct policy_haste h = reuse_haste(e, node, group);
        const struct node *n = &e->nodes[node];

        for (uint32_t i = s->count; i-- > 0;)
                if (is_candidate(e, node, &s->granule[i], group, turn))
                        s->away[i] = reuse_away(e, &h, &s->granule[i]);
                else
                        shortlist_drop(s, i);
        for (uint32_t i = 0; i < RECENT; i++)
                if (is_candidate(e, node, &n->recent[i], group, turn))
                        offer(e, &h, s, &n->recent[i]);
        if (h.held)
                offer_oldest(e, node, s, &h, group, turn);
}

/* Looks at what comes next under the hand; what has to be empty need not be in order. Returns how many slots. */
static uint64_t look(struct managed *e, uint32_t node, uint64_t left, enum policy_turn turn) {
        const struct policy_haste h = reuse_haste(e, node, NULL);
        struct node *n = &e->nodes[node];
        uint32_t looks = e->shape[node].online && !h.held ? LOOKS : 1;
        uint64_t passed = 0;

        for (uint32_t found = 0; passed < left && found < looks && (!found || passed < LOOKS_FAR); passed++) {
                const struct pool *p = &n->pool[n->hand_class];
                const struct owner *o = n->hand < p->high ? &p->owners[n->hand] : NULL;

                advance(n);
                if (!o || !is_candidate(e, node, o, NULL, turn))
                        continue;
                offer(e, &h, &n->order.shortlist, o);
                found++;
        }
        return passed;
}

static uint64_t lap(const struct node *n) {
        uint64_t slots = POOLS;

        for (unsigned c = 0; c < POOLS; c++)
                slots += n->pool[c].high;
        return slots;
}

static bool evict_farthest(struct managed *e, uint32_t node, enum policy_turn turn, bool pressing) {
        struct shortlist *s = &e->nodes[node].order.shortlist;
        uint64_t left = lap(&e->nodes[node]);

        recall(e, node, s, NULL, turn);
        while (left) {
                left -= look(e, node, left, turn);
                if (evict_first(e, node, s, NULL, turn, pressing))
                        return true;
        }
        return false;
}

static bool evict_in_turn(struct managed *e, uint32_t node, enum policy_turn turn, bool pressing) {
        struct node *n = &e->nodes[node];

        if (evict_farthest(e, node, turn, pressing))
                return true;
        for (unsigned round = ROUND_ANY; round < rounds(pressing); round++) {
                for (uint64_t left = lap(n); left > 0; left--) {
                        const struct pool *p = &n->pool[n->hand_class];
                        const struct owner *o = n->hand < p->high ? &p->owners[n->hand] : NULL;

                        advance(n);
                        if (o && evictable(e, node, o, round) && gives(e, node, o, NULL, turn) &&
                            evict(e, node, o, round, pressing))
                                return true;
                }
        }
        return false;
}

static bool evict_one(struct managed *e, uint32_t node, bool pressing) {
        if (!e->nodes[node].protected || !e->shape[node].online)
                return evict_in_turn(e, node, TURN_ALL, pressing);
        for (enum policy_turn turn = 0; turn < _POLICY_TURN_N; turn++)
                if (evict_in_turn(e, node, turn, pressing))
                        return true;
        return false;
}

/* The next granule of the group that lies on the node; NULL range: none before the hand has passed the rest of a
 * range. */
static struct owner group_next(struct managed *e, struct managed_group *g, uint32_t node, uint64_t *passed) {
        bool places = e->nodes[node].host && e->hosts == 1; /* and no slots */
        struct owner o = { 0 };

        o.range = group_advance(g, node, places, &o.granule, passed);
        if (o.range && !granule_lies_on(o.range, granule_of(o.range, o.granule), node))
                o.range = NULL;
        return o;
}

/* Looks at as many that come next under the group's hand. Returns how many it passed, `left` at most. */
static uint64_t look_in_group(struct managed *e, struct managed_group *g, uint32_t node, struct shortlist *s,
                              enum policy_turn turn, uint32_t looks, uint64_t left) {
        const struct policy_haste h = reuse_haste(e, node, g);
        uint64_t passed = 0;

        for (uint32_t found = 0; passed < left && found < looks && (!found || passed < LOOKS_FAR);) {
                struct owner o = group_next(e, g, node, &passed);

                if (!is_candidate(e, node, &o, g, turn))
                        continue;
                offer(e, &h, s, &o);
                found++;
        }
        return passed;
}

/* The hand goes through a range in the order of its addresses, where those next to each other are often alike: so look
 * elsewhere in it, too. */
static void look_around(struct managed *e, struct managed_group *g, uint32_t node, struct shortlist *s,
                        enum policy_turn turn) {
        struct group_node *n = &g->nodes[node];
        struct managed_range *hand = n->hand;
        uint32_t at = n->hand_granule;

        for (unsigned i = 0; hand && i < DARTS; i++) {
                e->dart = e->dart * 6364136223846793005u + 1442695040888963407u;
                n->hand = hand;
                n->hand_granule = (uint32_t)((e->dart >> 32) * hand->count >> 32);
                look_in_group(e, g, node, s, turn, DART_LOOKS, LOOKS_FAR);
        }
        n->hand = hand;
        n->hand_granule = at;
}

/* The same among the granules of a group. */
static bool evict_farthest_of_group(struct managed *e, struct managed_group *g, uint32_t node, enum policy_turn turn,
                                    bool pressing) {
        struct order **kept = &g->nodes[node].order;
        struct shortlist once = { 0 }, *s;
        bool bound = reuse_haste(e, node, g).held;
        uint64_t passed = 0;

        if (!*kept)
                *kept = alloc_zero(sizeof(**kept));
        s = *kept ? &(*kept)->shortlist : &once;
        recall(e, node, s, g, turn);
        if (!bound)
                look_around(e, g, node, s, turn);
        while (passed < g->granules) {
                passed += look_in_group(e, g, node, s, turn, bound ? 1 : LOOKS - DARTS * DART_LOOKS,
                                        g->granules - passed);
                if (evict_first(e, node, s, g, turn, pressing))
                        return true;
        }
        return false;
}

static bool evict_of_group_in_turn(struct managed *e, struct managed_group *g, uint32_t node, enum policy_turn turn,
                                   bool pressing) {
        if (evict_farthest_of_group(e, g, node, turn, pressing))
                return true;
        for (unsigned round = ROUND_ANY; round < rounds(pressing); round++)
                for (uint64_t passed = 0; passed < g->granules;) {
                        struct owner o = group_next(e, g, node, &passed);

                        if (evictable(e, node, &o, round) && gives(e, node, &o, g, turn) &&
                            evict(e, node, &o, round, pressing))
                                return true;
                }
        return false;
}

static bool evict_of_group(struct managed *e, struct managed_group *g, uint32_t node, bool pressing) {
        for (enum policy_turn turn = e->nodes[node].protected ? 0 : TURN_ALL; turn < TURN_ALL; turn++)
                if (evict_of_group_in_turn(e, g, node, turn, pressing))
                        return true;
        return evict_of_group_in_turn(e, g, node, TURN_ALL, pressing);
}

void evict_count(struct managed *e, const struct managed_range *r, uint32_t node, bool on) {
        uint64_t bytes = on ? r->bytes : -(uint64_t)r->bytes;
        struct managed_group *g;

        e->nodes[node].evicting += bytes;
        for (unsigned i = 0; (g = range_group(r, i)); i++)
                g->nodes[node].evicting += bytes;
}

/* Bytes that have to leave. */
static uint64_t excess(const struct managed *e, uint32_t node, bool *ret_pressing) {
        const struct node *n = &e->nodes[node];
        const struct managed_range *first = line_for_node(e, node, ROOM_GRANT);
        uint64_t need = room_under(node_taken(n) - n->arriving, node_granted(n));

        *ret_pressing = first || n->draining || node_taken(n) > n->capacity;
        if (!e->shape[node].online)
                return n->used;
        if (first && node_room(e, node, first, ROOM_GRANT) < first->bytes && need < first->bytes)
                need = first->bytes;
        return need;
}

/* Nothing can leave. Who waits for a host with CPUs may find room on one without. */
static void is_barren(struct managed *e, uint32_t node, uint64_t *barren) {
        *barren = e->starved ? 0 : e->changes + 1;
        if (!*barren || e->hosts == 1 || !e->nodes[node].host || e->shape[node].far)
                return;
        list_for_each_safe (it, &e->nodes[node].lines)
                line_dissolve(e, container_of(it, struct line, link));
}

/* Nothing has changed since; who waits may have more than who does not. */
static bool found_none(const struct managed *e, uint64_t barren, bool was_pressing, bool pressing) {
        return barren == e->changes + 1 && (was_pressing || !pressing);
}

static void run_node(struct managed *e, uint32_t node) {
        struct node *n = &e->nodes[node];
        bool pressing;
        uint64_t need = excess(e, node, &pressing);

        if (need <= n->evicting || found_none(e, n->barren, n->barren_pressing, pressing) ||
            is_hopeless(e, NULL, node, pressing))
                return;
        while (n->evicting < need)
                if (!evict_one(e, node, pressing)) {
                        n->barren_pressing = pressing;
                        is_barren(e, node, &n->barren);
                        break;
                }
}

/* False: the node need not be looked at until the group presses again. */
static bool run_group(struct managed *e, struct managed_group *g, uint32_t node) {
        struct group_node *n = &g->nodes[node];
        bool pressing;
        uint64_t need = group_excess(e, g, node, &pressing);

        if (need <= n->evicting || found_none(e, n->barren, n->barren_pressing, pressing) ||
            is_hopeless(e, g, node, pressing))
                return need || n->arriving || n->waiting;
        while (n->evicting < need)
                if (!evict_of_group(e, g, node, pressing)) {
                        n->barren_pressing = pressing;
                        is_barren(e, node, &n->barren);
                        break;
                }
        return true;
}

static void run_groups(struct managed *e) {
        list_for_each_safe (it, &e->press) {
                struct managed_group *g = container_of(it, struct managed_group, press);

                for (uint64_t left = g->pressed; left; left &= left - 1)
                        if (!run_group(e, g, (uint32_t)__builtin_ctzll(left)))
                                g->pressed &= ~(left & -left);
                if (!g->pressed)
                        list_remove(&g->press);
        }
}

static void drained(struct managed *e, struct node *n) {
        uint64_t token = n->drain_token;

        n->draining = false;
        n->drain_token = 0;
        if (token)
                e->c.done(e->c.userdata, token, 0);
}

void evict_run(struct managed *e) {
        e->starved = false;
        for (uint32_t i = 0; i < e->nodes_count; i++) {
                struct node *n = &e->nodes[i];

                if (n->draining && !n->used)
                        drained(e, n);
                line_admit(e, i);
        }
        run_groups(e);
        for (uint32_t i = 0; i < e->nodes_count; i++)
                run_node(e, i);
}

static bool victim_of(const struct managed *e, uint32_t node, const struct owner *o, uint16_t cgroup) {
        return evictable(e, node, o, ROUND_ANY) &&
               (cgroup == CGROUP_ANY || granule_of(o->range, o->granule)->cgroup == cgroup);
}

static bool evict_from(struct managed *e, uint32_t node, const struct pool *p, struct work *resumes, uint16_t cgroup) {
        struct demand d = {
                .event = MANAGED_TO_NODE,
                .cause = MANAGED_BY_EVICTION,
                .forced = true,
                .resumes = resumes,
                .why = MANAGED_WHY_CGROUP,
                .whom = resumes->range->tag,
        };

        for (uint32_t k = 0; k < p->high; k++) {
                const struct owner *o = &p->owners[(e->nodes[node].hand + k) % p->high];

                if (!victim_of(e, node, o, cgroup))
                        continue;
                d.node = evict_to(e, o->range, o->granule, node, MANAGED_NOWHERE, true);
                if (d.node == MANAGED_NOWHERE || demand_add(e, o->range, o->granule, &d, true))
                        return false;
                resumes->waits = true;
                return true;
        }
        return false;
}

/* Of anybody's, only what lies in pages of the same size helps. */
bool evict_for(struct managed *e, struct work *resumes, uint16_t cgroup) {
        if (e->settling)
                return false;
        for (uint32_t i = 0; i < e->nodes_count; i++)
                for (unsigned c = 0; e->nodes[i].host && c < CLASSES; c++)
                        if ((cgroup != CGROUP_ANY || c == resumes->range->class) &&
                            evict_from(e, i, &e->nodes[i].pool[CLASSES + c], resumes, cgroup))
                                return true;
        return false;
}
