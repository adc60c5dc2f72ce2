#pragma once

#include "proto/svmd.pb-c.h"
#include "session.h"

struct reservation;

/* One operation of a vector, with its body. */
struct item {
        Svmd__V1__Op op;
        union {
                Svmd__V1__Reserve reserve;
                Svmd__V1__Free free;
                Svmd__V1__MemCreate mem_create;
                Svmd__V1__MemRelease mem_release;
                Svmd__V1__Map map;
                Svmd__V1__Unmap unmap;
                Svmd__V1__SetAccess set_access;
                Svmd__V1__SparseMap sparse_map;
                Svmd__V1__SparseUnmap sparse_unmap;
        } body;
        uint64_t address;           /* FREE: of the reservation */
        struct reservation *record; /* RESERVE: what will remember it */
};

void item_reserve(struct item *i, uint64_t size, uint64_t alignment, const void *address);
/* SVMD_E_NO_SUCH: this session has no reservation that starts there. */
int item_free(svmd_session *s, struct item *i, const void *address);
void item_mem_create(struct item *i, uint64_t size, svmd_node node, unsigned flags, svmd_lease lease);
void item_mem_release(struct item *i, svmd_mem mem);
void item_map(struct item *i, svmd_space space, uint64_t address, uint64_t size, uint64_t offset, svmd_mem mem,
              unsigned access, unsigned flags);
void item_unmap(struct item *i, svmd_space space, uint64_t address, uint64_t size);
void item_set_access(struct item *i, svmd_space space, uint64_t address, uint64_t size, unsigned access);
void item_sparse_map(struct item *i, svmd_space space, uint64_t address, uint64_t size, unsigned writes);
void item_sparse_unmap(struct item *i, svmd_space space, uint64_t address, uint64_t size);

/* Sends the operations as one request and makes this process show what became of them. `results` may be NULL. 0, or
 * the code of the first that failed. */
int vector_run(svmd_session *s, struct item *items, unsigned count, unsigned mode, struct svmd_result *results);
