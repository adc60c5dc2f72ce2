#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hostile/families.h"
#include "hostile/raw.h"
#include "svmd.h"

/* Forged and foreign ids. */

static bool is_refusal(unsigned code) {
        return code == SVMD_E_NO_SUCH || code == SVMD_E_FOREIGN || code == SVMD_E_DENIED || code == SVMD_E_RANGE ||
               code == SVMD_E_NOT_MAPPED;
}

/* Everything that takes a number, at somebody else's. */
static void try_all(struct raw *r, uint64_t id) {
        must(is_refusal(raw_op(r, Free, FREE, free, NULL, b.reservation = id)));
        must(is_refusal(raw_op(r, MemRelease, MEM_RELEASE, mem_release, NULL, b.memory = id)));
        must(is_refusal(raw_op(r, MemFd, MEM_FD, mem_fd, NULL, b.memory = id; b.access = 3)));
        must(is_refusal(raw_op(r, MemExport, MEM_EXPORT, mem_export, NULL, b.memory = id; b.access = 3)));
        must(is_refusal(raw_op(r, SpaceDestroy, SPACE_DESTROY, space_destroy, NULL, b.space = id)));
        must(is_refusal(raw_op(r, FenceQuery, FENCE_QUERY, fence_query, NULL, b.fence = id)));
        must(is_refusal(raw_op(r, RangeFiles, RANGE_FILES, range_files, NULL, b.reservation = id)));
        must(is_refusal(raw_op(r, LeaseRelease, LEASE_RELEASE, lease_release, NULL, b.lease = id)));
        must(is_refusal(raw_op(r, Unmap, UNMAP, unmap, NULL, b.space = id; b.address = 1 << 20; b.size = 4096)));
}

static void foreign(struct message *m) {
        struct raw r;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        for (uint64_t id = 1; id < target.ids; id++)
                try_all(&r, id);
        raw_close(&r);
}

static void of_another_partition(struct message *m) {
        struct raw r;

        raw_attach(&r, target.socket, "");
        for (uint64_t id = 1; id < target.ids; id++)
                try_all(&r, id);
        raw_close(&r);
}

static void forged(struct message *m) {
        const uint64_t odd[] = { 0, UINT64_MAX, 1ull << 63, 1ull << 56, 1ull << 32, target.ids + 1000000, INT64_MAX };
        struct raw r;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
                must(raw_op(&r, Free, FREE, free, NULL, b.reservation = odd[i]) != 0);
                must(raw_op(&r, MemRelease, MEM_RELEASE, mem_release, NULL, b.memory = odd[i]) != 0);
                must(raw_op(&r, SpaceDestroy, SPACE_DESTROY, space_destroy, NULL, b.space = odd[i]) != 0);
        }
        for (unsigned i = 0; i < 500; i++)
                must(raw_op(&r, MemRelease, MEM_RELEASE, mem_release, NULL, b.memory = random_below(UINT64_MAX)) != 0);
        raw_close(&r);
}

/* Addresses of somebody else's range, in orders that go by the address. */
static void foreign_addresses(struct message *m) {
        struct raw r;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        for (uint64_t at = target.address; at < target.address + target.size; at += target.size / 8) {
                must(raw_op(&r, Discard, DISCARD, discard, NULL, b.address = at; b.size = 65536) != 0);
                must(raw_op(&r, Migrate, MIGRATE, migrate, NULL, b.address = at; b.size = 65536; b.node = target.gpu) !=
                     0);
                must(raw_op(&r, Revoke, REVOKE, revoke, NULL, b.address = at) != 0);
                must(raw_op(&r, Steal, STEAL, steal, NULL, b.address = at) != 0);
        }
        raw_close(&r);
}

/* A file that looks like a token, with a number that there is and bytes that nobody gave. */
static void forged_token(struct message *m) {
        struct raw r;

        raw_attach(&r, target.socket, HOSTILE_PARTITION);
        for (uint64_t id = 1; id < target.ids; id++) {
                int fd = memfd_create("svmd-token", MFD_CLOEXEC | MFD_ALLOW_SEALING);
                uint64_t words[8] = { id, id, id, 1, 2, 3, 4, 5 };
                struct fdlist fds;

                must(fd >= 0 && write(fd, words, sizeof(words)) == sizeof(words));
                must(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
                fdlist_init(&fds);
                must(fdlist_add(&fds, fd) == 0);
                must(raw_op(&r, MemImport, MEM_IMPORT, mem_import, &fds, b.access = 3) != 0);
                close(fd);
        }
        raw_close(&r);
}

const struct hostile_family hostile_ids = { "ids",
                                            { { .name = "foreign", .run = foreign },
                                              { .name = "of another partition", .run = of_another_partition },
                                              { .name = "forged", .run = forged },
                                              { .name = "foreign addresses", .run = foreign_addresses },
                                              { .name = "a forged token", .run = forged_token } } };
