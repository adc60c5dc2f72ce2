#include "service/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/memfile.h"
#include "base/alloc.h"
#include "core/by_id.h"
#include "core/keeping.h"
#include "core/lease.h"
#include "core/memory.h"
#include "core/name.h"
#include "core/node.h"
#include "core/partition.h"
#include "core/reservation.h"
#include "core/session.h"
#include "core/space.h"
#include "service/adopted.h"
#include "service/advice.h"
#include "service/cgroups.h"
#include "service/chain.h"
#include "service/dmabuf.h"
#include "service/drm.h"
#include "service/effects.h"
#include "service/grant.h"
#include "service/limits.h"
#include "service/lookup.h"
#include "service/loss.h"
#include "service/range.h"
#include "service/range_restore.h"
#include "service/registered.h"
#include "service/said.h"

/*
 * From a journal to objects: each effect is done again, through the same functions that did it first, with what was
 * decided then. Pages and files are there already (the keeper held them), so nothing is committed or punched on the
 * way; what the dead svmd had begun and not journaled is punched when clients go on.
 */
#define OBJECT_BYTES 128 /* of the journal, or more, make an object */

struct restore {
        struct service *svc;
        char *why;
        size_t why_size;
};

static int by_key(const void *a, const void *b) {
        const struct service_kept *x = a, *y = b;

        return (x->key > y->key) - (x->key < y->key);
}

void kept_sort(struct service *svc) {
        if (svc->kept_count)
                qsort(svc->kept, svc->kept_count, sizeof(*svc->kept), by_key);
}

static struct service_kept *kept_find(const struct service *svc, uint64_t key) {
        struct service_kept want = { .key = key };

        return svc->kept_count ? bsearch(&want, svc->kept, svc->kept_count, sizeof(*svc->kept), by_key) : NULL;
}

bool kept_has(const struct service *svc, uint64_t key) {
        const struct service_kept *k = kept_find(svc, key);

        return k && k->fd >= 0;
}

int kept_take(struct service *svc, uint64_t key) {
        struct service_kept *k = kept_find(svc, key);
        int fd = k ? k->fd : -1;

        if (k)
                k->fd = -1;
        return fd;
}

__attribute__((format(printf, 2, 3))) static int say(struct restore *x, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        vsnprintf(x->why, x->why_size, format, ap);
        va_end(ap);
        return -EBADMSG;
}

/* An id that an effect gives out: not given before, and of the size that ids have. */
static int new_id(struct restore *x, uint64_t id) {
        if (id == 0 || id > KEEP_ID(UINT64_MAX) || ids_find(&x->svc->state.ids, id))
                return say(x, "the journal gives the number %" PRIu64 " twice, or one that is none", id);
        if (id >= x->svc->state.next_id)
                x->svc->state.next_id = id + 1;
        return 0;
}

static bool pages(uint64_t n) {
        return n > 0 && n % SVMD_PAGE == 0;
}

static bool access_ok(uint32_t access) {
        return access == RIGHT_READ || access == (RIGHT_READ | RIGHT_WRITE);
}

static void note_generation(struct restore *x, uint64_t generation) {
        if (generation > x->svc->generation)
                x->svc->generation = generation;
}

static int do_epoch(struct restore *x, const struct effect_epoch *e) {
        if (e->next_id > KEEP_ID(UINT64_MAX))
                return say(x, "the journal begins with a number that is none");
        x->svc->epoch = e->epoch;
        if (e->next_id > x->svc->state.next_id)
                x->svc->state.next_id = e->next_id;
        note_generation(x, e->generation);
        return 0;
}

static int do_node(struct restore *x, const struct effect_node *e) {
        const struct machine *m = x->svc->options.machine;

        if (e->index < m->count && strcmp(m->nodes[e->index].name, e->name) == 0 &&
            m->nodes[e->index].kind == e->kind && m->nodes[e->index].capacity == e->capacity)
                return 0;
        return say(
                x,
                "svmd-keeper holds memory of node %.32s (number %u, %" PRIu64
                " bytes), which this configuration does not have: start "
                "svmd with the nodes it had, or end the keeper to give that memory up (kill the process svmd-keeper)",
                e->name, e->index, e->capacity);
}

static int do_session(struct restore *x, const struct effect_session *e) {
        struct partition *p = partition_find(&x->svc->state, e->partition);
        struct session_args args = {
                .id = e->id,
                .pid = e->pid,
                .admin = e->admin,
                .reader = e->reader,
                .who = { .uid = e->uid,
                         .gid = e->gid,
                         .groups = (const uint32_t *)(e + 1),
                         .groups_count = e->groups,
                         .superuser = e->uid == 0 || e->uid == x->svc->own_uid },
        };
        struct session *s;

        if (new_id(x, e->id) < 0)
                return -EBADMSG;
        if (!p)
                return say(x,
                           "session %" PRIu64
                           " is attached to partition %.64s, which state.db does not have: put the state.db back "
                           "that svmd had, or end svmd-keeper to give the sessions up",
                           e->id, e->partition);
        if (session_new(&s, &x->svc->state, &args) < 0 ||
            session_set_client(s, (const char *)(e + 1) + e->groups * 4ul) < 0)
                return -ENOMEM;
        if (session_other_domain(s) && session_other_domain(s) != p->domain)
                return say(x, "process %u is attached in two domains", e->pid);
        s->resumed = true;
        session_attach(s, p);
        x->svc->attached++;
        return 0;
}

