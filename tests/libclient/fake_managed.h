#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/fdlist.h"
#include "proto/range.h"

/*
 * The managed ranges of the fake: files, states, and real userfaultfds. Each userfaultfd has a thread, which serves
 * what is missing from the range's `fill` byte (zero) and maps what the file has. Nothing ever moves by itself.
 */
struct fake_managed;

struct fake_managed *fake_managed_new(void);
void fake_managed_free(struct fake_managed *m);

void fake_managed_add(struct fake_managed *m, uint64_t id, uint64_t start, uint64_t size, uint32_t granule);
void fake_managed_remove(struct fake_managed *m, uint64_t id);
/* 0: it is not managed. */
uint32_t fake_managed_granule(struct fake_managed *m, uint64_t id);
void fake_managed_open(struct fake_managed *m, uint64_t id, int conn, unsigned access);
void fake_managed_leave(struct fake_managed *m, uint64_t id, int conn);

/* What the requests of these names do. Outcomes are 0, or a code of the wire with its sentence. */
unsigned fake_managed_device(struct fdlist *fds, const char **why);
unsigned fake_managed_give(struct fake_managed *m, int conn, int uffd, const char **why);
unsigned fake_managed_files(struct fake_managed *m, int conn, uint64_t id, struct fdlist *fds, uint64_t *ret_size,
                            const char **why);
unsigned fake_managed_join(struct fake_managed *m, int conn, uint64_t id, const char **why);
/* The connection is over. */
void fake_managed_end(struct fake_managed *m, int conn);

uint64_t fake_managed_start(struct fake_managed *m, uint64_t id);
struct range_head *fake_managed_head(struct fake_managed *m, uint64_t id);
int fake_managed_memory(struct fake_managed *m, uint64_t id);
void fake_managed_set_fill(struct fake_managed *m, uint64_t id, unsigned char fill);
/* Events that userfaultfds told of: parts of ranges that were unmapped, emptied or moved. */
unsigned fake_managed_events(struct fake_managed *m);
unsigned fake_managed_faults(struct fake_managed *m);
