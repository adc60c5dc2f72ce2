/*
 * Accounts in a whole service, whose clock and whose /proc and /sys are the test's: who holds what adds up to the
 * ledger after each of many random operations; the history has exactly the bytes times the time; processes that vanish
 * or whose number is another's are nobody; what drivers and control groups report shows as drift.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "account/look.h"
#include "backend/drm.h"
#include "core/grant.h"
#include "core/node.h"
#include "core/session.h"
#include "expect.h"
#include "harness.h"

#define MIB       (1ull << 20)
#define SECOND    1000000000ull
#define CONTAINER "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

enum { CUDA0 = NODES, DRM0, CLIENTS = 4, STEPS = 400, PERIOD_MS = 10000, ALWAYS = 120 };

static const uint64_t sizes[] = { 64 * MIB, 16 * MIB, 16 * MIB, 16 * MIB };
static struct world w;
static struct client admin, who[CLIENTS];
static uint64_t now_ns;
static char root[64];

static uint64_t now(void) {
        return now_ns;
}

static void put(const char *path, const char *text) {
        char whole[256], *slash;
        FILE *f;

        snprintf(whole, sizeof(whole), "%s/%s", root, path);
        for (slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
                *slash = 0;
                mkdir(whole, 0700);
                *slash = '/';
        }
        f = fopen(whole, "we");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

/* A process of the test's own /proc, which started so many ticks after the machine. */
static void put_process(uint32_t pid, unsigned long long started, const char *cgroup) {
        char path[64], text[512];

        snprintf(path, sizeof(path), "proc/%u/stat", pid);
        snprintf(text, sizeof(text), "%u (my (odd) name) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 %llu 20 21\n",
                 pid, started);
        put(path, text);
        snprintf(path, sizeof(path), "proc/%u/cgroup", pid);
        snprintf(text, sizeof(text), "0::%s\n", cgroup);
        put(path, text);
}

static void come(unsigned i, const char *partition) {
        struct service_peer peer = { .pid = 1000 + i, .uid = 100 + i, .gid = 100 };

        assert_int_equal(client_open_as(&w, &who[i], &peer), 0);
        client_greet(&who[i], partition);
        accounts_wait(w.svc); /* its process was looked at */
        service_collect(w.svc);
}

/* The GPU of DRM0, as its driver has it. */
bool __wrap_drm_devices(struct drm *d, const struct drm_device **ret, uint32_t *ret_count);
bool __wrap_drm_devices(struct drm *d, const struct drm_device **ret, uint32_t *ret_count) {
        static const struct drm_device xe = {
                .render = true, .driver = "xe", .node = "/dev/dri/renderD128", .bus = "pci 0000:03:00.0"
        };

        *ret = &xe;
        *ret_count = 1;
        return true;
}

static void shape(struct machine *m) {
        struct node_desc *n = machine_add(m);

        assert_non_null(n);
        strcpy(n->name, "cuda0");
        strcpy(n->device, "cuda:0000:3b:00.0");
        n->kind = NODE_CUDA;
        n->capacity = 64 * MIB;
        n->va_end = 1ull << 47;
        n = machine_add(m);
        assert_non_null(n);
        strcpy(n->name, "drm0");
        strcpy(n->device, "/dev/dri/renderD128");
        n->kind = NODE_DRM;
        n->found = true;
        n->capacity = 64 * MIB;
        n->va_end = 1ull << 47;
}

/* A new service over the same folder, which has the test's clock and /proc from its start on. */
static int set_up(void **state) {
        static char proc[80], sys[80];

        ops_reset();
        now_ns = 1000 * SECOND;
        world_shape = shape;
        strcpy(root, "/tmp/svmd-accounts-XXXXXX");
        assert_non_null(mkdtemp(root));
        snprintf(proc, sizeof(proc), "%s/proc", root);
        snprintf(sys, sizeof(sys), "%s/sys", root);
        world_open_sized(&w, 0, sizes);
        w.options.boottime_ns = now;
        w.options.proc_root = proc;
        w.options.sys_root = sys;
        w.options.state_dir = w.dir;
        w.options.usage_period_ms = PERIOD_MS;
        w.options.usage_days = 400;
        w.options.usage_size = 64 * MIB;
        world_bury(world_restart(&w, NULL, 0));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 8ull << 30, "", 100, 0666));
        must(&admin, mk_partition("two", 8ull << 30, "", 100, 0666));
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

