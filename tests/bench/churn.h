#pragma once

#include "client.h"

/* Messages that free reservations and make as many: both change what svmd knows, and are written to its journal before
 * the reply leaves. */
struct churn {
        struct client client;
        struct vector vector;
        uint64_t id[SVMD_OPS_MAX / 2]; /* what the next message frees */
};

/* -> client_close() */
void churn_start(struct churn *c, const char *runtime_dir);
/* One message. */
void churn(struct churn *c, int operations);
/* Of a message, by so many. */
double churn_ns(struct churn *c, int operations, int messages);