static int do_bounds(struct restore *x, const struct effect_session_bounds *e) {
        struct session *s = session_by_id(&x->svc->state, e->session);

        if (!s || !s->partition || e->node >= x->svc->options.machine->count ||
            e->bounds[BOUND_MIN] > e->bounds[BOUND_MAX])
                return say(x, "session %" PRIu64 " has limits that it cannot have", e->session);
        return session_limits_restore(x->svc, s, e->node,
                                      &(struct bounds){ { e->bounds[0], e->bounds[1], e->bounds[2], e->bounds[3] } });
}

static int do_session_end(struct restore *x, const struct effect_id *e) {
        struct session *s = session_by_id(&x->svc->state, e->id);

        if (s)
                session_release(x->svc, s);
        return 0;
}

static int do_reserve(struct restore *x, const struct effect_reserve *e) {
        struct partition *p = partition_find(&x->svc->state, e->partition);
        struct reservation_args args = {
                .id = e->id,
                .address = e->address,
                .size = e->size,
                .generation = e->generation,
                .name = (const char *)(e + 1),
                .uid = e->uid,
                .gid = e->gid,
                .mode = e->mode,
        };
        struct reservation *r;
        struct session *owner = e->session ? session_by_id(&x->svc->state, e->session) : NULL;
        int k;

        if (new_id(x, e->id) < 0)
                return -EBADMSG;
        note_generation(x, e->generation);
        if (!p)
                return say(x, "reservation %" PRIu64 " lies in partition %.64s, which state.db does not have", e->id,
                           e->partition);
        if (e->session ? !owner || owner->partition != p : !args.name[0])
                return say(x, "reservation %" PRIu64 " has no owner", e->id);
        args.outside = adopted_outside(p, e->address, e->size);
        if (args.outside && (!owner || args.name[0] || !adopted_place_ok(owner, e->address, e->size)))
                return say(x, "reservation %" PRIu64 " cannot be memory of a process", e->id);
        k = e->address == 0 || (args.name[0] && !name_ok(args.name))
                    ? -EINVAL
                    : reservation_new(&r, &x->svc->state, p, owner, &args);
        if (k > 0 || k == -EINVAL)
                return say(x, "reservation %" PRIu64 " cannot be at 0x%" PRIx64 " again", e->id, e->address);
        return k;
}

static int do_reserve_end(struct restore *x, const struct effect_id *e) {
        struct reservation *r = reservation_by_id(&x->svc->state, e->id);

        if (r)
                reservation_end(x->svc, r);
        return 0;
}

static int do_open(struct restore *x, const struct effect_open *e) {
        struct reservation *r = reservation_by_id(&x->svc->state, e->reservation);
        struct session *s = session_by_id(&x->svc->state, e->session);
        struct opening *o;

        if (!r || !s || !r->shared || r->partition != s->partition || reservation_access(r, s) || !access_ok(e->access))
                return say(x, "session %" PRIu64 " opened reservation %" PRIu64 ", one of which is not there",
                           e->session, e->reservation);
        o = opening_new(r, s, e->access);
        if (!o || (managed_of(r) && managed_member_begin(x->svc, managed_of(r), s, e->access == RIGHT_READ) < 0)) {
                alloc_free(o);
                return -ENOMEM;
        }
        opening_link(o);
        keeping_used(r->shared->keeping);
        return 0;
}

static int do_own(struct restore *x, const struct effect_own *e) {
        struct reservation *r = reservation_by_id(&x->svc->state, e->reservation);
        struct session *s = session_by_id(&x->svc->state, e->session);
        int k;

        if (!r || !s || !r->shared || r->owner || !managed_of(r) || r->partition != s->partition || opening_find(r, s))
                return say(x, "session %" PRIu64 " became the owner of reservation %" PRIu64 ", which it cannot be",
                           e->session, e->reservation);
        k = managed_member_begin(x->svc, managed_of(r), s, false);
        if (k < 0)
                return k;
        reservation_adopt(r, s);
        chain_range(x->svc, managed_of(r));
        keeping_used(r->shared->keeping);
        return 0;
}

static int do_close(struct restore *x, const struct effect_open *e) {
        struct reservation *r = reservation_by_id(&x->svc->state, e->reservation);
        struct session *s = session_by_id(&x->svc->state, e->session);
        struct opening *o = r && s ? opening_find(r, s) : NULL;

        if (o)
                opening_end(x->svc, o);
        return 0;
}

