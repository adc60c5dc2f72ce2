/*
 * The hammer on svmds that are killed, one after the other, at points that chance chooses: the keeper has what they
 * held, the next one settles what was under way, and nothing is lost. What was asked for may be interrupted.
 *
 *      system_hammer_restart [WRITES]      SVMD_SEED reproduces the choices
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon.h"
#include "hammer.h"
#include "hammer_oracle.h"

enum { WRITES = 30000, WRITES_LONG = 1000000, ROUNDS = 3 };

static const struct {
        uint32_t granule, pages;
} sizes[ROUNDS] = { { 64 << 10, 2048 }, { 4 << 10, 1024 }, { 2 << 20, 4096 } };

static struct daemon d;
static uint64_t restarts;

/* A session that is attached to nothing ends with its svmd. */
static bool look_at_ledger(void *userdata, struct hammer *h) {
        svmd_session *watcher;
        bool agrees;

        connect_watcher(&watcher, d.admin);
        agrees = oracle_agrees(watcher, &d);
        svmd_disconnect(watcher);
        return agrees;
}

static void run_round(unsigned round, uint64_t writes) {
        struct hammer h = { .quiet = look_at_ledger, .daemon = &d };
        struct hammer_plan plan;
        enum hammer_end end;
        char name[32];

        snprintf(name, sizeof(name), "round-%u", round);
        hammer_plan(&plan, &d, "hammer", name, sizes[round].granule, sizes[round].pages);
        plan.writers = 2 + (uint32_t)random_below(3);
        plan.threads = 1 + (uint32_t)random_below(6);
        plan.what &= ~(unsigned)HAMMER_ADMIN;
        plan.restarts = plan.stop_at_first = true;
        plan.writes = writes;
        hammer_start(&h, &plan);
        end = hammer_watch(&h);
        if (end != HAMMER_DONE) {
                board_print(h.board);
                hammer_abandon(&h);
                fail_here("the hammer found something, or did not go on");
        }
        hammer_finish(&h);
        board_print(h.board);
        must(board_findings(h.board) == 0);
        restarts += h.board->restarts;
        must(look_at_ledger(NULL, &h));
        hammer_free(&h);
}

int main(int argc, char **argv) {
        static const char *const options[] = { "--soft-node",   "gpu0:size=32M", "--soft-node",
                                               "gpu1:size=24M", "--soft-node",   "gpu2:size=24M,faults=off",
                                               "--log-level",   "warning",       NULL };
        uint64_t writes = getenv("SVMD_LONG") ? WRITES_LONG : WRITES;

        harness_begin("system_hammer_restart");
        if (harness_one_user())
                return 0;
        if (argc > 1)
                writes = strtoull(argv[1], NULL, 0);
        alarm(0); /* nothing is written for 30 s: that ends it */
        daemon_new(&d, options);
        hammer_partition(&d, "hammer");
        for (unsigned round = 0; round < ROUNDS; round++)
                run_round(round, writes / ROUNDS);
        must(restarts);
        daemon_end(&d);
        return 0;
}
