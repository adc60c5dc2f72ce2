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

/* All objects, those of one type side by side: there are many questions to each, and the slots of ids are far apart. */
struct objects {
        struct object **all;
        uint64_t first[OBJECT_GRANT + 2]; /* of each type; behind the last one, how many there are */
};

#define for_each_object(o, of, kind)                                                                                   \
        for (uint64_t at_ = (of)->first[kind]; at_ < (of)->first[(kind) + 1] && ((o) = (of)->all[at_]); at_++)

/* 0, -ENOMEM, or -EUCLEAN: it is no object. `ret->all` is the caller's. */
static int objects_gather(const struct state *s, struct objects *ret) {
        uint64_t next[OBJECT_GRANT + 1];

        *ret = (struct objects){ .all = alloc_array(s->ids.count + 1, sizeof(struct object *)) };
        if (!ret->all)
                return -ENOMEM;
        for (uint64_t i = 0; i < s->ids.size; i++) {
                const struct object *o = s->ids.slots[i];

                if (o && (o->type > OBJECT_GRANT || ids_find(&s->ids, o->id) != o || o->id >= s->next_id))
                        return -EUCLEAN;
                if (o)
                        ret->first[o->type + 1]++;
        }
        for (unsigned type = 0; type <= OBJECT_GRANT; type++) {
                next[type] = ret->first[type];
                ret->first[type + 1] += ret->first[type];
        }
        if (ret->first[OBJECT_GRANT + 1] != s->ids.count)
                return -EUCLEAN;
        for (uint64_t i = 0; i < s->ids.size; i++)
                if (s->ids.slots[i])
                        ret->all[next[s->ids.slots[i]->type]++] = s->ids.slots[i];
        return 0;
}

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

/* Bytes that are charged to exactly this account. */
static uint64_t charged(const struct objects *all, const struct account *a) {
        struct object *o;
        uint64_t sum = 0;

        for_each_object (o, all, OBJECT_MEMORY)
                if (container_of(o, struct memory, object)->charge.account == a)
                        sum += container_of(o, struct memory, object)->charge.bytes;
        for_each_object (o, all, OBJECT_GRANT)
                if (container_of(o, struct grant, object)->charge.account == a)
                        sum += container_of(o, struct grant, object)->charge.bytes;
        for_each_object (o, all, OBJECT_LEASE)
                sum += leased(container_of(o, struct lease, object), a);
        return sum;
}

/* Mappings of a memory, counted where they stand. */
static uint64_t shown(const struct vmap *m, const struct backing *b) {
        uint64_t n = 0;

        for (struct mapping *e = vmap_first_from(m, 0); e; e = vmap_next(e))
                n += e->backing == b;
        return n;
}

static uint64_t shown_anywhere(const struct objects *all, const struct backing *b) {
        struct object *o;
        uint64_t n = 0;

        for_each_object (o, all, OBJECT_RESERVATION)
                n += shown(&container_of(o, struct reservation, object)->cpu, b);
        for_each_object (o, all, OBJECT_SPACE)
                n += shown(&container_of(o, struct space, object)->mappings, b);
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
               session->objects == reservations + holdings + spaces + openings &&
               (session->ending || session->party->number == party_of(session->who.uid, session->door));
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
        bool away = m->file->node != m->node, soft = s->nodes[m->node].device;

        if (m->lost)
                return soft && !away && m->away && list_empty(&m->by_node);
        if (m->move)
                return soft && !m->pinned && list_empty(&m->by_node);
        if (m->away != away || list_empty(&m->by_node) != (away || !soft || m->pinned))
                return false;
        return !away ||
               (soft && !m->pinned && m->file->kind == FILE_OWN && s->machine->nodes[m->file->node].kind == NODE_HOST);
}

