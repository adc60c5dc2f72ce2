#include "args.h"

#include <getopt.h>
#include <string.h>

#include "ctl.h"
#include "rows.h"
#include "size.h"
#include "suggest.h"
#include "verbs.h"

const struct opt_text opt_texts[_OPT_MAX] = {
        [OPT_SIZE] = { "size", "SIZE", "addresses, a multiple of 4G (default: as svmd is configured)" },
        [OPT_WINDOW] = { "window", "WINDOW", "primary (default), or low for ThreadSanitizer and MemorySanitizer" },
        [OPT_DOMAIN] = { "domain", "DOMAIN", "partitions of one domain may share memory (default: default)" },
        [OPT_OWNER] = { "owner", "USER[:GROUP]", "whose it is (default on create: you); names or numbers" },
        [OPT_MODE] = { "mode", "MODE", "octal; read bits say who may attach by name (default: 0600)" },
        [OPT_LIMIT] = { "limit", "NODE=SIZE", "the same as --max", true },
        [OPT_MAX] = { "max", "NODE=SIZE", "bytes it may hold on a node, never more; 'none' lifts a limit", true },
        [OPT_HIGH] = { "high", "NODE=SIZE", "above so many bytes on a node it is asked to give back", true },
        [OPT_LOW] = { "low", "NODE=SIZE", "up to so many bytes on a node others' memory is taken before its", true },
        [OPT_MIN] = { "min", "NODE=SIZE", "bytes of a node that nobody else can take", true },
        [OPT_DEADLINE] = { "deadline", "SECONDS", "take what is above a lowered limit, after this long" },
        [OPT_FORCE] = { "force", NULL, "also end sessions that do not give it back (--deadline: 10)" },
        [OPT_PARTITION] = { "partition", "NAME", "only this partition" },
        [OPT_END_SESSIONS] = { "end-sessions", NULL, "also when sessions use it: end them" },
        [OPT_DRY_RUN] = { "dry-run", NULL, "say what would be, change nothing" },
        [OPT_YES] = { "yes", NULL, "do not ask" },
        [OPT_WIDTH] = { "width", "COLUMNS", "how wide to draw, 40 to 1000 (default: the terminal)" },
        [OPT_COUNT] = { "count", "N", "end after N events" },
        [OPT_TIMEOUT] = { "timeout", "SECONDS", "end after this long" },
        [OPT_COUNTERS] = { "counters", NULL, "also a line a granule: how often it left host memory and came back" },
        [OPT_CAUSE] = { "cause", "CAUSE,...", "only moves for one of these reasons" },
        [OPT_KEEPER] = { "keeper", NULL, "svmd-keeper too" },
        [OPT_BINARY] = { "binary", "PATH", "become this svmd (default: the file that was started, as it is now)" },
        [OPT_SECONDS] = { "seconds", "N", "record this long (default: until interrupted, or PROGRAM ends)" },
        [OPT_REQUESTS] = { "requests", NULL, "only requests: no faults, and not what devices use" },
        [OPT_OFF] = { "off", NULL, "take it back" },
        [OPT_KEPT_MAX] = { "kept-max", "SIZE", "bytes it may keep for later sessions; 'none' lifts the limit" },
        [OPT_DROP_KEPT] = { "drop-kept", NULL, "also what it keeps for later sessions" },
        [OPT_KIND] = { "kind", "KIND", "range, memory or (of what is kept) lease, where several have the name" },
        [OPT_BY] = { "by", "WHAT", "group by pid, cgroup, container, partition, node or user" },
        [OPT_SINCE] = { "since", "TIME", "what was used from then on: 90s, 15m, 1h, 7d ago, today, 2026-11-01" },
        [OPT_UNTIL] = { "until", "TIME", "and up to then (default: now)" },
        [OPT_DRIFT] = { "drift", NULL, "what the kernel and drivers report, against what svmd gave out" },
        [OPT_SVG] = { "svg", "FILE",
                      "write a picture in SVG, with where managed memory lies; '-' for standard output" },
        [OPT_INTERVAL] = { "interval", "SECONDS", "look this often, from 0.1 on (default: 1)" },
        [OPT_ONCE] = { "once", NULL, "write one picture, after an interval, and end" },
        [OPT_BATCH] = { "batch", NULL, "write pictures one behind the other, for pipes" },
        [OPT_SORT] = { "sort", "COLUMN", "sort by the column of that heading" },
        [OPT_FILTER] = { "filter", "TEXT", "only what has this text in its name or its partition's" },
        [OPT_OUTPUT] = { "output", "FILE", "write it there (default: svmd-bugreport-DATE-TIME.tar.gz, here)" },
        [OPT_FULL] = { "full", NULL, "with names as they are" },
        [OPT_CDI] = { "cdi", NULL, "also write a CDI specification, which goes when it is deleted" },
        [OPT_CDI_DIR] = { "cdi-dir", "DIR",
                          "where CDI specifications are (default: /etc/cdi and /var/run/cdi; for users "
                          "$XDG_RUNTIME_DIR/cdi)" },
        [OPT_HOOK] = { "hook", NULL, "have containers call svmd-hook before they start and after they end" },
        [OPT_STALE] = { "stale", NULL, "those whose partition is gone" },
        [OPT_SESSION] = { "session", "ID", "of this session alone" },
        [OPT_NODE] = { "node", "NODE", "of this node alone" },
        [OPT_SOCKET] = { "socket", "PATH", "talk to svmd over this socket" },
        [OPT_RUNTIME_DIR] = { "runtime-dir", "DIR", "find svmd's sockets here (default: /run/svmd)" },
        [OPT_JSON] = { "json", NULL, "write JSON: sizes in bytes, no limit is null" },
        [OPT_NO_COLOR] = { "no-color", NULL, "no colours (also with NO_COLOR in the environment)" },
        [OPT_HELP] = { "help", NULL, "show what can be said, with examples" },
        [OPT_VERSION] = { "version", NULL, "show the version" },
};

