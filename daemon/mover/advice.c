#include "engine/hints.h"
#include "mover/internal.h"

/*
 * The engine's questions about advice go to the range's hints, which are the loop's. They change while the mover is
 * held, and are looked at under its lock; the loop's thread looks without.
 */
void mover_hold(struct mover *m) {
        mover_lock(m);
}

void mover_release(struct mover *m, struct mover_range *r, uint32_t first, uint32_t count) {
        if (r && count && m->traces_count)
                traces_advised(m, r, first, count);
        mover_unlock(m);
}

void advice_get(void *userdata, void *range, uint32_t granule, struct policy_advice *ret) {
        const struct mover_range *r = range;

        if (r->hints)
                hints_get(r->hints, granule, ret);
}

uint32_t advice_group(void *userdata, void *range, struct hint_walk *walk) {
        const struct mover_range *r = range;

        return r->hints ? hints_group_next(r->hints, walk) : UINT32_MAX;
}

void mover_advice(struct mover *m, struct mover_range *r, uint32_t granule, struct mover_advice *ret) {
        *ret = (struct mover_advice){ 0 };
        if (!r->hints)
                return;
        hints_get(r->hints, granule, &ret->policy);
        ret->granularity = ret->policy.granularity;
        ret->session = hints_last(r->hints, granule);
}
