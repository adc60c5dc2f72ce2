/*
 * Page tables of DRM devices in the whole service, by files of modelled drivers (tests/emul/drm): what is refused, what
 * a vector does and says, two sessions on one GPU, restarts, and what is left behind.
 */
#include <drm.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/drm.h"
#include "backend/drm_space.h"
#include "base/alloc.h"
#include "core/partition.h"
#include "core/session.h"
#include "drm_model.h"
#include "harness.h"
#include "proto/uapi/amdgpu.h"
#include "proto/uapi/xe.h"
#include "service/drm.h"
#include "service/private.h"

#define page SVMD_PAGE
#define MIB  (1ull << 20)
enum { XE = 256, AMDGPU, NOUVEAU, VGEM, FILES = 8 };

static struct world w;
static struct client a;
static uint64_t at; /* the first address of the partition */

/* ---- the machine ---- */

static struct drm_card cards[3];
static struct drm_device devices[4];
static struct drm_file *files[FILES];
static ino_t inodes[FILES];
static unsigned files_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* lanes are threads */

bool __wrap_drm_devices(struct drm *d, const struct drm_device **ret, uint32_t *ret_count);
bool __wrap_drm_devices(struct drm *d, const struct drm_device **ret, uint32_t *ret_count) {
        *ret = devices;
        *ret_count = 4;
        return true;
}

static int file_of(int fd) {
        struct stat st;
        int found = -1;

        if (fstat(fd, &st) < 0)
                return -1;
        pthread_mutex_lock(&lock);
        for (unsigned i = 0; i < files_count; i++)
                if (inodes[i] == st.st_ino)
                        found = (int)i;
        pthread_mutex_unlock(&lock);
        return found;
}

bool __wrap_drm_file_is(const char *path, const char *driver, int fd, char *why, unsigned why_size);
bool __wrap_drm_file_is(const char *path, const char *driver, int fd, char *why, unsigned why_size) {
        int i = file_of(fd);

        snprintf(why, why_size, "it is no file of %s", driver);
        return i >= 0 && strcmp(files[i]->card->driver->name, driver) == 0;
}

int __wrap_drm_file_is_of(pid_t process, int theirs, int fd);
int __wrap_drm_file_is_of(pid_t process, int theirs, int fd) {
        return file_of(theirs) == file_of(fd);
}

static int copy_in(void *userdata, uint64_t from, void *ret, size_t size) {
        memcpy(ret, (const void *)(uintptr_t)from, size);
        return 0;
}

static int copy_out(void *userdata, uint64_t to, const void *bytes, size_t size) {
        memcpy((void *)(uintptr_t)to, bytes, size);
        return 0;
}

static int in_file(unsigned file, unsigned long request, void *arg) {
        const struct drm_caller me = { .mm = 1, .read = copy_in, .write = copy_out };
        int r;

        pthread_mutex_lock(&lock);
        r = drm_file_ioctl(files[file], &me, request, arg);
        pthread_mutex_unlock(&lock);
        return r;
}

int __wrap_drmIoctl(int fd, unsigned long request, void *arg);
int __wrap_drmIoctl(int fd, unsigned long request, void *arg) {
        int i = file_of(fd), r = i < 0 ? -EBADF : in_file((unsigned)i, request, arg);

        errno = -r;
        return r < 0 ? -1 : 0;
}

static int new_file(unsigned device) {
        int fd = memfd_create("file", MFD_CLOEXEC);
        struct stat st;

        assert_true(fd >= 0 && fstat(fd, &st) == 0 && files_count < FILES);
        pthread_mutex_lock(&lock);
        inodes[files_count] = st.st_ino;
        assert_int_equal(drm_file_new(&files[files_count], &cards[device - XE]), 0);
        files_count++;
        pthread_mutex_unlock(&lock);
        return fd;
}

static uint32_t new_memory(unsigned file, uint64_t size) {
        uint32_t handle = 0;
        struct xe_gem_create x = { .size = size, .placement = 2, .cpu_caching = XE_CACHING_WRITE_COMBINED };
        struct amdgpu_gem_create g = { .size = size, .domains = AMDGPU_VRAM };

        if (files[file]->card->driver == &drm_driver_xe) {
                assert_int_equal(in_file(file, XE_GEM_CREATE, &x), 0);
                handle = x.handle;
        } else {
                assert_int_equal(in_file(file, AMDGPU_GEM_CREATE, &g), 0);
                handle = g.handle;
        }
        return handle;
}

