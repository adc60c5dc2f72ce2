#include "engine/figures.h"

#include "engine/managed-priv.h"

static void count_fault(struct managed_traffic *t, bool device) {
        t->cpu_faults += !device;
        t->device_faults += device;
}

void figures_answered(struct managed *e, const struct demand *d) {
        const struct managed_range *r = d->work->range;
        bool device = event_is_device(d->event);

        if ((!device && !event_is_fault(d->event)) || e->restore != RESTORE_NONE)
                return;
        histogram_add(device ? &e->figures.device_faults : &e->figures.cpu_faults, e->now - d->began_ns);
        if (r->group)
                count_fault(&r->group->traffic, device);
        if (device)
                count_fault(&e->nodes[d->node].traffic, device);
}

static void count_eviction(struct managed_traffic *t, uint64_t bytes) {
        t->evictions++;
        t->evicted += bytes;
}

void figures_moved(struct managed *e, const struct work *w, const struct managed_past *p) {
        struct managed_flown *f;

        if ((p->deed != MANAGED_MOVED && p->deed != MANAGED_COPIED) || p->from >= e->nodes_count ||
            p->to >= e->nodes_count)
                return;
        histogram_add(&e->figures.moves[p->cause], e->now - w->began_ns);
        f = &e->flown[p->from][p->to];
        f->moves++;
        f->bytes += w->range->bytes;
        if (p->cause != MANAGED_BY_EVICTION)
                return;
        count_eviction(&e->nodes[p->from].traffic, w->range->bytes);
        if (w->range->group)
                count_eviction(&w->range->group->traffic, w->range->bytes);
}

void managed_figures(const struct managed *e, struct managed_figures *ret) {
        *ret = e->figures;
}

void managed_node_traffic(const struct managed *e, uint32_t node, struct managed_traffic *ret) {
        *ret = e->nodes[node].traffic;
}

void managed_group_traffic(const struct managed_group *g, struct managed_traffic *ret) {
        *ret = g->traffic;
}

void managed_flown(const struct managed *e, uint32_t from, uint32_t to, struct managed_flown *ret) {
        *ret = e->flown[from][to];
}
