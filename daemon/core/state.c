#include "core/state.h"

#include <errno.h>

#include "base/alloc.h"
#include "core/cgroup.h"
#include "core/grant.h"
#include "core/imap.h"
#include "core/keeping.h"
#include "core/lease.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/share.h"
#include "core/space.h"

int state_init(struct state *s, const struct machine *machine) {
        *s = (struct state){ .machine = machine, .next_id = 1 };
        slab_init(&s->reservations, sizeof(struct reservation));
        list_init(&s->domains);
        list_init(&s->shares);
        list_init(&s->sessions);
        list_init(&s->cgroups);
        s->nodes = alloc_array(machine->count ? machine->count : 1, sizeof(*s->nodes));
        if (!s->nodes)
                return -ENOMEM;
        for (uint32_t i = 0; i < machine->count; i++) {
                account_init(&s->nodes[i].account, NULL, machine->nodes[i].capacity);
                list_init(&s->nodes[i].memories);
        }
        return 0;
}

void state_fini(struct state *s) {
        ids_fini(&s->ids);
        slab_fini(&s->reservations);
        alloc_free(s->nodes);
}

uint64_t state_take_id(struct state *s) {
        return s->next_id++;
}

/* ---- invariants: everything is counted anew, from the objects themselves ---- */

struct totals {
        uint64_t sessions, reservations, memories, spaces, mappings;
};

static uint64_t list_length(const struct list *head) {
        uint64_t n = 0;

        list_for_each (l, head)
                n++;
        return n;
}

static uint64_t leased(const struct lease *l, const struct account *a) {
        uint64_t sum = 0;

        for (uint32_t i = 0; i < l->admission.count; i++)
                if (l->needs[i].charge.account == a)
                        sum += l->needs[i].charge.bytes;
        return sum;
}

/* Bytes that memory objects charge to exactly this account. */
static uint64_t charged(const struct state *s, const struct account *a) {
        uint64_t sum = 0;

        for (uint64_t i = 0; i < s->ids.size; i++) {
                struct object *o = s->ids.slots[i];

                if (o && o->type == OBJECT_MEMORY && container_of(o, struct memory, object)->charge.account == a)
                        sum += container_of(o, struct memory, object)->charge.bytes;
                if (o && o->type == OBJECT_GRANT && container_of(o, struct grant, object)->charge.account == a)
                        sum += container_of(o, struct grant, object)->charge.bytes;
                if (o && o->type == OBJECT_LEASE)
                        sum += leased(container_of(o, struct lease, object), a);
        }
        return sum;
}

/* Mappings of a memory, counted where they stand. */
static uint64_t shown(const struct vmap *m, const struct backing *b) {
        uint64_t n = 0;

        for (struct mapping *e = vmap_first_from(m, 0); e; e = vmap_next(e))
                n += e->backing == b;
        return n;
}

static uint64_t shown_anywhere(const struct state *s, const struct backing *b) {
        uint64_t n = 0;

        for (uint64_t i = 0; i < s->ids.size; i++) {
                struct object *o = s->ids.slots[i];

                if (o && o->type == OBJECT_RESERVATION)
                        n += shown(&container_of(o, struct reservation, object)->cpu, b);
                else if (o && o->type == OBJECT_SPACE)
                        n += shown(&container_of(o, struct space, object)->mappings, b);
        }
        return n;
}

static bool vmap_ok(const struct vmap *m, const struct imap *sparse, uint64_t start, uint64_t end) {
        struct mapping *first = vmap_first_from(m, 0);

        if (vmap_check(m) < 0 || (sparse && imap_check(sparse) < 0))
                return false;
        if (first && first->va < start)
                return false;
        for (struct mapping *e = first; e; e = vmap_next(e))
                if (e->va + e->size > end || e->offset + e->size > memory_of(e->backing)->size)
                        return false;
        return true;
}

static bool session_ok(const struct session *session) {
        uint64_t reservations = list_length(&session->reservations), holdings = list_length(&session->holdings);
        uint64_t spaces = list_length(&session->spaces), openings = list_length(&session->openings);

        return session->reservations_count == reservations && session->memories_count == holdings &&
               session->spaces_count == spaces && session->fences_count == list_length(&session->fences) &&
               session->objects == reservations + holdings + spaces + openings;
}