static bool opt_belongs(const struct verb *verb, unsigned opt) {
        return opt >= _OPT_OF_VERBS || (verb && (verb->options & BIT(opt)));
}

/* getopt numbers the options from 256, to keep clear of its own letters. */
static void options_fill(struct option *options, const struct verb *verb) {
        for (unsigned i = 0; i < _OPT_MAX; i++) {
                if (opt_belongs(verb, i))
                        *options++ = (struct option){ opt_texts[i].name, opt_texts[i].arg ? required_argument : 0, NULL,
                                                      256 + (int)i };
        }
        *options = (struct option){ 0 };
}

static int unknown_option(struct ctl *c, const struct verb *verb, const char *word) {
        const char *names[_OPT_MAX], *near, *of = verb ? ctl_text(c, "svmd-ctl %s", verb->name) : "svmd-ctl";
        char *name = ctl_copy(c, word);
        size_t count = 0;

        name[strcspn(name, "=")] = '\0';
        for (unsigned i = 0; i < _OPT_MAX; i++) {
                if (opt_belongs(verb, i))
                        names[count++] = opt_texts[i].name;
        }
        near = strncmp(name, "--", 2) == 0 ? suggest(name + 2, names, count) : NULL;
        if (near)
                ctl_fail(c, EXIT_USAGE, "unknown option '%s'; did you mean '--%s'?", name, near);
        else
                ctl_fail(c, EXIT_USAGE, "unknown option '%s'; see '%s --help'", name, of);
        return -1;
}

static void keep_option(struct ctl *c, struct args *a, unsigned opt, const char *argument) {
        struct args_limit *grown;

        a->value[opt] = argument ? argument : opt_texts[opt].name;
        if (opt < OPT_LIMIT || opt > OPT_MIN)
                return;
        grown = ctl_alloc(c, (a->limits_count + 1) * sizeof(*grown));
        if (a->limits_count)
                memcpy(grown, a->limits, a->limits_count * sizeof(*grown));
        grown[a->limits_count++] = (struct args_limit){ opt, argument };
        a->limits = grown;
}

