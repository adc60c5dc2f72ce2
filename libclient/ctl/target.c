#include "target.h"

#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "partition.h"
#include "range.h"
#include "rows.h"
#include "suggest.h"

/*
 * svmd is asked for reservations and the range is looked up in them here, so that a word that fits nothing, or fits
 * twice, is told before anything is changed.
 */

static int parse(struct ctl *c, const char *word, struct range *ret) {
        char why[256];

        if (range_parse(ret, word, why) != 0)
                return ctl_fail(c, EXIT_USAGE, "%s", why);
        return EXIT_OK;
}

static int fetch(struct ctl *c, struct reservation_rows *ret) {
        const struct svmd_partition_row *p;
        int r = c->info.admin && c->partition ? partition_find(c, c->partition, &p) : EXIT_OK;

        return r == EXIT_OK ? ctl_result(c, rows_reservations(c, c->partition, ret)) : r;
}

static bool fits(const struct svmd_reservation_row *row, const struct range *range) {
        if (*range->name)
                return strcmp(row->name, range->name) == 0;
        if (range->size == 0)
                return range->address >= row->address && range->address - row->address < row->length;
        return row->address < range->address + range->size && range->address < row->address + row->length;
}

static int compare(const void *left, const void *right) {
        const struct target *a = left, *b = right;

        return a->reservation->address < b->reservation->address ? -1
                                                                 : a->reservation->address > b->reservation->address;
}

/* Cut to the range; what moves together is shown together. */
static struct target cut(struct ctl *c, const struct svmd_reservation_row *row, const struct range *range) {
        uint64_t granule = row->granule ? row->granule : SVMD_PAGE, end = row->address + row->length;
        struct target t = { row, c->info.admin ? row->partition : NULL, row->address, row->length };

        if (*range->name || range->size == 0)
                return t;
        if (range->address > t.address)
                t.address = range->address;
        if (range->address + range->size < end)
                end = range->address + range->size;
        t.address -= (t.address - row->address) % granule;
        t.size = end - t.address;
        if ((end - row->address) % granule)
                t.size += granule - (end - row->address) % granule;
        return t;
}

static int none(struct ctl *c, const char *word, const struct range *range, const struct reservation_rows *rows) {
        const char **names = ctl_alloc(c, rows->count * sizeof(*names)), *near = NULL;
        size_t count = 0;

        if (!*range->name)
                return ctl_fail(c, EXIT_REFUSED,
                                "nothing is reserved at %s; 'svmd-ctl reservation list' shows what is reserved", word);
        for (size_t i = 0; i < rows->count; i++) {
                if (*rows->rows[i].name)
                        names[count++] = rows->rows[i].name;
        }
        near = suggest(word, names, count);
        if (near)
                return ctl_fail(c, EXIT_REFUSED, "there is no reservation '%s'; did you mean '%s'?", word, near);
        return ctl_fail(c, EXIT_REFUSED,
                        "there is no reservation '%s'; 'svmd-ctl reservation list' shows those there are", word);
}

static int ambiguous(struct ctl *c, const char *word, const char *a, const char *b) {
        return ctl_fail(c, EXIT_REFUSED, "%s is in partition %s and in partition %s; say which with --partition", word,
                        a, b);
}

static int list(struct ctl *c, const char *word, const struct range *range, const struct target **ret,
                size_t *ret_count) {
        struct reservation_rows rows;
        struct target *targets;
        size_t count = 0;
        int r = fetch(c, &rows);

        if (r != EXIT_OK)
                return r;
        targets = ctl_alloc(c, rows.count * sizeof(*targets));
        for (size_t i = 0; i < rows.count; i++) {
                if (!fits(&rows.rows[i], range))
                        continue;
                targets[count++] = cut(c, &rows.rows[i], range);
                if (strcmp(targets[0].reservation->partition, rows.rows[i].partition) != 0)
                        return ambiguous(c, word, targets[0].reservation->partition, rows.rows[i].partition);
        }
        if (count == 0)
                return none(c, word, range, &rows);
        qsort(targets, count, sizeof(*targets), compare);
        *ret = targets;
        *ret_count = count;
        return EXIT_OK;
}

int target_list(struct ctl *c, const char *word, const struct target **ret, size_t *ret_count) {
        struct range range;
        int r = parse(c, word, &range);

        return r == EXIT_OK ? list(c, word, &range, ret, ret_count) : r;
}

static const char *range_text(struct ctl *c, uint64_t address, uint64_t size) {
        return ctl_text(c, "%s-%s", ctl_address(c, address), ctl_address(c, address + size));
}

