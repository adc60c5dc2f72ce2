#include "fake_managed.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "svmd.h"

enum { RANGES = 64, OPENINGS = 128, UFFDS = 64 };

struct range {
        uint64_t id, start, size;
        uint32_t granule;
        int memory, state;
        struct range_head *head;
        unsigned char fill;
};

struct opening {
        uint64_t id;
        int conn;
        unsigned access;
        bool joined;
};

struct uffd {
        struct fake_managed *m;
        pthread_t thread;
        int conn, fd, stop[2];
};

struct fake_managed {
        pthread_mutex_t lock;
        struct range range[RANGES];
        unsigned ranges;
        struct opening opening[OPENINGS];
        unsigned openings;
        struct uffd *uffd[UFFDS];
        unsigned uffds, events, faults;
};

#define CHECK(x)                                                                                                       \
        do {                                                                                                           \
                if (!(x)) {                                                                                            \
                        fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x, strerror(errno));                   \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

/* ---- what there is ---- */

static struct range *by_id(struct fake_managed *m, uint64_t id) {
        for (unsigned i = 0; i < m->ranges; i++) {
                if (m->range[i].id == id)
                        return &m->range[i];
        }
        return NULL;
}

static struct range *by_address(struct fake_managed *m, uint64_t address) {
        for (unsigned i = 0; i < m->ranges; i++) {
                if (address - m->range[i].start < m->range[i].size)
                        return &m->range[i];
        }
        return NULL;
}

static struct opening *opening_of(struct fake_managed *m, uint64_t id, int conn) {
        for (unsigned i = 0; i < m->openings; i++) {
                if (m->opening[i].id == id && m->opening[i].conn == conn)
                        return &m->opening[i];
        }
        return NULL;
}

static struct uffd *uffd_of(struct fake_managed *m, int conn) {
        for (unsigned i = 0; i < m->uffds; i++) {
                if (m->uffd[i]->conn == conn)
                        return m->uffd[i];
        }
        return NULL;
}

void fake_managed_add(struct fake_managed *m, uint64_t id, uint64_t start, uint64_t size, uint32_t granule) {
        uint64_t count = size / granule;
        struct range *r;

        pthread_mutex_lock(&m->lock);
        r = &m->range[m->ranges++];
        CHECK(m->ranges < RANGES);
        *r = (struct range){ .id = id, .start = start, .size = size, .granule = granule };
        r->memory = memfd_create("fake-range", MFD_CLOEXEC);
        r->state = memfd_create("fake-state", MFD_CLOEXEC);
        CHECK(r->memory >= 0 && r->state >= 0);
        CHECK(fchmod(r->memory, 0600) == 0 && ftruncate(r->memory, (off_t)size) == 0);
        CHECK(ftruncate(r->state, (off_t)range_state_size(count)) == 0);
        r->head = mmap(NULL, sizeof(*r->head), PROT_READ | PROT_WRITE, MAP_SHARED, r->state, 0);
        CHECK(r->head != MAP_FAILED);
        r->head->magic = RANGE_MAGIC;
        r->head->version = RANGE_VERSION;
        r->head->granule = granule;
        r->head->count = count;
        pthread_mutex_unlock(&m->lock);
}

static void range_close(struct range *r) {
        munmap(r->head, sizeof(*r->head));
        close(r->memory);
        close(r->state);
}

void fake_managed_remove(struct fake_managed *m, uint64_t id) {
        struct range *r;

        pthread_mutex_lock(&m->lock);
        r = by_id(m, id);
        if (r) {
                range_close(r);
                *r = m->range[--m->ranges];
        }
        for (unsigned i = 0; i < m->openings;) {
                if (m->opening[i].id == id)
                        m->opening[i] = m->opening[--m->openings];
                else
                        i++;
        }
        pthread_mutex_unlock(&m->lock);
}

uint32_t fake_managed_granule(struct fake_managed *m, uint64_t id) {
        const struct range *r;
        uint32_t granule;

        pthread_mutex_lock(&m->lock);
        r = by_id(m, id);
        granule = r ? r->granule : 0;
        pthread_mutex_unlock(&m->lock);
        return granule;
}

void fake_managed_open(struct fake_managed *m, uint64_t id, int conn, unsigned access) {
        struct opening *o;

        pthread_mutex_lock(&m->lock);
        o = opening_of(m, id, conn);
        if (!o)
                o = &m->opening[m->openings++];
        CHECK(m->openings < OPENINGS);
        *o = (struct opening){ id, conn, access, false };
        pthread_mutex_unlock(&m->lock);
}

void fake_managed_leave(struct fake_managed *m, uint64_t id, int conn) {
        struct opening *o;

        pthread_mutex_lock(&m->lock);
        o = opening_of(m, id, conn);
        if (o)
                *o = m->opening[--m->openings];
        pthread_mutex_unlock(&m->lock);
}

/* ---- faults ---- */

static uint64_t page_of(uint64_t address) {
        return address & ~(SVMD_PAGE - 1);
}

/* What the file has is mapped; what it has not is put there first, where the mapping cannot be filled by itself. */
static void serve_file(int fd, const struct range *r, uint64_t page) {
        struct uffdio_continue c = { .range = { page, SVMD_PAGE } };
        unsigned char bytes[SVMD_PAGE];
        off_t at = (off_t)(page - r->start);

        if (lseek(r->memory, at, SEEK_DATA) != at) {
                memset(bytes, r->fill, sizeof(bytes));
                CHECK(pwrite(r->memory, bytes, sizeof(bytes), at) == (ssize_t)sizeof(bytes));
        }
        if (ioctl(fd, UFFDIO_CONTINUE, &c) < 0)
                CHECK(errno == EEXIST || errno == ENOENT || errno == EAGAIN || errno == ESRCH);
}

static void serve_missing(int fd, const struct range *r, uint64_t page) {
        unsigned char bytes[SVMD_PAGE];
        struct uffdio_copy c = { .dst = page, .src = (uintptr_t)bytes, .len = SVMD_PAGE };

        memset(bytes, r->fill, sizeof(bytes));
        if (ioctl(fd, UFFDIO_COPY, &c) == 0)
                return;
        CHECK(errno == EEXIST || errno == ENOENT || errno == EAGAIN || errno == ESRCH);
        if (errno == EEXIST)
                serve_file(fd, r, page);
}

static void serve_fault(struct uffd *u, const struct uffd_msg *msg) {
        uint64_t page = page_of(msg->arg.pagefault.address);
        struct uffdio_range woken = { page, SVMD_PAGE };
        const struct range *r = by_address(u->m, page);
        const struct opening *o = r ? opening_of(u->m, r->id, u->conn) : NULL;

        u->m->faults++;
        if (!o || !o->joined)
                return; /* it is not this session's any more: whoever waits there goes on waiting */
        if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR || o->access == SVMD_ACCESS_READ)
                serve_file(u->fd, r, page);
        else
                serve_missing(u->fd, r, page);
        ioctl(u->fd, UFFDIO_WAKE, &woken);
}

