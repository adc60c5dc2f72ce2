#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "service/internal.h"

/*
 * Devices of drivers. One that svmd found when it started is a node like others (node_desc.found), and devices_fill()
 * adds what its driver says. The rest are rows of the list of nodes and nothing more: devices that came later, that the
 * node of another driver stands for, or on which svmd executes nothing. Their numbers begin behind those that nodes can
 * have, and stay as they are while a device is there; of operations those of a client's own file take them (op_drm.c).
 */
enum { DEVICES_DRM = 256, DEVICES_KFD = 512 };

/* The first device from that number on. False: there is none. Out of memory leaves `*ret` NULL. */
bool devices_next(struct call *c, uint32_t from, Svmd__V1__Node **ret);
/* The links of one that is there. -ENOMEM. */
int devices_links(struct call *c, uint32_t id, Svmd__V1__LinksResult *ret);
/* What the driver says of a node that it has; of others nothing. */
void devices_fill(struct call *c, uint32_t node, Svmd__V1__Node *row);
bool devices_has(const struct service *svc, uint32_t id);
/* Of a file whose DRM device is not there. */
int devices_refuse_gone(struct call *c, uint32_t id);
/* The node that a DRM device has become since it had that number; of others the number itself. */
uint32_t devices_now(const struct service *svc, uint32_t id);
/* The device of a DRM driver that has this number, or NULL. */
const struct drm_device *devices_drm(const struct service *svc, uint32_t id);
