#include <errno.h>
#include <inttypes.h>

#include "base/text.h"
#include "core/keeping.h"
#include "core/lease.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/session.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/lookup.h"

/*
 * Room that is held for later: a lease that is kept (op_keep.c) is claimed by its name, and memory goes back into the
 * lease that it may be made of again.
 *
 *      memory --fill--> lease --keep, session ends--> idle --claim--> lease --mem_create--> memory
 *
 * The bytes are somebody's charge all the while, so nobody comes in between. Claim links at once, and undoing it makes
 * the lease idle again; fill takes effect at commit, like all that gives something up.
 */

static int check_count(struct call *c) {
        unsigned n = 0;

        list_for_each (l, &c->session->leases)
                n++;
        return n < SVMD_LEASES_MAX
                       ? 0
                       : refuse(c, SVMD_STATUS_QUOTA, "this session has %d leases, which is the most; release some",
                                SVMD_LEASES_MAX);
}

/* ---- claim ---- */

static void claim_undo(struct tx *tx, struct change *c) {
        lease_orphan(c->a);
}

static void claim_commit(struct tx *tx, struct change *c) {
        keeping_used(((struct lease *)c->a)->keeping);
}

static const struct change_kind claim_change = { claim_undo, claim_commit };

static int find_claimed(struct call *c, const char *name, struct lease **ret) {
        const struct partition *p = c->session->partition;
        struct name *n = name_find(&p->lease_names, name);
        struct lease *l = n ? n->object : NULL;

        if (!l || l->releasing || (!l->session && l->keeping->removing))
                return refuse(c, SVMD_STATUS_NO_SUCH, "partition %s keeps no lease named %s; see svmd-ctl lease list",
                              p->name->text, name);
        if (!mode_allows(n->uid, n->gid, n->mode, &c->session->who, RIGHT_WRITE))
                return refuse(c, SVMD_STATUS_DENIED,
                              "lease %s belongs to uid %u, gid %u, mode %04o: uid %u may not claim it", name, n->uid,
                              n->gid, n->mode, c->session->who.uid);
        if (l->session == c->session)
                return refuse(c, SVMD_STATUS_TAKEN, "this session has lease %s already, as %" PRIu64, name,
                              l->object.id);
        if (l->session)
                return refuse(c, SVMD_STATUS_BUSY, "lease %s is session %" PRIu64 "'s (pid %u) until that ends", name,
                              l->session->object.id, l->session->pid);
        *ret = l;
        return 0;
}

/* Limits of the session's own. */
static int check_limits(struct call *c, const struct lease *l) {
        const struct admission_need *n = NULL;
        const struct account *over = lease_too_much_for(l, c->session, &n);
        char why[640];
        unsigned code;

        if (!over)
                return 0;
        code = say_over(c->svc, c->session, l->nodes[n - l->needs].node, n->bytes, over, why, sizeof(why));
        return refuse(c, code, "%s", why);
}

int op_lease_claim(struct call *c) {
        struct effect_lease_claim e;
        struct lease *l = NULL;
        int r = find_claimed(c, c->op->lease_claim->name, &l);

        if (r == 0)
                r = check_count(c);
        if (r != 0)
                return r;
        if (tx_room(c->tx, 1) < 0 || lease_accounts(&c->svc->state, c->session) < 0)
                return -ENOMEM;
        r = check_limits(c, l);
        if (r != 0)
                return r;
        lease_adopt(l, c->session);
        tx_push(c->tx, &claim_change, l, NULL);
        e = (struct effect_lease_claim){ .lease = l->object.id, .session = c->session->object.id };
        tx_effect(c->tx, EFFECT_LEASE_CLAIM, &e, sizeof(e));
        c->result->id = l->object.id;
        return 0;
}

/* ---- fill: memory is released into a lease ---- */

/* Nobody else has it, and it lies where the lease has its bytes. */
static int check_whole(struct call *c, const struct memory *m, const struct holding *h) {
        uint64_t id = m->object.id;

        if (m->registered || m->file->kind == FILE_DMABUF)
                return refuse(
                        c, SVMD_STATUS_UNSUPPORTED,
                        "memory %" PRIu64 " is not svmd's own, so releasing it leaves no room; release it plainly", id);
        if (h != &m->creator || m->partition != c->session->partition)
                return refuse(c, SVMD_STATUS_DENIED, "only the session that created memory %" PRIu64 " has its room",
                              id);
        if (m->keeping || m->holdings.next->next != &m->holdings || m->backing.count > 0)
                return refuse(c, SVMD_STATUS_BUSY, "memory %" PRIu64 " does not end with this: %s", id,
                              m->keeping             ? "it is kept; keep it no longer first"
                              : m->backing.count > 0 ? "mappings show it; unmap it first"
                                                     : "other sessions have imported it");
        if (m->file->node != m->node)
                return refuse(c, SVMD_STATUS_NO_ROOM,
                              "memory %" PRIu64
                              " has given way to others and lies on %s, so it has no room on %s; release "
                              "it plainly and ask for a lease",
                              id, node_desc(c->svc, m->file->node)->name, node_desc(c->svc, m->node)->name);
        return 0;
}

