#include "service/spill.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "core/memory.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "core/space.h"
#include "service/internal.h"
#include "service/move.h"
#include "service/rates.h"

/*
 * Who waits for room is visited in the order in which he came. A visit marks what it needs, and takes the room of what
 * nobody before it needs in this pass; and where one waits for room of a whole node, those behind him wait too. So the
 * first one always gets on, and two that need one another's memory take turns.
 *
 * Memory that may give way is listed by node, least recently used first. A use is not noted there, only with the space
 * in which it was; so the list is put in order when somebody looks.
 */

/* Where something could not be spilled nothing is for so long. */
#define FAILED_NS 1000000000ull
/* A managed granule that found no room wants it for so long. */
#define MISSED_NS 1000000000ull

struct spill_node {
        uint64_t taken;     /* the last visit of somebody who waits for room there */
        uint64_t failed_ns; /* when something could not be spilled last, or 0 */
        uint64_t missed_ns; /* when a managed granule found no room there, or 0 */
};

static uint64_t now_ns(void) {
        return clock_ns(CLOCK_MONOTONIC);
}

int spill_init(struct service *svc) {
        list_init(&svc->spill.waits);
        list_init(&svc->spill.moves);
        list_init(&svc->spill.settled);
        svc->spill.visit = 1; /* memory that nobody has wanted yet has 0 */
        svc->spill.pass = 2;
        svc->spill.nodes = alloc_array(svc->options.machine->count + 1, sizeof(*svc->spill.nodes));
        return svc->spill.nodes ? 0 : -ENOMEM;
}

void spill_abandon(struct service *svc) {
        while (!list_empty(&svc->spill.settled))
                move_settle(svc, container_of(svc->spill.settled.next, struct move, link));
}

void spill_fini(struct service *svc) {
        alloc_free(svc->spill.nodes);
}

/* ---- what may give way ---- */

static void insert_by_use(struct list *head, struct memory *m) {
        struct list *at = head;

        while (at->prev != head && container_of(at->prev, struct memory, by_node)->used_ns > m->used_ns)
                at = at->prev;
        list_insert_before(at, &m->by_node);
}

void spill_offer(struct service *svc, struct memory *m) {
        if (m->pinned || m->away || m->lost || m->move || !backend_has_pool(node_backend(svc, m->node)))
                return;
        m->used_ns = now_ns();
        insert_by_use(&svc->state.nodes[m->node].memories, m);
        leases_offered(svc);
}

void spill_failed(struct service *svc, struct memory *m) {
        svc->spill.nodes[m->node].failed_ns = now_ns();
        spill_offer(svc, m);
}

void spill_forget(struct service *svc, struct memory *m) {
        if (m->move)
                move_forget(svc, m->move);
}

void spill_orphan(struct memory *m) {
        struct move *v = m->move;

        if (v)
                memory_orphan(v->other);
}

static struct space *space_of(struct list *by_backing) {
        return container_of(container_of(by_backing, struct mapping, by_backing)->map, struct space, mappings);
}

static bool is_used(const struct memory *m) {
        list_for_each (l, &m->backing.mappings)
                if (space_of(l)->running)
                        return true;
        return false;
}

/* In the order of last use. */
static void put_in_order(struct list *head) {
        list_for_each_safe (l, head) {
                struct memory *m = container_of(l, struct memory, by_node);
                uint64_t used = m->used_ns;

                list_for_each (k, &m->backing.mappings)
                        if (space_of(k)->used_ns > used)
                                used = space_of(k)->used_ns;
                if (used == m->used_ns)
                        continue;
                m->used_ns = used;
                list_remove(l);
                insert_by_use(head, m);
        }
}

static bool reaches(const struct account *leaf, const struct account *a) {
        for (const struct account *at = leaf; at; at = account_up(leaf, at))
                if (at == a)
                        return true;
        return false;
}

/* Whether what it has now is charged there. */
static bool is_charged(const struct memory *m, const struct account *over) {
        return reaches(m->charge.account, over);
}