static int do_file(struct restore *x, const struct effect_file *e) {
        struct session *s = e->session ? session_by_id(&x->svc->state, e->session) : NULL;
        const struct machine *m = x->svc->options.machine;

        if (new_id(x, e->id) < 0)
                return -EBADMSG;
        if (e->node >= m->count || m->nodes[e->node].kind != NODE_HOST || !pages(e->size) || e->size > INT64_MAX ||
            (e->kind != FILE_ARENA && e->kind != FILE_OWN) || (e->kind == FILE_ARENA) != (s != NULL))
                return say(x, "file %" PRIu64 " in the journal is none that svmd makes", e->id);
        return file_restore(x->svc, e->id, (enum file_kind)e->kind, e->node, e->size, s);
}

static bool extents_ok(const uint64_t (*extents)[2], uint32_t count, uint64_t size) {
        uint64_t sum = 0;

        for (uint32_t i = 0; i < count; i++) {
                if (!pages(extents[i][1]) || extents[i][1] > size - sum)
                        return false;
                sum += extents[i][1];
        }
        return sum > 0 && sum == size;
}

/* Where it was created; or, spilled, in a file of its own. */
static bool lies_ok(struct restore *x, const struct effect_memory *e, const struct file *f) {
        if (f->node == e->node)
                return true;
        return backend_has_pool(node_backend(x->svc, e->node)) && f->kind == FILE_OWN &&
               !(e->flags & SVMD__V1__MEM_FLAG__MEM_PINNED);
}

static int do_memory(struct restore *x, const struct effect_memory *e) {
        struct session *s = e->session ? session_by_id(&x->svc->state, e->session) : NULL;
        struct partition *p = partition_find(&x->svc->state, e->partition);
        struct file *f = e->file ? file_by_id(&x->svc->state, e->file) : x->svc->state.nodes[e->node].pool;

        if (new_id(x, e->id) < 0)
                return -EBADMSG;
        if (!p || !f || !lies_ok(x, e, f) || (e->session && (!s || s->partition != p)) ||
            (f->kind == FILE_ARENA && s && s != f->session))
                return say(x, "memory %" PRIu64 " names a partition, session or file that is not there", e->id);
        if (!extents_ok((const uint64_t(*)[2])(e + 1), e->extents, e->size))
                return say(x, "memory %" PRIu64 " has not the size of its parts", e->id);
        if (memory_restore(x->svc, e->id, p, s, e->node, e->size, e->flags, f, (const uint64_t(*)[2])(e + 1),
                           e->extents) < 0)
                return say(x, "memory %" PRIu64 " cannot be where it was", e->id);
        if (e->lost)
                memory_lose(x->svc, memory_by_id(&x->svc->state, e->id));
        return 0;
}

static int do_place(struct restore *x, const struct effect_place *e) {
        const uint64_t(*extents)[2] = (const void *)(e + 1);
        struct memory *m = memory_by_id(&x->svc->state, e->memory);
        struct file *f;
        int r;

        if (!m || m->pinned || !backend_has_pool(node_backend(x->svc, m->node)) || m->lost ||
            m->away != (e->file == 0) || !extents_ok(extents, e->extents, m->size))
                return say(x, "memory %" PRIu64 " moved to where it cannot be", e->memory);
        if (e->file) {
                struct effect_file file = { .id = e->file, .size = m->size, .kind = FILE_OWN, .node = e->node };

                r = do_file(x, &file);
                if (r < 0)
                        return r;
        }
        f = e->file ? file_by_id(&x->svc->state, e->file) : x->svc->state.nodes[m->node].pool;
        r = memory_restore_place(x->svc, m, f, extents, e->extents);
        return r == -EINVAL ? say(x, "memory %" PRIu64 " cannot be where it was moved", e->memory) : r;
}

static int do_register(struct restore *x, const struct effect_register *e) {
        struct session *s = session_by_id(&x->svc->state, e->owner);
        const struct machine *machine = x->svc->options.machine;
        struct managed_client *k;
        struct memory *m;

        if (new_id(x, e->id) < 0)
                return -EBADMSG;
        note_generation(x, e->generation);
        if (!s || !s->partition || (e->session && e->session != e->owner) || e->node >= machine->count ||
            machine->nodes[e->node].kind != NODE_HOST || !pages(e->size) || e->size > INT64_MAX)
                return say(x, "memory %" PRIu64 " was registered by nobody, or cannot be", e->id);
        k = managed_client_of(x->svc, s);
        if (!k || ids_reserve(&x->svc->state.ids, 1) < 0 ||
            !(m = registered_new(s, e->id, e->node, e->address, e->size)))
                return -ENOMEM;
        k->reached = true;
        k->probe = e->probe;
        registered_of(m)->generation = e->generation;
        registered_of(m)->fenced = e->fenced;
        holding_init(&m->creator, m, e->session ? s : NULL, RIGHT_READ | RIGHT_WRITE);
        memory_link(&x->svc->state, m);
        if (e->session)
                holding_link(&m->creator);
        return 0;
}

