#pragma once

struct ctl;
struct verb;

/* Both write to the output and return EXIT_OK. */
int help_verb(struct ctl *c, const struct verb *v);
/* The verbs, or those of one family ("partition"; NULL: all), and what goes with every one. */
int help_all(struct ctl *c, const char *family);
