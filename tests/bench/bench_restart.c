#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"
#include "range.h"
#include "restart.h"

/*
 * How long clients stand still when svmd is killed: from the start of the next one to the first touch of a page that a
 * device holds. One svmd has a client with 1,000 managed ranges; the other ten, which have 1,000 together and 10,000
 * reservations with a memory each. The limit, for information, is the time that the journal takes to be read.
 */
enum {
        RUNS = 15,
        CLIENTS = 10,
        RANGES = 1000,
        RANGE_SIZE = 64 * 1024,
        OBJECTS = 100000, /* reservations, and memories */
        VECTOR = 500,     /* of each in a message */
};

static struct range ranges[RANGES];

static void agreed(int code, const char *what) {
        must(code == SVMD_OK, "%s: %s", what, code == SVMD_OK ? "" : svmd_error());
}

static void raise_nofile(void) {
        struct rlimit r;

        must(getrlimit(RLIMIT_NOFILE, &r) == 0, "the limit on descriptors is not known");
        r.rlim_cur = r.rlim_max;
        must(setrlimit(RLIMIT_NOFILE, &r) == 0, "the limit on descriptors cannot be raised");
}

static void add_objects(svmd_session *s, svmd_node host, unsigned count) {
        struct svmd_result results[2 * VECTOR];

        for (unsigned done = 0; done < count; done += VECTOR) {
                svmd_batch *b;

                agreed(svmd_batch_new(s, &b), "svmd_batch_new");
                for (unsigned i = 0; i < VECTOR; i++)
                        must(svmd_batch_reserve(b, SVMD_PAGE, 0, NULL) >= 0 &&
                                     svmd_batch_mem_create(b, SVMD_PAGE, host, 0) >= 0,
                             "a message has no room");
                agreed(svmd_batch_submit(b, SVMD_ALL_OR_NOTHING, results), "svmd_batch_submit");
                svmd_batch_free(b);
        }
}

/* All of the ranges are left to the device. */
static void add_ranges(svmd_session *s, unsigned first, unsigned count) {
        svmd_node device = node_of(s, SVMD_NODE_SOFT);

        for (unsigned i = first; i < first + count; i++) {
                range_open(&ranges[i], s, RANGE_SIZE, RANGE_SIZE, 0, 1);
                ranges[i].p[SVMD_PAGE] = (char)(i | 1);
                range_move(&ranges[i], device);
        }
}

static void measure(struct row *row, struct restart *d, svmd_node device) {
        for (int run = -1; run < RUNS; run++) {
                unsigned i = (unsigned)(run + 1) * 37 % RANGES;
                struct range *r = &ranges[i];
                volatile char *page = r->p + SVMD_PAGE;
                double limit, ns;
                uint64_t start;
                char is;

                range_move(r, device);
                restart_kill(d);
                limit = restart_journal_ns(d);
                start = restart_start(d);
                is = *page;
                ns = (double)(now_ns() - start);
                must(is == (char)(i | 1), "a page is not what it was");
                if (run >= 0)
                        row_add(row, ns / 1e6, limit / 1e6);
        }
        row_print(row);
}

static void run(struct row *row, const char *runtime_dir, pid_t pid, unsigned clients, unsigned objects) {
        svmd_session *sessions[CLIENTS];
        struct restart d;

        restart_begin(&d, runtime_dir, pid);
        for (unsigned i = 0; i < clients; i++) {
                sessions[i] = session_open(runtime_dir);
                add_objects(sessions[i], node_of(sessions[i], SVMD_NODE_HOST), objects / clients);
                add_ranges(sessions[i], i * (RANGES / clients), RANGES / clients);
        }
        measure(row, &d, node_of(sessions[0], SVMD_NODE_SOFT));
        for (unsigned i = 0; i < clients; i++)
                svmd_disconnect(sessions[i]);
        restart_end(&d);
}

int main(int argc, char **argv) {
        struct row small = { .name = "restart_1k", .unit = "ms" }, large = { .name = "restart_100k", .unit = "ms" };

        must(argc == 5, "usage: bench_restart RUNTIME-DIR PID RUNTIME-DIR PID");
        raise_nofile();
        pin_to(0);
        run(&small, argv[1], (pid_t)atoi(argv[2]), 1, 0);
        run(&large, argv[3], (pid_t)atoi(argv[4]), CLIENTS, OBJECTS);
        return 0;
}