/* ---- who holds what ---- */

struct sums {
        uint64_t node[NODES], session[CLIENTS][NODES], leased[NODES];
};

static void add_page(struct sums *s, const Svmd__V1__HoldersResult *h, Svmd__V1__Holders *next) {
        for (size_t i = 0; i < h->n_rows; i++) {
                const Svmd__V1__UsageRow *row = h->rows[i];

                next->after = row->session ? row->session : UINT64_MAX;
                if (!row->session)
                        next->after_partition = strdup(row->partition);
                for (size_t k = 0; k < row->n_nodes; k++) {
                        s->node[row->nodes[k]->node] += row->nodes[k]->used;
                        s->leased[row->nodes[k]->node] += row->nodes[k]->leased;
                        if (row->pid >= 1000 && row->pid < 1000 + CLIENTS)
                                s->session[row->pid - 1000][row->nodes[k]->node] += row->nodes[k]->used;
                }
        }
}

static void add_up(struct sums *s) {
        Svmd__V1__Op *op = mk_holders("");
        Svmd__V1__Result *r;
        bool more;

        memset(s, 0, sizeof(*s));
        do {
                char *before = op->holders->after_partition;

                r = must(&admin, op);
                more = r->more;
                add_page(s, r->holders, op->holders);
                if (before[0] && before != op->holders->after_partition)
                        free(before);
        } while (more);
        if (op->holders->after_partition[0])
                free(op->holders->after_partition);
        for (uint32_t i = 0; i < NODES; i++)
                if (s->node[i] != w.svc->state.nodes[i].account.used)
                        fail_msg("node %u: %llu held, %llu used", i, (unsigned long long)s->node[i],
                                 (unsigned long long)w.svc->state.nodes[i].account.used);
}

static void test_random_holders(void **state) {
        uint64_t seed = (uint64_t)time(NULL), held[CLIENTS][16] = { 0 }, lease[CLIENTS] = { 0 };
        struct sums s;
        char name[16];

        print_message("seed %llu\n", (unsigned long long)seed);
        srandom((unsigned)seed);
        must(&admin, mk_kept_max("one", 8 * MIB));
        for (unsigned i = 0; i < CLIENTS; i++)
                come(i, i < 2 ? "one" : "two");
        for (unsigned step = 0; step < STEPS; step++) {
                unsigned i = (unsigned)random() % CLIENTS, slot = (unsigned)random() % 16;
                uint64_t size = (1 + (uint64_t)random() % 64) * 4096;

                switch (random() % 8) {
                case 0:
                        if (lease[i])
                                must(&who[i], mk_lease_release(lease[i]));
                        lease[i] = lease[i] ? 0 : must(&who[i], mk_admit(GPU0 + random() % 3, size, 0))->id;
                        break;
                case 1: /* gone, with what it has; what is named stays */
                        client_close(&who[i]);
                        come(i, i < 2 ? "one" : "two");
                        memset(held[i], 0, sizeof(held[i]));
                        lease[i] = 0;
                        break;
                case 2:
                        if (!held[i][slot] || i >= 2)
                                break;
                        snprintf(name, sizeof(name), "m%u", step);
                        if (client_call(&who[i], mk_export(held[i][slot], name, 0600, 3))->code == 0)
                                (void)client_call(&who[i], mk_keep(0, held[i][slot], 0));
                        break;
                default:
                        if (held[i][slot]) {
                                must(&who[i], mk_release(held[i][slot]));
                                held[i][slot] = 0;
                        } else {
                                Svmd__V1__Result *r = client_call(
                                        &who[i], mk_create((uint32_t)random() % NODES, size, i < 2 && step % 4 == 0));

                                held[i][slot] = r->code ? 0 : r->id;
                        }
                }
                now_ns += (uint64_t)random() % (3 * SECOND);
                world_settle(&w);
                add_up(&s);
                ops_reset();
        }
}

/* ---- processes ---- */

