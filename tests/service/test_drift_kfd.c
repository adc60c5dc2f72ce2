/*
 * What AMD's compute driver reports of processes, against their grants: a row for each GPU where either has something
 * or the driver has counted something, of all GPUs of a large machine, once for all sessions of a process. /proc and
 * /sys are the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "account/look.h"
#include "base/alloc.h"
#include "core/grant.h"
#include "core/node.h"
#include "core/session.h"
#include "expect.h"
#include "harness.h"

#define MIB (1ull << 20)

/* More GPUs than a process has descriptors in most machines; then one whose number the driver did not tell, and a
 * device of another kind that has the number of none. */
enum { GPUS = 40, KFD0 = NODES, UNTOLD = KFD0 + GPUS, CUDA0, ID0 = 5000, CUDA_ID = 9, CLIENTS = 3, STRANGE = 7777 };

static struct world w;
static struct client admin, who[CLIENTS];
static char root[64], proc[80], sys[80];

static void put(const char *format, unsigned a, unsigned b, const char *text) {
        char path[128], whole[256];
        FILE *f;

        snprintf(path, sizeof(path), format, a, b);
        snprintf(whole, sizeof(whole), "%s/%s", root, path);
        for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
                *slash = 0;
                mkdir(whole, 0700);
                *slash = '/';
        }
        f = fopen(whole, "we");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static void put_kfd(unsigned pid, const char *what, unsigned gpu, uint64_t value) {
        char format[128], text[32];

        snprintf(format, sizeof(format), "sys/class/kfd/kfd/proc/%%u/%s", what);
        snprintf(text, sizeof(text), "%llu\n", (unsigned long long)value);
        put(format, pid, ID0 + gpu, text);
}

/* Process 1000 + `pid`, which may have several sessions. */
static void come(unsigned i, unsigned pid) {
        struct service_peer peer = { .pid = 1000 + pid, .uid = 100, .gid = 100 };

        put("proc/%u/stat", 1000 + pid, 0, "1 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 100 20 21\n");
        put("proc/%u/cgroup", 1000 + pid, 0, "0::/job\n");
        assert_int_equal(client_open_as(&w, &who[i], &peer), 0);
        client_greet(&who[i], "one");
        accounts_wait(w.svc);
        service_collect(w.svc);
}

static void add_device(struct machine *m, const char *name, enum node_kind kind, uint32_t driver_id) {
        struct node_desc *n = machine_add(m);

        assert_non_null(n);
        snprintf(n->name, sizeof(n->name), "%s", name);
        n->kind = kind;
        n->found = kind == NODE_KFD;
        n->driver_id = driver_id;
        n->capacity = 64 * MIB;
        n->va_end = 1ull << 47;
}

static void shape(struct machine *m) {
        char name[16];

        for (unsigned i = 0; i < GPUS; i++) {
                snprintf(name, sizeof(name), "kfd%u", i);
                add_device(m, name, NODE_KFD, ID0 + i);
        }
        add_device(m, "kfd99", NODE_KFD, 0);
        add_device(m, "cuda0", NODE_CUDA, CUDA_ID);
}

static int set_up(void **state) {
        ops_reset();
        world_shape = shape;
        strcpy(root, "/tmp/svmd-drift-kfd-XXXXXX");
        assert_non_null(mkdtemp(root));
        snprintf(proc, sizeof(proc), "%s/proc", root);
        snprintf(sys, sizeof(sys), "%s/sys", root);
        world_open(&w, 0);
        w.options.proc_root = proc;
        w.options.sys_root = sys;
        w.options.state_dir = w.dir;
        world_bury(world_restart(&w, NULL, 0));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 8ull << 30, "", 100, 0666));
        return 0;
}

static int tear_down(void **state) {
        char command[96];

        for (unsigned i = 0; i < CLIENTS; i++) {
                if (who[i].session)
                        client_close(&who[i]);
                who[i] = (struct client){ 0 };
        }
        client_close(&admin);
        world_close(&w);
        world_shape = NULL;
        snprintf(command, sizeof(command), "rm -rf %s", root);
        return system(command);
}

static const Svmd__V1__DriftRow *rows[2 * GPUS];
static unsigned rows_count;

