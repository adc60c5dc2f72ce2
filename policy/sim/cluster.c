#include "policy/sim/cluster.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "policy/policy.h"
#include "policy/reuse.h"
#include "policy/sim/sim.h"

/*
 * Decisions alone, without the engine, which has 64 nodes: pages that lie somewhere, nodes that are full, and for each
 * touch the questions that svmd asks. Of what a node holds, SAMPLE pages are looked at, and the one that is used
 * again last leaves. What a question costs is measured at one in MEASURED events; all else follows from the seed.
 *
 * Memory: a page has its node, its place in that node's list, and what is known of its use.
 */
enum { PAGE = 65536, SAMPLE = 16, MEASURED = 8, HIVE = 8, BITS = POLICY_BLOCK / PAGE };

const char *const cluster_patterns[_CLUSTER_PATTERNS] = { "random", "stream", "hot" };
const char *const cluster_decisions[_CLUSTER_DECISIONS] = { "place", "promote", "evict", "prefetch" };

struct page {
        struct policy_reuse reuse;
        uint32_t slot;
        uint16_t where; /* plus one; 0: nowhere */
};

struct held {
        uint32_t *pages;
        uint32_t count, room;
};

struct cluster {
        const struct cluster_args *args;
        struct cluster_result *result;
        struct policy_machine machine;
        struct policy_node *nodes;
        uint32_t *bandwidth;
        uint64_t *room;
        struct held *held;
        struct page *pages;
        struct policy_stream *streams; /* of each node */
        struct policy_haste haste;
        uint64_t uses, now, random;
        uint64_t begun, spent[_CLUSTER_DECISIONS], measured[_CLUSTER_DECISIONS];
        bool measures;
};

static uint64_t random_next(struct cluster *c) {
        uint64_t z = c->random += 0x9e3779b97f4a7c15ull;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ z >> 27) * 0x94d049bb133111ebull;
        return z ^ z >> 31;
}

static void question(struct cluster *c, enum cluster_decision d) {
        c->result->calls[d]++;
        if (c->measures)
                c->begun = clock_ns(CLOCK_MONOTONIC);
}

static void answered(struct cluster *c, enum cluster_decision d) {
        if (!c->measures)
                return;
        c->spent[d] += clock_ns(CLOCK_MONOTONIC) - c->begun;
        c->measured[d]++;
}

/* ---- where pages lie ---- */

static void put(struct cluster *c, uint32_t page, uint32_t node) {
        struct held *h = &c->held[node];
        size_t room = h->room;

        if (h->count == h->room) {
                h->pages = sim_grow(h->pages, &room, sizeof(*h->pages));
                h->room = (uint32_t)room;
        }
        c->pages[page].slot = h->count;
        c->pages[page].where = (uint16_t)(node + 1);
        h->pages[h->count++] = page;
        c->room[node] -= PAGE;
        c->nodes[node].used += PAGE;
}

static void take(struct cluster *c, uint32_t page) {
        uint32_t node = c->pages[page].where - 1u, last;
        struct held *h = &c->held[node];

        last = h->pages[--h->count];
        h->pages[c->pages[page].slot] = last;
        c->pages[last].slot = c->pages[page].slot;
        c->room[node] += PAGE;
        c->nodes[node].used -= PAGE;
}

/* Of some, the one that is used again last. */
static uint32_t victim(struct cluster *c, uint32_t node) {
        static const struct policy_advice none;
        const struct held *h = &c->held[node];
        uint64_t most = 0;
        uint32_t best = h->pages[0];

        for (unsigned i = 0; i < SAMPLE; i++) {
                uint32_t page = h->pages[random_next(c) % h->count];
                uint64_t away = policy_away(&c->pages[page].reuse, &c->haste, c->uses);
                uint64_t spare = policy_spare(&none, node, false, away);

                if (spare >= most) {
                        most = spare;
                        best = page;
                }
        }
        return best;
}

static void make_room(struct cluster *c, uint32_t node) {
        static const struct policy_advice none;
        struct policy_granule g = { .where = node, .bytes = PAGE };
        uint32_t page, to = node;
        bool leaves;

        if (c->room[node] >= PAGE || !c->held[node].count)
                return;
        question(c, CLUSTER_EVICT);
        page = victim(c, node);
        leaves = policy_evict(&c->machine, c->args->profile, &none, &g, c->now, c->room, &to);
        answered(c, CLUSTER_EVICT);
        if (!leaves)
                return;
        policy_left(&c->haste);
        take(c, page);
        put(c, page, to);
        c->result->evictions++;
}

/* ---- touches ---- */

static void look_ahead(struct cluster *c, uint32_t page, uint32_t node) {
        static const struct policy_advice none;
        static const uint64_t nothing[BITS];
        uint32_t first, count;
        struct policy_fault f = { .at = page, .count = (uint32_t)c->args->pages, .bytes = PAGE, .resident = nothing };

        question(c, CLUSTER_PREFETCH);
        policy_prefetch(c->args->profile, &none, &f, &c->streams[node], &first, &count);
        answered(c, CLUSTER_PREFETCH);
}

static void first_touch(struct cluster *c, uint32_t page, uint32_t node) {
        static const struct policy_advice none;
        uint32_t to;

        question(c, CLUSTER_PLACE);
        to = policy_place(&c->machine, c->args->profile, &none, node, PAGE, c->room);
        answered(c, CLUSTER_PLACE);
        if (to == POLICY_NOWHERE)
                return;
        c->result->first++;
        put(c, page, to);
}

