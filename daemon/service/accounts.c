#include "service/accounts.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "account/called.h"
#include "account/look.h"
#include "account/sum.h"
#include "account/who.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "core/by_id.h"
#include "core/keeping.h"
#include "core/lease.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/holder.h"
#include "service/internal.h"

#define MS_NS      1000000ull
#define SECOND_NS  1000000000ull
#define LOOKED_NS  SECOND_NS        /* the same for who asks */
#define REFRESH_NS (60 * SECOND_NS) /* so old may be what is known of a process, at a beat */

enum {
        LOOKS_MAX = 128,   /* processes in one job */
        REFRESH_MAX = 256, /* processes that are looked at again, a beat */
        SLICE = 4096,      /* nodes of sessions in one turn of the loop */
        ENDED_MAX = 65536, /* parts of sessions that ended since the last batch */
        QUIET_S = 60,      /* a batch in which there is nothing is written so seldom */
        KEYS_MAX = 256,    /* of a step of the history */
};

/* What a batch is made of: a part holds a count of its who. */
struct batch {
        struct job job;
        struct service *svc;
        uint64_t boot_ms, watched_ms;
        int64_t now;
        struct sum_part *parts;
        struct who **whos;
        uint32_t count, room;
        int result;
        char why[256];
};

/* ---- what is held now ---- */

static uint64_t private_of_session(const struct service *svc, const struct session *s, uint32_t node) {
        uint64_t bytes = 0;

        list_for_each (l, &svc->private_memory.ranges) {
                const struct private_range *p = container_of(l, struct private_range, link);

                if (p->reservation->owner == s)
                        bytes += private_range_seen(p, node);
        }
        return bytes;
}

uint64_t accounts_managed(struct service *svc, const struct session *s, uint32_t node) {
        const struct managed_client *k = s->managed;
        uint64_t bytes = 0;

        if (node_backend(svc, node)->private_ops)
                return private_of_session(svc, s, node);
        if (!k || !svc->mover || node >= svc->managed.nodes_count)
                return 0;
        list_for_each (l, &k->members) {
                const struct managed_reservation *m = container_of(l, struct managed_member, by_client)->managed;

                if (m->reservation->owner == s && m->range)
                        bytes += mover_range_used(svc->mover, m->range, node);
        }
        return bytes;
}

uint64_t accounts_leased(const struct session *s, uint32_t node) {
        uint64_t bytes = 0;

        list_for_each (l, &s->leases) {
                const struct lease *lease = container_of(l, struct lease, by_session);

                if (lease->state == LEASE_GRANTED)
                        bytes += lease_left(lease, node);
        }
        return bytes;
}

uint64_t accounts_leased_idle(const struct partition *p, uint32_t node) {
        uint64_t bytes = 0;

        list_for_each (l, &p->kept) {
                const struct lease *lease = container_of(l, struct keeping, by_partition)->of.lease;

                if (lease && !lease->session && lease->state == LEASE_GRANTED)
                        bytes += lease_left(lease, node);
        }
        return bytes;
}

void accounts_partition(struct service *svc, const struct partition *p, uint32_t node, uint64_t *ret_charged,
                        uint64_t *ret_managed) {
        *ret_charged = p->accounts[node].used;
        *ret_managed = limited_managed(svc, LIMITED_PARTITION((struct partition *)p), node);
}

/* ---- tracks ---- */

static void look_next(struct service *svc);
static void want_looks(struct service *svc, uint64_t age_ns, unsigned most);

static uint32_t nodes_count(const struct service *svc) {
        return svc->options.machine->count;
}

static struct track *track_new(struct service *svc, struct session *s) {
        struct track *t = alloc_zero(sizeof(*t) + nodes_count(svc) * sizeof(t->nodes[0]));

        if (!t)
                return NULL;
        t->session = s;
        list_init(&t->unlooked);
        t->began_ns = t->noted_ns = keeping_now(svc);
        return t;
}

static void track_free(struct track *t) {
        if (!t)
                return;
        list_remove(&t->unlooked);
        who_drop(t->who);
        alloc_free(t);
}

/* It has held what it held since it was last noted. */
static void pass(struct track_node *n, uint64_t ns) {
        unsigned __int128 more = (unsigned __int128)n->held * ns / MS_NS;

        if (__builtin_add_overflow(n->byte_ms, more > UINT64_MAX ? UINT64_MAX : (uint64_t)more, &n->byte_ms))
                n->byte_ms = UINT64_MAX;
}

static void note_node(struct track_node *n, uint64_t ns, uint64_t held) {
        pass(n, ns);
        n->held = held;
        if (held > n->peak)
                n->peak = held;
}

