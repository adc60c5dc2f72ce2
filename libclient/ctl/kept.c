#include <string.h>

#include "account.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "table.h"
#include "verbs.h"

/* What is kept for later sessions. */

static const char *kind_text(unsigned kind) {
        return kind == SVMD_KEPT_MEM ? "memory" : kind == SVMD_KEPT_LEASE ? "lease" : "range";
}

/* ---- list ---- */

static const char *places_text(struct ctl *c, const struct svmd_kept_row *k, const struct node_rows *nodes) {
        const char *text = "";

        for (size_t i = 0; i < k->nodes_count; i++)
                text = ctl_text(c, "%s%s%s %s", text, i ? ", " : "", rows_node_name(c, nodes, k->nodes[i].node),
                                ctl_size(c, k->nodes[i].used));
        return text;
}

/* When it ends: in a while, that long after its last session, or never by itself. */
static const char *end_text(struct ctl *c, const struct svmd_kept_row *k) {
        if (k->left_ms != UINT64_MAX)
                return ctl_text(c, "in %s", ctl_duration(c, k->left_ms));
        return k->seconds ? ctl_text(c, "%s after", ctl_duration(c, k->seconds * 1000)) : "never";
}

static void list_text(struct ctl *c, const struct kept_rows *kept, const struct node_rows *nodes, bool one) {
        static const struct column columns[] = {
                { "PARTITION", COLUMN_TRUNC },
                { "NAME", COLUMN_TRUNC },
                { "KIND", 0 },
                { "ADDRESS", 0 },
                { "SIZE", COLUMN_RIGHT },
                { "OWNER", 0 },
                { "MODE", 0 },
                { "OPEN", COLUMN_RIGHT },
                { "IDLE", COLUMN_RIGHT },
                { "ENDS", 0 },
                { "PLACES", 0 },
        };
        struct table *t = table_new(c, columns + one, sizeof(columns) / sizeof(columns[0]) - one);

        for (size_t i = 0; i < kept->count; i++) {
                const struct svmd_kept_row *k = &kept->rows[i];
                struct table_line *l = table_line(t, NULL);

                if (!one)
                        table_cell(l, k->partition);
                table_cell(l, k->name);
                table_cell(l, kind_text(k->kind));
                table_cell(l, k->kind == SVMD_KEPT_RANGE ? ctl_address(c, k->address) : "-");
                table_cell(l, ctl_size(c, k->length));
                table_cell(l, account_user(c, k->uid));
                table_cell(l, ctl_text(c, "%04o", k->mode));
                table_cell_count(l, k->users);
                table_cell(l, k->idle_ms ? ctl_duration(c, k->idle_ms) : "-");
                table_cell(l, end_text(c, k));
                table_cell(l, places_text(c, k, nodes));
        }
        table_print(t, "Nothing is kept");
}

static struct json_object *kept_json(struct ctl *c, const struct svmd_kept_row *k, const struct node_rows *nodes) {
        struct json_object *o = json_object_new_object(), *list = json_object_new_array();

        json_add_text(o, "partition", k->partition);
        json_add_text(o, "name", k->name);
        json_add_text(o, "kind", kind_text(k->kind));
        json_add_count(o, "id", k->id);
        if (k->kind == SVMD_KEPT_RANGE)
                json_add_address(o, "address", k->address);
        json_add_count(o, "length", k->length);
        json_add_user(c, o, k->uid);
        json_add_group(c, o, k->gid);
        json_add_mode(o, "mode", k->mode);
        json_add_count(o, "users", k->users);
        json_add_count(o, "seconds", k->seconds);
        json_add_count(o, "idle_ms", k->idle_ms);
        json_add_limit(o, "left_ms", k->left_ms);
        for (size_t i = 0; i < k->nodes_count; i++) {
                struct json_object *place = json_object_new_object();

                json_add_text(place, "node", rows_node_name(c, nodes, k->nodes[i].node));
                json_add_count(place, "used", k->nodes[i].used);
                json_object_array_add(list, place);
        }
        json_add(o, "nodes", list);
        return o;
}

