/*
 * Device operations and discards of a writer's own pages: the device must see what the CPU wrote last, and the CPU what
 * the device wrote. A refused operation that writes may have written some of it; a refused addition added nothing.
 */
#include <inttypes.h>
#include <string.h>

#include "hammer_hand.h"
#include "harness.h"

static const struct hammer_plan *plan_of(const struct hand *h) {
        return &h->b->plan;
}

static uint32_t pages_per_granule(const struct hand *h) {
        return plan_of(h)->granule / PAGE_BYTES;
}

static uint64_t address_of(const struct hand *h, uint32_t page) {
        return (uint64_t)page_at(plan_of(h), page);
}

static bool refused(struct hand *h, const char *what, int code) {
        board_report(h->b, HAMMER_REFUSED, "%s gave %s: %s", what, svmd_status_name(code), svmd_error());
        return false;
}

/* It was revoked, or svmd was killed, or others had the huge pages. */
static bool is_excused(struct hand *h, int code) {
        return (code == SVMD_E_NO_MEMORY && plan_of(h)->huge) ||
               (code == SVMD_E_ACCESS && (plan_of(h)->what & HAMMER_REVOKE)) ||
               (code == SVMD_E_INTERRUPTED && plan_of(h)->restarts);
}

bool hand_accepts(struct hand *h, const char *what, int code) {
        return code == SVMD_OK || code == SVMD_E_BUSY || code == SVMD_E_NO_ROOM || is_excused(h, code) ||
               refused(h, what, code);
}

/* A device without faults refuses what is not there just now. */
static bool device_accepts(struct hand *h, unsigned device, int code) {
        return code == SVMD_OK || is_excused(h, code) || (code == SVMD_E_NOT_MAPPED && !h->faults[device]) ||
               refused(h, "a device operation", code);
}

/* What a program does that knows the device: the granules are sent there first. */
static void prefetch(struct hand *h, unsigned device, uint64_t address) {
        uint64_t granule = address & ~(uint64_t)(plan_of(h)->granule - 1);

        if (h->faults[device] || !address)
                return;
        h->seat->doing = "prefetches for a device";
        hand_accepts(h, "a prefetch",
                     svmd_prefetch(h->session, NULL, (void *)granule, plan_of(h)->granule, h->node[device]));
}

/* True: done, with its value in *ret. */
static bool operate(struct hand *h, struct svmd_device_op *op, uint64_t *ret) {
        struct svmd_fence_result result = { 0 };
        svmd_fence *f = NULL;
        unsigned device = (unsigned)hand_random(h, h->devices);
        int r;

        op->size = sizeof(*op);
        op->space = h->space[device];
        prefetch(h, device, op->src);
        prefetch(h, device, op->dst);
        h->seat->doing = "waits for a device";
        r = svmd_submit(h->session, &f, op);
        if (!r)
                r = svmd_fence_wait(f, -1, &result);
        svmd_fence_free(f);
        board_count(r ? &h->b->device_refused : &h->b->device_ops, 1);
        device_accepts(h, device, r);
        *ret = result.value;
        return !r;
}

static struct hand_page *some_page(struct hand *h) {
        struct hand_page *p = &h->own[hand_random(h, h->count)];

        hand_check(h, p); /* which also takes in what a killed writer left */
        h->seat->page = p->number;
        return p;
}

static struct hand_page *written_page(struct hand *h) {
        struct hand_page *p = &h->own[hand_random(h, h->count)];

        hand_write(h, p);
        return p;
}

static void sum_page(struct hand *h) {
        struct hand_page *p = hand_random(h, 2) ? some_page(h) : written_page(h);
        struct svmd_device_op op = { .op = SVMD_DEVICE_SUM, .src = address_of(h, p->number), .length = PAGE_BYTES };
        uint64_t sum;

        if (p->content.kind == PAGE_UNKNOWN || !operate(h, &op, &sum) || sum == page_sum(&p->content))
                return;
        board_report(h->b, HAMMER_WRONG_SUM,
                     "page %u (granule %u) of writer %u, sequence %" PRIu64 ", kind %u: a device found the sum %" PRIx64
                     ", not %" PRIx64,
                     p->number, p->number / pages_per_granule(h), h->id, p->sequence, p->content.kind, sum,
                     page_sum(&p->content));
}

static void fill_page(struct hand *h) {
        struct hand_page *p = some_page(h);
        uint8_t fill = (uint8_t)hand_random(h, 256);
        struct svmd_device_op op = {
                .op = SVMD_DEVICE_FILL, .dst = address_of(h, p->number), .length = PAGE_BYTES, .value = fill
        };
        uint64_t ignored;

        hand_hide(h, p);
        if (operate(h, &op, &ignored))
                p->content = (struct page_content){ .kind = PAGE_FILLED, .number = p->number, .fill = fill };
        else
                p->content.kind = PAGE_UNKNOWN;
}

