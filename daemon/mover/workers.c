#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "mover/clientmem.h"
#include "mover/internal.h"
#include "mover/steps.h"

/*
 * Workers. Each goes round: is there a step, then it carries it out; is there none, then it waits for whatever any
 * session's userfaultfd says, and takes that to the engine. So the worker that reads a fault serves it.
 *
 * The last one that is free stays so: as long as moves that nobody waits for fill the others' time, it waits for
 * faults.
 *
 * Edges wake (EPOLLET): a fault wakes one idle worker, and a batch that was read to its end needs no call to arm it
 * again. Steps that come from elsewhere are told by an eventfd, which is written only when somebody is idle and none
 * has been told yet; who takes a step while there are more tells the next.
 */
struct worker {
        struct list link;
        struct mover *m;
        uint64_t since;           /* when it went into what it may be stuck in, 0: it is in nothing */
        struct mover_session *in; /* whose address space that is; NULL: nobody's */
        unsigned looks;           /* of the watchdog, meanwhile */
        bool stuck;
};

unsigned workers_able(const struct mover *m) {
        return m->threads - m->leaving - m->stuck;
}

bool workers_wanted(const struct mover *m) {
        if (!m->idle || m->kicked)
                return false;
        if (m->stop || !list_empty(&m->jobs) || !list_empty(&m->ended) || managed_urgent(m->engine) ||
            !later_is_told(m) || (m->later_count && !m->later_waiters))
                return true;
        return managed_ready(m->engine) && (m->idle > 1 || m->idle == workers_able(m));
}

void workers_kick(struct mover *m) {
        uint64_t one = 1;

        while (write(m->kick, &one, sizeof(one)) < 0 && errno == EINTR)
                ;
}

/* It goes into something from which it may not come back for long. */
static void enter(struct mover *m, struct worker *w, struct mover_session *in) {
        w->since = mover_now(m);
        w->in = in;
        w->looks = 0;
        if (m->idle <= 1 && !m->watch)
                m->watch = m->watch_due = true;
}

static void left(struct mover *m, struct worker *w) {
        w->since = 0;
        w->in = NULL;
        if (w->stuck)
                m->stuck--;
        w->stuck = false;
}

/* Ends the step for the engine. */
static void complete(struct mover *m, const struct managed_step *step, int result) {
        struct mover_session *s = step->session;
        bool punched = step->type == MANAGED_PUNCH_HOLE;
        uint32_t first = step->granule, count = step->count;
        struct mover_range *r = step->range;

        if (punched && !result)
                record_punched(r, first, count);
        if (s && result == -ESRCH)
                session_lost(s, "its process has ended", false);
        managed_complete(m->engine, step, result, mover_now(m));
        if (s) {
                joins_go_on(s);
                session_drop(s);
        }
}

/* As much as a granule of the largest size takes, so that nobody waits longer for it. */
static void take_along(struct mover *m, struct batch *b) {
        uint64_t bytes = (uint64_t)b->step[0]->count * b->step[0]->bytes;
        const struct managed_step *next;

        while (b->count < BATCH_STEPS && bytes < BATCH_BYTES &&
               (next = managed_take_behind(m->engine, b->step[b->count - 1]))) {
                b->step[b->count++] = next;
                bytes += (uint64_t)next->count * next->bytes;
        }
}

static void run_step(struct mover *m, struct worker *w, const struct managed_step *step) {
        struct mover_session *s = step->session;
        struct batch b = { .step = { step }, .count = 1 };

        take_along(m, &b);
        if (s)
                s->refs += b.count;
        enter(m, w, s);
        mover_unlock(m);
        batch_execute(m, &b);
        mover_lock(m);
        left(m, w);
        for (unsigned i = 0; i < b.count; i++)
                if (!step_rests(b.step[i], b.result[i]) || !later_put(m, b.step[i], b.result[i]))
                        complete(m, b.step[i], b.result[i]);
}

static void wait_for_work(struct mover *m, struct worker *w) {
        struct mover_session *s;
        struct epoll_event e;
        bool awaits = !later_is_told(m), waits = m->later_count > 0, came;

        if (awaits)
                m->awaited = managed_due(m->engine);
        m->later_waiters += waits;
        came = await_event(m, &e, later_ms(m, awaits)) == 1;
        m->later_waiters -= waits;
        if (awaits)
                m->awaited = 0;
        if (!came)
                return;
        if (e.data.u64 == 0) {
                m->kicked = false;
                return;
        }
        s = session_get(m, e.data.u64);
        if (!s)
                return;
        enter(m, w, NULL);
        session_read(m, s);
        left(m, w);
}

static bool is_surplus(const struct mover *m) {
        return m->stop || workers_able(m) > m->c.workers;
}

static void run_join(struct mover *m, struct worker *w, struct join *j) {
        enter(m, w, NULL);
        join_run(m, j);
        left(m, w);
}

static void run_end(struct mover *m, struct worker *w, struct mover_session *s) {
        enter(m, w, NULL);
        mover_unlock(m);
        session_close(s);
        mover_lock(m);
        left(m, w);
}

