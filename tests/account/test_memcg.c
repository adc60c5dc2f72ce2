/*
 * Whom the kernel lets have how much memory, by the files of both versions of control groups, in each layout of their
 * mounts: trees of this test's own, made after what kernels of those layouts show.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "account/look.h"
#include "account/memcg.h"

#define MIB (1ull << 20)

/* ---- texts ---- */

static bool take(struct memcg *m, unsigned version, enum memcg_file file, const char *text) {
        return memcg_take(m, version, file, text, strlen(text));
}

static void test_version_2(void **state) {
        struct memcg m = MEMCG_NONE;

        assert_true(take(&m, 2, MEMCG_MAX, "max\n"));
        assert_true(take(&m, 2, MEMCG_HIGH, "max\n"));
        assert_true(memcg_limit(&m) == MEMCG_NO_LIMIT && memcg_room(&m) == MEMCG_NO_LIMIT);
        assert_true(take(&m, 2, MEMCG_MAX, "67108864\n"));
        assert_true(take(&m, 2, MEMCG_HIGH, "33554432\n"));
        assert_true(memcg_limit(&m) == 32 * MIB);
        assert_true(take(&m, 2, MEMCG_CURRENT, "31457280\n"));
        assert_true(memcg_room(&m) == 2 * MIB);
        assert_true(take(&m, 2, MEMCG_STAT, "anon 5\nfile 9\nshmem 4096\ninactive_file 1048576\nactive_file 4096\n"));
        assert_true(m.shmem == 4096 && m.reclaimable == MIB + 4096);
        assert_true(memcg_room(&m) == 3 * MIB + 4096);
        assert_true(take(&m, 2, MEMCG_REFUSED, "low 0\nhigh 4\nmax 17\noom 2\noom_kill 1\n") && m.refused == 17);
        assert_true(take(&m, 2, MEMCG_KILLED, "low 0\nhigh 4\nmax 17\noom 2\noom_kill 1\n") && m.killed == 1);
}

static void test_version_1(void **state) {
        struct memcg m = MEMCG_NONE;

        assert_true(take(&m, 1, MEMCG_MAX, "9223372036854771712\n"));
        assert_true(memcg_limit(&m) == MEMCG_NO_LIMIT);
        assert_null(memcg_file(1, MEMCG_HIGH));
        assert_false(take(&m, 1, MEMCG_HIGH, "5\n"));
        assert_true(take(&m, 1, MEMCG_MAX, "1048576\n") && memcg_limit(&m) == MIB);
        assert_true(take(&m, 1, MEMCG_STAT, "cache 1\nshmem 2\ntotal_shmem 8192\ntotal_active_file 5\n"));
        assert_true(m.shmem == 8192 && m.reclaimable == 5);
        assert_true(take(&m, 1, MEMCG_REFUSED, "23\n") && m.refused == 23);
        assert_true(take(&m, 1, MEMCG_KILLED, "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n") && m.killed == 3);
}

/* What says nothing changes nothing; more than there is is no room. */
static void test_bounds(void **state) {
        struct memcg m = MEMCG_NONE;

        assert_true(take(&m, 2, MEMCG_MAX, "4096\n"));
        assert_false(take(&m, 2, MEMCG_MAX, ""));
        assert_false(take(&m, 2, MEMCG_MAX, "maximal"));
        assert_false(take(&m, 2, MEMCG_MAX, "-1\n"));
        assert_false(take(&m, 2, MEMCG_STAT, "anon 3\n"));
        assert_false(take(&m, 3, MEMCG_MAX, "5\n"));
        assert_true(m.max == 4096);
        assert_true(take(&m, 2, MEMCG_CURRENT, "8192\n") && memcg_room(&m) == 0);
        m.reclaimable = UINT64_MAX;
        assert_true(memcg_room(&m) == 4096);
        assert_true(take(&m, 2, MEMCG_MAX, "99999999999999999999999\n") && m.max == MEMCG_NO_LIMIT);
}

/* ---- trees ---- */

static char root[64];