static size_t rows(unsigned file, uint32_t space) {
        const struct drm_rows *r;
        size_t count;

        pthread_mutex_lock(&lock);
        r = files[file]->card->driver == &drm_driver_xe ? xe_vm_rows(files[file], space) : amdgpu_rows(files[file]);
        count = r ? r->count : SIZE_MAX;
        pthread_mutex_unlock(&lock);
        return count;
}

/* ---- asking ---- */

static Svmd__V1__Result *give_as(struct client *c, uint32_t node, int fd) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DEVICE_GIVE);

        op->device_give->node = node;
        return client_send(c, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1)->results[0];
}

static uint64_t give(uint32_t node) {
        Svmd__V1__Result *r = give_as(&a, node, new_file(node));

        if (r->code != 0)
                fail_msg("give: %u %s", r->code, r->text);
        return r->id;
}

static Svmd__V1__Op *mk_drm_space(uint64_t file, uint32_t space, bool take, bool off) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DRM_SPACE);

        op->drm_space->file = file;
        op->drm_space->space = space;
        op->drm_space->take = take;
        op->drm_space->off = off;
        return op;
}

static Svmd__V1__Op *mk_check(uint64_t file, uint32_t space) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DRM_CHECK);

        op->drm_check->file = file;
        op->drm_check->space = space;
        return op;
}

static Svmd__V1__DrmBinding binds[DRM_VECTOR_MAX], *bind_list[DRM_VECTOR_MAX];
static unsigned bind_count;

static Svmd__V1__DrmBinding *binding(unsigned what, uint64_t first, uint64_t pages, uint32_t handle) {
        Svmd__V1__DrmBinding *b = &binds[bind_count];

        svmd__v1__drm_binding__init(b);
        b->what = (Svmd__V1__DrmWhat)what;
        b->address = at + first * page;
        b->size = pages * page;
        b->handle = handle;
        b->access = what == DRM_BIND_MAP ? 3 : 0;
        bind_list[bind_count++] = b;
        return b;
}

static Svmd__V1__Op *mk_bind(uint64_t file, uint32_t space) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DRM_BIND);

        op->drm_bind->file = file;
        op->drm_bind->space = space;
        op->drm_bind->bindings = bind_list;
        op->drm_bind->n_bindings = bind_count;
        bind_count = 0;
        return op;
}

struct end {
        unsigned code;
        uint64_t value, address;
        char text[256];
};

static struct end await(struct client *c, uint64_t fence) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);
        struct end e = { 0 };

        op->fence_query->fence = fence;
        for (;;) {
                Svmd__V1__Result *r = client_call(c, op);

                assert_int_equal(r->code, 0);
                if (r->fence->done) {
                        e = (struct end){ r->fence->code, r->fence->value, r->fence->address, "" };
                        snprintf(e.text, sizeof(e.text), "%s", r->fence->text);
                        return e;
                }
                world_wait(&w);
        }
}

static struct end run_as(struct client *c, Svmd__V1__Op *op) {
        Svmd__V1__Result *r;

        c->deaf = true; /* the end is asked for */
        r = client_call(c, op);
        if (r->code != 0)
                return (struct end){ .code = r->code, .value = UINT64_MAX };
        return await(c, r->id);
}

static struct end run(Svmd__V1__Op *op) {
        return run_as(&a, op);
}

static void want(unsigned code, Svmd__V1__Op *op) {
        struct end e = run(op);

        if (e.code != code)
                fail_msg("operation %d: %u %s, not %u", (int)op->op_case, e.code, e.text, code);
}

static uint32_t new_space(uint64_t file) {
        struct end e = run(mk_drm_space(file, 0, false, false));

        assert_int_equal(e.code, 0);
        return (uint32_t)e.value;
}

static void greet(struct client *c) {
        client_open(&w, c, 1000, 1000, false);
        client_greet(c, "");
}

static void begin(void) {
        static const struct drm_driver *const drivers[] = { &drm_driver_xe, &drm_driver_amdgpu, &drm_driver_nouveau };

        for (unsigned i = 0; i < 3; i++) {
                cards[i] = (struct drm_card){ .driver = drivers[i], .vram = 64 * MIB, .binds_max = 8, .audits = true };
                devices[i] = (struct drm_device){ .minor = i, .render = true };
                snprintf(devices[i].driver, sizeof(devices[i].driver), "%s", drivers[i]->name);
                snprintf(devices[i].node, sizeof(devices[i].node), "/dev/dri/renderD%u", 128 + i);
        }
        devices[3] = (struct drm_device){ .minor = 3, .driver = "vgem", .node = "/dev/dri/renderD131" };
        world_open(&w, 0);
        greet(&a);
        at = a.session->partition->slice.start;
}

