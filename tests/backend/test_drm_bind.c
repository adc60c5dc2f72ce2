/* Vectors of bindings through each driver, against the models of them: what is in force, in how many calls, and that a
 * file's numbers are that file's. */
#include <drm.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/drm_space.h"
#include "drm_model.h"
#include "proto/uapi/amdgpu.h"
#include "proto/uapi/nouveau.h"
#include "proto/uapi/xe.h"

#define MIB (1ull << 20)

enum { FILES = 2, FIRST_FD = 100 };
static struct drm_card card;
static struct drm_file *files[FILES]; /* descriptors from FIRST_FD on */
static unsigned calls;

static int copy_in(void *userdata, uint64_t at, void *ret, size_t size) {
        memcpy(ret, (const void *)(uintptr_t)at, size);
        return 0;
}

static int copy_out(void *userdata, uint64_t at, const void *bytes, size_t size) {
        memcpy((void *)(uintptr_t)at, bytes, size);
        return 0;
}

static int identify(void *userdata, int fd, struct drm_foreign *ret) {
        *ret = (struct drm_foreign){ .identity = (uint64_t)fd, .size = MIB };
        return fd == 50 ? 0 : -EBADF;
}

int __wrap_drm_call(int fd, unsigned long request, void *arg);
int __wrap_drm_call(int fd, unsigned long request, void *arg) {
        const struct drm_caller me = { .read = copy_in, .write = copy_out, .identify = identify };
        int r = drm_file_ioctl(files[fd - FIRST_FD], &me, request, arg);

        calls++;
        return r;
}

int __wrap_drmPrimeFDToHandle(int fd, int dmabuf, uint32_t *handle);
int __wrap_drmPrimeFDToHandle(int fd, int dmabuf, uint32_t *handle) {
        struct drm_prime_handle p = { .fd = dmabuf };
        int r = __wrap_drm_call(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &p);

        *handle = p.handle;
        errno = -r;
        return r < 0 ? -1 : 0;
}

static const struct drm_bind_driver *use(const struct drm_driver *model) {
        card = (struct drm_card){ .driver = model, .vram = 64 * MIB, .binds_max = 300, .audits = true };
        for (unsigned i = 0; i < FILES; i++)
                assert_int_equal(drm_file_new(&files[i], &card), 0);
        calls = 0;
        return drm_bind_driver(model->name);
}

static int teardown(void **state) {
        for (unsigned i = 0; i < FILES; i++)
                drm_file_free(files[i]);
        return card.vram_used == 0 ? 0 : -1;
}

static const struct drm_rows *rows_of(unsigned file, uint32_t space) {
        return card.driver == &drm_driver_xe       ? xe_vm_rows(files[file], space)
               : card.driver == &drm_driver_amdgpu ? amdgpu_rows(files[file])
                                                   : nouveau_rows(files[file]);
}

static struct drm_binding map(uint32_t handle, uint64_t address, uint64_t size) {
        return (struct drm_binding){
                .what = DRM_BIND_MAP, .handle = handle, .attrs = { .access = 3 }, .address = address, .size = size
        };
}

static struct drm_binding unmap(uint64_t address, uint64_t size) {
        return (struct drm_binding){ .what = DRM_BIND_UNMAP, .address = address, .size = size };
}

/* What all of them do alike. */
static void check_common(const struct drm_driver *model) {
        const struct drm_bind_driver *d = use(model);
        struct drm_binding list[3];
        uint32_t space, memory, done;

        assert_int_equal(d->space_new(FIRST_FD, &space), 0);
        assert_int_equal(d->memory_new(FIRST_FD, MIB, &memory), 0);
        assert_int_equal(d->memory_new(FIRST_FD, 65 * MIB, &memory), -ENOMEM);
        list[0] = map(memory, 16 * MIB, MIB);
        list[1] = unmap(16 * MIB + 4096, 4096);
        list[2] = map(memory, 32 * MIB, 8192);
        list[2].what = DRM_BIND_EMPTY;
        assert_int_equal(drm_bind(d, FIRST_FD, space, list, 3, &done), 0);
        assert_int_equal(done, 3);
        assert_int_equal(rows_of(0, space)->count, 3);
        assert_int_equal(rows_of(0, space)->row[1].offset, 8192);
        assert_int_equal(rows_of(0, space)->row[2].kind, ROW_NULL);
        list[0].replace = true;
        assert_int_equal(drm_bind(d, FIRST_FD, space, list, 1, &done), 0);
        assert_int_equal(rows_of(0, space)->count, 2);
        list[0] = unmap(0x10000, 64 * MIB);
        assert_int_equal(drm_bind(d, FIRST_FD, space, list, 1, &done), 0);
        assert_int_equal(rows_of(0, space)->count, 0);
        list[1] = map(memory + 50, 16 * MIB, MIB);
        assert_int_equal(drm_bind(d, FIRST_FD, space, list, 2, &done), -ENOENT);
        assert_int_equal(done, 1); /* those before it stand, also of a driver that takes all or nothing */
        assert_int_equal(d->space_free(FIRST_FD, space), 0);
}

