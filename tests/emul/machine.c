#include "machine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* 0 where there is no such name, or no such file. */
static uint64_t property(const char *path, const char *name) {
        uint64_t value, found = 0;
        char word[64];
        FILE *f = fopen(path, "re");

        if (!f)
                return 0;
        while (fscanf(f, "%63s %" SCNu64, word, &value) == 2)
                if (strcmp(word, name) == 0)
                        found = value;
        fclose(f);
        return found;
}

/* Banks of heaps 1 and 2 are the device's memory. */
static uint64_t memory_of(const char *node) {
        uint64_t count, sum = 0;
        char path[512];

        snprintf(path, sizeof(path), "%.400s/properties", node);
        count = property(path, "mem_banks_count");
        for (uint64_t i = 0; i < count && i < 32; i++) {
                uint64_t heap;

                snprintf(path, sizeof(path), "%.400s/mem_banks/%" PRIu64 "/properties", node, i);
                heap = property(path, "heap_type");
                sum += heap == 1 || heap == 2 ? property(path, "size_in_bytes") : 0;
        }
        return sum;
}

/* > 0: that is no GPU. */
static int read_gpu(struct machine_gpu *ret, const char *node, uint32_t index) {
        char path[512];
        uint32_t id = 0;
        FILE *f;

        snprintf(path, sizeof(path), "%.400s/gpu_id", node);
        f = fopen(path, "re");
        if (!f)
                return -errno;
        if (fscanf(f, "%" SCNu32, &id) != 1)
                id = 0;
        fclose(f);
        if (id == 0)
                return 1;
        snprintf(path, sizeof(path), "%.400s/properties", node);
        *ret = (struct machine_gpu){
                .id = id,
                .node = index,
                .render = (int)property(path, "drm_render_minor"),
                .device = (uint32_t)property(path, "device_id"),
                .gfx = (uint32_t)property(path, "gfx_target_version"),
                .hive = property(path, "hive_id"),
                .memory = memory_of(node),
        };
        return 0;
}

int machine_read(struct machine *ret, const char *folder) {
        memset(ret, 0, sizeof(*ret));
        for (uint32_t i = 0; ret->count < MACHINE_GPUS_MAX; i++) {
                char node[448];
                int r;

                snprintf(node, sizeof(node), "%.360s/sys/devices/virtual/kfd/kfd/topology/nodes/%u", folder, i);
                r = read_gpu(&ret->gpus[ret->count], node, i);
                if (r == -ENOENT)
                        break;
                if (r < 0) {
                        fprintf(stderr, "emul: %s: %s\n", node, strerror(-r));
                        return r;
                }
                ret->count += r == 0;
        }
        return 0;
}