static uint64_t since_noted(struct track *t, uint64_t now) {
        uint64_t ns = now > t->noted_ns ? now - t->noted_ns : 0;

        t->noted_ns = now;
        return ns;
}

/* `beat`: managed granules are counted, too. */
static void note_session(struct service *svc, struct session *s, bool beat) {
        struct track *t = s->usage;
        uint64_t ns = since_noted(t, keeping_now(svc));

        for (uint32_t i = 0; i < nodes_count(svc); i++) {
                struct track_node *n = &t->nodes[i];

                if (beat)
                        n->managed = accounts_managed(svc, s, i);
                note_node(n, ns, n->managed + session_used(s, i));
        }
}

void accounts_note(struct service *svc, struct session *s) {
        if (s->usage && s->accounts)
                note_session(svc, s, false);
}

void accounts_session_begin(struct service *svc, struct session *s) {
        struct track *t;

        if (s->usage || !s->partition)
                return;
        t = s->usage = track_new(svc, s);
        if (!t)
                return;
        note_session(svc, s, true); /* after a restart it has something */
        list_push_back(&svc->accounts.unlooked, &t->unlooked);
        look_next(svc);
}

void accounts_partition_end(struct service *svc, struct partition *p) {
        track_free(p->usage);
        p->usage = NULL;
}

/* ---- batches ---- */

static void batch_free(struct batch *b) {
        if (!b)
                return;
        for (uint32_t i = 0; i < b->count; i++)
                who_drop(b->whos[i]);
        alloc_free(b->parts);
        alloc_free(b->whos);
        alloc_free(b);
}

static bool batch_room(struct batch *b, uint32_t more) {
        uint32_t room = b->room ? b->room : 64;
        struct sum_part *parts;
        struct who **whos;

        while (room < b->count + more)
                room *= 2;
        if (room == b->room)
                return true;
        parts = alloc_grow(b->parts, b->room * sizeof(*parts), room * sizeof(*parts));
        if (parts)
                b->parts = parts;
        whos = alloc_grow(b->whos, b->room * sizeof(struct who *), room * sizeof(struct who *));
        if (whos)
                b->whos = whos;
        if (!parts || !whos)
                return false; /* one of the two may have more room than `room` says, which is no harm */
        b->room = room;
        return true;
}

/* What was noted leaves the track; less than a page for a millisecond stays in it. */
static void batch_take(struct service *svc, struct batch *b, struct who *who, uint32_t node, struct track_node *n,
                       bool ended) {
        struct sum_part part = { .who = &who->sum,
                                 .node = node_desc(svc, node)->name,
                                 .page_ms = n->byte_ms / HISTORY_PAGE,
                                 .held = ended ? 0 : n->held,
                                 .peak = n->peak };

        if (part.page_ms || part.held || part.peak) {
                b->whos[b->count] = who_use(who);
                b->parts[b->count++] = part;
        }
        n->byte_ms %= HISTORY_PAGE;
        n->peak = n->held;
}

static struct who *who_of(struct session *s) {
        struct track *t = s->usage;

        if (!t->who)
                t->who = who_new(s->partition->name->text, s->who.uid, s->pid, s->client ? s->client : "", NULL);
        return t->who;
}

/* Without memory for it, it stays in the track, or is lost with it. */
static void batch_take_session(struct service *svc, struct batch *b, struct session *s, bool ended) {
        struct track *t = s->usage;
        struct who *who = who_of(s);

        if (!who || !batch_room(b, nodes_count(svc)))
                return;
        for (uint32_t i = 0; i < nodes_count(svc); i++)
                batch_take(svc, b, who, i, &t->nodes[i], ended);
}

void accounts_session_end(struct service *svc, struct session *s) {
        struct accounts *a = &svc->accounts;

        if (!s->usage)
                return;
        if (a->state_dir && !svc->replaying) {
                note_session(svc, s, true);
                if (!a->ended)
                        a->ended = alloc_zero(sizeof(*a->ended));
                if (a->ended && a->ended->count < ENDED_MAX)
                        batch_take_session(svc, a->ended, s, true);
        }
        track_free(s->usage);
        s->usage = NULL;
}

/* ---- partitions: what no session holds ---- */

/* The partition's, whose sum over its sessions belongs to the walk that is under way. NULL: out of memory. */
static struct track *partition_track(struct service *svc, struct partition *p) {
        struct track *t = p->usage;