static int do_dmabuf(struct restore *x, const struct effect_dmabuf *e) {
        struct session *s = e->session ? session_by_id(&x->svc->state, e->session) : NULL;
        struct partition *p = partition_find(&x->svc->state, e->partition);
        const struct machine *m = x->svc->options.machine;
        int r;

        if (new_id(x, e->id) < 0 || new_id(x, e->file) < 0)
                return -EBADMSG;
        if (!p || e->id == e->file || (e->session && (!s || s->partition != p)) || e->node >= m->count ||
            (m->nodes[e->node].kind != NODE_HOST && !node_backend(x->svc, e->node)->delegated) || !pages(e->size) ||
            e->size > INT64_MAX || !access_ok(e->access))
                return say(x, "memory %" PRIu64 " is no dma-buf that svmd takes", e->id);
        r = dmabuf_restore(x->svc, e, p, s);
        return r == -EINVAL ? say(x, "memory %" PRIu64 " cannot be where it was", e->id) : r;
}

static int do_fenced(struct restore *x, const struct effect_fenced *e) {
        struct memory *m = memory_by_id(&x->svc->state, e->memory);

        if (!m || !m->registered)
                return 0;
        note_generation(x, e->generation);
        registered_of(m)->fenced = true;
        registered_of(m)->generation = e->generation;
        return 0;
}

static int do_hold(struct restore *x, const struct effect_hold *e) {
        struct memory *m = memory_by_id(&x->svc->state, e->memory);
        struct session *s = session_by_id(&x->svc->state, e->session);
        struct holding *h;

        if (!m || !s || m->registered || !access_ok(e->access) || m->partition->domain != s->partition->domain ||
            holding_find(m, s))
                return say(x, "session %" PRIu64 " imported memory %" PRIu64 ", one of which is not there", e->session,
                           e->memory);
        h = alloc_zero(sizeof(*h));
        if (!h)
                return -ENOMEM;
        holding_init(h, m, s, e->access);
        holding_link(h);
        keeping_used(m->keeping);
        return 0;
}

static int do_release(struct restore *x, const struct effect_hold *e) {
        struct memory *m = memory_by_id(&x->svc->state, e->memory);
        struct session *s = session_by_id(&x->svc->state, e->session);
        struct holding *h = m && s ? holding_find(m, s) : NULL;

        if (h)
                holding_end(x->svc, h);
        return 0;
}

static int do_export(struct restore *x, const struct effect_export *e) {
        struct memory *m = memory_by_id(&x->svc->state, e->memory);

        if (!m)
                return 0;
        if (m->name || !name_ok((const char *)(e + 1)) || name_find(&m->partition->memory_names, (const char *)(e + 1)))
                return say(x, "memory %" PRIu64 " has a name that it cannot have", e->memory);
        m->name = name_new((const char *)(e + 1), m, e->uid, e->gid, e->mode);
        if (!m->name)
                return -ENOMEM;
        name_link(&m->partition->memory_names, m->name);
        return 0;
}

/* What can be kept among what the effect names. */
static bool find_kept(struct restore *x, const struct effect_keep *e, struct kept *ret) {
        struct reservation *r = e->reservation ? reservation_by_id(&x->svc->state, e->reservation) : NULL;
        struct memory *m = e->memory ? memory_by_id(&x->svc->state, e->memory) : NULL;
        struct lease *l = e->lease ? lease_find(x->svc, e->lease) : NULL;

        *ret = (struct kept){ r, m, l };
        if ((r != NULL) + (m != NULL) + (l != NULL) != 1)
                return false;
        return r ? r->shared && managed_of(r) : m ? m->name != NULL : l->name && l->state == LEASE_GRANTED;
}

static int do_keep(struct restore *x, const void *bytes, size_t size) {
        struct effect_keep e = { 0 };
        struct keeping *k = NULL;
        struct kept of;

        memcpy(&e, bytes, size < sizeof(e) ? size : sizeof(e));
        if (find_kept(x, &e, &of))
                k = of.reservation ? of.reservation->shared->keeping
                    : of.memory    ? of.memory->keeping
                                   : of.lease->keeping;
        else
                e.off = 1;
        if (e.off && !k)
                return say(x,
                           "the journal keeps reservation %" PRIu64 ", memory %" PRIu64 ", lease %" PRIu64
                           ", which cannot be",
                           e.reservation, e.memory, e.lease);
        if (e.off) {
                keeping_end(x->svc, k);
                return 0;
        }
        if (!k && !(k = keeping_new(&of, e.seconds)))
                return -ENOMEM;
        if (list_empty(&k->by_partition))
                keeping_link(k);
        k->seconds = e.seconds;
        k->since_ns = e.since_ns;
        return 0;
}

static int do_token(struct restore *x, const struct effect_token *e) {
        struct memory *m = memory_by_id(&x->svc->state, e->memory);

        if (!m)
                return 0;
        memcpy(m->token, e->token, sizeof(m->token));
        m->has_token = true;
        m->token_access = e->access;
        return 0;
}

static int do_space(struct restore *x, const struct effect_space *e) {
        struct session *s = session_by_id(&x->svc->state, e->session);
        struct space *space;

        if (new_id(x, e->id) < 0)
                return -EBADMSG;
        if (!s || e->node >= x->svc->options.machine->count || !node_backend(x->svc, e->node)->has_spaces)
                return say(x, "space %" PRIu64 " belongs to no session or node", e->id);
        return space_bring_up(x->svc, s, e->id, e->node, &space);
}