static bool is_wanted(const struct service *svc, const struct memory *m) {
        return m->wanted >= svc->spill.pass;
}

bool spill_is_taken(const struct service *svc, uint32_t node) {
        uint64_t taken = svc->spill.nodes[node].taken;

        return taken >= svc->spill.pass && taken != svc->spill.visit;
}

/* ---- making room ---- */

struct around {
        uint64_t leaving; /* bytes that will be gone without anybody's doing */
        uint64_t idle;
        bool later; /* something else could give way when it has been used */
};

/* The place that it gives up in the end, or NULL: not known before it is there. */
static const struct memory *left_by(const struct move *v) {
        if (!v->memory || v->state == MOVE_SETTLED)
                return v->other;
        return v->in ? NULL : v->memory;
}

static void add_moves(const struct list *head, uint32_t node, const struct account *over, struct around *a) {
        list_for_each (l, head) {
                const struct move *v = container_of(l, struct move, link);
                const struct memory *left = left_by(v);

                if (left && is_charged(left, over))
                        a->leaving += left->size;
                else if (v->memory && v->in)
                        a->later |= v->memory->node == node;
        }
}

static struct around all_moves(const struct service *svc, uint32_t node, const struct account *over) {
        struct around a = { 0 };

        add_moves(&svc->spill.moves, node, over, &a);
        add_moves(&svc->spill.settled, node, over, &a);
        return a;
}

/* ---- whose gives way ---- */

/* First that of who is above his high, then that of who is above his low, then that of who is above his min. Who has
 * these: its session, its partition, its control groups. */
enum { ABOVE_HIGH, ABOVE_LOW, ABOVE_MIN, _ABOVE_N };

/* What is asked for. */
struct want {
        const struct account *payer, *over;
};

/* Whether `a` is safe from that down to its floors: who asks for room has no protection from himself, and none against
 * limits that do not lie around his own. */
static bool protects(const struct account *a, const struct want *w) {
        return a != w->over && (reaches(a, w->over) || a->within == w->over) && !reaches(w->payer, a);
}

static bool stays_above(const struct service *svc, const struct memory *m, const struct account *a, uint64_t floor) {
        uint64_t leaving = floor ? all_moves(svc, m->node, a).leaving : 0;

        return floor == 0 || (a->used > leaving && a->used - leaving >= floor && a->used - leaving - floor >= m->size);
}

static bool is_above_high(const struct service *svc, const struct memory *m, const struct account *a,
                          const struct want *w) {
        return protects(a, w) ? stays_above(svc, m, a, a->high) : a->used > a->high;
}

/* Whether all who have it have that much without it. */
static bool leaves_enough(const struct service *svc, const struct memory *m, const struct want *w, unsigned above) {
        const struct account *leaf = m->charge.account;
        bool high = false;

        for (const struct account *a = leaf; a; a = account_up(leaf, a)) {
                bool own_high = above == ABOVE_HIGH && is_above_high(svc, m, a, w);
                uint64_t floor = above != ABOVE_MIN && a->low > a->min ? a->low : a->min;

                if (!own_high && protects(a, w) && !stays_above(svc, m, a, floor))
                        return false;
                high |= own_high;
        }
        return above != ABOVE_HIGH || high;
}

static struct around look_around(struct service *svc, uint32_t node, const struct account *payer,
                                 const struct account *over) {
        struct list *head = &svc->state.nodes[node].memories;
        struct around a = all_moves(svc, node, over);
        const struct want w = { payer, over };

        put_in_order(head);
        list_for_each (l, head) {
                const struct memory *m = container_of(l, struct memory, by_node);

                if (!is_charged(m, over) || m->wanted == svc->spill.visit || !leaves_enough(svc, m, &w, ABOVE_MIN))
                        continue;
                if (is_used(m) || is_wanted(svc, m))
                        a.later = true;
                else
                        a.idle += m->size;
        }
        return a;
}

