#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "account/look.h"
#include "base/alloc.h"
#include "base/text.h"
#include "core/node.h"
#include "core/session.h"
#include "core/state.h"
#include "service/drift_parts.h"
#include "service/internal.h"

/*
 * GPUs of AMD's compute driver. A process has there what its grants pay for; the rest it got from the driver itself, or
 * it gave back, behind svmd's back.
 */
static const char *const source = "kfd";

static bool is_gpu(const struct node_desc *n) {
        return n->kind == NODE_KFD && n->driver_id;
}

int drift_take_kfd(struct service *svc, struct drift *d) {
        const struct machine *m = svc->options.machine;

        d->gpus = alloc_array(m->count + 1, sizeof(*d->gpus));
        for (uint32_t i = 0; d->gpus && i < m->count; i++)
                if (is_gpu(&m->nodes[i]))
                        d->gpus[d->gpus_count++] = m->nodes[i].driver_id;
        d->on_gpus = alloc_array((size_t)d->room * d->gpus_count + 1, sizeof(*d->on_gpus));
        return d->gpus && d->on_gpus ? 0 : -ENOMEM;
}

void drift_take_kfd_process(struct service *svc, struct drift *d, const struct session *s, uint32_t process) {
        const struct machine *m = svc->options.machine;
        uint64_t *at = d->on_gpus + (size_t)process * d->gpus_count;

        for (uint32_t i = 0; i < m->count; i++)
                if (is_gpu(&m->nodes[i]))
                        *at++ = session_used(s, i);
}

static bool is_of(const struct look_device *v, uint32_t gpu) {
        char id[16];

        if (strcmp(v->source, source) != 0)
                return false;
        snprintf(id, sizeof(id), "%u", gpu);
        return strcmp(v->device, id) == 0;
}

bool drift_is_kfd_node(const struct drift *d, const struct look_device *v) {
        for (uint32_t i = 0; i < d->gpus_count; i++)
                if (is_of(v, d->gpus[i]))
                        return true;
        return false;
}

/* What all sessions of the process, which stand side by side, have on a GPU. */
static uint64_t ledger_of(const struct drift *d, uint32_t first, uint32_t gpu) {
        uint64_t bytes = 0;

        for (uint32_t i = first; i < d->processes_count && d->processes[i].pid == d->processes[first].pid; i++)
                bytes += d->on_gpus[(size_t)i * d->gpus_count + gpu];
        return bytes;
}

/* A GPU has a row where either has something there, or the driver has counted something. */
void drift_compare_kfd(struct drift *d, uint32_t process, const struct look_device *devices, unsigned count) {
        const struct drift_process *p = &d->processes[process];

        for (uint32_t gpu = 0; gpu < d->gpus_count; gpu++) {
                uint64_t ledger = ledger_of(d, process, gpu), reported = 0;
                struct look_counts counts = { .has = 0 };
                struct drift_row *row;

                for (unsigned i = 0; i < count; i++)
                        if (is_of(&devices[i], d->gpus[gpu])) {
                                reported = devices[i].bytes;
                                counts = devices[i].counts;
                        }
                row = ledger || reported || look_has_counted(&counts) ? drift_row_add(d, SCOPE_PROCESS, source) : NULL;
                if (!row)
                        continue;
                row->session = p->session;
                row->pid = p->pid;
                text_copy(row->subject, p->name);
                snprintf(row->place, sizeof(row->place), "%u vram", d->gpus[gpu]);
                row->ledger = ledger;
                row->reported = reported;
                row->counts = counts;
                row->unbrokered = reported > ledger;
        }
}
