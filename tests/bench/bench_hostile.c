#include <stdio.h>

#include "bench.h"
#include "hostile_mm.h"
#include "range.h"

/*
 * What a fault costs while another client, of another session, holds its own mmap_lock for most of the time and has
 * granules ordered about; the limit is the same fault without it. Rounds without and with take turns.
 */
enum { ROUNDS = 9, SAMPLES = 500 };

static void good(const char *why) {
        must(!why, "%s", why ? why : "");
}

static double measure(struct faulter *f) {
        uint64_t median, longest;

        good(faulter_measure(f, SAMPLES, &median, &longest));
        return (double)median;
}

int main(int argc, char **argv) {
        struct row row = { .name = "hostile_mm", .unit = "ns" };
        struct faulter f;
        svmd_session *s;
        char socket[4096];

        must(argc == 3, "usage: bench_hostile RUNTIME-DIR PID");
        pin_to(0);
        snprintf(socket, sizeof(socket), "%s/svmd.sock", argv[1]);
        s = session_open(argv[1]);
        good(faulter_new(&f, s, node_of(s, SVMD_NODE_SOFT)));
        measure(&f);
        for (int round = 0; round < ROUNDS; round++) {
                double alone = measure(&f), beside;
                struct hostile_mm h;

                good(hostile_mm_new(&h, socket, "soft0", 0, hostile_mm_bytes()));
                beside = measure(&f);
                hostile_mm_free(&h);
                row_add(&row, beside, alone);
        }
        good(faulter_free(&f));
        svmd_disconnect(s);
        row_print(&row);
        return 0;
}
