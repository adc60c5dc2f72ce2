/*
 * Private memory on the kernel's HMM test device: content goes to devices and comes back byte for byte, whole and in
 * part; devices take pages from each other and use them alone; svmd is killed in between. What svmd says of residency
 * is compared with the kernel's own snapshot, page by page, and with a model of what has to be.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "harness.h"
#include "hmm.h"

enum { PAGES = 256, STEPS = 300 };

static struct daemon d;
static svmd_session *s;
static svmd_node device[DEVICES], host;
static uint8_t *at;
static const char *const options[] = { "--hmm-node",  "dev0:device=/dev/hmm_dmirror0,size=256M",
                                       "--hmm-node",  "dev1:device=/dev/hmm_dmirror1,size=256M",
                                       "--hmm-node",  "dev2:device=/dev/hmm_dmirror2,size=256M",
                                       "--hmm-node",  "dev3:device=/dev/hmm_dmirror3,size=256M",
                                       "--soft-node", "gpu0:size=64M",
                                       "--log-level", "warning",
                                       NULL };

/* ---- what is so, and what svmd says ---- */

static uint64_t expected[PAGES]; /* what each word of a page is */
static uint8_t model[PAGES];     /* enum page_place */

struct said {
        uint8_t place[PAGES];
        unsigned seen;
};

static uint8_t place_of(const struct svmd_residency_row *row) {
        if (strcmp(row->state, "empty") == 0)
                return AT_NONE;
        if (strcmp(row->state, "unmapped") == 0)
                return AT_UNMAPPED;
        if (strcmp(row->state, "exclusive") == 0)
                return AT_EXCLUSIVE;
        if (strcmp(row->state, "resident") == 0) {
                must(row->node == host);
                return AT_SYSTEM;
        }
        must(strcmp(row->state, "out") == 0);
        for (unsigned i = 0; i < DEVICES; i++)
                if (row->node == device[i])
                        return (uint8_t)(AT_DEVICE + i);
        fail_here("svmd names a node that has no private memory");
}

static int on_row(const struct svmd_residency_row *row, void *userdata) {
        struct said *said = userdata;

        must(strcmp(row->cause, "observed") == 0);
        for (uint64_t i = 0; i < row->length / PAGE; i++)
                said->place[(row->address - (uintptr_t)at) / PAGE + i] = place_of(row);
        said->seen += row->length / PAGE;
        return 0;
}

/* An exclusive page is one that no snapshot sees. The driver forgets of the page behind one that was touched that it
 * used it exclusively. */
static bool is_right(uint8_t wanted, uint8_t is, uint8_t said) {
        if (wanted >= AT_EXCLUSIVE)
                return is == AT_NONE && (said == AT_EXCLUSIVE || said == AT_NONE);
        return is == wanted && said == wanted;
}

static void check_places(void) {
        struct said said = { 0 };
        uint8_t is[PAGES];

        ok(svmd_observe(s, NULL, at, 0));
        ok(svmd_query_residency(s, NULL, (uintptr_t)at, 0, 0, on_row, &said));
        must(said.seen == PAGES);
        oracle_look(at, PAGES, is);
        for (unsigned i = 0; i < PAGES; i++) {
                if (is_right(model[i], is[i], said.place[i]))
                        continue;
                printf("page %u: model %u, kernel %u, svmd %u\n", i, model[i], is[i], said.place[i]);
                fail_here("a page is elsewhere than it has to be");
        }
}

static void write_pages(unsigned first, unsigned count) {
        for (unsigned i = first; i < first + count; i++) {
                uint64_t *word = (uint64_t *)(at + (size_t)i * PAGE);

                expected[i] = random_below(UINT64_MAX);
                for (unsigned k = 0; k < PAGE / 8; k++)
                        word[k] = expected[i] + k;
                if (model[i] < AT_DEVICE + PRIVATE_DEVICES || model[i] >= AT_EXCLUSIVE)
                        model[i] = AT_SYSTEM;
        }
}

