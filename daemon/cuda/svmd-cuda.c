/*
 * svmd-cuda has memory of NVIDIA devices for svmd: slots of 2 MiB, which svmd fills, reads, and has exported for its
 * clients. It is a process of its own because CUDA is: svmd neither links nor opens it, and a driver that hangs or
 * ends its process takes the pages of a node along, and no session.
 *
 *      svmd ---- questions (cuda/wire.h) ----> svmd-cuda ---- libcuda.so.1
 *       |                                          |
 *       +---- staging memory, 2 MiB a device ------+
 *
 * Slots outlive svmd, which finds them when it comes back. They end with this program.
 */
#include <getopt.h>
#include <stdio.h>

#include "base/activated.h"
#include "cuda/serve.h"

static int usage(FILE *out) {
        fputs("svmd-cuda [--user USER]\n"
              "Has memory of NVIDIA devices for svmd's managed pages. svmd-cuda.socket starts it.\n"
              "  --user USER     who may ask, beside root: a name or a number (svmd)\n"
              "  --help          print this\n"
              "  --version       print the version\n",
              out);
        return out == stdout ? 0 : 2;
}

/* -1, or how to end. */
static int read_arguments(int argc, char **argv, const char **ret_user) {
        static const struct option options[] = { { "user", required_argument, NULL, 'u' },
                                                 { "help", no_argument, NULL, 'h' },
                                                 { "version", no_argument, NULL, 'v' },
                                                 { 0 } };

        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
                switch (c) {
                case 'u': *ret_user = optarg; break;
                case 'h': return usage(stdout);
                case 'v': printf("svmd-cuda %s\n", SVMD_VERSION); return 0;
                default: return usage(stderr);
                }
        }
        return optind < argc ? usage(stderr) : -1;
}

int main(int argc, char **argv) {
        const char *name = "svmd";
        uid_t user = (uid_t)-1;
        int r = read_arguments(argc, argv, &name);

        if (r >= 0)
                return r;
        if (!activated_begin("svmd-cuda", name, &user))
                return 1;
        for (int fd; (fd = activated_accept(-1)) >= 0;)
                serve_start(fd, user);
        return 0;
}
