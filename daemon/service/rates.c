#include "service/rates.h"

#include <string.h>

#include "base/log.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/setting.h"
#include "service/internal.h"
#include "service/managed.h"

/*
 * What is said of how pages move: settings.h's rows, those of the configuration before those that administrators set. A
 * row that names something comes before every row that means all, and of equals the later one.
 */
static uint32_t rows_count(const struct service *svc) {
        return svc->options.settings_count + svc->settings.count;
}

static const struct setting *row_at(const struct service *svc, uint32_t i) {
        uint32_t configured = svc->options.settings_count;

        return i < configured ? &svc->options.settings[i] : &svc->settings.rows[i - configured].setting;
}

static bool is_all(const char *name) {
        return strcmp(name, "*") == 0;
}

static bool matches(const char *pattern, const char *name) {
        return is_all(pattern) || strcmp(pattern, name) == 0;
}

static bool of_link(const struct setting *s, const char *a, const char *b) {
        return s->kind == SETTING_LINK_RATE &&
               ((matches(s->name, a) && matches(s->other, b)) || (matches(s->name, b) && matches(s->other, a)));
}

/* How many of the link's nodes it names. */
static int named(const struct setting *s) {
        return !is_all(s->name) + (s->kind == SETTING_LINK_RATE && !is_all(s->other));
}

static const struct setting *of_partition(const struct service *svc, enum setting_kind kind, const char *name) {
        const struct setting *best = NULL;

        for (uint32_t i = 0; i < rows_count(svc); i++) {
                const struct setting *s = row_at(svc, i);

                if (s->kind == kind && matches(s->name, name) && (!best || named(s) >= named(best)))
                        best = s;
        }
        return best;
}

const struct policy_profile *rates_machine(const struct service *svc) {
        const struct setting *set = of_partition(svc, SETTING_POLICY, "");

        return set ? set->profile : svc->options.policy;
}

const struct policy_profile *rates_profile(const struct service *svc, const char *partition, uint64_t *ret_rate) {
        const struct setting *rate = of_partition(svc, SETTING_PARTITION_RATE, partition);
        const struct setting *policy = of_partition(svc, SETTING_PARTITION_POLICY, partition);

        *ret_rate = rate ? rate->rate : 0;
        return policy ? policy->profile : rates_machine(svc);
}

bool userfaultfd_allowed(const struct service *svc, const char *partition) {
        const struct setting *s = of_partition(svc, SETTING_PARTITION_UFFD, partition);

        return !s || s->on;
}

static uint64_t rate_between(const struct service *svc, uint32_t a, uint32_t b) {
        const struct setting *best = NULL;

        for (uint32_t i = 0; i < rows_count(svc); i++) {
                const struct setting *s = row_at(svc, i);

                if (of_link(s, node_desc(svc, a)->name, node_desc(svc, b)->name) && (!best || named(s) >= named(best)))
                        best = s;
        }
        return best ? best->rate : 0;
}

static bool is_node(const struct service *svc, const char *name) {
        return is_all(name) || machine_find(svc->options.machine, name);
}

void rates_warn(const struct service *svc) {
        for (uint32_t i = 0; i < svc->options.settings_count; i++) {
                const struct setting *s = &svc->options.settings[i];

                if (s->kind == SETTING_LINK_RATE && !(is_node(svc, s->name) && is_node(svc, s->other)))
                        log_warning("link-rate %s:%s names a node that there is not: svmd-ctl node list shows them",
                                    s->name, s->other);
        }
}

static int apply_to(void *userdata, struct partition *p) {
        struct service *svc = userdata;
        const struct managed_share *share = p->managed;
        const struct policy_profile *profile;
        uint64_t rate;

        if (!share)
                return 0;
        profile = rates_profile(svc, partition_name(p), &rate);
        mover_group_policy(svc->mover, share->group, profile, rate);
        return 0;
}

/* What may fail comes first. */
int rates_apply(struct service *svc) {
        int r = 0;

        if (!svc->mover)
                return 0;
        for (uint32_t i = 0; r == 0 && i < svc->managed.nodes_count; i++)
                for (uint32_t k = i + 1; r == 0 && k < svc->managed.nodes_count; k++)
                        r = mover_link_cap(svc->mover, i, k, rate_between(svc, i, k));
        if (r < 0)
                return r;
        mover_policy(svc->mover, rates_machine(svc));
        return service_each_partition(svc, apply_to, svc);
}