static int check_growth(struct call *c, const struct lease *l, const struct memory *m) {
        const struct partition *p = l->partition;
        uint64_t more = lease_growth(l, m->node, m->size);
        char kept[24], max[24], size[24];

        if (!lease_has_node(l, m->node) && l->admission.count >= SVMD_LEASE_NEEDS_MAX)
                return refuse(c, SVMD_STATUS_QUOTA, "lease %" PRIu64 " is of %d nodes, which is the most", l->object.id,
                              SVMD_LEASE_NEEDS_MAX);
        if (!l->keeping || (p->kept_bytes <= p->kept_max && more <= p->kept_max - p->kept_bytes))
                return 0;
        text_bytes(kept, sizeof(kept), p->kept_bytes);
        text_bytes(max, sizeof(max), p->kept_max);
        text_bytes(size, sizeof(size), more);
        return refuse(c, SVMD_STATUS_LIMIT,
                      "lease %s is kept, and with %s more partition %s would keep more than %s (it keeps %s); remove "
                      "something (svmd-ctl kept list) or ask for a higher limit (svmd-ctl partition set %s --kept-max "
                      "SIZE)",
                      l->name->text, size, p->name->text, max, kept, p->name->text);
}

static void made_undo(struct tx *tx, struct change *c) {
        lease_end(tx->svc, c->a);
}

static const struct change_kind made_change = { made_undo, NULL };

static void node_undo(struct tx *tx, struct change *c) {
        lease_drop_node(c->a);
}

static const struct change_kind node_change = { node_undo, NULL };

static struct lease_need *need_of(struct lease *l, uint32_t node) {
        struct lease_need *n = l->nodes;

        while (n->node != node)
                n++;
        return n;
}

static void fill_undo(struct tx *tx, struct change *c) {
        struct holding *h = c->a;

        h->releasing = false;
        need_of(c->b, h->memory->node)->filling -= h->memory->size;
}

static void fill_commit(struct tx *tx, struct change *c) {
        struct holding *h = c->a;
        struct lease *l = c->b;

        need_of(l, h->memory->node)->filling -= h->memory->size;
        h->memory->lease = l->object.id;
        holding_end(tx->svc, h);
}

static const struct change_kind fill_change = { fill_undo, fill_commit };

/* One that has nothing yet. */
static int make_lease(struct call *c, const struct memory *m, struct lease **ret) {
        struct lease_need need = { .node = m->node, .asked = m->size };
        uint64_t effect[LEASE_EFFECT_MAX / 8];
        struct state *s = &c->svc->state;
        struct lease *l;
        int r = check_count(c);

        if (r != 0)
                return r;
        if (ids_reserve(&s->ids, 1) < 0 ||
            !(l = lease_new(s, state_take_id(s), c->session->partition, c->session, &need, 1)))
                return -ENOMEM;
        l->state = LEASE_GRANTED;
        l->needs[0].bytes = 0;
        charge_force(&l->needs[0].charge, l->needs[0].account, 0);
        tx_push(c->tx, &made_change, l, NULL);
        tx_effect(c->tx, EFFECT_LEASE, effect, lease_effect(l, effect));
        *ret = l;
        return 0;
}

static int get_lease(struct call *c, const struct memory *m, struct lease **ret) {
        uint64_t id = c->op->lease_fill->lease;
        struct lease *l;
        int r = id ? find_lease(c, id, &l) : make_lease(c, m, &l);

        if (r == 0)
                r = check_growth(c, l, m);
        if (r != 0)
                return r;
        if (!lease_has_node(l, m->node)) {
                if (lease_add_node(l, m->node) < 0)
                        return -ENOMEM;
                tx_push(c->tx, &node_change, l, NULL);
        }
        *ret = l;
        return 0;
}

int op_lease_fill(struct call *c) {
        const Svmd__V1__LeaseFill *op = c->op->lease_fill;
        struct effect_lease_use fill;
        struct effect_hold release;
        struct holding *h;
        struct memory *m;
        struct lease *l;
        int r = find_memory(c, op->memory, &m, &h);

        if (r == 0)
                r = check_whole(c, m, h);
        if (r != 0)
                return r;
        if (tx_room(c->tx, 3) < 0)
                return -ENOMEM;
        r = get_lease(c, m, &l);
        if (r != 0)
                return r;
        h->releasing = true;
        need_of(l, m->node)->filling += m->size;
        tx_push(c->tx, &fill_change, h, l);
        release = (struct effect_hold){ .memory = m->object.id, .session = c->session->object.id };
        fill = (struct effect_lease_use){ .lease = l->object.id, .node = m->node, .bytes = m->size };
        tx_effect(c->tx, EFFECT_RELEASE, &release, sizeof(release));
        tx_effect(c->tx, EFFECT_LEASE_FILL, &fill, sizeof(fill));
        c->result->id = l->object.id;
        c->result->size = m->size;
        return 0;
}
