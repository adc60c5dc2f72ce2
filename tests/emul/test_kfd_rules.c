/*
 * The model of KFD keeps its rules, and each of them is noticed: with any one broken some check fails. Attributes of
 * ranges are then compared with a naive model of single pages, at random; SVMD_SEED=N repeats a run.
 */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "kfd_model.h"
#include "machine.h"
#include "proto/uapi/kfd.h"

enum { ME = 100, OTHER = 200, PAGE = 4096, MIB = 1 << 20, ATTRIBUTES_MAX = 8 };
#define BASE UINT64_C(0x280000000000)

/* Two GPUs of one hive, one of another. */
static struct machine machine = {
        .count = 3,
        .gpus = {
                { .id = 11, .node = 1, .gfx = 90402, .hive = 1, .memory = 64 * MIB },
                { .id = 12, .node = 2, .gfx = 90402, .hive = 1, .memory = 64 * MIB },
                { .id = 13, .node = 3, .gfx = 90010, .hive = 2, .memory = 64 * MIB },
        },
};

struct world {
        struct kfd_model *model;
        struct kfd_file *file;
        uint64_t unmapped; /* the one page without a VMA */
        unsigned failures;
};

/* The caller's memory is this process's. */
static int mem_read(void *userdata, uint64_t address, void *to, size_t size) {
        memcpy(to, (void *)(uintptr_t)address, size);
        return 0;
}

static int mem_write(void *userdata, uint64_t address, const void *from, size_t size) {
        memcpy((void *)(uintptr_t)address, from, size);
        return 0;
}

static bool mem_mapped(void *userdata, uint64_t address, uint64_t size) {
        struct world *w = userdata;

        return !(w->unmapped >= address && w->unmapped < address + size);
}

static int call(struct world *w, unsigned number, void *data) {
        struct kfd_memory memory = { w, mem_read, mem_write, mem_mapped };

        return kfd_model_call(w->file, ME, &memory, number, data);
}

static void check_(struct world *w, bool good, const char *what, unsigned line) {
        if (!good && getenv("SVMD_VERBOSE"))
                printf("line %u: %s\n", line, what);
        w->failures += !good;
}
#define check(w, x) check_(w, x, #x, __LINE__)

/* ---- calls, in short ---- */

static int acquire(struct world *w, uint32_t gpu, uint32_t fd) {
        struct kfd_acquire_vm_args a = { .gpu_id = gpu, .drm_fd = fd };

        return call(w, KFD_ACQUIRE_VM, &a);
}

static int alloc(struct world *w, uint32_t gpu, uint64_t address, uint64_t size, uint64_t *ret) {
        struct kfd_alloc_memory_args a = { .address = address, .size = size, .gpu_id = gpu, .flags = KFD_ALLOC_VRAM };
        int r = call(w, KFD_ALLOC_MEMORY, &a);

        if (r == 0 && ret)
                *ret = a.handle;
        return r;
}

static int map(struct world *w, unsigned number, uint64_t handle, const uint32_t *ids, uint32_t count) {
        struct kfd_map_memory_args a = { .handle = handle, .gpu_ids = (uintptr_t)ids, .count = count };

        return call(w, number, &a);
}

static int map_on(struct world *w, uint64_t handle, uint32_t gpu) {
        return map(w, KFD_MAP_MEMORY, handle, &gpu, 1);
}

static int unmap_from(struct world *w, uint64_t handle, uint32_t gpu) {
        return map(w, KFD_UNMAP_MEMORY, handle, &gpu, 1);
}

static int drop(struct world *w, uint64_t handle) {
        struct kfd_free_memory_args a = { handle };

        return call(w, KFD_FREE_MEMORY, &a);
}

static int xnack(struct world *w, int mode) {
        struct kfd_xnack_args a = { mode };
        int r = call(w, KFD_XNACK, &a);

        return r < 0 ? r : a.mode;
}

