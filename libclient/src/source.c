#include "source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "error.h"
#include "svmd.h"

/*
 * Adopting puts one mapping over whatever lies in the range. So everything must be of the kind that the new mapping can
 * stand for, and what a mapping has beside its bytes (a file, a lock, a direction in which it grows) would be lost
 * without a word. smaps tells the kinds apart; it is read before anything of the range is held back.
 */
struct mapping {
        uint64_t start, end, offset, inode;
        unsigned major, minor;
        char access[5];
        char name[64];
};

static bool parse(const char *line, struct mapping *m) {
        *m = (struct mapping){ 0 };
        return sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %63[^\n]", &m->start, &m->end,
                      m->access, &m->offset, &m->major, &m->minor, &m->inode, m->name) >= 7;
}

static int fail_read(void) {
        return fail_errno(errno ? errno : EIO, "what this process has mapped could not be read from /proc/self");
}

static int refuse(const struct mapping *m, const char *why) {
        return fail(SVMD_E_UNSUPPORTED, "0x%" PRIx64 " to 0x%" PRIx64 "%s%s%s cannot be adopted: %s", m->start, m->end,
                    m->name[0] ? " (" : "", m->name, m->name[0] ? ")" : "", why);
}

static int check_kind(const struct mapping *m) {
        if (m->inode || m->name[0] == '/')
                return refuse(m, "it is a file's or shared memory; only private memory of nothing can be");
        if (m->access[3] != 'p')
                return refuse(m, "it is shared with other processes");
        if (strcmp(m->access, "rw-p") != 0)
                return refuse(m, "it must be there to read and write, and nothing else: see mprotect(2)");
        if (m->name[0] == '[' && strcmp(m->name, "[heap]") != 0 && strncmp(m->name, "[anon:", 6) != 0)
                return refuse(m, "it is a stack, or the kernel's");
        return 0;
}

static bool has_flag(const char *flags, const char *flag) {
        const char *at = strstr(flags, flag);

        return at && at[-1] == ' ' && (at[2] == ' ' || at[2] == '\n');
}

static int check_flags(const struct mapping *m, const char *flags) {
        if (has_flag(flags, "lo"))
                return refuse(m, "it is locked (mlock), which would be lost: unlock it first");
        if (has_flag(flags, "ht"))
                return refuse(m, "it is made of huge pages of a pool: reserve a managed range with SVMD_RANGE_HUGE");
        if (has_flag(flags, "gd"))
                return refuse(m, "it is a stack that grows");
        if (has_flag(flags, "um") || has_flag(flags, "uw") || has_flag(flags, "ui"))
                return fail(SVMD_E_TAKEN,
                            "0x%" PRIx64 " to 0x%" PRIx64
                            " is on a userfaultfd: it is registered already, or the program serves its faults itself",
                            m->start, m->end);
        if (has_flag(flags, "io") || has_flag(flags, "pf"))
                return refuse(m, "it is a device's");
        return 0;
}

static int hole(uint64_t at) {
        return fail(SVMD_E_NOT_MAPPED, "nothing is mapped at 0x%" PRIx64 "; all that is adopted has to be", at);
}

static int check_all(FILE *maps, uint64_t start, uint64_t end) {
        struct mapping m = { 0 }, next;
        uint64_t at = start;
        char line[512];
        int r = 0;

        while (!r && at < end && fgets(line, sizeof(line), maps)) {
                bool inside = m.start < end && m.end > start;

                if (strncmp(line, "VmFlags:", 8) == 0) {
                        r = inside ? check_flags(&m, line) : 0;
                        at = inside ? m.end : at;
                } else if (parse(line, &next)) {
                        m = next;
                        if (m.end <= start)
                                continue;
                        r = m.start > at ? hole(at) : check_kind(&m);
                }
        }
        return r || at >= end ? r : hole(at);
}

int source_check(uint64_t start, uint64_t end) {
        FILE *maps = fopen("/proc/self/smaps", "re");
        int r;

        if (!maps)
                return fail_read();
        r = check_all(maps, start, end);
        fclose(maps);
        return r;
}

static bool is_same(const struct mapping *m, const struct stat *st, uint64_t start) {
        return m->inode == st->st_ino && makedev(m->major, m->minor) == st->st_dev && m->start >= start &&
               m->offset == m->start - start;
}

static int add(struct piece **pieces, size_t *count, uint64_t start, uint64_t end) {
        struct piece *grown = realloc(*pieces, (*count + 1) * sizeof(*grown));

        if (!grown)
                return fail_memory();
        *pieces = grown;
        grown[(*count)++] = (struct piece){ start, end };
        return 0;
}

int source_pieces(int fd, uint64_t start, uint64_t end, struct piece **ret, size_t *ret_count) {
        FILE *maps = fopen("/proc/self/maps", "re");
        struct mapping m;
        struct stat st = { 0 };
        char line[512];
        int r = 0;

        *ret = NULL;
        *ret_count = 0;
        if (!maps || fstat(fd, &st) < 0)
                r = fail_read();
        while (!r && fgets(line, sizeof(line), maps))
                if (parse(line, &m) && m.start < end && is_same(&m, &st, start))
                        r = add(ret, ret_count, m.start, m.end < end ? m.end : end);
        if (maps)
                fclose(maps);
        if (r) {
                free(*ret);
                *ret = NULL;
        }
        return r;
}
