#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mover/internal.h"
#include "mover/own.h"
#include "mover/pools.h"
#include "mover/steps.h"

/*
 * Steps in files and pools. Pools are mapped, the ranges' memory is not: it is read and written by system calls, which
 * fail where an access would kill. Huge pages cannot be written so; they are filled through a userfaultfd of svmd's
 * own.
 */
static int transfer(ssize_t (*call)(int fd, void *p, size_t size, off_t at), int fd, char *p, uint64_t size,
                    uint64_t at) {
        while (size > 0) {
                ssize_t n = call(fd, p, size, (off_t)at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                p += n;
                at += (uint64_t)n;
                size -= (uint64_t)n;
        }
        return 0;
}

static ssize_t write_call(int fd, void *p, size_t size, off_t at) {
        return pwrite(fd, p, size, at);
}

static int allocate(int fd, int mode, uint64_t at, uint64_t size) {
        int k;

        do
                k = fallocate(fd, mode, (off_t)at, (off_t)size) < 0 ? -errno : 0;
        while (k == -EINTR);
        return k == -ENOSPC ? -ENOMEM : k;
}

/* From here to the end of the next run of pages that the file has: 1, or 0 when there is none below `end`. */
static int next_data(int fd, uint64_t at, uint64_t end, uint64_t *ret_start, uint64_t *ret_end) {
        off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;

        if (data < 0)
                return errno == ENXIO ? 0 : -errno;
        if ((uint64_t)data >= end)
                return 0;
        hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0)
                return -errno;
        *ret_start = (uint64_t)data;
        *ret_end = (uint64_t)hole < end ? (uint64_t)hole : end;
        return 1;
}

/* What is punched has to be gone: a page that is only zeroed would be taken for content when the granule comes back. It
 * stays while somebody has pinned a larger folio that it is a part of. */
static int punch(const struct mover_range *r, uint64_t at, uint64_t size) {
        uint64_t start, end;
        int k = allocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, size);

        if (k || r->huge)
                return k;
        k = next_data(r->fd, at, at + size, &start, &end);
        return k == 1 ? -EBUSY : k;
}

static int merge_huge(const struct mover_range *r, uint64_t at, char *to) {
        int k = own_has(r->fd, at, HUGE_PAGE);

        return k == 1 ? transfer(pread, r->fd, to, HUGE_PAGE, at) : k;
}

static int merge(const struct mover_range *r, uint64_t at, uint64_t size, char *to) {
        uint64_t start = at, end = at;
        int k = 1;

        if (r->huge)
                return merge_huge(r, at, to);
        while (k == 1 && end < at + size) {
                k = next_data(r->fd, end, at + size, &start, &end);
                if (k == 1 && transfer(pread, r->fd, to + (start - at), end - start, start))
                        return -EIO;
        }
        return k < 0 ? k : 0;
}

/* The slot is the truth: what the file has there does not count. */
static int write_back(const struct mover_range *r, uint64_t at, uint64_t size, char *from) {
        int k;

        if (!r->huge)
                return transfer(write_call, r->fd, from, size, at);
        k = punch(r, at, size);
        k = k ? k : own_fill(r->fd, at, HUGE_PAGE, from);
        return k == -EEXIST ? -EBUSY : k; /* the client is quicker */
}

int bytes_fill(const struct mover_range *r, uint64_t offset, uint32_t page, const void *from) {
        int k;

        if (!from)
                return allocate(r->fd, 0, offset, page);
        k = own_fill(r->fd, offset, page, from);
        return k == -EEXIST ? 0 : k;
}

static int copy_node(struct mover *m, const struct managed_step *step, struct pool *to) {
        struct pool *from = pool_get(m, step->from, step->bytes);

        return from ? pool_copy(to, step->slot, from, step->from_slot) : -EIO;
}

typedef int (*slots_fn)(const struct mover_range *r, uint64_t at, uint64_t size, char *bytes);

static int copy_out(const struct mover_range *r, uint64_t at, uint64_t size, char *to) {
        return transfer(pread, r->fd, to, size, at);
}

/* Of slots that lie behind one another. */
static int with_slots(struct pool *p, const struct managed_step *step, uint64_t at, enum pool_use use, slots_fn fn) {
        struct pool_view v;
        int k = pool_open(p, step->slot, step->count, use, &v);

        return k ? k : pool_close(&v, fn(step->range, at, (uint64_t)step->count * step->bytes, v.bytes));
}

static int in_pool(struct mover *m, const struct managed_step *step, struct pool *p, uint64_t at) {
        switch ((int)step->type) {
        case MANAGED_COPY_OUT: return with_slots(p, step, at, POOL_FILL, copy_out);
        case MANAGED_MERGE: return with_slots(p, step, at, POOL_CHANGE, merge);
        case MANAGED_WRITE_BACK: return with_slots(p, step, at, POOL_READ, write_back);
        case MANAGED_COPY_NODE: return copy_node(m, step, p);
        case MANAGED_ZERO_SLOT: return pool_zero(p, step->slot);
        case MANAGED_SLOT_FREE: pool_release(p, step->slot); return 0;
        default: return -EIO;
        }
}

int step_bytes(struct mover *m, const struct managed_step *step) {
        struct mover_range *r = step->range;
        uint64_t at = (uint64_t)step->granule * step->bytes, size = (uint64_t)step->count * step->bytes;
        struct pool *p;

        if (step->type == MANAGED_PUNCH_HOLE)
                return punch(r, at, size);
        if (step->type == MANAGED_ALLOCATE)
                return allocate(r->fd, 0, at, size);
        p = pool_get(m, step->node, step->bytes);
        return p && pool_has(p, step->slot) ? in_pool(m, step, p, at) : -EIO;
}
