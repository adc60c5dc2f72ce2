#include "mover/trace.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"

/*
 * A recording: two buffers, of which one is filled by whoever has the mover's lock and the other is written by a thread
 * of its own. When the one is full and the other is not written yet, records are dropped and counted; how many is said
 * in the file as soon as there is room again. So a slow disk costs records, and neither memory nor anybody's time.
 *
 *     recording --stop--> stopped --the thread has written all, and the end record--> ended
 *         |                                              ^
 *         +--the file cannot be written------------------+  the end record takes the place of the last whole one
 *
 * Whoever asked for it and the thread have a reference each. The mover's is the thread's: the mover waits for it.
 */
enum { PATIENCE_MS = 50, ROOM_FOR_ONE = (TRACE_UNITS + 1) * TRACE_UNIT };

static void put(struct mover_trace *t) {
        if (__atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL))
                return;
        pthread_cond_destroy(&t->more);
        pthread_mutex_destroy(&t->lock);
        alloc_free(t->groups);
        alloc_free(t->fill.bytes);
        alloc_free(t->write.bytes);
        alloc_free(t);
}

/* ---- filling ---- */

static void pack(struct mover_trace *t, const struct trace_event *e) {
        t->fill.used += trace_pack(e, &t->last, t->fill.bytes + t->fill.used);
        t->fill.records++;
        t->records++;
}

static uint64_t time_of(struct mover_trace *t) {
        return mover_now(t->m) - t->began;
}

static bool store(struct mover_trace *t, const struct trace_event *e) {
        if (t->stop)
                return false;
        if (TRACE_ROOM - t->fill.used < 2 * ROOM_FOR_ONE) {
                t->untold++;
                t->dropped++;
                return false;
        }
        if (t->untold) {
                struct trace_event dropped = { .type = TRACE_DROPPED, .value = t->untold, .time = e->time };

                pack(t, &dropped);
                t->untold = 0;
        }
        pack(t, e);
        if (t->fill.used > TRACE_ROOM / 2)
                pthread_cond_signal(&t->more);
        return true;
}

bool trace_push_run(struct mover_trace *t) {
        struct trace_event run = t->run;

        t->run.count = 0;
        return !run.count || store(t, &run);
}

static bool goes_on(const struct trace_event *run, const struct trace_event *e) {
        return run->count && e->type == TRACE_MOVED && run->range == e->range && run->from == e->from &&
               run->node == e->node && run->flags == e->flags && run->first + run->count == e->first;
}

bool trace_push(struct mover_trace *t, struct trace_event *e) {
        e->time = time_of(t);
        if (goes_on(&t->run, e)) {
                t->run.count += e->count;
                return true;
        }
        trace_push_run(t);
        if (e->type != TRACE_MOVED)
                return store(t, e);
        t->run = *e;
        return true;
}

/* ---- writing ---- */

/* 0 when all of it is in the file; `*ret_done` how much is. */
static int write_all(int fd, const uint8_t *bytes, size_t size, uint64_t offset, size_t *ret_done) {
        size_t done = 0;
        int error = 0;

        while (done < size && !error) {
                ssize_t n = pwrite(fd, bytes + done, size - done, (off_t)(offset + done));

                if (n < 0 && errno != EINTR)
                        error = errno;
                done += n > 0 ? (size_t)n : 0;
                if (n == 0)
                        error = ENOSPC;
        }
        *ret_done = done;
        return error;
}

/* Takes note of where the last whole record begins, of the first `done` bytes of what was to be written. */
static void note_tail(struct mover_trace *t, const struct trace_buffer *b, size_t done) {
        size_t at = t->offset ? 0 : TRACE_HEADER;
        uint64_t records = 0;

        for (size_t n; at < done; at += n) {
                n = trace_record_size(b->bytes + at);
                if (at + n > done)
                        break;
                t->tail = t->offset + at;
                records++;
        }
        t->dropped += b->records - records;
        t->records -= b->records - records;
}

static void write_end(struct mover_trace *t) {
        struct trace_event end = { .type = TRACE_END, .flags = t->why, .first = (uint32_t)t->error };
        uint8_t bytes[ROOM_FOR_ONE];
        uint64_t last = 0, at = t->error ? t->tail : t->offset;
        size_t size = trace_pack(&end, &last, bytes), done;

        (void)write_all(t->fd, bytes, size, at, &done);
        pthread_mutex_lock(&t->lock);
        t->offset = at + done;
        pthread_mutex_unlock(&t->lock);
        if (ftruncate(t->fd, (off_t)(at + done)) < 0)
                return; /* what is left behind the end record is found by who reads it */
}

static void write_some(struct mover_trace *t) {
        size_t done;
        int error = write_all(t->fd, t->write.bytes, t->write.used, t->offset, &done);

        pthread_mutex_lock(&t->lock);
        note_tail(t, &t->write, done);
        t->offset += done;
        if (error) {
                t->error = error;
                t->why = TRACE_FAILED;
                t->stop = true;
                t->dropped += t->fill.records;
                t->records -= t->fill.records;
        }
        t->write.used = 0;
        t->write.records = 0;
        pthread_mutex_unlock(&t->lock);
}

static void swap(struct mover_trace *t) {
        struct trace_buffer b = t->fill;

        t->fill = t->write;
        t->write = b;
}

/* What has not been said when it is stopped: the moves that might have gone on, and how many records were dropped. */
static void last_words(struct mover_trace *t) {
        struct trace_event dropped = { .type = TRACE_DROPPED, .value = t->untold };

        if (!t->stop || t->error || TRACE_ROOM - t->fill.used < 3 * ROOM_FOR_ONE)
                return;
        if (t->run.count)
                pack(t, &t->run);
        t->run.count = 0;
        if (t->untold)
                pack(t, &dropped);
        t->untold = 0;
}

