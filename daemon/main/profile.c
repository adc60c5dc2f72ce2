/*
 * Profiles of policies: those that svmd comes with by their names, and files of the same keys. A file says what is to
 * be different from balanced.
 */
#include "main/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "main/options.h"
#include "policy/policy.h"

#define AT(member) offsetof(struct policy_profile, member)

enum { MS_PER_HOUR = 3600 * 1000, US_PER_MINUTE = 60 * 1000 * 1000 };

const struct option_desc profile_options[] = {
        { "hive-first", "on|off", OPTION_SWITCH, false, AT(hive_first), "on", 0, 0, 0,
          "Whether what finds no room where it is touched first begins on a device of the same hive before any other node, "
          "and is used there as long as there is none." },
        { "touch-moves", "on|off", OPTION_SWITCH, false, AT(touch_moves), "on", 0, 0, 0,
          "Whether a device's touch brings what lies elsewhere to the device. If not, the device reaches it over a link, "
          "where there is one." },
        { "peer-moves", "on|off", OPTION_SWITCH, false, AT(peer_moves), "on", 0, 0, 0,
          "The same for what another device of the hive has." },
        { "chance-ms", "NUMBER", OPTION_COUNT, false, AT(chance_ms), "100", 0, MS_PER_HOUR, 1,
          "When room is made, explicit memory that was in use so long ago at most stays." },
        { "evict-to-peer", "on|off", OPTION_SWITCH, false, AT(evict_to_peer), "off", 0, 0, 0,
          "Whether what has to leave a device goes to one of its hive that has room, before host memory." },
        { "leaf-kib", "NUMBER", OPTION_COUNT, false, AT(leaf_kib), "64", 4, POLICY_BLOCK >> 10, 4,
          "What a fault brings at least, in KiB: a power of two." },
        { "dense-percent", "NUMBER", OPTION_COUNT, false, AT(dense_percent), "50", 1, 100, 1,
          "A fault brings a larger part of the 2 MiB around it when more of that than so would then be there. With 100 it "
          "never does." },
        { "ahead-kib", "NUMBER", OPTION_COUNT, false, AT(ahead_kib), "2048", 0, 64 << 10, 1,
          "How much is brought ahead of a walk through memory at most, in KiB; 0: nothing." },
        { "lapse-us", "NUMBER", OPTION_COUNT, false, AT(lapse_us), "10000", 0, US_PER_MINUTE, 1,
          "A move that somebody's touch asks for so soon after the last one is a bounce." },
        { "bounces", "NUMBER", OPTION_COUNT, false, AT(bounces), "3", 1, 255, 1,
          "So many bounces in a row are thrashing." },
        { "nap-us", "NUMBER", OPTION_COUNT, false, AT(nap_us), "500", 0, 250000, 1,
          "How long whoever touches later waits for memory that thrashes, where no link reaches it." },
        { "naps", "NUMBER", OPTION_COUNT, false, AT(naps), "10", 0, 255, 1,
          "After so many of these memory that thrashes is pinned in host memory." },
        { "pin-ms", "NUMBER", OPTION_COUNT, false, AT(pin_ms), "300", 0, MS_PER_HOUR, 1,
          "How long memory that thrashes is pinned." },
        { "epoch-ms", "NUMBER", OPTION_COUNT, false, AT(epoch_ms), "1000", 0, MS_PER_HOUR, 1,
          "What has not bounced for so long thrashes no more." },
        { "settle-us", "NUMBER", OPTION_COUNT, false, AT(settle_us), "10000", 0, US_PER_MINUTE, 1,
          "How long what has moved stays, unless somebody touches it or has no room." },
        { "window-us", "NUMBER", OPTION_COUNT, false, AT(window_us), "100000", 1, US_PER_MINUTE, 1,
          "In a window of this length, a range moves" },
        { "window-moves", "NUMBER", OPTION_COUNT, false, AT(window_moves), "16", 0, 1 << 20, 1,
          "so many granules, for each 16 that it has, that nobody asked for one by one; 0: any number." },
};
const size_t profile_options_count = sizeof(profile_options) / sizeof(profile_options[0]);

