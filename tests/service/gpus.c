#include "gpus.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/drm_bind.h"
#include "proto/uapi/amdgpu.h"
#include "proto/uapi/nouveau.h"
#include "proto/uapi/xe.h"

#define MIB  (1ull << 20)
#define GPUS 4

struct drm_card gpus[3];
struct drm_file *gpu_files[GPU_FILES];
static struct drm_device devices[GPUS];
static ino_t inodes[GPU_FILES];
static unsigned files_count, devices_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t let_go = PTHREAD_COND_INITIALIZER;
static unsigned long held_request;
static unsigned held_gpu, held;

void gpus_shape(struct machine *m) {
        for (unsigned i = 0; i < 3; i++) {
                struct node_desc *n = machine_add(m);

                assert_non_null(n);
                *n = (struct node_desc){
                        .kind = NODE_DRM, .found = true, .number = i, .numa = -1, .capacity = 64 * MIB
                };
                snprintf(n->name, sizeof(n->name), "drm%u", i);
                snprintf(n->device, sizeof(n->device), "/dev/dri/renderD%u", 128 + i);
                n->va_end = 1ull << 47;
        }
}

void gpus_open(void) {
        static const struct drm_driver *const drivers[] = { &drm_driver_xe, &drm_driver_amdgpu, &drm_driver_nouveau };

        for (unsigned i = 0; i < 3; i++) {
                gpus[i] = (struct drm_card){ .driver = drivers[i], .vram = 64 * MIB, .binds_max = 8, .audits = true };
                devices[i] = (struct drm_device){ .minor = i, .render = true };
                snprintf(devices[i].driver, sizeof(devices[i].driver), "%s", drivers[i]->name);
                snprintf(devices[i].node, sizeof(devices[i].node), "/dev/dri/renderD%u", 128 + i);
        }
        devices[3] = (struct drm_device){ .minor = 3, .driver = "vgem", .node = "/dev/dri/renderD131" };
        devices_count = GPUS;
}

bool gpus_close(void) {
        bool empty = true;

        for (unsigned i = 0; i < files_count; i++)
                drm_file_free(gpu_files[i]);
        files_count = devices_count = 0;
        gpu_bindings_drop();
        for (unsigned i = 0; i < 3; i++)
                empty &= gpus[i].vram_used == 0;
        return empty;
}

/* ---- what would reach the kernel ---- */

bool __wrap_drm_devices(struct drm *d, const struct drm_device **ret, uint32_t *ret_count);
bool __wrap_drm_devices(struct drm *d, const struct drm_device **ret, uint32_t *ret_count) {
        *ret = devices;
        *ret_count = devices_count;
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
        return i >= 0 && strcmp(gpu_files[i]->card->driver->name, driver) == 0;
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

int gpu_call(unsigned file, unsigned long request, void *arg) {
        const struct drm_caller me = { .mm = 1, .read = copy_in, .write = copy_out };
        int r;

        pthread_mutex_lock(&lock);
        r = drm_file_ioctl(gpu_files[file], &me, request, arg);
        pthread_mutex_unlock(&lock);
        return r;
}

static void wait_in_driver(unsigned file, unsigned long request) {
        pthread_mutex_lock(&lock);
        held++;
        while (held_request == request && gpu_files[file]->card == &gpus[held_gpu])
                pthread_cond_wait(&let_go, &lock);
        held--;
        pthread_mutex_unlock(&lock);
}

int __wrap_drm_call(int fd, unsigned long request, void *arg);
int __wrap_drm_call(int fd, unsigned long request, void *arg) {
        int i = file_of(fd);

        if (i >= 0)
                wait_in_driver((unsigned)i, request);
        return i < 0 ? -EBADF : gpu_call((unsigned)i, request, arg);
}

/* ---- the process's own ---- */

int gpu_open(unsigned gpu) {
        int fd = memfd_create("file", MFD_CLOEXEC);
        struct stat st;

        assert_true(fd >= 0 && fstat(fd, &st) == 0 && files_count < GPU_FILES);
        pthread_mutex_lock(&lock);
        inodes[files_count] = st.st_ino;
        assert_int_equal(drm_file_new(&gpu_files[files_count], &gpus[gpu - GPU_XE]), 0);
        files_count++;
        pthread_mutex_unlock(&lock);
        return fd;
}

uint32_t gpu_memory(unsigned file, uint64_t size) {
        struct xe_gem_create x = { .size = size, .placement = 2, .cpu_caching = XE_CACHING_WRITE_COMBINED };
        struct amdgpu_gem_create g = { .size = size, .domains = AMDGPU_VRAM };
        struct nouveau_gem_new n = { .size = size, .domain = NOUVEAU_VRAM };
        const struct drm_driver *d = gpu_files[file]->card->driver;

        if (d == &drm_driver_xe) {
                assert_int_equal(gpu_call(file, XE_GEM_CREATE, &x), 0);
                return x.handle;
        }
        if (d == &drm_driver_amdgpu) {
                assert_int_equal(gpu_call(file, AMDGPU_GEM_CREATE, &g), 0);
                return g.handle;
        }
        assert_int_equal(gpu_call(file, NOUVEAU_GEM_NEW, &n), 0);
        return n.handle;
}

size_t gpu_rows(unsigned file, uint32_t space) {
        const struct drm_file *f = gpu_files[file];
        const struct drm_rows *r;
        size_t count;

        pthread_mutex_lock(&lock);
        r = f->card->driver == &drm_driver_xe       ? xe_vm_rows(f, space)
            : f->card->driver == &drm_driver_amdgpu ? amdgpu_rows(f)
                                                    : nouveau_rows(f);
        count = r ? r->count : SIZE_MAX;
        pthread_mutex_unlock(&lock);
        return count;
}

uint64_t gpu_calls(unsigned gpu) {
        uint64_t count;

        pthread_mutex_lock(&lock);
        count = gpus[gpu - GPU_XE].ioctls;
        pthread_mutex_unlock(&lock);
        return count;
}

void gpu_refuse(unsigned gpu, unsigned long request, uint32_t after, uint32_t times, int error) {
        pthread_mutex_lock(&lock);
        gpus[gpu - GPU_XE].refuses = (struct drm_refusal){ request, after, times, -error };
        pthread_mutex_unlock(&lock);
}

void gpu_hold(unsigned gpu, unsigned long request) {
        pthread_mutex_lock(&lock);
        held_gpu = request ? gpu - GPU_XE : 0;
        held_request = request;
        pthread_cond_broadcast(&let_go);
        pthread_mutex_unlock(&lock);
}

unsigned gpu_held(void) {
        unsigned count;

        pthread_mutex_lock(&lock);
        count = held;
        pthread_mutex_unlock(&lock);
        return count;
}

/* ---- asking ---- */

Svmd__V1__Result *gpu_give(struct client *c, unsigned gpu, int fd) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DEVICE_GIVE);

        op->device_give->node = gpu;
        return client_send(c, SVMD__V1__MODE__BEST_EFFORT, &op, 1, &fd, 1)->results[0];
}

