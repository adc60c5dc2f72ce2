/*
 * Page tables of DRM devices in the whole service, by files of modelled drivers (tests/emul/drm): what is refused, what
 * a vector does and says, two sessions on one GPU, restarts, and what is left behind.
 */
#include <drm.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/drm_space.h"
#include "base/alloc.h"
#include "core/grant.h"
#include "core/partition.h"
#include "core/session.h"
#include "gpus.h"
#include "proto/uapi/amdgpu.h"
#include "proto/uapi/nouveau.h"
#include "proto/uapi/xe.h"
#include "service/drm.h"
#include "service/private.h"

#define page SVMD_PAGE
#define MIB  (1ull << 20)

static struct world w;
static struct client a;
static uint64_t at; /* the first address of the partition */

/* ---- asking ---- */

static uint64_t give(uint32_t node) {
        Svmd__V1__Result *r = gpu_give(&a, node, gpu_open(node));

        if (r->code != 0)
                fail_msg("give: %u %s", r->code, r->text);
        return r->id;
}

static Svmd__V1__DrmBinding *binding(unsigned what, uint64_t first, uint64_t pages, uint32_t handle) {
        return gpu_binding(what, at + first * page, pages, handle);
}

static Svmd__V1__DrmBinding *placing(uint32_t handle, uint32_t value) {
        Svmd__V1__DrmBinding *b = gpu_binding(DRM_BIND_PLACE, 0, 0, handle);

        b->value = value;
        return b;
}

static struct gpu_end run(Svmd__V1__Op *op) {
        return gpu_run(&a, op);
}

static void want(unsigned code, Svmd__V1__Op *op) {
        struct gpu_end e = run(op);

        if (e.code != code)
                fail_msg("operation %d: %u %s, not %u", (int)op->op_case, e.code, e.text, code);
}

static uint32_t new_space(uint64_t file) {
        struct gpu_end e = run(mk_drm_space(file, 0, false, false));

        assert_int_equal(e.code, 0);
        return (uint32_t)e.value;
}

static void greet(struct client *c) {
        client_open(&w, c, 1000, 1000, false);
        client_greet(c, "");
}

static void begin(void) {
        gpus_open();
        world_open(&w, 0);
        greet(&a);
        at = a.session->partition->slice.start;
}

/* The lane goes on by itself: it has said goodbye when it has closed the file. */
static int end(void **state) {
        client_close(&a);
        world_close(&w);
        ops_reset();
        return gpus_close() ? 0 : -1;
}

/* ---- what it cannot have ---- */

static void refuses_files(void **state) {
        struct client b;
        int fd;

        begin();
        assert_int_equal(gpu_give(&a, GPU_XE, gpu_open(GPU_AMDGPU))->code, SVMD_STATUS_FD_KIND);
        assert_int_equal(gpu_give(&a, GPU_VGEM, gpu_open(GPU_XE))->code, SVMD_STATUS_NODE_KIND);
        assert_int_equal(gpu_give(&a, GPU_XE + 40, gpu_open(GPU_XE))->code, SVMD_STATUS_NO_NODE);
        fd = gpu_open(GPU_XE);
        assert_int_equal(gpu_give(&a, GPU_XE, dup(fd))->code, 0);
        assert_int_equal(gpu_give(&a, GPU_XE, dup(fd))->code, SVMD_STATUS_TAKEN);
        greet(&b);
        assert_int_equal(gpu_give(&b, GPU_XE, dup(fd))->code, SVMD_STATUS_TAKEN);
        assert_non_null(strstr(b.reply->results[0]->text, "open /dev/dri/renderD128 anew"));
        client_close(&b);
        close(fd);
}

static void refuses_page_tables(void **state) {
        uint64_t xe, amdgpu;
        struct client b;

        begin();
        want(SVMD_STATUS_NO_SUCH, mk_drm_space(1, 0, false, false));
        xe = give(GPU_XE);
        amdgpu = give(GPU_AMDGPU);
        want(SVMD_STATUS_INVALID, mk_drm_space(xe, 1, false, false));
        want(SVMD_STATUS_INVALID, mk_drm_space(xe, 1, true, true));
        want(SVMD_STATUS_NO_SUCH, mk_drm_space(xe, 1, false, true));
        want(SVMD_STATUS_NO_SUCH, mk_drm_space(xe, 7, true, false));
        want(SVMD_STATUS_NO_SUCH, mk_drm_check(xe, 1));
        assert_int_equal(new_space(amdgpu), 0);
        want(SVMD_STATUS_TAKEN, mk_drm_space(amdgpu, 0, false, false));
        want(SVMD_STATUS_TAKEN, mk_drm_space(amdgpu, 0, true, false));
        assert_int_equal(new_space(xe), 1);
        want(SVMD_STATUS_TAKEN, mk_drm_space(xe, 1, true, false));
        greet(&b);
        assert_int_equal(gpu_run(&b, mk_drm_check(xe, 1)).code, SVMD_STATUS_NO_SUCH);
        client_close(&b);
}

static void refuses_bindings(void **state) {
        uint64_t xe, amdgpu;
        uint32_t space;

        begin();
        xe = give(GPU_XE);
        space = new_space(xe);
        amdgpu = give(GPU_AMDGPU);
        new_space(amdgpu);
        want(SVMD_STATUS_INVALID, mk_drm_bind(xe, space)); /* none */
        binding(DRM_BIND_MAP, 0, 1, 1);
        want(SVMD_STATUS_NO_SUCH, mk_drm_bind(xe, space + 1));
        binding(DRM_BIND_MAP, 0, 0, 1);
        want(SVMD_STATUS_SIZE, mk_drm_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 1)->address += 8;
        want(SVMD_STATUS_ALIGN, mk_drm_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 1)->address -= page;
        want(SVMD_STATUS_RANGE, mk_drm_bind(xe, space));
        binding(DRM_BIND_MAP, 0, a.session->partition->slice.size / page + 1, 1);
        want(SVMD_STATUS_RANGE, mk_drm_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 0);
        want(SVMD_STATUS_INVALID, mk_drm_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, DRM_HANDLES_END);
        want(SVMD_STATUS_INVALID, mk_drm_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 1)->offset = 1;
        want(SVMD_STATUS_ALIGN, mk_drm_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 1)->access = 4;
        want(SVMD_STATUS_INVALID, mk_drm_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 1)->pat = 32;
        want(SVMD_STATUS_INVALID, mk_drm_bind(xe, space));
        binding(7, 0, 1, 0);
        want(SVMD_STATUS_INVALID, mk_drm_bind(xe, space));
        placing(1, 1);
        want(SVMD_STATUS_INVALID, mk_drm_bind(xe, space)); /* xe places by advice */
        placing(0, 1);
        want(SVMD_STATUS_INVALID, mk_drm_bind(amdgpu, 0));
        placing(1, 3);
        want(SVMD_STATUS_INVALID, mk_drm_bind(amdgpu, 0));
        placing(1, 1)->address = a.session->partition->slice.start;
        want(SVMD_STATUS_INVALID, mk_drm_bind(amdgpu, 0));
        placing(1, 1)->size = SVMD_PAGE;
        want(SVMD_STATUS_INVALID, mk_drm_bind(amdgpu, 0));
        binding(DRM_BIND_MIRROR, 0, 1, 0);
        want(SVMD_STATUS_INVALID, mk_drm_bind(amdgpu, 0));
        binding(DRM_BIND_PREFETCH, 0, 1, 0)->value = 3;
        want(SVMD_STATUS_INVALID, mk_drm_bind(xe, space));
        binding(DRM_BIND_ADVISE, 0, 1, 0);
        want(SVMD_STATUS_INVALID, mk_drm_bind(xe, space));
        binding(DRM_BIND_ADVISE, 0, 1, 0)->advice = 3;
        want(SVMD_STATUS_INVALID, mk_drm_bind(xe, space));
        assert_int_equal(gpu_rows(0, space), 0);
}

