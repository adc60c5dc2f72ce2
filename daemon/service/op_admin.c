#include "service/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/started.h"
#include "base/text.h"
#include "core/by_id.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/space.h"
#include "service/bounds.h"
#include "service/capacity.h"
#include "service/holder.h"
#include "service/lookup.h"
#include "service/store_job.h"

/* Administration that changes things: partitions and their limits, and ending sessions. */

/* ---- jobs of the store ---- */

struct store_job {
        struct job job;
        struct service *svc;
        struct request *request;
        struct store_partition *row; /* to write, or NULL */
        char remove[64];
        int result;
        char why[256];
};

static void store_run(struct job *job) {
        struct store_job *j = container_of(job, struct store_job, job);

        if (j->row)
                j->result = store_put(j->svc->store, j->row, j->why, sizeof(j->why));
        else
                j->result = store_remove(j->svc->store, j->remove, j->why, sizeof(j->why));
}

/* What is on disk is in force, whether or not the session that asked for it is still there. */
static void apply_row(struct service *svc, const struct store_partition *row, int result) {
        struct partition *p = partition_find(&svc->state, row->name);

        if (!p || !p->writing)
                return;
        p->writing = false;
        if (svc->promising == p)
                svc->promising = NULL;
        if (result < 0)
                return;
        p->name->uid = row->uid;
        p->name->gid = row->gid;
        p->name->mode = row->mode;
        p->kept_max = row->kept_max;
        for (uint32_t n = 0; n < svc->options.machine->count; n++) {
                struct bounds b = BOUNDS_NONE;

                for (uint32_t i = 0; i < row->limits_count; i++)
                        if (strcmp(row->limits[i].node, node_desc(svc, n)->name) == 0)
                                b = limit_bounds(&row->limits[i]);
                if (p->comes_down)
                        give_back_begin(svc, LIMITED_PARTITION(p), n, b.bytes[BOUND_MAX], p->comes_down_ms, p->steals);
                /* It fitted when it was asked for, and one promise is made at a time. */
                (void)partition_set_bounds(svc, p, n, &b);
        }
}

void partition_forgotten(struct service *svc, const char *name, int result) {
        struct partition *p = partition_find(&svc->state, name);

        if (!p)
                return;
        p->ending = p->removed = result == 0;
        svc->removed += p->removed;
        partitions_reap(svc);
}

static void store_done(struct job *job) {
        struct store_job *j = container_of(job, struct store_job, job);
        struct request *r = j->request;
        struct service *svc = j->svc;

        if (j->row)
                apply_row(svc, j->row, j->result);
        else
                partition_forgotten(svc, j->remove, j->result);

        partition_row_free(j->row);
        store_job_ended(svc, r, j->result, j->why);
        alloc_free(j);
}

int store_job_begin(struct call *c, struct job *job, void (*run)(struct job *job), void (*done)(struct job *job)) {
        *job = (struct job){ .lane = c->svc->store_lane, .run = run, .done = done };
        list_init(&job->link);
        c->request->jobs++;
        jobs_submit(c->svc->jobs, job);
        return OP_LATER;
}

void store_job_ended(struct service *svc, struct request *r, int result, const char *why) {
        r->jobs--;
        r->store_done = true;
        r->store_result = result;
        snprintf(r->store_why, sizeof(r->store_why), "%s", why);
        request_continue(svc, r);
        requests_wake(svc);
}

int store_write(struct call *c, struct store_partition *row, const char *remove) {
        struct store_job *j = alloc_zero(sizeof(*j));

        if (!j) {
                partition_row_free(row);
                return -ENOMEM;
        }
        j->svc = c->svc;
        j->request = c->request;
        j->row = row;
        if (remove)
                snprintf(j->remove, sizeof(j->remove), "%s", remove);
        return store_job_begin(c, &j->job, store_run, store_done);
}

/* ---- partition create ---- */