static void look(void) {
        const Svmd__V1__DriftResult *d = must(&admin, mk_drift())->drift;

        assert_false(d->moving);
        rows_count = 0;
        for (size_t i = 0; i < d->n_rows; i++)
                if (strcmp(d->rows[i]->source, "kfd") == 0) {
                        assert_true(rows_count < 2 * GPUS);
                        rows[rows_count++] = d->rows[i];
                }
}

static const Svmd__V1__DriftRow *row_of(unsigned pid, uint32_t id) {
        const Svmd__V1__DriftRow *found = NULL;
        char place[32];

        snprintf(place, sizeof(place), "%u vram", id);
        for (unsigned i = 0; i < rows_count; i++)
                if (rows[i]->pid == 1000 + pid && strcmp(rows[i]->place, place) == 0) {
                        assert_null(found);
                        found = rows[i];
                }
        return found;
}

static void must_be(unsigned pid, unsigned gpu, uint64_t ledger, uint64_t reported, bool unbrokered) {
        const Svmd__V1__DriftRow *row = row_of(pid, ID0 + gpu);

        assert_non_null(row);
        assert_int_equal(row->ledger, ledger);
        assert_int_equal(row->reported, reported);
        assert_int_equal(row->unbrokered, unbrokered);
}

static void grant(unsigned i, uint32_t node, uint64_t bytes) {
        const Svmd__V1__Result *r = must(&who[i], mk_reserve(bytes, 0, 0, "", 0));
        Svmd__V1__Op *op = mk_grant(node, GRANT_ALLOC, bytes);

        op->grant_ask->reservation = r->id;
        op->grant_ask->address = r->address;
        op->grant_ask->size = bytes;
        must(&who[i], op);
}

/* The driver has counted, and neither has memory there; nothing is said of what was not counted. */
static void test_counted(void **state) {
        const Svmd__V1__DriftRow *row;

        come(0, 0);
        put_kfd(1000, "vram_%u", 0, 0);
        put_kfd(1000, "counters_%u/faults", 0, 0);
        put_kfd(1000, "counters_%u/page_in", 0, 0);
        put_kfd(1000, "stats_%u/evicted_ms", 0, 0);
        look();
        assert_int_equal(rows_count, 0);
        put_kfd(1000, "counters_%u/page_out", 0, 5);
        put_kfd(1000, "counters_%u/faults", 1, 12);
        put_kfd(1000, "counters_%u/page_in", 2, 3);
        put_kfd(1000, "stats_%u/evicted_ms", 3, 34);
        look();
        assert_int_equal(rows_count, 4);
        for (unsigned i = 0; i < 4; i++)
                must_be(0, i, 0, 0, false);
        row = row_of(0, ID0);
        assert_int_equal(row->counts->has, LOOK_FAULTS | LOOK_PAGES_IN | LOOK_PAGES_OUT | LOOK_EVICTED);
        assert_int_equal(row->counts->pages_out, 5);
        assert_int_equal(row->counts->faults, 0);
        assert_string_equal(row->subject, who[0].session->client);
        assert_int_equal(row->session, who[0].session->object.id);
        row = row_of(0, ID0 + 1);
        assert_int_equal(row->counts->has, LOOK_FAULTS);
        assert_int_equal(row->counts->faults, 12);
        assert_int_equal(row_of(0, ID0 + 2)->counts->pages_in, 3);
        assert_int_equal(row_of(0, ID0 + 3)->counts->has, LOOK_EVICTED);
        assert_int_equal(row_of(0, ID0 + 3)->counts->evicted_ms, 34);
}

/* Less than was granted, as much, and more: that alone is without svmd. Each GPU is its own. */
static void test_bytes(void **state) {
        come(0, 0);
        grant(0, KFD0, 2 * MIB);
        grant(0, KFD0 + 1, 2 * MIB);
        put_kfd(1000, "vram_%u", 1, 2 * MIB);
        put_kfd(1000, "vram_%u", 2, 4096);
        look();
        assert_int_equal(rows_count, 3);
        must_be(0, 0, 2 * MIB, 0, false);
        must_be(0, 1, 2 * MIB, 2 * MIB, false);
        must_be(0, 2, 0, 4096, true);
        assert_int_equal(row_of(0, ID0)->counts ? row_of(0, ID0)->counts->has : 0, 0);
        put_kfd(1000, "vram_%u", 1, 2 * MIB + 1);
        look();
        must_be(0, 1, 2 * MIB, 2 * MIB + 1, true);
}

