#include "base/clock.h"
#include "core/lease.h"
#include "core/node.h"
#include "service/internal.h"

/*
 * Explicit memory that nobody uses gives way for a lease that waits, as it does for memory that is created on a node
 * that is full (spill.h). Only for those at the front of the line, before whom nobody waits for the same; and only
 * where enough would give way on all nodes that lack room: else nothing is moved.
 *
 *      waits --all of it could be--> in the queue for room --it is there--> granted, with the line's next step
 *        ^                              |
 *        +--something could not leave---+
 *
 * All such leases are one in that queue, where they stand among who creates memory and who fetches some back; and it
 * is in there only while something leaves, so nobody behind waits for long. A lease holds nothing meanwhile.
 */

/* It is not looked more often than that whether something could give way; */
#define LOOK_NS 5000000ull
/* and again after so long where it did not, or only later can. */
#define AGAIN_NS 1000000000ull

typedef enum spill_answer (*room_fn)(struct service *svc, uint32_t node, const struct account *leaf,
                                     const struct account *over, uint64_t bytes);

/* `fn` of each account that lacks room; the worst of its answers, SPILL_THERE where none does. */
static enum spill_answer each_lacking(struct service *svc, const struct lease *l, room_fn fn) {
        enum spill_answer worst = SPILL_THERE;

        for (uint32_t i = 0; i < l->admission.count; i++) {
                const struct admission_need *n = &l->needs[i];

                for (const struct account *at = n->account; at; at = account_up(n->account, at)) {
                        enum spill_answer a;

                        if (n->bytes <= account_room_at(n->account, at))
                                continue;
                        a = fn(svc, l->nodes[i].node, n->account, at, n->bytes);
                        worst = a > worst ? a : worst;
                }
        }
        return worst;
}

/* Some of what it needs lies on a node that takes nothing, or no memory is there that could give way. */
static bool is_hopeless(const struct service *svc, const struct lease *l) {
        bool any = false;

        for (uint32_t i = 0; i < l->admission.count; i++) {
                if (svc->state.nodes[l->nodes[i].node].offline)
                        return true;
                any |= spill_could_help(svc, l->nodes[i].node);
        }
        return !any || admission_too_much(&l->admission);
}

static enum spill_answer could(struct service *svc, const struct lease *l) {
        return !l->admission.front || is_hopeless(svc, l) ? SPILL_NEVER : each_lacking(svc, l, spill_could);
}

static void make(struct service *svc, struct lease *l) {
        l->making = could(svc, l) == SPILL_WAIT && each_lacking(svc, l, spill_room) == SPILL_WAIT;
        for (uint32_t i = 0; l->making && i < l->admission.count; i++)
                spill_take(svc, l->nodes[i].node);
}

static bool is_wanted(const struct service *svc, uint32_t node) {
        list_for_each (at, &svc->leases.line.waiting) {
                const struct lease *l = container_of(at, struct lease, admission.by_line);

                for (uint32_t i = 0; l->making && i < l->admission.count; i++)
                        if (l->nodes[i].node == node)
                                return true;
        }
        return false;
}

static void look_again_at(struct service *svc, uint64_t in_ns) {
        uint64_t now = keeping_now(svc);

        service_wake_at(svc, now + in_ns, now);
}

static bool room_go(struct service *svc, struct spill_wait *w) {
        bool any = false;

        leases_step(svc);
        if (!svc->closing) {
                list_for_each (at, &svc->leases.line.waiting) {
                        struct lease *l = container_of(at, struct lease, admission.by_line);

                        make(svc, l);
                        any |= l->making;
                }
        }
        if (any)
                return false;
        if (!list_empty(&svc->leases.line.waiting))
                svc->leases.failed_ns = clock_ns(CLOCK_MONOTONIC);
        list_remove(&w->link);
        return true;
}

void leases_room_init(struct service *svc) {
        svc->leases.room = (struct spill_wait){ .wants = is_wanted, .go = room_go };
        list_init(&svc->leases.room.link);
}

void leases_ask_room(struct service *svc) {
        struct leases *all = &svc->leases;
        enum spill_answer best = SPILL_NEVER;
        uint64_t now;

        if (list_empty(&all->line.waiting) || !list_empty(&all->room.link))
                return;
        now = clock_ns(CLOCK_MONOTONIC);
        if (all->failed_ns && now - all->failed_ns < AGAIN_NS) {
                look_again_at(svc, all->failed_ns + AGAIN_NS - now);
                return;
        }
        all->failed_ns = 0;
        if (now - all->looked_ns < LOOK_NS) {
                service_wake_soon(svc);
                return;
        }
        all->looked_ns = now;
        list_for_each (at, &all->line.waiting) {
                enum spill_answer a = could(svc, container_of(at, struct lease, admission.by_line));

                best = a < best ? a : best;
        }
        if (best == SPILL_WAIT)
                spill_wait(svc, &all->room);
        else if (best == SPILL_LATER)
                look_again_at(svc, AGAIN_NS);
}

void leases_offered(struct service *svc) {
        if (!list_empty(&svc->leases.line.waiting))
                svc->hooks.wake(svc->hooks.userdata);
}
