#include "mover/clientmem.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "mover/reach.h"

/* What is registered of a process, and the queue of what devices want of it. */

enum { GATE_SECONDS = 10 }; /* an access is over in far less, if nobody holds it up */

static void destroy(struct clientmem *c) {
        reach_free(c->reach);
        close(c->mem);
        pthread_cond_destroy(&c->wake);
        pthread_cond_destroy(&c->settled);
        pthread_mutex_destroy(&c->gate);
        pthread_mutex_destroy(&c->lock);
        alloc_free(c);
}

void clientmem_put(struct clientmem *c) {
        uint32_t left;

        pthread_mutex_lock(&c->lock);
        left = --c->refs;
        pthread_mutex_unlock(&c->lock);
        if (left == 0)
                destroy(c);
}

static int start(struct clientmem *c) {
        pthread_t thread;
        int k = reach_new(&c->reach, c->mem, c->pid);

        if (k < 0)
                return k;
        mover_lock(c->m);
        c->m->clients++;
        mover_unlock(c->m);
        c->refs = 2;
        k = thread_new(&thread, clientmem_main, c, "svmd-client");
        if (k == 0) {
                pthread_detach(thread);
                return 0;
        }
        mover_lock(c->m);
        c->m->clients--;
        mover_unlock(c->m);
        reach_free(c->reach);
        return k;
}

int clientmem_new(struct clientmem **ret, struct mover *m, int uffd, int mem, uint32_t pid, uint32_t uid,
                  uint64_t probe) {
        struct clientmem *c = alloc_zero(sizeof(*c));
        int k;

        if (!c)
                return -ENOMEM;
        c->m = m;
        c->mem = mem;
        c->pid = pid;
        c->uid = uid;
        c->probe = probe;
        list_init(&c->registered);
        list_init(&c->queue);
        pthread_mutex_init(&c->gate, NULL);
        pthread_mutex_init(&c->lock, NULL);
        pthread_cond_init(&c->wake, NULL);
        pthread_cond_init(&c->settled, NULL);
        c->uffd = fcntl(uffd, F_DUPFD_CLOEXEC, 0);
        k = c->uffd < 0 ? -errno : start(c);
        if (k == 0) {
                *ret = c;
                return 0;
        }
        if (c->uffd >= 0)
                close(c->uffd);
        pthread_cond_destroy(&c->wake);
        pthread_cond_destroy(&c->settled);
        pthread_mutex_destroy(&c->gate);
        pthread_mutex_destroy(&c->lock);
        alloc_free(c);
        return k;
}

void clientmem_stop(struct clientmem *c) {
        if (!c)
                return;
        pthread_mutex_lock(&c->lock);
        c->stop = true;
        pthread_cond_signal(&c->wake);
        pthread_mutex_unlock(&c->lock);
        clientmem_put(c);
}

/* ---- events ---- */

static void set_reading(struct clientmem *c, bool reading) {
        pthread_mutex_lock(&c->lock);
        c->reading = reading;
        list_for_each (l, &c->registered)
                container_of(l, struct mover_registered, link)->fresh = false;
        pthread_mutex_unlock(&c->lock);
}

bool clientmem_gate_close(struct clientmem *c) {
        uint64_t end = clock_ns(CLOCK_MONOTONIC) + GATE_SECONDS * 1000000000ull;
        struct timespec until;
        int k;

        /* Somebody may set the clock. */
        do {
                clock_gettime(CLOCK_REALTIME, &until);
                until.tv_sec += GATE_SECONDS;
                k = pthread_mutex_timedlock(&c->gate, &until);
        } while (k == ETIMEDOUT && clock_ns(CLOCK_MONOTONIC) < end);
        if (k == 0)
                set_reading(c, true);
        return k == 0;
}

void clientmem_gate_open(struct clientmem *c) {
        set_reading(c, false);
        pthread_mutex_unlock(&c->gate);
}

static void tell(struct mover *m, struct news *n) {
        struct mover_registered *r = container_of(n, struct mover_registered, news);

        m->hooks.unregistered(m->hooks.userdata, r->userdata, r->why);
}

static void fence(struct clientmem *c, struct mover_registered *r, const char *why) {
        if (r->fenced)
                return;
        r->fenced = true;
        r->why = why;
        news_push(c->m, &r->news, tell);
}

/* A mapping that went before this one was registered is none of this one. Should it be this one after all, whoever
 * comes there finds nothing registered. */
