#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What devices' threads have told of operations, until it is taken. */
struct device_result;
struct op_results;

struct op_results *results_new(void);
void results_free(struct op_results *r);
/* A device_done_fn. */
void results_add(void *userdata, const struct device_result *result);
bool results_take(struct op_results *r, uint64_t fence, struct device_result *ret);
