/* The rules of the emulated amdgpu and nouveau, one test each. */
#include <drm.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drm_model.h"
#include "fake_caller.h"
#include "proto/uapi/amdgpu.h"
#include "proto/uapi/nouveau.h"

#define PAGE 4096ull
#define MIB  (1ull << 20)

static struct drm_card card;
static struct drm_file *file;
static struct drm_caller me;

static int setup(const struct drm_driver *driver) {
        card = (struct drm_card){ .driver = driver, .vram = 64 * MIB, .system = 256 * MIB, .audits = true };
        me = fake_caller(7);
        return drm_file_new(&file, &card);
}

static int setup_amdgpu(void **state) {
        return setup(&drm_driver_amdgpu);
}

static int setup_nouveau(void **state) {
        return setup(&drm_driver_nouveau);
}

static int teardown(void **state) {
        drm_file_free(file);
        return card.vram_used == 0 ? 0 : -1;
}

static int call(unsigned long request, void *arg) {
        return drm_file_ioctl(file, &me, request, arg);
}

/* ---- amdgpu ---- */

static uint32_t new_object(uint64_t size) {
        struct amdgpu_gem_create g = { .size = size, .domains = AMDGPU_VRAM };

        assert_int_equal(call(AMDGPU_GEM_CREATE, &g), 0);
        return g.handle;
}

static int va(uint32_t op, uint32_t handle, uint64_t address, uint64_t size) {
        struct amdgpu_gem_va v = { .op = op, .handle = handle, .address = address, .size = size };

        v.flags = AMDGPU_PAGE_READ | AMDGPU_PAGE_WRITE;
        return call(AMDGPU_GEM_VA, &v);
}

static void test_map(void **state) {
        uint32_t a = new_object(MIB), b = new_object(MIB);

        assert_int_equal(va(AMDGPU_VA_MAP, a, MIB, MIB), 0);
        assert_int_equal(va(AMDGPU_VA_MAP, b, MIB + PAGE, PAGE), -EINVAL); /* over a mapping */
        assert_int_equal(va(AMDGPU_VA_REPLACE, b, MIB + PAGE, PAGE), 0);
        assert_int_equal(amdgpu_rows(file)->count, 3);
        assert_int_equal(va(AMDGPU_VA_UNMAP, a, MIB + PAGE, PAGE), -ENOENT); /* that is b's */
        assert_int_equal(va(AMDGPU_VA_UNMAP, b, MIB + PAGE, PAGE), 0);
        assert_int_equal(va(AMDGPU_VA_CLEAR, 0, MIB, MIB / 2), 0);
        assert_int_equal(amdgpu_rows(file)->count, 1);
        assert_int_equal(amdgpu_rows(file)->row[0].offset, MIB / 2);
        assert_int_equal(card.binds, 6);
}

static void test_addresses(void **state) {
        uint32_t a = new_object(MIB);

        assert_int_equal(va(AMDGPU_VA_MAP, a, 0xf000, PAGE), -EINVAL);
        assert_int_equal(va(AMDGPU_VA_MAP, a, 0x10000, PAGE), 0);
        assert_int_equal(va(AMDGPU_VA_MAP, a, (1ull << 47) - PAGE, 2 * PAGE), -EINVAL);
        assert_int_equal(va(AMDGPU_VA_MAP, a, 1ull << 50, PAGE), -EINVAL);
        assert_int_equal(va(AMDGPU_VA_MAP, a, -(1ull << 47), PAGE), 0);
        assert_int_equal(va(AMDGPU_VA_MAP, a, 4 * MIB, MIB + PAGE), -EINVAL);
        assert_int_equal(va(AMDGPU_VA_MAP, a + 9, 4 * MIB, MIB), -ENOENT);
        assert_int_equal(va(9, a, 4 * MIB, MIB), -EINVAL);
}

static void test_close_unmaps(void **state) {
        struct drm_gem_close c = { .handle = new_object(MIB) };

        assert_int_equal(va(AMDGPU_VA_MAP, c.handle, MIB, MIB), 0);
        assert_int_equal(call(DRM_IOCTL_GEM_CLOSE, &c), 0);
        assert_int_equal(amdgpu_rows(file)->count, 0);
        assert_int_equal(card.vram_used, 0);
}

