#include "args.h"
#include "change.h"
#include "ctl.h"
#include "verbs.h"

static int discard_start(struct ctl *c, const struct change *ch, svmd_fence **ret) {
        const struct target *t = &ch->target;

        return svmd_partition_discard(c->session, ret, t->partition, t->address, t->size);
}

static uint64_t discard_left(const struct change *ch, const struct residency_rows *now) {
        return residency_held(now);
}

int discard_run(struct ctl *c, const struct args *a) {
        struct change ch = { .name = "discard",
                             .done = "Discarded",
                             .would = "Would discard",
                             .doing = "discarding",
                             .question = "Set to zero the content of",
                             .tail = "",
                             .start = discard_start,
                             .left = discard_left };
        int r = target_managed(c, a->words[0], &ch.target);

        if (r == EXIT_OK)
                r = ctl_result(c, rows_nodes(c, &ch.nodes));
        return r == EXIT_OK ? change_run(c, a, &ch) : r;
}
