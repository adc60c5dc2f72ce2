#include "mover/steps.h"

#include <errno.h>

#include "mover/place.h"

int step_execute(struct mover *m, const struct managed_step *step) {
        place_prefer(m, step);
        switch (step->type) {
        case MANAGED_WRITE_PROTECT:
        case MANAGED_UNPROTECT:
        case MANAGED_CONTINUE:
        case MANAGED_COPY_IN:
        case MANAGED_ZERO:
        case MANAGED_WAKE:
        case MANAGED_POISON: return step_enter(m, step);
        case MANAGED_WRITE_BACK:
        case MANAGED_ALLOCATE:
        case MANAGED_COPY_OUT:
        case MANAGED_MERGE:
        case MANAGED_PUNCH_HOLE:
        case MANAGED_COPY_NODE:
        case MANAGED_ZERO_SLOT:
        case MANAGED_SLOT_FREE: return step_bytes(m, step);
        case MANAGED_INVALIDATE:
        case MANAGED_NODE_MAP: return step_translate(m, step);
        case _MANAGED_STEP_N: break;
        }
        return -EINVAL;
}

/* In one call where that goes. A failure is somebody's, and each is done again by itself to learn whose: what was done
 * already is done then, since none of these steps minds that. */
void batch_execute(struct mover *m, struct batch *b) {
        struct managed_step all = *b->step[0];
        int k;

        for (unsigned i = 1; i < b->count; i++)
                all.count += b->step[i]->count;
        k = step_execute(m, &all);
        for (unsigned i = 0; i < b->count; i++)
                b->result[i] = k && b->count > 1 ? step_execute(m, b->step[i]) : k;
}

/* What the engine answers with another step. */
static bool is_answer(const struct managed_step *step, int result) {
        switch ((int)step->type) {
        case MANAGED_COPY_IN:
        case MANAGED_ZERO: return result == -EEXIST || (result == -ENOMEM && !step->idle) || result == -ESRCH;
        case MANAGED_CONTINUE: return result == -EFAULT || result == -ESRCH;
        default: return result == -ESRCH && step->session;
        }
}

bool step_rests(const struct managed_step *step, int result) {
        return result < 0 && !is_answer(step, result);
}
