#pragma once

#include <stdio.h>

#include "policy/sim/sim.h"

/* Runs side by side: the same recording under several policies. */
struct report {
        const struct sim_machine *machine;
        const char *const *names; /* of the runs */
        const struct sim_tally *runs;
        unsigned count;
        /* What svmd did, on the machine of the recording; NULL: there is nothing to compare with. */
        const struct sim_tally *recorded;
        const struct sim_machine *recorded_machine;
        bool utf8, color;
        unsigned width;
};
/* Tables and drawings for a terminal. */
void report_print(const struct report *r, FILE *out);
/* One JSON object. */
void report_json(const struct report *r, FILE *out);
/* Residency over time and bytes per link, a row a run. 0 or -errno. */
int report_svg(const struct report *r, const char *path);

/* size.c */
enum { SIM_TEXT = 24 };
const char *size_text(char *text, uint64_t bytes);
const char *time_text(char *text, uint64_t ns);
