#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "account/history.h"
#include "account/look.h"
#include "account/report.h"
#include "account/where.h"
#include "engine/jobs.h"
#include "proto/svmd.pb-c.h"

struct call;

/* Questions that the worker of accounts answers: the request waits, and is served again with what came of it. */

enum drift_scope { SCOPE_NODE, SCOPE_PROCESS, SCOPE_CGROUP, SCOPE_DEVICE };

struct drift_row {
        enum drift_scope scope;
        char source[12], subject[256], place[160];
        uint64_t session, reported, ledger;
        uint32_t pid;
        bool unbrokered;           /* of a process: it has that from the driver itself */
        struct look_counts counts; /* of kfd */
        /* Of a control group. */
        char container[2 * WHERE_ID + WHERE_RUNTIME + 8]; /* "podman:ID"; "": it is none */
        uint64_t limit, room;                             /* what the kernel lets it have; UINT64_MAX: no limit */
        uint64_t killed;                                  /* processes of it that the kernel ended for that */
};

struct usage_answer {
        struct job job;
        struct service *svc;
        struct request *request;
        int result; /* of the worker: 0, or negative errno with a sentence */
        char why[256];
        struct history_query query;
        struct history_answer history;
        char node[64];
        struct drift *drift; /* op_drift.c */
};

/* Takes the answer over, and has it made; OP_LATER. */
int usage_ask(struct call *c, struct usage_answer *a, void (*run)(struct job *job));
/* The same in two steps, where the loop has more to do before the worker has its turn. */
int usage_wait(struct call *c, struct usage_answer *a, void (*run)(struct job *job));
void usage_submit(struct usage_answer *a);
void drift_free(struct drift *d);

/* Takes a result message of the type and sets it as the detail. */
#define DETAIL(c, type, TYPE, member, var)                                                                             \
        Svmd__V1__##type *var = call_take(c, sizeof(*var));                                                            \
        if (!var)                                                                                                      \
                return -ENOMEM;                                                                                        \
        svmd__v1__##member##_result__init(var);                                                                        \
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_##TYPE;                                                      \
        c->result->member = var
