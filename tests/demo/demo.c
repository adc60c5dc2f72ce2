#include "demo.h"

#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define DEMO_NOBODY ((unsigned)-1)

static unsigned parse_id(const char *value) {
        char *end;
        unsigned long id = strtoul(value, &end, 10);

        if (*end || end == value || id >= DEMO_NOBODY) {
                fprintf(stderr, "'%s' is no user or group number\n", value);
                exit(2);
        }
        return (unsigned)id;
}

void demo_parse(struct demo_options *o, int argc, char **argv, const struct option *options, demo_option_fn more) {
        int letter;

        *o = (struct demo_options){ .uid = DEMO_NOBODY, .gid = DEMO_NOBODY, .group = DEMO_NOBODY };
        while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
                switch (letter) {
                case 's': o->socket = optarg; break;
                case 'p': o->partition = optarg; break;
                case 'n': o->name = optarg; break;
                case 'u': o->uid = parse_id(optarg); break;
                case 'g': o->gid = parse_id(optarg); break;
                case 'G': o->group = parse_id(optarg); break;
                default:
                        if (letter == '?' || !more || more(letter, optarg))
                                exit(2);
                }
        }
}

static void become(const struct demo_options *o) {
        gid_t group = o->group;

        if (o->uid == DEMO_NOBODY)
                return;
        if (setgroups(o->group == DEMO_NOBODY ? 0 : 1, &group) < 0 || setresgid(o->gid, o->gid, o->gid) < 0 ||
            setresuid(o->uid, o->uid, o->uid) < 0) {
                fprintf(stderr, "cannot become user %u of group %u: %s; run as root\n", o->uid, o->gid,
                        strerror(errno));
                exit(1);
        }
        /* Else the kernel gives this process's /proc files to root, and a sanitizer cannot look at its own process. */
        prctl(PR_SET_DUMPABLE, 1);
}

svmd_session *demo_connect(const struct demo_options *o) {
        struct svmd_connect_options opts = {
                .size = sizeof(opts),
                .socket = o->socket,
                .partition = o->partition,
                .flags = o->partition ? 0 : SVMD_CONNECT_NO_ATTACH,
        };
        svmd_session *s;

        become(o);
        must(svmd_connect(&s, &opts), "connect");
        return s;
}

void say(const char *format, ...) {
        va_list args;

        va_start(args, format);
        vprintf(format, args);
        va_end(args);
        putchar('\n');
        fflush(stdout);
}

void tell_refusal(int code, const char *what) {
        say("refused what=%s code=%s text=%s", what, svmd_status_name(code), code ? svmd_error() : "");
}

void must(int code, const char *what) {
        if (!code)
                return;
        tell_refusal(code, what);
        exit(1);
}
