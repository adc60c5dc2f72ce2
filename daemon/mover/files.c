#include "mover/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backend/memfile.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* With a size, which seals keep. */
static int make(const char *what, uint64_t id, uint64_t size, unsigned flags) {
        char name[48];
        int fd, k;

        if (size > INT64_MAX)
                return -EINVAL;
        snprintf(name, sizeof(name), "svmd-%s-%llu", what, (unsigned long long)id);
        flags |= MFD_CLOEXEC | MFD_ALLOW_SEALING;
        fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
        if (fd < 0 && errno == EINVAL) /* before 6.3 */
                fd = memfd_create(name, flags);
        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)size) == 0 && fchmod(fd, 0600) == 0 && fcntl(fd, F_ADD_SEALS, SEALS) == 0)
                return fd;
        k = -errno;
        close(fd);
        return k;
}

static bool has_huge_pages(void) {
        static const char *const files[] = { "nr_hugepages", "nr_overcommit_hugepages" };
        unsigned long long n, sum = 0;

        for (unsigned i = 0; i < 2; i++) {
                char path[80];
                FILE *f;

                snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-2048kB/%s", files[i]);
                f = fopen(path, "re");
                if (!f)
                        continue;
                sum += fscanf(f, "%llu", &n) == 1 ? n : 0;
                fclose(f);
        }
        return sum > 0;
}

int files_memory_new(struct memfile **ret, uint64_t id, uint64_t size, bool huge) {
        int fd, k;

        if (huge && !has_huge_pages())
                return -ENOSPC;
        fd = make("range", id, size, huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
        if (fd < 0)
                return fd;
        k = memfile_adopt(ret, fd, size, -1, false);
        if (k < 0)
                close(fd);
        return k;
}

int files_memory_adopt(struct memfile **ret, int fd, uint64_t size, bool huge) {
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return -errno;
        if (huge ? fs.f_type != HUGETLBFS_MAGIC || fs.f_bsize != 2 << 20 : fs.f_type != TMPFS_MAGIC)
                return -EINVAL;
        return memfile_adopt(ret, fd, size, -1, false);
}

static int map(struct range_head **ret, int fd, uint64_t size) {
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p == MAP_FAILED)
                return -errno;
        *ret = p;
        return 0;
}

int files_state_new(int *ret_fd, struct range_head **ret, uint64_t id, uint32_t granule, uint64_t count) {
        uint64_t size = range_state_size(count);
        int fd = make("state", id, size, 0), k;

        if (fd < 0)
                return fd;
        do
                k = fallocate(fd, 0, 0, (off_t)size) < 0 ? -errno : 0;
        while (k == -EINTR);
        k = k ? k : map(ret, fd, size);
        if (k) {
                close(fd);
                return k;
        }
        **ret = (struct range_head){
                .magic = RANGE_MAGIC, .version = RANGE_VERSION, .granule = granule, .count = count
        };
        *ret_fd = fd;
        return 0;
}

int files_state_adopt(struct range_head **ret, int fd, uint32_t granule, uint64_t count) {
        uint64_t size = range_state_size(count);
        int seals = fcntl(fd, F_GET_SEALS), k;
        struct range_head *head = NULL;
        struct stat st;

        if (seals < 0 || (seals & SEALS) != SEALS)
                return -EINVAL;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size < 0 || (uint64_t)st.st_size != size || (st.st_mode & 07777) != 0600)
                return -EINVAL;
        k = map(&head, fd, size);
        if (k)
                return k;
        if (head->magic != RANGE_MAGIC || head->version != RANGE_VERSION || head->granule != granule ||
            head->count != count) {
                files_state_unmap(head, count);
                return -EINVAL;
        }
        *ret = head;
        return 0;
}

void files_state_unmap(struct range_head *head, uint64_t count) {
        munmap(head, range_state_size(count));
}
