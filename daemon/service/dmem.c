#include "service/dmem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "account/look.h"
#include "base/alloc.h"
#include "base/text.h"
#include "cgroup/wire.h"
#include "core/cgroup.h"
#include "core/node.h"
#include "core/session.h"
#include "service/cgroups.h"
#include "service/chain.h"
#include "service/internal.h"

#define MS_NS 1000000ull

static const enum bound bounds_of[DMEM_VALUES] = { BOUND_MAX, BOUND_LOW, BOUND_MIN };

bool dmem_is_on(const struct service *svc, uint32_t node) {
        return svc->dmem.root && node_desc(svc, node)->dmem[0];
}

static struct dmem_record *record_of(const struct dmem *d, const char *path, uint32_t node) {
        list_for_each (l, &d->records) {
                struct dmem_record *r = container_of(l, struct dmem_record, link);

                if (r->node == node && strcmp(r->path, path) == 0)
                        return r;
        }
        return NULL;
}

__attribute__((format(printf, 2, 3))) static void trouble(struct service *svc, const char *format, ...) {
        struct dmem *d = &svc->dmem;
        va_list ap;

        if (d->troubles_count == DMEM_TROUBLES)
                return;
        va_start(ap, format);
        vsnprintf(d->troubles[d->troubles_count++], sizeof(d->troubles[0]), format, ap);
        va_end(ap);
}

/* ---- what was told ---- */

/* A group that is told limits is known from here on; one that has none any more is not. */
static void tell(struct service *svc, const char *path, uint32_t node, const struct bounds *b) {
        struct cgroup *g = cgroup_find(&svc->state, path);

        if (!g && bounds_are_none(b))
                return;
        if (!g && !(g = cgroup_begin(svc, path)))
                return; /* the next look has memory for it, maybe */
        if (cgroup_nesting(svc, g) > CHAIN_CGROUPS)
                trouble(svc, "%s: limits of dmem are followed in %u groups that lie in one another, and not here", path,
                        (unsigned)CHAIN_CGROUPS);
        else if (memcmp(&g->told[node], b, sizeof(*b)) != 0 && cgroup_tell_bounds(svc, g, node, b) != 0)
                trouble(svc, "%s: dmem.min promises more than %s has left to promise, and is not followed", path,
                        node_desc(svc, node)->name);
        if (!g->writing)
                cgroup_settle(svc, g);
}

/* What svmd wrote itself was told by nobody. */
static struct bounds told_by(const struct dmem_group *got, bool there, const struct dmem_record *r) {
        struct bounds b = BOUNDS_NONE;

        for (unsigned i = 0; there && i < DMEM_VALUES; i++)
                if (!r || r->number != got->number || (r->value[i] != got->value[i] && r->before[i] != got->value[i]))
                        b.bytes[bounds_of[i]] = got->value[i];
        return b;
}

static void follow(struct service *svc, const char *path) {
        for (uint32_t n = 0; n < svc->options.machine->count; n++) {
                const struct node_desc *node = node_desc(svc, n);
                struct dmem_group got = DMEM_GROUP_NONE;
                struct bounds b;
                bool there;

                if (!node->dmem[0])
                        continue;
                there = dmem_read(svc->dmem.root, path, node->dmem, &got) == 0;
                b = told_by(&got, there, record_of(&svc->dmem, path, n));
                tell(svc, path, n, &b);
        }
}

/* To the group around it; of one in the root, to none. */
static void go_out(char *path) {
        char *slash = strrchr(path, '/');

        *(slash ? slash : path) = 0;
}

/* The groups above it, too. The root has no limits. */
void dmem_follow(struct service *svc, const char *path) {
        char at[CGROUP_PATH_MAX];

        if (!svc->dmem.root || svc->replaying || strlen(path) >= sizeof(at))
                return;
        for (text_copy(at, path); at[0]; go_out(at))
                if (strcmp(at, "/") != 0)
                        follow(svc, at);
}

/* ---- what svmd wrote, over a kill ---- */

struct look {
        struct job job;
        struct service *svc;
        char **paths;
        size_t paths_count, paths_room;
        struct dmem_entry *entries;
        size_t count;
        char name[512], boot[64], writer[512];
};

static void read_boot(const struct service *svc, char boot[64]) {
        char path[512];
        FILE *f;

        snprintf(path, sizeof(path), "%s/sys/kernel/random/boot_id", svc->options.proc_root);
        boot[0] = 0;
        f = fopen(path, "re");
        if (f && fgets(boot, 64, f))
                boot[strcspn(boot, "\n")] = 0;
        if (f)
                fclose(f);
}