/* The lane goes on by itself: it has said goodbye when it has closed the file. */
static int end(void **state) {
        client_close(&a);
        world_close(&w);
        for (unsigned i = 0; i < files_count; i++)
                drm_file_free(files[i]);
        files_count = 0;
        bind_count = 0;
        ops_reset();
        for (unsigned i = 0; i < 3; i++)
                if (cards[i].vram_used)
                        return -1;
        return 0;
}

/* ---- what it cannot have ---- */

static void refuses_files(void **state) {
        struct client b;
        int fd;

        begin();
        assert_int_equal(give_as(&a, XE, new_file(AMDGPU))->code, SVMD_STATUS_FD_KIND);
        assert_int_equal(give_as(&a, VGEM, new_file(XE))->code, SVMD_STATUS_NODE_KIND);
        assert_int_equal(give_as(&a, XE + 40, new_file(XE))->code, SVMD_STATUS_NO_NODE);
        fd = new_file(XE);
        assert_int_equal(give_as(&a, XE, dup(fd))->code, 0);
        assert_int_equal(give_as(&a, XE, dup(fd))->code, SVMD_STATUS_TAKEN);
        greet(&b);
        assert_int_equal(give_as(&b, XE, dup(fd))->code, SVMD_STATUS_TAKEN);
        assert_non_null(strstr(b.reply->results[0]->text, "open /dev/dri/renderD128 anew"));
        client_close(&b);
        close(fd);
}

static void refuses_page_tables(void **state) {
        uint64_t xe, amdgpu;
        struct client b;

        begin();
        want(SVMD_STATUS_NO_SUCH, mk_drm_space(1, 0, false, false));
        xe = give(XE);
        amdgpu = give(AMDGPU);
        want(SVMD_STATUS_INVALID, mk_drm_space(xe, 1, false, false));
        want(SVMD_STATUS_INVALID, mk_drm_space(xe, 1, true, true));
        want(SVMD_STATUS_NO_SUCH, mk_drm_space(xe, 1, false, true));
        want(SVMD_STATUS_NO_SUCH, mk_drm_space(xe, 7, true, false));
        want(SVMD_STATUS_NO_SUCH, mk_check(xe, 1));
        assert_int_equal(new_space(amdgpu), 0);
        want(SVMD_STATUS_TAKEN, mk_drm_space(amdgpu, 0, false, false));
        want(SVMD_STATUS_TAKEN, mk_drm_space(amdgpu, 0, true, false));
        assert_int_equal(new_space(xe), 1);
        want(SVMD_STATUS_TAKEN, mk_drm_space(xe, 1, true, false));
        greet(&b);
        assert_int_equal(run_as(&b, mk_check(xe, 1)).code, SVMD_STATUS_NO_SUCH);
        client_close(&b);
}

static void refuses_bindings(void **state) {
        uint64_t xe, amdgpu;
        uint32_t space;

        begin();
        xe = give(XE);
        space = new_space(xe);
        amdgpu = give(AMDGPU);
        new_space(amdgpu);
        want(SVMD_STATUS_INVALID, mk_bind(xe, space)); /* none */
        binding(DRM_BIND_MAP, 0, 1, 1);
        want(SVMD_STATUS_NO_SUCH, mk_bind(xe, space + 1));
        binding(DRM_BIND_MAP, 0, 0, 1);
        want(SVMD_STATUS_SIZE, mk_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 1)->address += 8;
        want(SVMD_STATUS_ALIGN, mk_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 1)->address -= page;
        want(SVMD_STATUS_RANGE, mk_bind(xe, space));
        binding(DRM_BIND_MAP, 0, a.session->partition->slice.size / page + 1, 1);
        want(SVMD_STATUS_RANGE, mk_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 0);
        want(SVMD_STATUS_INVALID, mk_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, DRM_HANDLES_END);
        want(SVMD_STATUS_INVALID, mk_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 1)->offset = 1;
        want(SVMD_STATUS_ALIGN, mk_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 1)->access = 4;
        want(SVMD_STATUS_INVALID, mk_bind(xe, space));
        binding(DRM_BIND_MAP, 0, 1, 1)->pat = 32;
        want(SVMD_STATUS_INVALID, mk_bind(xe, space));
        binding(6, 0, 1, 0);
        want(SVMD_STATUS_INVALID, mk_bind(xe, space));
        binding(DRM_BIND_MIRROR, 0, 1, 0);
        want(SVMD_STATUS_INVALID, mk_bind(amdgpu, 0));
        binding(DRM_BIND_PREFETCH, 0, 1, 0)->value = 3;
        want(SVMD_STATUS_INVALID, mk_bind(xe, space));
        binding(DRM_BIND_ADVISE, 0, 1, 0);
        want(SVMD_STATUS_INVALID, mk_bind(xe, space));
        binding(DRM_BIND_ADVISE, 0, 1, 0)->advice = 3;
        want(SVMD_STATUS_INVALID, mk_bind(xe, space));
        assert_int_equal(rows(0, space), 0);
}

