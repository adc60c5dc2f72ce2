#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/cuda_device.h"
#include "base/alloc.h"
#include "cuda/ask.h"

/*
 * Slots of a CUDA node: svmd-cuda's, asked for one at a time. A descriptor of each is kept here, to be handed to
 * clients without asking anybody; of slots of an earlier svmd's it is fetched when somebody wants it.
 *
 *      AGENT --gone--> told, all that was there is lost --> asked every second --> EMPTY AGENT, told
 *
 * Which slots there are is known here by the answers: an agent has no more and no others, as it is svmd's alone.
 */
enum { PATIENCE_MS = 30000, AGAIN_MS = 1000, SLOT = 2 << 20 };

static void fd_set_at(struct device *d, uint32_t slot, int fd, bool there) {
        uint64_t bit = 1ull << slot % 64;
        int old;

        pthread_mutex_lock(&d->fds_lock);
        old = d->fds[slot];
        d->fds[slot] = fd;
        d->there[slot / 64] = there ? d->there[slot / 64] | bit : d->there[slot / 64] & ~bit;
        pthread_mutex_unlock(&d->fds_lock);
        if (old >= 0)
                close(old);
}

static bool has(struct device *d, uint32_t slot) {
        bool there;

        pthread_mutex_lock(&d->fds_lock);
        there = slot < d->slots && d->there[slot / 64] >> slot % 64 & 1;
        pthread_mutex_unlock(&d->fds_lock);
        return there;
}

static bool slots_has(struct device *d, uint32_t slot) {
        bool there;

        pthread_rwlock_rdlock(&d->lock);
        there = has(d, slot);
        pthread_rwlock_unlock(&d->lock);
        return there;
}

/* With the lock. Errors of an agent that there is are its own; without one everything is -EIO. */
static int release_slot(struct device *d, uint32_t slot) {
        int k = cuda_agent_release(d->agent, slot);

        if (!k || k == -ENOENT)
                fd_set_at(d, slot, -1, false);
        return k == -ENOENT ? 0 : k;
}

static int make(struct device *d, uint32_t slot) {
        int fd, k = -EIO;

        pthread_rwlock_rdlock(&d->lock);
        if (d->agent)
                k = has(d, slot) ? release_slot(d, slot) : 0;
        if (!k) {
                k = cuda_agent_create(d->agent, slot, &fd);
                if (!k)
                        fd_set_at(d, slot, fd, true);
        }
        pthread_rwlock_unlock(&d->lock);
        return k;
}

/* Fails only when the agent is gone, and then so is the slot. */
static void release(struct device *d, uint32_t slot) {
        pthread_rwlock_rdlock(&d->lock);
        if (d->agent && has(d, slot))
                (void)release_slot(d, slot);
        pthread_rwlock_unlock(&d->lock);
}

static int read_slot(struct device *d, uint32_t slot, void *to) {
        int k;

        pthread_rwlock_rdlock(&d->lock);
        k = d->agent ? cuda_agent_read(d->agent, slot, to) : -EIO;
        pthread_rwlock_unlock(&d->lock);
        return k == -ENOENT ? -EIO : k;
}

static int write_slot(struct device *d, uint32_t slot, const void *from) {
        int k;

        pthread_rwlock_rdlock(&d->lock);
        k = d->agent ? cuda_agent_write(d->agent, slot, from) : -EIO;
        pthread_rwlock_unlock(&d->lock);
        return k == -ENOENT ? -EIO : k;
}

static int fd_of(struct device *d, uint32_t slot) {
        int fd = -ENOENT;

        pthread_mutex_lock(&d->fds_lock);
        if (slot < d->slots && d->fds[slot] >= 0) {
                fd = fcntl(d->fds[slot], F_DUPFD_CLOEXEC, 0);
                fd = fd < 0 ? -errno : fd;
        }
        pthread_mutex_unlock(&d->fds_lock);
        return fd;
}

/* Its number may be made anew meanwhile, for somebody else: then its descriptor is there already, or comes now. */
static int ready(struct device *d, uint32_t slot) {
        int fd = fd_of(d, slot), k = 0;

        if (fd >= 0) {
                close(fd);
                return 0;
        }
        pthread_rwlock_wrlock(&d->lock);
        if (slot >= d->slots || !d->agent)
                k = -EIO;
        else if (has(d, slot) && d->fds[slot] < 0) {
                k = cuda_agent_export(d->agent, slot, &fd);
                if (!k)
                        fd_set_at(d, slot, fd, true);
        }
        pthread_rwlock_unlock(&d->lock);
        return k;
}

