/* Orders about managed ranges and nodes: what is sent, and whose fences are when done. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_svmd.h"
#include "harness.h"
#include "svmd.h"

enum { MOST = 1024 };

/* What came, and what becomes of it: operation `refused` of a request is refused, and `failing` fails later. The
 * fake's thread goes on with its own copy, after its reply. */
static struct seen {
        Svmd__V1__Op__OpCase op;
        size_t ops;
        uint64_t address, size, sum;
        uint32_t node, action;
        bool evict, prefetch, off;
        char partition[16];
        Svmd__V1__Mode mode;
        size_t refused, failing;
        bool silent;  /* fences are not done */
        bool nothing; /* there was nothing to do: no fence */
        unsigned requests;
} seen;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void set(struct seen to) {
        pthread_mutex_lock(&lock);
        seen = to;
        pthread_mutex_unlock(&lock);
}

static void take_migrate(struct seen *now, const Svmd__V1__Migrate *m) {
        now->address = m->address;
        now->size = m->size;
        now->node = m->node;
        now->evict = m->evict;
        now->prefetch = m->prefetch;
        strcpy(now->partition, m->partition);
}

static void take_op(struct seen *now, const Svmd__V1__Op *op) {
        now->op = op->op_case;
        switch (op->op_case) {
        case SVMD__V1__OP__OP_MIGRATE: take_migrate(now, op->migrate); break;
        case SVMD__V1__OP__OP_DISCARD:
                now->address = op->discard->address;
                now->size = op->discard->size;
                strcpy(now->partition, op->discard->partition);
                break;
        case SVMD__V1__OP__OP_PIN:
                now->address = op->pin->address;
                now->size = op->pin->size;
                now->off = op->pin->off;
                break;
        case SVMD__V1__OP__OP_REVOKE:
                now->address = op->revoke->address;
                now->off = op->revoke->off;
                strcpy(now->partition, op->revoke->partition);
                break;
        case SVMD__V1__OP__OP_NODE_SET:
                now->node = op->node_set->node;
                now->action = op->node_set->action;
                break;
        default: break;
        }
        now->sum += now->address * 31 + now->size;
}

static void end_fences(int conn, const struct seen *now, uint64_t first) {
        for (size_t i = 0; i < now->ops && !now->silent; i++) {
                if (i != now->refused)
                        fake_fence_event(conn, first + i, i == now->failing ? SVMD_E_NO_ROOM : 0, 0);
        }
}

static struct seen take_all(const Svmd__V1__Request *q) {
        struct seen now;

        pthread_mutex_lock(&lock);
        seen.ops = q->n_ops;
        seen.mode = q->mode;
        seen.requests++;
        for (size_t i = 0; i < q->n_ops; i++)
                take_op(&seen, q->ops[i]);
        now = seen;
        pthread_mutex_unlock(&lock);
        return now;
}

static bool take_orders(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        Svmd__V1__Result result[MOST], *results[MOST];
        struct seen now;

        if (q->ops[0]->op_case < SVMD__V1__OP__OP_MIGRATE)
                return false;
        now = take_all(q);
        for (size_t i = 0; i < q->n_ops; i++) {
                svmd__v1__result__init(&result[i]);
                results[i] = &result[i];
                result[i].id = now.nothing ? 0 : 5000 + i;
                if (i != now.refused)
                        continue;
                result[i].code = SVMD_E_ALIGN;
                result[i].text = (char *)"not at a granule";
        }
        fake_reply_all(conn, q->id, results, q->n_ops);
        end_fences(conn, &now, 5000);
        return true;
}

#define NONE SIZE_MAX

static struct world *with_orders(void **state) {
        set((struct seen){ .refused = NONE, .failing = NONE });
        return world_with(state, take_orders);
}

static void *const where = (void *)0x280000010000ull;

