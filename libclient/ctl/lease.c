#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "table.h"
#include "verbs.h"

/* Room that was admitted on several nodes at once, and who waits for it. */

/* Of what is granted, what is left; of what is waited for, all of it. */
static const char *needs_text(struct ctl *c, const struct svmd_lease_row *l, const struct node_rows *nodes) {
        const char *text = "";

        for (size_t i = 0; i < l->nodes_count; i++) {
                const struct svmd_use_row *n = &l->nodes[i];
                const char *part = ctl_size(c, n->max);

                if (l->granted && n->used != n->max)
                        part = ctl_text(c, "%s of %s", ctl_size(c, n->used), part);
                text = ctl_text(c, "%s%s%s %s", text, i ? ", " : "", rows_node_name(c, nodes, n->node), part);
        }
        return text;
}

static const char *state_text(const struct svmd_lease_row *l) {
        return !l->granted ? "waits" : !l->session ? "kept" : "granted";
}

static void list_text(struct ctl *c, const struct lease_rows *leases, const struct node_rows *nodes, bool one) {
        static const struct column columns[] = {
                { "PARTITION", COLUMN_TRUNC },
                { "LEASE", COLUMN_RIGHT },
                { "SESSION", COLUMN_RIGHT },
                { "PID", COLUMN_RIGHT },
                { "CLIENT", COLUMN_TRUNC },
                { "NAME", COLUMN_TRUNC },
                { "STATE", 0 },
                { "TURN", COLUMN_RIGHT },
                { "PRIORITY", COLUMN_RIGHT },
                { "ENDS", 0 },
                { "NEEDS", 0 },
        };
        struct table *t = table_new(c, columns + one, sizeof(columns) / sizeof(columns[0]) - one);

        for (size_t i = 0; i < leases->count; i++) {
                const struct svmd_lease_row *l = &leases->rows[i];
                bool timed = l->left_ms != UINT64_MAX;
                struct table_line *line = table_line(t, NULL);

                if (!one)
                        table_cell(line, l->partition);
                table_cell_count(line, l->lease);
                table_cell(line, l->session ? ctl_text(c, "%llu", (unsigned long long)l->session) : "-");
                table_cell(line, l->session ? ctl_text(c, "%u", l->pid) : "-");
                table_cell(line, l->session ? l->client : "-");
                table_cell(line, l->name[0] ? l->name : "-");
                table_cell(line, state_text(l));
                table_cell(line, l->granted ? "-" : ctl_text(c, "%u", l->before));
                table_cell_count(line, l->priority);
                table_cell(line, timed ? ctl_text(c, "in %s", ctl_duration(c, l->left_ms)) : "-");
                table_cell(line, needs_text(c, l, nodes));
        }
        table_print(t, "Nobody has asked for room on several nodes at once");
}

static struct json_object *lease_json(struct ctl *c, const struct svmd_lease_row *l, const struct node_rows *nodes) {
        struct json_object *o = json_object_new_object(), *list = json_object_new_array();

        json_add_text(o, "partition", l->partition);
        json_add_count(o, "lease", l->lease);
        json_add_count(o, "session", l->session);
        json_add_count(o, "pid", l->pid);
        json_add_text(o, "client", l->client);
        json_add_text(o, "name", l->name);
        json_add_flag(o, "granted", l->granted);
        json_add_flag(o, "kept", l->kept);
        json_add_count(o, "before", l->before);
        json_add_count(o, "priority", l->priority);
        json_add_limit(o, "left_ms", l->left_ms);
        for (size_t i = 0; i < l->nodes_count; i++) {
                struct json_object *need = json_object_new_object();

                json_add_text(need, "node", rows_node_name(c, nodes, l->nodes[i].node));
                json_add_count(need, "asked", l->nodes[i].max);
                json_add_count(need, "left", l->nodes[i].used);
                json_object_array_add(list, need);
        }
        json_add(o, "nodes", list);
        return o;
}

int lease_list_run(struct ctl *c, const struct args *a) {
        struct json_object *list;
        struct lease_rows leases;
        struct node_rows nodes;
        int r = rows_leases(c, a->value[OPT_PARTITION], &leases);

        if (r == SVMD_OK)
                r = rows_nodes(c, &nodes);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (!c->json) {
                list_text(c, &leases, &nodes, a->value[OPT_PARTITION] != NULL);
                return EXIT_OK;
        }
        list = json_object_new_array();
        for (size_t i = 0; i < leases.count; i++)
                json_object_array_add(list, lease_json(c, &leases.rows[i], &nodes));
        return json_print(c, list);
}
