#include "service/internal.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "core/by_id.h"
#include "core/cgroup.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/bounds.h"
#include "service/capacity.h"
#include "service/cgroups.h"
#include "service/chain.h"
#include "service/effects.h"
#include "service/limits.h"
#include "service/lookup.h"
#include "service/store_job.h"

/*
 * Limits of a session, which the journal keeps for as long as the session is there, and of a control group, which the
 * store keeps.
 *
 *      session   checked --> in force, and journaled
 *      group     checked --> known, without limits --> in the store --> in force
 *                                                  \-> not written --> forgotten again
 */

#define ROWS 64u

/* ---- both ---- */

/* What the request makes of somebody's own bounds. */
static struct bounds wanted(const struct call *c, struct limited of, uint32_t node) {
        const Svmd__V1__LimitSet *m = c->op->limit_set;
        struct bounds b = m->clear    ? BOUNDS_NONE
                          : of.cgroup ? of.cgroup->own[node]
                                      : account_bounds(limited_account(of, node));

        limits_change(m->limits, m->n_limits, node, &b);
        return b;
}

/* What would have to go, and how. */
static int plan(struct call *c, struct limited of) {
        int r = 0;

        for (uint32_t n = 0; r == 0 && n < c->svc->options.machine->count; n++)
                r = give_back_plan(c, of, n, wanted(c, of, n).bytes[BOUND_MAX]);
        return r;
}

static int check_shape(struct call *c) {
        const Svmd__V1__LimitSet *m = c->op->limit_set;

        if ((m->session != 0) == (m->cgroup[0] != 0))
                return refuse(c, SVMD_STATUS_INVALID,
                              "limits are of a session or of a control group: name one of them");
        if (m->clear && m->n_limits > 0)
                return refuse(c, SVMD_STATUS_INVALID, "limits are taken away or set, not both");
        return limits_check(c, m->limits, m->n_limits);
}

/* ---- a session ---- */

int session_limits_restore(struct service *svc, struct session *s, uint32_t node, const struct bounds *b) {
        struct account *a = session_account(&svc->state, s, node);

        if (!a || (b->bytes[BOUND_HIGH] != ACCOUNT_NO_LIMIT && give_backs_make(svc, LIMITED_SESSION(s)) < 0))
                return -ENOMEM;
        if (chain_limit(svc, LIMITED_SESSION(s)) < 0)
                return -ENOMEM;
        account_force_bounds(a, b);
        give_back_bounds(svc, LIMITED_SESSION(s), node);
        capacity_node_changed(svc, node);
        return 0;
}

static bool is_user_of(const struct session *asks, const struct session *s) {
        return asks == s || (asks->who.uid == s->who.uid && (!asks->door || asks->door == s->partition));
}

static int find_session(struct call *c, uint64_t id, struct session **ret) {
        struct session *s = session_by_id(&c->svc->state, id);

        if (!s || s->ending || (!c->session->admin && !is_user_of(c->session, s)))
                return refuse(c, SVMD_STATUS_NO_SUCH,
                              "there is no session %" PRIu64 ", or no longer, or it is another user's; see svmd-ctl "
                              "session list",
                              id);
        *ret = s;
        return 0;
}

/* Its user can take from himself alone. */
static int check_user(struct call *c, const struct session *s) {
        const Svmd__V1__LimitSet *m = c->op->limit_set;
        bool lowers = !m->clear;

        for (size_t i = 0; i < m->n_limits && lowers; i++) {
                const struct bounds now = account_bounds(&s->accounts[m->limits[i]->node]);
                unsigned bound = m->limits[i]->bound;

                lowers = (bound == BOUND_MAX || bound == BOUND_HIGH) && m->limits[i]->max <= now.bytes[bound];
        }
        if (c->session->admin || lowers)
                return 0;
        return refuse(c, SVMD_STATUS_DENIED,
                      "the user of a session may lower its max and high; to raise them, or for low and min, ask an "
                      "administrator (svmd-ctl session limit %" PRIu64 ")",
                      s->object.id);
}

