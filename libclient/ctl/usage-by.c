#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "args.h"
#include "ctl.h"
#include "json.h"
#include "rows.h"
#include "size.h"
#include "suggest.h"
#include "table.h"
#include "usage.h"

/* Who holds what now, by process, control group, container, partition, node or user: rows of sessions, added up here.
 */

static const struct {
        const char *name, *heading;
} ways[] = {
        [SVMD_BY_NODE] = { "node", "NODE" },
        [SVMD_BY_PARTITION] = { "partition", "PARTITION" },
        [SVMD_BY_USER] = { "user", "USER" },
        [SVMD_BY_CGROUP] = { "cgroup", "CGROUP" },
        [SVMD_BY_CONTAINER] = { "container", "CONTAINER" },
        [SVMD_BY_PID] = { "pid", "PROCESS" },
};
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

int usage_way(struct ctl *c, const struct args *a, unsigned otherwise, unsigned *ret) {
        const char *names[WAYS], *said = a->value[OPT_BY], *near;

        *ret = otherwise;
        for (unsigned i = 0; said && i < WAYS; i++) {
                names[i] = ways[i].name;
                if (strcmp(said, ways[i].name) == 0) {
                        *ret = i;
                        return EXIT_OK;
                }
        }
        if (!said)
                return EXIT_OK;
        near = suggest(said, names, WAYS);
        return ctl_fail(c, EXIT_USAGE, "--by %s: it goes by pid, cgroup, container, partition, node or user%s%s", said,
                        near ? "; did you mean " : "", near ? near : "");
}

const char *usage_way_name(unsigned by) {
        return ways[by].name;
}

const char *usage_heading(unsigned by) {
        return ways[by].heading;
}

/* What stands behind `mark` up to the next blank, or NULL. */
static const char *part_of(struct ctl *c, const char *key, const char *mark) {
        const char *at = strstr(key, mark);

        return at ? ctl_text(c, "%.*s", (int)strcspn(at + strlen(mark), " "), at + strlen(mark)) : NULL;
}

/* "RUNTIME:ID[ pod UID][ name NAME][ of NAMESPACE/POD]" as the runtimes' own tools show it: names, and numbers short. A
 * name may be short, too. */
static const char *container_text(struct ctl *c, const char *key) {
        const char *name = part_of(c, key, " name "), *pod = part_of(c, key, " of "), *uid = part_of(c, key, " pod ");
        const char *id = part_of(c, key, ":");

        id = ctl_text(c, "%.*s:%.12s", (int)strcspn(key, ":"), key, id ? id : "");
        if (pod)
                return ctl_text(c, "%s%s%s, %s", pod, name ? "/" : "", name ? name : "", id);
        if (name)
                return ctl_text(c, "%s, %s", name, id);
        return ctl_text(c, "%s%s%.13s", id, uid ? ", pod " : "", uid ? uid : "");
}

const char *usage_key(struct ctl *c, unsigned by, const char *key) {
        uint64_t uid;

        if (by == SVMD_BY_USER && count_parse(key, &uid) == 0 && uid <= UINT32_MAX)
                return account_user(c, (uint32_t)uid);
        if (by == SVMD_BY_PID && strchr(key, '.') && strchr(key, ' '))
                return ctl_text(c, "%.*s%s", (int)strcspn(key, "."), key, strchr(key, ' '));
        return by == SVMD_BY_CONTAINER && strchr(key, ':') ? container_text(c, key) : key;
}

/* What the history calls the container of that row. */
static const char *key_of_container(struct ctl *c, const struct svmd_holder_row *r) {
        const char *key = ctl_text(c, "%s:%s", r->runtime, r->container);

        if (r->pod[0])
                key = ctl_text(c, "%s pod %s", key, r->pod);
        if (r->container_name && *r->container_name)
                key = ctl_text(c, "%s name %s", key, r->container_name);
        if (r->pod_name && *r->pod_name)
                key = ctl_text(c, "%s of %s/%s", key, r->pod_namespace, r->pod_name);
        return key;
}

const char *usage_container(struct ctl *c, const struct svmd_holder_row *r) {
        return r->container[0] ? container_text(c, key_of_container(c, r)) : "";
}

struct sum {
        const char *key;
        svmd_node node;
        uint64_t used, managed, leased, registered, sessions;
        uint64_t last; /* session that was counted last */
};
struct sums {
        struct ctl *c;
        const struct node_rows *nodes;
        unsigned by;
        struct sum *rows;
        size_t count, room;
};

static const char *or_unknown(const struct svmd_holder_row *r, const char *text) {
        return r->session == 0 ? "none" : text[0] ? text : "unknown";
}

