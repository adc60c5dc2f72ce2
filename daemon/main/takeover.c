#include "main/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/complain.h"
#include "core/node.h"
#include "keeper/table.h"
#include "keeper/wire.h"
#include "proto/range.h"
#include "service/service.h"
#include "store/journal.h"
#include "store/schema.h"

#define PATIENCE_NS (10 * 1000000000ull)

void takeover_print(FILE *out, const struct takeover *t) {
        fprintf(out, "svmd %s\njournal %d %d\neffects %u\nranges %u\nstore %u\nruntime %s\nstate %s\n", SVMD_VERSION,
                JOURNAL_OLDEST, JOURNAL_FORMAT, service_effects(), RANGE_VERSION, schema_version, t->runtime_dir,
                t->state_dir);
        for (uint32_t i = 0; i < t->machine->count; i++) {
                const struct node_desc *n = &t->machine->nodes[i];

                fprintf(out, "node %u %u %" PRIu64 " %s\n", i, (unsigned)n->kind, n->capacity, n->name);
        }
        fputs("good\n", out);
}

/* ---- running it ---- */

struct said {
        char text[16384]; /* what it wrote, both outputs */
        size_t size;
        int status;
};

static int start(const char *program, char *const *argv, int out, pid_t *ret) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t none, all;
        int r;

        if (posix_spawn_file_actions_init(&actions) != 0 || posix_spawnattr_init(&attr) != 0)
                return -ENOMEM;
        sigemptyset(&none);
        sigfillset(&all);
        posix_spawnattr_setsigmask(&attr, &none);
        posix_spawnattr_setsigdefault(&attr, &all);
        posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        r = r ? r : posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        r = r ? r : posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
        r = r ? r : posix_spawn(ret, program, &actions, &attr, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attr);
        return -r;
}

/* To its end. False: it takes too long. */
static bool read_all(struct said *s, int fd) {
        uint64_t until = clock_ns(CLOCK_MONOTONIC) + PATIENCE_NS;

        for (;;) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                uint64_t now = clock_ns(CLOCK_MONOTONIC);
                char rest[512];
                ssize_t n;

                if (now >= until || poll(&p, 1, (int)((until - now) / 1000000) + 1) == 0)
                        return false;
                if (s->size < sizeof(s->text) - 1)
                        n = read(fd, s->text + s->size, sizeof(s->text) - 1 - s->size);
                else
                        n = read(fd, rest, sizeof(rest));
                if (n == 0)
                        return true;
                if (n > 0 && s->size < sizeof(s->text) - 1)
                        s->size += (size_t)n;
        }
}

static int run(struct said *s, const char *program, char *const *argv, char *why, size_t why_size) {
        bool ended;
        int out[2], r;
        pid_t pid;

        if (pipe2(out, O_CLOEXEC) < 0)
                return complain(why, why_size, -errno, "%s cannot be tried: %s", program, strerror(errno));
        r = start(program, argv, out[1], &pid);
        close(out[1]);
        if (r < 0) {
                close(out[0]);
                return complain(why, why_size, r, "%s cannot be started: %s", program, strerror(-r));
        }
        ended = read_all(s, out[0]);
        close(out[0]);
        if (!ended)
                kill(pid, SIGKILL);
        while (waitpid(pid, &s->status, 0) < 0 && errno == EINTR)
                ;
        s->text[s->size] = 0;
        return ended ? 0
                     : complain(why, why_size, -ETIMEDOUT,
                                "%s does not say within ten seconds whether it can take over", program);
}

/* ---- understanding it ---- */

/* What follows the word in the line that it begins, from `*at` on, which moves behind the line; NULL: there is none. */
static const char *next_line(const char **at, const char *word) {
        size_t length = strlen(word);

        while (**at) {
                const char *line = *at, *end = strchrnul(line, '\n');

                *at = *end ? end + 1 : end;
                if (strncmp(line, word, length) == 0 && line[length] == ' ')
                        return line + length + 1;
        }
        return NULL;
}

static const char *find_line(const struct said *s, const char *word) {
        const char *at = s->text;

        return next_line(&at, word);
}

/* False: there is no such line. `newest` may be the only number. */
static bool versions(const struct said *s, const char *word, unsigned *ret_oldest, unsigned *ret_newest) {
        const char *line = find_line(s, word);
        int n = line ? sscanf(line, "%u %u", ret_oldest, ret_newest) : 0;

        if (n == 1)
                *ret_newest = *ret_oldest;
        return n >= 1;
}

static bool is_good(const struct said *s) {
        return s->status == 0 && s->size >= 6 && strcmp(s->text + s->size - 6, "\ngood\n") == 0;
}

/* Its last line, which is the sentence of a program that ends over an error. */
static int refused(struct said *s, const char *program, char *why, size_t why_size) {
        const char *line;

        while (s->size > 0 && s->text[s->size - 1] == '\n')
                s->text[--s->size] = 0;
        line = strrchr(s->text, '\n');
        line = line ? line + 1 : s->text;
        return complain(why, why_size, -EINVAL, "%s cannot take over: %s", program,
                        *line ? line : "it does not say what an svmd says that can");
}

