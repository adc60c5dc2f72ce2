#include "partition.h"

#include <string.h>

#include "account.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "show.h"
#include "suggest.h"
#include "table.h"
#include "verbs.h"

const char *partition_window(unsigned window) {
        return window == SVMD_WINDOW_LOW ? "low" : "primary";
}

static struct json_object *nodes_json(struct ctl *c, const struct svmd_partition_row *p,
                                      const struct node_rows *nodes) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < p->nodes_count; i++) {
                struct json_object *o = json_object_new_object();

                json_add_text(o, "node", rows_node_name(c, nodes, p->nodes[i].node));
                json_add_count(o, "used", p->nodes[i].used);
                json_add_count(o, "peak", p->nodes[i].peak);
                json_add_limit(o, "max", p->nodes[i].max);
                json_add_limit(o, "high", p->nodes[i].high);
                json_add_count(o, "low", p->nodes[i].low);
                json_add_count(o, "min", p->nodes[i].min);
                json_object_array_add(list, o);
        }
        return list;
}

struct json_object *partition_json(struct ctl *c, const struct svmd_partition_row *p, const struct node_rows *nodes) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "name", p->name);
        json_add_text(o, "domain", p->domain);
        json_add_text(o, "window", partition_window(p->window));
        json_add_address(o, "base", p->base);
        json_add_count(o, "length", p->length);
        json_add_user(c, o, p->uid);
        json_add_group(c, o, p->gid);
        json_add_mode(o, "mode", p->mode);
        json_add_count(o, "sessions", p->sessions);
        json_add_count(o, "reservations", p->reservations);
        json_add_count(o, "reserved_bytes", p->reserved_bytes);
        json_add_count(o, "kept_bytes", p->kept);
        json_add_limit(o, "kept_max", p->kept_max);
        json_add_text(o, "policy", p->policy ? p->policy : "");
        json_add_count(o, "rate", p->rate);
        json_add_count(o, "moved", p->moved);
        json_add_count(o, "put_off", p->put_off);
        json_add_count(o, "bounces", p->bounces);
        json_add_count(o, "pins", p->pins);
        json_add_count(o, "naps", p->naps);
        json_add_text(o, "container", p->container);
        json_add(o, "nodes", nodes_json(c, p, nodes));
        return o;
}

static void partition_list_text(struct ctl *c, const struct partition_rows *partitions) {
        static const struct column columns[] = {
                { "PARTITION", COLUMN_TRUNC },
                { "ADDRESS", 0 },
                { "SIZE", COLUMN_RIGHT },
                { "RESERVED", COLUMN_RIGHT },
                { "SESSIONS", COLUMN_RIGHT },
                { "OWNER", 0 },
                { "MODE", 0 },
                { "WINDOW", 0 },
                { "DOMAIN", 0 },
        };
        struct table *t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));

        for (size_t i = 0; i < partitions->count; i++) {
                const struct svmd_partition_row *p = &partitions->rows[i];
                struct table_line *l = table_line(t, NULL);

                table_cell(l, p->name);
                table_cell(l, ctl_address(c, p->base));
                table_cell(l, ctl_size(c, p->length));
                table_cell(l, ctl_size(c, p->reserved_bytes));
                table_cell_count(l, p->sessions);
                table_cell(l, account_user(c, p->uid));
                table_cell(l, ctl_text(c, "%04o", p->mode));
                table_cell(l, partition_window(p->window));
                table_cell(l, p->domain);
        }
        table_print(t, "There is no partition");
}

int partition_list_run(struct ctl *c, const struct args *a) {
        struct partition_rows partitions;
        struct node_rows nodes;
        struct json_object *list;
        int r = rows_partitions(c, NULL, &partitions);

        if (r == SVMD_OK)
                r = rows_nodes(c, &nodes);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (!c->json) {
                partition_list_text(c, &partitions);
                return EXIT_OK;
        }
        list = json_object_new_array();
        for (size_t i = 0; i < partitions.count; i++)
                json_object_array_add(list, partition_json(c, &partitions.rows[i], &nodes));
        return json_print(c, list);
}

int partition_find(struct ctl *c, const char *name, const struct svmd_partition_row **ret) {
        struct partition_rows partitions;
        const char **names, *near;
        int r = rows_partitions(c, NULL, &partitions);

        if (r != SVMD_OK)
                return ctl_result(c, r);
        names = ctl_alloc(c, partitions.count * sizeof(*names));
        for (size_t i = 0; i < partitions.count; i++) {
                names[i] = partitions.rows[i].name;
                if (strcmp(names[i], name) == 0) {
                        *ret = &partitions.rows[i];
                        return EXIT_OK;
                }
        }
        near = suggest(name, names, partitions.count);
        if (near)
                return ctl_fail(c, EXIT_REFUSED, "there is no partition '%s'; did you mean '%s'?", name, near);
        return ctl_fail(c, EXIT_REFUSED, "there is no partition '%s'; 'svmd-ctl partition list' shows those there are",
                        name);
}