/* As the history has it. */
static const char *key_of(struct sums *s, const struct svmd_holder_row *r) {
        struct ctl *c = s->c;

        switch (s->by) {
        case SVMD_BY_NODE:
                return r->node == UINT32_MAX ? "(own memory of processes)" : rows_node_name(c, s->nodes, r->node);
        case SVMD_BY_PARTITION: return ctl_copy(c, r->partition);
        case SVMD_BY_USER: return r->session ? ctl_text(c, "%u", r->uid) : "none";
        case SVMD_BY_CGROUP: return ctl_copy(c, or_unknown(r, r->cgroup));
        case SVMD_BY_CONTAINER:
                if (!r->session || !r->cgroup[0] || !r->container[0])
                        return r->session && !r->cgroup[0] ? "unknown" : "none";
                return key_of_container(c, r);
        default: return r->session ? ctl_text(c, "%u %s", r->pid, r->process[0] ? r->process : r->client) : "none";
        }
}

/* Its place among the sums; they are sorted in the end. */
static struct sum *sum_at(struct sums *s, const char *key, svmd_node node) {
        struct sum *grown;

        for (size_t i = s->count; i > 0; i--)
                if (s->rows[i - 1].node == node && strcmp(s->rows[i - 1].key, key) == 0)
                        return &s->rows[i - 1];
        if (s->count == s->room) {
                s->room = s->room ? 2 * s->room : 64;
                grown = ctl_alloc(s->c, s->room * sizeof(*grown));
                if (s->count)
                        memcpy(grown, s->rows, s->count * sizeof(*grown));
                s->rows = grown;
        }
        s->rows[s->count] = (struct sum){ .key = key, .node = node };
        return &s->rows[s->count++];
}

static int add_row(const struct svmd_holder_row *r, void *userdata) {
        struct sums *s = userdata;
        struct sum *sum = sum_at(s, key_of(s, r), r->node);

        sum->used += r->used;
        sum->managed += r->managed;
        sum->leased += r->leased;
        if (r->session && r->session != sum->last) {
                sum->registered += r->registered;
                sum->sessions++;
                sum->last = r->session;
        }
        return 0;
}

static int by_used(const void *a, const void *b) {
        const struct sum *x = a, *y = b;

        if (x->used != y->used)
                return x->used < y->used ? 1 : -1;
        return strcmp(x->key, y->key) ? strcmp(x->key, y->key) : (x->node > y->node) - (x->node < y->node);
}

static const char *node_of(struct sums *s, const struct sum *sum) {
        return sum->node == UINT32_MAX ? NULL : rows_node_name(s->c, s->nodes, sum->node);
}

static const char *size_or_none(struct ctl *c, uint64_t bytes) {
        return bytes ? ctl_size(c, bytes) : NULL;
}

static void by_text(struct sums *s) {
        const struct column columns[] = { { ways[s->by].heading, COLUMN_TRUNC },
                                          { "NODE", 0 },
                                          { "USED", COLUMN_RIGHT },
                                          { "MANAGED", COLUMN_RIGHT },
                                          { "LEASED", COLUMN_RIGHT },
                                          { "REGISTERED", COLUMN_RIGHT },
                                          { "SESSIONS", COLUMN_RIGHT } };
        struct table *t = table_new(s->c, columns, sizeof(columns) / sizeof(columns[0]));

        for (size_t i = 0; i < s->count; i++) {
                const struct sum *sum = &s->rows[i];
                struct table_line *l = table_line(t, NULL);

                table_cell(l, usage_key(s->c, s->by, sum->key));
                table_cell(l, node_of(s, sum));
                table_cell(l, ctl_size(s->c, sum->used));
                table_cell(l, size_or_none(s->c, sum->managed));
                table_cell(l, size_or_none(s->c, sum->leased));
                table_cell(l, size_or_none(s->c, sum->registered));
                table_cell_count(l, sum->sessions);
        }
        table_print(t, "Nothing is held");
}

static struct json_object *by_json(struct sums *s) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < s->count; i++) {
                const struct sum *sum = &s->rows[i];
                struct json_object *o = json_object_new_object();

                json_add_text(o, ways[s->by].name, sum->key);
                if (s->by != SVMD_BY_NODE)
                        json_add_text(o, "node", node_of(s, sum) ? node_of(s, sum) : "");
                json_add_count(o, "used", sum->used);
                json_add_count(o, "managed", sum->managed);
                json_add_count(o, "leased", sum->leased);
                json_add_count(o, "registered", sum->registered);
                json_add_count(o, "sessions", sum->sessions);
                json_object_array_add(list, o);
        }
        return list;
}

int usage_by(struct ctl *c, const struct args *a) {
        struct node_rows nodes;
        struct sums s = { .c = c, .nodes = &nodes };
        int r = usage_way(c, a, SVMD_BY_PID, &s.by);

        if (r != EXIT_OK)
                return r;
        r = rows_nodes(c, &nodes);
        if (r == SVMD_OK)
                r = svmd_query_holders(c->session, a->value[OPT_PARTITION], add_row, &s);
        if (r != SVMD_OK)
                return ctl_result(c, r);
        if (s.count)
                qsort(s.rows, s.count, sizeof(*s.rows), by_used);
        if (c->json)
                return json_print(c, by_json(&s));
        by_text(&s);
        return EXIT_OK;
}