static int refuse_partition(struct call *c, int r, const struct partition_args *args) {
        switch (r) {
        case PARTITION_E_NAME: return refuse(c, SVMD_STATUS_TAKEN, "there is a partition named %s already", args->name);
        case PARTITION_E_FULL:
                return refuse(c, SVMD_STATUS_NO_VA,
                              "domain %s has no free run of %" PRIu64
                              " GiB left in that window; delete partitions, make it smaller, or "
                              "use another domain",
                              args->domain, args->size >> 30);
        case PARTITION_E_OVERLAP: return refuse(c, SVMD_STATUS_TAKEN, "its addresses are taken");
        default: return r;
        }
}

static void set_as_asked(struct service *svc, struct partition *p, const Svmd__V1__PartitionCreate *m) {
        for (size_t i = 0; i < m->n_limits; i++) {
                struct bounds b = account_bounds(&p->accounts[m->limits[i]->node]);

                limits_change(m->limits, m->n_limits, m->limits[i]->node, &b);
                (void)partition_set_bounds(svc, p, m->limits[i]->node, &b);
        }
        if (m->set_kept)
                p->kept_max = m->kept_max;
        if (m->container[0]) {
                struct holder h = { .pid = m->container_pid, .started = m->container_started };

                holder_boot(h.boot);
                text_copy(h.container, m->container);
                holder_format(p->holder, &h);
        }
}

/* What managed ranges were admitted with goes on having a place. */
static int leaves_ranges(struct call *c, struct partition *p, Svmd__V1__NodeLimit **limits, size_t count) {
        uint64_t mins[MANAGED_NODES_MAX] = { 0 };

        for (uint32_t i = 0; i < c->svc->managed.nodes_count; i++) {
                struct bounds b = account_bounds(&p->accounts[i]);

                limits_change(limits, count, i, &b);
                mins[i] = b.bytes[BOUND_MIN];
        }
        if (capacity_for_mins(c->svc, p, mins))
                return 0;
        return refuse(c, SVMD_STATUS_LIMIT,
                      "so much cannot be kept free for partition %s: managed ranges of others were admitted that need "
                      "it; ask for less, or end some (svmd-ctl reservation list)",
                      p->name->text);
}

/* What it asks for, over what it has: 0, or refused; OP_LATER while another min is on its way to the store. */
static int check_bounds(struct call *c, struct partition *p, Svmd__V1__NodeLimit **limits, size_t count,
                        bool *ret_promises) {
        int r = limits_fit(c, p->accounts, limits, count, ret_promises);

        if (r == 0 && *ret_promises)
                r = leaves_ranges(c, p, limits, count);
        if (r != 0 || !*ret_promises || !c->svc->promising || c->request->mode == SVMD__V1__MODE__DRY_RUN)
                return r;
        c->request->again = true;
        return OP_LATER;
}

/* While the store writes it, the partition has its name and slice, and nobody can attach to it. */
int make_partition(struct call *c, const struct partition_args *args, bool defaults) {
        struct store_partition *row;
        struct partition *p;
        int r = partition_new(&p, &c->svc->state, args);

        if (r != 0)
                return refuse_partition(c, r, args);
        p->kept_max = c->svc->options.kept_max;
        if (defaults)
                partition_default_limits(c->svc, p);
        if (c->op->op_case == SVMD__V1__OP__OP_PARTITION_CREATE) {
                const Svmd__V1__PartitionCreate *m = c->op->partition_create;
                bool promises;

                r = check_bounds(c, p, m->limits, m->n_limits, &promises);
                if (r != 0) {
                        partition_free(&c->svc->state, p);
                        return r;
                }
                set_as_asked(c->svc, p, m);
        }
        if (c->request->mode == SVMD__V1__MODE__DRY_RUN) {
                c->result->address = p->slice.start;
                c->result->size = p->slice.size;
                partition_free(&c->svc->state, p);
                return 0;
        }
        row = partition_row(c->svc, p);
        if (!row) {
                partition_free(&c->svc->state, p);
                return -ENOMEM;
        }
        partition_link(&c->svc->state, p);
        c->request->made = p;
        r = store_write(c, row, NULL);
        if (r < 0) {
                c->request->made = NULL;
                partition_free(&c->svc->state, p);
        }
        return r;
}

