#pragma once

#include <stddef.h>
#include <stdio.h>

/*
 * Names that are not to be told, and what stands for them: the same everywhere, so that what belongs together is still
 * seen. A name is found where it stands as a word or words of its own, also as JSON and XML write it.
 */
struct redact;

struct redact *redact_new(void);
void redact_free(struct redact *r);
/* "partition", "train": from now on "partition-1". Names that say nothing ("", "root", "svmd" ...) stay. */
void redact_add(struct redact *r, const char *kind, const char *name);
/* Each part of a control group's path but what systemd calls its own. */
void redact_add_path(struct redact *r, const char *path);
/* What a log says of who is not here any more: "partition NAME:", "asked by NAME (pid", name="NAME". */
void redact_add_log(struct redact *r, const char *text);
void redact_write(struct redact *r, FILE *out, const char *text);
