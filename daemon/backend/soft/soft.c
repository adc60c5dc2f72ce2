#include "backend/soft/soft.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "backend/kinds.h"
#include "backend/soft/range.h"
#include "base/alloc.h"
#include "proto/status.h"

/*
 * The software device: memory of its own (a pool that no client can map), a page table for each space, and one thread
 * that executes operations through them.
 *
 * The thread takes the spaces that have operations in turn, and of each the first operation for one chunk. An operation
 * that needs a granule of a managed range which its node is not shown asks for it, and its space leaves the row until
 * the answer is there:
 *
 *      ready ---> running ---> ready, or ended
 *        ^           |
 *        |           +-- fault() --> asking
 *        +-- range_answer() -----------+
 *
 * What it needs of memory that a process has itself it asks for likewise, see client.c.
 *
 * Two kinds of locks, never held together: a space's (translation, see space.c), the device's (queues). `done` and what
 * asks about granules are called with neither.
 */
static enum soft_outcome end_as_gone(struct device_space *s, struct device_result *result) {
        soft_give_back(s);
        result->code = SVMD_STATUS_GONE;
        snprintf(result->text, sizeof(result->text), "%s: the space was destroyed before the operation had ended",
                 s->device->name);
        return SOFT_ENDED;
}

/* The answer may come before this returns. */
static void ask(struct device_space *s, struct soft_job *job) {
        const struct device_range *r;

        if (soft_client_ask(s))
                return;
        r = s->ask.range;
        r->faults->fault(r->range, s->ask.granule, r->node, s->ask.write, job);
}

/* One turn of a space: a chunk of its first operation. Called and returns with the device locked, unlocks between. */
static void serve(struct device *d, struct device_space *s) {
        struct soft_job *job = container_of(s->jobs.next, struct soft_job, link);
        struct device_result result = { .fence = job->op.fence };
        enum soft_outcome outcome;
        bool dying = s->dying;

        d->running = s;
        pthread_mutex_unlock(&d->lock);

        outcome = dying ? end_as_gone(s, &result) : soft_run_chunk(s, job, &result);
        if (outcome == SOFT_ASKS)
                ask(s, job);
        if (outcome == SOFT_ENDED) {
                if (!dying)
                        atomic_fetch_add(&d->ops_done, 1);
                d->done(d->userdata, &result);
        }

        pthread_mutex_lock(&d->lock);
        d->running = NULL;
        if (outcome == SOFT_ASKS)
                return;
        if (outcome == SOFT_ENDED) {
                list_remove(&job->link);
                s->jobs_count--;
                alloc_free(job);
        }
        if (s->jobs_count > 0)
                list_push_back(&d->ready, &s->ready);
        else if (s->dying)
                pthread_cond_broadcast(&d->settled);
}

static void *device_main(void *userdata) {
        struct device *d = userdata;

        pthread_mutex_lock(&d->lock);
        while (!d->stop) {
                struct device_space *s;

                if (list_empty(&d->ready)) {
                        pthread_cond_wait(&d->wake, &d->lock);
                        continue;
                }
                s = container_of(d->ready.next, struct device_space, ready);
                list_remove(&s->ready);
                serve(d, s);
        }
        pthread_mutex_unlock(&d->lock);
        return NULL;
}

/* Signals are for the daemon's loop. */
static int start_thread(struct device *d) {
        sigset_t all, before;
        char name[16];
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&d->thread, NULL, device_main, d);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r != 0)
                return -r;
        snprintf(name, sizeof(name), "%.15s", d->name);
        (void)pthread_setname_np(d->thread, name);
        return 0;
}

static void destroy_device(struct device *d) {
        pthread_cond_destroy(&d->wake);
        pthread_cond_destroy(&d->settled);
        pthread_mutex_destroy(&d->lock);
        alloc_free(d);
}

