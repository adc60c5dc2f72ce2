#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/node.h"
#include "proto/past.h"
#include "service/explain.h"

/*
 * What a touch by each node would come to now, in rows and in sentences. The engine says it, by the decisions that it
 * would serve the touch with. Nodes for which it is the same share a sentence, and so do reads and writes.
 */
enum { READS = 1, WRITES = 2 };
#define X(name, number, text) _Static_assert((int)MANAGED_##name == number, text);
TOUCH_OUTCOMES(X)
#undef X

struct touch {
        struct managed_touch is;
        uint64_t nodes; /* bit per node; 0: the CPU */
        unsigned kinds;
};

struct touches {
        struct touch list[2 * MANAGED_NODES_MAX + 2];
        size_t count;
};

/* The node's own: where it goes is where the touch is. */
static bool comes(const struct touch *t) {
        return t->nodes >> t->is.to & 1;
}

static bool alike(const struct touch *a, const struct touch *b) {
        bool place = a->is.to == b->is.to || (a->nodes && b->nodes && a->is.to != MANAGED_NOWHERE &&
                                              b->is.to != MANAGED_NOWHERE && comes(a) && comes(b));

        return a->is.outcome == b->is.outcome && a->is.why == b->is.why && place && !a->nodes == !b->nodes;
}

/* A node's read and write become one where they come to the same, and nodes of one kind of touch that come to the same
 * are one. */
static void add(struct touches *all, struct touch *read, struct touch *write) {
        struct touch two[2] = { *read, *write };
        size_t count = 2;

        two[0].kinds = READS;
        two[1].kinds = WRITES;
        if (alike(read, write)) {
                two[0].kinds |= WRITES;
                count = 1;
        }
        for (size_t i = 0; i < count; i++) {
                struct touch *t = all->list, *end = all->list + all->count;

                while (t < end && (t->kinds != two[i].kinds || !alike(t, &two[i])))
                        t++;
                if (t == end)
                        all->list[all->count++] = two[i];
                else
                        t->nodes |= two[i].nodes;
        }
}

/* ---- sentences ---- */

static const char *why_there(enum managed_why why) {
        switch ((int)why) {
        case MANAGED_WHY_ROOM: return ", as no more has room there";
        case MANAGED_WHY_LIMIT: return ", as limits allow no more there";
        case MANAGED_WHY_PINNED: return ", as it is pinned";
        case MANAGED_WHY_ADVICE: return ", as the hints say";
        case MANAGED_WHY_THRASH: return ", as nodes take it from each other";
        case MANAGED_WHY_PROFILE: return ", as the profile says";
        case MANAGED_WHY_CAP: return ", as the link is at its cap";
        case MANAGED_WHY_RECENT: return ", as it moved just now";
        case MANAGED_WHY_OFFLINE: return ", as the node is offline";
        default: return "";
        }
}

static const char *why_waits(enum managed_why why) {
        switch ((int)why) {
        case MANAGED_WHY_REVOKED: return "until it is given back";
        case MANAGED_WHY_LOST: return "until it is discarded: its content was lost";
        default: return "until it has arrived where it is going just now";
        }
}

static const char *why_fails(enum managed_why why) {
        switch ((int)why) {
        case MANAGED_WHY_FAULTLESS: return "a node that cannot fault uses what is migrated to it, or pinned";
        case MANAGED_WHY_REVOKED: return "it was taken away";
        case MANAGED_WHY_LOST: return "its content was lost, or the node is";
        case MANAGED_WHY_LIMIT: return "limits allow nothing there";
        case MANAGED_WHY_OFFLINE: return "the node is offline";
        default: return "the reservation ends";
        }
}

static const char *after(enum managed_why why) {
        return why == MANAGED_WHY_NONE ? "" : ", when something else has left";
}