/* A min is kept free in what the partition may have: without a limit there nothing is kept. */
static int check_mins(struct call *c, const struct session *s) {
        for (uint32_t n = 0; n < c->svc->options.machine->count; n++) {
                const struct account *a = &s->accounts[n];
                const char *p = s->partition->name->text, *node = node_desc(c->svc, n)->name;

                if (wanted(c, LIMITED_SESSION((struct session *)s), n).bytes[BOUND_MIN] > a->min &&
                    a->within->max == ACCOUNT_NO_LIMIT)
                        return refuse(
                                c, SVMD_STATUS_INVALID,
                                "a session's min is kept free of what its partition may have, and partition %s has "
                                "no limit on %s: give it one (svmd-ctl partition set %s --limit %s=SIZE), or a min "
                                "of its own",
                                p, node, p, node);
        }
        return 0;
}

static void apply(struct call *c, struct session *s, uint32_t node) {
        const Svmd__V1__LimitSet *m = c->op->limit_set;
        struct account *a = &s->accounts[node];
        const struct bounds b = wanted(c, LIMITED_SESSION(s), node), now = account_bounds(a);
        struct effect_session_bounds e;

        if (m->come_down)
                give_back_begin(c->svc, LIMITED_SESSION(s), node, b.bytes[BOUND_MAX],
                                limits_patience_ms(m->deadline_ms), m->steal);
        if (memcmp(&b, &now, sizeof(b)) == 0)
                return;
        /* It fitted a moment ago. */
        (void)account_set_bounds(a, &b);
        e = effect_of_bounds(s, node);
        tx_effect(c->tx, EFFECT_SESSION_BOUNDS, &e, sizeof(e));
        give_back_bounds(c->svc, LIMITED_SESSION(s), node);
        capacity_node_changed(c->svc, node);
}

static int set_session(struct call *c) {
        const Svmd__V1__LimitSet *m = c->op->limit_set;
        uint32_t count = c->svc->options.machine->count;
        struct session *s = NULL;
        bool promises;
        int r = find_session(c, m->session, &s);

        if (r != 0)
                return r;
        if (!s->partition)
                return refuse(c, SVMD_STATUS_NOT_ATTACHED, "session %" PRIu64 " is attached to no partition yet",
                              m->session);
        if (!session_account(&c->svc->state, s, 0))
                return -ENOMEM;
        r = check_user(c, s);
        if (r == 0)
                r = check_mins(c, s);
        if (r == 0)
                r = limits_fit(c, s->accounts, m->limits, m->n_limits, &promises);
        if (r != 0)
                return r;
        if (c->request->mode == SVMD__V1__MODE__DRY_RUN)
                return plan(c, LIMITED_SESSION(s));
        r = tx_reserve(c->tx, count * (sizeof(struct effect_session_bounds) + 16ul));
        if (r == 0 && limits_ask(m->limits, m->n_limits, m->come_down))
                r = give_backs_make(c->svc, LIMITED_SESSION(s));
        if (r == 0)
                r = chain_limit(c->svc, LIMITED_SESSION(s));
        if (r < 0)
                return r;
        for (uint32_t n = 0; n < count; n++)
                apply(c, s, n);
        leases_changed(c->svc);
        event_monitor(c->svc, "session-limit", s, s->partition->name->text, "limits changed by uid %u",
                      c->session->who.uid);
        return 0;
}

/* ---- a control group ---- */

struct cgroup_job {
        struct job job;
        struct service *svc;
        struct request *request;
        struct cgroup *group; /* no other change of it is made until then */
        struct store_limit *limits;
        struct bounds *bounds; /* one a node */
        uint32_t limits_count;
        uint64_t wait_ms;
        bool comes_down, steals;
        int result;
        char why[256];
};

static void job_free(struct cgroup_job *j) {
        alloc_free(j->limits);
        alloc_free(j->bounds);
        alloc_free(j);
}

static void job_run(struct job *job) {
        struct cgroup_job *j = container_of(job, struct cgroup_job, job);
        struct store_cgroup row = { .path = j->group->path, .limits = j->limits, .limits_count = j->limits_count };

        j->result = store_put_cgroup(j->svc->store, &row, j->why, sizeof(j->why));
}

/* What is on disk is in force, whether or not the session that asked for it is still there. */
static void job_done(struct job *job) {
        struct cgroup_job *j = container_of(job, struct cgroup_job, job);
        struct service *svc = j->svc;
        struct cgroup *g = j->group;

        g->writing = false;
        if (svc->promising == g)
                svc->promising = NULL;
        for (uint32_t n = 0; j->result == 0 && n < svc->options.machine->count; n++) {
                if (j->comes_down)
                        give_back_begin(svc, LIMITED_CGROUP(g), n, j->bounds[n].bytes[BOUND_MAX], j->wait_ms,
                                        j->steals);
                /* It fitted when it was asked for, and one promise is made at a time. */
                (void)cgroup_set_bounds(svc, g, n, &j->bounds[n]);
        }
        cgroup_settle(svc, g);
        store_job_ended(svc, j->request, j->result, j->why);
        job_free(j);
}