static void test_xe(void **state) {
        check_common(&drm_driver_xe);
}

static void test_amdgpu(void **state) {
        check_common(&drm_driver_amdgpu);
}

static void test_nouveau(void **state) {
        check_common(&drm_driver_nouveau);
}

/* ENOBUFS halves the vector, and the rest goes on as it then went. */
static void test_split(void **state) {
        const struct drm_bind_driver *d = use(&drm_driver_xe);
        struct drm_binding list[DRM_VECTOR_MAX + 100];
        uint32_t space, memory, done;

        assert_int_equal(d->space_new(FIRST_FD, &space), 0);
        assert_int_equal(d->memory_new(FIRST_FD, MIB, &memory), 0);
        for (unsigned i = 0; i < DRM_VECTOR_MAX + 100; i++)
                list[i] = map(memory, (16 + i) * MIB, 4096);
        calls = 0;
        assert_int_equal(drm_bind(d, FIRST_FD, space, list, DRM_VECTOR_MAX + 100, &done), 0);
        assert_int_equal(done, DRM_VECTOR_MAX + 100);
        assert_int_equal(rows_of(0, space)->count, DRM_VECTOR_MAX + 100);
        assert_int_equal(calls, 7); /* 1,024 and 512 are refused; then 256 each */
        card.binds_max = 0;
        assert_int_equal(drm_bind(d, FIRST_FD, space, list, 4, &done), -ENOBUFS);
        assert_int_equal(done, 0);
        card.binds_max = 300;
        list[300].handle = 99;
        assert_int_equal(drm_bind(d, FIRST_FD, space, list, DRM_VECTOR_MAX, &done), -ENOENT);
        assert_int_equal(done, 300); /* and what is before it is in force */
}

/* ---- what svmd writes down ---- */

enum { PAGES = 48, ROUNDS = 3000, MOST = 8 };
#define PAGE  4096ull
#define FIRST (16 * MIB)

/* A page table as somebody would write it who has all day: what each page shows. */
struct shown {
        uint32_t handle; /* 0: nothing; UINT32_MAX: reads of zero */
        uint64_t page;
};

static struct drm_binding random_binding(const uint32_t *memory) {
        unsigned first = (unsigned)rand() % PAGES, count = 1 + (unsigned)rand() % (PAGES - first);
        struct drm_binding b = map(memory[rand() % 2], FIRST + first * PAGE, count * PAGE);
        unsigned what = (unsigned)rand() % 8;

        b.offset = (unsigned)rand() % 8 * PAGE;
        b.replace = rand() % 2;
        if (what < 2)
                b = unmap(b.address, b.size);
        else if (what == 2)
                b.what = DRM_BIND_EMPTY;
        else if (what == 3)
                b.handle = 999;
        return b;
}

/* -EEXIST or -ENOENT where the driver, or svmd, must refuse it. */
static int naive(struct shown *pages, const struct drm_binding *b) {
        unsigned first = (unsigned)((b->address - FIRST) / PAGE), count = (unsigned)(b->size / PAGE);

        for (unsigned i = first; b->what != DRM_BIND_UNMAP && !b->replace && i < first + count; i++)
                if (pages[i].handle)
                        return -EEXIST;
        if (b->what == DRM_BIND_MAP && b->handle == 999)
                return -ENOENT;
        for (unsigned i = first; i < first + count; i++)
                pages[i] = b->what == DRM_BIND_UNMAP   ? (struct shown){ 0 }
                           : b->what == DRM_BIND_EMPTY ? (struct shown){ .handle = UINT32_MAX }
                                                       : (struct shown){ b->handle, b->offset / PAGE + i - first };
        return 0;
}

