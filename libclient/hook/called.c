#include "hook/called.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hook/state.h"

/* ---- annotations ---- */

static const char *const names[] = { "org.svmd.name", "io.kubernetes.container.name",
                                     "io.kubernetes.cri.container-name", "nerdctl/name" };
static const char *const pods[] = { "io.kubernetes.pod.name", "io.kubernetes.cri.sandbox-name" };
static const char *const spaces[] = { "io.kubernetes.pod.namespace", "io.kubernetes.cri.sandbox-namespace" };

/* One line of text, whatever an annotation has in it. */
static void put(char ret[CALLED_NAME], const char *text) {
        size_t n = 0;

        for (; *text && n < CALLED_NAME - 1; text++)
                ret[n++] = isgraph((unsigned char)*text) ? *text : '?';
        ret[n] = 0;
}

static void put_first(char ret[CALLED_NAME], const struct state *s, const char *const *keys, size_t count) {
        for (size_t i = 0; i < count && !ret[0]; i++) {
                const char *value = state_annotation(s, keys[i]);

                if (value)
                        put(ret, value);
        }
}

/* ---- conmon ---- */

static size_t read_file(const char *proc_root, uint32_t pid, const char *name, char *text, size_t size) {
        char path[512];
        size_t n;
        FILE *f;

        snprintf(path, sizeof(path), "%s/%" PRIu32 "/%s", proc_root, pid, name);
        f = fopen(path, "re");
        n = f ? fread(text, 1, size - 1, f) : 0;
        if (f)
                fclose(f);
        text[n] = 0;
        return n;
}

static uint32_t parent_of(const char *proc_root, uint32_t pid) {
        char text[1024];
        const char *at;
        uint32_t parent;

        read_file(proc_root, pid, "stat", text, sizeof(text));
        at = strrchr(text, ')');
        return at && sscanf(at + 1, " %*c %" SCNu32, &parent) == 1 ? parent : 0;
}

/* The word behind that option, or NULL. */
static const char *option(const char *words, size_t size, const char *name) {
        for (const char *at = words; at < words + size; at += strlen(at) + 1) {
                const char *next = at + strlen(at) + 1;

                if (strcmp(at, name) == 0 && next < words + size)
                        return next;
        }
        return NULL;
}

/* conmon(8): -c is the container's number, -n its name. */
static void put_of_conmon(char ret[CALLED_NAME], const char *id, const char *proc_root, uint32_t pid) {
        char comm[32], words[16384];
        const char *container, *name;
        size_t n;

        read_file(proc_root, pid, "comm", comm, sizeof(comm));
        if (strcmp(comm, "conmon\n") != 0)
                return;
        n = read_file(proc_root, pid, "cmdline", words, sizeof(words));
        container = option(words, n, "-c");
        name = option(words, n, "-n");
        if (container && name && strcmp(container, id) == 0)
                put(ret, name);
}

void called_of(struct called_names *ret, const struct state *s, const char *proc_root, uint32_t pid) {
        struct called_names n = { "", "", "" };

        put_first(n.name, s, names, sizeof(names) / sizeof(names[0]));
        put_first(n.pod, s, pods, sizeof(pods) / sizeof(pods[0]));
        put_first(n.space, s, spaces, sizeof(spaces) / sizeof(spaces[0]));
        if (!n.name[0])
                put_of_conmon(n.name, s->id, proc_root, parent_of(proc_root, pid));
        *ret = n;
}

/* ---- the note ---- */

static bool path_of(char *path, size_t size, const char *runtime_dir, const char *dot, const char *id) {
        return id[0] != '.' && !strchr(id, '/') &&
               snprintf(path, size, "%s/containers/%s%s", runtime_dir, dot, id) < (int)size;
}

int called_note(const char *runtime_dir, const char *id, uint32_t pid, uint64_t started, const struct called_names *n) {
        char path[512], beside[512];
        FILE *f;
        int r;

        if (!path_of(path, sizeof(path), runtime_dir, "", id) || !path_of(beside, sizeof(beside), runtime_dir, ".", id))
                return -ENAMETOOLONG;
        f = fopen(beside, "we");
        if (!f)
                return -errno;
        fprintf(f, "%" PRIu32 " %" PRIu64 "\n%s\n%s\n%s\n", pid, started, n->name, n->pod, n->space);
        r = fchmod(fileno(f), 0644) < 0 ? -errno : 0;
        if (fclose(f) != 0 && r == 0)
                r = -errno;
        if (r == 0 && rename(beside, path) < 0)
                r = -errno;
        if (r < 0)
                unlink(beside);
        return r;
}

void called_forget(const char *runtime_dir, const char *id) {
        char path[512];

        if (path_of(path, sizeof(path), runtime_dir, "", id))
                unlink(path);
}
