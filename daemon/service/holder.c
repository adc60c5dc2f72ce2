#include "service/holder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void holder_boot(char ret[40]) {
        FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

        if (!f || !fgets(ret, 40, f))
                ret[0] = 0;
        if (f)
                fclose(f);
        ret[strcspn(ret, "\n")] = 0;
}

void holder_format(char ret[HOLDER_TEXT], const struct holder *h) {
        snprintf(ret, HOLDER_TEXT, "%s %" PRIu32 " %" PRIu64 " %s", h->boot, h->pid, h->started, h->container);
}

bool holder_parse(struct holder *ret, const char *text) {
        struct holder h = { 0 };

        *ret = h;
        if (sscanf(text, "%39s %" SCNu32 " %" SCNu64 " %63s", h.boot, &h.pid, &h.started, h.container) != 4)
                return false;
        *ret = h;
        return true;
}

const char *holder_container(const char *text) {
        const char *space = strrchr(text, ' ');

        return space ? space + 1 : "";
}