/* ---- what a vector does ---- */

static void binds_in_vectors(void **state) {
        uint64_t xe;
        uint32_t space, memory;
        uint64_t before;
        struct gpu_end e;

        begin();
        xe = give(GPU_XE);
        space = new_space(xe);
        memory = gpu_memory(0, MIB);
        for (unsigned i = 0; i < 64; i++)
                binding(DRM_BIND_MAP, 2 * i, 1, memory);
        before = gpu_calls(GPU_XE);
        e = run(mk_drm_bind(xe, space));
        assert_int_equal(e.code, 0);
        assert_int_equal(e.value, 64);
        assert_int_equal(gpu_rows(0, space), 64);
        assert_int_equal(gpu_calls(GPU_XE) - before, 11); /* 64, 32 and 16 are refused; then 8 each */
        binding(DRM_BIND_UNMAP, 0, 32, 0);
        binding(DRM_BIND_EMPTY, 0, 16, 0);
        assert_int_equal(run(mk_drm_bind(xe, space)).value, 2);
        assert_int_equal(gpu_rows(0, space), 49);
}

/* Also where the driver would replace it, and what an earlier one of the vector has done counts. */
static void refuses_what_is_taken(void **state) {
        uint64_t xe;
        uint32_t space, memory;
        struct gpu_end e;

        begin();
        xe = give(GPU_XE);
        space = new_space(xe);
        memory = gpu_memory(0, MIB);
        binding(DRM_BIND_MAP, 0, 4, memory);
        binding(DRM_BIND_MAP, 8, 4, memory);
        binding(DRM_BIND_MAP, 11, 2, memory);
        binding(DRM_BIND_MAP, 100, 2, memory);
        e = run(mk_drm_bind(xe, space));
        assert_int_equal(e.code, SVMD_STATUS_TAKEN);
        assert_int_equal(e.value, 2);
        assert_int_equal(e.address, at + 11 * page);
        assert_non_null(strstr(e.text, "binding 3 of 4"));
        assert_int_equal(gpu_rows(0, space), 2);
        binding(DRM_BIND_UNMAP, 2, 1, 0);
        binding(DRM_BIND_MAP, 2, 1, memory)->offset = page;
        binding(DRM_BIND_MAP, 3, 1, memory)->replace = true;
        assert_int_equal(run(mk_drm_bind(xe, space)).code, 0);
        binding(DRM_BIND_MAP, 3, 1, memory);
        want(SVMD_STATUS_TAKEN, mk_drm_bind(xe, space));
}

static void says_which(void **state) {
        uint64_t file[2];
        uint32_t space[2], memory;

        begin();
        for (unsigned i = 0; i < 2; i++) {
                struct gpu_end e;

                file[i] = give(GPU_XE + i);
                space[i] = new_space(file[i]);
                memory = gpu_memory(i, MIB);
                for (unsigned k = 0; k < 7; k++)
                        binding(DRM_BIND_MAP, k, 1, k == 4 ? 77 : memory);
                e = run(mk_drm_bind(file[i], space[i]));
                assert_int_equal(e.code, SVMD_STATUS_NO_SUCH);
                assert_int_equal(e.value, 4);
                assert_non_null(strstr(e.text, "binding 5 of 7"));
                assert_non_null(strstr(e.text, "4 stand"));
                assert_int_equal(gpu_rows(i, space[i]), 4);
        }
}

static void mirrors(void **state) {
        struct xe_vm_create v = { .flags = XE_VM_LR | XE_VM_FAULT };
        uint64_t xe;
        const struct drm_rows *r;
        Svmd__V1__DrmBinding *last;

        begin();
        xe = give(GPU_XE);
        assert_int_equal(gpu_call(0, XE_VM_CREATE, &v), 0);
        assert_int_equal(run(mk_drm_space(xe, v.vm_id, true, false)).code, 0);
        binding(DRM_BIND_MIRROR, 0, 64, 0);
        binding(DRM_BIND_ADVISE, 0, 32, 0)->value = 1;
        binding(DRM_BIND_ADVISE, 32, 32, 0)->value = 2;
        binding(DRM_BIND_PREFETCH, 0, 64, 0);
        last = binding(DRM_BIND_ADVISE, 8, 8, 0);
        last->advice = SVMD__V1__DRM_ADVICE__DRM_ATOMIC;
        last->value = 3;
        assert_int_equal(run(mk_drm_bind(xe, v.vm_id)).value, 5);
        r = xe_vm_rows(gpu_files[0], v.vm_id);
        assert_int_equal(r->count, 4);
        assert_int_equal(r->row[0].region, 2); /* memory of its own, + 1 */
        assert_int_equal(r->row[1].advice.atomic, 3);
        assert_int_equal(r->row[3].region, 1);
        assert_int_equal(run(mk_drm_check(xe, v.vm_id)).value, 0);
        want(0, mk_drm_space(xe, v.vm_id, false, true));
        assert_int_equal(gpu_rows(0, v.vm_id), 0); /* it is the process's, and stays */
        new_space(xe);
        binding(DRM_BIND_MIRROR, 0, 64, 0);
        want(SVMD_STATUS_INVALID, mk_drm_bind(xe, 2));
}

static Svmd__V1__Op *mk_migrate(uint64_t address, uint32_t node, bool evict) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_MIGRATE);

        op->migrate->address = address;
        op->migrate->node = node;
        op->migrate->evict = evict;
        return op;
}

static unsigned prefer(uint64_t address, uint64_t size, uint32_t node) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_ADVISE);

        op->advise->address = address;
        op->advise->size = size;
        op->advise->what = SVMD__V1__ADVICE_WHAT__ADVICE_PREFERRED;
        op->advise->preferred = node + 1;
        return client_call(&a, op)->code;
}

