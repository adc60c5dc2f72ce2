#include "table.h"

#include <libsmartcols.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

enum { COLUMNS = 16 };

struct table {
        struct ctl *ctl;
        struct libscols_table *scols;
        size_t columns;
        unsigned width[COLUMNS]; /* of the widest cell */
        unsigned gap;            /* between columns */
        bool wraps;              /* the last column does */
        struct table_line *last; /* line */
};

struct table_line {
        struct table *table;
        struct libscols_line *scols;
        struct table_line *before;
        size_t at;
        const char *text; /* of the last cell */
};

/* libsmartcols fails for want of memory alone. */
static void must(int r) {
        if (r != 0)
                obstack_alloc_failed_handler();
}

static void *must_have(void *p) {
        if (!p)
                obstack_alloc_failed_handler();
        return p;
}

static int scols_flags(unsigned flags) {
        return (flags & COLUMN_RIGHT ? SCOLS_FL_RIGHT : 0) | (flags & COLUMN_TRUNC ? SCOLS_FL_TRUNC : 0) |
               (flags & COLUMN_TREE ? SCOLS_FL_TREE : 0) | (flags & COLUMN_WRAP ? SCOLS_FL_WRAP : 0);
}

/* Sentences come to libsmartcols broken into lines. */
static void column_new(struct table *t, size_t i, const struct column *column) {
        struct libscols_column *scols =
                must_have(scols_table_new_column(t->scols, column->name, 0, scols_flags(column->flags)));

        t->width[i] = (unsigned)strlen(column->name);
        if (!(column->flags & COLUMN_WRAP))
                return;
        t->wraps = true;
        must(scols_column_set_wrapfunc(scols, scols_wrapnl_chunksize, scols_wrapnl_nextchunk, NULL));
        must(scols_column_set_safechars(scols, "\n"));
}

struct table *table_new(struct ctl *c, const struct column *columns, size_t count) {
        struct table *t = ctl_alloc(c, sizeof(*t));

        *t = (struct table){ .ctl = c, .scols = must_have(scols_new_table()), .columns = count, .gap = 1 };
        must(scols_table_set_stream(t->scols, c->out));
        must(scols_table_enable_colors(t->scols, c->color));
        must(scols_table_enable_ascii(t->scols, !c->utf8));
        must(scols_table_set_termforce(t->scols, c->terminal ? SCOLS_TERMFORCE_ALWAYS : SCOLS_TERMFORCE_NEVER));
        if (c->terminal)
                must(scols_table_set_termwidth(t->scols, c->width));
        for (size_t i = 0; i < count; i++)
                column_new(t, i, &columns[i]);
        return t;
}

struct table_line *table_line(struct table *t, struct table_line *parent) {
        struct table_line *l = ctl_alloc(t->ctl, sizeof(*l));

        *l = (struct table_line){ .table = t, .before = t->last };
        t->last = l;
        l->scols = must_have(scols_table_new_line(t->scols, parent ? parent->scols : NULL));
        return l;
}

void table_cell(struct table_line *l, const char *text) {
        unsigned *width = &l->table->width[l->at];

        l->text = text && *text ? text : "-";
        if (strlen(l->text) > *width)
                *width = (unsigned)strlen(l->text);
        must(scols_line_set_data(l->scols, l->at++, l->text));
}

void table_cell_count(struct table_line *l, unsigned long long n) {
        table_cell(l, ctl_text(l->table->ctl, "%llu", n));
}

void table_cell_color(struct table_line *l, const char *text, const char *color) {
        table_cell(l, text);
        if (color)
                must(scols_cell_set_color(scols_line_get_cell(l->scols, l->at - 1), color));
}

/* The text with lines of at most `width`, broken between words where that is possible. */
static char *broken(struct ctl *c, const char *text, unsigned width) {
        char *copy = ctl_copy(c, text), *line = copy, *space = NULL;

        for (char *at = copy; *at; at++) {
                if (*at == ' ')
                        space = at;
                if (at - line >= width && space) {
                        *space = '\n';
                        line = space + 1;
                        space = NULL;
                }
        }
        return copy;
}

static void wrap_lines(struct table *t) {
        unsigned taken = 0;

        for (size_t i = 0; i + 1 < t->columns; i++)
                taken += t->width[i] + t->gap;
        if (taken + 20 > t->ctl->width)
                return;
        for (struct table_line *l = t->last; l; l = l->before)
                must(scols_line_set_data(l->scols, t->columns - 1, broken(t->ctl, l->text, t->ctl->width - taken)));
}

void table_print(struct table *t, const char *none) {
        if (t->wraps && t->ctl->terminal)
                wrap_lines(t);
        if (!t->last && none)
                fprintf(t->ctl->out, "%s\n", none);
        must(scols_print_table(t->scols));
        table_drop(t);
}

void table_drop(struct table *t) {
        scols_unref_table(t->scols);
}

struct fields {
        struct ctl *ctl;
        struct table *table;
};

struct fields *fields_new(struct ctl *c) {
        static const struct column columns[] = { { "name", 0 }, { "text", COLUMN_WRAP } };
        struct fields *f = ctl_alloc(c, sizeof(*f));

        *f = (struct fields){ .ctl = c, .table = table_new(c, columns, 2) };
        must(scols_table_enable_noheadings(f->table->scols, 1));
        must(scols_table_set_column_separator(f->table->scols, "  "));
        f->table->gap = 2;
        return f;
}

void fields_add(struct fields *f, const char *name, const char *format, ...) {
        struct table_line *l = table_line(f->table, NULL);
        va_list args;

        table_cell(l, ctl_text(f->ctl, "  %s", name));
        va_start(args, format);
        obstack_vprintf(&f->ctl->pool, format, args);
        va_end(args);
        obstack_1grow(&f->ctl->pool, '\0');
        table_cell(l, obstack_finish(&f->ctl->pool));
}

void fields_print(struct fields *f) {
        table_print(f->table, NULL);
}

void table_sentence(struct ctl *c, const char *text) {
        fprintf(c->out, "%s\n", c->terminal ? broken(c, text, c->width) : text);
}
