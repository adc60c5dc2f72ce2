#include "service/internal.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/capacity.h"
#include "service/range.h"

/* Partitions beside their requests: limits, the row that the store keeps, and their coming and going. */

int partition_set_bounds(struct service *svc, struct partition *p, uint32_t node, const struct bounds *b) {
        struct account *a = &p->accounts[node];
        bool limited = a->max != ACCOUNT_NO_LIMIT;

        if (account_set_bounds(a, b) != 0)
                return LEDGER_E_LIMIT;
        svc->state.nodes[node].limited += (a->max != ACCOUNT_NO_LIMIT) - (uint64_t)limited;
        leases_changed(svc);
        managed_share_promised(svc, p);
        capacity_changed(svc, p, node);
        return 0;
}

static void set_max(struct service *svc, struct partition *p, uint32_t node, uint64_t max) {
        struct bounds b = BOUNDS_NONE;

        b.bytes[BOUND_MAX] = max;
        (void)partition_set_bounds(svc, p, node, &b);
}

void partition_default_limits(struct service *svc, struct partition *p) {
        const struct machine *m = svc->options.machine;

        for (uint32_t pass = 0; pass < 2; pass++) {
                for (uint32_t i = 0; i < svc->options.default_limits_count; i++) {
                        const struct service_default_limit *d = &svc->options.default_limits[i];
                        bool all = strcmp(d->node, "*") == 0;

                        for (uint32_t n = 0; n < m->count; n++)
                                if (pass == 0 ? all : strcmp(d->node, m->nodes[n].name) == 0)
                                        set_max(svc, p, n, d->max);
                }
        }
}

struct bounds limit_bounds(const struct store_limit *l) {
        return (struct bounds){ { l->max, l->high, l->low, l->min } };
}

void limit_from_bounds(struct store_limit *l, const struct bounds *b) {
        l->max = b->bytes[BOUND_MAX];
        l->high = b->bytes[BOUND_HIGH];
        l->low = b->bytes[BOUND_LOW];
        l->min = b->bytes[BOUND_MIN];
}

struct store_partition *partition_row(const struct service *svc, const struct partition *p) {
        const struct machine *m = svc->options.machine;
        struct store_partition *row = alloc_zero(sizeof(*row));

        if (!row)
                return NULL;
        row->limits = alloc_array(m->count ? m->count : 1, sizeof(*row->limits));
        if (!row->limits) {
                alloc_free(row);
                return NULL;
        }
        text_copy(row->name, p->name->text);
        text_copy(row->domain, p->domain->name->text);
        row->window = p->window;
        row->base = p->slice.start;
        row->size = p->slice.size;
        row->uid = p->name->uid;
        row->gid = p->name->gid;
        row->mode = p->name->mode;
        row->kept_max = p->kept_max;
        text_copy(row->holder, p->holder);
        for (uint32_t i = 0; i < m->count; i++) {
                const struct bounds b = account_bounds(&p->accounts[i]);

                if (bounds_are_none(&b))
                        continue;
                text_copy(row->limits[row->limits_count].node, m->nodes[i].name);
                limit_from_bounds(&row->limits[row->limits_count++], &b);
        }
        return row;
}

void partition_row_free(struct store_partition *row) {
        if (row)
                alloc_free(row->limits);
        alloc_free(row);
}

int partition_bring_up(struct service *svc, struct partition *p) {
        int r;

        partition_link(&svc->state, p);
        p->ready = true;
        r = svc->hooks.partition_up(svc->hooks.userdata, p);
        if (r < 0) {
                p->ready = false;
                partition_unlink(&svc->state, p);
        }
        return r;
}

/* Who came through its socket since and has not attached goes with it. */
void partition_take_down(struct service *svc, struct partition *p) {
        list_for_each_safe (l, &svc->state.sessions) {
                struct session *s = container_of(l, struct session, by_state);

                if (s->door != p)
                        continue;
                s->door = NULL; /* it may live until a job has ended */
                service_session_kick(svc, s, SVMD_STATUS_GONE, "an administrator deleted the partition");
        }
        svc->hooks.partition_down(svc->hooks.userdata, p);
        svc->orphans -= p->orphan != ORPHAN_NONE;
        managed_share_free(svc, p);
        accounts_partition_end(svc, p);
        give_backs_free(LIMITED_PARTITION(p));
        partition_free(&svc->state, p);
}

const char *partition_name(const struct partition *p) {
        return p->name->text;
}

const char *partition_holder(const struct partition *p) {
        return p->holder;
}

void *partition_listener(const struct partition *p) {
        return p->listener;
}

void partition_set_listener(struct partition *p, void *listener) {
        p->listener = listener;
}

int service_each_partition(struct service *svc, int (*fn)(void *userdata, struct partition *p), void *userdata) {
        for (struct partition *p = partition_after(&svc->state, ""); p;
             p = partition_after(&svc->state, p->name->text)) {
                int r = fn(userdata, p);

                if (r != 0)
                        return r;
        }
        return 0;
}

uint64_t service_partitions(const struct service *svc) {
        return svc->state.partitions_count;
}
