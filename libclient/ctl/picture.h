#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Pictures of address ranges in character cells.
 *
 * A slice bar is to scale: each cell stands for the same share of the slice and shows how much of it is reserved, in
 * four steps; what is reserved at all is never shown as free.
 * A zoom shows reservations alone, each at least wide enough for its number, in proportion where they fit in one line;
 * whatever lies free between two of them is one cell. Reservations must be in address order and not overlap.
 */
struct picture_range {
        uint64_t address, length;
        uint64_t mapped; /* bytes that show memory */
};

struct picture {
        FILE *out;
        unsigned width;  /* cells that a bar may take: 8 to 1000 */
        unsigned indent; /* spaces in front of the second line of a zoom and the next */
        bool utf8, color;
};

enum { PICTURE_WIDTH_MAX = 1000, PICTURE_LEVELS = 5 };

/* cells[i]: 0 nothing of that share is reserved, 1 to 4: up to that many quarters of it. */
void picture_levels(uint8_t *cells, unsigned width, uint64_t base, uint64_t length, const struct picture_range *ranges,
                    size_t count);
/* The bar, without an end of line. */
void picture_slice(const struct picture *p, uint64_t base, uint64_t length, const struct picture_range *ranges,
                   size_t count);

struct picture_span {
        size_t range; /* which; SIZE_MAX: free addresses */
        unsigned line, column, width;
};
/* Where a zoom shows what: fills at most 2 * count + 1 spans, returns how many. */
size_t picture_spans(struct picture_span *spans, unsigned width, uint64_t base, uint64_t length,
                     const struct picture_range *ranges, size_t count);
/* The zoom, begun where the output stands; `numbered` adds a line of numbers below each. At most `most_lines` lines of
 * bars (0: all). Ends its lines. Returns how many ranges it showed. */
size_t picture_zoom(const struct picture *p, uint64_t base, uint64_t length, const struct picture_range *ranges,
                    size_t count, bool numbered, unsigned most_lines);
