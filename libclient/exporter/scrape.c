#include "scrape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "need.h"

/*
 * One session a scrape, of no partition: what svmd has of it ends with it. Rows are copied, since they live only during
 * the call. Strings hang on the rows they belong to by way of one list of all that is to be freed.
 */
struct owned {
        struct owned *next;
        max_align_t bytes[];
};

struct whole {
        struct scrape scrape; /* first */
        struct owned *owned;
};

static void *take(struct scrape *s, size_t size) {
        struct whole *w = (struct whole *)s;
        struct owned *o = need(calloc(1, sizeof(*o) + size));

        o->next = w->owned;
        w->owned = o;
        return o->bytes;
}

static const char *copy(struct scrape *s, const char *text) {
        size_t size = strlen(text) + 1;

        return memcpy(take(s, size), text, size);
}

static int on_node(const struct svmd_node_row *row, void *userdata) {
        struct scrape *s = userdata;
        struct scrape_node *n = take(s, sizeof(*n));

        n->row = *row;
        n->row.name = copy(s, row->name);
        n->row.model = copy(s, row->model);
        n->row.driver = copy(s, row->driver);
        n->row.bus = copy(s, row->bus);
        n->row.kind_name = copy(s, row->kind_name);
        n->row.device = n->row.version = n->row.trouble = "";
        n->links_end = &n->links;
        *s->nodes_end = n;
        s->nodes_end = &n->next;
        s->nodes_count++;
        return 0;
}

struct of_node {
        struct scrape *s;
        struct scrape_node *n;
};

static int on_link(const struct svmd_link_row *row, void *userdata) {
        struct of_node *of = userdata;
        struct scrape_link *l = take(of->s, sizeof(*l));

        l->row = *row;
        l->row.type = copy(of->s, row->type);
        *of->n->links_end = l;
        of->n->links_end = &l->next;
        return 0;
}

static int on_partition(const struct svmd_partition_row *row, void *userdata) {
        struct scrape *s = userdata;
        struct scrape_partition *p = take(s, sizeof(*p));
        struct svmd_use_row *nodes = take(s, (row->nodes_count + 1) * sizeof(*nodes));

        p->row = *row;
        p->row.name = copy(s, row->name);
        p->row.domain = copy(s, row->domain);
        p->row.policy = copy(s, row->policy);
        for (size_t i = 0; i < row->nodes_count; i++) {
                nodes[i] = row->nodes[i];
                nodes[i].partition = p->row.name;
                nodes[i].client = "";
                p->used += nodes[i].used;
        }
        p->row.nodes = nodes;
        *s->partitions_end = p;
        s->partitions_end = &p->next;
        s->partitions_count++;
        return 0;
}

static int on_metric(const struct svmd_metric_row *row, void *userdata) {
        struct scrape *s = userdata;
        struct scrape_metric *m = take(s, sizeof(*m));
        uint64_t *buckets = take(s, (row->buckets_count + 1) * sizeof(*buckets));

        m->row = *row;
        m->row.name = copy(s, row->name);
        m->row.label = copy(s, row->label);
        if (row->buckets_count)
                memcpy(buckets, row->buckets, row->buckets_count * sizeof(*buckets));
        m->row.buckets = buckets;
        s->started_ns = row->started_ns;
        *s->metrics_end = m;
        s->metrics_end = &m->next;
        return 0;
}

static int on_finding(const char *id, unsigned level, const char *text, void *userdata) {
        struct scrape *s = userdata;
        struct scrape_finding *f = take(s, sizeof(*f));

        f->id = copy(s, id);
        f->level = level;
        *s->findings_end = f;
        s->findings_end = &f->next;
        return 0;
}

/* What no session holds is in no control group; what a session holds that svmd could not look at is in an unknown one.
 * Registered memory stands in each row of its session. */
