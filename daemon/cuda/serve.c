#include "cuda/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/activated.h"
#include "base/alloc.h"
#include "cuda/slots.h"

/*
 * Devices, and who speaks of them. A device stays from the first HELLO on, with its slots, whoever comes and goes. One
 * connection has it at a time: the next svmd waits until this program has seen that the last one is gone.
 */
enum { TURN_S = 5 };

struct device {
        struct device *next;
        char name[CUDA_WIRE_DEVICE];
        struct slots *slots;
        uint64_t instance;
        bool taken;
};

struct connection {
        int fd, staging_fd;
        uid_t user;
        struct device *device;
        void *staging;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t left = PTHREAD_COND_INITIALIZER;
static struct device *devices;

static int device_new(struct device **ret, const char *name, char *why, size_t why_size) {
        struct device *d = alloc_zero(sizeof(*d));
        int k;

        if (!d)
                return -ENOMEM;
        snprintf(d->name, sizeof(d->name), "%s", name);
        if (getrandom(&d->instance, sizeof(d->instance), 0) != sizeof(d->instance))
                d->instance = (uint64_t)time(NULL);
        k = slots_new(&d->slots, name, why, why_size);
        if (k) {
                alloc_free(d);
                return k;
        }
        d->next = devices;
        *ret = devices = d;
        return 0;
}

static int device_take(struct device **ret, const char *name, char *why, size_t why_size) {
        struct timespec until;
        struct device *d;
        int k = 0;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += TURN_S;
        pthread_mutex_lock(&lock);
        for (d = devices; d && strcmp(d->name, name) != 0; d = d->next)
                ;
        if (!d)
                k = device_new(&d, name, why, why_size);
        while (!k && d->taken)
                if (pthread_cond_timedwait(&left, &lock, &until) == ETIMEDOUT) {
                        snprintf(why, why_size, "another svmd, or another node of this one, has the device");
                        k = -EBUSY;
                }
        if (!k) {
                d->taken = true;
                *ret = d;
        }
        pthread_mutex_unlock(&lock);
        return k;
}

static void device_leave(struct device *d) {
        pthread_mutex_lock(&lock);
        d->taken = false;
        pthread_cond_broadcast(&left);
        pthread_mutex_unlock(&lock);
}

static int stage(struct connection *c, char *why, size_t why_size) {
        void *p = MAP_FAILED;
        int fd = memfd_create("svmd-cuda-staging", MFD_CLOEXEC | MFD_ALLOW_SEALING), k;

        /* Shorter it would kill whoever reads it. */
        if (fd >= 0 && ftruncate(fd, CUDA_SLOT) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) == 0)
                p = mmap(NULL, CUDA_SLOT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
        k = p == MAP_FAILED ? -errno : slots_stage(c->device->slots, p, why, why_size);
        if (k) {
                if (p != MAP_FAILED)
                        munmap(p, CUDA_SLOT);
                if (fd >= 0)
                        close(fd);
                return k;
        }
        c->staging = p;
        c->staging_fd = fd;
        return 0;
}

static int hello(struct connection *c, const struct cuda_ask *ask, char *why, size_t why_size) {
        int k;

        if (c->device)
                return -EBADMSG;
        k = device_take(&c->device, ask->device, why, why_size);
        if (k)
                return k;
        k = stage(c, why, why_size);
        if (k) {
                device_leave(c->device);
                c->device = NULL;
        }
        return k;
}

/* False: that was the last. */
static bool answer(struct connection *c, const struct cuda_ask *ask, int k) {
        bool greets = !k && ask->question == CUDA_ASK_HELLO;
        char why[CUDA_WIRE_WHY] = "";
        struct cuda_answer a;
        int fd = -1;

        if (k)
                ;
        else if (greets)
                k = hello(c, ask, why, sizeof(why));
        else if (!c->device)
                k = -EBADMSG;
        else
                k = slots_do(c->device->slots, (enum cuda_question)ask->question, ask->slot, c->staging, &fd, why,
                             sizeof(why));
        if (k == -EIO)
                fprintf(stderr, "svmd-cuda: %s: %s\n", ask->device[0] ? ask->device : c->device->name, why);
        a = cuda_wire_answer(k, why);
        a.instance = greets && !k ? c->device->instance : 0;
        k = cuda_wire_send(c->fd, &a, sizeof(a), greets && !a.error ? c->staging_fd : fd);
        if (fd >= 0)
                close(fd);
        return !k && a.error != -EIO && a.error != -EBADMSG && c->device;
}

/* What was sent is read first also of one who may not: an answer is lost on a connection that ends with something
 * unread. */
static void talk(struct connection *c) {
        bool allowed = activated_may("svmd-cuda", c->fd, c->user), more = true;
        struct cuda_ask ask;
        int n, fd;

        while (more && (n = cuda_wire_receive(c->fd, &ask, sizeof(ask), &fd)) != 0) {
                int k = n < 0 ? n : cuda_wire_asked(&ask, (size_t)n);

                if (fd >= 0 && n > 0)
                        close(fd);
                if (n < 0 && n != -EBADMSG)
                        return;
                more = answer(c, &ask, allowed ? k : -EPERM);
        }
}

static void *serve_main(void *userdata) {
        struct connection *c = userdata;

        talk(c);
        if (c->device) {
                slots_unstage(c->device->slots, c->staging);
                munmap(c->staging, CUDA_SLOT);
                close(c->staging_fd);
                device_leave(c->device);
        }
        close(c->fd);
        alloc_free(c);
        return NULL;
}

void serve_start(int fd, uid_t user) {
        struct connection *c = alloc_zero(sizeof(*c));
        pthread_t thread;

        if (!c) {
                close(fd);
                return;
        }
        *c = (struct connection){ .fd = fd, .user = user };
        if (pthread_create(&thread, NULL, serve_main, c) != 0) {
                close(fd);
                alloc_free(c);
                return;
        }
        pthread_detach(thread);
}