/* ---- what a vector does ---- */

static void binds_in_vectors(void **state) {
        uint64_t xe;
        uint32_t space, memory;
        uint64_t before;
        struct end e;

        begin();
        xe = give(XE);
        space = new_space(xe);
        memory = new_memory(0, MIB);
        for (unsigned i = 0; i < 64; i++)
                binding(DRM_BIND_MAP, 2 * i, 1, memory);
        before = cards[0].ioctls;
        e = run(mk_bind(xe, space));
        assert_int_equal(e.code, 0);
        assert_int_equal(e.value, 64);
        assert_int_equal(rows(0, space), 64);
        assert_int_equal(cards[0].ioctls - before, 11); /* 64, 32 and 16 are refused; then 8 each */
        binding(DRM_BIND_UNMAP, 0, 32, 0);
        binding(DRM_BIND_EMPTY, 0, 16, 0);
        assert_int_equal(run(mk_bind(xe, space)).value, 2);
        assert_int_equal(rows(0, space), 49);
}

/* Also where the driver would replace it, and what an earlier one of the vector has done counts. */
static void refuses_what_is_taken(void **state) {
        uint64_t xe;
        uint32_t space, memory;
        struct end e;

        begin();
        xe = give(XE);
        space = new_space(xe);
        memory = new_memory(0, MIB);
        binding(DRM_BIND_MAP, 0, 4, memory);
        binding(DRM_BIND_MAP, 8, 4, memory);
        binding(DRM_BIND_MAP, 11, 2, memory);
        binding(DRM_BIND_MAP, 100, 2, memory);
        e = run(mk_bind(xe, space));
        assert_int_equal(e.code, SVMD_STATUS_TAKEN);
        assert_int_equal(e.value, 2);
        assert_int_equal(e.address, at + 11 * page);
        assert_non_null(strstr(e.text, "binding 3 of 4"));
        assert_int_equal(rows(0, space), 2);
        binding(DRM_BIND_UNMAP, 2, 1, 0);
        binding(DRM_BIND_MAP, 2, 1, memory)->offset = page;
        binding(DRM_BIND_MAP, 3, 1, memory)->replace = true;
        assert_int_equal(run(mk_bind(xe, space)).code, 0);
        binding(DRM_BIND_MAP, 3, 1, memory);
        want(SVMD_STATUS_TAKEN, mk_bind(xe, space));
}

static void says_which(void **state) {
        uint64_t file[2];
        uint32_t space[2], memory;

        begin();
        for (unsigned i = 0; i < 2; i++) {
                struct end e;

                file[i] = give(XE + i);
                space[i] = new_space(file[i]);
                memory = new_memory(i, MIB);
                for (unsigned k = 0; k < 7; k++)
                        binding(DRM_BIND_MAP, k, 1, k == 4 ? 77 : memory);
                e = run(mk_bind(file[i], space[i]));
                assert_int_equal(e.code, SVMD_STATUS_NO_SUCH);
                assert_int_equal(e.value, 4);
                assert_non_null(strstr(e.text, "binding 5 of 7"));
                assert_non_null(strstr(e.text, "4 stand"));
                assert_int_equal(rows(i, space[i]), 4);
        }
}