static bool memory_ok(const struct state *s, const struct objects *all, const struct memory *m) {
        const struct va_extent *e;
        uint64_t size = 0;

        if (m->doomed || memory_unused(m) || m->backing.count != shown_anywhere(all, &m->backing))
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

static bool object_ok(const struct state *s, const struct objects *all, struct object *o) {
        const struct space *space;

        switch ((enum object_type)o->type) {
        case OBJECT_SESSION: return session_ok(container_of(o, struct session, object));
        case OBJECT_RESERVATION: return reservation_ok(container_of(o, struct reservation, object));
        case OBJECT_MEMORY: return memory_ok(s, all, container_of(o, struct memory, object));
        case OBJECT_SPACE:
                space = container_of(o, struct space, object);
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
static bool accounts_ok(const struct state *s, const struct objects *all, const struct partition *p) {
        for (uint32_t i = 0; i < s->machine->count; i++) {
                const struct account *a = &p->accounts[i];
                uint64_t sum = charged(all, a), children = 0;

                list_for_each (l, &p->sessions) {
                        const struct session *session = container_of(l, struct session, by_partition);

                        if (!session->accounts)
                                continue;
                        if (session->accounts[i].used != charged(all, &session->accounts[i]))
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

static bool partition_ok(const struct state *s, const struct objects *all, const struct partition *p) {
        uint64_t reservations = 0, memories = 0, used = 0;
        struct object *o;

        for_each_object (o, all, OBJECT_RESERVATION) {
                const struct reservation *r = container_of(o, struct reservation, object);

                if (r->partition != p)
                        continue;
                reservations++;
                used += r->outside ? 0 : r->va.size;
        }
        for_each_object (o, all, OBJECT_MEMORY)
                memories += container_of(o, struct memory, object)->partition == p;
        return kept_ok(p) && va_check(&p->va) == 0 && p->va.used == used + p->retired &&
               p->reservations_count == reservations && p->memories_count == memories &&
               p->sessions_count == list_length(&p->sessions) && accounts_ok(s, all, p);
}

/* All that is charged lies in the pool; of a device whose memory clients make, some has a descriptor instead, or a
 * grant pays for it. */
static bool pool_ok(const struct state *s, uint32_t node, uint64_t charged) {
        const struct va_space *slots = &s->nodes[node].pool->slots;

        return va_check(slots) == 0 &&
               (s->machine->nodes[node].kind == NODE_SOFT ? slots->used == charged : slots->used <= charged);
}

/* Its windows have the slices of its partitions, and nothing else. */
static bool domain_ok(const struct state *s, const struct domain *d) {
        uint64_t partitions = 0;

        for (struct partition *p = partition_after(s, ""); p; p = partition_after(s, p->name->text)) {
                if (p->domain != d)
                        continue;
                partitions++;
                if (va_find(&d->window[p->window], p->slice.start) != &p->slice)
                        return false;
        }
        for (int w = 0; w < WINDOWS; w++)
                if (va_check(&d->window[w]) < 0)
                        return false;
        return partitions > 0 && partitions == d->partitions &&
               partitions == d->window[WINDOW_PRIMARY].count + d->window[WINDOW_LOW].count;
}

static bool domains_ok(const struct state *s) {
        for (struct tree_node *n = tree_first(&s->domains); n; n = tree_next(n))
                if (!domain_ok(s, container_of(n, struct name, node)->object))
                        return false;
        return tree_check(&s->domains) >= 0;
}

static bool nodes_ok(const struct state *s, const struct objects *all) {
        for (uint32_t i = 0; i < s->machine->count; i++) {
                uint64_t used = 0, limited = 0, spaces = 0, leases = 0;
                struct object *o;

                for (struct partition *p = partition_after(s, ""); p; p = partition_after(s, p->name->text)) {
                        used += p->accounts[i].used;
                        limited += p->accounts[i].max != ACCOUNT_NO_LIMIT;
                }
                for_each_object (o, all, OBJECT_SPACE)
                        spaces += container_of(o, struct space, object)->node == i;
                for_each_object (o, all, OBJECT_LEASE)
                        leases += lease_left(container_of(o, struct lease, object), i);
                if (!node_mins_ok(s, i) || s->nodes[i].account.used != used || s->nodes[i].limited != limited ||
                    s->nodes[i].spaces != spaces)
                        return false;
                if (s->nodes[i].pool && !pool_ok(s, i, used - leases))
                        return false;
        }
        return true;
}

static uint64_t objects_count(const struct objects *all, enum object_type type) {
        return all->first[type + 1] - all->first[type];
}

static bool counts_ok(const struct state *s, const struct objects *all) {
        uint64_t mappings = 0, partitions = 0;
        struct object *o;

        for_each_object (o, all, OBJECT_RESERVATION)
                mappings += container_of(o, struct reservation, object)->cpu.count;
        for_each_object (o, all, OBJECT_SPACE)
                mappings += container_of(o, struct space, object)->mappings.count;
        for (struct partition *p = partition_after(s, ""); p; p = partition_after(s, p->name->text))
                partitions++;
        return mappings == s->mappings_count && partitions == s->partitions_count &&
               objects_count(all, OBJECT_SESSION) == s->sessions_count &&
               list_length(&s->sessions) == s->sessions_count &&
               objects_count(all, OBJECT_RESERVATION) == s->reservations_count &&
               objects_count(all, OBJECT_MEMORY) == s->memories_count &&
               objects_count(all, OBJECT_SPACE) == s->spaces_count;
}

static bool all_ok(const struct state *s, const struct objects *all) {
        for (uint64_t i = 0; i < s->ids.count; i++)
                if (!object_ok(s, all, all->all[i]))
                        return false;
        for (struct partition *p = partition_after(s, ""); p; p = partition_after(s, p->name->text))
                if (!partition_ok(s, all, p))
                        return false;
        return counts_ok(s, all) && nodes_ok(s, all) && domains_ok(s) && cgroups_ok(s);
}

int state_check(struct state *s) {
        struct objects all;
        int r = objects_gather(s, &all);

        if (r == 0 && !all_ok(s, &all))
                r = -EUCLEAN;
        alloc_free(all.all);
        return r;
}
