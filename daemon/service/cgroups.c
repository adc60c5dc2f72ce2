#include "service/cgroups.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/complain.h"
#include "base/log.h"
#include "core/cgroup.h"
#include "core/node.h"
#include "core/session.h"
#include "service/capacity.h"
#include "service/chain.h"
#include "service/internal.h"

#define LOOK_NS 1000000000ull

int cgroup_of_process(const struct service *svc, uint32_t pid, char path[CGROUP_PATH_MAX]) {
        char line[CGROUP_PATH_MAX + 8];
        int r = -ENOENT;
        FILE *file;

        snprintf(line, sizeof(line), "%s/%u/cgroup", svc->options.proc_root, pid);
        file = fopen(line, "re");
        if (!file)
                return -errno;
        while (r != 0 && fgets(line, sizeof(line), file)) {
                size_t n = strcspn(line, "\n");

                if (strncmp(line, "0::/", 4) != 0 || line[n] != '\n' || n - 3 >= CGROUP_PATH_MAX)
                        continue;
                line[n] = 0;
                memcpy(path, line + 3, n - 2);
                r = 0;
        }
        fclose(file);
        return r;
}

/* ---- sessions ---- */

static int look(struct service *svc, struct session *s) {
        char path[CGROUP_PATH_MAX], *copy;

        s->cgroup_looked = keeping_now(svc);
        if (cgroup_of_process(svc, s->pid, path) < 0 || (s->cgroup_path && strcmp(s->cgroup_path, path) == 0))
                return 0;
        copy = alloc_string(path);
        if (!copy)
                return -ENOMEM;
        session_set_cgroup(&svc->state, s, copy);
        dmem_follow(svc, path);
        chain_session(svc, s);
        leases_changed(svc);
        return 0;
}

int cgroups_attach(struct service *svc, struct session *s) {
        return look(svc, s);
}

void cgroups_look(struct service *svc, struct session *s) {
        if (!list_empty(&svc->state.cgroups) && s->partition && keeping_now(svc) - s->cgroup_looked >= LOOK_NS)
                (void)look(svc, s);
}

void cgroups_look_all(struct service *svc) {
        list_for_each (l, &svc->state.sessions) {
                struct session *s = container_of(l, struct session, by_state);

                if (s->partition)
                        (void)look(svc, s);
        }
}

/* ---- bounds ---- */

static int set_both(struct service *svc, struct cgroup *g, uint32_t node, const struct bounds *own,
                    const struct bounds *told) {
        const struct bounds both = bounds_of_both(own, told);

        if (account_set_bounds(&g->accounts[node], &both) != 0)
                return LEDGER_E_LIMIT;
        g->own[node] = *own;
        g->told[node] = *told;
        give_back_bounds(svc, LIMITED_CGROUP(g), node);
        capacity_node_changed(svc, node);
        leases_changed(svc);
        return 0;
}

int cgroup_set_bounds(struct service *svc, struct cgroup *g, uint32_t node, const struct bounds *b) {
        int r = set_both(svc, g, node, b, &g->told[node]);

        if (r == 0 && dmem_is_on(svc, node))
                dmem_changed(svc);
        return r;
}

int cgroup_tell_bounds(struct service *svc, struct cgroup *g, uint32_t node, const struct bounds *b) {
        struct bounds without = *b;
        int r = set_both(svc, g, node, &g->own[node], b);

        if (r == 0)
                return 0;
        without.bytes[BOUND_MIN] = 0;
        (void)set_both(svc, g, node, &g->own[node], &without);
        return r;
}

static bool is_limited(const struct service *svc, const struct cgroup *g) {
        for (uint32_t i = 0; i < svc->options.machine->count; i++) {
                if (!bounds_are_none(&g->own[i]) || !bounds_are_none(&g->told[i]))
                        return true;
        }
        return false;
}

static void end(struct service *svc, struct cgroup *g) {
        give_backs_free(LIMITED_CGROUP(g));
        chain_unlimit(svc, LIMITED_CGROUP(g));
        cgroup_free(&svc->state, g);
        chain_sessions(svc);
}

void cgroup_settle(struct service *svc, struct cgroup *g) {
        if (!is_limited(svc, g))
                end(svc, g);
}

void cgroups_end(struct service *svc) {
        while (!list_empty(&svc->state.cgroups))
                end(svc, container_of(svc->state.cgroups.next, struct cgroup, by_state));
}

struct cgroup *cgroup_begin(struct service *svc, const char *path) {
        struct cgroup *g = cgroup_new(&svc->state, path);

        if (!g || chain_limit(svc, LIMITED_CGROUP(g)) < 0) {
                if (g)
                        cgroup_free(&svc->state, g);
                return NULL;
        }
        cgroup_link(&svc->state, g);
        chain_sessions(svc);
        return g;
}

uint32_t cgroup_nesting(const struct service *svc, const struct cgroup *g) {
        uint32_t deepest = 0;

        list_for_each (l, &svc->state.cgroups) {
                uint32_t depth = 0;
                bool concerns = false;

                for (const struct cgroup *at = container_of(l, struct cgroup, by_state); at; at = at->outer, depth++)
                        concerns |= at == g;
                deepest = concerns && depth > deepest ? depth : deepest;
        }
        return deepest;
}

/* ---- from the store ---- */

/* As of a partition: what cannot be promised any more is not. */
static void load_limit(struct service *svc, struct cgroup *g, const struct store_limit *l) {
        const struct node_desc *d = machine_find(svc->options.machine, l->node);
        uint32_t node = d ? (uint32_t)(d - svc->options.machine->nodes) : 0;
        struct bounds b = limit_bounds(l);

        if (!d) {
                log_warning(
                        "control group %s has a limit on node %s, which this machine does not have; the limit has no "
                        "effect",
                        g->path, l->node);
                return;
        }
        if (cgroup_set_bounds(svc, g, node, &b) == 0)
                return;
        log_warning("control group %s: its min on node %s does not fit in there any more, and has no effect; lower the "
                    "mins of that node (svmd-ctl cgroup set)",
                    g->path, l->node);
        b.bytes[BOUND_MIN] = 0;
        (void)cgroup_set_bounds(svc, g, node, &b);
}

static int load(void *userdata, const struct store_cgroup *row) {
        struct service *svc = userdata;
        struct cgroup *g = cgroup_new(&svc->state, row->path);

        if (!g)
                return -ENOMEM;
        if (give_backs_make(svc, LIMITED_CGROUP(g)) < 0 || chain_limit(svc, LIMITED_CGROUP(g)) < 0) {
                end(svc, g);
                return -ENOMEM;
        }
        cgroup_link(&svc->state, g);
        for (uint32_t i = 0; i < row->limits_count; i++)
                load_limit(svc, g, &row->limits[i]);
        cgroup_settle(svc, g);
        return 0;
}

int cgroups_load(struct service *svc, char *why, size_t why_size) {
        snprintf(why, why_size, "no memory for the limits of control groups");
        return store_each_cgroup(svc->store, load, svc, why, why_size);
}
