#include <fcntl.h>
#include <unistd.h>

#include "backend/drm_bind.h"
#include "bench.h"

/*
 * What a vector saves on a render node: bindings a second, 256 in one call, compared with one in each. The device is
 * the emulated xe (tests/emul/drm/render.py starts this), where a call is a message to another process; that its model
 * checks each binding costs both the same.
 */
enum { ROUNDS = 15, VECTOR = 256, TIMES = 8 };
#define MIB (1ull << 20)

static const struct drm_bind_driver *d = &drm_bind_xe;
static int fd;
static uint32_t space, memory;

static void clear(void) {
        struct drm_binding all = { .what = DRM_BIND_UNMAP, .address = MIB, .size = 1ull << 40 };
        uint32_t done;

        must(drm_bind(d, fd, space, &all, 1, &done) == 0, "the emulated xe does not unmap");
}

/* Bindings a second, `each` in a call. */
static double measure(const struct drm_binding *list, uint32_t each) {
        uint64_t begun, spent = 0;
        uint32_t done;

        for (int k = 0; k < TIMES; k++) {
                begun = now_ns();
                for (uint32_t i = 0; i < VECTOR; i += each)
                        must(drm_bind(d, fd, space, list + i, each, &done) == 0, "the emulated xe does not bind");
                spent += now_ns() - begun;
                clear();
        }
        return 1e9 * TIMES * VECTOR / (double)spent;
}

int main(void) {
        struct row row = { .name = "bind_vector", .unit = "1/s" };
        struct drm_binding list[VECTOR];

        fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);
        must(fd >= 0, "there is no /dev/dri/renderD128");
        must(d->space_new(fd, &space) == 0 && d->memory_new(fd, VECTOR * MIB, &memory) == 0, "it is no xe");
        for (uint32_t i = 0; i < VECTOR; i++)
                list[i] = (struct drm_binding){ .what = DRM_BIND_MAP,
                                                .handle = memory,
                                                .attrs = { .access = 3 },
                                                .address = (16 + 2 * i) * MIB,
                                                .size = MIB,
                                                .offset = i * MIB };
        for (int i = 0; i < ROUNDS; i++) {
                double one = measure(list, 1);

                row_add(&row, measure(list, VECTOR), one);
        }
        row_print(&row);
        close(fd);
        return 0;
}
