#include <string.h>

#include "account.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "table.h"
#include "usage.h"
#include "verbs.h"

static void usage_line(struct ctl *c, struct table_line *l, const struct node_rows *nodes, const char *who,
                       const struct svmd_use_row *u) {
        table_cell(l, who);
        table_cell(l, rows_node_name(c, nodes, u->node));
        table_cell(l, ctl_size(c, u->used));
        table_cell(l, ctl_size(c, u->peak));
        table_cell(l, ctl_limit(c, u->max));
}

/* The sessions' part in what their partition uses of a node. */
static void usage_sessions(struct ctl *c, struct table *t, struct table_line *parent, const struct node_rows *nodes,
                           const struct use_rows *use, const struct svmd_use_row *whole) {
        for (size_t i = 0; i < use->count; i++) {
                const struct svmd_use_row *u = &use->rows[i];

                if (u->session == 0 || u->node != whole->node || strcmp(u->partition, whole->partition) != 0)
                        continue;
                usage_line(c, table_line(t, parent), nodes,
                           ctl_text(c, " session %llu: %s, process %u of %s", (unsigned long long)u->session, u->client,
                                    u->pid, account_user(c, u->uid)),
                           u);
        }
}

static void usage_text(struct ctl *c, const struct node_rows *nodes, const struct use_rows *use) {
        static const struct column columns[] = { { "PARTITION", COLUMN_TREE },
                                                 { "NODE", 0 },
                                                 { "USED", COLUMN_RIGHT },
                                                 { "PEAK", COLUMN_RIGHT },
                                                 { "LIMIT", COLUMN_RIGHT } };
        struct table *t = table_new(c, columns, 5);

        for (size_t i = 0; i < use->count; i++) {
                const struct svmd_use_row *u = &use->rows[i];
                struct table_line *l;

                if (u->session)
                        continue;
                l = table_line(t, NULL);
                usage_line(c, l, nodes, u->partition, u);
                usage_sessions(c, t, l, nodes, use, u);
        }
        table_print(t, "Nothing is used");
}

static struct json_object *usage_json(struct ctl *c, const struct node_rows *nodes, const struct use_rows *use) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < use->count; i++) {
                const struct svmd_use_row *u = &use->rows[i];
                struct json_object *o = json_object_new_object();

                json_add_text(o, "partition", u->partition);
                json_add(o, "session", u->session ? json_object_new_uint64(u->session) : NULL);
                if (u->session) {
                        json_add_text(o, "client", u->client);
                        json_add_count(o, "pid", u->pid);
                        json_add_user(c, o, u->uid);
                }
                json_add_text(o, "node", rows_node_name(c, nodes, u->node));
                json_add_count(o, "used", u->used);
                json_add_count(o, "peak", u->peak);
                json_add_limit(o, "max", u->max);
                json_object_array_add(list, o);
        }
        return list;
}

/* Grouped, over time and against others: questions that svmd answers administrators alone. */
static bool is_of_all(const struct args *a) {
        return a->value[OPT_BY] || a->value[OPT_SINCE] || a->value[OPT_UNTIL] || a->value[OPT_DRIFT];
}

static int usage_of_all(struct ctl *c, const struct args *a) {
        bool timed = a->value[OPT_SINCE] || a->value[OPT_UNTIL];

        if (!c->info.admin)
                return ctl_fail(c, EXIT_REFUSED,
                                "who holds what, and who held it, is for administrators to ask: connect to admin.sock, "
                                "as root or a member of its group; 'svmd-ctl usage' shows your own use");
        if (a->value[OPT_DRIFT] && (timed || a->value[OPT_BY]))
                return ctl_fail(c, EXIT_USAGE, "--drift is of this moment, and of everything: give it alone");
        if (timed && a->value[OPT_PARTITION])
                return ctl_fail(c, EXIT_USAGE, "--since is of all partitions; --by partition tells them apart");
        if (a->value[OPT_DRIFT])
                return usage_drift(c);
        return timed ? usage_since(c, a) : usage_by(c, a);
}

int usage_run(struct ctl *c, const struct args *a) {
        struct node_rows nodes;
        struct use_rows use;
        int r;

        if (is_of_all(a))
                return usage_of_all(c, a);
        r = rows_nodes(c, &nodes);
        if (r == SVMD_OK)
                r = rows_usage(c, a->value[OPT_PARTITION], &use);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json)
                return json_print(c, usage_json(c, &nodes, &use));
        usage_text(c, &nodes, &use);
        return EXIT_OK;
}