int args_parse(struct ctl *c, struct args *a, const struct verb *verb, int argc, char **argv) {
        struct option options[_OPT_MAX + 1];
        int opt;

        options_fill(options, verb);
        optind = 0;
        opterr = 0;
        while ((opt = getopt_long(argc, argv, verb ? ":" : "+:", options, NULL)) != -1) {
                if (opt >= 256) {
                        keep_option(c, a, (unsigned)opt - 256, optarg);
                } else if (opt == ':') {
                        opt = optopt - 256;
                        ctl_fail(c, EXIT_USAGE, "option '--%s' needs an argument: --%s %s", opt_texts[opt].name,
                                 opt_texts[opt].name, opt_texts[opt].arg);
                        return -1;
                } else if (optopt >= 256) {
                        ctl_fail(c, EXIT_USAGE, "option '--%s' takes no argument", opt_texts[optopt - 256].name);
                        return -1;
                } else {
                        return unknown_option(c, verb, argv[optind - 1]);
                }
        }
        a->words = (const char **)argv + optind;
        a->words_count = (unsigned)(argc - optind);
        return optind;
}

static int limit_parse(struct ctl *c, const struct node_rows *nodes, const struct args_limit *l,
                       struct svmd_limit *ret) {
        static const unsigned bounds[] = { [OPT_LIMIT] = SVMD_BOUND_MAX,
                                           [OPT_MAX] = SVMD_BOUND_MAX,
                                           [OPT_HIGH] = SVMD_BOUND_HIGH,
                                           [OPT_LOW] = SVMD_BOUND_LOW,
                                           [OPT_MIN] = SVMD_BOUND_MIN };
        const char *text = l->text;
        const char *equals = strchr(text, '=');
        const struct svmd_node_row *node;
        char *name = ctl_copy(c, text);
        int r;

        if (!equals || equals == text)
                return ctl_fail(c, EXIT_USAGE, "limit '%s': expected NODE=SIZE, as in gpu0=2G", text);
        ret->bound = bounds[l->opt];
        name[equals - text] = '\0';
        if (strcmp(equals + 1, "none") == 0) {
                ret->max = UINT64_MAX;
        } else {
                r = size_parse(equals + 1, &ret->max);
                if (r != 0)
                        return ctl_fail(c, EXIT_USAGE, "limit '%s': %s", text, size_problem(r));
        }
        r = rows_find_node(c, nodes, name, &node);
        if (r == EXIT_OK)
                ret->node = node->id;
        return r;
}

int args_limits(struct ctl *c, const struct args *a, const struct svmd_limit **ret, size_t *ret_count) {
        struct svmd_limit *limits = ctl_alloc(c, a->limits_count * sizeof(*limits));
        struct node_rows nodes = { 0 };
        int r = EXIT_OK;

        if (a->limits_count)
                r = ctl_result(c, rows_nodes(c, &nodes));
        for (unsigned i = 0; i < a->limits_count && r == EXIT_OK; i++)
                r = limit_parse(c, &nodes, &a->limits[i], &limits[i]);
        if (r != EXIT_OK)
                return r;
        *ret = limits;
        *ret_count = a->limits_count;
        return EXIT_OK;
}

int args_agreed(struct ctl *c, const struct args *a, const char *question) {
        if (a->value[OPT_YES] || ctl_confirm(c, question))
                return EXIT_OK;
        return ctl_fail(c, EXIT_REFUSED, "nothing was done");
}

int args_size(struct ctl *c, const struct args *a, enum opt opt, uint64_t *ret) {
        int r;

        if (!a->value[opt])
                return EXIT_OK;
        r = size_parse(a->value[opt], ret);
        if (r != 0)
                return ctl_fail(c, EXIT_USAGE, "--%s '%s': %s", opt_texts[opt].name, a->value[opt], size_problem(r));
        return EXIT_OK;
}

int args_count(struct ctl *c, const struct args *a, enum opt opt, uint64_t least, uint64_t most, uint64_t *ret) {
        uint64_t n;

        if (!a->value[opt])
                return EXIT_OK;
        if (count_parse(a->value[opt], &n) != 0 || n < least || n > most)
                return ctl_fail(c, EXIT_USAGE, "--%s '%s': expected a whole number from %llu to %llu",
                                opt_texts[opt].name, a->value[opt], (unsigned long long)least,
                                (unsigned long long)most);
        *ret = n;
        return EXIT_OK;
}

int args_seconds(struct ctl *c, const struct args *a, enum opt opt, uint64_t *ret_ns) {
        if (!a->value[opt])
                return EXIT_OK;
        if (seconds_parse(a->value[opt], ret_ns) != 0)
                return ctl_fail(c, EXIT_USAGE, "--%s '%s': expected seconds, as in 10 or 0.5", opt_texts[opt].name,
                                a->value[opt]);
        return EXIT_OK;
}