/* Guests have what is shared with the partition that they came from. */
static bool guests_ok(const struct reservation *r) {
        list_for_each (l, &r->shared->openings) {
                const struct opening *o = container_of(l, struct opening, by_reservation);

                if (o->session->guest && o->access & ~share_access(r->shared->name, o->session))
                        return false;
        }
        return true;
}

static bool reservation_ok(const struct reservation *r) {
        uint64_t end = r->va.start + r->va.size;

        if (r->freeing || reservation_at(r->partition, r->va.start) != r ||
            reservation_of((struct va_extent *)&r->va) != r)
                return false;
        if (r->owner && r->owner->partition != r->partition)
                return false;
        if (!r->shared)
                return r->owner && vmap_ok(&r->cpu, r->sparse, r->va.start, end);
        if (reservation_by_name(r->partition, r->shared->name->text) != r ||
            list_length(&r->shared->openings) != r->shared->openings_count || !guests_ok(r))
                return false;
        return (!reservation_idle(r) || r->shared->keeping) && vmap_ok(&r->cpu, r->sparse, r->va.start, end);
}

/* Where it was created, or spilled to a host node; and it may be spilled if it is in the list for that. */
static bool place_ok(const struct state *s, const struct memory *m) {
        bool away = m->file->node != m->node, soft = s->machine->nodes[m->node].kind == NODE_SOFT;

        if (m->lost)
                return soft && !away && m->away && list_empty(&m->by_node);
        if (m->move)
                return soft && !m->pinned && list_empty(&m->by_node);
        if (m->away != away || list_empty(&m->by_node) != (away || !soft || m->pinned))
                return false;
        return !away ||
               (soft && !m->pinned && m->file->kind == FILE_OWN && s->machine->nodes[m->file->node].kind == NODE_HOST);
}

static bool memory_ok(const struct state *s, const struct memory *m) {
        const struct va_extent *e;
        uint64_t size = 0;

        if (m->doomed || memory_unused(m) || m->backing.count != shown_anywhere(s, &m->backing))
                return false;
        if (m->file->kind == FILE_CLIENT ? m->charge.account != NULL : m->charge.bytes != m->size || !m->charge.account)
                return false;
        if (!place_ok(s, m))
                return false;
        for (uint32_t i = 0; (e = memory_extent(m, i)); i++) {
                if (va_find(&m->file->slots, e->start) != e)
                        return false;
                size += e->size;
        }
        if (size != m->size || (m->name && name_find(&m->partition->memory_names, m->name->text) != m->name))
                return false;
        return !m->creator.session || m->creator.session->partition == m->partition;
}

/* All or nothing, and what is charged is what is left. */
static bool lease_ok(const struct lease *l) {
        for (uint32_t i = 0; i < l->admission.count; i++) {
                const struct charge *c = &l->needs[i].charge;

                if (c->account != (l->state == LEASE_GRANTED ? l->needs[i].account : NULL) ||
                    (c->account && c->bytes != l->needs[i].bytes) || l->needs[i].bytes > l->nodes[i].asked)
                        return false;
        }
        return list_empty(&l->admission.by_line) == (l->state != LEASE_WAITS);
}

/* It charges its session's account of its node, and one that is done has something there. */
static bool grant_ok(const struct state *s, const struct grant *g) {
        return g->node < s->machine->count && g->charge.account == &g->session->accounts[g->node] &&
               (!g->held || g->charge.bytes > 0) && g->session->partition;
}