struct profile_file {
        struct policy_profile p;
        const char *path;
        FILE *stream;
        char *why;
        size_t why_size;
        int line;
        bool bad;
};

static int __attribute__((format(printf, 2, 3))) bad(struct profile_file *f, const char *format, ...) {
        int n = snprintf(f->why, f->why_size, "%s:%d: ", f->path, f->line);
        va_list ap;

        va_start(ap, format);
        if (n < (int)f->why_size)
                vsnprintf(f->why + n, f->why_size - (size_t)n, format, ap);
        va_end(ap);
        f->bad = true;
        return 0;
}

static int take_pair(void *userdata, const char *section, const char *key, const char *text) {
        struct profile_file *f = userdata;
        const struct option_desc *o = option_find(profile_options, profile_options_count, key);
        struct policy_profile before = f->p;
        char why[256];

        if (section[0])
                return bad(f, "expected no section, found [%s]", section);
        if (!o) {
                const char *nearest = option_nearest(profile_options, profile_options_count, key, true);

                if (nearest)
                        return bad(f, "there is no key \"%s\" in a profile; did you mean \"%s\"?", key, nearest);
                return bad(f, "there is no key \"%s\" in a profile; svmd.conf(5) lists them", key);
        }
        if (option_read(o, (char *)&f->p + o->offset, text, why, sizeof(why)))
                return bad(f, "%s: %s", key, why);
        if (f->p.leaf_kib & (f->p.leaf_kib - 1)) {
                f->p = before;
                return bad(f, "%s: expected a power of two, found \"%s\"", key, text);
        }
        return 1;
}

/* Gives inih the next line, and counts it. */
static char *next_line(char *to, int size, void *userdata) {
        struct profile_file *f = userdata;

        if (f->bad || !fgets(to, size, f->stream))
                return NULL;
        f->line++;
        if (!strchr(to, '\n') && !feof(f->stream)) {
                bad(f, "expected a line of less than %d bytes, without zero bytes", size);
                return NULL;
        }
        return to;
}

static int cannot_read(const char *path, char *why, size_t why_size) {
        snprintf(why, why_size, "%s: %s: let svmd read it, or name another profile", path, strerror(errno));
        return 1;
}

/* Reading anything else might wait for ever. */
static FILE *open_regular(const char *path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;
        FILE *stream = NULL;

        if (fd < 0)
                return NULL;
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
                stream = fdopen(fd, "r");
        else
                errno = EINVAL;
        if (!stream)
                close(fd);
        return stream;
}

static int read_file(struct policy_profile *ret, const char *path, char *why, size_t why_size) {
        struct profile_file f = { .p = *policy_profile_default(), .path = path, .why = why, .why_size = why_size };
        const char *base = strrchr(path, '/') + 1;
        int r;

        f.stream = open_regular(path);
        if (!f.stream)
                return cannot_read(path, why, why_size);
        snprintf(f.p.name, sizeof(f.p.name), "%.*s", (int)strcspn(base, "."), base);
        r = ini_parse_stream(next_line, &f, take_pair, &f);
        if (r > 0 && !f.bad) {
                f.line = r;
                bad(&f, "expected KEY = VALUE, or a comment behind # or ;");
        }
        if (r >= 0 && !f.bad && ferror(f.stream)) {
                errno = EIO;
                f.bad = cannot_read(path, why, why_size);
        }
        fclose(f.stream);
        if (r < 0)
                return -ENOMEM;
        if (!f.bad)
                *ret = f.p;
        return f.bad;
}

int profile_load(struct policy_profile *ret, const char *name, char *why, size_t why_size) {
        const struct policy_profile *p = policy_profile_find(name);
        size_t n;

        if (strchr(name, '/'))
                return read_file(ret, name, why, why_size);
        if (p) {
                *ret = *p;
                return 0;
        }
        n = (size_t)snprintf(why, why_size, "expected ");
        for (uint32_t i = 0; i < policy_profiles_count && n < why_size; i++)
                n += (size_t)snprintf(why + n, why_size - n, "%s, ", policy_profiles[i].name);
        if (n < why_size)
                snprintf(why + n, why_size - n, "or the path of a file, with a slash, found \"%s\"", name);
        return 1;
}