/* In a job's thread: beside the one there is, and in its place. It need not outlive the machine's boot, nor reach a
 * disk. */
static int note(void *userdata) {
        const struct look *l = userdata;
        char other[sizeof(l->name) + 8];
        bool bad;
        FILE *f;

        if (!l->name[0])
                return 0;
        snprintf(other, sizeof(other), "%s.new", l->name);
        f = fopen(other, "we");
        if (!f)
                return -errno;
        fprintf(f, "%s\n", l->boot);
        for (size_t i = 0; i < l->count; i++) {
                const struct dmem_entry *e = &l->entries[i];

                if (e->recorded)
                        fprintf(f,
                                "%" PRIu64 " %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
                                " %s\n",
                                e->number, node_desc(l->svc, e->node)->name, e->value[DMEM_MAX], e->value[DMEM_LOW],
                                e->value[DMEM_MIN], e->before[DMEM_MAX], e->before[DMEM_LOW], e->before[DMEM_MIN],
                                e->path);
        }
        bad = ferror(f) != 0;
        if (fclose(f) != 0 || bad)
                return -EIO;
        return rename(other, l->name) < 0 ? -errno : 0;
}

static struct dmem_record *record_add(struct dmem *d, const char *path, uint32_t node) {
        struct dmem_record *r = alloc_zero(sizeof(*r) + strlen(path) + 1);

        if (!r)
                return NULL;
        r->node = node;
        memcpy(r->path, path, strlen(path) + 1);
        list_push_back(&d->records, &r->link);
        return r;
}

static void record_free(struct dmem_record *r) {
        list_remove(&r->link);
        alloc_free(r);
}

static int load_line(struct service *svc, const char *line) {
        uint64_t number, value[DMEM_VALUES], before[DMEM_VALUES];
        const struct node_desc *node;
        struct dmem_record *r;
        char name[32];
        int at = 0;

        if (sscanf(line, "%" SCNu64 " %31s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %n",
                   &number, name, &value[DMEM_MAX], &value[DMEM_LOW], &value[DMEM_MIN], &before[DMEM_MAX],
                   &before[DMEM_LOW], &before[DMEM_MIN], &at) < 8 ||
            line[at] != '/')
                return 0;
        node = machine_find(svc->options.machine, name);
        if (!node)
                return 0;
        r = record_add(&svc->dmem, line + at, (uint32_t)(node - svc->options.machine->nodes));
        if (!r)
                return -ENOMEM;
        r->number = number;
        memcpy(r->value, value, sizeof(value));
        memcpy(r->before, before, sizeof(before));
        return 0;
}

/* Of another boot of the machine it says nothing: those groups are gone. */
static int load(struct service *svc) {
        char line[CGROUP_PATH_MAX + 256], name[512], boot[64];
        int r = 0;
        FILE *f;

        if (!svc->options.state_dir)
                return 0;
        snprintf(name, sizeof(name), "%s/dmem", svc->options.state_dir);
        read_boot(svc, boot);
        f = fopen(name, "re");
        if (!f)
                return 0;
        for (unsigned i = 0; r == 0 && fgets(line, sizeof(line), f); i++) {
                line[strcspn(line, "\n")] = 0;
                if (i == 0 && strcmp(line, boot) != 0)
                        break;
                r = i == 0 ? 0 : load_line(svc, line);
        }
        fclose(f);
        return r;
}

/* ---- a look ---- */

