#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"
#include "svmd.h"

/*
 * svmd-run: sets the environment in which libsvmd-heap.so is loaded into the program, and what that reads there; says
 * beforehand what cannot work.
 */
enum { EXIT_REFUSED = 125, EXIT_NOT_RUN = 126, EXIT_NOT_FOUND = 127 };

struct options {
        const char *partition, *preferred, *stat;
        unsigned long long max;
        bool json;
};

static const char usage_text[] =
        "usage: svmd-run [OPTIONS] [--] PROGRAM [ARGUMENT...]\n"
        "\n"
        "Runs a program with its heap in a managed range of svmd.\n"
        "\n"
        "  --partition NAME   the partition (default: $SVMD_PARTITION, else that of the user)\n"
        "  --preferred NODE   where the heap's pages should live\n"
        "  --max BYTES        most that a process may allocate (suffixes K, M, G); then malloc() fails\n"
        "  --stat[=FILE]      at the end of each process, how much was managed and moved (FILE: appended)\n"
        "  --json             --stat as a JSON object a line\n"
        "  --help, --version\n"
        "\n"
        "Exit status: the program's; 125 when svmd-run refuses, 126 and 127 when it cannot run the program.\n";

static void refuse(const char *text, const char *of) __attribute__((noreturn));
static void refuse(const char *text, const char *of) {
        fprintf(stderr, "svmd-run: %s%s\n", of, text);
        exit(EXIT_REFUSED);
}

static unsigned long long parse_size(const char *text) {
        static const char units[] = "KMGT";
        const char *unit;
        unsigned long long n;
        char *end;
        int shift = 0;

        errno = 0;
        n = strtoull(text, &end, 10);
        if (*end && (unit = strchr(units, *end))) {
                shift = 10 * (int)(unit - units + 1);
                end++;
        }
        if (errno || end == text || *end || *text == '-' || !n || n > ULLONG_MAX >> shift)
                refuse(" is not a size; write bytes, or a number with K, M, G or T", text);
        return n << shift;
}

static void parse(int argc, char **argv, struct options *o) {
        enum { PARTITION = 1, PREFERRED, MAX, STAT, JSON, HELP, VERSION };
        static const struct option known[] = {
                { "partition", required_argument, NULL, PARTITION },
                { "preferred", required_argument, NULL, PREFERRED },
                { "max", required_argument, NULL, MAX },
                { "stat", optional_argument, NULL, STAT },
                { "json", no_argument, NULL, JSON },
                { "help", no_argument, NULL, HELP },
                { "version", no_argument, NULL, VERSION },
                { 0 },
        };
        int c;

        while ((c = getopt_long(argc, argv, "+", known, NULL)) != -1) {
                switch (c) {
                case PARTITION: o->partition = optarg; break;
                case PREFERRED: o->preferred = optarg; break;
                case MAX: o->max = parse_size(optarg); break;
                case STAT: o->stat = optarg ? optarg : ""; break;
                case JSON: o->json = true; break;
                case HELP: fputs(usage_text, stdout); exit(0);
                case VERSION: printf("svmd-run %s\n", svmd_version()); exit(0);
                default: fputs(usage_text, stderr); exit(EXIT_REFUSED);
                }
        }
        if (optind == argc) {
                fputs(usage_text, stderr);
                exit(EXIT_REFUSED);
        }
}

/* ---- what can be known beforehand ---- */

struct wish {
        const char *name;
        bool found;
};

static int look_at_node(const struct svmd_node_row *row, void *userdata) {
        struct wish *w = userdata;

        w->found = w->found || !strcmp(row->name, w->name);
        return 0;
}

static void check_svmd(const struct options *o) {
        struct svmd_connect_options opts = { .size = sizeof(opts), .partition = o->partition };
        struct wish w = { .name = o->preferred };
        svmd_session *s;

        if (svmd_connect(&s, &opts))
                refuse(svmd_error(), "");
        if (w.name && svmd_query_nodes(s, look_at_node, &w))
                refuse(svmd_error(), "");
        if (w.name && !w.found)
                refuse(" is no node; svmd-ctl node list shows them", w.name);
        svmd_disconnect(s);
}

/* ---- the program ---- */

static void find_in_path(const char *name, char *ret) {
        const char *at = getenv("PATH");

        if (strchr(name, '/')) {
                snprintf(ret, PATH_MAX, "%s", name);
                return;
        }
        for (at = at ? at : "/usr/local/bin:/usr/bin:/bin"; *at;) {
                size_t length = strcspn(at, ":");

                snprintf(ret, PATH_MAX, "%.*s/%s", length ? (int)length : 1, length ? at : ".", name);
                if (access(ret, X_OK) == 0)
                        return;
                at += length + (at[length] == ':');
        }
        fprintf(stderr, "svmd-run: there is no program %s in PATH\n", name);
        exit(EXIT_NOT_FOUND);
}

/* Beside this program, as it is built, or where it is installed. */
static void find_object(char *ret) {
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash;

        self[n > 0 ? n : 0] = 0;
        slash = strrchr(self, '/');
        if (slash && snprintf(ret, PATH_MAX, "%.*s/libsvmd-heap.so", (int)(slash - self), self) < PATH_MAX &&
            access(ret, R_OK) == 0)
                return;
        snprintf(ret, PATH_MAX, "%s", SVMD_HEAP_OBJECT);
        if (access(ret, R_OK) < 0)
                refuse(" is missing; install libsvmd-heap.so there", ret);
}

static void set(const char *name, const char *value) {
        if (value ? setenv(name, value, 1) : unsetenv(name))
                refuse(": the environment is full", name);
}

static void set_environment(const struct options *o, const char *object) {
        const char *others = getenv("LD_PRELOAD");
        char max[32], preload[2 * PATH_MAX], stat[PATH_MAX];

        snprintf(max, sizeof(max), "%llu", o->max);
        if (snprintf(preload, sizeof(preload), "%s%s%s", object, others && *others ? ":" : "", others ? others : "") >=
            (int)sizeof(preload))
                refuse(": it is too long already", "LD_PRELOAD");
        if (o->stat && *o->stat && !realpath(o->stat, stat) && errno == ENOENT) {
                FILE *f = fopen(o->stat, "ae");

                if (!f || !realpath(o->stat, stat))
                        refuse(" cannot be written to", o->stat);
                fclose(f);
        }
        if (o->partition)
                set("SVMD_PARTITION", o->partition);
        set("SVMD_RUN", "1");
        set("SVMD_RUN_PREFERRED", o->preferred);
        set("SVMD_RUN_MAX", o->max ? max : NULL);
        set("SVMD_RUN_STAT", !o->stat ? NULL : *o->stat ? stat : "");
        set("SVMD_RUN_JSON", o->json ? "1" : NULL);
        set("LD_PRELOAD", preload);
}

int main(int argc, char **argv) {
        struct options o = { 0 };
        char program[PATH_MAX], object[PATH_MAX], why[512];

        parse(argc, argv, &o);
        find_in_path(argv[optind], program);
        if (!program_takes_heap(program, why, sizeof(why)))
                refuse(why, "");
        check_svmd(&o);
        find_object(object);
        set_environment(&o, object);
        execv(program, argv + optind);
        fprintf(stderr, "svmd-run: %s cannot be run: %s\n", program, strerror(errno));
        return errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUN;
}