static void copy_page(struct hand *h) {
        struct hand_page *from = some_page(h), *to = some_page(h);
        struct svmd_device_op op = { .op = SVMD_DEVICE_COPY,
                                     .src = address_of(h, from->number),
                                     .dst = address_of(h, to->number),
                                     .length = PAGE_BYTES };
        uint64_t ignored;

        if (from == to || from->content.kind == PAGE_UNKNOWN)
                return;
        hand_hide(h, to);
        if (operate(h, &op, &ignored))
                to->content = from->content;
        else
                to->content.kind = PAGE_UNKNOWN;
}

static bool same_content(const struct page_content *a, const struct page_content *b) {
        if (a->kind != b->kind)
                return page_sum(a) == page_sum(b); /* filled with zeroes */
        switch (a->kind) {
        case PAGE_STAMPED: return a->number == b->number && a->sequence == b->sequence;
        case PAGE_FILLED: return a->fill == b->fill;
        case PAGE_ZERO:
        case PAGE_UNKNOWN: break;
        }
        return true;
}

static void compare_pages(struct hand *h) {
        struct hand_page *p = some_page(h), *q = some_page(h);
        struct svmd_device_op op = { .op = SVMD_DEVICE_COMPARE,
                                     .src = address_of(h, p->number),
                                     .dst = address_of(h, q->number),
                                     .length = PAGE_BYTES };
        uint64_t at;

        if (p == q || p->content.kind == PAGE_UNKNOWN || q->content.kind == PAGE_UNKNOWN || !operate(h, &op, &at))
                return;
        if (same_content(&p->content, &q->content) != (at == PAGE_BYTES))
                board_report(h->b, HAMMER_WRONG_SUM,
                             "pages %u and %u of writer %u: a device found them different at %" PRIu64, p->number,
                             q->number, h->id, at);
}

static void add_to_counter(struct hand *h) {
        uint32_t counter = (uint32_t)hand_random(h, plan_counters(plan_of(h)));
        uint64_t n = 1 + hand_random(h, 1000), before;
        struct svmd_device_op op = { .op = SVMD_DEVICE_ATOMIC_ADD,
                                     .dst = (uint64_t)plan_counter(plan_of(h), counter),
                                     .value = n };

        /* One that was interrupted may have been made. */
        if (!hand_may_die(h) && !plan_of(h)->restarts && operate(h, &op, &before))
                board_count(&h->b->added[counter], n);
}

void hand_device(struct hand *h) {
        if (!h->count || !h->devices)
                return;
        switch (hand_random(h, 6)) {
        case 0:
        case 1: sum_page(h); break;
        case 2: fill_page(h); break;
        case 3: copy_page(h); break;
        case 4: compare_pages(h); break;
        default: add_to_counter(h); break;
        }
}

/* ---- discards ---- */

/* The first page, in its own, of a granule that is all its own. NULL: the one that was tried is not. */
static struct hand_page *some_granule(struct hand *h) {
        uint32_t each = pages_per_granule(h);
        struct hand_page *p = &h->own[hand_random(h, h->count)];

        if (!granule_is_whole(plan_of(h), p->number / each))
                return NULL;
        return p - p->number % each; /* its pages are in order */
}

static void granule_became(struct hand *h, struct hand_page *first, enum page_kind kind) {
        for (uint32_t i = 0; i < pages_per_granule(h); i++)
                first[i].content = (struct page_content){ .kind = kind, .number = first[i].number };
}

static bool take_granule(struct hand *h, struct hand_page **granules, size_t n) {
        granules[n] = some_granule(h);
        if (!granules[n])
                return false;
        for (size_t i = 0; i < n; i++)
                if (granules[i] == granules[n])
                        return false;
        for (uint32_t i = 0; i < pages_per_granule(h); i++) {
                hand_check(h, &granules[n][i]);
                hand_hide(h, &granules[n][i]);
        }
        return true;
}

bool hand_discard(struct hand *h) {
        struct hand_page *granules[4];
        struct svmd_range ranges[4];
        size_t n = 0, wanted = 1 + hand_random(h, 4);
        int r;

        while (h->count && wanted--)
                n += take_granule(h, granules, n);
        if (!n)
                return false;
        for (size_t i = 0; i < n; i++)
                ranges[i] = (struct svmd_range){ page_at(plan_of(h), granules[i]->number), plan_of(h)->granule };
        h->seat->doing = "discards";
        h->seat->page = granules[0]->number;
        if (n == 1)
                r = svmd_discard(h->session, NULL, ranges[0].address, ranges[0].length);
        else
                r = svmd_discard_ranges(h->session, NULL, ranges, n);
        hand_accepts(h, "a discard", r);
        board_count(r ? &h->b->orders_refused : &h->b->discards, n);
        /* Of several, some may have been refused; what was interrupted may be done. */
        if (!r || n > 1 || r == SVMD_E_INTERRUPTED)
                for (size_t i = 0; i < n; i++)
                        granule_became(h, granules[i], r ? PAGE_UNKNOWN : PAGE_ZERO);
        return true;
}
