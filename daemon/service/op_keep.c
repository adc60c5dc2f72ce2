#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "core/keeping.h"
#include "core/lease.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/lookup.h"

/*
 * Asking that a named object outlives its sessions, and taking that back. A lease gets its name here.
 *
 * Keep puts a new struct keeping in the place of the old one (either may be none): committing frees the old one,
 * undoing the new one. KeptRemove takes effect at commit, like all that gives something up.
 */

/* ---- keep ---- */

struct subject {
        struct kept of;
        const struct name *name;
        struct keeping *keeping;
        uint64_t size;
        bool owner;
        unsigned access;
};

static int find_kept_reservation(struct call *c, uint64_t id, struct subject *ret) {
        struct reservation *r;
        int k = find_reservation(c, id, &r);

        if (k != 0)
                return k;
        if (!managed_of(r))
                return refuse(c, SVMD_STATUS_INVALID,
                              "the reservation at 0x%" PRIx64
                              " is explicit and goes with its sessions: keep the memory "
                              "that it shows, exported by name, and map it anew",
                              r->va.start);
        *ret = (struct subject){
                .of = { .reservation = r },
                .name = r->shared ? r->shared->name : NULL,
                .keeping = r->shared ? r->shared->keeping : NULL,
                .size = r->va.size,
                .owner = r->owner == c->session,
                .access = reservation_access(r, c->session),
        };
        if (!ret->name)
                return refuse(c, SVMD_STATUS_INVALID,
                              "the reservation at 0x%" PRIx64 " has no name, by which others could open it later: "
                              "reserve it with a name to keep it",
                              r->va.start);
        return 0;
}

static int find_kept_memory(struct call *c, uint64_t id, struct subject *ret) {
        struct holding *h;
        struct memory *m;
        int k = find_memory(c, id, &m, &h);

        if (k != 0)
                return k;
        if (!m->name)
                return refuse(c, SVMD_STATUS_INVALID,
                              "memory %" PRIu64
                              " has no name, by which others could import it later: export it by name "
                              "to keep it",
                              id);
        *ret = (struct subject){
                .of = { .memory = m },
                .name = m->name,
                .keeping = m->keeping,
                .size = m->size,
                .owner = h == &m->creator,
                .access = h->access,
        };
        return 0;
}

static int check_lease_name(struct call *c, const struct lease *l) {
        const Svmd__V1__Keep *op = c->op->keep;

        if (l->name && (op->name[0] == 0 || strcmp(op->name, l->name->text) == 0))
                return 0;
        if (l->name)
                return refuse(c, SVMD_STATUS_TAKEN, "lease %" PRIu64 " is named %s already", op->lease, l->name->text);
        if (op->off)
                return refuse(c, SVMD_STATUS_INVALID, "lease %" PRIu64 " is not kept", op->lease);
        if (!name_ok(op->name))
                return refuse(c, SVMD_STATUS_NAME,
                              "a lease is kept by a name, of 1 to 63 letters, digits and . _ : - that begins with a "
                              "letter or digit");
        if (op->mode > 0777)
                return refuse(c, SVMD_STATUS_INVALID, "mode %o is not one of a file", op->mode);
        if (name_find(&l->partition->lease_names, op->name))
                return refuse(c, SVMD_STATUS_TAKEN, "partition %s has a lease named %s already",
                              l->partition->name->text, op->name);
        return 0;
}

static int find_kept_lease(struct call *c, uint64_t id, struct subject *ret) {
        struct lease *l;
        int k = find_lease(c, id, &l);

        if (k == 0)
                k = check_lease_name(c, l);
        if (k != 0)
                return k;
        *ret = (struct subject){
                .of = { .lease = l },
                .name = l->name,
                .keeping = l->keeping,
                .size = lease_size(l),
                .owner = true,
        };
        return 0;
}

static int find_subject(struct call *c, struct subject *ret) {
        const Svmd__V1__Keep *op = c->op->keep;
        const struct session *s = c->session;
        int r;

        if ((op->reservation != 0) + (op->memory != 0) + (op->lease != 0) != 1)
                return refuse(c, SVMD_STATUS_INVALID, "keep is about one reservation, one memory or one lease");
        if (!op->lease && (op->name[0] || op->mode))
                return refuse(
                        c, SVMD_STATUS_INVALID,
                        "only a lease is named when it is kept: reservations and memory have their names already");
        r = op->reservation ? find_kept_reservation(c, op->reservation, ret)
            : op->memory    ? find_kept_memory(c, op->memory, ret)
                            : find_kept_lease(c, op->lease, ret);
        if (r != 0)
                return r;
        if (ret->of.memory && ret->of.memory->partition != s->partition)
                return refuse(c, SVMD_STATUS_DENIED, "%s is memory of another partition", ret->name->text);
        if (ret->keeping && ret->keeping->removing)
                return refuse(c, SVMD_STATUS_BUSY, "%s is removed by this same request", ret->name->text);
        if (!ret->owner && (ret->name->uid != s->who.uid || !(ret->access & RIGHT_WRITE)))
                return refuse(c, SVMD_STATUS_DENIED,
                              "%s belongs to uid %u: its owner's session decides whether it is kept, or a session of "
                              "that user that may write it",
                              ret->name->text, ret->name->uid);
        return 0;
}

