#include <signal.h>
#include <unistd.h>

#include "client.h"
#include "peer.h"

/*
 * What it costs to ask before something is done that only the asking process can do: a grant, and the word that it was
 * done, which rides on the request for the next one. Each pays for its bytes, says that they are there and then that
 * they are gone, so what is charged stays the same; all of it is in the journal before the reply leaves.
 *
 * The limit is a packet of as many bytes to a process that does nothing but answer with as many as svmd's reply has. As
 * in bench_wire.c the client runs on one CPU and whoever answers on another.
 */
enum { CLIENT_CPU = 0, ROUNDS = 45, TRIPS = 3000, BYTES = 2 << 20 };

struct grants {
        struct client client;
        struct vector vector;
        Svmd__V1__GrantDone done;
        uint32_t node;
};

static void step(struct grants *g) {
        const Svmd__V1__Reply *reply;

        vector_grant(&g->vector, g->node, BYTES);
        reply = client_call(&g->client, &g->vector);
        must(reply->n_refused == 0, "svmd refused what rode on a request");
        svmd__v1__grant_done__init(&g->done);
        g->done.grant = reply->results[0]->id;
        g->done.generation = reply->results[0]->generation;
        g->done.gone = BYTES;
        g->client.done = &g->done;
}

static double step_ns(struct grants *g, int steps) {
        uint64_t start = now_ns();

        for (int i = 0; i < steps; i++)
                step(g);
        return (double)(now_ns() - start) / steps;
}

int main(int argc, char **argv) {
        struct row row = { .name = "grant_rtt", .unit = "ns" };
        static struct grants g;
        uint64_t used;

        must(argc == 3, "usage: bench_grant RUNTIME-DIR PID");
        signal(SIGCHLD, SIG_IGN);
        pin_to(CLIENT_CPU);
        client_open(&g.client, argv[1]);
        g.node = client_find_node(&g.client, SVMD__V1__NODE_KIND__CUDA);
        used = client_used_bytes(&g.client);
        step_ns(&g, TRIPS);
        for (int round = 0; round < ROUNDS; round++) {
                size_t sent = g.client.sent, received = g.client.received;
                int peer = peer_start(received);
                double ours;

                peer_ns(peer, sent, received, TRIPS);
                ours = step_ns(&g, TRIPS);
                row_add(&row, ours, peer_ns(peer, sent, received, TRIPS));
                close(peer);
        }
        must(client_used_bytes(&g.client) == used, "grants that are gone are charged still");
        row_print(&row);
        client_close(&g.client);
        return 0;
}
