#pragma once

struct ctl;

/*
 * What a shell offers next: `words` is the command line behind "svmd-ctl", of which the last word is not finished (it
 * may be empty). Writes the candidates that begin as it does, one a line. Says nothing of errors: a shell has no place
 * for them.
 */
int complete_run(struct ctl *c, unsigned count, char **words);