static void orders_say_what_was_asked(void **state) {
        svmd_session *s = with_orders(state)->s;

        assert_int_equal(svmd_prefetch(s, NULL, where, 65536, 3), 0);
        assert_int_equal(seen.op, SVMD__V1__OP__OP_MIGRATE);
        assert_true(seen.prefetch && !seen.evict && seen.node == 3 && seen.address == addr(where) &&
                    seen.size == 65536 && !seen.partition[0]);
        assert_int_equal(svmd_migrate(s, NULL, where, 0, 4), 0);
        assert_true(!seen.prefetch && !seen.evict && seen.node == 4 && seen.size == 0);
        assert_int_equal(svmd_evict(s, NULL, where, 4096), 0);
        assert_true(!seen.prefetch && seen.evict && seen.size == 4096);
        assert_int_equal(svmd_discard(s, NULL, where, 8192), 0);
        assert_true(seen.op == SVMD__V1__OP__OP_DISCARD && seen.size == 8192);
        assert_int_equal(svmd_pin(s, NULL, where, 12288), 0);
        assert_true(seen.op == SVMD__V1__OP__OP_PIN && seen.size == 12288 && !seen.off);
        assert_int_equal(svmd_unpin(s, where, 12288), 0);
        assert_true(seen.op == SVMD__V1__OP__OP_PIN && seen.off);
        assert_int_equal(svmd_revoke(s, NULL, where), 0);
        assert_true(seen.op == SVMD__V1__OP__OP_REVOKE && !seen.off);
        assert_int_equal(svmd_unrevoke(s, NULL, where), 0);
        assert_true(seen.op == SVMD__V1__OP__OP_REVOKE && seen.off);
        assert_int_equal(seen.mode, SVMD__V1__MODE__BEST_EFFORT);
}

static void administrators_say_whose_range(void **state) {
        svmd_session *s = with_orders(state)->s;

        assert_int_equal(svmd_partition_migrate(s, NULL, "lab", addr(where), 4096, 1), 0);
        assert_true(seen.op == SVMD__V1__OP__OP_MIGRATE && seen.node == 1 && !strcmp(seen.partition, "lab"));
        assert_int_equal(svmd_partition_evict(s, NULL, "lab", addr(where), 4096), 0);
        assert_true(seen.evict && !strcmp(seen.partition, "lab"));
        assert_int_equal(svmd_partition_discard(s, NULL, "bench", addr(where), 4096), 0);
        assert_true(seen.op == SVMD__V1__OP__OP_DISCARD && !strcmp(seen.partition, "bench"));
        assert_int_equal(svmd_partition_revoke(s, NULL, "lab", addr(where), 0), 0);
        assert_true(seen.op == SVMD__V1__OP__OP_REVOKE && !seen.off && !strcmp(seen.partition, "lab"));
        assert_int_equal(svmd_partition_revoke(s, NULL, "lab", addr(where), 1), 0);
        assert_true(seen.off);
        assert_int_equal(svmd_partition_discard(s, NULL, NULL, addr(where), 4096), SVMD_E_NAME);
        assert_int_equal(svmd_node_set(s, NULL, 6, SVMD_NODE_OFFLINE), 0);
        assert_true(seen.op == SVMD__V1__OP__OP_NODE_SET && seen.node == 6 && seen.action == SVMD_NODE_OFFLINE);
        assert_int_equal(svmd_node_set(s, NULL, 6, SVMD_NODE_LOST), 0);
        assert_int_equal(seen.action, SVMD_NODE_LOST);
        assert_int_equal(svmd_node_set(s, NULL, 6, 5), SVMD_E_INVALID);
        assert_int_equal(svmd_node_set(s, NULL, 6, 0), SVMD_E_INVALID);
}

