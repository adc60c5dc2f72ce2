#include <stdio.h>
#include <string.h>

#include "account/nvml.h"
#include "base/alloc.h"
#include "base/text.h"
#include "service/drift_parts.h"

/*
 * NVIDIA devices. Their driver counts what every process has, with svmd or without, and what each context takes for
 * itself, so it reports more than svmd gave out wherever something runs: that is told, and no fault.
 */
static const char *const source = "nvml";

static const struct drift_node *node_of(const struct drift *d, uint32_t device) {
        return &d->nodes[d->nvml_nodes[device]];
}

/* Of all its sessions. NULL: it has none. */
static const struct drift_process *charged_to(const struct drift *d, uint32_t pid, uint32_t device, uint64_t *ret) {
        const struct drift_process *first = NULL;

        *ret = 0;
        for (uint32_t i = 0; i < d->processes_count; i++) {
                if (d->processes[i].pid != pid)
                        continue;
                first = first ? first : &d->processes[i];
                *ret += d->processes[i].nvml[device];
        }
        return first;
}

static void add_device(struct drift *d, uint32_t device, const struct nvml_device *v) {
        struct drifting_device *found = &d->nvml.devices[device];
        const struct drift_node *n = node_of(d, device);
        struct drift_row *row;

        text_copy(found->name, n->name);
        text_copy(found->error, v->error);
        found->total = v->total;
        found->used = v->used;
        found->charged = n->expects;
        if (!v->there || !(row = drift_row_add(d, SCOPE_DEVICE, source)))
                return;
        text_copy(row->subject, n->name);
        snprintf(row->place, sizeof(row->place), "%.60s", n->device);
        row->reported = v->used;
        row->ledger = n->expects;
}

static void add_process(struct drift *d, const struct nvml_process *p) {
        const struct drift_process *known;
        struct drift_row *row;
        uint64_t ledger;

        if (p->device >= d->nvml_count || p->bytes == NVML_UNKNOWN)
                return;
        known = charged_to(d, p->pid, p->device, &ledger);
        if (!known)
                d->nvml.devices[p->device].others += p->bytes;
        row = drift_row_add(d, SCOPE_PROCESS, source);
        if (!row)
                return;
        row->session = known ? known->session : 0;
        row->pid = p->pid;
        row->reported = p->bytes;
        row->ledger = ledger;
        text_copy(row->subject, known ? known->name : "without svmd");
        text_copy(row->place, node_of(d, p->device)->name);
}

void drift_look_at_nvml(struct drift *d) {
        const char *devices[NVML_DEVICES_MAX];
        struct nvml_report *r = d->nvml_probe ? alloc_zero(sizeof(*r)) : NULL;

        if (!r)
                return;
        for (uint32_t i = 0; i < d->nvml_count; i++)
                devices[i] = node_of(d, i)->device + strlen("cuda:");
        if (nvml_ask(r, d->nvml_probe, devices, d->nvml_count, d->nvml.why, sizeof(d->nvml.why)) == 0) {
                d->nvml.absent = r->absent;
                d->nvml.count = r->absent ? 0 : d->nvml_count;
                for (uint32_t i = 0; i < d->nvml.count; i++)
                        add_device(d, i, &r->devices[i]);
                for (uint32_t i = 0; i < r->processes_count; i++)
                        add_process(d, &r->processes[i]);
        }
        alloc_free(r);
}

const char *drift_explain_nvml(const struct drift_row *r) {
        if (r->reported < r->ledger)
                return "memory that svmd has charged and its process has not made yet, or that another has imported";
        if (r->scope == SCOPE_DEVICE)
                return "contexts of CUDA itself, and programs that use the device without svmd: see its processes";
        return r->session ? "CUDA's own context, and memory that it imported or got from CUDA without svmd"
                          : "a program that uses the device without svmd";
}
