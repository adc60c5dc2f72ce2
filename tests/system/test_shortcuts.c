/*
 * A daemon that takes a shortcut loses data, and the hammer finds it: so the hammer would find it in svmd too. The
 * daemons are svmd's own objects with one call made wrongly (shortcut.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "hammer.h"

enum { GRANULE = 65536, WRITES = 3000000 };

/* What a session knows that is there and has not joined since is enough to lose data where MINOR is not asked for: so
 * few pages, of which many are used by devices, and short stays. */
static const struct {
        const char *name;
        uint32_t pages, threads;
        unsigned device_share, stay;
        unsigned what;
} shortcuts[] = {
        { "no-protection", 1024, 2, 16, 300, HAMMER_ADVICE },
        { "unprotect-first", 1024, 2, 16, 300, HAMMER_ADVICE },
        { "trust-kind", 1024, 2, 16, 300, HAMMER_ADVICE },
        { "continue-copying", 1024, 2, 16, 300, HAMMER_ADVICE },
        { "no-minor", 256, 1, 128, 10, 0 },
};

static struct daemon d;

/* What was lost may also be a wake-up: a hammer that stands still has not found anything. */
static void loses(size_t i) {
        static const char *const options[] = { "--soft-node", "gpu0:size=64M", "--soft-node", "gpu1:size=64M",
                                               "--log-level", "warning",       NULL };
        struct hammer_plan plan;
        struct hammer h = { 0 };
        enum hammer_end end;

        setenv("SVMD_TEST_SHORTCUT", shortcuts[i].name, 1);
        daemon_new(&d, options);
        hammer_partition(&d, "hammer");
        hammer_plan(&plan, &d, "hammer", shortcuts[i].name, GRANULE, shortcuts[i].pages);
        plan.writers = 3;
        plan.threads = shortcuts[i].threads;
        plan.device_share = shortcuts[i].device_share;
        plan.stay = shortcuts[i].stay;
        plan.what = HAMMER_ORDERS | HAMMER_DEVICE | shortcuts[i].what;
        plan.read_mostly = !shortcuts[i].what;
        plan.reader = shortcuts[i].what;
        plan.writes = WRITES;
        plan.stop_at_first = true;
        hammer_start(&h, &plan);
        end = hammer_watch(&h);
        board_print(h.board);
        hammer_abandon(&h);
        must(end == HAMMER_FOUND);
        must(board_findings(h.board) > h.board->findings[HAMMER_REFUSED]);
        hammer_free(&h);
        daemon_end(&d);
}

int main(int argc, char **argv) {
        harness_begin("system_shortcuts");
        if (harness_one_user())
                return 0;
        daemon_use(SVMD_SHORTCUT_PROGRAM);
        for (size_t i = 0; i < sizeof(shortcuts) / sizeof(shortcuts[0]); i++)
                if (argc < 2 || strcmp(argv[1], shortcuts[i].name) == 0)
                        loses(i);
        return 0;
}