        if (!t)
                t = p->usage = track_new(svc, NULL);
        if (t && !t->who)
                t->who = who_none(p->name->text);
        if (!t || !t->who)
                return NULL;
        if (t->walk != svc->accounts.walk)
                for (uint32_t i = 0; i < nodes_count(svc); i++)
                        t->nodes[i].managed = 0;
        t->walk = svc->accounts.walk;
        return t;
}

/* A session that was just noted. */
static void count_session(struct service *svc, const struct session *s) {
        struct track *t = partition_track(svc, s->partition);
        const struct track *own = s->usage;

        for (uint32_t i = 0; t && i < nodes_count(svc); i++)
                t->nodes[i].managed += own->nodes[i].held;
}

/* Its sessions were counted. -ENOMEM. */
static int note_partition(struct service *svc, struct partition *p) {
        struct track *t = partition_track(svc, p);
        uint64_t ns;

        if (!t)
                return -ENOMEM;
        ns = since_noted(t, keeping_now(svc));
        for (uint32_t i = 0; i < nodes_count(svc); i++) {
                uint64_t charged, managed, sessions = t->nodes[i].managed;

                accounts_partition(svc, p, i, &charged, &managed);
                note_node(&t->nodes[i], ns, charged + managed > sessions ? charged + managed - sessions : 0);
        }
        return 0;
}

static void batch_take_partition(struct service *svc, struct batch *b, struct partition *p) {
        struct track *t;

        if (note_partition(svc, p) < 0 || !batch_room(b, nodes_count(svc)))
                return;
        t = p->usage;
        for (uint32_t i = 0; i < nodes_count(svc); i++)
                batch_take(svc, b, t->who, i, &t->nodes[i], false);
}

/* ---- the worker ---- */

static void say(struct accounts *a, int r, const char *why) {
        if (r > 0)
                log_warning("%s", why);
        if (r < 0 && !a->failing)
                log_warning("the history of use cannot be written: %s; what is used meanwhile is lost to it", why);
        a->failing = r < 0;
}

int accounts_history(struct service *svc, char *why, size_t why_size) {
        const struct history_options o = { .size = svc->options.usage_size,
                                           .keep_days = svc->options.usage_days,
                                           .keys = KEYS_MAX };
        struct accounts *a = &svc->accounts;
        int r;

        if (a->history)
                return 0;
        r = history_open(&a->history, a->state_dir, &o, why, why_size);
        if (r > 0)
                say(a, r, why);
        return r < 0 ? r : 0;
}

static void batch_run(struct job *job) {
        struct batch *b = container_of(job, struct batch, job);
        struct accounts *a = &b->svc->accounts;
        struct history_record *records = NULL;
        size_t count = 0;

        b->result = accounts_history(b->svc, b->why, sizeof(b->why));
        if (b->result == 0)
                b->result = sum_up(b->parts, b->count, &records, &count);
        if (b->result == 0)
                b->result = history_add(a->history, b->now, b->boot_ms, b->watched_ms, records, count, b->why,
                                        sizeof(b->why));
        say(a, b->result, b->why);
        alloc_free(records);
}

static void batch_done(struct job *job) {
        struct batch *b = container_of(job, struct batch, job);

        b->svc->accounts.batch = NULL;
        batch_free(b);
}

static void submit(struct accounts *a, struct job *job, void (*run)(struct job *job), void (*done)(struct job *job)) {
        *job = (struct job){ .lane = 0, .run = run, .done = done };
        list_init(&job->link);
        jobs_submit(a->jobs, job);
}

/* ---- beats ---- */

static void batch_begin(struct service *svc) {
        struct accounts *a = &svc->accounts;

        a->batch = a->ended ? a->ended : alloc_zero(sizeof(*a->batch));
        a->ended = NULL;
        if (!a->batch)
                return;
        a->batch->svc = svc;
        a->walking = true;
        a->walk++;
        walk_begin(svc, &a->sessions);
        a->after[0] = 0;
}

static void batch_finish(struct service *svc) {
        struct accounts *a = &svc->accounts;
        struct batch *b = a->batch;
        uint64_t now = keeping_now(svc);

        a->walking = false;
        if (b->count == 0 && now - a->batched_ns < QUIET_S * SECOND_NS && !svc->closing) {
                a->batch = NULL;
                batch_free(b);
                return;
        }
        b->now = (int64_t)(clock_ns(CLOCK_REALTIME) / SECOND_NS);
        b->boot_ms = now / MS_NS;
        b->watched_ms = (now - a->batched_ns) / MS_NS;
        a->batched_ns = now;
        submit(a, &b->job, batch_run, batch_done);
}

