#include "hammer_hand.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

uint64_t hand_random(struct hand *h, uint64_t bound) {
        h->rng ^= h->rng << 13;
        h->rng ^= h->rng >> 7;
        h->rng ^= h->rng << 17;
        return (h->rng >> 11) % bound;
}

void hand_begin(struct hand *h, struct hammer_board *b, uint32_t id, uint64_t seed) {
        h->b = b;
        h->id = id;
        h->rng = seed * 0x9e3779b97f4a7c15ull | 1;
        hand_random(h, 2);
        hand_random(h, 2);
        h->seat = board_sit(b);
}

void hand_end(struct hand *h) {
        board_stand(h->seat);
        free(h->own);
        h->own = NULL;
        h->count = 0;
}

/* ---- its pages ---- */

static const struct hammer_plan *plan_of(const struct hand *h) {
        return &h->b->plan;
}

static uint64_t *words_of(const struct hand *h, const struct hand_page *p) {
        return page_at(plan_of(h), p->number);
}

static struct hammer_page *public_of(const struct hand *h, const struct hand_page *p) {
        return &h->b->page[p->number];
}

bool hand_may_die(const struct hand *h) {
        return plan_of(h)->victim && h->id == plan_victim_id(plan_of(h));
}

static void take_page(struct hand *h, uint32_t number) {
        struct hand_page *p = &h->own[h->count++];
        const struct hammer_page *pub = &h->b->page[number];

        *p = (struct hand_page){ .number = number, .sequence = board_get(&pub->floor) };
        p->content.number = number;
        p->content.writer = h->id;
        p->content.sequence = p->sequence;
        p->content.kind = p->sequence ? PAGE_STAMPED : PAGE_ZERO;
        if (__atomic_load_n(&pub->epoch, __ATOMIC_ACQUIRE) & 1)
                p->content.kind = PAGE_UNKNOWN;
        p->cut = hand_may_die(h);
}

void hand_take_pages(struct hand *h) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < plan_of(h)->pages; i++)
                n += page_owner(plan_of(h), i) == h->id;
        h->own = calloc(n ? n : 1, sizeof(*h->own));
        must(h->own);
        for (uint32_t i = 0; i < plan_of(h)->pages; i++)
                if (page_owner(plan_of(h), i) == h->id)
                        take_page(h, i);
}

/* ---- checking and writing ---- */

static void report(struct hand *h, const struct hand_page *p, enum page_finding f) {
        char text[320];

        page_describe(words_of(h, p), &p->content, text, sizeof(text));
        board_report(h->b, f, "page %u (granule %u), by its writer %u: %s: %s", p->number,
                     p->number / (plan_of(h)->granule / PAGE_BYTES), h->id, page_finding_name(f), text);
}

/* What was begun there is passed by: nobody must take it for a sequence that never was. */
static void settle_cut(struct hand *h, struct hand_page *p) {
        enum page_finding f = PAGE_GOOD;

        if (p->content.kind != PAGE_UNKNOWN)
                f = page_check_cut(words_of(h, p), &p->content);
        if (f != PAGE_GOOD)
                report(h, p, f);
        hand_hide(h, p);
        p->cut = false;
        p->sequence++;
        p->content.kind = PAGE_UNKNOWN;
}

void hand_check(struct hand *h, struct hand_page *p) {
        enum page_finding f;

        h->seat->page = p->number;
        if (p->cut) {
                settle_cut(h, p);
                return;
        }
        f = page_check(words_of(h, p), &p->content);
        if (f == PAGE_GOOD)
                return;
        report(h, p, f);
        hand_hide(h, p);
        p->content.kind = PAGE_UNKNOWN;
}

void hand_hide(struct hand *h, struct hand_page *p) {
        uint32_t *epoch = &public_of(h, p)->epoch;

        if (!(__atomic_load_n(epoch, __ATOMIC_RELAXED) & 1))
                __atomic_fetch_add(epoch, 1, __ATOMIC_SEQ_CST);
}

static void publish(struct hand *h, struct hand_page *p) {
        struct hammer_page *pub = public_of(h, p);

        board_set(&pub->floor, p->sequence);
        if (__atomic_load_n(&pub->epoch, __ATOMIC_RELAXED) & 1)
                __atomic_fetch_add(&pub->epoch, 1, __ATOMIC_SEQ_CST);
}

void hand_write(struct hand *h, struct hand_page *p) {
        hand_check(h, p);
        p->sequence++;
        page_write(words_of(h, p), p->number, h->id, p->sequence);
        p->content = (struct page_content){
                .kind = PAGE_STAMPED, .number = p->number, .writer = h->id, .sequence = p->sequence
        };
        publish(h, p);
        board_count(&h->b->writes, 1);
}

void hand_sweep(struct hand *h) {
        h->seat->doing = "sweeps";
        for (uint32_t i = 0; i < h->count; i++)
                hand_check(h, &h->own[i]);
}

void hand_add(struct hand *h) {
        uint32_t counter = (uint32_t)hand_random(h, plan_counters(plan_of(h)));
        uint64_t n = 1 + hand_random(h, 1000);

        __atomic_fetch_add(plan_counter(plan_of(h), counter), n, __ATOMIC_SEQ_CST);
        board_count(&h->b->added[counter], n);
}

/* ---- others' pages ---- */

/* Whether what was seen fits what the writer had said before and said afterwards. */
static bool in_time(const struct page_content *c, uint64_t before, uint64_t after, uint64_t last) {
        return c->sequence >= before && c->sequence <= after + 1 && c->sequence >= last;
}

void hand_look(struct hand *h, uint32_t page, uint64_t *last) {
        const struct hammer_page *pub = &h->b->page[page];
        uint32_t epoch = __atomic_load_n(&pub->epoch, __ATOMIC_SEQ_CST);
        uint64_t before = board_get(&pub->floor), after;
        struct page_content c;
        enum page_finding f;

        h->seat->page = page;
        f = page_read(page_at(plan_of(h), page), page, &c);
        after = board_get(&pub->floor);
        if ((epoch & 1) || f == PAGE_MOVING || __atomic_load_n(&pub->epoch, __ATOMIC_SEQ_CST) != epoch) {
                board_count(&h->b->passed_over, 1);
                return;
        }
        if (f != PAGE_GOOD)
                board_report(h->b, f, "page %u, seen by %u: %s", page, h->id, page_finding_name(f));
        else if (!in_time(&c, before, after, *last))
                board_report(h->b, HAMMER_STALE,
                             "page %u, seen by %u: sequence %" PRIu64 ", where its writer had written %" PRIu64
                             " before and %" PRIu64 " after, and %" PRIu64 " was seen before",
                             page, h->id, c.sequence, before, after, *last);
        else
                *last = c.sequence;
        board_count(&h->b->reads, 1);
}
