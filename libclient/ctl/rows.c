#include "rows.h"

#include <string.h>

#include "ctl.h"
#include "size.h"
#include "suggest.h"

/* A growing array in the pool: outgrown copies stay there to the end of the run, at most as much again. */
struct collect {
        struct ctl *ctl;
        char *rows;
        size_t count, capacity, row_size;
};

static void *collect_row(struct collect *l, const void *row) {
        char *grown, *place;

        if (l->count == l->capacity) {
                l->capacity = l->capacity ? l->capacity * 2 : 16;
                grown = ctl_alloc(l->ctl, l->capacity * l->row_size);
                if (l->count)
                        memcpy(grown, l->rows, l->count * l->row_size);
                l->rows = grown;
        }
        place = l->rows + l->count++ * l->row_size;
        memcpy(place, row, l->row_size);
        return place;
}

static int add_node(const struct svmd_node_row *row, void *userdata) {
        struct collect *l = userdata;
        struct svmd_node_row *copy = collect_row(l, row);

        copy->name = ctl_copy(l->ctl, row->name);
        copy->model = ctl_copy(l->ctl, row->model);
        copy->device = ctl_copy(l->ctl, row->device);
        copy->driver = ctl_copy(l->ctl, row->driver);
        copy->version = ctl_copy(l->ctl, row->version);
        copy->bus = ctl_copy(l->ctl, row->bus);
        copy->trouble = ctl_copy(l->ctl, row->trouble);
        copy->physical = ctl_copy(l->ctl, row->physical ? row->physical : "");
        copy->kind_name = ctl_copy(l->ctl, row->kind_name ? row->kind_name : "");
        return 0;
}

int rows_nodes(struct ctl *c, struct node_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r = svmd_query_nodes(c->session, add_node, &l);

        if (r == SVMD_OK)
                *ret = (struct node_rows){ (const void *)l.rows, l.count };
        return r;
}

static int add_limited(const struct svmd_limited_row *row, void *userdata) {
        struct collect *l = userdata;
        struct svmd_limited_row *copy = collect_row(l, row);
        struct svmd_use_row *nodes = ctl_alloc(l->ctl, row->nodes_count * sizeof(*nodes));

        copy->cgroup = ctl_copy(l->ctl, row->cgroup);
        copy->partition = ctl_copy(l->ctl, row->partition);
        copy->client = ctl_copy(l->ctl, row->client);
        for (size_t i = 0; i < row->nodes_count; i++)
                nodes[i] = row->nodes[i];
        copy->nodes = nodes;
        return 0;
}

int rows_limited(struct ctl *c, uint64_t session, struct limited_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r = session ? svmd_query_session(c->session, session, add_limited, &l)
                        : svmd_query_cgroups(c->session, NULL, add_limited, &l);

        if (r == SVMD_OK)
                *ret = (struct limited_rows){ (const void *)l.rows, l.count };
        return r;
}

static int add_link(const struct svmd_link_row *row, void *userdata) {
        struct collect *l = userdata;
        struct svmd_link_row *copy = collect_row(l, row);

        copy->type = ctl_copy(l->ctl, row->type);
        return 0;
}

int rows_links(struct ctl *c, svmd_node node, struct link_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r = svmd_query_links(c->session, node, add_link, &l);

        if (r == SVMD_OK)
                *ret = (struct link_rows){ (const void *)l.rows, l.count };
        return r;
}

static int add_finding(const char *id, unsigned level, const char *text, void *userdata) {
        struct collect *l = userdata;
        struct finding_row row = { ctl_copy(l->ctl, id), ctl_copy(l->ctl, text), level };

        collect_row(l, &row);
        return 0;
}

int rows_findings(struct ctl *c, struct finding_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r = svmd_query_findings(c->session, add_finding, &l);

        if (r == SVMD_OK)
                *ret = (struct finding_rows){ (const void *)l.rows, l.count };
        return r;
}

