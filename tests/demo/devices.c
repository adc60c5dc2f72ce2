/*
 * The devices' side of the demo. Each device has a space where the index lies at the address that the processes have it
 * at, in memory of the device that no CPU can map; so the pointers in it are right, or the chase ends elsewhere.
 */
#include "devices.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"
#include "index.h"

#define DEVICES_WAIT_MS 120000

struct device {
        svmd_node node;
        char name[32];
        svmd_space space;
        svmd_mem mem;
        svmd_fence *fence;
        uint64_t sum;
        struct svmd_fence_result chase, result; /* result: of the operation that was last waited for */
};

static int add_device(const struct svmd_node_row *row, void *userdata) {
        struct devices *d = userdata;
        struct device *all;

        if (row->kind != SVMD_NODE_SOFT)
                return 0;
        all = realloc(d->all, (d->count + 1) * sizeof(*all));
        if (!all)
                return SVMD_E_NO_MEMORY;
        d->all = all;
        all[d->count] = (struct device){ .node = row->id };
        snprintf(all[d->count].name, sizeof(all->name), "%s", row->name);
        d->count++;
        return 0;
}

void devices_find(struct devices *d, svmd_session *s) {
        *d = (struct devices){ .session = s };
        must(svmd_query_nodes(s, add_device, d), "nodes");
}

void devices_free(struct devices *d) {
        free(d->all);
}

svmd_node devices_first(const struct devices *d) {
        return d->all[0].node;
}

static void start(struct devices *d, struct device *device, struct svmd_device_op op) {
        op.size = sizeof(op);
        op.space = device->space;
        must(svmd_submit(d->session, &device->fence, &op), "submit");
}

static int finish(struct device *device, struct svmd_fence_result *ret) {
        int code = svmd_fence_wait(device->fence, DEVICES_WAIT_MS, ret);

        svmd_fence_free(device->fence);
        device->fence = NULL;
        return code;
}

static struct svmd_fence_result run(struct devices *d, struct device *device, struct svmd_device_op op,
                                    const char *what) {
        struct svmd_fence_result result;

        start(d, device, op);
        must(finish(device, &result), what);
        return result;
}

void devices_take(struct devices *d, uint64_t address, size_t size) {
        for (struct device *device = d->all; device < d->all + d->count; device++) {
                size_t unit, rounded;

                must(svmd_mem_granularity(d->session, &unit, device->node), "granularity");
                rounded = (size + unit - 1) / unit * unit;
                must(svmd_space_create(d->session, &device->space, device->node), "space");
                must(svmd_mem_create(d->session, &device->mem, rounded, device->node, 0), "device-memory");
                must(svmd_mem_map(d->session, device->space, address, size, 0, device->mem, SVMD_ACCESS_READ_WRITE, 0),
                     "device-map");
        }
}

/* All devices do it at once. */
static void run_all(struct devices *d, struct svmd_device_op op, const char *what) {
        for (struct device *device = d->all; device < d->all + d->count; device++)
                start(d, device, op);
        for (struct device *device = d->all; device < d->all + d->count; device++)
                must(finish(device, &device->result), what);
}

void devices_spread(struct devices *d, size_t granule) {
        size_t part = (d->size / d->count + granule - 1) / granule * granule;

        for (unsigned i = 0; i < d->count; i++) {
                struct device *device = &d->all[i];
                size_t from = part * i < d->size ? part * i : d->size;
                size_t size = part < d->size - from ? part : d->size - from;
                uint64_t address = (uintptr_t)d->index + from;
                struct svmd_device_op sum = { .op = SVMD_DEVICE_SUM, .src = address, .length = size };

                if (!size)
                        break;
                must(svmd_space_create(d->session, &device->space, device->node), "space");
                must(svmd_migrate(d->session, NULL, (const void *)address, size, device->node), "migrate");
                say("part device=%s from=%zu size=%zu sum=%" PRIu64, device->name, from, size,
                    run(d, device, sum, "sum-part").value);
                must(svmd_space_destroy(d->session, device->space), "space-destroy");
        }
}

