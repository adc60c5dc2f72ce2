#include "fence.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "agent/cuda.h"
#include "error.h"
#include "proto/status.h"
#include "wire.h"

/*
 * A fence is pending from the reply that names it until its end is known: by an event, by the answer to a question
 * after a restart of svmd, or with the session. Then it is finished, and stays so until the program frees it.
 */

/* ---- fences, with the session's lock held ---- */

static void unlink_pending(svmd_session *s, struct svmd_fence *f) {
        *f->link = f->next;
        if (f->next)
                f->next->link = f->link;
        else
                s->pending_end = f->link;
}

static void link_finished(svmd_session *s, struct svmd_fence *f) {
        f->next = s->finished;
        f->link = &s->finished;
        if (f->next)
                f->next->link = &f->next;
        s->finished = f;
}

static void finish(svmd_session *s, struct svmd_fence *f, int code, const char *text) {
        f->done = true;
        f->code = code;
        f->text = text[0] ? strdup(text) : NULL; /* without memory the sentence of the code has to do */
        unlink_pending(s, f);
        link_finished(s, f);
        for (struct waiter *w = s->waiters; w; w = w->next) {
                if (w->fence == f) {
                        w->done = true;
                        pthread_cond_signal(&w->wake);
                }
        }
}

/* Where svmd cannot: it knows nothing of the fence, or is gone. */
static void signal_here(const struct svmd_fence *f) {
        uint64_t one = 1;

        /* A failure means that it is readable already. */
        if (f->eventfd >= 0)
                (void)!write(f->eventfd, &one, sizeof(one));
}

void fence_link(svmd_session *s, struct svmd_fence *f, uint64_t id) {
        f->id = id;
        f->link = s->pending_end;
        *s->pending_end = f;
        s->pending_end = &f->next;
        if (id)
                return;
        signal_here(f);
        finish(s, f, 0, "");
}

static struct svmd_fence *find_pending(svmd_session *s, uint64_t id) {
        struct svmd_fence *f = s->pending;

        while (f && f->id != id)
                f = f->next;
        return f;
}

void fence_done(svmd_session *s, uint64_t id, const Svmd__V1__FenceResult *result) {
        struct svmd_fence *f = find_pending(s, id);

        if (!f)
                return;
        f->value = result->value;
        f->address = result->address;
        if (result->code == SVMD_E_INTERRUPTED)
                signal_here(f);
        finish(s, f, (int)result->code, result->text);
}

void fence_failed(svmd_session *s, uint64_t id, int code, const char *text) {
        struct svmd_fence *f = find_pending(s, id);

        if (!f)
                return;
        signal_here(f);
        finish(s, f, code, text);
}

void fence_end_all(svmd_session *s, int code, const char *text) {
        while (s->pending) {
                struct svmd_fence *f = s->pending;

                signal_here(f);
                finish(s, f, code, text);
        }
}

void fence_destroy(struct svmd_fence *f) {
        if (f->eventfd >= 0)
                close(f->eventfd);
        free(f->text);
        free(f);
}

void fence_free_all(svmd_session *s) {
        struct svmd_fence *lists[] = { s->pending, s->finished };

        for (int i = 0; i < 2; i++) {
                while (lists[i]) {
                        struct svmd_fence *f = lists[i];

                        lists[i] = f->next;
                        fence_destroy(f);
                }
        }
        s->pending = s->finished = NULL;
        s->pending_end = &s->pending;
}

/* ---- the program's side ---- */

int fence_new(svmd_session *s, bool notify, struct svmd_fence **ret) {
        struct svmd_fence *f = calloc(1, sizeof(*f));

        if (!f)
                return fail_memory();
        f->session = s;
        f->eventfd = -1;
        if (notify) {
                f->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                if (f->eventfd < 0) {
                        free(f);
                        return fail_errno(errno, "an eventfd for the fence could not be made");
                }
        }
        *ret = f;
        return 0;
}

static struct timespec deadline_in(int ms) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        t.tv_sec += ms / 1000;
        t.tv_nsec += (ms % 1000) * 1000000l;
        if (t.tv_nsec >= 1000000000l) {
                t.tv_sec++;
                t.tv_nsec -= 1000000000l;
        }
        return t;
}

/* With `lock` held. The waiter is done with the fence, or the time is over. */
static int wait_for(svmd_session *s, const struct svmd_fence *f, int timeout_ms) {
        struct timespec deadline = deadline_in(timeout_ms < 0 ? 0 : timeout_ms);
        struct waiter w;

        if (f->done)
                return 0;
        if (waiter_init(&w) < 0)
                return fail_memory();
        w.fence = f;
        wire_wait(s, &w, timeout_ms < 0 ? NULL : &deadline);
        pthread_cond_destroy(&w.wake);
        if (!f->done)
                return fail(SVMD_E_TIMEOUT, "the operation was not done within %d ms", timeout_ms);
        return 0;
}

int fence_wait(struct svmd_fence *f, int timeout_ms, struct svmd_fence_result *ret) {
        svmd_session *s = f->session;
        bool done;
        int r;

        pthread_mutex_lock(&s->lock);
        r = wait_for(s, f, timeout_ms);
        done = f->done;
        pthread_mutex_unlock(&s->lock);
        if (!done)
                return r;
        if (ret)
                *ret = (struct svmd_fence_result){ .code = f->code, .value = f->value, .address = f->address };
        return f->code ? fail(f->code, "%s", f->text ? f->text : status_text((unsigned)f->code)) : r;
}

void fence_shows(struct svmd_fence *f, uint64_t address, uint64_t size, svmd_node node) {
        f->shows = address;
        f->shows_size = size ? size : UINT64_MAX;
        f->shows_node = node;
}

/* Once. */
static int show(struct svmd_fence *f) {
        svmd_session *s = f->session;
        uint64_t size;

        pthread_mutex_lock(&s->lock);
        size = f->shows_size;
        f->shows_size = 0;
        pthread_mutex_unlock(&s->lock);
        return size ? cuda_managed_map(s, f->shows, size, f->shows_node) : 0;
}

int svmd_fence_wait(svmd_fence *f, int timeout_ms, struct svmd_fence_result *ret) {
        int r;

        if (!f)
                return fail(SVMD_E_INVALID, "no fence was given to wait for");
        r = session_check(f->session);
        if (r)
                return r;
        r = fence_wait(f, timeout_ms, ret);
        return session_leave(f->session, r ? r : show(f));
}

int svmd_fence_eventfd(svmd_fence *f) {
        return f ? f->eventfd : -1;
}

void svmd_fence_free(svmd_fence *f) {
        svmd_session *s;

        if (!f)
                return;
        s = f->session;
        pthread_mutex_lock(&s->lock);
        if (f->done) {
                *f->link = f->next;
                if (f->next)
                        f->next->link = f->link;
        } else {
                unlink_pending(s, f);
        }
        pthread_mutex_unlock(&s->lock);
        fence_destroy(f);
}
