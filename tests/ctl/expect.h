#pragma once

#include <json-c/json_object.h>

/* Runs of svmd-ctl against the fake, and what has to come of them; else the test fails and says what came. */

void expect(const char *line, int status, const char *out, const char *err);
/* The parts of what was written to `out` and `err`. */
void expect_part(const char *line, int status, const char *out, const char *err);
/* What it writes is JSON; the caller puts it. */
struct json_object *run_json(const char *line, int status);
/* The text of a value: "name" or "0.name" for the first of a list. */
void expect_json(struct json_object *o, const char *path, const char *want);