/* Hints for private memory are those of the driver that mirrors it. */
static void moves_what_is_mirrored(void **state) {
        struct xe_vm_create v = { .flags = XE_VM_LR | XE_VM_FAULT };
        Svmd__V1__Op *op = mk_reserve(64 * page, 0, 0, "", 0);
        const struct drm_rows *r;
        uint64_t xe, address;

        begin();
        op->reserve->kind = SVMD__V1__RESERVATION_KIND__PRIVATE;
        address = client_call(&a, op)->address;
        want(SVMD_STATUS_ACCESS, mk_migrate(address, GPU_XE, false));
        xe = give(GPU_XE);
        assert_int_equal(gpu_call(0, XE_VM_CREATE, &v), 0);
        new_space(xe); /* which mirrors nothing */
        want(SVMD_STATUS_ACCESS, mk_migrate(address, GPU_XE, false));
        assert_int_equal(prefer(address, 64 * page, GPU_XE), SVMD_STATUS_ACCESS);
        want(0, mk_drm_space(xe, v.vm_id, true, false));
        binding(DRM_BIND_MIRROR, (address - at) / page, 64, 0);
        assert_int_equal(run(mk_drm_bind(xe, v.vm_id)).code, 0);
        r = xe_vm_rows(gpu_files[0], v.vm_id);
        assert_int_equal(run(mk_migrate(address, GPU_XE, false)).code, 0);
        assert_int_equal(r->row[0].region, 2);
        assert_int_equal(run(mk_migrate(address, 0, true)).code, 0);
        assert_int_equal(r->row[0].region, 1);
        assert_int_equal(run(mk_migrate(address, GPU_XE, false)).code, 0);
        assert_int_equal(run(mk_migrate(address, HOST0, false)).code, 0);
        assert_int_equal(r->row[0].region, 1);
        assert_int_equal(prefer(address, 32 * page, HOST0), 0);
        assert_int_equal(prefer(address + 32 * page, 32 * page, GPU_XE), 0);
        want(0, mk_drm_check(xe, v.vm_id)); /* behind them */
        assert_int_equal(r->row[0].advice.device_fd, XE_PREFERRED_SYSTEM);
        assert_int_equal(r->row[1].advice.device_fd, XE_PREFERRED_LOCAL);
        want(SVMD_STATUS_ACCESS, mk_migrate(address, GPU_AMDGPU, false));
}

static void waits_and_signals(void **state) {
        struct drm_syncobj_create n[2] = { { .flags = DRM_SYNCOBJ_CREATE_SIGNALED } };
        Svmd__V1__DrmSync sync[3], *list[3];
        Svmd__V1__Op *op;
        struct gpu_end e;
        uint64_t xe;

        begin();
        xe = give(GPU_XE);
        new_space(xe);
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(gpu_call(0, DRM_IOCTL_SYNCOBJ_CREATE, &n[i]), 0);
        for (unsigned i = 0; i < 3; i++) {
                svmd__v1__drm_sync__init(&sync[i]);
                list[i] = &sync[i];
        }
        sync[0].handle = n[0].handle;
        sync[1].handle = n[1].handle;
        sync[1].point = 3;
        sync[2].handle = 60;
        binding(DRM_BIND_EMPTY, 0, 1, 0);
        op = mk_drm_bind(xe, 1);
        op->drm_bind->wait = list;
        op->drm_bind->n_wait = 1;
        op->drm_bind->signal = list + 1;
        op->drm_bind->n_signal = 1;
        assert_int_equal(run(op).code, 0);
        assert_int_equal(gpu_files[0]->syncs[1].point, 3);
        binding(DRM_BIND_EMPTY, 1, 1, 0);
        op = mk_drm_bind(xe, 1);
        op->drm_bind->wait = list + 2;
        op->drm_bind->n_wait = 1;
        e = run(op);
        assert_int_equal(e.code, SVMD_STATUS_NO_SUCH);
        assert_non_null(strstr(e.text, "nothing was begun"));
        binding(DRM_BIND_EMPTY, 1, 1, 0);
        op = mk_drm_bind(xe, 1);
        op->drm_bind->n_signal = 1;
        op->drm_bind->signal = list + 2;
        e = run(op);
        assert_int_equal(e.code, SVMD_STATUS_NO_SUCH);
        assert_non_null(strstr(e.text, "all is in force"));
        assert_int_equal(gpu_rows(0, 1), 2);
}

/* ---- what drivers refuse ---- */

/* 64 bindings of a page each. */
static struct gpu_end bind_many(uint64_t file, uint32_t space, uint32_t memory) {
        for (unsigned i = 0; i < 64; i++)
                binding(DRM_BIND_MAP, 2 * i, 1, memory);
        return run(mk_drm_bind(file, space));
}

static void unbind_all(uint64_t file, uint32_t space) {
        binding(DRM_BIND_UNMAP, 0, 128, 0);
        assert_int_equal(run(mk_drm_bind(file, space)).code, 0);
}

/* A driver without room for a vector takes its halves; where it has none for one binding, the ones before stand. */
static void splits_what_is_too_much(void **state) {
        uint64_t xe;
        uint32_t space, memory;
        struct gpu_end e;

        begin();
        gpus[0].binds_max = 1024;
        xe = give(GPU_XE);
        space = new_space(xe);
        memory = gpu_memory(0, MIB);
        gpu_refuse(GPU_XE, XE_VM_BIND, 0, 3, ENOBUFS);
        e = bind_many(xe, space, memory);
        assert_int_equal(e.code, 0);
        assert_int_equal(e.value, 64);
        assert_int_equal(gpu_rows(0, space), 64);
        unbind_all(xe, space);
        gpus[0].binds_max = 16;
        gpu_refuse(GPU_XE, XE_VM_BIND, 3, UINT32_MAX, ENOBUFS); /* one of 16 is served */
        e = bind_many(xe, space, memory);
        assert_int_equal(e.code, SVMD_STATUS_NO_MEMORY);
        assert_int_equal(e.value, 16);
        assert_int_equal(e.address, at + 32 * page);
        assert_non_null(strstr(e.text, "binding 17 of 64"));
        assert_non_null(strstr(e.text, "let the device finish what it does, and try again; 16 stand"));
        assert_int_equal(gpu_rows(0, space), 16);
        gpu_refuse(GPU_XE, XE_VM_BIND, 0, 0, 0);
        assert_int_equal(run(mk_drm_check(xe, space)).value, 0); /* the books have those that stand */
        for (unsigned i = 16; i < 64; i++)
                binding(DRM_BIND_MAP, 2 * i, 1, memory);
        assert_int_equal(run(mk_drm_bind(xe, space)).value, 48);
        assert_int_equal(gpu_rows(0, space), 64);
}