static void say(struct sentences *s, const struct touch *t) {
        static const char *const touch[] = { "", "A read", "A write", "A touch" };
        const struct service *svc = s->call->svc;
        const char *kind = touch[t->kinds], *to = name_node(svc, t->is.to);
        char by[160] = "the CPU", copies[160];
        bool there = t->nodes && t->is.to != MANAGED_NOWHERE && comes(t);

        if (t->nodes)
                name_nodes(svc, t->nodes, by, sizeof(by));
        switch (t->is.outcome) {
        case MANAGED_IS_HERE: sentence(s, "%s by %s would use what it has of it.", kind, by); break;
        case MANAGED_BEGINS:
                sentence(s, "%s by %s would begin it %s%s, as zeroes%s.", kind, by, there ? "there" : "on ",
                         there ? "" : to, after(t->is.why));
                break;
        case MANAGED_MOVES:
                sentence(s, "%s by %s would bring it %s%s%s.", kind, by, there ? "there" : "to ", there ? "" : to,
                         after(t->is.why));
                break;
        case MANAGED_COPIES:
                name_nodes(svc, t->is.copies, copies, sizeof(copies));
                if (t->nodes)
                        sentence(s, "%s by %s would bring a copy there, and leave it where it is.", kind, by);
                else
                        sentence(s, "%s by %s would bring it to %s, and leave a copy to read on %s%s.", kind, by, to,
                                 copies, after(t->is.why));
                break;
        case MANAGED_MAPS:
                sentence(s, "%s by %s would reach it on %s, over a link%s.", kind, by, to, why_there(t->is.why));
                break;
        case MANAGED_TOUCH_WAITS: sentence(s, "%s by %s would wait %s.", kind, by, why_waits(t->is.why)); break;
        case MANAGED_TOUCH_FAILS: sentence(s, "%s by %s would fail: %s.", kind, by, why_fails(t->is.why)); break;
        case _MANAGED_OUTCOME_N: break;
        }
}

/* ---- rows ---- */

static int row(struct call *c, Svmd__V1__ExplainResult *result, uint32_t node, bool write,
               const struct managed_touch *t) {
        Svmd__V1__Touch *new = call_take(c, sizeof(*new));

        if (!new)
                return -ENOMEM;
        svmd__v1__touch__init(new);
        new->node = node == MANAGED_NOWHERE ? PAST_NODE_CPU : node;
        new->write = write;
        new->outcome = t->outcome;
        new->why = t->why;
        new->code = mover_access_status(t->result);
        new->to = t->to;
        new->state = t->state;
        new->on = t->node;
        new->copies = t->copies;
        result->touches[result->n_touches++] = new;
        return 0;
}

static int predict(struct sentences *s, const struct managed_reservation *m, uint32_t granule, uint32_t node,
                   struct touches *all, Svmd__V1__ExplainResult *result) {
        struct touch two[2] = { 0 };

        for (unsigned write = 0; write < 2; write++) {
                two[write].nodes = node == MANAGED_NOWHERE ? 0 : 1ull << node;
                mover_predict(s->call->svc->mover, m->range, granule, node, write, &two[write].is);
                if (row(s->call, result, node, write, &two[write].is))
                        return -ENOMEM;
        }
        add(all, &two[0], &two[1]);
        return 0;
}

int explain_touches(struct sentences *s, const struct managed_reservation *m, uint32_t granule,
                    Svmd__V1__ExplainResult *result) {
        const struct service *svc = s->call->svc;
        uint32_t count = svc->managed.nodes_count;
        struct touches *all = call_take(s->call, sizeof(*all));

        result->touches = call_take(s->call, 2 * (count + 1) * sizeof(*result->touches));
        if (!all || !result->touches || predict(s, m, granule, MANAGED_NOWHERE, all, result))
                return -ENOMEM;
        for (uint32_t i = 0; i < count; i++)
                if (!svc->managed.nodes[i].host && predict(s, m, granule, i, all, result))
                        return -ENOMEM;
        for (size_t i = 0; i < all->count; i++)
                say(s, &all->list[i]);
        return 0;
}
