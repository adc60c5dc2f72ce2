#include "table.h"

#include <libsmartcols.h>
#include <stdarg.h>
#include <stdlib.h>

#include "ctl.h"

struct table {
        struct ctl *ctl;
        struct libscols_table *scols;
        size_t columns;
};

struct table_line {
        struct table *table;
        struct libscols_line *scols;
        size_t at;
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

struct table *table_new(struct ctl *c, const struct column *columns, size_t count) {
        struct table *t = ctl_alloc(c, sizeof(*t));

        *t = (struct table){ .ctl = c, .scols = must_have(scols_new_table()), .columns = count };
        must(scols_table_set_stream(t->scols, c->out));
        must(scols_table_enable_colors(t->scols, c->color));
        must(scols_table_enable_ascii(t->scols, !c->utf8));
        must(scols_table_set_termforce(t->scols, c->terminal ? SCOLS_TERMFORCE_ALWAYS : SCOLS_TERMFORCE_NEVER));
        if (c->terminal)
                must(scols_table_set_termwidth(t->scols, c->width));
        for (size_t i = 0; i < count; i++)
                must_have(scols_table_new_column(t->scols, columns[i].name, 0, scols_flags(columns[i].flags)));
        return t;
}

struct table_line *table_line(struct table *t, struct table_line *parent) {
        struct table_line *l = ctl_alloc(t->ctl, sizeof(*l));

        *l = (struct table_line){ .table = t };
        l->scols = must_have(scols_table_new_line(t->scols, parent ? parent->scols : NULL));
        return l;
}

void table_cell(struct table_line *l, const char *text) {
        must(scols_line_set_data(l->scols, l->at++, text && *text ? text : "-"));
}

void table_cell_count(struct table_line *l, unsigned long long n) {
        table_cell(l, ctl_text(l->table->ctl, "%llu", n));
}

void table_cell_color(struct table_line *l, const char *text, const char *color) {
        table_cell(l, text);
        if (color)
                must(scols_cell_set_color(scols_line_get_cell(l->scols, l->at - 1), color));
}

void table_print(struct table *t) {
        must(scols_print_table(t->scols));
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
        table_print(f->table);
}