static void a_fence_says_when(void **state) {
        struct world *w = with_orders(state);
        svmd_fence *f = NULL;

        set((struct seen){ .refused = NONE, .failing = NONE, .silent = true });
        assert_int_equal(svmd_migrate(w->s, &f, where, 4096, 1), 0);
        assert_int_equal(svmd_fence_wait(f, 0, NULL), SVMD_E_TIMEOUT);
        fake_fence_event(fake_last_connection(w->fake), 5000, SVMD_E_BUSY, 0);
        assert_int_equal(svmd_fence_wait(f, 30000, NULL), SVMD_E_BUSY);
        assert_string_equal(svmd_error(), "the operation went wrong");
        svmd_fence_free(f);
        f = NULL;
        set((struct seen){ .refused = 0, .failing = NONE, .silent = true });
        assert_int_equal(svmd_migrate(w->s, &f, where, 4096, 1), SVMD_E_ALIGN);
        assert_null(f);
        assert_int_equal(svmd_migrate(w->s, NULL, where, 4096, 1), SVMD_E_ALIGN);
        assert_string_equal(svmd_error(), "not at a granule");
        set((struct seen){ .refused = NONE, .failing = 0 });
        assert_int_equal(svmd_migrate(w->s, NULL, where, 4096, 1), SVMD_E_NO_ROOM);
        assert_string_equal(svmd_error(), "the operation went wrong");
        set((struct seen){ .refused = NONE, .failing = NONE, .nothing = true, .silent = true });
        assert_int_equal(svmd_node_set(w->s, &f, 1, SVMD_NODE_ONLINE), 0);
        assert_int_equal(svmd_fence_wait(f, 0, NULL), 0);
        svmd_fence_free(f);
        assert_int_equal(svmd_evict(w->s, NULL, where, 4096), 0);
}

static void vectors_are_one_message(void **state) {
        struct svmd_range range[MOST + 1];
        struct world *w = with_orders(state);
        svmd_fence *fence[MOST];
        uint64_t sum = 0;

        for (size_t i = 0; i <= MOST; i++) {
                range[i] = (struct svmd_range){ (char *)where + i * 65536, (i + 1) * 4096 };
                sum += i < MOST ? addr(range[i].address) * 31 + range[i].length : 0;
        }
        assert_int_equal(svmd_prefetch_ranges(w->s, fence, range, MOST, 2), 0);
        assert_true(seen.requests == 1 && seen.ops == MOST && seen.sum == sum && seen.prefetch && seen.node == 2);
        for (size_t i = 0; i < MOST; i++) {
                assert_int_equal(svmd_fence_wait(fence[i], 30000, NULL), 0);
                svmd_fence_free(fence[i]);
        }
        set((struct seen){ .refused = 7, .failing = 5 });
        assert_int_equal(svmd_discard_ranges(w->s, fence, range, 10), SVMD_E_ALIGN);
        assert_string_equal(svmd_error(), "not at a granule");
        assert_int_equal(seen.op, SVMD__V1__OP__OP_DISCARD);
        for (size_t i = 0; i < 10; i++) {
                assert_true((fence[i] == NULL) == (i == 7));
                if (i != 7)
                        assert_int_equal(svmd_fence_wait(fence[i], 30000, NULL), i == 5 ? SVMD_E_NO_ROOM : 0);
                svmd_fence_free(fence[i]);
        }
        /* Without fences it waits for all, and the refusal came first. */
        assert_int_equal(svmd_discard_ranges(w->s, NULL, range, 10), SVMD_E_ALIGN);
        assert_string_equal(svmd_error(), "not at a granule");
        set((struct seen){ .refused = NONE, .failing = 5 });
        assert_int_equal(svmd_prefetch_ranges(w->s, NULL, range, 10, 2), SVMD_E_NO_ROOM);
        assert_string_equal(svmd_error(), "the operation went wrong");
        assert_int_equal(svmd_prefetch_ranges(w->s, fence, range, 0, 2), SVMD_E_SIZE);
        assert_int_equal(svmd_prefetch_ranges(w->s, fence, range, MOST + 1, 2), SVMD_E_SIZE);
        assert_int_equal(svmd_prefetch_ranges(w->s, fence, NULL, 1, 2), SVMD_E_SIZE);
        /* The connection ends while it waits. */
        set((struct seen){ .refused = NONE, .failing = NONE, .silent = true });
        assert_int_equal(svmd_discard_ranges(w->s, fence, range, 10), 0);
        fake_hang_up(fake_last_connection(w->fake));
        for (size_t i = 0; i < 10; i++)
                assert_int_equal(svmd_fence_wait(fence[i], 30000, NULL), SVMD_E_GONE);
        assert_int_equal(svmd_discard_ranges(w->s, fence, range, 10), SVMD_E_GONE);
        assert_null(fence[9]);
}

