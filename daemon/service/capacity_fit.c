#include <stdio.h>

#include "base/text.h"
#include "core/cgroup.h"
#include "core/lease.h"
#include "core/ledger.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "policy/share.h"
#include "service/capacity.h"
#include "service/internal.h"
#include "service/range.h"

/*
 * Whether what managed ranges were promised by their sizes has a place still when something is promised, or charged,
 * beside them: policy/share.h says how, here it is told what there is. Only partitions that have a min somewhere are
 * looked at one by one.
 */

/* What would be different from what is. */
struct outlook {
        struct partition *partition;
        struct session *session;   /* that is charged, or NULL */
        uint64_t sizes;            /* more of managed ranges */
        const struct lease *lease; /* charged on its nodes, or NULL */
        const uint64_t *mins;      /* a min for each node instead of its own, or NULL */
};

struct sums {
        uint64_t could;    /* what managed ranges can have */
        uint64_t kept;     /* for moves, out of that */
        uint64_t promised; /* to partitions, and not used by explicit memory: out of that */
        uint64_t explicit; /* what explicit memory has */
};

static void add(uint64_t *sum, uint64_t n) {
        *sum = n > UINT64_MAX - *sum ? UINT64_MAX : *sum + n;
}

static uint64_t charged(const struct outlook *c, uint32_t node) {
        for (uint32_t i = 0; c->lease && i < c->lease->admission.count; i++)
                if (c->lease->nodes[i].node == node)
                        return c->lease->needs[i].bytes;
        return 0;
}

static uint64_t unused(const struct outlook *c, const struct partition *p, uint32_t node) {
        const struct account *a = &p->accounts[node];

        if (p != c->partition)
                return account_unused(a);
        return policy_less(c->mins ? c->mins[node] : a->min, a->used + charged(c, node));
}

/* Of all nodes that take something. */
static struct sums sum_nodes(struct service *svc, const struct outlook *c, struct policy_fit *f) {
        struct sums s = { 0 };

        for (uint32_t i = 0; i < svc->managed.nodes_count; i++) {
                const struct account *all = &svc->state.nodes[i].account;
                uint64_t used = all->used + charged(c, i), left = policy_less(node_desc(svc, i)->capacity, used);
                uint64_t held = all->held - account_unused(&c->partition->accounts[i]) + unused(c, c->partition, i);
                struct managed_node_info info;

                mover_node_info(svc->mover, i, &info);
                add(&s.explicit, all->used);
                if (!info.online)
                        continue;
                add(&s.kept, info.reserve < left ? info.reserve : left);
                add(&s.promised, held);
                policy_fit_node(f, policy_less(left, info.reserve), held);
        }
        s.could = f->free;
        return s;
}

/* What of its sizes its mins hold. */
static uint64_t held(struct service *svc, const struct outlook *c, const struct partition *p) {
        uint64_t sum = 0;

        for (uint32_t i = 0; i < svc->managed.nodes_count; i++)
                if (!svc->state.nodes[i].offline)
                        add(&sum, policy_min_holds(unused(c, p, i), GRANULE_HUGE));
        return sum;
}

static void sum_sizes(struct service *svc, const struct outlook *c, struct policy_fit *f) {
        const struct managed_share *own = c->partition->managed;
        uint64_t size = (own ? own->bytes : 0) + c->sizes, others = svc->managed.bytes - (own ? own->bytes : 0);

        policy_fit_sizes(f, size, held(svc, c, c->partition));
        list_for_each (l, &svc->managed.promised) {
                const struct managed_share *share = container_of(l, struct managed_share, promised);

                if (share == own)
                        continue;
                others -= share->bytes;
                policy_fit_sizes(f, share->bytes, held(svc, c, share->partition));
        }
        policy_fit_sizes(f, others, 0);
}

static struct sums sum_limits(const struct service *svc, const struct outlook *c) {
        struct sums s = { 0 };

        for (uint32_t i = 0; i < svc->managed.nodes_count; i++) {
                const struct account *a = &c->partition->accounts[i];

                add(&s.explicit, a->used);
                add(&s.could, a->max == ACCOUNT_NO_LIMIT ? UINT64_MAX : policy_less(a->max, a->used + charged(c, i)));
        }
        return s;
}

