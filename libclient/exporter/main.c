#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "serve.h"

/* svmd-exporter: arguments, and the sockets that systemd hands over. */
enum { EXIT_USAGE = 2, SOCKETS_MAX = 8 };

struct options {
        struct serve_options serve;
        const char *format;
        bool once;
};

static const char usage_text[] =
        "usage: svmd-exporter [OPTIONS]\n"
        "\n"
        "Answers Prometheus with what svmd says of itself, on sockets that systemd hands over.\n"
        "\n"
        "  --once             write one page to standard output, and end\n"
        "  --format FORMAT    of that page: text (default) or openmetrics\n"
        "  --socket FILE      svmd's socket (default: $SVMD_SOCKET, else /run/svmd/svmd.sock)\n"
        "  --timeout SECONDS  svmd has so long to answer (default 9; 0: for ever); then the exporter ends\n"
        "  --idle SECONDS     end when nobody has been connected for so long (default 90; 0: never)\n"
        "  --containers N     so many containers have time series of their own (default 100), those with most bytes;\n"
        "                     the rest is one, \"other\"\n"
        "  --cgroups N        the same for control groups (default 100)\n"
        "  --partitions N     the same for partitions (default 1000)\n"
        "  --help, --version\n"
        "\n"
        "Example: svmd-exporter --once --socket /run/svmd/admin.sock\n"
        "\n"
        "Exit status: 0; 1 when svmd did not answer or something failed; 2 for wrong arguments.\n";

static void refuse(const char *what, const char *why) __attribute__((noreturn));
static void refuse(const char *what, const char *why) {
        fprintf(stderr, "svmd-exporter: %s%s\n", what, why);
        exit(EXIT_USAGE);
}

static size_t parse_number(const char *text) {
        unsigned long n;
        char *end;

        n = strtoul(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || n > 1000000)
                refuse(text, " is no number from 0 to 1000000");
        return n;
}

static void say_and_end(const char *text) __attribute__((noreturn));
static void say_and_end(const char *text) {
        fputs(text, stdout);
        exit(0);
}

static void take(struct options *o, int option) {
        struct scrape_options *s = &o->serve.scrape;

        switch (option) {
        case 'o': o->once = true; break;
        case 'f': o->format = optarg; break;
        case 's': s->socket = optarg; break;
        case 't': o->serve.ask_s = (unsigned)parse_number(optarg); break;
        case 'i': o->serve.idle_s = (unsigned)parse_number(optarg); break;
        case 'c': s->containers = parse_number(optarg); break;
        case 'g': s->cgroups = parse_number(optarg); break;
        case 'p': s->partitions = parse_number(optarg); break;
        case 'h': say_and_end(usage_text);
        case 'v': printf("svmd-exporter %s\n", svmd_version()); exit(0);
        default: refuse("", "see svmd-exporter --help");
        }
}

static void parse(int argc, char **argv, struct options *o) {
        static const struct option known[] = {
                { "once", no_argument, NULL, 'o' },
                { "format", required_argument, NULL, 'f' },
                { "socket", required_argument, NULL, 's' },
                { "idle", required_argument, NULL, 'i' },
                { "timeout", required_argument, NULL, 't' },
                { "containers", required_argument, NULL, 'c' },
                { "cgroups", required_argument, NULL, 'g' },
                { "partitions", required_argument, NULL, 'p' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                { 0 },
        };
        int c;

        while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
                take(o, c);
        if (optind != argc)
                refuse(argv[optind], " is too much; see svmd-exporter --help");
        if (strcmp(o->format, "text") != 0 && strcmp(o->format, "openmetrics") != 0)
                refuse(o->format, " is no format: text or openmetrics");
}

static int serve_given(struct options *o) {
        static int fds[SOCKETS_MAX];
        int count = sd_listen_fds(1), r;

        if (count <= 0)
                refuse("", "there is no socket to answer on: it is started by svmd-exporter.socket (systemctl enable "
                           "--now svmd-exporter.socket); --once writes a page by hand");
        if (count > SOCKETS_MAX)
                refuse("", "more than 8 sockets were handed over");
        for (int i = 0; i < count; i++)
                fds[i] = SD_LISTEN_FDS_START + i;
        o->serve.fds = fds;
        o->serve.count = (size_t)count;
        r = serve(&o->serve);
        if (r < 0)
                fprintf(stderr, "svmd-exporter: %s\n", strerror(-r));
        return r < 0 ? 1 : 0;
}

int main(int argc, char **argv) {
        struct options o = { .format = "text",
                             .serve = { .scrape = { .containers = 100, .cgroups = 100, .partitions = 1000 },
                                        .ask_s = 9,
                                        .idle_s = 90 } };

        parse(argc, argv, &o);
        if (o.once)
                return serve_once(&o.serve, strcmp(o.format, "openmetrics") == 0);
        return serve_given(&o);
}
