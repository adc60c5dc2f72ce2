#include <poll.h>
#include <stdlib.h>

#include "client.h"

/*
 * What an admission costs svmd: the CPU time that it has had, over a lease that is asked for, granted and given back,
 * with eight clients of which each needs more than half of a node, so that one has it and seven wait; compared with one
 * client that has the node to itself. Eight are told by an event, too. The two are measured in turn with one daemon.
 */
enum { ROUNDS = 25, EACH = 2000, CLIENTS = 8 };
#define BYTES (160ull << 20) /* of 256 MiB */

struct asker {
        struct client client;
        struct vector vector;
        uint64_t lease; /* 0: not known yet */
        bool granted;   /* its event came before the reply, or is in it */
};

static struct asker askers[CLIENTS];
static Svmd__V1__LeaseNeed need = SVMD__V1__LEASE_NEED__INIT, *needs[] = { &need };

static void ask(struct asker *a) {
        a->lease = 0;
        a->granted = false;
        vector_admit(&a->vector, needs);
        client_send(&a->client, &a->vector);
}

static void give_back(struct asker *a) {
        vector_lease_release(&a->vector, a->lease);
        client_send(&a->client, &a->vector);
}

/* True: it has what it asked for. */
static bool is_granted(struct asker *a) {
        const Svmd__V1__Packet *p = client_receive(&a->client);

        if (p->packet_case == SVMD__V1__PACKET__PACKET_EVENT) {
                must(p->event->event_case == SVMD__V1__EVENT__EVENT_FENCE && p->event->fence->result->code == 0,
                     "a lease was not granted");
                a->granted = true;
        } else {
                a->lease = p->reply->results[0]->id;
                a->granted |= p->reply->results[0]->value;
        }
        return a->granted && a->lease;
}

static void await_reply(struct asker *a) {
        while (client_receive(&a->client)->packet_case != SVMD__V1__PACKET__PACKET_REPLY)
                ;
}

static void run_alone(struct asker *a) {
        for (int i = 0; i < EACH; i++) {
                ask(a);
                while (!is_granted(a))
                        ;
                give_back(a);
                await_reply(a);
        }
}

/* The one that is granted gives it back and stands in line again. */
static void run_together(void) {
        struct pollfd polled[CLIENTS];
        int left = EACH, waiting = CLIENTS;

        for (int i = 0; i < CLIENTS; i++) {
                polled[i] = (struct pollfd){ .fd = askers[i].client.socket, .events = POLLIN };
                ask(&askers[i]);
        }
        while (waiting > 0) {
                must(poll(polled, CLIENTS, 30000) > 0, "nobody was granted anything for 30 s");
                for (int i = 0; i < CLIENTS; i++) {
                        struct asker *a = &askers[i];

                        if (!(polled[i].revents & POLLIN) || !is_granted(a))
                                continue;
                        give_back(a);
                        await_reply(a);
                        if (--left >= CLIENTS)
                                ask(a);
                        else
                                waiting--;
                }
        }
}

int main(int argc, char **argv) {
        struct row row = { .name = "admission", .unit = "ns" };
        pid_t pid;

        must(argc == 3, "usage: bench_admission RUNTIME-DIR PID");
        pid = (pid_t)atoi(argv[2]);
        pin_to(0);
        for (int i = 0; i < CLIENTS; i++)
                client_open(&askers[i].client, argv[1]);
        need.node = client_find_node(&askers[0].client, SVMD__V1__NODE_KIND__SOFT);
        need.size = BYTES;
        for (int round = -1; round < ROUNDS; round++) {
                uint64_t before = cpu_ns(pid), between;

                run_alone(&askers[0]);
                between = cpu_ns(pid);
                run_together();
                if (round >= 0)
                        row_add(&row, (double)(cpu_ns(pid) - between) / EACH, (double)(between - before) / EACH);
        }
        row_print(&row);
        return 0;
}