static int svm(struct world *w, enum kfd_svm_operation operation, uint64_t start, uint64_t size,
               struct kfd_svm_attribute *list, unsigned count) {
        union {
                struct kfd_svm_args args;
                char room[sizeof(struct kfd_svm_args) + ATTRIBUTES_MAX * sizeof(struct kfd_svm_attribute)];
        } u;
        int r;

        u.args = (struct kfd_svm_args){ .start = start, .size = size, .operation = operation, .count = count };
        memcpy(u.args.attributes, list, count * sizeof(*list));
        r = call(w, (unsigned)KFD_SVM_WITH(count), &u);
        memcpy(list, u.args.attributes, count * sizeof(*list));
        return r;
}

static int set(struct world *w, uint64_t start, uint64_t size, uint32_t type, uint32_t value) {
        return svm(w, KFD_SVM_SET, start, size, &(struct kfd_svm_attribute){ type, value }, 1);
}

/* What GET answers: the value, or for access the type. */
static uint32_t get(struct world *w, uint64_t start, uint64_t size, uint32_t type, uint32_t value) {
        struct kfd_svm_attribute a = { type, value };
        int r = svm(w, KFD_SVM_GET, start, size, &a, 1);

        check(w, r == 0);
        return type == KFD_SVM_ACCESS ? a.type : a.value;
}

/* ---- the rules ---- */

static void check_process(struct world *w) {
        struct kfd_memory memory = { w, mem_read, mem_write, mem_mapped };
        struct kfd_get_version_args v = { 0 };

        check(w, call(w, KFD_GET_VERSION, &v) == 0 && v.major == 1 && v.minor == 11);
        check(w, call(w, _IOWR('K', 0x7f, uint64_t), &v) == -ENOTTY);
        check(w, kfd_model_call(w->file, OTHER, &memory, KFD_GET_VERSION, &v) == -EBADF);
}

static void check_apertures(struct world *w) {
        struct kfd_aperture got[4] = { 0 };
        struct kfd_apertures_args a = { .apertures = (uintptr_t)got };

        check(w, call(w, KFD_APERTURES, &a) == 0 && a.count == 3);
        a.count = 4;
        check(w, call(w, KFD_APERTURES, &a) == 0 && a.count == 3);
        for (unsigned i = 0; i < 3; i++) {
                check(w, got[i].gpu_id == 11 + i && got[i].gpuvm_base == 16 * MIB &&
                                 got[i].gpuvm_limit == (1ull << 47) - 1);
                check(w, got[i].lds_base == 1ull << 48 && got[i].scratch_base == 2ull << 48);
        }
}

static void check_vm(struct world *w) {
        struct kfd_available_memory_args m = { .gpu_id = 11 };

        check(w, alloc(w, 11, BASE, MIB, NULL) == -ENODEV);
        check(w, acquire(w, 99, 3) == -EINVAL);
        check(w, acquire(w, 11, 3) == 0 && acquire(w, 11, 3) == 0);
        check(w, acquire(w, 11, 4) == -EBUSY);
        check(w, call(w, KFD_AVAILABLE_MEMORY, &m) == 0 && m.available == 64 * MIB);
        check(w, alloc(w, 11, BASE, MIB, NULL) == 0);
        check(w, call(w, KFD_AVAILABLE_MEMORY, &m) == 0 && m.available == 63 * MIB);
}

