#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

/*
 * What a session has of the loop beside another user's many that send the largest packets without end.
 *
 * hostile_share: the most operations of theirs between two services of a witness that always has a request waiting.
 * Each of theirs is refused, and the witness reads in the replies to its own requests how many svmd has refused.
 * hostile_p99: what the slowest of a hundred round trips of the witness takes then, when it waits for each reply.
 */
enum { SESSIONS = 400, HOSTILE_UID = 2001, ROUNDS = 9, AHEAD = 24, SERVICES = 200, TRIPS = 300 };

/* ---- the hostile one ---- */

/* A number of which every value that is used takes as many bytes. */
#define FIRST_ID (1ull << 28)

static uint8_t packet[SVMD_PACKET_MAX];

static size_t make_packet(void) {
        Svmd__V1__Request request = SVMD__V1__REQUEST__INIT;
        static struct vector v;
        ssize_t n;

        for (unsigned i = 0; i < SVMD_OPS_MAX; i++)
                vector_free(&v, 1ull << 60);
        request.id = FIRST_ID;
        request.n_ops = v.count;
        request.ops = v.ops;
        n = encode_request(&request, packet, sizeof(packet));
        must(n > 0, "the packet of the hostile client does not fit");
        return (size_t)n;
}

/* The number is the first field. */
static void set_id(uint64_t id) {
        for (unsigned i = 0; i < 5; i++, id >>= 7)
                packet[1 + i] = (uint8_t)((id & 0x7f) | (i < 4 ? 0x80 : 0));
}

static void pump(struct client *c, unsigned count, size_t size) {
        static uint8_t reply[SVMD_PACKET_MAX];

        for (uint64_t id = FIRST_ID;; id++)
                for (unsigned i = 0; i < count; i++) {
                        while (recv(c[i].socket, reply, sizeof(reply), MSG_DONTWAIT) > 0)
                                ;
                        set_id(id);
                        send(c[i].socket, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL);
                }
}

static void hostile_main(const char *runtime_dir, int ready) {
        static struct client c[SESSIONS];
        size_t size = make_packet();

        must(setgroups(0, NULL) == 0 && setresgid(HOSTILE_UID, HOSTILE_UID, HOSTILE_UID) == 0 &&
                     setresuid(HOSTILE_UID, HOSTILE_UID, HOSTILE_UID) == 0,
             "another user cannot be taken on: run this as root");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        must(setpriority(PRIO_PROCESS, 0, 19) == 0, "no lower priority"); /* the witness shares its CPU */
        for (unsigned i = 0; i < SESSIONS; i++)
                client_open(&c[i], runtime_dir);
        must(write(ready, "", 1) == 1, "nobody listens");
        pump(c, SESSIONS, size);
}

static pid_t hostile_new(const char *runtime_dir) {
        int ready[2];
        pid_t pid;
        char byte;

        must(pipe(ready) == 0, "no pipe");
        pid = fork();
        must(pid >= 0, "fork failed");
        if (pid == 0)
                hostile_main(runtime_dir, ready[1]);
        close(ready[1]);
        must(read(ready[0], &byte, 1) == 1, "the hostile client does not get to it");
        close(ready[0]);
        return pid;
}

static void hostile_free(pid_t pid) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
}

/* ---- the witness ---- */

static void ask(struct client *c) {
        static struct vector v;

        vector_status(&v);
        client_send(c, &v);
}

static uint64_t answer(struct client *c) {
        const Svmd__V1__Packet *p;

        do
                p = client_receive(c);
        while (p->packet_case != SVMD__V1__PACKET__PACKET_REPLY);
        return p->reply->results[0]->status->refusals;
}

static double share(struct client *c) {
        uint64_t most = 0, last = 0, sum = 0;

        for (unsigned i = 0; i < AHEAD; i++)
                ask(c);
        for (unsigned i = 0; i < SERVICES; i++) {
                uint64_t now = answer(c);

                if (last && now - last > most)
                        most = now - last;
                sum += last ? now - last : 0;
                last = now;
                ask(c);
        }
        for (unsigned i = 0; i < AHEAD; i++)
                answer(c);
        must(sum > 0, "nothing of the hostile client was served meanwhile");
        return (double)most;
}

static int by_size(const void *a, const void *b) {
        const uint64_t *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

static double p99(struct client *c) {
        static uint64_t ns[TRIPS];

        for (unsigned i = 0; i < TRIPS; i++) {
                uint64_t start = now_ns();

                ask(c);
                answer(c);
                ns[i] = now_ns() - start;
        }
        qsort(ns, TRIPS, sizeof(*ns), by_size);
        return (double)ns[TRIPS * 99 / 100];
}

int main(int argc, char **argv) {
        struct row most = { .name = "hostile_share", .unit = "operations" },
                   slow = { .name = "hostile_p99", .unit = "ns" };
        struct client witness;

        must(argc == 3, "usage: bench_share RUNTIME-DIR PID");
        pin_to(0);
        client_open(&witness, argv[1]);
        for (int round = 0; round < ROUNDS; round++) {
                double alone = p99(&witness);
                pid_t pid = hostile_new(argv[1]);

                row_add(&most, share(&witness), 0);
                row_add(&slow, p99(&witness), alone);
                hostile_free(pid);
        }
        client_close(&witness);
        row_print(&most);
        row_print(&slow);
        return 0;
}
