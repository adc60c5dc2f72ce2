#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ctl;
struct verb;

/* Every option of svmd-ctl. The table in args.c gives each its spelling and its line of help. */
enum opt {
        OPT_SIZE,
        OPT_WINDOW,
        OPT_DOMAIN,
        OPT_OWNER,
        OPT_MODE,
        OPT_LIMIT,
        OPT_MAX,
        OPT_HIGH,
        OPT_LOW,
        OPT_MIN,
        OPT_DEADLINE,
        OPT_FORCE,
        OPT_PARTITION,
        OPT_END_SESSIONS,
        OPT_DRY_RUN,
        OPT_YES,
        OPT_WIDTH,
        OPT_COUNT,
        OPT_TIMEOUT,
        OPT_COUNTERS,
        OPT_CAUSE,
        OPT_OFF,
        OPT_KEPT_MAX,
        OPT_DROP_KEPT,
        OPT_KIND,
        OPT_KEEPER,
        OPT_BINARY,
        OPT_SECONDS,
        OPT_REQUESTS,
        OPT_BY,
        OPT_SINCE,
        OPT_UNTIL,
        OPT_DRIFT,
        OPT_SVG,
        OPT_INTERVAL,
        OPT_ONCE,
        OPT_BATCH,
        OPT_SORT,
        OPT_FILTER,
        OPT_OUTPUT,
        OPT_FULL,
        OPT_CDI,
        OPT_CDI_DIR,
        OPT_HOOK,
        OPT_STALE,
        OPT_SESSION,
        OPT_NODE,
        _OPT_OF_VERBS, /* the ones from here on go with every verb */
        OPT_SOCKET = _OPT_OF_VERBS,
        OPT_RUNTIME_DIR,
        OPT_JSON,
        OPT_NO_COLOR,
        OPT_HELP,
        OPT_VERSION,
        _OPT_MAX,
};

#define BIT(opt) (1ull << (opt))

struct opt_text {
        const char *name;
        const char *arg; /* NULL: takes none */
        const char *help;
        bool many; /* may be given several times */
};
extern const struct opt_text opt_texts[_OPT_MAX];

/* A command line, taken apart. */
struct args {
        const char **words; /* operands */
        unsigned words_count;
        const char *value[_OPT_MAX]; /* NULL: not given; options without argument: their name */
        struct args_limit *limits;   /* --limit, --max, --high, --low and --min, in order */
        unsigned limits_count;
};

struct args_limit {
        enum opt opt;
        const char *text;
};

/* Takes options off `argv` up to the first word (`verb` NULL), or everything (the options of `verb`). Returns how many
 * arguments were used, or -1 when one was wrong (what is wrong was written). */
int args_parse(struct ctl *c, struct args *a, const struct verb *verb, int argc, char **argv);
/* --limit NODE=SIZE and its like. Returns an exit status; what is wrong was written. */
struct svmd_limit;
int args_limits(struct ctl *c, const struct args *a, const struct svmd_limit **ret, size_t *ret_count);
/* Whether to go on with what cannot be undone: EXIT_OK with --yes, when nobody is there to answer, and after a yes;
 * else EXIT_REFUSED, and that nothing was done was written. */
int args_agreed(struct ctl *c, const struct args *a, const char *question);
/* --size, --timeout, --count: an exit status; `*ret` is left alone when the option was not given. */
int args_size(struct ctl *c, const struct args *a, enum opt opt, uint64_t *ret);
int args_count(struct ctl *c, const struct args *a, enum opt opt, uint64_t least, uint64_t most, uint64_t *ret);
int args_seconds(struct ctl *c, const struct args *a, enum opt opt, uint64_t *ret_ns);