/* False: it has been stopped, and nothing is left to write. */
static bool await(struct mover_trace *t) {
        struct timespec until;
        uint64_t ns = clock_ns(CLOCK_MONOTONIC) + PATIENCE_MS * 1000000ull;
        bool some;

        until.tv_sec = (time_t)(ns / 1000000000);
        until.tv_nsec = (long)(ns % 1000000000);
        pthread_mutex_lock(&t->lock);
        while (!t->stop && t->fill.used <= TRACE_ROOM / 2 && !trace_scans_left(t))
                if (pthread_cond_timedwait(&t->more, &t->lock, &until))
                        break;
        last_words(t);
        some = t->fill.used && !t->error;
        if (some)
                swap(t);
        some |= !t->stop;
        pthread_mutex_unlock(&t->lock);
        return some;
}

/* Nobody fills it any more when this returns. */
static void leave(struct mover_trace *t) {
        struct mover *m = t->m;

        mover_lock(m);
        if (t->index < MOVER_TRACES && m->traces[t->index] == t) {
                m->traces[t->index] = NULL;
                m->traces_count--;
        }
        m->trace_threads--;
        pthread_cond_broadcast(&m->gone);
        mover_unlock(m);
}

static void *trace_main(void *userdata) {
        struct mover_trace *t = userdata;

        while (await(t)) {
                if (t->write.used)
                        write_some(t);
                trace_scan_some(t);
        }
        write_end(t);
        close(t->fd);
        pthread_mutex_lock(&t->lock);
        t->ended = true;
        pthread_mutex_unlock(&t->lock);
        leave(t);
        put(t);
        return NULL;
}

/* ---- from outside ---- */

static int trace_alloc(struct mover_trace **ret, struct mover *m, const struct mover_trace_args *a) {
        struct mover_trace *t = alloc_zero(sizeof(*t));
        pthread_condattr_t attr;

        if (!t)
                return -ENOMEM;
        t->m = m;
        t->refs = 2;
        t->tail = TRACE_HEADER;
        t->fd = a->fd;
        t->faults = a->faults;
        t->group = a->group;
        pthread_mutex_init(&t->lock, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&t->more, &attr);
        pthread_condattr_destroy(&attr);
        t->fill.bytes = alloc_zero(TRACE_ROOM);
        t->write.bytes = alloc_zero(TRACE_ROOM);
        if (!t->fill.bytes || !t->write.bytes) {
                t->refs = 1;
                put(t);
                return -ENOMEM;
        }
        *ret = t;
        return 0;
}

static int enter(struct mover *m, struct mover_trace *t) {
        unsigned i = 0;

        while (i < MOVER_TRACES && m->traces[i])
                i++;
        if (i == MOVER_TRACES)
                return -EBUSY;
        t->index = i;
        t->began = mover_now(m);
        trace_forget(m, i);
        pthread_mutex_lock(&t->lock);
        trace_describe_machine(t);
        pthread_mutex_unlock(&t->lock);
        m->traces[i] = t;
        m->traces_count++;
        m->trace_threads++;
        return 0;
}

static void begin(struct mover_trace *t, const struct mover_trace_args *a) {
        struct trace_header h = { .started_ns = clock_ns(CLOCK_REALTIME), .faults = a->faults };

        snprintf(h.partition, sizeof(h.partition), "%s", a->partition ? a->partition : "");
        trace_pack_header(&h, t->fill.bytes);
        t->fill.used = TRACE_HEADER;
}

int mover_trace_new(struct mover *m, struct mover_trace **ret, const struct mover_trace_args *a) {
        struct mover_trace *t;
        pthread_t thread;
        int k = trace_alloc(&t, m, a);

        if (k)
                return k;
        begin(t, a);
        mover_lock(m);
        k = enter(m, t);
        mover_unlock(m);
        if (k) {
                t->refs = 1;
                put(t);
                return k;
        }
        k = thread_new(&thread, trace_main, t, "svmd-trace");
        if (k) {
                leave(t);
                t->refs = 1;
                put(t);
                return k;
        }
        pthread_detach(thread);
        *ret = t;
        return 0;
}

void mover_trace_stop(struct mover_trace *t, bool gone) {
        pthread_mutex_lock(&t->lock);
        if (!t->stop)
                t->why = gone ? TRACE_GONE : TRACE_STOPPED;
        t->stop = true;
        pthread_cond_signal(&t->more);
        pthread_mutex_unlock(&t->lock);
}

void mover_trace_info(struct mover_trace *t, struct mover_trace_info *ret) {
        pthread_mutex_lock(&t->lock);
        *ret = (struct mover_trace_info){
                .ended = t->ended, .error = t->error, .records = t->records, .dropped = t->dropped, .bytes = t->offset
        };
        pthread_mutex_unlock(&t->lock);
}

void mover_trace_put(struct mover_trace *t) {
        if (t)
                put(t);
}

bool traces_stop(struct mover *m) {
        struct timespec until;
        bool all;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 5;
        mover_lock(m);
        for (unsigned i = 0; i < MOVER_TRACES; i++) {
                struct mover_trace *t = m->traces[i];

                if (!t)
                        continue;
                pthread_mutex_lock(&t->lock);
                t->why = t->stop ? t->why : TRACE_DAEMON;
                t->stop = true;
                pthread_cond_signal(&t->more);
                pthread_mutex_unlock(&t->lock);
        }
        while (m->trace_threads && pthread_cond_timedwait(&m->gone, &m->lock, &until) == 0)
                ;
        all = !m->trace_threads;
        mover_unlock(m);
        return all;
}
