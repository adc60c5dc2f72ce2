/* The rules of the emulated xe, one test each, then vectors from a seed against pages that are looked at one by one. */
#include <drm.h>
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

#include "drm_model.h"
#include "fake_caller.h"
#include "proto/uapi/xe.h"

#define PAGE 4096ull
#define MIB  (1ull << 20)

static struct drm_card card;
static struct drm_file *file;
static struct drm_caller me;

static int setup(void **state) {
        card = (struct drm_card){ .driver = &drm_driver_xe, .vram = 64 * MIB, .system = 256 * MIB, .binds_max = 300 };
        me = fake_caller(7);
        return drm_file_new(&file, &card);
}

static int teardown(void **state) {
        drm_file_free(file);
        return card.vram_used == 0 ? 0 : -1;
}

static int call(unsigned long request, void *arg) {
        return drm_file_ioctl(file, &me, request, arg);
}

static uint32_t new_vm(uint32_t flags) {
        struct xe_vm_create v = { .flags = flags };

        assert_int_equal(call(XE_VM_CREATE, &v), 0);
        return v.vm_id;
}

static uint32_t new_object(uint64_t size, uint32_t vm) {
        struct xe_gem_create g = {
                .size = size, .placement = 2, .cpu_caching = XE_CACHING_WRITE_COMBINED, .vm_id = vm
        };

        assert_int_equal(call(XE_GEM_CREATE, &g), 0);
        return g.handle;
}

static int bind(uint32_t vm, const struct xe_bind_op *ops, uint32_t count) {
        struct xe_vm_bind v = { .vm_id = vm, .count = count };

        if (count == 1)
                v.bind = *ops;
        else
                v.vector = (uintptr_t)ops;
        return call(XE_VM_BIND, &v);
}

static struct xe_bind_op op(uint32_t what, uint32_t object, uint64_t address, uint64_t range) {
        return (struct xe_bind_op){ .op = what, .object = object, .address = address, .range = range };
}

static int bind_one(uint32_t vm, uint32_t what, uint32_t object, uint64_t address, uint64_t range) {
        struct xe_bind_op b = op(what, object, address, range);

        return bind(vm, &b, 1);
}

static int mirror(uint32_t vm, uint64_t address, uint64_t range) {
        struct xe_bind_op b = op(XE_BIND_MAP, 0, address, range);

        b.flags = XE_BIND_CPU_MIRROR;
        return bind(vm, &b, 1);
}

static void test_queries(void **state) {
        struct xe_device_query q = { .query = XE_QUERY_MEM_REGIONS };
        struct xe_query_mem_regions *all;

        assert_int_equal(call(XE_DEVICE_QUERY, &q), 0);
        assert_int_equal(q.size, 8 + 2 * 88);
        all = calloc(1, q.size);
        q.data = (uintptr_t)all;
        assert_int_equal(call(XE_DEVICE_QUERY, &q), 0);
        assert_int_equal(all->count, 2);
        assert_int_equal(all->regions[1].class_, XE_REGION_VRAM);
        assert_int_equal(all->regions[1].total, 64 * MIB);
        free(all);
        q.size--;
        assert_int_equal(call(XE_DEVICE_QUERY, &q), -EINVAL);
        q = (struct xe_device_query){ .query = 99 };
        assert_int_equal(call(XE_DEVICE_QUERY, &q), -EINVAL);
}

static void test_vm(void **state) {
        struct xe_vm_create v = { .flags = XE_VM_FAULT };
        struct xe_vm_destroy d = { .vm_id = 3 };

        assert_int_equal(call(XE_VM_CREATE, &v), -EINVAL); /* without LR */
        assert_int_equal(call(XE_VM_DESTROY, &d), -ENOENT);
        d.vm_id = new_vm(0);
        assert_int_not_equal(d.vm_id, new_vm(0));
        assert_int_equal(call(XE_VM_DESTROY, &d), 0);
        assert_int_equal(call(XE_VM_DESTROY, &d), -ENOENT);
        assert_int_equal(bind_one(d.vm_id, XE_BIND_UNMAP, 0, 0, PAGE), -ENOENT);
}

