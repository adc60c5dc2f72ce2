#include <errno.h>

#include "base/alloc.h"
#include "mover/internal.h"
#include "proto/trace.h"

/*
 * Requests about granules. The engine takes a request under the lock as a whole, so a long one is given to it in parts,
 * between which faults are served; it is answered when all parts are, with the worst result.
 */
enum { PART = 1024 };

void answer_add(struct mover *m, struct answer *a, void (*done)(struct mover *m, struct answer *a, int result)) {
        a->done = done;
        list_push_back(&m->answers, &a->all);
}

/* The engine counts a pin when it is asked for, and leaves it to the caller what becomes of one that failed. */
static void tell_answer(struct mover *m, struct news *n) {
        struct request *q = container_of(n, struct request, news);

        mover_lock(m);
        if (q->result && q->pinned && q->r->range)
                managed_unpin(m->engine, q->r->range, q->first, q->pinned, mover_now(m));
        list_remove(&q->answer.all);
        mover_unlock(m);
        if (q->token)
                m->hooks.done(m->hooks.userdata, q->token, q->result);
        alloc_free(q);
}

void request_done(struct mover *m, struct answer *a, int result) {
        struct request *q = container_of(a, struct request, answer);

        if (!q->result || result < 0)
                q->result = result ? result : q->result;
        if (--q->parts)
                return;
        if (q->takes)
                holdup_end(q->r);
        news_push(m, &q->news, tell_answer);
}

/* It has a part of its own, until all others have been given to the engine. */
struct request *request_new(struct mover *m, uint64_t token) {
        struct request *q = alloc_zero(sizeof(*q));

        if (!q)
                return NULL;
        q->token = token;
        q->parts = 1;
        list_init(&q->news.link);
        answer_add(m, &q->answer, request_done);
        return q;
}

/* Nothing of it will be done. */
static void request_drop(struct request *q) {
        if (q->takes)
                holdup_end(q->r);
        list_remove(&q->answer.all);
        alloc_free(q);
}

struct ask_for {
        bool pins, takes;
        enum trace_type trace; /* 0: recordings do not hear of it */
        int (*fn)(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, const struct ask_for *a,
                  uint64_t token);
        uint32_t node;
        enum managed_cause cause;
};

static int give_part(struct mover *m, struct request *q, uint32_t first, uint32_t count, const struct ask_for *a) {
        int k;

        q->parts++;
        k = a->fn(m, q->r, first, count, a, (uintptr_t)&q->answer);
        if (k)
                q->parts--;
        else if (a->pins)
                q->pinned += count;
        return k;
}

/* How much of it the engine has taken, in *ret_given; faults are served in between. */
static int give(struct mover *m, struct request *q, uint32_t count, const struct ask_for *a, uint32_t part,
                uint32_t *ret_given) {
        uint32_t at = 0;
        int k = 0;

        while (at < count && !k) {
                uint32_t n = count - at < part ? count - at : part;

                if (at) {
                        mover_unlock(m);
                        mover_lock(m);
                }
                k = give_part(m, q, q->first + at, n, a);
                at += k ? 0 : n;
        }
        *ret_given = at;
        return k;
}

static void tell(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, const struct ask_for *a) {
        struct trace_event e = { .type = a->trace, .first = first, .count = count, .node = a->node, .flags = a->cause };

        if (m->traces_count && a->trace)
                traces_tell(m, r, &e);
}

/* An outcome of the engine's, and what goes wrong after the first part, is its answer. */
static int ask_for(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, const struct ask_for *a,
                   uint64_t token, uint32_t part) {
        struct request *q;
        uint32_t given;
        int k = -ENOMEM;

        if (first >= r->count || !count || count > r->count - first)
                return -EINVAL;
        mover_lock(m);
        q = request_new(m, token);
        if (q) {
                q->r = r;
                q->first = first;
                q->takes = a->takes;
                if (q->takes)
                        holdup_begin(r);
                tell(m, r, first, count, a);
                k = give(m, q, count, a, part, &given);
                if (k < 0 && !given)
                        request_drop(q);
                else {
                        request_done(m, &q->answer, k);
                        k = 0;
                }
        }
        mover_unlock(m);
        return k;
}

static int migrate(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, const struct ask_for *a,
                   uint64_t token) {
        return managed_migrate(m->engine, r->range, first, count, a->node, a->cause, token, mover_now(m));
}

int mover_migrate(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint32_t node,
                  enum managed_cause cause, uint64_t token) {
        struct ask_for a = { .trace = TRACE_MIGRATE, .fn = migrate, .node = node, .cause = cause };

        return ask_for(m, r, first, count, &a, token, PART);
}

static int discard(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, const struct ask_for *a,
                   uint64_t token) {
        return managed_discard(m->engine, r->range, first, count, token, mover_now(m));
}

int mover_discard(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint64_t token) {
        struct ask_for a = { .trace = TRACE_DISCARD, .fn = discard };

        return ask_for(m, r, first, count, &a, token, PART);
}

static int evict(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, const struct ask_for *a,
                 uint64_t token) {
        return managed_evict(m->engine, r->range, first, count, token, mover_now(m));
}

int mover_evict(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint64_t token) {
        struct ask_for a = { .trace = TRACE_EVICT, .fn = evict };

        return ask_for(m, r, first, count, &a, token, PART);
}

static int pin(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, const struct ask_for *a,
               uint64_t token) {
        return managed_pin(m->engine, r->range, first, count, token, mover_now(m));
}

int mover_pin(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, uint64_t token) {
        struct ask_for a = { .trace = TRACE_PIN, .fn = pin, .pins = true };

        return ask_for(m, r, first, count, &a, token, PART);
}

void mover_unpin(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count) {
        struct ask_for a = { .trace = TRACE_UNPIN };

        mover_lock(m);
        tell(m, r, first, count, &a);
        managed_unpin(m->engine, r->range, first, count, mover_now(m));
        mover_unlock(m);
}

static int revoke(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, const struct ask_for *a,
                  uint64_t token) {
        return managed_revoke(m->engine, r->range, token, mover_now(m));
}

int mover_revoke(struct mover *m, struct mover_range *r, uint64_t token) {
        struct ask_for a = { .fn = revoke, .takes = true };

        return ask_for(m, r, 0, r->count, &a, token, UINT32_MAX);
}

static int unrevoke(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count, const struct ask_for *a,
                    uint64_t token) {
        return managed_unrevoke(m->engine, r->range, token, mover_now(m));
}

int mover_unrevoke(struct mover *m, struct mover_range *r, uint64_t token) {
        struct ask_for a = { .fn = unrevoke };

        return ask_for(m, r, 0, r->count, &a, token, UINT32_MAX);
}

int mover_node_drain(struct mover *m, uint32_t node, uint64_t token) {
        struct request *q;

        mover_lock(m);
        q = request_new(m, token);
        if (q)
                managed_node_drain(m->engine, node, (uintptr_t)&q->answer, mover_now(m));
        mover_unlock(m);
        return q ? 0 : -ENOMEM;
}
