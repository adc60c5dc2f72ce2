#include <string.h>

#include "account.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "lower.h"
#include "rows.h"
#include "size.h"
#include "table.h"
#include "verbs.h"

/* Limits of sessions and of control groups. */

/* ---- what is said of them ---- */

static struct json_object *nodes_json(struct ctl *c, const struct svmd_limited_row *l, const struct node_rows *nodes) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < l->nodes_count; i++) {
                struct json_object *o = json_object_new_object();

                json_add_text(o, "node", rows_node_name(c, nodes, l->nodes[i].node));
                json_add_count(o, "used", l->nodes[i].used);
                json_add_count(o, "peak", l->nodes[i].peak);
                json_add_limit(o, "max", l->nodes[i].max);
                json_add_limit(o, "high", l->nodes[i].high);
                json_add_count(o, "low", l->nodes[i].low);
                json_add_count(o, "min", l->nodes[i].min);
                json_object_array_add(list, o);
        }
        return list;
}

static struct json_object *limited_json(struct ctl *c, const struct svmd_limited_row *l,
                                        const struct node_rows *nodes) {
        struct json_object *o = json_object_new_object();

        if (l->session) {
                json_add_count(o, "session", l->session);
                json_add_text(o, "partition", l->partition);
                json_add_text(o, "client", l->client);
                json_add_count(o, "pid", l->pid);
                json_add_user(c, o, l->uid);
        }
        json_add_text(o, "cgroup", l->cgroup);
        if (!l->session)
                json_add_count(o, "sessions", l->sessions);
        json_add(o, "nodes", nodes_json(c, l, nodes));
        return o;
}

static void add_bounds(struct ctl *c, struct table_line *line, const struct svmd_use_row *u) {
        table_cell(line, ctl_size(c, u->used));
        table_cell(line, ctl_limit(c, u->max));
        table_cell(line, ctl_limit(c, u->high));
        table_cell(line, ctl_size(c, u->low));
        table_cell(line, ctl_size(c, u->min));
}

#define BOUND_COLUMNS                                                                                                  \
        { "USED", COLUMN_RIGHT }, { "LIMIT", COLUMN_RIGHT }, { "HIGH", COLUMN_RIGHT }, { "LOW", COLUMN_RIGHT }, {      \
                "MIN", COLUMN_RIGHT                                                                                    \
        }

static int session_say(struct ctl *c, const struct svmd_limited_row *l, const struct node_rows *nodes) {
        static const struct column columns[] = { { "NODE", 0 }, BOUND_COLUMNS };
        struct table *t;

        if (c->json)
                return json_print(c, limited_json(c, l, nodes));
        fprintf(c->out, "session %llu (%s, process %u of %s), partition %s, control group %s\n",
                (unsigned long long)l->session, l->client, l->pid, account_user(c, l->uid),
                *l->partition ? l->partition : "-", *l->cgroup ? l->cgroup : "-");
        t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));
        for (size_t i = 0; i < l->nodes_count; i++) {
                struct table_line *line = table_line(t, NULL);

                table_cell(line, rows_node_name(c, nodes, l->nodes[i].node));
                add_bounds(c, line, &l->nodes[i]);
        }
        table_print(t, "It has used nothing, and no limit is its own");
        return EXIT_OK;
}

int cgroup_list_run(struct ctl *c, const struct args *a) {
        static const struct column columns[] = {
                { "CONTROL GROUP", COLUMN_TRUNC }, { "SESSIONS", COLUMN_RIGHT }, { "NODE", 0 }, BOUND_COLUMNS
        };
        struct limited_rows groups;
        struct json_object *list;
        struct node_rows nodes;
        struct table *t;
        int r = rows_nodes(c, &nodes);

        if (r == SVMD_OK)
                r = rows_limited(c, 0, &groups);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json) {
                list = json_object_new_array();
                for (size_t i = 0; i < groups.count; i++)
                        json_object_array_add(list, limited_json(c, &groups.rows[i], &nodes));
                return json_print(c, list);
        }
        t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));
        for (size_t i = 0; i < groups.count; i++) {
                for (size_t k = 0; k < groups.rows[i].nodes_count; k++) {
                        struct table_line *line = table_line(t, NULL);

                        table_cell(line, groups.rows[i].cgroup);
                        table_cell_count(line, groups.rows[i].sessions);
                        table_cell(line, rows_node_name(c, &nodes, groups.rows[i].nodes[k].node));
                        add_bounds(c, line, &groups.rows[i].nodes[k]);
                }
        }
        table_print(t, "No control group has limits");
        return EXIT_OK;
}