/* The page table is the file's, so another caller of it changes it, and another file does not. */
static void test_one_vm(void **state) {
        uint32_t a = new_object(MIB);
        struct drm_file *mine = file, *other;

        me = fake_caller(8);
        assert_int_equal(va(AMDGPU_VA_MAP, a, MIB, MIB), 0);
        assert_int_equal(drm_file_new(&other, &card), 0);
        file = other;
        assert_int_equal(va(AMDGPU_VA_CLEAR, 0, MIB, MIB), 0);
        file = mine;
        drm_file_free(other);
        assert_int_equal(amdgpu_rows(file)->count, 1);
}

static void test_audit(void **state) {
        struct amdgpu_handle handles[4];
        struct amdgpu_list_handles l = { .entries = (uintptr_t)handles, .count = 4 };
        struct amdgpu_mapping mappings[2];
        struct amdgpu_gem_op_long m = { .op = { .op = AMDGPU_OP_MAPPINGS, .value = (uintptr_t)mappings }, .count = 2 };
        struct amdgpu_gem_op place = { .op = AMDGPU_OP_PLACEMENT, .value = AMDGPU_GTT };

        m.op.handle = place.handle = new_object(MIB);
        assert_int_equal(va(AMDGPU_VA_MAP, m.op.handle, MIB, MIB), 0);
        assert_int_equal(call(AMDGPU_GEM_OP, &place), 0);
        assert_int_equal(call(AMDGPU_LIST_HANDLES, &l), 0);
        assert_int_equal(l.count, 1);
        assert_int_equal(handles[0].domains, AMDGPU_GTT);
        assert_int_equal(call(AMDGPU_GEM_OP_LONG, &m), 0);
        assert_int_equal(m.count, 1);
        assert_int_equal(mappings[0].address, MIB);
        place.op = AMDGPU_OP_MAPPINGS;
        assert_int_equal(call(AMDGPU_GEM_OP, &place), -EINVAL); /* of the short form */
        card.audits = false;
        assert_int_equal(call(AMDGPU_LIST_HANDLES, &l), -EINVAL);
        assert_int_equal(call(AMDGPU_GEM_OP_LONG, &m), -EINVAL);
}

/* ---- nouveau ---- */

static int init(void) {
        struct nouveau_vm_init v = { .kernel_address = 1ull << 46, .kernel_size = 1ull << 46 };

        return call(NOUVEAU_VM_INIT, &v);
}

static uint32_t new_nouveau(uint64_t size) {
        struct nouveau_gem_new g = { .size = size, .domain = NOUVEAU_VRAM };

        assert_int_equal(call(NOUVEAU_GEM_NEW, &g), 0);
        return g.handle;
}

static int nouveau_bind(struct nouveau_bind_op *ops, uint32_t count) {
        struct nouveau_vm_bind v = { .count = count, .ops = (uintptr_t)ops };

        return call(NOUVEAU_VM_BIND, &v);
}

static void test_init_first(void **state) {
        struct nouveau_bind_op b = { .op = NOUVEAU_BIND_UNMAP, .address = MIB, .range = MIB };

        assert_int_equal(nouveau_bind(&b, 1), -ENOSYS);
        new_nouveau(MIB);
        assert_int_equal(init(), -ENOSYS);
}

static void test_init_once(void **state) {
        assert_int_equal(init(), 0);
        assert_int_equal(init(), -EBUSY);
}

