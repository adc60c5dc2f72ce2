#include "backend/recording.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/properties.h"
#include "base/alloc.h"

/*
 * A recorded machine is a KFD topology:
 *
 *     nodes/N/properties           what the node is
 *     nodes/N/name                 optional
 *     nodes/N/mem_banks/I/properties
 *     nodes/N/io_links/I/properties, nodes/N/p2p_links/I/properties
 *
 * Everything is read into a machine of its own, in the order of the numbers, so that the index of a node there is its
 * number in the recording; only a whole one is appended to the caller's.
 */
#define PAGE     4096ull
#define VA_START 0x10000ull
#define VA_END   (1ull << 47)

enum { HEAP_SYSTEM = 0, HEAP_FB_PUBLIC = 1, HEAP_FB_PRIVATE = 2 };

struct reader {
        struct machine machine;
        const char *root; /* the topology */
        uint32_t count;   /* nodes of the recording */
        uint32_t hosts, gpus;
        bool faults;
        struct why *why;
};

static const char *link_type_name(uint64_t type) {
        static const char *const names[] = {
                [1] = "HT",         [2] = "PCIe",  [3] = "AMBA",  [4] = "MIPI", [5] = "QPI",   [8] = "RapidIO",
                [9] = "InfiniBand", [11] = "XGMI", [12] = "XGOP", [13] = "GZ",  [14] = "RoCE", [15] = "RDMA",
        };

        return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "other";
}

__attribute__((format(printf, 3, 4))) static int path_of(const struct reader *rd, char *path, const char *format, ...) {
        va_list args;
        int n, k;

        n = snprintf(path, PATH_MAX, "%s/nodes/", rd->root);
        va_start(args, format);
        k = n < PATH_MAX ? vsnprintf(path + n, (size_t)(PATH_MAX - n), format, args) : 0;
        va_end(args);
        return n + k < PATH_MAX ? 0 : why_system(rd->why, rd->root, -ENAMETOOLONG, "name what is in it");
}

/* What a node has several of: folders 0 to count-1, where `count` stands in the node's own properties. */
struct folder {
        const char *name;
        uint32_t node;
        const struct properties *owner;
        const struct property *count;
};

static int read_entry(const struct reader *rd, const struct folder *f, uint64_t i, struct properties *ret) {
        char path[PATH_MAX];
        int r;

        r = path_of(rd, path, "%u/%s/%" PRIu64 "/properties", f->node, f->name, i);
        if (r == 0 && access(path, F_OK) < 0 && errno == ENOENT)
                return why_malformed(rd->why, f->owner->path, f->count->line,
                                     "\"%s\" to be the number of folders of %s; there is no %s/%" PRIu64 "/properties",
                                     f->count->name, f->name, f->name, i);
        return r < 0 ? r : properties_read(ret, path, rd->why);
}

static int check_no_more(const struct reader *rd, const struct folder *f) {
        char path[PATH_MAX];
        int r;

        r = path_of(rd, path, "%u/%s/%" PRIu64, f->node, f->name, f->count->value);
        if (r == 0 && access(path, F_OK) == 0)
                r = why_malformed(rd->why, f->owner->path, f->count->line,
                                  "\"%s\" to be the number of folders of %s; there are more", f->count->name, f->name);
        return r;
}

/* Adds a bank to the capacity when it is memory of the node's own kind. */
static int read_bank(struct reader *rd, const struct folder *f, uint64_t i, bool gpu, uint64_t *capacity) {
        const struct property *heap, *size;
        struct properties p = { 0 };
        int r;

        r = read_entry(rd, f, i, &p);
        if (r < 0)
                return r;
        r = properties_need(&p, "heap_type", &heap, rd->why);
        if (r == 0)
                r = properties_need(&p, "size_in_bytes", &size, rd->why);
        if (r == 0 &&
            (gpu ? heap->value == HEAP_FB_PUBLIC || heap->value == HEAP_FB_PRIVATE : heap->value == HEAP_SYSTEM)) {
                if (size->value > INT64_MAX || *capacity > INT64_MAX - size->value)
                        r = why_malformed(rd->why, p.path, size->line, "less than 2^63 bytes of memory in one node");
                else
                        *capacity += size->value;
        }
        properties_fini(&p);
        return r;
}

