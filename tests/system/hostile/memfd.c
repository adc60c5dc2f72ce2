#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* The file behind host memory that a client was given: whatever it does with it, it does it to itself. */

enum { SIZE = 1 << 20 };

static int file_of(struct raw *r, uint32_t flags, uint64_t *ret_memory, uint64_t *ret_offset) {
        raw_attach(r, target.socket, HOSTILE_PARTITION);
        must(raw_op(r, MemCreate, MEM_CREATE, mem_create, NULL, b.node = target.host; b.size = SIZE; b.flags = flags) ==
             0);
        *ret_memory = r->object;
        must(raw_op(r, MemFd, MEM_FD, mem_fd, NULL, b.memory = *ret_memory; b.access = 3) == 0);
        must(r->passed >= 0);
        *ret_offset = r->value;
        return r->passed;
}

static void punched(struct message *m) {
        uint64_t memory, offset;
        struct raw r;
        int fd = file_of(&r, 0, &memory, &offset);

        for (unsigned i = 0; i < 50; i++)
                must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE) == 0);
        must(raw_op(&r, MemRelease, MEM_RELEASE, mem_release, NULL, b.memory = memory) == 0);
        close(fd);
        raw_close(&r);
}

/* Pages of the arena that it was not given: they go with the session, and the file's end is sealed. */
static void filled(struct message *m) {
        uint64_t memory, offset;
        struct raw r;
        int fd = file_of(&r, 0, &memory, &offset);

        must(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 8 * SIZE) == 0 || errno == EPERM || errno == EINVAL);
        must(ftruncate(fd, 1) < 0);
        must(ftruncate(fd, 1ll << 50) < 0);
        must(fallocate(fd, 0, (1ll << 50), 4096) < 0);
        close(fd);
        raw_close(&r);
}

static void aliased(struct message *m) {
        uint64_t memory, offset;
        struct raw r;
        int fd = file_of(&r, SVMD__V1__MEM_FLAG__MEM_SHAREABLE, &memory, &offset);
        volatile char *at[16];

        for (unsigned i = 0; i < 16; i++) {
                at[i] = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                must(at[i] != MAP_FAILED);
                at[i][i] = (char)i;
        }
        must(raw_op(&r, MemRelease, MEM_RELEASE, mem_release, NULL, b.memory = memory) == 0);
        for (unsigned i = 0; i < 16; i++)
                at[i][i * 4096] = 1;
        raw_close(&r);
}

static void sealed(struct message *m) {
        uint64_t memory, offset;
        struct raw r;
        int fd = file_of(&r, SVMD__V1__MEM_FLAG__MEM_SHAREABLE, &memory, &offset);

        must(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
        must(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) < 0);
        must(raw_op(&r, MemRelease, MEM_RELEASE, mem_release, NULL, b.memory = memory) == 0);
        close(fd);
        raw_close(&r);
}

/* The session ends, and the file is written to afterwards: svmd has taken its pages, and does not count these. */
static void outlived(struct message *m) {
        uint64_t memory, offset;
        struct raw r;
        int fd = file_of(&r, SVMD__V1__MEM_FLAG__MEM_SHAREABLE, &memory, &offset);

        raw_close(&r);
        for (unsigned i = 0; i < 20; i++) {
                must(pwrite(fd, "x", 1, (off_t)(i * 4096)) == 1);
                usleep(1000);
        }
        close(fd);
}

const struct hostile_family hostile_memfd = { "files of memory",
                                              { { .name = "punched", .run = punched },
                                                { .name = "filled", .run = filled },
                                                { .name = "aliased", .run = aliased },
                                                { .name = "sealed", .run = sealed },
                                                { .name = "outlived", .run = outlived } } };
