/*
 * Every node full: a range as large as svmd admits where host and devices are small, and all of it written. Then 16
 * threads touch it at random: first alone, then while prefetches and migrations are ordered, and devices use it. A
 * touch is never refused and never waits for ever; nothing is lost.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "hammer.h"
#include "hammer_oracle.h"

enum { GRANULE = 65536, STEP = 64 * 4096, WRITES = 30000, WRITES_LONG = 1000000 };

static struct daemon d;
static svmd_session *watcher;

/* The largest range that is admitted, in steps that the hammer takes. */
static uint64_t largest_range(uint64_t from) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = GRANULE };
        svmd_session *s;
        void *at;

        connect_to(&s, d.socket, "hammer");
        while (svmd_address_reserve(s, &at, from, 0, NULL, &o)) {
                must(from > STEP);
                from -= STEP;
        }
        ok(svmd_address_free(s, at));
        svmd_disconnect(s);
        return from;
}

static int add_managed(const struct svmd_node_row *row, void *userdata) {
        *(uint64_t *)userdata += row->managed;
        return 0;
}

static int print_node(const struct svmd_node_row *row, void *userdata) {
        printf("  %s: %" PRIu64 " of %" PRIu64 " KiB used, %" PRIu64 " managed, %" PRIu64 " reserve, %" PRIu64
               " waiting\n",
               row->name, row->used / 1024, row->capacity / 1024, row->managed / 1024, row->reserve / 1024,
               row->waiting);
        return 0;
}

/* Every granule is somewhere, and all that svmd gives out is given out. */
static bool is_full(void *userdata, struct hammer *h) {
        uint64_t managed = 0;

        if (!oracle_agrees(watcher, &d))
                return false;
        ok(svmd_query_nodes(watcher, add_managed, &managed));
        if (!h->quiets)
                ok(svmd_query_nodes(watcher, print_node, NULL));
        return managed >= (uint64_t)h->board->plan.pages * PAGE_BYTES;
}

static void touch(const char *name, uint64_t size, unsigned what, uint64_t writes) {
        struct hammer h = { .quiet = is_full };
        struct hammer_plan plan;
        enum hammer_end end;

        hammer_plan(&plan, &d, "hammer", name, GRANULE, (uint32_t)(size / PAGE_BYTES));
        plan.writers = 2;
        plan.threads = 8;
        plan.what = what;
        plan.fill = true;
        plan.joiner = plan.victim = false;
        plan.stop_at_first = true;
        plan.writes = plan.pages + writes;
        hammer_start(&h, &plan);
        end = hammer_watch(&h);
        board_print(h.board);
        if (end != HAMMER_DONE)
                hammer_abandon(&h);
        must(end == HAMMER_DONE);
        hammer_finish(&h);
        must(board_findings(h.board) == 0 && h.quiets);
        hammer_free(&h);
}

int main(void) {
        static const char *const options[] = { "--host-capacity", "40M",         "--soft-node",
                                               "gpu0:size=24M",   "--soft-node", "gpu1:size=20M",
                                               "--log-level",     "warning",     NULL };
        uint64_t writes = getenv("SVMD_LONG") ? WRITES_LONG : WRITES, size;

        harness_begin("system_full");
        if (harness_one_user())
                return 0;
        alarm(0); /* nothing is written for 30 s: that ends it */
        daemon_new(&d, options);
        hammer_partition(&d, "hammer");
        connect_watcher(&watcher, d.admin);
        size = largest_range(84ull << 20);
        printf("the largest range that is admitted has %" PRIu64 " KiB\n", size / 1024);
        touch("touches", size, 0, writes);
        touch("touches-and-orders", size, HAMMER_ORDERS | HAMMER_DEVICE, writes);
        svmd_disconnect(watcher);
        daemon_end(&d);
        return 0;
}
