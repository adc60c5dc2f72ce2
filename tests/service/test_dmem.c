/*
 * Limits of control groups by dmem, in a folder that stands for it: what others set is followed, what svmd's
 * administrators set is written, and the two never take turns. A kill in between leaves nothing behind. Where svmd may
 * not write, a real svmd-cgroup does, which may be absent, stopped, killed or for somebody else.
 */
#include <errno.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "account/dmem.h"
#include "base/alloc.h"
#include "core/cgroup.h"
#include "core/node.h"
#include "expect.h"
#include "groups.h"
#include "writer.h"

#define MIB    (1ull << 20)
#define GIB    (1ull << 30)
#define REGION "drm/0000:03:00.0/vram0"
#define OTHER  "drm/0000:04:00.0/vram0"

enum { PINNED = SVMD__V1__MEM_FLAG__MEM_PINNED, PERIOD_MS = 5000, STEPS = 80, STEPS_LONG = 1000 };

static struct world w;
static struct client admin, a;
static uint64_t now_ns;
static char root[96];

static uint64_t now(void) {
        return now_ns;
}

static void put(const char *path, const char *text) {
        char name[256];
        FILE *f;

        snprintf(name, sizeof(name), "%s%s", root, path);
        f = fopen(name, "we");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static void group_make(const char *path) {
        static const char *const files[] = { "dmem.max", "dmem.low", "dmem.min", "dmem.current" };
        char name[256];

        snprintf(name, sizeof(name), "%s%s", root, path);
        assert_int_equal(mkdir(name, 0755), 0);
        for (unsigned i = 0; i < 4; i++) {
                snprintf(name, sizeof(name), "%s/%s", path, files[i]);
                put(name, i == 0 ? REGION " max\n" OTHER " max\n" : REGION " 0\n" OTHER " 0\n");
        }
}

static void group_end(const char *path) {
        char command[256];

        snprintf(command, sizeof(command), "rm -rf %s%s", root, path);
        assert_int_equal(system(command), 0);
}

/* By somebody else. */
static void others_set(const char *path, enum dmem_value which, uint64_t value) {
        assert_int_equal(dmem_write(root, true, path, REGION, which, value), 0);
}

static uint64_t in_file(const char *path, enum dmem_value which) {
        struct dmem_group g;

        assert_int_equal(dmem_read(root, path, REGION, &g), 0);
        return g.value[which];
}

static void shape(struct machine *m) {
        strcpy(m->nodes[GPU1].dmem, REGION);
}

static void drive(bool on) {
        struct client *clients[] = { &a };

        w.options.dmem_drive = on;
        client_close(&admin);
        world_bury(world_restart_as_was(&w, clients, 1));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
}

static int set_up(void **state) {
        ops_reset();
        now_ns = 1000000000000ull;
        strcpy(root, "/tmp/svmd-dmem-XXXXXX");
        assert_non_null(mkdtemp(root));
        put("/dmem.capacity", REGION " 1073741824\n" OTHER " 1073741824\n");
        group_make("/pod");
        group_make("/pod/a");
        world_shape = shape;
        world_open(&w, 0);
        world_shape = NULL;
        groups_open(&w);
        w.options.boottime_ns = now;
        w.options.state_dir = w.dir;
        w.options.dmem_root = root;
        w.options.dmem_period_ms = PERIOD_MS;
        w.options.dmem_drive = true;
        world_bury(world_restart(&w, NULL, 0));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        must(&admin, mk_partition("one", 16 * GIB, "", 100, 0666));
        return 0;
}

static void join(void) {
        client_open(&w, &a, 100, 100, false);
        groups_put(&w, a.pid, "/pod/a");
        client_greet(&a, "one");
}

static int tear_down(void **state) {
        if (a.session)
                client_close(&a);
        a = (struct client){ 0 };
        client_close(&admin);
        world_settle(&w);
        check_world(&w);
        world_close(&w);
        group_end("");
        return 0;
}

/* A period passes, and what is looked at then is done. */
static void pass(void) {
        uint64_t looks;

        while (w.svc->dmem.looking)
                world_wait(&w);
        looks = w.svc->dmem.looks;
        now_ns += PERIOD_MS * 1000000ull;
        service_collect(w.svc);
        while (w.svc->dmem.looks == looks)
                world_wait(&w);
        assert_false(w.svc->dmem.looking);
}

static void own(const char *path, unsigned bound, uint64_t bytes) {
        must(&admin, mk_own_limit(0, path, GPU1, bound, bytes));
}

static void own_clear(const char *path) {
        Svmd__V1__Op *op = mk_own_limit(0, path, 0, 0, 0);

        op->limit_set->n_limits = 0;
        op->limit_set->clear = true;
        must(&admin, op);
}

static uint64_t in_force(const char *path, enum bound bound) {
        const struct cgroup *g = cgroup_find(&w.svc->state, path);
        const struct bounds b = g ? account_bounds(&g->accounts[GPU1]) : BOUNDS_NONE;

        return b.bytes[bound];
}

static bool has_finding(const char *id, const char *says) {
        Svmd__V1__Result *r = must(&admin, op_make(SVMD__V1__OP__OP_STATUS));

        for (size_t i = 0; i < r->status->n_findings; i++)
                if (strcmp(r->status->findings[i]->id, id) == 0 && strstr(r->status->findings[i]->text, says))
                        return true;
        return false;
}

/* ---- cases ---- */

/* From the first request of a session on, in its group and in those around it, and as it changes. */
static void test_followed(void **state) {
        others_set("/pod/a", DMEM_MAX, 4 * MIB);
        join();
        must_not(&a, mk_create(GPU1, 5 * MIB, PINNED), SVMD_STATUS_LIMIT,
                 "/pod/a may have 4 MiB on gpu1 by its dmem.max");
        must(&a, mk_create(GPU1, 3 * MIB, PINNED));
        others_set("/pod", DMEM_MAX, 2 * MIB);
        others_set("/pod/a", DMEM_LOW, MIB);
        pass();
        must_not(&a, mk_create(GPU1, 4096, PINNED), SVMD_STATUS_LIMIT, "/pod");
        assert_true(in_force("/pod", BOUND_MAX) == 2 * MIB && in_force("/pod/a", BOUND_LOW) == MIB);
        others_set("/pod", DMEM_MAX, DMEM_NO_LIMIT);
        others_set("/pod/a", DMEM_MAX, DMEM_NO_LIMIT);
        others_set("/pod/a", DMEM_LOW, 0);
        pass();
        must(&a, mk_create(GPU1, 8 * MIB, PINNED));
        assert_null(cgroup_find(&w.svc->state, "/pod/a"));
        assert_true(in_file("/pod/a", DMEM_MAX) == DMEM_NO_LIMIT);
        assert_true(has_finding("dmem", "an emulation of dmem"));
}

/* Also by the svmd after this one. */
static void test_followed_after_a_restart(void **state) {
        join();
        others_set("/pod/a", DMEM_MAX, 4 * MIB);
        drive(true);
        assert_true(in_force("/pod/a", BOUND_MAX) == 4 * MIB);
        must_not(&a, mk_create(GPU1, 5 * MIB, PINNED), SVMD_STATUS_LIMIT, "dmem.max");
}

static void test_driven(void **state) {
        join();
        own("/pod/a", BOUND_MAX, 8 * MIB + 5);
        own("/pod/a", BOUND_MIN, MIB);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == 8 * MIB && in_file("/pod/a", DMEM_MIN) == MIB);
        assert_true(in_force("/pod/a", BOUND_MAX) == 8 * MIB + 5);
        own("/pod/a", BOUND_MAX, 6 * MIB);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == 6 * MIB && in_force("/pod/a", BOUND_MAX) == 6 * MIB);
        own("/pod/a", BOUND_MAX, 16 * MIB); /* what it wrote is no limit of somebody else's */
        assert_true(in_force("/pod/a", BOUND_MAX) == 16 * MIB);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == 16 * MIB);
        own_clear("/pod/a");
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == DMEM_NO_LIMIT && in_file("/pod/a", DMEM_MIN) == 0);
        assert_null(cgroup_find(&w.svc->state, "/pod/a"));
        assert_true(list_empty(&w.svc->dmem.records));
}