static void *serve(void *data) {
        struct uffd *u = data;

        for (;;) {
                struct pollfd p[] = { { u->stop[0], POLLIN, 0 }, { u->fd, POLLIN, 0 } };
                struct uffd_msg msg;

                CHECK(poll(p, 2, -1) > 0 || errno == EINTR);
                if (p[0].revents)
                        return NULL;
                if (read(u->fd, &msg, sizeof(msg)) != (ssize_t)sizeof(msg))
                        continue;
                pthread_mutex_lock(&u->m->lock);
                if (msg.event == UFFD_EVENT_PAGEFAULT)
                        serve_fault(u, &msg);
                else
                        u->m->events++;
                pthread_mutex_unlock(&u->m->lock);
        }
}

/* ---- requests ---- */

static unsigned refuse(unsigned code, const char **why, const char *text) {
        *why = text;
        return code;
}

unsigned fake_managed_device(struct fdlist *fds, const char **why) {
        int fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

        if (fd < 0)
                return refuse(SVMD_E_UNSUPPORTED, why, "there is no /dev/userfaultfd that the fake may open");
        CHECK(fdlist_add(fds, fd) == 0);
        return 0;
}

static struct uffd *uffd_new(struct fake_managed *m, int conn, int fd) {
        struct uffd *u = calloc(1, sizeof(*u));

        CHECK(u);
        u->m = m;
        u->conn = conn;
        u->fd = fd;
        CHECK(pipe2(u->stop, O_CLOEXEC) == 0);
        return u;
}

unsigned fake_managed_give(struct fake_managed *m, int conn, int fd, const char **why) {
        struct uffdio_api api = { .api = UFFD_API,
                                  .features = UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP |
                                              UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_MISSING_SHMEM |
                                              UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP };
        struct uffd *u;

        if (uffd_of(m, conn) || fd < 0)
                return refuse(SVMD_E_BUSY, why, "a session gives one userfaultfd, once");
        if (ioctl(fd, UFFDIO_API, &api) < 0)
                return refuse(SVMD_E_FD_KIND, why, "that is no new userfaultfd");
        u = uffd_new(m, conn, fd);
        pthread_mutex_lock(&m->lock);
        m->uffd[m->uffds++] = u;
        CHECK(m->uffds < UFFDS);
        pthread_mutex_unlock(&m->lock);
        CHECK(pthread_create(&u->thread, NULL, serve, u) == 0);
        return 0;
}

