#include "account/where.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

struct part {
        const char *at;
        size_t size;
};

static bool begins(struct part p, const char *with) {
        return p.size >= strlen(with) && memcmp(p.at, with, strlen(with)) == 0;
}

static bool ends(struct part p, const char *with) {
        size_t n = strlen(with);

        return p.size >= n && memcmp(p.at + p.size - n, with, n) == 0;
}

static bool is(struct part p, const char *text) {
        return p.size == strlen(text) && begins(p, text);
}

/* Without what it begins and ends with, which it has. */
static struct part inside(struct part p, const char *head, const char *tail) {
        return (struct part){ p.at + strlen(head), p.size - strlen(head) - strlen(tail) };
}

/* What does not belong on a terminal becomes '?'. */
static void put(char *to, size_t room, struct part p) {
        size_t n = p.size < room - 1 ? p.size : room - 1;

        for (size_t i = 0; i < n; i++)
                to[i] = isgraph((unsigned char)p.at[i]) ? p.at[i] : '?';
        to[n] = 0;
}

void where_put(char *to, size_t room, const char *text, size_t size) {
        put(to, room, (struct part){ text, size });
}

static void put_text(char *to, size_t room, const char *text) {
        put(to, room, (struct part){ text, strlen(text) });
}

static bool is_hex(struct part p, size_t size) {
        if (p.size != size)
                return false;
        for (size_t i = 0; i < size; i++)
                if (!isdigit((unsigned char)p.at[i]) && !(p.at[i] >= 'a' && p.at[i] <= 'f'))
                        return false;
        return true;
}

static bool is_id(struct part p) {
        return is_hex(p, 64);
}

/* ---- names of runtimes ---- */

static const struct {
        const char *head, *runtime;
} scopes[] = {
        { "docker-", "docker" },      { "libpod-", "podman" }, { "crio-", "crio" }, { "cri-containerd-", "containerd" },
        { "nerdctl-", "containerd" },
};

static bool take_container(struct where *w, const char *runtime, struct part id) {
        put_text(w->runtime, sizeof(w->runtime), runtime);
        put(w->container, sizeof(w->container), id);
        return true;
}

/* "docker-ID.scope", and the same without systemd. Monitors beside containers ("libpod-conmon-ID") have no such id. */
static bool scope_of_container(struct where *w, struct part p) {
        const char *tail = ends(p, ".scope") ? ".scope" : "";

        for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
                if (!begins(p, scopes[i].head) || p.size < strlen(scopes[i].head) + strlen(tail))
                        continue;
                if (is_id(inside(p, scopes[i].head, tail)))
                        return take_container(w, scopes[i].runtime, inside(p, scopes[i].head, tail));
        }
        return false;
}

/* "anything:RUNTIME:ID" */
static bool colons(struct where *w, struct part p) {
        const char *second = p.size ? memrchr(p.at, ':', p.size) : NULL, *first;
        struct part id, runtime;

        if (!second)
                return false;
        first = memrchr(p.at, ':', (size_t)(second - p.at));
        if (!first)
                return false;
        id = (struct part){ second + 1, (size_t)(p.at + p.size - second - 1) };
        runtime = (struct part){ first + 1, (size_t)(second - first - 1) };
        if (!is_id(id))
                return false;
        if (is(runtime, "cri-containerd"))
                return take_container(w, "containerd", id);
        take_container(w, "", id);
        put(w->runtime, sizeof(w->runtime), runtime);
        return true;
}

/* A bare number of 64 digits: the folder around it says of whom. */
static bool bare(struct where *w, struct part p, struct part parent) {
        if (!is_id(p))
                return false;
        if (is(parent, "docker"))
                return take_container(w, "docker", p);
        if (is(parent, "libpod_parent"))
                return take_container(w, "podman", p);
        if (begins(parent, "pod"))
                return take_container(w, "containerd", p);
        return take_container(w, "", p);
}

/* Containers that have a name: those of systemd and LXC. */
static bool named(struct where *w, struct part p, struct part parent) {
        if (begins(p, "machine-") && ends(p, ".scope") && p.size > strlen("machine-.scope"))
                return take_container(w, "nspawn", inside(p, "machine-", ".scope"));
        if (begins(p, "systemd-nspawn@") && ends(p, ".service") && p.size > strlen("systemd-nspawn@.service"))
                return take_container(w, "nspawn", inside(p, "systemd-nspawn@", ".service"));
        if (begins(p, "lxc.payload.") && p.size > strlen("lxc.payload."))
                return take_container(w, "lxc", inside(p, "lxc.payload.", ""));
        if (is(parent, "lxc") && p.size > 0)
                return take_container(w, "lxc", p);
        return false;
}

/* ---- pods ---- */

/* 8-4-4-4-12 digits, or 32 in one piece (static pods); systemd has _ where there was - . */
static bool take_pod(struct where *w, struct part uid) {
        size_t digits = 0;

        for (size_t i = 0; i < uid.size; i++) {
                struct part digit = { uid.at + i, 1 };

                if (is_hex(digit, 1))
                        digits++;
                else if (uid.at[i] != '-' && uid.at[i] != '_')
                        return false;
        }
        if (digits != 32 && digits != 64)
                return false;
        put(w->pod, sizeof(w->pod), uid);
        for (char *c = w->pod; *c; c++)
                *c = *c == '_' ? '-' : *c;
        return true;
}