static void copy_use(struct ctl *c, struct svmd_use_row *copy, const struct svmd_use_row *row) {
        *copy = *row;
        copy->partition = ctl_copy(c, row->partition);
        copy->client = ctl_copy(c, row->client);
}

static int add_partition(const struct svmd_partition_row *row, void *userdata) {
        struct collect *l = userdata;
        struct svmd_partition_row *copy = collect_row(l, row);
        struct svmd_use_row *nodes = ctl_alloc(l->ctl, row->nodes_count * sizeof(*nodes));

        for (size_t i = 0; i < row->nodes_count; i++)
                copy_use(l->ctl, &nodes[i], &row->nodes[i]);
        copy->nodes = nodes;
        copy->name = ctl_copy(l->ctl, row->name);
        copy->domain = ctl_copy(l->ctl, row->domain);
        copy->policy = ctl_copy(l->ctl, row->policy ? row->policy : "");
        copy->container = ctl_copy(l->ctl, row->container);
        return 0;
}

int rows_partitions(struct ctl *c, const char *name, struct partition_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r = svmd_query_partitions(c->session, name, add_partition, &l);

        if (r == SVMD_OK)
                *ret = (struct partition_rows){ (const void *)l.rows, l.count };
        return r;
}

static int add_session(const struct svmd_session_row *row, void *userdata) {
        struct collect *l = userdata;
        struct svmd_session_row *copy = collect_row(l, row);

        copy->partition = ctl_copy(l->ctl, row->partition);
        copy->withheld = ctl_copy(l->ctl, row->withheld);
        copy->client = ctl_copy(l->ctl, row->client);
        return 0;
}

int rows_sessions(struct ctl *c, const char *partition, struct session_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r = svmd_query_sessions(c->session, partition, add_session, &l);

        if (r == SVMD_OK)
                *ret = (struct session_rows){ (const void *)l.rows, l.count };
        return r;
}

static int add_reservation(const struct svmd_reservation_row *row, void *userdata) {
        struct collect *l = userdata;
        struct svmd_reservation_row *copy = collect_row(l, row);

        copy->name = ctl_copy(l->ctl, row->name);
        copy->partition = ctl_copy(l->ctl, row->partition);
        return 0;
}

static int query_reservations(struct collect *l, const char *partition) {
        return svmd_query_reservations(l->ctl->session, partition, add_reservation, l);
}

static uint64_t has_reservations(const struct svmd_partition_row *row) {
        return row->reservations;
}

/* svmd answers for one partition at a time. One that is deleted meanwhile has none. */
static int all_of(struct collect *l, uint64_t (*has)(const struct svmd_partition_row *row),
                  int (*query)(struct collect *l, const char *partition)) {
        struct partition_rows partitions = { 0 };
        int r = rows_partitions(l->ctl, NULL, &partitions);

        for (size_t i = 0; r == SVMD_OK && i < partitions.count; i++) {
                if (!has(&partitions.rows[i]))
                        continue;
                r = query(l, partitions.rows[i].name);
                if (r == SVMD_E_NO_SUCH)
                        r = SVMD_OK;
        }
        return r;
}

int rows_reservations(struct ctl *c, const char *partition, struct reservation_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r;

        if (c->info.admin && !partition)
                r = all_of(&l, has_reservations, query_reservations);
        else
                r = query_reservations(&l, c->info.admin ? partition : NULL);
        if (r == SVMD_OK)
                *ret = (struct reservation_rows){ (const void *)l.rows, l.count };
        return r;
}

static int add_kept(const struct svmd_kept_row *row, void *userdata) {
        struct collect *l = userdata;
        struct svmd_kept_row *copy = collect_row(l, row);
        struct svmd_use_row *nodes = ctl_alloc(l->ctl, row->nodes_count * sizeof(*nodes));

        copy->name = ctl_copy(l->ctl, row->name);
        copy->partition = ctl_copy(l->ctl, row->partition);
        for (size_t i = 0; i < row->nodes_count; i++)
                nodes[i] = (struct svmd_use_row){ .node = row->nodes[i].node, .used = row->nodes[i].used };
        copy->nodes = nodes;
        return 0;
}

