#include "page.h"

#include <stdlib.h>
#include <string.h>

#include "families.h"
#include "need.h"

/* A family is written in one go, so each is a walk over what it is of. */
const struct family families[_FAMILY_N] = {
#define X(id, name, type, unit, dated, help) [FAMILY_##id] = { name, unit, help, FAMILY_##type, dated },
        FAMILIES(X)
#undef X
};

struct page {
        struct expose e;
        const struct scrape *s;
        const struct page_options *o;
};

static void put(struct page *p, enum family_id id, const struct label *labels, uint64_t value) {
        expose_value(&p->e, &families[id], labels, value);
}

#define LABELS(...)                                                                                                    \
        (const struct label[LABELS_MAX]) {                                                                             \
                __VA_ARGS__                                                                                            \
        }

/* ---- svmd ---- */

static void put_status(struct page *p) {
        const struct svmd_status *s = &p->s->status;

        put(p, FAMILY_BUILD, LABELS({ "version", s->version }), 1);
        expose_real(&p->e, &families[FAMILY_START], NULL, p->e.since);
        put(p, FAMILY_EPOCH, NULL, s->epoch);
        put(p, FAMILY_KEEPER, NULL, s->keeper != 0);
        put(p, FAMILY_SESSIONS, NULL, s->sessions);
        put(p, FAMILY_PARTITIONS, NULL, s->partitions);
        put(p, FAMILY_RESERVATIONS, NULL, s->reservations);
        put(p, FAMILY_MEMORIES, NULL, s->memories);
        put(p, FAMILY_MAPPINGS, NULL, s->mappings);
        put(p, FAMILY_SPACES, NULL, s->spaces);
        put(p, FAMILY_JOURNAL_USED, NULL, s->journal_used);
        put(p, FAMILY_JOURNAL_SIZE, NULL, s->journal_size);
        for (const struct scrape_finding *f = p->s->findings; f; f = f->next)
                put(p, FAMILY_FINDING, LABELS({ "finding", f->id }), f->level);
}

static void put_operations(struct page *p) {
        for (const struct scrape_metric *m = p->s->metrics; m; m = m->next)
                if (m->row.kind == SVMD_METRIC_OPERATIONS) {
                        put(p, FAMILY_OPERATIONS, LABELS({ "operation", m->row.label }, { "result", "done" }),
                            m->row.count);
                        put(p, FAMILY_OPERATIONS, LABELS({ "operation", m->row.label }, { "result", "refused" }),
                            m->row.refused);
                }
}

/* `label` is what the row's label is called, or with `value` that label's value. */
static void put_histograms(struct page *p, enum family_id id, const char *name, const char *label, const char *value) {
        for (const struct scrape_metric *m = p->s->metrics; m; m = m->next) {
                const struct expose_histogram h = { m->row.count, m->row.sum_ns, m->row.first_ns, m->row.buckets,
                                                    m->row.buckets_count };

                if (m->row.kind == SVMD_METRIC_HISTOGRAM && strcmp(m->row.name, name) == 0)
                        expose_histogram(&p->e, &families[id], LABELS({ label, value ? value : m->row.label }), &h);
        }
}

static void put_flows(struct page *p, enum family_id id, bool bytes) {
        for (const struct scrape_metric *m = p->s->metrics; m; m = m->next)
                if (m->row.kind == SVMD_METRIC_FLOW)
                        put(p, id,
                            LABELS({ "from", scrape_node_name(p->s, m->row.from) },
                                   { "to", scrape_node_name(p->s, m->row.to) }),
                            bytes ? m->row.bytes : m->row.count);
}

static void put_grants(struct page *p, enum family_id id) {
        for (const struct scrape_metric *m = p->s->metrics; m; m = m->next) {
                bool failed = m->row.kind == SVMD_METRIC_GRANTS && strcmp(m->row.label, "failed") == 0;

                if (m->row.kind != SVMD_METRIC_GRANTS || failed != (id == FAMILY_GRANTS_FAILED))
                        continue;
                if (failed)
                        put(p, id, NULL, m->row.count);
                else
                        put(p, id, LABELS({ "state", m->row.label }),
                            id == FAMILY_GRANTS ? m->row.count : m->row.bytes);
        }
}

static void put_work(struct page *p) {
        put_operations(p);
        put_histograms(p, FAMILY_REQUEST, "request", "operation", NULL);
        put_histograms(p, FAMILY_FAULT, "cpu-fault", "by", "cpu");
        put_histograms(p, FAMILY_FAULT, "device-fault", "by", "device");
        put_histograms(p, FAMILY_MIGRATION, "migration", "cause", NULL);
        put_flows(p, FAMILY_MOVED_GRANULES, false);
        put_flows(p, FAMILY_MOVED_BYTES, true);
        put_grants(p, FAMILY_GRANTS);
        put_grants(p, FAMILY_GRANT_BYTES);
        put_grants(p, FAMILY_GRANTS_FAILED);
}

