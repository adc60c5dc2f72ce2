#include "event.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "error.h"
#include "va.h"
#include "wire.h"

/*
 * The reader queues events, under the lock. They are handled at the end of the call that waited, in its thread and
 * without a lock: what an open reservation shows is brought up to date, then the program's handler runs. One thread
 * handles at a time, so the order stays; a call from within the handler leaves its events to the loop around it.
 *
 * The queue is bounded. What is lost shows as SVMD_EVENT_DROPPED, and costs a refresh of all shared reservations.
 */
enum { EVENTS_MAX = 1024 };

void event_init(svmd_session *s) {
        s->events_end = &s->events;
        s->poll_fd = s->wake_fd = -1;
}

void event_fini(svmd_session *s) {
        while (s->events) {
                struct event *e = s->events;

                s->events = e->next;
                free(e);
        }
        if (s->poll_fd >= 0)
                close(s->poll_fd);
        if (s->wake_fd >= 0)
                close(s->wake_fd);
        s->poll_fd = s->wake_fd = -1;
}

static struct svmd_event event_of(unsigned type, uint64_t generation) {
        return (struct svmd_event){
                .type = type,
                .generation = generation,
                .what = "",
                .partition = "",
                .text = "",
                .cause = "",
                .from = SVMD_NODE_NONE,
                .to = SVMD_NODE_NONE,
        };
}

static char *push_string(char **at, const char *text) {
        char *copy = *at;

        *at = stpcpy(copy, text) + 1;
        return copy;
}

/* NULL: it is lost. */
static struct event *event_push(svmd_session *s, const struct svmd_event *what) {
        size_t size = strlen(what->what) + strlen(what->partition) + strlen(what->text) + strlen(what->cause) + 4;
        struct event *e = NULL;
        char *at;

        if (s->event_count < EVENTS_MAX)
                e = calloc(1, sizeof(*e) + size);
        if (!e) {
                s->lost_events++;
                s->refresh_all = true;
                return NULL;
        }
        at = e->text;
        e->event = *what;
        e->event.what = push_string(&at, what->what);
        e->event.partition = push_string(&at, what->partition);
        e->event.text = push_string(&at, what->text);
        e->event.cause = push_string(&at, what->cause);
        *s->events_end = e;
        s->events_end = &e->next;
        s->event_count++;
        return e;
}

static void take_monitor(svmd_session *s, const Svmd__V1__MonitorEvent *m) {
        const struct svmd_event event = {
                .type = SVMD_EVENT_MONITOR,
                .address = (void *)(uintptr_t)m->address,
                .time_ns = m->time_ns,
                .session = m->session,
                .pid = m->pid,
                .what = m->what,
                .partition = m->partition,
                .text = m->text,
                .cause = m->cause,
                .length = m->size,
                .from = m->from - 1, /* 0 becomes SVMD_NODE_NONE */
                .to = m->to - 1,
        };

        event_push(s, &event);
}

static void take_reservation(svmd_session *s, const Svmd__V1__ReservationEvent *r) {
        const struct svmd_event event = event_of(r->gone ? SVMD_EVENT_GONE : SVMD_EVENT_RESERVATION, r->generation);
        struct event *e = event_push(s, &event);

        if (e)
                e->reservation = r->reservation;
}

static void take_epoch(svmd_session *s, uint64_t epoch) {
        const struct svmd_event event = event_of(SVMD_EVENT_EPOCH, epoch);

        event_push(s, &event);
}

static void take_registered(svmd_session *s, const Svmd__V1__RegisteredEvent *r) {
        struct svmd_event event = event_of(SVMD_EVENT_REGISTERED, r->generation);

        event.address = (void *)(uintptr_t)r->address;
        event.length = r->size;
        event.memory = r->memory;
        event.text = r->text;
        event_push(s, &event);
}

static void take_give_back(svmd_session *s, const Svmd__V1__GiveBackEvent *g) {
        struct svmd_event event = event_of(SVMD_EVENT_GIVE_BACK, 0);

        event.from = g->node;
        event.length = g->bytes;
        event.time_ns = g->deadline_ms * 1000000;
        event_push(s, &event);
}

