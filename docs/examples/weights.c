/*
 * Weights that outlive their process: load them once, find them the next time.
 *
 *      svmd-weights MIB NAME [SECONDS]
 *
 * opens the managed range NAME and checks what is in it. Where there is none, it reserves MIB MiB under that name,
 * fills them, which stands for reading a large file, and has them kept for SECONDS after the last session (without, or
 * 0: until `svmd-ctl kept remove NAME`). SVMD_SOCKET and SVMD_PARTITION say where.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <svmd.h>

static void must(int code, const char *step) {
        if (code == SVMD_OK)
                return;
        fflush(stdout);
        fprintf(stderr, "%s: %s: %s\n", step, svmd_status_name(code), svmd_error());
        exit(1);
}

static void load(svmd_session *s, const char *name, size_t size, uint64_t seconds) {
        struct svmd_reserve_options opts = {
                .size = sizeof(opts), .name = name, .kind = SVMD_SHARED, .granule = 2 << 20
        };
        struct svmd_keep_options keep = { .size = sizeof(keep), .seconds = seconds };
        uint64_t *words;
        void *address;

        must(svmd_address_reserve(s, &address, size, 0, NULL, &opts), "reserve");
        words = address;
        for (size_t i = 0; i < size / sizeof(*words); i++)
                words[i] = i + 1;
        must(svmd_keep(s, address, &keep), "keep");
        printf("loaded %zu MiB at %p\n", size >> 20, address);
}

static void check(const uint64_t *words, size_t size) {
        for (size_t i = 0; i < size / sizeof(*words); i++) {
                if (words[i] == i + 1)
                        continue;
                fprintf(stderr, "word %zu is not as it was written\n", i);
                exit(1);
        }
        printf("found %zu MiB at %p, as they were written\n", size >> 20, (const void *)words);
}

int main(int argc, char **argv) {
        size_t size = argc > 2 ? strtoul(argv[1], NULL, 10) << 20 : 0;
        uint64_t seconds = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
        svmd_session *s;
        void *address;
        int r;

        if (size == 0) {
                fprintf(stderr, "Usage: svmd-weights MIB NAME [SECONDS]\n");
                return 2;
        }
        must(svmd_connect(&s, NULL), "connect");
        r = svmd_address_open(s, &address, &size, argv[2], SVMD_ACCESS_READ);
        if (r == SVMD_E_NO_SUCH) {
                load(s, argv[2], size, seconds);
        } else {
                must(r, "open");
                check(address, size);
        }
        svmd_disconnect(s);
        return 0;
}
