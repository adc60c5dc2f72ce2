#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "index.h"

struct text_buffer {
        char *bytes;
        size_t size, used;
};

/* Makes room behind what is there: a word may be longer than any buffer. */
static int buffer_room(struct text_buffer *buffer) {
        size_t size = buffer->size ? buffer->size * 2 : 256 * 1024;
        char *bytes;

        if (buffer->used < buffer->size)
                return 0;
        bytes = realloc(buffer->bytes, size);
        if (!bytes)
                return -ENOMEM;
        buffer->bytes = bytes;
        buffer->size = size;
        return 0;
}

static int read_some(struct text_buffer *buffer, int fd, ssize_t *ret) {
        int r = buffer_room(buffer);

        if (r < 0)
                return r;
        do
                *ret = read(fd, buffer->bytes + buffer->used, buffer->size - buffer->used);
        while (*ret < 0 && errno == EINTR);
        return *ret < 0 ? -errno : 0;
}

static int read_text(struct index_builder *b, struct text_buffer *buffer, int fd) {
        size_t taken;
        ssize_t n;
        int r;

        buffer->used = 0;
        do {
                r = read_some(buffer, fd, &n);
                if (r)
                        return r;
                buffer->used += (size_t)n;
                r = index_add(b, buffer->bytes, buffer->used, n == 0, &taken);
                if (r)
                        return r;
                buffer->used -= taken;
                memmove(buffer->bytes, buffer->bytes + taken, buffer->used);
        } while (n > 0);
        return 0;
}

static int read_file(struct index_builder *b, struct text_buffer *buffer, const char *path,
                     struct text_progress *progress) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW), r;

        if (fd < 0) {
                progress->unreadable++;
                return 0;
        }
        r = index_begin_file(b, path);
        if (!r)
                r = read_text(b, buffer, fd);
        close(fd);
        progress->files++;
        progress->bytes = b->index->bytes;
        return r;
}

static int compare_names(const FTSENT **a, const FTSENT **b) {
        return strcmp((*a)->fts_name, (*b)->fts_name);
}

int text_read_tree(struct index_builder *b, const char *dir, text_progress_fn fn, void *userdata,
                   struct text_progress *ret) {
        char *paths[] = { (char *)dir, NULL };
        FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, compare_names);
        struct text_progress progress = { 0 };
        struct text_buffer buffer = { 0 };
        FTSENT *entry;
        int r = 0;

        if (!tree)
                return -errno;
        while (!r && (errno = 0, entry = fts_read(tree))) {
                if (entry->fts_info == FTS_F) {
                        fn(userdata, &progress);
                        r = read_file(b, &buffer, entry->fts_path, &progress);
                } else if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS) {
                        progress.unreadable++;
                }
        }
        if (!r)
                r = -errno;
        fts_close(tree);
        free(buffer.bytes);
        if (!r)
                *ret = progress;
        return r;
}
