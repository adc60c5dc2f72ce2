#include "hammer_oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"

struct comparison {
        const struct daemon *d;
        uint64_t host, held; /* of all hosts; in slots there */
        bool agrees, loud;
};

static void compare(struct comparison *c, const char *name, uint64_t says, uint64_t has) {
        if (says == has)
                return;
        c->agrees = false;
        if (c->loud)
                fprintf(stderr, "%s: svmd says %" PRIu64 " KiB, its files have %" PRIu64 " KiB\n", name, says / 1024,
                        has / 1024);
}

static int compare_node(const struct svmd_node_row *row, void *userdata) {
        struct comparison *c = userdata;
        char pool[32], slots[32];

        if (c->loud)
                fprintf(stderr,
                        "%s: used %" PRIu64 " KiB, managed %" PRIu64 ", reserve %" PRIu64 ", warm %" PRIu64
                        ", waiting %" PRIu64 "\n",
                        row->name, row->used / 1024, row->managed / 1024, row->reserve / 1024, row->warm / 1024,
                        row->waiting);
        if (row->kind == SVMD_NODE_HOST) {
                snprintf(slots, sizeof(slots), "svmd-slots-%u-", row->id);
                c->host += row->used + row->warm;
                c->held += process_blocks(c->d->pid, slots);
                return 0;
        }
        snprintf(pool, sizeof(pool), "svmd-pool-%u ", row->id);
        snprintf(slots, sizeof(slots), "svmd-slots-%u-", row->id);
        compare(c, row->name, row->used + row->warm,
                process_blocks(c->d->pid, pool) + process_blocks(c->d->pid, slots));
        return 0;
}

static bool agrees(svmd_session *watcher, const struct daemon *d, bool loud) {
        struct comparison c = { .d = d, .agrees = true, .loud = loud };
        uint64_t blocks;

        ok(svmd_query_nodes(watcher, compare_node, &c));
        blocks = process_blocks(d->pid, "svmd-range-") + process_blocks(d->pid, "svmd-arena") +
                 process_blocks(d->pid, "svmd-memory") + c.held;
        compare(&c, "host", c.host, blocks);
        return c.agrees;
}

bool oracle_agrees(svmd_session *watcher, const struct daemon *d) {
        uint64_t until = now_ms() + CEILING_MS;

        while (!agrees(watcher, d, false)) {
                if (now_ms() >= until)
                        return agrees(watcher, d, true);
                usleep(2000);
        }
        return true;
}
