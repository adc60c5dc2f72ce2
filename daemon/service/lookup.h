#pragma once

#include <errno.h>

#include "service/internal.h"

/* From the numbers of a request to objects that the caller may use; each is 0 or OP_REFUSED with code and text. */
struct lease;
struct name;
struct reservation;

int check_quota(struct call *c, uint64_t more);
/* Whether svmd may keep so many descriptors more for the session's user; and the same as a refusal. */
bool fds_fit(const struct service *svc, const struct session *s, uint32_t more);
int check_fds(struct call *c, uint32_t more);
/* Nothing is reserved there in the partition, or it has no such address. */
int refuse_address(struct call *c, const struct partition *p, uint64_t address);
/* A range of whole pages that does not overflow. */
int check_range(struct call *c, uint64_t address, uint64_t size);
int check_access(struct call *c, uint32_t access);
/* Of what is opened, or imported: to read, or to read and write. */
int check_opening_access(struct call *c, uint32_t access);
/* Whether the caller may have `what` that is called so in its partition: by the name's mode, or as a guest by what is
 * shared with its own partition. `n`: NULL if there is none; `verb`: what he wants, as in "may not open it". */
int check_named(struct call *c, const struct name *n, const char *what, const char *text, const char *verb,
                uint32_t access);
/* One that the session owns or has open. */
int find_reservation(struct call *c, uint64_t id, struct reservation **ret);
int find_memory(struct call *c, uint64_t id, struct memory **ret, struct holding **ret_holding);
/* One of the session that is granted, and goes on. */
int find_lease(struct call *c, uint64_t id, struct lease **ret);
int find_space(struct call *c, uint64_t id, struct space **ret);
int find_node(struct call *c, uint32_t id);
/* Why nothing is to be had on a node that is offline or lost, and what to do. */
void say_off(const struct service *svc, uint32_t node, char *text, size_t size);
/* The same as a refusal, NO_NODE. */
int refuse_off(struct call *c, uint32_t node);
/* Memory of that size can be on that node, whatever has room now. */
int check_memory(struct call *c, uint32_t node, uint64_t size);
/* "": the session's own; only administrators name another one. */
int call_partition(struct call *c, const char *name, struct partition **ret);
/* Where a mapping operation acts: `space` 0 is the CPU, in the reservation that holds the whole range and that the
 * session may write. Checks the range too. */
int find_target(struct call *c, uint64_t space, uint64_t address, uint64_t size, struct target *ret);

/* Rows and effects that more than one file makes. */
Svmd__V1__Reservation *reservation_row(struct call *c, const struct reservation *r);
Svmd__V1__Mapping *mapping_row(struct call *c, const struct mapping *e);
/* A row a node that is used, was used, or is limited, of a session or so that was charged once; `managed`: with its
 * managed pages. -ENOMEM. */
int use_rows(struct call *c, struct limited of, bool managed, Svmd__V1__NodeUse ***ret, size_t *ret_count);
/* -ENOMEM */
int advice_fill(struct call *c, const struct policy_advice *a, Svmd__V1__AdviceResult *row);
/* Of one hint, without what became of it; NULL: out of memory. And what became of one of its words, a bit. */
struct hint;
Svmd__V1__AdviceHint *hint_row(struct call *c, const struct managed_reservation *m, const struct hint *hint);
void hint_row_fate(Svmd__V1__AdviceHint *row, unsigned policy_fate, uint32_t bit);
Svmd__V1__AdviceResult *advice_row(struct call *c, const struct managed_reservation *m, uint32_t granule);
void run_fill(const struct managed_reservation *m, uint32_t granule, const struct managed_granule_info *info,
              Svmd__V1__Run *row);
void effect_reserve(struct tx *tx, const struct reservation *r);
void effect_file(struct tx *tx, const struct file *f);
size_t effect_memory_size(const struct memory *m);
void effect_memory_fill(const struct memory *m, void *bytes);
