#include <errno.h>
#include <inttypes.h>

#include "base/alloc.h"
#include "core/by_id.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/share.h"
#include "service/effects.h"
#include "service/internal.h"
#include "service/lookup.h"
#include "service/pages.h"

/*
 * What one partition shares with another: named reservations and named memory.
 *
 * A share is set in the place of the one before, and takes effect at commit: guests that have more than it allows lose
 * what they have then, and are told. Who will not hear still maps what he mapped, as with everything that a client has
 * a descriptor of. Of a managed range no page is served to him any more, and those that he has are taken from him
 * (pages.h).
 */

enum { SHARES_MAX = 4096 };

/* ---- guests lose what they have ---- */

/* What a share is about, for when the share has gone. */
struct subject {
        struct object *object;
        const struct partition *from, *to;
};

static struct subject subject_of(const struct share *x) {
        return (struct subject){ x->object, x->from, x->to };
}

/* Openings and holdings of what is shared, one after the other, while the caller ends none of them. */
static struct list *uses_of(const struct object *o) {
        return o->type == OBJECT_MEMORY ? &container_of(o, struct memory, object)->holdings
                                        : &container_of(o, struct reservation, object)->shared->openings;
}

/* Whose use this is, and with what rights, if it is one of the partition's guests. */
static bool is_guests(const struct subject *x, const struct list *l, unsigned *ret_access) {
        const struct holding *h = container_of(l, struct holding, by_memory);
        const struct opening *o = container_of(l, struct opening, by_reservation);
        bool memory = x->object->type == OBJECT_MEMORY;
        const struct session *s = memory ? h->session : o->session;

        *ret_access = memory ? h->access : o->access;
        return s && s->guest && s->partition == x->from && s->door == x->to;
}

static void use_end(struct service *svc, const struct object *of, struct list *l) {
        if (of->type == OBJECT_MEMORY) {
                holding_end(svc, container_of(l, struct holding, by_memory));
        } else {
                struct opening *o = container_of(l, struct opening, by_reservation);

                event_reservation_lost(svc, o->reservation, o->session);
                opening_end(svc, o);
        }
}

/* One that is a guest's, with more than `access`. */
static bool end_one(struct service *svc, const struct subject *x, unsigned access) {
        list_for_each (l, uses_of(x->object)) {
                unsigned has;

                if (!is_guests(x, l, &has) || !(has & ~access))
                        continue;
                use_end(svc, x->object, l);
                return true;
        }
        return false;
}

/* With the last of them the object itself may end. */
static void narrow(struct service *svc, const struct subject *x, unsigned access) {
        uint64_t id = x->object->id;
        uint32_t lost = 0;

        while (ids_find(&svc->state.ids, id) == x->object && end_one(svc, x, access))
                lost++;
        if (lost && reservation_by_id(&svc->state, id))
                pages_take(svc, container_of(x->object, struct reservation, object));
}

static uint32_t guests_count(const struct share *x) {
        struct subject y = subject_of(x);
        uint32_t n = 0;
        unsigned access;

        list_for_each (l, uses_of(x->object))
                n += is_guests(&y, l, &access);
        return n;
}

/* ---- share ---- */

static void end_undo(struct tx *tx, struct change *c) {
        struct share *x = c->a;

        x->ending = false;
}

static void end_commit(struct tx *tx, struct change *c) {
        struct share *x = c->a;
        struct subject y = subject_of(x);

        share_end(x);
        narrow(tx->svc, &y, 0);
}

static void new_undo(struct tx *tx, struct change *c) {
        share_end(c->a);
}

static void set_undo(struct tx *tx, struct change *c) {
        struct share *x = c->a;

        x->access = (unsigned)c->n[0];
}

static void set_commit(struct tx *tx, struct change *c) {
        const struct share *x = c->a;
        struct subject y = subject_of(x);

        narrow(tx->svc, &y, x->access);
}

static const struct change_kind end_change = { end_undo, end_commit };
static const struct change_kind new_change = { new_undo, NULL };
static const struct change_kind set_change = { set_undo, set_commit };

static struct object *object_of(const struct name *n, bool memory) {
        return memory ? &((struct memory *)n->object)->object : &((struct reservation *)n->object)->object;
}

