#include "kill_when.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

enum { PATIENCE_MS = 150 };

static unsigned rarest(const struct kill_when *k) {
        unsigned least = 0;

        for (unsigned i = 1; i < RANGE_STATES_N; i++)
                if (k->found[i] < k->found[least])
                        least = i;
        return least;
}

static void await_state(const struct daemon *d, unsigned state) {
        uint64_t until = now_ms() + PATIENCE_MS;
        struct range_states s;

        range_states_open(&s, d->keeper);
        while (!range_states_have(&s, state) && now_ms() < until)
                ;
        range_states_close(&s);
}

static void look(struct kill_when *k, const struct daemon *d) {
        uint64_t found[RANGE_STATES_N];
        struct range_states s;

        range_states_open(&s, d->keeper);
        range_states_count(&s, found);
        range_states_close(&s);
        for (unsigned i = 0; i < RANGE_STATES_N; i++)
                k->found[i] += found[i] != 0;
}

void kill_when(struct kill_when *k, struct daemon *d) {
        if (random_below(2))
                await_state(d, rarest(k));
        else
                usleep((useconds_t)random_below(20000));
        if (random_below(8))
                daemon_kill(d);
        else
                daemon_crash(d);
        look(k, d);
        k->kills++;
}

void kill_when_print(const struct kill_when *k) {
        printf("%" PRIu64 " kills left granules that were\n", k->kills);
        for (unsigned i = 0; i < RANGE_STATES_N; i++)
                printf("  %-12s %6" PRIu64 "\n", range_state_name(i), k->found[i]);
}

uint64_t kill_when_least(const struct kill_when *k) {
        return k->found[rarest(k)];
}
