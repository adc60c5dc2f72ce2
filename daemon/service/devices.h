#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "service/internal.h"

/*
 * Devices of drivers, as rows of the list of nodes: their numbers begin behind those that nodes can have, and stay as
 * they are while a device is there. No operation takes them.
 */
enum { DEVICES_DRM = 256, DEVICES_KFD = 512 };

/* The first device from that number on. False: there is none. Out of memory leaves `*ret` NULL. */
bool devices_next(struct call *c, uint32_t from, Svmd__V1__Node **ret);
/* The links of one that is there. -ENOMEM. */
int devices_links(struct call *c, uint32_t id, Svmd__V1__LinksResult *ret);
bool devices_has(const struct service *svc, uint32_t id);