static bool has_failed(const struct service *svc, uint32_t node) {
        uint64_t when = svc->spill.nodes[node].failed_ns;

        return when && now_ns() - when < FAILED_NS;
}

/* Bytes of what has begun to leave. */
static uint64_t give_up_above(struct service *svc, uint32_t node, const struct account *payer,
                              const struct account *over, unsigned above, uint64_t bytes) {
        const struct want w = { payer, over };
        uint64_t sum = 0;

        list_for_each_safe (l, &svc->state.nodes[node].memories) {
                struct memory *m = container_of(l, struct memory, by_node);
                uint64_t size = m->size;

                if (sum >= bytes)
                        break;
                if (!is_charged(m, over) || is_used(m) || is_wanted(svc, m) || !leaves_enough(svc, m, &w, above))
                        continue;
                if (move_out(svc, m) == 0)
                        sum += size;
        }
        return sum;
}

static uint64_t give_up_idle(struct service *svc, uint32_t node, const struct account *payer,
                             const struct account *over, uint64_t bytes) {
        uint64_t sum = 0;

        for (unsigned above = 0; above < _ABOVE_N && sum < bytes; above++)
                sum += give_up_above(svc, node, payer, over, above, bytes - sum);
        return sum;
}

void spill_take(struct service *svc, uint32_t node) {
        svc->spill.nodes[node].taken = svc->spill.visit;
}

static uint64_t lacking(const struct account *payer, const struct account *over, uint64_t bytes) {
        uint64_t room = account_room_at(payer, over);

        return bytes > room ? bytes - room : 0;
}

enum spill_answer spill_could(struct service *svc, uint32_t node, const struct account *payer,
                              const struct account *over, uint64_t bytes) {
        struct around a = look_around(svc, node, payer, over);
        uint64_t need = lacking(payer, over, bytes);

        if (need <= a.leaving || (!has_failed(svc, node) && a.idle + a.leaving >= need))
                return SPILL_WAIT;
        return a.later || a.leaving || a.idle + a.leaving >= need ? SPILL_LATER : SPILL_NEVER;
}

enum spill_answer spill_room(struct service *svc, uint32_t node, const struct account *payer,
                             const struct account *over, uint64_t bytes) {
        struct around a = look_around(svc, node, payer, over);
        uint64_t need = lacking(payer, over, bytes);

        if (over == &svc->state.nodes[node].account)
                spill_take(svc, node);
        if (need <= a.leaving)
                return SPILL_WAIT;
        if (!has_failed(svc, node) && a.idle + a.leaving >= need)
                a.leaving += give_up_idle(svc, node, payer, over, need - a.leaving);
        if (a.leaving)
                return SPILL_WAIT;
        return a.later ? SPILL_LATER : SPILL_NEVER;
}

bool spill_lower(struct service *svc, uint32_t node, const struct account *over, uint64_t bytes) {
        uint64_t leaving = all_moves(svc, node, over).leaving;

        if (leaving < bytes && !has_failed(svc, node)) {
                put_in_order(&svc->state.nodes[node].memories);
                leaving += give_up_above(svc, node, over, over, ABOVE_MIN, bytes - leaving);
        }
        return leaving > 0;
}

/* ---- waiting ---- */

bool spill_could_help(const struct service *svc, uint32_t node) {
        return !list_empty(&svc->state.nodes[node].memories) || !list_empty(&svc->spill.moves) ||
               !list_empty(&svc->spill.settled);
}

bool spill_has_waiters(const struct service *svc, uint32_t node) {
        list_for_each (l, &svc->spill.waits) {
                const struct spill_wait *w = container_of(l, struct spill_wait, link);

                if (w->wants ? w->wants(svc, node) : w->node == node)
                        return true;
        }
        return false;
}

void spill_wait(struct service *svc, struct spill_wait *w) {
        list_push_back(&svc->spill.waits, &w->link);
        svc->hooks.wake(svc->hooks.userdata);
}

/* Whoever goes on may end others that wait, or make new ones; those are visited behind the others. And those that he
 * kept waiting are visited once more. */