/* Off, nothing is written, and all is followed. */
static void test_not_driven(void **state) {
        join();
        drive(false);
        own("/pod/a", BOUND_MAX, 8 * MIB);
        others_set("/pod/a", DMEM_MAX, 4 * MIB);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == 4 * MIB && in_force("/pod/a", BOUND_MAX) == 4 * MIB);
        others_set("/pod/a", DMEM_MAX, DMEM_NO_LIMIT);
        pass();
        assert_true(in_force("/pod/a", BOUND_MAX) == 8 * MIB);
}

/* Who sets something else is left it, and it is told; the next change of svmd's own is written again. */
static void test_two_who_differ(void **state) {
        join();
        own("/pod/a", BOUND_MAX, 8 * MIB);
        pass();
        others_set("/pod/a", DMEM_MAX, 2 * MIB);
        for (unsigned i = 0; i < 3; i++) {
                pass();
                assert_true(in_file("/pod/a", DMEM_MAX) == 2 * MIB && in_force("/pod/a", BOUND_MAX) == 2 * MIB);
                assert_true(has_finding("dmem-limit", "dmem.max of /pod/a on gpu1 is somebody else's: 2097152"));
        }
        others_set("/pod/a", DMEM_MAX, 12 * MIB);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == 12 * MIB && in_force("/pod/a", BOUND_MAX) == 8 * MIB);
        own("/pod/a", BOUND_MAX, 7 * MIB);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == 7 * MIB && in_force("/pod/a", BOUND_MAX) == 7 * MIB);
        assert_false(has_finding("dmem-limit", ""));
        others_set("/pod/a", DMEM_MAX, 3 * MIB);
        own_clear("/pod/a"); /* what is not svmd's any more is not taken away */
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == 3 * MIB && in_force("/pod/a", BOUND_MAX) == 3 * MIB);
}

