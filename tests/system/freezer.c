#include "freezer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

static char path[128];
static bool second; /* version 2 */

static void file_write(const char *file, const char *text) {
        char name[192];
        FILE *f;

        snprintf(name, sizeof(name), "%s/%s", path, file);
        f = fopen(name, "we");
        must(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static bool file_says(const char *file, const char *text) {
        char name[192], is[256];
        size_t n;
        FILE *f;

        snprintf(name, sizeof(name), "%s/%s", path, file);
        f = fopen(name, "re");
        must(f);
        n = fread(is, 1, sizeof(is) - 1, f);
        fclose(f);
        is[n] = 0;
        return strstr(is, text) != NULL;
}

bool freezer_begin(void) {
        static const char *const parents[] = { "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };
        char name[192];

        for (unsigned i = 0; i < 3; i++) {
                snprintf(path, sizeof(path), "%s/svmd-test-%d-frozen", parents[i], getpid());
                if (access(parents[i], F_OK) < 0 || mkdir(path, 0755) < 0)
                        continue;
                second = i > 0;
                snprintf(name, sizeof(name), "%s/%s", path, second ? "cgroup.freeze" : "freezer.state");
                if (access(name, W_OK) == 0)
                        return true;
                rmdir(path);
        }
        printf("no freezer: does not apply in this run: %s\n", strerror(errno));
        return false;
}

static void await(const char *file, const char *text) {
        uint64_t until = now_ms() + CEILING_MS;

        while (!file_says(file, text)) {
                must(now_ms() < until);
                usleep(1000);
        }
}

void freezer_stop(pid_t pid) {
        char number[16];

        snprintf(number, sizeof(number), "%d", pid);
        file_write("cgroup.procs", number);
        file_write(second ? "cgroup.freeze" : "freezer.state", second ? "1" : "FROZEN");
        if (second)
                await("cgroup.events", "frozen 1");
        else
                await("freezer.state", "FROZEN");
}

void freezer_go_on(pid_t pid) {
        file_write(second ? "cgroup.freeze" : "freezer.state", second ? "0" : "THAWED");
}

void freezer_end(void) {
        uint64_t until = now_ms() + CEILING_MS;

        while (rmdir(path) < 0) {
                must(errno == EBUSY && now_ms() < until);
                usleep(1000);
        }
}
