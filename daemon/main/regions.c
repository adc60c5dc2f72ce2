#include "main/regions.h"

#include <stdio.h>
#include <string.h>

#include "account/dmem.h"
#include "account/look.h"
#include "backend/drm.h"
#include "base/text.h"
#include "core/node.h"

/* As drmm_cgroup_register_region() is called: xe_ttm_vram_mgr.c, amdgpu_vram_mgr.c. nouveau does not. */
static const char *memory_of(const char *driver) {
        return strcmp(driver, "xe") == 0 ? "vram0" : strcmp(driver, "amdgpu") == 0 ? "vram" : NULL;
}

static bool is_node(const struct node_desc *n, const struct drm_device *v) {
        if (!n->found || n->dmem[0])
                return false;
        return n->kind == NODE_DRM ? n->number == v->minor : n->kind == NODE_KFD && strcmp(n->device, v->node) == 0;
}

static void add(struct machine *m, const struct drm_device *v, const char *root) {
        char region[sizeof(m->nodes->dmem)];
        const char *memory = memory_of(v->driver);
        uint64_t capacity;

        if (!memory || strncmp(v->bus, "pci ", 4) != 0)
                return;
        snprintf(region, sizeof(region), "drm/%s/%s", v->bus + 4, memory);
        if (dmem_capacity(root, region, &capacity) < 0)
                return;
        for (uint32_t i = 0; i < m->count; i++)
                if (is_node(&m->nodes[i], v) && m->nodes[i].capacity == (capacity & ~4095ull))
                        text_copy(m->nodes[i].dmem, region);
}

void regions_add(struct machine *m, struct drm *drm, const char *dmem_root, const char *sys_root) {
        const struct drm_device *v;
        char root[LOOK_FOLDER];
        uint32_t count;

        if (!look_dmem_folder(dmem_root, sys_root, root) || !drm_devices(drm, &v, &count))
                return;
        for (uint32_t i = 0; i < count; i++)
                add(m, &v[i], root);
}
