#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/usage_answer.h"

/* The figures of the ledger and what is reported, between the loop and the worker; op_drift.c. */
struct drift;
struct service;

/* In the loop: of the nodes alone, without processes and control groups. NULL: out of memory. */
struct drift *drift_of_nodes(struct service *svc);
/* In the worker. Negative errno with a sentence. */
int drift_look_at_nodes(struct drift *d, char *why, size_t why_size);
/* In the loop, after that: whether the figures have been the same all the while. */
bool drift_stood_still(struct service *svc, const struct drift *d);
const struct drift_row *drift_rows(const struct drift *d, uint32_t *ret_count);
/* What may explain the row, where nothing moves; "": there is no drift. */
const char *drift_explain(const struct drift_row *r);
