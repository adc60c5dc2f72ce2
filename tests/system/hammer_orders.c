#include "hammer_orders.h"

#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

enum { OUT = 8, PINS = 3 };

struct span {
        void *address;
        size_t size;
};

struct order {
        svmd_fence *fence;
        const char *what;
        struct span span;
        bool pin;
};

struct orders {
        struct hand *h;
        struct order out[OUT];
        struct span pinned[PINS];
        unsigned pins;
};

static const struct hammer_plan *plan_of(const struct hand *h) {
        return &h->b->plan;
}

/* Mostly a few granules, now and then the half of the range. */
static struct span some_span(struct hand *h) {
        const struct hammer_plan *p = plan_of(h);
        uint32_t all = plan_granules(p), most = hand_random(h, 50) ? (all < 32 ? all / 4 : 8) : (all + 1) / 2;
        uint32_t n = 1 + (uint32_t)hand_random(h, most), first = (uint32_t)hand_random(h, all - n + 1);

        h->seat->page = first * (p->granule / PAGE_BYTES);
        return (struct span){ page_at(p, h->seat->page), (size_t)n * p->granule };
}

/* A host or one of the devices. */
static svmd_node some_node(struct hand *h) {
        uint64_t n = hand_random(h, h->devices + 1);

        return n == h->devices ? h->host[hand_random(h, h->hosts)] : h->node[n];
}

/* ---- fences ---- */

static void finish(struct orders *o, struct order *order) {
        struct hand *h = o->h;
        int r;

        if (!order->fence)
                return;
        h->seat->doing = order->what;
        h->seat->page = (uint32_t)(((uint64_t *)order->span.address - plan_of(h)->base) / PAGE_WORDS);
        r = svmd_fence_wait(order->fence, -1, NULL);
        svmd_fence_free(order->fence);
        order->fence = NULL;
        hand_accepts(h, order->what, r);
        board_count(r ? &h->b->orders_refused : &h->b->orders, 1);
        if (order->pin && !r)
                o->pinned[o->pins++] = order->span;
}

static void finish_all(struct orders *o) {
        for (unsigned i = 0; i < OUT; i++)
                finish(o, &o->out[i]);
}

/* The place for the next order; what is there has to end first. */
static struct order *next_place(struct orders *o) {
        uint32_t places = plan_granules(plan_of(o->h)) / 16;
        struct order *order = &o->out[hand_random(o->h, places < 1 ? 1 : places < OUT ? places : OUT)];

        finish(o, order);
        *order = (struct order){ .span = some_span(o->h) };
        return order;
}

static void began(struct orders *o, struct order *order, const char *what, int r) {
        order->what = what;
        if (!r)
                return;
        order->fence = NULL;
        hand_accepts(o->h, what, r);
        board_count(&o->h->b->orders_refused, 1);
}

/* ---- orders ---- */

static void order_move(struct orders *o) {
        struct order *order = next_place(o);
        svmd_session *s = o->h->session;
        struct span at = order->span;

        switch (hand_random(o->h, 5)) {
        case 0:
                began(o, order, "a prefetch", svmd_prefetch(s, &order->fence, at.address, at.size, some_node(o->h)));
                break;
        case 1: began(o, order, "an eviction", svmd_evict(s, &order->fence, at.address, at.size)); break;
        default:
                began(o, order, "a migration", svmd_migrate(s, &order->fence, at.address, at.size, some_node(o->h)));
                break;
        }
}

static void order_advice(struct orders *o) {
        static const unsigned granularities[] = { 0, 4096, 65536, 2u << 20 };
        struct hand *h = o->h;
        struct span at = some_span(h);
        struct svmd_advice a = { .size = sizeof(a), .what = 1u << hand_random(h, 5) };

        if (hand_random(h, 2))
                a.what = SVMD_ADVISE_READ_MOSTLY;
        a.preferred = hand_random(h, 2) ? SVMD_NODE_NONE : some_node(h);
        a.accessed_by = hand_random(h, 2) ? 0 : 1ull << some_node(h);
        a.read_mostly = hand_random(h, 3) != 0;
        a.pinned = hand_random(h, 8) == 0;
        a.granularity = granularities[hand_random(h, 4)];
        h->seat->doing = "advises";
        hand_accepts(h, "advice", svmd_advise(h->session, at.address, at.size, &a));
        board_count(&h->b->advices, 1);
}

