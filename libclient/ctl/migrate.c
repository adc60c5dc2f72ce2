#include "args.h"
#include "change.h"
#include "ctl.h"
#include "rows.h"
#include "verbs.h"

static int migrate_start(struct ctl *c, const struct change *ch, svmd_fence **ret) {
        const struct target *t = &ch->target;

        return svmd_partition_migrate(c->session, ret, t->partition, t->address, t->size, ch->node->id);
}

/* What no node holds has nothing to move. */
static uint64_t migrate_left(const struct change *ch, const struct residency_rows *now) {
        return residency_held(now) - residency_on(now, ch->node->id);
}

int migrate_run(struct ctl *c, const struct args *a) {
        struct change ch = { .name = "migrate",
                             .done = "Moved",
                             .would = "Would move",
                             .doing = "moving",
                             .start = migrate_start,
                             .left = migrate_left };
        int r = target_managed(c, a->words[0], &ch.target);

        if (r == EXIT_OK)
                r = ctl_result(c, rows_nodes(c, &ch.nodes));
        if (r == EXIT_OK)
                r = rows_find_node(c, &ch.nodes, a->words[1], &ch.node);
        if (r != EXIT_OK)
                return r;
        ch.tail = ctl_text(c, " to %s", ch.node->name);
        return change_run(c, a, &ch);
}

static int evict_start(struct ctl *c, const struct change *ch, svmd_fence **ret) {
        const struct target *t = &ch->target;

        return svmd_partition_evict(c->session, ret, t->partition, t->address, t->size);
}

/* What is still where it was. */
static uint64_t evict_left(const struct change *ch, const struct residency_rows *now) {
        uint64_t held = residency_held(&ch->before), moved = residency_moved(&ch->before, now);

        return moved < held ? held - moved : 0;
}

int evict_run(struct ctl *c, const struct args *a) {
        struct change ch = { .name = "evict",
                             .done = "Evicted",
                             .would = "Would evict",
                             .doing = "evicting",
                             .tail = "",
                             .start = evict_start,
                             .left = evict_left };
        int r = target_managed(c, a->words[0], &ch.target);

        if (r == EXIT_OK)
                r = ctl_result(c, rows_nodes(c, &ch.nodes));
        return r == EXIT_OK ? change_run(c, a, &ch) : r;
}
