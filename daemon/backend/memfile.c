#include "backend/memfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backend/poke.h"
#include "base/alloc.h"

/*
 * One table of slots for the process. A slot holds the file, or (its lowest bit set) the number of the next free
 * slot. Finding a file takes no lock: a slot is freed only when no page table names it, so nobody looks for it then;
 * taking and freeing slots is under a mutex.
 *
 * Committing punches first, because a client that holds an arena can leave bytes where nothing was given to it,
 * and then takes the pages in pieces, so that a signal or another user of the file never waits for a terabyte. The
 * kernel would rather kill a process than refuse pages of a memfd, so what the machine has left is asked before.
 */

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define PAGE         4096ull
#define LEAVE_FREE   (64ull << 20) /* bytes of the machine that committing never takes */
#define COMMIT_PIECE (64ull << 20)
#define SEALS        (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define NUMA_NODES   1024

enum { SLOT_MAX = 1 << 20 };

struct memfile {
        int fd;
        uint32_t slot;
        uint64_t size, page; /* page: bytes of one */
        int numa;            /* that its pages are bound to; -1: none */
        void *base;
        bool dmabuf;
        bool elsewhere; /* there is no file: clients have it */

        const struct client_access *client; /* NULL: it is a file */
        void *userdata;
        uint64_t address;
};

static struct {
        pthread_mutex_t lock;
        uint32_t used;       /* slots [0, used) have held a file */
        uint32_t first_free; /* 1 + the first of the chain of free slots below `used`; 0: none */
        _Atomic(uintptr_t) slot[SLOT_MAX];
} table = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int slot_take(struct memfile *f) {
        int r = 0;

        pthread_mutex_lock(&table.lock);
        if (table.first_free) {
                f->slot = table.first_free - 1;
                table.first_free = (uint32_t)(atomic_load(&table.slot[f->slot]) >> 1);
        } else if (table.used < SLOT_MAX) {
                f->slot = table.used++;
        } else {
                r = -ENFILE;
        }
        if (r == 0)
                atomic_store(&table.slot[f->slot], (uintptr_t)f);
        pthread_mutex_unlock(&table.lock);
        return r;
}

static void slot_give(struct memfile *f) {
        pthread_mutex_lock(&table.lock);
        atomic_store(&table.slot[f->slot], (uintptr_t)table.first_free << 1 | 1);
        table.first_free = f->slot + 1;
        pthread_mutex_unlock(&table.lock);
}

static struct memfile *slot_find(uint32_t slot) {
        uintptr_t p = slot < SLOT_MAX ? atomic_load_explicit(&table.slot[slot], memory_order_acquire) : 0;

        return p & 1 ? NULL : (struct memfile *)p;
}

