#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a runtime says of a container on standard input: OCI's state. Keys that are not known are passed over, as
 * runtimes have their own; one that is known and is something else than OCI says is an error.
 */
enum { STATE_ANNOTATIONS = 32, STATE_WHY = 256 };

struct annotation {
        const char *key, *value; /* behind "org.svmd." */
};

struct state {
        struct json_object *json; /* which the text lives in */
        const char *id, *bundle;  /* bundle: "" where it is not said */
        uint32_t pid;             /* 0: there is no process */
        struct annotation annotations[STATE_ANNOTATIONS];
        size_t annotations_count;
};

/* 0, or -EINVAL and a sentence. */
int state_parse(struct state *s, const char *text, size_t size, char why[STATE_WHY]);
void state_free(struct state *s);
/* Any annotation; NULL: it is not there, or is no string. */
const char *state_annotation(const struct state *s, const char *key);
