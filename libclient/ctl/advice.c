#include "advice.h"

#include <string.h>
#include <time.h>

#include "account.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "table.h"
#include "target.h"
#include "verbs.h"

/*
 * What is advised about a range. svmd tells it in parts, one behind the other; here they become one: what counts in all
 * of them, every hint once, and what nodes make of it.
 */
const struct advice_name advice_names[ADVICE_NAMES] = {
        { SVMD_ADVISE_PREFERRED, "preferred", "preferred" },
        { SVMD_ADVISE_FALLBACK, "fallback", "fallback" },
        { SVMD_ADVISE_ACCESSED_BY, "accessed-by", "accessed_by" },
        { SVMD_ADVISE_READ_MOSTLY, "read-mostly", "read_mostly" },
        { SVMD_ADVISE_PINNED, "pinned", "pinned" },
        { SVMD_ADVISE_GRANULARITY, "granularity", "granularity" },
        { SVMD_ADVISE_ATOMICS, "atomics", "atomics" },
        { SVMD_ADVISE_COARSE, "coarse", "coarse" },
        { SVMD_ADVISE_GROUP, "group", "group" },
};
const char *const advice_atomics[4] = { "any", "device", "global", "cpu" };

struct said {
        struct svmd_hint_row row;
        struct svmd_advice advice;
};

struct report {
        struct ctl *ctl;
        struct node_rows nodes;
        struct svmd_advice advice;
        unsigned mixed;
        bool any;
        struct said *hints;
        size_t hints_count, hints_room;
        struct svmd_verdict_row *verdicts;
        size_t verdicts_count;
};

/* ---- attributes ---- */

static const char *node_list(const struct report *x, uint64_t nodes) {
        const char *text = "";

        for (; nodes; nodes &= nodes - 1)
                text = ctl_text(x->ctl, "%s%s%s", text, *text ? "," : "",
                                rows_node_name(x->ctl, &x->nodes, (svmd_node)__builtin_ctzll(nodes)));
        return text;
}

static const char *fallback_list(const struct report *x, const struct svmd_advice *a) {
        const char *text = "";

        for (unsigned i = 0; i < a->fallbacks; i++)
                text = ctl_text(x->ctl, "%s%s%s", text, *text ? "," : "",
                                rows_node_name(x->ctl, &x->nodes, a->fallback[i]));
        return text;
}

/* "no": it is zero. */
static const char *value(const struct report *x, const struct svmd_advice *a, unsigned bit) {
        const char *text = "";

        switch (bit) {
        case SVMD_ADVISE_PREFERRED:
                text = a->preferred == SVMD_NODE_NONE ? "" : rows_node_name(x->ctl, &x->nodes, a->preferred);
                break;
        case SVMD_ADVISE_FALLBACK: text = fallback_list(x, a); break;
        case SVMD_ADVISE_ACCESSED_BY: text = node_list(x, a->accessed_by); break;
        case SVMD_ADVISE_READ_MOSTLY: text = a->read_mostly ? "yes" : ""; break;
        case SVMD_ADVISE_PINNED: text = a->pinned ? "yes" : ""; break;
        case SVMD_ADVISE_GRANULARITY: text = a->granularity ? ctl_size(x->ctl, a->granularity) : ""; break;
        case SVMD_ADVISE_ATOMICS: text = a->atomics && a->atomics < 4 ? advice_atomics[a->atomics] : ""; break;
        case SVMD_ADVISE_COARSE: text = a->coarse ? "yes" : ""; break;
        case SVMD_ADVISE_GROUP: text = a->group ? ctl_text(x->ctl, "%u", a->group) : ""; break;
        }
        return *text ? text : "no";
}

static bool same(const struct report *x, const struct svmd_advice *a, const struct svmd_advice *b, unsigned bit) {
        return strcmp(value(x, a, bit), value(x, b, bit)) == 0;
}

/* ---- parts become one ---- */

static void add_hint(struct report *x, const struct svmd_hint_row *row) {
        struct said *grown, *s;

        for (size_t i = 0; i < x->hints_count; i++) {
                s = &x->hints[i];
                if (s->row.session != row->session || s->row.address != row->address || s->row.length != row->length ||
                    s->row.said_ns != row->said_ns)
                        continue;
                s->row.wins |= row->wins;
                s->row.agrees |= row->agrees;
                s->row.outranked |= row->outranked;
                s->row.overtaken |= row->overtaken;
                s->row.moot |= row->moot;
                return;
        }
        if (x->hints_count == x->hints_room) {
                x->hints_room = x->hints_room ? 2 * x->hints_room : 64;
                grown = ctl_alloc(x->ctl, x->hints_room * sizeof(*grown));
                if (x->hints_count)
                        memcpy(grown, x->hints, x->hints_count * sizeof(*grown));
                x->hints = grown;
        }
        s = &x->hints[x->hints_count++];
        s->row = *row;
        s->advice = *row->advice;
        s->row.client = ctl_copy(x->ctl, row->client);
}

