#include "service/leaving.h"

#include <inttypes.h>

#include "base/log.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/internal.h"

#define MS_NS 1000000ull

/* Managed pages are charged to partitions; they are the owner's of their range. */
static uint64_t managed_by(struct service *svc, const struct session *s, uint32_t node) {
        uint64_t sum = 0;

        if (!svc->mover || node >= svc->managed.nodes_count)
                return 0;
        list_for_each (l, &svc->managed.ranges) {
                const struct managed_reservation *m = container_of(l, struct managed_reservation, link);

                if (m->reservation->owner == s && m->range)
                        sum += mover_range_used(svc->mover, m->range, node);
        }
        return sum;
}

static uint64_t has(struct service *svc, const struct session *s, uint32_t node) {
        return session_used(s, node) + managed_by(svc, s, node);
}

void leaving_begin(struct service *svc, struct partition *p, uint64_t wait_ms) {
        uint64_t sum = 0;

        list_for_each (l, &p->sessions) {
                struct session *s = container_of(l, struct session, by_partition);

                for (uint32_t i = 0; i < svc->options.machine->count && !s->ending; i++) {
                        uint64_t bytes = has(svc, s, i);

                        if (bytes > 0)
                                event_give_back(svc, s, i, bytes, wait_ms);
                        sum += bytes;
                }
        }
        p->leaves_ns = keeping_now(svc) + wait_ms * MS_NS;
        log_info("partition %s: is deleted in %" PRIu64 " ms, and its sessions are asked to give back before",
                 p->name->text, wait_ms);
        event_monitor(svc, "give-back", NULL, p->name->text,
                      "partition %s is to be deleted in %" PRIu64 " ms: %" PRIu64 " bytes are asked back",
                      p->name->text, wait_ms, sum);
}

bool leaving_waits(struct service *svc, const struct partition *p) {
        uint64_t now = keeping_now(svc);

        if (p->sessions_count == 0 || now >= p->leaves_ns)
                return false;
        service_wake_at(svc, p->leaves_ns, now);
        return true;
}

void leaving_end(struct service *svc, struct partition *p, bool called_off) {
        if (!p->leaves_ns)
                return;
        p->leaves_ns = 0;
        if (!called_off)
                return;
        log_info("partition %s: is not deleted: who asked for it has gone", p->name->text);
        event_monitor(svc, "give-back", NULL, p->name->text, "partition %s is not deleted: who asked for it has gone",
                      p->name->text);
}

/* ---- the plan ---- */

static int add_steps(struct call *c, const struct partition *p, uint32_t node, Svmd__V1__PlanKind kind,
                     uint64_t *ret_sum) {
        int r = 0;

        list_for_each (l, &p->sessions) {
                const struct session *s = container_of(l, struct session, by_partition);
                uint64_t bytes = has(c->svc, s, node);

                if (s->ending || bytes == 0)
                        continue;
                r = plan_step(c, node, kind, s, bytes);
                if (r != 0)
                        return r;
                *ret_sum += bytes;
        }
        return 0;
}

int leaving_plan(struct call *c, struct partition *p) {
        int r = plan_begin(c);

        for (uint32_t i = 0; r == 0 && i < c->svc->options.machine->count; i++) {
                uint64_t managed = limited_managed(c->svc, LIMITED_PARTITION(p), i);
                uint64_t all = p->accounts[i].used, taken = 0, asked = 0;

                r = add_steps(c, p, i, SVMD__V1__PLAN_KIND__PLAN_GIVE_BACK, &asked);
                if (r == 0)
                        r = add_steps(c, p, i, SVMD__V1__PLAN_KIND__PLAN_STEAL, &taken);
                if (r == 0 && all + managed > taken)
                        r = plan_step(c, i, SVMD__V1__PLAN_KIND__PLAN_STEAL, NULL, all + managed - taken);
        }
        return r;
}