static void unpin(struct orders *o) {
        struct span at = o->pinned[--o->pins];

        o->h->seat->doing = "unpins";
        hand_accepts(o->h, "an unpin", svmd_unpin(o->h->session, at.address, at.size));
}

/* What is pinned cannot be revoked: of two stretches of writes one has pins, the other has not. */
static bool pins_are_in_season(const struct hand *h) {
        return !(plan_of(h)->what & HAMMER_REVOKE) || board_get(&h->b->writes) >> 12 & 1;
}

static void order_pin(struct orders *o) {
        struct order *order;

        if (!pins_are_in_season(o->h)) {
                finish_all(o);
                while (o->pins)
                        unpin(o);
                return;
        }
        if (o->pins == PINS || (o->pins && hand_random(o->h, 2))) {
                unpin(o);
                return;
        }
        /* Pins that are out have their place among the pinned as well. */
        finish_all(o);
        order = next_place(o);
        order->pin = true;
        if (order->span.size > 4ull * plan_of(o->h)->granule)
                order->span.size = plan_of(o->h)->granule;
        began(o, order, "a pin", svmd_pin(o->h->session, &order->fence, order->span.address, order->span.size));
        board_count(&o->h->b->pins, 1);
        if (o->pins == PINS)
                unpin(o);
}

static void zap(struct hand *h) {
        struct span at = some_span(h);

        h->seat->doing = "zaps";
        must(madvise(at.address, at.size, MADV_DONTNEED) == 0);
        board_count(&h->b->zaps, 1);
}

static void order_one(struct orders *o) {
        unsigned what = plan_of(o->h)->what;
        uint64_t kind = hand_random(o->h, 16);

        if (kind == 0 && (what & HAMMER_PINS))
                order_pin(o);
        else if (kind <= 3 && (what & HAMMER_ADVICE))
                order_advice(o);
        else if (kind == 4 && (what & HAMMER_ZAP))
                zap(o->h);
        else if (what & HAMMER_ORDERS)
                order_move(o);
        else
                usleep(1000);
}

static void leave_nothing(struct orders *o) {
        finish_all(o);
        while (o->pins)
                unpin(o);
}

void orders_run(struct hand *h) {
        struct orders o = { .h = h };

        while (board_gate(h->b, h->seat)) {
                order_one(&o);
                if (board_get(&h->b->pause))
                        leave_nothing(&o);
        }
        leave_nothing(&o);
}

/* A thread that did not give it back would let everybody wait. */
static void unrevoke(struct hand *h) {
        int r;

        h->seat->doing = "unrevokes";
        do
                r = svmd_unrevoke(h->session, NULL, plan_of(h)->base);
        while (r == SVMD_E_INTERRUPTED && plan_of(h)->restarts);
        hand_accepts(h, "an unrevoke", r);
}

void revokes_run(struct hand *h) {
        while (board_gate(h->b, h->seat)) {
                int r;

                usleep(20000 + (unsigned)hand_random(h, 30000));
                h->seat->doing = "revokes";
                r = svmd_revoke(h->session, NULL, plan_of(h)->base);
                board_count(r ? &h->b->orders_refused : &h->b->revokes, 1);
                if (!hand_accepts(h, "a revoke", r))
                        continue;
                usleep((unsigned)hand_random(h, 2000));
                unrevoke(h);
        }
}

void admin_orders_run(struct hand *h) {
        const struct hammer_plan *p = plan_of(h);

        while (board_gate(h->b, h->seat)) {
                struct span at = some_span(h);
                uint64_t address = (uint64_t)at.address;
                int r;

                h->seat->doing = "orders as an administrator";
                if (hand_random(h, 3))
                        r = svmd_partition_migrate(h->session, NULL, p->partition, address, at.size, some_node(h));
                else
                        r = svmd_partition_evict(h->session, NULL, p->partition, address, at.size);
                hand_accepts(h, "an administrator's order", r);
                board_count(r ? &h->b->orders_refused : &h->b->orders, 1);
        }
}
