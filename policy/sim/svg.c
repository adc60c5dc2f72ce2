#include <errno.h>

#include "policy/sim/report.h"

/*
 * A picture: for each run the residency of each node over time as stacked areas, and beside it a bar a link. All runs
 * have one scale, so that they can be compared.
 */
enum { LEFT = 110, TOP = 50, PLOT = 560, HEIGHT = 130, GAP = 44, BARS = 300 };

static const char *const colors[] = { "#4878a8", "#e08830", "#58a058", "#c04848",
                                      "#8868b0", "#907060", "#d080b0", "#808080" };
enum { COLORS = sizeof(colors) / sizeof(colors[0]) };

struct scale {
        uint64_t time, bytes, link;
};

static void text(FILE *f, int x, int y, const char *anchor, const char *s) {
        fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"%s\">", x, y, anchor);
        for (; *s; s++)
                switch (*s) {
                case '<': fputs("&lt;", f); break;
                case '>': fputs("&gt;", f); break;
                case '&': fputs("&amp;", f); break;
                default: fputc(*s, f);
                }
        fputs("</text>\n", f);
}

static uint64_t sum_at(const struct sim_tally *t, const struct sim_machine *m, unsigned sample, uint32_t below) {
        uint64_t sum = 0;

        for (uint32_t n = 0; n < below && n < m->count; n++)
                sum += t->samples[sample].used[n];
        return sum;
}

static void stretch(struct scale *s, const struct sim_tally *t, const struct sim_machine *m) {
        s->time = t->time_ns > s->time ? t->time_ns : s->time;
        for (unsigned i = 0; i < t->samples_count; i++) {
                uint64_t sum = sum_at(t, m, i, m->count);

                s->bytes = sum > s->bytes ? sum : s->bytes;
        }
        for (uint32_t a = 0; a < m->count; a++)
                for (uint32_t b = 0; b < m->count; b++)
                        s->link = t->moved[a][b] > s->link ? t->moved[a][b] : s->link;
}

static double x_of(const struct scale *s, uint64_t ns) {
        return LEFT + (double)ns / (double)(s->time ? s->time : 1) * PLOT;
}

static double y_of(const struct scale *s, int top, uint64_t bytes) {
        return top + HEIGHT - (double)bytes / (double)(s->bytes ? s->bytes : 1) * HEIGHT;
}

static void area(FILE *f, const struct scale *s, int top, const struct sim_tally *t, const struct sim_machine *m,
                 uint32_t node) {
        fprintf(f, "<path fill=\"%s\" d=\"", colors[node % COLORS]);
        for (unsigned i = 0; i < t->samples_count; i++)
                fprintf(f, "%s%.1f %.1f", i ? "L" : "M", x_of(s, t->samples[i].at_ns),
                        y_of(s, top, sum_at(t, m, i, node + 1)));
        for (unsigned i = t->samples_count; i--;)
                fprintf(f, "L%.1f %.1f", x_of(s, t->samples[i].at_ns), y_of(s, top, sum_at(t, m, i, node)));
        fputs("Z\"/>\n", f);
}

static void plot(FILE *f, const struct scale *s, int top, const char *name, const struct sim_tally *t,
                 const struct sim_machine *m) {
        char size[SIM_TEXT];

        text(f, LEFT - 8, top + HEIGHT / 2, "end", name);
        text(f, LEFT - 8, top + 10, "end", size_text(size, s->bytes));
        for (uint32_t n = 0; n < m->count; n++)
                if (t->samples_count && t->peak[n])
                        area(f, s, top, t, m, n);
        fprintf(f, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, top, top + HEIGHT, LEFT + PLOT);
        text(f, LEFT + PLOT, top + HEIGHT + 16, "end", time_text(size, s->time));
}

static void links(FILE *f, const struct scale *s, int top, const struct sim_tally *t, const struct sim_machine *m) {
        int y = top, left = LEFT + PLOT + 40;
        char line[120], size[SIM_TEXT];

        for (uint32_t a = 0; a < m->count; a++)
                for (uint32_t b = 0; b < m->count; b++) {
                        double width = (double)t->moved[a][b] / (double)(s->link ? s->link : 1) * BARS;

                        if (!t->moved[a][b] || y > top + HEIGHT - 20)
                                continue;
                        snprintf(line, sizeof(line), "%s to %s: %s", m->nodes[a].name, m->nodes[b].name,
                                 size_text(size, t->moved[a][b]));
                        text(f, left, y + 10, "start", line);
                        fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"8\" fill=\"%s\"/>\n", left, y + 14,
                                width < 1 ? 1 : width, colors[a % COLORS]);
                        y += 30;
                }
}

static void legend(FILE *f, const struct sim_machine *m) {
        int x = LEFT;

        for (uint32_t n = 0; n < m->count && n < 10; n++, x += 90) {
                fprintf(f, "<rect x=\"%d\" y=\"16\" width=\"10\" height=\"10\" fill=\"%s\"/>\n", x, colors[n % COLORS]);
                text(f, x + 14, 26, "start", m->nodes[n].name);
        }
}

static void draw(const struct report *r, FILE *f) {
        unsigned rows = r->count + (r->recorded != NULL);
        struct scale s = { 0 };
        int top = TOP;

        if (r->recorded)
                stretch(&s, r->recorded, r->recorded_machine);
        for (unsigned i = 0; i < r->count; i++)
                stretch(&s, &r->runs[i], r->machine);
        fprintf(f,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%u\" font-family=\"sans-serif\" "
                "font-size=\"12\">\n<style>.axis{fill:none;stroke:#444}</style>\n"
                "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
                LEFT + PLOT + 60 + BARS, TOP + rows * (HEIGHT + GAP));
        legend(f, r->machine);
        if (r->recorded) {
                plot(f, &s, top, "recorded", r->recorded, r->recorded_machine);
                links(f, &s, top, r->recorded, r->recorded_machine);
                top += HEIGHT + GAP;
        }
        for (unsigned i = 0; i < r->count; i++, top += HEIGHT + GAP) {
                plot(f, &s, top, r->names[i], &r->runs[i], r->machine);
                links(f, &s, top, &r->runs[i], r->machine);
        }
        fputs("</svg>\n", f);
}

int report_svg(const struct report *r, const char *path) {
        FILE *f = fopen(path, "we");
        bool failed;

        if (!f)
                return -errno;
        draw(r, f);
        failed = ferror(f);
        if (fclose(f) || failed)
                return errno ? -errno : -EIO;
        return 0;
}