/* Some of the sessions, then some of the partitions, of which there may be thousands. True: that was all. */
static bool batch_slice(struct service *svc) {
        struct accounts *a = &svc->accounts;
        uint64_t each = nodes_count(svc) + 1, left = SLICE;
        struct session *s = NULL;
        struct partition *p;

        for (; left >= each && (s = walk_next(svc, &a->sessions)); left -= each) {
                if (!s->usage || !s->partition)
                        continue;
                note_session(svc, s, true);
                count_session(svc, s);
                batch_take_session(svc, a->batch, s, false);
        }
        while (!s && left >= each) {
                p = partition_after(&svc->state, a->after);
                if (!p)
                        return true;
                text_copy(a->after, p->name->text);
                if (p->ready)
                        batch_take_partition(svc, a->batch, p);
                left -= each;
        }
        return false;
}

static void batch_go_on(struct service *svc) {
        struct accounts *a = &svc->accounts;
        uint64_t began = clock_ns(CLOCK_THREAD_CPUTIME_ID), took;

        if (batch_slice(svc))
                batch_finish(svc);
        else
                svc->hooks.wake(svc->hooks.userdata);
        took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - began;
        if (took > a->slice_ns_max)
                a->slice_ns_max = took;
}

static void wake_for_beat(struct service *svc, uint64_t now) {
        if (svc->accounts.next_ns)
                service_wake_at(svc, svc->accounts.next_ns, now);
}

void accounts_collect(struct service *svc) {
        struct accounts *a = &svc->accounts;
        uint64_t now;

        jobs_collect(a->jobs);
        if (a->walking)
                batch_go_on(svc);
        if (!a->next_ns)
                return;
        now = keeping_now(svc);
        if (now >= a->next_ns) {
                a->next_ns = now + (uint64_t)svc->options.usage_period_ms * MS_NS;
                want_looks(svc, REFRESH_NS, REFRESH_MAX);
                if (!a->batch)
                        batch_begin(svc);
                if (a->walking)
                        batch_go_on(svc);
        }
        wake_for_beat(svc, now);
}

/* ---- looking ---- */

struct look_job {
        struct job job;
        struct service *svc;
        unsigned count;
        struct {
                uint64_t session, by;
                uint32_t pid;
                char container[64]; /* that its partition was made for, and whose door it came through; "": none */
                struct looked seen;
        } rows[];
};

static void look_run(struct job *job) {
        struct look_job *j = container_of(job, struct look_job, job);
        const struct service_options *o = &j->svc->options;

        for (unsigned i = 0; i < j->count; i++) {
                struct where *w = &j->rows[i].seen.where;

                look_at_process(o->proc_root, j->rows[i].pid, j->rows[i].by, &j->rows[i].seen);
                if (o->runtime_dir && w->cgroup[0])
                        called_look(o->runtime_dir, w, j->rows[i].container);
        }
        if (o->runtime_dir)
                called_sweep(o->runtime_dir, o->proc_root);
}

/* What was known of a process that is gone stays. */
static void look_take(struct service *svc, uint64_t session, const struct looked *seen) {
        struct session *s = session_by_id(&svc->state, session);
        struct track *t = s ? s->usage : NULL;
        struct who *who;

        if (!t)
                return;
        t->looked_ns = keeping_now(svc);
        if (!seen->process[0] || (t->who && looked_same(&t->who->seen, seen)))
                return;
        who = who_new(s->partition->name->text, s->who.uid, s->pid, s->client ? s->client : "", seen);
        if (!who)
                return;
        /* What it held as one that nobody knew is its own. */
        who_drop(t->who);
        t->who = who;
}

static void look_done(struct job *job) {
        struct look_job *j = container_of(job, struct look_job, job);
        struct service *svc = j->svc;

        for (unsigned i = 0; i < j->count; i++)
                look_take(svc, j->rows[i].session, &j->rows[i].seen);
        alloc_free(j);
        svc->accounts.looking = false;
        look_next(svc);
}

static void look_next(struct service *svc) {
        struct accounts *a = &svc->accounts;
        struct look_job *j;
        unsigned count = 0;

        if (a->looking || !svc->options.proc_root)
                return;
        list_for_each (l, &a->unlooked)
                if (count++ == LOOKS_MAX)
                        break;
        j = count ? alloc_zero(sizeof(*j) + count * sizeof(j->rows[0])) : NULL;
        if (!j)
                return; /* or without memory, at the next beat */
        j->svc = svc;
        while (!list_empty(&a->unlooked) && j->count < count) {
                struct track *t = container_of(a->unlooked.next, struct track, unlooked);

                list_remove(&t->unlooked);
                if (t->session->door && t->session->door == t->session->partition)
                        text_copy(j->rows[j->count].container, holder_container(t->session->door->holder));
                j->rows[j->count].session = t->session->object.id;
                j->rows[j->count].pid = t->session->pid;
                j->rows[j->count++].by = look_ticks(t->began_ns) + 1;
        }
        a->looking = true;
        submit(a, &j->job, look_run, look_done);
}

