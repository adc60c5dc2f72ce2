#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "caller.h"
#include "drm_model.h"
#include "emul.h"

/*
 * svmd-emul-drm MACHINE MOUNT_POINT: the render nodes and cards of MACHINE/cards, which has a line "MINOR DRIVER BYTES"
 * for each. enter.sh starts it.
 *
 * A dma-buf is a memfd of the name "dmabuf": a machine without a driver has no others.
 */
enum { CARDS_MAX = 16 };

static const struct drm_driver *driver_named(const char *name) {
        static const struct drm_driver *const all[] = { &drm_driver_xe, &drm_driver_amdgpu, &drm_driver_nouveau };

        for (unsigned i = 0; i < 3; i++)
                if (strcmp(all[i]->name, name) == 0)
                        return all[i];
        return NULL;
}

/* ---- callers ---- */

static int read_memory(void *userdata, uint64_t at, void *ret, size_t size) {
        return caller_read(userdata, at, ret, size);
}

static int write_memory(void *userdata, uint64_t at, const void *bytes, size_t size) {
        return caller_write(userdata, at, bytes, size);
}

static int identify(void *userdata, int fd, struct drm_foreign *ret) {
        const struct caller *c = userdata;
        char path[64], target[256];
        struct stat st;
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", c->process, fd);
        n = readlink(path, target, sizeof(target) - 1);
        if (n <= 0)
                return -EBADF;
        target[n] = 0;
        *ret = (struct drm_foreign){ .device = strncmp(target, "/dev/dri/", 9) == 0 };
        if (ret->device)
                return 0;
        if (strncmp(target, "/memfd:dmabuf", 13) != 0 || stat(path, &st) < 0)
                return -EINVAL;
        ret->identity = (uint64_t)st.st_ino;
        ret->size = (uint64_t)st.st_size;
        return 0;
}

/* ---- files ---- */

static int do_open(void *device, const struct caller *c, void **ret) {
        struct drm_file *f;
        int r = drm_file_new(&f, device);

        if (r == 0)
                *ret = f;
        return r;
}

static void do_release(void *file) {
        drm_file_free(file);
}

static int do_ioctl(void *file, const struct caller *c, unsigned number, void *data) {
        const struct drm_caller me = { .userdata = (void *)c,
                                       .mm = (uint64_t)c->process,
                                       .read = read_memory,
                                       .write = write_memory,
                                       .identify = identify };

        return drm_file_ioctl(file, &me, number, data);
}

static int add(struct emul *e, struct drm_card *card, unsigned minor) {
        static const struct emul_driver files = { do_open, do_release, do_ioctl };
        char path[32];
        int r;

        snprintf(path, sizeof(path), "dri/renderD%u", minor);
        r = emul_add(e, path, &files, card);
        snprintf(path, sizeof(path), "dri/card%u", minor - 128);
        return r == 0 ? emul_add(e, path, &files, card) : r;
}

static int add_all(struct emul *e, const char *machine) {
        static struct drm_card cards[CARDS_MAX];
        unsigned minor, count = 0;
        char path[512], name[32];
        unsigned long long bytes;
        int r = 0;
        FILE *f;

        snprintf(path, sizeof(path), "%s/cards", machine);
        f = fopen(path, "re");
        if (!f)
                return -errno;
        while (r == 0 && count < CARDS_MAX && fscanf(f, "%u %31s %llu", &minor, name, &bytes) == 3) {
                cards[count] = (struct drm_card){ .driver = driver_named(name), .vram = bytes, .system = 1ull << 34 };
                cards[count].binds_max = 300;
                cards[count].audits = cards[count].tells_used = true;
                r = cards[count].driver ? add(e, &cards[count], minor) : -ENODEV;
                count++;
        }
        fclose(f);
        return r;
}

int main(int argc, char **argv) {
        struct emul *e;
        int r;

        if (argc != 3) {
                fprintf(stderr, "usage: svmd-emul-drm MACHINE MOUNT_POINT\n");
                return 2;
        }
        if (emul_new(&e) < 0)
                return 1;
        r = add_all(e, argv[1]);
        r = r < 0 ? r : emul_serve(e, argv[2]);
        if (r < 0)
                fprintf(stderr, "svmd-emul-drm: %s\n", strerror(-r));
        emul_free(e);
        return r < 0;
}
