#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/recording.h"
#include "core/node.h"
#include "policy/policy.h"
#include "policy/sim/cluster.h"
#include "policy/sim/report.h"
#include "policy/sim/synthetic.h"

enum { EXIT_WRONG = 1, EXIT_USAGE = 2, POLICIES = 8 };

struct options {
        const char *trace, *machine, *svg, *synthetic;
        bool machine_faults, json, list;
        const struct policy_profile *profiles[POLICIES];
        const char *names[POLICIES];
        unsigned profiles_count;
        const char *nodes[SIM_NODES], *limits[SIM_NODES];
        unsigned nodes_count, limits_count;
        struct sim_options sim;
};

static const char help[] =
        "svmd-sim --trace FILE [OPTION...]\n"
        "svmd-sim --synthetic nodes=N,pages=N[,...]\n"
        "\n"
        "Says what other policies, or another machine, would have made of a recording (svmd-ctl trace record): faults,\n"
        "how long they were waited for, bytes over each link, evictions, and the most that each node held. It runs svmd's\n"
        "own decisions in simulated time: the same input gives the same output.\n"
        "\n"
        "  --trace FILE             the recording\n"
        "  --policy NAME[,NAME...]  profiles to compare (default: balanced): balanced, throughput, latency, pinned\n"
        "  --machine DIR            on the machine recorded in this folder, as svmd --machine (default: the recording's)\n"
        "  --machine-faults on|off  whether its devices have faults (default: on)\n"
        "  --node NAME=SIZE         what a node holds (suffixes K, M, G, T); may be repeated\n"
        "  --limit NAME=SIZE        what each partition may have on a node (default: as recorded); may be repeated\n"
        "  --workers N              threads that move pages at a time, 2 to 64 (default: 2)\n"
        "  --fault-ns N             till svmd hears of a fault (default: 5000)\n"
        "  --step-ns N              of a step of a move, beside its bytes (default: 1000)\n"
        "  --no-think               each touch follows as soon as the one before was served\n"
        "  --svg FILE               draw residency over time and bytes per link\n"
        "  --list                   write what is in the recording, a line a record, and nothing else\n"
        "  --json                   write JSON: bytes and nanoseconds\n"
        "  --synthetic KEY=N,...    instead of a recording, a machine that nobody has, to see how the cost of decisions\n"
        "                           grows: nodes=N or A..B, pages=N or A..B, events=N, seed=N,\n"
        "                           pattern=random|stream|hot\n"
        "  --help, --version\n"
        "\n"
        "Examples:\n"
        "  svmd-ctl trace record sort.trace --partition batch -- svmd-run --partition batch sort big.txt\n"
        "  svmd-sim --trace sort.trace --policy balanced,throughput,latency\n"
        "  svmd-sim --trace sort.trace --node host0=64G --svg more-memory.svg\n"
        "  svmd-sim --synthetic nodes=8..1024,pages=1000000\n"
        "\n"
        "Exit status: 0; 1 when the recording or the machine is wrong; 2 when the command line is.\n";

static int fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(int status, const char *format, ...) {
        va_list args;

        va_start(args, format);
        fputs("svmd-sim: ", stderr);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
        return status;
}

/* ---- the command line ---- */

static bool number(const char *text, uint64_t least, uint64_t most, uint64_t *ret) {
        char *end;

        errno = 0;
        *ret = strtoull(text, &end, 10);
        return !errno && end != text && !*end && text[0] != '-' && *ret >= least && *ret <= most;
}

static bool size(const char *text, uint64_t *ret) {
        static const char units[] = "KMGT";
        const char *unit;
        char *end;

        errno = 0;
        *ret = strtoull(text, &end, 10);
        if (errno || end == text || text[0] == '-')
                return false;
        if (!*end)
                return true;
        unit = strchr(units, *end);
        if (!unit || end[1] || *ret >> (63 - 10 * (unit - units + 1)))
                return false;
        *ret <<= 10 * (unit - units + 1);
        return true;
}

static int policies(struct options *o, char *text) {
        char *name;

        o->profiles_count = 0;
        while ((name = strsep(&text, ","))) {
                const struct policy_profile *p = policy_profile_find(name);

                if (!p)
                        return fail(EXIT_USAGE, "--policy '%s': expected some of balanced, throughput, latency, pinned",
                                    name);
                if (o->profiles_count == POLICIES)
                        return fail(EXIT_USAGE, "--policy: at most %d at a time", POLICIES);
                o->names[o->profiles_count] = p->name;
                o->profiles[o->profiles_count++] = p;
        }
        return 0;
}

static int number_option(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *ret) {
        if (number(text, least, most, ret))
                return 0;
        return fail(EXIT_USAGE, "--%s '%s': expected a number, %llu to %llu", name, text, (unsigned long long)least,
                    (unsigned long long)most);
}