static int wait_for(uint32_t handle, uint64_t point) {
        struct drm_syncobj_timeline_wait t = { .handles = (uintptr_t)&handle,
                                               .points = (uintptr_t)&point,
                                               .count_handles = 1 };
        struct drm_syncobj_wait w = { .handles = (uintptr_t)&handle, .count_handles = 1 };

        return point ? call(DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &t) : call(DRM_IOCTL_SYNCOBJ_WAIT, &w);
}

static void test_fences(void **state) {
        struct drm_syncobj_create n = { 0 };
        uint64_t point = 5;
        struct drm_syncobj_array a = { .count_handles = 1 };
        struct drm_syncobj_timeline_array t = { .points = (uintptr_t)&point, .count_handles = 1 };
        struct drm_syncobj_destroy d;

        assert_int_equal(wait_for(1, 0), -ENOENT);
        assert_int_equal(call(DRM_IOCTL_SYNCOBJ_CREATE, &n), 0);
        assert_int_equal(wait_for(n.handle, 0), -ETIME);
        assert_int_equal(wait_for(n.handle, 5), -ETIME);
        t.handles = a.handles = (uintptr_t)&n.handle;
        assert_int_equal(call(DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, &t), 0);
        assert_int_equal(wait_for(n.handle, 5), 0);
        assert_int_equal(wait_for(n.handle, 6), -ETIME);
        assert_int_equal(call(DRM_IOCTL_SYNCOBJ_SIGNAL, &a), 0);
        assert_int_equal(wait_for(n.handle, 0), 0);
        d = (struct drm_syncobj_destroy){ .handle = n.handle };
        assert_int_equal(call(DRM_IOCTL_SYNCOBJ_DESTROY, &d), 0);
        assert_int_equal(call(DRM_IOCTL_SYNCOBJ_DESTROY, &d), -EINVAL);
        n.flags = DRM_SYNCOBJ_CREATE_SIGNALED;
        assert_int_equal(call(DRM_IOCTL_SYNCOBJ_CREATE, &n), 0);
        assert_int_equal(wait_for(n.handle, 0), 0);
}

static void test_vram(void **state) {
        struct xe_gem_create g = { .size = 65 * MIB, .placement = 2, .cpu_caching = XE_CACHING_WRITE_COMBINED };
        struct drm_gem_close c = { 0 };

        assert_int_equal(call(XE_GEM_CREATE, &g), -ENOMEM);
        c.handle = new_object(64 * MIB, 0);
        g.size = PAGE;
        assert_int_equal(call(XE_GEM_CREATE, &g), -ENOMEM);
        assert_int_equal(call(DRM_IOCTL_GEM_CLOSE, &c), 0);
        assert_int_equal(call(XE_GEM_CREATE, &g), 0);
        g = (struct xe_gem_create){ .size = PAGE, .placement = 4, .cpu_caching = XE_CACHING_WRITE_COMBINED };
        assert_int_equal(call(XE_GEM_CREATE, &g), -EINVAL);
}

static void test_replaces(void **state) {
        uint32_t vm = new_vm(0), a = new_object(MIB, 0), b = new_object(MIB, 0);
        const struct drm_rows *rows = xe_vm_rows(file, vm);

        assert_int_equal(bind_one(vm, XE_BIND_MAP, a, MIB, MIB), 0);
        assert_int_equal(bind_one(vm, XE_BIND_MAP, b, MIB + 64 * PAGE, 64 * PAGE), 0);
        assert_int_equal(rows->count, 3);
        assert_int_equal(rows->row[2].start, MIB + 128 * PAGE);
        assert_int_equal(rows->row[2].offset, 128 * PAGE);
        assert_int_equal(bind_one(vm, XE_BIND_UNMAP, 0, 0, 4 * MIB), 0);
        assert_int_equal(rows->count, 0);
}

static void test_refusals(void **state) {
        uint32_t vm = new_vm(0), other = new_vm(0), a = new_object(MIB, 0), of_other = new_object(MIB, other);
        struct xe_bind_op b = op(XE_BIND_MAP, a, MIB, MIB);

        assert_int_equal(bind_one(vm, XE_BIND_MAP, a + 77, MIB, MIB), -ENOENT);
        assert_int_equal(bind_one(vm, XE_BIND_MAP, of_other, MIB, MIB), -EINVAL);
        assert_int_equal(bind_one(vm, XE_BIND_MAP, a, MIB + 1, MIB), -EINVAL);
        assert_int_equal(bind_one(vm, XE_BIND_MAP, a, MIB, MIB + PAGE), -EINVAL);
        assert_int_equal(bind_one(vm, XE_BIND_MAP, a, 1ull << 48, MIB), -EINVAL);
        assert_int_equal(bind_one(vm, XE_BIND_UNMAP, a, MIB, MIB), -EINVAL);
        assert_int_equal(bind_one(vm, XE_BINDS_END, a, MIB, MIB), -EINVAL);
        b.flags = 0x80;
        assert_int_equal(bind(vm, &b, 1), -EINVAL);
        assert_int_equal(mirror(vm, MIB, MIB), -EINVAL);
        assert_int_equal(xe_vm_rows(file, vm)->count, 0);
}

