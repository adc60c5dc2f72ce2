#include "expose.h"

#include <inttypes.h>

const char *expose_content_type(bool open_metrics) {
        return open_metrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                            : "text/plain; version=0.0.4; charset=utf-8";
}

static const char *type_name(enum family_type type, bool open_metrics) {
        switch (type) {
        case FAMILY_GAUGE: return "gauge";
        case FAMILY_COUNTER: return "counter";
        case FAMILY_HISTOGRAM: return "histogram";
        case FAMILY_INFO: return open_metrics ? "info" : "gauge";
        }
        return "unknown";
}

/* Of samples of the family. */
static const char *suffix(const struct family *f) {
        return f->type == FAMILY_COUNTER ? "_total" : f->type == FAMILY_INFO ? "_info" : "";
}

static void head(struct expose *e, const struct family *f) {
        const char *end = e->open_metrics ? "" : suffix(f);

        if (e->now == f)
                return;
        e->now = f;
        fprintf(e->out, "# HELP %s%s %s\n", f->name, end, f->help);
        fprintf(e->out, "# TYPE %s%s %s\n", f->name, end, type_name(f->type, e->open_metrics));
        if (e->open_metrics && f->unit)
                fprintf(e->out, "# UNIT %s %s\n", f->name, f->unit);
}

/* How many bytes the character has, or 0: it is none of UTF-8. */
static size_t character(const unsigned char *at) {
        static const struct {
                unsigned char mask, lead;
                uint32_t least;
        } kinds[] = { { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };

        for (size_t n = 0; n < sizeof(kinds) / sizeof(kinds[0]); n++) {
                uint32_t code = at[0] & (unsigned char)~kinds[n].mask;
                size_t i = 1;

                if ((at[0] & kinds[n].mask) != kinds[n].lead)
                        continue;
                for (; i <= n && (at[i] & 0xc0) == 0x80; i++)
                        code = code << 6 | (at[i] & 0x3f);
                return i <= n || code < kinds[n].least || code > 0x10ffff || (code & ~0x7ffu) == 0xd800 ? 0 : n + 1;
        }
        return 0;
}

/* Users name control groups as they like, and one wrong byte would cost the whole page. */
static void put_quoted(FILE *out, const char *text) {
        fputc('"', out);
        while (*text) {
                size_t n = character((const unsigned char *)text);

                if (*text == '\n')
                        fputs("\\n", out);
                else if (*text == '"' || *text == '\\')
                        fprintf(out, "\\%c", *text);
                else if (n)
                        fwrite(text, 1, n, out);
                else
                        fputc('?', out);
                text += n ? n : 1;
        }
        fputc('"', out);
}

/* `le`: one more, or NULL. */
static void put_name(struct expose *e, const struct family *f, const char *end, const struct label *labels,
                     const char *le) {
        const char *between = "{";

        fprintf(e->out, "%s%s", f->name, end);
        for (unsigned i = 0; labels && i < LABELS_MAX && labels[i].name; i++, between = ",") {
                fprintf(e->out, "%s%s=", between, labels[i].name);
                put_quoted(e->out, labels[i].value);
        }
        if (le)
                fprintf(e->out, "%sle=\"%s\"", between, le);
        fputs(*between == ',' || le ? "} " : " ", e->out);
}

static void put_created(struct expose *e, const struct family *f, const struct label *labels) {
        if (!e->open_metrics || !f->dated || e->since <= 0)
                return;
        put_name(e, f, "_created", labels, NULL);
        fprintf(e->out, "%.3f\n", e->since);
}

void expose_value(struct expose *e, const struct family *f, const struct label *labels, uint64_t value) {
        head(e, f);
        put_name(e, f, suffix(f), labels, NULL);
        fprintf(e->out, "%" PRIu64 "\n", value);
        put_created(e, f, labels);
}

void expose_real(struct expose *e, const struct family *f, const struct label *labels, double value) {
        head(e, f);
        put_name(e, f, suffix(f), labels, NULL);
        fprintf(e->out, "%.15g\n", value);
        put_created(e, f, labels);
}

void expose_histogram(struct expose *e, const struct family *f, const struct label *labels,
                      const struct expose_histogram *h) {
        uint64_t below = 0;
        char le[32];

        head(e, f);
        for (size_t i = 0; i < h->buckets_count; i++) {
                below += h->buckets[i];
                snprintf(le, sizeof(le), "%.9g", (double)(h->first_ns << i) / 1e9);
                put_name(e, f, "_bucket", labels, le);
                fprintf(e->out, "%" PRIu64 "\n", below);
        }
        put_name(e, f, "_bucket", labels, "+Inf");
        fprintf(e->out, "%" PRIu64 "\n", h->count);
        put_name(e, f, "_sum", labels, NULL);
        fprintf(e->out, "%.9f\n", (double)h->sum_ns / 1e9);
        put_name(e, f, "_count", labels, NULL);
        fprintf(e->out, "%" PRIu64 "\n", h->count);
        put_created(e, f, labels);
}

void expose_end(struct expose *e) {
        if (e->open_metrics)
                fputs("# EOF\n", e->out);
}
