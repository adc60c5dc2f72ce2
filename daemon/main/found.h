#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct drm;
struct kfd;
struct machine;
struct service;
struct service_kept;

/*
 * Devices of drivers, as nodes of the machine, behind those that are configured. First come those that an earlier svmd
 * had, by the numbers that they had there, then what is new; so numbers stay over restarts, whatever the drivers say
 * now. A GPU is one node: where AMD's compute driver has it, its DRM device is none.
 */

/* Waits for the drivers, but not for long: who has not said by then what there is is heard when svmd starts next.
 * Before the service is made. -ENOMEM. */
int found_add(struct machine *m, const struct service_kept *kept, size_t count, struct kfd *kfd, struct drm *drm);
/* While it runs, when the drivers have said anew. Whether AMD's driver could be asked: otherwise nothing has changed
 * for its GPUs, and what was known of them before counts. */
bool found_again(struct service *svc, struct machine *m, struct kfd *kfd, struct drm *drm);
/* After it has started: which are there. */
void found_tell(struct service *svc, const struct machine *m, struct kfd *kfd, struct drm *drm);
