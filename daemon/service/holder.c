#include "service/holder.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static size_t read_text(const char *path, char *text, size_t size) {
        FILE *f = fopen(path, "re");
        size_t n = f ? fread(text, 1, size - 1, f) : 0;

        if (f)
                fclose(f);
        text[n] = 0;
        return n;
}

void holder_boot(char ret[40]) {
        read_text("/proc/sys/kernel/random/boot_id", ret, 40);
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

int holder_started(uint32_t pid, uint64_t *ret) {
        char path[64], text[1024];
        const char *at;

        snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
        read_text(path, text, sizeof(text));
        /* The name of the program may have anything in it, blanks and brackets too. */
        at = strrchr(text, ')');
        if (!at ||
            sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
                   ret) != 1)
                return -ESRCH;
        return 0;
}
