#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "bugreport.h"
#include "ctl.h"
#include "json.h"
#include "part.h"
#include "redact.h"
#include "verbs.h"

/*
 * A report is a folder of parts, packed by tar. First the names are collected that are not to be told; then each part
 * is asked, goes through what hides them, and is written. What fails is noted in the README and goes no further: a
 * report is wanted most when something does not work. It has at most as many bytes as there are parts times PART_MOST.
 *
 * What is written by people (the configuration) or of those who are gone (the journal) can have names that nobody
 * knows; so these parts are left out when svmd would not say the names of now, unless all names may be told.
 */
enum { PARTS = 64, PATH = 512 };

struct written {
        const char *name, *note; /* "status.json"; what went wrong, or "" */
        uint64_t bytes;
};

struct report {
        struct ctl *ctl;
        struct redact *redact; /* NULL: names are told */
        bool names_known;
        char stem[64]; /* svmd-bugreport-20261122-101530 */
        char folder[PATH];
        struct written parts[PARTS];
        unsigned count, total;
        char explain[BUGREPORT_EXPLAINED][160]; /* lines of verbs */
        unsigned explained;
};

/* ---- what is asked ---- */

static const struct {
        const char *file, *verb;
} verb_parts[] = {
        { "status.json", "status --json" },
        { "doctor.json", "doctor --json" },
        { "nodes.json", "node list --json" },
        { "partitions.json", "partition list --json" },
        { "sessions.json", "session list --json" },
        { "reservations.json", "reservation list --json" },
        { "kept.json", "kept list --json" },
        { "leases.json", "lease list --json" },
        { "usage.json", "usage --json" },
        { "usage-by-container.json", "usage --by container --json" },
        { "usage-last-day.json", "usage --since 1d --json" },
        { "drift.json", "usage --drift --json" },
        { "rates.json", "top --once --interval 0.5 --json" },
        { "map.svg", "map --svg -" },
};
enum { VERB_PARTS = sizeof(verb_parts) / sizeof(verb_parts[0]) };

static const struct {
        const char *file, *path;
} file_parts[] = {
        { "config.conf", "/etc/svmd/svmd.conf" },
        { "os-release.txt", "/etc/os-release" },
        { "kernel.txt", "/proc/version" },
        { "meminfo.txt", "/proc/meminfo" },
        { "overcommit.txt", "/proc/sys/vm/overcommit_memory" },
        { "userfaultfd.txt", "/proc/sys/vm/unprivileged_userfaultfd" },
        { "max-map-count.txt", "/proc/sys/vm/max_map_count" },
        { "huge-pages.txt", "/sys/kernel/mm/transparent_hugepage/enabled" },
        { "modules.txt", "/proc/modules" },
};
enum { FILE_PARTS = sizeof(file_parts) / sizeof(file_parts[0]) };

static const struct {
        const char *file, *words[10];
} command_parts[] = {
        { "devices.txt", { "ls", "-l", "/dev/userfaultfd", "/dev/kfd", "/dev/dri" } },
        { "units.txt",
          { "systemctl", "show", "svmd.service", "svmd-keeper.service", "svmd-cgroup.socket", "svmd-smi.socket",
            "svmd-cuda.service", "svmd.socket", "svmd-admin.socket" } },
        { "journal.txt", { "journalctl", "-u", "svmd*", "-n", "1000", "--no-pager", "-o", "short-iso" } },
};
enum { COMMAND_PARTS = sizeof(command_parts) / sizeof(command_parts[0]) };

/* Written by people, or of those who are gone. */
static bool may_have_other_names(const char *file) {
        return strcmp(file, "journal.txt") == 0 || strcmp(file, "config.conf") == 0;
}

/* ---- parts ---- */

static void show_progress(const struct report *r, const char *what) {
        if (!r->ctl->watched)
                return;
        fprintf(r->ctl->err, "\r[%u/%u] %s\033[K", r->count + 1, r->total, what);
        fflush(r->ctl->err);
}

static FILE *part_open(struct report *r, const char *file) {
        char path[2 * PATH];

        snprintf(path, sizeof(path), "%s/%s/%s", r->folder, r->stem, file);
        return fopen(path, "wxe");
}

/* Takes over the result. */
static void keep(struct report *r, const char *file, struct part_result *p) {
        struct written *w = &r->parts[r->count];
        FILE *out = p->size && r->count < PARTS ? part_open(r, file) : NULL;

        if (r->count < PARTS) {
                *w = (struct written){ file, ctl_copy(r->ctl, p->note), 0 };
                r->count++;
        }
        if (out && r->redact)
                redact_write(r->redact, out, p->text);
        else if (out)
                fwrite(p->text, 1, p->size, out);
        if (out) {
                w->bytes = (uint64_t)ftell(out);
                if (ferror(out) | fclose(out))
                        w->note = "it could not be written";
        }
        free(p->text);
}

