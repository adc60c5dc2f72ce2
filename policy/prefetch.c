#include "policy/policy.h"

/*
 * Two ways to see what will be wanted next.
 *
 * The block (2 MiB) around the fault, seen as a binary tree over leaves (`leaf-kib`, or what advice says): the fault
 * brings its leaf, or the largest subtree around it of which more than `dense-percent` would then be resident. So a
 * program that uses most of a block soon has it, and one that touches here and there gets leaves.
 *
 * The stream: a fault that goes on where the last run ended, or skips no more than that one was long, is a walk. Each
 * one in a row doubles what is brought ahead, over the borders of blocks, up to `ahead-kib` (of leaves that are
 * blocks, the next one).
 *
 * Where advice says that granules move one by one, nothing comes along.
 */
static bool is_set(const uint64_t *bits, uint32_t i) {
        return bits[i / 64] >> i % 64 & 1;
}

static uint32_t resident_in(const uint64_t *bits, uint32_t first, uint32_t end) {
        uint32_t n = 0;

        for (uint32_t i = first; i < end; i++)
                n += is_set(bits, i);
        return n;
}

static uint32_t min(uint32_t a, uint32_t b) {
        return a < b ? a : b;
}

/* Granules of a leaf. */
static uint32_t leaf_of(const struct policy_profile *p, const struct policy_advice *advice, uint32_t bytes) {
        uint32_t leaf = min(advice->granularity ? advice->granularity : p->leaf_kib << 10, POLICY_BLOCK) / bytes;

        return leaf ? leaf : 1;
}

static uint32_t round_down(uint32_t x, uint32_t to) {
        return x - x % to;
}

/* `at` and the result are granules of a block that has `count`. */
static void grow(const struct policy_profile *p, uint32_t at, uint32_t count, uint32_t size, const uint64_t *resident,
                 uint32_t *ret_first, uint32_t *ret_end) {
        uint32_t leaf = round_down(at, size), leaf_end = min(leaf + size, count);

        *ret_first = leaf;
        *ret_end = leaf_end;
        for (size *= 2; size / 2 < count; size *= 2) {
                uint32_t low = round_down(at, size), high = min(low + size, count);
                uint32_t there =
                        resident_in(resident, low, leaf) + (leaf_end - leaf) + resident_in(resident, leaf_end, high);

                if (there * 100ull > (high - low) * (uint64_t)p->dense_percent) {
                        *ret_first = low;
                        *ret_end = high;
                }
        }
}

/* Granules from the fault's leaf on that the walk will want, of `most` that policy allows. */
static uint32_t ahead(const struct policy_stream *s, uint32_t leaf, uint32_t block, uint32_t most) {
        uint32_t n = leaf;

        if (most < leaf)
                return leaf;
        for (uint32_t i = 0; i < s->length && n < most; i++)
                n *= 2;
        return s->length && leaf >= block ? 2 * leaf : min(n, most);
}

static bool goes_on(const struct policy_stream *s, uint32_t at, uint32_t reach) {
        return s->next && at >= s->next && at - s->next < reach;
}

void policy_prefetch(const struct policy_profile *p, const struct policy_advice *advice, const struct policy_fault *f,
                     struct policy_stream *stream, uint32_t *ret_first, uint32_t *ret_count) {
        uint32_t block = POLICY_BLOCK / f->bytes, start = round_down(f->at, block), leaf = leaf_of(p, advice, f->bytes);
        uint32_t most = (uint32_t)(((uint64_t)p->ahead_kib << 10) / f->bytes), first, end, reach;

        if (advice->granularity && advice->granularity <= f->bytes) {
                *stream = (struct policy_stream){ .next = f->at + 1 };
                *ret_first = f->at;
                *ret_count = 1;
                return;
        }
        grow(p, f->at - start, min(block, f->count - start), leaf, f->resident, &first, &end);
        stream->length = goes_on(stream, f->at, ahead(stream, leaf, block, most)) ? stream->length + 1 : 0;
        reach = round_down(f->at, leaf) + ahead(stream, leaf, block, most);
        end = min(start + end > reach ? start + end : reach, f->count);
        stream->next = end;
        *ret_first = start + first;
        *ret_count = end - *ret_first;
}
