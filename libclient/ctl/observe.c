#include "ctl.h"

/* A process may hold its memory up for as long as it likes; then what was seen before is shown. */
enum { OBSERVE_MS = 2000 };

void ctl_observe(struct ctl *c, const char *partition, uint64_t address, uint64_t size) {
        svmd_fence *fence = NULL;

        if (svmd_partition_observe(c->session, &fence, partition, address, size) == SVMD_OK)
                (void)svmd_fence_wait(fence, OBSERVE_MS, NULL);
        svmd_fence_free(fence);
}
