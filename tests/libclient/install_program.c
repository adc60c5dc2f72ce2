/* Compiled as C11 and as C++17, outside of the tree, against what was installed. */
#include <stdio.h>
#include <string.h>

#include <svmd.h>

int main(int argc, char **argv) {
        struct svmd_connect_options opts;
        svmd_session *s = NULL;

        if (argc != 2 || strcmp(svmd_version(), argv[1]) != 0) {
                fprintf(stderr, "the version is %s\n", svmd_version());
                return 1;
        }
        memset(&opts, 0, sizeof(opts));
        opts.size = sizeof(opts);
        opts.socket = "/nonexistent/svmd.sock";
        if (svmd_connect(&s, &opts) != SVMD_E_SYSTEM || s || !strstr(svmd_error(), "/nonexistent/svmd.sock")) {
                fprintf(stderr, "connecting to nowhere said: %s\n", svmd_error());
                return 1;
        }
        return 0;
}
