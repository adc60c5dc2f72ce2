#pragma once

#include <stdio.h>

/*
 * What pictures in SVG share: text that is safe whatever a program called itself, and colours that are told apart by
 * eyes that see few. From the ninth on they come again with stripes (svg_defs() has the patterns).
 */
enum { SVG_COLORS = 8 };

/* Escaped; bytes that are no UTF-8, and characters that XML has no place for, become "?". At most `most` characters,
 * the last of which is "…" where there were more; 0: all. */
void svg_escape(FILE *out, const char *text, unsigned most);
/* As the value of fill="". */
void svg_fill(FILE *out, unsigned n);
void svg_defs(FILE *out);
