#include "base/started.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool started_parse(const char *stat, uint64_t *ret) {
        /* The name of the program may have anything in it, blanks and brackets too. */
        const char *at = strrchr(stat, ')');
        uint64_t started;

        if (!at ||
            sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
                   &started) != 1)
                return false;
        *ret = started;
        return true;
}

int started_read(uint32_t pid, uint64_t *ret) {
        char path[64], text[1024];
        size_t n;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
        f = fopen(path, "re");
        if (!f)
                return errno == ENOENT ? -ESRCH : -errno;
        n = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
        text[n] = 0;
        return started_parse(text, ret) ? 0 : -ESRCH;
}