static int soft_device_new(struct device **ret, const struct node_desc *desc, device_done_fn done, void *userdata) {
        struct device *d;
        int r;

        d = alloc_zero(sizeof(*d));
        if (!d)
                return -ENOMEM;
        memcpy(d->name, desc->name, sizeof(d->name));
        d->faults = desc->faults;
        d->done = done;
        d->userdata = userdata;
        pthread_mutex_init(&d->lock, NULL);
        pthread_cond_init(&d->wake, NULL);
        pthread_cond_init(&d->settled, NULL);
        list_init(&d->ready);
        r = start_thread(d);
        if (r < 0) {
                destroy_device(d);
                return r;
        }
        *ret = d;
        return 0;
}

static void soft_device_free(struct device *d) {
        if (!d)
                return;
        pthread_mutex_lock(&d->lock);
        d->stop = true;
        pthread_cond_signal(&d->wake);
        pthread_mutex_unlock(&d->lock);
        pthread_join(d->thread, NULL);
        destroy_device(d);
}

static uint64_t soft_ops_done(const struct device *d) {
        return atomic_load(&d->ops_done);
}

static bool soft_attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size) {
        if (attrs->access != 0 && attrs->access != 1 && attrs->access != 3)
                snprintf(why, why_size, "access %u: a software device knows 0 (none), 1 (read) and 3 (read and write)",
                         attrs->access);
        else if (attrs->pat > 15)
                snprintf(why, why_size, "pat %u: a software device knows the indices 0 to 15", attrs->pat);
        else if (attrs->kind > 255)
                snprintf(why, why_size, "kind %u: a software device knows the kinds 0 to 255", attrs->kind);
        else
                return true;
        return false;
}

static int soft_submit(struct device_space *s, const struct device_op *op) {
        struct device *d = s->device;
        struct soft_job *job;
        int r = 0;

        job = alloc_zero(sizeof(*job));
        if (!job)
                return -ENOMEM;
        job->space = s;
        job->op = *op;
        pthread_mutex_lock(&d->lock);
        if (s->jobs_count >= SOFT_QUEUE_MAX) {
                r = -EAGAIN;
        } else {
                list_push_back(&s->jobs, &job->link);
                if (s->jobs_count++ == 0) {
                        list_push_back(&d->ready, &s->ready);
                        pthread_cond_signal(&d->wake);
                }
        }
        pthread_mutex_unlock(&d->lock);
        if (r < 0)
                alloc_free(job);
        return r;
}

void soft_goes_on(struct device_space *s) {
        struct device *d = s->device;

        pthread_mutex_lock(&d->lock);
        list_push_back(&d->ready, &s->ready);
        pthread_cond_signal(&d->wake);
        pthread_mutex_unlock(&d->lock);
}

static void soft_range_answer(struct device *d, void *token, unsigned code, const char *text) {
        struct soft_job *job = token;
        struct device_space *s = job->space;

        pthread_mutex_lock(&d->lock);
        s->ask.code = code;
        snprintf(s->ask.text, sizeof(s->ask.text), "%s", code == SVMD_STATUS_OK ? "" : text);
        list_push_back(&d->ready, &s->ready);
        pthread_cond_signal(&d->wake);
        pthread_mutex_unlock(&d->lock);
}

const struct backend backend_soft = {
        .kind = NODE_SOFT,
        .name = "soft",
        .granularity = PAGETABLE_PAGE,
        .has_spaces = true,
        .device_new = soft_device_new,
        .device_free = soft_device_free,
        .ops_done = soft_ops_done,
        .space_new = soft_space_new,
        .space_free = soft_space_free,
        .attrs_ok = soft_attrs_ok,
        .map = soft_map,
        .unmap = soft_unmap,
        .protect = soft_protect,
        .sparse = soft_sparse,
        .translate = soft_translate,
        .submit = soft_submit,
        .range_new = soft_range_new,
        .range_free = soft_range_free,
        .range_map = soft_range_map,
        .range_invalidate = soft_range_invalidate,
        .range_answer = soft_range_answer,
        .space_show = soft_space_show,
        .space_hide = soft_space_hide,
};