static int on_report(const struct svmd_advice_report *r, void *userdata) {
        struct report *x = userdata;

        x->mixed |= r->mixed;
        for (unsigned i = 0; x->any && i < ADVICE_NAMES; i++)
                if (!same(x, &x->advice, r->advice, advice_names[i].bit))
                        x->mixed |= advice_names[i].bit;
        if (!x->any)
                x->advice = *r->advice;
        for (size_t i = 0; i < r->hints_count; i++)
                add_hint(x, &r->hints[i]);
        if (!x->any) {
                x->verdicts = ctl_alloc(x->ctl, (r->verdicts_count + 1) * sizeof(*x->verdicts));
                for (size_t i = 0; i < r->verdicts_count; i++) {
                        x->verdicts[i] = r->verdicts[i];
                        x->verdicts[i].why = ctl_copy(x->ctl, r->verdicts[i].why);
                }
                x->verdicts_count = r->verdicts_count;
        }
        x->any = true;
        return 0;
}

/* ---- JSON ---- */

static struct json_object *value_json(const struct report *x, const struct svmd_advice *a, unsigned bit) {
        const char *text = value(x, a, bit);

        switch (bit) {
        case SVMD_ADVISE_READ_MOSTLY:
        case SVMD_ADVISE_PINNED:
        case SVMD_ADVISE_COARSE: return json_object_new_boolean(strcmp(text, "no") != 0);
        case SVMD_ADVISE_GRANULARITY: return a->granularity ? json_object_new_uint64(a->granularity) : NULL;
        case SVMD_ADVISE_GROUP: return a->group ? json_object_new_uint64(a->group) : NULL;
        default: return strcmp(text, "no") ? json_object_new_string(text) : NULL;
        }
}

struct json_object *advice_bits_json(unsigned bits) {
        struct json_object *list = json_object_new_array();

        for (unsigned i = 0; i < ADVICE_NAMES; i++)
                if (bits & advice_names[i].bit)
                        json_object_array_add(list, json_object_new_string(advice_names[i].json));
        return list;
}

static struct json_object *hint_json(const struct report *x, const struct said *s) {
        struct json_object *o = json_object_new_object(), *says = json_object_new_object();

        json_add_count(o, "session", s->row.session);
        json_add_count(o, "pid", s->row.pid);
        json_add_user(x->ctl, o, s->row.uid);
        json_add_text(o, "client", s->row.client);
        json_add_text(o, "rank", s->row.rank);
        json_add(o, "said_ns", s->row.said_ns ? json_object_new_uint64(s->row.said_ns) : NULL);
        json_add_address(o, "address", s->row.address);
        json_add_count(o, "size", s->row.length);
        for (unsigned i = 0; i < ADVICE_NAMES; i++)
                if (s->advice.what & advice_names[i].bit)
                        json_add(says, advice_names[i].json, value_json(x, &s->advice, advice_names[i].bit));
        json_add(o, "says", says);
        json_add(o, "against", advice_bits_json(s->advice.against));
        json_add(o, "wins", advice_bits_json(s->row.wins));
        json_add(o, "agrees", advice_bits_json(s->row.agrees));
        json_add(o, "outranked", advice_bits_json(s->row.outranked));
        json_add(o, "overtaken", advice_bits_json(s->row.overtaken));
        json_add(o, "moot", advice_bits_json(s->row.moot));
        return o;
}

struct json_object *advice_hint_json(struct ctl *c, const struct node_rows *nodes, const struct svmd_hint_row *row) {
        const struct report x = { .ctl = c, .nodes = *nodes };
        const struct said s = { *row, *row->advice };

        return hint_json(&x, &s);
}

static const struct advice_name *attribute(unsigned bit) {
        static const struct advice_name unknown = { 0, "?", "unknown" };

        for (unsigned i = 0; i < ADVICE_NAMES; i++)
                if (advice_names[i].bit == bit)
                        return &advice_names[i];
        return &unknown;
}

struct json_object *advice_verdicts_json(struct ctl *c, const struct node_rows *nodes,
                                         const struct svmd_verdict_row *rows, size_t count, unsigned but) {
        struct json_object *verdicts = json_object_new_array();

        for (const struct svmd_verdict_row *v = rows; v < rows + count; v++) {
                struct json_object *row;

                if (but & v->what)
                        continue;
                row = json_object_new_object();
                json_add_text(row, "node", rows_node_name(c, nodes, v->node));
                json_add_text(row, "attribute", attribute(v->what)->json);
                json_add_text(row, "became", v->became);
                json_add_text(row, "why", v->why);
                json_object_array_add(verdicts, row);
        }
        return verdicts;
}

