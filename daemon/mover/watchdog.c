#include <time.h>

#include "mover/internal.h"

/*
 * Replaces workers that are kept in some address space. It sleeps as long as two workers are idle and nothing is being
 * revoked: what comes then is served. Else it looks every stuck_ns at those that have been in one place since its last
 * look, and makes new ones in their stead; when they come back there is one too many, which ends.
 */
enum { MS = 1000000 };

uint64_t stuck_ns(const struct mover *m) {
        return m->c.stuck_ns ? m->c.stuck_ns : 10 * MS;
}

/* False: something was told. */
static bool sleep_for(struct mover *m, uint64_t ns) {
        uint64_t until = mover_now(m) + ns;
        bool told;
        struct timespec t = { (time_t)(until / 1000000000), (long)(until % 1000000000) };

        told = pthread_cond_timedwait(&m->watch_cond, &m->lock, &t) == 0;
        m->now = 0;
        return !told;
}

static void replace(struct mover *m) {
        unsigned stuck = workers_stuck(m, mover_now(m) - stuck_ns(m));

        while (!m->stop && m->threads - stuck < m->c.workers && m->threads < m->c.workers_max)
                if (worker_new(m))
                        return;
}

static void *watchdog_main(void *userdata) {
        struct mover *m = userdata;

        mover_lock(m);
        while (!m->stop) {
                if (list_empty(&m->taken) && (m->idle > 1 || !m->watch)) {
                        m->watch = false;
                        pthread_cond_wait(&m->watch_cond, &m->lock);
                        m->now = 0;
                        continue;
                }
                if (sleep_for(m, stuck_ns(m))) {
                        replace(m);
                        workers_look(m);
                }
        }
        mover_unlock(m);
        return NULL;
}

int watchdog_start(struct mover *m) {
        return thread_new(&m->watchdog, watchdog_main, m, "svmd-watchdog");
}

void watchdog_stop(struct mover *m) {
        bool stop;

        mover_lock(m);
        stop = m->stop;
        m->stop = true;
        pthread_cond_signal(&m->watch_cond);
        mover_unlock(m);
        pthread_join(m->watchdog, NULL);
        mover_lock(m);
        m->stop = stop;
        mover_unlock(m);
}
