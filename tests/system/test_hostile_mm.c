/*
 * A client that holds its own mmap_lock for most of the time holds up its own granules alone: during one of its forks,
 * with orders about it under way, another session's faults are served one after the other.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "harness.h"
#include "hostile_mm.h"

/* In so many of its forks, so many faults elsewhere. */
enum { FORKS = 10, FAULTS = 20, SAMPLES = 200 };

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

/* Faults that began and ended in one fork, which found orders under way and did not end them. */
static unsigned faults_in_a_fork(struct faulter *f, const struct hostile_mm *h) {
        uint64_t fork = get(&h->state->forks), ordered = get(&h->state->ordered), ns;
        unsigned n = 0;

        if (!(fork & 1) || ordered == get(&h->state->done))
                return 0;
        while (n < FAULTS) {
                good(faulter_once(f, &ns));
                if (get(&h->state->forks) != fork)
                        return 0;
                n++;
        }
        return get(&h->state->ordered) == ordered ? n : 0;
}

static void goes_on(struct faulter *f, const struct hostile_mm *h) {
        uint64_t until = now_ms() + CEILING_MS, done = get(&h->state->done);
        unsigned forks = 0;

        while (forks < FORKS || get(&h->state->done) == done) {
                must(h->state->why[0] == 0);
                if (now_ms() >= until)
                        fail_here("a client that holds its mmap_lock delays others");
                forks += faults_in_a_fork(f, h) == FAULTS;
        }
        printf("%u forks with %u faults of another session in each; %" PRIu64 " forks, %" PRIu64 " round trips of the "
               "hostile one\n",
               forks, FAULTS, get(&h->state->forks) / 2, get(&h->state->done));
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=64M", "--log-level", "warning", NULL };
        uint64_t alone, alone_longest, beside, beside_longest;
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
        good(hostile_mm_new(&h, d.socket, "gpu0", 2001, hostile_mm_bytes()));
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