static const Svmd__V1__UsageRow *row_of(uint32_t pid) {
        const Svmd__V1__HoldersResult *h = must(&admin, mk_holders(""))->holders;

        for (size_t i = 0; i < h->n_rows; i++)
                if (h->rows[i]->pid == pid)
                        return h->rows[i];
        fail_msg("process %u holds nothing", pid);
        return NULL;
}

static void test_processes(void **state) {
        const uint64_t ticks = look_ticks(SECOND);
        const Svmd__V1__UsageRow *row;

        put_process(1000, 100, "/kubepods/burstable/pod8a6f1c2e-0b1d-4c3e-9f2a-7b6c5d4e3f21/" CONTAINER);
        put_process(1001, 1500 * ticks, "/younger/than/the/session");
        for (unsigned i = 0; i < 3; i++) {
                come(i, "one");
                must(&who[i], mk_create(GPU1, MIB, 0));
        }
        row = row_of(1000);
        assert_string_equal(row->process, "my_(odd)_name");
        assert_string_equal(row->runtime, "containerd");
        assert_string_equal(row->container, CONTAINER);
        assert_string_equal(row->pod, "8a6f1c2e-0b1d-4c3e-9f2a-7b6c5d4e3f21");
        assert_int_equal(row->n_nodes, 1);
        assert_int_equal(row->nodes[0]->used, MIB);
        /* Its number is another process's; and one that is gone. */
        assert_string_equal(row_of(1001)->process, "");
        assert_string_equal(row_of(1001)->cgroup, "");
        assert_string_equal(row_of(1002)->cgroup, "");
        /* It moves to another group, and is looked at again after a moment; what is known of who has gone stays. */
        put_process(1000, 100, "/user.slice");
        now_ns += 2 * SECOND;
        assert_string_equal(row_of(1000)->cgroup, "/user.slice");
        assert_string_equal(row_of(1000)->container, "");
        put("proc/1000/stat", "");
        now_ns += 2 * SECOND;
        assert_string_equal(row_of(1000)->cgroup, "/user.slice");
}

/* ---- the history ---- */

static void pass(uint64_t seconds) {
        now_ns += seconds * SECOND;
        service_collect(w.svc);
        world_settle(&w);
        accounts_wait(w.svc);
        service_collect(w.svc);
}

struct found {
        uint64_t page_ms, peak;
};
static struct found history(unsigned by, const char *key, const char *node) {
        Svmd__V1__Result *r = must(&admin, mk_history(by, 0, (uint64_t)time(NULL) + ALWAYS));
        struct found f = { 0, 0 };

        for (size_t i = 0; i < r->usage_history->n_rows; i++) {
                const Svmd__V1__HistoryRow *row = r->usage_history->rows[i];

                if (strcmp(row->key, key) == 0 && strcmp(row->node, node) == 0)
                        f = (struct found){ row->page_ms, row->peak };
        }
        ops_reset();
        return f;
}

static void want(unsigned by, const char *key, const char *node, uint64_t bytes_seconds, uint64_t peak) {
        struct found f = history(by, key, node);

        if (f.page_ms != bytes_seconds / 4096 * 1000 || f.peak != peak)
                fail_msg("%s on %s: %llu page x ms, peak %llu, expected %llu and %llu", key, node,
                         (unsigned long long)f.page_ms, (unsigned long long)f.peak,
                         (unsigned long long)(bytes_seconds / 4096 * 1000), (unsigned long long)peak);
}

static void another_svmd(void) {
        world_bury(world_restart(&w, (struct client *[]){ &admin, &who[0] }, 2));
        client_close(&admin); /* attached to nothing, it went with the old one */
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
}