void devices_copy(struct devices *d) {
        struct svmd_device_op op = { .dst = d->alias, .src = (uintptr_t)d->index, .length = d->size };

        devices_take(d, d->alias, d->size);
        op.op = SVMD_DEVICE_COPY;
        run_all(d, op, "copy");
        op.op = SVMD_DEVICE_COMPARE;
        run_all(d, op, "compare");
        for (struct device *device = d->all; device < d->all + d->count; device++) {
                must(svmd_mem_unmap(d->session, device->space, d->alias, d->size), "alias-unmap");
                must(svmd_mem_map(d->session, device->space, (uintptr_t)d->index, d->size, 0, device->mem,
                                  SVMD_ACCESS_READ_WRITE, 0),
                     "device-map");
                say("copy device=%s address=0x%" PRIxPTR " size=%zu same=%" PRIu64, device->name, (uintptr_t)d->index,
                    d->size, device->result.value);
        }
}

/* The head of the list stands in the index where a word record, if one began before it, would have its link. */
static struct svmd_device_op chase_of(const struct index *index) {
        return (struct svmd_device_op){
                .op = SVMD_DEVICE_CHASE,
                .src = (uintptr_t)&index->first - offsetof(struct index_word, next),
                .length = index->words + 1,
                .value = offsetof(struct index_word, next),
        };
}

static struct svmd_device_op sum_of(const struct devices *d) {
        return (struct svmd_device_op){ .op = SVMD_DEVICE_SUM, .src = (uintptr_t)d->index, .length = d->size };
}

/* Each device adds another number, so a sum that has grown by it was taken over that device's own memory. */
static void write_own(struct devices *d) {
        uint64_t amount = 1000;

        for (struct device *device = d->all; device < d->all + d->count; device++) {
                struct svmd_device_op add = { .op = SVMD_DEVICE_ATOMIC_ADD,
                                              .dst = (uintptr_t)&d->index->scratch,
                                              .value = amount++ };

                run(d, device, add, "atomic-add");
        }
}

void devices_ask(struct devices *d) {
        run_all(d, sum_of(d), "sum");
        for (struct device *device = d->all; device < d->all + d->count; device++)
                device->sum = device->result.value;
        run_all(d, chase_of(d->index), "chase");
        for (struct device *device = d->all; device < d->all + d->count; device++)
                device->chase = device->result;
        write_own(d);
        run_all(d, sum_of(d), "sum-again");
        for (struct device *device = d->all; device < d->all + d->count; device++)
                say("device name=%s sum=%" PRIu64 " hops=%" PRIu64 " last=0x%" PRIx64 " grew=%" PRIu64, device->name,
                    device->sum, device->chase.value, device->chase.address, device->result.value - device->sum);
}

void devices_ask_link(struct devices *d) {
        struct device device = d->all[d->count - 1];
        struct svmd_fence_result sum, chase;

        must(svmd_space_create(d->session, &device.space, device.node), "space");
        sum = run(d, &device, sum_of(d), "sum-link");
        chase = run(d, &device, chase_of(d->index), "chase-link");
        say("link name=%s sum=%" PRIu64 " hops=%" PRIu64 " last=0x%" PRIx64, device.name, sum.value, chase.value,
            chase.address);
        must(svmd_space_destroy(d->session, device.space), "space-destroy");
}

void devices_ask_empty(struct devices *d) {
        struct svmd_device_op sum = { .op = SVMD_DEVICE_SUM, .src = d->alias, .length = d->size };
        struct device device = d->all[0];

        must(svmd_space_create(d->session, &device.space, device.node), "space");
        start(d, &device, sum);
        tell_refusal(finish(&device, NULL), "unmapped");
        must(svmd_space_destroy(d->session, device.space), "space-destroy");
}

void devices_scribble(struct devices *d, uint64_t address, size_t size) {
        struct svmd_device_op op = { .op = SVMD_DEVICE_FILL, .dst = address, .length = size, .value = 0x5a };

        for (unsigned i = 0; i < d->count; i++) {
                start(d, &d->all[i], op);
                svmd_fence_free(d->all[i].fence);
        }
}