/* The one that is meant has to hold the whole range. */
static int one(struct ctl *c, const char *word, const struct range *range, struct target *ret) {
        const struct target *targets;
        const struct svmd_reservation_row *row;
        size_t count;
        int r = list(c, word, range, &targets, &count);

        if (r != EXIT_OK)
                return r;
        row = targets[0].reservation;
        if (range->size &&
            (count > 1 || range->address < row->address || range->address + range->size > row->address + row->length))
                return ctl_fail(c, EXIT_REFUSED, "%s does not lie in one reservation; %s there is %s", word,
                                target_text(c, &(struct target){ .reservation = row, .size = row->length }),
                                range_text(c, row->address, row->length));
        if (row->kind == SVMD_EXPLICIT)
                return ctl_fail(c, EXIT_REFUSED,
                                "%s is explicit: it shows memory objects where its owner mapped them; only managed "
                                "reservations have pages that svmd moves",
                                target_text(c, &(struct target){ .reservation = row, .size = row->length }));
        *ret = targets[0];
        return EXIT_OK;
}

int target_managed(struct ctl *c, const char *word, struct target *ret) {
        struct range range;
        int r = parse(c, word, &range);

        if (r == EXIT_OK)
                r = one(c, word, &range, ret);
        if (r == EXIT_OK && range.size && (range.address != ret->address || range.size != ret->size))
                return ctl_fail(c, EXIT_USAGE, "%s is not made of whole granules of %s; %s is, and contains it", word,
                                ctl_size(c, ret->reservation->granule), range_text(c, ret->address, ret->size));
        return r;
}

int target_whole(struct ctl *c, const char *word, struct target *ret) {
        struct range range;
        int r = parse(c, word, &range);

        if (r == EXIT_OK && range.size)
                return ctl_fail(c, EXIT_USAGE, "'%s': only whole reservations; give an address in it, or its name",
                                word);
        return r == EXIT_OK ? one(c, word, &range, ret) : r;
}

/* The partition whose slice contains the address. */
static int partition_at(struct ctl *c, const char *word, uint64_t address, const char **ret) {
        struct partition_rows partitions;
        const char *found = NULL;
        int r = rows_partitions(c, NULL, &partitions);

        if (r != SVMD_OK)
                return ctl_result(c, r);
        for (size_t i = 0; i < partitions.count; i++) {
                const struct svmd_partition_row *p = &partitions.rows[i];

                if (address < p->base || address - p->base >= p->length)
                        continue;
                if (found)
                        return ambiguous(c, word, found, p->name);
                found = p->name;
        }
        if (!found)
                return ctl_fail(c, EXIT_REFUSED,
                                "%s lies in no partition; 'svmd-ctl partition list' shows where they lie", word);
        *ret = found;
        return EXIT_OK;
}

int target_address(struct ctl *c, const char *word, const char **ret_partition, uint64_t *ret) {
        const struct svmd_partition_row *p;
        const struct target *targets;
        struct range range;
        size_t count;
        int r = parse(c, word, &range);

        if (r != EXIT_OK)
                return r;
        if (range.size)
                return ctl_fail(c, EXIT_USAGE, "'%s': expected one address, as in 0x280000000000", word);
        if (*range.name) {
                r = list(c, word, &range, &targets, &count);
                if (r == EXIT_OK) {
                        *ret_partition = targets[0].partition;
                        *ret = targets[0].address;
                }
                return r;
        }
        *ret = range.address;
        *ret_partition = NULL;
        if (!c->info.admin)
                return EXIT_OK;
        if (!c->partition)
                return partition_at(c, word, range.address, ret_partition);
        r = partition_find(c, c->partition, &p);
        if (r == EXIT_OK)
                *ret_partition = p->name;
        return r;
}

const char *target_text(struct ctl *c, const struct target *t) {
        const struct svmd_reservation_row *row = t->reservation;
        const char *text = *row->name ? ctl_text(c, "reservation %s", row->name)
                                      : ctl_text(c, "the reservation at %s", ctl_address(c, row->address));

        return t->size < row->length ? ctl_text(c, "%s of %s", ctl_size(c, t->size), text) : text;
}

const char *target_word(struct ctl *c, const struct target *t) {
        const char *word = t->size < t->reservation->length ? range_text(c, t->address, t->size)
                           : *t->reservation->name          ? t->reservation->name
                                                            : ctl_address(c, t->reservation->address);

        return c->info.admin && c->partition ? ctl_text(c, "%s --partition %s", word, c->partition) : word;
}