static void compare(const struct shown *pages, uint32_t space) {
        for (unsigned i = 0; i < PAGES; i++) {
                uint64_t at = FIRST + i * PAGE;
                const struct drm_row *row = rows_from(rows_of(0, space), at);

                if (!row || row->start > at) {
                        assert_int_equal(pages[i].handle, 0);
                } else if (row->kind == ROW_NULL) {
                        assert_int_equal(pages[i].handle, UINT32_MAX);
                } else {
                        assert_ptr_equal(row->object, drm_handle(files[0], pages[i].handle));
                        assert_int_equal((row->offset + at - row->start) / PAGE, pages[i].page);
                }
        }
}

static void check_books(const struct drm_driver *model) {
        const struct drm_bind_driver *d = use(model);
        struct shown pages[PAGES] = { 0 };
        uint32_t number, memory[2];
        struct drm_space *s;
        struct drm_audit a;

        card.binds_max = 3;
        assert_int_equal(d->space_new(FIRST_FD, &number), 0);
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(d->memory_new(FIRST_FD, MIB, &memory[i]), 0);
        assert_int_equal(drm_space_new(&s, number, false), 0);
        for (unsigned round = 0; round < ROUNDS; round++) {
                struct drm_binding list[MOST];
                unsigned count = 1 + (unsigned)rand() % MOST, want = 0;
                uint32_t done;
                int r = 0;

                for (unsigned i = 0; i < count; i++)
                        list[i] = random_binding(memory);
                while (want < count && (r = naive(pages, &list[want])) == 0)
                        want++;
                assert_int_equal(drm_space_bind(s, d, FIRST_FD, list, count, &done), r);
                assert_int_equal(done, want);
                compare(pages, number);
                if (!d->read)
                        continue;
                assert_int_equal(drm_space_audit(s, d, FIRST_FD, FIRST, PAGES * PAGE, &a), 0);
                assert_int_equal(a.foreign + a.missing + a.moved, 0);
        }
        assert_int_equal(drm_space_end(s, d, FIRST_FD, FIRST, PAGES * PAGE, false), 0);
        assert_int_equal(rows_of(0, number)->count, 0);
        drm_space_drop(s);
}

static void test_books(void **state) {
        const char *given = getenv("SVMD_SEED");
        unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);

        print_message("seed: SVMD_SEED=%u\n", seed);
        srand(seed);
        check_books(&drm_driver_xe);
        teardown(state);
        check_books(&drm_driver_amdgpu);
        teardown(state);
        check_books(&drm_driver_nouveau);
}

static void test_one_call(void **state) {
        const struct drm_bind_driver *d = use(&drm_driver_xe);
        struct drm_binding list[256];
        uint32_t space, memory, done;

        assert_int_equal(d->space_new(FIRST_FD, &space), 0);
        assert_int_equal(d->memory_new(FIRST_FD, MIB, &memory), 0);
        for (unsigned i = 0; i < 256; i++)
                list[i] = map(memory, (16 + i) * MIB, 4096);
        calls = 0;
        assert_int_equal(drm_bind(d, FIRST_FD, space, list, 256, &done), 0);
        assert_int_equal(calls, 1);
}

/* Two clients on one GPU: what is done in the file of one is nothing to the other, though all numbers are the same. */
static void check_apart(const struct drm_driver *model) {
        const struct drm_bind_driver *d = use(model);
        uint32_t space[FILES], memory[FILES], done;
        struct drm_binding b;

        for (unsigned i = 0; i < FILES; i++) {
                assert_int_equal(d->space_new(FIRST_FD + (int)i, &space[i]), 0);
                assert_int_equal(d->memory_new(FIRST_FD + (int)i, MIB, &memory[i]), 0);
        }
        assert_int_equal(space[0], space[1]);
        assert_int_equal(memory[0], memory[1]);
        b = map(memory[0], 16 * MIB, MIB);
        assert_int_equal(drm_bind(d, FIRST_FD, space[0], &b, 1, &done), 0);
        b = map(memory[1], 16 * MIB, MIB / 2);
        assert_int_equal(drm_bind(d, FIRST_FD + 1, space[1], &b, 1, &done), 0);
        assert_int_equal(rows_of(0, space[0])->row[0].end, 17 * MIB);
        b = unmap(16 * MIB, MIB);
        assert_int_equal(drm_bind(d, FIRST_FD + 1, space[1], &b, 1, &done), 0);
        assert_int_equal(rows_of(0, space[0])->count, 1);
        assert_int_equal(rows_of(1, space[1])->count, 0);
}

static void test_apart_xe(void **state) {
        check_apart(&drm_driver_xe);
}

static void test_apart_amdgpu(void **state) {
        check_apart(&drm_driver_amdgpu);
}

static void test_apart_nouveau(void **state) {
        check_apart(&drm_driver_nouveau);
}