static struct cgroup_job *job_new(struct call *c, struct cgroup *g) {
        uint32_t count = c->svc->options.machine->count;
        struct cgroup_job *j = alloc_zero(sizeof(*j));

        if (!j)
                return NULL;
        j->limits = alloc_array(count ? count : 1, sizeof(*j->limits));
        j->bounds = alloc_array(count ? count : 1, sizeof(*j->bounds));
        if (!j->limits || !j->bounds) {
                job_free(j);
                return NULL;
        }
        for (uint32_t n = 0; n < count; n++) {
                j->bounds[n] = wanted(c, LIMITED_CGROUP(g), n);
                if (bounds_are_none(&j->bounds[n]))
                        continue;
                text_copy(j->limits[j->limits_count].node, node_desc(c->svc, n)->name);
                limit_from_bounds(&j->limits[j->limits_count++], &j->bounds[n]);
        }
        return j;
}

/* As the kernel writes them. */
static bool path_ok(const char *path) {
        size_t n = strlen(path);

        if (path[0] != '/' || n >= CGROUP_PATH_MAX || strchr(path, '\n'))
                return false;
        for (const char *at = path; n > 1 && *at;) {
                size_t part = strcspn(at + 1, "/");

                if (part == 0 || (part == 1 && at[1] == '.') || (part == 2 && at[1] == '.' && at[2] == '.'))
                        return false;
                at += part + 1;
        }
        return true;
}

static int begin_write(struct call *c, struct cgroup *g, bool promises) {
        const Svmd__V1__LimitSet *m = c->op->limit_set;
        struct cgroup_job *j =
                limits_ask(m->limits, m->n_limits, m->come_down) && give_backs_make(c->svc, LIMITED_CGROUP(g)) < 0
                        ? NULL
                        : job_new(c, g);

        if (!j)
                return -ENOMEM;
        j->svc = c->svc;
        j->request = c->request;
        j->group = g;
        j->comes_down = m->come_down;
        j->steals = m->steal;
        j->wait_ms = limits_patience_ms(m->deadline_ms);
        g->writing = true;
        if (promises)
                c->svc->promising = g;
        return store_job_begin(c, &j->job, job_run, job_done);
}

/* Of one that is known from here on; it goes again where this comes to nothing. */
static int change_cgroup(struct call *c, struct cgroup *g) {
        const Svmd__V1__LimitSet *m = c->op->limit_set;
        bool promises = false;
        int r = limits_fit(c, g->accounts, m->limits, m->n_limits, &promises);

        if (r != 0)
                return r;
        if (c->request->mode == SVMD__V1__MODE__DRY_RUN)
                return plan(c, LIMITED_CGROUP(g));
        if (g->writing || (promises && c->svc->promising)) {
                c->request->again = true;
                return OP_LATER;
        }
        return begin_write(c, g, promises);
}

static int cgroup_finish(struct call *c) {
        const char *path = c->op->limit_set->cgroup;

        if (c->request->store_result < 0)
                return refuse(c, SVMD_STATUS_STORE, "the limits of control group %s were not changed: %s", path,
                              c->request->store_why);
        event_monitor(c->svc, "cgroup-limit", c->session, "", "limits of %s changed by uid %u", path,
                      c->session->who.uid);
        return 0;
}

/* As many as a range can be charged to. */
static int check_nesting(struct call *c, const struct cgroup *g) {
        uint32_t deepest = cgroup_nesting(c->svc, g);

        if (deepest <= CHAIN_CGROUPS)
                return 0;
        return refuse(
                c, SVMD_STATUS_LIMIT,
                "control group %s would be one of %u with limits that lie in one another, and managed pages can be "
                "charged to %u: take the limits of another one away (svmd-ctl cgroup set PATH --clear)",
                g->path, deepest, (unsigned)CHAIN_CGROUPS);
}

