#include <stdlib.h>

#include "client.h"

/*
 * What a reservation costs svmd: by how much its anonymous memory has grown when one session has a million of them, of
 * 4 KiB to 64 KiB, made in vectors of 1,000. The journal lies in a file of its own in memory; what it has grown by is
 * another row: the effects of the reservations, and the replies that a resend may ask for.
 */
enum { COUNT = 1000000, VECTOR = 1000 };

static void reserve_some(struct client *c) {
        static struct vector v;

        for (int i = 0; i < VECTOR; i++)
                vector_reserve(&v, (1 + random_below(16)) * SVMD_PAGE);
        client_call(c, &v);
}

int main(int argc, char **argv) {
        struct row bytes = { .name = "bytes_per_reservation", .unit = "bytes" };
        struct row journal = { .name = "journal_bytes_per_reservation", .unit = "bytes" };
        static struct client c, admin;
        double before, journal_before;
        pid_t pid;

        must(argc == 3, "usage: bench_reservations RUNTIME-DIR PID");
        pid = (pid_t)atoi(argv[2]);
        client_open_admin(&admin, argv[1]);
        client_open(&c, argv[1]);
        /* The buffers that vectors of this length need are there before the count begins. */
        reserve_some(&c);
        before = (double)anonymous_bytes(pid);
        journal_before = (double)client_status(&admin)->journal_used;
        for (int done = VECTOR; done < COUNT; done += VECTOR)
                reserve_some(&c);
        row_add(&bytes, ((double)anonymous_bytes(pid) - before) / (COUNT - VECTOR), 0);
        row_add(&journal, ((double)client_status(&admin)->journal_used - journal_before) / (COUNT - VECTOR), 0);
        must(client_status(&admin)->reservations == COUNT, "svmd does not have the reservations that it gave");
        row_print(&bytes);
        row_print(&journal);
        return 0;
}