/* The store has answered: the partition comes up, or goes again. Its session may have ended meanwhile. */
void request_settle(struct service *svc, struct request *r) {
        struct partition *p = r->made;
        int up;

        if (r->removing && r->session->ending) {
                leaving_end(svc, r->removing, true);
                r->removing->ending = false;
        }

        if (!p || r->jobs > 0)
                return;
        r->made = NULL;
        if (r->store_result < 0) {
                partition_free(&svc->state, p);
                return;
        }
        p->ready = true;
        up = svc->hooks.partition_up(svc->hooks.userdata, p);
        if (up < 0)
                log_warning("partition %s has no socket of its own: %s; containers cannot be given it", p->name->text,
                            strerror(-up));
        log_info("partition %s: created at 0x%" PRIx64 ", %" PRIu64 " GiB, for uid %u", p->name->text, p->slice.start,
                 p->slice.size >> 30, p->name->uid);
        event_monitor(svc, "partition-new", NULL, p->name->text, "%" PRIu64 " GiB at 0x%" PRIx64, p->slice.size >> 30,
                      p->slice.start);
}

/* One that has ended already would have its partition end at once, and its runtime wonder. */
static int check_container(struct call *c, const Svmd__V1__PartitionCreate *m) {
        uint64_t started;

        if (!m->container[0] && !m->container_pid && !m->container_started)
                return 0;
        if (!name_ok(m->container))
                return refuse(c, SVMD_STATUS_NAME, "a container's id is written as a partition's name is");
        if (m->container_pid == 0 || started_read(m->container_pid, &started) < 0 || started != m->container_started)
                return refuse(c, SVMD_STATUS_NO_SUCH,
                              "container %s has no process %u; svmd has to see the processes of the host", m->container,
                              m->container_pid);
        return 0;
}

int op_partition_create(struct call *c) {
        const Svmd__V1__PartitionCreate *m = c->op->partition_create;
        struct partition_args args = {
                .name = m->name,
                .domain = m->domain[0] ? m->domain : "default",
                .window = m->window,
                .size = m->size ? m->size : c->svc->options.default_partition_size,
                .uid = m->uid,
                .gid = m->gid,
                .mode = m->mode ? m->mode : 0600,
        };
        struct partition *p;
        int r;

        if (c->request->store_done) {
                p = partition_find(&c->svc->state, m->name);
                if (c->request->store_result < 0 || !p)
                        return refuse(c, SVMD_STATUS_STORE, "partition %s was not created: %s", m->name,
                                      c->request->store_why);
                c->result->address = p->slice.start;
                c->result->size = p->slice.size;
                return 0;
        }
        if (!name_ok(m->name) || !name_ok(args.domain))
                return refuse(c, SVMD_STATUS_NAME,
                              "a name is 1 to 63 letters, digits and . _ : - and begins with a letter or digit");
        if (args.size % SVMD_PARTITION_UNIT)
                return refuse(c, SVMD_STATUS_SIZE,
                              "a partition's size is a multiple of 4 GiB, which %" PRIu64 " is not", args.size);
        if (args.window > SVMD__V1__WINDOW__LOW)
                return refuse(c, SVMD_STATUS_INVALID, "the window is PRIMARY or LOW, not %u", args.window);
        if (args.mode > 0777)
                return refuse(c, SVMD_STATUS_INVALID, "mode %o is not one of a file", args.mode);
        r = limits_check(c, m->limits, m->n_limits);
        if (r == 0)
                r = check_container(c, m);
        return r ? r : make_partition(c, &args, false);
}

/* ---- partition set ---- */