static void check_buffers(struct world *w) {
        static const uint32_t both[] = { 11, 12 }, wrong[] = { 11, 99 };
        struct kfd_map_memory_args a = { .gpu_ids = (uintptr_t)wrong, .count = 2 };
        uint64_t first = 0, second = 0;

        check(w, acquire(w, 11, 3) == 0 && acquire(w, 12, 4) == 0);
        check(w, alloc(w, 11, BASE, 0, NULL) == -EINVAL);
        check(w, alloc(w, 11, BASE, 65 * MIB, NULL) == -ENOMEM);
        check(w, alloc(w, 11, BASE, MIB, &first) == 0 && first >> 32 == 11);
        check(w, alloc(w, 11, BASE, MIB, &second) == 0 && first != second);
        check(w, map(w, KFD_MAP_MEMORY, first, both, 0) == -EINVAL);
        check(w, map(w, KFD_MAP_MEMORY, first, both, 2) == 0);
        check(w, map_on(w, second, 11) == -EINVAL);
        check(w, unmap_from(w, first, 11) == 0 && map_on(w, second, 11) == 0);
        a.handle = second;
        check(w, call(w, KFD_MAP_MEMORY, &a) == -EINVAL && a.done == 1);
        check(w, drop(w, first) == -EBUSY);
        check(w, unmap_from(w, first, 12) == 0 && drop(w, first) == 0);
        check(w, drop(w, first) == -EINVAL);
}

static void check_svm_calls(struct world *w) {
        struct kfd_svm_attribute two[2] = { { KFD_SVM_GRANULARITY, 9 }, { KFD_SVM_GRANULARITY, 9 } };
        struct {
                struct kfd_svm_args args;
                struct kfd_svm_attribute one;
        } small = { .args = { .start = BASE, .size = PAGE, .count = 2 } };

        check(w,
              set(w, BASE, 0, KFD_SVM_GRANULARITY, 9) == -EINVAL && set(w, 0, PAGE, KFD_SVM_GRANULARITY, 9) == -EINVAL);
        check(w, set(w, BASE + 1, PAGE, KFD_SVM_GRANULARITY, 9) == -EINVAL);
        check(w, set(w, UINT64_MAX - PAGE + 1, 2 * PAGE, KFD_SVM_GRANULARITY, 9) == -EINVAL);
        check(w, set(w, BASE, PAGE, 8, 0) == -EINVAL);
        check(w, svm(w, KFD_SVM_GET, BASE, PAGE, &(struct kfd_svm_attribute){ KFD_SVM_NO_ACCESS, 11 }, 1) == -EINVAL);
        check(w, set(w, BASE, PAGE, KFD_SVM_PREFERRED_LOC, 99) == -EINVAL &&
                         set(w, BASE, PAGE, KFD_SVM_ACCESS, 99) == -EINVAL);
        check(w, set(w, BASE, PAGE, KFD_SVM_PREFETCH_LOC, KFD_SVM_UNDEFINED) == -EINVAL);
        check(w, call(w, (unsigned)KFD_SVM_WITH(1), &small) == -EINVAL);
        check(w, svm(w, KFD_SVM_SET, BASE, PAGE, two, 2) == 0);
        w->unmapped = BASE + PAGE;
        check(w, set(w, BASE, 2 * PAGE, KFD_SVM_GRANULARITY, 9) == -EFAULT &&
                         set(w, BASE, PAGE, KFD_SVM_GRANULARITY, 9) == 0);
        check(w, set(w, BASE, PAGE, KFD_SVM_GRANULARITY, 100) == 0 && get(w, BASE, PAGE, KFD_SVM_GRANULARITY, 0) == 63);
}

static void check_svm_and_buffers(struct world *w) {
        uint64_t handle = 0;

        check(w, acquire(w, 11, 3) == 0 && alloc(w, 11, BASE, MIB, &handle) == 0 && map_on(w, handle, 11) == 0);
        check(w, set(w, BASE + MIB - PAGE, 2 * PAGE, KFD_SVM_GRANULARITY, 9) == -EADDRINUSE);
        check(w, set(w, BASE + MIB, PAGE, KFD_SVM_GRANULARITY, 9) == 0);
        check(w, alloc(w, 11, BASE + MIB, MIB, NULL) == -EADDRINUSE);
        check(w, alloc(w, 11, BASE + 2 * MIB, MIB, NULL) == 0);
}

