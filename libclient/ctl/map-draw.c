#include "map.h"

#include <string.h>

#include "ctl.h"
#include "picture.h"
#include "size.h"
#include "table.h"

enum {
        MARGIN = 10,        /* "addresses " and the like, in front of a bar */
        LEGEND_LINES = 40,  /* of one partition; the rest is counted */
        ZOOM_LINES = 8,     /* of one partition */
        ALL_ZOOM_LINES = 2, /* of each of several */
        NAME_WIDTH = 20,
        RUN = 3, /* empty partitions in a row that are drawn as one line */
};

static const char *count_text(struct ctl *c, uint64_t n, const char *what) {
        char text[SIZE_TEXT];

        count_format(text, n);
        return ctl_text(c, "%s %s%s", text, what, n == 1 ? "" : "s");
}

/* Of a managed reservation every byte is there. */
static uint64_t mapped_of(const struct svmd_reservation_row *r) {
        return r->kind == SVMD_SHARED || r->mapped > r->length ? r->length : r->mapped;
}

static struct picture_range *ranges_of(struct ctl *c, const struct reservation_rows *rows, uint64_t *ret_bytes) {
        struct picture_range *ranges = ctl_alloc(c, rows->count * sizeof(*ranges));
        uint64_t bytes = 0;

        for (size_t i = 0; i < rows->count; i++) {
                const struct svmd_reservation_row *r = &rows->rows[i];

                ranges[i] = (struct picture_range){ r->address, r->length, mapped_of(r) };
                bytes += r->length;
        }
        *ret_bytes = bytes;
        return ranges;
}

static struct picture picture_of(struct ctl *c, unsigned width, unsigned indent) {
        unsigned bar = width > indent + 8 ? width - indent : 8;

        return (struct picture){ .out = c->out,
                                 .width = bar < PICTURE_WIDTH_MAX ? bar : PICTURE_WIDTH_MAX,
                                 .indent = indent,
                                 .utf8 = c->utf8,
                                 .color = c->color };
}

/* What the shades mean, broken where the width asks for it. */
static void draw_key(struct ctl *c, unsigned width, unsigned indent) {
        const char *const utf8[] = { "█ shows memory", "░ reserved only", "· free, not to scale" };
        const char *const ascii[] = { "# shows memory", "- reserved only", ". free, not to scale" };
        unsigned column = indent;

        fprintf(c->out, "%*s", (int)indent, "");
        for (unsigned i = 0; i < 3; i++) {
                unsigned length = (unsigned)strlen(ascii[i]);

                if (i && column + 2 + length > width) {
                        fprintf(c->out, "\n%*s", (int)indent, "");
                        column = indent;
                } else if (i) {
                        fputs("  ", c->out);
                        column += 2;
                }
                fputs(c->utf8 ? utf8[i] : ascii[i], c->out);
                column += length;
        }
        fputc('\n', c->out);
}

static void draw_heading(struct ctl *c, const struct map_partition *p, uint64_t bytes) {
        fprintf(c->out, "%s\n%s to %s\n%s, %s reserved\n", p->name, ctl_address(c, p->base),
                ctl_address(c, p->base + p->length), ctl_size(c, p->length), ctl_size(c, bytes));
}

static void draw_legend(struct ctl *c, const struct map_partition *p) {
        static const struct column columns[] = {
                { "#", COLUMN_RIGHT | COLUMN_TRUNC },       { "ADDRESS", COLUMN_TRUNC },
                { "SIZE", COLUMN_RIGHT | COLUMN_TRUNC },    { "MAPPED", COLUMN_RIGHT | COLUMN_TRUNC },
                { "SESSION", COLUMN_RIGHT | COLUMN_TRUNC }, { "NAME", COLUMN_TRUNC },
        };
        struct table *t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));
        size_t count = p->reservations.count;

        for (size_t i = 0; i < count && i < LEGEND_LINES; i++) {
                const struct svmd_reservation_row *r = &p->reservations.rows[i];
                struct table_line *l = table_line(t, NULL);

                table_cell_count(l, i + 1);
                table_cell(l, ctl_address(c, r->address));
                table_cell(l, ctl_size(c, r->length));
                table_cell(l, r->kind == SVMD_SHARED ? "managed" : ctl_size(c, r->mapped));
                if (r->kept && r->idle_ms)
                        table_cell(l, "kept");
                else
                        table_cell_count(l, r->session);
                table_cell(l, r->name);
        }
        fputc('\n', c->out);
        table_print(t, NULL);
        if (count > LEGEND_LINES)
                fprintf(c->out, "and %zu more in 'reservation list'\n", count - LEGEND_LINES);
}

void map_draw_one(struct ctl *c, const struct map_partition *p, unsigned width) {
        struct picture picture = picture_of(c, width, MARGIN);
        struct picture_range *ranges;
        size_t count = p->reservations.count, shown;
        uint64_t bytes;

        ranges = ranges_of(c, &p->reservations, &bytes);
        draw_heading(c, p, bytes);
        fprintf(c->out, "\n%-*s", MARGIN, "slice");
        picture_slice(&picture, p->base, p->length, ranges, count);
        fputc('\n', c->out);
        if (count == 0)
                return;
        fprintf(c->out, "%-*s", MARGIN, "reserved");
        shown = picture_zoom(&picture, p->base, p->length, ranges, count, true, ZOOM_LINES);
        if (shown < count)
                fprintf(c->out, "%*sand %zu more\n", MARGIN, "", count - shown);
        draw_key(c, width, MARGIN);
        draw_legend(c, p);
}

