#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda/wire.h"

/*
 * The slots of one device: memory of CUDA_SLOT bytes each, which can be exported, mapped for this process. A slot's
 * memory is made for it and released with it: who still has it mapped never sees what comes after.
 *
 * Functions give 0 or an error of wire.h, with a sentence where the device has one. A device that failed once (-EIO)
 * stays so: its context is of no use any more.
 */
struct slots;

/* Of a device by its name on the wire. -EOPNOTSUPP: there is no CUDA. -ENODEV. -ENOMEM. -EIO. */
int slots_new(struct slots **ret, const char *device, char *why, size_t why_size);
/* Memory that is copied to and from faster when the device knows it. */
int slots_stage(struct slots *s, void *staging, char *why, size_t why_size);
void slots_unstage(struct slots *s, void *staging);

/* `ret_fd`: of what exports a slot. */
int slots_do(struct slots *s, enum cuda_question question, uint32_t slot, void *staging, int *ret_fd, char *why,
             size_t why_size);