static bool object_ok(const struct state *s, struct object *o, struct totals *t) {
        struct space *space;

        if (ids_find(&s->ids, o->id) != o || o->id >= s->next_id)
                return false;
        switch ((enum object_type)o->type) {
        case OBJECT_SESSION: t->sessions++; return session_ok(container_of(o, struct session, object));
        case OBJECT_RESERVATION:
                t->reservations++;
                t->mappings += container_of(o, struct reservation, object)->cpu.count;
                return reservation_ok(container_of(o, struct reservation, object));
        case OBJECT_MEMORY: t->memories++; return memory_ok(s, container_of(o, struct memory, object));
        case OBJECT_SPACE:
                space = container_of(o, struct space, object);
                t->spaces++;
                t->mappings += space->mappings.count;
                return !space->destroying && vmap_ok(&space->mappings, &space->sparse, 0, UINT64_MAX);
        case OBJECT_FILE: return va_check(&container_of(o, struct file, object)->slots) == 0;
        case OBJECT_FENCE: return true;
        case OBJECT_LEASE: return lease_ok(container_of(o, struct lease, object));
        case OBJECT_GRANT: return grant_ok(s, container_of(o, struct grant, object));
        }
        return false;
}

/* What is charged to a group: of the sessions in it, and in the groups in it. */
static uint64_t of_cgroup(const struct state *s, const struct cgroup *g, uint32_t node, uint64_t *ret_children) {
        uint64_t sum = 0;

        *ret_children = 0;
        list_for_each (l, &s->sessions) {
                const struct session *session = container_of(l, struct session, by_state);

                if (!session->accounts || session->cgroup != g)
                        continue;
                sum += session->accounts[node].used;
                ++*ret_children;
        }
        list_for_each (l, &s->cgroups) {
                const struct cgroup *inner = container_of(l, struct cgroup, by_state);

                if (inner->outer != g)
                        continue;
                sum += inner->accounts[node].used;
                ++*ret_children;
        }
        return sum;
}

static bool cgroups_ok(const struct state *s) {
        list_for_each (l, &s->cgroups) {
                const struct cgroup *g = container_of(l, struct cgroup, by_state);

                for (uint32_t i = 0; i < s->machine->count; i++) {
                        const struct account *a = &g->accounts[i];
                        uint64_t children;

                        if (a->used != of_cgroup(s, g, i, &children) || a->children != children || a->charges ||
                            a->parent != (g->outer ? &g->outer->accounts[i] : NULL))
                                return false;
                }
        }
        list_for_each (l, &s->sessions) {
                const struct session *session = container_of(l, struct session, by_state);

                if (session->cgroup != (session->cgroup_path ? cgroup_around(s, session->cgroup_path) : NULL))
                        return false;
        }
        return true;
}

/* What is promised and held in an account, of those that may lie within it. */
struct mins {
        uint64_t promised, held;
};

static void add_min(struct mins *m, const struct account *a, const struct account *in) {
        if (a->within != in)
                return;
        m->promised += a->min;
        m->held += a->min > a->used ? a->min - a->used : 0;
}

static bool mins_ok(const struct mins *m, const struct account *in) {
        return in->promised == m->promised && in->held == m->held && in->claimed == 0;
}

static bool partition_mins_ok(const struct state *s, const struct partition *p, uint32_t node) {
        struct mins m = { 0 };

        list_for_each (l, &p->sessions) {
                const struct session *session = container_of(l, struct session, by_partition);

                if (session->accounts)
                        add_min(&m, &session->accounts[node], &p->accounts[node]);
        }
        return mins_ok(&m, &p->accounts[node]);
}

static bool node_mins_ok(const struct state *s, uint32_t node) {
        const struct account *in = &s->nodes[node].account;
        struct mins m = { 0 };

        for (struct partition *p = partition_after(s, ""); p; p = partition_after(s, p->name->text)) {
                add_min(&m, &p->accounts[node], in);
                if (!partition_mins_ok(s, p, node))
                        return false;
        }
        list_for_each (l, &s->cgroups)
                add_min(&m, &container_of(l, struct cgroup, by_state)->accounts[node], in);
        return mins_ok(&m, in) && m.promised <= in->max;
}