static void test_nouveau_vector(void **state) {
        struct nouveau_bind_op ops[3];
        uint32_t a;

        assert_int_equal(init(), 0);
        a = new_nouveau(MIB);
        ops[0] = (struct nouveau_bind_op){ .handle = a, .address = MIB, .range = MIB };
        ops[1] = (struct nouveau_bind_op){ .flags = NOUVEAU_BIND_SPARSE, .address = 4 * MIB, .range = MIB };
        ops[2] = (struct nouveau_bind_op){ .handle = a, .address = 1ull << 46, .range = MIB }; /* the driver's own */
        assert_int_equal(nouveau_bind(ops, 3), -EINVAL);
        assert_int_equal(nouveau_rows(file)->count, 0);
        assert_int_equal(nouveau_bind(ops, 2), 0);
        assert_int_equal(nouveau_rows(file)->count, 2);
        ops[0].address = MIB + PAGE;
        ops[0].range = PAGE;
        assert_int_equal(nouveau_bind(ops, 1), 0); /* gives way */
        assert_int_equal(nouveau_rows(file)->count, 4);
        ops[0].op = NOUVEAU_BIND_UNMAP;
        ops[0].range = 8 * MIB;
        ops[0].address = 0;
        assert_int_equal(nouveau_bind(ops, 1), 0);
        assert_int_equal(nouveau_rows(file)->count, 0);
}

static void test_nouveau_memory(void **state) {
        struct nouveau_getparam size = { .param = NOUVEAU_FB_SIZE }, used = { .param = NOUVEAU_VRAM_USED };
        struct nouveau_getparam none = { .param = 1 };
        struct nouveau_gem_new g = { .domain = NOUVEAU_VRAM };

        assert_int_equal(call(NOUVEAU_GETPARAM, &size), 0);
        assert_int_equal(size.value, card.vram);
        assert_int_equal(call(NOUVEAU_GETPARAM, &used), -EINVAL);
        assert_int_equal(call(NOUVEAU_GETPARAM, &none), -EINVAL);
        card.tells_used = true;
        card.pinned = MIB;
        new_nouveau(2 * MIB);
        assert_int_equal(call(NOUVEAU_GETPARAM, &size), 0);
        assert_int_equal(size.value, card.vram - MIB);
        assert_int_equal(call(NOUVEAU_GETPARAM, &used), 0);
        assert_int_equal(used.value, 3 * MIB);
        g.size = card.vram - 2 * MIB;
        assert_int_equal(call(NOUVEAU_GEM_NEW, &g), -ENOMEM);
        card.tells_used = false;
        card.pinned = 0;
}

/* ---- all of them ---- */

static void test_core(void **state) {
        char name[16] = "";
        struct drm_version v = { .name = name, .name_len = sizeof(name) };
        struct drm_get_cap cap = { .capability = DRM_CAP_PRIME };

        assert_int_equal(call(DRM_IOCTL_VERSION, &v), 0);
        assert_string_equal(name, card.driver->name);
        assert_int_equal(call(DRM_IOCTL_GET_CAP, &cap), 0);
        assert_int_equal(cap.value, DRM_PRIME_CAP_IMPORT);
        assert_int_equal(call(DRM_IOCTL_SET_MASTER, &cap), -EACCES);
        assert_int_equal(call(_IO('x', 1), &cap), -ENOTTY);
        assert_int_equal(call(_IO('d', 0x9f), &cap), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_map, setup_amdgpu, teardown),
                cmocka_unit_test_setup_teardown(test_addresses, setup_amdgpu, teardown),
                cmocka_unit_test_setup_teardown(test_close_unmaps, setup_amdgpu, teardown),
                cmocka_unit_test_setup_teardown(test_one_vm, setup_amdgpu, teardown),
                cmocka_unit_test_setup_teardown(test_audit, setup_amdgpu, teardown),
                cmocka_unit_test_setup_teardown(test_core, setup_amdgpu, teardown),
                cmocka_unit_test_setup_teardown(test_init_first, setup_nouveau, teardown),
                cmocka_unit_test_setup_teardown(test_init_once, setup_nouveau, teardown),
                cmocka_unit_test_setup_teardown(test_nouveau_vector, setup_nouveau, teardown),
                cmocka_unit_test_setup_teardown(test_nouveau_memory, setup_nouveau, teardown),
                cmocka_unit_test_setup_teardown(test_core, setup_nouveau, teardown),
        };

        drm_broken = getenv("DRM_BROKEN");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