/* Each with its status, a word of what to do, and nothing of it in force; then it is asked for again, and done. */
static void says_what_drivers_refuse(void **state) {
        static const struct {
                int error;
                unsigned code;
                const char *word;
        } refusals[] = {
                { ENOBUFS, SVMD_STATUS_NO_MEMORY, "try again" },
                { ENOMEM, SVMD_STATUS_NO_MEMORY, "free some of the device's" },
                { ENOSPC, SVMD_STATUS_NO_MEMORY, "free some" },
                { EBUSY, SVMD_STATUS_BUSY, "wait for the device's work to end" },
                { ENOLINK, SVMD_STATUS_NO_LINK, "place the memory on the one that uses it" },
                { EPERM, SVMD_STATUS_SYSTEM, "only the process that opened the file" },
                { ENODEV, SVMD_STATUS_SYSTEM, "has lost the device" },
        };
        static const unsigned long requests[] = { XE_VM_BIND, AMDGPU_GEM_VA, NOUVEAU_VM_BIND };
        uint64_t file[3];
        uint32_t space[3];

        begin();
        for (unsigned i = 0; i < 3; i++) {
                file[i] = give(GPU_XE + i);
                space[i] = new_space(file[i]);
        }
        for (unsigned i = 0; i < 3 * sizeof(refusals) / sizeof(refusals[0]); i++) {
                unsigned gpu = i % 3, k = i / 3;
                struct gpu_end e;

                gpu_refuse(GPU_XE + gpu, requests[gpu], 0, 1, refusals[k].error);
                binding(DRM_BIND_EMPTY, 2 * k, 1, 0);
                e = run(mk_drm_bind(file[gpu], space[gpu]));
                if (e.code != refusals[k].code || e.value != 0 || !strstr(e.text, refusals[k].word) ||
                    !strstr(e.text, "0 stand"))
                        fail_msg("%s, error %d: %u %s", gpus[gpu].driver->name, refusals[k].error, e.code, e.text);
                assert_int_equal(gpu_rows(gpu, space[gpu]), k);
                binding(DRM_BIND_EMPTY, 2 * k, 1, 0);
                want(0, mk_drm_bind(file[gpu], space[gpu]));
                assert_int_equal(gpu_rows(gpu, space[gpu]), k + 1);
        }
}

/* Advice for which a device has no link. What is before it in the vector is a call of its own, and stands. */
static void says_where_there_is_no_link(void **state) {
        struct xe_vm_create v = { .flags = XE_VM_LR | XE_VM_FAULT };
        struct gpu_end e;
        uint64_t xe;

        begin();
        xe = give(GPU_XE);
        assert_int_equal(gpu_call(0, XE_VM_CREATE, &v), 0);
        want(0, mk_drm_space(xe, v.vm_id, true, false));
        gpu_refuse(GPU_XE, XE_MADVISE, 0, 2, ENOLINK); /* of a vector, and alone */
        binding(DRM_BIND_MIRROR, 0, 64, 0);
        binding(DRM_BIND_ADVISE, 0, 32, 0)->value = 1;
        binding(DRM_BIND_PREFETCH, 0, 64, 0);
        e = run(mk_drm_bind(xe, v.vm_id));
        assert_int_equal(e.code, SVMD_STATUS_NO_LINK);
        assert_int_equal(e.value, 1);
        assert_non_null(strstr(e.text, "binding 2 of 3"));
        assert_non_null(strstr(e.text, "no fast link"));
        assert_int_equal(gpu_rows(0, v.vm_id), 1);
        assert_int_equal(xe_vm_rows(gpu_files[0], v.vm_id)->row[0].region, 0); /* not prefetched */
        binding(DRM_BIND_ADVISE, 0, 32, 0)->value = 1;
        want(0, mk_drm_bind(xe, v.vm_id));
}

/* A page table that is not to be had, or not to be let go of, leaves all as it was. */
static void keeps_what_is_busy(void **state) {
        struct nouveau_vm_init own = { .kernel_address = 1ull << 46, .kernel_size = 1ull << 46 };
        uint64_t xe, nouveau;
        struct gpu_end e;
        uint32_t space;

        begin();
        xe = give(GPU_XE);
        gpu_refuse(GPU_XE, XE_VM_CREATE, 0, 1, ENOMEM);
        e = run(mk_drm_space(xe, 0, false, false));
        assert_int_equal(e.code, SVMD_STATUS_NO_MEMORY);
        assert_non_null(strstr(e.text, "free some of the device's"));
        assert_int_equal(a.session->devices ? list_empty(&((struct private_client *)a.session->devices)->tables) : 0,
                         1);
        space = new_space(xe);
        binding(DRM_BIND_EMPTY, 0, 16, 0);
        want(0, mk_drm_bind(xe, space));
        gpu_refuse(GPU_XE, XE_VM_DESTROY, 0, 1, EBUSY); /* queues of the process use it */
        e = run(mk_drm_space(xe, space, false, true));
        assert_int_equal(e.code, SVMD_STATUS_BUSY);
        assert_non_null(strstr(e.text, "wait for the device's work to end"));
        assert_int_equal(gpu_rows(0, space), 0);
        binding(DRM_BIND_EMPTY, 0, 16, 0); /* it is there still, empty */
        want(0, mk_drm_bind(xe, space));
        want(0, mk_drm_space(xe, space, false, true));
        assert_int_equal(gpu_rows(0, space), SIZE_MAX);
        nouveau = give(GPU_NOUVEAU);
        assert_int_equal(gpu_call(1, NOUVEAU_VM_INIT, &own), 0); /* EBUSY to svmd: it is as good */
        assert_int_equal(new_space(nouveau), 0);
        binding(DRM_BIND_EMPTY, 0, 16, 0);
        want(0, mk_drm_bind(nouveau, 0));
}

/* The driver does not tell, and the next time it does. */
static void says_why_it_cannot_compare(void **state) {
        uint64_t file;
        struct gpu_end e;

        begin();
        file = give(GPU_AMDGPU);
        new_space(file);
        gpu_refuse(GPU_AMDGPU, AMDGPU_LIST_HANDLES, 1, 1, EBUSY);
        e = run(mk_drm_check(file, 0));
        assert_int_equal(e.code, SVMD_STATUS_BUSY);
        assert_int_equal(run(mk_drm_check(file, 0)).code, 0);
}

/* ---- others ---- */

