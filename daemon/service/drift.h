#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/usage_answer.h"

/* The figures of the ledger and what is reported, between the loop and the worker; op_drift.c. */
struct drift;
struct service;

/* For printf: subject, reported, ledger. */
#define DRIFT_SAYS "%s: the kernel counts %" PRIu64 " bytes, and svmd %" PRIu64

struct drift_args {
        unsigned tries; /* as drift_next_try(); 0 at first */
        bool processes; /* what each has of devices is looked at, too */
        void *userdata;
        void (*taken)(void *userdata);
};

/* In the loop, whose next turns take the ledger's figures, a slice each, and then tell: always, and not yet. NULL: out
 * of memory. */
struct drift *drift_new(struct service *svc, const struct drift_args *args);
/* A slice of them. */
void drift_take(struct service *svc);
/* In the worker; rests before it looks again. Negative errno with a sentence. */
int drift_look_at_nodes(struct drift *d, char *why, size_t why_size);
void drift_look_at_cgroups(const struct service *svc, struct drift *d);
/* In the worker, behind that: it keeps the rows alone. */
void drift_looked(struct drift *d);
/* In the loop, after that: whether the figures have been the same all the while. */
bool drift_stood_still(struct service *svc, const struct drift *d);
/* Where they have not: the number of the next try, or 0 after so many. */
unsigned drift_next_try(const struct drift *d);
const struct drift_row *drift_rows(const struct drift *d, uint32_t *ret_count);
struct drifting_nvml;
/* What was found of NVIDIA devices. */
const struct drifting_nvml *drift_nvml(const struct drift *d);
/* What may explain the row, where nothing moves; "": there is no drift. */
const char *drift_explain(const struct drift_row *r);
/* Of a control group: the kernel lets it have hardly more host memory. */
bool drift_is_full(const struct drift_row *r);