/* What the driver tells is the process's: its sessions pay for it together, and another process does not. */
static void test_sessions(void **state) {
        come(0, 0);
        come(1, 0);
        come(2, 1);
        grant(0, KFD0, MIB);
        grant(1, KFD0, 2 * MIB);
        grant(2, KFD0, 8 * MIB);
        put_kfd(1000, "vram_%u", 0, 3 * MIB);
        put_kfd(1001, "vram_%u", 0, 9 * MIB);
        look();
        assert_int_equal(rows_count, 2);
        must_be(0, 0, 3 * MIB, 3 * MIB, false);
        must_be(1, 0, 8 * MIB, 9 * MIB, true);
}

/* The driver tells of a GPU that is no node: without svmd, whatever else is granted. A node whose number is not known
 * has no row, and its charges are nobody else's; what another kind of device calls by a number is not KFD's. */
static void test_no_nodes(void **state) {
        const Svmd__V1__DriftRow *row;

        come(0, 0);
        grant(0, UNTOLD, 2 * MIB);
        grant(0, CUDA0, 4 * MIB);
        put_kfd(1000, "vram_%u", STRANGE - ID0, MIB);
        put("sys/class/kfd/kfd/proc/%u/vram_%u", 1000, CUDA_ID, "4096\n");
        put("sys/class/kfd/kfd/proc/%u/vram_%u", 1000, 0, "4096\n");
        look();
        assert_int_equal(rows_count, 3);
        row = row_of(0, STRANGE);
        assert_non_null(row);
        assert_int_equal(row->reported, MIB);
        assert_int_equal(row->ledger, 0);
        assert_true(row->unbrokered);
        assert_int_equal(row_of(0, CUDA_ID)->ledger, 0);
        assert_int_equal(row_of(0, 0)->ledger, 0);
        assert_true(row_of(0, 0)->unbrokered);
}

/* A GPU is told of that another one's number begins with. */
static void test_numbers(void **state) {
        come(0, 0);
        put("sys/class/kfd/kfd/proc/%u/vram_%u", 1000, ID0 / 10, "4096\n");
        put("sys/class/kfd/kfd/proc/%u/vram_%u", 1000, ID0 * 10, "8192\n");
        put_kfd(1000, "vram_%u", 0, 12288);
        look();
        assert_int_equal(rows_count, 3);
        must_be(0, 0, 0, 12288, true);
        assert_int_equal(row_of(0, ID0 / 10)->reported, 4096);
        assert_int_equal(row_of(0, ID0 * 10)->reported, 8192);
}

/* All GPUs of a large machine are looked at. */
static void test_large(void **state) {
        come(0, 0);
        for (unsigned i = 0; i < GPUS; i++) {
                put_kfd(1000, "vram_%u", i, (i + 1) * 4096ull);
                put_kfd(1000, "counters_%u/faults", i, i);
                put_kfd(1000, "stats_%u/evicted_ms", i, i);
        }
        look();
        assert_int_equal(rows_count, GPUS);
        for (unsigned i = 0; i < GPUS; i++) {
                must_be(0, i, 0, (i + 1) * 4096ull, true);
                assert_int_equal(row_of(0, ID0 + i)->counts->faults, i);
        }
}

/* No memory is left for the figures: it is refused, and nothing of it stays. */
static void test_no_memory(void **state) {
        unsigned refused = 0;

        come(0, 0);
        put_kfd(1000, "vram_%u", 0, MIB);
        for (unsigned long n = 1;; n++) {
                Svmd__V1__Result *r;
                bool hit;

                world_settle(&w);
                alloc_fail_at(n);
                r = client_call(&admin, mk_drift());
                hit = alloc_fail_hit();
                alloc_fail_off();
                if (r->code == 0 && !hit)
                        break;
                assert_true(r->code == 0 || r->code == SVMD_STATUS_NO_MEMORY);
                refused += r->code != 0;
        }
        assert_true(refused >= 5); /* the drift, its nodes, its processes, its GPUs, what is on them */
        look();
        must_be(0, 0, 0, MIB, true);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_counted, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bytes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_sessions, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_nodes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_numbers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_large, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
