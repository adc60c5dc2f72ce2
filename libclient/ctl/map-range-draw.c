#include "map-range.h"

#include <string.h>

#include "ctl.h"
#include "show.h"
#include "table.h"

/*
 * A part is drawn in up to ROWS rows, each with the address of its first cell in front. A cell stands for a power of
 * two of granules, and a row has a power of two of cells, so that these addresses are round. Its letter is the node's
 * that holds most of the cell, small where that is not all of it.
 */
enum { ADDRESS = 16, ROWS = 8, CELLS_LEAST = 8, CELLS_MOST = 512, LETTERS = 26 };

static const char *const colors[] = { "\033[36m", "\033[33m", "\033[35m", "\033[32m", "\033[34m" };
#define COLOR_END  "\033[0m"
#define COLOR_DULL "\033[2m"

/* The runs of all parts, and what they add up to. A node has its letter by its place in 'node list', whatever else is
 * in the picture. */
struct legend {
        const struct node_rows *nodes;
        struct residency_rows rows;
        struct residency_sums sums;
        bool mixed;
};

static struct legend legend_of(struct ctl *c, const struct map_range *m) {
        struct svmd_residency_row *rows;
        struct legend l = { .nodes = &m->nodes };
        size_t count = 0;

        for (size_t i = 0; i < m->count; i++)
                count += m->parts[i].rows.count;
        rows = ctl_alloc(c, count * sizeof(*rows));
        l.rows = (struct residency_rows){ rows, count };
        for (size_t i = 0; i < m->count; i++) {
                if (m->parts[i].rows.count)
                        memcpy(rows, m->parts[i].rows.rows, m->parts[i].rows.count * sizeof(*rows));
                rows += m->parts[i].rows.count;
        }
        l.sums = residency_sums(c, &l.rows);
        return l;
}

static size_t place_of(const struct legend *l, svmd_node node) {
        size_t i = 0;

        while (i < l->nodes->count && l->nodes->rows[i].id != node)
                i++;
        return i;
}

/* Nodes beyond the alphabet share a star. */
static char letter_of(const struct legend *l, svmd_node node) {
        size_t i = place_of(l, node);

        return i < LETTERS ? (char)('A' + i) : '*';
}

static void draw_cell(struct ctl *c, const struct legend *l, const struct residency_cell *cell, svmd_node *last) {
        char letter = letter_of(l, cell->node);

        if (c->color && cell->node != *last) {
                fputs(COLOR_END, c->out);
                fputs(cell->node == SVMD_NODE_NONE
                              ? COLOR_DULL
                              : colors[place_of(l, cell->node) % (sizeof(colors) / sizeof(colors[0]))],
                      c->out);
        }
        *last = cell->node;
        if (cell->node == SVMD_NODE_NONE)
                fputs(c->utf8 ? "·" : ".", c->out);
        else
                fputc(cell->mixed && letter != '*' ? letter + ('a' - 'A') : letter, c->out);
}

static void draw_row(struct ctl *c, struct legend *l, uint64_t address, const struct residency_cell *cells,
                     size_t count) {
        svmd_node last = SVMD_NODE_NONE - 1;

        fprintf(c->out, "%-*s", ADDRESS, ctl_address(c, address));
        for (size_t i = 0; i < count; i++) {
                draw_cell(c, l, &cells[i], &last);
                l->mixed |= cells[i].mixed;
        }
        fprintf(c->out, "%s\n", c->color ? COLOR_END : "");
}

/* Bytes of a cell, for rows of `width` cells. */
static uint64_t cell_size(const struct target *t, size_t width) {
        uint64_t bytes = t->reservation->granule ? t->reservation->granule : SVMD_PAGE;

        while ((t->size + bytes - 1) / bytes > ROWS * width)
                bytes *= 2;
        return bytes;
}

static size_t row_width(unsigned width) {
        size_t cells = CELLS_LEAST;

        while (cells < CELLS_MOST && ADDRESS + 2 * cells <= width)
                cells *= 2;
        return cells;
}

static void draw_part(struct ctl *c, const struct map_part *p, struct legend *l, unsigned width) {
        uint64_t bytes = cell_size(&p->target, row_width(width));
        size_t row = row_width(width), count = (size_t)((p->target.size + bytes - 1) / bytes);
        struct residency_cell *cells = ctl_alloc(c, count * sizeof(*cells));

        residency_cells(c, cells, count, p->target.address, bytes, &p->rows, &l->sums);
        for (size_t i = 0; i < count; i += row)
                draw_row(c, l, p->target.address + i * bytes, cells + i, count - i < row ? count - i : row);
        fprintf(c->out, "%*sa cell is %s\n", ADDRESS, "", ctl_size(c, bytes));
}

