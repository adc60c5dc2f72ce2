#include <string.h>

#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "table.h"
#include "told.h"
#include "verbs.h"

/* A driver's: svmd says what there is, and has no memory there. */
static bool is_device(const struct svmd_node_row *n) {
        return n->kind == SVMD_NODE_KFD || n->kind == SVMD_NODE_DRM;
}

/* svmd says what there is, and executes nothing there. */
static bool is_shown_only(const struct svmd_node_row *n) {
        return is_device(n) && !n->delegated && !n->brokered;
}

static const struct {
        unsigned bit;
        const char *name, *text;
} abilities[] = {
        { SVMD_NODE_IMPORT, "import", "imports dma-bufs" },
        { SVMD_NODE_EXPORT, "export", "exports dma-bufs" },
        { SVMD_NODE_SYNCOBJ, "syncobj", "synchronisation objects" },
        { SVMD_NODE_TIMELINE, "timeline", "timelines" },
};

/* Bits of svmd_node_row, in their order. */
static const char *const operations[] = { "alloc",    "map",     "unmap", "access", "advise",
                                          "prefetch", "userptr", "space", "import", "mode" };
enum { OPERATIONS = sizeof(operations) / sizeof(operations[0]) };

static const char *operations_text(struct ctl *c, unsigned bits) {
        const char *text = "";

        for (unsigned i = 0; i < OPERATIONS; i++)
                if (bits & 1u << i)
                        text = ctl_text(c, "%s%s%s", text, *text ? ", " : "", operations[i]);
        return text;
}

static struct json_object *operations_json(unsigned bits) {
        struct json_object *list = json_object_new_array();

        for (unsigned i = 0; i < OPERATIONS; i++)
                if (bits & 1u << i)
                        json_object_array_add(list, json_object_new_string(operations[i]));
        return list;
}

static void device_json(struct json_object *o, const struct svmd_node_row *n) {
        struct json_object *can = json_object_new_array();

        json_add_text(o, "driver", n->driver);
        json_add_text(o, "version", n->version);
        json_add_text(o, "bus", n->bus);
        for (size_t i = 0; i < sizeof(abilities) / sizeof(abilities[0]); i++)
                if (n->can & abilities[i].bit)
                        json_object_array_add(can, json_object_new_string(abilities[i].name));
        json_add(o, "can", can);
        json_add_text(o, "trouble", n->trouble);
        json_add_count(o, "functions", n->functions);
        json_add_count(o, "functions_most", n->functions_most);
        json_add_text(o, "physical", n->physical);
        json_add(o, "delegated", operations_json(n->delegated));
        json_add(o, "brokered", operations_json(n->brokered));
}

/* "virtio_gpu 0.1.0" */
static const char *device_driver(struct ctl *c, const struct svmd_node_row *n) {
        return ctl_text(c, "%s%s%s", n->driver, *n->version ? " " : "", n->version);
}

static struct json_object *node_json(const struct svmd_node_row *n) {
        struct json_object *o = json_object_new_object();

        json_add_count(o, "id", n->id);
        json_add_text(o, "name", n->name);
        json_add_text(o, "kind", n->kind_name);
        json_add_text(o, "model", n->model);
        json_add_flag(o, "online", n->online);
        json_add_flag(o, "faults", n->faults);
        json_add_count(o, "capacity", n->capacity);
        json_add_count(o, "used", n->used);
        json_add_count(o, "pool_bytes", n->pool_bytes);
        json_add(o, "hive", n->hive ? json_object_new_uint64(n->hive) : NULL);
        json_add_count(o, "spaces", n->spaces);
        json_add_count(o, "ops", n->ops);
        json_add_address(o, "va_start", n->va_start);
        json_add_address(o, "va_end", n->va_end);
        json_add_count(o, "limited_partitions", n->limits);
        json_add_count(o, "managed", n->managed);
        json_add_count(o, "reserve", n->reserve);
        json_add_count(o, "warm", n->warm);
        json_add_count(o, "waiting", n->waiting);
        json_add_count(o, "bounces", n->bounces);
        json_add_count(o, "pins", n->pins);
        json_add_count(o, "naps", n->naps);
        json_add_text(o, "device", n->device);
        json_add_flag(o, "observed", n->kind == SVMD_NODE_HMM);
        if (is_device(n))
                device_json(o, n);
        if (n->kind == SVMD_NODE_KFD)
                json_add(o, "events", told_json(&n->events));
        return o;
}

