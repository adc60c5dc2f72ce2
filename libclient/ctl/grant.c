#include "grant.h"

#include <string.h>

#include "args.h"
#include "ctl.h"
#include "json.h"
#include "size.h"
#include "table.h"
#include "verbs.h"

static const struct {
        unsigned bit;
        const char *name;
} operations[] = {
        { SVMD_GRANT_ALLOC, "alloc" },     { SVMD_GRANT_MAP, "map" },       { SVMD_GRANT_UNMAP, "unmap" },
        { SVMD_GRANT_ACCESS, "access" },   { SVMD_GRANT_ADVISE, "advise" }, { SVMD_GRANT_PREFETCH, "prefetch" },
        { SVMD_GRANT_USERPTR, "userptr" }, { SVMD_GRANT_SPACE, "space" },   { SVMD_GRANT_IMPORT, "import" },
        { SVMD_GRANT_MODE, "mode" },
};
enum { OPERATIONS = sizeof(operations) / sizeof(operations[0]) };

static const char *state_name(const struct svmd_grant_row *g) {
        static const char *const names[] = { "", "asked", "held", "expired", "failed" };

        return g->state < sizeof(names) / sizeof(names[0]) ? names[g->state] : "";
}

static const char *operations_text(struct ctl *c, unsigned bits) {
        const char *text = "";

        for (unsigned i = 0; i < OPERATIONS; i++)
                if (bits & operations[i].bit)
                        text = ctl_text(c, "%s%s%s", text, *text ? "," : "", operations[i].name);
        return text;
}

static const char *error_name(const struct svmd_grant_row *g) {
        const char *name = g->error ? strerrorname_np(g->error) : NULL;

        return name ? name : g->error ? "unknown" : "-";
}

/* What it takes to come to rest. */
static const char *ends_text(struct ctl *c, const struct svmd_grant_row *g) {
        if (g->state == SVMD_GRANT_ASKED)
                return ctl_text(c, "in %s", ctl_duration(c, g->left_ms));
        return g->state == SVMD_GRANT_EXPIRED ? "unacknowledged" : "-";
}

void show_grants(struct ctl *c, const struct grant_rows *grants, const struct node_rows *nodes, uint64_t session) {
        static const struct column columns[] = {
                { "SESSION", COLUMN_RIGHT },
                { "PID", COLUMN_RIGHT },
                { "CLIENT", COLUMN_TRUNC },
                { "GRANT", COLUMN_RIGHT },
                { "NODE", 0 },
                { "STATE", 0 },
                { "FOR", COLUMN_TRUNC },
                { "BYTES", COLUMN_RIGHT },
                { "ADDRESS", 0 },
                { "ENDS", 0 },
                { "ERROR", 0 },
        };
        enum { OF_SESSION = 3 };
        unsigned from = session ? OF_SESSION : 0;
        struct table *t = table_new(c, columns + from, sizeof(columns) / sizeof(columns[0]) - from);

        for (size_t i = 0; i < grants->count; i++) {
                const struct svmd_grant_row *g = &grants->rows[i];
                struct table_line *l;

                if (session && g->session != session)
                        continue;
                l = table_line(t, NULL);
                if (!session) {
                        table_cell_count(l, g->session);
                        table_cell_count(l, g->pid);
                        table_cell(l, g->client);
                }
                table_cell_count(l, g->grant);
                table_cell(l, rows_node_name(c, nodes, g->node));
                table_cell_color(l, state_name(g), g->state >= SVMD_GRANT_EXPIRED ? "yellow" : NULL);
                table_cell(l, operations_text(c, g->operations));
                table_cell(l, g->bytes ? ctl_size(c, g->bytes) : "-");
                table_cell(l, g->size ? ctl_text(c, "0x%llx+%s", (unsigned long long)g->address, ctl_size(c, g->size))
                                      : "-");
                table_cell(l, ends_text(c, g));
                table_cell(l, error_name(g));
        }
        table_print(t, session ? "It has no grants" : "Nobody has a grant");
}

static struct json_object *grant_json(struct ctl *c, const struct svmd_grant_row *g, const struct node_rows *nodes) {
        struct json_object *o = json_object_new_object(), *list = json_object_new_array();

        json_add_text(o, "partition", g->partition);
        json_add_count(o, "grant", g->grant);
        json_add_count(o, "session", g->session);
        json_add_count(o, "pid", g->pid);
        json_add_text(o, "client", g->client);
        json_add_text(o, "node", rows_node_name(c, nodes, g->node));
        json_add_text(o, "state", state_name(g));
        for (unsigned i = 0; i < OPERATIONS; i++)
                if (g->operations & operations[i].bit)
                        json_object_array_add(list, json_object_new_string(operations[i].name));
        json_add(o, "operations", list);
        json_add_count(o, "bytes", g->bytes);
        json_add(o, "address", g->size ? json_object_new_uint64(g->address) : NULL);
        json_add_count(o, "size", g->size);
        json_add_limit(o, "left_ms", g->left_ms);
        json_add(o, "error", g->error ? json_object_new_string(error_name(g)) : NULL);
        return o;
}

struct json_object *show_grants_json(struct ctl *c, const struct grant_rows *grants, const struct node_rows *nodes,
                                     uint64_t session) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < grants->count; i++)
                if (!session || grants->rows[i].session == session)
                        json_object_array_add(list, grant_json(c, &grants->rows[i], nodes));
        return list;
}

/* Those of one node; their order stays. */
static int keep_node(struct ctl *c, const struct node_rows *nodes, const char *name, struct grant_rows *grants) {
        struct svmd_grant_row *kept = ctl_alloc(c, (grants->count + 1) * sizeof(*kept));
        const struct svmd_node_row *node;
        int r = rows_find_node(c, nodes, name, &node);
        size_t n = 0;

        if (r != EXIT_OK)
                return r;
        for (size_t i = 0; i < grants->count; i++)
                if (grants->rows[i].node == node->id)
                        kept[n++] = grants->rows[i];
        *grants = (struct grant_rows){ kept, n };
        return EXIT_OK;
}

int grant_list_run(struct ctl *c, const struct args *a) {
        const char *node = a->value[OPT_NODE], *word = a->value[OPT_SESSION];
        struct grant_rows grants;
        struct node_rows nodes;
        uint64_t session = 0;
        int r;

        if (word && (count_parse(word, &session) != 0 || session == 0))
                return ctl_fail(c, EXIT_USAGE, "'%s' is no session; expected a number of 'svmd-ctl session list'",
                                word);
        r = rows_grants(c, a->value[OPT_PARTITION], &grants);
        if (r == SVMD_OK)
                r = rows_nodes(c, &nodes);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        r = node ? keep_node(c, &nodes, node, &grants) : EXIT_OK;
        if (r != EXIT_OK)
                return r;
        if (c->json)
                return json_print(c, show_grants_json(c, &grants, &nodes, session));
        show_grants(c, &grants, &nodes, session);
        return EXIT_OK;
}
