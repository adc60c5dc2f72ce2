#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/size.h"
#include "hook/hook.h"

/* svmd-hook: arguments, the state that the runtime writes, and how long it may take. */
enum { STATE_MOST = 1 << 20, EXIT_USAGE = 2, SECONDS = 5 };

static const char usage_text[] =
        "usage: svmd-hook [OPTIONS] attach|release [PARTITION]\n"
        "\n"
        "Called by container runtimes, with the container's state on standard input. attach: the container gets the\n"
        "partition, which is made for it where its annotations say so. release: what was made for it ends.\n"
        "\n"
        "  --runtime-dir DIR  find svmd's sockets here (default: /run/svmd)\n"
        "  --mount            show the partition's folder as /run/svmd in the container, where the runtime does not\n"
        "  --fail-open        when something fails, say so, and let the container start without it\n"
        "  --timeout SECONDS  that it may take (default: 5)\n"
        "  --help, --version\n"
        "\n"
        "Annotations: org.svmd.partition=NAME, org.svmd.size=SIZE, org.svmd.domain=NAME, org.svmd.max.NODE=SIZE,\n"
        "org.svmd.min.NODE=SIZE, org.svmd.name=NAME.\n"
        "\n"
        "Example: echo '{\"ociVersion\": \"1.0.2\", \"id\": \"c1\", \"pid\": 4711}' | svmd-hook attach train\n"
        "\n"
        "Exit status: 0; 1 when the container is not to start; 2 for wrong arguments.\n";

static int failed = 1; /* what a failure ends with */

static void on_alarm(int signal) {
        static const char text[] = "svmd-hook: svmd did not answer in time\n";

        if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
                _exit(1);
        _exit(failed);
}

static void refuse(const char *what, const char *why) __attribute__((noreturn));
static void refuse(const char *what, const char *why) {
        fprintf(stderr, "svmd-hook: %s%s; see svmd-hook --help\n", what, why);
        exit(EXIT_USAGE);
}

static void bound(const char *seconds) {
        uint64_t n = SECONDS;

        if (seconds && (count_parse(seconds, &n) != 0 || n == 0 || n > 3600))
                refuse(seconds, " is no number of seconds from 1 to 3600");
        signal(SIGALRM, on_alarm);
        alarm((unsigned)n);
}

static void say_and_end(const char *text) __attribute__((noreturn));
static void say_and_end(const char *text) {
        fputs(text, stdout);
        exit(0);
}

static void take(int argc, char **argv, struct hook_options *o) {
        static const struct option options[] = {
                { "runtime-dir", required_argument, NULL, 'r' },
                { "mount", no_argument, NULL, 'm' },
                { "fail-open", no_argument, NULL, 'f' },
                { "timeout", required_argument, NULL, 't' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                { 0 },
        };
        const char *seconds = NULL;

        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
                switch (c) {
                case 'r': o->runtime_dir = optarg; break;
                case 'm': o->mounts = true; break;
                case 'f': failed = 0; break;
                case 't': seconds = optarg; break;
                case 'h': say_and_end(usage_text);
                case 'v': say_and_end("svmd-hook " SVMD_VERSION "\n");
                default: exit(EXIT_USAGE);
                }
        if (optind == argc || argc - optind > 2)
                refuse("expected", " attach or release, and at most one partition");
        o->attach = strcmp(argv[optind], "attach") == 0;
        if (!o->attach && strcmp(argv[optind], "release") != 0)
                refuse(argv[optind], " is neither attach nor release");
        o->name = argv[optind + 1];
        if (o->name && strlen(o->name) > 63)
                refuse(o->name, " is longer than names of partitions are");
        bound(seconds);
}

int main(int argc, char **argv) {
        struct hook_options options = { .runtime_dir = "/run/svmd" };
        static char text[STATE_MOST];
        size_t size;

        take(argc, argv, &options);
        size = fread(text, 1, sizeof(text), stdin);
        if (size == sizeof(text)) {
                fputs("svmd-hook: the container's state on standard input is longer than 1 MiB\n", stderr);
                return failed;
        }
        return hook_run(&options, text, size, stderr) == 0 ? 0 : failed;
}