/* A machine of one NUMA node, or one that does not tell (seccomp), has nothing to bind to. */
static bool many_numa_nodes(void) {
        unsigned long allowed[NUMA_NODES / (8 * sizeof(long))] = { 0 };
        int count = 0;

        if (syscall(SYS_get_mempolicy, NULL, allowed, (unsigned long)NUMA_NODES, NULL, MPOL_F_MEMS_ALLOWED) < 0)
                return false;
        for (unsigned i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
                count += __builtin_popcountl(allowed[i]);
        return count > 1;
}

/* The policy of a shared mapping is kept by the file, and outlives the mapping. */
static int bind_numa(int fd, uint64_t size, int numa) {
        unsigned long nodes[NUMA_NODES / (8 * sizeof(long))] = { 0 };
        int r = 0;
        void *p;

        if (numa < 0 || !many_numa_nodes())
                return 0;
        if (numa >= NUMA_NODES)
                return -EINVAL;
        nodes[(unsigned)numa / (8 * sizeof(long))] = 1ul << ((unsigned)numa % (8 * sizeof(long)));
        p = mmap(NULL, size, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        if (syscall(SYS_mbind, p, size, MPOL_BIND, nodes, (unsigned long)NUMA_NODES, 0) < 0)
                r = -errno;
        munmap(p, size);
        return r;
}

static uint64_t page_of(int fd) {
        struct statfs fs;

        return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : PAGE;
}

static int wrap(struct memfile **ret, int fd, uint64_t size, int numa, bool mapped) {
        struct memfile *f;
        int r;

        r = bind_numa(fd, size, numa);
        if (r < 0)
                return r;
        f = alloc_zero(sizeof(*f));
        if (!f)
                return -ENOMEM;
        f->fd = fd;
        f->size = size;
        f->page = page_of(fd);
        f->numa = numa >= 0 && many_numa_nodes() ? numa : -1;
        if (mapped) {
                f->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
                if (f->base == MAP_FAILED) {
                        r = -errno;
                        goto free_file;
                }
                (void)madvise(f->base, size, MADV_DONTDUMP);
        }
        r = slot_take(f);
        if (r < 0)
                goto unmap;
        *ret = f;
        return 0;

unmap:
        if (f->base)
                munmap(f->base, size);
free_file:
        alloc_free(f);
        return r;
}

static int create(const char *name) {
        unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        int fd;

        fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
        if (fd < 0 && errno == EINVAL) /* before 6.3 */
                fd = memfd_create(name, flags);
        return fd < 0 ? -errno : fd;
}

int memfile_new(struct memfile **ret, const char *name, uint64_t size, int numa, bool mapped) {
        int fd, r;

        if (size == 0 || size % PAGE || size > INT64_MAX)
                return -EINVAL;
        fd = create(name);
        if (fd < 0)
                return fd;
        if (ftruncate(fd, (off_t)size) < 0 || fchmod(fd, 0600) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                r = -errno;
        else
                r = wrap(ret, fd, size, numa, mapped);
        if (r < 0)
                close(fd);
        return r;
}

int memfile_adopt(struct memfile **ret, int fd, uint64_t size, int numa, bool mapped) {
        int seals = fcntl(fd, F_GET_SEALS);
        struct stat st;

        if (seals < 0 || (seals & SEALS) != SEALS)
                return -EINVAL;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (size == 0 || st.st_size < 0 || (uint64_t)st.st_size != size || (st.st_mode & 07777) != 0600)
                return -EINVAL;
        return wrap(ret, fd, size, numa, mapped);
}

void memfile_free(struct memfile *f) {
        if (!f)
                return;
        slot_give(f);
        if (f->base)
                munmap(f->base, f->size);
        if (f->fd >= 0)
                close(f->fd);
        alloc_free(f);
}

int memfile_fd(const struct memfile *f) {
        return f->fd;
}

uint32_t memfile_slot(const struct memfile *f) {
        return f->slot;
}

uint64_t memfile_size(const struct memfile *f) {
        return f->size;
}

uint64_t memfile_bytes(const struct memfile *f) {
        struct stat st;

        if (f->dmabuf || f->elsewhere)
                return f->dmabuf ? f->size : 0;
        return fstat(f->fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

int memfile_open_read(const struct memfile *f) {
        char path[32];
        int fd;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int allocate(int fd, int mode, uint64_t offset, uint64_t size) {
        int r;

        do
                r = fallocate(fd, mode, (off_t)offset, (off_t)size);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

/* What could be taken without killing anybody: reclaimable caches count, so it is a reading of /proc/meminfo. */
static uint64_t meminfo_available(void) {
        unsigned long long kib, sum = 0;
        char line[128];
        FILE *f;

        f = fopen("/proc/meminfo", "re");
        if (!f)
                return UINT64_MAX;
        while (fgets(line, sizeof(line), f))
                if (sscanf(line, "MemAvailable: %llu", &kib) == 1 || sscanf(line, "SwapFree: %llu", &kib) == 1)
                        sum += kib * 1024;
        fclose(f);
        return sum;
}

/* The same of the NUMA node that a file is bound to: the kernel would look for somebody to kill there, too. */
static bool node_has(int numa, uint64_t size) {
        unsigned long long kib, files = 0, shmem = 0, has = 0;
        char path[80], line[128];
        FILE *f;

        snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", numa);
        f = fopen(path, "re");
        if (!f)
                return true;
        while (fgets(line, sizeof(line), f)) {
                if (sscanf(line, "Node %*d MemFree: %llu", &kib) == 1)
                        has = kib;
                else if (sscanf(line, "Node %*d FilePages: %llu", &kib) == 1)
                        files = kib;
                else if (sscanf(line, "Node %*d Shmem: %llu", &kib) == 1)
                        shmem = kib;
        }
        fclose(f);
        return (has + (files > shmem ? files - shmem : 0)) * 1024 >= size;
}

static bool machine_has(const struct memfile *f, uint64_t size) {
        struct sysinfo si;

        if (size > UINT64_MAX - LEAVE_FREE || (f->numa >= 0 && !node_has(f->numa, size + LEAVE_FREE / 4)))
                return false;
        size += LEAVE_FREE;
        if (sysinfo(&si) == 0 && ((uint64_t)si.freeram + si.freeswap) * si.mem_unit >= size)
                return true;
        return meminfo_available() >= size;
}

int memfile_commit(struct memfile *f, uint64_t offset, uint64_t size) {
        uint64_t done = 0;
        int r = 0;

        if (offset > f->size || size > f->size - offset)
                return -EINVAL;
        if (f->elsewhere)
                return 0;
        memfile_punch(f, offset, size);
        while (r == 0 && done < size) {
                uint64_t piece = size - done < COMMIT_PIECE ? size - done : COMMIT_PIECE;

                r = machine_has(f, size - done) ? allocate(f->fd, 0, offset + done, piece) : -ENOMEM;
                if (r == 0)
                        done += piece;
        }
        if (r < 0)
                memfile_punch(f, offset, size);
        return r;
}

static int punch(struct memfile *f, uint64_t offset, uint64_t size) {
        return allocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size);
}

void memfile_punch(struct memfile *f, uint64_t offset, uint64_t size) {
        if (size > 0 && f->fd >= 0 && !f->dmabuf)
                (void)punch(f, offset, size);
}

/* Punching costs what is there, not the size of the gap. (SEEK_DATA cannot tell what is there: it passes over pages
 * that were committed and never written.) */
int memfile_punch_unused(struct memfile *f, memfile_used_fn used, void *userdata) {
        uint64_t at = 0, start, end;
        int r = 0;

        while (f->fd >= 0 && !f->dmabuf && r == 0 && at < f->size) {
                if (!used(userdata, at, &start, &end))
                        start = end = f->size;
                if (start > at)
                        r = punch(f, at, start - at);
                at = end > at ? end : f->size;
        }
        return r;
}

int memfile_read(uint32_t slot, uint64_t offset, void *to, uint64_t size) {
        struct memfile *f = slot_find(slot);
        char *p = to;

        if (!f)
                return -ENXIO;
        if (f->dmabuf)
                return poke_read(f->fd, f->page, offset, to, size);
        while (size > 0) {
                ssize_t n = pread(f->fd, p, size, (off_t)offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                p += n;
                offset += (uint64_t)n;
                size -= (uint64_t)n;
        }
        return 0;
}

int memfile_write(uint32_t slot, uint64_t offset, const void *from, uint64_t size) {
        struct memfile *f = slot_find(slot);
        const char *p = from;

        if (!f)
                return -ENXIO;
        if (f->page != PAGE || f->dmabuf)
                return poke_write(f->fd, f->page, offset, from, size);
        while (size > 0) {
                ssize_t n = pwrite(f->fd, p, size, (off_t)offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                p += n;
                offset += (uint64_t)n;
                size -= (uint64_t)n;
        }
        return 0;
}

int memfile_atomic_add(uint32_t slot, uint64_t offset, uint64_t value, uint64_t *ret_before) {
        struct memfile *f = slot_find(slot);
        uint64_t *word;

        if (!f)
                return -ENXIO;
        if (!f->base)
                return poke_add(f->fd, f->page, offset, value, ret_before);
        word = (uint64_t *)(void *)((char *)f->base + offset);
        *ret_before = __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST);
        return 0;
}

void *memfile_base(uint32_t slot) {
        struct memfile *f = slot_find(slot);

        return f ? f->base : NULL;
}

int memfile_dmabuf(struct memfile **ret, int fd, long magic, uint64_t size) {
        struct dmabuf info;
        struct memfile *f;
        int r = dmabuf_query(fd, magic, &info);

        if (r < 0 || info.size != size)
                return r < 0 ? r : -EINVAL;
        r = wrap(&f, fd, size, -1, false);
        if (r < 0)
                return r;
        f->dmabuf = true;
        *ret = f;
        return 0;
}

int memfile_foreign(struct memfile **ret, int fd, uint64_t size) {
        int r = wrap(ret, fd, size, -1, false);

        if (r == 0)
                (*ret)->dmabuf = true;
        return r;
}

bool memfile_is_same(const struct memfile *f, int fd) {
        struct stat a, b;

        if (!f->dmabuf || fstat(f->fd, &a) < 0 || fstat(fd, &b) < 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino)
                return false;
        return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, f->fd, fd) <= 0;
}

/* One without a file, which `of` describes. */
static int fileless(struct memfile **ret, const struct memfile *of) {
        struct memfile *f = alloc_zero(sizeof(*f));
        int r;

        if (!f)
                return -ENOMEM;
        *f = *of;
        f->fd = f->numa = -1;
        f->page = PAGE;
        r = slot_take(f);
        if (r < 0) {
                alloc_free(f);
                return r;
        }
        *ret = f;
        return 0;
}

int memfile_elsewhere(struct memfile **ret, uint64_t size) {
        return fileless(ret, &(struct memfile){ .size = size, .elsewhere = true });
}

int memfile_client(struct memfile **ret, const struct client_access *access, void *userdata, uint64_t address,
                   uint64_t size) {
        return fileless(ret,
                        &(struct memfile){ .size = size, .client = access, .userdata = userdata, .address = address });
}

bool memfile_is_client(uint32_t slot) {
        const struct memfile *f = slot_find(slot);

        return f && f->client;
}

int memfile_ask(uint32_t slot, uint64_t offset, struct client_request *r) {
        const struct memfile *f = slot_find(slot);

        if (!f || !f->client)
                return -ENXIO;
        r->address = f->address + offset;
        r->access = f->client;
        r->userdata = f->userdata;
        f->client->start(f->userdata, r);
        return 0;
}
