/*
 * The files of a machine, cut out of the input at lines "@PATH": as a recorded machine, and as the /sys and /proc of
 * this one. They lie in memory (TMPDIR).
 */
#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/recording.h"

enum { FILES = 64, NAME = 90 };

static char dir[128];

static void end(void) {
        rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        const char *tmp = getenv("TMPDIR");

        snprintf(dir, sizeof(dir), "%s/svmd-fuzz-XXXXXX", tmp ? tmp : "/dev/shm");
        must(mkdtemp(dir));
        atexit(end);
        return 0;
}

static bool name_ok(const char *name, size_t size) {
        if (size == 0 || size > NAME || name[0] == '/' || memmem(name, size, "..", 2))
                return false;
        for (size_t i = 0; i < size; i++)
                if (name[i] <= ' ' || name[i] > '~')
                        return false;
        return true;
}

/* Folders on the way are made too. */
static void put_file(const char *name, size_t name_size, const uint8_t *bytes, size_t size) {
        char path[256];
        int fd;

        if (!name_ok(name, name_size))
                return;
        snprintf(path, sizeof(path), "%s/%.*s", dir, (int)name_size, name);
        for (char *p = path + strlen(dir) + 1; *p; p++) {
                if (*p != '/')
                        continue;
                *p = 0;
                mkdir(path, 0700);
                *p = '/';
        }
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return; /* a folder has the name */
        must(write(fd, bytes, size) == (ssize_t)size);
        close(fd);
}

static void put_files(const uint8_t *at, const uint8_t *end) {
        for (unsigned n = 0; at < end && n < FILES; n++) {
                const uint8_t *line = memchr(at, '\n', (size_t)(end - at)), *next;

                if (!line)
                        return;
                next = memmem(line, (size_t)(end - line), "\n@", 2);
                next = next ? next + 1 : end;
                if (at[0] == '@')
                        put_file((const char *)at + 1, (size_t)(line - at) - 1, line + 1,
                                 next > line ? (size_t)(next - line) - 1 : 0);
                at = next;
        }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
        return at->level == 0 ? 0 : remove(path);
}

static void check(int r, const struct machine *m, const char *why) {
        must(r <= 0);
        if (r < 0)
                must(why[0] && m->count == 0);
        for (uint32_t i = 0; i < m->count; i++) {
                must(m->nodes[i].name[0]);
                for (uint32_t k = 0; k < m->nodes[i].links_count; k++)
                        must(m->nodes[i].links[k].to < m->count);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        struct machine m = { 0 };
        char why[512] = "";
        int r;

        put_files(bytes, bytes + size);
        r = recording_read(&m, dir, size & 1, why, sizeof(why));
        check(r, &m, why);
        machine_fini(&m);
        m = (struct machine){ 0 };
        why[0] = 0;
        r = machine_read_host(&m, dir, dir, why, sizeof(why));
        check(r, &m, why);
        machine_fini(&m);
        must(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
        return 0;
}