static int print_json(const struct report *x, const struct target *t) {
        struct json_object *o = json_object_new_object(), *counts = json_object_new_object();
        struct json_object *hints = json_object_new_array();

        json_add_address(o, "address", t->address);
        json_add_count(o, "size", t->size);
        for (unsigned i = 0; i < ADVICE_NAMES; i++)
                if (!(x->mixed & advice_names[i].bit))
                        json_add(counts, advice_names[i].json, value_json(x, &x->advice, advice_names[i].bit));
        json_add(o, "counts", counts);
        json_add(o, "mixed", advice_bits_json(x->mixed));
        for (size_t i = 0; i < x->hints_count; i++)
                json_object_array_add(hints, hint_json(x, &x->hints[i]));
        json_add(o, "hints", hints);
        json_add(o, "nodes", advice_verdicts_json(x->ctl, &x->nodes, x->verdicts, x->verdicts_count, x->mixed));
        return json_print(x->ctl, o);
}

/* ---- text ---- */

static const char *mark(const struct said *s, unsigned bit) {
        if (s->row.wins & bit)
                return "=";
        if (s->row.agrees & bit)
                return "+";
        if (s->row.outranked & bit)
                return "<";
        if (s->row.overtaken & bit)
                return "~";
        return "-";
}

static const char *says(const struct report *x, const struct said *s) {
        const char *text = "";

        for (unsigned i = 0; i < ADVICE_NAMES; i++) {
                unsigned bit = advice_names[i].bit;

                if ((s->row.wins | s->row.agrees | s->row.outranked | s->row.overtaken | s->row.moot) & bit)
                        text = ctl_text(x->ctl, "%s%s%s%s%s", text, *text ? " " : "", advice_names[i].word,
                                        mark(s, bit), value(x, &s->advice, bit));
        }
        return text;
}

static const char *when(const struct report *x, uint64_t ns) {
        time_t seconds = (time_t)(ns / 1000000000);
        struct tm tm;
        char text[32];

        if (ns == 0 || !localtime_r(&seconds, &tm))
                return NULL;
        strftime(text, sizeof(text), "%F %T", &tm);
        return ctl_copy(x->ctl, text);
}

static void print_hints(const struct report *x) {
        static const struct column columns[] = { { "SESSION", COLUMN_RIGHT },
                                                 { "PID", COLUMN_RIGHT },
                                                 { "USER", 0 },
                                                 { "CLIENT", 0 },
                                                 { "AS", 0 },
                                                 { "SAID", 0 },
                                                 { "ADDRESS", 0 },
                                                 { "SIZE", COLUMN_RIGHT },
                                                 { "SAYS", COLUMN_WRAP } };
        struct table *t = table_new(x->ctl, columns, sizeof(columns) / sizeof(columns[0]));

        for (size_t i = 0; i < x->hints_count; i++) {
                const struct said *s = &x->hints[i];
                struct table_line *l = table_line(t, NULL);

                table_cell_count(l, s->row.session);
                table_cell_count(l, s->row.pid);
                table_cell(l, account_user(x->ctl, s->row.uid));
                table_cell(l, s->row.client);
                table_cell(l, s->row.rank);
                table_cell(l, when(x, s->row.said_ns));
                table_cell(l, ctl_address(x->ctl, s->row.address));
                table_cell(l, ctl_size(x->ctl, s->row.length));
                table_cell(l, says(x, s));
        }
        table_print(t, "Nobody has advised anything about it.");
}

void advice_verdicts_print(struct ctl *c, const struct node_rows *nodes, const struct svmd_verdict_row *rows,
                           size_t count, unsigned but) {
        static const struct column columns[] = {
                { "NODE", 0 }, { "ATTRIBUTE", 0 }, { "BECAME", 0 }, { "WHY", COLUMN_WRAP }
        };
        struct table *t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));

        for (const struct svmd_verdict_row *v = rows; v < rows + count; v++) {
                struct table_line *l;

                if (but & v->what)
                        continue;
                l = table_line(t, NULL);
                table_cell(l, rows_node_name(c, nodes, v->node));
                table_cell(l, attribute(v->what)->word);
                table_cell(l, v->became);
                table_cell(l, v->why);
        }
        table_print(t, NULL);
}

static int print_text(const struct report *x, const struct target *t) {
        struct fields *f = fields_new(x->ctl);

        for (unsigned i = 0; i < ADVICE_NAMES; i++) {
                const char *v = x->mixed & advice_names[i].bit ? "mixed" : value(x, &x->advice, advice_names[i].bit);

                if (strcmp(v, "no") != 0)
                        fields_add(f, advice_names[i].word, "%s", v);
        }
        fields_print(f);
        print_hints(x);
        advice_verdicts_print(x->ctl, &x->nodes, x->verdicts, x->verdicts_count, x->mixed);
        return EXIT_OK;
}

int advice_run(struct ctl *c, const struct args *a) {
        struct report x = { .ctl = c };
        struct target t;
        int r = target_managed(c, a->words[0], &t);

        if (r == EXIT_OK)
                r = ctl_result(c, rows_nodes(c, &x.nodes));
        if (r == EXIT_OK)
                r = ctl_result(c, svmd_query_advice(c->session, t.partition, t.address, t.size, on_report, &x));
        if (r != EXIT_OK)
                return r;
        return c->json ? print_json(&x, &t) : print_text(&x, &t);
}