static struct name *find_name(struct call *c, struct partition *p) {
        const Svmd__V1__Share *op = c->op->share;
        struct name *n = name_find(op->memory ? &p->memory_names : &p->reservation_names, op->name);
        bool going =
                n && (op->memory ? ((struct memory *)n->object)->doomed : ((struct reservation *)n->object)->freeing);

        return going ? NULL : n;
}

static int find_subject(struct call *c, struct partition **ret_from, struct name **ret) {
        const Svmd__V1__Share *op = c->op->share;
        const struct session *s = c->session;
        int r = call_partition(c, op->partition, ret_from);

        if (r != 0)
                return r;
        *ret = find_name(c, *ret_from);
        if (!*ret)
                return refuse(c, SVMD_STATUS_NO_SUCH, "partition %s has no %s named %s", (*ret_from)->name->text,
                              op->memory ? "memory" : "reservation", op->name);
        if (!s->admin && s->who.uid != (*ret)->uid && s->who.uid != (*ret_from)->name->uid)
                return refuse(
                        c, SVMD_STATUS_DENIED,
                        "%s belongs to uid %u, and partition %s to uid %u: these users and administrators share it",
                        op->name, (*ret)->uid, (*ret_from)->name->text, (*ret_from)->name->uid);
        return 0;
}

static int find_guest_partition(struct call *c, const struct partition *from, struct partition **ret) {
        const Svmd__V1__Share *op = c->op->share;
        struct partition *to = partition_find(&c->svc->state, op->to);

        if (!to || !to->ready || to->ending)
                return refuse(c, SVMD_STATUS_NO_SUCH, "there is no partition %s to share with", op->to);
        if (to == from)
                return refuse(c, SVMD_STATUS_INVALID,
                              "%s is partition %s's own; its sessions open it as the name's mode allows", op->name,
                              op->to);
        if (to->domain != from->domain)
                return refuse(c, SVMD_STATUS_DENIED,
                              "partition %s is in sharing domain %s and %s in %s: their addresses may be the same",
                              from->name->text, from->domain->name->text, to->name->text, to->domain->name->text);
        *ret = to;
        return 0;
}

static void effect_share(struct tx *tx, const struct share *x, unsigned access) {
        struct effect_share e = effect_of_share(x);

        e.access = access;
        tx_effect(tx, EFFECT_SHARE, &e, sizeof(e));
}

static int share_off(struct call *c, struct share *x) {
        if (!x || x->ending)
                return refuse(c, SVMD_STATUS_NO_SUCH, "%s is not shared with partition %s", c->op->share->name,
                              c->op->share->to);
        x->ending = true;
        tx_push(c->tx, &end_change, x, NULL);
        effect_share(c->tx, x, 0);
        c->result->value = guests_count(x);
        return 0;
}

static int share_on(struct call *c, struct share *x, struct name *n, struct partition *from, struct partition *to) {
        const Svmd__V1__Share *op = c->op->share;

        if (x && x->ending)
                return refuse(c, SVMD_STATUS_BUSY, "%s is taken back by this same request", op->name);
        if (!x && from->shares_count >= SHARES_MAX)
                return refuse(c, SVMD_STATUS_QUOTA, "partition %s shares %d things, which is the most; take some back",
                              from->name->text, SHARES_MAX);
        if (x) {
                tx_push(c->tx, &set_change, x, NULL)->n[0] = x->access;
                x->access = op->access;
        } else {
                x = share_new(state_take_id(&c->svc->state), object_of(n, op->memory), n, from, to);
                if (!x)
                        return -ENOMEM;
                x->access = op->access;
                share_link(&c->svc->state, x);
                tx_push(c->tx, &new_change, x, NULL);
        }
        effect_share(c->tx, x, x->access);
        c->result->value = guests_count(x);
        return 0;
}

int op_share(struct call *c) {
        const Svmd__V1__Share *op = c->op->share;
        struct partition *from, *to;
        struct name *n;
        struct share *x;
        int r = find_subject(c, &from, &n);

        if (r == 0)
                r = check_access(c, op->access);
        if (r == 0)
                r = find_guest_partition(c, from, &to);
        if (r != 0)
                return r;
        if (tx_room(c->tx, 1) < 0)
                return -ENOMEM;
        x = share_find(n, to);
        return op->access ? share_on(c, x, n, from, to) : share_off(c, x);
}