static int read_capacity(struct reader *rd, uint32_t number, const struct properties *p, struct node_desc *n) {
        struct folder banks = { .name = "mem_banks", .node = number, .owner = p };
        const struct property *local;
        bool gpu = n->kind == NODE_SOFT;
        uint64_t capacity = 0;
        int r;

        r = properties_need(p, "mem_banks_count", &banks.count, rd->why);
        for (uint64_t i = 0; r == 0 && i < banks.count->value; i++)
                r = read_bank(rd, &banks, i, gpu, &capacity);
        if (r == 0)
                r = check_no_more(rd, &banks);
        if (r < 0)
                return r;
        local = properties_find(p, "local_mem_size");
        if (gpu && capacity == 0 && local)
                capacity = local->value;
        capacity -= capacity % PAGE;
        if (gpu && (capacity == 0 || capacity > INT64_MAX))
                return why_malformed(rd->why, p->path, local ? local->line : banks.count->line,
                                     "memory of the GPU: a mem_bank of heap_type 1 or 2, or local_mem_size");
        n->capacity = capacity;
        return 0;
}

static int check_link(const struct reader *rd, uint32_t number, const struct properties *p, const struct property *from,
                      const struct property *to) {
        if (from->value != number)
                return why_malformed(rd->why, p->path, from->line, "\"node_from %u\", the node that the link is of",
                                     number);
        if (to->value >= rd->count)
                return why_malformed(rd->why, p->path, to->line, "a node from 0 to %u; there is no node %" PRIu64,
                                     rd->count - 1, to->value);
        if (to->value == number)
                return why_malformed(rd->why, p->path, to->line, "a link to another node");
        return 0;
}

static int parse_link(struct reader *rd, uint32_t number, const struct properties *p, struct node_link *link) {
        const struct property *type, *from, *to, *weight, *min, *max;
        const struct {
                const char *name;
                const struct property **ret;
        } needed[] = {
                { "type", &type },     { "node_from", &from },    { "node_to", &to },
                { "weight", &weight }, { "min_bandwidth", &min }, { "max_bandwidth", &max },
        };
        int r = 0;

        for (unsigned i = 0; r == 0 && i < sizeof(needed) / sizeof(needed[0]); i++)
                r = properties_need(p, needed[i].name, needed[i].ret, rd->why);
        if (r == 0)
                r = check_link(rd, number, p, from, to);
        if (r == 0 && weight->value > UINT32_MAX)
                r = why_malformed(rd->why, p->path, weight->line, "a weight below 2^32");
        if (r < 0)
                return r;
        link->to = (uint32_t)to->value;
        link->weight = (uint32_t)weight->value;
        link->min_bandwidth = min->value;
        link->max_bandwidth = max->value;
        snprintf(link->type, sizeof(link->type), "%s", link_type_name(type->value));
        return 0;
}

static int read_link(struct reader *rd, const struct folder *f, uint64_t i, bool peer) {
        struct node_link link = { .peer = peer };
        struct properties p = { 0 };
        int r;

        r = read_entry(rd, f, i, &p);
        if (r < 0)
                return r;
        r = parse_link(rd, f->node, &p, &link);
        if (r == 0 && machine_link(&rd->machine.nodes[f->node], &link) < 0)
                r = why_system(rd->why, p.path, -ENOMEM, "keep the link");
        properties_fini(&p);
        return r;
}

static int read_links(struct reader *rd, const struct folder *f, bool peer) {
        int r = 0;

        for (uint64_t i = 0; r == 0 && i < f->count->value; i++)
                r = read_link(rd, f, i, peer);
        return r < 0 ? r : check_no_more(rd, f);
}

