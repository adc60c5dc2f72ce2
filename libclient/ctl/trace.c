#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "ctl.h"
#include "json.h"
#include "verbs.h"

extern char **environ;

/*
 * A recording goes on until the time is over, a person interrupts, the program that was named has ended, or svmd has.
 * svmd writes the file itself. The last look, which says that the file is whole, makes svmd forget it.
 */
static volatile sig_atomic_t interrupted;
enum { LOOK_NS = 50000000, DRAIN_S = 30 };

struct recording {
        struct ctl *ctl;
        const char *path;
        int fd;
        pid_t program; /* 0: none, or it has ended */
        int status;    /* of the program */
        bool cut;      /* svmd ended first */
        struct svmd_trace trace;
};

static void on_interrupt(int signal) {
        interrupted = 1;
}

static void catch_interrupts(void) {
        struct sigaction action = { .sa_handler = on_interrupt };

        interrupted = 0;
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
}

static int look(struct recording *r) {
        r->trace.size = sizeof(r->trace);
        return svmd_query_trace(r->ctl->session, &r->trace);
}

static bool program_ended(struct recording *r) {
        pid_t got = r->program ? waitpid(r->program, &r->status, WNOHANG) : 0;

        if (got == 0)
                return false;
        r->program = 0;
        return true;
}

/* Ends with SVMD_OK when there is a reason to stop, or when svmd has stopped by itself. */
static int record(struct recording *r, uint64_t deadline) {
        const struct timespec pause = { .tv_nsec = LOOK_NS };
        int k = look(r);

        while (k == SVMD_OK && !r->trace.ended && !interrupted && ctl_now_ns() < deadline && !program_ended(r)) {
                nanosleep(&pause, NULL);
                k = look(r);
        }
        return k;
}

static int stop(struct recording *r) {
        const struct timespec pause = { .tv_nsec = LOOK_NS / 10 };
        uint64_t deadline = ctl_now_ns() + DRAIN_S * 1000000000ull;
        int k = svmd_trace_stop(r->ctl->session);

        while (k == SVMD_OK && !r->trace.ended && ctl_now_ns() < deadline) {
                k = look(r);
                if (k == SVMD_OK && !r->trace.ended)
                        nanosleep(&pause, NULL);
        }
        return k;
}

static int spawn(struct recording *r, const char **words, unsigned count) {
        char **argv = ctl_alloc(r->ctl, (count + 1) * sizeof(*argv));
        int k;

        for (unsigned i = 0; i < count; i++)
                argv[i] = ctl_copy(r->ctl, words[i]);
        argv[count] = NULL;
        k = posix_spawnp(&r->program, argv[0], NULL, NULL, argv, environ);
        if (k)
                return ctl_fail(r->ctl, EXIT_REFUSED, "%s could not be started: %s", argv[0], strerror(k));
        return EXIT_OK;
}

static int say_json(const struct recording *r) {
        struct json_object *o = json_object_new_object();

        json_add_text(o, "file", r->path);
        json_add_count(o, "bytes", r->trace.bytes);
        json_add_count(o, "records", r->trace.records);
        json_add_count(o, "dropped", r->trace.dropped);
        json_add_text(o, "error", r->trace.error ? strerror(r->trace.error) : NULL);
        json_add_flag(o, "cut", r->cut);
        return json_print(r->ctl, o);
}

static int say(const struct recording *r) {
        struct ctl *c = r->ctl;

        if (c->json)
                return say_json(r);
        fprintf(c->out, "%s: %llu records, %s\n", r->path, (unsigned long long)r->trace.records,
                ctl_size(c, r->trace.bytes));
        if (r->trace.dropped)
                fprintf(c->err,
                        "svmd-ctl: %llu records came faster than the file could take them, and are missing: write to a "
                        "faster file, or record one partition\n",
                        (unsigned long long)r->trace.dropped);
        return EXIT_OK;
}

/* svmd, which made the recording, is gone. */
static int cut_off(struct recording *r) {
        int k = svmd_trace_close(r->fd);

        r->cut = true;
        if (k != SVMD_OK)
                return ctl_result(r->ctl, k);
        say(r);
        return ctl_fail(r->ctl, EXIT_REFUSED,
                        "svmd ended while it recorded: %s is good up to then, and says so at its end", r->path);
}

static int finish(struct recording *r, int k) {
        if (k == SVMD_OK && !r->trace.ended)
                k = stop(r);
        if (k == SVMD_E_GONE || k == SVMD_E_SYSTEM)
                return cut_off(r);
        if (k != SVMD_OK)
                return ctl_result(r->ctl, k);
        if (!r->trace.ended)
                return ctl_fail(r->ctl, EXIT_TIMEOUT, "%s is not written yet: its disk does not answer", r->path);
        say(r);
        if (r->trace.error)
                return ctl_fail(r->ctl, EXIT_REFUSED,
                                "%s could not be written any further: %s; what was recorded until "
                                "then is there",
                                r->path, strerror(r->trace.error));
        return EXIT_OK;
}

/* The program's own status, as a shell gives it. */
static int status_of(struct recording *r) {
        if (r->program && waitpid(r->program, &r->status, 0) < 0)
                return EXIT_OK;
        return WIFEXITED(r->status) ? WEXITSTATUS(r->status) : 128 + WTERMSIG(r->status);
}

static int record_file(struct recording *r, const struct args *a, uint64_t seconds) {
        unsigned flags = a->value[OPT_REQUESTS] ? SVMD_TRACE_REQUESTS : 0;
        uint64_t deadline = seconds == UINT64_MAX ? UINT64_MAX : ctl_now_ns() + seconds;
        bool program = a->words_count > 1;
        int k = svmd_trace_start(r->ctl->session, a->value[OPT_PARTITION], flags, r->fd), e = EXIT_OK;

        if (k != SVMD_OK)
                return ctl_result(r->ctl, k);
        if (program)
                e = spawn(r, a->words + 1, a->words_count - 1);
        if (e == EXIT_OK)
                e = finish(r, record(r, deadline));
        return program && e == EXIT_OK ? status_of(r) : e;
}

int trace_record_run(struct ctl *c, const struct args *a) {
        struct recording r = { .ctl = c, .path = a->words[0] };
        uint64_t seconds = UINT64_MAX;
        int e = args_seconds(c, a, OPT_SECONDS, &seconds);

        if (e != EXIT_OK)
                return e;
        r.fd = open(r.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (r.fd < 0)
                return ctl_fail(c, EXIT_REFUSED, "%s cannot be written: %s", r.path, strerror(errno));
        catch_interrupts();
        e = record_file(&r, a, seconds);
        close(r.fd);
        return e;
}