/* All numbers are the same; what one session does is nothing to the other, and the end of one leaves the other's. */
static void keeps_sessions_apart(void **state) {
        struct client b;

        for (unsigned device = GPU_XE; device <= GPU_AMDGPU; device++) {
                uint64_t file[2];
                uint32_t space[2], memory[2];

                begin();
                greet(&b);
                file[0] = give(device);
                file[1] = gpu_give(&b, device, gpu_open(device))->id;
                for (unsigned i = 0; i < 2; i++) {
                        space[i] = (uint32_t)gpu_run(i ? &b : &a, mk_drm_space(file[i], 0, false, false)).value;
                        memory[i] = gpu_memory(i, MIB);
                        binding(DRM_BIND_MAP, 0, 16, memory[i]);
                        assert_int_equal(gpu_run(i ? &b : &a, mk_drm_bind(file[i], space[i])).code, 0);
                }
                assert_int_equal(space[0], space[1]);
                assert_int_equal(memory[0], memory[1]);
                binding(DRM_BIND_UNMAP, 0, 16, 0);
                assert_int_equal(gpu_run(&b, mk_drm_bind(file[1], space[1])).code, 0);
                assert_int_equal(gpu_rows(0, space[0]), 1);
                assert_int_equal(gpu_rows(1, space[1]), 0);
                binding(DRM_BIND_UNMAP, 0, 16, 0);
                assert_int_equal(gpu_run(&b, mk_drm_bind(file[0], space[0])).code, SVMD_STATUS_NO_SUCH);
                client_close(&b);
                assert_int_equal(gpu_rows(0, space[0]), 1);
                end(state);
        }
        begin();
}

static void tells_what_others_did(void **state) {
        struct amdgpu_gem_va own = { .op = AMDGPU_VA_MAP, .flags = AMDGPU_PAGE_READ };
        uint64_t file;
        uint32_t memory[2];
        struct gpu_end e;

        begin();
        file = give(GPU_AMDGPU);
        new_space(file);
        memory[0] = gpu_memory(0, MIB);
        memory[1] = gpu_memory(0, MIB);
        binding(DRM_BIND_MAP, 0, 16, memory[0]);
        binding(DRM_BIND_MAP, 32, 16, memory[0])->offset = 16 * page;
        binding(DRM_BIND_EMPTY, 64, 16, 0);
        assert_int_equal(run(mk_drm_bind(file, 0)).code, 0);
        assert_int_equal(run(mk_drm_check(file, 0)).value, 0);
        own.handle = memory[1];
        own.address = at + 128 * page;
        own.size = 4 * page;
        assert_int_equal(gpu_call(0, AMDGPU_GEM_VA, &own), 0);
        e = run(mk_drm_check(file, 0));
        assert_int_equal(e.value, 4 * page);
        assert_int_equal(e.address, own.address);
        assert_non_null(strstr(e.text, "bound by others: 16 KiB"));
        own.op = AMDGPU_VA_REPLACE;
        own.address = at + 34 * page;
        assert_int_equal(gpu_call(0, AMDGPU_GEM_VA, &own), 0);
        e = run(mk_drm_check(file, 0));
        assert_int_equal(e.value, 8 * page);
        assert_int_equal(e.address, own.address);
        own.op = AMDGPU_VA_CLEAR;
        own.address = at;
        assert_int_equal(gpu_call(0, AMDGPU_GEM_VA, &own), 0);
        e = run(mk_drm_check(file, 0));
        assert_int_equal(e.value, 12 * page);
        assert_int_equal(e.address, at);
        assert_non_null(strstr(e.text, "gone: 16 KiB"));
        gpus[1].audits = false; /* an older kernel */
        want(SVMD_STATUS_NODE_KIND, mk_drm_check(file, 0));
}

static const char *finding(const char *id) {
        const Svmd__V1__StatusResult *r = client_call(&a, op_make(SVMD__V1__OP__OP_STATUS))->status;

        for (size_t i = 0; i < r->n_findings; i++)
                if (strcmp(r->findings[i]->id, id) == 0)
                        return r->findings[i]->text;
        return NULL;
}

/* As it was when it was last compared; while its session lives. */
static void finds_what_differs(void **state) {
        struct amdgpu_gem_va own = { .op = AMDGPU_VA_MAP, .flags = AMDGPU_PAGE_READ };
        struct client b;
        uint64_t file;

        begin();
        greet(&b);
        file = gpu_give(&b, GPU_AMDGPU, gpu_open(GPU_AMDGPU))->id;
        assert_int_equal(gpu_run(&b, mk_drm_space(file, 0, false, false)).code, 0);
        own.handle = gpu_memory(0, MIB);
        own.address = at;
        own.size = 4 * page;
        assert_int_equal(gpu_call(0, AMDGPU_GEM_VA, &own), 0);
        assert_null(finding("drm-check"));
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(gpu_run(&b, mk_drm_check(file, 0)).value, 4 * page);
                assert_non_null(finding("drm-check"));
                assert_non_null(strstr(finding("drm-check"), "1 page table of DRM devices was not"));
                assert_non_null(strstr(finding("drm-check"), "bound by others: 16 KiB, gone"));
                if (i == 1)
                        break;
                own.op = AMDGPU_VA_CLEAR;
                assert_int_equal(gpu_call(0, AMDGPU_GEM_VA, &own), 0);
                assert_int_equal(gpu_run(&b, mk_drm_check(file, 0)).value, 0);
                assert_null(finding("drm-check"));
                own.op = AMDGPU_VA_MAP;
                assert_int_equal(gpu_call(0, AMDGPU_GEM_VA, &own), 0);
        }
        client_close(&b);
        assert_null(finding("drm-check"));
}

/* The memory of a handle may be placed while it is bound, and in one vector with what is bound. */
static void places_memory(void **state) {
        static const uint32_t domains[] = { AMDGPU_VRAM | AMDGPU_GTT, AMDGPU_VRAM, AMDGPU_GTT };
        uint32_t memory, other;
        uint64_t file;
        struct gpu_end e;

        begin();
        file = give(GPU_AMDGPU);
        new_space(file);
        memory = gpu_memory(0, MIB);
        other = gpu_memory(0, MIB);
        for (uint32_t value = 0; value <= 2; value++) {
                struct amdgpu_handle h[2];
                struct amdgpu_list_handles l = { .entries = (uintptr_t)h, .count = 2 };

                placing(memory, value);
                binding(DRM_BIND_MAP, 16 * value, 16, memory);
                assert_int_equal(run(mk_drm_bind(file, 0)).value, 2);
                assert_int_equal(gpu_call(0, AMDGPU_LIST_HANDLES, &l), 0);
                for (unsigned i = 0; i < 2; i++)
                        assert_int_equal(h[i].domains, h[i].handle == memory ? domains[value] : AMDGPU_VRAM);
        }
        assert_int_equal(gpu_rows(0, 0), 3);
        assert_string_equal(run(mk_drm_check(file, 0)).text, "placed outside of the device's memory: 192 KiB");
        binding(DRM_BIND_MAP, 64, 16, other);
        placing(other + 1, 1);
        binding(DRM_BIND_MAP, 128, 16, other);
        e = run(mk_drm_bind(file, 0));
        assert_int_equal(e.value, 1);
        assert_int_equal(e.code, SVMD_STATUS_NO_SUCH);
        assert_non_null(strstr(e.text, "no such page table or memory"));
        assert_int_equal(gpu_rows(0, 0), 4);
}

