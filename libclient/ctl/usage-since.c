#include <string.h>
#include <time.h>

#include "args.h"
#include "ctl.h"
#include "json.h"
#include "size.h"
#include "table.h"
#include "usage.h"
#include "when.h"

/* Who used how much of each node over a span of time: svmd's history, in the order in which it gives it. */

struct answer {
        struct ctl *c;
        unsigned by;
        struct table *table;
        struct json_object *list;
        size_t count;
};

/* "12.5 GiB h" */
static const char *byte_hours(struct ctl *c, uint64_t page_ms) {
        return ctl_text(c, "%s h", ctl_size(c, (uint64_t)((unsigned __int128)page_ms * 4096 / 3600000)));
}

static int add_row(const struct svmd_history_row *r, void *userdata) {
        struct answer *a = userdata;

        a->count++;
        if (a->list) {
                struct json_object *o = json_object_new_object();

                json_add_text(o, "key", r->key);
                json_add_text(o, "node", r->node);
                json_add_count(o, "average", r->average);
                json_add_count(o, "peak", r->peak);
                json_add(o, "byte_hours", json_object_new_double((double)r->page_ms * 4096 / 3600000));
                json_add_count(o, "page_ms", r->page_ms);
                json_object_array_add(a->list, o);
        } else {
                struct table_line *l = table_line(a->table, NULL);

                table_cell(l, ctl_copy(a->c, usage_key(a->c, a->by, r->key)));
                if (a->by != SVMD_BY_NODE)
                        table_cell(l, ctl_copy(a->c, r->node));
                table_cell(l, ctl_size(a->c, r->average));
                table_cell(l, ctl_size(a->c, r->peak));
                table_cell(l, byte_hours(a->c, r->page_ms));
        }
        return 0;
}

static struct table *new_table(struct ctl *c, unsigned by) {
        const struct column columns[] = { { usage_heading(by), COLUMN_TRUNC },
                                          { "NODE", 0 },
                                          { "AVERAGE", COLUMN_RIGHT },
                                          { "PEAK", COLUMN_RIGHT },
                                          { "BYTES x TIME", COLUMN_RIGHT } };
        struct column some[4];

        if (by != SVMD_BY_NODE)
                return table_new(c, columns, 5);
        some[0] = columns[0];
        memcpy(some + 1, columns + 2, sizeof(some) - sizeof(some[0]));
        return table_new(c, some, 4);
}

static const char *time_text(struct ctl *c, uint64_t when) {
        time_t t = (time_t)when;
        char text[64] = "?";
        struct tm tm;

        if (localtime_r(&t, &tm))
                strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm);
        return ctl_copy(c, text);
}

static void say_span(struct ctl *c, const struct svmd_history_span *s, const struct svmd_history_options *o) {
        if (s->step == 0)
                return;
        fprintf(c->out, "From %s to %s, by the %s; svmd looked for %s of that time.\n", time_text(c, s->since),
                time_text(c, o->until),
                s->step == 60     ? "minute"
                : s->step == 3600 ? "hour"
                                  : "day",
                ctl_duration(c, s->watched_ms));
}

static int print_json(struct answer *a, const struct svmd_history_span *s, const struct svmd_history_options *o) {
        struct json_object *all = json_object_new_object();

        json_add_count(all, "since", s->step ? s->since : o->since);
        json_add_count(all, "until", o->until);
        json_add_count(all, "step", s->step);
        json_add_count(all, "watched_ms", s->watched_ms);
        json_add_text(all, "by", usage_way_name(a->by));
        json_add(all, "rows", a->list);
        return json_print(a->c, all);
}

/* --since is 'today' where only --until was given. */
static int read_span(struct ctl *c, const struct args *a, struct svmd_history_options *o) {
        uint64_t now = (uint64_t)time(NULL);
        const char *since = a->value[OPT_SINCE] ? a->value[OPT_SINCE] : "today", *until = a->value[OPT_UNTIL];
        int r = when_parse(since, now, &o->since);

        if (r != 0)
                return ctl_fail(c, EXIT_USAGE, "--since %s: %s", since, when_problem(r));
        r = until ? when_parse(until, now, &o->until) : 0;
        if (r != 0)
                return ctl_fail(c, EXIT_USAGE, "--until %s: %s", until, when_problem(r));
        if (!until)
                o->until = now + 1;
        if (o->since >= o->until)
                return ctl_fail(c, EXIT_USAGE, "--until is a time after --since");
        return EXIT_OK;
}

int usage_since(struct ctl *c, const struct args *a) {
        struct svmd_history_options o = { .size = sizeof(o) };
        struct svmd_history_span span = { .size = sizeof(span) };
        struct answer all = { .c = c };
        int r = usage_way(c, a, SVMD_BY_NODE, &all.by);

        if (r == EXIT_OK)
                r = read_span(c, a, &o);
        if (r != EXIT_OK)
                return r;
        o.by = all.by;
        if (c->json)
                all.list = json_object_new_array();
        else
                all.table = new_table(c, all.by);
        r = svmd_query_history(c->session, &o, &span, add_row, &all);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json)
                return print_json(&all, &span, &o);
        say_span(c, &span, &o);
        table_print(all.table, "Nothing was used in that time, as far as is known");
        return EXIT_OK;
}
