#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/properties.h"
#include "backend/recording.h"
#include "base/alloc.h"

/*
 * This machine's own memory. Each NUMA node with memory (memory without CPUs, as CXL has it, included) is a host node.
 * Where there is only one, or none (a kernel without NUMA), it has all memory of the machine: under a balloon a NUMA
 * node's own figure lags behind that.
 *
 *     nodeN/meminfo     its memory
 *     nodeN/cpulist     empty: memory alone
 *     nodeN/distance    to each NUMA node that is there, in the order of their numbers, those without memory included
 *
 * The last two are not on every kernel; without them a node counts as one with CPUs, and no distance is stated.
 */
#define VA_START 0x10000ull
#define VA_END   (1ull << 47)

enum { NUMA_MAX = 1024 };

/* "MemTotal: N kB", after "Node I " in a node's own file. */
static int read_total(const char *path, uint64_t *ret, struct why *why) {
        const char *at;
        uint64_t kib = 0;
        size_t size;
        char *text;
        int r;

        r = file_read(&text, &size, path, why);
        if (r < 0)
                return r;
        at = strstr(text, "MemTotal:");
        if (!at || sscanf(at, "MemTotal: %" SCNu64 " kB", &kib) != 1 || kib > INT64_MAX / 1024)
                r = why_malformed(why, path, 1, "a line \"MemTotal: NUMBER kB\"");
        else
                *ret = kib * 1024 / 4096 * 4096;
        alloc_free(text);
        return r;
}

static int add_host(struct machine *m, uint32_t number, int numa, uint64_t capacity, struct why *why) {
        struct node_desc *n = machine_add(m);

        if (!n) {
                snprintf(why->text, why->size,
                         "there is no room for the NUMA nodes of this machine; %d nodes are the most", NODE_MAX);
                return -ENOMEM;
        }
        n->kind = NODE_HOST;
        n->numa = numa;
        n->capacity = capacity;
        n->va_start = VA_START;
        n->va_end = VA_END;
        snprintf(n->name, sizeof(n->name), "host%u", number);
        return 0;
}

/* Marks the numbers N of the folders nodeN. */
static void find_numa_nodes(const char *folder, bool found[NUMA_MAX]) {
        DIR *dir = opendir(folder);
        struct dirent *e;

        while (dir && (e = readdir(dir))) {
                unsigned number;
                int end = 0;

                if (sscanf(e->d_name, "node%4u%n", &number, &end) == 1 && !e->d_name[end] && number < NUMA_MAX)
                        found[number] = true;
        }
        if (dir)
                closedir(dir);
}

static bool has_no_cpus(const char *sys_root, int numa) {
        char path[PATH_MAX];
        bool none = false;
        FILE *f;
        int c;

        snprintf(path, sizeof(path), "%s/devices/system/node/node%d/cpulist", sys_root, numa);
        f = fopen(path, "re");
        if (!f)
                return false;
        c = fgetc(f);
        none = c == '\n' || c == EOF;
        fclose(f);
        return none;
}

static int add_distance(struct machine *m, uint32_t from, uint32_t to, unsigned long distance) {
        struct node_link link = { .to = to, .type = "numa", .weight = (uint32_t)distance };

        return machine_link(&m->nodes[from], &link);
}

/* The host node of a NUMA node, or `m->count`. */
static uint32_t host_of(const struct machine *m, uint32_t first, int numa) {
        while (first < m->count && m->nodes[first].numa != numa)
                first++;
        return first;
}

static int parse_distances(struct machine *m, uint32_t first, uint32_t from, const bool found[NUMA_MAX],
                           const char *text, const char *path, struct why *why) {
        int r = 0;

        for (int i = 0; r == 0 && i < NUMA_MAX; i++) {
                uint32_t to = found[i] ? host_of(m, first, i) : 0;
                unsigned long distance;
                char *end;

                if (!found[i])
                        continue;
                distance = strtoul(text, &end, 10);
                if (end == text || distance > UINT8_MAX)
                        return why_malformed(why, path, 1, "a distance to each NUMA node, from 10 to 255");
                text = end;
                if (to < m->count && to != from)
                        r = add_distance(m, from, to, distance);
        }
        return r < 0 ? why_system(why, path, r, "keep the distances") : 0;
}

static int read_distances(struct machine *m, uint32_t first, const char *sys_root, const bool found[NUMA_MAX],
                          struct why *why) {
        char path[PATH_MAX];
        size_t size;
        char *text;
        int r = 0;

        for (uint32_t i = first; r == 0 && i < m->count; i++) {
                snprintf(path, sizeof(path), "%s/devices/system/node/node%d/distance", sys_root, m->nodes[i].numa);
                if (access(path, F_OK) < 0)
                        continue;
                r = file_read(&text, &size, path, why);
                if (r < 0)
                        return r;
                r = parse_distances(m, first, i, found, text, path, why);
                alloc_free(text);
        }
        return r;
}

static int add_numa_nodes(struct machine *m, const char *sys_root, struct why *why) {
        bool found[NUMA_MAX] = { false };
        uint32_t count = 0, first = m->count;
        char path[PATH_MAX];
        uint64_t capacity = 0;
        int r = 0;

        snprintf(path, sizeof(path), "%s/devices/system/node", sys_root);
        find_numa_nodes(path, found);
        for (int i = 0; r == 0 && i < NUMA_MAX; i++) {
                if (!found[i])
                        continue;
                snprintf(path, sizeof(path), "%s/devices/system/node/node%d/meminfo", sys_root, i);
                if (access(path, F_OK) < 0)
                        continue;
                r = read_total(path, &capacity, why);
                if (r == 0 && capacity > 0)
                        r = add_host(m, count++, i, capacity, why);
                if (r == 0 && capacity > 0)
                        m->nodes[m->count - 1].far = has_no_cpus(sys_root, i);
        }
        return r == 0 ? read_distances(m, first, sys_root, found, why) : r;
}

int machine_read_host(struct machine *m, const char *sys_root, const char *proc_root, char *why, size_t why_size) {
        struct why sentence = { .text = why, .size = why_size };
        uint32_t before = m->count;
        char path[PATH_MAX];
        uint64_t capacity = 0;
        int r;

        r = add_numa_nodes(m, sys_root, &sentence);
        if (r == 0 && m->count - before <= 1) {
                snprintf(path, sizeof(path), "%s/meminfo", proc_root);
                r = read_total(path, &capacity, &sentence);
                if (r == 0 && m->count == before)
                        r = add_host(m, 0, -1, capacity, &sentence);
                else if (r == 0)
                        m->nodes[before].capacity = capacity;
        }
        if (r < 0)
                machine_cut(m, before);
        return r;
}
