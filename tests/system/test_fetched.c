/*
 * What a device fetches when it goes over more than it holds, pass after pass: by svmd's own counters, no more than
 * Belady's MIN and a twentieth. Every sum is right.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "harness.h"

enum { GRANULE = 65536, PERCENT = 125, PASSES = 6, WORDS = GRANULE / 8 };

static svmd_session *session;
static struct {
        svmd_node gpu;
        uint64_t granted; /* bytes that it takes without what is kept back */
} node;

static int take_node(const struct svmd_node_row *row, void *userdata) {
        if (strcmp(row->name, "gpu0") != 0)
                return 0;
        node.gpu = row->id;
        node.granted = row->capacity - row->reserve;
        return 0;
}

static int add_outs(const struct svmd_residency_row *row, void *userdata) {
        *(uint64_t *)userdata += row->outs;
        return 0;
}

static uint64_t outs(const void *at, uint64_t bytes) {
        uint64_t n = 0;

        ok(svmd_query_residency(session, NULL, (uint64_t)at, bytes, 1, add_outs, &n));
        return n;
}

/* Every granule once, in order. */
static void pass(const uint64_t *at, uint64_t granules, svmd_space space) {
        for (uint64_t i = 0; i < granules; i++) {
                struct svmd_device_op sum = { .size = sizeof(sum),
                                              .op = SVMD_DEVICE_SUM,
                                              .space = space,
                                              .src = (uint64_t)(at + i * WORDS),
                                              .length = GRANULE };
                struct svmd_fence_result outcome;
                svmd_fence *f;

                ok(svmd_submit(session, &f, &sum));
                ok(svmd_fence_wait(f, CEILING_MS, &outcome));
                must(outcome.value == i * WORDS);
                svmd_fence_free(f);
        }
}

/* In a cyclic walk over `granules` with room for `room`, those that stay are used again in every pass; what a pass
 * fetches, MIN lets go at once but for the last one. */
static uint64_t least(uint64_t granules, uint64_t room) {
        return granules + (PASSES - 1) * (granules - room);
}

static void a_cyclic_walk(void) {
        uint64_t room = node.granted / GRANULE, granules = room * PERCENT / 100, fetched;
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        struct svmd_advice one_by_one = { .size = sizeof(one_by_one),
                                          .what = SVMD_ADVISE_GRANULARITY,
                                          .granularity = GRANULE };
        svmd_space space;
        void *p = NULL;
        uint64_t *at;

        ok(svmd_address_reserve(session, &p, granules * GRANULE, 0, NULL, &o));
        at = p;
        ok(svmd_advise(session, at, 0, &one_by_one));
        for (uint64_t i = 0; i < granules * WORDS; i++)
                at[i] = i / WORDS;
        must(outs(at, granules * GRANULE) == 0);
        ok(svmd_space_create(session, &space, node.gpu));
        for (unsigned i = 0; i < PASSES; i++)
                pass(at, granules, space);
        fetched = outs(at, granules * GRANULE);
        printf("%" PRIu64 " granules, room for %" PRIu64 ": %u passes fetched %" PRIu64 ", MIN %" PRIu64
               ", LRU %" PRIu64 "\n",
               granules, room, PASSES, fetched, least(granules, room), granules * PASSES);
        must(fetched * 100 <= least(granules, room) * 105);
        must(fetched >= granules);
        ok(svmd_space_destroy(session, space));
        ok(svmd_address_free(session, at));
}

int main(void) {
        static const char *const options[] = { "--soft-node", "gpu0:size=40M,faults=on", "--log-level", "warning",
                                               NULL };
        struct daemon d;

        harness_begin("system_fetched");
        daemon_new(&d, options);
        connect_to(&session, d.socket, NULL);
        ok(svmd_query_nodes(session, take_node, NULL));
        must(node.granted >= 64 * GRANULE);
        a_cyclic_walk();
        svmd_disconnect(session);
        daemon_end(&d);
        return 0;
}
