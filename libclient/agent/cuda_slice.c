#include "cuda_slice.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cuda.h"
#include "cuda_api.h"
#include "error.h"

/*
 * CUDA gives addresses for its mappings only out of its own reservations, and an address that is taken already comes
 * back as another one, without an error. So the slice is given up for a moment, reserved with CUDA, compared, and
 * covered again by what keeps everybody else out: svmd's own mappings then come over that, as they always do.
 */
enum { SLICES_MAX = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slice {
        uint64_t base, length;
        const struct cuda_api *api;
} slices[SLICES_MAX];

static struct slice *find(uint64_t base, uint64_t length) {
        for (unsigned i = 0; i < SLICES_MAX; i++)
                if (slices[i].base == base && slices[i].length == length)
                        return &slices[i];
        return NULL;
}

/* All that is mapped in the slice is what keeps others out. */
static bool is_blank(uint64_t base, uint64_t end) {
        FILE *maps = fopen("/proc/self/maps", "re");
        bool blank = maps != NULL;
        char line[512], access[8];
        uint64_t from, to;

        while (blank && fgets(line, sizeof(line), maps))
                if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s", &from, &to, access) == 3 && from < end && to > base)
                        blank = strcmp(access, "---p") == 0;
        if (maps)
                fclose(maps);
        return blank;
}

/* libc's mmap() is a sanitizer's, which may not know these addresses. */
static int cover(uint64_t base, uint64_t length, int flags) {
        long p = syscall(SYS_mmap, base, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

        if (p == -1 || (uint64_t)p != base)
                return fail_errno(p == -1 ? errno : EEXIST, "the addresses of the partition could not be kept");
        (void)madvise((void *)base, length, MADV_DONTFORK);
        (void)madvise((void *)base, length, MADV_DONTDUMP);
        return 0;
}

static int reserve(const struct cuda_api *api, uint64_t base, uint64_t length) {
        CUdeviceptr at = 0;
        CUresult r;

        syscall(SYS_munmap, base, length);
        r = api->reserve(&at, length, 0, base, 0);
        if (r == CUDA_OK && at == base)
                return cover(base, length, MAP_FIXED);
        if (r == CUDA_OK)
                api->free(at, length);
        if (cover(base, length, MAP_FIXED_NOREPLACE) != 0)
                return SVMD_E_COLLISION;
        return r != CUDA_OK ? cuda_fail(api, r, "CUDA did not reserve the addresses of the partition")
                            : fail(SVMD_E_COLLISION,
                                   "CUDA reserved %#" PRIx64 " instead of %#" PRIx64
                                   ", so one pointer cannot be the same on the CPU and the GPU; use a partition "
                                   "elsewhere: svmd-ctl partition create NAME --window primary|low",
                                   at, base);
}

int cuda_slice_take(const struct cuda_api *api, uint64_t base, uint64_t length) {
        struct slice *l;
        int r = 0;

        pthread_mutex_lock(&lock);
        if (!find(base, length)) {
                l = find(0, 0);
                if (!l)
                        r = fail(SVMD_E_QUOTA, "a process uses CUDA in %d partitions at most", SLICES_MAX);
                else if (!is_blank(base, base + length))
                        r = fail(SVMD_E_BUSY,
                                 "this process has mapped some of the partition already: make the first space of a "
                                 "CUDA node before anything is mapped there");
                else
                        r = reserve(api, base, length);
                if (!r)
                        *l = (struct slice){ base, length, api };
        }
        pthread_mutex_unlock(&lock);
        return r;
}

void cuda_slice_gone(uint64_t base, uint64_t length) {
        struct slice *l;

        pthread_mutex_lock(&lock);
        l = find(base, length);
        if (l && length) {
                l->api->free(base, length);
                *l = (struct slice){ 0 };
        }
        pthread_mutex_unlock(&lock);
}
