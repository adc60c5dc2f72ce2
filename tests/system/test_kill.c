/*
 * svmd is killed, again and again, under all that clients can do: processes of two users that write numbered pages of a
 * range of each size of granule, huge pages among them, orders, device operations, discards, revocations, pins, clients
 * that come, go and are killed, readers of a range that nobody can pay for, explicit memory. None of them is started
 * again or told. After each kill everybody compares all that he has, the ledger is computed anew from the states of the
 * granules, and compared with what the kernel says that svmd's files have taken.
 *
 *      system_kill [KILLS]     SVMD_SEED reproduces the choices; 200 with SVMD_ALL=1, 1,000 with SVMD_LONG=1
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon.h"
#include "hammer.h"
#include "hammer_beside.h"
#include "hammer_oracle.h"
#include "huge_pages.h"
#include "kill_when.h"
#include "ledger_json.h"

enum { KILLS = 12, KILLS_ALL = 200, KILLS_LONG = 1000, LEAST = 20, ROUND = 50, HUGE_PAGES = 24 };

static const struct {
        uint32_t granule, pages;
        bool huge;
} sizes[] = { { 64 << 10, 1024, false }, { 2 << 20, 4096, true }, { 4 << 10, 512, false }, { 2 << 20, 4096, false } };
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static struct daemon d;
static struct kill_when when;

static void restart(void *userdata, struct hammer *h) {
        kill_when(&when, &d);
        usleep((useconds_t)random_below(5000));
        daemon_start(&d);
}

/* Sessions that are attached to nothing end with their svmd, so each look has one of its own. */
static bool look(void *userdata, struct hammer *h) {
        svmd_session *watcher;
        bool agrees;

        connect_watcher(&watcher, d.admin);
        agrees = oracle_agrees(watcher, &d) && ledger_json_agrees(&d, "hammer");
        svmd_disconnect(watcher);
        return agrees;
}

static bool set_aside(void) {
        struct svmd_reserve_options o = {
                .size = sizeof(o), .kind = SVMD_SHARED, .granule = 2 << 20, .flags = SVMD_RANGE_HUGE
        };
        svmd_session *s;
        void *at;
        int r;

        huge_pages_want(HUGE_PAGES);
        connect_to(&s, d.socket, "hammer");
        r = svmd_address_reserve(s, &at, 16 << 20, 2 << 20, NULL, &o);
        if (r)
                printf("huge pages: does not apply in this run: %s\n", svmd_error());
        else
                ok(svmd_address_free(s, at));
        svmd_disconnect(s);
        return !r;
}

static void choose(struct hammer_plan *p, unsigned round, unsigned kills) {
        unsigned size = round % SIZES;
        char name[32];

        snprintf(name, sizeof(name), "round-%u", round);
        hammer_plan(p, &d, "hammer", name, sizes[size].granule, sizes[size].pages);
        p->huge = sizes[size].huge && set_aside();
        p->writers = 2 + (uint32_t)random_below(2);
        p->threads = 1 + (uint32_t)random_below(3);
        p->what &= ~(unsigned)HAMMER_ADMIN; /* that session would end */
        p->restarts = p->stop_at_first = p->sweep = true;
        p->restarts_wanted = kills;
        p->restart_every = 300;
        p->writes = 1;
}

static void run_round(unsigned round, unsigned kills) {
        struct hammer h = { .quiet = look, .restart = restart, .daemon = &d };
        struct hammer_plan plan;
        struct hammer_beside beside;
        enum hammer_end end;

        choose(&plan, round, kills);
        hammer_start(&h, &plan);
        beside_start(&beside, h.board);
        end = hammer_watch(&h);
        board_set(&h.board->stop, 1);
        if (end != HAMMER_DONE || board_findings(h.board)) {
                board_print(h.board);
                kill_when_print(&when);
                hammer_abandon(&h);
                beside_abandon(&beside);
                fail_here("something was lost, or did not go on");
        }
        beside_finish(&beside);
        hammer_finish(&h);
        board_print(h.board);
        must(board_findings(h.board) == 0);
        must(look(NULL, &h));
        hammer_free(&h);
}

int main(int argc, char **argv) {
        static const char *const options[] = { "--soft-node",   "gpu0:size=128M", "--soft-node",
                                               "gpu1:size=24M", "--soft-node",    "gpu2:size=24M,faults=off",
                                               "--log-level",   "warning",        NULL };
        unsigned kills = getenv("SVMD_LONG") ? KILLS_LONG : getenv("SVMD_ALL") ? KILLS_ALL : KILLS, each;

        harness_begin("system_kill");
        if (harness_one_user())
                return 0;
        if (argc > 1)
                kills = (unsigned)strtoul(argv[1], NULL, 0);
        alarm(0); /* nothing is written for 30 s: that ends it */
        daemon_new(&d, options);
        hammer_partition(&d, "hammer");
        each = kills < SIZES * ROUND ? (kills + SIZES - 1) / SIZES : ROUND;
        for (unsigned round = 0; when.kills < kills; round++)
                run_round(round, each);
        kill_when_print(&when);
        if (kills >= KILLS_LONG)
                must(kill_when_least(&when) >= LEAST);
        daemon_end(&d);
        return 0;
}