/* A group that was not there, and one that is made anew under the same name. */
static void test_another_folder(void **state) {
        own("/pod/b", BOUND_MAX, 8 * MIB);
        pass();
        for (unsigned i = 0; i < 2; i++) {
                group_make("/pod/b");
                pass();
                assert_true(in_file("/pod/b", DMEM_MAX) == 8 * MIB);
                group_end("/pod/b");
                pass();
                assert_true(list_empty(&w.svc->dmem.records));
                assert_true(in_force("/pod/b", BOUND_MAX) == 8 * MIB);
        }
}

/* Nothing of the group can be written for a while. */
static void block(bool on) {
        char name[160];

        snprintf(name, sizeof(name), "%s/pod/a/dmem.max.svmd", root);
        assert_int_equal(on ? mkdir(name, 0755) : rmdir(name), 0);
}

/* svmd ends between a change and writing it. */
static void test_killed(void **state) {
        join();
        own("/pod/a", BOUND_MAX, 8 * MIB);
        pass();
        block(true);
        own("/pod/a", BOUND_MAX, 12 * MIB);
        drive(true);
        assert_true(in_force("/pod/a", BOUND_MAX) == 12 * MIB && in_file("/pod/a", DMEM_MAX) == 8 * MIB);
        block(false);
        pass();
        assert_true(in_force("/pod/a", BOUND_MAX) == 12 * MIB && in_file("/pod/a", DMEM_MAX) == 12 * MIB);
        block(true);
        own_clear("/pod/a");
        drive(true);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == 12 * MIB); /* it knows that for its own */
        assert_true(in_force("/pod/a", BOUND_MAX) == ACCOUNT_NO_LIMIT);
        block(false);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == DMEM_NO_LIMIT);
        assert_null(cgroup_find(&w.svc->state, "/pod/a"));
}

