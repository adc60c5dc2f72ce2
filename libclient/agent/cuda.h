#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "svmd.h"

/*
 * CUDA, executed in this process. svmd decides and remembers; what it allowed is done here:
 *
 *      space  -> the device's primary context, and the slice's addresses reserved with CUDA
 *      create -> svmd says yes, cuMemCreate; else svmd is told to forget it
 *                shareable: grant, cuMemCreate, the exported descriptor to svmd, which acknowledges the grant
 *      map    -> svmd says yes, cuMemMap and cuMemSetAccess; else svmd is told to forget it
 *      import -> with the first mapping, of the descriptor that svmd holds
 *
 * One address means the same memory in every process because the slice lies at the same address in each. CUDA takes an
 * address that it is asked for as a hint, so what it gave is compared.
 */
struct call;
struct cuda; /* of a session that has a space of such a node */
struct item;

/* The session's first or another space, which svmd has made: a code. */
int cuda_space_begin(svmd_session *s, svmd_space space, svmd_node node);
void cuda_space_end(svmd_session *s, svmd_space space);
/* Whether memory of that node is made here. */
bool cuda_makes(svmd_session *s, svmd_node node);
int cuda_create_shareable(svmd_session *s, svmd_mem *ret, uint64_t size, svmd_node node, unsigned flags);
/* A vector, before it is sent: what CUDA cannot do is refused. And when svmd has answered: what it allowed is done;
 * what CUDA refused after all is said in `results`, which may be NULL. A code each. */
int cuda_check(svmd_session *s, const struct item *items, unsigned count);
int cuda_execute(svmd_session *s, const struct call *c, const struct item *items, unsigned count, unsigned mode,
                 struct svmd_result *results);
/* Whether that is memory that CUDA manages itself; what is said of it then, done with it: a code each. */
bool cuda_manages(svmd_session *s, const void *address);
int cuda_advise(svmd_session *s, const void *address, size_t size, const struct svmd_advice *a);
int cuda_prefetch(svmd_session *s, const void *address, size_t size, svmd_node node);
/* Managed pages of [address, address + size) that lie on that node are mapped there, if this session has a space of it;
 * anything else is passed over: a code, BUSY where some are not there. They stay until svmd asks them back. */
int cuda_managed_map(svmd_session *s, uint64_t address, uint64_t size, svmd_node node);
/* Nothing managed is mapped there any more: before svmd hears that the addresses are given back, and when they are. */
void cuda_managed_leave(svmd_session *s, uint64_t start, uint64_t end);
/* In the child of a fork, with the session's lock held: descriptors are closed. */
void cuda_forked(svmd_session *s);
/* All of a session that ends. */
void cuda_end(svmd_session *s);
/* The slice's addresses go. */
void cuda_slice_gone(uint64_t base, uint64_t length);
