#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/managed.h"
#include "policy/sim/sim.h"

/*
 * What is counted. Residency over time is kept as samples at equal distances; when there is no room for another one,
 * every other one goes and the distance doubles, so that any length of time fits.
 */
void *sim_alloc(size_t count, size_t size) {
        void *p = calloc(count ? count : 1, size);

        if (!p) {
                fputs("svmd-sim: out of memory\n", stderr);
                exit(1);
        }
        return p;
}

void *sim_grow(void *p, size_t *room, size_t size) {
        size_t more = *room ? 2 * *room : 16;
        char *grown = realloc(p, more * size);

        if (!grown) {
                fputs("svmd-sim: out of memory\n", stderr);
                exit(1);
        }
        memset(grown + *room * size, 0, (more - *room) * size);
        *room = more;
        return grown;
}

static void thin_out(struct sim_tally *t) {
        for (unsigned i = 0; i < SIM_SAMPLES / 2; i++)
                t->samples[i] = t->samples[2 * i];
        t->samples_count = SIM_SAMPLES / 2;
        t->sample_ns *= 2;
}

void tally_time(struct sim_tally *t, uint64_t now_ns) {
        t->sample_ns = t->sample_ns ? t->sample_ns : 1000;
        while (t->samples_count * t->sample_ns <= now_ns) {
                struct sim_sample *s;

                if (t->samples_count == SIM_SAMPLES) {
                        thin_out(t);
                        continue;
                }
                s = &t->samples[t->samples_count];
                s->at_ns = t->samples_count++ * t->sample_ns;
                memcpy(s->used, t->used, sizeof(s->used));
        }
        t->time_ns = now_ns > t->time_ns ? now_ns : t->time_ns;
}

void tally_move(struct sim_tally *t, uint32_t from, uint32_t to, uint64_t bytes, unsigned cause, uint32_t granules) {
        t->moved[from][to] += bytes;
        if (from != SIM_NOWHERE) {
                t->used[from] -= bytes < t->used[from] ? bytes : t->used[from];
                t->by_cause[cause % SIM_CAUSES] += to == SIM_NOWHERE ? 0 : bytes;
        }
        if (to != SIM_NOWHERE) {
                t->used[to] += bytes;
                t->peak[to] = t->used[to] > t->peak[to] ? t->used[to] : t->peak[to];
        }
        t->evictions += cause == MANAGED_BY_EVICTION && from != SIM_NOWHERE && to != SIM_NOWHERE ? granules : 0;
}

uint64_t tally_link_bytes(const struct sim_tally *t) {
        uint64_t sum = 0;

        for (unsigned i = 0; i < SIM_NODES; i++)
                for (unsigned k = 0; k < SIM_NODES; k++)
                        sum += t->moved[i][k];
        return sum;
}
