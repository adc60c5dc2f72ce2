#include "render.h"

#include <amdgpu_drm.h>
#include <drm.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "emul.h"
#include "machine.h"

static int do_open(void *device, const struct caller *c, void **ret) {
        *ret = device;
        return 0;
}

static void do_release(void *file) {
}

/* As much as there is room for; the true length in any case. */
static int answer(const struct caller *c, const char *text, const char *to, size_t *length) {
        size_t room = *length, n = strlen(text);

        *length = n;
        return to && room ? caller_write(c, (uintptr_t)to, text, n < room ? n : room) : 0;
}

static int version(const struct caller *c, struct drm_version *v) {
        int r;

        v->version_major = 3;
        v->version_minor = 49;
        v->version_patchlevel = 0;
        r = answer(c, "amdgpu", v->name, &v->name_len);
        r = r ? r : answer(c, "20150101", v->date, &v->date_len);
        return r ? r : answer(c, "AMD GPU", v->desc, &v->desc_len);
}

static int info(const struct machine_gpu *g, const struct caller *c, const struct drm_amdgpu_info *q) {
        struct drm_amdgpu_info_device device = {
                .device_id = g->device,
                .family = 141,
                .num_shader_engines = 1,
                .num_shader_arrays_per_engine = 1,
                .virtual_address_offset = 0x200000,
                .virtual_address_max = UINT64_C(1) << 47,
                .virtual_address_alignment = 4096,
                .pte_fragment_size = 2 << 20,
                .gart_page_size = 4096,
        };
        uint32_t works = 1;
        char none[1024] = "";
        const void *from = none;
        size_t size = sizeof(none);

        if (q->query == AMDGPU_INFO_DEV_INFO) {
                from = &device;
                size = sizeof(device);
        } else if (q->query == AMDGPU_INFO_ACCEL_WORKING) {
                from = &works;
                size = sizeof(works);
        }
        return caller_write(c, q->return_pointer, from, q->return_size < size ? q->return_size : size);
}

static int do_ioctl(void *file, const struct caller *c, unsigned number, void *data) {
        switch (_IOC_NR(number)) {
        case _IOC_NR(DRM_IOCTL_VERSION): return version(c, data);
        case DRM_COMMAND_BASE + DRM_AMDGPU_INFO: return info(file, c, data);
        default: return -EINVAL;
        }
}

int render_add(struct emul *e, const struct machine *m) {
        static const struct emul_driver driver = { do_open, do_release, do_ioctl };

        for (unsigned i = 0; i < m->count; i++) {
                char path[32];
                int r;

                snprintf(path, sizeof(path), "dri/renderD%d", m->gpus[i].render);
                r = emul_add(e, path, &driver, (void *)&m->gpus[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}
