#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "backend/backend.h"
#include "backend/hmm.h"
#include "backend/kinds.h"
#include "backend/private.h"

/*
 * The kernel's HMM test device: memory that migrate_vma moves private anonymous pages to, as real drivers do. Its
 * driver is odd in some ways that this hides:
 *  - a move to the device ends by reading all of the range through the device's page table, and fails with ENOENT where
 *    one page had stayed behind. The pages have moved all the same, so that is success, and a look says how many;
 *  - a look sees pages of other devices as none at all;
 *  - when a page that it used exclusively is touched, it forgets that of the page behind it too;
 *  - it moves only what lies in system memory: what another device has must come back first (private.c).
 */
#define PIECE 1024u

static int call_kernel(int fd, unsigned long request, struct dmirror_cmd *cmd) {
        return ioctl(fd, request, cmd) < 0 ? -errno : 0;
}

int (*hmm_call)(int fd, unsigned long request, struct dmirror_cmd *cmd) = call_kernel;

static int call(int fd, unsigned long request, uint64_t address, uint32_t pages, void *buffer) {
        struct dmirror_cmd cmd = { .address = address, .pages = pages, .buffer = (uintptr_t)buffer };

        return hmm_call(fd, request, &cmd);
}

/* Only the device's own driver makes files with its number. */
static bool hmm_file_ok(const char *path, int fd, char *why, unsigned why_size) {
        struct stat device, file;

        if (stat(path, &device) < 0)
                snprintf(why, why_size, "%s is not there (%s): modprobe test_hmm", path, strerror(errno));
        else if (fstat(fd, &file) < 0 || !S_ISCHR(device.st_mode) || !S_ISCHR(file.st_mode) ||
                 file.st_rdev != device.st_rdev)
                snprintf(why, why_size, "the descriptor is no open %s", path);
        else
                return true;
        return false;
}

static int hmm_move(int fd, uint64_t address, uint32_t pages, enum private_way way, void *scratch) {
        static const unsigned long requests[] = {
                [PRIVATE_TO_DEVICE] = DMIRROR_TO_DEVICE,
                [PRIVATE_TO_SYSTEM] = DMIRROR_TO_SYSTEM,
                [PRIVATE_TOUCH] = DMIRROR_READ,
                [PRIVATE_EXCLUSIVE] = DMIRROR_EXCLUSIVE,
        };
        struct dmirror_cmd cmd = { .address = address, .pages = pages, .buffer = (uintptr_t)scratch };
        int r = hmm_call(fd, requests[way], &cmd);

        if (r == 0 && way == PRIVATE_TO_SYSTEM)
                return (int)cmd.done;
        return r == -ENOENT ? 0 : r;
}

/* The page of zeroes is nobody's. */
static uint8_t page_of(uint8_t seen) {
        uint8_t place = seen & DMIRROR_PAGE_PLACE;

        if (seen == DMIRROR_PAGE_ERROR)
                return PRIVATE_PAGE_UNMAPPED;
        if (place == DMIRROR_PAGE_PRIVATE_LOCAL || place == DMIRROR_PAGE_COHERENT_LOCAL)
                return PRIVATE_PAGE_HERE;
        return seen && !place ? PRIVATE_PAGE_SYSTEM : PRIVATE_PAGE_NONE;
}

static int hmm_look(int fd, uint64_t address, uint32_t pages, uint8_t *ret) {
        int r = call(fd, DMIRROR_SNAPSHOT, address, pages, ret);

        for (uint32_t i = 0; r == 0 && i < pages; i++)
                ret[i] = page_of(ret[i]);
        return r;
}

static int hmm_is_exclusive(int fd, uint64_t address, uint32_t pages) {
        int r = call(fd, DMIRROR_CHECK_EXCLUSIVE, address, pages, NULL);

        return r == -EPERM ? 1 : r;
}

static const struct private_ops hmm_private = {
        .piece = PIECE,
        .file_ok = hmm_file_ok,
        .move = hmm_move,
        .look = hmm_look,
        .is_exclusive = hmm_is_exclusive,
};

/* ---- a node like others ---- */

static int hmm_device_new(struct device **ret, const struct node_desc *desc, device_done_fn done, void *userdata) {
        *ret = NULL;
        return 0;
}

static void hmm_device_free(struct device *d) {
}

static uint64_t hmm_ops_done(const struct device *d) {
        return 0;
}

static bool hmm_attrs_ok(const struct map_attrs *attrs, char *why, unsigned why_size) {
        snprintf(why, why_size, "hmm nodes show no memory objects");
        return false;
}

const struct backend backend_hmm = {
        .kind = NODE_HMM,
        .name = "hmm",
        .device = "/",
        .example = "/dev/hmm_dmirror0",
        .granularity = PRIVATE_PAGE,
        .has_spaces = false,
        .device_new = hmm_device_new,
        .device_free = hmm_device_free,
        .ops_done = hmm_ops_done,
        .attrs_ok = hmm_attrs_ok,
        .private_ops = &hmm_private,
};