/* What was never written is zero, and stays without memory. */
static void check_pages(unsigned first, unsigned count) {
        for (unsigned i = first; i < first + count; i++) {
                const uint64_t *word = (const uint64_t *)(at + (size_t)i * PAGE);

                for (unsigned k = 0; k < PAGE / 8; k++)
                        must(word[k] == (expected[i] ? expected[i] + k : 0));
                if ((model[i] >= AT_DEVICE && model[i] < AT_DEVICE + PRIVATE_DEVICES) || model[i] >= AT_EXCLUSIVE)
                        model[i] = AT_SYSTEM;
        }
}

static void set_model(unsigned first, unsigned count, uint8_t place) {
        for (unsigned i = first; i < first + count; i++)
                model[i] = place;
}

static void *page_at(unsigned i) {
        return at + (size_t)i * PAGE;
}

static void go_out(unsigned first, unsigned count, unsigned k) {
        int r = svmd_migrate(s, NULL, page_at(first), (size_t)count * PAGE, device[k]);
        uint8_t is[PAGES];

        if (r != SVMD_OK)
                oracle_look(at, PAGES, is);
        for (unsigned i = first; r != SVMD_OK && i < first + count; i++)
                if (is[i] != AT_DEVICE + k)
                        printf("page %u was %u, should go to device %u, and is %u\n", i, model[i], k, is[i]);
        want(SVMD_OK, r);
        set_model(first, count, (uint8_t)(AT_DEVICE + k));
}

static void go_in(unsigned first, unsigned count) {
        ok(svmd_migrate(s, NULL, page_at(first), (size_t)count * PAGE, host));
        for (unsigned i = first; i < first + count; i++)
                if (model[i] >= AT_DEVICE && model[i] < AT_EXCLUSIVE)
                        model[i] = AT_SYSTEM;
}

static void restart(void) {
        daemon_kill(&d);
        daemon_start(&d);
}

static void begin(void) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_PRIVATE };
        void *p;

        ok(svmd_address_reserve(s, &p, (size_t)PAGES * PAGE, 0, NULL, &o));
        at = p;
        memset(expected, 0, sizeof(expected));
        set_model(0, PAGES, AT_NONE);
}

static void end(void) {
        ok(svmd_address_free(s, at));
}

/* ---- the tests ---- */

static void test_refusals(void) {
        struct svmd_reserve_options o = { .size = sizeof(o), .kind = SVMD_PRIVATE };
        struct svmd_advice advice = { .size = sizeof(advice), .what = SVMD_ADVISE_READ_MOSTLY, .read_mostly = 1 };
        svmd_mem mem;
        void *p;

        begin();
        want(SVMD_E_ACCESS, svmd_migrate(s, NULL, at, 0, device[0]));
        want(SVMD_E_ACCESS, svmd_observe(s, NULL, at, 0));
        want(SVMD_E_FD_KIND, svmd_device_give(s, device[0], 0));
        for (unsigned i = 0; i < DEVICES; i++)
                ok(svmd_device_give(s, device[i], -1));
        want(SVMD_E_TAKEN, svmd_device_give(s, device[0], -1));
        want(SVMD_E_NODE_KIND, svmd_device_give(s, host, -1));
        want(SVMD_E_NODE_KIND, svmd_migrate(s, NULL, at, 0, node_named(s, "gpu0")));
        want(SVMD_E_NODE_KIND, svmd_mem_create(s, &mem, PAGE, device[0], 0));
        want(SVMD_E_INVALID, svmd_discard(s, NULL, at, 0));
        want(SVMD_E_INVALID, svmd_pin(s, NULL, at, 0));
        want(SVMD_E_INVALID, svmd_revoke(s, NULL, at));
        want(SVMD_E_INVALID, svmd_steal(s, at));
        want(SVMD_E_INVALID, svmd_advise(s, at, 0, &advice));
        o.name = "shared";
        want(SVMD_E_INVALID, svmd_address_reserve(s, &p, PAGE, 0, NULL, &o));
        o = (struct svmd_reserve_options){ .size = sizeof(o), .kind = SVMD_SHARED };
        ok(svmd_address_reserve(s, &p, PAGE, 0, NULL, &o));
        want(SVMD_E_NODE_KIND, svmd_migrate(s, NULL, p, 0, device[0]));
        ok(svmd_address_free(s, p));
        end();
}