/* A partition with what the other queries say of it. */
struct partition_view {
        const struct svmd_partition_row *partition;
        struct node_rows nodes;
        struct session_rows sessions;
        struct reservation_rows reservations;
};

static void partition_show_fields(struct ctl *c, const struct partition_view *v) {
        const struct svmd_partition_row *p = v->partition;
        struct fields *f = fields_new(c);

        fprintf(c->out, "%s\n", p->name);
        fields_add(f, "addresses", "%s to %s, %s, %s window", ctl_address(c, p->base),
                   ctl_address(c, p->base + p->length), ctl_size(c, p->length), partition_window(p->window));
        fields_add(f, "reserved", "%s in %llu reservation%s", ctl_size(c, p->reserved_bytes),
                   (unsigned long long)p->reservations, p->reservations == 1 ? "" : "s");
        fields_add(f, "domain", "%s", p->domain);
        fields_add(f, "owner", "%s:%s", account_user(c, p->uid), account_group(c, p->gid));
        fields_add(f, "mode", "%s (%04o)", account_mode(c, p->mode), p->mode);
        if (p->kept || p->kept_max)
                fields_add(f, "kept", "%s for later sessions, of %s", ctl_size(c, p->kept),
                           p->kept_max == UINT64_MAX ? "any amount"
                                                     : ctl_text(c, "%s at most", ctl_size(c, p->kept_max)));
        if (p->policy && p->policy[0])
                fields_add(f, "policy", "%s", p->policy);
        if (p->rate)
                fields_add(f, "rate", "%s a second, where nobody waits for it; %llu moves put off",
                           ctl_size(c, p->rate), (unsigned long long)p->put_off);
        if (p->moved)
                fields_add(f, "moved", "%s between nodes", ctl_size(c, p->moved));
        if (p->bounces)
                fields_add(f, "bounces", "%llu: %llu pinned for a time, %llu answered later",
                           (unsigned long long)p->bounces, (unsigned long long)p->pins, (unsigned long long)p->naps);
        if (p->container && *p->container)
                fields_add(f, "container", "%s, with which it ends", p->container);
        fields_add(f, "sessions", "%llu", (unsigned long long)p->sessions);
        fields_print(f);
}

static bool is_protected(const struct svmd_use_row *u) {
        return u->min || u->low || u->high != UINT64_MAX;
}

static void partition_show_nodes(struct ctl *c, const struct partition_view *v) {
        static const struct column columns[] = {
                { "NODE", 0 },
                { "USED", COLUMN_RIGHT },
                { "PEAK", COLUMN_RIGHT },
                { "LIMIT", COLUMN_RIGHT },
                { "HIGH", COLUMN_RIGHT },
                { "LOW", COLUMN_RIGHT },
                { "MIN", COLUMN_RIGHT },
        };
        bool more = false;
        struct table *t;

        if (v->partition->nodes_count == 0)
                return;
        for (size_t i = 0; i < v->partition->nodes_count; i++)
                more |= is_protected(&v->partition->nodes[i]);
        t = table_new(c, columns, more ? 7 : 4);
        for (size_t i = 0; i < v->partition->nodes_count; i++) {
                const struct svmd_use_row *u = &v->partition->nodes[i];
                struct table_line *l = table_line(t, NULL);

                table_cell(l, rows_node_name(c, &v->nodes, u->node));
                table_cell(l, ctl_size(c, u->used));
                table_cell(l, ctl_size(c, u->peak));
                table_cell(l, ctl_limit(c, u->max));
                if (!more)
                        continue;
                table_cell(l, ctl_limit(c, u->high));
                table_cell(l, ctl_size(c, u->low));
                table_cell(l, ctl_size(c, u->min));
        }
        fputc('\n', c->out);
        table_print(t, NULL);
}

static void partition_show_text(struct ctl *c, const struct partition_view *v) {
        partition_show_fields(c, v);
        partition_show_nodes(c, v);
        if (v->sessions.count) {
                fputc('\n', c->out);
                show_sessions(c, &v->sessions, true);
        }
        if (v->reservations.count) {
                fputc('\n', c->out);
                show_reservations(c, &v->reservations, true);
        }
}

int partition_show_run(struct ctl *c, const struct args *a) {
        struct partition_view v = { 0 };
        struct json_object *o;
        int r = partition_find(c, a->words[0], &v.partition);

        if (r != EXIT_OK)
                return r;
        r = rows_nodes(c, &v.nodes);
        if (r == SVMD_OK)
                r = rows_sessions(c, v.partition->name, &v.sessions);
        if (r == SVMD_OK)
                r = rows_reservations(c, v.partition->name, &v.reservations);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (!c->json) {
                partition_show_text(c, &v);
                return EXIT_OK;
        }
        o = partition_json(c, v.partition, &v.nodes);
        json_add(o, "session_list", show_sessions_json(c, &v.sessions));
        json_add(o, "reservation_list", show_reservations_json(c, &v.reservations));
        return json_print(c, o);
}