/* ---- nodes and links ---- */

/* svmd gives out memory of it: not one that it only knows of. */
static bool has_memory(const struct scrape_node *n) {
        return n->row.id < 256;
}

struct column {
        enum family_id family;
        size_t at; /* a uint64_t of the row */
};

#define NODE_COLUMN(id, member)                                                                                        \
        { FAMILY_##id, offsetof(struct svmd_node_row, member) }
static const struct column node_columns[] = {
        NODE_COLUMN(NODE_CAPACITY, capacity),
        NODE_COLUMN(NODE_CHARGED, used),
        NODE_COLUMN(NODE_MANAGED, managed),
        NODE_COLUMN(NODE_RESERVE, reserve),
        NODE_COLUMN(NODE_WARM, warm),
        NODE_COLUMN(NODE_WAITING, waiting),
        NODE_COLUMN(NODE_SPACES, spaces),
        NODE_COLUMN(NODE_OPERATIONS, ops),
        NODE_COLUMN(NODE_FAULTS, device_faults),
        NODE_COLUMN(NODE_EVICTIONS, evictions),
        NODE_COLUMN(NODE_EVICTED, evicted),
        NODE_COLUMN(NODE_BOUNCES, bounces),
};

/* Of devices that their driver tells of. */
static const struct column kfd_columns[] = {
        NODE_COLUMN(KFD_IN, events.pages_in),       NODE_COLUMN(KFD_OUT, events.pages_out),
        NODE_COLUMN(KFD_FAULTS, events.faults),     NODE_COLUMN(KFD_EVICTIONS, events.evictions),
        NODE_COLUMN(KFD_RESTORES, events.restores), NODE_COLUMN(KFD_UNMAPS, events.unmaps),
};

static uint64_t value_of(const void *row, const struct column *c) {
        uint64_t value;

        memcpy(&value, (const char *)row + c->at, sizeof(value));
        return value;
}

static bool is_kfd(const struct scrape_node *n) {
        return has_memory(n) && n->row.kind == SVMD_NODE_KFD;
}

static void put_node_columns(struct page *p, const struct column *columns, size_t count,
                             bool (*has)(const struct scrape_node *n)) {
        for (size_t i = 0; i < count; i++)
                for (const struct scrape_node *n = p->s->nodes; n; n = n->next)
                        if (has(n))
                                put(p, columns[i].family, LABELS({ "node", n->row.name }),
                                    value_of(&n->row, &columns[i]));
}

static void put_nodes(struct page *p) {
        const struct scrape_node *n;

        for (n = p->s->nodes; n; n = n->next)
                put(p, FAMILY_NODE,
                    LABELS({ "node", n->row.name }, { "kind", n->row.kind_name }, { "model", n->row.model },
                           { "driver", n->row.driver }, { "bus", n->row.bus }),
                    1);
        for (n = p->s->nodes; n; n = n->next)
                if (has_memory(n))
                        put(p, FAMILY_NODE_ONLINE, LABELS({ "node", n->row.name }), n->row.online != 0);
        for (n = p->s->nodes; n; n = n->next)
                if (has_memory(n))
                        put(p, FAMILY_NODE_FREE, LABELS({ "node", n->row.name }),
                            n->row.capacity > n->row.used ? n->row.capacity - n->row.used : 0);
        for (n = p->s->nodes; n; n = n->next)
                if (n->row.kind == SVMD_NODE_SOFT)
                        put(p, FAMILY_NODE_RESIDENT, LABELS({ "node", n->row.name }), n->row.pool_bytes);
        put_node_columns(p, node_columns, sizeof(node_columns) / sizeof(node_columns[0]), has_memory);
        for (n = p->s->nodes; n; n = n->next)
                if (has_memory(n)) {
                        put(p, FAMILY_NODE_CURES, LABELS({ "node", n->row.name }, { "cure", "pin" }), n->row.pins);
                        put(p, FAMILY_NODE_CURES, LABELS({ "node", n->row.name }, { "cure", "nap" }), n->row.naps);
                }
        put_node_columns(p, kfd_columns, sizeof(kfd_columns) / sizeof(kfd_columns[0]), is_kfd);
}

enum { MEGABYTE = 1000000 };

static uint64_t link_value(const struct svmd_link_row *l, enum family_id id) {
        switch ((int)id) {
        case FAMILY_LINK: return l->max_bandwidth * MEGABYTE;
        case FAMILY_LINK_CAP: return l->rate;
        case FAMILY_LINK_CAPPED: return l->moved;
        default: return l->put_off;
        }
}

/* What is not stated, and what there is of a link without a cap, is left out. A cap counts both ways. */
static void put_links(struct page *p, enum family_id id) {
        for (const struct scrape_node *n = p->s->nodes; n; n = n->next)
                for (const struct scrape_link *l = n->links; l; l = l->next) {
                        bool stated = id == FAMILY_LINK ? l->row.max_bandwidth : l->row.rate && l->row.from < l->row.to;

                        if (stated)
                                put(p, id,
                                    LABELS({ "from", n->row.name }, { "to", scrape_node_name(p->s, l->row.to) },
                                           { "type", l->row.type }),
                                    link_value(&l->row, id));
                }
}

/* ---- partitions ---- */

#define PART_COLUMN(id, member)                                                                                        \
        { FAMILY_##id, offsetof(struct svmd_partition_row, member) }
static const struct column gauges_of_partitions[] = {
        PART_COLUMN(PART_SESSIONS, sessions),
        PART_COLUMN(PART_RESERVATIONS, reservations),
        PART_COLUMN(PART_RESERVED, reserved_bytes),
        PART_COLUMN(PART_KEPT, kept),
};
static const struct column counters_of_partitions[] = {
        PART_COLUMN(PART_MOVED, moved),         PART_COLUMN(PART_PUT_OFF, put_off),
        PART_COLUMN(PART_EVICTIONS, evictions), PART_COLUMN(PART_EVICTED, evicted),
        PART_COLUMN(PART_REFUSALS, refusals),   PART_COLUMN(PART_BOUNCES, bounces),
};

/* The first of those that have no rows of their own. */
static const struct scrape_partition *small_ones(const struct page *p) {
        const struct scrape_partition *x = p->s->partitions;

        for (size_t i = 0; x && i < p->o->partitions; i++)
                x = x->next;
        return x;
}

static void put_gauge(struct page *p, const struct column *c, const struct scrape_partition *small) {
        uint64_t sum = 0;

        for (const struct scrape_partition *x = p->s->partitions; x != small; x = x->next)
                put(p, c->family, LABELS({ "partition", x->row.name }), value_of(&x->row, c));
        for (const struct scrape_partition *x = small; x; x = x->next)
                sum += value_of(&x->row, c);
        if (small)
                put(p, c->family, LABELS({ "partition", "other" }), sum);
}

static void put_counter(struct page *p, const struct column *c, const struct scrape_partition *small) {
        for (const struct scrape_partition *x = p->s->partitions; x != small; x = x->next)
                put(p, c->family, LABELS({ "partition", x->row.name }), value_of(&x->row, c));
}

static void put_uses(struct page *p, const struct scrape_partition *small) {
        uint64_t *sums = need(calloc(p->s->nodes_count + 1, sizeof(*sums)));

        for (const struct scrape_partition *x = p->s->partitions; x != small; x = x->next)
                for (size_t i = 0; i < x->row.nodes_count; i++)
                        put(p, FAMILY_PART_USED,
                            LABELS({ "partition", x->row.name },
                                   { "node", scrape_node_name(p->s, x->row.nodes[i].node) }),
                            x->row.nodes[i].used);
        for (const struct scrape_partition *x = small; x; x = x->next)
                for (size_t i = 0; i < x->row.nodes_count; i++)
                        if (x->row.nodes[i].node < p->s->nodes_count)
                                sums[x->row.nodes[i].node] += x->row.nodes[i].used;
        for (size_t i = 0; small && i < p->s->nodes_count; i++)
                if (sums[i])
                        put(p, FAMILY_PART_USED,
                            LABELS({ "partition", "other" }, { "node", scrape_node_name(p->s, (svmd_node)i) }),
                            sums[i]);
        free(sums);
}

static void put_peaks(struct page *p, const struct scrape_partition *small) {
        for (const struct scrape_partition *x = p->s->partitions; x != small; x = x->next)
                for (size_t i = 0; i < x->row.nodes_count; i++)
                        put(p, FAMILY_PART_PEAK,
                            LABELS({ "partition", x->row.name },
                                   { "node", scrape_node_name(p->s, x->row.nodes[i].node) }),
                            x->row.nodes[i].peak);
}

/* Those that are none are left out. */
static void put_bounds(struct page *p, const char *partition, const struct svmd_use_row *u) {
        const char *node = scrape_node_name(p->s, u->node);
        const struct {
                const char *name;
                uint64_t bytes, none;
        } bounds[] = { { "max", u->max, UINT64_MAX },
                       { "high", u->high, UINT64_MAX },
                       { "low", u->low, 0 },
                       { "min", u->min, 0 } };

        for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++)
                if (bounds[i].bytes != bounds[i].none)
                        put(p, FAMILY_PART_LIMIT,
                            LABELS({ "partition", partition }, { "node", node }, { "bound", bounds[i].name }),
                            bounds[i].bytes);
}

static void put_faults(struct page *p, const struct scrape_partition *small) {
        for (const struct scrape_partition *x = p->s->partitions; x != small; x = x->next) {
                put(p, FAMILY_PART_FAULTS, LABELS({ "partition", x->row.name }, { "by", "cpu" }), x->row.cpu_faults);
                put(p, FAMILY_PART_FAULTS, LABELS({ "partition", x->row.name }, { "by", "device" }),
                    x->row.device_faults);
        }
}

static void put_partitions(struct page *p) {
        const struct scrape_partition *small = small_ones(p);

        for (size_t i = 0; i < sizeof(gauges_of_partitions) / sizeof(gauges_of_partitions[0]); i++)
                put_gauge(p, &gauges_of_partitions[i], small);
        put_uses(p, small);
        put_peaks(p, small);
        for (const struct scrape_partition *x = p->s->partitions; x != small; x = x->next)
                for (size_t i = 0; i < x->row.nodes_count; i++)
                        put_bounds(p, x->row.name, &x->row.nodes[i]);
        put_faults(p, small);
        for (size_t i = 0; i < sizeof(counters_of_partitions) / sizeof(counters_of_partitions[0]); i++)
                put_counter(p, &counters_of_partitions[i], small);
}

/* ---- who holds it ---- */

static void put_fold(struct page *p, enum family_id id, const struct fold *f, const char *const names[FOLD_KEYS]) {
        for (size_t i = 0; i < f->count; i++)
                for (size_t node = 0; node < f->nodes; node++) {
                        struct label labels[LABELS_MAX] = { 0 };
                        unsigned n = 0;

                        if (!f->rows[i].bytes[node])
                                continue;
                        for (unsigned k = 0; k < FOLD_KEYS && names[k]; k++)
                                labels[n++] = (struct label){ names[k], f->rows[i].key[k] };
                        labels[n] = (struct label){ "node", scrape_node_name(p->s, (svmd_node)node) };
                        put(p, id, labels, f->rows[i].bytes[node]);
                }
}

static void put_holders(struct page *p) {
        static const char *const container[FOLD_KEYS] = {
                "runtime", "container", "pod", "name", "pod_name", "namespace"
        };
        static const char *const cgroup[FOLD_KEYS] = { "cgroup" };
        size_t partitions = p->s->partitions_count > p->o->partitions ? p->s->partitions_count - p->o->partitions : 0;

        put_fold(p, FAMILY_CONTAINER_USED, &p->s->containers, container);
        put_fold(p, FAMILY_CGROUP_USED, &p->s->cgroups, cgroup);
        for (size_t i = 0; i < p->s->cgroups.count; i++)
                if (p->s->cgroups.rows[i].beside)
                        put(p, FAMILY_CGROUP_REGISTERED, LABELS({ "cgroup", p->s->cgroups.rows[i].key[0] }),
                            p->s->cgroups.rows[i].beside);
        put(p, FAMILY_FOLDED, LABELS({ "of", "containers" }), p->s->containers.folded);
        put(p, FAMILY_FOLDED, LABELS({ "of", "cgroups" }), p->s->cgroups.folded);
        put(p, FAMILY_FOLDED, LABELS({ "of", "partitions" }), partitions);
}

void page_write(FILE *out, const struct scrape *s, const struct page_options *o) {
        struct page p = { .e = { .out = out, .open_metrics = o->open_metrics }, .s = s, .o = o };

        p.e.since = s ? (double)s->started_ns / 1e9 : 0;
        put(&p, FAMILY_UP, NULL, s != NULL);
        if (s) {
                put_status(&p);
                put_work(&p);
                put_nodes(&p);
                put_links(&p, FAMILY_LINK);
                put_links(&p, FAMILY_LINK_CAP);
                put_links(&p, FAMILY_LINK_CAPPED);
                put_links(&p, FAMILY_LINK_PUT_OFF);
                put_partitions(&p);
                put_holders(&p);
        }
        expose_real(&p.e, &families[FAMILY_SCRAPE], NULL, o->scrape_s);
        expose_end(&p.e);
}