static void test_there_and_back(void) {
        begin();
        write_pages(0, PAGES);
        check_places();
        for (unsigned k = 0; k < DEVICES; k++) {
                go_out(0, PAGES, k);
                check_places();
                go_in(0, PAGES);
                check_places();
                check_pages(0, PAGES);
                go_out(0, PAGES, k);
                check_pages(0, PAGES); /* the CPU's touch */
                check_places();
        }
        end();
}

static void test_parts(void) {
        begin();
        write_pages(0, PAGES / 2);
        go_out(3, 1, 0);
        go_out(10, 100, 2);
        go_out(PAGES / 2 + 5, 7, 1); /* never touched */
        check_places();
        go_in(20, 5);
        check_places();
        check_pages(0, PAGES);
        check_places();
        end();
}

/* Two devices take a page from each other, private and coherent; also a thing of exclusive use. */
static void test_stealing(void) {
        begin();
        write_pages(0, PAGES);
        for (unsigned i = 0; i < 8; i++) {
                go_out(0, PAGES, i % 2);
                check_places();
        }
        for (unsigned from = 0; from < DEVICES; from++)
                for (unsigned to = 0; to < DEVICES; to++) {
                        go_out(0, 16, from);
                        go_out(4, 8, to);
                        check_places();
                }
        ok(svmd_exclusive(s, NULL, page_at(0), 16 * PAGE, device[0]));
        set_model(0, 16, AT_EXCLUSIVE);
        check_places();
        go_out(0, 16, 1);
        check_places();
        check_pages(0, PAGES);
        end();
}

static void test_exclusive(void) {
        begin();
        write_pages(0, PAGES);
        go_out(0, 32, 0);
        ok(svmd_exclusive(s, NULL, page_at(0), 64 * PAGE, device[1]));
        set_model(0, 64, AT_EXCLUSIVE + 1);
        check_places();
        check_pages(10, 5); /* a touch ends it there */
        check_places();
        ok(svmd_exclusive(s, NULL, page_at(0), 64 * PAGE, device[0]));
        set_model(0, 64, AT_EXCLUSIVE);
        check_places();
        check_pages(0, PAGES);
        check_places();
        end();
}

static void test_prefer(void) {
        struct svmd_advice advice = { .size = sizeof(advice), .what = SVMD_ADVISE_PREFERRED, .preferred = device[1] };

        begin();
        write_pages(0, PAGES);
        ok(svmd_advise(s, at, 0, &advice));
        go_out(0, PAGES, 0);
        restart();
        ok(svmd_evict(s, NULL, at, 0));
        set_model(0, PAGES, AT_DEVICE + 1);
        check_places();
        check_pages(0, PAGES);
        end();
}