static const struct managed_step *take(struct mover *m) {
        return m->idle || workers_able(m) == 1 ? managed_take(m->engine) : managed_take_urgent(m->engine);
}

static void work(struct mover *m, struct worker *w) {
        const struct managed_step *step;
        struct mover_session *ended;
        struct later later;
        struct join *join;

        if (later_is_due(m))
                managed_tick(m->engine, mover_now(m));
        else if (later_take(m, &later))
                complete(m, later.step, later.result);
        else if ((join = join_take(m)))
                run_join(m, w, join);
        else if ((ended = session_take_ended(m)))
                run_end(m, w, ended);
        else if ((step = take(m)))
                run_step(m, w, step);
        else
                wait_for_work(m, w);
}

static void *worker_main(void *userdata) {
        struct worker *w = userdata;
        struct mover *m = w->m;

        mover_lock(m);
        while (!is_surplus(m))
                work(m, w);
        m->leaving++;    /* so that no other one leaves in its stead */
        mover_unlock(m); /* wakes whoever has to hear of what it did last */
        mover_lock(m);
        m->leaving--;
        list_remove(&w->link);
        alloc_free(w);
        m->threads--;
        /* The last may be waited for: after this nothing of the mover is touched. */
        if (workers_wanted(m)) {
                m->kicked = true;
                workers_kick(m);
        }
        pthread_cond_broadcast(&m->gone);
        pthread_mutex_unlock(&m->lock);
        return NULL;
}

/* Signals are for the daemon's loop. */
int thread_new(pthread_t *ret, void *(*fn)(void *), void *userdata, const char *name) {
        sigset_t all, before;
        int k;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        k = pthread_create(ret, NULL, fn, userdata);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (!k)
                (void)pthread_setname_np(*ret, name);
        return -k;
}

/* With the lock given up meanwhile. */
int worker_new(struct mover *m) {
        struct worker *w = alloc_zero(sizeof(*w));
        pthread_t thread;
        int k;

        if (!w)
                return -ENOMEM;
        w->m = m;
        list_push_back(&m->workers, &w->link);
        m->threads++;
        mover_unlock(m);
        k = thread_new(&thread, worker_main, w, "svmd-mover");
        if (!k)
                pthread_detach(thread);
        mover_lock(m);
        if (k) {
                list_remove(&w->link);
                alloc_free(w);
                m->threads--;
        }
        return k;
}

unsigned workers_stuck(struct mover *m, uint64_t since) {
        list_for_each (it, &m->workers) {
                struct worker *w = container_of(it, struct worker, link);

                if (w->stuck || !w->since || w->since > since)
                        continue;
                w->stuck = true;
                m->stuck++;
        }
        return m->stuck;
}

void workers_look(struct mover *m) {
        list_for_each (it, &m->workers) {
                struct worker *w = container_of(it, struct worker, link);

                if (w->in && !list_empty(&m->taken))
                        holdup_look(w->in, ++w->looks);
        }
}

int workers_start(struct mover *m) {
        int k;

        if (m->started)
                return 0;
        k = watchdog_start(m);
        if (k)
                return k;
        mover_lock(m);
        while (!k && m->threads < m->c.workers)
                k = worker_new(m);
        mover_unlock(m);
        if (!k)
                m->started = true;
        else
                watchdog_stop(m);
        return k;
}

int workers_init(struct mover *m) {
        struct epoll_event e = { .events = EPOLLIN | EPOLLET };
        pthread_condattr_t monotonic;

        list_init(&m->workers);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&m->watch_cond, &monotonic);
        pthread_cond_init(&m->gone, &monotonic);
        pthread_condattr_destroy(&monotonic);
        m->epoll = epoll_create1(EPOLL_CLOEXEC);
        m->kick = m->epoll < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (m->kick < 0 || epoll_ctl(m->epoll, EPOLL_CTL_ADD, m->kick, &e) < 0)
                return -errno;
        return 0;
}

static void stop_clients(const struct list *sessions) {
        list_for_each (it, sessions) {
                struct mover_session *s = container_of(it, struct mover_session, link);

                clientmem_stop(s->client);
                s->client = NULL;
        }
}

bool workers_stop(struct mover *m) {
        struct timespec until;
        bool all;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 5;
        mover_lock(m);
        m->stop = true;
        mover_unlock(m);
        if (m->started)
                watchdog_stop(m);
        mover_lock(m);
        stop_clients(&m->sessions);
        stop_clients(&m->ended);
        while ((m->threads || m->clients) && pthread_cond_timedwait(&m->gone, &m->lock, &until) == 0)
                ;
        all = m->threads == 0 && m->clients == 0;
        mover_unlock(m);
        return all;
}

void workers_fini(struct mover *m) {
        if (m->epoll >= 0)
                close(m->epoll);
        if (m->kick >= 0)
                close(m->kick);
        pthread_cond_destroy(&m->watch_cond);
        pthread_cond_destroy(&m->gone);
}
