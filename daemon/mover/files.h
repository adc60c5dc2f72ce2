#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/range.h"

/*
 * The two files of a range: its memory, which clients map and svmd never does, and its state, which svmd maps and
 * writes and clients map to read. Both are sealed against changes of size, mode 0600. Files of an earlier svmd are
 * adopted when they are exactly what would be made now; they are not taken over on failure.
 */
struct memfile;

/* -ENOSPC: huge pages, of which the machine has set none aside. */
int files_memory_new(struct memfile **ret, uint64_t id, uint64_t size, bool huge);
int files_memory_adopt(struct memfile **ret, int fd, uint64_t size, bool huge);

/* Mapped at *ret, all its pages taken. The file stays the caller's to close. */
int files_state_new(int *ret_fd, struct range_head **ret, uint64_t id, uint32_t granule, uint64_t count);
int files_state_adopt(struct range_head **ret, int fd, uint32_t granule, uint64_t count);
void files_state_unmap(struct range_head *head, uint64_t count);