/* ---- list ---- */

enum { ROWS = 64 };

static Svmd__V1__Shared *share_row(struct call *c, const struct share *x) {
        Svmd__V1__Shared *row = call_take(c, sizeof(*row));

        if (!row)
                return NULL;
        svmd__v1__shared__init(row);
        row->id = x->id;
        row->name = call_string(c, x->name->text);
        row->memory = share_of_memory(x);
        row->partition = call_string(c, x->from->name->text);
        row->to = call_string(c, x->to->name->text);
        row->access = x->access;
        if (share_of_memory(x)) {
                row->size = container_of(x->object, struct memory, object)->size;
        } else {
                row->address = container_of(x->object, struct reservation, object)->va.start;
                row->size = container_of(x->object, struct reservation, object)->va.size;
        }
        row->guests = guests_count(x);
        row->uid = x->name->uid;
        return row;
}

int op_share_list(struct call *c) {
        const Svmd__V1__ShareList *op = c->op->share_list;
        Svmd__V1__SharesResult *result = call_take(c, sizeof(*result));
        struct partition *p = NULL; /* of any */
        int r = c->session->admin && !op->partition[0] ? 0 : call_partition(c, op->partition, &p);

        if (r != 0)
                return r;
        if (!result)
                return -ENOMEM;
        svmd__v1__shares_result__init(result);
        result->shares = call_take(c, ROWS * sizeof(*result->shares));
        if (!result->shares)
                return -ENOMEM;
        list_for_each (l, &c->svc->state.shares) {
                const struct share *x = container_of(l, struct share, by_state);

                if (x->id <= op->after || (p && x->from != p && x->to != p))
                        continue;
                c->result->more = result->n_shares == ROWS;
                if (c->result->more)
                        break;
                result->shares[result->n_shares] = share_row(c, x);
                if (!result->shares[result->n_shares++])
                        return -ENOMEM;
        }
        c->result->detail_case = SVMD__V1__RESULT__DETAIL_SHARES;
        c->result->shares = result;
        return 0;
}

/* ---- the journal ---- */

int sharing_put_door(struct service *svc, const struct session *s) {
        struct effect_door e = effect_of_door(s);

        return journal_snapshot_put(svc->journal, EFFECT_DOOR, &e, sizeof(e));
}

int sharing_put(struct service *svc) {
        int r = 0;

        list_for_each (l, &svc->state.shares) {
                struct effect_share e = effect_of_share(container_of(l, struct share, by_state));

                if (r == 0)
                        r = journal_snapshot_put(svc->journal, EFFECT_SHARE, &e, sizeof(e));
        }
        return r;
}

static int replay_share(struct service *svc, const struct effect_share *e) {
        struct memory *m = memory_by_id(&svc->state, e->object);
        struct reservation *r = reservation_by_id(&svc->state, e->object);
        struct name *n = m ? m->name : r && r->shared ? r->shared->name : NULL;
        struct partition *to = partition_find(&svc->state, e->to);
        struct partition *from;
        struct object *o;
        struct share *x;

        if (e->id >= svc->state.next_id)
                svc->state.next_id = e->id + 1;
        if (!n || !to)
                return 0; /* it has ended since, or the partition was deleted */
        o = m ? &m->object : &r->object;
        from = m ? m->partition : r->partition;
        x = share_find(n, to);
        if (!x && e->access) {
                x = share_new(e->id, o, n, from, to);
                if (!x)
                        return -ENOMEM;
                share_link(&svc->state, x);
        }
        if (x)
                x->access = e->access;
        if (x && !e->access)
                share_end(x);
        narrow(svc, &(struct subject){ o, from, to }, e->access);
        return 0;
}

static int replay_door(struct service *svc, const struct effect_door *e) {
        struct session *s = session_by_id(&svc->state, e->session);

        if (s && s->partition)
                return session_restore_door(&svc->state, s, partition_find(&svc->state, e->partition));
        return 0;
}

int sharing_replay(struct service *svc, uint16_t type, const void *bytes) {
        return type == EFFECT_DOOR ? replay_door(svc, bytes) : replay_share(svc, bytes);
}