static void leave_out(struct report *r, const char *file, const char *why) {
        struct part_result p = { 0 };

        snprintf(p.note, sizeof(p.note), "%s", why);
        keep(r, file, &p);
}

static void ask_files(struct report *r) {
        struct part_result p;

        for (unsigned i = 0; i < FILE_PARTS; i++) {
                show_progress(r, file_parts[i].path);
                if (may_have_other_names(file_parts[i].file) && r->redact && !r->names_known) {
                        leave_out(r, file_parts[i].file, "left out, for the names in it; --full has it");
                        continue;
                }
                part_file(file_parts[i].path, &p);
                keep(r, file_parts[i].file, &p);
        }
}

static void ask_commands(struct report *r) {
        struct part_result p;

        for (unsigned i = 0; i < COMMAND_PARTS; i++) {
                show_progress(r, command_parts[i].words[0]);
                if (may_have_other_names(command_parts[i].file) && r->redact && !r->names_known) {
                        leave_out(r, command_parts[i].file, "left out, for the names in it; --full has it");
                        continue;
                }
                part_command(command_parts[i].words, &p);
                if (r->redact && p.text)
                        redact_add_log(r->redact, p.text);
                keep(r, command_parts[i].file, &p);
        }
}

static void ask_verbs(struct report *r) {
        struct part_result p;

        for (unsigned i = 0; i < VERB_PARTS; i++) {
                show_progress(r, verb_parts[i].verb);
                part_verb(r->ctl, verb_parts[i].verb, &p);
                keep(r, verb_parts[i].file, &p);
        }
        for (unsigned i = 0; i < r->explained; i++) {
                show_progress(r, "explain");
                part_verb(r->ctl, r->explain[i], &p);
                keep(r, ctl_text(r->ctl, "explain-%u.json", i + 1), &p);
        }
}

static void ask_version(struct report *r) {
        struct part_result p = { .text = strdup("svmd-ctl " SVMD_VERSION "\n") };

        if (!p.text)
                obstack_alloc_failed_handler();
        p.size = strlen(p.text);
        keep(r, "version.txt", &p);
}

/* ---- names ---- */

static void take_name(struct report *r, char kind, const char *text) {
        static const char *const kinds[] = { ['p'] = "partition",   ['d'] = "domain", ['c'] = "program",
                                             ['r'] = "reservation", ['k'] = "kept",   ['o'] = "container" };

        if (kind == BUGREPORT_EXPLAIN && r->explained < BUGREPORT_EXPLAINED)
                snprintf(r->explain[r->explained++], sizeof(r->explain[0]), "explain %s --json", text);
        else if (kind == BUGREPORT_CGROUP && r->redact)
                redact_add_path(r->redact, text);
        else if (r->redact && (unsigned char)kind < sizeof(kinds) / sizeof(kinds[0]) && kinds[(unsigned char)kind])
                redact_add(r->redact, kinds[(unsigned char)kind], text);
}

/* Of people, and of this machine: known without svmd. */
static void add_people(struct redact *redact) {
        char host[256] = "";
        struct passwd *pw;

        if (gethostname(host, sizeof(host) - 1) == 0)
                redact_add(redact, "machine", host);
        setpwent();
        while ((pw = getpwent()))
                if (pw->pw_uid >= 1000 && pw->pw_uid < 65534)
                        redact_add(redact, "user", pw->pw_name);
        endpwent();
}

static void ask_names(struct report *r) {
        struct part_result p;

        show_progress(r, "names");
        part_own(r->ctl, bugreport_names, &p);
        r->names_known = !*p.note;
        for (size_t at = 0; p.text && at < p.size; at += strlen(p.text + at) + 1)
                take_name(r, p.text[at], p.text + at + 1);
        free(p.text);
        if (r->redact)
                add_people(r->redact);
}

/* ---- packing ---- */

static const char readme_hidden[] = "Names of partitions, reservations, programs, users, control groups, containers\n"
                                    "and of this machine are replaced, each by the same word everywhere\n"
                                    "(partition-1). Numbers of processes and users, addresses and sizes are not.\n"
                                    "Check before sending: journal.txt and config.conf, for names of things that\n"
                                    "are gone, and paths.\n";
static const char readme_full[] = "Nothing is replaced: names of programs, users, containers and of this machine\n"
                                  "are in it as they are. Check all of it before sending.\n";

static void write_readme(struct report *r) {
        FILE *out = part_open(r, "README");

        if (!out)
                return;
        fprintf(out, "A report about svmd, made by svmd-ctl %s.\n\n%s\n", SVMD_VERSION,
                r->redact ? readme_hidden : readme_full);
        for (unsigned i = 0; i < r->count; i++)
                fprintf(out, "%-26s %10llu  %s\n", r->parts[i].name, (unsigned long long)r->parts[i].bytes,
                        r->parts[i].note);
        fclose(out);
}