static void mirrors(void **state) {
        struct xe_vm_create v = { .flags = XE_VM_LR | XE_VM_FAULT };
        uint64_t xe;
        const struct drm_rows *r;

        begin();
        xe = give(XE);
        assert_int_equal(in_file(0, XE_VM_CREATE, &v), 0);
        assert_int_equal(run(mk_drm_space(xe, v.vm_id, true, false)).code, 0);
        binding(DRM_BIND_MIRROR, 0, 64, 0);
        binding(DRM_BIND_ADVISE, 0, 32, 0)->value = 1;
        binding(DRM_BIND_ADVISE, 32, 32, 0)->value = 2;
        binding(DRM_BIND_PREFETCH, 0, 64, 0);
        binding(DRM_BIND_ADVISE, 8, 8, 0)->advice = SVMD__V1__DRM_ADVICE__DRM_ATOMIC;
        binds[4].value = 3;
        assert_int_equal(run(mk_bind(xe, v.vm_id)).value, 5);
        r = xe_vm_rows(files[0], v.vm_id);
        assert_int_equal(r->count, 4);
        assert_int_equal(r->row[0].region, 2); /* memory of its own, + 1 */
        assert_int_equal(r->row[1].advice.atomic, 3);
        assert_int_equal(r->row[3].region, 1);
        assert_int_equal(run(mk_check(xe, v.vm_id)).value, 0);
        want(0, mk_drm_space(xe, v.vm_id, false, true));
        assert_int_equal(rows(0, v.vm_id), 0); /* it is the process's, and stays */
        new_space(xe);
        binding(DRM_BIND_MIRROR, 0, 64, 0);
        want(SVMD_STATUS_INVALID, mk_bind(xe, 2));
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
        want(SVMD_STATUS_ACCESS, mk_migrate(address, XE, false));
        xe = give(XE);
        assert_int_equal(in_file(0, XE_VM_CREATE, &v), 0);
        new_space(xe); /* which mirrors nothing */
        want(SVMD_STATUS_ACCESS, mk_migrate(address, XE, false));
        assert_int_equal(prefer(address, 64 * page, XE), SVMD_STATUS_ACCESS);
        want(0, mk_drm_space(xe, v.vm_id, true, false));
        binding(DRM_BIND_MIRROR, (address - at) / page, 64, 0);
        assert_int_equal(run(mk_bind(xe, v.vm_id)).code, 0);
        r = xe_vm_rows(files[0], v.vm_id);
        assert_int_equal(run(mk_migrate(address, XE, false)).code, 0);
        assert_int_equal(r->row[0].region, 2);
        assert_int_equal(run(mk_migrate(address, 0, true)).code, 0);
        assert_int_equal(r->row[0].region, 1);
        assert_int_equal(run(mk_migrate(address, XE, false)).code, 0);
        assert_int_equal(run(mk_migrate(address, HOST0, false)).code, 0);
        assert_int_equal(r->row[0].region, 1);
        assert_int_equal(prefer(address, 32 * page, HOST0), 0);
        assert_int_equal(prefer(address + 32 * page, 32 * page, XE), 0);
        want(0, mk_check(xe, v.vm_id)); /* behind them */
        assert_int_equal(r->row[0].advice.device_fd, XE_PREFERRED_SYSTEM);
        assert_int_equal(r->row[1].advice.device_fd, XE_PREFERRED_LOCAL);
        want(SVMD_STATUS_ACCESS, mk_migrate(address, AMDGPU, false));
}

static void waits_and_signals(void **state) {
        struct drm_syncobj_create n[2] = { { .flags = DRM_SYNCOBJ_CREATE_SIGNALED } };
        Svmd__V1__DrmSync sync[3], *list[3];
        Svmd__V1__Op *op;
        struct end e;
        uint64_t xe;

        begin();
        xe = give(XE);
        new_space(xe);
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(in_file(0, DRM_IOCTL_SYNCOBJ_CREATE, &n[i]), 0);
        for (unsigned i = 0; i < 3; i++) {
                svmd__v1__drm_sync__init(&sync[i]);
                list[i] = &sync[i];
        }
        sync[0].handle = n[0].handle;
        sync[1].handle = n[1].handle;
        sync[1].point = 3;
        sync[2].handle = 60;
        binding(DRM_BIND_EMPTY, 0, 1, 0);
        op = mk_bind(xe, 1);
        op->drm_bind->wait = list;
        op->drm_bind->n_wait = 1;
        op->drm_bind->signal = list + 1;
        op->drm_bind->n_signal = 1;
        assert_int_equal(run(op).code, 0);
        assert_int_equal(files[0]->syncs[1].point, 3);
        binding(DRM_BIND_EMPTY, 1, 1, 0);
        op = mk_bind(xe, 1);
        op->drm_bind->wait = list + 2;
        op->drm_bind->n_wait = 1;
        e = run(op);
        assert_int_equal(e.code, SVMD_STATUS_NO_SUCH);
        assert_non_null(strstr(e.text, "nothing was begun"));
        binding(DRM_BIND_EMPTY, 1, 1, 0);
        op = mk_bind(xe, 1);
        op->drm_bind->n_signal = 1;
        op->drm_bind->signal = list + 2;
        e = run(op);
        assert_int_equal(e.code, SVMD_STATUS_NO_SUCH);
        assert_non_null(strstr(e.text, "all is in force"));
        assert_int_equal(rows(0, 1), 2);
}