static int do_space_end(struct restore *x, const struct effect_id *e) {
        struct space *s = space_by_id(&x->svc->state, e->id);

        if (s)
                space_end(x->svc, s);
        return 0;
}

static int find_where(struct restore *x, uint64_t space, uint64_t reservation, struct target *ret) {
        *ret = (struct target){
                .space = space ? space_by_id(&x->svc->state, space) : NULL,
                .reservation = reservation ? reservation_by_id(&x->svc->state, reservation) : NULL,
        };
        return !ret->space != !ret->reservation && !(ret->reservation && managed_of(ret->reservation))
                       ? 0
                       : say(x, "a mapping lies in space %" PRIu64 ", reservation %" PRIu64 ", which is not there",
                             space, reservation);
}

static bool lies_in(struct restore *x, const struct target *t, uint64_t address, uint64_t size) {
        uint64_t start = 0, end = 0;

        if (t->reservation) {
                start = t->reservation->va.start;
                end = start + t->reservation->va.size;
        } else {
                start = node_desc(x->svc, t->space->node)->va_start;
                end = node_desc(x->svc, t->space->node)->va_end;
        }
        return address % SVMD_PAGE == 0 && pages(size) && address >= start && address < end && size <= end - address;
}

/* What was shown could be shown. */
static bool may_show(struct restore *x, const struct target *t, const struct memory *m, const struct effect_map *e) {
        if (e->offset % SVMD_PAGE || e->size > m->size || e->offset > m->size - e->size)
                return false;
        if (m->registered)
                return t->space && t->space->session == registered_of(m)->session;
        if (t->reservation)
                return m->partition->domain == t->reservation->partition->domain &&
                       node_desc(x->svc, m->node)->kind == NODE_HOST;
        return m->partition->domain == t->space->session->partition->domain;
}

static bool attrs_ok(struct restore *x, const struct target *t, const struct map_attrs *attrs) {
        char why[160];

        if (attrs->access != 0 && !access_ok(attrs->access))
                return false;
        return t->reservation || node_backend(x->svc, t->space->node)->attrs_ok(attrs, why, sizeof(why));
}

static int do_mapping(struct restore *x, uint16_t type, const struct effect_map *e) {
        struct map_attrs attrs = { .access = e->access, .pat = e->pat, .kind = e->kind };
        struct memory *m = NULL;
        struct target t;
        int r = find_where(x, e->space, e->reservation, &t);

        if (r < 0)
                return r;
        if (!lies_in(x, &t, e->address, e->size) || !attrs_ok(x, &t, &attrs))
                return say(x, "a mapping at 0x%" PRIx64 " is none that svmd makes", e->address);
        if (type == EFFECT_MAP && (!(m = memory_by_id(&x->svc->state, e->memory)) || !may_show(x, &t, m, e)))
                return say(x, "a mapping at 0x%" PRIx64 " shows memory %" PRIu64 ", which is not there", e->address,
                           e->memory);
        if (type == EFFECT_MAP)
                r = do_map(x->svc->tx, &t, e->address, e->size, m, e->offset, attrs, true, NULL);
        else if (type == EFFECT_UNMAP)
                r = do_unmap(x->svc->tx, &t, e->address, e->size, false, NULL);
        else
                r = do_protect(x->svc->tx, &t, e->address, e->size, attrs, e->which, NULL);
        if (r != 0)
                return r < 0 ? r : say(x, "a mapping at 0x%" PRIx64 " cannot be changed as it was", e->address);
        tx_commit(x->svc->tx);
        if (t.reservation)
                t.reservation->generation = e->generation;
        note_generation(x, e->generation);
        return 0;
}

static int do_sparse_range(struct restore *x, const struct effect_sparse *e) {
        struct target t;
        int r = find_where(x, e->space, e->reservation, &t);

        if (r == 0 &&
            (!lies_in(x, &t, e->address, e->size) || e->from > SPARSE_WRITES_REFUSED || e->to > SPARSE_WRITES_REFUSED))
                r = say(x, "a sparse range at 0x%" PRIx64 " is none that svmd makes", e->address);
        if (r == 0)
                r = do_sparse(x->svc->tx, &t, e->address, e->size, e->from, e->to);
        if (r == 0)
                tx_commit(x->svc->tx);
        return r;
}

static int do_device(struct restore *x, const struct effect_device *e) {
        return new_id(x, e->id) < 0 ? -EBADMSG : private_replay(x->svc, EFFECT_DEVICE, e, x->why, x->why_size);
}

static int do_reply(struct restore *x, const struct effect_reply *e, size_t size) {
        struct session *s = session_by_id(&x->svc->state, e->session);

        if (!s)
                return 0;
        if (e->request > s->last_request)
                s->last_request = e->request;
        return replies_add(s, e->request, e + 1, size - sizeof(*e));
}

