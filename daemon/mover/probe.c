#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mover/mover.h"
#include "mover/userfault.h"

/*
 * What the kernel grants is asked of the kernel: feature bits where there are any, and a page of svmd's own where there
 * is none (CONTINUE with MODE_WP).
 */
enum { PAGE = 4096 };

static struct mover_features features;

static void refuse(int error) {
        const char *what = "this kernel has none (CONFIG_USERFAULTFD is not set)";

        if (error == -EACCES || error == -EPERM)
                what = "svmd may not use it; let its user open /dev/userfaultfd for reading and writing";
        else if (error == -ENOENT || error == -ENODEV)
                what = "/dev/userfaultfd is missing; mount a full /dev";
        else if (error == -EOPNOTSUPP)
                what = "this kernel's does not serve shared memory; Linux 5.19 and later do";
        else if (error != -ENOSYS)
                what = strerror(-error);
        snprintf(features.why, sizeof(features.why), "userfaultfd: %s", what);
}

static bool try_continue(int fd, char *page, int file) {
        uint64_t ioctls;

        if (pwrite(file, "", 1, 0) != 1 || userfault_register(fd, (uintptr_t)page, PAGE, false, &ioctls))
                return false;
        return userfault_continue(fd, (uintptr_t)page, PAGE, USERFAULT_PROTECT) == PAGE;
}

static bool continue_protects(void) {
        int fd = userfault_new(), file = memfd_create("svmd-probe", MFD_CLOEXEC);
        uint64_t needs = userfault_needs();
        char *page = MAP_FAILED;
        bool can = false;

        if (fd >= 0 && file >= 0 && !ftruncate(file, PAGE) && !userfault_api(fd, needs, NULL))
                page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
        if (page != MAP_FAILED)
                can = try_continue(fd, page, file);
        if (fd >= 0) /* before the mapping: with nobody to read the event, munmap would wait */
                close(fd);
        if (page != MAP_FAILED)
                munmap(page, PAGE);
        if (file >= 0)
                close(file);
        return can;
}

static void probe(void) {
        int fd = userfault_new(), k;
        uint64_t has = 0;

        if (fd < 0) {
                refuse(fd);
                return;
        }
        k = userfault_api(fd, 0, &has);
        features.bits = has;
        features.read_now = userfault_reads_now(fd);
        close(fd);
        if (k || (has & userfault_needs()) != userfault_needs()) {
                refuse(k && k != -EINVAL ? k : -EOPNOTSUPP);
                return;
        }
        features.usable = true;
        features.huge = (has & userfault_needs_huge()) == userfault_needs_huge();
        features.poison = has & userfault_poison_bit();
        features.continue_protects = continue_protects();
}

const struct mover_features *mover_features(void) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        pthread_once(&once, probe);
        return &features;
}
