#include "map-svg.h"

#include <string.h>

#include "ctl.h"
#include "json.h"
#include "residency.h"
#include "size.h"
#include "svg.h"

/*
 * The picture, from top to bottom: a legend; an overview, in which each partition is a field as wide as it has
 * addresses, filled as high as it is reserved; and of each partition what is reserved, as boxes that are filled with
 * the colours of the nodes where their memory is. Few partitions have a row each, with the names of their reservations;
 * of many there is a grid. What there is no room to write, a title says to whoever points at it.
 *
 * Everything is placed as it is written, from `y` downwards; the height is known at the end, and a document has to
 * begin with it: so it is drawn twice, the first time into nothing.
 */
enum {
        PAGE = 1200,
        MARGIN = 24,
        WIDE = PAGE - 2 * MARGIN,
        ROWS = 40,   /* partitions with a row each, at most */
        LEFT = 230,  /* of a row, before its boxes */
        LINES = 6,   /* of boxes in a row; what does not fit is counted */
        COLUMNS = 8, /* of the grid */
        GUTTER = 12,
        CARD = (WIDE - (COLUMNS - 1) * GUTTER) / COLUMNS,
        FIELD = 6, /* of the overview, at least */
        BOX = 5,   /* of a reservation, at least */
};

struct page {
        struct ctl *ctl;
        FILE *out;
        const struct map_svg *map;
        double y;
};

