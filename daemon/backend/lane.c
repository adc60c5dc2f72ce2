#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "backend/private.h"
#include "base/alloc.h"

/*
 * A lane's thread belongs to nobody: told to end, it closes the files, frees the lane and goes, whenever that is. The
 * group is freed with its last user, so a thread that a process has held up past svmd's own end finds all it needs.
 */
#define END_MS 2000

struct lanes {
        pthread_mutex_t lock;
        pthread_cond_t ended;
        unsigned users; /* lanes, and the one who made it */
        struct list done;
        struct list ending;           /* lanes that still say goodbye */
        void (*wake)(void *userdata); /* NULL: nobody takes anything any more */
        void *userdata;
};

struct lane {
        struct lanes *lanes;
        struct list link; /* in `ending` */
        pthread_cond_t more;
        struct list waiting;
        atomic_bool ending;
        struct private_files files; /* entries below `count` do not change */
};

static void drop_all(struct list *works) {
        while (!list_empty(works)) {
                struct private_work *w = container_of(works->next, struct private_work, link);

                list_remove(&w->link);
                private_work_free(w);
        }
}

void private_work_free(struct private_work *w) {
        if (!w)
                return;
        if (w->places)
                places_drop(w->places);
        if (w->forget)
                w->forget(w);
        alloc_free(w);
}

/* ---- the group ---- */

int lanes_new(struct lanes **ret, void (*wake)(void *userdata), void *userdata) {
        struct lanes *g = alloc_zero(sizeof(*g));
        pthread_condattr_t attr;

        if (!g)
                return -ENOMEM;
        pthread_mutex_init(&g->lock, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&g->ended, &attr);
        pthread_condattr_destroy(&attr);
        g->users = 1;
        list_init(&g->done);
        list_init(&g->ending);
        g->wake = wake;
        g->userdata = userdata;
        *ret = g;
        return 0;
}

/* With the lock held, which goes. */
static void leave(struct lanes *g) {
        bool last = --g->users == 0;

        pthread_cond_broadcast(&g->ended);
        pthread_mutex_unlock(&g->lock);
        if (!last)
                return;
        pthread_cond_destroy(&g->ended);
        pthread_mutex_destroy(&g->lock);
        alloc_free(g);
}

void lanes_free(struct lanes *g) {
        struct timespec until;
        int r = 0;

        if (!g)
                return;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += END_MS / 1000;
        pthread_mutex_lock(&g->lock);
        g->wake = NULL;
        drop_all(&g->done);
        while (g->users > 1 && r == 0)
                r = pthread_cond_timedwait(&g->ended, &g->lock, &until);
        leave(g);
}

struct private_work *lanes_take(struct lanes *g) {
        struct private_work *w = NULL;

        pthread_mutex_lock(&g->lock);
        if (!list_empty(&g->done)) {
                w = container_of(g->done.next, struct private_work, link);
                list_remove(&w->link);
        }
        pthread_mutex_unlock(&g->lock);
        return w;
}

/* ---- a lane ---- */

static void deliver(struct lanes *g, struct private_work *w) {
        if (!g->wake) {
                private_work_free(w);
                return;
        }
        list_push_back(&g->done, &w->link);
        g->wake(g->userdata);
}

static void serve(struct lane *l) {
        struct lanes *g = l->lanes;

        while (!l->ending) {
                struct private_files now;
                struct private_work *w;

                if (list_empty(&l->waiting)) {
                        pthread_cond_wait(&l->more, &g->lock);
                        continue;
                }
                w = container_of(l->waiting.next, struct private_work, link);
                list_remove(&w->link);
                now = l->files;
                pthread_mutex_unlock(&g->lock);
                private_run(&now, w, &l->ending);
                pthread_mutex_lock(&g->lock);
                l->files.scratch = now.scratch;
                deliver(g, w);
        }
}

/* Nobody hands anything over any more. */
static void say_goodbye(struct lane *l) {
        static const atomic_bool no_end;

        list_for_each (n, &l->waiting) {
                struct private_work *w = container_of(n, struct private_work, link);

                if (w->last)
                        private_run(&l->files, w, &no_end);
        }
}

static void *lane_main(void *userdata) {
        struct lane *l = userdata;
        struct lanes *g = l->lanes;

        pthread_mutex_lock(&g->lock);
        serve(l);
        pthread_mutex_unlock(&g->lock);
        say_goodbye(l);
        pthread_mutex_lock(&g->lock);
        list_remove(&l->link);
        pthread_mutex_unlock(&g->lock);
        for (unsigned i = 0; i < l->files.count; i++)
                close(l->files.file[i].fd);
        drop_all(&l->waiting);
        pthread_cond_destroy(&l->more);
        alloc_free(l->files.scratch);
        alloc_free(l);
        pthread_mutex_lock(&g->lock);
        leave(g);
        return NULL;
}

static int start(struct lane *l) {
        pthread_attr_t attr;
        pthread_t thread;
        int r;

        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        r = pthread_create(&thread, &attr, lane_main, l);
        pthread_attr_destroy(&attr);
        return -r;
}

int lane_new(struct lane **ret, struct lanes *g) {
        struct lane *l = alloc_zero(sizeof(*l));
        int r;

        if (!l)
                return -ENOMEM;
        l->lanes = g;
        pthread_cond_init(&l->more, NULL);
        list_init(&l->waiting);
        list_init(&l->link);
        pthread_mutex_lock(&g->lock);
        r = start(l);
        g->users += r == 0;
        pthread_mutex_unlock(&g->lock);
        if (r < 0) {
                pthread_cond_destroy(&l->more);
                alloc_free(l);
                return r;
        }
        *ret = l;
        return 0;
}

void lane_end(struct lane *l) {
        struct lanes *g = l->lanes;

        pthread_mutex_lock(&g->lock);
        atomic_store(&l->ending, true);
        list_push_back(&g->ending, &l->link);
        pthread_cond_signal(&l->more);
        pthread_mutex_unlock(&g->lock);
}

static int has_file(const struct private_files *files, int (*same)(int theirs, int fd), int fd) {
        int r = 0;

        for (unsigned i = 0; r == 0 && i < files->count; i++)
                r = same(files->file[i].fd, fd);
        return r;
}

int lanes_end_with(struct lanes *g, int (*same)(int theirs, int fd), int fd) {
        int r = 0;

        pthread_mutex_lock(&g->lock);
        list_for_each (n, &g->ending)
                if (r == 0)
                        r = has_file(&container_of(n, struct lane, link)->files, same, fd);
        pthread_mutex_unlock(&g->lock);
        return r;
}

int lane_add_file(struct lane *l, const struct private_ops *ops, int fd) {
        struct private_files *files = &l->files;
        int r = -ENOSPC;

        pthread_mutex_lock(&l->lanes->lock);
        if (files->count < PRIVATE_FILES) {
                files->file[files->count++] = (struct private_file){ .ops = ops, .fd = fd };
                r = 0;
        }
        pthread_mutex_unlock(&l->lanes->lock);
        return r;
}

int lane_file(struct lane *l, unsigned file) {
        int fd;

        pthread_mutex_lock(&l->lanes->lock);
        fd = file < l->files.count ? l->files.file[file].fd : -1;
        pthread_mutex_unlock(&l->lanes->lock);
        return fd;
}

void lane_submit(struct lane *l, struct private_work *w) {
        pthread_mutex_lock(&l->lanes->lock);
        list_push_back(&l->waiting, &w->link);
        pthread_cond_signal(&l->more);
        pthread_mutex_unlock(&l->lanes->lock);
}
