#include <stdlib.h>
#include <sys/resource.h>

#include "client.h"

/*
 * What idle sessions cost. Two daemons run, on one CPU: one has 10 sessions that do nothing, the other 10,000. A round
 * trip (free a reservation and make another) is timed with each in turn. The client has the same CPU, see bench_wire.c.
 *
 * Bytes per session are by how much the anonymous memory of svmd grew from 10 to 10,000 of them.
 */
enum { ROUNDS = 45, TRIPS = 1500, FEW = 10, MANY = 10000 };

struct side {
        struct client client;
        struct vector vector;
        uint64_t reservation;
};

static void raise_nofile(void) {
        struct rlimit r;

        must(getrlimit(RLIMIT_NOFILE, &r) == 0, "the limit on descriptors is not known");
        must(r.rlim_max >= MANY + 100, "10,000 sessions need %d descriptors: raise the hard limit (ulimit -Hn)",
             MANY + 100);
        r.rlim_cur = r.rlim_max;
        must(setrlimit(RLIMIT_NOFILE, &r) == 0, "the limit on descriptors cannot be raised");
}

/* Their memory is not needed again: they stay until the program ends. */
static void add_idle(const char *runtime_dir, int count) {
        for (int i = 0; i < count; i++) {
                struct client c;

                client_open(&c, runtime_dir);
                arena_fini(&c.arena);
                free(c.buffer);
        }
}

static void side_start(struct side *s, const char *runtime_dir) {
        client_open(&s->client, runtime_dir);
        vector_reserve(&s->vector, 65536);
        s->reservation = client_call(&s->client, &s->vector)->results[0]->id;
}

static double trip_ns(struct side *s) {
        uint64_t start = now_ns();

        for (int i = 0; i < TRIPS; i++) {
                vector_free(&s->vector, s->reservation);
                vector_reserve(&s->vector, 65536);
                s->reservation = client_call(&s->client, &s->vector)->results[1]->id;
        }
        return (double)(now_ns() - start) / TRIPS;
}

int main(int argc, char **argv) {
        struct row trip = { .name = "sessions_10k", .unit = "ns" };
        struct row bytes = { .name = "bytes_per_session", .unit = "bytes" };
        static struct side few, many;
        uint64_t before;
        pid_t pid;

        must(argc == 5, "usage: bench_sessions RUNTIME-DIR PID RUNTIME-DIR PID");
        raise_nofile();
        pin_to(1);
        pid = (pid_t)atoi(argv[4]);
        side_start(&few, argv[1]);
        side_start(&many, argv[3]);
        add_idle(argv[1], FEW);
        add_idle(argv[3], FEW);
        before = anonymous_bytes(pid);
        add_idle(argv[3], MANY - FEW);
        row_add(&bytes, ((double)anonymous_bytes(pid) - (double)before) / (MANY - FEW), 0);
        for (int round = -1; round < ROUNDS; round++) {
                double with_few = trip_ns(&few), with_many = trip_ns(&many);

                if (round >= 0)
                        row_add(&trip, with_many, with_few);
        }
        row_print(&trip);
        row_print(&bytes);
        return 0;
}
