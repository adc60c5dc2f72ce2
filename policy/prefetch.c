#include "policy/policy.h"

/*
 * The caller hands over a block (2 MiB) of granules. Seen as a binary tree over leaves of `LEAF` granules (64 KiB of
 * 4 KiB granules; of larger granules a leaf is one), the fault brings its leaf, or the largest subtree around it of
 * which more than half would then be resident. So a program that walks through memory gets twice as much with each
 * fault, and one that touches here and there gets leaves.
 */
enum { LEAF = 16, LEAVES = 32 };

static bool is_set(const uint64_t *bits, uint32_t i) {
        return bits[i / 64] >> i % 64 & 1;
}

static uint32_t resident_in(const uint64_t *bits, uint32_t first, uint32_t end) {
        uint32_t n = 0;

        for (uint32_t i = first; i < end; i++)
                n += is_set(bits, i);
        return n;
}

void policy_prefetch(uint32_t at, uint32_t count, const uint64_t *resident, uint32_t *ret_first, uint32_t *ret_count) {
        uint32_t size = count > LEAVES ? LEAF : 1, leaf = at - at % size;
        uint32_t leaf_end = leaf + size < count ? leaf + size : count, first = leaf, end = leaf_end;

        for (size *= 2; size / 2 < count; size *= 2) {
                uint32_t low = at - at % size, high = low + size < count ? low + size : count;
                uint32_t there =
                        resident_in(resident, low, leaf) + (leaf_end - leaf) + resident_in(resident, leaf_end, high);

                if (there * 2 > high - low) {
                        first = low;
                        end = high;
                }
        }
        *ret_first = first;
        *ret_count = end - first;
}