static int check_room(struct call *c, const struct subject *x) {
        const struct partition *p = c->session->partition;
        char size[24], kept[24], max[24];

        if (x->keeping)
                return 0;
        if (x->size > p->kept_max || p->kept_bytes > p->kept_max - x->size) {
                text_bytes(size, sizeof(size), x->size);
                text_bytes(kept, sizeof(kept), p->kept_bytes);
                text_bytes(max, sizeof(max), p->kept_max);
                return refuse(
                        c, SVMD_STATUS_LIMIT,
                        "partition %s may keep %s and keeps %s, so %s more is too much; remove something (svmd-ctl "
                        "kept list) or ask for a higher limit (svmd-ctl partition set %s --kept-max SIZE)",
                        p->name->text, max, kept, size, p->name->text);
        }
        if (p->kept_count >= SVMD_KEPT_MAX)
                return refuse(c, SVMD_STATUS_QUOTA, "partition %s keeps %d objects, which is the most; remove some",
                              p->name->text, SVMD_KEPT_MAX);
        return 0;
}

static void name_undo(struct tx *tx, struct change *c) {
        lease_drop_name(c->a);
}

static const struct change_kind name_change = { name_undo, NULL };

static int name_lease(struct call *c, struct lease *l) {
        const Svmd__V1__Keep *op = c->op->keep;
        struct effect_lease_name e;
        char bytes[sizeof(e) + SVMD_NAME_MAX + 1];

        if (lease_set_name(l, op->name, c->session->who.uid, c->session->who.gid, op->mode ? op->mode : 0600) < 0)
                return -ENOMEM;
        tx_push(c->tx, &name_change, l, NULL);
        e = effect_of_lease_name(l);
        memcpy(bytes, &e, sizeof(e));
        memcpy(bytes + sizeof(e), op->name, strlen(op->name) + 1);
        tx_effect(c->tx, EFFECT_LEASE_NAME, bytes, sizeof(e) + strlen(op->name) + 1);
        return 0;
}

static void keep_undo(struct tx *tx, struct change *c) {
        keeping_drop(c->b);
        if (c->a)
                keeping_link(c->a);
}

static void keep_commit(struct tx *tx, struct change *c) {
        keeping_free(c->a);
}

static const struct change_kind keep_change = { keep_undo, keep_commit };

static void keep_swap(struct call *c, struct keeping *old, struct keeping *new) {
        struct effect_keep e = effect_of_keeping(new ? new : old);

        e.off = !new;
        if (old)
                keeping_unlink(old);
        if (new)
                keeping_link(new);
        tx_push(c->tx, &keep_change, old, new);
        tx_effect(c->tx, EFFECT_KEEP, &e, sizeof(e));
}

int op_keep(struct call *c) {
        const Svmd__V1__Keep *op = c->op->keep;
        struct keeping *new = NULL;
        struct subject x = { 0 };
        int r = find_subject(c, &x);

        if (r == 0 && op->seconds > UINT32_MAX)
                r = refuse(c, SVMD_STATUS_INVALID, "%" PRIu64 " s is more than 2^32-1; 0 is without an end",
                           op->seconds);
        if (r == 0 && !op->off)
                r = check_room(c, &x);
        if (r != 0)
                return r;
        c->result->size = x.size;
        if (op->off && !x.keeping)
                return 0;
        if (tx_room(c->tx, 2) < 0 || (!op->off && !(new = keeping_new(&x.of, op->seconds))))
                return -ENOMEM;
        if (!x.name && (r = name_lease(c, x.of.lease)) < 0) {
                keeping_free(new);
                return r;
        }
        keep_swap(c, x.keeping, new);
        return 0;
}

/* ---- remove ---- */

static void remove_undo(struct tx *tx, struct change *c) {
        struct keeping *k = c->a;

        k->removing = false;
}

static void remove_commit(struct tx *tx, struct change *c) {
        struct keeping *k = c->a;
        const struct name *n = keeping_name(k);

        event_monitor(tx->svc, "kept-removed", c->b, keeping_partition(k)->name->text,
                      keeping_idle(k) ? "%s of uid %u was removed and has ended"
                                      : "%s of uid %u is not kept any more, and ends with its last session",
                      n->text, n->uid);
        keeping_end(tx->svc, k);
}

static const struct change_kind remove_change = { remove_undo, remove_commit };

static const char *const kind_names[] = {
        [KEEPING_RESERVATION] = "reservation",
        [KEEPING_MEMORY] = "memory",
        [KEEPING_LEASE] = "lease",
};

/* Another operation of this request has ended the object already. */
static bool is_going(const struct keeping *k) {
        return (k->of.reservation && k->of.reservation->freeing) || (k->of.lease && k->of.lease->releasing);
}