static void test_vectors(void **state) {
        uint32_t vm = new_vm(0), a = new_object(4 * MIB, 0);
        struct xe_bind_op ops[301];

        for (unsigned i = 0; i < 301; i++)
                ops[i] = op(XE_BIND_MAP, a, MIB + i * 2 * PAGE, PAGE);
        assert_int_equal(bind(vm, ops, 301), -ENOBUFS);
        ops[255].object = 99;
        assert_int_equal(bind(vm, ops, 256), -ENOENT);
        assert_int_equal(xe_vm_rows(file, vm)->count, 0); /* nothing of it */
        assert_int_equal(bind(vm, ops, 255), 0);
        assert_int_equal(xe_vm_rows(file, vm)->count, 255);
        assert_int_equal(card.binds, 255);
        assert_int_equal(bind(vm, ops, 0), -EINVAL);
}

static void test_close_keeps(void **state) {
        uint32_t vm = new_vm(0), a = new_object(MIB, 0), b = new_object(MIB, 0);
        struct drm_gem_close c = { .handle = a };

        assert_int_equal(bind_one(vm, XE_BIND_MAP, a, MIB, MIB), 0);
        assert_int_equal(bind_one(vm, XE_BIND_MAP, b, 4 * MIB, MIB), 0);
        assert_int_equal(bind_one(vm, XE_BIND_MAP, b, 8 * MIB, MIB), 0);
        assert_int_equal(bind_one(vm, XE_BIND_UNMAP_ALL, b, 0, 0), 0);
        assert_int_equal(xe_vm_rows(file, vm)->count, 1);
        assert_int_equal(call(DRM_IOCTL_GEM_CLOSE, &c), 0);
        assert_int_equal(call(DRM_IOCTL_GEM_CLOSE, &c), -EINVAL);
        assert_int_equal(xe_vm_rows(file, vm)->count, 1);
        assert_int_equal(card.vram_used, 2 * MIB);
        assert_int_equal(bind_one(vm, XE_BIND_UNMAP, 0, MIB, MIB), 0);
        assert_int_equal(card.vram_used, MIB);
}

static void test_userptr(void **state) {
        uint32_t vm = new_vm(0);
        struct xe_bind_op b = op(XE_BIND_USERPTR, 0, MIB, MIB);

        b.offset = 5 * MIB;
        me = fake_caller(9);
        assert_int_equal(bind(vm, &b, 1), 0);
        assert_int_equal(xe_vm_rows(file, vm)->row[0].mm, 9); /* the caller's, not that of who made the VM */
        assert_int_equal(xe_vm_rows(file, vm)->row[0].kind, ROW_USERPTR);
        b.object = 1;
        assert_int_equal(bind(vm, &b, 1), -EINVAL);
}

static void test_mirror(void **state) {
        uint32_t vm = new_vm(XE_VM_LR | XE_VM_FAULT);
        struct xe_bind_op b = op(XE_BIND_PREFETCH, 0, MIB, MIB);

        me = fake_caller(9);
        assert_int_equal(mirror(vm, 0, 16 * MIB), 0);
        assert_int_equal(xe_vm_rows(file, vm)->row[0].mm, 7); /* of who made the VM, whoever binds */
        b.prefetch_region = XE_PREFETCH_AS_ADVISED;
        assert_int_equal(bind(vm, &b, 1), 0);
        assert_int_equal(xe_vm_rows(file, vm)->row[0].region, 2);
        b.prefetch_region = 2;
        assert_int_equal(bind(vm, &b, 1), -EINVAL);
        assert_int_equal(bind_one(vm, XE_BIND_MAP, new_object(MIB, 0), MIB, MIB), 0);
        b.prefetch_region = XE_PREFETCH_AS_ADVISED;
        assert_int_equal(bind(vm, &b, 1), -EINVAL); /* an object is not advised */
        b.prefetch_region = 0;
        assert_int_equal(bind(vm, &b, 1), 0);
}

