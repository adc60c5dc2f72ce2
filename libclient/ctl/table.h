#pragma once

#include <stddef.h>

struct ctl;
struct table;
struct table_line;

enum {
        COLUMN_TEXT = 0,
        COLUMN_RIGHT = 1, /* numbers and sizes */
        COLUMN_TRUNC = 2, /* gives way on a narrow terminal */
        COLUMN_TREE = 4,  /* lines are shown below their parent */
        COLUMN_WRAP = 8,  /* sentences, in the last column: go on in the next line on a narrow terminal */
};

struct column {
        const char *name;
        unsigned flags;
};

/* A table of text, built line by line and written once. At most 16 columns; text handed in lives till then. */
struct table *table_new(struct ctl *c, const struct column *columns, size_t count);
/* A line below `parent` (NULL: at the top). */
struct table_line *table_line(struct table *t, struct table_line *parent);
/* The next cell of a line. NULL and "" are shown as "-". */
void table_cell(struct table_line *l, const char *text);
void table_cell_count(struct table_line *l, unsigned long long n);
/* The next cell, in an ANSI colour name of libsmartcols ("red"), where colours are on. */
void table_cell_color(struct table_line *l, const char *text, const char *color);
/* Writes and frees. Instead of a table without lines, `none` is written (NULL: nothing). */
void table_print(struct table *t, const char *none);
/* One that is not printed after all. */
void table_drop(struct table *t);

/* "  name      text" lines, for what has one value each. */
struct fields;
struct fields *fields_new(struct ctl *c);
void fields_add(struct fields *f, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
void fields_print(struct fields *f);

/* A sentence in lines of its own; on a terminal they keep to its width. */
void table_sentence(struct ctl *c, const char *text);
