#include "policy/sim/report.h"

#include <json-c/json.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>

#include "engine/managed.h"

/*
 * Tables: a line a run, and a line a link or node. Under them bars (bytes per link) and sparklines (residency over
 * time), in UTF-8 or plain letters.
 */
static void must(int r) {
        if (r != 0) {
                fputs("svmd-sim: out of memory\n", stderr);
                exit(1);
        }
}

static const struct sim_tally *run_at(const struct report *r, unsigned i, const struct sim_machine **m,
                                      const char **name) {
        bool recorded = r->recorded && i == 0;
        unsigned k = i - (r->recorded != NULL);

        *m = recorded ? r->recorded_machine : r->machine;
        *name = recorded ? "recorded" : r->names[k];
        return recorded ? r->recorded : &r->runs[k];
}

static unsigned runs(const struct report *r) {
        return r->count + (r->recorded != NULL);
}

/* ---- tables ---- */

static struct libscols_table *table_new(const struct report *r, const char *const *columns) {
        struct libscols_table *t = scols_new_table();

        must(!t);
        scols_table_enable_colors(t, r->color);
        if (!r->utf8)
                scols_table_enable_ascii(t, 1);
        for (unsigned i = 0; columns[i]; i++)
                must(!scols_table_new_column(t, columns[i], 0, i ? SCOLS_FL_RIGHT : 0));
        return t;
}

static void cell(struct libscols_line *l, size_t column, const char *text) {
        must(scols_line_set_data(l, column, text));
}

static void cell_count(struct libscols_line *l, size_t column, uint64_t n) {
        char text[SIM_TEXT];

        snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
        cell(l, column, text);
}

static void table_print(struct libscols_table *t, FILE *out) {
        scols_table_set_stream(t, out);
        must(scols_print_table(t) < 0);
        scols_unref_table(t);
}

static void print_runs(const struct report *r, FILE *out) {
        static const char *const columns[] = { "POLICY",  "TIME",  "FAULTS",    "DEVICE",  "STALLED",
                                               "LONGEST", "MOVED", "EVICTIONS", "REFUSED", NULL };
        struct libscols_table *t = table_new(r, columns);
        char text[SIM_TEXT];

        for (unsigned i = 0; i < runs(r); i++) {
                const struct sim_machine *m;
                const char *name;
                const struct sim_tally *y = run_at(r, i, &m, &name);
                struct libscols_line *l = scols_table_new_line(t, NULL);
                bool recorded = y == r->recorded;

                must(!l);
                cell(l, 0, name);
                cell(l, 1, time_text(text, y->time_ns));
                cell_count(l, 2, y->faults);
                cell_count(l, 3, y->device_faults);
                cell(l, 4, recorded ? "-" : time_text(text, y->stalled_ns));
                cell(l, 5, recorded ? "-" : time_text(text, y->stall_max_ns));
                cell(l, 6, size_text(text, tally_link_bytes(y)));
                cell_count(l, 7, y->evictions);
                if (recorded)
                        cell(l, 8, "-");
                else
                        cell_count(l, 8, y->refused);
        }
        table_print(t, out);
}

static void bar(const struct report *r, FILE *out, uint64_t value, uint64_t most, unsigned width) {
        unsigned eighths = most ? (unsigned)((double)value / (double)most * width * 8 + 0.5) : 0;
        static const char *const parts[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };

        if (!r->utf8) {
                for (unsigned i = 0; i < (eighths + 4) / 8; i++)
                        fputc('#', out);
                return;
        }
        for (unsigned i = 0; i < eighths / 8; i++)
                fputs("█", out);
        fputs(parts[eighths % 8], out);
}

static uint64_t most_moved(const struct report *r) {
        uint64_t most = 0;

        for (unsigned i = 0; i < runs(r); i++) {
                const struct sim_machine *m;
                const char *name;
                const struct sim_tally *y = run_at(r, i, &m, &name);

                for (uint32_t a = 0; a < m->count; a++)
                        for (uint32_t b = 0; b < m->count; b++)
                                most = y->moved[a][b] > most ? y->moved[a][b] : most;
        }
        return most;
}

static void print_links(const struct report *r, FILE *out) {
        unsigned width = r->width > 70 ? r->width - 58 : 12;
        uint64_t most = most_moved(r);
        char text[SIM_TEXT], link[80];

        fputs("\nBytes per link\n", out);
        for (unsigned i = 0; i < runs(r); i++) {
                const struct sim_machine *m;
                const char *name;
                const struct sim_tally *y = run_at(r, i, &m, &name);

                for (uint32_t a = 0; a < m->count; a++)
                        for (uint32_t b = 0; b < m->count; b++) {
                                if (!y->moved[a][b])
                                        continue;
                                snprintf(link, sizeof(link), "%s -> %s", m->nodes[a].name, m->nodes[b].name);
                                fprintf(out, "  %-12s %-24s %9s  ", name, link, size_text(text, y->moved[a][b]));
                                bar(r, out, y->moved[a][b], most, width);
                                fputc('\n', out);
                        }
        }
}

static uint64_t used_at(const struct sim_tally *y, uint32_t node, unsigned at, unsigned width) {
        unsigned i = y->samples_count ? at * y->samples_count / width : 0;

        return y->samples_count ? y->samples[i].used[node] : 0;
}

