#include "service/device_events.h"

#include <errno.h>

#include "backend/smi.h"
#include "core/device_events.h"
#include "core/node.h"
#include "core/session.h"
#include "service/internal.h"

/* NULL: it is none of svmd's. */
static struct device_events *of_gpu(struct service *svc, uint32_t gpu) {
        const struct machine *m = svc->options.machine;

        for (uint32_t i = 0; gpu && i < m->count; i++)
                if (m->nodes[i].kind == NODE_KFD && m->nodes[i].driver_id == gpu)
                        return &svc->state.nodes[i].events;
        return NULL;
}

/* Of a move between two devices both have it, and a process whose pages moved has it in and out. */
static void add_moved(struct service *svc, const struct smi_event *e, struct device_events *process) {
        struct device_events *to = of_gpu(svc, e->to), *from = of_gpu(svc, e->from);

        if (to)
                to->pages_in += e->pages;
        if (from)
                from->pages_out += e->pages;
        if (process && e->to)
                process->pages_in += e->pages;
        if (process && e->from)
                process->pages_out += e->pages;
}

static void add(struct device_events *to, enum smi_type type) {
        if (!to)
                return;
        to->faults += type == SMI_FAULT_START;
        to->evictions += type == SMI_QUEUE_EVICTION;
        to->restores += type == SMI_QUEUE_RESTORE;
        to->unmaps += type == SMI_UNMAP;
}

/* What began is counted once: a fault when it starts, pages when they have moved. */
void service_device_event(struct service *svc, const struct smi_event *e) {
        struct peer *p = session_process(&svc->state, (uint32_t)e->pid);
        struct device_events *process = p ? peer_events(p) : NULL;

        if (e->type == SMI_MIGRATE_END && e->error == 0)
                add_moved(svc, e, process);
        add(of_gpu(svc, e->gpu), e->type);
        add(process, e->type);
}

int device_events_put(struct call *c, const struct device_events *e, Svmd__V1__DeviceEvents **ret) {
        Svmd__V1__DeviceEvents *row = NULL;

        if (e) {
                row = call_take(c, sizeof(*row));
                if (!row)
                        return -ENOMEM;
                svmd__v1__device_events__init(row);
                row->pages_in = e->pages_in;
                row->pages_out = e->pages_out;
                row->faults = e->faults;
                row->evictions = e->evictions;
                row->restores = e->restores;
                row->unmaps = e->unmaps;
        }
        *ret = row;
        return 0;
}