/* ---- others ---- */

/* All numbers are the same; what one session does is nothing to the other, and the end of one leaves the other's. */
static void keeps_sessions_apart(void **state) {
        struct client b;

        for (unsigned device = XE; device <= AMDGPU; device++) {
                uint64_t file[2];
                uint32_t space[2], memory[2];

                begin();
                greet(&b);
                file[0] = give(device);
                file[1] = give_as(&b, device, new_file(device))->id;
                for (unsigned i = 0; i < 2; i++) {
                        space[i] = (uint32_t)run_as(i ? &b : &a, mk_drm_space(file[i], 0, false, false)).value;
                        memory[i] = new_memory(i, MIB);
                        binding(DRM_BIND_MAP, 0, 16, memory[i]);
                        assert_int_equal(run_as(i ? &b : &a, mk_bind(file[i], space[i])).code, 0);
                }
                assert_int_equal(space[0], space[1]);
                assert_int_equal(memory[0], memory[1]);
                binding(DRM_BIND_UNMAP, 0, 16, 0);
                assert_int_equal(run_as(&b, mk_bind(file[1], space[1])).code, 0);
                assert_int_equal(rows(0, space[0]), 1);
                assert_int_equal(rows(1, space[1]), 0);
                binding(DRM_BIND_UNMAP, 0, 16, 0);
                assert_int_equal(run_as(&b, mk_bind(file[0], space[0])).code, SVMD_STATUS_NO_SUCH);
                client_close(&b);
                assert_int_equal(rows(0, space[0]), 1);
                end(state);
        }
        begin();
}

static void tells_what_others_did(void **state) {
        struct amdgpu_gem_va own = { .op = AMDGPU_VA_MAP, .flags = AMDGPU_PAGE_READ };
        uint64_t file;
        uint32_t memory[2];
        struct end e;

        begin();
        file = give(AMDGPU);
        new_space(file);
        memory[0] = new_memory(0, MIB);
        memory[1] = new_memory(0, MIB);
        binding(DRM_BIND_MAP, 0, 16, memory[0]);
        binding(DRM_BIND_MAP, 32, 16, memory[0])->offset = 16 * page;
        binding(DRM_BIND_EMPTY, 64, 16, 0);
        assert_int_equal(run(mk_bind(file, 0)).code, 0);
        assert_int_equal(run(mk_check(file, 0)).value, 0);
        own.handle = memory[1];
        own.address = at + 128 * page;
        own.size = 4 * page;
        assert_int_equal(in_file(0, AMDGPU_GEM_VA, &own), 0);
        e = run(mk_check(file, 0));
        assert_int_equal(e.value, 4 * page);
        assert_int_equal(e.address, own.address);
        assert_non_null(strstr(e.text, "bound by others: 16 KiB"));
        own.op = AMDGPU_VA_REPLACE;
        own.address = at + 34 * page;
        assert_int_equal(in_file(0, AMDGPU_GEM_VA, &own), 0);
        e = run(mk_check(file, 0));
        assert_int_equal(e.value, 8 * page);
        assert_int_equal(e.address, own.address);
        own.op = AMDGPU_VA_CLEAR;
        own.address = at;
        assert_int_equal(in_file(0, AMDGPU_GEM_VA, &own), 0);
        e = run(mk_check(file, 0));
        assert_int_equal(e.value, 12 * page);
        assert_int_equal(e.address, at);
        assert_non_null(strstr(e.text, "gone: 16 KiB"));
        cards[1].audits = false; /* an older kernel */
        want(SVMD_STATUS_NODE_KIND, mk_check(file, 0));
}

