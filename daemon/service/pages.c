#include "service/pages.h"

#include "base/alloc.h"
#include "core/reservation.h"
#include "service/internal.h"

void pages_take(struct service *svc, const struct reservation *r) {
        struct managed_reservation *m = managed_of(r);

        if (!m || !m->range || !svc->mover || svc->replaying)
                return;
        m->taken = 0;
        list_remove(&m->taking);
        list_push_back(&svc->managed.taking, &m->taking);
        svc->hooks.wake(svc->hooks.userdata);
}

static bool in_host_memory(enum residency state) {
        return state == RESIDENCY_RESIDENT || state == RESIDENCY_DUPLICATED || state == RESIDENCY_CONTINUING ||
               state == RESIDENCY_FILLING || state == RESIDENCY_WRITING;
}

/* From the first to the last granule that is. */
static void take_some(struct service *svc, const struct managed_reservation *m, uint32_t count,
                      struct managed_granule_info *info) {
        uint32_t begin = count, end = 0;

        mover_look(svc->mover, m->range, m->taken, count, info);
        for (uint32_t i = 0; i < count; i++) {
                if (!in_host_memory(info[i].state))
                        continue;
                begin = begin < i ? begin : i;
                end = i + 1;
        }
        if (begin < end)
                (void)mover_evict(svc->mover, m->range, m->taken + begin, end - begin, 0);
}

/* The range that waits longest goes first, and behind the others again; without memory its pages stay. */
void pages_collect(struct service *svc) {
        struct pages_taken *done = &svc->managed.pages;
        struct managed_granule_info *info;
        struct managed_reservation *m;
        uint32_t count;

        if (list_empty(&svc->managed.taking))
                return;
        m = container_of(svc->managed.taking.next, struct managed_reservation, taking);
        list_remove(&m->taking);
        count = m->count - m->taken < PAGES_LOOKED ? m->count - m->taken : PAGES_LOOKED;
        info = alloc_array(count, sizeof(*info));
        if (info) {
                take_some(svc, m, count, info);
                m->taken += count;
                if (m->taken < m->count)
                        list_push_back(&svc->managed.taking, &m->taking);
                done->turns++;
                done->most = count > done->most ? count : done->most;
        }
        alloc_free(info);
        if (!list_empty(&svc->managed.taking))
                svc->hooks.wake(svc->hooks.userdata);
}