/* Kernels before 6.0 have no p2p_links and do not count them. */
static int read_all_links(struct reader *rd, uint32_t number, const struct properties *p) {
        const struct property none = { .name = "p2p_links_count" }, *peers = properties_find(p, none.name);
        struct folder io = { .name = "io_links", .node = number, .owner = p };
        struct folder p2p = { .name = "p2p_links", .node = number, .owner = p, .count = peers ? peers : &none };
        int r;

        r = properties_need(p, "io_links_count", &io.count, rd->why);
        if (r == 0)
                r = read_links(rd, &io, false);
        return r < 0 ? r : read_links(rd, &p2p, true);
}

/* gfx942 for 9.4.2; without a version what the file `name` says, which is optional. */
static int read_model(struct reader *rd, uint32_t number, const struct properties *p, struct node_desc *n) {
        uint64_t gfx = properties_value(p, "gfx_target_version");
        char path[PATH_MAX], *text;
        size_t size, length;
        int r;

        if (gfx > 0 && gfx < 1000000) {
                snprintf(n->model, sizeof(n->model), "gfx%u%x%x", (unsigned)(gfx / 10000), (unsigned)(gfx / 100 % 100),
                         (unsigned)(gfx % 100));
                return 0;
        }
        r = path_of(rd, path, "%u/name", number);
        if (r < 0 || access(path, F_OK) < 0)
                return r;
        r = file_read(&text, &size, path, rd->why);
        if (r < 0)
                return r;
        length = strcspn(text, "\n");
        if (length >= sizeof(n->model))
                r = why_malformed(rd->why, path, 1, "a name of at most %zu bytes", sizeof(n->model) - 1);
        for (size_t i = 0; r == 0 && i < length; i++)
                if (text[i] < ' ' || text[i] > '~')
                        r = why_malformed(rd->why, path, 1, "a name of printable characters");
        if (r == 0)
                memcpy(n->model, text, length);
        alloc_free(text);
        return r;
}

static int read_kind(struct reader *rd, const struct properties *p, struct node_desc *n) {
        const struct property *cores, *simds;
        int r;

        r = properties_need(p, "cpu_cores_count", &cores, rd->why);
        if (r == 0)
                r = properties_need(p, "simd_count", &simds, rd->why);
        if (r < 0)
                return r;
        if ((cores->value == 0) == (simds->value == 0))
                return why_malformed(rd->why, p->path, simds->line,
                                     "either cpu_cores_count or simd_count to be above 0");
        n->kind = simds->value ? NODE_SOFT : NODE_HOST;
        n->faults = n->kind == NODE_SOFT && rd->faults;
        n->hive = properties_value(p, "hive_id");
        n->va_start = VA_START;
        n->va_end = VA_END;
        if (n->kind == NODE_SOFT)
                snprintf(n->name, sizeof(n->name), "gpu%u", rd->gpus++);
        else
                snprintf(n->name, sizeof(n->name), "host%u", rd->hosts++);
        return 0;
}

static int read_node(struct reader *rd, uint32_t number) {
        struct node_desc *n = machine_add(&rd->machine);
        char path[PATH_MAX];
        struct properties p = { 0 };
        int r;

        r = path_of(rd, path, "%u/properties", number);
        if (r == 0 && !n)
                r = why_system(rd->why, path, -ENOMEM, "keep the node");
        if (r == 0 && access(path, F_OK) < 0 && errno == ENOENT)
                r = why_malformed(rd->why, path, 0, "this file; it is missing");
        if (r == 0)
                r = properties_read(&p, path, rd->why);
        if (r < 0)
                return r;
        r = read_kind(rd, &p, n);
        if (r == 0)
                r = read_capacity(rd, number, &p, n);
        if (r == 0)
                r = read_model(rd, number, &p, n);
        if (r == 0)
                r = read_all_links(rd, number, &p);
        properties_fini(&p);
        return r;
}

/* A number as it is written in the name of a folder. */
static bool folder_number(const char *s, uint32_t *ret) {
        uint32_t n = 0;
        size_t i;

        for (i = 0; i < 4 && s[i] >= '0' && s[i] <= '9'; i++)
                n = n * 10 + (uint32_t)(s[i] - '0');
        *ret = n;
        return i > 0 && s[i] == '\0' && (i == 1 || s[0] != '0');
}