static void test_refused(void **state) {
        join();
        block(true);
        own("/pod/a", BOUND_MAX, 8 * MIB);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == DMEM_NO_LIMIT && in_force("/pod/a", BOUND_MAX) == 8 * MIB);
        assert_true(has_finding("dmem-limit", "are not written to dmem: Is a directory"));
        block(false);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == 8 * MIB);
        assert_false(has_finding("dmem-limit", ""));
}

/* More than the node has left to promise. */
static void test_min(void **state) {
        join();
        others_set("/pod/a", DMEM_MIN, 1024 * GIB);
        others_set("/pod/a", DMEM_MAX, 4 * MIB);
        pass();
        assert_true(in_force("/pod/a", BOUND_MIN) == 0 && in_force("/pod/a", BOUND_MAX) == 4 * MIB);
        assert_true(has_finding("dmem-limit", "promises more than gpu1"));
        others_set("/pod/a", DMEM_MIN, MIB);
        pass();
        assert_true(in_force("/pod/a", BOUND_MIN) == MIB);
        assert_false(has_finding("dmem-limit", ""));
}

static void test_no_region(void **state) {
        struct client *clients[] = { &a };

        join();
        put("/dmem.capacity", OTHER " 5\n");
        others_set("/pod/a", DMEM_MAX, MIB);
        client_close(&admin);
        world_bury(world_restart_as_was(&w, clients, 1));
        client_open(&w, &admin, 0, 0, true);
        client_greet(&admin, NULL);
        assert_true(has_finding("dmem", "no driver has registered it"));
        must(&a, mk_create(GPU1, 2 * MIB, PINNED));
}

/* Whatever has no memory in a look, nothing is half done, and the next one has it right. */
static void test_no_memory(void **state) {
        bool hit = true;

        join();
        for (uint64_t n = 1; hit; n++) {
                others_set("/pod/a", DMEM_MAX, (1 + n % 8) * MIB);
                others_set("/pod", DMEM_LOW, (1 + n % 8) * MIB);
                now_ns += PERIOD_MS * 1000000ull;
                alloc_fail_at(n);
                service_collect(w.svc);
                while (w.svc->dmem.looking)
                        world_wait(&w);
                hit = alloc_fail_hit();
                alloc_fail_off();
                check_world(&w);
                pass();
                assert_true(in_force("/pod/a", BOUND_MAX) == (1 + n % 8) * MIB);
                assert_true(in_force("/pod", BOUND_LOW) == (1 + n % 8) * MIB);
                others_set("/pod/a", DMEM_MAX, DMEM_NO_LIMIT);
                others_set("/pod", DMEM_LOW, 0);
                pass();
                assert_true(list_empty(&w.svc->state.cgroups));
                assert_true(n < 1000);
        }
}

/* ---- by svmd-cgroup ---- */

static struct writer writer;

/* No file can be made in the group's folder, as svmd would, but those that are there can be written: what a folder's
 * mode is to a user, read-only control groups are to the unit. */
static int set_up_without_right(void **state) {
        char name[128];

        writer = (struct writer){ .listener = -1 };
        if (set_up(state) != 0)
                return -1;
        join();
        w.options.runtime_dir = w.dir;
        drive(true);
        snprintf(name, sizeof(name), "%s/pod/a", root);
        return chmod(name, 0555);
}

static int tear_down_without_right(void **state) {
        char name[128];

        writer_close(&writer);
        snprintf(name, sizeof(name), "%s/pod/a", root);
        return chmod(name, 0755) == 0 ? tear_down(state) : -1;
}

static void listen_for_svmd(void) {
        char name[sizeof(writer.path)];

        snprintf(name, sizeof(name), "%s/cgroup.sock", w.dir);
        writer_listen(&writer, name);
}

