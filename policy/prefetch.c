#include "policy/policy.h"

/*
 * The caller hands over a block (2 MiB) of granules. Seen as a tree whose leaves are runs of `LEAF` granules (64 KiB of
 * 4 KiB granules; of larger ones a leaf is a granule), the fault brings its leaf, and from there every ancestor of
 * which more than half would then be resident brings the whole of its share. So a program that walks through memory
 * gets twice as much with each fault, and one that touches here and there gets leaves.
 */
enum { LEAF = 16, SMALL = 512 };

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
        uint32_t size = count > SMALL / LEAF ? LEAF : 1, first = at - at % size;
        uint32_t end = first + size < count ? first + size : count;

        for (size *= 2; size / 2 < count; size *= 2) {
                uint32_t low = at - at % size, high = low + size < count ? low + size : count;
                uint32_t here = resident_in(resident, low, first) + (end - first) + resident_in(resident, end, high);

                if (here * 2 <= high - low)
                        break;
                first = low;
                end = high;
        }
        *ret_first = first;
        *ret_count = end - first;
}
