#include <errno.h>

#include "base/alloc.h"
#include "engine/managed-priv.h"

/*
 * Steps wait in one queue, and those that enter an address space in a queue of their session, of which only
 * config.session_steps are out at a time: a process that holds its mmap_lock keeps that many workers, and no more
 * (those that a worker takes along behind another are in the same hands). The common queue and the sessions' queues
 * take turns.
 *
 * Each of these queues is two: what somebody waits for goes first, but for one turn in a few, so that whoever faults
 * all the time keeps nobody's moves waiting for ever.
 *
 * A step lies in what it belongs to, so that handing one out cannot fail, and each of those has one step at a time.
 */
enum { TURNS = 8 };

void step_init(struct step *s, enum step_owner owner) {
        *s = (struct step){ .owner = owner };
        list_init(&s->link);
}

struct managed_step *step_new(struct step *s, struct managed_range *r, uint32_t granule, enum managed_step_type type) {
        const struct granule *g = r ? granule_of(r, granule) : NULL;

        s->pub = (struct managed_step){
                .type = type,
                .range = r ? r->userdata : NULL,
                .granule = granule,
                .count = 1,
                .bytes = r ? r->bytes : 0,
                .node = MANAGED_NOWHERE,
                .from = MANAGED_NOWHERE,
                .host = g && g->host_slot ? g->host : MANAGED_NOWHERE,
        };
        return &s->pub;
}

static void session_update(struct managed *e, struct managed_session *s) {
        list_remove(&s->ready);
        for (unsigned u = 0; u < URGENCIES && s->out < e->c.session_steps; u++)
                if (!list_empty(&s->steps[u])) {
                        list_push_back(&e->ready[u], &s->ready);
                        return;
                }
}

static bool is_urgent(const struct step *s) {
        switch (s->owner) {
        case OWNER_WORK: return work_is_urgent(container_of(s, struct work, step));
        case OWNER_DEMAND:
        case OWNER_SHARE: return true;
        case OWNER_RANGE:
        case OWNER_NODE: break;
        }
        return false;
}

static void enqueue(struct managed *e, struct step *s, uint8_t urgency) {
        struct managed_session *session = s->share ? s->share->session : NULL;

        s->urgency = urgency;
        list_push_back(session ? &session->steps[urgency] : &e->steps[urgency], &s->link);
        if (session && (list_empty(&session->ready) || urgency == URGENT))
                session_update(e, session);
}

void step_emit(struct managed *e, struct step *s, struct share *share) {
        s->out = true;
        e->steps_out++;
        s->share = share;
        if (share) {
                share->steps++;
                s->pub.session = share->session->userdata;
        }
        enqueue(e, s, is_urgent(s) ? URGENT : PATIENT);
}

void step_hurry(struct managed *e, struct step *s) {
        if (list_empty(&s->link) || s->urgency == URGENT)
                return;
        list_remove(&s->link);
        enqueue(e, s, URGENT);
}

static struct step *take_from_session(struct managed *e, unsigned urgency) {
        struct managed_session *s = container_of(e->ready[urgency].next, struct managed_session, ready);
        struct step *step = container_of(s->steps[urgency].next, struct step, link);

        list_remove(&step->link);
        s->out++;
        session_update(e, s);
        return step;
}

static const struct managed_step *take(struct managed *e, unsigned urgency) {
        struct list *steps = &e->steps[urgency];
        struct step *s;

        e->flip = !e->flip;
        if (!list_empty(&e->ready[urgency]) && (e->flip || list_empty(steps)))
                return &take_from_session(e, urgency)->pub;
        if (list_empty(steps))
                return NULL;
        s = container_of(steps->next, struct step, link);
        list_remove(&s->link);
        return &s->pub;
}

/* Zeroes that somebody waits for go alone: he would wait for the others too. */
static bool goes_with(const struct step *a, const struct managed_step *b) {
        switch ((int)b->type) {
        case MANAGED_WRITE_PROTECT:
        case MANAGED_PUNCH_HOLE: return true;
        case MANAGED_ZERO: return a->urgency == PATIENT;
        case MANAGED_COPY_OUT: return b->node == a->pub.node && b->slot == a->pub.slot + a->pub.count;
        default: return false;
        }
}

static bool lies_behind(const struct step *before, const struct managed_step *b) {
        const struct managed_step *a = &before->pub;

        return a->type == b->type && a->range == b->range && a->session == b->session && a->wake == b->wake &&
               a->protect == b->protect && b->granule == a->granule + a->count && goes_with(before, b);
}

