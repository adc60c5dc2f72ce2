#pragma once

#include <stddef.h>
#include <stdint.h>

#include "svmd.h"

/* A managed range of a session, as the benchmarks of moves use it. What svmd refuses ends the program. */
struct range {
        svmd_session *session;
        char *p;
        size_t size, granule;
};

svmd_session *session_open(const char *runtime_dir);
/* The id of the first node of a kind. */
svmd_node node_of(svmd_session *s, unsigned kind);
/* Of `granule` bytes, or with `huge` of huge pages; written to once. Single: nothing comes along with a fault. */
void range_open(struct range *r, svmd_session *s, size_t size, size_t granule, int huge, int single);
void range_close(struct range *r);
void range_touch(struct range *r);
/* The whole range, until it is there; ns. */
double range_move(struct range *r, svmd_node to);
double range_evict(struct range *r);
/* memcpy of as many bytes from one file to another, on the daemons' CPU; ns. */
double memcpy_ns(size_t size);
/* The same of pages that others have and this process has not in its page tables yet, as they are when somebody else
 * moves them; a granule at a time. */
double fetch_ns(size_t size, size_t granule);
/* First touch of as many bytes of shared memory there; ns. */
double first_touch_ns(size_t size);