/* What svmd bound may lie elsewhere than it did, which is no difference, whoever asked for it. */
static void tells_what_was_placed_elsewhere(void **state) {
        struct amdgpu_gem_op place = { .op = AMDGPU_OP_PLACEMENT, .value = AMDGPU_GTT };
        uint64_t file;
        struct gpu_end e;

        begin();
        file = give(GPU_AMDGPU);
        new_space(file);
        place.handle = gpu_memory(0, MIB);
        binding(DRM_BIND_MAP, 0, 16, place.handle);
        binding(DRM_BIND_MAP, 16, 16, gpu_memory(0, MIB));
        assert_int_equal(run(mk_drm_bind(file, 0)).code, 0);
        e = run(mk_drm_check(file, 0));
        assert_int_equal(e.value, 0);
        assert_string_equal(e.text, "");
        assert_int_equal(gpu_call(0, AMDGPU_GEM_OP, &place), 0);
        e = run(mk_drm_check(file, 0));
        assert_int_equal(e.value, 0);
        assert_string_equal(e.text, "placed outside of the device's memory: 64 KiB");
        assert_null(finding("drm-check"));
        place.value = AMDGPU_VRAM | AMDGPU_GTT;
        assert_int_equal(gpu_call(0, AMDGPU_GEM_OP, &place), 0);
        assert_string_equal(run(mk_drm_check(file, 0)).text, "");
}

static void cannot_tell_of_nouveau(void **state) {
        uint64_t file;

        begin();
        file = give(GPU_NOUVEAU);
        new_space(file);
        binding(DRM_BIND_EMPTY, 0, 16, 0);
        assert_int_equal(run(mk_drm_bind(file, 0)).code, 0);
        want(SVMD_STATUS_NODE_KIND, mk_drm_check(file, 0));
}

/* ---- bindings that a process makes itself ---- */

static uint64_t now_ns;

static uint64_t now(void) {
        return now_ns;
}

/* The GPUs are nodes like others, so that leave for them can be had. */
static void begin_node(void) {
        world_shape = gpus_shape;
        begin();
        world_shape = NULL;
        now_ns = 1000000000ull;
        w.options.boottime_ns = w.svc->options.boottime_ns = now;
}

static Svmd__V1__Result *call(Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(&a, op);

        if (r->code != 0)
                fail_msg("operation %d: %u %s", (int)op->op_case, r->code, r->text);
        return r;
}

/* For the first 256 pages; `what` it may do there. */
static struct grant_ask { uint64_t id, generation; } leave_for(uint64_t reservation, unsigned what) {
        Svmd__V1__Op *op = mk_grant(GPU_NODES, what, 0);
        Svmd__V1__Result *r;

        op->grant_ask->reservation = reservation;
        op->grant_ask->address = at;
        op->grant_ask->size = 256 * page;
        r = call(op);
        return (struct grant_ask){ r->id, r->generation };
}

static Svmd__V1__Op *mk_told(const struct grant_ask *g, uint64_t file, uint32_t space, bool more) {
        return mk_drm_bound(g->id, g->generation, file, space, more);
}

static void refused(unsigned code, Svmd__V1__Op *op) {
        Svmd__V1__Result *r = client_call(&a, op);

        if (r->code != code || !r->text[0])
                fail_msg("operation %d: %u %s, not %u", (int)op->op_case, r->code, r->text, code);
}

/* As libsvmd does, by the same code. */
static void bind_self(uint32_t space, uint32_t memory, uint64_t first, uint64_t pages) {
        struct xe_vm_bind v = { .vm_id = space, .count = 1 };

        v.bind = (struct xe_bind_op){ .op = memory ? XE_BIND_MAP : XE_BIND_UNMAP,
                                      .object = memory,
                                      .address = at + first * page,
                                      .range = pages * page };
        assert_int_equal(gpu_call(0, XE_VM_BIND, &v), 0);
}

/* svmd binds nothing where it is not known what is there, and its books have what it was told, and nothing else. */
static void hears_what_a_process_bound(void **state) {
        uint64_t file, reservation;
        struct grant_ask g;
        uint32_t space, memory;

        begin_node();
        reservation = call(mk_reserve(1024 * page, 0, at, "", 0))->id;
        file = gpu_give(&a, GPU_NODES, gpu_open(GPU_XE))->id;
        space = new_space(file);
        memory = gpu_memory(0, MIB);
        g = leave_for(reservation, GRANT_MAP | GRANT_UNMAP);
        binding(DRM_BIND_MAP, 255, 4, memory);
        refused(SVMD_STATUS_BUSY, mk_drm_bind(file, space));
        assert_non_null(strstr(a.reply->results[0]->text, "svmd_drm_settle"));
        binding(DRM_BIND_MAP, 256, 4, memory); /* behind it */
        want(0, mk_drm_bind(file, space));
        bind_self(space, memory, 0, 16);
        bind_self(space, memory, 32, 16);
        bind_self(space, memory, 64, 16);
        assert_int_equal(run(mk_drm_check(file, space)).value, 48 * page); /* not heard of */
        binding(DRM_BIND_MAP, 0, 16, memory);
        call(mk_told(&g, file, space, true));
        assert_int_equal(run(mk_drm_check(file, space)).value, 32 * page);
        binding(DRM_BIND_MAP, 32, 16, memory);
        call(mk_told(&g, file, space, false));
        assert_int_equal(run(mk_drm_check(file, space)).value, 16 * page); /* it said nothing of the third */
        assert_int_equal(a.session->grants_count, 0);
        binding(DRM_BIND_MAP, 0, 1, memory);
        want(SVMD_STATUS_TAKEN, mk_drm_bind(file, space));
        binding(DRM_BIND_MAP, 16, 1, memory);
        want(0, mk_drm_bind(file, space));
        bind_self(space, 0, 0, 16); /* it said so, and it is not there any more */
        assert_int_equal(run(mk_drm_check(file, space)).value, 32 * page);
}

