/*
 * Managed memory: reserve an address and use it.
 *
 *      svmd-touch MIB [NAME]
 *
 * reserves MIB MiB that svmd manages, and fills them. For each line of input it reads all of it again and says whether
 * it is as it was written, wherever svmd may have moved it meanwhile. It ends with the input. Under a NAME others of
 * the partition can open it. SVMD_SOCKET and SVMD_PARTITION say where.
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

static void fill(uint64_t *words, size_t count) {
        for (size_t i = 0; i < count; i++)
                words[i] = i + 1;
}

static size_t count_wrong(const uint64_t *words, size_t count) {
        size_t wrong = 0;

        for (size_t i = 0; i < count; i++)
                wrong += words[i] != i + 1;
        return wrong;
}

int main(int argc, char **argv) {
        struct svmd_reserve_options opts = {
                .size = sizeof(opts), .name = argc > 2 ? argv[2] : NULL, .kind = SVMD_SHARED, .granule = 2 << 20
        };
        size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 0, size = mib << 20, wrong;
        svmd_session *s;
        void *address;
        char line[64];

        if (size == 0) {
                fprintf(stderr, "Usage: svmd-touch MIB [NAME]\n");
                return 2;
        }
        must(svmd_connect(&s, NULL), "connect");
        must(svmd_address_reserve(s, &address, size, 0, NULL, &opts), "reserve");
        fill(address, size / sizeof(uint64_t));
        printf("filled %zu MiB at %p\n", mib, address);
        fflush(stdout);
        while (fgets(line, sizeof(line), stdin)) {
                wrong = count_wrong(address, size / sizeof(uint64_t));
                if (wrong)
                        printf("%zu words are not as they were written\n", wrong);
                else
                        printf("%zu MiB are as they were written\n", mib);
                fflush(stdout);
        }
        svmd_disconnect(s);
        return 0;
}