/* How long an effect is at least; text at its end must be ended. */
static const struct {
        size_t size;
        bool text;
} shapes[] = {
        [EFFECT_EPOCH] = { sizeof(struct effect_epoch), false },
        [EFFECT_NODE] = { offsetof(struct effect_node, unique), false },
        [EFFECT_SESSION] = { sizeof(struct effect_session) + 1, true },
        [EFFECT_SESSION_END] = { sizeof(struct effect_id), false },
        [EFFECT_RESERVE] = { sizeof(struct effect_reserve) + 1, true },
        [EFFECT_RESERVE_END] = { sizeof(struct effect_id), false },
        [EFFECT_OPEN] = { sizeof(struct effect_open), false },
        [EFFECT_CLOSE] = { sizeof(struct effect_open), false },
        [EFFECT_FILE] = { sizeof(struct effect_file), false },
        [EFFECT_MEMORY] = { sizeof(struct effect_memory) + 16, false },
        [EFFECT_HOLD] = { sizeof(struct effect_hold), false },
        [EFFECT_RELEASE] = { sizeof(struct effect_hold), false },
        [EFFECT_EXPORT] = { sizeof(struct effect_export) + 1, true },
        [EFFECT_TOKEN] = { sizeof(struct effect_token), false },
        [EFFECT_SPACE] = { sizeof(struct effect_space), false },
        [EFFECT_SPACE_END] = { sizeof(struct effect_id), false },
        [EFFECT_MAP] = { sizeof(struct effect_map), false },
        [EFFECT_UNMAP] = { sizeof(struct effect_map), false },
        [EFFECT_PROTECT] = { sizeof(struct effect_map), false },
        [EFFECT_SPARSE] = { sizeof(struct effect_sparse), false },
        [EFFECT_REPLY] = { sizeof(struct effect_reply), false },
        [EFFECT_RANGE] = { sizeof(struct effect_range), false },
        [EFFECT_UFFD] = { sizeof(struct effect_id), false },
        [EFFECT_JOIN] = { sizeof(struct effect_join), false },
        [EFFECT_PIN] = { sizeof(struct effect_pin), false },
        [EFFECT_REVOKE] = { sizeof(struct effect_revoke), false },
        [EFFECT_ADVICE] = { offsetof(struct effect_advice, said_ns), false },
        [EFFECT_STEAL] = { sizeof(struct effect_steal), false },
        [EFFECT_NODE_STATE] = { sizeof(struct effect_node_state), false },
        [EFFECT_PLACE] = { sizeof(struct effect_place) + 16, false },
        [EFFECT_KEEP] = { offsetof(struct effect_keep, lease), false },
        [EFFECT_OWN] = { sizeof(struct effect_own), false },
        [EFFECT_REGISTER] = { sizeof(struct effect_register), false },
        [EFFECT_FENCED] = { sizeof(struct effect_fenced), false },
        [EFFECT_DMABUF] = { sizeof(struct effect_dmabuf), false },
        [EFFECT_LEAVE] = { sizeof(struct effect_join), false },
        [EFFECT_DEVICE] = { sizeof(struct effect_device), false },
        [EFFECT_PRIVATE] = { sizeof(struct effect_private), false },
        [EFFECT_PREFER] = { sizeof(struct effect_prefer), false },
        [EFFECT_LEASE] = { sizeof(struct effect_lease) + 24, false },
        [EFFECT_LEASE_END] = { sizeof(struct effect_id), false },
        [EFFECT_LEASE_GRANT] = { sizeof(struct effect_id), false },
        [EFFECT_LEASE_USE] = { sizeof(struct effect_lease_use), false },
        [EFFECT_LEASE_NAME] = { sizeof(struct effect_lease_name) + 1, true },
        [EFFECT_LEASE_CLAIM] = { sizeof(struct effect_lease_claim), false },
        [EFFECT_LEASE_FILL] = { sizeof(struct effect_lease_use), false },
        [EFFECT_SESSION_BOUNDS] = { sizeof(struct effect_session_bounds), false },
        [EFFECT_SETTING] = { sizeof(struct effect_setting), false },
        [EFFECT_GRANT] = { sizeof(struct effect_grant), false },
        [EFFECT_GRANT_DONE] = { sizeof(struct effect_grant_done), false },
        [EFFECT_DOOR] = { sizeof(struct effect_door), false },
        [EFFECT_SHARE] = { sizeof(struct effect_share), false },
        [EFFECT_DRM_SPACE] = { sizeof(struct effect_drm_space), false },
};

unsigned service_effects(void) {
        return sizeof(shapes) / sizeof(shapes[0]) - 1;
}

/* The name of a partition in an effect ends inside of it. */
static bool partition_ends(uint16_t type, const void *bytes) {
        const char *name = type == EFFECT_SESSION   ? ((const struct effect_session *)bytes)->partition
                           : type == EFFECT_RESERVE ? ((const struct effect_reserve *)bytes)->partition
                           : type == EFFECT_MEMORY  ? ((const struct effect_memory *)bytes)->partition
                           : type == EFFECT_DMABUF  ? ((const struct effect_dmabuf *)bytes)->partition
                           : type == EFFECT_DOOR    ? ((const struct effect_door *)bytes)->partition
                           : type == EFFECT_SHARE   ? ((const struct effect_share *)bytes)->to
                                                    : NULL;

        return !name || memchr(name, 0, sizeof(((struct effect_session *)0)->partition));
}

