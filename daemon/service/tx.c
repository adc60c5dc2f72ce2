#include "service/internal.h"

#include <errno.h>

#include "base/alloc.h"
#include "core/memory.h"

/*
 * The list of changes of what is being done, with the way back of each. Operations of one all-or-nothing request share
 * a transaction; else each has its own. Between begin and commit nothing else runs on this thread, so nobody sees it
 * half done and nobody takes what going back will need.
 *
 * A vmap's steps are kept in one plan a transaction, a stack like the list of changes itself.
 */
struct tx_plan {
        struct list link;
        const struct vmap *map;
        struct plan plan;
};

struct tx *tx_new(struct service *svc) {
        struct tx *tx = alloc_zero(sizeof(*tx));

        if (!tx)
                return NULL;
        tx->svc = svc;
        list_init(&tx->plans);
        list_init(&tx->doomed);
        return tx;
}

static void plan_retire(struct tx_plan *p) {
        plan_fini(&p->plan);
        alloc_free(p);
}

void tx_free(struct tx *tx) {
        if (!tx)
                return;
        list_for_each_safe (l, &tx->plans)
                plan_retire(container_of(l, struct tx_plan, link));
        list_for_each_safe (l, &tx->svc->plans)
                plan_retire(container_of(l, struct tx_plan, link));
        list_init(&tx->svc->plans);
        alloc_free(tx->changes);
        alloc_free(tx);
}

void tx_begin(struct tx *tx) {
        tx->effects = false;
        tx->journal_mark = tx->svc->journal ? journal_mark(tx->svc->journal) : 0;
}

int tx_room(struct tx *tx, uint32_t n) {
        uint32_t room = tx->room ? tx->room : 64;
        struct change *changes;

        while (room < tx->count + n)
                room *= 2;
        if (room == tx->room)
                return 0;
        changes = alloc_grow(tx->changes, tx->room * sizeof(*changes), room * sizeof(*changes));
        if (!changes)
                return -ENOMEM;
        tx->changes = changes;
        tx->room = room;
        return 0;
}

struct change *tx_push(struct tx *tx, const struct change_kind *kind, void *a, void *b) {
        struct change *c = &tx->changes[tx->count++];

        *c = (struct change){ .kind = kind, .a = a, .b = b };
        return c;
}

void tx_effect(struct tx *tx, uint16_t type, const void *bytes, size_t size) {
        if (tx->svc->replaying || !tx->svc->journal)
                return;
        journal_append(tx->svc->journal, type, bytes, size);
        tx->effects = true;
}

int tx_reserve(struct tx *tx, size_t bytes) {
        int r;

        if (tx->svc->replaying || !tx->svc->journal)
                return 0;
        r = journal_reserve_more(tx->svc->journal, 1, bytes);
        return r == JOURNAL_E_FULL ? -ENOSPC : r;
}

/* Plans go back to the service, newest first, so that a request which touches one space finds a warm one. */
static void put_plans(struct tx *tx) {
        list_for_each_safe (l, &tx->plans) {
                struct tx_plan *p = container_of(l, struct tx_plan, link);

                plan_commit(&p->plan);
                p->map = NULL;
                list_remove(l);
                list_push_front(&tx->svc->plans, l);
        }
}

void tx_rollback(struct tx *tx, uint32_t mark) {
        while (tx->count > mark) {
                struct change *c = &tx->changes[--tx->count];

                c->kind->undo(tx, c);
        }
        if (mark > 0)
                return;
        list_for_each_safe (l, &tx->doomed) {
                container_of(l, struct memory, by_doomed)->doomed = false;
                list_remove(l);
        }
        put_plans(tx);
        if (tx->effects)
                journal_rewind(tx->svc->journal, tx->journal_mark);
        tx->effects = false;
}

void tx_commit(struct tx *tx) {
        put_plans(tx);
        for (uint32_t i = 0; i < tx->count; i++)
                if (tx->changes[i].kind->commit)
                        tx->changes[i].kind->commit(tx, &tx->changes[i]);
        tx->count = 0;
        list_for_each_safe (l, &tx->doomed) {
                struct memory *m = container_of(l, struct memory, by_doomed);

                list_remove(l);
                m->doomed = false;
                memory_left(tx->svc, m);
        }
}

struct plan *tx_plan(struct tx *tx, const struct vmap *m) {
        struct tx_plan *p;

        list_for_each (l, &tx->plans) {
                p = container_of(l, struct tx_plan, link);
                if (p->map == m)
                        return &p->plan;
        }
        if (list_empty(&tx->svc->plans)) {
                p = alloc_zero(sizeof(*p));
                if (!p)
                        return NULL;
        } else {
                p = container_of(tx->svc->plans.next, struct tx_plan, link);
                list_remove(&p->link);
        }
        p->map = m;
        list_push_front(&tx->plans, &p->link);
        return &p->plan;
}

void tx_doom(struct tx *tx, struct memory *m) {
        if (m->doomed)
                return;
        m->doomed = true;
        list_push_back(&tx->doomed, &m->by_doomed);
}