enum {
        OPT_TRACE = 256,
        OPT_POLICY,
        OPT_MACHINE,
        OPT_FAULTS,
        OPT_NODE,
        OPT_LIMIT,
        OPT_WORKERS,
        OPT_FAULT_NS,
        OPT_STEP_NS,
        OPT_NO_THINK,
        OPT_SVG,
        OPT_LIST,
        OPT_JSON,
        OPT_SYNTHETIC,
        OPT_HELP,
        OPT_VERSION
};

static const struct option long_options[] = {
        { "trace", required_argument, NULL, OPT_TRACE },
        { "policy", required_argument, NULL, OPT_POLICY },
        { "machine", required_argument, NULL, OPT_MACHINE },
        { "machine-faults", required_argument, NULL, OPT_FAULTS },
        { "node", required_argument, NULL, OPT_NODE },
        { "limit", required_argument, NULL, OPT_LIMIT },
        { "workers", required_argument, NULL, OPT_WORKERS },
        { "fault-ns", required_argument, NULL, OPT_FAULT_NS },
        { "step-ns", required_argument, NULL, OPT_STEP_NS },
        { "no-think", no_argument, NULL, OPT_NO_THINK },
        { "svg", required_argument, NULL, OPT_SVG },
        { "list", no_argument, NULL, OPT_LIST },
        { "json", no_argument, NULL, OPT_JSON },
        { "synthetic", required_argument, NULL, OPT_SYNTHETIC },
        { "help", no_argument, NULL, OPT_HELP },
        { "version", no_argument, NULL, OPT_VERSION },
        { 0 },
};

static int option(struct options *o, int c) {
        uint64_t n;
        int r;

        switch (c) {
        case OPT_TRACE: o->trace = optarg; return 0;
        case OPT_POLICY: return policies(o, optarg);
        case OPT_MACHINE: o->machine = optarg; return 0;
        case OPT_FAULTS:
                o->machine_faults = strcmp(optarg, "on") == 0;
                if (o->machine_faults || strcmp(optarg, "off") == 0)
                        return 0;
                return fail(EXIT_USAGE, "--machine-faults '%s': expected on or off", optarg);
        case OPT_NODE:
                if (o->nodes_count == SIM_NODES)
                        return fail(EXIT_USAGE, "--node: at most %d times", SIM_NODES);
                o->nodes[o->nodes_count++] = optarg;
                return 0;
        case OPT_LIMIT:
                if (o->limits_count == SIM_NODES)
                        return fail(EXIT_USAGE, "--limit: at most %d times", SIM_NODES);
                o->limits[o->limits_count++] = optarg;
                return 0;
        case OPT_WORKERS:
                r = number_option("workers", optarg, 2, 64, &n);
                o->sim.workers = r ? o->sim.workers : (uint32_t)n;
                return r;
        case OPT_FAULT_NS: return number_option("fault-ns", optarg, 0, 1000000000, &o->sim.fault_ns);
        case OPT_STEP_NS: return number_option("step-ns", optarg, 0, 1000000000, &o->sim.step_ns);
        case OPT_NO_THINK: o->sim.no_think = true; return 0;
        case OPT_SVG: o->svg = optarg; return 0;
        case OPT_LIST: o->list = true; return 0;
        case OPT_JSON: o->json = true; return 0;
        case OPT_SYNTHETIC: o->synthetic = optarg; return 0;
        default: return EXIT_USAGE;
        }
}

/* ---- the machine ---- */

static int node_size(struct sim_machine *m, const char *opt, const char *text, bool limit) {
        char *name = strdup(text), *equals = name ? strchr(name, '=') : NULL;
        struct sim_node *n = NULL;
        uint64_t bytes = 0;
        int r = 0;

        if (equals)
                *equals = '\0';
        if (!equals || !size(equals + 1, &bytes))
                r = fail(EXIT_USAGE, "--%s '%s': expected NAME=SIZE, like host0=8G", opt, text);
        else if (!(n = sim_machine_find(m, name)))
                r = fail(EXIT_USAGE, "--%s '%s': this machine has no node of that name", opt, text);
        free(name);
        if (r)
                return r;
        *(limit ? &n->limit : &n->capacity) = bytes;
        *(limit ? &n->limited : &n->fixed) = true;
        return 0;
}

static int node_sizes(const struct options *o, struct sim_machine *m) {
        int r = 0;

        for (unsigned i = 0; i < o->nodes_count && !r; i++)
                r = node_size(m, "node", o->nodes[i], false);
        for (unsigned i = 0; i < o->limits_count && !r; i++)
                r = node_size(m, "limit", o->limits[i], true);
        return r;
}

static int machine_read(const struct options *o, struct sim_machine *ret) {
        struct machine m = { 0 };
        char why[512];
        int r = recording_read(&m, o->machine, o->machine_faults, why, sizeof(why));

        if (!r && sim_machine_take(ret, &m) < 0) {
                snprintf(why, sizeof(why), "%s: more than %d nodes", o->machine, SIM_NODES);
                r = -E2BIG;
        }
        machine_fini(&m);
        return r ? fail(EXIT_WRONG, "%s", why) : 0;
}