static int query_kept(struct collect *l, const char *partition) {
        return svmd_query_kept(l->ctl->session, partition, add_kept, l);
}

static uint64_t has_kept(const struct svmd_partition_row *row) {
        return row->kept;
}

int rows_kept(struct ctl *c, const char *partition, struct kept_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r = c->info.admin && !partition ? all_of(&l, has_kept, query_kept)
                                            : query_kept(&l, c->info.admin ? partition : NULL);

        if (r == SVMD_OK)
                *ret = (struct kept_rows){ (const void *)l.rows, l.count };
        return r;
}

static int add_share(const struct svmd_share_row *row, void *userdata) {
        struct collect *l = userdata;
        struct svmd_share_row *copy = collect_row(l, row);

        copy->name = ctl_copy(l->ctl, row->name);
        copy->partition = ctl_copy(l->ctl, row->partition);
        copy->to = ctl_copy(l->ctl, row->to);
        return 0;
}

int rows_shares(struct ctl *c, const char *partition, struct share_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r = svmd_query_shares(c->session, c->info.admin ? partition : NULL, add_share, &l);

        if (r == SVMD_OK)
                *ret = (struct share_rows){ (const void *)l.rows, l.count };
        return r;
}

static int add_lease(const struct svmd_lease_row *row, void *userdata) {
        struct collect *l = userdata;
        struct svmd_lease_row *copy = collect_row(l, row);
        struct svmd_use_row *nodes = ctl_alloc(l->ctl, row->nodes_count * sizeof(*nodes));

        copy->client = ctl_copy(l->ctl, row->client);
        copy->partition = ctl_copy(l->ctl, row->partition);
        copy->name = ctl_copy(l->ctl, row->name);
        for (size_t i = 0; i < row->nodes_count; i++)
                nodes[i] = (struct svmd_use_row){ .node = row->nodes[i].node,
                                                  .used = row->nodes[i].used,
                                                  .max = row->nodes[i].max };
        copy->nodes = nodes;
        return 0;
}

static int query_leases(struct collect *l, const char *partition) {
        return svmd_query_leases(l->ctl->session, partition, add_lease, l);
}

static uint64_t has_leases(const struct svmd_partition_row *row) {
        return row->sessions + row->kept;
}

int rows_leases(struct ctl *c, const char *partition, struct lease_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r = c->info.admin && !partition ? all_of(&l, has_leases, query_leases)
                                            : query_leases(&l, c->info.admin ? partition : NULL);

        if (r == SVMD_OK)
                *ret = (struct lease_rows){ (const void *)l.rows, l.count };
        return r;
}

static int add_grant(const struct svmd_grant_row *row, void *userdata) {
        struct collect *l = userdata;
        struct svmd_grant_row *copy = collect_row(l, row);

        copy->client = ctl_copy(l->ctl, row->client);
        copy->partition = ctl_copy(l->ctl, row->partition);
        return 0;
}

static int query_grants(struct collect *l, const char *partition) {
        return svmd_query_grants(l->ctl->session, partition, add_grant, l);
}

static uint64_t has_grants(const struct svmd_partition_row *row) {
        return row->sessions;
}

int rows_grants(struct ctl *c, const char *partition, struct grant_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r = c->info.admin && !partition ? all_of(&l, has_grants, query_grants)
                                            : query_grants(&l, c->info.admin ? partition : NULL);

        if (r == SVMD_OK)
                *ret = (struct grant_rows){ (const void *)l.rows, l.count };
        return r;
}

