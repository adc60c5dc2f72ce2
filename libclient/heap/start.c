#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "hooks.h"
#include "je.h"
#include "stat.h"

/*
 * Before main(), and before the constructors of what the program is linked with: a session, a first segment, and then
 * jemalloc's extents from there. What was allocated until then stays where it is. Where svmd is not to be had, the
 * program runs with ordinary memory after a sentence that says so; svmd-run itself has looked before.
 */
static void read_settings(void) {
        const char *max = getenv("SVMD_RUN_MAX"), *preferred = getenv("SVMD_RUN_PREFERRED");

        if (max)
                heap.max = strtoull(max, NULL, 10);
        if (preferred && strlen(preferred) < sizeof(heap.preferred))
                memcpy(heap.preferred, preferred, strlen(preferred) + 1);
}

static size_t allocated(void) {
        uint64_t epoch = 1;
        size_t now = 0, size = sizeof(epoch);

        svmd_je_mallctl("epoch", &epoch, &size, &epoch, size);
        size = sizeof(now);
        svmd_je_mallctl("stats.allocated", &now, &size, NULL, 0);
        return now;
}

__attribute__((constructor(101))) static void start(void) {
        if (!getenv("SVMD_RUN"))
                return;
        read_settings();
        stat_init();
        if (!segment_grow(1, 0))
                return;
        stats.early = allocated();
        heap.on = true;
        if (!hooks_install())
                heap_say("this program's malloc() is not the one of svmd-run; its heap is not managed");
}