static void check_defaults(struct world *w) {
        check(w, get(w, BASE, PAGE, KFD_SVM_PREFERRED_LOC, 0) == KFD_SVM_UNDEFINED);
        check(w, get(w, BASE, PAGE, KFD_SVM_SET_FLAGS, 0) == (KFD_SVM_HOST_ACCESS | KFD_SVM_COHERENT));
        check(w, get(w, BASE, PAGE, KFD_SVM_CLEAR_FLAGS, 0) == ~(uint32_t)(KFD_SVM_HOST_ACCESS | KFD_SVM_COHERENT));
        check(w, get(w, BASE, PAGE, KFD_SVM_GRANULARITY, 0) == 9);
        check(w, get(w, BASE, PAGE, KFD_SVM_ACCESS, 11) == KFD_SVM_NO_ACCESS);
        check(w, xnack(w, 1) == 1 && get(w, BASE, PAGE, KFD_SVM_ACCESS, 11) == KFD_SVM_ACCESS);
}

static void check_intersection(struct world *w) {
        check(w, set(w, BASE, PAGE, KFD_SVM_PREFERRED_LOC, 11) == 0 &&
                         set(w, BASE + PAGE, PAGE, KFD_SVM_PREFERRED_LOC, 12) == 0);
        check(w, get(w, BASE, PAGE, KFD_SVM_PREFERRED_LOC, 0) == 11);
        check(w, get(w, BASE, 2 * PAGE, KFD_SVM_PREFERRED_LOC, 0) == KFD_SVM_UNDEFINED);
        check(w, set(w, BASE, PAGE, KFD_SVM_PREFETCH_LOC, 11) == 0 &&
                         set(w, BASE + PAGE, PAGE, KFD_SVM_PREFETCH_LOC, 0) == 0);
        check(w, get(w, BASE, 2 * PAGE, KFD_SVM_PREFETCH_LOC, 0) == KFD_SVM_UNDEFINED);
        check(w, set(w, BASE, 2 * PAGE, KFD_SVM_ACCESS, 11) == 0 &&
                         set(w, BASE + PAGE, PAGE, KFD_SVM_ACCESS_IN_PLACE, 11) == 0);
        check(w, get(w, BASE, PAGE, KFD_SVM_ACCESS, 11) == KFD_SVM_ACCESS);
        check(w, get(w, BASE + PAGE, PAGE, KFD_SVM_ACCESS, 11) == KFD_SVM_ACCESS_IN_PLACE);
        check(w, get(w, BASE, 2 * PAGE, KFD_SVM_ACCESS, 11) == KFD_SVM_NO_ACCESS);
        check(w, set(w, BASE, PAGE, KFD_SVM_SET_FLAGS, KFD_SVM_READ_MOSTLY) == 0);
        check(w, set(w, BASE + PAGE, PAGE, KFD_SVM_CLEAR_FLAGS, KFD_SVM_COHERENT) == 0);
        check(w, get(w, BASE, 2 * PAGE, KFD_SVM_SET_FLAGS, 0) == KFD_SVM_HOST_ACCESS);
        check(w, get(w, BASE, 2 * PAGE, KFD_SVM_CLEAR_FLAGS, 0) ==
                         ~(uint32_t)(KFD_SVM_HOST_ACCESS | KFD_SVM_COHERENT | KFD_SVM_READ_MOSTLY));
        check(w,
              set(w, BASE, PAGE, KFD_SVM_GRANULARITY, 4) == 0 && get(w, BASE, 2 * PAGE, KFD_SVM_GRANULARITY, 0) == 4);
}

static void check_xnack(struct world *w) {
        struct kfd_create_queue_args q = { .gpu_id = 11 };
        struct kfd_destroy_queue_args d = { 0 };

        check(w, acquire(w, 11, 3) == 0 && xnack(w, -1) == 0 && xnack(w, 1) == 1 && xnack(w, -1) == 1);
        check(w, call(w, KFD_CREATE_QUEUE, &q) == 0 && xnack(w, 0) == -EBUSY && xnack(w, -1) == 1);
        check(w, call(w, KFD_DESTROY_QUEUE, &d) == 0 && xnack(w, 0) == 0);
        machine.gpus[2].gfx = 100300;
        check(w, xnack(w, 1) == -EPERM);
        machine.gpus[2].gfx = 90010;
}

