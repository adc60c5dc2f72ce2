#include "backend/soft/soft.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "backend/kinds.h"
#include "base/alloc.h"
#include "proto/status.h"

/*
 * The software device: memory of its own (a pool that no client can map), a page table for each space, and one thread
 * that executes operations through them.
 *
 * The thread takes the spaces that have operations in turn, and of each the first operation for one chunk. Translation
 * and access of a chunk are one critical section of the space's lock, and whoever changes the translation takes that
 * lock too: when unmap() returns, no operation uses what was there, and none keeps a pointer over it.
 *
 * A caller must not wait for more than a chunk, but a mutex goes to whoever comes first, and the thread comes back at
 * once. So a caller counts itself before it asks for the lock, and the thread, once it has the lock, lets those that it
 * counts in first (`left` tells it that one has been).
 *
 * Two kinds of locks, never held together: a space's (translation), the device's (queues). `done` is called with
 * neither.
 */

static void space_enter(struct device_space *s) {
        atomic_fetch_add(&s->waiting, 1);
        pthread_mutex_lock(&s->lock);
        atomic_fetch_sub(&s->waiting, 1);
}

static void space_leave(struct device_space *s) {
        bool yielding = s->yielding;

        pthread_mutex_unlock(&s->lock);
        if (yielding)
                pthread_cond_signal(&s->left);
}

static bool run_chunk(struct device_space *s, struct soft_job *job, struct device_result *result) {
        bool ended;

        pthread_mutex_lock(&s->lock);
        while (atomic_load(&s->waiting) > 0) {
                s->yielding = true;
                pthread_cond_wait(&s->left, &s->lock);
        }
        s->yielding = false;
        ended = soft_run_chunk(s, job, result);
        pthread_mutex_unlock(&s->lock);
        return ended;
}

static bool end_as_gone(const struct device *d, struct device_result *result) {
        result->code = SVMD_STATUS_GONE;
        snprintf(result->text, sizeof(result->text), "%s: the space was destroyed before the operation had ended",
                 d->name);
        return true;
}

/* One turn of a space: a chunk of its first operation. Called and returns with the device locked, unlocks between. */
static void serve(struct device *d, struct device_space *s) {
        struct soft_job *job = container_of(s->jobs.next, struct soft_job, link);
        struct device_result result = { .fence = job->op.fence };
        bool ended, dying = s->dying;

        d->running = s;
        pthread_mutex_unlock(&d->lock);

        ended = dying ? end_as_gone(d, &result) : run_chunk(s, job, &result);
        if (ended) {
                if (!dying)
                        atomic_fetch_add(&d->ops_done, 1);
                d->done(d->userdata, &result);
        }

        pthread_mutex_lock(&d->lock);
        d->running = NULL;
        if (ended) {
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

static int soft_space_new(struct device *d, struct device_space **ret) {
        struct device_space *s;

        s = alloc_zero(sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->device = d;
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->left, NULL);
        imap_init(&s->sparse);
        list_init(&s->ready);
        list_init(&s->jobs);
        *ret = s;
        return 0;
}

static void soft_space_free(struct device_space *s) {
        struct device *d;

        if (!s)
                return;
        d = s->device;
        pthread_mutex_lock(&d->lock);
        s->dying = true;
        while (s->jobs_count > 0 || d->running == s)
                pthread_cond_wait(&d->settled, &d->lock);
        pthread_mutex_unlock(&d->lock);

        pagetable_fini(&s->table);
        imap_clear(&s->sparse);
        pthread_cond_destroy(&s->left);
        pthread_mutex_destroy(&s->lock);
        alloc_free(s);
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

static int soft_map(struct device_space *s, uint64_t va, const struct device_extent *extents, uint32_t count,
                    struct map_attrs attrs) {
        uint64_t size = 0;
        int r;

        for (uint32_t i = 0; i < count; i++)
                size += extents[i].size;
        if (va > PAGETABLE_END || size > PAGETABLE_END - va)
                return -EINVAL;
        space_enter(s);
        r = pagetable_reserve(&s->table, va, size);
        for (uint32_t i = 0; r == 0 && i < count; va += extents[i++].size)
                pagetable_set(&s->table, va, extents[i].size, extents[i].slot, extents[i].offset, attrs);
        space_leave(s);
        return r;
}

static void soft_unmap(struct device_space *s, uint64_t va, uint64_t size) {
        space_enter(s);
        pagetable_clear(&s->table, va, size);
        space_leave(s);
}

static void soft_protect(struct device_space *s, uint64_t va, uint64_t size, struct map_attrs attrs) {
        space_enter(s);
        pagetable_protect(&s->table, va, size, attrs);
        space_leave(s);
}

static void soft_sparse(struct device_space *s, uint64_t va, uint64_t size, enum sparse_writes writes,
                        struct imap_spare *spare) {
        space_enter(s);
        imap_set_with(&s->sparse, spare, va, va + size, writes);
        space_leave(s);
}

static void soft_translate(struct device_space *s, uint64_t va, struct device_translation *ret) {
        struct pte pte;

        *ret = (struct device_translation){ 0 };
        space_enter(s);
        if (pagetable_run(&s->table, va, 1, &pte) > 0) {
                ret->valid = true;
                ret->attrs = pte.attrs;
                ret->slot = pte.slot;
                ret->offset = pte.offset;
        } else {
                ret->sparse = imap_get(&s->sparse, va) != SPARSE_NONE;
        }
        space_leave(s);
}

static int soft_submit(struct device_space *s, const struct device_op *op) {
        struct device *d = s->device;
        struct soft_job *job;
        int r = 0;

        job = alloc_zero(sizeof(*job));
        if (!job)
                return -ENOMEM;
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
};