/* Names longer than their column lose their middle's end: the beginning tells partitions apart best. */
static void draw_name(struct ctl *c, const char *name, unsigned width) {
        if (strlen(name) <= width)
                fprintf(c->out, "%-*s", (int)width, name);
        else
                fprintf(c->out, "%.*s%s", (int)(width - (c->utf8 ? 1 : 2)), name, c->utf8 ? "…" : "..");
}

struct columns {
        unsigned name, indent, width;
        bool wide; /* there is room for address and size */
};

static struct columns columns_of(const struct map_partition *partitions, size_t count, unsigned width) {
        struct columns k = { .width = width };

        for (size_t i = 0; i < count; i++) {
                if (strlen(partitions[i].name) > k.name)
                        k.name = (unsigned)strlen(partitions[i].name);
        }
        k.name = k.name > NAME_WIDTH ? NAME_WIDTH : k.name;
        k.wide = width >= k.name + 2 + 14 + 2 + 9 + 2 + 20;
        if (!k.wide && k.name > width / 3)
                k.name = width / 3;
        k.indent = k.name + 2 + (k.wide ? 14 + 2 + 9 + 2 : 0);
        return k;
}

static void draw_partition(struct ctl *c, const struct map_partition *p, const struct columns *k) {
        struct picture picture = picture_of(c, k->width, k->indent);
        size_t count = p->reservations.count, shown;
        struct picture_range *ranges;
        uint64_t bytes;

        ranges = ranges_of(c, &p->reservations, &bytes);
        draw_name(c, p->name, k->name);
        fputs("  ", c->out);
        if (k->wide)
                fprintf(c->out, "%14s  %9s  ", ctl_address(c, p->base), ctl_size(c, p->length));
        picture_slice(&picture, p->base, p->length, ranges, count);
        fputc('\n', c->out);
        if (count == 0)
                return;
        if (k->wide)
                fprintf(c->out, "%*s%9s  ", (int)k->indent - 11, "", ctl_size(c, bytes));
        else
                fprintf(c->out, "%*s", (int)k->indent, "");
        shown = picture_zoom(&picture, p->base, p->length, ranges, count, false, ALL_ZOOM_LINES);
        if (shown < count)
                fprintf(c->out, "%*sand %zu more\n", (int)k->indent, "", count - shown);
}

/* How many partitions from the first on are empty neighbours in one domain. */
static size_t empty_run(const struct map_partition *p, size_t count) {
        size_t n = 0;

        while (n < count && p[n].reservations.count == 0 && strcmp(p[n].domain, p[0].domain) == 0)
                n++;
        return n;
}

static void draw_run(struct ctl *c, const struct map_partition *p, size_t count, const struct columns *k) {
        uint64_t bytes = 0;
        char *text;

        for (size_t i = 0; i < count; i++)
                bytes += p[i].length;
        text = ctl_text(c, "  %s without reservations: %s to %s, %s", count_text(c, count, "partition"), p[0].name,
                        p[count - 1].name, ctl_size(c, bytes));
        if (strlen(text) > k->width)
                text[k->width] = '\0';
        fprintf(c->out, "%s\n", text);
}

static void draw_total(struct ctl *c, const struct map_partition *partitions, size_t count) {
        uint64_t bytes = 0, reserved = 0, reservations = 0;

        for (size_t i = 0; i < count; i++) {
                bytes += partitions[i].length;
                reservations += partitions[i].reservations.count;
                for (size_t k = 0; k < partitions[i].reservations.count; k++)
                        reserved += partitions[i].reservations.rows[k].length;
        }
        fprintf(c->out, "%s of %s\n%s of %s\n\n", count_text(c, count, "partition"), ctl_size(c, bytes),
                count_text(c, reservations, "reservation"), ctl_size(c, reserved));
}

void map_draw_all(struct ctl *c, const struct map_partition *partitions, size_t count, unsigned width) {
        struct columns k = columns_of(partitions, count, width);
        const char *domain = count ? partitions[0].domain : "";
        bool domains = false;
        size_t run;

        draw_total(c, partitions, count);
        for (size_t i = 0; i < count; i++)
                domains |= strcmp(partitions[i].domain, domain) != 0;
        for (size_t i = 0; i < count; i += run) {
                const struct map_partition *p = &partitions[i];

                if (domains && (i == 0 || strcmp(p->domain, p[-1].domain) != 0))
                        fprintf(c->out, "%sdomain %.*s\n", i ? "\n" : "", (int)width - 7, p->domain);
                run = empty_run(p, count - i);
                if (run >= RUN) {
                        draw_run(c, p, run, &k);
                        continue;
                }
                run = 1;
                draw_partition(c, p, &k);
        }
        fputc('\n', c->out);
        draw_key(c, width, 0);
}