/* amdgpu tells that its client has mapped something there; with REPLACE it is as svmd says. */
static void test_behind(void **state) {
        const struct drm_bind_driver *d = use(&drm_driver_amdgpu);
        struct drm_binding b;
        uint32_t memory, done;
        struct amdgpu_gem_va own = { .op = AMDGPU_VA_MAP, .address = 16 * MIB, .size = 4096 };

        assert_int_equal(d->memory_new(FIRST_FD, MIB, &memory), 0);
        own.handle = memory;
        assert_int_equal(__wrap_drm_call(FIRST_FD, AMDGPU_GEM_VA, &own), 0);
        b = map(memory, 16 * MIB, MIB);
        assert_int_equal(drm_bind(d, FIRST_FD, 0, &b, 1, &done), -EINVAL);
        assert_non_null(strstr(drm_bind_error(-EINVAL), "that svmd did not map"));
        b.replace = true;
        assert_int_equal(drm_bind(d, FIRST_FD, 0, &b, 1, &done), 0);
        assert_int_equal(amdgpu_rows(files[0])->count, 1);
}

/* One in a vector that fails is as any other: those before it are in force. */
static void test_place(void **state) {
        const struct drm_bind_driver *d = use(&drm_driver_amdgpu);
        struct drm_binding list[3];
        uint32_t memory, done;

        assert_int_equal(d->memory_new(FIRST_FD, MIB, &memory), 0);
        list[0] = (struct drm_binding){ .what = DRM_BIND_PLACE, .handle = memory, .value = 2 };
        list[1] = map(memory, 16 * MIB, MIB);
        list[2] = (struct drm_binding){ .what = DRM_BIND_PLACE, .handle = memory + 1, .value = 1 };
        assert_int_equal(drm_bind(d, FIRST_FD, 0, list, 3, &done), -ENOENT);
        assert_int_equal(done, 2);
        assert_int_equal(amdgpu_rows(files[0])->row[0].object->placement, AMDGPU_GTT);
        assert_false(drm_bind_driver("xe")->can & DRM_CAN(PLACE));
        assert_false(drm_bind_driver("nouveau")->can & DRM_CAN(PLACE));
}

static void test_access(void **state) {
        const struct drm_bind_driver *d = use(&drm_driver_amdgpu);
        struct drm_binding b;
        uint32_t memory, done, space;

        assert_int_equal(d->memory_new(FIRST_FD, MIB, &memory), 0);
        b = map(memory, 16 * MIB, MIB);
        b.attrs = (struct map_attrs){ .access = 1, .pat = 4, .kind = 1 };
        assert_int_equal(drm_bind(d, FIRST_FD, 0, &b, 1, &done), 0);
        assert_int_equal(amdgpu_rows(files[0])->row[0].flags, AMDGPU_PAGE_READ | AMDGPU_PAGE_EXECUTE | 4 << 5);
        teardown(state);
        d = use(&drm_driver_xe);
        assert_int_equal(d->space_new(FIRST_FD, &space), 0);
        assert_int_equal(d->memory_new(FIRST_FD, MIB, &memory), 0);
        b = map(memory, 16 * MIB, MIB);
        b.attrs = (struct map_attrs){ .access = 1, .pat = 7 };
        assert_int_equal(drm_bind(d, FIRST_FD, space, &b, 1, &done), 0);
        assert_int_equal(xe_vm_rows(files[0], space)->row[0].flags, XE_BIND_READ_ONLY);
        assert_int_equal(xe_vm_rows(files[0], space)->row[0].pat, 7);
}

static void test_attrs(void **state) {
        static const struct {
                const struct drm_bind_driver *driver;
                struct map_attrs good, bad[3];
        } rows[] = {
                { &drm_bind_xe, { 3, 31, 0 }, { { 0, 0, 0 }, { 3, 32, 0 }, { 3, 0, 1 } } },
                { &drm_bind_amdgpu, { 1, 5, 1 }, { { 0, 0, 0 }, { 3, 6, 0 }, { 3, 0, 2 } } },
                { &drm_bind_nouveau, { 3, 0, 0 }, { { 1, 0, 0 }, { 3, 1, 0 }, { 3, 0, 1 } } },
        };

        use(&drm_driver_xe);
        for (unsigned i = 0; i < 3; i++) {
                char why[160] = "";

                assert_true(rows[i].driver->attrs_ok(&rows[i].good, why, sizeof(why)));
                for (unsigned j = 0; j < 3; j++)
                        assert_false(rows[i].driver->attrs_ok(&rows[i].bad[j], why, sizeof(why)));
                assert_true(strncmp(why, rows[i].driver->name, strlen(rows[i].driver->name)) == 0);
        }
        assert_null(drm_bind_driver("vgem"));
}

