#include <string.h>

#include "args.h"
#include "change.h"
#include "ctl.h"
#include "verbs.h"

static int revoke_start(struct ctl *c, const struct change *ch, svmd_fence **ret) {
        return svmd_partition_revoke(c->session, ret, ch->target.partition, ch->target.address, 0);
}

static int unrevoke_start(struct ctl *c, const struct change *ch, svmd_fence **ret) {
        return svmd_partition_revoke(c->session, ret, ch->target.partition, ch->target.address, 1);
}

static uint64_t revoked(const struct residency_rows *now) {
        uint64_t bytes = 0;

        for (size_t i = 0; i < now->count; i++)
                bytes += strcmp(now->rows[i].state, "revoked") == 0 ? now->rows[i].length : 0;
        return bytes;
}

static uint64_t revoke_left(const struct change *ch, const struct residency_rows *now) {
        return ch->target.size - revoked(now);
}

static uint64_t unrevoke_left(const struct change *ch, const struct residency_rows *now) {
        return revoked(now);
}

static void revoke_words(struct ctl *c, struct change *ch) {
        ch->name = "revoke";
        ch->done = "Revoked";
        ch->would = "Would revoke";
        ch->doing = "revoking";
        ch->question = "Take away from everyone";
        ch->after = ctl_text(c, "Nobody may use it until 'svmd-ctl revoke --off %s'; its content is kept",
                             target_word(c, &ch->target));
        ch->start = revoke_start;
        ch->left = revoke_left;
}

static void unrevoke_words(struct change *ch) {
        ch->name = "unrevoke";
        ch->done = "Gave back";
        ch->would = "Would give back";
        ch->doing = "giving back";
        ch->after = "Everyone who has it open may use it again";
        ch->start = unrevoke_start;
        ch->left = unrevoke_left;
}

int revoke_run(struct ctl *c, const struct args *a) {
        struct change ch = { .tail = "" };
        int r = target_whole(c, a->words[0], &ch.target);

        if (r == EXIT_OK)
                r = ctl_result(c, rows_nodes(c, &ch.nodes));
        if (r != EXIT_OK)
                return r;
        if (a->value[OPT_OFF])
                unrevoke_words(&ch);
        else
                revoke_words(c, &ch);
        return change_run(c, a, &ch);
}