static void put(const char *path, const char *text) {
        char command[256], name[160];
        FILE *f;

        snprintf(name, sizeof(name), "%s/%s", root, path);
        snprintf(command, sizeof(command), "mkdir -p $(dirname %s)", name);
        assert_int_equal(system(command), 0);
        f = fopen(name, "we");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static void group_2(const char *folder, const char *max, const char *current) {
        char path[128];

        snprintf(path, sizeof(path), "%s/memory.max", folder);
        put(path, max);
        snprintf(path, sizeof(path), "%s/memory.high", folder);
        put(path, "max\n");
        snprintf(path, sizeof(path), "%s/memory.current", folder);
        put(path, current);
        snprintf(path, sizeof(path), "%s/memory.stat", folder);
        put(path, "anon 4096\nshmem 12288\n");
        snprintf(path, sizeof(path), "%s/memory.events", folder);
        put(path, "max 1\noom_kill 2\n");
}

static void group_1(const char *folder, const char *limit, const char *usage) {
        char path[128];

        snprintf(path, sizeof(path), "%s/memory.limit_in_bytes", folder);
        put(path, limit);
        snprintf(path, sizeof(path), "%s/memory.usage_in_bytes", folder);
        put(path, usage);
        snprintf(path, sizeof(path), "%s/memory.stat", folder);
        put(path, "shmem 1\ntotal_shmem 20480\n");
        snprintf(path, sizeof(path), "%s/memory.failcnt", folder);
        put(path, "9\n");
        snprintf(path, sizeof(path), "%s/memory.oom_control", folder);
        put(path, "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
}

static void expect_folder(unsigned version, const char *folder) {
        char proc[80], sys[80], got[LOOK_FOLDER], want[160];

        snprintf(proc, sizeof(proc), "%s/proc", root);
        snprintf(sys, sizeof(sys), "%s/sys", root);
        snprintf(want, sizeof(want), "%s/sys/fs/cgroup%s", root, folder);
        assert_int_equal(look_memory_folder(proc, sys, 7, got), version);
        assert_string_equal(got, want);
        assert_int_equal(memcg_version(got, strlen(got)), version);
}

static struct look_cgroup look(const char *path) {
        struct look_cgroup c;
        char sys[80];

        snprintf(sys, sizeof(sys), "%s/sys", root);
        look_at_cgroup(sys, path, &c);
        return c;
}

static int set_up(void **state) {
        strcpy(root, "/tmp/svmd-memcg-XXXXXX");
        return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state) {
        char command[96];

        snprintf(command, sizeof(command), "rm -rf %s", root);
        return system(command);
}

/* The group above has less left than the group itself. */
static void test_unified(void **state) {
        struct look_cgroup c;

        put("proc/7/cgroup", "0::/pods/a\n");
        put("sys/fs/cgroup/cgroup.controllers", "cpu memory dmem\n");
        put("sys/fs/cgroup/memory.stat", "shmem 99\n");
        group_2("sys/fs/cgroup/pods", "2097152\n", "1572864\n");
        group_2("sys/fs/cgroup/pods/a", "max\n", "1048576\n");
        put("sys/fs/cgroup/pods/a/dmem.current", "drm/0000:03:00.0/vram0 4096\n");
        expect_folder(2, "/pods/a");
        c = look("/pods/a");
        assert_true(c.has_memory && c.memory.shmem == 12288 && c.memory.killed == 2 && c.memory.refused == 1);
        assert_true(c.limit == 2 * MIB && c.room == MIB / 2);
        assert_true(c.regions_count == 1 && c.regions[0].bytes == 4096);
        put("sys/fs/cgroup/pods/memory.max", "max\n");
        c = look("/pods/a");
        assert_true(c.limit == MEMCG_NO_LIMIT && c.room == MEMCG_NO_LIMIT);
        assert_false(look("/pods/b").has_memory);
        assert_false(look("/pods/../pods/a").has_memory);
}

/* Both are mounted, and version 1 counts memory. */
static void test_hybrid(void **state) {
        struct look_cgroup c;

        put("proc/7/cgroup", "9:name=systemd:/x\n4:memory:/pods/a\n3:cpu,cpuacct:/y\n0::/z\n");
        put("sys/fs/cgroup/unified/cgroup.controllers", "hugetlb\n");
        put("sys/fs/cgroup/unified/z/cgroup.procs", "7\n");
        group_1("sys/fs/cgroup/memory", "9223372036854771712\n", "99999999\n");
        group_1("sys/fs/cgroup/memory/pods", "9223372036854771712\n", "3145728\n");
        group_1("sys/fs/cgroup/memory/pods/a", "4194304\n", "3145728\n");
        expect_folder(1, "/memory/pods/a");
        c = look("/pods/a");
        assert_true(c.has_memory && c.memory.shmem == 20480 && c.memory.killed == 4 && c.memory.refused == 9);
        assert_true(c.limit == 4 * MIB && c.room == MIB);
}

/* Both are mounted, and version 2 has the memory controller. */
static void test_hybrid_with_memory_in_2(void **state) {
        put("proc/7/cgroup", "9:name=systemd:/x\n3:cpu,cpuacct:/y\n0::/pods/a\n");
        put("sys/fs/cgroup/unified/cgroup.controllers", "memory\n");
        group_2("sys/fs/cgroup/unified/pods/a", "8388608\n", "1048576\n");
        expect_folder(2, "/unified/pods/a");
        assert_true(look("/pods/a").limit == 8 * MIB);
        assert_true(look("/pods/a").room == 7 * MIB);
}

/* No version 2 at all, and memory beside another controller. */
static void test_legacy(void **state) {
        put("proc/7/cgroup", "5:cpuset:/\n4:hugetlb,memory:/docker/abc\n1:name=systemd:/x\n");
        group_1("sys/fs/cgroup/memory", "9223372036854771712\n", "99999999\n");
        group_1("sys/fs/cgroup/memory/docker/abc", "1048576\n", "0\n");
        expect_folder(1, "/memory/docker/abc");
        assert_true(look("/docker/abc").room == MIB);
}

/* Of a process whose groups lie outside of what svmd sees, or that is gone, nothing is known. */
static void test_none(void **state) {
        char sys[80], proc[80], folder[LOOK_FOLDER];

        snprintf(sys, sizeof(sys), "%s/sys", root);
        snprintf(proc, sizeof(proc), "%s/proc", root);
        assert_int_equal(look_memory_folder(proc, sys, 7, folder), 0);
        put("proc/7/cgroup", "0::/../../other\n");
        assert_int_equal(look_memory_folder(proc, sys, 7, folder), 0);
        put("proc/7/cgroup", "3:cpu:/y\n");
        assert_int_equal(look_memory_folder(proc, sys, 7, folder), 0);
        assert_false(look("/").has_memory);
        assert_false(look("relative").has_memory);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_version_2),
                cmocka_unit_test(test_version_1),
                cmocka_unit_test(test_bounds),
                cmocka_unit_test_setup_teardown(test_unified, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_hybrid, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_hybrid_with_memory_in_2, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_legacy, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_none, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