static void text(const struct page *p, const char *class, double x, double y, const char *words, unsigned most) {
        fprintf(p->out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", class, x, y);
        svg_escape(p->out, words, most);
        fputs("</text>\n", p->out);
}

static void tip(const struct page *p, const char *words) {
        fputs("<title>", p->out);
        svg_escape(p->out, words, 0);
        fputs("</title>", p->out);
}

static void box(const struct page *p, const char *class, double x, double y, double width, double height) {
        fprintf(p->out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\"/>", class, x, y, width,
                height);
}

static const char *counted(struct ctl *c, uint64_t n, const char *what) {
        char number[SIZE_TEXT];

        count_format(number, n);
        return ctl_text(c, "%s %s%s", number, what, n == 1 ? "" : "s");
}

static uint64_t reserved(const struct map_partition *p) {
        uint64_t bytes = 0;

        for (size_t i = 0; i < p->reservations.count; i++)
                bytes += p->reservations.rows[i].length;
        return bytes;
}

static unsigned number_of(const struct node_rows *nodes, svmd_node id) {
        for (size_t i = 0; i < nodes->count; i++)
                if (nodes->rows[i].id == id)
                        return (unsigned)i;
        return (unsigned)nodes->count;
}

/* ---- legend ---- */

/* Bytes of managed memory on each node, then of none. */
static void add_up(const struct map_svg *m, uint64_t *bytes) {
        for (size_t i = 0; i < m->count; i++) {
                for (size_t k = 0; k < m->partitions[i].reservations.count; k++) {
                        const struct residency_rows *held = &m->held[i][k];

                        for (size_t r = 0; r < held->count; r++)
                                bytes[number_of(m->nodes, held->rows[r].node)] += held->rows[r].length;
                }
        }
}

static void legend_entry(struct page *p, double *x, const char *class, unsigned color, const char *words) {
        double width = 18 + 7.0 * (double)strlen(words) + 18;

        if (*x + width > PAGE - MARGIN) {
                *x = MARGIN;
                p->y += 20;
        }
        if (class)
                box(p, class, *x, p->y - 10, 12, 12);
        else {
                fprintf(p->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" fill=\"", *x, p->y - 10);
                svg_fill(p->out, color);
                fputs("\"/>", p->out);
        }
        text(p, "t", *x + 18, p->y, words, 0);
        *x += width;
}

static void legend(struct page *p) {
        const struct map_svg *m = p->map;
        uint64_t *bytes = ctl_alloc(p->ctl, (m->nodes->count + 1) * sizeof(*bytes));
        double x = MARGIN;

        memset(bytes, 0, (m->nodes->count + 1) * sizeof(*bytes));
        add_up(m, bytes);
        for (unsigned i = 0; i < m->nodes->count; i++) {
                if (bytes[i] || m->nodes->rows[i].capacity)
                        legend_entry(p, &x, NULL, i,
                                     ctl_text(p->ctl, "%s %s", m->nodes->rows[i].name, ctl_size(p->ctl, bytes[i])));
        }
        legend_entry(p, &x, "zero", 0,
                     ctl_text(p->ctl, "managed, never touched %s", ctl_size(p->ctl, bytes[m->nodes->count])));
        legend_entry(p, &x, "own", 0, "shows explicit memory");
        legend_entry(p, &x, "bare", 0, "reserved only");
        p->y += 26;
}

static void heading(struct page *p) {
        const struct map_svg *m = p->map;
        uint64_t bytes = 0, sum = 0, count = 0;

        for (size_t i = 0; i < m->count; i++) {
                bytes += m->partitions[i].length;
                sum += reserved(&m->partitions[i]);
                count += m->partitions[i].reservations.count;
        }
        p->y = 38;
        text(p, "h", MARGIN, p->y,
             ctl_text(p->ctl, "%s of %s, %s of %s", counted(p->ctl, m->count, "partition"), ctl_size(p->ctl, bytes),
                      counted(p->ctl, count, "reservation"), ctl_size(p->ctl, sum)),
             0);
        if (*m->title) {
                p->y += 20;
                text(p, "d", MARGIN, p->y, m->title, 140);
        }
        p->y += 28;
        legend(p);
}

/* ---- overview ---- */

static const char *about(struct ctl *c, const struct map_partition *p) {
        return ctl_text(c, "%s: %s to %s, %s; %s of %s", p->name, ctl_address(c, p->base),
                        ctl_address(c, p->base + p->length), ctl_size(c, p->length),
                        counted(c, p->reservations.count, "reservation"), ctl_size(c, reserved(p)));
}

/* Of what is reserved at all at least a little is seen. */
static void field(const struct page *p, const struct map_partition *of, double x, double width) {
        double share = of->length ? (double)reserved(of) / (double)of->length : 0, high = share * 22;

        high = share > 0 && high < 2 ? 2 : high;
        fputs("<g>", p->out);
        tip(p, about(p->ctl, of));
        box(p, "field", x, p->y, width - 1, 22);
        if (high > 0)
                box(p, "fill", x, p->y + 22 - high, width - 1, high);
        fputs("</g>\n", p->out);
        if (width > 7.0 * (double)strlen(of->name) + 6)
                text(p, "s", x + 4, p->y + 14, of->name, 0);
}

static double field_width(const struct map_partition *of, uint64_t bytes) {
        double width = bytes ? (double)of->length / (double)bytes * WIDE : WIDE;

        return width < FIELD ? FIELD : width > WIDE ? WIDE : width;
}

/* The partitions of one domain, from `from` on; returns where they end. */
static size_t overview_domain(struct page *p, size_t from) {
        const struct map_partition *all = p->map->partitions;
        uint64_t bytes = 0;
        double x = MARGIN;
        size_t end = from;

        for (; end < p->map->count && strcmp(all[end].domain, all[from].domain) == 0; end++)
                bytes += all[end].length;
        text(p, "d", MARGIN, p->y,
             ctl_text(p->ctl, "domain %s: %s to %s, a field a partition, filled as it is reserved", all[from].domain,
                      ctl_address(p->ctl, all[from].base),
                      ctl_address(p->ctl, all[end - 1].base + all[end - 1].length)),
             150);
        p->y += 8;
        for (size_t i = from; i < end; i++) {
                double width = field_width(&all[i], bytes);

                if (x > MARGIN && x + width > PAGE - MARGIN + 0.5) {
                        x = MARGIN;
                        p->y += 26;
                }
                field(p, &all[i], x, width);
                x += width;
        }
        p->y += 22 + 24;
        return end;
}

/* ---- reservations ---- */

static const char *kind_text(const struct svmd_reservation_row *r) {
        return r->kind == SVMD_SHARED ? "managed" : r->kind == SVMD_PRIVATE ? "private" : "explicit";
}

static void parts(const struct page *p, const struct svmd_reservation_row *r, const struct residency_rows *held,
                  double x, double y, double width, double height) {
        size_t count = width < 1 ? 1 : (size_t)width, end;
        uint64_t bytes = (r->length + count - 1) / count;
        struct residency_cell *cells = ctl_alloc(p->ctl, count * sizeof(*cells));
        struct residency_sums sums = residency_sums(p->ctl, held);

        count = (size_t)((r->length + bytes - 1) / bytes);
        residency_cells(p->ctl, cells, count, r->address, bytes, held, &sums);
        for (size_t i = 0; i < count; i = end) {
                for (end = i; end < count && cells[end].node == cells[i].node; end++)
                        ;
                if (cells[i].node == SVMD_NODE_NONE)
                        continue;
                fprintf(p->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"",
                        x + width * (double)i / (double)count, y, width * (double)(end - i) / (double)count, height);
                svg_fill(p->out, number_of(p->map->nodes, cells[i].node));
                fputs("\"/>", p->out);
        }
}

static const char *where_text(struct ctl *c, const struct page *p, const struct residency_rows *held) {
        struct residency_sums sums = residency_sums(c, held);
        const char *words = "";

        for (size_t i = 0; i < sums.count; i++)
                if (sums.sums[i].bytes)
                        words = ctl_text(
                                c, "%s, %s %s", words, ctl_size(c, sums.sums[i].bytes),
                                sums.sums[i].node == SVMD_NODE_NONE
                                        ? "never touched"
                                        : ctl_text(c, "on %s", rows_node_name(c, p->map->nodes, sums.sums[i].node)));
        return words;
}

static void reservation(const struct page *p, const struct svmd_reservation_row *r, const struct residency_rows *held,
                        double x, double y, double width, double height) {
        uint64_t mapped = r->mapped < r->length ? r->mapped : r->length;
        void *mark = obstack_alloc(&p->ctl->pool, 0);

        fputs("<g>", p->out);
        tip(p, ctl_text(p->ctl, "%s: %s, %s at %s%s", *r->name ? r->name : "without a name", kind_text(r),
                        ctl_size(p->ctl, r->length), ctl_address(p->ctl, r->address), where_text(p->ctl, p, held)));
        box(p, r->kind == SVMD_SHARED || r->kind == SVMD_PRIVATE ? "zero" : "bare", x, y, width, height);
        if (held->count)
                parts(p, r, held, x, y, width, height);
        else if (mapped && r->length)
                box(p, "own", x, y, width * (double)mapped / (double)r->length, height);
        box(p, "edge", x, y, width, height);
        fputs("</g>\n", p->out);
        obstack_free(&p->ctl->pool, mark);
}

/* As wide as it is long, in what is left when each has its least. */
static double box_width(const struct map_partition *of, const struct svmd_reservation_row *r, double wide) {
        double least = (double)(BOX + 1) * (double)of->reservations.count, bytes = (double)reserved(of);

        return BOX + (least < wide && bytes > 0 ? (wide - least) * (double)r->length / bytes : 0);
}

/* ---- rows ---- */

static void row_boxes(struct page *p, size_t i) {
        const struct map_partition *of = &p->map->partitions[i];
        double x = 0, wide = WIDE - LEFT;
        unsigned line = 1;

        for (size_t k = 0; k < of->reservations.count; k++) {
                const struct svmd_reservation_row *r = &of->reservations.rows[k];
                double width = box_width(of, r, wide);

                if (x > 0 && x + width > wide + 0.5) {
                        if (line++ == LINES) {
                                text(p, "d", MARGIN + LEFT, p->y + 52,
                                     ctl_text(p->ctl, "and %zu more", of->reservations.count - k), 0);
                                p->y += 16;
                                break;
                        }
                        x = 0;
                        p->y += 40;
                }
                reservation(p, r, &p->map->held[i][k], MARGIN + LEFT + x, p->y, width, 24);
                if (*r->name && width > 28)
                        text(p, "s", MARGIN + LEFT + x, p->y + 35, r->name, (unsigned)(width / 6.2));
                x += width + 1;
        }
        p->y += 52;
}

static void row(struct page *p, size_t i) {
        const struct map_partition *of = &p->map->partitions[i];
        struct ctl *c = p->ctl;

        text(p, "b", MARGIN, p->y + 10, of->name, 28);
        text(p, "d", MARGIN, p->y + 24, ctl_text(c, "%s  %s", ctl_address(c, of->base), ctl_size(c, of->length)), 0);
        text(p, "d", MARGIN, p->y + 37,
             ctl_text(c, "%s of %s", counted(c, of->reservations.count, "reservation"), ctl_size(c, reserved(of))), 0);
        row_boxes(p, i);
}

static void card(struct page *p, size_t i, unsigned column) {
        const struct map_partition *of = &p->map->partitions[i];
        double left = MARGIN + column * (CARD + GUTTER), x = 0;

        fputs("<g>", p->out);
        tip(p, about(p->ctl, of));
        text(p, "s", left, p->y + 9, of->name, CARD / 7);
        fputs("</g>", p->out);
        for (size_t k = 0; k < of->reservations.count; k++) {
                double width = box_width(of, &of->reservations.rows[k], CARD);

                if (x + width > CARD + 0.5)
                        break;
                reservation(p, &of->reservations.rows[k], &p->map->held[i][k], left + x, p->y + 13, width, 10);
                x += width + 1;
        }
}

/* ---- all of it ---- */

static void details(struct page *p) {
        size_t busy = 0, seen = 0, empty = 0;

        for (size_t i = 0; i < p->map->count; i++)
                busy += p->map->partitions[i].reservations.count > 0;
        for (size_t i = 0; i < p->map->count; i++) {
                if (p->map->partitions[i].reservations.count == 0) {
                        empty++;
                } else if (busy <= ROWS) {
                        row(p, i);
                } else {
                        card(p, i, seen % COLUMNS);
                        p->y += ++seen % COLUMNS == 0 ? 32 : 0;
                }
        }
        p->y += seen % COLUMNS ? 32 : 0;
        if (empty) {
                text(p, "d", MARGIN, p->y + 10,
                     ctl_text(p->ctl, "%s without reservations", counted(p->ctl, empty, "partition")), 0);
                p->y += 20;
        }
}

static const char style[] =
        "<style>text{font-family:system-ui,'DejaVu Sans',sans-serif;fill:#222}.h{font-size:18px;font-weight:600}"
        ".t{font-size:12px}.b{font-size:13px;font-weight:600}.d{font-size:11px;fill:#666}.s{font-size:10px}"
        ".field{fill:#eceff2}.fill{fill:#7a8794}.bare{fill:#f4f4f4;stroke:#bbb;stroke-width:.6}"
        ".zero{fill:#d9dde2}.own{fill:#8c8c8c}.edge{fill:none;stroke:#444;stroke-width:.6}</style>\n";

static double page_draw(struct ctl *c, const struct map_svg *m, FILE *out) {
        struct page p = { .ctl = c, .out = out, .map = m };

        heading(&p);
        for (size_t i = 0; i < m->count;)
                i = overview_domain(&p, i);
        details(&p);
        return p.y + MARGIN;
}

void map_svg_draw(struct ctl *c, const struct map_svg *m) {
        FILE *nothing = fopen("/dev/null", "we");
        double height;

        if (!nothing)
                obstack_alloc_failed_handler();
        height = page_draw(c, m, nothing);
        fclose(nothing);
        fprintf(c->out,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" viewBox=\"0 0 %d %.0f\">\n%s",
                PAGE, height, PAGE, height, style);
        svg_defs(c->out);
        fputs("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n", c->out);
        page_draw(c, m, c->out);
        fputs("</svg>\n", c->out);
}

/* ---- asking ---- */

/* What nobody would say is drawn without. */
static const struct residency_rows *held_of(struct ctl *c, const struct map_partition *p) {
        struct residency_rows *held = ctl_alloc(c, (p->reservations.count + 1) * sizeof(*held));

        for (size_t k = 0; k < p->reservations.count; k++) {
                const struct svmd_reservation_row *r = &p->reservations.rows[k];
                struct residency_rows rows = { 0 };

                if (r->kind == SVMD_SHARED || r->kind == SVMD_PRIVATE)
                        (void)rows_residency(c, c->info.admin ? p->name : NULL, r->address, r->length, false, &rows);
                held[k] = rows;
        }
        return held;
}

static int say_drawn(struct ctl *c, size_t count, const char *path) {
        struct json_object *o;

        if (!c->json) {
                fprintf(c->out, "Drew %zu partition%s into %s\n", count, count == 1 ? "" : "s", path);
                return EXIT_OK;
        }
        o = json_object_new_object();
        json_add_text(o, "file", path);
        json_add_count(o, "partitions", count);
        return json_print(c, o);
}

int map_svg_run(struct ctl *c, const struct map_partition *partitions, size_t count, const char *path) {
        const struct residency_rows **held = ctl_alloc(c, (count + 1) * sizeof(*held));
        bool here = strcmp(path, "-") == 0, failed;
        struct node_rows nodes;
        FILE *out = c->out;
        int r = ctl_result(c, rows_nodes(c, &nodes));

        if (r != EXIT_OK)
                return r;
        for (size_t i = 0; i < count; i++)
                held[i] = held_of(c, &partitions[i]);
        if (!here && !(c->out = fopen(path, "we"))) {
                c->out = out;
                return ctl_fail(c, EXIT_REFUSED, "cannot write %s: %m", path);
        }
        map_svg_draw(c, &(struct map_svg){ partitions, count, held, &nodes, "" });
        failed = !here && (ferror(c->out) | fclose(c->out)) != 0;
        c->out = out;
        if (failed)
                return ctl_fail(c, EXIT_REFUSED, "cannot write %s: %m", path);
        return here ? EXIT_OK : say_drawn(c, count, path);
}
