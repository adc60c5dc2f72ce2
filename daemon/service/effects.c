#include "service/effects.h"

#include "base/text.h"
#include "core/grant.h"
#include "core/keeping.h"
#include "core/lease.h"
#include "core/ledger.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/share.h"
#include "core/state.h"
#include "service/managed.h"

/* What an operation journals and what a snapshot says of the same object are one. */

struct effect_session effect_of_session(const struct session *s, const struct partition *p) {
        struct effect_session e = {
                .id = s->object.id,
                .pid = s->pid,
                .uid = s->who.uid,
                .gid = s->who.gid,
                .groups = s->who.groups_count,
                .admin = s->admin,
                .reader = s->reader,
        };

        text_copy(e.partition, p->name->text);
        return e;
}

struct effect_session_bounds effect_of_bounds(const struct session *s, uint32_t node) {
        struct effect_session_bounds e = { .session = s->object.id, .node = node };
        const struct bounds b = account_bounds(&s->accounts[node]);

        for (unsigned i = 0; i < BOUNDS; i++)
                e.bounds[i] = b.bytes[i];
        return e;
}

struct effect_reserve effect_of_reservation(const struct reservation *r) {
        const struct name *n = r->shared ? r->shared->name : NULL;
        struct effect_reserve e = {
                .id = r->object.id,
                .session = r->owner ? r->owner->object.id : 0,
                .address = r->va.start,
                .size = r->va.size,
                .generation = r->generation,
                .uid = n ? n->uid : 0,
                .gid = n ? n->gid : 0,
                .mode = n ? n->mode : 0,
        };

        text_copy(e.partition, r->partition->name->text);
        return e;
}

struct effect_file effect_of_file(const struct file *f) {
        return (struct effect_file){
                .id = f->object.id,
                .session = f->kind == FILE_ARENA ? f->session->object.id : 0,
                .size = f->slots.end - f->slots.start,
                .kind = f->kind,
                .node = f->node,
        };
}

struct effect_door effect_of_door(const struct session *s) {
        struct effect_door e = { .session = s->object.id };

        text_copy(e.partition, s->door->name->text);
        return e;
}

struct effect_share effect_of_share(const struct share *x) {
        struct effect_share e = { .id = x->id, .object = x->object->id, .access = x->access };

        text_copy(e.to, x->to->name->text);
        return e;
}

struct effect_keep effect_of_keeping(const struct keeping *k) {
        return (struct effect_keep){
                .reservation = k->of.reservation ? k->of.reservation->object.id : 0,
                .memory = k->of.memory ? k->of.memory->object.id : 0,
                .lease = k->of.lease ? k->of.lease->object.id : 0,
                .seconds = k->seconds,
                .since_ns = k->since_ns,
        };
}

struct effect_lease_name effect_of_lease_name(const struct lease *l) {
        return (struct effect_lease_name){
                .lease = l->object.id,
                .uid = l->name->uid,
                .gid = l->name->gid,
                .mode = l->name->mode,
        };
}

struct effect_node_state effect_of_node(const struct node *n, uint32_t index) {
        return (struct effect_node_state){
                .node = index, .state = (n->offline ? EFFECT_NODE_OFFLINE : 0u) | (n->lost ? EFFECT_NODE_LOST : 0u)
        };
}

struct effect_grant effect_of_grant(const struct grant *g) {
        return (struct effect_grant){
                .id = g->object.id,
                .session = g->session->object.id,
                .generation = g->generation,
                .reservation = g->reservation,
                .address = g->address,
                .size = g->size,
                .bytes = g->charge.bytes,
                .until_ns = g->until_ns,
                .node = g->node,
                .operations = g->operations,
                .held = g->held,
        };
}

struct effect_range effect_of_range(const struct managed_reservation *m) {
        return (struct effect_range){ .reservation = m->reservation->object.id,
                                      .granule = m->granule,
                                      .flags = m->flags };
}