static int find_partition(struct call *c, const char *name, struct partition **ret) {
        struct partition *p = partition_find(&c->svc->state, name);

        if (p && p->leaves_ns)
                return refuse(c, SVMD_STATUS_BUSY,
                              "partition %s is being deleted already: its sessions have been asked to go", name);
        if (!p || !p->ready || p->ending)
                return refuse(c, SVMD_STATUS_NO_SUCH, "there is no partition %s", name);
        *ret = p;
        return 0;
}

static void limit_to_row(struct call *c, const struct partition *p, uint32_t n, struct store_partition *row) {
        const Svmd__V1__PartitionSet *m = c->op->partition_set;
        const char *node = node_desc(c->svc, n)->name;
        struct bounds b = account_bounds(&p->accounts[n]);
        uint32_t k = 0;

        limits_change(m->limits, m->n_limits, n, &b);
        while (k < row->limits_count && strcmp(row->limits[k].node, node) != 0)
                k++;
        if (bounds_are_none(&b)) {
                if (k < row->limits_count)
                        row->limits[k] = row->limits[--row->limits_count];
                return;
        }
        if (k == row->limits_count) {
                text_copy(row->limits[k].node, node);
                row->limits_count++;
        }
        limit_from_bounds(&row->limits[k], &b);
}

static void apply_to_row(struct call *c, const struct partition *p, struct store_partition *row) {
        const Svmd__V1__PartitionSet *m = c->op->partition_set;

        if (m->set_owner) {
                row->uid = m->uid;
                row->gid = m->gid;
        }
        if (m->set_mode)
                row->mode = m->mode;
        if (m->set_kept)
                row->kept_max = m->kept_max;
        for (size_t i = 0; i < m->n_limits; i++)
                limit_to_row(c, p, m->limits[i]->node, row);
}

static int set_finish(struct call *c, const struct partition *p) {
        if (c->request->store_result < 0)
                return refuse(c, SVMD_STATUS_STORE, "partition %s was not changed: %s", p->name->text,
                              c->request->store_why);
        event_monitor(c->svc, "partition-set", c->session, p->name->text, "limits or rights changed by uid %u",
                      c->session->who.uid);
        return 0;
}

/* What would have to go, and how. */
static int plan_limits(struct call *c, struct partition *p, const Svmd__V1__PartitionSet *m) {
        int r = 0;

        for (uint32_t n = 0; r == 0 && n < c->svc->options.machine->count; n++) {
                struct bounds b = account_bounds(&p->accounts[n]);

                limits_change(m->limits, m->n_limits, n, &b);
                r = give_back_plan(c, LIMITED_PARTITION(p), n, b.bytes[BOUND_MAX]);
        }
        return r;
}

int op_partition_set(struct call *c) {
        const Svmd__V1__PartitionSet *m = c->op->partition_set;
        struct store_partition *row;
        struct partition *p = NULL;
        bool promises;
        int r = find_partition(c, m->name, &p);

        if (r != 0)
                return r;
        if (c->request->store_done)
                return set_finish(c, p);
        if (m->set_mode && m->mode > 0777)
                return refuse(c, SVMD_STATUS_INVALID, "mode %o is not one of a file", m->mode);
        r = limits_check(c, m->limits, m->n_limits);
        if (r == 0)
                r = check_bounds(c, p, m->limits, m->n_limits, &promises);
        if (r != 0)
                return r;
        if (c->request->mode == SVMD__V1__MODE__DRY_RUN)
                return plan_limits(c, p, m);
        /* A row is written whole, so changes wait for one another. */
        if (p->writing) {
                c->request->again = true;
                return OP_LATER;
        }
        row = limits_ask(m->limits, m->n_limits, m->come_down) && give_backs_make(c->svc, LIMITED_PARTITION(p)) < 0
                      ? NULL
                      : partition_row(c->svc, p);
        if (!row)
                return -ENOMEM;
        apply_to_row(c, p, row);
        r = store_write(c, row, NULL);
        p->writing = r == OP_LATER;
        p->comes_down = m->come_down;
        p->comes_down_ms = limits_patience_ms(m->deadline_ms);
        p->steals = m->steal;
        if (p->writing && promises)
                c->svc->promising = p;
        return r;
}