static void visit_all(struct service *svc) {
        bool gone = false;
        struct list todo;

        list_init(&todo);
        svc->spill.pass = svc->spill.visit + 1;
        while (!list_empty(&svc->spill.waits)) {
                struct list *l = svc->spill.waits.next;

                list_remove(l);
                list_push_back(&todo, l);
        }
        while (!list_empty(&todo)) {
                struct spill_wait *w = container_of(todo.next, struct spill_wait, link);

                list_remove(&w->link);
                list_push_back(&svc->spill.waits, &w->link);
                svc->spill.visit++;
                gone |= w->go(svc, w);
        }
        if (gone && !list_empty(&svc->spill.waits))
                svc->hooks.wake(svc->hooks.userdata);
        svc->spill.pass = ++svc->spill.visit + 1;
}

/* ---- nodes that have to be emptied, and managed granules that want room ---- */

static bool is_leaving(const struct service *svc, uint32_t node) {
        return all_moves(svc, node, &svc->state.nodes[node].account).leaving > 0;
}

/* The least recently used that nobody uses. */
static struct memory *idle_longest(struct service *svc, uint32_t node) {
        put_in_order(&svc->state.nodes[node].memories);
        list_for_each (l, &svc->state.nodes[node].memories)
                if (!is_used(container_of(l, struct memory, by_node)))
                        return container_of(l, struct memory, by_node);
        return NULL;
}

/* A granule found no room a moment ago, and nobody knows whether it still wants it. */
static bool is_missed(struct service *svc, uint32_t node) {
        struct spill_node *n = &svc->spill.nodes[node];

        if (!svc->mover || node >= svc->managed.nodes_count)
                return false;
        if (mover_node_missed(svc->mover, node))
                n->missed_ns = now_ns();
        return n->missed_ns && now_ns() - n->missed_ns < MISSED_NS;
}

/* One after the other, as long as it is asked for. */
static void relieve(struct service *svc, uint32_t node) {
        bool offline = svc->state.nodes[node].offline;
        struct memory *m;

        if (list_empty(&svc->state.nodes[node].memories) || (!offline && !is_missed(svc, node)) ||
            is_leaving(svc, node) || has_failed(svc, node))
                return;
        m = idle_longest(svc, node);
        if (!m)
                return;
        if (!offline && !policy_give_way(rates_machine(svc), m->used_ns, now_ns())) {
                service_wake_soon(svc);
                return;
        }
        svc->spill.nodes[node].missed_ns = 0;
        if (move_out(svc, m) != 0)
                svc->spill.nodes[node].failed_ns = now_ns();
}

bool spill_empties(struct service *svc, uint32_t node) {
        return svc->state.nodes[node].offline &&
               (is_leaving(svc, node) || (!has_failed(svc, node) && idle_longest(svc, node)));
}

static void relieve_all(struct service *svc) {
        for (uint32_t i = 0; i < svc->options.machine->count; i++) {
                relieve(svc, i);
                if (svc->state.nodes[i].drain && !spill_empties(svc, i))
                        drain_goes_on(svc, i);
        }
}

void spill_collect(struct service *svc) {
        if (svc->closing || svc->starting)
                return;
        leases_ask_room(svc);
        if (!list_empty(&svc->spill.waits))
                visit_all(svc);
        relieve_all(svc);
}

void spill_commit(struct service *svc) {
        if (list_empty(&svc->spill.settled))
                return;
        spill_abandon(svc);
        if (svc->closing)
                return;
        relieve_all(svc);
        svc->hooks.wake(svc->hooks.userdata);
}

bool spill_idle(const struct service *svc) {
        return list_empty(&svc->spill.waits) && list_empty(&svc->spill.moves);
}

void spill_give_up(struct service *svc) {
        while (!list_empty(&svc->spill.waits)) {
                struct spill_wait *w = container_of(svc->spill.waits.next, struct spill_wait, link);

                list_remove(&w->link);
                w->go(svc, w);
        }
}