/* The process takes some of it away without a word, and something else comes to the addresses. */
static void test_unmapped(void) {
        struct svmd_fence_result result = { 0 };
        svmd_fence *fence;

        begin();
        write_pages(0, PAGES);
        go_out(0, PAGES, 0);
        must(munmap(page_at(64), 32 * PAGE) == 0);
        set_model(64, 32, AT_UNMAPPED);
        check_places();
        ok(svmd_migrate(s, &fence, at, 0, device[1]));
        want(SVMD_E_NOT_MAPPED, svmd_fence_wait(fence, CEILING_MS, &result));
        must(result.value == (PAGES - 32) * PAGE && result.address == (uintptr_t)page_at(64));
        svmd_fence_free(fence);
        set_model(0, 64, AT_DEVICE + 1);
        set_model(96, PAGES - 96, AT_DEVICE + 1);
        check_places();
        must(mmap(page_at(64), 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
             MAP_FAILED);
        memset(&expected[64], 0, 32 * sizeof(expected[0]));
        set_model(64, 32, AT_NONE);
        check_places();
        check_pages(0, PAGES);
        end();
}

/* The range is not the child's, and what the child does not have does not end what the parent has. */
static void test_fork(void) {
        pid_t child;
        int status;

        begin();
        write_pages(0, PAGES);
        go_out(0, PAGES, 0);
        child = fork();
        must(child >= 0);
        if (child == 0)
                _exit(madvise(at, PAGE, MADV_NORMAL) == 0);
        must(waitpid(child, &status, 0) == child && status == 0);
        check_places();
        go_out(0, PAGES, 1);
        check_places();
        check_pages(0, PAGES);
        end();
}

/* Memory of malloc's, where it is. */
static void test_registered(void) {
        struct svmd_register_options o = { .size = sizeof(o), .mode = SVMD_REGISTER_PRIVATE };
        svmd_mem mem;

        at = aligned_alloc(PAGE, (size_t)PAGES * PAGE);
        must(at);
        memset(expected, 0, sizeof(expected));
        write_pages(0, PAGES);
        ok(svmd_register(s, &mem, NULL, at, (size_t)PAGES * PAGE, &o));
        want(SVMD_E_TAKEN, svmd_register(s, &mem, NULL, at, PAGE, &o));
        go_out(0, PAGES, 0);
        go_out(10, 20, 3);
        check_places();
        restart();
        check_places();
        go_in(0, PAGES);
        check_places();
        check_pages(0, PAGES);
        ok(svmd_unregister(s, mem));
        want(SVMD_E_RANGE, svmd_migrate(s, NULL, at, 0, device[0]));
        check_pages(0, PAGES);
        free(at);
}

static void random_step(void) {
        unsigned first = (unsigned)random_below(PAGES), count = 1 + (unsigned)random_below(PAGES - first);
        unsigned k = (unsigned)random_below(DEVICES);

        switch (random_below(8)) {
        case 0:
        case 1: write_pages(first, count); break;
        case 2: check_pages(first, count); break;
        case 3: go_in(first, count); break;
        case 4:
                must(madvise(page_at(first), (size_t)count * PAGE, MADV_DONTNEED) == 0);
                memset(&expected[first], 0, count * sizeof(expected[0]));
                set_model(first, count, AT_NONE);
                break;
        case 5:
                ok(svmd_exclusive(s, NULL, page_at(first), (size_t)count * PAGE, device[k]));
                set_model(first, count, (uint8_t)(AT_EXCLUSIVE + k));
                break;
        default:
                /* A device that uses pages alone does not give them to itself: a touch first. */
                for (unsigned i = first; i < first + count; i++)
                        if (model[i] == AT_EXCLUSIVE + k)
                                check_pages(i, 1);
                go_out(first, count, k);
        }
}

static void test_random(void) {
        begin();
        for (unsigned i = 0; i < STEPS; i++) {
                random_step();
                if (i % 50 == 49)
                        restart();
                check_places();
        }
        check_pages(0, PAGES);
        end();
}

/* Memory of a device lasts as long as its process; then svmd's and the keeper's files go. */
static void test_end(void) {
        unsigned svmd_fds = process_fds_at_rest(d.pid), keeper_fds = process_fds_at_rest(d.keeper);
        svmd_session *watcher;

        connect_watcher(&watcher, d.admin);
        svmd_disconnect(s);
        connect_to(&s, d.socket, NULL);
        for (uint64_t until = now_ms() + CEILING_MS; process_fds_at_rest(d.pid) > svmd_fds - DEVICES + 1 ||
                                                     process_fds_at_rest(d.keeper) > keeper_fds - DEVICES;)
                must(now_ms() < until);
        svmd_disconnect(watcher);
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                void (*run)(void);
        } tests[] = {
                { "refusals", test_refusals },     { "there and back", test_there_and_back },
                { "parts", test_parts },           { "stealing", test_stealing },
                { "exclusive", test_exclusive },   { "prefer", test_prefer },
                { "unmapped", test_unmapped },     { "fork", test_fork },
                { "registered", test_registered }, { "random", test_random },
        };

        harness_begin("vm_hmm");
        oracle_open();
        daemon_new(&d, options);
        connect_to(&s, d.socket, NULL);
        for (unsigned i = 0; i < DEVICES; i++)
                device[i] = node_named(s, (const char *const[]){ "dev0", "dev1", "dev2", "dev3" }[i]);
        host = node_named(s, "host0");
        for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
                uint64_t start = now_ms();

                tests[i].run();
                printf("ok %s (%llu ms)\n", tests[i].name, (unsigned long long)(now_ms() - start));
                fflush(stdout);
        }
        bench(s, device, host);
        test_end();
        daemon_end(&d);
        return 0;
}
