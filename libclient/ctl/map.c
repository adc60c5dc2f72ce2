#include "map.h"

#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "ctl.h"
#include "json.h"
#include "map-svg.h"
#include "partition.h"
#include "show.h"
#include "verbs.h"

static int compare(const void *left, const void *right) {
        const struct map_partition *a = left, *b = right;
        int r = strcmp(a->domain, b->domain);

        return r ? r : a->base < b->base ? -1 : a->base > b->base;
}

static int compare_reservations(const void *left, const void *right) {
        const struct svmd_reservation_row *a = left, *b = right;
        int r = strcmp(a->partition, b->partition);

        return r ? r : a->address < b->address ? -1 : a->address > b->address;
}

/* Where the reservations of one partition lie in the rows, which are in order of partition and address. */
static struct reservation_rows part_of(const struct reservation_rows *all, const char *partition) {
        size_t low = 0, high = all->count, first;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(all->rows[middle].partition, partition) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        first = low;
        while (low < all->count && strcmp(all->rows[low].partition, partition) == 0)
                low++;
        return (struct reservation_rows){ all->rows + first, low - first };
}

struct map {
        struct map_partition *partitions;
        size_t count;
};

static void map_sort(struct ctl *c, struct map *m, const struct reservation_rows *rows) {
        struct svmd_reservation_row *sorted = ctl_alloc(c, rows->count * sizeof(*sorted));
        struct reservation_rows all = { sorted, rows->count };

        if (rows->count)
                memcpy(sorted, rows->rows, rows->count * sizeof(*sorted));
        qsort(sorted, rows->count, sizeof(*sorted), compare_reservations);
        for (size_t i = 0; i < m->count; i++)
                m->partitions[i].reservations = part_of(&all, m->partitions[i].name);
        qsort(m->partitions, m->count, sizeof(*m->partitions), compare);
}

/* All partitions, or the one that is named: for an administrator. */
static int fetch_any(struct ctl *c, const char *name, struct map *m) {
        const struct svmd_partition_row *one;
        struct partition_rows partitions = { 0 };
        struct reservation_rows reservations = { 0 };
        int r = EXIT_OK;

        if (name) {
                r = partition_find(c, name, &one);
                if (r == EXIT_OK)
                        partitions = (struct partition_rows){ one, 1 };
        } else {
                r = ctl_result(c, rows_partitions(c, NULL, &partitions));
        }
        if (r == EXIT_OK)
                r = ctl_result(c, rows_reservations(c, name, &reservations));
        if (r != EXIT_OK)
                return r;
        m->count = partitions.count;
        m->partitions = ctl_alloc(c, m->count * sizeof(*m->partitions));
        for (size_t i = 0; i < m->count; i++) {
                const struct svmd_partition_row *p = &partitions.rows[i];

                m->partitions[i] = (struct map_partition){ p->name, p->domain, p->base, p->length, { 0 } };
        }
        map_sort(c, m, &reservations);
        return EXIT_OK;
}

/* The partition that the session is attached to. */
static int fetch_own(struct ctl *c, struct map *m) {
        struct reservation_rows reservations;
        int r = rows_reservations(c, NULL, &reservations);

        if (r != SVMD_OK)
                return ctl_result(c, r);
        m->count = 1;
        m->partitions = ctl_alloc(c, sizeof(*m->partitions));
        *m->partitions =
                (struct map_partition){ c->info.partition, c->info.domain, c->info.base, c->info.length, reservations };
        return EXIT_OK;
}

static int map_json(struct ctl *c, const struct map *m) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < m->count; i++) {
                const struct map_partition *p = &m->partitions[i];
                struct json_object *o = json_object_new_object();

                json_add_text(o, "partition", p->name);
                json_add_text(o, "domain", p->domain);
                json_add_address(o, "base", p->base);
                json_add_count(o, "length", p->length);
                json_add(o, "reservations", show_reservations_json(c, &p->reservations));
                json_object_array_add(list, o);
        }
        return json_print(c, list);
}

int map_run(struct ctl *c, const struct args *a) {
        const char *name = a->value[OPT_PARTITION];
        uint64_t width = c->width < 40 ? 40 : c->width > 1000 ? 1000 : c->width;
        struct map m = { 0 };
        int r = args_count(c, a, OPT_WIDTH, 40, 1000, &width);

        if (r != EXIT_OK)
                return r;
        c->width = (unsigned)width;
        c->terminal |= a->value[OPT_WIDTH] != NULL;
        if (a->value[OPT_SVG] && a->words_count)
                return ctl_fail(c, EXIT_USAGE, "--svg is of partitions: give it without a RANGE");
        if (a->words_count)
                return map_range_run(c, a, c->width);
        if (a->value[OPT_COUNTERS])
                return ctl_fail(c, EXIT_USAGE, "--counters goes with a RANGE; see 'svmd-ctl map --help'");
        r = c->info.admin ? fetch_any(c, name, &m) : fetch_own(c, &m);
        if (r != EXIT_OK)
                return r;
        if (a->value[OPT_SVG])
                return map_svg_run(c, m.partitions, m.count, a->value[OPT_SVG]);
        if (c->json)
                return map_json(c, &m);
        if (m.count == 1)
                map_draw_one(c, &m.partitions[0], c->width);
        else if (m.count)
                map_draw_all(c, m.partitions, m.count, c->width);
        else
                fputs("There is no partition\n", c->out);
        return EXIT_OK;
}