static bool pod(struct where *w, struct part p, struct part parent) {
        const char *colon = p.size ? memchr(p.at, ':', p.size) : NULL, *at;

        if (colon)
                p.size = (size_t)(colon - p.at);
        if (begins(p, "machine-libpod_pod_") && ends(p, ".slice") && p.size > strlen("machine-libpod_pod_.slice"))
                return take_pod(w, inside(p, "machine-libpod_pod_", ".slice"));
        if (is(parent, "libpod_parent") && w->container[0] && is_id(p))
                return take_pod(w, p);
        if (begins(p, "pod"))
                return take_pod(w, inside(p, "pod", ""));
        if (!begins(p, "kubepods") || !ends(p, ".slice"))
                return false;
        at = memmem(p.at, p.size, "-pod", 4);
        return at && take_pod(w, (struct part){ at + 4, (size_t)(p.at + p.size - 6 - (at + 4)) });
}

/* ---- the path ---- */

static void put_cgroup(struct where *w, struct part path) {
        size_t most = sizeof(w->cgroup) - 1;

        if (path.size <= most) {
                put(w->cgroup, sizeof(w->cgroup), path);
                return;
        }
        memcpy(w->cgroup, "...", 3);
        put(w->cgroup + 3, sizeof(w->cgroup) - 3, (struct part){ path.at + path.size - (most - 3), most - 3 });
}

/* The last component in front of `end`, which moves to where it begins. */
static struct part component(const char *path, size_t *end) {
        size_t stop, start;

        while (*end > 0 && path[*end - 1] == '/')
                --*end;
        stop = start = *end;
        while (start > 0 && path[start - 1] != '/')
                start--;
        *end = start;
        return (struct part){ path + start, stop - start };
}

void where_of_path(const char *path, size_t size, struct where *ret) {
        struct where w = { .cgroup = "" };
        size_t end = size;
        struct part p;

        put_cgroup(&w, (struct part){ path, size });
        for (p = component(path, &end); p.size > 0;) {
                struct part parent = component(path, &end);

                if (!w.pod[0])
                        (void)pod(&w, p, parent);
                if (!w.container[0])
                        (void)(scope_of_container(&w, p) || colons(&w, p) || bare(&w, p, parent) ||
                               named(&w, p, parent));
                p = parent;
        }
        *ret = w;
}

/* ---- the file ---- */

/* One of the names between commas. */
static bool has_name(struct part list, const char *name) {
        while (list.size > 0) {
                const char *comma = memchr(list.at, ',', list.size);
                struct part one = { list.at, comma ? (size_t)(comma - list.at) : list.size };

                if (is(one, name))
                        return true;
                list.at += one.size + (comma != NULL);
                list.size -= one.size + (comma != NULL);
        }
        return false;
}

/* "NUMBER:CONTROLLERS:PATH". How well its path says whose memory the process uses; 0: it is no such line. */
static unsigned judge(struct part line, struct part *ret_path) {
        static const char deleted[] = " (deleted)";
        const char *first = line.size ? memchr(line.at, ':', line.size) : NULL, *second;
        struct part controllers, path;

        if (!first)
                return 0;
        second = memchr(first + 1, ':', (size_t)(line.at + line.size - first - 1));
        if (!second)
                return 0;
        controllers = (struct part){ first + 1, (size_t)(second - first - 1) };
        path = (struct part){ second + 1, (size_t)(line.at + line.size - second - 1) };
        if (!begins(path, "/"))
                return 0;
        if (ends(path, deleted))
                path.size -= strlen(deleted);
        *ret_path = path;
        return has_name(controllers, "memory")   ? 4
               : controllers.size == 0           ? 3
               : is(controllers, "name=systemd") ? 2
                                                 : 1;
}

/* How well the best one says it, and its path. */
static unsigned best_of(const char *text, size_t size, struct part *ret) {
        unsigned how = 0;

        *ret = (struct part){ "", 0 };
        while (size > 0) {
                const char *newline = memchr(text, '\n', size);
                struct part line = { text, newline ? (size_t)(newline - text) : size }, path;
                unsigned k = judge(line, &path);

                if (k > how) {
                        how = k;
                        *ret = path;
                }
                text += line.size + (newline != NULL);
                size -= line.size + (newline != NULL);
        }
        return how;
}

void where_parse(const char *text, size_t size, struct where *ret) {
        struct part best;

        (void)best_of(text, size, &best);
        where_of_path(best.at, best.size, ret);
}

unsigned where_memory(const char *text, size_t size, char *to, size_t room) {
        struct part best;
        unsigned how = best_of(text, size, &best);

        if (how < 3 || best.size >= room || memchr(best.at, 0, best.size) || memmem(best.at, best.size, "/..", 3))
                return 0;
        memcpy(to, best.at, best.size);
        to[best.size] = 0;
        return how == 4 ? 1 : 2;
}
