#include <errno.h>

#include "mover/internal.h"

/*
 * Steps that are to be done again, but not at once: the engine gives them out again when it hears of them, so that is
 * put off. What does not fit in here is told at once.
 *
 * What the engine has to be told the time for is here too: a worker that waits for events wakes up for it.
 */
enum { EAGAIN_MS = 1, FAILED_MS = 10, MS = 1000000 };

bool later_put(struct mover *m, const struct managed_step *step, int result) {
        uint64_t ms = result == -EAGAIN ? EAGAIN_MS : FAILED_MS;

        if (m->later_count == LATER_MAX)
                return false;
        m->later[m->later_count++] = (struct later){ step, mover_now(m) + ms * MS, result };
        return true;
}

bool later_take(struct mover *m, struct later *ret) {
        uint64_t now = m->later_count ? mover_now(m) : 0;

        for (unsigned i = 0; i < m->later_count; i++) {
                if (m->later[i].due > now)
                        continue;
                *ret = m->later[i];
                m->later[i] = m->later[--m->later_count];
                return true;
        }
        return false;
}

bool later_is_due(struct mover *m) {
        uint64_t due = managed_due(m->engine);

        return due && due <= mover_now(m);
}

bool later_is_told(const struct mover *m) {
        uint64_t due = managed_due(m->engine);

        return !due || (m->awaited && m->awaited <= due);
}

int later_ms(struct mover *m, bool awaits) {
        uint64_t due = awaits ? managed_due(m->engine) : 0, now;

        if (!due && !m->later_count)
                return -1;
        due = due ? due : UINT64_MAX;
        for (unsigned i = 0; i < m->later_count; i++)
                due = m->later[i].due < due ? m->later[i].due : due;
        now = mover_now(m);
        return due <= now ? 0 : (int)((due - now) / MS + 1);
}