static bool take_advice(struct fake *f, int conn, const Svmd__V1__Request *q, struct fdlist *fds, void *data) {
        struct world *w = data;
        Svmd__V1__Result result = SVMD__V1__RESULT__INIT;
        Svmd__V1__AdviceResult advice = SVMD__V1__ADVICE_RESULT__INIT;

        if (q->ops[0]->op_case == SVMD__V1__OP__OP_ADVISE) {
                w->data = malloc(sizeof(Svmd__V1__Advise));
                memcpy(w->data, q->ops[0]->advise, sizeof(Svmd__V1__Advise));
                fake_reply(conn, q->id, &result);
                return true;
        }
        if (q->ops[0]->op_case != SVMD__V1__OP__OP_ADVICE_QUERY)
                return false;
        advice.preferred = atomic_load(&w->refuse) ? 0 : 4;
        advice.accessed_by = 5;
        advice.read_mostly = true;
        advice.granularity = 65536;
        advice.session = 77;
        result.detail_case = SVMD__V1__RESULT__DETAIL_ADVICE;
        result.advice = &advice;
        fake_reply(conn, q->id, &result);
        return true;
}

static void advice_goes_there_and_back(void **state) {
        struct world *w = world_with(state, take_advice);
        struct svmd_advice a = { .size = sizeof(a), .what = SVMD_ADVISE_PREFERRED | SVMD_ADVISE_PINNED };
        Svmd__V1__Advise *sent;

        a.preferred = SVMD_NODE_NONE;
        a.accessed_by = 6;
        a.pinned = 1;
        a.granularity = 4096;
        assert_int_equal(svmd_advise(w->s, where, 65536, &a), 0);
        sent = w->data;
        assert_true(sent->address == addr(where) && sent->size == 65536 && sent->what == a.what &&
                    sent->preferred == 0 && sent->accessed_by == 6 && sent->pinned && !sent->read_mostly &&
                    sent->granularity == 4096);
        free(sent);
        a.preferred = 3;
        a.against = SVMD_ADVISE_PINNED;
        a.atomics = SVMD_ATOMICS_CPU;
        a.coarse = 1;
        a.group = 9;
        a.fallbacks = 2;
        assert_int_equal(svmd_advise(w->s, where, 65536, &a), 0);
        sent = w->data;
        assert_true(sent->preferred == 4 && sent->against == SVMD_ADVISE_PINNED && sent->n_fallback == 2 &&
                    sent->atomics == SVMD__V1__ATOMICS__ATOMICS_CPU && sent->coarse && sent->group == 9);
        free(sent);
        a.fallbacks = 4;
        assert_int_equal(svmd_advise(w->s, where, 65536, &a), SVMD_E_INVALID);
        a.fallbacks = 0;
        assert_int_equal(svmd_advise(w->s, where, 65536, NULL), SVMD_E_INVALID);
        assert_int_equal(svmd_advice_query(w->s, where, &a), 0);
        assert_true(a.what == 0 && a.preferred == 3 && a.accessed_by == 5 && a.read_mostly && !a.pinned &&
                    a.granularity == 65536 && a.session == 77);
        atomic_store(&w->refuse, true);
        assert_int_equal(svmd_advice_query(w->s, where, &a), 0);
        assert_int_equal(a.preferred, SVMD_NODE_NONE);
        assert_int_equal(svmd_advice_query(w->s, where, NULL), SVMD_E_INVALID);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(orders_say_what_was_asked),  world_test(administrators_say_whose_range),
                world_test(a_fence_says_when),          world_test(vectors_are_one_message),
                world_test(advice_goes_there_and_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
