#include <pthread.h>
#include <unistd.h>

#include "agent/cuda.h"
#include "process.h"
#include "uffd.h"
#include "wire.h"

/*
 * fork() waits until no thread is inside of a list of ours, so the child finds them whole. There every session is
 * marked and its descriptors are closed, or the child would keep it alive after its parent. The slices are not
 * inherited (MADV_DONTFORK), so the child may reserve the same addresses for sessions of its own.
 */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t managed = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t registered = PTHREAD_ONCE_INIT;
static svmd_session *sessions;

void process_lock(void) {
        pthread_mutex_lock(&mutex);
}

void process_unlock(void) {
        pthread_mutex_unlock(&mutex);
}

void managed_lock(void) {
        pthread_mutex_lock(&managed);
}

void managed_unlock(void) {
        pthread_mutex_unlock(&managed);
}

static void before_fork(void) {
        process_lock();
        for (svmd_session *s = sessions; s; s = s->next)
                pthread_mutex_lock(&s->lock);
}

static void unlock_all(void) {
        for (svmd_session *s = sessions; s; s = s->next)
                pthread_mutex_unlock(&s->lock);
        process_unlock();
}

static void after_fork_in_child(void) {
        for (svmd_session *s = sessions; s; s = s->next) {
                atomic_store(&s->forked, true);
                wire_close(s);
                uffd_close(s);
                cuda_forked(s);
                if (s->poll_fd >= 0)
                        close(s->poll_fd);
                if (s->wake_fd >= 0)
                        close(s->wake_fd);
                s->poll_fd = s->wake_fd = -1;
        }
        slice_forget_all();
        /* fork() does not wait for it: a thread that is not in the child may hold it. */
        pthread_mutex_init(&managed, NULL);
        unlock_all();
}

static void register_handlers(void) {
        /* Only memory can be missing; then a child has its parent's descriptors until it ends or calls exec. */
        pthread_atfork(before_fork, unlock_all, after_fork_in_child);
}

void process_add(svmd_session *s) {
        pthread_once(&registered, register_handlers);
        s->next = sessions;
        s->link = &sessions;
        if (s->next)
                s->next->link = &s->next;
        sessions = s;
}

void process_remove(svmd_session *s) {
        *s->link = s->next;
        if (s->next)
                s->next->link = s->link;
}