static int prefer(uint32_t vm, uint64_t start, uint64_t range, int fd) {
        struct xe_madvise m = { .vm_id = vm, .start = start, .range = range, .type = XE_ADVISE_PREFERRED };

        m.preferred.device_fd = fd;
        return call(XE_MADVISE, &m);
}

static void test_advice(void **state) {
        uint32_t vm = new_vm(XE_VM_LR | XE_VM_FAULT), plain = new_vm(0);
        struct xe_query_range_attrs q = { .vm_id = vm, .start = 0, .range = 16 * MIB };
        struct xe_range_attr attr[3];

        assert_int_equal(mirror(vm, 0, 16 * MIB), 0);
        assert_int_equal(prefer(plain, 0, MIB, XE_PREFERRED_SYSTEM), -EINVAL);
        assert_int_equal(prefer(vm, 4 * MIB, 4 * MIB, XE_PREFERRED_SYSTEM), 0);
        assert_int_equal(prefer(vm, 0, MIB, FAKE_DEVICE), -ENOLINK);
        assert_int_equal(prefer(vm, 0, MIB, FAKE_DMABUF), -EINVAL);
        assert_int_equal(prefer(vm, 0, MIB, 99), -EBADF);
        assert_int_equal(call(XE_QUERY_MEM_RANGE_ATTRS, &q), 0);
        assert_true(q.count >= 3 && q.attr_size == 64);
        q.range = 12 * MIB;
        q.start = 2 * MIB;
        q.count = 1;
        q.vector = (uintptr_t)attr;
        assert_int_equal(call(XE_QUERY_MEM_RANGE_ATTRS, &q), -ENOSPC);
        q.count = 3;
        assert_int_equal(call(XE_QUERY_MEM_RANGE_ATTRS, &q), 0);
        assert_int_equal(q.count, 3);
        assert_true(attr[0].start == 2 * MIB && attr[0].end == 4 * MIB && attr[0].device_fd == 0);
        assert_true(attr[1].start == 4 * MIB && attr[1].end == 8 * MIB && attr[1].device_fd == -1);
        assert_true(attr[2].end == 14 * MIB);
        card.fast_link = true;
        assert_int_equal(prefer(vm, 0, MIB, FAKE_DEVICE), 0);
}

static void test_prime(void **state) {
        struct drm_prime_handle p = { .fd = FAKE_DMABUF }, again = p;
        uint32_t vm = new_vm(0);

        assert_int_equal(call(DRM_IOCTL_PRIME_FD_TO_HANDLE, &p), 0);
        assert_int_equal(call(DRM_IOCTL_PRIME_FD_TO_HANDLE, &again), 0);
        assert_int_equal(p.handle, again.handle);
        assert_int_equal(bind_one(vm, XE_BIND_MAP, p.handle, MIB, FAKE_DMABUF_SIZE), 0);
        p.fd = 99;
        assert_int_equal(call(DRM_IOCTL_PRIME_FD_TO_HANDLE, &p), -EBADF);
        p.fd = FAKE_DEVICE;
        assert_int_equal(call(DRM_IOCTL_PRIME_FD_TO_HANDLE, &p), -EINVAL);
        assert_int_equal(call(DRM_IOCTL_PRIME_HANDLE_TO_FD, &p), -ENOSYS);
}

/* A file's numbers mean nothing in another one. */
static void test_files_apart(void **state) {
        uint32_t vm = new_vm(0), a = new_object(MIB, 0);
        struct drm_file *mine = file, *other;

        assert_int_equal(bind_one(vm, XE_BIND_MAP, a, MIB, MIB), 0);
        assert_int_equal(drm_file_new(&other, &card), 0);
        file = other;
        assert_int_equal(bind_one(vm, XE_BIND_UNMAP, 0, MIB, MIB), -ENOENT);
        assert_int_equal(bind_one(new_vm(0), XE_BIND_MAP, a, MIB, MIB), -ENOENT);
        file = mine;
        drm_file_free(other);
        assert_int_equal(xe_vm_rows(file, vm)->count, 1);
}