static void draw_heading(struct ctl *c, const struct map_part *p) {
        const struct svmd_reservation_row *r = p->target.reservation;
        const char *size = ctl_size(c, p->target.size);

        if (*r->name)
                fputs(r->name, c->out);
        else
                fprintf(c->out, "of session %llu", (unsigned long long)r->session);
        fprintf(c->out, " in partition %s, %s\n%s to %s, %s", r->partition, show_kind(r),
                ctl_address(c, p->target.address), ctl_address(c, p->target.address + p->target.size), size);
        if (p->target.size < r->length)
                fprintf(c->out, " of %s", ctl_size(c, r->length));
        if (r->kind == SVMD_SHARED)
                fprintf(c->out, " in granules of %s\n", ctl_size(c, r->granule));
        else if (r->kind == SVMD_PRIVATE)
                fprintf(c->out, " of one process's own memory; residency is observed\n");
        else
                fprintf(c->out, "\nshows %s of memory objects, which lie where they were created\n",
                        ctl_size(c, r->mapped));
}

static const char *size_or_dash(struct ctl *c, uint64_t bytes) {
        return bytes ? ctl_size(c, bytes) : "-";
}

static bool has_private(const struct map_range *m) {
        for (size_t i = 0; i < m->count; i++)
                if (m->parts[i].target.reservation->kind == SVMD_PRIVATE)
                        return true;
        return false;
}

static void draw_legend(struct ctl *c, const struct map_range *m, const struct legend *l) {
        static const struct column columns[] = {
                { "CELL", 0 },
                { "NODE", 0 },
                { "HOLDS", COLUMN_RIGHT },
                { "SHARE", COLUMN_RIGHT },
                { "PINNED", COLUMN_RIGHT },
                { "MOVING", COLUMN_RIGHT },
                { "COPIES", COLUMN_RIGHT },
        };
        struct table *t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));
        uint64_t bytes = 0;

        for (size_t i = 0; i < l->sums.count; i++)
                bytes += l->sums.sums[i].bytes;
        for (size_t i = 0; i < l->sums.count; i++) {
                const struct residency_sum *s = &l->sums.sums[i];
                struct table_line *line = table_line(t, NULL);
                bool none = s->node == SVMD_NODE_NONE;

                table_cell(line, none ? (c->utf8 ? "·" : ".") : ctl_text(c, "%c", letter_of(l, s->node)));
                table_cell(line, none && has_private(m) ? "none"
                                 : none                 ? "none: zero"
                                                        : rows_node_name(c, &m->nodes, s->node));
                table_cell(line, ctl_size(c, s->bytes));
                table_cell(line, bytes ? ctl_text(c, "%.0f%%", 100.0 * (double)s->bytes / (double)bytes) : "-");
                table_cell(line, size_or_dash(c, s->pinned));
                table_cell(line, size_or_dash(c, s->busy));
                table_cell(line, size_or_dash(c, s->copies));
        }
        fputc('\n', c->out);
        table_print(t, NULL);
        if (l->mixed)
                fputs("A small letter: that node holds most of the cell, not all of it.\n", c->out);
}

/* Whether two granules in a row differ in nothing but their addresses. */
static bool alike(const struct svmd_residency_row *a, const struct svmd_residency_row *b) {
        return a->address + a->length == b->address && a->length == b->length && strcmp(a->state, b->state) == 0 &&
               strcmp(a->cause, b->cause) == 0 && a->node == b->node && a->pins == b->pins && a->busy == b->busy &&
               a->copies == b->copies && a->outs == b->outs && a->ins == b->ins;
}

static void draw_counters(struct ctl *c, const struct map_range *m, const struct legend *l) {
        static const struct column columns[] = {
                { "ADDRESS", 0 }, { "GRANULES", COLUMN_RIGHT }, { "STATE", 0 },           { "NODE", 0 },
                { "CAUSE", 0 },   { "PINS", COLUMN_RIGHT },     { "OUTS", COLUMN_RIGHT }, { "INS", COLUMN_RIGHT },
        };
        struct table *t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));
        size_t run;

        for (size_t i = 0; i < l->rows.count; i += run) {
                const struct svmd_residency_row *row = &l->rows.rows[i];
                struct table_line *line = table_line(t, NULL);

                for (run = 1; i + run < l->rows.count && alike(&row[run - 1], &row[run]);)
                        run++;
                table_cell(line, ctl_address(c, row->address));
                table_cell_count(line, run);
                table_cell(line, row->state);
                table_cell(line, row->node == SVMD_NODE_NONE ? "-" : rows_node_name(c, &m->nodes, row->node));
                table_cell(line, row->cause);
                table_cell_count(line, row->pins);
                table_cell_count(line, row->outs);
                table_cell_count(line, row->ins);
        }
        fputc('\n', c->out);
        table_print(t, NULL);
}

void map_range_draw(struct ctl *c, const struct map_range *m, unsigned width) {
        struct legend l = legend_of(c, m);

        for (size_t i = 0; i < m->count; i++) {
                if (i)
                        fputc('\n', c->out);
                draw_heading(c, &m->parts[i]);
                if (m->parts[i].target.reservation->kind == SVMD_EXPLICIT)
                        continue;
                fputc('\n', c->out);
                draw_part(c, &m->parts[i], &l, width);
        }
        if (l.rows.count)
                draw_legend(c, m, &l);
        if (m->counters && l.rows.count)
                draw_counters(c, m, &l);
}
