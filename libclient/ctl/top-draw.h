#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct top_model;

enum top_style {
        TOP_PLAIN,
        TOP_DIM,
        TOP_BOLD,
        TOP_HEAD,
        TOP_MARK,
        TOP_GOOD,
        TOP_WARN,
        TOP_BAD,
        TOP_SPARK,
        _TOP_STYLES
};

/* One character, one column wide. */
struct top_cell {
        char text[5];
        uint8_t style;
};
struct top_screen {
        unsigned lines, columns;
        bool utf8;
        struct top_cell *cells; /* lines * columns */
};

/* `lines` 0: as many as everything takes. false: there is no memory. */
bool top_screen_init(struct top_screen *s, unsigned lines, unsigned columns, bool utf8);
void top_screen_fini(struct top_screen *s);
/* Fills the screen, of any size, and scrolls the parts so that their marks are seen. */
void top_draw(struct top_model *m, struct top_screen *s, uint64_t now_ns);
/* For who has no terminal: every row that passes the filter, without marks and keys. `columns` wide at most. */
void top_print(struct top_model *m, FILE *out, unsigned columns, bool utf8);