static void test_history(void **state) {
        uint64_t m;

        put_process(1000, 100, "/docker/" CONTAINER);
        put_process(1001, 200, "/user.slice");
        come(0, "one");
        come(1, "one");
        /* 3 MiB for 4 s, then 1 MiB for 11 s; a second process has 2 MiB for 5 s and goes. */
        m = must(&who[0], mk_create(GPU1, 2 * MIB, 0))->id;
        must(&who[0], mk_create(GPU1, MIB, 0));
        now_ns += 4 * SECOND;
        must(&who[0], mk_release(m));
        must(&who[1], mk_create(GPU1, 2 * MIB, 0));
        now_ns += 5 * SECOND;
        client_close(&who[1]);
        pass(6);
        want(SVMD__V1__USAGE_BY__BY_PID, "1000.100 my_(odd)_name", "gpu1", 12 * MIB + 11 * MIB, 3 * MIB);
        want(SVMD__V1__USAGE_BY__BY_PID, "1001.200 my_(odd)_name", "gpu1", 10 * MIB, 2 * MIB);
        want(SVMD__V1__USAGE_BY__BY_USER, "100", "gpu1", 23 * MIB, 3 * MIB);
        want(SVMD__V1__USAGE_BY__BY_CONTAINER, "docker:" CONTAINER, "gpu1", 23 * MIB, 3 * MIB);
        want(SVMD__V1__USAGE_BY__BY_CONTAINER, "none", "gpu1", 10 * MIB, 2 * MIB);
        want(SVMD__V1__USAGE_BY__BY_CGROUP, "/user.slice", "gpu1", 10 * MIB, 2 * MIB);
        want(SVMD__V1__USAGE_BY__BY_PARTITION, "one", "gpu1", 33 * MIB, 3 * MIB);
        want(SVMD__V1__USAGE_BY__BY_NODE, "gpu1", "gpu1", 33 * MIB, 3 * MIB);
        /* Nothing changes, and it goes on. */
        pass(10);
        want(SVMD__V1__USAGE_BY__BY_PID, "1000.100 my_(odd)_name", "gpu1", 33 * MIB, 3 * MIB);
        /* Another svmd goes on in the same history. */
        another_svmd();
        pass(10);
        want(SVMD__V1__USAGE_BY__BY_PID, "1000.100 my_(odd)_name", "gpu1", 43 * MIB, 3 * MIB);
        want(SVMD__V1__USAGE_BY__BY_NODE, "gpu1", "gpu1", 53 * MIB, 3 * MIB);
}

/* Memory that is kept, and nobody's. */
static void test_none(void **state) {
        uint64_t m;

        must(&admin, mk_kept_max("one", 8 * MIB));
        put_process(1000, 100, "/user.slice");
        come(0, "one");
        m = must(&who[0], mk_create(GPU1, 2 * MIB, 1))->id;
        must(&who[0], mk_export(m, "weights", 0600, 3));
        must(&who[0], mk_keep(0, m, 0));
        pass(10);
        client_close(&who[0]);
        pass(10);
        pass(10);
        want(SVMD__V1__USAGE_BY__BY_PID, "1000.100 my_(odd)_name", "gpu1", 20 * MIB, 2 * MIB);
        /* That it is nobody's now was seen at the first beat since. */
        want(SVMD__V1__USAGE_BY__BY_CGROUP, "none", "gpu1", 20 * MIB, 2 * MIB);
        want(SVMD__V1__USAGE_BY__BY_PARTITION, "one", "gpu1", 40 * MIB, 2 * MIB);
}

static void test_wrong_questions(void **state) {
        must_not(&admin, mk_history(6, 0, 1), SVMD_STATUS_INVALID, "grouped by");
        must_not(&admin, mk_history(0, 5, 5), SVMD_STATUS_INVALID, "ends after");
        must_not(&admin, mk_history(0, 0, UINT64_MAX), SVMD_STATUS_INVALID, "ends after");
        must_not(&admin, mk_holders("nowhere"), SVMD_STATUS_NO_SUCH, "no partition");
}