/* ---- limits of the session, and of its control groups ---- */

static uint64_t could(struct limited of, const struct outlook *c, uint32_t node) {
        const struct account *a = limited_account(of, node);

        return !a || a->max == ACCOUNT_NO_LIMIT ? UINT64_MAX : policy_less(a->max, a->used + charged(c, node));
}

/* Sizes of what sessions have reserved that are charged there. */
static uint64_t sizes_of(const struct service *svc, struct limited of) {
        uint64_t sum = 0;

        for (struct session *s = NULL; (s = limited_session_after(svc, of, s));)
                list_for_each (l, &s->reservations) {
                        const struct reservation *r = container_of(l, struct reservation, by_owner);

                        if (managed_of(r))
                                add(&sum, r->va.size);
                }
        return sum;
}

/* True: what is, or would be, reserved there has a place in what could be there. */
static bool has_place(const struct service *svc, const struct outlook *c, struct limited of, uint64_t could_be,
                      uint64_t *ret_sizes) {
        if (could_be == UINT64_MAX)
                return true;
        *ret_sizes = sizes_of(svc, of);
        add(ret_sizes, c->sizes);
        return *ret_sizes <= could_be;
}

static bool fits_within(const struct service *svc, const struct outlook *c, struct limited of, struct sums *ret,
                        uint64_t *ret_sizes) {
        struct sums s = { 0 };

        for (uint32_t i = 0; i < svc->managed.nodes_count; i++) {
                const struct account *a = limited_account(of, i);

                add(&s.could, could(of, c, i));
                add(&s.explicit, a ? a->used : 0);
        }
        *ret = s;
        return has_place(svc, c, of, s.could, ret_sizes);
}