unsigned fake_managed_files(struct fake_managed *m, int conn, uint64_t id, struct fdlist *fds, uint64_t *ret_size,
                            const char **why) {
        const struct range *r;
        const struct opening *o;
        char memory[64], state[64];
        unsigned code = 0;

        pthread_mutex_lock(&m->lock);
        r = by_id(m, id);
        o = opening_of(m, id, conn);
        if (r && o) {
                snprintf(memory, sizeof(memory), "/proc/self/fd/%d", r->memory);
                snprintf(state, sizeof(state), "/proc/self/fd/%d", r->state);
                CHECK(fdlist_add(fds, open(memory, (o->access & 2 ? O_RDWR : O_RDONLY) | O_CLOEXEC)) == 0);
                CHECK(fdlist_add(fds, open(state, O_RDONLY | O_CLOEXEC)) == 0);
                *ret_size = range_state_size(r->size / r->granule);
        } else {
                code = refuse(SVMD_E_NO_SUCH, why, "there is no such managed reservation");
        }
        pthread_mutex_unlock(&m->lock);
        return code;
}

unsigned fake_managed_join(struct fake_managed *m, int conn, uint64_t id, const char **why) {
        const struct range *r;
        const struct uffd *u;
        struct opening *o;
        unsigned code = 0;

        pthread_mutex_lock(&m->lock);
        r = by_id(m, id);
        o = opening_of(m, id, conn);
        u = uffd_of(m, conn);
        if (!r || !o || !u) {
                code = refuse(SVMD_E_NO_SUCH, why, "there is nothing to join");
        } else {
                struct uffdio_register reg = { .range = { r->start, r->size },
                                               .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR };

                if (o->access & 2)
                        reg.mode |= UFFDIO_REGISTER_MODE_WP;
                if (ioctl(u->fd, UFFDIO_REGISTER, &reg) < 0)
                        code = refuse(SVMD_E_SYSTEM, why, "the range could not be registered");
                o->joined = !code;
        }
        pthread_mutex_unlock(&m->lock);
        return code;
}

static void uffd_end(struct uffd *u) {
        close(u->stop[1]);
        pthread_join(u->thread, NULL);
        close(u->stop[0]);
        close(u->fd);
        free(u);
}

void fake_managed_end(struct fake_managed *m, int conn) {
        struct uffd *u = NULL;

        pthread_mutex_lock(&m->lock);
        for (unsigned i = 0; i < m->openings;) {
                if (m->opening[i].conn == conn)
                        m->opening[i] = m->opening[--m->openings];
                else
                        i++;
        }
        for (unsigned i = 0; !u && i < m->uffds; i++) {
                if (m->uffd[i]->conn != conn)
                        continue;
                u = m->uffd[i];
                m->uffd[i] = m->uffd[--m->uffds];
        }
        pthread_mutex_unlock(&m->lock);
        if (u)
                uffd_end(u);
}

/* ---- looking ---- */

uint64_t fake_managed_start(struct fake_managed *m, uint64_t id) {
        const struct range *r;
        uint64_t start;

        pthread_mutex_lock(&m->lock);
        r = by_id(m, id);
        start = r ? r->start : 0;
        pthread_mutex_unlock(&m->lock);
        return start;
}

struct range_head *fake_managed_head(struct fake_managed *m, uint64_t id) {
        const struct range *r;
        struct range_head *head;

        pthread_mutex_lock(&m->lock);
        r = by_id(m, id);
        head = r ? r->head : NULL;
        pthread_mutex_unlock(&m->lock);
        return head;
}

int fake_managed_memory(struct fake_managed *m, uint64_t id) {
        const struct range *r;
        int fd;

        pthread_mutex_lock(&m->lock);
        r = by_id(m, id);
        fd = r ? r->memory : -1;
        pthread_mutex_unlock(&m->lock);
        return fd;
}

void fake_managed_set_fill(struct fake_managed *m, uint64_t id, unsigned char fill) {
        struct range *r;

        pthread_mutex_lock(&m->lock);
        r = by_id(m, id);
        CHECK(r);
        r->fill = fill;
        pthread_mutex_unlock(&m->lock);
}

static unsigned counted(struct fake_managed *m, const unsigned *what) {
        unsigned count;

        pthread_mutex_lock(&m->lock);
        count = *what;
        pthread_mutex_unlock(&m->lock);
        return count;
}

unsigned fake_managed_events(struct fake_managed *m) {
        return counted(m, &m->events);
}

unsigned fake_managed_faults(struct fake_managed *m) {
        return counted(m, &m->faults);
}

struct fake_managed *fake_managed_new(void) {
        struct fake_managed *m = calloc(1, sizeof(*m));

        CHECK(m);
        pthread_mutex_init(&m->lock, NULL);
        return m;
}

void fake_managed_free(struct fake_managed *m) {
        while (m->uffds)
                uffd_end(m->uffd[--m->uffds]);
        for (unsigned i = 0; i < m->ranges; i++)
                range_close(&m->range[i]);
        pthread_mutex_destroy(&m->lock);
        free(m);
}
