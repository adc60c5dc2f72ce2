/* Prints the options for the man pages, so that they stand in one place. */
#include <string.h>

#include "main/config.h"

int main(int argc, char **argv) {
        if (argc != 2 || (strcmp(argv[1], "line") != 0 && strcmp(argv[1], "file") != 0)) {
                fputs("svmd-options line|file: prints the options of the command line or of the file in mdoc\n",
                      stderr);
                return 2;
        }
        config_print_mdoc(stdout, strcmp(argv[1], "file") == 0);
        return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