static uint64_t page_in(struct world *w, unsigned gpu) {
        struct kfd_counters c = { 0 };

        check(w, kfd_model_counters(w->model, ME, gpu, &c));
        return c.page_in;
}

static void check_prefetch(struct world *w) {
        struct kfd_counters c = { 0 };

        check(w, set(w, BASE, 4 * PAGE, KFD_SVM_PREFETCH_LOC, 11) == 0 && page_in(w, 0) == 4);
        check(w, set(w, BASE, 4 * PAGE, KFD_SVM_PREFETCH_LOC, 0) == 0);
        check(w, kfd_model_counters(w->model, ME, 0, &c) && c.page_out == 4);
        check(w, set(w, BASE, 4 * PAGE, KFD_SVM_ACCESS, 13) == 0);
        check(w, set(w, BASE, 4 * PAGE, KFD_SVM_PREFETCH_LOC, 12) == 0 && page_in(w, 1) == 0);
        check(w, get(w, BASE, 4 * PAGE, KFD_SVM_PREFETCH_LOC, 0) == 12);
}

static int event(struct world *w, unsigned number, uint32_t id) {
        struct kfd_event_args a = { id, 0 };

        return call(w, number, &a);
}

static void check_events(struct world *w) {
        struct kfd_create_event_args first = { 0 }, second = { 0 };

        check(w, event(w, KFD_SET_EVENT, 1) == -EINVAL && event(w, KFD_DESTROY_EVENT, 5000) == -EINVAL);
        check(w, call(w, KFD_CREATE_EVENT, &first) == 0 && call(w, KFD_CREATE_EVENT, &second) == 0);
        check(w, first.event_id != second.event_id);
        check(w, event(w, KFD_SET_EVENT, first.event_id) == 0 && event(w, KFD_RESET_EVENT, first.event_id) == 0);
        check(w, event(w, KFD_DESTROY_EVENT, first.event_id) == 0);
        check(w, event(w, KFD_DESTROY_EVENT, first.event_id) == -EINVAL);
        check(w, event(w, KFD_SET_EVENT, second.event_id) == 0);
}

static void check_sizes(struct world *w) {
        struct kfd_get_version_args v = { 7, 7 };
        struct kfd_free_memory_args drop_none = { UINT64_MAX };

        check(w, call(w, _IOR('K', 0x01, uint32_t), &v) == 0 && v.major == 1 && v.minor == 7);
        check(w, call(w, _IOR('X', 0x01, uint64_t), &v) == 0 && v.minor == 11);
        check(w, call(w, _IOW('K', 0x17, uint32_t), &drop_none) == -EINVAL && drop_none.handle == UINT64_MAX);
}

/* Settings are of GPUs that there are; clocks are the CPU's too. */
static void check_others(struct world *w) {
        struct kfd_clock_counters_args clocks = { .gpu_id = 99 }, of_gpu = { .gpu_id = 11 };
        struct kfd_memory_policy_args policy = { .gpu_id = 99 };
        struct kfd_trap_handler_args trap = { .gpu_id = 99 };
        struct kfd_tile_config_args tiles = { .gpu_id = 99 };
        struct kfd_scratch_args scratch = { .gpu_id = 99 };
        struct kfd_smi_events_args smi = { .gpu_id = 99 };
        uint32_t words[16] = { 0 };

        check(w, call(w, KFD_CLOCK_COUNTERS, &clocks) == 0 && clocks.gpu_clock == 0 && clocks.cpu_clock != 0);
        check(w, call(w, KFD_CLOCK_COUNTERS, &of_gpu) == 0 && of_gpu.gpu_clock != 0);
        check(w, call(w, KFD_SET_MEMORY_POLICY, &policy) == -EINVAL && call(w, KFD_SET_SCRATCH, &scratch) == -EINVAL);
        check(w, call(w, KFD_TILE_CONFIG, &tiles) == -EINVAL && call(w, KFD_SET_TRAP_HANDLER, &trap) == -EINVAL);
        check(w, call(w, KFD_SMI_EVENTS, &smi) == -EINVAL);
        check(w, call(w, _IOWR('K', 0x07, uint64_t[3]), words) == -EINVAL);
        check(w, call(w, _IOWR('K', 0x0d, uint64_t), words) == -EPERM);
        check(w, call(w, _IOWR('K', 0x1b, uint64_t[3]), words) == -EFAULT);
        check(w, call(w, _IOWR('K', 0x1d, uint64_t[3]), words) == -EBADF);
}

