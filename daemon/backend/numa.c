#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/properties.h"
#include "backend/recording.h"
#include "base/alloc.h"

/*
 * This machine's own memory. Each NUMA node with memory (memory without CPUs, as CXL has it, included) is a host node.
 * Where there is only one, or none (a kernel without NUMA), it has all memory of the machine: under a balloon a NUMA
 * node's own figure lags behind that.
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

static int add_numa_nodes(struct machine *m, const char *sys_root, struct why *why) {
        bool found[NUMA_MAX] = { false };
        uint32_t count = 0;
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
        }
        return r;
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
                m->count = before;
        return r;
}