static int add_use(const struct svmd_use_row *row, void *userdata) {
        struct collect *l = userdata;

        copy_use(l->ctl, collect_row(l, row), row);
        return 0;
}

static int add_session_use(const struct svmd_use_row *row, void *userdata) {
        return row->session ? add_use(row, userdata) : 0;
}

/* What a whole partition uses stands in the partition's own row. */
static int all_use(struct ctl *c, const char *partition, struct collect *l) {
        struct partition_rows partitions = { 0 };
        int r = rows_partitions(c, partition, &partitions);

        for (size_t i = 0; r == SVMD_OK && i < partitions.count; i++) {
                for (size_t k = 0; k < partitions.rows[i].nodes_count; k++) {
                        struct svmd_use_row row = partitions.rows[i].nodes[k];

                        row.partition = partitions.rows[i].name;
                        row.session = 0;
                        add_use(&row, l);
                }
        }
        return r == SVMD_OK ? svmd_query_usage(c->session, partition, add_session_use, l) : r;
}

int rows_usage(struct ctl *c, const char *partition, struct use_rows *ret) {
        struct collect l = { .ctl = c, .row_size = sizeof(*ret->rows) };
        int r = c->info.admin ? all_use(c, partition, &l) : svmd_query_limits(c->session, add_use, &l);

        if (r == SVMD_OK)
                *ret = (struct use_rows){ (const void *)l.rows, l.count };
        return r;
}

/* States and causes are few words in many rows. */
struct words {
        struct collect rows;
        const char *seen[32];
        size_t count;
};

static const char *word_copy(struct words *w, const char *word) {
        const char *copy;

        word = word ? word : "";
        for (size_t i = 0; i < w->count; i++) {
                if (strcmp(w->seen[i], word) == 0)
                        return w->seen[i];
        }
        copy = ctl_copy(w->rows.ctl, word);
        if (w->count < sizeof(w->seen) / sizeof(w->seen[0]))
                w->seen[w->count++] = copy;
        return copy;
}

static int add_residency(const struct svmd_residency_row *row, void *userdata) {
        struct words *w = userdata;
        struct svmd_residency_row *copy = collect_row(&w->rows, row);

        copy->state = word_copy(w, row->state);
        copy->cause = word_copy(w, row->cause);
        return 0;
}

int rows_residency(struct ctl *c, const char *partition, uint64_t address, uint64_t size, bool counters,
                   struct residency_rows *ret) {
        struct words w = { .rows = { .ctl = c, .row_size = sizeof(*ret->rows) } };
        int r = svmd_query_residency(c->session, partition, address, size, counters, add_residency, &w);

        if (r == SVMD_OK)
                *ret = (struct residency_rows){ (const void *)w.rows.rows, w.rows.count };
        return r;
}

const char *rows_node_name(struct ctl *c, const struct node_rows *nodes, svmd_node id) {
        for (size_t i = 0; i < nodes->count; i++) {
                if (nodes->rows[i].id == id)
                        return nodes->rows[i].name;
        }
        return ctl_text(c, "node %u", id);
}

int rows_find_node(struct ctl *c, const struct node_rows *nodes, const char *name, const struct svmd_node_row **ret) {
        const char **names = ctl_alloc(c, nodes->count * sizeof(*names)), *near;
        uint64_t id;
        bool number = count_parse(name, &id) == 0;

        for (size_t i = 0; i < nodes->count; i++) {
                names[i] = nodes->rows[i].name;
                if (strcmp(names[i], name) == 0 || (number && nodes->rows[i].id == id)) {
                        *ret = &nodes->rows[i];
                        return EXIT_OK;
                }
        }
        near = suggest(name, names, nodes->count);
        if (near)
                return ctl_fail(c, EXIT_REFUSED, "unknown node '%s'; did you mean '%s'?", name, near);
        return ctl_fail(c, EXIT_REFUSED, "unknown node '%s'; 'svmd-ctl node list' names those there are", name);
}
