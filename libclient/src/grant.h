#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/svmd.pb-c.h"
#include "svmd.h"

/*
 * Grants, for the agent: it asks for leave, executes, and says what became of it, which costs no message of its own.
 *
 *      grant_ask() -> execute -> grant_done() ... the session's next request, whichever: svmd has heard of it
 */
struct grant {
        uint64_t id, generation;
};

struct grant_request {
        svmd_node node;
        uint32_t operations; /* bits of Svmd__V1__GrantOperation */
        uint64_t reservation, address, size;
        uint64_t bytes;
        uint64_t wait_ms; /* 0: ten seconds */
};

/* A code. */
int grant_ask(svmd_session *s, const struct grant_request *ask, struct grant *ret);
/* It was done (0), all but `gone` bytes of it; or it was not, for that errno. Goes with the next request, or at once
 * where more wait than one can carry. Said again later: so much is gone now. */
int grant_done(svmd_session *s, const struct grant *g, int error, uint64_t gone);
/* The same, and svmd's answer: SVMD_OK, or why it is refused; then what was done is to be taken back, and an error
 * said. */
int grant_done_now(svmd_session *s, const struct grant *g, int error, uint64_t gone);
/* Whether svmd refused it when it rode on a request: true once. */
bool grant_refused(svmd_session *s, const struct grant *g);
void grants_free(svmd_session *s);

/* For wire.c, with `lock` held. What waits, at most `room` bytes of it packed behind a request: how many those are; and
 * it waits no longer. And what a reply refuses of it. */
size_t grants_pack(svmd_session *s, unsigned char *bytes, size_t room);
void grants_refused(svmd_session *s, const Svmd__V1__Reply *reply);
