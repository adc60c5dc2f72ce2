#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/node.h"
#include "core/space.h"
#include "service/internal.h"
#include "service/move.h"
#include "service/spill.h"

/*
 * Memory that an operation needs comes back: what its addresses show, and of a chase, whose way nobody knows, all that
 * its space maps.
 */
struct span {
        uint64_t start, end;
};

static struct span span_of(uint64_t start, uint64_t size) {
        return (struct span){ start, size < UINT64_MAX - start ? start + size : UINT64_MAX };
}

static unsigned spans_of(const struct device_op *op, struct span *ret) {
        switch (op->type) {
        case DEVICE_FILL: ret[0] = span_of(op->dst, op->size); return 1;
        case DEVICE_SUM: ret[0] = span_of(op->src, op->size); return 1;
        case DEVICE_ATOMIC_ADD: ret[0] = span_of(op->dst, 8); return 1;
        case DEVICE_COPY:
        case DEVICE_COMPARE:
                ret[0] = span_of(op->dst, op->size);
                ret[1] = span_of(op->src, op->size);
                return 2;
        case DEVICE_CHASE: break;
        }
        ret[0] = (struct span){ 0, UINT64_MAX };
        return 1;
}

/* `fn` of each mapping that the operation meets, until one gives true. */
static bool any_of(const struct space *s, const struct device_op *op, bool (*fn)(void *userdata, struct memory *m),
                   void *userdata) {
        struct span spans[2];
        unsigned n = spans_of(op, spans);

        for (unsigned i = 0; i < n; i++)
                for (struct mapping *e = vmap_first_from(&s->mappings, spans[i].start); e && e->va < spans[i].end;
                     e = vmap_next(e))
                        if (fn(userdata, memory_of(e->backing)))
                                return true;
        return false;
}

static bool is_away(void *userdata, struct memory *m) {
        return m->away;
}

bool spill_is_away(const struct service *svc, struct space *s, const struct device_op *op) {
        return svc->spill.away > 0 && any_of(s, op, is_away, NULL);
}

struct fetch {
        struct service *svc;
        struct device_result *ret;
        bool waits;
};

static bool mark(void *userdata, struct memory *m) {
        struct fetch *f = userdata;

        m->wanted = f->svc->spill.visit;
        return false;
}

static bool say_full(struct fetch *f, const struct memory *m) {
        f->ret->code = SVMD_STATUS_NO_ROOM;
        snprintf(f->ret->text, sizeof(f->ret->text),
                 "memory %" PRIu64 " was moved to the host, and %s has no room to take it back: free or unmap some",
                 m->object.id, node_desc(f->svc, m->node)->name);
        return true;
}

static bool say_failed(struct fetch *f, const struct memory *m, int r) {
        if (r == -EBUSY)
                return say_full(f, m);
        f->ret->code = r == -ENOMEM || r == -ENOSPC ? SVMD_STATUS_NO_MEMORY : SVMD_STATUS_SYSTEM;
        snprintf(f->ret->text, sizeof(f->ret->text),
                 "memory %" PRIu64 " was moved to the host and cannot come back: %s; submit it again later",
                 m->object.id, strerror(-r));
        return true;
}

static bool say_offline(struct fetch *f, const struct memory *m) {
        const char *name = node_desc(f->svc, m->node)->name;

        f->ret->code = SVMD_STATUS_NO_NODE;
        snprintf(f->ret->text, sizeof(f->ret->text),
                 "memory %" PRIu64 " was moved to the host, and %s is offline: svmd-ctl node online %s", m->object.id,
                 name, name);
        return true;
}

static bool say_lost(struct fetch *f, const struct memory *m) {
        f->ret->code = SVMD_STATUS_GONE;
        snprintf(f->ret->text, sizeof(f->ret->text),
                 "the content of memory %" PRIu64 " was lost with %s: release it, and make it anew", m->object.id,
                 node_desc(f->svc, m->node)->name);
        return true;
}

/* True: it cannot come. */
static bool fetch_one(void *userdata, struct memory *m) {
        struct fetch *f = userdata;
        struct account *over;
        int r;

        if (!m->away)
                return false;
        if (m->lost)
                return say_lost(f, m);
        f->waits = true;
        if (m->move || spill_is_taken(f->svc, m->node))
                return false;
        if (f->svc->state.nodes[m->node].offline)
                return say_offline(f, m);
        r = m->stuck;
        m->stuck = 0;
        if (r == 0)
                r = move_in(f->svc, m, &over);
        if (r == 0)
                return false;
        if (r < 0)
                return say_failed(f, m, r);
        if (!over || spill_room(f->svc, m->node, memory_payer(f->svc, m->partition, m->creator.session, m->node), over,
                                m->size) == SPILL_NEVER)
                return say_full(f, m);
        return false;
}

enum spill_answer spill_fetch(struct service *svc, struct space *s, const struct device_op *op,
                              struct device_result *ret) {
        struct fetch f = { .svc = svc, .ret = ret };

        any_of(s, op, mark, &f);
        if (any_of(s, op, fetch_one, &f))
                return SPILL_NEVER;
        return f.waits ? SPILL_WAIT : SPILL_THERE;
}
