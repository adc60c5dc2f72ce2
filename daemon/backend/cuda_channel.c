#include "backend/cuda.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backend/cuda_device.h"
#include "base/alloc.h"
#include "base/clock.h"

/*
 * What clients have mapped of a CUDA node, which is theirs to unmap.
 *
 *      cover    a bit for each granule of a range that a channel may have mapped
 *      take     one of those is asked for: sent, and waited for
 *
 *      covered --invalidate--> take, sent --answered, closed, or out of patience--> not covered
 *
 * Everything is looked at when somebody wants a granule, without waiting: who does is told to come back. A number is
 * never used twice on a channel, also by the next svmd: numbers begin with the time.
 */
struct take {
        struct list link; /* in the cover's */
        uint32_t granule;
        uint64_t seq; /* 0: not sent yet */
        uint64_t since;
};

struct cover {
        struct list by_range, by_channel, takes;
        struct device_range *range;
        struct cuda_channel *channel;
        uint64_t bits[];
};

struct device_range {
        struct list link, covers;
        struct device *device;
        uint64_t address;
        uint32_t granule, count;
};

struct cuda_channel {
        struct list link, covers;
        struct device *device;
        int fd;
        uint64_t session, sent, answered;
        bool kept;
        const char *stale; /* why; NULL: it is not */
        bool withholds;    /* and its process is to blame */
        void (*told)(void *userdata);
        void *userdata;
};

/* ---- covers ---- */

static struct cover *cover_of(const struct cuda_channel *c, const struct device_range *r) {
        list_for_each (it, &r->covers) {
                struct cover *v = container_of(it, struct cover, by_range);

                if (v->channel == c)
                        return v;
        }
        return NULL;
}

static struct cover *cover_new(struct cuda_channel *c, struct device_range *r) {
        struct cover *v = alloc_zero(sizeof(*v) + (r->count / 64 + 1) * sizeof(v->bits[0]));

        if (!v)
                return NULL;
        v->range = r;
        v->channel = c;
        list_init(&v->takes);
        list_push_back(&r->covers, &v->by_range);
        list_push_back(&c->covers, &v->by_channel);
        return v;
}

static void cover_free(struct cover *v) {
        list_for_each_safe (it, &v->takes)
                alloc_free(container_of(it, struct take, link));
        list_remove(&v->by_range);
        list_remove(&v->by_channel);
        alloc_free(v);
}

static int cover_all(struct cuda_channel *c, struct device_range *r) {
        struct cover *v = cover_new(c, r);

        if (!v)
                return -ENOMEM;
        memset(v->bits, 0xff, (r->count / 64 + 1) * sizeof(v->bits[0]));
        return 0;
}

/* ---- channels ---- */

int cuda_channel_new(struct device *d, struct cuda_channel **ret, int fd, uint64_t session, bool kept) {
        struct cuda_channel *c = alloc_zero(sizeof(*c));
        int k = c ? 0 : -ENOMEM;

        if (k)
                return k;
        c->device = d;
        c->session = session;
        c->sent = clock_ns(CLOCK_BOOTTIME);
        c->kept = kept;
        list_init(&c->covers);
        pthread_mutex_lock(&d->channels_lock);
        list_for_each (it, &d->ranges)
                if (!k && kept)
                        k = cover_all(c, container_of(it, struct device_range, link));
        if (k) {
                list_for_each_safe (it, &c->covers)
                        cover_free(container_of(it, struct cover, by_channel));
        } else {
                c->fd = fd;
                list_push_back(&d->channels, &c->link);
        }
        pthread_mutex_unlock(&d->channels_lock);
        if (k)
                alloc_free(c);
        else
                *ret = c;
        return k;
}

void cuda_channel_free(struct cuda_channel *c) {
        struct device *d = c ? c->device : NULL;

        if (!c)
                return;
        pthread_mutex_lock(&d->channels_lock);
        list_for_each_safe (it, &c->covers)
                cover_free(container_of(it, struct cover, by_channel));
        list_remove(&c->link);
        pthread_mutex_unlock(&d->channels_lock);
        close(c->fd);
        alloc_free(c);
}

uint64_t cuda_channel_session(const struct cuda_channel *c) {
        return c->session;
}

void cuda_channel_watch(struct cuda_channel *c, void (*told)(void *userdata), void *userdata) {
        pthread_mutex_lock(&c->device->channels_lock);
        c->told = told;
        c->userdata = userdata;
        pthread_mutex_unlock(&c->device->channels_lock);
}

bool cuda_channel_withholds(const struct cuda_channel *c, char *why, size_t size) {
        bool withholds;

        pthread_mutex_lock(&c->device->channels_lock);
        withholds = c->withholds;
        if (withholds)
                snprintf(why, size, "%s", c->stale);
        pthread_mutex_unlock(&c->device->channels_lock);
        return withholds;
}

/* With the lock. */
static void blame(struct cuda_channel *c, const char *why) {
        c->stale = why;
        c->withholds = true;
        if (c->told)
                c->told(c->userdata);
}