void event_take(svmd_session *s, const Svmd__V1__Event *event) {
        s->lost_events += event->dropped;
        switch (event->event_case) {
        case SVMD__V1__EVENT__EVENT_MONITOR: take_monitor(s, event->monitor); break;
        case SVMD__V1__EVENT__EVENT_RESERVATION: take_reservation(s, event->reservation); break;
        case SVMD__V1__EVENT__EVENT_REGISTERED: take_registered(s, event->registered); break;
        case SVMD__V1__EVENT__EVENT_GIVE_BACK: take_give_back(s, event->give_back); break;
        case SVMD__V1__EVENT__EVENT_EPOCH: take_epoch(s, event->epoch->epoch); break;
        default: break;
        }
}

void event_ended(svmd_session *s) {
        struct svmd_event event = event_of(SVMD_EVENT_END, 0);

        event.text = s->end_text;
        event.code = s->end_code;
        event_push(s, &event);
}

void event_refresh(svmd_session *s) {
        s->refresh_all = true;
        event_wake(s);
}

void event_wake(svmd_session *s) {
        /* A counter that is full already is set. */
        if (s->wake_fd >= 0 && eventfd_write(s->wake_fd, 1) < 0)
                return;
}

/* ---- handling ---- */

static void emit(svmd_session *s, const struct svmd_event *event) {
        svmd_event_fn fn;
        void *userdata;

        pthread_mutex_lock(&s->lock);
        fn = s->handler;
        userdata = s->userdata;
        pthread_mutex_unlock(&s->lock);
        if (fn)
                fn(s, event, userdata);
}

static void emit_reservation(svmd_session *s, unsigned type, uint64_t address, uint64_t generation) {
        struct svmd_event event = event_of(type, generation);

        event.address = (void *)(uintptr_t)address;
        emit(s, &event);
}

/* With `va_lock` held. 0 when there is nothing to say, else the type of event. */
static unsigned update(svmd_session *s, struct reservation *r, bool gone, uint64_t generation) {
        int error;

        if (gone) {
                va_drop(s, r);
                return SVMD_EVENT_GONE;
        }
        if (generation && generation <= r->generation)
                return 0;
        error = va_refresh(s, r);
        if (error == SVMD_E_NO_SUCH || error == SVMD_E_FOREIGN) {
                va_drop(s, r);
                return SVMD_EVENT_GONE;
        }
        if (generation)
                r->generation = generation;
        return SVMD_EVENT_RESERVATION;
}

static void handle_reservation(svmd_session *s, const struct event *e) {
        struct reservation *r;
        uint64_t address = 0;
        unsigned type = 0;

        pthread_mutex_lock(&s->va_lock);
        r = va_by_id(s, e->reservation);
        if (r) {
                address = r->range.start;
                type = update(s, r, e->event.type == SVMD_EVENT_GONE, e->event.generation);
        }
        pthread_mutex_unlock(&s->va_lock);
        if (type)
                emit_reservation(s, type, address, e->event.generation);
}

/* The lowest shared reservation at or above `from`. */
static struct reservation *next_shared(svmd_session *s, uint64_t from) {
        struct range *r;

        while ((r = ranges_find(&s->reservations, from, UINT64_MAX))) {
                if (reservation_of(r)->shared)
                        return reservation_of(r);
                from = r->end;
        }
        return NULL;
}

static void handle_refresh_all(svmd_session *s) {
        uint64_t from = 0, address;

        for (;;) {
                struct reservation *r;
                unsigned type;

                pthread_mutex_lock(&s->va_lock);
                r = next_shared(s, from);
                if (!r) {
                        pthread_mutex_unlock(&s->va_lock);
                        return;
                }
                address = r->range.start;
                from = r->range.end;
                type = update(s, r, false, 0);
                pthread_mutex_unlock(&s->va_lock);
                if (type == SVMD_EVENT_GONE)
                        emit_reservation(s, type, address, 0);
        }
}

