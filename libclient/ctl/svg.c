#include "svg.h"

#include <stdbool.h>
#include <stdint.h>

#include "utf8.h"

/* Of Okabe and Ito: far apart for all kinds of colour blindness, in print, and beside white and grey. */
static const char *const colors[SVG_COLORS] = { "#0072b2", "#e69f00", "#009e73", "#d55e00",
                                                "#cc79a7", "#56b4e9", "#b8a500", "#5b4a9e" };

static bool has_place(uint32_t c) {
        return c >= 0x20 && c != 0x7f && c != 0xfffe && c != 0xffff && !(c >= 0x80 && c < 0xa0);
}

static unsigned characters(const char *text) {
        unsigned n = 0;

        for (uint32_t c; *text; n++) {
                unsigned length = utf8_decode(text, &c);

                text += length ? length : 1;
        }
        return n;
}

void svg_escape(FILE *out, const char *text, unsigned most) {
        bool cut = most && characters(text) > most;

        for (unsigned n = 0; *text && (!most || n < most - cut); n++) {
                uint32_t c = 0;
                unsigned length = utf8_decode(text, &c);

                switch (length && has_place(c) ? c : '?') {
                case '<': fputs("&lt;", out); break;
                case '>': fputs("&gt;", out); break;
                case '&': fputs("&amp;", out); break;
                case '"': fputs("&quot;", out); break;
                case '\'': fputs("&apos;", out); break;
                case '?': fputc('?', out); break;
                default: fwrite(text, 1, length, out);
                }
                text += length ? length : 1;
        }
        if (cut)
                fputs("…", out);
}

void svg_fill(FILE *out, unsigned n) {
        if (n < SVG_COLORS)
                fputs(colors[n], out);
        else
                fprintf(out, "url(#s%u)", n % SVG_COLORS);
}

void svg_defs(FILE *out) {
        fputs("<defs>\n", out);
        for (unsigned i = 0; i < SVG_COLORS; i++)
                fprintf(out,
                        "<pattern id=\"s%u\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\" "
                        "patternTransform=\"rotate(45)\"><rect width=\"4\" height=\"4\" fill=\"%s\"/><rect width=\"1.6\" "
                        "height=\"4\" fill=\"#fff\"/></pattern>\n",
                        i, colors[i]);
        fputs("</defs>\n", out);
}