/* Runs it. 0: it says that it can take over, and `s` has what it says of itself. */
static int consult(struct said *s, const char *program, char *const *argv, char *why, size_t why_size) {
        int r = run(s, program, argv, why, why_size);

        return r == 0 && !is_good(s) ? refused(s, program, why, why_size) : r;
}

static bool line_is(const struct said *s, const char *word, const char *text) {
        const char *line = find_line(s, word);
        size_t length = strlen(text);

        return line && strncmp(line, text, length) == 0 && line[length] == '\n';
}

static bool has_node(const struct said *s, uint32_t number, const struct node_desc *n) {
        const char *at = s->text, *line;
        char expected[128];
        int length = snprintf(expected, sizeof(expected), "%u %u %" PRIu64 " %s\n", number, (unsigned)n->kind,
                              n->capacity, n->name);

        while ((line = next_line(&at, "node")))
                if (strncmp(line, expected, (size_t)length) == 0)
                        return true;
        return false;
}

static int check_formats(const struct said *s, const char *program, char *why, size_t why_size) {
        unsigned oldest, newest;

        if (!versions(s, "journal", &oldest, &newest) || oldest > JOURNAL_FORMAT || newest < JOURNAL_FORMAT)
                return complain(why, why_size, -EINVAL, "%s does not read journals of format %d, which this svmd has",
                                program, JOURNAL_FORMAT);
        if (!versions(s, "effects", &oldest, &newest) || newest < service_effects())
                return complain(why, why_size, -EINVAL,
                                "%s is older: it does not know all that the journal of this svmd may hold", program);
        if (!versions(s, "ranges", &oldest, &newest) || oldest > RANGE_VERSION || newest < RANGE_VERSION)
                return complain(why, why_size, -EINVAL,
                                "%s does not read the state of managed ranges in version %u, which this svmd has",
                                program, RANGE_VERSION);
        if (!versions(s, "store", &oldest, &newest) || newest < schema_version)
                return complain(why, why_size, -EINVAL, "%s does not read state.db of version %u, which this svmd has",
                                program, schema_version);
        return 0;
}

static int check_configuration(const struct said *s, const struct takeover *t, const char *program, char *why,
                               size_t why_size) {
        if (!line_is(s, "runtime", t->runtime_dir) || !line_is(s, "state", t->state_dir))
                return complain(why, why_size, -EINVAL,
                                "as configured now, %s would not use the folders %s and %s, which this svmd has",
                                program, t->runtime_dir, t->state_dir);
        for (uint32_t i = 0; i < t->machine->count; i++)
                if (!t->machine->nodes[i].found && !has_node(s, i, &t->machine->nodes[i]))
                        return complain(why, why_size, -EINVAL,
                                        "as configured now, %s would not have node %s (number %u, %" PRIu64
                                        " bytes), which this svmd has",
                                        program, t->machine->nodes[i].name, i, t->machine->nodes[i].capacity);
        return 0;
}

int takeover_check(const struct takeover *t, const char *program, char *const *argv, char *why, size_t why_size) {
        struct said *s = alloc_zero(sizeof(*s));
        size_t count = 0;
        char **all;
        int r;

        while (argv[count])
                count++;
        all = alloc_array(count + 2, sizeof(*all));
        if (!s || !all) {
                alloc_free(s);
                alloc_free(all);
                return complain(why, why_size, -ENOMEM, "svmd has no memory left to try %s", program);
        }
        memcpy(all, argv, count * sizeof(*all));
        all[0] = (char *)program;
        all[count] = (char *)"--check-takeover";
        r = consult(s, program, all, why, why_size);
        if (r == 0)
                r = check_formats(s, program, why, why_size);
        if (r == 0)
                r = check_configuration(s, t, program, why, why_size);
        alloc_free(all);
        alloc_free(s);
        return r;
}

int takeover_check_keeper(const char *program, char *why, size_t why_size) {
        char *argv[] = { (char *)"svmd-keeper", (char *)"--check-takeover", NULL };
        struct said *s = alloc_zero(sizeof(*s));
        unsigned oldest, newest;
        int r;

        if (!s)
                return complain(why, why_size, -ENOMEM, "svmd has no memory left to try %s", program);
        r = consult(s, program, argv, why, why_size);
        /* What runs writes the table that this svmd's own version of it does, or an older one. */
        if (r == 0 && (!versions(s, "table", &oldest, &newest) || newest < TABLE_VERSION))
                r = complain(why, why_size, -EINVAL,
                             "%s does not read what svmd-keeper of version %s leaves: it is older", program,
                             SVMD_VERSION);
        if (r == 0 && (!versions(s, "protocol", &oldest, &newest) || newest < KEEPER_VERSION))
                r = complain(why, why_size, -EINVAL, "%s speaks an older protocol than this svmd", program);
        alloc_free(s);
        return r;
}