static int check_shape(struct restore *x, uint16_t type, const uint8_t *bytes, size_t size) {
        const struct effect_memory *m = (const void *)bytes;
        const struct effect_session *s = (const void *)bytes;
        const struct effect_place *place = (const void *)bytes;

        if (type >= sizeof(shapes) / sizeof(shapes[0]) || shapes[type].size == 0)
                return say(
                        x,
                        "the journal holds an effect of type %u, which this svmd does not know: start the svmd that wrote it",
                        type);
        if (size < shapes[type].size || (shapes[type].text && bytes[size - 1] != 0) || !partition_ends(type, bytes))
                return say(x, "an effect of type %u in the journal is cut short", type);
        if (type == EFFECT_MEMORY && size < sizeof(*m) + m->extents * 16ull)
                return say(x, "memory %" PRIu64 " in the journal is cut short", m->id);
        if (type == EFFECT_PLACE && size < sizeof(*place) + place->extents * 16ull)
                return say(x, "the place of memory %" PRIu64 " in the journal is cut short", place->memory);
        if (type == EFFECT_MEMORY && m->node >= x->svc->options.machine->count)
                return say(x, "memory %" PRIu64 " lies on a node that is not there", m->id);
        if (type == EFFECT_SESSION && (s->groups > UINT16_MAX + 1 || size < sizeof(*s) + s->groups * 4ull + 1))
                return say(x, "session %" PRIu64 " in the journal is cut short", s->id);
        return 0;
}

static int do_effect(void *userdata, uint16_t type, const void *bytes, size_t size) {
        struct restore *x = userdata;
        int r = check_shape(x, type, bytes, size);

        if (r < 0)
                return r;
        switch ((enum effect_type)type) {
        case EFFECT_EPOCH: return do_epoch(x, bytes);
        case EFFECT_NODE: return do_node(x, bytes);
        case EFFECT_SESSION: return do_session(x, bytes);
        case EFFECT_SESSION_BOUNDS: return do_bounds(x, bytes);
        case EFFECT_SESSION_END: return do_session_end(x, bytes);
        case EFFECT_RESERVE: return do_reserve(x, bytes);
        case EFFECT_RESERVE_END: return do_reserve_end(x, bytes);
        case EFFECT_OPEN: return do_open(x, bytes);
        case EFFECT_CLOSE: return do_close(x, bytes);
        case EFFECT_FILE: return do_file(x, bytes);
        case EFFECT_MEMORY: return do_memory(x, bytes);
        case EFFECT_PLACE: return do_place(x, bytes);
        case EFFECT_REGISTER: return do_register(x, bytes);
        case EFFECT_FENCED: return do_fenced(x, bytes);
        case EFFECT_DMABUF: return do_dmabuf(x, bytes);
        case EFFECT_HOLD: return do_hold(x, bytes);
        case EFFECT_RELEASE: return do_release(x, bytes);
        case EFFECT_EXPORT: return do_export(x, bytes);
        case EFFECT_KEEP: return do_keep(x, bytes, size);
        case EFFECT_OWN: return do_own(x, bytes);
        case EFFECT_TOKEN: return do_token(x, bytes);
        case EFFECT_SPACE: return do_space(x, bytes);
        case EFFECT_SPACE_END: return do_space_end(x, bytes);
        case EFFECT_MAP:
        case EFFECT_UNMAP:
        case EFFECT_PROTECT: return do_mapping(x, type, bytes);
        case EFFECT_SPARSE: return do_sparse_range(x, bytes);
        case EFFECT_REPLY: return do_reply(x, bytes, size);
        case EFFECT_RANGE:
        case EFFECT_UFFD:
        case EFFECT_JOIN:
        case EFFECT_LEAVE: return range_replay(x->svc, type, bytes, x->why, x->why_size);
        case EFFECT_LEASE:
        case EFFECT_LEASE_END:
        case EFFECT_LEASE_GRANT:
        case EFFECT_LEASE_USE:
        case EFFECT_LEASE_NAME:
        case EFFECT_LEASE_CLAIM:
        case EFFECT_LEASE_FILL: return lease_replay(x->svc, type, bytes, size, x->why, x->why_size);
        case EFFECT_PIN:
        case EFFECT_REVOKE:
        case EFFECT_STEAL:
        case EFFECT_NODE_STATE: return said_replay(x->svc, type, bytes, x->why, x->why_size);
        case EFFECT_ADVICE: return advice_replay(x->svc, bytes, size, x->why, x->why_size);
        case EFFECT_DEVICE: return do_device(x, bytes);
        case EFFECT_PRIVATE:
        case EFFECT_PREFER: return private_replay(x->svc, type, bytes, x->why, x->why_size);
        case EFFECT_DOOR:
        case EFFECT_SHARE: return sharing_replay(x->svc, type, bytes);
        case EFFECT_DRM_SPACE: return drm_replay(x->svc, bytes, x->why, x->why_size);
        case EFFECT_SETTING: return settings_replay(x->svc, bytes, x->why, x->why_size);
        case EFFECT_GRANT:
        case EFFECT_GRANT_DONE: return grant_replay(x->svc, type, bytes, x->why, x->why_size);
        }
        return 0;
}

