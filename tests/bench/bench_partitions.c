#include <stdio.h>

#include "client.h"

/*
 * What partitions cost those who are in others. Two daemons run, on one CPU: one has the client's partition alone, the
 * other 2,000 more, each with all four bounds on the soft node, so that every charge there has to leave their mins
 * alone. A round trip (release 4 KiB of the soft node, and make as much) is timed with each in turn. The client has the
 * same CPU, see bench_wire.c.
 */
enum { ROUNDS = 45, TRIPS = 1500, MANY = 2000 };

struct side {
        struct client client;
        struct vector vector;
        uint64_t memory;
        uint32_t node;
};

static void add_partitions(const char *runtime_dir, uint32_t node) {
        static const uint64_t bytes[] = { 64ull << 20, 32ull << 20, 64ull << 10, 4ull << 10 }; /* as the wire's Bound */
        Svmd__V1__NodeLimit limit[4], *limits[4];
        static struct client admin;
        static struct vector v;
        char name[32];

        for (unsigned i = 0; i < 4; i++) {
                svmd__v1__node_limit__init(&limit[i]);
                limit[i].node = node;
                limit[i].max = bytes[i];
                limit[i].bound = (Svmd__V1__Bound)i;
                limits[i] = &limit[i];
        }
        client_open_admin(&admin, runtime_dir);
        for (int i = 0; i < MANY; i++) {
                snprintf(name, sizeof(name), "other-%d", i);
                vector_partition(&v, name, 4ull << 30, limits, 4);
                client_call(&admin, &v);
        }
        client_close(&admin);
}

static void side_start(struct side *s, const char *runtime_dir) {
        client_open(&s->client, runtime_dir);
        s->node = client_find_node(&s->client, SVMD__V1__NODE_KIND__SOFT);
        vector_mem_create(&s->vector, s->node, 4096);
        s->memory = client_call(&s->client, &s->vector)->results[0]->id;
}

static double trip_ns(struct side *s) {
        uint64_t start = now_ns();

        for (int i = 0; i < TRIPS; i++) {
                vector_mem_release(&s->vector, s->memory);
                vector_mem_create(&s->vector, s->node, 4096);
                s->memory = client_call(&s->client, &s->vector)->results[1]->id;
        }
        return (double)(now_ns() - start) / TRIPS;
}

int main(int argc, char **argv) {
        struct row trip = { .name = "partitions_2000", .unit = "ns" };
        static struct side few, many;

        must(argc == 5, "usage: bench_partitions RUNTIME-DIR PID RUNTIME-DIR PID");
        pin_to(1);
        side_start(&few, argv[1]);
        side_start(&many, argv[3]);
        add_partitions(argv[3], many.node);
        for (int round = -1; round < ROUNDS; round++) {
                double alone = trip_ns(&few), among = trip_ns(&many);

                if (round >= 0)
                        row_add(&trip, among, alone);
        }
        row_print(&trip);
        return 0;
}