/* ---- partition delete ---- */

/* Those attached to it, and those that came through its socket and have not attached. */
void partition_kick(struct service *svc, struct partition *p, const char *why) {
        list_for_each_safe (l, &svc->state.sessions) {
                struct session *s = container_of(l, struct session, by_state);

                if (s->partition == p || s->door == p)
                        service_session_kick(svc, s, SVMD_STATUS_GONE, why);
        }
}

/* ---- memory that crossed over to another partition, by a token */

static bool has_tokens(const struct service *svc, const struct partition *p) {
        const struct ids *ids = &svc->state.ids;

        for (uint64_t i = 0; i < ids->size; i++) {
                const struct object *o = ids->slots[i];
                const struct memory *m = o && o->type == OBJECT_MEMORY ? container_of(o, struct memory, object) : NULL;

                if (m && m->partition == p && m->has_token)
                        return true;
        }
        return false;
}

static bool shows_memory_of(const struct vmap *map, const struct partition *p) {
        for (struct mapping *e = vmap_first_from(map, 0); e; e = vmap_next(e))
                if (memory_of(e->backing)->partition == p)
                        return true;
        return false;
}

static bool session_has_memory_of(const struct session *s, const struct partition *p) {
        list_for_each (l, &s->holdings) {
                if (container_of(l, struct holding, by_session)->memory->partition == p)
                        return true;
        }
        list_for_each (l, &s->spaces) {
                if (shows_memory_of(&container_of(l, struct space, by_session)->mappings, p))
                        return true;
        }
        return false;
}

static bool partition_shows_memory_of(const struct partition *other, const struct partition *p) {
        for (struct va_extent *e = va_first_from(&other->va, 0); e; e = va_next(e))
                if (shows_memory_of(&reservation_of(e)->cpu, p))
                        return true;
        return false;
}

/* Held or shown by a session of another partition. Looks at everything, so only where a token was ever given. */
bool partition_memory_is_elsewhere(struct service *svc, const struct partition *p) {
        if (!has_tokens(svc, p))
                return false;
        list_for_each (l, &svc->state.sessions) {
                struct session *s = container_of(l, struct session, by_state);

                if (s->partition != p && session_has_memory_of(s, p))
                        return true;
        }
        for (struct partition *q = partition_after(&svc->state, ""); q; q = partition_after(&svc->state, q->name->text))
                if (q != p && q->domain == p->domain && partition_shows_memory_of(q, p))
                        return true;
        return false;
}

/* It goes when the last of its sessions has, which may wait for a job. */
void partitions_reap(struct service *svc) {
        struct partition *p, *next;

        if (svc->removed == 0)
                return;
        for (p = partition_after(&svc->state, ""); p; p = next) {
                char name[64];

                next = partition_after(&svc->state, p->name->text);
                if (!p->removed || p->sessions_count > 0 || p->memories_count > 0 || p->reservations_count > 0 ||
                    p->retired > 0)
                        continue;
                text_copy(name, p->name->text);
                partition_take_down(svc, p);
                svc->removed--;
                log_info("partition %s: deleted", name);
                event_monitor(svc, "partition-gone", NULL, name, "deleted");
        }
}

static int delete_finish(struct call *c, const struct partition *p) {
        if (c->request->store_result < 0)
                return refuse(c, SVMD_STATUS_STORE, "partition %s was not deleted: %s", c->op->partition_delete->name,
                              c->request->store_why);
        c->result->value = c->request->ended;
        if (!p || !p->removed)
                return 0;
        c->request->again = true;
        return OP_LATER;
}

/* The journal may not name a partition that the store has forgotten, not even of sessions that have ended: so first its
 * sessions end, those that wait for a job too, and what is kept; then a snapshot leaves them out; then the store
 * forgets it. */