/* A hive is known by the node of the lowest number in it. */
static const char *hive_name(const struct node_rows *nodes, const struct svmd_node_row *n) {
        for (size_t i = 0; n->hive && i < nodes->count; i++) {
                if (nodes->rows[i].hive == n->hive)
                        return nodes->rows[i].name;
        }
        return "-";
}

static const char *percent(struct ctl *c, uint64_t used, uint64_t capacity) {
        if (capacity == 0)
                return "-";
        return ctl_text(c, "%.0f%%", 100.0 * (double)used / (double)capacity);
}

/* From its faults on. */
static void device_cells(struct ctl *c, struct table_line *l, const struct node_rows *nodes,
                         const struct svmd_node_row *n) {
        table_cell(l, n->kind != SVMD_NODE_KFD ? "-" : n->faults ? "yes" : "no");
        table_cell(l, n->capacity ? ctl_size(c, n->capacity) : "-");
        table_cell(l, n->used ? ctl_size(c, n->used) : "-");
        table_cell(l, n->used ? percent(c, n->used, n->capacity) : "-");
        for (unsigned i = 0; i < 3; i++)
                table_cell(l, "-");
        table_cell(l, hive_name(nodes, n));
        table_cell(l, *n->driver ? ctl_text(c, "%s%s%s%s", device_driver(c, n), *n->model ? ", " : "", n->model,
                                            *n->physical ? " (VF)" : "")
                                 : n->trouble);
}

static void node_list_text(struct ctl *c, const struct node_rows *nodes) {
        static const struct column columns[] = {
                { "NODE", 0 },
                { "ID", COLUMN_RIGHT },
                { "KIND", 0 },
                { "STATE", 0 },
                { "FAULTS", 0 },
                { "CAPACITY", COLUMN_RIGHT },
                { "USED", COLUMN_RIGHT },
                { "USE%", COLUMN_RIGHT },
                { "MANAGED", COLUMN_RIGHT },
                { "WAIT", COLUMN_RIGHT },
                { "SPACES", COLUMN_RIGHT },
                { "HIVE", 0 },
                { "MODEL", COLUMN_TRUNC },
        };
        struct table *t = table_new(c, columns, sizeof(columns) / sizeof(columns[0]));

        for (size_t i = 0; i < nodes->count; i++) {
                const struct svmd_node_row *n = &nodes->rows[i];
                struct table_line *l = table_line(t, NULL);

                table_cell(l, n->name);
                table_cell_count(l, n->id);
                table_cell(l, n->kind_name);
                table_cell_color(l, n->online ? "online" : "offline", n->online ? NULL : "red");
                if (is_shown_only(n)) {
                        device_cells(c, l, nodes, n);
                        continue;
                }
                table_cell(l, n->kind == SVMD_NODE_HOST ? "-" : n->faults ? "yes" : "no");
                table_cell(l, ctl_size(c, n->capacity));
                table_cell(l, ctl_size(c, n->used));
                table_cell(l, percent(c, n->used, n->capacity));
                table_cell(l, ctl_size(c, n->managed));
                table_cell_count(l, n->waiting);
                table_cell_count(l, n->spaces);
                table_cell(l, hive_name(nodes, n));
                table_cell(l, n->model);
        }
        table_print(t, NULL);
}

int node_list_run(struct ctl *c, const struct args *a) {
        struct node_rows nodes;
        struct json_object *list;
        int r = rows_nodes(c, &nodes);

        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (!c->json) {
                node_list_text(c, &nodes);
                return EXIT_OK;
        }
        list = json_object_new_array();
        for (size_t i = 0; i < nodes.count; i++)
                json_object_array_add(list, node_json(&nodes.rows[i]));
        return json_print(c, list);
}