/* ---- afterwards ---- */

static bool next_used(void *userdata, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end) {
        const struct file *f = userdata;
        struct va_extent *e = va_first_from(&f->slots, offset + FILE_BASE);
        uint64_t end;

        if (!e)
                return false;
        *ret_start = e->start - FILE_BASE;
        do {
                end = e->start + e->size;
                e = va_next(e);
        } while (e && e->start == end);
        *ret_end = end - FILE_BASE;
        return true;
}

void punch_leftovers(struct service *svc) {
        struct object *o;
        uint64_t at = 0;

        for (uint32_t i = 0; i < svc->options.machine->count; i++)
                if (svc->state.nodes[i].pool)
                        memfile_punch_unused(svc->state.nodes[i].pool->memfile, next_used, svc->state.nodes[i].pool);
        while ((o = ids_next(&svc->state.ids, &at)))
                if (o->type == OBJECT_FILE)
                        memfile_punch_unused(container_of(o, struct file, object)->memfile, next_used,
                                             container_of(o, struct file, object));
}

/* Only now, when it is known which files are still needed: the others are not in the keeper any more. */
static int adopt_files(struct restore *x) {
        struct object *o;
        uint64_t at = 0;

        while ((o = ids_next(&x->svc->state.ids, &at))) {
                int r;

                if (o->type != OBJECT_FILE)
                        continue;
                if (container_of(o, struct file, object)->kind == FILE_OWN &&
                    container_of(o, struct file, object)->slots.count == 0)
                        return say(x, "the journal has a file, %" PRIu64 ", without memory in it", o->id);
                r = file_adopt(x->svc, container_of(o, struct file, object));
                if (r < 0)
                        return say(x, "the file of memory %" PRIu64 " cannot be taken over: %s", o->id, strerror(-r));
        }
        return 0;
}

/* Each reservation has an owner, or somebody who has it open, or is kept; memory is held, shown or kept; and a lease
 * has a session, or is kept. */
static int check_owned(struct restore *x) {
        struct object *o;
        uint64_t at = 0;

        while ((o = ids_next(&x->svc->state.ids, &at))) {
                const struct reservation *r;

                if (o->type == OBJECT_MEMORY && memory_unused(container_of(o, struct memory, object)))
                        return say(x, "memory %" PRIu64 " is nobody's", o->id);
                if (o->type == OBJECT_LEASE && !container_of(o, struct lease, object)->session &&
                    !container_of(o, struct lease, object)->keeping)
                        return say(x, "lease %" PRIu64 " is nobody's", o->id);
                if (o->type != OBJECT_RESERVATION)
                        continue;
                r = container_of(o, struct reservation, object);
                if ((reservation_idle(r) && !r->shared->keeping) || (r->outside && !managed_of(r) && !private_of(r)))
                        return say(x, "reservation %" PRIu64 " is nobody's", o->id);
        }
        return 0;
}

/* Devices are told last, of what is there in the end. */
static int fill_tables(struct restore *x) {
        list_for_each (l, &x->svc->state.sessions) {
                struct session *s = container_of(l, struct session, by_state);

                list_for_each (k, &s->spaces) {
                        if (space_fill(x->svc, container_of(k, struct space, by_session)) < 0)
                                return -ENOMEM;
                }
        }
        return 0;
}

/* Sessions whose socket the keeper does not have, and sockets of no session that is known. */
static void match_sockets(struct service *svc) {
        list_for_each_safe (l, &svc->state.sessions) {
                struct session *s = container_of(l, struct session, by_state);

                if (!kept_find(svc, KEEP_KEY(KEEP_SESSION, s->object.id)))
                        session_release(svc, s);
        }
}

int journal_restore(struct service *svc, char *why, size_t why_size) {
        struct restore x = { .svc = svc, .why = why, .why_size = why_size };
        int r;

        snprintf(why, why_size, "the machine is out of memory");
        r = ids_reserve(&svc->state.ids, journal_used(svc->journal) / OBJECT_BYTES);
        if (r < 0)
                return r;
        svc->replaying = true;
        tx_begin(svc->tx);
        r = journal_replay(svc->journal, do_effect, &x);
        svc->replaying = false;
        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        r = check_owned(&x);
        if (r == 0)
                r = adopt_files(&x);
        if (r < 0)
                return r;
        /* Ids that were given and not journaled (fences, sessions that had not attached) are not given again. */
        svc->state.next_id += 1ull << 32;
        cgroups_look_all(svc);
        match_sockets(svc);
        keepings_restored(svc);
        r = registered_restore(svc, why, why_size);
        if (r == 0)
                r = private_restore(svc, why, why_size);
        if (r == 0)
                r = fill_tables(&x);
        if (r == 0)
                r = ranges_restore(svc, why, why_size);
        return r;
}