int kept_list_run(struct ctl *c, const struct args *a) {
        struct json_object *list;
        struct node_rows nodes;
        struct kept_rows kept;
        int r = rows_kept(c, a->value[OPT_PARTITION], &kept);

        if (r == SVMD_OK)
                r = rows_nodes(c, &nodes);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (!c->json) {
                list_text(c, &kept, &nodes, a->value[OPT_PARTITION] != NULL);
                return EXIT_OK;
        }
        list = json_object_new_array();
        for (size_t i = 0; i < kept.count; i++)
                json_object_array_add(list, kept_json(c, &kept.rows[i], &nodes));
        return json_print(c, list);
}

/* ---- remove ---- */

static int parse_kind(struct ctl *c, const char *text, unsigned *ret) {
        *ret = 0;
        if (!text)
                return EXIT_OK;
        if (strcmp(text, "range") == 0)
                *ret = SVMD_KEPT_RANGE;
        else if (strcmp(text, "memory") == 0)
                *ret = SVMD_KEPT_MEM;
        else if (strcmp(text, "lease") == 0)
                *ret = SVMD_KEPT_LEASE;
        else
                return ctl_fail(c, EXIT_USAGE, "--kind '%s': expected range, memory or lease", text);
        return EXIT_OK;
}

/* `kind` 0: of any. */
static int find(struct ctl *c, const struct args *a, unsigned kind, const struct svmd_kept_row **ret) {
        const struct svmd_kept_row *found = NULL;
        const char *name = a->words[0];
        struct kept_rows kept = { 0 };
        int r = ctl_result(c, rows_kept(c, a->value[OPT_PARTITION], &kept));

        if (r != EXIT_OK)
                return r;
        for (size_t i = 0; i < kept.count; i++) {
                const struct svmd_kept_row *k = &kept.rows[i];

                if (strcmp(k->name, name) != 0 || (kind && k->kind != kind))
                        continue;
                if (found && strcmp(found->partition, k->partition) != 0)
                        return ctl_fail(c, EXIT_USAGE,
                                        "partitions %s and %s both keep '%s'; say which one: --partition",
                                        found->partition, k->partition, name);
                if (found)
                        return ctl_fail(c, EXIT_USAGE,
                                        "'%s' is kept as %s and as %s; say which one: --kind range, memory or lease",
                                        name, kind_text(found->kind), kind_text(k->kind));
                found = k;
        }
        if (!found)
                return ctl_fail(c, EXIT_REFUSED, "nothing is kept as '%s'; 'svmd-ctl kept list' shows what is", name);
        *ret = found;
        return EXIT_OK;
}

static int say_removed(struct ctl *c, const struct svmd_kept_row *k, bool dry) {
        struct json_object *o;

        if (c->json) {
                o = json_object_new_object();
                json_add_text(o, "partition", k->partition);
                json_add_text(o, "name", k->name);
                json_add_text(o, "kind", kind_text(k->kind));
                json_add_count(o, "users", k->users);
                json_add_flag(o, "dry_run", dry);
                return json_print(c, o);
        }
        if (k->users)
                fprintf(c->out, "%s %s %s no longer; %u session%s still ha%s it\n", dry ? "Would keep" : "Keeps",
                        kind_text(k->kind), k->name, k->users, k->users == 1 ? "" : "s", k->users == 1 ? "s" : "ve");
        else
                fprintf(c->out, "%s %s %s, %s\n", dry ? "Would remove" : "Removed", kind_text(k->kind), k->name,
                        ctl_size(c, k->length));
        return EXIT_OK;
}

static int remove_one(struct ctl *c, const struct args *a, unsigned kind) {
        bool dry = a->value[OPT_DRY_RUN];
        const struct svmd_kept_row *k = NULL;
        int r = find(c, a, kind, &k);

        if (r != EXIT_OK)
                return r;
        if (!dry)
                r = args_agreed(c, a,
                                ctl_text(c, "Remove %s %s, %s%s?", kind_text(k->kind), k->name, ctl_size(c, k->length),
                                         k->users ? ", when its last session leaves" : ""));
        if (!dry && r == EXIT_OK)
                r = ctl_result(c, svmd_kept_remove(c->session, c->info.admin ? k->partition : NULL, k->kind, k->name));
        return r == EXIT_OK ? say_removed(c, k, dry) : r;
}

int kept_remove_run(struct ctl *c, const struct args *a) {
        unsigned kind;
        int r = parse_kind(c, a->value[OPT_KIND], &kind);

        return r == EXIT_OK ? remove_one(c, a, kind) : r;
}

int lease_remove_run(struct ctl *c, const struct args *a) {
        return remove_one(c, a, SVMD_KEPT_LEASE);
}
