#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/*
 * A memfd that holds memory: the pool of a soft node, the arena of a session on a host node, or the file of
 * one shareable object. Sparse; a range is committed (its pages taken from the machine) before anyone is told
 * that it is his, so a machine without memory refuses and never sends SIGBUS. Sealed against shrinking, growing
 * and further seals, mode 0600.
 *
 * Every memfile has a slot in one table of the process, by which a device's page table names it. Files that a
 * client maps are mapped by the daemon for one access at most (poke.h); pools always are.
 */
struct memfile;

/* `numa`: node of this machine to bind pages to, -1 for wherever. `mapped`: keep the file mapped (pools). */
int memfile_new(struct memfile **ret, const char *name, uint64_t size, int numa, bool mapped);
/* Around a file from an earlier svmd; takes `fd` over on success. -EINVAL: not a sealed memfd of that size. */
int memfile_adopt(struct memfile **ret, int fd, uint64_t size, int numa, bool mapped);
/* Closes it and frees the slot. No page table may still name it. NULL is allowed. */
void memfile_free(struct memfile *f);

int memfile_fd(const struct memfile *f);
uint32_t memfile_slot(const struct memfile *f);
uint64_t memfile_size(const struct memfile *f);
/* Bytes that the file has taken from the machine (st_blocks); of a dma-buf, which does not tell, its size. */
uint64_t memfile_bytes(const struct memfile *f);
/* A new O_RDONLY file description of it; its holder cannot make it writable as another uid. A fd, or negative errno. */
int memfile_open_read(const struct memfile *f);

/* Takes the range's pages, zeroed. All or none: on failure (-ENOMEM, -ENOSPC) what was taken is given back.
 * Thread-safe; two calls on ranges that do not overlap may run at once. */
int memfile_commit(struct memfile *f, uint64_t offset, uint64_t size);
/* Gives the range's pages back to the machine; it reads as zero. Thread-safe likewise. */
void memfile_punch(struct memfile *f, uint64_t offset, uint64_t size);
/* Punches everything that lies outside of the ranges that `used(userdata, offset)` walks: it returns the first used
 * range at or after `offset` through its outputs, or false. For the first minute after a restart. */
typedef bool (*memfile_used_fn)(void *userdata, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end);
int memfile_punch_unused(struct memfile *f, memfile_used_fn used, void *userdata);

/* Called by device threads. -ENXIO: no such slot. The range must lie inside the file. */
int memfile_read(uint32_t slot, uint64_t offset, void *to, uint64_t size);
int memfile_write(uint32_t slot, uint64_t offset, const void *from, uint64_t size);
/* Adds to the 64-bit word at `offset` (multiple of 8), atomically also against CPUs that map the file. */
int memfile_atomic_add(uint32_t slot, uint64_t offset, uint64_t value, uint64_t *ret_before);
/* The mapping of a pool, or NULL for a file that is not mapped. */
void *memfile_base(uint32_t slot);

/*
 * A dma-buf: memory of a driver, which svmd holds and hands on, and neither commits nor punches. It has one open file
 * in all processes, so who has it has it as it was opened.
 */
struct dmabuf {
        uint64_t size;
        bool write;    /* its file is open to write, too */
        bool mappable; /* its driver lets CPUs map it */
};
/* `magic`: of the file system that dma-bufs are of, 0 for the kernel's. -EINVAL: it is no dma-buf. */
int dmabuf_query(int fd, long magic, struct dmabuf *ret);
/* Takes `fd` over on success. -EINVAL: not a dma-buf of that size. */
int memfile_dmabuf(struct memfile **ret, int fd, long magic, uint64_t size);
/* The same of a descriptor that only its driver knows anything of. */
int memfile_foreign(struct memfile **ret, int fd, uint64_t size);
/* Of memory that only clients have, by their device's library: room to be counted, and no file. Its descriptor is -1.
 */
int memfile_elsewhere(struct memfile **ret, uint64_t size);
/* The very same dma-buf. */
bool memfile_is_same(const struct memfile *f, int fd);

/*
 * Memory that a process has itself takes a slot too, and is no file: whoever knows that process reads and writes it for
 * devices, in threads of his own, as long as that takes.
 */
#define CLIENT_REQUEST_MAX (64u << 10)

struct client_access;
struct client_request {
        uint64_t address; /* of the process; memfile_ask() fills in this and the next two */
        const struct client_access *access;
        void *userdata;
        uint32_t size; /* at most CLIENT_REQUEST_MAX */
        bool write;
        char *data; /* what is written, or where what is read goes */
        /* Once, in any thread, unless it was called off. 0; -ESTALE: the process has given the memory back; -EFAULT: it
         * does not allow the access; -ESRCH: it has ended; -errno. */
        void (*done)(struct client_request *r, int result);
        struct list link; /* his */
};

struct client_access {
        /* Does not wait, and does not call `done` itself. */
        void (*start)(void *userdata, struct client_request *r);
        /* Does not wait for the process. True: nothing of it is done any more, and it is not told; false: it has been
         * done, and is told or about to be. */
        bool (*cancel)(void *userdata, struct client_request *r);
};

/* `userdata` stays until the memfile is freed. -ENOMEM, -ENFILE. */
int memfile_client(struct memfile **ret, const struct client_access *access, void *userdata, uint64_t address,
                   uint64_t size);
bool memfile_is_client(uint32_t slot);
/* Device threads. -ENXIO: no such slot. */
int memfile_ask(uint32_t slot, uint64_t offset, struct client_request *r);
