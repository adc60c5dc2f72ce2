#include "range_states.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "proto/range.h"

#define NAME(UPPER, number, lower) [number] = lower,
static const char *const names[] = { RANGE_STATES(NAME) };

_Static_assert(sizeof(names) / sizeof(names[0]) == RANGE_STATES_N, "a name for each state");

#define NUMBER(UPPER, number, lower) STATE_##UPPER = (number),
enum { RANGE_STATES(NUMBER) };

const char *range_state_name(unsigned state) {
        return names[state];
}

/* ---- opening ---- */

static void add(struct range_states *s, int dir, const char *name) {
        int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
        struct stat st;
        void *at;

        must(s->files < RANGE_FILES);
        must(fd >= 0 && fstat(fd, &st) == 0);
        at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
        must(at != MAP_FAILED);
        s->file[s->files].head = at;
        s->file[s->files].bytes = (uint64_t)st.st_size;
        s->files++;
}

static bool is_state(int dir, const char *name) {
        static const char want[] = "/memfd:svmd-state-";
        char target[64];

        return readlinkat(dir, name, target, sizeof(target)) >= (ssize_t)sizeof(want) &&
               strncmp(target, want, sizeof(want) - 1) == 0;
}

void range_states_open(struct range_states *s, pid_t holder) {
        struct dirent *e;
        char path[64];
        DIR *dir;

        s->files = 0;
        snprintf(path, sizeof(path), "/proc/%d/fd", holder);
        dir = opendir(path);
        must(dir);
        while ((e = readdir(dir)))
                if (is_state(dirfd(dir), e->d_name))
                        add(s, dirfd(dir), e->d_name);
        closedir(dir);
}

void range_states_close(struct range_states *s) {
        while (s->files) {
                s->files--;
                munmap((void *)s->file[s->files].head, s->file[s->files].bytes);
        }
}

/* ---- reading ---- */

static uint64_t count_of(const struct range_states *s, unsigned file) {
        return ((const struct range_head *)s->file[file].head)->count;
}

static uint64_t word(const struct range_states *s, unsigned file, uint64_t granule) {
        const struct range_entry *entries = (const void *)((const struct range_head *)s->file[file].head + 1);

        return __atomic_load_n(&entries[granule].word, __ATOMIC_ACQUIRE);
}

void range_states_count(const struct range_states *s, uint64_t ret[RANGE_STATES_N]) {
        memset(ret, 0, RANGE_STATES_N * sizeof(*ret));
        for (unsigned f = 0; f < s->files; f++)
                for (uint64_t i = 0; i < count_of(s, f); i++) {
                        must(range_state(word(s, f, i)) < RANGE_STATES_N);
                        ret[range_state(word(s, f, i))]++;
                }
}

bool range_states_have(const struct range_states *s, unsigned state) {
        for (unsigned f = 0; f < s->files; f++)
                for (uint64_t i = 0; i < count_of(s, f); i++)
                        if (range_state(word(s, f, i)) == state)
                                return true;
        return false;
}

/* Number plus one of the node that pays for a granule; 0: none. */
static uint32_t payer_of(uint64_t w) {
        switch (range_state(w)) {
        case STATE_RESIDENT:
        case STATE_DUPLICATED: return range_host(w);
        case STATE_OUT:
        case STATE_REVOKED: return range_slot(w) == RANGE_LOST ? 0 : range_node(w);
        default: return 0;
        }
}

void range_states_bytes(const struct range_states *s, uint64_t ret[RANGE_NODES]) {
        memset(ret, 0, RANGE_NODES * sizeof(*ret));
        for (unsigned f = 0; f < s->files; f++)
                for (uint64_t i = 0; i < count_of(s, f); i++) {
                        uint32_t node = payer_of(word(s, f, i));

                        must(node <= RANGE_NODES);
                        if (node)
                                ret[node - 1] += ((const struct range_head *)s->file[f].head)->granule;
                }
}