static struct event *event_pop(svmd_session *s) {
        struct event *e = s->events;

        if (!e)
                return NULL;
        s->events = e->next;
        if (!s->events)
                s->events_end = &s->events;
        s->event_count--;
        return e;
}

static void handle(svmd_session *s, const struct event *e) {
        if (e->event.type == SVMD_EVENT_RESERVATION || e->event.type == SVMD_EVENT_GONE)
                handle_reservation(s, e);
        else
                emit(s, &e->event);
}

static void handle_lost(svmd_session *s, uint64_t lost) {
        const struct svmd_event event = event_of(SVMD_EVENT_DROPPED, lost);

        emit(s, &event);
}

/* With `lock` held, which is let go meanwhile. False when nothing is left to do. */
static bool handle_one(svmd_session *s) {
        bool refresh = s->refresh_all && !s->ended;
        uint64_t lost = s->lost_events;
        struct event *e = NULL;

        s->refresh_all = false;
        s->lost_events = 0;
        if (!refresh && !lost)
                e = event_pop(s);
        if (!refresh && !lost && !e)
                return false;
        pthread_mutex_unlock(&s->lock);
        if (lost)
                handle_lost(s, lost);
        if (refresh)
                handle_refresh_all(s);
        if (e)
                handle(s, e);
        free(e);
        pthread_mutex_lock(&s->lock);
        return true;
}

int session_leave(svmd_session *s, int r) {
        char text[ERROR_MAX];

        pthread_mutex_lock(&s->lock);
        if ((s->events || s->refresh_all || s->lost_events) && !s->delivering) {
                error_save(text);
                s->delivering = true;
                while (handle_one(s))
                        ;
                s->delivering = false;
                error_restore(text);
        }
        pthread_mutex_unlock(&s->lock);
        return r;
}

/* ---- the program's side ---- */

int svmd_set_event_handler(svmd_session *s, svmd_event_fn fn, void *userdata) {
        int r = session_check(s);

        if (r)
                return r;
        pthread_mutex_lock(&s->lock);
        s->handler = fn;
        s->userdata = userdata;
        pthread_mutex_unlock(&s->lock);
        return 0;
}

static int watch(int poll_fd, int fd) {
        return epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &(struct epoll_event){ .events = EPOLLIN });
}

/* The socket alone would not do: another thread may have read what this one waits for. */
static int open_poll(svmd_session *s) {
        int poll_fd = epoll_create1(EPOLL_CLOEXEC), wake_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

        if (poll_fd < 0 || wake_fd < 0 || watch(poll_fd, s->socket) < 0 || watch(poll_fd, wake_fd) < 0) {
                if (poll_fd >= 0)
                        close(poll_fd);
                if (wake_fd >= 0)
                        close(wake_fd);
                return -1;
        }
        s->wake_fd = wake_fd;
        s->poll_fd = poll_fd;
        return poll_fd;
}

int svmd_event_fd(svmd_session *s) {
        int fd;

        if (session_check(s))
                return -1;
        pthread_mutex_lock(&s->lock);
        fd = s->poll_fd >= 0 ? s->poll_fd : open_poll(s);
        pthread_mutex_unlock(&s->lock);
        return fd;
}

static void clear_wake(svmd_session *s) {
        eventfd_t value;

        pthread_mutex_lock(&s->lock);
        if (s->wake_fd >= 0 && eventfd_read(s->wake_fd, &value) < 0)
                value = 0; /* it was not set */
        pthread_mutex_unlock(&s->lock);
}

int svmd_dispatch(svmd_session *s) {
        int r = session_check(s);

        if (r)
                return r;
        wire_read(s);
        clear_wake(s); /* what set it is there to be seen, or handled next */
        session_leave(s, 0);
        pthread_mutex_lock(&s->lock);
        r = s->ended ? fail(SVMD_E_GONE, "%s", s->end_text) : 0;
        pthread_mutex_unlock(&s->lock);
        return r;
}
