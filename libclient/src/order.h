#pragma once

#include <stddef.h>

#include "proto/svmd.pb-c.h"
#include "session.h"

/* An operation on a managed range, or on a node, that ends some time after it was accepted: a fence says when. */
struct order {
        Svmd__V1__Op op;
        union {
                Svmd__V1__Migrate migrate;
                Svmd__V1__Discard discard;
                Svmd__V1__Pin pin;
                Svmd__V1__Revoke revoke;
                Svmd__V1__Steal steal;
                Svmd__V1__NodeSet node_set;
                Svmd__V1__Observe observe;
                Svmd__V1__Exclusive exclusive;
                Svmd__V1__DrmSpace drm_space;
                Svmd__V1__DrmBind drm_bind;
                Svmd__V1__DrmCheck drm_check;
        } body;
};

/* `partition` NULL: the session's own. The strings stay the caller's. */
void order_migrate(struct order *o, const char *partition, uint64_t address, uint64_t size, svmd_node node);
void order_prefetch(struct order *o, uint64_t address, uint64_t size, svmd_node node);
void order_evict(struct order *o, const char *partition, uint64_t address, uint64_t size);
void order_discard(struct order *o, const char *partition, uint64_t address, uint64_t size);
void order_pin(struct order *o, uint64_t address, uint64_t size);
void order_revoke(struct order *o, const char *partition, uint64_t address, bool off);
void order_steal(struct order *o, uint64_t address);
void order_observe(struct order *o, const char *partition, uint64_t address, uint64_t size);
void order_exclusive(struct order *o, uint64_t address, uint64_t size, svmd_node node);
/* What else they ask for, the caller sets in the body. */
void order_drm_space(struct order *o, uint64_t file, uint32_t space);
void order_drm_bind(struct order *o, uint64_t file, uint32_t space);
void order_drm_check(struct order *o, uint64_t file, uint32_t space);
void order_node_set(struct order *o, svmd_node node, unsigned action);

/* Sends it. *ret has its fence; `ret` NULL: waits for its end. */
int order_run(svmd_session *s, svmd_fence **ret, struct order *o);
/* The same, and what came of it. */
int order_run_for(svmd_session *s, struct order *o, struct svmd_fence_result *ret);
/* Waits for its end, within a call that holds locks: events wait for the end of that call. */
int order_run_inside(svmd_session *s, struct order *o);
/* The same for 1 to SVMD_OPS_MAX of them in one message: `ret` has as many fences, NULL where one was refused. The
 * first failure is the code. */
int order_run_all(svmd_session *s, svmd_fence **ret, struct order *orders, size_t count);
