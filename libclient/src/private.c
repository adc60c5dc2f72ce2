#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "agent/drm.h"
#include "error.h"
#include "order.h"
#include "va.h"
#include "wire.h"

enum { GIVE_WAITS = 105 }; /* 5 seconds */

/* Private memory: mapped where it was reserved, and moved by drivers, by files of devices that this process opens. */

int private_show(const struct reservation *r) {
        void *at = (void *)(uintptr_t)r->range.start;
        size_t size = r->range.end - r->range.start;

        if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
                    MAP_FAILED ||
            madvise(at, size, MADV_DONTFORK) < 0)
                return fail_errno(errno, "private memory could not be mapped in this process");
        return 0;
}

struct found {
        svmd_node node;
        char path[PATH_MAX];
};

static int find_device(const struct svmd_node_row *row, void *userdata) {
        struct found *f = userdata;

        if (row->id == f->node)
                snprintf(f->path, sizeof(f->path), "%s", row->device);
        return 0;
}

static int open_device(svmd_session *s, svmd_node node, int *ret) {
        struct found f = { .node = node };
        int r = svmd_query_nodes(s, find_device, &f);

        if (r)
                return r;
        if (!f.path[0])
                return fail(SVMD_E_NODE_KIND, "node %u has no device that a process could open", node);
        *ret = open(f.path, O_RDWR | O_CLOEXEC);
        return *ret < 0 ? fail_errno(errno, "the device of the node could not be opened") : 0;
}

static int give(svmd_session *s, svmd_node node, int fd, uint64_t *ret) {
        Svmd__V1__DeviceGive body = SVMD__V1__DEVICE_GIVE__INIT;
        Svmd__V1__Op op = SVMD__V1__OP__INIT;
        const Svmd__V1__Result *result;
        struct call *c;
        int r;

        body.node = node;
        op.op_case = SVMD__V1__OP__OP_DEVICE_GIVE;
        op.device_give = &body;
        r = call_one_fd(s, &op, fd, &c, &result);
        if (r)
                return r;
        if (ret)
                *ret = result->id;
        call_put(s, c);
        return 0;
}

static int give_or_open(svmd_session *s, svmd_node node, int fd, uint64_t *ret) {
        int r = session_check(s), own = -1;

        if (!r && fd < 0)
                r = open_device(s, node, &own);
        if (r)
                return r;
        r = give(s, node, fd < 0 ? own : fd, ret);
        if (own >= 0)
                close(own);
        return session_leave(s, r);
}

int svmd_device_give(svmd_session *s, svmd_node node, int fd) {
        return give_or_open(s, node, fd, NULL);
}

/* Of a session that has ended svmd still lets go of what was bound by the file: that takes as long as its driver. */
static int give_when_left(svmd_session *s, svmd_node node, int fd, uint64_t *ret) {
        struct timespec pause = { .tv_nsec = 1000000 };
        int r = give_or_open(s, node, fd, ret);

        for (unsigned waits = 0; r == SVMD_E_BUSY && waits < GIVE_WAITS; waits++) {
                nanosleep(&pause, NULL);
                pause.tv_nsec = pause.tv_nsec < 50000000 ? pause.tv_nsec * 2 : 50000000;
                r = give_or_open(s, node, fd, ret);
        }
        return r;
}

int svmd_drm_give(svmd_session *s, svmd_drm *ret, svmd_node node, int fd) {
        int r;

        if (fd < 0)
                return fail(SVMD_E_INVALID, "a file of node %u has to be open: its memory is made by it", node);
        r = give_when_left(s, node, fd, ret);
        return r ? r : drm_gave(s, *ret, node, fd);
}

int svmd_observe(svmd_session *s, svmd_fence **ret, const void *address, size_t size) {
        struct order o;

        order_observe(&o, NULL, (uintptr_t)address, size);
        return order_run(s, ret, &o);
}

int svmd_partition_observe(svmd_session *s, svmd_fence **ret, const char *partition, uint64_t address, size_t size) {
        struct order o;

        order_observe(&o, partition, address, size);
        return order_run(s, ret, &o);
}

int svmd_exclusive(svmd_session *s, svmd_fence **ret, const void *address, size_t size, svmd_node node) {
        struct order o;

        order_exclusive(&o, (uintptr_t)address, size, node);
        return order_run(s, ret, &o);
}
