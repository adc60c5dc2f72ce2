#include <sched.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "mover/internal.h"

/*
 * How a worker waits. A CPU takes longer to wake up than a fault takes to be served, and who has faulted once goes on
 * in the next page. So one worker at a time looks for a moment before it sleeps; it gives way to whoever wants its CPU,
 * the process that it has just served among them. While others are at work none looks: giving way to a long copy would
 * take longer than to wake up.
 *
 * It looks as long as waits have been short lately: after one that was, waking up included, for POLL_NS; each that was
 * not halves that, down to none.
 */
enum { SHORT_NS = 100000, POLL_NS = 50000, POLL_LEAST_NS = 5000 };

uint64_t await_window(uint64_t window, uint64_t waited_ns, bool came) {
        if (came && waited_ns < SHORT_NS)
                return POLL_NS;
        return window / 2 < POLL_LEAST_NS ? 0 : window / 2;
}

static int look_until(const struct mover *m, struct epoll_event *ret, uint64_t end) {
        int n;

        while ((n = epoll_wait(m->epoll, ret, 1, 0)) == 0 && clock_ns(CLOCK_MONOTONIC) < end)
                sched_yield();
        return n;
}

int await_event(struct mover *m, struct epoll_event *ret, int patience_ms) {
        bool others_work = m->idle + 1 < workers_able(m);
        bool looks = m->window && !m->looking && !others_work && patience_ms != 0;
        uint64_t begin, window = m->window;
        int n = 0;

        m->idle++;
        m->looking |= looks;
        mover_unlock(m);
        begin = clock_ns(CLOCK_MONOTONIC);
        if (looks)
                n = look_until(m, ret, begin + window);
        if (n == 0)
                n = epoll_wait(m->epoll, ret, 1, patience_ms);
        mover_lock(m);
        m->idle--;
        if (looks)
                m->looking = false;
        m->window = await_window(m->window, mover_now(m) - begin, n == 1);
        return n;
}
