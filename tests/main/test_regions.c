/* Which regions of the kernel's dmem nodes are told to be: by what drivers say, and by files as the controller has
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/drm.h"
#include "core/node.h"
#include "main/regions.h"

#define GIB (1ull << 30)

static char root[] = "/tmp/svmd-regions-XXXXXX";
static struct drm_device devices[] = {
        { .minor = 0, .node = "/dev/dri/renderD128", .driver = "xe", .bus = "pci 0000:03:00.0" },
        { .minor = 1, .node = "/dev/dri/renderD129", .driver = "amdgpu", .bus = "pci 0000:04:00.0" },
        { .minor = 2, .node = "/dev/dri/renderD130", .driver = "amdgpu", .bus = "platform" }, /* a part of it */
        { .minor = 3, .node = "/dev/dri/renderD131", .driver = "nouveau", .bus = "pci 0000:05:00.0" },
};

bool __wrap_drm_devices(struct drm *d, const struct drm_device **ret, uint32_t *ret_count);
bool __wrap_drm_devices(struct drm *d, const struct drm_device **ret, uint32_t *ret_count) {
        *ret = devices;
        *ret_count = sizeof(devices) / sizeof(devices[0]);
        return true;
}

static void put(const char *path, const char *text) {
        char full[128];
        FILE *f;

        snprintf(full, sizeof(full), "%s/%s", root, path);
        f = fopen(full, "we");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static struct node_desc *add(struct machine *m, enum node_kind kind, const char *device, uint64_t capacity) {
        struct node_desc *n = machine_add(m);

        assert_non_null(n);
        *n = (struct node_desc){ .kind = kind, .found = true, .capacity = capacity };
        n->number = (uint32_t)strtoul(device + strlen("renderD"), NULL, 10) - 128;
        snprintf(n->device, sizeof(n->device), "/dev/dri/%s", device);
        return n;
}

static void told(struct machine *m, const char *given) {
        static const struct {
                enum node_kind kind;
                const char *device;
                uint64_t capacity;
        } nodes[] = {
                { NODE_DRM, "renderD128", 8 * GIB },  { NODE_KFD, "renderD129", 16 * GIB },
                { NODE_KFD, "renderD130", 16 * GIB }, { NODE_DRM, "renderD131", 4 * GIB },
                { NODE_DRM, "renderD128", 9 * GIB },  { NODE_SOFT, "renderD128", 8 * GIB },
        };

        for (unsigned i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
                (void)add(m, nodes[i].kind, nodes[i].device, nodes[i].capacity);
        regions_add(m, NULL, given, root);
}

static void names_regions(void **state) {
        struct machine m = { 0 };

        put("dmem.capacity", "drm/0000:03:00.0/vram0 8589934592\ndrm/0000:04:00.0/vram 17179869184\n"
                             "drm/0000:05:00.0/vram 4294967296\ndrm/form/vram 17179869184\n");
        told(&m, root);
        assert_string_equal(m.nodes[0].dmem, "drm/0000:03:00.0/vram0");
        assert_string_equal(m.nodes[1].dmem, "drm/0000:04:00.0/vram");
        for (unsigned i = 2; i < 6; i++)
                assert_string_equal(m.nodes[i].dmem, "");
        machine_fini(&m);
}

/* In the place where the kernel has it; and what it has not is no region of a node. */
static void looks_where_groups_are(void **state) {
        struct machine m = { 0 };

        put("dmem.capacity", "");
        put("fs/cgroup/dmem.capacity", "drm/0000:03:00.0/vram0 8589934592\n");
        told(&m, NULL);
        assert_string_equal(m.nodes[0].dmem, "drm/0000:03:00.0/vram0");
        assert_string_equal(m.nodes[1].dmem, "");
        machine_fini(&m);
}

static void leaves_what_is_configured(void **state) {
        struct machine m = { 0 };
        struct node_desc *n = add(&m, NODE_DRM, "renderD128", 8 * GIB);

        put("dmem.capacity", "drm/0000:03:00.0/vram0 8589934592\n");
        snprintf(n->dmem, sizeof(n->dmem), "drm/other/vram0");
        regions_add(&m, NULL, root, root);
        assert_string_equal(m.nodes[0].dmem, "drm/other/vram0");
        machine_fini(&m);
}

static int set_up(void **state) {
        char path[128];

        if (!mkdtemp(root))
                return -1;
        snprintf(path, sizeof(path), "%s/fs", root);
        (void)mkdir(path, 0755);
        snprintf(path, sizeof(path), "%s/fs/cgroup", root);
        return mkdir(path, 0755);
}

static int tear_down(void **state) {
        static const char *const files[] = { "dmem.capacity", "fs/cgroup/dmem.capacity", "fs/cgroup", "fs", "" };
        char path[128];

        for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
                snprintf(path, sizeof(path), "%s/%s", root, files[i]);
                (void)remove(path);
        }
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_regions),
                cmocka_unit_test(looks_where_groups_are),
                cmocka_unit_test(leaves_what_is_configured),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
