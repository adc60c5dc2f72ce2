/*
 * A daemon that takes a shortcut loses data, and the hammer finds it: so the hammer would find it in svmd too. The
 * daemons are svmd's own objects with one call made wrongly (shortcut.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "hammer.h"

enum { PAGES = 1024, GRANULE = 65536, WRITES = 3000000 };

static const char *const shortcuts[] = { "no-protection", "unprotect-first", "trust-kind", "continue-copying",
                                         "no-minor" };

static struct daemon d;

/* What was lost may also be a wake-up: a hammer that stands still has not found anything. */
static void loses(const char *shortcut) {
        static const char *const options[] = { "--soft-node", "gpu0:size=64M", "--soft-node", "gpu1:size=64M",
                                               "--log-level", "warning",       NULL };
        struct hammer_plan plan;
        struct hammer h = { 0 };
        enum hammer_end end;

        setenv("SVMD_TEST_SHORTCUT", shortcut, 1);
        daemon_new(&d, options);
        hammer_partition(&d, "hammer");
        hammer_plan(&plan, &d, "hammer", shortcut, GRANULE, PAGES);
        plan.writers = 3;
        plan.what = HAMMER_ORDERS | HAMMER_ADVICE | HAMMER_DEVICE;
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
                if (argc < 2 || strcmp(argv[1], shortcuts[i]) == 0)
                        loses(shortcuts[i]);
        return 0;
}