/* ---- setting them ---- */

struct limiting {
        uint64_t session;   /* 0: */
        const char *cgroup; /* this one */
        struct svmd_limit_options opts;
};

static int ask_plan(struct ctl *c, const void *what, svmd_plan_fn fn, void *userdata) {
        const struct limiting *l = what;

        return l->session ? svmd_session_plan(c->session, l->session, &l->opts, fn, userdata)
                          : svmd_cgroup_plan(c->session, l->cgroup, &l->opts, fn, userdata);
}

static int set(struct ctl *c, const struct args *a, struct limiting *l) {
        struct lower lower = {
                .what = l->session ? ctl_text(c, "session %llu", (unsigned long long)l->session)
                                   : ctl_text(c, "control group %s", l->cgroup),
                .key = l->session ? "session" : "cgroup",
                .name = l->cgroup,
                .number = l->session,
                .dry_run = a->value[OPT_DRY_RUN] != NULL,
        };
        int r;

        lower.from = (struct plan_source){ lower.what, ask_plan, l };
        r = lower_plan(c, a, &lower, 1);
        if (r != EXIT_OK)
                return r;
        l->opts.dry_run = lower.dry_run;
        l->opts.come_down = lower.come_down;
        l->opts.deadline_ms = lower.deadline_ms;
        r = l->session ? svmd_session_limit(c->session, l->session, &l->opts)
                       : svmd_cgroup_limit(c->session, l->cgroup, &l->opts);
        return r == SVMD_OK ? lower_done(c, &lower) : ctl_result(c, r);
}

static int take_limits(struct ctl *c, const struct args *a, struct limiting *l) {
        return args_limits(c, a, &l->opts.limits, &l->opts.limits_count);
}

int session_limit_run(struct ctl *c, const struct args *a) {
        struct limiting l = { .opts = { .size = sizeof(l.opts) } };
        struct limited_rows rows;
        struct node_rows nodes;
        int r = EXIT_OK;

        if (count_parse(a->words[0], &l.session) != 0 || l.session == 0)
                return ctl_fail(c, EXIT_USAGE, "'%s' is no session; expected a number of 'svmd-ctl session list'",
                                a->words[0]);
        if (a->limits_count) {
                r = take_limits(c, a, &l);
                return r == EXIT_OK ? set(c, a, &l) : r;
        }
        if (a->value[OPT_DEADLINE] || a->value[OPT_FORCE] || a->value[OPT_DRY_RUN])
                return ctl_fail(c, EXIT_USAGE, "what to set? Give --min, --low, --high or --max");
        r = rows_limited(c, l.session, &rows);
        if (r == SVMD_OK)
                r = rows_nodes(c, &nodes);
        return r == SVMD_OK && rows.count ? session_say(c, &rows.rows[0], &nodes) : ctl_result(c, r);
}

/* As the kernel names it; where it is mounted may stand before it, and a / behind. */
static int path_parse(struct ctl *c, const char *word, const char **ret) {
        static const char mount[] = "/sys/fs/cgroup";
        char *path;
        size_t n;

        if (strncmp(word, mount, sizeof(mount) - 1) == 0 &&
            (word[sizeof(mount) - 1] == '/' || !word[sizeof(mount) - 1]))
                word += sizeof(mount) - 1;
        path = ctl_copy(c, *word ? word : "/");
        for (n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
                path[n - 1] = 0;
        if (path[0] != '/')
                return ctl_fail(c, EXIT_USAGE,
                                "'%s' is no control group; expected its path, /system.slice say, as behind 0:: in "
                                "/proc/PID/cgroup",
                                word);
        *ret = path;
        return EXIT_OK;
}

int cgroup_set_run(struct ctl *c, const struct args *a) {
        struct limiting l = { .opts = { .size = sizeof(l.opts) } };
        int r;

        if (!a->limits_count)
                return ctl_fail(c, EXIT_USAGE, "what to set? Give --min, --low, --high or --max");
        r = path_parse(c, a->words[0], &l.cgroup);
        if (r == EXIT_OK)
                r = take_limits(c, a, &l);
        return r == EXIT_OK ? set(c, a, &l) : r;
}

int cgroup_delete_run(struct ctl *c, const struct args *a) {
        struct limiting l = { .opts = { .size = sizeof(l.opts), .clear = 1 } };
        int r = path_parse(c, a->words[0], &l.cgroup);

        return r == EXIT_OK ? set(c, a, &l) : r;
}
