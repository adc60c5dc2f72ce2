/*
 * A configuration file and a command line: both are taken, or refused with a sentence. The input is the file; what
 * follows a byte 0 are arguments, ended by a byte 0 each.
 */
#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "main/config.h"

enum { ARGUMENTS = 16 };

static int make_file(const uint8_t *bytes, size_t size) {
        int fd = memfd_create("svmd.conf", MFD_CLOEXEC);

        must(fd >= 0);
        must(write(fd, bytes, size) == (ssize_t)size);
        return fd;
}

/* No other file is named: that would be input from elsewhere. */
static char *copy_arguments(const uint8_t *bytes, size_t size) {
        char *copy = malloc(size + 1);

        must(copy);
        for (size_t i = 0; i < size; i++)
                copy[i] = bytes[i] == '/' ? '_' : (char)bytes[i];
        copy[size] = 0;
        return copy;
}

static void load(int argc, char **argv) {
        struct config config = { 0 };
        char *said = NULL;
        size_t size = 0;
        FILE *err = open_memstream(&said, &size), *out = fopen("/dev/null", "we");
        int r;

        must(err && out);
        r = config_load(&config, argc, argv, out, err);
        fclose(err);
        fclose(out);
        must(r <= CONFIG_E_BAD);
        must(r != CONFIG_E_BAD || (size > 1 && said[size - 1] == '\n'));
        if (r == 0) {
                must(config.runtime_dir && config.state_dir && config.default_partition_size % (4ull << 30) == 0);
                config_fini(&config);
        }
        free(said);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        size_t text = strnlen((const char *)bytes, size), rest = text < size ? text + 1 : size;
        int fd = make_file(bytes, text), argc = 3;
        char path[64], *copy = copy_arguments(bytes + rest, size - rest);
        char *argv[3 + ARGUMENTS + 1] = { (char *)"svmd", (char *)"--config", path };

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        for (size_t at = 0; at < size - rest && argc < 3 + ARGUMENTS; at += strlen(copy + at) + 1)
                argv[argc++] = copy + at;
        load(argc, argv);
        free(copy);
        close(fd);
        return 0;
}
