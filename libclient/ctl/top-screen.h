#pragma once

struct ctl;
struct top_model;

/* The terminal's part: draws the model and takes keys till 'q', an interrupt or the end of the terminal. Returns an
 * exit status; the terminal is as it was then. */
int top_screen_run(struct ctl *c, struct top_model *m);
