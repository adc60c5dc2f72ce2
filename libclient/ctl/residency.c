#include "residency.h"

#include <stdlib.h>
#include <string.h>

#include "ctl.h"

static struct residency_sum *sum_of(struct residency_sum *sums, size_t *count, svmd_node node) {
        for (size_t i = 0; i < *count; i++) {
                if (sums[i].node == node)
                        return &sums[i];
        }
        sums[*count] = (struct residency_sum){ .node = node };
        return &sums[(*count)++];
}

static int compare(const void *left, const void *right) {
        const struct residency_sum *a = left, *b = right;

        return a->node < b->node ? -1 : a->node > b->node;
}

/* How many nodes there can be at most: of each row one, and those with copies. */
static size_t nodes_bound(const struct residency_rows *rows) {
        svmd_node highest = 0;

        for (size_t i = 0; i < rows->count; i++) {
                if (rows->rows[i].node != SVMD_NODE_NONE && rows->rows[i].node > highest)
                        highest = rows->rows[i].node;
        }
        return (rows->count < highest + 1ull ? rows->count : highest + 1ull) + 65;
}

struct residency_sums residency_sums(struct ctl *c, const struct residency_rows *rows) {
        struct residency_sum *sums = ctl_alloc(c, nodes_bound(rows) * sizeof(*sums));
        size_t count = 0;

        for (size_t i = 0; i < rows->count; i++) {
                const struct svmd_residency_row *row = &rows->rows[i];
                struct residency_sum *s = sum_of(sums, &count, row->node);

                s->bytes += row->length;
                s->pinned += row->pins ? row->length : 0;
                s->busy += row->busy ? row->length : 0;
                for (uint64_t left = row->copies; left; left &= left - 1)
                        sum_of(sums, &count, (svmd_node)__builtin_ctzll(left))->copies += row->length;
        }
        qsort(sums, count, sizeof(*sums), compare);
        return (struct residency_sums){ sums, count };
}

uint64_t residency_on(const struct residency_rows *rows, svmd_node node) {
        uint64_t bytes = 0;

        for (size_t i = 0; i < rows->count; i++)
                bytes += rows->rows[i].node == node && !rows->rows[i].busy ? rows->rows[i].length : 0;
        return bytes;
}

uint64_t residency_held(const struct residency_rows *rows) {
        uint64_t bytes = 0;

        for (size_t i = 0; i < rows->count; i++)
                bytes += rows->rows[i].node != SVMD_NODE_NONE ? rows->rows[i].length : 0;
        return bytes;
}

static uint64_t end_of(const struct svmd_residency_row *row) {
        return row->address + row->length;
}

/* What two runs share. */
static uint64_t overlap(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end) {
        uint64_t from = a > b ? a : b, to = a_end < b_end ? a_end : b_end;

        return to > from ? to - from : 0;
}

uint64_t residency_moved(const struct residency_rows *before, const struct residency_rows *now) {
        uint64_t bytes = 0;
        size_t i = 0, k = 0;

        while (i < before->count && k < now->count) {
                const struct svmd_residency_row *a = &before->rows[i], *b = &now->rows[k];

                if (a->node != b->node && !b->busy)
                        bytes += overlap(a->address, end_of(a), b->address, end_of(b));
                if (end_of(a) <= end_of(b))
                        i++;
                else
                        k++;
        }
        return bytes;
}

/* The bytes of each node in [from, to), added up from row `first` on. Returns the first row that reaches beyond. */
static size_t add_up(uint64_t *bytes, uint64_t from, uint64_t to, size_t first, const struct residency_rows *rows,
                     const struct residency_sums *sums) {
        for (; first < rows->count && rows->rows[first].address < to; first++) {
                const struct svmd_residency_row *row = &rows->rows[first];

                for (size_t i = 0; i < sums->count; i++) {
                        if (sums->sums[i].node == row->node)
                                bytes[i] += overlap(from, to, row->address, end_of(row));
                }
                if (end_of(row) > to)
                        break;
        }
        return first;
}

void residency_cells(struct ctl *c, struct residency_cell *cells, size_t count, uint64_t address, uint64_t bytes,
                     const struct residency_rows *rows, const struct residency_sums *sums) {
        uint64_t *shares = ctl_alloc(c, (sums->count + 1) * sizeof(*shares));
        size_t row = 0;

        for (size_t i = 0; i < count; i++) {
                size_t most = sums->count, holders = 0;

                memset(shares, 0, (sums->count + 1) * sizeof(*shares));
                row = add_up(shares, address + i * bytes, address + (i + 1) * bytes, row, rows, sums);
                for (size_t k = 0; k < sums->count; k++) {
                        holders += shares[k] > 0;
                        if (sums->sums[k].node != SVMD_NODE_NONE && shares[k] > shares[most])
                                most = k;
                }
                cells[i].node = most < sums->count ? sums->sums[most].node : SVMD_NODE_NONE;
                cells[i].mixed = holders > 1;
        }
}
