#include "range.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

enum { CLIENT_CPU = 0, DAEMON_CPU = 1 };

static void agreed(int code, const char *what) {
        must(code == SVMD_OK, "%s: %s", what, code == SVMD_OK ? "" : svmd_error());
}

svmd_session *session_open(const char *runtime_dir) {
        struct svmd_connect_options options = { .size = sizeof(options) };
        svmd_session *s = NULL;
        char path[4096];

        snprintf(path, sizeof(path), "%s/svmd.sock", runtime_dir);
        options.socket = path;
        agreed(svmd_connect(&s, &options), "svmd_connect");
        return s;
}

struct wanted {
        unsigned kind;
        svmd_node id;
};

static int match(const struct svmd_node_row *row, void *userdata) {
        struct wanted *w = userdata;

        if (row->kind != w->kind || w->id != SVMD_NODE_NONE)
                return 0;
        w->id = row->id;
        return 0;
}

svmd_node node_of(svmd_session *s, unsigned kind) {
        struct wanted w = { kind, SVMD_NODE_NONE };

        agreed(svmd_query_nodes(s, match, &w), "svmd_query_nodes");
        must(w.id != SVMD_NODE_NONE, "svmd has no node of kind %u", kind);
        return w.id;
}

void range_open(struct range *r, svmd_session *s, size_t size, size_t granule, int huge, int single) {
        struct svmd_reserve_options options = { .size = sizeof(options),
                                                .kind = SVMD_SHARED,
                                                .granule = (unsigned)granule,
                                                .flags = huge ? SVMD_RANGE_HUGE : 0 };
        struct svmd_advice advice = { .size = sizeof(advice),
                                      .what = SVMD_ADVISE_GRANULARITY,
                                      .granularity = (unsigned)granule };
        void *p = NULL;

        agreed(svmd_address_reserve(s, &p, size, 0, NULL, &options), "svmd_address_reserve");
        *r = (struct range){ s, p, size, granule };
        if (single)
                agreed(svmd_advise(s, p, size, &advice), "svmd_advise");
        range_touch(r);
}

void range_close(struct range *r) {
        agreed(svmd_address_free(r->session, r->p), "svmd_address_free");
}

void range_touch(struct range *r) {
        for (size_t i = 0; i < r->size; i += SVMD_PAGE)
                ((volatile char *)r->p)[i] = (char)i;
}

double range_move(struct range *r, svmd_node to) {
        uint64_t start = now_ns();

        agreed(svmd_migrate(r->session, NULL, r->p, r->size, to), "svmd_migrate");
        return (double)(now_ns() - start);
}

double range_evict(struct range *r) {
        uint64_t start = now_ns();

        agreed(svmd_evict(r->session, NULL, r->p, r->size), "svmd_evict");
        return (double)(now_ns() - start);
}

static char *shared_memory(size_t size) {
        int fd = memfd_create("bench", MFD_CLOEXEC);
        void *p;

        must(fd >= 0 && ftruncate(fd, (off_t)size) == 0, "no memory file could be made");
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        must(p != MAP_FAILED, "a memory file could not be mapped");
        close(fd);
        return p;
}

/* Two files of as many bytes, mapped; they stay. */
static void copy_files(size_t size, char **ret_from, char **ret_to) {
        static char *from, *to;
        static size_t have;

        if (have < size) {
                if (have) {
                        munmap(from, have);
                        munmap(to, have);
                }
                from = shared_memory(size);
                to = shared_memory(size);
                memset(from, 1, size);
                memset(to, 2, size);
                have = size;
        }
        *ret_from = from;
        *ret_to = to;
}

double memcpy_ns(size_t size) {
        uint64_t start, end;
        char *from, *to;

        copy_files(size, &from, &to);
        pin_to(DAEMON_CPU);
        start = now_ns();
        memcpy(to, from, size);
        end = now_ns();
        pin_to(CLIENT_CPU);
        return (double)(end - start);
}

double fetch_ns(size_t size, size_t granule) {
        uint64_t start, end;
        char *from, *to;

        copy_files(size, &from, &to);
        must(madvise(from, size, MADV_DONTNEED) == 0, "pages cannot be taken out of a page table");
        pin_to(DAEMON_CPU);
        start = now_ns();
        for (size_t i = 0; i < size; i += granule)
                memcpy(to + i, from + i, granule);
        end = now_ns();
        pin_to(CLIENT_CPU);
        return (double)(end - start);
}

double first_touch_ns(size_t size) {
        char *p = shared_memory(size);
        uint64_t start, end;

        pin_to(DAEMON_CPU);
        start = now_ns();
        for (size_t i = 0; i < size; i += SVMD_PAGE)
                ((volatile char *)p)[i] = 1;
        end = now_ns();
        pin_to(CLIENT_CPU);
        munmap(p, size);
        return (double)(end - start);
}