static void check_without_svm(struct world *w) {
        kfd_model_without_svm(w->model);
        check(w, set(w, BASE, PAGE, KFD_SVM_GRANULARITY, 4) == -EPERM && xnack(w, -1) == -EPERM);
}

static void (*const checks[])(struct world *) = {
        check_process,         check_apertures, check_vm,           check_buffers,     check_svm_calls,
        check_svm_and_buffers, check_defaults,  check_intersection, check_xnack,       check_prefetch,
        check_events,          check_sizes,     check_others,       check_without_svm,
};

static unsigned failures_with(enum kfd_rule broken) {
        unsigned failures = 0;

        for (unsigned i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
                struct world w = { .unmapped = 1 };

                assert_int_equal(kfd_model_new(&w.model, &machine), 0);
                kfd_model_break(w.model, broken);
                assert_int_equal(kfd_model_open(w.model, ME, &w.file), 0);
                checks[i](&w);
                kfd_model_close(w.file);
                assert_int_equal(kfd_model_process(w.model, 0), 0);
                kfd_model_free(w.model);
                failures += w.failures;
        }
        return failures;
}

static const struct {
        const char *name, *fact;
} rules[] = { { "none", "" },
#define RULE_ROW(name, fact) { #name, fact },
              KFD_RULES(RULE_ROW) };

static void test_rules(void **state) {
        assert_int_equal(failures_with(KFD_RULE_NONE), 0);
}

static void test_broken(void **state) {
        for (enum kfd_rule r = KFD_RULE_NONE + 1; r < KFD_RULES_END; r++)
                if (failures_with(r) == 0)
                        fail_msg("nothing notices that %s (%s) is broken", rules[r].name, rules[r].fact);
}

/* What a row begins with: one of the rules' facts. */
static bool is_fact(const char *row) {
        size_t n = strcspn(row, " ");

        for (enum kfd_rule r = KFD_RULE_NONE + 1; r < KFD_RULES_END; r++)
                if (strlen(rules[r].fact) == n && memcmp(rules[r].fact, row, n) == 0)
                        return true;
        return false;
}

/* Each rule's fact has a row, and each row a rule. */
static void test_facts(void **state) {
        static char text[1 << 20];
        FILE *f = fopen(DEVICES_MD, "re");
        size_t n;

        assert_non_null(f);
        n = fread(text, 1, sizeof(text) - 1, f);
        text[n] = 0;
        fclose(f);
        for (enum kfd_rule r = KFD_RULE_NONE + 1; r < KFD_RULES_END; r++) {
                char row[32];

                snprintf(row, sizeof(row), "\n| %s |", rules[r].fact);
                if (!strstr(text, row))
                        fail_msg("docs/devices.md has no row %s for the rule %s", rules[r].fact, rules[r].name);
        }
        for (const char *at = strstr(text, "\n| K"); at; at = strstr(at + 1, "\n| K"))
                if (isdigit((unsigned char)at[4]) && !is_fact(at + 3))
                        fail_msg("docs/devices.md has a row that no rule stands for: %.40s", at + 1);
}

/* ---- attributes at random ---- */

enum { PAGES = 24 };

struct page {
        uint32_t preferred, flags, granularity, access[3];
        bool named;
};