/* A node with what the other queries say of it. */
struct node_view {
        const struct node_rows *nodes;
        const struct svmd_node_row *node;
        struct link_rows links;
        struct use_rows use; /* of every node; none without rights */
};

static const char *hive_members(struct ctl *c, const struct node_view *v) {
        const char *text = "";

        for (size_t i = 0; i < v->nodes->count; i++) {
                const struct svmd_node_row *n = &v->nodes->rows[i];

                if (n->hive == v->node->hive && n != v->node)
                        text = ctl_text(c, "%s%s%s", text, *text ? " " : "", n->name);
        }
        return *text ? text : "no other node";
}

/* Who its driver is, and where. */
static void add_driver(struct ctl *c, struct fields *f, const struct svmd_node_row *n) {
        if (*n->driver)
                fields_add(f, "driver", "%s", device_driver(c, n));
        if (*n->device)
                fields_add(f, "device", "%s", n->device);
        if (*n->bus)
                fields_add(f, "bus", "%s", n->bus);
        if (*n->physical)
                fields_add(f, "function", "virtual (SR-IOV), of %s", n->physical);
        if (n->functions_most)
                fields_add(f, "function", "physical (SR-IOV), with %u of at most %u virtual ones", n->functions,
                           n->functions_most);
}

/* What all devices of drivers have, from their faults on. */
static void add_device(struct ctl *c, struct fields *f, const struct node_view *v) {
        const struct svmd_node_row *n = v->node;
        const char *can = "";

        if (n->kind == SVMD_NODE_KFD)
                fields_add(f, "faults", "%s",
                           n->faults ? "yes (XNACK is on in a new process)"
                                     : "no (XNACK is off in a new process): prefetch or pin what it uses");
        if (n->kind == SVMD_NODE_CUDA)
                fields_add(f, "faults", "no: prefetch or map what it uses");
        if (n->va_end)
                fields_add(f, "addresses", "%s to %s", ctl_address(c, n->va_start), ctl_address(c, n->va_end));
        if (n->hive)
                fields_add(f, "hive", "0x%llx, with %s", (unsigned long long)n->hive, hive_members(c, v));
        for (size_t i = 0; i < sizeof(abilities) / sizeof(abilities[0]); i++)
                if (n->can & abilities[i].bit)
                        can = ctl_text(c, "%s%s%s", can, *can ? ", " : "", abilities[i].text);
        if (n->kind == SVMD_NODE_DRM)
                fields_add(f, "can", "%s", *can ? can : "nothing that svmd knows of");
}

static void device_show_fields(struct ctl *c, const struct node_view *v) {
        const struct svmd_node_row *n = v->node;
        struct fields *f = fields_new(c);

        fprintf(c->out, "%s: %s device %u%s%s\n", n->name, n->kind_name, n->id, *n->model ? ", " : "", n->model);
        if (*n->trouble)
                fields_add(f, "state", "cannot be asked: %s", n->trouble);
        add_driver(c, f, n);
        if (n->capacity)
                fields_add(f, "capacity", "%s", ctl_size(c, n->capacity));
        if (n->used)
                fields_add(f, "used", "%s when svmd looked", ctl_size(c, n->used));
        add_device(c, f, v);
        fields_add(f, "memory", "svmd places none there; its dma-bufs can be imported");
        fields_print(f);
}

/* Its memory is charged, and its page tables are its clients'. */
static void audited_show_fields(struct ctl *c, const struct node_view *v) {
        const struct svmd_node_row *n = v->node;
        unsigned refused = ((1u << OPERATIONS) - 1) & ~(n->delegated | n->brokered);
        struct fields *f = fields_new(c);

        fprintf(c->out, "%s: %s node %u%s%s\n", n->name, n->kind_name, n->id, *n->model ? ", " : "", n->model);
        fields_add(f, "state", "%s%s%s", n->online ? "online" : "offline", *n->trouble ? ": " : "", n->trouble);
        add_driver(c, f, n);
        fields_add(f, "capacity", "%s", ctl_size(c, n->capacity));
        fields_add(f, "used", "%s (%s), audited: what clients say they have there", ctl_size(c, n->used),
                   percent(c, n->used, n->capacity));
        fields_add(f, "limits", "%llu partition%s", (unsigned long long)n->limits, n->limits == 1 ? "" : "s");
        fields_add(f, "spaces", "%llu", (unsigned long long)n->spaces);
        add_device(c, f, v);
        if (told_text(c, &n->events))
                fields_add(f, "told", "by its driver: %s", told_text(c, &n->events));
        fields_add(f, "clients do", "%s (under grants)", operations_text(c, n->delegated));
        if (n->brokered)
                fields_add(f, "svmd does", "%s", operations_text(c, n->brokered));
        if (refused)
                fields_add(f, "refused", "%s", operations_text(c, refused));
        fields_print(f);
}

