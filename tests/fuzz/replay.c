/* Runs a target over files instead of letting libFuzzer make inputs: each file given, and all files of each folder. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

static void die(const char *what, const char *path) {
        fprintf(stderr, "%s %s\n", what, path);
        exit(1);
}

static void replay_file(const char *path, size_t size) {
        FILE *f = fopen(path, "rb");
        uint8_t *bytes = malloc(size + 1);

        if (!f || !bytes || fread(bytes, 1, size, f) != size)
                die("cannot read", path);
        fclose(f);
        fprintf(stderr, "%s: %zu bytes\n", path, size);
        LLVMFuzzerTestOneInput(bytes, size);
        free(bytes);
}

static unsigned replay(const char *path);

static unsigned replay_folder(const char *path) {
        struct dirent **names;
        unsigned count = 0;
        int n = scandir(path, &names, NULL, alphasort);

        if (n < 0)
                die("cannot list", path);
        for (int i = 0; i < n; i++) {
                char *inside;

                if (names[i]->d_name[0] != '.') {
                        if (asprintf(&inside, "%s/%s", path, names[i]->d_name) < 0)
                                die("no memory for", path);
                        count += replay(inside);
                        free(inside);
                }
                free(names[i]);
        }
        free(names);
        return count;
}

static unsigned replay(const char *path) {
        struct stat st;

        if (stat(path, &st) < 0)
                die("cannot find", path);
        if (S_ISDIR(st.st_mode))
                return replay_folder(path);
        replay_file(path, (size_t)st.st_size);
        return 1;
}

int main(int argc, char **argv) {
        unsigned count = 0;

        if (LLVMFuzzerInitialize)
                LLVMFuzzerInitialize(&argc, &argv);
        for (int i = 1; i < argc; i++)
                count += replay(argv[i]);
        if (count == 0)
                die("give inputs, or folders of them, to", argv[0]);
        printf("%u inputs\n", count);
        return 0;
}
