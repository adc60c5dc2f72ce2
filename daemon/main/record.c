#include "main/record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"

#define MAGIC 0x31646c6568646d73ull /* "smdheld1" */

struct page {
        uint64_t magic;
        struct record_counts counts;
};

struct record {
        struct page *page;
        char path[PATH_MAX];
};

/* Whoever ended with all its sessions has taken its sockets away. */
static bool was_here(const char *runtime_dir) {
        char path[PATH_MAX];

        return snprintf(path, sizeof(path), "%s/svmd.sock", runtime_dir) < (int)sizeof(path) && access(path, F_OK) == 0;
}

static int map(struct record *r, int fd) {
        void *p;

        if (ftruncate(fd, sizeof(*r->page)) < 0)
                return -errno;
        p = mmap(NULL, sizeof(*r->page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        r->page = p;
        return 0;
}

static int read_before(int fd, const char *runtime_dir, struct record_counts *ret) {
        struct page page;

        if (pread(fd, &page, sizeof(page), 0) == sizeof(page) && page.magic == MAGIC) {
                *ret = page.counts;
                return 0;
        }
        return was_here(runtime_dir) ? RECORD_E_UNKNOWN : RECORD_E_NEW;
}

int record_open(struct record **ret, const char *runtime_dir, struct record_counts *ret_before) {
        struct record *r = alloc_zero(sizeof(*r));
        int fd, k, outcome;

        if (!r)
                return -ENOMEM;
        snprintf(r->path, sizeof(r->path), "%s/svmd.held", runtime_dir);
        fd = open(r->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
                k = -errno;
                alloc_free(r);
                return k;
        }
        outcome = read_before(fd, runtime_dir, ret_before);
        k = map(r, fd);
        close(fd);
        if (k < 0) {
                alloc_free(r);
                return k;
        }
        *ret = r;
        return outcome;
}

void record_set(struct record *r, const struct record_counts *now) {
        if (!r || (r->page->magic == MAGIC && memcmp(&r->page->counts, now, sizeof(*now)) == 0))
                return;
        r->page->counts = *now;
        r->page->magic = MAGIC;
}

void record_close(struct record *r, bool ended) {
        if (!r)
                return;
        munmap(r->page, sizeof(*r->page));
        if (ended)
                unlink(r->path);
        alloc_free(r);
}