static int set_cgroup(struct call *c) {
        const char *path = c->op->limit_set->cgroup;
        struct cgroup *g;
        int r;

        if (!c->session->admin)
                return refuse(c, SVMD_STATUS_DENIED,
                              "limits of control groups are for administrators: connect to admin.sock");
        if (!path_ok(path))
                return refuse(c, SVMD_STATUS_NAME,
                              "a control group is named by its path, /system.slice say, as behind 0:: in "
                              "/proc/PID/cgroup");
        if (c->request->store_done)
                return cgroup_finish(c);
        cgroups_look_all(c->svc);
        g = cgroup_find(&c->svc->state, path);
        if (!g) {
                g = cgroup_begin(c->svc, path);
                if (!g)
                        return -ENOMEM;
        }
        r = check_nesting(c, g);
        if (r == 0)
                r = change_cgroup(c, g);
        if (!g->writing)
                cgroup_settle(c->svc, g);
        return r;
}

int op_limit_set(struct call *c) {
        int r = check_shape(c);

        if (r != 0)
                return r;
        return c->op->limit_set->session ? set_session(c) : set_cgroup(c);
}

/* ---- questions ---- */

static Svmd__V1__Limited *session_row(struct call *c, struct session *s) {
        Svmd__V1__Limited *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__limited__init(row);
        row->session = s->object.id;
        row->pid = s->pid;
        row->uid = s->who.uid;
        row->client = call_string(c, s->client ? s->client : "");
        row->cgroup = call_string(c, s->cgroup_path ? s->cgroup_path : "");
        row->partition = call_string(c, s->partition ? s->partition->name->text : "");
        return use_rows(c, LIMITED_SESSION(s), true, &row->nodes, &row->n_nodes) < 0 ? NULL : row;
}

static Svmd__V1__Limited *cgroup_row(struct call *c, struct cgroup *g) {
        Svmd__V1__Limited *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__limited__init(row);
        row->cgroup = call_string(c, g->path);
        for (struct session *s = NULL; (s = limited_session_after(c->svc, LIMITED_CGROUP(g), s));)
                row->sessions++;
        return use_rows(c, LIMITED_CGROUP(g), true, &row->nodes, &row->n_nodes) < 0 ? NULL : row;
}

static struct cgroup *cgroup_after(const struct state *s, const char *after) {
        struct cgroup *found = NULL;

        list_for_each (l, &s->cgroups) {
                struct cgroup *g = container_of(l, struct cgroup, by_state);

                if (strcmp(g->path, after) > 0 && (!found || strcmp(g->path, found->path) < 0))
                        found = g;
        }
        return found;
}

static int list_cgroups(struct call *c, Svmd__V1__LimitedResult *r) {
        const Svmd__V1__LimitQuery *m = c->op->limit_query;
        const struct state *s = &c->svc->state;
        struct cgroup *g;
        size_t bytes = 0;

        if (!c->session->admin)
                return refuse(c, SVMD_STATUS_DENIED,
                              "limits of control groups are for administrators: connect to admin.sock");
        cgroups_look_all(c->svc);
        g = m->cgroup[0] ? cgroup_find(s, m->cgroup) : cgroup_after(s, m->after);
        if (m->cgroup[0] && !g)
                return refuse(c, SVMD_STATUS_NO_SUCH, "control group %s has no limits; see svmd-ctl cgroup list",
                              m->cgroup);
        while (g && r->n_rows < ROWS && bytes < SVMD_PACKET_MAX / 4) {
                r->rows[r->n_rows] = cgroup_row(c, g);
                if (!r->rows[r->n_rows])
                        return -ENOMEM;
                bytes += svmd__v1__limited__get_packed_size(r->rows[r->n_rows++]);
                g = m->cgroup[0] ? NULL : cgroup_after(s, g->path);
        }
        c->result->more = g != NULL;
        return 0;
}

int op_limit_query(struct call *c) {
        const Svmd__V1__LimitQuery *m = c->op->limit_query;
        Svmd__V1__LimitedResult *result = call_take(c, sizeof(*result));
        struct session *s = NULL;
        int r;

        if (!result)
                return -ENOMEM;
        svmd__v1__limited_result__init(result);
        result->rows = call_take(c, ROWS * sizeof(*result->rows));
        if (!result->rows)
                return -ENOMEM;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_LIMITED;
        c->result->limited = result;
        if (!m->session)
                return list_cgroups(c, result);
        r = find_session(c, m->session, &s);
        if (r != 0)
                return r;
        result->rows[0] = session_row(c, s);
        if (!result->rows[0])
                return -ENOMEM;
        result->n_rows = 1;
        return 0;
}
