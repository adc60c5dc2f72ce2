#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "svmd.h"

/*
 * What a request costs more for what svmd writes down of it, for information.
 *
 *      account_note    release 4 KiB of the soft node, and make as much: with the accounts, and in a svmd whose
 * requests note nothing for them trace_cost      a hint about a granule: while requests are recorded, and while they
 * are not
 *
 * Each is measured in turn with its counterpart; the client has the daemons' CPU, see bench_wire.c.
 */
enum { ROUNDS = 31, TRIPS = 1500, GRANULES = 1000 };

static struct vector v;

/* ---- accounts ---- */

struct side {
        struct client client;
        uint64_t memory;
        uint32_t node;
};

static void side_start(struct side *s, const char *runtime_dir) {
        client_open(&s->client, runtime_dir);
        s->node = client_find_node(&s->client, SVMD__V1__NODE_KIND__SOFT);
        vector_mem_create(&v, s->node, SVMD_PAGE);
        s->memory = client_call(&s->client, &v)->results[0]->id;
}

static double create_ns(struct side *s) {
        uint64_t start = now_ns();

        for (int i = 0; i < TRIPS; i++) {
                vector_mem_release(&v, s->memory);
                vector_mem_create(&v, s->node, SVMD_PAGE);
                s->memory = client_call(&s->client, &v)->results[1]->id;
        }
        return (double)(now_ns() - start) / TRIPS;
}

static void measure_accounts(const char *with, const char *without) {
        struct row row = { .name = "account_note", .unit = "ns" };
        static struct side noted, plain;

        side_start(&noted, with);
        side_start(&plain, without);
        for (int round = -1; round < ROUNDS; round++) {
                double a = create_ns(&noted), b = create_ns(&plain);

                if (round >= 0)
                        row_add(&row, a, b);
        }
        row_print(&row);
        client_close(&noted.client);
        client_close(&plain.client);
}

/* ---- recordings ---- */

static svmd_session *connect_admin(const char *runtime_dir) {
        struct svmd_connect_options options = { .size = sizeof(options) };
        svmd_session *s = NULL;
        char path[4096];

        snprintf(path, sizeof(path), "%s/admin.sock", runtime_dir);
        options.socket = path;
        must(svmd_connect(&s, &options) == SVMD_OK, "svmd_connect: %s", svmd_error());
        return s;
}

static void record(svmd_session *admin) {
        int fd = memfd_create("trace", MFD_CLOEXEC);

        must(svmd_trace_start(admin, NULL, SVMD_TRACE_REQUESTS, fd) == SVMD_OK, "svmd_trace_start: %s", svmd_error());
        close(fd);
}

static void record_no_more(svmd_session *admin) {
        const struct timespec pause = { .tv_nsec = 1000000 };
        struct svmd_trace t = { .size = sizeof(t) };

        must(svmd_trace_stop(admin) == SVMD_OK, "svmd_trace_stop: %s", svmd_error());
        while (svmd_query_trace(admin, &t) == SVMD_OK && !t.ended)
                nanosleep(&pause, NULL);
        must(t.records > TRIPS, "nothing was recorded");
}

static double advise_ns(struct client *c, uint64_t address) {
        uint64_t start = now_ns();

        for (int i = 0; i < TRIPS; i++) {
                vector_prefer(&v, address + (uint64_t)(i % GRANULES) * SVMD_PAGE, SVMD_PAGE, (uint32_t)(i % 2));
                client_call(c, &v);
        }
        return (double)(now_ns() - start) / TRIPS;
}

static void measure_trace(const char *runtime_dir) {
        struct row row = { .name = "trace_cost", .unit = "ns" };
        svmd_session *admin = connect_admin(runtime_dir);
        static struct client c;
        uint64_t address;

        client_open(&c, runtime_dir);
        vector_range(&v, GRANULES * SVMD_PAGE, SVMD_PAGE);
        address = client_call(&c, &v)->results[0]->address;
        for (int round = -1; round < ROUNDS; round++) {
                double plain = advise_ns(&c, address), recorded;

                record(admin);
                recorded = advise_ns(&c, address);
                record_no_more(admin);
                if (round >= 0)
                        row_add(&row, recorded, plain);
        }
        row_print(&row);
        client_close(&c);
        svmd_disconnect(admin);
}

int main(int argc, char **argv) {
        must(argc == 5, "usage: bench_notes RUNTIME-DIR PID RUNTIME-DIR PID");
        pin_to(1);
        measure_accounts(argv[1], argv[3]);
        measure_trace(argv[1]);
        return 0;
}