static void node_show_fields(struct ctl *c, const struct node_view *v) {
        const struct svmd_node_row *n = v->node;
        struct fields *f = fields_new(c);

        fprintf(c->out, "%s: %s node %u%s%s\n", n->name, n->kind_name, n->id, *n->model ? ", " : "", n->model);
        if (n->online || n->managed == 0)
                fields_add(f, "state", "%s", n->online ? "online" : "offline");
        else
                fields_add(f, "state", "offline, with %s of managed memory still to leave", ctl_size(c, n->managed));
        if (n->kind != SVMD_NODE_HOST)
                fields_add(f, "faults", "%s",
                           n->faults ? "yes: waits for what is not there"
                                     : "no: an access to what is not mapped is an error");
        fields_add(f, "capacity", "%s", ctl_size(c, n->capacity));
        if (n->kind == SVMD_NODE_HMM) {
                fields_add(f, "device", "%s, which processes open and give to svmd", n->device);
                fields_add(f, "residency", "observed: %s were there when svmd looked last; nothing is charged",
                           ctl_size(c, n->used));
                fields_print(f);
                return;
        }
        fields_add(f, "used", "%s (%s)", ctl_size(c, n->used), percent(c, n->used, n->capacity));
        fields_add(f, "managed", "%s of what is used", ctl_size(c, n->managed));
        fields_add(f, "reserve", "%s kept back for bringing pages in", ctl_size(c, n->reserve));
        if (n->waiting)
                fields_add(f, "waiting", "%llu granule%s for room", (unsigned long long)n->waiting,
                           n->waiting == 1 ? "" : "s");
        if (n->bounces)
                fields_add(f, "bounces", "%llu: %llu pinned for a time, %llu answered later",
                           (unsigned long long)n->bounces, (unsigned long long)n->pins, (unsigned long long)n->naps);
        if (n->kind == SVMD_NODE_SOFT) {
                fields_add(f, "pool", "%s taken from this machine", ctl_size(c, n->pool_bytes));
                fields_add(f, "warm", "%s free and kept for what comes next", ctl_size(c, n->warm));
        }
        fields_add(f, "limits", "%llu partition%s", (unsigned long long)n->limits, n->limits == 1 ? "" : "s");
        if (n->kind != SVMD_NODE_HOST) {
                fields_add(f, "spaces", "%llu", (unsigned long long)n->spaces);
                fields_add(f, "operations", "%llu done", (unsigned long long)n->ops);
        }
        if (n->va_end)
                fields_add(f, "addresses", "%s to %s", ctl_address(c, n->va_start), ctl_address(c, n->va_end));
        if (n->hive)
                fields_add(f, "hive", "0x%llx, with %s", (unsigned long long)n->hive, hive_members(c, v));
        fields_print(f);
}

/* Machines state MB/s. */
static const char *bandwidth(struct ctl *c, const struct svmd_link_row *l) {
        double least = (double)l->min_bandwidth / 1000, most = (double)l->max_bandwidth / 1000;

        if (l->max_bandwidth == 0)
                return "-";
        if (l->min_bandwidth == 0 || l->min_bandwidth == l->max_bandwidth)
                return ctl_text(c, "%.4g GB/s", most);
        return ctl_text(c, "%.4g to %.4g GB/s", least, most);
}

