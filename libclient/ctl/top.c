#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "ctl.h"
#include "json.h"
#include "top-draw.h"
#include "top-model.h"
#include "top-screen.h"
#include "verbs.h"

/* ---- without a terminal ---- */

static struct json_object *item_json(struct ctl *c, enum top_part part, const struct top_item *i) {
        struct json_object *o = json_object_new_object();

        if (part == TOP_SESSIONS) {
                json_add_count(o, "session", i->now.id);
                json_add_text(o, "client", i->now.name);
                json_add_text(o, "partition", i->now.partition);
                json_add_text(o, "container", *i->now.container ? i->now.container : NULL);
                json_add_count(o, "pid", i->now.pid);
                json_add_user(c, o, i->now.uid);
        } else {
                json_add_text(o, part == TOP_NODES ? "node" : "partition", i->now.name);
        }
        json_add_count(o, "used", i->now.used);
        if (part == TOP_NODES) {
                json_add_flag(o, "online", !i->now.offline);
                json_add_count(o, "capacity", i->now.size);
                json_add_count(o, "managed", i->now.managed);
                json_add_count(o, "in_rate", i->in);
                json_add_count(o, "out_rate", i->out);
        } else if (part == TOP_PARTITIONS) {
                json_add_count(o, "sessions", i->now.sessions);
                json_add_count(o, "reservations", i->now.reservations);
                json_add_count(o, "moves_rate", i->deeds);
                json_add_count(o, "evicted_rate", i->out);
        } else {
                json_add_count(o, "requests_rate", i->deeds);
        }
        return o;
}

static void print_json(struct ctl *c, const struct top_model *m) {
        static const char *const names[] = { "nodes", "partitions", "sessions" };
        struct json_object *o = json_object_new_object();

        json_add_text(o, "version", m->version);
        json_add_count(o, "epoch", m->epoch);
        json_add_count(o, "uptime_ms", m->uptime_ms);
        for (unsigned part = 0; part < _TOP_PARTS; part++) {
                struct json_object *list = json_object_new_array();

                for (size_t i = 0; i < m->views[part].shown; i++)
                        json_object_array_add(list, item_json(c, (enum top_part)part, &m->views[part].items[i]));
                json_add(o, names[part], list);
        }
        json_print_line(c, o);
}

/* Rates need two looks: the first is not shown. */
static int batch(struct ctl *c, struct top_model *m, uint64_t count) {
        struct timespec pause = { (time_t)(m->interval_ns / 1000000000), (long)(m->interval_ns % 1000000000) };

        for (uint64_t n = 0; count == 0 || n <= count; n++) {
                struct top_snapshot s;
                int r = top_snapshot_take(c, &s);

                if (r != SVMD_OK)
                        return ctl_result(c, r);
                top_take(m, &s);
                top_snapshot_free(&s);
                if (n && c->json)
                        print_json(c, m);
                else if (n)
                        top_print(m, c->out, c->width, c->utf8);
                if (n && !c->json && n != count)
                        fputc('\n', c->out);
                if (fflush(c->out) != 0)
                        return EXIT_REFUSED;
                if (n != count)
                        nanosleep(&pause, NULL);
        }
        return EXIT_OK;
}

/* ---- options ---- */

/* COLUMN sorts every part that has it. */
static int sort_by(struct ctl *c, struct top_model *m, const char *name) {
        bool found = false;

        for (unsigned part = 0; name && part < _TOP_PARTS; part++) {
                enum top_column column = top_column_of((enum top_part)part, name);

                if (column != TOP_END)
                        m->views[part].sort = column;
                found |= column != TOP_END;
        }
        if (name && !found)
                return ctl_fail(c, EXIT_USAGE, "--sort '%s': expected a column's heading, such as used or in/s", name);
        return EXIT_OK;
}

static bool can_draw(const struct ctl *c) {
        const char *term = getenv("TERM");

        return c->terminal && isatty(STDIN_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

static int run(struct ctl *c, const struct args *a, struct top_model *m, uint64_t count) {
        bool once = a->value[OPT_ONCE];

        if (once || a->value[OPT_BATCH] || c->json || !can_draw(c))
                return batch(c, m, once ? 1 : count);
        svmd_disconnect(c->session);
        c->session = NULL;
        return top_screen_run(c, m);
}

int top_run(struct ctl *c, const struct args *a) {
        uint64_t interval = 1000000000, count = 0, width = c->width;
        struct top_model m;
        int r = args_seconds(c, a, OPT_INTERVAL, &interval);

        if (r == EXIT_OK && (interval < 100000000ull || interval > 3600000000000ull))
                r = ctl_fail(c, EXIT_USAGE, "--interval '%s': expected 0.1 to 3600 seconds", a->value[OPT_INTERVAL]);
        if (r == EXIT_OK)
                r = args_count(c, a, OPT_COUNT, 1, UINT32_MAX, &count);
        if (r == EXIT_OK)
                r = args_count(c, a, OPT_WIDTH, 40, 1000, &width);
        top_init(&m, interval);
        if (r == EXIT_OK)
                r = sort_by(c, &m, a->value[OPT_SORT]);
        snprintf(m.filter, sizeof(m.filter), "%s", a->value[OPT_FILTER] ? a->value[OPT_FILTER] : "");
        c->width = (unsigned)width;
        if (r == EXIT_OK)
                r = run(c, a, &m, count);
        top_fini(&m);
        return r;
}