/* The numbers of the nodes must be 0 to count-1. */
static int mark_nodes(struct reader *rd, DIR *dir, const char *path, bool *there, uint32_t *ret_end) {
        const struct dirent *e;
        uint32_t n;

        while ((e = readdir(dir)) != NULL) {
                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (!folder_number(e->d_name, &n))
                        return why_malformed(rd->why, path, 0, "folders named by a number alone; \"%s\" is none",
                                             e->d_name);
                if (n >= NODE_MAX)
                        return why_malformed(rd->why, path, 0, "at most %d nodes; there is a node %u", NODE_MAX, n);
                there[n] = true;
                if (n >= *ret_end)
                        *ret_end = n + 1;
        }
        return 0;
}

static int count_nodes(struct reader *rd) {
        bool there[NODE_MAX] = { false };
        char path[PATH_MAX];
        uint32_t end = 0;
        DIR *dir;
        int r;

        snprintf(path, sizeof(path), "%s/nodes", rd->root);
        dir = opendir(path);
        if (!dir)
                return why_system(rd->why, path, -errno, "open it");
        r = mark_nodes(rd, dir, path, there, &end);
        closedir(dir);
        if (r == 0 && end == 0)
                r = why_malformed(rd->why, path, 0, "at least one node");
        for (uint32_t i = 0; r == 0 && i < end; i++)
                if (!there[i])
                        r = why_malformed(rd->why, path, 0, "a node %u, since there is a node %u", i, end - 1);
        rd->count = end;
        return r;
}

/* Moves what was read behind the caller's nodes. All or nothing. */
static int append(struct machine *to, struct reader *rd) {
        uint32_t before = to->count;

        for (uint32_t i = 0; i < rd->machine.count; i++)
                if (machine_find(to, rd->machine.nodes[i].name)) {
                        snprintf(rd->why->text, rd->why->size,
                                 "%s: its node %s has the name of a node that is there already; rename that one",
                                 rd->root, rd->machine.nodes[i].name);
                        return -EEXIST;
                }
        for (uint32_t i = 0; i < rd->machine.count; i++)
                if (!machine_add(to)) {
                        to->count = before;
                        snprintf(rd->why->text, rd->why->size,
                                 "%s: there is no room for its %u nodes beside %u others; %d nodes are the most",
                                 rd->root, rd->machine.count, before, NODE_MAX);
                        return -ENOMEM;
                }
        for (uint32_t i = 0; i < rd->machine.count; i++) {
                struct node_desc *n = &to->nodes[before + i];

                *n = rd->machine.nodes[i];
                for (uint32_t k = 0; k < n->links_count; k++)
                        n->links[k].to += before;
                rd->machine.nodes[i].links = NULL;
        }
        return 0;
}

static int find_root(const char *dir, char *root, struct why *why) {
        static const char *const places[] = { "/topology", "/sys/class/kfd/kfd/topology",
                                              "/sys/devices/virtual/kfd/kfd/topology", "" };
        char nodes[PATH_MAX];

        for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
                int n = snprintf(nodes, sizeof(nodes), "%s%s/nodes", dir, places[i]);

                if (n < PATH_MAX && access(nodes, F_OK) == 0) {
                        snprintf(root, PATH_MAX, "%s%s", dir, places[i]);
                        return 0;
                }
        }
        snprintf(why->text, why->size,
                 "%s: no recorded machine is there; give a copy of /sys/class/kfd/kfd/topology, with its folder nodes",
                 dir);
        return -ENOENT;
}

int recording_read(struct machine *m, const char *dir, bool faults, char *why, size_t why_size) {
        struct why sentence = { .text = why, .size = why_size };
        char root[PATH_MAX];
        struct reader rd = { .root = root, .faults = faults, .why = &sentence };
        int r;

        r = find_root(dir, root, &sentence);
        if (r == 0)
                r = count_nodes(&rd);
        for (uint32_t i = 0; r == 0 && i < rd.count; i++)
                r = read_node(&rd, i);
        if (r == 0)
                r = append(m, &rd);
        machine_fini(&rd.machine);
        return r;
}