static void miss(struct cluster *c, uint32_t page, uint32_t node) {
        static const struct policy_advice none;
        struct policy_granule g = { .where = c->pages[page].where - 1u, .bytes = PAGE };
        enum policy_answer answer;

        policy_missed(&c->haste, &c->pages[page].reuse, c->uses, c->held[node].count);
        question(c, CLUSTER_PROMOTE);
        answer = policy_promote(&c->machine, c->args->profile, &none, &g, node, POLICY_WRITE, c->now);
        answered(c, CLUSTER_PROMOTE);
        if (answer != POLICY_MIGRATE)
                return;
        make_room(c, node);
        if (c->room[node] < PAGE)
                return;
        take(c, page);
        put(c, page, node);
        c->result->moves++;
        look_ahead(c, page, node);
}

static uint32_t next_page(struct cluster *c, uint64_t event) {
        uint64_t pages = c->args->pages, x = random_next(c);

        switch (c->args->pattern) {
        case CLUSTER_STREAM: return (uint32_t)(event % pages);
        case CLUSTER_HOT: return (uint32_t)(x % (x >> 60 < 14 ? pages / 8 + 1 : pages));
        default: return (uint32_t)(x % pages);
        }
}

static void touch(struct cluster *c, uint64_t event) {
        uint32_t page = next_page(c, event), node = (uint32_t)(random_next(c) % c->args->nodes);
        struct page *p = &c->pages[page];

        c->now += 1000;
        c->measures = event % MEASURED == 0;
        c->result->touches++;
        if (!p->where)
                first_touch(c, page, node);
        else if (p->where - 1u != node)
                miss(c, page, node);
        policy_used(&p->reuse, &c->uses);
}

/* ---- the machine ---- */

static void node_make(struct cluster *c, uint32_t i, uint64_t each) {
        uint32_t count = c->args->nodes, *to = &c->bandwidth[(size_t)i * count];
        bool host = i % HIVE == 0;

        for (uint32_t k = 0; k < count; k++)
                to[k] = host || k % HIVE == 0 ? 16000 : i / HIVE == k / HIVE ? 50000 : 0;
        c->nodes[i] = (struct policy_node){ .host = host,
                                            .faults = true,
                                            .online = true,
                                            .capacity = each,
                                            .hive = host ? 0 : i / HIVE + 1,
                                            .bandwidth = to };
        c->room[i] = each;
}

static void cluster_make(struct cluster *c) {
        const struct cluster_args *a = c->args;
        uint64_t each = a->pages / a->nodes + 1;

        c->nodes = sim_alloc(a->nodes, sizeof(*c->nodes));
        c->bandwidth = sim_alloc((size_t)a->nodes * a->nodes, sizeof(*c->bandwidth));
        c->room = sim_alloc(a->nodes, sizeof(*c->room));
        c->held = sim_alloc(a->nodes, sizeof(*c->held));
        c->streams = sim_alloc(a->nodes, sizeof(*c->streams));
        c->pages = sim_alloc(a->pages, sizeof(*c->pages));
        for (uint32_t i = 0; i < a->nodes; i++)
                node_make(c, i, each * PAGE);
        c->machine = (struct policy_machine){ c->nodes, a->nodes };
}

static uint64_t cluster_bytes(const struct cluster *c) {
        uint64_t n = c->args->nodes, bytes = c->args->pages * sizeof(*c->pages);

        bytes += n * (sizeof(*c->nodes) + n * sizeof(*c->bandwidth) + sizeof(*c->room) + sizeof(*c->held) +
                      sizeof(*c->streams));
        for (uint32_t i = 0; i < n; i++)
                bytes += c->held[i].room * sizeof(*c->held[i].pages);
        return bytes;
}

static void cluster_end(struct cluster *c) {
        for (uint32_t i = 0; i < c->args->nodes; i++)
                free(c->held[i].pages);
        free(c->nodes);
        free(c->bandwidth);
        free(c->room);
        free(c->held);
        free(c->streams);
        free(c->pages);
}

/* About one page a node begins again. */
static void forget_some(struct cluster *c) {
        for (uint64_t i = 0; i < c->args->nodes; i++) {
                uint32_t page = (uint32_t)(random_next(c) % c->args->pages);

                if (c->pages[page].where)
                        take(c, page);
                c->pages[page].where = 0;
        }
}

void cluster_run(struct cluster_result *ret, const struct cluster_args *a) {
        struct cluster c = { .args = a, .result = ret, .random = a->seed };
        uint64_t begin;

        *ret = (struct cluster_result){ 0 };
        if (a->pages == 0 || a->nodes == 0)
                return;
        cluster_make(&c);
        for (uint64_t i = 0; i < a->pages; i++)
                put(&c, (uint32_t)i, (uint32_t)(i % a->nodes));
        forget_some(&c);
        begin = clock_ns(CLOCK_MONOTONIC);
        for (uint64_t i = 0; i < a->events; i++)
                touch(&c, i);
        ret->event_ns = a->events ? (double)(clock_ns(CLOCK_MONOTONIC) - begin) / (double)a->events : 0;
        for (unsigned d = 0; d < _CLUSTER_DECISIONS; d++)
                ret->ns[d] = c.measured[d] ? (double)c.spent[d] / (double)c.measured[d] : 0;
        for (uint64_t i = 0; i < a->pages; i++)
                ret->checksum = (ret->checksum ^ c.pages[i].where) * 0x100000001b3ull;
        ret->bytes = cluster_bytes(&c);
        cluster_end(&c);
}