Svmd__V1__Op *mk_drm_space(uint64_t file, uint32_t space, bool take, bool off) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DRM_SPACE);

        op->drm_space->file = file;
        op->drm_space->space = space;
        op->drm_space->take = take;
        op->drm_space->off = off;
        return op;
}

Svmd__V1__Op *mk_drm_check(uint64_t file, uint32_t space) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DRM_CHECK);

        op->drm_check->file = file;
        op->drm_check->space = space;
        return op;
}

static Svmd__V1__DrmBinding binds[GPU_BINDS], *bind_list[GPU_BINDS];
static unsigned bind_count;

Svmd__V1__DrmBinding *gpu_binding(unsigned what, uint64_t address, uint64_t pages, uint32_t handle) {
        Svmd__V1__DrmBinding *b = &binds[bind_count];

        svmd__v1__drm_binding__init(b);
        b->what = (Svmd__V1__DrmWhat)what;
        b->address = address;
        b->size = pages * SVMD_PAGE;
        b->handle = handle;
        b->access = what == DRM_BIND_MAP ? 3 : 0;
        bind_list[bind_count++] = b;
        return b;
}

void gpu_bindings_drop(void) {
        bind_count = 0;
}

Svmd__V1__Op *mk_drm_bind(uint64_t file, uint32_t space) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DRM_BIND);

        op->drm_bind->file = file;
        op->drm_bind->space = space;
        op->drm_bind->bindings = bind_list;
        op->drm_bind->n_bindings = bind_count;
        bind_count = 0;
        return op;
}

Svmd__V1__Op *mk_drm_bound(uint64_t grant, uint64_t generation, uint64_t file, uint32_t space, bool more) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_DRM_BOUND);

        op->drm_bound->grant = grant;
        op->drm_bound->generation = generation;
        op->drm_bound->file = file;
        op->drm_bound->space = space;
        op->drm_bound->bindings = bind_list;
        op->drm_bound->n_bindings = bind_count;
        op->drm_bound->more = more;
        bind_count = 0;
        return op;
}

struct gpu_end gpu_await(struct client *c, uint64_t fence) {
        Svmd__V1__Op *op = op_make(SVMD__V1__OP__OP_FENCE_QUERY);
        struct gpu_end e = { 0 };

        op->fence_query->fence = fence;
        for (;;) {
                Svmd__V1__Result *r = client_call(c, op);

                assert_int_equal(r->code, 0);
                if (r->fence->done) {
                        e = (struct gpu_end){ r->fence->code, r->fence->value, r->fence->address, "" };
                        snprintf(e.text, sizeof(e.text), "%s", r->fence->text);
                        return e;
                }
                world_wait(c->world);
        }
}

struct gpu_end gpu_run(struct client *c, Svmd__V1__Op *op) {
        Svmd__V1__Result *r;

        c->deaf = true; /* the end is asked for */
        r = client_call(c, op);
        if (r->code != 0)
                return (struct gpu_end){ .code = r->code, .value = UINT64_MAX };
        return gpu_await(c, r->id);
}