static int add_path(struct look *l, const char *path) {
        char *copy;

        if (l->paths_count == l->paths_room) {
                size_t room = l->paths_room ? 2 * l->paths_room : 64;
                char **grown = alloc_grow(l->paths, l->paths_room * sizeof(*grown), room * sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                l->paths = grown;
                l->paths_room = room;
        }
        copy = alloc_string(path);
        if (!copy)
                return -ENOMEM;
        l->paths[l->paths_count++] = copy;
        return 0;
}

/* It, and the groups above it but for the root. */
static int add_paths(struct look *l, const char *path) {
        char at[CGROUP_PATH_MAX];
        int r = 0;

        if (strlen(path) >= sizeof(at))
                return 0;
        for (text_copy(at, path); r == 0 && at[0]; go_out(at))
                r = strcmp(at, "/") == 0 ? 0 : add_path(l, at);
        return r;
}

static int compare(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static void drop_doubles(struct look *l) {
        size_t kept = 0;

        if (l->paths_count)
                qsort(l->paths, l->paths_count, sizeof(*l->paths), compare);
        for (size_t i = 0; i < l->paths_count; i++) {
                if (kept > 0 && strcmp(l->paths[kept - 1], l->paths[i]) == 0)
                        alloc_free(l->paths[i]);
                else
                        l->paths[kept++] = l->paths[i];
        }
        l->paths_count = kept;
}

static int find_paths(struct service *svc, struct look *l) {
        const char *last = "";
        int r = 0;

        list_for_each (it, &svc->state.sessions) {
                const struct session *s = container_of(it, struct session, by_state);

                if (r < 0 || !s->cgroup_path || strcmp(s->cgroup_path, last) == 0)
                        continue;
                last = s->cgroup_path;
                r = add_paths(l, last);
        }
        list_for_each (it, &svc->state.cgroups)
                if (r == 0)
                        r = add_paths(l, container_of(it, struct cgroup, by_state)->path);
        list_for_each (it, &svc->dmem.records)
                if (r == 0)
                        r = add_path(l, container_of(it, struct dmem_record, link)->path);
        drop_doubles(l);
        return r;
}

static void fill(struct service *svc, struct dmem_entry *e, const char *path, uint32_t node) {
        const struct cgroup *g = cgroup_find(&svc->state, path);
        const struct dmem_record *r = record_of(&svc->dmem, path, node);

        e->path = path;
        e->node = node;
        e->region = node_desc(svc, node)->dmem;
        for (unsigned i = 0; i < DMEM_VALUES; i++)
                e->want[i] = (g ? g->own[node] : BOUNDS_NONE).bytes[bounds_of[i]];
        e->owned = g && (e->want[DMEM_MAX] != DMEM_NO_LIMIT || e->want[DMEM_LOW] || e->want[DMEM_MIN]);
        e->recorded = r != NULL;
        if (!r)
                return;
        e->number = r->number;
        memcpy(e->value, r->value, sizeof(e->value));
        memcpy(e->before, r->before, sizeof(e->before));
        memcpy(e->pending, r->pending, sizeof(e->pending));
}

static void look_free(struct look *l) {
        for (size_t i = 0; i < l->paths_count; i++)
                alloc_free(l->paths[i]);
        alloc_free(l->paths);
        alloc_free(l->entries);
        alloc_free(l);
}

static void look_run(struct job *job) {
        struct look *l = container_of(job, struct look, job);
        const struct service_options *o = &l->svc->options;
        struct dmem_way way = { .root = l->svc->dmem.root,
                                .emulated = o->dmem_root != NULL,
                                .drive = o->dmem_drive,
                                .writer = l->writer[0] ? l->writer : NULL };

        dmem_look(&way, l->entries, l->count, note, l);
}

static const char *const by[] = {
        [DMEM_BY_SVMD] = "",
        [DMEM_BY_SVMD_ALONE] = "; who may do it for svmd is started by: systemctl enable --now svmd-cgroup.socket",
        [DMEM_BY_SVMD_SILENT] = "; svmd-cgroup, who may, does not answer: see systemctl status svmd-cgroup",
        [DMEM_BY_WRITER] = ", by svmd-cgroup",
};

static void say(struct service *svc, const struct dmem_entry *e, const struct dmem_record *r) {
        static const char *const names[DMEM_VALUES] = { "dmem.max", "dmem.low", "dmem.min" };
        const char *node = node_desc(svc, e->node)->name;

        if (e->error < 0)
                trouble(svc, "limits of %s on %s are not written to dmem: %s%s", e->path, node, strerror(-e->error),
                        by[e->by]);
        for (unsigned i = 0; e->error == 0 && r && r->number == e->got.number && i < DMEM_VALUES; i++) {
                if (r->value[i] == e->got.value[i])
                        continue;
                trouble(svc, "%s of %s on %s is %s: %" PRIu64 ", and svmd wrote %" PRIu64 "; the stricter one holds",
                        names[i], e->path, node,
                        r->pending[i] ? "not taken by the kernel yet, as more is used" : "somebody else's",
                        e->got.value[i], r->value[i]);
        }
}

/* Without memory for a record, what was written is followed as somebody else's: it is no less. */
static void take(struct service *svc, const struct dmem_entry *e) {
        struct dmem_record *r = record_of(&svc->dmem, e->path, e->node);
        struct bounds b;

        if (!e->recorded && r) {
                record_free(r);
                r = NULL;
        }
        if (e->recorded && !r)
                r = record_add(&svc->dmem, e->path, e->node);
        if (r) {
                r->number = e->number;
                memcpy(r->value, e->value, sizeof(r->value));
                memcpy(r->before, e->before, sizeof(r->before));
                memcpy(r->pending, e->pending, sizeof(r->pending));
        }
        b = told_by(&e->got, e->there, r);
        say(svc, e, r);
        tell(svc, e->path, e->node, &b);
}

static void look_done(struct job *job) {
        struct look *l = container_of(job, struct look, job);
        struct service *svc = l->svc;

        svc->dmem.looking = false;
        svc->dmem.troubles_count = 0;
        for (size_t i = 0; i < l->count && !svc->closing; i++)
                take(svc, &l->entries[i]);
        svc->dmem.looks++;
        look_free(l);
}

/* Without memory for it, the next time. */
static void look_begin(struct service *svc) {
        uint32_t nodes = svc->options.machine->count;
        struct look *l = alloc_zero(sizeof(*l));

        if (!l)
                return;
        l->svc = svc;
        if (find_paths(svc, l) == 0)
                l->entries = alloc_array(l->paths_count * nodes + 1, sizeof(*l->entries));
        if (!l->entries) {
                look_free(l);
                return;
        }
        for (size_t i = 0; i < l->paths_count; i++)
                for (uint32_t n = 0; n < nodes; n++)
                        if (dmem_is_on(svc, n))
                                fill(svc, &l->entries[l->count++], l->paths[i], n);
        if (svc->options.state_dir)
                snprintf(l->name, sizeof(l->name), "%s/dmem", svc->options.state_dir);
        if (svc->options.runtime_dir)
                snprintf(l->writer, sizeof(l->writer), "%s/" CGROUP_SOCKET_NAME, svc->options.runtime_dir);
        read_boot(svc, l->boot);
        l->job = (struct job){ .lane = 0, .run = look_run, .done = look_done };
        list_init(&l->job.link);
        svc->dmem.looking = true;
        svc->dmem.wanted = false;
        jobs_submit(svc->accounts.jobs, &l->job);
}

/* ---- when ---- */

void dmem_changed(struct service *svc) {
        if (!svc->dmem.root)
                return;
        svc->dmem.wanted = true;
        service_wake_at(svc, keeping_now(svc), keeping_now(svc));
}

void dmem_collect(struct service *svc) {
        struct dmem *d = &svc->dmem;
        uint64_t now;

        if (!d->root || svc->closing)
                return;
        now = keeping_now(svc);
        if (d->next_ns && now >= d->next_ns) {
                d->next_ns = now + svc->options.dmem_period_ms * MS_NS;
                d->wanted = true;
        }
        if (d->wanted && !d->looking)
                look_begin(svc);
        if (d->next_ns)
                service_wake_at(svc, d->next_ns, now);
}

static char *find_root(const struct service_options *o) {
        char folder[LOOK_FOLDER];

        return look_dmem_folder(o->dmem_root, o->sys_root, folder) ? alloc_string(folder) : NULL;
}

static bool has_regions(struct service *svc, const char *root) {
        struct dmem *d = &svc->dmem;
        bool has = false;

        for (uint32_t n = 0; n < svc->options.machine->count; n++) {
                const struct node_desc *node = node_desc(svc, n);
                uint64_t capacity;
                int r;

                if (!node->dmem[0])
                        continue;
                r = dmem_capacity(root, node->dmem, &capacity);
                has |= r == 0;
                if (r < 0)
                        snprintf(d->missing, sizeof(d->missing), "%s: %s has no region %s: %s", node->name, root,
                                 node->dmem, r == -ENODEV ? "no driver has registered it" : strerror(-r));
        }
        return has;
}

int dmem_start(struct service *svc) {
        struct dmem *d = &svc->dmem;
        char *root = find_root(&svc->options);
        int r;

        list_init(&d->records);
        if (!root || !has_regions(svc, root)) {
                alloc_free(root);
                return 0;
        }
        d->root = root;
        r = load(svc);
        if (r < 0)
                return r;
        list_for_each (l, &svc->state.sessions) {
                const struct session *s = container_of(l, struct session, by_state);

                if (s->cgroup_path)
                        dmem_follow(svc, s->cgroup_path);
        }
        /* None of them goes by that: each has own bounds, or was told some just now. */
        list_for_each (l, &svc->state.cgroups)
                dmem_follow(svc, container_of(l, struct cgroup, by_state)->path);
        if (svc->options.dmem_period_ms)
                d->next_ns = keeping_now(svc) + svc->options.dmem_period_ms * MS_NS;
        dmem_changed(svc);
        return 0;
}

void dmem_stop(struct service *svc) {
        struct dmem *d = &svc->dmem;

        while (d->root && !list_empty(&d->records))
                record_free(container_of(d->records.next, struct dmem_record, link));
        alloc_free(d->root);
        d->root = NULL;
}