static void refuses_what_was_not_granted(void **state) {
        uint64_t file, reservation;
        struct grant_ask g, half, stale;
        uint32_t space, memory;
        struct client b;

        begin_node();
        reservation = call(mk_reserve(1024 * page, 0, at, "", 0))->id;
        file = gpu_give(&a, GPU_NODES, gpu_open(GPU_XE))->id;
        space = new_space(file);
        memory = gpu_memory(0, MIB);
        half = leave_for(reservation, GRANT_MAP);
        refused(SVMD_STATUS_NO_SUCH, mk_told(&half, file, space, false));
        call(mk_grant_done(half.id, half.generation, 0, 0));
        g = leave_for(reservation, GRANT_MAP | GRANT_UNMAP);
        stale = (struct grant_ask){ g.id, g.generation - 1 };
        refused(SVMD_STATUS_NO_SUCH, mk_told(&stale, file, space, false));
        refused(SVMD_STATUS_NO_SUCH, mk_told(&g, file, space + 1, false));
        refused(SVMD_STATUS_NO_SUCH, mk_told(&g, file + 100, space, false));
        binding(DRM_BIND_MAP, 255, 2, memory);
        refused(SVMD_STATUS_RANGE, mk_told(&g, file, space, false));
        binding(DRM_BIND_MAP, 512, 1, memory);
        refused(SVMD_STATUS_RANGE, mk_told(&g, file, space, false));
        binding(DRM_BIND_MIRROR, 0, 1, 0);
        refused(SVMD_STATUS_INVALID, mk_told(&g, file, space, false));
        binding(DRM_BIND_MAP, 0, 1, 0);
        refused(SVMD_STATUS_INVALID, mk_told(&g, file, space, false));
        greet(&b);
        binding(DRM_BIND_EMPTY, 0, 1, 0);
        assert_int_equal(client_call(&b, mk_told(&g, file, space, false))->code, SVMD_STATUS_NO_SUCH);
        client_close(&b);
        assert_int_equal(a.session->grants_count, 1); /* nothing of that has changed anything */
        assert_int_equal(run(mk_drm_check(file, space)).value, 0);
        now_ns += 11 * 1000000000ull;
        binding(DRM_BIND_MAP, 0, 1, memory);
        refused(SVMD_STATUS_TIMEOUT, mk_told(&g, file, space, false));
        binding(DRM_BIND_MAP, 0, 1, memory); /* it is svmd's again */
        want(0, mk_drm_bind(file, space));
        call(mk_grant_done(g.id, g.generation, ECANCELED, 0));
        g = leave_for(reservation, GRANT_MAP | GRANT_UNMAP);
        call(mk_free(reservation));
        binding(DRM_BIND_UNMAP, 0, 1, 0);
        refused(SVMD_STATUS_NO_SUCH, mk_told(&g, file, space, false));
}

/* The leave is journaled as others are, and svmd is told after a restart too. */
static void hears_of_it_after_a_restart(void **state) {
        struct client *clients[] = { &a };
        uint64_t file, reservation;
        struct grant_ask g;
        uint32_t space, memory;

        begin_node();
        reservation = call(mk_reserve(1024 * page, 0, at, "", 0))->id;
        file = gpu_give(&a, GPU_NODES, gpu_open(GPU_XE))->id;
        space = new_space(file);
        memory = gpu_memory(0, MIB);
        g = leave_for(reservation, GRANT_MAP | GRANT_UNMAP);
        bind_self(space, memory, 0, 16);
        for (unsigned i = 0; i < 2; i++) {
                world_bury(world_restart(&w, clients, 1));
                binding(DRM_BIND_MAP, 0, 16, memory);
                refused(SVMD_STATUS_BUSY, mk_drm_bind(file, space));
                binding(DRM_BIND_MAP, 0, 16, memory);
                call(mk_told(&g, file, space, i == 0));
                assert_int_equal(run(mk_drm_check(file, space)).value, 0);
        }
        world_bury(world_restart(&w, clients, 1));
        assert_int_equal(a.session->grants_count, 0);
}

/* ---- the end, and restarts ---- */

/* The process lives on with its file, and with page tables and mappings that are its own. */
static void unmaps_at_the_end(void **state) {
        struct amdgpu_gem_va own = { .op = AMDGPU_VA_MAP, .flags = AMDGPU_PAGE_READ, .address = MIB, .size = page };
        struct xe_vm_create v = { .flags = XE_VM_LR | XE_VM_FAULT };
        uint64_t xe, amdgpu;

        begin();
        xe = give(GPU_XE);
        amdgpu = give(GPU_AMDGPU);
        assert_int_equal(gpu_call(0, XE_VM_CREATE, &v), 0);
        assert_int_equal(run(mk_drm_space(xe, v.vm_id, true, false)).code, 0);
        new_space(xe);
        new_space(amdgpu);
        own.handle = gpu_memory(1, MIB);
        assert_int_equal(gpu_call(1, AMDGPU_GEM_VA, &own), 0);
        for (unsigned i = 0; i < 3; i++) {
                binding(i == 0 ? DRM_BIND_MIRROR : DRM_BIND_EMPTY, 16, 16, 0);
                assert_int_equal(run(mk_drm_bind(i == 2 ? amdgpu : xe, i == 2 ? 0 : v.vm_id + i)).code, 0);
        }
        assert_int_equal(gpu_rows(1, 0), 2);
        client_close(&a);
        for (unsigned i = 0; i < 30000 && (gpu_rows(0, v.vm_id) || gpu_rows(0, 2) != SIZE_MAX || gpu_rows(1, 0) != 1);
             i++)
                usleep(1000);
        assert_int_equal(gpu_rows(0, v.vm_id), 0);
        assert_int_equal(gpu_rows(0, 2), SIZE_MAX); /* svmd made it */
        assert_int_equal(gpu_rows(1, 0), 1);
        greet(&a);
}

static void restart(void) {
        struct client *clients[] = { &a };

        world_bury(world_restart(&w, clients, 1));
        assert_non_null(a.session);
}

static void survives(void **state) {
        uint64_t xe;
        uint32_t space;
        struct gpu_end e;

        begin();
        xe = give(GPU_XE);
        space = new_space(xe);
        assert_int_equal(new_space(xe), space + 1);
        want(0, mk_drm_space(xe, space + 1, false, true));
        binding(DRM_BIND_EMPTY, 0, 16, 0);
        assert_int_equal(run(mk_drm_bind(xe, space)).code, 0);
        for (unsigned i = 0; i < 2; i++) { /* from the log, and from a snapshot */
                restart();
                want(SVMD_STATUS_NO_SUCH, mk_drm_check(xe, space + 1));
                e = run(mk_drm_check(xe, space));
                assert_int_equal(e.code, 0);
                assert_int_equal(e.value, 16 * page);
                assert_non_null(strstr(e.text, "svmd does not know"));
                assert_int_equal(gpu_rows(0, space), 1);
        }
        client_close(&a);
        for (unsigned i = 0; i < 30000 && gpu_rows(0, space) != SIZE_MAX; i++)
                usleep(1000);
        assert_int_equal(gpu_rows(0, space), SIZE_MAX);
        greet(&a);
}

/* A device that appeared while svmd ran is a node when it starts anew, and the file that a session has of it is the
 * node's. */
