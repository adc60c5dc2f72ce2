/*
 * The hammer on svmd: rounds of writes by processes of two users, everything else at full rate, and between and within
 * them the ledger against the kernel. Each round has another size of granule, and as many processes and threads as
 * chance has it.
 *
 *      system_hammer_hosts             the same with four host nodes, two of them without CPUs
 *      system_hammer [WRITES [WHAT]]   SVMD_SEED reproduces the choices; 10 million with SVMD_LONG=1. WHAT: of
 *                                      enum HAMMER_*, added up
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "hammer.h"
#include "hammer_oracle.h"
#include "huge_pages.h"
#include "numa.h"

#ifdef HAMMER_OF_HOSTS
enum { HOSTS = true };
#else
enum { HOSTS = false };
#endif
enum { WRITES = 90000, WRITES_LONG = 10000000, ROUND = 200000, HUGE_PAGES = 16 };

/* The last one is of huge pages. */
static const struct {
        uint32_t granule, pages;
} sizes[] = { { 64 << 10, 2048 }, { 4 << 10, 1024 }, { 2 << 20, 4096 }, { 2 << 20, 4096 } };
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]), HUGE_SIZE = SIZES - 1 };

static struct daemon d;
static svmd_session *watcher;
static unsigned allowed = HAMMER_EVERYTHING, sizes_count = SIZES;
static bool sigbus_applies = true;

static bool look_at_ledger(void *userdata, struct hammer *h) {
        return oracle_agrees(watcher, &d);
}

/* What a machine may lack, by a range that asks for it. */
static bool applies(unsigned flags, const char *what) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_SHARED, .granule = 2 << 20, .flags = flags };
        svmd_session *s;
        void *at;
        int r;

        connect_to(&s, d.socket, "hammer");
        r = svmd_address_reserve(s, &at, 16 << 20, 2 << 20, NULL, &o);
        if (r)
                printf("%s: does not apply in this run: %s\n", what, svmd_error());
        else
                ok(svmd_address_free(s, at));
        svmd_disconnect(s);
        return !r;
}

static bool set_aside(void) {
        huge_pages_want(HUGE_PAGES);
        return applies(SVMD_RANGE_HUGE, "huge pages");
}

static void choose(struct hammer_plan *p, unsigned round, uint64_t writes) {
        unsigned size = round % sizes_count;
        char name[32];

        if (size == HUGE_SIZE && !set_aside())
                size = 0;

        snprintf(name, sizeof(name), "round-%u", round);
        hammer_plan(p, &d, "hammer", name, sizes[size].granule, sizes[size].pages);
        p->writers = 2 + (uint32_t)random_below(7);
        p->threads = 1 + (uint32_t)random_below(16);
        p->huge = size == HUGE_SIZE;
        p->sigbus = sigbus_applies && random_below(3) == 0;
        p->writes = writes;
        p->stop_at_first = true;
        /* Now and then without some of it, so that the rest has other neighbours. */
        for (unsigned bit = 1; bit <= HAMMER_EVERYTHING / 2; bit <<= 1)
                if (round >= SIZES && random_below(5) == 0)
                        p->what &= ~bit;
        p->what &= allowed;
}

static void must_be_clean(struct hammer *h, enum hammer_end end) {
        board_print(h->board);
        if (end == HAMMER_DONE && board_findings(h->board) == 0)
                return;
        hammer_abandon(h);
        fail_here("the hammer found something, or did not go on");
}

static void run_round(unsigned round, uint64_t writes) {
        struct hammer h = { .quiet = look_at_ledger };
        struct hammer_plan plan;
        enum hammer_end end;

        choose(&plan, round, writes);
        printf("%s: granules of %u KiB, %u processes of %u threads, what %u%s%s\n", plan.name, plan.granule / 1024,
               plan.writers, plan.threads, plan.what, plan.huge ? ", huge pages" : "", plan.sigbus ? ", SIGBUS" : "");
        hammer_start(&h, &plan);
        end = hammer_watch(&h);
        must_be_clean(&h, end);
        hammer_finish(&h);
        must_be_clean(&h, end);
        hammer_free(&h);
        must(oracle_agrees(watcher, &d));
}

int main(int argc, char **argv) {
        char sys_root[64] = "/sys";
        const char *options[] = { "--soft-node", "gpu0:size=32M",
                                  "--soft-node", "gpu1:size=24M",
                                  "--soft-node", "gpu2:size=24M,faults=off",
                                  "--log-level", "warning",
                                  "--sys-root",  sys_root,
                                  NULL };
        struct numa numa;
        uint64_t writes = getenv("SVMD_LONG") ? WRITES_LONG : WRITES, done = 0, each;

        harness_begin("system_hammer");
        if (harness_one_user())
                return 0;
        if (argc > 1)
                writes = strtoull(argv[1], NULL, 0);
        if (argc > 2)
                allowed = (unsigned)strtoul(argv[2], NULL, 0);
        if (HOSTS)
                numa_imagine(&numa, sys_root, sizeof(sys_root));
        alarm(0); /* nothing is written for 30 s: that ends it */
        daemon_new(&d, options);
        hammer_partition(&d, "hammer");
        connect_watcher(&watcher, d.admin);
        sigbus_applies = applies(SVMD_RANGE_SIGBUS, "SIGBUS for what was revoked");
        sizes_count = set_aside() ? SIZES : HUGE_SIZE;
        each = writes / sizes_count + 1 < ROUND ? writes / sizes_count + 1 : ROUND;
        for (unsigned round = 0; done < writes; round++, done += each)
                run_round(round, each);
        svmd_disconnect(watcher);
        daemon_end(&d);
        if (HOSTS)
                numa_forget(sys_root);
        return 0;
}