/* ---- random ---- */

enum { PAGES = 64, OBJECTS = 4, STEPS = 4000, VECTOR = 8 };

struct page {
        uint32_t object; /* 0: nothing */
        uint64_t offset;
};

/* What a vector does to pages; false: it is refused. */
static bool naive(struct page *pages, const struct xe_bind_op *ops, unsigned count) {
        struct page now[PAGES];

        memcpy(now, pages, sizeof(now));
        for (unsigned i = 0; i < count; i++) {
                const struct xe_bind_op *b = &ops[i];

                if (b->op == XE_BIND_MAP && b->object > OBJECTS)
                        return false;
                for (uint64_t p = b->address / PAGE, n = 0; n < b->range / PAGE; n++)
                        now[p + n] = b->op == XE_BIND_MAP ? (struct page){ b->object, b->offset + n * PAGE }
                                                          : (struct page){ 0 };
        }
        memcpy(pages, now, sizeof(now));
        return true;
}

static void compare(const struct drm_rows *rows, const struct page *pages, const uint32_t *handles) {
        for (uint64_t i = 0; i < PAGES; i++) {
                const struct drm_row *row = rows_from(rows, i * PAGE);
                bool shown = row && row->start <= i * PAGE;

                assert_int_equal(shown, pages[i].object != 0);
                if (!shown)
                        continue;
                assert_ptr_equal(row->object, drm_handle(file, handles[pages[i].object - 1]));
                assert_int_equal(row->offset + (i * PAGE - row->start), pages[i].offset);
        }
        for (size_t i = 1; i < rows->count; i++)
                assert_true(rows->row[i - 1].end <= rows->row[i].start);
}

static void test_random(void **state) {
        unsigned seed = getenv("SVMD_SEED") ? (unsigned)atoi(getenv("SVMD_SEED")) : (unsigned)time(NULL);
        uint32_t vm = new_vm(0), handles[OBJECTS];
        struct page pages[PAGES] = { { 0 } };

        print_message("SVMD_SEED=%u\n", seed);
        srandom(seed);
        for (unsigned i = 0; i < OBJECTS; i++)
                handles[i] = new_object(2 * PAGES * PAGE, 0);
        for (unsigned step = 0; step < STEPS; step++) {
                struct xe_bind_op ops[VECTOR], real[VECTOR];
                unsigned count = 1 + (unsigned)random() % VECTOR;
                int want;

                for (unsigned i = 0; i < count; i++) {
                        uint64_t first = (uint64_t)random() % PAGES, n = 1 + (uint64_t)random() % (PAGES - first);
                        bool map = random() % 3 != 0;

                        ops[i] = op(map ? XE_BIND_MAP : XE_BIND_UNMAP,
                                    map ? 1 + (uint32_t)(random() % 64 ? random() % OBJECTS : OBJECTS) : 0,
                                    first * PAGE, n * PAGE);
                        ops[i].offset = map ? (uint64_t)random() % PAGES * PAGE : 0;
                        real[i] = ops[i];
                        real[i].object = !map ? 0 : ops[i].object > OBJECTS ? 4000 : handles[ops[i].object - 1];
                }
                want = naive(pages, ops, count) ? 0 : -ENOENT;
                assert_int_equal(bind(vm, real, count), want);
                compare(xe_vm_rows(file, vm), pages, handles);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_queries, setup, teardown),
                cmocka_unit_test_setup_teardown(test_vm, setup, teardown),
                cmocka_unit_test_setup_teardown(test_fences, setup, teardown),
                cmocka_unit_test_setup_teardown(test_vram, setup, teardown),
                cmocka_unit_test_setup_teardown(test_replaces, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
                cmocka_unit_test_setup_teardown(test_vectors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_close_keeps, setup, teardown),
                cmocka_unit_test_setup_teardown(test_userptr, setup, teardown),
                cmocka_unit_test_setup_teardown(test_mirror, setup, teardown),
                cmocka_unit_test_setup_teardown(test_advice, setup, teardown),
                cmocka_unit_test_setup_teardown(test_prime, setup, teardown),
                cmocka_unit_test_setup_teardown(test_files_apart, setup, teardown),
                cmocka_unit_test_setup_teardown(test_random, setup, teardown),
        };

        drm_broken = getenv("DRM_BROKEN");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