/* A file in which its program made memory first keeps nouveau's own page table; what is made here leaves it a page
 * table of its own. */
static void test_legacy(void **state) {
        const struct drm_bind_driver *d = use(&drm_driver_nouveau);
        struct nouveau_gem_new theirs = { .size = MIB, .domain = NOUVEAU_VRAM };
        uint32_t space, memory;

        assert_int_equal(__wrap_drm_call(FIRST_FD, NOUVEAU_GEM_NEW, &theirs), 0);
        assert_int_equal(d->space_new(FIRST_FD, &space), -ENOSYS);
        assert_non_null(strstr(drm_bind_error(-ENOSYS), "open the device anew"));
        assert_int_equal(d->memory_new(FIRST_FD, MIB, &memory), 0); /* memory is to be had all the same */
        assert_int_equal(d->memory_new(FIRST_FD + 1, MIB, &memory), 0);
        assert_int_equal(d->space_new(FIRST_FD + 1, &space), 0);
        assert_int_equal(d->space_new(FIRST_FD + 1, &space), 0); /* or its process has said so itself */
}

static void test_integrated(void **state) {
        const struct drm_bind_driver *d = use(&drm_driver_xe);
        uint32_t memory;

        card.vram = 0;
        assert_int_equal(d->memory_new(FIRST_FD, MIB, &memory), 0);
}

static void test_import(void **state) {
        uint32_t handle, again;

        use(&drm_driver_xe);
        assert_int_equal(drm_file_import(FIRST_FD, 50, &handle), 0);
        assert_int_equal(drm_file_import(FIRST_FD, 50, &again), 0);
        assert_int_equal(handle, again);
        assert_int_equal(drm_file_import(FIRST_FD, 51, &again), -EBADF);
        assert_int_equal(drm_file_release(FIRST_FD, handle), 0);
        assert_int_equal(drm_file_release(FIRST_FD, handle), -EINVAL);
}

/* The same open file in another process, a second open of the same name, and no file at all. */
static void test_identity(void **state) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC), other = open("/dev/null", O_RDWR | O_CLOEXEC), pipes[2], status;
        char why[160] = "";
        pid_t pid;

        use(&drm_driver_xe);
        assert_int_equal(pipe(pipes), 0);
        pid = fork();
        if (pid == 0) {
                char byte;

                close(pipes[1]);
                _exit(read(pipes[0], &byte, 1) != 0);
        }
        close(pipes[0]);
        assert_int_equal(drm_file_is_of(pid, fd, fd), 1);
        assert_int_equal(drm_file_is_of(pid, other, fd), 0);
        assert_int_equal(drm_file_is_of(pid, 900, fd), -EBADF);
        close(pipes[1]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(drm_file_is_of(pid, fd, fd), -ESRCH);
        assert_false(drm_file_is("/dev/zero", "xe", fd, why, sizeof(why)));
        assert_string_equal(why, "the descriptor is no open /dev/zero");
        assert_false(drm_file_is("/dev/null", "xe", fd, why, sizeof(why)));
        assert_non_null(strstr(why, "and not xe"));
        assert_false(drm_file_is("/nowhere", "xe", fd, why, sizeof(why)));
        close(fd);
        close(other);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_xe, teardown),
                cmocka_unit_test_teardown(test_amdgpu, teardown),
                cmocka_unit_test_teardown(test_nouveau, teardown),
                cmocka_unit_test_teardown(test_split, teardown),
                cmocka_unit_test_teardown(test_books, teardown),
                cmocka_unit_test_teardown(test_one_call, teardown),
                cmocka_unit_test_teardown(test_apart_xe, teardown),
                cmocka_unit_test_teardown(test_apart_amdgpu, teardown),
                cmocka_unit_test_teardown(test_apart_nouveau, teardown),
                cmocka_unit_test_teardown(test_behind, teardown),
                cmocka_unit_test_teardown(test_place, teardown),
                cmocka_unit_test_teardown(test_access, teardown),
                cmocka_unit_test_teardown(test_attrs, teardown),
                cmocka_unit_test_teardown(test_legacy, teardown),
                cmocka_unit_test_teardown(test_integrated, teardown),
                cmocka_unit_test_teardown(test_import, teardown),
                cmocka_unit_test_teardown(test_identity, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
