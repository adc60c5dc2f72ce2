/*
 * A client that holds its own mmap_lock for most of the time holds up its own granules alone: during one of its forks,
 * with orders about it under way, another session's faults are served one after the other.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "harness.h"
#include "hostile_mm.h"

/* Of so many of its forks, with at least so many orders about it waiting, three quarters see so many faults elsewhere
 * served. */
enum { FORKS = 20, FAULTS = 20, ORDERS = 16, SAMPLES = 200 };

static struct daemon d;

static void good(const char *why) {
        if (!why)
                return;
        fprintf(stderr, "%s\n", why);
        fail_here("it does not work");
}

static uint64_t get(const uint64_t *p) {
        return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static bool has_orders(const struct hostile_mm *h) {
        uint64_t moved = get(&h->state->moved);

        return get(&h->state->ordered) >= moved + ORDERS;
}

struct seen {
        unsigned forks;  /* that had orders waiting when the first fault was made */
        unsigned served; /* of these: all faults were served while it went on */
};

static bool faults_in_a_fork(struct faulter *f, const struct hostile_mm *h, uint64_t fork) {
        uint64_t ns;

        for (unsigned n = 0; n < FAULTS; n++) {
                good(faulter_once(f, &ns));
                if (get(&h->state->forks) != fork)
                        return false;
        }
        return true;
}

static void wait_for_fork(const struct hostile_mm *h, uint64_t *last) {
        uint64_t until = now_ms() + CEILING_MS, fork;

        do {
                must(h->state->why[0] == 0 && now_ms() < until);
                fork = get(&h->state->forks);
        } while (!(fork & 1) || fork == *last || !has_orders(h));
        *last = fork;
}

static void goes_on(struct faulter *f, const struct hostile_mm *h) {
        struct seen seen = { 0 };
        uint64_t fork = 0;

        while (seen.forks < FORKS) {
                wait_for_fork(h, &fork);
                seen.forks++;
                seen.served += faults_in_a_fork(f, h, fork);
        }
        printf("%u faults of another session in each of %u forks of %u; %" PRIu64 " moves of the hostile one\n", FAULTS,
               seen.served, seen.forks, get(&h->state->moved));
        if (seen.served * 4 < seen.forks * 3)
                fail_here("a client that holds its mmap_lock delays others");
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=64M", "--log-level", "warning", NULL };
        uint64_t alone, alone_longest, beside, beside_longest;
        uint64_t bytes = getenv("SVMD_LONG") ? hostile_mm_bytes() : hostile_mm_bytes() / 4;
        struct hostile_mm h;
        struct faulter f;
        svmd_session *s;

        harness_begin("system_hostile_mm");
        if (harness_one_user())
                return 0;
        daemon_new(&d, options);
        connect_to(&s, d.socket, NULL);
        good(faulter_new(&f, s, node_named(s, "gpu0")));
        good(faulter_measure(&f, SAMPLES, &alone, &alone_longest));
        good(hostile_mm_new(&h, d.socket, "gpu0", 2001, bytes));
        goes_on(&f, &h);
        good(faulter_measure(&f, SAMPLES, &beside, &beside_longest));
        printf("a fault: %" PRIu64 " us alone (longest %" PRIu64 "), %" PRIu64 " us beside it (longest %" PRIu64 ")\n",
               alone / 1000, alone_longest / 1000, beside / 1000, beside_longest / 1000);
        hostile_mm_free(&h);
        good(faulter_free(&f));
        svmd_disconnect(s);
        daemon_end(&d);
        return 0;
}
