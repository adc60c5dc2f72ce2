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
 * clients without asking anybody. Of slots of an earlier svmd's the device's thread fetches it when somebody wants it,
 * so that who asks for a descriptor never waits.
 *
 *      AGENT --gone--> told, all that was there is lost --> asked every second --> EMPTY AGENT, told
 *
 * Which slots there are is known here by the answers: an agent has no more and no others, as it is svmd's alone.
 */
enum { PATIENCE_MS = 30000, AGAIN_MS = 1000, SLOT = 2 << 20 };
/* Its descriptor was wanted, and could not be had. */
enum { FD_FAILED = -2 };

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

/* ---- descriptors ---- */

/* With the lock of those. A failure is told once, and then it is tried again. */
static int take_fd(struct device *d, uint32_t slot) {
        uint64_t bit = 1ull << slot % 64, one = 1;
        int fd = d->fds[slot];

        if (fd >= 0) {
                fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
                return fd < 0 ? -errno : fd;
        }
        d->fds[slot] = -1;
        if (fd == FD_FAILED || !d->started)
                return -EIO;
        d->wanted[slot / 64] |= bit;
        (void)!write(d->want, &one, sizeof(one));
        return -EAGAIN;
}

static int fd_of(struct device *d, uint32_t slot) {
        int fd = -ENOENT;

        pthread_mutex_lock(&d->fds_lock);
        if (slot < d->slots && d->there[slot / 64] >> slot % 64 & 1)
                fd = take_fd(d, slot);
        pthread_mutex_unlock(&d->fds_lock);
        return fd;
}

/* The first from `slot` on, and no longer; d->slots: none. */
static uint32_t take_wanted(struct device *d, uint32_t slot) {
        pthread_mutex_lock(&d->fds_lock);
        while (slot < d->slots && !(d->wanted[slot / 64] >> slot % 64 & 1))
                slot += d->wanted[slot / 64] >> slot % 64 ? 1 : 64 - slot % 64;
        if (slot < d->slots)
                d->wanted[slot / 64] &= ~(1ull << slot % 64);
        pthread_mutex_unlock(&d->fds_lock);
        return slot < d->slots ? slot : d->slots;
}

static bool lacks_fd(struct device *d, uint32_t slot) {
        bool lacks;

        pthread_mutex_lock(&d->fds_lock);
        lacks = d->there[slot / 64] >> slot % 64 & 1 && d->fds[slot] == -1;
        pthread_mutex_unlock(&d->fds_lock);
        return lacks;
}

/* With the lock to write, or the number is made anew meanwhile, for somebody else, and this descriptor taken for its.
 */
static void fetch(struct device *d, uint32_t slot) {
        int fd, k;

        pthread_rwlock_wrlock(&d->lock);
        if (lacks_fd(d, slot)) {
                k = cuda_agent_export(d->agent, slot, &fd);
                fd_set_at(d, slot, k ? FD_FAILED : fd, true);
        }
        pthread_rwlock_unlock(&d->lock);
}

/* In the device's thread, which has an agent. */
static void fetch_wanted(struct device *d) {
        uint64_t n;

        (void)!read(d->want, &n, sizeof(n));
        for (uint32_t i = take_wanted(d, 0); i < d->slots; i = take_wanted(d, i + 1))
                fetch(d, i);
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
        struct pollfd p[3] = { { .fd = d->stop, .events = POLLIN },
                               { .fd = cuda_agent_fd(d->agent), .events = POLLRDHUP },
                               { .fd = d->want, .events = POLLIN } };

        while (!cuda_agent_is_gone(d->agent) && !p[0].revents && !(p[1].revents & (POLLRDHUP | POLLHUP | POLLERR))) {
                if (p[2].revents)
                        fetch_wanted(d);
                (void)poll(p, 3, AGAIN_MS);
        }
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
        int k;

        d->slots = (uint32_t)(capacity / SLOT + 2);
        d->fds = alloc_array(d->slots, sizeof(*d->fds));
        d->there = alloc_array(d->slots / 64 + 1, sizeof(*d->there));
        d->wanted = alloc_array(d->slots / 64 + 1, sizeof(*d->wanted));
        k = d->fds && d->there && d->wanted ? 0 : -ENOMEM;
        d->stop = k ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        d->want = d->stop < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (d->want < 0) {
                k = k ? k : -errno;
                if (d->stop >= 0)
                        close(d->stop);
                alloc_free(d->fds);
                alloc_free(d->there);
                alloc_free(d->wanted);
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
        close(d->want);
        alloc_free(d->fds);
        alloc_free(d->there);
        alloc_free(d->wanted);
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
        .fd = fd_of,
        .watch = watch,
};
