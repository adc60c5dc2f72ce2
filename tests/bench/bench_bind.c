#include <fcntl.h>
#include <unistd.h>

#include "backend/drm_bind.h"
#include "bench.h"
#include "svmd.h"

/*
 * What a vector saves on a render node: bindings a second that svmd makes for a program, 256 in one request, compared
 * with one in each, which the program waits for; and what leave to bind by itself saves, one binding a call both times.
 * The device is the emulated xe (tests/emul/drm/served.py starts this), where a call of the driver is a message to
 * another process too.
 */
enum { ROUNDS = 15, VECTOR = 256, TIMES = 2 };
#define MIB (1ull << 20)

static svmd_session *session;
static svmd_drm file;
static uint32_t space;
static char *base;

static int find_xe(const struct svmd_node_row *row, void *userdata) {
        if (row->kind == SVMD_NODE_DRM && row->driver[0] == 'x')
                *(svmd_node *)userdata = row->id;
        return 0;
}

static void clear(void) {
        struct svmd_drm_binding all = {
                .size = sizeof(all), .what = SVMD_DRM_UNMAP, .address = base, .length = 2 * VECTOR * MIB
        };

        must(svmd_drm_bind(session, NULL, file, space, &all, 1, NULL) == 0, "svmd does not unmap: %s", svmd_error());
}

/* Bindings a second, `each` in a request. */
static double measure(const struct svmd_drm_binding *list, uint32_t each) {
        uint64_t begun, spent = 0;

        for (int k = 0; k < TIMES; k++) {
                begun = now_ns();
                for (uint32_t i = 0; i < VECTOR; i += each)
                        must(svmd_drm_bind(session, NULL, file, space, list + i, each, NULL) == 0,
                             "svmd does not bind: %s", svmd_error());
                spent += now_ns() - begun;
                clear();
        }
        return 1e9 * TIMES * VECTOR / (double)spent;
}

/* Likewise, each made by this program, and svmd told of all of them. */
static double measure_delegated(const struct svmd_drm_binding *list) {
        uint64_t begun = now_ns();
        double rate;

        must(svmd_drm_delegate(session, file, space, base, 2 * VECTOR * MIB, 60000) == 0, "%s", svmd_error());
        for (uint32_t i = 0; i < VECTOR; i++)
                must(svmd_drm_bind(session, NULL, file, space, list + i, 1, NULL) == 0, "%s", svmd_error());
        must(svmd_drm_settle(session, file, space, base) == 0, "%s", svmd_error());
        rate = 1e9 * VECTOR / (double)(now_ns() - begun);
        clear();
        return rate;
}

static uint32_t begin(void) {
        int fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);
        svmd_node node = 0;
        uint32_t memory;
        void *reserved;

        must(fd >= 0 && drm_bind_xe.memory_new(fd, VECTOR * MIB, &memory) == 0, "/dev/dri/renderD128 is no xe");
        must(svmd_connect(&session, NULL) == 0 &&
                     svmd_address_reserve(session, &reserved, 2 * VECTOR * MIB, 0, NULL, NULL) == 0,
             "%s", svmd_error());
        base = reserved;
        must(svmd_query_nodes(session, find_xe, &node) == 0 && svmd_drm_give(session, &file, node, fd) == 0 &&
                     svmd_drm_space(session, file, &space) == 0,
             "%s", svmd_error());
        return memory;
}

int main(void) {
        struct row row = { .name = "bind_vector", .unit = "1/s" },
                   delegated = { .name = "drm_delegated", .unit = "1/s" };
        struct svmd_drm_binding list[VECTOR];
        uint32_t memory = begin();

        for (uint32_t i = 0; i < VECTOR; i++)
                list[i] = (struct svmd_drm_binding){ .size = sizeof(list[i]),
                                                     .what = SVMD_DRM_MAP,
                                                     .handle = memory,
                                                     .access = SVMD_ACCESS_READ_WRITE,
                                                     .address = base + 2 * i * MIB,
                                                     .length = MIB,
                                                     .offset = i * MIB };
        for (int i = 0; i < ROUNDS; i++) {
                double one = measure(list, 1);

                row_add(&row, measure(list, VECTOR), one);
                row_add(&delegated, measure_delegated(list), one);
        }
        row_print(&row);
        row_print(&delegated);
        svmd_disconnect(session);
        return 0;
}