static void sparkline(const struct report *r, FILE *out, const struct sim_tally *y, uint32_t node, unsigned width) {
        static const char *const levels[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
        static const char plain[] = " .:-=+*#@";

        for (unsigned at = 0; at < width; at++) {
                uint64_t used = used_at(y, node, at, width);
                unsigned level = y->peak[node] ? (unsigned)((double)used / (double)y->peak[node] * 8 + 0.5) : 0;

                level = level > 8 ? 8 : level;
                if (r->utf8)
                        fputs(levels[level], out);
                else
                        fputc(plain[level], out);
        }
}

static void print_nodes(const struct report *r, FILE *out) {
        unsigned width = r->width > 80 ? r->width - 48 : 32;
        char text[SIM_TEXT], capacity[SIM_TEXT];

        fputs("\nUse of each node over time, and its peak\n", out);
        for (unsigned i = 0; i < runs(r); i++) {
                const struct sim_machine *m;
                const char *name;
                const struct sim_tally *y = run_at(r, i, &m, &name);

                for (uint32_t n = 0; n < m->count; n++) {
                        if (!y->peak[n])
                                continue;
                        fprintf(out, "  %-12s %-8s %9s of %-9s ", name, m->nodes[n].name, size_text(text, y->peak[n]),
                                size_text(capacity, m->nodes[n].capacity));
                        sparkline(r, out, y, n, width);
                        fputc('\n', out);
                }
        }
}

void report_print(const struct report *r, FILE *out) {
        const struct sim_tally *any = r->recorded ? r->recorded : &r->runs[0];

        print_runs(r, out);
        print_links(r, out);
        print_nodes(r, out);
        if (any->dropped)
                fprintf(out, "\n%llu records are missing in the recording: they came too fast for its file.\n",
                        (unsigned long long)any->dropped);
        if (any->cut)
                fputs("\nThe recording has no end: it was cut off.\n", out);
}

/* ---- JSON ---- */

static void add(struct json_object *o, const char *key, uint64_t n) {
        json_object_object_add(o, key, json_object_new_uint64(n));
}

static struct json_object *links_json(const struct sim_machine *m, const struct sim_tally *y) {
        struct json_object *list = json_object_new_array();

        for (uint32_t a = 0; a < m->count; a++)
                for (uint32_t b = 0; b < m->count; b++) {
                        struct json_object *o;

                        if (!y->moved[a][b] && !y->busy_ns[a][b])
                                continue;
                        o = json_object_new_object();
                        json_object_object_add(o, "from", json_object_new_string(m->nodes[a].name));
                        json_object_object_add(o, "to", json_object_new_string(m->nodes[b].name));
                        add(o, "bytes", y->moved[a][b]);
                        add(o, "busy_ns", y->busy_ns[a][b]);
                        json_object_array_add(list, o);
                }
        return list;
}

static struct json_object *nodes_json(const struct sim_machine *m, const struct sim_tally *y) {
        struct json_object *list = json_object_new_array();

        for (uint32_t n = 0; n < m->count; n++) {
                struct json_object *o = json_object_new_object();

                json_object_object_add(o, "node", json_object_new_string(m->nodes[n].name));
                add(o, "capacity", m->nodes[n].capacity);
                add(o, "peak", y->peak[n]);
                json_object_array_add(list, o);
        }
        return list;
}

static struct json_object *causes_json(const struct sim_tally *y) {
        static const char *const names[] = { "fault",  "device", "prefetch", "eviction", "request",
                                             "advice", "drain",  "revoke",   "restart" };
        struct json_object *o = json_object_new_object();

        for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                add(o, names[i], y->by_cause[i]);
        return o;
}

static struct json_object *run_json(const char *name, const struct sim_machine *m, const struct sim_tally *y) {
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, "policy", json_object_new_string(name));
        add(o, "time_ns", y->time_ns);
        add(o, "touches", y->touches);
        add(o, "faults", y->faults);
        add(o, "device_faults", y->device_faults);
        add(o, "stalled_ns", y->stalled_ns);
        add(o, "stall_max_ns", y->stall_max_ns);
        add(o, "moved", tally_link_bytes(y));
        add(o, "evictions", y->evictions);
        add(o, "refused", y->refused);
        json_object_object_add(o, "moved_by_cause", causes_json(y));
        json_object_object_add(o, "links", links_json(m, y));
        json_object_object_add(o, "nodes", nodes_json(m, y));
        return o;
}

void report_json(const struct report *r, FILE *out) {
        struct json_object *o = json_object_new_object(), *list = json_object_new_array();
        const struct sim_tally *any = r->recorded ? r->recorded : &r->runs[0];

        for (unsigned i = 0; i < runs(r); i++) {
                const struct sim_machine *m;
                const char *name;
                const struct sim_tally *y = run_at(r, i, &m, &name);

                json_object_array_add(list, run_json(name, m, y));
        }
        json_object_object_add(o, "runs", list);
        add(o, "events", any->events);
        add(o, "dropped", any->dropped);
        json_object_object_add(o, "cut", json_object_new_boolean(any->cut));
        fprintf(out, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED));
        json_object_put(o);
}
