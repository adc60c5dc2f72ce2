#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"

/*
 * What the loop has done since svmd started, as sums for `Metrics`; a restart begins anew.
 *
 * An operation is counted when it was carried out or refused. A request is timed whole, from when its packet was taken
 * until its reply was handed to the socket, with all that it waited for, under the name of its operations where they
 * have one. All of it belongs to the loop's thread.
 */
struct call;
struct request;
struct service;
typedef struct Svmd__V1__Request Svmd__V1__Request;

enum { FIGURES_OPS = 128, FIGURES_SEVERAL = 0 };

struct figures {
        uint64_t began_ns; /* since 1970 */
        struct histogram requests[FIGURES_OPS];
        struct {
                uint64_t done, refused;
        } ops[FIGURES_OPS];
        uint64_t grants_failed; /* whose process said that nothing was done */
};

void figures_op(struct service *svc, const struct call *c, bool refused);
void figures_reply(struct service *svc, const struct request *r, const Svmd__V1__Request *m);
