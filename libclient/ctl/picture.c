#include "picture.h"

#include <stdlib.h>
#include <string.h>

#include "size.h"

typedef unsigned __int128 wide;

static const char *const shades_utf8[PICTURE_LEVELS] = { "·", "░", "▒", "▓", "█" };
static const char *const shades_ascii[PICTURE_LEVELS] = { ".", "-", "+", "*", "#" };
static const char *const colors[] = { "\033[36m", "\033[33m", "\033[35m", "\033[32m", "\033[34m" };
#define COLOR_END  "\033[0m"
#define COLOR_DULL "\033[2m"

/* Where cell `i` begins, in bytes from the base. */
static uint64_t cell_start(unsigned i, unsigned width, uint64_t length) {
        return (uint64_t)((wide)length * i / width);
}

static unsigned cell_of(uint64_t offset, unsigned width, uint64_t length) {
        unsigned i = (unsigned)((wide)offset * width / length);

        while (i + 1 < width && cell_start(i + 1, width, length) <= offset)
                i++;
        return i;
}

void picture_levels(uint8_t *cells, unsigned width, uint64_t base, uint64_t length, const struct picture_range *ranges,
                    size_t count) {
        uint64_t *covered = calloc(width, sizeof(*covered));

        memset(cells, 0, width);
        for (size_t i = 0; covered && length && i < count; i++) {
                uint64_t from = ranges[i].address - base, to = from + ranges[i].length;

                for (unsigned cell = cell_of(from, width, length); cell < width; cell++) {
                        uint64_t start = cell_start(cell, width, length), end = cell_start(cell + 1, width, length);

                        if (start >= to)
                                break;
                        covered[cell] += (end < to ? end : to) - (start > from ? start : from);
                }
        }
        for (unsigned cell = 0; covered && length && cell < width; cell++) {
                uint64_t size = cell_start(cell + 1, width, length) - cell_start(cell, width, length);

                if (covered[cell])
                        cells[cell] = (uint8_t)(((wide)covered[cell] * 4 + size - 1) / size);
        }
        free(covered);
}

static void put_color(const struct picture *p, const char *color) {
        if (p->color)
                fputs(color, p->out);
}

void picture_slice(const struct picture *p, uint64_t base, uint64_t length, const struct picture_range *ranges,
                   size_t count) {
        uint8_t cells[PICTURE_WIDTH_MAX];
        unsigned last = PICTURE_LEVELS;

        picture_levels(cells, p->width, base, length, ranges, count);
        for (unsigned i = 0; i < p->width; i++) {
                if ((cells[i] > 0) != (last > 0) || last == PICTURE_LEVELS) {
                        put_color(p, COLOR_END);
                        put_color(p, cells[i] ? colors[0] : COLOR_DULL);
                }
                fputs((p->utf8 ? shades_utf8 : shades_ascii)[cells[i]], p->out);
                last = cells[i];
        }
        put_color(p, COLOR_END);
}

static unsigned digits(size_t n) {
        unsigned count = 1;

        while (n >= 10) {
                n /= 10;
                count++;
        }
        return count;
}

/* Spans in order with their least widths, not yet placed: a range takes its number and a space. */
static size_t spans_least(struct picture_span *spans, uint64_t base, uint64_t length,
                          const struct picture_range *ranges, size_t count, uint64_t *ret_width, uint64_t *ret_bytes) {
        uint64_t at = base, width = 0, bytes = 0;
        size_t n = 0;

        for (size_t i = 0; i < count; i++) {
                if (ranges[i].address > at)
                        spans[n++] = (struct picture_span){ .range = SIZE_MAX, .width = 2 };
                spans[n++] = (struct picture_span){ .range = i, .width = digits(i + 1) + 1 };
                at = ranges[i].address + ranges[i].length;
                bytes += ranges[i].length;
        }
        if (at < base + length)
                spans[n++] = (struct picture_span){ .range = SIZE_MAX, .width = 2 };
        for (size_t i = 0; i < n; i++)
                width += spans[i].width;
        *ret_width = width;
        *ret_bytes = bytes;
        return n;
}

size_t picture_spans(struct picture_span *spans, unsigned width, uint64_t base, uint64_t length,
                     const struct picture_range *ranges, size_t count) {
        uint64_t least, bytes;
        size_t n = spans_least(spans, base, length, ranges, count, &least, &bytes);
        unsigned column = 0, line = 0;

        for (size_t i = 0; i < n; i++) {
                if (least <= width && spans[i].range != SIZE_MAX)
                        spans[i].width += (unsigned)((wide)(width - least) * ranges[spans[i].range].length / bytes);
                if (column + spans[i].width > width) {
                        line++;
                        column = 0;
                }
                spans[i].line = line;
                spans[i].column = column;
                column += spans[i].width;
        }
        return n;
}

/* The last cell of a span stays empty, so that neighbours are told apart. */
static void put_span(const struct picture *p, const struct picture_span *s, const struct picture_range *ranges) {
        const char *const *shades = p->utf8 ? shades_utf8 : shades_ascii;
        unsigned body = s->width - 1, mapped = 0;

        if (s->range == SIZE_MAX) {
                put_color(p, COLOR_DULL);
        } else {
                mapped = (unsigned)(((wide)ranges[s->range].mapped * body + ranges[s->range].length - 1) /
                                    ranges[s->range].length);
                put_color(p, colors[s->range % (sizeof(colors) / sizeof(colors[0]))]);
        }
        for (unsigned i = 0; i < body; i++)
                fputs(shades[s->range == SIZE_MAX ? 0 : i < mapped ? 4 : 1], p->out);
        put_color(p, COLOR_END);
}

static void put_bars(const struct picture *p, const struct picture_span *spans, size_t count,
                     const struct picture_range *ranges) {
        for (size_t i = 0; i < count; i++) {
                put_span(p, &spans[i], ranges);
                if (i + 1 < count)
                        fputc(' ', p->out);
        }
        fputc('\n', p->out);
}

static void put_numbers(const struct picture *p, const struct picture_span *spans, size_t count) {
        unsigned column = 0;

        fprintf(p->out, "%*s", (int)p->indent, "");
        for (size_t i = 0; i < count; i++) {
                if (spans[i].range == SIZE_MAX)
                        continue;
                fprintf(p->out, "%*s%zu", (int)(spans[i].column - column), "", spans[i].range + 1);
                column = spans[i].column + digits(spans[i].range + 1);
        }
        fputc('\n', p->out);
}

size_t picture_zoom(const struct picture *p, uint64_t base, uint64_t length, const struct picture_range *ranges,
                    size_t count, bool numbered, unsigned most_lines) {
        struct picture_span *spans = calloc(2 * count + 1, sizeof(*spans));
        size_t n = spans ? picture_spans(spans, p->width, base, length, ranges, count) : 0, shown = 0, end;

        for (size_t i = 0; i < n; i = end) {
                if (most_lines && spans[i].line >= most_lines)
                        break;
                for (end = i; end < n && spans[end].line == spans[i].line; end++)
                        shown += spans[end].range != SIZE_MAX;
                if (spans[i].line)
                        fprintf(p->out, "%*s", (int)p->indent, "");
                put_bars(p, spans + i, end - i, ranges);
                if (numbered)
                        put_numbers(p, spans + i, end - i);
        }
        free(spans);
        return shown;
}
