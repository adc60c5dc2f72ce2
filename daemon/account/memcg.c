#include "account/memcg.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "account/report.h"

enum { TEXT_ROOM = 8192, PATH_ROOM = 5120 };

/* Version 1 counts in pages, and what it calls no limit is the greatest number of them. */
#define HUGE_LIMIT (1ull << 62)

const char *memcg_file(unsigned version, enum memcg_file file) {
        static const char *const names[][MEMCG_FILES] = {
                [1] = { "memory.limit_in_bytes", NULL, "memory.usage_in_bytes", "memory.stat", "memory.failcnt",
                        "memory.oom_control" },
                [2] = { "memory.max", "memory.high", "memory.current", "memory.stat", "memory.events",
                        "memory.events" },
        };

        return version == 1 || version == 2 ? names[version][file] : NULL;
}

/* "max", or a number. */
static bool take_limit(uint64_t *to, const char *text, size_t size) {
        uint64_t n = MEMCG_NO_LIMIT;

        if (!(size >= 3 && memcmp(text, "max", 3) == 0 && (size == 3 || text[3] == '\n')) &&
            !report_number(text, size, &n))
                return false;
        *to = n >= HUGE_LIMIT ? MEMCG_NO_LIMIT : n;
        return true;
}

/* A kernel that does not count one of them says nothing of it. */
static bool take_stat(struct memcg *m, unsigned version, const char *text, size_t size) {
        static const char *const keys[][3] = {
                [1] = { "total_shmem", "total_active_file", "total_inactive_file" },
                [2] = { "shmem", "active_file", "inactive_file" },
        };
        uint64_t shmem, file[2] = { 0, 0 };

        if (!report_key(text, size, keys[version][0], &shmem))
                return false;
        for (unsigned i = 0; i < 2; i++)
                (void)report_key(text, size, keys[version][1 + i], &file[i]);
        m->shmem = shmem;
        if (__builtin_add_overflow(file[0], file[1], &m->reclaimable))
                m->reclaimable = UINT64_MAX;
        return true;
}

bool memcg_take(struct memcg *m, unsigned version, enum memcg_file file, const char *text, size_t size) {
        if (!memcg_file(version, file))
                return false;
        switch (file) {
        case MEMCG_MAX: return take_limit(&m->max, text, size);
        case MEMCG_HIGH: return take_limit(&m->high, text, size);
        case MEMCG_CURRENT: return report_number(text, size, &m->current);
        case MEMCG_STAT: return take_stat(m, version, text, size);
        case MEMCG_REFUSED:
                return version == 1 ? report_number(text, size, &m->refused)
                                    : report_key(text, size, "max", &m->refused);
        case MEMCG_KILLED: return report_key(text, size, "oom_kill", &m->killed);
        default: return false;
        }
}

uint64_t memcg_limit(const struct memcg *m) {
        return m->max < m->high ? m->max : m->high;
}

uint64_t memcg_room(const struct memcg *m) {
        uint64_t limit = memcg_limit(m), stays = m->current > m->reclaimable ? m->current - m->reclaimable : 0;

        if (limit == MEMCG_NO_LIMIT)
                return MEMCG_NO_LIMIT;
        return limit > stays ? limit - stays : 0;
}

/* ---- files ---- */

static bool read_text(const char *folder, size_t length, const char *name, char *to, size_t room, size_t *ret_size) {
        char path[PATH_ROOM];
        ssize_t k = 1;
        size_t n = 0;
        int fd;

        if (snprintf(path, sizeof(path), "%.*s/%s", (int)length, folder, name) >= (int)sizeof(path))
                return false;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return false;
        while (n < room && (k = read(fd, to + n, room - n)) > 0)
                n += (size_t)k;
        close(fd);
        *ret_size = n;
        return k >= 0;
}

unsigned memcg_version(const char *folder, size_t length) {
        char path[PATH_ROOM];

        for (unsigned version = 2; version > 0; version--)
                if (snprintf(path, sizeof(path), "%.*s/%s", (int)length, folder, memcg_file(version, MEMCG_CURRENT)) <
                            (int)sizeof(path) &&
                    access(path, R_OK) == 0)
                        return version;
        return 0;
}

bool memcg_read(const char *folder, size_t length, unsigned version, unsigned files, struct memcg *m) {
        char text[TEXT_ROOM];
        bool first = true;

        for (unsigned f = 0; f < MEMCG_FILES; f++) {
                const char *name = files & 1u << f ? memcg_file(version, f) : NULL;
                bool has;
                size_t n;

                if (!name)
                        continue;
                has = read_text(folder, length, name, text, sizeof(text), &n) && memcg_take(m, version, f, text, n);
                if (first && !has)
                        return false;
                first = false;
        }
        return !first;
}