/* Into `fd`, which is an empty file. 0, or a negative errno. */
static int pack(const struct report *r, const char *path) {
        const char *words[] = { "tar",    "--create", "--gzip", "--force-local", "--owner=0", "--group=0",
                                "--file", path,       "-C",     r->folder,       r->stem,     NULL };
        struct part_result p;
        int error;

        part_command(words, &p);
        error = *p.note ? -EIO : 0;
        free(p.text);
        return error;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where) {
        (void)remove(path);
        return 0;
}

static void remove_folder(const struct report *r) {
        (void)nftw(r->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- what came of it ---- */

static int say_json(struct ctl *c, const struct report *r, const char *path, uint64_t size) {
        struct json_object *o = json_object_new_object(), *list = json_object_new_array();

        json_add_text(o, "file", path);
        json_add_count(o, "bytes", size);
        json_add_flag(o, "names_hidden", r->redact != NULL);
        for (unsigned i = 0; i < r->count; i++) {
                struct json_object *part = json_object_new_object();

                json_add_text(part, "part", r->parts[i].name);
                json_add_count(part, "bytes", r->parts[i].bytes);
                json_add_text(part, "note", r->parts[i].note);
                json_object_array_add(list, part);
        }
        json_add(o, "parts", list);
        return json_print(c, o);
}

static int say(struct ctl *c, const struct report *r, const char *path, uint64_t size) {
        if (c->json)
                return say_json(c, r, path, size);
        fprintf(c->out, "Wrote %s, %s:\n", path, ctl_size(c, size));
        for (unsigned i = 0; i < r->count; i++)
                fprintf(c->out, "  %-26s %9s  %s\n", r->parts[i].name, ctl_size(c, r->parts[i].bytes),
                        r->parts[i].note);
        fprintf(c->out, "\n%s", r->redact ? readme_hidden : readme_full);
        return EXIT_OK;
}

/* ---- all of it ---- */

static void gather(struct report *r) {
        r->total = 2 + VERB_PARTS + FILE_PARTS + COMMAND_PARTS + BUGREPORT_EXPLAINED;
        ask_names(r);
        ask_version(r);
        ask_commands(r);
        ask_verbs(r);
        ask_files(r);
        write_readme(r);
        if (r->ctl->watched)
                fputs("\r\033[K", r->ctl->err);
}

static int begin(struct ctl *c, struct report *r) {
        const char *tmp = getenv("TMPDIR");
        time_t now = time(NULL);
        char path[2 * PATH];
        struct tm tm;

        gmtime_r(&now, &tm);
        strftime(r->stem, sizeof(r->stem), "svmd-bugreport-%Y%m%d-%H%M%S", &tm);
        snprintf(r->folder, sizeof(r->folder), "%s/svmd-ctl-XXXXXX", tmp && *tmp ? tmp : "/tmp");
        if (!mkdtemp(r->folder))
                return ctl_fail(c, EXIT_REFUSED, "cannot make a folder in %s: %m", tmp && *tmp ? tmp : "/tmp");
        snprintf(path, sizeof(path), "%s/%s", r->folder, r->stem);
        if (mkdir(path, 0700) != 0)
                return ctl_fail(c, EXIT_REFUSED, "cannot make %s: %m", path);
        return EXIT_OK;
}

/* Nobody else can read it, and nothing that is there is overwritten. */
static int reserve_file(struct ctl *c, const char *path) {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        if (fd < 0)
                return ctl_fail(c, EXIT_REFUSED, "cannot write %s: %m", path);
        close(fd);
        return EXIT_OK;
}

static int run(struct ctl *c, struct report *r, const char *path) {
        struct stat st = { 0 };

        gather(r);
        if (pack(r, path) != 0 || stat(path, &st) != 0) {
                unlink(path);
                return ctl_fail(c, EXIT_REFUSED, "cannot pack %s: tar has failed", path);
        }
        return say(c, r, path, (uint64_t)st.st_size);
}

int bugreport_run(struct ctl *c, const struct args *a) {
        struct report *r = ctl_alloc(c, sizeof(*r));
        const char *path = a->value[OPT_OUTPUT];
        int status;

        *r = (struct report){ .ctl = c };
        status = begin(c, r);
        if (status != EXIT_OK)
                return status;
        if (!path)
                path = ctl_text(c, "%s.tar.gz", r->stem);
        status = reserve_file(c, path);
        if (status == EXIT_OK) {
                r->redact = a->value[OPT_FULL] ? NULL : redact_new();
                status = run(c, r, path);
                if (r->redact)
                        redact_free(r->redact);
        }
        remove_folder(r);
        return status;
}