/* An account is what its children and its own charges add up to. */
static bool accounts_ok(const struct state *s, const struct partition *p) {
        for (uint32_t i = 0; i < s->machine->count; i++) {
                const struct account *a = &p->accounts[i];
                uint64_t sum = charged(s, a), children = 0;

                list_for_each (l, &p->sessions) {
                        const struct session *session = container_of(l, struct session, by_partition);

                        if (!session->accounts)
                                continue;
                        if (session->accounts[i].used != charged(s, &session->accounts[i]))
                                return false;
                        sum += session->accounts[i].used;
                        children++;
                }
                if (a->used != sum || a->children != children || a->parent != &s->nodes[i].account)
                        return false;
        }
        return true;
}

static bool kept_ok(const struct partition *p) {
        uint64_t bytes = 0, count = 0;

        list_for_each (l, &p->kept) {
                struct keeping *k = container_of(l, struct keeping, by_partition);
                const struct name *n = keeping_name(k);

                if (!n || keeping_partition(k) != p || keeping_find(p, keeping_kind(k), n->text) != k || k->removing)
                        return false;
                if ((k->since_ns != 0) != keeping_idle(k) || list_empty(&k->by_end) != (keeping_ends(k) == UINT64_MAX))
                        return false;
                bytes += keeping_size(k);
                count++;
        }
        return p->kept_bytes == bytes && p->kept_count == count;
}

static bool partition_ok(const struct state *s, const struct partition *p) {
        uint64_t reservations = 0, memories = 0, used = 0;

        for (uint64_t i = 0; i < s->ids.size; i++) {
                struct object *o = s->ids.slots[i];

                if (o && o->type == OBJECT_RESERVATION && container_of(o, struct reservation, object)->partition == p) {
                        const struct reservation *r = container_of(o, struct reservation, object);

                        reservations++;
                        used += r->outside ? 0 : r->va.size;
                }
                memories += o && o->type == OBJECT_MEMORY && container_of(o, struct memory, object)->partition == p;
        }
        return kept_ok(p) && va_check(&p->va) == 0 && p->va.used == used + p->retired &&
               p->reservations_count == reservations && p->memories_count == memories &&
               p->sessions_count == list_length(&p->sessions) && accounts_ok(s, p);
}

static bool nodes_ok(const struct state *s) {
        for (uint32_t i = 0; i < s->machine->count; i++) {
                uint64_t used = 0, limited = 0, spaces = 0, leases = 0;

                for (struct partition *p = partition_after(s, ""); p; p = partition_after(s, p->name->text)) {
                        used += p->accounts[i].used;
                        limited += p->accounts[i].max != ACCOUNT_NO_LIMIT;
                }
                for (uint64_t k = 0; k < s->ids.size; k++) {
                        struct object *o = s->ids.slots[k];

                        spaces += o && o->type == OBJECT_SPACE && container_of(o, struct space, object)->node == i;
                        leases +=
                                o && o->type == OBJECT_LEASE ? lease_left(container_of(o, struct lease, object), i) : 0;
                }
                if (!node_mins_ok(s, i) || s->nodes[i].account.used != used || s->nodes[i].limited != limited ||
                    s->nodes[i].spaces != spaces)
                        return false;
                if (s->nodes[i].pool &&
                    (va_check(&s->nodes[i].pool->slots) < 0 || s->nodes[i].pool->slots.used + leases != used))
                        return false;
        }
        return true;
}

int state_check(struct state *s) {
        struct totals t = { 0 };
        uint64_t objects = 0, partitions = 0;

        for (uint64_t i = 0; i < s->ids.size; i++) {
                if (!s->ids.slots[i])
                        continue;
                objects++;
                if (!object_ok(s, s->ids.slots[i], &t))
                        return -EUCLEAN;
        }
        for (struct partition *p = partition_after(s, ""); p; p = partition_after(s, p->name->text)) {
                partitions++;
                if (!partition_ok(s, p))
                        return -EUCLEAN;
        }
        if (objects != s->ids.count || partitions != s->partitions_count || t.sessions != s->sessions_count ||
            t.sessions != list_length(&s->sessions) || t.reservations != s->reservations_count ||
            t.memories != s->memories_count || t.spaces != s->spaces_count || t.mappings != s->mappings_count)
                return -EUCLEAN;
        return nodes_ok(s) && cgroups_ok(s) ? 0 : -EUCLEAN;
}