/* Of those that nobody has looked at for that time, at most so many. */
static void want_looks(struct service *svc, uint64_t age_ns, unsigned most) {
        struct accounts *a = &svc->accounts;
        uint64_t now = keeping_now(svc);

        list_for_each (l, &svc->state.sessions) {
                struct track *t = container_of(l, struct session, by_state)->usage;

                if (!t || !list_empty(&t->unlooked) || (t->looked_ns && now - t->looked_ns < age_ns))
                        continue;
                if (most-- == 0)
                        break;
                list_push_back(&a->unlooked, &t->unlooked);
        }
        look_next(svc);
}

bool accounts_look(struct service *svc, struct request *r) {
        if (!r->looked)
                want_looks(svc, LOOKED_NS, UINT_MAX);
        r->looked = true;
        r->again = svc->accounts.looking;
        return r->again;
}

/* ---- coming and going ---- */

int accounts_init(struct service *svc) {
        struct accounts *a = &svc->accounts;
        int r = svc->options.runtime_dir ? called_make(svc->options.runtime_dir) : 0;

        list_init(&a->unlooked);
        if (r < 0)
                log_warning("%s/" CALLED_FOLDER " cannot be made: %s; containers have no names",
                            svc->options.runtime_dir, strerror(-r));
        if (svc->options.state_dir && svc->options.usage_period_ms) {
                a->state_dir = alloc_string(svc->options.state_dir);
                if (!a->state_dir)
                        return -ENOMEM;
        }
        return jobs_new(&a->jobs, 1, 1, svc->hooks.wake, svc->hooks.userdata);
}

struct open_job {
        struct job job;
        struct service *svc;
};

static void open_run(struct job *job) {
        struct service *svc = container_of(job, struct open_job, job)->svc;
        char why[256];
        int r = accounts_history(svc, why, sizeof(why));

        say(&svc->accounts, r, why);
}

static void open_done(struct job *job) {
        alloc_free(container_of(job, struct open_job, job));
}

/* So that what is wrong with it is said at the start, and its descriptors are among the first. Else at a beat. */
static void open_soon(struct service *svc) {
        struct open_job *j = alloc_zero(sizeof(*j));

        if (!j)
                return;
        j->svc = svc;
        submit(&svc->accounts, &j->job, open_run, open_done);
}

static void session_starts(struct service *svc, struct session *s) {
        accounts_session_begin(svc, s);
        if (s->usage && svc->accounts.state_dir)
                count_session(svc, s);
}

void accounts_start(struct service *svc) {
        struct accounts *a = &svc->accounts;
        uint64_t now = keeping_now(svc);

        list_for_each (l, &svc->state.sessions)
                session_starts(svc, container_of(l, struct session, by_state));
        for (struct partition *p = a->state_dir ? partition_after(&svc->state, "") : NULL; p;
             p = partition_after(&svc->state, p->name->text))
                (void)note_partition(svc, p);
        a->batched_ns = now;
        if (a->state_dir) {
                open_soon(svc);
                a->next_ns = now + (uint64_t)svc->options.usage_period_ms * MS_NS;
        }
        wake_for_beat(svc, now);
}

void accounts_wait(struct service *svc) {
        if (svc->accounts.jobs)
                jobs_wait_lane(svc->accounts.jobs, 0);
}

bool accounts_idle(struct service *svc) {
        return !svc->accounts.jobs || (jobs_idle(svc->accounts.jobs) && !svc->accounts.walking);
}

void accounts_stop(struct service *svc) {
        struct accounts *a = &svc->accounts;

        while (!accounts_idle(svc)) {
                accounts_wait(svc);
                accounts_collect(svc);
        }
        if (!a->next_ns)
                return;
        a->next_ns = 0;
        batch_begin(svc);
        while (a->walking)
                batch_go_on(svc);
        accounts_wait(svc);
        jobs_collect(a->jobs);
}

void accounts_fini(struct service *svc) {
        struct accounts *a = &svc->accounts;

        jobs_free(a->jobs);
        a->jobs = NULL;
        batch_free(a->ended);
        history_close(a->history);
        alloc_free(a->state_dir);
        *a = (struct accounts){ .next_ns = 0 };
}
