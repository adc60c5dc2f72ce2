#include "emul.h"

#define FUSE_USE_VERSION 35

#include <errno.h>
#include <fuse3/fuse.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "caller.h"

/* As much as a driver's mmap offsets can name; it is sparse. */
#define FILE_SIZE (1ll << 42)

enum { ENDED = 8 }; /* fuse_main(): it ran, and a signal ended it */

struct emul_file {
        char path[64];
        const struct emul_driver *driver;
        void *device;
        int pages; /* what mmap() of it shows */
};

struct emul_tree {
        char name[32];
        const struct emul_folder *folder;
        void *device;
};

struct emul {
        unsigned files_count, trees_count;
        struct emul_file files[EMUL_FILES_MAX];
        struct emul_tree trees[EMUL_FOLDERS_MAX];
};

/* What an open file of FUSE's is. */
struct handle {
        const struct emul_file *of; /* NULL: the text of a file in a folder */
        void *file;
        size_t size;
        char text[4096];
};

static struct emul *self(void) {
        return fuse_get_context()->private_data;
}

static const struct emul_file *file_at(const char *path) {
        struct emul *e = self();

        for (unsigned i = 0; i < e->files_count; i++)
                if (strcmp(e->files[i].path, path + 1) == 0)
                        return &e->files[i];
        return NULL;
}

/* The folder that the path is in, and what follows its name. */
static const struct emul_tree *tree_at(const char *path, const char **ret_rest) {
        struct emul *e = self();

        for (unsigned i = 0; i < e->trees_count; i++) {
                size_t n = strcspn(path + 1, "/");

                if (n == strlen(e->trees[i].name) && memcmp(path + 1, e->trees[i].name, n) == 0) {
                        *ret_rest = path + 1 + n + (path[1 + n] == '/');
                        return &e->trees[i];
                }
        }
        return NULL;
}

/* What follows "PATH/" in the name of a file; NULL: it is not below. */
static const char *below(const char *path, const char *file) {
        const char *at = path + 1;

        if (!*at)
                return file;
        while (*at && *at == *file) {
                at++;
                file++;
        }
        return !*at && *file == '/' ? file + 1 : NULL;
}

static bool is_folder_of_files(const char *path) {
        struct emul *e = self();

        for (unsigned i = 0; i < e->files_count; i++)
                if (below(path, e->files[i].path))
                        return true;
        return path[1] == 0;
}

static void ignore(void *to, const char *name) {
}

static int do_getattr(const char *path, struct stat *st, struct fuse_file_info *info) {
        char text[sizeof(((struct handle *)NULL)->text)];
        const struct emul_tree *t;
        const char *rest;

        memset(st, 0, sizeof(*st));
        st->st_nlink = 1;
        if (file_at(path)) {
                st->st_mode = S_IFREG | 0666;
                st->st_size = FILE_SIZE;
                return 0;
        }
        t = tree_at(path, &rest);
        if (is_folder_of_files(path) || (t && t->folder->list(t->device, rest, ignore, NULL) == 0)) {
                st->st_mode = S_IFDIR | 0755;
                return 0;
        }
        if (!t || t->folder->text(t->device, rest, text, sizeof(text)) < 0)
                return -ENOENT;
        st->st_mode = S_IFREG | 0444;
        st->st_size = 4096; /* as sysfs says, whatever is in it */
        return 0;
}

struct listing {
        void *buffer;
        fuse_fill_dir_t fill;
};

static void list_one(void *to, const char *name) {
        struct listing *l = to;

        l->fill(l->buffer, name, NULL, 0, 0);
}

/* A folder that several files are in is named by the first of them. */
static bool named_before(const struct emul *e, const char *path, unsigned file, const char *name, size_t n) {
        for (unsigned i = 0; i < file; i++) {
                const char *other = below(path, e->files[i].path);

                if (other && strncmp(other, name, n) == 0 && (other[n] == 0 || other[n] == '/'))
                        return true;
        }
        return false;
}

static int do_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *info,
                      enum fuse_readdir_flags flags) {
        struct listing l = { buffer, fill };
        const struct emul_tree *t;
        struct emul *e = self();
        const char *rest;

        list_one(&l, ".");
        list_one(&l, "..");
        t = tree_at(path, &rest);
        if (t)
                return t->folder->list(t->device, rest, list_one, &l);
        for (unsigned i = 0; i < e->files_count; i++) {
                const char *name = below(path, e->files[i].path);
                size_t n = name ? strcspn(name, "/") : 0;
                char part[64];

                if (!name || named_before(e, path, i, name, n))
                        continue;
                memcpy(part, name, n);
                part[n] = 0;
                list_one(&l, part);
        }
        for (unsigned i = 0; path[1] == 0 && i < e->trees_count; i++)
                list_one(&l, e->trees[i].name);
        return 0;
}

