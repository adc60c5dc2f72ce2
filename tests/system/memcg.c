#include "memcg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

static bool write_text(const char *folder, const char *file, const char *text) {
        char path[320];
        int fd, n;

        snprintf(path, sizeof(path), "%s/%s", folder, file);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = (int)write(fd, text, strlen(text));
        close(fd);
        return n == (int)strlen(text);
}

/* Where this process's cgroup is, for the controller ("" for version 2). */
static bool own_path(const char *controller, char *to, size_t size) {
        char line[512], *path = NULL;
        FILE *f = fopen("/proc/self/cgroup", "re");

        must(f);
        while (!path && fgets(line, sizeof(line), f)) {
                char *names = strchr(line, ':') + 1;

                path = strchr(names, ':');
                *path++ = 0;
                if (strcmp(names, controller) != 0)
                        path = NULL;
        }
        fclose(f);
        if (!path)
                return false;
        path[strcspn(path, "\n")] = 0;
        snprintf(to, size, "%s", path);
        return true;
}

static bool make(struct memcg *c, const char *parent, const char *name) {
        snprintf(c->path, sizeof(c->path), "%s/svmd-test-%d-%s", parent, getpid(), name);
        if (mkdir(c->path, 0755) == 0)
                return true;
        printf("no memory cgroup: mkdir %s: %s\n", c->path, strerror(errno));
        c->path[0] = 0;
        return false;
}

bool memcg_new(struct memcg *c, const char *name) {
        char own[200], parent[256];

        c->path[0] = 0;
        if (own_path("memory", own, sizeof(own))) {
                snprintf(parent, sizeof(parent), "/sys/fs/cgroup/memory%s", own);
                return make(c, parent, name);
        }
        if (!own_path("", own, sizeof(own))) {
                printf("no memory cgroup: none in /proc/self/cgroup\n");
                return false;
        }
        /* Processes in a group that gives a controller on are refused, but for the root: beside, not below. */
        if (strcmp(own, "/") != 0)
                *strrchr(own, '/') = 0;
        snprintf(parent, sizeof(parent), "/sys/fs/cgroup%s", strcmp(own, "/") == 0 ? "" : own);
        if (!write_text(parent, "cgroup.subtree_control", "+memory")) {
                printf("no memory cgroup: %s gives no memory controller on: %s\n", parent, strerror(errno));
                return false;
        }
        return make(c, parent, name);
}

void memcg_end(struct memcg *c) {
        uint64_t until = now_ms() + CEILING_MS;

        while (c->path[0] && rmdir(c->path) < 0) {
                must(errno == EBUSY && now_ms() < until);
                usleep(1000);
        }
        c->path[0] = 0;
}

void memcg_enter(const struct memcg *c, pid_t pid) {
        char text[16];

        snprintf(text, sizeof(text), "%d", pid);
        must(write_text(c->path, "cgroup.procs", text));
}

uint64_t memcg_shmem(const struct memcg *c) {
        unsigned long long bytes = 0;
        char path[320], line[128];
        bool found = false;
        FILE *f;

        snprintf(path, sizeof(path), "%s/memory.stat", c->path);
        f = fopen(path, "re");
        must(f);
        while (!found && fgets(line, sizeof(line), f))
                found = sscanf(line, "shmem %llu", &bytes) == 1;
        fclose(f);
        must(found);
        return bytes;
}

/* The number in a file, of version 2 or of version 1. */
static uint64_t number(const struct memcg *c, const char *two, const char *one) {
        unsigned long long n = 0;
        char path[320];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", c->path, two);
        f = fopen(path, "re");
        if (!f) {
                snprintf(path, sizeof(path), "%s/%s", c->path, one);
                f = fopen(path, "re");
        }
        must(f && fscanf(f, "%llu", &n) == 1);
        fclose(f);
        return n;
}

uint64_t memcg_current(const struct memcg *c) {
        return number(c, "memory.current", "memory.usage_in_bytes");
}

/* "oom_kill N", of memory.events or of version 1's memory.oom_control. */
uint64_t memcg_oom_kills(const struct memcg *c) {
        static const char *const files[] = { "memory.events", "memory.oom_control" };
        unsigned long long n = 0;
        char path[320], line[64];
        bool found = false;

        for (unsigned i = 0; i < 2 && !found; i++) {
                FILE *f;

                snprintf(path, sizeof(path), "%s/%s", c->path, files[i]);
                f = fopen(path, "re");
                while (f && !found && fgets(line, sizeof(line), f))
                        found = sscanf(line, "oom_kill %llu", &n) == 1;
                if (f)
                        fclose(f);
        }
        must(found);
        return n;
}

void memcg_limit(const struct memcg *c, uint64_t bytes) {
        char text[32];

        snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
        must(write_text(c->path, "memory.max", text) || write_text(c->path, "memory.limit_in_bytes", text));
}
