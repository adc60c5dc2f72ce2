/*
 * The file is a header page and two halves:
 *
 *      | magic format half | active | tail[0] tail[1] |  half 0  |  half 1  |
 *
 *      half:    frame frame frame ... tail (what lies behind was never committed)
 *      frame:   { size, checksum, sequence } effect effect ...      everything aligned to 8
 *      effect:  { type, size } bytes
 *
 * It is mapped shared, so what a killed process had stored stays stored, in the order in which it stored. That leaves
 * one rule: whatever makes bytes count is a single aligned store that comes after them. There are two such stores. A
 * commit seals its frame and then moves the tail of the active half. A snapshot fills the other half, gives it its
 * tail, and then `active` changes over. A kill between two instructions is therefore before or after a commit, never
 * inside.
 *
 * Both words carry a checksum of themselves, so a damaged tail is not taken for a shorter log.
 *
 * A page that the machine cannot give would be a SIGBUS at the store. So pages are taken with fallocate, a chunk ahead,
 * where refusing is still possible: in journal_reserve() and journal_snapshot_put(). The half that is not active gives
 * its pages back.
 */
#include "store/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "base/alloc.h"
#include "base/complain.h"

#define MAGIC          0x6c6e726a646d7673ull /* "svmdjrnl" */
#define PAGE           4096ull
#define CHUNK          (1ull << 20)
#define EFFECT_MAX     (1ull << 20)
#define HALF_MAX       (8ull * UINT32_MAX / PAGE * PAGE)
#define SNAPSHOT_FRAME (1ull << 20)

struct header {
        uint64_t magic;
        uint32_t format;
        uint32_t zero;
        uint64_t half;    /* bytes of a half */
        uint64_t active;  /* sealed: 0 or 1 */
        uint64_t tail[2]; /* sealed: committed bytes / 8 */
};

struct frame {
        uint32_t size; /* of the effects behind it */
        uint32_t checksum;
        uint64_t sequence;
};

struct effect {
        uint16_t type;
        uint16_t zero;
        uint32_t size; /* without what aligns the next one */
};

/* Where bytes go in one half: behind `tail` lies an open frame with `pending` bytes of effects. */
struct writer {
        uint64_t tail, pending;
        uint64_t backed;  /* bytes from the start of the half that have pages */
        uint64_t allowed; /* the end of what was reserved */
};

struct journal {
        int fd;
        struct header *header;
        uint64_t half;
        unsigned active;
        uint64_t sequence; /* of the next frame */
        struct writer log, snapshot;
        bool in_snapshot;
        uint64_t sequence_before; /* the snapshot, if it is cancelled */
};

static uint64_t align(uint64_t n, uint64_t to) {
        return (n + to - 1) / to * to;
}

/* A word that tells whether it is damaged. `place` keeps one word from standing in for another. */
static uint64_t seal(uint32_t value, uint32_t place) {
        uint32_t both[2] = { value, place };

        return (uint64_t)crc32(0, (const Bytef *)both, sizeof(both)) << 32 | value;
}

static bool unseal(uint64_t word, uint32_t place, uint64_t *ret) {
        if (seal((uint32_t)word, place) != word)
                return false;
        *ret = (uint32_t)word;
        return true;
}

enum { PLACE_TAIL = 1, PLACE_ACTIVE = 3 }; /* the tail of half 1 is PLACE_TAIL + 1 */

static uint64_t file_size(uint64_t half) {
        return PAGE + 2 * half;
}

static unsigned char *half_of(const struct journal *j, unsigned which) {
        return (unsigned char *)j->header + PAGE + which * j->half;
}

static uint32_t frame_checksum(const struct frame *f) {
        uLong sum = crc32(0, (const Bytef *)&f->size, sizeof(f->size));

        sum = crc32(sum, (const Bytef *)&f->sequence, sizeof(f->sequence));
        return (uint32_t)crc32_z(sum, (const Bytef *)(f + 1), f->size);
}

