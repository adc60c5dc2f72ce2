#include "accept.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * An Accept header is a list of ranges, "type/subtype;parameter=value;q=0.5, ...". A format has the quality of the
 * range that speaks of it most precisely; a version that it does not have is another format.
 */
enum precision { NONE, ANYTHING, ANY_SUBTYPE, NAMED };

struct format {
        const char *type, *any, *version;
};
static const struct format open_metrics = { "application/openmetrics-text", "application/*", "1.0.0" };
static const struct format text = { "text/plain", "text/*", "0.0.4" };

struct span {
        const char *at;
        size_t size;
};

struct wish {
        enum precision precision;
        double quality;
};

static struct span trimmed(const char *at, size_t size) {
        while (size && strchr(" \t", *at)) {
                at++;
                size--;
        }
        while (size && strchr(" \t", at[size - 1]))
                size--;
        return (struct span){ at, size };
}

/* What stands before the mark; `rest` is what stands behind it. */
static struct span cut(struct span *rest, char mark) {
        const char *end = rest->size ? memchr(rest->at, mark, rest->size) : NULL;
        size_t size = end ? (size_t)(end - rest->at) : rest->size;
        struct span first = trimmed(rest->at, size);

        rest->at += end ? size + 1 : size;
        rest->size -= end ? size + 1 : size;
        return first;
}

static bool is(struct span s, const char *word) {
        return s.size == strlen(word) && strncasecmp(s.at, word, s.size) == 0;
}

static enum precision precision_of(struct span type, const struct format *f) {
        if (is(type, f->type))
                return NAMED;
        if (is(type, f->any))
                return ANY_SUBTYPE;
        return is(type, "*/*") ? ANYTHING : NONE;
}

/* From 0 to 1; what is no number counts as 1. */
static double quality_of(struct span value) {
        char number[16] = "";
        char *end;
        double q;

        if (value.size >= sizeof(number))
                return 1;
        memcpy(number, value.at, value.size);
        q = strtod(number, &end);
        return *end || end == number || !(q >= 0 && q <= 1) ? 1 : q;
}

static void hear(struct span range, const struct format *f, struct wish *w) {
        enum precision precision = precision_of(cut(&range, ';'), f);
        double quality = 1;

        while (range.size) {
                struct span value = cut(&range, ';'), name = cut(&value, '=');

                value = trimmed(value.at, value.size);
                if (is(name, "q"))
                        quality = quality_of(value);
                else if (is(name, "version") && precision == NAMED && !is(value, f->version))
                        precision = NONE;
        }
        if (precision > w->precision || (precision && precision == w->precision && quality > w->quality))
                *w = (struct wish){ precision, quality };
}

bool accept_open_metrics(const char *header) {
        struct span rest = { header, header ? strlen(header) : 0 };
        struct wish open = { 0 }, plain = { 0 };

        while (rest.size) {
                struct span range = cut(&rest, ',');

                hear(range, &open_metrics, &open);
                hear(range, &text, &plain);
        }
        if (open.quality == plain.quality)
                return open.quality > 0 && open.precision == NAMED;
        return open.quality > plain.quality;
}