void clientmem_changed(struct clientmem *c, uint64_t start, uint64_t end, bool gone, const char *why) {
        pthread_mutex_lock(&c->lock);
        list_for_each (l, &c->registered) {
                struct mover_registered *r = container_of(l, struct mover_registered, link);

                if (r->address < end && start < r->address + r->size && !(r->fresh && gone))
                        fence(c, r, why);
        }
        pthread_mutex_unlock(&c->lock);
}

struct mover_registered *registered_find(const struct clientmem *c, uint64_t id) {
        list_for_each (l, &c->registered) {
                struct mover_registered *r = container_of(l, struct mover_registered, link);

                if (r->id == id)
                        return r->fenced ? NULL : r;
        }
        return NULL;
}

void clientmem_found(struct clientmem *c, uint64_t id, const char *why) {
        struct mover_registered *r;

        mover_lock(c->m);
        pthread_mutex_lock(&c->lock);
        r = registered_find(c, id);
        if (r)
                fence(c, r, why);
        pthread_mutex_unlock(&c->lock);
        mover_unlock(c->m);
}

/* ---- requests ---- */

static void on_start(void *userdata, struct client_request *request) {
        struct mover_registered *r = userdata;
        struct clientmem *c = r->client;

        pthread_mutex_lock(&c->lock);
        list_push_back(&c->queue, &request->link);
        pthread_cond_signal(&c->wake);
        pthread_mutex_unlock(&c->lock);
}

/* What is being let through ends without that process. */
static bool on_cancel(void *userdata, struct client_request *request) {
        struct mover_registered *r = userdata;
        struct clientmem *c = r->client;
        bool found;

        pthread_mutex_lock(&c->lock);
        while (c->current == request && c->supplying)
                pthread_cond_wait(&c->settled, &c->lock);
        found = c->current == request || !list_empty(&request->link);
        if (c->current == request)
                c->current = NULL;
        list_remove(&request->link);
        pthread_mutex_unlock(&c->lock);
        return found;
}

static const struct client_access access_of_client = { .start = on_start, .cancel = on_cancel };

/* ---- registrations ---- */

int mover_client(struct mover *m, struct mover_session *s, int mem, uint32_t pid, uint32_t uid, uint64_t probe) {
        struct clientmem *c;
        int k;

        if (s->client)
                return -EEXIST;
        k = clientmem_new(&c, m, s->uffd, mem, pid, uid, probe);
        if (k < 0)
                return k;
        mover_lock(m);
        s->client = c;
        mover_unlock(m);
        return 0;
}

int mover_register(struct mover *m, struct mover_session *s, struct mover_registered **ret, void *userdata,
                   uint64_t address, uint64_t size, struct memfile **ret_memfile) {
        struct mover_registered *r = alloc_zero(sizeof(*r));
        int k;

        if (!r)
                return -ENOMEM;
        r->client = s->client;
        r->address = address;
        r->size = size;
        r->userdata = userdata;
        list_init(&r->link);
        list_init(&r->news.link);
        k = memfile_client(ret_memfile, &access_of_client, r, address, size);
        if (k < 0) {
                alloc_free(r);
                return k;
        }
        pthread_mutex_lock(&r->client->lock);
        r->id = ++r->client->last_id;
        r->fresh = r->client->reading;
        r->client->refs++;
        list_push_back(&r->client->registered, &r->link);
        pthread_mutex_unlock(&r->client->lock);
        *ret = r;
        return 0;
}

void mover_registered_check(struct mover_registered *r) {
        pthread_mutex_lock(&r->client->lock);
        r->check = true;
        pthread_cond_signal(&r->client->wake);
        pthread_mutex_unlock(&r->client->lock);
}

void mover_fence(struct mover_registered *r) {
        struct clientmem *c = r->client;

        pthread_mutex_lock(&c->lock);
        r->fenced = true;
        while (c->supplying)
                pthread_cond_wait(&c->settled, &c->lock);
        pthread_mutex_unlock(&c->lock);
}

void mover_unregister(struct mover *m, struct mover_registered *r) {
        struct clientmem *c = r->client;

        if (m)
                mover_lock(m);
        pthread_mutex_lock(&c->lock);
        list_remove(&r->link);
        list_remove(&r->news.link);
        pthread_mutex_unlock(&c->lock);
        if (m)
                mover_unlock(m);
        alloc_free(r);
        clientmem_put(c);
}