static void survives_as_a_node(void **state) {
        static struct machine more;
        const struct machine *old = &w.machine;
        uint64_t amdgpu;

        begin();
        amdgpu = give(GPU_AMDGPU);
        new_space(amdgpu);
        binding(DRM_BIND_MAP, 0, 16, gpu_memory(0, MIB));
        assert_int_equal(run(mk_drm_bind(amdgpu, 0)).code, 0);
        for (uint32_t i = 0; i < old->count; i++)
                *machine_add(&more) = old->nodes[i];
        gpus_shape(&more);
        w.options.machine = &more;
        for (unsigned i = 0; i < 2; i++) { /* from the log, and from a snapshot */
                restart();
                binding(DRM_BIND_MAP, 16 + 16 * i, 16, gpu_memory(0, MIB));
                assert_int_equal(run(mk_drm_bind(amdgpu, 0)).code, 0);
                assert_int_equal(gpu_rows(0, 0), 2 + i);
                assert_int_equal(gpu_give(&a, old->count + 1, gpu_open(GPU_AMDGPU))->code, 0);
        }
        client_close(&a);
        for (unsigned i = 0; i < 30000 && gpu_rows(0, 0) != 0; i++)
                usleep(1000);
        assert_int_equal(gpu_rows(0, 0), 0);
        greet(&a);
}

/* ---- the next session of a file ---- */

/* What the lane of the last one does in its end is nothing to the next one, which has to wait for it. */
static uint64_t give_when_left(int fd) {
        Svmd__V1__Result *r = gpu_give(&a, GPU_XE, dup(fd));

        for (unsigned i = 0; r->code == SVMD_STATUS_BUSY && i < 30000; i++) {
                usleep(1000);
                r = gpu_give(&a, GPU_XE, dup(fd));
        }
        assert_int_equal(r->code, 0);
        return r->id;
}

/* A page table of the process's, that sessions take: it has a page of memory at the first address. */
static void bind_in_taken(uint64_t file, uint32_t space, uint32_t memory) {
        want(0, mk_drm_space(file, space, true, false));
        binding(DRM_BIND_MAP, 0, 1, memory);
        want(0, mk_drm_bind(file, space));
        assert_int_equal(gpu_rows(0, space), 1);
}

/* Its lane waits in the driver when it ends. */
static void end_session(void) {
        gpu_hold(GPU_XE, XE_VM_BIND);
        client_close(&a);
        for (unsigned i = 0; i < 30000 && gpu_held() == 0; i++)
                usleep(1000);
        assert_int_equal(gpu_held(), 1);
}

static void check_next_session(bool restarts) {
        struct xe_vm_create v = { .flags = 0 };
        uint64_t file;
        uint32_t memory;
        int fd;

        begin();
        fd = gpu_open(GPU_XE);
        memory = gpu_memory(0, MIB);
        assert_int_equal(gpu_call(0, XE_VM_CREATE, &v), 0);
        bind_in_taken(gpu_give(&a, GPU_XE, dup(fd))->id, v.vm_id, memory);
        if (restarts)
                restart();
        end_session();
        greet(&a);
        assert_int_equal(a.session->partition->slice.start, at);
        assert_int_equal(gpu_give(&a, GPU_XE, dup(fd))->code, SVMD_STATUS_BUSY);
        assert_non_null(
                strstr(a.reply->results[0]->text, "give it again in a moment, or open /dev/dri/renderD128 anew"));
        assert_int_equal(gpu_give(&a, GPU_XE, gpu_open(GPU_XE))->code, 0); /* another open file */
        gpu_hold(GPU_XE, 0);
        file = give_when_left(fd);
        assert_int_equal(gpu_rows(0, v.vm_id), 0);
        bind_in_taken(file, v.vm_id, memory);
        want(0, mk_drm_check(file, v.vm_id));
        assert_int_equal(gpu_rows(0, v.vm_id), 1);
        close(fd);
}

static void waits_for_the_last_session(void **state) {
        check_next_session(false);
}

/* svmd was started anew between, and knows nothing of what is bound. */
static void waits_for_one_that_came_back(void **state) {
        check_next_session(true);
}

/* ---- without memory ---- */

static void fails_cleanly(void **state) {
        uint64_t xe;

        begin();
        xe = give(GPU_XE);
        new_space(xe);
        for (unsigned step = 0; step < 5; step++) {
                bool done = false;

                for (unsigned long n = 1; !done; n++) {
                        Svmd__V1__Op *op;
                        unsigned code;

                        gpu_bindings_drop();
                        binding(DRM_BIND_EMPTY, n, 1, 0);
                        op = step == 0   ? mk_drm_bind(xe, 1)
                             : step == 1 ? mk_drm_space(xe, 0, false, false)
                             : step == 2 ? mk_drm_check(xe, 1)
                             : step == 3 ? mk_drm_space(xe, 1, false, true)
                                         : NULL;
                        alloc_fail_at(n);
                        code = op ? client_call(&a, op)->code : gpu_give(&a, GPU_XE, gpu_open(GPU_XE))->code;
                        done = !alloc_fail_hit();
                        alloc_fail_off();
                        if (done ? code != 0 : code != SVMD_STATUS_NO_MEMORY && code != 0)
                                fail_msg("step %u, allocation %lu: code %u", step, n, code);
                        done |= code == 0 && step >= 3;
                        world_settle(&w);
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(refuses_files, end),
                cmocka_unit_test_teardown(refuses_page_tables, end),
                cmocka_unit_test_teardown(refuses_bindings, end),
                cmocka_unit_test_teardown(binds_in_vectors, end),
                cmocka_unit_test_teardown(refuses_what_is_taken, end),
                cmocka_unit_test_teardown(says_which, end),
                cmocka_unit_test_teardown(mirrors, end),
                cmocka_unit_test_teardown(moves_what_is_mirrored, end),
                cmocka_unit_test_teardown(waits_and_signals, end),
                cmocka_unit_test_teardown(splits_what_is_too_much, end),
                cmocka_unit_test_teardown(says_what_drivers_refuse, end),
                cmocka_unit_test_teardown(says_where_there_is_no_link, end),
                cmocka_unit_test_teardown(keeps_what_is_busy, end),
                cmocka_unit_test_teardown(says_why_it_cannot_compare, end),
                cmocka_unit_test_teardown(keeps_sessions_apart, end),
                cmocka_unit_test_teardown(tells_what_others_did, end),
                cmocka_unit_test_teardown(finds_what_differs, end),
                cmocka_unit_test_teardown(places_memory, end),
                cmocka_unit_test_teardown(tells_what_was_placed_elsewhere, end),
                cmocka_unit_test_teardown(cannot_tell_of_nouveau, end),
                cmocka_unit_test_teardown(hears_what_a_process_bound, end),
                cmocka_unit_test_teardown(refuses_what_was_not_granted, end),
                cmocka_unit_test_teardown(hears_of_it_after_a_restart, end),
                cmocka_unit_test_teardown(unmaps_at_the_end, end),
                cmocka_unit_test_teardown(waits_for_the_last_session, end),
                cmocka_unit_test_teardown(waits_for_one_that_came_back, end),
                cmocka_unit_test_teardown(survives, end),
                cmocka_unit_test_teardown(survives_as_a_node, end),
                cmocka_unit_test_teardown(fails_cleanly, end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