/* ---- recordings ---- */

static int list(const char *path, const void *bytes, size_t length) {
        struct trace_reader t;
        struct trace_event e;
        int k = trace_open(&t, bytes, length);

        while (!k && (k = trace_next(&t, &e)) == 1) {
                printf("%12llu ns  %-9s", (unsigned long long)e.time, trace_type_name(e.type));
                if (e.type == TRACE_NODE)
                        printf("  %u %s, %llu bytes", e.node, e.name, (unsigned long long)e.bytes);
                else if (e.type == TRACE_END)
                        printf("  %u", e.flags);
                else
                        printf("  range %u  granules %u+%u  node %d  from %d  flags %u", e.range, e.first, e.count,
                               (int)e.node, e.type == TRACE_MOVED ? (int)e.from : -1, e.flags);
                putchar('\n');
                k = 0;
        }
        if (k)
                fail(EXIT_WRONG, "%s: %s", path, k == -EBADMSG ? t.why : strerror(-k));
        trace_close(&t);
        return k ? EXIT_WRONG : 0;
}

static unsigned width(void) {
        struct winsize w;

        return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 40 ? w.ws_col : 100;
}

static int show(const struct options *o, const struct report *r) {
        int k = o->svg ? report_svg(r, o->svg) : 0;

        (o->json ? report_json : report_print)(r, stdout);
        return k ? fail(EXIT_WRONG, "%s cannot be written: %s", o->svg, strerror(-k)) : 0;
}

static int compare(const struct options *o, const struct sim_machine *m, const struct sim_machine *of_trace,
                   const void *bytes, size_t length) {
        struct sim_tally *runs = sim_alloc(o->profiles_count, sizeof(*runs)),
                         *recorded = sim_alloc(1, sizeof(*recorded));
        struct report r = { m, o->names, runs, o->profiles_count, recorded, of_trace, false, false, width() };
        char why[256];
        int k = sim_recorded(recorded, bytes, length, why, sizeof(why));

        for (unsigned i = 0; i < o->profiles_count && !k; i++) {
                struct sim_options so = o->sim;

                so.profile = o->profiles[i];
                k = sim_replay(&runs[i], m, bytes, length, &so, why, sizeof(why));
        }
        r.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
        r.color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
        k = k ? fail(EXIT_WRONG, "%s: %s", o->trace, why) : show(o, &r);
        free(runs);
        free(recorded);
        return k;
}

static int replay(const struct options *o, const void *bytes, size_t length) {
        struct sim_machine *m = sim_alloc(2, sizeof(*m));
        char why[256];
        int k;

        if (sim_machine_of_trace(&m[1], bytes, length, why, sizeof(why)))
                k = fail(EXIT_WRONG, "%s: %s", o->trace, why);
        else {
                m[0] = m[1];
                k = o->machine ? machine_read(o, &m[0]) : 0;
                k = k ? k : node_sizes(o, &m[0]);
                k = k ? k : compare(o, &m[0], &m[1], bytes, length);
        }
        free(m);
        return k;
}

static int with_trace(const struct options *o) {
        int fd = open(o->trace, O_RDONLY | O_CLOEXEC), k;
        struct stat st;
        void *bytes;

        if (fd < 0 || fstat(fd, &st) < 0)
                return fail(EXIT_WRONG, "%s cannot be read: %s", o->trace, strerror(errno));
        if (!S_ISREG(st.st_mode) || !st.st_size)
                return fail(EXIT_WRONG, "%s: %s", o->trace, st.st_size ? "not a file" : "the file is empty");
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        close(fd);
        if (bytes == MAP_FAILED)
                return fail(EXIT_WRONG, "%s cannot be read: %s", o->trace, strerror(errno));
        k = o->list ? list(o->trace, bytes, (size_t)st.st_size) : replay(o, bytes, (size_t)st.st_size);
        munmap(bytes, (size_t)st.st_size);
        return k;
}

int main(int argc, char **argv) {
        struct options o = { .machine_faults = true,
                             .sim = { .workers = 2, .fault_ns = 5000, .step_ns = 1000 },
                             .profiles = { policy_profile_default() },
                             .profiles_count = 1 };
        int c;

        setlocale(LC_ALL, "");
        setlocale(LC_NUMERIC, "C");
        o.names[0] = o.profiles[0]->name;
        while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
                int r;

                if (c == OPT_HELP || c == OPT_VERSION) {
                        fputs(c == OPT_HELP ? help : "svmd-sim " SVMD_VERSION "\n", stdout);
                        return 0;
                }
                r = option(&o, c);
                if (r)
                        return r;
        }
        if (optind < argc || !o.trace == !o.synthetic)
                return fail(EXIT_USAGE, "say --trace FILE, or --synthetic nodes=N,pages=N; see svmd-sim --help");
        if (o.trace)
                return with_trace(&o);
        return synthetic_run(o.synthetic, o.profiles[0], o.json, stdout, stderr);
}
