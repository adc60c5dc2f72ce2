#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * svmd's side of svmd-cuda, for one device. Functions may be called from any thread, and each waits for the answer: 0,
 * or an error of cuda/wire.h. An agent that does not answer, has ended, or whose device has failed is gone: -EIO, from
 * then on.
 */
struct cuda_agent;

/* -ENOENT, -ECONNREFUSED: nobody listens. `why`: a sentence. */
int cuda_agent_new(struct cuda_agent **ret, const char *socket_path, const char *device, unsigned patience_ms,
                   char *why, size_t why_size);
/* Nobody uses it. NULL is allowed. */
void cuda_agent_free(struct cuda_agent *a);
bool cuda_agent_is_gone(const struct cuda_agent *a);
/* For poll(): hangs up when the agent ends. */
int cuda_agent_fd(const struct cuda_agent *a);

int cuda_agent_create(struct cuda_agent *a, uint32_t slot, int *ret_fd);
int cuda_agent_export(struct cuda_agent *a, uint32_t slot, int *ret_fd);
int cuda_agent_release(struct cuda_agent *a, uint32_t slot);
/* Of all of the slot. */
int cuda_agent_read(struct cuda_agent *a, uint32_t slot, void *to);
int cuda_agent_write(struct cuda_agent *a, uint32_t slot, const void *from);
/* A bit for each of the first `slots` slots that is there. */
int cuda_agent_list(struct cuda_agent *a, uint64_t *ret_bits, uint32_t slots);
