/* Draws maps into a folder for svg.py: of no partition, of one, of 2,000, and of one with names that attack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "fake.h"
#include "machine.h"

enum { PARTITIONS = 2000, EMPTY = 20, NODES = 10 };

static struct svmd_partition_row partitions[PARTITIONS];
static struct svmd_reservation_row reservations[2 * PARTITIONS];
static struct svmd_residency_row residency[PARTITIONS];
static struct svmd_node_row nodes[NODES];
static char names[PARTITIONS][16], node_names[NODES][16];

static void draw(const char *folder, const char *name, const char *more) {
        char line[512];

        snprintf(line, sizeof(line), "map --svg %s/%s%s", folder, name, more);
        if (run(line) != 0) {
                fprintf(stderr, "'%s': %s\n", line, run_err);
                exit(1);
        }
}

/* Each has a managed reservation on a node of its own turn and an explicit one, but every hundredth. */
static void many(void) {
        size_t at = 0;

        machine_setup(NULL);
        for (size_t i = 0; i < NODES; i++) {
                snprintf(node_names[i], sizeof(node_names[i]), "%s%zu", i < 2 ? "host" : "gpu", i < 2 ? i : i - 2);
                nodes[i] = (struct svmd_node_row){
                        .id = (svmd_node)i, .name = node_names[i], .model = "", .capacity = GIB
                };
        }
        for (size_t i = 0; i < PARTITIONS; i++) {
                uint64_t base = AT + i * 4 * GIB;

                snprintf(names[i], sizeof(names[i]), "p%04zu", i);
                partitions[i] = (struct svmd_partition_row){
                        .name = names[i], .domain = "default", .base = base, .length = 4 * GIB, .reservations = 2
                };
                residency[i] = (struct svmd_residency_row){ .address = base,
                                                            .length = (i % 7 + 1) * MIB,
                                                            .state = "resident",
                                                            .cause = "fault",
                                                            .node = (svmd_node)(i % NODES) };
                if (i % (PARTITIONS / EMPTY) == 50)
                        continue;
                reservations[at++] = (struct svmd_reservation_row){
                        .address = base, .length = 8 * MIB, .name = "m", .partition = names[i], .kind = SVMD_SHARED
                };
                reservations[at++] = (struct svmd_reservation_row){ .address = base + GIB,
                                                                    .length = (i % 3 + 1) * MIB,
                                                                    .mapped = MIB,
                                                                    .name = "",
                                                                    .partition = names[i] };
        }
        fake.nodes = nodes;
        fake.nodes_count = NODES;
        fake.partitions = partitions;
        fake.partitions_count = PARTITIONS;
        fake.reservations = reservations;
        fake.reservations_count = at;
        fake.residency = residency;
        fake.residency_count = PARTITIONS;
}

static void hostile(void) {
        static const char name[] = "</text><script>&\"'\x1b[2J\xff\xc0\xaf\xed\xa0\x80\xef\xbf\xbe ok é";
        static const struct svmd_partition_row one[] = {
                { .name = "train", .domain = "<&>", .base = AT, .length = GIB, .reservations = 1 }
        };
        static struct svmd_reservation_row bad = { .address = AT, .length = MIB, .name = name, .partition = "train" };

        machine_setup(NULL);
        fake.partitions = one;
        fake.partitions_count = 1;
        fake.reservations = &bad;
        fake.reservations_count = 1;
}

int main(int argc, char **argv) {
        setenv("SVMD_RUNTIME_DIR", "/run/svmd", 1);
        machine_setup(NULL);
        draw(argv[1], "one.svg", " --partition train");
        fake.partitions_count = 0;
        draw(argv[1], "none.svg", "");
        many();
        draw(argv[1], "many.svg", "");
        hostile();
        draw(argv[1], "hostile.svg", "");
        free(run_out);
        free(run_err);
        return 0;
}
