#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "svmd.h"

/*
 *      heap-orders SOCKET PARTITION SEED
 *
 * Moves what lies in the managed ranges of a partition, a piece at a time, every few milliseconds, to where it is not,
 * until its input ends. Prints how many orders were carried out. The processes whose heaps these are come and go, so an
 * order may be refused at any time.
 */
enum { RANGES = 256, RUNS = 512, PIECE = 16 * 65536, PAUSE_US = 3000 };

struct run {
        uint64_t address, length;
};

static struct run ranges[RANGES], runs[RUNS];
static size_t ranges_count, runs_count;
static svmd_node nodes[16];
static size_t nodes_count;

static void die(const char *what) {
        fprintf(stderr, "heap-orders: %s: %s\n", what, svmd_error());
        exit(1);
}

static int take_node(const struct svmd_node_row *row, void *userdata) {
        if (nodes_count < sizeof(nodes) / sizeof(nodes[0]))
                nodes[nodes_count++] = row->id;
        return 0;
}

static int take_range(const struct svmd_reservation_row *row, void *userdata) {
        if (row->kind == SVMD_SHARED && ranges_count < RANGES)
                ranges[ranges_count++] = (struct run){ row->address, row->length };
        return 0;
}

static int take_run(const struct svmd_residency_row *row, void *userdata) {
        if (row->node != SVMD_NODE_NONE && runs_count < RUNS)
                runs[runs_count++] = (struct run){ row->address, row->length };
        return 0;
}

static bool input_ended(void) {
        char byte;
        ssize_t n = read(STDIN_FILENO, &byte, 1);

        return n == 0 || (n < 0 && errno != EAGAIN);
}

static bool order(svmd_session *s, const char *partition, const struct run *r) {
        uint64_t pieces = (r->length + PIECE - 1) / PIECE, at = (uint64_t)random() % pieces * PIECE;
        uint64_t size = r->length - at < PIECE ? r->length - at : PIECE;
        svmd_node to = nodes[(size_t)random() % nodes_count];

        if (random() % 2)
                return svmd_partition_evict(s, NULL, partition, r->address + at, size) == 0;
        return svmd_partition_migrate(s, NULL, partition, r->address + at, size, to) == 0;
}

/* What is there now; orders about it until it is old. */
static unsigned long some(svmd_session *s, const char *partition) {
        unsigned long done = 0;

        ranges_count = runs_count = 0;
        if (svmd_query_reservations(s, partition, take_range, NULL))
                return 0;
        for (size_t i = 0; i < ranges_count; i++)
                svmd_query_residency(s, partition, ranges[i].address, 0, 0, take_run, NULL);
        for (int i = 0; i < 8; i++) {
                if (runs_count)
                        done += order(s, partition, &runs[(size_t)random() % runs_count]);
                usleep(PAUSE_US);
        }
        return done;
}

int main(int argc, char **argv) {
        struct svmd_connect_options opts = { .size = sizeof(opts), .flags = SVMD_CONNECT_NO_ATTACH };
        unsigned long done = 0;
        svmd_session *s = NULL;

        if (argc != 4) {
                fprintf(stderr, "usage: heap-orders SOCKET PARTITION SEED\n");
                return 2;
        }
        fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
        srandom((unsigned)strtoul(argv[3], NULL, 10));
        opts.socket = argv[1];
        /* svmd is killed under this program, whose session has no partition and is not kept: it connects again. */
        while (!input_ended()) {
                if (!s && svmd_connect(&s, &opts)) {
                        usleep(PAUSE_US);
                        continue;
                }
                if (!nodes_count && svmd_query_nodes(s, take_node, NULL))
                        die("the nodes are not to be had");
                done += some(s, argv[2]);
                if (svmd_dispatch(s)) {
                        svmd_disconnect(s);
                        s = NULL;
                }
        }
        printf("%lu\n", done);
        return 0;
}