static void node_show_links(struct ctl *c, const struct node_view *v) {
        static const struct column columns[] = { { "LINK TO", 0 },
                                                 { "TYPE", 0 },
                                                 { "DISTANCE", COLUMN_RIGHT },
                                                 { "BANDWIDTH", COLUMN_RIGHT },
                                                 { "DIRECT", 0 } };
        struct table *t;

        if (v->links.count == 0)
                return;
        t = table_new(c, columns, 5);
        for (size_t i = 0; i < v->links.count; i++) {
                const struct svmd_link_row *link = &v->links.rows[i];
                struct table_line *l = table_line(t, NULL);

                table_cell(l, rows_node_name(c, v->nodes, link->to));
                table_cell(l, link->type);
                table_cell_count(l, link->weight);
                table_cell(l, bandwidth(c, link));
                table_cell(l, link->peer ? "yes" : "no");
        }
        fputc('\n', c->out);
        table_print(t, NULL);
}

static void node_show_use(struct ctl *c, const struct node_view *v) {
        static const struct column columns[] = {
                { "USED BY", 0 }, { "USED", COLUMN_RIGHT }, { "PEAK", COLUMN_RIGHT }, { "LIMIT", COLUMN_RIGHT }
        };
        struct table *t = table_new(c, columns, 4);
        bool any = false;

        for (size_t i = 0; i < v->use.count; i++) {
                const struct svmd_use_row *u = &v->use.rows[i];
                struct table_line *l;

                if (u->session || u->node != v->node->id || (u->used == 0 && u->peak == 0))
                        continue;
                if (!any)
                        fputc('\n', c->out);
                any = true;
                l = table_line(t, NULL);
                table_cell(l, u->partition);
                table_cell(l, ctl_size(c, u->used));
                table_cell(l, ctl_size(c, u->peak));
                table_cell(l, ctl_limit(c, u->max));
        }
        table_print(t, NULL);
}

static void node_show_json(struct ctl *c, const struct node_view *v) {
        struct json_object *o = node_json(v->node), *links = json_object_new_array(), *use = json_object_new_array();

        for (size_t i = 0; i < v->links.count; i++) {
                const struct svmd_link_row *link = &v->links.rows[i];
                struct json_object *e = json_object_new_object();

                json_add_text(e, "to", rows_node_name(c, v->nodes, link->to));
                json_add_text(e, "type", link->type);
                json_add_count(e, "weight", link->weight);
                json_add_count(e, "min_bandwidth", link->min_bandwidth);
                json_add_count(e, "max_bandwidth", link->max_bandwidth);
                json_add_flag(e, "peer", link->peer);
                json_add_count(e, "rate", link->rate);
                json_add_count(e, "moved", link->moved);
                json_add_count(e, "put_off", link->put_off);
                json_object_array_add(links, e);
        }
        for (size_t i = 0; i < v->use.count; i++) {
                const struct svmd_use_row *u = &v->use.rows[i];
                struct json_object *e;

                if (u->session || u->node != v->node->id)
                        continue;
                e = json_object_new_object();
                json_add_text(e, "partition", u->partition);
                json_add_count(e, "used", u->used);
                json_add_count(e, "peak", u->peak);
                json_add_limit(e, "max", u->max);
                json_object_array_add(use, e);
        }
        json_add(o, "links", links);
        json_add(o, "use", use);
        json_print(c, o);
}

int node_show_run(struct ctl *c, const struct args *a) {
        struct node_rows nodes;
        struct node_view v = { .nodes = &nodes };
        int r = rows_nodes(c, &nodes);

        if (r != SVMD_OK)
                return ctl_result(c, r);
        r = rows_find_node(c, &nodes, a->words[0], &v.node);
        if (r != EXIT_OK)
                return r;
        r = rows_links(c, v.node->id, &v.links);
        if (r == SVMD_OK && c->info.admin)
                r = rows_usage(c, NULL, &v.use);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (c->json) {
                node_show_json(c, &v);
                return EXIT_OK;
        }
        if (is_shown_only(v.node)) {
                device_show_fields(c, &v);
                node_show_links(c, &v);
                return EXIT_OK;
        }
        if (v.node->delegated)
                audited_show_fields(c, &v);
        else
                node_show_fields(c, &v);
        node_show_links(c, &v);
        node_show_use(c, &v);
        return EXIT_OK;
}
