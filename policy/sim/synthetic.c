#include "policy/sim/synthetic.h"

#include <errno.h>
#include <json-c/json.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "policy/sim/cluster.h"
#include "policy/sim/report.h"

/* "nodes=8..1024,pages=1000000,...": from A to B in steps of two, pages in steps of ten. */
struct span {
        uint64_t from, to;
};

struct asked {
        struct span nodes, pages, events, seed;
        enum cluster_pattern pattern;
};

static bool span_parse(struct span *s, const char *text, uint64_t least, uint64_t most) {
        char *end;

        errno = 0;
        s->from = s->to = strtoull(text, &end, 10);
        if (end != text && strncmp(end, "..", 2) == 0) {
                text = end + 2;
                s->to = strtoull(text, &end, 10);
        }
        return !errno && end != text && !*end && text[0] != '-' && s->from >= least && s->to >= s->from &&
               s->to <= most;
}

static bool pattern_parse(struct asked *a, const char *text) {
        for (unsigned i = 0; i < _CLUSTER_PATTERNS; i++)
                if (strcmp(text, cluster_patterns[i]) == 0) {
                        a->pattern = (enum cluster_pattern)i;
                        return true;
                }
        return false;
}

static bool key_parse(struct asked *a, const char *key, const char *value) {
        if (strcmp(key, "nodes") == 0)
                return span_parse(&a->nodes, value, 2, 65535);
        if (strcmp(key, "pages") == 0)
                return span_parse(&a->pages, value, 64, 1ull << 31);
        if (strcmp(key, "events") == 0)
                return span_parse(&a->events, value, 1, 1ull << 40) && a->events.from == a->events.to;
        if (strcmp(key, "seed") == 0)
                return span_parse(&a->seed, value, 0, UINT64_MAX) && a->seed.from == a->seed.to;
        return strcmp(key, "pattern") == 0 && pattern_parse(a, value);
}

static bool parse(struct asked *a, const char *text, FILE *err) {
        char *copy = strdup(text), *rest = copy, *key;
        bool good = copy;

        *a = (struct asked){ { 8, 8 }, { 100000, 100000 }, { 1000000, 1000000 }, { 1, 1 }, CLUSTER_RANDOM };
        while (good && (key = strsep(&rest, ","))) {
                char *value = strchr(key, '=');

                if (value)
                        *value++ = '\0';
                good = value && key_parse(a, key, value);
                if (!good)
                        fprintf(err,
                                "svmd-sim: --synthetic '%s': expected nodes=2..65535, pages=64..2147483648, events=N, seed=N, "
                                "pattern=random|stream|hot\n",
                                key);
        }
        free(copy);
        return good;
}

struct output {
        struct libscols_table *table;
        struct json_object *rows;
};

static void cell(struct libscols_line *l, size_t at, const char *format, double x) {
        char text[SIM_TEXT];

        snprintf(text, sizeof(text), format, x);
        scols_line_set_data(l, at, text);
}

static void row_table(struct output *o, const struct cluster_args *a, const struct cluster_result *r) {
        struct libscols_line *l = scols_table_new_line(o->table, NULL);

        cell(l, 0, "%.0f", a->nodes);
        cell(l, 1, "%.0f", (double)a->pages);
        cell(l, 2, "%.0f", (double)a->events);
        cell(l, 3, "%.0f", (double)r->moves);
        cell(l, 4, "%.0f", (double)r->evictions);
        cell(l, 5, "%.0f", r->event_ns);
        for (unsigned d = 0; d < _CLUSTER_DECISIONS; d++)
                cell(l, 6 + d, r->calls[d] ? "%.0f" : "-", r->ns[d]);
        cell(l, 6 + _CLUSTER_DECISIONS, "%.1f", (double)r->bytes / (double)a->pages);
}

static void row_json(struct output *o, const struct cluster_args *a, const struct cluster_result *r) {
        struct json_object *row = json_object_new_object(), *ns = json_object_new_object();
        char sum[24];

        json_object_object_add(row, "nodes", json_object_new_uint64(a->nodes));
        json_object_object_add(row, "pages", json_object_new_uint64(a->pages));
        json_object_object_add(row, "events", json_object_new_uint64(a->events));
        json_object_object_add(row, "pattern", json_object_new_string(cluster_patterns[a->pattern]));
        json_object_object_add(row, "first_touches", json_object_new_uint64(r->first));
        json_object_object_add(row, "moves", json_object_new_uint64(r->moves));
        json_object_object_add(row, "evictions", json_object_new_uint64(r->evictions));
        snprintf(sum, sizeof(sum), "%016llx", (unsigned long long)r->checksum);
        json_object_object_add(row, "checksum", json_object_new_string(sum));
        json_object_object_add(row, "event_ns", json_object_new_double(r->event_ns));
        for (unsigned d = 0; d < _CLUSTER_DECISIONS; d++)
                json_object_object_add(ns, cluster_decisions[d], json_object_new_double(r->ns[d]));
        json_object_object_add(row, "decision_ns", ns);
        json_object_object_add(row, "memory_bytes", json_object_new_uint64(r->bytes));
        json_object_array_add(o->rows, row);
}

static void run_all(const struct asked *s, const struct policy_profile *profile, struct output *o) {
        for (uint64_t n = s->nodes.from; n <= s->nodes.to; n *= 2)
                for (uint64_t p = s->pages.from; p <= s->pages.to; p *= 10) {
                        struct cluster_args a = { (uint32_t)n, p, s->events.from, s->pattern, s->seed.from, profile };
                        struct cluster_result r;

                        cluster_run(&r, &a);
                        (o->rows ? row_json : row_table)(o, &a, &r);
                }
}

int synthetic_run(const char *text, const struct policy_profile *profile, bool json, FILE *out, FILE *err) {
        static const char *const columns[] = { "NODES", "PAGES",   "EVENTS", "MOVES",    "EVICTIONS", "NS/EVENT",
                                               "PLACE", "PROMOTE", "EVICT",  "PREFETCH", "BYTES/PAGE" };
        struct output o = { 0 };
        struct asked a;

        if (!parse(&a, text, err))
                return 2;
        if (json)
                o.rows = json_object_new_array();
        else
                o.table = scols_new_table();
        for (unsigned i = 0; o.table && i < sizeof(columns) / sizeof(columns[0]); i++)
                scols_table_new_column(o.table, columns[i], 0, SCOLS_FL_RIGHT);
        run_all(&a, profile, &o);
        if (o.table) {
                scols_table_set_stream(o.table, out);
                scols_print_table(o.table);
                scols_unref_table(o.table);
        } else {
                fprintf(out, "%s\n", json_object_to_json_string_ext(o.rows, JSON_C_TO_STRING_PRETTY));
                json_object_put(o.rows);
        }
        return 0;
}
