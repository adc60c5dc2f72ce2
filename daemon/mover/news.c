#include "base/alloc.h"
#include "mover/internal.h"
#include "proto/range.h"
#include "proto/trace.h"

/*
 * What the loop's thread is told, in order. Threads put news under the lock, in what was allocated with the question;
 * the first of a batch wakes the loop, the others are found when it comes.
 *
 * Moves are told beside that, and may be lost when memory is: they are looked at by people.
 */
enum { MOVED_MAX = 1 << 16 };

void news_init(struct mover *m) {
        list_init(&m->news);
        list_init(&m->asks);
}

void news_drop(struct mover *m) {
        while (!list_empty(&m->news))
                list_remove(m->news.next);
}

void news_free(struct mover *m) {
        alloc_free(m->moved);
}

static void wake(struct mover *m) {
        if (!m->told)
                m->wake_due = true;
        m->told = true;
}

void news_push(struct mover *m, struct news *n, void (*tell)(struct mover *m, struct news *n)) {
        n->tell = tell;
        list_push_back(&m->news, &n->link);
        wake(m);
}

void news_missed(void *userdata, uint32_t node) {
        struct mover *m = userdata;

        if (m->missed & 1ull << node)
                return;
        m->missed |= 1ull << node;
        wake(m);
}

static bool extends(const struct moved *last, const struct moved *next) {
        return last->r == next->r && last->first + last->count == next->first && last->from == next->from &&
               last->to == next->to && last->cause == next->cause && last->pinned == next->pinned;
}

static void moved_push(struct mover *m, const struct moved *next) {
        struct moved *last = m->moved_count ? &m->moved[m->moved_count - 1] : NULL;

        if (last && extends(last, next)) {
                last->count++;
                return;
        }
        if (m->moved_count == m->moved_size) {
                uint32_t size = m->moved_size ? 2 * m->moved_size : 64;
                struct moved *grown;

                if (size > MOVED_MAX)
                        return;
                grown = alloc_grow(m->moved, m->moved_size * sizeof(*grown), size * sizeof(*grown));
                if (!grown)
                        return;
                m->moved = grown;
                m->moved_size = size;
        }
        m->moved[m->moved_count++] = *next;
        wake(m);
}

/* Numbers in words are plus one. */
static uint32_t node_of(uint32_t plus_one) {
        return plus_one ? plus_one - 1 : MANAGED_NOWHERE;
}

static uint32_t place_of(uint64_t word) {
        return node_of(range_node(word) ? range_node(word) : range_host(word));
}

/* Whether the truth has another place with the second record. */
static bool has_moved(uint64_t before, uint64_t after, uint32_t *ret_from, uint32_t *ret_to) {
        uint32_t was = range_state(before), is = range_state(after);

        *ret_from = place_of(before);
        *ret_to = place_of(after);
        switch ((enum residency)is) {
        case RESIDENCY_PUNCHING: *ret_from = node_of(range_host(before)); return was == RESIDENCY_COPYING;
        case RESIDENCY_RESIDENT:
        case RESIDENCY_DUPLICATED: return was == RESIDENCY_FILLING && !(range_node(before) && *ret_from == *ret_to);
        case RESIDENCY_CONTINUING: return was == RESIDENCY_WRITING && !(range_node(before) && *ret_from == *ret_to);
        case RESIDENCY_EMPTY:
        case RESIDENCY_OUT:
        case RESIDENCY_REVOKED: return was != RESIDENCY_PUNCHING && *ret_from != *ret_to;
        case RESIDENCY_COPYING:
        case RESIDENCY_FILLING:
        case RESIDENCY_WRITING: break;
        }
        return false;
}

static void tell_traces(struct mover *m, const struct moved *moved) {
        struct trace_event e = { .type = TRACE_MOVED,
                                 .first = moved->first,
                                 .count = moved->count,
                                 .from = moved->from == moved->to ? MANAGED_NOWHERE : moved->from, /* it began there */
                                 .node = moved->to,
                                 .flags = moved->cause };

        traces_tell(m, moved->r, &e);
}

void moved_note(struct mover *m, struct mover_range *r, uint32_t granule, uint64_t before, uint64_t after) {
        struct moved next = { .r = r, .first = granule, .count = 1, .cause = (enum managed_cause)range_cause(after) };

        if ((!m->watching && !m->traces_count) || !has_moved(before, after, &next.from, &next.to))
                return;
        if (m->watching)
                moved_push(m, &next);
        if (m->traces_count)
                tell_traces(m, &next);
}

void news_pinned(void *userdata, void *range, uint32_t granule, uint32_t node) {
        struct moved next = { .r = range, .first = granule, .count = 1, .from = node, .to = node, .pinned = true };
        struct mover *m = userdata;

        if (m->hooks.pinned)
                moved_push(m, &next);
}

void moved_forget(struct mover *m, const struct mover_range *r) {
        uint32_t kept = 0;

        for (uint32_t i = 0; i < m->moved_count; i++)
                if (m->moved[i].r != r)
                        m->moved[kept++] = m->moved[i];
        m->moved_count = kept;
}

void mover_watch(struct mover *m, bool on) {
        mover_lock(m);
        m->watching = on;
        mover_unlock(m);
}

static void tell_moves(struct mover *m) {
        struct moved *moved = m->moved;
        uint32_t count = m->moved_count;

        m->moved = NULL;
        m->moved_count = m->moved_size = 0;
        mover_unlock(m);
        for (uint32_t i = 0; i < count; i++)
                if (moved[i].pinned)
                        m->hooks.pinned(m->hooks.userdata, moved[i].r->userdata, moved[i].first, moved[i].count,
                                        moved[i].to);
                else
                        m->hooks.moved(m->hooks.userdata, moved[i].r->userdata, moved[i].first, moved[i].count,
                                       moved[i].from, moved[i].to, moved[i].cause);
        alloc_free(moved);
        mover_lock(m);
}

void mover_collect(struct mover *m) {
        mover_lock(m);
        m->told = false;
        while (m->moved_count || !list_empty(&m->news)) {
                struct news *n;

                if (m->moved_count) {
                        tell_moves(m);
                        continue;
                }
                n = container_of(m->news.next, struct news, link);
                list_remove(&n->link);
                mover_unlock(m);
                n->tell(m, n);
                mover_lock(m);
        }
        mover_unlock(m);
}