static uint64_t smaller(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

/* What has to be within all limits together: where one forbids a node, another one's room there is nothing. */
static bool fits_all(const struct service *svc, const struct outlook *c, struct sums *ret, uint64_t *ret_sizes) {
        struct session *owner = c->session;
        struct sums s = { 0 };

        for (uint32_t i = 0; i < svc->managed.nodes_count; i++) {
                uint64_t least =
                        smaller(could(LIMITED_PARTITION(c->partition), c, i), could(LIMITED_SESSION(owner), c, i));

                for (struct cgroup *g = owner->cgroup; g; g = g->outer)
                        least = smaller(least, could(LIMITED_CGROUP(g), c, i));
                add(&s.could, least);
                add(&s.explicit, session_used(owner, i));
        }
        *ret = s;
        return has_place(svc, c, LIMITED_SESSION(owner), s.could, ret_sizes);
}

/* `*ret` is whose limits are too low. */
static bool fits_limits(const struct service *svc, const struct outlook *c, struct limited *ret, struct sums *ret_sums,
                        uint64_t *ret_sizes) {
        struct session *s = c->session;

        if (!s)
                return true;
        for (struct cgroup *g = s->cgroup; g; g = g->outer) {
                *ret = LIMITED_CGROUP(g);
                if (!fits_within(svc, c, *ret, ret_sums, ret_sizes))
                        return false;
        }
        *ret = LIMITED_SESSION(s);
        return fits_all(svc, c, ret_sums, ret_sizes);
}

static unsigned say(unsigned code, char *why, size_t why_size, const char *what, const struct sums *s,
                    uint64_t managed) {
        char could[24], kept[24], explicit[24], sizes[24], promised[24], mins[64] = "";

        text_bytes(could, sizeof(could), s->could);
        text_bytes(kept, sizeof(kept), s->kept);
        text_bytes(explicit, sizeof(explicit), s->explicit);
        text_bytes(sizes, sizeof(sizes), managed);
        text_bytes(promised, sizeof(promised), s->promised);
        if (s->promised)
                snprintf(mins, sizeof(mins), ", %s for the min of partitions", promised);
        snprintf(
                why, why_size,
                "%s %s for managed ranges beside %s of explicit memory (%s is kept for moves%s), and their sizes would "
                "be %s together: reserve less, free some, or use less explicit memory",
                what, could, explicit, kept, mins, sizes);
        return code;
}

static unsigned say_limited(struct limited of, const struct sums *s, uint64_t sizes, char *why, size_t why_size) {
        char name[LIMITED_NAME], what[LIMITED_NAME + 64];

        snprintf(what, sizeof(what), "%s may have%s", limited_name(of, name),
                 of.session ? ", within all limits that hold for it," : "");
        return say(SVMD_STATUS_LIMIT, why, why_size, what, s, sizes);
}

static unsigned admit(struct service *svc, struct partition *p, struct session *s, uint64_t more, char *why,
                      size_t why_size) {
        const struct managed_share *share = p->managed;
        const struct outlook c = { .partition = p, .session = s, .sizes = more };
        uint64_t all = svc->managed.bytes + more, own = (share ? share->bytes : 0) + more, sizes;
        struct policy_fit f = { 0 };
        struct sums nodes = sum_nodes(svc, &c, &f), limits = sum_limits(svc, &c), inner;
        struct limited of;
        char what[128];

        if (own > limits.could) {
                snprintf(what, sizeof(what), "partition %s may have", p->name->text);
                return say(SVMD_STATUS_LIMIT, why, why_size, what, &limits, own);
        }
        if (!fits_limits(svc, &c, &of, &inner, &sizes))
                return say_limited(of, &inner, sizes, why, why_size);
        sum_sizes(svc, &c, &f);
        if (!policy_fits(&f))
                return say(SVMD_STATUS_NO_ROOM, why, why_size, "all nodes together have", &nodes, all);
        return SVMD_STATUS_OK;
}

unsigned capacity_for_range(struct service *svc, struct session *s, uint64_t size, char *why, size_t why_size) {
        return admit(svc, s->partition, s, size, why, why_size);
}

unsigned capacity_for_memory(struct service *svc, struct partition *p, struct session *s, uint32_t node, char *why,
                             size_t why_size) {
        if (!capacity_is_shared(svc, node))
                return SVMD_STATUS_OK;
        return admit(svc, p, s, 0, why, why_size);
}

/* What is pinned lies on host nodes and stays there, whoever comes. */
static bool leaves_pinned(struct service *svc, const struct partition *p, uint64_t on_hosts) {
        const struct managed_share *share = p->managed;
        uint64_t all = 0, own = share ? mover_group_pinned(svc->mover, share->group) : 0, room = 0, limit = 0;

        for (uint32_t i = 0; i < svc->managed.nodes_count; i++) {
                const struct account *a = &p->accounts[i];
                struct managed_node_info info;

                if (node_desc(svc, i)->kind != NODE_HOST)
                        continue;
                mover_node_info(svc->mover, i, &info);
                all += info.pinned;
                add(&room, policy_less(node_desc(svc, i)->capacity, svc->state.nodes[i].account.used));
                add(&limit, a->max == ACCOUNT_NO_LIMIT ? UINT64_MAX : policy_less(a->max, a->used));
        }
        return policy_less(room, on_hosts) >= all && policy_less(limit, on_hosts) >= own;
}

bool capacity_for_lease(struct service *svc, const struct lease *l) {
        const struct outlook c = { .partition = l->partition, .session = l->session, .lease = l };
        const struct managed_share *share = l->partition->managed;
        struct policy_fit f = { 0 };
        uint64_t on_hosts = 0, sizes;
        struct limited of;
        struct sums inner;

        for (uint32_t i = 0; i < l->admission.count; i++)
                if (capacity_is_shared(svc, l->nodes[i].node) && node_desc(svc, l->nodes[i].node)->kind == NODE_HOST)
                        on_hosts += l->needs[i].bytes;
        if (on_hosts && !leaves_pinned(svc, l->partition, on_hosts))
                return false;
        if (!fits_limits(svc, &c, &of, &inner, &sizes))
                return false;
        sum_nodes(svc, &c, &f);
        sum_sizes(svc, &c, &f);
        return policy_fits(&f) && sum_limits(svc, &c).could >= (share ? share->bytes : 0);
}

bool capacity_for_mins(struct service *svc, struct partition *p, const uint64_t *mins) {
        const struct outlook c = { .partition = p, .mins = mins };
        struct policy_fit f = { 0 };

        if (!svc->mover || svc->managed.bytes == 0)
                return true;
        sum_nodes(svc, &c, &f);
        sum_sizes(svc, &c, &f);
        return policy_fits(&f);
}