int op_kept_remove(struct call *c) {
        const Svmd__V1__KeptRemove *op = c->op->kept_remove;
        struct keeping *k;
        struct partition *p;
        struct effect_keep e;
        int r = call_partition(c, op->partition, &p);

        if (r != 0)
                return r;
        if (op->kind < SVMD__V1__KEPT_KIND__KEPT_RESERVATION || op->kind > SVMD__V1__KEPT_KIND__KEPT_LEASE)
                return refuse(c, SVMD_STATUS_INVALID,
                              "what is kept is a reservation (1), memory (2) or a lease (3), not %d", (int)op->kind);
        k = keeping_find(p, (enum keeping_kind)op->kind, op->name);
        if (!k || k->removing || is_going(k))
                return refuse(c, SVMD_STATUS_NO_SUCH, "partition %s keeps no %s named %s; see svmd-ctl kept list",
                              p->name->text, kind_names[op->kind], op->name);
        if (!c->session->admin && keeping_name(k)->uid != c->session->who.uid)
                return refuse(c, SVMD_STATUS_DENIED, "%s belongs to uid %u: that user or an administrator removes it",
                              op->name, keeping_name(k)->uid);
        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        k->removing = true;
        tx_push(c->tx, &remove_change, k, c->session);
        e = effect_of_keeping(k);
        e.off = 1;
        tx_effect(c->tx, EFFECT_KEEP, &e, sizeof(e));
        c->result->id = keeping_object(k);
        c->result->size = keeping_size(k);
        c->result->value = keeping_users(k);
        return 0;
}

/* ---- list ---- */

#define ROWS       32 /* rows carry a list of their own */
#define ROWS_BYTES (64u << 10)

static uint64_t bytes_on(struct call *c, const struct keeping *k, uint32_t node) {
        const struct managed_reservation *m = k->of.reservation ? managed_of(k->of.reservation) : NULL;

        if (m)
                return node < c->svc->managed.nodes_count ? mover_range_used(c->svc->mover, m->range, node) : 0;
        if (k->of.lease)
                return lease_left(k->of.lease, node);
        return k->of.memory->file->node == node ? k->of.memory->size : 0;
}

static int fill_nodes(struct call *c, const struct keeping *k, Svmd__V1__Kept *row) {
        uint32_t count = c->svc->options.machine->count;

        row->nodes = call_take(c, count * sizeof(*row->nodes));
        if (!row->nodes)
                return -ENOMEM;
        for (uint32_t i = 0; i < count; i++) {
                uint64_t bytes = bytes_on(c, k, i);
                Svmd__V1__NodeUse *use;

                if (bytes == 0)
                        continue;
                use = call_take(c, sizeof(*use));
                if (!use)
                        return -ENOMEM;
                svmd__v1__node_use__init(use);
                use->node = i;
                use->used = bytes;
                row->nodes[row->n_nodes++] = use;
        }
        return 0;
}

static Svmd__V1__Kept *kept_row(struct call *c, const struct keeping *k) {
        Svmd__V1__Kept *row = call_take(c, sizeof(*row));
        const struct name *n = keeping_name(k);

        if (!row)
                return NULL;
        svmd__v1__kept__init(row);
        row->name = call_string(c, n->text);
        row->kind = (Svmd__V1__KeptKind)keeping_kind(k);
        row->id = keeping_object(k);
        row->address = k->of.reservation ? k->of.reservation->va.start : 0;
        row->size = keeping_size(k);
        row->uid = n->uid;
        row->gid = n->gid;
        row->mode = n->mode;
        row->seconds = k->seconds;
        row->idle_ms = keeping_idle_ms(c->svc, k);
        row->left_ms = keeping_left_ms(c->svc, k);
        row->users = keeping_users(k);
        row->partition = call_string(c, keeping_partition(k)->name->text);
        return fill_nodes(c, k, row) == 0 ? row : NULL;
}

int op_kept_list(struct call *c) {
        const Svmd__V1__KeptList *op = c->op->kept_list;
        Svmd__V1__KeptResult *result = call_take(c, sizeof(*result));
        const struct keeping *k;
        struct partition *p;
        size_t bytes = 0;
        int r = call_partition(c, op->partition, &p);

        if (r != 0)
                return r;
        if (!result)
                return -ENOMEM;
        svmd__v1__kept_result__init(result);
        result->kept = call_take(c, ROWS * sizeof(*result->kept));
        if (!result->kept)
                return -ENOMEM;
        for (k = keeping_after(p, (enum keeping_kind)op->after_kind, op->after);
             k && result->n_kept < ROWS && bytes <= ROWS_BYTES;
             k = keeping_after(p, keeping_kind(k), keeping_name(k)->text)) {
                result->kept[result->n_kept] = kept_row(c, k);
                if (!result->kept[result->n_kept])
                        return -ENOMEM;
                bytes += svmd__v1__kept__get_packed_size(result->kept[result->n_kept++]);
        }
        c->result->more = k != NULL;
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_KEPT;
        c->result->kept = result;
        return 0;
}