static void cannot_tell_of_nouveau(void **state) {
        uint64_t file;

        begin();
        file = give(NOUVEAU);
        new_space(file);
        binding(DRM_BIND_EMPTY, 0, 16, 0);
        assert_int_equal(run(mk_bind(file, 0)).code, 0);
        want(SVMD_STATUS_NODE_KIND, mk_check(file, 0));
}

/* ---- the end, and restarts ---- */

/* The process lives on with its file, and with page tables and mappings that are its own. */
static void unmaps_at_the_end(void **state) {
        struct amdgpu_gem_va own = { .op = AMDGPU_VA_MAP, .flags = AMDGPU_PAGE_READ, .address = MIB, .size = page };
        struct xe_vm_create v = { .flags = XE_VM_LR | XE_VM_FAULT };
        uint64_t xe, amdgpu;

        begin();
        xe = give(XE);
        amdgpu = give(AMDGPU);
        assert_int_equal(in_file(0, XE_VM_CREATE, &v), 0);
        assert_int_equal(run(mk_drm_space(xe, v.vm_id, true, false)).code, 0);
        new_space(xe);
        new_space(amdgpu);
        own.handle = new_memory(1, MIB);
        assert_int_equal(in_file(1, AMDGPU_GEM_VA, &own), 0);
        for (unsigned i = 0; i < 3; i++) {
                binding(i == 0 ? DRM_BIND_MIRROR : DRM_BIND_EMPTY, 16, 16, 0);
                assert_int_equal(run(mk_bind(i == 2 ? amdgpu : xe, i == 2 ? 0 : v.vm_id + i)).code, 0);
        }
        assert_int_equal(rows(1, 0), 2);
        client_close(&a);
        for (unsigned i = 0; i < 30000 && (rows(0, v.vm_id) || rows(0, 2) != SIZE_MAX || rows(1, 0) != 1); i++)
                usleep(1000);
        assert_int_equal(rows(0, v.vm_id), 0);
        assert_int_equal(rows(0, 2), SIZE_MAX); /* svmd made it */
        assert_int_equal(rows(1, 0), 1);
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
        struct end e;

        begin();
        xe = give(XE);
        space = new_space(xe);
        assert_int_equal(new_space(xe), space + 1);
        want(0, mk_drm_space(xe, space + 1, false, true));
        binding(DRM_BIND_EMPTY, 0, 16, 0);
        assert_int_equal(run(mk_bind(xe, space)).code, 0);
        for (unsigned i = 0; i < 2; i++) { /* from the log, and from a snapshot */
                restart();
                want(SVMD_STATUS_NO_SUCH, mk_check(xe, space + 1));
                e = run(mk_check(xe, space));
                assert_int_equal(e.code, 0);
                assert_int_equal(e.value, 16 * page);
                assert_non_null(strstr(e.text, "svmd does not know"));
                assert_int_equal(rows(0, space), 1);
        }
        client_close(&a);
        for (unsigned i = 0; i < 30000 && rows(0, space) != SIZE_MAX; i++)
                usleep(1000);
        assert_int_equal(rows(0, space), SIZE_MAX);
        greet(&a);
}

/* ---- without memory ---- */

static void fails_cleanly(void **state) {
        uint64_t xe;

        begin();
        xe = give(XE);
        new_space(xe);
        for (unsigned step = 0; step < 5; step++) {
                bool done = false;

                for (unsigned long n = 1; !done; n++) {
                        Svmd__V1__Op *op;
                        unsigned code;

                        bind_count = 0;
                        binding(DRM_BIND_EMPTY, n, 1, 0);
                        op = step == 0   ? mk_bind(xe, 1)
                             : step == 1 ? mk_drm_space(xe, 0, false, false)
                             : step == 2 ? mk_check(xe, 1)
                             : step == 3 ? mk_drm_space(xe, 1, false, true)
                                         : NULL;
                        alloc_fail_at(n);
                        code = op ? client_call(&a, op)->code : give_as(&a, XE, new_file(XE))->code;
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
                cmocka_unit_test_teardown(keeps_sessions_apart, end),
                cmocka_unit_test_teardown(tells_what_others_did, end),
                cmocka_unit_test_teardown(cannot_tell_of_nouveau, end),
                cmocka_unit_test_teardown(unmaps_at_the_end, end),
                cmocka_unit_test_teardown(survives, end),
                cmocka_unit_test_teardown(fails_cleanly, end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
