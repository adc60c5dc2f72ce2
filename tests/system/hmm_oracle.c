#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "harness.h"
#include "hmm.h"
#include "proto/uapi/dmirror.h"

static int file[DEVICES];

void oracle_open(void) {
        for (int i = 0; i < DEVICES; i++) {
                char path[32];

                snprintf(path, sizeof(path), "/dev/hmm_dmirror%d", i);
                file[i] = open(path, O_RDWR | O_CLOEXEC);
                must(file[i] >= 0);
        }
}

static int call(unsigned device, unsigned long request, void *at, size_t pages, void *buffer) {
        struct dmirror_cmd cmd = { .address = (uintptr_t)at, .pages = pages, .buffer = (uintptr_t)buffer };

        return ioctl(file[device], request, &cmd) < 0 ? errno : 0;
}

int raw_out(unsigned device, void *at, size_t pages, void *buffer) {
        return call(device, DMIRROR_TO_DEVICE, at, pages, buffer);
}

int raw_in(unsigned device, void *at, size_t pages) {
        return call(device, DMIRROR_TO_SYSTEM, at, pages, NULL);
}

/* Which device uses a page exclusively is said of the file that took it, which is svmd's duplicate of none of these: a
 * page that no device has and that is there all the same is told by /proc/self/pagemap. */
void oracle_look(const void *at, size_t pages, uint8_t *ret) {
        uint8_t *seen = malloc(pages);

        must(seen);
        for (size_t i = 0; i < pages; i++)
                ret[i] = AT_NONE;
        for (unsigned d = 0; d < DEVICES; d++) {
                must(call(d, DMIRROR_SNAPSHOT, (void *)(uintptr_t)at, pages, seen) == 0);
                for (size_t i = 0; i < pages; i++) {
                        unsigned place = seen[i] & DMIRROR_PAGE_PLACE;

                        if (seen[i] == DMIRROR_PAGE_ERROR)
                                ret[i] = AT_UNMAPPED;
                        else if (place == DMIRROR_PAGE_PRIVATE_LOCAL || place == DMIRROR_PAGE_COHERENT_LOCAL)
                                ret[i] = (uint8_t)(AT_DEVICE + d);
                        else if (place == 0 && seen[i] && ret[i] == AT_NONE)
                                ret[i] = AT_SYSTEM;
                }
        }
        free(seen);
}