const struct managed_step *managed_take_behind(struct managed *e, const struct managed_step *step) {
        struct step *before = container_of(step, struct step, pub), *s;
        struct managed_session *session = before->share ? before->share->session : NULL;
        struct list *queue = session ? &session->steps[before->urgency] : &e->steps[before->urgency];

        if (list_empty(queue))
                return NULL;
        s = container_of(queue->next, struct step, link);
        if (!lies_behind(before, &s->pub))
                return NULL;
        list_remove(&s->link);
        if (session) {
                session->out++;
                session_update(e, session);
        }
        return &s->pub;
}

const struct managed_step *managed_take_urgent(struct managed *e) {
        return take(e, URGENT);
}

const struct managed_step *managed_take(struct managed *e) {
        unsigned first = e->turns++ % TURNS ? URGENT : PATIENT;
        const struct managed_step *s = take(e, first);

        return s ? s : take(e, first == URGENT ? PATIENT : URGENT);
}

bool managed_ready(const struct managed *e) {
        return managed_urgent(e) || !list_empty(&e->ready[PATIENT]) || !list_empty(&e->steps[PATIENT]);
}

bool managed_urgent(const struct managed *e) {
        return !list_empty(&e->ready[URGENT]) || !list_empty(&e->steps[URGENT]);
}

/* Whether the step is to be done again rather than to be reported. */
static bool again(const struct step *s, int result) {
        switch (s->pub.type) {
        case MANAGED_COPY_OUT:
        case MANAGED_COPY_NODE:
        case MANAGED_ZERO_SLOT:
        case MANAGED_NODE_MAP: return result == -EAGAIN;
        case MANAGED_COPY_IN:
        case MANAGED_ZERO: return result < 0 && result != -EEXIST && result != -ENOMEM && result != -ESRCH;
        case MANAGED_CONTINUE: return result < 0 && result != -EEXIST && result != -EFAULT && result != -ESRCH;
        case MANAGED_WRITE_PROTECT:
        case MANAGED_UNPROTECT:
        case MANAGED_WAKE:
        case MANAGED_POISON: return result < 0 && result != -ESRCH;
        case MANAGED_WRITE_BACK:
        case MANAGED_ALLOCATE: return result < 0 && result != -ENOMEM;
        case MANAGED_MERGE:
        case MANAGED_PUNCH_HOLE:
        case MANAGED_SLOT_FREE:
        case MANAGED_INVALIDATE: return result < 0;
        case _MANAGED_STEP_N: break;
        }
        return false;
}

static void report(struct managed *e, struct step *s, int result) {
        switch (s->owner) {
        case OWNER_WORK: work_step_done(e, container_of(s, struct work, step), result); break;
        case OWNER_DEMAND: map_step_done(e, container_of(s, struct demand, step), result); break;
        case OWNER_SHARE: share_step_done(container_of(s, struct share, step), result); break;
        case OWNER_RANGE: range_step_done(e, container_of(s, struct managed_range, step), result); break;
        case OWNER_NODE: node_trimmed(e, container_of(s, struct node, trim)); break;
        }
}

static void step_end(struct managed *e, struct step *s, int result) {
        struct share *share = s->share;

        s->out = false;
        e->steps_out--;
        if (share && result == -ESRCH)
                share->gone = true;
        report(e, s, result);
        if (share) {
                share->steps--;
                share_put(share);
        }
}

/* The session's step is in a worker's hands no more. */
static int returned(struct managed_session *s, int result) {
        s->refs++;
        s->out--;
        return s->ended ? -ESRCH : result;
}

void managed_complete(struct managed *e, const struct managed_step *step, int result, uint64_t now_ns) {
        struct step *s = container_of(step, struct step, pub);
        struct share *share = s->share;
        struct managed_session *session = share ? share->session : NULL;

        e->now = now_ns;
        if (share)
                result = returned(session, result);
        if (again(s, result)) {
                e->steps_out--;
                if (share)
                        share->steps--;
                step_emit(e, s, share);
                step_defuse(s);
        } else
                step_end(e, s, result);
        if (session)
                session_update(e, session);
        managed_run(e);
        if (session) {
                session->refs--;
                session_put(session);
        }
}

/* Steps in the session's queue, which nobody has taken, end as if the process had: those of one share, or all. */
void session_cancel(struct managed *e, struct managed_session *s, const struct share *share) {
        for (unsigned u = 0; u < URGENCIES; u++)
                list_for_each_safe (it, &s->steps[u]) {
                        struct step *step = container_of(it, struct step, link);

                        if (share && step->share != share)
                                continue;
                        list_remove(&step->link);
                        list_push_back(&e->cancelled, &step->link);
                        step->urgency = URGENT;
                }
        session_update(e, s);
}

/* A step that ends may emit others, so the cancelled ones wait outside of the queue that is walked. */
void steps_end_cancelled(struct managed *e) {
        while (!list_empty(&e->cancelled)) {
                struct step *step = container_of(e->cancelled.next, struct step, link);

                list_remove(&step->link);
                step_end(e, step, -ESRCH);
        }
}