static void start_writer(const char *folder) {
        char user[16];

        snprintf(user, sizeof(user), "%u", getuid());
        writer_start(&writer, folder, user, "0");
}

/* By the next look, or by one after it where the machine is so busy that the writer was silent for a second. */
static void pass_until(enum dmem_value which, uint64_t value) {
        for (unsigned i = 0; i < 30; i++) {
                pass();
                if (in_file("/pod/a", which) == value)
                        break;
        }
        assert_true(in_file("/pod/a", which) == value);
        assert_false(has_finding("dmem-limit", ""));
}

static void test_by_the_writer(void **state) {
        own("/pod/a", BOUND_MAX, 8 * MIB);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == DMEM_NO_LIMIT && in_force("/pod/a", BOUND_MAX) == 8 * MIB);
        assert_true(has_finding("dmem-limit", "Permission denied; who may do it for svmd is started by: "
                                              "systemctl enable --now svmd-cgroup.socket"));
        listen_for_svmd();
        start_writer(root);
        pass_until(DMEM_MAX, 8 * MIB);
        own("/pod/a", BOUND_MIN, MIB);
        own("/pod/a", BOUND_LOW, 2 * MIB);
        pass_until(DMEM_MIN, MIB);
        pass_until(DMEM_LOW, 2 * MIB);
        assert_true(in_force("/pod/a", BOUND_MAX) == 8 * MIB && in_force("/pod/a", BOUND_MIN) == MIB);
        put("/pod/a/dmem.max", REGION " 4194304\n");
        pass();
        assert_true(in_force("/pod/a", BOUND_MAX) == 4 * MIB);
        assert_true(has_finding("dmem-limit", "dmem.max of /pod/a on gpu1 is somebody else's: 4194304"));
        own("/pod/a", BOUND_MAX, 6 * MIB);
        pass_until(DMEM_MAX, 6 * MIB);
        own_clear("/pod/a");
        pass_until(DMEM_MAX, DMEM_NO_LIMIT);
        pass_until(DMEM_MIN, 0);
        pass_until(DMEM_LOW, 0);
        assert_true(list_empty(&w.svc->dmem.records));
}

/* With the writer gone and with svmd gone, between a change and writing it. */
static void test_the_writer_is_killed(void **state) {
        listen_for_svmd();
        start_writer(root);
        own("/pod/a", BOUND_MAX, 8 * MIB);
        pass_until(DMEM_MAX, 8 * MIB);
        writer_close(&writer);
        own("/pod/a", BOUND_MAX, 12 * MIB);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == 8 * MIB && in_force("/pod/a", BOUND_MAX) == 12 * MIB);
        assert_true(has_finding("dmem-limit", "Permission denied; who may do it for svmd"));
        drive(true);
        assert_true(in_force("/pod/a", BOUND_MAX) == 12 * MIB); /* 8 MiB are nobody else's */
        listen_for_svmd();
        start_writer(root);
        pass_until(DMEM_MAX, 12 * MIB);
        writer_close(&writer);
        own_clear("/pod/a");
        drive(true);
        pass();
        assert_true(in_file("/pod/a", DMEM_MAX) == 12 * MIB && in_force("/pod/a", BOUND_MAX) == ACCOUNT_NO_LIMIT);
        listen_for_svmd();
        start_writer(root);
        pass_until(DMEM_MAX, DMEM_NO_LIMIT);
}

