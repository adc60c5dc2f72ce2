#include "service/bounds.h"

#include "base/text.h"
#include "core/node.h"
#include "service/internal.h"
#include "service/lookup.h"

static int check_one(struct call *c, const Svmd__V1__NodeLimit *l) {
        int r = find_node(c, l->node);

        if (r != 0)
                return r;
        if (node_backend(c->svc, l->node)->private_ops)
                return refuse(c, SVMD_STATUS_NODE_KIND,
                              "%s can have no limit: what its driver moves there is seen, not charged",
                              node_desc(c->svc, l->node)->name);
        if ((unsigned)l->bound >= BOUNDS)
                return refuse(c, SVMD_STATUS_INVALID, "a bound is max, high, low or min, not %u", (unsigned)l->bound);
        return 0;
}

int limits_check(struct call *c, Svmd__V1__NodeLimit **limits, size_t count) {
        int r = 0;

        for (size_t i = 0; i < count && r == 0; i++)
                r = check_one(c, limits[i]);
        return r;
}

/* No protection is asked for as no limit is. */
static uint64_t bytes_of(const Svmd__V1__NodeLimit *l) {
        bool protects = l->bound == SVMD__V1__BOUND__BOUND_LOW || l->bound == SVMD__V1__BOUND__BOUND_MIN;

        return protects && l->max == ACCOUNT_NO_LIMIT ? 0 : l->max;
}

bool limits_change(Svmd__V1__NodeLimit **limits, size_t count, uint32_t node, struct bounds *b) {
        bool changed = false;

        for (size_t i = 0; i < count; i++) {
                uint64_t *at = &b->bytes[limits[i]->bound];

                if (limits[i]->node != node)
                        continue;
                changed |= *at != bytes_of(limits[i]);
                *at = bytes_of(limits[i]);
        }
        return changed;
}

static int refuse_min(struct call *c, const struct account *a, uint32_t node, uint64_t min) {
        const struct account *in = a->within;
        char asked[24], all[24], others[24];

        text_bytes(asked, sizeof(asked), min);
        text_bytes(all, sizeof(all), in->max);
        text_bytes(others, sizeof(others), in->promised - a->min);
        return refuse(c, SVMD_STATUS_LIMIT,
                      "%s cannot be kept free on %s: of %s there, %s is promised to others; lower their min first "
                      "(svmd-ctl partition list --json)",
                      asked, node_desc(c->svc, node)->name, all, others);
}

static int fits(struct call *c, const struct account *a, uint32_t node, const struct bounds *b) {
        uint64_t min = b->bytes[BOUND_MIN], max = b->bytes[BOUND_MAX], others = a->within->promised - a->min;

        if (min > max)
                return refuse(c, SVMD_STATUS_INVALID, "on %s min would be more than max: what is kept free has to fit",
                              node_desc(c->svc, node)->name);
        if (min > a->min && (others > a->within->max || min > a->within->max - others))
                return refuse_min(c, a, node, min);
        return 0;
}

int limits_fit(struct call *c, const struct account *accounts, Svmd__V1__NodeLimit **limits, size_t count,
               bool *ret_promises) {
        bool promises = false;

        for (size_t i = 0; i < count; i++) {
                uint32_t node = limits[i]->node;
                struct bounds b = account_bounds(&accounts[node]);
                int r;

                limits_change(limits, count, node, &b);
                r = fits(c, &accounts[node], node, &b);
                if (r != 0)
                        return r;
                promises |= b.bytes[BOUND_MIN] > accounts[node].min;
        }
        *ret_promises = promises;
        return 0;
}

bool limits_ask(Svmd__V1__NodeLimit **limits, size_t count, bool come_down) {
        for (size_t i = 0; i < count; i++)
                come_down |= limits[i]->bound == SVMD__V1__BOUND__BOUND_HIGH;
        return come_down;
}

uint64_t limits_patience_ms(uint64_t asked) {
        const uint64_t day = 86400ull * 1000;

        return asked < day ? asked : day;
}
