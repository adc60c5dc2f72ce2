#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Device files of drivers that this machine has not, over FUSE. Each file belongs to a model: the rules of its driver,
 * pure, told who calls. What the kernel does for every driver (files, ioctls with the size that their number has, pages
 * to map) is done here.
 *
 * One thread serves all, a call at a time, so a model needs no lock. A model must not touch the caller's memory where
 * that is a mapping of one of these files: nobody would bring the page.
 *
 * FUSE gives no new descriptor to its caller, and its files are regular ones to fstat(): what needs the first is not
 * emulated, and for the second there is the preload fstat.c.
 */
struct caller;
struct emul;

enum { EMUL_FILES_MAX = 160, EMUL_FOLDERS_MAX = 4 };

struct emul_driver {
        /* 0, or a negative errno. `*ret_file` is handed to the others. */
        int (*open)(void *device, const struct caller *c, void **ret_file);
        void (*release)(void *file);
        /* `data` has the bytes that the number names, in and out. 0, or a negative errno. */
        int (*ioctl)(void *file, const struct caller *c, unsigned number, void *data);
};

/* A folder of files that a model writes when they are read, as sysfs does. Paths are relative to it, "" is itself. */
struct emul_folder {
        /* -ENOENT: there is no such folder. */
        int (*list)(void *device, const char *path, void (*add)(void *to, const char *name), void *to);
        /* Text that ends with 0. -ENOENT: there is no such file. */
        int (*text)(void *device, const char *path, char *ret, size_t size);
};

int emul_new(struct emul **ret);
void emul_free(struct emul *e);

/* Strings stay with the caller. `path` is the file's below /dev ("kfd", "dri/renderD128"). -ENOSPC: there are
 * EMUL_FILES_MAX. */
int emul_add(struct emul *e, const char *path, const struct emul_driver *driver, void *device);
/* `name` is that of a folder beside them. */
int emul_add_folder(struct emul *e, const char *name, const struct emul_folder *folder, void *device);

/* Serves them at a folder until a signal or an unmount; 0 or a negative errno. Once. */
int emul_serve(struct emul *e, const char *mount_point);