/* With the lock. */
static void read_answers(struct cuda_channel *c) {
        uint64_t seq;
        ssize_t n;

        while (!c->stale) {
                n = recv(c->fd, &seq, sizeof(seq), MSG_DONTWAIT | MSG_TRUNC);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM))
                        return;
                if (n <= 0)
                        c->stale = "its process has closed the channel, or ended";
                else if (n != sizeof(seq) || seq > c->sent)
                        blame(c, "its process answered what it was not asked");
                else if (seq > c->answered)
                        c->answered = seq;
        }
}

bool cuda_channel_is_stale(const struct cuda_channel *c, char *why, size_t size) {
        struct cuda_channel *read = (struct cuda_channel *)c;
        const char *stale;

        pthread_mutex_lock(&c->device->channels_lock);
        read_answers(read);
        stale = c->stale;
        pthread_mutex_unlock(&c->device->channels_lock);
        if (stale)
                snprintf(why, size, "%s", stale);
        return stale;
}

int cuda_channel_cover(struct cuda_channel *c, struct device_range *r, uint32_t first, uint32_t count,
                       uint64_t *ret_seq) {
        struct cover *v;
        int k = 0;

        if (first > r->count || count > r->count - first)
                return -EINVAL;
        pthread_mutex_lock(&c->device->channels_lock);
        read_answers(c);
        v = cover_of(c, r);
        if (c->stale)
                k = -ESTALE;
        else if (!v && !(v = cover_new(c, r)))
                k = -ENOMEM;
        for (uint32_t i = first; !k && i < first + count; i++)
                v->bits[i / 64] |= 1ull << i % 64;
        if (!k)
                *ret_seq = c->sent;
        pthread_mutex_unlock(&c->device->channels_lock);
        return k;
}

/* ---- ranges ---- */

int cuda_range_new(struct device *d, struct device_range **ret, const struct device_range_args *args) {
        struct device_range *r;
        int k = 0;

        if (args->granule != cuda_device_slots.bytes)
                return -EINVAL;
        r = alloc_zero(sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->device = d;
        r->address = args->address;
        r->granule = args->granule;
        r->count = args->count;
        list_init(&r->covers);
        pthread_mutex_lock(&d->channels_lock);
        list_push_back(&d->ranges, &r->link);
        list_for_each (it, &d->channels) {
                struct cuda_channel *c = container_of(it, struct cuda_channel, link);

                if (!k && c->kept)
                        k = cover_all(c, r);
        }
        pthread_mutex_unlock(&d->channels_lock);
        if (k)
                cuda_range_free(r);
        else
                *ret = r;
        return k;
}

void cuda_range_free(struct device_range *r) {
        if (!r)
                return;
        pthread_mutex_lock(&r->device->channels_lock);
        list_for_each_safe (it, &r->covers)
                cover_free(container_of(it, struct cover, by_range));
        list_remove(&r->link);
        pthread_mutex_unlock(&r->device->channels_lock);
        alloc_free(r);
}

static struct take *take_of(struct cover *v, uint32_t granule) {
        struct take *t;

        list_for_each (it, &v->takes) {
                t = container_of(it, struct take, link);
                if (t->granule == granule)
                        return t;
        }
        t = alloc_zero(sizeof(*t));
        if (!t)
                return NULL;
        t->granule = granule;
        t->since = clock_ns(CLOCK_MONOTONIC);
        list_push_back(&v->takes, &t->link);
        return t;
}

static void send_take(const struct device_range *r, struct cuda_channel *c, struct take *t) {
        struct cuda_take message = { c->sent + 1, r->address + (uint64_t)t->granule * r->granule, r->granule };
        ssize_t n = send(c->fd, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n == sizeof(message))
                t->seq = ++c->sent;
        else if (n >= 0 || (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM && errno != EINTR))
                c->stale = "its process has closed the channel, or ended";
}

/* Whether the channel's process has the granule no more. */
static bool let_go(struct cover *v, uint32_t granule) {
        struct cuda_channel *c = v->channel;
        struct take *t;

        read_answers(c);
        if (c->stale)
                return true;
        t = take_of(v, granule);
        if (!t)
                return false;
        if (!t->seq)
                send_take(v->range, c, t);
        if (!c->stale && !(t->seq && c->answered >= t->seq)) {
                if (clock_ns(CLOCK_MONOTONIC) - t->since < c->device->patience_ms * 1000000ull)
                        return false;
                blame(c, "its process did not let go of memory in time (cuda-patience)");
        }
        list_remove(&t->link);
        alloc_free(t);
        return true;
}

int cuda_range_invalidate(struct device_range *r, uint32_t granule) {
        uint64_t bit = 1ull << granule % 64;
        int k = 0;

        pthread_mutex_lock(&r->device->channels_lock);
        list_for_each (it, &r->covers) {
                struct cover *v = container_of(it, struct cover, by_range);

                if (!(v->bits[granule / 64] & bit))
                        continue;
                if (let_go(v, granule))
                        v->bits[granule / 64] &= ~bit;
                else
                        k = -EAGAIN;
        }
        pthread_mutex_unlock(&r->device->channels_lock);
        return k;
}