static void naive_set(struct page *p, uint32_t type, uint32_t value) {
        if (!p->named)
                *p = (struct page){ KFD_SVM_UNDEFINED,
                                    KFD_SVM_HOST_ACCESS | KFD_SVM_COHERENT,
                                    9,
                                    { KFD_SVM_NO_ACCESS, KFD_SVM_NO_ACCESS, KFD_SVM_NO_ACCESS },
                                    true };
        if (type == KFD_SVM_PREFERRED_LOC)
                p->preferred = value;
        else if (type <= KFD_SVM_NO_ACCESS)
                p->access[value - 11] = type;
        else if (type == KFD_SVM_SET_FLAGS)
                p->flags |= value;
        else if (type == KFD_SVM_CLEAR_FLAGS)
                p->flags &= ~value;
        else
                p->granularity = value;
}

static void compare(struct world *w, const struct page *pages, unsigned from, unsigned count) {
        uint32_t preferred = 0, flags = UINT32_MAX, granularity = 63, access = 0;
        uint64_t start = BASE + from * (uint64_t)PAGE, size = count * (uint64_t)PAGE;
        bool any = false;

        for (unsigned i = from; i < from + count; i++) {
                if (!pages[i].named)
                        continue;
                preferred = any && preferred != pages[i].preferred ? KFD_SVM_UNDEFINED : pages[i].preferred;
                access = any && access != pages[i].access[1] ? KFD_SVM_NO_ACCESS : pages[i].access[1];
                flags &= pages[i].flags;
                granularity = pages[i].granularity < granularity ? pages[i].granularity : granularity;
                any = true;
        }
        if (!any)
                return;
        check(w, get(w, start, size, KFD_SVM_SET_FLAGS, 0) == flags);
        check(w, get(w, start, size, KFD_SVM_GRANULARITY, 0) == granularity);
        if (count == 1) {
                check(w, get(w, start, size, KFD_SVM_PREFERRED_LOC, 0) == preferred);
                check(w, get(w, start, size, KFD_SVM_ACCESS, 12) == access);
        }
}

static void test_random(void **state) {
        const char *given = getenv("SVMD_SEED");
        unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
        struct page pages[PAGES] = { 0 };
        struct world w = { .unmapped = 1 };

        printf("SVMD_SEED=%u\n", seed);
        srandom(seed);
        assert_int_equal(kfd_model_new(&w.model, &machine), 0);
        assert_int_equal(kfd_model_open(w.model, ME, &w.file), 0);
        for (unsigned round = 0; round < 3000; round++) {
                static const uint32_t types[] = { KFD_SVM_PREFERRED_LOC, KFD_SVM_ACCESS,    KFD_SVM_ACCESS_IN_PLACE,
                                                  KFD_SVM_NO_ACCESS,     KFD_SVM_SET_FLAGS, KFD_SVM_CLEAR_FLAGS,
                                                  KFD_SVM_GRANULARITY };
                uint32_t type = types[random() % 7];
                uint32_t value = type <= KFD_SVM_NO_ACCESS     ? 11 + (uint32_t)random() % 3
                                 : type == KFD_SVM_GRANULARITY ? (uint32_t)random() % 20
                                                               : (uint32_t)random() % 0x100;
                unsigned from = (unsigned)random() % PAGES, count = 1 + (unsigned)random() % (PAGES - from);

                assert_int_equal(set(&w, BASE + from * (uint64_t)PAGE, count * (uint64_t)PAGE, type, value), 0);
                for (unsigned i = from; i < from + count; i++)
                        naive_set(&pages[i], type, value);
                for (unsigned i = 0; i < PAGES; i++)
                        compare(&w, pages, i, 1);
                from = (unsigned)random() % PAGES;
                compare(&w, pages, from, 1 + (unsigned)random() % (PAGES - from));
                if (w.failures)
                        fail_msg("round %u: the model and single pages differ", round);
        }
        kfd_model_close(w.file);
        kfd_model_free(w.model);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rules),
                cmocka_unit_test(test_broken),
                cmocka_unit_test(test_facts),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