static void publish(uint64_t *word, uint64_t value) {
        __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static int take_pages(const struct journal *j, unsigned which, uint64_t from, uint64_t to) {
        int r;

        do
                r = fallocate(j->fd, 0, PAGE + which * j->half + from, to - from);
        while (r < 0 && errno == EINTR);
        return r < 0 ? (errno == ENOSPC ? -ENOMEM : -errno) : 0;
}

/* Puts pages that were taken into this process's page table, many at a time: a fault for each would cost a request
 * more than all else that is done for it here. They come by faults where the kernel knows no better. */
static void touch_pages(const struct journal *j, unsigned which, uint64_t from, uint64_t to) {
        (void)madvise(half_of(j, which) + from, to - from, MADV_POPULATE_WRITE);
}

static void give_pages_back(const struct journal *j, unsigned which) {
        fallocate(j->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE + which * j->half, j->half);
}

/* Pages up to `end`: a chunk more while the machine has them, else what is needed. */
static int back(struct journal *j, unsigned which, struct writer *w, uint64_t end) {
        uint64_t to = align(end, CHUNK);
        int r;

        if (end <= w->backed)
                return 0;
        if (to > j->half)
                to = j->half;
        r = take_pages(j, which, w->backed, to);
        if (r < 0) {
                to = align(end, PAGE);
                r = take_pages(j, which, w->backed, to);
        }
        if (r < 0)
                return r;
        touch_pages(j, which, w->backed, to);
        w->backed = to;
        return 0;
}

static uint64_t writer_end(const struct writer *w) {
        return w->tail + sizeof(struct frame) + w->pending;
}

/* Room for `bytes` from `start` on, which is the present end or what was reserved. */
static int writer_reserve(struct journal *j, unsigned which, struct writer *w, uint64_t start, uint64_t bytes) {
        uint64_t end = start + bytes;
        int r;

        if (bytes > j->half || end > j->half || end - w->tail > UINT32_MAX)
                return JOURNAL_E_FULL;
        r = back(j, which, w, end);
        if (r < 0)
                return r;
        if (end > w->allowed)
                w->allowed = end;
        return 0;
}

static void writer_append(struct journal *j, unsigned which, struct writer *w, uint16_t type, const void *bytes,
                          size_t size) {
        uint64_t at = writer_end(w), padded = align(size, 8);
        struct effect *e = (struct effect *)(half_of(j, which) + at);

        assert(size <= EFFECT_MAX);
        assert(at + sizeof(*e) + padded <= w->allowed);
        *e = (struct effect){ .type = type, .size = (uint32_t)size };
        if (size)
                memcpy(e + 1, bytes, size);
        memset((unsigned char *)(e + 1) + size, 0, padded - size);
        w->pending += sizeof(*e) + padded;
}

/* Seals the open frame. It counts once the tail is published. */
static void writer_close_frame(struct journal *j, unsigned which, struct writer *w) {
        struct frame *f = (struct frame *)(half_of(j, which) + w->tail);

        f->size = (uint32_t)w->pending;
        f->sequence = j->sequence++;
        f->checksum = frame_checksum(f);
        w->tail += sizeof(*f) + w->pending;
        w->pending = 0;
}

static int map_file(struct journal *j) {
        void *p = mmap(NULL, file_size(j->half), PROT_READ | PROT_WRITE, MAP_SHARED, j->fd, 0);

        if (p == MAP_FAILED)
                return -errno;
        j->header = p;
        return 0;
}

/* Nobody may take the pages away under the mapping by making the file shorter. */
static int seal_size(int fd) {
        int wanted = F_SEAL_SHRINK | F_SEAL_GROW, seals = fcntl(fd, F_GET_SEALS);

        if (seals >= 0 && (seals & wanted) == wanted)
                return 0;
        return fcntl(fd, F_ADD_SEALS, wanted) < 0 ? -errno : 0;
}

static int make_file(struct journal *j) {
        int r;

        j->fd = memfd_create("svmd-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (j->fd < 0)
                return -errno;
        if (ftruncate(j->fd, file_size(j->half)) < 0)
                return -errno;
        r = seal_size(j->fd);
        if (r < 0)
                return r;
        if (fallocate(j->fd, 0, 0, PAGE) < 0)
                return errno == ENOSPC ? -ENOMEM : -errno;
        return map_file(j);
}

int journal_new(struct journal **ret, uint64_t size) {
        struct journal *j;
        int r;

        if (size == 0 || size > 2 * HALF_MAX)
                return -EINVAL;
        j = alloc_zero(sizeof(*j));
        if (!j)
                return -ENOMEM;
        j->half = align(size, 2 * PAGE) / 2;
        j->sequence = 1;
        r = make_file(j);
        if (r < 0) {
                journal_free(j);
                return r;
        }
        *j->header = (struct header){ .magic = MAGIC,
                                      .format = JOURNAL_FORMAT,
                                      .half = j->half,
                                      .active = seal(0, PLACE_ACTIVE),
                                      .tail = { seal(0, PLACE_TAIL), seal(0, PLACE_TAIL + 1) } };
        *ret = j;
        return 0;
}

void journal_free(struct journal *j) {
        if (!j)
                return;
        if (j->header)
                munmap(j->header, file_size(j->half));
        if (j->fd >= 0)
                close(j->fd);
        alloc_free(j);
}

int journal_fd(const struct journal *j) {
        return j->fd;
}

struct complaint {
        char *why;
        size_t size;
};

/* Of the header only what needs no mapping: a file that is too short must not be touched through one. */
static int check_header(int fd, struct header *h, const struct complaint *c) {
        struct stat st;
        ssize_t n;

        if (fstat(fd, &st) < 0)
                return -errno;
        n = pread(fd, h, sizeof(*h), 0);
        if (n < 0)
                return -errno;
        if ((size_t)n < sizeof(*h))
                return complain(c->why, c->size, JOURNAL_E_BROKEN,
                                "the journal is cut off inside its header, at byte %zd", n);
        if (h->magic != MAGIC)
                return complain(c->why, c->size, JOURNAL_E_BROKEN,
                                "the journal does not start with the mark of a journal");
        if (h->format < JOURNAL_OLDEST || h->format > JOURNAL_FORMAT)
                return complain(c->why, c->size, JOURNAL_E_FORMAT,
                                "the journal has format %u and this svmd reads formats %u to %u: start the version of "
                                "svmd that wrote it, or end svmd-keeper, which releases everything it holds",
                                h->format, JOURNAL_OLDEST, JOURNAL_FORMAT);
        if (h->zero || h->half == 0 || h->half % PAGE || h->half > HALF_MAX)
                return complain(c->why, c->size, JOURNAL_E_BROKEN,
                                "the header of the journal has sizes that no journal has");
        if ((uint64_t)st.st_size != file_size(h->half))
                return complain(c->why, c->size, JOURNAL_E_BROKEN,
                                "the journal has %llu bytes where its header says %llu", (unsigned long long)st.st_size,
                                (unsigned long long)file_size(h->half));
        return 0;
}

static int check_effects(const struct frame *f, uint64_t offset, const struct complaint *c) {
        const unsigned char *p = (const unsigned char *)(f + 1);
        uint64_t at = 0;

        while (at < f->size) {
                const struct effect *e = (const struct effect *)(p + at);
                uint64_t left = f->size - at;

                if (left < sizeof(*e) || e->size > EFFECT_MAX || sizeof(*e) + align(e->size, 8) > left)
                        return complain(c->why, c->size, JOURNAL_E_BROKEN,
                                        "an effect at byte %llu of the journal is too long",
                                        (unsigned long long)(offset + sizeof(*f) + at));
                at += sizeof(*e) + align(e->size, 8);
        }
        return 0;
}

/* Checks everything that was committed; afterwards lengths can be believed. */
static int check_frames(struct journal *j, const struct complaint *c) {
        const unsigned char *p = half_of(j, j->active);
        uint64_t at = 0;
        int r;

        while (at < j->log.tail) {
                const struct frame *f = (const struct frame *)(p + at);
                uint64_t left = j->log.tail - at, offset = PAGE + j->active * j->half + at;

                if (left < sizeof(*f) || f->size % 8 || f->size > left - sizeof(*f))
                        return complain(c->why, c->size, JOURNAL_E_BROKEN,
                                        "the frame at byte %llu of the journal has a wrong length",
                                        (unsigned long long)offset);
                if (f->checksum != frame_checksum(f))
                        return complain(c->why, c->size, JOURNAL_E_BROKEN,
                                        "the frame at byte %llu of the journal has a wrong checksum",
                                        (unsigned long long)offset);
                if (at && f->sequence != j->sequence)
                        return complain(c->why, c->size, JOURNAL_E_BROKEN,
                                        "the frame at byte %llu of the journal is number %llu where %llu was expected",
                                        (unsigned long long)offset, (unsigned long long)f->sequence,
                                        (unsigned long long)j->sequence);
                r = check_effects(f, offset, c);
                if (r)
                        return r;
                j->sequence = f->sequence + 1;
                at += sizeof(*f) + f->size;
        }
        return 0;
}

static int read_state(struct journal *j, const struct complaint *c) {
        uint64_t active, tail;

        if (!unseal(j->header->active, PLACE_ACTIVE, &active) || active > 1)
                return complain(c->why, c->size, JOURNAL_E_BROKEN,
                                "the word that says which half is active is damaged");
        if (!unseal(j->header->tail[active], PLACE_TAIL + active, &tail) || 8 * tail > j->half)
                return complain(c->why, c->size, JOURNAL_E_BROKEN,
                                "the word that says where the journal ends is damaged");
        j->active = active;
        j->log.tail = 8 * tail;
        j->log.backed = align(j->log.tail, PAGE);
        return check_frames(j, c);
}

int journal_adopt(struct journal **ret, int fd, char *why, size_t why_size) {
        struct complaint c = { why, why_size };
        struct header h;
        struct journal *j;
        int r;

        r = check_header(fd, &h, &c);
        if (r)
                return r;
        r = seal_size(fd);
        if (r < 0)
                return r;
        j = alloc_zero(sizeof(*j));
        if (!j)
                return -ENOMEM;
        j->fd = fd;
        j->half = h.half;
        j->sequence = 1;
        r = map_file(j);
        if (r == 0)
                r = read_state(j, &c);
        if (r) {
                j->fd = -1;
                journal_free(j);
                return r;
        }
        give_pages_back(j, !j->active);
        *ret = j;
        return 0;
}

static int replay_frame(const struct frame *f, journal_fn fn, void *userdata) {
        const unsigned char *p = (const unsigned char *)(f + 1);
        int r;

        for (uint64_t at = 0; at < f->size;) {
                const struct effect *e = (const struct effect *)(p + at);

                r = fn(userdata, e->type, e + 1, e->size);
                if (r)
                        return r;
                at += sizeof(*e) + align(e->size, 8);
        }
        return 0;
}

int journal_replay(struct journal *j, journal_fn fn, void *userdata) {
        const unsigned char *p = half_of(j, j->active);
        int r;

        for (uint64_t at = 0; at < j->log.tail;) {
                const struct frame *f = (const struct frame *)(p + at);

                r = replay_frame(f, fn, userdata);
                if (r)
                        return r;
                at += sizeof(*f) + f->size;
        }
        return 0;
}

static int reserve_from(struct journal *j, uint64_t start, size_t count, size_t bytes) {
        uint64_t each = sizeof(struct effect) + 7;

        assert(!j->in_snapshot);
        if (count > j->half / each || bytes > j->half)
                return JOURNAL_E_FULL;
        return writer_reserve(j, j->active, &j->log, start, align(count * each + bytes, 8));
}

int journal_reserve(struct journal *j, size_t count, size_t bytes) {
        return reserve_from(j, writer_end(&j->log), count, bytes);
}

int journal_reserve_more(struct journal *j, size_t count, size_t bytes) {
        uint64_t end = writer_end(&j->log);

        return reserve_from(j, end > j->log.allowed ? end : j->log.allowed, count, bytes);
}

void journal_append(struct journal *j, uint16_t type, const void *bytes, size_t size) {
        assert(!j->in_snapshot);
        writer_append(j, j->active, &j->log, type, bytes, size);
}

uint64_t journal_mark(const struct journal *j) {
        return j->log.pending;
}

void journal_rewind(struct journal *j, uint64_t mark) {
        assert(mark <= j->log.pending);
        j->log.pending = mark;
}

void journal_commit(struct journal *j) {
        if (j->log.pending) {
                writer_close_frame(j, j->active, &j->log);
                publish(&j->header->tail[j->active], seal((uint32_t)(j->log.tail / 8), PLACE_TAIL + j->active));
        }
        j->log.allowed = j->log.tail;
}

int journal_snapshot_begin(struct journal *j) {
        assert(!j->in_snapshot);
        if (j->log.pending)
                return -EBUSY;
        j->snapshot = (struct writer){ 0 };
        j->in_snapshot = true;
        j->sequence_before = j->sequence;
        return 0;
}

int journal_snapshot_put(struct journal *j, uint16_t type, const void *bytes, size_t size) {
        struct writer *w = &j->snapshot;
        int r;

        assert(j->in_snapshot);
        if (w->pending >= SNAPSHOT_FRAME)
                writer_close_frame(j, !j->active, w);
        r = writer_reserve(j, !j->active, w, writer_end(w), sizeof(struct effect) + align(size, 8));
        if (r)
                return r;
        writer_append(j, !j->active, w, type, bytes, size);
        return 0;
}

void journal_snapshot_end(struct journal *j) {
        struct writer *w = &j->snapshot;
        unsigned next = !j->active;

        assert(j->in_snapshot);
        if (w->pending)
                writer_close_frame(j, next, w);
        publish(&j->header->tail[next], seal((uint32_t)(w->tail / 8), PLACE_TAIL + next));
        publish(&j->header->active, seal(next, PLACE_ACTIVE));
        j->active = next;
        j->log = *w;
        j->in_snapshot = false;
        give_pages_back(j, !next);
}

void journal_snapshot_cancel(struct journal *j) {
        assert(j->in_snapshot);
        j->in_snapshot = false;
        j->sequence = j->sequence_before;
        give_pages_back(j, !j->active);
}

uint64_t journal_used(const struct journal *j) {
        return j->log.tail + (j->log.pending ? sizeof(struct frame) + j->log.pending : 0);
}

uint64_t journal_size(const struct journal *j) {
        return j->half;
}
