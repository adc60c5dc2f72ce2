#include "engine/jobs.h"

#include <errno.h>
#include <pthread.h>

#include "base/alloc.h"

struct lane {
        struct list queue; /* waiting jobs */
        struct list ready; /* in jobs.ready while it has waiting jobs and none that runs */
        bool running;
};

struct jobs {
        pthread_mutex_t lock;
        pthread_cond_t work, idle;
        struct list ready; /* lanes */
        struct list ran;   /* jobs to collect */
        uint64_t unfinished;
        bool ending;
        void (*wake)(void *userdata);
        void *userdata;
        uint32_t lanes_count;
        unsigned threads_count;
        struct lane *lanes;
        pthread_t *threads;
};

static void run_next(struct jobs *j) {
        struct lane *lane = container_of(j->ready.next, struct lane, ready);
        struct job *job = container_of(lane->queue.next, struct job, link);

        list_remove(&lane->ready);
        list_remove(&job->link);
        lane->running = true;
        pthread_mutex_unlock(&j->lock);
        job->run(job);
        pthread_mutex_lock(&j->lock);
        lane->running = false;
        list_push_back(&j->ran, &job->link);
        if (!list_empty(&lane->queue)) {
                list_push_back(&j->ready, &lane->ready);
                pthread_cond_signal(&j->work);
        }
        pthread_cond_broadcast(&j->idle);
        j->wake(j->userdata);
}

static void *worker(void *userdata) {
        struct jobs *j = userdata;

        pthread_mutex_lock(&j->lock);
        for (;;) {
                while (list_empty(&j->ready) && !j->ending)
                        pthread_cond_wait(&j->work, &j->lock);
                if (list_empty(&j->ready))
                        break;
                run_next(j);
        }
        pthread_mutex_unlock(&j->lock);
        return NULL;
}

static void release(struct jobs *j) {
        pthread_mutex_destroy(&j->lock);
        pthread_cond_destroy(&j->work);
        pthread_cond_destroy(&j->idle);
        alloc_free(j->lanes);
        alloc_free(j->threads);
        alloc_free(j);
}

static void end_threads(struct jobs *j) {
        pthread_mutex_lock(&j->lock);
        j->ending = true;
        pthread_cond_broadcast(&j->work);
        pthread_mutex_unlock(&j->lock);
        for (unsigned i = 0; i < j->threads_count; i++)
                pthread_join(j->threads[i], NULL);
}

int jobs_new(struct jobs **ret, unsigned threads, uint32_t lanes, void (*wake)(void *userdata), void *userdata) {
        struct jobs *j = alloc_zero(sizeof(*j));

        if (!j)
                return -ENOMEM;
        pthread_mutex_init(&j->lock, NULL);
        pthread_cond_init(&j->work, NULL);
        pthread_cond_init(&j->idle, NULL);
        list_init(&j->ready);
        list_init(&j->ran);
        j->wake = wake;
        j->userdata = userdata;
        j->lanes_count = lanes;
        j->lanes = alloc_array(lanes, sizeof(*j->lanes));
        j->threads = alloc_array(threads, sizeof(*j->threads));
        if (!j->lanes || !j->threads) {
                release(j);
                return -ENOMEM;
        }
        for (uint32_t i = 0; i < lanes; i++) {
                list_init(&j->lanes[i].queue);
                list_init(&j->lanes[i].ready);
        }
        for (; j->threads_count < threads; j->threads_count++) {
                int r = pthread_create(&j->threads[j->threads_count], NULL, worker, j);

                if (r != 0) {
                        end_threads(j);
                        release(j);
                        return -r;
                }
        }
        *ret = j;
        return 0;
}

void jobs_free(struct jobs *j) {
        if (!j)
                return;
        end_threads(j);
        jobs_collect(j);
        release(j);
}

void jobs_submit(struct jobs *j, struct job *job) {
        struct lane *lane = &j->lanes[job->lane];

        pthread_mutex_lock(&j->lock);
        j->unfinished++;
        if (list_empty(&lane->queue) && !lane->running) {
                list_push_back(&j->ready, &lane->ready);
                pthread_cond_signal(&j->work);
        }
        list_push_back(&lane->queue, &job->link);
        pthread_mutex_unlock(&j->lock);
}

void jobs_collect(struct jobs *j) {
        pthread_mutex_lock(&j->lock);
        while (!list_empty(&j->ran)) {
                struct job *job = container_of(j->ran.next, struct job, link);

                list_remove(&job->link);
                j->unfinished--;
                pthread_mutex_unlock(&j->lock);
                job->done(job);
                pthread_mutex_lock(&j->lock);
        }
        pthread_mutex_unlock(&j->lock);
}

static bool lane_idle(const struct lane *lane) {
        return list_empty(&lane->queue) && !lane->running;
}

bool jobs_lane_idle(struct jobs *j, uint32_t lane) {
        bool idle;

        pthread_mutex_lock(&j->lock);
        idle = lane_idle(&j->lanes[lane]);
        pthread_mutex_unlock(&j->lock);
        return idle;
}

void jobs_wait_lane(struct jobs *j, uint32_t lane) {
        pthread_mutex_lock(&j->lock);
        while (!lane_idle(&j->lanes[lane]))
                pthread_cond_wait(&j->idle, &j->lock);
        pthread_mutex_unlock(&j->lock);
}

bool jobs_idle(struct jobs *j) {
        bool idle;

        pthread_mutex_lock(&j->lock);
        idle = j->unfinished == 0;
        pthread_mutex_unlock(&j->lock);
        return idle;
}
