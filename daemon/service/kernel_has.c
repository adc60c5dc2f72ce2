#include "service/kernel_has.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mover/mover.h"

/* What headers of older kernels lack. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#define WP_UNPOPULATED (UINT64_C(1) << 13)
#define WP_ASYNC       (UINT64_C(1) << 15)
#define MOVE           (UINT64_C(1) << 16)

static bool has_all(const struct mover_features *f, uint64_t bits) {
        return (f->bits & bits) == bits;
}

static bool missing(const struct mover_features *f) {
        return has_all(f, UFFD_FEATURE_MISSING_SHMEM);
}

static bool minor_faults(const struct mover_features *f) {
        return has_all(f, UFFD_FEATURE_MINOR_SHMEM);
}

static bool write_protect(const struct mover_features *f) {
        return has_all(f, UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
}

static bool event_remove(const struct mover_features *f) {
        return has_all(f, UFFD_FEATURE_EVENT_REMOVE);
}

static bool event_unmap(const struct mover_features *f) {
        return has_all(f, UFFD_FEATURE_EVENT_UNMAP);
}

static bool event_remap(const struct mover_features *f) {
        return has_all(f, UFFD_FEATURE_EVENT_REMAP);
}

static bool huge(const struct mover_features *f) {
        return f->huge;
}

static bool continue_protects(const struct mover_features *f) {
        return f->continue_protects;
}

static bool poison(const struct mover_features *f) {
        return f->poison;
}

static bool read_now(const struct mover_features *f) {
        return f->read_now;
}

static bool wp_unpopulated(const struct mover_features *f) {
        return has_all(f, WP_UNPOPULATED);
}

static bool wp_async(const struct mover_features *f) {
        return has_all(f, WP_ASYNC);
}

static bool move(const struct mover_features *f) {
        return has_all(f, MOVE);
}

static bool peer_pidfd(const struct mover_features *f) {
        int ends[2], pidfd = -1;
        socklen_t size = sizeof(pidfd);

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return false;
        if (getsockopt(ends[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0)
                pidfd = -1;
        close(ends[0]);
        close(ends[1]);
        if (pidfd >= 0)
                close(pidfd);
        return pidfd >= 0;
}

static bool memfd_with(unsigned flags, int seals) {
        int fd = memfd_create("svmd-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
        bool can = fd >= 0 && fcntl(fd, F_ADD_SEALS, seals) == 0;

        if (fd >= 0)
                close(fd);
        return can;
}

static bool seals(const struct mover_features *f) {
        return memfd_with(0, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
}

static bool noexec(const struct mover_features *f) {
        return memfd_with(MFD_NOEXEC_SEAL, F_SEAL_SHRINK);
}

static bool other_process(const struct mover_features *f) {
        char from = 1, to = 0;
        struct iovec here = { &to, 1 }, there = { &from, 1 };

        return syscall(SYS_process_vm_readv, getpid(), &here, 1ul, &there, 1ul, 0ul) == 1;
}

static const struct kernel_has all[] = {
        { "kernel-uffd-missing", "4.11", "a managed range's pages come with the first touch",
          "there are no managed ranges", true, missing },
        { "kernel-uffd-minor", "5.14", "processes share a managed range's pages, each mapped as it is touched",
          "there are no managed ranges", true, minor_faults },
        { "kernel-uffd-write-protect", "5.19", "a granule is copied to a node while its readers go on",
          "there are no managed ranges", true, write_protect },
        { "kernel-uffd-event-remove", "4.11", "svmd hears of memory that a process gives back",
          "there are no managed ranges", true, event_remove },
        { "kernel-uffd-event-unmap", "4.11", "svmd hears of what a process unmaps", "there are no managed ranges", true,
          event_unmap },
        { "kernel-uffd-event-remap", "4.11", "svmd hears of what a process moves", "there are no managed ranges", true,
          event_remap },
        { "kernel-uffd-huge", "5.13", "managed ranges of huge pages", "ranges with RANGE_HUGE are refused", false,
          huge },
        { "kernel-uffd-continue-protected", "6.4", "processes read what nodes have copies of, and the copies stay",
          "the copies on nodes end when another process reads the granule", false, continue_protects },
        { "kernel-uffd-poison", "6.6", "SIGBUS for who touches what is revoked or lost, where a range asks for it",
          "who touches what is revoked waits until it is given back; ranges with RANGE_SIGBUS are refused", false,
          poison },
        { "kernel-uffd-read-now", "6.10", "a process cannot hold svmd up by making its userfaultfd blocking",
          "a process that makes its userfaultfd blocking keeps workers of svmd, a bounded number, until it ends", false,
          read_now },
        { "kernel-uffd-protect-empty", "6.4", "protection of what has no page yet",
          "nothing: this version has no use for it", false, wp_unpopulated },
        { "kernel-uffd-protect-async", "6.7", "protection that keeps no writer waiting",
          "nothing: this version has no use for it", false, wp_async },
        { "kernel-uffd-move", "6.8", "private pages move without a copy", "nothing: this version has no use for it",
          false, move },
        { "kernel-peer-pidfd", "6.5",
          "a process that holds a revocation up is ended by a handle that is no other process's",
          "a process that holds a revocation up is ended by its number, while that is still of its user", false,
          peer_pidfd },
        { "kernel-memfd-seals", "3.17", "memory files that no client can shrink", "svmd cannot hold memory", true,
          seals },
        { "kernel-memfd-noexec", "6.3", "memory files that cannot become programs",
          "memory files can be made executable by who may write them", false, noexec },
        { "kernel-process-vm", "3.2", "devices reach memory that a process registered",
          "registering memory is of no use", true, other_process },
};

_Static_assert(sizeof(all) / sizeof(all[0]) <= KERNEL_HAS_MAX, "room for each");

size_t kernel_has_all(const struct kernel_has **ret) {
        *ret = all;
        return sizeof(all) / sizeof(all[0]);
}