static int delete_begin(struct call *c, struct partition *p) {
        int r;

        if (!p->ending) {
                p->ending = true;
                if (c->op->partition_delete->deadline_ms)
                        leaving_begin(c->svc, p, limits_patience_ms(c->op->partition_delete->deadline_ms));
                else
                        partition_kick(c->svc, p, "an administrator deleted the partition");
        }
        if (p->leaves_ns && leaving_waits(c->svc, p)) {
                c->request->removing = p;
                c->request->until_ns = p->leaves_ns;
                c->request->again = true;
                return OP_LATER;
        }
        if (p->leaves_ns) {
                leaving_end(c->svc, p, false);
                partition_kick(c->svc, p, "an administrator deleted the partition, and its time to go is over");
        }
        if (p->sessions_count > 0) {
                c->request->removing = p;
                c->request->again = true;
                return OP_LATER;
        }
        c->request->removing = NULL;
        keepings_end(c->svc, p);
        r = p->journaled ? journal_snapshot(c->svc) : 0;
        if (r != 0) {
                p->ending = false;
                return r == JOURNAL_E_FULL ? -ENOSPC : r;
        }
        r = store_write(c, NULL, p->name->text);
        p->ending = r == OP_LATER;
        return r;
}

int op_partition_delete(struct call *c) {
        const Svmd__V1__PartitionDelete *m = c->op->partition_delete;
        struct partition *p = partition_find(&c->svc->state, m->name);
        int r;

        if (c->request->store_done)
                return delete_finish(c, p);
        if (c->request->removing)
                return delete_begin(c, c->request->removing);
        r = find_partition(c, m->name, &p);
        if (r != 0)
                return r;
        if (c->session->partition == p || c->session->door == p)
                return refuse(c, SVMD_STATUS_INVALID, "the session that asks is attached to partition %s", m->name);
        c->result->value = p->sessions_count;
        if (p->sessions_count > 0 && !m->end_sessions)
                return refuse(c, SVMD_STATUS_BUSY,
                              "partition %s has %" PRIu64 " session%s; end them, or delete with end_sessions "
                              "(svmd-ctl partition delete %s --end-sessions)",
                              m->name, p->sessions_count, p->sessions_count == 1 ? "" : "s", m->name);
        if (p->kept_count > 0 && !m->drop_kept)
                return refuse(c, SVMD_STATUS_BUSY,
                              "partition %s keeps %" PRIu64
                              " object%s for later sessions (svmd-ctl kept list --partition "
                              "%s); remove them, or delete with drop_kept (svmd-ctl partition delete %s --drop-kept)",
                              m->name, p->kept_count, p->kept_count == 1 ? "" : "s", m->name, m->name);
        if (partition_memory_is_elsewhere(c->svc, p))
                return refuse(c, SVMD_STATUS_BUSY,
                              "memory of partition %s was imported by another partition and is still held there; "
                              "end that session first (svmd-ctl session list)",
                              m->name);
        if (c->request->mode == SVMD__V1__MODE__DRY_RUN)
                return leaving_plan(c, p);
        if (p->writing) {
                c->request->again = true;
                return OP_LATER;
        }
        c->request->ended = p->sessions_count;
        return delete_begin(c, p);
}

/* ---- sessions
 * ---------------------------------------------------------------------------------------------------------------------
 */

int op_session_kill(struct call *c) {
        uint64_t id = c->op->session_kill->session;
        struct session *s = session_by_id(&c->svc->state, id);

        if (!s || s->ending)
                return refuse(c, SVMD_STATUS_NO_SUCH,
                              "there is no session %" PRIu64 ", or no longer; see svmd-ctl session list", id);
        if (s == c->session)
                return refuse(c, SVMD_STATUS_INVALID, "session %" PRIu64 " is the one that asks", id);
        if (c->request->mode == SVMD__V1__MODE__DRY_RUN)
                return 0;
        service_session_kick(c->svc, s, SVMD_STATUS_GONE, "an administrator ended the session");
        return 0;
}