/* It does not answer: all three values of a look are refused, and it was asked for one. */
static void test_the_writer_is_stopped(void **state) {
        int fd;

        own("/pod/a", BOUND_MIN, MIB);
        own("/pod/a", BOUND_LOW, 2 * MIB);
        own("/pod/a", BOUND_MAX, 8 * MIB);
        pass();
        listen_for_svmd();
        pass();
        assert_true(has_finding("dmem-limit", "Permission denied; svmd-cgroup, who may, does not answer"));
        fd = accept4(writer.listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(accept4(writer.listener, NULL, NULL, SOCK_CLOEXEC), -1);
        assert_int_equal(errno, EAGAIN);
        start_writer(root);
        pass_until(DMEM_MAX, 8 * MIB);
        assert_true(in_file("/pod/a", DMEM_MIN) == MIB && in_file("/pod/a", DMEM_LOW) == 2 * MIB);
}

/* It says why it does not write. */
static void test_the_writer_refuses(void **state) {
        listen_for_svmd();
        start_writer("/");
        own("/pod/a", BOUND_MAX, 8 * MIB);
        for (unsigned i = 0; i < 30 && !has_finding("dmem-limit", "cross-device link, by svmd-cgroup"); i++)
                pass();
        assert_true(has_finding("dmem-limit", "cross-device link, by svmd-cgroup"));
        assert_true(in_file("/pod/a", DMEM_MAX) == DMEM_NO_LIMIT && in_force("/pod/a", BOUND_MAX) == 8 * MIB);
        writer_kill(&writer);
        start_writer(root);
        pass_until(DMEM_MAX, 8 * MIB);
}

/* ---- at random ---- */

/* Who wrote last is left; the ledger has the stricter one of svmd's own and of what is not its own there. */
static void test_random(void **state) {
        uint64_t seed = getenv("SVMD_SEED") ? strtoull(getenv("SVMD_SEED"), NULL, 0) : (uint64_t)getpid();
        uint64_t ours = DMEM_NO_LIMIT, file = DMEM_NO_LIMIT, written = DMEM_NO_LIMIT;
        const unsigned steps = getenv("SVMD_LONG") ? STEPS_LONG : STEPS;
        bool changed = false;

        printf("seed %llu\n", (unsigned long long)seed);
        srandom((unsigned)seed);
        join();
        for (unsigned step = 0; step < steps; step++) {
                uint64_t value = (1 + (uint64_t)random() % 8) * MIB, want;

                switch (random() % 5) {
                case 0:
                        changed |= ours != value;
                        ours = value;
                        own("/pod/a", BOUND_MAX, ours);
                        break;
                case 1:
                        if (ours != DMEM_NO_LIMIT)
                                own_clear("/pod/a");
                        ours = DMEM_NO_LIMIT;
                        break;
                case 2: others_set("/pod/a", DMEM_MAX, file = value); break;
                case 3: others_set("/pod/a", DMEM_MAX, file = DMEM_NO_LIMIT); break;
                default: drive(true);
                }
                pass();
                if (ours == DMEM_NO_LIMIT) {
                        if (file == written)
                                file = DMEM_NO_LIMIT;
                        written = DMEM_NO_LIMIT;
                } else if (ours != written || changed) {
                        file = written = ours;
                }
                changed = false;
                assert_true(in_file("/pod/a", DMEM_MAX) == file);
                want = file != written && file < ours ? file : ours;
                assert_true(in_force("/pod/a", BOUND_MAX) == want);
        }
}

/* Modes of files hold for root, too. */
static void give_up_override(void) {
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];

        assert_int_equal(syscall(SYS_capget, &head, data), 0);
        data[0].effective &= ~(1u << CAP_DAC_OVERRIDE);
        assert_int_equal(syscall(SYS_capset, &head, data), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_followed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_followed_after_a_restart, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_driven, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_not_driven, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_two_who_differ, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_another_folder, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_killed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_min, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_region, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_by_the_writer, set_up_without_right, tear_down_without_right),
                cmocka_unit_test_setup_teardown(test_the_writer_is_killed, set_up_without_right,
                                                tear_down_without_right),
                cmocka_unit_test_setup_teardown(test_the_writer_is_stopped, set_up_without_right,
                                                tear_down_without_right),
                cmocka_unit_test_setup_teardown(test_the_writer_refuses, set_up_without_right, tear_down_without_right),
                cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
        };

        give_up_override();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
