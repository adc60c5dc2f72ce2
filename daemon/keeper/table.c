#include "keeper/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAGIC 0x6c626174646d7673ull /* "svmdtabl" */

struct head {
        uint64_t magic;
        uint32_t version, client_pid;
        int32_t listener, lock, client, zero;
        uint64_t count; /* of rows behind */
};

struct row {
        uint64_t key;
        int32_t fd, zero;
};

static int put(int fd, const void *bytes, size_t size) {
        ssize_t n;

        do
                n = write(fd, bytes, size);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        return (size_t)n == size ? 0 : -ENOSPC;
}

static int put_all(const struct table *t, int fd) {
        struct head h = { .magic = MAGIC,
                          .version = TABLE_VERSION,
                          .client_pid = (uint32_t)t->client_pid,
                          .listener = t->listener,
                          .lock = t->lock,
                          .client = t->client,
                          .count = t->kept.count };
        int r = put(fd, &h, sizeof(h));

        for (struct kept_item *it = kept_from(&t->kept, 0); it && r == 0; it = kept_next(it)) {
                struct row row = { .key = it->key, .fd = it->fd };

                r = put(fd, &row, sizeof(row));
        }
        return r == 0 && lseek(fd, 0, SEEK_SET) < 0 ? -errno : r;
}

int table_write(const struct table *t) {
        int r, fd = memfd_create("svmd-keeper-table", 0);

        if (fd < 0)
                return -errno;
        r = put_all(t, fd);
        if (r == 0)
                return fd;
        close(fd);
        return r;
}

static int get(int fd, void *bytes, size_t size) {
        ssize_t n;

        do
                n = read(fd, bytes, size);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        return (size_t)n == size ? 0 : -EPROTO;
}

int table_read(struct table *t, int fd) {
        struct head h;
        int r = get(fd, &h, sizeof(h));

        if (r == 0 && (h.magic != MAGIC || h.version < TABLE_OLDEST || h.version > TABLE_VERSION))
                r = -EPROTO;
        if (r == 0)
                *t = (struct table){
                        .listener = h.listener, .lock = h.lock, .client = h.client, .client_pid = (pid_t)h.client_pid
                };
        for (uint64_t i = 0; r == 0 && i < h.count; i++) {
                struct row row;

                r = get(fd, &row, sizeof(row));
                if (r == 0)
                        r = kept_put(&t->kept, row.key, row.fd);
        }
        close(fd);
        return r == 0 ? table_pass_on(t, false) : r;
}

static int pass_on(int fd, bool on) {
        return fcntl(fd, F_SETFD, on ? 0 : FD_CLOEXEC) < 0 ? -errno : 0;
}

int table_pass_on(const struct table *t, bool on) {
        int r = pass_on(t->listener, on);

        if (r == 0)
                r = pass_on(t->lock, on);
        if (r == 0 && t->client >= 0)
                r = pass_on(t->client, on);
        for (struct kept_item *it = kept_from(&t->kept, 0); it && r == 0; it = kept_next(it))
                r = pass_on(it->fd, on);
        return r;
}
