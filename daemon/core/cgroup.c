#include "core/cgroup.h"

#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "core/node.h"
#include "core/session.h"
#include "core/state.h"

/* Whether `path` is `of` or lies in it. */
static bool is_in(const char *path, const char *of) {
        size_t n = strlen(of);

        if (strcmp(of, "/") == 0)
                return path[0] == '/';
        return strncmp(path, of, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static bool is_strictly_in(const char *path, const char *of) {
        return is_in(path, of) && strcmp(path, of) != 0;
}

struct cgroup *cgroup_find(const struct state *s, const char *path) {
        list_for_each (l, &s->cgroups) {
                struct cgroup *g = container_of(l, struct cgroup, by_state);

                if (strcmp(g->path, path) == 0)
                        return g;
        }
        return NULL;
}

/* The innermost that `lies` says the path is in. */
static struct cgroup *innermost(const struct state *s, const char *path,
                                bool (*lies)(const char *path, const char *of)) {
        struct cgroup *found = NULL;

        list_for_each (l, &s->cgroups) {
                struct cgroup *g = container_of(l, struct cgroup, by_state);

                if (lies(path, g->path) && (!found || strlen(g->path) > strlen(found->path)))
                        found = g;
        }
        return found;
}

struct cgroup *cgroup_around(const struct state *s, const char *path) {
        return innermost(s, path, is_in);
}

/* ---- who is charged where ---- */

static void session_join(struct state *s, struct session *session, struct cgroup *g) {
        session->cgroup = g;
        for (uint32_t i = 0; session->accounts && i < s->machine->count; i++)
                account_set_also(&session->accounts[i], g ? &g->accounts[i] : NULL);
}

static void set_outer(struct state *s, struct cgroup *g, struct cgroup *outer) {
        g->outer = outer;
        for (uint32_t i = 0; i < s->machine->count; i++)
                account_set_outer(&g->accounts[i], outer ? &outer->accounts[i] : NULL);
}

/* After a change of what is known. */
static void sort_all(struct state *s) {
        list_for_each (l, &s->cgroups) {
                struct cgroup *g = container_of(l, struct cgroup, by_state);

                set_outer(s, g, innermost(s, g->path, is_strictly_in));
        }
        list_for_each (l, &s->sessions) {
                struct session *session = container_of(l, struct session, by_state);

                if (session->cgroup_path)
                        session_join(s, session, cgroup_around(s, session->cgroup_path));
        }
}

void session_set_cgroup(struct state *s, struct session *session, char *path) {
        alloc_free(session->cgroup_path);
        session->cgroup_path = path;
        session_join(s, session, path ? cgroup_around(s, path) : NULL);
}

/* ---- two sides ---- */

static uint64_t lower(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static uint64_t higher(uint64_t a, uint64_t b) {
        return a > b ? a : b;
}

struct bounds bounds_of_both(const struct bounds *own, const struct bounds *told) {
        const uint64_t *a = own->bytes, *b = told->bytes;

        return (struct bounds){ { [BOUND_MAX] = lower(a[BOUND_MAX], b[BOUND_MAX]),
                                  [BOUND_HIGH] = lower(a[BOUND_HIGH], b[BOUND_HIGH]),
                                  [BOUND_LOW] = higher(a[BOUND_LOW], b[BOUND_LOW]),
                                  [BOUND_MIN] = higher(a[BOUND_MIN], b[BOUND_MIN]) } };
}

/* ---- coming and going ---- */

struct cgroup *cgroup_new(const struct state *s, const char *path) {
        struct cgroup *g = alloc_zero(sizeof(*g) + s->machine->count * sizeof(g->accounts[0]));

        if (!g)
                return NULL;
        list_init(&g->by_state);
        g->path = alloc_string(path);
        g->own = alloc_array(2ul * s->machine->count + 1, sizeof(*g->own));
        if (!g->path || !g->own) {
                alloc_free(g->path);
                alloc_free(g->own);
                alloc_free(g);
                return NULL;
        }
        g->told = g->own + s->machine->count;
        for (uint32_t i = 0; i < s->machine->count; i++) {
                g->own[i] = g->told[i] = BOUNDS_NONE;
                account_init_aside(&g->accounts[i], NULL, &s->nodes[i].account);
        }
        return g;
}

void cgroup_link(struct state *s, struct cgroup *g) {
        list_push_back(&s->cgroups, &g->by_state);
        sort_all(s);
}

void cgroup_free(struct state *s, struct cgroup *g) {
        if (!list_empty(&g->by_state)) {
                list_remove(&g->by_state);
                set_outer(s, g, NULL);
                sort_all(s);
        }
        for (uint32_t i = 0; i < s->machine->count; i++)
                account_fini(&g->accounts[i]);
        alloc_free(g->path);
        alloc_free(g->own);
        alloc_free(g);
}
