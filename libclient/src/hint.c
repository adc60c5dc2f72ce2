#include <stdlib.h>

#include "agent/cuda.h"
#include "agent/kfd.h"
#include "error.h"
#include "fence.h"
#include "order.h"
#include "proto/limits.h"
#include "wire.h"

/* What a program says about its managed ranges: orders, which move or empty them. Advice is in advice.c. */

/* A fence of what this process has done itself. */
static int done_at_once(svmd_session *s, svmd_fence **ret, int r) {
        svmd_fence *f;

        if (!r && ret)
                r = fence_new(s, false, &f);
        if (r || !ret)
                return r;
        pthread_mutex_lock(&s->lock);
        fence_link(s, f, 0);
        pthread_mutex_unlock(&s->lock);
        *ret = f;
        return 0;
}

/* It has ended, or (a fence) it will have: where this process maps what was prefetched, it does so then. */
static int prefetched(svmd_session *s, svmd_fence **f, uint64_t address, uint64_t size, svmd_node node) {
        if (!f)
                return session_leave(s, cuda_managed_map(s, address, size, node));
        if (*f)
                fence_shows(*f, address, size, node);
        return 0;
}

int svmd_prefetch(svmd_session *s, svmd_fence **ret, const void *address, size_t size, svmd_node node) {
        struct order o;
        int r;

        if (!session_check(s) && kfd_prefetches(s, (uintptr_t)address, size, node))
                return done_at_once(s, ret, kfd_prefetch(s, (uintptr_t)address, size, node));
        if (s && cuda_manages(s, address)) {
                r = session_check(s);
                return session_leave(s, done_at_once(s, ret, r ? r : cuda_prefetch(s, address, size, node)));
        }
        order_prefetch(&o, (uintptr_t)address, size, node);
        r = order_run(s, ret, &o);
        return r ? r : prefetched(s, ret, (uintptr_t)address, size, node);
}

int svmd_migrate(svmd_session *s, svmd_fence **ret, const void *address, size_t size, svmd_node node) {
        struct order o;

        order_migrate(&o, NULL, (uintptr_t)address, size, node);
        return order_run(s, ret, &o);
}

int svmd_evict(svmd_session *s, svmd_fence **ret, const void *address, size_t size) {
        struct order o;

        order_evict(&o, NULL, (uintptr_t)address, size);
        return order_run(s, ret, &o);
}

int svmd_discard(svmd_session *s, svmd_fence **ret, const void *address, size_t size) {
        struct order o;

        order_discard(&o, NULL, (uintptr_t)address, size);
        return order_run(s, ret, &o);
}

int svmd_pin(svmd_session *s, svmd_fence **ret, const void *address, size_t size) {
        struct order o;

        order_pin(&o, (uintptr_t)address, size);
        return order_run(s, ret, &o);
}

int svmd_unpin(svmd_session *s, const void *address, size_t size) {
        Svmd__V1__Pin body = SVMD__V1__PIN__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        int r = session_check(s);

        if (r)
                return r;
        body.address = (uintptr_t)address;
        body.size = size;
        body.off = true;
        op.op_case = SVMD__V1__OP__OP_PIN;
        op.pin = &body;
        return session_leave(s, call_simple(s, &op, SVMD__V1__MODE__BEST_EFFORT));
}

int svmd_revoke(svmd_session *s, svmd_fence **ret, const void *address) {
        struct order o;

        order_revoke(&o, NULL, (uintptr_t)address, false);
        return order_run(s, ret, &o);
}

int svmd_unrevoke(svmd_session *s, svmd_fence **ret, const void *address) {
        struct order o;

        order_revoke(&o, NULL, (uintptr_t)address, true);
        return order_run(s, ret, &o);
}

/* ---- vectors ---- */

static int orders_new(struct order **ret, const struct svmd_range *ranges, size_t count) {
        struct order *orders;

        if (!ranges || !count || count > SVMD_OPS_MAX)
                return fail(SVMD_E_SIZE, "%zu ranges were given; give 1 to %u", ranges ? count : 0, SVMD_OPS_MAX);
        orders = calloc(count, sizeof(*orders));
        if (!orders)
                return fail_memory();
        *ret = orders;
        return 0;
}

int svmd_prefetch_ranges(svmd_session *s, svmd_fence **ret, const struct svmd_range *ranges, size_t count,
                         svmd_node node) {
        struct order *orders;
        int r = orders_new(&orders, ranges, count);

        if (r)
                return r;
        for (size_t i = 0; i < count; i++)
                order_prefetch(&orders[i], (uintptr_t)ranges[i].address, ranges[i].length, node);
        r = order_run_all(s, ret, orders, count);
        free(orders);
        for (size_t i = 0; i < count && (ret || !r); i++) {
                int k = prefetched(s, ret ? &ret[i] : NULL, (uintptr_t)ranges[i].address, ranges[i].length, node);

                r = r ? r : k;
        }
        return r;
}

int svmd_discard_ranges(svmd_session *s, svmd_fence **ret, const struct svmd_range *ranges, size_t count) {
        struct order *orders;
        int r = orders_new(&orders, ranges, count);

        if (r)
                return r;
        for (size_t i = 0; i < count; i++)
                order_discard(&orders[i], NULL, (uintptr_t)ranges[i].address, ranges[i].length);
        r = order_run_all(s, ret, orders, count);
        free(orders);
        return r;
}