/* ---- the agent comes and goes ---- */

static void forget_all(struct device *d) {
        for (uint32_t i = 0; i < d->slots; i++)
                if (has(d, i))
                        fd_set_at(d, i, -1, false);
}

/* `empty`: what it has is nobody's any more. */
static int find_agent(struct device *d, bool empty) {
        struct cuda_agent *a;
        int k = cuda_agent_new(&a, d->agent_path, d->name, PATIENCE_MS, d->why, sizeof(d->why));

        if (k)
                return k;
        pthread_rwlock_wrlock(&d->lock);
        k = cuda_agent_list(a, d->there, d->slots);
        d->agent = a;
        for (uint32_t i = 0; !k && empty && i < d->slots; i++)
                if (has(d, i))
                        k = release_slot(d, i);
        if (k) {
                d->agent = NULL;
                cuda_agent_free(a);
                forget_all(d);
                snprintf(d->why, sizeof(d->why), "svmd-cuda does not say what it has");
        }
        pthread_rwlock_unlock(&d->lock);
        return k;
}

static void drop_agent(struct device *d) {
        pthread_rwlock_wrlock(&d->lock);
        cuda_agent_free(d->agent);
        d->agent = NULL;
        forget_all(d);
        pthread_rwlock_unlock(&d->lock);
        snprintf(d->why, sizeof(d->why), "svmd-cuda has ended, or does not answer: see systemctl status svmd-cuda");
}

/* False: the thread has to end. One that no answer comes from any more does not hang up. */
static bool wait_until_gone(struct device *d) {
        struct pollfd p[2] = { { .fd = d->stop, .events = POLLIN },
                               { .fd = cuda_agent_fd(d->agent), .events = POLLRDHUP } };

        while (!cuda_agent_is_gone(d->agent) && !p[0].revents && !(p[1].revents & (POLLRDHUP | POLLHUP | POLLERR)))
                (void)poll(p, 2, AGAIN_MS);
        return !p[0].revents;
}

static bool wait_to_stop(struct device *d, int ms) {
        struct pollfd p = { .fd = d->stop, .events = POLLIN };

        return poll(&p, 1, ms) == 1;
}

static void *watch_main(void *userdata) {
        struct device *d = userdata;

        for (;;) {
                if (d->agent) {
                        if (!wait_until_gone(d))
                                return NULL;
                        drop_agent(d);
                }
                d->told(d->userdata, false, d->why);
                do {
                        if (wait_to_stop(d, AGAIN_MS))
                                return NULL;
                } while (find_agent(d, true));
                d->told(d->userdata, true, "");
        }
}

static void watch(struct device *d, void (*told)(void *userdata, bool there, const char *why), void *userdata) {
        uint64_t one = 1;

        if (d->started) {
                if (write(d->stop, &one, sizeof(one)) == sizeof(one))
                        pthread_join(d->thread, NULL);
                (void)!read(d->stop, &one, sizeof(one));
                d->started = false;
        }
        d->told = told;
        d->userdata = userdata;
        if (told)
                d->started = pthread_create(&d->thread, NULL, watch_main, d) == 0;
}

int cuda_slots_begin(struct device *d, uint64_t capacity) {
        d->slots = (uint32_t)(capacity / SLOT + 2);
        d->fds = alloc_array(d->slots, sizeof(*d->fds));
        d->there = alloc_array(d->slots / 64 + 1, sizeof(*d->there));
        d->stop = d->fds && d->there ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
        if (d->stop < 0) {
                int k = d->fds && d->there ? -errno : -ENOMEM;

                alloc_free(d->fds);
                alloc_free(d->there);
                return k;
        }
        memset(d->fds, 0xff, d->slots * sizeof(*d->fds));
        pthread_rwlock_init(&d->lock, NULL);
        pthread_mutex_init(&d->fds_lock, NULL);
        (void)find_agent(d, false);
        return 0;
}

void cuda_slots_end(struct device *d) {
        watch(d, NULL, NULL);
        cuda_agent_free(d->agent);
        d->agent = NULL;
        forget_all(d);
        close(d->stop);
        alloc_free(d->fds);
        alloc_free(d->there);
        pthread_rwlock_destroy(&d->lock);
        pthread_mutex_destroy(&d->fds_lock);
}

const struct device_slots cuda_device_slots = {
        .bytes = SLOT,
        .make = make,
        .release = release,
        .read = read_slot,
        .write = write_slot,
        .has = slots_has,
        .ready = ready,
        .fd = fd_of,
        .watch = watch,
};