static int on_holder(const struct svmd_holder_row *row, void *userdata) {
        const char *group = !row->session ? "none" : row->cgroup[0] ? row->cgroup : "unknown";
        const char *cgroup[FOLD_KEYS] = { group };
        const char *container[FOLD_KEYS] = { row->runtime,        row->container, row->pod,
                                             row->container_name, row->pod_name,  row->pod_namespace };
        struct scrape *s = userdata;
        bool first = row->session != s->session;

        s->session = row->session;
        if (row->node != UINT32_MAX)
                fold_add(&s->cgroups, cgroup, row->node, row->used);
        if (row->node != UINT32_MAX && row->container[0])
                fold_add(&s->containers, container, row->node, row->used);
        if (first && row->registered)
                fold_add(&s->cgroups, cgroup, SIZE_MAX, row->registered);
        return 0;
}

static int ask_links(svmd_session *session, struct scrape *s) {
        int r = 0;

        for (struct scrape_node *n = s->nodes; !r && n; n = n->next) {
                struct of_node of = { s, n };

                r = svmd_query_links(session, n->row.id, on_link, &of);
        }
        return r;
}

static int ask(svmd_session *session, struct scrape *s) {
        int r;

        s->status.size = sizeof(s->status);
        r = svmd_query_status(session, &s->status);
        if (!r)
                r = svmd_query_findings(session, on_finding, s);
        if (!r)
                r = svmd_query_nodes(session, on_node, s);
        if (!r)
                r = ask_links(session, s);
        if (!r)
                r = svmd_query_partitions(session, NULL, on_partition, s);
        if (!r)
                r = svmd_query_metrics(session, on_metric, s);
        fold_init(&s->containers, s->nodes_count);
        fold_init(&s->cgroups, s->nodes_count);
        if (!r)
                r = svmd_query_holders(session, NULL, on_holder, s);
        return r;
}

static int largest_first(const void *a, const void *b) {
        const struct scrape_partition *const *x = a, *const *y = b;

        if ((*x)->used != (*y)->used)
                return (*x)->used < (*y)->used ? 1 : -1;
        return strcmp((*x)->row.name, (*y)->row.name);
}

/* Those with most come first. */
static void sort_partitions(struct scrape *s) {
        struct scrape_partition **all = need(calloc(s->partitions_count + 1, sizeof(struct scrape_partition *)));
        size_t n = 0;

        for (struct scrape_partition *p = s->partitions; p; p = p->next)
                all[n++] = p;
        qsort(all, n, sizeof(struct scrape_partition *), largest_first);
        for (size_t i = 0; i < n; i++)
                all[i]->next = all[i + 1];
        s->partitions = all[0];
        free(all);
}

static struct scrape *scrape_new(void) {
        struct whole *w = need(calloc(1, sizeof(*w)));
        struct scrape *s = &w->scrape;

        s->nodes_end = &s->nodes;
        s->partitions_end = &s->partitions;
        s->metrics_end = &s->metrics;
        s->findings_end = &s->findings;
        return s;
}

struct scrape *scrape_take(const struct scrape_options *o, const char **ret_why) {
        struct svmd_connect_options opts = {
                .size = sizeof(opts), .socket = o->socket, .name = "svmd-exporter", .flags = SVMD_CONNECT_NO_ATTACH
        };
        struct scrape *s = scrape_new();
        static char why[512];
        svmd_session *session;
        int r = svmd_connect(&session, &opts);

        if (r)
                session = NULL;
        if (!r)
                r = ask(session, s);
        if (r)
                snprintf(why, sizeof(why), "%s", svmd_error());
        *ret_why = why;
        svmd_disconnect(session);
        sort_partitions(s);
        fold_close(&s->containers, o->containers);
        fold_close(&s->cgroups, o->cgroups);
        if (!r)
                return s;
        scrape_free(s);
        return NULL;
}

void scrape_free(struct scrape *s) {
        struct whole *w = (struct whole *)s;

        if (!s)
                return;
        fold_free(&s->containers);
        fold_free(&s->cgroups);
        while (w->owned) {
                struct owned *o = w->owned;

                w->owned = o->next;
                free(o);
        }
        free(w);
}

const char *scrape_node_name(const struct scrape *s, svmd_node node) {
        for (const struct scrape_node *n = s->nodes; n; n = n->next)
                if (n->row.id == node)
                        return n->row.name;
        return "unknown";
}
