#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cuda.h"

/*
 * Channels of a CUDA node. A process that maps granules of the node for its GPU has one: what it may have mapped is
 * known here, and nothing of it moves before the process has said, on the channel, that it is unmapped.
 */
struct cuda_channel;
struct device;
struct device_range;

/* Takes svmd's end over on success. `kept`: an earlier svmd had it, and it may have anything mapped that lies on the
 * node. -ENOMEM. */
int cuda_channel_new(struct device *d, struct cuda_channel **ret, int fd, uint64_t session, bool kept);
/* From now on told() is called, from any thread and once, when its process has not let go of what it was asked for, or
 * answers what it was not asked; one that has closed the channel is mostly one that has ended. It must not call this.
 */
void cuda_channel_watch(struct cuda_channel *c, void (*told)(void *userdata), void *userdata);
/* Whether that has been; `why` is a sentence then. */
bool cuda_channel_withholds(const struct cuda_channel *c, char *why, size_t size);
/* Nothing waits for it any more. NULL is allowed. */
void cuda_channel_free(struct cuda_channel *c);
uint64_t cuda_channel_session(const struct cuda_channel *c);
/* It is closed, or its process did not answer in time: nothing waits for it, and nothing more may be mapped by it.
 * `why` is a sentence then. */
bool cuda_channel_is_stale(const struct cuda_channel *c, char *why, size_t size);
/* The channel's process may have mapped these granules from now on: before mover_show_slots(), so that none is given
 * out that nobody would ask for. `ret_seq`: the last that was sent to it; what is sent later may be of these. -ENOMEM,
 * -ESTALE. */
int cuda_channel_cover(struct cuda_channel *c, struct device_range *r, uint32_t first, uint32_t count,
                       uint64_t *ret_seq);
