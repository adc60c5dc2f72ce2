#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Memory that is a driver's: a dma-buf that a session brought. svmd charges it, keeps it over a restart, and hands it
 * on by the names and tokens of other memory. It has one open file, so everyone has it to read and write, or everyone
 * to read.
 */
struct call;
struct effect_dmabuf;
struct memory;
struct partition;
struct service;
struct session;

/* Whether it can be handed out with that access: code 0, or refused. Other memory can. */
int dmabuf_check_access(struct call *c, const struct memory *m, unsigned access);
/* Its descriptor goes into the reply; `access` is what the session has. Code 0, or refused. */
int dmabuf_give(struct call *c, const struct memory *m, unsigned access);
/* It is of a device whose clients make memory themselves: svmd holds the descriptor, whatever that is. */
bool memory_is_foreign(const struct service *svc, const struct memory *m);
bool dmabuf_is_mappable(const struct service *svc, const struct memory *m);

int dmabuf_put(struct service *svc, const struct memory *m);
/* -ENOMEM, -EINVAL. */
int dmabuf_restore(struct service *svc, const struct effect_dmabuf *e, struct partition *p, struct session *s);