static int open_text(const char *path, struct handle *h) {
        const struct emul_tree *t;
        const char *rest;
        int r;

        t = tree_at(path, &rest);
        if (!t)
                return -ENOENT;
        r = t->folder->text(t->device, rest, h->text, sizeof(h->text));
        h->size = r < 0 ? 0 : strlen(h->text);
        return r;
}

static int open_device(struct handle *h) {
        struct caller c;
        int r = caller_of(&c, fuse_get_context()->pid);

        return r < 0 ? r : h->of->driver->open(h->of->device, &c, &h->file);
}

static int do_open(const char *path, struct fuse_file_info *info) {
        struct handle *h = calloc(1, sizeof(*h));
        int r;

        if (!h)
                return -ENOMEM;
        h->of = file_at(path);
        r = h->of ? open_device(h) : open_text(path, h);
        if (r < 0) {
                free(h);
                return r;
        }
        info->fh = (uintptr_t)h;
        info->keep_cache = h->of != NULL;
        info->direct_io = h->of == NULL;
        return 0;
}

static int do_release(const char *path, struct fuse_file_info *info) {
        struct handle *h = (void *)(uintptr_t)info->fh;

        if (h->of)
                h->of->driver->release(h->file);
        free(h);
        return 0;
}

static int do_read(const char *path, char *to, size_t size, off_t offset, struct fuse_file_info *info) {
        const struct handle *h = (void *)(uintptr_t)info->fh;
        size_t left = h->size > (size_t)offset ? h->size - (size_t)offset : 0;
        ssize_t n;

        if (!h->of) {
                size = size < left ? size : left;
                memcpy(to, h->text + (left ? offset : 0), size);
                return (int)size;
        }
        n = pread(h->of->pages, to, size, offset);
        if (n < 0)
                return -errno;
        memset(to + n, 0, size - (size_t)n);
        return (int)size;
}

static int do_write(const char *path, const char *from, size_t size, off_t offset, struct fuse_file_info *info) {
        const struct handle *h = (void *)(uintptr_t)info->fh;
        ssize_t n = h->of ? pwrite(h->of->pages, from, size, offset) : -1;

        return n < 0 ? -EIO : (int)n;
}

static int do_ioctl(const char *path, unsigned number, void *arg, struct fuse_file_info *info, unsigned flags,
                    void *data) {
        const struct handle *h = (void *)(uintptr_t)info->fh;
        struct caller c;
        int r;

        if (!h->of)
                return -ENOTTY;
        r = caller_of(&c, fuse_get_context()->pid);
        return r < 0 ? r : h->of->driver->ioctl(h->file, &c, number, data);
}

int emul_new(struct emul **ret) {
        *ret = calloc(1, sizeof(**ret));
        return *ret ? 0 : -ENOMEM;
}

void emul_free(struct emul *e) {
        if (!e)
                return;
        for (unsigned i = 0; i < e->files_count; i++)
                close(e->files[i].pages);
        free(e);
}

int emul_add(struct emul *e, const char *path, const struct emul_driver *driver, void *device) {
        struct emul_file *f = &e->files[e->files_count];

        if (e->files_count == EMUL_FILES_MAX || strlen(path) >= sizeof(f->path))
                return -ENOSPC;
        f->pages = memfd_create(path, MFD_CLOEXEC);
        if (f->pages < 0)
                return -errno;
        if (ftruncate(f->pages, FILE_SIZE) < 0) {
                int r = -errno;

                close(f->pages);
                return r;
        }
        snprintf(f->path, sizeof(f->path), "%s", path);
        f->driver = driver;
        f->device = device;
        e->files_count++;
        return 0;
}

int emul_add_folder(struct emul *e, const char *name, const struct emul_folder *folder, void *device) {
        struct emul_tree *t = &e->trees[e->trees_count];

        if (e->trees_count == EMUL_FOLDERS_MAX || strlen(name) >= sizeof(t->name))
                return -ENOSPC;
        snprintf(t->name, sizeof(t->name), "%s", name);
        t->folder = folder;
        t->device = device;
        e->trees_count++;
        return 0;
}

int emul_serve(struct emul *e, const char *mount_point) {
        static const struct fuse_operations operations = {
                .getattr = do_getattr,
                .readdir = do_readdir,
                .open = do_open,
                .release = do_release,
                .read = do_read,
                .write = do_write,
                .ioctl = do_ioctl,
        };
        char *argv[] = { (char *)"emul",        (char *)"-f",        (char *)"-s", (char *)"-o",
                         (char *)"allow_other", (char *)mount_point, NULL };
        int r = fuse_main(6, argv, &operations, e);

        return r == 0 || r == ENDED ? 0 : -EIO;
}
