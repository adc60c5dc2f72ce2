#include "service/figures.h"

#include "base/clock.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/internal.h"

/* What has no row is counted with what has several. */
static unsigned slot_of(unsigned op_case) {
        return op_row(op_case) ? op_case : FIGURES_SEVERAL;
}

void figures_op(struct service *svc, const struct call *c, bool refused) {
        unsigned slot = slot_of(c->op->op_case);

        svc->figures.ops[slot].done += !refused;
        svc->figures.ops[slot].refused += refused;
        if (refused && c->session->partition)
                c->session->partition->refusals++;
}

static unsigned slot_of_all(const Svmd__V1__Request *m) {
        for (size_t i = 1; i < m->n_ops; i++)
                if (m->ops[i]->op_case != m->ops[0]->op_case)
                        return FIGURES_SEVERAL;
        return slot_of(m->ops[0]->op_case);
}

void figures_reply(struct service *svc, const struct request *r, const Svmd__V1__Request *m) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);

        histogram_add(&svc->figures.requests[slot_of_all(m)], now > r->arrived_ns ? now - r->arrived_ns : 0);
}
