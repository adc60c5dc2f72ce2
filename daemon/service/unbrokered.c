#include "service/unbrokered.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/drm.h"
#include "core/grant.h"
#include "core/node.h"
#include "core/session.h"
#include "core/space.h"
#include "service/internal.h"
#include "service/private.h"
#include "service/usage_answer.h"

/* A process that may use a node of a driver may have its file open; svmd cannot see what else it does with it. */
static bool has_leave(const struct session *s, uint32_t node) {
        list_for_each (l, &s->grants)
                if (container_of(l, struct grant, by_session)->node == node)
                        return true;
        list_for_each (l, &s->spaces)
                if (container_of(l, struct space, by_session)->node == node)
                        return true;
        return private_device_of(s->devices, node) >= 0;
}

static void name_pci(const struct service *svc, const char *device, struct claim *c) {
        const struct drm_device *v;
        uint32_t count;

        if (!drm_devices(svc->options.drm, &v, &count))
                return;
        for (uint32_t i = 0; i < count; i++)
                if (strcmp(v[i].node, device) == 0 && strncmp(v[i].bus, "pci ", 4) == 0)
                        snprintf(c->names[1], sizeof(c->names[1]), "%s", v[i].bus + 4);
}

/* As fdinfo, KFD and the file itself call it. */
static void name(const struct service *svc, uint32_t node, struct claim *c) {
        static const char cuda[] = "cuda:";
        const struct node_desc *d = node_desc(svc, node);
        const char *device = d->device;

        if (strncmp(device, cuda, sizeof(cuda) - 1) == 0) {
                snprintf(c->names[0], sizeof(c->names[0]), "/dev/nvidia");
                snprintf(c->names[1], sizeof(c->names[1]), "%s", device + sizeof(cuda) - 1);
                return;
        }
        snprintf(c->names[0], sizeof(c->names[0]), "%s", device);
        name_pci(svc, device, c);
        if (d->kind == NODE_KFD) {
                if (d->driver_id)
                        snprintf(c->names[2], sizeof(c->names[2]), "%u", d->driver_id);
                snprintf(c->names[3], sizeof(c->names[3]), "/dev/kfd");
        }
}

unsigned claims_of(const struct service *svc, const struct session *s, struct claim *ret, unsigned room) {
        unsigned count = 0;

        for (uint32_t i = 0; i < svc->options.machine->count && count < room; i++) {
                const struct backend *b = node_backend(svc, i);
                uint64_t bytes = session_used(s, i);

                if ((!b->delegated && !b->private_ops) || (!bytes && !has_leave(s, i)))
                        continue;
                ret[count] = (struct claim){ .bytes = bytes };
                name(svc, i, &ret[count++]);
        }
        return count;
}

void unbrokered_note(struct unbrokered_seen *seen, const struct drift_row *rows, uint32_t count) {
        uint32_t pid = 0;

        *seen = (struct unbrokered_seen){ 0 };
        for (uint32_t i = 0; i < count; i++) {
                const struct drift_row *r = &rows[i];

                if (!r->unbrokered || r->pid == pid)
                        continue;
                pid = r->pid;
                if (seen->processes++ == 0)
                        snprintf(seen->first, sizeof(seen->first), "process %u has %.140s (%s)", r->pid, r->place,
                                 r->source);
        }
}
