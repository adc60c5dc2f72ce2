#include "numa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"

#define NODES "/sys/devices/system/node"

enum { PAGE = 4096, PIECE = 512 };

static FILE *open_of(int node, const char *file) {
        char path[80];

        snprintf(path, sizeof(path), NODES "/node%d/%s", node, file);
        return fopen(path, "re");
}

static bool has_memory(int node) {
        FILE *f = open_of(node, "meminfo");
        unsigned long long kib = 0;
        bool found = f && fscanf(f, " Node %*d MemTotal: %llu", &kib) == 1;

        if (f)
                fclose(f);
        return found && kib > 0;
}

static bool has_cpus(int node) {
        FILE *f = open_of(node, "cpulist");
        int c = f ? fgetc(f) : EOF;

        if (f)
                fclose(f);
        return c >= '0' && c <= '9';
}

/* Columns are those of all nodes that there are; here all have memory. */
static void read_distances(struct numa *n, unsigned from) {
        FILE *f = open_of(n->number[from], "distance");

        for (unsigned i = 0; f && i < n->count; i++)
                must(fscanf(f, "%u", &n->to[from][i]) == 1);
        if (f)
                fclose(f);
}

void numa_read(struct numa *ret) {
        *ret = (struct numa){ 0 };
        for (int i = 0; i < 64 && ret->count < NUMA_NODES_MAX; i++) {
                if (!has_memory(i))
                        continue;
                ret->cpus[ret->count] = has_cpus(i);
                ret->number[ret->count++] = i;
        }
        for (unsigned i = 0; i < ret->count; i++)
                read_distances(ret, i);
}

static unsigned index_of(const struct numa *n, int number) {
        unsigned i = 0;

        while (i < n->count && n->number[i] != number)
                i++;
        return i;
}

void numa_pages(const struct numa *n, const void *at, size_t size, size_t ret[NUMA_NODES_MAX]) {
        const char *p = at;

        memset(ret, 0, NUMA_NODES_MAX * sizeof(*ret));
        for (size_t done = 0, count; done < size / PAGE; done += count) {
                const void *pages[PIECE];
                int status[PIECE];

                count = size / PAGE - done < PIECE ? size / PAGE - done : PIECE;
                for (size_t i = 0; i < count; i++)
                        pages[i] = p + (done + i) * PAGE;
                must(syscall(SYS_move_pages, 0, count, pages, NULL, status, 0) == 0);
                for (size_t i = 0; i < count; i++)
                        if (status[i] >= 0)
                                ret[index_of(n, status[i])]++;
        }
}

bool numa_is_on(const struct numa *n, const void *at, size_t size, unsigned node) {
        size_t pages[NUMA_NODES_MAX];

        numa_pages(n, at, size, pages);
        if (pages[node] == size / PAGE)
                return true;
        for (unsigned i = 0; i < n->count; i++)
                printf("%zu pages of %zu on node %d%s\n", pages[i], size / PAGE, n->number[i],
                       i == node ? ", where all should be" : "");
        return false;
}

/* "ADDRESS POLICY file=/memfd:NAME\040(deleted) ... N0=12 N2=4 kernelpagesize_kB=4" */
static void add_line(const struct numa *n, char *line, const char *name, uint64_t ret[NUMA_NODES_MAX]) {
        const char *file = strstr(line, "file=/memfd:");

        if (!file || strncmp(file + strlen("file=/memfd:"), name, strlen(name)) != 0)
                return;
        for (char *save, *word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
                unsigned long pages;
                int number;

                if (sscanf(word, "N%d=%lu", &number, &pages) == 2 && index_of(n, number) < n->count)
                        ret[index_of(n, number)] += (uint64_t)pages * PAGE;
        }
}

void numa_maps(const struct numa *n, pid_t pid, const char *name, uint64_t ret[NUMA_NODES_MAX]) {
        char path[48], *line = NULL;
        size_t room = 0;
        FILE *f;

        memset(ret, 0, NUMA_NODES_MAX * sizeof(*ret));
        snprintf(path, sizeof(path), "/proc/%d/numa_maps", pid);
        f = fopen(path, "re");
        must(f);
        while (getline(&line, &room, f) > 0)
                add_line(n, line, name, ret);
        free(line);
        fclose(f);
}

/* ---- imagined ---- */

static void write_text(const char *root, int node, const char *file, const char *text) {
        char path[128];
        FILE *f;

        snprintf(path, sizeof(path), "%s/devices/system/node/node%d/%s", root, node, file);
        f = fopen(path, "we");
        must(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* As QEMU makes it for `./dev vm`; all else of /sys is the machine's. */
void numa_imagine(struct numa *ret, char *root, size_t size) {
        static const unsigned to[4][4] = {
                { 10, 21, 40, 60 }, { 21, 10, 60, 40 }, { 40, 60, 10, 80 }, { 60, 40, 80, 10 }
        };
        char command[256], text[64];

        snprintf(root, size, "/tmp/svmd-numa-%d", getpid());
        snprintf(
                command, sizeof(command),
                "R=%s; mkdir -p $R/devices/system/node && ln -s /sys/fs /sys/kernel $R && cd $R/devices/system/node && "
                "mkdir node0 node1 node2 node3",
                root);
        must(system(command) == 0);
        *ret = (struct numa){ .count = 4, .number = { 0, 1, 2, 3 }, .cpus = { true, true } };
        for (int i = 0; i < 4; i++) {
                snprintf(text, sizeof(text), "Node %d MemTotal: 262144 kB\n", i);
                write_text(root, i, "meminfo", text);
                write_text(root, i, "cpulist", i < 2 ? "0\n" : "\n");
                snprintf(text, sizeof(text), "%u %u %u %u\n", to[i][0], to[i][1], to[i][2], to[i][3]);
                write_text(root, i, "distance", text);
                memcpy(ret->to[i], to[i], sizeof(to[i]));
        }
}

void numa_forget(const char *root) {
        char command[128];

        snprintf(command, sizeof(command), "rm -r %s", root);
        must(system(command) == 0);
}
