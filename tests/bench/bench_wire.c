#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "churn.h"
#include "peer.h"

/*
 * What a request costs. The request of two operations frees a reservation and makes another: both change what svmd
 * knows, and both are written to its journal before the reply leaves. The limit is a packet of as many bytes to a
 * process that does nothing but answer with as many bytes as svmd's reply has.
 *
 * The client runs on one CPU, and whoever answers, svmd or that process, on another, as on a machine with CPUs to
 * spare. There a round trip is also the time that two CPUs take to wake up, which is equal on both sides; rtt_one_cpu
 * is the same with all of them on one CPU, where it is switches, system calls and work alone.
 */
enum {
        CLIENT_CPU = 0,
        SVMD_CPU = 1, /* where run.py starts svmd */
        ROUNDS = 45,
        TRIPS = 3000,   /* per round and side */
        MESSAGES = 300, /* of 64 operations, per round */
        VECTORS = 100,  /* of 256 binds, per round */
        BINDS = 256,
        BIND_SIZE = 64 * 1024,
};

/* ---- svmd ---- */

/* The reply that two operations get has the same length each time but for a step when ids grow by a digit of theirs:
 * the peer answers with what it is now. */
static void measure_messages(const char *runtime_dir, const char *name, struct row *batch) {
        struct row rtt = { .name = name, .unit = "ns" };
        static struct churn c;

        churn_start(&c, runtime_dir);
        churn_ns(&c, 64, MESSAGES);
        churn_ns(&c, 2, MESSAGES);
        for (int round = 0; round < ROUNDS; round++) {
                size_t sent = c.client.sent, received = c.client.received;
                int peer = peer_start(received);
                double two, many;

                peer_ns(peer, sent, received, TRIPS);
                two = churn_ns(&c, 2, TRIPS);
                row_add(&rtt, two, peer_ns(peer, sent, received, TRIPS));
                many = churn_ns(&c, 64, MESSAGES);
                row_add(batch, 64e9 / many, 2e9 / two);
                churn(&c, 2);
                close(peer);
        }
        row_print(&rtt);
        client_close(&c.client);
}

/* Each vector moves 256 binds that lie side by side: what is bound there gives way. */
static void measure_binds(const char *runtime_dir) {
        struct row row = { .name = "ops_per_second", .unit = "operations/s" };
        Svmd__V1__Map map = SVMD__V1__MAP__INIT;
        static struct client c;
        static struct vector v;
        uint32_t node;

        client_open(&c, runtime_dir);
        node = client_find_node(&c, SVMD__V1__NODE_KIND__SOFT);
        vector_space_create(&v, node);
        map.space = client_call(&c, &v)->results[0]->id;
        vector_mem_create(&v, node, 2 * BINDS * BIND_SIZE);
        map.memory = client_call(&c, &v)->results[0]->id;
        map.size = BIND_SIZE;
        map.access = 3;
        map.flags = SVMD__V1__MAP_FLAG__MAP_REPLACE;
        for (int round = -1; round < ROUNDS; round++) {
                uint64_t start = now_ns();

                for (int k = 0; k < VECTORS; k++) {
                        for (uint64_t i = 0; i < BINDS; i++) {
                                map.address = SVMD_PRIMARY_START + i * BIND_SIZE;
                                map.offset = (i + (uint64_t)k % BINDS) * BIND_SIZE;
                                vector_map(&v, &map);
                        }
                        client_call(&c, &v);
                }
                if (round >= 0)
                        row_add(&row, (double)VECTORS * BINDS * 1e9 / (double)(now_ns() - start), 0);
        }
        row_print(&row);
        client_close(&c);
}

int main(int argc, char **argv) {
        struct row batch = { .name = "batch", .unit = "operations/s" };
        struct row batch_one_cpu = { .name = "batch_one_cpu", .unit = "operations/s" };

        must(argc == 3, "usage: bench_wire RUNTIME-DIR PID");
        signal(SIGCHLD, SIG_IGN);
        pin_to(CLIENT_CPU);
        measure_messages(argv[1], "rtt", &batch);
        row_print(&batch);
        measure_binds(argv[1]);
        pin_to(SVMD_CPU);
        measure_messages(argv[1], "rtt_one_cpu", &batch_one_cpu);
        row_print(&batch_one_cpu);
        return 0;
}