/* The history cannot be written; nobody's operations fail for that, and who asks is told. */
static void test_no_history(void **state) {
        char path[128], command[192];

        snprintf(path, sizeof(path), "%s/usage.db", w.dir);
        snprintf(command, sizeof(command), "rm -f %s*", path);
        accounts_wait(w.svc);
        assert_int_equal(system(command), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        another_svmd();
        come(0, "one");
        must(&who[0], mk_create(GPU1, MIB, 0));
        pass(10);
        must(&who[0], mk_create(GPU1, MIB, 0));
        must_not(&admin, mk_history(0, 0, 5), SVMD_STATUS_STORE, "cannot be read");
        assert_int_equal(rmdir(path), 0);
        pass(10);
        assert_true(history(SVMD__V1__USAGE_BY__BY_NODE, "gpu1", "gpu1").page_ms > 0);
}

/* ---- drift ---- */

static const Svmd__V1__DriftRow *drift_of(const char *source, const char *subject) {
        const Svmd__V1__DriftResult *d = must(&admin, mk_drift())->drift;

        assert_false(d->moving);
        for (size_t i = 0; i < d->n_rows; i++)
                if (strcmp(d->rows[i]->source, source) == 0 && strcmp(d->rows[i]->subject, subject) == 0)
                        return d->rows[i];
        return NULL;
}

static void test_drift(void **state) {
        const Svmd__V1__DriftRow *row;

        put_process(1000, 100, "/job");
        come(0, "one");
        must(&who[0], mk_create(GPU1, 2 * MIB, 0));
        must(&who[0], mk_create(HOST0, MIB, 0));
        world_settle(&w);
        row = drift_of("st_blocks", "gpu1");
        assert_non_null(row);
        assert_int_equal(row->reported, 2 * MIB);
        assert_int_equal(row->ledger, 2 * MIB);
        assert_string_equal(row->why, "");
        row = drift_of("st_blocks", "host memory");
        assert_int_equal(row->reported, row->ledger);
        assert_int_equal(row->ledger, MIB);
        assert_null(drift_of("memcg", "/job"));
        /* Two descriptors of one file, and one of another; a file of no driver. */
        put("proc/1000/fdinfo/5", "drm-driver:\txe\ndrm-client-id:\t7\ndrm-pdev:\t0000:03:00.0\n"
                                  "drm-total-vram0:\t8 MiB\ndrm-resident-vram0:\t4 MiB\ndrm-total-gtt:\t1 MiB\n");
        put("proc/1000/fdinfo/6", "drm-driver:\txe\ndrm-client-id:\t7\ndrm-pdev:\t0000:03:00.0\n"
                                  "drm-resident-vram0:\t4 MiB\n");
        put("proc/1000/fdinfo/7", "drm-driver:\txe\ndrm-client-id:\t8\ndrm-pdev:\t0000:03:00.0\n"
                                  "drm-resident-vram0:\t512 KiB\n");
        put("proc/1000/fdinfo/8", "pos:\t0\nino:\t5\n");
        put("sys/class/kfd/kfd/proc/1000/vram_4711", "8192\n");
        put("sys/class/kfd/kfd/proc/1000/counters_4711/faults", "12\n");
        put("sys/class/kfd/kfd/proc/1000/counters_4711/page_in", "no number\n");
        put("sys/class/kfd/kfd/proc/1000/stats_4711/evicted_ms", "34\n");
        put("sys/fs/cgroup/job/memory.current", "99\n");
        put("sys/fs/cgroup/job/memory.stat", "anon 5\nshmem 12288\n");
        put("sys/fs/cgroup/job/dmem.current", "drm/0000:03:00.0/vram0 65536\ndrm/0000:03:00.0/stolen 0\n");
        row = drift_of("fdinfo", who[0].session->client);
        assert_non_null(row);
        assert_string_equal(row->place, "0000:03:00.0 vram0");
        assert_int_equal(row->reported, 4 * MIB + 512 * 1024);
        assert_int_equal(row->ledger, 0);
        assert_int_equal(row->pid, 1000);
        assert_non_null(strstr(row->why, "outside of svmd"));
        row = drift_of("kfd", who[0].session->client);
        assert_int_equal(row->reported, 8192);
        assert_non_null(row->counts);
        assert_int_equal(row->counts->has, LOOK_FAULTS | LOOK_EVICTED);
        assert_int_equal(row->counts->faults, 12);
        assert_int_equal(row->counts->pages_in, 0);
        assert_int_equal(row->counts->evicted_ms, 34);
        row = drift_of("memcg", "/job");
        assert_int_equal(row->reported, 12288);
        assert_int_equal(row->ledger, MIB);
        assert_int_equal(drift_of("dmem", "/job")->reported, 65536);
}

static const char *unbrokered_finding(void) {
        const Svmd__V1__StatusResult *r;

        must(&admin, mk_drift());
        r = must(&admin, op_make(SVMD__V1__OP__OP_STATUS))->status;
        for (size_t i = 0; i < r->n_findings; i++)
                if (strcmp(r->findings[i]->id, "unbrokered") == 0)
                        return r->findings[i]->text;
        return "";
}

static void link_fd(const char *to, unsigned fd) {
        char path[128];

        put("proc/1000/fd/none", "");
        snprintf(path, sizeof(path), "%s/proc/1000/fd/%u", root, fd);
        unlink(path);
        assert_int_equal(symlink(to, path), 0);
}

/* Files of devices that a process has open or mapped, and memory beyond what it is charged there: with leave for the
 * device only the latter is told. */
static void test_unbrokered(void **state) {
        const Svmd__V1__DriftRow *row;
        const char *client;

        put_process(1000, 100, "/job");
        come(0, "one");
        client = who[0].session->client;
        link_fd("/usr/lib/libc.so.6", 4);
        link_fd("socket:[7]", 5);
        assert_string_equal(unbrokered_finding(), "");
        assert_null(drift_of("fd", client));

        link_fd("/dev/nvidia0", 6);
        link_fd("/dev/nvidia0", 7);
        put("proc/1000/fdinfo/6", "drm-driver:\tnvidia-drm\n");
        put("proc/1000/maps", "00400000-00401000 r-xp 00000000 08:01 7    /usr/bin/x\n"
                              "7f0000000000-7f0000002000 rw-s 00000000 00:06 12    /dev/nvidiactl\n"
                              "7f0000008000-7f0000009000 rw-s 00002000 00:06 12    /dev/nvidiactl\n"
                              "7f0000010000-7f0000020000 rw-p 00000000 00:00 0     [heap]\n"
                              "not a line\n");
        row = drift_of("fd", client);
        assert_non_null(row);
        assert_int_equal(row->unbrokered, 1);
        assert_int_equal(row->pid, 1000);
        assert_non_null(strstr(row->place, "/dev/nvidia0"));
        assert_non_null(strstr(row->why, "open"));
        row = drift_of("maps", client);
        assert_string_equal(row->place, "/dev/nvidiactl");
        assert_int_equal(row->reported, 12288);
        assert_int_equal(row->unbrokered, 1);
        assert_non_null(strstr(unbrokered_finding(), "1 processes with sessions use devices without svmd"));
        assert_non_null(strstr(unbrokered_finding(), "process 1000 has /dev/nvidia0"));

        must(&who[0], mk_grant(CUDA0, GRANT_SPACE | GRANT_ALLOC, 2 * MIB));
        assert_null(drift_of("fd", client));
        assert_null(drift_of("maps", client));
        assert_string_equal(unbrokered_finding(), "");
        put("proc/1000/fdinfo/7", "drm-driver:\tnvidia-drm\ndrm-client-id:\t1\ndrm-pdev:\t0000:3b:00.0\n"
                                  "drm-resident-vram:\t2 MiB\n");
        row = drift_of("fdinfo", client);
        assert_int_equal(row->reported, 2 * MIB);
        assert_int_equal(row->ledger, 2 * MIB);
        assert_int_equal(row->unbrokered, 0);
        put("proc/1000/fdinfo/7", "drm-driver:\tnvidia-drm\ndrm-client-id:\t1\ndrm-pdev:\t0000:3b:00.0\n"
                                  "drm-resident-vram:\t3 MiB\n");
        row = drift_of("fdinfo", client);
        assert_int_equal(row->reported - row->ledger, MIB);
        assert_int_equal(row->unbrokered, 1);
        assert_non_null(strstr(unbrokered_finding(), "process 1000 has 0000:3b:00.0 vram"));
}

static void put_resident(unsigned mib) {
        char text[160];

        snprintf(text, sizeof(text),
                 "drm-driver:\txe\ndrm-client-id:\t3\ndrm-pdev:\t0000:03:00.0\ndrm-total-vram0:\t%u MiB\n"
                 "drm-resident-vram0:\t%u MiB\n",
                 mib, mib);
        put("proc/1000/fdinfo/6", text);
}

/* Memory of a DRM device is what its process was granted; what it makes there by calls of its own beside that, larger
 * or more of them, shows. */
static void test_more_than_granted(void **state) {
        const Svmd__V1__DriftRow *row;
        uint64_t grant, generation;
        const char *client;

        put_process(1000, 100, "/job");
        come(0, "one");
        client = who[0].session->client;
        link_fd("/dev/dri/renderD128", 6);
        put_resident(0);
        assert_int_equal(drift_of("fd", client)->unbrokered, 1);
        grant = must(&who[0], mk_grant(DRM0, GRANT_ALLOC, 4 * MIB))->id;
        generation = who[0].reply->results[0]->generation;
        must(&who[0], mk_grant_done(grant, generation, 0, 0));
        assert_null(drift_of("fd", client));
        put_resident(4);
        row = drift_of("fdinfo", client);
        assert_int_equal(row->reported, 4 * MIB);
        assert_int_equal(row->ledger, 4 * MIB);
        assert_int_equal(row->unbrokered, 0);
        assert_string_equal(unbrokered_finding(), "");
        put_resident(12);
        row = drift_of("fdinfo", client);
        assert_int_equal(row->reported - row->ledger, 8 * MIB);
        assert_int_equal(row->unbrokered, 1);
        assert_non_null(strstr(unbrokered_finding(), "process 1000 has 0000:03:00.0 vram0"));
        must(&who[0], mk_grant_done(grant, generation, 0, 4 * MIB)); /* it says that all is freed */
        row = drift_of("fdinfo", client);
        assert_int_equal(row->ledger, 0);
        assert_int_equal(row->unbrokered, 1);
        put_resident(0);
        assert_int_equal(drift_of("fdinfo", client) ? drift_of("fdinfo", client)->unbrokered : 0, 0);
}

/* So many sessions hold something: a beat takes several turns of the loop, none of which is long (it says how long; a
 * machine may be slow), and nobody is left out. */
static void test_many(void **state) {
        const unsigned many = getenv("SVMD_LONG") ? 10000 : 1500;
        struct client *c = calloc(many, sizeof(*c));
        unsigned turns = 0;

        assert_non_null(c);
        w.svc->options.max_sessions = many + 10;
        for (unsigned i = 0; i < many; i++) {
                struct service_peer peer = { .pid = 2000 + i, .uid = 0, .gid = 0 };

                assert_int_equal(client_open_as(&w, &c[i], &peer), 0);
                client_greet(&c[i], "one");
                must(&c[i], mk_create(GPU1, 4096, 0));
                ops_reset();
        }
        world_settle(&w);
        accounts_wait(w.svc);
        w.svc->accounts.slice_ns_max = 0;
        now_ns += 10 * SECOND;
        do {
                service_collect(w.svc);
                turns++;
        } while (w.svc->accounts.walking);
        print_message("%u sessions: %u turns of the loop, the longest of %llu us\n", many, turns,
                      (unsigned long long)w.svc->accounts.slice_ns_max / 1000);
        assert_true(turns > 1 || many * (NODES + 1) < 8192);
        pass(0);
        want(SVMD__V1__USAGE_BY__BY_NODE, "gpu1", "gpu1", 10ull * 4096 * many, 4096ull * many);
        want(SVMD__V1__USAGE_BY__BY_PARTITION, "one", "gpu1", 10ull * 4096 * many, 4096ull * many);
        assert_true(history(SVMD__V1__USAGE_BY__BY_PID, "other", "gpu1").page_ms > 0);
        for (unsigned i = 0; i < many; i++)
                client_close(&c[i]);
        free(c);
}

/* svmd ends while somebody waits for an answer of the worker. */
static void test_end(void **state) {
        Svmd__V1__Op *op = mk_drift();

        come(0, "one");
        must(&who[0], mk_create(GPU1, MIB, 0));
        assert_int_equal(client_post(&admin, SVMD__V1__MODE__BEST_EFFORT, &op, 1), SERVICE_E_LATER);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_random_holders),    TEST(test_processes),  TEST(test_history), TEST(test_none),
                TEST(test_wrong_questions),   TEST(test_no_history), TEST(test_drift),   TEST(test_unbrokered),
                TEST(test_more_than_granted), TEST(test_many),       TEST(test_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
